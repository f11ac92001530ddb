/* Transposed convolution on AVX2, each output row from the input rows that reach it. */
#include "kernels/micro.h"

WINDOW_KERNEL(deconv_avx2_gather, ISA_AVX2, micro_avx2, true, window_rate(s, 14.0))
