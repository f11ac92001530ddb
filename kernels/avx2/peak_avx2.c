/* Multiply-adds in registers: twelve chains of eight lanes. */
#include "kernels/avx2/lanes.h"
#include "kernels/peak_lines.h"

PEAK(peak_avx2, ISA_AVX2)
