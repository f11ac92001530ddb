/* Elementwise operators: every function at chosen points (NaN and infinity among them), Clip, Cast,
 * Where, and the broadcasting ones against index arithmetic written out. */
#include "base/mem.h"
#include "tests/support/optest.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct optest t; /* its seed goes on from case to case */

/* ---- functions of one element ---------------------------------------------------------------- */

struct point {
    const char *op;
    int opset;
    double x, y;
};

/* Values from the definitions, computed by hand or with bc to 10 digits. */
static const struct point points[] = {
    {"Relu", 14, -3, 0},
    {"Relu", 14, 2.5, 2.5},
    {"Relu", 14, NAN, NAN},
    {"LeakyRelu", 16, -2, -0.02},
    {"LeakyRelu", 16, 3, 3},
    {"ThresholdedRelu", 10, 1, 0},
    {"ThresholdedRelu", 10, 1.5, 1.5},
    {"Elu", 6, -1, -0.6321205588},
    {"Elu", 6, 2, 2},
    {"Elu", 6, -INFINITY, -1},
    {"Celu", 12, -1, -0.6321205588},
    {"Selu", 6, 1, 1.0507010221},
    {"Selu", 6, -1, -1.1113307413},
    {"Sigmoid", 13, 0, 0.5},
    {"Sigmoid", 13, 2, 0.8807970780},
    {"Sigmoid", 13, -INFINITY, 0},
    {"Sigmoid", 13, 1000, 1},
    {"HardSigmoid", 6, 1, 0.7},
    {"HardSigmoid", 6, -3, 0},
    {"HardSigmoid", 6, 3, 1},
    {"HardSwish", 14, 1, 0.6666666667},
    {"HardSwish", 14, -4, 0},
    {"HardSwish", 14, 5, 5},
    {"Swish", 24, 1, 0.7310585786},
    {"Softplus", 1, 0, 0.6931471806},
    {"Softplus", 1, 1000, 1000},
    {"Softplus", 1, -1000, 0},
    {"Softsign", 1, -3, -0.75},
    {"Softsign", 1, INFINITY, 1},
    {"Mish", 18, 1, 0.8650983883},
    {"Gelu", 20, 1, 0.8413447461},
    {"Shrink", 9, 0.25, 0},
    {"Shrink", 9, 0.75, 0.75},
    {"Abs", 13, -2.5, 2.5},
    {"Neg", 13, 2.5, -2.5},
    {"Sign", 13, -0.25, -1},
    {"Sign", 13, 0, 0},
    {"Sign", 13, NAN, NAN},
    {"Reciprocal", 13, 4, 0.25},
    {"Reciprocal", 13, 0, INFINITY},
    {"Floor", 13, -1.5, -2},
    {"Ceil", 13, -1.5, -1},
    {"Round", 11, 0.5, 0},
    {"Round", 11, 1.5, 2},
    {"Round", 11, -2.5, -2},
    {"Exp", 13, 1, 2.7182818285},
    {"Log", 13, 10, 2.3025850930},
    {"Log", 13, -1, NAN},
    {"Log", 13, 0, -INFINITY},
    {"Sqrt", 13, 2, 1.4142135624},
    {"Sqrt", 13, -1, NAN},
    {"Erf", 13, 0.5, 0.5204998778},
    {"Tanh", 13, 0.5, 0.4621171573},
    {"Sin", 7, 1, 0.8414709848},
    {"Cos", 7, 1, 0.5403023059},
    {"Tan", 7, 1, 1.5574077247},
    {"Asin", 7, 0.5, 0.5235987756},
    {"Acos", 7, 0.5, 1.0471975512},
    {"Atan", 7, 1, 0.7853981634},
    {"Sinh", 9, 1, 1.1752011936},
    {"Cosh", 9, 1, 1.5430806348},
    {"Asinh", 9, 1, 0.8813735870},
    {"Acosh", 9, 2, 1.3169578969},
    {"Atanh", 9, 0.5, 0.5493061443},
};

