/* Multiply-adds in registers: twelve chains of sixteen lanes. */
#include "kernels/avx512/lanes.h"
#include "kernels/peak_lines.h"

PEAK(peak_avx512, ISA_AVX512)
