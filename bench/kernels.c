/* Speed of every kernel in the registry on layers of known networks, one thread.
 *
 *   build/bench/kernels [FILTER]...     kernels or layers whose name contains a FILTER (all
 * without)
 *
 * Kernels take turns on a layer, and the median of their rounds is printed, so a drifting clock
 * hits all alike.  GFLOP/s counts a multiply-add as 2.  The last figure, measured in the same
 * turns, is what multiply-then-add in registers reaches with the portable kernels' vector width:
 * their speed of light (kernels with fused multiply-add or wider vectors go beyond it). */
#include "base/mem.h"
#include "kernels/generic/vec.h"
#include "kernels/plainops.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 9

/* CPU time of this thread: what other programs take does not count. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *t, int n) {
    qsort(t, (size_t)n, sizeof *t, ascending);
    return t[n / 2];
}

/* ---- the ceiling ----------------------------------------------------------------------------- */

/* Twelve independent sums of products that the compiler cannot foresee. */
static double ceiling_once(void) {
    enum { CHAINS = 12, TIMES = 100000 };
    vec sum[CHAINS] = {{0}}, w = vec_set(1.0001f);
    float x = 0.9999f;
    double t = now();
    for (int i = 0; i < TIMES; i++) {
        vec b = vec_set(x);
#if defined(__x86_64__) || defined(__i386__)
        __asm__ volatile("" : "+x"(w), "+x"(b));
#elif defined(__aarch64__)
        __asm__ volatile("" : "+w"(w), "+w"(b));
#endif
        sum[0] += w * b;
        for (int j = 1; j < CHAINS; j++) {
            vec p = b;
#if defined(__x86_64__) || defined(__i386__)
            __asm__ volatile("" : "+x"(p));
#elif defined(__aarch64__)
            __asm__ volatile("" : "+w"(p));
#endif
            sum[j] += w * p;
        }
    }
    t = now() - t;
    float total = 0;
    for (int j = 0; j < CHAINS; j++)
        total += sum[j][0];
    return total != total ? 0 : 2.0 * VL * CHAINS * TIMES / t * 1e-9; /* the sums are used */
}

/* ---- layers ---------------------------------------------------------------------------------- */

struct layer {
    const char *name;
    int in_c, in_h, in_w, out_c, kernel, stride, groups;
};

static const struct layer layers[] = {
    {"vgg16 conv1_1", 3, 224, 224, 64, 3, 1, 1},
    {"vgg16 conv1_2", 64, 224, 224, 64, 3, 1, 1},
    {"vgg16 conv2_2", 128, 112, 112, 128, 3, 1, 1},
    {"vgg16 conv3_2", 256, 56, 56, 256, 3, 1, 1},
    {"vgg16 conv4_2", 512, 28, 28, 512, 3, 1, 1},
    {"vgg16 conv5_1", 512, 14, 14, 512, 3, 1, 1},
    /* where Winograd's transforms, or the reading of its weights, weigh most */
    {"narrow 3x3/112", 16, 112, 112, 16, 3, 1, 1},
    {"narrow 3x3/56", 32, 56, 56, 32, 3, 1, 1},
    {"yolov2 3x3/13", 1024, 13, 13, 1024, 3, 1, 1},
    {"resnet conv1", 3, 224, 224, 64, 7, 2, 1},
    {"resnet 3x3/56", 64, 56, 56, 64, 3, 1, 1},
    {"resnet 3x3/2", 128, 56, 56, 128, 3, 2, 1},
    {"resnet 3x3/28", 128, 28, 28, 128, 3, 1, 1},
    {"resnet 3x3/14", 256, 14, 14, 256, 3, 1, 1},
    {"resnet 3x3/7", 512, 7, 7, 512, 3, 1, 1},
    {"resnet 1x1/56", 64, 56, 56, 256, 1, 1, 1},
    {"resnet 1x1/28", 512, 28, 28, 128, 1, 1, 1},
    {"resnet 1x1/7", 2048, 7, 7, 512, 1, 1, 1},
    {"resnet 1x1 s2", 256, 56, 56, 512, 1, 2, 1},
    {"mobile 1x1/112", 32, 112, 112, 16, 1, 1, 1},
    {"mobile 1x1/56", 24, 56, 56, 144, 1, 1, 1},
    {"mobile 1x1/14", 96, 14, 14, 576, 1, 1, 1},
    {"mobile dw/112", 96, 112, 112, 96, 3, 2, 96},
    {"mobile dw/56", 144, 56, 56, 144, 3, 1, 144},
    {"mobile dw/14", 576, 14, 14, 576, 3, 1, 576},
    {"effnet dw5/28", 240, 28, 28, 240, 5, 1, 240},
    {"effnet dw5 s2", 144, 56, 56, 144, 5, 2, 144},
    {"convnext dw7/14", 384, 14, 14, 384, 7, 1, 384},
    {"resnext 3x3 g32", 128, 56, 56, 128, 3, 1, 32},
    {"upsample 4x4 s2", 64, 28, 28, 64, 4, -2, 1}, /* transposed */
};