static void test_points(void **state) {
    (void)state;
    static const struct {
        enum dtype type;
        double tolerance;
    } types[] = {{DT_F32, 2e-7}, {DT_F64, 1e-9}, {DT_F16, 1e-3}, {DT_BF16, 8e-3}};
    for (size_t k = 0; k < sizeof points / sizeof points[0]; k++)
        for (size_t d = 0; d < 4; d++) {
            const struct point *p = &points[k];
            optest_begin(&t, p->op, p->opset);
            optest_input(&t, types[d].type, SCALAR, &p->x);
            optest_run(&t, 1);
            optest_expect(&t, 0, types[d].type, SCALAR, &p->y, types[d].tolerance * 4);
            optest_end(&t);
        }
}

static void test_parameters(void **state) {
    (void)state;
    optest_begin(&t, "LeakyRelu", 6);
    optest_float(&t, "alpha", 0.5f);
    optest_input(&t, DT_F32, DIMS(3), VALUES(-2, 0, 2));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(-1, 0, 2), 0);
    optest_end(&t);

    optest_begin(&t, "HardSigmoid", 6);
    optest_float(&t, "alpha", 0.5f);
    optest_float(&t, "beta", 0.25f);
    optest_input(&t, DT_F32, DIMS(3), VALUES(-1, 0, 1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(0, 0.25, 0.75), 0);
    optest_end(&t);

    optest_begin(&t, "Gelu", 20);
    optest_string(&t, "approximate", "tanh");
    optest_input(&t, DT_F32, DIMS(2), VALUES(1, -1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2), VALUES(0.8411919906, -0.1588080094), 1e-7);
    optest_end(&t);

    optest_begin(&t, "Gelu", 20);
    optest_string(&t, "approximate", "sigmoid");
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "approximate");
    optest_end(&t);

    optest_begin(&t, "Shrink", 9);
    optest_float(&t, "bias", 1.5f);
    optest_float(&t, "lambd", 1.5f);
    optest_input(&t, DT_F32, DIMS(5), VALUES(-2, -1, 0, 1, 2));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(5), VALUES(-0.5, 0, 0, 0, 0.5), 0);
    optest_end(&t);

    optest_begin(&t, "IsInf", 10);
    optest_int(&t, "detect_positive", 0);
    optest_input(&t, DT_F32, DIMS(4), VALUES(INFINITY, -INFINITY, NAN, 1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_BOOL, DIMS(4), VALUES(0, 1, 0, 0), 0);
    optest_end(&t);

    optest_begin(&t, "IsNaN", 13);
    optest_input(&t, DT_F64, DIMS(3), VALUES(INFINITY, NAN, 1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_BOOL, DIMS(3), VALUES(0, 1, 0), 0);
    optest_end(&t);
}

static void test_integers(void **state) {
    (void)state;
    optest_begin(&t, "Abs", 13);
    optest_input(&t, DT_I8, DIMS(3), VALUES(-5, 5, -128));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I8, DIMS(3), VALUES(5, 5, -128), 0); /* wraps, as in NumPy */
    optest_end(&t);

    optest_begin(&t, "Neg", 13);
    optest_input(&t, DT_I64, DIMS(2), VALUES(7, -9));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, DIMS(2), VALUES(-7, 9), 0);
    optest_end(&t);

    optest_begin(&t, "Relu", 14);
    optest_input(&t, DT_I32, DIMS(2), VALUES(7, -9));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(2), VALUES(7, 0), 0);
    optest_end(&t);

    optest_begin(&t, "Not", 1);
    optest_input(&t, DT_BOOL, DIMS(2), VALUES(1, 0));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_BOOL, DIMS(2), VALUES(0, 1), 0);
    optest_end(&t);

    uint64_t huge = UINT64_MAX - 3;
    optest_begin(&t, "Abs", 13);
    optest_input(&t, DT_U64, DIMS(1), VALUES(0));
    memcpy(t.in[0].data, &huge, 8);
    optest_run(&t, 1);
    assert_memory_equal(t.out[0].data, &huge, 8);
    optest_end(&t);
}

