/* Scan (opset 9): a body for each slice of some inputs along an axis, with states that it hands on.
 *
 * in: states …, scanned …; body: states …, slices … to states …, scans …; out: states
 * …, scans …  See ops_body.h. */
#include "graph/ops/ops_body.h"
#include "graph/ops/ops_common.h"

#include "base/mem.h"

#define SCAN_MAX 64 /* scanned inputs, and scan outputs */

struct scan {
    const struct attr *body;
    int states, scanned, scans;
    int axis[SCAN_MAX];
    bool reverse[SCAN_MAX], out_reverse[SCAN_MAX];
    int64_t out_axis[SCAN_MAX];
    int64_t steps; /* -1: not known */
};

/* Element i of a list attribute; `otherwise` without it. */
static enum cohort_code list_at(const struct node *n, const char *name, int count, int i,
                                int64_t *value, struct cohort_error *err) {
    int given;
    const int64_t *ints = node_attr_ints(n, name, &given);
    if (given != 0 && given != count)
        return error_set(err, COHORT_ERR_SHAPE, "%s has %d elements; %d are needed", name, given,
                         count);
    *value = given != 0 ? ints[i] : 0;
    return COHORT_OK;
}

static enum cohort_code read_scan(const struct node *n, const struct tensor *const in[],
                                  struct scan *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int formal = body_formal_inputs(n);
    int64_t value, scanned = node_attr_int(n, "num_scan_inputs", 0);
    *s = (struct scan){.steps = -1};
    if (scanned < 1 || scanned > formal || scanned > SCAN_MAX)
        return error_set(err, COHORT_ERR_SHAPE, "num_scan_inputs is %lld with %d inputs",
                         (long long)scanned, formal);
    s->scanned = (int)scanned;
    s->states = formal - s->scanned;
    s->scans = n->out_count - s->states;
    if (s->scans < 0 || s->scans > SCAN_MAX)
        return error_set(err, COHORT_ERR_SHAPE, "%d outputs for %d states", n->out_count,
                         s->states);
    TRY(body_of(n, "body", formal, n->out_count, &s->body, err));
    for (int i = 0; i < s->scanned; i++) {
        const struct tensor *t = op_in(n, in, s->states + i);
        TRY(list_at(n, "scan_input_directions", s->scanned, i, &value, err));
        s->reverse[i] = value != 0;
        TRY(list_at(n, "scan_input_axes", s->scanned, i, &value, err));
        if (t == NULL || t->shape.rank < 0)
            continue;
        TRY(op_axis(value, t->shape.rank, &s->axis[i], err));
        int64_t dim = t->shape.dim[s->axis[i]];
        if (dim >= 0 && s->steps >= 0 && dim != s->steps)
            return error_set(err, COHORT_ERR_SHAPE, "scan inputs of %lld and %lld steps",
                             (long long)s->steps, (long long)dim);
        s->steps = dim >= 0 ? dim : s->steps;
    }
    for (int i = 0; i < s->scans; i++) {
        TRY(list_at(n, "scan_output_directions", s->scans, i, &value, err));
        s->out_reverse[i] = value != 0;
        TRY(list_at(n, "scan_output_axes", s->scans, i, &s->out_axis[i], err));
    }
    for (int i = 0; i < formal; i++)
        if (op_in(n, in, i) == NULL)
            return error_set(err, COHORT_ERR_SHAPE, "input %d is left out", i);
out:
    return code;
}

static struct shape without_axis(const struct shape *s, int axis) {
    struct shape slice = {.rank = s->rank - 1};
    if (s->rank < 0)
        return shape_unknown(-1);
    for (int i = 0; i < slice.rank; i++)
        slice.dim[i] = s->dim[i + (i >= axis)];
    return slice;
}

static void take_slice(const struct tensor *t, int axis, int64_t at, struct tensor *slice) {
    int64_t from[RANK_MAX], stride[RANK_MAX], to[RANK_MAX];
    op_strides(&t->shape, stride);
    op_strides(&slice->shape, to);
    for (int i = 0; i < slice->shape.rank; i++)
        from[i] = stride[i + (i >= axis)];
    op_copy(slice->data, to, op_at(t, at * stride[axis]), from, slice->shape.rank, slice->shape.dim,
            dtype_bytes(t->type));
}

