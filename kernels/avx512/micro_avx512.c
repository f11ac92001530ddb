/* The AVX-512 micro-kernel: up to 14 pixels times two blocks of 16 channels.
 *
 * 28 sums in registers, two registers of weights, and each pixel's input spread over a register
 * once for both blocks: 16 loads for 28 FMAs, so neither one FMA a cycle (Zen 4) nor two (Xeon)
 * wait for loads.  With one block 15 loads for 14 FMAs.  Of 24 or 40 channels the last half block
 * is computed in vectors of 8, which take half the time on Zen 4 and the same elsewhere.
 *
 * Pixels are found from two pointers, seven pixels apart, and three multiples of the pixel's pitch:
 * compilers left to themselves keep a pointer for each and spill them.  So two lines of seven
 * pixels (the last layers of most classifiers) are one tile, too. */
#include "kernels/micro.h"

#include <immintrin.h>

#define PIXELS 14
#define HALF   7

struct pitch { /* in bytes */
    ptrdiff_t one, three, five;
};

/* Hides a value's origin from the compiler, which would otherwise compute it anew in the loop. */
#define OPAQUE(x) __asm__("" : "+r"(x))
/* Has the arguments read again when they are wanted: gcc would rather keep them in vector
 * registers, and fetching them from there has to wait behind the FMAs. */
#define FORGET() __asm__ volatile("" : : : "memory")
/* Has it in a register: else gcc loads a few pixels' weights anew for each. */
#define HOLD(v) __asm__("" : "+v"(v))
/* sum += x * w, the sum staying where it is: given the choice of which factor to overwrite, gcc
 * writes over x and copies sums about.  The second form spreads one float. */
#define FMA(sum, x, w) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w))
#define FMA_SPREAD(sum, x, w)                                                                      \
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(x))
#define FMA_SPREAD_HALF(sum, x, w)                                                                 \
    __asm__("vfmadd231ps %2%{1to8%}, %1, %0" : "+v"(sum) : "v"(w), "m"(x))

MICRO_INLINE const float *pixel_at(const float *base, const struct pitch *s, int p) {
    const char *at = (const char *)base;
    switch (p) {
    case 0:
        return base;
    case 1:
        return (const float *)(at + s->one);
    case 2:
        return (const float *)(at + 2 * s->one);
    case 3:
        return (const float *)(at + s->three);
    case 4:
        return (const float *)(at + 4 * s->one);
    case 5:
        return (const float *)(at + s->five);
    default:
        return (const float *)(at + 2 * s->three);
    }
}

