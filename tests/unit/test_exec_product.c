/* Products of two computed matrices in the gemm kernels (batches, broadcasting, Gemm's attributes),
 * and convolutions over volumes, which become products: against the operators' reference; and row
 * tiles, which must give the same bits. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void random_inputs(struct gt *t, struct tensor *in) {
    for (int i = 0; i < t->g->input_count; i++) {
        const struct value *v = graph_value(t->g, t->g->inputs[i]);
        test_must(tensor_init(&in[i], v->type, &v->shape, &t->err), &t->err);
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_f32(&in[i])[k] = (float)gt_pick(t, -1000, 1000) / 1000.0f;
    }
}

static void run(struct gt *t, const char *kernel, int64_t tile, const struct tensor *in,
                struct tensor *out) {
    struct exec_options o = {.kernel = kernel};
    *out = (struct tensor){0};
    test_must(exec_run_graph(t->g, test_pool, &o, tile, in, out, &t->err), &t->err);
}

static double difference(const struct tensor *a, const struct tensor *b) {
    double most = 0;
    assert_true(shape_equal(&a->shape, &b->shape));
    for (int64_t i = 0; i < shape_count(&a->shape); i++) {
        double d = fabs((double)tensor_f32(a)[i] - (double)tensor_f32(b)[i]);
        assert_true(d <= 1e30); /* no NaN either */
        most = d > most ? d : most;
    }
    return most;
}

/* The evaluators' answer, and in tiles of rows the bits of the whole where the kernel promises it.
 */
static void check_kernel(struct gt *t, const char *kernel, bool exact, const struct tensor *in,
                         const struct tensor *want) {
    struct tensor got, tiles;
    run(t, kernel, 0, in, &got);
    assert_true(difference(&got, want) <= 1e-4);
    for (int64_t tile = 1; exact && tile < 12; tile += 4) {
        run(t, kernel, tile, in, &tiles);
        assert_memory_equal(got.data, tiles.data, tensor_bytes(&got));
        tensor_release(&tiles);
    }
    tensor_release(&got);
}

/* A graph of one output: the answers of the evaluators, of the kernels, and of tiles. */
static void check_by(struct gt *t, const struct lowering *table, int lowered) {
    struct tensor in[4] = {{0}}, want = {0};
    struct lowering const *how;
    int found = 0;
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
    for (int i = 0; i < t->g->node_count; i++) {
        how = lowering_find(t->g, &t->g->nodes[i]);
        for (const struct lowering *l = table; l->op != NULL; l++)
            found += how == l;
    }
    assert_int_equal(found, lowered);
    random_inputs(t, in);
    gt_run(t, in, &want);
    check_kernel(t, NULL, true, in, &want);
    check_kernel(t, "generic", true, in, &want);
    check_kernel(t, "blas", false, in, &want);
    check_kernel(t, "avx2", true, in, &want);
    check_kernel(t, "avx512", true, in, &want);
    tensor_release(&want);
    for (int i = 0; i < 4; i++)
        tensor_release(&in[i]);
}

static void check(struct gt *t, int products) {
    check_by(t, lowerings_product, products);
}

static void matmul(struct shape a, struct shape b, bool epilogue) {
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "a", a), y = gt_input(&t, "b", b);
    int z = gt_node(&t, "MatMul", "", 2, x, y);
    if (epilogue)
        z = gt_node(&t, "Relu", "", 1, z);
    gt_output(&t, z);
    check(&t, 1);
    gt_end(&t);
}

static void shapes(void **state) {
    (void)state;
    matmul(DIMS(5, 7), DIMS(7, 3), false);
    matmul(DIMS(1, 40), DIMS(40, 33), true);
    matmul(DIMS(2, 3, 9, 8), DIMS(2, 3, 8, 9), false);  /* attention */
    matmul(DIMS(2, 3, 9, 8), DIMS(8, 5), false);        /* one matrix for all */
    matmul(DIMS(2, 3, 9, 8), DIMS(1, 1, 8, 5), true);   /* likewise */
    matmul(DIMS(9, 8), DIMS(3, 8, 5), false);           /* the left one serves all */
    matmul(DIMS(2, 1, 4, 6), DIMS(1, 3, 6, 17), false); /* each with each */
    matmul(DIMS(4, 1, 6), DIMS(2, 1, 6, 20), false);    /* and with another rank */
    matmul(DIMS(70, 300), DIMS(300, 70), false);        /* several slices of k */
    matmul(DIMS(1, 1, 1, 64), DIMS(1, 4, 64, 16), false);
}

static void gemm(void **state) {
    (void)state;
    static const char *const attrs[] = {"", "transB=1", "transB=1 alpha=0.5 beta=0.25",
                                        "alpha=-2.0"};
    for (int i = 0; i < 4; i++)
        for (int bias = 0; bias < 3; bias++) {
            struct gt t;
            bool transposed = strstr(attrs[i], "transB") != NULL;
            gt_begin(&t, 13);
            int x = gt_input(&t, "a", DIMS(6, 10));
            int y = gt_input(&t, "b", transposed ? DIMS(19, 10) : DIMS(10, 19));
            int c = bias == 0 ? -1 : gt_random(&t, bias == 1 ? DIMS(19) : DIMS(1));
            gt_output(&t, gt_node(&t, "Gemm", attrs[i], bias == 0 ? 2 : 3, x, y, c));
            check(&t, 1);
            gt_end(&t);
        }
}

