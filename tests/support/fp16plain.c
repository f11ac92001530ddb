/* Float16 arithmetic in double, step by step. */
#include "tests/support/fp16plain.h"

#include "graph/tensor.h"
#include "kernels/micro.h"

#include <float.h>
#include <math.h>

/* A double rounded to float16, to nearest even; what is too large becomes infinite. */
static double rounded(double x) {
    int exponent = 0;
    if (!isfinite(x) || fpclassify(x) == FP_ZERO)
        return x;
    frexp(x, &exponent); /* 2^(exponent-1) <= |x| */
    double unit = ldexp(1, (exponent < -13 ? -13 : exponent) - 11);
    double r = nearbyint(x / unit) * unit;
    return fabs(r) > (double)FP16_MOST ? copysign(INFINITY, x) : r;
}

/* The kernels' epilogue in float, as they do it in registers. */
static float finish(const struct fp16_args *a, float v, const float *residual) {
    if (residual && !a->residual_last)
        v += *residual;
    if (a->act == KACT_RELU)
        v = v > 0 ? v : 0;
    else if (a->act == KACT_LEAKY_RELU)
        v = v < 0 ? v * a->act_a : v;
    else if (a->act == KACT_CLIP)
        v = v > a->act_b ? a->act_b : v < a->act_a ? a->act_a : v;
    if (residual && a->residual_last)
        v += *residual;
    return v;
}

static float total_of(const struct fp16_args *a, const uint16_t *in, int j) {
    float total = 0;
    double sum = 0;
    int pieces = 0;
    bool lines = a->taps_x > 1;
    for (int ky = 0; ky < a->taps_y; ky++) {
        for (int kx = 0; kx < a->taps_x; kx++)
            for (int k0 = 0; k0 < a->run; k0 += a->piece) {
                for (int k = k0; k < a->run && k < k0 + a->piece; k++) {
                    double x = (double)half_to_float(in[ky * a->in_y + kx * a->in_x + k]);
                    ptrdiff_t at = ((ptrdiff_t)(ky * a->taps_x + kx) * a->run + k) * BLOCK + j;
                    /* The product is exact; so is its sum with a float16 of this size. */
                    sum = rounded(sum + x * (double)half_to_float(a->w[at]));
                }
                if (++pieces == a->together) {
                    total += (float)sum;
                    sum = pieces = 0;
                }
            }
        if (lines) {
            total += (float)sum;
            sum = pieces = 0;
        }
    }
    return total + (float)sum;
}

static void run(const struct fp16_args *a, int pixels) {
    for (int p = 0; p < pixels; p++)
        for (int j = 0; j < a->lanes; j++) {
            float *out = a->out + p * a->out_pixel + j;
            float from = a->init ? a->init[j] : *out;
            /* scale is a power of two: nothing is rounded twice */
            float v = from + a->scale[j] * total_of(a, a->in + p * a->in_pixel, j);
            *out = finish(a, v, a->residual ? a->residual + p * a->residual_pixel + j : NULL);
        }
}

static uint16_t narrow(const float *in, ptrdiff_t in_step, uint16_t *out, ptrdiff_t out_step,
                       int lanes, int pixels) {
    uint16_t largest = 0;
    for (int p = 0; p < pixels; p++)
        for (int i = 0; i < lanes; i++) {
            uint16_t h = float_to_half(in[p * in_step + i]);
            out[p * out_step + i] = h;
            largest = (h & 0x7fff) > largest ? h & 0x7fff : largest;
        }
    return largest;
}

const struct fp16_micro test_fp16_micro = {.pixels = 5, .run = run, .narrow = narrow};

double test_fp16_bound(double magnitude, double products, double in, double w) {
    const double unit = 1.0 / 2048, least = ldexp(1, -25);
    /* Each factor is rounded once, a sum at most FP16_PRODUCTS times, each time by 2^-11 of itself
     * or, where it is tiny, by 2^-25: of inputs as they are, of weights and sums in units of the
     * scale, which is at most four times what a sum's weights add up to. */
    double scale = 4 * FP16_PRODUCTS * w;
    return 1.1 * (FP16_PRODUCTS + 3) * unit * magnitude +
           1.1 * least * products * (w + scale * (in + 1)) +
           (products / FP16_PRODUCTS + 6) * 2 * (double)FLT_EPSILON * magnitude;
}

FP16_CONV_KERNEL(conv_generic_test_fp16, ISA_GENERIC, test_fp16_micro, 1, 1)
FP16_GEMM_KERNEL(gemm_generic_test_fp16, ISA_GENERIC, test_fp16_micro, 1, 1)
