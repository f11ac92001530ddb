/* Convolutions and products of 8-bit integers: ConvInteger, MatMulInteger (int32 results),
 * QLinearConv, QLinearMatMul (8-bit results), and DynamicQuantizeLinear.
 *
 * They are simulated: zero points are subtracted, and Conv's or MatMul's evaluator works on the
 * differences in double, which is exact as long as sums stay below 2^53. */
#include "graph/ops/ops_common.h"

#include <math.h>

extern const struct op_desc op_conv, op_mat_mul;

#define BYTES (TYPE_BIT(DT_I8) | TYPE_BIT(DT_U8))

/* t - zero, times scale (both optional), as float64.  Zero and scale: one number, one for each
 * index of an axis, or anything that is broadcast. */
static bool parameter_shape(const struct tensor *p, const struct shape *s, int axis,
                            struct tensor *seen) {
    struct shape both;
    *seen = *p;
    seen->owned = false;
    if (shape_count(&p->shape) == 1) {
        seen->shape = (struct shape){.rank = 0};
        return true;
    }
    if (axis < 0 || axis >= s->rank)
        return false;
    if (p->shape.rank == 1) {
        seen->shape = (struct shape){.rank = s->rank - axis, .dim = {p->shape.dim[0]}};
        for (int i = 1; i < seen->shape.rank; i++)
            seen->shape.dim[i] = 1;
    }
    return shape_broadcast(s, &seen->shape, &both) && shape_equal(s, &both);
}

static enum cohort_code check_parameter(const struct tensor *p, const struct shape *s, int axis,
                                        const char *what, struct cohort_error *err) {
    struct tensor seen;
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    if (p == NULL || !shape_known(&p->shape) || !shape_known(s) ||
        parameter_shape(p, s, axis, &seen))
        return COHORT_OK;
    return error_set(err, COHORT_ERR_SHAPE, "a %s of shape %s for shape %s", what,
                     shape_text(&p->shape, a, sizeof a), shape_text(s, b, sizeof b));
}

static enum cohort_code dequantized(const struct tensor *t, const struct tensor *zero,
                                    const struct tensor *scale, int axis, struct tensor *out,
                                    struct cohort_error *err) {
    enum cohort_code code = tensor_init(out, DT_F64, &t->shape, err);
    struct tensor none = {.shape = {.rank = 0}}, z = none, s = none;
    struct bcast b;
    if (code != COHORT_OK)
        return code;
    if (zero != NULL)
        parameter_shape(zero, &t->shape, axis, &z);
    if (scale != NULL)
        parameter_shape(scale, &t->shape, axis, &s);
    const struct tensor *const in[2] = {&z, &s};
    for (bcast_begin(&b, &t->shape, in, 2); b.more; bcast_next(&b))
        for (int64_t j = 0; j < b.run; j++) {
            int64_t x = tensor_get_i64(t, b.out + j);
            if (zero != NULL)
                x -= tensor_get_i64(&z, b.at[0] + j * b.step[0]);
            double y = (double)x;
            if (scale != NULL)
                y *= tensor_get_f64(&s, b.at[1] + j * b.step[1]);
            tensor_set_f64(out, b.out + j, y);
        }
    return COHORT_OK;
}

/* ---- what Conv and MatMul see ---------------------------------------------------------------- */

/* The inputs' places, which differ between the two forms. */
struct places {
    const struct op_desc *op;
    int a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero, bias; /* -1: there is none */
};

static struct places integer_places(const struct op_desc *op) {
    return (struct places){op, 0, -1, 2, 1, -1, 3, -1, -1, -1};
}

static struct places linear_places(const struct op_desc *op) {
    return (struct places){op, 0, 1, 2, 3, 4, 5, 6, 7, op == &op_conv ? 8 : -1};
}

/* Along which axis the second operand's scales and zero points run, and the first's. */
static int axis_of(const struct places *p, const struct tensor *t, bool first) {
    if (p->op == &op_conv)
        return first ? -1 : 0;
    return t->shape.rank < 2 ? -1 : first ? t->shape.rank - 2 : t->shape.rank - 1;
}

