/* Resize and Upsample: values from ONNX's page (opsets that its packaged test data lacks) or worked
 * out by hand, every combination of modes against an interpolation written the other way round
 * (for one element, from the formulas), and the table that kernels read. */
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

static const double sixteen[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static int64_t pick(int64_t low, int64_t high) {
    double unit = (optest_random(&t) + 2) / 4;
    return low + (int64_t)(unit * (double)(high - low + 1));
}

static void input_list(enum dtype type, const double *list, int64_t count) {
    optest_input(&t, type, DIMS(count), list);
}

/* X, no roi, scales, and sizes when there are any. */
static void begin(int opset, struct shape x, const double *values, const double *scales,
                  const double *sizes, int64_t count) {
    optest_begin(&t, "Resize", opset);
    optest_input(&t, DT_F32, x, values);
    optest_leave_out(&t);
    if (scales != NULL)
        input_list(DT_F32, scales, count);
    else
        optest_leave_out(&t);
    if (sizes != NULL)
        input_list(DT_I64, sizes, count);
}

static void before_opset_11(void **state) {
    (void)state;
    optest_begin(&t, "Upsample", 9);
    optest_input(&t, DT_I32, DIMS(1, 1, 2, 2), sixteen);
    input_list(DT_F32, VALUES(1, 1, 2, 3), 4);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(1, 1, 4, 6),
                  VALUES(1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 3, 3, 3, 4, 4, 4),
                  0);
    optest_end(&t);
    const float scales[] = {1, 1, 2};
    optest_begin(&t, "Upsample", 7); /* asymmetric: 1, 1.5, 2, and beyond the end the edge */
    optest_string(&t, "mode", "linear");
    optest_input(&t, DT_F32, DIMS(1, 1, 2), sixteen);
    t.attrs[t.node.attr_count++] = (struct attr){.name = (char *)(uintptr_t) "scales",
                                                 .kind = ATTR_FLOATS,
                                                 .floats = (float *)(uintptr_t)scales,
                                                 .count = 3};
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 4), VALUES(1, 1.5, 2, 2), 1e-6);
    optest_end(&t);
    optest_begin(&t, "Resize", 10); /* ONNX's own example of a reduction: [[1, 3]] */
    optest_input(&t, DT_F32, DIMS(1, 1, 2, 4), sixteen);
    input_list(DT_F32, VALUES(1, 1, 0.6, 0.6), 4);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 1, 2), VALUES(1, 3), 0);
    optest_end(&t);
    assert_null(op_find("", "Upsample", 10));
    assert_null(op_find("", "Resize", 9));
}

static void antialias(void **state) {
    (void)state;
    begin(18, DIMS(1, 1, 4, 4), sixteen, VALUES(1, 1, 0.6, 0.6), NULL, 4);
    optest_string(&t, "mode", "linear");
    optest_int(&t, "antialias", 1);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 2, 2), VALUES(2.875, 4.5, 9.375, 11), 1e-6);
    optest_end(&t);
    begin(18, DIMS(1, 1, 4, 4), sixteen, VALUES(1, 1, 0.6, 0.6), NULL, 4);
    optest_string(&t, "mode", "cubic");
    optest_int(&t, "antialias", 1);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 2, 2),
                  VALUES(2.5180721, 4.2858863, 9.589329, 11.357142), 1e-6);
    optest_end(&t);
    begin(18, DIMS(1, 1, 4), sixteen, VALUES(1, 1, 2), NULL, 3); /* enlarging: no difference */
    optest_string(&t, "mode", "linear");
    optest_int(&t, "antialias", 1);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 8), VALUES(1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4),
                  1e-6);
    optest_end(&t);
}

