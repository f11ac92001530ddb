/* LayerNormalization written out:
 *     d = x - mean(x);  y = d / sqrt(mean(d^2) + epsilon)  [* scale]  [+ bias]
 * over the last k axes, as exporters before opset 17 have it. */
#include "graph/pass_recognise.h"

#include <string.h>

/* Is n the mean over the last k axes of its input, kept as axes of length 1?  Then k, else 0. */
static int trailing_mean(const struct graph *g, const struct node *n) {
    int64_t axes[INTS_MAX];
    int count = 0,
        rank = n == NULL || !node_is(n, "ReduceMean") ? -1 : node_in(g, n, 0)->shape.rank;
    if (rank < 1 || node_attr_int(n, "keepdims", 1) != 1 ||
        !const_ints(g, n, "axes", 1, axes, &count) || count < 1 || count > rank)
        return 0;
    bool has[RANK_MAX] = {false};
    for (int i = 0; i < count; i++) {
        int axis = 0;
        if (!shape_axis(axes[i], rank, &axis) || has[axis])
            return 0;
        has[axis] = true;
    }
    for (int i = rank - count; i < rank; i++)
        if (!has[i])
            return 0;
    return count;
}

/* Is value `id` x minus its mean over the last axes?  *x and *k say of what; they must agree with
 * what is there when *x >= 0 already. */
static bool is_centred(const struct graph *g, int id, int *x, int *k) {
    const struct node *sub = producer_named(g, id, "Sub");
    if (sub == NULL || (*x >= 0 && sub->in[0] != *x))
        return false;
    const struct node *mean = producer_named(g, sub->in[1], "ReduceMean");
    int axes = trailing_mean(g, mean);
    if (axes == 0 || mean->in[0] != sub->in[0] || (*k > 0 && axes != *k))
        return false;
    *x = sub->in[0];
    *k = axes;
    return true;
}

/* Is value `id` the square of a centred x? */
static bool is_square_of_centred(const struct graph *g, int id, int *x, int *k) {
    const struct node *n = producer_named(g, id, NULL);
    double power = 0;
    if (n == NULL || n->in_count != 2)
        return false;
    if (node_is(n, "Mul"))
        return n->in[0] == n->in[1] && is_centred(g, n->in[0], x, k);
    return node_is(n, "Pow") && const_scalar(g, n, 1, &power) && power == 2 &&
           is_centred(g, n->in[0], x, k);
}

/* Is value `id` sqrt(mean(d^2) + epsilon)? */
static bool is_deviation(const struct graph *g, int id, int *x, int *k, double *epsilon) {
    const struct node *root = producer_named(g, id, "Sqrt");
    const struct node *add = root == NULL ? NULL : producer_named(g, root->in[0], "Add");
    int c = add == NULL ? -1 : const_operand(g, add, epsilon);
    if (c < 0)
        return false;
    const struct node *mean = producer_named(g, add->in[1 - c], "ReduceMean");
    int axes = trailing_mean(g, mean);
    return axes > 0 && axes == *k && is_square_of_centred(g, mean->in[0], x, k);
}

/* A value as a dense vector over the last k dims of `shape`; *id is a new constant.  *fits is false
 * when it is not such a constant (or a single number). */
static enum cohort_code vector_over(struct graph *g, const struct node *n, int i,
                                    const struct shape *shape, int k, const char *suffix, int *id,
                                    bool *fits, struct cohort_error *err) {
    const struct tensor *t = node_const(g, n, i);
    struct shape dims = {.rank = k};
    for (int a = 0; a < k; a++)
        dims.dim[a] = shape->dim[shape->rank - k + a];
    int64_t count = shape_count(&dims), given = t == NULL ? -1 : shape_count(&t->shape);
    *fits = t != NULL && t->data != NULL && t->type == DT_F32 && (given == 1 || given == count) &&
            t->shape.rank <= shape->rank;
    for (int a = 1; *fits && given != 1 && a <= t->shape.rank; a++) {
        int64_t want = a <= k ? dims.dim[k - a] : 1;
        *fits = t->shape.dim[t->shape.rank - a] == want;
    }
    if (!*fits)
        return COHORT_OK;
    enum cohort_code code =
        new_constant_f32(g, graph_value(g, n->out[0])->name, suffix, &dims, id, err);
    if (code != COHORT_OK)
        return code;
    t = node_const(g, n, i); /* values may have moved */
    for (int64_t e = 0; e < count; e++)
        tensor_load_f32(t, given == 1 ? 0 : e, 1, tensor_f32(&graph_value(g, *id)->constant) + e);
    return COHORT_OK;
}

