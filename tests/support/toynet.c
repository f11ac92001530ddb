/* Small networks put together by hand; see toynet.h. */
#include "tests/support/toynet.h"

#include "base/mem.h"
#include "graph/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static double conv_flops(const struct graph *g, const struct node *n) {
    return 2.0 * (double)shape_count(&node_out(g, n, 0)->shape) *
           (double)node_in(g, n, 0)->shape.dim[1] * (double)n->window.kernel[0] *
           (double)n->window.kernel[1];
}

static const struct op_desc op_toys[] = {
    {.name = "Conv", .domain = "", .flops = conv_flops},
    {.name = "MaxPool", .domain = ""},
    {.name = "AveragePool", .domain = ""},
    {.name = "Relu", .domain = "", .flags = OP_UNARY},
    {.name = "Add", .domain = "", .flags = OP_BINARY},
    {.name = "GlobalAveragePool", .domain = ""},
    {.name = "ReduceMean", .domain = ""},
    {.name = "Mul", .domain = "", .flags = OP_BINARY},
    {.name = "Gemm", .domain = ""},
    {.name = "ToMap", .domain = "cohort"},
    {.name = "Split", .domain = ""},
};

static const struct op_desc *find(const char *name) {
    for (size_t i = 0; i < sizeof op_toys / sizeof op_toys[0]; i++)
        if (strcmp(op_toys[i].name, name) == 0)
            return &op_toys[i];
    fail_msg("no toy operator %s", name);
    return NULL;
}

struct graph *toy_create(const char *name) {
    struct graph *g = NULL;
    assert_int_equal(graph_create(&g, name, NULL), COHORT_OK);
    return g;
}

static int add_value(struct graph *g, const char *name, enum form form, struct shape shape) {
    int id = -1;
    assert_int_equal(graph_add_value(g, name, &id, NULL), COHORT_OK);
    graph_value(g, id)->type = DT_F32;
    graph_value(g, id)->form = form;
    graph_value(g, id)->shape = shape;
    return id;
}

static int add_map(struct graph *g, const char *name, int64_t c, int64_t h, int64_t w) {
    return add_value(g, name, FORM_MAP, shape_of(4, (int64_t[]){1, c, h, w}));
}

static void append(int **list, int *count, int id) {
    int *bigger = mem_realloc(*list, (size_t)(*count + 1) * sizeof **list);
    assert_non_null(bigger);
    *list = bigger;
    bigger[(*count)++] = id;
}

int toy_input(struct graph *g, const char *name, int channels, int height) {
    const int id = add_map(g, name, channels, height, height);
    append(&g->inputs, &g->input_count, id);
    return id;
}

int toy_plain_input(struct graph *g, const char *name, int height) {
    const int id = add_value(g, name, FORM_PLAIN, shape_of(2, (int64_t[]){height, height}));
    append(&g->inputs, &g->input_count, id);
    return id;
}

void toy_output(struct graph *g, int id) {
    append(&g->outputs, &g->output_count, id);
    graph_value(g, id)->uses++;
}

static struct node *add_node(struct graph *g, const char *op_type, const int *in, int in_count,
                             const int *out, int out_count) {
    struct node *n = NULL;
    assert_int_equal(graph_add_node(g, -1, graph_value(g, out[0])->name, find(op_type), in,
                                    in_count, out, out_count, NULL, 0, &n, NULL),
                     COHORT_OK);
    n->rowmap = mem_zalloc((size_t)in_count, sizeof *n->rowmap);
    assert_non_null(n->rowmap);
    for (int i = 0; i < in_count; i++) {
        const int64_t from = value_geometry(graph_value(g, in[i])).height;
        const int64_t to = value_geometry(graph_value(g, out[0])).height;
        const bool same = from == to;
        n->rowmap[i] = (struct rowmap){.kind = same ? ROWMAP_AFFINE : ROWMAP_ALL,
                                       .num = 1,
                                       .den = 1,
                                       .in_height = from,
                                       .out_height = to};
    }
    return n;
}

