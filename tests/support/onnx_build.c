/* See onnx_build.h. */
#include "tests/support/onnx_build.h"

#include <string.h>

void msg_in(struct buf *b, uint32_t number, struct buf *nested) {
    wire_put_message(b, number, nested);
    buf_release(nested);
}

struct buf tensor_msg(const char *name, int64_t type, int rank, const int64_t *dims) {
    struct buf b = {0};
    for (int i = 0; i < rank; i++)
        wire_put_int(&b, TENSOR_DIMS, dims[i]);
    wire_put_int(&b, TENSOR_DATA_TYPE, type);
    if (name != NULL)
        wire_put_text(&b, TENSOR_NAME, name);
    return b;
}

struct buf weights_msg(const char *name, int count) {
    struct buf b = tensor_msg(name, 1, 1, (int64_t[]){count}), data = {0};
    for (int i = 0; i < count; i++)
        buf_f32(&data, (float)i);
    msg_in(&b, TENSOR_RAW_DATA, &data);
    return b;
}

struct buf attr_msg(const char *name, int64_t type) {
    struct buf b = {0};
    wire_put_text(&b, ATTRIBUTE_NAME, name);
    if (type != 0)
        wire_put_int(&b, ATTRIBUTE_TYPE, type);
    return b;
}

static void put_names(struct buf *b, uint32_t number, const char *names) {
    if (names == NULL)
        return;
    for (;;) {
        size_t n = strcspn(names, ",");
        wire_put_bytes(b, number, names, n);
        if (names[n] == '\0')
            return;
        names += n + 1;
    }
}

struct buf node_msg(const char *name, const char *op_type, const char *in, const char *out) {
    struct buf b = {0};
    put_names(&b, NODE_INPUT, in);
    put_names(&b, NODE_OUTPUT, out);
    if (name != NULL)
        wire_put_text(&b, NODE_NAME, name);
    if (op_type != NULL)
        wire_put_text(&b, NODE_OP_TYPE, op_type);
    return b;
}

struct buf value_msg(const char *name, int64_t type, int rank, const int64_t *dims) {
    struct buf b = {0}, proto = {0}, tensor = {0}, shape = {0};
    for (int i = 0; i < rank; i++) {
        struct buf dim = {0};
        if (dims[i] == -1)
            wire_put_text(&dim, DIM_PARAM, "N");
        else
            wire_put_int(&dim, DIM_VALUE, dims[i]);
        msg_in(&shape, SHAPE_DIM, &dim);
    }
    if (name != NULL)
        wire_put_text(&b, VALUE_INFO_NAME, name);
    wire_put_int(&tensor, TENSOR_TYPE_ELEM, type);
    if (rank >= 0)
        wire_put_message(&tensor, TENSOR_TYPE_SHAPE, &shape);
    buf_release(&shape);
    msg_in(&proto, TYPE_TENSOR, &tensor);
    if (type != 0)
        wire_put_message(&b, VALUE_INFO_TYPE, &proto);
    buf_release(&proto);
    return b;
}

struct buf model_msg(struct buf *graph, int64_t ir_version, int64_t opset) {
    struct buf b = {0}, import = {0};
    if (ir_version != 0)
        wire_put_int(&b, MODEL_IR_VERSION, ir_version);
    msg_in(&b, MODEL_GRAPH, graph);
    if (opset != 0) {
        wire_put_int(&import, OPSET_VERSION, opset);
        msg_in(&b, MODEL_OPSET_IMPORT, &import);
    }
    return b;
}

struct buf graph_msg(struct buf *nodes, int count) {
    struct buf g = {0};
    wire_put_text(&g, GRAPH_NAME, "test");
    for (int i = 0; i < count; i++)
        msg_in(&g, GRAPH_NODE, &nodes[i]);
    struct buf in = value_msg("x", 1, 2, (int64_t[]){2, 3}), out = value_msg("y", 1, -1, NULL);
    msg_in(&g, GRAPH_INPUT, &in);
    msg_in(&g, GRAPH_OUTPUT, &out);
    return g;
}
