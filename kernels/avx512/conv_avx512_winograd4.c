/* Winograd F(4,3) along W on AVX-512: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/avx512/lanes.h"
#include "kernels/winograd_lines.h"

static const struct winograd four = {.tile = 4,
                                     .micro = &micro_avx512,
                                     .input = winograd_input4,
                                     .output = winograd_output4,
                                     .dense = 26.0,
                                     .input_cycles = 60.0,
                                     .output_cycles = 60.0,
                                     .stream_bytes = 4.0};

static double rate(const struct conv_shape *s) {
    return winograd_rate(s, &four);
}

static void run(const struct conv_args *a) {
    winograd_run(a, &four);
}

const struct conv_kernel conv_avx512_winograd4 = {.name = "conv_avx512_winograd4",
                                                  .isa = ISA_AVX512,
                                                  .row_exact = true,
                                                  .granule_rows = 1,
                                                  .winograd = 4,
                                                  .rate = rate,
                                                  .rows_least = winograd4_rows_least,
                                                  .weights_bytes = winograd4_weights_bytes,
                                                  .pack = winograd4_pack,
                                                  .workspace_bytes = winograd4_workspace_bytes,
                                                  .run = run};
