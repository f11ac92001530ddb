/* Slices of values and of weights, and the shard's life; shard_nodes.c divides operators. */
#include "graph/shard_parts.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

/* ---- life ------------------------------------------------------------------------------------ */

enum cohort_code shard_create(struct shard **out, const struct graph *network,
                              struct cohort_error *err) {
    struct shard *s = mem_zalloc(1, sizeof *s);
    const size_t values = (size_t)network->value_count, nodes = (size_t)network->node_count;
    if (s == NULL)
        return error_memory(err, sizeof *s, "a shard");
    s->network = network;
    s->graph = *network;
    s->graph.values = mem_alloc((values + 1) * sizeof *s->graph.values);
    s->graph.nodes = mem_alloc((nodes + 1) * sizeof *s->graph.nodes);
    s->graph.value_capacity = values + 1;
    s->graph.node_capacity = nodes + 1;
    if (s->graph.values == NULL || s->graph.nodes == NULL) {
        s->graph.value_count = s->graph.node_count = 0;
        shard_destroy(&s);
        return error_memory(err, values * sizeof *s->graph.values, "a shard");
    }
    memcpy(s->graph.values, network->values, values * sizeof *s->graph.values);
    memcpy(s->graph.nodes, network->nodes, nodes * sizeof *s->graph.nodes);
    *out = s;
    return COHORT_OK;
}

void shard_destroy(struct shard **shard) {
    struct shard *s = *shard;
    if (s == NULL)
        return;
    for (int i = s->network->node_count; i < s->graph.node_count; i++) {
        struct node *n = &s->graph.nodes[i];
        n->rowmap = NULL; /* borrowed, if there is one */
        if (n->whole != NULL) {
            n->attrs = NULL;
            n->attr_count = 0;
        }
        graph_release_node(n);
    }
    for (int i = s->network->value_count; i < s->graph.value_count; i++) {
        mem_free(s->graph.values[i].name);
        tensor_release(&s->graph.values[i].constant);
    }
    mem_free(s->graph.values);
    mem_free(s->graph.nodes);
    mem_free(s->slices);
    mem_free(s);
    *shard = NULL;
}

const struct graph *shard_graph(const struct shard *s) {
    return &s->graph;
}

/* ---- channels -------------------------------------------------------------------------------- */

int shard_axis(const struct value *v) {
    return v->form == FORM_MAP ? 1 : v->shape.rank - 1;
}

int64_t shard_channels(const struct graph *g, int id) {
    const struct value *v = graph_value(g, id);
    if (v->type != DT_F32 || v->is_constant || !shape_known(&v->shape) || v->shape.rank < 2)
        return 0;
    return v->shape.dim[shard_axis(v)];
}

bool shard_fits(struct channels c, int64_t count) {
    return c.begin >= 0 && c.begin % MAP_BLOCK == 0 && c.end <= count &&
           (c.end % MAP_BLOCK == 0 || c.end == count) && c.end - c.begin >= MAP_BLOCK;
}

int64_t shard_rows(const struct graph *g, int id) {
    const struct value *v = graph_value(g, id);
    if (shard_channels(g, id) == 0 || v->form != FORM_MAP || v->shape.dim[0] != 1)
        return 0;
    return v->shape.dim[2];
}

static bool is_all(struct channels c, int64_t count) {
    return c.begin == 0 && c.end == count;
}

/* ---- slices ---------------------------------------------------------------------------------- */

static int find_slice(const struct shard *s, const struct shard_slice *like) {
    for (int i = 0; i < s->slice_count; i++) {
        const struct shard_slice *x = &s->slices[i];
        if (x->kind == like->kind && x->source == like->source && x->axis == like->axis &&
            x->begin == like->begin && x->end == like->end && x->period == like->period &&
            x->scale == like->scale)
            return x->id;
    }
    return -1;
}

