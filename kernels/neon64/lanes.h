/* Advanced SIMD's vectors under the names that kernels/winograd_lines.h and peak_lines.h use. */
#ifndef COHORT_KERNELS_NEON64_LANES_H
#define COHORT_KERNELS_NEON64_LANES_H

#include <arm_neon.h>

#define W_LANES         4
#define wv              float32x4_t
#define w_load(p)       vld1q_f32(p)
#define w_store(p, x)   vst1q_f32(p, x)
#define w_set(x)        vdupq_n_f32(x)
#define w_add(a, b)     vaddq_f32(a, b)
#define w_sub(a, b)     vsubq_f32(a, b)
#define w_fma(a, b, c)  vfmaq_f32(c, a, b)
#define w_fnma(a, b, c) vfmsq_f32(c, a, b)

#endif
