/* Passes that find shapes, fold constants, and remove what does nothing. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct shape *shape_at(const struct gt *t, int id) {
    return &graph_value(t->g, id)->shape;
}

static void assert_shape(const struct gt *t, int id, struct shape want) {
    char text[SHAPE_TEXT_BYTES];
    if (!shape_equal(shape_at(t, id), &want))
        fail_msg("shape is %s", shape_text(shape_at(t, id), text, sizeof text));
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static void test_input_shapes(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(-1, 3, -1, -1));
    int y = gt_input(&t, "mask", DIMS(-1, 3));
    int a = gt_node(&t, "Relu", "", 1, x), b = gt_node(&t, "Relu", "", 1, y);
    gt_output(&t, a);
    gt_output(&t, b);
    gt_finish_fails(&t, NULL, COHORT_ERR_SHAPE, "--shape x=");
    struct input_shape shapes[2] = {{"x", DIMS(2, 3, 8, 9)}, {"no", DIMS(1)}};
    struct pass_options o = {.shapes = shapes, .shape_count = 2};
    gt_finish_fails(&t, &o, COHORT_ERR_USAGE, "no input of that name");
    shapes[0].name = NULL;
    gt_finish_fails(&t, &o, COHORT_ERR_USAGE, "2 inputs");
    shapes[0].name = "x";
    shapes[0].shape = DIMS(2, 3, 8);
    gt_finish_fails(&t, &o, COHORT_ERR_USAGE, "has 4 dimensions, not 3");
    shapes[0].shape = DIMS(2, 3, -1, 8);
    gt_finish_fails(&t, &o, COHORT_ERR_USAGE, "from 0 up");
    shapes[0].shape = DIMS(2, 3, 8, 9);
    o.shape_count = 1;
    assert_int_equal(graph_finish(t.g, &o, &t.err), COHORT_OK);
    assert_shape(&t, a, DIMS(2, 3, 8, 9));
    assert_shape(&t, b, DIMS(1, 3)); /* the batch becomes 1 */
    gt_end(&t);

    gt_begin(&t, 13); /* without a name, for the only input; a batch over what the file says */
    x = gt_input(&t, "x", DIMS(1, 3));
    a = gt_node(&t, "Relu", "", 1, x);
    gt_output(&t, a);
    o.shapes = &(struct input_shape){NULL, DIMS(4, 3)};
    assert_int_equal(graph_finish(t.g, &o, &t.err), COHORT_OK);
    assert_shape(&t, a, DIMS(4, 3));
    gt_end(&t);

    gt_begin(&t, 13);
    x = gt_input(&t, "x", (struct shape){.rank = -1});
    gt_output(&t, gt_node(&t, "Relu", "", 1, x));
    gt_finish_fails(&t, NULL, COHORT_ERR_SHAPE, "has no shape");
    gt_end(&t);
}

/* ---- inference and folding ------------------------------------------------------------------- */

/* x -> [N, C*H*W] as PyTorch exports view(x.size(0), -1): Shape, Gather, Unsqueeze, Concat,
 * Reshape. */
static int add_view(struct gt *t, int x) {
    int shape = gt_node(t, "Shape", "", 1, x);
    int zero = gt_list(t, 1, 0);
    int batch = gt_node(t, "Gather", "axis=0", 2, shape, zero);
    int rest = gt_node(t, "Mul", "", 2, gt_list(t, 1, -1), gt_list(t, 1, 1));
    int whole = gt_node(t, "Where", "", 3, gt_node(t, "Equal", "", 2, batch, rest), rest, batch);
    int pair = gt_node(t, "Add", "", 2, gt_node(t, "Mul", "", 2, whole, gt_list(t, 2, 1, 0)),
                       gt_list(t, 2, 0, -1));
    return gt_node(t, "Reshape", "", 2, x, pair);
}

static void test_shape_arithmetic_folds(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3, 4, 5));
    int y = add_view(&t, gt_node(&t, "Relu", "", 1, x));
    gt_output(&t, y);
    gt_same_after(&t, pass_infer, 0);
    assert_shape(&t, y, DIMS(2, 60));
    assert_int_equal(t.g->node_count, 2);
    assert_int_equal(gt_count(&t, "Reshape"), 1);
    gt_end(&t);
}

