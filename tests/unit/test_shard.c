/* Operators divided by channels: parts put together are the whole, bit by bit where a part makes
 * some of the output's channels, to rounding where it reads some of the input's; with every kernel;
 * and what cannot be divided says so. */
#include "tests/support/graphtest.h"
#include "tests/support/testmap.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "exec/exec.h"
#include "graph/shard.h"
#include "kernels/kernel.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PARTS_MOST 4

/* ---- running parts --------------------------------------------------------------------------- */

/* A program over a shard, all slots of which live all the time. */
struct bench {
    struct shard *shard;
    struct program *program;
    int *nodes, node_count; /* to be run, in this order */
    struct cohort_error err;
};

static void bench_begin(struct bench *b, const struct graph *g) {
    *b = (struct bench){0};
    b->nodes = mem_alloc(256 * sizeof *b->nodes);
    assert_non_null(b->nodes);
    test_must(shard_create(&b->shard, g, &b->err), &b->err);
}

static void bench_end(struct bench *b) {
    exec_destroy(&b->program);
    shard_destroy(&b->shard);
    mem_free(b->nodes);
}

static void bench_program(struct bench *b, const char *kernel) {
    struct exec_options o = {.kernel = kernel};
    test_must(shard_fetch(b->shard, &b->err), &b->err);
    test_must(exec_create(&b->program, shard_graph(b->shard), test_pool, &o, &b->err), &b->err);
}

static int add_slot(struct bench *b, int id) {
    int slot;
    struct rows all = {0, value_rows(graph_value(shard_graph(b->shard), id))};
    test_must(exec_add_slot(b->program, id, all, 0, 1000, true, &slot, &b->err), &b->err);
    return slot;
}

/* The operator with these slots of its values; -1: none yet. */
static void add_op(struct bench *b, int node, int *slots) {
    const struct graph *g = shard_graph(b->shard);
    const struct node *n = &g->nodes[node];
    int in[8], out[4];
    struct rows rows = {0, value_rows(node_out(g, n, 0))};
    for (int i = 0; i < n->in_count; i++) {
        const struct value *v = node_in(g, n, i);
        if (v != NULL && !v->is_constant && slots[n->in[i]] < 0)
            slots[n->in[i]] = add_slot(b, n->in[i]);
        in[i] = v != NULL && !v->is_constant ? slots[n->in[i]] : -1;
    }
    for (int i = 0; i < n->out_count; i++) {
        if (slots[n->out[i]] < 0)
            slots[n->out[i]] = add_slot(b, n->out[i]);
        out[i] = slots[n->out[i]];
    }
    test_must(exec_add_op(b->program, node, rows, in, out, NULL, &b->err), &b->err);
}

static int *new_slots(const struct bench *b) {
    const int count = shard_graph(b->shard)->value_count;
    int *slots = mem_alloc((size_t)count * sizeof *slots);
    assert_non_null(slots);
    for (int i = 0; i < count; i++)
        slots[i] = -1;
    return slots;
}

/* Random, the same for the same value each time. */
static void store_input(struct bench *b, int id, int slot, bool magnitudes) {
    const struct value *v = graph_value(shard_graph(b->shard), id);
    struct random r = {(uint64_t)id * 77 + 1};
    struct tensor t = {0};
    test_must(tensor_init(&t, DT_F32, &v->shape, &b->err), &b->err);
    for (int64_t i = 0; i < shape_count(&v->shape); i++) {
        float f = random_float(&r);
        tensor_f32(&t)[i] = magnitudes ? fabsf(f) : f;
    }
    test_must(exec_slot_store(b->program, slot, &t, &b->err), &b->err);
    tensor_release(&t);
}

static void fetch(struct bench *b, int slot, struct tensor *t) {
    *t = (struct tensor){0};
    test_must(exec_slot_fetch(b->program, slot, t, &b->err), &b->err);
}

/* ---- cases ----------------------------------------------------------------------------------- */

/* Parts of `count` channels whose borders are multiples of `step`. */
static int random_parts(struct random *r, int64_t count, int64_t step, struct channels *parts) {
    int64_t units = count / step, at = 0;
    int n = 0;
    const int want = random_int(r, 1, PARTS_MOST);
    while (n < want - 1 && at + 1 < units) {
        int64_t next = at + random_int(r, 1, (int)(units - at - 1));
        parts[n++] = (struct channels){at * step, next * step};
        at = next;
    }
    parts[n++] = (struct channels){at * step, count};
    return n;
}

static bool is_lane(const struct value *v, int64_t i, struct channels c, int64_t *at) {
    const int axis = v->form == FORM_MAP ? 1 : v->shape.rank - 1;
    const int64_t inner = shape_product(&v->shape, axis + 1, v->shape.rank);
    const int64_t count = v->shape.dim[axis], ch = i / inner % count, outer = i / inner / count;
    if (ch < c.begin || ch >= c.end)
        return false;
    *at = (outer * (c.end - c.begin) + ch - c.begin) * inner + i % inner;
    return true;
}

