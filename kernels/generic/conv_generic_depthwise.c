/* Depthwise convolution in portable C: generic/depthwise.h with the vectors of the compiler's
 * target, multiplied, then added. */
#define VEC_PORTABLE
#include "kernels/generic/depthwise.h"

static double rate(const struct conv_shape *s) {
    return depthwise_rate(s, 2.0);
}

const struct conv_kernel conv_generic_depthwise = {
    .name = "conv_generic_depthwise", .isa = ISA_GENERIC, .rate = rate, DEPTHWISE_FUNCTIONS};
