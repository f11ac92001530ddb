/* The micro-kernel of 32-bit Arm: 4 pixels times 8 channels, twice for a block of 16; 1 or 2 pixels
 * times all 16.
 *
 * The multiply-add by element, VMLA.F32 Q, Q, D[i], takes its factor from one lane of d0 to d15, so
 * four input channels of a pixel are one load: 12 loads of whole registers for 32 multiply-adds.
 * NEON of 32 bits has no fused one by element; VFMA needs every factor on all lanes first, a load
 * or VDUP for every two multiply-adds.  So products here are rounded before they are added.
 * Of the 16 registers 8 are sums (q8 to q15), 4 weights, of two channels so that the next one's
 * load goes beside this one's sums (q4 to q7), 4 inputs (q0 to q3).  With intrinsics the compilers
 * lose that: sums leave the registers, and lanes of a vector are copied where they can be read.
 * What is left over of four channels follows one by one, in the same order. */
#include "kernels/micro.h"

#include <arm_neon.h>

#define PIXELS 4
#define HALF   8 /* lanes, where a block is done in two halves */

#define SUM(p, v) "%q[s" #p #v "]"
/* Two vectors of weights; the next two are [next] bytes further on. */
#define WEIGHTS_A "vld1.32 {d8-d11}, [%[w]:128], %[next]\n\t"
#define WEIGHTS_B "vld1.32 {d12-d15}, [%[w]:128], %[next]\n\t"
/* One pixel's part of one channel, from q4 and q5 (A) or q6 and q7 (B) to vectors v0 and v1. */
#define MLA_A(p, v0, v1, x)                                                                        \
    "vmla.f32 " SUM(p, v0) ", q4, " x "\n\tvmla.f32 " SUM(p, v1) ", q5, " x "\n\t"
#define MLA_B(p, v0, v1, x)                                                                        \
    "vmla.f32 " SUM(p, v0) ", q6, " x "\n\tvmla.f32 " SUM(p, v1) ", q7, " x "\n\t"
/* Inputs: the registers D of one pixel, then on to the next one, or back to the first. */
#define INPUT(d)      "vld1.32 {" d "}, [%[in]], %[step]\n\t"
#define INPUT_LAST(d) "vld1.32 {" d "}, [%[in]], %[back]\n\t"

#define AGAIN                                                                                      \
    "subs %[count], %[count], #1\n\t"                                                              \
    "bne 1b\n\t"

