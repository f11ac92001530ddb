/* Batch normalisation into weights, activations and residuals into epilogues, pads into windows. */
#include "tests/support/graphtest.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int conv(struct gt *t, int x, int from, int to, bool bias) {
    int w = gt_random(t, DIMS(to, from, 3, 3));
    return bias ? gt_node(t, "Conv", "pads=1,1,1,1", 3, x, w, gt_random(t, DIMS(to)))
                : gt_node(t, "Conv", "pads=1,1,1,1", 2, x, w);
}

static int batchnorm(struct gt *t, int x, int channels) {
    struct shape s = DIMS(channels);
    return gt_node(t, "BatchNormalization", "epsilon=0.01", 5, x, gt_random(t, s), gt_random(t, s),
                   gt_random(t, s), gt_positive(t, s));
}

static void after(struct gt *t, gt_pass_fn pass, int nodes) {
    gt_same_after(t, pass, 3e-6);
    if (t->g->node_count != nodes)
        fail_msg("%d nodes are left, not %d", t->g->node_count, nodes);
}

/* ---- batch normalisation --------------------------------------------------------------------- */

static void test_batchnorm_into_conv(void **state) {
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_input(&t, "x", DIMS(2, 3, 6, 5)), y = conv(&t, x, 3, 4, bias);
        const void *weights = graph_value(t.g, t.g->nodes[0].in[1])->constant.data;
        gt_output(&t, batchnorm(&t, y, 4));
        after(&t, pass_fold_batchnorm, 1);
        const struct node *n = gt_find(&t, "Conv");
        assert_true(n->weight_scale >= 0);
        assert_ptr_equal(node_const(t.g, n, 1)->data, weights); /* not touched */
        assert_non_null(node_const(t.g, n, 2));
        gt_end(&t);
    }
}

/* Conv, Mul by [C,1,1], Sub, BatchNormalization, Div by a number: all one. */
static void test_chain_into_conv(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = conv(&t, gt_input(&t, "x", DIMS(2, 3, 6, 5)), 3, 4, true);
    x = gt_node(&t, "Mul", "", 2, gt_random(&t, DIMS(4, 1, 1)), x);
    x = gt_node(&t, "Sub", "", 2, x, gt_random(&t, DIMS(1, 4, 1, 1)));
    x = batchnorm(&t, x, 4);
    x = gt_node(&t, "Div", "", 2, x, gt_scalar(&t, -3));
    x = gt_node(&t, "Add", "", 2, gt_random(&t, DIMS(1)), x);
    gt_output(&t, x);
    after(&t, pass_fold_batchnorm, 1);
    gt_end(&t);
}

static void test_batchnorm_into_others(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13); /* groups: output channels are spread over them */
    int x = gt_input(&t, "x", DIMS(2, 4, 5, 5));
    x = gt_node(&t, "ConvTranspose", "strides=2,2 group=2", 2, x, gt_random(&t, DIMS(4, 3, 2, 2)));
    gt_output(&t, batchnorm(&t, x, 6));
    after(&t, pass_fold_batchnorm, 1);
    gt_end(&t);
    for (int way = 0; way < 8; way++) {
        gt_begin(&t, 13);
        x = gt_input(&t, "x", DIMS(3, 5));
        int w = gt_random(&t, way & 1 ? DIMS(4, 5) : DIMS(5, 4));
        int c = way & 2 ? gt_random(&t, way & 4 ? DIMS(1, 4) : SCALAR) : -1;
        x = gt_node(&t, "Gemm", way & 1 ? "transB=1 alpha=0.5 beta=2.0" : "alpha=2.0 beta=0.5", 3,
                    x, w, c);
        gt_output(&t, batchnorm(&t, x, 4));
        after(&t, pass_fold_batchnorm, 1);
        gt_end(&t);
    }
    gt_begin(&t, 13); /* three spatial axes: no map, so the weights themselves change */
    x = gt_input(&t, "x", DIMS(1, 2, 4, 4, 4));
    x = gt_node(&t, "Conv", "", 2, x, gt_random(&t, DIMS(3, 2, 2, 2, 2)));
    gt_output(&t, batchnorm(&t, x, 3));
    after(&t, pass_fold_batchnorm, 1);
    assert_int_equal(gt_find(&t, "Conv")->weight_scale, -1);
    gt_end(&t);
}

