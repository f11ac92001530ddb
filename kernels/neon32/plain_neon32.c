/* The operators of kernels/plainops.h: 32-bit Arm's NEON. */
#include "kernels/generic/plain.h"

const struct plainops plain_neon32 = {.name = "plain_neon32", .isa = ISA_NEON32, PLAIN_FUNCTIONS};
