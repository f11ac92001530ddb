/* Direct convolution on AVX-512: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

WINDOW_KERNEL(conv_avx512_direct, ISA_AVX512, micro_avx512, false, window_rate_dense(s, 26.0))