/* More elements than a chunk, and none at all. */
static void test_sizes(void **state) {
    (void)state;
    optest_begin(&t, "Neg", 13);
    optest_input(&t, DT_F32, DIMS(7, 1, 111), NULL);
    optest_run(&t, 1);
    for (int64_t i = 0; i < 777; i++)
        assert_true(tensor_f32(&t.out[0])[i] == -tensor_f32(&t.in[0])[i]);
    optest_end(&t);

    optest_begin(&t, "Neg", 13);
    optest_input(&t, DT_F32, DIMS(3, 0, 2), NULL);
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(3, 0, 2));
    optest_end(&t);
}

/* ---- Clip ------------------------------------------------------------------------------------ */

static void test_clip(void **state) {
    (void)state;
    optest_begin(&t, "Clip", 6);
    optest_float(&t, "min", -1);
    optest_float(&t, "max", 1);
    optest_input(&t, DT_F32, DIMS(4), VALUES(-2, 0.5, 2, NAN));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(4), VALUES(-1, 0.5, 1, NAN), 0);
    optest_end(&t);

    optest_begin(&t, "Clip", 13);
    optest_input(&t, DT_F32, DIMS(3), VALUES(-2, 0.5, 2));
    optest_leave_out(&t);
    optest_input(&t, DT_F32, SCALAR, VALUES(0.25));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(-2, 0.25, 0.25), 0);
    optest_end(&t);

    optest_begin(&t, "Clip", 13); /* a low above the high: the high */
    optest_input(&t, DT_I8, DIMS(3), VALUES(-2, 5, 100));
    optest_input(&t, DT_I8, SCALAR, VALUES(10));
    optest_input(&t, DT_I8, SCALAR, VALUES(3));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I8, DIMS(3), VALUES(3, 3, 3), 0);
    optest_end(&t);

    optest_begin(&t, "Clip", 13);
    optest_input(&t, DT_U64, DIMS(2), VALUES(1, 9));
    optest_input(&t, DT_U64, SCALAR, VALUES(4));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_U64, DIMS(2), VALUES(4, 9), 0);
    optest_end(&t);

    optest_begin(&t, "Clip", 13);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "bound");
    optest_end(&t);

    optest_begin(&t, "Clip", 13);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_input(&t, DT_F64, SCALAR, NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "float64");
    optest_end(&t);
}

/* ---- Cast, Where ----------------------------------------------------------------------------- */

