/* Pooling in portable C: generic/pool.h with the vectors of the compiler's target, multiplied, then
 * added. */
#include "kernels/generic/pool.h"

static double rate(const struct pool_args *a) {
    (void)a;
    return 1.0;
}

const struct pool_kernel pool_generic = {
    .name = "pool_generic", .isa = ISA_GENERIC, .rate = rate, .run = pool_run};