static bool uses_blas(const struct program *p) {
    for (int i = 0; i < exec_op_count(p); i++)
        if (strstr(exec_op_kernel(p, i), "blas") != NULL)
            return true;
    return false;
}

/* Sums in BLAS may be put together otherwise. */
static double same_tolerance(const struct program *p) {
    return uses_blas(p) ? 1e-5 : 0;
}

/* Every part's channels are those of the whole. */
static void check_outputs(const struct graph *g, int node, enum shard_mode mode, int64_t step,
                          const char *kernel, struct random *r) {
    const struct node *n = &g->nodes[node];
    struct channels parts[PARTS_MOST];
    int part_nodes[PARTS_MOST], slices[PARTS_MOST];
    const int count = random_parts(r, shard_channels(g, n->out[0]), step, parts);
    struct bench b;
    bench_begin(&b, g);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < n->in_count; k++) {
            struct channels in = parts[i];
            const struct value *v = node_in(g, n, k);
            if (v == NULL || v->is_constant || (mode == SHARD_OUT && k != n->epilogue.residual))
                continue;
            if (k == 0)
                test_must(shard_input(g, n, mode, parts[i], &in, &b.err), &b.err);
            if (in.end - in.begin == shard_channels(g, n->in[k]) || shard_channels(g, n->in[k]) < 2)
                continue;
            test_must(shard_take(b.shard, n->in[k], in, &b.nodes[b.node_count++], &b.err), &b.err);
        }
        test_must(shard_divide(b.shard, node, mode, parts[i], &part_nodes[i], &b.err), &b.err);
        b.nodes[b.node_count++] = part_nodes[i];
        test_must(shard_slice(b.shard, n->out[0], parts[i], &slices[i], &b.err), &b.err);
    }
    bench_program(&b, kernel);
    int *slots = new_slots(&b);
    if (count > 1 || part_nodes[0] != node)
        add_op(&b, node, slots);
    int whole_slot = slots[n->out[0]];
    slots[n->out[0]] = -1; /* one part may be the whole */
    for (int i = 0; i < b.node_count; i++)
        add_op(&b, b.nodes[i], slots);
    test_must(exec_prepare(b.program, &b.err), &b.err);
    for (int k = 0; k < n->in_count; k++)
        if (n->in[k] >= 0 && !g->values[n->in[k]].is_constant)
            store_input(&b, n->in[k], slots[n->in[k]], false);
    test_must(exec_run(b.program, 0, exec_op_count(b.program), &b.err), &b.err);
    const struct value *v = graph_value(g, n->out[0]);
    struct tensor whole, part;
    fetch(&b, whole_slot, &whole);
    for (int i = 0; i < count; i++) {
        int64_t at, seen = 0;
        fetch(&b, slots[slices[i]], &part);
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            if (is_lane(v, k, parts[i], &at)) {
                double x = (double)tensor_f32(&whole)[k], y = (double)tensor_f32(&part)[at];
                seen++;
                if (!(fabs(x - y) <= same_tolerance(b.program) * (1 + fabs(x))))
                    fail_msg("%s, kernel %s, channels %d to %d: %g instead of %g", n->op->name,
                             kernel != NULL ? kernel : "-", (int)parts[i].begin, (int)parts[i].end,
                             y, x);
            }
        assert_int_equal(seen, shape_count(&part.shape));
        tensor_release(&part);
    }
    tensor_release(&whole);
    /* only the slice was packed, in whole pairs of blocks */
    for (int i = 0; i < count && mode == SHARD_OUT && kernel == NULL; i++) {
        double all = (double)exec_node_weights(b.program, node);
        double share =
            (double)(parts[i].end - parts[i].begin + 31) / (double)shard_channels(g, n->out[0]);
        assert_true((double)exec_node_weights(b.program, part_nodes[i]) <= all * share);
    }
    mem_free(slots);
    bench_end(&b);
}

/* What products add up to in magnitude, over all input channels. */
static void sum_magnitudes(const struct graph *g, int node, struct tensor *sums) {
    struct bench b;
    const struct node *n = &g->nodes[node];
    bench_begin(&b, g);
    test_must(shard_divide(b.shard, node, SHARD_IN,
                           (struct channels){0, shard_channels(g, n->in[0])},
                           &b.nodes[b.node_count++], &b.err),
              &b.err);
    bench_program(&b, "generic");
    int *slots = new_slots(&b), partial;
    add_op(&b, b.nodes[0], slots);
    struct tensor *weights[2] = {&g->values[n->in[1]].constant,
                                 n->weight_scale >= 0 ? &g->values[n->weight_scale].constant
                                                      : NULL};
    struct tensor saved[2] = {{0}};
    for (int w = 0; w < 2 && weights[w] != NULL; w++) {
        test_must(tensor_copy(&saved[w], weights[w], &b.err), &b.err);
        for (int64_t i = 0; i < shape_count(&weights[w]->shape); i++)
            tensor_f32(weights[w])[i] = fabsf(tensor_f32(weights[w])[i]);
    }
    test_must(exec_prepare(b.program, &b.err), &b.err); /* packs them */
    for (int w = 0; w < 2 && weights[w] != NULL; w++) {
        memcpy(weights[w]->data, saved[w].data, tensor_bytes(weights[w]));
        tensor_release(&saved[w]);
    }
    for (int k = 0; k < n->in_count; k++)
        if (n->in[k] >= 0 && slots[n->in[k]] >= 0)
            store_input(&b, n->in[k], slots[n->in[k]], true);
    test_must(exec_run(b.program, 0, 1, &b.err), &b.err);
    test_must(shard_partial(b.shard, node, &partial, &b.err), &b.err);
    fetch(&b, slots[partial], sums);
    mem_free(slots);
    bench_end(&b);
}

