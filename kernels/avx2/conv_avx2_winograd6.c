/* Winograd F(6,3) along W on AVX2: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/avx2/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_avx2_winograd6, ISA_AVX2, micro_avx2, 6, .dense = 14.0, .input_cycles = 150.0,
                .output_cycles = 150.0, .stream_bytes = 4.0)
