/* Operators that combine many elements: the Reduce family, ArgMax and ArgMin, MatMul, Gemm,
 * Softmax, LayerNormalization, quantisation.  Against loops in double that are written differently.
 */
#include "base/mem.h"
#include "tests/support/optest.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct optest t;

static int64_t pick(int64_t low, int64_t high) { /* inclusive */
    return low + (int64_t)((optest_random(&t) + 2) / 4 * (double)(high - low + 1));
}

static struct shape random_shape(int least, int most, int64_t longest) {
    struct shape s = {.rank = (int)pick(least, most)};
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = pick(1, longest);
    return s;
}

static void unflat(const struct shape *s, int64_t at, int64_t *index) {
    for (int i = s->rank - 1; i >= 0; i--) {
        index[i] = at % s->dim[i];
        at /= s->dim[i];
    }
}

static int64_t flat(const struct shape *s, const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < s->rank; i++)
        at = at * s->dim[i] + index[i];
    return at;
}

/* ---- Reduce ---------------------------------------------------------------------------------- */

struct sums { /* everything a reduction may need */
    double sum, squares, magnitudes, product, max, min, exponentials;
    int64_t count;
};

static double reduced(const char *op, const struct sums *s) {
    const char *what = op + strlen("Reduce");
    return strcmp(what, "Sum") == 0         ? s->sum
           : strcmp(what, "Mean") == 0      ? s->sum / (double)s->count
           : strcmp(what, "Max") == 0       ? s->max
           : strcmp(what, "Min") == 0       ? s->min
           : strcmp(what, "Prod") == 0      ? s->product
           : strcmp(what, "L1") == 0        ? s->magnitudes
           : strcmp(what, "L2") == 0        ? sqrt(s->squares)
           : strcmp(what, "SumSquare") == 0 ? s->squares
           : strcmp(what, "LogSum") == 0    ? log(s->sum)
                                            : log(s->exponentials);
}

/* Every input element is added to the output element that its index falls on. */
static void check_reduce(const char *op, const bool *drop, bool keep) {
    static struct sums sums[4096];
    const struct shape *in = &t.in[0].shape;
    struct shape kept = *in, out = {.rank = 0};
    for (int i = 0; i < in->rank; i++) {
        kept.dim[i] = drop[i] ? 1 : in->dim[i];
        if (keep || !drop[i])
            out.dim[out.rank++] = kept.dim[i];
    }
    optest_expect_shape(&t, 0, t.in[0].type, out);
    int64_t results = shape_count(&kept);
    assert_true(results <= 4096);
    for (int64_t r = 0; r < results; r++)
        sums[r] = (struct sums){.product = 1, .max = -HUGE_VAL, .min = HUGE_VAL};
    for (int64_t i = 0; i < shape_count(in); i++) {
        int64_t index[RANK_MAX];
        unflat(in, i, index);
        for (int k = 0; k < in->rank; k++)
            index[k] = drop[k] ? 0 : index[k];
        struct sums *s = &sums[flat(&kept, index)];
        double x = tensor_get_f64(&t.in[0], i);
        s->sum += x;
        s->squares += x * x;
        s->magnitudes += fabs(x);
        s->product *= x;
        s->max = fmax(s->max, x);
        s->min = fmin(s->min, x);
        s->exponentials += exp(x);
        s->count++;
    }
    for (int64_t r = 0; r < results; r++) {
        double want = reduced(op, &sums[r]), got = tensor_get_f64(&t.out[0], r);
        bool integer = !dtype_is_float(t.in[0].type);
        if (integer)
            want = trunc(want);
        if (isnan(want) ? !isnan(got)
                        : fabs(want - got) > (integer ? 0 : 1e-6 * fmax(1, fabs(want))))
            fail_msg("%s: element %lld is %.9g; expected %.9g", op, (long long)r, got, want);
    }
}

