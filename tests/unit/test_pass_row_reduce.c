/* Reductions over a map's pixels become one of each row and one of the rows: which ones, right for
 * all shapes and special values, with the portable kernels too, and in row tiles and strips the
 * same bits. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"
#include "tests/support/testprogram.h"

#include "base/mem.h"
#include "exec/exec.h"
#include "graph/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { MEAN, MOST, SUM };

static const struct {
    const char *op, *attrs, *rows;
    int how;
} cases[] = {{"GlobalAveragePool", "", "ReduceMean", MEAN},
             {"GlobalMaxPool", "", "ReduceMax", MOST},
             {"ReduceMean", "axes=2,3", "ReduceMean", MEAN},
             {"ReduceMax", "axes=-1,2", "ReduceMax", MOST},
             {"ReduceSum", "axes=2,3", NULL, SUM}}; /* in one piece */

#define CASES ((int)(sizeof cases / sizeof cases[0]))

/* What the definition says of one channel's pixels. */
static double reduced(int how, const float *x, int64_t count) {
    double all = how == MOST ? (double)-INFINITY : 0;
    for (int64_t i = 0; i < count; i++) {
        const double v = (double)x[i];
        if (how != MOST)
            all += v;
        else if (v > all || isnan(v))
            all = v;
    }
    return how == MEAN ? all / (double)count : all;
}

static void same_numbers(const struct tensor *in, const struct tensor *got, int how) {
    const struct shape *s = &in->shape;
    const int64_t count = s->dim[2] * s->dim[3];
    for (int64_t p = 0; p < s->dim[0] * s->dim[1]; p++) {
        const double want = reduced(how, tensor_f32(in) + p * count, count);
        const double have = tensor_get_f64(got, p);
        const double most = how == SUM ? 2e-6 * (double)count : 1e-6;
        if (isnan(want) ? !isnan(have) : have != want && !(fabs(have - want) <= most))
            fail_msg("channel %d is %g, not %g", (int)p, have, want);
    }
}

/* special: a NaN, infinities of both signs, and one of each sign in a channel. */
static void fill(struct gt *t, struct tensor *x, bool special) {
    const int64_t count = shape_count(&x->shape), each = x->shape.dim[2] * x->shape.dim[3];
    for (int64_t k = 0; k < count; k++)
        tensor_f32(x)[k] = (float)gt_pick(t, -1000, 1000) / 1000.0f;
    const float odd[] = {NAN, INFINITY, -INFINITY, INFINITY};
    for (int64_t c = 0; special && c < 4 && c < x->shape.dim[1]; c++)
        tensor_f32(x)[c * each + gt_pick(t, 0, each - 1)] = odd[c];
    if (special && x->shape.dim[1] > 3)
        tensor_f32(x)[3 * each] = -INFINITY;
}

/* The definition's numbers by these kernels, and the same bits in tiles of rows. */
static void check_kernels(struct gt *t, const char *kernel, int how, const struct tensor *in) {
    struct tensor whole = {0}, again = {0};
    const struct exec_options o = {.kernel = kernel};
    test_must(exec_run_graph(t->g, test_pool, &o, 0, in, &whole, &t->err), &t->err);
    same_numbers(in, &whole, how);
    for (int64_t tile = 1; tile < 6; tile++) {
        test_must(exec_run_graph(t->g, test_pool, &o, tile, in, &again, &t->err), &t->err);
        assert_memory_equal(whole.data, again.data, tensor_bytes(&whole));
        tensor_release(&again);
    }
    tensor_release(&whole);
}

static void check(int which, struct shape shape, bool special) {
    struct gt t;
    struct tensor in = {0};
    const bool divided = cases[which].rows != NULL && shape.dim[2] > 1 && shape.dim[3] > 1;
    gt_begin(&t, 11);
    const int x = gt_input(&t, "x", shape);
    gt_output(&t, gt_node(&t, cases[which].op, cases[which].attrs, 1, x));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    assert_int_equal(t.g->node_count, divided ? 2 : 1);
    if (divided) {
        const struct node *n = &t.g->nodes[0];
        assert_string_equal(n->op->name, cases[which].rows);
        const struct rows need = rows_needed(n, 0, (struct rows){1, 2});
        assert_true(need.begin == 1 && need.end == 2);
        assert_int_equal(t.g->nodes[1].rowmap[0].kind, ROWMAP_ALL);
    }
    test_must(tensor_init(&in, DT_F32, &shape, &t.err), &t.err);
    fill(&t, &in, special);
    check_kernels(&t, NULL, cases[which].how, &in);
    check_kernels(&t, "generic", cases[which].how, &in);
    tensor_release(&in);
    gt_end(&t);
}