static void test_what_is_not_folded(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13); /* the convolution is read twice */
    int x = conv(&t, gt_input(&t, "x", DIMS(2, 3, 6, 5)), 3, 4, true);
    gt_output(&t, batchnorm(&t, x, 4));
    gt_output(&t, gt_node(&t, "Relu", "", 1, x));
    after(&t, pass_fold_batchnorm, 3);
    gt_end(&t);

    gt_begin(&t, 13); /* it is an output */
    x = conv(&t, gt_input(&t, "x", DIMS(2, 3, 6, 5)), 3, 4, true);
    gt_output(&t, x);
    gt_output(&t, batchnorm(&t, x, 4));
    after(&t, pass_fold_batchnorm, 2);
    gt_end(&t);

    gt_begin(&t, 13); /* statistics that are not constant */
    x = conv(&t, gt_input(&t, "x", DIMS(2, 3, 6, 5)), 3, 4, true);
    struct shape s = DIMS(4);
    gt_output(&t, gt_node(&t, "BatchNormalization", "", 5, x, gt_random(&t, s), gt_random(&t, s),
                          gt_input(&t, "mean", s), gt_positive(&t, s)));
    after(&t, pass_fold_batchnorm, 2);
    gt_end(&t);

    gt_begin(&t, 13); /* a factor per column, one that makes the value larger, a numerator */
    x = conv(&t, gt_input(&t, "x", DIMS(1, 3, 6, 4)), 3, 4, true);
    gt_output(&t, gt_node(&t, "Mul", "", 2, x, gt_random(&t, DIMS(4))));
    x = conv(&t, x, 4, 4, false);
    gt_output(&t, gt_node(&t, "Mul", "", 2, x, gt_random(&t, DIMS(2, 4, 1, 1))));
    x = conv(&t, x, 4, 4, false);
    gt_output(&t, gt_node(&t, "Div", "", 2, gt_random(&t, DIMS(4, 1, 1)), x));
    after(&t, pass_fold_batchnorm, 6);
    gt_end(&t);

    gt_begin(&t, 13); /* weights that are not constant */
    x = gt_node(&t, "Conv", "", 2, gt_input(&t, "x", DIMS(1, 3, 6, 4)),
                gt_input(&t, "w", DIMS(4, 3, 1, 1)));
    gt_output(&t, batchnorm(&t, x, 4));
    after(&t, pass_fold_batchnorm, 2);
    gt_end(&t);
}

/* Behind an activation a factor and an addend go into the convolutions that follow. */
static int affine_pair(struct gt *t, int x, struct shape factor, struct shape addend) {
    x = gt_node(t, "Mul", "", 2, gt_random(t, factor), gt_node(t, "Tanh", "", 1, x));
    return gt_node(t, "Add", "", 2, x, gt_random(t, addend));
}

static void test_forwards_into_conv(void **state) {
    (void)state;
    struct shape one = DIMS(1), each = DIMS(4, 1, 1);
    for (int way = 0; way < 8; way++) { /* a 1x1 window, grouped or not, with bias or not */
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_input(&t, "x", DIMS(2, 4, 6, 5));
        x = affine_pair(&t, x, way & 1 ? each : one, way & 1 ? one : each);
        int w = gt_random(&t, way & 2 ? DIMS(6, 2, 1, 1) : DIMS(6, 4, 1, 1));
        const void *weights = graph_value(t.g, w)->constant.data;
        x = gt_node(&t, "Conv", way & 2 ? "group=2" : "", 3, x, w,
                    way & 4 ? gt_random(&t, DIMS(6)) : -1);
        gt_output(&t, batchnorm(&t, x, 6));
        after(&t, pass_fold_batchnorm, 2); /* Tanh, Conv */
        const struct node *n = gt_find(&t, "Conv");
        assert_int_equal(node_const(t.g, n, 1)->data == weights, !(way & 1));
        gt_end(&t);
    }
    struct gt t;
    gt_begin(&t, 13); /* 3x3 without padding; two that read it */
    int x = affine_pair(&t, gt_input(&t, "x", DIMS(2, 4, 6, 5)), one, one);
    gt_output(&t, gt_node(&t, "Conv", "", 2, x, gt_random(&t, DIMS(3, 4, 3, 3))));
    gt_output(&t, gt_node(&t, "Conv", "", 2, x, gt_random(&t, DIMS(5, 4, 2, 2))));
    after(&t, pass_fold_batchnorm, 3);
    gt_end(&t);
}

