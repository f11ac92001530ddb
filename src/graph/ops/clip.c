/* Clip: min(max(x, low), high).  Up to opset 10 the bounds are attributes, from 11 on optional
 * inputs; a low above the high gives the high (opset 12). */
#include "graph/ops/ops_common.h"

#include <float.h>
#include <math.h>

static enum cohort_code clip_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need_all(n, in, n->opset < 12 ? TYPES_FLOAT : TYPES_NUMBER, err));
    for (int i = 1; i < 3; i++) {
        const struct tensor *bound = op_in(n, in, i);
        if (bound != NULL && n->opset < 11)
            return error_set(err, COHORT_ERR_SHAPE, "bounds are attributes at opset %d", n->opset);
        if (bound != NULL && shape_known(&bound->shape) && shape_count(&bound->shape) != 1)
            return error_set(err, COHORT_ERR_SHAPE, "a bound has %lld elements; one is needed",
                             (long long)shape_count(&bound->shape));
    }
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

static void clip_floats(const struct node *n, const struct tensor *const in[], int64_t count,
                        union op_chunk *v) {
    const struct tensor *min = op_in(n, in, 1), *max = op_in(n, in, 2);
    double low = min != NULL ? tensor_get_f64(min, 0) : -HUGE_VAL;
    double high = max != NULL ? tensor_get_f64(max, 0) : HUGE_VAL;
    if (n->opset < 11) {
        low = (double)node_attr_float(n, "min", -FLT_MAX);
        high = (double)node_attr_float(n, "max", FLT_MAX);
    }
    for (int64_t j = 0; j < count; j++) { /* comparisons that let NaN through */
        double x = v->f[j] < low ? low : v->f[j];
        v->f[j] = x > high ? high : x;
    }
}

static void clip_signed(const struct tensor *min, const struct tensor *max, int64_t count,
                        union op_chunk *v) {
    int64_t low = min != NULL ? tensor_get_i64(min, 0) : INT64_MIN;
    int64_t high = max != NULL ? tensor_get_i64(max, 0) : INT64_MAX;
    for (int64_t j = 0; j < count; j++) {
        int64_t x = v->i[j] < low ? low : v->i[j];
        v->i[j] = x > high ? high : x;
    }
}

static void clip_unsigned(const struct tensor *min, const struct tensor *max, int64_t count,
                          union op_chunk *v) {
    uint64_t low = min != NULL ? (uint64_t)tensor_get_i64(min, 0) : 0;
    uint64_t high = max != NULL ? (uint64_t)tensor_get_i64(max, 0) : UINT64_MAX;
    for (int64_t j = 0; j < count; j++) {
        uint64_t x = v->u[j] < low ? low : v->u[j];
        v->u[j] = x > high ? high : x;
    }
}

static enum cohort_code clip_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    enum op_class c = op_class_of(in[0]->type);
    int64_t total = shape_count(&in[0]->shape);
    for (int64_t first = 0; first < total; first += OP_CHUNK) {
        union op_chunk v;
        int64_t count = total - first < OP_CHUNK ? total - first : OP_CHUNK;
        op_load(c, in[0], first, 1, count, &v);
        if (c == CLASS_F64)
            clip_floats(n, in, count, &v);
        else if (c == CLASS_I64)
            clip_signed(op_in(n, in, 1), op_in(n, in, 2), count, &v);
        else
            clip_unsigned(op_in(n, in, 1), op_in(n, in, 2), count, &v);
        op_store(c, out[0], first, count, &v);
    }
    return COHORT_OK;
}

const struct op_desc op_clip = {
    .name = "Clip",
    .domain = "",
    .since = 6,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 3,
    .max_outputs = 1,
    .flags = OP_UNARY,
    .infer = clip_infer,
    .eval = clip_eval,
    .map_ok = map_unary_ok,
};
