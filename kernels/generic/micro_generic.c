/* The portable micro-kernel: a few pixels times one block of 16 channels in vector variables.
 *
 * Sums stay in registers: 3 pixels x 4 vectors on targets with sixteen 128-bit registers (12 sums,
 * one input broadcast, one product; the weights are the product's memory operand), 6 pixels where
 * there are more registers or wider ones.  Multiply, then add: no contraction, so the same bits on
 * every target that rounds to float. */
#include "kernels/generic/vec.h"
#include "kernels/micro.h"

#if defined(__aarch64__) || defined(__AVX__)
#define PIXELS 6
#else
#define PIXELS 3
#endif

/* Weights are read from memory for every pixel: kept in registers (as clang would) they would push
 * sums out of the sixteen. */
#if defined(__clang__) && PIXELS == 3
typedef const volatile vec weight_vec;
#else
typedef const vec weight_vec;
#endif

MICRO_INLINE vec finish(const struct micro_args *a, vec v, const float *residual) {
    if (residual && !a->residual_last)
        v += vec_load(residual);
    if (a->act == KACT_RELU)
        v = vec_select(v < vec_set(0), vec_set(0), v);
    else if (a->act == KACT_LEAKY_RELU)
        v = vec_select(v < vec_set(0), v * a->act_a, v);
    else if (a->act == KACT_CLIP) {
        v = vec_select(v < vec_set(a->act_a), vec_set(a->act_a), v);
        v = vec_select(v > vec_set(a->act_b), vec_set(a->act_b), v);
    }
    if (residual && a->residual_last)
        v += vec_load(residual);
    return v;
}

/* Constant `pixels` after inlining, so that `sum` lives in registers. */
MICRO_INLINE void tile(const struct micro_args *a, const int pixels) {
    vec sum[PIXELS][NV];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < NV; v++)
            sum[p][v] = vec_set(0.0f);
    for (int s = 0; s < a->segs; s++) {
        const ptrdiff_t n = micro_lanes(a, s);
        for (int ky = 0; ky < a->taps_y; ky++) {
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                const float *x[PIXELS];
                for (int p = 0; p < pixels; p++)
                    x[p] = in + p * a->in_pixel;
                for (ptrdiff_t l = 0; l < n; l++)
                    for (int p = 0; p < pixels; p++)
                        for (int v = 0; v < NV; v++)
                            sum[p][v] += *(weight_vec *)(w + l * BLOCK + v * VL) * x[p][l];
            }
        }
    }
    for (int p = 0; p < pixels; p++) {
        float *to = a->out + p * a->out_pixel;
        const float *from = a->init ? a->init : to;
        const float *r = a->residual ? a->residual + p * a->residual_pixel : NULL;
        for (int v = 0; v < NV; v++)
            vec_store(to + v * VL,
                      finish(a, vec_load(from + v * VL) + sum[p][v], r ? r + v * VL : NULL));
    }
}

#if PIXELS == 6
#define EACH(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
#else
#define EACH(DO) DO(1) DO(2) DO(3)
#endif
EACH(MICRO_TILE)

static void run(struct micro_args *a, int pixels) {
    static const micro_tile_fn tiles[] = {EACH(MICRO_TILE_NAME)};
    micro_drive_whole(a, pixels, PIXELS, tiles);
}

const struct micro micro_generic = {
    .pixels = PIXELS, .blocks = 1, .chunk = MICRO_CHUNK, .run = run};
