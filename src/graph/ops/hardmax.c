/* Hardmax: 1 where the largest element is (the first of equals; a NaN counts as the largest), 0
 * elsewhere.  From opset 13 on along one axis (default the last); before, over all axes from `axis`
 * (default 1) on together. */
#include "graph/ops/ops_common.h"

#include <math.h>

static enum cohort_code hardmax_axis(const struct node *n, int rank, int *axis,
                                     struct cohort_error *err) {
    int64_t wanted = node_attr_int(n, "axis", n->opset < 13 ? 1 : -1);
    if (n->opset < 13 && wanted == rank) { /* every element alone */
        *axis = rank;
        return COHORT_OK;
    }
    return op_axis(wanted, rank, axis, err);
}

static enum cohort_code hardmax_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int axis;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    if (in[0]->shape.rank >= 0)
        TRY(hardmax_axis(n, in[0]->shape.rank, &axis, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code hardmax_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    const struct shape *s = &in[0]->shape;
    int axis;
    enum cohort_code code = hardmax_axis(n, s->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    int end = n->opset < 13 ? s->rank : axis + 1;
    int64_t inner = shape_product(s, end, s->rank), length = shape_product(s, axis, end);
    int64_t lines = length > 0 ? shape_count(s) / length : 0;
    for (int64_t line = 0; line < lines; line++) {
        int64_t first = line / inner * inner * length + line % inner, best = 0;
        double most = tensor_get_f64(in[0], first);
        for (int64_t k = 1; k < length; k++) {
            double x = tensor_get_f64(in[0], first + k * inner);
            if (!isnan(most) && (x > most || isnan(x))) {
                most = x;
                best = k;
            }
        }
        for (int64_t k = 0; k < length; k++)
            tensor_set_f64(out[0], first + k * inner, k == best);
    }
    return COHORT_OK;
}

static void hardmax_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    int axis, rank = graph_value(g, n->in[0])->shape.rank;
    if (rank > 0 && hardmax_axis(n, rank, &axis, NULL) == COHORT_OK && axis == rank - 1)
        rows_same(g, n, i, map);
}

static double hardmax_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? (double)count : 0;
}

const struct op_desc op_hardmax = {
    .name = "Hardmax",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = hardmax_infer,
    .eval = hardmax_eval,
    .rows = hardmax_rows,
    .flops = hardmax_flops,
};
