/* Operators that shape, make and move tensors: views, Shape and Size, Constant and its relatives,
 * Transpose, Expand, Tile, Gather, Identity and Dropout. */
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

static struct shape random_shape(int least, int most, int64_t longest) {
    struct shape s = {.rank = least + (int)((optest_random(&t) + 2) / 4 * (most - least + 1))};
    for (int i = 0; i < s.rank; i++)
        s.dim[i] = 1 + (int64_t)((optest_random(&t) + 2) / 4 * (double)longest);
    return s;
}

/* Flat position of an index, and back. */
static int64_t flat(const struct shape *s, const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < s->rank; i++)
        at = at * s->dim[i] + index[i];
    return at;
}

static void unflat(const struct shape *s, int64_t at, int64_t *index) {
    for (int i = s->rank - 1; i >= 0; i--) {
        index[i] = at % s->dim[i];
        at /= s->dim[i];
    }
}

/* ---- views ----------------------------------------------------------------------------------- */

struct view_case {
    const char *op;
    int opset;
    const char *attr; /* "axes", "axis" or NULL: the list is an input */
    struct shape from;
    int count;
    int64_t list[6];
    int allowzero;
    struct shape to;   /* rank -1: an error … */
    const char *words; /* … with these words */
};

static const struct view_case views[] = {
    {"Reshape", 13, NULL, {2, {4, 6}}, 3, {2, -1, 3}, 0, {3, {2, 4, 3}}, NULL},
    {"Reshape", 13, NULL, {3, {2, 3, 4}}, 2, {0, -1}, 0, {2, {2, 12}}, NULL},
    {"Reshape", 13, NULL, {3, {2, 3, 4}}, 1, {-1}, 0, {1, {24}}, NULL},
    {"Reshape", 13, NULL, {1, {1}}, 0, {0}, 0, {0, {0}}, NULL},
    {"Reshape", 13, NULL, {0, {0}}, 2, {1, 1}, 0, {2, {1, 1}}, NULL},
    {"Reshape", 14, NULL, {3, {0, 3, 4}}, 3, {3, 4, 0}, 1, {3, {3, 4, 0}}, NULL},
    {"Reshape", 13, NULL, {2, {0, 3}}, 2, {0, 7}, 0, {2, {0, 7}}, NULL},
    {"Reshape", 13, NULL, {2, {4, 6}}, 2, {5, -1}, 0, {-1, {0}}, "cannot be reshaped"},
    {"Reshape", 13, NULL, {2, {4, 6}}, 2, {5, 5}, 0, {-1, {0}}, "cannot be reshaped to 5x5"},
    {"Reshape", 13, NULL, {2, {4, 6}}, 2, {-1, -1}, 0, {-1, {0}}, "more than one"},
    {"Reshape", 13, NULL, {2, {4, 6}}, 2, {-2, 12}, 0, {-1, {0}}, "-2"},
    {"Reshape", 13, NULL, {1, {4}}, 2, {4, 0}, 0, {-1, {0}}, "rank 1"},
    {"Reshape", 13, NULL, {2, {0, 3}}, 2, {0, -1}, 0, {-1, {0}}, "cannot be reshaped"},
    {"Reshape", 14, NULL, {2, {4, 6}}, 2, {0, -1}, 1, {-1, {0}}, "no answer"},
    {"Flatten", 13, "axis", {4, {2, 3, 4, 5}}, 1, {1}, 0, {2, {2, 60}}, NULL},
    {"Flatten", 13, "axis", {4, {2, 3, 4, 5}}, 1, {0}, 0, {2, {1, 120}}, NULL},
    {"Flatten", 13, "axis", {4, {2, 3, 4, 5}}, 1, {4}, 0, {2, {120, 1}}, NULL},
    {"Flatten", 13, "axis", {4, {2, 3, 4, 5}}, 1, {-1}, 0, {2, {24, 5}}, NULL},
    {"Flatten", 13, "axis", {0, {0}}, 1, {0}, 0, {2, {1, 1}}, NULL},
    {"Flatten", 13, "axis", {2, {2, 0}}, 1, {1}, 0, {2, {2, 0}}, NULL},
    {"Flatten", 13, "axis", {2, {2, 3}}, 1, {3}, 0, {-1, {0}}, "axis 3"},
    {"Squeeze", 11, "axes", {4, {1, 3, 1, 5}}, 1, {-2}, 0, {3, {1, 3, 5}}, NULL},
    {"Squeeze", 13, NULL, {4, {1, 3, 1, 5}}, 2, {0, 2}, 0, {2, {3, 5}}, NULL},
    {"Squeeze", 13, "none", {4, {1, 3, 1, 5}}, 0, {0}, 0, {2, {3, 5}}, NULL},
    {"Squeeze", 13, "none", {2, {1, 1}}, 0, {0}, 0, {0, {0}}, NULL},
    {"Squeeze", 13, NULL, {4, {1, 3, 1, 5}}, 1, {1}, 0, {-1, {0}}, "dimension 1 is 3"},
    {"Squeeze", 13, NULL, {4, {1, 3, 1, 5}}, 2, {0, -4}, 0, {-1, {0}}, "twice"},
    {"Squeeze", 13, NULL, {2, {1, 3}}, 1, {2}, 0, {-1, {0}}, "axis 2"},
    {"Unsqueeze", 11, "axes", {2, {3, 5}}, 2, {0, 3}, 0, {4, {1, 3, 5, 1}}, NULL},
    {"Unsqueeze", 13, NULL, {2, {3, 5}}, 3, {2, 4, 1}, 0, {5, {3, 1, 1, 5, 1}}, NULL},
    {"Unsqueeze", 13, NULL, {0, {0}}, 1, {-1}, 0, {1, {1}}, NULL},
    {"Unsqueeze", 13, NULL, {2, {3, 5}}, 2, {1, -3}, 0, {-1, {0}}, "twice"},
    {"Unsqueeze", 13, NULL, {2, {3, 5}}, 1, {4}, 0, {-1, {0}}, "axis 4"},
    {"Unsqueeze", 13, "none", {2, {3, 5}}, 0, {0}, 0, {-1, {0}}, "axes are missing"},
    {"Unsqueeze", 13, NULL, {6, {1, 1, 1, 1, 1, 1}}, 3, {0, 1, 2}, 0, {-1, {0}}, "rank 9"},
};

