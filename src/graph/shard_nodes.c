/* Operators divided by channels: which can be, and what of their weights a part needs.
 *
 * Of a convolution's weights [M, C/group, …] output channels are axis 0 and input channels axis 1,
 * of a transposed one's [C, M, …] the other way round, of a product's [K, N] (or transposed) too.
 */
#include "graph/shard_parts.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

enum family {
    FAMILY_NONE,
    FAMILY_CONV,    /* one group, and with factors */
    FAMILY_GROUPED, /* of several groups */
    FAMILY_TRANSPOSED,
    FAMILY_PRODUCT, /* with a constant matrix */
    FAMILY_NORM,    /* a vector of each parameter */
    FAMILY_WINDOW,  /* only input 0 counts */
    FAMILY_EACH     /* element by element, with broadcasting */
};

static bool named(const struct node *n, const char *name) {
    return strcmp(n->op->name, name) == 0;
}

static bool is_scaled(const struct node *n) {
    return named(n, "ScaledConv");
}

static bool is_gemm(const struct node *n) {
    return named(n, "Gemm");
}

static bool is_window(const struct node *n) {
    static const char *const names[] = {"MaxPool",       "AveragePool", "GlobalAveragePool",
                                        "GlobalMaxPool", "ReduceMean",  "ReduceMax",
                                        "ReduceSum"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (named(n, names[i]))
            return true;
    return false;
}

/* A constant matrix, and an input whose last axis (a map's channels, rows and columns) meets it. */
static bool is_product(const struct graph *g, const struct node *n) {
    const struct tensor *b = node_const(g, n, 1);
    if (!is_gemm(n) && !named(n, "MatMul"))
        return false;
    return b != NULL && b->shape.rank == 2 && node_in(g, n, 0)->shape.rank >= 2 &&
           node_out(g, n, 0)->form == FORM_PLAIN &&
           (!is_gemm(n) || node_attr_int(n, "transA", 0) == 0);
}

static enum family family_of(const struct graph *g, const struct node *n) {
    const bool map = node_out(g, n, 0) != NULL && node_out(g, n, 0)->form == FORM_MAP;
    const bool weights = n->in_count > 1 && node_const(g, n, 1) != NULL;
    if (n->out_count != 1 || n->out[0] < 0 || n->in_count < 1 || n->in[0] < 0)
        return FAMILY_NONE;
    if ((named(n, "Conv") || is_scaled(n)) && map && weights)
        return n->group == 1 ? FAMILY_CONV : is_scaled(n) ? FAMILY_NONE : FAMILY_GROUPED;
    if (named(n, "ConvTranspose") && map && weights && n->group == 1)
        return FAMILY_TRANSPOSED;
    if (is_product(g, n))
        return FAMILY_PRODUCT;
    if (named(n, "BatchNormalization") && map)
        return FAMILY_NORM;
    if (is_window(n) && map)
        return FAMILY_WINDOW;
    return (n->op->flags & (OP_UNARY | OP_BINARY)) != 0 ? FAMILY_EACH : FAMILY_NONE;
}

/* Does a part make an addend of all of the output? */
static bool adds_up(enum shard_mode mode) {
    return mode == SHARD_IN || mode == SHARD_ROWS;
}

static bool is_dense(enum family f) {
    return f == FAMILY_CONV || f == FAMILY_TRANSPOSED || f == FAMILY_PRODUCT;
}

static enum cohort_code refuse_by(const struct node *n, const char *what, const char *why,
                                  struct cohort_error *err) {
    return error_set(err, COHORT_ERR_PLAN, "node '%s' (%s) cannot be divided by %s: %s", n->name,
                     n->op->name, what, why);
}

static enum cohort_code refuse(const struct node *n, const char *why, struct cohort_error *err) {
    return refuse_by(n, "channels", why, err);
}

/* ---- channels -------------------------------------------------------------------------------- */

static enum cohort_code grouped_input(const struct graph *g, const struct node *n,
                                      struct channels out, struct channels *in,
                                      struct cohort_error *err) {
    const int64_t outs = shard_channels(g, n->out[0]) / n->group;
    const int64_t ins = shard_channels(g, n->in[0]) / n->group;
    if (outs < 1 || out.begin % outs != 0 || out.end % outs != 0)
        return refuse(n, "a part would end within a group", err);
    *in = (struct channels){out.begin / outs * ins, out.end / outs * ins};
    return COHORT_OK;
}

enum cohort_code shard_input(const struct graph *g, const struct node *n, enum shard_mode mode,
                             struct channels out, struct channels *in, struct cohort_error *err) {
    const enum family f = family_of(g, n);
    *in = (struct channels){0, f != FAMILY_NONE ? shard_channels(g, n->in[0]) : 0};
    if (mode == SHARD_ROWS) {
        if (f != FAMILY_PRODUCT || shard_rows(g, n->in[0]) == 0 ||
            shard_channels(g, n->out[0]) == 0)
            return refuse_by(n, "rows of its input",
                             "it is no fully connected layer behind a map of one image", err);
        *in = out;
        return COHORT_OK;
    }
    if (f == FAMILY_NONE || shard_channels(g, n->out[0]) == 0 || in->end == 0)
        return refuse(n, "no rule for this operator, or for its shapes", err);
    if (mode != SHARD_CHANNELWISE && !is_dense(f))
        return refuse(n, "it has no sum over channels", err);
    if (mode == SHARD_CHANNELWISE && is_dense(f))
        return refuse(n, "every output channel needs all input channels", err);
    if (mode == SHARD_IN)
        *in = out;
    if (mode != SHARD_CHANNELWISE)
        return COHORT_OK;
    if (f == FAMILY_GROUPED)
        return grouped_input(g, n, out, in, err);
    if (in->end != shard_channels(g, n->out[0]) && f != FAMILY_EACH)
        return refuse(n, "its input has other channels than its output", err);
    *in = out;
    return COHORT_OK;
}

/* ---- one node -------------------------------------------------------------------------------- */

/* A part of a node while it is made. */
struct division {
    struct shard *s;
    const struct node *n; /* the network's */
    enum family family;
    enum shard_mode mode;
    struct channels out, in; /* SHARD_IN, SHARD_ROWS: in; else both */
    int *inputs;             /* of the new node */
    int scale, group;
};

/* An input that has the output's channels, or one for all of them. */
static enum cohort_code aligned_input(struct division *d, int i, struct cohort_error *err) {
    const struct graph *g = &d->s->graph;
    const int id = d->n->in[i];
    const struct value *v = graph_value(g, id), *y = graph_value(g, d->n->out[0]);
    const int axis = shard_axis(y) - (y->shape.rank - v->shape.rank);
    const int64_t count = shard_channels(g, d->n->out[0]);
    if (!shape_known(&v->shape) || v->form != (v->is_constant ? v->form : y->form))
        return refuse(d->n, "an input lies otherwise than its output", err);
    if (axis < 0 || v->shape.dim[axis] == 1)
        return COHORT_OK; /* the same for all channels */
    if (v->shape.dim[axis] != count || v->type != DT_F32)
        return refuse(d->n, "an input has other channels than its output", err);
    if (v->is_constant)
        return shard_weight(d->s, id, axis, d->out.begin, d->out.end, &d->inputs[i], err);
    return shard_slice(d->s, id, d->out, &d->inputs[i], err);
}

/* Which axis of the weights is the input's channels, and how many of its elements are one. */
static int input_axis(const struct division *d, int64_t *each) {
    const struct value *x = node_in(d->s->network, d->n, 0);
    *each = 1;
    if (d->family != FAMILY_PRODUCT)
        return d->family == FAMILY_CONV ? 1 : 0;
    if (x->form == FORM_MAP)
        *each = shape_product(&x->shape, 2, x->shape.rank);
    return is_gemm(d->n) && node_attr_int(d->n, "transB", 0) != 0 ? 1 : 0;
}

/* The bias' place among the inputs, or -1. */
static int bias_of(const struct node *n, enum family f) {
    const int at = is_scaled(n) ? 3 : 2;
    if (f == FAMILY_PRODUCT && !is_gemm(n))
        return -1;
    return n->in_count > at && n->in[at] >= 0 && n->epilogue.residual != at ? at : -1;
}

static enum cohort_code divide_outputs(struct division *d, struct cohort_error *err) {
    const struct node *n = d->n;
    enum cohort_code code = COHORT_OK;
    int64_t each;
    const int axis = d->family == FAMILY_GROUPED ? 0 : 1 - input_axis(d, &each);
    const int bias = bias_of(n, d->family);
    TRY(shard_weight(d->s, n->in[1], axis, d->out.begin, d->out.end, &d->inputs[1], err));
    if (n->weight_scale >= 0)
        TRY(shard_weight(d->s, n->weight_scale, 0, d->out.begin, d->out.end, &d->scale, err));
    if (bias >= 0 && !graph_value(&d->s->graph, n->in[bias])->is_constant)
        code = refuse(n, "its bias is computed", err);
    else if (bias >= 0 && d->family != FAMILY_PRODUCT)
        code = shard_weight(d->s, n->in[bias], 0, d->out.begin, d->out.end, &d->inputs[bias], err);
    else if (bias >= 0)
        code = aligned_input(d, bias, err);
out:
    return code;
}

/* Of every channel's weights those that meet its rows: [C, H, W] along the input's axis. */
static enum cohort_code divide_rows(struct division *d, int axis, struct cohort_error *err) {
    const struct node *n = d->n;
    const struct geometry geo = value_geometry(graph_value(&d->s->graph, n->in[0]));
    const struct channels of = {d->in.begin * geo.width, d->in.end * geo.width};
    enum cohort_code code = COHORT_OK;
    TRY(shard_slice_rows(d->s, n->in[0], d->in, &d->inputs[0], err));
    TRY(shard_periodic_weight(d->s, n->in[1], axis, geo.height * geo.width, of, &d->inputs[1],
                              err));
out:
    return code;
}

static enum cohort_code divide_inputs(struct division *d, struct cohort_error *err) {
    const struct node *n = d->n;
    enum cohort_code code = COHORT_OK;
    int64_t each;
    const int axis = input_axis(d, &each), bias = bias_of(n, d->family);
    const struct value *w = graph_value(&d->s->graph, n->in[1]);
    if (w->shape.dim[axis] != shard_channels(&d->s->graph, n->in[0]) * each)
        return refuse(n, "its weights do not match its input", err);
    if (d->mode == SHARD_ROWS) {
        TRY(divide_rows(d, axis, err));
    } else {
        TRY(shard_slice(d->s, n->in[0], d->in, &d->inputs[0], err));
        TRY(shard_weight(d->s, n->in[1], axis, d->in.begin * each, d->in.end * each, &d->inputs[1],
                         err));
    }
    if (is_scaled(n)) /* its factors */
        TRY(shard_slice(d->s, n->in[2], d->in, &d->inputs[2], err));
    if (bias >= 0)
        d->inputs[bias] = -1;
    if (n->epilogue.residual >= 0)
        d->inputs[n->epilogue.residual] = -1;
out:
    return code;
}

static enum cohort_code divide_each(struct division *d, struct cohort_error *err) {
    const struct node *n = d->n;
    enum cohort_code code = COHORT_OK;
    if (d->family == FAMILY_GROUPED) {
        TRY(shard_slice(d->s, n->in[0], d->in, &d->inputs[0], err));
        TRY(divide_outputs(d, err));
        d->group = (int)(d->in.end - d->in.begin) /
                   (int)(shard_channels(&d->s->graph, n->in[0]) / n->group);
    } else if (d->family == FAMILY_EACH) {
        for (int i = 0; i < n->in_count; i++)
            if (n->in[i] >= 0 && i != n->epilogue.residual)
                TRY(aligned_input(d, i, err));
    } else {
        TRY(shard_slice(d->s, n->in[0], d->in, &d->inputs[0], err));
        for (int i = 1; i < n->in_count && d->family == FAMILY_NORM; i++)
            if (n->in[i] >= 0 && i != n->epilogue.residual)
                TRY(shard_weight(d->s, n->in[i], 0, d->out.begin, d->out.end, &d->inputs[i], err));
    }
out:
    return code;
}

static enum cohort_code add_part(struct division *d, int made, struct cohort_error *err) {
    struct node *added;
    enum cohort_code code = graph_add_node(&d->s->graph, -1, d->n->name, d->n->op, d->inputs,
                                           d->n->in_count, &made, 1, NULL, 0, &added, err);
    if (code != COHORT_OK)
        return code;
    added->whole = d->n;
    added->opset = d->n->opset;
    mem_free(added->attrs); /* of none */
    added->attrs = d->n->attrs;
    added->attr_count = d->n->attr_count;
    added->window = d->n->window;
    added->group = d->group;
    added->weight_scale = d->scale;
    added->rowmap = d->n->rowmap;
    if (!adds_up(d->mode))
        added->epilogue = d->n->epilogue;
    return COHORT_OK;
}

enum cohort_code shard_divide(struct shard *s, int node, enum shard_mode mode, struct channels c,
                              int *added, struct cohort_error *err) {
    const struct node *n = &s->network->nodes[node];
    struct division d = {.s = s,
                         .n = n,
                         .family = family_of(s->network, n),
                         .mode = mode,
                         .out = c,
                         .scale = n->weight_scale,
                         .group = (int)n->group};
    enum cohort_code code = COHORT_OK;
    int made;
    TRY(shard_input(s->network, n, mode, c, &d.in, err));
    d.inputs = mem_alloc((size_t)n->in_count * sizeof *d.inputs);
    if (d.inputs == NULL) {
        code = error_memory(err, (size_t)n->in_count * sizeof *d.inputs, "a node");
        goto out;
    }
    memcpy(d.inputs, n->in, (size_t)n->in_count * sizeof *d.inputs);
    if (adds_up(mode)) {
        TRY(shard_partial(s, node, &made, err));
        TRY(divide_inputs(&d, err));
    } else {
        TRY(shard_slice(s, n->out[0], c, &made, err));
        TRY(mode == SHARD_OUT ? divide_outputs(&d, err) : divide_each(&d, err));
        if (n->epilogue.residual >= 0)
            TRY(aligned_input(&d, n->epilogue.residual, err));
    }
    TRY(add_part(&d, made, err));
    *added = s->graph.node_count - 1;
out:
    mem_free(d.inputs);
    return code;
}

/* ---- behind the sum -------------------------------------------------------------------------- */

enum cohort_code shard_partial(struct shard *s, int node, int *partial, struct cohort_error *err) {
    const int out = s->network->nodes[node].out[0];
    for (int i = 0; i < s->slice_count; i++)
        if (s->slices[i].kind == SLICE_PARTIAL && s->slices[i].source == node) {
            *partial = s->slices[i].id;
            return COHORT_OK;
        }
    struct shard_slice want = {.kind = SLICE_PARTIAL, .source = node};
    want.axis = shard_axis(graph_value(&s->graph, out));
    want.end = shard_channels(&s->graph, out);
    enum cohort_code code = shard_add_slice(s, want, graph_value(&s->graph, out), err);
    if (code == COHORT_OK)
        *partial = s->slices[s->slice_count - 1].id;
    return code;
}

bool shard_finishes(const struct shard *s, const struct node *n) {
    for (int i = 0; i < s->slice_count; i++)
        if (n->whole == NULL && s->slices[i].kind == SLICE_BIAS && n->in_count > 1 &&
            n->in[1] == s->slices[i].id)
            return true;
    return false;
}

/* Channels c of a product's or convolution's bias, as an operand of the output. */
static enum cohort_code add_bias(struct shard *s, const struct node *n, struct channels c, int *id,
                                 struct cohort_error *err) {
    const enum family f = family_of(s->network, n);
    const int at = bias_of(n, f);
    struct value v = *graph_value(&s->graph, n->out[0]);
    struct shard_slice want = {
        .kind = SLICE_BIAS, .source = -1, .begin = c.begin, .end = c.end, .scale = 1};
    if (at >= 0) {
        const struct value *b = graph_value(&s->graph, n->in[at]);
        const int64_t count = b->is_constant ? shape_count(&b->shape) : 0;
        if (count != 1 && (count != shard_channels(&s->graph, n->out[0]) ||
                           b->shape.dim[b->shape.rank - 1] != count))
            return refuse(n, "its bias is no constant vector", err);
        want.source = n->in[at];
        want.scale = f == FAMILY_PRODUCT ? node_attr_float(n, "beta", 1.0f) : 1.0f;
    }
    if (v.form == FORM_MAP) { /* [C, 1, …] */
        v.shape.rank--;
        for (int k = 1; k < v.shape.rank; k++)
            v.shape.dim[k] = 1;
    } else {
        v.shape.rank = 1;
    }
    v.shape.dim[0] = c.end - c.begin;
    v.form = FORM_PLAIN;
    enum cohort_code code = shard_add_slice(s, want, &v, err);
    if (code == COHORT_OK)
        *id = s->slices[s->slice_count - 1].id;
    return code;
}

enum cohort_code shard_finish(struct shard *s, int node, struct channels c, int *added,
                              struct cohort_error *err) {
    const struct node *n = &s->network->nodes[node];
    const struct op_desc *add = op_find("", "Add", 13);
    const bool residual = n->epilogue.residual >= 0;
    int partial, in[3], out;
    struct node *made;
    struct channels all;
    enum cohort_code code = COHORT_OK;
    BUG_UNLESS(add != NULL);
    TRY(shard_input(s->network, n, SHARD_IN, c, &all, err)); /* it can be divided so at all */
    TRY(shard_partial(s, node, &partial, err));
    TRY(shard_slice(s, partial, c, &in[0], err));
    TRY(add_bias(s, n, c, &in[1], err));
    if (residual)
        TRY(shard_slice(s, n->in[n->epilogue.residual], c, &in[2], err));
    TRY(shard_slice(s, n->out[0], c, &out, err));
    TRY(graph_add_node(&s->graph, -1, n->name, add, in, residual ? 3 : 2, &out, 1, NULL, 0, &made,
                       err));
    made->opset = 13;
    made->epilogue = n->epilogue;
    if (residual)
        made->epilogue.residual = 2;
    *added = s->graph.node_count - 1;
out:
    return code;
}
