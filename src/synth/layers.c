/* The builder's layers: shapes, nodes, weights, and how each changes the mean square of its map.
 *
 * Every convolution's and Gemm's output is given a mean square of OUTPUT_POWER by the deviation of
 * its weights, sqrt(OUTPUT_POWER / (fan-in * mean square of the input)); what pools, activations
 * and sums do to it is estimated by the factors below, for values that are about normal before an
 * activation.  The estimates need not be exact: each convolution starts from its own input again.
 */
#include "synth/build.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define OUTPUT_POWER    2.0
#define RECTIFIED       0.5 /* E[max(x,0)^2] / E[x^2], x centred */
#define SWISHED         0.4 /* the same for SiLU and HardSwish at E[x^2] = 1 … 2 */
#define GATED           0.3 /* E[s^2] of a sigmoid about 1/2 */
#define MAX_POOLED      1.7 /* of a window of 4 to 9 neighbours, which resemble each other */
#define AVERAGED        0.6 /* of the same, rectified before */
#define GLOBAL_AVERAGED 0.35
#define SMALL           0.1 /* relative spread of scales, shifts and statistics */

static struct map named(struct map x, const char *name) {
    snprintf(x.name, sizeof x.name, "%s", name);
    return x;
}

/* ---- convolution, normalisation, activation -------------------------------------------------- */

/* Output length of a window; 0 when it does not fit. */
static int window_length(int in, int kernel, int stride, int pad, bool ceil_mode) {
    const int room = in + 2 * pad - kernel;
    if (room < 0)
        return 0;
    int out = (ceil_mode ? room + stride - 1 : room) / stride + 1;
    if (ceil_mode && (out - 1) * stride >= in + pad) /* would begin in the padding behind */
        out--;
    return out;
}

static struct map windowed(struct net *n, struct map x, const char *name, int h, int w) {
    if (h <= 0 || w <= 0)
        net_fail(n, COHORT_ERR_USAGE, "--size %d is too small for %s: nothing is left after %s",
                 n->options.size, n->network, name);
    x = named(x, name);
    x.h = h;
    x.w = w;
    return x;
}

struct map net_conv(struct net *n, struct map x, struct layer l, const char *name, ...) {
    NET_NAME(n, text, name);
    const int stride = l.stride == 0 ? 1 : l.stride, group = l.group == 0 ? 1 : l.group;
    const bool square = l.kernel_w == 0;
    const int kernel_w = square ? l.kernel : l.kernel_w, pad_w = square ? l.pad : l.pad_w;
    const int64_t fan_in = (int64_t)(x.c / group) * l.kernel * kernel_w;
    const int64_t dims[4] = {l.out, x.c / group, l.kernel, kernel_w};
    const struct shape weight = shape_of(4, dims), bias = shape_of(1, dims);
    char names[2][MAP_NAME_BYTES];
    net_weights(n, names[0], text, "weight", WEIGHTS_TRAINED, &weight, 0,
                sqrt(OUTPUT_POWER / ((double)fan_in * x.power)));
    if (l.bias)
        net_weights(n, names[1], text, "bias", WEIGHTS_TRAINED, &bias, 0, SMALL);
    const int64_t kernel[2] = {l.kernel, kernel_w}, strides[2] = {stride, stride};
    const int64_t pads[4] = {l.pad, pad_w, l.pad, pad_w}, ones[2] = {1, 1};
    const struct onnx_attr attrs[] = {
        {.name = "dilations", .kind = ATTR_INTS, .ints = ones, .count = 2},
        {.name = "group", .kind = ATTR_INT, .i = group},
        {.name = "kernel_shape", .kind = ATTR_INTS, .ints = kernel, .count = 2},
        {.name = "pads", .kind = ATTR_INTS, .ints = pads, .count = 4},
        {.name = "strides", .kind = ATTR_INTS, .ints = strides, .count = 2},
    };
    net_node(n, "Conv", (const char *[]){x.name, names[0], names[1]}, l.bias ? 3 : 2, text, attrs,
             5);
    x = windowed(n, x, text, window_length(x.h, l.kernel, stride, l.pad, false),
                 window_length(x.w, kernel_w, stride, pad_w, false));
    x.c = l.out;
    x.power = OUTPUT_POWER;
    x.centred = true;
    return x;
}

