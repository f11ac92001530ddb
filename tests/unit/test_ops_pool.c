/* MaxPool, AveragePool and the global pools: the rules of ceil_mode, count_include_pad and Indices
 * by hand, and random windows against a loop over every output's window. */
#include "base/mem.h"
#include "graph/ops/params.h"
#include "tests/support/leaks.h"
#include "tests/support/optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct optest t;

static void begin1(const char *op, const int64_t *kernel, const int64_t *stride,
                   const int64_t *pads) {
    optest_begin(&t, op, 21);
    optest_ints(&t, "kernel_shape", kernel, 1);
    optest_ints(&t, "strides", stride, 1);
    optest_ints(&t, "pads", pads, 2);
}
#define BEGIN1(op, k, s, pb, pe)                                                                   \
    begin1(op, (const int64_t[]){k}, (const int64_t[]){s}, (const int64_t[]){pb, pe})

static void ceil_mode_adds_a_window_that_begins_inside(void **state) {
    (void)state;
    BEGIN1("MaxPool", 2, 2, 0, 0); /* 5 elements: 2 windows, or 3 */
    optest_int(&t, "ceil_mode", 1);
    optest_input(&t, DT_F32, DIMS(1, 1, 5), VALUES(1, 2, 3, 4, -5));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 3), VALUES(2, 4, -5), 0);
    optest_end(&t);

    BEGIN1("MaxPool", 1, 2, 0, 1); /* ceil gives 3; the third would begin at 4, in the end's pad */
    optest_int(&t, "ceil_mode", 1);
    optest_input(&t, DT_F32, DIMS(1, 1, 4), VALUES(1, 2, 3, 4));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 2), VALUES(1, 3), 0);
    optest_end(&t);

    BEGIN1("MaxPool", 3, 2, 1, 1); /* [-1..1] [1..3] [3..5] [5..7] of 6: 5 is inside */
    optest_int(&t, "ceil_mode", 1);
    optest_input(&t, DT_F32, DIMS(1, 1, 6), VALUES(1, 2, 3, 4, 5, 6));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 4), VALUES(2, 4, 6, 6), 0);
    optest_end(&t);

    optest_begin(&t, "MaxPool", 12); /* auto_pad VALID has one formula, which rounds down */
    optest_ints(&t, "kernel_shape", INTS(2));
    optest_ints(&t, "strides", INTS(2));
    optest_string(&t, "auto_pad", "VALID");
    optest_int(&t, "ceil_mode", 1);
    optest_input(&t, DT_F32, DIMS(1, 1, 5), VALUES(1, 2, 3, 4, 5));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 2), VALUES(2, 4), 0);
    optest_end(&t);
}

static void averages_count_what_they_should(void **state) {
    (void)state;
    const double with_pad[] = {1, 3, 3}, without[] = {1.5, 3, 4.5};
    for (int include = 0; include < 2; include++) {
        BEGIN1("AveragePool", 3, 2, 1, 1); /* of 1 2 3 4 5: [_ 1 2] [2 3 4] [4 5 _] */
        optest_int(&t, "count_include_pad", include);
        optest_input(&t, DT_F32, DIMS(1, 1, 5), VALUES(1, 2, 3, 4, 5));
        optest_run(&t, 1);
        optest_expect(&t, 0, DT_F32, DIMS(1, 1, 3), include ? with_pad : without, 1e-7);
        struct pool_params p;
        pool_params(&t.node, &p);
        assert_false(p.max);
        assert_int_equal(p.count_pad, include);
        assert_int_equal(p.window.pad_end[0], 1);
        optest_end(&t);
    }
    /* What ceil_mode adds beyond the declared pad is not counted: [_ 1] [2 3] [4 .]. */
    BEGIN1("AveragePool", 2, 2, 1, 0);
    optest_int(&t, "count_include_pad", 1);
    optest_int(&t, "ceil_mode", 1);
    optest_input(&t, DT_F32, DIMS(1, 1, 4), VALUES(1, 2, 3, 4));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 3), VALUES(0.5, 2.5, 4), 1e-7);
    optest_end(&t);
    /* Opset 19: dilations; taps at 0 and 2. */
    optest_begin(&t, "AveragePool", 19);
    optest_ints(&t, "kernel_shape", INTS(2));
    optest_ints(&t, "dilations", INTS(2));
    optest_input(&t, DT_F32, DIMS(1, 1, 4), VALUES(1, 2, 3, 5));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 2), VALUES(2, 3.5), 1e-7);
    optest_end(&t);
}

