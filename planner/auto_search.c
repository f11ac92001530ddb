/* The dynamic program of `auto`; see auto.h.
 *
 * Cuts are taken in order.  For every segment that ends with a cut (its first unit, mode, split)
 * the rows that it needs and what it computes are found once; then every state of the cut before it
 * is led through: what has to travel depends on where the tensors lie, and that is the state. */
#include "planner/auto_step.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- keys ----------------------------------------------------------------------------------- */

static void find_readers(struct search *x) {
    const struct graph *g = x->m->g;
    for (int i = 0; i < g->value_count; i++)
        x->reader[i] = -1;
    for (int k = 0; k < g->node_count; k++)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            if (g->nodes[k].in[i] >= 0)
                x->reader[g->nodes[k].in[i]] = k;
}

/* A state names the tensors that later operators read, and the one made last, whose maker's time
 * hides messages. */
static void find_keyed(struct search *x) {
    const struct cuts *c = x->cuts;
    int count = 0;
    for (int i = 0; i < c->count; i++) {
        const int last = i > 0 && i + 1 < c->count ? x->m->outputs[c->at[i] - 1] : -1;
        bool named = last < 0;
        x->keyed_first[i] = count;
        for (int k = c->first[i]; k < c->first[i + 1]; k++)
            if (x->reader[c->live[k]] >= c->at[i]) {
                x->keyed[count++] = c->live[k];
                named = named || c->live[k] == last;
            }
        if (!named)
            x->keyed[count++] = last;
    }
    x->keyed_first[c->count] = count;
}

/* ---- what a segment makes ------------------------------------------------------------------- */

/* Where value `id` lies when the option's segment has made it. */
static enum cohort_code place(struct search *x, const struct option *o, int id,
                              struct cohort_error *err) {
    const struct auto_segment *s = &o->segment;
    if (s->mode == PLAN_LOCAL)
        x->place[id] = s->board;
    else if (s->mode == PLAN_REPLICATE)
        x->place[id] = x->m->boards;
    if (plan_by_channels(s->mode))
        return auto_channels_place(x, o, id, err);
    if (s->mode != PLAN_TILE)
        return COHORT_OK;
    const int until = x->m->outputs[x->cuts->at[o->end] - 1];
    cost_scale_split(x->m, until, sigma_split(x->s, s->split), id, x->scaled);
    return layouts_number(&x->layouts, x->scaled, false, &x->place[id], err);
}

/* The waits for what goes to the root: all that the segment made and that is read later, and what
 * of it the network gives. */
static enum cohort_code find_results(struct search *x, struct option *o, struct cohort_error *err) {
    const struct cost_model *m = x->m;
    const struct cuts *c = x->cuts;
    const int begin = c->at[o->begin], until = m->outputs[c->at[o->end] - 1];
    bool any = false;
    for (int k = c->first[o->end]; k < c->first[o->end + 1]; k++)
        any = any || m->values[c->live[k]].last_use == m->g->node_count;
    o->may[PLAN_STAY] = true;
    o->output_ms[PLAN_STAY] = o->output_ms[PLAN_TO_ROOT] = 0;
    if (!any && !o->may[PLAN_TO_ROOT])
        return COHORT_OK;
    enum cohort_code code = place(x, o, until, err);
    for (int k = c->first[o->end]; k < c->first[o->end + 1] && code == COHORT_OK; k++)
        if (m->values[c->live[k]].producer >= begin)
            code = place(x, o, c->live[k], err);
    if (code != COHORT_OK)
        return code;
    x->where[until] = layouts_get(&x->layouts, x->place[until]); /* all have their numbers now */
    for (int all = 0; all < 2; all++) {
        if (all ? !o->may[PLAN_TO_ROOT] : !any)
            continue;
        traffic_clear(&x->t, until, o->depth);
        for (int k = c->first[o->end]; k < c->first[o->end + 1]; k++) {
            const int id = c->live[k];
            if (m->values[id].producer < begin ||
                (!all && m->values[id].last_use < m->g->node_count))
                continue;
            x->where[id] = layouts_get(&x->layouts, x->place[id]);
            traffic_add(&x->t, id, &x->where[id], 0, (struct rows){0, m->values[id].rows});
        }
        o->output_ms[all ? PLAN_TO_ROOT : PLAN_STAY] =
            x->s->limits.wait * transition_wait_ms(&x->t, x->where, NULL, x->d.need);
    }
    return COHORT_OK;
}

