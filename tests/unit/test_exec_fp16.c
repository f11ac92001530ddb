/* Programs with float16 arithmetic: what they compute, for any division into rows, and what they
 * say of it; where the CPU has none, they are those of float32. */
#include "tests/support/testpool.h"
#include "tests/support/testprogram.h"

#include "base/mem.h"
#include "exec/lower.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool here(void) {
    return (kernel_isa_available() & ISAS_FP16) != 0;
}

/* A map through a dense, a depthwise and a 1x1 convolution, to a product and its classes. */
static void make_graph(struct gt *t) {
    gt_begin(t, 13);
    t->seed = 4;
    int x = gt_input(t, "x", DIMS(1, 8, 9, 10));
    x = gt_node(t, "Conv", "pads=1,1,1,1", 3, x, gt_random(t, DIMS(24, 8, 3, 3)),
                gt_random(t, DIMS(24)));
    x = gt_node(t, "Relu", "", 1, x);
    x = gt_node(t, "Conv", "pads=1,1,1,1 group=24", 2, x, gt_random(t, DIMS(24, 1, 3, 3)));
    x = gt_node(t, "Conv", "", 2, x, gt_random(t, DIMS(40, 24, 1, 1)));
    x = gt_node(t, "Flatten", "axis=1", 1, x);
    gt_output(t, gt_node(t, "Gemm", "transB=1", 2, x, gt_random(t, DIMS(20, 40 * 90))));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
}

static void run(struct gt *t, const struct exec_options *o, int64_t tile, float size,
                struct tensor *out, struct exec_fp16 *report) {
    int *slots;
    struct program *p = test_program(t, o, tile, &slots);
    test_must(exec_prepare(p, &t->err), &t->err);
    test_program_run(t, p, slots, size, out);
    *report = exec_fp16(p);
    exec_destroy(&p);
    mem_free(slots);
}

static double apart(const struct tensor *a, const struct tensor *b) {
    double most = 0, size = 0;
    for (int64_t i = 0; i < shape_count(&a->shape); i++) {
        most = fmax(most, fabs((double)tensor_f32(a)[i] - (double)tensor_f32(b)[i]));
        size = fmax(size, fabs((double)tensor_f32(a)[i]));
    }
    assert_true(size > 0);
    return most / size;
}

static void computes(void **state) {
    (void)state;
    const struct exec_options single = {0}, half = {.fp16 = true}, named = {.kernel = "neon64hp"};
    struct gt t;
    struct tensor want, got;
    struct exec_fp16 none, report;
    make_graph(&t);
    run(&t, &single, 0, 1, &want, &none);
    assert_true(!none.on && none.operators == 0 && none.saturated == 0 && none.macs <= 0);
    /* 40 channels lie in three blocks of 16 */
    double dense = 90.0 * (24 * 8 * 9 + 40 * 24 + 20 * 48), depthwise = 90.0 * 24 * 9;
    assert_true(none.all_macs == dense + depthwise);
    run(&t, &half, 0, 1, &got, &report);
    assert_int_equal(report.on, here());
    if (!here()) {
        print_message("# no float16 arithmetic here: the rest is skipped\n");
        assert_memory_equal(want.data, got.data, tensor_bytes(&got));
        assert_int_equal(report.operators, 0);
    } else {
        struct tensor other;
        double error = apart(&want, &got);
        assert_true(error > 1e-6 && error < 5e-3);
        assert_int_equal(report.operators, 3);
        assert_true(report.macs == dense && report.all_macs == dense + depthwise);
        assert_int_equal(report.saturated, 0);
        for (int tile = 1; tile <= 4; tile++) {
            run(&t, &half, tile, 1, &other, &report);
            assert_memory_equal(got.data, other.data, tensor_bytes(&got));
            tensor_release(&other);
        }
        run(&t, &named, 0, 1, &other, &report); /* --kernel asks for it as well */
        assert_memory_equal(got.data, other.data, tensor_bytes(&got));
        assert_true(report.on);
        tensor_release(&other);
        run(&t, &half, 0, 1e5f, &other, &report);
        assert_true(report.saturated > 0);
        assert_true(isfinite(tensor_f32(&other)[0]));
        tensor_release(&other);
    }
    tensor_release(&want);
    tensor_release(&got);
    gt_end(&t);
}

/* Weights that are kept as float16 are computed with in float32. */
static void weights_type_comes_first(void **state) {
    (void)state;
    const struct exec_options both = {.fp16 = true, .half_weights = true};
    struct gt t;
    struct tensor got;
    struct exec_fp16 report;
    make_graph(&t);
    run(&t, &both, 0, 1, &got, &report);
    assert_int_equal(report.operators, here() ? 2 : 0);
    tensor_release(&got);
    gt_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes),
        cmocka_unit_test(weights_type_comes_first),
    };
    return cmocka_run_group_tests_name("exec_fp16", tests, test_pool_start, test_pool_stop);
}
