/* Direct convolution on 32-bit Arm: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

/* Reckoned, not measured: portable kernels, which say 5, do not use NEON on this target. */
static double rate(const struct conv_shape *s) {
    bool depthwise = s->groups > 1 && s->groups == s->out_c; /* a kernel of its own does that */
    return depthwise ? 0.5 : window_rate(s, 7.0);
}

static void run(const struct conv_args *a) {
    window_run(a, false, &micro_neon32);
}

const struct conv_kernel conv_neon32_direct = {.name = "conv_neon32_direct",
                                               .isa = ISA_NEON32,
                                               .row_exact = true,
                                               .granule_rows = 1,
                                               .rate = rate,
                                               .weights_bytes = window_weights_bytes,
                                               .pack = window_pack,
                                               .run = run};
