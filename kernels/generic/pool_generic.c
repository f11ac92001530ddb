/* Maximum and average pooling for every target, on blocked and narrow maps.
 *
 * The taps of a window that lie in the map are found once for each row and run of pixels (axis.h);
 * sums go tap by tap in row order.  A maximum passes over NaNs; a window with
 * no tap in the map gives -infinity (maximum) or 0 (average). */
#include "kernels/axis.h"
#include "kernels/generic/activate.h"
#include "kernels/generic/vec.h"
#include "kernels/kernel.h"

#include <math.h>

static double rate(const struct pool_args *a) {
    (void)a;
    return 1.0;
}

struct cell { /* one output pixel's window */
    const float *in;
    ptrdiff_t in_y, in_x;
    int taps_y, taps_x;
    float count; /* average: what to divide by */
};

static ALWAYS_INLINE void cell_blocked(const struct cell *c, enum pool_kind kind, float *out) {
    for (int v = 0; v < BLOCK; v += VL) {
        vec r = vec_set(kind == POOL_MAX ? -INFINITY : 0.0f);
        for (int ky = 0; ky < c->taps_y; ky++) {
            const float *in = c->in + ky * c->in_y + v;
            for (int kx = 0; kx < c->taps_x; kx++, in += c->in_x) {
                if (kind == POOL_MAX)
                    r = vec_max(vec_load(in), r);
                else
                    r += vec_load(in);
            }
        }
        vec_store(out + v, kind == POOL_MAX ? r : r / c->count);
    }
}

static void cell_narrow(const struct cell *c, enum pool_kind kind, float *out, int lanes) {
    for (int j = 0; j < lanes; j++) {
        float r = kind == POOL_MAX ? -INFINITY : 0.0f;
        for (int ky = 0; ky < c->taps_y; ky++) {
            const float *in = c->in + ky * c->in_y + j;
            for (int kx = 0; kx < c->taps_x; kx++, in += c->in_x) {
                if (kind == POOL_MAX)
                    r = *in > r ? *in : r;
                else
                    r += *in;
            }
        }
        out[j] = kind == POOL_MAX ? r : r / c->count;
    }
}

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

static void run_row(const struct pool_args *a, const struct axis *ax, int64_t y, int block) {
    struct axis ay = axis_make(false, a->in_h, a->kernel_h, a->stride_h, a->pad_top, a->dilation_h);
    struct axis_run ys = axis_run_at(&ay, y, y + 1), xs;
    int padded_y = taps_with_pad(y, a->in_h, a->kernel_h, a->stride_h, a->pad_top, a->pad_bottom,
                                 a->dilation_h);
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
            int count = c.taps_y * c.taps_x;
            float *out = view_at(&a->out, y, block * BLOCK, x + i);
            if (a->count_pad)
                count = padded_y * taps_with_pad(x + i, a->in_w, a->kernel_w, a->stride_w,
                                                 a->pad_left, a->pad_right, a->dilation_w);
            c.count = count > 0 ? (float)count : 1.0f;
            if (!blocked)
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

static void run(const struct pool_args *a) {
    struct axis ax =
        axis_make(false, a->in_w, a->kernel_w, a->stride_w, a->pad_left, a->dilation_w);
    for (int64_t y = a->y0; y < a->y1; y++)
        for (int block = a->block0; block < a->block1; block++)
            run_row(a, &ax, y, block);
}

const struct pool_kernel pool_generic = {
    .name = "pool_generic", .isa = ISA_GENERIC, .rate = rate, .run = run};
