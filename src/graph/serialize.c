/* A finished graph as bytes, for the other boards, and its signature.
 *
 * Everything a board needs travels: values, nodes, attributes, windows, epilogues, row maps;
 * weights above GRAPH_INLINE_BYTES only as content hashes, since boards may have them already.
 * Numbers are little-endian, tensor contents as they lie in memory (every board that Cohort runs on
 * is little-endian).  deserialize.c is the reverse. */
#include "graph/serialize.h"
#include "base/hash.h"
#include "base/mem.h"
#include "graph/graph.h"
#include "graph/op.h"

#include <string.h>

static void put_i64(struct buf *b, int64_t v) {
    buf_u64(b, (uint64_t)v);
}

static void put_id(struct buf *b, int id) {
    buf_u32(b, (uint32_t)(id + 1));
}

static void put_shape(struct buf *b, const struct shape *s) {
    buf_u8(b, (uint8_t)(s->rank + 1));
    for (int i = 0; i < s->rank; i++)
        put_i64(b, s->dim[i]);
}

static void put_tensor(struct buf *b, const struct tensor *t) {
    size_t bytes = t->data == NULL ? 0 : tensor_bytes(t);
    buf_u8(b, (uint8_t)t->type);
    put_shape(b, &t->shape);
    buf_u8(b, t->data != NULL);
    buf_u64(b, bytes);
    buf_bytes(b, t->data, bytes);
}

static void put_body(struct buf *b, const struct graph *g);

static void put_attr(struct buf *b, const struct attr *a) {
    buf_string(b, a->name);
    buf_u8(b, (uint8_t)a->kind);
    buf_u32(b, (uint32_t)a->count);
    switch (a->kind) {
    case ATTR_INT:
        put_i64(b, a->i);
        break;
    case ATTR_FLOAT:
        buf_f32(b, a->f);
        break;
    case ATTR_STRING:
        buf_string(b, a->s);
        break;
    case ATTR_INTS:
        for (size_t i = 0; i < a->count; i++)
            put_i64(b, a->ints[i]);
        break;
    case ATTR_FLOATS:
        for (size_t i = 0; i < a->count; i++)
            buf_f32(b, a->floats[i]);
        break;
    case ATTR_STRINGS:
        for (size_t i = 0; i < a->count; i++)
            buf_string(b, a->strings[i]);
        break;
    case ATTR_TENSOR:
        put_tensor(b, &a->tensor);
        break;
    case ATTR_GRAPH:
        put_i64(b, a->i);
        put_body(b, a->graph);
        break;
    }
}

static void put_window(struct buf *b, const struct window *w) {
    for (int i = 0; i < 2; i++) {
        put_i64(b, w->kernel[i]);
        put_i64(b, w->stride[i]);
        put_i64(b, w->dilation[i]);
        put_i64(b, w->pad_begin[i]);
        put_i64(b, w->pad_end[i]);
    }
}

static void put_rowmap(struct buf *b, const struct rowmap *m) {
    buf_u8(b, (uint8_t)m->kind);
    put_i64(b, m->num);
    put_i64(b, m->den);
    put_i64(b, m->lo);
    put_i64(b, m->hi);
    put_i64(b, m->out_height);
    put_i64(b, m->in_height);
    buf_u8(b, m->one_image);
}

/* names: also the node's own, which only people read. */
static void put_node(struct buf *b, const struct node *n, bool names) {
    if (names)
        buf_string(b, n->name);
    buf_string(b, n->op->domain);
    buf_string(b, n->op->name);
    buf_u32(b, (uint32_t)n->opset);
    buf_u32(b, (uint32_t)n->in_count);
    for (int i = 0; i < n->in_count; i++)
        put_id(b, n->in[i]);
    buf_u32(b, (uint32_t)n->out_count);
    for (int i = 0; i < n->out_count; i++)
        put_id(b, n->out[i]);
    buf_u32(b, (uint32_t)n->attr_count);
    for (int i = 0; i < n->attr_count; i++)
        put_attr(b, &n->attrs[i]);
    buf_u8(b, (uint8_t)n->epilogue.act);
    buf_f32(b, n->epilogue.a);
    buf_f32(b, n->epilogue.b);
    put_id(b, n->epilogue.residual);
    buf_u8(b, n->epilogue.residual_last);
    put_window(b, &n->window);
    put_i64(b, n->group);
    put_id(b, n->weight_scale);
    buf_u8(b, n->rowmap != NULL);
    for (int i = 0; n->rowmap != NULL && i < n->in_count; i++)
        put_rowmap(b, &n->rowmap[i]);
}

