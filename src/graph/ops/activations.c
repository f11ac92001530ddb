/* Operators that compute every element from one element: activations and mathematical functions.
 *
 * Each is a line in functions[] (what it computes, in double, and for integers where ONNX has
 * them) and a row of the operator table.  Clip has its own file, for its bounds are inputs. */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

/* ---- the functions --------------------------------------------------------------------------- */

static double relu(double x, double a, double b) {
    (void)a;
    (void)b;
    return x < 0 ? 0 : x;
}
static int64_t relu_i(int64_t x) {
    return x < 0 ? 0 : x;
}
static double leaky_relu(double x, double alpha, double b) {
    (void)b;
    return x < 0 ? alpha * x : x;
}
static double thresholded_relu(double x, double alpha, double b) {
    (void)b;
    return x > alpha || isnan(x) ? x : 0;
}
static double elu(double x, double alpha, double b) {
    (void)b;
    return x < 0 ? alpha * expm1(x) : x;
}
static double celu(double x, double alpha, double b) {
    (void)b;
    return x < 0 ? alpha * expm1(x / alpha) : x;
}
static double selu(double x, double alpha, double gamma) {
    return gamma * (x < 0 ? alpha * expm1(x) : x);
}
static double sigmoid(double x, double a, double b) {
    (void)a;
    (void)b;
    return 1 / (1 + exp(-x));
}
static double hard_sigmoid(double x, double alpha, double beta) {
    double y = alpha * x + beta;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}