static const struct gemm_shape products[] = {
    {1, 4096, 4096}, {1, 2048, 1000}, {128, 768, 768}, {197, 768, 3072}};

static bool matches(const char *kernel, const char *layer, char **filters, int count) {
    for (int i = 0; i < count; i++)
        if (!strstr(kernel, filters[i]) && !strstr(layer, filters[i]))
            return false;
    return true;
}

static float *random_floats(size_t n) {
    float *p = mem_alloc(n * sizeof(float));
    uint32_t state = 1;
    if (!p) {
        fprintf(stderr, "not enough memory\n");
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        p[i] = (float)(state >> 8) / 16777216.0f - 0.5f;
    }
    return p;
}

enum { KERNELS_MAX = 32 };

static void report(const char *layer, double gflop, const char *kernel, double *t,
                   double *ceilings) {
    double m = median(t, ROUNDS), ceiling = median(ceilings, ROUNDS);
    printf("%-16s %8.1f MFLOP  %-24s %9.3f ms %8.1f GFLOP/s %5.0f %% of %5.1f\n", layer,
           gflop * 1e3, kernel, m * 1e3, gflop / m, 100 * gflop / m / ceiling, ceiling);
}

static void bench_conv(const struct layer *l, char **filters, int filter_count) {
    bool transposed = l->stride < 0;
    int stride = abs(l->stride), pad = (l->kernel - 1) / 2, count, n = 0;
    struct conv_shape s = {.in_c = l->in_c,
                           .in_h = l->in_h,
                           .in_w = l->in_w,
                           .out_c = l->out_c,
                           .groups = l->groups,
                           .kernel_h = l->kernel,
                           .kernel_w = l->kernel,
                           .stride_h = stride,
                           .stride_w = stride,
                           .pad_top = pad,
                           .pad_left = pad,
                           .dilation_h = 1,
                           .dilation_w = 1};
    s.in_blocked = s.in_c >= BLOCK;
    s.out_blocked = s.out_c >= BLOCK;
    s.out_h = transposed ? s.in_h * stride : (s.in_h + 2 * pad - l->kernel) / stride + 1;
    s.out_w = transposed ? s.in_w * stride : (s.in_w + 2 * pad - l->kernel) / stride + 1;
    double pixels = transposed ? (double)s.in_h * s.in_w : (double)s.out_h * s.out_w;
    double gflop = 2e-9 * pixels * s.out_c * (s.in_c / s.groups) * l->kernel * l->kernel;
    struct view in = view_map(NULL, 0, s.in_h, s.in_c, s.in_w);
    struct view out = view_map(NULL, 0, s.out_h, s.out_c, s.out_w);
    size_t per_oc = (size_t)(s.in_c / s.groups) * (size_t)(l->kernel * l->kernel);
    float *w = random_floats((size_t)s.out_c * per_oc);
    float *bias = random_floats((size_t)view_blocks(&out) * BLOCK);
    in.data = random_floats((size_t)(in.rows * in.row_pitch));
    out.data = random_floats((size_t)(out.rows * out.row_pitch));
    const struct conv_kernel *const *list =
        transposed ? kernels_deconv(&count) : kernels_conv(&count);
    struct conv_args args[KERNELS_MAX];
    const struct conv_kernel *kernels[KERNELS_MAX];
    void *packed[KERNELS_MAX], *workspace[KERNELS_MAX];
    double times[KERNELS_MAX][ROUNDS], ceilings[ROUNDS];
    for (int i = 0; i < count && n < KERNELS_MAX; i++) {
        const struct conv_kernel *k = list[i];
        if (!(kernel_isa_available() & 1u << k->isa) || k->rate(&s) <= 0 ||
            !matches(k->name, l->name, filters, filter_count))
            continue;
        packed[n] = mem_zalloc(k->weights_bytes(&s), 1);
        workspace[n] = mem_alloc(k->workspace_bytes ? k->workspace_bytes(&s) : 1);
        if (!packed[n] || !workspace[n]) {
            fprintf(stderr, "not enough memory\n");
            exit(1);
        }
        if (transposed)
            k->pack(&s, w, 0, s.out_c, packed[n]);
        for (int oc = 0; !transposed && oc < s.out_c; oc += BLOCK)
            k->pack(&s, w + (size_t)oc * per_oc, oc, s.out_c - oc < BLOCK ? s.out_c - oc : BLOCK,
                    packed[n]);
        args[n] = (struct conv_args){.shape = &s,
                                     .weights = packed[n],
                                     .bias = bias,
                                     .in = in,
                                     .out = out,
                                     .epilogue = {.act = KACT_RELU},
                                     .y1 = s.out_h,
                                     .block1 = view_blocks(&out),
                                     .workspace = workspace[n]};
        kernels[n++] = k;
    }
    for (int round = -1; round < ROUNDS; round++) {
        if (round >= 0)
            ceilings[round] = ceiling_once();
        for (int i = 0; i < n; i++) {
            double t = now();
            kernels[i]->run(&args[i]);
            if (round >= 0)
                times[i][round] = now() - t;
        }
    }
    for (int i = 0; i < n; i++) {
        report(l->name, gflop, kernels[i]->name, times[i], ceilings);
        mem_free(packed[i]);
        mem_free(workspace[i]);
    }
    mem_free(w);
    mem_free(bias);
    mem_free(in.data);
    mem_free(out.data);
}

