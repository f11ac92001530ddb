/* Operators that select, scatter and sort: TopK, NonMaxSuppression, GatherElements, GatherND,
 * ScatterElements, ScatterND, TensorScatter, CumSum, CumProd, OneHot, EyeLike, ReverseSequence,
 * NonZero, Compress, Unique, Einsum, by hand. */
#include "base/mem.h"
#include "tests/support/opcase.h"

static void topk(void **state) {
    (void)state;
    begin("TopK", 11);
    F32(DIMS(2, 4), 1, 3, 3, 2, NAN, -1, 0, -0.0);
    optest_list(&t, INTS(3));
    optest_run(&t, 2);
    EXPECT(0, DT_F32, DIMS(2, 3), 3, 3, 2, NAN, 0, 0);
    EXPECT(1, DT_I64, DIMS(2, 3), 1, 2, 3, 0, 2, 3); /* of equals the first */
    optest_end(&t);
    begin("TopK", 24);
    optest_int(&t, "axis", 0);
    optest_int(&t, "largest", 0);
    optest_input(&t, DT_I32, DIMS(3, 2), VALUES(5, 1, -7, 2, 0, 2));
    optest_list(&t, INTS(2));
    optest_run(&t, 2);
    EXPECT(0, DT_I32, DIMS(2, 2), -7, 1, 0, 2);
    EXPECT(1, DT_I64, DIMS(2, 2), 1, 0, 2, 1);
    optest_end(&t);
    begin("TopK", 1);
    optest_int(&t, "k", 1);
    F32(DIMS(3), 1, 9, 3);
    gives(DT_F32, DIMS(1), VALUES(9));
    begin("TopK", 11);
    optest_input(&t, DT_U64, DIMS(2), VALUES(1, 9223372036854775808.0)); /* not negative */
    optest_list(&t, INTS(1));
    gives(DT_U64, DIMS(1), VALUES(9223372036854775808.0));
    begin("TopK", 11);
    F32(DIMS(3), 1, 9, 3);
    optest_list(&t, INTS(0));
    gives(DT_F32, DIMS(0), VALUES(0));
    begin("TopK", 11);
    F32(DIMS(3), 1, 9, 3);
    optest_list(&t, INTS(4));
    refuses(COHORT_ERR_SHAPE, "the 4 best of 3");
    begin("TopK", 11);
    F32(DIMS(3), 1, 9, 3);
    optest_list(&t, INTS(-1));
    refuses(COHORT_ERR_SHAPE, "k is -1");
}

/* Every length and k against a selection by counting. */
static void topk_counts(void **state) {
    (void)state;
    for (int length = 1; length < 12; length++)
        for (int k = 1; k <= length; k++) {
            begin("TopK", 11);
            optest_input(&t, DT_I32, DIMS(length), NULL); /* few different numbers */
            optest_list(&t, INTS(k));
            optest_run(&t, 2);
            for (int i = 0; i < length; i++) {
                int before = 0;
                for (int j = 0; j < length; j++) {
                    int64_t a = tensor_get_i64(&t.in[0], i), b = tensor_get_i64(&t.in[0], j);
                    before += b > a || (b == a && j < i);
                }
                if (before < k)
                    assert_int_equal(tensor_get_i64(&t.out[1], before), i);
            }
            optest_end(&t);
        }
}

/* Boxes 0 and 1 overlap by 1/2 of each: IoU 1/3; box 2 is elsewhere, with its corners swapped. */
static void nms_begin(double most, double overlap) {
    begin("NonMaxSuppression", 11);
    F32(DIMS(1, 3, 4), 0, 0, 2, 2, 0, 1, 2, 3, 9, 9, 8, 8);
    F32(DIMS(1, 1, 3), 0.5, 0.9, 0.7);
    optest_input(&t, DT_I64, DIMS(1), VALUES(most));
    F32(DIMS(1), overlap);
}

