/* Which rows a row needs: every operator with a row map is evaluated with one input row disturbed
 * at a time, and the output rows that change are compared with rows_needed().  Also: which nodes
 * may run on feature maps. */
#include "base/mem.h"
#include "graph/ops/params.h"
#include "graph/pass.h"
#include "graph/rows.h"
#include "tests/support/leaks.h"
#include "tests/support/optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct optest t;
static struct value values[2 * OPTEST_MAX];
static struct graph graph = {
    .values = values, .value_count = 2 * OPTEST_MAX, .nodes = &t.node, .node_count = 1};

static int64_t pick(int64_t low, int64_t high) {
    double unit = (optest_random(&t) + 2) / 4;
    return low + (int64_t)(unit * (double)(high - low + 1));
}

static bool map_shape(const struct tensor *x) {
    return x->type == DT_F32 && (x->shape.rank == 3 || x->shape.rank == 4);
}

/* The node's graph: inputs [0, data) are computed, the others constants; maps where possible. */
static void make_graph(int data) {
    memset(values, 0, sizeof values);
    for (int i = 0; i < t.node.in_count; i++) {
        values[i] = (struct value){.type = t.in[i].type, .shape = t.in[i].shape};
        values[i].is_constant = i >= data;
        if (values[i].is_constant)
            values[i].constant = t.in[i];
        else if (map_shape(&t.in[i]))
            values[i].form = FORM_MAP;
    }
    for (int i = 0; i < t.node.out_count; i++) {
        struct value *v = &values[OPTEST_MAX + i];
        *v = (struct value){.type = t.out[i].type, .shape = t.out[i].shape, .uses = 1};
        v->form = map_shape(&t.out[i]) ? FORM_MAP : FORM_PLAIN;
    }
}

static bool runs_on_maps(int data) {
    make_graph(data);
    return t.node.op->map_ok != NULL && t.node.op->map_ok(&graph, &t.node);
}

/* ---- disturbing rows ------------------------------------------------------------------------- */

#define ROWS_MAX 128
static bool touched[ROWS_MAX][ROWS_MAX]; /* [output row][input row] */

static int64_t width_of(const struct shape *s) {
    return s->rank == 4 ? s->dim[3] : 1;
}

/* Adds `by` to global row r of x. */
static void disturb(struct tensor *x, int64_t r, float by) {
    const struct shape *s = &x->shape;
    int64_t h = s->dim[2], w = width_of(s), image = r / h, y = r % h;
    for (int64_t c = 0; c < s->dim[1]; c++)
        for (int64_t k = 0; k < w; k++)
            tensor_f32(x)[((image * s->dim[1] + c) * h + y) * w + k] += by;
}

/* Marks the output rows in which a and b differ. */
static void compare_rows(const struct tensor *a, const struct tensor *b, int64_t r) {
    const struct shape *s = &a->shape;
    int64_t h = s->dim[2], w = width_of(s), c_count = s->dim[1];
    for (int64_t i = 0; i < shape_count(s); i++) {
        int64_t y = i / w % h, image = i / w / h / c_count;
        float u = tensor_f32(a)[i], v = tensor_f32(b)[i];
        if (memcmp(&u, &v, sizeof u) != 0)
            touched[image * h + y][r] = true;
    }
}

static void find_touched(int input) {
    const struct tensor *in[OPTEST_MAX] = {NULL};
    struct tensor other[OPTEST_MAX] = {{0}}, *out[OPTEST_MAX] = {NULL};
    for (int i = 0; i < t.node.in_count; i++)
        in[i] = t.left_out[i] ? NULL : &t.in[i];
    for (int i = 0; i < t.node.out_count; i++) {
        assert_int_equal(tensor_init(&other[i], t.out[i].type, &t.out[i].shape, NULL), COHORT_OK);
        out[i] = &other[i];
    }
    memset(touched, 0, sizeof touched);
    struct tensor saved = {0};
    assert_int_equal(tensor_copy(&saved, &t.in[input], NULL), COHORT_OK);
    int64_t rows = value_rows(&values[input]);
    assert_true(rows <= ROWS_MAX && value_rows(&values[OPTEST_MAX]) <= ROWS_MAX);
    for (int64_t r = 0; r < rows; r++) {
        disturb(&t.in[input], r, 1000);
        assert_int_equal(op_eval(&t.node, in, out, &t.err), COHORT_OK);
        for (int i = 0; i < t.node.out_count; i++)
            compare_rows(&t.out[i], &other[i], r);
        memcpy(t.in[input].data, saved.data, tensor_bytes(&saved));
    }
    for (int i = 0; i < t.node.out_count; i++)
        tensor_release(&other[i]);
    tensor_release(&saved);
}