static void half_pixel_symmetric(void **state) {
    (void)state;
    begin(19, DIMS(1, 1, 4), sixteen, VALUES(1, 1, 0.6), NULL, 3);
    optest_string(&t, "mode", "linear");
    optest_string(&t, "coordinate_transformation_mode", "half_pixel_symmetric");
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 2), VALUES(1.6666667, 3.3333333), 1e-6);
    optest_end(&t);
    begin(19, DIMS(1, 1, 2), sixteen, VALUES(1, 1, 2.94), NULL, 3);
    optest_string(&t, "mode", "linear");
    optest_string(&t, "coordinate_transformation_mode", "half_pixel_symmetric");
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 1, 5), VALUES(1, 1.15986395, 1.5, 1.84013605, 2), 1e-6);
    optest_end(&t);
}

static void keep_aspect_ratio(void **state) {
    (void)state;
    static const char *const policy[] = {"not_larger", "not_smaller"};
    for (int i = 0; i < 2; i++) { /* 2x4 into 7x8: by 2, or by 3.5 */
        begin(18, DIMS(1, 1, 2, 4), sixteen, NULL, VALUES(7, 8), 2);
        optest_ints(&t, "axes", INTS(2, -1));
        optest_string(&t, "keep_aspect_ratio_policy", policy[i]);
        optest_run(&t, 1);
        if (i == 0)
            optest_expect(&t, 0, DT_F32, DIMS(1, 1, 4, 8),
                          VALUES(1, 1, 2, 2, 3, 3, 4, 4, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7,
                                 8, 8, 5, 5, 6, 6, 7, 7, 8, 8),
                          0);
        else
            optest_expect_shape(&t, 0, DT_F32, DIMS(1, 1, 7, 14));
        optest_end(&t);
    }
    begin(18, DIMS(6, 9), NULL, NULL, VALUES(7, 12), 2); /* 9*7/6 is 10.5: rounded up */
    optest_string(&t, "keep_aspect_ratio_policy", "not_larger");
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(7, 11));
    optest_end(&t);
}

static void axes_have_their_order(void **state) {
    (void)state;
    optest_begin(&t, "Resize", 18);
    optest_string(&t, "coordinate_transformation_mode", "tf_crop_and_resize");
    optest_float(&t, "extrapolation_value", -9);
    optest_ints(&t, "axes", INTS(1, 0));
    optest_input(&t, DT_F32, DIMS(2, 4), sixteen);
    input_list(DT_F32, VALUES(0, 1, 1, 0), 4); /* axis 1 from 0 to 1, axis 0 from 1 to 0 */
    optest_leave_out(&t);
    input_list(DT_I64, VALUES(4, 2), 2);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(2, 4), VALUES(5, 6, 7, 8, 1, 2, 3, 4), 0);
    optest_end(&t);
    optest_begin(&t, "Resize", 13); /* beyond both ends; in between linear */
    optest_string(&t, "mode", "linear");
    optest_string(&t, "coordinate_transformation_mode", "tf_crop_and_resize");
    optest_float(&t, "extrapolation_value", -9);
    optest_input(&t, DT_F32, DIMS(3), sixteen);
    input_list(DT_F32, VALUES(-0.25, 1.25), 2); /* -0.5 to 2.5 in steps of 0.75 */
    optest_leave_out(&t);
    input_list(DT_I64, VALUES(5), 1);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(5), VALUES(-9, 1.25, 2, 2.75, -9), 1e-6);
    optest_end(&t);
}

/* ---- every combination against one element's formula ----------------------------------------- */

static const char *const coordinates[] = {
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
    "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"};
