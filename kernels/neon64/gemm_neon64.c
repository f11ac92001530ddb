/* Matrix product on 64-bit Arm: panels of 16 features with this folder's micro-kernel. */
#include "kernels/micro.h"

static double rate(const struct gemm_shape *s) {
    return s->rows > 1 ? 7.0 : 6.0; /* one row is bound by memory */
}

static void run(const struct gemm_args *a) {
    panel_run(a, &micro_neon64);
}

const struct gemm_kernel gemm_neon64 = {.name = "gemm_neon64",
                                        .isa = ISA_NEON64,
                                        .row_exact = true,
                                        .rate = rate,
                                        .weights_bytes = panel_weights_bytes,
                                        .pack = panel_pack,
                                        .pack_matrix = panel_pack_matrix,
                                        .run = run};
