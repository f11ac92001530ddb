/* Matrix product on AVX2 with weights as float16. */
#include "kernels/generic/gemm_half.h"

HALF_KERNEL(gemm_avx2_f16, ISA_AVX2, micro_avx2, 14.0, 12.0)
