/* The float16 micro-kernel of 64-bit Arm with FEAT_FP16: up to 8 pixels times 16 channels, two
 * vectors of 8.
 *
 * 16 sums, 8 registers of inputs, 4 of weights.  FMLA by element takes its factor from one lane of
 * a vector, so eight input channels of a pixel are one load: 16 loads, half of them pairs, for 128
 * multiply-adds of 8 lanes.  Between pieces the totals in float32, which the registers cannot hold
 * as well, lie in the first-level cache: 6 instructions for each sum. */
#include "kernels/fp16.h"
#include "kernels/micro.h"

#include <arm_neon.h>
#include <string.h>

#define PIXELS   8
#define EACH(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8)

/* ---- sums of some products ------------------------------------------------------------------- */

/* Sums of pixel p are v(16 + 2p) and v(17 + 2p), its inputs v(p) from [rp]; weights are v8, v9 and
 * v10, v11: those of the next channel come while these are used, and a pixel's next inputs as soon
 * as the last of the present is used.  In assembly because gcc copies every factor into a vector of
 * its own, instead of taking it from its lane. */
/* clang-format off */
#define FMLA(s, w, x, lane) "fmla v" #s ".8h, v" #w ".8h, v" #x ".h[" #lane "]\n\t"
#define NONE(x)
#define INPUT(x) "ldr q" #x ", [%[r" #x "]], #16\n\t"
#define WEIGHTS(w0, w1) "ldp q" #w0 ", q" #w1 ", [%[w]], #32\n\t"

#define CH1(l, a, b, THEN) FMLA(16, a, 0, l) FMLA(17, b, 0, l) THEN(0)
#define CH2(l, a, b, THEN) CH1(l, a, b, THEN) FMLA(18, a, 1, l) FMLA(19, b, 1, l) THEN(1)
#define CH3(l, a, b, THEN) CH2(l, a, b, THEN) FMLA(20, a, 2, l) FMLA(21, b, 2, l) THEN(2)
#define CH4(l, a, b, THEN) CH3(l, a, b, THEN) FMLA(22, a, 3, l) FMLA(23, b, 3, l) THEN(3)
#define CH5(l, a, b, THEN) CH4(l, a, b, THEN) FMLA(24, a, 4, l) FMLA(25, b, 4, l) THEN(4)
#define CH6(l, a, b, THEN) CH5(l, a, b, THEN) FMLA(26, a, 5, l) FMLA(27, b, 5, l) THEN(5)
#define CH7(l, a, b, THEN) CH6(l, a, b, THEN) FMLA(28, a, 6, l) FMLA(29, b, 6, l) THEN(6)
#define CH8(l, a, b, THEN) CH7(l, a, b, THEN) FMLA(30, a, 7, l) FMLA(31, b, 7, l) THEN(7)
#define EVEN(n, l) WEIGHTS(10, 11) CH##n(l, 8, 9, NONE)
#define ODD(n, l)  WEIGHTS(8, 9) CH##n(l, 10, 11, NONE)
#define EIGHT(n)                                                                                   \
    EVEN(n, 0) ODD(n, 1) EVEN(n, 2) ODD(n, 3) EVEN(n, 4) ODD(n, 5) EVEN(n, 6)                      \
    WEIGHTS(8, 9) CH##n(7, 10, 11, INPUT)

/* DO for each of n pixels. */
#define PX1(DO) DO(0, 16, 17)
#define PX2(DO) PX1(DO) DO(1, 18, 19)
#define PX3(DO) PX2(DO) DO(2, 20, 21)
#define PX4(DO) PX3(DO) DO(3, 22, 23)
#define PX5(DO) PX4(DO) DO(4, 24, 25)
#define PX6(DO) PX5(DO) DO(5, 26, 27)
#define PX7(DO) PX6(DO) DO(6, 28, 29)
#define PX8(DO) PX7(DO) DO(7, 30, 31)
#define ZERO(p, s0, s1) "movi v" #s0 ".2d, #0\n\tmovi v" #s1 ".2d, #0\n\t"
#define FIRST(p, s0, s1) INPUT(p)
#define BACK(p, s0, s1) "sub %[r" #p "], %[r" #p "], #16\n\t"
#define MOVE(p, s0, s1) "add %[r" #p "], %[r" #p "], %[by]\n\t"
/* One product of a pixel. */
#define SINGLE(p, s0, s1)                                                                          \
    "ld1r {v" #p ".8h}, [%[r" #p "]], #2\n\t"                                                      \
    "fmla v" #s0 ".8h, v8.8h, v" #p ".8h\n\tfmla v" #s1 ".8h, v9.8h, v" #p ".8h\n\t"
