/* Matrix product on 64-bit Arm with weights as float16. */
#include "kernels/generic/gemm_half.h"

static double rate(const struct gemm_shape *s) {
    return s->rows > 1 ? 7.0 : 6.0; /* one row is bound by memory */
}

static void run(const struct gemm_args *a) {
    half_run(a, &micro_neon64);
}

const struct gemm_kernel gemm_neon64_f16 = {.name = "gemm_neon64_f16",
                                            .isa = ISA_NEON64,
                                            .row_exact = true,
                                            .half = true,
                                            .rate = rate,
                                            .weights_bytes = half_weights_bytes,
                                            .pack = half_pack,
                                            .workspace_bytes = half_workspace_bytes,
                                            .run = run};
