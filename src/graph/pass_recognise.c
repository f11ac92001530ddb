/* Patterns that exporters write out in small operators, turned back into the operator they mean. */
#include "graph/pass_recognise.h"

enum cohort_code pass_recognise(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    graph_relink(g);
    /* From the end, so that the longest pattern is seen first; new nodes only come after `i`. */
    for (int i = g->node_count - 1; i >= 0 && code == COHORT_OK; i--) {
        bool done = false;
        if (g->nodes[i].out_count != 1 || g->nodes[i].out[0] < 0)
            continue;
        code = recognise_product(g, &g->nodes[i], &done, err);
        if (code == COHORT_OK && !done)
            code = recognise_layer_norm(g, &g->nodes[i], &done, err);
        if (code == COHORT_OK && !done)
            code = recognise_moves(g, i, &done, err);
        if (code == COHORT_OK && !done)
            code = recognise_pad(g, i, &done, err);
    }
    if (code == COHORT_OK)
        code = pass_remove_dead(g, err);
    return code;
}
