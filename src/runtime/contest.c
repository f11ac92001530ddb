/* The two programs of a contest, running them, and their operators' times; see contest.h. */
#include "runtime/contest.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

void contest_release(struct contest *c) {
    for (int s = 0; s < SIDES; s++)
        exec_destroy(&c->programs[s]);
    for (int s = 0; s < SIDES; s++)
        mem_free(c->named[s]);
    mem_free(c->entries);
    mem_free(c->slots);
    mem_free(c->item_of);
    mem_free(c->lost);
    mem_free(c->reach);
    for (int h = 0; h < HALVES; h++)
        for (int s = 0; s < SIDES; s++)
            mem_free(c->least[h][s]);
}

/* Large constants are with rank 0 alone, and measuring wants none of their contents; what only they
 * have in common with other boards is their size. */
static enum cohort_code stand_ins(const struct cohort_session *s, const struct program *p,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct signature ignored;
    for (int i = 0; s->owns_graph && i < exec_op_count(p); i++) {
        const struct node *n = &s->graph->nodes[exec_op_node(p, i)];
        bool packed = signature_of(s->graph, n, &ignored); /* by a kernel that reads no weights */
        for (int k = 0; k < n->in_count && !packed; k++) {
            struct value *v = n->in[k] >= 0 ? graph_value(s->graph, n->in[k]) : NULL;
            struct tensor zeros = {0};
            if (v == NULL || !v->is_constant || v->constant.data != NULL ||
                shape_count(&v->constant.shape) == 0)
                continue;
            TRY(tensor_init(&zeros, v->constant.type, &v->constant.shape, err));
            memset(zeros.data, 0, tensor_bytes(&zeros));
            v->constant = zeros;
        }
    }
out:
    return code;
}

static enum cohort_code store_inputs(const struct contest *c, struct program *p,
                                     struct cohort_error *err) {
    const struct graph *g = c->session->graph;
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < g->input_count && code == COHORT_OK; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        struct tensor zeros = {0};
        TRY(tensor_init(&zeros, v->type, &v->shape, err));
        memset(zeros.data, 0, tensor_bytes(&zeros));
        code = exec_slot_store(p, c->slots[g->inputs[i]], &zeros, err);
        tensor_release(&zeros);
    }
out:
    return code;
}

/* The kernels of a side, or the estimate's. */
static void name_kernels(struct contest *c, enum side side, bool estimate) {
    struct kernel_choice *named = c->named[side];
    int n = 0;
    for (int i = 0; i < c->count; i++) {
        const struct entry *e = &c->entries[i];
        int k = side == RIVAL && e->rival >= 0 ? e->rival : e->now;
        if (e->count > 0)
            named[n++] = (struct kernel_choice){.signature = c->items[i].signature,
                                                .kernel = e->names[estimate ? 0 : k]};
    }
    c->choices[side] = (struct kernel_choices){.items = named, .count = n};
}

enum cohort_code contest_make(struct contest *c, enum side side, bool estimate,
                              struct cohort_error *err) {
    struct cohort_session *s = c->session;
    struct exec_options o = session_exec_options(s);
    struct program *p = NULL;
    enum cohort_code code = COHORT_OK;
    o.zero_weights = true;
    o.choices = &c->choices[side];
    name_kernels(c, side, estimate);
    TRY(exec_create(&p, s->graph, s->pool, &o, err));
    TRY(exec_add_graph(p, 0, c->slots, err));
    for (int k = 0; k < SIDES; k++)
        if (c->programs[k] != NULL)
            TRY(exec_share_kernels(p, c->programs[k], NULL, err));
    TRY(stand_ins(s, p, err));
    TRY(exec_prepare(p, err));
    TRY(store_inputs(c, p, err));
    exec_destroy(&c->programs[side]);
    c->programs[side] = p;
    p = NULL;
out:
    exec_destroy(&p);
    return code;
}

void contest_find_reach(struct contest *c) {
    for (int i = 0; i < c->ops; i++) {
        int first[SIDES], count[SIDES];
        int64_t strip[SIDES];
        for (int s = 0; s < SIDES; s++)
            first[s] = exec_op_chain(c->programs[s], i, &count[s], &strip[s]);
        c->reach[i] = (struct reach){i, i + 1};
        if (first[OWN] == first[RIVAL] && count[OWN] == count[RIVAL] && strip[OWN] == strip[RIVAL])
            continue;
        for (int s = 0; s < SIDES; s++) {
            struct reach *r = &c->reach[i];
            r->first = first[s] < r->first ? first[s] : r->first;
            r->end = first[s] + count[s] > r->end ? first[s] + count[s] : r->end;
        }
    }
}