static void indices_are_of_the_whole_input(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, 4, 9, 9, 9, 0, 9, /**/ 0, 1, 0, 1, 0, 7, 8, 0, 0};
    for (int order = 0; order < 2; order++) {
        optest_begin(&t, "MaxPool", 12);
        optest_ints(&t, "kernel_shape", INTS(2, 2));
        optest_int(&t, "storage_order", order);
        optest_input(&t, DT_F32, DIMS(1, 2, 3, 3), x);
        optest_run(&t, 2);
        optest_expect(&t, 0, DT_F32, DIMS(1, 2, 2, 2), VALUES(9, 9, 9, 9, 1, 7, 8, 7), 0);
        /* The first maximum in the window's row-major order, whatever the index counts. */
        optest_expect(&t, 1, DT_I64, DIMS(1, 2, 2, 2),
                      order == 0 ? VALUES(4, 4, 4, 4, 10, 14, 15, 14)
                                 : VALUES(4, 4, 4, 4, 12, 16, 11, 16),
                      0);
        optest_end(&t);
    }
    optest_begin(&t, "MaxPool", 12); /* three axes: d*H*W + h*W + w, or d + h*D + w*D*H */
    optest_ints(&t, "kernel_shape", INTS(2, 3, 2));
    optest_int(&t, "storage_order", 1);
    optest_input(&t, DT_F32, DIMS(1, 1, 2, 3, 2), VALUES(0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0));
    optest_run(&t, 2);
    optest_expect(&t, 1, DT_I64, DIMS(1, 1, 1, 1, 1), VALUES(1 + 1 * 2 + 1 * 2 * 3), 0);
    optest_end(&t);
}

static void extremes(void **state) {
    (void)state;
    BEGIN1("MaxPool", 2, 1, 0, 0);
    optest_input(&t, DT_F32, DIMS(1, 1, 5), VALUES(-INFINITY, -INFINITY, NAN, 1, 0));
    optest_run(&t, 2);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 4), VALUES(-INFINITY, NAN, NAN, 1), 0);
    optest_expect(&t, 1, DT_I64, DIMS(1, 1, 4), VALUES(0, 2, 2, 3), 0);
    optest_end(&t);
    BEGIN1("MaxPool", 1, 1, 1, 1); /* windows in the pad altogether */
    optest_input(&t, DT_I8, DIMS(1, 1, 2), VALUES(-128, 127));
    optest_run(&t, 2);
    optest_expect(&t, 0, DT_I8, DIMS(1, 1, 4), VALUES(-128, -128, 127, -128), 0);
    optest_end(&t);
    BEGIN1("AveragePool", 1, 1, 1, 1);
    optest_input(&t, DT_F32, DIMS(1, 1, 2), VALUES(3, 4));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 4), VALUES(0, 3, 4, 0), 0);
    optest_end(&t);
    optest_begin(&t, "MaxPool", 12); /* no images: no output, no error */
    optest_ints(&t, "kernel_shape", INTS(2));
    optest_input(&t, DT_F32, DIMS(0, 3, 4), NULL);
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(0, 3, 3));
    optest_end(&t);
}

/* ---- against the definition ------------------------------------------------------------------ */

static int64_t pick(int64_t low, int64_t high) {
    double unit = (optest_random(&t) + 2) / 4;
    return low + (int64_t)(unit * (double)(high - low + 1));
}

struct windows { /* two axes */
    int64_t in[2], out[2], kernel[2], stride[2], dilation[2], pads[4];
};

