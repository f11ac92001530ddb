/* From a plan to steps: which rows of which tensor this board holds, computes, sends and receives.
 *
 * Every rank compiles the same steps in the same order; only slots and rows differ.  What travels
 * is planner/transitions.c's to say.  A tensor that goes from one segment to another has one slot
 * on each board, which covers all rows that this board ever has of it, so that halos arrive in
 * their place.  Tensors that the root deals out have a slot for the one segment that reads them. */
#include "runtime/compiler.h"
#include "runtime/phases.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

static const struct transition *transition(const struct compiler *c, int i) {
    return &c->s->transitions.list[i];
}

/* ---- slots ----------------------------------------------------------------------------------- */

void compiler_use_slot(struct compiler *c, int slot) {
    if (slot >= 0)
        exec_slot_ends(c->s->program, slot, c->clock);
}

enum cohort_code compiler_new_slot(struct compiler *c, int id, struct rows rows, bool pinned,
                                   int *slot, struct cohort_error *err) {
    return exec_add_slot(c->s->program, id, rows, c->clock, c->clock, pinned, slot, err);
}

/* The slot between segments; made when it is first asked for. */
enum cohort_code compiler_kept_slot(struct compiler *c, int id, struct cohort_error *err) {
    if (c->kept[id] >= 0 || !c->lives[id])
        return COHORT_OK;
    return compiler_new_slot(c, id, c->extent[id], c->pinned[id], &c->kept[id], err);
}

static bool deals_out(const struct compiler *c, int segment, int id) {
    for (int i = 0; i < c->s->transitions.count; i++)
        if (transition(c, i)->kind == TRANSITION_SCATTER && transition(c, i)->value == id &&
            transition(c, i)->before == segment)
            return true;
    return false;
}

/* Does this board keep the output when the segment has ended? */
static bool keeps(const struct compiler *c, const struct plan_part *part) {
    return c->s->rank == 0 || !part->to_root;
}

/* Rank 0 reads these rows itself, should it be an input of the network. */
static void reads_input(struct compiler *c, int id, struct rows rows) {
    const struct graph *g = c->s->graph;
    for (int i = 0; i < g->input_count; i++)
        if (g->inputs[i] == id)
            c->s->input_rows[i] = rows_hull(c->s->input_rows[i], rows);
}

static void extend(struct compiler *c, int id, struct rows rows, bool whole) {
    c->extent[id] = rows_hull(c->extent[id], rows);
    c->lives[id] |= whole || !rows_empty(rows);
}

/* Does this board compute all of the segment? */
static bool runs_whole(const struct compiler *c, const struct plan_part *part) {
    return part->mode == PLAN_REPLICATE || (part->mode == PLAN_LOCAL && part->board == c->s->rank);
}

/* Adds what this segment has of tensors that outlive it. */
static void extend_part(struct compiler *c, const struct plan_part *part) {
    const bool root = c->s->rank == 0, whole = runs_whole(c, part);
    plan_part_rows(part, c->s->rank, c->need);
    for (int i = 0; i < part->input_count; i++) {
        if (root || !deals_out(c, part->segment, part->inputs[i]))
            extend(c, part->inputs[i], c->need[part->inputs[i]], whole);
        if (root)
            reads_input(c, part->inputs[i], c->need[part->inputs[i]]);
    }
    for (int i = 0; i < part->output_count; i++) {
        int id = part->outputs[i];
        if (root && (part->to_root || c->pinned[id]))
            extend(c, id, plan_all_rows(c->s->graph, id), true);
        else if (keeps(c, part))
            extend(c, id, c->need[id], whole);
    }
}

/* ---- operators ------------------------------------------------------------------------------- */

/* This board's slots of what node `i` reads and makes.  Outputs that outlive the segment have one
 * for all rows, others for those that are computed. */
static enum cohort_code bind_slots(struct compiler *c, const struct plan_part *part, int i, int *in,
                                   int *out, struct cohort_error *err) {
    const struct graph *g = c->s->graph;
    const struct node *n = &g->nodes[i];
    enum cohort_code code = COHORT_OK;
    for (int k = 0; k < n->in_count; k++) {
        in[k] = n->in[k] >= 0 && !g->values[n->in[k]].is_constant ? c->slot[n->in[k]] : -1;
        compiler_use_slot(c, in[k]);
    }
    for (int k = 0; k < n->out_count; k++) {
        int id = n->out[k];
        bool wanted = id >= 0 && (part->mode != PLAN_TILE || !rows_empty(c->need[id]));
        if (wanted && c->slot[id] < 0 && c->lives[id]) {
            TRY(compiler_kept_slot(c, id, err));
            c->slot[id] = c->kept[id];
        } else if (wanted && c->slot[id] < 0) {
            TRY(compiler_new_slot(c, id, c->need[id], false, &c->slot[id], err));
        }
        out[k] = id >= 0 ? c->slot[id] : -1;
        compiler_use_slot(c, out[k]);
    }
out:
    return code;
}

