/* From the times that boards measured to curves over rows.
 *
 * Of all boards of a type the least time counts, at the type's scale.  Operators that are computed
 * in strips together have two curves: by themselves, and with the one behind them. */
#include "profile/measuring.h"

#include "base/mem.h"
#include "exec/chain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- operators by themselves ----------------------------------------------------------------- */

double profile_rounded(double ms) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", ms);
    return strtod(text, NULL);
}

/* The least time of node i at a level on the boards of a type, at the type's scale; -1: none. */
static double least_of(const struct measuring *m, const struct profile *p, int type, int part,
                       int i) {
    double least = -1;
    for (int r = 0; r < m->job->size; r++) {
        double ms = part_of(m, results_of(m, r), part)[i] / p->boards[r].scale;
        if (p->boards[r].type == type && ms >= 0 && (least < 0 || ms < least))
            least = ms;
    }
    return least;
}

/* From the fewest rows to all.  A part takes no longer than the whole: what says so was disturbed.
 */
static enum cohort_code make_curve(const struct measuring *m, const struct profile *p, int type,
                                   int i, struct profile_curve *curve, struct cohort_error *err) {
    double x[COMPUTE_LEVELS], ms[COMPUTE_LEVELS], most = INFINITY;
    int count = 0;
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        int64_t rows = compute_rows(m->job->graph, i, level);
        double t = rows > 0 ? least_of(m, p, type, level, i) : -1;
        if (t < 0)
            continue;
        most = t < most ? t : most;
        x[count] = (double)rows;
        ms[count++] = most;
    }
    if (count == 0)
        return COHORT_OK;
    curve->points = mem_alloc((size_t)count * sizeof *curve->points);
    if (curve->points == NULL)
        return error_memory(err, (size_t)count * sizeof *curve->points, "a profile");
    for (int k = count - 1; k >= 0; k--)
        curve->points[curve->count++] =
            (struct profile_point){.x = x[k], .ms = profile_rounded(ms[k])};
    return COHORT_OK;
}

/* ---- operators in strips --------------------------------------------------------------------- */

/* What chains take, as each operator's share: the one behind it is in the same chain.  Of every
 * node and level the rows, and the time; ms below 0: it is the last of its chain, or in none. */
struct shares {
    double *x, *ms; /* [level * nodes + node] */
};

/* The results of the first board of a type. */
static double *first_of(const struct measuring *m, const struct profile *p, int type) {
    int r = 0;
    while (r + 1 < m->job->size && p->boards[r].type != type)
        r++;
    return results_of(m, r);
}

/* The chain that begins with node `first` takes chained_ms; what that is less than its operators
 * one by one, all but the last take less, in proportion to their times: where a plan cuts the
 * chain, the operator before the cut is by itself, and the rest are as they were. */
static void share_chain(const struct measuring *m, const struct profile_type *t, int level,
                        int first, int count, double chained_ms, struct shares *s) {
    struct rows rows[CHAIN_MOST];
    double ms[CHAIN_MOST], sum = 0, own = 0;
    if (count > CHAIN_MOST)
        return;
    compute_chain_rows(m->job->graph, first, count, level, rows);
    for (int i = 0; i < count; i++) {
        const int curve = t->curve_of[first + i];
        ms[i] = curve < 0 ? 0 : profile_curve_ms(&t->curves[curve], (double)rows_count(rows[i]));
        sum += ms[i];
        own += i < count - 1 ? ms[i] : 0;
    }
    const double factor = own > 0 ? fmax(0, 1 + (chained_ms - sum) / own) : 1;
    for (int i = 0; i < count - 1; i++) {
        const size_t at = (size_t)level * (size_t)m->nodes + (size_t)(first + i);
        s->x[at] = (double)rows_count(rows[i]);
        s->ms[at] = factor * ms[i];
    }
}

/* Node i's curve where the next one is in its chain; at levels without that, by itself. */
static enum cohort_code make_shared_curve(const struct measuring *m, struct profile_type *t,
                                          const struct shares *s, int i, struct cohort_error *err) {
    const struct profile_curve *alone = &t->curves[t->curve_of[i]];
    struct profile_curve *curve = &t->curves[t->curve_count];
    curve->points = mem_alloc(COMPUTE_LEVELS * sizeof *curve->points);
    if (curve->points == NULL)
        return error_memory(err, COMPUTE_LEVELS * sizeof *curve->points, "a profile");
    for (int level = COMPUTE_LEVELS - 1; level >= 0; level--) {
        const size_t at = (size_t)level * (size_t)m->nodes + (size_t)i;
        struct profile_point point = {.x = s->x[at], .ms = s->ms[at]};
        if (point.ms < 0) {
            point.x = (double)compute_rows(m->job->graph, i, level);
            point.ms = profile_curve_ms(alone, point.x);
        }
        point.ms = profile_rounded(point.ms);
        if (point.x > (curve->count > 0 ? curve->points[curve->count - 1].x : 0))
            curve->points[curve->count++] = point;
    }
    t->chained_of[i] = t->curve_count++;
    return COHORT_OK;
}

