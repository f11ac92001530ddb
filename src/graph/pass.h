/* Passes: each takes a graph with shapes inferred and leaves one with the same meaning.
 *
 * graph_finish() is what everybody calls after an import: inference, folding, fusing, the choice
 * of forms, and the row maps.  Afterwards the graph is only read. */
#ifndef COHORT_GRAPH_PASS_H
#define COHORT_GRAPH_PASS_H

#include "graph/graph.h"

/* A shape given by the user for a graph input (--shape NAME=1x3x224x224). */
struct input_shape {
    const char *name; /* NULL: the only input */
    struct shape shape;
};

struct pass_options {
    const struct input_shape *shapes;
    int shape_count;
    bool keep; /* no fusing and no feature maps: every node as in the file, run by its evaluator */
};

/* Sets the shapes of inputs; unknown dims left over become 1 for axis 0 (the batch), else an error
 * that names the input, the dim and the option. */
enum cohort_code pass_set_inputs(struct graph *g, const struct pass_options *o,
                                 struct cohort_error *err);
/* Infers types and shapes of all values, folding nodes whose inputs are all constant.
 * Errors name the node and its operator. */
enum cohort_code pass_infer(struct graph *g, struct cohort_error *err);
/* Identity, Dropout, Cast to the same type, no-op Pad/Reshape/Transpose/Resize/Concat of one. */
/* An If whose condition is constant gives way to the branch that is taken. */
enum cohort_code pass_take_branches(struct graph *g, struct cohort_error *err);
enum cohort_code pass_remove_noops(struct graph *g, struct cohort_error *err);
/* Recognises LayerNormalization, GELU, HardSwish, SiLU, channel shuffle, reorg written out as
 * chains. */
enum cohort_code pass_recognise(struct graph *g, struct cohort_error *err);
/* BatchNormalization (and a constant per-channel Mul/Add) into the Conv, ConvTranspose or Gemm
 * before it, or else into the Convs that read it. */
enum cohort_code pass_fold_batchnorm(struct graph *g, struct cohort_error *err);
/* Activations and residual Adds into the epilogue of the Conv, ConvTranspose, Gemm or Add before.
 */
enum cohort_code pass_fuse_epilogue(struct graph *g, struct cohort_error *err);
/* A Mul by one factor for each channel into the 1x1 Conv that alone reads it, where the weights are
 * much smaller than the map. */
enum cohort_code pass_fuse_scale(struct graph *g, struct cohort_error *err);
/* Nodes and values that no output needs. */
enum cohort_code pass_remove_dead(struct graph *g, struct cohort_error *err);
/* Chooses FORM_MAP or FORM_PLAIN for every value and inserts ToMap / ToPlain where they meet;
 * Flatten/Reshape before a Gemm or MatMul with constant weights is absorbed (the Gemm then reads
 * the map and the weight's columns are permuted when it is packed). */
enum cohort_code pass_choose_forms(struct graph *g, struct cohort_error *err);
/* A mean or maximum of a map's pixels (GlobalAveragePool, ReduceMean over H and W, …) becomes one
 * of each row, which is divided like any operator, and one of the rows' results. */
enum cohort_code pass_reduce_rows(struct graph *g, struct cohort_error *err);
/* Fills in node->rowmap. */
enum cohort_code pass_row_maps(struct graph *g, struct cohort_error *err);

enum cohort_code graph_finish(struct graph *g, const struct pass_options *o,
                              struct cohort_error *err);

#endif
