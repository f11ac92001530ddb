/* NaN, infinities, signed zeros and empty tensors in the reference evaluators: every function of
 * one element at all of these, reductions, comparisons, minima and maxima over them, and every
 * operator of the registry that takes one float tensor, or several alike, on nothing at all.
 *
 * Numbers are those of NumPy and of the limits of the functions' formulas.  Threads take denormals
 * as zero here, as those that run a network do. */
#include "base/mem.h"
#include "board/pool.h"
#include "tests/support/opcase.h"

#include <float.h>

#define INF INFINITY

/* ---- functions of one element ---------------------------------------------------------------- */

/* f at plus and minus infinity, and at zero and minus zero; a NaN gives a NaN. */
struct limits {
    const char *op;
    double high, low, zero, minus_zero;
};

static const struct limits functions[] = {
    {"Abs", INF, INF, 0, 0},
    {"Acos", NAN, NAN, M_PI_2, M_PI_2},
    {"Acosh", INF, NAN, NAN, NAN},
    {"Asin", NAN, NAN, 0, -0.0},
    {"Asinh", INF, -INF, 0, -0.0},
    {"Atan", M_PI_2, -M_PI_2, 0, -0.0},
    {"Atanh", NAN, NAN, 0, -0.0},
    {"Cast", INF, -INF, 0, -0.0},
    {"Ceil", INF, -INF, 0, -0.0},
    {"Celu", INF, -1, 0, 0},
    {"Clip", INF, -INF, 0, -0.0},
    {"Cos", NAN, NAN, 1, 1},
    {"Cosh", INF, INF, 1, 1},
    {"Dropout", INF, -INF, 0, -0.0},
    {"Elu", INF, -1, 0, 0},
    {"Erf", 1, -1, 0, -0.0},
    {"Exp", INF, 0, 1, 1},
    {"Floor", INF, -INF, 0, -0.0},
    {"Gelu", INF, NAN, 0, -0.0},
    {"HardSigmoid", 1, 0, 0.5, 0.5},
    {"HardSwish", INF, NAN, 0, -0.0},
    {"Identity", INF, -INF, 0, -0.0},
    {"LeakyRelu", INF, -INF, 0, -0.0},
    {"Log", INF, NAN, -INF, -INF},
    {"Mish", INF, NAN, 0, -0.0},
    {"Neg", -INF, INF, -0.0, 0},
    {"Reciprocal", 0, -0.0, INF, -INF},
    {"Relu", INF, 0, 0, 0},
    {"Round", INF, -INF, 0, -0.0},
    {"Selu", INF, -1.758099341, 0, 0},
    {"Shrink", INF, -INF, 0, 0},
    {"Sigmoid", 1, 0, 0.5, 0.5},
    {"Sign", 1, -1, 0, 0},
    {"Sin", NAN, NAN, 0, -0.0},
    {"Sinh", INF, -INF, 0, -0.0},
    {"Softplus", INF, 0, M_LN2, M_LN2},
    {"Softsign", 1, -1, 0, -0.0},
    {"Sqrt", INF, NAN, 0, -0.0},
    {"Swish", INF, NAN, 0, -0.0},
    {"Tan", NAN, NAN, 0, -0.0},
    {"Tanh", 1, -1, 0, -0.0},
    {"ThresholdedRelu", INF, 0, 0, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

static int newest(const char *op) {
    int count = 0, opset = 0;
    const struct op_desc *const *table = op_table(&count);
    for (int i = 0; i < count; i++)
        if (strcmp(table[i]->name, op) == 0 && table[i]->since > opset)
            opset = table[i]->since;
    return opset > 18 ? opset : 18;
}

static void function_at(const struct limits *f, enum dtype type) {
    const double x[] = {NAN, INF, -INF, 0, -0.0, 1e-40, -1e-40};
    const double want[] = {NAN, f->high, f->low, f->zero, f->minus_zero, f->zero, f->minus_zero};
    int count = type == DT_F32 ? 7 : 5;
    begin(f->op, newest(f->op));
    if (strcmp(f->op, "Cast") == 0)
        optest_int(&t, "to", DT_F32);
    optest_input(&t, type, DIMS(count), x);
    optest_run(&t, 1);
    for (int i = 0; i < count; i++) {
        double y = tensor_get_f64(&t.out[0], i);
        bool sign = signbit(y) || !signbit(want[i]); /* minus zero stays where it says so */
        if (!(isnan(want[i]) ? isnan(y)
                             : y == want[i] || fabs(y - want[i]) < 1e-3 * fabs(want[i])) ||
            (want[i] == 0 && !sign))
            fail_msg("%s of %g is %g, not %g", f->op, x[i], y, want[i]);
    }
    optest_end(&t);
}

static void test_functions(void **state) {
    (void)state;
    int count = 0;
    const struct op_desc *const *table = op_table(&count);
    for (int i = 0; i < FUNCTIONS; i++) {
        function_at(&functions[i], DT_F32);
        function_at(&functions[i], DT_F16);
        function_at(&functions[i], DT_F64);
    }
    for (int i = 0; i < count; i++) { /* of floats: all but these have a row */
        bool found = !(table[i]->flags & OP_UNARY) || strcmp(table[i]->name, "Not") == 0 ||
                     strcmp(table[i]->name, "BitwiseNot") == 0 ||
                     strncmp(table[i]->name, "Is", 2) == 0 || (table[i]->flags & OP_INTERNAL);
        for (int k = 0; k < FUNCTIONS && !found; k++)
            found = strcmp(functions[k].op, table[i]->name) == 0;
        if (!found)
            fail_msg("%s has no row here", table[i]->name);
    }
}

static void test_predicates(void **state) {
    (void)state;
    begin("IsNaN", 20);
    F32(DIMS(4), NAN, INF, -INF, 0);
    gives(DT_BOOL, DIMS(4), VALUES(1, 0, 0, 0));
    begin("IsInf", 20);
    F32(DIMS(4), NAN, INF, -INF, 0);
    gives(DT_BOOL, DIMS(4), VALUES(0, 1, 1, 0));
    begin("Cast", 18);
    optest_int(&t, "to", DT_I32);
    F32(DIMS(3), 1e-40, -0.0, 2.9);
    gives(DT_I32, DIMS(3), VALUES(0, 0, 2));
    begin("Cast", 18); /* whatever is not zero is true */
    optest_int(&t, "to", DT_BOOL);
    F32(DIMS(4), NAN, INF, -0.0, 0.25);
    gives(DT_BOOL, DIMS(4), VALUES(1, 1, 0, 1));
}

/* ---- several operands ------------------------------------------------------------------------ */

static void test_pairs(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double x, y, want;
    } pairs[] = {
        {"Max", NAN, 1, NAN},     {"Max", 1, NAN, NAN},       {"Max", INF, 1, INF},
        {"Max", -INF, 1, 1},      {"Min", NAN, 1, NAN},       {"Min", 1, NAN, NAN},
        {"Min", -INF, 1, -INF},   {"Mean", NAN, 1, NAN},      {"Mean", INF, -INF, NAN},
        {"Sum", INF, -INF, NAN},  {"Sum", INF, 1, INF},       {"Add", INF, -INF, NAN},
        {"Sub", INF, INF, NAN},   {"Mul", INF, 0, NAN},       {"Mul", -INF, 2, -INF},
        {"Div", 1, 0, INF},       {"Div", -1, 0, -INF},       {"Div", 0, 0, NAN},
        {"Div", INF, INF, NAN},   {"Div", 1, -INF, -0.0},     {"Pow", NAN, 0, 1},
        {"Pow", 1, NAN, 1},       {"Pow", 0, -1, INF},        {"Pow", -INF, 3, -INF},
        {"Pow", 0.5, INF, 0},     {"Pow", -1, 0.5, NAN},      {"Equal", NAN, NAN, 0},
        {"Equal", INF, INF, 1},   {"Equal", 0, -0.0, 1},      {"Less", NAN, 1, 0},
        {"Less", -INF, INF, 1},   {"LessOrEqual", 1, NAN, 0}, {"LessOrEqual", -0.0, 0, 1},
        {"Greater", INF, NAN, 0}, {"Greater", INF, 1, 1},     {"GreaterOrEqual", NAN, 1, 0},
        {"MatMul", INF, 0, NAN},  {"MatMul", INF, 2, INF},    {"MatMul", NAN, 0, NAN},
        {"Gemm", INF, -2, -INF},  {"PRelu", -INF, 0.5, -INF}, {"PRelu", NAN, 0.5, NAN},
        {"PRelu", -INF, 0, NAN},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *op = pairs[i].op;
        begin(op, 18);
        F32(DIMS(1, 1), pairs[i].x);
        F32(DIMS(1, 1), pairs[i].y);
        optest_run(&t, 1);
        double got = tensor_get_f64(&t.out[0], 0), want = pairs[i].want;
        if (!(isnan(want) ? isnan(got) : got == want && !signbit(got) == !signbit(want)))
            fail_msg("%s of %g and %g is %g, not %g", op, pairs[i].x, pairs[i].y, got, want);
        optest_end(&t);
    }
}

/* ---- reductions ------------------------------------------------------------------------------ */

/* Over (1, NaN, inf), (1, inf), (1, -inf), (inf, -inf), (-inf, -inf), and over nothing. */
struct reduction {
    const char *op;
    double nan, high, low, both, lows, none;
};

static const struct reduction reductions[] = {
    {"ReduceMax", NAN, INF, 1, INF, -INF, -INF},
    {"ReduceMin", NAN, 1, -INF, -INF, -INF, INF},
    {"ReduceSum", NAN, INF, -INF, NAN, -INF, 0},
    {"ReduceMean", NAN, INF, -INF, NAN, -INF, NAN},
    {"ReduceProd", NAN, INF, -INF, -INF, INF, 1},
    {"ReduceL1", NAN, INF, INF, INF, INF, 0},
    {"ReduceL2", NAN, INF, INF, INF, INF, 0},
    {"ReduceSumSquare", NAN, INF, INF, INF, INF, 0},
    {"ReduceLogSum", NAN, INF, NAN, NAN, NAN, -INF},
    {"ReduceLogSumExp", NAN, INF, 1, INF, -INF, -INF},
};

static void reduces(const struct reduction *r, int count, double x, double y, double z,
                    double want) {
    begin(r->op, 20);
    optest_int(&t, "keepdims", 0);
    optest_input(&t, DT_F32, DIMS(count), VALUES(x, y, z));
    optest_run(&t, 1);
    double got = tensor_get_f64(&t.out[0], 0);
    if (!(isnan(want) ? isnan(got) : got == want || fabs(got - want) < 1e-6))
        fail_msg("%s of %d (%g, %g, %g) is %g, not %g", r->op, count, x, y, z, got, want);
    optest_end(&t);
}

static void test_reductions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof reductions / sizeof reductions[0]; i++) {
        const struct reduction *r = &reductions[i];
        reduces(r, 3, 1, NAN, INF, r->nan);
        reduces(r, 3, NAN, 1, INF, r->nan);
        reduces(r, 2, 1, INF, 0, r->high);
        reduces(r, 2, 1, -INF, 0, r->low);
        reduces(r, 2, INF, -INF, 0, r->both);
        reduces(r, 2, -INF, -INF, 0, r->lows);
        reduces(r, 0, 0, 0, 0, r->none);
    }
}

