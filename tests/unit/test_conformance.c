/* ONNX's own operator tests, node by node through op_infer() and op_eval(): no passes, no kernels.
 * See tests/support/conformance.h. */
#include "tests/support/conformance.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

#define PORTS_MAX 32

/* values: a tensor per value of the graph, filled in as nodes run. */
static enum cohort_code run_node(struct node *n, struct tensor *values, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct tensor *in[PORTS_MAX] = {NULL};
    struct tensor out[PORTS_MAX] = {{0}}, *outs[PORTS_MAX] = {NULL};
    if (n->in_count > PORTS_MAX || n->out_count > PORTS_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d inputs or outputs", PORTS_MAX);
    for (int i = 0; i < n->in_count; i++)
        in[i] = n->in[i] < 0 ? NULL : &values[n->in[i]];
    TRY(op_infer(n, in, out, err));
    for (int i = 0; i < n->out_count; i++) {
        struct tensor made = {0};
        TRY(tensor_init(&made, out[i].type, &out[i].shape, err));
        memset(made.data, 0x5a, tensor_bytes(&made)); /* what eval() leaves alone shows */
        out[i] = made;
        outs[i] = &out[i];
    }
    TRY(op_eval(n, in, outs, err));
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0) {
            values[n->out[i]] = out[i];
            out[i] = (struct tensor){0};
        }
out:
    for (int i = 0; i < n->out_count && i < PORTS_MAX; i++)
        tensor_release(&out[i]);
    return code == COHORT_OK ? code : error_wrap(err, "%s", n->op->name);
}

static enum cohort_code run(struct conformance_case *c, void *context, struct cohort_error *err) {
    (void)context;
    enum cohort_code code = COHORT_OK;
    struct graph *g = c->graph;
    struct tensor *values = mem_zalloc((size_t)g->value_count + 1, sizeof *values);
    if (values == NULL)
        return error_memory(err, sizeof *values, "values");
    for (int i = 0; i < g->input_count; i++) {
        values[g->inputs[i]] = c->inputs[i];
        values[g->inputs[i]].owned = false;
    }
    for (int i = 0; i < g->value_count; i++)
        if (graph_value(g, i)->is_constant) /* the copy is aligned */
            TRY(tensor_copy(&values[i], &graph_value(g, i)->constant, err));
    for (int i = 0; i < g->node_count; i++)
        TRY(run_node(&g->nodes[i], values, err));
    for (int i = 0; i < g->output_count; i++)
        TRY(tensor_copy(&c->outputs[i], &values[g->outputs[i]], err));
out:
    for (int i = 0; i < g->value_count; i++)
        tensor_release(&values[i]);
    mem_free(values);
    return code;
}

int main(void) {
    return conformance_main(run, NULL);
}
