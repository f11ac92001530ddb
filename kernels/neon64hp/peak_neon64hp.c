/* Float16 multiply-adds in registers: twelve chains of eight lanes, which begin and end as float32.
 */
#include "kernels/peak.h"

#include <arm_neon.h>

#define W_LANES        8
#define wv             float16x8_t
#define w_set(x)       vdupq_n_f16((float16_t)(x))
#define w_fma(a, b, c) vfmaq_f16(c, a, b)

static inline wv w_load(const float *p) {
    return vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(p)), vld1q_f32(p + 4));
}

static inline void w_store(float *p, wv x) {
    vst1q_f32(p, vcvt_f32_f16(vget_low_f16(x)));
    vst1q_f32(p + 4, vcvt_high_f32_f16(x));
}

#include "kernels/peak_lines.h"

PEAK(peak_neon64hp, ISA_NEON64HP)
