/* The speed of kernels on one core, beside what the core can do at most.
 *
 * For people who write or choose kernels: `cohort kernels --bench` and bench/kernels.c.  (What
 * `cohort tune` measures is another thing: whole operators on all threads of a board.)  One thread,
 * CPU time, so that other programs' turns do not count. */
#ifndef COHORT_PROFILE_KERNEL_BENCH_H
#define COHORT_PROFILE_KERNEL_BENCH_H

#include "base/error.h"
#include "exec/signature.h"

#define KERNEL_BENCH_MAX 64

struct kernel_speed {
    const char *kernel;
    enum kernel_isa isa;
    double ms;          /* median of its turns */
    double gflops;      /* of the operator's own multiply-adds, each counted as two: Winograd's
                           can be beyond the peak */
    double peak_gflops; /* of its instruction set; OpenBLAS: of the best */
};

/* Local.  The core's peak for an instruction set, from a loop of 20 ms; 0 where there is none. */
double kernel_peak_gflops(enum kernel_isa isa);

/* Local.  Times all kernels that can run here and do this (all rows, ReLU behind, random numbers),
 * in turns after one to warm up, each at most 9 times and 0.3 s, but at least 3 times; the peaks
 * are measured in the same turns.  `wanted` (NULL: all) chooses by name.  Fills in speeds[] (at
 * most KERNEL_BENCH_MAX) in the registry's order.  Errors: memory. */
typedef bool (*kernel_wanted_fn)(void *context, const char *kernel);
enum cohort_code kernel_bench(const struct signature *s, kernel_wanted_fn wanted, void *context,
                              struct kernel_speed *speeds, int *count, struct cohort_error *err);

/* Layers of well-known networks that kernels are compared on. */
struct bench_layer {
    const char *name;
    struct signature signature;
};
const struct bench_layer *kernel_bench_layers(int *count);

#endif
