/* ONNX's own operator tests through the passes and the executor, whole and in row tiles.
 *
 * All inputs but the first become constants, as weights are in real networks: so convolutions and
 * products run in the kernels that networks use, on feature maps, and shapes are folded. */
#include "tests/support/conformance.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/exec.h"
#include "graph/pass.h"

#include <stdio.h>
#include <string.h>

static enum cohort_code fix_inputs(struct conformance_case *c, struct cohort_error *err) {
    struct graph *g = c->graph;
    for (int i = 0; i < g->input_count; i++) {
        struct value *v = graph_value(g, g->inputs[i]);
        v->type = c->inputs[i].type;
        v->shape = c->inputs[i].shape; /* instead of symbolic dims */
        if (i == 0)
            continue;
        enum cohort_code code = tensor_copy(&v->constant, &c->inputs[i], err);
        if (code != COHORT_OK)
            return code;
        v->is_constant = true;
    }
    if (g->input_count > 1)
        g->input_count = 1;
    return COHORT_OK;
}

/* Row by row, or in seven tiles where that would take long. */
static int64_t tile_rows(const struct graph *g) {
    int64_t most = 1;
    for (int i = 0; i < g->node_count; i++) {
        const struct value *v = node_out(g, &g->nodes[i], 0);
        if (v != NULL && shape_known(&v->shape) && value_rows(v) > most)
            most = value_rows(v);
    }
    return most <= 64 ? 1 : (most + 6) / 7;
}

static bool same_bits(const struct tensor *a, const struct tensor *b) {
    return shape_equal(&a->shape, &b->shape) &&
           (tensor_bytes(a) == 0 || memcmp(a->data, b->data, tensor_bytes(a)) == 0);
}

static enum cohort_code run(struct conformance_case *c, void *context, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct pool *pool = context;
    struct graph *g = c->graph;
    struct pass_options passes = {0};
    struct exec_options options = {0};
    struct tensor rows[16] = {{0}};
    int outputs = g->output_count;
    if (outputs > 16)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "%d outputs", outputs);
    TRY(fix_inputs(c, err));
    TRY(graph_finish(g, &passes, err));
    TRY(exec_run_graph(g, pool, &options, 0, c->inputs, c->outputs, err));
    TRY(exec_run_graph(g, pool, &options, tile_rows(g), c->inputs, rows, err));
    for (int i = 0; i < outputs; i++)
        if (!same_bits(&c->outputs[i], &rows[i]))
            TRY(error_set(err, COHORT_ERR_INTERNAL, "output %d differs in row tiles", i));
out:
    for (int i = 0; i < outputs && i < 16; i++)
        tensor_release(&rows[i]);
    return code;
}

int main(void) {
    struct cohort_error err = {0};
    struct board board;
    struct board_options o = {.threads = 2, .local_size = 1};
    struct pool *pool = NULL;
    if (board_detect(&board, &o, &err) != COHORT_OK ||
        pool_create(&pool, &board, false, &err) != COHORT_OK) {
        printf("not ok 1 - the pool\n# %s\n1..1\n", err.message);
        return 1;
    }
    int status = conformance_main(run, pool);
    pool_destroy(&pool);
    return status;
}
