/* Pooling on AVX2: generic/pool.h with vectors of 8 lanes and fused multiply-add. */
#include "kernels/generic/pool.h"

static double rate(const struct pool_args *a) {
    (void)a;
    return 2.0;
}

const struct pool_kernel pool_avx2 = {
    .name = "pool_avx2", .isa = ISA_AVX2, .rate = rate, .run = pool_run};
