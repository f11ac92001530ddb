/* What travels between boards; see transitions.h.
 *
 * The segments are walked in order.  For every tensor it is known whose own its rows are (`owner`,
 * which never changes once it is made) and what each board holds beside that, because it computed
 * halo rows or got them for an earlier segment. */
#include "planner/transitions.h"

#include "base/mem.h"
#include "graph/op.h"
#include "graph/rowset.h"

#include <string.h>

enum whose {
    NOBODY,    /* not made yet, or not needed any more */
    ONE,       /* AT(board) */
    EVERYBODY, /* REPLICATED */
    SHARED,    /* ROWS(share) */
    DIVIDED    /* CHANNELS: who reads it has it */
};

struct place {
    enum whose whose;
    int board;           /* ONE */
    bool brought;        /* ONE: by an `after` transition */
    int made;            /* the segment that made it */
    int parts;           /* of its channels, that leave one after the other behind that segment */
    struct rows *share;  /* SHARED: of each board */
    struct rowset *held; /* of each board; NULL: nobody holds anything but his own */
};

struct walk {
    struct transitions *out;
    const struct plan *plan;
    const struct graph *graph;
    struct place *places; /* of each value */
    struct rows *need;    /* [board * value_count + value]: of the segment at hand */
};

/* ---- places ---------------------------------------------------------------------------------- */

static struct rows own_rows(const struct walk *w, int id, int b) {
    const struct place *p = &w->places[id];
    if (p->whose == SHARED)
        return p->share[b];
    if (p->whose == EVERYBODY || (p->whose == ONE && p->board == b))
        return plan_all_rows(w->graph, id);
    return (struct rows){0, 0};
}

static enum cohort_code hold(struct walk *w, int id, int b, struct rows rows,
                             struct cohort_error *err) {
    struct place *p = &w->places[id];
    if (rows_empty(rows))
        return COHORT_OK;
    if (p->held == NULL)
        p->held = mem_zalloc((size_t)w->plan->boards, sizeof *p->held);
    if (p->held == NULL)
        return error_memory(err, (size_t)w->plan->boards * sizeof *p->held, "a plan's transitions");
    rowset_hold(&p->held[b], rows);
    return COHORT_OK;
}

/* ---- parts of channels ----------------------------------------------------------------------- */

double transition_weight_bytes(const struct graph *g, int node) {
    double bytes = 0;
    for (int k = 0; k < g->nodes[node].in_count; k++) {
        const struct tensor *t = node_const(g, &g->nodes[node], k);
        if (t != NULL && shape_known(&t->shape))
            bytes += (double)shape_count(&t->shape) * (double)dtype_bytes(t->type);
    }
    return bytes;
}

int64_t transition_part_rows(const struct graph *g, int node, double flops, double weight_bytes) {
    const struct node *n = &g->nodes[node];
    const struct value *v = n->out_count == 1 ? node_out(g, n, 0) : NULL;
    if (v == NULL || v->form != FORM_MAP || v->type != DT_F32 || !shape_known(&v->shape) ||
        n->rowmap == NULL || weight_bytes <= 0 || flops <= 0 ||
        (strcmp(n->op->name, "Conv") != 0 && strcmp(n->op->name, "ScaledConv") != 0))
        return 0;
    const struct geometry geo = value_geometry(v);
    const int64_t pairs = (geo.channels + 2 * MAP_BLOCK - 1) / (2 * MAP_BLOCK);
    if (!geo.blocked || geo.images != 1 || geo.height <= 0 || pairs < TRANSITION_PARTS)
        return 0;
    /* The largest number of rows with flops * rows / height < weight_bytes * ... */
    const double most = weight_bytes * TRANSITION_FLOPS_PER_BYTE * (double)geo.height / flops;
    const int64_t rows = most < (double)geo.height ? (int64_t)most : geo.height;
    return rows > 0 && (double)rows * flops >=
                           weight_bytes * TRANSITION_FLOPS_PER_BYTE * (double)geo.height
               ? rows - 1
               : rows;
}

/* Of the segment's output `id`, of which no board has more than `most` rows. */
static int parts_of(const struct plan_part *part, int id, int64_t most) {
    const struct graph *g = part->graph;
    const int node = part->last - 1;
    if (part->mode != PLAN_TILE || g->values[id].producer != node)
        return 1;
    return most <= transition_part_rows(g, node, node_flops(g, &g->nodes[node]),
                                        transition_weight_bytes(g, node))
               ? TRANSITION_PARTS
               : 1;
}

