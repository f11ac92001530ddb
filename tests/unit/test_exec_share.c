/* Slots that share memory: channels that Concat, Split and Slice put together or take apart give
 * the bits of slots that lie alone, whole and in tiles, and need no more memory. */
#include "tests/support/graphtest.h"
#include "tests/support/testmap.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"
#include "graph/onnx/onnx.h"
#include "synth/synth.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What one run gave, and how. */
struct outcome {
    struct tensor outputs[4];
    struct exec_memory memory;
    int free, moves; /* operators that had nothing to do, of those that only move channels */
};

static bool moves_channels(const struct node *n) {
    return strcmp(n->op->name, "Concat") == 0 || strcmp(n->op->name, "Split") == 0 ||
           strcmp(n->op->name, "Slice") == 0;
}

/* The arena begins full of NaNs: whatever is read without having been written shows. */
static void run(const struct graph *g, bool own_buffers, int64_t tile, struct outcome *o) {
    struct cohort_error err;
    struct program *p = NULL;
    struct exec_options options = {.own_buffers = own_buffers};
    struct random r = {77};
    int *slots = mem_zalloc((size_t)g->value_count, sizeof *slots);
    assert_non_null(slots);
    assert_true(g->output_count <= 4);
    *o = (struct outcome){0};
    test_must(exec_create(&p, g, test_pool, &options, &err), &err);
    test_must(exec_add_graph(p, tile, slots, &err), &err);
    test_must(exec_prepare(p, &err), &err);
    memset(p->arena, 0xff, p->arena_bytes);
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        struct tensor in = {0};
        test_must(tensor_init(&in, v->type, &v->shape, &err), &err);
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_f32(&in)[k] = random_float(&r);
        test_must(exec_slot_store(p, slots[g->inputs[i]], &in, &err), &err);
        tensor_release(&in);
    }
    for (int i = 0; i < exec_op_count(p); i++) {
        o->free += strcmp(exec_op_kernel(p, i), "free") == 0;
        o->moves += moves_channels(&g->nodes[p->ops[i].node]);
    }
    test_must(exec_run(p, 0, exec_op_count(p), &err), &err);
    for (int i = 0; i < g->output_count; i++)
        test_must(exec_slot_fetch(p, slots[g->outputs[i]], &o->outputs[i], &err), &err);
    o->memory = exec_memory(p);
    exec_destroy(&p);
    mem_free(slots);
}

static void release(struct outcome *o) {
    for (int i = 0; i < 4; i++)
        tensor_release(&o->outputs[i]);
}

static void same_bits(const struct outcome *a, const struct outcome *b) {
    for (int i = 0; i < 4; i++) {
        assert_int_equal(tensor_bytes(&a->outputs[i]), tensor_bytes(&b->outputs[i]));
        if (a->outputs[i].data != NULL)
            assert_memory_equal(a->outputs[i].data, b->outputs[i].data,
                                tensor_bytes(&a->outputs[i]));
    }
}

static bool any_nan(const struct outcome *o) {
    for (int i = 0; i < 4; i++)
        for (int64_t k = 0; o->outputs[i].data != NULL && k < shape_count(&o->outputs[i].shape);
             k++)
            if (isnan(tensor_f32(&o->outputs[i])[k]))
                return true;
    return false;
}

/* Alone, shared, and shared in tiles.  `shared` is for the caller. */
static void check(const struct graph *g, struct outcome *shared) {
    struct outcome alone, tiles;
    run(g, true, 0, &alone);
    run(g, false, 0, shared);
    assert_int_equal(alone.free, 0);
    assert_false(any_nan(&alone));
    same_bits(&alone, shared);
    for (int64_t tile = 1; tile <= 5; tile += 2) {
        run(g, false, tile, &tiles);
        same_bits(&alone, &tiles);
        release(&tiles);
    }
    release(&alone);
    release(shared);
}

/* ---- known networks -------------------------------------------------------------------------- */

static int conv(struct gt *t, int x, int in, int out) {
    char attrs[] = "pads=1,1,1,1";
    return gt_node(t, "Conv", attrs, 2, x, gt_random(t, DIMS(out, in, 3, 3)));
}

/* Each layer reads a Concat of all before it, written as lists or as a chain: nothing is copied. */
static void dense_block(bool chain) {
    struct gt t;
    struct outcome shared;
    gt_begin(&t, 13);
    int x = conv(&t, gt_input(&t, "x", DIMS(1, 3, 9, 7)), 3, 32), all[6] = {x};
    for (int i = 1; i < 6; i++) {
        all[i] = conv(&t, gt_node(&t, "Relu", "", 1, x), 16 + 16 * i, 16);
        x = chain    ? gt_node(&t, "Concat", "axis=1", 2, x, all[i])
            : i == 1 ? gt_node(&t, "Concat", "axis=1", 2, all[0], all[1])
            : i == 2 ? gt_node(&t, "Concat", "axis=1", 3, all[0], all[1], all[2])
            : i == 3 ? gt_node(&t, "Concat", "axis=1", 4, all[0], all[1], all[2], all[3])
            : i == 4 ? gt_node(&t, "Concat", "axis=1", 5, all[0], all[1], all[2], all[3], all[4])
                     : gt_node(&t, "Concat", "axis=1", 6, all[0], all[1], all[2], all[3], all[4],
                               all[5]);
    }
    gt_output(&t, conv(&t, x, 112, 5));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    check(t.g, &shared);
    assert_int_equal(shared.free, 5);
    assert_int_equal(shared.moves, 5);
    gt_end(&t);
}

