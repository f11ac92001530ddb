/* The operator table: everything Cohort knows of an operator is one row here, filled in by one
 * file under graph/ops/.  To add an operator: write graph/ops/NAME.c with a `const struct op_desc`,
 * add its line to graph/ops.def, and a test.  docs/operators.md has an example.
 *
 * infer() and eval() see tensors only, no graph: so they serve inference at load, constant folding,
 * execution of what is not a feature map, shape arithmetic at run time, and tests. */
#ifndef COHORT_GRAPH_OP_H
#define COHORT_GRAPH_OP_H

#include "graph/graph.h"

enum op_flags {
    OP_UNARY = 1u << 0,  /* elementwise on input 0: out[i] = f(in[i]); other inputs constant */
    OP_BINARY = 1u << 1, /* elementwise with broadcasting over all inputs */
    OP_VIEW = 1u << 2, /* same data, other shape (Reshape, Squeeze, …); no work on plain tensors */
    OP_MOVE = 1u << 3,     /* moves elements without arithmetic (Transpose, Concat, Slice, …) */
    OP_INTERNAL = 1u << 4, /* made by passes, never read from a file (domain "cohort") */
    OP_GRAPHS = 1u << 5    /* has graphs as attributes (If, Loop, Scan) */
};

#define OP_ANY_INPUTS 0x7ffffffe /* room for one residual */
#define OPSET_LAST    0x7fffffff

struct op_desc {
    const char *name;   /* ONNX's op_type */
    const char *domain; /* "" for ai.onnx; "cohort" for internal ones */
    int since, until;   /* opsets that this row implements, inclusive */
    int min_inputs, max_inputs, max_outputs;
    unsigned flags;

    /* Fills in out[i].type and out[i].shape (i < node->out_count) from in[i]; in[i] is NULL when
     * left out, in[i]->data is NULL when its contents are not known yet, and dims may be -1.
     * out[i].data stays NULL.  Where the contents of an input would be needed and are not known:
     * dims that depend on them are -1 (rank -1 when even the rank does).  May set node->window and
     * node->group.  Errors: shape, unsupported; the message need not name the node. */
    enum cohort_code (*infer)(struct node *n, const struct tensor *const in[], struct tensor out[],
                              struct cohort_error *err);

    /* Computes on plain, aligned tensors; out[i] has type, shape and memory.  The reference: clear
     * and right before fast; sums of many terms in double.  The epilogue is not its business.
     * infer() was called on this node with these shapes before. */
    enum cohort_code (*eval)(const struct node *n, const struct tensor *const in[],
                             struct tensor *const out[], struct cohort_error *err);

    /* Both at once, for operators that know the shapes only when the work is done, so that it is
     * not done twice when the network runs: the contents of all inputs are known, infer() was
     * called on the node before, and each out[i], all zero, gets type, shape and memory of its
     * own; nothing after an error.  NULL: infer() is cheap. */
    enum cohort_code (*make)(const struct node *n, const struct tensor *const in[],
                             struct tensor out[], struct cohort_error *err);

    /* Can this node run on feature maps (FORM_MAP), given its values' shapes and constants?  NULL:
     * never.  True promises that src/exec has a lowering for it.  map_input(): does input i
     * (non-constant) take part as a map then? NULL: every non-constant input does. */
    bool (*map_ok)(const struct graph *g, const struct node *n);
    bool (*map_input)(const struct graph *g, const struct node *n, int i);

    /* Which rows of input i are needed for output rows; out_height and in_height are filled in
     * already and kind is ROWMAP_ALL, which may be left. NULL: all rows.  For MAP and PLAIN forms
     * (see the value's form).  Elementwise operators (OP_UNARY, OP_BINARY) need none: they get
     * identity where the operand has the output's rows and ROWMAP_ALL where it is broadcast. */
    void (*rows)(const struct graph *g, const struct node *n, int i, struct rowmap *map);

    /* Floating-point operations (a multiply-add counts 2) of the whole node; NULL: one per output
     * element for elementwise operators, none for moves. */
    double (*flops)(const struct graph *g, const struct node *n);
};

/* The row for an operator at an opset; NULL when there is none.  domain "" or "ai.onnx" is the
 * default one. */
const struct op_desc *op_find(const char *domain, const char *name, int opset);
/* All rows, for lists and for sweeping tests. */
const struct op_desc *const *op_table(int *count);
/* The supported operator whose name is most like this one, for messages. */
const char *op_closest(const char *name);

/* Runs infer() and checks its result: every output got a type and a rank <= RANK_MAX. */
enum cohort_code op_infer(struct node *n, const struct tensor *const in[], struct tensor out[],
                          struct cohort_error *err);
/* Runs eval() and then applies the epilogue, plain. */
enum cohort_code op_eval(const struct node *n, const struct tensor *const in[],
                         struct tensor *const out[], struct cohort_error *err);
/* Is make() there, and no epilogue to be applied? */
bool op_makes(const struct node *n);
enum cohort_code op_make(const struct node *n, const struct tensor *const in[], struct tensor out[],
                         struct cohort_error *err);
/* What eval() costs, roughly: operations and elements, and something for the call. */
double op_work(const struct node *n, const struct tensor *const in[], const struct tensor out[]);
/* Takes so much from the node's allowance; false when that was too little. */
bool op_spend(const struct node *n, double work);
/* What a network may cost when it is opened, in op_work()'s measure: ten seconds at worst, so that
 * no small file keeps a board busy.  What is beyond is computed when the network runs. */
#define WORK_WHEN_OPENED 2e9
/* What one If, Loop or Scan may cost when it runs: a minute or so; more is an error. */
#define WORK_OF_BODIES 2e10
/* One activation, in double, for the reference. */
double act_reference(const struct epilogue *e, double x);
double node_flops(const struct graph *g, const struct node *n);

#endif