/* A pixel's sums in float32, v0 to v3; and the same added to the totals. */
#define WIDE(p, s0, s1)                                                                            \
    "fcvtl v0.4s, v" #s0 ".4h\n\tfcvtl2 v1.4s, v" #s0 ".8h\n\t"                                    \
    "fcvtl v2.4s, v" #s1 ".4h\n\tfcvtl2 v3.4s, v" #s1 ".8h\n\t"
#define SAVE(p)                                                                                    \
    "stp q0, q1, [%[total], #64*" #p "]\n\tstp q2, q3, [%[total], #64*" #p "+32]\n\t"
#define STORE(p, s0, s1) WIDE(p, s0, s1) SAVE(p)
#define ADD(p, s0, s1)                                                                             \
    "ldp q4, q5, [%[total], #64*" #p "]\n\tldp q6, q7, [%[total], #64*" #p "+32]\n\t"              \
    WIDE(p, s0, s1)                                                                                \
    "fadd v0.4s, v0.4s, v4.4s\n\tfadd v1.4s, v1.4s, v5.4s\n\t"                                     \
    "fadd v2.4s, v2.4s, v6.4s\n\tfadd v3.4s, v3.4s, v7.4s\n\t" SAVE(p)

/* Labels: 0 sums, 1 pieces, 2 eight products, 3 the rest, 4 single products, 5 the end of a piece, 6
 * the first totals, 7 the end. */
#define NEST(n)                                                                                    \
    "0:\n\t" PX##n(ZERO)                                                                           \
    "1:\n\t"                                                                                       \
    "cbz %w[eights], 3f\n\t"                                                                       \
    PX##n(FIRST) WEIGHTS(8, 9)                                                                     \
    "mov %w[k], %w[eights]\n\t"                                                                    \
    "2:\n\t" EIGHT(n)                                                                              \
    "subs %w[k], %w[k], #1\n\tb.ne 2b\n\t"                                                         \
    PX##n(BACK) "sub %[w], %[w], #32\n\t"                                                          \
    "3: cbz %w[singles], 5f\n\tmov %w[k], %w[singles]\n\t"                                         \
    "4:\n\t" WEIGHTS(8, 9) PX##n(SINGLE)                                                           \
    "subs %w[k], %w[k], #1\n\tb.ne 4b\n\t"                                                         \
    "5:\n\t" PX##n(MOVE)                                                                           \
    "subs %w[pieces], %w[pieces], #1\n\tb.ne 1b\n\t"                                               \
    "cbnz %w[first], 6f\n\t"                                                                       \
    PX##n(ADD)                                                                                     \
    "mov %w[pieces], #1\n\tsubs %w[count], %w[count], #1\n\tb.ne 0b\n\tb 7f\n\t"                   \
    "6:\n\t" PX##n(STORE) "7:\n\t"
/* clang-format on */

#define RUN(n)                                                                                     \
    __asm__ __volatile__(                                                                          \
        NEST(n)                                                                                    \
        : [r0] "+&r"(r[0]), [r1] "+&r"(r[1]), [r2] "+&r"(r[2]), [r3] "+&r"(r[3]),                  \
          [r4] "+&r"(r[4]), [r5] "+&r"(r[5]), [r6] "+&r"(r[6]), [r7] "+&r"(r[7]), [w] "+&r"(w),    \
          [pieces] "+&r"(pieces), [count] "+&r"(count), [k] "=&r"(k)                               \
        : [eights] "r"(eights), [singles] "r"(singles), [by] "r"(by), [total] "r"(total),          \
          [first] "r"(first)                                                                       \
        : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10",       \
          "v11", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",      \
          "v27", "v28", "v29", "v30", "v31")
