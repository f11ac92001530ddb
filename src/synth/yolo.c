/* YOLOv2 on Darknet-19 and its tiny variant (Redmon & Farhadi 2016), for 5 anchors: the output is
 * the raw grid [1, 5 * (5 + classes), H/32, W/32], which the boxes are read from.  --features
 * leaves the 1x1 prediction layer out. */
#include "synth/build.h"

#define EPSILON 1e-6F
#define ANCHORS 5

static struct map conv(struct net *n, struct map x, int out, int kernel, int number) {
    x = net_conv(n, x,
                 (struct layer){.out = net_width(n, out), .kernel = kernel, .pad = kernel / 2},
                 "conv%d", number);
    x = net_batchnorm(n, x, EPSILON, 1, "bn%d", number);
    return net_act(n, x, ACT_LEAKY_RELU, "leaky%d", number);
}

static void predict(struct net *n, struct map x) {
    if (!n->options.features) {
        const int out = ANCHORS * (5 + n->options.classes);
        x = net_conv(n, x, (struct layer){.out = out, .kernel = 1, .bias = true}, "grid");
    }
    net_output(n, x);
}

void net_yolo_v2(struct net *n, int variant) {
    (void)variant;
    const struct pool half = {.kernel = 2, .stride = 2};
    static const int stages[5][5] = {/* channels; 3x3 and 1x1 in turn; then a pool */
                                     {32},
                                     {64},
                                     {128, 64, 128},
                                     {256, 128, 256},
                                     {512, 256, 512, 256, 512}};
    static const int last[5] = {1024, 512, 1024, 512, 1024};
    struct map x = net_input(n, 3), fine = x;
    int number = 1;
    for (int s = 0; s < 5; s++) {
        for (int i = 0; i < 5 && stages[s][i] != 0; i++, number++)
            x = conv(n, x, stages[s][i], i % 2 == 0 ? 3 : 1, number);
        fine = x;
        x = net_maxpool(n, x, half, "pool%d", s + 1);
    }
    for (int i = 0; i < 5; i++, number++)
        x = conv(n, x, last[i], i % 2 == 0 ? 3 : 1, number);
    x = conv(n, x, 1024, 3, number++);
    x = conv(n, x, 1024, 3, number++);
    fine = net_reorg(n, conv(n, fine, 64, 1, number++), "reorg");
    x = net_concat(n, (const struct map[]){fine, x}, 2, "concat");
    predict(n, conv(n, x, 1024, 3, number));
}

void net_yolo_tiny(struct net *n, int variant) {
    (void)variant;
    struct map x = net_input(n, 3);
    for (int i = 0; i < 6; i++) {
        x = conv(n, x, 16 << i, 3, i + 1);
        /* The sixth keeps the size. */
        x = net_maxpool(n, x, (struct pool){.kernel = 2, .stride = i < 5 ? 2 : 1, .same = i == 5},
                        "pool%d", i + 1);
    }
    x = conv(n, x, 1024, 3, 7);
    predict(n, conv(n, x, 512, 3, 8));
}