struct map net_batchnorm(struct net *n, struct map x, float epsilon, double gain, const char *name,
                         ...) {
    NET_NAME(n, text, name);
    const int64_t dims[1] = {x.c};
    const struct shape shape = shape_of(1, dims);
    char names[4][MAP_NAME_BYTES];
    net_weights(n, names[0], text, "weight", WEIGHTS_TRAINED, &shape, gain, SMALL * gain);
    net_weights(n, names[1], text, "bias", WEIGHTS_TRAINED, &shape, 0, SMALL * gain);
    net_weights(n, names[2], text, "running_mean", WEIGHTS_STATISTIC, &shape, 0, SMALL);
    net_weights(n, names[3], text, "running_var", WEIGHTS_STATISTIC, &shape, x.power,
                SMALL * x.power);
    const struct onnx_attr attrs[] = {{.name = "epsilon", .kind = ATTR_FLOAT, .f = epsilon}};
    net_node(n, "BatchNormalization",
             (const char *[]){x.name, names[0], names[1], names[2], names[3]}, 5, text, attrs, 1);
    x.power = gain * gain;
    return named(x, text);
}

/* max(0, min(1, x/6 + 1/2)), as in the MobileNetV3 paper. */
static const struct onnx_attr hard_sigmoid[2] = {
    {.name = "alpha", .kind = ATTR_FLOAT, .f = 1.0F / 6.0F},
    {.name = "beta", .kind = ATTR_FLOAT, .f = 0.5F},
};

/* x * GATE(x), as opset 13 writes HardSwish and SiLU. */
static void self_gated(struct net *n, const struct map *x, const char *gate, const char *text) {
    char inner[MAP_NAME_BYTES];
    const int length = snprintf(inner, sizeof inner, "%s.gate", text);
    if (length >= MAP_NAME_BYTES)
        net_fail(n, COHORT_ERR_INTERNAL, "%s: a layer's name is too long", n->network);
    net_node(n, gate, (const char *[]){x->name}, 1, inner, hard_sigmoid,
             strcmp(gate, "HardSigmoid") == 0 ? 2 : 0);
    net_node(n, "Mul", (const char *[]){x->name, inner}, 2, text, NULL, 0);
}

static void relu6(struct net *n, const struct map *x, const char *text) {
    char limits[2][MAP_NAME_BYTES] = {"relu6.min", "relu6.max"};
    if (!n->has_relu6) {
        net_constant_float(n, limits[0], "relu6", "min", 0);
        net_constant_float(n, limits[1], "relu6", "max", 6);
        n->has_relu6 = true;
    }
    net_node(n, "Clip", (const char *[]){x->name, limits[0], limits[1]}, 3, text, NULL, 0);
}

struct map net_act(struct net *n, struct map x, enum act_kind act, const char *name, ...) {
    NET_NAME(n, text, name);
    const char *const in[] = {x.name};
    const struct onnx_attr slope = {.name = "alpha", .kind = ATTR_FLOAT, .f = 0.1F};
    double power = x.centred ? RECTIFIED * x.power : x.power;
    bool centred = false;
    switch (act) {
    case ACT_RELU:
        net_node(n, "Relu", in, 1, text, NULL, 0);
        break;
    case ACT_CLIP:
        relu6(n, &x, text);
        break;
    case ACT_LEAKY_RELU:
        net_node(n, "LeakyRelu", in, 1, text, &slope, 1);
        break;
    case ACT_TANH:
        net_node(n, "Tanh", in, 1, text, NULL, 0);
        power = x.power / (1.5 + x.power); /* fits E[tanh(x)^2] to 10 % for x.power in 0.3 … 4 */
        centred = x.centred;
        break;
    case ACT_SIGMOID:
        net_node(n, "Sigmoid", in, 1, text, NULL, 0);
        power = GATED;
        break;
    case ACT_HARD_SIGMOID:
        net_node(n, "HardSigmoid", in, 1, text, hard_sigmoid, 2);
        power = GATED;
        break;
    case ACT_HARD_SWISH:
    case ACT_SILU:
        self_gated(n, &x, act == ACT_SILU ? "Sigmoid" : "HardSigmoid", text);
        power = SWISHED * x.power;
        break;
    case ACT_NONE:
    case ACT_COUNT:
        net_fail(n, COHORT_ERR_INTERNAL, "%s: %s is no activation", n->network, text);
        break;
    }
    x.power = power;
    x.centred = centred;
    return named(x, text);
}

