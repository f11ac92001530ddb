/* Whole graphs for unit tests: built in a few lines, run node by node with the operators' reference
 * evaluators, before and after passes, and compared.
 *
 *     struct gt t;
 *     gt_begin(&t, 13);
 *     int x = gt_input(&t, "x", DIMS(1, 3, 8, 8));
 *     int y = gt_node(&t, "Conv", "pads=1,1,1,1", 2, x, gt_random(&t, DIMS(4, 3, 3, 3)));
 *     gt_output(&t, gt_node(&t, "Relu", "", 1, y));
 *     gt_same_after_finish(&t, 1e-5);
 *     gt_end(&t);
 *
 * Everything asserts with cmocka. */
#ifndef COHORT_TESTS_GRAPHTEST_H
#define COHORT_TESTS_GRAPHTEST_H

#include "graph/op.h"
#include "graph/pass.h"
#include "tests/support/optest.h" /* DIMS, VALUES, SCALAR */

struct gt {
    struct graph *g;
    uint64_t seed;
    struct cohort_error err;
};

void gt_begin(struct gt *t, int opset);
void gt_end(struct gt *t);

int gt_input(struct gt *t, const char *name, struct shape shape); /* float32 */
int gt_input_of(struct gt *t, const char *name, enum dtype type, struct shape shape);
/* Constants: random in [-1, 1), given numbers, one number, int64 list. */
int gt_random(struct gt *t, struct shape shape);
int gt_positive(struct gt *t, struct shape shape); /* random in [0.5, 1.5) */
int gt_values(struct gt *t, struct shape shape, const double *values);
int gt_scalar(struct gt *t, double value);
int gt_list(struct gt *t, int count, ...); /* of int */
/* A node of the default domain with `inputs` value numbers (-1: left out); returns its output, or
 * its first one.  attrs: "name=3 name=1,2 name=0.5 name=text", a list of one is "name=[3]". */
int gt_node(struct gt *t, const char *op, const char *attrs, int inputs, ...);
/* The same with several outputs, whose numbers go to out[]. */
void gt_node_outputs(struct gt *t, const char *op, const char *attrs, int outputs, int *out,
                     int inputs, ...);
void gt_output(struct gt *t, int id);
int64_t gt_pick(struct gt *t, int64_t low, int64_t high); /* inclusive */

/* How many nodes of that operator ("cohort:ToMap" for internal ones) there are. */
int gt_count(const struct gt *t, const char *op);
/* The first node of that operator; fails when there is none. */
const struct node *gt_find(const struct gt *t, const char *op);

/* Runs all nodes in order on plain tensors; outputs[i] is released by the caller. */
void gt_run(struct gt *t, const struct tensor *inputs, struct tensor *outputs);
/* Inference, a run, `pass` (NULL: all of graph_finish()), a second run with the same random inputs:
 * outputs must agree by name, type and shape, and to tolerance * max|output|. */
typedef enum cohort_code (*gt_pass_fn)(struct graph *g, struct cohort_error *err);
void gt_same_after(struct gt *t, gt_pass_fn pass, double tolerance);
void gt_same_after_finish(struct gt *t, double tolerance);
/* graph_finish() must fail so. */
void gt_finish_fails(struct gt *t, const struct pass_options *o, enum cohort_code code,
                     const char *words);
/* Producers, uses, order and shapes are as graph.h has them. */
void gt_check_links(const struct graph *g);

/* After graph_finish(): maps meet maps and plain meets plain, conversions where they must be. */
void gt_check_forms(const struct graph *g);
/* Every row map holds: rows of an input that rows_needed() does not ask for are filled with NaN,
 * and the output rows do not change.  A few random ranges per input; a graph of known shapes. */
void gt_check_rows(struct gt *t);

#endif
