/* Winograd F(4,3) along W on 64-bit Arm: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/neon64/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_neon64_winograd4, ISA_NEON64, micro_neon64, 4, .dense = 7.0,
                .input_cycles = 120.0, .output_cycles = 120.0, .stream_bytes = 1.5)