static enum cohort_code make_shared_curves(const struct measuring *m, const struct profile *p,
                                           int type, struct cohort_error *err) {
    struct profile_type *t = &p->types[type];
    const size_t count = COMPUTE_LEVELS * ((size_t)m->nodes + 1);
    struct shares s = {.x = mem_zalloc(count, sizeof *s.x), .ms = mem_alloc(count * sizeof *s.ms)};
    enum cohort_code code = COHORT_OK;
    bool any = false;
    t->chained_of = mem_alloc(((size_t)m->nodes + 1) * sizeof *t->chained_of);
    if (s.x == NULL || s.ms == NULL || t->chained_of == NULL) {
        code = error_memory(err, count * sizeof *s.x, "a profile");
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        s.ms[i] = -1;
    for (int level = 0; level < COMPUTE_LEVELS; level++)
        for (int i = 0; i < m->nodes; i++) {
            const int length = (int)part_of(m, first_of(m, p, type), LENGTH + level)[i];
            const double ms = length > 1 ? least_of(m, p, type, CHAINED + level, i) : -1;
            if (ms >= 0)
                share_chain(m, t, level, i, length, ms, &s);
        }
    for (int i = 0; i < m->nodes && code == COHORT_OK; i++) {
        bool shared = false;
        for (int level = 0; level < COMPUTE_LEVELS; level++)
            shared = shared || s.ms[(size_t)level * (size_t)m->nodes + (size_t)i] >= 0;
        t->chained_of[i] = -1;
        any = any || shared;
        if (shared && t->curve_of[i] >= 0)
            code = make_shared_curve(m, t, &s, i, err);
    }
out:
    mem_free(s.x);
    mem_free(s.ms);
    if (code == COHORT_OK && !any) {
        mem_free(t->chained_of);
        t->chained_of = NULL;
    }
    return code;
}

/* ---- all ------------------------------------------------------------------------------------- */

static enum cohort_code note_memory(const struct measuring *m, const struct profile *p, int type,
                                    struct cohort_error *err) {
    struct profile_type *t = &p->types[type];
    double *first = first_of(m, p, type);
    t->weight_bytes = mem_alloc(((size_t)m->nodes + 1) * sizeof *t->weight_bytes);
    if (t->weight_bytes == NULL)
        return error_memory(err, (size_t)m->nodes * sizeof *t->weight_bytes, "a profile");
    memcpy(t->weight_bytes, part_of(m, first, WEIGHTS), (size_t)m->nodes * sizeof *first);
    t->workspace_bytes = part_of(m, first, PARTS)[WORKSPACE];
    return COHORT_OK;
}

enum cohort_code profile_make_curves(const struct measuring *m, struct profile *p, int type,
                                     struct cohort_error *err) {
    struct profile_type *t = &p->types[type];
    size_t nodes = (size_t)m->nodes + 1;
    t->curves = mem_zalloc(2 * nodes, sizeof *t->curves);
    t->curve_of = mem_alloc(nodes * sizeof *t->curve_of);
    if (t->curves == NULL || t->curve_of == NULL)
        return error_memory(err, nodes * sizeof *t->curves, "a profile");
    for (int i = 0; i < m->nodes; i++) {
        t->curve_of[i] = -1;
        if (least_of(m, p, type, FREE, i) > 0)
            continue;
        enum cohort_code made = make_curve(m, p, type, i, &t->curves[t->curve_count], err);
        if (made != COHORT_OK)
            return made;
        if (t->curves[t->curve_count].count > 0)
            t->curve_of[i] = t->curve_count++;
    }
    enum cohort_code code = make_shared_curves(m, p, type, err);
    if (code == COHORT_OK)
        code = note_memory(m, p, type, err);
    if (code != COHORT_OK)
        return code;
    t->encode_ms_per_mb = t->decode_ms_per_mb = INFINITY;
    for (int r = 0; r < m->job->size; r++) {
        const double *extras = part_of(m, results_of(m, r), PARTS);
        if (p->boards[r].type != type)
            continue;
        t->encode_ms_per_mb = fmin(t->encode_ms_per_mb, extras[ENCODE] / p->boards[r].scale);
        t->decode_ms_per_mb = fmin(t->decode_ms_per_mb, extras[DECODE] / p->boards[r].scale);
    }
    t->encode_ms_per_mb = profile_rounded(t->encode_ms_per_mb);
    t->decode_ms_per_mb = profile_rounded(t->decode_ms_per_mb);
    return COHORT_OK;
}
