/* Slice: every step-th element of a range, along any axes.
 *
 * Attributes starts, ends, axes (opset 1 to 9), or inputs starts, ends, axes, steps (10 and up).
 * Out-of-range starts and ends are clamped; a negative step walks backwards. */
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

enum { IN_X, IN_STARTS, IN_ENDS, IN_AXES, IN_STEPS, IN_COUNT };

/* The four lists; a count of -1: not known. */
struct lists {
    int64_t start[RANK_MAX], end[RANK_MAX], step[RANK_MAX];
    int starts, ends, steps;
    bool has_steps;
    struct axes axes;
    int64_t axis_count; /* how many axes are sliced; -1: not known */
};

static enum cohort_code read_attribute(const struct node *n, const char *name, int64_t *values,
                                       int *count, struct cohort_error *err) {
    const int64_t *ints = node_attr_ints(n, name, count);
    if (ints == NULL || *count > RANK_MAX)
        return error_set(err, COHORT_ERR_SHAPE, "%s is missing or has more than %d elements", name,
                         RANK_MAX);
    for (int i = 0; i < *count; i++)
        values[i] = ints[i];
    return COHORT_OK;
}

static enum cohort_code read_input(const struct node *n, const struct tensor *const in[], int i,
                                   const char *name, int64_t *values, int *count,
                                   struct cohort_error *err) {
    const struct tensor *t = op_in(n, in, i);
    if (t == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "input %s is missing", name);
    return op_ints(t, name, values, RANK_MAX, count, err);
}

static enum cohort_code read_lists(const struct node *n, const struct tensor *const in[], int rank,
                                   struct lists *l, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool attributes = n->opset < 10;
    *l = (struct lists){.axis_count = -1};
    if (attributes) {
        TRY(read_attribute(n, "starts", l->start, &l->starts, err));
        TRY(read_attribute(n, "ends", l->end, &l->ends, err));
    } else {
        TRY(read_input(n, in, IN_STARTS, "starts", l->start, &l->starts, err));
        TRY(read_input(n, in, IN_ENDS, "ends", l->end, &l->ends, err));
        l->has_steps = op_in(n, in, IN_STEPS) != NULL;
        if (l->has_steps)
            TRY(read_input(n, in, IN_STEPS, "steps", l->step, &l->steps, err));
    }
    TRY(op_axes(n, in, attributes ? -1 : IN_AXES, rank, &l->axes, err));
    l->axis_count = l->starts >= 0 ? l->starts : l->ends;
    if (l->axis_count < 0 && !attributes) {
        l->axis_count = op_list_length(op_in(n, in, IN_STARTS));
        if (l->axis_count < 0)
            l->axis_count = op_list_length(op_in(n, in, IN_ENDS));
    }
    if (l->axis_count < 0 && l->axes.given && l->axes.known)
        l->axis_count = l->axes.count;
    if (!l->axes.given && l->axis_count > rank)
        return error_set(err, COHORT_ERR_SHAPE, "%lld starts for rank %d", (long long)l->axis_count,
                         rank);
    bool fits =
        (l->starts < 0 || l->starts == l->axis_count) &&
        (l->ends < 0 || l->ends == l->axis_count) &&
        (!l->has_steps || l->steps < 0 || l->steps == l->axis_count) &&
        (!l->axes.given || !l->axes.known || l->axis_count < 0 || l->axes.count == l->axis_count);
    if (!fits)
        return error_set(err, COHORT_ERR_SHAPE, "starts, ends, axes and steps differ in length");
out:
    return code;
}

static int64_t clamped(int64_t v, int64_t dim, int64_t low, int64_t high) {
    if (v < 0)
        v += dim;
    return v < low ? low : v > high ? high : v;
}

/* One axis of size dim: the first element taken and how many. */
static enum cohort_code slice_axis(int64_t dim, int64_t start, int64_t end, int64_t step,
                                   int64_t *first, int64_t *count, struct cohort_error *err) {
    if (step == 0)
        return error_set(err, COHORT_ERR_SHAPE, "a step of 0");
    if (step == INT64_MIN)
        step = -INT64_MAX;
    *first = *count = 0;
    if (dim == 0)
        return COHORT_OK;
    int64_t from, to;
    if (step > 0) {
        from = clamped(start, dim, 0, dim);
        to = clamped(end, dim, 0, dim);
        *count = to > from ? (to - from - 1) / step + 1 : 0;
    } else {
        from = clamped(start, dim, 0, dim - 1);
        to = clamped(end, dim, -1, dim - 1);
        *count = from > to ? (from - to - 1) / -step + 1 : 0;
    }
    *first = *count > 0 ? from : 0;
    return COHORT_OK;
}