static void test_windows(void **state) {
    (void)state;
    begin("MaxPool", 12); /* a NaN is the greatest */
    optest_ints(&t, "kernel_shape", INTS(2));
    F32(DIMS(1, 1, 6), 1, NAN, 5, -INF, -INF, INF);
    gives(DT_F32, DIMS(1, 1, 5), VALUES(NAN, NAN, 5, -INF, INF));
    begin("AveragePool", 12);
    optest_ints(&t, "kernel_shape", INTS(2));
    F32(DIMS(1, 1, 5), 1, NAN, INF, -INF, -INF);
    gives(DT_F32, DIMS(1, 1, 4), VALUES(NAN, NAN, NAN, -INF));
    begin("Conv", 12); /* zero times infinity, but no pad does so */
    optest_ints(&t, "kernel_shape", INTS(3));
    optest_ints(&t, "pads", INTS(1, 1));
    F32(DIMS(1, 1, 5), INF, 1, 2, 3, 4);
    F32(DIMS(1, 1, 3), 0, 1, 1);
    gives(DT_F32, DIMS(1, 1, 5), VALUES(INF, NAN, 5, 7, 4));
    begin("GlobalMaxPool", 12);
    F32(DIMS(1, 2, 3), 1, NAN, 2, -INF, -INF, -INF);
    gives(DT_F32, DIMS(1, 2, 1), VALUES(NAN, -INF));
}

