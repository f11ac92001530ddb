/* Multiplications and additions in registers: twelve chains of the vectors that portable kernels
 * get from the compiler.  Built without contraction (the Makefile's flags), so nothing is fused. */
#include "kernels/generic/lanes.h"
#define PEAK_STEP(s) ((s)*w + x)
#include "kernels/peak_lines.h"

PEAK(peak_generic, ISA_GENERIC)
