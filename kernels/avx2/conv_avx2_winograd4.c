/* Winograd F(4,3) along W on AVX2: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/avx2/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_avx2_winograd4, ISA_AVX2, micro_avx2, 4, .dense = 14.0, .input_cycles = 100.0,
                .output_cycles = 100.0, .stream_bytes = 4.0)