static void view_begin(const struct view_case *v) {
    optest_begin(&t, v->op, v->opset);
    optest_input(&t, DT_F32, v->from, NULL);
    if (v->allowzero)
        optest_int(&t, "allowzero", 1);
    if (v->attr == NULL)
        optest_list(&t, v->list, v->count);
    else if (strcmp(v->attr, "axis") == 0)
        optest_int(&t, "axis", v->list[0]);
    else if (strcmp(v->attr, "axes") == 0)
        optest_ints(&t, "axes", v->list, v->count);
}

static void test_views(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof views / sizeof views[0]; k++) {
        const struct view_case *v = &views[k];
        view_begin(v);
        if (v->to.rank < 0) {
            optest_fails(&t, v->from.rank == 6 ? COHORT_ERR_UNSUPPORTED : COHORT_ERR_SHAPE,
                         v->words);
        } else {
            optest_run(&t, 1);
            optest_expect_shape(&t, 0, DT_F32, v->to);
            assert_memory_equal(t.in[0].data, t.out[0].data, tensor_bytes(&t.in[0]));
        }
        optest_end(&t);
    }
}

/* Where the list is not known yet: at most the rank can be told. */
static void test_views_unknown(void **state) {
    (void)state;
    static const struct {
        const char *op;
        int count, rank; /* rank of the output from one of rank 3 */
    } cases[] = {{"Reshape", 2, 2},
                 {"Squeeze", 1, 2},
                 {"Unsqueeze", 2, 5},
                 {"Expand", 4, 4},
                 {"Tile", 3, 3}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        optest_begin(&t, cases[k].op, 13);
        optest_input(&t, DT_I64, DIMS(1, 1, 1), NULL);
        optest_list(&t, (int64_t[]){0, 1, 2, 3}, cases[k].count);
        t.unknown[1] = true;
        assert_int_equal(optest_infer(&t, 1), COHORT_OK);
        optest_expect_shape(&t, 0, DT_I64,
                            cases[k].rank == 5   ? DIMS(-1, -1, -1, -1, -1)
                            : cases[k].rank == 4 ? DIMS(-1, -1, -1, -1)
                            : cases[k].rank == 3 ? DIMS(-1, -1, -1)
                                                 : DIMS(-1, -1));
        optest_end(&t);
    }
    optest_begin(&t, "Reshape", 13); /* an unknown batch */
    t.in[0] = (struct tensor){.type = DT_F32, .shape = {.rank = 4, .dim = {-1, 3, 4, 5}}};
    t.node.in_count = 1;
    optest_list(&t, INTS(0, 60));
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, 60));
    optest_end(&t);
}

