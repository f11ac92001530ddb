/* Operators that move elements by strides: Transpose, Expand, Tile. */
#include "graph/ops/ops_common.h"

#include <string.h>

/* ---- Transpose ------------------------------------------------------------------------------- */

/* perm[i] is the input axis that becomes output axis i. */
static enum cohort_code permutation(const struct node *n, int rank, int perm[RANK_MAX],
                                    struct cohort_error *err) {
    int count;
    bool seen[RANK_MAX] = {false};
    const int64_t *ints = node_attr_ints(n, "perm", &count);
    if (node_attr(n, "perm") == NULL) {
        for (int i = 0; i < rank; i++)
            perm[i] = rank - 1 - i;
        return COHORT_OK;
    }
    if (count != rank)
        return error_set(err, COHORT_ERR_SHAPE, "perm has %d elements, but the input has rank %d",
                         count, rank);
    for (int i = 0; i < rank; i++) {
        enum cohort_code code = op_axis(ints[i], rank, &perm[i], err);
        if (code != COHORT_OK)
            return code;
        if (seen[perm[i]])
            return error_set(err, COHORT_ERR_SHAPE, "perm names axis %d twice", perm[i]);
        seen[perm[i]] = true;
    }
    return COHORT_OK;
}

static enum cohort_code transpose_infer(struct node *n, const struct tensor *const in[],
                                        struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int perm[RANK_MAX], rank = in[0]->shape.rank;
    struct shape shape = shape_unknown(rank);
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (rank >= 0)
        TRY(permutation(n, rank, perm, err));
    for (int i = 0; i < rank; i++)
        shape.dim[i] = in[0]->shape.dim[perm[i]];
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code transpose_eval(const struct node *n, const struct tensor *const in[],
                                       struct tensor *const out[], struct cohort_error *err) {
    int perm[RANK_MAX];
    int64_t own[RANK_MAX], from[RANK_MAX], to[RANK_MAX];
    const struct shape *shape = &out[0]->shape;
    enum cohort_code code = permutation(n, shape->rank, perm, err);
    if (code != COHORT_OK)
        return code;
    op_strides(&in[0]->shape, own);
    op_strides(shape, to);
    for (int i = 0; i < shape->rank; i++)
        from[i] = own[perm[i]];
    op_copy(out[0]->data, to, in[0]->data, from, shape->rank, shape->dim, dtype_bytes(in[0]->type));
    return COHORT_OK;
}

/* ---- Expand ---------------------------------------------------------------------------------- */

static enum cohort_code expand_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t dims[RANK_MAX];
    int count;
    struct shape wanted, shape = shape_unknown(-1);
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    TRY(op_ints(in[1], "the shape", dims, RANK_MAX, &count, err));
    for (int i = 0; i < count; i++)
        if (dims[i] < 0)
            return error_set(err, COHORT_ERR_SHAPE, "dimension %d of the shape is %lld", i,
                             (long long)dims[i]);
    int64_t length = op_list_length(in[1]);
    if (count < 0 && length >= 0 && in[0]->shape.rank >= 0)
        shape = shape_unknown(length > in[0]->shape.rank ? (int)length : in[0]->shape.rank);
    if (count >= 0) {
        wanted = shape_of(count, dims);
        if (!shape_broadcast(&in[0]->shape, &wanted, &shape))
            return error_set(err, COHORT_ERR_SHAPE, "%s cannot be expanded to %s",
                             shape_text(&in[0]->shape, a, sizeof a),
                             shape_text(&wanted, b, sizeof b));
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code expand_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    const struct shape *shape = &out[0]->shape;
    int64_t own[RANK_MAX], from[RANK_MAX], to[RANK_MAX];
    op_strides(&in[0]->shape, own);
    op_strides(shape, to);
    for (int i = 0; i < shape->rank; i++) {
        int axis = i - (shape->rank - in[0]->shape.rank);
        from[i] = axis < 0 || in[0]->shape.dim[axis] == 1 ? 0 : own[axis];
    }
    op_copy(out[0]->data, to, in[0]->data, from, shape->rank, shape->dim, dtype_bytes(in[0]->type));
    return COHORT_OK;
}

/* ---- Tile ------------------------------------------------------------------------------------ */

static enum cohort_code tile_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t repeats[RANK_MAX];
    int count;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    TRY(op_ints(in[1], "repeats", repeats, RANK_MAX, &count, err));
    struct shape shape = shape_unknown(in[0]->shape.rank);
    if (shape.rank < 0 && count >= 0)
        shape = shape_unknown(count);
    int64_t length = op_list_length(in[1]);
    if (length >= 0 && length != shape.rank && shape.rank >= 0)
        return error_set(err, COHORT_ERR_SHAPE, "%lld repeats for an input of rank %d",
                         (long long)length, shape.rank);
    for (int i = 0; i < count; i++) {
        int64_t dim = in[0]->shape.rank < 0 ? -1 : in[0]->shape.dim[i];
        if (repeats[i] < 0)
            return error_set(err, COHORT_ERR_SHAPE, "axis %d is to be repeated %lld times", i,
                             (long long)repeats[i]);
        if (dim > 0 && repeats[i] > INT64_MAX / 16 / dim)
            return error_set(err, COHORT_ERR_SHAPE, "axis %d becomes too long", i);
        shape.dim[i] = dim < 0 ? -1 : dim * repeats[i];
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* The input goes to the output's first corner; then, from the last axis to the first, what is there
 * is repeated along the axis. */
static enum cohort_code tile_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    const struct shape *from = &in[0]->shape, *to = &out[0]->shape;
    size_t size = dtype_bytes(in[0]->type);
    int64_t from_stride[RANK_MAX], to_stride[RANK_MAX], dims[RANK_MAX];
    if (shape_count(to) == 0)
        return COHORT_OK;
    op_strides(from, from_stride);
    op_strides(to, to_stride);
    op_copy(out[0]->data, to_stride, in[0]->data, from_stride, from->rank, from->dim, size);
    for (int i = 0; i < from->rank; i++)
        dims[i] = from->dim[i];
    for (int i = from->rank - 1; i >= 0; i--) {
        for (int64_t at = from->dim[i]; at < to->dim[i]; at += from->dim[i])
            op_copy((unsigned char *)out[0]->data + (size_t)(at * to_stride[i]) * size, to_stride,
                    out[0]->data, to_stride, from->rank, dims, size);
        dims[i] = to->dim[i];
    }
    return COHORT_OK;
}

#define ROW(onnx, first, inputs, infer_fn, eval_fn)                                                \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = OPSET_LAST, .min_inputs = inputs,     \
        .max_inputs = inputs, .max_outputs = 1, .flags = OP_MOVE, .infer = infer_fn,               \
        .eval = eval_fn                                                                            \
    }

const struct op_desc op_expand = ROW("Expand", 8, 2, expand_infer, expand_eval);
const struct op_desc op_tile = ROW("Tile", 6, 2, tile_infer, tile_eval);
const struct op_desc op_transpose = ROW("Transpose", 1, 1, transpose_infer, transpose_eval);
