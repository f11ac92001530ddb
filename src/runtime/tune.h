/* Inside src/runtime: timing the kernels of one board, for cohort_tune(). */
#ifndef COHORT_RUNTIME_TUNE_H
#define COHORT_RUNTIME_TUNE_H

#include "runtime/session.h"

/* One signature of a network, and a node that has it. */
struct tune_item {
    struct signature signature;
    int node;
    int count; /* nodes that have it */
};

/* Local.  The network's signatures (half: with weights of products as float16; fp16: with float16
 * arithmetic), those with the most work first; new (mem_free). */
enum cohort_code tune_items(struct tune_item **items, int *count, const struct graph *g, bool half,
                            bool fp16, struct cohort_error *err);

/* Local.  Times the usable kernels on the item's node, with zeros for weights and inputs, all rows,
 * on the session's pool: each runs once, then twice as often until that takes 1 ms, then all take
 * turns, and the least time counts.  Kernels that take more than twice as long as the fastest drop
 * out after their first turns.  The estimate's kernel stays unless another is 3 % faster.
 * *estimate is its name.  Errors: memory, unsupported. */
enum cohort_code tune_measure(struct cohort_session *s, const struct tune_item *item,
                              struct tuning_choice *choice, const char **estimate,
                              struct cohort_error *err);

#endif
