/* Affine nodes (pass_affine.h): what is one, and folding them forwards.
 *
 * Forwards into the Convs that read it: W*(f x + a) = (W f)*x + W*a.  The factor may always move;
 * the addend only where the window has no padding, since the zeros around the picture are not a.
 * One factor for all channels goes into weight_scale, several into new weights (if they are few).
 * Two that follow each other and cannot be folded become one BatchNormalization: one walk over
 * memory instead of two. */
#include "graph/pass_affine.h"

#include "base/mem.h"

#include <math.h>

void affine_release(struct affine *a) {
    mem_free(a->factor);
    mem_free(a->addend);
}

static enum cohort_code affine_init(struct affine *a, int64_t channels, struct cohort_error *err) {
    *a = (struct affine){.channels = channels};
    a->factor = mem_zalloc((size_t)channels, sizeof *a->factor);
    a->addend = mem_zalloc((size_t)channels, sizeof *a->addend);
    if (a->factor == NULL || a->addend == NULL) {
        affine_release(a);
        return error_memory(err, (unsigned long long)channels * 16, "folding a constant factor");
    }
    for (int64_t c = 0; c < channels; c++)
        a->factor[c] = 1;
    return COHORT_OK;
}

static bool constant_vector(const struct graph *g, const struct node *n, int i, int64_t channels) {
    const struct tensor *t = node_const(g, n, i);
    return t != NULL && t->data != NULL && dtype_is_float(t->type) &&
           shape_count(&t->shape) == channels && t->shape.rank == 1;
}

static bool batchnorm_fits(const struct graph *g, const struct node *n, int64_t channels) {
    if (!node_is(n, "BatchNormalization") || n->in_count != 5 ||
        node_attr_int(n, "training_mode", 0) != 0 || node_attr_int(n, "spatial", 1) != 1)
        return false;
    for (int i = 1; i < n->out_count; i++)
        if (n->out[i] >= 0 && graph_value(g, n->out[i])->uses > 0)
            return false;
    for (int i = 1; i < 5; i++)
        if (!constant_vector(g, n, i, channels))
            return false;
    return true;
}

/* Is the constant (operand i) one number, or one per channel of axis 1? */
static bool per_channel(const struct graph *g, const struct node *n, int i,
                        const struct shape *out) {
    const struct tensor *t = node_const(g, n, i);
    if (t == NULL || t->data == NULL || t->type != DT_F32 || t->shape.rank > out->rank)
        return false;
    int channel = 1 - (out->rank - t->shape.rank);
    for (int k = 0; k < t->shape.rank; k++)
        if (t->shape.dim[k] != 1 && (k != channel || t->shape.dim[k] != out->dim[1]))
            return false;
    return true;
}

/* Which operand of a Mul, Div, Add or Sub is the constant that may be folded; -1: none. */
static int folded_operand(const struct graph *g, const struct node *n, const struct shape *out) {
    bool commutes = node_is(n, "Mul") || node_is(n, "Add");
    if ((!commutes && !node_is(n, "Div") && !node_is(n, "Sub")) || n->in_count != 2 ||
        n->epilogue.act != ACT_NONE)
        return -1;
    if (per_channel(g, n, 1, out))
        return 1;
    return commutes && per_channel(g, n, 0, out) ? 0 : -1;
}

int affine_data_input(const struct graph *g, const struct node *n) {
    if (n->op == NULL || n->out_count < 1 || n->out[0] < 0 || n->in_count < 1 ||
        n->epilogue.act != ACT_NONE || n->epilogue.residual >= 0)
        return -1;
    const struct shape *s = &graph_value(g, n->out[0])->shape;
    if (!shape_known(s) || s->rank < 2 || shape_count(s) == 0)
        return -1;
    int operand = folded_operand(g, n, s);
    int data = operand == 0 ? 1 : 0;
    if ((operand < 0 && !batchnorm_fits(g, n, s->dim[1])) || n->in[data] < 0 ||
        graph_value(g, n->in[data])->is_constant || !value_is_f32(g, n->out[0]) ||
        !same_known_shape(g, n->in[data], n->out[0]))
        return -1;
    return data;
}

static void read_batchnorm(const struct graph *g, const struct node *n, struct affine *a) {
    double epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    for (int64_t c = 0; c < a->channels; c++) {
        double variance = tensor_get_f64(node_const(g, n, 4), c);
        a->factor[c] = tensor_get_f64(node_const(g, n, 1), c) / sqrt(variance + epsilon);
        a->addend[c] = tensor_get_f64(node_const(g, n, 2), c) -
                       tensor_get_f64(node_const(g, n, 3), c) * a->factor[c];
    }
    a->scales = a->adds = true;
}