/* `count` times CODE, which takes `channels` input channels; q0 to q7 are its own. */
#define TIMES(CODE, channels, SUMS)                                                                \
    do {                                                                                           \
        const ptrdiff_t back = ((channels) - (pixels - 1) * step) * (ptrdiff_t)sizeof(float);      \
        __asm__("1:\n\t" CODE AGAIN                                                                \
                : SUMS, [in] "+&r"(in), [w] "+&r"(w), [count] "+&r"(count)                         \
                : [step] "r"(step * (ptrdiff_t)sizeof(float)), [back] "r"(back),                   \
                  [next] "r"((vectors == 2 ? BLOCK : HALF) * (int)sizeof(float))                   \
                : "cc", "memory", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7");                 \
    } while (0)

#define PIXEL_SUMS2(p) [s##p##0] "+w"(sum[p][0]), [s##p##1] "+w"(sum[p][1])
#define PIXEL_SUMS4(p) PIXEL_SUMS2(p), [s##p##2] "+w"(sum[p][2]), [s##p##3] "+w"(sum[p][3])
#define SUMS4x2        PIXEL_SUMS2(0), PIXEL_SUMS2(1), PIXEL_SUMS2(2), PIXEL_SUMS2(3)
#define SUMS3x2        PIXEL_SUMS2(0), PIXEL_SUMS2(1), PIXEL_SUMS2(2)
#define SUMS2x4        PIXEL_SUMS4(0), PIXEL_SUMS4(1)
#define SUMS1x4        PIXEL_SUMS4(0)

/* One channel of 4 and of 3 pixels, 8 lanes; of 2 and of 1, 16 lanes. */
#define CHANNEL4(W, x0, x1, x2, x3) W(0, 0, 1, x0) W(1, 0, 1, x1) W(2, 0, 1, x2) W(3, 0, 1, x3)
#define CHANNEL3(W, x0, x1, x2)     W(0, 0, 1, x0) W(1, 0, 1, x1) W(2, 0, 1, x2)
#define CHANNEL2(x0, x1)                                                                           \
    WEIGHTS_B MLA_A(0, 0, 1, x0) MLA_A(1, 0, 1, x1) MLA_B(0, 2, 3, x0) MLA_B(1, 2, 3, x1)
#define CHANNEL1(x0) WEIGHTS_B MLA_A(0, 0, 1, x0) MLA_B(0, 2, 3, x0)

/* clang-format off */
#define FOUR4                                                                                      \
    WEIGHTS_A INPUT("d0-d1") INPUT("d2-d3") INPUT("d4-d5") INPUT_LAST("d6-d7")                     \
    WEIGHTS_B CHANNEL4(MLA_A, "d0[0]", "d2[0]", "d4[0]", "d6[0]")                                  \
    WEIGHTS_A CHANNEL4(MLA_B, "d0[1]", "d2[1]", "d4[1]", "d6[1]")                                  \
    WEIGHTS_B CHANNEL4(MLA_A, "d1[0]", "d3[0]", "d5[0]", "d7[0]")                                  \
    CHANNEL4(MLA_B, "d1[1]", "d3[1]", "d5[1]", "d7[1]")
#define FOUR3                                                                                      \
    WEIGHTS_A INPUT("d0-d1") INPUT("d2-d3") INPUT_LAST("d4-d5")                                    \
    WEIGHTS_B CHANNEL3(MLA_A, "d0[0]", "d2[0]", "d4[0]")                                           \
    WEIGHTS_A CHANNEL3(MLA_B, "d0[1]", "d2[1]", "d4[1]")                                           \
    WEIGHTS_B CHANNEL3(MLA_A, "d1[0]", "d3[0]", "d5[0]")                                           \
    CHANNEL3(MLA_B, "d1[1]", "d3[1]", "d5[1]")
#define FOUR2                                                                                      \
    WEIGHTS_A INPUT("d0-d1") INPUT_LAST("d2-d3") CHANNEL2("d0[0]", "d2[0]")                        \
    WEIGHTS_A CHANNEL2("d0[1]", "d2[1]")                                                           \
    WEIGHTS_A CHANNEL2("d1[0]", "d3[0]")                                                           \
    WEIGHTS_A CHANNEL2("d1[1]", "d3[1]")
#define FOUR1                                                                                      \
    WEIGHTS_A INPUT_LAST("d0-d1") CHANNEL1("d0[0]")                                                \
    WEIGHTS_A CHANNEL1("d0[1]")                                                                    \
    WEIGHTS_A CHANNEL1("d1[0]")                                                                    \
    WEIGHTS_A CHANNEL1("d1[1]")

#define ONE4                                                                                       \
    WEIGHTS_A INPUT("d0[0]") INPUT("d2[0]") INPUT("d4[0]") INPUT_LAST("d6[0]")                     \
    CHANNEL4(MLA_A, "d0[0]", "d2[0]", "d4[0]", "d6[0]")
#define ONE3                                                                                       \
    WEIGHTS_A INPUT("d0[0]") INPUT("d2[0]") INPUT_LAST("d4[0]")                                    \
    CHANNEL3(MLA_A, "d0[0]", "d2[0]", "d4[0]")
#define ONE2 WEIGHTS_A INPUT("d0[0]") INPUT_LAST("d2[0]") CHANNEL2("d0[0]", "d2[0]")
#define ONE1 WEIGHTS_A INPUT_LAST("d0[0]") CHANNEL1("d0[0]")
/* clang-format on */

/* For every sum: `v` is it, of pixel p and vector q of the lanes at hand. */
#define EACH_SUM(...)                                                                              \
    do {                                                                                           \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            MICRO_UNROLL                                                                           \
            for (int q = 0; q < vectors; q++) {                                                    \
                float32x4_t *const v = &sum[p][q];                                                 \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    } while (0)
#define ADD(from) *v = vaddq_f32(*v, vld1q_f32((from) + q * 4));

/* lane: the first of those at hand. */
MICRO_INLINE void store(const struct micro_args *a, const int pixels, const int vectors, int lane,
                        float32x4_t sum[PIXELS][4]) {
    const float32x4_t zero = vdupq_n_f32(0), low = vdupq_n_f32(a->act_a),
                      high = vdupq_n_f32(a->act_b);
    float *const out = a->out + lane;
    const float *const residual = a->residual ? a->residual + lane : NULL;
    const ptrdiff_t pixel = a->out_pixel, r_pixel = a->residual_pixel;
    if (a->init)
        EACH_SUM(ADD(a->init + lane));
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

/* Constant `pixels` and `vectors` (4, or 2: half a block from `lane` on) after inlining, so that
 * the sums live in registers. */
MICRO_INLINE void tile(const struct micro_args *a, const int pixels, const int vectors, int lane) {
    const ptrdiff_t step = a->in_pixel;
    const float *w_s = a->w + lane, *in_s = a->in;
    float32x4_t sum[PIXELS][4];
    EACH_SUM(*v = vdupq_n_f32(0););
    for (int s = 0; s < a->segs; s++, w_s += a->w_seg, in_s += a->in_seg) {
        const int lanes = micro_lanes(a, s);
        const float *w_y = w_s, *in_y = in_s;
        for (int ky = 0; ky < a->taps_y; ky++, w_y += a->w_y, in_y += a->in_y) {
            const float *w_x = w_y, *in_x = in_y;
            for (int kx = 0; kx < a->taps_x; kx++, w_x += a->w_x, in_x += a->in_x) {
                const float *w = w_x, *in = in_x;
                int count = lanes / 4;
                if (count > 0) {
                    if (pixels == 4)
                        TIMES(FOUR4, 4, SUMS4x2);
                    else if (pixels == 3)
                        TIMES(FOUR3, 4, SUMS3x2);
                    else if (pixels == 2)
                        TIMES(FOUR2, 4, SUMS2x4);
                    else
                        TIMES(FOUR1, 4, SUMS1x4);
                }
                count = lanes % 4;
                if (count > 0) {
                    if (pixels == 4)
                        TIMES(ONE4, 1, SUMS4x2);
                    else if (pixels == 3)
                        TIMES(ONE3, 1, SUMS3x2);
                    else if (pixels == 2)
                        TIMES(ONE2, 1, SUMS2x4);
                    else
                        TIMES(ONE1, 1, SUMS1x4);
                }
            }
        }
    }
    store(a, pixels, vectors, lane, sum);
}

static void tile_1(const struct micro_args *a) {
    tile(a, 1, 4, 0);
}

static void tile_2(const struct micro_args *a) {
    tile(a, 2, 4, 0);
}

/* A half without a wanted lane is left out: groups of few channels, the last few features. */
#define HALVES(n)                                                                                  \
    static void half_##n(const struct micro_args *a, int lane) {                                   \
        tile(a, n, 2, lane);                                                                       \
    }                                                                                              \
    static void tile_##n(const struct micro_args *a) {                                             \
        if (a->lane0 < HALF)                                                                       \
            half_##n(a, 0);                                                                        \
        if (a->lane1 > HALF)                                                                       \
            half_##n(a, HALF);                                                                     \
    }
HALVES(3)
HALVES(4)

static void run(struct micro_args *a, int pixels) {
    static const micro_tile_fn tiles[] = {tile_1, tile_2, tile_3, tile_4};
    micro_drive_whole(a, pixels, PIXELS, tiles);
}

const struct micro micro_neon32 = {.pixels = PIXELS, .blocks = 1, .chunk = MICRO_CHUNK, .run = run};