static void one_reduce(const char *op, enum dtype type, int round) {
    struct shape s = random_shape(1, 4, 6);
    int64_t axes[RANK_MAX];
    bool drop[RANK_MAX] = {false}, keep = round % 2 == 0;
    int count = 0;
    for (int i = s.rank - 1; i >= 0; i--)
        if (optest_random(&t) > 0) {
            axes[count++] = round % 3 == 0 ? i - s.rank : i;
            drop[i] = true;
        }
    int opset = round % 4 < 2 ? 11 : 18;
    optest_begin(&t, op, opset);
    optest_input(&t, type, s, NULL);
    if (!keep)
        optest_int(&t, "keepdims", 0);
    if (count > 0 && opset == 11)
        optest_ints(&t, "axes", axes, count);
    else if (count > 0)
        optest_list(&t, axes, count);
    for (int i = 0; count == 0 && i < s.rank; i++)
        drop[i] = true; /* no axes: all of them */
    optest_run(&t, 1);
    check_reduce(op, drop, keep);
    optest_end(&t);
}

static const char *const reductions[] = {
    "ReduceSum", "ReduceMean", "ReduceMax",       "ReduceMin",    "ReduceProd",
    "ReduceL1",  "ReduceL2",   "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"};

static void test_reduce(void **state) {
    (void)state;
    for (size_t k = 0; k < 10; k++)
        for (int round = 0; round < 24; round++) {
            one_reduce(reductions[k], DT_F32, round);
            one_reduce(reductions[k], DT_F64, round);
            if (k < 8 && k != 6 && k != 4) /* a product would leave 64 bits */
                one_reduce(reductions[k], DT_I64, round);
        }
}

static void test_reduce_edges(void **state) {
    (void)state;
    optest_begin(&t, "ReduceSumSquare", 18); /* noop: each element alone */
    optest_int(&t, "noop_with_empty_axes", 1);
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, -2, 3));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(1, 4, 9), 0);
    optest_end(&t);

    optest_begin(&t, "ReduceSum", 13);
    optest_int(&t, "noop_with_empty_axes", 1);
    optest_input(&t, DT_F32, DIMS(1, 2), VALUES(1, -2));
    optest_input(&t, DT_I64, DIMS(0), NULL);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 2), VALUES(1, -2), 0);
    optest_end(&t);

    static const struct {
        const char *op;
        enum dtype type;
        double result;
    } empty[] = {{"ReduceSum", DT_F32, 0},
                 {"ReduceProd", DT_F32, 1},
                 {"ReduceMax", DT_F32, -INFINITY},
                 {"ReduceMin", DT_F32, INFINITY},
                 {"ReduceMax", DT_I8, -128},
                 {"ReduceMin", DT_U8, 255},
                 {"ReduceMax", DT_BOOL, 0},
                 {"ReduceMin", DT_BOOL, 1},
                 {"ReduceMean", DT_F32, NAN},
                 {"ReduceLogSum", DT_F32, -INFINITY},
                 {"ReduceLogSumExp", DT_F32, -INFINITY},
                 {"ReduceL2", DT_F32, 0}};
    for (size_t k = 0; k < sizeof empty / sizeof empty[0]; k++) {
        optest_begin(&t, empty[k].op, 20);
        optest_input(&t, empty[k].type, DIMS(2, 0), NULL);
        optest_list(&t, INTS(1));
        optest_run(&t, 1);
        optest_expect(&t, 0, empty[k].type, DIMS(2, 1), VALUES(empty[k].result, empty[k].result),
                      0);
        optest_end(&t);
    }
    optest_begin(&t, "ReduceLogSumExp", 18); /* no overflow */
    optest_input(&t, DT_F64, DIMS(2), VALUES(1000, 1000));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F64, DIMS(1), VALUES(1000 + log(2)), 1e-12);
    optest_end(&t);
    optest_begin(&t, "ReduceMax", 18);
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, NAN, 3));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1), VALUES(NAN), 0);
    optest_end(&t);
    optest_begin(&t, "ReduceSum", 13); /* a scalar */
    optest_input(&t, DT_F32, SCALAR, VALUES(7));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, SCALAR, VALUES(7), 0);
    optest_end(&t);
    optest_begin(&t, "ReduceProd", 18);
    optest_input(&t, DT_I32, DIMS(2, 2), VALUES(3, -4, 5, 0));
    optest_list(&t, INTS(-1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(2, 1), VALUES(-12, 0), 0);
    optest_end(&t);
    optest_begin(&t, "ReduceMean", 18); /* more than a chunk, in order */
    optest_input(&t, DT_F32, DIMS(1000), NULL);
    optest_run(&t, 1);
    double sum = 0;
    for (int i = 0; i < 1000; i++)
        sum += (double)tensor_f32(&t.in[0])[i];
    optest_expect(&t, 0, DT_F32, DIMS(1), VALUES(sum / 1000), 1e-7);
    optest_end(&t);
}

