/* Operators on two operands with NumPy broadcasting: arithmetic, comparison, logic, and PRelu.
 *
 * Floats are computed in double (which rounds to the same float32 for + - * /), integers in 64
 * bits and wrapped around, uint64 on its own where the sign matters. */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

/* ---- the functions: x[j] = x[j] OP y[j] ------------------------------------------------------ */

struct function {
    const char *name;
    unsigned types;
    bool predicate; /* gives bool */
    double (*f)(double x, double y);
    int64_t (*i)(int64_t x, int64_t y);
    uint64_t (*u)(uint64_t x, uint64_t y);
};

static double add_f(double x, double y) {
    return x + y;
}
static int64_t add_i(int64_t x, int64_t y) {
    return (int64_t)((uint64_t)x + (uint64_t)y);
}
static uint64_t add_u(uint64_t x, uint64_t y) {
    return x + y;
}
static double sub_f(double x, double y) {
    return x - y;
}
static int64_t sub_i(int64_t x, int64_t y) {
    return (int64_t)((uint64_t)x - (uint64_t)y);
}
static uint64_t sub_u(uint64_t x, uint64_t y) {
    return x - y;
}
static double mul_f(double x, double y) {
    return x * y;
}
static int64_t mul_i(int64_t x, int64_t y) {
    return (int64_t)((uint64_t)x * (uint64_t)y);
}
static uint64_t mul_u(uint64_t x, uint64_t y) {
    return x * y;
}
static double div_f(double x, double y) {
    return x / y;
}
/* Truncates.  ONNX leaves a zero divisor open: eval() refuses it before.  INT64_MIN / -1 wraps. */
static int64_t div_i(int64_t x, int64_t y) {
    return y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y;
}
static uint64_t div_u(uint64_t x, uint64_t y) {
    return x / y;
}
/* fmod = 0, for integers: the remainder has the divisor's sign, as in Python. */
static int64_t mod_i(int64_t x, int64_t y) {
    if (y == -1)
        return 0;
    int64_t r = x % y;
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
static int64_t fmod_i(int64_t x, int64_t y) {
    return y == -1 ? 0 : x % y;
}
static uint64_t mod_u(uint64_t x, uint64_t y) {
    return x % y;
}
static double equal_f(double x, double y) {
    return x == y;
}
static int64_t equal_i(int64_t x, int64_t y) {
    return x == y;
}
static uint64_t equal_u(uint64_t x, uint64_t y) {
    return x == y;
}
static double less_f(double x, double y) {
    return x < y;
}
static int64_t less_i(int64_t x, int64_t y) {
    return x < y;
}
static uint64_t less_u(uint64_t x, uint64_t y) {
    return x < y;
}
static double less_equal_f(double x, double y) {
    return x <= y;
}
static int64_t less_equal_i(int64_t x, int64_t y) {
    return x <= y;
}
static uint64_t less_equal_u(uint64_t x, uint64_t y) {
    return x <= y;
}
static double greater_f(double x, double y) {
    return x > y;
}
static int64_t greater_i(int64_t x, int64_t y) {
    return x > y;
}
static uint64_t greater_u(uint64_t x, uint64_t y) {
    return x > y;
}
static double greater_equal_f(double x, double y) {
    return x >= y;
}
static int64_t greater_equal_i(int64_t x, int64_t y) {
    return x >= y;
}
static uint64_t greater_equal_u(uint64_t x, uint64_t y) {
    return x >= y;
}
static int64_t and_i(int64_t x, int64_t y) {
    return x && y;
}
static int64_t or_i(int64_t x, int64_t y) {
    return x || y;
}
static int64_t xor_i(int64_t x, int64_t y) {
    return !x != !y;
}
static int64_t bit_and_i(int64_t x, int64_t y) {
    return x & y;
}
static uint64_t bit_and_u(uint64_t x, uint64_t y) {
    return x & y;
}
static int64_t bit_or_i(int64_t x, int64_t y) {
    return x | y;
}
static uint64_t bit_or_u(uint64_t x, uint64_t y) {
    return x | y;
}
static int64_t bit_xor_i(int64_t x, int64_t y) {
    return x ^ y;
}
static uint64_t bit_xor_u(uint64_t x, uint64_t y) {
    return x ^ y;
}
/* Bits that leave the type are gone: to the left, storing cuts them off. */
static uint64_t shift_left_u(uint64_t x, uint64_t y) {
    return y < 64 ? x << y : 0;
}
static uint64_t shift_right_u(uint64_t x, uint64_t y) {
    return y < 64 ? x >> y : 0;
}
static double prelu_f(double x, double slope) {
    return x < 0 ? slope * x : x;
}
static int64_t prelu_i(int64_t x, int64_t slope) {
    return x < 0 ? mul_i(slope, x) : x;
}
static uint64_t prelu_u(uint64_t x, uint64_t slope) {
    (void)slope;
    return x;
}

static const struct function functions[] = {
    {"Add", TYPES_NUMBER, false, add_f, add_i, add_u},
    {"And", TYPES_BOOL, true, NULL, and_i, NULL},
    {"BitShift", TYPES_UNSIGNED, false, NULL, NULL, shift_left_u},
    {"BitwiseAnd", TYPES_INTEGER, false, NULL, bit_and_i, bit_and_u},
    {"BitwiseOr", TYPES_INTEGER, false, NULL, bit_or_i, bit_or_u},
    {"BitwiseXor", TYPES_INTEGER, false, NULL, bit_xor_i, bit_xor_u},
    {"Div", TYPES_NUMBER, false, div_f, div_i, div_u},
    {"Equal", TYPES_ANY, true, equal_f, equal_i, equal_u},
    {"Greater", TYPES_NUMBER, true, greater_f, greater_i, greater_u},
    {"GreaterOrEqual", TYPES_NUMBER, true, greater_equal_f, greater_equal_i, greater_equal_u},
    {"Less", TYPES_NUMBER, true, less_f, less_i, less_u},
    {"LessOrEqual", TYPES_NUMBER, true, less_equal_f, less_equal_i, less_equal_u},
    {"Mod", TYPES_NUMBER, false, fmod, mod_i, mod_u},
    {"Mul", TYPES_NUMBER, false, mul_f, mul_i, mul_u},
    {"Or", TYPES_BOOL, true, NULL, or_i, NULL},
    {"PRelu", TYPES_NUMBER, false, prelu_f, prelu_i, prelu_u},
    {"Sub", TYPES_NUMBER, false, sub_f, sub_i, sub_u},
    {"SwiGLU", TYPES_FLOAT, false, mul_f, NULL, NULL},
    {"Xor", TYPES_BOOL, true, NULL, xor_i, NULL},
};

static const struct function *function_of(const struct node *n) {
    for (size_t k = 0; k < sizeof functions / sizeof functions[0]; k++)
        if (strcmp(functions[k].name, n->op->name) == 0)
            return &functions[k];
    BUG("a binary operator without a function");
}

/* ---- the operators --------------------------------------------------------------------------- */

static enum cohort_code binary_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape;
    const struct function *b = function_of(n);
    TRY(op_need(n, in, 0, b->types, err));
    TRY(op_need_same(n, in, 1, err));
    TRY(op_broadcast(n, in, 2, &shape, err));
    op_out(n, out, 0, b->predicate ? DT_BOOL : in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code mod_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    if (in[0] != NULL && dtype_is_float(in[0]->type) && node_attr_int(n, "fmod", 0) != 1)
        return error_set(err, COHORT_ERR_SHAPE, "floating-point Mod needs the attribute fmod = 1");
    return binary_infer(n, in, out, err);
}

/* The slope is broadcast to the input, never the other way round. */
static enum cohort_code prelu_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(binary_infer(n, in, out, err));
    if (in[0]->shape.rank >= 0 && in[1]->shape.rank >= 0) {
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        bool fits = out[0].shape.rank == in[0]->shape.rank;
        for (int i = 0; fits && i < out[0].shape.rank; i++)
            fits = in[0]->shape.dim[i] < 0 || out[0].shape.dim[i] == in[0]->shape.dim[i];
        if (!fits)
            return error_set(err, COHORT_ERR_SHAPE, "a slope of shape %s does not fit input %s",
                             shape_text(&in[1]->shape, a, sizeof a),
                             shape_text(&in[0]->shape, b, sizeof b));
    }
    out[0].shape = in[0]->shape;
out:
    return code;
}

