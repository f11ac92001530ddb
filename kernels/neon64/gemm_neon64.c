/* Matrix product on 64-bit Arm: panels of 16 features with this folder's micro-kernel. */
#include "kernels/micro.h"

PANEL_KERNEL(gemm_neon64, ISA_NEON64, micro_neon64, 7.0, 6.0)
