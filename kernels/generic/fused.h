/* 2^f for |f| <= 1/2 with fused multiply-adds, which round once: the same bits on CPUs without
 * them.
 *
 * There it is computed in double, where a product of two floats is exact.  A sum must then round to
 * a float's last place at once (twice is not the same): so c + 1.5 * 2^(e + 29) is added to the
 * product, and 1.5 * 2^(e + 29) taken off again.  The doubles about that number are as far apart as
 * floats in [2^e, 2^(e + 1)), and so near even multiples of each other's spacing that halves go to
 * the even float as well.  That is right where the result lies there, and c is a multiple of its
 * last place. */
#ifndef COHORT_KERNELS_GENERIC_FUSED_H
#define COHORT_KERNELS_GENERIC_FUSED_H

#include "kernels/generic/vec.h"

#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA)
#define FUSED_IN_HARDWARE 1
#else
#define FUSED_IN_HARDWARE 0
#endif

/* (2^f - 1) / f for |f| <= 1/2, so that 2^f has a relative error of at most 1.1e-7; the last 1 is
 * that of 2^f.  POWER_2's last bit is 0: it is added to sums on both sides of 1/4. */
#define POWER_5 0.00132647273f
#define POWER_4 0.00967151299f
#define POWER_3 0.0555073358f
#define POWER_2 0.240222424f
#define POWER_1 0.693147004f

typedef double twin __attribute__((vector_size(16)));
typedef int64_t twin_mask __attribute__((vector_size(16)));

static ALWAYS_INLINE twin twin_set(double x) {
    return (twin){x, x};
}

/* a * b + c to the last place of floats in [2^e, 2^(e + 1)), for unit = 1.5 * 2^(e + 29). */
static ALWAYS_INLINE twin twin_fused(twin a, twin b, double c, twin unit) {
    return (a * b + (twin_set(c) + unit)) - unit;
}

/* Without the instruction; there for tests of it as well. */
static ALWAYS_INLINE twin twin_power(twin f) {
    const double unit = 805306368; /* of [1, 2) */
    twin g = twin_fused(twin_set((double)POWER_5), f, (double)POWER_4, twin_set(unit / 128));
    g = twin_fused(g, f, (double)POWER_3, twin_set(unit / 32));
    /* between 0.20 and 0.28; and between 0.7 and 1.42, below 1 for negative f */
    const twin_mask above = g * f + twin_set((double)POWER_2) >= twin_set(0.25);
    const twin_mask less = f < twin_set(0);
    const twin eighth = twin_set(unit / 8), half = twin_set(unit / 2);
    g = twin_fused(g, f, (double)POWER_2, eighth + (twin)((twin_mask)eighth & above));
    g = twin_fused(g, f, (double)POWER_1, half);
    return twin_fused(g, f, 1, half + (twin)((twin_mask)half & ~less));
}

static ALWAYS_INLINE float math_power(float f) {
#if FUSED_IN_HARDWARE
    float g = __builtin_fmaf(POWER_5, f, POWER_4);
    g = __builtin_fmaf(g, f, POWER_3);
    g = __builtin_fmaf(g, f, POWER_2);
    g = __builtin_fmaf(g, f, POWER_1);
    return __builtin_fmaf(g, f, 1.0f);
#else
    return (float)twin_power(twin_set((double)f))[0];
#endif
}

#if FUSED_IN_HARDWARE && !VEC_NEON32
static ALWAYS_INLINE vec vmath_power(vec f) {
    vec g = vec_one_rounding(vec_set(POWER_5), f, vec_set(POWER_4));
    g = vec_one_rounding(g, f, vec_set(POWER_3));
    g = vec_one_rounding(g, f, vec_set(POWER_2));
    g = vec_one_rounding(g, f, vec_set(POWER_1));
    return vec_one_rounding(g, f, vec_set(1.0f));
}
#elif FUSED_IN_HARDWARE
/* NEON's vectors know no denormal numbers: f may be one, and is one to VFPv4's scalars. */
static ALWAYS_INLINE vec vmath_power(vec f) {
    return (vec){math_power(f[0]), math_power(f[1]), math_power(f[2]), math_power(f[3])};
}
#elif defined(__SSE2__) && VL == 4
static ALWAYS_INLINE vec vmath_power(vec f) {
    const __m128 low = (__m128)f, high = _mm_movehl_ps(low, low);
    const __m128d a = (__m128d)twin_power((twin)_mm_cvtps_pd(low));
    const __m128d b = (__m128d)twin_power((twin)_mm_cvtps_pd(high));
    return (vec)_mm_movelh_ps(_mm_cvtpd_ps(a), _mm_cvtpd_ps(b));
}
#else
static ALWAYS_INLINE vec vmath_power(vec f) {
    vec g;
    for (int i = 0; i < VL; i += 2) {
        const twin two = twin_power((twin){(double)f[i], (double)f[i + 1]});
        g[i] = (float)two[0];
        g[i + 1] = (float)two[1];
    }
    return g;
}
#endif

#endif
