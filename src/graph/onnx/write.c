/* Writing ONNX files: a ModelProto whose weights are asked for piece by piece, and bare tensors.
 *
 * Protobuf puts a message's length in front of it, so lengths must be known before the contents:
 * nodes, inputs and outputs are encoded as they are added (they are small), and an initializer's
 * length follows from its shape.  So saving is one pass of sums and one pass of writing, and the
 * largest thing in memory is one piece of weights. */
#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/fields.h"
#include "graph/onnx/onnx.h"
#include "graph/onnx/wire.h"

#include <limits.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "ONNX data is little-endian; so must we be");

#define PIECE_FLOATS      ((int64_t)64 * 1024)
#define MESSAGE_BYTES_MAX ((uint64_t)INT32_MAX) /* of a protobuf message, for other readers */

/* With `fill`: float32, contents asked for at the end. Without: in `tensor`. */
struct initializer {
    char *name;
    enum dtype type;
    struct shape shape;
    onnx_fill_fn fill;
    void *context;
    struct tensor tensor;
};

struct onnx_writer {
    char *graph_name;
    int opset;
    struct buf nodes, inputs, outputs; /* encoded fields of a GraphProto */
    struct initializer *items;
    size_t item_count, item_capacity;
};

/* The IR version in which an opset was released (ONNX's versioning table); at least 4, from which
 * on initializers need not be inputs as well. */
