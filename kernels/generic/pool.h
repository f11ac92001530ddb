/* Maximum, average and norm pooling for the instruction set of the file that includes this.
 *
 * 2x2 and 3x3 windows of the usual strides go by slide.h; any other by the taps of each pixel's
 * window that lie in the map, found once for each row and run of pixels (axis.h).  Sums go tap by
 * tap in row order.  A NaN is a window's maximum; a window with no tap in the map gives -infinity
 * (maximum) or 0 (average, norm). */
#include "kernels/axis.h"
#include "kernels/generic/epilogue.h"
#include "kernels/generic/slide.h"
#include "kernels/kernel.h"

/* Taps of output o that lie in the map or its declared padding: only ceil_mode's extra cells have
 * taps beyond the far pad, and those count nowhere. */
static int taps_with_pad(int64_t o, int in, int kernel, int stride, int pad_begin, int pad_end,
                         int dilation) {
    int64_t room = (int64_t)in + pad_end - (o * stride - pad_begin); /* positions from tap 0 on */
    if (room <= 0)
        return 0;
    int64_t taps = (room + dilation - 1) / dilation;
    return taps < kernel ? (int)taps : kernel;
}

/* What to divide the sums of an average at column x by; taps: the window's in the map. */
static float pool_divisor(const struct pool_args *a, int padded_y, int taps_y, int taps_x, int x) {
    int count = taps_y * taps_x;
    if (a->count_pad)
        count = padded_y * taps_with_pad(x, a->in_w, a->kernel_w, a->stride_w, a->pad_left,
                                         a->pad_right, a->dilation_w);
    return count > 0 ? (float)count : 1.0f;
}

static int padded_rows(const struct pool_args *a, int64_t y) {
    return taps_with_pad(y, a->in_h, a->kernel_h, a->stride_h, a->pad_top, a->pad_bottom,
                         a->dilation_h);
}

/* ---- small windows --------------------------------------------------------------------------- */

typedef void slide_fn(const struct slide *s, int pixels);

#define SLIDE(taps, stride)                                                                        \
    static void max_##taps##_##stride(const struct slide *s, int pixels) {                         \
        slide_row(s, SLIDE_MAX, taps, stride, pixels);                                             \
    }                                                                                              \
    static void sum_##taps##_##stride(const struct slide *s, int pixels) {                         \
        slide_row(s, SLIDE_SUM, taps, stride, pixels);                                             \
    }
SLIDE(2, 2)
SLIDE(3, 1)
SLIDE(3, 2)
#undef SLIDE

static slide_fn *slide_for(const struct pool_args *a) {
    bool max = a->kind == POOL_MAX;
    if (a->kind == POOL_NORM || !a->in.blocked || !a->out.blocked || a->in.pixel_pitch != BLOCK ||
        a->out.pixel_pitch != BLOCK || a->dilation_w != 1)
        return NULL;
    if (a->kernel_w == 2 && a->stride_w == 2)
        return max ? max_2_2 : sum_2_2;
    if (a->kernel_w == 3 && a->stride_w == 1)
        return max ? max_3_1 : sum_3_1;
    if (a->kernel_w == 3 && a->stride_w == 2)
        return max ? max_3_2 : sum_3_2;
    return NULL;
}

/* Sums into averages. */
static void divide_row(const struct pool_args *a, const struct axis *ax, int64_t y, int taps_y,
                       float *out) {
    int padded_y = padded_rows(a, y);
    struct axis_run xs;
    for (int x = 0; x < a->out_w; x += xs.count) {
        xs = axis_run_at(ax, x, a->out_w);
        for (int i = x; i < x + xs.count; i++) {
            const vec count = vec_set(pool_divisor(a, padded_y, taps_y, xs.taps, i));
            for (int v = 0; v < BLOCK; v += VL)
                vec_store(out + i * BLOCK + v, vec_load(out + i * BLOCK + v) / count);
        }
    }
}

static void pool_slide(const struct pool_args *a, slide_fn *run) {
    struct axis ay = axis_make(false, a->in_h, a->kernel_h, a->stride_h, a->pad_top, a->dilation_h);
    struct axis ax =
        axis_make(false, a->in_w, a->kernel_w, a->stride_w, a->pad_left, a->dilation_w);
    static const float nothing[BLOCK] = {0};
    struct slide row = {.in_y = a->in.row_pitch * a->dilation_h,
                        .in_w = a->in_w,
                        .first = -a->pad_left,
                        .w = nothing,
                        .start = nothing,
                        .width = a->out_w};
    int pixels = slide_pixels(a->out_w);
    for (int block = a->block0; block < a->block1; block++)
        for (int64_t y = a->y0; y < a->y1; y++) {
            struct axis_run ys = axis_run_at(&ay, y, y + 1);
            row.rows = ys.taps;
            row.in = ys.taps ? view_at(&a->in, ys.i0, block * BLOCK, 0) : nothing;
            row.out = view_at(&a->out, y, block * BLOCK, 0);
            run(&row, pixels);
            if (a->kind == POOL_AVERAGE)
                divide_row(a, &ax, y, ys.taps, row.out);
            zero_lanes_beyond(&a->out, y, block, 0, a->out_w);
        }
}