/* Rows `rows` of node i's outputs.  Nothing to do where a tile has no rows; a whole tensor without
 * rows (an empty one) still gets its operator, which gives it its shape. */
static enum cohort_code add_op(struct compiler *c, const struct plan_part *part, int i,
                               struct rows rows, struct cohort_error *err) {
    int *ports = c->ports;
    const struct node *n = &c->s->graph->nodes[i];
    if (part->mode == PLAN_TILE && rows_empty(rows))
        return COHORT_OK;
    enum cohort_code code = bind_slots(c, part, i, ports, ports + n->in_count, err);
    if (code == COHORT_OK)
        code = exec_add_op(c->s->program, i, rows, ports, ports + n->in_count, NULL, err);
    c->clock++;
    return code;
}

/* All rows that this board makes of node i. */
static struct rows node_rows(const struct compiler *c, int i) {
    const struct node *n = &c->s->graph->nodes[i];
    struct rows rows = {0, 0};
    for (int k = 0; k < n->out_count; k++)
        if (n->out[k] >= 0)
            rows = rows_hull(rows, c->need[n->out[k]]);
    return rows;
}

/* Which rows of a tile's nodes a step computes. */
enum phase { EARLY, MAIN, LATE };

static enum cohort_code add_rows(struct compiler *c, const struct plan_part *part, int i,
                                 const struct node_phases *n, enum phase phase,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (phase == EARLY)
        return add_op(c, part, i, n->early, err);
    const struct rowset *rows = phase == MAIN ? &n->main : &n->late;
    for (int k = 0; k < rows->count && code == COHORT_OK; k++)
        code = add_op(c, part, i, rows->r[k], err);
    return code;
}

/* A step for the operators from `op` on. */
static enum cohort_code add_compute_step(struct compiler *c, const struct plan_part *part, int op,
                                         struct cohort_error *err) {
    struct cohort_session *s = c->s;
    const int end = exec_op_count(s->program);
    enum cohort_code code = session_add_step(s, STEP_COMPUTE, part->segment, -1, op == end, err);
    exec_range_ends(s->program);
    if (code != COHORT_OK)
        return code;
    s->steps[s->step_count - 1].first_op = op;
    s->steps[s->step_count - 1].last_op = end;
    return code;
}

/* A step that computes nodes [first, last) in one phase; what is no tile is all MAIN. */
static enum cohort_code add_compute(struct compiler *c, const struct plan_part *part,
                                    const struct phases *p, enum phase phase, int first, int last,
                                    struct cohort_error *err) {
    const bool here = part->mode != PLAN_LOCAL || part->board == c->s->rank;
    const int op = exec_op_count(c->s->program);
    enum cohort_code code = COHORT_OK;
    for (int i = first; i < last && here && code == COHORT_OK; i++) {
        if (part->mode == PLAN_TILE)
            code = add_rows(c, part, i, &p->nodes[i - part->first], phase, err);
        else if (phase == MAIN)
            code = add_op(c, part, i, node_rows(c, i), err);
    }
    return code != COHORT_OK ? code : add_compute_step(c, part, op, err);
}

/* ---- moving ---------------------------------------------------------------------------------- */

static bool takes_part(const struct compiler *c, const struct transition *t) {
    for (int k = 0; k < t->move_count; k++)
        if (t->moves[k].from == c->s->rank || t->moves[k].to == c->s->rank)
            return true;
    return t->rows != NULL && !rows_empty(t->rows[c->s->rank]);
}

enum cohort_code compiler_add_move_step(struct compiler *c, enum step_kind kind, int i, int segment,
                                        bool idle, struct cohort_error *err) {
    struct move *m = &c->s->moves[i];
    if (!idle) {
        compiler_use_slot(c, m->slot);
        compiler_use_slot(c, m->root_slot);
        c->clock++;
    }
    return session_add_step(c->s, kind, segment, i, idle, err);
}

