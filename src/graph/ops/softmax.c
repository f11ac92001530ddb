/* Softmax and LogSoftmax.  From opset 13 on along one axis (default the last); before, over all
 * axes from `axis` (default 1) on together, as if the tensor were a matrix. */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

static enum cohort_code softmax_axis(const struct node *n, int rank, int *axis,
                                     struct cohort_error *err) {
    int64_t wanted = node_attr_int(n, "axis", n->opset < 13 ? 1 : -1);
    if (rank == 0 && (wanted == 0 || wanted == -1)) { /* one element: itself the axis */
        *axis = 0;
        return COHORT_OK;
    }
    if (n->opset < 13 && wanted == rank) { /* a matrix of one column: every element alone */
        *axis = rank;
        return COHORT_OK;
    }
    return op_axis(wanted, rank, axis, err);
}

static enum cohort_code softmax_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int axis;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    if (in[0]->shape.rank >= 0)
        TRY(softmax_axis(n, in[0]->shape.rank, &axis, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

/* Elements first + k*step, k < length, that sum to one. */
struct group {
    int64_t first, step, length;
};

/* log(sum of exp(x)), without overflow: max + log(sum of exp(x - max)). */
static void group_sums(const struct tensor *t, struct group s, double *max, double *sum) {
    union op_chunk x;
    *max = -HUGE_VAL;
    *sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t k = 0; k < s.length; k += OP_CHUNK) {
            int64_t count = s.length - k < OP_CHUNK ? s.length - k : OP_CHUNK;
            op_load(CLASS_F64, t, s.first + k * s.step, s.step, count, &x);
            for (int64_t j = 0; j < count; j++)
                if (pass == 1)
                    *sum += exp(x.f[j] - *max);
                else if (!(x.f[j] <= *max) && !isnan(*max))
                    *max = x.f[j];
        }
}

static enum cohort_code softmax_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    const struct shape *shape = &in[0]->shape;
    bool logarithm = strcmp(n->op->name, "LogSoftmax") == 0;
    int axis;
    enum cohort_code code = softmax_axis(n, shape->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    int end = n->opset < 13 || shape->rank == 0 ? shape->rank : axis + 1;
    int64_t outer = shape_product(shape, 0, axis), inner = shape_product(shape, end, shape->rank);
    struct group s = {.step = inner, .length = shape_product(shape, axis, end)};
    for (int64_t g = 0; s.length > 0 && g < outer * inner; g++) {
        double max, sum;
        s.first = g / inner * inner * s.length + g % inner;
        group_sums(in[0], s, &max, &sum);
        for (int64_t k = 0; k < s.length; k++) {
            double x = tensor_get_f64(in[0], s.first + k * s.step) - max;
            tensor_set_f64(out[0], s.first + k * s.step, logarithm ? x - log(sum) : exp(x) / sum);
        }
    }
    return COHORT_OK;
}

/* On a map: over the channels of each pixel.  (Rank 3 is more often tokens than a signal.) */
static bool softmax_map_ok(const struct graph *g, const struct node *n) {
    int axis;
    if (!map_unary_ok(g, n))
        return false;
    const struct shape *s = &graph_value(g, n->in[0])->shape;
    if (s->rank != 4 || softmax_axis(n, s->rank, &axis, NULL) != COHORT_OK || axis != 1)
        return false;
    return n->opset >= 13 || shape_product(s, 2, s->rank) == 1;
}

/* On a map, and on tokens when it is over their features: each row on its own. */
static void softmax_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    const struct value *v = graph_value(g, n->in[0]);
    int axis, last = v->shape.rank - 1;
    if (v->form == FORM_MAP) {
        rows_same(g, n, i, map);
        return;
    }
    if (last < 0 || softmax_axis(n, v->shape.rank, &axis, NULL) != COHORT_OK)
        return;
    if (axis == last || (n->opset < 13 && axis < last && shape_product(&v->shape, axis, last) == 1))
        rows_same(g, n, i, map);
}

/* An exponential, a subtraction, a sum, a quotient, a comparison. */
static double softmax_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? 5 * (double)count : 0;
}

#define ROW(onnx)                                                                                  \
    {                                                                                              \
        .name = onnx, .domain = "", .since = 1, .until = OPSET_LAST, .min_inputs = 1,              \
        .max_inputs = 1, .max_outputs = 1, .infer = softmax_infer, .eval = softmax_eval,           \
        .map_ok = softmax_map_ok, .rows = softmax_rows, .flops = softmax_flops                     \
    }

const struct op_desc op_log_softmax = ROW("LogSoftmax");
const struct op_desc op_softmax = ROW("Softmax");
