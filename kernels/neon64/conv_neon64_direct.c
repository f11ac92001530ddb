/* Direct convolution on 64-bit Arm: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

/* Reckoned, not measured: two pipes of four lanes, less what loads and edges cost. */
static double rate(const struct conv_shape *s) {
    bool depthwise = s->groups > 1 && s->groups == s->out_c; /* a kernel of its own does that */
    return depthwise ? 0.5 : window_rate(s, 7.0);
}

static void run(const struct conv_args *a) {
    window_run(a, false, &micro_neon64);
}

const struct conv_kernel conv_neon64_direct = {.name = "conv_neon64_direct",
                                               .isa = ISA_NEON64,
                                               .row_exact = true,
                                               .granule_rows = 1,
                                               .rate = rate,
                                               .weights_bytes = window_weights_bytes,
                                               .pack = window_pack,
                                               .run = run};
