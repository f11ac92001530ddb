/* Random networks through all passes: the answers stay, the bookkeeping holds, every row map holds,
 * and the executor computes the same in one piece and in tiles. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/exec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define POOL_MAX 64 /* values that later operators may read */

struct net {
    struct gt t;
    int ids[POOL_MAX];
    struct shape shapes[POOL_MAX]; /* all [N,C,H,W] */
    int count;
};

static void add(struct net *n, int id, struct shape s) {
    if (n->count < POOL_MAX) {
        n->ids[n->count] = id;
        n->shapes[n->count++] = s;
    }
}

/* Mostly recent values. */
static int choose(struct net *n) {
    int from = n->count > 4 && gt_pick(&n->t, 0, 3) ? n->count - 4 : 0;
    return (int)gt_pick(&n->t, from, n->count - 1);
}

static int pick(struct net *n, int low, int high) {
    return (int)gt_pick(&n->t, low, high);
}

/* ---- pieces of networks ---------------------------------------------------------------------- */

static void add_conv(struct net *n, int i) {
    struct shape s = n->shapes[i];
    int c = (int)s.dim[1], groups = c % 2 == 0 && pick(n, 0, 2) == 0 ? 2 : 1;
    if (pick(n, 0, 4) == 0)
        groups = c;
    int out = groups * pick(n, 1, groups > 4 ? 1 : 6), k = pick(n, 1, 3), stride = pick(n, 1, 2);
    if (pick(n, 0, 3) == 0 && groups <= 2)
        out = 20 * groups;
    int pad = pick(n, 0, 2), dilation = pick(n, 0, 4) == 0 ? 2 : 1;
    int reach = (k - 1) * dilation + 1;
    if (s.dim[2] + 2 * pad < reach || s.dim[3] + 2 * pad < reach)
        return;
    char attrs[120];
    snprintf(attrs, sizeof attrs, "pads=%d,%d,%d,%d strides=%d,%d dilations=%d,%d group=%d", pad,
             pad, pad, pad, stride, stride, dilation, dilation, groups);
    int w = gt_random(&n->t, DIMS(out, c / groups, k, k));
    int b = pick(n, 0, 1) ? gt_random(&n->t, DIMS(out)) : -1;
    int y = gt_node(&n->t, "Conv", attrs, b >= 0 ? 3 : 2, n->ids[i], w, b);
    s.dim[1] = out;
    s.dim[2] = (s.dim[2] + 2 * pad - reach) / stride + 1;
    s.dim[3] = (s.dim[3] + 2 * pad - reach) / stride + 1;
    add(n, y, s);
}

static void add_deconv(struct net *n, int i) {
    struct shape s = n->shapes[i];
    if (s.dim[2] > 12 || s.dim[3] > 12)
        return;
    int out = pick(n, 1, 5), k = pick(n, 2, 3), pad = pick(n, 0, 1);
    if ((s.dim[2] - 1) * 2 + k - 2 * pad < 1 || (s.dim[3] - 1) * 2 + k - 2 * pad < 1)
        return;
    char attrs[80];
    snprintf(attrs, sizeof attrs, "strides=2,2 pads=%d,%d,%d,%d", pad, pad, pad, pad);
    int y = gt_node(&n->t, "ConvTranspose", attrs, 2, n->ids[i],
                    gt_random(&n->t, DIMS(s.dim[1], out, k, k)));
    s.dim[1] = out;
    s.dim[2] = (s.dim[2] - 1) * 2 + k - 2 * pad;
    s.dim[3] = (s.dim[3] - 1) * 2 + k - 2 * pad;
    add(n, y, s);
}

static void add_batchnorm(struct net *n, int i) {
    struct shape c = DIMS(n->shapes[i].dim[1]);
    struct gt *t = &n->t;
    int y = gt_node(t, "BatchNormalization", "", 5, n->ids[i], gt_random(t, c), gt_random(t, c),
                    gt_random(t, c), gt_positive(t, c));
    add(n, y, n->shapes[i]);
}

