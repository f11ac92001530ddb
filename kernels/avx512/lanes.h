/* AVX-512's vectors under the names that kernels/winograd_lines.h and peak_lines.h use. */
#ifndef COHORT_KERNELS_AVX512_LANES_H
#define COHORT_KERNELS_AVX512_LANES_H

#include <immintrin.h>

#define W_LANES         16
#define wv              __m512
#define w_load(p)       _mm512_loadu_ps(p)
#define w_store(p, x)   _mm512_storeu_ps(p, x)
#define w_set(x)        _mm512_set1_ps(x)
#define w_add(a, b)     _mm512_add_ps(a, b)
#define w_sub(a, b)     _mm512_sub_ps(a, b)
#define w_fma(a, b, c)  _mm512_fmadd_ps(a, b, c)
#define w_fnma(a, b, c) _mm512_fnmadd_ps(a, b, c)

#endif