/* This board's slot for an exchange: where the tensor is kept, or, on a board that made it and
 * gives it away, where it was made. */
static enum cohort_code find_exchange_slot(struct compiler *c, int i, struct cohort_error *err) {
    struct move *m = &c->s->moves[i];
    const int id = transition(c, i)->value;
    enum cohort_code code = COHORT_OK;
    if (m->slot >= 0 || !takes_part(c, transition(c, i)))
        return code;
    TRY(compiler_kept_slot(c, id, err));
    m->slot = c->kept[id] >= 0 ? c->kept[id] : c->slot[id];
    if (m->slot >= 0)
        exec_slot_travels(c->s->program, m->slot);
out:
    return code;
}

static enum cohort_code add_exchange_step(struct compiler *c, enum step_kind kind, int i,
                                          int segment, bool idle, struct cohort_error *err) {
    enum cohort_code code = idle ? COHORT_OK : find_exchange_slot(c, i, err);
    return code != COHORT_OK ? code : compiler_add_move_step(c, kind, i, segment, idle, err);
}

/* This board's rows of a tensor that the root deals out, and the beginning of that. */
static enum cohort_code add_scatter(struct compiler *c, const struct plan_part *part, int i,
                                    struct cohort_error *err) {
    struct move *m = &c->s->moves[i];
    const int id = transition(c, i)->value;
    enum cohort_code code = COHORT_OK;
    if (c->s->rank == 0)
        m->root_slot = c->kept[id];
    else if (!rows_empty(c->need[id]))
        TRY(compiler_new_slot(c, id, c->need[id], false, &m->slot, err));
    c->slot[id] = c->s->rank == 0 ? m->root_slot : m->slot;
    if (c->slot[id] >= 0)
        exec_slot_travels(c->s->program, c->slot[id]);
    TRY(compiler_add_move_step(c, STEP_BEGIN, i, part->segment, false, err));
out:
    return code;
}

static enum cohort_code find_gather_slots(struct compiler *c, int i, struct cohort_error *err) {
    struct move *m = &c->s->moves[i];
    const int id = transition(c, i)->value;
    enum cohort_code code = COHORT_OK;
    if (c->s->rank == 0) {
        TRY(compiler_kept_slot(c, id, err));
        m->root_slot = c->kept[id];
        exec_slot_travels(c->s->program, m->root_slot);
    } else if (c->slot[id] >= 0) {
        m->slot = c->slot[id];
        exec_slot_travels(c->s->program, m->slot);
    }
out:
    return code;
}

/* While the network's inputs travel the root goes on: they stay as they are until the run ends. */
static bool may_end_late(const struct compiler *c, const struct transition *t) {
    return t->kind == TRANSITION_SCATTER && graph_value(c->s->graph, t->value)->producer < 0;
}

static enum cohort_code wait_for_inputs(struct compiler *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->s->transitions.count && code == COHORT_OK; i++)
        if (may_end_late(c, transition(c, i)))
            code = compiler_add_move_step(c, STEP_WAIT, i, transition(c, i)->before,
                                          c->s->rank != 0, err);
    return code;
}

/* Steps of one kind for all of a part's scatters, or gathers: on the root, or on the others. */
static enum cohort_code add_row_steps(struct compiler *c, const struct plan_part *part,
                                      enum transition_kind which, enum step_kind kind, bool on_root,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const bool idle = on_root != (c->s->rank == 0);
    for (int i = 0; i < c->s->transitions.count && code == COHORT_OK; i++) {
        const struct transition *t = transition(c, i);
        int segment = which == TRANSITION_GATHER ? t->made : t->before;
        if (t->kind != which || segment != part->segment ||
            (kind == STEP_WAIT && on_root && may_end_late(c, t)))
            continue;
        if (which == TRANSITION_GATHER && !idle)
            code = find_gather_slots(c, i, err);
        if (code == COHORT_OK)
            code = compiler_add_move_step(c, kind, i, part->segment, idle, err);
    }
    return code;
}

/* When an exchange begins: behind the segment that makes its tensor, or, when that is long ago, in
 * front of the one before the segment that reads it, so that it has that one's time to arrive. */
static int starts_in_front_of(const struct transition *t) {
    int first = t->made + (t->from_root ? 1 : 0), late = t->before - 1;
    return phases_starts_behind(t) ? -1 : late > first ? late : first > 0 ? first : 0;
}