static double hard_swish(double x, double a, double b) {
    (void)a;
    (void)b;
    return x * hard_sigmoid(x, 1.0 / 6, 0.5);
}
static double swish(double x, double alpha, double b) {
    (void)b;
    return x / (1 + exp(-alpha * x));
}
static double softplus(double x, double a, double b) {
    (void)a;
    (void)b;
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double softsign(double x, double a, double b) {
    (void)a;
    (void)b;
    return isinf(x) ? copysign(1, x) : x / (1 + fabs(x));
}
static double mish(double x, double a, double b) {
    return x * tanh(softplus(x, a, b));
}
/* Hendrycks and Gimpel, 2016: x * Phi(x). */
static double gelu(double x, double a, double b) {
    (void)a;
    (void)b;
    return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
}
static double gelu_tanh(double x, double a, double b) {
    (void)a;
    (void)b;
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}
static double shrink(double x, double bias, double lambd) {
    return x < -lambd ? x + bias : x > lambd ? x - bias : isnan(x) ? x : 0;
}
static double absolute(double x, double a, double b) {
    (void)a;
    (void)b;
    return fabs(x);
}
static int64_t absolute_i(int64_t x) {
    return x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
}
static double negative(double x, double a, double b) {
    (void)a;
    (void)b;
    return -x;
}
static int64_t negative_i(int64_t x) {
    return (int64_t)(0 - (uint64_t)x);
}
static double sign(double x, double a, double b) {
    (void)a;
    (void)b;
    return x > 0 ? 1 : x < 0 ? -1 : x; /* zero and NaN stay */
}
static int64_t sign_i(int64_t x) {
    return (x > 0) - (x < 0);
}
static double reciprocal(double x, double a, double b) {
    (void)a;
    (void)b;
    return 1 / x;
}

/* C's own functions of one argument. */
#define FUNCTION(name, call)                                                                       \
    static double name(double x, double a, double b) {                                             \
        (void)a;                                                                                   \
        (void)b;                                                                                   \
        return call(x);                                                                            \
    }
FUNCTION(f_tanh, tanh)
FUNCTION(f_erf, erf)
FUNCTION(f_exp, exp)
FUNCTION(f_log, log)
FUNCTION(f_sqrt, sqrt)
FUNCTION(f_floor, floor)
FUNCTION(f_ceil, ceil)
FUNCTION(f_round, nearbyint) /* halves to even, as ONNX wants and as the rounding mode is set */
FUNCTION(f_sin, sin)
FUNCTION(f_cos, cos)
FUNCTION(f_tan, tan)
FUNCTION(f_asin, asin)
FUNCTION(f_acos, acos)
FUNCTION(f_atan, atan)
FUNCTION(f_sinh, sinh)
FUNCTION(f_cosh, cosh)
FUNCTION(f_asinh, asinh)
FUNCTION(f_acosh, acosh)
FUNCTION(f_atanh, atanh)

static double is_nan(double x, double a, double b) {
    (void)a;
    (void)b;
    return isnan(x);
}
static double is_inf(double x, double negative_too, double positive_too) {
    return isinf(x) && (x > 0 ? positive_too : negative_too) != 0;
}
static int64_t not_i(int64_t x) {
    return x == 0;
}

static int64_t bitwise_not_i(int64_t x) {
    return ~x;
}

struct function {
    const char *name; /* ONNX's */
    double (*f)(double x, double a, double b);
    int64_t (*i)(int64_t x); /* integers and bool, NULL: not for them */
    unsigned types;
    const char *a, *b;              /* attributes */
    float a_otherwise, b_otherwise; /* and their defaults */
};

#define FLOATS .types = TYPES_FLOAT
static const struct function functions[] = {
    {"Abs", absolute, absolute_i, .types = TYPES_NUMBER},
    {"Acos", f_acos, FLOATS},
    {"Acosh", f_acosh, FLOATS},
    {"Asin", f_asin, FLOATS},
    {"Asinh", f_asinh, FLOATS},
    {"Atan", f_atan, FLOATS},
    {"Atanh", f_atanh, FLOATS},
    {"BitwiseNot", NULL, bitwise_not_i, .types = TYPES_INTEGER},
    {"Ceil", f_ceil, FLOATS},
    {"Celu", celu, FLOATS, .a = "alpha", .a_otherwise = 1},
    {"Cos", f_cos, FLOATS},
    {"Cosh", f_cosh, FLOATS},
    {"Elu", elu, FLOATS, .a = "alpha", .a_otherwise = 1},
    {"Erf", f_erf, FLOATS},
    {"Exp", f_exp, FLOATS},
    {"Floor", f_floor, FLOATS},
    {"Gelu", gelu, FLOATS},
    {"HardSigmoid", hard_sigmoid, FLOATS, .a = "alpha", .b = "beta", .a_otherwise = 0.2f,
     .b_otherwise = 0.5f},
    {"HardSwish", hard_swish, FLOATS},
    {"IsInf", is_inf, FLOATS, .a = "detect_negative", .b = "detect_positive", .a_otherwise = 1,
     .b_otherwise = 1},
    {"IsNaN", is_nan, FLOATS},
    {"LeakyRelu", leaky_relu, FLOATS, .a = "alpha", .a_otherwise = 0.01f},
    {"Log", f_log, FLOATS},
    {"Mish", mish, FLOATS},
    {"Neg", negative, negative_i, .types = TYPES_FLOAT | TYPES_SIGNED},
    {"Not", NULL, not_i, .types = TYPES_BOOL},
    {"Reciprocal", reciprocal, FLOATS},
    {"Relu", relu, relu_i, .types = TYPES_FLOAT | TYPES_SIGNED},
    {"Round", f_round, FLOATS},
    {"Selu", selu, FLOATS, .a = "alpha", .b = "gamma", .a_otherwise = 1.67326319217681884765625f,
     .b_otherwise = 1.05070102214813232421875f},
    {"Shrink", shrink, FLOATS, .a = "bias", .b = "lambd", .a_otherwise = 0, .b_otherwise = 0.5f},
    {"Sigmoid", sigmoid, FLOATS},
    {"Sign", sign, sign_i, .types = TYPES_NUMBER},
    {"Sin", f_sin, FLOATS},
    {"Sinh", f_sinh, FLOATS},
    {"Softplus", softplus, FLOATS},
    {"Softsign", softsign, FLOATS},
    {"Sqrt", f_sqrt, FLOATS},
    {"Swish", swish, FLOATS, .a = "alpha", .a_otherwise = 1},
    {"Tan", f_tan, FLOATS},
    {"Tanh", f_tanh, FLOATS},
    {"ThresholdedRelu", thresholded_relu, FLOATS, .a = "alpha", .a_otherwise = 1},
};

static const struct function *function_of(const struct node *n) {
    for (size_t k = 0; k < sizeof functions / sizeof functions[0]; k++)
        if (strcmp(functions[k].name, n->op->name) == 0)
            return &functions[k];
    BUG("an activation without a function");
}

/* An attribute that is a float, or (IsInf) an int. */
static double parameter(const struct node *n, const char *name, float otherwise) {
    const struct attr *a = name != NULL ? node_attr(n, name) : NULL;
    if (a == NULL)
        return (double)otherwise;
    return a->kind == ATTR_INT ? (double)a->i : (double)a->f;
}

static bool gelu_is_tanh(const struct node *n) {
    return strcmp(node_attr_string(n, "approximate", "none"), "tanh") == 0;
}

/* ---- the operators --------------------------------------------------------------------------- */

static enum cohort_code unary_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 0, function_of(n)->types, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code predicate_infer(struct node *n, const struct tensor *const in[],
                                        struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = unary_infer(n, in, out, err);
    if (code == COHORT_OK)
        out[0].type = DT_BOOL;
    return code;
}

static enum cohort_code gelu_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    const char *approximate = node_attr_string(n, "approximate", "none");
    if (strcmp(approximate, "none") != 0 && strcmp(approximate, "tanh") != 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "approximate is \"%.40s\"; \"none\" or "
                         "\"tanh\" are possible",
                         approximate);
    return unary_infer(n, in, out, err);
}

