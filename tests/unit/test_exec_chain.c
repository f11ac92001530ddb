/* Chains of operators in strips: the bits of operators one after the other, for any strip, number
 * of threads and range of rows, without an allocation, and in less memory. */
#include "tests/support/graphtest.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"
#include "graph/onnx/onnx.h"
#include "graph/rows.h"
#include "synth/synth.h"
#include "tests/support/testpool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- running --------------------------------------------------------------------------------- */

static struct pool *pool_of(int threads, bool divide) {
    struct pool *pool = test_pool_of(threads);
    if (divide) /* a dilated board cuts the smallest work into pieces */
        pool_set_share(pool, 0.999);
    return pool;
}

/* One operator a node, as on a board that makes rows `out` of the graph's only output. */
static void add_rows(struct program *p, const struct graph *g, struct rows out, int *slot) {
    struct cohort_error err;
    struct rows *need = mem_zalloc((size_t)g->value_count, sizeof *need);
    assert_non_null(need);
    need[g->outputs[0]] = out;
    rows_of_segment(g, 0, g->node_count, need);
    for (int id = 0; id < g->value_count; id++)
        slot[id] = -1;
    test_must(exec_add_slot(p, g->inputs[0], need[g->inputs[0]], 0, g->node_count, true,
                            &slot[g->inputs[0]], &err),
              &err);
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        int in[8], id = n->out[0], last = i;
        for (int j = i + 1; j < g->node_count; j++)
            for (int k = 0; k < g->nodes[j].in_count; k++)
                last = g->nodes[j].in[k] == id ? j : last;
        test_must(exec_add_slot(p, id, need[id], i, last, id == g->outputs[0], &slot[id], &err),
                  &err);
        for (int k = 0; k < n->in_count; k++)
            in[k] = n->in[k] >= 0 && !g->values[n->in[k]].is_constant ? slot[n->in[k]] : -1;
        test_must(exec_add_op(p, i, need[id], in, &slot[id], NULL, &err), &err);
    }
    exec_range_ends(p);
    mem_free(need);
}

struct outcome {
    char *data; /* of the rows asked for */
    size_t bytes;
    int chained;
    struct exec_memory memory;
};

/* Memory begins full of NaNs; a second run gives the same bits and allocates nothing. */
static struct outcome run(const struct graph *g, struct pool *pool, struct rows out,
                          struct exec_options options) {
    struct cohort_error err;
    struct outcome o = {0};
    struct program *p = NULL;
    struct tensor in = {0};
    const struct value *v = graph_value(g, g->inputs[0]);
    uint64_t state = 5;
    int *slot = mem_zalloc((size_t)g->value_count, sizeof *slot);
    test_must(exec_create(&p, g, pool, &options, &err), &err);
    add_rows(p, g, out, slot);
    test_must(exec_prepare(p, &err), &err);
    memset(p->arena, 0xff, p->arena_bytes);
    memset(p->strips, 0xff, p->strip_stride * (size_t)pool_threads(pool));
    test_must(tensor_init(&in, v->type, &v->shape, &err), &err);
    for (int64_t i = 0; i < shape_count(&v->shape); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tensor_f32(&in)[i] = (float)((double)(state >> 40) * 0x1p-23 - 1.0);
    }
    o.bytes = exec_slot_bytes(p, slot[g->outputs[0]]);
    o.data = mem_alloc(o.bytes);
    assert_non_null(o.data);
    for (int round = 0; round < 2; round++) {
        long calls = mem_alloc_calls();
        test_must(exec_slot_store(p, slot[g->inputs[0]], &in, &err), &err);
        test_must(exec_run(p, 0, exec_op_count(p), &err), &err);
        assert_int_equal(mem_alloc_calls(), calls);
        const void *now = exec_slot_data(p, slot[g->outputs[0]]);
        if (round > 0)
            assert_memory_equal(o.data, now, o.bytes);
        memcpy(o.data, now, o.bytes);
    }
    o.chained = exec_chained(p);
    o.memory = exec_memory(p);
    tensor_release(&in);
    exec_destroy(&p);
    mem_free(slot);
    return o;
}

/* ---- networks -------------------------------------------------------------------------------- */

