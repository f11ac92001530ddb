/* Trilu (opset 14): the upper or lower triangle of each matrix, from the k-th diagonal on; zero
 * elsewhere. */
#include "graph/ops/ops_common.h"

#include <string.h>

static enum cohort_code trilu_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct tensor *k = op_in(n, in, 1);
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (in[0]->shape.rank == 0 || in[0]->shape.rank == 1)
        return error_set(err, COHORT_ERR_SHAPE, "rank %d; a matrix is needed", in[0]->shape.rank);
    if (k != NULL && k->type != DT_I64)
        return error_set(err, COHORT_ERR_SHAPE, "the diagonal has type %s; int64 is needed",
                         dtype_name(k->type));
    if (k != NULL && shape_known(&k->shape) && shape_count(&k->shape) != 1)
        return error_set(err, COHORT_ERR_SHAPE, "the diagonal must be one number");
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code trilu_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    const struct shape *s = &in[0]->shape;
    const struct tensor *diagonal = op_in(n, in, 1);
    bool upper = node_attr_int(n, "upper", 1) != 0;
    int64_t k = diagonal != NULL ? tensor_get_i64(diagonal, 0) : 0;
    int64_t height = s->dim[s->rank - 2], width = s->dim[s->rank - 1];
    int64_t rows = shape_product(s, 0, s->rank - 1);
    size_t size = dtype_bytes(in[0]->type);
    for (int64_t r = 0; r < rows; r++) {
        /* Row y keeps columns from y+k on (upper), or up to y+k (lower); k may be anything. */
        int64_t y = r % height, most = k > width ? width : k < -height ? -height : k;
        int64_t first = y + most + (upper ? 0 : 1);
        first = first < 0 ? 0 : first > width ? width : first;
        int64_t from = upper ? first : 0, to = upper ? width : first;
        unsigned char *row = (unsigned char *)out[0]->data + (size_t)(r * width) * size;
        const unsigned char *source =
            (const unsigned char *)in[0]->data + (size_t)(r * width) * size;
        memset(row, 0, (size_t)width * size);
        memcpy(row + (size_t)from * size, source + (size_t)from * size, (size_t)(to - from) * size);
    }
    return COHORT_OK;
}

const struct op_desc op_trilu = {
    .name = "Trilu",
    .domain = "",
    .since = 14,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = trilu_infer,
    .eval = trilu_eval,
};
