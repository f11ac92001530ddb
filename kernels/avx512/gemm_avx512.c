/* Matrix product on AVX-512: panels of 16 features with this folder's micro-kernel. */
#include "kernels/micro.h"

static double rate(const struct gemm_shape *s) {
    return s->rows > 1 ? 26.0 : 15.0; /* one row is bound by memory */
}

static void run(const struct gemm_args *a) {
    panel_run(a, &micro_avx512);
}

const struct gemm_kernel gemm_avx512 = {.name = "gemm_avx512",
                                        .isa = ISA_AVX512,
                                        .row_exact = true,
                                        .rate = rate,
                                        .weights_bytes = panel_weights_bytes,
                                        .pack = panel_pack,
                                        .pack_matrix = panel_pack_matrix,
                                        .run = run};