static void non_max_suppression(void **state) {
    (void)state;
    nms_begin(3, 0.3);
    gives(DT_I64, DIMS(2, 3), VALUES(0, 0, 1, 0, 0, 2));
    nms_begin(3, 0.4);
    gives(DT_I64, DIMS(3, 3), VALUES(0, 0, 1, 0, 0, 2, 0, 0, 0));
    nms_begin(1, 0.4);
    gives(DT_I64, DIMS(1, 3), VALUES(0, 0, 1));
    nms_begin(3, 0.4);
    F32(DIMS(1), 0.75); /* the least score */
    gives(DT_I64, DIMS(1, 3), VALUES(0, 0, 1));
    begin("NonMaxSuppression", 10); /* none asked for: none given */
    F32(DIMS(1, 1, 4), 0, 0, 1, 1);
    F32(DIMS(1, 1, 1), 1);
    gives(DT_I64, DIMS(0, 3), VALUES(0));
    begin("NonMaxSuppression", 11); /* two classes; centre and size; a NaN score is none */
    optest_int(&t, "center_point_box", 1);
    F32(DIMS(1, 2, 4), 1, 1, 2, 2, 1, 1, 2, 2);
    F32(DIMS(1, 2, 2), 1, 2, 3, NAN);
    optest_input(&t, DT_I64, SCALAR, VALUES(9));
    gives(DT_I64, DIMS(2, 3), VALUES(0, 0, 1, 0, 1, 0));
    begin("NonMaxSuppression", 11);
    F32(DIMS(1, 1, 4), 0, 0, 1, 1);
    F32(DIMS(1, 1, 2), 1, 2);
    refuses(COHORT_ERR_SHAPE, "boxes of shape");
    begin("NonMaxSuppression", 11);
    F32(DIMS(1, 1, 4), 0, 0, 1, 1);
    F32(DIMS(1, 1, 1), 1);
    t.unknown[1] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_I64, DIMS(-1, 3));
    optest_end(&t);
}

static void gather_elements(void **state) {
    (void)state;
    begin("GatherElements", 11);
    optest_int(&t, "axis", 1);
    F32(DIMS(2, 2), 1, 2, 3, 4);
    optest_input(&t, DT_I64, DIMS(2, 3), VALUES(0, 0, 1, -1, 0, 1));
    gives(DT_F32, DIMS(2, 3), VALUES(1, 1, 2, 4, 3, 4));
    begin("GatherElements", 13);
    optest_input(&t, DT_BOOL, DIMS(3, 2), VALUES(0, 1, 1, 0, 1, 1));
    optest_input(&t, DT_I32, DIMS(1, 2), VALUES(-3, 1));
    gives(DT_BOOL, DIMS(1, 2), VALUES(0, 0));
    begin("GatherElements", 11);
    F32(DIMS(2), 1, 2);
    optest_list(&t, INTS(2));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 2 is not within [-2, 1]");
    optest_end(&t);
    begin("GatherElements", 11);
    F32(DIMS(2, 1), 1, 2);
    optest_input(&t, DT_I64, DIMS(2, 2), VALUES(0, 0, 0, 0)); /* no second column to take from */
    refuses(COHORT_ERR_SHAPE, "indices of shape 2x2");
}

static void gather_nd(void **state) {
    (void)state;
    begin("GatherND", 11);
    F32(DIMS(2, 2), 0, 1, 2, 3);
    optest_input(&t, DT_I64, DIMS(2, 2), VALUES(0, 0, -1, 1));
    gives(DT_F32, DIMS(2), VALUES(0, 3));
    begin("GatherND", 12);
    F32(DIMS(2, 2), 0, 1, 2, 3);
    optest_input(&t, DT_I64, DIMS(2, 1), VALUES(1, 0));
    gives(DT_F32, DIMS(2, 2), VALUES(2, 3, 0, 1));
    begin("GatherND", 13);
    optest_int(&t, "batch_dims", 1);
    F32(DIMS(2, 2, 2), 0, 1, 2, 3, 4, 5, 6, 7);
    optest_input(&t, DT_I64, DIMS(2, 1), VALUES(1, 0));
    gives(DT_F32, DIMS(2, 2), VALUES(2, 3, 4, 5));
    begin("GatherND", 11);
    F32(DIMS(2, 2), 0, 1, 2, 3);
    optest_input(&t, DT_I64, DIMS(1, 3), VALUES(0, 0, 0));
    refuses(COHORT_ERR_SHAPE, "indices of shape 1x3");
    begin("GatherND", 11);
    F32(DIMS(2, 2), 0, 1, 2, 3);
    optest_input(&t, DT_I64, DIMS(1, 2), VALUES(0, 2));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 2");
    optest_end(&t);
}