static enum cohort_code open_network(struct contest *c, struct cohort_error *err) {
    struct cohort_session *s = c->session;
    const struct graph *g = s->graph;
    enum cohort_code code = COHORT_OK;
    size_t nodes = (size_t)g->node_count + 1;
    c->slots = mem_zalloc((size_t)g->value_count + 1, sizeof *c->slots);
    c->item_of = mem_zalloc(nodes, sizeof *c->item_of);
    for (int k = 0; k < SIDES; k++)
        c->named[k] = mem_zalloc((size_t)c->count + 1, sizeof **c->named);
    if (c->slots == NULL || c->item_of == NULL || c->named[OWN] == NULL || c->named[RIVAL] == NULL)
        return error_memory(err, nodes * sizeof *c->item_of, "measurements");
    for (int i = 0; i < g->node_count; i++) {
        struct signature sig;
        c->item_of[i] = -1;
        if (!signature_of(g, &g->nodes[i], &sig))
            continue;
        signature_set_options(&sig, s->options.weights_type == COHORT_WEIGHTS_F16,
                              s->options.arithmetic == COHORT_ARITHMETIC_F16);
        for (int k = 0; k < c->count && c->item_of[i] < 0; k++)
            if (signature_equal(&c->items[k].signature, &sig))
                c->item_of[i] = k;
    }
    TRY(contest_make(c, OWN, true, err));
    c->ops = exec_op_count(c->programs[OWN]);
    size_t ops = (size_t)c->ops + 1;
    bool ok = (c->lost = mem_zalloc(ops, sizeof *c->lost)) != NULL &&
              (c->reach = mem_zalloc(ops, sizeof *c->reach)) != NULL;
    for (int h = 0; h < HALVES; h++)
        for (int k = 0; k < SIDES; k++)
            ok = ok && (c->least[h][k] = mem_zalloc(ops, sizeof(double))) != NULL;
    if (!ok)
        code = error_memory(err, ops * sizeof(double), "measurements");
out:
    return code;
}

int contest_node(const struct contest *c, int op) {
    return exec_op_node(c->programs[OWN], op);
}

/* ---- running it ------------------------------------------------------------------------------ */

/* Does an operator read what one that cannot run should have made? */
static bool follows_lost(const struct contest *c, int op) {
    const struct graph *g = c->session->graph;
    const struct node *n = &g->nodes[contest_node(c, op)];
    for (int before = 0; before < op; before++) {
        const struct node *m = &g->nodes[contest_node(c, before)];
        for (int k = 0; c->lost[before] && k < m->out_count; k++)
            for (int i = 0; i < n->in_count; i++)
                if (m->out[k] >= 0 && n->in[i] == m->out[k] &&
                    !shape_known(&graph_value(g, m->out[k])->shape))
                    return true;
    }
    return false;
}

/* The first run: what depends on numbers may not work with zeros, and is left out from then on. */
static enum cohort_code first_run(struct contest *c, struct cohort_error *err) {
    struct cohort_error local;
    for (int i = 0, count; i < c->ops; i += count) { /* operators in strips are never lost */
        double ms[EXEC_CHAIN_MOST];
        count = 1;
        enum cohort_code code = follows_lost(c, i)
                                    ? COHORT_ERR_SHAPE
                                    : exec_run_each(c->programs[OWN], i, ms, &count, &local);
        c->lost[i] = code != COHORT_OK;
        if (code == COHORT_ERR_MEMORY)
            return error_set(err, code, "%s", local.message);
    }
    return COHORT_OK;
}

enum cohort_code contest_run(struct contest *c, enum side side, int half,
                             struct cohort_error *err) {
    double *least = c->least[half][side], ms[EXEC_CHAIN_MOST];
    for (int i = 0, count; i < c->ops; i += count) {
        count = 1;
        if (c->lost[i])
            continue;
        enum cohort_code code = exec_run_each(c->programs[side], i, ms, &count, err);
        if (code != COHORT_OK)
            return code;
        for (int k = 0; k < count; k++)
            if (least[i + k] <= 0 || ms[k] < least[i + k])
                least[i + k] = ms[k];
    }
    return COHORT_OK;
}

void contest_forget_times(struct contest *c) {
    for (int h = 0; h < HALVES; h++)
        for (int s = 0; s < SIDES; s++)
            memset(c->least[h][s], 0, (size_t)c->ops * sizeof(double));
}

double contest_item_ms(const struct contest *c, int item, int half, enum side side) {
    double ms = 0;
    for (int i = 0; i < c->ops; i++)
        if (c->item_of[contest_node(c, i)] == item)
            ms += c->least[half][side][i];
    return ms;
}

double contest_reach_ms(const struct contest *c, int item, int half, enum side side) {
    double ms = 0;
    int done = 0;
    for (int i = 0; i < c->ops; i++) {
        if (c->item_of[contest_node(c, i)] != item)
            continue;
        done = c->reach[i].first > done ? c->reach[i].first : done;
        for (; done < c->reach[i].end; done++)
            ms += c->least[half][side][done];
    }
    return ms;
}

enum cohort_code contest_open(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = open_network(c, err);
    return code == COHORT_OK ? first_run(c, err) : code;
}