static void put_ids(struct buf *b, const int *ids, int count) {
    buf_u32(b, (uint32_t)count);
    for (int i = 0; i < count; i++)
        put_id(b, ids[i]);
}

static bool is_large(const struct value *v) {
    return v->is_constant && tensor_bytes(&v->constant) > GRAPH_INLINE_BYTES;
}

/* A value without its contents. */
static void put_value(struct buf *b, const struct value *v) {
    buf_string(b, v->name);
    buf_u8(b, (uint8_t)v->type);
    put_shape(b, &v->shape);
    buf_u8(b, (uint8_t)v->form);
    buf_u8(b, v->is_constant);
}

static enum cohort_code put_constant(struct buf *b, struct value *v, struct cohort_error *err) {
    if (!is_large(v)) {
        put_tensor(b, &v->constant);
        return COHORT_OK;
    }
    if (v->content_hash == NULL) {
        char hex[HASH_TEXT_BYTES];
        if (v->constant.data == NULL)
            return error_set(err, COHORT_ERR_INTERNAL,
                             "constant %s has neither contents nor a hash", v->name);
        hash_bytes(v->constant.data, tensor_bytes(&v->constant), hex);
        v->content_hash = mem_strdup(hex);
        if (v->content_hash == NULL)
            return error_memory(err, sizeof hex, "a content hash");
    }
    buf_u8(b, (uint8_t)v->constant.type);
    put_shape(b, &v->constant.shape);
    buf_string(b, v->content_hash);
    return COHORT_OK;
}

/* A graph in an attribute, all of its constants within. */
static void put_body(struct buf *b, const struct graph *g) {
    buf_string(b, g->name);
    buf_u32(b, (uint32_t)g->opset);
    buf_u32(b, (uint32_t)g->value_count);
    for (int i = 0; i < g->value_count; i++) {
        put_value(b, &g->values[i]);
        if (g->values[i].is_constant) {
            buf_u8(b, false);
            put_tensor(b, &g->values[i].constant);
        }
    }
    put_ids(b, g->inputs, g->input_count);
    put_ids(b, g->outputs, g->output_count);
    buf_u32(b, (uint32_t)g->node_count);
    for (int i = 0; i < g->node_count; i++)
        put_node(b, &g->nodes[i], true);
}

static enum cohort_code buf_check(const struct buf *b, struct cohort_error *err) {
    return b->failed ? error_memory(err, b->size, "a serialised graph") : COHORT_OK;
}

enum cohort_code graph_serialize(struct graph *g, struct buf *b, struct cohort_error *err) {
    buf_u32(b, SERIAL_MAGIC);
    buf_u32(b, SERIAL_VERSION);
    buf_string(b, g->name);
    buf_u32(b, (uint32_t)g->opset);
    buf_u32(b, (uint32_t)g->value_count);
    for (int i = 0; i < g->value_count; i++) {
        struct value *v = graph_value(g, i);
        put_value(b, v);
        if (!v->is_constant)
            continue;
        buf_u8(b, is_large(v));
        enum cohort_code code = put_constant(b, v, err);
        if (code != COHORT_OK)
            return code;
    }
    put_ids(b, g->inputs, g->input_count);
    put_ids(b, g->outputs, g->output_count);
    buf_u32(b, (uint32_t)g->node_count);
    for (int i = 0; i < g->node_count; i++)
        put_node(b, &g->nodes[i], true);
    return buf_check(b, err);
}

/* Values that nothing refers to (left over by passes) do not count, nor do the graph's and the
 * nodes' names, nor any constant's contents. */
enum cohort_code graph_signature(const struct graph *g, char hex[33], struct cohort_error *err) {
    struct buf b = {0};
    buf_u32(&b, SERIAL_VERSION);
    for (int i = 0; i < g->value_count; i++) {
        const struct value *v = &g->values[i];
        bool input = false;
        for (int k = 0; k < g->input_count; k++)
            input = input || g->inputs[k] == i;
        if (v->uses == 0 && v->producer < 0 && !input)
            continue;
        put_id(&b, i);
        put_value(&b, v);
    }
    for (int i = 0; i < g->node_count; i++)
        put_node(&b, &g->nodes[i], false);
    put_ids(&b, g->inputs, g->input_count);
    put_ids(&b, g->outputs, g->output_count);
    enum cohort_code code = buf_check(&b, err);
    if (code == COHORT_OK)
        hash_bytes(b.data, b.size, hex);
    buf_release(&b);
    return code;
}
