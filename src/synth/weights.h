/* Made-up weights: float32 numbers that depend only on a seed, a tensor's name and an index.
 *
 * Counter-based, so any piece of any tensor can be made on its own, in any order, on any board,
 * with the same bytes.  Only integer arithmetic and single IEEE operations are used, no math
 * library. */
#ifndef COHORT_SYNTH_WEIGHTS_H
#define COHORT_SYNTH_WEIGHTS_H

#include <stdint.h>

struct weights {
    uint64_t key; /* of the tensor */
    float scale; /* element = offset + scale * (an integer with standard deviation WEIGHTS_SIGMA) */
    float offset;
};

/* sqrt((2^32 - 1) / 3): of the sum of four uniform 16-bit integers (each has (2^32 - 1) / 12). */
#define WEIGHTS_SIGMA 37837.22723720648

/* Local.  The tensor `name` under `seed`: elements with this mean and standard deviation, roughly
 * normal, never further than 3.47 deviations from the mean. */
struct weights weights_of(uint64_t seed, const char *name, double mean, double deviation);

/* Local.  Elements [first, first+count) of the `struct weights` that context points to.  (The form
 * of an onnx_fill_fn.) */
void weights_fill(void *context, int64_t first, int64_t count, float *out);

#endif
