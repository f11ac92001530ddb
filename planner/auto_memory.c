/* What the plans of `auto`'s search need of memory; see auto_memory.h. */
#include "planner/auto_step.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static double bytes_of(const struct cost_model *m, int value, struct rows rows) {
    return (double)rows_count(rows) * m->values[value].row_bytes;
}

static void find_fixed(struct auto_memory *a) {
    const struct cost_model *m = a->m;
    for (int b = 0; b < m->boards; b++)
        a->fixed[b] = m->p->types[m->p->boards[b].type].workspace_bytes;
    for (int i = 0; i < m->g->input_count + m->g->output_count; i++) {
        const int id =
            i < m->g->input_count ? m->g->inputs[i] : m->g->outputs[i - m->g->input_count];
        if (!m->values[id].constant)
            a->fixed[0] += bytes_of(m, id, (struct rows){0, m->values[id].rows});
    }
}

enum cohort_code auto_memory_init(struct auto_memory *a, const struct cost_model *m,
                                  const struct cuts *cuts, double limit, struct cohort_error *err) {
    const size_t boards = (size_t)m->boards;
    size_t live = 0;
    for (int c = 0; c < cuts->count; c++) {
        const size_t here = (size_t)(cuts->first[c + 1] - cuts->first[c]);
        live = here > live ? here : live;
    }
    *a = (struct auto_memory){.m = m,
                              .cuts = cuts,
                              .limit = limit,
                              .fixed = mem_zalloc(boards, sizeof *a->fixed),
                              .weights = mem_zalloc(boards, sizeof *a->weights),
                              .until = mem_zalloc(live + 1, sizeof *a->until),
                              .last = mem_zalloc(live + 1, sizeof *a->last),
                              .reader =
                                  mem_alloc(((size_t)m->g->value_count + 1) * sizeof *a->reader),
                              .alive = mem_zalloc((size_t)m->g->node_count + 2, sizeof *a->alive)};
    a->made[0] = mem_zalloc(boards * (live + 1), sizeof **a->made);
    a->made[1] = mem_zalloc(boards * (live + 1), sizeof **a->made);
    a->made[2] = mem_zalloc(boards * (live + 1), sizeof **a->made);
    if (a->fixed == NULL || a->weights == NULL || a->until == NULL || a->last == NULL ||
        a->reader == NULL || a->alive == NULL || a->made[0] == NULL || a->made[1] == NULL ||
        a->made[2] == NULL) {
        auto_memory_release(a);
        return error_memory(err, boards * (live + 1) * sizeof **a->made, "a search");
    }
    find_fixed(a);
    for (int i = 0; i < m->g->value_count; i++)
        a->reader[i] = -1;
    for (int k = 0; k < m->g->node_count; k++)
        for (int i = 0; i < m->g->nodes[k].in_count; i++)
            if (m->g->nodes[k].in[i] >= 0)
                a->reader[m->g->nodes[k].in[i]] = k;
    return COHORT_OK;
}

void auto_memory_release(struct auto_memory *a) {
    mem_free(a->fixed);
    mem_free(a->weights);
    mem_free(a->until);
    mem_free(a->last);
    mem_free(a->reader);
    mem_free(a->alive);
    mem_free(a->made[0]);
    mem_free(a->made[1]);
    mem_free(a->made[2]);
    *a = (struct auto_memory){0};
}

/* ---- the segment ----------------------------------------------------------------------------- */

/* The last node of the segment that reads the value; its last at all where it is read later, too;
 * `otherwise` where nobody reads it here. */
static int last_reader(const struct auto_memory *a, int id, int otherwise) {
    const struct graph *g = a->m->g;
    if (a->m->values[id].last_use >= a->end)
        return a->end - 1;
    for (int k = a->end - 1; k >= a->begin; k--)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            if (g->nodes[k].in[i] == id)
                return k;
    return otherwise;
}

/* Where something that lay there before is read last, in order; the segment's end is the last. */
static void find_pieces(struct auto_memory *a) {
    a->pieces = 0;
    for (int i = 0; i <= a->count; i++) {
        const int k = i < a->count && a->last[i] >= 0 ? a->last[i] : a->end - 1;
        int at = a->pieces;
        while (at > 0 && a->until[at - 1] > k)
            at--;
        if (at > 0 && a->until[at - 1] == k)
            continue;
        memmove(a->until + at + 1, a->until + at, (size_t)(a->pieces - at) * sizeof *a->until);
        a->until[at] = k;
        a->pieces++;
    }
}

/* Bytes of what board b makes in the segment, alive at each of its nodes. */
static void find_alive(struct auto_memory *a, const struct demand *d, int b, bool to_root) {
    const struct cost_model *m = a->m;
    const struct rows *need = demand_need(d, b);
    memset(a->alive + a->begin, 0, (size_t)(a->end - a->begin + 1) * sizeof *a->alive);
    for (int k = a->begin; k < a->end; k++)
        for (int i = 0; i < m->g->nodes[k].out_count; i++) {
            const int id = m->g->nodes[k].out[i];
            if (id < 0 || cost_is_inside(m, b, k, a->end, id))
                continue;
            struct rows rows = need[id];
            if (to_root && b == 0 && m->values[id].last_use >= a->end)
                rows = (struct rows){0, m->values[id].rows};
            a->alive[k] += bytes_of(m, id, rows);
            a->alive[last_reader(a, id, k) + 1] -= bytes_of(m, id, rows);
        }
    for (int k = a->begin + 1; k < a->end; k++)
        a->alive[k] += a->alive[k - 1];
}