enum cohort_code shard_add_slice(struct shard *s, struct shard_slice slice,
                                 const struct value *shaped, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *name = NULL;
    if (!MEM_GROW(s->slices, s->slice_capacity, (size_t)s->slice_count)) {
        code = error_memory(err, sizeof *s->slices, "a slice");
        goto out;
    }
    const struct value v = *shaped; /* the array moves */
    name = mem_printf("%s[%lld:%lld of axis %d]", v.name, (long long)slice.begin,
                      (long long)slice.end, slice.axis);
    if (name == NULL) {
        code = error_memory(err, strlen(v.name) + 64, "a name");
        goto out;
    }
    TRY(graph_add_value(&s->graph, name, &slice.id, err));
    struct value *made = graph_value(&s->graph, slice.id);
    made->type = v.type;
    made->form = v.form;
    made->shape = v.shape;
    made->is_constant = slice.kind == SLICE_WEIGHT || slice.kind == SLICE_BIAS;
    if (made->is_constant)
        made->constant = (struct tensor){.type = v.type, .shape = v.shape};
    s->slices[s->slice_count++] = slice;
out:
    mem_free(name);
    return code;
}

/* The same slice has one number. */
static enum cohort_code find_or_add(struct shard *s, struct shard_slice want,
                                    const struct value *shaped, int *slice,
                                    struct cohort_error *err) {
    *slice = find_slice(s, &want);
    if (*slice >= 0)
        return COHORT_OK;
    const enum cohort_code code = shard_add_slice(s, want, shaped, err);
    if (code == COHORT_OK)
        *slice = s->slices[s->slice_count - 1].id;
    return code;
}

enum cohort_code shard_slice(struct shard *s, int id, struct channels c, int *slice,
                             struct cohort_error *err) {
    struct value v = *graph_value(&s->graph, id);
    const int64_t count = shard_channels(&s->graph, id);
    struct shard_slice want = {.kind = SLICE_VALUE, .source = id, .begin = c.begin, .end = c.end};
    if (is_all(c, count)) {
        *slice = id;
        return COHORT_OK;
    }
    if (!shard_fits(c, count))
        return error_set(err, COHORT_ERR_PLAN,
                         "channels %lld to %lld of the %lld of '%s' are no whole blocks of %d",
                         (long long)c.begin, (long long)c.end, (long long)count, v.name, MAP_BLOCK);
    want.axis = shard_axis(&v);
    v.shape.dim[want.axis] = c.end - c.begin;
    return find_or_add(s, want, &v, slice, err);
}

enum cohort_code shard_slice_rows(struct shard *s, int id, struct channels rows, int *slice,
                                  struct cohort_error *err) {
    struct value v = *graph_value(&s->graph, id);
    const int64_t count = shard_rows(&s->graph, id);
    if (is_all(rows, count)) {
        *slice = id;
        return COHORT_OK;
    }
    if (rows.begin < 0 || rows.begin >= rows.end || rows.end > count)
        return error_set(err, COHORT_ERR_PLAN, "rows %lld to %lld are not among the %lld of '%s'%s",
                         (long long)rows.begin, (long long)rows.end, (long long)count, v.name,
                         count == 0 ? ", which is no map of one image" : "");
    v.shape.dim[2] = rows.end - rows.begin;
    return find_or_add(
        s,
        (struct shard_slice){
            .kind = SLICE_VALUE, .source = id, .axis = 2, .begin = rows.begin, .end = rows.end},
        &v, slice, err);
}

enum cohort_code shard_periodic_weight(struct shard *s, int id, int axis, int64_t period,
                                       struct channels of, int *slice, struct cohort_error *err) {
    struct value v = *graph_value(&s->graph, id);
    if (is_all(of, period)) {
        *slice = id;
        return COHORT_OK;
    }
    v.shape.dim[axis] = v.shape.dim[axis] / period * (of.end - of.begin);
    return find_or_add(s,
                       (struct shard_slice){.kind = SLICE_WEIGHT,
                                            .source = id,
                                            .axis = axis,
                                            .begin = of.begin,
                                            .end = of.end,
                                            .period = period},
                       &v, slice, err);
}