static void dense_blocks(void **state) {
    (void)state;
    dense_block(false);
    dense_block(true);
}

/* Split, work on one part, Concat: the parts are views, and the new half needs no copy. */
static void split_and_join(void **state) {
    (void)state;
    struct gt t;
    struct outcome shared;
    int half[2];
    gt_begin(&t, 11);
    int x = conv(&t, gt_input(&t, "x", DIMS(2, 3, 6, 5)), 3, 64);
    gt_node_outputs(&t, "Split", "axis=1 split=32,32", 2, half, 1, x);
    int y = gt_node(&t, "Concat", "axis=1", 2, half[0], conv(&t, half[1], 32, 32));
    gt_output(&t, conv(&t, y, 64, 20));
    gt_output(&t, conv(&t,
                       gt_node(&t, "Slice", "", 4, y, gt_list(&t, 1, 16), gt_list(&t, 1, 48),
                               gt_list(&t, 1, 1)),
                       32, 20));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    check(t.g, &shared);
    assert_int_equal(shared.moves, 3);
    assert_int_equal(shared.free, 2); /* Concat copies the half that lies with the other */
    gt_end(&t);
}

/* What cannot lie in place: channels that begin within a block, one value twice, values of the
 * caller. */
static void copies(void **state) {
    (void)state;
    struct gt t;
    struct outcome shared;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 16, 5, 6));
    int a = conv(&t, x, 16, 24), b = conv(&t, x, 16, 32), c = conv(&t, x, 16, 20);
    gt_output(&t, conv(&t, gt_node(&t, "Concat", "axis=1", 3, b, a, c), 76, 17));
    gt_output(&t, conv(&t, gt_node(&t, "Concat", "axis=1", 2, b, b), 64, 17));
    gt_output(&t, gt_node(&t, "Concat", "axis=1", 2, x, b));
    gt_output(&t, conv(&t, gt_node(&t, "Concat", "axis=1", 2, a, c), 44, 3));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    check(t.g, &shared);
    assert_int_equal(shared.moves, 4);
    assert_int_equal(shared.free, 0);
    gt_end(&t);
}

/* A long-lived skip that would hold its partner's room all the time is copied instead. */
static void memory_first(void **state) {
    (void)state;
    struct gt t;
    struct outcome alone, shared;
    gt_begin(&t, 13);
    int skip = conv(&t, gt_input(&t, "x", DIMS(1, 3, 8, 8)), 3, 16);
    int deep = conv(&t, conv(&t, skip, 16, 208), 208, 208);
    int up = conv(&t, gt_node(&t, "MaxPool", "kernel_shape=1,1", 1, deep), 208, 160);
    gt_output(&t, conv(&t, gt_node(&t, "Concat", "axis=1", 2, skip, up), 176, 4));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    run(t.g, true, 0, &alone);
    run(t.g, false, 0, &shared);
    same_bits(&alone, &shared);
    assert_int_equal(shared.free, 0);
    assert_true(shared.memory.arena_bytes <= alone.memory.arena_bytes);
    release(&alone);
    release(&shared);
    gt_end(&t);
}

/* Generated networks, wide enough: every Concat of channels in whole blocks is free, and memory
 * does not grow. */
static void networks(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int concats;
    } nets[] = {{"densenet121", 58}, {"googlenet", 9}, {"squeezenet1.1", 8}, {"inceptionv3", 15}};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        char path[] = "/tmp/cohort-test-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        struct cohort_error err;
        struct graph *g = NULL;
        struct outcome alone, shared;
        struct synth_options o = {
            .size = i == 3 ? 96 : 64, .width = i == 0 ? 0.5 : 1, .classes = 10, .seed = 3};
        test_must(synth_write(nets[i].name, &o, path, &err), &err);
        test_must(onnx_load(&g, path, &err), &err);
        test_must(graph_finish(g, &(struct pass_options){0}, &err), &err);
        run(g, true, 0, &alone);
        run(g, false, 0, &shared);
        same_bits(&alone, &shared);
        print_message("%-14s arena %zu alone, %zu shared; %d of %d free\n", nets[i].name,
                      alone.memory.arena_bytes, shared.memory.arena_bytes, shared.free,
                      shared.moves);
        assert_int_equal(shared.moves, nets[i].concats);
        assert_int_equal(shared.free, nets[i].concats);
        assert_true(shared.memory.arena_bytes <= alone.memory.arena_bytes);
        release(&alone);
        release(&shared);
        graph_destroy(&g);
        unlink(path);
    }
}

