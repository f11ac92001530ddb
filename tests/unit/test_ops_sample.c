/* Operators that read or write at computed places: RoiAlign, MaxRoiPool, MaxUnpool, GridSample,
 * AffineGrid, Col2Im, CenterCropPad, by hand. */
#include "tests/support/opcase.h"

/* The map 0 1 / 2 3 and one region of it. */
static void roi_begin(int opset, double x1, double y1, double x2, double y2) {
    begin("RoiAlign", opset);
    F32(DIMS(1, 1, 2, 2), 0, 1, 2, 3);
    F32(DIMS(1, 4), x1, y1, x2, y2);
    optest_list(&t, INTS(0));
}

static void roi_align(void **state) {
    (void)state;
    roi_begin(16, 0, 0, 2, 2); /* pixels' middles at 0.5: samples at 0, 1 in each axis */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(1.5));
    roi_begin(16, 0, 0, 2, 2);
    optest_int(&t, "output_height", 2);
    optest_int(&t, "output_width", 2);
    gives(DT_F32, DIMS(1, 1, 2, 2), VALUES(0, 1, 2, 3));
    roi_begin(10, 0, 0, 1, 1); /* before opset 16 pixels begin at 0: one sample at 0.5, 0.5 */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(1.5));
    roi_begin(10, 0, 0, 0, 0); /* and a region is at least one pixel */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(1.5));
    roi_begin(16, 0, 0, 2, 1);
    optest_string(&t, "mode", "max");
    optest_int(&t, "sampling_ratio", 2);
    /* samples at y = -0.25, 0.25 and x = 0, 1: the most of any weighted pixel is 1 * 1 */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(1));
    roi_begin(16, 10, 10, 12, 12); /* outside */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(0));
    roi_begin(16, -1e30, -1e30, 1e30, 1e30); /* all samples but a few are outside, and quickly */
    gives(DT_F32, DIMS(1, 1, 1, 1), VALUES(0));
    roi_begin(16, 0, 0, INFINITY, 1);
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "not finite");
    optest_end(&t);
    begin("RoiAlign", 16);
    F32(DIMS(1, 1, 2, 2), 0, 1, 2, 3);
    F32(DIMS(1, 4), 0, 0, 1, 1);
    optest_list(&t, INTS(1));
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 1");
    optest_end(&t);
    roi_begin(16, 0, 0, 2, 2);
    optest_int(&t, "output_height", 0);
    refuses(COHORT_ERR_SHAPE, "an output of 0x1");
    roi_begin(16, 0, 0, 2, 2);
    optest_string(&t, "mode", "median");
    refuses(COHORT_ERR_UNSUPPORTED, "median");
}

static void max_roi_pool(void **state) {
    (void)state;
    begin("MaxRoiPool", 1);
    optest_ints(&t, "pooled_shape", INTS(1, 2));
    F32(DIMS(1, 1, 2, 4), 0, 1, 2, 3, 4, 5, 6, 7);
    F32(DIMS(2, 5), 0, 0, 0, 3, 0, 0, 1, 1, 1, 1);
    gives(DT_F32, DIMS(2, 1, 1, 2), VALUES(1, 3, 5, 5));
    begin("MaxRoiPool", 1);
    F32(DIMS(1, 1, 1, 1), 0);
    F32(DIMS(1, 5), 0, 0, 0, 3, 0);
    refuses(COHORT_ERR_SHAPE, "pooled_shape");
    begin("MaxRoiPool", 22);
    optest_ints(&t, "pooled_shape", INTS(1, 1));
    F32(DIMS(1, 1, 1, 1), 0);
    F32(DIMS(1, 5), 7, 0, 0, 3, 0);
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 7");
    optest_end(&t);
}

static void unpool_begin(double last) {
    static const int64_t two[] = {2};
    begin("MaxUnpool", 11);
    optest_ints(&t, "kernel_shape", two, 1);
    optest_ints(&t, "strides", two, 1);
    F32(DIMS(1, 2, 2), 1, 2, 3, 4);
    optest_input(&t, DT_I64, DIMS(1, 2, 2), VALUES(0, 3, 5, last));
}