/* ---- Shape, Size, Constant, ConstantOfShape, Range ------------------------------------------- */

static void test_shape(void **state) {
    (void)state;
    static const struct {
        int64_t start, end;
        int from, to; /* of 2, 3, 4, 5 */
    } cases[] = {{0, 4, 0, 4},  {1, 4, 1, 4}, {0, -1, 0, 3}, {-2, 4, 2, 4},
                 {-9, 9, 0, 4}, {3, 1, 3, 3}, {1, 2, 1, 2},  {0, -7, 0, 0}};
    static const double dims[] = {2, 3, 4, 5};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        optest_begin(&t, "Shape", 15);
        optest_int(&t, "start", cases[k].start);
        optest_int(&t, "end", cases[k].end);
        optest_input(&t, DT_BOOL, DIMS(2, 3, 4, 5), NULL);
        optest_run(&t, 1);
        optest_expect(&t, 0, DT_I64, DIMS(cases[k].to - cases[k].from), dims + cases[k].from, 0);
        optest_end(&t);
    }
    optest_begin(&t, "Shape", 13);
    optest_input(&t, DT_F32, SCALAR, NULL);
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_I64, DIMS(0));
    optest_end(&t);

    optest_begin(&t, "Size", 13);
    optest_input(&t, DT_F32, DIMS(2, 3, 4), NULL);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, SCALAR, VALUES(24), 0);
    optest_end(&t);
}

static void test_constant(void **state) {
    (void)state;
    optest_begin(&t, "Constant", 13);
    optest_attr_tensor(&t, "value", DT_F64, DIMS(2), VALUES(1, 2));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F64, DIMS(2), VALUES(1, 2), 0);
    optest_end(&t);
    optest_begin(&t, "Constant", 13);
    optest_ints(&t, "value_ints", INTS(4, 5, 6));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, DIMS(3), VALUES(4, 5, 6), 0);
    optest_end(&t);
    optest_begin(&t, "Constant", 13);
    optest_int(&t, "value_int", -4);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, SCALAR, VALUES(-4), 0);
    optest_end(&t);
    optest_begin(&t, "Constant", 13);
    optest_float(&t, "value_float", 0.5f);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, SCALAR, VALUES(0.5), 0);
    optest_end(&t);
    optest_begin(&t, "Constant", 13);
    optest_string(&t, "value_string", "x");
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "text");
    optest_end(&t);
}

static void test_constant_of_shape(void **state) {
    (void)state;
    optest_begin(&t, "ConstantOfShape", 9);
    optest_attr_tensor(&t, "value", DT_I32, DIMS(1), VALUES(7));
    optest_list(&t, INTS(2, 2));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(2, 2), VALUES(7, 7, 7, 7), 0);
    optest_end(&t);
    optest_begin(&t, "ConstantOfShape", 9);
    optest_list(&t, INTS(3));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(0, 0, 0), 0);
    optest_end(&t);
    optest_begin(&t, "ConstantOfShape", 9); /* an empty shape: a scalar */
    optest_input(&t, DT_I64, DIMS(0), NULL);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, SCALAR, VALUES(0), 0);
    optest_end(&t);
    optest_begin(&t, "ConstantOfShape", 9);
    optest_list(&t, INTS(2, -1));
    optest_fails(&t, COHORT_ERR_SHAPE, "-1");
    optest_end(&t);
    optest_begin(&t, "ConstantOfShape", 9);
    optest_list(&t, INTS(1, 1, 1, 1, 1, 1, 1, 1, 1));
    optest_fails(&t, COHORT_ERR_SHAPE, "at most 8");
    optest_end(&t);
    optest_begin(&t, "ConstantOfShape", 9);
    optest_list(&t, INTS(1ll << 40, 1ll << 40));
    optest_fails(&t, COHORT_ERR_SHAPE, "too large");
    optest_end(&t);
}

