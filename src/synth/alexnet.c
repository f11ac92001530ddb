/* AlexNet in one column, without local response normalisation (Krizhevsky 2014, "One weird trick").
 * The first fully connected layer is as large as the last map, so that any image size works. */
#include "synth/build.h"

void net_alexnet(struct net *n, int variant) {
    (void)variant;
    static const struct {
        int out, kernel, stride, pad;
        bool pool;
    } convs[5] = {
        {64, 11, 4, 2, true},  {192, 5, 1, 2, true}, {384, 3, 1, 1, false},
        {256, 3, 1, 1, false}, {256, 3, 1, 1, true},
    };
    struct map x = net_input(n, 3);
    for (int i = 0; i < 5; i++) {
        const struct layer l = {.out = net_width(n, convs[i].out),
                                .kernel = convs[i].kernel,
                                .stride = convs[i].stride,
                                .pad = convs[i].pad,
                                .bias = true};
        x = net_conv(n, x, l, "conv%d", i + 1);
        x = net_act(n, x, ACT_RELU, "relu%d", i + 1);
        if (convs[i].pool)
            x = net_maxpool(n, x, (struct pool){.kernel = 3, .stride = 2}, "pool%d", i + 1);
    }
    if (n->options.features) {
        net_output(n, x);
        return;
    }
    x = net_flatten(n, x, "flatten");
    for (int i = 6; i <= 7; i++) {
        x = net_dropout(n, x, 0.5F, "drop%d", i);
        x = net_gemm(n, x, net_width(n, 4096), "fc%d", i);
        x = net_act(n, x, ACT_RELU, "relu%d", i);
    }
    net_logits(n, x, "fc8");
}
