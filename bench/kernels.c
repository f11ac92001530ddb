/* Speed of every kernel in the registry on layers of known networks, one thread.
 *
 *   build/bench/kernels [FILTER]...     kernels or layers whose name contains a FILTER (all
 * without)
 *
 * Convolutions and products are what `cohort kernels --bench` shows (src/profile/kernel_bench.h
 * says how it is measured); the last figure is the peak of the kernel's instruction set on this
 * core. Pooling and plain operators are measured here, in turns, as bytes per second. */
#include "base/mem.h"
#include "kernels/plainops.h"
#include "profile/kernel_bench.h"

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

/* ---- convolutions and products --------------------------------------------------------------- */

struct filter {
    const char *layer;
    char **texts;
    int count;
};

static bool wanted(void *context, const char *kernel) {
    const struct filter *f = context;
    return matches(kernel, f->layer, f->texts, f->count);
}

static void bench_layer(const struct bench_layer *l, char **filters, int filter_count) {
    struct kernel_speed speeds[KERNEL_BENCH_MAX];
    struct cohort_error err = {0};
    struct filter f = {.layer = l->name, .texts = filters, .count = filter_count};
    int count;
    if (kernel_bench(&l->signature, wanted, &f, speeds, &count, &err) != COHORT_OK) {
        fprintf(stderr, "kernels: %s\n", err.message);
        exit(1);
    }
    for (int k = 0; k < count; k++)
        printf("%-16s %8.1f MFLOP  %-24s %9.3f ms %8.1f GFLOP/s %5.0f %% of %5.1f\n", l->name,
               2e-6 * signature_macs(&l->signature), speeds[k].kernel, speeds[k].ms,
               speeds[k].gflops, 100 * speeds[k].gflops / speeds[k].peak_gflops,
               speeds[k].peak_gflops);
    fflush(stdout);
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
    int layers;
    const struct bench_layer *list = kernel_bench_layers(&layers);
    for (int i = 0; i < layers; i++)
        bench_layer(&list[i], argv + 1, argc - 1);
    for (size_t i = 0; i < sizeof pool_layers / sizeof *pool_layers; i++)
        bench_pool(&pool_layers[i], argv + 1, argc - 1);
    bench_plain(argv + 1, argc - 1);
    return 0;
}
