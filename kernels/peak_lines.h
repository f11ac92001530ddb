/* The peak loop, for an instruction set's vectors (kernels/ISA/lanes.h, included before): twelve
 * chains of multiply-adds in registers.
 *
 * Written out, because a compiler may keep an array of sums in memory. */
#ifndef COHORT_KERNELS_PEAK_LINES_H
#define COHORT_KERNELS_PEAK_LINES_H

#include "kernels/peak.h"

/* What is done to a sum s with the constants w and x.  Where it is not one instruction, the product
 * must be of the sum, or the compiler would compute it once before the loop. */
#ifndef PEAK_STEP
#define PEAK_STEP(s) w_fma(w, x, s)
#endif

#define PEAK_EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define PEAK_LOAD(i)  wv s##i = w_load(numbers + (i)*W_LANES);
#define PEAK_TURN(i)  s##i = PEAK_STEP(s##i);
#define PEAK_STORE(i) w_store(numbers + (i)*W_LANES, s##i);

#define PEAK(SYMBOL, ISA)                                                                          \
    static void run(int64_t turns, float *numbers) {                                               \
        const wv w = w_set(0.5f), x = w_set(numbers[0]);                                           \
        PEAK_EACH(PEAK_LOAD)                                                                       \
        for (int64_t i = 0; i < turns; i++) {                                                      \
            PEAK_EACH(PEAK_TURN)                                                                   \
        }                                                                                          \
        PEAK_EACH(PEAK_STORE)                                                                      \
    }                                                                                              \
    const struct peak SYMBOL = {.isa = ISA, .lanes = W_LANES, .run = run};

#endif
