/* Shapes: those of the network's inputs, then of every value; and constant folding.
 *
 * A node whose inputs are all constant is computed here, once, by its own evaluator; so the shape
 * arithmetic that exporters write out disappears wherever shapes are known.  Where they are not, it
 * stays and runs. */
#include "graph/pass_common.h"

#include "base/mem.h"

#include <string.h>

/* ---- the network's inputs -------------------------------------------------------------------- */

static enum cohort_code no_such_input(const struct graph *g, const char *name,
                                      struct cohort_error *err) {
    const char *only = g->input_count > 0 ? graph_value(g, g->inputs[0])->name : "";
    if (name == NULL)
        return error_set(err, COHORT_ERR_USAGE,
                         "--shape without a name, but the network has %d inputs: name one, as in "
                         "--shape %s=1x3x224x224",
                         g->input_count, only);
    return error_set(err, COHORT_ERR_USAGE,
                     "--shape %s=...: the network has no input of that name%s%s", name,
                     g->input_count == 1 ? "; its input is " : "", g->input_count == 1 ? only : "");
}

static enum cohort_code set_given(struct graph *g, const struct input_shape *s,
                                  struct cohort_error *err) {
    struct value *v = NULL;
    for (int i = 0; i < g->input_count; i++)
        if (s->name == NULL ? g->input_count == 1
                            : strcmp(graph_value(g, g->inputs[i])->name, s->name) == 0)
            v = graph_value(g, g->inputs[i]);
    if (v == NULL)
        return no_such_input(g, s->name, err);
    char given[SHAPE_TEXT_BYTES], declared[SHAPE_TEXT_BYTES];
    if (v->shape.rank >= 0 && v->shape.rank != s->shape.rank)
        return error_set(err, COHORT_ERR_USAGE,
                         "--shape %s=%s: the network declares %s, which has %d dimensions, not %d",
                         v->name, shape_text(&s->shape, given, sizeof given),
                         shape_text(&v->shape, declared, sizeof declared), v->shape.rank,
                         s->shape.rank);
    for (int i = 0; i < s->shape.rank; i++)
        if (s->shape.dim[i] < 0)
            return error_set(err, COHORT_ERR_USAGE,
                             "--shape %s=%s: a dimension is not a number from 0 up", v->name,
                             shape_text(&s->shape, given, sizeof given));
    v->shape = s->shape;
    return COHORT_OK;
}

enum cohort_code pass_set_inputs(struct graph *g, const struct pass_options *o,
                                 struct cohort_error *err) {
    for (int i = 0; o != NULL && i < o->shape_count; i++) {
        enum cohort_code code = set_given(g, &o->shapes[i], err);
        if (code != COHORT_OK)
            return code;
    }
    for (int i = 0; i < g->input_count; i++) {
        struct value *v = graph_value(g, g->inputs[i]);
        char text[SHAPE_TEXT_BYTES];
        if (v->shape.rank < 0)
            return error_set(err, COHORT_ERR_SHAPE,
                             "input %s has no shape in the file: give one with --shape %s=...",
                             v->name, v->name);
        if (v->shape.rank > 0 && v->shape.dim[0] < 0)
            v->shape.dim[0] = 1;
        for (int k = 0; k < v->shape.rank; k++)
            if (v->shape.dim[k] < 0)
                return error_set(
                    err, COHORT_ERR_SHAPE,
                    "input %s is %s in the file: give dimension %d with --shape %s=...", v->name,
                    shape_text(&v->shape, text, sizeof text), k, v->name);
    }
    return COHORT_OK;
}

/* ---- one node -------------------------------------------------------------------------------- */

/* Constants up to this size (lists, shapes) are made aligned for good where they are borrowed
 * unaligned, so that operators may read them in place; larger ones are weights, whose contents
 * inference never needs and nobody should copy. */
#define ALIGN_BYTES (1u << 12)
/* A folded result may exceed its inputs by this factor and this much: widening weights (int8 to
 * float32) is wanted, writing out a ConstantOfShape of a gigabyte is not. */
#define FOLD_FACTOR 8u
#define FOLD_BYTES  ((size_t)64 << 20)

/* The tensors of one node's inputs and outputs, as op.h hands them to operators. */
struct io {
    struct tensor *tensors; /* in_count inputs, then out_count outputs */
    const struct tensor **in;
    struct tensor **out;
};

static void io_release(struct io *io) {
    mem_free(io->tensors);
    mem_free(io->in);
    mem_free(io->out);
}

static enum cohort_code align_small(struct value *v, struct cohort_error *err) {
    struct tensor *t = &v->constant, copy;
    if (t->data == NULL || tensor_aligned(t) || dtype_bytes(t->type) == 0 ||
        tensor_bytes(t) > ALIGN_BYTES)
        return COHORT_OK;
    enum cohort_code code = tensor_copy(&copy, t, err);
    if (code == COHORT_OK) {
        tensor_release(t);
        *t = copy;
    }
    return code;
}

