/* Gather: out[.., i.., ..] = data[.., indices[i..], ..] along one axis. */
#include "graph/ops/ops_common.h"

#include <string.h>

static enum cohort_code gather_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(-1);
    const struct shape *data = &in[0]->shape, *indices = &in[1]->shape;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    if (data->rank >= 0) {
        int axis;
        TRY(op_axis(node_attr_int(n, "axis", 0), data->rank, &axis, err));
        if (indices->rank >= 0) {
            if (data->rank - 1 + indices->rank > RANK_MAX)
                return error_set(err, COHORT_ERR_UNSUPPORTED, "rank %d; at most %d is possible",
                                 data->rank - 1 + indices->rank, RANK_MAX);
            shape.rank = 0;
            for (int i = 0; i < axis; i++)
                shape.dim[shape.rank++] = data->dim[i];
            for (int i = 0; i < indices->rank; i++)
                shape.dim[shape.rank++] = indices->dim[i];
            for (int i = axis + 1; i < data->rank; i++)
                shape.dim[shape.rank++] = data->dim[i];
        }
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code gather_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    const struct shape *data = &in[0]->shape;
    int axis;
    enum cohort_code code = op_axis(node_attr_int(n, "axis", 0), data->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    int64_t outer = shape_product(data, 0, axis), length = data->dim[axis];
    int64_t indices = shape_count(&in[1]->shape);
    size_t piece = (size_t)shape_product(data, axis + 1, data->rank) * dtype_bytes(in[0]->type);
    unsigned char *to = out[0]->data;
    const unsigned char *from = in[0]->data;
    for (int64_t i = 0; i < indices; i++) {
        int64_t index = 0;
        code = op_index(tensor_get_i64(in[1], i), length, &index, err);
        if (code != COHORT_OK)
            return code;
        for (int64_t o = 0; o < outer && piece > 0; o++)
            memcpy(to + (size_t)(o * indices + i) * piece,
                   from + (size_t)(o * length + index) * piece, piece);
    }
    return COHORT_OK;
}

const struct op_desc op_gather = {
    .name = "Gather",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = gather_infer,
    .eval = gather_eval,
};