static void check_range(int input, int64_t y0, int64_t y1, int64_t slack) {
    struct rows hull = {0, 0}, need = rows_needed(&t.node, input, (struct rows){y0, y1});
    int64_t rows = value_rows(&values[input]);
    for (int64_t y = y0; y < y1; y++)
        for (int64_t r = 0; r < rows; r++)
            if (touched[y][r])
                hull = rows_hull(hull, (struct rows){r, r + 1});
    bool enough = rows_empty(hull) || (need.begin <= hull.begin && hull.end <= need.end);
    if (!enough || rows_count(need) > rows_count(hull) + slack)
        fail_msg("%s: rows [%lld, %lld) read [%lld, %lld) of input %d, but [%lld, %lld) are asked "
                 "for (allowed: %lld too many)",
                 t.node.op->name, (long long)y0, (long long)y1, (long long)hull.begin,
                 (long long)hull.end, input, (long long)need.begin, (long long)need.end,
                 (long long)slack);
}

/* Checks all ranges of rows of what make_graph() made; ends t. */
static void check_ranges(int data, int64_t slack) {
    assert_int_equal(pass_row_maps(&graph, &t.err), COHORT_OK);
    for (int i = 0; i < data; i++) {
        find_touched(i);
        int64_t rows = value_rows(&values[OPTEST_MAX]);
        for (int64_t y0 = 0; y0 < rows; y0++)
            for (int64_t y1 = y0 + 1; y1 <= rows; y1++)
                check_range(i, y0, y1, slack);
    }
    mem_free(t.node.rowmap);
    t.node.rowmap = NULL;
    optest_end(&t);
}

/* Infers, evaluates and checks all ranges of rows; inputs [0, data) are maps. */
static void check_rows(int data, int outputs, int64_t slack) {
    optest_run(&t, outputs);
    if (!runs_on_maps(data))
        fail_msg("%s cannot run on maps", t.node.op->name);
    check_ranges(data, slack);
}

/* [N, C, H, W] or [N, C, L]. */
static struct shape random_map(int64_t channels, int64_t least, int64_t most) {
    int rank = (int)pick(3, 4);
    struct shape s = {.rank = rank, .dim = {pick(1, 2), channels, pick(least, most)}};
    if (rank == 4)
        s.dim[3] = pick(least, most);
    return s;
}

/* ---- the operators --------------------------------------------------------------------------- */

static void windows(void **state) {
    (void)state;
    static const char *const ops[] = {"Conv", "MaxPool", "AveragePool", "ConvTranspose"};
    for (int c = 0; c < 240; c++) {
        int op = c % 4, spatial;
        struct shape x = random_map(2, 7, 10);
        int64_t kernel[2], stride[2], dilation[2], pads[4];
        spatial = x.rank - 2;
        for (int i = 0; i < spatial; i++) {
            kernel[i] = pick(1, 3);
            stride[i] = pick(1, 4);
            dilation[i] = pick(1, 2);
            pads[i] = pick(0, op == 0 ? 4 : kernel[i] - 1);
            pads[spatial + i] = pick(0, op == 0 ? 4 : kernel[i] - 1);
        }
        optest_begin(&t, ops[op], 19);
        optest_ints(&t, "kernel_shape", kernel, spatial);
        optest_ints(&t, "strides", stride, spatial);
        optest_ints(&t, "dilations", dilation, spatial);
        optest_ints(&t, "pads", pads, 2 * spatial);
        if (op == 1 || op == 2)
            optest_int(&t, "ceil_mode", pick(0, 1));
        optest_input(&t, DT_F32, x, NULL);
        if (op == 0 || op == 3) {
            struct shape w = {.rank = x.rank, .dim = {2, 2, kernel[0], kernel[1]}};
            optest_input(&t, DT_F32, w, NULL);
        }
        /* Clamping may end a range between two taps of a dilated window.  A transposed window's
         * taps may also leave rows out (stride), so a range ends beside what is read. */
        check_rows(1, 1, 2 * (dilation[0] - 1) + (op == 3 ? 2 : 0));
    }
}

