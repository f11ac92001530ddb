/* Matrix product on 32-bit Arm: panels of 16 features with this folder's micro-kernel. */
#include "kernels/micro.h"

PANEL_KERNEL(gemm_neon32, ISA_NEON32, micro_neon32, 7.0, 6.0)
