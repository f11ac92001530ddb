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

/* `lanes` input channels of one tap, from *in and *w, which follow. */
MICRO_INLINE void channels(int lanes, const int pixels, const ptrdiff_t step, const float **in_at,
                           const float **w_at, float32x4_t sum[PIXELS][QUARTERS]) {
    const float *in = *in_at, *w = *w_at;
    for (const float *end = in + lanes / 4 * 4; in != end; w += 4 * BLOCK, in += 4) {
        float32x4_t x[PIXELS];
        MICRO_UNROLL
        for (int p = 0; p < pixels; p++)
            x[p] = vld1q_f32(in + p * step);
        CHANNEL(0);
        CHANNEL(1);
        CHANNEL(2);
        CHANNEL(3);
    }
    for (int left = lanes % 4; left > 0; left--, w += BLOCK, in++) {
        const float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + 4), w2 = vld1q_f32(w + 8),
                          w3 = vld1q_f32(w + 12);
        MICRO_UNROLL
        for (int p = 0; p < pixels; p++) {
            const float x = in[p * step];
            sum[p][0] = vfmaq_n_f32(sum[p][0], w0, x);
            sum[p][1] = vfmaq_n_f32(sum[p][1], w1, x);
            sum[p][2] = vfmaq_n_f32(sum[p][2], w2, x);
            sum[p][3] = vfmaq_n_f32(sum[p][3], w3, x);
        }
    }
    *in_at = in;
    *w_at = w;
}

/* All taps of one segment. */
MICRO_INLINE void taps(const struct micro_args *a, int lanes, const int pixels, const float *in,
                       const float *w, float32x4_t sum[PIXELS][QUARTERS]) {
    const ptrdiff_t step = a->in_pixel;
    /* From the end of a tap's channels to the next tap, and of a row of taps to the next row. */
    const ptrdiff_t in_x = a->in_x - lanes, in_y = a->in_y - a->taps_x * a->in_x;
    const ptrdiff_t w_x = a->w_x - lanes * BLOCK, w_y = a->w_y - a->taps_x * a->w_x;
    for (int ky = a->taps_y; ky > 0; ky--, in += in_y, w += w_y)
        for (int kx = a->taps_x; kx > 0; kx--, in += in_x, w += w_x)
            channels(lanes, pixels, step, &in, &w, sum);
}

/* Constant `pixels` after inlining, so that the sums live in registers. */
MICRO_INLINE void tile(const struct micro_args *a, const int pixels) {
    const float *in = a->in, *w = a->w;
    float32x4_t sum[PIXELS][QUARTERS];
    EACH_SUM(*v = vdupq_n_f32(0););
    for (int s = 0; s < a->segs; s++, in += a->in_seg, w += a->w_seg) {
        const int lanes = micro_lanes(a, s);
        if (lanes == BLOCK) /* known to the compiler */
            taps(a, BLOCK, pixels, in, w, sum);
        else
            taps(a, lanes, pixels, in, w, sum);
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
