/* The whole graph on one board, whole or in row tiles: for tests, and where no session is wanted.
 */
#include "exec/lower.h"

#include <string.h>

enum cohort_code exec_add_slots(struct program *p, int *slot, struct cohort_error *err) {
    const struct graph *g = p->graph;
    for (int id = 0; id < g->value_count; id++)
        slot[id] = -1;
    for (int i = 0; i < g->input_count + g->output_count; i++) {
        int id = i < g->input_count ? g->inputs[i] : g->outputs[i - g->input_count];
        const struct value *v = graph_value(g, id);
        struct rows all = {0, shape_known(&v->shape) ? value_rows(v) : 1};
        if (slot[id] >= 0)
            continue;
        enum cohort_code code = exec_add_slot(p, id, all, 0, g->node_count, true, &slot[id], err);
        if (code != COHORT_OK)
            return code;
    }
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].out_count; k++) {
            int id = g->nodes[i].out[k], last = i;
            if (id < 0 || slot[id] >= 0)
                continue;
            for (int j = i + 1; j < g->node_count; j++)
                for (int q = 0; q < g->nodes[j].in_count; q++)
                    if (g->nodes[j].in[q] == id)
                        last = j;
            const struct value *v = graph_value(g, id);
            struct rows all = {0, shape_known(&v->shape) ? value_rows(v) : 1};
            enum cohort_code code = exec_add_slot(p, id, all, i, last, false, &slot[id], err);
            if (code != COHORT_OK)
                return code;
        }
    return COHORT_OK;
}

static enum cohort_code add_node_ops(struct program *p, const int *slot, int node, int64_t tile,
                                     int *ports, struct cohort_error *err) {
    const struct graph *g = p->graph;
    const struct node *n = &g->nodes[node];
    int *in = ports, *out = ports + n->in_count;
    const struct value *first = NULL;
    bool alike = true; /* tiles only when all outputs have the same rows */
    for (int k = 0; k < n->in_count; k++)
        in[k] = n->in[k] >= 0 && !g->values[n->in[k]].is_constant ? slot[n->in[k]] : -1;
    for (int k = 0; k < n->out_count; k++) {
        out[k] = n->out[k] >= 0 ? slot[n->out[k]] : -1;
        const struct value *v = node_out(g, n, k);
        if (v == NULL)
            continue;
        alike = alike && shape_known(&v->shape) &&
                (first == NULL || value_rows(first) == value_rows(v));
        first = first == NULL ? v : first;
    }
    int64_t rows = first != NULL && shape_known(&first->shape) ? value_rows(first) : 1;
    int64_t step = tile > 0 && alike ? tile : rows;
    if (rows == 0)
        return exec_add_op(p, node, (struct rows){0, 0}, in, out, NULL, err);
    for (int64_t y = 0; y < rows; y += step) {
        struct rows part = {y, y + step < rows ? y + step : rows};
        enum cohort_code code = exec_add_op(p, node, part, in, out, NULL, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

enum cohort_code exec_add_graph(struct program *p, int64_t tile_rows, int *slots,
                                struct cohort_error *err) {
    const struct graph *g = p->graph;
    enum cohort_code code = COHORT_OK;
    int most = 1;
    for (int i = 0; i < g->node_count; i++)
        if (g->nodes[i].in_count + g->nodes[i].out_count > most)
            most = g->nodes[i].in_count + g->nodes[i].out_count;
    int *ports = mem_alloc((size_t)most * sizeof *ports);
    if (ports == NULL)
        return error_memory(err, (size_t)most * sizeof *ports, "slots");
    TRY(exec_add_slots(p, slots, err));
    for (int i = 0; i < g->node_count; i++)
        TRY(add_node_ops(p, slots, i, tile_rows, ports, err));
out:
    mem_free(ports);
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