static void test_rows(void **state) {
    (void)state;
    begin("Softmax", 13);
    F32(DIMS(5, 2), 1, NAN, INF, 0, -INF, 0, -INF, -INF, INF, -INF);
    gives(DT_F32, DIMS(5, 2), VALUES(NAN, NAN, NAN, NAN, 0, 1, NAN, NAN, NAN, NAN));
    begin("LogSoftmax", 13);
    F32(DIMS(3, 2), 1, NAN, -INF, 0, -INF, -INF);
    gives(DT_F32, DIMS(3, 2), VALUES(NAN, NAN, -INF, 0, NAN, NAN));
    begin("ArgMax", 13);
    optest_int(&t, "axis", 0);
    optest_int(&t, "keepdims", 0);
    F32(DIMS(4), 1, NAN, INF, NAN);
    gives(DT_I64, SCALAR, VALUES(1));
    begin("ArgMin", 13);
    optest_int(&t, "axis", 0);
    optest_int(&t, "keepdims", 0);
    F32(DIMS(4), 1, -INF, NAN, 0);
    gives(DT_I64, SCALAR, VALUES(2));
    begin("CumSum", 14);
    F32(DIMS(4), 1, INF, 2, -INF);
    optest_list(&t, INTS(0));
    t.in[1].shape.rank = 0;
    gives(DT_F32, DIMS(4), VALUES(1, INF, INF, NAN));
    begin("Clip", 13);
    F32(DIMS(4), NAN, INF, -INF, 0.5);
    F32(SCALAR, -1);
    F32(SCALAR, 1);
    gives(DT_F32, DIMS(4), VALUES(NAN, 1, -1, 0.5));
    begin("Where", 16); /* what is not chosen does not matter */
    optest_input(&t, DT_BOOL, DIMS(2), VALUES(1, 0));
    F32(DIMS(2), 1, NAN);
    F32(DIMS(2), NAN, 2);
    gives(DT_F32, DIMS(2), VALUES(1, 2));
}

