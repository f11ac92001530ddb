/* The layers that kernels are compared on, one of each kind that matters. */
#include "profile/kernel_bench.h"

/* A convolution with stride `s` of CxHxW to N channels, padded so that stride 1 keeps the size. */
#define CONV(label, c, hw, n, k, s, g)                                                             \
    {                                                                                              \
        label, {                                                                                   \
            .family = SIGNATURE_CONV, .conv = {                                                    \
                .in_c = c,                                                                         \
                .in_h = hw,                                                                        \
                .in_w = hw,                                                                        \
                .out_c = n,                                                                        \
                .out_h = ((hw) + 2 * (((k)-1) / 2) - (k)) / (s) + 1,                               \
                .out_w = ((hw) + 2 * (((k)-1) / 2) - (k)) / (s) + 1,                               \
                .groups = g,                                                                       \
                .kernel_h = k,                                                                     \
                .kernel_w = k,                                                                     \
                .stride_h = s,                                                                     \
                .stride_w = s,                                                                     \
                .pad_top = ((k)-1) / 2,                                                            \
                .pad_left = ((k)-1) / 2,                                                           \
                .dilation_h = 1,                                                                   \
                .dilation_w = 1,                                                                   \
                .in_blocked = (c) >= BLOCK,                                                        \
                .out_blocked = (n) >= BLOCK,                                                       \
            }                                                                                      \
        }                                                                                          \
    }
#define GEMM(label, r, kk, nn, f16)                                                                \
    {                                                                                              \
        label, {                                                                                   \
            .family = SIGNATURE_GEMM, .gemm = {.rows = r, .k = kk, .n = nn, .half = f16 }          \
        }                                                                                          \
    }

static const struct bench_layer layers[] = {
    CONV("vgg16 conv1_1", 3, 224, 64, 3, 1, 1),
    CONV("vgg16 conv1_2", 64, 224, 64, 3, 1, 1),
    CONV("vgg16 conv2_2", 128, 112, 128, 3, 1, 1),
    CONV("vgg16 conv3_2", 256, 56, 256, 3, 1, 1),
    CONV("vgg16 conv4_2", 512, 28, 512, 3, 1, 1),
    CONV("vgg16 conv5_1", 512, 14, 512, 3, 1, 1),
    /* where Winograd's transforms, or the reading of its weights, weigh most */
    CONV("narrow 3x3/112", 16, 112, 16, 3, 1, 1),
    CONV("narrow 3x3/56", 32, 56, 32, 3, 1, 1),
    CONV("yolov2 3x3/13", 1024, 13, 1024, 3, 1, 1),
    CONV("resnet conv1", 3, 224, 64, 7, 2, 1),
    CONV("resnet 3x3/56", 64, 56, 64, 3, 1, 1),
    CONV("resnet 3x3/2", 128, 56, 128, 3, 2, 1),
    CONV("resnet 3x3/28", 128, 28, 128, 3, 1, 1),
    CONV("resnet 3x3/14", 256, 14, 256, 3, 1, 1),
    CONV("resnet 3x3/7", 512, 7, 512, 3, 1, 1),
    CONV("resnet 1x1/56", 64, 56, 256, 1, 1, 1),
    CONV("resnet 1x1/28", 512, 28, 128, 1, 1, 1),
    CONV("resnet 1x1/7", 2048, 7, 512, 1, 1, 1),
    CONV("resnet 1x1 s2", 256, 56, 512, 1, 2, 1),
    CONV("mobile 1x1/112", 32, 112, 16, 1, 1, 1),
    CONV("mobile 1x1/56", 24, 56, 144, 1, 1, 1),
    CONV("mobile 1x1/14", 96, 14, 576, 1, 1, 1),
    CONV("mobile dw/112", 96, 112, 96, 3, 2, 96),
    CONV("mobile dw/56", 144, 56, 144, 3, 1, 144),
    CONV("mobile dw/14", 576, 14, 576, 3, 1, 576),
    CONV("effnet dw5/28", 240, 28, 240, 5, 1, 240),
    CONV("effnet dw5 s2", 144, 56, 144, 5, 2, 144),
    CONV("convnext dw7/14", 384, 14, 384, 7, 1, 384),
    CONV("resnext 3x3 g32", 128, 56, 128, 3, 1, 32),
    {"upsample 4x4 s2",
     {.family = SIGNATURE_DECONV,
      .conv = {.in_c = 64,
               .in_h = 28,
               .in_w = 28,
               .out_c = 64,
               .out_h = 56,
               .out_w = 56,
               .groups = 1,
               .kernel_h = 4,
               .kernel_w = 4,
               .stride_h = 2,
               .stride_w = 2,
               .pad_top = 1,
               .pad_left = 1,
               .dilation_h = 1,
               .dilation_w = 1,
               .in_blocked = true,
               .out_blocked = true}}},
    GEMM("vgg16 fc7", 1, 4096, 4096, false),
    GEMM("vgg16 fc7 f16", 1, 4096, 4096, true),
    GEMM("resnet50 fc", 1, 2048, 1000, false),
    GEMM("bert 128 tokens", 128, 768, 768, false),
    GEMM("vit mlp", 197, 768, 3072, false),
};

const struct bench_layer *kernel_bench_layers(int *count) {
    *count = (int)(sizeof layers / sizeof *layers);
    return layers;
}