static void test_reduce_errors(void **state) {
    (void)state;
    for (size_t k = 0; k < 10; k++) {
        optest_begin(&t, reductions[k], 11);
        optest_ints(&t, "axes", INTS(0, 2));
        optest_input(&t, DT_F32, DIMS(2, 3), NULL);
        optest_fails(&t, COHORT_ERR_SHAPE, "axis 2 is not within [-2, 1]");
        optest_end(&t);
    }
    optest_begin(&t, "ReduceSum", 13);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_list(&t, INTS(1, -1));
    optest_fails(&t, COHORT_ERR_SHAPE, "twice");
    optest_end(&t);
    optest_begin(&t, "ReduceSum", 13);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "axes has type float32");
    optest_end(&t);
    optest_begin(&t, "ReduceSum", 13); /* axes not known yet */
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_list(&t, INTS(1));
    t.unknown[1] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, -1));
    optest_end(&t);
}

/* ---- ArgMax, ArgMin -------------------------------------------------------------------------- */

static void test_arg(void **state) {
    (void)state;
    for (int round = 0; round < 80; round++) {
        struct shape s = random_shape(1, 4, 5), kept = s;
        int axis = (int)pick(0, s.rank - 1);
        bool max = round % 2 == 0, last = round % 4 > 1;
        optest_begin(&t, max ? "ArgMax" : "ArgMin", 13);
        optest_int(&t, "axis", round % 3 ? axis : axis - s.rank);
        optest_int(&t, "select_last_index", last);
        optest_input(&t, round % 5 ? DT_I32 : DT_F32, s, NULL);
        optest_run(&t, 1);
        kept.dim[axis] = 1;
        optest_expect_shape(&t, 0, DT_I64, kept);
        for (int64_t r = 0; r < shape_count(&kept); r++) {
            int64_t index[RANK_MAX], best = 0;
            double value = 0;
            unflat(&kept, r, index);
            for (int64_t k = 0; k < s.dim[axis]; k++) {
                index[axis] = k;
                double x = tensor_get_f64(&t.in[0], flat(&s, index)) * (max ? 1 : -1);
                if (k == 0 || x > value || (last && x == value)) {
                    value = x;
                    best = k;
                }
            }
            assert_int_equal(tensor_get_i64(&t.out[0], r), best);
        }
        optest_end(&t);
    }
    optest_begin(&t, "ArgMax", 13);
    optest_int(&t, "keepdims", 0);
    optest_input(&t, DT_F32, DIMS(4), VALUES(1, NAN, 3, NAN));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, SCALAR, VALUES(1), 0);
    optest_end(&t);
    optest_begin(&t, "ArgMin", 13);
    optest_input(&t, DT_F32, DIMS(0, 2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "axis 0 is empty");
    optest_end(&t);
    optest_begin(&t, "ArgMax", 13);
    optest_int(&t, "axis", 2);
    optest_input(&t, DT_F32, DIMS(3, 2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "axis 2");
    optest_end(&t);
}

/* ---- MatMul, Gemm ---------------------------------------------------------------------------- */

/* Element (row, column) of the matrix that batch index `at` (of shape `batch`) of x selects. */
static double matrix_at(const struct tensor *x, const struct shape *batch, int64_t at, int64_t row,
                        int64_t column, bool left) {
    int64_t index[RANK_MAX], own[RANK_MAX];
    int rank = x->shape.rank;
    if (rank == 1)
        return tensor_get_f64(x, left ? column : row);
    unflat(batch, at, index);
    for (int i = 0; i < rank - 2; i++) {
        int64_t k = index[batch->rank - (rank - 2) + i];
        own[i] = x->shape.dim[i] == 1 ? 0 : k;
    }
    own[rank - 2] = row;
    own[rank - 1] = column;
    return tensor_get_f64(x, flat(&x->shape, own));
}

static void one_matmul(enum dtype type) {
    struct shape batch = random_shape(0, 3, 3), a, b, out;
    int64_t m = pick(1, 5), k = pick(1, 300), n = pick(1, k > 30 ? 9 : 300);
    bool vector_a = pick(0, 5) == 0, vector_b = pick(0, 5) == 0;
    int skip_a = (int)pick(0, batch.rank), skip_b = (int)pick(0, batch.rank);
    if (skip_a > 0 && skip_b > 0)
        skip_a = 0;
    a = shape_of(batch.rank - skip_a, batch.dim + skip_a);
    b = shape_of(batch.rank - skip_b, batch.dim + skip_b);
    for (int i = 0; i < b.rank; i++)
        if (pick(0, 3) == 0)
            b.dim[i] = 1;
    if (vector_a)
        a = DIMS(k);
    else {
        a.dim[a.rank++] = m;
        a.dim[a.rank++] = k;
    }
    if (vector_b)
        b = DIMS(k);
    else {
        b.dim[b.rank++] = k;
        b.dim[b.rank++] = n;
    }
    optest_begin(&t, "MatMul", 13);
    optest_input(&t, type, a, NULL);
    optest_input(&t, type, b, NULL);
    optest_run(&t, 1);
    struct shape ba = {.rank = vector_a ? 0 : a.rank - 2}, bb = {.rank = vector_b ? 0 : b.rank - 2};
    memcpy(ba.dim, a.dim, sizeof ba.dim);
    memcpy(bb.dim, b.dim, sizeof bb.dim);
    assert_true(shape_broadcast(&ba, &bb, &out));
    int64_t batches = shape_count(&out), at = 0;
    m = vector_a ? 1 : m;
    n = vector_b ? 1 : n;
    assert_int_equal(shape_count(&t.out[0].shape), batches * m * n);
    assert_int_equal(t.out[0].shape.rank, out.rank + !vector_a + !vector_b);
    for (int64_t x = 0; x < batches; x++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0, size = 0;
                for (int64_t l = 0; l < k; l++) {
                    double p = matrix_at(&t.in[0], &out, x, i, l, true) *
                               matrix_at(&t.in[1], &out, x, l, j, false);
                    sum += p;
                    size += fabs(p);
                }
                double got = tensor_get_f64(&t.out[0], at++);
                if (fabs(got - sum) > (type == DT_F32 ? FLT_EPSILON * size : 0))
                    fail_msg("MatMul: element %lld is %.9g; expected %.9g", (long long)at - 1, got,
                             sum);
            }
    optest_end(&t);
}

static void test_matmul(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        one_matmul(DT_F32);
        one_matmul(DT_I64);
    }
    optest_begin(&t, "MatMul", 13); /* nothing to sum */
    optest_input(&t, DT_F32, DIMS(2, 0), NULL);
    optest_input(&t, DT_F32, DIMS(0, 1), NULL);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 1), VALUES(0, 0), 0);
    optest_end(&t);
    optest_begin(&t, "MatMul", 13);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "2x3 and 2x3 cannot be multiplied");
    optest_end(&t);
    optest_begin(&t, "MatMul", 13);
    optest_input(&t, DT_F32, SCALAR, NULL);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "scalar");
    optest_end(&t);
    optest_begin(&t, "MatMul", 13);
    optest_input(&t, DT_F32, DIMS(2, 2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(3, 3, 2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "cannot be multiplied");
    optest_end(&t);
    optest_begin(&t, "MatMul", 13);
    optest_input(&t, DT_BOOL, DIMS(2, 2), NULL);
    optest_input(&t, DT_BOOL, DIMS(2, 2), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "bool");
    optest_end(&t);
}

static void test_gemm(void **state) {
    (void)state;
    for (int round = 0; round < 48; round++) {
        int64_t m = pick(1, 4), k = pick(1, 300), n = pick(1, k > 30 ? 9 : 300);
        bool ta = round & 1, tb = round & 2;
        float alpha = round % 3 ? 0.5f : 1, beta = round % 5 ? -2 : 1;
        enum dtype type = round % 4 == 3 ? DT_I32 : DT_F64;
        optest_begin(&t, "Gemm", 13);
        optest_int(&t, "transA", ta);
        optest_int(&t, "transB", tb);
        optest_float(&t, "alpha", type == DT_I32 ? 3 : alpha);
        optest_float(&t, "beta", beta);
        alpha = type == DT_I32 ? 3 : alpha;
        optest_input(&t, type, ta ? DIMS(k, m) : DIMS(m, k), NULL);
        optest_input(&t, type, tb ? DIMS(n, k) : DIMS(k, n), NULL);
        struct shape c[] = {SCALAR, DIMS(1), DIMS(n), DIMS(1, n), DIMS(m, 1), DIMS(m, n)};
        int kind = round % 7;
        if (kind < 6)
            optest_input(&t, type, c[kind], NULL);
        optest_run(&t, 1);
        optest_expect_shape(&t, 0, type, DIMS(m, n));
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t l = 0; l < k; l++)
                    sum += tensor_get_f64(&t.in[0], ta ? l * m + i : i * k + l) *
                           tensor_get_f64(&t.in[1], tb ? j * k + l : l * n + j);
                int64_t at[] = {0, 0, j, j, i, i * n + j};
                sum *= (double)alpha;
                if (kind < 6)
                    sum += (double)beta * tensor_get_f64(&t.in[2], at[kind]);
                double got = tensor_get_f64(&t.out[0], i * n + j);
                if (fabs(sum - got) > 1e-11 * (double)k)
                    fail_msg("Gemm: element %lld,%lld is %.12g; expected %.12g", (long long)i,
                             (long long)j, got, sum);
            }
        optest_end(&t);
    }
    optest_begin(&t, "Gemm", 13);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "cannot be multiplied");
    optest_end(&t);
    optest_begin(&t, "Gemm", 13);
    optest_input(&t, DT_F32, DIMS(1, 2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(3, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "a matrix is needed");
    optest_end(&t);
    optest_begin(&t, "Gemm", 13);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(3, 4), NULL);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "does not fit");
    optest_end(&t);
}

