/* Norms, normalisations and small mathematics: LpNormalization, LpPool, GlobalLpPool,
 * GroupNormalization, MeanVarianceNormalization, RMSNormalization, Hardmax, Det, the window
 * functions, SwiGLU and the operators on bits, by hand. */
#include "tests/support/opcase.h"

static void lp_normalization(void **state) {
    (void)state;
    begin("LpNormalization", 22);
    F32(DIMS(2, 2), 3, 4, 0, 0); /* a norm of 0 gives zeros */
    gives(DT_F32, DIMS(2, 2), VALUES(0.6, 0.8, 0, 0));
    begin("LpNormalization", 1);
    optest_int(&t, "axis", 0);
    optest_int(&t, "p", 1);
    F32(DIMS(2, 2), 1, -2, -3, 6);
    gives(DT_F32, DIMS(2, 2), VALUES(0.25, -0.25, -0.75, 0.75));
    begin("LpNormalization", 1);
    F32(DIMS(0, 3), 0);
    gives(DT_F32, DIMS(0, 3), VALUES(0));
    begin("LpNormalization", 1);
    F32(DIMS(3), NAN, 1, 2);
    gives(DT_F32, DIMS(3), VALUES(NAN, NAN, NAN));
    begin("LpNormalization", 1);
    optest_int(&t, "p", 3);
    F32(DIMS(1), 1);
    refuses(COHORT_ERR_SHAPE, "p is 3");
    begin("LpNormalization", 1);
    optest_int(&t, "axis", 2);
    F32(DIMS(1, 1), 1);
    refuses(COHORT_ERR_SHAPE, "axis 2");
}

static void lp_pool(void **state) {
    (void)state;
    begin("LpPool", 18);
    optest_ints(&t, "kernel_shape", INTS(2));
    F32(DIMS(1, 1, 4), 3, -4, 0, 12);
    gives(DT_F32, DIMS(1, 1, 3), VALUES(5, 4, 12));
    begin("LpPool", 11);
    optest_ints(&t, "kernel_shape", INTS(2, 2));
    optest_ints(&t, "strides", INTS(2, 2));
    optest_ints(&t, "pads", INTS(1, 1, 0, 0));
    optest_int(&t, "p", 1);
    F32(DIMS(1, 1, 3, 3), 1, 2, 3, 4, 5, 6, 7, 8, -9);
    gives(DT_F32, DIMS(1, 1, 2, 2), VALUES(1, 5, 11, 28));
    begin("LpPool", 18);
    optest_ints(&t, "kernel_shape", INTS(2));
    optest_ints(&t, "dilations", INTS(2));
    optest_int(&t, "p", 3);
    F32(DIMS(1, 1, 3), 1, 5, 2);
    gives(DT_F32, DIMS(1, 1, 1), VALUES(cbrt(9)));
    begin("GlobalLpPool", 2);
    F32(DIMS(1, 2, 1, 2), 3, 4, -5, 12);
    gives(DT_F32, DIMS(1, 2, 1, 1), VALUES(5, 13));
    begin("LpPool", 18);
    F32(DIMS(1, 1, 3), 1, 5, 2);
    refuses(COHORT_ERR_SHAPE, "kernel_shape is missing");
    begin("LpPool", 18);
    optest_ints(&t, "kernel_shape", INTS(2));
    optest_int(&t, "p", 0);
    F32(DIMS(1, 1, 3), 1, 5, 2);
    refuses(COHORT_ERR_SHAPE, "p is 0");
    begin("GlobalLpPool", 2);
    F32(DIMS(3), 1, 5, 2);
    refuses(COHORT_ERR_SHAPE, "rank 1");
}