static void apply(const struct function *b, enum op_class c, int64_t count, union op_chunk *x,
                  const union op_chunk *y) {
    if (c == CLASS_F64)
        for (int64_t j = 0; j < count; j++)
            x->f[j] = b->f(x->f[j], y->f[j]);
    else if (c == CLASS_I64)
        for (int64_t j = 0; j < count; j++)
            x->i[j] = b->i(x->i[j], y->i[j]);
    else
        for (int64_t j = 0; j < count; j++)
            x->u[j] = b->u(x->u[j], y->u[j]);
}

static void broadcast_eval(const struct function *f, enum op_class c,
                           const struct tensor *const in[], struct tensor *out) {
    struct bcast b;
    for (bcast_begin(&b, &out->shape, in, 2); b.more; bcast_next(&b))
        for (int64_t j = 0; j < b.run; j += OP_CHUNK) {
            union op_chunk x, y;
            int64_t count = b.run - j < OP_CHUNK ? b.run - j : OP_CHUNK;
            op_load(c, in[0], b.at[0] + j * b.step[0], b.step[0], count, &x);
            op_load(c, in[1], b.at[1] + j * b.step[1], b.step[1], count, &y);
            apply(f, c, count, &x, &y);
            op_store(c, out, b.out + j, count, &x);
        }
}

