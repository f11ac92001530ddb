/* QuantizeLinear and DequantizeLinear: q = saturate(round(x / scale) + zero), x = (q - zero) *
 * scale.
 *
 * One scale for the tensor, one per index of an axis (opset 13), or one per block of block_size
 * indices of it (opset 21).  8- and 16-bit integers, and int32 to dequantize. */
#include "graph/ops/ops_common.h"

#include <math.h>

#define QUANTIZED (TYPE_BIT(DT_I8) | TYPE_BIT(DT_U8) | TYPE_BIT(DT_I16) | TYPE_BIT(DT_U16))
#define SCALES    (TYPE_BIT(DT_F32) | TYPE_BIT(DT_F16) | TYPE_BIT(DT_BF16))

/* Which scale an element has: ((i / inner) % length) / block, within blocks of the outer axes. */
struct scales {
    int64_t inner, length, block, blocks; /* length = 1 with inner = everything: one scale */
};

static int64_t scale_of(const struct scales *s, int64_t i) {
    int64_t at = i / s->inner % s->length, outer = i / s->inner / s->length;
    if (s->block == 0)
        return at; /* the same for all outer and inner indices */
    return (outer * s->blocks + at / s->block) * s->inner + i % s->inner;
}

/* Errors when the scale's shape does not fit the input's. */
static enum cohort_code scales_of(const struct node *n, const struct tensor *const in[],
                                  struct scales *s, struct cohort_error *err) {
    const struct shape *x = &in[0]->shape, *scale = &in[1]->shape;
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    int64_t block = node_attr_int(n, "block_size", 0);
    int axis;
    *s = (struct scales){.inner = 1, .length = 1};
    if (!shape_known(x) || !shape_known(scale))
        return COHORT_OK;
    if (block == 0 && scale->rank <= 1 && shape_count(scale) == 1)
        return COHORT_OK;
    enum cohort_code code = op_axis(node_attr_int(n, "axis", 1), x->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    *s = (struct scales){.inner = shape_product(x, axis + 1, x->rank), .length = x->dim[axis]};
    bool fits = block == 0 && scale->rank == 1 && scale->dim[0] == x->dim[axis];
    if (block > 0) {
        s->block = block;
        s->blocks = (x->dim[axis] + block - 1) / block;
        fits = scale->rank == x->rank;
        for (int i = 0; fits && i < x->rank; i++)
            fits = scale->dim[i] == (i == axis ? s->blocks : x->dim[i]);
    }
    if (!fits)
        return error_set(err, COHORT_ERR_SHAPE, "a scale of shape %s for input %s, axis %d",
                         shape_text(scale, a, sizeof a), shape_text(x, b, sizeof b), axis);
    if (s->inner == 0 || s->length == 0) /* nothing to do, and nothing to divide by */
        s->inner = s->length = 1;
    return COHORT_OK;
}

static enum cohort_code zero_point_check(const struct node *n, const struct tensor *const in[],
                                         struct cohort_error *err) {
    const struct tensor *zero = op_in(n, in, 2);
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    if (zero != NULL && shape_known(&zero->shape) && shape_known(&in[1]->shape) &&
        shape_count(&zero->shape) != shape_count(&in[1]->shape))
        return error_set(err, COHORT_ERR_SHAPE, "a zero point of shape %s for a scale of shape %s",
                         shape_text(&zero->shape, a, sizeof a),
                         shape_text(&in[1]->shape, b, sizeof b));
    return COHORT_OK;
}

static enum cohort_code quantize_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct scales scales;
    const struct tensor *zero = op_in(n, in, 2);
    int64_t type = node_attr_int(n, "output_dtype", 0);
    TRY(op_need(n, in, 0, SCALES | TYPE_BIT(DT_I32), err));
    TRY(op_need(n, in, 1, SCALES | TYPE_BIT(DT_I32), err));
    if (zero != NULL) {
        TRY(op_need(n, in, 2, QUANTIZED, err));
        if (type != 0 && type != (int64_t)zero->type)
            return error_set(err, COHORT_ERR_SHAPE, "output_dtype is not the zero point's type %s",
                             dtype_name(zero->type));
        type = zero->type;
    }
    if (type == 0)
        type = DT_U8;
    if (type < 0 || type > 31 || (QUANTIZED & TYPE_BIT(type)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "quantizing to type %lld", (long long)type);
    TRY(scales_of(n, in, &scales, err));
    TRY(zero_point_check(n, in, err));
    op_out(n, out, 0, (enum dtype)type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code quantize_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    struct scales scales;
    enum cohort_code code = scales_of(n, in, &scales, err);
    const struct tensor *zero = op_in(n, in, 2);
    int64_t count = shape_count(&in[0]->shape);
    for (int64_t i = 0; code == COHORT_OK && i < count; i++) {
        int64_t at = scale_of(&scales, i);
        /* The quotient in float32, as specified: it decides which way a half goes. */
        float x = (float)tensor_get_f64(in[0], i) / (float)tensor_get_f64(in[1], at);
        double rounded = nearbyint((double)x);
        tensor_set_f64(out[0], i, rounded + (zero != NULL ? tensor_get_f64(zero, at) : 0));
    }
    return code;
}

static enum cohort_code dequantize_infer(struct node *n, const struct tensor *const in[],
                                         struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct scales scales;
    TRY(op_need(n, in, 0, QUANTIZED | TYPE_BIT(DT_I32), err));
    TRY(op_need(n, in, 1, SCALES, err));
    if (op_in(n, in, 2) != NULL)
        TRY(op_need_same(n, in, 2, err));
    TRY(scales_of(n, in, &scales, err));
    TRY(zero_point_check(n, in, err));
    int64_t type = node_attr_int(n, "output_dtype", 0);
    if (type == 0)
        type = in[1]->type;
    if (type < 0 || type > 31 || (SCALES & TYPE_BIT(type)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "dequantizing to type %lld", (long long)type);
    op_out(n, out, 0, (enum dtype)type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code dequantize_eval(const struct node *n, const struct tensor *const in[],
                                        struct tensor *const out[], struct cohort_error *err) {
    struct scales scales;
    enum cohort_code code = scales_of(n, in, &scales, err);
    const struct tensor *zero = op_in(n, in, 2);
    int64_t count = shape_count(&in[0]->shape);
    for (int64_t i = 0; code == COHORT_OK && i < count; i++) {
        int64_t at = scale_of(&scales, i);
        int64_t q = tensor_get_i64(in[0], i) - (zero != NULL ? tensor_get_i64(zero, at) : 0);
        tensor_set_f64(out[0], i, (double)q * tensor_get_f64(in[1], at));
    }
    return code;
}

static double quantize_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? 2 * (double)count : 0;
}

#define ROW(onnx, infer_fn, eval_fn)                                                               \
    {                                                                                              \
        .name = onnx, .domain = "", .since = 10, .until = OPSET_LAST, .min_inputs = 2,             \
        .max_inputs = 3, .max_outputs = 1, .infer = infer_fn, .eval = eval_fn,                     \
        .flops = quantize_flops                                                                    \
    }

const struct op_desc op_dequantize_linear =
    ROW("DequantizeLinear", dequantize_infer, dequantize_eval);
const struct op_desc op_quantize_linear = ROW("QuantizeLinear", quantize_infer, quantize_eval);
