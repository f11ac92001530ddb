#include "profile/compute.h"

#include "base/mem.h"
#include "exec/signature.h"
#include "graph/op.h"
#include "kernels/plainops.h"

#include <string.h>

#define WIRE_FLOATS 250000 /* 10^6 bytes */
#define WIRE_TURNS  3

struct compute {
    struct graph *graph;
    struct pool *pool;
    struct program *program;
    int *ops;     /* [level * node_count + node]: the operator of the program, -1: none */
    int *list;    /* of a pass */
    double *took; /* by it */
    const struct plainops *plain;
};

static const int shares[COMPUTE_LEVELS] = {1, 2, 4, 8, 32};

double compute_share(int level) {
    return 1.0 / shares[level];
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Are all values that come and go float32 of a known shape, and all outputs of as many rows?  Other
 * operators run whole: what they find must be what they expect, not what an earlier pass left. */
static bool can_divide(const struct graph *g, const struct node *n) {
    int64_t rows = -1;
    for (int i = 0; i < n->in_count + n->out_count; i++) {
        const struct value *v =
            i < n->in_count ? node_in(g, n, i) : node_out(g, n, i - n->in_count);
        if (v == NULL || v->is_constant)
            continue;
        if (v->type != DT_F32 || !shape_known(&v->shape))
            return false;
        if (i < n->in_count)
            continue;
        if (rows >= 0 && value_rows(v) != rows)
            return false;
        rows = value_rows(v);
    }
    return rows > 0;
}

static int64_t all_rows(const struct graph *g, const struct node *n) {
    for (int k = 0; k < n->out_count; k++) {
        const struct value *v = node_out(g, n, k);
        if (v != NULL)
            return shape_known(&v->shape) ? value_rows(v) : 1;
    }
    return 0;
}

static int64_t rows_at(int64_t rows, int level) {
    return (rows + shares[level] - 1) / shares[level];
}

int64_t compute_rows(const struct graph *g, int node, int level) {
    const struct node *n = &g->nodes[node];
    int64_t rows = all_rows(g, n), part = rows_at(rows, level);
    if (level == 0)
        return rows;
    return can_divide(g, n) && part < rows_at(rows, level - 1) ? part : 0;
}

/* ---- making things up ------------------------------------------------------------------------ */

/* Is this constant read as it is, not only packed as some kernel's weights? */
static bool is_read(const struct graph *g, int id) {
    struct signature s;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->in_count; k++)
            if (n->in[k] == id && (k != 1 || !signature_of(g, n, &s)))
                return true;
    }
    return false;
}

/* Between 0.25 and 0.75: variances and divisors are positive.  Whole numbers are 0. */
static void fill(struct tensor *t) {
    float *to = t->data;
    size_t count = tensor_bytes(t) / sizeof *to;
    uint32_t state = 1;
    if (t->type != DT_F32)
        return;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        to[i] = 0.25f + (float)(state >> 8) / 33554432.0f;
    }
}

/* Large constants did not come with the graph. */
static enum cohort_code make_up_constants(struct graph *g, struct cohort_error *err) {
    for (int id = 0; id < g->value_count; id++) {
        struct value *v = graph_value(g, id);
        if (!v->is_constant || v->constant.data != NULL || v->type == DT_STRING ||
            shape_count(&v->constant.shape) == 0 || !is_read(g, id))
            continue;
        struct tensor t = {0};
        enum cohort_code code = tensor_init(&t, v->constant.type, &v->constant.shape, err);
        if (code != COHORT_OK)
            return code;
        fill(&t);
        v->constant = t;
    }
    return COHORT_OK;
}

