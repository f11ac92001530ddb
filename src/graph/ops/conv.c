/* Conv: convolution over any number of spatial axes, with groups, strides, dilations and pads.
 *
 * X [N, C, spatial…], W [M, C/group, kernel…], B [M] or none; Y [N, M, spatial…].  Opset 7 and up
 * (opset 11 only made defaults explicit, opset 22 added bfloat16). */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

static enum cohort_code check_channels(struct node *n, const struct tensor *x,
                                       const struct tensor *w, const struct tensor *b,
                                       struct cohort_error *err) {
    int64_t group = node_attr_int(n, "group", 1);
    int64_t channels = x->shape.dim[1], out = w->shape.dim[0], per_group = w->shape.dim[1];
    if (group < 1 || (out >= 0 && out % group != 0))
        return error_set(err, COHORT_ERR_SHAPE, "%lld groups do not divide %lld output channels",
                         (long long)group, (long long)out);
    if (channels >= 0 && per_group >= 0 && (channels % group != 0 || channels / group != per_group))
        return error_set(err, COHORT_ERR_SHAPE,
                         "the input has %lld channels, but the weights are for %lld in %lld "
                         "group(s)",
                         (long long)channels, (long long)per_group, (long long)group);
    if (b != NULL && b->shape.rank >= 0 &&
        (b->shape.rank != 1 || (b->shape.dim[0] >= 0 && out >= 0 && b->shape.dim[0] != out)))
        return error_set(err, COHORT_ERR_SHAPE, "the bias is not a list of %lld", (long long)out);
    n->group = group;
    return COHORT_OK;
}

static enum cohort_code conv_window(struct window_nd *win, const struct node *n,
                                    const struct tensor *x, const struct tensor *w,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (x->shape.rank != w->shape.rank)
        return error_set(err, COHORT_ERR_SHAPE, "an input of rank %d with weights of rank %d",
                         x->shape.rank, w->shape.rank);
    TRY(window_read(win, n, &x->shape, w->shape.dim + 2, err));
    TRY(window_slide(win, n, err));
out:
    return code;
}

static enum cohort_code conv_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd win;
    struct shape y = shape_unknown(-1);
    const struct tensor *x = in[0], *w = in[1], *b = window_bias(n, in);
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(op_need_same(n, in, 1, err));
    if (b != NULL)
        TRY(op_need_same(n, in, 2, err));
    if (x->shape.rank >= 0 && w->shape.rank >= 0) {
        TRY(conv_window(&win, n, x, w, err));
        TRY(check_channels(n, x, w, b, err));
        y = shape_unknown(x->shape.rank);
        y.dim[0] = x->shape.dim[0];
        y.dim[1] = w->shape.dim[0];
        for (int i = 0; i < win.rank; i++)
            y.dim[i + 2] = win.out[i];
        window_store(&win, n);
    }
    op_out(n, out, 0, x->type, &y);
out:
    return code;
}

/* One output channel: every tap of every input channel of its group, in that order. */
static void convolve(const struct window_nd *win, const double *x, int64_t in_count,
                     const double *weights, int64_t channels, double *sum) {
    int64_t taps = window_taps(win);
    struct window_walk k;
    for (int64_t c = 0; c < channels; c++) {
        const double *from = x + c * in_count;
        for (int64_t t = 0; t < taps; t++) {
            double w = weights[c * taps + t];
            for (walk_begin(&k, win, win->out, win->in, t); k.more; walk_next(&k))
                for (int64_t j = 0; j < k.run; j++)
                    sum[k.near + j] += w * from[k.far + j * k.step];
        }
    }
}

