/* Memory in `auto`'s search: what a state's plan needs on each board, so that plans which a limit
 * rules out are no states at all.
 *
 * Counted are the weights of every operator that a board runs, and at each operator the rows of all
 * tensors that are alive there: what a segment makes from its maker to its last reader (or the
 * segment's end, where it goes on), what lay there before until it is read last, with the halo that
 * the segment gets; on the root the network's inputs and outputs, always, and everywhere the
 * kernels' workspace.  Of a segment by channels: the slices of the weights and of what it makes,
 * addends whole, and where outputs are put together or added up, these whole beside that at its
 * last operator.  plan_peak_bytes() packs the same tensors into an arena, which may need a little
 * more: it has the last word.  For auto_search.c only. */
#ifndef COHORT_PLANNER_AUTO_MEMORY_H
#define COHORT_PLANNER_AUTO_MEMORY_H

#include "planner/auto.h"

struct option; /* auto_step.h */
struct auto_memory {
    const struct cost_model *m;
    const struct cuts *cuts;
    double limit;    /* of all boards, beside each one's own */
    double *fixed;   /* [board] */
    double *weights; /* [board], of the segment at hand */
    /* Most bytes of what the segment makes, from one of `until` to the next: by where its outputs
     * are then (enum plan_output), [piece * boards + board]. */
    double *made[3];
    int *until; /* [piece]: operators that are the last to read something that lay there before */
    int pieces;
    int begin, end;   /* nodes */
    int first, count; /* cuts->live[first …]: what lay there before */
    double *alive;    /* scratch: [node] */
    int *last;        /* scratch: of each of these, its last reader here; -1: nobody reads it */
    int *reader;      /* per value: the last node that reads it; -1: none */
};
enum cohort_code auto_memory_init(struct auto_memory *a, const struct cost_model *m,
                                  const struct cuts *cuts, double limit, struct cohort_error *err);
void auto_memory_release(struct auto_memory *a);

/* The option's segment, whose rows d has. */
void auto_memory_segment(struct auto_memory *a, const struct option *o, const struct demand *d);
/* Does what boards need in any case keep to the limits? */
bool auto_memory_begins(const struct auto_memory *a);
/* A state's memory, weights[boards] and then most bytes alive[boards], when the segment has run
 * behind it; where[value]: how everything that lay there before lies.  false: beyond the limit. */
bool auto_memory_add(const struct auto_memory *a, const double *before, const struct layout *where,
                     const struct option *o, const struct demand *d, enum plan_output output,
                     double *after);

#endif