/* ---- one transition -------------------------------------------------------------------------- */

static enum cohort_code add_transition(struct walk *w, enum transition_kind kind, int id,
                                       bool after, int before, struct transition **added,
                                       struct cohort_error *err) {
    struct transitions *t = w->out;
    if (!MEM_GROW(t->list, t->capacity, (size_t)t->count))
        return error_memory(err, sizeof *t->list, "a plan's transitions");
    struct transition *one = &t->list[t->count++];
    *one = (struct transition){.kind = kind,
                               .value = id,
                               .after = after,
                               .from_root = w->places[id].brought,
                               .made = w->places[id].made,
                               .before = before,
                               .parts = 1};
    if (kind == TRANSITION_JOIN || kind == TRANSITION_SUM) {
        one->channels = mem_zalloc((size_t)w->plan->boards, sizeof *one->channels);
        if (one->channels == NULL)
            return error_memory(err, (size_t)w->plan->boards * sizeof *one->channels,
                                "a plan's transitions");
    } else if (kind != TRANSITION_EXCHANGE) {
        one->rows = mem_zalloc((size_t)w->plan->boards, sizeof *one->rows);
        if (one->rows == NULL)
            return error_memory(err, (size_t)w->plan->boards * sizeof *one->rows,
                                "a plan's transitions");
    }
    *added = one;
    return COHORT_OK;
}

static enum cohort_code add_move(struct transition *t, size_t *capacity, int from, int to,
                                 struct rows rows, struct cohort_error *err) {
    if (rows_empty(rows) || from == to)
        return COHORT_OK;
    if (!MEM_GROW(t->moves, *capacity, (size_t)t->move_count))
        return error_memory(err, sizeof *t->moves, "a plan's transitions");
    t->moves[t->move_count++] = (struct transition_move){from, to, rows};
    return COHORT_OK;
}

/* Rows that board b wants and lacks, from those who have them. */
static enum cohort_code add_lacking(struct walk *w, struct transition *t, size_t *capacity, int b,
                                    struct rows wanted, struct cohort_error *err) {
    const struct place *p = &w->places[t->value];
    struct rowset held = p->held != NULL ? p->held[b] : (struct rowset){0};
    enum cohort_code code = COHORT_OK;
    rowset_hold(&held, own_rows(w, t->value, b));
    struct rowset lacks = rowset_missing(&held, wanted);
    for (int i = 0; i < lacks.count; i++)
        for (int from = 0; from < w->plan->boards; from++)
            TRY(add_move(t, capacity, from, b,
                         rows_intersect(lacks.r[i], own_rows(w, t->value, from)), err));
out:
    return code;
}

static enum cohort_code can_travel(const struct walk *w, int id, int before,
                                   struct cohort_error *err) {
    const struct value *v = graph_value(w->graph, id);
    if (shape_known(&v->shape))
        return COHORT_OK;
    return error_set(err, COHORT_ERR_PLAN,
                     "the plan makes '%s' travel between boards (%s %d), but its shape is known "
                     "only at run time: compute what reads it where it is made",
                     v->name, before == w->plan->segment_count ? "after segment" : "before segment",
                     before == w->plan->segment_count ? before - 1 : before);
}

/* Everybody gets wanted[board * stride] of value `id`. */
static enum cohort_code exchange(struct walk *w, int id, bool after, int before,
                                 const struct rows *wanted, size_t stride,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct transition *t;
    size_t capacity = 0;
    if (w->places[id].whose == EVERYBODY)
        return COHORT_OK;
    TRY(add_transition(w, TRANSITION_EXCHANGE, id, after, before, &t, err));
    for (int b = 0; b < w->plan->boards; b++)
        TRY(add_lacking(w, t, &capacity, b, wanted[(size_t)b * stride], err));
    if (t->move_count == 0) {
        w->out->count--;
        goto out;
    }
    TRY(can_travel(w, id, before, err));
    if (w->places[id].whose == SHARED && !after && w->places[id].made == before - 1)
        t->parts = w->places[id].parts;
    for (int b = 0; b < w->plan->boards; b++)
        TRY(hold(w, id, b, wanted[(size_t)b * stride], err));
out:
    return code;
}

/* ---- a segment ------------------------------------------------------------------------------- */

static const struct rows *needs_of(const struct walk *w, int id) {
    return &w->need[id];
}