/* Shape of a value that is only partly known stays; so does what hangs on it. */
static void test_unknown_shapes_stay(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3));
    int n = gt_input_of(&t, "n", DT_I64, DIMS(2));
    int y = gt_node(&t, "Reshape", "", 2, x, n);
    int s = gt_node(&t, "Shape", "", 1, y);
    gt_output(&t, s);
    assert_int_equal(pass_infer(t.g, &t.err), COHORT_OK);
    assert_int_equal(t.g->node_count, 2);
    assert_shape(&t, y, DIMS(-1, -1));
    assert_shape(&t, s, DIMS(2));
    assert_int_equal(graph_finish(t.g, NULL, &t.err), COHORT_OK); /* row maps take it */
    assert_int_equal(t.g->nodes[0].rowmap[0].kind, ROWMAP_ALL);
    gt_end(&t);
}

static void test_shape_slices_and_size(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 15);
    int x = gt_input(&t, "x", DIMS(2, 3, 4, 5));
    int a = gt_node(&t, "Shape", "start=-3 end=-1", 1, x);
    int b = gt_node(&t, "Shape", "start=3 end=1", 1, x); /* nothing */
    int c = gt_node(&t, "Size", "", 1, x);
    int d = gt_node(&t, "Shape", "start=1 end=100", 1, x);
    int ids[] = {a, b, c, d};
    int used = gt_node(&t, "Identity", "", 1, x);
    for (int i = 0; i < 4; i++) { /* each read by a node, so that it is folded */
        int read = gt_node(&t, "Cast", "to=1", 1, ids[i]);
        gt_output(&t, read);
    }
    gt_output(&t, used);
    gt_same_after(&t, pass_infer, 0);
    assert_int_equal(gt_count(&t, "Shape") + gt_count(&t, "Size"), 0);
    const struct tensor *k = &graph_value(t.g, a)->constant;
    assert_int_equal(tensor_i64(k)[0], 3);
    assert_int_equal(tensor_i64(k)[1], 4);
    assert_int_equal(shape_count(&graph_value(t.g, b)->constant.shape), 0);
    assert_int_equal(tensor_i64(&graph_value(t.g, c)->constant)[0], 120);
    assert_int_equal(shape_count(&graph_value(t.g, d)->constant.shape), 3);
    gt_end(&t);
}

/* A folded value that is also an output keeps its node; its readers get a constant. */
static void test_outputs_keep_a_producer(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3));
    int s = gt_node(&t, "Shape", "", 1, x);
    int y = gt_node(&t, "Reshape", "", 2, x, s);
    gt_output(&t, s);
    gt_output(&t, gt_node(&t, "Relu", "", 1, y));
    gt_same_after(&t, pass_infer, 0);
    assert_false(graph_value(t.g, s)->is_constant);
    assert_int_equal(t.g->nodes[graph_value(t.g, s)->producer].op == op_find("", "Shape", 13), 1);
    assert_shape(&t, y, DIMS(2, 3));
    int values = t.g->value_count;
    assert_int_equal(pass_infer(t.g, &t.err), COHORT_OK); /* again: nothing new */
    assert_int_equal(t.g->value_count, values);
    gt_end(&t);
}

static void test_fold_limit(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1));
    int big = gt_node(&t, "ConstantOfShape", "", 1, gt_list(&t, 2, 8192, 4096)); /* 128 MB */
    int small = gt_node(&t, "ConstantOfShape", "", 1, gt_list(&t, 2, 16, 4));
    gt_output(&t, gt_node(&t, "Add", "", 2, x, big));
    gt_output(&t, gt_node(&t, "Add", "", 2, x, small));
    assert_int_equal(pass_infer(t.g, &t.err), COHORT_OK);
    assert_int_equal(gt_count(&t, "ConstantOfShape"), 1);
    assert_false(graph_value(t.g, big)->is_constant);
    assert_shape(&t, big, DIMS(8192, 4096));
    assert_true(graph_value(t.g, small)->is_constant);
    gt_end(&t);
}

/* Weights borrowed at an odd address are copied for their evaluator; small lists for good. */
/* What would take long is left for the run: a product of three vectors, boxes against boxes, the
 * determinant of a large matrix; the same in small is folded. */
