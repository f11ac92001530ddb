/* How many multiply-adds a core can do when nothing has to be loaded: the measure for kernels.
 *
 * One loop for each instruction set (kernels/ISA/peak_ISA.c), with as many independent sums in
 * registers as hide an instruction's latency, by fused multiply-adds where the set has them.  The
 * portable one multiplies, then adds, because portable kernels do. */
#ifndef COHORT_KERNELS_PEAK_H
#define COHORT_KERNELS_PEAK_H

#include "kernels/kernel.h"

#define PEAK_CHAINS 12                 /* independent sums */
#define PEAK_FLOATS (PEAK_CHAINS * 16) /* at most 16 lanes each */

struct peak {
    enum kernel_isa isa;
    int lanes; /* each turn is PEAK_CHAINS * lanes multiply-adds */
    /* numbers[PEAK_FLOATS]: what the sums begin with, and are at the end (so that all is done) */
    void (*run)(int64_t turns, float *numbers);
};

/* Those built into this binary. */
const struct peak *const *kernels_peak(int *count);

#endif