/* ---- Softmax, LayerNormalization ------------------------------------------------------------- */

static void one_softmax(bool logarithm, int opset, int round) {
    struct shape s = random_shape(1, 4, 5);
    int axis = (int)pick(0, s.rank - 1);
    if (round == 0)
        s.dim[axis] = 700;
    optest_begin(&t, logarithm ? "LogSoftmax" : "Softmax", opset);
    optest_int(&t, "axis", round % 2 ? axis : axis - s.rank);
    optest_input(&t, DT_F32, s, NULL);
    optest_run(&t, 1);
    int64_t total = shape_count(&s);
    for (int64_t i = 0; i < total; i++) {
        int64_t index[RANK_MAX], other[RANK_MAX];
        double sum = 0;
        unflat(&s, i, index);
        for (int64_t k = 0; k < total; k++) { /* all that share i's group */
            unflat(&s, k, other);
            bool same = true;
            for (int d = 0; d < s.rank; d++)
                same = same && (index[d] == other[d] || d == axis || (opset < 13 && d > axis));
            sum += same ? exp(tensor_get_f64(&t.in[0], k)) : 0;
        }
        double want = exp(tensor_get_f64(&t.in[0], i)) / sum;
        want = logarithm ? log(want) : want;
        assert_true(fabs(want - tensor_get_f64(&t.out[0], i)) <= 1e-6 * fmax(1, fabs(want)));
    }
    optest_end(&t);
}