static void test_cast(void **state) {
    (void)state;
    static const struct {
        enum dtype from, to;
        double x, y;
    } cases[] = {
        {DT_F32, DT_I32, -2.7, -2},
        {DT_F32, DT_I8, 300, 127},
        {DT_F32, DT_U8, -5, 0},
        {DT_F32, DT_I64, INFINITY, 9223372036854775807.0},
        {DT_F32, DT_I32, NAN, 0},
        {DT_F64, DT_F32, 0.1, 0.100000001490116119},
        {DT_F32, DT_F16, 70000, INFINITY},
        {DT_F32, DT_F16, 0.1, 0.0999755859375},
        {DT_F16, DT_F64, 0.5, 0.5},
        {DT_F32, DT_BOOL, 0.25, 1},
        {DT_F32, DT_BOOL, 0, 0},
        {DT_BOOL, DT_F32, 1, 1},
        {DT_I32, DT_U8, 257, 1},
        {DT_I32, DT_I8, 200, -56},
        {DT_I64, DT_F32, 16777217, 16777216},
        {DT_U8, DT_I8, 255, -1},
        {DT_F32, DT_BF16, 1.00390625, 1},
        {DT_F32, DT_U64, 1e30, 18446744073709551616.0},
        {DT_I64, DT_BOOL, -3, 1},
        {DT_BF16, DT_F32, 1.5, 1.5},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        optest_begin(&t, "Cast", 13);
        optest_int(&t, "to", cases[k].to);
        optest_input(&t, cases[k].from, DIMS(1), &cases[k].x);
        optest_run(&t, 1);
        optest_expect(&t, 0, cases[k].to, DIMS(1), &cases[k].y, 0);
        optest_end(&t);

        optest_begin(&t, "CastLike", 15);
        optest_input(&t, cases[k].from, DIMS(1), &cases[k].x);
        optest_input(&t, cases[k].to, DIMS(2), NULL);
        optest_run(&t, 1);
        optest_expect(&t, 0, cases[k].to, DIMS(1), &cases[k].y, 0);
        optest_end(&t);
    }
    /* 1 + 2^-11 + 2^-40 lies just above the middle between two halves: rounding twice goes down. */
    double twice = 1 + 0x1p-11 + 0x1p-40, once = 1 + 0x1p-10;
    optest_begin(&t, "Cast", 13);
    optest_int(&t, "to", DT_F16);
    optest_input(&t, DT_F64, DIMS(1), &twice);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F16, DIMS(1), &once, 0);
    optest_end(&t);

    optest_begin(&t, "Cast", 13);
    optest_int(&t, "to", DT_STRING);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "string");
    optest_end(&t);
    optest_begin(&t, "Cast", 13);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "\"to\"");
    optest_end(&t);
    optest_begin(&t, "CastLike", 15);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_input(&t, DT_STRING, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "string");
    optest_end(&t);
}

static void test_where(void **state) {
    (void)state;
    optest_begin(&t, "Where", 9);
    optest_input(&t, DT_BOOL, DIMS(2, 1), VALUES(1, 0));
    optest_input(&t, DT_I64, DIMS(3), VALUES(1, 2, 3));
    optest_input(&t, DT_I64, SCALAR, VALUES(9));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, DIMS(2, 3), VALUES(1, 2, 3, 9, 9, 9), 0);
    optest_end(&t);

    optest_begin(&t, "Where", 9);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "float32");
    optest_end(&t);
    optest_begin(&t, "Where", 9);
    optest_input(&t, DT_BOOL, DIMS(1), NULL);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_input(&t, DT_F64, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "types");
    optest_end(&t);
}

/* ---- two operands ---------------------------------------------------------------------------- */

/* The element of a tensor that stands at flat position `at` of the output it is broadcast to. */
static double broadcast_at(const struct tensor *x, const struct shape *out, int64_t at) {
    int64_t offset = 0, step = 1;
    for (int i = 1; i <= out->rank; i++) {
        int64_t index = at % out->dim[out->rank - i];
        at /= out->dim[out->rank - i];
        if (i > x->shape.rank)
            continue;
        int64_t d = x->shape.dim[x->shape.rank - i];
        offset += (d == 1 ? 0 : index) * step;
        step *= d;
    }
    return tensor_get_f64(x, offset);
}

static double reference(const char *op, double x, double y) {
    switch (op[0]) {
    case 'A':
        return strcmp(op, "Add") == 0 ? x + y : (x != 0) && (y != 0);
    case 'S':
        return strcmp(op, "Sum") == 0 ? x + y : x - y;
    case 'M':
        return strcmp(op, "Mul") == 0   ? x * y
               : strcmp(op, "Max") == 0 ? (x > y ? x : y)
               : strcmp(op, "Min") == 0 ? (x < y ? x : y)
                                        : (x + y) / 2;
    case 'D':
        return x / y;
    case 'E':
        return x == y;
    case 'G':
        return strcmp(op, "Greater") == 0 ? x > y : x >= y;
    case 'L':
        return strcmp(op, "Less") == 0 ? x < y : x <= y;
    case 'O':
        return (x != 0) || (y != 0);
    case 'X':
        return (x != 0) != (y != 0);
    default:
        return x < 0 ? x * y : x; /* PRelu */
    }
}

