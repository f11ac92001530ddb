/* BatchNormalization, InstanceNormalization and LRN: by hand, and against their formulas written
 * out for one element. */
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

static void batch_norm_begin(int opset, struct shape x, const double *values, int64_t channels,
                             const double *scale, const double *b, const double *mean,
                             const double *var) {
    optest_begin(&t, "BatchNormalization", opset);
    optest_float(&t, "epsilon", 1);
    optest_input(&t, DT_F32, x, values);
    optest_input(&t, DT_F32, DIMS(channels), scale);
    optest_input(&t, DT_F32, DIMS(channels), b);
    optest_input(&t, DT_F32, DIMS(channels), mean);
    optest_input(&t, DT_F32, DIMS(channels), var);
}

static void batch_norm_by_hand(void **state) {
    (void)state;
    static const int opsets[] = {7, 9, 14, 15, 21};
    for (int i = 0; i < 5; i++) {
        /* channel 0: (x - 1)*2/2 + 10; channel 1: x*3/1 - 1 */
        batch_norm_begin(opsets[i], DIMS(2, 2, 1, 2), VALUES(1, 2, 3, 4, 5, 6, 7, 8), 2,
                         VALUES(2, 3), VALUES(10, -1), VALUES(1, 0), VALUES(3, 0));
        optest_run(&t, 1);
        optest_expect(&t, 0, DT_F32, DIMS(2, 2, 1, 2), VALUES(10, 11, 8, 11, 14, 15, 20, 23), 1e-6);
        optest_end(&t);
    }
    batch_norm_begin(9, DIMS(3), VALUES(1, 3, 5), 1, VALUES(2), VALUES(0), VALUES(1), VALUES(0));
    optest_run(&t, 1); /* one axis: N elements of one channel */
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(0, 4, 8), 1e-6);
    optest_end(&t);
    batch_norm_begin(9, DIMS(2, 2), VALUES(1, 2, 3, 4), 2, VALUES(1, 2), VALUES(0, 0), VALUES(0, 0),
                     VALUES(0, 0));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 2), VALUES(1, 4, 3, 8), 1e-6);
    optest_end(&t);
}

static void batch_norm_refuses_training(void **state) {
    (void)state;
    const double ones[] = {1, 1, 1, 1};
    batch_norm_begin(15, DIMS(1, 2, 2), ones, 2, ones, ones, ones, ones);
    optest_int(&t, "training_mode", 1);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "training mode");
    optest_end(&t);
    batch_norm_begin(9, DIMS(1, 2, 2), ones, 2, ones, ones, ones, ones);
    assert_int_equal(optest_infer(&t, 3), COHORT_ERR_UNSUPPORTED);
    optest_end(&t);
    batch_norm_begin(7, DIMS(1, 2, 2), ones, 2, ones, ones, ones, ones);
    optest_int(&t, "spatial", 0);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "spatial=0");
    optest_end(&t);
    batch_norm_begin(15, DIMS(1, 3, 1), ones, 2, ones, ones, ones, ones);
    optest_fails(&t, COHORT_ERR_SHAPE, "scale is not a list of 3");
    optest_end(&t);
    batch_norm_begin(15, SCALAR, ones, 1, ones, ones, ones, ones);
    optest_fails(&t, COHORT_ERR_SHAPE, "scalar");
    optest_end(&t);
}

