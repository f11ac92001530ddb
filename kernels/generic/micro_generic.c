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

static ALWAYS_INLINE void lanes_load(float *block, const float *from, int lane0, int lane1) {
    for (int j = lane0; j < lane1; j++)
        block[j] = from[j];
}

/* Constant `pixels` after inlining, so that `sum` lives in registers. */
static ALWAYS_INLINE void tile(const struct micro_args *a, const int pixels) {
    vec sum[PIXELS][NV];
    const bool whole = a->lane0 == 0 && a->lane1 == BLOCK;
    float block[BLOCK] = {0};
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < NV; v++)
            sum[p][v] = vec_set(0.0f);
    for (int s = 0; s < a->segs; s++) {
        for (int ky = 0; ky < a->taps_y; ky++) {
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                const float *x[PIXELS];
                const ptrdiff_t n = a->lanes;
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
        if (!whole) {
            lanes_load(block, from, a->lane0, a->lane1);
            from = block;
        }
        for (int v = 0; v < NV; v++)
            vec_store(whole ? to + v * VL : block + v * VL, vec_load(from + v * VL) + sum[p][v]);
        if (!whole)
            lanes_load(to, block, a->lane0, a->lane1);
    }
}

static void run(const struct micro_args *args, int pixels) {
    struct micro_args a = *args; /* a copy: stores to the output cannot change it */
    while (pixels > 0) {
        int n = micro_tile(pixels, PIXELS);
        switch (n) {
#if PIXELS == 6
        case 6:
            tile(&a, 6);
            break;
        case 5:
            tile(&a, 5);
            break;
        case 4:
            tile(&a, 4);
            break;
#endif
        case 3:
            tile(&a, 3);
            break;
        case 2:
            tile(&a, 2);
            break;
        default:
            tile(&a, 1);
            break;
        }
        a.in += n * a.in_pixel;
        a.out += n * a.out_pixel;
        pixels -= n;
    }
}

const struct micro micro_generic = {.pixels = PIXELS, .run = run};