/* Which nodes make and use part c of what node `node` adds up. */
static void add_addend(struct bench *b, const struct graph *g, int node, enum shard_mode mode,
                       struct channels c, bool take) {
    const struct node *n = &g->nodes[node];
    for (int k = 0; k < n->in_count && take; k++)
        if (n->in[k] >= 0 && !g->values[n->in[k]].is_constant && k != n->epilogue.residual)
            test_must((mode == SHARD_ROWS ? shard_take_rows : shard_take)(
                          b->shard, n->in[k], c, &b->nodes[b->node_count++], &b->err),
                      &b->err);
    test_must(shard_divide(b->shard, node, mode, c, &b->nodes[b->node_count++], &b->err), &b->err);
}

/* The sum of all addends, and then the epilogue: whole, and in slices of the output. */
static void check_inputs(const struct graph *g, int node, enum shard_mode mode, const char *kernel,
                         struct random *r, const struct tensor *magnitudes, int64_t terms) {
    const struct node *n = &g->nodes[node];
    const int64_t outs = shard_channels(g, n->out[0]);
    struct channels parts[PARTS_MOST], out_parts[PARTS_MOST];
    int part_slots[PARTS_MOST], finish_nodes[PARTS_MOST], partial, ops;
    const int count = mode == SHARD_ROWS ? random_parts(r, shard_rows(g, n->in[0]), 1, parts)
                                         : random_parts(r, shard_channels(g, n->in[0]), 16, parts);
    const int out_count = outs >= 32 ? random_parts(r, outs, 16, out_parts) : 1;
    if (out_count == 1)
        out_parts[0] = (struct channels){0, outs};
    struct bench b;
    bench_begin(&b, g);
    test_must(shard_partial(b.shard, node, &partial, &b.err), &b.err);
    for (int i = 0; i < count; i++)
        add_addend(&b, g, node, mode, parts[i], count > 1);
    const int finish_first = b.node_count;
    for (int i = 0; i < out_count; i++) {
        if (n->epilogue.residual >= 0 && out_count > 1)
            test_must(shard_take(b.shard, n->in[n->epilogue.residual], out_parts[i],
                                 &b.nodes[b.node_count++], &b.err),
                      &b.err);
        test_must(shard_finish(b.shard, node, out_parts[i], &finish_nodes[i], &b.err), &b.err);
        b.nodes[b.node_count++] = finish_nodes[i];
    }
    bench_program(&b, kernel);
    int *slots = new_slots(&b), p = 0;
    add_op(&b, node, slots);
    const int whole_slot = slots[n->out[0]];
    slots[n->out[0]] = -1;
    for (int i = 0; i < finish_first; i++) {
        add_op(&b, b.nodes[i], slots);
        if (slots[partial] >= 0)
            part_slots[p++] = slots[partial];
        slots[partial] = -1; /* each part has its own */
    }
    assert_int_equal(p, count);
    ops = exec_op_count(b.program);
    exec_range_ends(b.program);
    for (int i = finish_first; i < b.node_count; i++)
        add_op(&b, b.nodes[i], slots);
    test_must(exec_prepare(b.program, &b.err), &b.err);
    for (int k = 0; k < n->in_count; k++)
        if (n->in[k] >= 0 && slots[n->in[k]] >= 0)
            store_input(&b, n->in[k], slots[n->in[k]], false);
    test_must(exec_run(b.program, 0, ops, &b.err), &b.err);
    struct tensor sum, addend, whole, got;
    fetch(&b, part_slots[0], &sum);
    for (int i = 1; i < count; i++) {
        fetch(&b, part_slots[i], &addend);
        for (int64_t k = 0; k < shape_count(&sum.shape); k++)
            tensor_f32(&sum)[k] += tensor_f32(&addend)[k];
        tensor_release(&addend);
    }
    const struct value *v = graph_value(g, n->out[0]);
    for (int i = 0; i < out_count; i++) {
        int slice, finished;
        test_must(shard_slice(b.shard, partial, out_parts[i], &slice, &b.err), &b.err);
        test_must(shard_slice(b.shard, n->out[0], out_parts[i], &finished, &b.err), &b.err);
        struct tensor some = {0};
        test_must(
            tensor_init(&some, DT_F32, &graph_value(shard_graph(b.shard), slice)->shape, &b.err),
            &b.err);
        int64_t at;
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            if (is_lane(v, k, out_parts[i], &at))
                tensor_f32(&some)[at] = tensor_f32(&sum)[k];
        test_must(exec_slot_store(b.program, slots[slice], &some, &b.err), &b.err);
        tensor_release(&some);
    }
    test_must(exec_run(b.program, ops, exec_op_count(b.program), &b.err), &b.err);
    fetch(&b, whole_slot, &whole);
    for (int i = 0; i < out_count; i++) {
        int finished;
        int64_t at;
        test_must(shard_slice(b.shard, n->out[0], out_parts[i], &finished, &b.err), &b.err);
        fetch(&b, slots[finished], &got);
        for (int64_t k = 0; k < shape_count(&v->shape); k++) {
            if (!is_lane(v, k, out_parts[i], &at))
                continue;
            double x = (double)tensor_f32(&whole)[k], y = (double)tensor_f32(&got)[at];
            /* both round (k + 2) times, relative to the magnitudes and bias and residual, each of
             * at most 1; no activation here has a slope above 1.5. */
            double most = 2 * (double)(terms + 2 + count) * (double)FLT_EPSILON *
                          ((double)tensor_f32(magnitudes)[k] + 2) * 1.5;
            if (!(fabs(x - y) <= most))
                fail_msg("%s, kernel %s, %d parts: %g instead of %g, further than %g", n->op->name,
                         kernel != NULL ? kernel : "-", count, y, x, most);
        }
        tensor_release(&got);
    }
    tensor_release(&sum);
    tensor_release(&whole);
    mem_free(slots);
    bench_end(&b);
}

