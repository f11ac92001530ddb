/* See ops_body.h.  No operator is defined here. */
#include "graph/ops/ops_body.h"

#include "base/mem.h"
#include "graph/ops/ops_common.h"

#include <string.h>

struct shape shape_either(const struct shape *a, const struct shape *b) {
    struct shape s = *a;
    if (a->rank < 0 || a->rank != b->rank)
        return shape_unknown(-1);
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = a->dim[i] == b->dim[i] ? a->dim[i] : -1;
    return s;
}

void body_release(struct tensor *tensors, int count) {
    for (int i = 0; tensors != NULL && i < count; i++)
        tensor_release(&tensors[i]);
}

int body_formal_inputs(const struct node *n) {
    int formal = n->in_count;
    for (int i = 0; i < n->attr_count; i++)
        if (n->attrs[i].kind == ATTR_GRAPH && n->attrs[i].i < formal)
            formal = (int)n->attrs[i].i;
    return formal;
}

enum cohort_code body_of(const struct node *n, const char *name, int formal, int outputs,
                         const struct attr **body, struct cohort_error *err) {
    const struct attr *a = node_attr_graph(n, name);
    if (a == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "the graph %s is missing", name);
    int own = a->graph->input_count - (int)a->count;
    if (own != formal || a->graph->output_count != outputs)
        return error_set(err, COHORT_ERR_SHAPE,
                         "the graph %s has %d inputs and %d outputs, which does not fit the node",
                         name, own, a->graph->output_count);
    *body = a;
    return COHORT_OK;
}

void body_captured(const struct attr *body, const struct tensor *const in[],
                   const struct tensor **all) {
    int own = body->graph->input_count - (int)body->count;
    for (size_t i = 0; i < body->count; i++)
        all[(size_t)own + i] = in[(size_t)body->i + i];
}

/* ---- running --------------------------------------------------------------------------------- */

/* One node's inputs and outputs. */
struct ports {
    const struct tensor **in;
    struct tensor *made, **out;
};

static void ports_release(struct ports *p, int made) {
    body_release(p->made, made);
    mem_free(p->in);
    mem_free(p->made);
    mem_free(p->out);
}

/* Do contents suffice to compute it?  Shape and Size need none. */
static bool computable(const struct node *n, const struct ports *p, size_t limit, bool *large) {
    bool shape_only = strcmp(n->op->name, "Shape") == 0 || strcmp(n->op->name, "Size") == 0;
    for (int i = 0; i < n->in_count; i++)
        if (p->in[i] != NULL && p->in[i]->data == NULL &&
            !(shape_only && shape_known(&p->in[i]->shape)))
            return false;
    for (int i = 0; i < n->out_count; i++)
        if (!shape_known(&p->made[i].shape) || tensor_bytes(&p->made[i]) > limit) {
            *large = shape_known(&p->made[i].shape);
            return false;
        }
    return true;
}

struct body_limits body_infer_limits(const struct node *n, size_t bytes, double *fresh) {
    *fresh = WORK_OF_BODIES;
    return (struct body_limits){.bytes = bytes,
                                .allowance = n->allowance != NULL ? n->allowance : fresh};
}

struct body_limits body_eval_limits(const struct node *n, double *fresh) {
    struct body_limits l = body_infer_limits(n, BODY_RUN_BYTES, fresh);
    l.must = true;
    return l;
}

/* Is this node to be computed?  What it costs is taken from the allowance. */
static enum cohort_code may_run(const struct node *n, const struct ports *p,
                                const struct body_limits *l, bool *run, struct cohort_error *err) {
    bool large = false, graphs = (n->op->flags & OP_GRAPHS) != 0;
    *run = computable(n, p, l->bytes, &large);
    if (!*run && large && l->must)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "a value of more than %zu MB in a graph that is an attribute",
                         l->bytes >> 20);
    if (*run && l->allowance != NULL && !graphs)
        *l->allowance -= op_work(n, p->in, p->made);
    if (l->allowance == NULL || *l->allowance >= 0)
        return COHORT_OK;
    *run = false;
    if (l->must)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "an If, Loop or Scan of more than %.0e operations", WORK_OF_BODIES);
    return COHORT_OK;
}

static void forget(struct ports *p, int made) {
    for (int i = 0; i < made; i++) {
        struct tensor t = {.type = p->made[i].type, .shape = p->made[i].shape};
        tensor_release(&p->made[i]);
        p->made[i] = t;
    }
}

