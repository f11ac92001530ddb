/* Programs that share packed weights (src/exec/rival.c), and operators run one by one, chains
 * included, with the time that each took: what tuning is made of. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NODES 16

/* Two convolutions of one signature, which Winograd takes as well, a pooling between them, and one
 * of another. */
static void make(struct gt *t) {
    struct cohort_error err;
    gt_begin(t, 13);
    int x = gt_input(t, "x", DIMS(1, 16, 24, 20));
    for (int i = 0; i < 2; i++) {
        x = gt_node(t, "Conv", "pads=1,1,1,1", 3, x, gt_random(t, DIMS(16, 16, 3, 3)),
                    gt_random(t, DIMS(16)));
        x = gt_node(t, "MaxPool", "kernel_shape=3,3 pads=1,1,1,1", 1, x);
    }
    gt_output(t, gt_node(t, "Conv", "", 2, x, gt_random(t, DIMS(32, 16, 1, 1))));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &err), &err);
    assert_true(t->g->node_count <= NODES);
}

static const char *of_isa(const char *kind) { /* of the portable kernels: everywhere */
    return strcmp(kind, "direct") == 0 ? "conv_generic_direct" : "conv_generic_winograd4";
}

/* All 3x3 convolutions by this kernel, the others by the portable direct one. */
static int name_kernels(const struct gt *t, const char *kernel, struct kernel_choice *items) {
    int n = 0;
    for (int i = 0; i < t->g->node_count; i++) {
        struct signature s;
        if (!signature_of(t->g, &t->g->nodes[i], &s))
            continue;
        bool wide = s.conv.kernel_w == 3;
        items[n++] = (struct kernel_choice){s, wide ? kernel : of_isa("direct")};
    }
    return n;
}

static enum cohort_code open_program(struct program **p, const struct gt *t, struct pool *pool,
                                     const struct kernel_choices *choices, int64_t strip,
                                     struct program *from, int *slots, struct cohort_error *err) {
    const struct exec_options o = {.choices = choices, .strip_rows = strip};
    enum cohort_code code = exec_create(p, t->g, pool, &o, err);
    if (code == COHORT_OK)
        code = exec_add_graph(*p, 0, slots, err);
    if (code == COHORT_OK && from != NULL)
        code = exec_share_kernels(*p, from, NULL, err);
    return code == COHORT_OK ? exec_prepare(*p, err) : code;
}

static void store(const struct gt *t, struct program *p, const int *slots) {
    struct cohort_error err;
    struct tensor x = {0};
    const struct value *v = graph_value(t->g, t->g->inputs[0]);
    test_must(tensor_init(&x, v->type, &v->shape, &err), &err);
    for (int64_t i = 0; i < shape_count(&v->shape); i++)
        tensor_f32(&x)[i] = (float)(i * 37 % 101) / 50 - 1;
    test_must(exec_slot_store(p, slots[t->g->inputs[0]], &x, &err), &err);
    tensor_release(&x);
}

static struct tensor answer(const struct gt *t, struct program *p, const int *slots) {
    struct cohort_error err;
    struct tensor y = {0};
    store(t, p, slots);
    test_must(exec_run(p, 0, exec_op_count(p), &err), &err);
    test_must(exec_slot_fetch(p, slots[t->g->outputs[0]], &y, &err), &err);
    return y;
}

static void same(const struct tensor *a, const struct tensor *b) {
    assert_int_equal(tensor_bytes(a), tensor_bytes(b));
    assert_memory_equal(a->data, b->data, tensor_bytes(a));
}

