/* Segments by channels in `auto`'s search; see auto.h for which there are.
 *
 * An out-channel segment finds what it sums over wherever that lies, and has boards bring it whole.
 * Channelwise and in-channel ones are only behind one that left the same channels on each board:
 * that is what a state with a tensor in CHANNELS is for, and nothing else can read it.  A fully
 * connected layer by rows brings each board the rows that it lacks: behind a tiled segment with the
 * same split none. */
#include "planner/auto_step.h"

#include <math.h>
#include <string.h>

/* ---- where tensors lie ----------------------------------------------------------------------- */

static bool reads_value(const struct graph *g, int first, int end, int id) {
    for (int k = first; k < end; k++)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            if (g->nodes[k].in[i] == id)
                return true;
    return false;
}

/* The channels that the run reads of a value are those that boards have. */
static bool same_channels(struct search *x, const struct channel_run *r, int id, int number) {
    const struct layout l = layouts_get(&x->layouts, number);
    return channel_reads(x->m, r->first, r->end, r->mode, id) == CHANNEL_READS_EITHER &&
           channel_scale_split(x->m, r, id, x->divided) &&
           memcmp(x->divided, l.split, ((size_t)x->m->boards + 1) * sizeof *l.split) == 0;
}

bool auto_reads(struct search *x, const struct option *o, const int *key) {
    const struct cuts *c = x->cuts;
    const enum plan_mode mode = o->segment.mode;
    bool divided = false;
    for (int k = x->keyed_first[o->begin]; k < x->keyed_first[o->begin + 1]; k++) {
        const int id = x->keyed[k], number = key[x->slot[id]];
        if (!layouts_by_channels(&x->layouts, number) ||
            !reads_value(x->m->g, c->at[o->begin], c->at[o->end], id))
            continue;
        if (!plan_by_channels(mode) || !same_channels(x, &o->run, id, number))
            return false;
        divided = true;
    }
    return divided || (mode != PLAN_CHANNELWISE && mode != PLAN_IN_CHANNEL);
}

enum cohort_code auto_channels_place(struct search *x, const struct option *o, int id,
                                     struct cohort_error *err) {
    x->place[id] = 0;
    if (!o->may[PLAN_STAY] || !channel_scale_split(x->m, &o->run, id, x->divided))
        return COHORT_OK; /* it does not stay */
    return layouts_number(&x->layouts, x->divided, true, &x->place[id], err);
}

double auto_channels_wait_ms(struct search *x, const struct option *o, int main, int depth) {
    traffic_clear(&x->t, main, depth);
    channel_traffic_in(&x->t, &o->run, x->where);
    traffic_part(&x->t, x->where);
    return x->s->limits.wait * transition_wait_ms(&x->t, x->where, NULL, NULL);
}

/* ---- one segment ----------------------------------------------------------------------------- */

/* Can what the segment makes stay divided?  Only by channels it can be read then. */
static bool may_stay(struct search *x, const struct option *o) {
    const struct cost_model *m = x->m;
    const struct cuts *c = x->cuts;
    if (plan_adds_up(o->segment.mode))
        return false;
    for (int k = c->first[o->end]; k < c->first[o->end + 1]; k++) {
        const int id = c->live[k];
        if (m->values[id].producer < o->run.first)
            continue;
        if (m->values[id].last_use == m->g->node_count ||
            !channel_scale_split(m, &o->run, id, x->divided))
            return false;
        for (int n = o->run.end; n <= m->values[id].last_use; n++)
            if (reads_value(m->g, n, n + 1, id) && !m->nodes[n].keeps_channels &&
                !m->nodes[n].sums_channels && !m->nodes[n].makes_channels)
                return false;
    }
    return true;
}

/* Joins, or the sum, of everything that goes on. */
static double route_ms(struct search *x, const struct option *o, enum plan_output output,
                       enum plan_route route) {
    const struct cost_model *m = x->m;
    const struct cuts *c = x->cuts;
    double ms = 0;
    for (int k = c->first[o->end]; k < c->first[o->end + 1]; k++) {
        struct channel_move v = {.value = c->live[k],
                                 .sum = plan_adds_up(o->run.mode),
                                 .to_all = output == PLAN_TO_ALL,
                                 .route = route,
                                 .split = o->run.split};
        if (m->values[v.value].producer < o->run.first)
            continue;
        if (!v.sum && channel_scale_split(m, &o->run, v.value, x->divided))
            v.split = x->divided;
        ms += channel_move_ms(&x->t, &v);
    }
    return ms;
}

/* By the best route, and what follows a sum. */
static void find_moved(struct search *x, struct option *o, enum plan_output output) {
    struct channel_run run = o->run;
    double finish = 0, ms[PLAN_ROUTES];
    for (int route = 0; route < PLAN_ROUTES; route++)
        ms[route] = route_ms(x, o, output, (enum plan_route)route);
    run.output = output;
    for (int b = 0; b < x->m->boards; b++)
        finish = fmax(finish, channel_finish_ms(x->m, &run, b));
    o->may[output] = true;
    o->route[output] = channel_best_route(ms);
    o->output_ms[output] = x->s->limits.wait * ms[o->route[output]] + finish;
}

static enum cohort_code take_run(struct search *x, int begin, int end, enum plan_mode mode,
                                 int split, struct cohort_error *err) {
    const struct cuts *c = x->cuts;
    struct option o = {.begin = begin,
                       .end = end,
                       .segment = {.end = end, .mode = mode, .split = split},
                       .run = {.first = c->at[begin],
                               .end = c->at[end],
                               .mode = mode,
                               .split = sigma_split(x->s, split)}};
    if (!sigma_in_units(x->s, o.run.first, o.run.end, mode, split))
        return COHORT_OK;
    for (int b = 0; b < x->m->boards; b++)
        o.compute_ms = fmax(o.compute_ms, channel_ms(x->m, &o.run, b));
    o.may[PLAN_STAY] = may_stay(x, &o);
    find_moved(x, &o, PLAN_TO_ROOT);
    find_moved(x, &o, PLAN_TO_ALL);
    return auto_take(x, &o, err);
}

/* ---- all that end with a cut ----------------------------------------------------------------- */

enum cohort_code auto_take_channels(struct search *x, int end, struct cohort_error *err) {
    const struct sigma *s = x->s;
    enum cohort_code code = COHORT_OK;
    for (int begin = end - 1; begin >= 0 && end - begin <= s->limits.channel_units; begin--)
        for (int i = 0; i < s->channel_size[end]; i++) {
            const int split = s->channel_first[end] + i;
            if (sigma_makes_channels(s, begin, end))
                TRY(take_run(x, begin, end, PLAN_OUT_CHANNEL, split, err));
            if (sigma_keeps_channels(s, begin, end))
                TRY(take_run(x, begin, end, PLAN_CHANNELWISE, split, err));
        }
    for (int i = 0; sigma_sums_channels(s, end - 1, end) && i < s->channel_size[end - 1]; i++)
        TRY(take_run(x, end - 1, end, PLAN_IN_CHANNEL, s->channel_first[end - 1] + i, err));
    for (int i = 0; sigma_sums_rows(s, end - 1, end) && i < s->size[end - 1]; i++)
        TRY(take_run(x, end - 1, end, PLAN_ROWS_GEMM, s->first[end - 1] + i, err));
out:
    return code;
}
