/* Pooling on AVX-512: generic/pool.h with vectors of 16 lanes and fused multiply-add. */
#include "kernels/generic/pool.h"

static double rate(const struct pool_args *a) {
    (void)a;
    return 3.0;
}

const struct pool_kernel pool_avx512 = {
    .name = "pool_avx512", .isa = ISA_AVX512, .rate = rate, .run = pool_run};
