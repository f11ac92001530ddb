/* Replays a plan step by step; see replay.h. */
#include "planner/replay.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* ---- life ----------------------------------------------------------------------------------- */

void replay_release(struct replay *r) {
    for (int i = 0; r->held != NULL && i < r->m->g->value_count; i++)
        mem_free(r->held[i]);
    demand_release(&r->w);
    traffic_release(&r->t);
    traffic_release(&r->early);
    mem_free(r->where);
    mem_free(r->held);
    mem_free(r->made);
    mem_free(r->splits);
    mem_free(r->inputs);
    mem_free(r->ends);
    mem_free(r->one);
    mem_free(r->all);
    *r = (struct replay){0};
}

/* Ends of segments by name, in one pass over the graph: names are looked for near where the last
 * one was found. */
static void find_ends(struct replay *r) {
    const struct graph *g = r->m->g;
    int k = 0;
    for (int i = 0; i < r->plan->segment_count; i++) {
        bool found = false;
        for (; k < g->node_count && !found; k++)
            for (int o = 0; o < g->nodes[k].out_count && !found; o++)
                found = g->nodes[k].out[o] >= 0 &&
                        strcmp(g->values[g->nodes[k].out[o]].name, r->plan->segments[i].until) == 0;
        BUG_UNLESS(found); /* plan_check() */
        r->ends[i] = k;
    }
}

enum cohort_code replay_begin(struct replay *r, const struct cost_model *m, const struct plan *plan,
                              bool own, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const size_t boards = (size_t)m->boards, values = (size_t)m->g->value_count + 1;
    BUG_UNLESS(plan->boards == m->boards);
    *r = (struct replay){.m = m, .plan = plan, .own = own, .segment = -1, .last = -1};
    r->next = REPLAY_IN;
    TRY(demand_init(&r->w, m, err));
    TRY(traffic_init(&r->t, m, err));
    TRY(traffic_init(&r->early, m, err));
    r->where = mem_zalloc(values, sizeof *r->where); /* AT(0) */
    r->held = mem_zalloc(values, sizeof *r->held);
    r->made = mem_zalloc(values, sizeof *r->made);
    r->splits = mem_alloc(values * (boards + 1) * sizeof *r->splits);
    r->inputs = mem_zalloc(values, sizeof *r->inputs);
    r->ends = mem_zalloc((size_t)plan->segment_count + 1, sizeof *r->ends);
    r->one = mem_zalloc(boards, sizeof *r->one);
    r->all = mem_zalloc(boards, sizeof *r->all);
    if (r->where == NULL || r->held == NULL || r->made == NULL || r->splits == NULL ||
        r->inputs == NULL || r->ends == NULL || r->one == NULL || r->all == NULL) {
        code = error_memory(err, values * boards * sizeof *r->splits, "the planner's tables");
        goto out;
    }
    for (size_t b = 0; b < boards; b++)
        r->all[b] = true;
    for (size_t i = 0; i < values; i++)
        r->made[i] = -1;
    find_ends(r);
out:
    if (code != COHORT_OK)
        replay_release(r);
    return code;
}

enum cohort_code replay_code(const struct replay *r, struct cohort_error *err) {
    return r->code == COHORT_OK ? COHORT_OK
                                : error_memory(err, sizeof(struct rowset), "replaying a plan");
}

/* ---- what boards hold ----------------------------------------------------------------------- */

static void hold(struct replay *r, int id, int b, struct rows rows) {
    if (r->own || rows_empty(rows))
        return;
    if (r->held[id] == NULL)
        r->held[id] = mem_zalloc((size_t)r->m->boards, sizeof *r->held[id]);
    if (r->held[id] == NULL)
        r->code = COHORT_ERR_MEMORY;
    else
        rowset_hold(&r->held[id][b], rows);
}

