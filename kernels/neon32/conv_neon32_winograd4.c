/* Winograd F(4,3) along W on 32-bit Arm: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/neon32/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_neon32_winograd4, ISA_NEON32, micro_neon32, 4, .dense = 7.0,
                .input_cycles = 120.0, .output_cycles = 120.0, .stream_bytes = 1.5)