static void add_activation(struct net *n, int i) {
    static const char *const plain[] = {"Relu",      "Sigmoid", "Tanh", "HardSigmoid", "HardSwish",
                                        "LeakyRelu", "Erf",     "Elu",  "Identity",    "Dropout"};
    struct gt *t = &n->t;
    int x = n->ids[i], y = -1, kind = pick(n, 0, 17);
    if (kind < 10)
        y = gt_node(t, plain[kind], "", 1, x);
    else if (kind == 10)
        y = gt_node(t, "Clip", "", 3, x, gt_scalar(t, -0.5), gt_scalar(t, 0.75));
    else if (kind == 11) /* SiLU */
        y = gt_node(t, "Mul", "", 2, x, gt_node(t, "Sigmoid", "", 1, x));
    else if (kind == 12) /* HardSwish */
        y = gt_node(t, "Div", "", 2,
                    gt_node(t, "Mul", "", 2, x,
                            gt_node(t, "Clip", "", 3, gt_node(t, "Add", "", 2, x, gt_scalar(t, 3)),
                                    gt_scalar(t, 0), gt_scalar(t, 6))),
                    gt_scalar(t, 6));
    else if (kind == 13) /* GELU */
        y = gt_node(t, "Mul", "", 2, gt_node(t, "Mul", "", 2, x, gt_scalar(t, 0.5)),
                    gt_node(t, "Add", "", 2,
                            gt_node(t, "Erf", "", 1,
                                    gt_node(t, "Div", "", 2, x, gt_scalar(t, 1.4142135624))),
                            gt_scalar(t, 1)));
    else if (kind == 14)
        y = gt_node(t, "PRelu", "", 2, x, gt_random(t, DIMS(n->shapes[i].dim[1], 1, 1)));
    else if (kind == 15)
        y = gt_node(t, "Mul", "", 2, x, gt_random(t, DIMS(n->shapes[i].dim[1], 1, 1)));
    else if (kind == 16)
        y = gt_node(t, "Add", "", 2, gt_random(t, DIMS(n->shapes[i].dim[1], 1, 1)), x);
    else
        y = gt_node(t, "Add", "", 2, gt_node(t, "Mul", "", 2, x, gt_random(t, DIMS(1))),
                    gt_random(t, DIMS(1)));
    add(n, y, n->shapes[i]);
}

static void add_pool(struct net *n, int i) {
    struct shape s = n->shapes[i];
    int k = pick(n, 2, 3), stride = pick(n, 1, 2), pad = pick(n, 0, 1), max = pick(n, 0, 1);
    if (s.dim[2] + 2 * pad < k || s.dim[3] + 2 * pad < k)
        return;
    char attrs[120];
    snprintf(attrs, sizeof attrs, "kernel_shape=%d,%d strides=%d,%d pads=%d,%d,%d,%d%s", k, k,
             stride, stride, pad, pad, pad, pad,
             !max && pick(n, 0, 1) ? " count_include_pad=1" : "");
    int y = gt_node(&n->t, max ? "MaxPool" : "AveragePool", attrs, 1, n->ids[i]);
    s.dim[2] = (s.dim[2] + 2 * pad - k) / stride + 1;
    s.dim[3] = (s.dim[3] + 2 * pad - k) / stride + 1;
    add(n, y, s);
}

/* Add or Mul of two values of one shape, or of one broadcast over the other; Concat of channels. */
static void add_join(struct net *n, int i) {
    struct shape a = n->shapes[i];
    for (int tries = 0; tries < 12; tries++) {
        int j = pick(n, 0, n->count - 1);
        struct shape b = n->shapes[j], out;
        bool concat = a.dim[0] == b.dim[0] && a.dim[2] == b.dim[2] && a.dim[3] == b.dim[3];
        if (concat && pick(n, 0, 2) == 0) {
            int y = gt_node(&n->t, "Concat", "axis=1", 2, n->ids[i], n->ids[j]);
            out = a;
            out.dim[1] += b.dim[1];
            add(n, y, out);
            return;
        }
        if (!shape_broadcast(&a, &b, &out) || (j == i && pick(n, 0, 5) > 0))
            continue;
        const char *op = pick(n, 0, 3) ? "Add" : "Mul";
        int y = pick(n, 0, 1) ? gt_node(&n->t, op, "", 2, n->ids[i], n->ids[j])
                              : gt_node(&n->t, op, "", 2, n->ids[j], n->ids[i]);
        add(n, y, out);
        return;
    }
}

