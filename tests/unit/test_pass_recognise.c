/* Chains that mean one operator: written in the ways that exporters write them, and in ways that
 * only look alike. */
#include "tests/support/graphtest.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Runs the pass, compares, and says how many nodes of `op` there are then. */
static void recognised(struct gt *t, const char *op, int count) {
    gt_same_after(t, pass_recognise, 2e-6);
    if (gt_count(t, op) != count)
        fail_msg("%d %s, not %d", gt_count(t, op), op, count);
    gt_end(t);
}

/* ---- GELU ------------------------------------------------------------------------------------ */

enum gelu_way { HALF_FIRST, HALF_LAST, HALF_IN_GATE, DIVIDED };

static int erf_gelu(struct gt *t, int x, enum gelu_way way, double half, double one, double root) {
    int u = way == DIVIDED ? gt_node(t, "Div", "", 2, x, gt_scalar(t, 1 / root))
                           : gt_node(t, "Mul", "", 2, gt_scalar(t, root), x);
    int gate = gt_node(t, "Add", "", 2, gt_node(t, "Erf", "", 1, u), gt_scalar(t, one));
    int h = gt_scalar(t, half);
    switch (way) {
    case HALF_FIRST:
        return gt_node(t, "Mul", "", 2, gt_node(t, "Mul", "", 2, h, x), gate);
    case HALF_IN_GATE:
        return gt_node(t, "Mul", "", 2, x, gt_node(t, "Mul", "", 2, gate, h));
    case DIVIDED:
        return gt_node(t, "Div", "", 2, gt_node(t, "Mul", "", 2, gate, x), gt_scalar(t, 1 / half));
    case HALF_LAST:
    default:
        return gt_node(t, "Mul", "", 2, gt_node(t, "Mul", "", 2, x, gate), h);
    }
}

static void test_erf_gelu(void **state) {
    (void)state;
    const double root = 0.70710678118654752;
    for (int way = HALF_FIRST; way <= DIVIDED; way++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(2, 5, 8)));
        gt_output(&t, erf_gelu(&t, x, (enum gelu_way)way, 0.5, 1, root));
        gt_same_after(&t, pass_recognise, 2e-6);
        assert_int_equal(t.g->node_count, 2);
        assert_null(node_attr(gt_find(&t, "Gelu"), "approximate"));
        gt_end(&t);
    }
    static const double wrong[3][3] = {{0.4, 1, 0.70710678}, {0.5, 1.1, 0.70710678}, {0.5, 1, 0.7}};
    for (int i = 0; i < 3; i++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(2, 5)));
        gt_output(&t, erf_gelu(&t, x, HALF_LAST, wrong[i][0], wrong[i][1], wrong[i][2]));
        recognised(&t, "Gelu", 0);
    }
    struct gt t; /* x is a product itself: its factors are not mistaken for the formula's */
    gt_begin(&t, 13);
    int x = gt_node(&t, "Mul", "", 2, gt_input(&t, "x", DIMS(2, 5)), gt_random(&t, DIMS(5)));
    gt_output(&t, erf_gelu(&t, x, HALF_LAST, 0.5, 1, root));
    recognised(&t, "Gelu", 1);
    gt_begin(&t, 13); /* another x outside than inside */
    x = gt_input(&t, "x", DIMS(2, 5));
    int y = gt_node(&t, "Tanh", "", 1, x);
    int gate = gt_node(&t, "Add", "", 2,
                       gt_node(&t, "Erf", "", 1, gt_node(&t, "Mul", "", 2, y, gt_scalar(&t, root))),
                       gt_scalar(&t, 1));
    gt_output(&t,
              gt_node(&t, "Mul", "", 2, gt_node(&t, "Mul", "", 2, x, gate), gt_scalar(&t, 0.5)));
    recognised(&t, "Gelu", 0);
}

