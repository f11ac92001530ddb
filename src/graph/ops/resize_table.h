/* Resampling along one axis as a table: which input positions each output position mixes, and with
 * which weights.  The evaluator of Resize and the kernels read the same table, so both compute with
 * the same numbers.
 *
 * Coordinates are computed in float32 in the order of ONNX's formulas, as other runtimes do, so
 * that "nearest" picks the same neighbour where a coordinate lies half-way or on an integer. */
#ifndef COHORT_GRAPH_RESIZE_TABLE_H
#define COHORT_GRAPH_RESIZE_TABLE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC };

/* coordinate_transformation_mode */
enum resize_coordinate {
    RESIZE_HALF_PIXEL,
    RESIZE_HALF_PIXEL_SYMMETRIC,
    RESIZE_PYTORCH_HALF_PIXEL,
    RESIZE_ALIGN_CORNERS,
    RESIZE_ASYMMETRIC,
    RESIZE_TF_HALF_PIXEL_FOR_NN,
    RESIZE_TF_CROP_AND_RESIZE,
};

/* nearest_mode */
enum resize_nearest {
    RESIZE_ROUND_PREFER_FLOOR,
    RESIZE_ROUND_PREFER_CEIL,
    RESIZE_FLOOR,
    RESIZE_CEIL,
    RESIZE_SIMPLE, /* before opset 11: floor when enlarging, ceil when reducing */
};

struct resize_rule {
    enum resize_mode mode;
    enum resize_coordinate coordinate;
    enum resize_nearest nearest;
    float cubic_a;        /* cubic_coeff_a */
    bool exclude_outside; /* weights outside the input are 0, the others rescaled */
    bool antialias;       /* linear and cubic: a wider filter when reducing */
};

struct resize_axis {
    int64_t in, out;  /* sizes */
    float scale;      /* out/in, or as given in the file */
    float width;      /* the resized length in formulas: out, or scale*in when scale is given */
    float start, end; /* the region of interest, RESIZE_TF_CROP_AND_RESIZE only */
};

struct resize_table {
    int64_t in, out;
    int taps;       /* per output position; 0: the axis stays as it is, and there are no arrays */
    int64_t *index; /* [out][taps], within [0, in); -1 in all taps: outside, "extrapolated" */
    float *weight;  /* [out][taps] */
    double slope;   /* input positions per output position */
};

/* Errors: memory. */
enum cohort_code resize_table_create(struct resize_table *t, const struct resize_rule *rule,
                                     const struct resize_axis *axis, struct cohort_error *err);
void resize_table_release(struct resize_table *t);
/* Output position x in the input's coordinates. */
float resize_source(const struct resize_rule *rule, const struct resize_axis *axis, int64_t x);

#endif