/* With every kernel that there is, and with Cohort's own choice. */
static void each_kernel(struct gt *t, const char *op, enum shard_mode mode, int64_t step) {
    const char *names[128];
    const int count = kernel_names(names, 128);
    struct random r = {(uint64_t)step + 99};
    gt_output(t, (int)(t->g->nodes[t->g->node_count - 1].out[0]));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
    const struct graph *g = t->g;
    const int node = (int)(gt_find(t, op) - g->nodes);
    struct tensor magnitudes = {0};
    for (int i = -2; i < count; i++)
        check_outputs(g, node, mode, step, i < 0 ? NULL : names[i], &r);
    if (mode == SHARD_OUT && shard_channels(g, g->nodes[node].in[0]) >= 16) {
        const struct shape *w = &node_in(g, &g->nodes[node], 1)->shape;
        const int64_t terms = shape_count(w) / shard_channels(g, g->nodes[node].out[0]);
        sum_magnitudes(g, node, &magnitudes);
        for (int i = -2; i < count; i++)
            check_inputs(g, node, SHARD_IN, i < 0 ? NULL : names[i], &r, &magnitudes, terms);
        tensor_release(&magnitudes);
    }
    gt_end(t);
}

/* A fully connected layer behind a map, by its rows. */
static void each_kernel_by_rows(struct gt *t, const char *op) {
    const char *names[128];
    const int count = kernel_names(names, 128);
    struct random r = {(uint64_t)count + 7};
    struct tensor magnitudes = {0};
    gt_output(t, (int)(t->g->nodes[t->g->node_count - 1].out[0]));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
    const int node = (int)(gt_find(t, op) - t->g->nodes);
    const struct shape *in = &node_in(t->g, &t->g->nodes[node], 0)->shape;
    assert_true(shard_rows(t->g, t->g->nodes[node].in[0]) > 1);
    sum_magnitudes(t->g, node, &magnitudes);
    for (int i = -4; i < count; i++)
        check_inputs(t->g, node, SHARD_ROWS, i < 0 ? NULL : names[i], &r, &magnitudes,
                     shape_count(in));
    tensor_release(&magnitudes);
    gt_end(t);
}

static int conv_of(struct gt *t, int x, int in, int out, int kernel, const char *attrs) {
    return gt_node(t, "Conv", attrs, 3, x, gt_random(t, DIMS(out, in, kernel, kernel)),
                   gt_random(t, DIMS(out)));
}

static void convolutions(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13); /* bias and activation */
    gt_node(&t, "Relu", "", 1,
            conv_of(&t, gt_input(&t, "x", DIMS(1, 48, 9, 11)), 48, 80, 3, "pads=1,1,1,1"));
    each_kernel(&t, "Conv", SHARD_OUT, 16);
    gt_begin(&t, 13); /* a residual, and a last block that is not full */
    int x = gt_input(&t, "x", DIMS(2, 64, 5, 7)), skip = gt_input(&t, "s", DIMS(2, 72, 5, 7));
    gt_node(&t, "Relu", "", 1, gt_node(&t, "Add", "", 2, conv_of(&t, x, 64, 72, 1, ""), skip));
    each_kernel(&t, "Conv", SHARD_OUT, 16);
    gt_begin(&t, 13); /* few input channels, strides */
    conv_of(&t, gt_input(&t, "x", DIMS(1, 3, 17, 19)), 3, 64, 7, "strides=2,2 pads=3,3,3,3");
    each_kernel(&t, "Conv", SHARD_OUT, 16);
    gt_begin(&t, 13); /* dilation, an odd number of blocks */
    conv_of(&t, gt_input(&t, "x", DIMS(1, 40, 9, 9)), 40, 56, 3, "dilations=2,2 pads=2,2,2,2");
    each_kernel(&t, "Conv", SHARD_OUT, 16);
}