/* Two groups of two channels of one pixel: (1, 3) and (2, 6), of mean 2 and 4. */
static void group_normalization(void **state) {
    (void)state;
    begin("GroupNormalization", 18);
    optest_int(&t, "num_groups", 2);
    optest_float(&t, "epsilon", 0);
    F32(DIMS(1, 4, 1), 1, 3, 2, 6);
    F32(DIMS(2), 2, 3);
    F32(DIMS(2), 10, 20);
    gives(DT_F32, DIMS(1, 4, 1), VALUES(8, 12, 17, 23));
    begin("GroupNormalization", 21);
    optest_int(&t, "num_groups", 2);
    optest_float(&t, "epsilon", 3); /* the first group's deviation is 2, the second's root 7 */
    F32(DIMS(1, 4, 1), 1, 3, 2, 6);
    F32(DIMS(4), 2, 4, 1, 1);
    F32(DIMS(4), 10, 20, 0, 1);
    gives(DT_F32, DIMS(1, 4, 1), VALUES(9, 22, -2 / sqrt(7), 2 / sqrt(7) + 1));
    begin("GroupNormalization", 21);
    optest_int(&t, "num_groups", 3);
    F32(DIMS(1, 4, 1), 1, 3, 2, 6);
    F32(DIMS(4), 2, 4, 1, 1);
    F32(DIMS(4), 10, 20, 0, 1);
    refuses(COHORT_ERR_SHAPE, "3 groups do not divide 4");
    begin("GroupNormalization", 21);
    optest_int(&t, "num_groups", 2);
    F32(DIMS(1, 4, 1), 1, 3, 2, 6);
    F32(DIMS(2), 2, 4);
    F32(DIMS(2), 10, 20);
    refuses(COHORT_ERR_SHAPE, "per channel");
}

static void mean_variance_normalization(void **state) {
    (void)state;
    begin("MeanVarianceNormalization", 13);
    F32(DIMS(2, 1, 1, 2), 1, 3, 1, 3); /* over both images */
    gives(DT_F32, DIMS(2, 1, 1, 2), VALUES(-1, 1, -1, 1));
    begin("MeanVarianceNormalization", 9);
    optest_ints(&t, "axes", INTS(-1));
    F32(DIMS(2, 2), 0, 4, 7, 7);
    gives(DT_F32, DIMS(2, 2), VALUES(-1, 1, 0, 0));
    begin("MeanVarianceNormalization", 9);
    F32(DIMS(2, 2), 0, 4, 7, 7);
    refuses(COHORT_ERR_SHAPE, "axes");
}

static void rms_normalization(void **state) {
    (void)state;
    begin("RMSNormalization", 23);
    optest_float(&t, "epsilon", 1.5f); /* (1 + 25)/2 + 3/2 is no square, (4 + 9)/2... neither */
    F32(DIMS(2, 2), 1, 5, 3, 4);
    F32(DIMS(2), 2, 1);
    gives(DT_F32, DIMS(2, 2), VALUES(2 / sqrt(14.5), 5 / sqrt(14.5), 6 / sqrt(14), 4 / sqrt(14)));
    begin("RMSNormalization", 23);
    optest_int(&t, "axis", 0);
    optest_float(&t, "epsilon", 0);
    F32(DIMS(2, 2), 2, 2, 2, -2);
    F32(DIMS(2, 1), 3, 5);
    gives(DT_F32, DIMS(2, 2), VALUES(3, 3, 5, -5));
    begin("RMSNormalization", 23);
    F32(DIMS(2, 2), 2, 2, 2, -2);
    F32(DIMS(3), 3, 5, 1);
    refuses(COHORT_ERR_SHAPE, "2 is normalised");
}

static void hardmax(void **state) {
    (void)state;
    begin("Hardmax", 13);
    F32(DIMS(2, 3), 1, 5, 5, NAN, 9, 0); /* the first of equals; a NaN is the largest */
    gives(DT_F32, DIMS(2, 3), VALUES(0, 1, 0, 1, 0, 0));
    begin("Hardmax", 11); /* as a matrix of one row */
    optest_int(&t, "axis", 0);
    F32(DIMS(2, 2), 1, 2, 7, 4);
    gives(DT_F32, DIMS(2, 2), VALUES(0, 0, 1, 0));
    begin("Hardmax", 13);
    optest_int(&t, "axis", 0);
    F32(DIMS(2, 2), 1, 2, 7, 1);
    gives(DT_F32, DIMS(2, 2), VALUES(0, 1, 1, 0));
    begin("Hardmax", 13);
    optest_int(&t, "axis", -3);
    F32(DIMS(2, 2), 1, 2, 7, 4);
    refuses(COHORT_ERR_SHAPE, "axis -3");
}

static void det(void **state) {
    (void)state;
    begin("Det", 11);
    F32(DIMS(3, 2, 2), 1, 2, 3, 4, 0, 2, 3, 0, 1, 2, 2, 4);
    gives(DT_F32, DIMS(3), VALUES(-2, -6, 0));
    begin("Det", 22);
    F32(DIMS(3, 3), 0, 0, 2, 3, 0, 0, 0, 5, 0); /* a permutation: even */
    gives(DT_F32, SCALAR, VALUES(30));
    begin("Det", 11);
    F32(DIMS(2, 0, 0), 0); /* of nothing: the empty product */
    gives(DT_F32, DIMS(2), VALUES(1, 1));
    begin("Det", 11);
    F32(DIMS(1, 2), 1, 2);
    refuses(COHORT_ERR_SHAPE, "square");
}