struct map net_conv_bn(struct net *n, struct map x, struct layer_bn l, const char *name, ...) {
    static const char *const suffix[ACT_COUNT] = {
        [ACT_RELU] = "relu",  [ACT_LEAKY_RELU] = "leaky",
        [ACT_CLIP] = "relu6", [ACT_SIGMOID] = "sigmoid",
        [ACT_TANH] = "tanh",  [ACT_HARD_SIGMOID] = "hardsigmoid",
        [ACT_SILU] = "silu",  [ACT_HARD_SWISH] = "hardswish",
    };
    NET_NAME(n, text, name);
    x = net_conv(n, x, l.conv, "%s.conv", text);
    x = net_batchnorm(n, x, l.epsilon, l.gain > 0 ? l.gain : 1, "%s.bn", text);
    return l.act == ACT_NONE ? x : net_act(n, x, l.act, "%s.%s", text, suffix[l.act]);
}

/* ---- pooling --------------------------------------------------------------------------------- */

static struct map pooled(struct net *n, struct map x, struct pool p, const char *op_type,
                         const char *text) {
    const int64_t kernel[2] = {p.kernel, p.kernel}, strides[2] = {p.stride, p.stride};
    const int64_t pads[4] = {p.pad, p.pad, p.pad, p.pad};
    struct onnx_attr attrs[5] = {
        {.name = "kernel_shape", .kind = ATTR_INTS, .ints = kernel, .count = 2},
        {.name = "strides", .kind = ATTR_INTS, .ints = strides, .count = 2},
    };
    int count = 2;
    if (p.same)
        attrs[count++] =
            (struct onnx_attr){.name = "auto_pad", .kind = ATTR_STRING, .s = "SAME_UPPER"};
    else
        attrs[count++] =
            (struct onnx_attr){.name = "pads", .kind = ATTR_INTS, .ints = pads, .count = 4};
    if (p.ceil)
        attrs[count++] = (struct onnx_attr){.name = "ceil_mode", .kind = ATTR_INT, .i = 1};
    if (strcmp(op_type, "AveragePool") == 0)
        attrs[count++] = (struct onnx_attr){.name = "count_include_pad", .kind = ATTR_INT, .i = 1};
    net_node(n, op_type, (const char *[]){x.name}, 1, text, attrs, count);
    const int h = p.same ? (x.h + p.stride - 1) / p.stride
                         : window_length(x.h, p.kernel, p.stride, p.pad, p.ceil);
    const int w = p.same ? (x.w + p.stride - 1) / p.stride
                         : window_length(x.w, p.kernel, p.stride, p.pad, p.ceil);
    return windowed(n, x, text, h, w);
}

struct map net_maxpool(struct net *n, struct map x, struct pool p, const char *name, ...) {
    NET_NAME(n, text, name);
    x = pooled(n, x, p, "MaxPool", text);
    x.power *= MAX_POOLED;
    x.centred = false;
    return x;
}

struct map net_avgpool(struct net *n, struct map x, struct pool p, const char *name, ...) {
    NET_NAME(n, text, name);
    x = pooled(n, x, p, "AveragePool", text);
    x.power *= AVERAGED;
    return x;
}

struct map net_global_avgpool(struct net *n, struct map x, const char *name, ...) {
    NET_NAME(n, text, name);
    net_node(n, "GlobalAveragePool", (const char *[]){x.name}, 1, text, NULL, 0);
    x.h = x.w = 1;
    x.power *= GLOBAL_AVERAGED;
    return named(x, text);
}

struct map net_reduce_mean(struct net *n, struct map x, const char *name, ...) {
    NET_NAME(n, text, name);
    const int64_t axes[2] = {2, 3};
    const struct onnx_attr attrs[] = {
        {.name = "axes", .kind = ATTR_INTS, .ints = axes, .count = 2},
        {.name = "keepdims", .kind = ATTR_INT, .i = 0},
    };
    net_node(n, "ReduceMean", (const char *[]){x.name}, 1, text, attrs, 2);
    x.h = x.w = 1;
    x.flat = true;
    x.power *= GLOBAL_AVERAGED;
    return named(x, text);
}

/* ---- joining and moving ---------------------------------------------------------------------- */

