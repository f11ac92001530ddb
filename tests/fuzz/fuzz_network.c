/* A libFuzzer target for networks: whatever an ONNX file says, inference of shapes, folding and all
 * passes end with an error of one line or a graph that can be used, and every operator of a small
 * graph computes something or says why not, from inputs with NaN, infinity and absurd indices among
 * them.  A hash of the bytes chooses: all passes, or none and then a run of every node. */
#include "tests/fuzz/fuzz.h"

#include "graph/onnx/onnx.h"
#include "graph/op.h"
#include "graph/pass.h"

#include <math.h>

#define MOST_NODES    32
#define MOST_ELEMENTS 4096 /* of a value that is computed */
/* Of graph_finish(): folding writes out what is small, never what a few bytes can claim. */
#define MOST_BYTES ((size_t)128 << 20)

static const double interesting[] = {0, 1, -1, 2, 0.5, 3, -2, 7, 255, -128, 1e30, -1e-40, 1e9};

static double draw(unsigned *seed, bool is_float) {
    *seed = *seed * 1103515245u + 12345u;
    unsigned k = (*seed >> 16) % 64;
    if (is_float && k == 63)
        return NAN;
    if (is_float && k == 62)
        return k % 2 != 0 ? -INFINITY : INFINITY;
    if (k < sizeof interesting / sizeof interesting[0])
        return interesting[k];
    return is_float ? (double)k / 16 - 2 : (double)(k % 4);
}

static bool small(const struct shape *s) {
    int64_t count = shape_count(s);
    return count >= 0 && count <= MOST_ELEMENTS;
}

struct run {
    struct graph *g;
    struct tensor *values; /* one per value; empty until it is computed */
    unsigned seed;
};

static bool make_inputs(struct run *r) {
    struct cohort_error err = {0};
    for (int i = 0; i < r->g->input_count; i++) {
        const struct value *v = graph_value(r->g, r->g->inputs[i]);
        struct tensor *t = &r->values[r->g->inputs[i]];
        if (!small(&v->shape) || dtype_bytes(v->type) == 0 || t->data != NULL || v->is_constant)
            return false;
        if (tensor_init(t, v->type, &v->shape, &err) != COHORT_OK)
            return false;
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_set_f64(t, k, draw(&r->seed, dtype_is_float(v->type)));
    }
    return true;
}

/* Aligned copies of a node's inputs, NULL for those left out. */
static bool gather(const struct run *r, const struct node *n, struct tensor *copies,
                   const struct tensor **in) {
    struct cohort_error err = {0};
    for (int i = 0; i < n->in_count; i++) {
        if (n->in[i] < 0)
            continue;
        const struct value *v = graph_value(r->g, n->in[i]);
        const struct tensor *t = v->is_constant ? &v->constant : &r->values[n->in[i]];
        if (t->data == NULL || dtype_bytes(t->type) == 0 || !small(&t->shape) ||
            tensor_copy(&copies[i], t, &err) != COHORT_OK)
            return false;
        in[i] = &copies[i];
    }
    return true;
}

static bool make_outputs(const struct node *n, struct tensor *made, struct tensor **out) {
    struct cohort_error err = {0};
    for (int i = 0; i < n->out_count; i++) {
        struct shape shape = made[i].shape;
        if (!small(&shape) || tensor_init(&made[i], made[i].type, &shape, &err) != COHORT_OK)
            return false;
        out[i] = &made[i];
    }
    return true;
}

static bool run_node(struct run *r, struct node *n) {
    struct cohort_error err = {0};
    size_t inputs = (size_t)n->in_count, outputs = (size_t)n->out_count;
    struct tensor *copies = mem_zalloc(inputs + 1, sizeof *copies);
    struct tensor *made = mem_zalloc(outputs + 1, sizeof *made);
    const struct tensor **in = mem_zalloc(inputs + 1, sizeof *in);
    struct tensor **out = mem_zalloc(outputs + 1, sizeof *out);
    bool ok =
        copies != NULL && made != NULL && in != NULL && out != NULL && gather(r, n, copies, in);
    if (ok) {
        enum cohort_code code = op_infer(n, in, made, &err);
        ok = code == COHORT_OK && make_outputs(n, made, out);
        if (code == COHORT_OK && ok)
            code = op_eval(n, in, out, &err);
        if (code != COHORT_OK)
            fuzz_check_error(code, &err);
        ok = ok && code == COHORT_OK;
    }
    for (size_t i = 0; copies != NULL && i < inputs; i++)
        tensor_release(&copies[i]);
    for (size_t i = 0; made != NULL && i < outputs; i++) {
        if (ok && n->out[i] >= 0 && r->values[n->out[i]].data == NULL)
            r->values[n->out[i]] = made[i];
        else
            tensor_release(&made[i]);
    }
    mem_free(copies);
    mem_free(made);
    mem_free(in);
    mem_free(out);
    return ok;
}

static void run_graph(struct graph *g, unsigned seed) {
    struct run r = {g, mem_zalloc((size_t)g->value_count + 1, sizeof *r.values), seed};
    if (r.values == NULL)
        return;
    bool ok = make_inputs(&r);
    for (int i = 0; ok && i < g->node_count; i++)
        ok = run_node(&r, &g->nodes[i]);
    for (int i = 0; i < g->value_count; i++)
        tensor_release(&r.values[i]);
    mem_free(r.values);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct graph *g = NULL;
    if (size == 0 || onnx_load_memory(&g, data, size, NULL, &err) != COHORT_OK)
        return 0; /* the reader has a target of its own */
    unsigned seed = 1;
    for (size_t i = 0; i < size; i++)
        seed = seed * 31 + data[i];
    size_t peak = mem_peak_bytes();
    bool keep = seed % 4 != 0;
    enum cohort_code code = graph_finish(g, &(struct pass_options){.keep = keep}, &err);
    if (code != COHORT_OK)
        fuzz_check_error(code, &err);
    BUG_UNLESS(mem_peak_bytes() == peak || mem_peak_bytes() < MOST_BYTES + 1000 * size);
    if (code == COHORT_OK && keep && g->node_count <= MOST_NODES)
        run_graph(g, seed);
    graph_destroy(&g);
    BUG_UNLESS(mem_live_blocks() == 0);
    return 0;
}
