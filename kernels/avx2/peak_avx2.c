/* Multiply-adds in registers: twelve chains of eight lanes.
 *
 * Written out, because a compiler may keep an array of sums in memory. */
#include "kernels/peak.h"

#include <immintrin.h>

static void run(int64_t turns, float *numbers) {
    const __m256 w = _mm256_set1_ps(0.5f), x = _mm256_set1_ps(numbers[0]);
    __m256 s0 = _mm256_loadu_ps(numbers + 0);
    __m256 s1 = _mm256_loadu_ps(numbers + 8);
    __m256 s2 = _mm256_loadu_ps(numbers + 16);
    __m256 s3 = _mm256_loadu_ps(numbers + 24);
    __m256 s4 = _mm256_loadu_ps(numbers + 32);
    __m256 s5 = _mm256_loadu_ps(numbers + 40);
    __m256 s6 = _mm256_loadu_ps(numbers + 48);
    __m256 s7 = _mm256_loadu_ps(numbers + 56);
    __m256 s8 = _mm256_loadu_ps(numbers + 64);
    __m256 s9 = _mm256_loadu_ps(numbers + 72);
    __m256 s10 = _mm256_loadu_ps(numbers + 80);
    __m256 s11 = _mm256_loadu_ps(numbers + 88);
    for (int64_t i = 0; i < turns; i++) {
        s0 = _mm256_fmadd_ps(w, x, s0);
        s1 = _mm256_fmadd_ps(w, x, s1);
        s2 = _mm256_fmadd_ps(w, x, s2);
        s3 = _mm256_fmadd_ps(w, x, s3);
        s4 = _mm256_fmadd_ps(w, x, s4);
        s5 = _mm256_fmadd_ps(w, x, s5);
        s6 = _mm256_fmadd_ps(w, x, s6);
        s7 = _mm256_fmadd_ps(w, x, s7);
        s8 = _mm256_fmadd_ps(w, x, s8);
        s9 = _mm256_fmadd_ps(w, x, s9);
        s10 = _mm256_fmadd_ps(w, x, s10);
        s11 = _mm256_fmadd_ps(w, x, s11);
    }
    _mm256_storeu_ps(numbers + 0, s0);
    _mm256_storeu_ps(numbers + 8, s1);
    _mm256_storeu_ps(numbers + 16, s2);
    _mm256_storeu_ps(numbers + 24, s3);
    _mm256_storeu_ps(numbers + 32, s4);
    _mm256_storeu_ps(numbers + 40, s5);
    _mm256_storeu_ps(numbers + 48, s6);
    _mm256_storeu_ps(numbers + 56, s7);
    _mm256_storeu_ps(numbers + 64, s8);
    _mm256_storeu_ps(numbers + 72, s9);
    _mm256_storeu_ps(numbers + 80, s10);
    _mm256_storeu_ps(numbers + 88, s11);
}

const struct peak peak_avx2 = {.isa = ISA_AVX2, .lanes = 8, .run = run};
