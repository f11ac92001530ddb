/* SqueezeNet 1.0 and 1.1 (Iandola et al. 2016), with its ceil-mode pools and convolutional
 * classifier. */
#include "synth/build.h"

static struct map conv_relu(struct net *n, struct map x, int out, int kernel, const char *fire,
                            const char *part) {
    const struct layer l = {.out = out, .kernel = kernel, .pad = kernel / 2, .bias = true};
    x = net_conv(n, x, l, "%s.%s", fire, part);
    return net_act(n, x, ACT_RELU, "%s.%s.relu", fire, part);
}

/* Squeeze to `squeeze` channels, then 1x1 and 3x3 side by side. */
static struct map fire(struct net *n, struct map x, int squeeze, int expand, int number) {
    char name[16] = "fire2";
    name[4] = (char)('0' + number);
    x = conv_relu(n, x, net_width(n, squeeze), 1, name, "squeeze");
    const struct map sides[2] = {
        conv_relu(n, x, net_width(n, expand), 1, name, "expand1x1"),
        conv_relu(n, x, net_width(n, expand), 3, name, "expand3x3"),
    };
    return net_concat(n, sides, 2, "%s", name);
}

void net_squeezenet(struct net *n, int version) {
    static const int squeeze[8] = {16, 16, 32, 32, 48, 48, 64, 64};
    const struct pool pool = {.kernel = 3, .stride = 2, .ceil = true};
    const bool first = version == 10;
    const struct layer stem = {
        .out = net_width(n, first ? 96 : 64), .kernel = first ? 7 : 3, .stride = 2, .bias = true};
    struct map x = net_conv(n, net_input(n, 3), stem, "conv1");
    x = net_act(n, x, ACT_RELU, "relu1");
    x = net_maxpool(n, x, pool, "pool1");
    for (int i = 0; i < 8;
         i++) { /* fire modules 2 to 9; 1.0 pools after 4 and 8, 1.1 after 3 and 5 */
        const int number = i + 2;
        x = fire(n, x, squeeze[i], 4 * squeeze[i], number);
        if (first ? number == 4 || number == 8 : number == 3 || number == 5)
            x = net_maxpool(n, x, pool, "pool%d", number);
    }
    if (n->options.features) {
        net_output(n, x);
        return;
    }
    x = net_dropout(n, x, 0.5F, "drop9");
    x = net_conv(n, x, (struct layer){.out = n->options.classes, .kernel = 1, .bias = true},
                 "conv10");
    x = net_act(n, x, ACT_RELU, "relu10");
    x = net_global_avgpool(n, x, "pool10");
    net_output(n, net_flatten(n, x, "logits"));
}