struct map net_add(struct net *n, struct map a, struct map b, const char *name, ...) {
    NET_NAME(n, text, name);
    net_node(n, "Add", (const char *[]){a.name, b.name}, 2, text, NULL, 0);
    a.power += b.power;
    a.centred = a.centred && b.centred;
    return named(a, text);
}

struct map net_gate(struct net *n, struct map x, struct map gate, const char *name, ...) {
    NET_NAME(n, text, name);
    net_node(n, "Mul", (const char *[]){gate.name, x.name}, 2, text, NULL, 0);
    x.power *= GATED;
    return named(x, text);
}

#define CONCAT_MAX 64

struct map net_concat(struct net *n, const struct map *x, int count, const char *name, ...) {
    NET_NAME(n, text, name);
    const char *in[CONCAT_MAX];
    const struct onnx_attr axis = {.name = "axis", .kind = ATTR_INT, .i = 1};
    struct map out = x[0];
    double power = 0;
    out.c = 0;
    for (int i = 0; i < count && i < CONCAT_MAX; i++) {
        in[i] = x[i].name;
        out.c += x[i].c;
        out.centred = out.centred && x[i].centred;
        power += x[i].power * x[i].c;
        if (n->code == COHORT_OK && (x[i].h != out.h || x[i].w != out.w))
            net_fail(n, COHORT_ERR_USAGE, "%s cannot have --size %d: the maps joined in %s differ",
                     n->network, n->options.size, text);
    }
    if (count > CONCAT_MAX)
        net_fail(n, COHORT_ERR_INTERNAL, "%s: %s joins too many maps", n->network, text);
    else
        net_node(n, "Concat", in, count, text, &axis, 1);
    out.power = power / out.c;
    return named(out, text);
}

void net_halve(struct net *n, struct map x, struct map half[2], const char *name, ...) {
    NET_NAME(n, text, name);
    char sizes[MAP_NAME_BYTES];
    const int64_t halves[2] = {x.c / 2, x.c - x.c / 2};
    net_constant_ints(n, sizes, text, "sizes", halves, 2);
    for (int i = 0; i < 2; i++) {
        half[i] = x;
        half[i].c = (int)halves[i];
        if (snprintf(half[i].name, MAP_NAME_BYTES, "%s.%d", text, i) >= MAP_NAME_BYTES)
            net_fail(n, COHORT_ERR_INTERNAL, "%s: a layer's name is too long", n->network);
    }
    const struct onnx_attr axis = {.name = "axis", .kind = ATTR_INT, .i = 1};
    if (n->code == COHORT_OK)
        n->code =
            onnx_writer_node(n->writer, text, "Split", (const char *[]){x.name, sizes}, 2,
                             (const char *[]){half[0].name, half[1].name}, 2, &axis, 1, n->err);
}

/* Reshape to shape[0], Transpose by perm, Reshape to shape[1] = [1, x.c, x.h, x.w]. */
static struct map reshuffle(struct net *n, struct map x, const int64_t *inner, const int64_t *perm,
                            int rank, const char *text) {
    const int64_t outer[4] = {1, x.c, x.h, x.w};
    char shapes[2][MAP_NAME_BYTES], split[MAP_NAME_BYTES], swap[MAP_NAME_BYTES];
    net_constant_ints(n, shapes[0], text, "inner_shape", inner, rank);
    net_constant_ints(n, shapes[1], text, "outer_shape", outer, 4);
    if (snprintf(split, sizeof split, "%s.split", text) >= MAP_NAME_BYTES ||
        snprintf(swap, sizeof swap, "%s.swap", text) >= MAP_NAME_BYTES)
        net_fail(n, COHORT_ERR_INTERNAL, "%s: a layer's name is too long", n->network);
    const struct onnx_attr order = {.name = "perm", .kind = ATTR_INTS, .ints = perm, .count = rank};
    net_node(n, "Reshape", (const char *[]){x.name, shapes[0]}, 2, split, NULL, 0);
    net_node(n, "Transpose", (const char *[]){split}, 1, swap, &order, 1);
    net_node(n, "Reshape", (const char *[]){swap, shapes[1]}, 2, text, NULL, 0);
    return named(x, text);
}

struct map net_shuffle(struct net *n, struct map x, int groups, const char *name, ...) {
    NET_NAME(n, text, name);
    const int64_t inner[5] = {1, groups, x.c / groups, x.h, x.w}, perm[5] = {0, 2, 1, 3, 4};
    return reshuffle(n, x, inner, perm, 5, text);
}

