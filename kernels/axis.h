/* One axis of a window operator: which taps an output coordinate has, and which inputs they meet.
 *
 * Tap k of output o meets input   o*stride - pad + k*dilation             (convolution, pooling)
 * or input i where                i*stride + k*dilation - pad = o          (transposed
 * convolution). Either way the valid taps of one output are an arithmetic progression k0, k0+dk, …
 * whose inputs are one too, and outputs `step` apart meet inputs `advance` apart; so a run of
 * outputs with the same taps is one rectangle for a micro-kernel, in both directions alike. */
#ifndef COHORT_KERNELS_AXIS_H
#define COHORT_KERNELS_AXIS_H

#include <stdbool.h>
#include <stdint.h>

struct axis {
    bool transposed;
    int in, kernel, stride, pad, dilation;
    /* derived by axis_make() */
    int step, advance; /* outputs of one run lie `step` apart, their inputs `advance` */
    int dk, di;        /* taps of one output lie dk apart, their inputs di (negative: transposed) */
};

struct axis_run {
    int count;  /* outputs o, o+step, … with these taps */
    int taps;   /* how many, maybe 0 */
    int k0;     /* the first tap, and … */
    int64_t i0; /* … its input for the first output */
};

struct axis axis_make(bool transposed, int in, int kernel, int stride, int pad, int dilation);
/* The longest run that begins at o and stays below end (o < end). */
struct axis_run axis_run_at(const struct axis *a, int64_t o, int64_t end);

#endif