static enum cohort_code binary_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    broadcast_eval(function_of(n), op_class_of(in[0]->type), in, out[0]);
    return COHORT_OK;
}

/* Integer division by zero is an error of the data, not a trap. */
static enum cohort_code divisor_check(const struct tensor *t, struct cohort_error *err) {
    int64_t count = shape_count(&t->shape);
    if (!dtype_is_float(t->type))
        for (int64_t i = 0; i < count; i++)
            if (tensor_get_i64(t, i) == 0)
                return error_set(err, COHORT_ERR_SHAPE, "integer division by zero");
    return COHORT_OK;
}

static enum cohort_code div_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (shape_count(&out[0]->shape) > 0)
        TRY(divisor_check(in[1], err));
    code = binary_eval(n, in, out, err);
out:
    return code;
}

static enum cohort_code mod_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct function f = *function_of(n);
    if (node_attr_int(n, "fmod", 0) != 0)
        f.i = fmod_i;
    if (shape_count(&out[0]->shape) > 0)
        TRY(divisor_check(in[1], err));
    broadcast_eval(&f, op_class_of(in[0]->type), in, out[0]);
out:
    return code;
}

/* BitShift: in 64 bits, unsigned, whatever the type. */
static enum cohort_code shift_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    const char *direction = node_attr_string(n, "direction", "");
    if (strcmp(direction, "LEFT") != 0 && strcmp(direction, "RIGHT") != 0)
        return error_set(err, COHORT_ERR_SHAPE,
                         "direction is \"%.40s\"; \"LEFT\" or \"RIGHT\" is needed", direction);
    return binary_infer(n, in, out, err);
}

static enum cohort_code shift_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    struct function f = *function_of(n);
    if (strcmp(node_attr_string(n, "direction", ""), "RIGHT") == 0)
        f.u = shift_right_u;
    broadcast_eval(&f, CLASS_U64, in, out[0]);
    return COHORT_OK;
}