static void read_constant(const struct graph *g, const struct node *n, int operand,
                          struct affine *a) {
    const struct tensor *t = node_const(g, n, operand);
    bool single = shape_count(&t->shape) == 1;
    for (int64_t c = 0; c < a->channels; c++) {
        double v = tensor_get_f64(t, single ? 0 : c);
        if (node_is(n, "Mul"))
            a->factor[c] = v;
        else if (node_is(n, "Div"))
            a->factor[c] = 1 / v;
        else
            a->addend[c] = node_is(n, "Sub") ? -v : v;
    }
    a->scales = node_is(n, "Mul") || node_is(n, "Div");
    a->adds = !a->scales;
}

enum cohort_code affine_read(const struct graph *g, const struct node *n, struct affine *a,
                             struct cohort_error *err) {
    const struct shape *s = &graph_value(g, n->out[0])->shape;
    enum cohort_code code = affine_init(a, s->dim[1], err);
    if (code != COHORT_OK)
        return code;
    int operand = folded_operand(g, n, s);
    if (operand < 0)
        read_batchnorm(g, n, a);
    else
        read_constant(g, n, operand, a);
    return COHORT_OK;
}

/* ---- forwards -------------------------------------------------------------------------------- */

/* Weights above this many elements are not written anew for factors that differ by channel. */
#define NEW_WEIGHTS_MAX ((int64_t)1 << 20)

static bool factors_alike(const struct affine *a) {
    for (int64_t c = 1; c < a->channels; c++)
        if (a->factor[c] != a->factor[0])
            return false;
    return true;
}

static bool has_pads(const struct node *n) {
    for (int i = 0; i < 2; i++)
        if (n->window.pad_begin[i] != 0 || n->window.pad_end[i] != 0)
            return true;
    return false;
}

/* Can Conv n take factors and addends of its input channels? */
static bool conv_takes(const struct graph *g, const struct node *n, int x, const struct affine *a) {
    const struct tensor *w = node_const(g, n, 1), *b = node_const(g, n, 2);
    if (!node_is(n, "Conv") || n->in[0] != x || w == NULL || w->data == NULL || w->type != DT_F32 ||
        n->epilogue.act != ACT_NONE || n->epilogue.residual >= 0 || !node_map_ok(g, n))
        return false;
    if (node_in(g, n, 2) != NULL && (b == NULL || b->data == NULL || b->type != DT_F32))
        return false;
    if (a->adds && has_pads(n))
        return false;
    return factors_alike(a) || shape_count(&w->shape) <= NEW_WEIGHTS_MAX;
}

/* bias += (scaled weights) * addend, as it was before the factors. */
static enum cohort_code move_addend(struct graph *g, int index, const struct affine *a,
                                    struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    const struct shape ws = node_in(g, n, 1)->shape;
    int64_t outs = ws.dim[0], per_group = ws.dim[1], taps = shape_product(&ws, 2, ws.rank);
    struct shape shape = {.rank = 1, .dim = {outs}};
    int id = -1;
    enum cohort_code code =
        new_constant_f32(g, graph_value(g, n->out[0])->name, ".bias", &shape, &id, err);
    if (code == COHORT_OK && n->in_count < 3)
        code = node_set_in_count(n, 3, err);
    if (code != COHORT_OK)
        return code;
    const struct tensor *w = node_const(g, n, 1), *b = node_const(g, n, 2);
    const struct tensor *scale =
        n->weight_scale >= 0 ? &graph_value(g, n->weight_scale)->constant : NULL;
    for (int64_t o = 0; o < outs; o++) {
        double sum = 0;
        int64_t first = o / (outs / n->group) * per_group; /* input channel */
        for (int64_t c = 0; c < per_group; c++)
            for (int64_t t = 0; t < taps; t++)
                sum += tensor_get_f64(w, (o * per_group + c) * taps + t) * a->addend[first + c];
        sum *= scale != NULL ? tensor_get_f64(scale, o) : 1;
        tensor_f32(&graph_value(g, id)->constant)[o] =
            (float)(sum + (b != NULL ? tensor_get_f64(b, o) : 0));
    }
    n->in[2] = id;
    return COHORT_OK;
}