static void bench_gemm(const struct gemm_shape *s, char **filters, int filter_count) {
    int count, n = 0;
    char name[64];
    snprintf(name, sizeof name, "gemm %dx%dx%d", (int)s->rows, s->k, s->n);
    const struct gemm_kernel *const *list = kernels_gemm(&count);
    const struct gemm_kernel *kernels[KERNELS_MAX];
    struct gemm_args args[KERNELS_MAX];
    void *packed[KERNELS_MAX];
    double times[KERNELS_MAX][ROUNDS], ceilings[ROUNDS];
    float *w = random_floats((size_t)s->k * (size_t)s->n);
    float *in = random_floats((size_t)s->rows * (size_t)s->k);
    float *out = random_floats((size_t)s->rows * (size_t)s->n);
    for (int i = 0; i < count && n < KERNELS_MAX; i++) {
        const struct gemm_kernel *k = list[i];
        if (!(kernel_isa_available() & 1u << k->isa) || k->rate(s) <= 0 || k->workspace_bytes ||
            !matches(k->name, name, filters, filter_count))
            continue;
        packed[n] = mem_zalloc(k->weights_bytes(s), 1);
        if (!packed[n]) {
            fprintf(stderr, "not enough memory\n");
            exit(1);
        }
        for (int f = 0; f < s->n; f += BLOCK)
            k->pack(s, w + (size_t)f * (size_t)s->k, f, s->n - f < BLOCK ? s->n - f : BLOCK,
                    packed[n]);
        args[n] = (struct gemm_args){.shape = s,
                                     .weights = packed[n],
                                     .in = in,
                                     .out = out,
                                     .in_pitch = s->k,
                                     .out_pitch = s->n,
                                     .y1 = s->rows,
                                     .n1 = s->n};
        kernels[n++] = k;
    }
    for (int round = -1; round < ROUNDS; round++) {
        if (round >= 0)
            ceilings[round] = ceiling_once();
        for (int i = 0; i < n; i++) {
            double t = now();
            kernels[i]->run(&args[i]);
            if (round >= 0)
                times[i][round] = now() - t;
        }
    }
    for (int i = 0; i < n; i++) {
        report(name, 2e-9 * (double)s->rows * s->k * s->n, kernels[i]->name, times[i], ceilings);
        mem_free(packed[i]);
    }
    mem_free(w);
    mem_free(in);
    mem_free(out);
}