static enum cohort_code product_infer(struct node *n, const struct places *p,
                                      const struct tensor *const in[], struct tensor out[],
                                      enum dtype type, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct tensor *const at[6] = {op_in(n, in, p->a_scale), op_in(n, in, p->a_zero),
                                        op_in(n, in, p->b_scale), op_in(n, in, p->b_zero),
                                        op_in(n, in, p->y_scale), op_in(n, in, p->y_zero)};
    TRY(op_need(n, in, p->a, BYTES, err));
    TRY(op_need(n, in, p->b, BYTES, err));
    for (int i = 0; i < 4; i++) {
        const struct tensor *t = in[i < 2 ? p->a : p->b];
        if (at[i] != NULL && i % 2 == 1 && at[i]->type != t->type)
            return error_set(err, COHORT_ERR_SHAPE, "a zero point of type %s for %s",
                             dtype_name(at[i]->type), dtype_name(t->type));
        TRY(check_parameter(at[i], &t->shape, axis_of(p, t, i < 2),
                            i % 2 == 1 ? "zero point" : "scale", err));
    }
    /* The operator itself, on operands of a type that it takes. */
    struct tensor a = *in[p->a], b = *in[p->b], bias = {0};
    const struct tensor *operands[3] = {&a, &b, op_in(n, in, p->bias)};
    struct node copy = *n;
    copy.op = p->op;
    copy.out_count = 1;
    copy.in_count = operands[2] != NULL ? 3 : 2;
    a.type = b.type = DT_F64;
    a.data = b.data = NULL;
    if (operands[2] != NULL) {
        TRY(op_need(n, in, p->bias, TYPE_BIT(DT_I32), err));
        bias = *operands[2];
        bias.type = DT_F64;
        operands[2] = &bias;
    }
    TRY(p->op->infer(&copy, operands, out, err));
    n->window = copy.window;
    n->group = copy.group;
    for (int i = 4; i < 6; i++)
        TRY(check_parameter(at[i], &out[0].shape,
                            p->op == &op_mat_mul && out[0].shape.rank > 1 ? out[0].shape.rank - 2
                                                                          : -1,
                            i == 4 ? "scale of the result" : "zero point of the result", err));
    out[0].type = type;
out:
    return code;
}

/* The product of differences (and, with scales, of real numbers), into an output of any type. */
static enum cohort_code product_eval(const struct node *n, const struct places *p,
                                     const struct tensor *const in[], bool scaled,
                                     struct tensor *out, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tensor a = {0}, b = {0};
    struct node copy = *n;
    const struct tensor *a_scale = scaled ? op_in(n, in, p->a_scale) : NULL;
    const struct tensor *b_scale = scaled ? op_in(n, in, p->b_scale) : NULL;
    copy.op = p->op;
    copy.in_count = 2;
    TRY(dequantized(in[p->a], op_in(n, in, p->a_zero), a_scale, axis_of(p, in[p->a], true), &a,
                    err));
    TRY(dequantized(in[p->b], op_in(n, in, p->b_zero), b_scale, axis_of(p, in[p->b], false), &b,
                    err));
    const struct tensor *const operands[2] = {&a, &b};
    TRY(p->op->eval(&copy, operands, (struct tensor *const[]){out}, err));
out:
    tensor_release(&b);
    tensor_release(&a);
    return code;
}

static double product_flops(const struct graph *g, const struct node *n, const struct places *p) {
    int ids[2] = {n->in[p->a], n->in[p->b]};
    struct node copy = *n;
    copy.in = ids;
    copy.in_count = 2;
    copy.op = p->op;
    return p->op->flops(g, &copy);
}

/* ---- ConvInteger, MatMulInteger -------------------------------------------------------------- */

#define INTEGER(name, symbol)                                                                      \
    static enum cohort_code name##_infer(struct node *n, const struct tensor *const in[],          \
                                         struct tensor out[], struct cohort_error *err) {          \
        struct places p = integer_places(&symbol);                                                 \
        return product_infer(n, &p, in, out, DT_I32, err);                                         \
    }                                                                                              \
    static enum cohort_code name##_eval(const struct node *n, const struct tensor *const in[],     \
                                        struct tensor *const out[], struct cohort_error *err) {    \
        struct places p = integer_places(&symbol);                                                 \
        return product_eval(n, &p, in, false, out[0], err);                                        \
    }                                                                                              \
    static double name##_flops(const struct graph *g, const struct node *n) {                      \
        struct places p = integer_places(&symbol);                                                 \
        return product_flops(g, n, &p);                                                            \
    }
INTEGER(conv_integer, op_conv)
INTEGER(matmul_integer, op_mat_mul)

/* ---- QLinearConv, QLinearMatMul -------------------------------------------------------------- */

static enum cohort_code linear_infer(struct node *n, const struct places *p,
                                     const struct tensor *const in[], struct tensor out[],
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int scales[3] = {p->a_scale, p->b_scale, p->y_scale};
    for (int i = 0; i < 3; i++)
        TRY(op_need(n, in, scales[i], TYPES_FLOAT, err));
    TRY(op_need(n, in, p->y_zero, BYTES, err));
    TRY(product_infer(n, p, in, out, in[p->y_zero]->type, err));
out:
    return code;
}

/* y = round(product / y_scale) + y_zero, saturated. */
static void requantize(const struct tensor *product, const struct tensor *scale,
                       const struct tensor *zero, int axis, struct tensor *y) {
    struct tensor s, z;
    struct bcast b;
    parameter_shape(scale, &y->shape, axis, &s);
    parameter_shape(zero, &y->shape, axis, &z);
    const struct tensor *const in[2] = {&s, &z};
    for (bcast_begin(&b, &y->shape, in, 2); b.more; bcast_next(&b))
        for (int64_t j = 0; j < b.run; j++) {
            double v = tensor_get_f64(product, b.out + j);
            v = nearbyint(v / tensor_get_f64(&s, b.at[0] + j * b.step[0]));
            tensor_set_f64(y, b.out + j, v + tensor_get_f64(&z, b.at[1] + j * b.step[1]));
        }
}

