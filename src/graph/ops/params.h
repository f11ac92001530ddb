/* What operators mean, in typed form: for src/exec and the passes, which would otherwise parse
 * attributes and constant inputs a second time.
 *
 * Each function is for nodes of the operators it names, after inference, whose parameters are
 * constant (as map_ok() demands); axes and coordinates are ONNX's ([N, C, H, W] or [N, C, L]).
 * Convolutions and pools: see node->window and node->group. */
#ifndef COHORT_GRAPH_OPS_PARAMS_H
#define COHORT_GRAPH_OPS_PARAMS_H

#include "graph/op.h"
#include "graph/ops/resize_table.h"

/* The node's inputs [0, count) as infer() sees them: type and shape, and contents of constants.
 * Borrowed; `held` is their storage. */
void params_inputs(const struct graph *g, const struct node *n, struct tensor held[],
                   const struct tensor *in[], int count);

/* MaxPool, AveragePool. */
struct pool_params {
    bool max;
    bool count_pad; /* averages divide by the taps in the declared pads too */
    struct window window;
};
void pool_params(const struct node *n, struct pool_params *p);

/* BatchNormalization as y = scale[c]*x + shift[c]; scale and shift hold C elements.  Errors:
 * internal (a parameter's contents are not here). */
enum cohort_code batch_norm_affine(const struct graph *g, const struct node *n, float *scale,
                                   float *shift, struct cohort_error *err);

/* LRN: y = x / (bias + alpha/size * sum of squares)^beta over channels c - (size-1)/2 …
 * c + size/2 as far as they exist. */
struct lrn_params {
    int64_t size;
    float alpha, beta, bias;
};
void lrn_params(const struct node *n, struct lrn_params *p);

/* Concat: the axis, made positive, and where input i begins on it. */
int concat_axis(const struct graph *g, const struct node *n);
int64_t concat_offset(const struct graph *g, const struct node *n, int i);

/* Split: the axis, and where each output begins on it: offsets holds out_count + 1 elements (the
 * last is the axis' size).  Errors: shape, memory. */
enum cohort_code split_params(const struct graph *g, const struct node *n, int *axis,
                              int64_t *offsets, struct cohort_error *err);

/* Slice: output position p of axis k is input position start[k] + p*step[k]; p < count[k]. */
struct slice_params {
    int rank;
    int64_t start[RANK_MAX], step[RANK_MAX], count[RANK_MAX];
};
enum cohort_code slice_params(const struct graph *g, const struct node *n, struct slice_params *p,
                              struct cohort_error *err);

/* Pad: amounts per axis, negative ones take away. */
enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };
struct pad_params {
    enum pad_mode mode;
    int rank;
    int64_t in[RANK_MAX], begin[RANK_MAX], end[RANK_MAX];
    float value; /* PAD_CONSTANT, as float32 */
};
enum cohort_code pad_params(const struct graph *g, const struct node *n, struct pad_params *p,
                            struct cohort_error *err);
/* The input position that output position `at` of an axis repeats; -1: the constant. */
int64_t pad_source(const struct pad_params *p, int axis, int64_t at);

/* Resize, Upsample: the table of one axis (resize_table_release()); NULL contents (taps 0) when the
 * axis is not changed.  Errors: shape, unsupported, memory. */
enum cohort_code resize_params(const struct graph *g, const struct node *n, int axis,
                               struct resize_table *t, struct cohort_error *err);

/* DepthToSpace, SpaceToDepth. */
struct depth_space_params {
    int64_t block;
    bool column_first; /* DepthToSpace's mode CRD; otherwise DCR */
};
void depth_space_params(const struct node *n, struct depth_space_params *p);

#endif
