/* Which values become feature maps, where conversions stand, which Flatten goes, and the row maps.
 */
#include "tests/support/graphtest.h"

#include "base/mem.h"
#include "graph/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int conv(struct gt *t, int x, int from, int to, const char *attrs) {
    return gt_node(t, "Conv", attrs, 2, x, gt_random(t, DIMS(to, from, 3, 3)));
}

/* graph_finish(), compared, forms and rows checked; then so many nodes and conversions. */
static void finished(struct gt *t, int nodes, int to_map, int to_plain) {
    gt_same_after_finish(t, 3e-6);
    gt_check_forms(t->g);
    gt_check_rows(t);
    if (t->g->node_count != nodes || gt_count(t, "cohort:ToMap") != to_map ||
        gt_count(t, "cohort:ToPlain") != to_plain)
        fail_msg("%d nodes, %d ToMap, %d ToPlain; not %d, %d, %d", t->g->node_count,
                 gt_count(t, "cohort:ToMap"), gt_count(t, "cohort:ToPlain"), nodes, to_map,
                 to_plain);
}

/* Inputs and outputs of the network are maps themselves: nothing to convert. */
static void test_all_maps(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3, 8, 7));
    int y = gt_node(&t, "Relu", "", 1, conv(&t, x, 3, 20, "strides=2,1 pads=1,1,1,1"));
    y = gt_node(&t, "MaxPool", "kernel_shape=2,2 strides=2,2", 1, y);
    y = gt_node(&t, "Sigmoid", "", 1, gt_node(&t, "GlobalAveragePool", "", 1, y));
    gt_output(&t, y);
    finished(&t, 5, 0, 0); /* a mean of each row, and of these */
    assert_int_equal(graph_value(t.g, x)->form, FORM_MAP);
    assert_int_equal(graph_value(t.g, y)->form, FORM_MAP);
    const struct rowmap *m = &t.g->nodes[0].rowmap[0];
    assert_int_equal(m->kind, ROWMAP_AFFINE);
    assert_int_equal(m->num, 2);
    assert_int_equal(m->lo, -1);
    assert_int_equal(m->hi, 1);
    assert_int_equal(m->in_height, 8);
    assert_int_equal(m->out_height, 4);
    gt_end(&t);
}

/* Nothing but elementwise work: no maps. */
static void test_cheap_stays_plain(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 3, 8, 7));
    int y = gt_node(&t, "Add", "", 2, gt_node(&t, "Relu", "", 1, x), x);
    gt_output(&t, gt_node(&t, "Concat", "axis=1", 2, y, x));
    finished(&t, 3, 0, 0);
    gt_end(&t);

    gt_begin(&t, 13); /* behind a Reshape of a map, too */
    x = gt_input(&t, "x", DIMS(1, 3, 8, 7));
    y = conv(&t, x, 3, 4, "");
    y = gt_node(&t, "Reshape", "", 2, y, gt_list(&t, 4, 1, 2, 5, 12));
    y = gt_node(&t, "Add", "", 2, gt_node(&t, "Relu", "", 1, y), y);
    gt_output(&t, y);
    finished(&t, 5, 0, 1);
    gt_end(&t);
}

/* One conversion a value, however many read it; the input is read both ways. */
static void test_conversions_are_shared(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 3, 6, 6));
    int y = conv(&t, x, 3, 4, "pads=1,1,1,1");
    gt_output(&t, gt_node(&t, "Transpose", "perm=0,2,3,1", 1, y));
    gt_output(&t, gt_node(&t, "Reshape", "", 2, y, gt_list(&t, 2, 4, 36)));
    gt_output(&t, gt_node(&t, "Transpose", "perm=0,2,3,1", 1, x));
    int z = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, gt_input(&t, "z", DIMS(1, 6, 4, 6)));
    z = gt_node(&t, "MaxPool", "kernel_shape=1,2", 1, z); /* [1,4,6,6] -> [1,4,6,5] */
    gt_output(&t, z);
    finished(&t, 1 + 2 + 1 + 1 + 1 + 3, 1, 2);
    gt_end(&t);
}

