/* What the plans of `auto`'s search need of memory; see auto_memory.h. */
#include "planner/auto_memory.h"

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
    if (a->fixed == NULL || a->weights == NULL || a->until == NULL || a->last == NULL ||
        a->reader == NULL || a->alive == NULL || a->made[0] == NULL || a->made[1] == NULL) {
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

void auto_memory_segment(struct auto_memory *a, int begin, int end, const struct demand *d) {
    const struct cost_model *m = a->m;
    a->begin = a->cuts->at[begin];
    a->end = a->cuts->at[end];
    a->first = a->cuts->first[begin];
    a->count = a->cuts->first[begin + 1] - a->first;
    for (int i = 0; i < a->count; i++)
        a->last[i] = a->reader[a->cuts->live[a->first + i]] < a->begin
                         ? -1
                         : last_reader(a, a->cuts->live[a->first + i], -1);
    find_pieces(a);
    for (int b = 0; b < m->boards; b++) {
        a->weights[b] = 0;
        for (int k = a->begin; k < a->end; k++)
            a->weights[b] += runs(m, demand_need(d, b), k) ? cost_weight_bytes(m, b, k) : 0;
        for (int to_root = 0; to_root < 2; to_root++) {
            int k = a->begin;
            find_alive(a, d, b, to_root);
            for (int p = 0; p < a->pieces; p++) {
                double *most = &a->made[to_root][p * m->boards + b];
                for (*most = 0; k <= a->until[p]; k++)
                    *most = fmax(*most, a->alive[k]);
            }
        }
    }
}

/* ---- a state --------------------------------------------------------------------------------- */

/* What lies on board b of a value while the segment runs: what lay there, and what it gets. */
static double held_bytes(const struct auto_memory *a, int id, const struct layout *l, int b,
                         struct rows need) {
    if (b == 0 && a->m->values[id].producer < 0) /* always there, and counted so */
        return 0;
    return bytes_of(a->m, id, rows_hull(layout_rows(a->m, l, id, b), need));
}

bool auto_memory_add(const struct auto_memory *a, const double *before, const struct layout *where,
                     const struct demand *d, bool to_root, double *after) {
    const int boards = a->m->boards;
    for (int b = 0; b < boards; b++) {
        const struct rows *need = demand_need(d, b);
        double most = 0;
        for (int p = 0; p < a->pieces; p++) {
            double alive = a->made[to_root][p * boards + b];
            for (int i = 0; i < a->count; i++) {
                const int id = a->cuts->live[a->first + i];
                if (a->last[i] >= a->until[p])
                    alive += held_bytes(a, id, &where[id], b, need[id]);
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
