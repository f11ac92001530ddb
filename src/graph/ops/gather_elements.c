/* GatherElements: out[i][j][k] = data[index[i][j][k]][j][k] (for axis 0), and GatherND: slices of
 * data at the coordinates in the last axis of indices, within batch_dims (opset 12) batches. */
#include "graph/ops/ops_common.h"

#include <string.h>

/* ---- GatherElements -------------------------------------------------------------------------- */

static enum cohort_code elements_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *x = &in[1]->shape;
    int axis;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    if (d->rank >= 0)
        TRY(op_axis(node_attr_int(n, "axis", 0), d->rank, &axis, err));
    if (d->rank >= 0 && x->rank >= 0) {
        bool fits = d->rank == x->rank;
        for (int i = 0; fits && i < d->rank; i++)
            fits = i == axis || d->dim[i] < 0 || x->dim[i] <= d->dim[i];
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        if (!fits)
            return error_set(err, COHORT_ERR_SHAPE, "indices of shape %s for data of shape %s",
                             shape_text(x, a, sizeof a), shape_text(d, b, sizeof b));
    }
    op_out(n, out, 0, in[0]->type, x);
out:
    return code;
}

static enum cohort_code elements_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *x = &in[1]->shape;
    int64_t index[RANK_MAX] = {0}, stride[RANK_MAX], i = 0, chosen;
    size_t size = dtype_bytes(in[0]->type);
    int axis;
    TRY(op_axis(node_attr_int(n, "axis", 0), d->rank, &axis, err));
    op_strides(d, stride);
    if (shape_count(x) == 0)
        goto out;
    do {
        TRY(op_index(tensor_get_i64(in[1], i), d->dim[axis], &chosen, err));
        int64_t from = chosen * stride[axis];
        for (int k = 0; k < d->rank; k++)
            from += k == axis ? 0 : index[k] * stride[k];
        memcpy(op_at(out[0], i++), op_at(in[0], from), size);
    } while (op_step(x, index));
out:
    return code;
}

const struct op_desc op_gather_elements = {
    .name = "GatherElements",
    .domain = "",
    .since = 11,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = elements_infer,
    .eval = elements_eval,
};

/* ---- GatherND -------------------------------------------------------------------------------- */

static enum cohort_code nd_shape(const struct shape *d, const struct shape *x, int64_t batch,
                                 struct shape *shape, struct cohort_error *err) {
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    int64_t depth = x->rank > 0 ? x->dim[x->rank - 1] : 0;
    if (d->rank < 1 || x->rank < 1 || batch < 0 || batch >= d->rank || batch >= x->rank ||
        depth == 0 || depth > d->rank - batch)
        return error_set(err, COHORT_ERR_SHAPE,
                         "indices of shape %s for data of shape %s with %lld batch dimensions",
                         shape_text(x, a, sizeof a), shape_text(d, b, sizeof b), (long long)batch);
    for (int i = 0; i < (int)batch; i++)
        if (d->dim[i] >= 0 && x->dim[i] >= 0 && d->dim[i] != x->dim[i])
            return error_set(err, COHORT_ERR_SHAPE, "batches of %lld and of %lld",
                             (long long)d->dim[i], (long long)x->dim[i]);
    if (depth < 0)
        return COHORT_OK;
    int first = (int)(batch + depth), rank = x->rank - 1 + d->rank - first;
    if (rank > RANK_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "rank %d; at most %d is possible", rank,
                         RANK_MAX);
    shape->rank = 0;
    for (int i = 0; i < x->rank - 1; i++)
        shape->dim[shape->rank++] = x->dim[i];
    for (int i = first; i < d->rank; i++)
        shape->dim[shape->rank++] = d->dim[i];
    return COHORT_OK;
}

static enum cohort_code nd_infer(struct node *n, const struct tensor *const in[],
                                 struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(-1);
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    if (in[0]->shape.rank >= 0 && in[1]->shape.rank >= 0)
        TRY(nd_shape(&in[0]->shape, &in[1]->shape, node_attr_int(n, "batch_dims", 0), &shape, err));
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code nd_eval(const struct node *n, const struct tensor *const in[],
                                struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *x = &in[1]->shape;
    int batch = (int)node_attr_int(n, "batch_dims", 0), depth = (int)x->dim[x->rank - 1];
    int64_t stride[RANK_MAX], slices = shape_product(x, 0, x->rank - 1);
    int64_t piece = shape_product(d, batch + depth, d->rank);
    int64_t batch_piece = shape_product(d, batch, d->rank);
    int64_t each = shape_product(x, batch, x->rank - 1); /* slices of a batch */
    size_t bytes = (size_t)piece * dtype_bytes(in[0]->type);
    op_strides(d, stride);
    for (int64_t i = 0; bytes > 0 && i < slices; i++) {
        int64_t from = i / each * batch_piece;
        for (int k = 0; k < depth; k++) {
            int64_t chosen;
            TRY(op_index(tensor_get_i64(in[1], i * depth + k), d->dim[batch + k], &chosen, err));
            from += chosen * stride[batch + k];
        }
        memcpy(op_at(out[0], i * piece), op_at(in[0], from), bytes);
    }
out:
    return code;
}

const struct op_desc op_gather_nd = {
    .name = "GatherND",
    .domain = "",
    .since = 11,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = nd_infer,
    .eval = nd_eval,
};
