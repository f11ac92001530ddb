/* A window that slides along one row of a blocked map: depthwise convolution and pooling.
 *
 * Lanes are channels, so nothing is summed across them.  A tile is up to 14 neighbouring outputs of
 * one vector of lanes in registers, with one row of the window's weights; each input of the tile is
 * loaded once and goes into all outputs that it meets: 17 + 3 loads for 42 products (3 taps, stride
 * 1).  An output's taps come in row order whatever the tile, so any range of rows, and any tile,
 * gives the same bits.  Pixels beyond the map's sides are read from a constant instead, without a
 * branch; rows beyond it are left out by the caller.  The last tile of a row overlaps the one
 * before: it computes the same numbers again. */
#ifndef COHORT_KERNELS_GENERIC_SLIDE_H
#define COHORT_KERNELS_GENERIC_SLIDE_H

#include "kernels/generic/mathfun.h"

#include <math.h>

/* SLIDE_SILU: SLIDE_WEIGHTED with SiLU, while the sums are in registers, in place of the clamp. */
enum slide_what { SLIDE_WEIGHTED, SLIDE_SILU, SLIDE_SUM, SLIDE_MAX };

struct slide {
    const float *in; /* column 0 of the window's first row in the map, lane 0 of the block */
    ptrdiff_t in_y;  /* from one row of the window to the next */
    int in_w, first; /* columns of the map; the one that tap 0 of output 0 meets (negative: pad) */
    int rows;        /* of the window that lie in the map, maybe 0 */
    const float *w;  /* weighted: [rows][taps][16] from the first of those rows on … */
    const float *start; /* … [16] to add the products to … */
    float low, high;    /* … and SLIDE_WEIGHTED: what to clamp the sums to */
    float *out;         /* output 0 of the row, lane 0 */
    int width;
};

/* 14 sums, 3 to 7 weights and an input want more than sixteen registers. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define SLIDE_PIXELS 14
#else
#define SLIDE_PIXELS 7
#endif

static ALWAYS_INLINE bool slide_weighted(const enum slide_what what) {
    return what == SLIDE_WEIGHTED || what == SLIDE_SILU;
}

static ALWAYS_INLINE vec slide_take(const enum slide_what what, vec r, vec in, vec w) {
    return slide_weighted(what) ? vec_fma(in, w, r)
           : what == SLIDE_SUM  ? vec_add(r, in)
                                : vec_greatest(r, in);
}

static ALWAYS_INLINE vec slide_result(const enum slide_what what, vec r, vec low, vec high) {
    return what == SLIDE_WEIGHTED ? vec_min(high, vec_max(low, r))
           : what == SLIDE_SILU   ? vmath_act(KACT_SILU, low, high, r)
                                  : r;
}

/* All of `what`, taps, stride, pixels and edge are constant after inlining. */
static ALWAYS_INLINE void slide_tile(const struct slide *s, const enum slide_what what,
                                     const int taps, const int stride, const int pixels,
                                     const bool edge, int x, int lane) {
    static const float zeros[BLOCK] = {0};
    static const float least[BLOCK] = {
        -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY,
        -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    const float *outside = (what == SLIDE_MAX ? least : zeros) + lane;
    const int first = s->first + x * stride;
    const float *row = s->in + (ptrdiff_t)first * BLOCK + lane, *w = s->w + lane;
    vec r[SLIDE_PIXELS];
    VEC_UNROLL
    for (int p = 0; p < pixels; p++)
        r[p] = slide_weighted(what) ? vec_load(s->start + lane)
               : what == SLIDE_SUM  ? vec_set(0)
                                    : vec_set(-INFINITY);
    for (int ky = 0; ky < s->rows; ky++, row += s->in_y, w += taps * BLOCK) {
        vec weight[8];
        VEC_UNROLL
        for (int k = 0; k < taps; k++)
            weight[k] = slide_weighted(what) ? vec_load(w + k * BLOCK) : vec_set(0);
        VEC_UNROLL
        for (int i = 0; i < (pixels - 1) * stride + taps; i++) {
            const float *at = row + i * BLOCK;
            if (edge)
                at = (unsigned)(first + i) < (unsigned)s->in_w ? at : outside;
            const vec in = vec_load(at);
            VEC_UNROLL
            for (int k = 0; k < taps; k++)
                if (i >= k && (i - k) % stride == 0 && (i - k) / stride < pixels)
                    r[(i - k) / stride] = slide_take(what, r[(i - k) / stride], in, weight[k]);
        }
    }
    const vec low = vec_set(s->low), high = vec_set(s->high);
    VEC_UNROLL
    for (int p = 0; p < pixels; p++)
        vec_store(s->out + (x + p) * BLOCK + lane, slide_result(what, r[p], low, high));
}

static ALWAYS_INLINE void slide_tiles(const struct slide *args, const enum slide_what what,
                                      const int taps, const int stride, const int pixels) {
    const struct slide s = *args; /* a copy: stores to the output cannot change it */
    for (int lane = 0; lane < BLOCK; lane += VL)
        for (int x = 0; x < s.width; x += pixels) {
            int at = x + pixels <= s.width ? x : s.width - pixels, first = s.first + at * stride;
            if (first >= 0 && first + (pixels - 1) * stride + taps <= s.in_w)
                slide_tile(&s, what, taps, stride, pixels, false, at, lane);
            else
                slide_tile(&s, what, taps, stride, pixels, true, at, lane);
        }
}

/* The tile for a row: the one that computes the fewest pixels, wider ones being better. */
static inline int slide_pixels(int width) {
    static const int sizes[] = {14, 7, 4};
    int best = 1, best_cost = width * 20;
    for (int i = 0; i < 3; i++) {
        int cost = (width + sizes[i] - 1) / sizes[i] * (sizes[i] * 10 + 10);
        if (sizes[i] <= SLIDE_PIXELS && sizes[i] <= width && cost < best_cost) {
            best = sizes[i];
            best_cost = cost;
        }
    }
    return best;
}

/* One row; `pixels` from slide_pixels(). */
static ALWAYS_INLINE void slide_row(const struct slide *s, const enum slide_what what,
                                    const int taps, const int stride, int pixels) {
    switch (pixels) {
#if SLIDE_PIXELS >= 14
    case 14:
        slide_tiles(s, what, taps, stride, 14);
        break;
#endif
    case 7:
        slide_tiles(s, what, taps, stride, 7);
        break;
    case 4:
        slide_tiles(s, what, taps, stride, 4);
        break;
    default:
        slide_tiles(s, what, taps, stride, 1);
        break;
    }
}

#endif
