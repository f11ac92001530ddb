/* Constants that come one by one: weights packed some output channels at a time are those packed
 * from all of them, and what is there is bound at once. */
#include "tests/support/testpool.h"
#include "tests/support/testprogram.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Convolutions of one group and of several, transposed ones too, a normalisation in front of one's
 * weights, products with both orders of weights, of a map and not, and weights that two operators
 * share. */
#define IN_PIECES 6 /* of a map: two convolutions, two transposed ones, two products */
static void make_graph(struct gt *t, const char *products) {
    gt_begin(t, 13);
    t->seed = 4;
    int x = gt_input(t, "x", DIMS(1, 20, 6, 6)), shared = gt_random(t, DIMS(72, 72, 1, 1));
    x = gt_node(t, "Conv", "kernel_shape=3,3 pads=1,1,1,1", 3, x, gt_random(t, DIMS(72, 20, 3, 3)),
                gt_random(t, DIMS(72)));
    x = gt_node(t, "BatchNormalization", "", 5, x, gt_random(t, DIMS(72)), gt_random(t, DIMS(72)),
                gt_random(t, DIMS(72)), gt_positive(t, DIMS(72)));
    x = gt_node(t, "Conv", "kernel_shape=3,3 group=72", 2, x, gt_random(t, DIMS(72, 1, 3, 3)));
    x = gt_node(t, "Conv", "", 2, gt_node(t, "Conv", "", 2, x, shared), shared);
    x = gt_node(t, "ConvTranspose", "strides=2,2", 3, x, gt_random(t, DIMS(72, 40, 2, 2)),
                gt_random(t, DIMS(40)));
    x = gt_node(t, "BatchNormalization", "", 5, x, gt_random(t, DIMS(40)), gt_random(t, DIMS(40)),
                gt_random(t, DIMS(40)), gt_positive(t, DIMS(40)));
    x = gt_node(t, "ConvTranspose", "group=2", 2, x, gt_random(t, DIMS(40, 9, 3, 3)));
    x = gt_node(t, "Flatten", "axis=1", 1, x);
    x = gt_node(t, "Gemm", products, 3, x,
                gt_random(t, products[7] == '1' ? DIMS(50, 1800) : DIMS(1800, 50)),
                gt_random(t, DIMS(50)));
    gt_output(
        t, gt_node(t, "MatMul", "", 2, gt_node(t, "Relu", "", 1, x), gt_random(t, DIMS(50, 33))));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
}

/* Gives the program all constants, weights in pieces of `blocks` blocks; counts those. */
static int feed(struct gt *t, struct program *p, int blocks) {
    const struct graph *g = t->g;
    void **data = mem_zalloc((size_t)g->value_count, sizeof *data);
    int *ids = NULL, count = 0, fed = 0;
    assert_non_null(data);
    test_must(exec_constants(p, &ids, &count, &t->err), &t->err);
    for (int i = 0; i < count; i++) {
        data[ids[i]] = g->values[ids[i]].constant.data;
        g->values[ids[i]].constant.data = NULL;
    }
    for (int pass = 0; pass < 2; pass++) /* vectors first */
        for (int i = 0; i < count; i++) {
            struct tensor *c = &g->values[ids[i]].constant;
            if ((c->shape.rank > 1) != (pass == 1))
                continue;
            if (!exec_takes_pieces(p, ids[i])) {
                c->data = data[ids[i]];
                test_must(exec_bind(p, &t->err), &t->err);
                continue;
            }
            const int64_t rows = c->shape.dim[0], most = blocks * (int64_t)EXEC_PIECE_ROWS;
            const size_t row = tensor_bytes(c) / (size_t)rows;
            fed++;
            for (int64_t at = 0; at < rows; at += most) {
                struct tensor part = {.type = c->type, .shape = c->shape};
                part.shape.dim[0] = rows - at < most ? rows - at : most;
                part.data = mem_alloc((size_t)part.shape.dim[0] * row); /* nothing lies behind it */
                assert_non_null(part.data);
                memcpy(part.data, (const char *)data[ids[i]] + (size_t)at * row,
                       (size_t)part.shape.dim[0] * row);
                assert_false(exec_done_with(p, ids[i]));
                test_must(exec_take_piece(p, ids[i], at, &part, &t->err), &t->err);
                mem_free(part.data);
            }
            assert_true(exec_done_with(p, ids[i]));
        }
    test_must(exec_prepare(p, &t->err), &t->err);
    for (int i = 0; i < count; i++) {
        assert_true(exec_done_with(p, ids[i]));
        g->values[ids[i]].constant.data = data[ids[i]];
    }
    mem_free(ids);
    mem_free(data);
    return fed;
}

/* blocks: 0: all constants are there. */
static void run(struct gt *t, bool half, int blocks, struct tensor *out, struct exec_half *report) {
    int *slots;
    struct program *p = test_program(t, &(struct exec_options){.half_weights = half}, 0, &slots);
    if (blocks > 0)
        assert_int_equal(feed(t, p, blocks), IN_PIECES);
    else
        test_must(exec_prepare(p, &t->err), &t->err);
    test_program_run(t, p, slots, 1, out);
    *report = exec_half(p);
    exec_destroy(&p);
    mem_free(slots);
}

static void test_pieces(void **state) {
    (void)state;
    const char *const products[] = {"transB=1 alpha=0.5", "transB=0 alpha=0.5"};
    for (int kind = 0; kind < 4; kind++) {
        const bool half = kind % 2 != 0;
        struct gt t;
        struct tensor want, got;
        struct exec_half whole, pieces;
        make_graph(&t, products[kind / 2]);
        run(&t, half, 0, &want, &whole);
        for (int blocks = 1; blocks <= 6; blocks += blocks) {
            run(&t, half, blocks, &got, &pieces);
            assert_memory_equal(got.data, want.data, tensor_bytes(&want));
            assert_true(pieces.weights == whole.weights && pieces.saturated == whole.saturated &&
                        !(pieces.error < whole.error) && !(pieces.error > whole.error));
            tensor_release(&got);
        }
        tensor_release(&want);
        gt_end(&t);
    }
}

/* A program that goes before all pieces came leaves nothing. */
static void test_given_up(void **state) {
    (void)state;
    struct gt t;
    int *slots;
    const long before = mem_live_blocks(); /* the pool's */
    make_graph(&t, "transB=0");
    struct program *p = test_program(&t, &(struct exec_options){0}, 0, &slots);
    for (int id = 0; id < t.g->value_count; id++)
        if (graph_value(t.g, id)->is_constant && exec_takes_pieces(p, id)) {
            struct tensor part = graph_value(t.g, id)->constant;
            part.shape.dim[0] = EXEC_PIECE_ROWS;
            test_must(exec_take_piece(p, id, 0, &part, &t.err), &t.err);
        }
    exec_destroy(&p);
    mem_free(slots);
    gt_end(&t);
    assert_int_equal(mem_live_blocks(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_given_up),
    };
    return cmocka_run_group_tests_name("exec_feed", tests, test_pool_start, test_pool_stop);
}
