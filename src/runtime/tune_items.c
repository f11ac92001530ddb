/* What there is to tune in a network: its signatures. */
#include "runtime/tune.h"

#include "base/mem.h"

#include <stdlib.h>

static int by_work(const void *a, const void *b) {
    const struct tune_item *x = a, *y = b;
    double u = signature_macs(&x->signature) * x->count;
    double v = signature_macs(&y->signature) * y->count;
    return u != v ? (u < v ? 1 : -1) : (x->node > y->node) - (x->node < y->node);
}

enum cohort_code tune_items(struct tune_item **items, int *count, const struct graph *g, bool half,
                            bool fp16, struct cohort_error *err) {
    struct tune_item *list = mem_zalloc((size_t)g->node_count + 1, sizeof *list);
    int n = 0;
    if (list == NULL)
        return error_memory(err, (size_t)g->node_count * sizeof *list, "signatures");
    for (int i = 0; i < g->node_count; i++) {
        struct signature s;
        int k = 0;
        if (!signature_of(g, &g->nodes[i], &s))
            continue;
        signature_set_options(&s, half, fp16);
        while (k < n && !signature_equal(&list[k].signature, &s))
            k++;
        if (k == n)
            list[n++] = (struct tune_item){.signature = s, .node = i};
        list[k].count++;
    }
    qsort(list, (size_t)n, sizeof *list, by_work);
    *items = list;
    *count = n;
    return COHORT_OK;
}
