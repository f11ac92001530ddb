/* CumSum (opset 11) and CumProd (opset 26): running sums and products along an axis, which is an
 * input; exclusive (an element does not count itself) and reverse. */
#include "graph/ops/ops_common.h"

#include <string.h>

#define SUMMED                                                                                     \
    (TYPES_FLOAT | TYPE_BIT(DT_I32) | TYPE_BIT(DT_I64) | TYPE_BIT(DT_U32) | TYPE_BIT(DT_U64))

static enum cohort_code running_axis(const struct tensor *const in[], int *axis, bool *known,
                                     struct cohort_error *err) {
    int64_t given = 0;
    enum cohort_code code = op_one_int(in[1], "the axis", &given, known, err);
    if (code == COHORT_OK && *known && in[0]->shape.rank >= 0)
        code = op_axis(given, in[0]->shape.rank, axis, err);
    return code;
}

static enum cohort_code running_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int axis;
    bool known;
    TRY(op_need(n, in, 0, SUMMED, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    TRY(running_axis(in, &axis, &known, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code running_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    const struct shape *s = &in[0]->shape;
    int axis = 0;
    bool known, product = strcmp(n->op->name, "CumProd") == 0;
    bool exclusive = node_attr_int(n, "exclusive", 0) != 0;
    bool reverse = node_attr_int(n, "reverse", 0) != 0;
    enum cohort_code code = running_axis(in, &axis, &known, err);
    if (code != COHORT_OK)
        return code;
    enum op_class c = op_class_of(in[0]->type);
    int64_t inner = shape_product(s, axis + 1, s->rank), length = s->dim[axis];
    int64_t lines = length > 0 ? shape_count(s) / length : 0;
    for (int64_t line = 0; line < lines; line++) {
        int64_t first = line / inner * inner * length + line % inner;
        union op_chunk sum, x;
        sum.u[0] = product;
        if (c == CLASS_F64)
            sum.f[0] = product ? 1 : 0;
        for (int64_t k = 0; k < length; k++) {
            int64_t at = first + (reverse ? length - 1 - k : k) * inner;
            op_load(c, in[0], at, 1, 1, &x);
            if (exclusive)
                op_store(c, out[0], at, 1, &sum);
            if (c == CLASS_F64)
                sum.f[0] = product ? sum.f[0] * x.f[0] : sum.f[0] + x.f[0];
            else
                sum.u[0] = product ? sum.u[0] * x.u[0] : sum.u[0] + x.u[0];
            if (!exclusive)
                op_store(c, out[0], at, 1, &sum);
        }
    }
    return COHORT_OK;
}

static double running_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? (double)count : 0;
}

#define ROW(onnx, first)                                                                           \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = OPSET_LAST, .min_inputs = 2,          \
        .max_inputs = 2, .max_outputs = 1, .infer = running_infer, .eval = running_eval,           \
        .flops = running_flops                                                                     \
    }

const struct op_desc op_cum_prod = ROW("CumProd", 26);
const struct op_desc op_cum_sum = ROW("CumSum", 11);