static void add_pad(struct net *n, int i) {
    struct shape s = n->shapes[i];
    static const char *const modes[] = {"", "mode=edge", "mode=reflect"};
    int mode = pick(n, 0, 2), top = pick(n, 0, 2), left = pick(n, 0, 2);
    if (mode == 2 && (s.dim[2] <= 2 || s.dim[3] <= 2))
        mode = 0;
    int y = gt_node(&n->t, "Pad", modes[mode], 2, n->ids[i],
                    gt_list(&n->t, 8, 0, 0, top, left, 0, 0, 1, 1));
    s.dim[2] += top + 1;
    s.dim[3] += left + 1;
    add(n, y, s);
}

static void add_resize(struct net *n, int i) {
    static const char *const modes[] = {
        "mode=nearest coordinate_transformation_mode=asymmetric nearest_mode=floor", "mode=linear",
        "mode=linear coordinate_transformation_mode=align_corners", "mode=nearest"};
    struct shape s = n->shapes[i];
    int h = pick(n, 1, 14), w = pick(n, 1, 14);
    int y = gt_node(&n->t, "Resize", modes[pick(n, 0, 3)], 4, n->ids[i], -1, -1,
                    gt_list(&n->t, 4, (int)s.dim[0], (int)s.dim[1], h, w));
    s.dim[2] = h;
    s.dim[3] = w;
    add(n, y, s);
}

/* Squeeze and excite. */
static void add_gate(struct net *n, int i) {
    struct gt *t = &n->t;
    int64_t c = n->shapes[i].dim[1];
    int g = pick(n, 0, 1) ? gt_node(t, "GlobalAveragePool", "", 1, n->ids[i])
                          : gt_node(t, "ReduceMean", "axes=2,3", 1, n->ids[i]);
    g = gt_node(t, "Conv", "", 2, g, gt_random(t, DIMS(c, c, 1, 1)));
    g = gt_node(t, "Sigmoid", "", 1, g);
    add(n, gt_node(t, "Mul", "", 2, n->ids[i], g), n->shapes[i]);
}

static void add_split(struct net *n, int i) {
    struct shape s = n->shapes[i];
    int c = (int)s.dim[1], first = c > 1 ? pick(n, 1, c - 1) : 0, out[2];
    if (c < 2)
        return;
    gt_node_outputs(&n->t, "Split", "axis=1", 2, out, 2, n->ids[i],
                    gt_list(&n->t, 2, first, c - first));
    s.dim[1] = first;
    add(n, out[0], s);
    s.dim[1] = c - first;
    add(n, out[1], s);
}

static void add_shuffle(struct net *n, int i) {
    struct gt *t = &n->t;
    struct shape s = n->shapes[i];
    int c = (int)s.dim[1], h = (int)s.dim[2], w = (int)s.dim[3], batch = (int)s.dim[0];
    if (c % 2 != 0)
        return;
    int x = gt_node(t, "Reshape", "", 2, n->ids[i], gt_list(t, 5, batch, 2, c / 2, h, w));
    x = gt_node(t, "Transpose", "perm=0,2,1,3,4", 1, x);
    add(n, gt_node(t, "Reshape", "", 2, x, gt_list(t, 4, batch, c, h, w)), s);
}

static void add_blocks(struct net *n, int i) {
    struct shape s = n->shapes[i];
    if (s.dim[2] % 2 == 0 && s.dim[3] % 2 == 0) {
        int y = gt_node(&n->t, "SpaceToDepth", "blocksize=2", 1, n->ids[i]);
        s = DIMS(s.dim[0], s.dim[1] * 4, s.dim[2] / 2, s.dim[3] / 2);
        add(n, y, s);
    } else if (s.dim[1] % 4 == 0) {
        int y = gt_node(&n->t, "DepthToSpace",
                        pick(n, 0, 1) ? "blocksize=2" : "blocksize=2 mode=CRD", 1, n->ids[i]);
        s = DIMS(s.dim[0], s.dim[1] / 4, s.dim[2] * 2, s.dim[3] * 2);
        add(n, y, s);
    }
}

