/* cohort plan --explain: segment by segment what is done, what it costs, and what the next best
 * thing would have been there. */
#include "cli/plan_search.h"

#include "base/mem.h"
#include "planner/channels.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SPLIT_SHOWN 12 /* boards; beyond, the split is cut short */

static void print_split(FILE *out, const int64_t *split, int boards, const char *of) {
    for (int b = 0; b < boards && b < SPLIT_SHOWN; b++)
        fprintf(out, "%s%" PRId64, b > 0 ? "+" : " ", split[b + 1] - split[b]);
    if (boards > SPLIT_SHOWN)
        fprintf(out, "+… %" PRId64, split[boards]);
    fprintf(out, " %s", of);
}

static void print_mode(FILE *out, const struct plan_segment *s, int boards) {
    fputs(plan_mode_name(s->mode), out);
    if (s->mode == PLAN_LOCAL)
        fprintf(out, " on board %d", s->board);
    else if (s->mode != PLAN_REPLICATE)
        print_split(out, s->split, boards,
                    s->mode == PLAN_TILE || s->mode == PLAN_ROWS_GEMM ? "rows" : "channels");
    if (s->output != PLAN_STAY)
        fputs(s->output == PLAN_TO_ROOT ? ", to the root" : ", to all", out);
    static const char *const routes[PLAN_ROUTES] = {[PLAN_ROUTE_LINEAR] = "",
                                                    [PLAN_ROUTE_RING] = " round a ring",
                                                    [PLAN_ROUTE_HALVING] = " by halves"};
    if (plan_by_channels(s->mode) && s->output != PLAN_STAY)
        fputs(routes[s->route], out);
}

/* ---- the next best thing -------------------------------------------------------------------- */

/* A copy of the plan without segments [at, at + gone), `s` (taken over) in their place. */
static enum cohort_code replace(struct plan **out, const struct plan *p, int at, int gone,
                                const struct plan_segment *s, struct cohort_error *err) {
    const size_t n = (size_t)p->boards + 1;
    struct plan *q = mem_zalloc(1, sizeof *q);
    if (q == NULL)
        return error_memory(err, sizeof *q, "a plan");
    q->boards = p->boards;
    q->wire = p->wire;
    q->segments = mem_zalloc((size_t)p->segment_count + 1, sizeof *q->segments);
    bool ok = q->segments != NULL;
    for (int i = 0; ok && i < p->segment_count; i++) {
        if (i > at && i < at + gone)
            continue;
        const struct plan_segment *from = i == at ? s : &p->segments[i];
        struct plan_segment *to = &q->segments[q->segment_count++];
        *to = *from;
        to->until = mem_strdup(from->until);
        to->split = from->split != NULL ? mem_alloc(n * sizeof *to->split) : NULL;
        ok = to->until != NULL && (from->split == NULL || to->split != NULL);
        if (ok && from->split != NULL)
            memcpy(to->split, from->split, n * sizeof *to->split);
    }
    if (!ok) {
        plan_destroy(&q);
        return error_memory(err, n * sizeof *s->split, "a plan");
    }
    *out = q;
    return COHORT_OK;
}

struct rival {
    char what[80];
    double total_ms, compute_ms, wait_ms; /* sums over segments, for saying why */
};

static void add_up(const struct simulation *s, double *compute, double *wait) {
    *compute = *wait = 0;
    for (int i = 0; i < s->segment_count; i++) {
        *compute += s->segments[i].compute_ms;
        *wait += s->segments[i].wait_ms;
    }
}

static enum cohort_code consider(struct rival *best, const struct cost_model *m,
                                 const struct plan *p, int at, int gone,
                                 const struct plan_segment *s, const char *what,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct plan *q = NULL;
    struct simulation *sim = NULL;
    struct cohort_error impossible = {0};
    TRY(replace(&q, p, at, gone, s, err));
    code = channels_check(q, m->g, &impossible);
    if (code == COHORT_ERR_PLAN) { /* a neighbour by channels does not go with it */
        code = COHORT_OK;
        goto out;
    }
    if (code != COHORT_OK) {
        *err = impossible;
        goto out;
    }
    TRY(simulate(&sim, m, q, false, false, err));
    if (best->what[0] == '\0' || sim->total_ms < best->total_ms) {
        snprintf(best->what, sizeof best->what, "%s", what);
        best->total_ms = sim->total_ms;
        add_up(sim, &best->compute_ms, &best->wait_ms);
    }
out:
    plan_destroy(&q);
    simulation_destroy(&sim);
    return code;
}

