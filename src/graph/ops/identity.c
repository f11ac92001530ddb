/* Identity, and Dropout as inference has it: the identity, with an optional mask of ones. */
#include "graph/ops/ops_common.h"

static enum cohort_code identity_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

/* Training mode drops elements at random: possible only when it drops none. */
static bool dropout_trains(const struct node *n, const struct tensor *const in[]) {
    const struct tensor *ratio = op_in(n, in, 1), *training = op_in(n, in, 2);
    if (training == NULL || training->data == NULL || tensor_get_i64(training, 0) == 0)
        return false;
    return ratio == NULL || ratio->data == NULL || tensor_get_f64(ratio, 0) != 0;
}

static enum cohort_code dropout_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    for (int i = 1; i < 3; i++) {
        const struct tensor *t = op_in(n, in, i);
        if (t != NULL && shape_known(&t->shape) && shape_count(&t->shape) != 1)
            return error_set(err, COHORT_ERR_SHAPE, "input %d must be one number", i);
    }
    if (dropout_trains(n, in))
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "a Dropout in training mode; export the network for inference");
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
    op_out(n, out, 1, n->opset < 10 ? in[0]->type : DT_BOOL, &in[0]->shape);
out:
    return code;
}

static enum cohort_code dropout_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    if (dropout_trains(n, in))
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a Dropout in training mode");
    if (n->out_count > 1 && out[1] != NULL) {
        int64_t count = shape_count(&out[1]->shape);
        for (int64_t i = 0; i < count; i++)
            tensor_set_i64(out[1], i, 1);
    }
    return op_same_eval(n, in, out, err);
}

const struct op_desc op_identity = {
    .name = "Identity",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_UNARY | OP_VIEW,
    .infer = identity_infer,
    .eval = op_same_eval,
    .map_ok = map_unary_ok,
};

const struct op_desc op_dropout = {
    .name = "Dropout",
    .domain = "",
    .since = 7,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 3,
    .max_outputs = 2,
    .flags = OP_UNARY,
    .infer = dropout_infer,
    .eval = dropout_eval,
    .map_ok = map_unary_ok,
};
