/* The AVX2 micro-kernel: up to 6 pixels times one block of 16 channels, in two vectors of 8.
 *
 * 12 sums, 2 registers of weights, one broadcast input: 15 of the 16 registers.  Per input channel
 * 8 loads and 12 FMAs, so two FMAs a cycle are not starved. */
#include "kernels/micro.h"

#include <immintrin.h>

#define PIXELS 6

#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE void lanes_copy(float *to, const float *from, int lane0, int lane1) {
    for (int j = lane0; j < lane1; j++)
        to[j] = from[j];
}

/* Constant `pixels` after inlining, so that the sums live in registers. */
static ALWAYS_INLINE void tile(const struct micro_args *a, const int pixels) {
    const bool whole = a->lane0 == 0 && a->lane1 == BLOCK;
    const ptrdiff_t step = a->in_pixel;
    float block[BLOCK] = {0};
    __m256 low[PIXELS], high[PIXELS];
    MICRO_UNROLL
    for (int p = 0; p < pixels; p++)
        low[p] = high[p] = _mm256_setzero_ps();
    for (int s = 0; s < a->segs; s++)
        for (int ky = 0; ky < a->taps_y; ky++)
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                const float *end = w + (ptrdiff_t)a->lanes * BLOCK;
                for (; w < end; w += BLOCK, in++) {
                    const __m256 w0 = _mm256_load_ps(w), w1 = _mm256_load_ps(w + 8);
                    MICRO_UNROLL
                    for (int p = 0; p < pixels; p++) {
                        const __m256 x = _mm256_broadcast_ss(in + p * step);
                        low[p] = _mm256_fmadd_ps(x, w0, low[p]);
                        high[p] = _mm256_fmadd_ps(x, w1, high[p]);
                    }
                }
            }
    MICRO_UNROLL
    for (int p = 0; p < pixels; p++) {
        float *to = a->out + p * a->out_pixel;
        const float *from = a->init ? a->init : to;
        if (!whole) {
            lanes_copy(block, from, a->lane0, a->lane1);
            from = block;
        }
        float *store = whole ? to : block;
        _mm256_storeu_ps(store, _mm256_add_ps(_mm256_loadu_ps(from), low[p]));
        _mm256_storeu_ps(store + 8, _mm256_add_ps(_mm256_loadu_ps(from + 8), high[p]));
        if (!whole)
            lanes_copy(to, block, a->lane0, a->lane1);
    }
}

static void run(const struct micro_args *args, int pixels) {
    struct micro_args a = *args; /* a copy: stores to the output cannot change it */
    while (pixels > 0) {
        int n = micro_tile(pixels, PIXELS);
        switch (n) {
        case 6:
            tile(&a, 6);
            break;
        case 5:
            tile(&a, 5);
            break;
        case 4:
            tile(&a, 4);
            break;
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

const struct micro micro_avx2 = {.pixels = PIXELS, .run = run};
