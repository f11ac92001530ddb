/* Concat: inputs one after another along an axis; all other dims are equal.
 *
 * Any number of inputs of one type and rank.  Opset 4 and up (11: negative axes). */
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

/* Adds one input's shape to the sum; dims that one of them knows become known. */
static enum cohort_code join(struct shape *sum, const struct shape *s, int axis, int i,
                             struct cohort_error *err) {
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    for (int k = 0; k < sum->rank; k++) {
        if (k == axis) {
            bool known = sum->dim[k] >= 0 && s->dim[k] >= 0;
            if (known && s->dim[k] > INT64_MAX - sum->dim[k])
                return error_set(err, COHORT_ERR_SHAPE, "axis %d becomes too large", axis);
            sum->dim[k] = known ? sum->dim[k] + s->dim[k] : -1;
        } else if (sum->dim[k] < 0) {
            sum->dim[k] = s->dim[k];
        } else if (s->dim[k] >= 0 && s->dim[k] != sum->dim[k]) {
            return error_set(err, COHORT_ERR_SHAPE,
                             "input %d of shape %s does not fit behind %s along axis %d", i,
                             shape_text(s, b, sizeof b), shape_text(sum, a, sizeof a), axis);
        }
    }
    return COHORT_OK;
}

static enum cohort_code concat_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int axis = 0, rank = -1;
    struct shape y = shape_unknown(-1);
    bool all_known = true;
    for (int i = 0; i < n->in_count; i++) {
        TRY(op_need(n, in, i, TYPES_ANY, err));
        TRY(op_need_same(n, in, i, err));
        int r = in[i]->shape.rank;
        all_known = all_known && r >= 0;
        if (r >= 0 && rank >= 0 && r != rank)
            return error_set(err, COHORT_ERR_SHAPE, "input %d has rank %d, others have %d", i, r,
                             rank);
        rank = r >= 0 ? r : rank;
    }
    if (node_attr(n, "axis") == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "axis is missing");
    if (rank >= 0) {
        TRY(op_axis(node_attr_int(n, "axis", 0), rank, &axis, err));
        y = shape_unknown(rank);
        y.dim[axis] = 0;
        for (int i = 0; i < n->in_count; i++)
            if (in[i]->shape.rank >= 0)
                TRY(join(&y, &in[i]->shape, axis, i, err));
        if (!all_known)
            y.dim[axis] = -1;
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

static enum cohort_code concat_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    int64_t to[RANK_MAX], from[RANK_MAX], at = 0;
    int axis = 0;
    const struct shape *y = &out[0]->shape;
    size_t size = dtype_bytes(out[0]->type);
    enum cohort_code code = op_axis(node_attr_int(n, "axis", 0), y->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    op_strides(y, to);
    for (int i = 0; i < n->in_count; i++) {
        op_strides(&in[i]->shape, from);
        op_copy((unsigned char *)out[0]->data + (size_t)(at * to[axis]) * size, to, in[i]->data,
                from, y->rank, in[i]->shape.dim, size);
        at += in[i]->shape.dim[axis];
    }
    return COHORT_OK;
}

int concat_axis(const struct graph *g, const struct node *n) {
    int axis = 0;
    shape_axis(node_attr_int(n, "axis", 0), node_out(g, n, 0)->shape.rank, &axis);
    return axis;
}

int64_t concat_offset(const struct graph *g, const struct node *n, int i) {
    int axis = concat_axis(g, n);
    int64_t at = 0;
    for (int k = 0; k < i; k++)
        at += node_in(g, n, k)->shape.dim[axis];
    return at;
}

static bool concat_map_ok(const struct graph *g, const struct node *n) {
    if (!map_value(g, n->out[0]) || concat_axis(g, n) != 1)
        return false;
    for (int i = 0; i < n->in_count; i++)
        if (!map_value(g, n->in[i]) || graph_value(g, n->in[i])->is_constant)
            return false;
    return true;
}

static void concat_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    if (rows_of_maps(g, n, i))
        rows_same(g, n, i, map);
}

const struct op_desc op_concat = {
    .name = "Concat",
    .domain = "",
    .since = 4,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = OP_ANY_INPUTS,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = concat_infer,
    .eval = concat_eval,
    .map_ok = concat_map_ok,
    .rows = concat_rows,
};