static void test_softmax(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        one_softmax(false, 13, round);
        one_softmax(true, 13, round);
        one_softmax(false, 11, round);
        one_softmax(true, 7, round);
    }
    optest_begin(&t, "Softmax", 13);
    optest_input(&t, DT_F32, DIMS(3), VALUES(1e30, 1e30, -INFINITY));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(0.5, 0.5, 0), 0);
    optest_end(&t);
    optest_begin(&t, "Softmax", 11); /* the default axis is 1 there … */
    optest_input(&t, DT_F32, DIMS(1, 2, 2), VALUES(0, 0, 0, 0));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 2, 2), VALUES(0.25, 0.25, 0.25, 0.25), 0);
    optest_end(&t);
    optest_begin(&t, "Softmax", 13); /* … and the last here */
    optest_input(&t, DT_F32, DIMS(1, 2, 2), VALUES(0, 0, 0, 0));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 2, 2), VALUES(0.5, 0.5, 0.5, 0.5), 0);
    optest_end(&t);
    for (int k = 0; k < 2; k++) {
        optest_begin(&t, k ? "LogSoftmax" : "Softmax", 13);
        optest_int(&t, "axis", 2);
        optest_input(&t, DT_F32, DIMS(2, 2), NULL);
        optest_fails(&t, COHORT_ERR_SHAPE, "axis 2");
        optest_end(&t);
    }
}

