/* Transposed convolution on 32-bit Arm, each output row from the input rows that reach it. */
#include "kernels/micro.h"

WINDOW_KERNEL(deconv_neon32_gather, ISA_NEON32, micro_neon32, true, window_rate(s, 7.0))
