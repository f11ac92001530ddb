/* The operators of kernels/plainops.h: AVX-512. */
#include "kernels/generic/plain.h"

const struct plainops plain_avx512 = {.name = "plain_avx512", .isa = ISA_AVX512, PLAIN_FUNCTIONS};