/* ---- random networks ------------------------------------------------------------------------- */

#define VALUES_MAX 24

struct net {
    struct gt t;
    int id[VALUES_MAX], channels[VALUES_MAX], count;
};

static void add(struct net *n, int id, int channels) {
    if (n->count < VALUES_MAX && channels <= 200) {
        n->id[n->count] = id;
        n->channels[n->count++] = channels;
    }
}

static int pick(struct net *n, int low, int high) {
    return (int)gt_pick(&n->t, low, high);
}

static void add_concat(struct net *n) {
    int k[3], sum = 0;
    for (int i = 0; i < 3; i++)
        sum += n->channels[k[i] = pick(n, n->count > 6 ? n->count - 6 : 0, n->count - 1)];
    if (pick(n, 0, 1))
        add(n, gt_node(&n->t, "Concat", "axis=1", 3, n->id[k[0]], n->id[k[1]], n->id[k[2]]), sum);
    else
        add(n, gt_node(&n->t, "Concat", "axis=1", 2, n->id[k[0]], n->id[k[1]]),
            sum - n->channels[k[2]]);
}

static void add_split(struct net *n) {
    int i = pick(n, 0, n->count - 1), c = n->channels[i], out[2];
    int at = pick(n, 0, 2) == 0 ? pick(n, 1, c - 1) : c / 32 * 16;
    if (at < 1 || at >= c)
        return;
    char attrs[60];
    snprintf(attrs, sizeof attrs, "axis=1 split=%d,%d", at, c - at);
    gt_node_outputs(&n->t, "Split", attrs, 2, out, 1, n->id[i]);
    add(n, out[0], at);
    add(n, out[1], c - at);
}

static void add_slice(struct net *n) {
    int i = pick(n, 0, n->count - 1), c = n->channels[i], from = pick(n, 0, c / 16) * 16;
    int to = pick(n, 0, 1) ? c : from + 16;
    if (from >= to || to > c)
        return;
    struct gt *t = &n->t;
    add(n,
        gt_node(t, "Slice", "", 4, n->id[i], gt_list(t, 1, from), gt_list(t, 1, to),
                gt_list(t, 1, 1)),
        to - from);
}

static void add_work(struct net *n) {
    static const int sizes[] = {16, 32, 16, 48, 8, 20, 24};
    int i = pick(n, 0, n->count - 1), out = sizes[pick(n, 0, 6)];
    struct gt *t = &n->t;
    switch (pick(n, 0, 5)) {
    case 0:
        add(n, gt_node(t, "MaxPool", "kernel_shape=3,3 pads=1,1,1,1", 1, n->id[i]), n->channels[i]);
        break;
    case 1:
        add(n, gt_node(t, "Sigmoid", "", 1, n->id[i]), n->channels[i]);
        break;
    case 2:
        add(n, gt_node(t, "Add", "", 2, n->id[i], n->id[i]), n->channels[i]);
        break;
    default:
        add(n, conv(t, n->id[i], n->channels[i], out), out);
    }
}

static void random_networks(void **state) {
    (void)state;
    int free_ops = 0, moves = 0;
    for (int round = 0; round < 150; round++) {
        struct net n = {0};
        struct outcome shared;
        gt_begin(&n.t, 11);
        n.t.seed = (uint64_t)round * 977 + 5;
        int images = pick(&n, 1, 2), height = pick(&n, 1, 7), width = pick(&n, 1, 6);
        add(&n, gt_input(&n.t, "x", DIMS(images, 16, height, width)), 16);
        for (int steps = pick(&n, 4, 14); steps > 0; steps--)
            switch (pick(&n, 0, 7)) {
            case 0:
            case 1:
                add_concat(&n);
                break;
            case 2:
                add_split(&n);
                break;
            case 3:
                add_slice(&n);
                break;
            default:
                add_work(&n);
            }
        int outs = 0;
        for (int i = n.count - 1; i > 0 && outs < 3; i--, outs++)
            gt_output(&n.t, conv(&n.t, n.id[i], n.channels[i], 18));
        if (n.count > 1)
            gt_output(&n.t, n.id[n.count - 1]);
        if (outs == 0)
            gt_output(&n.t, conv(&n.t, n.id[0], 16, 18));
        gt_same_after_finish(&n.t, 1e-4);
        check(n.t.g, &shared);
        free_ops += shared.free;
        moves += shared.moves;
        gt_end(&n.t);
    }
    print_message("%d of %d operators that move channels are free\n", free_ops, moves);
    assert_true(free_ops > 50 && free_ops < moves);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_blocks), cmocka_unit_test(split_and_join),
        cmocka_unit_test(copies),       cmocka_unit_test(memory_first),
        cmocka_unit_test(networks),     cmocka_unit_test(random_networks),
    };
    return cmocka_run_group_tests_name("exec_share", tests, test_pool_start, test_pool_stop);
}
