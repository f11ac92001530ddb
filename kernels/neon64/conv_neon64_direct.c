/* Direct convolution on 64-bit Arm: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

/* Reckoned, not measured: two pipes of four lanes, less what loads and edges cost. */
WINDOW_KERNEL(conv_neon64_direct, ISA_NEON64, micro_neon64, false, window_rate_dense(s, 7.0))
