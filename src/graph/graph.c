/* The graph's own bookkeeping: values, nodes, attributes, geometry. */
#include "graph/graph.h"

#include "base/mem.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

/* ---- attributes ------------------------------------------------------------------------------ */

void attr_release(struct attr *a) {
    mem_free(a->name);
    mem_free(a->s);
    mem_free(a->ints);
    mem_free(a->floats);
    for (size_t i = 0; a->strings != NULL && i < a->count; i++)
        mem_free(a->strings[i]);
    mem_free(a->strings);
    tensor_release(&a->tensor);
    graph_destroy(&a->graph);
    *a = (struct attr){0};
}

const struct attr *node_attr(const struct node *n, const char *name) {
    for (int i = 0; i < n->attr_count; i++)
        if (strcmp(n->attrs[i].name, name) == 0)
            return &n->attrs[i];
    return NULL;
}

static const struct attr *attr_of_kind(const struct node *n, const char *name,
                                       enum attr_kind kind) {
    const struct attr *a = node_attr(n, name);
    return a != NULL && a->kind == kind ? a : NULL;
}

int64_t node_attr_int(const struct node *n, const char *name, int64_t otherwise) {
    const struct attr *a = attr_of_kind(n, name, ATTR_INT);
    return a != NULL ? a->i : otherwise;
}

float node_attr_float(const struct node *n, const char *name, float otherwise) {
    const struct attr *a = attr_of_kind(n, name, ATTR_FLOAT);
    return a != NULL ? a->f : otherwise;
}

const char *node_attr_string(const struct node *n, const char *name, const char *otherwise) {
    const struct attr *a = attr_of_kind(n, name, ATTR_STRING);
    return a != NULL && a->s != NULL ? a->s : otherwise;
}

const int64_t *node_attr_ints(const struct node *n, const char *name, int *count) {
    const struct attr *a = attr_of_kind(n, name, ATTR_INTS);
    *count = a != NULL ? (int)a->count : 0;
    return a != NULL ? a->ints : NULL;
}

const float *node_attr_floats(const struct node *n, const char *name, int *count) {
    const struct attr *a = attr_of_kind(n, name, ATTR_FLOATS);
    *count = a != NULL ? (int)a->count : 0;
    return a != NULL ? a->floats : NULL;
}

const struct attr *node_attr_graph(const struct node *n, const char *name) {
    return attr_of_kind(n, name, ATTR_GRAPH);
}

/* The slot for attribute `name`, emptied; a new one when absent.  NULL: memory short. */
static struct attr *attr_slot(struct node *n, const char *name) {
    char *copy = mem_strdup(name);
    if (copy == NULL)
        return NULL;
    for (int i = 0; i < n->attr_count; i++)
        if (strcmp(n->attrs[i].name, name) == 0) {
            attr_release(&n->attrs[i]);
            n->attrs[i].name = copy;
            return &n->attrs[i];
        }
    struct attr *bigger = mem_realloc(n->attrs, (size_t)(n->attr_count + 1) * sizeof *bigger);
    if (bigger == NULL) {
        mem_free(copy);
        return NULL;
    }
    n->attrs = bigger;
    n->attrs[n->attr_count] = (struct attr){.name = copy};
    return &n->attrs[n->attr_count++];
}

enum cohort_code node_set_int(struct node *n, const char *name, int64_t i,
                              struct cohort_error *err) {
    struct attr *a = attr_slot(n, name);
    if (a == NULL)
        return error_memory(err, sizeof *a, "an attribute");
    a->kind = ATTR_INT;
    a->i = i;
    return COHORT_OK;
}

enum cohort_code node_set_ints(struct node *n, const char *name, const int64_t *ints, int count,
                               struct cohort_error *err) {
    int64_t *copy = mem_alloc((size_t)count * sizeof *copy);
    struct attr *a = copy == NULL ? NULL : attr_slot(n, name);
    if (a == NULL) {
        mem_free(copy);
        return error_memory(err, (size_t)count * sizeof *copy, "an attribute");
    }
    if (count > 0)
        memcpy(copy, ints, (size_t)count * sizeof *copy);
    a->kind = ATTR_INTS;
    a->ints = copy;
    a->count = (size_t)count;
    return COHORT_OK;
}

