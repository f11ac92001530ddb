/* Matrix product on AVX-512 with weights as float16. */
#include "kernels/generic/gemm_half.h"

static double rate(const struct gemm_shape *s) {
    return s->rows > 1 ? 26.0 : 15.0; /* one row is bound by memory */
}

static void run(const struct gemm_args *a) {
    half_run(a, &micro_avx512);
}

const struct gemm_kernel gemm_avx512_f16 = {.name = "gemm_avx512_f16",
                                            .isa = ISA_AVX512,
                                            .row_exact = true,
                                            .half = true,
                                            .rate = rate,
                                            .weights_bytes = half_weights_bytes,
                                            .pack = half_pack,
                                            .workspace_bytes = half_workspace_bytes,
                                            .run = run};
