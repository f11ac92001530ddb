/* EfficientNet-B0 (Tan & Le 2019): inverted residuals with squeeze-and-excite and SiLU.
 * Blocks are called blockN.expand, .depthwise, .se, .project, .add. */
#include "synth/build.h"

#include <math.h>

#define EPSILON 1e-5F

struct stage {
    int expansion, kernel, stride, out, repeats;
};

static struct map mbconv(struct net *n, struct map x, const struct stage *s, int stride,
                         int number) {
    const struct map skip = x;
    const int expanded = x.c * s->expansion, out = net_width(n, s->out);
    const int squeeze = skip.c >= 4 ? skip.c / 4 : 1; /* of the block's input, not of its inside */
    const bool residual = stride == 1 && out == x.c;
    if (s->expansion != 1)
        x = net_conv_bn(n, x,
                        (struct layer_bn){.conv = {.out = expanded, .kernel = 1},
                                          .epsilon = EPSILON,
                                          .act = ACT_SILU},
                        "block%d.expand", number);
    x = net_conv_bn(n, x,
                    (struct layer_bn){.conv = {.out = expanded,
                                               .kernel = s->kernel,
                                               .stride = stride,
                                               .pad = s->kernel / 2,
                                               .group = expanded},
                                      .epsilon = EPSILON,
                                      .act = ACT_SILU},
                    "block%d.depthwise", number);
    x = net_squeeze_excite(n, x, squeeze, ACT_SILU, ACT_SIGMOID, "block%d.se", number);
    x = net_conv_bn(n, x,
                    (struct layer_bn){.conv = {.out = out, .kernel = 1},
                                      .epsilon = EPSILON,
                                      .gain = residual ? 1 / sqrt(s->repeats) : 1},
                    "block%d.project", number);
    return residual ? net_add(n, x, skip, "block%d.add", number) : x;
}

void net_efficientnet(struct net *n, int variant) {
    (void)variant;
    static const struct stage stages[7] = {{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2},
                                           {6, 3, 2, 80, 3}, {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4},
                                           {6, 3, 1, 320, 1}};
    struct map x = net_input(n, 3);
    x = net_conv_bn(
        n, x,
        (struct layer_bn){.conv = {.out = net_width(n, 32), .kernel = 3, .stride = 2, .pad = 1},
                          .epsilon = EPSILON,
                          .act = ACT_SILU},
        "stem");
    for (int s = 0, number = 1; s < 7; s++)
        for (int i = 0; i < stages[s].repeats; i++, number++)
            x = mbconv(n, x, &stages[s], i == 0 ? stages[s].stride : 1, number);
    x = net_conv_bn(n, x,
                    (struct layer_bn){.conv = {.out = net_width(n, 1280), .kernel = 1},
                                      .epsilon = EPSILON,
                                      .act = ACT_SILU},
                    "head");
    net_classify(n, x, 0.2F, "classifier");
}
