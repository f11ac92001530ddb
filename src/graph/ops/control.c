/* If and Loop: operators with graphs in their attributes; Scan has a file of its own.
 *
 * They run where the whole of their inputs is.  What a body reads of the graph around it are inputs
 * of the node like all others (struct attr in graph/graph.h).  An If whose condition is constant is
 * replaced by its branch when the network is opened (graph/pass_branches.c).
 *
 * infer() must say the outputs' shapes: where all contents are known it runs the body, and eval()
 * would run it again; when the network runs, make() does both at once.  Otherwise infer() says what
 * can be said without. */
#include "base/mem.h"
#include "graph/ops/ops_body.h"
#include "graph/ops/ops_common.h"

#include <string.h>

static bool all_known(const struct node *n, const struct tensor *const in[]) {
    for (int i = 0; i < n->in_count; i++)
        if (op_in(n, in, i) != NULL && in[i]->data == NULL)
            return false;
    return true;
}

/* A bool of one element, or left out.  *known: its contents are. */
static enum cohort_code condition(const struct tensor *t, bool otherwise, bool *value, bool *known,
                                  struct cohort_error *err) {
    *value = otherwise;
    *known = true;
    if (t == NULL)
        return COHORT_OK;
    if (t->type != DT_BOOL || (shape_known(&t->shape) && shape_count(&t->shape) != 1))
        return error_set(err, COHORT_ERR_SHAPE, "the condition is not one bool");
    *known = t->data != NULL;
    *value = *known && tensor_get_i64(t, 0) != 0;
    return COHORT_OK;
}

/* Has every output contents?  Else none keeps them. */
static enum cohort_code all_made(const struct node *n, struct tensor *out,
                                 struct cohort_error *err) {
    for (int i = 0; i < n->out_count; i++)
        if (out[i].data == NULL) {
            body_release(out, n->out_count);
            return error_set(err, COHORT_ERR_INTERNAL, "output %d was not computed", i);
        }
    return COHORT_OK;
}

/* ---- If -------------------------------------------------------------------------------------- */

static enum cohort_code run_branch(const struct node *n, const struct tensor *const in[], bool then,
                                   struct tensor *results, const struct body_limits *limits,
                                   struct cohort_error *err) {
    const struct attr *body;
    enum cohort_code code =
        body_of(n, then ? "then_branch" : "else_branch", 0, n->out_count, &body, err);
    if (code != COHORT_OK)
        return code;
    return body_run(body->graph, in + body->i, results, limits, err);
}

static enum cohort_code if_infer(struct node *n, const struct tensor *const in[],
                                 struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int count = n->out_count;
    struct tensor *results = body_tensors(2 * count, err);
    bool then, known;
    double fresh;
    const struct body_limits small = body_infer_limits(n, BODY_SMALL_BYTES, &fresh);
    const struct body_limits all = body_infer_limits(n, BODY_INFER_BYTES, &fresh);
    if (results == NULL)
        return COHORT_ERR_MEMORY;
    TRY(condition(in[0], false, &then, &known, err));
    if (known) {
        TRY(run_branch(n, in, then, results, all_known(n, in) ? &all : &small, err));
    } else {
        TRY(run_branch(n, in, true, results, &small, err));
        TRY(run_branch(n, in, false, results + count, &small, err));
    }
    for (int i = 0; i < count; i++) {
        struct tensor *t = &results[i], *e = &results[known ? i : count + i];
        struct shape shape = shape_either(&t->shape, &e->shape);
        if (t->type != e->type)
            TRY(error_set(err, COHORT_ERR_SHAPE, "output %d is %s in one branch, %s in the other",
                          i, dtype_name(t->type), dtype_name(e->type)));
        op_out(n, out, i, t->type, &shape);
    }
out:
    body_release(results, 2 * count);
    mem_free(results);
    return code;
}

static enum cohort_code if_make(const struct node *n, const struct tensor *const in[],
                                struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool then, known;
    double fresh;
    const struct body_limits limits = body_eval_limits(n, &fresh);
    TRY(condition(in[0], false, &then, &known, err));
    TRY(run_branch(n, in, then, out, &limits, err));
    code = all_made(n, out, err);
out:
    return code;
}

/* ---- Loop ------------------------------------------------------------------------------------ */

/* in: M, condition, states …; body: number, condition, states … to condition, states …, scans …;
 * out: states …, scans … */
#define STEPS_MAX 65536 /* so that a small file cannot keep a board busy for ever */

struct loop {
    const struct attr *body;
    int states, scans;
    int64_t most; /* steps; -1: not known */
    bool go, go_known;
};

static enum cohort_code read_loop(const struct node *n, const struct tensor *const in[],
                                  struct loop *l, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int formal = body_formal_inputs(n);
    const struct tensor *m = formal > 0 ? op_in(n, in, 0) : NULL;
    bool known = true;
    *l = (struct loop){.states = formal > 2 ? formal - 2 : 0, .most = INT64_MAX};
    l->scans = n->out_count - l->states;
    if (l->scans < 0)
        return error_set(err, COHORT_ERR_SHAPE, "%d outputs for %d states", n->out_count,
                         l->states);
    TRY(body_of(n, "body", 2 + l->states, 1 + n->out_count, &l->body, err));
    if (m != NULL)
        TRY(op_one_int(m, "the trip count", &l->most, &known, err));
    l->most = !known ? -1 : l->most < 0 ? 0 : l->most;
    TRY(condition(formal > 1 ? op_in(n, in, 1) : NULL, true, &l->go, &l->go_known, err));
    for (int i = 0; i < l->states; i++)
        if (op_in(n, in, 2 + i) == NULL)
            return error_set(err, COHORT_ERR_SHAPE, "state %d is left out", i);
out:
    return code;
}

