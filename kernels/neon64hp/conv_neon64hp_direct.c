/* Direct convolution in float16 arithmetic on 64-bit Arm: the walk of fp16.c with this folder's
 * micro-kernel. */
#include "kernels/fp16.h"

/* Reckoned, not measured: two pipes of eight lanes, less what loads, edges and joining cost; eight
 * conversions are six instructions. */
FP16_CONV_KERNEL(conv_neon64hp_direct, ISA_NEON64HP, micro_neon64hp, 13.0, 2.5)
