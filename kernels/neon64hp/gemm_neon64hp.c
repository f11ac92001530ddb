/* Matrix product in float16 arithmetic on 64-bit Arm: fp16.c with this folder's micro-kernel. */
#include "kernels/fp16.h"

FP16_GEMM_KERNEL(gemm_neon64hp, ISA_NEON64HP, micro_neon64hp, 13.0, 8.0)