static void test_work_limit(void **state) {
    (void)state;
    for (int large = 0; large < 2; large++) {
        struct gt t;
        gt_begin(&t, 13);
        const int64_t n = large ? 1500 : 15, boxes = large ? 50000 : 50;
        int v = gt_random(&t, DIMS(n));
        int cube = gt_node(&t, "Einsum", "equation=i,j,k->", 3, v, v, v);
        int chosen = gt_node(&t, "NonMaxSuppression", "", 3, gt_random(&t, DIMS(1, boxes, 4)),
                             gt_random(&t, DIMS(1, 1, boxes)), gt_list(&t, 1, 1 << 30));
        int det = gt_node(&t, "Det", "", 1, gt_random(&t, DIMS(n, n)));
        int x = gt_input(&t, "x", DIMS(2));
        gt_output(&t, gt_node(&t, "Add", "", 2, gt_node(&t, "Mul", "", 2, x, cube), det));
        gt_output(&t, gt_node(&t, "Mul", "", 2, gt_node(&t, "Shape", "", 1, chosen),
                              gt_node(&t, "Shape", "", 1, x)));
        test_must(graph_finish(t.g, NULL, &t.err), &t.err);
        assert_int_equal(gt_count(&t, "Einsum"), large);
        assert_int_equal(gt_count(&t, "NonMaxSuppression"), large);
        assert_int_equal(gt_count(&t, "Det"), large);
        gt_end(&t);
    }
}

static void test_unaligned_constants(void **state) {
    (void)state;
    struct gt t;
    enum { COUNT = 300 * 1024 }; /* above what is aligned for good */
    unsigned char *file = mem_alloc((size_t)COUNT + 1 + 9);
    assert_non_null(file);
    for (int i = 0; i < COUNT; i++)
        file[1 + i] = (unsigned char)(i % 251);
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, COUNT / 4));
    struct tensor w = {.type = DT_I32, .shape = DIMS(COUNT / 4), .data = file + 1};
    struct tensor s = {.type = DT_I64, .shape = DIMS(1), .data = file + COUNT + 2};
    int64_t axis = 0;
    memcpy(s.data, &axis, sizeof axis);
    int wid = -1, sid = -1;
    assert_false(tensor_aligned(&w));
    assert_int_equal(graph_add_constant(t.g, "w", &w, &wid, &t.err), COHORT_OK);
    assert_int_equal(graph_add_constant(t.g, "s", &s, &sid, &t.err), COHORT_OK);
    int wide = gt_node(&t, "Cast", "to=1", 1, wid);
    int row = gt_node(&t, "Unsqueeze", "", 2, wide, sid);
    gt_output(&t, gt_node(&t, "Add", "", 2, x, row));
    assert_int_equal(pass_infer(t.g, &t.err), COHORT_OK);
    assert_int_equal(t.g->node_count, 1);
    assert_true(graph_value(t.g, row)->is_constant);
    int32_t third;
    memcpy(&third, file + 1 + 8, sizeof third);
    assert_true(tensor_f32(&graph_value(t.g, row)->constant)[2] == (float)third);
    assert_true(tensor_aligned(&graph_value(t.g, sid)->constant));
    gt_end(&t);
    mem_free(file);
}

/* Weights are never copied: what is borrowed from a file stays where it is through all passes. */
static void test_weights_stay_in_the_file(void **state) {
    (void)state;
    enum { BYTES = 64 * 32 * 9 * 4 };
    struct gt t;
    unsigned char *file = mem_zalloc(1, BYTES + 1);
    assert_non_null(file);
    struct tensor w = {.type = DT_F32, .shape = DIMS(64, 32, 3, 3), .data = file + 1};
    int id = -1;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 32, 6, 6));
    assert_int_equal(graph_add_constant(t.g, "w", &w, &id, &t.err), COHORT_OK);
    x = gt_node(&t, "Conv", "pads=1,1,1,1", 2, x, id);
    struct shape c = DIMS(64);
    x = gt_node(&t, "BatchNormalization", "", 5, x, gt_random(&t, c), gt_random(&t, c),
                gt_random(&t, c), gt_positive(&t, c));
    gt_output(&t, gt_node(&t, "Relu", "", 1, x));
    size_t before = mem_live_bytes();
    assert_int_equal(graph_finish(t.g, NULL, &t.err), COHORT_OK);
    assert_int_equal(t.g->node_count, 1);
    assert_ptr_equal(node_const(t.g, &t.g->nodes[0], 1)->data, file + 1);
    assert_true(mem_live_bytes() < before + 8192);
    gt_end(&t);
    mem_free(file);
}

