/* Which values are feature maps, and the conversions where maps and plain tensors meet.
 *
 * A node that can run on maps does, except for elementwise and moving ones with nothing but their
 * like around them: converting there and back would cost more than it saves.  So nodes that can are
 * grouped with their neighbours, and a group counts when one of its members does real work
 * (a convolution, a pool, …). */
#include "graph/pass_common.h"

#include "base/mem.h"

#include <string.h>

/* ---- which nodes ----------------------------------------------------------------------------- */

/* Does input i of a node that runs on maps come as a map? */
static bool input_is_map(const struct graph *g, const struct node *n, int i) {
    if (n->in[i] < 0 || graph_value(g, n->in[i])->is_constant)
        return false;
    if (i == n->epilogue.residual || n->op->map_input == NULL)
        return true;
    struct node bare = node_without_residual(n);
    return n->op->map_input(g, &bare, i);
}

/* Kernels count in ints: longer axes, and windows that reach further, stay plain. */
#define MAP_DIM_MAX (INT64_C(1) << 24)

static bool value_can_be_map(const struct graph *g, int id) {
    const struct value *v = graph_value(g, id);
    if (v->type != DT_F32 || (v->shape.rank != 3 && v->shape.rank != 4) ||
        shape_count(&v->shape) <= 0)
        return false;
    for (int i = 0; i < v->shape.rank; i++)
        if (v->shape.dim[i] > MAP_DIM_MAX)
            return false;
    return true;
}

static bool window_fits(const struct window *w) {
    for (int i = 0; i < 2; i++)
        if (w->kernel[i] > MAP_DIM_MAX || w->stride[i] > MAP_DIM_MAX ||
            w->dilation[i] > MAP_DIM_MAX || w->pad_begin[i] > MAP_DIM_MAX ||
            w->pad_end[i] > MAP_DIM_MAX || w->pad_begin[i] < -MAP_DIM_MAX ||
            w->pad_end[i] < -MAP_DIM_MAX)
            return false;
    return true;
}

static bool node_can(const struct graph *g, const struct node *n) {
    if (n->out_count < 1 || n->out[0] < 0 || !node_map_ok(g, n) || !window_fits(&n->window))
        return false;
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0 && !value_can_be_map(g, n->out[i]))
            return false;
    for (int i = 0; i < n->in_count; i++)
        if (input_is_map(g, n, i) && !value_can_be_map(g, n->in[i]))
            return false;
    return true;
}

/* Groups of neighbours: a forest over values, since neighbours share one. */
static int find_root(int *parent, int id) {
    while (parent[id] != id) {
        parent[id] = parent[parent[id]];
        id = parent[id];
    }
    return id;
}

struct choice {
    bool *map;   /* per node: it runs on maps */
    bool *heavy; /* per root of a group of values */
    int *parent; /* per value */
};

static void choice_release(struct choice *c) {
    mem_free(c->map);
    mem_free(c->heavy);
    mem_free(c->parent);
}

static enum cohort_code choose_nodes(const struct graph *g, struct choice *c,
                                     struct cohort_error *err) {
    size_t values = (size_t)g->value_count, nodes = (size_t)g->node_count;
    *c = (struct choice){.map = mem_zalloc(nodes, sizeof *c->map),
                         .heavy = mem_zalloc(values, sizeof *c->heavy),
                         .parent = mem_alloc(values * sizeof *c->parent)};
    if (c->map == NULL || c->heavy == NULL || c->parent == NULL) {
        choice_release(c);
        return error_memory(err, values * sizeof *c->parent + nodes, "choosing forms");
    }
    for (int id = 0; id < g->value_count; id++)
        c->parent[id] = id;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        c->map[i] = node_can(g, n);
        if (!c->map[i])
            continue;
        int root = find_root(c->parent, n->out[0]);
        for (int k = 1; k < n->out_count; k++)
            if (n->out[k] >= 0)
                c->parent[find_root(c->parent, n->out[k])] = root;
        for (int k = 0; k < n->in_count; k++)
            if (input_is_map(g, n, k))
                c->parent[find_root(c->parent, n->in[k])] = root;
    }
    for (int i = 0; i < g->node_count; i++)
        if (c->map[i] && !(g->nodes[i].op->flags & (OP_UNARY | OP_BINARY | OP_MOVE | OP_VIEW)))
            c->heavy[find_root(c->parent, g->nodes[i].out[0])] = true;
    for (int i = 0; i < g->node_count; i++)
        if (c->map[i] && !c->heavy[find_root(c->parent, g->nodes[i].out[0])])
            c->map[i] = false;
    return COHORT_OK;
}

/* Outputs of nodes on maps are maps, and so are the network's inputs that such nodes read. */
static void set_forms(struct graph *g, const struct choice *c) {
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (!c->map[i])
            continue;
        for (int k = 0; k < n->out_count; k++)
            if (n->out[k] >= 0)
                graph_value(g, n->out[k])->form = FORM_MAP;
        for (int k = 0; k < n->in_count; k++)
            for (int j = 0; j < g->input_count; j++)
                if (n->in[k] == g->inputs[j] && input_is_map(g, n, k))
                    graph_value(g, n->in[k])->form = FORM_MAP;
    }
}