static enum cohort_code matmul_linear_infer(struct node *n, const struct tensor *const in[],
                                            struct tensor out[], struct cohort_error *err) {
    struct places p = linear_places(&op_mat_mul);
    return linear_infer(n, &p, in, out, err);
}

static enum cohort_code matmul_linear_eval(const struct node *n, const struct tensor *const in[],
                                           struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct places p = linear_places(&op_mat_mul);
    struct tensor product = {0};
    int rank = out[0]->shape.rank;
    TRY(tensor_init(&product, DT_F64, &out[0]->shape, err));
    TRY(product_eval(n, &p, in, true, &product, err));
    requantize(&product, in[p.y_scale], in[p.y_zero], rank > 1 ? rank - 2 : -1, out[0]);
out:
    tensor_release(&product);
    return code;
}

static double matmul_linear_flops(const struct graph *g, const struct node *n) {
    struct places p = linear_places(&op_mat_mul);
    return product_flops(g, n, &p);
}

static enum cohort_code conv_linear_infer(struct node *n, const struct tensor *const in[],
                                          struct tensor out[], struct cohort_error *err) {
    struct places p = linear_places(&op_conv);
    return linear_infer(n, &p, in, out, err);
}

/* In integers first; then each output channel is scaled as a whole, with the bias, whose scale is
 * that of the product. */
static enum cohort_code conv_linear_eval(const struct node *n, const struct tensor *const in[],
                                         struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct places p = linear_places(&op_conv);
    struct tensor product = {0};
    const struct shape *s = &out[0]->shape;
    const struct tensor *bias = op_in(n, in, p.bias), *w_scale = in[p.b_scale];
    int64_t pixels = shape_product(s, 2, s->rank), count = shape_count(s);
    double x_scale = tensor_get_f64(in[p.a_scale], 0);
    TRY(tensor_init(&product, DT_F64, s, err));
    TRY(product_eval(n, &p, in, false, &product, err));
    for (int64_t i = 0; i < count; i++) {
        int64_t channel = i / pixels % s->dim[1];
        double sum = tensor_get_f64(&product, i);
        double scale = tensor_get_f64(w_scale, shape_count(&w_scale->shape) == 1 ? 0 : channel);
        if (bias != NULL)
            sum += tensor_get_f64(bias, channel);
        tensor_set_f64(&product, i, sum * x_scale * scale);
    }
    requantize(&product, in[p.y_scale], in[p.y_zero], -1, out[0]);
out:
    tensor_release(&product);
    return code;
}

static double conv_linear_flops(const struct graph *g, const struct node *n) {
    struct places p = linear_places(&op_conv);
    return product_flops(g, n, &p);
}

/* ---- DynamicQuantizeLinear ------------------------------------------------------------------- */

static enum cohort_code dynamic_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = op_need(n, in, 0, TYPE_BIT(DT_F32), err);
    struct shape one = {.rank = 0};
    if (code != COHORT_OK)
        return code;
    op_out(n, out, 0, DT_U8, &in[0]->shape);
    op_out(n, out, 1, DT_F32, &one);
    op_out(n, out, 2, DT_U8, &one);
    return COHORT_OK;
}

/* Zero is always exact; in float32, as specified, for it decides which way a half goes.  A NaN
 * does not count for the range. */
static enum cohort_code dynamic_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    const float *x = tensor_f32(in[0]);
    int64_t count = shape_count(&in[0]->shape);
    float least = 0, most = 0;
    for (int64_t i = 0; i < count; i++) {
        least = fminf(least, x[i]);
        most = fmaxf(most, x[i]);
    }
    float scale = most > least ? (most - least) / 255 : 1;
    double zero = nearbyint((double)fminf(fmaxf(0 - least / scale, 0), 255));
    for (int64_t i = 0; i < count; i++)
        tensor_set_f64(out[0], i, nearbyint((double)(x[i] / scale)) + zero);
    if (n->out_count > 1)
        tensor_set_f64(out[1], 0, (double)scale);
    if (n->out_count > 2)
        tensor_set_f64(out[2], 0, zero);
    return COHORT_OK;
}

static double dynamic_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? 4 * (double)count : 0;
}

#define ROW(onnx, first, least, most, outputs, what)                                               \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = OPSET_LAST, .min_inputs = least,      \
        .max_inputs = most, .max_outputs = outputs, .infer = what##_infer, .eval = what##_eval,    \
        .flops = what##_flops                                                                      \
    }

const struct op_desc op_conv_integer = ROW("ConvInteger", 10, 2, 4, 1, conv_integer);
const struct op_desc op_dynamic_quantize_linear =
    ROW("DynamicQuantizeLinear", 11, 1, 1, 3, dynamic);
const struct op_desc op_mat_mul_integer = ROW("MatMulInteger", 10, 2, 4, 1, matmul_integer);
const struct op_desc op_qlinear_conv = ROW("QLinearConv", 10, 8, 9, 1, conv_linear);
const struct op_desc op_qlinear_mat_mul = ROW("QLinearMatMul", 10, 8, 8, 1, matmul_linear);