static int conv(struct gt *t, int x, int in_c, int out_c, int kernel, const char *attrs) {
    return gt_node(t, "Conv", attrs, 3, x, gt_random(t, DIMS(out_c, in_c, kernel, kernel)),
                   gt_random(t, DIMS(out_c)));
}

static int batchnorm(struct gt *t, int x, int c) {
    return gt_node(t, "BatchNormalization", "", 5, x, gt_random(t, DIMS(c)), gt_random(t, DIMS(c)),
                   gt_random(t, DIMS(c)), gt_positive(t, DIMS(c)));
}

/* Channels and last map of a network that grows. */
struct head {
    int x, channels, size;
};

static void grow(struct gt *t, struct head *h) {
    int wide = (int)gt_pick(t, 1, 3) * 16, x = h->x, old = h->x;
    switch (gt_pick(t, 0, 7)) {
    case 0: /* an inverted residual */
        x = gt_node(t, "Relu", "", 1, conv(t, x, h->channels, wide, 1, ""));
        x = gt_node(t, "Conv",
                    wide == 16   ? "group=16 pads=1,1,1,1"
                    : wide == 32 ? "group=32 pads=1,1,1,1"
                                 : "group=48 pads=1,1,1,1",
                    2, x, gt_random(t, DIMS(wide, 1, 3, 3)));
        x = conv(t, gt_node(t, "Relu", "", 1, x), wide, h->channels, 1, "");
        h->x = gt_node(t, "Add", "", 2, x, old);
        return;
    case 1: /* what Winograd takes */
        h->x = gt_node(t, "Relu", "", 1, conv(t, x, h->channels, wide, 3, "pads=1,1,1,1"));
        h->channels = wide;
        return;
    case 2:
        h->x = conv(t, x, h->channels, wide, 3, "pads=1,0,0,1 strides=2,1");
        h->channels = wide;
        h->size = (h->size - 2) / 2 + 1;
        h->x = gt_node(t, "Pad", "", 2, h->x, gt_list(t, 8, 0, 0, 0, 0, 0, 0, 0, 0));
        return;
    case 3:
        h->x = gt_node(t, "MaxPool", "kernel_shape=3,3 pads=1,1,1,1", 1, x);
        return;
    case 4:
        h->x = gt_node(t, "AveragePool", "kernel_shape=2,3 pads=0,1,1,1", 1, x);
        return;
    case 5: /* before a convolution, so that it stays */
        x = gt_node(t, "Relu", "", 1,
                    batchnorm(t, gt_node(t, "MaxPool", "kernel_shape=1,1", 1, x), h->channels));
        h->x = conv(t, x, h->channels, wide, 1, "");
        h->channels = wide;
        return;
    case 6: /* squeeze-and-excite: the convolution takes the factors */
        x = gt_node(t, "Sigmoid", "", 1, gt_node(t, "GlobalAveragePool", "", 1, x));
        h->x = conv(t, gt_node(t, "Mul", "", 2, x, old), h->channels, wide, 1, "");
        h->channels = wide;
        return;
    default:
        h->x = gt_node(t, "Sigmoid", "", 1,
                       conv(t, x, h->channels, wide, 3, "pads=2,2,2,2 dilations=2,2"));
        h->channels = wide;
    }
}

