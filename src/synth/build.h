/* A small builder in which the networks are written down: one call per layer.
 *
 * A call adds the layer's nodes and weights to an ONNX writer and returns the map it makes, so that
 * a network reads like its paper.  The first failure is kept in `net` and makes all later calls do
 * nothing: only the caller of a whole network looks at it.  Names are printf formats and go last;
 * a layer's node, its output tensor and (with ".weight", ".bias" …) its weights are named alike.
 *
 * Weights are scaled by fan-in (He et al. 2015) and by an estimate of the input's mean square that
 * is carried along, so that activations stay near 1 through 150 layers. */
#ifndef COHORT_SYNTH_BUILD_H
#define COHORT_SYNTH_BUILD_H

#include "graph/onnx/onnx.h"
#include "synth/synth.h"
#include "synth/weights.h"

#include <stdarg.h>

#define MAP_NAME_BYTES 96

/* A tensor under construction: [1, c, h, w], or [1, c] when flat. */
struct map {
    char name[MAP_NAME_BYTES];
    int c, h, w;
    bool flat;
    double power; /* estimate of the mean square of its elements */
    bool centred; /* their mean is about zero */
};

struct net {
    struct onnx_writer *writer;
    const char *network;
    struct synth_options options; /* size, width, classes: filled in, never 0 */
    int64_t parameters;           /* trained ones, as papers count them */
    int64_t statistics;           /* means and variances of BatchNormalization */
    struct weights **weights;     /* the writer reads them when it saves */
    size_t weights_count, weights_capacity;
    bool has_relu6;
    struct shape output;
    enum cohort_code code;
    struct cohort_error *err;
};

/* A network description.  variant: what the table in synth.c says (a depth, say). */
typedef void (*net_fn)(struct net *n, int variant);

/* Local.  Builds network `name` with all weights described but none made.  Errors: usage, memory.
 */
enum cohort_code net_create(struct net *n, const char *name, const struct synth_options *o,
                            struct cohort_error *err);
void net_release(struct net *n);
/* The first failure, from a description: returns nothing, is kept. */
void net_fail(struct net *n, enum cohort_code code, const char *fmt, ...) COHORT_PRINTF(3, 4);

/* A channel count under --width: times the factor, to a multiple of 8, at least 8, and never below
 * 0.9 of the wish (the rule of the MobileNet papers).  Unchanged at width 1. */
int net_width(const struct net *n, int channels);
/* The same rule at factor 1, which rounds: for counts that are fractions of others. */
int net_multiple_of_8(double channels);

/* ---- what layers are made of ----------------------------------------------------------------- */

/* The printf format that a layer is called with, into text. */
void net_name(struct net *n, char text[MAP_NAME_BYTES], const char *fmt, va_list args);
#define NET_NAME(n, text, fmt)                                                                     \
    char text[MAP_NAME_BYTES];                                                                     \
    do {                                                                                           \
        va_list net_name_args;                                                                     \
        va_start(net_name_args, fmt);                                                              \
        net_name(n, text, fmt, net_name_args);                                                     \
        va_end(net_name_args);                                                                     \
    } while (0)

/* A node of one output, called like it. */
void net_node(struct net *n, const char *op_type, const char *const *in, int in_count,
              const char *out, const struct onnx_attr *attrs, int attr_count);
enum weights_kind { WEIGHTS_TRAINED, WEIGHTS_STATISTIC };
/* The weights NAME.SUFFIX; their full name goes to text. */
void net_weights(struct net *n, char text[MAP_NAME_BYTES], const char *name, const char *suffix,
                 enum weights_kind kind, const struct shape *shape, double mean, double deviation);
/* The constants NAME.SUFFIX: int64 [count], and one float32. */
void net_constant_ints(struct net *n, char text[MAP_NAME_BYTES], const char *name,
                       const char *suffix, const int64_t *values, int count);
void net_constant_float(struct net *n, char text[MAP_NAME_BYTES], const char *name,
                        const char *suffix, float value);

/* ---- ends ------------------------------------------------------------------------------------ */

struct map net_input(struct net *n, int channels);
void net_output(struct net *n, struct map x);
/* GlobalAveragePool, Flatten, Dropout (when dropout > 0) and net_logits(); under --features x is
 * the output instead. */
void net_classify(struct net *n, struct map x, float dropout, const char *name);
/* A Gemm called `name` whose output is "logits", the network's output. */
void net_logits(struct net *n, struct map x, const char *name);

/* ---- layers ---------------------------------------------------------------------------------- */

