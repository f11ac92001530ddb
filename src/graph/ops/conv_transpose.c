/* ConvTranspose: every input element is spread over a window of the output.
 *
 * X [N, C, spatial…], W [C, M/group, kernel…], B [M] or none; Y [N, M, spatial…].  Opset 7 and up
 * (opset 11 only made defaults explicit, opset 22 added bfloat16). */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

static enum cohort_code check_channels(struct node *n, const struct tensor *x,
                                       const struct tensor *w, const struct tensor *b,
                                       struct cohort_error *err) {
    int64_t group = node_attr_int(n, "group", 1);
    int64_t channels = x->shape.dim[1], expected = w->shape.dim[0], per_group = w->shape.dim[1];
    if (channels >= 0 && expected >= 0 && channels != expected)
        return error_set(err, COHORT_ERR_SHAPE,
                         "the input has %lld channels, but the weights are for %lld",
                         (long long)channels, (long long)expected);
    if (group < 1 || (expected >= 0 && expected % group != 0))
        return error_set(err, COHORT_ERR_SHAPE, "%lld groups do not divide %lld input channels",
                         (long long)group, (long long)expected);
    if (per_group > INT32_MAX / group)
        return error_set(err, COHORT_ERR_SHAPE, "%lld times %lld output channels are too many",
                         (long long)group, (long long)per_group);
    if (b != NULL && b->shape.rank >= 0 &&
        (b->shape.rank != 1 ||
         (b->shape.dim[0] >= 0 && per_group >= 0 && b->shape.dim[0] / group != per_group) ||
         (b->shape.dim[0] >= 0 && b->shape.dim[0] % group != 0)))
        return error_set(err, COHORT_ERR_SHAPE, "the bias is not a list of %lld times %lld",
                         (long long)group, (long long)per_group);
    n->group = group;
    return COHORT_OK;
}

static enum cohort_code spread_window(struct window_nd *win, const struct node *n,
                                      const struct tensor *x, const struct tensor *w,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (x->shape.rank != w->shape.rank)
        return error_set(err, COHORT_ERR_SHAPE, "an input of rank %d with weights of rank %d",
                         x->shape.rank, w->shape.rank);
    TRY(window_read(win, n, &x->shape, w->shape.dim + 2, err));
    TRY(window_spread(win, n, err));
out:
    return code;
}

static enum cohort_code deconv_infer(struct node *n, const struct tensor *const in[],
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
        TRY(spread_window(&win, n, x, w, err));
        TRY(check_channels(n, x, w, b, err));
        y = shape_unknown(x->shape.rank);
        y.dim[0] = x->shape.dim[0];
        y.dim[1] = w->shape.dim[1] < 0 ? -1 : w->shape.dim[1] * n->group;
        for (int i = 0; i < win.rank; i++)
            y.dim[i + 2] = win.out[i];
        window_store(&win, n);
    }
    op_out(n, out, 0, x->type, &y);
out:
    return code;
}

/* One output channel.  `weights` is at [first input channel of the group][this channel]; the next
 * input channel's weights lie `pitch` further. */
static void spread(const struct window_nd *win, const double *x, int64_t in_count,
                   const double *weights, int64_t pitch, int64_t channels, double *sum) {
    int64_t taps = window_taps(win);
    struct window_walk k;
    for (int64_t c = 0; c < channels; c++) {
        const double *from = x + c * in_count;
        for (int64_t t = 0; t < taps; t++) {
            double w = weights[c * pitch + t];
            for (walk_begin(&k, win, win->in, win->out, t); k.more; walk_next(&k))
                for (int64_t j = 0; j < k.run; j++)
                    sum[k.far + j * k.step] += w * from[k.near + j];
        }
    }
}

static enum cohort_code deconv_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd win;
    double *x = NULL, *w = NULL, *sum = NULL;
    const struct tensor *b = window_bias(n, in);
    const struct shape *xs = &in[0]->shape, *ws = &in[1]->shape, *ys = &out[0]->shape;
    int64_t in_count = shape_product(xs, 2, xs->rank), out_count = shape_product(ys, 2, ys->rank);
    int64_t per_group = ws->dim[0] / n->group, out_per_group = ws->dim[1];
    TRY(spread_window(&win, n, in[0], in[1], err));
    TRY(window_doubles(in[0], &x, err));
    TRY(window_doubles(in[1], &w, err));
    sum = mem_alloc((size_t)out_count * sizeof *sum);
    if (sum == NULL) {
        code = error_memory(err, (unsigned long long)out_count * sizeof *sum, "a channel");
        goto out;
    }
    int64_t taps = window_taps(&win);
    for (int64_t plane = 0; plane < ys->dim[0] * ys->dim[1]; plane++) {
        int64_t image = plane / ys->dim[1], oc = plane % ys->dim[1];
        int64_t ic = oc / out_per_group * per_group;
        for (int64_t i = 0; i < out_count; i++)
            sum[i] = b != NULL ? tensor_get_f64(b, oc) : 0;
        spread(&win, x + (image * xs->dim[1] + ic) * in_count, in_count,
               w + (ic * out_per_group + oc % out_per_group) * taps, out_per_group * taps,
               per_group, sum);
        window_put(out[0], plane * out_count, out_count, sum);
    }
out:
    mem_free(sum);
    mem_free(w);
    mem_free(x);
    return code;
}

/* Output row y gets input row r through tap t where r*stride + t*dilation - pad = y, so r lies in
 * ceil((y + pad - (kernel-1)*dilation) / stride) … floor((y + pad) / stride). */
static void deconv_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    const struct window *w = &n->window;
    if (!rows_of_maps(g, n, i))
        return;
    if (i == n->epilogue.residual) {
        rows_same(g, n, i, map);
        return;
    }
    map->kind = ROWMAP_AFFINE;
    map->num = 1;
    map->den = w->stride[0];
    map->hi = w->pad_begin[0];
    map->lo = w->pad_begin[0] - (w->kernel[0] - 1) * w->dilation[0] + w->stride[0] - 1;
    if (map->lo > map->hi) /* rows that no tap reaches: ask for one row all the same */
        map->lo = map->hi;
}

static double deconv_flops(const struct graph *g, const struct node *n) {
    const struct value *x = node_in(g, n, 0), *w = node_in(g, n, 1);
    int64_t count = x != NULL ? shape_count(&x->shape) : -1;
    if (count < 0 || w == NULL || !shape_known(&w->shape))
        return 0;
    return 2.0 * (double)count * (double)shape_product(&w->shape, 1, w->shape.rank);
}

const struct op_desc op_conv_transpose = {
    .name = "ConvTranspose",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = deconv_infer,
    .eval = deconv_eval,
    .map_ok = window_map_ok,
    .map_input = window_map_input,
    .rows = deconv_rows,
    .flops = deconv_flops,
};