static enum cohort_code scan_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct scan s;
    struct body_frame f = {0};
    struct tensor slices[SCAN_MAX];
    double fresh;
    const struct body_limits limits = body_infer_limits(n, BODY_SMALL_BYTES, &fresh);
    TRY(read_scan(n, in, &s, err));
    TRY(body_frame_init(&f, s.body->graph, s.states, s.scans, err));
    for (int i = 0; i < s.states; i++) {
        f.state[i] = (struct tensor){.type = in[i]->type, .shape = in[i]->shape};
        f.in[i] = &f.state[i];
    }
    for (int i = 0; i < s.scanned; i++) {
        const struct tensor *t = in[s.states + i];
        slices[i] = (struct tensor){.type = t->type, .shape = without_axis(&t->shape, s.axis[i])};
        f.in[s.states + i] = &slices[i];
    }
    body_captured(s.body, in, f.in);
    TRY(body_frame_settle(s.body->graph, &f, 0, &limits, err));
    for (int i = 0; i < s.states; i++)
        op_out(n, out, i, f.state[i].type, &f.state[i].shape);
    for (int i = 0; i < s.scans; i++) {
        const struct tensor *t = &f.results[s.states + i];
        struct shape shape = shape_unknown(-1);
        int axis;
        if (t->shape.rank == RANK_MAX)
            TRY(error_set(err, COHORT_ERR_UNSUPPORTED, "a scan output of rank %d", RANK_MAX + 1));
        if (t->shape.rank >= 0) {
            TRY(op_axis(s.out_axis[i], t->shape.rank + 1, &axis, err));
            shape.rank = t->shape.rank + 1;
            for (int k = 0; k < shape.rank; k++)
                shape.dim[k] = k == axis ? s.steps : t->shape.dim[k - (k > axis)];
        }
        op_out(n, out, s.states + i, t->type, &shape);
    }
out:
    body_frame_release(&f);
    return code;
}

static enum cohort_code run_scan(const struct node *n, const struct tensor *const in[],
                                 const struct scan *s, struct body_frame *f, struct tensor *slices,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double fresh;
    const struct body_limits limits = body_eval_limits(n, &fresh);
    for (int i = 0; i < s->states; i++) {
        TRY(tensor_copy(&f->state[i], in[i], err));
        f->in[i] = &f->state[i];
    }
    for (int i = 0; i < s->scanned; i++) {
        const struct tensor *t = in[s->states + i];
        struct shape shape = without_axis(&t->shape, s->axis[i]);
        TRY(tensor_init(&slices[i], t->type, &shape, err));
        f->in[s->states + i] = &slices[i];
    }
    body_captured(s->body, in, f->in);
    for (int64_t step = 0; step < s->steps; step++) {
        for (int i = 0; i < s->scanned; i++)
            take_slice(in[s->states + i], s->axis[i], s->reverse[i] ? s->steps - 1 - step : step,
                       &slices[i]);
        TRY(body_run(s->body->graph, f->in, f->results, &limits, err));
        TRY(body_frame_advance(f, 0, err));
    }
    if (s->steps == 0)
        TRY(body_frame_empty(f, s->body->graph, 0, &limits, err));
out:
    return code;
}

static enum cohort_code scan_make(const struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct scan s;
    struct body_frame f = {0};
    struct tensor slices[SCAN_MAX] = {{0}};
    TRY(read_scan(n, in, &s, err));
    TRY(body_frame_init(&f, s.body->graph, s.states, s.scans, err));
    TRY(run_scan(n, in, &s, &f, slices, err));
    for (int i = 0; i < s.states; i++) {
        out[i] = f.state[i];
        f.state[i] = (struct tensor){0};
    }
    for (int i = 0; i < s.scans; i++) {
        int axis;
        TRY(op_axis(s.out_axis[i], f.stacks[i].shape.rank + 1, &axis, err));
        TRY(body_stack_pop(&f.stacks[i], axis, s.out_reverse[i], &out[s.states + i], err));
    }
out:
    if (code != COHORT_OK)
        body_release(out, n->out_count);
    body_release(slices, SCAN_MAX);
    body_frame_release(&f);
    return code;
}

const struct op_desc op_scan = {
    .name = "Scan",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = NODE_IN_MAX - 1,
    .max_outputs = NODE_IN_MAX - 1,
    .flags = OP_GRAPHS,
    .infer = scan_infer,
    .eval = op_eval_made,
    .make = scan_make,
};