static struct shape random_operand(const struct shape *out) {
    struct shape s = *out;
    int drop = optest_random(&t) > 1 ? (int)((optest_random(&t) + 2) / 4 * (s.rank + 1)) : 0;
    s = shape_of(s.rank - drop, s.dim + drop);
    for (int i = 0; i < s.rank; i++)
        if (optest_random(&t) > 0.6)
            s.dim[i] = 1;
    return s;
}

static void one_broadcast(const char *op, enum dtype type) {
    struct shape full = {.rank = (int)((optest_random(&t) + 2) * 1.3)};
    for (int i = 0; i < full.rank; i++)
        full.dim[i] = 1 + (int64_t)((optest_random(&t) + 2) * (i == full.rank - 1 ? 90 : 1.2));
    struct shape b = random_operand(&full), a = random_operand(&full);
    if (op[0] == 'P')
        a = full;
    uint64_t seed = t.seed;
    optest_begin(&t, op, 13);
    t.seed = seed;
    optest_input(&t, type, a, NULL);
    optest_input(&t, type, b, NULL);
    if (op[0] == 'D') /* no division by zero here */
        for (int64_t i = 0; i < shape_count(&b); i++)
            if (tensor_get_f64(&t.in[1], i) == 0)
                tensor_set_f64(&t.in[1], i, 3);
    optest_run(&t, 1);
    struct shape out;
    assert_true(shape_broadcast(&a, &b, &out));
    assert_true(shape_equal(&out, &t.out[0].shape));
    for (int64_t i = 0; i < shape_count(&out); i++) {
        double x = broadcast_at(&t.in[0], &out, i), y = broadcast_at(&t.in[1], &out, i);
        double want = reference(op, x, y), got = tensor_get_f64(&t.out[0], i);
        if (type == DT_F32)
            want = (double)(float)want;
        if (type != DT_F32 && type != DT_F64)
            want = trunc(want);
        if (want != got)
            fail_msg("%s: element %lld is %g; expected %g", op, (long long)i, got, want);
    }
    optest_end(&t);
}

static void test_broadcasting(void **state) {
    (void)state;
    static const char *const ops[] = {
        "Add",   "Sub", "Mul", "Div", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual",
        "PRelu", "Max", "Min"};
    static const enum dtype types[] = {DT_F32, DT_F64, DT_I32, DT_I64};
    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++)
        for (int round = 0; round < 40; round++)
            one_broadcast(ops[k], types[round % 4]);
    static const char *const logic[] = {"And", "Or", "Xor"};
    for (size_t k = 0; k < 3; k++)
        for (int round = 0; round < 20; round++)
            one_broadcast(logic[k], DT_BOOL);
    for (int round = 0; round < 20; round++) {
        one_broadcast("Sum", DT_F64);
        one_broadcast("Mean", DT_F64);
    }
}

