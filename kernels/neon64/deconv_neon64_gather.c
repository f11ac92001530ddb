/* Transposed convolution on 64-bit Arm, each output row from the input rows that reach it. */
#include "kernels/micro.h"

WINDOW_KERNEL(deconv_neon64_gather, ISA_NEON64, micro_neon64, true, window_rate(s, 7.0))