/* ---- Flatten before a matrix product --------------------------------------------------------- */

/* A Gemm or MatMul of a matrix and constant weights, everything else constant too. */
static bool is_fully_connected(const struct graph *g, const struct node *n) {
    const struct tensor *w = node_const(g, n, 1);
    if ((!node_is(n, "Gemm") && !node_is(n, "MatMul")) || w == NULL || w->type != DT_F32 ||
        w->shape.rank != 2 || node_attr_int(n, "transA", 0) != 0 ||
        node_out(g, n, 0)->shape.rank != 2 || n->epilogue.residual >= 0)
        return false;
    for (int i = 2; i < n->in_count; i++)
        if (n->in[i] >= 0 && !graph_value(g, n->in[i])->is_constant)
            return false;
    return true;
}

/* Does it read a map of which a Flatten was absorbed? */
static bool reads_flattened_map(const struct graph *g, const struct node *n) {
    return is_fully_connected(g, n) && node_in(g, n, 0)->shape.rank > 2;
}

/* A view of a map [N,C,…] as a matrix [N,C*…] that only fully connected operators read: they read
 * the map. */
static void absorb_flatten(struct graph *g, int index) {
    struct node *n = &g->nodes[index];
    bool view = node_is(n, "Flatten") || node_is(n, "Reshape") || node_is(n, "Squeeze");
    const struct value *map = view ? node_in(g, n, 0) : NULL, *flat = node_out(g, n, 0);
    if (map == NULL || map->form != FORM_MAP || flat->shape.rank != 2 ||
        flat->shape.dim[0] != map->shape.dim[0] ||
        flat->shape.dim[1] != shape_product(&map->shape, 1, map->shape.rank))
        return;
    int readers = 0;
    for (int i = index + 1; i < g->node_count; i++)
        if (g->nodes[i].in_count > 0 && g->nodes[i].in[0] == n->out[0] &&
            is_fully_connected(g, &g->nodes[i]))
            readers++;
    if (readers == 0 || readers != flat->uses)
        return;
    int from = n->out[0], to = n->in[0];
    graph_release_node(n);
    graph_replace_uses(g, from, to);
}

/* ---- conversions ----------------------------------------------------------------------------- */

/* Makes the value that holds `id` in the other form, by a node at position `at`. */
static enum cohort_code convert(struct graph *g, int at, int id, enum form form, int *other,
                                struct cohort_error *err) {
    const char *op_name = form == FORM_MAP ? "ToMap" : "ToPlain";
    const struct op_desc *op = op_find("cohort", op_name, 1);
    char *name = fresh_name(g, graph_value(g, id)->name, form == FORM_MAP ? ".map" : ".plain");
    enum cohort_code code = COHORT_OK;
    struct node *n = NULL;
    BUG_UNLESS(op != NULL);
    if (name == NULL)
        return error_memory(err, 64, "a name");
    TRY(graph_add_value(g, name, other, err));
    graph_value(g, *other)->type = graph_value(g, id)->type;
    graph_value(g, *other)->shape = graph_value(g, id)->shape;
    graph_value(g, *other)->form = form;
    TRY(graph_add_node(g, at, name, op, &id, 1, other, 1, NULL, 0, &n, err));
    n->opset = 1;
out:
    mem_free(name);
    return code;
}

/* Does the node read its input i as a map? */
static enum form wanted_form(const struct graph *g, const struct node *n, int i) {
    const struct value *out = node_out(g, n, 0);
    if (i == 0 && reads_flattened_map(g, n))
        return FORM_MAP;
    if (out == NULL || out->form != FORM_MAP)
        return FORM_PLAIN;
    return input_is_map(g, n, i) ? FORM_MAP : FORM_PLAIN;
}

static enum cohort_code insert_conversions(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int values = g->value_count;
    int *converted = mem_alloc((size_t)values * sizeof *converted);
    if (converted == NULL)
        return error_memory(err, (size_t)values * sizeof *converted, "choosing forms");
    for (int id = 0; id < values; id++)
        converted[id] = -1;
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++) {
            int id = g->nodes[i].in[k];
            if (id < 0 || graph_value(g, id)->is_constant)
                continue;
            enum form form = wanted_form(g, &g->nodes[i], k);
            if (graph_value(g, id)->form == form)
                continue;
            if (converted[id] < 0) {
                TRY(convert(g, i, id, form, &converted[id], err));
                i++; /* the node has moved one on */
            }
            g->nodes[i].in[k] = converted[id];
        }
out:
    mem_free(converted);
    graph_relink(g);
    return code;
}

enum cohort_code pass_choose_forms(struct graph *g, struct cohort_error *err) {
    struct choice c;
    graph_relink(g);
    enum cohort_code code = choose_nodes(g, &c, err);
    if (code != COHORT_OK)
        return code;
    set_forms(g, &c);
    choice_release(&c);
    for (int i = 0; i < g->node_count; i++)
        absorb_flatten(g, i);
    graph_compact(g);
    return insert_conversions(g, err);
}
