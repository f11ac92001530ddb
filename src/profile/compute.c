#include "profile/compute.h"

#include "base/mem.h"
#include "exec/chain.h"
#include "exec/signature.h"
#include "graph/op.h"
#include "kernels/plainops.h"

#include <string.h>

#define WIRE_FLOATS 250000 /* 10^6 bytes */
#define WIRE_TURNS  3

/* An operator of the program in a pass, and what its time is. */
struct turn {
    int op, node;
    enum { NOTHING, ALONE, CHAIN } what;
};

struct compute {
    struct graph *graph;
    struct pool *pool;
    struct program *program;
    int *alone;         /* [level * node_count + node]: the operator by itself; -1: none */
    int *tile;          /* likewise: as a board runs it that has so many rows of everything, … */
    int *chain;         /* … and how many operators are one chain from it on (compute_chain()) */
    struct turn *turns; /* of a pass */
    int *list;
    double *took;               /* by it */
    double pass_ms, chained_ms; /* of the last pass */
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

static struct rows part_of_rows(const struct graph *g, const struct node *n, int level) {
    const int64_t all = all_rows(g, n), rows = rows_at(all, level), begin = (all - rows) / 2;
    return (struct rows){begin, begin + rows};
}

/* Rows of every value that operators which can be divided make or read at a level, alone and in
 * chains of any length, which compute a few more. */
static void find_tile_rows(const struct graph *g, int level, struct rows *rows) {
    memset(rows, 0, (size_t)g->value_count * sizeof *rows);
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].out_count && can_divide(g, &g->nodes[i]); k++)
            if (g->nodes[i].out[k] >= 0)
                rows[g->nodes[i].out[k]] = part_of_rows(g, &g->nodes[i], level);
    for (int turn = 0; turn < CHAIN_MOST; turn++)
        for (int i = 0; i < g->node_count; i++) {
            const struct node *n = &g->nodes[i];
            struct rows out = {0, 0};
            if (!can_divide(g, n))
                continue;
            for (int k = 0; k < n->out_count; k++)
                if (n->out[k] >= 0)
                    out = rows_hull(out, rows[n->out[k]]);
            for (int k = 0; k < n->in_count; k++) {
                if (n->in[k] < 0 || graph_value(g, n->in[k])->is_constant)
                    continue;
                struct rows need = rows_needed(n, k, out);
                if (rows_empty(need)) /* there is no telling */
                    need = (struct rows){0, value_rows(graph_value(g, n->in[k]))};
                rows[n->in[k]] = rows_hull(rows[n->in[k]], need);
            }
        }
}