/* ---- pooling and the plain operators: what counts is memory ---------------------------------- */

static void report_bytes(const char *layer, double bytes, const char *kernel, double *t) {
    double m = median(t, ROUNDS);
    printf("%-16s %8.2f MB     %-24s %9.3f ms %8.1f GB/s\n", layer, bytes * 1e-6, kernel, m * 1e3,
           bytes / m * 1e-9);
}

struct pool_layer {
    const char *name;
    enum pool_kind kind;
    int channels, size, kernel, stride, pad;
};
static const struct pool_layer pool_layers[] = {
    {"max 3x3 s2/112", POOL_MAX, 64, 112, 3, 2, 1},
    {"max 2x2 s2/112", POOL_MAX, 128, 112, 2, 2, 0},
    {"max 3x3 s1/14", POOL_MAX, 512, 14, 3, 1, 1},
    {"max 5x5 s1/13", POOL_MAX, 256, 13, 5, 1, 2},
    {"avg 2x2 s2/56", POOL_AVERAGE, 128, 56, 2, 2, 0},
    {"avg 3x3 s1/35", POOL_AVERAGE, 288, 35, 3, 1, 1},
};

static void bench_pool(const struct pool_layer *l, char **filters, int filter_count) {
    int count, out = (l->size + 2 * l->pad - l->kernel) / l->stride + 1;
    const struct pool_kernel *const *list = kernels_pool(&count);
    struct pool_args a = {.kind = l->kind,
                          .in_h = l->size,
                          .in_w = l->size,
                          .out_h = out,
                          .out_w = out,
                          .kernel_h = l->kernel,
                          .kernel_w = l->kernel,
                          .stride_h = l->stride,
                          .stride_w = l->stride,
                          .pad_top = l->pad,
                          .pad_left = l->pad,
                          .pad_bottom = l->pad,
                          .pad_right = l->pad,
                          .dilation_h = 1,
                          .dilation_w = 1,
                          .in = view_map(NULL, 0, l->size, l->channels, l->size),
                          .out = view_map(NULL, 0, out, l->channels, out),
                          .y1 = out};
    size_t in_floats = (size_t)(a.in.rows * a.in.row_pitch);
    size_t out_floats = (size_t)(a.out.rows * a.out.row_pitch);
    double times[KERNELS_MAX][ROUNDS];
    a.block1 = view_blocks(&a.out);
    a.in.data = random_floats(in_floats);
    a.out.data = random_floats(out_floats);
    for (int round = -1; round < ROUNDS; round++)
        for (int i = 0; i < count && i < KERNELS_MAX; i++) {
            if (!(kernel_isa_available() & 1u << list[i]->isa))
                continue;
            double t = now();
            list[i]->run(&a);
            if (round >= 0)
                times[i][round] = now() - t;
        }
    for (int i = 0; i < count && i < KERNELS_MAX; i++)
        if (kernel_isa_available() & 1u << list[i]->isa &&
            matches(list[i]->name, l->name, filters, filter_count))
            report_bytes(l->name, 4.0 * (double)(in_floats + out_floats), list[i]->name, times[i]);
    mem_free(a.in.data);
    mem_free(a.out.data);
}

