/* A graph from the bytes that serialize.c wrote.
 *
 * They come from another board and may be of another version or damaged, so reading trusts nothing:
 * counts, ids, types, shapes and enums are checked, and memory is never asked for in excess of what
 * the bytes could fill. */
#include "base/hash.h"
#include "base/mem.h"
#include "graph/graph.h"
#include "graph/op.h"
#include "graph/serialize.h"

#include <string.h>

static int64_t get_i64(struct reader *r) {
    return (int64_t)read_u64(r);
}

/* A number below `limit`. */
static int get_below(struct reader *r, uint32_t value, uint32_t limit) {
    if (value >= limit) {
        r->failed = true;
        return 0;
    }
    return (int)value;
}

/* A value number (or other index) below count, or -1. */
static int get_id(struct reader *r, int count) {
    return get_below(r, read_u32(r), (uint32_t)count + 1) - 1;
}

static struct shape get_shape(struct reader *r) {
    struct shape s = {.rank = get_below(r, read_u8(r), RANK_MAX + 2) - 1};
    for (int i = 0; i < s.rank; i++) {
        s.dim[i] = get_i64(r);
        if (s.dim[i] < -1)
            r->failed = true;
    }
    return s;
}

static enum dtype get_dtype(struct reader *r) {
    uint8_t t = read_u8(r);
    if (t != DT_NONE && t != DT_STRING && dtype_bytes((enum dtype)t) == 0)
        r->failed = true;
    return (enum dtype)t;
}

static enum cohort_code malformed(const char *what, struct cohort_error *err) {
    return error_set(err, COHORT_ERR_FORMAT, "a serialised graph is malformed at its %s", what);
}

static char *get_name(struct reader *r, const char *what, enum cohort_code *code,
                      struct cohort_error *err) {
    char *s = read_string(r);
    if (s == NULL)
        *code = r->failed ? malformed(what, err) : error_memory(err, 64, "a serialised graph");
    else if (strlen(s) > 65535) {
        mem_free(s);
        s = NULL;
        *code = malformed(what, err);
    }
    return s;
}

static enum cohort_code get_tensor(struct reader *r, struct tensor *t, struct cohort_error *err) {
    struct tensor head = {.type = get_dtype(r), .shape = get_shape(r)};
    bool there = read_u8(r) != 0;
    uint64_t bytes = read_u64(r);
    if (r->failed || bytes > SIZE_MAX || bytes != (there ? tensor_bytes(&head) : 0) ||
        (there && (!shape_known(&head.shape) || dtype_bytes(head.type) == 0)))
        return malformed("tensor", err);
    const unsigned char *data = read_bytes(r, (size_t)bytes);
    if (data == NULL && bytes > 0)
        return malformed("tensor", err);
    *t = head;
    if (!there)
        return COHORT_OK;
    enum cohort_code code = tensor_init(t, head.type, &head.shape, err);
    if (code == COHORT_OK && bytes > 0)
        memcpy(t->data, data, (size_t)bytes);
    return code;
}

static enum cohort_code get_value(struct reader *r, struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int id = -1;
    char *name = get_name(r, "values", &code, err);
    if (name == NULL)
        return code;
    TRY(graph_add_value(g, name, &id, err));
    struct value *v = graph_value(g, id);
    if (name[0] == '\0')
        code = malformed("values", err);
    v->type = get_dtype(r);
    v->shape = get_shape(r);
    v->form = (enum form)get_below(r, read_u8(r), FORM_MAP + 1);
    bool constant = read_u8(r) != 0;
    if (r->failed || (v->form == FORM_MAP && v->shape.rank != 3 && v->shape.rank != 4))
        code = malformed("values", err);
    if (code != COHORT_OK || !constant)
        goto out;
    bool large = read_u8(r) != 0;
    if (!large) {
        TRY(get_tensor(r, &v->constant, err));
    } else {
        v->constant.type = get_dtype(r);
        v->constant.shape = get_shape(r);
        v->content_hash = get_name(r, "constants", &code, err);
        if (v->content_hash == NULL)
            goto out;
        if (strlen(v->content_hash) != HASH_TEXT_BYTES - 1 || !shape_known(&v->constant.shape))
            code = malformed("constants", err);
    }
    v->is_constant = true;
    if (code == COHORT_OK &&
        (v->constant.type != v->type || !shape_equal(&v->constant.shape, &v->shape)))
        code = malformed("constants", err);
out:
    mem_free(name);
    return code;
}