static void fused_residual(void **state) {
    (void)state;
    optest_begin(&t, "Conv", 13);
    optest_input(&t, DT_F32, DIMS(2, 2, 5, 4), NULL);
    optest_input(&t, DT_F32, DIMS(3, 2, 3, 3), NULL);
    optest_leave_out(&t);
    optest_input(&t, DT_F32, DIMS(2, 3, 3, 2), NULL); /* appended by fusing */
    t.node.epilogue.residual = 3;
    t.node.epilogue.act = ACT_RELU;
    optest_run(&t, 1);
    make_graph(1);
    values[3].is_constant = false;
    values[3].form = FORM_MAP;
    assert_true(t.node.op->map_ok(&graph, &t.node));
    assert_true(t.node.op->map_input(&graph, &t.node, 3));
    assert_false(t.node.op->map_input(&graph, &t.node, 1));
    assert_int_equal(pass_row_maps(&graph, &t.err), COHORT_OK);
    struct rows r = rows_needed(&t.node, 3, (struct rows){1, 5});
    assert_int_equal(r.begin, 1);
    assert_int_equal(r.end, 5);
    mem_free(t.node.rowmap);
    optest_end(&t);
}

static void row_by_row(void **state) {
    (void)state;
    static const char *const ops[] = {"BatchNormalization", "LRN"};
    for (int c = 0; c < 8; c++) {
        struct shape x = random_map(4, 3, 6);
        optest_begin(&t, ops[c % 2], 15);
        if (c % 2 == 1)
            optest_int(&t, "size", 3);
        optest_input(&t, DT_F32, x, NULL);
        for (int i = 0; c % 2 == 0 && i < 4; i++)
            optest_input(&t, DT_F32, DIMS(4), VALUES(1, 2, 3, 4));
        check_rows(1, 1, 0);
    }
    for (int c = 0; c < 6; c++) {
        struct shape x = random_map(3, 3, 6);
        optest_begin(&t, "Concat", 13);
        optest_int(&t, "axis", 1);
        optest_input(&t, DT_F32, x, NULL);
        optest_input(&t, DT_F32, x, NULL);
        check_rows(2, 1, 0);
        optest_begin(&t, "Split", 18);
        optest_int(&t, "axis", 1 - (c & 1) * x.rank);
        optest_input(&t, DT_F32, x, NULL);
        if (c < 3)
            optest_list(&t, INTS(2, 1));
        else
            optest_int(&t, "num_outputs", 2);
        check_rows(1, 2, 0);
    }
}

static void whole_images(void **state) {
    (void)state;
    for (int c = 0; c < 6; c++) {
        static const char *const names[] = {"GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"};
        optest_begin(&t, names[c % 3], 13);
        optest_input(&t, DT_F32, random_map(2, 2, 6), NULL);
        check_rows(1, 1, 0);
    }
}

/* Of each row alone: on maps in graphs of pass_row_reduce.c only. */
static void rows_reduced(void **state) {
    (void)state;
    for (int c = 0; c < 6; c++) {
        optest_begin(&t, c % 2 == 0 ? "ReduceMax" : "ReduceMean", 11);
        optest_ints(&t, "axes", INTS(3));
        optest_input(&t, DT_F32, DIMS(2, 3, 2 + c, 5), NULL);
        optest_run(&t, 1);
        assert_false(runs_on_maps(1));
        check_ranges(1, 0);
    }
}

static void slices(void **state) {
    (void)state;
    for (int c = 0; c < 60; c++) {
        struct shape x = random_map(4, 4, 9);
        bool channels = pick(0, 2) == 0;
        int64_t start[2], end[2], axes[2], step[2];
        int n = channels ? 1 : (int)pick(1, x.rank - 2);
        for (int i = 0; i < n; i++) {
            axes[i] = channels ? 1 : 2 + i;
            start[i] = pick(0, 2);
            end[i] = pick(3, 9);
            step[i] = pick(1, 3);
        }
        optest_begin(&t, "Slice", 13);
        optest_input(&t, DT_F32, x, NULL);
        optest_list(&t, start, n);
        optest_list(&t, end, n);
        optest_list(&t, axes, n);
        optest_list(&t, step, n);
        check_rows(1, 1, 0);
    }
}

static void pads(void **state) {
    (void)state;
    static const char *const modes[] = {"constant", "edge", "reflect", "wrap"};
    for (int c = 0; c < 80; c++) {
        struct shape x = random_map(2, 5, 8);
        int64_t p[8] = {0}, reach = 0;
        for (int k = 2; k < x.rank; k++) {
            p[k] = pick(-1, 3);
            p[x.rank + k] = pick(-1, 3);
        }
        reach = (p[2] > 0 ? p[2] : 0) + (p[x.rank + 2] > 0 ? p[x.rank + 2] : 0);
        optest_begin(&t, "Pad", 19);
        optest_string(&t, "mode", modes[c % 4]);
        optest_input(&t, DT_F32, x, NULL);
        optest_list(&t, p, 2 * x.rank);
        /* An edge that is repeated or reflected costs rows in the middle: see pad_rows(). */
        check_rows(1, 1, c % 4 == 0 ? 0 : c % 4 == 1 ? reach : c % 4 == 2 ? 2 * reach : ROWS_MAX);
    }
}