static void make(struct gt *t, uint64_t seed) {
    gt_begin(t, 13);
    t->seed = seed;
    struct head h = {.channels = 3, .size = 24};
    h.x = gt_input(t, "x", DIMS(1, 3, 24, 15));
    h.x = conv(t, h.x, 3, 16, 3, "pads=1,1,1,1");
    h.channels = 16;
    for (int k = (int)gt_pick(t, 2, 6); k > 0; k--)
        grow(t, &h);
    gt_output(t, conv(t, h.x, h.channels, 5, 1, ""));
    struct cohort_error err;
    test_must(graph_finish(t->g, &(struct pass_options){0}, &err), &err);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_same_bits(void **state) {
    (void)state;
    int chained = 0;
    for (int threads = 1; threads <= 4; threads++) {
        struct pool *pool = pool_of(threads, true);
        for (uint64_t seed = 1; seed <= 24; seed++) {
            struct gt t;
            make(&t, seed);
            int64_t height = value_rows(graph_value(t.g, t.g->outputs[0]));
            struct rows all = {0, height}, some = {gt_pick(&t, 0, height - 1), height};
            some.end = gt_pick(&t, some.begin + 1, height);
            struct outcome want = run(t.g, pool, all, (struct exec_options){0});
            size_t row = want.bytes / (size_t)height;
            assert_int_equal(want.chained, 0);
            for (int64_t strip = 1; strip <= 9; strip += strip < 3 ? 1 : 3) {
                struct exec_options o = {.strip_rows = strip};
                struct outcome got = run(t.g, pool, all, o), part = run(t.g, pool, some, o);
                assert_int_equal(got.bytes, want.bytes);
                assert_memory_equal(got.data, want.data, want.bytes);
                assert_int_equal(part.bytes, row * (size_t)rows_count(some));
                assert_memory_equal(part.data, want.data + row * (size_t)some.begin, part.bytes);
                chained += got.chained;
                mem_free(got.data);
                mem_free(part.data);
            }
            mem_free(want.data);
            gt_end(&t);
        }
        pool_destroy(&pool);
    }
    assert_true(chained > 1000);
}

/* A wide map between two narrow ones: by its size, and by the caches. */
static void test_where_it_pays(void **state) {
    (void)state;
    struct gt t;
    struct cohort_error err;
    struct pool *pool = pool_of(1, false);
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 16, 64, 32));
    x = gt_node(&t, "Relu", "", 1, conv(&t, x, 16, 96, 1, "")); /* 768 KB */
    x = gt_node(&t, "Conv", "group=96 pads=1,1,1,1", 2, x, gt_random(&t, DIMS(96, 1, 3, 3)));
    x = conv(&t, gt_node(&t, "Relu", "", 1, x), 96, 16, 1, "");
    gt_output(&t, conv(&t, x, 16, 16, 3, "pads=1,1,1,1"));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &err), &err);
    struct rows all = {0, 64};
    struct outcome plain = run(t.g, pool, all, (struct exec_options){0});
    struct outcome strips = run(t.g, pool, all, (struct exec_options){.cache_bytes = 512 << 10});
    struct outcome large = run(t.g, pool, all, (struct exec_options){.cache_bytes = 4 << 20});
    struct outcome tiny = run(t.g, pool, all, (struct exec_options){.cache_bytes = 16 << 10});
    assert_int_equal(strips.chained, 3);
    assert_int_equal(large.chained, 0); /* everything stays in the cache */
    assert_int_equal(tiny.chained, 0);  /* not even a strip does */
    assert_true(strips.memory.arena_bytes < plain.memory.arena_bytes / 4);
    assert_true(strips.memory.workspace_bytes - plain.memory.workspace_bytes <= 384 << 10);
    assert_memory_equal(strips.data, plain.data, plain.bytes);
    mem_free(plain.data);
    mem_free(strips.data);
    mem_free(large.data);
    mem_free(tiny.data);
    gt_end(&t);
    pool_destroy(&pool);
}

/* A chain does not reach over the end of what is run at once, nor over a map that somebody else
 * wants: here each of the two is in the middle. */
static void test_borders(void **state) {
    (void)state;
    for (int what = 0; what < 3; what++) {
        struct gt t;
        struct cohort_error err;
        struct program *p = NULL;
        int slot[64];
        struct pool *pool = pool_of(2, false);
        struct exec_options o = {.strip_rows = 4};
        gt_begin(&t, 13);
        int x = gt_input(&t, "x", DIMS(1, 16, 20, 20));
        int a = conv(&t, x, 16, 16, 3, "pads=1,1,1,1");
        int b = conv(&t, a, 16, 32, 1, "");
        int c = conv(&t, b, 32, 16, 1, "");
        if (what == 1) /* b is read twice */
            c = gt_node(&t, "Concat", "axis=1", 2, c, b);
        gt_output(&t, c);
        test_must(graph_finish(t.g, &(struct pass_options){0}, &err), &err);
        assert_true(t.g->value_count <= 64);
        test_must(exec_create(&p, t.g, pool, &o, &err), &err);
        test_must(exec_add_graph(p, 0, slot, &err), &err);
        if (what == 2)
            p->ops[1].ends_range = true;
        test_must(exec_prepare(p, &err), &err);
        assert_int_equal(exec_chained(p), what == 0 ? 3 : 2);
        exec_destroy(&p);
        gt_end(&t);
        pool_destroy(&pool);
    }
}

