/* The epilogue of operators that do not do it in registers: residual and activation, in place; and
 * how rows of views are walked as runs of floats.
 *
 * A few rows of one channel block at a time, right after the sums were stored, so it works in the
 * first-level cache.  Compiled by whoever includes it, for that file's instruction set; all give
 * the same bits. */
#ifndef COHORT_KERNELS_GENERIC_EPILOGUE_H
#define COHORT_KERNELS_GENERIC_EPILOGUE_H

#include "kernels/generic/mathfun.h"
#include "kernels/kernel.h"

#define UNUSED_OK __attribute__((unused)) /* a file need not use all that a header defines */

#define ACTIVATE(which)                                                                            \
    case which:                                                                                    \
        for (int64_t r = 0; r < count; r++, in += in_pitch, out += out_pitch) {                    \
            ptrdiff_t i = 0;                                                                       \
            for (; i + VL <= n; i += VL)                                                           \
                vec_store(out + i, vmath_act(which, va, vb, vec_load(in + i)));                    \
            for (; i < n; i++)                                                                     \
                out[i] = math_act(which, a, b, in[i]);                                             \
        }                                                                                          \
        break;

/* out[i] = act(in[i]), i < n, of `count` runs; in and out are the same or apart.  Short runs had
 * better come together: an activation has many constants. */
UNUSED_OK static void activate_runs(enum kernel_act act, float a, float b, const float *in,
                                    ptrdiff_t in_pitch, float *out, ptrdiff_t out_pitch,
                                    ptrdiff_t n, int64_t count) {
    const vec va = vec_set(a), vb = vec_set(b);
    switch (act) {
        ACTIVATE(KACT_NONE)
        ACTIVATE(KACT_RELU)
        ACTIVATE(KACT_LEAKY_RELU)
        ACTIVATE(KACT_CLIP)
        ACTIVATE(KACT_SIGMOID)
        ACTIVATE(KACT_TANH)
        ACTIVATE(KACT_HARD_SIGMOID)
        ACTIVATE(KACT_HARD_SWISH)
        ACTIVATE(KACT_SILU)
    case KACT_COUNT:
        break;
    }
}

/* Zeroes the lanes of pixels [x0, x1) of a block that lie beyond the last channel of a blocked map.
 */
UNUSED_OK static void zero_lanes_beyond(const struct view *out, int64_t y, int block, int x0,
                                        int x1) {
    int lanes = view_lanes(out, block);
    if (!out->blocked || lanes >= BLOCK)
        return;
    for (int x = x0; x < x1; x++) {
        float *pixel = view_at(out, y, block * BLOCK, x);
        for (int j = lanes; j < BLOCK; j++)
            pixel[j] = 0;
    }
}

/* How a row of a block is walked: as `pixels` runs of `length` floats, `pitch` apart; one long run
 * where pixels touch.  A blocked map's runs include the lanes beyond its channels. */
struct runs {
    int pixels;
    ptrdiff_t length, pitch;
};
UNUSED_OK static struct runs runs_of(const struct view *v, int block, int x0, int x1) {
    int lanes = v->blocked ? BLOCK : view_lanes(v, block);
    if (v->pixel_pitch == lanes)
        return (struct runs){.pixels = 1, .length = (ptrdiff_t)lanes * (x1 - x0)};
    return (struct runs){.pixels = x1 - x0, .length = lanes, .pitch = v->pixel_pitch};
}

UNUSED_OK static void add_residual(const struct view *residual, const struct view *out, int64_t y,
                                   int block, int x0, int x1) {
    struct runs o = runs_of(out, block, x0, x1), r = runs_of(residual, block, x0, x1);
    float *to = view_at(out, y, block * BLOCK, x0);
    const float *from = view_at(residual, y, block * BLOCK, x0);
    if (o.pixels == 1 && r.pixels == 1 && o.length == r.length) {
        for (ptrdiff_t i = 0; i < o.length; i++)
            to[i] += from[i];
        return;
    }
    int lanes = view_lanes(out, block);
    for (int x = x0; x < x1; x++, to += out->pixel_pitch, from += residual->pixel_pitch)
        for (int j = 0; j < lanes; j++)
            to[j] += from[j];
}

UNUSED_OK static void activate_rows(const struct kernel_epilogue *e, const struct view *out,
                                    int64_t y0, int64_t y1, int block) {
    struct runs o = runs_of(out, block, 0, out->width);
    float *to = view_at(out, y0, block * BLOCK, 0);
    if (o.pixels == 1) {
        activate_runs(e->act, e->a, e->b, to, out->row_pitch, to, out->row_pitch, o.length,
                      y1 - y0);
        return;
    }
    for (int64_t y = y0; y < y1; y++, to += out->row_pitch)
        activate_runs(e->act, e->a, e->b, to, o.pitch, to, o.pitch, o.length, o.pixels);
}

/* kernel_epilogue.apply of this file's instruction set. */
UNUSED_OK static void epilogue_rows(const struct kernel_epilogue *e, const struct view *out,
                                    int64_t y0, int64_t y1, int block) {
    if (y0 >= y1)
        return;
    for (int64_t y = y0; e->residual && !e->residual_last && y < y1; y++)
        add_residual(e->residual, out, y, block, 0, out->width);
    if (e->act != KACT_NONE)
        activate_rows(e, out, y0, y1, block);
    for (int64_t y = y0; e->residual && e->residual_last && y < y1; y++)
        add_residual(e->residual, out, y, block, 0, out->width);
    for (int64_t y = y0; y < y1; y++)
        zero_lanes_beyond(out, y, block, 0, out->width);
}

#endif
