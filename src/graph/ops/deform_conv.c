/* DeformConv: convolution whose every tap is moved by an offset of its own (Dai and others,
 * Deformable Convolutional Networks, 2017), and, with a mask, weighed (Zhu and others, 2019).
 *
 * X [N, C, H, W], W [M, C/group, kh, kw], offset [N, G*kh*kw*2, H', W'] (of each of the G offset
 * groups and each tap the row's offset, then the column's), B [M] or none, mask
 * [N, G*kh*kw, H', W'] or none; Y [N, M, H', W'].  Between pixels values are interpolated linearly;
 * pixels beyond the edge are zero.  Opset 19 and up. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>

enum { IN_X, IN_W, IN_OFFSET, IN_B, IN_MASK };

/* An input of the shape [N, channels, H', W'], as far as both are known. */
static enum cohort_code check_moved(const struct tensor *t, const struct shape *y, int64_t channels,
                                    const char *name, struct cohort_error *err) {
    const int64_t want[4] = {y->dim[0], channels, y->dim[2], y->dim[3]};
    bool fits = t->shape.rank < 0 || t->shape.rank == 4;
    for (int i = 0; fits && i < t->shape.rank; i++)
        fits = t->shape.dim[i] < 0 || want[i] < 0 || t->shape.dim[i] == want[i];
    if (!fits) {
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        struct shape wanted = shape_of(4, want);
        return error_set(err, COHORT_ERR_SHAPE, "the %s is %s; %s is needed", name,
                         shape_text(&t->shape, a, sizeof a), shape_text(&wanted, b, sizeof b));
    }
    return COHORT_OK;
}

static enum cohort_code check_groups(struct node *n, const struct shape *x, const struct shape *w,
                                     struct cohort_error *err) {
    int64_t group = node_attr_int(n, "group", 1), moved = node_attr_int(n, "offset_group", 1);
    if (group < 1 || (w->dim[0] >= 0 && w->dim[0] % group != 0) ||
        (x->dim[1] >= 0 && w->dim[1] >= 0 &&
         (x->dim[1] % group != 0 || x->dim[1] / group != w->dim[1])))
        return error_set(err, COHORT_ERR_SHAPE,
                         "weights for %lld input and %lld output channels in %lld group(s), but "
                         "the input has %lld channels",
                         (long long)w->dim[1], (long long)w->dim[0], (long long)group,
                         (long long)x->dim[1]);
    if (moved < 1 || moved > INT32_MAX || (x->dim[1] >= 0 && x->dim[1] % moved != 0))
        return error_set(err, COHORT_ERR_SHAPE, "%lld offset groups do not divide %lld channels",
                         (long long)moved, (long long)x->dim[1]);
    n->group = group;
    return COHORT_OK;
}

static enum cohort_code deform_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd win;
    const struct shape *x = &in[IN_X]->shape, *w = &in[IN_W]->shape;
    const struct tensor *b = op_in(n, in, IN_B), *mask = op_in(n, in, IN_MASK);
    struct shape y = shape_unknown(x->rank < 0 ? -1 : 4);
    TRY(op_need_all(n, in, TYPES_FLOAT, err));
    if ((x->rank >= 0 && x->rank != 4) || (w->rank >= 0 && w->rank != 4))
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "an input of rank %d with weights of rank %d; images, of rank 4, are "
                         "possible",
                         x->rank, w->rank);
    if (x->rank == 4 && w->rank == 4) {
        TRY(window_read(&win, n, x, w->dim + 2, err));
        TRY(window_slide(&win, n, err));
        TRY(check_groups(n, x, w, err));
        int64_t moved = node_attr_int(n, "offset_group", 1);
        bool known = win.kernel[0] >= 0 && win.kernel[1] >= 0;
        int64_t taps = known ? window_taps(&win) * moved : -1;
        y = shape_of(4, (int64_t[]){x->dim[0], w->dim[0], win.out[0], win.out[1]});
        TRY(check_moved(in[IN_OFFSET], &y, known ? 2 * taps : -1, "offset", err));
        if (mask != NULL)
            TRY(check_moved(mask, &y, taps, "mask", err));
        if (b != NULL && b->shape.rank >= 0 &&
            (b->shape.rank != 1 ||
             (b->shape.dim[0] >= 0 && w->dim[0] >= 0 && b->shape.dim[0] != w->dim[0])))
            return error_set(err, COHORT_ERR_SHAPE, "the bias is not a list of %lld",
                             (long long)w->dim[0]);
        window_store(&win, n);
    }
    op_out(n, out, 0, in[IN_X]->type, &y);
out:
    return code;
}

/* ---- computing ------------------------------------------------------------------------------- */

struct deform {
    struct window_nd win;
    int64_t channels, moved, taps, out_count;
    double *x, *w, *offset, *mask; /* mask may be NULL */
    double *taken;                 /* [channels][taps]: what the taps of one output pixel read */
};