struct map net_reorg(struct net *n, struct map x, const char *name, ...) {
    NET_NAME(n, text, name);
    if (n->code == COHORT_OK && (x.h % 2 != 0 || x.w % 2 != 0))
        net_fail(n, COHORT_ERR_USAGE,
                 "%s cannot have --size %d: %s needs even maps (a multiple of 32 has them)",
                 n->network, n->options.size, text);
    const int64_t inner[6] = {1, x.c, x.h / 2, 2, x.w / 2, 2}, perm[6] = {0, 3, 5, 1, 2, 4};
    x.c *= 4;
    x.h /= 2;
    x.w /= 2;
    return reshuffle(n, x, inner, perm, 6, text);
}

struct map net_flatten(struct net *n, struct map x, const char *name, ...) {
    NET_NAME(n, text, name);
    const struct onnx_attr axis = {.name = "axis", .kind = ATTR_INT, .i = 1};
    net_node(n, "Flatten", (const char *[]){x.name}, 1, text, &axis, 1);
    const int64_t elements = (int64_t)x.c * x.h * x.w;
    if (elements > INT32_MAX)
        net_fail(n, COHORT_ERR_USAGE, "--size %d is too large for %s: %s would have %lld elements",
                 n->options.size, n->network, text, (long long)elements);
    x.c = (int)elements;
    x.h = x.w = 1;
    x.flat = true;
    return named(x, text);
}

struct map net_dropout(struct net *n, struct map x, float ratio, const char *name, ...) {
    NET_NAME(n, text, name);
    char constant[MAP_NAME_BYTES];
    net_constant_float(n, constant, text, "ratio", ratio);
    net_node(n, "Dropout", (const char *[]){x.name, constant}, 2, text, NULL, 0);
    return named(x, text);
}

/* ---- fully connected, and ends made of several ----------------------------------------------- */

/* Weights called `name`, output called `out_name`. */
static struct map gemm(struct net *n, struct map x, int out, const char *name,
                       const char *out_name) {
    const int64_t dims[2] = {out, x.c};
    const struct shape weight = shape_of(2, dims), bias = shape_of(1, dims);
    char names[2][MAP_NAME_BYTES];
    net_weights(n, names[0], name, "weight", WEIGHTS_TRAINED, &weight, 0,
                sqrt(OUTPUT_POWER / (x.c * x.power)));
    net_weights(n, names[1], name, "bias", WEIGHTS_TRAINED, &bias, 0, SMALL);
    const struct onnx_attr attrs[] = {
        {.name = "alpha", .kind = ATTR_FLOAT, .f = 1},
        {.name = "beta", .kind = ATTR_FLOAT, .f = 1},
        {.name = "transB", .kind = ATTR_INT, .i = 1},
    };
    net_node(n, "Gemm", (const char *[]){x.name, names[0], names[1]}, 3, out_name, attrs, 3);
    x.c = out;
    x.power = OUTPUT_POWER;
    x.centred = true;
    return named(x, out_name);
}

struct map net_gemm(struct net *n, struct map x, int out, const char *name, ...) {
    NET_NAME(n, text, name);
    return gemm(n, x, out, text, text);
}

void net_logits(struct net *n, struct map x, const char *name) {
    net_output(n, gemm(n, x, n->options.classes, name, "logits"));
}

void net_classify(struct net *n, struct map x, float dropout, const char *name) {
    if (n->options.features) {
        net_output(n, x);
        return;
    }
    x = net_global_avgpool(n, x, "avgpool");
    x = net_flatten(n, x, "flatten");
    if (dropout > 0)
        x = net_dropout(n, x, dropout, "dropout");
    net_logits(n, x, name);
}

struct map net_squeeze_excite(struct net *n, struct map x, int squeeze, enum act_kind act,
                              enum act_kind gate, const char *name, ...) {
    NET_NAME(n, text, name);
    struct map s = net_global_avgpool(n, x, "%s.avgpool", text);
    s = net_conv(n, s, (struct layer){.out = squeeze, .kernel = 1, .bias = true}, "%s.fc1", text);
    s = net_act(n, s, act, "%s.act", text);
    s = net_conv(n, s, (struct layer){.out = x.c, .kernel = 1, .bias = true}, "%s.fc2", text);
    s = net_act(n, s, gate, "%s.scale", text);
    return net_gate(n, x, s, "%s", text);
}