/* One operator on a map of 56x56 and 144 channels, or on 197 tokens. */
struct plain_bench {
    struct view in, out, other, pixel, tokens, tokens_out;
    uint16_t *half;
    int *channels;
    size_t floats, token_floats;
};

static const struct kernel_epilogue no_epilogue = {.act = KACT_NONE};

static void activate(const struct plainops *p, const struct plain_bench *b, enum kernel_act act) {
    struct kernel_epilogue e = {.act = act, .a = 0, .b = 6};
    p->unary_rows(UNARY_COPY, 0, 0, &b->in, &b->out, &e, 0, b->out.rows, 0, view_blocks(&b->out));
}
static void run_clip(const struct plainops *p, const struct plain_bench *b) {
    activate(p, b, KACT_CLIP);
}
static void run_hard_swish(const struct plainops *p, const struct plain_bench *b) {
    activate(p, b, KACT_HARD_SWISH);
}
static void run_silu(const struct plainops *p, const struct plain_bench *b) {
    activate(p, b, KACT_SILU);
}
static void run_tanh(const struct plainops *p, const struct plain_bench *b) {
    activate(p, b, KACT_TANH);
}
static void run_gelu(const struct plainops *p, const struct plain_bench *b) {
    p->unary_rows(UNARY_GELU, 0, 0, &b->tokens, &b->tokens_out, &no_epilogue, 0, b->tokens.rows, 0,
                  view_blocks(&b->tokens));
}
static void binary(const struct plainops *p, const struct plain_bench *b, enum binary_op op,
                   const struct view *other) {
    struct binary_operand x = {.view = b->in}, y = {.view = *other};
    p->binary_rows(op, &x, &y, &b->out, &no_epilogue, 0, b->out.rows, 0, view_blocks(&b->out));
}
static void run_add(const struct plainops *p, const struct plain_bench *b) {
    binary(p, b, BINARY_ADD, &b->other);
}
static void run_scale(const struct plainops *p, const struct plain_bench *b) {
    binary(p, b, BINARY_MUL, &b->pixel);
}
static void run_batch_norm(const struct plainops *p, const struct plain_bench *b) {
    struct kernel_epilogue e = {.act = KACT_RELU};
    p->affine_rows(b->pixel.data, b->pixel.data, &b->in, &b->out, &e, 0, b->out.rows, 0,
                   view_blocks(&b->out));
}
static void run_global_average(const struct plainops *p, const struct plain_bench *b) {
    p->global_reduce(REDUCE_MEAN, &b->in, b->in.rows, &b->pixel, 0, 0, view_blocks(&b->in));
}
static void run_softmax(const struct plainops *p, const struct plain_bench *b) {
    p->softmax_channels_rows(false, &b->tokens, &b->tokens_out, 0, b->tokens.rows);
}
static void run_layer_norm(const struct plainops *p, const struct plain_bench *b) {
    p->layer_norm_rows(b->other.data, b->other.data, 1e-5f, &b->tokens, &b->tokens_out, 0,
                       b->tokens.rows);
}
static void run_shuffle(const struct plainops *p, const struct plain_bench *b) {
    p->shuffle_channels_rows(b->channels, &b->in, &b->out, 0, b->out.rows);
}
static void run_copy_part(const struct plainops *p, const struct plain_bench *b) {
    p->copy_channels_rows(&b->in, 0, &b->out, 8, b->out.channels - 8, 0, b->out.rows);
}
static void run_to_half(const struct plainops *p, const struct plain_bench *b) {
    p->float_to_half(b->in.data, b->half, (ptrdiff_t)b->floats);
}
static void run_from_half(const struct plainops *p, const struct plain_bench *b) {
    p->half_to_float(b->half, b->out.data, (ptrdiff_t)b->floats);
}