static int64_t ir_version_for(int opset) {
    static const struct {
        int opset, ir;
    } table[] = {{9, 4}, {10, 5}, {11, 6}, {14, 7}, {18, 8}, {20, 9}, {22, 10}, {23, 11}, {24, 12}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (opset <= table[i].opset)
            return table[i].ir;
    return 13;
}

static enum cohort_code check_buf(const struct buf *b, struct cohort_error *err) {
    return b->failed ? error_memory(err, b->size, "an ONNX file") : COHORT_OK;
}

enum cohort_code onnx_writer_create(struct onnx_writer **w, const char *graph_name, int opset,
                                    struct cohort_error *err) {
    struct onnx_writer *new = mem_zalloc(1, sizeof *new);
    char *name = mem_strdup(graph_name);
    if (new == NULL || name == NULL) {
        mem_free(new);
        mem_free(name);
        return error_memory(err, sizeof *new, "an ONNX writer");
    }
    new->graph_name = name;
    new->opset = opset;
    *w = new;
    return COHORT_OK;
}

void onnx_writer_destroy(struct onnx_writer **w) {
    if (*w == NULL)
        return;
    for (size_t i = 0; i < (*w)->item_count; i++) {
        mem_free((*w)->items[i].name);
        tensor_release(&(*w)->items[i].tensor);
    }
    mem_free((*w)->items);
    buf_release(&(*w)->nodes);
    buf_release(&(*w)->inputs);
    buf_release(&(*w)->outputs);
    mem_free((*w)->graph_name);
    mem_free(*w);
    *w = NULL;
}

/* A ValueInfoProto; unknown dims are left open, an unknown rank leaves the shape out. */
static enum cohort_code put_value_info(struct buf *to, uint32_t number, const char *name,
                                       enum dtype type, const struct shape *shape,
                                       struct cohort_error *err) {
    struct buf dims = {0}, tensor_type = {0}, type_proto = {0}, info = {0};
    for (int i = 0; i < shape->rank; i++) {
        struct buf dim = {0};
        if (shape->dim[i] >= 0)
            wire_put_int(&dim, DIM_VALUE, shape->dim[i]);
        wire_put_message(&dims, SHAPE_DIM, &dim);
        buf_release(&dim);
    }
    wire_put_int(&tensor_type, TENSOR_TYPE_ELEM, type);
    if (shape->rank >= 0)
        wire_put_message(&tensor_type, TENSOR_TYPE_SHAPE, &dims);
    wire_put_message(&type_proto, TYPE_TENSOR, &tensor_type);
    wire_put_text(&info, VALUE_INFO_NAME, name);
    wire_put_message(&info, VALUE_INFO_TYPE, &type_proto);
    wire_put_message(to, number, &info);
    buf_release(&info);
    buf_release(&type_proto);
    buf_release(&tensor_type);
    buf_release(&dims);
    return check_buf(to, err);
}

enum cohort_code onnx_writer_input(struct onnx_writer *w, const char *name, enum dtype type,
                                   const struct shape *shape, struct cohort_error *err) {
    return put_value_info(&w->inputs, GRAPH_INPUT, name, type, shape, err);
}

enum cohort_code onnx_writer_output(struct onnx_writer *w, const char *name, enum dtype type,
                                    const struct shape *shape, struct cohort_error *err) {
    return put_value_info(&w->outputs, GRAPH_OUTPUT, name, type, shape, err);
}

/* The value and the type of an attribute; false for a kind that struct onnx_attr cannot hold. */
static bool put_attr_value(struct buf *b, const struct onnx_attr *a) {
    enum attribute_type type;
    switch (a->kind) {
    case ATTR_INT:
        type = ATTRIBUTE_TYPE_INT;
        wire_put_int(b, ATTRIBUTE_I, a->i);
        break;
    case ATTR_FLOAT:
        type = ATTRIBUTE_TYPE_FLOAT;
        wire_put_float(b, ATTRIBUTE_F, a->f);
        break;
    case ATTR_STRING:
        type = ATTRIBUTE_TYPE_STRING;
        wire_put_text(b, ATTRIBUTE_S, a->s != NULL ? a->s : "");
        break;
    case ATTR_INTS:
        type = ATTRIBUTE_TYPE_INTS;
        for (int i = 0; i < a->count; i++)
            wire_put_int(b, ATTRIBUTE_INTS, a->ints[i]);
        break;
    case ATTR_FLOATS:
        type = ATTRIBUTE_TYPE_FLOATS;
        for (int i = 0; i < a->count; i++)
            wire_put_float(b, ATTRIBUTE_FLOATS, a->floats[i]);
        break;
    default:
        return false;
    }
    wire_put_int(b, ATTRIBUTE_TYPE, type);
    return true;
}

enum cohort_code onnx_writer_node(struct onnx_writer *w, const char *name, const char *op_type,
                                  const char *const *in, int in_count, const char *const *out,
                                  int out_count, const struct onnx_attr *attrs, int attr_count,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf node = {0}, attr = {0};
    for (int i = 0; i < in_count; i++)
        wire_put_text(&node, NODE_INPUT, in[i] != NULL ? in[i] : "");
    for (int i = 0; i < out_count; i++)
        wire_put_text(&node, NODE_OUTPUT, out[i] != NULL ? out[i] : "");
    wire_put_text(&node, NODE_NAME, name);
    wire_put_text(&node, NODE_OP_TYPE, op_type);
    for (int i = 0; i < attr_count; i++) {
        attr.size = 0;
        wire_put_text(&attr, ATTRIBUTE_NAME, attrs[i].name);
        if (!put_attr_value(&attr, &attrs[i])) {
            code = error_set(err, COHORT_ERR_USAGE,
                             "node '%s': attribute '%s' is of a kind that cannot be written", name,
                             attrs[i].name);
            goto out;
        }
        wire_put_message(&node, NODE_ATTRIBUTE, &attr);
    }
    wire_put_message(&w->nodes, GRAPH_NODE, &node);
    code = check_buf(&w->nodes, err);
out:
    buf_release(&attr);
    buf_release(&node);
    return code;
}

/* The next item, with its name, type and shape; it counts once the caller raises item_count. */
static enum cohort_code new_item(struct onnx_writer *w, const char *name, enum dtype type,
                                 const struct shape *shape, struct cohort_error *err) {
    if (!shape_known(shape) || shape_count(shape) < 0 || dtype_bytes(type) == 0) {
        char text[SHAPE_TEXT_BYTES];
        return error_set(err, COHORT_ERR_SHAPE, "initializer '%s': cannot write %s of shape %s",
                         name, dtype_name(type), shape_text(shape, text, sizeof text));
    }
    char *copy = mem_strdup(name);
    if (copy == NULL || !MEM_GROW(w->items, w->item_capacity, w->item_count)) {
        mem_free(copy);
        return error_memory(err, sizeof *w->items, "an initializer");
    }
    w->items[w->item_count] = (struct initializer){.name = copy, .type = type, .shape = *shape};
    return COHORT_OK;
}

enum cohort_code onnx_writer_weights(struct onnx_writer *w, const char *name,
                                     const struct shape *shape, onnx_fill_fn fill, void *context,
                                     struct cohort_error *err) {
    enum cohort_code code = new_item(w, name, DT_F32, shape, err);
    if (code != COHORT_OK)
        return code;
    struct initializer *item = &w->items[w->item_count++];
    item->fill = fill;
    item->context = context;
    return COHORT_OK;
}

enum cohort_code onnx_writer_tensor(struct onnx_writer *w, const char *name, const struct tensor *t,
                                    struct cohort_error *err) {
    struct tensor copy = {0};
    if (t->data == NULL && tensor_bytes(t) > 0)
        return error_set(err, COHORT_ERR_USAGE, "initializer '%s': its contents are not known",
                         name);
    enum cohort_code code = new_item(w, name, t->type, &t->shape, err);
    if (code != COHORT_OK)
        return code;
    struct initializer *item = &w->items[w->item_count];
    code = tensor_copy(&copy, t, err);
    if (code != COHORT_OK) {
        mem_free(item->name);
        return code;
    }
    item->tensor = copy;
    w->item_count++;
    return COHORT_OK;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static uint64_t data_bytes(enum dtype type, const struct shape *shape) {
    return (uint64_t)shape_count(shape) * dtype_bytes(type);
}

/* All of a TensorProto but the data itself. */
static void put_tensor_head(struct buf *b, const char *name, enum dtype type,
                            const struct shape *shape) {
    for (int i = 0; i < shape->rank; i++)
        wire_put_int(b, TENSOR_DIMS, shape->dim[i]);
    wire_put_int(b, TENSOR_DATA_TYPE, type);
    if (name != NULL && name[0] != '\0')
        wire_put_text(b, TENSOR_NAME, name);
    wire_put_tag(b, TENSOR_RAW_DATA, WIRE_BYTES);
    wire_put_varint(b, data_bytes(type, shape));
}

static enum cohort_code flush(struct file_writer *file, struct buf *b, struct cohort_error *err) {
    enum cohort_code code = check_buf(b, err);
    if (code == COHORT_OK && b->size > 0)
        code = file_writer_append(file, b->data, b->size, err);
    b->size = 0;
    return code;
}

/* Bytes of the initializers' fields in the GraphProto. */
static enum cohort_code items_bytes(const struct onnx_writer *w, uint64_t *total,
                                    struct cohort_error *err) {
    struct buf head = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < w->item_count && sum <= MESSAGE_BYTES_MAX; i++) {
        const struct initializer *item = &w->items[i];
        head.size = 0;
        put_tensor_head(&head, item->name, item->type, &item->shape);
        uint64_t data = data_bytes(item->type, &item->shape);
        uint64_t message = head.size + data;
        sum += data > MESSAGE_BYTES_MAX ? data : 1 + wire_varint_bytes(message) + message;
    }
    enum cohort_code code = check_buf(&head, err);
    buf_release(&head);
    *total = sum;
    return code;
}

static enum cohort_code append_item(struct file_writer *file, struct buf *b, float *piece,
                                    const struct initializer *item, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf head = {0};
    int64_t count = shape_count(&item->shape);
    put_tensor_head(&head, item->name, item->type, &item->shape);
    wire_put_tag(b, GRAPH_INITIALIZER, WIRE_BYTES);
    wire_put_varint(b, head.size + data_bytes(item->type, &item->shape));
    buf_bytes(b, head.data, head.size);
    b->failed |= head.failed;
    TRY(flush(file, b, err));
    if (item->fill == NULL) {
        TRY(file_writer_append(file, item->tensor.data, tensor_bytes(&item->tensor), err));
        goto out;
    }
    for (int64_t first = 0; first < count; first += PIECE_FLOATS) {
        int64_t n = count - first < PIECE_FLOATS ? count - first : PIECE_FLOATS;
        item->fill(item->context, first, n, piece);
        TRY(file_writer_append(file, piece, (size_t)n * sizeof *piece, err));
    }
out:
    buf_release(&head);
    return code;
}

/* The fields of the ModelProto before the graph, and the graph's tag and length. */
static void put_model_head(struct buf *b, const struct onnx_writer *w, uint64_t graph_bytes) {
    struct buf opset = {0};
    wire_put_int(b, MODEL_IR_VERSION, ir_version_for(w->opset));
    wire_put_text(b, MODEL_PRODUCER_NAME, "cohort");
    wire_put_text(&opset, OPSET_DOMAIN, "");
    wire_put_int(&opset, OPSET_VERSION, w->opset);
    wire_put_message(b, MODEL_OPSET_IMPORT, &opset);
    wire_put_tag(b, MODEL_GRAPH, WIRE_BYTES);
    wire_put_varint(b, graph_bytes);
    buf_release(&opset);
}

enum cohort_code onnx_writer_save(struct onnx_writer *w, const char *path,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct file_writer file = {.fd = -1};
    struct buf b = {0}, name = {0};
    float *piece = NULL;
    uint64_t graph_bytes;
    wire_put_text(&name, GRAPH_NAME, w->graph_name);
    TRY(items_bytes(w, &graph_bytes, err));
    TRY(check_buf(&w->nodes, err));
    TRY(check_buf(&w->inputs, err));
    TRY(check_buf(&w->outputs, err));
    graph_bytes += name.size + w->nodes.size + w->inputs.size + w->outputs.size;
    if (graph_bytes > MESSAGE_BYTES_MAX - 4096) {
        code = error_set(err, COHORT_ERR_UNSUPPORTED,
                         "%s: the network takes %llu bytes, but an ONNX file can hold at most 2 GB",
                         path, (unsigned long long)graph_bytes);
        goto out;
    }
    piece = mem_alloc((size_t)PIECE_FLOATS * sizeof *piece);
    if (piece == NULL) {
        code = error_memory(err, (size_t)PIECE_FLOATS * sizeof *piece, "a piece of weights");
        goto out;
    }
    TRY(file_writer_begin(&file, path, err));
    put_model_head(&b, w, graph_bytes);
    buf_bytes(&b, w->nodes.data, w->nodes.size);
    buf_bytes(&b, name.data, name.size);
    b.failed |= name.failed;
    TRY(flush(&file, &b, err));
    for (size_t i = 0; i < w->item_count; i++)
        TRY(append_item(&file, &b, piece, &w->items[i], err));
    buf_bytes(&b, w->inputs.data, w->inputs.size);
    buf_bytes(&b, w->outputs.data, w->outputs.size);
    TRY(flush(&file, &b, err));
    TRY(file_writer_commit(&file, err));
out:
    file_writer_abandon(&file);
    mem_free(piece);
    buf_release(&name);
    buf_release(&b);
    return code;
}

enum cohort_code onnx_save_tensor(const struct tensor *t, const char *name, const char *path,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct file_writer file = {.fd = -1};
    struct buf head = {0};
    if (!shape_known(&t->shape) || shape_count(&t->shape) < 0 || dtype_bytes(t->type) == 0 ||
        (t->data == NULL && shape_count(&t->shape) > 0)) {
        char text[SHAPE_TEXT_BYTES];
        return error_set(err, COHORT_ERR_SHAPE, "%s: cannot write a tensor of %s and shape %s",
                         path, dtype_name(t->type), shape_text(&t->shape, text, sizeof text));
    }
    if (tensor_bytes(t) > MESSAGE_BYTES_MAX - 4096)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "%s: the tensor takes %zu bytes, but an ONNX file can hold at most 2 GB",
                         path, tensor_bytes(t));
    put_tensor_head(&head, name, t->type, &t->shape);
    TRY(file_writer_begin(&file, path, err));
    TRY(flush(&file, &head, err));
    TRY(file_writer_append(&file, t->data, tensor_bytes(t), err));
    TRY(file_writer_commit(&file, err));
out:
    file_writer_abandon(&file);
    buf_release(&head);
    return code;
}