enum cohort_code shard_weight(struct shard *s, int id, int axis, int64_t begin, int64_t end,
                              int *slice, struct cohort_error *err) {
    return shard_periodic_weight(s, id, axis, graph_value(&s->graph, id)->shape.dim[axis],
                                 (struct channels){begin, end}, slice, err);
}

static enum cohort_code new_attr(struct attr *a, const char *name, int64_t value,
                                 struct cohort_error *err) {
    *a = (struct attr){.name = mem_strdup(name),
                       .kind = ATTR_INTS,
                       .ints = mem_alloc(sizeof *a->ints),
                       .count = 1};
    if (a->name == NULL || a->ints == NULL)
        return error_memory(err, sizeof *a->ints, "an attribute");
    a->ints[0] = value;
    return COHORT_OK;
}

/* Makes `slice` of value `id`: elements c along an axis. */
static enum cohort_code add_take(struct shard *s, int id, int slice, int axis, struct channels c,
                                 int *node, struct cohort_error *err) {
    const struct op_desc *op = op_find("", "Slice", 9);
    struct attr attrs[3] = {{0}};
    struct node *n;
    enum cohort_code code = COHORT_OK;
    BUG_UNLESS(op != NULL && slice != id);
    TRY(new_attr(&attrs[0], "axes", axis, err));
    TRY(new_attr(&attrs[1], "starts", c.begin, err));
    TRY(new_attr(&attrs[2], "ends", c.end, err));
    TRY(graph_add_node(&s->graph, -1, graph_value(&s->graph, slice)->name, op, &id, 1, &slice, 1,
                       attrs, 3, &n, err));
    n->opset = 9;
    *node = s->graph.node_count - 1;
out:
    for (int i = 0; i < 3; i++)
        attr_release(&attrs[i]);
    return code;
}

enum cohort_code shard_take(struct shard *s, int id, struct channels c, int *node,
                            struct cohort_error *err) {
    int slice;
    const enum cohort_code code = shard_slice(s, id, c, &slice, err);
    return code != COHORT_OK
               ? code
               : add_take(s, id, slice, shard_axis(graph_value(&s->graph, id)), c, node, err);
}

enum cohort_code shard_take_rows(struct shard *s, int id, struct channels rows, int *node,
                                 struct cohort_error *err) {
    int slice;
    const enum cohort_code code = shard_slice_rows(s, id, rows, &slice, err);
    return code != COHORT_OK ? code : add_take(s, id, slice, 2, rows, node, err);
}

/* ---- two shards ------------------------------------------------------------------------------ */

static const struct shard_slice *slice_of(const struct shard *s, int id) {
    for (int i = 0; i < s->slice_count; i++)
        if (s->slices[i].id == id)
            return &s->slices[i];
    return NULL;
}

static bool same_value(const struct shard *s, int id, const struct shard *other, int of) {
    const struct shard_slice *a = id < 0 ? NULL : slice_of(s, id);
    const struct shard_slice *b = of < 0 ? NULL : slice_of(other, of);
    if (a == NULL || b == NULL)
        return a == b && id == of;
    if (a->kind != b->kind || a->axis != b->axis || a->begin != b->begin || a->end != b->end ||
        a->period != b->period || a->scale != b->scale)
        return false;
    return a->kind == SLICE_VALUE ? same_value(s, a->source, other, b->source)
                                  : a->source == b->source;
}

/* What a node makes says which node of the network it is of. */
static bool same_node(const struct shard *s, const struct node *a, const struct shard *other,
                      const struct node *b) {
    if (a->whole != b->whole || a->op != b->op || a->group != b->group ||
        a->in_count != b->in_count || !same_value(s, a->out[0], other, b->out[0]) ||
        !same_value(s, a->weight_scale, other, b->weight_scale))
        return false;
    for (int k = 0; k < a->in_count; k++)
        if (!same_value(s, a->in[k], other, b->in[k]))
            return false;
    return true;
}

int shard_same_node(const struct graph *network, const struct shard *s, int node,
                    const struct shard *other) {
    if (node < network->node_count)
        return node;
    for (int i = network->node_count; other != NULL && i < other->graph.node_count; i++)
        if (same_node(s, &s->graph.nodes[node], other, &other->graph.nodes[i]))
            return i;
    return -1;
}