static void batch_norm_is_an_affine_map(void **state) {
    (void)state;
    enum { C = 5 };
    struct value values[6];
    struct graph g = {.values = values, .value_count = 6};
    float scale[C], shift[C];
    double var[C];
    optest_begin(&t, "BatchNormalization", 15);
    for (int i = 0; i < C; i++)
        var[i] = 0.25 + i;
    optest_input(&t, DT_F32, DIMS(1, C, 2), NULL);
    for (int i = 0; i < 3; i++)
        optest_input(&t, DT_F32, DIMS(C), NULL);
    optest_input(&t, DT_F32, DIMS(C), var);
    optest_run(&t, 1);
    for (int i = 0; i < 5; i++)
        values[i] = (struct value){
            .type = DT_F32, .shape = t.in[i].shape, .is_constant = i > 0, .constant = t.in[i]};
    assert_int_equal(batch_norm_affine(&g, &t.node, scale, shift, &t.err), COHORT_OK);
    for (int i = 0; i < 2 * C; i++) {
        double x = tensor_get_f64(&t.in[0], i), y = tensor_get_f64(&t.out[0], i);
        double mapped = (double)scale[i / 2] * x + (double)shift[i / 2];
        assert_float_equal(mapped, y, 1e-5);
    }
    values[4].constant.data = NULL; /* a board that has no weights */
    assert_int_equal(batch_norm_affine(&g, &t.node, scale, shift, &t.err), COHORT_ERR_INTERNAL);
    optest_end(&t);
}

static void instance_norm(void **state) {
    (void)state;
    const double r = 1 / sqrt(1.25 + 0.5);
    optest_begin(&t, "InstanceNormalization", 7);
    optest_float(&t, "epsilon", 0.5f);
    optest_input(&t, DT_F32, DIMS(2, 1, 4), VALUES(1, 2, 3, 4, 5, 5, 5, 5));
    optest_input(&t, DT_F32, DIMS(1), VALUES(2));
    optest_input(&t, DT_F32, DIMS(1), VALUES(7));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 1, 4),
                  VALUES(7 - 3 * r, 7 - r, 7 + r, 7 + 3 * r, 7, 7, 7, 7), 1e-6);
    optest_end(&t);
    optest_begin(&t, "InstanceNormalization", 7);
    optest_input(&t, DT_F32, DIMS(2, 3, 4), NULL);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "B is not one number per channel");
    t.in[0].shape = DIMS(8, 3);
    optest_fails(&t, COHORT_ERR_SHAPE, "rank 2");
    optest_end(&t);
}

static void lrn(void **state) {
    (void)state;
    /* Four channels of 1; size 2 reaches from c to c+1, size 3 from c-1 to c+1. */
    for (int size = 1; size <= 4; size++) {
        double y[4];
        for (int c = 0; c < 4; c++) {
            int from = c - (size - 1) / 2, to = c + size / 2, terms = 0;
            for (int k = 0; k < 4; k++)
                terms += k >= from && k <= to;
            y[c] = 1 / pow(2 + 3.0 / size * terms, 0.5);
        }
        optest_begin(&t, "LRN", 13);
        optest_int(&t, "size", size);
        optest_float(&t, "alpha", 3);
        optest_float(&t, "beta", 0.5f);
        optest_float(&t, "bias", 2);
        optest_input(&t, DT_F32, DIMS(1, 4), VALUES(1, 1, 1, 1));
        optest_run(&t, 1);
        optest_expect(&t, 0, DT_F32, DIMS(1, 4), y, 1e-6);
        struct lrn_params p;
        lrn_params(&t.node, &p);
        assert_int_equal(p.size, size);
        assert_float_equal(p.bias, 2, 0);
        optest_end(&t);
    }
    optest_begin(&t, "LRN",
                 13); /* images and pixels do not mix: defaults, x*(1 + 1e-4*x^2)^-0.75 */
    optest_int(&t, "size", 1);
    optest_input(&t, DT_F32, DIMS(2, 1, 2), VALUES(100, 0, -10, 1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 1, 2),
                  VALUES(100 / pow(2, 0.75), 0, -10 / pow(1.01, 0.75), 1 / pow(1.0001, 0.75)),
                  1e-6);
    optest_end(&t);
    optest_begin(&t, "LRN", 13);
    optest_input(&t, DT_F32, DIMS(2, 1, 2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "size is 0");
    optest_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_norm_by_hand),
        cmocka_unit_test(batch_norm_refuses_training),
        cmocka_unit_test(batch_norm_is_an_affine_map),
        cmocka_unit_test(instance_norm),
        cmocka_unit_test(lrn),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