static enum cohort_code bring_input(struct walk *w, const struct plan_part *part, int id,
                                    struct cohort_error *err) {
    const size_t stride = (size_t)w->graph->value_count;
    const struct place *p = &w->places[id];
    struct transition *t;
    if (p->whose == DIVIDED)
        return COHORT_OK;
    if (part->mode != PLAN_TILE || p->whose != ONE || p->board != 0)
        return exchange(w, id, false, part->segment, needs_of(w, id), stride, err);
    enum cohort_code code = can_travel(w, id, part->segment, err);
    if (code == COHORT_OK)
        code = add_transition(w, TRANSITION_SCATTER, id, false, part->segment, &t, err);
    for (int b = 0; code == COHORT_OK && b < w->plan->boards; b++)
        t->rows[b] = needs_of(w, id)[(size_t)b * stride];
    return code;
}

/* The output of a segment by channels: put together, or added up, or it stays as it is. */
static enum cohort_code place_divided(struct walk *w, const struct plan_part *part, int id,
                                      struct cohort_error *err) {
    struct place *p = &w->places[id];
    const bool sum = plan_adds_up(part->mode);
    enum cohort_code code = COHORT_OK;
    struct transition *t;
    p->made = part->segment;
    p->whose = DIVIDED;
    if (!part->to_root && !part->to_all)
        return COHORT_OK;
    TRY(can_travel(w, id, part->segment + 1, err));
    TRY(add_transition(w, sum ? TRANSITION_SUM : TRANSITION_JOIN, id, true, part->segment + 1, &t,
                       err));
    t->to_all = part->to_all;
    t->route = part->plan->segments[part->segment].route;
    for (int b = 0; b < w->plan->boards; b++)
        TRY(channels_share(part, sum ? part->graph->nodes[part->first].in[0] : id, b,
                           &t->channels[b], err));
    p->whose = part->to_all ? EVERYBODY : ONE;
    p->board = 0;
    p->brought = true;
out:
    return code;
}

/* Where the output is when the segment has ended, before anything moves. */
static enum cohort_code place_output(struct walk *w, const struct plan_part *part, int id,
                                     struct cohort_error *err) {
    struct place *p = &w->places[id];
    const int boards = w->plan->boards;
    enum cohort_code code = COHORT_OK;
    p->made = part->segment;
    if (part->mode != PLAN_TILE) {
        p->whose = part->mode == PLAN_LOCAL ? ONE : EVERYBODY;
        p->board = part->board;
        return COHORT_OK;
    }
    p->whose = SHARED;
    p->share = mem_zalloc((size_t)boards, sizeof *p->share);
    if (p->share == NULL)
        return error_memory(err, (size_t)boards * sizeof *p->share, "a plan's transitions");
    int64_t most = 0;
    for (int b = 0; b < boards; b++) {
        p->share[b] = plan_part_share(part, id, b);
        most = rows_count(p->share[b]) > most ? rows_count(p->share[b]) : most;
        TRY(hold(w, id, b, needs_of(w, id)[(size_t)b * (size_t)w->graph->value_count], err));
    }
    p->parts = parts_of(part, id, most);
out:
    return code;
}

static enum cohort_code send_to_root(struct walk *w, const struct plan_part *part, int id,
                                     struct cohort_error *err) {
    struct place *p = &w->places[id];
    struct transition *t;
    enum cohort_code code = COHORT_OK;
    if (p->whose == SHARED) {
        TRY(add_transition(w, TRANSITION_GATHER, id, true, part->segment + 1, &t, err));
        memcpy(t->rows, p->share, (size_t)w->plan->boards * sizeof *t->rows);
    } else if (p->whose == ONE && p->board != 0) {
        struct rows *wanted = mem_zalloc((size_t)w->plan->boards, sizeof *wanted);
        if (wanted == NULL)
            return error_memory(err, (size_t)w->plan->boards * sizeof *wanted, "a transition");
        wanted[0] = plan_all_rows(w->graph, id);
        code = exchange(w, id, true, part->segment + 1, wanted, 1, err);
        mem_free(wanted);
        TRY(code);
    } else {
        return COHORT_OK;
    }
    mem_free(p->held); /* they forget what they hold */
    p->held = NULL;
    p->whose = ONE;
    p->board = 0;
    p->brought = true;
out:
    return code;
}

static enum cohort_code bring_result(struct walk *w, int id, struct cohort_error *err) {
    struct rows *wanted = mem_zalloc((size_t)w->plan->boards, sizeof *wanted);
    if (wanted == NULL)
        return error_memory(err, (size_t)w->plan->boards * sizeof *wanted, "a transition");
    wanted[0] = plan_all_rows(w->graph, id);
    enum cohort_code code = exchange(w, id, true, w->plan->segment_count, wanted, 1, err);
    mem_free(wanted);
    return code;
}