/* Through tokens and back: plain work in the middle of maps. */
static void add_tokens(struct net *n, int i) {
    struct gt *t = &n->t;
    struct shape s = n->shapes[i];
    int c = (int)s.dim[1], h = (int)s.dim[2], w = (int)s.dim[3], batch = (int)s.dim[0];
    int x = gt_node(t, "Reshape", "", 2, n->ids[i], gt_list(t, 3, batch, c, -1));
    x = gt_node(t, "Transpose", "perm=0,2,1", 1, x);
    int mean = gt_node(t, "ReduceMean", "axes=[-1]", 1, x);
    int d = gt_node(t, "Sub", "", 2, x, mean);
    int v = gt_node(t, "ReduceMean", "axes=[-1]", 1, gt_node(t, "Pow", "", 2, d, gt_scalar(t, 2)));
    v = gt_node(t, "Sqrt", "", 1, gt_node(t, "Add", "", 2, v, gt_scalar(t, 0.1)));
    int y = gt_node(t, "Mul", "", 2, gt_node(t, "Div", "", 2, d, v), gt_random(t, DIMS(c)));
    y = gt_node(t, "Add", "", 2, gt_node(t, "MatMul", "", 2, y, gt_random(t, DIMS(c, c))),
                gt_random(t, DIMS(c)));
    y = gt_node(t, "Add", "", 2, x, y);
    y = gt_node(t, "Transpose", "perm=0,2,1", 1, y);
    add(n, gt_node(t, "Reshape", "", 2, y, gt_list(t, 4, batch, c, h, w)), s);
}

static void add_channelwise(struct net *n, int i) {
    struct gt *t = &n->t;
    int y = -1;
    switch (pick(n, 0, 2)) {
    case 0:
        y = gt_node(t, "LRN", "size=3", 1, n->ids[i]);
        break;
    case 1:
        y = gt_node(t, "Softmax", "axis=1", 1, n->ids[i]);
        break;
    default: /* there and back */
        y = gt_node(t, "Transpose", "perm=0,2,3,1", 1, n->ids[i]);
        y = gt_node(t, "Relu", "", 1, y);
        y = gt_node(t, "Transpose", "perm=0,3,1,2", 1, y);
    }
    add(n, y, n->shapes[i]);
}

static void add_slice(struct net *n, int i) {
    struct gt *t = &n->t;
    struct shape s = n->shapes[i];
    int axis = pick(n, 1, 3), size = (int)s.dim[axis], from = pick(n, 0, size - 1);
    int to = pick(n, from + 1, size);
    int y = gt_node(t, "Slice", "", 4, n->ids[i], gt_list(t, 1, from), gt_list(t, 1, to),
                    gt_list(t, 1, axis));
    s.dim[axis] = to - from;
    add(n, y, s);
}

/* ---- a network ------------------------------------------------------------------------------- */

static void make_net(struct net *n, uint64_t seed) {
    memset(n, 0, sizeof *n);
    gt_begin(&n->t, 14);
    n->t.seed = seed * 0x2545f4914f6cdd1du + 1;
    struct shape s = DIMS(pick(n, 1, 2), pick(n, 1, 20), pick(n, 3, 14), pick(n, 3, 14));
    add(n, gt_input(&n->t, "x", s), s);
    s.dim[0] = 1;
    if (pick(n, 0, 2) == 0)
        add(n, gt_input(&n->t, "y", s), s);
    static void (*const pieces[])(struct net *, int) = {
        add_conv,       add_conv,        add_conv,  add_conv,       add_batchnorm,  add_batchnorm,
        add_activation, add_pool,        add_join,  add_join,       add_join,       add_pad,
        add_resize,     add_gate,        add_split, add_shuffle,    add_blocks,     add_tokens,
        add_deconv,     add_channelwise, add_slice, add_activation, add_activation, add_activation,
    };
    int wanted = pick(n, 3, 14);
    for (int k = 0; k < wanted; k++) {
        int i = choose(n);
        if (shape_count(&n->shapes[i]) > 12000)
            i = 0;
        pieces[pick(n, 0, (int)(sizeof pieces / sizeof pieces[0]) - 1)](n, i);
    }
    int last = n->ids[n->count - 1];
    if (pick(n, 0, 1)) { /* a classifier */
        struct shape f = n->shapes[n->count - 1];
        int64_t k = shape_product(&f, 1, 4);
        int y = gt_node(&n->t, "Flatten", "", 1, last);
        y = gt_node(&n->t, "Gemm", "", 3, y, gt_random(&n->t, DIMS(k, 5)),
                    gt_random(&n->t, DIMS(5)));
        gt_output(&n->t, gt_node(&n->t, "Softmax", "axis=-1", 1, y));
        if (pick(n, 0, 2) > 0)
            return;
    }
    gt_output(&n->t, last);
    int other = n->ids[pick(n, 0, n->count - 1)];
    if (other != last && n->t.g->values[other].producer >= 0)
        gt_output(&n->t, other);
}