#define RUN_IF(n)                                                                                  \
    if (pixels == n)                                                                               \
        RUN(n);

/* `pieces` (at least 1) of n products each, `move` inputs from one to the next, as one float16 sum
 * for each pixel and lane; these become the totals (`first`), or join them.  `count` such sums one
 * behind the other, which are of one piece each and not the first if there are several. */
MICRO_INLINE void sums(const int pixels, int pieces, int count, int n, ptrdiff_t move,
                       ptrdiff_t step, const uint16_t *in, const uint16_t *w, bool first,
                       float *total) {
    const int eights = n / 8, singles = n % 8;
    const ptrdiff_t by = pieces > 1 ? (move - n) * (ptrdiff_t)sizeof *in : 0;
    const uint16_t *r[PIXELS];
    int k;
    for (int p = 0; p < PIXELS; p++)
        r[p] = in + (p < pixels ? p : 0) * step;
    EACH(RUN_IF)
}

/* ---- tiles ----------------------------------------------------------------------------------- */

/* For pixel p's four channels at hand. */
#define EACH_PIXEL(...)                                                                            \
    do {                                                                                           \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

/* Totals of all 16 lanes to the output, four channels at a time. */
MICRO_INLINE void store_whole(const struct fp16_args *a, const int pixels, const float *total) {
    const float32x4_t zero = vdupq_n_f32(0), low = vdupq_n_f32(a->act_a),
                      high = vdupq_n_f32(a->act_b);
    const float *const init = a->init, *residual = a->residual;
    const ptrdiff_t pixel = a->out_pixel, r_pixel = a->residual_pixel;
    const bool last = a->residual_last;
    const enum kernel_act act = a->act;
    float *out = a->out;
    for (int q = 0; q < BLOCK; q += 4, total += 4, out += 4) {
        const float32x4_t scale = vld1q_f32(a->scale + q);
        float32x4_t v[PIXELS];
        if (init) {
            const float32x4_t from = vld1q_f32(init + q);
            EACH_PIXEL(v[p] = vfmaq_f32(from, vld1q_f32(total + p * BLOCK), scale););
        } else {
            EACH_PIXEL(
                v[p] = vfmaq_f32(vld1q_f32(out + p * pixel), vld1q_f32(total + p * BLOCK), scale););
        }
        if (residual && !last)
            EACH_PIXEL(v[p] = vaddq_f32(v[p], vld1q_f32(residual + p * r_pixel + q)););
        if (act == KACT_RELU)
            EACH_PIXEL(v[p] = vmaxq_f32(zero, v[p]););
        else if (act == KACT_LEAKY_RELU)
            EACH_PIXEL(v[p] = vbslq_f32(vcltq_f32(v[p], zero), vmulq_f32(v[p], low), v[p]););
        else if (act == KACT_CLIP)
            EACH_PIXEL(v[p] = vminq_f32(high, vmaxq_f32(low, v[p])););
        if (residual && last)
            EACH_PIXEL(v[p] = vaddq_f32(v[p], vld1q_f32(residual + p * r_pixel + q)););
        EACH_PIXEL(vst1q_f32(out + p * pixel, v[p]););
    }
}

/* Some of them: the rest is nobody's. */
static __attribute__((noinline)) void store_part(const struct fp16_args *a, int pixels,
                                                 float *total) {
    float out[PIXELS * BLOCK] = {0}, residual[PIXELS * BLOCK] = {0}, init[BLOCK] = {0};
    struct fp16_args whole = *a;
    memset(total + pixels * BLOCK, 0, (size_t)(PIXELS - pixels) * BLOCK * sizeof *total);
    for (int j = 0; j < a->lanes; j++) {
        if (a->init)
            init[j] = a->init[j];
        for (int p = 0; p < pixels; p++) {
            if (!a->init)
                out[p * BLOCK + j] = a->out[p * a->out_pixel + j];
            if (a->residual)
                residual[p * BLOCK + j] = a->residual[p * a->residual_pixel + j];
        }
    }
    whole.out = out;
    whole.init = a->init ? init : NULL;
    whole.residual = a->residual ? residual : NULL;
    whole.out_pixel = whole.residual_pixel = BLOCK;
    store_whole(&whole, PIXELS, total);
    for (int p = 0; p < pixels; p++)
        for (int j = 0; j < a->lanes; j++)
            a->out[p * a->out_pixel + j] = out[p * BLOCK + j];
}

/* Constant `pixels` after inlining. */
MICRO_INLINE void tile(const struct fp16_args *a, const int pixels) {
    float total[PIXELS * BLOCK] __attribute__((aligned(16)));
    const ptrdiff_t step = a->in_pixel;
    /* What a sum may take several pieces of: taps, or rows of them where a row has one. */
    const bool one = a->taps_x == 1;
    const int lines = one ? 1 : a->taps_y, taps = one ? a->taps_y : a->taps_x;
    const ptrdiff_t move = one ? a->in_y : a->in_x;
    const uint16_t *line = a->in, *w = a->w;
    bool first = true;
    for (int i = 0; i < lines; i++, line += a->in_y)
        for (int t = 0, pieces; t < taps; t += pieces) {
            pieces = taps - t < a->together ? taps - t : a->together;
            const uint16_t *in = line + t * move;
            for (int k = 0, n, count; k < a->run; k += n * count) {
                n = a->run - k < a->piece ? a->run - k : a->piece;
                count = first ? 1 : (a->run - k) / n;
                sums(pixels, pieces, count, n, move, step, in + k, w, first, total);
                w += (ptrdiff_t)n * count * pieces * BLOCK;
                first = false;
            }
        }
    if (first)
        memset(total, 0, sizeof total);
    if (a->lanes == BLOCK)
        store_whole(a, pixels, total);
    else
        store_part(a, pixels, total);
}

#define TILE(n)                                                                                    \
    static void tile_##n(const struct fp16_args *a) {                                              \
        tile(a, n);                                                                                \
    }