static void test_forwards_at_the_edge(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13); /* padding: the zeros are not the addend, so the pair stays, as one node */
    int x = affine_pair(&t, gt_input(&t, "x", DIMS(2, 4, 6, 5)), DIMS(1), DIMS(4, 1, 1));
    gt_output(&t, conv(&t, x, 4, 3, true));
    after(&t, pass_fold_batchnorm, 3);
    assert_int_equal(gt_count(&t, "BatchNormalization"), 1);
    gt_end(&t);
    gt_begin(&t, 13); /* the factor alone may pass */
    x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(2, 4, 6, 5)));
    x = gt_node(&t, "Div", "", 2, x, gt_positive(&t, DIMS(4, 1, 1)));
    gt_output(&t, conv(&t, x, 4, 3, true));
    after(&t, pass_fold_batchnorm, 2);
    gt_end(&t);
    gt_begin(&t, 13); /* someone else reads it, or it is an output */
    x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(2, 4, 6, 5)));
    x = gt_node(&t, "Mul", "", 2, x, gt_random(&t, DIMS(4, 1, 1)));
    gt_output(&t, conv(&t, x, 4, 3, true));
    gt_output(&t, gt_node(&t, "MaxPool", "kernel_shape=2,2", 1, x));
    x = gt_node(&t, "Mul", "", 2, gt_input(&t, "y", DIMS(2, 4, 6, 5)), gt_random(&t, DIMS(1)));
    gt_output(&t, conv(&t, x, 4, 3, true));
    gt_output(&t, x);
    after(&t, pass_fold_batchnorm, 6);
    gt_end(&t);
    gt_begin(&t, 13); /* plain tensors keep their pairs */
    x = gt_node(&t, "Mul", "", 2, gt_input(&t, "x", DIMS(3, 4)), gt_random(&t, DIMS(4)));
    gt_output(&t, gt_node(&t, "Add", "", 2, x, gt_random(&t, DIMS(4))));
    after(&t, pass_fold_batchnorm, 2);
    gt_end(&t);
}

static void test_matmul_with_bias_is_gemm(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_node(&t, "MatMul", "", 2, gt_input(&t, "x", DIMS(3, 5)), gt_random(&t, DIMS(5, 4)));
    gt_output(&t, gt_node(&t, "Add", "", 2, gt_random(&t, DIMS(4)), x));
    gt_same_after(&t, pass_fold_batchnorm, 3e-6);
    assert_int_equal(gt_count(&t, "Gemm"), 1);
    gt_end(&t);
    gt_begin(&t, 13); /* batches, and a column of addends: left alone */
    x = gt_node(&t, "MatMul", "", 2, gt_input(&t, "x", DIMS(2, 3, 5)), gt_random(&t, DIMS(5, 4)));
    gt_output(&t, gt_node(&t, "Add", "", 2, gt_random(&t, DIMS(4)), x));
    x = gt_node(&t, "MatMul", "", 2, gt_input(&t, "y", DIMS(4, 5)), gt_random(&t, DIMS(5, 4)));
    gt_output(&t, gt_node(&t, "Add", "", 2, gt_random(&t, DIMS(4, 1)), x));
    after(&t, pass_fold_batchnorm, 4);
    gt_end(&t);
}

/* ---- epilogues ------------------------------------------------------------------------------- */

static int activation(struct gt *t, int x, enum act_kind act) {
    switch (act) {
    case ACT_RELU:
        return gt_node(t, "Relu", "", 1, x);
    case ACT_LEAKY_RELU:
        return gt_node(t, "LeakyRelu", "alpha=0.25", 1, x);
    case ACT_CLIP:
        return gt_node(t, "Clip", "", 3, x, gt_scalar(t, -0.3), gt_scalar(t, 0.5));
    case ACT_SIGMOID:
        return gt_node(t, "Sigmoid", "", 1, x);
    case ACT_TANH:
        return gt_node(t, "Tanh", "", 1, x);
    case ACT_HARD_SIGMOID:
        return gt_node(t, "HardSigmoid", "alpha=0.3 beta=0.4", 1, x);
    case ACT_HARD_SWISH:
        return gt_node(t, "HardSwish", "", 1, x);
    case ACT_SILU:
        return gt_node(t, "Mul", "", 2, x, gt_node(t, "Sigmoid", "", 1, x));
    case ACT_NONE:
    case ACT_COUNT:
        break;
    }
    return x;
}