/* ---- nothing at all -------------------------------------------------------------------------- */

/* Every operator on float tensors of which some dim is 0: an error of one line, or a result. */
static void on_nothing(const struct op_desc *op, int inputs, struct shape shape, int64_t *results) {
    struct optest *c = &t;
    begin(op->name, op->until < 28 ? op->until : 28);
    for (int i = 0; i < inputs; i++)
        optest_input(c, DT_F32, shape, NULL);
    enum cohort_code code = optest_infer(c, 1);
    if (code == COHORT_OK && shape_known(&c->out[0].shape) &&
        shape_count(&c->out[0].shape) <= 4096) {
        optest_run(c, 1);
        ++*results;
    } else {
        assert_true(code == COHORT_OK || c->err.message[0] != '\0');
    }
    optest_end(c);
}

static void test_empty(void **state) {
    (void)state;
    static const int64_t empty[][4] = {
        {0, 20, 6, 7}, {1, 0, 6, 7}, {1, 20, 0, 7}, {1, 20, 6, 0}, {0, 0, 0, 0}};
    int count = 0;
    int64_t results = 0;
    const struct op_desc *const *table = op_table(&count);
    for (int i = 0; i < count; i++)
        for (size_t s = 0; s < 5; s++)
            for (int rank = 1; rank <= 4; rank++) {
                const struct op_desc *op = table[i];
                int inputs = op->min_inputs > 0 ? op->min_inputs : 1;
                if (op->flags & (OP_INTERNAL | OP_GRAPHS) || inputs > 6)
                    continue;
                on_nothing(op, inputs, shape_of(rank, empty[s]), &results);
            }
    assert_true(results > 700);
    begin("Concat", 13); /* nothing beside something */
    optest_int(&t, "axis", 0);
    F32(DIMS(0, 2), 0);
    F32(DIMS(1, 2), 3, 4);
    gives(DT_F32, DIMS(1, 2), VALUES(3, 4));
    begin("MatMul", 13); /* a sum of nothing is 0 */
    F32(DIMS(2, 0), 0);
    F32(DIMS(0, 2), 0);
    gives(DT_F32, DIMS(2, 2), VALUES(0, 0, 0, 0));
    begin("Conv", 13);
    F32(DIMS(0, 1, 4, 4), 0);
    F32(DIMS(2, 1, 3, 3), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
    gives(DT_F32, DIMS(0, 2, 2, 2), VALUES(0));
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions), cmocka_unit_test(test_predicates),
        cmocka_unit_test(test_pairs),     cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_windows),   cmocka_unit_test(test_rows),
        cmocka_unit_test(test_empty),     cmocka_unit_test(test_no_leaks),
    };
    pool_set_float_mode();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