static void bench_plain(char **filters, int filter_count) {
    enum { SIZE = 56, CHANNELS = 144, TOKENS = 197, FEATURES = 768 };
    struct plain_bench b = {.in = view_map(NULL, 0, SIZE, CHANNELS, SIZE),
                            .pixel = view_map(NULL, 0, 1, CHANNELS, 1),
                            .tokens = view_tokens(NULL, 0, TOKENS, FEATURES)};
    int channels[CHANNELS], count;
    const struct plainops *const *list = kernels_plain(&count);
    b.out = b.other = b.in;
    b.tokens_out = b.tokens;
    b.floats = (size_t)(b.in.rows * b.in.row_pitch);
    b.token_floats = (size_t)(b.tokens.rows * b.tokens.row_pitch);
    b.in.data = random_floats(b.floats);
    b.out.data = random_floats(b.floats);
    b.other.data = random_floats(b.floats);
    b.pixel.data = random_floats(CHANNELS);
    b.tokens.data = random_floats(b.token_floats);
    b.tokens_out.data = random_floats(b.token_floats);
    b.half = mem_zalloc(b.floats, sizeof *b.half);
    b.channels = channels;
    for (int c = 0; c < CHANNELS; c++)
        channels[c] = c % 2 * (CHANNELS / 2) + c / 2;
    struct view one = b.pixel; /* one pixel for all */
    one.row_pitch = one.pixel_pitch = 0;
    b.pixel = one;
    const double map = 4.0 * (double)b.floats, tokens = 4.0 * (double)b.token_floats;
    const struct {
        const char *name;
        void (*run)(const struct plainops *p, const struct plain_bench *b);
        double bytes;
    } ops[] = {
        {"clip", run_clip, 2 * map},
        {"hard swish", run_hard_swish, 2 * map},
        {"silu", run_silu, 2 * map},
        {"tanh", run_tanh, 2 * map},
        {"gelu tokens", run_gelu, 2 * tokens},
        {"add", run_add, 3 * map},
        {"scale (SE)", run_scale, 2 * map},
        {"batch norm+relu", run_batch_norm, 2 * map},
        {"global average", run_global_average, map},
        {"softmax tokens", run_softmax, 2 * tokens},
        {"layer norm", run_layer_norm, 2 * tokens},
        {"shuffle channels", run_shuffle, 2 * map},
        {"copy channels", run_copy_part, 2 * map},
        {"to float16", run_to_half, 1.5 * map},
        {"from float16", run_from_half, 1.5 * map},
    };
    for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
        double times[KERNELS_MAX][ROUNDS];
        for (int round = -1; round < ROUNDS; round++)
            for (int i = 0; i < count && i < KERNELS_MAX; i++) {
                if (!(kernel_isa_available() & 1u << list[i]->isa))
                    continue;
                double t = now();
                ops[o].run(list[i], &b);
                if (round >= 0)
                    times[i][round] = now() - t;
            }
        for (int i = 0; i < count && i < KERNELS_MAX; i++)
            if (kernel_isa_available() & 1u << list[i]->isa &&
                matches(list[i]->name, ops[o].name, filters, filter_count))
                report_bytes(ops[o].name, ops[o].bytes, list[i]->name, times[i]);
    }
    mem_free(b.in.data);
    mem_free(b.out.data);
    mem_free(b.other.data);
    mem_free(b.pixel.data);
    mem_free(b.tokens.data);
    mem_free(b.tokens_out.data);
    mem_free(b.half);
}

int main(int argc, char **argv) {
    openblas_set_num_threads(1);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        bench_conv(&layers[i], argv + 1, argc - 1);
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        bench_gemm(&products[i], argv + 1, argc - 1);
    for (size_t i = 0; i < sizeof pool_layers / sizeof *pool_layers; i++)
        bench_pool(&pool_layers[i], argv + 1, argc - 1);
    bench_plain(argv + 1, argc - 1);
    return 0;
}
