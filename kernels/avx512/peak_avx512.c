/* Multiply-adds in registers: twelve chains of sixteen lanes.
 *
 * Written out, because a compiler may keep an array of sums in memory. */
#include "kernels/peak.h"

#include <immintrin.h>

static void run(int64_t turns, float *numbers) {
    const __m512 w = _mm512_set1_ps(0.5f), x = _mm512_set1_ps(numbers[0]);
    __m512 s0 = _mm512_loadu_ps(numbers + 0);
    __m512 s1 = _mm512_loadu_ps(numbers + 16);
    __m512 s2 = _mm512_loadu_ps(numbers + 32);
    __m512 s3 = _mm512_loadu_ps(numbers + 48);
    __m512 s4 = _mm512_loadu_ps(numbers + 64);
    __m512 s5 = _mm512_loadu_ps(numbers + 80);
    __m512 s6 = _mm512_loadu_ps(numbers + 96);
    __m512 s7 = _mm512_loadu_ps(numbers + 112);
    __m512 s8 = _mm512_loadu_ps(numbers + 128);
    __m512 s9 = _mm512_loadu_ps(numbers + 144);
    __m512 s10 = _mm512_loadu_ps(numbers + 160);
    __m512 s11 = _mm512_loadu_ps(numbers + 176);
    for (int64_t i = 0; i < turns; i++) {
        s0 = _mm512_fmadd_ps(w, x, s0);
        s1 = _mm512_fmadd_ps(w, x, s1);
        s2 = _mm512_fmadd_ps(w, x, s2);
        s3 = _mm512_fmadd_ps(w, x, s3);
        s4 = _mm512_fmadd_ps(w, x, s4);
        s5 = _mm512_fmadd_ps(w, x, s5);
        s6 = _mm512_fmadd_ps(w, x, s6);
        s7 = _mm512_fmadd_ps(w, x, s7);
        s8 = _mm512_fmadd_ps(w, x, s8);
        s9 = _mm512_fmadd_ps(w, x, s9);
        s10 = _mm512_fmadd_ps(w, x, s10);
        s11 = _mm512_fmadd_ps(w, x, s11);
    }
    _mm512_storeu_ps(numbers + 0, s0);
    _mm512_storeu_ps(numbers + 16, s1);
    _mm512_storeu_ps(numbers + 32, s2);
    _mm512_storeu_ps(numbers + 48, s3);
    _mm512_storeu_ps(numbers + 64, s4);
    _mm512_storeu_ps(numbers + 80, s5);
    _mm512_storeu_ps(numbers + 96, s6);
    _mm512_storeu_ps(numbers + 112, s7);
    _mm512_storeu_ps(numbers + 128, s8);
    _mm512_storeu_ps(numbers + 144, s9);
    _mm512_storeu_ps(numbers + 160, s10);
    _mm512_storeu_ps(numbers + 176, s11);
}

const struct peak peak_avx512 = {.isa = ISA_AVX512, .lanes = 16, .run = run};
