/* Splits: in proportion to speed, and the one whose slowest board is fastest.
 *
 * The two end boards of an image have one halo, the others two, and halos cost rows of every layer
 * of the segment; so the best split is not the proportional one.  Time of a board over the row that
 * its range ends with never falls, so the least time T with which the boards, in order, reach the
 * last row is found by bisection: each takes as many rows as it computes within T. */
#include "planner/cost.h"

#include "base/mem.h"
#include "planner/plan_parts.h"

#include <math.h>
#include <string.h>

#define PRECISE 1e-3 /* of T; splits are whole rows, so finer is no better */
#define BELOW   0.9  /* of the mean time of proportional shares: hardly ever possible */

enum cohort_code cost_proportional(const struct cost_model *m, int until, const bool *who,
                                   int64_t *split, struct cohort_error *err) {
    double *shares = mem_alloc((size_t)m->boards * sizeof *shares);
    if (shares == NULL)
        return error_memory(err, (size_t)m->boards * sizeof *shares, "a split");
    for (int b = 0; b < m->boards; b++)
        shares[b] = who[b] ? m->speed[b] : 0;
    plan_split_rows(m->values[until].rows, shares, m->boards, split);
    mem_free(shares);
    return COHORT_OK;
}

/* ---- time of a range ------------------------------------------------------------------------ */

/* Rows of a node that rows [y0, y1) of `until` come to: [max(0, y0*step + lo), min(rows,
 * (y1-1)*step
 * + hi + 1)).  Right but for a row at the lower edge where a stride leaves rows unread; only used
 * to choose a split, never to charge one. */
struct reach {
    int64_t step, lo, hi;
};

struct splitter {
    const struct cost_model *m;
    int first, end, until; /* until < 0: reach is of nothing yet */
    struct reach *reach;   /* per node - first; step 0: not computed, -1: all rows */
    struct reach *of;      /* per value, while finding these; else all zero */
    int64_t *trial;        /* a split */
    const double *extra;   /* per board: ms a row of `until` takes beside computing; NULL: none */
};

enum cohort_code splitter_create(struct splitter **out, const struct cost_model *m,
                                 struct cohort_error *err) {
    const size_t values = (size_t)m->g->value_count + 1;
    struct splitter *s = mem_zalloc(1, sizeof *s);
    if (s != NULL) {
        *s = (struct splitter){.m = m, .until = -1};
        s->reach = mem_zalloc((size_t)m->g->node_count + 1, sizeof *s->reach);
        s->of = mem_zalloc(values, sizeof *s->of);
        s->trial = mem_zalloc((size_t)m->boards + 1, sizeof *s->trial);
    }
    if (s == NULL || s->reach == NULL || s->of == NULL || s->trial == NULL) {
        splitter_destroy(&s);
        return error_memory(err, values * sizeof *s->of, "the planner's tables");
    }
    *out = s;
    return COHORT_OK;
}

void splitter_destroy(struct splitter **ss) {
    struct splitter *s = *ss;
    if (s == NULL)
        return;
    mem_free(s->reach);
    mem_free(s->of);
    mem_free(s->trial);
    mem_free(s);
    *ss = NULL;
}

static void reach_join(struct reach *a, struct reach b) {
    if (a->step == 0)
        *a = b;
    else if (a->step != b.step || b.step < 0)
        a->step = -1;
    else {
        a->lo = a->lo < b.lo ? a->lo : b.lo;
        a->hi = a->hi > b.hi ? a->hi : b.hi;
    }
}

/* What input i of a node reaches over, when its output reaches over r. */
static struct reach reach_through(const struct node *n, int i, struct reach r) {
    const struct rowmap *m = &n->rowmap[i];
    if (m->kind != ROWMAP_AFFINE || m->den != 1 || m->num < 1 || m->one_image || r.step < 0)
        return (struct reach){.step = -1};
    return (struct reach){r.step * m->num, r.lo * m->num + m->lo, r.hi * m->num + m->hi};
}