static void scatter_elements(void **state) {
    (void)state;
    static const char *const reductions[] = {"none", "add", "mul", "max", "min"};
    static const double wanted[5] = {5, 8, -20, 5, -1}; /* 4, joined with -1 and then with 5 */
    begin("ScatterElements", 18);
    optest_string(&t, "reduction", "add");
    optest_int(&t, "axis", 1);
    F32(DIMS(1, 3), 1, 2, 3);
    optest_input(&t, DT_I64, DIMS(1, 2), VALUES(1, 1));
    F32(DIMS(1, 2), 10, 20);
    gives(DT_F32, DIMS(1, 3), VALUES(1, 32, 3));
    for (int i = 0; i < 5; i++) {
        begin("ScatterElements", 18);
        optest_string(&t, "reduction", reductions[i]);
        optest_input(&t, i % 2 == 0 ? DT_F32 : DT_I64, DIMS(2), VALUES(4, 2));
        optest_list(&t, INTS(0, 0));
        optest_input(&t, i % 2 == 0 ? DT_F32 : DT_I64, DIMS(2), VALUES(-1, 5));
        gives(i % 2 == 0 ? DT_F32 : DT_I64, DIMS(2), VALUES(wanted[i], 2));
    }
    begin("ScatterElements", 18); /* a NaN stays */
    optest_string(&t, "reduction", "max");
    F32(DIMS(2), NAN, 2);
    optest_list(&t, INTS(0, 1));
    F32(DIMS(2), 1, NAN);
    gives(DT_F32, DIMS(2), VALUES(NAN, NAN));
    begin("Scatter", 9);
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(-1));
    F32(DIMS(1), 9);
    gives(DT_F32, DIMS(3), VALUES(1, 2, 9));
    begin("ScatterElements", 11);
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(3));
    F32(DIMS(1), 9);
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 3");
    optest_end(&t);
    begin("ScatterElements", 11);
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(1, 2));
    F32(DIMS(1), 9);
    refuses(COHORT_ERR_SHAPE, "updates of shape 1 ");
    begin("ScatterElements", 18);
    optest_string(&t, "reduction", "mean");
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(1));
    F32(DIMS(1), 9);
    refuses(COHORT_ERR_UNSUPPORTED, "mean");
}

static void scatter_nd(void **state) {
    (void)state;
    begin("ScatterND", 11);
    F32(DIMS(3, 2), 1, 2, 3, 4, 5, 6);
    optest_input(&t, DT_I64, DIMS(2, 1), VALUES(2, 0));
    F32(DIMS(2, 2), 10, 20, 30, 40);
    gives(DT_F32, DIMS(3, 2), VALUES(30, 40, 3, 4, 10, 20));
    begin("ScatterND", 18);
    optest_string(&t, "reduction", "mul");
    F32(DIMS(2, 2), 1, 2, 3, 4);
    optest_input(&t, DT_I64, DIMS(2, 2), VALUES(1, -1, 1, 1));
    F32(DIMS(2), 5, 7);
    gives(DT_F32, DIMS(2, 2), VALUES(1, 2, 3, 140));
    begin("ScatterND", 11);
    F32(DIMS(2), 1, 2);
    optest_input(&t, DT_I64, DIMS(1, 1), VALUES(-3));
    F32(DIMS(1), 5);
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index -3");
    optest_end(&t);
    begin("ScatterND", 11);
    F32(DIMS(2), 1, 2);
    optest_input(&t, DT_I64, DIMS(1, 1), VALUES(0));
    F32(DIMS(2), 5, 6);
    refuses(COHORT_ERR_SHAPE, "updates of shape 2");
}

static void tensor_scatter(void **state) {
    (void)state;
    begin("TensorScatter", 24);
    F32(DIMS(2, 3, 1), 1, 2, 3, 4, 5, 6);
    F32(DIMS(2, 2, 1), 10, 20, 30, 40);
    optest_list(&t, INTS(1, 0));
    gives(DT_F32, DIMS(2, 3, 1), VALUES(1, 10, 20, 30, 40, 6));
    begin("TensorScatter", 24);
    optest_string(&t, "mode", "circular");
    F32(DIMS(1, 3, 1), 1, 2, 3);
    F32(DIMS(1, 2, 1), 10, 20);
    optest_list(&t, INTS(2));
    gives(DT_F32, DIMS(1, 3, 1), VALUES(20, 2, 10));
    begin("TensorScatter", 24);
    F32(DIMS(1, 3, 1), 1, 2, 3);
    F32(DIMS(1, 2, 1), 10, 20);
    optest_list(&t, INTS(2));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "in a cache of 3");
    optest_end(&t);
    begin("TensorScatter", 24);
    F32(DIMS(1, 1, 1), 1);
    F32(DIMS(1, 2, 1), 10, 20);
    refuses(COHORT_ERR_SHAPE, "an update of shape 1x2x1");
}

