/* GoogLeNet (Szegedy et al. 2014; as in PyTorch: BatchNormalization, 3x3 in the third branch, no
 * auxiliary classifiers) and InceptionV3 (Szegedy et al. 2015, likewise). */
#include "synth/build.h"

#define EPSILON 1e-3F

/* Conv, BatchNormalization, Relu; kernel_w 0: square.  Pads keep the size unless `valid`. */
struct basic {
    int out, kernel, kernel_w, stride;
    bool valid;
};

static struct map basic(struct net *n, struct map x, struct basic b, const char *block,
                        const char *part) {
    const int kernel_w = b.kernel_w == 0 ? b.kernel : b.kernel_w;
    const struct layer_bn l = {.conv = {.out = net_width(n, b.out),
                                        .kernel = b.kernel,
                                        .kernel_w = kernel_w,
                                        .stride = b.stride,
                                        .pad = b.valid ? 0 : b.kernel / 2,
                                        .pad_w = b.valid ? 0 : kernel_w / 2},
                               .epsilon = EPSILON,
                               .act = ACT_RELU};
    return net_conv_bn(n, x, l, "%s%s%s", block, part[0] == '\0' ? "" : ".", part);
}

/* ---- GoogLeNet ------------------------------------------------------------------------------- */

struct mixed {
    const char *name;
    int one, three_in, three, five_in, five, pool;
};

static struct map mixed(struct net *n, struct map x, const struct mixed *m) {
    const struct pool same = {.kernel = 3, .stride = 1, .pad = 1, .ceil = true};
    struct map branch[4];
    branch[0] = basic(n, x, (struct basic){.out = m->one, .kernel = 1}, m->name, "branch1");
    branch[1] = basic(n, x, (struct basic){.out = m->three_in, .kernel = 1}, m->name, "branch2.0");
    branch[1] =
        basic(n, branch[1], (struct basic){.out = m->three, .kernel = 3}, m->name, "branch2.1");
    branch[2] = basic(n, x, (struct basic){.out = m->five_in, .kernel = 1}, m->name, "branch3.0");
    branch[2] =
        basic(n, branch[2], (struct basic){.out = m->five, .kernel = 3}, m->name, "branch3.1");
    branch[3] = net_maxpool(n, x, same, "%s.branch4.pool", m->name);
    branch[3] =
        basic(n, branch[3], (struct basic){.out = m->pool, .kernel = 1}, m->name, "branch4.1");
    return net_concat(n, branch, 4, "%s", m->name);
}

void net_googlenet(struct net *n, int variant) {
    (void)variant;
    static const struct mixed blocks[9] = {
        {"inception3a", 64, 96, 128, 16, 32, 32},     {"inception3b", 128, 128, 192, 32, 96, 64},
        {"inception4a", 192, 96, 208, 16, 48, 64},    {"inception4b", 160, 112, 224, 24, 64, 64},
        {"inception4c", 128, 128, 256, 24, 64, 64},   {"inception4d", 112, 144, 288, 32, 64, 64},
        {"inception4e", 256, 160, 320, 32, 128, 128}, {"inception5a", 256, 160, 320, 32, 128, 128},
        {"inception5b", 384, 192, 384, 48, 128, 128},
    };
    const struct pool half = {.kernel = 3, .stride = 2, .ceil = true};
    struct map x = net_input(n, 3);
    x = basic(n, x, (struct basic){.out = 64, .kernel = 7, .stride = 2}, "conv1", "");
    x = net_maxpool(n, x, half, "maxpool1");
    x = basic(n, x, (struct basic){.out = 64, .kernel = 1}, "conv2", "");
    x = basic(n, x, (struct basic){.out = 192, .kernel = 3}, "conv3", "");
    x = net_maxpool(n, x, half, "maxpool2");
    for (int i = 0; i < 9; i++) {
        x = mixed(n, x, &blocks[i]);
        if (i == 1)
            x = net_maxpool(n, x, half, "maxpool3");
        if (i == 6)
            x = net_maxpool(n, x, (struct pool){.kernel = 2, .stride = 2, .ceil = true},
                            "maxpool4");
    }
    net_classify(n, x, 0.2F, "fc");
}

