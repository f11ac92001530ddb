/* A second kernel for some operators of a prepared program, so that one can be measured against the
 * other in the network itself: with its neighbours, its arena, and caches as they really are. */
#include "exec/lower.h"

#include <string.h>

static void unbind(struct bound *b) {
    if (b->how != NULL && b->how->unbind != NULL && b->state != NULL)
        b->how->unbind(b);
    mem_free(b->state);
    *b = (struct bound){0};
}

/* The threads' workspaces are as large as this operator needs them. */
static enum cohort_code widen_workspace(struct program *p, size_t bytes, struct cohort_error *err) {
    size_t stride = (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    size_t threads = (size_t)pool_threads(p->pool);
    if (stride <= p->workspace_stride)
        return COHORT_OK;
    char *wider = mem_zalloc(threads, stride);
    if (wider == NULL)
        return error_memory(err, threads * stride, "the kernels' workspace");
    mem_free(p->workspace);
    p->workspace = wider;
    p->workspace_stride = stride;
    return COHORT_OK;
}

enum cohort_code exec_bind_rival(struct program *p, int node, const char *kernel, size_t *bytes,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct exec_options kept = p->options;
    struct bound *mine = &p->bounds[node], *b;
    *bytes = 0;
    BUG_UNLESS(p->prepared && mine->how != NULL);
    if (p->rivals == NULL)
        p->rivals = mem_zalloc((size_t)p->graph->node_count, sizeof *p->rivals);
    if (p->rivals == NULL)
        return error_memory(err, (size_t)p->graph->node_count * sizeof *b, "a second kernel");
    b = &p->rivals[node];
    BUG_UNLESS(b->how == NULL);
    *b = (struct bound){.node = mine->node, .how = mine->how};
    p->options.kernel = kernel;
    p->options.choices = NULL;
    code = b->how->bind != NULL ? b->how->bind(p, b, err) : COHORT_OK;
    p->options = kept;
    TRY(code);
    TRY(widen_workspace(p, b->workspace_bytes, err));
    b->row_ns = estimate_row_ns(p->graph, b);
    *bytes = b->weights_bytes;
    if (b->kernel == NULL || strcmp(b->kernel, kernel) != 0) {
        unbind(b); /* something else computes it: nothing to be learned */
        *bytes = 0;
    }
out:
    if (code != COHORT_OK)
        unbind(b);
    return code;
}

bool exec_has_rival(const struct program *p, int node) {
    return p->rivals != NULL && p->rivals[node].how != NULL;
}

void exec_use_rivals(struct program *p, bool rivals) {
    for (int i = 0; i < p->op_count; i++) {
        struct exec_op *op = &p->ops[i];
        op->bound = &(rivals && exec_has_rival(p, op->node) ? p->rivals : p->bounds)[op->node];
    }
}

void exec_end_rival(struct program *p, int node, bool wins) {
    if (!exec_has_rival(p, node))
        return;
    if (wins) {
        struct bound former = p->bounds[node];
        p->bounds[node] = p->rivals[node];
        p->rivals[node] = former;
    }
    unbind(&p->rivals[node]);
    exec_use_rivals(p, false);
}

void exec_end_rivals(struct program *p) {
    for (int i = 0; p->rivals != NULL && i < p->graph->node_count; i++)
        exec_end_rival(p, i, false);
    mem_free(p->rivals);
    p->rivals = NULL;
}
