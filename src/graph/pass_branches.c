/* An If whose condition is constant, as exporters leave behind shape checks: the nodes of the
 * branch that is taken take its place, so that passes, plans and kernels see them. */
#include "graph/pass_common.h"

#include "base/mem.h"

/* What a value of the branch is in the graph; -1: not yet known. */
static enum cohort_code map_values(struct graph *g, const struct node *n, const struct attr *body,
                                   int *map, struct cohort_error *err) {
    struct graph *b = body->graph;
    int own = b->input_count - (int)body->count;
    for (int i = 0; i < b->value_count; i++)
        map[i] = -1;
    for (size_t i = 0; i < body->count; i++)
        map[b->inputs[(size_t)own + i]] = n->in[(size_t)body->i + i];
    for (int i = 0; i < n->out_count; i++) {
        int inside = b->outputs[i];
        if (n->out[i] >= 0 && map[inside] < 0 && !b->values[inside].is_constant)
            map[inside] = n->out[i]; /* made in its place */
    }
    for (int i = 0; i < b->value_count; i++) {
        struct value *v = &b->values[i];
        if (map[i] >= 0)
            continue;
        char *name = fresh_name(g, v->name, "");
        enum cohort_code code = name == NULL ? error_memory(err, 64, "a name")
                                : v->is_constant
                                    ? graph_add_constant(g, name, &v->constant, &map[i], err)
                                    : graph_add_value(g, name, &map[i], err);
        mem_free(name);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

static enum cohort_code add_mapped(struct graph *g, int at, struct node *m, const int *map,
                                   struct cohort_error *err) {
    struct node *added;
    int *ids = mem_alloc((size_t)(m->in_count + m->out_count) * sizeof *ids);
    if (ids == NULL)
        return error_memory(err, (size_t)m->in_count * sizeof *ids, "a node");
    for (int i = 0; i < m->in_count; i++)
        ids[i] = m->in[i] < 0 ? -1 : map[m->in[i]];
    for (int i = 0; i < m->out_count; i++)
        ids[m->in_count + i] = m->out[i] < 0 ? -1 : map[m->out[i]];
    enum cohort_code code =
        graph_add_node(g, at, m->name, m->op, ids, m->in_count, ids + m->in_count, m->out_count,
                       m->attrs, m->attr_count, &added, err);
    if (code == COHORT_OK)
        added->opset = m->opset;
    mem_free(ids);
    return code;
}

/* Outputs that the branch does not make itself, or gives twice, are copies. */
static enum cohort_code add_copies(struct graph *g, int at, const int *out, int out_count,
                                   const struct graph *b, const int *map,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < out_count && code == COHORT_OK; i++) {
        int from = map[b->outputs[i]];
        if (out[i] >= 0 && out[i] != from)
            code = graph_add_node(g, at, "", op_find("", "Identity", g->opset), &from, 1, &out[i],
                                  1, NULL, 0, NULL, err);
    }
    return code;
}

/* Node number k, whose branch of that name is taken. */
static enum cohort_code take_branch(struct graph *g, int k, const char *name,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct node *n = &g->nodes[k];
    struct attr *body = NULL;
    for (int i = 0; i < n->attr_count; i++)
        if (n->attrs[i].kind == ATTR_GRAPH && &n->attrs[i] == node_attr_graph(n, name))
            body = &n->attrs[i];
    if (body == NULL)
        return COHORT_OK;
    struct graph *b = body->graph;
    int at = k + 1, *map = mem_alloc((size_t)b->value_count * sizeof *map);
    if (map == NULL)
        return error_memory(err, (size_t)b->value_count * sizeof *map, "a branch");
    TRY(map_values(g, n, body, map, err));
    body->graph = NULL; /* the node goes, the branch is needed until then */
    for (int i = 0; i < b->node_count && code == COHORT_OK; i++)
        code = add_mapped(g, at++, &b->nodes[i], map, err);
    if (code == COHORT_OK)
        code = add_copies(g, at, g->nodes[k].out, g->nodes[k].out_count, b, map, err);
    graph_destroy(&b);
    graph_release_node(&g->nodes[k]);
    graph_compact(g);
out:
    mem_free(map);
    return code;
}

enum cohort_code pass_take_branches(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool taken = true;
    while (taken) { /* a branch may hold an If again, whose condition inference finds */
        taken = false;
        for (int k = 0; k < g->node_count; k++) {
            const struct tensor *c =
                node_is(&g->nodes[k], "If") ? node_const(g, &g->nodes[k], 0) : NULL;
            if (c == NULL || c->data == NULL)
                continue;
            TRY(take_branch(g, k, tensor_get_i64(c, 0) != 0 ? "then_branch" : "else_branch", err));
            taken = true;
            k--; /* what follows has its number now */
        }
        if (taken)
            TRY(pass_infer(g, err));
    }
out:
    return code;
}
