/* The simulator: replays a plan on every board's and every link's own timeline.
 *
 * A board computes one segment at a time, sends one message at a time and receives one, all three
 * at once (one-port, full duplex); so the root's messages follow one another.  Messages leave as
 * soon as their rows are made (the last operator of a segment makes first the rows that others
 * wait for), and a board waits only when it has computed everything that it can without them.  Any
 * plan can be replayed, whoever made it; docs/planning.md has the rules. */
#ifndef COHORT_PLANNER_SIMULATE_H
#define COHORT_PLANNER_SIMULATE_H

#include "planner/cost.h"

enum sim_kind { SIM_COMPUTE, SIM_WAIT, SIM_SEND };

struct sim_interval {
    enum sim_kind kind;
    int segment;
    int board;    /* SIM_SEND: from */
    int to;       /* SIM_SEND */
    double bytes; /* SIM_SEND */
    double begin_ms, end_ms;
};

struct sim_segment {
    int first, end;             /* nodes */
    double compute_ms, wait_ms; /* of the slowest board; of the one that waits longest, on the way
                                   in and out */
    double begin_ms, end_ms;    /* the first board begins, the last one has finished */
    double bytes_in, bytes_out; /* before it, and after it: to the root, or to all */
    double redundant;           /* work done more than once, as a share of the work; tiles only */
    double *board_compute_ms, *board_wait_ms; /* per board; within simulation.board_ms */
    double *board_out_ms; /* per board: of its wait: for what the segment's outputs bring it */
};

struct simulation {
    int boards, segment_count;
    double total_ms;     /* until the root has what the network gives */
    double bytes;        /* of all messages */
    double last_wait_ms; /* of the root, at the end, for what the network gives */
    struct sim_segment *segments;
    double *board_ms;   /* storage */
    double *peak_bytes; /* per board: activations and weights */
    double *pair_bytes; /* [from * boards + to] */
    struct sim_interval *trace;
    size_t trace_count, trace_capacity;
};

/* trace: keep the list of intervals; peak: find peak_bytes (takes longer; else they are 0).  The
 * plan was checked. */
enum cohort_code simulate(struct simulation **s, const struct cost_model *m,
                          const struct plan *plan, bool trace, bool peak, struct cohort_error *err);
void simulation_destroy(struct simulation **s);
/* The time alone. */
enum cohort_code simulate_ms(double *ms, const struct cost_model *m, const struct plan *plan,
                             struct cohort_error *err);
/* Writes the predictions into the plan. */
void simulation_annotate(const struct simulation *s, struct plan *plan);

#endif
