/* Depthwise convolution (one filter a channel): lanes are channels, no reduction across them.
 *
 * Four pixels of one vector of lanes at a time, so that the tap's weights are loaded once for four
 * products.  Packed weights: [block][kh][kw][16 lanes]. */
#include "kernels/axis.h"
#include "kernels/generic/vec.h"
#include "kernels/kernel.h"

#define TILE 4

static double rate(const struct conv_shape *s) {
    return s->groups == s->in_c && s->out_c == s->in_c && s->in_c > 1 ? 2.0 : 0.0;
}

static size_t weights_bytes(const struct conv_shape *s) {
    size_t blocks = (size_t)(s->out_c + BLOCK - 1) / BLOCK;
    return blocks * (size_t)s->kernel_h * (size_t)s->kernel_w * BLOCK * sizeof(float);
}

static void pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed) {
    int taps = s->kernel_h * s->kernel_w;
    float *to = (float *)packed + (size_t)(oc0 / BLOCK) * (size_t)taps * BLOCK;
    for (int j = 0; j < count; j++)
        for (int t = 0; t < taps; t++)
            to[t * BLOCK + j] = w[(size_t)j * (size_t)taps + (size_t)t];
}

/* One row's run of pixels: everything that the inner loops step by. */
struct line {
    const float *in, *w, *bias;
    float *out;
    ptrdiff_t in_pixel, in_x, in_y, out_pixel, w_y;
    int taps_y, taps_x;
};

/* With a constant `taps_x` the compiler unrolls the taps; TAPS_ANY reads their number from l. */
#define TAPS_ANY 0

static ALWAYS_INLINE void line_tile(const struct line *l, int x, int lane, const int pixels,
                                    const int taps) {
    vec sum[TILE];
    const int taps_x = taps == TAPS_ANY ? l->taps_x : taps;
    for (int p = 0; p < pixels; p++)
        sum[p] = vec_set(0.0f);
    for (int ky = 0; ky < l->taps_y; ky++) {
        const float *in = l->in + ky * l->in_y + x * l->in_pixel + lane;
        const float *w = l->w + ky * l->w_y + lane;
        for (int kx = 0; kx < taps_x; kx++, in += l->in_x, w += BLOCK)
            for (int p = 0; p < pixels; p++)
                sum[p] += vec_load(in + p * l->in_pixel) * *(const vec *)w;
    }
    for (int p = 0; p < pixels; p++)
        vec_store(l->out + (x + p) * l->out_pixel + lane, vec_load(l->bias + lane) + sum[p]);
}

static ALWAYS_INLINE void line_taps(const struct line *args, int count, const int taps) {
    const struct line l = *args; /* a copy: stores to the output cannot change it */
    for (int lane = 0; lane < BLOCK; lane += VL) {
        int x = 0;
        for (; x + TILE <= count; x += TILE)
            line_tile(&l, x, lane, TILE, taps);
        for (; x < count; x++)
            line_tile(&l, x, lane, 1, taps);
    }
}

static void line_blocked(const struct line *l, int count) {
    if (l->taps_x == 3)
        line_taps(l, count, 3);
    else if (l->taps_x == 5)
        line_taps(l, count, 5);
    else
        line_taps(l, count, TAPS_ANY);
}

static void line_narrow(const struct line *l, int count, int lanes) {
    for (int x = 0; x < count; x++) {
        float sum[BLOCK];
        for (int j = 0; j < lanes; j++)
            sum[j] = 0.0f;
        for (int ky = 0; ky < l->taps_y; ky++) {
            for (int kx = 0; kx < l->taps_x; kx++) {
                const float *in = l->in + ky * l->in_y + kx * l->in_x + x * l->in_pixel;
                const float *w = l->w + ky * l->w_y + kx * BLOCK;
                for (int j = 0; j < lanes; j++)
                    sum[j] += in[j] * w[j];
            }
        }
        for (int j = 0; j < lanes; j++)
            l->out[x * l->out_pixel + j] = l->bias[j] + sum[j];
    }
}

static void run_row(const struct conv_args *a, const struct axis *ax, int64_t y, struct axis_run ys,
                    int block) {
    const struct conv_shape *s = a->shape;
    const float *w = (const float *)a->weights +
                     (ptrdiff_t)block * s->kernel_h * s->kernel_w * BLOCK +
                     (ptrdiff_t)ys.k0 * s->kernel_w * BLOCK;
    struct axis_run xs;
    for (int x = 0; x < s->out_w; x += xs.count) {
        xs = axis_run_at(ax, x, s->out_w);
        struct line l = {.bias = a->bias + block * BLOCK,
                         .out = view_at(&a->out, y, block * BLOCK, x),
                         .in_pixel = a->in.pixel_pitch * ax->advance,
                         .in_x = a->in.pixel_pitch * ax->di,
                         .in_y = a->in.row_pitch * s->dilation_h,
                         .out_pixel = a->out.pixel_pitch,
                         .w_y = (ptrdiff_t)s->kernel_w * BLOCK};
        if (ys.taps > 0 && xs.taps > 0) {
            l.taps_y = ys.taps;
            l.taps_x = xs.taps;
            l.in = view_at(&a->in, ys.i0, block * BLOCK, (int)xs.i0);
            l.w = w + xs.k0 * BLOCK;
        }
        if (a->in.blocked && a->out.blocked)
            line_blocked(&l, xs.count);
        else
            line_narrow(&l, xs.count, view_lanes(&a->out, block));
    }
}

static void run(const struct conv_args *a) {
    const struct conv_shape *s = a->shape;
    struct axis ay = axis_make(false, s->in_h, s->kernel_h, s->stride_h, s->pad_top, s->dilation_h);
    struct axis ax =
        axis_make(false, s->in_w, s->kernel_w, s->stride_w, s->pad_left, s->dilation_w);
    for (int block = a->block0; block < a->block1; block++) {
        for (int64_t y = a->y0; y < a->y1; y++) {
            run_row(a, &ax, y, axis_run_at(&ay, y, y + 1), block);
            epilogue_apply(&a->epilogue, &a->out, y, block, 0, s->out_w);
        }
    }
}

const struct conv_kernel conv_generic_depthwise = {.name = "conv_generic_depthwise",
                                                   .isa = ISA_GENERIC,
                                                   .row_exact = true,
                                                   .granule_rows = 1,
                                                   .rate = rate,
                                                   .weights_bytes = weights_bytes,
                                                   .pack = pack,
                                                   .run = run};