static void test_constant_node_is_taken_over(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(4)), c = -1;
    float values[4] = {1, 2, 3, 4};
    struct attr a = {.name = mem_strdup("value"), .kind = ATTR_TENSOR};
    a.tensor = (struct tensor){.type = DT_F32, .shape = DIMS(4), .data = values};
    assert_int_equal(graph_add_value(t.g, "", &c, &t.err), COHORT_OK);
    assert_int_equal(graph_add_node(t.g, -1, "", op_find("", "Constant", 13), NULL, 0, &c, 1, &a, 1,
                                    NULL, &t.err),
                     COHORT_OK);
    gt_output(&t, gt_node(&t, "Add", "", 2, x, c));
    gt_same_after(&t, pass_infer, 0);
    assert_ptr_equal(graph_value(t.g, c)->constant.data, values); /* still borrowed */
    assert_int_equal(t.g->node_count, 1);
    gt_end(&t);
}

static void test_errors_name_the_node(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3)), y = gt_input(&t, "y", DIMS(4, 5));
    int sum = gt_node(&t, "Add", "", 2, x, y);
    gt_output(&t, sum);
    char want[64];
    strcpy(want, "node ");
    strcat(want, graph_value(t.g, sum)->name);
    strcat(want, " (Add): ");
    gt_finish_fails(&t, NULL, COHORT_ERR_SHAPE, want);
    gt_end(&t);
}

/* ---- no-ops ---------------------------------------------------------------------------------- */

static void finish_and_count(struct gt *t, int nodes) {
    gt_same_after(t, pass_remove_noops, 0);
    if (t->g->node_count != nodes)
        fail_msg("%d nodes are left, not %d", t->g->node_count, nodes);
    gt_end(t);
}

static void test_noops_go(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 6, 4, 4));
    x = gt_node(&t, "Relu", "", 1, x);
    x = gt_node(&t, "Identity", "", 1, x);
    x = gt_node(&t, "Dropout", "", 1, x);
    x = gt_node(&t, "Cast", "to=1", 1, x);
    x = gt_node(&t, "Reshape", "", 2, x, gt_list(&t, 4, 1, -1, 4, 4));
    x = gt_node(&t, "Transpose", "perm=0,1,2,3", 1, x);
    x = gt_node(&t, "Sum", "", 1, x);
    x = gt_node(&t, "Expand", "", 2, x, gt_list(&t, 2, 1, 1));
    x = gt_node(&t, "Flatten", "axis=2", 1, gt_node(&t, "Tanh", "", 1, x));
    gt_output(&t, x);
    finish_and_count(&t, 3); /* Relu, Tanh, Flatten */
}

/* Between an input and an output of the network there must be a node to make the output. */
static void test_noop_between_input_and_output(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3));
    gt_output(&t, gt_node(&t, "Identity", "", 1, x));
    gt_output(&t, gt_node(&t, "Dropout", "", 1, x)); /* becomes one, too */
    gt_same_after(&t, pass_remove_noops, 0);
    assert_int_equal(gt_count(&t, "Identity"), 2);
    finish_and_count(&t, 2);
}

/* An output's name lives on when the node before takes it over; one value is not two outputs. */
static void test_noop_that_makes_an_output(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3));
    int y = gt_node(&t, "Relu", "", 1, x);
    int z = gt_node(&t, "Tanh", "", 1, y);
    gt_output(&t, gt_node(&t, "Identity", "", 1, y));
    gt_output(&t, z);
    finish_and_count(&t, 2);

    gt_begin(&t, 13);
    x = gt_input(&t, "x", DIMS(2, 3));
    y = gt_node(&t, "Relu", "", 1, x);
    gt_output(&t, y);
    gt_output(&t, gt_node(&t, "Identity", "", 1, y));
    finish_and_count(&t, 2);
}