/* ---- InceptionV3, block types as in the paper's figures 5, 6, 7 and its reductions ----------- */

static struct map average_branch(struct net *n, struct map x, int out, const char *name) {
    x = net_avgpool(n, x, (struct pool){.kernel = 3, .stride = 1, .pad = 1}, "%s.pool", name);
    return basic(n, x, (struct basic){.out = out, .kernel = 1}, name, "branch_pool");
}

static struct map block_a(struct net *n, struct map x, int pool_out, const char *name) {
    struct map b[4];
    b[0] = basic(n, x, (struct basic){.out = 64, .kernel = 1}, name, "branch1x1");
    b[1] = basic(n, x, (struct basic){.out = 48, .kernel = 1}, name, "branch5x5_1");
    b[1] = basic(n, b[1], (struct basic){.out = 64, .kernel = 5}, name, "branch5x5_2");
    b[2] = basic(n, x, (struct basic){.out = 64, .kernel = 1}, name, "branch3x3dbl_1");
    b[2] = basic(n, b[2], (struct basic){.out = 96, .kernel = 3}, name, "branch3x3dbl_2");
    b[2] = basic(n, b[2], (struct basic){.out = 96, .kernel = 3}, name, "branch3x3dbl_3");
    b[3] = average_branch(n, x, pool_out, name);
    return net_concat(n, b, 4, "%s", name);
}

static struct map block_b(struct net *n, struct map x, const char *name) {
    const struct basic last = {.kernel = 3, .stride = 2, .valid = true, .out = 96};
    struct basic wide = last;
    wide.out = 384;
    struct map b[3];
    b[0] = basic(n, x, wide, name, "branch3x3");
    b[1] = basic(n, x, (struct basic){.out = 64, .kernel = 1}, name, "branch3x3dbl_1");
    b[1] = basic(n, b[1], (struct basic){.out = 96, .kernel = 3}, name, "branch3x3dbl_2");
    b[1] = basic(n, b[1], last, name, "branch3x3dbl_3");
    b[2] = net_maxpool(n, x, (struct pool){.kernel = 3, .stride = 2}, "%s.pool", name);
    return net_concat(n, b, 3, "%s", name);
}

static struct map block_c(struct net *n, struct map x, int inner, const char *name) {
    const struct basic in = {.out = inner, .kernel = 1},
                       row = {.out = inner, .kernel = 1, .kernel_w = 7},
                       column = {.out = inner, .kernel = 7, .kernel_w = 1};
    struct map b[4];
    b[0] = basic(n, x, (struct basic){.out = 192, .kernel = 1}, name, "branch1x1");
    b[1] = basic(n, x, in, name, "branch7x7_1");
    b[1] = basic(n, b[1], row, name, "branch7x7_2");
    b[1] =
        basic(n, b[1], (struct basic){.out = 192, .kernel = 7, .kernel_w = 1}, name, "branch7x7_3");
    b[2] = basic(n, x, in, name, "branch7x7dbl_1");
    b[2] = basic(n, b[2], column, name, "branch7x7dbl_2");
    b[2] = basic(n, b[2], row, name, "branch7x7dbl_3");
    b[2] = basic(n, b[2], column, name, "branch7x7dbl_4");
    b[2] = basic(n, b[2], (struct basic){.out = 192, .kernel = 1, .kernel_w = 7}, name,
                 "branch7x7dbl_5");
    b[3] = average_branch(n, x, 192, name);
    return net_concat(n, b, 4, "%s", name);
}