static void blocks(void **state) {
    (void)state;
    for (int64_t b = 1; b <= 3; b++) {
        optest_begin(&t, "DepthToSpace", 13);
        optest_int(&t, "blocksize", b);
        optest_input(&t, DT_F32, DIMS(2, b * b, 3, 2), NULL);
        check_rows(1, 1, 0);
        optest_begin(&t, "SpaceToDepth", 13);
        optest_int(&t, "blocksize", b);
        optest_input(&t, DT_F32, DIMS(2, 1, 3 * b, b), NULL);
        check_rows(1, 1, 0);
    }
}

static void resampling(void **state) {
    (void)state;
    static const char *const coordinates[] = {"half_pixel",         "half_pixel_symmetric",
                                              "pytorch_half_pixel", "align_corners",
                                              "asymmetric",         "tf_half_pixel_for_nn"};
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const nearests[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                           "ceil"};
    for (int c = 0; c < 6 * 3 * 20; c++) {
        struct shape x = random_map(1, 1, 12);
        bool sized = pick(0, 1);
        double list[4] = {(double)x.dim[0], 1};
        for (int k = 0; k < x.rank; k++)
            if (k < 2)
                list[k] = sized ? (double)x.dim[k] : 1;
            else
                list[k] = sized ? (double)pick(1, 30) : (double)pick(8, 20) / 8;
        optest_begin(&t, "Resize", 19);
        optest_string(&t, "coordinate_transformation_mode", coordinates[c % 6]);
        optest_string(&t, "mode", modes[c / 6 % 3]);
        optest_string(&t, "nearest_mode", nearests[pick(0, 3)]);
        optest_int(&t, "antialias", c / 6 % 3 > 0 && pick(0, 1));
        optest_input(&t, DT_F32, x, NULL);
        optest_leave_out(&t);
        if (sized)
            optest_leave_out(&t);
        optest_input(&t, sized ? DT_I64 : DT_F32, DIMS(x.rank), list);
        /* Where the coordinate's fraction varies, the affine range has a row to spare on each
         * side; antialiased taps at the rim of the filter may weigh next to nothing. */
        check_rows(1, 1, 2);
    }
}

static void enlarging_by_two_is_exact(void **state) {
    (void)state;
    static const char *const how[][3] = {{"nearest", "asymmetric", "floor"},
                                         {"nearest", "half_pixel", "round_prefer_floor"},
                                         {"linear", "asymmetric", "floor"},
                                         {"linear", "half_pixel", "floor"}};
    for (int c = 0; c < 4; c++) {
        optest_begin(&t, "Resize", 13);
        optest_string(&t, "mode", how[c][0]);
        optest_string(&t, "coordinate_transformation_mode", how[c][1]);
        optest_string(&t, "nearest_mode", how[c][2]);
        optest_input(&t, DT_F32, DIMS(1, 1, 20, 3), NULL);
        optest_leave_out(&t);
        optest_input(&t, DT_F32, DIMS(4), VALUES(1, 1, 2, 2));
        check_rows(1, 1, 0);
    }
}

/* ---- what may not run on maps ---------------------------------------------------------------- */

static void no_map(int data, int outputs) {
    if (optest_infer(&t, outputs) != COHORT_OK)
        fail_msg("%s: %s", t.node.op->name, t.err.message);
    if (runs_on_maps(data))
        fail_msg("%s must not run on maps", t.node.op->name);
    optest_end(&t);
}

