/* Direct convolution, any groups, for every target: the walk of window.c with the portable
 * micro-kernel. */
#include "kernels/micro.h"

/* Measured on an x86-64 without FMA (SSE2): about 5 multiply-adds a cycle. */
static double rate(const struct conv_shape *s) {
    return window_rate(s, 5.0);
}

static void run(const struct conv_args *a) {
    window_run(a, false, &micro_generic);
}

const struct conv_kernel conv_generic_direct = {.name = "conv_generic_direct",
                                                .isa = ISA_GENERIC,
                                                .row_exact = true,
                                                .granule_rows = 1,
                                                .rate = rate,
                                                .weights_bytes = window_weights_bytes,
                                                .pack = window_pack,
                                                .run = run};
