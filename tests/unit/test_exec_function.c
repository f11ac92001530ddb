/* Functions that no kernel computes run on feature maps by their evaluators: whole and in row tiles
 * of every size the bits of the reference, and nothing beyond the last channel. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "exec/lower.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* f(x), and behind it a convolution, which would notice whatever stands in unused lanes. */
static void check(const char *op, const char *attrs, int opset, struct shape shape, bool conv) {
    struct gt t;
    struct tensor in = {0}, want = {0}, got = {0}, tiles = {0};
    struct exec_options o = {0};
    int ours = 0, channels = (int)shape.dim[1];
    gt_begin(&t, opset);
    int y = gt_node(&t, op, attrs, 1, gt_input(&t, "x", shape));
    if (conv)
        y = gt_node(&t, "Conv", "", 2, y, gt_random(&t, DIMS(5, channels, 1, 1)));
    gt_output(&t, y);
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    for (int i = 0; i < t.g->node_count; i++)
        for (const struct lowering *l = lowerings_function; l->op != NULL; l++)
            ours += lowering_find(t.g, &t.g->nodes[i]) == l;
    assert_int_equal(ours, 1);
    test_must(tensor_init(&in, DT_F32, &shape, &t.err), &t.err);
    for (int64_t k = 0; k < shape_count(&shape); k++)
        tensor_f32(&in)[k] = (float)gt_pick(&t, 1, 2000) / 1000.0f;
    gt_run(&t, &in, &want);
    for (int64_t tile = 0; tile < 8; tile += 1 + tile / 3) {
        test_must(exec_run_graph(t.g, test_pool, &o, tile, &in, &tiles, &t.err), &t.err);
        if (tile == 0) {
            test_must(tensor_copy(&got, &tiles, &t.err), &t.err);
            for (int64_t i = 0; i < shape_count(&want.shape); i++) {
                double a = tensor_get_f64(&got, i), b = tensor_get_f64(&want, i);
                if (!(conv ? fabs(a - b) <= 1e-4 : a == b) && !(isnan(a) && isnan(b)))
                    fail_msg("%s: element %d is %g, not %g", op, (int)i, a, b);
            }
        }
        assert_memory_equal(got.data, tiles.data, tensor_bytes(&got));
        tensor_release(&tiles);
    }
    tensor_release(&got);
    tensor_release(&want);
    tensor_release(&in);
    gt_end(&t);
}

static void on_maps(void **state) {
    (void)state;
    static const struct {
        const char *op, *attrs;
        int opset;
    } cases[] = {{"Log", "", 13},
                 {"Cos", "", 13},
                 {"Mish", "", 18},
                 {"Reciprocal", "", 13},
                 {"Elu", "alpha=0.5", 13},
                 {"Gelu", "approximate=tanh", 20},
                 {"Swish", "alpha=2.0", 24},
                 {"ThresholdedRelu", "alpha=0.7", 13}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int channels = 1; channels < 60; channels += channels < 4 ? 2 : 17)
            for (int conv = 0; conv < 2; conv++)
                check(cases[i].op, cases[i].attrs, cases[i].opset, DIMS(2, channels, 7, 5),
                      conv != 0);
}

static void on_rows(void **state) {
    (void)state;
    check("Softplus", "", 13, DIMS(9, 37), false);
    check("Sin", "", 13, DIMS(300), false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_maps),
        cmocka_unit_test(on_rows),
    };
    return cmocka_run_group_tests(tests, test_pool_start, test_pool_stop);
}