void compute_chain_rows(const struct graph *g, int first, int count, int level, struct rows *rows) {
    rows[count - 1] = part_of_rows(g, &g->nodes[first + count - 1], level);
    for (int i = count - 1; i > 0; i--)
        rows[i - 1] = rows_needed(&g->nodes[first + i], 0, rows[i]);
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

enum cohort_code compute_make_up(struct graph *g, struct cohort_error *err) {
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

/* Operators one by one: all levels of a node, one behind the other, like tiles of it. */
static enum cohort_code add_alone(struct compute *c, int *slots, struct cohort_error *err) {
    const struct graph *g = c->graph;
    enum cohort_code code = COHORT_OK;
    TRY(exec_add_slots(c->program, NULL, 0, slots, err));
    for (int i = 0; i < g->node_count; i++)
        for (int level = 0; level < COMPUTE_LEVELS; level++) {
            if (level > 0 && compute_rows(g, i, level) == 0)
                continue;
            TRY(exec_add_node(c->program, i, part_of_rows(g, &g->nodes[i], level), slots,
                              &c->alone[level * g->node_count + i], err));
            exec_range_ends(c->program); /* no chains here */
        }
out:
    return code;
}

/* What a board runs that has a level's rows of everything, in memory of its own. */
static enum cohort_code add_tiles(struct compute *c, int level, int *slots, struct rows *rows,
                                  struct cohort_error *err) {
    const struct graph *g = c->graph;
    enum cohort_code code = COHORT_OK;
    find_tile_rows(g, level, rows);
    TRY(exec_add_slots(c->program, rows, (level + 1) * (g->node_count + 1), slots, err));
    for (int i = 0; i < g->node_count; i++) {
        if (can_divide(g, &g->nodes[i]))
            TRY(exec_add_node(c->program, i, part_of_rows(g, &g->nodes[i], level), slots,
                              &c->tile[level * g->node_count + i], err));
        else
            exec_range_ends(c->program);
    }
    exec_range_ends(c->program);
out:
    return code;
}

static void find_chains(struct compute *c) {
    const int count = COMPUTE_LEVELS * c->graph->node_count;
    for (int i = 0; i < count; i++) {
        int length = 0;
        int64_t strip;
        if (c->tile[i] >= 0 && exec_op_chain(c->program, c->tile[i], &length, &strip) < c->tile[i])
            length = 0;
        c->chain[i] = length;
    }
}

enum cohort_code compute_create(struct compute **out, struct graph *g, struct pool *pool,
                                const struct exec_options *options, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct exec_options o = *options;
    const size_t nodes = (size_t)g->node_count + 1, values = (size_t)g->value_count + 1;
    int *slots = mem_zalloc(values, sizeof *slots), *tile_slots = mem_zalloc(values, sizeof *slots);
    struct rows *rows = mem_zalloc(values, sizeof *rows);
    struct compute *c = mem_zalloc(1, sizeof *c);
    o.zero_weights = true;
    if (c != NULL) {
        *c = (struct compute){.graph = g, .pool = pool};
        c->alone = mem_alloc(COMPUTE_LEVELS * nodes * sizeof *c->alone);
        c->tile = mem_alloc(COMPUTE_LEVELS * nodes * sizeof *c->tile);
        c->chain = mem_zalloc(COMPUTE_LEVELS * nodes, sizeof *c->chain);
        c->turns = mem_zalloc(2 * nodes, sizeof *c->turns);
        c->list = mem_zalloc(2 * nodes, sizeof *c->list);
        c->took = mem_zalloc(2 * nodes, sizeof *c->took);
    }
    if (slots == NULL || tile_slots == NULL || rows == NULL || c == NULL || c->alone == NULL ||
        c->tile == NULL || c->chain == NULL || c->turns == NULL || c->list == NULL ||
        c->took == NULL)
        TRY(error_memory(err, nodes * 64, "a profile"));
    for (size_t i = 0; i < COMPUTE_LEVELS * nodes; i++)
        c->alone[i] = c->tile[i] = -1;
    TRY(compute_make_up(g, err));
    TRY(exec_create(&c->program, g, pool, &o, err));
    TRY(add_alone(c, slots, err));
    for (int level = 0; level < COMPUTE_LEVELS; level++)
        TRY(add_tiles(c, level, tile_slots, rows, err));
    TRY(exec_prepare(c->program, err));
    TRY(fill_inputs(c, slots, err));
    find_chains(c);
    c->plain = kernel_choose_plain(kernel_isa_available(), o.kernel);
    *out = c;
    c = NULL;
out:
    mem_free(slots);
    mem_free(tile_slots);
    mem_free(rows);
    compute_destroy(&c);
    return code;
}

void compute_destroy(struct compute **cc) {
    struct compute *c = *cc;
    if (c == NULL)
        return;
    exec_destroy(&c->program);
    mem_free(c->alone);
    mem_free(c->tile);
    mem_free(c->chain);
    mem_free(c->turns);
    mem_free(c->list);
    mem_free(c->took);
    mem_free(c);
    *cc = NULL;
}

/* ---- measuring ------------------------------------------------------------------------------- */

int compute_chain(const struct compute *c, int level, int node) {
    return c->chain[level * c->graph->node_count + node];
}

/* Is anything of the chain new at this level? */
static bool chain_is_new(const struct compute *c, int level, int first) {
    for (int i = first; i < first + compute_chain(c, level, first); i++)
        if (compute_rows(c->graph, i, level) > 0)
            return true;
    return false;
}

static int add_turn(struct compute *c, int count, struct turn t) {
    c->turns[count] = t;
    c->list[count] = t.op;
    return count + 1;
}

/* As the network runs; returns how many turns that takes. */
static int list_tiles(struct compute *c, int level) {
    const struct graph *g = c->graph;
    const int *tile = c->tile + level * g->node_count;
    int count = 0;
    for (int i = 0; i < g->node_count; i++) {
        const int chain = compute_chain(c, level, i);
        if (tile[i] < 0) /* runs whole at every level: others may need it to be right */
            count = add_turn(c, count, (struct turn){c->alone[i], i, level == 0 ? ALONE : NOTHING});
        else if (chain == 1 && compute_rows(g, i, level) > 0)
            count = add_turn(c, count, (struct turn){tile[i], i, ALONE});
        else if (chain > 1 && chain_is_new(c, level, i))
            count = add_turn(c, count, (struct turn){tile[i], i, CHAIN});
    }
    return count;
}

/* Operators of chains, one by one. */
static int list_alone(struct compute *c, int level, int count) {
    const struct graph *g = c->graph;
    const int *alone = c->alone + level * g->node_count, *tile = c->tile + level * g->node_count;
    for (int i = 0; i < g->node_count; i++)
        if (tile[i] >= 0 && alone[i] >= 0 && compute_chain(c, level, i) != 1)
            count = add_turn(c, count, (struct turn){alone[i], i, ALONE});
    return count;
}

/* Where all rows are computed. */
static bool is_chained(const struct compute *c, int node) {
    return c->tile[node] >= 0 && compute_chain(c, 0, node) != 1;
}

static void keep_least(double *least, double ms) {
    if (*least < 0 || ms < *least)
        *least = ms;
}

enum cohort_code compute_pass(struct compute *c, int level, bool one_by_one, double *ms,
                              double *chained_ms, struct cohort_error *err) {
    const int tiles = list_tiles(c, level);
    const int count = one_by_one ? list_alone(c, level, tiles) : tiles;
    enum cohort_code code = exec_run_timed(c->program, c->list, count, c->took, err);
    c->pass_ms = c->chained_ms = 0;
    for (int i = 0; i < count && code == COHORT_OK; i++) {
        const struct turn *t = &c->turns[i];
        if (i < tiles && t->what != NOTHING) {
            c->pass_ms += c->took[i];
            c->chained_ms += is_chained(c, t->node) ? c->took[i] : 0;
        }
        if (t->what == ALONE)
            keep_least(&ms[t->node], c->took[i]);
        else if (t->what == CHAIN && chained_ms != NULL)
            keep_least(&chained_ms[t->node], c->took[i]);
    }
    return code;
}

double compute_pass_ms(const struct compute *c) {
    return c->pass_ms;
}

double compute_chained_share(const struct compute *c) {
    return c->pass_ms > 0 ? c->chained_ms / c->pass_ms : 0;
}

bool compute_is_free(const struct compute *c, int node) {
    const int op = compute_chain(c, 0, node) == 1 ? c->tile[node] : c->alone[node];
    return strcmp(exec_op_kernel(c->program, op), "free") == 0;
}

size_t compute_weights(const struct compute *c, int node) {
    return exec_node_weights(c->program, node);
}

size_t compute_workspace(const struct compute *c) {
    return exec_memory(c->program).workspace_bytes;
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
