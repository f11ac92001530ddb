/* Segments by channels on this board: its parts of operators, the transfer behind them, and what
 * follows a sum. */
#include "runtime/compiler.h"

#include "graph/op.h"

static const struct transition *transition(const struct compiler *c, int i) {
    return &c->s->transitions.list[i];
}

/* This board's slot of a value that a part of an operator reads or makes: of a slice, or an addend,
 * where it is; else of the whole. */
static enum cohort_code find_part_slot(struct compiler *c, int id, bool makes, int *slot,
                                       struct cohort_error *err) {
    const struct graph *all = shard_graph(c->s->shard);
    enum cohort_code code = COHORT_OK;
    if (c->part_slot[id] < 0 && makes)
        TRY(compiler_new_slot(c, id, plan_all_rows(all, id), false, &c->part_slot[id], err));
    *slot = c->part_slot[id] >= 0 ? c->part_slot[id] : c->slot[id];
    BUG_UNLESS(*slot >= 0);
    compiler_use_slot(c, *slot);
out:
    return code;
}

/* Node `node` of the shard.  finishes: what it makes is the segment's result. */
static enum cohort_code add_part_op(struct compiler *c, int node, bool finishes,
                                    struct cohort_error *err) {
    const struct graph *all = shard_graph(c->s->shard);
    const struct node *n = &all->nodes[node];
    int *in = c->ports, *out = c->ports + n->in_count;
    enum cohort_code code = COHORT_OK;
    for (int k = 0; k < n->in_count; k++) {
        in[k] = -1;
        if (n->in[k] >= 0 && !graph_value(all, n->in[k])->is_constant)
            TRY(find_part_slot(c, n->in[k], false, &in[k], err));
    }
    if (finishes) {
        TRY(compiler_kept_slot(c, n->out[0], err));
        out[0] = c->kept[n->out[0]];
        compiler_use_slot(c, out[0]);
    } else {
        TRY(find_part_slot(c, n->out[0], true, &out[0], err));
    }
    TRY(exec_add_op(c->s->program, node, plan_all_rows(all, n->out[0]), in, out, NULL, err));
    c->clock++;
out:
    return code;
}

static enum cohort_code add_part_compute(struct compiler *c, const struct plan_part *part, int from,
                                         int to, bool finishes, struct cohort_error *err) {
    struct cohort_session *s = c->s;
    const struct channel_work *w = &s->work[part->segment];
    const int op = exec_op_count(s->program);
    enum cohort_code code = COHORT_OK;
    for (int i = from; i < to; i++)
        TRY(add_part_op(c, w->nodes[i], finishes, err));
    exec_range_ends(s->program);
    TRY(session_add_step(s, STEP_COMPUTE, part->segment, -1, from == to, err));
    s->steps[s->step_count - 1].first_op = op;
    s->steps[s->step_count - 1].last_op = exec_op_count(s->program);
out:
    return code;
}

/* Slots of a JOIN or SUM: of this board's slice and of the whole; of the addend, which becomes the
 * sum. */
static enum cohort_code find_part_move(struct compiler *c, const struct plan_part *part, int i,
                                       struct cohort_error *err) {
    const struct transition *t = transition(c, i);
    struct move *m = &c->s->moves[i];
    const struct channels own = t->channels[c->s->rank];
    const bool gives = own.begin < own.end, gets = channels_gets_result(part, c->s->rank);
    enum cohort_code code = COHORT_OK;
    int id = t->value;
    if (t->kind == TRANSITION_SUM && (gives || gets))
        TRY(shard_partial(c->s->shard, part->first, &id, err));
    else if (gives)
        TRY(shard_slice(c->s->shard, id, own, &id, err));
    if (gives || (gets && t->kind == TRANSITION_SUM))
        TRY(find_part_slot(c, id, true, &m->slot, err));
    if (gets && t->kind == TRANSITION_JOIN) {
        TRY(compiler_kept_slot(c, t->value, err));
        m->root_slot = c->kept[t->value];
    }
    if (m->slot >= 0)
        exec_slot_travels(c->s->program, m->slot);
    if (m->root_slot >= 0)
        exec_slot_travels(c->s->program, m->root_slot);
out:
    return code;
}

static enum cohort_code add_part_moves(struct compiler *c, const struct plan_part *part,
                                       struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->s->transitions.count; i++) {
        const struct transition *t = transition(c, i);
        const struct move *m = &c->s->moves[i];
        if ((t->kind != TRANSITION_JOIN && t->kind != TRANSITION_SUM) || t->made != part->segment)
            continue;
        TRY(find_part_move(c, part, i, err));
        /* By other routes what others have goes through boards that have nothing to do with it;
         * what is joined on the root goes straight by all. */
        const bool straight =
            t->route == PLAN_ROUTE_LINEAR || (t->kind == TRANSITION_JOIN && !t->to_all);
        const bool idle = m->slot < 0 && m->root_slot < 0 && straight;
        TRY(compiler_add_move_step(c, STEP_BEGIN, i, part->segment, idle, err));
        TRY(compiler_add_move_step(c, STEP_WAIT, i, part->segment, idle, err));
    }
out:
    return code;
}

enum cohort_code compiler_add_parts(struct compiler *c, const struct plan_part *part,
                                    struct cohort_error *err) {
    const struct channel_work *w = &c->s->work[part->segment];
    const int64_t *share = c->s->plan->segments[part->segment].split + c->s->rank;
    enum cohort_code code = COHORT_OK;
    if (part->mode == PLAN_ROWS_GEMM)
        c->s->segments[part->segment].rows = share[1] - share[0];
    TRY(add_part_compute(c, part, 0, w->finish, false, err));
    TRY(add_part_moves(c, part, err));
    if (plan_adds_up(part->mode))
        TRY(add_part_compute(c, part, w->finish, w->count, true, err));
out:
    return code;
}