static enum cohort_code begin_exchanges(struct compiler *c, const struct plan_part *part,
                                        struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->s->transitions.count && code == COHORT_OK; i++)
        if (transition(c, i)->kind == TRANSITION_EXCHANGE &&
            starts_in_front_of(transition(c, i)) == part->segment)
            code = add_exchange_step(c, STEP_BEGIN, i, part->segment, false, err);
    return code;
}

/* A step for each of the exchanges that begin when the part has ended: of all boards, or of those
 * whose rows are there early (or late). */
static enum cohort_code add_behind(struct compiler *c, const struct plan_part *part,
                                   const struct phases *p, enum step_kind kind, bool early,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->s->transitions.count && code == COHORT_OK; i++)
        if (phases_starts_behind(transition(c, i)) && transition(c, i)->made == part->segment)
            code = add_exchange_step(c, kind, i, part->segment,
                                     kind == STEP_BEGIN && early != p->early_sends[i], err);
    return code;
}

/* Waits for all exchanges that bring tensors to the root, or for the others. */
static enum cohort_code add_waits(struct compiler *c, bool after, int before, int segment,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->s->transitions.count && code == COHORT_OK; i++) {
        const struct transition *t = transition(c, i);
        if (t->kind == TRANSITION_EXCHANGE && t->before == before && t->after == after)
            code = add_exchange_step(c, STEP_WAIT, i, segment, false, err);
    }
    return code;
}

/* An exchange's rows leave while the segment that its other rows are for is computed. */
static enum cohort_code add_finishes(struct compiler *c, int before, int segment,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->s->transitions.count && code == COHORT_OK; i++)
        if (transition(c, i)->kind == TRANSITION_EXCHANGE && transition(c, i)->before == before)
            code = compiler_add_move_step(c, STEP_FINISH, i, segment, false, err);
    return code;
}

/* ---- segments -------------------------------------------------------------------------------- */

static void find_input_slots(struct compiler *c, const struct plan_part *part) {
    for (int i = 0; i < part->input_count; i++)
        if (c->slot[part->inputs[i]] < 0)
            c->slot[part->inputs[i]] = c->kept[part->inputs[i]];
}

/* What has to be there before this board computes anything, and the root's transfers that go on
 * while it computes. */
static enum cohort_code bring_inputs(struct compiler *c, const struct plan_part *part,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->s->graph->value_count; i++)
        c->slot[i] = -1;
    TRY(add_waits(c, true, part->segment, part->segment, err));
    TRY(begin_exchanges(c, part, err));
    for (int i = 0; i < c->s->transitions.count; i++)
        if (transition(c, i)->kind == TRANSITION_SCATTER &&
            transition(c, i)->before == part->segment)
            TRY(add_scatter(c, part, i, err));
    TRY(add_row_steps(c, part, TRANSITION_SCATTER, STEP_WAIT, false, err));
    TRY(add_row_steps(c, part, TRANSITION_GATHER, STEP_BEGIN, true, err));
    find_input_slots(c, part);
out:
    return code;
}

/* The last operator in parts by channels, each of which leaves when it is there. */
static enum cohort_code compute_parts(struct compiler *c, const struct plan_part *part,
                                      const struct phases *p, struct cohort_error *err) {
    struct cohort_session *s = c->s;
    enum cohort_code code = COHORT_OK;
    TRY(add_behind(c, part, p, STEP_EXPECT, false, err));
    for (int k = 0; k < p->parts; k++) {
        const int op = exec_op_count(s->program);
        TRY(add_op(c, part, part->last - 1, node_rows(c, part->last - 1), err));
        if (exec_op_count(s->program) > op)
            exec_op_part(s->program, k, p->parts);
        TRY(add_compute_step(c, part, op, err));
        for (int i = 0; i < s->transitions.count; i++) {
            const struct transition *t = transition(c, i);
            const bool whole = t->parts == 1; /* of another tensor: when all is done */
            if (!phases_starts_behind(t) || t->made != part->segment || (whole && k + 1 < p->parts))
                continue;
            TRY(add_exchange_step(c, k == 0 || whole ? STEP_BEGIN : STEP_MORE, i, part->segment,
                                  false, err));
            s->steps[s->step_count - 1].part = whole ? 0 : k;
        }
    }
out:
    return code;
}

