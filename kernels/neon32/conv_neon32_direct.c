/* Direct convolution on 32-bit Arm: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

/* Reckoned, not measured: portable kernels, which say 5, do not use NEON on this target. */
WINDOW_KERNEL(conv_neon32_direct, ISA_NEON32, micro_neon32, false, window_rate_dense(s, 7.0))