/* factored: sqrt(2/pi) * x * (1 + 0.044715 x x). */
static int tanh_gelu(struct gt *t, int x, bool factored, double coefficient) {
    int root = gt_scalar(t, 0.7978845608028654), u;
    if (factored) {
        int square = gt_node(t, "Mul", "", 2, x, x);
        int s = gt_node(t, "Mul", "", 2, gt_scalar(t, coefficient), square);
        s = gt_node(t, "Add", "", 2, gt_scalar(t, 1), s);
        u = gt_node(t, "Mul", "", 2, gt_node(t, "Mul", "", 2, x, root), s);
    } else {
        int cube = gt_node(t, "Pow", "", 2, x, gt_scalar(t, 3));
        cube = gt_node(t, "Mul", "", 2, cube, gt_scalar(t, coefficient));
        u = gt_node(t, "Mul", "", 2, root, gt_node(t, "Add", "", 2, x, cube));
    }
    int gate = gt_node(t, "Add", "", 2, gt_scalar(t, 1), gt_node(t, "Tanh", "", 1, u));
    return gt_node(t, "Mul", "", 2, gt_node(t, "Mul", "", 2, x, gt_scalar(t, 0.5)), gate);
}

static void test_tanh_gelu(void **state) {
    (void)state;
    for (int way = 0; way < 6; way++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_input(&t, "x", DIMS(2, 5, 8));
        if (way / 2 == 1)
            x = gt_node(&t, "Mul", "", 2, x, gt_random(&t, DIMS(8)));
        gt_output(&t, tanh_gelu(&t, x, way % 2, way / 2 == 2 ? 0.05 : 0.044715));
        gt_same_after(&t, pass_recognise, 2e-6);
        assert_int_equal(gt_count(&t, "Gelu"), way / 2 != 2);
        if (way / 2 != 2)
            assert_string_equal(node_attr_string(gt_find(&t, "Gelu"), "approximate", ""), "tanh");
        gt_end(&t);
    }
}

/* ---- HardSwish, SiLU ------------------------------------------------------------------------- */

static void test_hard_swish(void **state) {
    (void)state;
    for (int way = 0; way < 8; way++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(1, 3, 4, 4)));
        x = gt_node(&t, "Mul", "", 2, x, gt_scalar(&t, 5));
        double three = way == 5 ? 2.5 : 3, six = way == 6 ? 5 : 6;
        int clip = gt_node(&t, "Clip", "", 3, gt_node(&t, "Add", "", 2, x, gt_scalar(&t, three)),
                           gt_scalar(&t, 0), gt_scalar(&t, six));
        int y;
        if (way == 0 || way >= 5)
            y = gt_node(&t, "Div", "", 2, gt_node(&t, "Mul", "", 2, x, clip),
                        gt_scalar(&t, way == 7 ? 5 : 6));
        else if (way == 1)
            y = gt_node(&t, "Mul", "", 2, x, gt_node(&t, "Div", "", 2, clip, gt_scalar(&t, 6)));
        else if (way == 2)
            y = gt_node(&t, "Mul", "", 2, gt_node(&t, "Mul", "", 2, clip, gt_scalar(&t, 1. / 6)),
                        x);
        else
            y = gt_node(&t, "Mul", "", 2, x,
                        gt_node(&t, "HardSigmoid", way == 3 ? "alpha=0.16666667" : "", 1, x));
        gt_output(&t, y);
        recognised(&t, "HardSwish", way <= 3);
    }
}

static void test_silu(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_node(&t, "Tanh", "", 1, gt_input(&t, "x", DIMS(1, 3, 4, 4)));
    gt_output(&t, gt_node(&t, "Mul", "", 2, gt_node(&t, "Sigmoid", "", 1, x), x));
    recognised(&t, "Swish", 1);
    gt_begin(&t, 13); /* a gate of something else */
    x = gt_input(&t, "x", DIMS(1, 3, 4, 4));
    int y = gt_node(&t, "Tanh", "", 1, x);
    gt_output(&t, gt_node(&t, "Mul", "", 2, gt_node(&t, "Sigmoid", "", 1, y), x));
    recognised(&t, "Swish", 0);
}

/* ---- LayerNormalization ---------------------------------------------------------------------- */

struct ln_way {
    const char *axes, *variance_axes;
    bool twice, square_by_mul, scale, bias, scale_left;
    double power;
    int scale_rank;
};