/* The value between pixels, for `count` channels `pitch` apart; into to[0], to[step] … */
static void interpolate(const struct window_nd *win, const double *x, double y_at, double x_at,
                        double weight, int64_t count, int64_t step, double *to) {
    const int64_t height = win->in[0], width = win->in[1];
    const double top = floor(y_at), left = floor(x_at), below = y_at - top, right = x_at - left;
    for (int64_t c = 0; c < count; c++)
        to[c * step] = 0;
    if (!(y_at > -1 && y_at < (double)height && x_at > -1 && x_at < (double)width))
        return; /* a NaN too */
    for (int k = 0; k < 4; k++) {
        const int64_t py = (int64_t)top + k / 2, px = (int64_t)left + k % 2;
        const double part = (k / 2 ? below : 1 - below) * (k % 2 ? right : 1 - right) * weight;
        if (py < 0 || py >= height || px < 0 || px >= width || part == 0)
            continue;
        for (int64_t c = 0; c < count; c++)
            to[c * step] += part * x[(c * height + py) * width + px];
    }
}

/* What all taps of output pixel `at` (oy, ox) of an image read. */
static void take_taps(const struct deform *d, int64_t image, int64_t at) {
    const struct window_nd *win = &d->win;
    const int64_t oy = at / win->out[1], ox = at % win->out[1], each = d->channels / d->moved;
    const int64_t plane = win->in[0] * win->in[1];
    for (int64_t g = 0; g < d->moved; g++)
        for (int64_t k = 0; k < d->taps; k++) {
            const int64_t tap = (image * d->moved + g) * d->taps + k;
            const double *offset = d->offset + 2 * tap * d->out_count + at;
            const int64_t ky = k / win->kernel[1], kx = k % win->kernel[1];
            const int64_t y = oy * win->stride[0] + ky * win->dilation[0] - win->pad_begin[0];
            const int64_t x = ox * win->stride[1] + kx * win->dilation[1] - win->pad_begin[1];
            interpolate(win, d->x + (image * d->channels + g * each) * plane, (double)y + offset[0],
                        (double)x + offset[d->out_count],
                        d->mask != NULL ? d->mask[tap * d->out_count + at] : 1, each, d->taps,
                        d->taken + g * each * d->taps + k);
        }
}

static void convolve(const struct deform *d, const struct node *n, const struct tensor *const in[],
                     struct tensor *y) {
    const int64_t out_c = y->shape.dim[1], per_group = in[IN_W]->shape.dim[1] * d->taps;
    const struct tensor *b = op_in(n, in, IN_B);
    for (int64_t image = 0; image < y->shape.dim[0]; image++)
        for (int64_t at = 0; at < d->out_count; at++) {
            take_taps(d, image, at);
            for (int64_t oc = 0; oc < out_c; oc++) {
                const double *taken = d->taken + oc / (out_c / n->group) * per_group;
                double sum = b != NULL ? tensor_get_f64(b, oc) : 0;
                for (int64_t i = 0; i < per_group; i++)
                    sum += taken[i] * d->w[oc * per_group + i];
                tensor_set_f64(y, (image * out_c + oc) * d->out_count + at, sum);
            }
        }
}

static enum cohort_code deform_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct deform d = {.channels = in[IN_X]->shape.dim[1],
                       .moved = node_attr_int(n, "offset_group", 1)};
    const struct tensor *mask = op_in(n, in, IN_MASK);
    TRY(window_read(&d.win, n, &in[IN_X]->shape, in[IN_W]->shape.dim + 2, err));
    TRY(window_slide(&d.win, n, err));
    d.taps = window_taps(&d.win);
    d.out_count = d.win.out[0] * d.win.out[1];
    TRY(window_doubles(in[IN_X], &d.x, err));
    TRY(window_doubles(in[IN_W], &d.w, err));
    TRY(window_doubles(in[IN_OFFSET], &d.offset, err));
    if (mask != NULL)
        TRY(window_doubles(mask, &d.mask, err));
    d.taken = mem_zalloc((size_t)(d.channels * d.taps), sizeof *d.taken);
    if (d.taken == NULL)
        TRY(error_memory(err, (size_t)(d.channels * d.taps) * sizeof *d.taken, "a window"));
    if (shape_count(&out[0]->shape) > 0)
        convolve(&d, n, in, out[0]);
out:
    mem_free(d.taken);
    mem_free(d.mask);
    mem_free(d.offset);
    mem_free(d.w);
    mem_free(d.x);
    return code;
}

static double deform_flops(const struct graph *g, const struct node *n) {
    const struct value *w = node_in(g, n, IN_W), *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    if (count < 0 || w == NULL || !shape_known(&w->shape))
        return 0;
    return 2.0 * (double)count * (double)shape_product(&w->shape, 1, w->shape.rank);
}

const struct op_desc op_deform_conv = {
    .name = "DeformConv",
    .domain = "",
    .since = 19,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 5,
    .max_outputs = 1,
    .infer = deform_infer,
    .eval = deform_eval,
    .flops = deform_flops,
};