/* Every activation behind every operator that has an epilogue. */
static void test_activations(void **state) {
    (void)state;
    for (int act = ACT_NONE + 1; act < ACT_COUNT; act++)
        for (int op = 0; op < 6; op++) {
            struct gt t;
            gt_begin(&t, 14);
            int x = gt_input(&t, "x", op == 2 || op == 3 ? DIMS(5, 4) : DIMS(2, 4, 6, 5)), y = x;
            if (op == 0)
                y = conv(&t, x, 4, 3, true);
            else if (op == 1)
                y = gt_node(&t, "ConvTranspose", "", 2, x, gt_random(&t, DIMS(4, 3, 2, 2)));
            else if (op == 2)
                y = gt_node(&t, "Gemm", "", 2, x, gt_random(&t, DIMS(4, 3)));
            else if (op == 3)
                y = gt_node(&t, "MatMul", "", 2, x, gt_random(&t, DIMS(4, 3)));
            else if (op == 4)
                y = gt_node(&t, "Add", "", 2, x, gt_input(&t, "y", DIMS(1, 4, 1, 1)));
            else
                y = batchnorm(&t, x, 4);
            gt_output(&t, activation(&t, y, (enum act_kind)act));
            gt_same_after_finish(&t, 3e-6);
            int made = 0;
            for (int i = 0; i < t.g->node_count; i++)
                made += t.g->nodes[i].epilogue.act == (enum act_kind)act;
            assert_int_equal(made, 1);
            assert_int_equal(t.g->node_count - gt_count(&t, "cohort:ToMap"), 1);
            gt_end(&t);
        }
}

static void test_clip_bounds(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13); /* one bound left out */
    int x = conv(&t, gt_input(&t, "x", DIMS(1, 3, 4, 4)), 3, 3, false);
    gt_output(&t, gt_node(&t, "Clip", "", 3, x, -1, gt_scalar(&t, 0.25)));
    after(&t, pass_fuse_epilogue, 1);
    gt_end(&t);
    gt_begin(&t, 6); /* attributes */
    x = conv(&t, gt_input(&t, "x", DIMS(1, 3, 4, 4)), 3, 3, false);
    gt_output(&t, gt_node(&t, "Clip", "min=0.0 max=0.5", 1, x));
    after(&t, pass_fuse_epilogue, 1);
    assert_true(t.g->nodes[0].epilogue.b == 0.5f);
    gt_end(&t);
    gt_begin(&t, 13); /* a bound that is computed */
    x = conv(&t, gt_input(&t, "x", DIMS(1, 3, 4, 4)), 3, 3, false);
    gt_output(&t, gt_node(&t, "Clip", "", 2, x, gt_input(&t, "low", SCALAR)));
    after(&t, pass_fuse_epilogue, 2);
    gt_end(&t);
}

static void test_what_is_not_fused(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = conv(&t, gt_input(&t, "x", DIMS(1, 3, 4, 4)), 3, 3, false);
    gt_output(&t, x); /* an output itself */
    gt_output(&t, gt_node(&t, "Relu", "", 1, x));
    int y = conv(&t, x, 3, 3, false); /* read twice */
    gt_output(&t, gt_node(&t, "Relu", "", 1, y));
    gt_output(&t, gt_node(&t, "Tanh", "", 1, y));
    int z = gt_node(&t, "Relu", "", 1, conv(&t, x, 3, 3, false)); /* the second of two */
    gt_output(&t, gt_node(&t, "Tanh", "", 1, z));
    int m = gt_node(&t, "MaxPool", "kernel_shape=2,2", 1, x); /* no epilogue */
    gt_output(&t, gt_node(&t, "Relu", "", 1, m));
    after(&t, pass_fuse_epilogue, 9);
    gt_end(&t);
}

