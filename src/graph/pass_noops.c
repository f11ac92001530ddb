/* Removes nodes that change nothing, and merges chains of views and of transposes.
 *
 * A node that computes nothing is bypassed: its readers read its input.  Where its output is an
 * output of the network, the name must live on, so the node before it makes that value instead. */
#include "graph/pass_common.h"

#include <string.h>

/* A Dropout at inference; ratio and seed mean nothing then. */
static bool dropout_is_noop(const struct graph *g, const struct node *n) {
    const struct value *mask = node_out(g, n, 1);
    double training = 0;
    if (mask != NULL && mask->uses > 0)
        return false;
    if (node_in(g, n, 2) == NULL)
        return true;
    return const_scalar(g, n, 2, &training) && training == 0;
}

static bool pad_is_noop(const struct graph *g, const struct node *n) {
    int64_t pads[INTS_MAX];
    int count = 0;
    if (!const_ints(g, n, "pads", 1, pads, &count))
        return false;
    for (int i = 0; i < count; i++)
        if (pads[i] != 0)
            return false;
    return true;
}

/* The axis order of a Transpose of known rank; reversed when the attribute is absent. */
static bool transpose_order(const struct graph *g, const struct node *n, int64_t perm[INTS_MAX],
                            int *rank) {
    *rank = node_in(g, n, 0)->shape.rank;
    int count = 0;
    if (*rank < 0)
        return false;
    if (const_ints(g, n, "perm", -1, perm, &count))
        return count == *rank;
    for (int i = 0; i < *rank; i++)
        perm[i] = *rank - 1 - i;
    return true;
}

/* An axis order that leaves elements where they are: only axes of length 1 change places. */
static bool transpose_keeps_order(const struct graph *g, const struct node *n) {
    const struct shape *s = &node_in(g, n, 0)->shape;
    int64_t perm[INTS_MAX];
    int rank = 0;
    if (!shape_known(s) || !transpose_order(g, n, perm, &rank))
        return false;
    int64_t last = -1;
    for (int i = 0; i < rank; i++) {
        if (s->dim[perm[i]] == 1)
            continue;
        if (perm[i] < last)
            return false;
        last = perm[i];
    }
    return true;
}

static bool all_ones(const struct tensor *t) {
    int64_t count = t == NULL || t->data == NULL ? -1 : shape_count(&t->shape);
    for (int64_t i = 0; i < count; i++)
        if (tensor_get_f64(t, i) != 1)
            return false;
    return count > 0;
}

/* Resampling by exactly 1 in a coordinate mode that maps every pixel to itself. */
static bool resize_is_noop(const struct graph *g, const struct node *n) {
    static const char *const modes[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                                        "align_corners", "asymmetric"};
    if (!same_known_shape(g, n->in[0], n->out[0]))
        return false;
    if (node_is(n, "Upsample") || n->opset < 11) { /* asymmetric */
        int count = 0;
        const float *scales = node_attr_floats(n, "scales", &count);
        bool ones = scales == NULL ? all_ones(node_const(g, n, 1)) : true;
        for (int i = 0; i < count; i++)
            ones = ones && scales[i] == 1.0f;
        return ones;
    }
    const char *mode = node_attr_string(n, "coordinate_transformation_mode", "half_pixel");
    bool maps_to_itself = false;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        maps_to_itself = maps_to_itself || strcmp(mode, modes[i]) == 0;
    if (!maps_to_itself ||
        strcmp(node_attr_string(n, "keep_aspect_ratio_policy", "stretch"), "stretch") != 0)
        return false;
    if (node_in(g, n, 3) != NULL) /* sizes: equal to the input's, since the output's shape is */
        return true;
    return all_ones(node_const(g, n, 2));
}

/* Takes everything, forwards. */
static bool slice_is_noop(const struct graph *g, const struct node *n) {
    if (!same_known_shape(g, n->in[0], n->out[0]))
        return false;
    return node_in(g, n, 4) == NULL || all_ones(node_const(g, n, 4));
}

static bool is_pure_view(const struct node *n) {
    return node_is(n, "Reshape") || node_is(n, "Flatten") || node_is(n, "Squeeze") ||
           node_is(n, "Unsqueeze");
}

