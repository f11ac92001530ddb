/* Winograd F(6,3) along W on AVX-512: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/avx512/lanes.h"
#include "kernels/winograd_lines.h"

static const struct winograd six = {.tile = 6,
                                    .micro = &micro_avx512,
                                    .input = winograd_input6,
                                    .output = winograd_output6,
                                    .dense = 26.0,
                                    .input_cycles = 90.0,
                                    .output_cycles = 90.0,
                                    .stream_bytes = 4.0};

static double rate(const struct conv_shape *s) {
    return winograd_rate(s, &six);
}

static void run(const struct conv_args *a) {
    winograd_run(a, &six);
}

const struct conv_kernel conv_avx512_winograd6 = {.name = "conv_avx512_winograd6",
                                                  .isa = ISA_AVX512,
                                                  .row_exact = true,
                                                  .granule_rows = 1,
                                                  .winograd = 6,
                                                  .rate = rate,
                                                  .rows_least = winograd6_rows_least,
                                                  .weights_bytes = winograd6_weights_bytes,
                                                  .pack = winograd6_pack,
                                                  .workspace_bytes = winograd6_workspace_bytes,
                                                  .run = run};
