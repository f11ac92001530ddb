/* Matrix product on AVX-512: panels of 16 features with this folder's micro-kernel. */
#include "kernels/micro.h"

PANEL_KERNEL(gemm_avx512, ISA_AVX512, micro_avx512, 26.0, 15.0)
