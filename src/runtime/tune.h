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

/* What a rank found out about one signature; as it travels to rank 0. */
struct tune_result {
    int measured;
    char estimate[TUNING_KERNEL_BYTES];
    double estimate_us, chosen_us; /* measured side by side, where the two are not the same */
    struct tuning_choice choice;
};

/* Every `count`th item from `index` on. */
struct tune_part {
    int index, count;
};

/* Local.  Measures the usable kernels of `part` of the items where they will run: the whole network
 * runs again and again on the session's pool, with zeros for weights and inputs, by turns with the
 * kernels taken so far and with others for the items of the part; see the head of tune_measure.c.
 * results: one for each item; those of other parts and those for which time was short stay as they
 * are.  Errors: memory, unsupported. */
enum cohort_code tune_measure(struct cohort_session *s, const struct tune_item *items, int count,
                              const struct tune_part *part, double limit_s,
                              struct tune_result *results, struct cohort_error *err);

#endif