/* Numbers of all layouts that the key of the segment's end takes from it. */
static enum cohort_code find_places(struct search *x, struct option *o, struct cohort_error *err) {
    const int begin = x->cuts->at[o->begin];
    enum cohort_code code = COHORT_OK;
    o->carries = false;
    for (int k = x->keyed_first[o->end]; k < x->keyed_first[o->end + 1]; k++) {
        const int id = x->keyed[k];
        if (x->m->values[id].producer >= begin)
            TRY(place(x, o, id, err));
        else
            o->carries = true;
    }
out:
    return code;
}

/* ---- one step ------------------------------------------------------------------------------- */

static void fill_key(struct search *x, const struct option *o, const int *from,
                     enum plan_output output) {
    const int moved = output == PLAN_TO_ROOT ? 0 : x->m->boards; /* AT(0), REPLICATED */
    const int begin = x->cuts->at[o->begin], first = x->keyed_first[o->end];
    const bool last = o->end + 1 == x->cuts->count;
    x->key[0] =
        output != PLAN_STAY || last ? 0 : o->depth; /* 0: nothing is computed while this is sent */
    for (int k = first; k < x->keyed_first[o->end + 1]; k++) {
        const int id = x->keyed[k];
        x->key[1 + k - first] = x->m->values[id].producer < begin ? from[x->slot[id]]
                                : output != PLAN_STAY             ? moved
                                                                  : x->place[id];
    }
}

static double known_ms(struct search *x, const struct option *o, const int *from,
                       enum plan_output output) {
    fill_key(x, o, from, output);
    const int found = states_find(&x->states, x->key, auto_key_length(x, o->end));
    return found >= 0 ? x->states.list[found].best.ms : INFINITY;
}

/* Where everything lies in a state of the cut before the segment. */
static void find_where(struct search *x, const struct option *o, const int *key) {
    const int first = x->keyed_first[o->begin];
    for (int k = first; k < x->keyed_first[o->begin + 1]; k++)
        x->where[x->keyed[k]] = layouts_get(&x->layouts, key[1 + k - first]);
}

/* What is exposed of what the segment waits for, coming from a state. */
static double wait_ms(struct search *x, const struct option *o, const int *key) {
    const int cut = o->begin;
    const struct cuts *c = x->cuts;
    find_where(x, o, key);
    const int main = cut == 0 ? -1 : x->m->outputs[c->at[cut] - 1];
    if (plan_by_channels(o->segment.mode))
        return auto_channels_wait_ms(x, o, main, key[0]);
    traffic_clear(&x->t, main, key[0]);
    traffic_add_all(&x->t, c->live + c->first[cut], c->first[cut + 1] - c->first[cut], x->where,
                    x->d.need);
    traffic_part(&x->t, x->where);
    return x->s->limits.wait * transition_wait_ms(&x->t, x->where,
                                                  o->segment.mode == PLAN_TILE ? &o->window : NULL,
                                                  x->d.need);
}

static enum cohort_code relax(struct search *x, const struct option *o, int from, double ms,
                              enum plan_output output, struct cohort_error *err) {
    struct way w = {.ms = ms + o->output_ms[output], .from = from, .segment = o->segment};
    w.segment.output = output;
    w.segment.route = o->route[output];
    fill_key(x, o, x->states.keys + x->states.list[from].key, output);
    return states_relax(&x->states, x->key, auto_key_length(x, o->end), &w, err);
}

/* The same where memory counts. */
static enum cohort_code relax_limited(struct search *x, const struct option *o, int from,
                                      enum plan_output output, struct cohort_error *err) {
    const int *key = x->states.keys + x->states.list[from].key;
    const double *before = x->states.memory + (size_t)from * (size_t)x->states.numbers;
    const int length = auto_key_length(x, o->end);
    struct way w = {.ms = x->states.list[from].best.ms + o->compute_ms + o->output_ms[output],
                    .from = from,
                    .segment = o->segment};
    w.segment.output = output;
    w.segment.route = o->route[output];
    if (w.ms > x->most_ms ||
        !auto_memory_add(&x->memory, before, x->where, o, &x->d, output, x->after))
        return COHORT_OK;
    fill_key(x, o, key, output);
    if (states_dominated(&x->states, x->key, length, w.ms, x->after))
        return COHORT_OK;
    x->steps++;
    w.ms += wait_ms(x, o, key);
    if (w.ms > x->most_ms)
        return COHORT_OK;
    return states_add(&x->states, x->key, length, &w, x->after, err);
}