static const char *const nearests[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
static const char *const modes[] = {"nearest", "linear", "cubic"};

struct one {
    int64_t in, out;
    double scale, start, end;
    bool sized;
};

/* Where output x lies, straight from ONNX's page, in double. */
static double coordinate(int c, const struct one *o, int64_t x) {
    double in = (double)o->in, out = (double)o->out, at = (double)x;
    double width = o->sized ? out : o->scale * in;
    switch (c) {
    case 1:
        return in / 2 * (1 - out / (o->scale * in)) + (at + 0.5) / o->scale - 0.5;
    case 2:
        return o->out > 1 ? (at + 0.5) / o->scale - 0.5 : 0;
    case 3:
        return width == 1 ? 0 : at * (in - 1) / (width - 1);
    case 4:
        return at / o->scale;
    case 5:
        return (at + 0.5) / o->scale;
    case 6:
        return o->out > 1 ? o->start * (in - 1) + at * (o->end - o->start) * (in - 1) / (out - 1)
                          : 0.5 * (o->start + o->end) * (in - 1);
    default:
        return (at + 0.5) / o->scale - 0.5;
    }
}

static double edge(const double *x, int64_t in, double i) {
    return x[i < 0 ? 0 : i > (double)(in - 1) ? in - 1 : (int64_t)i];
}

static double keys(double d, double a) {
    d = fabs(d);
    return d <= 1   ? (a + 2) * d * d * d - (a + 3) * d * d + 1
           : d <= 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a
                    : 0;
}

static double element(int mode, double at, const double *x, int64_t in, bool exclude) {
    double low = floor(at), sum = 0, weights = 0;
    if (mode == 1)
        return edge(x, in, low) * (low + 1 - at) + edge(x, in, low + 1) * (at - low);
    for (double i = low - 1; i <= low + 2; i++) {
        double w = exclude && (i < 0 || i >= (double)in) ? 0 : keys(at - i, -0.75);
        sum += w * edge(x, in, i);
        weights += w;
    }
    return sum / weights;
}

static double neighbour(int n, double at) {
    double low = floor(at), half = at - low - 0.5;
    if (n == 2 || n == 3)
        return n == 2 ? low : ceil(at);
    return half < 0 || (half == 0 && n == 0) ? low : low + 1;
}

static void every_mode_is_its_formula(void **state) {
    (void)state;
    double row[12];
    for (int c = 0; c < 7 * 3 * 40; c++) {
        int how = c % 7, mode = c / 7 % 3, n = (int)pick(0, 3);
        bool exclude = mode == 2 && how != 6 && how != 4 && how != 5 && pick(0, 1);
        struct one o = {.in = pick(1, 12), .sized = pick(0, 1), .start = 0, .end = 1};
        if (o.sized) {
            o.out = pick(1, 25);
            o.scale = (double)o.out / (double)o.in;
        } else {
            o.scale = (double)pick(2, 24) / 8; /* exact in float */
            o.out = (int64_t)floor(o.scale * (double)o.in);
        }
        if (o.out == 0)
            continue;
        if (how == 6) {
            o.start = (double)pick(-1, 2) / 4;
            o.end = (double)pick(2, 5) / 4;
        }
        for (int i = 0; i < 12; i++)
            row[i] = optest_random(&t);
        begin(19, DIMS(o.in), row, o.sized ? NULL : &o.scale,
              o.sized ? VALUES((double)o.out) : NULL, 1);
        if (how == 6) {
            t.left_out[1] = false;
            t.node.in_count = 1;
            input_list(DT_F32, VALUES(o.start, o.end), 2);
            t.node.in_count = o.sized ? 4 : 3;
        }
        optest_string(&t, "mode", modes[mode]);
        optest_string(&t, "coordinate_transformation_mode", coordinates[how]);
        optest_string(&t, "nearest_mode", nearests[n]);
        optest_int(&t, "exclude_outside", exclude);
        optest_float(&t, "extrapolation_value", 77);
        optest_run(&t, 1);
        optest_expect_shape(&t, 0, DT_F32, DIMS(o.out));
        for (int64_t x = 0; x < o.out; x++) {
            double at = coordinate(how, &o, x), y = tensor_get_f64(&t.out[0], x), expected;
            if (o.scale == 1 && how != 6)
                at = (double)x; /* nothing is resized */
            if (how == 6 && (fabs(at) < 1e-5 || fabs(at - (double)(o.in - 1)) < 1e-5))
                continue; /* in or out: a matter of rounding */
            if (how == 6 && (at < 0 || at > (double)(o.in - 1)))
                expected = 77;
            else if (mode > 0)
                expected = element(mode, at, row, o.in, exclude);
            else { /* a coordinate on the brink may be rounded to either side */
                double a = edge(row, o.in, neighbour(n, at - 1e-5));
                double b = edge(row, o.in, neighbour(n, at + 1e-5));
                expected = fabs(y - a) < fabs(y - b) ? a : b;
            }
            if (!(fabs(y - expected) <= 2e-5))
                fail_msg("%s %s %s: %lld to %lld, element %lld is %.8g; expected %.8g", modes[mode],
                         coordinates[how], nearests[n], (long long)o.in, (long long)o.out,
                         (long long)x, y, expected);
        }
        optest_end(&t);
    }
}

/* Where a coordinate is exactly half-way, the four modes differ as their names say. */
static void ties(void **state) {
    (void)state;
    const double expected[4][3] = {{1, 3, 5}, {2, 4, 6}, {1, 3, 5}, {2, 4, 6}};
    for (int n = 0; n < 4; n++) {
        begin(13, DIMS(6), sixteen, VALUES(0.5), NULL, 1); /* 0.5, 2.5, 4.5 */
        optest_string(&t, "nearest_mode", nearests[n]);
        optest_run(&t, 1);
        optest_expect(&t, 0, DT_F32, DIMS(3), expected[n], 0);
        optest_end(&t);
    }
}

/* 17.5/(21/9) is 7.5, but not in float; 0.5/(1/7) is 3.5. */
static void ties_but_for_rounding(void **state) {
    (void)state;
    for (int n = 0; n < 2; n++) {
        optest_begin(&t, "Resize", 11);
        optest_string(&t, "coordinate_transformation_mode", "tf_half_pixel_for_nn");
        optest_string(&t, "nearest_mode", nearests[n]);
        optest_input(&t, DT_F32, DIMS(9), sixteen);
        optest_leave_out(&t);
        optest_leave_out(&t);
        input_list(DT_I64, VALUES(21), 1);
        optest_run(&t, 1);
        assert_float_equal(tensor_get_f64(&t.out[0], 17), sixteen[7 + n], 0);
        optest_end(&t);
        optest_begin(&t, "Resize", 11);
        optest_string(&t, "coordinate_transformation_mode", "tf_half_pixel_for_nn");
        optest_string(&t, "nearest_mode", nearests[n]);
        optest_input(&t, DT_F32, DIMS(7), sixteen);
        optest_leave_out(&t);
        optest_leave_out(&t);
        input_list(DT_I64, VALUES(1), 1);
        optest_run(&t, 1);
        assert_float_equal(tensor_get_f64(&t.out[0], 0), sixteen[3 + n], 0);
        optest_end(&t);
    }
}

static void axes_are_separable(void **state) {
    (void)state;
    /* A product of two rows stays a product; both axes at once, with N and C in front. */
    double a[5], b[7], x[2 * 35], y[2 * 9 * 4];
    for (int mode = 1; mode < 3; mode++) {
        double ra[9], rb[4];
        for (int i = 0; i < 5; i++)
            a[i] = optest_random(&t);
        for (int i = 0; i < 7; i++)
            b[i] = optest_random(&t);
        for (int i = 0; i < 70; i++)
            x[i] = a[i / 7 % 5] * b[i % 7] * (i < 35 ? 1 : -1);
        begin(13, DIMS(5), a, NULL, VALUES(9), 1);
        optest_string(&t, "mode", modes[mode]);
        optest_run(&t, 1);
        for (int i = 0; i < 9; i++)
            ra[i] = tensor_get_f64(&t.out[0], i);
        optest_end(&t);
        begin(13, DIMS(7), b, NULL, VALUES(4), 1);
        optest_string(&t, "mode", modes[mode]);
        optest_run(&t, 1);
        for (int i = 0; i < 4; i++)
            rb[i] = tensor_get_f64(&t.out[0], i);
        optest_end(&t);
        for (int i = 0; i < 72; i++)
            y[i] = ra[i / 4 % 9] * rb[i % 4] * (i < 36 ? 1 : -1);
        begin(13, DIMS(1, 2, 5, 7), x, NULL, VALUES(1, 2, 9, 4), 4);
        optest_string(&t, "mode", modes[mode]);
        optest_run(&t, 1);
        optest_expect(&t, 0, DT_F32, DIMS(1, 2, 9, 4), y, 1e-5);
        optest_end(&t);
    }
}

static void other_types(void **state) {
    (void)state;
    optest_begin(&t, "Resize", 13); /* integers: truncated, as in a C conversion */
    optest_string(&t, "mode", "linear");
    optest_input(&t, DT_U8, DIMS(2), VALUES(10, 20));
    optest_leave_out(&t);
    input_list(DT_F32, VALUES(2), 1);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_U8, DIMS(4), VALUES(10, 12, 17, 20), 0);
    optest_end(&t);
    optest_begin(&t, "Resize", 13);
    optest_input(&t, DT_BOOL, DIMS(2), VALUES(0, 1));
    optest_leave_out(&t);
    input_list(DT_F32, VALUES(2), 1);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_BOOL, DIMS(4), VALUES(0, 0, 1, 1), 0);
    optest_end(&t);
    optest_begin(&t, "Resize", 13); /* an empty list of scales is none */
    optest_input(&t, DT_I64, DIMS(2), VALUES(5, 6));
    optest_leave_out(&t);
    input_list(DT_F32, NULL, 0);
    input_list(DT_I64, VALUES(3), 1);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I64, DIMS(3), VALUES(5, 5, 6), 0);
    optest_end(&t);
    begin(13, DIMS(1, 3), sixteen, NULL, VALUES(1, 0), 2);
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(1, 0));
    optest_end(&t);
    begin(13, DIMS(20), NULL, VALUES(1.65), NULL, 1); /* 1.65f * 20 in float is 33, not 32.99… */
    optest_run(&t, 1);
    optest_expect_shape(&t, 0, DT_F32, DIMS(33));
    optest_end(&t);
}