/* A scale per channel that is computed: one row for all rows of the map. */
static void test_squeeze_and_excite(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = conv(&t, gt_input(&t, "x", DIMS(2, 3, 6, 6)), 3, 20, "");
    int s = gt_node(&t, "GlobalAveragePool", "", 1, x);
    s = gt_node(&t, "Conv", "", 2, s, gt_random(&t, DIMS(20, 20, 1, 1)));
    s = gt_node(&t, "HardSigmoid", "", 1, s);
    int y = gt_node(&t, "Mul", "", 2, x, s);
    gt_output(&t, y);
    finished(&t, 5, 0, 0);
    const struct node *mul = gt_find(&t, "Mul");
    assert_int_equal(mul->rowmap[0].kind, ROWMAP_AFFINE);
    assert_int_equal(mul->rowmap[1].kind, ROWMAP_ALL);
    struct rows need = rows_needed(mul, 1, (struct rows){4, 6}); /* the second image's first rows */
    assert_int_equal(need.begin, 1);
    assert_int_equal(need.end, 2);
    gt_end(&t);
    gt_begin(&t, 13); /* one image for a batch */
    x = conv(&t, gt_input(&t, "x", DIMS(3, 3, 6, 6)), 3, 20, "");
    y = conv(&t, gt_input(&t, "y", DIMS(1, 3, 6, 6)), 3, 20, "");
    gt_output(&t, gt_node(&t, "Mul", "", 2, x, y));
    finished(&t, 3, 0, 0);
    assert_true(gt_find(&t, "Mul")->rowmap[1].one_image);
    gt_end(&t);
}

static void test_flatten_is_absorbed(void **state) {
    (void)state;
    for (int way = 0; way < 5; way++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_input(&t, "x", DIMS(3, 3, 6, 6));
        x = conv(&t, x, 3, 18, "strides=2,2"); /* [3,18,2,2] */
        int y = way == 0   ? gt_node(&t, "Flatten", "", 1, x)
                : way == 1 ? gt_node(&t, "Reshape", "", 2, x, gt_list(&t, 2, 0, -1))
                           : gt_node(&t, "Flatten", "axis=1", 1, x);
        int w = gt_random(&t, DIMS(72, 5)), v = gt_random(&t, DIMS(5, 72));
        int b = gt_random(&t, DIMS(5));
        y = way == 3 ? gt_node(&t, "MatMul", "", 2, y, w)
                     : gt_node(&t, "Gemm", way == 2 ? "transB=1" : "", 3, y, way == 2 ? v : w, b);
        gt_output(&t, y);
        if (way == 4) /* two that read it */
            gt_output(&t, gt_node(&t, "MatMul", "", 2, t.g->nodes[1].out[0], w));
        finished(&t, way == 4 ? 3 : 2, 0, 0);
        const struct node *n = &t.g->nodes[1];
        assert_int_equal(n->in[0], x);
        assert_int_equal(graph_value(t.g, y)->form, FORM_PLAIN);
        struct rows need = rows_needed(n, 0, (struct rows){1, 2}); /* image 1: its two rows */
        assert_int_equal(need.begin, 2);
        assert_int_equal(need.end, 4);
        gt_end(&t);
    }
}

static void test_flatten_that_stays(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = conv(&t, gt_input(&t, "x", DIMS(2, 3, 6, 6)), 3, 4, "strides=2,2"); /* [2,4,2,2] */
        int y = way == 0 ? gt_node(&t, "Reshape", "", 2, x, gt_list(&t, 2, 4, 8))   /* other rows */
                         : gt_node(&t, "Flatten", "", 1, x);
        if (way == 0)
            gt_output(&t, gt_node(&t, "Gemm", "", 2, y, gt_random(&t, DIMS(8, 5))));
        else
            gt_output(&t, gt_node(&t, "Gemm", way == 1 ? "transA=1" : "", 2, y,
                                  gt_random(&t, way == 1 ? DIMS(2, 5) : DIMS(16, 5))));
        if (way == 2)
            gt_output(&t, y); /* an output */
        if (way == 3)
            gt_output(&t, gt_node(&t, "Softmax", "axis=1", 1, y)); /* read by something else */
        finished(&t, way == 3 ? 5 : 4, 0, 1);
        gt_end(&t);
    }
}

