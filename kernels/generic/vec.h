/* Vectors of the width that the compiler's target has, through GCC's and clang's vector extension.
 *
 * A channel block of 16 floats is NV vectors of VL lanes: 4 of SSE2 or NEON, 2 of AVX, 1 of
 * AVX-512. No intrinsics: the same source is right on every target, and on none is it the fastest.
 * Only +,
 * -, *, / and comparisons are used, so results do not depend on the width. */
#ifndef COHORT_KERNELS_GENERIC_VEC_H
#define COHORT_KERNELS_GENERIC_VEC_H

#include "kernels/view.h"

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
/* The same in memory of any alignment, seen through any type. */
typedef float vec_any __attribute__((vector_size(VL * 4), aligned(4), may_alias));

#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE vec vec_load(const float *p) {
    return *(const vec_any *)p;
}
static ALWAYS_INLINE void vec_store(float *p, vec v) {
    *(vec_any *)p = v;
}
static ALWAYS_INLINE vec vec_set(float x) {
    return x - (vec){0};
}
/* mask ? a : b, lane by lane; the mask's lanes are 0 or -1. */
static ALWAYS_INLINE vec vec_select(ivec mask, vec a, vec b) {
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}
static ALWAYS_INLINE vec vec_max(vec a, vec b) {
    return vec_select(a > b, a, b);
}

#endif