static void test_what_is_no_noop(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(3, 3));
    x = gt_node(&t, "Transpose", "", 1,
                gt_node(&t, "Relu", "", 1, x)); /* same shape, other order */
    x = gt_node(&t, "Cast", "to=11", 1, x);
    int out[2];
    gt_node_outputs(&t, "Dropout", "", 2, out, 1, x); /* its mask is wanted */
    gt_output(&t, out[0]);
    gt_output(&t, out[1]);
    finish_and_count(&t, 4);
}

static void test_unit_axes_move_freely(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(1, 1, 5)));
    x = gt_node(&t, "Transpose", "perm=1,0,2", 1, x);
    gt_output(&t, gt_node(&t, "Tanh", "", 1, x));
    finish_and_count(&t, 2);
}

/* NHWC of one pixel is the same list of channels: a view, which merges with the next. */
static void test_unit_transpose_is_a_view(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 5, 1, 1)));
    x = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, x);
    x = gt_node(&t, "Reshape", "", 2, x, gt_list(&t, 2, 0, -1));
    x = gt_node(&t, "Reshape", "", 2, x, gt_list(&t, 2, 2, 5));
    gt_output(&t, gt_node(&t, "Tanh", "", 1, x));
    gt_same_after(&t, pass_remove_noops, 0);
    assert_int_equal(gt_count(&t, "Transpose"), 0);
    finish_and_count(&t, 3);
}

static void test_views_merge(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 3, 4)));
    x = gt_node(&t, "Flatten", "axis=1", 1, x);
    x = gt_node(&t, "Unsqueeze", "", 2, x, gt_list(&t, 1, 0));
    x = gt_node(&t, "Reshape", "", 2, x, gt_list(&t, 3, 0, -1, 2));
    gt_output(&t, gt_node(&t, "Tanh", "", 1, x));
    finish_and_count(&t, 3);

    gt_begin(&t, 13); /* back to where it was: nothing is left */
    x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 3, 4)));
    x = gt_node(&t, "Flatten", "axis=1", 1, x);
    x = gt_node(&t, "Reshape", "", 2, x, gt_list(&t, 3, 2, 3, 4));
    gt_output(&t, gt_node(&t, "Tanh", "", 1, x));
    finish_and_count(&t, 2);

    gt_begin(&t, 13); /* the value between is read twice: both stay */
    x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 3, 4)));
    int y = gt_node(&t, "Flatten", "axis=1", 1, x);
    gt_output(&t, gt_node(&t, "Tanh", "", 1, y));
    gt_output(&t, gt_node(&t, "Reshape", "", 2, y, gt_list(&t, 2, 4, 6)));
    finish_and_count(&t, 4);
}

static void test_transposes_cancel(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13); /* adjacent: composed */
    int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 3, 4, 5)));
    x = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, x);
    x = gt_node(&t, "Transpose", "perm=0,2,1,3", 1, x);
    gt_output(&t, gt_node(&t, "Tanh", "", 1, x));
    finish_and_count(&t, 3);

    gt_begin(&t, 13); /* there and back, elementwise between */
    x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 3, 4, 5)));
    x = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, x);
    x = gt_node(&t, "Sigmoid", "", 1, x);
    x = gt_node(&t, "Clip", "", 3, x, gt_scalar(&t, 0.2), gt_scalar(&t, 0.7));
    x = gt_node(&t, "Transpose", "perm=0,3,1,2", 1, x);
    gt_output(&t, gt_node(&t, "Tanh", "", 1, x));
    finish_and_count(&t, 4);

    gt_begin(&t, 13); /* the same, where the last one makes an output of the network */
    x = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, gt_input(&t, "x", DIMS(2, 3, 4, 5)));
    x = gt_node(&t, "Sigmoid", "", 1, x);
    gt_output(&t, gt_node(&t, "Transpose", "perm=0,3,1,2", 1, x));
    finish_and_count(&t, 1);

    gt_begin(&t, 13); /* a softmax between does care */
    x = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, gt_input(&t, "x", DIMS(2, 3, 4, 5)));
    x = gt_node(&t, "Softmax", "axis=-1", 1, x);
    gt_output(&t, gt_node(&t, "Transpose", "perm=0,3,1,2", 1, x));
    finish_and_count(&t, 3);

    gt_begin(&t, 13); /* someone else reads the transposed value */
    x = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, gt_input(&t, "x", DIMS(2, 3, 4, 5)));
    int y = gt_node(&t, "Sigmoid", "", 1, x);
    gt_output(&t, gt_node(&t, "Transpose", "perm=0,3,1,2", 1, y));
    gt_output(&t, y);
    finish_and_count(&t, 3);
}