static enum cohort_code io_gather(struct graph *g, const struct node *n, struct io *io,
                                  struct cohort_error *err) {
    size_t inputs = (size_t)n->in_count, outputs = (size_t)n->out_count;
    io->tensors = mem_zalloc(inputs + outputs, sizeof *io->tensors);
    io->in = mem_zalloc(inputs, sizeof *io->in);
    io->out = mem_zalloc(outputs, sizeof *io->out);
    if (io->tensors == NULL || io->in == NULL || io->out == NULL)
        return error_memory(err, (inputs + outputs) * sizeof *io->tensors, "shape inference");
    for (int i = 0; i < n->in_count; i++) {
        if (n->in[i] < 0)
            continue;
        struct value *v = graph_value(g, n->in[i]);
        struct tensor *t = &io->tensors[i];
        if (v->is_constant) {
            enum cohort_code code = align_small(v, err);
            if (code != COHORT_OK)
                return code;
            *t = v->constant;
            t->owned = false;
        } else {
            *t = (struct tensor){.type = v->type, .shape = v->shape};
        }
        io->in[i] = t;
    }
    for (int i = 0; i < n->out_count; i++)
        io->out[i] = &io->tensors[n->in_count + i];
    return COHORT_OK;
}

/* ---- folding --------------------------------------------------------------------------------- */

/* Shape and Size depend on their input's shape only, so they are folded although the input itself
 * is not constant.  No other operator is like that, and evaluators always get data; so it is done
 * here. */
static bool fold_shape_of(const struct node *n, const struct io *io, struct tensor *out) {
    const struct shape *s = &io->in[0]->shape;
    int64_t *to = tensor_i64(out);
    if (node_is(n, "Size")) {
        to[0] = shape_count(s);
        return to[0] >= 0;
    }
    int64_t start = node_attr_int(n, "start", 0), end = node_attr_int(n, "end", s->rank);
    start += start < 0 ? s->rank : 0;
    end += end < 0 ? s->rank : 0;
    start = start < 0 ? 0 : start;
    end = end > s->rank ? s->rank : end;
    if (shape_count(&out->shape) != (end > start ? end - start : 0))
        return false;
    for (int64_t i = start; i < end; i++)
        to[i - start] = s->dim[i];
    return true;
}

static bool reads_shape_only(const struct node *n, const struct io *io) {
    return (node_is(n, "Shape") || node_is(n, "Size")) && shape_known(&io->in[0]->shape) &&
           io->out[0]->type == DT_I64;
}

static bool is_random(const struct node *n) {
    return strncmp(n->op->name, "Random", 6) == 0 || node_is(n, "Bernoulli") ||
           node_is(n, "Multinomial");
}

static bool may_fold(const struct node *n, const struct io *io) {
    size_t in_bytes = 0, out_bytes = 0;
    bool shape_only = reads_shape_only(n, io);
    if (is_random(n) || (n->in_count == 0 && !node_is(n, "Constant")))
        return false;
    for (int i = 0; i < n->in_count; i++) {
        if (io->in[i] == NULL)
            continue;
        if (io->in[i]->data == NULL && !shape_only)
            return false;
        in_bytes += io->in[i]->data == NULL ? 0 : tensor_bytes(io->in[i]);
    }
    for (int i = 0; i < n->out_count; i++) {
        const struct tensor *t = io->out[i];
        if (!shape_known(&t->shape) || dtype_bytes(t->type) == 0)
            return false;
        out_bytes += tensor_bytes(t);
    }
    if (node_is(n, "Constant"))
        return true;
    return out_bytes / FOLD_FACTOR <= in_bytes + FOLD_BYTES / FOLD_FACTOR;
}

/* Is what it costs allowed still?  Inference has run bodies once; that again is what they cost. */
static bool may_compute(const struct node *n, const struct io *io, double before) {
    if (node_is(n, "Constant"))
        return true;
    if ((n->op->flags & OP_GRAPHS) != 0)
        return n->allowance[0] >= before - n->allowance[0];
    return op_spend(n, op_work(n, io->in, io->out[0]));
}

/* Evaluates into new memory; inputs that lie unaligned in a file are copied for the call. */
static enum cohort_code evaluate(const struct node *n, struct io *io, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int made = 0;
    for (int i = 0; i < n->in_count; i++)
        if (io->in[i] != NULL && io->in[i]->data != NULL && !tensor_aligned(io->in[i])) {
            struct tensor copy;
            TRY(tensor_copy(&copy, io->in[i], err));
            io->tensors[i] = copy;
        }
    for (; made < n->out_count; made++)
        TRY(tensor_init(io->out[made], io->out[made]->type, &io->out[made]->shape, err));
    if (reads_shape_only(n, io)) {
        if (!fold_shape_of(n, io, io->out[0]))
            code = error_set(err, COHORT_ERR_INTERNAL, "its shape does not fit its own output");
    } else {
        code = op_eval(n, io->in, io->out, err);
    }
out:
    for (int i = 0; i < n->in_count; i++)
        tensor_release(&io->tensors[i]); /* borrowed ones are only forgotten */
    for (int i = 0; code != COHORT_OK && i < made; i++)
        tensor_release(io->out[i]);
    return code;
}

