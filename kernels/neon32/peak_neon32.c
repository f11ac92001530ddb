/* Multiply-adds in registers: twelve chains of four lanes. */
#include "kernels/neon32/lanes.h"
#include "kernels/peak_lines.h"

PEAK(peak_neon32, ISA_NEON32)