static void other_sums(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    gt_node(&t, "ConvTranspose", "strides=2,2", 3, gt_input(&t, "x", DIMS(1, 48, 4, 5)),
            gt_random(&t, DIMS(48, 64, 2, 2)), gt_random(&t, DIMS(64)));
    each_kernel(&t, "ConvTranspose", SHARD_OUT, 16);
    gt_begin(&t, 13); /* squeeze and excite: the convolution takes the factors */
    int x = gt_input(&t, "x", DIMS(1, 48, 20, 20));
    int pixel = gt_node(&t, "Sigmoid", "", 1, gt_node(&t, "GlobalAveragePool", "", 1, x));
    conv_of(&t, gt_node(&t, "Mul", "", 2, x, pixel), 48, 32, 1, "");
    each_kernel(&t, "cohort:ScaledConv", SHARD_OUT, 16);
}

static void products(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13); /* behind a map */
    int x = gt_node(&t, "Flatten", "", 1, gt_input(&t, "x", DIMS(2, 48, 3, 5)));
    gt_node(&t, "Relu", "", 1,
            gt_node(&t, "Gemm", "transB=1", 3, x, gt_random(&t, DIMS(88, 720)),
                    gt_random(&t, DIMS(88))));
    each_kernel(&t, "Gemm", SHARD_OUT, 16);
    gt_begin(&t, 13); /* factors, the matrix as it is, one bias for all */
    gt_node(&t, "Gemm", "alpha=0.5 beta=0.25", 3, gt_input(&t, "x", DIMS(5, 64)),
            gt_random(&t, DIMS(64, 96)), gt_random(&t, DIMS(1)));
    each_kernel(&t, "Gemm", SHARD_OUT, 16);
    gt_begin(&t, 13);
    gt_node(&t, "MatMul", "", 2, gt_input(&t, "x", DIMS(1, 7, 64)), gt_random(&t, DIMS(64, 80)));
    each_kernel(&t, "MatMul", SHARD_OUT, 16);
}

/* A map, flattened. */
static int flat_map(struct gt *t, struct shape shape) {
    const int x =
        gt_node(t, "MaxPool", "kernel_shape=3,3 pads=1,1,1,1", 1, gt_input(t, "x", shape));
    return gt_node(t, "Flatten", "", 1, x);
}

/* Whole blocks of channels, blocks with some left, few; both ways the weights may lie, factors. */
static void products_by_rows(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    gt_node(&t, "Relu", "", 1,
            gt_node(&t, "Gemm", "transB=1", 3, flat_map(&t, DIMS(1, 48, 7, 5)),
                    gt_random(&t, DIMS(88, 1680)), gt_random(&t, DIMS(88))));
    each_kernel_by_rows(&t, "Gemm");
    gt_begin(&t, 13);
    gt_node(&t, "Gemm", "alpha=0.5 beta=0.25", 3, flat_map(&t, DIMS(1, 24, 5, 3)),
            gt_random(&t, DIMS(360, 96)), gt_random(&t, DIMS(1)));
    each_kernel_by_rows(&t, "Gemm");
    gt_begin(&t, 13);
    gt_node(&t, "MatMul", "", 2, flat_map(&t, DIMS(1, 6, 4, 5)), gt_random(&t, DIMS(120, 40)));
    each_kernel_by_rows(&t, "MatMul");
    gt_begin(&t, 13); /* one column */
    gt_node(&t, "Gemm", "transB=1", 3, flat_map(&t, DIMS(1, 32, 6, 1)),
            gt_random(&t, DIMS(48, 192)), gt_random(&t, DIMS(48)));
    each_kernel_by_rows(&t, "Gemm");
}

static void windows(void **state) {
    (void)state;
    struct gt t;
    static const char *const window = "kernel_shape=3,3 strides=2,2 pads=1,1,1,1";
    static const char *const ops[] = {"MaxPool",       "AveragePool", "GlobalAveragePool",
                                      "GlobalMaxPool", "ReduceMean",  "ReduceMax",
                                      "ReduceSum"};
    for (int i = 0; i < 7; i++) {
        gt_begin(&t, 13);
        gt_node(&t, ops[i],
                i < 2   ? window
                : i < 4 ? ""
                        : "axes=2,3",
                1, gt_input(&t, "x", DIMS(2, 72, 9, 7)));
        each_kernel(&t, ops[i], SHARD_CHANNELWISE, 16);
    }
    gt_begin(&t, 13);
    int x = gt_node(&t, "Conv", "group=72 pads=1,1,1,1", 3, gt_input(&t, "x", DIMS(1, 72, 9, 7)),
                    gt_random(&t, DIMS(72, 1, 3, 3)), gt_random(&t, DIMS(72)));
    gt_node(&t, "Clip", "", 3, x, gt_scalar(&t, 0), gt_scalar(&t, 6));
    each_kernel(&t, "Conv", SHARD_CHANNELWISE, 16);
    gt_begin(&t, 13);
    gt_node(&t, "Conv", "group=4 pads=1,1,1,1", 3, gt_input(&t, "x", DIMS(1, 64, 9, 7)),
            gt_random(&t, DIMS(128, 16, 3, 3)), gt_random(&t, DIMS(128)));
    each_kernel(&t, "Conv", SHARD_CHANNELWISE, 32);
}