static void running(void **state) {
    (void)state;
    static const double wanted[4][3] = {{1, 3, 6}, {0, 1, 3}, {6, 5, 3}, {5, 3, 0}};
    for (int i = 0; i < 4; i++) {
        begin("CumSum", 14);
        optest_int(&t, "exclusive", i % 2);
        optest_int(&t, "reverse", i / 2);
        F32(DIMS(3), 1, 2, 3);
        optest_input(&t, DT_I32, SCALAR, VALUES(-1));
        gives(DT_F32, DIMS(3), wanted[i]);
    }
    begin("CumSum", 11);
    optest_input(&t, DT_I64, DIMS(2, 2), VALUES(1, 2, 3, 4));
    optest_list(&t, INTS(0));
    gives(DT_I64, DIMS(2, 2), VALUES(1, 2, 4, 6));
    begin("CumProd", 26);
    optest_int(&t, "exclusive", 1);
    F32(DIMS(3), 2, 3, 4);
    optest_list(&t, INTS(0));
    gives(DT_F32, DIMS(3), VALUES(1, 2, 6));
    begin("CumProd", 26);
    optest_input(&t, DT_I32, DIMS(3), VALUES(2, 3, 4));
    optest_list(&t, INTS(0));
    gives(DT_I32, DIMS(3), VALUES(2, 6, 24));
    begin("CumSum", 11);
    F32(DIMS(0), 0);
    optest_list(&t, INTS(0));
    gives(DT_F32, DIMS(0), VALUES(0));
    begin("CumSum", 11);
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(1));
    refuses(COHORT_ERR_SHAPE, "axis 1");
    begin("CumSum", 11);
    F32(DIMS(3), 1, 2, 3);
    optest_input(&t, DT_I64, DIMS(0), VALUES(0));
    refuses(COHORT_ERR_SHAPE, "the axis is empty");
}

static void one_hot(void **state) {
    (void)state;
    begin("OneHot", 11);
    optest_list(&t, INTS(0, -1, 3));
    optest_input(&t, DT_I64, SCALAR, VALUES(3));
    F32(DIMS(2), 2, 5);
    gives(DT_F32, DIMS(3, 3), VALUES(5, 2, 2, 2, 2, 5, 2, 2, 2));
    begin("OneHot", 9);
    optest_int(&t, "axis", 0);
    F32(DIMS(2), 1, 0);
    optest_input(&t, DT_F32, DIMS(1), VALUES(2));
    optest_input(&t, DT_I32, DIMS(2), VALUES(0, 1));
    gives(DT_I32, DIMS(2, 2), VALUES(0, 1, 1, 0));
    begin("OneHot", 11);
    optest_list(&t, INTS(0));
    optest_input(&t, DT_I64, SCALAR, VALUES(0));
    F32(DIMS(2), 2, 5);
    refuses(COHORT_ERR_SHAPE, "depth is 0");
    begin("OneHot", 11);
    optest_list(&t, INTS(0));
    optest_input(&t, DT_I64, SCALAR, VALUES(2));
    F32(DIMS(3), 2, 5, 6);
    refuses(COHORT_ERR_SHAPE, "two");
    begin("OneHot", 11); /* no file makes a tensor of 2^62 elements */
    optest_list(&t, INTS(0));
    optest_input(&t, DT_I64, SCALAR, VALUES(0x1p62));
    F32(DIMS(2), 2, 5);
    refuses(COHORT_ERR_SHAPE, "too large");
}

static void eye_like(void **state) {
    (void)state;
    begin("EyeLike", 9);
    optest_int(&t, "k", 1);
    F32(DIMS(2, 3), 7, 7, 7, 7, 7, 7);
    gives(DT_F32, DIMS(2, 3), VALUES(0, 1, 0, 0, 0, 1));
    begin("EyeLike", 9);
    optest_int(&t, "k", -1);
    optest_int(&t, "dtype", DT_I64);
    F32(DIMS(2, 2), 7, 7, 7, 7);
    gives(DT_I64, DIMS(2, 2), VALUES(0, 0, 1, 0));
    begin("EyeLike", 9);
    optest_int(&t, "k", INT64_MAX);
    F32(DIMS(1, 2), 7, 7);
    gives(DT_F32, DIMS(1, 2), VALUES(0, 0));
    begin("EyeLike", 9);
    F32(DIMS(2), 7, 7);
    refuses(COHORT_ERR_SHAPE, "a matrix");
}

