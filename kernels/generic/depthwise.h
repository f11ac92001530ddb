/* Depthwise convolution (one filter a channel) for the instruction set of the file that includes
 * this, which then defines its descriptor with DEPTHWISE_FUNCTIONS.
 *
 * 3 and 5 taps wide, stride 1 and 2, and 7 wide, stride 1 (the nets' depthwise layers) go by
 * slide.h; any other window by runs of outputs that have the same taps (axis.h).  Bias first, then
 * taps in row order; a clamp or SiLU behind them in registers.  Packed weights:
 * [block][kh][kw][16 lanes].
 *
 * Measured (bench/kernels, Zen 4, one core of a shared machine, November 2026), GFLOP/s portable,
 * AVX2, AVX-512: 3x3 on 56x56 28, 69, 76; on 14x14 15, 34, 47; 5x5 on 28x28 25, 65, 85; 7x7 on
 * 14x14 26, 47, 57. */
#include "kernels/axis.h"
#include "kernels/generic/epilogue.h"
#include "kernels/generic/slide.h"
#include "kernels/kernel.h"

static size_t depthwise_weights_bytes(const struct conv_shape *s) {
    size_t blocks = (size_t)(s->out_c + BLOCK - 1) / BLOCK;
    return blocks * (size_t)s->kernel_h * (size_t)s->kernel_w * BLOCK * sizeof(float);
}

static void depthwise_pack(const struct conv_shape *s, const float *w, int oc0, int count,
                           void *packed) {
    int taps = s->kernel_h * s->kernel_w;
    float *to = (float *)packed + (size_t)(oc0 / BLOCK) * (size_t)taps * BLOCK;
    for (int j = 0; j < count; j++)
        for (int t = 0; t < taps; t++)
            to[t * BLOCK + j] = w[(size_t)j * (size_t)taps + (size_t)t];
}

/* ---- windows of 3, 5 and 7 ------------------------------------------------------ */

typedef void slide_fn(const struct slide *s, int pixels);

#define SLIDE(taps, stride)                                                                        \
    static void slide_##taps##_##stride(const struct slide *s, int pixels) {                       \
        slide_row(s, SLIDE_WEIGHTED, taps, stride, pixels);                                        \
    }                                                                                              \
    static void silu_##taps##_##stride(const struct slide *s, int pixels) {                        \
        slide_row(s, SLIDE_SILU, taps, stride, pixels);                                            \
    }
SLIDE(3, 1)
SLIDE(3, 2)
SLIDE(5, 1)
SLIDE(5, 2)
SLIDE(7, 1)
#undef SLIDE

/* Is the epilogue SiLU alone, which then is done in registers?  (Not on 32-bit Arm, where vec.h
 * says why.) */
static bool epilogue_is_silu(const struct kernel_epilogue *e) {
    return !VEC_NEON32 && e->act == KACT_SILU && !e->residual;
}

#define SLIDE_FOR(taps, stride) (silu ? silu_##taps##_##stride : slide_##taps##_##stride)

static slide_fn *slide_for(const struct conv_args *a) {
    const struct conv_shape *s = a->shape;
    const bool silu = epilogue_is_silu(&a->epilogue);
    if (!a->in.blocked || !a->out.blocked || a->in.pixel_pitch != BLOCK ||
        a->out.pixel_pitch != BLOCK || s->dilation_w != 1)
        return NULL;
    if (s->kernel_w == 3)
        return s->stride_w == 1 ? SLIDE_FOR(3, 1) : s->stride_w == 2 ? SLIDE_FOR(3, 2) : NULL;
    if (s->kernel_w == 5)
        return s->stride_w == 1 ? SLIDE_FOR(5, 1) : s->stride_w == 2 ? SLIDE_FOR(5, 2) : NULL;
    return s->kernel_w == 7 && s->stride_w == 1 ? SLIDE_FOR(7, 1) : NULL;
}

/* The clamp that an epilogue is, when it is no more than one. */
static bool epilogue_is_clamp(const struct kernel_epilogue *e, float *low, float *high) {
    *low = e->act == KACT_RELU ? 0 : e->act == KACT_CLIP ? e->a : -INFINITY;
    *high = e->act == KACT_CLIP ? e->b : INFINITY;
    return !e->residual && (e->act == KACT_NONE || e->act == KACT_RELU || e->act == KACT_CLIP);
}

#define ROWS_AT_ONCE 16 /* whose taps are found once for all blocks */

static void slide_rows(const struct conv_args *a, slide_fn *run, struct slide *row, bool done,
                       int64_t y0, int64_t y1) {
    const struct conv_shape *s = a->shape;
    const int pixels = slide_pixels(s->out_w);
    struct axis ay = axis_make(false, s->in_h, s->kernel_h, s->stride_h, s->pad_top, s->dilation_h);
    struct axis_run ys[ROWS_AT_ONCE];
    for (int64_t y = y0; y < y1; y++)
        ys[y - y0] = axis_run_at(&ay, y, y + 1);
    for (int block = a->block0; block < a->block1; block++) {
        const float *w =
            (const float *)a->weights + (ptrdiff_t)block * s->kernel_h * s->kernel_w * BLOCK;
        row->start = a->bias + block * BLOCK;
        for (int64_t y = y0; y < y1; y++) {
            const struct axis_run *taps = &ys[y - y0];
            row->rows = taps->taps;
            row->in = taps->taps ? view_at(&a->in, taps->i0, block * BLOCK, 0) : row->start;
            row->w = w + taps->k0 * s->kernel_w * BLOCK;
            row->out = view_at(&a->out, y, block * BLOCK, 0);
            run(row, pixels);
            if (done)
                zero_lanes_beyond(&a->out, y, block, 0, s->out_w);
            else
                epilogue_rows(&a->epilogue, &a->out, y, y + 1, block);
        }
    }
}