/* ---- graph ----------------------------------------------------------------------------------- */

enum cohort_code graph_create(struct graph **g, const char *name, struct cohort_error *err) {
    struct graph *fresh = mem_zalloc(1, sizeof *fresh);
    char *copy = mem_strdup(name);
    if (fresh == NULL || copy == NULL) {
        mem_free(fresh);
        mem_free(copy);
        return error_memory(err, sizeof *fresh, "a graph");
    }
    fresh->name = copy;
    *g = fresh;
    return COHORT_OK;
}

static void value_release(struct value *v) {
    mem_free(v->name);
    mem_free(v->content_hash);
    tensor_release(&v->constant);
}

void graph_release_node(struct node *n) {
    mem_free(n->name);
    mem_free(n->in);
    mem_free(n->out);
    for (int i = 0; i < n->attr_count; i++)
        attr_release(&n->attrs[i]);
    mem_free(n->attrs);
    mem_free(n->rowmap);
    *n = (struct node){0};
}

void graph_destroy(struct graph **gp) {
    struct graph *g = *gp;
    if (g == NULL)
        return;
    for (int i = 0; i < g->node_count; i++)
        graph_release_node(&g->nodes[i]);
    for (int i = 0; i < g->value_count; i++)
        value_release(&g->values[i]);
    for (int i = 0; i < g->map_count; i++)
        file_unmap(&g->maps[i]);
    mem_free(g->maps);
    mem_free(g->nodes);
    mem_free(g->values);
    mem_free(g->inputs);
    mem_free(g->outputs);
    mem_free(g->name);
    mem_free(g);
    *gp = NULL;
}

enum cohort_code graph_add_value(struct graph *g, const char *name, int *id,
                                 struct cohort_error *err) {
    char *copy = name[0] != '\0' ? mem_strdup(name) : mem_printf("cohort.%d", g->value_count);
    if (copy == NULL || !MEM_GROW(g->values, g->value_capacity, (size_t)g->value_count)) {
        mem_free(copy);
        return error_memory(err, sizeof *g->values, "a value");
    }
    *id = g->value_count++;
    g->values[*id] = (struct value){.name = copy, .producer = -1, .shape = {.rank = -1}};
    return COHORT_OK;
}

enum cohort_code graph_add_constant(struct graph *g, const char *name, struct tensor *t, int *id,
                                    struct cohort_error *err) {
    enum cohort_code code = graph_add_value(g, name, id, err);
    if (code != COHORT_OK)
        return code;
    struct value *v = &g->values[*id];
    v->type = t->type;
    v->shape = t->shape;
    v->is_constant = true;
    v->constant = *t;
    *t = (struct tensor){0};
    return COHORT_OK;
}

/* Counts node i's uses and enters it as the producer of its outputs. */
static void link_node(struct graph *g, int i) {
    const struct node *n = &g->nodes[i];
    for (int k = 0; k < n->in_count; k++)
        if (n->in[k] >= 0)
            g->values[n->in[k]].uses++;
    for (int k = 0; k < n->out_count; k++)
        if (n->out[k] >= 0)
            g->values[n->out[k]].producer = i;
    if (n->weight_scale >= 0)
        g->values[n->weight_scale].uses++;
}

