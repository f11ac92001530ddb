/* Activations over runs of floats; kernels/generic/'s own. */
#ifndef COHORT_KERNELS_GENERIC_ACTIVATE_H
#define COHORT_KERNELS_GENERIC_ACTIVATE_H

#include "kernels/kernel.h"

/* v[i] = act(v[i]), i < n. */
void activate_run(enum kernel_act act, float a, float b, float *v, ptrdiff_t n);

/* Zeroes the lanes of pixels [x0, x1) of a block that lie beyond the last channel of a blocked map.
 */
void zero_lanes_beyond(const struct view *out, int64_t y, int block, int x0, int x1);

/* How a row of a block is walked: as `pixels` runs of `length` floats, `pitch` apart; one long run
 * where pixels touch.  A blocked map's runs include the lanes beyond its channels. */
struct runs {
    int pixels;
    ptrdiff_t length, pitch;
};
static inline struct runs runs_of(const struct view *v, int block, int x0, int x1) {
    int lanes = v->blocked ? BLOCK : view_lanes(v, block);
    if (v->pixel_pitch == lanes)
        return (struct runs){.pixels = 1, .length = (ptrdiff_t)lanes * (x1 - x0)};
    return (struct runs){.pixels = x1 - x0, .length = lanes, .pitch = v->pixel_pitch};
}

#endif
