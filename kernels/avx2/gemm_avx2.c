/* Matrix product on AVX2: panels of 16 features with this folder's micro-kernel. */
#include "kernels/micro.h"

static double rate(const struct gemm_shape *s) {
    return s->rows > 1 ? 14.0 : 12.0; /* one row is bound by memory */
}

static void run(const struct gemm_args *a) {
    panel_run(a, &micro_avx2);
}

const struct gemm_kernel gemm_avx2 = {.name = "gemm_avx2",
                                      .isa = ISA_AVX2,
                                      .row_exact = true,
                                      .rate = rate,
                                      .weights_bytes = panel_weights_bytes,
                                      .pack = panel_pack,
                                      .pack_matrix = panel_pack_matrix,
                                      .run = run};
