/* Replays a plan step by step: what moves before a segment, what is computed, what is put together
 * or moves to the root after it; the same bytes as planner/transitions.h, which the runtime moves
 * (a test compares them), but fast enough to replay many plans.  The simulator, the sum of steps
 * and the memory estimate are folds over these steps.  For planner/ only. */
#ifndef COHORT_PLANNER_REPLAY_H
#define COHORT_PLANNER_REPLAY_H

#include "graph/rowset.h"
#include "planner/channel_cost.h"

enum replay_kind {
    REPLAY_IN,      /* r->t: what the segment gets of the segment before (or of the root); r->early:
                       of those before that, sent while the one before computes; r->w: the segment */
    REPLAY_COMPUTE, /* r->w.ms is each board's time */
    REPLAY_JOIN,    /* r->move: what a segment by channels made is put together or added up; then
                       channel_finish_ms() of r->run */
    REPLAY_ROOT,    /* r->t: what goes to the root, where later segments look for it */
    REPLAY_RESULT,  /* r->t: what the network gives goes to the root, nobody waits for it there */
    REPLAY_END
};

struct replay {
    const struct cost_model *m;
    const struct plan *plan;
    bool own; /* boards have only rows of their own: what they hold beside that is not known */
    struct demand w;
    struct traffic t, early;
    struct layout *where; /* per value */
    struct rowset **held; /* per value: [board], or NULL */
    int *made;            /* per value: segment; -1: an input */
    int64_t *splits;      /* theirs: [value * (boards + 1) + …] */
    int *inputs;          /* values that the segment reads and does not make */
    int input_count;
    int *ends; /* one past each segment's last node */
    bool *one; /* per board: the one that runs a local segment; all: replicate */
    bool *all;
    int segment, first, end; /* nodes [first, end) */
    enum plan_mode mode;     /* as it is run */
    int board;
    int last;               /* value made by the operator before; -1: something moved since */
    int depth;              /* of the segment that made it (cost_tail_depth) */
    struct overlap window;  /* of the segment at hand */
    struct channel_run run; /* by channels: the segment; else of no nodes */
    struct channel_move move;
    int joined; /* by channels: outputs of nodes up to this one are where they go */
    enum replay_kind next;
    enum cohort_code code; /* memory was short: the replay ends */
};

/* The plan was checked against the graph, and has the model's number of boards. */
enum cohort_code replay_begin(struct replay *r, const struct cost_model *m, const struct plan *plan,
                              bool own, struct cohort_error *err);
/* The next step; REPLAY_END also when memory is short (replay_code). */
enum replay_kind replay_next(struct replay *r);
/* The segment's window, for waiting; NULL where nothing is computed before waiting. */
const struct overlap *replay_window(const struct replay *r, enum replay_kind kind);
enum cohort_code replay_code(const struct replay *r, struct cohort_error *err);
void replay_release(struct replay *r);

/* The sum of steps: each transition's exposed wait and each segment's slowest board, as if boards
 * held nothing but rows of their own.  What `auto` minimises exactly. */
enum cohort_code plan_step_sum(const struct cost_model *m, const struct plan *plan, double *ms,
                               struct cohort_error *err);

/* Chooses for each segment by channels the faster way to put together or add up what it gives.
 * Errors: memory. */
enum cohort_code plan_choose_routes(const struct cost_model *m, struct plan *plan,
                                    struct cohort_error *err);

/* Peak bytes of activations (by lifetime, one arena a board) and weights that a plan takes on each
 * board; bytes[boards]. */
enum cohort_code plan_peak_bytes(const struct cost_model *m, const struct plan *plan, double *bytes,
                                 struct cohort_error *err);
/* The same while one plan takes the other's place: both arenas, and the weights of both, once where
 * a board computes the same part of a node by both. */
enum cohort_code plan_change_bytes(const struct cost_model *m, const struct plan *from,
                                   const struct plan *to, double *bytes, struct cohort_error *err);

#endif