static void reverse_sequence(void **state) {
    (void)state;
    begin("ReverseSequence", 10); /* time first */
    F32(DIMS(3, 2), 1, 2, 3, 4, 5, 6);
    optest_list(&t, INTS(3, 2));
    gives(DT_F32, DIMS(3, 2), VALUES(5, 4, 3, 2, 1, 6));
    begin("ReverseSequence", 10);
    optest_int(&t, "batch_axis", 0);
    optest_int(&t, "time_axis", 1);
    F32(DIMS(2, 3), 1, 2, 3, 4, 5, 6);
    optest_list(&t, INTS(0, 2));
    gives(DT_F32, DIMS(2, 3), VALUES(1, 2, 3, 5, 4, 6));
    begin("ReverseSequence", 10);
    F32(DIMS(1, 1), 1);
    optest_list(&t, INTS(2));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "a sequence of 2 in 1");
    optest_end(&t);
    begin("ReverseSequence", 10);
    F32(DIMS(1, 2), 1, 2);
    optest_list(&t, INTS(1));
    refuses(COHORT_ERR_SHAPE, "per batch");
    begin("ReverseSequence", 10);
    optest_int(&t, "batch_axis", 2);
    F32(DIMS(1, 2), 1, 2);
    optest_list(&t, INTS(1));
    refuses(COHORT_ERR_SHAPE, "batch_axis 2");
}

static void nonzero_and_compress(void **state) {
    (void)state;
    begin("NonZero", 9);
    F32(DIMS(2, 2), 1, 0, NAN, -0.0);
    gives(DT_I64, DIMS(2, 2), VALUES(0, 1, 0, 0));
    begin("NonZero", 13);
    optest_input(&t, DT_BOOL, SCALAR, VALUES(1));
    gives(DT_I64, DIMS(0, 1), VALUES(0));
    begin("NonZero", 9);
    F32(DIMS(2, 0), 0);
    gives(DT_I64, DIMS(2, 0), VALUES(0));
    begin("Compress", 11);
    optest_int(&t, "axis", -2);
    F32(DIMS(3, 2), 1, 2, 3, 4, 5, 6);
    optest_input(&t, DT_BOOL, DIMS(2), VALUES(0, 1)); /* what it lacks is false */
    gives(DT_F32, DIMS(1, 2), VALUES(3, 4));
    begin("Compress", 9);
    F32(DIMS(2, 2), 1, 2, 3, 4);
    optest_input(&t, DT_BOOL, DIMS(4), VALUES(1, 0, 0, 1));
    gives(DT_F32, DIMS(2), VALUES(1, 4));
    begin("Compress", 11);
    optest_int(&t, "axis", 0);
    F32(DIMS(1), 1);
    optest_input(&t, DT_BOOL, DIMS(2), VALUES(0, 1));
    refuses(COHORT_ERR_SHAPE, "2 conditions for 1");
    begin("NonZero", 9);
    optest_input(&t, DT_STRING, DIMS(1), NULL);
    refuses(COHORT_ERR_UNSUPPORTED, "string");
}

static void unique(void **state) {
    (void)state;
    begin("Unique", 11);
    F32(DIMS(6), 2, 1, 1, 3, 4, 3);
    optest_run(&t, 4);
    EXPECT(0, DT_F32, DIMS(4), 1, 2, 3, 4);
    EXPECT(1, DT_I64, DIMS(4), 1, 0, 3, 4);
    EXPECT(2, DT_I64, DIMS(6), 1, 0, 0, 2, 3, 2);
    EXPECT(3, DT_I64, DIMS(4), 2, 1, 2, 1);
    optest_end(&t);
    begin("Unique", 11);
    optest_int(&t, "sorted", 0);
    F32(DIMS(6), 2, 1, 1, 3, 4, 3);
    optest_run(&t, 4);
    EXPECT(0, DT_F32, DIMS(4), 2, 1, 3, 4);
    EXPECT(1, DT_I64, DIMS(4), 0, 1, 3, 4);
    EXPECT(2, DT_I64, DIMS(6), 0, 1, 1, 2, 3, 2);
    EXPECT(3, DT_I64, DIMS(4), 1, 2, 2, 1);
    optest_end(&t);
    begin("Unique", 11); /* columns */
    optest_int(&t, "axis", 1);
    optest_input(&t, DT_I32, DIMS(2, 3), VALUES(1, 0, 1, 5, 7, 5));
    optest_run(&t, 3);
    EXPECT(0, DT_I32, DIMS(2, 2), 0, 1, 7, 5);
    EXPECT(2, DT_I64, DIMS(3), 1, 0, 1);
    optest_end(&t);
    begin("Unique", 11);
    F32(DIMS(0), 0);
    gives(DT_F32, DIMS(0), VALUES(0));
    begin("Unique", 11);
    optest_int(&t, "axis", 1);
    F32(DIMS(2), 1, 1);
    refuses(COHORT_ERR_SHAPE, "axis 1");
}

