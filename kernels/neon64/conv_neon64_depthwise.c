/* Depthwise convolution on 64-bit Arm: generic/depthwise.h with NEON's vectors of 4 lanes and fused
 * multiply-add. */
#include "kernels/generic/depthwise.h"

static double rate(const struct conv_shape *s) {
    return depthwise_rate(s, 4.0);
}

const struct conv_kernel conv_neon64_depthwise = {
    .name = "conv_neon64_depthwise", .isa = ISA_NEON64, .rate = rate, DEPTHWISE_FUNCTIONS};
