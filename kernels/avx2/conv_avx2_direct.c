/* Direct convolution on AVX2: the walk of window.c with this folder's micro-kernel. */
#include "kernels/micro.h"

/* A block shared by several groups computes all 16 lanes for each of them; one channel a group is
 * the depthwise kernel's business. */
static double rate(const struct conv_shape *s) {
    int per_group = s->out_c / s->groups;
    if (per_group >= BLOCK)
        return 14.0;
    return per_group == 1 && s->groups > 1 ? 0.5 : 14.0 * per_group / BLOCK;
}

static void run(const struct conv_args *a) {
    window_run(a, false, &micro_avx2);
}

const struct conv_kernel conv_avx2_direct = {.name = "conv_avx2_direct",
                                             .isa = ISA_AVX2,
                                             .row_exact = true,
                                             .granule_rows = 1,
                                             .rate = rate,
                                             .weights_bytes = window_weights_bytes,
                                             .pack = window_pack,
                                             .run = run};
