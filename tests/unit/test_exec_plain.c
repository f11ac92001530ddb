/* Add, Sub, Mul and Div of plain float tensors in the kernels: every way of broadcasting, constants
 * on either side, activations behind; against the reference, whole and in row tiles. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* One operator, perhaps with an activation fused behind it. */
static void check(const char *name, struct shape a, struct shape b, int constant, bool relu,
                  uint64_t seed) {
    struct gt t;
    struct tensor in[2] = {{0}}, want = {0}, got, tiles;
    gt_begin(&t, 13);
    t.seed = seed;
    int x = constant == 1 ? gt_positive(&t, a) : gt_input(&t, "a", a);
    int y = constant == 2 ? gt_positive(&t, b) : gt_input(&t, "b", b);
    int z = gt_node(&t, name, "", 2, x, y);
    gt_output(&t, relu ? gt_node(&t, "Relu", "", 1, z) : z);
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    int ours = 0;
    for (int i = 0; i < t.g->node_count; i++) {
        const struct lowering *how = lowering_find(t.g, &t.g->nodes[i]);
        for (const struct lowering *l = lowerings_plain; l->op != NULL; l++)
            ours += how == l;
    }
    assert_int_equal(ours, 1);
    for (int i = 0; i < t.g->input_count; i++) {
        const struct value *v = graph_value(t.g, t.g->inputs[i]);
        test_must(tensor_init(&in[i], v->type, &v->shape, &t.err), &t.err);
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_f32(&in[i])[k] = ((float)gt_pick(&t, 1, 2000) - 999.5f) / 700.0f;
    }
    gt_run(&t, in, &want);
    struct exec_options o = {0};
    got = tiles = (struct tensor){0};
    test_must(exec_run_graph(t.g, test_pool, &o, 0, in, &got, &t.err), &t.err);
    assert_true(shape_equal(&got.shape, &want.shape));
    for (int64_t i = 0; i < shape_count(&want.shape); i++) {
        double d = (double)tensor_f32(&got)[i] - (double)tensor_f32(&want)[i];
        assert_true(fabs(d) <= 1e-6 * fabs((double)tensor_f32(&want)[i]));
    }
    for (int64_t tile = 1; tile < 8; tile += 3) {
        test_must(exec_run_graph(t.g, test_pool, &o, tile, in, &tiles, &t.err), &t.err);
        assert_memory_equal(got.data, tiles.data, tensor_bytes(&got));
        tensor_release(&tiles);
    }
    tensor_release(&want);
    tensor_release(&got);
    tensor_release(&in[0]);
    tensor_release(&in[1]);
    gt_end(&t);
}

static void known_shapes(void **state) {
    (void)state;
    check("Add", DIMS(3, 5, 8), DIMS(3, 5, 8), 0, false, 1);
    check("Add", DIMS(3, 5, 40), DIMS(40), 2, true, 2);            /* a bias */
    check("Add", DIMS(2, 5, 20), DIMS(5, 20), 2, false, 3);        /* positions */
    check("Add", DIMS(2, 3, 4, 6), DIMS(2, 1, 1, 6), 0, false, 4); /* a mask */
    check("Div", DIMS(2, 3, 4, 6), DIMS(1), 2, false, 5);
    check("Sub", DIMS(1), DIMS(7, 9), 1, false, 6);
    check("Mul", DIMS(4, 6, 33), DIMS(4, 6, 1), 0, true, 7);
    check("Mul", DIMS(4, 1, 33), DIMS(1, 6, 1), 0, false, 8);
    check("Div", DIMS(6, 1), DIMS(1, 5), 0, false, 9);
    check("Sub", DIMS(6, 1), DIMS(6, 1), 0, false, 10);
}

static void random_shapes(void **state) {
    (void)state;
    static const char *const names[] = {"Add", "Sub", "Mul", "Div"};
    struct gt dice;
    gt_begin(&dice, 13);
    dice.seed = 3;
    for (int round = 0; round < 200; round++) {
        struct shape a = {.rank = (int)gt_pick(&dice, 1, 5)};
        struct shape b = {.rank = (int)gt_pick(&dice, 1, 5)};
        for (int i = 1; i <= 5; i++) {
            int64_t dim = gt_pick(&dice, 1, i == 1 ? 40 : 4), one = gt_pick(&dice, 0, 4);
            if (i <= a.rank)
                a.dim[a.rank - i] = one == 1 ? 1 : dim;
            if (i <= b.rank)
                b.dim[b.rank - i] = one == 2 ? 1 : dim;
        }
        check(names[gt_pick(&dice, 0, 3)], a, b, (int)gt_pick(&dice, 0, 2), gt_pick(&dice, 0, 1),
              (uint64_t)round + 20);
    }
    gt_end(&dice);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_shapes),
        cmocka_unit_test(random_shapes),
    };
    return cmocka_run_group_tests_name("exec_plain", tests, test_pool_start, test_pool_stop);
}