static void unknown_sizes(void **state) {
    (void)state;
    begin(18, DIMS(1, 3, 8, 8), NULL, NULL, VALUES(16, 16), 2);
    optest_ints(&t, "axes", INTS(2, 3));
    t.unknown[3] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(1, 3, -1, -1));
    t.in[0].shape.rank = -1;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    assert_int_equal(t.out[0].shape.rank, -1);
    optest_end(&t);
}

static void mistakes_are_named(void **state) {
    (void)state;
    begin(13, DIMS(1, 4), NULL, NULL, NULL, 0);
    optest_fails(&t, COHORT_ERR_SHAPE, "neither scales nor sizes");
    optest_end(&t);
    begin(13, DIMS(1, 4), NULL, VALUES(1, 2), VALUES(1, 8), 2);
    optest_fails(&t, COHORT_ERR_SHAPE, "both scales and sizes");
    optest_end(&t);
    static const double bad[] = {0, -1, NAN, INFINITY, 1e30};
    for (int i = 0; i < 5; i++) {
        begin(13, DIMS(1, 4), NULL, VALUES(1, bad[i]), NULL, 2);
        optest_fails(&t, COHORT_ERR_SHAPE, i < 4 ? "a scale of" : "too large");
        optest_end(&t);
    }
    begin(13, DIMS(1, 4), NULL, VALUES(1, 2, 3), NULL, 3);
    optest_fails(&t, COHORT_ERR_SHAPE, "scales is not a list of 2");
    optest_end(&t);
    begin(13, DIMS(1, 4), NULL, NULL, VALUES(8), 1);
    optest_fails(&t, COHORT_ERR_SHAPE, "sizes has 1 elements; 2");
    optest_end(&t);
    begin(13, DIMS(1, 4), NULL, NULL, VALUES(1, -8), 2);
    optest_fails(&t, COHORT_ERR_SHAPE, "cannot become -8");
    optest_end(&t);
    begin(13, DIMS(1, 4), NULL, NULL, VALUES(1, 8), 2);
    optest_string(&t, "mode", "quadratic");
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "mode is \"quadratic\"");
    optest_end(&t);
    begin(13, DIMS(1, 4), NULL, NULL, VALUES(1, 8), 2);
    optest_string(&t, "coordinate_transformation_mode", "tf_crop_and_resize");
    optest_fails(&t, COHORT_ERR_SHAPE, "roi");
    optest_end(&t);
    optest_begin(&t, "Resize", 10);
    optest_string(&t, "mode", "cubic");
    optest_input(&t, DT_F32, DIMS(1, 4), NULL);
    input_list(DT_F32, VALUES(1, 2), 2);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "opset 10");
    optest_end(&t);
    optest_begin(&t, "Upsample", 7);
    optest_input(&t, DT_F32, DIMS(1, 4), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "scales has 0 elements");
    optest_end(&t);
}