enum cohort_code graph_add_node(struct graph *g, int at, const char *name, const struct op_desc *op,
                                const int *in, int in_count, const int *out, int out_count,
                                struct attr *attrs, int attr_count, struct node **node,
                                struct cohort_error *err) {
    if (at < 0)
        at = g->node_count;
    BUG_UNLESS(at <= g->node_count);
    char *name_copy = mem_strdup(name);
    int *in_copy = mem_alloc((size_t)in_count * sizeof *in);
    int *out_copy = mem_alloc((size_t)out_count * sizeof *out);
    struct attr *attrs_copy = mem_alloc((size_t)attr_count * sizeof *attrs);
    if (name_copy == NULL || in_copy == NULL || out_copy == NULL || attrs_copy == NULL ||
        !MEM_GROW(g->nodes, g->node_capacity, (size_t)g->node_count)) {
        mem_free(name_copy);
        mem_free(in_copy);
        mem_free(out_copy);
        mem_free(attrs_copy);
        return error_memory(err, sizeof *g->nodes, "a node");
    }
    if (in_count > 0)
        memcpy(in_copy, in, (size_t)in_count * sizeof *in);
    if (out_count > 0)
        memcpy(out_copy, out, (size_t)out_count * sizeof *out);
    for (int i = 0; i < attr_count; i++) {
        attrs_copy[i] = attrs[i];
        attrs[i] = (struct attr){0};
    }
    struct node *n = &g->nodes[at];
    memmove(n + 1, n, (size_t)(g->node_count - at) * sizeof *n);
    g->node_count++;
    *n = (struct node){.name = name_copy,
                       .op = op,
                       .opset = g->opset,
                       .in = in_copy,
                       .out = out_copy,
                       .in_count = in_count,
                       .out_count = out_count,
                       .attrs = attrs_copy,
                       .attr_count = attr_count,
                       .group = 1,
                       .weight_scale = -1,
                       .epilogue = {.residual = -1}};
    if (at == g->node_count - 1)
        link_node(g, at); /* appending stays linear */
    else
        graph_relink(g);
    if (node != NULL)
        *node = n;
    return COHORT_OK;
}

void graph_compact(struct graph *g) {
    int kept = 0;
    for (int i = 0; i < g->node_count; i++) {
        if (g->nodes[i].op == NULL) {
            graph_release_node(&g->nodes[i]);
            continue;
        }
        if (kept != i)
            g->nodes[kept] = g->nodes[i];
        kept++;
    }
    g->node_count = kept;
    graph_relink(g);
}

void graph_replace_uses(struct graph *g, int from, int to) {
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] == from)
                g->nodes[i].in[k] = to;
    for (int i = 0; i < g->output_count; i++)
        if (g->outputs[i] == from)
            g->outputs[i] = to;
    graph_relink(g);
}

void graph_relink(struct graph *g) {
    for (int i = 0; i < g->value_count; i++) {
        g->values[i].producer = -1;
        g->values[i].uses = 0;
    }
    for (int i = 0; i < g->node_count; i++)
        if (g->nodes[i].op != NULL)
            link_node(g, i);
    for (int i = 0; i < g->output_count; i++)
        g->values[g->outputs[i]].uses++;
}

bool graph_is_output(const struct graph *g, int id) {
    for (int i = 0; i < g->output_count; i++)
        if (g->outputs[i] == id)
            return true;
    return false;
}

int graph_find_value(const struct graph *g, const char *name) {
    for (int i = 0; i < g->value_count; i++)
        if (strcmp(g->values[i].name, name) == 0)
            return i;
    return -1;
}

const struct value *node_in(const struct graph *g, const struct node *n, int i) {
    return i < n->in_count && n->in[i] >= 0 ? &g->values[n->in[i]] : NULL;
}

const struct value *node_out(const struct graph *g, const struct node *n, int i) {
    return i < n->out_count && n->out[i] >= 0 ? &g->values[n->out[i]] : NULL;
}

const struct tensor *node_const(const struct graph *g, const struct node *n, int i) {
    const struct value *v = node_in(g, n, i);
    return v != NULL && v->is_constant ? &v->constant : NULL;
}

struct geometry value_geometry(const struct value *v) {
    const struct shape *s = &v->shape;
    struct geometry geo = {.images = 1, .height = 1, .width = 1, .channels = 1};
    if (v->form == FORM_MAP) {
        BUG_UNLESS(s->rank == 3 || s->rank == 4);
        geo.images = s->dim[0];
        geo.channels = s->dim[1];
        geo.height = s->dim[2];
        geo.width = s->rank == 4 ? s->dim[3] : 1;
        geo.blocked = geo.channels >= MAP_BLOCK;
        int64_t lanes =
            geo.blocked ? (geo.channels + MAP_BLOCK - 1) / MAP_BLOCK * MAP_BLOCK : geo.channels;
        geo.row_bytes = (size_t)(lanes * geo.width) * sizeof(float);
        return geo;
    }
    if (s->rank > 0) {
        geo.channels = s->dim[s->rank - 1];
        geo.height = shape_product(s, 0, s->rank - 1);
    }
    geo.row_bytes = geo.channels > 0 ? (size_t)geo.channels * dtype_bytes(v->type) : 0;
    return geo;
}
