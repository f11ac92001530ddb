/* Transposed convolution on 32-bit Arm, each output row from the input rows that reach it. */
#include "kernels/micro.h"

static double rate(const struct conv_shape *s) {
    return window_rate(s, 7.0);
}

static void run(const struct conv_args *a) {
    window_run(a, true, &micro_neon32);
}

const struct conv_kernel deconv_neon32_gather = {.name = "deconv_neon32_gather",
                                                 .isa = ISA_NEON32,
                                                 .row_exact = true,
                                                 .granule_rows = 1,
                                                 .rate = rate,
                                                 .weights_bytes = window_weights_bytes,
                                                 .pack = window_pack_transposed,
                                                 .run = run};