/* Everything for an input of known rank; counts are -1 where they depend on what is not known. */
static enum cohort_code slice_ranges(const struct node *n, const struct tensor *const in[],
                                     struct slice_params *p, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *x = &in[IN_X]->shape;
    struct lists l;
    *p = (struct slice_params){.rank = x->rank};
    TRY(read_lists(n, in, x->rank, &l, err));
    bool which = l.axes.given ? l.axes.known : l.axis_count >= 0; /* which axes are sliced? */
    bool values = l.starts >= 0 && l.ends >= 0 && (!l.has_steps || l.steps >= 0);
    for (int k = 0; k < x->rank; k++) {
        p->step[k] = 1;
        p->count[k] = which ? x->dim[k] : -1;
    }
    for (int i = 0; which && i < l.axis_count; i++) {
        int k = l.axes.given ? l.axes.axis[i] : i;
        p->count[k] = -1;
        if (!values || x->dim[k] < 0)
            continue;
        p->step[k] = l.has_steps ? l.step[i] : 1;
        TRY(slice_axis(x->dim[k], l.start[i], l.end[i], p->step[k], &p->start[k], &p->count[k],
                       err));
    }
out:
    return code;
}

static enum cohort_code slice_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct slice_params p;
    struct shape y = shape_unknown(-1);
    TRY(op_need(n, in, IN_X, TYPES_ANY, err));
    if (in[IN_X]->shape.rank >= 0) {
        TRY(slice_ranges(n, in, &p, err));
        y = shape_of(p.rank, p.count);
    }
    op_out(n, out, 0, in[IN_X]->type, &y);
out:
    return code;
}

static enum cohort_code slice_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    struct slice_params p;
    int64_t from[RANK_MAX], to[RANK_MAX], offset = 0;
    size_t size = dtype_bytes(out[0]->type);
    enum cohort_code code = slice_ranges(n, in, &p, err);
    if (code != COHORT_OK || shape_count(&out[0]->shape) == 0)
        return code;
    op_strides(&in[IN_X]->shape, from);
    op_strides(&out[0]->shape, to);
    for (int k = 0; k < p.rank; k++) {
        offset += p.start[k] * from[k];
        from[k] = p.count[k] > 1 ? from[k] * p.step[k] : 0; /* a lone element's step may be huge */
    }
    op_copy(out[0]->data, to, (const unsigned char *)in[IN_X]->data + (size_t)offset * size, from,
            p.rank, p.count, size);
    return COHORT_OK;
}

enum cohort_code slice_params(const struct graph *g, const struct node *n, struct slice_params *p,
                              struct cohort_error *err) {
    struct tensor held[IN_COUNT];
    const struct tensor *in[IN_COUNT];
    params_inputs(g, n, held, in, IN_COUNT);
    return slice_ranges(n, in, p, err);
}

/* Either channels are picked, or rows and columns with steps forwards; images never. */
static bool slice_map_ok(const struct graph *g, const struct node *n) {
    struct slice_params p;
    if (!map_unary_ok(g, n) || slice_params(g, n, &p, NULL) != COHORT_OK)
        return false;
    const struct shape *x = &graph_value(g, n->in[0])->shape;
    bool channels = p.count[1] != x->dim[1] || p.step[1] != 1, space = false;
    for (int k = 0; k < p.rank; k++)
        if (p.count[k] < 1)
            return false;
    for (int k = 2; k < p.rank; k++) {
        space = space || p.count[k] != x->dim[k] || p.step[k] != 1;
        if (p.step[k] < 1)
            return false;
    }
    return p.count[0] == x->dim[0] && p.step[0] == 1 && !(channels && space);
}

static void slice_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    struct slice_params p;
    if (i != IN_X || !rows_of_maps(g, n, i) || slice_params(g, n, &p, NULL) != COHORT_OK ||
        p.step[2] < 1)
        return;
    map->kind = ROWMAP_AFFINE;
    map->num = p.count[2] > 1 ? p.step[2] : 1;
    map->den = 1;
    map->lo = map->hi = p.start[2];
}

const struct op_desc op_slice = {
    .name = "Slice",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = IN_COUNT,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = slice_infer,
    .eval = slice_eval,
    .map_ok = slice_map_ok,
    .rows = slice_rows,
};