static int nodes_with(const struct gt *t, const struct program *p, const char *kernel) {
    int n = 0;
    for (int i = 0; i < t->g->node_count; i++) {
        const char *name = exec_node_kernel(p, i);
        n += name != NULL && strcmp(name, kernel) == 0;
    }
    return n;
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* A program that shares what it can has the bits of one made for itself; what both have is there
 * once; and it does not matter which of them goes first. */
static void weights_are_shared(void **state) {
    (void)state;
    struct gt t;
    struct cohort_error err;
    struct kernel_choice direct[NODES], winograd[NODES];
    int slots[256];
    struct pool *pool = test_pool_of(2);
    make(&t);
    assert_true(t.g->value_count <= 256);
    const struct kernel_choices a = {direct, name_kernels(&t, of_isa("direct"), direct)},
                                b = {winograd, name_kernels(&t, of_isa("winograd"), winograd)};
    assert_int_equal(a.count, 3);
    for (int order = 0; order < 2; order++) {
        struct program *own = NULL, *rival = NULL, *alone = NULL;
        test_must(open_program(&own, &t, pool, &a, 0, NULL, slots, &err), &err);
        test_must(open_program(&rival, &t, pool, &b, 0, own, slots, &err), &err);
        test_must(open_program(&alone, &t, pool, &b, 0, NULL, slots, &err), &err);
        assert_int_equal(nodes_with(&t, own, of_isa("direct")), 3);
        assert_int_equal(nodes_with(&t, rival, of_isa("winograd")), 2);
        assert_int_equal(nodes_with(&t, rival, of_isa("direct")), 1);
        for (int i = 0; i < t.g->node_count; i++) {
            const char *x = exec_node_kernel(own, i), *y = exec_node_kernel(rival, i);
            bool equal = x == NULL || strcmp(x, y) == 0;
            assert_true(equal == (own->bounds[i].state == rival->bounds[i].state ||
                                  own->bounds[i].how == NULL));
        }
        struct tensor want = answer(&t, alone, slots), first = answer(&t, own, slots),
                      got = answer(&t, rival, slots);
        same(&want, &got);
        assert_int_equal(tensor_bytes(&first), tensor_bytes(&want));
        assert_true(memcmp(first.data, want.data, tensor_bytes(&want)) != 0);
        exec_destroy(order == 0 ? &own : &rival);
        if (order == 0) { /* what is left still works, and can be shared again */
            tensor_release(&got);
            got = answer(&t, rival, slots);
            same(&want, &got);
            test_must(open_program(&own, &t, pool, &a, 0, rival, slots, &err), &err);
        }
        struct tensor again = answer(&t, own, slots);
        same(&first, &again);
        exec_destroy(&own);
        exec_destroy(&rival);
        exec_destroy(&alone);
        tensor_release(&want);
        tensor_release(&first);
        tensor_release(&got);
        tensor_release(&again);
    }
    gt_end(&t);
    pool_destroy(&pool);
}

/* Operators one by one, and chains of them, have the bits of all at once; every one of them took
 * some time, and a chain is run whole. */
static void every_operator_is_timed(void **state) {
    (void)state;
    struct gt t;
    struct cohort_error err;
    make(&t);
    for (int threads = 1; threads <= 3; threads += 2)
        for (int64_t strip = 0; strip <= 4; strip += 4) {
            struct pool *pool = test_pool_of(threads);
            struct program *p = NULL;
            int slots[256], seen = 0, chained = 0;
            test_must(open_program(&p, &t, pool, NULL, strip, NULL, slots, &err), &err);
            struct tensor want = answer(&t, p, slots), got = {0};
            memset(exec_slot_data(p, slots[t.g->outputs[0]]), 0xff,
                   exec_slot_bytes(p, slots[t.g->outputs[0]]));
            store(&t, p, slots);
            for (int i = 0, count; i < exec_op_count(p); i += count) {
                double ms[EXEC_CHAIN_MOST];
                int length;
                int64_t rows;
                test_must(exec_run_each(p, i, ms, &count, &err), &err);
                assert_int_equal(exec_op_chain(p, i, &length, &rows), i);
                assert_int_equal(length, count);
                assert_int_equal(rows, count > 1 ? strip : 0);
                for (int k = 0; k < count; k++)
                    assert_true(ms[k] > 0 && ms[k] < 10000);
                assert_int_equal(exec_op_chain(p, i + count - 1, &length, &rows), i);
                seen += count;
                chained += count > 1 ? count : 0;
            }
            assert_int_equal(seen, exec_op_count(p));
            assert_int_equal(chained, exec_chained(p));
            assert_true((chained > 0) == (strip > 0));
            test_must(exec_slot_fetch(p, slots[t.g->outputs[0]], &got, &err), &err);
            same(&want, &got);
            tensor_release(&want);
            tensor_release(&got);
            exec_destroy(&p);
            pool_destroy(&pool);
        }
    gt_end(&t);
}

/* A kernel that is misjudged is taken wherever it can compute, and measuring overrules it. */
static void estimates_can_be_wrong(void **state) {
    (void)state;
    struct gt t;
    struct cohort_error err;
    struct kernel_choice items[NODES];
    struct pool *pool = test_pool_of(1);
    make(&t);
    for (int what = 0; what < 3; what++) {
        const struct kernel_choices choices = {items, name_kernels(&t, of_isa("direct"), items)};
        const struct exec_options o = {.misjudged = of_isa("winograd"),
                                       .choices = what == 1 ? &choices : NULL,
                                       .kernel = what == 2 ? of_isa("direct") : NULL};
        struct program *p = NULL;
        int slots[256];
        test_must(exec_create(&p, t.g, pool, &o, &err), &err);
        test_must(exec_add_graph(p, 0, slots, &err), &err);
        test_must(exec_prepare(p, &err), &err);
        assert_int_equal(nodes_with(&t, p, of_isa("winograd")), what == 0 ? 2 : 0);
        assert_true(what == 0 || nodes_with(&t, p, of_isa("direct")) == 3);
        exec_destroy(&p);
    }
    gt_end(&t);
    pool_destroy(&pool);
}

static void memory_runs_short(void **state) {
    (void)state;
    struct gt t;
    struct cohort_error err;
    struct kernel_choice items[NODES];
    struct pool *pool = test_pool_of(1);
    struct program *own = NULL;
    int slots[256];
    long calls = 0;
    make(&t);
    const struct kernel_choices choices = {items, name_kernels(&t, of_isa("winograd"), items)};
    for (long nth = 0; nth <= calls; nth++) {
        struct program *rival = NULL;
        test_must(open_program(&own, &t, pool, NULL, 0, NULL, slots, &err), &err);
        long before = mem_alloc_calls();
        mem_fail_at(nth);
        enum cohort_code code = open_program(&rival, &t, pool, &choices, 0, own, slots, &err);
        mem_fail_at(0);
        calls = nth == 0 ? mem_alloc_calls() - before : calls;
        assert_int_equal(code, nth == 0 ? COHORT_OK : COHORT_ERR_MEMORY);
        exec_destroy(nth % 2 == 0 ? &own : &rival);
        exec_destroy(nth % 2 == 0 ? &rival : &own);
    }
    assert_true(calls > 10);
    gt_end(&t);
    pool_destroy(&pool);
}

static int nothing_left(void **state) {
    (void)state;
    return mem_live_blocks() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_shared),
        cmocka_unit_test(every_operator_is_timed),
        cmocka_unit_test(estimates_can_be_wrong),
        cmocka_unit_test(memory_runs_short),
    };
    return cmocka_run_group_tests_name("exec_rival", tests, NULL, nothing_left);
}
