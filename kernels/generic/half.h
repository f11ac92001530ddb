/* float16 (IEEE binary16) to float32 and back, rounding to nearest even; too large becomes
 * infinity.  The CPU's own conversion where the target has one (F16C, AVX-512, Arm), which takes
 * and gives denormal float16 numbers whatever the float mode; integer arithmetic elsewhere, with
 * the same results.  (Part of plain.h.) */
#include "kernels/generic/mathfun.h"

#if defined(__F16C__) || defined(__AVX512F__) || defined(__aarch64__) ||                           \
    (defined(__ARM_NEON) && defined(__ARM_FP) && (__ARM_FP & 2) &&                                 \
     defined(__ARM_FP16_FORMAT_IEEE))
#define HALF_IN_HARDWARE 1
#else
#define HALF_IN_HARDWARE 0
#endif

static float half_to_float_one(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
    if (e == 31) /* infinity; a NaN becomes a quiet one */
        return math_from_bits(sign | 0x7f800000u | m << 13 | (m ? 0x400000u : 0));
    if (e == 0 && m == 0)
        return math_from_bits(sign);
    if (e == 0) { /* m * 2^-24: a normal float32 */
        int shift = __builtin_clz(m) - 21;
        m = m << shift & 0x3ffu;
        e = (uint32_t)(1 - shift);
    }
    return math_from_bits(sign | (e + 112u) << 23 | m << 13);
}

static uint16_t float_to_half_one(float f) {
    uint32_t bits = math_bits(f), sign = bits >> 16 & 0x8000u, a = bits & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (a >= 0x38800000u) { /* normal: 2^-14 and more */
        uint32_t even = a >> 13 & 1u;
        return (uint16_t)(sign | (a - 0x38000000u + 0xfffu + even) >> 13);
    }
    if (a < 0x33000000u) /* below 2^-25 */
        return (uint16_t)sign;
    uint32_t m = (a & 0x7fffffu) | 0x800000u, shift = 126u - (a >> 23); /* 14 to 24 */
    uint32_t r = m >> shift, rest = m & ((1u << shift) - 1u), half = 1u << (shift - 1);
    r += rest > half || (rest == half && (r & 1u));
    return (uint16_t)(sign | r);
}

/* Elements that the CPU's own conversion takes at once. */
#if defined(__AVX512F__)
#define HALF_LANES 16
#elif defined(__F16C__)
#define HALF_LANES 8
#else
#define HALF_LANES (HALF_IN_HARDWARE ? 4 : 1)
#endif

static void half_to_float(const uint16_t *in, float *out, ptrdiff_t n) {
    const ptrdiff_t whole = n - n % HALF_LANES;
    for (ptrdiff_t i = 0; i < whole; i += HALF_LANES)
#if defined(__AVX512F__)
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(in + i))));
#elif defined(__F16C__)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(in + i))));
#elif HALF_IN_HARDWARE
        vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + i))));
#else
        out[i] = half_to_float_one(in[i]);
#endif
    for (ptrdiff_t i = whole; i < n; i++)
        out[i] = half_to_float_one(in[i]);
}

static void float_to_half(const float *in, uint16_t *out, ptrdiff_t n) {
    const ptrdiff_t whole = n - n % HALF_LANES;
    for (ptrdiff_t i = 0; i < whole; i += HALF_LANES)
#if defined(__AVX512F__)
        _mm256_storeu_si256((void *)(out + i),
                            _mm512_cvtps_ph(_mm512_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
        _mm_storeu_si128((void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
#elif HALF_IN_HARDWARE
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in + i))));
#else
        out[i] = float_to_half_one(in[i]);
#endif
    for (ptrdiff_t i = whole; i < n; i++)
        out[i] = float_to_half_one(in[i]);
}
