/* Direct convolution, any groups, for every target: the walk of window.c with the portable
 * micro-kernel. */
#include "kernels/micro.h"

/* Measured on an x86-64 without FMA (SSE2): about 5 multiply-adds a cycle. */
WINDOW_KERNEL(conv_generic_direct, ISA_GENERIC, micro_generic, false, window_rate(s, 5.0))
