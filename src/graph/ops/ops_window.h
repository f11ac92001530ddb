/* Sliding windows in any number of spatial axes: what Conv, ConvTranspose and the pools share.
 *
 * From a node's attributes (kernel_shape, strides, dilations, pads, auto_pad, ceil_mode, …) and its
 * input's shape to pads and output sizes; and a walk over the elements that one tap of the window
 * touches, on which the evaluators are built.  Only files under graph/ops/ include this, and the
 * lowering of convolutions over volumes. */
#ifndef COHORT_GRAPH_OPS_WINDOW_H
#define COHORT_GRAPH_OPS_WINDOW_H

#include "graph/op.h"

#define WINDOW_AXES (RANK_MAX - 2)

struct window_nd {
    int rank;                    /* spatial axes */
    int64_t in[WINDOW_AXES];     /* sizes; -1: not known */
    int64_t out[WINDOW_AXES];    /* after window_slide() or window_spread() */
    int64_t kernel[WINDOW_AXES]; /* -1: not known (weights of unknown shape) */
    int64_t stride[WINDOW_AXES], dilation[WINDOW_AXES];
    int64_t pad_begin[WINDOW_AXES], pad_end[WINDOW_AXES];
};

/* Reads sizes and attributes for an input [N, C, spatial…] of known rank.  `kernel` is the weights'
 * spatial shape, which kernel_shape must repeat if it is there; NULL: kernel_shape is needed.
 * Pads are still those of "pads".  Errors: shape (wrong lengths or values, too large). */
enum cohort_code window_read(struct window_nd *w, const struct node *n, const struct shape *x,
                             const int64_t *kernel, struct cohort_error *err);
/* Pads from auto_pad and output sizes of a window that slides over the input (Conv, pools).
 * Errors: shape (the window is larger than the padded input, auto_pad unknown). */
enum cohort_code window_slide(struct window_nd *w, const struct node *n, struct cohort_error *err);
/* The same for ConvTranspose: each input element is spread over a window of the output; reads
 * output_padding and output_shape too. */
enum cohort_code window_spread(struct window_nd *w, const struct node *n, struct cohort_error *err);
/* Fills in n->window from the last two spatial axes (from the only one: [0], with [1] trivial). */
void window_store(const struct window_nd *w, struct node *n);

/* Taps of the window: product of kernel. */
int64_t window_taps(const struct window_nd *w);

/* The elements that tap number `tap` (row-major) joins: position p of the sliding side meets
 * position p*stride + tap*dilation - pad_begin of the other side.  Given in runs along the last
 * axis: elements near + j of the sliding side (the output of Conv and pools, the input of
 * ConvTranspose) and far + j*step of the other, j < run.
 *     for (walk_begin(&k, w, w->out, w->in, tap); k.more; walk_next(&k)) */
struct window_walk {
    bool more;
    int64_t near, far, run, step;
    int rank;
    int64_t begin[WINDOW_AXES], end[WINDOW_AXES], at[WINDOW_AXES];
    int64_t near_pitch[WINDOW_AXES], far_pitch[WINDOW_AXES];
};
void walk_begin(struct window_walk *k, const struct window_nd *w, const int64_t *near_size,
                const int64_t *far_size, int64_t tap);
void walk_next(struct window_walk *k);

/* Output row y of a sliding window in map form needs rows y*stride - pad … of the input. */
void window_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map);
/* Input and output 0 are both maps (otherwise row maps stay "all"). */
bool rows_of_maps(const struct graph *g, const struct node *n, int i);

/* Conv and ConvTranspose: the bias (input 2, unless fusing put a residual there), or NULL. */
const struct tensor *window_bias(const struct node *n, const struct tensor *const in[]);
/* Their map_ok and map_input: weights and bias are constant; the data and a residual are maps. */
bool window_map_ok(const struct graph *g, const struct node *n);
bool window_map_input(const struct graph *g, const struct node *n, int i);

/* All elements as doubles, in new memory (mem_free).  Errors: memory. */
enum cohort_code window_doubles(const struct tensor *t, double **values, struct cohort_error *err);
/* Stores count doubles from element `first` on. */
void window_put(struct tensor *t, int64_t first, int64_t count, const double *values);

#endif