/* ---- constants ------------------------------------------------------------------------------- */

static enum cohort_code fetch_weight(struct tensor *to, const struct shard_slice *x,
                                     const struct tensor *from, struct cohort_error *err) {
    const size_t each = dtype_bytes(from->type);
    const int64_t periods = from->shape.dim[x->axis] / x->period;
    const int64_t outer = shape_product(&from->shape, 0, x->axis) * periods;
    const int64_t inner = shape_product(&from->shape, x->axis + 1, from->shape.rank);
    const char *first = (const char *)from->data + (size_t)(x->begin * inner) * each;
    if (outer == 1) {
        to->data = (void *)(uintptr_t)first;
        to->owned = false;
        return COHORT_OK;
    }
    const struct shape shape = to->shape;
    enum cohort_code code = tensor_init(to, from->type, &shape, err);
    const size_t bytes = (size_t)((x->end - x->begin) * inner) * each;
    for (int64_t i = 0; code == COHORT_OK && i < outer; i++)
        memcpy((char *)to->data + (size_t)i * bytes, first + (size_t)(i * x->period * inner) * each,
               bytes);
    return code;
}

/* Channels [begin, end) of scale * source, which has all of them or one for all; no source: zeros.
 */
static enum cohort_code fetch_bias(struct tensor *to, const struct shard_slice *x,
                                   const struct tensor *from, struct cohort_error *err) {
    const struct shape shape = to->shape;
    enum cohort_code code = tensor_init(to, DT_F32, &shape, err);
    if (code != COHORT_OK || from == NULL)
        return code;
    float *v = tensor_f32(to);
    const bool one = shape_count(&from->shape) == 1;
    for (int64_t i = 0; i < x->end - x->begin; i++) {
        tensor_load_f32(from, one ? 0 : x->begin + i, 1, &v[i]);
        v[i] *= x->scale;
    }
    return COHORT_OK;
}

void shard_refresh(struct shard *s) {
    for (int i = 0; i < s->network->value_count; i++)
        s->graph.values[i].constant = s->network->values[i].constant;
}

static enum cohort_code fetch_slice(struct shard *s, const struct shard_slice *x,
                                    struct cohort_error *err) {
    struct value *v = graph_value(&s->graph, x->id);
    const struct tensor *from =
        x->source >= 0 ? &graph_value(&s->graph, x->source)->constant : NULL;
    if (!v->is_constant || v->constant.data != NULL || (from != NULL && from->data == NULL))
        return COHORT_OK;
    return (x->kind == SLICE_WEIGHT ? fetch_weight : fetch_bias)(&v->constant, x, from, err);
}

enum cohort_code shard_fetch_constant(struct shard *s, int id, struct cohort_error *err) {
    return fetch_slice(s, slice_of(s, id), err);
}

enum cohort_code shard_fetch(struct shard *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    shard_refresh(s);
    for (int i = 0; i < s->slice_count && code == COHORT_OK; i++)
        code = fetch_slice(s, &s->slices[i], err);
    return code;
}

struct tensor *shard_constant(struct shard *s, int id) {
    BUG_UNLESS(id >= s->network->value_count);
    return &graph_value(&s->graph, id)->constant;
}

bool shard_constant_part(const struct shard *s, int id, struct shard_part *part) {
    const struct shard_slice *x = slice_of(s, id);
    if (x == NULL || x->kind != SLICE_WEIGHT)
        return false;
    *part = (struct shard_part){.source = x->source,
                                .axis = x->axis,
                                .period = x->period,
                                .begin = x->begin,
                                .end = x->end};
    return true;
}

int shard_constant_source(const struct shard *s, int id) {
    const struct shard_slice *x = slice_of(s, id);
    return x != NULL && x->source >= 0 ? x->source : id;
}

void shard_drop_constant(struct shard *s, int id) {
    struct tensor *t = shard_constant(s, id);
    if (t->owned)
        mem_free(t->data);
    t->data = NULL;
    t->owned = false;
}
