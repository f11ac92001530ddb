/* Winograd F(6,3) along W on AVX2: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/avx2/lanes.h"
#include "kernels/winograd_lines.h"

static const struct winograd six = {.tile = 6,
                                    .micro = &micro_avx2,
                                    .input = winograd_input6,
                                    .output = winograd_output6,
                                    .dense = 14.0,
                                    .input_cycles = 150.0,
                                    .output_cycles = 150.0,
                                    .stream_bytes = 4.0};

static double rate(const struct conv_shape *s) {
    return winograd_rate(s, &six);
}

static void run(const struct conv_args *a) {
    winograd_run(a, &six);
}

const struct conv_kernel conv_avx2_winograd6 = {.name = "conv_avx2_winograd6",
                                                .isa = ISA_AVX2,
                                                .row_exact = true,
                                                .granule_rows = 1,
                                                .winograd = 6,
                                                .rate = rate,
                                                .rows_least = winograd6_rows_least,
                                                .weights_bytes = winograd6_weights_bytes,
                                                .pack = winograd6_pack,
                                                .workspace_bytes = winograd6_workspace_bytes,
                                                .run = run};