struct layer_norm {
    int x, k;
    double epsilon;
    struct shape shape;
    const struct node *divide, *scale, *bias; /* bias or scale may be NULL */
    int scale_operand, bias_operand;
};

/* The node that is a constant (operand *k) and value `*id`, which becomes its other operand. */
static const struct node *peel(const struct graph *g, int *id, const char *name, int *k) {
    const struct node *n = producer_named(g, *id, name);
    if (n == NULL || n->in_count != 2)
        return NULL;
    *k = node_const(g, n, 0) != NULL ? 0 : node_const(g, n, 1) != NULL ? 1 : -1;
    if (*k < 0)
        return NULL;
    *id = n->in[1 - *k];
    return n;
}

static bool match(const struct graph *g, const struct node *last, struct layer_norm *m) {
    int id = last->out[0];
    *m = (struct layer_norm){.x = -1};
    m->bias = peel(g, &id, "Add", &m->bias_operand);
    m->scale = peel(g, &id, "Mul", &m->scale_operand);
    m->divide = producer_named(g, id, "Div");
    if (m->divide == NULL || m->divide->in_count != 2 ||
        !is_centred(g, m->divide->in[0], &m->x, &m->k) ||
        !is_deviation(g, m->divide->in[1], &m->x, &m->k, &m->epsilon))
        return false;
    m->shape = graph_value(g, m->x)->shape;
    return value_is_f32(g, m->x) && same_known_shape(g, m->x, last->out[0]) &&
           shape_count(&m->shape) > 0 && m->epsilon >= 0;
}

/* Scale and bias as they stand in the pattern; a scale of ones where there is none. */
static enum cohort_code make_inputs(struct graph *g, const struct layer_norm *m, int in[3],
                                    bool *fits, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    in[0] = m->x;
    in[1] = in[2] = -1;
    *fits = true;
    if (m->scale != NULL) {
        TRY(vector_over(g, m->scale, m->scale_operand, &m->shape, m->k, ".scale", &in[1], fits,
                        err));
    } else {
        struct shape dims = {.rank = m->k};
        for (int a = 0; a < m->k; a++)
            dims.dim[a] = m->shape.dim[m->shape.rank - m->k + a];
        TRY(new_constant_f32(g, graph_value(g, m->divide->out[0])->name, ".scale", &dims, &in[1],
                             err));
        for (int64_t i = 0; i < shape_count(&dims); i++)
            tensor_f32(&graph_value(g, in[1])->constant)[i] = 1;
    }
    if (*fits && m->bias != NULL)
        TRY(vector_over(g, m->bias, m->bias_operand, &m->shape, m->k, ".bias", &in[2], fits, err));
out:
    return code;
}

enum cohort_code recognise_layer_norm(struct graph *g, struct node *n, bool *done,
                                      struct cohort_error *err) {
    struct layer_norm m;
    int in[3];
    bool fits = false;
    if ((!node_is(n, "Div") && !node_is(n, "Mul") && !node_is(n, "Add")) ||
        op_find("", "LayerNormalization", 17) == NULL || !match(g, n, &m))
        return COHORT_OK;
    enum cohort_code code = make_inputs(g, &m, in, &fits, err);
    if (code != COHORT_OK || !fits)
        return code;
    code = node_become(g, n, "", "LayerNormalization", 17, in, in[2] >= 0 ? 3 : 2, done, err);
    if (code == COHORT_OK && *done)
        code = node_set_float(n, "epsilon", (float)m.epsilon, err);
    if (code == COHORT_OK && *done)
        code = node_set_int(n, "axis", -m.k, err);
    return code;
}
