/* Winograd F(6,3) along W on AVX-512: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/avx512/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_avx512_winograd6, ISA_AVX512, micro_avx512, 6, .dense = 26.0,
                .input_cycles = 90.0, .output_cycles = 90.0, .stream_bytes = 6.0)
