/* exp, tanh, erf, log and pow of Cohort's own: the same bits on every board and C library.
 *
 * Only additions, multiplications, divisions, square roots and integer work on the bits, in a fixed
 * order (and in silu a product and a sum rounded as one, fused.h), so any IEEE machine gives the
 * same results, one at a time or in vectors.  exp, sigmoid,
 * tanh, erf, gelu and the activations stand once, in mathbody.h, and come in two kinds: math_exp()
 * of a float and vmath_exp() of a vector (vec.h).  Errors were measured over all of the range by
 * tests/unit/test_kernels_math.c: exp, tanh, erf below 2 units in the last place (ulp), sigmoid
 * below 3, pow below 1; silu's bound stands at it. */
#ifndef COHORT_KERNELS_GENERIC_MATHFUN_H
#define COHORT_KERNELS_GENERIC_MATHFUN_H

#include "kernels/generic/fused.h"
#include "kernels/kernel.h"

#include <math.h>
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

#define MAGIC      12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, in the lowest bits */
#define SHIFTED(t) ((t) + K(MAGIC))

#define INLINE               inline
#define FN(name)             math_##name
#define REAL                 float
#define UINT                 uint32_t
#define SINT                 int32_t
#define K(constant)          (constant)
#define BITS_OF(x)           math_bits(x)
#define FROM_BITS(x)         math_from_bits(x)
#define IF_LESS(x, y, a, b)  ((x) < (y) ? (a) : (b))
#define IF_EQUAL(x, y, a, b) ((x) == (y) ? (a) : (b))
#define MAX_OF(a, b)         ((a) > (b) ? (a) : (b))
#define MIN_OF(a, b)         ((a) < (b) ? (a) : (b))
#define EXPONENT(u)          MIN_OF(K(128.0f), MAX_OF(K(-126.0f), u))
#define NEAREST(t)           (SHIFTED(t) - K(MAGIC))
#define BEYOND(t, n)         ((t) - (n))
#define TIMES_2_TO(y, n, t)  FROM_BITS(BITS_OF(y) + (BITS_OF(SHIFTED(t)) << 23))
#include "kernels/generic/mathbody.h"
#undef INLINE
#undef FN
#undef REAL
#undef UINT
#undef SINT
#undef K
#undef BITS_OF
#undef FROM_BITS
#undef IF_LESS
#undef IF_EQUAL
#undef MAX_OF
#undef MIN_OF

#define INLINE               ALWAYS_INLINE
#define FN(name)             vmath_##name
#define REAL                 vec
#define UINT                 uvec
#define SINT                 ivec
#define K(constant)          vec_set(constant)
#define BITS_OF(x)           ((uvec)(x))
#define FROM_BITS(x)         ((vec)(x))
#define IF_LESS(x, y, a, b)  vec_if_less(x, y, a, b)
#define IF_EQUAL(x, y, a, b) vec_if_equal(x, y, a, b)
#define MAX_OF(a, b)         vec_max(a, b)
#define MIN_OF(a, b)         vec_min(a, b)
#if defined(__AVX512F__) /* has an instruction for each, for any number */
#undef EXPONENT
#undef NEAREST
#undef TIMES_2_TO
/* Beyond an infinity is no number, of which scalef makes 0 or infinity, as the infinity is. */
#define EXPONENT(u)         (u)
#define NEAREST(t)          ((vec)_mm512_roundscale_ps((__m512)(t), _MM_FROUND_TO_NEAREST_INT))
#define TIMES_2_TO(y, n, t) ((vec)_mm512_scalef_ps((__m512)(y), (__m512)(n)))
#endif
#include "kernels/generic/mathbody.h"
#undef INLINE
#undef FN
#undef REAL
#undef UINT
#undef SINT
#undef K
#undef BITS_OF
#undef FROM_BITS
#undef IF_LESS
#undef IF_EQUAL
#undef MAX_OF
#undef MIN_OF
#undef EXPONENT
#undef NEAREST
#undef BEYOND
#undef TIMES_2_TO
#undef SHIFTED
#undef MAGIC

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