static enum cohort_code get_attr_list(struct reader *r, struct attr *a, size_t count,
                                      struct cohort_error *err) {
    size_t size = a->kind == ATTR_INTS ? 8 : 4; /* least bytes of one in the message */
    if (count > (size_t)(r->end - r->at) / size)
        return malformed("attributes", err);
    enum cohort_code code = COHORT_OK;
    if (a->kind == ATTR_INTS && (a->ints = mem_zalloc(count, sizeof *a->ints)) != NULL) {
        a->count = count;
        for (size_t i = 0; i < count; i++)
            a->ints[i] = get_i64(r);
    } else if (a->kind == ATTR_FLOATS &&
               (a->floats = mem_zalloc(count, sizeof *a->floats)) != NULL) {
        a->count = count;
        for (size_t i = 0; i < count; i++)
            a->floats[i] = read_f32(r);
    } else if (a->kind == ATTR_STRINGS &&
               (a->strings = mem_zalloc(count, sizeof *a->strings)) != NULL) {
        a->count = count;
        for (size_t i = 0; i < count && code == COHORT_OK; i++)
            a->strings[i] = get_name(r, "attributes", &code, err);
    } else {
        code = error_memory(err, count * 8, "a serialised graph");
    }
    return code;
}

static enum cohort_code get_graph(struct reader *r, int depth, struct graph **g,
                                  struct cohort_error *err);

static enum cohort_code get_attr(struct reader *r, int depth, struct attr *a,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    *a = (struct attr){.name = get_name(r, "attributes", &code, err)};
    if (a->name == NULL)
        return code;
    a->kind = (enum attr_kind)get_below(r, read_u8(r), ATTR_GRAPH + 1);
    size_t count = read_u32(r);
    if (r->failed)
        return malformed("attributes", err);
    switch (a->kind) {
    case ATTR_INT:
        a->i = get_i64(r);
        break;
    case ATTR_FLOAT:
        a->f = read_f32(r);
        break;
    case ATTR_STRING:
        a->s = get_name(r, "attributes", &code, err);
        break;
    case ATTR_INTS:
    case ATTR_FLOATS:
    case ATTR_STRINGS:
        code = get_attr_list(r, a, count, err);
        break;
    case ATTR_TENSOR:
        code = get_tensor(r, &a->tensor, err);
        break;
    case ATTR_GRAPH:
        a->i = get_i64(r);
        a->count = count;
        code = get_graph(r, depth + 1, &a->graph, err);
        break;
    }
    return code == COHORT_OK && r->failed ? malformed("attributes", err) : code;
}

static void get_window(struct reader *r, struct window *w) {
    for (int i = 0; i < 2; i++) {
        w->kernel[i] = get_i64(r);
        w->stride[i] = get_i64(r);
        w->dilation[i] = get_i64(r);
        w->pad_begin[i] = get_i64(r);
        w->pad_end[i] = get_i64(r);
    }
}

#define ROW_LIMIT ((int64_t)1 << 30)

/* Nonsense here would make row arithmetic divide by zero or overflow. */
static void get_rowmap(struct reader *r, struct rowmap *m) {
    m->kind = (enum rowmap_kind)get_below(r, read_u8(r), ROWMAP_AFFINE + 1);
    m->num = get_i64(r);
    m->den = get_i64(r);
    m->lo = get_i64(r);
    m->hi = get_i64(r);
    m->out_height = get_i64(r);
    m->in_height = get_i64(r);
    m->one_image = read_u8(r) != 0;
    if (m->out_height < 0 || m->in_height < 0)
        r->failed = true;
    if (m->kind == ROWMAP_AFFINE &&
        (m->num < 0 || m->num >= ROW_LIMIT || m->den <= 0 || m->den >= ROW_LIMIT ||
         m->lo <= -ROW_LIMIT * ROW_LIMIT || m->hi >= ROW_LIMIT * ROW_LIMIT ||
         m->lo >= ROW_LIMIT * ROW_LIMIT || m->hi <= -ROW_LIMIT * ROW_LIMIT ||
         m->out_height >= ROW_LIMIT || m->in_height >= ROW_LIMIT))
        r->failed = true;
}