/* A ResNet block: the convolution on the branch adds the skip and then clips. */
static void test_residual(void **state) {
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 4, 5, 5)));
        int y = gt_node(&t, "Relu", "", 1, conv(&t, x, 4, 4, order == 0));
        y = conv(&t, y, 4, 4, order == 1);
        y = order ? gt_node(&t, "Add", "", 2, x, y) : gt_node(&t, "Add", "", 2, y, x);
        gt_output(&t, gt_node(&t, "Relu", "", 1, y));
        after(&t, pass_fuse_epilogue, 3);
        const struct node *n = &t.g->nodes[2];
        assert_int_equal(n->epilogue.residual, 3);
        assert_int_equal(n->epilogue.act, ACT_RELU);
        assert_false(n->epilogue.residual_last);
        assert_int_equal(n->in[3], x);
        gt_end(&t);
    }
    struct gt t; /* two convolutions meet: the later one adds, whichever operand it is */
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 4, 5, 5));
    int a = conv(&t, x, 4, 4, true), b = conv(&t, x, 4, 4, true);
    gt_output(&t, gt_node(&t, "Add", "", 2, a, b));
    after(&t, pass_fuse_epilogue, 2);
    assert_int_equal(t.g->nodes[0].epilogue.residual, -1);
    assert_int_equal(t.g->nodes[1].in[t.g->nodes[1].epilogue.residual], a);
    gt_end(&t);
}

/* The activation stands before the addition. */
static void test_residual_last(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(2, 4, 5, 5)));
    int y = gt_node(&t, "Relu", "", 1, conv(&t, x, 4, 4, true));
    y = gt_node(&t, "Add", "", 2, x, y);
    gt_output(&t, gt_node(&t, "MaxPool", "kernel_shape=2,2", 1, y));
    after(&t, pass_fuse_epilogue, 3);
    assert_true(t.g->nodes[1].epilogue.residual_last);
    gt_end(&t);
    gt_begin(&t, 13); /* followed by another activation: that one goes into the Add */
    x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(2, 4, 5, 5)));
    y = gt_node(&t, "Relu", "", 1, conv(&t, x, 4, 4, true));
    gt_output(&t, gt_node(&t, "Sigmoid", "", 1, gt_node(&t, "Add", "", 2, x, y)));
    after(&t, pass_fuse_epilogue, 3);
    assert_int_equal(gt_find(&t, "Conv")->epilogue.residual, -1);
    assert_int_equal(gt_find(&t, "Add")->epilogue.act, ACT_SIGMOID);
    gt_end(&t);
}

static void test_residuals_that_stay(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 4, 5, 5));
    int a = conv(&t, x, 4, 4, true);
    int late = gt_node(&t, "Tanh", "", 1, gt_node(&t, "Tanh", "", 1, x)); /* made after the Conv */
    gt_output(&t, gt_node(&t, "Add", "", 2, a, late));
    int b = conv(&t, x, 4, 4, true); /* with itself */
    gt_output(&t, gt_node(&t, "Add", "", 2, b, b));
    int c = conv(&t, x, 4, 4, true); /* broadcast */
    gt_output(&t, gt_node(&t, "Add", "", 2, c, gt_input(&t, "y", DIMS(1, 4, 1, 1))));
    int d = conv(&t, x, 4, 4, true); /* the sum of three: only one residual */
    int e = gt_node(&t, "Add", "", 2, d, x);
    gt_output(&t, gt_node(&t, "Add", "", 2, e, late));
    int f = conv(&t, x, 4, 4, true); /* read elsewhere */
    gt_output(&t, gt_node(&t, "Add", "", 2, f, x));
    gt_output(&t, f);
    after(&t, pass_fuse_epilogue, 5 + 2 + 5);
    gt_end(&t);
}

/* ---- pads ------------------------------------------------------------------------------------ */

static int pad(struct gt *t, int x, double value, int top, int left, int bottom, int right) {
    return gt_node(t, "Pad", "", 3, x, gt_list(t, 8, 0, 0, top, left, 0, 0, bottom, right),
                   gt_scalar(t, value));
}