static void max_unpool(void **state) {
    (void)state;
    unpool_begin(6);
    gives(DT_F32, DIMS(1, 2, 4), VALUES(1, 0, 0, 2, 0, 3, 4, 0));
    unpool_begin(6); /* the same places in larger rows */
    optest_list(&t, INTS(1, 2, 5));
    gives(DT_F32, DIMS(1, 2, 5), VALUES(1, 0, 0, 2, 0, 0, 3, 4, 0, 0));
    unpool_begin(8);
    optest_eval_fails(&t, COHORT_ERR_SHAPE, "index 8");
    optest_end(&t);
    unpool_begin(6);
    optest_list(&t, INTS(1, 2, 3));
    refuses(COHORT_ERR_SHAPE, "at least 4 is needed");
    begin("MaxUnpool", 11);
    F32(DIMS(1, 1, 2), 1, 2);
    optest_input(&t, DT_I64, DIMS(1, 1, 2), VALUES(0, 1));
    refuses(COHORT_ERR_SHAPE, "kernel_shape");
}

/* Reads 1 2 4 8 at places that are given in elements. */
static void line_begin(const char *mode, const char *padding, const double *at, int count) {
    double grid[8];
    for (int i = 0; i < count; i++)
        grid[i] = at[i] / 1.5 - 1; /* align_corners: 0 is -1, 3 is 1 */
    begin("GridSample", 20);
    optest_string(&t, "mode", mode);
    optest_string(&t, "padding_mode", padding);
    optest_int(&t, "align_corners", 1);
    F32(DIMS(1, 1, 4), 1, 2, 4, 8);
    optest_input(&t, DT_F64, DIMS(1, count, 1), grid);
}

static void grid_sample(void **state) {
    (void)state;
    line_begin("linear", "zeros", VALUES(0.5, 2.25, -0.5, 5), 4);
    gives(DT_F32, DIMS(1, 1, 4), VALUES(1.5, 5, 0.5, 0));
    line_begin("linear", "border", VALUES(3.5, -9), 2);
    gives(DT_F32, DIMS(1, 1, 2), VALUES(8, 1));
    line_begin("linear", "reflection", VALUES(3.5, -1.25, 6, 8.5), 4); /* 2.5, 1.25, 0, 2.5 */
    gives(DT_F32, DIMS(1, 1, 4), VALUES(6, 2.5, 1, 6));
    line_begin("nearest", "zeros", VALUES(0.4, 1.6, 3.6, -0.4), 4);
    gives(DT_F32, DIMS(1, 1, 4), VALUES(1, 4, 0, 1));
    /* at 1.5 the weights are -3/32, 19/32, 19/32, -3/32 for a = -3/4 */
    line_begin("cubic", "zeros", VALUES(1.5, 2), 2);
    gives(DT_F32, DIMS(1, 1, 2), VALUES((-3 * 1 + 19 * 2 + 19 * 4 - 3 * 8) / 32.0, 4));
    line_begin("linear", "zeros", VALUES(NAN, INFINITY), 2);
    gives(DT_F32, DIMS(1, 1, 2), VALUES(0, 0));
    line_begin("linear", "border", VALUES(NAN, INFINITY), 2);
    gives(DT_F32, DIMS(1, 1, 2), VALUES(1, 8));
    begin("GridSample", 16); /* x first; without align_corners, -1 is the edge of a pixel */
    F32(DIMS(1, 1, 2, 2), 0, 1, 2, 3);
    F32(DIMS(1, 1, 2, 2), 0.5, -0.5, 0, 0);
    gives(DT_F32, DIMS(1, 1, 1, 2), VALUES(1, 1.5));
    begin("GridSample", 16);
    F32(DIMS(1, 1, 2, 2), 0, 1, 2, 3);
    F32(DIMS(1, 1, 2, 3), 0, 0, 0, 0, 0, 0);
    refuses(COHORT_ERR_SHAPE, "a grid of shape");
    begin("GridSample", 16);
    optest_string(&t, "mode", "sinc");
    F32(DIMS(1, 1, 2, 2), 0, 1, 2, 3);
    F32(DIMS(1, 1, 1, 2), 0, 0);
    refuses(COHORT_ERR_UNSUPPORTED, "sinc");
}

