/* Cast (to the attribute's type) and CastLike (to the second input's).
 *
 * Floats into integers are truncated, and saturated where ONNX leaves the result open; integers
 * wrap around; anything but zero is true. */
#include "graph/ops/ops_common.h"

static enum cohort_code cast_to(struct node *n, const struct tensor *const in[], int64_t to,
                                struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (to < 0 || to > 31 || (TYPES_ANY & TYPE_BIT(to)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a cast to type %lld (%s)", (long long)to,
                         to >= 0 && to <= 31 ? dtype_name((enum dtype)to) : "unknown");
    op_out(n, out, 0, (enum dtype)to, &in[0]->shape);
out:
    return code;
}

static enum cohort_code cast_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    if (node_attr(n, "to") == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "the attribute \"to\" is missing");
    return cast_to(n, in, node_attr_int(n, "to", 0), out, err);
}

static enum cohort_code cast_like_infer(struct node *n, const struct tensor *const in[],
                                        struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 1, TYPES_ANY, err));
    code = cast_to(n, in, in[1]->type, out, err);
out:
    return code;
}

static enum cohort_code cast_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    enum op_class c = op_class_of(in[0]->type);
    int64_t total = shape_count(&in[0]->shape);
    for (int64_t first = 0; first < total; first += OP_CHUNK) {
        union op_chunk v;
        int64_t count = total - first < OP_CHUNK ? total - first : OP_CHUNK;
        op_load(c, in[0], first, 1, count, &v);
        op_store(c, out[0], first, count, &v);
    }
    return COHORT_OK;
}

const struct op_desc op_cast = {
    .name = "Cast",
    .domain = "",
    .since = 6,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_UNARY,
    .infer = cast_infer,
    .eval = cast_eval,
};

const struct op_desc op_cast_like = {
    .name = "CastLike",
    .domain = "",
    .since = 15,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .infer = cast_like_infer,
    .eval = cast_eval,
};
