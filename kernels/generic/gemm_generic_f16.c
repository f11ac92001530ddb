/* Matrix product in portable C with weights as float16. */
#define VEC_PORTABLE
#include "kernels/generic/gemm_half.h"

HALF_KERNEL(gemm_generic_f16, ISA_GENERIC, micro_generic, 5.0, 4.0)
