/* The micro-kernel of 64-bit Arm: up to 5 pixels times one block of 16 channels, four vectors of 4.
 *
 * 20 sums, 4 registers of weights, 5 of inputs: 29 of the 32.  FMLA by element takes its factor
 * from one lane of a vector, so four input channels of a pixel are one load: 13 loads, of pairs for
 * weights, for 80 FMAs.  20 sums are more than two pipes of latency 4 to 7 need (Cortex-A72, A76);
 * one pipe, of the A53's kind, is kept as busy.
 * Whole blocks of input channels, which is nearly all of them, are written in assembly: what comes
 * next is loaded while the sums of the present go on, for cores that keep the order, and nothing is
 * reckoned between taps.  gcc moves sums about when it has 16 channels in one piece.
 * What is left over follows in C, in the same order and with the same rounding. */
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

/* ---- whole blocks of 16 input channels ------------------------------------------------------- */

/* Sums of pixel p are v(12 + 4p) to v(15 + 4p), its inputs v(4 + p) from [rp]; weights are v0 to
 * v3: two vectors of the next channel come while the other two are used. */
/* clang-format off */
#define FMLA(s, w, x, lane) "fmla v" #s ".4s, v" #w ".4s, v" #x ".s[" #lane "]\n\t"
#define LOW(s0, s1, x, lane)  FMLA(s0, 0, x, lane) FMLA(s1, 1, x, lane)
#define HIGH(s2, s3, x, lane) FMLA(s2, 2, x, lane) FMLA(s3, 3, x, lane)
#define W_LOW  "ldp q0, q1, [%[w]], #32\n\t"
#define W_HIGH "ldp q2, q3, [%[w]], #32\n\t"
#define INPUT(x, p) "ldr q" #x ", [%[r" #p "]], #16\n\t"
#define NONE(x, p)
#define MOVE(p, by) "add %[r" #p "], %[r" #p "], %[" by "]\n\t"
#define SAVE(at, s0, s1, s2, s3)                                                                   \
    "stp q" #s0 ", q" #s1 ", [%[to], #64*" #at "]\n\t"                                            \
    "stp q" #s2 ", q" #s3 ", [%[to], #64*" #at "+32]\n\t"
#define ZERO(s) "movi v" #s ".2d, #0\n\t"

#define INPUTS3 INPUT(4, 0) INPUT(5, 1) INPUT(6, 2)
#define INPUTS4 INPUTS3 INPUT(7, 3)
#define INPUTS5 INPUTS4 INPUT(8, 4)
#define LOW3(l) LOW(12, 13, 4, l) LOW(16, 17, 5, l) LOW(20, 21, 6, l)
#define LOW4(l) LOW3(l) LOW(24, 25, 7, l)
#define LOW5(l) LOW4(l) LOW(28, 29, 8, l)
#define HIGH3(l, THEN)                                                                             \
    HIGH(14, 15, 4, l) THEN(4, 0) HIGH(18, 19, 5, l) THEN(5, 1) HIGH(22, 23, 6, l) THEN(6, 2)
#define HIGH4(l, THEN) HIGH3(l, THEN) HIGH(26, 27, 7, l) THEN(7, 3)
#define HIGH5(l, THEN) HIGH4(l, THEN) HIGH(30, 31, 8, l) THEN(8, 4)
#define MOVE3(by) MOVE(0, by) MOVE(1, by) MOVE(2, by)
#define MOVE4(by) MOVE3(by) MOVE(3, by)
#define MOVE5(by) MOVE4(by) MOVE(4, by)
#define SAVE3 SAVE(0, 12, 13, 14, 15) SAVE(1, 16, 17, 18, 19) SAVE(2, 20, 21, 22, 23)
#define SAVE4 SAVE3 SAVE(3, 24, 25, 26, 27)
#define SAVE5 SAVE4 SAVE(4, 28, 29, 30, 31)
#define ZEROS(s0, s1, s2, s3) ZERO(s0) ZERO(s1) ZERO(s2) ZERO(s3)
#define ZERO3 ZEROS(12, 13, 14, 15) ZEROS(16, 17, 18, 19) ZEROS(20, 21, 22, 23)
#define ZERO4 ZERO3 ZEROS(24, 25, 26, 27)
#define ZERO5 ZERO4 ZEROS(28, 29, 30, 31)

#define ONE(n, l) LOW##n(l) W_LOW HIGH##n(l, NONE) W_HIGH
#define THREE(n)  ONE(n, 0) ONE(n, 1) ONE(n, 2)
#define FOUR(n)   THREE(n) LOW##n(3) W_LOW HIGH##n(3, INPUT) W_HIGH
#define SIXTEEN(n)                                                                                 \
    INPUTS##n W_LOW W_HIGH FOUR(n) FOUR(n) FOUR(n) THREE(n) LOW##n(3) HIGH##n(3, NONE)
