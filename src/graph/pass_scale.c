/* A product of a map with one factor for each channel (the end of squeeze-and-excite), read by a
 * convolution with 1x1 windows alone: the convolution takes the factors, and its kernel multiplies
 * its weights by them instead of the map.
 *
 * Only where the weights are much smaller than the map, because every item of work makes its own
 * copy of them.  That depends on nothing but shapes, so all boards agree. */
#include "graph/pass_common.h"

#include "base/mem.h"

#define SMALLER 8

/* Is `id` a computed [N, C, 1, …] beside x's [N, C, H, …]?  (N may be 1.) */
static bool is_factors(const struct graph *g, int id, int x) {
    const struct shape *s = &graph_value(g, id)->shape, *m = &graph_value(g, x)->shape;
    if (graph_value(g, id)->is_constant || !value_is_f32(g, id) || !shape_known(s) ||
        !shape_known(m) || s->rank != m->rank || s->rank < 3 || s->dim[1] != m->dim[1] ||
        (s->dim[0] != m->dim[0] && s->dim[0] != 1))
        return false;
    return shape_product(s, 2, s->rank) == 1 && shape_product(m, 2, m->rank) > 1;
}

/* A Conv of maps with 1x1 windows, one group, and weights much smaller than its input x. */
static bool takes_factors(const struct graph *g, const struct node *n, int x) {
    const struct shape *m = &graph_value(g, x)->shape;
    const struct value *w = n->in_count > 1 ? node_in(g, n, 1) : NULL;
    if (!node_is(n, "Conv") || n->in[0] != x || n->group != 1 || w == NULL || !w->is_constant ||
        shape_product(&w->shape, 2, w->shape.rank) != 1 || !node_map_ok(g, n))
        return false;
    return w->shape.dim[0] * SMALLER <= shape_product(m, 2, m->rank);
}

static enum cohort_code fuse_factors(struct graph *g, struct node *product,
                                     const struct op_desc *scaled, struct cohort_error *err) {
    if (!node_is(product, "Mul") || product->in_count != 2 || product->epilogue.act != ACT_NONE ||
        product->epilogue.residual >= 0 || !value_is_f32(g, product->out[0]))
        return COHORT_OK;
    int user = only_user(g, product->out[0]), x = -1, factors = -1;
    for (int i = 0; i < 2 && x < 0; i++)
        if (is_factors(g, product->in[i], product->in[1 - i]) &&
            same_known_shape(g, product->in[1 - i], product->out[0])) {
            factors = product->in[i];
            x = product->in[1 - i];
        }
    if (user < 0 || x < 0 || !takes_factors(g, &g->nodes[user], product->out[0]))
        return COHORT_OK;
    struct node *n = &g->nodes[user];
    int residual = n->epilogue.residual >= 0 ? n->in[n->epilogue.residual] : -1;
    bool bias = n->in_count > 2 && n->epilogue.residual != 2;
    int in[5] = {x, n->in[1], factors, bias ? n->in[2] : residual, residual};
    enum cohort_code code = node_set_in_count(n, 3 + bias + (residual >= 0), err);
    if (code != COHORT_OK)
        return code;
    for (int i = 0; i < n->in_count; i++)
        n->in[i] = in[i];
    if (residual >= 0)
        n->epilogue.residual = n->in_count - 1;
    n->op = scaled;
    n->opset = 1;
    graph_release_node(product);
    graph_relink(g);
    return COHORT_OK;
}

enum cohort_code pass_fuse_scale(struct graph *g, struct cohort_error *err) {
    const struct op_desc *scaled = op_find("cohort", "ScaledConv", 1);
    enum cohort_code code = COHORT_OK;
    BUG_UNLESS(scaled != NULL);
    graph_relink(g);
    for (int i = 0; i < g->node_count && code == COHORT_OK; i++)
        code = fuse_factors(g, &g->nodes[i], scaled, err);
    graph_compact(g);
    return code;
}
