/* Depthwise convolution on AVX2: generic/depthwise.h with vectors of 8 lanes and fused
 * multiply-add. */
#include "kernels/generic/depthwise.h"

static double rate(const struct conv_shape *s) {
    return depthwise_rate(s, 8.0);
}

const struct conv_kernel conv_avx2_depthwise = {
    .name = "conv_avx2_depthwise", .isa = ISA_AVX2, .rate = rate, DEPTHWISE_FUNCTIONS};
