/* Matrix product for every target: panels of 16 features with the portable micro-kernel. */
#include "kernels/micro.h"

static double rate(const struct gemm_shape *s) {
    return s->rows > 1 ? 5.0 : 4.0;
}

static void run(const struct gemm_args *a) {
    panel_run(a, &micro_generic);
}

const struct gemm_kernel gemm_generic = {.name = "gemm_generic",
                                         .isa = ISA_GENERIC,
                                         .row_exact = true,
                                         .rate = rate,
                                         .weights_bytes = panel_weights_bytes,
                                         .pack = panel_pack,
                                         .pack_matrix = panel_pack_matrix,
                                         .run = run};