static double naive(const struct windows *w, bool max, bool count_pad, const double *plane,
                    int64_t oy, int64_t ox) {
    double best = -1e30, sum = 0, count = 0;
    for (int64_t a = 0; a < w->kernel[0]; a++)
        for (int64_t b = 0; b < w->kernel[1]; b++) {
            int64_t y = oy * w->stride[0] + a * w->dilation[0] - w->pads[0];
            int64_t x = ox * w->stride[1] + b * w->dilation[1] - w->pads[1];
            bool inside = y >= 0 && y < w->in[0] && x >= 0 && x < w->in[1];
            bool declared = y < w->in[0] + w->pads[2] && x < w->in[1] + w->pads[3];
            if (inside) {
                double v = plane[y * w->in[1] + x];
                best = v > best ? v : best;
                sum += v;
            }
            count += inside || (count_pad && declared) ? 1 : 0;
        }
    return max ? best : sum / count;
}

/* The largest number of windows such that the last one is where the mode allows it. */
static int64_t windows_along(const struct windows *w, int i, bool ceil_mode) {
    int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1, count = 0;
    for (;; count++) {
        int64_t begin = count * w->stride[i] - w->pads[i], end = begin + extent;
        bool fits = end <= w->in[i] + w->pads[i + 2];
        bool fits_partly = end - w->stride[i] < w->in[i] + w->pads[i + 2] && begin < w->in[i];
        if (!(fits && begin < w->in[i] + w->pads[i + 2]) && !(ceil_mode && fits_partly))
            return count;
        if (ceil_mode && begin >= w->in[i])
            return count;
    }
}

static void pools_are_their_definition(void **state) {
    (void)state;
    for (int c = 0; c < 300; c++) {
        bool max = pick(0, 1), ceil_mode = pick(0, 1), count_pad = pick(0, 1);
        struct windows w;
        for (int i = 0; i < 2; i++) {
            w.kernel[i] = pick(1, 4);
            w.stride[i] = pick(1, 3);
            w.dilation[i] = pick(1, 2);
            w.in[i] = pick((w.kernel[i] - 1) * w.dilation[i] + 1, 10);
            w.pads[i] = pick(0, w.kernel[i] - 1);
            w.pads[i + 2] = pick(0, w.kernel[i] - 1);
            w.out[i] = windows_along(&w, i, ceil_mode);
        }
        optest_begin(&t, max ? "MaxPool" : "AveragePool", 19);
        optest_ints(&t, "kernel_shape", w.kernel, 2);
        optest_ints(&t, "strides", w.stride, 2);
        optest_ints(&t, "dilations", w.dilation, 2);
        optest_ints(&t, "pads", w.pads, 4);
        optest_int(&t, "ceil_mode", ceil_mode);
        if (!max)
            optest_int(&t, "count_include_pad", count_pad);
        optest_input(&t, DT_F64, DIMS(2, 3, w.in[0], w.in[1]), NULL);
        optest_run(&t, 1);
        optest_expect_shape(&t, 0, DT_F64, DIMS(2, 3, w.out[0], w.out[1]));
        for (int64_t p = 0, o = 0; p < 6; p++)
            for (int64_t y = 0; y < w.out[0]; y++)
                for (int64_t x = 0; x < w.out[1]; x++, o++) {
                    const double *plane = (const double *)t.in[0].data + p * w.in[0] * w.in[1];
                    double expected = naive(&w, max, count_pad, plane, y, x);
                    double got = tensor_get_f64(&t.out[0], o);
                    if (expected > -1e29 && !isnan(expected)) /* not a window of pad only */
                        assert_float_equal(got, expected, 1e-12);
                }
        optest_end(&t);
    }
}

static void same_pads(void **state) {
    (void)state;
    for (int upper = 0; upper < 2; upper++) {
        optest_begin(&t, "AveragePool", 11);
        optest_ints(&t, "kernel_shape", INTS(2));
        optest_string(&t, "auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER");
        optest_input(&t, DT_F32, DIMS(1, 1, 3), VALUES(2, 4, 8));
        optest_run(&t, 1);
        optest_expect(&t, 0, DT_F32, DIMS(1, 1, 3), upper ? VALUES(3, 6, 8) : VALUES(2, 3, 6), 0);
        assert_int_equal(t.node.window.pad_end[0], upper);
        optest_end(&t);
    }
}