/* What the segment's weights cost, on the board that has most of them. */
static double price_ms(const struct search *x, const struct option *o) {
    const struct cost_model *m = x->m;
    const int first = x->cuts->at[o->begin], end = x->cuts->at[o->end];
    const enum plan_mode mode = o->segment.mode;
    const int64_t *split = mode == PLAN_TILE ? sigma_split(x->s, o->segment.split) : NULL;
    double most = 0;
    if (!(x->s->limits.price > 0))
        return 0;
    for (int b = 0; b < m->boards; b++) {
        double bytes = 0;
        if (plan_by_channels(mode)) {
            bytes = channel_weight_bytes(m, &o->run, b);
        } else if (split != NULL ? split[b + 1] > split[b]
                                 : mode == PLAN_REPLICATE || b == o->segment.board) {
            for (int k = first; k < end; k++)
                bytes += cost_weight_bytes(m, b, k);
        }
        most = fmax(most, bytes);
    }
    return x->s->limits.price * most;
}

/* Leads all states of the cut before the segment through it. */
static enum cohort_code take_limited(struct search *x, struct option *o, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    auto_memory_segment(&x->memory, o, &x->d);
    for (int i = 0; i < x->states.kept[o->begin]; i++) {
        const int from = x->states.order[x->states.kept_first[o->begin] + i];
        const int *key = x->states.keys + x->states.list[from].key;
        find_where(x, o, key);
        if (!auto_reads(x, o, key)) /* keys move when states are added */
            continue;
        for (int out = 0; out < 3; out++)
            if (o->may[out])
                TRY(relax_limited(x, o, from, (enum plan_output)out, err));
    }
out:
    return code;
}

/* Likewise, and of all ways to a state only the cheapest and the next. */
enum cohort_code auto_take(struct search *x, struct option *o, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int cut = o->begin;
    if (!plan_by_channels(o->segment.mode))
        TRY(find_results(x, o, err));
    TRY(find_places(x, o, err));
    o->compute_ms += price_ms(x, o);
    for (int k = x->keyed_first[cut]; k < x->keyed_first[cut + 1]; k++)
        x->slot[x->keyed[k]] = 1 + k - x->keyed_first[cut];
    if (x->limited)
        return take_limited(x, o, err);
    for (int i = 0; i < x->states.kept[cut]; i++) {
        const int from = x->states.order[x->states.kept_first[cut] + i];
        const int *key = x->states.keys + x->states.list[from].key;
        const double least = x->states.list[from].best.ms + o->compute_ms;
        bool wanted[3], any = false;
        for (int out = 0; out < 3; out++) {
            wanted[out] = o->may[out] &&
                          least + o->output_ms[out] < known_ms(x, o, key, (enum plan_output)out);
            any = any || wanted[out];
        }
        if (!any && !o->carries)
            break; /* the states behind it are dearer, and lead to the same */
        if (!any || !auto_reads(x, o, key))
            continue;
        const double ms = least + wait_ms(x, o, key);
        x->steps++;
        for (int out = 0; out < 3; out++)
            if (wanted[out])
                TRY(relax(x, o, from, ms, (enum plan_output)out, err));
    }
out:
    return code;
}

static double slowest(const struct search *x) {
    double most = 0;
    for (int b = 0; b < x->m->boards; b++)
        most = fmax(most, x->d.ms[b]);
    return most;
}

static enum cohort_code take_tiles(struct search *x, int end, struct cohort_error *err) {
    const struct cuts *c = x->cuts;
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < x->s->size[end]; i++) {
        struct option o = {.end = end, .may = {[PLAN_TO_ROOT] = true}};
        o.segment =
            (struct auto_segment){.end = end, .mode = PLAN_TILE, .split = x->s->first[end] + i};
        demand_begin(&x->d, c->at[end], x->m->outputs[c->at[end] - 1],
                     sigma_split(x->s, o.segment.split));
        for (int b = end - 1; b >= 0 && c->wide[b] && end - b <= x->s->limits.longest; b--) {
            while (x->d.at > c->at[b])
                demand_step(&x->d);
            o.begin = b;
            o.window =
                (struct overlap){c->at[b], c->at[end], cost_heavy(x->m, c->at[b], c->at[end])};
            o.depth = cost_tail_depth(x->m, c->at[b], c->at[end], o.window.heavy);
            o.compute_ms = slowest(x);
            TRY(auto_take(x, &o, err));
        }
    }
out:
    return code;
}

static enum cohort_code take_whole(struct search *x, int end, struct cohort_error *err) {
    const struct cuts *c = x->cuts;
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < x->s->board_count + x->s->replicate; i++) {
        const bool local = i < x->s->board_count;
        struct option o = {.begin = end - 1, .end = end};
        o.segment = (struct auto_segment){.end = end,
                                          .mode = local ? PLAN_LOCAL : PLAN_REPLICATE,
                                          .board = local ? x->s->boards[i] : 0};
        for (int b = 0; b < x->m->boards; b++)
            x->who[b] = !local || b == x->s->boards[i];
        demand_begin_whole(&x->d, c->at[end], x->who);
        while (x->d.at > c->at[end - 1])
            demand_step(&x->d);
        o.compute_ms = slowest(x);
        TRY(auto_take(x, &o, err));
    }
