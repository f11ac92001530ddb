/* Matrix product on 64-bit Arm with weights as float16. */
#include "kernels/generic/gemm_half.h"

HALF_KERNEL(gemm_neon64_f16, ISA_NEON64, micro_neon64, 7.0, 6.0)
