/* Operators that give the same data another shape: Reshape, Flatten, Squeeze, Unsqueeze. */
#include "graph/ops/ops_common.h"

/* ---- Reshape --------------------------------------------------------------------------------- */

static enum cohort_code does_not_fit(const struct shape *from, const struct shape *to,
                                     struct cohort_error *err) {
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    return error_set(err, COHORT_ERR_SHAPE, "%s cannot be reshaped to %s",
                     shape_text(from, a, sizeof a), shape_text(to, b, sizeof b));
}

/* Resolves 0 ("as in the input", unless allowzero) and -1 ("what is left") in dims. */
static enum cohort_code reshape_dims(const struct shape *from, const int64_t *dims, int count,
                                     bool allowzero, struct shape *to, struct cohort_error *err) {
    int open = -1;
    bool zero = false;
    *to = shape_of(count, dims);
    for (int i = 0; i < count; i++) {
        if (dims[i] < -1)
            return error_set(err, COHORT_ERR_SHAPE, "dimension %d of the shape is %lld", i,
                             (long long)dims[i]);
        if (dims[i] == -1 && open >= 0)
            return error_set(err, COHORT_ERR_SHAPE, "more than one dimension of the shape is -1");
        if (dims[i] == -1)
            open = i;
        zero = zero || dims[i] == 0;
        if (dims[i] == 0 && !allowzero) {
            if (from->rank >= 0 && i >= from->rank)
                return error_set(err, COHORT_ERR_SHAPE,
                                 "dimension %d of the shape is 0, but the input has rank %d", i,
                                 from->rank);
            to->dim[i] = from->rank < 0 ? -1 : from->dim[i];
        }
    }
    if (allowzero && zero && open >= 0)
        return error_set(err, COHORT_ERR_SHAPE, "a shape with 0 and -1 (allowzero) has no answer");
    int64_t total = shape_count(from);
    if (total < 0)
        return COHORT_OK;
    if (open >= 0) {
        to->dim[open] = 1;
        int64_t rest = shape_count(to);
        if (rest <= 0 || total % rest != 0) {
            to->dim[open] = -1;
            return does_not_fit(from, to, err);
        }
        to->dim[open] = total / rest;
    }
    return shape_count(to) == total ? COHORT_OK : does_not_fit(from, to, err);
}

static enum cohort_code reshape_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t dims[RANK_MAX];
    int count;
    struct shape shape;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    TRY(op_ints(in[1], "the shape", dims, RANK_MAX, &count, err));
    if (count < 0)
        shape = shape_unknown((int)op_list_length(in[1]));
    else
        TRY(reshape_dims(&in[0]->shape, dims, count, node_attr_int(n, "allowzero", 0) != 0, &shape,
                         err));
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* ---- Flatten --------------------------------------------------------------------------------- */

static enum cohort_code flatten_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(2);
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    int rank = in[0]->shape.rank;
    if (rank >= 0) {
        int64_t axis = node_attr_int(n, "axis", 1);
        if (axis < -rank || axis > rank)
            return error_set(err, COHORT_ERR_SHAPE, "axis %lld is not within [%d, %d]",
                             (long long)axis, -rank, rank);
        int at = (int)(axis < 0 ? axis + rank : axis);
        shape.dim[0] = shape_product(&in[0]->shape, 0, at);
        shape.dim[1] = shape_product(&in[0]->shape, at, rank);
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* ---- Squeeze and Unsqueeze ------------------------------------------------------------------- */

static enum cohort_code squeeze_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct axes axes;
    const struct shape *from = &in[0]->shape;
    struct shape shape = {.rank = 0};
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (from->rank < 0) {
        shape = shape_unknown(-1);
    } else {
        TRY(op_axes(n, in, 1, from->rank, &axes, err));
        if (!axes.known) {
            int64_t length = op_list_length(in[1]);
            shape =
                shape_unknown(length >= 0 && length <= from->rank ? from->rank - (int)length : -1);
        } else if (!axes.given && !shape_known(from)) {
            shape = shape_unknown(-1); /* which dims are 1 decides the rank */
        } else {
            for (int i = 0; i < from->rank; i++) {
                bool drop = axes.given ? axes.has[i] : from->dim[i] == 1;
                if (drop && from->dim[i] != 1 && from->dim[i] >= 0)
                    return error_set(err, COHORT_ERR_SHAPE,
                                     "dimension %d is %lld and cannot be squeezed out", i,
                                     (long long)from->dim[i]);
                if (!drop)
                    shape.dim[shape.rank++] = from->dim[i];
            }
        }
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code unsqueeze_infer(struct node *n, const struct tensor *const in[],
                                        struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct axes axes;
    const struct shape *from = &in[0]->shape;
    struct shape shape = shape_unknown(-1);
    int count = 0;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    const struct tensor *list = op_in(n, in, 1);
    int64_t added = list != NULL ? op_list_length(list) : -1;
    if (list == NULL) {
        if (node_attr(n, "axes") == NULL)
            return error_set(err, COHORT_ERR_SHAPE, "the axes are missing");
        node_attr_ints(n, "axes", &count);
        added = count;
    }
    if (from->rank >= 0 && added >= 0) {
        if (added > RANK_MAX - from->rank)
            return error_set(err, COHORT_ERR_UNSUPPORTED, "rank %lld; at most %d is possible",
                             (long long)(from->rank + added), RANK_MAX);
        shape = shape_unknown(from->rank + (int)added);
        TRY(op_axes(n, in, 1, shape.rank, &axes, err));
        for (int i = 0, k = 0; axes.known && i < shape.rank; i++)
            shape.dim[i] = axes.has[i] ? 1 : from->dim[k++];
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

#define ROW(onnx, first, least, most, infer_fn)                                                    \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = OPSET_LAST, .min_inputs = least,      \
        .max_inputs = most, .max_outputs = 1, .flags = OP_VIEW, .infer = infer_fn,                 \
        .eval = op_same_eval                                                                       \
    }

const struct op_desc op_flatten = ROW("Flatten", 1, 1, 1, flatten_infer);
const struct op_desc op_reshape = ROW("Reshape", 5, 2, 2, reshape_infer);
const struct op_desc op_squeeze = ROW("Squeeze", 1, 1, 2, squeeze_infer);
const struct op_desc op_unsqueeze = ROW("Unsqueeze", 1, 1, 2, unsqueeze_infer);
