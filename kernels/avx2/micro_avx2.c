/* The AVX2 micro-kernel: up to 6 pixels times one block of 16 channels, in two vectors of 8.
 *
 * 12 sums, 2 registers of weights, one spread input: 15 of the 16 registers.  Per input channel
 * 8 loads and 12 FMAs, so two FMAs a cycle are not starved. */
#include "kernels/micro.h"

#include <immintrin.h>

#define PIXELS 6
#define HALVES 2
/* Channels in a round of the inner loop: where 16 single rounds end is foretold badly. */
#define STEPS 8

/* Hides a value's origin from the compiler, which would otherwise compute it anew in the loop. */
#define OPAQUE(x) __asm__("" : "+r"(x))
/* Has the arguments read again when they are wanted: gcc would rather keep them in vector
 * registers, and fetching them from there has to wait behind the FMAs. */
#define FORGET() __asm__ volatile("" : : : "memory")
/* sum += x * w, the sum staying where it is (gcc would write over x and copy sums about). */
#define FMA(sum, x, w) __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w))

/* For every sum: `v` is it, of pixel p and half h of the block. */
#define EACH_SUM(...)                                                                              \
    do {                                                                                           \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            MICRO_UNROLL                                                                           \
            for (int h = 0; h < HALVES; h++) {                                                     \
                __m256 *const v = &sum[p][h];                                                      \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    } while (0)
#define ADD(from) *v = _mm256_add_ps(*v, _mm256_loadu_ps((from) + h * 8));

MICRO_INLINE void store(const struct micro_args *a, const int pixels, __m256 sum[PIXELS][HALVES]) {
    const __m256 zero = _mm256_setzero_ps(), low = _mm256_set1_ps(a->act_a),
                 high = _mm256_set1_ps(a->act_b);
    float *const out = a->out;
    const float *const residual = a->residual;
    const ptrdiff_t pixel = a->out_pixel, r_pixel = a->residual_pixel;
    if (a->init)
        EACH_SUM(ADD(a->init));
    else
        EACH_SUM(ADD(out + p * pixel));
    if (residual && !a->residual_last)
        EACH_SUM(ADD(residual + p * r_pixel));
    /* max and min give their second operand where one is not a number */
    if (a->act == KACT_RELU)
        EACH_SUM(*v = _mm256_max_ps(zero, *v););
    else if (a->act == KACT_LEAKY_RELU)
        EACH_SUM(*v = _mm256_blendv_ps(*v, _mm256_mul_ps(*v, low),
                                       _mm256_cmp_ps(*v, zero, _CMP_LT_OQ)););
    else if (a->act == KACT_CLIP)
        EACH_SUM(*v = _mm256_min_ps(high, _mm256_max_ps(low, *v)););
    if (residual && a->residual_last)
        EACH_SUM(ADD(residual + p * r_pixel));
    EACH_SUM(_mm256_storeu_ps(out + p * pixel + h * 8, *v););
}

/* One input channel, and on to the next. */
#define CHANNEL()                                                                                  \
    do {                                                                                           \
        const __m256 w0 = _mm256_load_ps(w), w1 = _mm256_load_ps(w + 8);                           \
        const ptrdiff_t step[PIXELS] = {0, one, 2 * one, three, 4 * one, five};                    \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            const char *at = (const char *)in + step[p];                                           \
            const __m256 x = _mm256_broadcast_ss((const float *)at);                               \
            FMA(sum[p][0], x, w0);                                                                 \
            FMA(sum[p][1], x, w1);                                                                 \
        }                                                                                          \
        w += BLOCK;                                                                                \
        in++;                                                                                      \
        OPAQUE(w);                                                                                 \
        OPAQUE(in);                                                                                \
    } while (0)

/* Constant `pixels` after inlining, so that the sums live in registers. */
MICRO_INLINE void tile(const struct micro_args *a, const int pixels) {
    __m256 sum[PIXELS][HALVES];
    const ptrdiff_t one = a->in_pixel * (ptrdiff_t)sizeof(float);
    ptrdiff_t three = 3 * one, five = 5 * one;
    OPAQUE(three);
    OPAQUE(five);
    EACH_SUM(*v = _mm256_setzero_ps(););
    const char *ahead = a->ahead;
    for (int s = 0; s < a->segs; s++) {
        const int lanes = micro_lanes(a, s);
        for (int ky = 0; ky < a->taps_y; ky++)
            for (int kx = 0; kx < a->taps_x; kx++) {
                const float *w = a->w + s * a->w_seg + ky * a->w_y + kx * a->w_x;
                const float *in = a->in + s * a->in_seg + ky * a->in_y + kx * a->in_x;
                int left = lanes;
                FORGET();
                ahead = micro_fetch(a, ahead, lanes);
                for (; left >= STEPS; left -= STEPS) {
                    MICRO_UNROLL
                    for (int l = 0; l < STEPS; l++)
                        CHANNEL();
                }
                for (; left > 0; left--)
                    CHANNEL();
            }
    }
    store(a, pixels, sum);
}

#define EACH(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
EACH(MICRO_TILE)

static void run(const struct micro_args *a, int pixels) {
    static const micro_tile_fn tiles[] = {EACH(MICRO_TILE_NAME)};
    micro_drive_whole(a, pixels, PIXELS, tiles);
}

const struct micro micro_avx2 = {.pixels = PIXELS, .blocks = 1, .chunk = MICRO_CHUNK, .run = run};