static void range_begin(enum dtype type, double start, double limit, double delta) {
    optest_begin(&t, "Range", 11);
    optest_input(&t, type, SCALAR, &start);
    optest_input(&t, type, SCALAR, &limit);
    optest_input(&t, type, SCALAR, &delta);
}

static void test_range(void **state) {
    (void)state;
    range_begin(DT_I64, 10, 4, -2);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, DIMS(3), VALUES(10, 8, 6), 0);
    optest_end(&t);
    range_begin(DT_I32, 0, 7, 3);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(3), VALUES(0, 3, 6), 0);
    optest_end(&t);
    range_begin(DT_F32, 1, 2, 0.25);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(4), VALUES(1, 1.25, 1.5, 1.75), 0);
    optest_end(&t);
    range_begin(DT_I64, 4, 4, 1);
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_I64, DIMS(0));
    optest_end(&t);
    range_begin(DT_F64, 4, 0, 1);
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F64, DIMS(0));
    optest_end(&t);
    range_begin(DT_I64, 0, 4, 0);
    optest_fails(&t, COHORT_ERR_SHAPE, "step");
    optest_end(&t);
    range_begin(DT_F32, 0, 4, 0);
    optest_fails(&t, COHORT_ERR_SHAPE, "step");
    optest_end(&t);
    range_begin(DT_F32, 0, INFINITY, 1);
    optest_fails(&t, COHORT_ERR_SHAPE, "no end");
    optest_end(&t);
    range_begin(DT_I64, -9.2e18, 9.2e18, 1);
    optest_fails(&t, COHORT_ERR_SHAPE, "elements");
    optest_end(&t);
    range_begin(DT_I64, 0, 4, 1);
    t.unknown[1] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_I64, DIMS(-1));
    optest_end(&t);
}

/* ---- moving ---------------------------------------------------------------------------------- */

static void test_transpose(void **state) {
    (void)state;
    static const enum dtype types[] = {DT_F32, DT_I64, DT_U8, DT_F16};
    for (int round = 0; round < 60; round++) {
        struct shape s = random_shape(1, 5, 6);
        int64_t perm[RANK_MAX], index[RANK_MAX], from[RANK_MAX];
        for (int i = 0; i < s.rank; i++)
            perm[i] = i;
        for (int i = s.rank - 1; i > 0; i--) {
            int k = (int)((optest_random(&t) + 2) / 4 * (i + 1));
            int64_t swap = perm[i];
            perm[i] = perm[k];
            perm[k] = swap;
        }
        optest_begin(&t, "Transpose", 13);
        if (round % 5 == 0)
            for (int i = 0; i < s.rank; i++)
                perm[i] = s.rank - 1 - i; /* the default */
        else
            optest_ints(&t, "perm", perm, s.rank);
        optest_input(&t, types[round % 4], s, NULL);
        optest_run(&t, 1);
        for (int64_t i = 0; i < shape_count(&s); i++) {
            unflat(&t.out[0].shape, i, index);
            for (int k = 0; k < s.rank; k++)
                from[perm[k]] = index[k];
            assert_true(tensor_get_f64(&t.out[0], i) == tensor_get_f64(&t.in[0], flat(&s, from)));
        }
        optest_end(&t);
    }
    optest_begin(&t, "Transpose", 13);
    optest_ints(&t, "perm", INTS(0, 1));
    optest_input(&t, DT_F32, DIMS(1, 2, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "perm has 2");
    optest_end(&t);
    optest_begin(&t, "Transpose", 13);
    optest_ints(&t, "perm", INTS(0, 0));
    optest_input(&t, DT_F32, DIMS(1, 2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "twice");
    optest_end(&t);
    optest_begin(&t, "Transpose", 13);
    optest_input(&t, DT_F32, SCALAR, VALUES(3));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, SCALAR, VALUES(3), 0);
    optest_end(&t);
}

static void test_expand(void **state) {
    (void)state;
    optest_begin(&t, "Expand", 13);
    optest_input(&t, DT_F32, DIMS(3, 1), VALUES(1, 2, 3));
    optest_list(&t, INTS(2, 1, 2));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 3, 2), VALUES(1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3), 0);
    optest_end(&t);
    optest_begin(&t, "Expand", 8); /* the wanted shape may be the smaller one */
    optest_input(&t, DT_BOOL, DIMS(2, 2), VALUES(1, 0, 0, 1));
    optest_list(&t, INTS(1));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_BOOL, DIMS(2, 2), VALUES(1, 0, 0, 1), 0);
    optest_end(&t);
    optest_begin(&t, "Expand", 8);
    optest_input(&t, DT_F32, DIMS(1, 3), NULL);
    optest_list(&t, INTS(0, 3));
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(0, 3));
    optest_end(&t);
    optest_begin(&t, "Expand", 8);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_list(&t, INTS(3));
    optest_fails(&t, COHORT_ERR_SHAPE, "cannot be expanded");
    optest_end(&t);
    optest_begin(&t, "Expand", 8);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_list(&t, INTS(-3));
    optest_fails(&t, COHORT_ERR_SHAPE, "-3");
    optest_end(&t);
}