static enum cohort_code fill_inputs(struct compute *c, const int *slots, struct cohort_error *err) {
    const struct graph *g = c->graph;
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        struct tensor t = {0};
        if (!shape_known(&v->shape))
            return error_set(err, COHORT_ERR_UNSUPPORTED,
                             "input '%s' has no fixed shape: --shape fixes it", v->name);
        enum cohort_code code = tensor_init(&t, v->type, &v->shape, err);
        if (code != COHORT_OK)
            return code;
        fill(&t);
        code = exec_slot_store(c->program, slots[g->inputs[i]], &t, err);
        tensor_release(&t);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

/* ---- the program ----------------------------------------------------------------------------- */

/* All levels' operators of a node, one behind the other, like tiles of it. */
static enum cohort_code add_node(struct compute *c, const int *slots, int node, int *ports,
                                 struct cohort_error *err) {
    const struct graph *g = c->graph;
    const struct node *n = &g->nodes[node];
    int *in = ports, *out = ports + n->in_count;
    int64_t all = all_rows(g, n);
    for (int k = 0; k < n->in_count; k++)
        in[k] = n->in[k] >= 0 && !g->values[n->in[k]].is_constant ? slots[n->in[k]] : -1;
    for (int k = 0; k < n->out_count; k++)
        out[k] = n->out[k] >= 0 ? slots[n->out[k]] : -1;
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        int *op = &c->ops[level * g->node_count + node];
        int64_t rows = compute_rows(g, node, level), begin = (all - rows) / 2;
        *op = -1;
        if (rows == 0 && level > 0)
            continue;
        enum cohort_code code =
            exec_add_op(c->program, node, (struct rows){begin, begin + rows}, in, out, op, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

static enum cohort_code add_nodes(struct compute *c, int *slots, struct cohort_error *err) {
    const struct graph *g = c->graph;
    enum cohort_code code = COHORT_OK;
    int most = 1;
    for (int i = 0; i < g->node_count; i++)
        if (g->nodes[i].in_count + g->nodes[i].out_count > most)
            most = g->nodes[i].in_count + g->nodes[i].out_count;
    int *ports = mem_alloc((size_t)most * sizeof *ports);
    if (ports == NULL)
        return error_memory(err, (size_t)most * sizeof *ports, "slots");
    TRY(exec_add_slots(c->program, slots, err));
    for (int i = 0; i < g->node_count; i++)
        TRY(add_node(c, slots, i, ports, err));
out:
    mem_free(ports);
    return code;
}

enum cohort_code compute_create(struct compute **out, struct graph *g, struct pool *pool,
                                const struct exec_options *options, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct exec_options o = *options;
    size_t nodes = (size_t)g->node_count + 1;
    int *slots = mem_zalloc((size_t)g->value_count + 1, sizeof *slots);
    struct compute *c = mem_zalloc(1, sizeof *c);
    o.zero_weights = true;
    o.cache_bytes = 0; /* strips: operators are timed one by one */
    if (c != NULL) {
        *c = (struct compute){.graph = g, .pool = pool};
        c->ops = mem_zalloc(COMPUTE_LEVELS * nodes, sizeof *c->ops);
        c->list = mem_zalloc(nodes, sizeof *c->list);
        c->took = mem_zalloc(nodes, sizeof *c->took);
    }
    if (slots == NULL || c == NULL || c->ops == NULL || c->list == NULL || c->took == NULL)
        TRY(error_memory(err, nodes * 64, "a profile"));
    TRY(make_up_constants(g, err));
    TRY(exec_create(&c->program, g, pool, &o, err));
    TRY(add_nodes(c, slots, err));
    TRY(exec_prepare(c->program, err));
    TRY(fill_inputs(c, slots, err));
    c->plain = kernel_choose_plain(kernel_isa_available(), o.kernel);
    *out = c;
    c = NULL;
out:
    mem_free(slots);
    compute_destroy(&c);
    return code;
}

void compute_destroy(struct compute **cc) {
    struct compute *c = *cc;
    if (c == NULL)
        return;
    exec_destroy(&c->program);
    mem_free(c->ops);
    mem_free(c->list);
    mem_free(c->took);
    mem_free(c);
    *cc = NULL;
}

/* ---- measuring ------------------------------------------------------------------------------- */

enum cohort_code compute_pass(struct compute *c, int level, double *ms, double *total_ms,
                              struct cohort_error *err) {
    const struct graph *g = c->graph;
    const int *ops = c->ops + level * g->node_count;
    int count = 0;
    for (int i = 0; i < g->node_count; i++) {
        if (ops[i] >= 0)
            c->list[count++] = ops[i];
        else if (!can_divide(g, &g->nodes[i])) /* others may need it to be right */
            c->list[count++] = c->ops[i];
    }
    enum cohort_code code = exec_run_timed(c->program, c->list, count, c->took, err);
    if (code != COHORT_OK)
        return code;
    double total = 0;
    for (int i = 0, k = 0; i < g->node_count; i++) {
        bool measured = ops[i] >= 0;
        if (!measured && can_divide(g, &g->nodes[i]))
            continue;
        if (measured && (ms[i] < 0 || c->took[k] < ms[i]))
            ms[i] = c->took[k];
        total += measured ? c->took[k] : 0;
        k++;
    }
    if (total_ms != NULL)
        *total_ms = total;
    return COHORT_OK;
}

bool compute_is_free(const struct compute *c, int node) {
    return strcmp(exec_op_kernel(c->program, c->ops[node]), "free") == 0;
}

struct wire_work {
    const struct compute *compute;
    float *floats;
    uint16_t *halves;
};

static void encode(void *context, int64_t item, int thread) {
    const struct wire_work *w = context;
    (void)item;
    (void)thread;
    w->compute->plain->float_to_half(w->floats, w->halves, WIRE_FLOATS);
}

static void decode(void *context, int64_t item, int thread) {
    const struct wire_work *w = context;
    (void)item;
    (void)thread;
    w->compute->plain->half_to_float(w->halves, w->floats, WIRE_FLOATS);
}

static double timed(struct pool *pool, pool_item_fn fn, void *context) {
    pool_dilate_begin(pool);
    double begin = pool_work_ms(pool);
    fn(context, 0, 0);
    double ms = pool_work_ms(pool) - begin;
    pool_dilate_end(pool);
    return ms;
}

enum cohort_code compute_wire(struct compute *c, double *encode_ms, double *decode_ms,
                              struct cohort_error *err) {
    struct wire_work w = {.compute = c};
    w.floats = mem_zalloc(WIRE_FLOATS, sizeof *w.floats);
    w.halves = mem_zalloc(WIRE_FLOATS, sizeof *w.halves);
    if (w.floats == NULL || w.halves == NULL) {
        mem_free(w.floats);
        mem_free(w.halves);
        return error_memory(err, WIRE_FLOATS * sizeof *w.floats, "a profile");
    }
    *encode_ms = *decode_ms = -1;
    for (int i = 0; i < WIRE_TURNS; i++) {
        double to = timed(c->pool, encode, &w), from = timed(c->pool, decode, &w);
        *encode_ms = *encode_ms < 0 || to < *encode_ms ? to : *encode_ms;
        *decode_ms = *decode_ms < 0 || from < *decode_ms ? from : *decode_ms;
    }
    mem_free(w.floats);
    mem_free(w.halves);
    return COHORT_OK;
}