static void window_functions(void **state) {
    (void)state;
    begin("HannWindow", 17);
    optest_input(&t, DT_I32, SCALAR, VALUES(4));
    gives(DT_F32, DIMS(4), VALUES(0, 0.5, 1, 0.5));
    begin("HannWindow", 17);
    optest_int(&t, "periodic", 0);
    optest_int(&t, "output_datatype", DT_F64);
    optest_input(&t, DT_I64, SCALAR, VALUES(3));
    gives(DT_F64, DIMS(3), VALUES(0, 1, 0));
    begin("HammingWindow", 17);
    optest_input(&t, DT_I64, SCALAR, VALUES(2));
    gives(DT_F32, DIMS(2), VALUES(4.0 / 46, 1));
    begin("BlackmanWindow", 17);
    optest_input(&t, DT_I64, SCALAR, VALUES(4));
    gives(DT_F32, DIMS(4), VALUES(0, 0.34, 1, 0.34));
    begin("BlackmanWindow", 17);
    optest_input(&t, DT_I64, SCALAR, VALUES(-1));
    refuses(COHORT_ERR_SHAPE, "size -1");
}

static void swiglu(void **state) {
    (void)state;
    begin("SwiGLU", 28);
    optest_float(&t, "alpha", 2);
    F32(DIMS(2), 0, 1);
    F32(DIMS(2), 5, 3);
    gives(DT_F32, DIMS(2), VALUES(0, 3 / (1 + exp(-2))));
    begin("SwiGLU", 28);
    F32(DIMS(2), 0, 1);
    F32(DIMS(1), 5);
    refuses(COHORT_ERR_SHAPE, "differ");
}

static void bits(void **state) {
    (void)state;
    begin("BitwiseAnd", 18);
    optest_input(&t, DT_I8, DIMS(2), VALUES(-1, 6));
    optest_input(&t, DT_I8, DIMS(1), VALUES(3));
    gives(DT_I8, DIMS(2), VALUES(3, 2));
    begin("BitwiseOr", 18);
    optest_input(&t, DT_U8, DIMS(2), VALUES(128, 6));
    optest_input(&t, DT_U8, DIMS(2), VALUES(1, 3));
    gives(DT_U8, DIMS(2), VALUES(129, 7));
    begin("BitwiseXor", 18);
    optest_input(&t, DT_I32, DIMS(2), VALUES(-1, 6));
    optest_input(&t, DT_I32, DIMS(2), VALUES(1, 3));
    gives(DT_I32, DIMS(2), VALUES(-2, 5));
    begin("BitwiseNot", 18);
    optest_input(&t, DT_U8, DIMS(2), VALUES(0, 254));
    gives(DT_U8, DIMS(2), VALUES(255, 1));
    begin("BitShift", 11);
    optest_string(&t, "direction", "LEFT");
    optest_input(&t, DT_U8, DIMS(3), VALUES(3, 129, 1));
    optest_input(&t, DT_U8, DIMS(3), VALUES(2, 1, 200));
    gives(DT_U8, DIMS(3), VALUES(12, 2, 0));
    begin("BitShift", 11);
    optest_string(&t, "direction", "RIGHT");
    optest_input(&t, DT_U32, DIMS(2), VALUES(4294967295.0, 8));
    optest_input(&t, DT_U32, DIMS(2), VALUES(31, 64));
    gives(DT_U32, DIMS(2), VALUES(1, 0));
    begin("BitShift", 11);
    optest_input(&t, DT_U8, DIMS(1), VALUES(3));
    optest_input(&t, DT_U8, DIMS(1), VALUES(2));
    refuses(COHORT_ERR_SHAPE, "direction");
    begin("BitwiseAnd", 18);
    F32(DIMS(1), 3);
    F32(DIMS(1), 3);
    refuses(COHORT_ERR_UNSUPPORTED, "float32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lp_normalization),
        cmocka_unit_test(lp_pool),
        cmocka_unit_test(group_normalization),
        cmocka_unit_test(mean_variance_normalization),
        cmocka_unit_test(rms_normalization),
        cmocka_unit_test(hardmax),
        cmocka_unit_test(det),
        cmocka_unit_test(window_functions),
        cmocka_unit_test(swiglu),
        cmocka_unit_test(bits),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
