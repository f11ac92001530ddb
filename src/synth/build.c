/* The builder's core: names, the first failure, nodes, weights, and the two ends of a network. */
#include "synth/build.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

void net_release(struct net *n) {
    onnx_writer_destroy(&n->writer);
    for (size_t i = 0; i < n->weights_count; i++)
        mem_free(n->weights[i]);
    mem_free(n->weights);
    n->weights = NULL;
    n->weights_count = n->weights_capacity = 0;
}

void net_fail(struct net *n, enum cohort_code code, const char *fmt, ...) {
    if (n->code != COHORT_OK)
        return;
    char text[COHORT_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    n->code = error_set(n->err, code, "%s", text);
}

int net_multiple_of_8(double channels) {
    int rounded = (int)((channels + 4) / 8) * 8;
    if (rounded < 8)
        rounded = 8;
    return rounded < 0.9 * channels ? rounded + 8 : rounded;
}

int net_width(const struct net *n, int channels) {
    const double width = n->options.width;
    return width != 1 ? net_multiple_of_8(channels * width) : channels;
}

void net_name(struct net *n, char text[MAP_NAME_BYTES], const char *fmt, va_list args) {
    int length = vsnprintf(text, MAP_NAME_BYTES, fmt, args);
    if (length < 0 || length >= MAP_NAME_BYTES)
        net_fail(n, COHORT_ERR_INTERNAL, "%s: a layer's name is too long: %s…", n->network, text);
}

static void join(struct net *n, char text[MAP_NAME_BYTES], const char *name, const char *suffix) {
    int length = snprintf(text, MAP_NAME_BYTES, "%s.%s", name, suffix);
    if (length < 0 || length >= MAP_NAME_BYTES)
        net_fail(n, COHORT_ERR_INTERNAL, "%s: a tensor's name is too long: %s…", n->network, text);
}

void net_node(struct net *n, const char *op_type, const char *const *in, int in_count,
              const char *out, const struct onnx_attr *attrs, int attr_count) {
    if (n->code == COHORT_OK)
        n->code = onnx_writer_node(n->writer, out, op_type, in, in_count, &out, 1, attrs,
                                   attr_count, n->err);
}

/* A place for the weights' description that stays until the file is written. */
static struct weights *keep_weights(struct net *n) {
    if (!MEM_GROW(n->weights, n->weights_capacity, n->weights_count))
        return NULL;
    struct weights *w = mem_alloc(sizeof *w);
    if (w != NULL)
        n->weights[n->weights_count++] = w;
    return w;
}

void net_weights(struct net *n, char text[MAP_NAME_BYTES], const char *name, const char *suffix,
                 enum weights_kind kind, const struct shape *shape, double mean, double deviation) {
    join(n, text, name, suffix);
    if (n->code != COHORT_OK)
        return;
    const int64_t count = shape_count(shape);
    if (count < 0) {
        net_fail(n, COHORT_ERR_USAGE, "%s: %s would have too many elements; use a smaller --size",
                 n->network, text);
        return;
    }
    *(kind == WEIGHTS_TRAINED ? &n->parameters : &n->statistics) += count;
    struct weights *w = keep_weights(n);
    if (w == NULL) {
        n->code = error_memory(n->err, sizeof *w, "a weight's description");
        return;
    }
    *w = weights_of(n->options.seed, text, mean, deviation);
    n->code = onnx_writer_weights(n->writer, text, shape, weights_fill, w, n->err);
}

void net_constant_ints(struct net *n, char text[MAP_NAME_BYTES], const char *name,
                       const char *suffix, const int64_t *values, int count) {
    join(n, text, name, suffix);
    if (n->code != COHORT_OK)
        return;
    const int64_t dims[1] = {count};
    struct tensor t = {0};
    const struct shape shape = shape_of(1, dims);
    n->code = tensor_init(&t, DT_I64, &shape, n->err);
    if (n->code != COHORT_OK)
        return;
    memcpy(t.data, values, (size_t)count * sizeof *values);
    n->code = onnx_writer_tensor(n->writer, text, &t, n->err);
    tensor_release(&t);
}

void net_constant_float(struct net *n, char text[MAP_NAME_BYTES], const char *name,
                        const char *suffix, float value) {
    join(n, text, name, suffix);
    if (n->code != COHORT_OK)
        return;
    struct tensor t = {.type = DT_F32, .shape = {.rank = 0}, .data = &value};
    n->code = onnx_writer_tensor(n->writer, text, &t, n->err);
}

static struct shape map_shape(const struct map *x) {
    const int64_t dims[4] = {1, x->c, x->h, x->w};
    return shape_of(x->flat ? 2 : 4, dims);
}

struct map net_input(struct net *n, int channels) {
    struct map x = {.name = "input",
                    .c = channels,
                    .h = n->options.size,
                    .w = n->options.size,
                    .power = 1,
                    .centred = true};
    const struct shape shape = map_shape(&x);
    if (n->code == COHORT_OK)
        n->code = onnx_writer_input(n->writer, x.name, DT_F32, &shape, n->err);
    return x;
}

void net_output(struct net *n, struct map x) {
    n->output = map_shape(&x);
    if (n->code == COHORT_OK)
        n->code = onnx_writer_output(n->writer, x.name, DT_F32, &n->output, n->err);
}
