/* Matrix product on 32-bit Arm with weights as float16. */
#include "kernels/generic/gemm_half.h"

HALF_KERNEL(gemm_neon32_f16, ISA_NEON32, micro_neon32, 7.0, 6.0)