static int layer_norm(struct gt *t, int x, struct ln_way w) {
    char attrs[64];
    strcpy(attrs, "keepdims=1 ");
    strcat(attrs, w.axes);
    int mean = gt_node(t, "ReduceMean", attrs, 1, x);
    int d = gt_node(t, "Sub", "", 2, x, mean);
    int e = w.twice ? gt_node(t, "Sub", "", 2, x, mean) : d;
    int square = w.square_by_mul ? gt_node(t, "Mul", "", 2, e, e)
                                 : gt_node(t, "Pow", "", 2, e, gt_scalar(t, w.power));
    strcpy(attrs, "keepdims=1 ");
    strcat(attrs, w.variance_axes != NULL ? w.variance_axes : w.axes);
    int variance = gt_node(t, "ReduceMean", attrs, 1, square);
    int root = gt_node(t, "Sqrt", "", 1, gt_node(t, "Add", "", 2, variance, gt_scalar(t, 1e-3)));
    int y = gt_node(t, "Div", "", 2, d, root);
    struct shape s = DIMS(8);
    if (w.scale_rank == 0)
        s = SCALAR;
    else if (w.scale_rank == 3)
        s = DIMS(1, 1, 8);
    else if (w.scale_rank == 2)
        s = DIMS(5, 8);
    int scale = gt_random(t, s), bias = gt_random(t, s);
    if (w.scale)
        y = w.scale_left ? gt_node(t, "Mul", "", 2, scale, y) : gt_node(t, "Mul", "", 2, y, scale);
    return w.bias ? gt_node(t, "Add", "", 2, y, bias) : y;
}

static void check_layer_norm(struct ln_way w, int want, int nodes) {
    struct gt t;
    gt_begin(&t, 13);
    gt_output(&t, layer_norm(&t, gt_input(&t, "x", DIMS(2, 5, 8)), w));
    gt_same_after(&t, pass_recognise, 5e-6);
    assert_int_equal(gt_count(&t, "LayerNormalization"), want);
    if (want)
        assert_int_equal(t.g->node_count, nodes);
    gt_end(&t);
}

static void test_layer_norm(void **state) {
    (void)state;
    struct ln_way usual = {
        .axes = "axes=[-1]", .scale = true, .bias = true, .power = 2, .scale_rank = 1};
    struct ln_way w = usual;
    check_layer_norm(w, 1, 1);
    w.twice = w.scale_left = true;
    check_layer_norm(w, 1, 1);
    w.square_by_mul = true;
    check_layer_norm(w, 1, 1);
    w = usual;
    w.axes = "axes=[2]";
    w.scale_rank = 3;
    check_layer_norm(w, 1, 1);
    w.scale_rank = 0;
    check_layer_norm(w, 1, 1);
    w.bias = false;
    check_layer_norm(w, 1, 1);
    w.scale = false;
    check_layer_norm(w, 1, 1);
    w.bias = true;
    w.scale_rank = 1;
    check_layer_norm(w, 1, 1);
    w = usual; /* over two axes */
    w.axes = "axes=2,1";
    w.scale_rank = 2;
    check_layer_norm(w, 1, 1);
    /* What is none: */
    w = usual;
    w.power = 3;
    check_layer_norm(w, 0, 0);
    w = usual;
    w.variance_axes = "axes=[1]";
    check_layer_norm(w, 0, 0);
    w = usual;
    w.axes = "axes=[1]";
    check_layer_norm(w, 0, 0);
    w = usual; /* a scale that differs along the tokens is not the norm's: it stays behind it */
    w.scale_rank = 2;
    check_layer_norm(w, 1, 3);
}

/* A mean over all pixels: a pool and a view, which a fully connected layer absorbs. */
static void test_mean_of_pixels(void **state) {
    (void)state;
    static const char *const attrs[] = {"axes=2,3 keepdims=0", "axes=-1,-2 keepdims=0", "axes=2,3",
                                        "axes=1,2 keepdims=0", "axes=[3] keepdims=0"};
    for (int way = 0; way < 5; way++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 5, 4, 3)));
        gt_output(&t, gt_node(&t, "ReduceMean", attrs[way], 1, x));
        recognised(&t, "GlobalAveragePool", way < 2);
    }
    struct gt t;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(2, 3, 6, 6));
    x = gt_node(&t, "Conv", "", 2, x, gt_random(&t, DIMS(18, 3, 3, 3)));
    x = gt_node(&t, "ReduceMean", "axes=2,3 keepdims=0", 1, x);
    gt_output(&t, gt_node(&t, "Gemm", "", 2, x, gt_random(&t, DIMS(18, 5))));
    gt_same_after_finish(&t, 3e-6);
    assert_int_equal(t.g->node_count, 4); /* the mean of each row, and of these */
    gt_end(&t);
}