static bool read_by_node(const struct graph *g, int id) {
    int outputs = 0;
    for (int i = 0; i < g->output_count; i++)
        outputs += g->outputs[i] == id;
    return graph_value(g, id)->uses > outputs;
}

/* Nodes that read value `id` read a new constant instead, which takes over t. */
static enum cohort_code read_constant_instead(struct graph *g, int id, struct tensor *t,
                                              struct cohort_error *err) {
    int constant = -1;
    char *name = fresh_name(g, graph_value(g, id)->name, ".constant");
    enum cohort_code code = name == NULL ? error_memory(err, 64, "a name")
                                         : graph_add_constant(g, name, t, &constant, err);
    mem_free(name);
    if (code != COHORT_OK)
        return code;
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] == id) {
                g->nodes[i].in[k] = constant;
                graph_value(g, id)->uses--;
                graph_value(g, constant)->uses++;
            }
    return COHORT_OK;
}

/* A Constant node's tensor is taken over, not copied: it may be a borrowed weight of any size. */
static bool take_constant(struct graph *g, struct node *n) {
    struct attr *a = NULL;
    for (int i = 0; i < n->attr_count; i++)
        if (strcmp(n->attrs[i].name, "value") == 0 && n->attrs[i].kind == ATTR_TENSOR)
            a = &n->attrs[i];
    if (!node_is(n, "Constant") || a == NULL)
        return false;
    struct value *v = graph_value(g, n->out[0]);
    v->is_constant = true;
    v->constant = a->tensor;
    v->producer = -1;
    a->tensor = (struct tensor){0};
    graph_release_node(n);
    return true;
}

/* The node's outputs become constants and the node goes.  One that makes a graph output stays, so
 * that outputs always have a producer; its other readers get the constant. */
static enum cohort_code fold_node(struct graph *g, int index, struct io *io,
                                  struct cohort_error *err) {
    bool stays = false, wanted = false;
    for (int i = 0; i < g->nodes[index].out_count; i++) {
        int id = g->nodes[index].out[i];
        if (id < 0)
            continue;
        stays = stays || graph_is_output(g, id);
        wanted = wanted || read_by_node(g, id);
    }
    if (!wanted || (!stays && take_constant(g, &g->nodes[index])))
        return COHORT_OK;
    enum cohort_code code = evaluate(&g->nodes[index], io, err);
    for (int i = 0; code == COHORT_OK && i < g->nodes[index].out_count; i++) {
        int id = g->nodes[index].out[i];
        if (id < 0)
            continue;
        if (!stays) {
            struct value *v = graph_value(g, id);
            v->is_constant = true;
            v->constant = *io->out[i];
            v->producer = -1;
            *io->out[i] = (struct tensor){0};
        } else if (read_by_node(g, id)) {
            code = read_constant_instead(g, id, io->out[i], err);
        }
    }
    for (int i = 0; i < g->nodes[index].out_count; i++)
        tensor_release(io->out[i]);
    if (code == COHORT_OK && !stays)
        graph_release_node(&g->nodes[index]);
    return code;
}

static enum cohort_code wrap_node(const struct graph *g, const struct node *n,
                                  struct cohort_error *err) {
    const char *name = n->name;
    if (name[0] == '\0' && n->out_count > 0 && n->out[0] >= 0)
        name = graph_value(g, n->out[0])->name;
    return error_wrap(err, "node %s (%s)", name, n->op->name);
}

enum cohort_code infer_node(struct graph *g, int index, bool fold, struct cohort_error *err) {
    struct io io = {0};
    struct node *n = &g->nodes[index];
    enum cohort_code code = io_gather(g, n, &io, err);
    if (code != COHORT_OK)
        goto out; /* memory: no fault of the node's */
    const double before = g->allowance;
    n->allowance = &g->allowance;
    code = op_infer(n, io.in, &io.tensors[n->in_count], err);
    for (int i = 0; code == COHORT_OK && i < n->out_count; i++)
        if (n->out[i] >= 0) {
            struct value *v = graph_value(g, n->out[i]);
            v->type = io.out[i]->type;
            v->shape = io.out[i]->shape;
        }
    if (code == COHORT_OK && fold && may_fold(n, &io) && may_compute(n, &io, before))
        code = fold_node(g, index, &io, err);
    if (code != COHORT_OK)
        wrap_node(g, &g->nodes[index], err);
out:
    g->nodes[index].allowance = NULL;
    io_release(&io);
    return code;
}

enum cohort_code pass_infer(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    graph_relink(g);
    g->allowance = WORK_WHEN_OPENED;
    for (int i = 0; code == COHORT_OK && i < g->node_count; i++)
        code = infer_node(g, i, true, err);
    graph_compact(g);
    return code;
}