static enum cohort_code unary_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    const struct function *u = function_of(n);
    double (*f)(double, double, double) = u->f == gelu && gelu_is_tanh(n) ? gelu_tanh : u->f;
    double a = parameter(n, u->a, u->a_otherwise), b = parameter(n, u->b, u->b_otherwise);
    bool integers = !dtype_is_float(in[0]->type);
    enum op_class c = integers ? CLASS_I64 : CLASS_F64;
    int64_t total = shape_count(&in[0]->shape);
    if (in[0]->type == DT_U64 && u->f == absolute) { /* its upper half would look negative */
        memcpy(out[0]->data, in[0]->data, tensor_bytes(in[0]));
        return COHORT_OK;
    }
    for (int64_t first = 0; first < total; first += OP_CHUNK) {
        union op_chunk v;
        int64_t count = total - first < OP_CHUNK ? total - first : OP_CHUNK;
        op_load(c, in[0], first, 1, count, &v);
        for (int64_t j = 0; j < count; j++)
            if (integers)
                v.i[j] = u->i(v.i[j]);
            else
                v.f[j] = f(v.f[j], a, b);
        op_store(c, out[0], first, count, &v);
    }
    return COHORT_OK;
}

#define ROW(onnx, first, infer_fn, map_fn)                                                         \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = OPSET_LAST, .min_inputs = 1,          \
        .max_inputs = 1, .max_outputs = 1, .flags = OP_UNARY, .infer = infer_fn,                   \
        .eval = unary_eval, .map_ok = map_fn                                                       \
    }

const struct op_desc op_abs = ROW("Abs", 6, unary_infer, map_unary_ok);
const struct op_desc op_acos = ROW("Acos", 7, unary_infer, map_unary_ok);
const struct op_desc op_acosh = ROW("Acosh", 9, unary_infer, map_unary_ok);
const struct op_desc op_asin = ROW("Asin", 7, unary_infer, map_unary_ok);
const struct op_desc op_asinh = ROW("Asinh", 9, unary_infer, map_unary_ok);
const struct op_desc op_atan = ROW("Atan", 7, unary_infer, map_unary_ok);
const struct op_desc op_atanh = ROW("Atanh", 9, unary_infer, map_unary_ok);
const struct op_desc op_bitwise_not = ROW("BitwiseNot", 18, unary_infer, NULL);
const struct op_desc op_ceil = ROW("Ceil", 6, unary_infer, map_unary_ok);
const struct op_desc op_celu = ROW("Celu", 12, unary_infer, map_unary_ok);
const struct op_desc op_cos = ROW("Cos", 7, unary_infer, map_unary_ok);
const struct op_desc op_cosh = ROW("Cosh", 9, unary_infer, map_unary_ok);
const struct op_desc op_elu = ROW("Elu", 6, unary_infer, map_unary_ok);
const struct op_desc op_erf = ROW("Erf", 9, unary_infer, map_unary_ok);
const struct op_desc op_exp = ROW("Exp", 6, unary_infer, map_unary_ok);
const struct op_desc op_floor = ROW("Floor", 6, unary_infer, map_unary_ok);
const struct op_desc op_gelu = ROW("Gelu", 20, gelu_infer, map_unary_ok);
const struct op_desc op_hard_sigmoid = ROW("HardSigmoid", 6, unary_infer, map_unary_ok);
const struct op_desc op_hard_swish = ROW("HardSwish", 14, unary_infer, map_unary_ok);
const struct op_desc op_is_inf = ROW("IsInf", 10, predicate_infer, NULL);
const struct op_desc op_is_nan = ROW("IsNaN", 9, predicate_infer, NULL);
const struct op_desc op_leaky_relu = ROW("LeakyRelu", 6, unary_infer, map_unary_ok);
const struct op_desc op_log = ROW("Log", 6, unary_infer, map_unary_ok);
const struct op_desc op_mish = ROW("Mish", 18, unary_infer, map_unary_ok);
const struct op_desc op_neg = ROW("Neg", 6, unary_infer, map_unary_ok);
const struct op_desc op_not = ROW("Not", 1, unary_infer, NULL);
const struct op_desc op_reciprocal = ROW("Reciprocal", 6, unary_infer, map_unary_ok);
const struct op_desc op_relu = ROW("Relu", 6, unary_infer, map_unary_ok);
const struct op_desc op_round = ROW("Round", 11, unary_infer, map_unary_ok);
const struct op_desc op_selu = ROW("Selu", 6, unary_infer, map_unary_ok);
const struct op_desc op_shrink = ROW("Shrink", 9, unary_infer, map_unary_ok);
const struct op_desc op_sigmoid = ROW("Sigmoid", 6, unary_infer, map_unary_ok);
const struct op_desc op_sign = ROW("Sign", 9, unary_infer, map_unary_ok);
const struct op_desc op_sin = ROW("Sin", 7, unary_infer, map_unary_ok);
const struct op_desc op_sinh = ROW("Sinh", 9, unary_infer, map_unary_ok);
const struct op_desc op_softplus = ROW("Softplus", 1, unary_infer, map_unary_ok);
const struct op_desc op_softsign = ROW("Softsign", 1, unary_infer, map_unary_ok);
const struct op_desc op_sqrt = ROW("Sqrt", 6, unary_infer, map_unary_ok);
const struct op_desc op_swish = ROW("Swish", 24, unary_infer, map_unary_ok);
const struct op_desc op_tan = ROW("Tan", 7, unary_infer, map_unary_ok);
const struct op_desc op_tanh = ROW("Tanh", 6, unary_infer, map_unary_ok);
const struct op_desc op_thresholded_relu = ROW("ThresholdedRelu", 10, unary_infer, map_unary_ok);