static void test_shapes(void **state) {
    (void)state;
    static const int64_t channels[] = {1, 5, 15, 16, 17, 40}, sizes[] = {1, 2, 3, 4, 7, 17};
    for (int which = 0; which < CASES; which++)
        for (int c = 0; c < 6; c++)
            for (int h = 0; h < 6; h++)
                for (int w = 0; w < 6; w++)
                    if ((which + c + h + w) % 3 == 0) /* a third of them */
                        check(which, DIMS(1 + h % 2, channels[c], sizes[h], sizes[w]), false);
}

static void test_special_values(void **state) {
    (void)state;
    for (int which = 0; which < CASES; which++) {
        check(which, DIMS(1, 20, 5, 6), true);
        check(which, DIMS(1, 7, 4, 3), true);
    }
}

/* The answer of a convolution and a reduction behind it; *chained: operators that ran in strips. */
static struct tensor behind_conv(int which, const char *kernel, int64_t strip, int64_t tile,
                                 int *chained) {
    struct gt t;
    struct tensor out = {0};
    int *slots;
    const struct exec_options o = {.kernel = kernel, .strip_rows = strip};
    gt_begin(&t, 11);
    const int x = gt_input(&t, "x", DIMS(1, 3, 13, 9));
    const int y = gt_node(&t, "Conv", "pads=1,1,1,1", 2, x, gt_random(&t, DIMS(20, 3, 3, 3)));
    gt_output(&t, gt_node(&t, cases[which].op, cases[which].attrs, 1, y));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    struct program *p = test_program(&t, &o, tile, &slots);
    test_must(exec_prepare(p, &t.err), &t.err);
    test_program_run(&t, p, slots, 1, &out);
    *chained = exec_chained(p);
    exec_destroy(&p);
    mem_free(slots);
    gt_end(&t);
    return out;
}

/* The rows' vectors are made with the map above them, strip by strip. */
static void test_strips(void **state) {
    (void)state;
    int chained, in_strips = 0;
    for (int which = 0; which < CASES; which++)
        for (int portable = 0; portable < 2; portable++) {
            const char *kernel = portable ? "generic" : NULL;
            struct tensor whole = behind_conv(which, kernel, 0, 0, &chained);
            for (int64_t strip = 1; strip < 5; strip++)
                for (int64_t tile = 0; tile < 8; tile += 7) {
                    struct tensor got = behind_conv(which, kernel, strip, tile, &chained);
                    assert_memory_equal(whole.data, got.data, tensor_bytes(&whole));
                    in_strips += chained > 0;
                    tensor_release(&got);
                }
            tensor_release(&whole);
        }
    assert_true(in_strips >= 2 * (CASES - 1) * 4); /* the sum stays in one piece */
}

/* Values that are no maps, and outputs that are none, stay as they are. */
static void test_left_alone(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    gt_output(&t, gt_node(&t, "GlobalAveragePool", "", 1, gt_input(&t, "x", DIMS(2, 20, 5))));
    gt_output(&t, gt_node(&t, "GlobalMaxPool", "", 1, gt_input(&t, "y", DIMS(2, 3, 4, 5, 6))));
    gt_output(&t, gt_node(&t, "ReduceMean", "axes=1,2", 1, gt_input(&t, "z", DIMS(2, 3, 4, 5))));
    gt_same_after_finish(&t, 3e-6);
    assert_int_equal(gt_count(&t, "ReduceMean"), 1);
    assert_int_equal(gt_count(&t, "ReduceMax"), 0);
    gt_end(&t);
}

/* Each of two readers of a map keeps its own; a name that is taken is no obstacle. */
static void test_two_of_one_map(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    const int x = gt_input(&t, "x", DIMS(1, 20, 6, 6));
    const int a = gt_node(&t, "GlobalAveragePool", "", 1, x);
    const int m = gt_node(&t, "GlobalMaxPool", "", 1, x);
    gt_output(&t, gt_node(&t, "Mul", "", 2, x, gt_node(&t, "Add", "", 2, a, m)));
    gt_same_after_finish(&t, 3e-6);
    assert_int_equal(gt_count(&t, "ReduceMean"), 1);
    assert_int_equal(gt_count(&t, "ReduceMax"), 1);
    gt_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),         cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_strips),         cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_two_of_one_map),
    };
    return cmocka_run_group_tests(tests, test_pool_start, test_pool_stop);
}
