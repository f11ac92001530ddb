/* Which rows every board needs and computes of a segment, walked backwards node by node, so that
 * all segments with the same end and split cost one walk. */
#include "planner/cost.h"

#include "base/mem.h"

#include <string.h>

struct rows layout_rows(const struct cost_model *m, const struct layout *l, int value, int b) {
    switch (l->kind) {
    case LAYOUT_AT:
        return b == l->board ? (struct rows){0, m->values[value].rows} : (struct rows){0, 0};
    case LAYOUT_ROWS:
        return (struct rows){l->split[b], l->split[b + 1]};
    case LAYOUT_REPLICATED:
        return (struct rows){0, m->values[value].rows};
    case LAYOUT_CHANNELS:
    case LAYOUT_PARTIAL:
        break;
    }
    return (struct rows){0, 0};
}

void cost_scale_split(const struct cost_model *m, int until, const int64_t *split, int value,
                      int64_t *scaled) {
    const size_t n = (size_t)m->boards + 1;
    const struct value *from = graph_value(m->g, until), *to = graph_value(m->g, value);
    if (until == value || shape_equal(&from->shape, &to->shape)) {
        memcpy(scaled, split, n * sizeof *scaled);
        return;
    }
    const struct plan_segment s = {.split = (int64_t *)split};
    for (int b = 0; b <= m->boards; b++)
        scaled[b] = plan_scaled_row(&s, m->g, until, value, b);
}

/* ---- life ----------------------------------------------------------------------------------- */

enum cohort_code demand_init(struct demand *w, const struct cost_model *m,
                             struct cohort_error *err) {
    const size_t boards = (size_t)m->boards, values = (size_t)m->g->value_count + 1;
    *w = (struct demand){.m = m,
                         .need = mem_zalloc(boards * values, sizeof *w->need),
                         .ms = mem_zalloc(boards, sizeof *w->ms),
                         .work = mem_zalloc(boards, sizeof *w->work),
                         .first = mem_zalloc(boards, sizeof *w->first),
                         .scaled = mem_zalloc(boards + 1, sizeof *w->scaled),
                         .until = -1};
    if (w->need != NULL && w->ms != NULL && w->work != NULL && w->first != NULL &&
        w->scaled != NULL)
        return COHORT_OK;
    demand_release(w);
    return error_memory(err, boards * values * sizeof *w->need, "the planner's tables");
}

void demand_release(struct demand *w) {
    mem_free(w->need);
    mem_free(w->ms);
    mem_free(w->work);
    mem_free(w->first);
    mem_free(w->scaled);
    *w = (struct demand){0};
}

static void clear_value(struct demand *w, int id) {
    const size_t values = (size_t)w->m->g->value_count;
    for (int b = 0; id >= 0 && b < w->m->boards; b++)
        w->need[(size_t)b * values + (size_t)id] = (struct rows){0, 0};
}

static void clear(struct demand *w) {
    for (int k = w->at; k < w->end; k++) {
        const struct node *n = &w->m->g->nodes[k];
        for (int i = 0; i < n->in_count; i++)
            clear_value(w, n->in[i]);
        for (int i = 0; i < n->out_count; i++)
            clear_value(w, n->out[i]);
    }
    for (int b = 0; b < w->m->boards; b++)
        w->ms[b] = w->work[b] = w->first[b] = 0;
}

void demand_begin(struct demand *w, int end, int until, const int64_t *split) {
    clear(w);
    w->end = w->at = end;
    w->until = until;
    w->split = split;
    w->who = NULL;
}

void demand_begin_whole(struct demand *w, int end, const bool *who) {
    clear(w);
    w->end = w->at = end;
    w->until = -1;
    w->split = NULL;
    w->who = who;
}

void demand_begin_nothing(struct demand *w, int first, int end) {
    demand_begin_whole(w, end, NULL);
    w->at = first;
}

/* ---- one node ------------------------------------------------------------------------------- */

/* What the segment must deliver of node k: outputs that are read behind its end. */
static void want_shares(struct demand *w, const struct node *n) {
    const struct cost_model *m = w->m;
    const size_t values = (size_t)m->g->value_count;
    for (int i = 0; i < n->out_count; i++) {
        const int id = n->out[i];
        if (id < 0 || (m->values[id].last_use < w->end && id != w->until))
            continue;
        cost_scale_split(m, w->until, w->split, id, w->scaled);
        for (int b = 0; b < m->boards; b++) {
            struct rows *need = &w->need[(size_t)b * values + (size_t)id];
            *need = rows_hull(*need, (struct rows){w->scaled[b], w->scaled[b + 1]});
        }
    }
}

static void step_board(struct demand *w, int k, int b) {
    const struct graph *g = w->m->g;
    const struct node *n = &g->nodes[k];
    struct rows *need = w->need + (size_t)b * (size_t)g->value_count, out = {0, 0};
    rows_of_segment(g, k, k + 1, need);
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0)
            out = rows_hull(out, need[n->out[i]]);
    const int64_t rows = rows_count(out);
    w->first[b] = rows > 0 ? cost_op_ms(w->m, b, k, w->end, rows) : 0;
    w->ms[b] += w->first[b];
    w->work[b] += (double)rows * w->m->nodes[k].unit;
}

static void step_whole(struct demand *w, int k, int b) {
    const struct cost_model *m = w->m;
    const struct node *n = &m->g->nodes[k];
    struct rows *need = w->need + (size_t)b * (size_t)m->g->value_count;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] >= 0 && !m->values[n->in[i]].constant)
            need[n->in[i]] = (struct rows){0, m->values[n->in[i]].rows};
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0)
            need[n->out[i]] = (struct rows){0, m->values[n->out[i]].rows};
    w->first[b] = cost_op_ms(m, b, k, w->end, m->nodes[k].rows);
    w->ms[b] += w->first[b];
    w->work[b] += (double)m->nodes[k].rows * m->nodes[k].unit;
}

void demand_step(struct demand *w) {
    const int k = --w->at;
    if (w->split != NULL)
        want_shares(w, &w->m->g->nodes[k]);
    for (int b = 0; b < w->m->boards; b++)
        if (w->split == NULL ? w->who[b] : w->split[b + 1] > w->split[b])
            (w->split == NULL ? step_whole : step_board)(w, k, b);
}