/* ---- moves ----------------------------------------------------------------------------------- */

static int reshape(struct gt *t, int x, struct shape s) {
    struct tensor c;
    int id = -1;
    struct shape list = {.rank = 1, .dim = {s.rank}};
    assert_int_equal(tensor_init(&c, DT_I64, &list, &t->err), COHORT_OK);
    memcpy(c.data, s.dim, (size_t)s.rank * sizeof *s.dim);
    assert_int_equal(graph_add_constant(t->g, "", &c, &id, &t->err), COHORT_OK);
    return gt_node(t, "Reshape", "", 2, x, id);
}

static void test_channel_shuffle(void **state) {
    (void)state;
    for (int groups = 1; groups <= 12; groups++) {
        if (12 % groups != 0)
            continue;
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 12, 3, 5)));
        x = reshape(&t, x, DIMS(2, groups, 12 / groups, 3, 5));
        x = gt_node(&t, "Transpose", "perm=0,2,1,3,4", 1, x);
        gt_output(&t, reshape(&t, x, DIMS(2, 12, 3, 5)));
        gt_same_after(&t, pass_recognise, 0);
        bool real = groups > 1 && groups < 12;
        assert_int_equal(gt_count(&t, "cohort:ChannelShuffle"), real);
        if (real)
            assert_int_equal(node_attr_int(gt_find(&t, "cohort:ChannelShuffle"), "group", 0),
                             groups);
        gt_end(&t);
    }
    struct gt t;
    gt_begin(&t, 13); /* areas merged on the way, one-dimensional maps */
    int x = reshape(&t, gt_input(&t, "x", DIMS(2, 6, 15)), DIMS(2, 3, 2, 3, 5));
    x = reshape(&t, gt_node(&t, "Transpose", "perm=0,2,1,3,4", 1, x), DIMS(2, 6, 15));
    gt_output(&t, x);
    recognised(&t, "cohort:ChannelShuffle", 1);
    gt_begin(&t, 13); /* channels and rows mixed */
    x = reshape(&t, gt_input(&t, "x", DIMS(2, 6, 4, 5)), DIMS(2, 3, 2, 4, 5));
    x = reshape(&t, gt_node(&t, "Transpose", "perm=0,3,2,1,4", 1, x), DIMS(2, 6, 4, 5));
    gt_output(&t, x);
    recognised(&t, "cohort:ChannelShuffle", 0);
    gt_begin(&t, 13); /* images shuffled too */
    x = reshape(&t, gt_input(&t, "x", DIMS(2, 6, 4, 5)), DIMS(2, 3, 2, 4, 5));
    x = reshape(&t, gt_node(&t, "Transpose", "perm=2,1,0,3,4", 1, x), DIMS(2, 6, 4, 5));
    gt_output(&t, x);
    recognised(&t, "cohort:ChannelShuffle", 0);
    gt_begin(&t, 13); /* a value on the way is wanted */
    x = reshape(&t, gt_input(&t, "x", DIMS(2, 6, 4, 5)), DIMS(2, 3, 2, 4, 5));
    x = gt_node(&t, "Transpose", "perm=0,2,1,3,4", 1, x);
    gt_output(&t, x);
    gt_output(&t, reshape(&t, x, DIMS(2, 6, 4, 5)));
    recognised(&t, "cohort:ChannelShuffle", 0);
}