#define STEP(n, count, by, label)                                                                  \
    MOVE##n("in_" by) "add %[w], %[w], %[w_" by "]\n\t"                                            \
    "subs %w[" count "], %w[" count "], #1\n\tb.ne " label "b\n\t"
#define NEST(n)                                                                                    \
    ZERO##n                                                                                        \
    "1: mov %w[ky], %w[taps_y]\n\t"                                                                \
    "2: mov %w[kx], %w[taps_x]\n\t"                                                                \
    "3:\n\t" SIXTEEN(n)                                                                            \
    STEP(n, "kx", "x", "3") STEP(n, "ky", "y", "2") STEP(n, "segs", "s", "1") SAVE##n
/* clang-format on */

#define FLOATS(n) ((n) * (ptrdiff_t)sizeof(float)) /* in bytes */
#define RUN(n)                                                                                     \
    __asm__ __volatile__(                                                                          \
        NEST(n)                                                                                    \
        : [r0] "+&r"(r0), [r1] "+&r"(r1), [r2] "+&r"(r2), [r3] "+&r"(r3), [r4] "+&r"(r4),          \
          [w] "+&r"(w), [segs] "+&r"(segs), [ky] "=&r"(ky), [kx] "=&r"(kx)                         \
        : [taps_y] "r"(a->taps_y), [taps_x] "r"(taps_x), [in_x] "r"(FLOATS(in_x - BLOCK)),         \
          [in_y] "r"(FLOATS(a->in_y - taps_x * in_x)),                                             \
          [in_s] "r"(FLOATS(a->in_seg - a->taps_y * a->in_y)),                                     \
          [w_x] "r"(FLOATS(w_x - BLOCK * BLOCK)), [w_y] "r"(FLOATS(a->w_y - taps_x * w_x)),        \
          [w_s] "r"(FLOATS(a->w_seg - a->taps_y * a->w_y)), [to] "r"(to)                           \
        : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v12", "v13",      \
          "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",      \
          "v26", "v27", "v28", "v29", "v30", "v31")

/* How many segments whole() can do: those of whole blocks. */
MICRO_INLINE int whole_segments(const struct micro_args *a) {
    bool blocks = a->lanes == BLOCK || (a->taps_x == 1 && a->lanes > 0 && a->lanes % BLOCK == 0);
    bool any = a->segs > 0 && a->taps_y > 0 && a->taps_x > 0;
    return blocks && any ? a->segs - (a->tail != 0) : 0;
}

/* The sums of the first `segs` segments (at least 1) of 3 to 5 pixels: to[pixels][16]. */
MICRO_INLINE void whole(const struct micro_args *a, int segs, const int pixels, float *to) {
    /* More than one block is the same as so many taps. */
    const bool longer = a->lanes > BLOCK;
    const int taps_x = longer ? a->lanes / BLOCK : a->taps_x;
    const ptrdiff_t in_x = longer ? BLOCK : a->in_x, w_x = longer ? BLOCK * BLOCK : a->w_x;
    const ptrdiff_t step = a->in_pixel;
    const float *w = a->w, *r0 = a->in, *r1 = r0 + step, *r2 = r1 + step, *r3 = r2, *r4 = r2;
    int ky, kx;
    if (pixels > 3)
        r3 += step;
    if (pixels > 4)
        r4 = r3 + step;
    if (pixels == 3)
        RUN(3);
    else if (pixels == 4)
        RUN(4);
    else
        RUN(5);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* Constant `pixels` after inlining, so that the sums live in registers. */
MICRO_INLINE void tile(const struct micro_args *a, const int pixels) {
    int s = pixels > 2 ? whole_segments(a) : 0;
    float32x4_t sum[PIXELS][QUARTERS];
    if (s > 0) {
        float first[PIXELS * BLOCK];
        whole(a, s, pixels, first);
        EACH_SUM(*v = vld1q_f32(first + p * BLOCK + q * 4););
    } else {
        EACH_SUM(*v = vdupq_n_f32(0););
    }
    const float *in = a->in + s * a->in_seg, *w = a->w + s * a->w_seg;
    for (; s < a->segs; s++, in += a->in_seg, w += a->w_seg)
        taps(a, micro_lanes(a, s), pixels, in, w, sum);
    store(a, pixels, sum);
}

#define EACH(DO) DO(1) DO(2) DO(3) DO(4) DO(5)
EACH(MICRO_TILE)

static void run(struct micro_args *a, int pixels) {
    static const micro_tile_fn tiles[] = {EACH(MICRO_TILE_NAME)};
    micro_drive_whole(a, pixels, PIXELS, tiles);
}

const struct micro micro_neon64 = {.pixels = PIXELS, .blocks = 1, .chunk = MICRO_CHUNK, .run = run};