static void einsum_begin(const char *equation) {
    begin("Einsum", 12);
    optest_string(&t, "equation", equation);
}

static void einsum(void **state) {
    (void)state;
    einsum_begin("ij, jk -> ik");
    F32(DIMS(2, 2), 1, 2, 3, 4);
    F32(DIMS(2, 1), 5, 6);
    gives(DT_F32, DIMS(2, 1), VALUES(17, 39));
    einsum_begin("ij,jk"); /* the same */
    F32(DIMS(2, 2), 1, 2, 3, 4);
    F32(DIMS(2, 1), 5, 6);
    gives(DT_F32, DIMS(2, 1), VALUES(17, 39));
    einsum_begin("ii->i");
    F32(DIMS(2, 2), 1, 2, 3, 4);
    gives(DT_F32, DIMS(2), VALUES(1, 4));
    einsum_begin("ii");
    F32(DIMS(2, 2), 1, 2, 3, 4);
    gives(DT_F32, SCALAR, VALUES(5));
    einsum_begin("...i,...i->...");
    F32(DIMS(2, 2), 1, 2, 3, 4);
    F32(DIMS(2), 10, 1);
    gives(DT_F32, DIMS(2), VALUES(12, 34));
    einsum_begin("ba");
    optest_input(&t, DT_I64, DIMS(2, 2), VALUES(1, 2, 3, 4)); /* a before b */
    gives(DT_I64, DIMS(2, 2), VALUES(1, 3, 2, 4));
    einsum_begin("i,i,i->");
    F32(DIMS(2), 1, 2);
    F32(DIMS(2), 3, 4);
    F32(DIMS(2), 5, 6);
    gives(DT_F32, SCALAR, VALUES(63));
    einsum_begin("ij->j"); /* of no rows */
    F32(DIMS(0, 2), 0);
    gives(DT_F32, DIMS(2), VALUES(0, 0));
    static const char *const wrong[] = {"i,i->", "ij->k", "i->ii", "i-j", "i$", "ij", "i->i->i"};
    static const char *const words[] = {"more terms", "in no operand", "twice", "without '>'",
                                        "'$'",        "2 labels",      "'-'"};
    for (int i = 0; i < 7; i++) {
        einsum_begin(wrong[i]);
        if (i == 1)
            F32(DIMS(1, 1), 1);
        else
            F32(DIMS(1), 1);
        optest_infer(&t, 1);
        if (strstr(t.err.message, words[i]) == NULL && i != 6)
            fail_msg("%s: %s", wrong[i], t.err.message);
        assert_int_equal(t.err.code, COHORT_ERR_SHAPE);
        optest_end(&t);
    }
    einsum_begin("i,i");
    F32(DIMS(2), 1, 2);
    F32(DIMS(3), 3, 4, 5);
    refuses(COHORT_ERR_SHAPE, "size 3, not 2");
    einsum_begin("a,b,c,d->"); /* a small file, and years of work */
    double *many = mem_zalloc(4000, sizeof *many);
    assert_non_null(many);
    for (int i = 0; i < 4; i++)
        optest_input(&t, DT_F32, DIMS(4000), many);
    mem_free(many);
    optest_eval_fails(&t, COHORT_ERR_UNSUPPORTED, "2.6e+14 products for these sizes");
    optest_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topk),
        cmocka_unit_test(topk_counts),
        cmocka_unit_test(non_max_suppression),
        cmocka_unit_test(gather_elements),
        cmocka_unit_test(gather_nd),
        cmocka_unit_test(scatter_elements),
        cmocka_unit_test(scatter_nd),
        cmocka_unit_test(tensor_scatter),
        cmocka_unit_test(running),
        cmocka_unit_test(one_hot),
        cmocka_unit_test(eye_like),
        cmocka_unit_test(reverse_sequence),
        cmocka_unit_test(nonzero_and_compress),
        cmocka_unit_test(unique),
        cmocka_unit_test(einsum),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
