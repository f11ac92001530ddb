/* Winograd F(4,3) along W for every target: the walk of winograd.c with this folder's micro-kernel.
 */
#include "kernels/generic/lanes.h"
#include "kernels/winograd_lines.h"

WINOGRAD_KERNEL(conv_generic_winograd4, ISA_GENERIC, micro_generic, 4, .dense = 5.0,
                .input_cycles = 120.0, .output_cycles = 120.0, .stream_bytes = 4.0)