/* Board b wants rows of `id`: it gets those that it lacks. */
static void bring(struct replay *r, struct traffic *t, int id, int b, struct rows wanted) {
    const struct layout *l = &r->where[id];
    if (r->held[id] == NULL) {
        traffic_add(t, id, l, b, wanted);
    } else {
        struct rowset held = r->held[id][b];
        rowset_hold(&held, layout_rows(r->m, l, id, b));
        const struct rowset lacks = rowset_missing(&held, wanted);
        for (int i = 0; i < lacks.count; i++)
            traffic_add(t, id, l, b, lacks.r[i]);
    }
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void find_inputs(struct replay *r) {
    const struct graph *g = r->m->g;
    r->input_count = 0;
    for (int k = r->first; k < r->end; k++)
        for (int i = 0; i < g->nodes[k].in_count; i++) {
            const int id = g->nodes[k].in[i];
            bool fresh =
                id >= 0 && !r->m->values[id].constant && r->m->values[id].producer < r->first;
            for (int j = 0; fresh && j < r->input_count; j++)
                fresh = r->inputs[j] != id;
            if (fresh)
                r->inputs[r->input_count++] = id;
        }
}

static void bring_inputs(struct replay *r) {
    const size_t stride = (size_t)r->m->g->value_count;
    traffic_clear(&r->t, r->last, r->depth);
    traffic_clear(&r->early, -1, 0);
    for (int i = 0; i < r->input_count; i++) {
        const int id = r->inputs[i];
        const struct rows *need = r->w.need + id;
        const bool dealt = r->mode == PLAN_TILE && r->where[id].kind == LAYOUT_AT &&
                           r->where[id].board == 0; /* anew, whatever they hold */
        const bool early = !r->own && r->made[id] < r->segment - 1;
        for (int b = 0; b < r->m->boards; b++) {
            if (dealt)
                traffic_add(early ? &r->early : &r->t, id, &r->where[id], b,
                            need[(size_t)b * stride]);
            else
                bring(r, early ? &r->early : &r->t, id, b, need[(size_t)b * stride]);
        }
        for (int b = 0; !dealt && b < r->m->boards; b++)
            if (r->where[id].kind != LAYOUT_REPLICATED)
                hold(r, id, b, need[(size_t)b * stride]);
    }
    traffic_part(&r->t, r->where);
}

/* Boards with nothing to share, and segments with an empty tensor inside, run on board 0. */
static enum plan_mode mode_of(const struct replay *r, const struct plan_segment *s) {
    if (r->m->boards == 1)
        return PLAN_LOCAL;
    for (int k = r->first; s->mode == PLAN_TILE && k < r->end; k++)
        for (int i = 0; i < r->m->g->nodes[k].out_count; i++) {
            const int id = r->m->g->nodes[k].out[i];
            if (id >= 0 && shape_count(&graph_value(r->m->g, id)->shape) == 0)
                return PLAN_LOCAL;
        }
    return s->mode;
}

/* What boards need whole of a segment by channels, and how long they take. */
static void begin_channels(struct replay *r, const struct plan_segment *s) {
    const struct cost_model *m = r->m;
    const size_t stride = (size_t)m->g->value_count;
    r->run = (struct channel_run){r->first, r->end, r->mode, s->split, s->output, s->route};
    demand_begin_nothing(&r->w, r->first, r->end);
    for (int i = 0; i < r->input_count; i++) {
        const int id = r->inputs[i];
        for (int b = 0; r->where[id].kind != LAYOUT_CHANNELS && b < m->boards; b++)
            r->w.need[(size_t)b * stride + (size_t)id] = channel_needs(m, &r->run, id, b);
    }
    for (int b = 0; b < m->boards; b++)
        r->w.ms[b] = channel_ms(m, &r->run, b);
}

static void begin_segment(struct replay *r) {
    const struct plan_segment *s = &r->plan->segments[r->segment];
    r->first = r->segment == 0 ? 0 : r->ends[r->segment - 1];
    r->end = r->ends[r->segment];
    r->mode = mode_of(r, s);
    r->board = s->mode == PLAN_LOCAL ? s->board : 0;
    memset(r->one, 0, (size_t)r->m->boards * sizeof *r->one);
    r->one[r->board] = true;
    r->run = (struct channel_run){0};
    r->joined = r->first - 1;
    find_inputs(r);
    if (plan_by_channels(r->mode))
        begin_channels(r, s);
    else if (r->mode == PLAN_TILE)
        demand_begin(&r->w, r->end, r->m->outputs[r->end - 1], s->split);
    else
        demand_begin_whole(&r->w, r->end, r->mode == PLAN_LOCAL ? r->one : r->all);
    while (r->w.at > r->first)
        demand_step(&r->w);
    bring_inputs(r);
    r->window = (struct overlap){r->first, r->end, cost_heavy(r->m, r->first, r->end)};
}

/* Where one of the segment's outputs lies from now on. */
static void place_output(struct replay *r, int id) {
    const struct cost_model *m = r->m;
    const struct plan_segment *s = &r->plan->segments[r->segment];
    int64_t *split = r->splits + (size_t)id * ((size_t)m->boards + 1);
    r->made[id] = r->segment;
    if (plan_adds_up(r->mode)) {
        memcpy(split, s->split, ((size_t)m->boards + 1) * sizeof *split);
        r->where[id] = (struct layout){.kind = LAYOUT_PARTIAL};
        return;
    }
    if (plan_by_channels(r->mode)) {
        BUG_UNLESS(channel_scale_split(m, &r->run, id, split));
        r->where[id] = (struct layout){.kind = LAYOUT_CHANNELS, .split = split};
        return;
    }
    if (r->mode != PLAN_TILE) {
        r->where[id] = (struct layout){
            .kind = r->mode == PLAN_LOCAL ? LAYOUT_AT : LAYOUT_REPLICATED, .board = r->board};
        return;
    }
    if (m->values[id].last_use < r->end && id != m->outputs[r->end - 1])
        return;
    cost_scale_split(m, m->outputs[r->end - 1], s->split, id, split);
    r->where[id] = (struct layout){.kind = LAYOUT_ROWS, .split = split};
    for (int b = 0; b < m->boards; b++)
        if (!r->own && (demand_need(&r->w, b)[id].begin < split[b] ||
                        demand_need(&r->w, b)[id].end > split[b + 1]))
            hold(r, id, b, demand_need(&r->w, b)[id]);
}

/* The node whose output is the next that a segment by channels gives to the root or to all; -1: no
 * more. */
static int next_join(const struct replay *r) {
    if (r->run.end == 0 || r->run.output == PLAN_STAY)
        return -1;
    for (int k = r->joined + 1; k < r->end; k++)
        if (r->m->values[r->m->g->nodes[k].out[0]].last_use >= r->end)
            return k;
    return -1;
}

static void begin_join(struct replay *r) {
    const bool all = r->run.output == PLAN_TO_ALL;
    r->joined = next_join(r);
    const int id = r->m->g->nodes[r->joined].out[0];
    r->move = (struct channel_move){.value = id,
                                    .sum = plan_adds_up(r->mode),
                                    .to_all = all,
                                    .route = r->run.route,
                                    .split = r->splits + (size_t)id * ((size_t)r->m->boards + 1)};
    r->where[id] = (struct layout){.kind = all ? LAYOUT_REPLICATED : LAYOUT_AT};
    r->last = -1;
}

/* Calls for every output of the segment that is read behind its end; only what the network gives:
 * `results`. */
static void to_root(struct replay *r, bool results) {
    const struct cost_model *m = r->m;
    traffic_clear(&r->t, r->last, r->depth);
    for (int k = r->first; k < r->end; k++)
        for (int i = 0; i < m->g->nodes[k].out_count; i++) {
            const int id = m->g->nodes[k].out[i];
            if (id < 0 || m->values[id].last_use < (results ? m->g->node_count : r->end))
                continue;
            const struct rows all = {0, m->values[id].rows};
            if (results) {
                bring(r, &r->t, id, 0, all);
                if (r->where[id].kind != LAYOUT_REPLICATED)
                    hold(r, id, 0, all);
            } else if (r->where[id].kind != LAYOUT_REPLICATED) {
                traffic_add(&r->t, id, &r->where[id], 0, all);
            }
        }
}

static void arrived(struct replay *r) {
    for (int k = r->first; k < r->end; k++)
        for (int i = 0; i < r->m->g->nodes[k].out_count; i++) {
            const int id = r->m->g->nodes[k].out[i];
            if (id < 0 || r->where[id].kind == LAYOUT_REPLICATED)
                continue;
            r->where[id] = (struct layout){.kind = LAYOUT_AT};
            mem_free(r->held[id]); /* they forget what they hold */
            r->held[id] = NULL;
        }
    r->last = -1;
}

enum replay_kind replay_next(struct replay *r) {
    const enum replay_kind now = r->code == COHORT_OK ? r->next : REPLAY_END;
    switch (now) {
    case REPLAY_IN:
        if (++r->segment >= r->plan->segment_count)
            return r->next = REPLAY_END;
        begin_segment(r);
        r->next = REPLAY_COMPUTE;
        break;
    case REPLAY_COMPUTE:
        for (int k = r->first; k < r->end; k++)
            for (int i = 0; i < r->m->g->nodes[k].out_count; i++)
                if (r->m->g->nodes[k].out[i] >= 0)
                    place_output(r, r->m->g->nodes[k].out[i]);
        r->last = r->m->outputs[r->end - 1];
        r->depth =
            r->mode == PLAN_TILE ? cost_tail_depth(r->m, r->first, r->end, r->window.heavy) : 0;
        r->next = next_join(r) >= 0 ? REPLAY_JOIN : REPLAY_ROOT;
        break;
    case REPLAY_JOIN:
        begin_join(r);
        r->next = next_join(r) >= 0 ? REPLAY_JOIN : REPLAY_ROOT;
        break;
    case REPLAY_ROOT:
        r->next = REPLAY_RESULT;
        traffic_clear(&r->t, r->last, r->depth);
        if (r->plan->segments[r->segment].output == PLAN_TO_ROOT)
            to_root(r, false);
        break;
    case REPLAY_RESULT:
        if (r->plan->segments[r->segment].output == PLAN_TO_ROOT && r->mode != PLAN_REPLICATE)
            arrived(r);
        to_root(r, true);
        r->next = REPLAY_IN;
        break;
    case REPLAY_END:
        break;
    }
    return now;
}

const struct overlap *replay_window(const struct replay *r, enum replay_kind kind) {
    return kind == REPLAY_IN && r->mode == PLAN_TILE ? &r->window : NULL;
}

/* ---- folds ---------------------------------------------------------------------------------- */

static double longest_finish(const struct replay *r) {
    double most = 0;
    for (int b = 0; b < r->m->boards; b++)
        most = fmax(most, channel_finish_ms(r->m, &r->run, b));
    return most;
}

enum cohort_code plan_step_sum(const struct cost_model *m, const struct plan *plan, double *ms,
                               struct cohort_error *err) {
    struct replay r;
    double sum = 0;
    enum cohort_code code = replay_begin(&r, m, plan, true, err);
    if (code != COHORT_OK)
        return code;
    for (enum replay_kind k = replay_next(&r); k != REPLAY_END; k = replay_next(&r)) {
        double most = 0;
        for (int b = 0; b < m->boards; b++)
            most = fmax(most, r.w.ms[b]);
        if (k == REPLAY_COMPUTE)
            sum += most;
        else if (k == REPLAY_JOIN)
            sum += channel_move_ms(&r.t, &r.move) + longest_finish(&r);
        else
            sum += transition_wait_ms(&r.t, r.where, replay_window(&r, k), r.w.need);
    }
    code = replay_code(&r, err);
    replay_release(&r);
    if (code == COHORT_OK)
        *ms = sum;
    return code;
}

enum cohort_code plan_choose_routes(const struct cost_model *m, struct plan *plan,
                                    struct cohort_error *err) {
    struct replay r;
    enum cohort_code code = replay_begin(&r, m, plan, true, err);
    if (code != COHORT_OK)
        return code;
    double ms[PLAN_ROUTES] = {0}; /* for all that the segment gives */
    for (enum replay_kind k = replay_next(&r); k != REPLAY_END; k = replay_next(&r)) {
        for (int route = 0; route < PLAN_ROUTES; route++) {
            ms[route] = k == REPLAY_COMPUTE ? 0 : ms[route];
            r.move.route = (enum plan_route)route;
            if (k == REPLAY_JOIN)
                ms[route] += channel_move_ms(&r.t, &r.move);
        }
        if (k == REPLAY_JOIN)
            plan->segments[r.segment].route = channel_best_route(ms);
    }
    code = replay_code(&r, err);
    replay_release(&r);
    return code;
}