/* A list of value numbers; optional ones may be left out. */
static enum cohort_code get_ids(struct reader *r, const struct graph *g, bool optional, int **ids,
                                int *count, struct cohort_error *err) {
    size_t n = read_count(r, 4);
    if (r->failed || n > INT32_MAX)
        return malformed("nodes", err);
    int *list = mem_alloc(n * sizeof *list);
    if (list == NULL)
        return error_memory(err, n * sizeof *list, "a serialised graph");
    for (size_t i = 0; i < n; i++) {
        list[i] = get_id(r, g->value_count);
        if (list[i] < 0 && !optional)
            r->failed = true;
    }
    if (r->failed) {
        mem_free(list);
        return malformed("nodes", err);
    }
    *ids = list;
    *count = (int)n;
    return COHORT_OK;
}

/* What a node is read into before it is added. */
struct draft {
    char *name, *domain, *op_name;
    int *in, *out;
    int in_count, out_count;
    struct attr *attrs;
    int attr_count;
};

static void draft_release(struct draft *d) {
    mem_free(d->name);
    mem_free(d->domain);
    mem_free(d->op_name);
    mem_free(d->in);
    mem_free(d->out);
    for (int i = 0; d->attrs != NULL && i < d->attr_count; i++)
        attr_release(&d->attrs[i]);
    mem_free(d->attrs);
}

/* What a body takes from around it are inputs of the node, and its own last ones. */
static bool graphs_hold(const struct draft *d) {
    for (int i = 0; i < d->attr_count; i++) {
        const struct attr *a = &d->attrs[i];
        if (a->kind == ATTR_GRAPH && (a->i < 0 || a->count > (size_t)a->graph->input_count ||
                                      a->i > d->in_count - (int64_t)a->count))
            return false;
    }
    return true;
}