static struct map block_d(struct net *n, struct map x, const char *name) {
    struct basic last = {.kernel = 3, .stride = 2, .valid = true, .out = 320};
    struct map b[3];
    b[0] = basic(n, x, (struct basic){.out = 192, .kernel = 1}, name, "branch3x3_1");
    b[0] = basic(n, b[0], last, name, "branch3x3_2");
    last.out = 192;
    b[1] = basic(n, x, (struct basic){.out = 192, .kernel = 1}, name, "branch7x7x3_1");
    b[1] = basic(n, b[1], (struct basic){.out = 192, .kernel = 1, .kernel_w = 7}, name,
                 "branch7x7x3_2");
    b[1] = basic(n, b[1], (struct basic){.out = 192, .kernel = 7, .kernel_w = 1}, name,
                 "branch7x7x3_3");
    b[1] = basic(n, b[1], last, name, "branch7x7x3_4");
    b[2] = net_maxpool(n, x, (struct pool){.kernel = 3, .stride = 2}, "%s.pool", name);
    return net_concat(n, b, 3, "%s", name);
}

/* 1x3 and 3x1 side by side. */
static struct map crossed(struct net *n, struct map x, const char *name, const char *row,
                          const char *column) {
    const struct map b[2] = {
        basic(n, x, (struct basic){.out = 384, .kernel = 1, .kernel_w = 3}, name, row),
        basic(n, x, (struct basic){.out = 384, .kernel = 3, .kernel_w = 1}, name, column),
    };
    return net_concat(n, b, 2, "%s.%s+%s", name, row, column);
}

static struct map block_e(struct net *n, struct map x, const char *name) {
    struct map b[4];
    b[0] = basic(n, x, (struct basic){.out = 320, .kernel = 1}, name, "branch1x1");
    b[1] = basic(n, x, (struct basic){.out = 384, .kernel = 1}, name, "branch3x3_1");
    b[1] = crossed(n, b[1], name, "branch3x3_2a", "branch3x3_2b");
    b[2] = basic(n, x, (struct basic){.out = 448, .kernel = 1}, name, "branch3x3dbl_1");
    b[2] = basic(n, b[2], (struct basic){.out = 384, .kernel = 3}, name, "branch3x3dbl_2");
    b[2] = crossed(n, b[2], name, "branch3x3dbl_3a", "branch3x3dbl_3b");
    b[3] = average_branch(n, x, 192, name);
    return net_concat(n, b, 4, "%s", name);
}

void net_inception_v3(struct net *n, int variant) {
    (void)variant;
    const struct pool half = {.kernel = 3, .stride = 2};
    struct map x = net_input(n, 3);
    x = basic(n, x, (struct basic){.out = 32, .kernel = 3, .stride = 2, .valid = true},
              "Conv2d_1a_3x3", "");
    x = basic(n, x, (struct basic){.out = 32, .kernel = 3, .valid = true}, "Conv2d_2a_3x3", "");
    x = basic(n, x, (struct basic){.out = 64, .kernel = 3}, "Conv2d_2b_3x3", "");
    x = net_maxpool(n, x, half, "maxpool1");
    x = basic(n, x, (struct basic){.out = 80, .kernel = 1}, "Conv2d_3b_1x1", "");
    x = basic(n, x, (struct basic){.out = 192, .kernel = 3, .valid = true}, "Conv2d_4a_3x3", "");
    x = net_maxpool(n, x, half, "maxpool2");
    x = block_a(n, x, 32, "Mixed_5b");
    x = block_a(n, x, 64, "Mixed_5c");
    x = block_a(n, x, 64, "Mixed_5d");
    x = block_b(n, x, "Mixed_6a");
    x = block_c(n, x, 128, "Mixed_6b");
    x = block_c(n, x, 160, "Mixed_6c");
    x = block_c(n, x, 160, "Mixed_6d");
    x = block_c(n, x, 192, "Mixed_6e");
    x = block_d(n, x, "Mixed_7a");
    x = block_e(n, x, "Mixed_7b");
    x = block_e(n, x, "Mixed_7c");
    net_classify(n, x, 0.5F, "fc");
}
