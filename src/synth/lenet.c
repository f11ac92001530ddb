/* LeNet-5 (LeCun et al. 1998) on one channel of 32x32, with every map of C3 connected to every map
 * of S2, plain averages as subsampling, and a linear last layer. */
#include "synth/build.h"

void net_lenet(struct net *n, int variant) {
    (void)variant;
    const struct pool average = {.kernel = 2, .stride = 2};
    struct map x = net_input(n, 1);
    x = net_conv(n, x, (struct layer){.out = net_width(n, 6), .kernel = 5, .bias = true}, "conv1");
    x = net_act(n, x, ACT_TANH, "tanh1");
    x = net_avgpool(n, x, average, "pool2");
    x = net_conv(n, x, (struct layer){.out = net_width(n, 16), .kernel = 5, .bias = true}, "conv3");
    x = net_act(n, x, ACT_TANH, "tanh3");
    x = net_avgpool(n, x, average, "pool4");
    if (n->options.features) {
        net_output(n, x);
        return;
    }
    x = net_flatten(n, x, "flatten");
    x = net_gemm(n, x, net_width(n, 120), "fc5");
    x = net_act(n, x, ACT_TANH, "tanh5");
    x = net_gemm(n, x, net_width(n, 84), "fc6");
    x = net_act(n, x, ACT_TANH, "tanh6");
    net_logits(n, x, "fc7");
}
