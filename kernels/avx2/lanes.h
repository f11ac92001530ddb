/* AVX2's vectors under the names that kernels/winograd_lines.h and peak_lines.h use. */
#ifndef COHORT_KERNELS_AVX2_LANES_H
#define COHORT_KERNELS_AVX2_LANES_H

#include <immintrin.h>

#define W_LANES         8
#define wv              __m256
#define w_load(p)       _mm256_loadu_ps(p)
#define w_store(p, x)   _mm256_storeu_ps(p, x)
#define w_set(x)        _mm256_set1_ps(x)
#define w_add(a, b)     _mm256_add_ps(a, b)
#define w_sub(a, b)     _mm256_sub_ps(a, b)
#define w_fma(a, b, c)  _mm256_fmadd_ps(a, b, c)
#define w_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)

#endif
