/* The micro-kernel of 64-bit Arm: up to 5 pixels times one block of 16 channels, four vectors of 4.
 *
 * 20 sums, 4 registers of weights, 5 of inputs: 29 of the 32.  FMLA by element takes its factor
 * from one lane of a vector, so four input channels of a pixel are one load: 21 loads for 80 FMAs.
 * 20 sums are more than two pipes of latency 4 to 7 need (Cortex-A72, A76); one pipe, of the A53's
 * kind, is kept as busy.  What is left over of four channels follows one by one, in the same order
 * and with the same rounding. */
#include "kernels/micro.h"

#include <arm_neon.h>

#define PIXELS   5
#define QUARTERS 4

/* One of four input channels; the lane must be a constant in the instruction. */
#define CHANNEL(lane)                                                                              \
    do {                                                                                           \
        const float *row = w + (lane)*BLOCK;                                                       \
        const float32x4_t w0 = vld1q_f32(row), w1 = vld1q_f32(row + 4), w2 = vld1q_f32(row + 8),   \
                          w3 = vld1q_f32(row + 12);                                                \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            sum[p][0] = vfmaq_laneq_f32(sum[p][0], w0, x[p], lane);                                \
            sum[p][1] = vfmaq_laneq_f32(sum[p][1], w1, x[p], lane);                                \
            sum[p][2] = vfmaq_laneq_f32(sum[p][2], w2, x[p], lane);                                \
            sum[p][3] = vfmaq_laneq_f32(sum[p][3], w3, x[p], lane);                                \
        }                                                                                          \
    } while (0)

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
        const int lanes = micro_lanes(a, s);
        for (int ky = 0; ky < a->taps_y; ky++)
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                int left = lanes;
                for (; left >= 4; left -= 4, w += 4 * BLOCK, in += 4) {
                    float32x4_t x[PIXELS];
                    MICRO_UNROLL
                    for (int p = 0; p < pixels; p++)
                        x[p] = vld1q_f32(in + p * step);
                    CHANNEL(0);
                    CHANNEL(1);
                    CHANNEL(2);
                    CHANNEL(3);
                }
                for (; left > 0; left--, w += BLOCK, in++) {
                    const float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + 4),
                                      w2 = vld1q_f32(w + 8), w3 = vld1q_f32(w + 12);
                    MICRO_UNROLL
                    for (int p = 0; p < pixels; p++) {
                        const float x = in[p * step];
                        sum[p][0] = vfmaq_n_f32(sum[p][0], w0, x);
                        sum[p][1] = vfmaq_n_f32(sum[p][1], w1, x);
                        sum[p][2] = vfmaq_n_f32(sum[p][2], w2, x);
                        sum[p][3] = vfmaq_n_f32(sum[p][3], w3, x);
                    }
                }
            }
    }
    store(a, pixels, sum);
}

#define EACH(DO) DO(1) DO(2) DO(3) DO(4) DO(5)
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

const struct micro micro_neon64 = {.pixels = PIXELS, .blocks = 1, .chunk = MICRO_CHUNK, .run = run};