/* As FastestDet and ShuffleNetV2 have it: shuffled, then taken apart by Gathers. */
static void test_shuffle_taken_apart(void **state) {
    (void)state;
    for (int way = 0; way < 5; way++) {
        struct gt t;
        gt_begin(&t, 13);
        int x = gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(way == 1 ? 3 : 1, 12, 4, 5)));
        int batch = way == 1 ? 3 : 1, parts = way == 2 ? 3 : 2;
        if (way == 1) { /* a batch, written without merging it into the channels */
            x = reshape(&t, x, DIMS(3, 6, 2, 20));
            x = gt_node(&t, "Transpose", "perm=2,0,1,3", 1, x);
        } else {
            x = reshape(&t, x, DIMS(12 / parts, parts, 20));
            x = gt_node(&t, "Transpose", way == 3 ? "perm=1,2,0" : "perm=1,0,2", 1, x);
        }
        x = reshape(&t, x, DIMS(parts, batch, 12 / parts, 4, 5));
        for (int k = 0; k < parts; k++) {
            int64_t at = k == 1 ? 1 - parts : k; /* one of them counted from the end */
            struct tensor index;
            int id = -1;
            assert_int_equal(tensor_init(&index, DT_I64, &SCALAR, &t.err), COHORT_OK);
            tensor_i64(&index)[0] = at;
            assert_int_equal(graph_add_constant(t.g, "", &index, &id, &t.err), COHORT_OK);
            gt_output(&t, gt_node(&t, "Gather", "axis=0", 2, x, id));
        }
        if (way == 4) /* read as a whole, too */
            gt_output(&t, gt_node(&t, "Tanh", "", 1, x));
        gt_same_after(&t, pass_recognise, 0);
        assert_int_equal(gt_count(&t, "cohort:ChannelShuffle"), way < 3);
        assert_int_equal(gt_count(&t, "Slice"), way < 3 ? parts : 0);
        assert_int_equal(gt_count(&t, "Reshape"), way < 3 ? 0 : 2);
        gt_end(&t);
    }
}

/* YOLOv2's reorg, in six dims and as three transposes. */
static void test_space_to_depth(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = reshape(&t, gt_input(&t, "x", DIMS(2, 3, 4, 6)), DIMS(2, 3, 2, 2, 3, 2));
    x = gt_node(&t, "Transpose", "perm=0,3,5,1,2,4", 1, x);
    gt_output(&t, reshape(&t, x, DIMS(2, 12, 2, 3)));
    gt_same_after(&t, pass_recognise, 0);
    assert_int_equal(t.g->node_count, 1);
    assert_int_equal(node_attr_int(gt_find(&t, "SpaceToDepth"), "blocksize", 0), 2);
    gt_end(&t);

    gt_begin(&t, 13); /* as PyTorch's reorg: one pair of axes at a time */
    x = reshape(&t, gt_input(&t, "x", DIMS(2, 3, 4, 6)), DIMS(2, 3, 2, 2, 3, 2));
    x = gt_node(&t, "Transpose", "perm=0,1,2,4,3,5", 1, x);
    x = reshape(&t, x, DIMS(2, 3, 6, 4));
    x = gt_node(&t, "Transpose", "perm=0,1,3,2", 1, x);
    x = reshape(&t, x, DIMS(2, 3, 4, 2, 3));
    x = gt_node(&t, "Transpose", "perm=0,2,1,3,4", 1, x);
    gt_output(&t, reshape(&t, x, DIMS(2, 12, 2, 3)));
    gt_same_after(&t, pass_recognise, 0);
    assert_int_equal(t.g->node_count, 1);
    assert_int_equal(gt_count(&t, "SpaceToDepth"), 1);
    gt_end(&t);

    gt_begin(&t, 13); /* pixel_unshuffle: channels outermost */
    x = reshape(&t, gt_input(&t, "x", DIMS(2, 3, 6, 9)), DIMS(2, 3, 2, 3, 3, 3));
    x = gt_node(&t, "Transpose", "perm=0,1,3,5,2,4", 1, x);
    x = reshape(&t, x, DIMS(2, 27, 2, 3));
    gt_output(&t, gt_node(&t, "Relu", "", 1, x));
    gt_same_after(&t, pass_recognise, 0);
    assert_int_equal(t.g->node_count, 3);
    assert_int_equal(node_attr_int(gt_find(&t, "cohort:ChannelShuffle"), "group", 0), 9);
    assert_int_equal(node_attr_int(gt_find(&t, "SpaceToDepth"), "blocksize", 0), 3);
    gt_end(&t);

    gt_begin(&t, 13); /* rows and columns of the block exchanged: none of ours */
    x = reshape(&t, gt_input(&t, "x", DIMS(2, 3, 4, 6)), DIMS(2, 3, 2, 2, 3, 2));
    x = gt_node(&t, "Transpose", "perm=0,5,3,1,2,4", 1, x);
    gt_output(&t, reshape(&t, x, DIMS(2, 12, 2, 3)));
    recognised(&t, "SpaceToDepth", 0);
}