/* Rows that need no neighbour's, waiting, the others' rows, sending, the rest. */
static enum cohort_code compute(struct compiler *c, const struct plan_part *part,
                                const struct phases *p, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (phases_wait(&c->s->transitions, part))
        TRY(add_compute(c, part, p, EARLY, part->first, part->last, err));
    TRY(add_waits(c, false, part->segment, part->segment, err));
    find_input_slots(c, part);
    TRY(add_compute(c, part, p, MAIN, part->first, p->tail - (p->parts > 1), err));
    if (p->parts > 1)
        return compute_parts(c, part, p, err);
    if (!phases_send(&c->s->transitions, part))
        goto out;
    TRY(add_behind(c, part, p, STEP_EXPECT, true, err));
    TRY(add_compute(c, part, p, MAIN, p->tail, part->last, err));
    TRY(add_behind(c, part, p, STEP_BEGIN, true, err));
    TRY(add_compute(c, part, p, LATE, part->first, part->last, err));
    TRY(add_behind(c, part, p, STEP_BEGIN, false, err));
out:
    return code;
}

static enum cohort_code bring_outputs(struct compiler *c, const struct plan_part *part,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(add_row_steps(c, part, TRANSITION_SCATTER, STEP_WAIT, true, err));
    TRY(add_row_steps(c, part, TRANSITION_GATHER, STEP_BEGIN, false, err));
    TRY(add_row_steps(c, part, TRANSITION_GATHER, STEP_WAIT, true, err));
    TRY(add_row_steps(c, part, TRANSITION_GATHER, STEP_WAIT, false, err));
out:
    return code;
}

/* Input rows that this board needs beyond its share of them. */
static int64_t halo_rows(const struct compiler *c, const struct plan_part *part) {
    int64_t halo = 0;
    for (int i = 0; i < part->input_count && part->mode == PLAN_TILE; i++) {
        int id = part->inputs[i];
        int64_t more = rows_count(c->need[id]) - rows_count(plan_part_share(part, id, c->s->rank));
        halo += more > 0 ? more : 0;
    }
    return halo;
}

