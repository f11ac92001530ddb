/* Multiply-adds in registers: twelve chains of four lanes.
 *
 * Written out, because a compiler may keep an array of sums in memory. */
#include "kernels/peak.h"

#include <arm_neon.h>

static void run(int64_t turns, float *numbers) {
    const float32x4_t w = vdupq_n_f32(0.5f), x = vdupq_n_f32(numbers[0]);
    float32x4_t s0 = vld1q_f32(numbers + 0);
    float32x4_t s1 = vld1q_f32(numbers + 4);
    float32x4_t s2 = vld1q_f32(numbers + 8);
    float32x4_t s3 = vld1q_f32(numbers + 12);
    float32x4_t s4 = vld1q_f32(numbers + 16);
    float32x4_t s5 = vld1q_f32(numbers + 20);
    float32x4_t s6 = vld1q_f32(numbers + 24);
    float32x4_t s7 = vld1q_f32(numbers + 28);
    float32x4_t s8 = vld1q_f32(numbers + 32);
    float32x4_t s9 = vld1q_f32(numbers + 36);
    float32x4_t s10 = vld1q_f32(numbers + 40);
    float32x4_t s11 = vld1q_f32(numbers + 44);
    for (int64_t i = 0; i < turns; i++) {
        s0 = vfmaq_f32(s0, w, x);
        s1 = vfmaq_f32(s1, w, x);
        s2 = vfmaq_f32(s2, w, x);
        s3 = vfmaq_f32(s3, w, x);
        s4 = vfmaq_f32(s4, w, x);
        s5 = vfmaq_f32(s5, w, x);
        s6 = vfmaq_f32(s6, w, x);
        s7 = vfmaq_f32(s7, w, x);
        s8 = vfmaq_f32(s8, w, x);
        s9 = vfmaq_f32(s9, w, x);
        s10 = vfmaq_f32(s10, w, x);
        s11 = vfmaq_f32(s11, w, x);
    }
    vst1q_f32(numbers + 0, s0);
    vst1q_f32(numbers + 4, s1);
    vst1q_f32(numbers + 8, s2);
    vst1q_f32(numbers + 12, s3);
    vst1q_f32(numbers + 16, s4);
    vst1q_f32(numbers + 20, s5);
    vst1q_f32(numbers + 24, s6);
    vst1q_f32(numbers + 28, s7);
    vst1q_f32(numbers + 32, s8);
    vst1q_f32(numbers + 36, s9);
    vst1q_f32(numbers + 40, s10);
    vst1q_f32(numbers + 44, s11);
}

const struct peak peak_neon32 = {.isa = ISA_NEON32, .lanes = 4, .run = run};
