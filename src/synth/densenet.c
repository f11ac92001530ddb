/* DenseNet-121 (Huang et al. 2016): every layer reads all maps of its block, BatchNormalization and
 * activation stand before the convolution. */
#include "synth/build.h"

#include <stdio.h>

#define EPSILON    1e-5F
#define GROWTH     32
#define BOTTLENECK 4
#define LAYERS_MAX 24

static struct map norm_relu(struct net *n, struct map x, const char *name, const char *number) {
    x = net_batchnorm(n, x, EPSILON, 1, "%s.norm%s", name, number);
    return net_act(n, x, ACT_RELU, "%s.relu%s", name, number);
}

static struct map dense_layer(struct net *n, const struct map *features, int count, int block,
                              int layer) {
    char name[32];
    snprintf(name, sizeof name, "denseblock%d.layer%d", block, layer);
    const int growth = net_width(n, GROWTH);
    struct map x = count == 1 ? features[0] : net_concat(n, features, count, "%s.concat", name);
    x = norm_relu(n, x, name, "1");
    x = net_conv(n, x, (struct layer){.out = BOTTLENECK * growth, .kernel = 1}, "%s.conv1", name);
    x = norm_relu(n, x, name, "2");
    return net_conv(n, x, (struct layer){.out = growth, .kernel = 3, .pad = 1}, "%s.conv2", name);
}

void net_densenet(struct net *n, int depth) {
    (void)depth;
    static const int layers[4] = {6, 12, LAYERS_MAX, 16};
    struct map x = net_input(n, 3);
    const struct layer stem = {.out = net_width(n, 64), .kernel = 7, .stride = 2, .pad = 3};
    x = net_conv(n, x, stem, "conv0");
    x = net_batchnorm(n, x, EPSILON, 1, "norm0");
    x = net_act(n, x, ACT_RELU, "relu0");
    x = net_maxpool(n, x, (struct pool){.kernel = 3, .stride = 2, .pad = 1}, "pool0");
    for (int block = 1; block <= 4; block++) {
        struct map features[LAYERS_MAX + 1] = {x};
        int count = 1;
        for (int layer = 1; layer <= layers[block - 1]; layer++, count++)
            features[count] = dense_layer(n, features, count, block, layer);
        x = net_concat(n, features, count, "denseblock%d", block);
        if (block == 4)
            break;
        char name[32];
        snprintf(name, sizeof name, "transition%d", block);
        x = norm_relu(n, x, name, "");
        x = net_conv(n, x, (struct layer){.out = x.c / 2, .kernel = 1}, "%s.conv", name);
        x = net_avgpool(n, x, (struct pool){.kernel = 2, .stride = 2}, "%s.pool", name);
    }
    x = net_batchnorm(n, x, EPSILON, 1, "norm5");
    x = net_act(n, x, ACT_RELU, "relu5");
    net_classify(n, x, 0, "classifier");
}
