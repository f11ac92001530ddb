/* Patterns that exporters write out in small operators, turned back into the operator they mean. */
#include "graph/pass_recognise.h"

#include "base/mem.h"

/* Are the axes of ReduceMean n all but the first two of its input? */
static bool averages_pixels(const struct graph *g, const struct node *n) {
    const struct shape *s = &node_in(g, n, 0)->shape;
    int64_t axes[INTS_MAX];
    bool has[RANK_MAX] = {false};
    int count = 0, axis = 0;
    if (!shape_known(s) || (s->rank != 3 && s->rank != 4) || shape_count(s) == 0 ||
        !const_ints(g, n, "axes", 1, axes, &count) || count != s->rank - 2)
        return false;
    for (int i = 0; i < count; i++) {
        if (!shape_axis(axes[i], s->rank, &axis) || axis < 2 || has[axis])
            return false;
        has[axis] = true;
    }
    return true;
}

/* With keepdims the mean runs on maps as it is; without, its result is no map, but a view of one.
 */
enum cohort_code recognise_mean(struct graph *g, int index, bool *done, struct cohort_error *err) {
    const struct op_desc *pool = op_find("", "GlobalAveragePool", 1);
    struct node *n = &g->nodes[index];
    if (!node_is(n, "ReduceMean") || node_attr_int(n, "keepdims", 1) != 0 || pool == NULL ||
        !value_is_f32(g, n->in[0]) || !averages_pixels(g, n))
        return COHORT_OK;
    int x = n->in[0], y = n->out[0], in[2] = {-1, -1};
    const struct shape flat = graph_value(g, y)->shape;
    struct shape pooled = graph_value(g, x)->shape;
    for (int i = 2; i < pooled.rank; i++)
        pooled.dim[i] = 1;
    enum cohort_code code = COHORT_OK;
    char *name = fresh_name(g, graph_value(g, y)->name, ".pooled");
    if (name == NULL)
        return error_memory(err, 64, "a name");
    TRY(graph_add_value(g, name, &in[0], err));
    graph_value(g, in[0])->type = DT_F32;
    graph_value(g, in[0])->shape = pooled;
    TRY(new_constant_i64(g, graph_value(g, y)->name, ".shape", flat.dim, flat.rank, &in[1], err));
    TRY(graph_add_node(g, index, name, pool, &x, 1, &in[0], 1, NULL, 0, NULL, err));
    TRY(node_become(g, &g->nodes[index + 1], "", "Reshape", 13, in, 2, done, err));
out:
    mem_free(name);
    return code;
}

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
        if (code == COHORT_OK && !done)
            code = recognise_mean(g, i, &done, err);
    }
    if (code == COHORT_OK)
        code = pass_remove_dead(g, err);
    return code;
}