static void test_arithmetic_edges(void **state) {
    (void)state;
    optest_begin(&t, "Div", 14); /* truncates towards zero */
    optest_input(&t, DT_I32, DIMS(5), VALUES(-3, 3, -3, 7, INT32_MIN));
    optest_input(&t, DT_I32, DIMS(5), VALUES(2, -2, -2, 7, -1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(5), VALUES(-1, -1, 1, 1, INT32_MIN), 0);
    optest_end(&t);

    optest_begin(&t, "Div", 14);
    optest_input(&t, DT_I64, DIMS(2), VALUES(1, 2));
    optest_input(&t, DT_I64, SCALAR, VALUES(0));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "division by zero");
    optest_end(&t);

    optest_begin(&t, "Div", 14);
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, -1, 0));
    optest_input(&t, DT_F32, SCALAR, VALUES(0));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(INFINITY, -INFINITY, NAN), 0);
    optest_end(&t);

    optest_begin(&t, "Add", 14); /* wraps */
    optest_input(&t, DT_U8, DIMS(2), VALUES(250, 1));
    optest_input(&t, DT_U8, SCALAR, VALUES(10));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_U8, DIMS(2), VALUES(4, 11), 0);
    optest_end(&t);

    optest_begin(&t, "Less", 13); /* as unsigned */
    optest_input(&t, DT_U64, DIMS(1), VALUES(18446744073709549568.0));
    optest_input(&t, DT_U64, DIMS(1), VALUES(1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_BOOL, DIMS(1), VALUES(0), 0);
    optest_end(&t);

    optest_begin(&t, "Max", 13); /* NaN wins */
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, NAN, 3));
    optest_input(&t, DT_F32, DIMS(3), VALUES(2, 2, NAN));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(2, NAN, NAN), 0);
    optest_end(&t);

    optest_begin(&t, "Mean", 13);
    optest_input(&t, DT_F32, DIMS(2), VALUES(1, 2));
    optest_input(&t, DT_F32, SCALAR, VALUES(3));
    optest_input(&t, DT_F32, DIMS(2, 1), VALUES(5, 8));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 2), VALUES(3, 10.0 / 3, 4, 13.0 / 3), 1e-6);
    optest_end(&t);

    optest_begin(&t, "Add", 14);
    optest_input(&t, DT_F32, DIMS(0, 3), NULL);
    optest_input(&t, DT_F32, DIMS(1, 3), NULL);
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(0, 3));
    optest_end(&t);
}

static void test_mod_and_pow(void **state) {
    (void)state;
    optest_begin(&t, "Mod", 13);
    optest_input(&t, DT_I32, DIMS(6), VALUES(-4, 7, 5, 4, -7, 8));
    optest_input(&t, DT_I32, DIMS(6), VALUES(2, -3, 8, -2, 3, 5));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(6), VALUES(0, -2, 5, 0, 2, 3), 0);
    optest_end(&t);

    optest_begin(&t, "Mod", 13);
    optest_int(&t, "fmod", 1);
    optest_input(&t, DT_F32, DIMS(2), VALUES(-4.5, 7.5));
    optest_input(&t, DT_F32, DIMS(2), VALUES(2, -3));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2), VALUES(-0.5, 1.5), 0);
    optest_end(&t);

    optest_begin(&t, "Mod", 13);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "fmod");
    optest_end(&t);

    optest_begin(&t, "Pow", 15);
    optest_input(&t, DT_I32, DIMS(5), VALUES(2, 3, -2, 1, 5));
    optest_input(&t, DT_I64, DIMS(5), VALUES(10, 3, 3, -4, -1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(5), VALUES(1024, 27, -8, 1, 0), 0);
    optest_end(&t);

    optest_begin(&t, "Pow", 15);
    optest_input(&t, DT_F32, DIMS(3), VALUES(4, -1, 0));
    optest_input(&t, DT_F32, DIMS(3), VALUES(0.5, 0.5, -1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(2, NAN, INFINITY), 1e-7);
    optest_end(&t);

    optest_begin(&t, "Pow", 15); /* an integer base with a fraction for exponent: truncated */
    optest_input(&t, DT_I64, DIMS(2), VALUES(2, 10));
    optest_input(&t, DT_F32, SCALAR, VALUES(0.5));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, DIMS(2), VALUES(1, 3), 0);
    optest_end(&t);

    optest_begin(&t, "Pow", 7);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_input(&t, DT_I32, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "int32");
    optest_end(&t);
}