#define TILE_NAME(n) tile_##n,
EACH(TILE)

static void run(const struct fp16_args *args, int pixels) {
    static void (*const tiles[])(const struct fp16_args *) = {EACH(TILE_NAME)};
    struct fp16_args a = *args;
    while (pixels > 0) {
        const int n = micro_tile(pixels, PIXELS);
        tiles[n - 1](&a);
        a.in += n * a.in_pixel;
        a.out += n * a.out_pixel;
        if (a.residual)
            a.residual += n * a.residual_pixel;
        pixels -= n;
    }
}

/* ---- rounding -------------------------------------------------------------------------------- */

MICRO_INLINE uint16x8_t narrow_eight(const float *in, uint16_t *out, uint16x8_t largest) {
    const float16x4_t low = vcvt_f16_f32(vld1q_f32(in));
    const uint16x8_t h = vreinterpretq_u16_f16(vcvt_high_f16_f32(low, vld1q_f32(in + 4)));
    vst1q_u16(out, h);
    return vmaxq_u16(largest, vbicq_u16(h, vdupq_n_u16(0x8000)));
}

static uint16_t narrow(const float *in, ptrdiff_t in_step, uint16_t *out, ptrdiff_t out_step,
                       int lanes, int pixels) {
    uint16x8_t largest = vdupq_n_u16(0);
    uint16_t rest = 0;
    for (; pixels > 0; pixels--, in += in_step, out += out_step) {
        int i = 0;
        for (; i + 8 <= lanes; i += 8)
            largest = narrow_eight(in + i, out + i, largest);
        for (; i < lanes; i++) {
            const float16x4_t h = vcvt_f16_f32(vdupq_n_f32(in[i]));
            out[i] = vget_lane_u16(vreinterpret_u16_f16(h), 0);
            const uint16_t size = out[i] & 0x7fff;
            rest = size > rest ? size : rest;
        }
    }
    const uint16_t eights = vmaxvq_u16(largest);
    return eights > rest ? eights : rest;
}

const struct fp16_micro micro_neon64hp = {.pixels = PIXELS, .run = run, .narrow = narrow};