static bool runs(const struct cost_model *m, const struct rows *need, int node) {
    for (int i = 0; i < m->g->nodes[node].out_count; i++)
        if (m->g->nodes[node].out[i] >= 0 && !rows_empty(need[m->g->nodes[node].out[i]]))
            return true;
    return false;
}

/* The same of a segment by channels. */
static void find_alive_channels(struct auto_memory *a, const struct channel_run *r, int b) {
    const struct cost_model *m = a->m;
    const int of = channel_value(m, r->first, r->end, r->mode);
    const bool share = r->split[b + 1] > r->split[b], sum = plan_adds_up(r->mode);
    memset(a->alive + a->begin, 0, (size_t)(a->end - a->begin + 1) * sizeof *a->alive);
    for (int k = a->begin; k < a->end; k++) {
        const int id = m->g->nodes[k].out[0];
        const double whole = bytes_of(m, id, (struct rows){0, m->values[id].rows});
        const int64_t each = m->values[id].channels, all = m->values[of].channels;
        const struct channels c = {r->split[b] * each / all, r->split[b + 1] * each / all};
        const bool inside = !sum && cost_is_inside(m, b, k, a->end, id);
        const double own = !share || inside ? 0 : sum ? whole : channel_bytes(m, id, c);
        a->alive[k] += channel_copy_bytes(m, r, b);
        a->alive[k + 1] -= channel_copy_bytes(m, r, b);
        a->alive[k] += own;
        a->alive[last_reader(a, id, k) + 1] -= own;
        if (m->values[id].last_use >= a->end && r->output != PLAN_STAY &&
            (b == 0 ? m->values[id].last_use < m->g->node_count : r->output == PLAN_TO_ALL))
            a->alive[a->end - 1] += whole;
    }
    for (int k = a->begin + 1; k < a->end; k++)
        a->alive[k] += a->alive[k - 1];
}

/* Takes over what is alive from one last reader of what lay there before to the next. */
static void keep_pieces(struct auto_memory *a, int b, int output) {
    int k = a->begin;
    for (int p = 0; p < a->pieces; p++) {
        double *most = &a->made[output][p * a->m->boards + b];
        for (*most = 0; k <= a->until[p]; k++)
            *most = fmax(*most, a->alive[k]);
    }
}

void auto_memory_segment(struct auto_memory *a, const struct option *o, const struct demand *d) {
    const struct cost_model *m = a->m;
    const bool by_channels = plan_by_channels(o->segment.mode);
    a->begin = a->cuts->at[o->begin];
    a->end = a->cuts->at[o->end];
    a->first = a->cuts->first[o->begin];
    a->count = a->cuts->first[o->begin + 1] - a->first;
    for (int i = 0; i < a->count; i++)
        a->last[i] = a->reader[a->cuts->live[a->first + i]] < a->begin
                         ? -1
                         : last_reader(a, a->cuts->live[a->first + i], -1);
    find_pieces(a);
    for (int b = 0; b < m->boards; b++) {
        a->weights[b] = by_channels ? channel_weight_bytes(m, &o->run, b) : 0;
        for (int k = a->begin; k < a->end && !by_channels; k++)
            a->weights[b] += runs(m, demand_need(d, b), k) ? cost_weight_bytes(m, b, k) : 0;
        for (int out = 0; out < 3; out++) {
            struct channel_run run = o->run;
            run.output = (enum plan_output)out;
            if (!o->may[out])
                continue;
            if (by_channels)
                find_alive_channels(a, &run, b);
            else
                find_alive(a, d, b, out == PLAN_TO_ROOT);
            keep_pieces(a, b, out);
        }
    }
}

/* ---- a state --------------------------------------------------------------------------------- */

/* What lies on board b of a value while the segment runs: what lay there, and what it gets. */
static double held_bytes(const struct auto_memory *a, int id, const struct layout *l, int b,
                         struct rows need) {
    if (b == 0 && a->m->values[id].producer < 0) /* always there, and counted so */
        return 0;
    if (l->kind == LAYOUT_CHANNELS)
        return channel_bytes(a->m, id, (struct channels){l->split[b], l->split[b + 1]});
    return bytes_of(a->m, id, rows_hull(layout_rows(a->m, l, id, b), need));
}

/* The rows of it that the segment reads. */
static struct rows needed(const struct auto_memory *a, const struct option *o,
                          const struct demand *d, enum plan_output output, int id, int b) {
    struct channel_run run = o->run;
    if (!plan_by_channels(o->segment.mode))
        return demand_need(d, b)[id];
    run.output = output;
    return channel_needs(a->m, &run, id, b);
}

bool auto_memory_begins(const struct auto_memory *a) {
    for (int b = 0; b < a->m->boards; b++)
        if (a->fixed[b] > fmin(a->limit, cost_memory_limit(a->m, b)))
            return false;
    return true;
}

bool auto_memory_add(const struct auto_memory *a, const double *before, const struct layout *where,
                     const struct option *o, const struct demand *d, enum plan_output output,
                     double *after) {
    const int boards = a->m->boards;
    for (int b = 0; b < boards; b++) {
        double most = 0;
        for (int p = 0; p < a->pieces; p++) {
            double alive = a->made[output][p * boards + b];
            for (int i = 0; i < a->count; i++) {
                const int id = a->cuts->live[a->first + i];
                if (a->last[i] >= a->until[p])
                    alive += held_bytes(a, id, &where[id], b, needed(a, o, d, output, id, b));
            }
            most = fmax(most, alive);
        }
        after[b] = before[b] + a->weights[b];
        after[boards + b] = fmax(before[boards + b], most);
        if (a->fixed[b] + after[b] + after[boards + b] > fmin(a->limit, cost_memory_limit(a->m, b)))
            return false;
    }
    return true;
}
