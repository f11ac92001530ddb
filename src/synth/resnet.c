/* ResNet (He et al. 2015) with the stride on the 3x3 convolution (as PyTorch has it, "v1.5"):
 * basic blocks for 18 and 34 layers, bottlenecks above.  Each branch's last BatchNormalization is
 * damped by the number of blocks in its stage, so that sums of 36 branches stay near 1. */
#include "synth/build.h"

#include <math.h>

#define EPSILON 1e-5F

struct block {
    int stage, index;
    int width; /* channels inside */
    int out;   /* channels of its sum */
    int stride;
    bool bottleneck;
    double gain; /* of the branch */
};

/* layerS.B.convK, layerS.B.bnK. */
static struct map conv_bn(struct net *n, struct map x, const struct block *b, int k, int out,
                          int kernel, int stride, double gain) {
    const struct layer l = {.out = out, .kernel = kernel, .stride = stride, .pad = kernel / 2};
    x = net_conv(n, x, l, "layer%d.%d.conv%d", b->stage, b->index, k);
    return net_batchnorm(n, x, EPSILON, gain, "layer%d.%d.bn%d", b->stage, b->index, k);
}

static struct map block(struct net *n, struct map x, const struct block *b) {
    const int s = b->stage, i = b->index;
    struct map skip = x;
    if (b->bottleneck) {
        x = conv_bn(n, x, b, 1, b->width, 1, 1, 1);
        x = net_act(n, x, ACT_RELU, "layer%d.%d.relu1", s, i);
        x = conv_bn(n, x, b, 2, b->width, 3, b->stride, 1);
        x = net_act(n, x, ACT_RELU, "layer%d.%d.relu2", s, i);
        x = conv_bn(n, x, b, 3, b->out, 1, 1, b->gain);
    } else {
        x = conv_bn(n, x, b, 1, b->out, 3, b->stride, 1);
        x = net_act(n, x, ACT_RELU, "layer%d.%d.relu1", s, i);
        x = conv_bn(n, x, b, 2, b->out, 3, 1, b->gain);
    }
    if (b->stride != 1 || skip.c != b->out) {
        const struct layer l = {.out = b->out, .kernel = 1, .stride = b->stride};
        skip = net_conv(n, skip, l, "layer%d.%d.downsample.0", s, i);
        skip = net_batchnorm(n, skip, EPSILON, 1, "layer%d.%d.downsample.1", s, i);
    }
    x = net_add(n, x, skip, "layer%d.%d.add", s, i);
    return net_act(n, x, ACT_RELU, "layer%d.%d", s, i);
}

void net_resnet(struct net *n, int depth) {
    static const struct {
        int depth, blocks[4];
    } variants[] = {{18, {2, 2, 2, 2}},
                    {34, {3, 4, 6, 3}},
                    {50, {3, 4, 6, 3}},
                    {101, {3, 4, 23, 3}},
                    {152, {3, 8, 36, 3}}};
    int v = 0;
    while (variants[v].depth != depth)
        v++;
    struct map x = net_input(n, 3);
    const struct layer stem = {.out = net_width(n, 64), .kernel = 7, .stride = 2, .pad = 3};
    x = net_conv(n, x, stem, "conv1");
    x = net_batchnorm(n, x, EPSILON, 1, "bn1");
    x = net_act(n, x, ACT_RELU, "relu");
    x = net_maxpool(n, x, (struct pool){.kernel = 3, .stride = 2, .pad = 1}, "maxpool");
    for (int s = 0; s < 4; s++) {
        const int blocks = variants[v].blocks[s], width = net_width(n, 64 << s);
        for (int i = 0; i < blocks; i++) {
            const struct block b = {.stage = s + 1,
                                    .index = i,
                                    .width = width,
                                    .out = depth >= 50 ? 4 * width : width,
                                    .stride = s > 0 && i == 0 ? 2 : 1,
                                    .bottleneck = depth >= 50,
                                    .gain = 1 / sqrt(blocks)};
            x = block(n, x, &b);
        }
    }
    net_classify(n, x, 0, "fc");
}
