/* exp, tanh, erf, log and pow of Cohort's own: the same bits on every board and C library.
 *
 * Only additions, multiplications, divisions, square roots and integer work on the bits, in a fixed
 * order, so any IEEE machine gives the same results, whether the compiler vectorises a loop over
 * them or not.  Branch-free where that pays.  Errors were measured over all of the range by
 * tests/unit/test_kernels_math.c: exp, tanh, erf below 2 units in the last place (ulp), sigmoid
 * below 3, pow below 1.
 * The polynomials are Chebyshev fits made for this file; which function they fit, and the fit's
 * error, stands at each. */
#ifndef COHORT_KERNELS_GENERIC_MATHFUN_H
#define COHORT_KERNELS_GENERIC_MATHFUN_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline float math_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t math_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* e^x.  x = n ln 2 + r, |r| <= ln(2)/2; ln 2 in two parts, the first short enough that n times it
 * is exact (W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980). */
static inline float math_exp(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float c = x < -104.0f ? -104.0f : x;
    c = c > 89.0f ? 89.0f : c;
    float shifted = c * 1.44269504f + magic;
    float n = shifted - magic;
    float r = c - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    /* (e^r - 1 - r) / r^2, to 6.6e-8 */
    float g = 0.00139262508f;
    g = g * r + 0.00836323288f;
    g = g * r + 0.0416665542f;
    g = g * r + 0.166665767f;
    g = g * r + 0.5f;
    float y = 1.0f + (r + r * r * g);
    /* times 2^n in two steps, each a normal number, so that results below the normal range round
     * once and those above it overflow */
    int32_t k = (int32_t)(math_bits(shifted) - 0x4b400000u);
    int32_t k1 = k >> 1, k2 = k - k1;
    y = y * math_from_bits((uint32_t)(k1 + 127) << 23);
    return y * math_from_bits((uint32_t)(k2 + 127) << 23);
}

static inline float math_sigmoid(float x) {
    float e = math_exp(x < 0 ? x : -x); /* never overflows */
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

static inline float math_tanh(float x) {
    float t = x * x;
    /* (tanh(x) / x - 1) / x^2 for |x| < 0.6, to 1.0e-9 */
    float g = 0.00237050555f;
    g = g * t + -0.0084098593f;
    g = g * t + 0.0217882625f;
    g = g * t + -0.053961545f;
    g = g * t + 0.133333128f;
    g = g * t + -0.333333332f;
    float small = x + x * t * g;
    float a = x < 0 ? -x : x;
    float large = 1.0f - 2.0f / (math_exp(a + a) + 1.0f);
    large = x < 0 ? -large : large;
    return a < 0.6f ? small : large;
}

static inline float math_erf(float x) {
    float a = x < 0 ? -x : x;
    float t = x * x;
    /* erf(x) / x - 1 for |x| < 1, to 3.4e-11 */
    float p = -9.66704457e-6f;
    p = p * t + 0.00011265959f;
    p = p * t + -0.000848408041f;
    p = p * t + 0.00522103181f;
    p = p * t + -0.0268654307f;
    p = p * t + 0.112837825f;
    p = p * t + -0.376126385f;
    p = p * t + 0.128379167f;
    float small = x + x * p;
    /* -ln(1 - erf(x)) for 1 <= x <= 4, in z = x - 2.5, to 8.0e-9 */
    float z = (a > 4.0f ? 4.0f : a) - 2.5f;
    float q = 7.58268197e-8f;
    q = q * z + -1.61558115e-6f;
    q = q * z + 1.29256959e-5f;
    q = q * z + -7.73876036e-5f;
    q = q * z + 0.000420791651f;
    q = q * z + -0.00216516987f;
    q = q * z + 0.0108581129f;
    q = q * z + 0.943893645f;
    q = q * z + 5.35268075f;
    q = q * z + 7.80681528f;
    float large = 1.0f - math_exp(-q);
    large = x < 0 ? -large : large;
    return a < 1.0f ? small : a >= 1.0f ? large : x; /* the last for a NaN */
}

static inline float math_gelu(float x) {
    return 0.5f * x * (1.0f + math_erf(x * 0.707106781f));
}

/* ln x for finite x > 0, in double: x = m 2^e with m in [1/sqrt 2, sqrt 2),
 * ln m = 2 artanh((m-1)/(m+1)), whose series ends where double does. */
static inline double math_log(double x) {
    uint64_t bits;
    int e = 0;
    if (x < 2.2250738585072014e-308) {
        x *= 18014398509481984.0; /* 2^54 */
        e = -54;
    }
    memcpy(&bits, &x, sizeof bits);
    e += (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), t = s * s, sum = 0;
    for (int k = 21; k >= 3; k -= 2)
        sum = (sum + 1.0 / k) * t;
    return 2.0 * s * (1.0 + sum) + e * 0.6931471805599453;
}

/* e^x in double, for |x| < 700. */
static inline double math_exp_double(double x) {
    double n = floor(x * 1.4426950408889634 + 0.5);
    double r = x - n * 0.6931471803691238; /* 33 bits of ln 2: the product is exact */
    r = r - n * 1.9082149292705877e-10;
    double sum = 1.0;
    for (int k = 13; k >= 1; k--)
        sum = 1.0 + sum * r / k;
    uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

/* x^y as C's pow() defines it, special cases included. */
static inline float math_pow(float x, float y) {
    if (y == 0.0f || x == 1.0f)
        return 1.0f;
    if (x != x || y != y)
        return x + y;
    float ay = y < 0 ? -y : y, ax = x < 0 ? -x : x;
    bool whole = ay >= 16777216.0f || (float)(int32_t)ay == ay;
    bool odd = whole && ay < 16777216.0f && ((int32_t)ay & 1);
    bool minus = (math_bits(x) >> 31) && odd;
    float r;
    if (y == 1.0f)
        return x;
    if (y == 2.0f)
        return x * x;
    if (ax == 0.0f || ax == INFINITY) {
        r = (ax == 0.0f) == (y > 0) ? 0.0f : INFINITY;
    } else if (ay == INFINITY) {
        r = ax == 1.0f ? 1.0f : (ax > 1.0f) == (y > 0) ? INFINITY : 0.0f;
    } else if (x < 0 && !whole) {
        return NAN;
    } else {
        double e = (double)y * math_log((double)ax);
        e = e > 200.0 ? 200.0 : e < -200.0 ? -200.0 : e;
        r = (float)math_exp_double(e);
    }
    return minus ? -r : r;
}

#endif
