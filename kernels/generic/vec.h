/* Vectors of the width that the compiler's target has, through GCC's and clang's vector extension.
 *
 * A channel block of 16 floats is NV vectors of VL lanes: 4 of SSE2 or NEON, 2 of AVX, 1 of
 * AVX-512.  The sources that include this are compiled once for each instruction set (plain.h,
 * window.h), and intrinsics stand only here, where the extension has no word or a slow one.
 * (On 32-bit Arm gcc takes the extension's arithmetic apart, because NEON flushes denormal numbers;
 * what should be fast there uses the functions below, and plain.h has no table for it.)
 * All but vec_fma() and vec_one_rounding() give the same bits on every target: what they do to a
 * lane is IEEE arithmetic or a choice, and does not depend on the width. */
#ifndef COHORT_KERNELS_GENERIC_VEC_H
#define COHORT_KERNELS_GENERIC_VEC_H

#include "kernels/view.h"

#if defined(__AVX__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX__)
#define VL 8
#else
#define VL 4
#endif
#define NV (BLOCK / VL)

typedef float vec __attribute__((vector_size(VL * 4)));
typedef int32_t ivec __attribute__((vector_size(VL * 4)));
typedef uint32_t uvec __attribute__((vector_size(VL * 4)));
/* The same in memory of any alignment, seen through any type. */
typedef float vec_any __attribute__((vector_size(VL * 4), aligned(4), may_alias));

#if defined(__ARM_NEON) && !defined(__aarch64__)
#define VEC_NEON32 1
#else
#define VEC_NEON32 0
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Before a loop over a tile's vectors: gcc has to unroll it before it decides what lives in
 * registers, or it stores them in every round.  clang does so unasked. */
#ifdef __clang__
#define VEC_UNROLL
#else
#define VEC_UNROLL _Pragma("GCC unroll 32")
#endif

static ALWAYS_INLINE vec vec_load(const float *p) {
    return *(const vec_any *)p;
}
static ALWAYS_INLINE void vec_store(float *p, vec v) {
    *(vec_any *)p = v;
}
static ALWAYS_INLINE vec vec_set(float x) {
    return x - (vec){0};
}
static ALWAYS_INLINE vec vec_add(vec a, vec b) {
#if VEC_NEON32
    return (vec)vaddq_f32((float32x4_t)a, (float32x4_t)b);
#else
    return a + b;
#endif
}
/* mask ? a : b, lane by lane; the mask's lanes are 0 or -1. */
static ALWAYS_INLINE vec vec_select(ivec mask, vec a, vec b) {
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}

/* x < y ? a : b, and x == y ? a : b: false where one is no number. */
static ALWAYS_INLINE vec vec_if_less(vec x, vec y, vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_LT_OS),
                                     (__m512)b, (__m512)a);
#elif defined(__AVX__)
    return (vec)_mm256_blendv_ps((__m256)b, (__m256)a,
                                 _mm256_cmp_ps((__m256)x, (__m256)y, _CMP_LT_OS));
#else
    return vec_select(x < y, a, b);
#endif
}
static ALWAYS_INLINE vec vec_if_equal(vec x, vec y, vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_EQ_OQ),
                                     (__m512)b, (__m512)a);
#elif defined(__AVX__)
    return (vec)_mm256_blendv_ps((__m256)b, (__m256)a,
                                 _mm256_cmp_ps((__m256)x, (__m256)y, _CMP_EQ_OQ));
#else
    return vec_select(x == y, a, b);
#endif
}
/* a > b ? a : b, and a < b ? a : b: b where one is no number, and of two zeros b. */
static ALWAYS_INLINE vec vec_max(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vec)_mm_max_ps((__m128)a, (__m128)b);
#elif VEC_NEON32
    return (vec)vbslq_f32(vcgtq_f32((float32x4_t)a, (float32x4_t)b), (float32x4_t)a,
                          (float32x4_t)b);
#else
    return vec_select(a > b, a, b);
#endif
}
static ALWAYS_INLINE vec vec_min(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vec)_mm_min_ps((__m128)a, (__m128)b);
#elif VEC_NEON32
    return (vec)vbslq_f32(vcltq_f32((float32x4_t)a, (float32x4_t)b), (float32x4_t)a,
                          (float32x4_t)b);
#else
    return vec_select(a < b, a, b);
#endif
}
/* The greater of all numbers so far, `best`, and another: a NaN is the greatest, as in NumPy. */
static ALWAYS_INLINE vec vec_greatest(vec best, vec x) {
#if defined(__AVX512F__)
    return (vec)_mm512_mask_max_ps((__m512)x, _mm512_cmp_ps_mask((__m512)x, (__m512)x, _CMP_ORD_Q),
                                   (__m512)x, (__m512)best);
#elif VEC_NEON32
    float32x4_t v = (float32x4_t)x;
    return (vec)vbslq_f32(vceqq_f32(v, v), (float32x4_t)vec_max(x, best), v);
#else
    /* all bits set are a NaN; the comparison is made once for an x that is used several times */
    return (vec)((ivec)vec_max(x, best) | (ivec)(x != x));
#endif
}
static ALWAYS_INLINE float greatest_of(float best, float x) {
    return x > best || x != x ? x : best;
}
/* a * b + c with one rounding where the instruction set can, else with two. */
static ALWAYS_INLINE vec vec_one_rounding(vec a, vec b, vec c) {
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && defined(__AVX__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_FEATURE_FMA) && defined(__ARM_NEON)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}
/* The same, but with two in portable kernels, whatever the target can: they define VEC_PORTABLE,
 * and have the same bits on boards of every kind. */
static ALWAYS_INLINE vec vec_fma(vec a, vec b, vec c) {
#if defined(VEC_PORTABLE)
    return a * b + c;
#else
    return vec_one_rounding(a, b, c);
#endif
}

#endif
