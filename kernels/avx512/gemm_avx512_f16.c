/* Matrix product on AVX-512 with weights as float16. */
#include "kernels/generic/gemm_half.h"

HALF_KERNEL(gemm_avx512_f16, ISA_AVX512, micro_avx512, 26.0, 15.0)
