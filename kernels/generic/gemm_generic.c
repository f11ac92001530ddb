/* Matrix product for every target: panels of 16 features with the portable micro-kernel. */
#include "kernels/micro.h"

PANEL_KERNEL(gemm_generic, ISA_GENERIC, micro_generic, 5.0, 4.0)
