/* The AVX-512 micro-kernel: up to 14 pixels times one block of 16 channels.
 *
 * 14 sums in registers; the weights of one input channel are one register, each pixel's input is
 * the FMA's broadcast memory operand.  Per input channel that is 15 loads and 14 FMAs: within 7 %
 * of two FMAs a cycle, and no bound at all where a 512-bit FMA takes two cycles. */
#include "kernels/micro.h"

#include <immintrin.h>

#define PIXELS 14

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Constant `pixels` after inlining, so that `sum` lives in registers. */
static ALWAYS_INLINE void tile(const struct micro_args *a, const int pixels) {
    const __mmask16 lanes = (__mmask16)((0xffffu << a->lane0) & ((1u << a->lane1) - 1u));
    __m512 sum[PIXELS];
    const ptrdiff_t step = a->in_pixel;
    for (int p = 0; p < pixels; p++)
        sum[p] = _mm512_setzero_ps();
    for (int s = 0; s < a->segs; s++)
        for (int ky = 0; ky < a->taps_y; ky++)
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                const float *end = w + (ptrdiff_t)a->lanes * BLOCK;
                for (; w < end; w += BLOCK, in++) {
                    const __m512 weights = _mm512_load_ps(w);
                    for (int p = 0; p < pixels; p++)
                        sum[p] = _mm512_fmadd_ps(_mm512_set1_ps(in[p * step]), weights, sum[p]);
                }
            }
    for (int p = 0; p < pixels; p++) {
        float *to = a->out + p * a->out_pixel;
        const __m512 start = _mm512_maskz_loadu_ps(lanes, a->init ? a->init : to);
        _mm512_mask_storeu_ps(to, lanes, _mm512_add_ps(start, sum[p]));
    }
}

#define CASE(n)                                                                                    \
    case n:                                                                                        \
        tile(&a, n);                                                                               \
        break;

static void run(const struct micro_args *args, int pixels) {
    struct micro_args a = *args; /* a copy: stores to the output cannot change it */
    while (pixels > 0) {
        int n = micro_tile(pixels, PIXELS);
        switch (n) {
            CASE(14)
            CASE(13)
            CASE(12)
            CASE(11)
            CASE(10)
            CASE(9)
            CASE(8)
            CASE(7)
            CASE(6)
            CASE(5)
            CASE(4)
            CASE(3)
            CASE(2)
            CASE(1)
        }
        a.in += n * a.in_pixel;
        a.out += n * a.out_pixel;
        pixels -= n;
    }
}

const struct micro micro_avx512 = {.pixels = PIXELS, .run = run};
