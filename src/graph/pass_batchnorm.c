/* A constant factor and a constant addend per channel, folded into the linear operator before.
 *
 * BatchNormalization at inference is such an affine function, and so is a Mul, Div, Add or Sub of a
 * constant (pass_affine.h).  The bias is a new small constant.  A Conv's weights, which may be
 * hundreds of MB in a mapped file, are not touched: the factors are kept in node->weight_scale and
 * applied when they are packed.  ConvTranspose, Gemm, and a Conv that runs through its evaluator
 * (three spatial axes) get new weights. */
#include "graph/pass_affine.h"

/* ---- the linear operator before -------------------------------------------------------------- */

/* Bias c of node n (input 2) as it enters the result: zero when left out; Gemm's times beta. */
static double bias_of(const struct graph *g, const struct node *n, int64_t c) {
    const struct tensor *t = node_const(g, n, 2);
    if (t == NULL)
        return 0;
    double v = tensor_get_f64(t, shape_count(&t->shape) == 1 ? 0 : c);
    return node_is(n, "Gemm") ? v * (double)node_attr_float(n, "beta", 1) : v;
}

/* Is the bias left out, or a constant of one number per channel (for Gemm also a single one)? */
static bool bias_fits(const struct graph *g, const struct node *n, int64_t channels) {
    const struct tensor *t = node_const(g, n, 2);
    if (node_in(g, n, 2) == NULL)
        return true;
    if (t == NULL || t->data == NULL || t->type != DT_F32)
        return false;
    int64_t count = shape_count(&t->shape),
            last = t->shape.rank > 0 ? t->shape.dim[t->shape.rank - 1] : 1;
    return (count == channels && last == channels) || (count == 1 && node_is(n, "Gemm"));
}

static bool linear_fits(const struct graph *g, const struct node *n) {
    const struct tensor *w = node_const(g, n, 1);
    const struct value *out = node_out(g, n, 0);
    if (!node_is(n, "Conv") && !node_is(n, "ConvTranspose") && !node_is(n, "Gemm"))
        return false;
    return out->type == DT_F32 && w != NULL && w->data != NULL && w->type == DT_F32 &&
           shape_known(&out->shape) && out->shape.rank >= 2 && n->epilogue.act == ACT_NONE &&
           n->epilogue.residual < 0 && bias_fits(g, n, out->shape.dim[1]);
}

static enum cohort_code set_bias(struct graph *g, int index, const struct affine *a,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct node *n = &g->nodes[index];
    struct shape shape = {.rank = 1, .dim = {a->channels}};
    int id = -1;
    TRY(new_constant_f32(g, graph_value(g, n->out[0])->name, ".bias", &shape, &id, err));
    for (int64_t c = 0; c < a->channels; c++)
        tensor_f32(&graph_value(g, id)->constant)[c] =
            (float)(bias_of(g, n, c) * a->factor[c] + a->addend[c]);
    if (n->in_count < 3)
        TRY(node_set_in_count(n, 3, err));
    n->in[2] = id;
    if (node_is(n, "Gemm"))
        TRY(node_set_float(n, "beta", 1, err));
out:
    return code;
}

static enum cohort_code set_weight_scale(struct graph *g, int index, const struct affine *a,
                                         struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    struct shape shape = {.rank = 1, .dim = {a->channels}};
    int id = -1;
    enum cohort_code code =
        new_constant_f32(g, graph_value(g, n->out[0])->name, ".weight_scale", &shape, &id, err);
    if (code != COHORT_OK)
        return code;
    const struct tensor *old =
        n->weight_scale >= 0 ? &graph_value(g, n->weight_scale)->constant : NULL;
    for (int64_t c = 0; c < a->channels; c++)
        tensor_f32(&graph_value(g, id)->constant)[c] =
            (float)((old == NULL ? 1 : tensor_get_f64(old, c)) * a->factor[c]);
    n->weight_scale = id;
    return COHORT_OK;
}

/* Which output channel does weight element i of node n count for? */
static int64_t channel_of_weight(const struct node *n, const struct shape *w, int64_t channels,
                                 int64_t i) {
    if (node_is(n, "Conv"))
        return i / shape_product(w, 1, w->rank);
    if (node_is(n, "Gemm"))
        return node_attr_int(n, "transB", 0) ? i / w->dim[1] : i % w->dim[1];
    int64_t groups = node_attr_int(n, "group", 1); /* ConvTranspose: [in][out/groups][…] */
    int64_t area = shape_product(w, 2, w->rank), each = channels / groups;
    return i / area / w->dim[1] / (w->dim[0] / groups) * each + i / area % w->dim[1];
}

