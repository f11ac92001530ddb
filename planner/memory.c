/* How much memory a plan takes on each board: activations in one arena, by lifetime as the runtime
 * has them, the weights of every operator that the board runs, or of its slices, and what sums over
 * boards are added up in. */
#include "planner/replay.h"

#include "base/mem.h"
#include "exec/arena.h"

#include <math.h>
#include <string.h>

/* Tensors of one board. */
struct tally {
    struct arena_item *items;
    size_t count, capacity;
};

/* Which part of a node a board runs. */
struct run_part {
    double share;       /* 0: none of it */
    double begins;      /* … after so much of the channels, */
    enum plan_mode way; /* divided so; PLAN_TILE: not by channels, all weights */
};

struct ledger {
    struct replay r;
    struct tally *boards;
    struct run_part *runs; /* per board and node */
    double *addends;       /* per board: memory of sums' transfers, which stays */
};

static struct run_part *run_of(const struct ledger *l, int b, int k) {
    return &l->runs[(size_t)b * (size_t)l->r.m->g->node_count + (size_t)k];
}

static enum cohort_code enter(struct tally *t, double bytes, int first, int last,
                              struct cohort_error *err) {
    if (!(bytes > 0))
        return COHORT_OK;
    if (!MEM_GROW(t->items, t->capacity, t->count))
        return error_memory(err, t->count * sizeof *t->items, "a plan's memory");
    t->items[t->count++] =
        (struct arena_item){.bytes = (size_t)bytes, .first = first, .last = last};
    return COHORT_OK;
}

static double bytes_of(const struct ledger *l, int value, struct rows rows) {
    return (double)rows_count(rows) * l->r.m->values[value].row_bytes;
}

/* The last node of [first, end) that reads `id`; `otherwise` when none does. */
static int last_reader(const struct graph *g, int first, int end, int id, int otherwise) {
    for (int k = end - 1; k >= first; k--)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            if (g->nodes[k].in[i] == id)
                return k;
    return otherwise;
}