static enum cohort_code get_attrs(struct reader *r, int depth, struct draft *d,
                                  struct cohort_error *err) {
    size_t count = read_count(r, 9); /* a name's length, kind, count */
    d->attrs = r->failed ? NULL : mem_zalloc(count, sizeof *d->attrs);
    if (d->attrs == NULL)
        return r->failed ? malformed("attributes", err)
                         : error_memory(err, count * sizeof *d->attrs, "a serialised graph");
    for (size_t i = 0; i < count; i++) {
        d->attr_count = (int)i + 1;
        enum cohort_code code = get_attr(r, depth, &d->attrs[i], err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

static enum cohort_code get_node_rest(struct reader *r, const struct graph *g, struct node *n,
                                      struct cohort_error *err) {
    n->epilogue.act = (enum act_kind)get_below(r, read_u8(r), ACT_COUNT);
    n->epilogue.a = read_f32(r);
    n->epilogue.b = read_f32(r);
    n->epilogue.residual = get_id(r, n->in_count);
    n->epilogue.residual_last = read_u8(r) != 0;
    get_window(r, &n->window);
    n->group = get_i64(r);
    n->weight_scale = get_id(r, g->value_count);
    if (n->epilogue.residual >= 0 && n->in[n->epilogue.residual] < 0)
        r->failed = true;
    if (n->group < 1 || (n->weight_scale >= 0 && !graph_value(g, n->weight_scale)->is_constant))
        r->failed = true;
    if (read_u8(r) == 0 || r->failed)
        return r->failed ? malformed("nodes", err) : COHORT_OK;
    n->rowmap = mem_zalloc((size_t)n->in_count, sizeof *n->rowmap);
    if (n->rowmap == NULL)
        return error_memory(err, (size_t)n->in_count * sizeof *n->rowmap, "a serialised graph");
    for (int i = 0; i < n->in_count; i++)
        get_rowmap(r, &n->rowmap[i]);
    return r->failed ? malformed("row maps", err) : COHORT_OK;
}

/* Every input is there before the node runs, and every output is made once. */
static bool order_holds(const struct graph *g, const struct draft *d, bool *ready) {
    for (int i = 0; i < d->in_count; i++)
        if (d->in[i] >= 0 && !ready[d->in[i]] && !graph_value(g, d->in[i])->is_constant)
            return false;
    for (int i = 0; i < d->out_count; i++) {
        if (d->out[i] < 0)
            continue;
        if (ready[d->out[i]] || graph_value(g, d->out[i])->is_constant)
            return false;
        ready[d->out[i]] = true;
    }
    return true;
}

/* As many inputs and outputs as the operator takes; one more for a residual. */
static bool counts_hold(const struct draft *d, const struct op_desc *op) {
    if (d->in_count < op->min_inputs || d->in_count - 1 > op->max_inputs ||
        d->out_count > op->max_outputs || d->out_count < 1)
        return false;
    for (int i = 0; i < op->min_inputs; i++)
        if (d->in[i] < 0)
            return false;
    return true;
}

static enum cohort_code get_node(struct reader *r, int depth, struct graph *g, bool *ready,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct draft d = {0};
    struct node *n = NULL;
    if ((d.name = get_name(r, "nodes", &code, err)) == NULL ||
        (d.domain = get_name(r, "nodes", &code, err)) == NULL ||
        (d.op_name = get_name(r, "nodes", &code, err)) == NULL)
        goto out;
    uint32_t opset = read_u32(r);
    const struct op_desc *op = opset > INT32_MAX ? NULL : op_find(d.domain, d.op_name, (int)opset);
    TRY(get_ids(r, g, true, &d.in, &d.in_count, err));
    TRY(get_ids(r, g, true, &d.out, &d.out_count, err));
    TRY(get_attrs(r, depth, &d, err));
    if (op == NULL) {
        code = error_set(err, COHORT_ERR_UNSUPPORTED,
                         "a serialised graph has operator %s, opset %u, which this build does not "
                         "know: the boards' versions differ",
                         d.op_name, (unsigned)opset);
        goto out;
    }
    if (!order_holds(g, &d, ready) || !counts_hold(&d, op) || !graphs_hold(&d)) {
        code = malformed("nodes", err);
        goto out;
    }
    TRY(graph_add_node(g, -1, d.name, op, d.in, d.in_count, d.out, d.out_count, d.attrs,
                       d.attr_count, &n, err));
    n->opset = (int)opset;
    TRY(get_node_rest(r, g, n, err));
out:
    draft_release(&d);
    return code;
}

static enum cohort_code get_nodes(struct reader *r, int depth, struct graph *g,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool *ready = mem_zalloc((size_t)g->value_count, sizeof *ready);
    if (ready == NULL)
        return error_memory(err, (unsigned long long)g->value_count, "a serialised graph");
    for (int i = 0; i < g->input_count; i++)
        ready[g->inputs[i]] = true;
    size_t count = read_count(r, 64); /* at least that many bytes each */
    for (size_t i = 0; i < count && code == COHORT_OK; i++)
        code = get_node(r, depth, g, ready, err);
    for (int i = 0; i < g->output_count; i++)
        if (code == COHORT_OK && !ready[g->outputs[i]] &&
            !graph_value(g, g->outputs[i])->is_constant)
            code = malformed("outputs", err);
    mem_free(ready);
    return code == COHORT_OK && r->failed ? malformed("nodes", err) : code;
}

static enum cohort_code get_graph(struct reader *r, int depth, struct graph **g,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct graph *fresh = NULL;
    if (depth > GRAPH_DEPTH_MAX)
        return malformed("graphs", err);
    char *name = get_name(r, "name", &code, err);
    if (name == NULL)
        return code;
    TRY(graph_create(&fresh, name, err));
    fresh->opset = get_below(r, read_u32(r), INT32_MAX);
    size_t count = read_count(r, 8);
    for (size_t i = 0; i < count; i++)
        TRY(get_value(r, fresh, err));
    TRY(get_ids(r, fresh, false, &fresh->inputs, &fresh->input_count, err));
    TRY(get_ids(r, fresh, false, &fresh->outputs, &fresh->output_count, err));
    TRY(get_nodes(r, depth, fresh, err));
    graph_relink(fresh);
    *g = fresh;
    fresh = NULL;
out:
    mem_free(name);
    graph_destroy(&fresh);
    return code;
}

enum cohort_code graph_deserialize(struct graph **g, const void *data, size_t bytes,
                                   struct cohort_error *err) {
    struct reader r = reader_of(data, bytes);
    struct graph *fresh = NULL;
    uint32_t magic = read_u32(&r), version = read_u32(&r);
    if (r.failed || magic != SERIAL_MAGIC)
        return error_set(err, COHORT_ERR_FORMAT, "not a serialised graph");
    if (version != SERIAL_VERSION)
        return error_set(err, COHORT_ERR_FORMAT,
                         "a serialised graph of version %u; this build reads version %u: the "
                         "boards' versions differ",
                         (unsigned)version, SERIAL_VERSION);
    enum cohort_code code = get_graph(&r, 0, &fresh, err);
    if (code == COHORT_OK && r.at != r.end)
        code = malformed("end", err);
    if (code == COHORT_OK)
        *g = fresh;
    else
        graph_destroy(&fresh);
    return code;
}