/* SwiGLU: Swish of the first operand times the second, both of one shape. */
static enum cohort_code swiglu_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = binary_infer(n, in, out, err);
    if (code == COHORT_OK && shape_known(&in[0]->shape) && shape_known(&in[1]->shape) &&
        !shape_equal(&in[0]->shape, &in[1]->shape)) {
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        return error_set(err, COHORT_ERR_SHAPE, "shapes %s and %s differ",
                         shape_text(&in[0]->shape, a, sizeof a),
                         shape_text(&in[1]->shape, b, sizeof b));
    }
    return code;
}

static enum cohort_code swiglu_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    double alpha = (double)node_attr_float(n, "alpha", 1);
    int64_t total = shape_count(&out[0]->shape);
    for (int64_t first = 0; first < total; first += OP_CHUNK) {
        union op_chunk x, y;
        int64_t count = total - first < OP_CHUNK ? total - first : OP_CHUNK;
        op_load(CLASS_F64, in[0], first, 1, count, &x);
        op_load(CLASS_F64, in[1], first, 1, count, &y);
        for (int64_t j = 0; j < count; j++)
            x.f[j] *= y.f[j] / (1 + exp(-alpha * x.f[j]));
        op_store(CLASS_F64, out[0], first, count, &x);
    }
    return COHORT_OK;
}

static bool prelu_map_ok(const struct graph *g, const struct node *n) {
    return map_unary_ok(g, n) &&
           map_channel_constant(node_const(g, n, 1), &graph_value(g, n->in[0])->shape);
}

#define ROW(onnx, first, infer_fn, eval_fn, map_fn)                                                \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = OPSET_LAST, .min_inputs = 2,          \
        .max_inputs = 2, .max_outputs = 1, .flags = OP_BINARY, .infer = infer_fn, .eval = eval_fn, \
        .map_ok = map_fn                                                                           \
    }

const struct op_desc op_add = ROW("Add", 7, binary_infer, binary_eval, map_binary_ok);
const struct op_desc op_and = ROW("And", 7, binary_infer, binary_eval, NULL);
const struct op_desc op_bit_shift = ROW("BitShift", 11, shift_infer, shift_eval, NULL);
const struct op_desc op_bitwise_and = ROW("BitwiseAnd", 18, binary_infer, binary_eval, NULL);
const struct op_desc op_bitwise_or = ROW("BitwiseOr", 18, binary_infer, binary_eval, NULL);
const struct op_desc op_bitwise_xor = ROW("BitwiseXor", 18, binary_infer, binary_eval, NULL);
const struct op_desc op_div = ROW("Div", 7, binary_infer, div_eval, map_binary_ok);
const struct op_desc op_equal = ROW("Equal", 7, binary_infer, binary_eval, NULL);
const struct op_desc op_greater = ROW("Greater", 7, binary_infer, binary_eval, NULL);
const struct op_desc op_greater_or_equal =
    ROW("GreaterOrEqual", 12, binary_infer, binary_eval, NULL);
const struct op_desc op_less = ROW("Less", 7, binary_infer, binary_eval, NULL);
const struct op_desc op_less_or_equal = ROW("LessOrEqual", 12, binary_infer, binary_eval, NULL);
const struct op_desc op_mod = ROW("Mod", 10, mod_infer, mod_eval, NULL);
const struct op_desc op_mul = ROW("Mul", 7, binary_infer, binary_eval, map_binary_ok);
const struct op_desc op_or = ROW("Or", 7, binary_infer, binary_eval, NULL);
const struct op_desc op_prelu = ROW("PRelu", 7, prelu_infer, binary_eval, prelu_map_ok);
const struct op_desc op_sub = ROW("Sub", 7, binary_infer, binary_eval, map_binary_ok);
const struct op_desc op_swiglu = ROW("SwiGLU", 28, swiglu_infer, swiglu_eval, NULL);
const struct op_desc op_xor = ROW("Xor", 7, binary_infer, binary_eval, NULL);
