/* Reductions over the pixels of a map in two steps: over the pixels of each row, and then over the
 * rows.
 *
 * The first is an operator like any other that can be divided by rows, and what it makes is small:
 * C numbers a row.  So the map may stay where its rows are, and only these vectors are brought
 * together (global pools, squeeze-and-excite).  The second step takes them in the rows' order
 * wherever it runs, so any division has the bits of one board.  A mean is a mean of means, not of
 * sums, which as float16 on their way might be too large; for the same reason ReduceSum stays in
 * one piece.  After pass_choose_forms(): a plain tensor would gain nothing. */
#include "graph/pass_common.h"

#include "base/mem.h"

/* The operator of the first step; NULL: n is no such reduction. */
static const char *of_each_row(const struct node *n) {
    static const char *const names[][2] = {{"GlobalAveragePool", "ReduceMean"},
                                           {"GlobalMaxPool", "ReduceMax"},
                                           {"ReduceMean", "ReduceMean"},
                                           {"ReduceMax", "ReduceMax"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (node_is(n, names[i][0]))
            return names[i][1];
    return NULL;
}

/* From a map of several rows and columns to one pixel? */
static bool reduces_pixels(const struct graph *g, const struct node *n) {
    const struct value *x = node_in(g, n, 0), *y = node_out(g, n, 0);
    if (x == NULL || y == NULL || x->form != FORM_MAP || y->form != FORM_MAP)
        return false;
    const struct geometry from = value_geometry(x), to = value_geometry(y);
    return from.height > 1 && from.width > 1 && to.height == 1 && to.width == 1;
}

static enum cohort_code split_reduction(struct graph *g, int index, const struct op_desc *op,
                                        struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int x = g->nodes[index].in[0];
    struct node *added;
    int made;
    char *name = fresh_name(g, graph_value(g, g->nodes[index].out[0])->name, ".rows");
    if (name == NULL)
        return error_memory(err, 64, "a name");
    TRY(graph_add_value(g, name, &made, err));
    struct value *v = graph_value(g, made);
    v->type = DT_F32;
    v->form = FORM_MAP;
    v->shape = graph_value(g, x)->shape;
    v->shape.dim[v->shape.rank - 1] = 1;
    TRY(graph_add_node(g, index, name, op, &x, 1, &made, 1, NULL, 0, &added, err));
    added->opset = 11; /* with axes as an attribute */
    TRY(node_set_ints(added, "axes", (const int64_t[]){v->shape.rank - 1}, 1, err));
    g->nodes[index + 1].in[0] = made;
out:
    mem_free(name);
    return code;
}

enum cohort_code pass_reduce_rows(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < g->node_count && code == COHORT_OK; i++) {
        const char *name = of_each_row(&g->nodes[i]);
        const struct op_desc *op = name != NULL ? op_find("", name, 11) : NULL;
        if (op == NULL || !reduces_pixels(g, &g->nodes[i]))
            continue;
        code = split_reduction(g, i, op, err);
        i++; /* the node has moved one on */
    }
    graph_relink(g);
    return code;
}