static enum cohort_code scale_weights(struct graph *g, int index, const struct affine *a,
                                      struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    const struct shape shape = node_in(g, n, 1)->shape;
    int id = -1;
    enum cohort_code code =
        new_constant_f32(g, graph_value(g, n->in[1])->name, ".scaled", &shape, &id, err);
    if (code != COHORT_OK)
        return code;
    const struct tensor *old = node_const(g, n, 1);
    float *w = tensor_f32(&graph_value(g, id)->constant);
    int64_t count = shape_count(&shape);
    tensor_load_f32(old, 0, count, w);
    for (int64_t i = 0; i < count; i++)
        w[i] = (float)((double)w[i] * a->factor[channel_of_weight(n, &shape, a->channels, i)]);
    n->in[1] = id;
    return COHORT_OK;
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* Folds node `index` into the one before it, where it fits. */
static enum cohort_code fold(struct graph *g, int index, bool *done, struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    *done = false;
    if (n->op == NULL || n->out_count < 1 || n->out[0] < 0 || n->in_count < 1)
        return COHORT_OK;
    const struct shape shape = graph_value(g, n->out[0])->shape;
    if (!shape_known(&shape) || shape.rank < 2 || shape_count(&shape) == 0)
        return COHORT_OK;
    int data = affine_data_input(g, n);
    if (data < 0)
        return COHORT_OK;
    struct node *linear = producer_named(g, n->in[data], NULL);
    if (linear == NULL || only_user(g, n->in[data]) < 0 || !linear_fits(g, linear) ||
        !same_known_shape(g, n->in[data], n->out[0]))
        return COHORT_OK;
    struct affine a;
    enum cohort_code code = affine_read(g, n, &a, err);
    if (code != COHORT_OK)
        return code;
    int at = (int)(linear - g->nodes);
    if (a.scales) {
        if (node_is(linear, "Conv") && node_map_ok(g, linear))
            TRY(set_weight_scale(g, at, &a, err));
        else
            TRY(scale_weights(g, at, &a, err));
    }
    TRY(set_bias(g, at, &a, err));
    linear->out[0] = n->out[0];
    graph_release_node(n);
    graph_relink(g);
    *done = true;
out:
    affine_release(&a);
    return code;
}

/* A MatMul of rank 2 by constant weights, whose result gets a constant row added, is a Gemm. */
static enum cohort_code matmul_to_gemm(struct graph *g, int index, struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    if (!node_is(n, "Add") || n->in_count != 2 || n->out_count != 1)
        return COHORT_OK;
    for (int i = 0; i < 2; i++) {
        const struct node *m = producer_named(g, n->in[i], "MatMul");
        const struct tensor *bias = node_const(g, n, 1 - i);
        if (m == NULL || bias == NULL || bias->type != DT_F32 || only_user(g, n->in[i]) < 0 ||
            node_const(g, m, 1) == NULL || node_in(g, m, 0)->shape.rank != 2 ||
            node_in(g, m, 1)->shape.rank != 2 || !value_is_f32(g, n->out[0]) ||
            !same_known_shape(g, n->in[i], n->out[0]))
            continue;
        int64_t features = graph_value(g, n->out[0])->shape.dim[1];
        int64_t count = shape_count(&bias->shape);
        if (count != features || bias->shape.rank < 1 ||
            bias->shape.dim[bias->shape.rank - 1] != features)
            continue;
        int in[3] = {m->in[0], m->in[1], n->in[1 - i]};
        bool done = false;
        return node_become(g, n, "", "Gemm", 13, in, 3, &done, err);
    }
    return COHORT_OK;
}

enum cohort_code pass_fold_batchnorm(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    graph_relink(g);
    for (int i = 0; i < g->node_count && code == COHORT_OK; i++) {
        bool done = false;
        code = matmul_to_gemm(g, i, err);
        if (code == COHORT_OK)
            code = fold(g, i, &done, err);
    }
    /* What is left goes forwards; from the end, so that an Add is out of the way of the Mul before.
     */
    for (int i = g->node_count - 1; i >= 0 && code == COHORT_OK; i--)
        code = fold_affine_forward(g, i, err);
    graph_compact(g);
    return code;
}
