/* Running a graph that is an attribute (the body of an If, Loop or Scan) node by node, by its
 * operators' evaluators.  Only files under graph/ops/ include this. */
#ifndef COHORT_GRAPH_OPS_BODY_H
#define COHORT_GRAPH_OPS_BODY_H

#include "graph/op.h"

/* Computed in infer(), where a file may ask for anything, up to this size of a value; more is left
 * unknown there. */
#define BODY_INFER_BYTES ((size_t)64 << 20)
#define BODY_SMALL_BYTES ((size_t)4096)

/* Computed by eval(); more is an error. */
#define BODY_RUN_BYTES ((size_t)512 << 20)

/* How far a body is computed: values of up to so many bytes, as long as the allowance lasts (NULL:
 * always); what is more stays unknown, or, when all of it must be computed, is an error. */
struct body_limits {
    size_t bytes;
    double *allowance;
    bool must;
};

/* in[0 .. input_count): data may be NULL (contents not known).  out[0 .. output_count): with new
 * memory of their own where the contents are known (of all inputs that count, and no value on the
 * way is beyond the limits), else type and shape only.  On failure nothing is left in out. */
enum cohort_code body_run(const struct graph *g, const struct tensor *const in[],
                          struct tensor out[], const struct body_limits *limits,
                          struct cohort_error *err);
/* The limits of an infer(), and of an eval(); they start with *fresh unless the node has an
 * allowance already. */
struct body_limits body_infer_limits(const struct node *n, size_t bytes, double *fresh);
struct body_limits body_eval_limits(const struct node *n, double *fresh);
void body_release(struct tensor *tensors, int count);

/* The body of that name; its inputs that are not captured must be `formal` many, its outputs
 * `outputs`.  Errors: shape. */
enum cohort_code body_of(const struct node *n, const char *name, int formal, int outputs,
                         const struct attr **body, struct cohort_error *err);
/* Fills in the captured inputs, the last ones of all[0 .. input_count). */
void body_captured(const struct attr *body, const struct tensor *const in[],
                   const struct tensor **all);
/* How many of the node's inputs are its own: those before the captured ones. */
int body_formal_inputs(const struct node *n);
/* Dims that differ are not known; ranks that do, neither. */
struct shape shape_either(const struct shape *a, const struct shape *b);

/* So many empty tensors (mem_free); NULL when memory is short. */
struct tensor *body_tensors(int count, struct cohort_error *err);

/* ---- bodies that run step by step ------------------------------------------------------------ */

/* Results of all steps, one behind the other. */
struct body_stack {
    enum dtype type;
    struct shape shape; /* of one; rank -1: there was no step yet */
    char *data;
    size_t bytes, capacity;
    int64_t steps;
};

/* What a body works on: its inputs as pointers, the states as tensors of their own. */
struct body_frame {
    const struct tensor **in;
    struct tensor *state, *results;
    struct body_stack *stacks;
    int states, result_count, scans;
};

/* For so many states and scan outputs. */
enum cohort_code body_frame_init(struct body_frame *f, const struct graph *body, int states,
                                 int scans, struct cohort_error *err);

void body_frame_release(struct body_frame *f);
/* After a step: states from the results [first, ...), scan outputs onto the stacks. */
enum cohort_code body_frame_advance(struct body_frame *f, int first, struct cohort_error *err);
/* Without any step a scan output has the shape that the body says, unknown dims taken as 0. */
enum cohort_code body_frame_empty(struct body_frame *f, const struct graph *body, int first,
                                  const struct body_limits *limits, struct cohort_error *err);
/* Shapes that hold after any number of steps: a dim that a step changes is not known. */
enum cohort_code body_frame_settle(const struct graph *body, struct body_frame *f, int first,
                                   const struct body_limits *limits, struct cohort_error *err);
/* All as one tensor with the steps along a new axis, the last step first when reversed. */
enum cohort_code body_stack_pop(const struct body_stack *s, int axis, bool reversed,
                                struct tensor *t, struct cohort_error *err);

#endif