static void elementwise(void **state) {
    (void)state;
    struct gt t;
    static const char *const ops[] = {"Relu", "Sigmoid", "Tanh", "HardSwish", "Mish", "Exp"};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        gt_begin(&t, 18);
        gt_node(&t, ops[i], "", 1, gt_input(&t, "x", DIMS(1, 72, 5, 7)));
        each_kernel(&t, ops[i], SHARD_CHANNELWISE, 16);
    }
    gt_begin(&t, 13);
    gt_node(&t, "PRelu", "", 2, gt_input(&t, "x", DIMS(1, 72, 5, 7)),
            gt_random(&t, DIMS(72, 1, 1)));
    each_kernel(&t, "PRelu", SHARD_CHANNELWISE, 16);
    gt_begin(&t, 13);
    gt_node(&t, "BatchNormalization", "", 5, gt_input(&t, "x", DIMS(1, 72, 5, 7)),
            gt_random(&t, DIMS(72)), gt_random(&t, DIMS(72)), gt_random(&t, DIMS(72)),
            gt_positive(&t, DIMS(72)));
    each_kernel(&t, "BatchNormalization", SHARD_CHANNELWISE, 16);
    gt_begin(&t, 13);
    gt_node(&t, "Add", "", 2, gt_input(&t, "x", DIMS(1, 72, 5, 7)),
            gt_input(&t, "y", DIMS(1, 72, 5, 7)));
    each_kernel(&t, "Add", SHARD_CHANNELWISE, 16);
    gt_begin(&t, 13); /* one pixel a channel, a constant, one channel for all */
    gt_node(&t, "Mul", "", 2, gt_input(&t, "x", DIMS(2, 72, 5, 7)),
            gt_input(&t, "y", DIMS(2, 72, 1, 1)));
    each_kernel(&t, "Mul", SHARD_CHANNELWISE, 16);
    gt_begin(&t, 13);
    gt_node(&t, "Div", "", 2, gt_input(&t, "x", DIMS(1, 72, 5, 7)),
            gt_positive(&t, DIMS(72, 1, 1)));
    each_kernel(&t, "Div", SHARD_CHANNELWISE, 16);
    gt_begin(&t, 13);
    gt_node(&t, "Sub", "", 2, gt_input(&t, "x", DIMS(1, 72, 5, 7)),
            gt_input(&t, "y", DIMS(1, 1, 5, 7)));
    each_kernel(&t, "Sub", SHARD_CHANNELWISE, 16);
    gt_begin(&t, 13); /* plain */
    gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(3, 80)));
    each_kernel(&t, "Relu", SHARD_CHANNELWISE, 16);
}

/* ---- what cannot be -------------------------------------------------------------------------- */

static void refused(struct gt *t, const char *op, enum shard_mode mode, struct channels c,
                    const char *words) {
    struct shard *s;
    int added;
    gt_output(t, (int)(t->g->nodes[t->g->node_count - 1].out[0]));
    test_must(graph_finish(t->g, &(struct pass_options){0}, &t->err), &t->err);
    test_must(shard_create(&s, t->g, &t->err), &t->err);
    const int values = shard_graph(s)->node_count;
    assert_int_equal(shard_divide(s, (int)(gt_find(t, op) - t->g->nodes), mode, c, &added, &t->err),
                     COHORT_ERR_PLAN);
    if (strstr(t->err.message, words) == NULL)
        fail_msg("'%s' does not say '%s'", t->err.message, words);
    assert_int_equal(shard_graph(s)->node_count, values);
    shard_destroy(&s);
    gt_end(t);
}