static enum cohort_code conv_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd win;
    double *x = NULL, *w = NULL, *sum = NULL;
    const struct tensor *b = window_bias(n, in);
    const struct shape *xs = &in[0]->shape, *ws = &in[1]->shape, *ys = &out[0]->shape;
    int64_t in_count = shape_product(xs, 2, xs->rank), out_count = shape_product(ys, 2, ys->rank);
    int64_t per_group = ws->dim[1], out_per_group = ws->dim[0] / n->group;
    TRY(conv_window(&win, n, in[0], in[1], err));
    TRY(window_doubles(in[0], &x, err));
    TRY(window_doubles(in[1], &w, err));
    sum = mem_alloc((size_t)out_count * sizeof *sum);
    if (sum == NULL) {
        code = error_memory(err, (unsigned long long)out_count * sizeof *sum, "a channel");
        goto out;
    }
    for (int64_t plane = 0; plane < ys->dim[0] * ys->dim[1]; plane++) {
        int64_t image = plane / ys->dim[1], oc = plane % ys->dim[1];
        int64_t first = image * xs->dim[1] + oc / out_per_group * per_group;
        for (int64_t i = 0; i < out_count; i++)
            sum[i] = b != NULL ? tensor_get_f64(b, oc) : 0;
        convolve(&win, x + first * in_count, in_count, w + oc * per_group * window_taps(&win),
                 per_group, sum);
        window_put(out[0], plane * out_count, out_count, sum);
    }
out:
    mem_free(sum);
    mem_free(w);
    mem_free(x);
    return code;
}

/* ---- with a factor for each input channel ---------------------------------------------------- */

/* ScaledConv (made by pass_fuse_scale): X, W, S [N, C, 1, …], B or none: Conv of X * S. */
#define FACTORS 2
#define BIAS    3

static enum cohort_code scaled_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    const struct tensor *const conv_in[3] = {in[0], in[1], op_in(n, in, BIAS)};
    enum cohort_code code = op_need_same(n, in, FACTORS, err);
    return code == COHORT_OK ? conv_infer(n, conv_in, out, err) : code;
}

static enum cohort_code scaled_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    const struct tensor *x = in[0], *s = in[FACTORS];
    struct tensor product = {0};
    int64_t pixels = shape_product(&x->shape, 2, x->shape.rank), count = shape_count(&x->shape);
    int64_t factors = shape_count(&s->shape); /* N * C, or C for all images */
    enum cohort_code code = tensor_init(&product, x->type, &x->shape, err);
    if (code != COHORT_OK)
        return code;
    for (int64_t i = 0; i < count; i++)
        tensor_set_f64(&product, i, tensor_get_f64(x, i) * tensor_get_f64(s, i / pixels % factors));
    const struct tensor *const conv_in[3] = {&product, in[1], op_in(n, in, BIAS)};
    code = conv_eval(n, conv_in, out, err);
    tensor_release(&product);
    return code;
}

static bool scaled_map_input(const struct graph *g, const struct node *n, int i) {
    return i == FACTORS || window_map_input(g, n, i);
}

static bool scaled_map_ok(const struct graph *g, const struct node *n) {
    const struct value *bias = node_in(g, n, BIAS);
    struct node conv = *n;
    conv.in_count = FACTORS;
    return map_value(g, n->in[FACTORS]) && !graph_value(g, n->in[FACTORS])->is_constant &&
           (bias == NULL || bias->is_constant) && window_map_ok(g, &conv);
}

/* The factors are one row, which every row needs. */
static void scaled_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    if (i != FACTORS)
        window_rows(g, n, i, map);
}

static double conv_flops(const struct graph *g, const struct node *n) {
    const struct value *w = node_in(g, n, 1), *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    if (count < 0 || w == NULL || !shape_known(&w->shape))
        return 0;
    return 2.0 * (double)count * (double)shape_product(&w->shape, 1, w->shape.rank);
}

const struct op_desc op_conv = {
    .name = "Conv",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = conv_infer,
    .eval = conv_eval,
    .map_ok = window_map_ok,
    .map_input = window_map_input,
    .rows = window_rows,
    .flops = conv_flops,
};

const struct op_desc op_scaled_conv = {
    .name = "ScaledConv",
    .domain = "cohort",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 4,
    .max_outputs = 1,
    .flags = OP_INTERNAL,
    .infer = scaled_infer,
    .eval = scaled_eval,
    .map_ok = scaled_map_ok,
    .map_input = scaled_map_input,
    .rows = scaled_rows,
    .flops = conv_flops,
};