static void test_pads(void **state) {
    (void)state;
    static const struct {
        const char *op, *attrs;
        double value;
        bool relu, folded;
    } cases[] = {
        {"Conv", "", 0, false, true},
        {"Conv", "pads=1,0,0,2 strides=2,2 dilations=2,1", 0, false, true},
        {"Conv", "auto_pad=VALID", 0, false, true},
        {"Conv", "auto_pad=SAME_UPPER", 0, false, false},
        {"Conv", "", 1, false, false},
        {"AveragePool", "kernel_shape=3,3 strides=2,2", 0, false, true},
        {"AveragePool", "kernel_shape=3,3 pads=1,1,1,1 count_include_pad=1", 0, false, false},
        {"AveragePool", "kernel_shape=4,5 pads=1,1,1,1 count_include_pad=1", 0, false, true},
        {"AveragePool", "kernel_shape=4,5 pads=1,1,1,1", 0, false, false},
        {"AveragePool", "kernel_shape=3,3 ceil_mode=1 strides=2,2", 0, false, false},
        {"AveragePool", "kernel_shape=2,2", 0, false, false}, /* windows of padding only */
        {"MaxPool", "kernel_shape=3,3", 0, false, false},
        {"MaxPool", "kernel_shape=3,3", 0, true, true},
        {"MaxPool", "kernel_shape=3,3 strides=2,2", -3.4028234663852886e38, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_input(&t, "x", DIMS(2, 3, 7, 6));
        x = gt_node(&t, cases[i].relu ? "Relu" : "Tanh", "", 1, x);
        x = pad(&t, x, cases[i].value, 1, 2, 2, 0);
        bool conv_case = strcmp(cases[i].op, "Conv") == 0;
        x = conv_case ? gt_node(&t, "Conv", cases[i].attrs, 2, x, gt_random(&t, DIMS(4, 3, 3, 3)))
                      : gt_node(&t, cases[i].op, cases[i].attrs, 1, x);
        gt_output(&t, x);
        gt_same_after(&t, pass_recognise, 0);
        if (gt_count(&t, "Pad") != !cases[i].folded)
            fail_msg("%s %s", cases[i].op, cases[i].attrs);
        gt_end(&t);
    }
    struct gt t;
    gt_begin(&t, 13); /* channels padded; a mirror; cropped */
    int x = gt_input(&t, "x", DIMS(1, 3, 7, 6)), w = gt_random(&t, DIMS(4, 3, 3, 3));
    int y = gt_node(&t, "Pad", "", 2, x, gt_list(&t, 8, 0, 0, 0, 0, 0, 1, 0, 0));
    gt_output(&t, gt_node(&t, "Conv", "", 2, y, gt_random(&t, DIMS(4, 4, 3, 3))));
    y = gt_node(&t, "Pad", "mode=reflect", 2, x, gt_list(&t, 8, 0, 0, 1, 1, 0, 0, 1, 1));
    gt_output(&t, gt_node(&t, "Conv", "", 2, y, w));
    y = gt_node(&t, "Pad", "", 2, x, gt_list(&t, 8, 0, 0, -1, 1, 0, 0, 1, 1));
    gt_output(&t, gt_node(&t, "Conv", "", 2, y, w));
    gt_same_after(&t, pass_recognise, 0);
    assert_int_equal(gt_count(&t, "Pad"), 3);
    gt_end(&t);
    gt_begin(&t, 7); /* pads as an attribute */
    x = gt_input(&t, "x", DIMS(1, 3, 7, 6));
    x = gt_node(&t, "Pad", "pads=0,0,1,1,0,0,1,1", 1, x);
    gt_output(&t, gt_node(&t, "Conv", "", 2, x, gt_random(&t, DIMS(4, 3, 3, 3))));
    gt_same_after(&t, pass_recognise, 0);
    assert_int_equal(t.g->node_count, 1);
    assert_int_equal(t.g->nodes[0].window.pad_begin[0], 1);
    gt_end(&t);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batchnorm_into_conv),
        cmocka_unit_test(test_chain_into_conv),
        cmocka_unit_test(test_batchnorm_into_others),
        cmocka_unit_test(test_what_is_not_folded),
        cmocka_unit_test(test_forwards_into_conv),
        cmocka_unit_test(test_forwards_at_the_edge),
        cmocka_unit_test(test_matmul_with_bias_is_gemm),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_clip_bounds),
        cmocka_unit_test(test_what_is_not_fused),
        cmocka_unit_test(test_residual),
        cmocka_unit_test(test_residual_last),
        cmocka_unit_test(test_residuals_that_stay),
        cmocka_unit_test(test_pads),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("pass_fuse", tests, NULL, NULL);
}
