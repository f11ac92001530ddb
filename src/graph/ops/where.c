/* Where: condition ? x : y, the three broadcast together.  Any element type. */
#include "graph/ops/ops_common.h"

#include <string.h>

static enum cohort_code where_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape;
    TRY(op_need(n, in, 0, TYPES_BOOL, err));
    TRY(op_need(n, in, 1, TYPES_ANY, err));
    TRY(op_need(n, in, 2, TYPES_ANY, err));
    if (in[1]->type != in[2]->type)
        return error_set(err, COHORT_ERR_SHAPE, "the choices have types %s and %s",
                         dtype_name(in[1]->type), dtype_name(in[2]->type));
    TRY(op_broadcast(n, in, 3, &shape, err));
    op_out(n, out, 0, in[1]->type, &shape);
out:
    return code;
}

static enum cohort_code where_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    size_t size = dtype_bytes(in[1]->type);
    const uint8_t *condition = in[0]->data;
    const unsigned char *choice[2] = {in[2]->data, in[1]->data};
    unsigned char *to = out[0]->data;
    struct bcast b;
    for (bcast_begin(&b, &out[0]->shape, in, 3); b.more; bcast_next(&b))
        for (int64_t j = 0; j < b.run; j++) {
            bool yes = condition[b.at[0] + j * b.step[0]] != 0;
            int operand = yes ? 1 : 2;
            int64_t from = b.at[operand] + j * b.step[operand];
            memcpy(to + (size_t)(b.out + j) * size, choice[yes] + (size_t)from * size, size);
        }
    return COHORT_OK;
}

const struct op_desc op_where = {
    .name = "Where",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 3,
    .max_outputs = 1,
    .flags = OP_BINARY,
    .infer = where_infer,
    .eval = where_eval,
};
