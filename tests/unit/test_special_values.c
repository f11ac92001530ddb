/* NaN, infinities, denormals, signed zeros and empty tensors, over the registries: every operator
 * that runs on feature maps, with every kernel and instruction set of this CPU, whole and in row
 * tiles, against the reference evaluators; the functions of one element and the reductions against
 * numbers that stand here.
 *
 * Denormals count as zero throughout (pool_set_float_mode()), so they are compared as zeros.  Every
 * operator with map_ok() needs a row in `cases`. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "exec/exec.h"
#include "kernels/kernel.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- operators on maps ----------------------------------------------------------------------- */

/* Inputs: "x" a tensor with special values, "c" a random constant, "p" a positive one, "i" a list
 * of integers, "s" a scalar, "-" left out; dims or numbers behind it.  "x" without dims is every
 * one of `shapes`. */
struct op_case {
    const char *op;
    int opset;
    const char *attrs, *inputs;
    double tolerance;
};

static const struct op_case cases[] = {
    {"Abs", 13, "", "x", 0},
    {"Acos", 13, "", "x", 1e-6},
    {"Acosh", 13, "", "x", 1e-6},
    {"Add", 13, "", "x x", 0},
    {"Add", 13, "", "x s0.5", 0},
    {"Asin", 13, "", "x", 1e-6},
    {"Asinh", 13, "", "x", 1e-6},
    {"Atan", 13, "", "x", 1e-6},
    {"Atanh", 13, "", "x", 1e-6},
    {"AveragePool", 13, "kernel_shape=3,3 pads=1,1,1,1 strides=2,2", "x", 1e-5},
    {"AveragePool", 13, "kernel_shape=2,4", "x1,5,6,7", 1e-5},
    {"BatchNormalization", 13, "", "x1,20,6,7 c20 c20 c20 p20", 1e-5},
    {"Ceil", 13, "", "x", 0},
    {"Celu", 13, "alpha=0.5", "x", 1e-5},
    {"Clip", 13, "", "x s-0.5 s1.5", 0},
    {"Concat", 13, "axis=1", "x x", 0},
    {"Conv", 13, "pads=1,1,1,1", "x2,20,6,9 c21,20,3,3 c21", 1e-4},
    {"Conv", 13, "", "x1,5,6,9 c18,5,1,1 c18", 1e-4},
    {"Conv", 13, "strides=2,2 group=20 pads=1,1,1,1", "x1,20,6,9 c20,1,3,3 c20", 1e-4},
    {"Conv", 13, "group=20 pads=1,1,1,1", "x1,20,6,9 c20,1,3,3 c20", 1e-4},
    {"Conv", 13, "group=2", "x1,8,6,9 c6,4,3,2", 1e-4},
    {"ConvTranspose", 13, "strides=2,2", "x1,20,4,5 c20,9,3,3 c9", 1e-4},
    {"Cos", 13, "", "x", 1e-6},
    {"Cosh", 13, "", "x", 1e-6},
    {"DepthToSpace", 13, "blocksize=2", "x1,20,4,5", 0},
    {"Div", 13, "", "x x", 1e-6},
    {"Dropout", 13, "", "x", 0},
    {"Elu", 13, "alpha=0.7", "x", 1e-5},
    {"Erf", 13, "", "x", 1e-6},
    {"Exp", 13, "", "x", 1e-6},
    {"Floor", 13, "", "x", 0},
    {"Gelu", 20, "", "x", 1e-5},
    {"Gelu", 20, "approximate=tanh", "x", 1e-5},
    {"GlobalAveragePool", 13, "", "x", 1e-5},
    {"GroupNormalization", 21, "num_groups=5", "x1,20,6,7 c20 c20", 1e-4},
    {"GroupNormalization", 21, "num_groups=1", "x2,5,6,7 c5 c5", 1e-4},
    {"GlobalLpPool", 13, "", "x", 1e-5},
    {"GlobalLpPool", 13, "p=1", "x2,20,6,7", 1e-5},
    {"GlobalLpPool", 13, "p=3", "x", 1e-5},
    {"GlobalMaxPool", 13, "", "x", 0},
    {"HardSigmoid", 13, "", "x", 1e-6},
    {"HardSwish", 14, "", "x", 1e-6},
    {"Identity", 13, "", "x", 0},
    {"InstanceNormalization", 13, "", "x2,20,6,7 c20 c20", 1e-4},
    {"LeakyRelu", 13, "alpha=0.3", "x", 1e-6},
    {"Log", 13, "", "x", 1e-6},
    {"LogSoftmax", 13, "axis=1", "x", 1e-5},
    {"LpPool", 18, "kernel_shape=3,3 pads=1,1,1,1 strides=2,2 p=2", "x", 1e-5},
    {"LpPool", 18, "kernel_shape=2,2 p=1", "x", 1e-5},
    {"LpPool", 18, "kernel_shape=2,3 dilations=1,2 p=3", "x", 1e-5},
    {"LRN", 13, "size=3", "x", 1e-5},
    {"Max", 13, "", "x x", 0},
    {"Max", 13, "", "x s0.25", 0},
    {"Max", 13, "", "s0.25 x", 0},
    {"MaxPool", 13, "kernel_shape=3,3 pads=1,1,1,1 strides=2,2", "x", 0},
    {"MaxPool", 13, "kernel_shape=3,3 strides=1,1", "x", 0},
    {"MaxPool", 13, "kernel_shape=2,2 strides=2,2", "x", 0},
    {"MaxPool", 13, "kernel_shape=2,3 dilations=2,1", "x", 0},
    {"Min", 13, "", "x x", 0},
    {"Min", 13, "", "x s0.25", 0},
    {"Mish", 18, "", "x", 1e-5},
    {"Mul", 13, "", "x x", 1e-6},
    {"Mul", 13, "", "x c", 1e-6},
    {"Neg", 13, "", "x", 0},
    {"Pad", 13, "", "x1,20,4,5 i0,0,1,2,0,0,2,1", 0},
    {"Pow", 13, "", "x s2.0", 1e-6},
    {"Pow", 13, "", "x s0.5", 1e-6},
    {"Pow", 13, "", "x s-1.0", 1e-6},
    {"Pow", 13, "", "x x", 1e-5},
    {"PRelu", 13, "", "x1,20,6,7 c20,1,1", 1e-6},
    {"Reciprocal", 13, "", "x", 1e-6},
    {"ReduceMax", 13, "axes=2,3", "x", 0},
    {"ReduceMean", 13, "axes=2,3", "x", 1e-5},
    {"ReduceSum", 13, "", "x i2,3", 1e-5},
    {"Relu", 13, "", "x", 0},
    {"Resize", 13, "mode=linear", "x1,20,4,5 - c0 i1,20,8,10", 1e-5},
    {"Resize", 13, "mode=nearest", "x1,20,4,5 - c0 i1,20,8,10", 0},
    {"Round", 13, "", "x", 0},
    {"Selu", 13, "", "x", 1e-5},
    {"Shrink", 13, "lambd=0.5 bias=0.25", "x", 1e-6},
    {"Sigmoid", 13, "", "x", 1e-6},
    {"Sign", 13, "", "x", 0},
    {"Sin", 13, "", "x", 1e-6},
    {"Sinh", 13, "", "x", 1e-6},
    {"Slice", 13, "", "x1,20,6,7 i0,0,1,0 i1,20,5,6", 0},
    {"Softmax", 13, "axis=1", "x", 1e-5},
    {"Softplus", 13, "", "x", 1e-5},
    {"Softsign", 13, "", "x", 1e-6},
    {"SpaceToDepth", 13, "blocksize=2", "x1,20,4,6", 0},
    {"Split", 13, "axis=1", "x1,32,4,6 i16,16", 0},
    {"Sqrt", 13, "", "x", 1e-6},
    {"Sub", 13, "", "x x", 0},
    {"Sum", 13, "", "x x x", 1e-6},
    {"Swish", 24, "alpha=1.5", "x", 1e-5},
    {"Tan", 13, "", "x", 1e-6},
    {"Tanh", 13, "", "x", 1e-6},
    {"ThresholdedRelu", 13, "alpha=0.5", "x", 0},
    {"Upsample", 9, "mode=nearest", "x1,20,4,5 p4", 0},
    /* on plain tensors with lowerings of their own */
    {"MatMul", 13, "", "x6,20 c20,18", 1e-4},
    {"MatMul", 13, "", "x2,6,20 x2,20,18", 1e-4},
    {"Gemm", 13, "", "x6,20 c20,18 c18", 1e-4},
    {"Gemm", 13, "transB=1", "x1,20 c18,20 c18", 1e-4},
    {"Softmax", 13, "axis=-1", "x5,37", 1e-5},
    {"LayerNormalization", 17, "", "x5,37 c37 c37", 1e-4},
    {"Add", 13, "", "x5,37 x37", 0},
    {"Div", 13, "", "x5,37 x5,1", 1e-6},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static const int64_t shapes[][4] = {{2, 20, 6, 7}, {1, 5, 5, 9}, {1, 32, 4, 19}};

/* What inputs hold beside ordinary numbers. */
enum kind { ALL_NAN, ALL_INFINITE, ALL_DENORMAL, ALL_ZERO, MIXED, KINDS };

static float special(struct gt *t, enum kind kind) {
    static const float by_kind[KINDS][4] = {{NAN, NAN, NAN, NAN},
                                            {INFINITY, -INFINITY, INFINITY, -INFINITY},
                                            {1e-40f, -1e-40f, 1e-45f, -FLT_MIN / 2},
                                            {0, -0.0f, 0, -0.0f},
                                            {NAN, INFINITY, -INFINITY, -0.0f}};
    return by_kind[kind][gt_pick(t, 0, 3)];
}

static void fill(struct gt *t, struct tensor *x, enum kind kind) {
    int64_t count = shape_count(&x->shape);
    for (int64_t i = 0; i < count; i++)
        tensor_f32(x)[i] =
            gt_pick(t, 0, 19) == 0 ? special(t, kind) : (float)gt_pick(t, -2000, 2000) / 1000.0f;
}

/* ---- building a case ------------------------------------------------------------------------- */

static int numbers(const char *text, double *list) {
    int count = 0;
    while (*text != ' ' && *text != '\0') {
        char *end = NULL;
        assert_true(count < 8);
        list[count++] = strtod(text, &end);
        text = end + (*end == ',');
    }
    return count;
}

/* The operand that `text` describes; `whole` is for those without dims. */
static int operand(struct gt *t, const char *text, const struct shape *whole) {
    double list[8];
    char name[8];
    struct shape shape = *whole;
    int count = numbers(text + 1, list);
    if (*text == '-')
        return -1;
    if (*text == 's')
        return gt_scalar(t, list[0]);
    if (*text == 'i') {
        struct tensor c;
        int id = -1;
        struct shape dims = {.rank = 1, .dim = {count}};
        test_must(tensor_init(&c, DT_I64, &dims, &t->err), &t->err);
        for (int i = 0; i < count; i++)
            tensor_i64(&c)[i] = (int64_t)list[i];
        test_must(graph_add_constant(t->g, "", &c, &id, &t->err), &t->err);
        return id;
    }
    if (count > 0) {
        shape.rank = count;
        for (int i = 0; i < count; i++)
            shape.dim[i] = (int64_t)list[i];
    }
    if (*text == 'x') {
        snprintf(name, sizeof name, "x%d", t->g->input_count);
        return gt_input(t, name, shape);
    }
    if (*text == 'p' && count == 1 && list[0] == 4) /* Upsample's scales */
        return gt_values(t, shape, VALUES(1, 1, 2, 2));
    return *text == 'p' ? gt_positive(t, shape) : gt_random(t, shape);
}

static void build(struct gt *t, const struct op_case *c, const struct shape *whole,
                  const char *then) {
    int in[5] = {-1, -1, -1, -1, -1}, count = 0, out[2] = {-1, -1};
    gt_begin(t, c->opset);
    for (const char *at = c->inputs; at != NULL && *at != '\0'; at = strchr(at, ' ')) {
        at += *at == ' ';
        assert_true(count < 5);
        in[count++] = operand(t, at, whole);
    }
    gt_node_outputs(t, c->op, c->attrs, strcmp(c->op, "Split") == 0 ? 2 : 1, out, count, in[0],
                    in[1], in[2], in[3], in[4]);
    int y = out[0];
    if (then != NULL && strcmp(then, "SiLU") == 0)
        y = gt_node(t, "Mul", "", 2, y, gt_node(t, "Sigmoid", "", 1, y));
    else if (then != NULL)
        y = gt_node(t, then, strcmp(then, "HardSigmoid") == 0 ? "alpha=0.2 beta=0.5" : "", 1, y);
    gt_output(t, y);
    if (out[1] >= 0)
        gt_output(t, out[1]);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static double flushed(double v) {
    return fabs(v) < (double)FLT_MIN ? copysign(0, v) : v;
}

/* Is there something that is no number within a Winograd tile of element i? */
static bool beside_special(const struct tensor *want, int64_t i) {
    int64_t width = want->shape.dim[want->shape.rank - 1], row = i / width * width;
    for (int64_t k = row; k < row + width; k++)
        if (llabs(k - i) < 8 && !isfinite(tensor_get_f64(want, k)))
            return true;
    return false;
}

static void compare(const struct op_case *c, const char *kernel, enum kind kind, double tolerance,
                    const struct tensor *want, const struct tensor *got) {
    bool winograd = strstr(kernel, "winograd") != NULL;
    assert_true(shape_equal(&want->shape, &got->shape));
    for (int64_t i = 0; i < shape_count(&want->shape); i++) {
        double a = flushed(tensor_get_f64(want, i)), b = flushed(tensor_get_f64(got, i));
        bool same = (isnan(a) && isnan(b)) || a == b ||
                    (isfinite(a) && fabs(a - b) <= tolerance * fmax(1, fabs(a)));
        if (tolerance <= 0 && kind != ALL_DENORMAL && a == 0)
            same = same && !signbit(a) == !signbit(b);
        if (winograd && !same) /* sums of a tile share their terms */
            same = !isfinite(b) && (!isfinite(a) || beside_special(want, i));
        if (!same)
            fail_msg("%s %s, %s, kind %d: element %lld is %g, not %g", c->op, c->attrs, kernel,
                     (int)kind, (long long)i, b, a);
    }
}

static void same_as(const struct op_case *c, const char *kernel, const char *how,
                    const struct tensor *whole, const struct tensor *got) {
    for (int64_t i = 0; i < shape_count(&whole->shape); i++) {
        double a = flushed(tensor_get_f64(whole, i)), b = flushed(tensor_get_f64(got, i));
        if (memcmp(&a, &b, sizeof a) != 0 && !(isnan(a) && isnan(b)))
            fail_msg("%s %s, %s, %s: element %lld is %g, not %g", c->op, c->attrs, kernel, how,
                     (long long)i, b, a);
    }
}

/* ---- the sweep ------------------------------------------------------------------------------- */

/* Kernels of the registry that computed something. */
enum { NAMES = 128 };
static const char *ran[NAMES];
static int ran_count;

static void note_kernels(struct gt *t, const struct exec_options *o) {
    struct program *p = NULL;
    int slots[64];
    assert_true(t->g->value_count <= 64);
    test_must(exec_create(&p, t->g, test_pool, o, &t->err), &t->err);
    test_must(exec_add_graph(p, 0, slots, &t->err), &t->err);
    test_must(exec_prepare(p, &t->err), &t->err);
    for (int i = 0; i < exec_op_count(p); i++) {
        int k = 0;
        while (k < ran_count && strcmp(ran[k], exec_op_kernel(p, i)) != 0)
            k++;
        if (k == ran_count && ran_count < NAMES)
            ran[ran_count++] = exec_op_kernel(p, i);
    }
    exec_destroy(&p);
}

/* Does this operator choose among kernels, not only among tables of an instruction set? */
static bool has_kernels(const struct op_case *c) {
    return strstr(c->op, "Conv") != NULL || strstr(c->op, "MatMul") != NULL ||
           strstr(c->op, "Gemm") != NULL || strstr(c->op, "Pool") != NULL;
}

/* Every kernel of the registry that has a name for --kernel to choose by. */
struct known {
    const char *name;
    enum kernel_isa isa;
    bool fp16, half;
};

static int known_kernels(struct known *list) {
    int count = 0, n = 0;
    for (int family = 0; family < 2; family++) {
        const struct conv_kernel *const *conv = family == 0 ? kernels_conv(&n) : kernels_deconv(&n);
        for (int i = 0; i < n; i++)
            list[count++] = (struct known){conv[i]->name, conv[i]->isa, conv[i]->fp16, false};
    }
    const struct gemm_kernel *const *gemm = kernels_gemm(&n);
    for (int i = 0; i < n; i++)
        list[count++] = (struct known){gemm[i]->name, gemm[i]->isa, gemm[i]->fp16, gemm[i]->half};
    const struct pool_kernel *const *pool = kernels_pool(&n);
    for (int i = 0; i < n; i++)
        list[count++] = (struct known){pool[i]->name, pool[i]->isa, false, false};
    return count;
}

/* The names worth trying: instruction sets, and where the operator has kernels, those too. */
static int kernels_for(const struct op_case *c, const char **names) {
    struct known known[NAMES];
    int total = has_kernels(c) ? known_kernels(known) : 0, count = 0;
    for (int k = 0; k < ISA_COUNT; k++)
        if ((kernel_isa_available() & 1u << k) != 0 && !(ISAS_FP16 & 1u << k))
            names[count++] = kernel_isa_name((enum kernel_isa)k);
    for (int i = 0; i < total; i++)
        if ((kernel_isa_available() & 1u << known[i].isa) != 0 && !known[i].fp16)
            names[count++] = known[i].name;
    return count;
}

/* Is the first input one of its own shape? */
static bool has_shapes(const struct op_case *c) {
    const char *x = strchr(c->inputs, 'x');
    return x[1] >= '0' && x[1] <= '9';
}

static void release_all(struct tensor *list, int count) {
    for (int i = 0; i < count; i++)
        tensor_release(&list[i]);
}

/* The finished graph on these inputs with one kernel, whole and in tiles.  first[]: what the first
 * table of functions gave, empty before; the others give the same bits. */
static void run_with(struct gt *t, const struct op_case *c, const char *kernel, enum kind kind,
                     double tolerance, const struct tensor *inputs, const struct tensor *want,
                     struct tensor *first) {
    struct exec_options o = {.kernel = kernel};
    int outputs = t->g->output_count;
    struct tensor whole[2] = {{0}}, tiles[2] = {{0}};
    if (kind == 0)
        note_kernels(t, &o);
    test_must(exec_run_graph(t->g, test_pool, &o, 0, inputs, whole, &t->err), &t->err);
    for (int k = 0; k < outputs; k++)
        compare(c, kernel, kind, tolerance, &want[k], &whole[k]);
    for (int64_t tile = 1; strstr(kernel, "blas") == NULL && tile <= 3; tile += 2) {
        test_must(exec_run_graph(t->g, test_pool, &o, tile, inputs, tiles, &t->err), &t->err);
        for (int k = 0; k < outputs; k++)
            same_as(c, kernel, tile == 1 ? "row by row" : "by three rows", &whole[k], &tiles[k]);
        release_all(tiles, outputs);
    }
    for (int k = 0; k < outputs && !has_kernels(c); k++) {
        if (first[k].data == NULL)
            test_must(tensor_copy(&first[k], &whole[k], &t->err), &t->err);
        same_as(c, kernel, "beside another instruction set", &first[k], &whole[k]);
    }
    release_all(whole, outputs);
}

static void sweep_shape(const struct op_case *c, const struct shape *shape, const char *then,
                        int64_t *runs) {
    const char *names[NAMES];
    int count = kernels_for(c, names);
    struct gt t, plain; /* plain: the same before the passes, for the reference */
    build(&t, c, shape, then);
    build(&plain, c, shape, then);
    test_must(graph_finish(t.g, NULL, &t.err), &t.err);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct tensor inputs[4] = {{0}}, want[2] = {{0}}, first[2] = {{0}};
        for (int i = 0; i < plain.g->input_count; i++) {
            const struct value *v = graph_value(plain.g, plain.g->inputs[i]);
            test_must(tensor_init(&inputs[i], DT_F32, &v->shape, &t.err), &t.err);
            fill(&t, &inputs[i], kind);
        }
        gt_run(&plain, inputs, want);
        for (int k = 0; k < count; k++, ++*runs)
            run_with(&t, c, names[k], kind, then != NULL ? 1e-4 : c->tolerance, inputs, want,
                     first);
        release_all(first, plain.g->output_count);
        release_all(want, plain.g->output_count);
        release_all(inputs, plain.g->input_count);
    }
    gt_end(&plain);
    gt_end(&t);
}

static void test_maps(void **state) {
    (void)state;
    int64_t runs = 0;
    for (int i = 0; i < CASES; i++) {
        size_t count = has_shapes(&cases[i]) ? 1 : sizeof shapes / sizeof shapes[0];
        for (size_t s = 0; s < count; s++) {
            struct shape shape = shape_of(4, shapes[s]);
            sweep_shape(&cases[i], &shape, NULL, &runs);
        }
    }
    assert_true(runs > 2000);
}

/* Kernels do activations in registers, and lanes beyond the last channel must end as zeros even
 * beside an infinity: a convolution over all channels behind them would notice. */
static void test_epilogues(void **state) {
    (void)state;
    static const char *const acts[] = {"Relu",        "LeakyRelu", "Sigmoid", "Tanh",
                                       "HardSigmoid", "HardSwish", "SiLU"};
    int64_t runs = 0;
    for (int i = 0; i < CASES; i++)
        for (size_t a = 0; a < sizeof acts / sizeof acts[0]; a++) {
            struct op_case c = cases[i];
            struct shape shape = shape_of(4, shapes[0]);
            c.opset = 14;
            if (strstr(c.op, "Conv") != NULL || strcmp(c.op, "Gemm") == 0 ||
                strcmp(c.op, "Add") == 0)
                sweep_shape(&c, &shape, acts[a], &runs);
        }
    assert_true(runs > 500);
}

/* ---- empty maps ------------------------------------------------------------------------------ */

/* Maps without images, rows, columns or channels: an error of one line, as from the reference, or
 * its result. */
static void sweep_empty(const struct op_case *c, const struct shape *shape, int64_t *runs) {
    struct gt t, plain;
    struct tensor inputs[4] = {{0}}, want[2] = {{0}};
    build(&t, c, shape, NULL);
    if (graph_finish(t.g, NULL, &t.err) != COHORT_OK) {
        assert_true(t.err.message[0] != '\0' && strchr(t.err.message, '\n') == NULL);
        gt_end(&t);
        return;
    }
    build(&plain, c, shape, NULL);
    for (int i = 0; i < plain.g->input_count; i++) {
        const struct value *v = graph_value(plain.g, plain.g->inputs[i]);
        test_must(tensor_init(&inputs[i], DT_F32, &v->shape, &t.err), &t.err);
        fill(&t, &inputs[i], MIXED);
    }
    gt_run(&plain, inputs, want);
    run_with(&t, c, kernel_isa_name(ISA_GENERIC), MIXED, 0, inputs, want, want);
    ++*runs;
    release_all(want, plain.g->output_count);
    release_all(inputs, plain.g->input_count);
    gt_end(&plain);
    gt_end(&t);
}

static void test_empty(void **state) {
    (void)state;
    static const int64_t empty[][4] = {{0, 20, 6, 7}, {2, 20, 0, 7}, {2, 20, 6, 0}, {2, 0, 6, 7}};
    int64_t runs = 0;
    for (int i = 0; i < CASES; i++)
        for (size_t s = 0; s < sizeof empty / sizeof empty[0]; s++) {
            struct shape shape = shape_of(4, empty[s]);
            if (!has_shapes(&cases[i]))
                sweep_empty(&cases[i], &shape, &runs);
        }
    assert_true(runs > 200);
}

/* ---- nothing left out ------------------------------------------------------------------------ */

/* Float16 weights are for large products, and have a test of their own. */
static void test_every_kernel(void **state) {
    (void)state;
    struct known known[NAMES];
    int count = known_kernels(known), missing = 0;
    for (int i = 0; i < count; i++) {
        bool found =
            (kernel_isa_available() & 1u << known[i].isa) == 0 || known[i].fp16 || known[i].half;
        for (int k = 0; k < ran_count && !found; k++)
            found = strcmp(ran[k], known[i].name) == 0;
        if (!found)
            print_error("%s computed no case\n", known[i].name);
        missing += !found;
    }
    assert_int_equal(missing, 0);
}

static void test_every_map_operator(void **state) {
    (void)state;
    int count = 0, missing = 0;
    const struct op_desc *const *table = op_table(&count);
    for (int i = 0; i < count; i++) {
        bool found = table[i]->map_ok == NULL || table[i]->domain[0] != '\0';
        for (int k = 0; k < CASES && !found; k++)
            found = strcmp(cases[k].op, table[i]->name) == 0;
        if (!found)
            print_error("%s runs on maps and has no row here\n", table[i]->name);
        missing += !found;
    }
    assert_int_equal(missing, 0);
}

static int start(void **state) {
    pool_set_float_mode(); /* the reference takes denormals as the kernels do */
    return test_pool_start(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_map_operator), cmocka_unit_test(test_maps),
        cmocka_unit_test(test_epilogues),          cmocka_unit_test(test_empty),
        cmocka_unit_test(test_every_kernel),
    };
    return cmocka_run_group_tests(tests, start, test_pool_stop);
}