/* Other types never are maps. */
static void test_only_float32(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input_of(&t, "x", DT_U8, DIMS(1, 3, 6, 6));
    int y = gt_node(&t, "Cast", "to=1", 1, x);
    gt_output(&t, conv(&t, y, 3, 4, ""));
    finished(&t, 3, 1, 0);
    assert_int_equal(graph_value(t.g, x)->form, FORM_PLAIN);
    gt_end(&t);
    gt_begin(&t, 13);
    x = gt_input_of(&t, "x", DT_F64, DIMS(1, 3, 6, 6));
    gt_output(&t, gt_node(&t, "MaxPool", "kernel_shape=2,2", 1, x));
    finished(&t, 1, 0, 0);
    gt_end(&t);
}

static void test_keep(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 3, 6, 6));
    int y = gt_node(&t, "Relu", "", 1, conv(&t, x, 3, 4, ""));
    y = gt_node(&t, "Identity", "", 1, y);
    int shape = gt_node(&t, "Shape", "", 1, y);
    gt_output(&t, gt_node(&t, "Reshape", "", 2, y, shape));
    struct pass_options o = {.keep = true};
    assert_int_equal(graph_finish(t.g, &o, &t.err), COHORT_OK);
    assert_int_equal(t.g->node_count, 4); /* all but Shape */
    for (int i = 0; i < t.g->value_count; i++)
        assert_int_equal(graph_value(t.g, i)->form, FORM_PLAIN);
    for (int i = 0; i < t.g->node_count; i++) {
        assert_int_equal(t.g->nodes[i].epilogue.act, ACT_NONE);
        assert_non_null(t.g->nodes[i].rowmap);
    }
    gt_check_links(t.g);
    gt_end(&t);
}

/* Rows of a whole chain: from the last operator's rows back to the picture's. */
static void test_rows_through_conversions(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3, 10, 6));
    int y = conv(&t, x, 3, 4, "pads=1,1,1,1");
    y = conv(&t, y, 4, 4, "pads=1,1,1,1");
    int z = gt_node(&t, "Transpose", "perm=0,2,3,1", 1, y);
    gt_output(&t, z);
    finished(&t, 4, 0, 1);
    struct rows need[64] = {{0, 0}};
    assert_true(t.g->value_count < 64);
    need[y] = (struct rows){12, 14}; /* rows 2 and 3 of the second image */
    rows_of_segment(t.g, 0, 2, need);
    assert_int_equal(need[x].begin, 10);
    assert_int_equal(need[x].end, 16);
    memset(need, 0, sizeof need);
    need[z] = (struct rows){70, 71}; /* a Transpose reads everything */
    rows_of_segment(t.g, 0, t.g->node_count, need);
    assert_int_equal(need[x].begin, 0);
    assert_int_equal(need[x].end, 20);
    /* ToPlain alone keeps images apart. */
    const struct node *n = gt_find(&t, "cohort:ToPlain");
    struct rows one = rows_needed(n, 0, (struct rows){41, 42}); /* 4 channels of 10 rows an image */
    assert_int_equal(one.begin, 10);
    assert_int_equal(one.end, 20);
    gt_end(&t);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_maps),
        cmocka_unit_test(test_cheap_stays_plain),
        cmocka_unit_test(test_conversions_are_shared),
        cmocka_unit_test(test_squeeze_and_excite),
        cmocka_unit_test(test_flatten_is_absorbed),
        cmocka_unit_test(test_flatten_that_stays),
        cmocka_unit_test(test_only_float32),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_rows_through_conversions),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("pass_forms", tests, NULL, NULL);
}