static void test_depth_to_space(void **state) {
    (void)state;
    struct gt t;
    gt_begin(&t, 13);
    int x = reshape(&t, gt_input(&t, "x", DIMS(2, 12, 3, 5)), DIMS(2, 2, 2, 3, 3, 5));
    x = gt_node(&t, "Transpose", "perm=0,3,4,1,5,2", 1, x);
    gt_output(&t, reshape(&t, x, DIMS(2, 3, 6, 10)));
    gt_same_after(&t, pass_recognise, 0);
    assert_string_equal(node_attr_string(gt_find(&t, "DepthToSpace"), "mode", ""), "DCR");
    gt_end(&t);
    gt_begin(&t, 13); /* pixel_shuffle */
    x = reshape(&t, gt_input(&t, "x", DIMS(2, 12, 3, 5)), DIMS(2, 3, 2, 2, 3, 5));
    x = gt_node(&t, "Transpose", "perm=0,1,4,2,5,3", 1, x);
    gt_output(&t, reshape(&t, x, DIMS(2, 3, 6, 10)));
    gt_same_after(&t, pass_recognise, 0);
    assert_string_equal(node_attr_string(gt_find(&t, "DepthToSpace"), "mode", ""), "CRD");
    gt_end(&t);
}

/* Random chains: whatever is made of them computes the same. */
static void test_random_chains(void **state) {
    (void)state;
    static const struct shape shapes[] = {
        {4, {2, 12, 4, 6}},   {4, {2, 48, 2, 3}},       {4, {2, 3, 8, 12}},
        {5, {2, 3, 4, 4, 6}}, {5, {2, 4, 3, 4, 6}},     {6, {2, 3, 2, 2, 4, 6}},
        {3, {2, 12, 24}},     {6, {2, 12, 2, 2, 3, 2}}, {6, {2, 2, 2, 3, 4, 6}}};
    enum { SHAPES = sizeof shapes / sizeof shapes[0] };
    int rewritten = 0;
    struct gt seed = {.seed = 7};
    for (int round = 0; round < 4000; round++) {
        struct gt t;
        gt_begin(&t, 13);
        t.seed = seed.seed;
        int x = gt_input(&t, "x", shapes[gt_pick(&t, 0, 2)]);
        int length = gt_pick(&t, 0, 3) == 0 ? 2 : 1;
        for (int i = 0; i < length; i++) {
            struct shape s = shapes[gt_pick(&t, 0, SHAPES - 1)];
            x = reshape(&t, x, s);
            char perm[32] = "perm=0";
            int order[8] = {0, 1, 2, 3, 4, 5}, at = 6;
            for (int swaps = (int)gt_pick(&t, 1, 3); swaps > 0; swaps--) {
                int k = (int)gt_pick(&t, 1, s.rank - 1), j = (int)gt_pick(&t, 1, s.rank - 1);
                int keep = order[k];
                order[k] = order[j];
                order[j] = keep;
            }
            for (int k = 1; k < s.rank; k++) {
                perm[at++] = ',';
                perm[at++] = (char)('0' + order[k]);
            }
            x = gt_node(&t, "Transpose", perm, 1, x);
        }
        gt_output(&t, reshape(&t, x, shapes[gt_pick(&t, 0, 2)]));
        gt_same_after(&t, pass_recognise, 0);
        rewritten += gt_count(&t, "SpaceToDepth") + gt_count(&t, "DepthToSpace") +
                         gt_count(&t, "cohort:ChannelShuffle") >
                     0;
        seed.seed = t.seed;
        gt_end(&t);
    }
    assert_true(rewritten > 20);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_erf_gelu),        cmocka_unit_test(test_tanh_gelu),
        cmocka_unit_test(test_hard_swish),      cmocka_unit_test(test_silu),
        cmocka_unit_test(test_layer_norm),      cmocka_unit_test(test_mean_of_pixels),
        cmocka_unit_test(test_channel_shuffle), cmocka_unit_test(test_shuffle_taken_apart),
        cmocka_unit_test(test_space_to_depth),  cmocka_unit_test(test_depth_to_space),
        cmocka_unit_test(test_random_chains),   cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("pass_recognise", tests, NULL, NULL);
}
