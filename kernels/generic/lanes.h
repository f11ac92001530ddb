/* Portable vectors under the names that kernels/winograd_lines.h and peak_lines.h use: multiply,
 * then add. */
#ifndef COHORT_KERNELS_GENERIC_LANES_H
#define COHORT_KERNELS_GENERIC_LANES_H

#include "kernels/generic/vec.h"

#define W_LANES         VL
#define wv              vec
#define w_load(p)       vec_load(p)
#define w_store(p, x)   vec_store(p, x)
#define w_set(x)        vec_set(x)
#define w_add(a, b)     ((a) + (b))
#define w_sub(a, b)     ((a) - (b))
#define w_fma(a, b, c)  ((a) * (b) + (c))
#define w_fnma(a, b, c) ((c) - (a) * (b))

#endif
