/* Transposed convolution on AVX-512, each output row from the input rows that reach it. */
#include "kernels/micro.h"

WINDOW_KERNEL(deconv_avx512_gather, ISA_AVX512, micro_avx512, true, window_rate(s, 26.0))