static void the_table(void **state) {
    (void)state;
    struct resize_rule rule = {.mode = RESIZE_LINEAR, .coordinate = RESIZE_HALF_PIXEL};
    struct resize_axis axis = {.in = 4, .out = 8, .scale = 2, .width = 8};
    struct resize_table table;
    assert_int_equal(resize_table_create(&table, &rule, &axis, NULL), COHORT_OK);
    assert_int_equal(table.taps, 2);
    assert_float_equal(table.slope, 0.5, 0);
    for (int64_t o = 0; o < 8; o++) {
        const int64_t *i = table.index + 2 * o;
        const float *w = table.weight + 2 * o;
        assert_true(i[0] >= 0 && i[1] < 4 && i[0] <= i[1]);
        assert_float_equal((w[0] + w[1]), 1, 1e-7);
    }
    assert_int_equal(table.index[2 * 3 + 1], 2); /* 1.25: a quarter of element 2 */
    assert_float_equal(table.weight[2 * 3 + 1], 0.25, 0);
    resize_table_release(&table);
    axis = (struct resize_axis){.in = 4, .out = 4, .scale = 1, .width = 4};
    assert_int_equal(resize_table_create(&table, &rule, &axis, NULL), COHORT_OK);
    assert_int_equal(table.taps, 0);
    assert_null(table.index);
    resize_table_release(&table);
    /* Far more taps than elements, all of them clamped. */
    rule.antialias = true;
    axis = (struct resize_axis){.in = 3, .out = 1, .scale = 0.01f, .width = 1};
    assert_int_equal(resize_table_create(&table, &rule, &axis, NULL), COHORT_OK);
    double sum = 0;
    for (int k = 0; k < table.taps; k++) {
        assert_true(table.index[k] >= 0 && table.index[k] < 3);
        sum += (double)table.weight[k];
    }
    assert_true(table.taps >= 200);
    assert_float_equal(sum, 1, 1e-5);
    resize_table_release(&table);
}

static void memory_may_be_short(void **state) {
    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        begin(13, DIMS(1, 2, 3, 3), NULL, VALUES(1, 1, 2, 2), NULL, 4);
        optest_string(&t, "mode", modes[mode]);
        optest_run(&t, 1);
        const struct tensor *in[] = {&t.in[0], NULL, &t.in[2]};
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
        assert_int_equal(failures, mode == 0 ? 4 : 7);
        optest_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_opset_11),
        cmocka_unit_test(antialias),
        cmocka_unit_test(half_pixel_symmetric),
        cmocka_unit_test(keep_aspect_ratio),
        cmocka_unit_test(axes_have_their_order),
        cmocka_unit_test(every_mode_is_its_formula),
        cmocka_unit_test(ties),
        cmocka_unit_test(ties_but_for_rounding),
        cmocka_unit_test(axes_are_separable),
        cmocka_unit_test(other_types),
        cmocka_unit_test(unknown_sizes),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(the_table),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
