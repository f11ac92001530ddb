/* Winograd F(4,3) along W on AVX-512: the walk of winograd.c with this folder's micro-kernel. */
#include "kernels/avx512/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_avx512_winograd4, ISA_AVX512, micro_avx512, 4, .dense = 26.0,
                .input_cycles = 60.0, .output_cycles = 60.0, .stream_bytes = 6.0)