static void refusals(void **state) {
    (void)state;
    struct gt t;
    const struct channels some = {16, 48};
    gt_begin(&t, 13);
    conv_of(&t, gt_input(&t, "x", DIMS(1, 64, 5, 5)), 64, 64, 3, "");
    refused(&t, "Conv", SHARD_CHANNELWISE, some, "all input channels");
    gt_begin(&t, 13);
    conv_of(&t, gt_input(&t, "x", DIMS(1, 64, 5, 5)), 64, 64, 3, "");
    refused(&t, "Conv", SHARD_OUT, (struct channels){8, 48}, "no whole blocks of 16");
    gt_begin(&t, 13);
    conv_of(&t, gt_input(&t, "x", DIMS(1, 64, 5, 5)), 64, 72, 3, "");
    refused(&t, "Conv", SHARD_OUT, (struct channels){64, 72}, "no whole blocks of 16");
    gt_begin(&t, 13);
    conv_of(&t, gt_input(&t, "x", DIMS(1, 64, 5, 5)), 64, 64, 3, "");
    refused(&t, "Conv", SHARD_IN, (struct channels){48, 80}, "no whole blocks of 16");
    gt_begin(&t, 13);
    gt_node(&t, "Conv", "group=2", 2, gt_input(&t, "x", DIMS(1, 64, 5, 5)),
            gt_random(&t, DIMS(64, 32, 3, 3)));
    refused(&t, "Conv", SHARD_CHANNELWISE, some, "within a group");
    gt_begin(&t, 13);
    gt_node(&t, "MaxPool", "kernel_shape=2,2", 1, gt_input(&t, "x", DIMS(1, 64, 5, 5)));
    refused(&t, "MaxPool", SHARD_OUT, some, "no sum over channels");
    gt_begin(&t, 13);
    gt_node(&t, "Softmax", "axis=1", 1, gt_input(&t, "x", DIMS(1, 64)));
    refused(&t, "Softmax", SHARD_CHANNELWISE, some, "no rule");
    gt_begin(&t, 13);
    conv_of(&t, gt_input(&t, "x", DIMS(1, 64, 5, 5)), 64, 64, 3, "");
    refused(&t, "Conv", SHARD_ROWS, (struct channels){0, 2}, "no fully connected layer");
    gt_begin(&t, 13);
    gt_node(&t, "Gemm", "transB=1", 2, flat_map(&t, DIMS(2, 48, 5, 5)),
            gt_random(&t, DIMS(64, 1200)));
    refused(&t, "Gemm", SHARD_ROWS, (struct channels){0, 2}, "of one image");
    gt_begin(&t, 13);
    gt_node(&t, "Gemm", "transB=1", 2, flat_map(&t, DIMS(1, 48, 5, 5)),
            gt_random(&t, DIMS(64, 1200)));
    refused(&t, "Gemm", SHARD_ROWS, (struct channels){3, 6}, "rows 3 to 6 are not among the 5");
    gt_begin(&t, 13);
    gt_node(&t, "Gemm", "transB=1", 2, flat_map(&t, DIMS(1, 48, 5, 5)),
            gt_random(&t, DIMS(64, 1200)));
    refused(&t, "Gemm", SHARD_ROWS, (struct channels){3, 3}, "rows 3 to 3 are not among the 5");
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The same slice is one value, and what is fetched twice is copied once. */
static void slices_are_shared(void **state) {
    (void)state;
    struct gt t;
    struct shard *s;
    int a, b, first, second;
    gt_begin(&t, 13);
    gt_output(&t, conv_of(&t, gt_input(&t, "x", DIMS(1, 64, 5, 5)), 64, 64, 3, ""));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    const int node = (int)(gt_find(&t, "Conv") - t.g->nodes), out = t.g->nodes[node].out[0];
    test_must(shard_create(&s, t.g, &t.err), &t.err);
    test_must(shard_slice(s, out, (struct channels){0, 64}, &a, &t.err), &t.err);
    assert_int_equal(a, out);
    test_must(shard_slice(s, out, (struct channels){16, 64}, &a, &t.err), &t.err);
    test_must(shard_slice(s, out, (struct channels){16, 64}, &b, &t.err), &t.err);
    assert_int_equal(a, b);
    test_must(shard_divide(s, node, SHARD_OUT, (struct channels){16, 64}, &first, &t.err), &t.err);
    test_must(shard_divide(s, node, SHARD_IN, (struct channels){16, 64}, &second, &t.err), &t.err);
    test_must(shard_fetch(s, &t.err), &t.err);
    const struct graph *g = shard_graph(s);
    const struct value *out_weights = node_in(g, &g->nodes[first], 1);
    const struct value *in_weights = node_in(g, &g->nodes[second], 1);
    assert_false(out_weights->constant.owned); /* they lie together */
    assert_true(in_weights->constant.owned);
    const void *data = in_weights->constant.data;
    test_must(shard_fetch(s, &t.err), &t.err);
    assert_ptr_equal(in_weights->constant.data, data);
    const int id = g->nodes[second].in[1];
    assert_int_equal(shard_constant_source(s, id), t.g->nodes[node].in[1]);
    assert_int_equal(shard_constant_source(s, t.g->nodes[node].in[1]), t.g->nodes[node].in[1]);
    shard_drop_constant(s, id);
    assert_null(graph_value(g, id)->constant.data);
    shard_destroy(&s);
    gt_end(&t);
}

/* Of the weights [N, C * H * W] every channel's run of rows; a slice's contents element by element,
 * and shared like others. */
static void row_slices_lie_apart(void **state) {
    (void)state;
    struct gt t;
    struct shard *s;
    struct shard_part part;
    int added, again;
    gt_begin(&t, 13);
    gt_node(&t, "Gemm", "transB=1", 2, flat_map(&t, DIMS(1, 20, 5, 3)),
            gt_random(&t, DIMS(64, 300)));
    gt_output(&t, t.g->nodes[t.g->node_count - 1].out[0]);
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    const int node = (int)(gt_find(&t, "Gemm") - t.g->nodes);
    test_must(shard_create(&s, t.g, &t.err), &t.err);
    test_must(shard_divide(s, node, SHARD_ROWS, (struct channels){1, 4}, &added, &t.err), &t.err);
    test_must(shard_divide(s, node, SHARD_ROWS, (struct channels){1, 4}, &again, &t.err), &t.err);
    const struct graph *g = shard_graph(s);
    const int id = g->nodes[added].in[1], whole = t.g->nodes[node].in[1];
    assert_int_equal(g->nodes[again].in[1], id);
    assert_int_equal(g->nodes[again].in[0], g->nodes[added].in[0]);
    assert_int_equal(graph_value(g, g->nodes[added].in[0])->shape.dim[2], 3);
    assert_true(shard_constant_part(s, id, &part));
    assert_true(part.source == whole && part.axis == 1 && part.period == 15 && part.begin == 3 &&
                part.end == 12);
    test_must(shard_fetch(s, &t.err), &t.err);
    const struct tensor *from = &graph_value(g, whole)->constant;
    const struct tensor *to = &graph_value(g, id)->constant;
    assert_true(to->shape.dim[0] == 64 && to->shape.dim[1] == 180 && to->owned);
    for (int n = 0; n < 64; n++)
        for (int c = 0; c < 20; c++)
            for (int i = 0; i < 9; i++)
                assert_true(tensor_f32(to)[n * 180 + c * 9 + i] ==
                            tensor_f32(from)[n * 300 + c * 15 + 3 + i]);
    shard_destroy(&s);
    gt_end(&t);
}

/* Two boards' parts, or one board's by two plans: which of them are the same. */
static void parts_of_two_shards(void **state) {
    (void)state;
    static const struct channels low = {0, 32}, high = {32, 64}, more = {0, 48};
    struct gt t;
    struct shard *a, *b;
    int made[4], other, finish;
    gt_begin(&t, 13);
    const int x = gt_input(&t, "x", DIMS(1, 64, 5, 5));
    const int y =
        conv_of(&t, gt_node(&t, "Relu", "", 1, conv_of(&t, x, 64, 64, 3, "")), 64, 64, 3, "");
    gt_output(&t, gt_node(&t, "Add", "", 2, y, gt_node(&t, "MaxPool", "kernel_shape=1,1", 1, y)));
    test_must(graph_finish(t.g, &(struct pass_options){0}, &t.err), &t.err);
    const int first = (int)(gt_find(&t, "Conv") - t.g->nodes), last = first + 1;
    assert_string_equal(t.g->nodes[last].op->name, "Conv");
    test_must(shard_create(&a, t.g, &t.err), &t.err);
    test_must(shard_create(&b, t.g, &t.err), &t.err);
    test_must(shard_divide(a, first, SHARD_OUT, low, &made[0], &t.err), &t.err);
    test_must(shard_divide(a, last, SHARD_IN, low, &made[1], &t.err), &t.err);
    test_must(shard_finish(a, last, (struct channels){0, 64}, &made[2], &t.err), &t.err);
    test_must(shard_take(a, x, low, &made[3], &t.err), &t.err);
    for (int i = 0; i < 4; i++)
        assert_int_equal(shard_same_node(t.g, a, made[i], b), -1);
    /* Others of the same kinds, other channels, other nodes; then the same, in another order. */
    test_must(shard_divide(b, first, SHARD_OUT, high, &other, &t.err), &t.err);
    test_must(shard_divide(b, first, SHARD_OUT, more, &other, &t.err), &t.err);
    test_must(shard_divide(b, first, SHARD_IN, low, &other, &t.err), &t.err);
    test_must(shard_divide(b, last, SHARD_OUT, low, &other, &t.err), &t.err);
    test_must(shard_divide(b, last, SHARD_IN, high, &other, &t.err), &t.err);
    test_must(shard_take(b, x, high, &other, &t.err), &t.err);
    for (int i = 0; i < 4; i++)
        assert_int_equal(shard_same_node(t.g, a, made[i], b), -1);
    test_must(shard_take(b, x, low, &other, &t.err), &t.err);
    assert_int_equal(shard_same_node(t.g, a, made[3], b), other);
    test_must(shard_divide(b, last, SHARD_IN, low, &other, &t.err), &t.err);
    test_must(shard_finish(b, last, (struct channels){0, 64}, &finish, &t.err), &t.err);
    assert_int_equal(shard_same_node(t.g, a, made[1], b), other);
    assert_int_equal(shard_same_node(t.g, a, made[2], b), finish);
    test_must(shard_divide(b, first, SHARD_OUT, low, &other, &t.err), &t.err);
    assert_int_equal(shard_same_node(t.g, a, made[0], b), other);
    /* The network's own are everywhere, under their numbers. */
    assert_int_equal(shard_same_node(t.g, a, last, b), last);
    assert_int_equal(shard_same_node(t.g, NULL, last, b), last);
    assert_int_equal(shard_same_node(t.g, a, made[0], NULL), -1);
    shard_destroy(&a);
    shard_destroy(&b);
    gt_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(other_sums),
        cmocka_unit_test(products),
        cmocka_unit_test(windows),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(refusals),
        cmocka_unit_test(slices_are_shared),
        cmocka_unit_test(products_by_rows),
        cmocka_unit_test(row_slices_lie_apart),
        cmocka_unit_test(parts_of_two_shards),
    };
    return cmocka_run_group_tests(tests, test_pool_start, test_pool_stop);
}
