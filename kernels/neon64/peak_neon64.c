/* Multiply-adds in registers: twelve chains of four lanes. */
#include "kernels/neon64/lanes.h"
#include "kernels/peak_lines.h"

PEAK(peak_neon64, ISA_NEON64)