/* ---- dead code ------------------------------------------------------------------------------- */

static void test_dead_nodes(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3)), w = gt_random(&t, DIMS(2, 3)),
        u = gt_random(&t, DIMS(3));
    gt_node(&t, "Tanh", "", 1, gt_node(&t, "Add", "", 2, x, w)); /* nobody wants it */
    gt_output(&t, gt_node(&t, "Add", "", 2, x, u));
    gt_same_after(&t, pass_remove_dead, 0);
    assert_int_equal(t.g->node_count, 1);
    assert_false(graph_value(t.g, w)->is_constant);
    assert_null(graph_value(t.g, w)->constant.data);
    assert_true(graph_value(t.g, u)->is_constant);
    gt_end(&t);

    gt_begin(&t, 13); /* a mask that nobody reads is not computed */
    x = gt_input(&t, "x", DIMS(2, 3));
    int out[2];
    gt_node_outputs(&t, "Dropout", "", 2, out, 1, gt_node(&t, "Relu", "", 1, x));
    gt_output(&t, out[0]);
    gt_same_after(&t, pass_remove_dead, 0);
    assert_int_equal(gt_find(&t, "Dropout")->out_count, 1);
    gt_end(&t);
}

/* Every allocation of graph_finish() fails once: an error each time, and nothing is lost. */
static void test_memory_runs_short(void **state) {
    (void)state;
    long calls = 0;
    for (long nth = 0; nth <= calls; nth++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_input(&t, "x", DIMS(2, 3, 4, 5));
        int y = add_view(&t, gt_node(&t, "Relu", "", 1, x));
        y = gt_node(&t, "MatMul", "", 2, y, gt_random(&t, DIMS(60, 7)));
        y = gt_node(&t, "Add", "", 2, y, gt_random(&t, DIMS(7)));
        gt_output(&t, gt_node(&t, "Relu", "", 1, y));
        long before = mem_alloc_calls();
        mem_fail_at(nth);
        enum cohort_code code = graph_finish(t.g, NULL, &t.err);
        mem_fail_at(0);
        if (nth == 0) {
            assert_int_equal(code, COHORT_OK);
            calls = mem_alloc_calls() - before;
        } else {
            assert_int_equal(code, COHORT_ERR_MEMORY);
        }
        gt_end(&t);
    }
    assert_true(calls > 40);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input_shapes),
        cmocka_unit_test(test_shape_arithmetic_folds),
        cmocka_unit_test(test_unknown_shapes_stay),
        cmocka_unit_test(test_shape_slices_and_size),
        cmocka_unit_test(test_outputs_keep_a_producer),
        cmocka_unit_test(test_fold_limit),
        cmocka_unit_test(test_work_limit),
        cmocka_unit_test(test_unaligned_constants),
        cmocka_unit_test(test_weights_stay_in_the_file),
        cmocka_unit_test(test_constant_node_is_taken_over),
        cmocka_unit_test(test_errors_name_the_node),
        cmocka_unit_test(test_noops_go),
        cmocka_unit_test(test_noop_between_input_and_output),
        cmocka_unit_test(test_noop_that_makes_an_output),
        cmocka_unit_test(test_what_is_no_noop),
        cmocka_unit_test(test_unit_axes_move_freely),
        cmocka_unit_test(test_unit_transpose_is_a_view),
        cmocka_unit_test(test_views_merge),
        cmocka_unit_test(test_transposes_cancel),
        cmocka_unit_test(test_dead_nodes),
        cmocka_unit_test(test_memory_runs_short),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("pass_infer", tests, NULL, NULL);
}