static enum cohort_code walk_part(struct walk *w, const struct plan_part *part,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int b = 0; b < w->plan->boards; b++)
        plan_part_rows(part, b, w->need + (size_t)b * (size_t)w->graph->value_count);
    for (int i = 0; i < part->input_count; i++)
        TRY(bring_input(w, part, part->inputs[i], err));
    for (int i = 0; i < part->output_count && plan_by_channels(part->mode); i++)
        TRY(place_divided(w, part, part->outputs[i], err));
    for (int i = 0; i < part->output_count && !plan_by_channels(part->mode); i++) {
        TRY(place_output(w, part, part->outputs[i], err));
        if (part->to_root)
            TRY(send_to_root(w, part, part->outputs[i], err));
        if (graph_is_output(w->graph, part->outputs[i]))
            TRY(bring_result(w, part->outputs[i], err));
    }
out:
    return code;
}

enum cohort_code transitions_make(struct transitions *t, const struct plan *p,
                                  const struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct walk w = {.out = t, .plan = p, .graph = g};
    const size_t values = (size_t)g->value_count + 1;
    *t = (struct transitions){0};
    if (p->boards == 1)
        return COHORT_OK;
    w.places = mem_zalloc(values, sizeof *w.places);
    w.need = mem_zalloc(values * (size_t)p->boards, sizeof *w.need);
    if (w.places == NULL || w.need == NULL) {
        code =
            error_memory(err, values * (size_t)p->boards * sizeof *w.need, "a plan's transitions");
        goto out;
    }
    for (int i = 0; i < g->input_count; i++)
        w.places[g->inputs[i]] = (struct place){.whose = ONE, .board = 0, .made = -1};
    for (int i = 0, first = 0; i < p->segment_count; i++) {
        struct plan_part part;
        TRY(plan_part_init(&part, p, g, i, first, err));
        code = walk_part(&w, &part, err);
        first = part.last;
        plan_part_release(&part);
        TRY(code);
    }
out:
    for (int i = 0; w.places != NULL && i < g->value_count; i++) {
        mem_free(w.places[i].share);
        mem_free(w.places[i].held);
    }
    mem_free(w.places);
    mem_free(w.need);
    if (code != COHORT_OK)
        transitions_release(t);
    return code;
}

void transitions_release(struct transitions *t) {
    for (int i = 0; i < t->count; i++) {
        mem_free(t->list[i].rows);
        mem_free(t->list[i].channels);
        mem_free(t->list[i].moves);
    }
    mem_free(t->list);
    *t = (struct transitions){0};
}

static bool is_old(const struct transition *t) {
    return t->made < t->before - 1;
}

bool transitions_together(const struct transition *a, const struct transition *b) {
    if (a->before != b->before || a->after != b->after)
        return false;
    return a->after ? a->made == b->made : is_old(a) == is_old(b);
}

/* Of a SCATTER (GATHER): the rows that all boards but board 0 get (give). */
static int64_t all_rows_but_own(const struct transition *t, int boards) {
    int64_t sum = 0;
    for (int b = 1; b < boards; b++)
        sum += rows_count(t->rows[b]);
    return sum;
}

int64_t transition_rows_sent(const struct transition *t, int b, int boards) {
    if (t->kind == TRANSITION_JOIN || t->kind == TRANSITION_SUM)
        return 0;
    if (t->kind == TRANSITION_SCATTER)
        return b == 0 ? all_rows_but_own(t, boards) : 0;
    if (t->kind == TRANSITION_GATHER)
        return b == 0 ? 0 : rows_count(t->rows[b]);
    int64_t sum = 0;
    for (int i = 0; i < t->move_count; i++)
        sum += t->moves[i].from == b ? rows_count(t->moves[i].rows) : 0;
    return sum;
}

int64_t transition_rows_received(const struct transition *t, int b, int boards) {
    if (t->kind == TRANSITION_JOIN || t->kind == TRANSITION_SUM)
        return 0;
    if (t->kind == TRANSITION_GATHER)
        return b == 0 ? all_rows_but_own(t, boards) : 0;
    if (t->kind == TRANSITION_SCATTER)
        return b == 0 ? 0 : rows_count(t->rows[b]);
    int64_t sum = 0;
    for (int i = 0; i < t->move_count; i++)
        sum += t->moves[i].to == b ? rows_count(t->moves[i].rows) : 0;
    return sum;
}