/* Whole networks: no more memory than without, and the same answer. */
static void test_networks(void **state) {
    (void)state;
    static const char *const names[] = {"mobilenetv2", "densenet121", "efficientnet_b0", "vgg11",
                                        "resnet18"};
    struct pool *pool = pool_of(2, false);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[] = "/tmp/cohort-test-XXXXXX";
        int fd = mkstemp(path);
        struct cohort_error err;
        struct graph *g = NULL;
        struct synth_options o = {.size = 96, .width = 0.5, .classes = 10, .seed = 3};
        assert_true(fd >= 0);
        close(fd);
        test_must(synth_write(names[i], &o, path, &err), &err);
        test_must(onnx_load(&g, path, &err), &err);
        test_must(graph_finish(g, &(struct pass_options){0}, &err), &err);
        const struct value *in = graph_value(g, g->inputs[0]);
        struct tensor x = {0}, want = {0}, got = {0};
        test_must(tensor_init(&x, in->type, &in->shape, &err), &err);
        for (int64_t k = 0; k < shape_count(&x.shape); k++)
            tensor_f32(&x)[k] = (float)(k * 37 % 101) / 50 - 1;
        struct exec_options plain = {0}, strips = {.cache_bytes = 96 << 10};
        test_must(exec_run_graph(g, pool, &plain, 0, &x, &want, &err), &err);
        test_must(exec_run_graph(g, pool, &strips, 0, &x, &got, &err), &err);
        assert_memory_equal(want.data, got.data, tensor_bytes(&want));
        size_t arena[2];
        int chained = 0;
        for (int k = 0; k < 2; k++) {
            struct program *p = NULL;
            int *slots = mem_zalloc((size_t)g->value_count, sizeof *slots);
            test_must(exec_create(&p, g, pool, k ? &strips : &plain, &err), &err);
            test_must(exec_add_graph(p, 0, slots, &err), &err);
            test_must(exec_prepare(p, &err), &err);
            arena[k] = exec_memory(p).arena_bytes;
            chained = exec_chained(p);
            exec_destroy(&p);
            mem_free(slots);
        }
        print_message("%-12s %d operators in chains, arena %zu instead of %zu\n", names[i], chained,
                      arena[1], arena[0]);
        assert_true(arena[1] <= arena[0]);
        assert_true(i > 2 || chained > 0);
        tensor_release(&x);
        tensor_release(&want);
        tensor_release(&got);
        graph_destroy(&g);
        unlink(path);
    }
    pool_destroy(&pool);
}

/* Every allocation of getting ready fails once. */
static void test_memory_runs_short(void **state) {
    (void)state;
    struct gt t;
    struct pool *pool = pool_of(2, false);
    long calls = 0;
    make(&t, 3);
    long live = mem_live_blocks();
    for (long nth = 0; nth <= calls; nth++) {
        struct cohort_error err;
        struct program *p = NULL;
        struct exec_options o = {.strip_rows = 2};
        int slot[256];
        assert_true(t.g->value_count <= 256);
        test_must(exec_create(&p, t.g, pool, &o, &err), &err);
        test_must(exec_add_graph(p, 0, slot, &err), &err);
        long before = mem_alloc_calls();
        mem_fail_at(nth);
        enum cohort_code code = exec_prepare(p, &err);
        mem_fail_at(0);
        calls = nth == 0 ? mem_alloc_calls() - before : calls;
        assert_int_equal(code, nth == 0 ? COHORT_OK : COHORT_ERR_MEMORY);
        exec_destroy(&p);
        assert_int_equal(mem_live_blocks(), live);
    }
    gt_end(&t);
    pool_destroy(&pool);
}

static int nothing_left(void **state) {
    (void)state;
    return mem_live_blocks() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),         cmocka_unit_test(test_where_it_pays),
        cmocka_unit_test(test_borders),           cmocka_unit_test(test_networks),
        cmocka_unit_test(test_memory_runs_short),
    };
    return cmocka_run_group_tests_name("exec_chain", tests, NULL, nothing_left);
}