/* What the kernels do not take stays with the evaluators. */
static void others(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "a", DIMS(10, 6)), y = gt_input(&t, "b", DIMS(10, 19));
    gt_output(&t, gt_node(&t, "Gemm", "transA=1", 2, x, y));
    check(&t, 0);
    gt_end(&t);
    gt_begin(&t, 13);
    gt_output(&t, gt_node(&t, "MatMul", "", 2, gt_input(&t, "a", DIMS(4, 10)),
                          gt_input(&t, "b", DIMS(10))));
    check(&t, 0);
    gt_end(&t);
}

static void random_shapes(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct gt t;
        struct shape a = {.rank = 2}, b = {.rank = 2};
        gt_begin(&t, 13);
        t.seed = (uint64_t)round * 31 + 7;
        a.rank = (int)gt_pick(&t, 2, 5);
        b.rank = (int)gt_pick(&t, 2, 5);
        for (int i = 3; i <= 5; i++) {
            int64_t dim = gt_pick(&t, 1, 3), one = gt_pick(&t, 0, 3);
            if (i <= a.rank)
                a.dim[a.rank - i] = one == 1 ? 1 : dim;
            if (i <= b.rank)
                b.dim[b.rank - i] = one == 2 ? 1 : dim;
        }
        a.dim[a.rank - 2] = gt_pick(&t, 1, 20);
        a.dim[a.rank - 1] = b.dim[b.rank - 2] = gt_pick(&t, 1, 40);
        b.dim[b.rank - 1] = gt_pick(&t, 1, 50);
        gt_output(&t, gt_node(&t, "MatMul", "", 2, gt_input(&t, "a", a), gt_input(&t, "b", b)));
        check(&t, 1);
        gt_end(&t);
    }
}

static void volume(struct shape x, struct shape w, const char *attrs, bool bias, bool epilogue) {
    struct gt t;
    gt_begin(&t, 13);
    int a = gt_input(&t, "x", x), b = gt_random(&t, w);
    int c = bias ? gt_random(&t, DIMS(w.dim[0])) : -1;
    int y = gt_node(&t, "Conv", attrs, bias ? 3 : 2, a, b, c);
    if (epilogue)
        y = gt_node(&t, "Relu", "", 1, y);
    gt_output(&t, y);
    check_by(&t, lowerings_volume, 1);
    gt_end(&t);
}

static void volumes(void **state) {
    (void)state;
    volume(DIMS(1, 3, 4, 7, 9), DIMS(5, 3, 3, 3, 3), "pads=1,1,1,1,1,1", true, true);
    volume(DIMS(2, 2, 3, 5, 6), DIMS(17, 2, 1, 1, 1), "", false, false);
    volume(DIMS(1, 4, 6, 8, 8), DIMS(6, 2, 2, 3, 3), "group=2 strides=2,1,2 pads=0,1,2,1,1,0", true,
           false);
    volume(DIMS(2, 6, 5, 6, 7), DIMS(6, 1, 3, 3, 3), "group=6 dilations=1,2,1 pads=1,2,1,1,2,1",
           false, true);
    volume(DIMS(1, 1, 2, 9, 40), DIMS(3, 1, 2, 5, 5), "auto_pad=SAME_UPPER strides=1,3,1", true,
           false);
    volume(DIMS(1, 2, 2, 3, 3, 20), DIMS(4, 2, 2, 2, 1, 3), "pads=0,1,0,1,1,0,0,1", true, true);
    volume(DIMS(1, 600, 2, 3, 30), DIMS(2, 600, 1, 2, 2), "", true, false); /* several tiles */
}

/* A sum before the activation, which becomes the convolution's. */
static void sums_up(struct shape x, struct shape w, const char *attrs, bool bias) {
    struct gt t;
    gt_begin(&t, 13);
    int a = gt_input(&t, "x", x), b = gt_random(&t, w);
    int c = bias ? gt_random(&t, DIMS(w.dim[0])) : -1;
    int y = gt_node(&t, "Conv", attrs, bias ? 3 : 2, a, b, c);
    gt_output(&t, gt_node(&t, "Relu", "", 1, gt_node(&t, "Add", "", 2, y, a)));
    check_by(&t, lowerings_volume, 1);
    gt_end(&t);
}

static void volume_residual(void **state) {
    (void)state;
    sums_up(DIMS(1, 4, 3, 5, 6), DIMS(4, 4, 3, 3, 3), "pads=1,1,1,1,1,1", false);
    sums_up(DIMS(2, 6, 3, 5, 6), DIMS(6, 3, 3, 3, 3), "group=2 pads=1,1,1,1,1,1", true);
    sums_up(DIMS(2, 240, 2, 3, 20), DIMS(240, 120, 3, 3, 3), "group=2 pads=1,1,1,1,1,1",
            true); /* several tiles of each group */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),  cmocka_unit_test(gemm),
        cmocka_unit_test(others),  cmocka_unit_test(random_shapes),
        cmocka_unit_test(volumes), cmocka_unit_test(volume_residual),
    };
    return cmocka_run_group_tests_name("exec_product", tests, test_pool_start, test_pool_stop);
}