static enum cohort_code move_factor(struct graph *g, int index, const struct affine *a,
                                    struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    const struct shape ws = node_in(g, n, 1)->shape;
    int64_t outs = ws.dim[0], per_group = ws.dim[1], taps = shape_product(&ws, 2, ws.rank);
    int id = -1;
    enum cohort_code code = COHORT_OK;
    if (factors_alike(a)) {
        struct shape shape = {.rank = 1, .dim = {outs}};
        code =
            new_constant_f32(g, graph_value(g, n->out[0])->name, ".weight_scale", &shape, &id, err);
        for (int64_t o = 0; code == COHORT_OK && o < outs; o++) {
            double old = n->weight_scale < 0
                             ? 1
                             : tensor_get_f64(&graph_value(g, n->weight_scale)->constant, o);
            tensor_f32(&graph_value(g, id)->constant)[o] = (float)(old * a->factor[0]);
        }
        n->weight_scale = code == COHORT_OK ? id : n->weight_scale;
        return code;
    }
    code = new_constant_f32(g, graph_value(g, n->in[1])->name, ".scaled", &ws, &id, err);
    if (code != COHORT_OK)
        return code;
    for (int64_t i = 0; i < shape_count(&ws); i++) {
        int64_t o = i / taps / per_group,
                c = o / (outs / n->group) * per_group + i / taps % per_group;
        tensor_f32(&graph_value(g, id)->constant)[i] =
            (float)(tensor_get_f64(node_const(g, n, 1), i) * a->factor[c]);
    }
    n->in[1] = id;
    return COHORT_OK;
}

static enum cohort_code fold_into_readers(struct graph *g, int index, int data,
                                          const struct affine *a, bool *done,
                                          struct cohort_error *err) {
    int y = g->nodes[index].out[0], x = g->nodes[index].in[data], readers = 0;
    for (int i = index + 1; i < g->node_count; i++)
        if (g->nodes[i].op != NULL && g->nodes[i].in_count > 0 && conv_takes(g, &g->nodes[i], y, a))
            readers++;
    if (readers == 0 || readers != graph_value(g, y)->uses)
        return COHORT_OK;
    for (int i = index + 1; i < g->node_count; i++) {
        if (g->nodes[i].op == NULL || g->nodes[i].in_count == 0 || g->nodes[i].in[0] != y)
            continue;
        enum cohort_code code = a->adds ? move_addend(g, i, a, err) : COHORT_OK;
        if (code == COHORT_OK && a->scales)
            code = move_factor(g, i, a, err);
        if (code != COHORT_OK)
            return code;
        g->nodes[i].in[0] = x;
    }
    graph_release_node(&g->nodes[index]);
    graph_relink(g);
    *done = true;
    return COHORT_OK;
}

/* ---- two in a row ---------------------------------------------------------------------------- */

/* y = (x f + a) g + b as one BatchNormalization of mean 0 and variance 1. */
static enum cohort_code become_batchnorm(struct graph *g, struct node *n, int x,
                                         const struct affine *first, const struct affine *second,
                                         struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = {.rank = 1, .dim = {second->channels}};
    int in[5] = {x};
    bool done = false;
    for (int k = 1; k < 5; k++) {
        TRY(new_constant_f32(g, graph_value(g, n->out[0])->name, ".affine", &shape, &in[k], err));
        float *to = tensor_f32(&graph_value(g, in[k])->constant);
        for (int64_t c = 0; c < second->channels; c++)
            to[c] = k == 1   ? (float)(first->factor[c] * second->factor[c])
                    : k == 2 ? (float)(first->addend[c] * second->factor[c] + second->addend[c])
                    : k == 3 ? 0.0f
                             : 1.0f;
    }
    TRY(node_become(g, n, "", "BatchNormalization", 15, in, 5, &done, err));
    if (done)
        TRY(node_set_float(n, "epsilon", 0.0f, err));
out:
    return code;
}

/* Only where it will run on maps: plain tensors lose their row-by-row form by it. */
static enum cohort_code merge_pair(struct graph *g, struct node *n, int data,
                                   const struct affine *second, struct cohort_error *err) {
    struct node *up = producer_named(g, n->in[data], NULL);
    int data_up = up != NULL ? affine_data_input(g, up) : -1;
    if (data_up < 0 || only_user(g, n->in[data]) < 0 ||
        op_find("", "BatchNormalization", 15) == NULL)
        return COHORT_OK;
    const struct node *maker = producer_named(g, up->in[data_up], NULL);
    if (maker == NULL || !node_map_ok(g, maker) || !node_map_ok(g, n))
        return COHORT_OK;
    struct affine first;
    enum cohort_code code = affine_read(g, up, &first, err);
    if (code != COHORT_OK)
        return code;
    code = become_batchnorm(g, n, up->in[data_up], &first, second, err);
    affine_release(&first);
    if (code == COHORT_OK) {
        graph_release_node(up);
        graph_relink(g);
    }
    return code;
}

enum cohort_code fold_affine_forward(struct graph *g, int index, struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    int data = affine_data_input(g, n);
    bool done = false;
    struct affine a;
    if (data < 0)
        return COHORT_OK;
    enum cohort_code code = affine_read(g, n, &a, err);
    if (code != COHORT_OK)
        return code;
    code = fold_into_readers(g, index, data, &a, &done, err);
    if (code == COHORT_OK && !done)
        code = merge_pair(g, n, data, &a, err);
    affine_release(&a);
    return code;
}
