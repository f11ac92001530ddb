/* The operators of kernels/plainops.h: AVX2. */
#include "kernels/generic/plain.h"

const struct plainops plain_avx2 = {.name = "plain_avx2", .isa = ISA_AVX2, PLAIN_FUNCTIONS};