static void test_tile(void **state) {
    (void)state;
    for (int round = 0; round < 40; round++) {
        struct shape s = random_shape(1, 4, 4);
        int64_t repeats[RANK_MAX], index[RANK_MAX];
        for (int i = 0; i < s.rank; i++)
            repeats[i] = 1 + (int64_t)((optest_random(&t) + 2) / 4 * 3);
        optest_begin(&t, "Tile", 13);
        optest_input(&t, DT_I32, s, NULL);
        optest_list(&t, repeats, s.rank);
        optest_run(&t, 1);
        int64_t count = 1;
        for (int i = 0; i < s.rank; i++)
            count *= s.dim[i] * repeats[i];
        assert_int_equal(count, shape_count(&t.out[0].shape));
        for (int64_t i = 0; i < count; i++) {
            unflat(&t.out[0].shape, i, index);
            for (int k = 0; k < s.rank; k++)
                index[k] %= s.dim[k];
            assert_true(tensor_get_f64(&t.out[0], i) == tensor_get_f64(&t.in[0], flat(&s, index)));
        }
        optest_end(&t);
    }
    optest_begin(&t, "Tile", 13);
    optest_input(&t, DT_F32, DIMS(2, 2), NULL);
    optest_list(&t, INTS(0, 3));
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(0, 6));
    optest_end(&t);
    optest_begin(&t, "Tile", 13);
    optest_input(&t, DT_F32, DIMS(2, 2), NULL);
    optest_list(&t, INTS(2));
    optest_fails(&t, COHORT_ERR_SHAPE, "1 repeats");
    optest_end(&t);
    optest_begin(&t, "Tile", 13);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_list(&t, INTS(-1));
    optest_fails(&t, COHORT_ERR_SHAPE, "-1 times");
    optest_end(&t);
}