static enum cohort_code run_node(const struct graph *g, int index, struct tensor *values,
                                 const struct body_limits *l, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct node n = g->nodes[index]; /* infer() may set the window for these shapes */
    struct ports p = {.in = mem_zalloc((size_t)n.in_count, sizeof *p.in),
                      .made = mem_zalloc((size_t)n.out_count, sizeof *p.made),
                      .out = mem_zalloc((size_t)n.out_count, sizeof *p.out)};
    int made = 0;
    bool run = false;
    n.allowance = l->allowance;
    if (p.in == NULL || p.made == NULL || p.out == NULL)
        TRY(error_memory(err, (size_t)n.in_count * sizeof *p.in, "an operator's inputs"));
    for (int i = 0; i < n.in_count; i++)
        p.in[i] = n.in[i] >= 0 ? &values[n.in[i]] : NULL;
    if (l->must && (n.op->flags & OP_GRAPHS) != 0 && op_makes(&n)) { /* once, however deep it is */
        TRY(op_make(&n, p.in, p.made, err));
        made = n.out_count;
        goto made;
    }
    TRY(op_infer(&n, p.in, p.made, err));
    TRY(may_run(&n, &p, l, &run, err));
    if (run) {
        for (; made < n.out_count; made++) {
            struct tensor t = {0};
            TRY(tensor_init(&t, p.made[made].type, &p.made[made].shape, err));
            p.made[made] = t;
            p.out[made] = &p.made[made];
        }
        code = op_eval(&n, p.in, p.out, err);
        if (code == COHORT_ERR_UNSUPPORTED && !l->must && *l->allowance < 0) {
            error_clear(err); /* a body within it was too much, so this stays unknown */
            code = COHORT_OK;
            forget(&p, made);
        }
        TRY(code);
    }
made:
    for (int i = 0; i < n.out_count; i++)
        if (n.out[i] >= 0) {
            values[n.out[i]] = p.made[i];
            p.made[i] = (struct tensor){0};
        }
out:
    if (code != COHORT_OK)
        error_wrap(err, "node '%s' (%s)", n.name, n.op->name);
    ports_release(&p, made);
    return code;
}

enum cohort_code body_run(const struct graph *g, const struct tensor *const in[],
                          struct tensor out[], const struct body_limits *limits,
                          struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int made = 0;
    struct tensor *values = mem_zalloc((size_t)g->value_count, sizeof *values);
    if (values == NULL)
        return error_memory(err, (size_t)g->value_count * sizeof *values, "a graph's values");
    for (int i = 0; i < g->value_count; i++)
        if (g->values[i].is_constant) {
            BUG_UNLESS(tensor_aligned(&g->values[i].constant));
            values[i] = g->values[i].constant;
            values[i].owned = false;
        }
    for (int i = 0; i < g->input_count; i++) {
        if (in[i] == NULL)
            TRY(error_set(err, COHORT_ERR_SHAPE, "input '%s' is left out",
                          g->values[g->inputs[i]].name));
        values[g->inputs[i]] = *in[i];
        values[g->inputs[i]].owned = false;
    }
    for (int i = 0; i < g->node_count; i++)
        TRY(run_node(g, i, values, limits, err));
    for (; made < g->output_count; made++) {
        const struct tensor *t = &values[g->outputs[made]];
        out[made] = (struct tensor){.type = t->type, .shape = t->shape};
        if (t->data != NULL)
            TRY(tensor_copy(&out[made], t, err));
    }
out:
    if (code != COHORT_OK)
        body_release(out, made);
    body_release(values, g->value_count);
    mem_free(values);
    return code;
}

struct tensor *body_tensors(int count, struct cohort_error *err) {
    struct tensor *t = mem_zalloc((size_t)count, sizeof *t);
    if (t == NULL)
        error_memory(err, (size_t)count * sizeof *t, "a body's results");
    return t;
}

/* ---- bodies that run step by step ------------------------------------------------------------ */

#define STACK_BYTES BODY_RUN_BYTES /* what a loop may pile up */

static enum cohort_code push(struct body_stack *s, const struct tensor *t,
                             struct cohort_error *err) {
    size_t bytes = tensor_bytes(t), need = s->bytes + bytes;
    if (s->steps > 0 && (s->type != t->type || !shape_equal(&s->shape, &t->shape)))
        return error_set(err, COHORT_ERR_SHAPE, "a scan output changes its type or shape");
    if (need > STACK_BYTES)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a scan output of more than %zu bytes",
                         STACK_BYTES);
    if (need > s->capacity) {
        size_t capacity = need > 2 * s->capacity ? need : 2 * s->capacity;
        char *bigger = mem_realloc(s->data, capacity);
        if (bigger == NULL)
            return error_memory(err, capacity, "a scan output");
        s->data = bigger;
        s->capacity = capacity;
    }
    if (bytes > 0)
        memcpy(s->data + s->bytes, t->data, bytes);
    s->type = t->type;
    s->shape = t->shape;
    s->bytes = need;
    s->steps++;
    return COHORT_OK;
}

