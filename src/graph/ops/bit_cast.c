/* BitCast (opset 26): the same bits as another type of the same size. */
#include "graph/ops/ops_common.h"

static enum cohort_code bit_cast_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t to = node_attr_int(n, "to", DT_NONE);
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (to < 0 || to > 31 || (TYPES_ANY & TYPE_BIT(to)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "the bits as type %lld", (long long)to);
    if (dtype_bytes((enum dtype)to) != dtype_bytes(in[0]->type))
        return error_set(err, COHORT_ERR_SHAPE, "the bits of %s as %s, which has another size",
                         dtype_name(in[0]->type), dtype_name((enum dtype)to));
    op_out(n, out, 0, (enum dtype)to, &in[0]->shape);
out:
    return code;
}

const struct op_desc op_bit_cast = {
    .name = "BitCast",
    .domain = "",
    .since = 26,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = bit_cast_infer,
    .eval = op_same_eval,
};