static enum cohort_code compile_channels(struct compiler *c, const struct plan_part *part,
                                         struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    plan_part_rows(part, c->s->rank, c->need);
    TRY(bring_inputs(c, part, err));
    TRY(add_waits(c, false, part->segment, part->segment, err));
    find_input_slots(c, part);
    TRY(compiler_add_parts(c, part, err));
    TRY(add_finishes(c, part->segment, part->segment, err));
out:
    return code;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static enum cohort_code compile_part(struct compiler *c, const struct plan_part *part,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct phases phases = {0};
    if (plan_by_channels(part->mode))
        return compile_channels(c, part, err);
    plan_part_rows(part, c->s->rank, c->need);
    TRY(phases_make(&phases, &c->s->transitions, part, c->s->rank, c->need, err));
    TRY(bring_inputs(c, part, err));
    TRY(compute(c, part, &phases, err));
    TRY(bring_outputs(c, part, err));
    TRY(add_finishes(c, part->segment, part->segment, err));
    c->s->segments[part->segment] =
        (struct segment_rows){.rows = rows_count(plan_part_share(part, part->until, c->s->rank)),
                              .halo_rows = halo_rows(c, part)};
out:
    phases_release(&phases);
    return code;
}

typedef enum cohort_code (*part_fn)(struct compiler *c, const struct plan_part *part,
                                    struct cohort_error *err);

static enum cohort_code extend_fn(struct compiler *c, const struct plan_part *part,
                                  struct cohort_error *err) {
    (void)err;
    extend_part(c, part);
    return COHORT_OK;
}

static enum cohort_code each_part(struct compiler *c, part_fn fn, struct cohort_error *err) {
    const struct plan *p = c->s->plan;
    enum cohort_code code = COHORT_OK;
    for (int i = 0, first = 0; i < p->segment_count && code == COHORT_OK; i++) {
        struct plan_part part;
        code = plan_part_init(&part, p, c->s->graph, i, first, err);
        if (code != COHORT_OK)
            break;
        code = fn(c, &part, err);
        first = part.last;
        plan_part_release(&part);
    }
    return code;
}

static size_t most_ports(const struct graph *g) {
    size_t most = 1;
    for (int i = 0; i < g->node_count; i++) {
        size_t ports = (size_t)g->nodes[i].in_count + (size_t)g->nodes[i].out_count;
        most = ports > most ? ports : most;
    }
    return most;
}

/* What goes in and out of the network is whole on rank 0. */
static void find_ends(struct compiler *c) {
    const struct graph *g = c->s->graph;
    for (int i = 0; i < g->value_count; i++)
        c->kept[i] = c->slot[i] = -1;
    for (int i = 0; c->s->rank == 0 && i < g->input_count + g->output_count; i++) {
        int id = i < g->input_count ? g->inputs[i] : g->outputs[i - g->input_count];
        c->pinned[id] = true;
        extend(c, id, plan_all_rows(g, id), true);
        if (i >= g->input_count) /* an input may go out as it is */
            reads_input(c, id, plan_all_rows(g, id));
    }
}

static enum cohort_code compile_all(struct compiler *c, struct cohort_error *err) {
    struct cohort_session *s = c->s;
    const struct graph *g = s->graph;
    enum cohort_code code = COHORT_OK;
    find_ends(c);
    TRY(each_part(c, extend_fn, err));
    for (int i = 0; i < g->input_count; i++)
        TRY(compiler_kept_slot(c, g->inputs[i], err));
    for (int i = 0; i < g->output_count; i++) /* an output that is an input or a constant */
        if (g->values[g->outputs[i]].producer < 0)
            TRY(compiler_kept_slot(c, g->outputs[i], err));
    TRY(each_part(c, compile_part, err));
    TRY(add_waits(c, true, s->plan->segment_count, s->plan->segment_count - 1, err));
    TRY(add_finishes(c, s->plan->segment_count, s->plan->segment_count - 1, err));
    TRY(wait_for_inputs(c, err));
    for (int i = 0; s->rank == 0 && i < g->input_count; i++)
        s->input_slots[i] = c->kept[g->inputs[i]];
    for (int i = 0; s->rank == 0 && i < g->output_count; i++)
        s->output_slots[i] = c->kept[g->outputs[i]];
out:
    return code;
}

_Static_assert((int)WIRE_F16 == (int)PLAN_WIRE_F16 && (int)WIRE_I8 == (int)PLAN_WIRE_I8,
               "the plan's and the executor's types on the wire have the same numbers");

enum cohort_code session_compile(struct cohort_session *s, struct cohort_error *err) {
    const struct graph *g = s->graph;
    size_t values = (size_t)g->value_count + 1, segments = (size_t)s->plan->segment_count + 1;
    struct compiler c = {.s = s};
    enum cohort_code code = COHORT_OK;
    s->wire = (enum wire)s->plan->wire;
    TRY(transitions_make(&s->transitions, s->plan, g, err));
    size_t moves = (size_t)s->transitions.count + 1;
    s->moves = mem_zalloc(moves, sizeof *s->moves);
    s->segments = mem_zalloc(segments, sizeof *s->segments);
    c.extent = mem_zalloc(values, sizeof *c.extent);
    c.lives = mem_zalloc(values, sizeof *c.lives);
    c.kept = mem_zalloc(values, sizeof *c.kept);
    c.slot = mem_zalloc(values, sizeof *c.slot);
    const int parts = s->shard != NULL ? shard_graph(s->shard)->value_count : 0;
    c.part_slot = mem_alloc((size_t)parts * sizeof *c.part_slot);
    c.pinned = mem_zalloc(values, sizeof *c.pinned);
    c.need = mem_zalloc(values, sizeof *c.need);
    c.ports = mem_zalloc(most_ports(s->shard != NULL ? shard_graph(s->shard) : g), sizeof *c.ports);
    s->input_slots = mem_zalloc((size_t)g->input_count + 1, sizeof(int));
    s->output_slots = mem_zalloc((size_t)g->output_count + 1, sizeof(int));
    s->input_rows = mem_zalloc((size_t)g->input_count + 1, sizeof *s->input_rows);
    if (s->moves == NULL || s->segments == NULL || c.extent == NULL || c.lives == NULL ||
        c.kept == NULL || c.slot == NULL || c.part_slot == NULL || c.ports == NULL ||
        c.pinned == NULL || c.need == NULL || s->input_slots == NULL || s->output_slots == NULL ||
        s->input_rows == NULL) {
        code = error_memory(err, values * 64, "compiling the plan");
        goto out;
    }
    for (int i = 0; i < parts; i++)
        c.part_slot[i] = -1;
    for (int i = 0; i < s->transitions.count; i++)
        s->moves[i] = (struct move){.slot = -1, .root_slot = -1};
    code = compile_all(&c, err);
out:
    mem_free(c.extent);
    mem_free(c.lives);
    mem_free(c.kept);
    mem_free(c.slot);
    mem_free(c.part_slot);
    mem_free(c.pinned);
    mem_free(c.need);
    mem_free(c.ports);
    return code;
}