static void affine_grid(void **state) {
    (void)state;
    begin("AffineGrid", 20); /* x' = 2x + 1, y' = x + y */
    optest_int(&t, "align_corners", 1);
    F32(DIMS(1, 2, 3), 2, 0, 1, 1, 1, 0);
    optest_list(&t, INTS(1, 1, 1, 2));
    gives(DT_F32, DIMS(1, 1, 2, 2), VALUES(-1, -1, 3, 1));
    begin("AffineGrid", 20);
    F32(DIMS(1, 2, 3), 1, 0, 0, 0, 1, 0);
    optest_list(&t, INTS(1, 1, 2, 1));
    gives(DT_F32, DIMS(1, 2, 1, 2), VALUES(0, -0.5, 0, 0.5));
    begin("AffineGrid", 20);
    F32(DIMS(1, 3, 4), 1, 0, 0, 5, 0, 1, 0, 6, 0, 0, 1, 7);
    optest_list(&t, INTS(1, 1, 1, 1, 1));
    gives(DT_F32, DIMS(1, 1, 1, 1, 3), VALUES(5, 6, 7));
    begin("AffineGrid", 20);
    F32(DIMS(1, 2, 3), 1, 0, 0, 0, 1, 0);
    optest_list(&t, INTS(1, 1, 1, 2, 1));
    refuses(COHORT_ERR_SHAPE, "theta has shape");
    begin("AffineGrid", 20);
    F32(DIMS(1, 2, 3), 1, 0, 0, 0, 1, 0);
    optest_list(&t, INTS(1, 2, 1));
    refuses(COHORT_ERR_SHAPE, "3 elements");
}

static void col2im(void **state) {
    (void)state;
    begin("Col2Im", 18); /* a window of 2 over 3 places: the middle one gets both */
    F32(DIMS(1, 2, 2), 1, 2, 30, 40);
    optest_list(&t, INTS(3));
    optest_list(&t, INTS(2));
    gives(DT_F32, DIMS(1, 1, 3), VALUES(1, 32, 40));
    begin("Col2Im", 18);
    optest_ints(&t, "strides", INTS(2));
    optest_ints(&t, "pads", INTS(1, 0));
    F32(DIMS(1, 2, 2), 1, 2, 30, 40);
    optest_list(&t, INTS(3));
    optest_list(&t, INTS(2));
    gives(DT_F32, DIMS(1, 1, 3), VALUES(30, 2, 40));
    begin("Col2Im", 18);
    F32(DIMS(1, 2, 3), 1, 2, 30, 40, 5, 6);
    optest_list(&t, INTS(3));
    optest_list(&t, INTS(2));
    refuses(COHORT_ERR_SHAPE, "columns of shape");
    begin("Col2Im", 18);
    F32(DIMS(1, 2, 2), 1, 2, 30, 40);
    optest_list(&t, INTS(3));
    optest_list(&t, INTS(-2));
    refuses(COHORT_ERR_SHAPE, "a block of -2");
}

static void center_crop_pad(void **state) {
    (void)state;
    begin("CenterCropPad", 18);
    F32(DIMS(1, 4), 1, 2, 3, 4);
    optest_list(&t, INTS(3, 2));
    gives(DT_F32, DIMS(3, 2), VALUES(0, 0, 2, 3, 0, 0));
    begin("CenterCropPad", 18);
    optest_ints(&t, "axes", INTS(-1));
    optest_input(&t, DT_I16, DIMS(1, 3), VALUES(1, 2, 3));
    optest_list(&t, INTS(4));
    gives(DT_I16, DIMS(1, 4), VALUES(1, 2, 3, 0));
    begin("CenterCropPad", 18);
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(2));
    gives(DT_F32, DIMS(2), VALUES(1, 2));
    begin("CenterCropPad", 18);
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(2, 2));
    refuses(COHORT_ERR_SHAPE, "2 elements; 1");
    begin("CenterCropPad", 18);
    F32(DIMS(3), 1, 2, 3);
    optest_list(&t, INTS(-1));
    refuses(COHORT_ERR_SHAPE, "a size of -1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roi_align),       cmocka_unit_test(max_roi_pool),
        cmocka_unit_test(max_unpool),      cmocka_unit_test(grid_sample),
        cmocka_unit_test(affine_grid),     cmocka_unit_test(col2im),
        cmocka_unit_test(center_crop_pad),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
