/* An operator in parts of its output's channels, one after the other: the bits of the whole, with
 * every kernel of our own, for any rows, with residuals; and operators that cannot, which do all in
 * part 0. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "exec/exec.h"
#include "kernels/kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct scene {
    const char *op, *attrs;
    int in_c, out_c, kernel;
    bool residual;
};

static const struct scene scenes[] = {
    {"Conv", "pads=1,1,1,1", 20, 160, 3, true},
    {"Conv", "pads=1,1,1,1", 64, 128, 3, false},
    {"Conv", "", 48, 144, 1, true},
    {"Conv", "pads=1,1,1,1", 17, 40, 3, false},
    {"ConvTranspose", "strides=2,2", 32, 72, 2, false},
    {"MaxPool", "kernel_shape=2,2", 128, 128, 0, false},
};

static void build(struct gt *t, const struct scene *s) {
    gt_begin(t, 14);
    const int x = gt_input(t, "x", DIMS(1, s->in_c, 11, 13));
    int y;
    if (s->kernel == 0)
        y = gt_node(t, s->op, s->attrs, 1, x);
    else if (strcmp(s->op, "Conv") == 0)
        y = gt_node(t, s->op, s->attrs, 3, x,
                    gt_random(t, DIMS(s->out_c, s->in_c, s->kernel, s->kernel)),
                    gt_random(t, DIMS(s->out_c)));
    else
        y = gt_node(t, s->op, s->attrs, 2, x,
                    gt_random(t, DIMS(s->in_c, s->out_c, s->kernel, s->kernel)));
    if (s->residual)
        y = gt_node(t, "Add", "", 2, y, gt_input(t, "skip", DIMS(1, s->out_c, 11, 13)));
    gt_output(t, gt_node(t, "Relu", "", 1, y));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
}

/* Rows [begin, end) of the graph's nodes, the first of them in parts, into `out`. */
static void run(struct gt *t, const char *kernel, int parts, struct rows rows,
                const struct tensor *in, struct tensor *out) {
    struct program *p = NULL;
    const struct exec_options o = {.kernel = kernel};
    int *slots = mem_zalloc((size_t)t->g->value_count + 1, sizeof *slots), op, part;
    assert_non_null(slots);
    test_must(exec_create(&p, t->g, test_pool, &o, &t->err), &t->err);
    test_must(exec_add_slots(p, NULL, 0, slots, &t->err), &t->err);
    for (int i = 0; i < t->g->node_count; i++)
        for (int k = 0; k < (i == 0 ? parts : 1); k++) {
            test_must(exec_add_node(p, i, rows, slots, &op, &t->err), &t->err);
            if (i == 0)
                exec_op_part(p, k, parts);
            assert_int_equal(exec_op_parts(p, op, &part), i == 0 ? parts : 1);
            assert_int_equal(part, k);
        }
    test_must(exec_prepare(p, &t->err), &t->err);
    for (int i = 0; i < t->g->input_count; i++)
        test_must(exec_slot_store(p, slots[t->g->inputs[i]], &in[i], &t->err), &t->err);
    for (int k = 0; k < exec_op_count(p);
         k++) /* one by one, as a runtime does that sends between */
        test_must(exec_run(p, k, k + 1, &t->err), &t->err);
    test_must(exec_slot_fetch(p, slots[t->g->outputs[0]], out, &t->err), &t->err);
    exec_destroy(&p);
    mem_free(slots);
}

static void check(const struct scene *s) {
    static const char *const kernels[] = {NULL, "generic", "direct",
                                          "avx2"}; /* of OpenBLAS bits depend on the shape */
    struct gt t;
    struct tensor in[2] = {{0}};
    build(&t, s);
    for (int i = 0; i < t.g->input_count; i++) {
        const struct value *v = graph_value(t.g, t.g->inputs[i]);
        test_must(tensor_init(&in[i], v->type, &v->shape, &t.err), &t.err);
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_f32(&in[i])[k] = ((float)gt_pick(&t, 1, 2000) - 999.5f) / 700.0f;
    }
    const int64_t height = value_geometry(graph_value(t.g, t.g->outputs[0])).height;
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        if (kernels[k] != NULL && strcmp(kernels[k], "avx2") == 0 &&
            !(kernel_isa_available() & 1u << ISA_AVX2))
            continue;
        for (int round = 0; round < 3; round++) {
            const struct rows rows = {round == 1 ? 3 : 0, round == 2 ? 1 : height};
            struct tensor want = {0};
            run(&t, kernels[k], 1, rows, in, &want);
            for (int parts = 2; parts < 6; parts++) { /* of few blocks some parts have none */
                struct tensor got = {0};
                run(&t, kernels[k], parts, rows, in, &got);
                assert_memory_equal(got.data, want.data, tensor_bytes(&want));
                tensor_release(&got);
            }
            tensor_release(&want);
        }
    }
    tensor_release(&in[0]);
    tensor_release(&in[1]);
    gt_end(&t);
}

static void test_parts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        check(&scenes[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests_name("exec_parts", tests, test_pool_start, test_pool_stop);
}
