/* ShuffleNetV2 x1.0 (Ma et al. 2018): half of the channels pass by, the others go through a 1x1, a
 * depthwise and a 1x1 convolution, and a shuffle mixes the halves. */
#include "synth/build.h"

#include <stdio.h>

#define EPSILON 1e-5F

static struct map pointwise(struct net *n, struct map x, int out, const char *name,
                            const char *part) {
    return net_conv_bn(
        n, x,
        (struct layer_bn){.conv = {.out = out, .kernel = 1}, .epsilon = EPSILON, .act = ACT_RELU},
        "%s.%s", name, part);
}

static struct map depthwise(struct net *n, struct map x, int stride, const char *name,
                            const char *part) {
    return net_conv_bn(
        n, x,
        (struct layer_bn){
            .conv = {.out = x.c, .kernel = 3, .stride = stride, .pad = 1, .group = x.c},
            .epsilon = EPSILON},
        "%s.%s", name, part);
}

/* half: channels of one branch.  The first unit of a stage halves the map and keeps all channels on
 * both branches. */
static struct map unit(struct net *n, struct map x, int half, bool first, int stage, int index) {
    char name[32];
    snprintf(name, sizeof name, "stage%d.%d", stage, index);
    struct map branch[2] = {x, x};
    if (first) {
        branch[0] = depthwise(n, x, 2, name, "branch1.0");
        branch[0] = pointwise(n, branch[0], half, name, "branch1.1");
    } else {
        net_halve(n, x, branch, "%s.chunk", name);
    }
    branch[1] = pointwise(n, branch[1], half, name, "branch2.0");
    branch[1] = depthwise(n, branch[1], first ? 2 : 1, name, "branch2.1");
    branch[1] = pointwise(n, branch[1], half, name, "branch2.2");
    x = net_concat(n, branch, 2, "%s.concat", name);
    return net_shuffle(n, x, 2, "%s", name);
}

void net_shufflenet_v2(struct net *n, int variant) {
    (void)variant;
    static const int repeats[3] = {4, 8, 4}, channels[3] = {116, 232, 464};
    struct map x = net_input(n, 3);
    x = net_conv_bn(
        n, x,
        (struct layer_bn){.conv = {.out = net_width(n, 24), .kernel = 3, .stride = 2, .pad = 1},
                          .epsilon = EPSILON,
                          .act = ACT_RELU},
        "conv1");
    x = net_maxpool(n, x, (struct pool){.kernel = 3, .stride = 2, .pad = 1}, "maxpool");
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < repeats[s]; i++)
            x = unit(n, x, net_width(n, channels[s] / 2), i == 0, s + 2, i);
    x = pointwise(n, x, net_width(n, 1024), "conv5", "0");
    if (n->options.features) {
        net_output(n, x);
        return;
    }
    net_logits(n, net_reduce_mean(n, x, "mean"), "fc");
}
