/* Direct convolution on AVX2: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

WINDOW_KERNEL(conv_avx2_direct, ISA_AVX2, micro_avx2, false, window_rate_dense(s, 14.0))
