/* Winograd F(6,3) along W for every target: the walk of winograd.c with this folder's micro-kernel.
 */
#include "kernels/generic/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_generic_winograd6, ISA_GENERIC, micro_generic, 6, .dense = 5.0,
                .input_cycles = 180.0, .output_cycles = 180.0, .stream_bytes = 4.0)