/* As one tensor with the steps along a new axis, the last step first when reversed. */
enum cohort_code body_stack_pop(const struct body_stack *s, int axis, bool reversed,
                                struct tensor *t, struct cohort_error *err) {
    struct shape shape = {.rank = s->shape.rank + 1}, from = shape;
    int64_t to_stride[RANK_MAX], stride[RANK_MAX];
    if (shape.rank > RANK_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a scan output of rank %d", shape.rank);
    from.dim[0] = s->steps;
    for (int i = 0; i < s->shape.rank; i++)
        from.dim[i + 1] = s->shape.dim[i];
    for (int i = 0; i < shape.rank; i++)
        shape.dim[i] = i == axis ? s->steps : s->shape.dim[i - (i > axis)];
    enum cohort_code code = tensor_init(t, s->type, &shape, err);
    if (code != COHORT_OK || s->bytes == 0)
        return code;
    op_strides(&from, stride);
    int64_t step = stride[0], first = reversed ? (s->steps - 1) * step : 0;
    for (int i = 0; i < shape.rank; i++)
        to_stride[i] = i == axis ? (reversed ? -step : step) : stride[i - (i > axis) + 1];
    op_strides(&shape, stride);
    op_copy(t->data, stride, s->data + (size_t)first * dtype_bytes(s->type), to_stride, shape.rank,
            shape.dim, dtype_bytes(s->type));
    return COHORT_OK;
}

enum cohort_code body_frame_init(struct body_frame *f, const struct graph *body, int states,
                                 int scans, struct cohort_error *err) {
    *f = (struct body_frame){.in = mem_zalloc((size_t)body->input_count, sizeof *f->in),
                             .state = mem_zalloc((size_t)states, sizeof *f->state),
                             .results = mem_zalloc((size_t)body->output_count, sizeof *f->results),
                             .stacks = mem_zalloc((size_t)scans, sizeof *f->stacks),
                             .states = states,
                             .result_count = body->output_count,
                             .scans = scans};
    if (f->in == NULL || f->state == NULL || f->results == NULL || f->stacks == NULL)
        return error_memory(err, (size_t)body->input_count * sizeof *f->in, "a loop's values");
    return COHORT_OK;
}

void body_frame_release(struct body_frame *f) {
    body_release(f->state, f->states);
    body_release(f->results, f->result_count);
    for (int i = 0; f->stacks != NULL && i < f->scans; i++)
        mem_free(f->stacks[i].data);
    mem_free(f->stacks);
    mem_free(f->results);
    mem_free(f->state);
    mem_free(f->in);
}

/* States from the body's results [first, …), scans onto the stacks. */
enum cohort_code body_frame_advance(struct body_frame *f, int first, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < f->states; i++) {
        tensor_release(&f->state[i]);
        f->state[i] = f->results[first + i];
        f->results[first + i] = (struct tensor){0};
    }
    for (int i = 0; i < f->scans; i++)
        TRY(push(&f->stacks[i], &f->results[first + f->states + i], err));
    body_release(f->results, f->result_count);
out:
    return code;
}

/* Without any step a scan output has the shape that the body says, unknown dims taken as 0. */
enum cohort_code body_frame_empty(struct body_frame *f, const struct graph *body, int first,
                                  const struct body_limits *limits, struct cohort_error *err) {
    const struct body_limits small = {.bytes = BODY_SMALL_BYTES, .allowance = limits->allowance};
    enum cohort_code code = body_run(body, f->in, f->results, &small, err);
    for (int i = 0; code == COHORT_OK && i < f->scans; i++) {
        const struct tensor *t = &f->results[first + f->states + i];
        f->stacks[i].type = t->type;
        f->stacks[i].shape = t->shape.rank < 0 ? (struct shape){.rank = 0} : t->shape;
        for (int k = 0; k < f->stacks[i].shape.rank; k++)
            if (f->stacks[i].shape.dim[k] < 0)
                f->stacks[i].shape.dim[k] = 0;
    }
    if (code == COHORT_OK)
        body_release(f->results, f->result_count);
    return code;
}

/* Shapes that hold after any number of steps: a state's dim that a step changes is not known. */
enum cohort_code body_frame_settle(const struct graph *body, struct body_frame *f, int first,
                                   const struct body_limits *limits, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool changed = true;
    while (changed) { /* each time a dim is forgotten */
        changed = false;
        TRY(body_run(body, f->in, f->results, limits, err));
        for (int i = 0; i < f->states; i++) {
            struct shape both = shape_either(&f->state[i].shape, &f->results[first + i].shape);
            if (f->results[first + i].type != f->state[i].type)
                TRY(error_set(err, COHORT_ERR_SHAPE, "state %d begins as %s and goes on as %s", i,
                              dtype_name(f->state[i].type),
                              dtype_name(f->results[first + i].type)));
            changed = changed || !shape_equal(&both, &f->state[i].shape);
            f->state[i].shape = both;
        }
        if (changed)
            body_release(f->results, f->result_count);
    }
out:
    return code;
}
