/* Well-known networks with seeded weights, written as ONNX files: so that anyone can measure
 * without downloading anything.  Times are real, answers are not. */
#ifndef COHORT_SYNTH_SYNTH_H
#define COHORT_SYNTH_SYNTH_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct synth_options {
    int size;     /* input height and width; 0: the network's own */
    double width; /* factor on channel counts (rounded to multiples of 8, at least 8); 0: 1 */
    int classes;  /* 0: the network's own */
    uint64_t seed;
    bool features; /* leave the classifier out */
};

struct synth_network {
    const char *name;        /* "vgg16" */
    const char *description; /* "VGG-16 (Simonyan & Zisserman 2014)" */
    int size;                /* default input size */
};
/* All networks, in the order of documentation. */
const struct synth_network *synth_networks(int *count);
const struct synth_network *
synth_find(const char *name); /* case, '-' and '_' ignored; NULL: none */

/* Writes the network.  Weights are drawn so that activations stay in range (fan-in scaling;
 * residual branches damped).  The same options give the same bytes everywhere. Errors: usage, io,
 * memory. */
enum cohort_code synth_write(const char *name, const struct synth_options *o, const char *path,
                             struct cohort_error *err);

#endif
