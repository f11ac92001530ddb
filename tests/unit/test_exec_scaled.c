/* Squeeze-and-excite's factors taken by the convolution that follows (ScaledConv): where the pass
 * does it and where not, the operator's reference, its row maps, and the kernels' results with
 * batches, residuals, narrow maps, every kernel, and row tiles (the same bits). */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/exec.h"
#include "kernels/kernel.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct block {
    int images, factors; /* dim 0 of the map and of the factors */
    int in_c, out_c, height, width;
    int kernel, groups;
    bool swapped, bias, residual, act, read_twice, computed;
    int scaled; /* how many ScaledConv there should be */
};

static void build(struct gt *t, const struct block *b) {
    gt_begin(t, 14);
    int x = gt_input(t, "x", DIMS(b->images, b->in_c, b->height, b->width));
    int s = gt_input(t, "s", DIMS(b->factors, b->in_c, 1, 1)), m;
    int skip = gt_input(t, "skip", DIMS(b->images, b->out_c, b->height, b->width));
    if (b->computed) /* as in a network: from the map itself */
        s = gt_node(t, "Sigmoid", "", 1, gt_node(t, "GlobalAveragePool", "", 1, x));
    m = b->swapped ? gt_node(t, "Mul", "", 2, x, s) : gt_node(t, "Mul", "", 2, s, x);
    int w = gt_random(t, DIMS(b->out_c, b->in_c / b->groups, b->kernel, b->kernel));
    const char *attrs = b->kernel == 3 ? "pads=1,1,1,1" : b->groups == 2 ? "group=2" : "";
    int y = b->bias ? gt_node(t, "Conv", attrs, 3, m, w, gt_random(t, DIMS(b->out_c)))
                    : gt_node(t, "Conv", attrs, 2, m, w);
    if (b->residual)
        y = gt_node(t, "Add", "", 2, y, skip);
    gt_output(t, b->act ? gt_node(t, "HardSwish", "", 1, y) : y);
    if (b->read_twice)
        gt_output(t, m);
}

static const struct block blocks[] = {
    {1, 1, 20, 3, 8, 5, 1, 1, false, true, false, false, false, true, 1},
    {1, 1, 32, 24, 16, 14, 1, 1, true, true, false, false, false, true, 1},
    {2, 2, 32, 17, 16, 15, 1, 1, false, false, true, false, false, true, 1},
    {2, 1, 48, 16, 12, 12, 1, 1, false, true, true, true, false, false, 1},
    {3, 3, 7, 20, 20, 9, 1, 1, true, false, false, true, false, false, 1}, /* narrow */
    {1, 1, 16, 16, 13, 11, 1, 1, true, true, false, true, false, false, 1},
    {1, 1, 16, 16, 7, 7, 1, 1, true, true, false, false, false, false, 0}, /* too small a map */
    {1, 1, 16, 4, 16, 16, 3, 1, true, true, false, false, false, false, 0},
    {1, 1, 16, 4, 16, 16, 1, 2, true, true, false, false, false, false, 0},
    {1, 1, 16, 4, 16, 16, 1, 1, true, true, false, false, true, false, 0},
    {1, 1, 16, 2, 1, 1, 1, 1, true, true, false, false, false, false, 0},
};
enum { BLOCKS = sizeof blocks / sizeof *blocks };

static void test_pass(void **state) {
    (void)state;
    for (int i = 0; i < BLOCKS; i++) {
        struct gt t;
        build(&t, &blocks[i]);
        gt_same_after_finish(&t, 3e-6);
        assert_int_equal(gt_count(&t, "cohort:ScaledConv"), blocks[i].scaled);
        assert_int_equal(gt_count(&t, "Mul"), 1 - blocks[i].scaled);
        gt_check_links(t.g);
        gt_check_forms(t.g);
        gt_check_rows(&t);
        gt_end(&t);
    }
}

/* A constant factor goes into the weights when they are packed, as ever. */
static void test_constant(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 16, 16, 16));
    int m = gt_node(&t, "Mul", "", 2, x, gt_random(&t, DIMS(1, 16, 1, 1)));
    gt_output(&t, gt_node(&t, "Conv", "", 2, m, gt_random(&t, DIMS(4, 16, 1, 1))));
    gt_same_after_finish(&t, 3e-6);
    assert_int_equal(gt_count(&t, "cohort:ScaledConv"), 0);
    gt_end(&t);
}

static void run(const struct graph *g, const char *kernel, int64_t tile, const struct tensor *in,
                struct tensor *out) {
    struct cohort_error err;
    struct exec_options o = {.kernel = kernel};
    test_must(exec_run_graph(g, test_pool, &o, tile, in, out, &err), &err);
}

static void check_run(const struct block *b) {
    static const char *const kernels[] = {NULL, "generic", "blas", "direct", "avx2"};
    struct gt t;
    struct tensor in[3] = {{0}}, want[2] = {{0}};
    build(&t, b);
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    for (int i = 0; i < t.g->input_count; i++) {
        const struct value *v = graph_value(t.g, t.g->inputs[i]);
        test_must(tensor_init(&in[i], v->type, &v->shape, &t.err), &t.err);
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_f32(&in[i])[k] = ((float)gt_pick(&t, 1, 2000) - 999.5f) / 700.0f;
    }
    gt_run(&t, in, want);
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        struct tensor got[2] = {{0}};
        if (kernels[k] != NULL && strcmp(kernels[k], "avx2") == 0 &&
            !(kernel_isa_available() & 1u << ISA_AVX2))
            continue;
        run(t.g, kernels[k], 0, in, got);
        for (int64_t i = 0; i < shape_count(&want[0].shape); i++) {
            double d = (double)tensor_f32(&got[0])[i] - (double)tensor_f32(&want[0])[i];
            assert_true(fabs(d) <= 1e-4);
        }
        for (int64_t tile = 1; tile < 8; tile += 3) {
            struct tensor tiles[2] = {{0}};
            run(t.g, kernels[k], tile, in, tiles);
            for (int o = 0; o < t.g->output_count; o++)
                if (b->scaled > 0 || kernels[k] == NULL) /* OpenBLAS's bits depend on the rows */
                    assert_memory_equal(got[o].data, tiles[o].data, tensor_bytes(&got[o]));
            tensor_release(&tiles[0]);
            tensor_release(&tiles[1]);
        }
        tensor_release(&got[0]);
        tensor_release(&got[1]);
    }
    for (int i = 0; i < 3; i++)
        tensor_release(&in[i]);
    tensor_release(&want[0]);
    tensor_release(&want[1]);
    gt_end(&t);
}

static void test_run(void **state) {
    (void)state;
    for (int i = 0; i < BLOCKS; i++)
        check_run(&blocks[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pass),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_run),
    };
    return cmocka_run_group_tests_name("exec_scaled", tests, test_pool_start, test_pool_stop);
}