static void test_binary_errors(void **state) {
    (void)state;
    static const char *const ops[] = {"Add",   "Sub", "Mul",     "Div", "Equal",
                                      "Less",  "Pow", "Greater", "Max", "LessOrEqual",
                                      "PRelu", "Sum", "Mean",    "Min", "GreaterOrEqual"};
    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
        optest_begin(&t, ops[k], 13);
        optest_input(&t, DT_F32, DIMS(2, 3), NULL);
        optest_input(&t, DT_F32, DIMS(2, 2), NULL);
        optest_fails(&t, COHORT_ERR_SHAPE, "2x3");
        optest_end(&t);
    }
    static const char *const logic[] = {"And", "Or", "Xor"};
    for (size_t k = 0; k < 3; k++) {
        optest_begin(&t, logic[k], 7);
        optest_input(&t, DT_F32, DIMS(2), NULL);
        optest_input(&t, DT_F32, DIMS(2), NULL);
        optest_fails(&t, COHORT_ERR_UNSUPPORTED, "float32");
        optest_end(&t);
    }
    optest_begin(&t, "PRelu", 16); /* the slope may not widen the input */
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "slope");
    optest_end(&t);
}

/* Every operator of the table refuses text, and too few inputs, with a message. */
static void test_every_operator_refuses(void **state) {
    (void)state;
    int count;
    const struct op_desc *const *table = op_table(&count);
    assert_true(count > 90);
    for (int k = 0; k < count; k++) {
        const struct op_desc *op = table[k];
        if (op->domain[0] != 0 || op->min_inputs == 0)
            continue;
        int opset = op->until < 24 ? op->until : op->since > 17 ? op->since : 17;
        optest_begin(&t, op->name, opset);
        for (int i = 0; i < op->min_inputs; i++)
            optest_input(&t, DT_STRING, DIMS(1, 1, 1), NULL);
        enum cohort_code code = optest_infer(&t, 1);
        if (code != COHORT_ERR_UNSUPPORTED && code != COHORT_ERR_SHAPE)
            fail_msg("%s takes text", op->name);
        assert_true(t.err.message[0] != 0);
        optest_end(&t);

        optest_begin(&t, op->name, opset);
        for (int i = 0; i + 1 < op->min_inputs; i++)
            optest_input(&t, DT_F32, DIMS(1, 1, 1), NULL);
        optest_fails(&t, COHORT_ERR_SHAPE, "inputs, but");
        optest_end(&t);
    }
}

/* Unknown ranks and dims stay unknown, and no operator reads contents that are not there. */
static void test_unknown_shapes(void **state) {
    (void)state;
    static const char *const ops[] = {"Relu", "Add", "Clip", "Where", "Pow", "Cast", "Sum"};
    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
        optest_begin(&t, ops[k], 13);
        optest_int(&t, "to", DT_F32);
        int inputs = strcmp(ops[k], "Where") == 0 ? 3 : t.node.op->min_inputs;
        for (int i = 0; i < inputs; i++) {
            t.in[i] = (struct tensor){.type = DT_F32, .shape = {.rank = -1}};
            t.node.in_count++;
        }
        if (inputs == 3)
            t.in[0].type = DT_BOOL;
        assert_int_equal(optest_infer(&t, 1), COHORT_OK);
        assert_int_equal(t.out[0].shape.rank, -1);
        optest_end(&t);
    }
    optest_begin(&t, "Add", 13);
    t.in[0] = (struct tensor){.type = DT_F32, .shape = {.rank = 2, .dim = {-1, 3}}};
    t.in[1] = (struct tensor){.type = DT_F32, .shape = {.rank = 2, .dim = {4, 1}}};
    t.node.in_count = 2;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(4, 3));
    optest_end(&t);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_cast),
        cmocka_unit_test(test_where),
        cmocka_unit_test(test_broadcasting),
        cmocka_unit_test(test_arithmetic_edges),
        cmocka_unit_test(test_mod_and_pow),
        cmocka_unit_test(test_binary_errors),
        cmocka_unit_test(test_every_operator_refuses),
        cmocka_unit_test(test_unknown_shapes),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("ops_elementwise", tests, NULL, NULL);
}