static void depthwise_slide(const struct conv_args *a, slide_fn *run) {
    const struct conv_shape *s = a->shape;
    struct slide row = {.in_y = a->in.row_pitch * s->dilation_h,
                        .in_w = s->in_w,
                        .first = -s->pad_left,
                        .width = s->out_w};
    bool clamp = epilogue_is_clamp(&a->epilogue, &row.low, &row.high);
    if (!clamp) {
        row.low = -INFINITY;
        row.high = INFINITY;
    }
    for (int64_t y = a->y0; y < a->y1; y += ROWS_AT_ONCE)
        slide_rows(a, run, &row, clamp || epilogue_is_silu(&a->epilogue), y,
                   y + ROWS_AT_ONCE < a->y1 ? y + ROWS_AT_ONCE : a->y1);
}

/* ---- any window ------------------------------------------------------------------------------ */

/* One row's run of pixels that have the same taps: everything that the inner loops step by. */
struct line {
    const float *in, *w, *bias;
    float *out;
    ptrdiff_t in_pixel, in_x, in_y, out_pixel, w_y;
    int taps_y, taps_x;
};

#define LINE_PIXELS 7

/* `pixels` is constant after inlining. */
static ALWAYS_INLINE void line_tile(const struct line *l, int x, int lane, const int pixels) {
    vec sum[LINE_PIXELS];
    VEC_UNROLL
    for (int p = 0; p < pixels; p++)
        sum[p] = vec_load(l->bias + lane);
    for (int ky = 0; ky < l->taps_y; ky++) {
        const float *in = l->in + ky * l->in_y + x * l->in_pixel + lane;
        const float *w = l->w + ky * l->w_y + lane;
        for (int kx = 0; kx < l->taps_x; kx++, in += l->in_x, w += BLOCK) {
            const vec weight = vec_load(w);
            VEC_UNROLL
            for (int p = 0; p < pixels; p++)
                sum[p] = vec_fma(vec_load(in + p * l->in_pixel), weight, sum[p]);
        }
    }
    VEC_UNROLL
    for (int p = 0; p < pixels; p++)
        vec_store(l->out + (x + p) * l->out_pixel + lane, sum[p]);
}

static void line_blocked(const struct line *args, int count) {
    const struct line l = *args; /* a copy: stores to the output cannot change it */
    for (int lane = 0; lane < BLOCK; lane += VL) {
        int x = 0;
        for (; x + LINE_PIXELS <= count; x += LINE_PIXELS)
            line_tile(&l, x, lane, LINE_PIXELS);
        for (; x + 2 <= count; x += 2)
            line_tile(&l, x, lane, 2);
        for (; x < count; x++)
            line_tile(&l, x, lane, 1);
    }
}

static void line_narrow(const struct line *l, int count, int lanes) {
    for (int x = 0; x < count; x++) {
        float sum[BLOCK];
        for (int j = 0; j < lanes; j++)
            sum[j] = l->bias[j];
        for (int ky = 0; ky < l->taps_y; ky++) {
            for (int kx = 0; kx < l->taps_x; kx++) {
                const float *in = l->in + ky * l->in_y + kx * l->in_x + x * l->in_pixel;
                const float *w = l->w + ky * l->w_y + kx * BLOCK;
                for (int j = 0; j < lanes; j++)
                    sum[j] += in[j] * w[j];
            }
        }
        for (int j = 0; j < lanes; j++)
            l->out[x * l->out_pixel + j] = sum[j];
    }
}

static void depthwise_row(const struct conv_args *a, const struct axis *ax, int64_t y,
                          struct axis_run ys, int block) {
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

static void depthwise_run(const struct conv_args *a) {
    const struct conv_shape *s = a->shape;
    slide_fn *slide = slide_for(a);
    if (slide) {
        depthwise_slide(a, slide);
        return;
    }
    struct axis ay = axis_make(false, s->in_h, s->kernel_h, s->stride_h, s->pad_top, s->dilation_h);
    struct axis ax =
        axis_make(false, s->in_w, s->kernel_w, s->stride_w, s->pad_left, s->dilation_w);
    for (int block = a->block0; block < a->block1; block++) {
        for (int64_t y = a->y0; y < a->y1; y++) {
            depthwise_row(a, &ax, y, axis_run_at(&ay, y, y + 1), block);
            epilogue_rows(&a->epilogue, &a->out, y, y + 1, block);
        }
    }
}

#define DEPTHWISE_FUNCTIONS                                                                        \
    .row_exact = true, .granule_rows = 1, .weights_bytes = depthwise_weights_bytes,                \
    .pack = depthwise_pack, .run = depthwise_run

/* Multiply-adds per cycle with vectors of VL lanes that can do `dense` of them. */
static double depthwise_rate(const struct conv_shape *s, double dense) {
    return s->groups == s->in_c && s->out_c == s->in_c && s->in_c > 1 ? dense : 0.0;
}