struct layer {
    int out;              /* channels */
    int kernel, kernel_w; /* kernel_w 0: the kernel is square (and so are its pads) */
    int stride;           /* 0: 1 */
    int pad, pad_w;
    int group; /* 0: 1 */
    bool bias;
};

struct map net_conv(struct net *n, struct map x, struct layer l, const char *name, ...)
    COHORT_PRINTF(4, 5);
/* gain: about what the scales are, so the factor on x's magnitude; 1 unless a branch is damped. */
struct map net_batchnorm(struct net *n, struct map x, float epsilon, double gain, const char *name,
                         ...) COHORT_PRINTF(5, 6);
/* ACT_CLIP is ReLU6, ACT_LEAKY_RELU has slope 0.1; HardSwish and SiLU are written out as opset 13
 * has them: x * HardSigmoid(x), x * Sigmoid(x). */
struct map net_act(struct net *n, struct map x, enum act_kind act, const char *name, ...)
    COHORT_PRINTF(4, 5);

/* Conv, BatchNormalization and activation, called NAME.conv, NAME.bn and NAME.relu (or .relu6 …).
 */
struct layer_bn {
    struct layer conv;
    float epsilon;
    double gain; /* of the BatchNormalization; 0: 1 */
    enum act_kind act;
};
struct map net_conv_bn(struct net *n, struct map x, struct layer_bn l, const char *name, ...)
    COHORT_PRINTF(4, 5);

struct pool {
    int kernel, stride, pad;
    bool ceil; /* ceil_mode */
    bool same; /* auto_pad SAME_UPPER instead of pad */
};
struct map net_maxpool(struct net *n, struct map x, struct pool p, const char *name, ...)
    COHORT_PRINTF(4, 5);
/* Padding counts as zeros, as PyTorch has it. */
struct map net_avgpool(struct net *n, struct map x, struct pool p, const char *name, ...)
    COHORT_PRINTF(4, 5);
struct map net_global_avgpool(struct net *n, struct map x, const char *name, ...)
    COHORT_PRINTF(3, 4);
struct map net_reduce_mean(struct net *n, struct map x, const char *name, ...) COHORT_PRINTF(3, 4);

struct map net_add(struct net *n, struct map a, struct map b, const char *name, ...)
    COHORT_PRINTF(4, 5);
/* x times a gate in [0, 1] of one pixel per channel. */
struct map net_gate(struct net *n, struct map x, struct map gate, const char *name, ...)
    COHORT_PRINTF(4, 5);
struct map net_concat(struct net *n, const struct map *x, int count, const char *name, ...)
    COHORT_PRINTF(4, 5);
/* The channels' halves: NAME.0 and NAME.1. */
void net_halve(struct net *n, struct map x, struct map half[2], const char *name, ...)
    COHORT_PRINTF(4, 5);
struct map net_flatten(struct net *n, struct map x, const char *name, ...) COHORT_PRINTF(3, 4);
struct map net_dropout(struct net *n, struct map x, float ratio, const char *name, ...)
    COHORT_PRINTF(4, 5);
struct map net_gemm(struct net *n, struct map x, int out, const char *name, ...)
    COHORT_PRINTF(4, 5);
/* Reshape, Transpose and Reshape, called NAME.split, NAME.swap and NAME, written out as PyTorch
 * exports them: channel c of group g to c * groups + g; each 2x2 square to one pixel of 4c
 * channels. */
struct map net_shuffle(struct net *n, struct map x, int groups, const char *name, ...)
    COHORT_PRINTF(4, 5);
struct map net_reorg(struct net *n, struct map x, const char *name, ...) COHORT_PRINTF(3, 4);
/* Squeeze and excite: a gate from the map's means through two 1x1 convolutions, called NAME.…. */
struct map net_squeeze_excite(struct net *n, struct map x, int squeeze, enum act_kind act,
                              enum act_kind gate, const char *name, ...) COHORT_PRINTF(6, 7);

/* ---- the descriptions, one file per family --------------------------------------------------- */

void net_vgg(struct net *n, int depth);
void net_alexnet(struct net *n, int variant);
void net_lenet(struct net *n, int variant);
void net_resnet(struct net *n, int depth);
void net_mobilenet_v2(struct net *n, int variant);
void net_mobilenet_v3(struct net *n, int variant);
void net_squeezenet(struct net *n, int version); /* 10, 11 */
void net_googlenet(struct net *n, int variant);
void net_inception_v3(struct net *n, int variant);
void net_densenet(struct net *n, int depth);
void net_efficientnet(struct net *n, int variant);
void net_shufflenet_v2(struct net *n, int variant);
void net_yolo_v2(struct net *n, int variant);
void net_yolo_tiny(struct net *n, int variant);

#endif
