/* Depthwise convolution on AVX-512: generic/depthwise.h with vectors of 16 lanes and fused
 * multiply-add. */
#include "kernels/generic/depthwise.h"

static double rate(const struct conv_shape *s) {
    return depthwise_rate(s, 12.0);
}

const struct conv_kernel conv_avx512_depthwise = {
    .name = "conv_avx512_depthwise", .isa = ISA_AVX512, .rate = rate, DEPTHWISE_FUNCTIONS};
