/* The micro-kernel of 32-bit Arm with VFPv4: up to 2 pixels times one block of 16 channels, four
 * vectors of 4.
 *
 * Of the 16 registers 8 are sums, 4 weights and 2 one input each, on every lane.  NEON of 32 bits
 * has no fused multiply-add by element, so an input is loaded and spread at once (VLD1 to all
 * lanes).  Two pixels are few, but three would leave no register for the inputs. */
#include "kernels/micro.h"

#include <arm_neon.h>

#define PIXELS   2
#define QUARTERS 4

/* For every sum: `v` is it, of pixel p and quarter q of the block. */
#define EACH_SUM(...)                                                                              \
    do {                                                                                           \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            MICRO_UNROLL                                                                           \
            for (int q = 0; q < QUARTERS; q++) {                                                   \
                float32x4_t *const v = &sum[p][q];                                                 \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    } while (0)
#define ADD(from) *v = vaddq_f32(*v, vld1q_f32((from) + q * 4));

MICRO_INLINE void store(const struct micro_args *a, const int pixels,
                        float32x4_t sum[PIXELS][QUARTERS]) {
    const float32x4_t zero = vdupq_n_f32(0), low = vdupq_n_f32(a->act_a),
                      high = vdupq_n_f32(a->act_b);
    float *const out = a->out;
    const float *const residual = a->residual;
    const ptrdiff_t pixel = a->out_pixel, r_pixel = a->residual_pixel;
    if (a->init)
        EACH_SUM(ADD(a->init));
    else
        EACH_SUM(ADD(out + p * pixel));
    if (residual && !a->residual_last)
        EACH_SUM(ADD(residual + p * r_pixel));
    if (a->act == KACT_RELU)
        EACH_SUM(*v = vmaxq_f32(zero, *v););
    else if (a->act == KACT_LEAKY_RELU)
        EACH_SUM(*v = vbslq_f32(vcltq_f32(*v, zero), vmulq_f32(*v, low), *v););
    else if (a->act == KACT_CLIP)
        EACH_SUM(*v = vminq_f32(high, vmaxq_f32(low, *v)););
    if (residual && a->residual_last)
        EACH_SUM(ADD(residual + p * r_pixel));
    EACH_SUM(vst1q_f32(out + p * pixel + q * 4, *v););
}

/* Constant `pixels` after inlining, so that the sums live in registers. */
MICRO_INLINE void tile(const struct micro_args *a, const int pixels) {
    const ptrdiff_t step = a->in_pixel;
    float32x4_t sum[PIXELS][QUARTERS];
    EACH_SUM(*v = vdupq_n_f32(0););
    for (int s = 0; s < a->segs; s++) {
        const ptrdiff_t w_lanes = (ptrdiff_t)micro_lanes(a, s) * BLOCK;
        for (int ky = 0; ky < a->taps_y; ky++)
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                const float *end = w + w_lanes;
                for (; w < end; w += BLOCK, in++) {
                    const float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + 4),
                                      w2 = vld1q_f32(w + 8), w3 = vld1q_f32(w + 12);
                    MICRO_UNROLL
                    for (int p = 0; p < pixels; p++) {
                        const float32x4_t x = vld1q_dup_f32(in + p * step);
                        sum[p][0] = vfmaq_f32(sum[p][0], w0, x);
                        sum[p][1] = vfmaq_f32(sum[p][1], w1, x);
                        sum[p][2] = vfmaq_f32(sum[p][2], w2, x);
                        sum[p][3] = vfmaq_f32(sum[p][3], w3, x);
                    }
                }
            }
    }
    store(a, pixels, sum);
}

#define EACH(DO) DO(1) DO(2)
#define TILE(n)                                                                                    \
    static void tile_##n(const struct micro_args *a) {                                             \
        tile(a, n);                                                                                \
    }
#define NAME(n) tile_##n,
EACH(TILE)

static void run(const struct micro_args *a, int pixels) {
    static const micro_tile_fn tiles[] = {EACH(NAME)};
    micro_drive_whole(a, pixels, PIXELS, tiles);
}

const struct micro micro_neon32 = {.pixels = PIXELS, .blocks = 1, .chunk = MICRO_CHUNK, .run = run};
