/* One step of `auto`'s search: a segment, and every state of the cut before it led through it.  For
 * auto_search.c, auto_channels.c and auto_plans.c only. */
#ifndef COHORT_PLANNER_AUTO_STEP_H
#define COHORT_PLANNER_AUTO_STEP_H

#include "planner/auto_memory.h"
#include "planner/auto_states.h"
#include "planner/channel_cost.h"

struct search {
    const struct sigma *s;
    const struct cost_model *m;
    const struct cuts *cuts;
    int *reader;              /* per value: the last node that reads it, -1: none */
    int *keyed_first, *keyed; /* per cut: the values that a state names, after the depth */
    struct layouts layouts;
    struct states states;
    struct demand d;
    struct traffic t;
    struct layout *where; /* per value */
    int *place;           /* per value: its layout's number, made by the segment at hand */
    int *slot;            /* per value: its place in the key of the cut before */
    int *key;
    bool *who;
    int64_t *scaled;
    bool limited;              /* memory counts */
    double most_ms;            /* then: longer plans are no use */
    struct auto_memory memory; /* of the segment at hand */
    double *after;             /* a state's memory */
    int64_t *divided;          /* scratch: a split by channels */
    int left_out;
    long steps;
};

/* The segment at hand: units [begin, end), as cuts. */
struct option {
    int begin, end;
    struct auto_segment segment;
    double compute_ms;
    /* By where outputs are then (enum plan_output): may they be there, and what does that cost,
     * with what the network gives of them on the root? */
    bool may[3];
    double output_ms[3];
    struct overlap window;
    int depth;                /* cost_tail_depth(); 0: not in tiles */
    bool carries;             /* does the key of `end` name values made before? */
    enum plan_route route[3]; /* by channels: the faster one */
    struct channel_run run;   /* by channels */
};

/* Leads all states of the cut before the option's segment through it; the demand, or the option's
 * run, is that of the segment. */
enum cohort_code auto_take(struct search *x, struct option *o, struct cohort_error *err);
static inline int auto_key_length(const struct search *x, int cut) {
    return 1 + x->keyed_first[cut + 1] - x->keyed_first[cut];
}

/* ---- by channels ----------------------------------------------------------------------------- */

/* All segments by channels that end with a cut. */
enum cohort_code auto_take_channels(struct search *x, int end, struct cohort_error *err);
/* Can the segment begin in a state, whose key that is, or does it read otherwise what lies divided
 * by channels?  The tensors' places (x->where) are the state's. */
bool auto_reads(struct search *x, const struct option *o, const int *key);
/* Its wait for what it gets, in that state. */
double auto_channels_wait_ms(struct search *x, const struct option *o, int main, int depth);
/* Where value `id` lies when the segment by channels has made it and it stays. */
enum cohort_code auto_channels_place(struct search *x, const struct option *o, int id,
                                     struct cohort_error *err);

/* ---- plans ----------------------------------------------------------------------------------- */

/* The plans that the states of the last cut lead to; most: so many. */
enum cohort_code auto_write_plans(const struct search *x, int most, struct auto_found *f,
                                  struct cohort_error *err);

#endif
