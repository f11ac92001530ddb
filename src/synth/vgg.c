/* VGG (Simonyan & Zisserman 2014), configurations A, B, D and E: without BatchNormalization.
 * The first fully connected layer is as large as the last map, so that any image size works. */
#include "synth/build.h"

static struct map fully_connected(struct net *n, struct map x, int number) {
    x = net_gemm(n, x, net_width(n, 4096), "fc%d", number);
    x = net_act(n, x, ACT_RELU, "relu%d", number);
    return net_dropout(n, x, 0.5F, "drop%d", number);
}

void net_vgg(struct net *n, int depth) {
    static const int channels[5] = {64, 128, 256, 512, 512};
    struct map x = net_input(n, 3);
    for (int stage = 1; stage <= 5; stage++) {
        const int early = depth == 11 ? 1 : 2, late = depth == 19 ? 4 : depth == 16 ? 3 : 2;
        for (int i = 1; i <= (stage <= 2 ? early : late); i++) {
            const int out = net_width(n, channels[stage - 1]);
            x = net_conv(n, x, (struct layer){.out = out, .kernel = 3, .pad = 1, .bias = true},
                         "conv%d_%d", stage, i);
            x = net_act(n, x, ACT_RELU, "relu%d_%d", stage, i);
        }
        x = net_maxpool(n, x, (struct pool){.kernel = 2, .stride = 2}, "pool%d", stage);
    }
    if (n->options.features) {
        net_output(n, x);
        return;
    }
    x = net_flatten(n, x, "flatten");
    x = fully_connected(n, x, 6);
    x = fully_connected(n, x, 7);
    net_logits(n, x, "fc8");
}
