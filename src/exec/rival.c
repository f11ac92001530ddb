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

/* Does p want another kernel for this node than b is? */
static bool wants_other(const struct program *p, const struct bound *b) {
    const char *name = tuned_kernel(p, b->node);
    return name != NULL && (b->kernel == NULL || strcmp(name, b->kernel) != 0);
}

enum cohort_code exec_share_kernels(struct program *p, struct program *from,
                                    struct cohort_error *err) {
    BUG_UNLESS(!p->prepared && from->prepared && p->graph == from->graph && p->pool == from->pool);
    for (int i = 0; i < p->graph->node_count; i++) {
        struct bound *b = &from->bounds[i];
        if (b->how == NULL || p->bounds[i].how != NULL || wants_other(p, b))
            continue;
        if (b->sharers == NULL)
            b->sharers = mem_zalloc(1, sizeof *b->sharers);
        if (b->sharers == NULL)
            return error_memory(err, sizeof *b->sharers, "shared weights");
        ++*b->sharers;
        p->bounds[i] = *b;
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