static void global_pools(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, 6, -1, -2, -3, -6};
    optest_begin(&t, "GlobalAveragePool", 7);
    optest_input(&t, DT_F32, DIMS(1, 2, 2, 2), x);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 2, 1, 1), VALUES(3, -3), 0);
    optest_end(&t);
    optest_begin(&t, "GlobalMaxPool", 7);
    optest_input(&t, DT_F32, DIMS(2, 1, 4), x);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 1, 1), VALUES(6, -1), 0);
    optest_end(&t);
    optest_begin(&t, "GlobalMaxPool", 7);
    optest_input(&t, DT_F32, DIMS(4), x);
    optest_fails(&t, COHORT_ERR_SHAPE, "rank 1");
    t.in[0].shape = DIMS(-1, 3, -1, -1);
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, 3, 1, 1));
    t.in[0].shape.rank = -1;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    assert_int_equal(t.out[0].shape.rank, -1);
    optest_end(&t);
}

static void mistakes_are_named(void **state) {
    (void)state;
    optest_begin(&t, "MaxPool", 12);
    optest_input(&t, DT_F32, DIMS(1, 1, 5), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "kernel_shape is missing");
    optest_ints(&t, "kernel_shape", INTS(6));
    optest_fails(&t, COHORT_ERR_SHAPE, "window of 6");
    optest_end(&t);
    optest_begin(&t, "MaxPool", 12);
    optest_ints(&t, "kernel_shape", INTS(2, 2));
    optest_input(&t, DT_F32, DIMS(1, 1, 5), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "kernel_shape has 2 elements; 1");
    optest_end(&t);
    optest_begin(&t, "MaxPool", 12);
    optest_ints(&t, "kernel_shape", INTS(1 << 20, 1 << 20, 1 << 20));
    optest_string(&t, "auto_pad", "SAME_UPPER");
    optest_input(&t, DT_F32, DIMS(1, 1, 1, 1, 1), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "window of more than");
    optest_end(&t);
    optest_begin(&t, "AveragePool", 11);
    optest_ints(&t, "kernel_shape", INTS(2));
    optest_input(&t, DT_U8, DIMS(1, 1, 5), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "uint8");
    optest_end(&t);
    optest_begin(&t, "AveragePool", 11);
    optest_ints(&t, "kernel_shape", INTS(2));
    optest_input(&t, DT_F32, DIMS(1, 1, 5), NULL);
    assert_int_equal(optest_infer(&t, 2), COHORT_ERR_SHAPE); /* it has no Indices */
    optest_end(&t);
}

static void memory_may_be_short(void **state) {
    (void)state;
    static const struct {
        const char *op;
        long allocations;
    } cases[] = {{"MaxPool", 3}, {"AveragePool", 3}, {"GlobalAveragePool", 1}};
    for (int c = 0; c < 3; c++) {
        optest_begin(&t, cases[c].op, 12);
        optest_ints(&t, "kernel_shape", INTS(2));
        optest_input(&t, DT_F32, DIMS(1, 2, 4), NULL);
        optest_run(&t, 1);
        const struct tensor *in[] = {&t.in[0]};
        struct tensor *out[] = {&t.out[0]};
        long live = mem_live_blocks(), failures = 0;
        for (long nth = 1;; nth++, failures++) {
            mem_fail_at(nth);
            enum cohort_code code = op_eval(&t.node, in, out, &t.err);
            mem_fail_at(0);
            assert_int_equal(mem_live_blocks(), live);
            if (code == COHORT_OK)
                break;
            assert_int_equal(code, COHORT_ERR_MEMORY);
        }
        assert_int_equal(failures, cases[c].allocations);
        optest_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ceil_mode_adds_a_window_that_begins_inside),
        cmocka_unit_test(averages_count_what_they_should),
        cmocka_unit_test(indices_are_of_the_whole_input),
        cmocka_unit_test(extremes),
        cmocka_unit_test(pools_are_their_definition),
        cmocka_unit_test(same_pads),
        cmocka_unit_test(global_pools),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