static void test_layer_normalization(void **state) {
    (void)state;
    for (int round = 0; round < 30; round++) {
        struct shape s = random_shape(1, 4, 5), statistics = s;
        int axis = (int)pick(0, s.rank - 1);
        struct shape inner = shape_of(s.rank - axis, s.dim + axis);
        if (round % 4 == 0 && inner.rank > 1)
            inner.dim[0] = 1; /* a scale that is broadcast */
        optest_begin(&t, "LayerNormalization", 17);
        optest_int(&t, "axis", round % 2 ? axis : axis - s.rank);
        optest_float(&t, "epsilon", 0.25f);
        optest_input(&t, DT_F32, s, NULL);
        optest_input(&t, DT_F32, inner, NULL);
        if (round % 3)
            optest_input(&t, DT_F32, shape_of(1, s.dim + s.rank - 1), NULL);
        optest_run(&t, 3);
        int64_t length = shape_product(&s, axis, s.rank), groups = shape_product(&s, 0, axis);
        int64_t inner_count = shape_count(&inner), last = s.dim[s.rank - 1];
        for (int i = axis; i < s.rank; i++)
            statistics.dim[i] = 1;
        optest_expect_shape(&t, 0, DT_F32, s);
        optest_expect_shape(&t, 1, DT_F32, statistics);
        optest_expect_shape(&t, 2, DT_F32, statistics);
        for (int64_t g = 0; g < groups; g++) {
            double sum = 0, squares = 0;
            for (int64_t i = 0; i < length; i++) {
                double x = tensor_get_f64(&t.in[0], g * length + i);
                sum += x;
                squares += x * x;
            }
            double mean = sum / (double)length;
            double factor = 1 / sqrt(squares / (double)length - mean * mean + 0.25);
            assert_true(fabs(tensor_get_f64(&t.out[1], g) - mean) < 1e-6);
            assert_true(fabs(tensor_get_f64(&t.out[2], g) - factor) < 1e-6);
            for (int64_t i = 0; i < length; i++) {
                double want = (tensor_get_f64(&t.in[0], g * length + i) - mean) * factor *
                              tensor_get_f64(&t.in[1], i % inner_count);
                if (round % 3)
                    want += tensor_get_f64(&t.in[2], i % last);
                assert_true(fabs(tensor_get_f64(&t.out[0], g * length + i) - want) < 1e-5);
            }
        }
        optest_end(&t);
    }
    optest_begin(&t, "LayerNormalization", 17);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "is normalised");
    optest_end(&t);
    optest_begin(&t, "LayerNormalization", 17);
    optest_int(&t, "stash_type", DT_I64);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "stash_type");
    optest_end(&t);
}

/* ---- quantisation ---------------------------------------------------------------------------- */

