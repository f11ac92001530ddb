/* MobileNetV2 (Sandler et al. 2018) and MobileNetV3-Large (Howard et al. 2019).
 * Blocks are called blockN.expand, .depthwise, .se, .project, .add. */
#include "synth/build.h"

#include <math.h>

struct bottleneck {
    int kernel, expanded, out, stride;
    int squeeze; /* channels inside the squeeze-and-excite; 0: none */
    enum act_kind act;
    float epsilon;
    double gain; /* of a branch that is added */
};

/* Inverted residual: expand (unless it would not), depthwise, gate, project. */
static struct map inverted(struct net *n, struct map x, const struct bottleneck *b, int number) {
    const struct map skip = x;
    const bool residual = b->stride == 1 && b->out == x.c;
    if (b->expanded != x.c)
        x = net_conv_bn(n, x,
                        (struct layer_bn){.conv = {.out = b->expanded, .kernel = 1},
                                          .epsilon = b->epsilon,
                                          .act = b->act},
                        "block%d.expand", number);
    x = net_conv_bn(n, x,
                    (struct layer_bn){.conv = {.out = b->expanded,
                                               .kernel = b->kernel,
                                               .stride = b->stride,
                                               .pad = b->kernel / 2,
                                               .group = b->expanded},
                                      .epsilon = b->epsilon,
                                      .act = b->act},
                    "block%d.depthwise", number);
    if (b->squeeze > 0)
        x = net_squeeze_excite(n, x, b->squeeze, ACT_RELU, ACT_HARD_SIGMOID, "block%d.se", number);
    x = net_conv_bn(n, x,
                    (struct layer_bn){.conv = {.out = b->out, .kernel = 1},
                                      .epsilon = b->epsilon,
                                      .gain = residual ? b->gain : 1},
                    "block%d.project", number);
    return residual ? net_add(n, skip, x, "block%d.add", number) : x;
}

static struct map stem(struct net *n, int out, float epsilon, enum act_kind act) {
    return net_conv_bn(n, net_input(n, 3),
                       (struct layer_bn){.conv = {.out = out, .kernel = 3, .stride = 2, .pad = 1},
                                         .epsilon = epsilon,
                                         .act = act},
                       "stem");
}

void net_mobilenet_v2(struct net *n, int variant) {
    (void)variant;
    static const struct {
        int expansion, out, repeats, stride;
    } stages[7] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                   {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    const float epsilon = 1e-5F;
    struct map x = stem(n, net_width(n, 32), epsilon, ACT_CLIP);
    for (int s = 0, number = 1; s < 7; s++)
        for (int i = 0; i < stages[s].repeats; i++, number++) {
            const struct bottleneck b = {.kernel = 3,
                                         .expanded = x.c * stages[s].expansion,
                                         .out = net_width(n, stages[s].out),
                                         .stride = i == 0 ? stages[s].stride : 1,
                                         .act = ACT_CLIP,
                                         .epsilon = epsilon,
                                         .gain = 1 / sqrt(stages[s].repeats)};
            x = inverted(n, x, &b, number);
        }
    x = net_conv_bn(n, x,
                    (struct layer_bn){.conv = {.out = net_width(n, 1280), .kernel = 1},
                                      .epsilon = epsilon,
                                      .act = ACT_CLIP},
                    "head");
    net_classify(n, x, 0.2F, "classifier");
}

void net_mobilenet_v3(struct net *n, int variant) {
    (void)variant;
    static const struct {
        int kernel, expanded, out;
        bool squeeze;
        enum act_kind act;
        int stride;
    } blocks[15] = {
        {3, 16, 16, false, ACT_RELU, 1},        {3, 64, 24, false, ACT_RELU, 2},
        {3, 72, 24, false, ACT_RELU, 1},        {5, 72, 40, true, ACT_RELU, 2},
        {5, 120, 40, true, ACT_RELU, 1},        {5, 120, 40, true, ACT_RELU, 1},
        {3, 240, 80, false, ACT_HARD_SWISH, 2}, {3, 200, 80, false, ACT_HARD_SWISH, 1},
        {3, 184, 80, false, ACT_HARD_SWISH, 1}, {3, 184, 80, false, ACT_HARD_SWISH, 1},
        {3, 480, 112, true, ACT_HARD_SWISH, 1}, {3, 672, 112, true, ACT_HARD_SWISH, 1},
        {5, 672, 160, true, ACT_HARD_SWISH, 2}, {5, 960, 160, true, ACT_HARD_SWISH, 1},
        {5, 960, 160, true, ACT_HARD_SWISH, 1},
    };
    const float epsilon = 1e-3F;
    struct map x = stem(n, net_width(n, 16), epsilon, ACT_HARD_SWISH);
    for (int i = 0; i < 15; i++) {
        const int expanded = net_width(n, blocks[i].expanded);
        const struct bottleneck b = {.kernel = blocks[i].kernel,
                                     .expanded = expanded,
                                     .out = net_width(n, blocks[i].out),
                                     .stride = blocks[i].stride,
                                     .squeeze =
                                         blocks[i].squeeze ? net_multiple_of_8(expanded / 4) : 0,
                                     .act = blocks[i].act,
                                     .epsilon = epsilon,
                                     .gain = 0.6};
        x = inverted(n, x, &b, i + 1);
    }
    x = net_conv_bn(n, x,
                    (struct layer_bn){.conv = {.out = net_width(n, 960), .kernel = 1},
                                      .epsilon = epsilon,
                                      .act = ACT_HARD_SWISH},
                    "head");
    if (n->options.features) {
        net_output(n, x);
        return;
    }
    x = net_flatten(n, net_global_avgpool(n, x, "avgpool"), "flatten");
    x = net_gemm(n, x, net_width(n, 1280), "classifier.0");
    x = net_act(n, x, ACT_HARD_SWISH, "classifier.1");
    x = net_dropout(n, x, 0.2F, "classifier.2");
    net_logits(n, x, "classifier.3");
}
