/* Programs that share packed weights, so that a network can run by turns with some kernels and with
 * others: each program as it is when it runs for itself, with strips and memory that are right for
 * its kernels, while what both compute in the same way is packed once. */
#include "exec/lower.h"

#include <string.h>

void bound_release(struct bound *b) {
    if (b->sharers != NULL && *b->sharers > 0) {
        --*b->sharers;
    } else {
        if (b->how != NULL && b->how->unbind != NULL && b->state != NULL)
            b->how->unbind(b);
        mem_free(b->state);
        mem_free(b->sharers);
    }
    *b = (struct bound){0};
}

/* Does p want another kernel for its node than b is?  What the reference reads when it runs are
 * constants of its own graph. */
static bool wants_other(const struct program *p, const struct node *n, const struct bound *b) {
    const char *name = tuned_kernel(p, n);
    if (b->node != n && b->how == lowering_reference)
        return true;
    return name != NULL && (b->kernel == NULL || strcmp(name, b->kernel) != 0);
}

enum cohort_code exec_share_kernels(struct program *p, struct program *from, const int *same,
                                    struct cohort_error *err) {
    BUG_UNLESS(!p->prepared && from->prepared && p->pool == from->pool);
    BUG_UNLESS(same != NULL || p->graph == from->graph);
    for (int i = 0; i < p->graph->node_count; i++) {
        const struct node *n = &p->graph->nodes[i];
        const int of = same != NULL ? same[i] : i;
        struct bound *b = of >= 0 ? &from->bounds[of] : NULL;
        if (b == NULL || b->how == NULL || p->bounds[i].how != NULL || wants_other(p, n, b))
            continue;
        if (b->sharers == NULL)
            b->sharers = mem_zalloc(1, sizeof *b->sharers);
        if (b->sharers == NULL)
            return error_memory(err, sizeof *b->sharers, "shared weights");
        ++*b->sharers;
        p->bounds[i] = *b;
        p->bounds[i].node = n;
    }
    return COHORT_OK;
}

void exec_take_counts(struct program *p, const struct program *from) {
    for (int t = 0; t < pool_threads(p->pool); t++)
        *thread_saturated(p, t) += *thread_saturated(from, t);
}

const char *exec_node_kernel(const struct program *p, int node) {
    return p->bounds[node].kernel;
}