/* For every sum: `v` is it, `p` and `b` are its pixel and block. */
#define EACH_SUM(...)                                                                              \
    do {                                                                                           \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            MICRO_UNROLL                                                                           \
            for (int b = 0; b < blocks; b++) {                                                     \
                __m512 *const v = &sum[p][b];                                                      \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    } while (0)
/* Where pixel p lies. */
#define AT(pitch, beyond) (p < HALF ? p * (pitch) : (beyond) + (p - HALF) * (pitch))
#define ADD(from)                                                                                  \
    *v = _mm512_add_ps(*v, all ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(lanes, from));

/* `all`: of 16 lanes, for which loads and stores without a mask are faster. */
MICRO_INLINE void store_lanes(const struct micro_args *a, const int pixels, const int blocks,
                              const bool all, __m512 sum[PIXELS][2]) {
    const __mmask16 lanes = (__mmask16)((0xffffu << a->lane0) & ((1u << a->lane1) - 1u));
    const __m512 zero = _mm512_setzero_ps(), low = _mm512_set1_ps(a->act_a),
                 high = _mm512_set1_ps(a->act_b);
    float *const out = a->out;
    const float *const residual = a->residual;
    const ptrdiff_t pixel = a->out_pixel, block = a->out_block;
    const ptrdiff_t r_pixel = a->residual_pixel, r_block = a->residual_block;
    const ptrdiff_t far = a->line ? a->out_line : HALF * pixel;
    const ptrdiff_t r_far = a->line ? a->residual_line : HALF * r_pixel;
    if (a->init)
        EACH_SUM(ADD(a->init + b * BLOCK));
    else
        EACH_SUM(ADD(out + AT(pixel, far) + b * block));
    if (residual && !a->residual_last)
        EACH_SUM(ADD(residual + AT(r_pixel, r_far) + b * r_block));
    /* max and min give their second operand where one is not a number */
    if (a->act == KACT_RELU)
        EACH_SUM(*v = _mm512_max_ps(zero, *v););
    else if (a->act == KACT_LEAKY_RELU)
        EACH_SUM(*v = _mm512_mask_mul_ps(*v, _mm512_cmp_ps_mask(*v, zero, _CMP_LT_OQ), *v, low););
    else if (a->act == KACT_CLIP)
        EACH_SUM(*v = _mm512_min_ps(high, _mm512_max_ps(low, *v)););
    if (residual && a->residual_last)
        EACH_SUM(ADD(residual + AT(r_pixel, r_far) + b * r_block));
    if (all)
        EACH_SUM(_mm512_storeu_ps(out + AT(pixel, far) + b * block, *v););
    else
        EACH_SUM(_mm512_mask_storeu_ps(out + AT(pixel, far) + b * block, lanes, *v););
}

MICRO_INLINE void store(const struct micro_args *a, const int pixels, const int blocks,
                        __m512 sum[PIXELS][2]) {
    if (a->lane0 == 0 && a->lane1 == BLOCK)
        store_lanes(a, pixels, blocks, true, sum);
    else
        store_lanes(a, pixels, blocks, false, sum);
}

/* Constant `pixels`, `blocks` and `half` after inlining, so that the sums live in registers.  half:
 * the last block has 8 lanes, for which vectors of 8 take half the time where they are computed as
 * fast as two of them make one of 16. */
MICRO_INLINE void tile(const struct micro_args *a, const int pixels, const int blocks,
                       const bool half) {
    __m512 sum[PIXELS][2];
    __m256 low[PIXELS];
    const ptrdiff_t w_block = a->w_block;
    struct pitch s = {.one = a->in_pixel * (ptrdiff_t)sizeof(float)};
    s.three = 3 * s.one;
    s.five = 5 * s.one;
    OPAQUE(s.three);
    OPAQUE(s.five);
    EACH_SUM(*v = _mm512_setzero_ps(););
    MICRO_UNROLL
    for (int p = 0; p < pixels; p++)
        low[p] = _mm256_setzero_ps();
    const char *ahead = a->ahead;
    for (int g = 0; g < a->segs; g++) {
        const ptrdiff_t w_lanes = (ptrdiff_t)micro_lanes(a, g) * BLOCK;
        for (int ky = 0; ky < a->taps_y; ky++)
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + g * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *near = a->in + g * a->in_seg + ky * a->in_y + kx * a->in_x;
                const float *far = near + (a->line ? a->in_line : HALF * a->in_pixel);
                const float *end = w + w_lanes;
                FORGET();
                ahead = micro_fetch(a, ahead, micro_lanes(a, g));
                while (w < end) {
                    const __m256 w8 = _mm256_load_ps(blocks > 1 ? w + w_block : w);
                    __m512 w0 = _mm512_load_ps(w);
                    __m512 w1 = blocks > 1 ? _mm512_load_ps(w + w_block) : w0;
                    HOLD(w0);
                    HOLD(w1);
                    MICRO_UNROLL
                    for (int p = 0; p < pixels; p++) {
                        const float *at = pixel_at(p < HALF ? near : far, &s, p % HALF);
                        if (blocks > 1) {
                            const __m512 x = _mm512_set1_ps(*at);
                            FMA(sum[p][0], x, w0);
                            if (half)
                                FMA(low[p], _mm512_castps512_ps256(x), w8);
                            else
                                FMA(sum[p][1], x, w1);
                        } else if (half) {
                            FMA_SPREAD_HALF(low[p], *at, w8);
                        } else {
                            FMA_SPREAD(sum[p][0], *at, w0);
                        }
                    }
                    w += BLOCK;
                    near++;
                    far++;
                    OPAQUE(near);
                    OPAQUE(far);
                }
            }
    }
    MICRO_UNROLL
    for (int p = 0; half && p < pixels; p++)
        sum[p][blocks - 1] = _mm512_zextps256_ps512(low[p]);
    store(a, pixels, blocks, sum);
}

#define EACH(DO)                                                                                   \
    DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14)
#define TILES(n)                                                                                   \
    static void one_##n(const struct micro_args *a) {                                              \
        tile(a, n, 1, false);                                                                      \
    }                                                                                              \
    static void two_##n(const struct micro_args *a) {                                              \
        tile(a, n, 2, false);                                                                      \
    }                                                                                              \
    static void half_##n(const struct micro_args *a) {                                             \
        tile(a, n, 1, true);                                                                       \
    }                                                                                              \
    static void more_##n(const struct micro_args *a) {                                             \
        tile(a, n, 2, true);                                                                       \
    }
EACH(TILES)

#define ONE(n)   one_##n,
#define TWO(n)   two_##n,
#define EIGHT(n) half_##n,
#define MORE(n)  more_##n,

static void run(struct micro_args *a, int pixels) {
    static const micro_tile_fn one[] = {EACH(ONE)}, two[] = {EACH(TWO)}, half[] = {EACH(EIGHT)},
                               more[] = {EACH(MORE)};
    micro_drive(a, pixels, PIXELS, a->blocks > 1 ? (a->half ? more : two) : a->half ? half : one);
}

const struct micro micro_avx512 = {
    .pixels = PIXELS, .blocks = 2, .line = HALF, .chunk = 512, .run = run};
