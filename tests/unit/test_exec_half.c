/* Products with weights kept as float16: what they compute, what is said about the rounding, and
 * half the memory. */
#include "tests/support/testpool.h"
#include "tests/support/testprogram.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* x [rows][40] -> Gemm 40 to 50, Relu -> MatMul 50 to 33; or a map flattened into the first. */
static void make_graph(struct gt *t, int rows, bool map, float scale, bool rounded) {
    gt_begin(t, 13);
    t->seed = 9;
    int x = gt_input(t, "x", map ? DIMS(1, 10, 2, 2) : DIMS(rows, 40));
    int a = gt_random(t, DIMS(50, 40)), b = gt_random(t, DIMS(50, 33));
    int ids[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        struct tensor *w = &graph_value(t->g, ids[i])->constant;
        for (int64_t k = 0; k < shape_count(&w->shape); k++) {
            float *v = &tensor_f32(w)[k];
            *v *= i == 0 ? scale : 1.0f;
            if (rounded)
                *v = fabsf(*v) > 65504 ? copysignf(65504, *v) : half_to_float(float_to_half(*v));
        }
    }
    if (map)
        x = gt_node(t, "Flatten", "axis=1", 1, gt_node(t, "MaxPool", "kernel_shape=1,1", 1, x));
    x = gt_node(t, "Gemm", "transB=1", 3, x, a, gt_random(t, DIMS(50)));
    gt_output(t, gt_node(t, "MatMul", "", 2, gt_node(t, "Relu", "", 1, x), b));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
}

static void run(struct gt *t, bool half, int64_t tile, struct tensor *out, struct exec_half *report,
                size_t *bytes) {
    int *slots;
    struct program *p = test_program(t, &(struct exec_options){.half_weights = half}, tile, &slots);
    test_must(exec_prepare(p, &t->err), &t->err);
    test_program_run(t, p, slots, 1, out);
    *report = exec_half(p);
    *bytes = exec_memory(p).weights_bytes;
    exec_destroy(&p);
    mem_free(slots);
}

static void check(int rows, bool map, float scale, int saturated) {
    struct gt t, rounded;
    struct tensor want, got, tiles;
    struct exec_half none, half;
    size_t wide, narrow;
    make_graph(&rounded, rows, map, scale, true);
    make_graph(&t, rows, map, scale, false);
    run(&rounded, false, 0, &want, &none, &wide);
    assert_true(none.weights == 0 && none.saturated == 0 && none.error <= 0);
    run(&t, true, 0, &got, &half, &narrow);
    double most = 0, size = 0;
    for (int64_t i = 0; i < shape_count(&want.shape); i++) {
        most = fmax(most, fabs((double)tensor_f32(&want)[i] - (double)tensor_f32(&got)[i]));
        size = fmax(size, fabs((double)tensor_f32(&want)[i]));
    }
    assert_true(size > 0 && most <= 1e-6 * size);
    assert_int_equal(half.weights, 50 * 40 + 50 * 33);
    assert_int_equal(half.saturated > 0, saturated);
    assert_true(half.error > 1e-5);
    assert_int_equal(half.error <= 1.0 / 2048, !saturated);
    assert_int_equal(wide, 2 * narrow);
    run(&t, true, 3, &tiles, &half, &narrow);
    assert_memory_equal(got.data, tiles.data, tensor_bytes(&got));
    tensor_release(&want);
    tensor_release(&got);
    tensor_release(&tiles);
    gt_end(&t);
    gt_end(&rounded);
}

static void rounded_weights(void **state) {
    (void)state;
    check(1, false, 1, 0);
    check(7, false, 1, 0);
    check(40, false, 1, 0);
    check(1, true, 1, 0);
}

static void saturated_weights(void **state) {
    (void)state;
    check(1, false, 1e5f, 1);
    check(5, false, 1e5f, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounded_weights),
        cmocka_unit_test(saturated_weights),
    };
    return cmocka_run_group_tests_name("exec_half", tests, test_pool_start, test_pool_stop);
}