static bool is_noop(const struct graph *g, const struct node *n) {
    const struct value *in = node_in(g, n, 0), *out = node_out(g, n, 0);
    if (in == NULL || out == NULL || n->epilogue.act != ACT_NONE || n->epilogue.residual >= 0)
        return false;
    bool same = same_known_shape(g, n->in[0], n->out[0]);
    if (node_is(n, "Identity"))
        return true;
    if (node_is(n, "Dropout"))
        return dropout_is_noop(g, n);
    if (node_is(n, "Cast"))
        return in->type == out->type;
    if (node_is(n, "Pad"))
        return pad_is_noop(g, n);
    if (node_is(n, "Transpose"))
        return same && transpose_keeps_order(g, n);
    if (node_is(n, "Resize") || node_is(n, "Upsample"))
        return resize_is_noop(g, n);
    if (node_is(n, "Slice"))
        return slice_is_noop(g, n);
    if (node_is(n, "Concat") || node_is(n, "Sum") || node_is(n, "Max") || node_is(n, "Min") ||
        node_is(n, "Mean"))
        return n->in_count == 1;
    if (node_is(n, "Split"))
        return n->out_count == 1 && same;
    return (is_pure_view(n) || node_is(n, "Expand")) && same;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* n becomes a Reshape of value x to n's own, known shape. */
static enum cohort_code become_reshape(struct graph *g, struct node *n, int x, bool *changed,
                                       struct cohort_error *err) {
    const struct shape s = graph_value(g, n->out[0])->shape;
    int in[2] = {x, -1};
    bool done = false;
    enum cohort_code code =
        new_constant_i64(g, graph_value(g, n->out[0])->name, ".shape", s.dim, s.rank, &in[1], err);
    if (code == COHORT_OK)
        code = node_become(g, n, "", "Reshape", 13, in, 2, &done, err);
    *changed = *changed || done;
    return code;
}

/* A view of a view: one Reshape of the first's input to the final shape.  A Transpose that moves
 * nothing but axes of length 1 is a view, too. */
static enum cohort_code merge_views(struct graph *g, struct node *n, bool *changed,
                                    struct cohort_error *err) {
    const struct shape *s = &graph_value(g, n->out[0])->shape;
    if (!shape_known(s) || shape_count(s) <= 0 || n->in_count < 1 || n->in[0] < 0)
        return COHORT_OK;
    if (node_is(n, "Transpose") && !same_known_shape(g, n->in[0], n->out[0]) &&
        transpose_keeps_order(g, n))
        return become_reshape(g, n, n->in[0], changed, err);
    const struct node *first = is_pure_view(n) ? producer_named(g, n->in[0], NULL) : NULL;
    if (first == NULL || !is_pure_view(first) || only_user(g, n->in[0]) < 0)
        return COHORT_OK;
    return become_reshape(g, n, first->in[0], changed, err);
}

/* An elementwise function of input 0 whose other inputs are single constants: where an element lies
 * does not matter to it. */
static bool works_on_each(const struct graph *g, const struct node *n) {
    double value = 0;
    for (int i = 1; i < n->in_count; i++)
        if (n->in[i] >= 0 && !const_scalar(g, n, i, &value))
            return false;
    return (n->op->flags & OP_UNARY) && n->out_count == 1;
}

/* Transpose, then elementwise functions of it alone, then a Transpose: the second is composed into
 * the first (and goes as a no-op when nothing is left), since elementwise work does not care. */
static enum cohort_code merge_transposes(struct graph *g, struct node *n, bool *changed,
                                         struct cohort_error *err) {
    int64_t second[INTS_MAX], first[INTS_MAX], both[INTS_MAX];
    int rank = 0, rank_first = 0;
    if (!node_is(n, "Transpose") || !transpose_order(g, n, second, &rank))
        return COHORT_OK;
    struct node *up = n, *maker = producer_named(g, n->in[0], NULL);
    while (maker != NULL && only_user(g, up->in[0]) >= 0 && works_on_each(g, maker)) {
        up = maker;
        maker = producer_named(g, up->in[0], NULL);
    }
    if (maker == NULL || !node_is(maker, "Transpose") || only_user(g, up->in[0]) < 0 ||
        !transpose_order(g, maker, first, &rank_first) || rank != rank_first)
        return COHORT_OK;
    for (int i = 0; i < rank; i++)
        both[i] = first[second[i]];
    if (up == n) { /* adjacent */
        enum cohort_code code = node_set_ints(n, "perm", both, rank, err);
        if (code != COHORT_OK)
            return code;
        n->in[0] = maker->in[0];
        graph_relink(g);
        *changed = true;
        return COHORT_OK;
    }
    for (int i = 0; i < rank; i++)
        if (both[i] != i)
            return COHORT_OK; /* work would only move */
    /* The chain works on the untransposed value; shapes of its values follow. */
    const struct shape inner = graph_value(g, maker->in[0])->shape;
    up->in[0] = maker->in[0];
    for (const struct node *m = producer_named(g, n->in[0], NULL); m != NULL;
         m = m == up ? NULL : producer_named(g, m->in[0], NULL))
        graph_value(g, m->out[0])->shape = inner;
    graph_relink(g);
    if (forward_value(g, n->out[0], n->in[0])) {
        graph_release_node(n);
        graph_relink(g);
    } else { /* cannot happen: the chain's last value has a maker and no other use */
        return error_set(err, COHORT_ERR_INTERNAL, "a transpose could not be cancelled");
    }
    *changed = true;
    return COHORT_OK;
}

/* Takes the no-op out; one that must stay (between an input and an output of the network) becomes
 * an Identity. */
static enum cohort_code bypass(struct graph *g, struct node *n, bool *changed,
                               struct cohort_error *err) {
    bool done = false;
    int in = n->in[0];
    if (forward_value(g, n->out[0], in)) {
        graph_release_node(n);
        graph_relink(g);
        *changed = true;
    } else if (!node_is(n, "Identity") && n->out_count == 1) {
        return node_become(g, n, "", "Identity", 13, &in, 1, &done, err);
    }
    return COHORT_OK;
}

enum cohort_code pass_remove_noops(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool changed = true;
    graph_relink(g);
    while (changed && code == COHORT_OK) {
        changed = false;
        for (int i = 0; i < g->node_count && code == COHORT_OK; i++) {
            struct node *n = &g->nodes[i];
            if (n->op == NULL || n->out_count < 1 || n->out[0] < 0)
                continue;
            code = merge_views(g, n, &changed, err);
            if (code == COHORT_OK)
                code = merge_transposes(g, n, &changed, err);
            if (code == COHORT_OK && n->op != NULL && is_noop(g, n))
                code = bypass(g, n, &changed, err);
        }
        graph_compact(g);
        if (changed && code == COHORT_OK) /* so that what was bypassed does not count as a reader */
            code = pass_remove_dead(g, err);
    }
    return code;
}