static void test_gather(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct shape s = random_shape(1, 4, 5), indices = random_shape(0, 2, 4);
        int axis = (int)((optest_random(&t) + 2) / 4 * s.rank);
        int64_t index[RANK_MAX], from[RANK_MAX];
        optest_begin(&t, "Gather", 13);
        optest_int(&t, "axis", round % 2 ? axis : axis - s.rank);
        optest_input(&t, DT_F32, s, NULL);
        optest_input(&t, round % 3 ? DT_I64 : DT_I32, indices, NULL);
        int64_t d = s.dim[axis];
        for (int64_t i = 0; i < shape_count(&indices); i++)
            tensor_set_i64(&t.in[1], i,
                           (int64_t)((optest_random(&t) + 2) / 4 * (double)(2 * d)) - d);
        optest_run(&t, 1);
        assert_int_equal(t.out[0].shape.rank, s.rank - 1 + indices.rank);
        for (int64_t i = 0; i < shape_count(&t.out[0].shape); i++) {
            unflat(&t.out[0].shape, i, index);
            for (int k = 0; k < axis; k++)
                from[k] = index[k];
            from[axis] = tensor_get_i64(&t.in[1], flat(&indices, index + axis));
            from[axis] += from[axis] < 0 ? d : 0;
            for (int k = axis + 1; k < s.rank; k++)
                from[k] = index[k + indices.rank - 1];
            assert_true(tensor_get_f64(&t.out[0], i) == tensor_get_f64(&t.in[0], flat(&s, from)));
        }
        optest_end(&t);
    }
    optest_begin(&t, "Gather", 13);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_list(&t, INTS(0, 3));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 3 is not within [-3, 2]");
    optest_end(&t);
    optest_begin(&t, "Gather", 13);
    optest_int(&t, "axis", 1);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_list(&t, INTS(0));
    optest_fails(&t, COHORT_ERR_SHAPE, "axis 1");
    optest_end(&t);
    optest_begin(&t, "Gather", 13);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_input(&t, DT_F32, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "float32");
    optest_end(&t);
}

static void test_identity_and_dropout(void **state) {
    (void)state;
    optest_begin(&t, "Identity", 13);
    optest_input(&t, DT_I8, DIMS(3), VALUES(1, 2, 3));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I8, DIMS(3), VALUES(1, 2, 3), 0);
    optest_end(&t);

    optest_begin(&t, "Dropout", 12);
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, 2, 3));
    optest_input(&t, DT_F32, SCALAR, VALUES(0.75));
    optest_run(&t, 2);
    optest_expect(&t, 0, DT_F32, DIMS(3), VALUES(1, 2, 3), 0);
    optest_expect(&t, 1, DT_BOOL, DIMS(3), VALUES(1, 1, 1), 0);
    optest_end(&t);

    optest_begin(&t, "Dropout", 7);
    optest_input(&t, DT_F32, DIMS(2), VALUES(1, 2));
    optest_run(&t, 2);
    optest_expect(&t, 1, DT_F32, DIMS(2), VALUES(1, 1), 0);
    optest_end(&t);

    optest_begin(&t, "Dropout", 12);
    optest_input(&t, DT_F32, DIMS(2), VALUES(1, 2));
    optest_leave_out(&t);
    optest_input(&t, DT_BOOL, SCALAR, VALUES(1));
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "training");
    optest_end(&t);
}

static void test_trilu(void **state) {
    (void)state;
    static const struct {
        int64_t k;
        double upper[6], lower[6]; /* of 1 2 3 / 4 5 6 */
    } cases[] = {
        {0, {1, 2, 3, 0, 5, 6}, {1, 0, 0, 4, 5, 0}},  {1, {0, 2, 3, 0, 0, 6}, {1, 2, 0, 4, 5, 6}},
        {-1, {1, 2, 3, 4, 5, 6}, {0, 0, 0, 4, 0, 0}}, {9, {0}, {1, 2, 3, 4, 5, 6}},
        {INT64_MIN, {1, 2, 3, 4, 5, 6}, {0}},         {INT64_MAX, {0}, {1, 2, 3, 4, 5, 6}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int upper = 0; upper < 2; upper++) {
            optest_begin(&t, "Trilu", 14);
            optest_int(&t, "upper", upper);
            optest_input(&t, DT_I16, DIMS(2, 3), VALUES(1, 2, 3, 4, 5, 6));
            optest_input(&t, DT_I64, SCALAR, VALUES(0));
            tensor_i64(&t.in[1])[0] = cases[i].k;
            optest_run(&t, 1);
            optest_expect(&t, 0, DT_I16, DIMS(2, 3), upper ? cases[i].upper : cases[i].lower, 0);
            optest_end(&t);
        }
    optest_begin(&t, "Trilu", 14);
    optest_input(&t, DT_F32, DIMS(3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "a matrix is needed");
    optest_end(&t);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_views_unknown),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_constant_of_shape),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_tile),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_identity_and_dropout),
        cmocka_unit_test(test_trilu),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("ops_shape", tests, NULL, NULL);
}