out:
    return code;
}

/* ---- together -------------------------------------------------------------------------------- */

void auto_release(struct auto_found *f) {
    for (int i = 0; f->plans != NULL && i < f->count; i++)
        mem_free(f->plans[i].segments);
    mem_free(f->plans);
    *f = (struct auto_found){0};
}

static void search_release(struct search *x) {
    layouts_release(&x->layouts);
    states_release(&x->states);
    demand_release(&x->d);
    traffic_release(&x->t);
    mem_free(x->reader);
    mem_free(x->keyed_first);
    mem_free(x->keyed);
    mem_free(x->where);
    mem_free(x->place);
    mem_free(x->slot);
    mem_free(x->key);
    mem_free(x->who);
    mem_free(x->scaled);
    mem_free(x->after);
    mem_free(x->divided);
    auto_memory_release(&x->memory);
}

static enum cohort_code search_init(struct search *x, const struct sigma *s,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct cost_model *m = s->m;
    const size_t values = (size_t)m->g->value_count + 1, cuts = (size_t)s->cuts->count + 1;
    *x = (struct search){.s = s, .m = m, .cuts = s->cuts};
    x->reader = mem_zalloc(values, sizeof *x->reader);
    x->keyed_first = mem_zalloc(cuts, sizeof *x->keyed_first);
    x->keyed = mem_zalloc((size_t)s->cuts->first[s->cuts->count] + cuts, sizeof *x->keyed);
    x->where = mem_zalloc(values, sizeof *x->where);
    x->place = mem_zalloc(values, sizeof *x->place);
    x->slot = mem_zalloc(values, sizeof *x->slot);
    x->key = mem_zalloc(values + 1, sizeof *x->key);
    x->who = mem_zalloc((size_t)m->boards, sizeof *x->who);
    x->scaled = mem_zalloc((size_t)m->boards + 1, sizeof *x->scaled);
    x->divided = mem_zalloc((size_t)m->boards + 1, sizeof *x->divided);
    if (x->reader == NULL || x->keyed_first == NULL || x->keyed == NULL || x->where == NULL ||
        x->place == NULL || x->slot == NULL || x->key == NULL || x->who == NULL ||
        x->scaled == NULL || x->divided == NULL) {
        code = error_memory(err, values * sizeof *x->where, "a search");
        goto out;
    }
    TRY(layouts_init(&x->layouts, m->boards, err));
    TRY(states_init(&x->states, s->cuts->count, err));
    TRY(demand_init(&x->d, m, err));
    TRY(traffic_init(&x->t, m, err));
    if (s->limits.memory > 0) {
        x->limited = true;
        x->most_ms = s->limits.most_ms > 0 ? s->limits.most_ms : INFINITY;
        x->states.numbers = 2 * m->boards;
        x->after = mem_zalloc(2 * (size_t)m->boards, sizeof *x->after);
        if (x->after == NULL)
            TRY(error_memory(err, 2 * (size_t)m->boards * sizeof *x->after, "a search"));
        TRY(auto_memory_init(&x->memory, m, s->cuts, s->limits.memory, err));
    }
    find_readers(x);
    find_keyed(x);
out:
    return code;
}

enum cohort_code auto_search(struct auto_found *f, const struct sigma *s, int most,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct search x;
    *f = (struct auto_found){0};
    TRY(search_init(&x, s, err));
    /* The first state: the network's inputs are on the root. */
    states_begin_cut(&x.states, 0);
    memset(x.key, 0, ((size_t)s->m->g->value_count + 2) * sizeof *x.key);
    if (x.limited && auto_memory_begins(&x.memory))
        TRY(states_add(&x.states, x.key, auto_key_length(&x, 0), &(struct way){.from = -1}, x.after,
                       err));
    else if (!x.limited)
        TRY(states_relax(&x.states, x.key, auto_key_length(&x, 0), &(struct way){.from = -1}, err));
    TRY(states_end_cut(&x.states, 0, 1, &x.left_out, err));
    for (int c = 1; c < s->cuts->count; c++) {
        states_begin_cut(&x.states, c);
        TRY(take_whole(&x, c, err));
        if (s->cuts->wide[c - 1])
            TRY(take_tiles(&x, c, err));
        TRY(auto_take_channels(&x, c, err));
        TRY(states_end_cut(&x.states, c, s->limits.states, &x.left_out, err));
    }
    f->states = x.states.count;
    f->steps = x.steps;
    f->pruned = x.left_out;
    TRY(auto_write_plans(&x, most, f, err));
out:
    search_release(&x);
    if (code != COHORT_OK)
        auto_release(f);
    return code;
}