/* results[states + scans] get the final states and the scans; *complete is false, and there are
 * none, when something was too large. */
static enum cohort_code run_loop(const struct node *n, const struct tensor *const in[],
                                 struct tensor *results, const struct body_limits *limits,
                                 bool *complete, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct loop l;
    struct body_frame f = {0};
    struct shape scalar = {.rank = 0};
    int64_t step = 0;
    bool go, known;
    *complete = false;
    TRY(read_loop(n, in, &l, err));
    TRY(body_frame_init(&f, l.body->graph, l.states, l.scans, err));
    struct tensor number = {.type = DT_I64, .shape = scalar, .data = &step};
    struct tensor goes = {.type = DT_BOOL, .shape = scalar, .data = &go};
    f.in[0] = &number;
    f.in[1] = &goes;
    for (int i = 0; i < l.states; i++) {
        TRY(tensor_copy(&f.state[i], in[2 + i], err));
        f.in[2 + i] = &f.state[i];
    }
    body_captured(l.body, in, f.in);
    for (go = l.go; step < l.most && go; step++) {
        if (step == STEPS_MAX)
            TRY(error_set(err, COHORT_ERR_UNSUPPORTED, "a loop of more than %d steps", STEPS_MAX));
        TRY(body_run(l.body->graph, f.in, f.results, limits, err));
        for (int i = 0; i < f.result_count; i++)
            if (f.results[i].data == NULL)
                goto out;
        TRY(condition(&f.results[0], true, &go, &known, err));
        TRY(body_frame_advance(&f, 1, err));
        for (int i = 0; i < l.scans && !limits->must; i++)
            if (f.stacks[i].bytes > limits->bytes)
                goto out;
    }
    if (step == 0 && l.scans > 0)
        TRY(body_frame_empty(&f, l.body->graph, 1, limits, err));
    for (int i = 0; i < l.scans; i++)
        TRY(body_stack_pop(&f.stacks[i], 0, false, &results[l.states + i], err));
    for (int i = 0; i < l.states; i++) {
        results[i] = f.state[i];
        f.state[i] = (struct tensor){0};
    }
    *complete = true;
out:
    body_frame_release(&f);
    return code;
}

static enum cohort_code loop_shapes(const struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct loop l;
    struct body_frame f = {0};
    double fresh;
    const struct body_limits limits = body_infer_limits(n, BODY_SMALL_BYTES, &fresh);
    TRY(read_loop(n, in, &l, err));
    TRY(body_frame_init(&f, l.body->graph, l.states, l.scans, err));
    struct tensor number = {.type = DT_I64}, goes = {.type = DT_BOOL};
    f.in[0] = &number;
    f.in[1] = &goes;
    for (int i = 0; i < l.states; i++) {
        f.state[i] = (struct tensor){.type = in[2 + i]->type, .shape = in[2 + i]->shape};
        f.in[2 + i] = &f.state[i];
    }
    body_captured(l.body, in, f.in);
    TRY(body_frame_settle(l.body->graph, &f, 1, &limits, err));
    for (int i = 0; i < l.states; i++)
        op_out(n, out, i, f.state[i].type, &f.state[i].shape);
    for (int i = 0; i < l.scans; i++) {
        const struct tensor *t = &f.results[1 + l.states + i];
        struct shape shape = shape_unknown(t->shape.rank < 0 ? -1 : t->shape.rank + 1);
        for (int k = 1; k < shape.rank && k < RANK_MAX; k++)
            shape.dim[k] = t->shape.dim[k - 1];
        if (shape.rank > RANK_MAX)
            TRY(error_set(err, COHORT_ERR_UNSUPPORTED, "a scan output of rank %d", shape.rank));
        op_out(n, out, l.states + i, t->type, &shape);
    }
out:
    body_frame_release(&f);
    return code;
}

static enum cohort_code loop_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool complete = false;
    double fresh;
    const struct body_limits limits = body_infer_limits(n, BODY_INFER_BYTES, &fresh);
    if (!all_known(n, in))
        return loop_shapes(n, in, out, err);
    struct tensor *results = body_tensors(n->out_count, err);
    if (results == NULL)
        return COHORT_ERR_MEMORY;
    TRY(run_loop(n, in, results, &limits, &complete, err));
    if (!complete)
        TRY(loop_shapes(n, in, out, err));
    for (int i = 0; complete && i < n->out_count; i++)
        op_out(n, out, i, results[i].type, &results[i].shape);
out:
    body_release(results, n->out_count);
    mem_free(results);
    return code;
}

static enum cohort_code loop_make(const struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    bool complete;
    double fresh;
    const struct body_limits limits = body_eval_limits(n, &fresh);
    enum cohort_code code = run_loop(n, in, out, &limits, &complete, err);
    if (code == COHORT_OK)
        return all_made(n, out, err);
    body_release(out, n->out_count);
    return code;
}

#define ROW(onnx, first, least, what)                                                              \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = OPSET_LAST, .min_inputs = least,      \
        .max_inputs = NODE_IN_MAX - 1, .max_outputs = NODE_IN_MAX - 1, .flags = OP_GRAPHS,         \
        .infer = what##_infer, .eval = op_eval_made, .make = what##_make                           \
    }

const struct op_desc op_if = ROW("If", 1, 1, if);
const struct op_desc op_loop = ROW("Loop", 1, 0, loop);
