/* The micro-kernel of 32-bit Arm with VFPv4: up to 2 pixels times one block of 16 channels, four
 * vectors of 4.
 *
 * Of the 16 registers 8 are sums, 4 weights and 2 one input each, on every lane.  NEON of 32 bits
 * has no fused multiply-add by element, so an input is loaded and spread at once (VLD1 to all
 * lanes).  Two pixels are few, but three would leave no register for the inputs. */
#include "kernels/micro.h"

#include <arm_neon.h>

#define PIXELS 2

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
    float32x4_t sum0[PIXELS], sum1[PIXELS], sum2[PIXELS], sum3[PIXELS];
    MICRO_UNROLL
    for (int p = 0; p < pixels; p++)
        sum0[p] = sum1[p] = sum2[p] = sum3[p] = vdupq_n_f32(0.0f);
    for (int s = 0; s < a->segs; s++)
        for (int ky = 0; ky < a->taps_y; ky++)
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                const float *end = w + (ptrdiff_t)a->lanes * BLOCK;
                for (; w < end; w += BLOCK, in++) {
                    const float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + 4),
                                      w2 = vld1q_f32(w + 8), w3 = vld1q_f32(w + 12);
                    MICRO_UNROLL
                    for (int p = 0; p < pixels; p++) {
                        const float32x4_t x = vld1q_dup_f32(in + p * step);
                        sum0[p] = vfmaq_f32(sum0[p], w0, x);
                        sum1[p] = vfmaq_f32(sum1[p], w1, x);
                        sum2[p] = vfmaq_f32(sum2[p], w2, x);
                        sum3[p] = vfmaq_f32(sum3[p], w3, x);
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
        vst1q_f32(store, vaddq_f32(vld1q_f32(from), sum0[p]));
        vst1q_f32(store + 4, vaddq_f32(vld1q_f32(from + 4), sum1[p]));
        vst1q_f32(store + 8, vaddq_f32(vld1q_f32(from + 8), sum2[p]));
        vst1q_f32(store + 12, vaddq_f32(vld1q_f32(from + 12), sum3[p]));
        if (!whole)
            lanes_copy(to, block, a->lane0, a->lane1);
    }
}

static void run(const struct micro_args *args, int pixels) {
    struct micro_args a = *args; /* a copy: stores to the output cannot change it */
    while (pixels > 0) {
        int n = micro_tile(pixels, PIXELS);
        if (n == 2)
            tile(&a, 2);
        else
            tile(&a, 1);
        a.in += n * a.in_pixel;
        a.out += n * a.out_pixel;
        pixels -= n;
    }
}

const struct micro micro_neon32 = {.pixels = PIXELS, .run = run};