static void test_passes_keep_the_answer(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct net n;
        make_net(&n, seed);
        gt_same_after_finish(&n.t, 2e-5);
        gt_check_forms(n.t.g);
        gt_check_rows(&n.t);
        gt_end(&n.t);
    }
}

/* Every allocation fails once: an error each time, never a crash, nothing lost. */
static void test_memory_runs_short(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        long calls = 0, live = mem_live_blocks();
        for (long nth = 0; nth <= calls; nth++) {
            struct net n;
            make_net(&n, seed);
            long before = mem_alloc_calls();
            mem_fail_at(nth);
            enum cohort_code code = graph_finish(n.t.g, NULL, &n.t.err);
            mem_fail_at(0);
            calls = nth == 0 ? mem_alloc_calls() - before : calls;
            assert_int_equal(code, nth == 0 ? COHORT_OK : COHORT_ERR_MEMORY);
            gt_end(&n.t);
        }
        assert_int_equal(mem_live_blocks(), live);
    }
}

/* ---- the executor ---------------------------------------------------------------------------- */

static void check_close(const struct tensor *a, const struct tensor *b) {
    double most = 0;
    assert_true(shape_equal(&a->shape, &b->shape));
    for (int64_t i = 0; i < shape_count(&a->shape); i++)
        most = fmax(most, fabs(tensor_get_f64(a, i)));
    for (int64_t i = 0; i < shape_count(&a->shape); i++)
        if (!(fabs(tensor_get_f64(a, i) - tensor_get_f64(b, i)) <= 1e-4 * most))
            fail_msg("element %lld: evaluators %g, executor %g", (long long)i, tensor_get_f64(a, i),
                     tensor_get_f64(b, i));
}

static void test_executor_agrees(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct net n;
        struct cohort_error err;
        struct tensor in[2] = {{0}}, want[3] = {{0}}, whole[3] = {{0}}, tiles[3] = {{0}},
                      strips[3] = {{0}};
        make_net(&n, seed);
        struct graph *g = n.t.g;
        assert_int_equal(graph_finish(g, NULL, &err), COHORT_OK);
        for (int i = 0; i < g->input_count; i++) {
            const struct shape *s = &graph_value(g, g->inputs[i])->shape;
            assert_int_equal(tensor_init(&in[i], DT_F32, s, &err), COHORT_OK);
            for (int64_t k = 0; k < shape_count(s); k++)
                tensor_f32(&in[i])[k] = (float)gt_pick(&n.t, -1000, 1000) / 500.0f;
        }
        gt_run(&n.t, in, want);
        struct exec_options o = {0}, in_strips = {.strip_rows = (int64_t)(seed % 3) + 1};
        if (exec_run_graph(g, test_pool, &o, 0, in, whole, &err) != COHORT_OK ||
            exec_run_graph(g, test_pool, &in_strips, 0, in, strips, &err) != COHORT_OK ||
            exec_run_graph(g, test_pool, &o, (int64_t)(seed % 4) + 1, in, tiles, &err) != COHORT_OK)
            fail_msg("%s", err.message);
        for (int i = 0; i < g->output_count; i++) {
            check_close(&want[i], &whole[i]);
            assert_memory_equal(whole[i].data, tiles[i].data, tensor_bytes(&whole[i]));
            assert_memory_equal(whole[i].data, strips[i].data, tensor_bytes(&whole[i]));
            tensor_release(&strips[i]);
            tensor_release(&want[i]);
            tensor_release(&whole[i]);
            tensor_release(&tiles[i]);
        }
        for (int i = 0; i < g->input_count; i++)
            tensor_release(&in[i]);
        gt_end(&n.t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes_keep_the_answer),
        cmocka_unit_test(test_memory_runs_short),
        cmocka_unit_test(test_executor_agrees),
    };
    return cmocka_run_group_tests_name("pass_random", tests, test_pool_start, test_pool_stop);
}
