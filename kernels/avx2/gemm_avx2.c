/* Matrix product on AVX2: panels of 16 features with this folder's micro-kernel. */
#include "kernels/micro.h"

PANEL_KERNEL(gemm_avx2, ISA_AVX2, micro_avx2, 14.0, 12.0)