/* ---- any window ------------------------------------------------------------------------------ */

struct cell { /* one output pixel's window */
    const float *in;
    ptrdiff_t in_y, in_x;
    int taps_y, taps_x;
    float count; /* average: what to divide by */
};

static ALWAYS_INLINE void cell_blocked(const struct cell *c, const enum pool_kind kind,
                                       float *out) {
    for (int v = 0; v < BLOCK; v += VL) {
        vec r = vec_set(kind == POOL_MAX ? -INFINITY : 0.0f);
        for (int ky = 0; ky < c->taps_y; ky++) {
            const float *in = c->in + ky * c->in_y + v;
            for (int kx = 0; kx < c->taps_x; kx++, in += c->in_x)
                r = slide_take(kind == POOL_MAX ? SLIDE_MAX : SLIDE_SUM, r, vec_load(in), r);
        }
        vec_store(out + v, kind == POOL_MAX ? r : r / vec_set(c->count));
    }
}

/* |x|^p, and what the sum of these becomes; p >= 1. */
static ALWAYS_INLINE float norm_term(int p, float x) {
    x = x < 0 ? -x : x;
    return p == 1 ? x : p == 2 ? x * x : math_pow(x, (float)p);
}

static ALWAYS_INLINE float norm_root(int p, float sum) {
    return p == 1 ? sum : p == 2 ? sqrtf(sum) : math_pow(sum, 1.0f / (float)p);
}

static ALWAYS_INLINE void cell_norm(const struct cell *c, const int p, float *out,
                                    const int lanes) {
    float r[BLOCK] = {0};
    for (int ky = 0; ky < c->taps_y; ky++) {
        const float *in = c->in + ky * c->in_y;
        for (int kx = 0; kx < c->taps_x; kx++, in += c->in_x)
            for (int j = 0; j < lanes; j++)
                r[j] += norm_term(p, in[j]);
    }
    for (int j = 0; j < lanes; j++)
        out[j] = norm_root(p, r[j]);
}

static void cell_of_order(const struct cell *c, int p, float *out, int lanes) {
    if (p == 2 && lanes == BLOCK)
        cell_norm(c, 2, out, BLOCK);
    else
        cell_norm(c, p, out, lanes);
}

static void cell_narrow(const struct cell *c, enum pool_kind kind, float *out, int lanes) {
    for (int j = 0; j < lanes; j++) {
        float r = kind == POOL_MAX ? -INFINITY : 0.0f;
        for (int ky = 0; ky < c->taps_y; ky++) {
            const float *in = c->in + ky * c->in_y + j;
            for (int kx = 0; kx < c->taps_x; kx++, in += c->in_x) {
                if (kind == POOL_MAX)
                    r = greatest_of(r, *in);
                else
                    r += *in;
            }
        }
        out[j] = kind == POOL_MAX ? r : r / c->count;
    }
}

static void pool_row(const struct pool_args *a, const struct axis *ax, int64_t y, int block) {
    struct axis ay = axis_make(false, a->in_h, a->kernel_h, a->stride_h, a->pad_top, a->dilation_h);
    struct axis_run ys = axis_run_at(&ay, y, y + 1), xs;
    int padded_y = padded_rows(a, y);
    bool blocked = a->in.blocked && a->out.blocked;
    int lanes = view_lanes(&a->out, block);
    struct cell c = {.in_y = a->in.row_pitch * a->dilation_h,
                     .in_x = a->in.pixel_pitch * a->dilation_w};
    for (int x = 0; x < a->out_w; x += xs.count) {
        xs = axis_run_at(ax, x, a->out_w);
        bool any = ys.taps > 0 && xs.taps > 0;
        c.taps_y = any ? ys.taps : 0;
        c.taps_x = any ? xs.taps : 0;
        c.in = any ? view_at(&a->in, ys.i0, block * BLOCK, (int)xs.i0) : NULL;
        for (int i = 0; i < xs.count; i++) {
            float *out = view_at(&a->out, y, block * BLOCK, x + i);
            c.count = pool_divisor(a, padded_y, c.taps_y, c.taps_x, x + i);
            if (a->kind == POOL_NORM)
                cell_of_order(&c, a->order, out, lanes);
            else if (!blocked)
                cell_narrow(&c, a->kind, out, lanes);
            else if (a->kind == POOL_MAX)
                cell_blocked(&c, POOL_MAX, out);
            else
                cell_blocked(&c, POOL_AVERAGE, out);
            if (any)
                c.in += a->in.pixel_pitch * ax->advance;
        }
    }
    zero_lanes_beyond(&a->out, y, block, 0, a->out_w);
}

static void pool_run(const struct pool_args *a) {
    slide_fn *slide = slide_for(a);
    if (slide) {
        pool_slide(a, slide);
        return;
    }
    struct axis ax =
        axis_make(false, a->in_w, a->kernel_w, a->stride_w, a->pad_left, a->dilation_w);
    for (int64_t y = a->y0; y < a->y1; y++)
        for (int block = a->block0; block < a->block1; block++)
            pool_row(a, &ax, y, block);
}
