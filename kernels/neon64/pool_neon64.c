/* Pooling on 64-bit Arm: generic/pool.h with NEON's vectors of 4 lanes and fused multiply-add. */
#include "kernels/generic/pool.h"

static double rate(const struct pool_args *a) {
    (void)a;
    return 2.0;
}

const struct pool_kernel pool_neon64 = {
    .name = "pool_neon64", .isa = ISA_NEON64, .rate = rate, .run = pool_run};
