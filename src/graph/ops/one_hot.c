/* OneHot: a new axis of `depth` elements, all values[0] but for values[1] at the index.  An index
 * outside [-depth, depth) sets none.  EyeLike: a matrix with ones on the k-th diagonal. */
#include "graph/ops/ops_common.h"

#include <string.h>

/* ---- OneHot ---------------------------------------------------------------------------------- */

static enum cohort_code one_hot_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(-1);
    const struct shape *x = &in[0]->shape;
    int64_t depth = -1;
    int axis;
    TRY(op_need(n, in, 0, TYPES_NUMBER, err));
    TRY(op_need(n, in, 1, TYPES_NUMBER, err));
    TRY(op_need(n, in, 2, TYPES_ANY, err));
    if (shape_known(&in[1]->shape) && shape_count(&in[1]->shape) != 1)
        return error_set(err, COHORT_ERR_SHAPE, "depth must be one number");
    if (shape_known(&in[2]->shape) && (in[2]->shape.rank != 1 || in[2]->shape.dim[0] != 2))
        return error_set(err, COHORT_ERR_SHAPE, "values must be two, for off and on");
    if (in[1]->data != NULL) {
        depth = dtype_is_float(in[1]->type) ? op_f64_to_i64(tensor_get_f64(in[1], 0))
                                            : tensor_get_i64(in[1], 0);
        if (depth < 1)
            return error_set(err, COHORT_ERR_SHAPE, "depth is %lld", (long long)depth);
    }
    if (x->rank == RANK_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "indices of rank %d", x->rank);
    if (x->rank >= 0) {
        TRY(op_axis(node_attr_int(n, "axis", -1), x->rank + 1, &axis, err));
        shape.rank = x->rank + 1;
        for (int i = 0; i < shape.rank; i++)
            shape.dim[i] = i == axis ? depth : x->dim[i - (i > axis)];
    }
    op_out(n, out, 0, in[2]->type, &shape);
out:
    return code;
}

static enum cohort_code one_hot_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    int axis;
    const struct shape *s = &out[0]->shape;
    enum cohort_code code = op_axis(node_attr_int(n, "axis", -1), s->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    int64_t inner = shape_product(s, axis + 1, s->rank), depth = s->dim[axis];
    int64_t indices = shape_count(&in[0]->shape);
    size_t size = dtype_bytes(in[2]->type);
    op_fill(out[0]->data, in[2]->data, size, shape_count(s));
    for (int64_t i = 0; i < indices; i++) {
        union op_chunk index;
        op_load(CLASS_I64, in[0], i, 1, 1, &index);
        int64_t at = index.i[0] < 0 ? index.i[0] + depth : index.i[0];
        if (at >= 0 && at < depth)
            memcpy(op_at(out[0], (i / inner * depth + at) * inner + i % inner), op_at(in[2], 1),
                   size);
    }
    return COHORT_OK;
}

const struct op_desc op_one_hot = {
    .name = "OneHot",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = one_hot_infer,
    .eval = one_hot_eval,
};

/* ---- EyeLike --------------------------------------------------------------------------------- */

static enum cohort_code eye_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t type = node_attr_int(n, "dtype", in[0]->type);
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (type < 0 || type > 31 || (TYPES_ANY & TYPE_BIT(type)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "dtype is %lld", (long long)type);
    if (in[0]->shape.rank >= 0 && in[0]->shape.rank != 2)
        return error_set(err, COHORT_ERR_SHAPE, "rank %d; a matrix is needed", in[0]->shape.rank);
    op_out(n, out, 0, (enum dtype)type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code eye_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    (void)in;
    (void)err;
    int64_t height = out[0]->shape.dim[0], width = out[0]->shape.dim[1];
    int64_t k = node_attr_int(n, "k", 0);
    if (tensor_bytes(out[0]) > 0)
        memset(out[0]->data, 0, tensor_bytes(out[0]));
    if (k <= -height || k >= width) /* outside; and so that y + k cannot overflow */
        return COHORT_OK;
    for (int64_t y = 0; y < height; y++)
        if (y + k >= 0 && y + k < width)
            tensor_set_i64(out[0], y * width + y + k, 1);
    return COHORT_OK;
}

const struct op_desc op_eye_like = {
    .name = "EyeLike",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = eye_infer,
    .eval = eye_eval,
};
