/* Direct convolution, any groups, for every target: the walk of window.c with the portable
 * micro-kernel. */
#include "kernels/micro.h"

/* Measured on an x86-64 without FMA (SSE2): about 5 multiply-adds a cycle; a block shared by
 * several groups computes all 16 lanes for each of them. */
static double rate(const struct conv_shape *s) {
    int per_group = s->out_c / s->groups;
    return per_group >= BLOCK ? 5.0 : 5.0 * per_group / BLOCK;
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