/* What board b gets for the segment beyond what it holds, until it is read: both are one piece. */
static enum cohort_code enter_inputs(struct ledger *l, int b, struct cohort_error *err) {
    const struct replay *r = &l->r;
    const struct rows *need = demand_need(&r->w, b);
    for (int i = 0; i < r->input_count; i++) {
        const int id = r->inputs[i];
        const struct rows have = layout_rows(r->m, &r->where[id], id, b);
        if (rows_empty(need[id]) || (need[id].begin >= have.begin && need[id].end <= have.end))
            continue;
        const enum cohort_code code =
            enter(&l->boards[b], bytes_of(l, id, rows_hull(have, need[id])) - bytes_of(l, id, have),
                  r->first, last_reader(r->m->g, r->first, r->end, id, r->first), err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

/* What it makes, until the last operator here or (where it stays) anywhere has read it. */
static enum cohort_code enter_made(struct ledger *l, int b, struct cohort_error *err) {
    const struct replay *r = &l->r;
    const struct cost_model *m = r->m;
    const struct plan_segment *s = &r->plan->segments[r->segment];
    const struct rows *need = demand_need(&r->w, b);
    for (int k = r->first; k < r->end; k++)
        for (int i = 0; i < m->g->nodes[k].out_count; i++) {
            const int id = m->g->nodes[k].out[i];
            if (id < 0)
                continue;
            const bool leaves = m->values[id].last_use >= r->end;
            const bool gathered = leaves && s->output == PLAN_TO_ROOT;
            struct rows rows = need[id];
            int last = leaves && !gathered ? m->values[id].last_use
                                           : last_reader(m->g, r->first, r->end, id, k);
            if (gathered) {
                last = b == 0 ? m->values[id].last_use : r->end;
                if (b == 0)
                    rows = (struct rows){0, m->values[id].rows};
            }
            if (!rows_empty(need[id]))
                *run_of(l, b, k) = (struct run_part){.share = 1, .way = PLAN_TILE};
            if ((b == 0 && m->values[id].last_use == m->g->node_count) || /* enter_root() */
                cost_is_inside(m, b, k, r->end, id))
                continue;
            const enum cohort_code code = enter(&l->boards[b], bytes_of(l, id, rows), k, last, err);
            if (code != COHORT_OK)
                return code;
        }
    return COHORT_OK;
}

static bool gets(const struct channel_run *run, int b) {
    return run->output == PLAN_TO_ALL || (run->output == PLAN_TO_ROOT && b == 0);
}

/* By channels: its channels of what is made, until others in the segment, or later ones, have read
 * them or they were put together; an addend, which the others' are added to. */
static enum cohort_code enter_slices(struct ledger *l, int b, struct cohort_error *err) {
    const struct replay *r = &l->r;
    const struct cost_model *m = r->m;
    enum cohort_code code = COHORT_OK;
    const int64_t *split = r->run.split;
    const bool sum = plan_adds_up(r->mode), has = split[b + 1] > split[b];
    const double share = has ? channel_share(m, &r->run, b) : 0;
    const double of = (double)split[m->boards];
    for (int k = r->first; k < r->end && code == COHORT_OK; k++) {
        const int id = m->g->nodes[k].out[0];
        const bool leaves = m->values[id].last_use >= r->end;
        const double whole = bytes_of(l, id, (struct rows){0, m->values[id].rows});
        *run_of(l, b, k) = (struct run_part){
            .share = share, .begins = of > 0 ? (double)split[b] / of : 0, .way = r->mode};
        TRY(enter(&l->boards[b], channel_copy_bytes(m, &r->run, b), k, k, err));
        if (sum ? !has && !gets(&r->run, b) : !has || cost_is_inside(m, b, k, r->end, id))
            continue;
        int last = leaves && r->run.output == PLAN_STAY
                       ? m->values[id].last_use
                       : last_reader(m->g, r->first, r->end, id, k);
        if (leaves && r->run.output != PLAN_STAY)
            last = r->end - 1;
        code =
            enter(&l->boards[b], sum ? whole : channel_run_bytes(m, &r->run, id, b), k, last, err);
    }
out:
    return code;
}

/* What is whole again, on a board that gets it. */
static enum cohort_code enter_joined(struct ledger *l, int b, struct cohort_error *err) {
    const struct replay *r = &l->r;
    const struct cost_model *m = r->m;
    const int id = r->move.value;
    if (!gets(&r->run, b) || (b == 0 && m->values[id].last_use == m->g->node_count))
        return COHORT_OK; /* enter_root() */
    return enter(&l->boards[b], bytes_of(l, id, (struct rows){0, m->values[id].rows}), r->end - 1,
                 m->values[id].last_use, err);
}

/* The root keeps the network's inputs and outputs, whole, in places of their own. */
static enum cohort_code enter_root(struct ledger *l, struct cohort_error *err) {
    const struct cost_model *m = l->r.m;
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < m->g->input_count && code == COHORT_OK; i++) {
        const int id = m->g->inputs[i];
        if (!m->values[id].constant)
            code = enter(&l->boards[0], bytes_of(l, id, (struct rows){0, m->values[id].rows}), 0,
                         m->g->node_count, err);
    }
    for (int i = 0; i < m->g->output_count && code == COHORT_OK; i++) {
        const int id = m->g->outputs[i];
        if (m->values[id].producer >= 0)
            code = enter(&l->boards[0], bytes_of(l, id, (struct rows){0, m->values[id].rows}), 0,
                         m->g->node_count, err);
    }
    return code;
}

/* Activations, workspace and what sums need, on each board. */
static enum cohort_code add_up(const struct ledger *l, double *bytes, struct cohort_error *err) {
    const struct cost_model *m = l->r.m;
    for (int b = 0; b < m->boards; b++) {
        size_t arena = 0;
        const enum cohort_code code =
            arena_assign(l->boards[b].items, (int)l->boards[b].count, &arena, err);
        if (code != COHORT_OK)
            return code;
        bytes[b] +=
            (double)arena + m->p->types[m->p->boards[b].type].workspace_bytes + l->addends[b];
    }
    return COHORT_OK;
}

/* Do both have the same weights, packed in the same way?  All of a node as its part is another
 * operator than the node itself. */
static bool same_part(const struct run_part *a, const struct run_part *b) {
    return a->share == b->share && a->begins == b->begins &&
           plan_by_channels(a->way) == plan_by_channels(b->way) &&
           plan_adds_up(a->way) == plan_adds_up(b->way) &&
           (a->way == PLAN_ROWS_GEMM) == (b->way == PLAN_ROWS_GEMM);
}

/* other: of a plan whose weights are counted already; NULL: there is none. */
static void add_weights(const struct ledger *l, const struct ledger *other, double *bytes) {
    const struct cost_model *m = l->r.m;
    for (int b = 0; b < m->boards; b++)
        for (int k = 0; k < m->g->node_count; k++)
            if (other == NULL || !same_part(run_of(l, b, k), run_of(other, b, k)))
                bytes[b] += run_of(l, b, k)->share * cost_weight_bytes(m, b, k);
}

static enum cohort_code fill(struct ledger *l, const struct cost_model *m, const struct plan *plan,
                             struct cohort_error *err) {
    const size_t boards = (size_t)m->boards;
    enum cohort_code code = COHORT_OK;
    l->boards = mem_zalloc(boards, sizeof *l->boards);
    l->runs = mem_zalloc(boards * ((size_t)m->g->node_count + 1), sizeof *l->runs);
    l->addends = mem_zalloc(boards, sizeof *l->addends);
    if (l->boards == NULL || l->runs == NULL || l->addends == NULL)
        return error_memory(err, boards * (size_t)m->g->node_count * sizeof *l->runs,
                            "a plan's memory");
    TRY(replay_begin(&l->r, m, plan, false, err));
    for (enum replay_kind k = replay_next(&l->r); k != REPLAY_END; k = replay_next(&l->r)) {
        for (int b = 0; k == REPLAY_IN && b < m->boards; b++) {
            TRY(enter_inputs(l, b, err));
            TRY((plan_by_channels(l->r.mode) ? enter_slices : enter_made)(l, b, err));
        }
        for (int b = 0; k == REPLAY_JOIN && b < m->boards; b++) {
            TRY(enter_joined(l, b, err));
            l->addends[b] += channel_buffer_bytes(m, &l->r.move, b);
        }
    }
    TRY(replay_code(&l->r, err));
    TRY(enter_root(l, err));
out:
    return code;
}

static void release(struct ledger *l, int boards) {
    replay_release(&l->r);
    for (int b = 0; l->boards != NULL && b < boards; b++)
        mem_free(l->boards[b].items);
    mem_free(l->boards);
    mem_free(l->runs);
    mem_free(l->addends);
}

enum cohort_code plan_peak_bytes(const struct cost_model *m, const struct plan *plan, double *bytes,
                                 struct cohort_error *err) {
    return plan_change_bytes(m, NULL, plan, bytes, err);
}

enum cohort_code plan_change_bytes(const struct cost_model *m, const struct plan *from,
                                   const struct plan *to, double *bytes, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct ledger old = {0}, new = {0};
    memset(bytes, 0, (size_t)m->boards * sizeof *bytes);
    if (from != NULL) {
        TRY(fill(&old, m, from, err));
        TRY(add_up(&old, bytes, err));
        add_weights(&old, NULL, bytes);
    }
    TRY(fill(&new, m, to, err));
    TRY(add_up(&new, bytes, err));
    add_weights(&new, from != NULL ? &old : NULL, bytes);
    for (int b = 0; b < m->boards; b++)
        bytes[b] = ceil(bytes[b]); /* a slice's share need not be whole bytes */
out:
    release(&old, m->boards);
    release(&new, m->boards);
    return code;
}
