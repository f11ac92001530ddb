/* Winograd F(4,3) along W on 32-bit Arm: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/neon32/lanes.h"
#include "kernels/winograd_lines.h"

static const struct winograd four = {.tile = 4,
                                     .micro = &micro_neon32,
                                     .input = winograd_input4,
                                     .output = winograd_output4,
                                     .dense = 7.0,
                                     .input_cycles = 120.0,
                                     .output_cycles = 120.0,
                                     .stream_bytes = 1.5};

static double rate(const struct conv_shape *s) {
    return winograd_rate(s, &four);
}

static void run(const struct conv_args *a) {
    winograd_run(a, &four);
}

const struct conv_kernel conv_neon32_winograd4 = {.name = "conv_neon32_winograd4",
                                                  .isa = ISA_NEON32,
                                                  .row_exact = true,
                                                  .granule_rows = 1,
                                                  .winograd = 4,
                                                  .rate = rate,
                                                  .rows_least = winograd4_rows_least,
                                                  .weights_bytes = winograd4_weights_bytes,
                                                  .pack = winograd4_pack,
                                                  .workspace_bytes = winograd4_workspace_bytes,
                                                  .run = run};