static void find_reaches(struct splitter *s) {
    const struct graph *g = s->m->g;
    for (int k = s->end - 1; k >= s->first; k--) {
        const struct node *n = &g->nodes[k];
        struct reach r = {0};
        for (int i = 0; i < n->out_count; i++) {
            const int id = n->out[i];
            if (id < 0)
                continue;
            if (s->m->values[id].last_use >= s->end || id == s->until) { /* delivered: its share */
                const int64_t rows = s->m->values[id].rows, until = s->m->values[s->until].rows;
                const int64_t f = until > 0 && rows % until == 0 ? rows / until : -1;
                reach_join(&s->of[id], (struct reach){f, 0, f > 0 ? f - 1 : 0});
            }
            if (s->of[id].step != 0)
                reach_join(&r, s->of[id]);
        }
        s->reach[k - s->first] = r;
        for (int i = 0; r.step != 0 && i < n->in_count; i++)
            if (n->in[i] >= 0 && !s->m->values[n->in[i]].constant)
                reach_join(&s->of[n->in[i]], reach_through(n, i, r));
    }
    for (int k = s->first; k < s->end; k++) { /* leave `of` clean */
        const struct node *n = &g->nodes[k];
        for (int i = 0; i < n->in_count; i++)
            if (n->in[i] >= 0)
                s->of[n->in[i]] = (struct reach){0};
        for (int i = 0; i < n->out_count; i++)
            if (n->out[i] >= 0)
                s->of[n->out[i]] = (struct reach){0};
    }
}

static double range_ms(const struct splitter *s, int b, int64_t y0, int64_t y1) {
    double ms = 0;
    if (y0 >= y1)
        return 0;
    if (s->extra != NULL)
        ms = s->extra[b] * (double)(y1 - y0);
    for (int k = s->first; k < s->end; k++) {
        const struct reach *r = &s->reach[k - s->first];
        if (r->step == 0)
            continue;
        const int64_t rows = s->m->nodes[k].rows;
        int64_t begin = 0, end = rows;
        if (r->step > 0) {
            begin = y0 * r->step + r->lo;
            end = (y1 - 1) * r->step + r->hi + 1;
            begin = begin > 0 ? begin : 0;
            end = end < rows ? end : rows;
        }
        if (end > begin)
            ms += cost_op_ms(s->m, b, k, s->end, end - begin);
    }
    return ms;
}

/* ---- bisection ------------------------------------------------------------------------------ */

/* The last y1 <= rows with a time of at most `ms` for [y0, y1); y0 when not one row fits. */
static int64_t take(const struct splitter *s, int b, int64_t y0, int64_t rows, double ms,
                    int64_t guess) {
    int64_t fits = y0, over = rows + 1;
    int64_t y = y0 + (guess > 0 ? guess : 1), stride = 1; /* longer steps away from the guess */
    while (over - fits > 1) {
        if (y <= fits || y >= over)
            y = fits + (over - fits) / 2;
        if (range_ms(s, b, y0, y) <= ms) {
            fits = y;
            y += stride;
        } else {
            over = y;
            y -= stride;
        }
        stride *= 2;
    }
    return fits;
}

/* Boards in order take what they can within `ms`: is that everything? */
static bool reaches_end(const struct splitter *s, const bool *who, double ms, const int64_t *near,
                        int64_t *split) {
    const int64_t rows = s->m->values[s->until].rows;
    split[0] = 0;
    for (int b = 0; b < s->m->boards; b++)
        split[b + 1] = who[b] ? take(s, b, split[b], rows, ms, near[b + 1] - near[b]) : split[b];
    return split[s->m->boards] == rows;
}

/* *mean (may be NULL): of the boards with rows. */
static double slowest(const struct splitter *s, const int64_t *split, double *mean) {
    double most = 0, sum = 0;
    int busy = 0;
    for (int b = 0; b < s->m->boards; b++) {
        const double ms = range_ms(s, b, split[b], split[b + 1]);
        most = fmax(most, ms);
        sum += ms;
        busy += split[b + 1] > split[b];
    }
    if (mean != NULL)
        *mean = busy > 0 ? sum / busy : 0;
    return most;
}

enum cohort_code cost_minimax(const struct cost_model *m, int first, int end, int until,
                              const bool *who, const double *extra, int64_t *split,
                              struct cohort_error *err) {
    struct splitter *s = m->splitter;
    const size_t bytes = ((size_t)m->boards + 1) * sizeof *split;
    enum cohort_code code = cost_proportional(m, until, who, split, err);
    if (code != COHORT_OK)
        return code;
    s->extra = extra;
    if (s->first != first || s->end != end || s->until != until) {
        s->first = first;
        s->end = end;
        s->until = until;
        find_reaches(s);
    }
    double mean, high = slowest(s, split, &mean), low = BELOW * mean;
    while (low > 0 && reaches_end(s, who, low, split, s->trial)) {
        memcpy(split, s->trial, bytes);
        high = low;
        low /= 2;
        if (low < high * 1e-6 || high < 1e-12)
            break;
    }
    while (high - low > PRECISE * high) {
        const double middle = (low + high) / 2;
        if (reaches_end(s, who, middle, split, s->trial)) {
            memcpy(split, s->trial, bytes);
            high = fmin(middle, slowest(s, split, NULL));
        } else {
            low = middle;
        }
    }
    return COHORT_OK;
}