static bool all_wide(const struct cost_model *m, int first, int end) {
    for (int k = first; k < end; k++)
        if (!m->nodes[k].wide)
            return false;
    return true;
}

/* What else this segment could be: on one board, in equal shares of speed, one with the next. */
static enum cohort_code find_rival(struct rival *best, const struct cost_model *m,
                                   const struct planned *p, int i, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct plan_segment *s = &p->plan->segments[i];
    const struct sim_segment *t = &p->simulation->segments[i];
    const size_t n = (size_t)m->boards + 1;
    const int home = strategy_home(m);
    struct plan_segment other = {.until = s->until, .mode = PLAN_LOCAL, .output = s->output};
    if (other.output == PLAN_TO_ALL)
        other.output = PLAN_STAY;
    int64_t *split = mem_zalloc(n, sizeof *split);
    *best = (struct rival){0};
    if (split == NULL)
        return error_memory(err, n * sizeof *split, "a split");
    if (s->mode != PLAN_LOCAL || s->board != home) {
        other.board = home;
        TRY(consider(best, m, p->plan, i, 1, &other, "on one board", err));
    }
    other.board = 0;
    if (all_wide(m, t->first, t->end)) {
        TRY(cost_proportional(m, m->outputs[t->end - 1], m->usable, split, err));
        other.mode = PLAN_TILE;
        other.split = split;
        if (s->mode != PLAN_TILE || memcmp(split, s->split, n * sizeof *split) != 0)
            TRY(consider(best, m, p->plan, i, 1, &other, "shares in proportion to speed", err));
    }
    if (i + 1 < p->plan->segment_count && s->mode == PLAN_TILE &&
        p->plan->segments[i + 1].mode == PLAN_TILE)
        TRY(consider(best, m, p->plan, i, 2, &p->plan->segments[i + 1], "fused with the next",
                     err));
out:
    mem_free(split);
    return code;
}

/* ---- the listing ---------------------------------------------------------------------------- */

static void print_rival(FILE *out, const struct planned *p, const struct rival *r) {
    double compute, wait;
    if (r->what[0] == '\0')
        return;
    add_up(p->simulation, &compute, &wait);
    const double more = r->total_ms - p->simulation->total_ms;
    fprintf(out, "      next best: %s, %+.3f ms (computing %+.3f, waiting %+.3f)\n", r->what, more,
            r->compute_ms - compute, r->wait_ms - wait);
}

static void print_segment(FILE *out, const struct cost_model *m, const struct planned *p, int i) {
    const struct plan_segment *s = &p->plan->segments[i];
    const struct sim_segment *t = &p->simulation->segments[i];
    fprintf(out, "%3d  operators %d to %d, until %s: ", i, t->first, t->end - 1, s->until);
    print_mode(out, s, m->boards);
    const double begin = t->begin_ms > 0 ? t->begin_ms : 0.0;
    fprintf(out, "\n      in %.1f KB, out %.1f KB, redundant %.1f %%\n", t->bytes_in / 1e3,
            t->bytes_out / 1e3, 100 * t->redundant);
    fprintf(out,
            "      computing %.3f ms (slowest board), waiting %.3f ms (longest); %.3f ms in all, "
            "from %.3f to %.3f\n",
            t->compute_ms, t->wait_ms, t->end_ms - begin, begin, t->end_ms);
}

enum cohort_code cli_plan_explain(FILE *out, const struct cost_model *m, const struct planned *p,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < p->plan->segment_count; i++) {
        struct rival rival;
        print_segment(out, m, p, i);
        TRY(find_rival(&rival, m, p, i, err));
        print_rival(out, p, &rival);
    }
    fprintf(out, "board               computing ms   waiting ms    MB memory\n");
    for (int b = 0; b < m->boards; b++) {
        double compute = 0, wait = 0;
        for (int i = 0; i < p->simulation->segment_count; i++) {
            compute += p->simulation->segments[i].board_compute_ms[b];
            wait += p->simulation->segments[i].board_wait_ms[b];
        }
        fprintf(out, "%3d %-15s %12.3f %12.3f %12.1f\n", b,
                m->p->boards[b].host != NULL ? m->p->boards[b].host : "", compute, wait,
                p->simulation->peak_bytes[b] / 1e6);
    }
out:
    return code;
}