int toy_window(struct graph *g, const char *op_type, const char *name, int in, int channels,
               int kernel, int stride, int pad) {
    const int64_t h = (graph_value(g, in)->shape.dim[2] + 2 * pad - kernel) / stride + 1;
    assert_true(h > 0);
    const int out = add_map(g, name, channels, h, h);
    struct node *n = add_node(g, op_type, &in, 1, &out, 1);
    n->window = (struct window){.kernel = {kernel, kernel},
                                .stride = {stride, stride},
                                .dilation = {1, 1},
                                .pad_begin = {pad, pad},
                                .pad_end = {pad, pad}};
    n->rowmap[0].kind = ROWMAP_AFFINE;
    n->rowmap[0].num = stride;
    n->rowmap[0].lo = -pad;
    n->rowmap[0].hi = kernel - 1 - pad;
    return out;
}

/* Weights that have a shape and no contents. */
static int add_weights(struct graph *g, const char *of, struct shape shape) {
    char name[40];
    snprintf(name, sizeof name, "%s.w", of);
    const int id = add_value(g, name, FORM_PLAIN, shape);
    graph_value(g, id)->is_constant = true;
    graph_value(g, id)->constant = (struct tensor){.type = DT_F32, .shape = shape};
    return id;
}

int toy_conv(struct graph *g, const char *name, int in, int channels, int kernel) {
    const int64_t *dim = graph_value(g, in)->shape.dim;
    const int64_t from = dim[1], h = dim[2], pad = kernel / 2;
    const int weights =
        add_weights(g, name, shape_of(4, (int64_t[]){channels, from, kernel, kernel}));
    const int out = add_map(g, name, channels, h, h);
    struct node *n = add_node(g, "Conv", (int[]){in, weights}, 2, &out, 1);
    n->group = 1;
    n->window = (struct window){.kernel = {kernel, kernel},
                                .stride = {1, 1},
                                .dilation = {1, 1},
                                .pad_begin = {pad, pad},
                                .pad_end = {pad, pad}};
    n->rowmap[0] = (struct rowmap){.kind = ROWMAP_AFFINE,
                                   .num = 1,
                                   .den = 1,
                                   .lo = -pad,
                                   .hi = kernel - 1 - pad,
                                   .in_height = h,
                                   .out_height = h};
    return out;
}

int toy_product(struct graph *g, const char *name, int in, int count) {
    const struct shape s = graph_value(g, in)->shape;
    const int weights = add_weights(g, name, shape_of(2, (int64_t[]){shape_count(&s), count}));
    const int out = add_value(g, name, FORM_PLAIN, shape_of(2, (int64_t[]){1, count}));
    struct node *n = add_node(g, "Gemm", (int[]){in, weights}, 2, &out, 1);
    n->rowmap[0].kind = ROWMAP_ALL;
    return out;
}

int toy_relu(struct graph *g, const char *name, int in) {
    const struct shape s = graph_value(g, in)->shape;
    const int out = add_value(g, name, graph_value(g, in)->form, s);
    add_node(g, "Relu", &in, 1, &out, 1);
    return out;
}

int toy_add(struct graph *g, const char *name, int a, int b) {
    const struct shape s = graph_value(g, a)->shape;
    const int out = add_value(g, name, FORM_MAP, s);
    add_node(g, "Add", (int[]){a, b}, 2, &out, 1);
    return out;
}

int toy_global(struct graph *g, const char *name, int in) {
    const int out = add_map(g, name, graph_value(g, in)->shape.dim[1], 1, 1);
    add_node(g, "GlobalAveragePool", &in, 1, &out, 1);
    return out;
}

int toy_rows(struct graph *g, const char *name, int in) {
    const int64_t *dim = graph_value(g, in)->shape.dim;
    const int out = add_map(g, name, dim[1], dim[2], 1);
    add_node(g, "ReduceMean", &in, 1, &out, 1);
    return out;
}

int toy_gate(struct graph *g, const char *name, int in, int pixel) {
    const struct shape s = graph_value(g, in)->shape;
    const int out = add_value(g, name, FORM_MAP, s);
    add_node(g, "Mul", (int[]){pixel, in}, 2, &out, 1);
    return out;
}

