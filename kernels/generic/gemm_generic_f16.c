/* Matrix product in portable C with weights as float16. */
#define VEC_PORTABLE
#include "kernels/generic/gemm_half.h"

static double rate(const struct gemm_shape *s) {
    return s->rows > 1 ? 5.0 : 4.0;
}

static void run(const struct gemm_args *a) {
    half_run(a, &micro_generic);
}

const struct gemm_kernel gemm_generic_f16 = {.name = "gemm_generic_f16",
                                             .isa = ISA_GENERIC,
                                             .row_exact = true,
                                             .half = true,
                                             .rate = rate,
                                             .weights_bytes = half_weights_bytes,
                                             .pack = half_pack,
                                             .workspace_bytes = half_workspace_bytes,
                                             .run = run};
