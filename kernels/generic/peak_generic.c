/* Multiplications and additions in registers: twelve chains of the vectors that portable kernels
 * get from the compiler.  Built without contraction (the Makefile's flags), so nothing is fused. */
#include "kernels/generic/vec.h"
#include "kernels/peak.h"

static void run(int64_t turns, float *numbers) {
    const vec w = vec_set(0.5f), x = vec_set(numbers[0]);
    vec s0 = vec_load(numbers + 0 * VL);
    vec s1 = vec_load(numbers + 1 * VL);
    vec s2 = vec_load(numbers + 2 * VL);
    vec s3 = vec_load(numbers + 3 * VL);
    vec s4 = vec_load(numbers + 4 * VL);
    vec s5 = vec_load(numbers + 5 * VL);
    vec s6 = vec_load(numbers + 6 * VL);
    vec s7 = vec_load(numbers + 7 * VL);
    vec s8 = vec_load(numbers + 8 * VL);
    vec s9 = vec_load(numbers + 9 * VL);
    vec s10 = vec_load(numbers + 10 * VL);
    vec s11 = vec_load(numbers + 11 * VL);
    for (int64_t i = 0; i < turns; i++) {
        s0 = s0 * w + x;
        s1 = s1 * w + x;
        s2 = s2 * w + x;
        s3 = s3 * w + x;
        s4 = s4 * w + x;
        s5 = s5 * w + x;
        s6 = s6 * w + x;
        s7 = s7 * w + x;
        s8 = s8 * w + x;
        s9 = s9 * w + x;
        s10 = s10 * w + x;
        s11 = s11 * w + x;
    }
    vec_store(numbers + 0 * VL, s0);
    vec_store(numbers + 1 * VL, s1);
    vec_store(numbers + 2 * VL, s2);
    vec_store(numbers + 3 * VL, s3);
    vec_store(numbers + 4 * VL, s4);
    vec_store(numbers + 5 * VL, s5);
    vec_store(numbers + 6 * VL, s6);
    vec_store(numbers + 7 * VL, s7);
    vec_store(numbers + 8 * VL, s8);
    vec_store(numbers + 9 * VL, s9);
    vec_store(numbers + 10 * VL, s10);
    vec_store(numbers + 11 * VL, s11);
}

const struct peak peak_generic = {.isa = ISA_GENERIC, .lanes = VL, .run = run};