static void test_quantize(void **state) {
    (void)state;
    optest_begin(&t, "QuantizeLinear", 10); /* halves to even, saturated, uint8 by default */
    optest_input(&t, DT_F32, DIMS(6), VALUES(1, 3, 5, -4, 1000, INFINITY));
    optest_input(&t, DT_F32, SCALAR, VALUES(2));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_U8, DIMS(6), VALUES(0, 2, 2, 0, 255, 255), 0);
    optest_end(&t);

    optest_begin(&t, "QuantizeLinear", 13); /* per axis */
    optest_int(&t, "axis", -2);
    optest_input(&t, DT_F32, DIMS(2, 2), VALUES(10, -10, 10, -700));
    optest_input(&t, DT_F32, DIMS(2), VALUES(1, 4));
    optest_input(&t, DT_I8, DIMS(2), VALUES(1, -1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I8, DIMS(2, 2), VALUES(11, -9, 1, -128), 0);
    optest_end(&t);

    optest_begin(&t, "QuantizeLinear", 21);
    optest_int(&t, "output_dtype", DT_I16);
    optest_input(&t, DT_F32, DIMS(1), VALUES(-40000));
    optest_input(&t, DT_F32, SCALAR, VALUES(2));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I16, DIMS(1), VALUES(-20000), 0);
    optest_end(&t);

    optest_begin(&t, "DequantizeLinear", 10);
    optest_input(&t, DT_U8, DIMS(3), VALUES(0, 128, 255));
    optest_input(&t, DT_F32, SCALAR, VALUES(0.5));
    optest_input(&t, DT_U8, SCALAR, VALUES(128));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(-64, 0, 63.5), 0);
    optest_end(&t);

    optest_begin(&t, "DequantizeLinear", 13); /* axis 1 by default */
    optest_input(&t, DT_I32, DIMS(2, 2, 1), VALUES(1, 2, 3, 4));
    optest_input(&t, DT_F32, DIMS(2), VALUES(10, 100));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 2, 1), VALUES(10, 200, 30, 400), 0);
    optest_end(&t);

    optest_begin(&t, "DequantizeLinear", 19); /* the scale's type */
    optest_input(&t, DT_I8, DIMS(2), VALUES(3, -5));
    optest_input(&t, DT_F16, SCALAR, VALUES(0.5));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F16, DIMS(2), VALUES(1.5, -2.5), 0);
    optest_end(&t);

    optest_begin(&t, "DequantizeLinear", 21); /* blocks of 2 along axis 0, the last shorter */
    optest_int(&t, "axis", 0);
    optest_int(&t, "block_size", 2);
    optest_input(&t, DT_I8, DIMS(3, 2), VALUES(1, 2, 3, 4, 5, 6));
    optest_input(&t, DT_F32, DIMS(2, 2), VALUES(1, 10, 100, 1000));
    optest_input(&t, DT_I8, DIMS(2, 2), VALUES(0, 1, 0, 1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3, 2), VALUES(1, 10, 3, 30, 500, 5000), 0);
    optest_end(&t);
}

static void test_quantize_errors(void **state) {
    (void)state;
    optest_begin(&t, "QuantizeLinear", 13);
    optest_input(&t, DT_F32, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "a scale of shape 2 for input 2x3, axis 1");
    optest_end(&t);
    optest_begin(&t, "DequantizeLinear", 13);
    optest_input(&t, DT_I8, DIMS(2, 3), NULL);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_input(&t, DT_I8, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "zero point");
    optest_end(&t);
    optest_begin(&t, "DequantizeLinear", 13);
    optest_input(&t, DT_I8, DIMS(3), NULL);
    optest_input(&t, DT_F32, SCALAR, NULL);
    optest_input(&t, DT_U8, SCALAR, NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "uint8");
    optest_end(&t);
    optest_begin(&t, "QuantizeLinear", 21);
    optest_int(&t, "output_dtype", DT_F32);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_input(&t, DT_F32, SCALAR, NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "quantizing to type 1");
    optest_end(&t);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce),        cmocka_unit_test(test_reduce_edges),
        cmocka_unit_test(test_reduce_errors), cmocka_unit_test(test_arg),
        cmocka_unit_test(test_matmul),        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_softmax),       cmocka_unit_test(test_layer_normalization),
        cmocka_unit_test(test_quantize),      cmocka_unit_test(test_quantize_errors),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("ops_reduce", tests, NULL, NULL);
}
