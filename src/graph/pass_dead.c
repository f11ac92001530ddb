/* Removes nodes that no output needs, and the constants that only they read. */
#include "graph/pass_common.h"

#include "base/mem.h"

/* Outputs that nobody reads are left out where an operator allows it (BatchNormalization's
 * statistics, MaxPool's indices, Dropout's mask), so that they are not computed. */
static void trim_outputs(struct node *n, const bool *live) {
    static const char *const names[] = {"BatchNormalization", "MaxPool", "Dropout",
                                        "LayerNormalization"};
    bool may = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        may = may || node_is(n, names[i]);
    while (may && n->out_count > 1 &&
           (n->out[n->out_count - 1] < 0 || !live[n->out[n->out_count - 1]]))
        n->out_count--;
}

enum cohort_code pass_remove_dead(struct graph *g, struct cohort_error *err) {
    bool *live = mem_zalloc((size_t)g->value_count, sizeof *live);
    if (live == NULL)
        return error_memory(err, (unsigned long long)g->value_count, "a pass");
    for (int i = 0; i < g->output_count; i++)
        live[g->outputs[i]] = true;
    for (int i = g->node_count - 1; i >= 0; i--) {
        struct node *n = &g->nodes[i];
        bool wanted = false;
        for (int k = 0; k < n->out_count; k++)
            wanted = wanted || (n->out[k] >= 0 && live[n->out[k]]);
        if (!wanted) {
            graph_release_node(n);
            continue;
        }
        trim_outputs(n, live);
        for (int k = 0; k < n->in_count; k++)
            if (n->in[k] >= 0)
                live[n->in[k]] = true;
        if (n->weight_scale >= 0)
            live[n->weight_scale] = true;
    }
    for (int i = 0; i < g->value_count; i++) {
        struct value *v = graph_value(g, i);
        if (v->is_constant && !live[i]) {
            tensor_release(&v->constant);
            mem_free(v->content_hash);
            v->content_hash = NULL;
            v->is_constant = false;
        }
    }
    mem_free(live);
    graph_compact(g);
    return COHORT_OK;
}
