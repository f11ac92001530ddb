/* The whole graph on one board, whole or in row tiles: for tests, and where no session is wanted.
 */
#include "exec/lower.h"

#include <string.h>

static struct rows all_rows(const struct value *v) {
    return (struct rows){0, shape_known(&v->shape) ? value_rows(v) : 1};
}

/* The last node that reads a value that node `maker` makes. */
static int last_reader(const struct graph *g, int id, int maker) {
    int last = maker;
    for (int j = maker + 1; j < g->node_count; j++)
        for (int k = 0; k < g->nodes[j].in_count; k++)
            if (g->nodes[j].in[k] == id)
                last = j;
    return last;
}

static enum cohort_code add_slot(struct program *p, const struct rows *rows, int id, int first,
                                 int last, bool pinned, int *slot, struct cohort_error *err) {
    struct rows r = rows != NULL ? rows[id] : all_rows(graph_value(p->graph, id));
    if (slot[id] >= 0 || (rows != NULL && rows_empty(r)))
        return COHORT_OK;
    return exec_add_slot(p, id, r, first, last, pinned, &slot[id], err);
}

enum cohort_code exec_add_slots(struct program *p, const struct rows *rows, int step, int *slot,
                                struct cohort_error *err) {
    const struct graph *g = p->graph;
    const bool pinned = rows == NULL;
    enum cohort_code code = COHORT_OK;
    for (int id = 0; id < g->value_count; id++)
        slot[id] = -1;
    for (int i = 0; i < g->input_count + g->output_count; i++) {
        int id = i < g->input_count ? g->inputs[i] : g->outputs[i - g->input_count];
        TRY(add_slot(p, rows, id, step, step + g->node_count, pinned, slot, err));
    }
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].out_count; k++) {
            int id = g->nodes[i].out[k];
            if (id >= 0)
                TRY(add_slot(p, rows, id, step + i, step + last_reader(g, id, i), false, slot,
                             err));
        }
out:
    return code;
}

enum cohort_code exec_add_node(struct program *p, int node, struct rows rows, const int *slots,
                               int *op, struct cohort_error *err) {
    const struct graph *g = p->graph;
    const struct node *n = &g->nodes[node];
    size_t count = (size_t)n->in_count + (size_t)n->out_count;
    int *ports = mem_alloc((count + 1) * sizeof *ports);
    if (ports == NULL)
        return error_memory(err, count * sizeof *ports, "slots");
    int *in = ports, *out = ports + n->in_count;
    for (int k = 0; k < n->in_count; k++)
        in[k] = n->in[k] >= 0 && !g->values[n->in[k]].is_constant ? slots[n->in[k]] : -1;
    for (int k = 0; k < n->out_count; k++)
        out[k] = n->out[k] >= 0 ? slots[n->out[k]] : -1;
    enum cohort_code code = exec_add_op(p, node, rows, in, out, op, err);
    mem_free(ports);
    return code;
}

static enum cohort_code add_tiles(struct program *p, const int *slot, int node, int64_t tile,
                                  struct cohort_error *err) {
    const struct graph *g = p->graph;
    const struct node *n = &g->nodes[node];
    const struct value *first = NULL;
    bool alike = true; /* tiles only when all outputs have the same rows */
    for (int k = 0; k < n->out_count; k++) {
        const struct value *v = node_out(g, n, k);
        if (v == NULL)
            continue;
        alike = alike && shape_known(&v->shape) &&
                (first == NULL || value_rows(first) == value_rows(v));
        first = first == NULL ? v : first;
    }
    int64_t rows = first != NULL ? rows_count(all_rows(first)) : 1;
    int64_t step = tile > 0 && alike ? tile : rows;
    if (rows == 0)
        return exec_add_node(p, node, (struct rows){0, 0}, slot, NULL, err);
    for (int64_t y = 0; y < rows; y += step) {
        struct rows part = {y, y + step < rows ? y + step : rows};
        enum cohort_code code = exec_add_node(p, node, part, slot, NULL, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

enum cohort_code exec_add_graph(struct program *p, int64_t tile_rows, int *slots,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(exec_add_slots(p, NULL, 0, slots, err));
    for (int i = 0; i < p->graph->node_count; i++)
        TRY(add_tiles(p, slots, i, tile_rows, err));
out:
    return code;
}

enum cohort_code exec_run_graph(const struct graph *g, struct pool *pool,
                                const struct exec_options *o, int64_t tile_rows,
                                const struct tensor *inputs, struct tensor *outputs,
                                struct cohort_error *err) {
    struct program *p = NULL;
    enum cohort_code code = COHORT_OK;
    int *slot = mem_zalloc((size_t)g->value_count + 1, sizeof *slot);
    if (slot == NULL)
        return error_memory(err, (size_t)g->value_count * sizeof *slot, "slots");
    TRY(exec_create(&p, g, pool, o, err));
    TRY(exec_add_graph(p, tile_rows, slot, err));
    TRY(exec_prepare(p, err));
    for (int i = 0; i < g->input_count; i++)
        TRY(exec_slot_store(p, slot[g->inputs[i]], &inputs[i], err));
    for (int i = 0; i < g->output_count; i++)
        if (graph_value(g, g->outputs[i])->is_constant)
            TRY(exec_slot_store(p, slot[g->outputs[i]], &graph_value(g, g->outputs[i])->constant,
                                err));
    TRY(exec_run(p, 0, p->op_count, err));
    for (int i = 0; i < g->output_count; i++)
        TRY(exec_slot_fetch(p, slot[g->outputs[i]], &outputs[i], err));
out:
    exec_destroy(&p);
    mem_free(slot);
    return code;
}