int toy_dense(struct graph *g, const char *name, int in, int count) {
    const int out = add_value(g, name, FORM_PLAIN, shape_of(2, (int64_t[]){1, count}));
    add_node(g, "Gemm", &in, 1, &out, 1);
    return out;
}

int toy_to_map(struct graph *g, const char *name, int in) {
    const int64_t h = graph_value(g, in)->shape.dim[0];
    const int out = add_map(g, name, 1, h, h);
    add_node(g, "ToMap", &in, 1, &out, 1)->rowmap[0].kind = ROWMAP_ALL;
    return out;
}

void toy_split(struct graph *g, const char *first, const char *second, int in, int out[2]) {
    const struct shape s = graph_value(g, in)->shape;
    out[0] = add_value(g, first, FORM_MAP, s);
    out[1] = add_value(g, second, FORM_MAP, s);
    add_node(g, "Split", &in, 1, out, 2);
}

struct graph *toy_vgg(void) {
    struct graph *g = toy_create("toy-vgg");
    int x = toy_input(g, "input", 3, 32);
    x = toy_window(g, "Conv", "conv1", x, 16, 3, 1, 1);
    x = toy_window(g, "Conv", "conv2", x, 16, 3, 1, 1);
    x = toy_window(g, "MaxPool", "pool1", x, 16, 2, 2, 0);
    x = toy_window(g, "Conv", "conv3", x, 32, 3, 1, 1);
    x = toy_window(g, "Conv", "conv4", x, 32, 3, 1, 1);
    x = toy_window(g, "MaxPool", "pool2", x, 32, 2, 2, 0);
    x = toy_dense(g, "fc", x, 64);
    toy_output(g, toy_dense(g, "logits", x, 10));
    return g;
}

static int draw(uint64_t *seed, int n) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((*seed >> 33) % (uint64_t)n);
}

struct graph *toy_random(uint64_t *seed) {
    struct graph *g = toy_create("random");
    int open[4], count = 0, made = 0;
    open[count++] = toy_input(g, "x", 4, 12 + draw(seed, 40));
    for (int nodes = 3 + draw(seed, 12); made < nodes; made++) {
        char name[16];
        int at = draw(seed, count), in = open[at], out;
        int height = (int)graph_value(g, in)->shape.dim[2];
        snprintf(name, sizeof name, "v%d", made);
        int kernel = 1 + 2 * draw(seed, 3);
        switch (draw(seed, 7)) {
        case 0:
            out =
                height > 6 ? toy_window(g, "MaxPool", name, in, 4, 2, 2, 0) : toy_relu(g, name, in);
            break;
        case 1:
            out = toy_relu(g, name, in);
            break;
        case 2:
            out = toy_add(g, name, in, in);
            for (int k = 0; k < count; k++)
                if (graph_value(g, open[k])->shape.dim[2] == height && k != at) {
                    snprintf(name, sizeof name, "w%d.%d", made, k);
                    out = toy_add(g, name, out, open[k]);
                }
            break;
        case 3:
            if (height > 1) {
                char pool[16];
                snprintf(pool, sizeof pool, "g%d", made);
                int x = in;
                if (made % 2 == 0) {
                    char rows[16];
                    snprintf(rows, sizeof rows, "r%d", made);
                    x = toy_rows(g, rows, in);
                }
                out = toy_gate(g, name, in, toy_global(g, pool, x));
                break;
            } /* fall through */
        default:
            if (kernel > height)
                kernel = 1;
            out = toy_window(g, "Conv", name, in, 4, kernel, 1, kernel / 2);
        }
        if (count < 4 && draw(seed, 3) == 0)
            open[count++] = out; /* what was read stays open: a skip */
        else
            open[at] = out;
    }
    for (int k = 0; k < count; k++)
        if (graph_value(g, open[k])->producer >= 0)
            toy_output(g, open[k]);
    if (g->output_count == 0)
        toy_output(g, toy_dense(g, "end", open[0], 3));
    return g;
}
