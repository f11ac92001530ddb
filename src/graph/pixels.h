/* Pixels: inputs of a network that are given as bytes, and the numbers that these stand for.
 *
 * Whoever turns bytes into numbers, src/media, one board or each of many, does it here, by one
 * formula or by tables that it filled, so the bits are the same. */
#ifndef COHORT_GRAPH_PIXELS_H
#define COHORT_GRAPH_PIXELS_H

#include "graph/tensor.h"

struct value; /* graph/graph.h */

#define PIXEL_CHANNELS 4
#define PIXEL_VALUES   256

/* A byte v of channel c stands for (v*scale - mean[c]) / std[c]. */
struct pixel_scale {
    float scale;                                     /* 0 means 1 */
    float mean[PIXEL_CHANNELS], std[PIXEL_CHANNELS]; /* a std of 0 means 1 */
};

/* The formula, for any value on the scale of bytes. */
float pixel_number(const struct pixel_scale *s, float value, int c);
/* table[channels][256]: the number of every byte. */
void pixel_table(const struct pixel_scale *s, int channels, float *table);

/* Can bytes [N][H][W][C] be given for this value, [N,C,H,W], or [N,H,W,C] with channels_last? It
 * has to be float32, of known shape, with 1 to 4 channels. */
bool pixels_fit(const struct value *v, bool channels_last);
/* The dims of these bytes: N, H, W, C.  Only of a value that fits. */
struct shape pixels_shape(const struct value *v, bool channels_last);

#endif
