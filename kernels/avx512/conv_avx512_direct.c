/* Direct convolution on AVX-512: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

static double rate(const struct conv_shape *s) {
    bool depthwise = s->groups > 1 && s->groups == s->out_c; /* a kernel of its own does that */
    return depthwise ? 0.5 : window_rate(s, 26.0);
}

static void run(const struct conv_args *a) {
    window_run(a, false, &micro_avx512);
}

const struct conv_kernel conv_avx512_direct = {.name = "conv_avx512_direct",
                                               .isa = ISA_AVX512,
                                               .row_exact = true,
                                               .granule_rows = 1,
                                               .rate = rate,
                                               .weights_bytes = window_weights_bytes,
                                               .pack = window_pack,
                                               .run = run};
