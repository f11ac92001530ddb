/* Transposed convolution as a gather: each output pixel sums the inputs that reach it.
 *
 * So no output is written twice and any row range has the same bits.  Outputs a stride apart share
 * their taps: the walk of window.c takes one phase of the stride after the other. */
#include "kernels/micro.h"

static double rate(const struct conv_shape *s) {
    return window_rate(s, 4.0);
}

static void run(const struct conv_args *a) {
    window_run(a, true, &micro_generic);
}

const struct conv_kernel deconv_generic_gather = {.name = "deconv_generic_gather",
                                                  .isa = ISA_GENERIC,
                                                  .row_exact = true,
                                                  .granule_rows = 1,
                                                  .rate = rate,
                                                  .weights_bytes = window_weights_bytes,
                                                  .pack = window_pack_transposed,
                                                  .run = run};