static void refused(void **state) {
    (void)state;
    optest_begin(&t, "Conv", 13); /* computed weights */
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    optest_input(&t, DT_F32, DIMS(2, 2, 3, 3), NULL);
    no_map(2, 1);
    optest_begin(&t, "Conv", 13);
    optest_input(&t, DT_F64, DIMS(1, 2, 4, 4), NULL);
    optest_input(&t, DT_F64, DIMS(2, 2, 3, 3), NULL);
    no_map(1, 1);
    optest_begin(&t, "Conv", 13); /* three spatial axes */
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4, 4), NULL);
    optest_input(&t, DT_F32, DIMS(2, 2, 3, 3, 3), NULL);
    no_map(1, 1);
    optest_begin(&t, "MaxPool", 13); /* somebody reads Indices */
    optest_ints(&t, "kernel_shape", INTS(2, 2));
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    no_map(1, 2);
    optest_begin(&t, "Concat", 13); /* along rows */
    optest_int(&t, "axis", 2);
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    no_map(1, 1);
    optest_begin(&t, "Concat", 13); /* a constant */
    optest_int(&t, "axis", 1);
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    no_map(1, 1);
    optest_begin(&t, "Split", 13);
    optest_int(&t, "axis", 2);
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    no_map(1, 2);
    optest_begin(&t, "Split", 13); /* an empty piece */
    optest_int(&t, "axis", 1);
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    optest_list(&t, INTS(2, 0));
    no_map(1, 2);
    const int64_t slices[][4] = {/* axes, start, step */
                                 {0, 1, 1, 0},
                                 {2, -1, -1, 0}};
    for (int i = 0; i < 2; i++) {
        optest_begin(&t, "Slice", 13);
        optest_input(&t, DT_F32, DIMS(2, 2, 4, 4), NULL);
        optest_list(&t, &slices[i][1], 1);
        optest_list(&t, slices[i][2] > 0 ? (const int64_t[]){9} : (const int64_t[]){-9}, 1);
        optest_list(&t, &slices[i][0], 1);
        optest_list(&t, &slices[i][2], 1);
        no_map(1, 1);
    }
    optest_begin(&t, "Slice", 13); /* channels and rows at once */
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    optest_list(&t, INTS(1, 1));
    optest_list(&t, INTS(2, 2));
    optest_list(&t, INTS(1, 2));
    no_map(1, 1);
    optest_begin(&t, "Pad", 13); /* channels */
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    optest_list(&t, INTS(0, 1, 0, 0, 0, 0, 0, 0));
    no_map(1, 1);
    optest_begin(&t, "Resize", 13); /* channels */
    optest_input(&t, DT_F32, DIMS(1, 2, 4, 4), NULL);
    optest_leave_out(&t);
    optest_input(&t, DT_F32, DIMS(4), VALUES(1, 2, 2, 2));
    no_map(1, 1);
    optest_begin(&t, "Resize", 13); /* extrapolation */
    optest_string(&t, "coordinate_transformation_mode", "tf_crop_and_resize");
    optest_input(&t, DT_F32, DIMS(1, 2, 4), NULL);
    optest_input(&t, DT_F32, DIMS(6), VALUES(0, 0, 0, 1, 1, 1));
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, 1, 2));
    no_map(1, 1);
    optest_begin(&t, "BatchNormalization", 15); /* a computed scale */
    optest_input(&t, DT_F32, DIMS(1, 2, 4), NULL);
    for (int i = 0; i < 4; i++)
        optest_input(&t, DT_F32, DIMS(2), NULL);
    no_map(2, 1);
}

static void operations(void **state) {
    (void)state;
    optest_begin(&t, "Conv", 13);
    optest_int(&t, "group", 2);
    optest_input(&t, DT_F32, DIMS(1, 4, 5, 5), NULL);
    optest_input(&t, DT_F32, DIMS(6, 2, 3, 3), NULL);
    optest_run(&t, 1);
    make_graph(1);
    assert_float_equal(node_flops(&graph, &t.node), 2 * 6 * 9 * 2 * 9, 0);
    optest_end(&t);
    optest_begin(&t, "ConvTranspose", 13);
    optest_input(&t, DT_F32, DIMS(1, 4, 5, 5), NULL);
    optest_input(&t, DT_F32, DIMS(4, 3, 2, 2), NULL);
    optest_run(&t, 1);
    make_graph(1);
    assert_float_equal(node_flops(&graph, &t.node), 2 * 100 * 3 * 4, 0);
    optest_end(&t);
    optest_begin(&t, "AveragePool", 13);
    optest_ints(&t, "kernel_shape", INTS(3, 2));
    optest_input(&t, DT_F32, DIMS(1, 4, 5, 5), NULL);
    optest_run(&t, 1);
    make_graph(1);
    assert_float_equal(node_flops(&graph, &t.node), 4 * 3 * 4 * 6, 0);
    optest_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows),
        cmocka_unit_test(fused_residual),
        cmocka_unit_test(row_by_row),
        cmocka_unit_test(whole_images),
        cmocka_unit_test(rows_reduced),
        cmocka_unit_test(slices),
        cmocka_unit_test(pads),
        cmocka_unit_test(blocks),
        cmocka_unit_test(resampling),
        cmocka_unit_test(enlarging_by_two_is_exact),
        cmocka_unit_test(refused),
        cmocka_unit_test(operations),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
