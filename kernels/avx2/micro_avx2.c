/* The AVX2 micro-kernel: up to 6 pixels times one block of 16 channels, in two vectors of 8.
 *
 * 12 sums, 2 registers of weights, one spread input: 15 of the 16 registers.  Per input channel
 * 8 loads and 12 FMAs, so two FMAs a cycle are not starved.  Fewer pixels than 6 leave
 * multiply-adds waiting for each other, so two lines of 14 pixels are four tiles of 6, one of which
 * has the end of one line and the beginning of the other, and one of 4. */
#include "kernels/micro.h"

#include <immintrin.h>

#define PIXELS 6
#define HALVES 2
#define LINE   14
#define CUT    (LINE % PIXELS) /* pixels of the first line in the tile that has both */
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
/* Where pixel p lies, when those from `cut` on begin `beyond` the first. */
#define AT(pitch, beyond) (p < cut ? p * (pitch) : (beyond) + (p - cut) * (pitch))

MICRO_INLINE void store(const struct micro_args *a, const int pixels, const int cut,
                        __m256 sum[PIXELS][HALVES]) {
    const __m256 zero = _mm256_setzero_ps(), low = _mm256_set1_ps(a->act_a),
                 high = _mm256_set1_ps(a->act_b);
    float *const out = a->out;
    const float *const residual = a->residual;
    const ptrdiff_t pixel = a->out_pixel, r_pixel = a->residual_pixel;
    const ptrdiff_t far = a->out_line, r_far = a->residual_line;
    if (a->init)
        EACH_SUM(ADD(a->init));
    else
        EACH_SUM(ADD(out + AT(pixel, far)));
    if (residual && !a->residual_last)
        EACH_SUM(ADD(residual + AT(r_pixel, r_far)));
    /* max and min give their second operand where one is not a number */
    if (a->act == KACT_RELU)
        EACH_SUM(*v = _mm256_max_ps(zero, *v););
    else if (a->act == KACT_LEAKY_RELU)
        EACH_SUM(*v = _mm256_blendv_ps(*v, _mm256_mul_ps(*v, low),
                                       _mm256_cmp_ps(*v, zero, _CMP_LT_OQ)););
    else if (a->act == KACT_CLIP)
        EACH_SUM(*v = _mm256_min_ps(high, _mm256_max_ps(low, *v)););
    if (residual && a->residual_last)
        EACH_SUM(ADD(residual + AT(r_pixel, r_far)));
    EACH_SUM(_mm256_storeu_ps(out + AT(pixel, far) + h * 8, *v););
}

/* One input channel, and on to the next. */
#define CHANNEL()                                                                                  \
    do {                                                                                           \
        const __m256 w0 = _mm256_load_ps(w), w1 = _mm256_load_ps(w + 8);                           \
        const ptrdiff_t step[PIXELS] = {0, one, 2 * one, three, 4 * one, five};                    \
        MICRO_UNROLL                                                                               \
        for (int p = 0; p < pixels; p++) {                                                         \
            const char *at =                                                                       \
                p < cut ? (const char *)in + step[p] : (const char *)far + step[p - cut];          \
            const __m256 x = _mm256_broadcast_ss((const float *)at);                               \
            FMA(sum[p][0], x, w0);                                                                 \
            FMA(sum[p][1], x, w1);                                                                 \
        }                                                                                          \
        w += BLOCK;                                                                                \
        in++;                                                                                      \
        OPAQUE(w);                                                                                 \
        OPAQUE(in);                                                                                \
        if (cut < pixels) {                                                                        \
            far++;                                                                                 \
            OPAQUE(far);                                                                           \
        }                                                                                          \
    } while (0)

/* Constant `pixels` and `cut` after inlining, so that the sums live in registers. */
MICRO_INLINE void tile_cut(const struct micro_args *a, const int pixels, const int cut) {
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
                const float *far = in + a->in_line;
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
    store(a, pixels, cut, sum);
}

MICRO_INLINE void tile(const struct micro_args *a, const int pixels) {
    tile_cut(a, pixels, pixels);
}

#define EACH(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
EACH(MICRO_TILE)

/* The end of one line and the beginning of the next, which lies in_line further. */
static void tile_both(const struct micro_args *a) {
    tile_cut(a, PIXELS, CUT);
}

static const micro_tile_fn tiles[] = {EACH(MICRO_TILE_NAME)};

/* Two lines of LINE pixels, all 16 lanes. */
static void run_lines(const struct micro_args *args) {
    static const struct {
        int line, x, pixels; /* 0: of both lines */
    } steps[] = {{0, 0, PIXELS},
                 {0, PIXELS, PIXELS},
                 {0, LINE - CUT, 0},
                 {1, PIXELS - CUT, PIXELS},
                 {1, LINE - PIXELS + CUT, PIXELS - CUT}};
    struct micro_args a = *args;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const ptrdiff_t line = steps[i].line, x = steps[i].x;
        a.in = args->in + line * args->in_line + x * a.in_pixel;
        a.out = args->out + line * args->out_line + x * a.out_pixel;
        if (args->residual)
            a.residual = args->residual + line * args->residual_line + x * a.residual_pixel;
        a.in_line = args->in_line - x * a.in_pixel;
        a.out_line = args->out_line - x * a.out_pixel;
        a.residual_line = args->residual_line - x * a.residual_pixel;
        (steps[i].pixels ? tiles[steps[i].pixels - 1] : tile_both)(&a);
        if (a.ahead)
            a.ahead += micro_fetches(&a);
    }
}

static void run(struct micro_args *a, int pixels) {
    if (!a->line) {
        micro_drive_whole(a, pixels, PIXELS, tiles);
        return;
    }
    if (a->lane0 == 0 && a->lane1 == BLOCK) {
        run_lines(a);
        return;
    }
    struct micro_args second = *a;
    second.in += a->in_line;
    second.out += a->out_line;
    if (second.residual)
        second.residual += a->residual_line;
    micro_drive_part(a, LINE, PIXELS, tiles);
    micro_drive_part(&second, LINE, PIXELS, tiles);
}

const struct micro micro_avx2 = {
    .pixels = PIXELS, .blocks = 1, .line = LINE, .chunk = MICRO_CHUNK, .run = run};
