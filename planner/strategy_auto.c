/* auto: the best division that can be found.
 *
 * Every other strategy plans first.  Then the exact search of auto.h, whose splits include theirs,
 * finds the plan with the least sum of steps and some that differ from it in one decision.  All of
 * them, and all of the others' plans, are replayed by the simulator; what is fastest there is
 * polished (neighbouring segments joined, boundaries moved by a row, while that helps) and wins. So
 * its simulated time is never above any other strategy's for the same profile, wire, limits and
 * boards. */
#include "planner/auto.h"

#include "base/mem.h"
#include "planner/replay.h"

#include <math.h>
#include <string.h>

#define ALIKE      1e-9 /* times that differ by less are the same, but for rounding */
#define RIVALS_MAX 16
#define INNER_MAX  2  /* how deep auto asks itself for plans by the other objective */
#define FOUND      8  /* plans of a search that are simulated */
#define LABELS     16 /* states and splits of a cut where memory counts, at most */
/* Searches for less memory: so many, each within this share of what the best plan needs (after one
 * in vain the next half as far below), over a smaller space. */
#define LESS_ROUNDS 8
#define LESS_SHARE  0.8
#define LESS_STATES 12
#define LESS_SPLITS 8
#define AGAIN_NODES 60 /* in networks of up to so many operators a second search is worth it */
/* Simulations times boards times operators that polishing may take, in networks of up to so many
 * operators and in larger ones, … */
#define POLISH_COST      100000
#define POLISH_COST_MANY 60000
#define POLISH_MIN       8 /* … but at least so many simulations */

struct rival {
    const char *name;
    struct plan *plan;
    double ms, peak; /* bytes of the board that needs most */
    double excess;   /* bytes beyond a board's limit, where that is most */
};

struct contest {
    struct strategy_run *run;
    struct rival others[RIVALS_MAX];
    int other_count;
    struct rival best; /* its plan is its own */
    double search_ms;  /* the search's own best, simulated */
    int budget;        /* simulations that polishing may take */
};

/* ---- the contest ---------------------------------------------------------------------------- */

static double most(const double *v, int count) {
    double m = 0;
    for (int i = 0; i < count; i++)
        m = fmax(m, v[i]);
    return m;
}

/* May boards need only so much?  auto within auto looks for what is best without that. */
static bool limited(const struct strategy_run *run) {
    return run->options->inner == 0 && cost_memory_limited(run->m);
}

/* Memory is looked at only where it matters. */
static bool memory_matters(const struct strategy_run *run) {
    return run->options->objective == PLANNER_MEMORY || limited(run);
}

/* Fills in time and memory of a rival's plan. */
static enum cohort_code judge(const struct strategy_run *run, const struct plan *p, struct rival *r,
                              struct cohort_error *err) {
    struct simulation *s = NULL;
    enum cohort_code code = simulate(&s, run->m, p, false, memory_matters(run), err);
    if (code == COHORT_OK) {
        r->ms = s->total_ms;
        r->peak = most(s->peak_bytes, s->boards);
        r->excess = limited(run) ? cost_memory_excess(run->m, s->peak_bytes, NULL) : 0;
    }
    simulation_destroy(&s);
    return code;
}

static bool better(const struct strategy_run *run, const struct rival *a, const struct rival *b) {
    if (b->plan == NULL)
        return true;
    if ((a->excess > 0) != (b->excess > 0))
        return a->excess <= 0;
    if (a->excess > 0 && (a->excess < b->excess || a->excess > b->excess))
        return a->excess < b->excess;
    if (run->options->objective == PLANNER_MEMORY || a->excess > 0)
        return a->peak < b->peak || (a->peak <= b->peak && a->ms < b->ms);
    if (fabs(a->ms - b->ms) <= ALIKE * b->ms) /* the plainer one */
        return a->plan->segment_count < b->plan->segment_count;
    return a->ms < b->ms;
}

/* A plan enters; it is taken over (and gone) whatever comes of it. */
static enum cohort_code enter(struct contest *c, const char *name, struct plan **p,
                              struct cohort_error *err) {
    struct rival r = {.name = name, .plan = *p};
    enum cohort_code code = judge(c->run, *p, &r, err);
    if (code == COHORT_OK && better(c->run, &r, &c->best)) {
        plan_destroy(&c->best.plan);
        c->best = r;
        *p = NULL;
    }
    plan_destroy(p);
    return code;
}

/* ---- the other strategies ------------------------------------------------------------------- */

/* Without measured groups of all of it: by the model. */
static enum cohort_code plan_fss(struct strategy_run *run, struct planner_options *options,
                                 struct cohort_error *err) {
    struct cohort_error reason = {0};
    enum cohort_code code = strategy_fss(run, &reason);
    if (code == COHORT_ERR_PLAN && !options->predicted) {
        options->predicted = true;
        return strategy_fss(run, err);
    }
    return code == COHORT_OK ? code : error_set(err, code, "%s", reason.message);
}

static enum cohort_code plan_others(struct contest *c, struct cohort_error *err) {
    int count;
    const struct strategy *table = strategy_table(&count);
    struct planner_options options = *c->run->options;
    for (int i = 0; i < count && c->other_count < RIVALS_MAX; i++) {
        struct strategy_run run = {.m = c->run->m, .options = &options, .own_ms = -1};
        if (table[i].make == strategy_iop && options.rows_only)
            continue;
        if (table[i].make == strategy_auto) { /* what is best by the other objective is a rival */
            if (options.inner == INNER_MAX || !memory_matters(c->run))
                continue;
            options.inner++;
            options.objective =
                options.objective == PLANNER_MEMORY ? PLANNER_LATENCY : PLANNER_MEMORY;
        }
        enum cohort_code code = plan_create(&run.plan, run.m, table[i].name, err);
        if (code == COHORT_OK)
            code = table[i].make == strategy_fss ? plan_fss(&run, &options, err)
                                                 : table[i].make(&run, err);
        mem_free(run.notes);
        c->run->states += run.states;
        struct rival *r = &c->others[c->other_count];
        *r = (struct rival){.name = table[i].name, .plan = run.plan};
        c->other_count++;
        if (code == COHORT_OK && plan_has_channels(run.plan))
            code = plan_choose_routes(run.m, run.plan, err);
        if (code == COHORT_OK)
            code = judge(c->run, run.plan, r, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

/* ---- found plans ---------------------------------------------------------------------------- */

static enum cohort_code enter_found(struct contest *c, const struct sigma *s,
                                    const struct auto_plan *p, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct strategy_run trial = {.m = c->run->m, .options = c->run->options};
    TRY(plan_create(&trial.plan, trial.m, "auto", err));
    for (int i = 0; i < p->count; i++) {
        const struct auto_segment *g = &p->segments[i];
        TRY(strategy_add(
            &trial, s->cuts->at[g->end], g->mode, g->output, g->board,
            g->mode == PLAN_TILE || plan_by_channels(g->mode) ? sigma_split(s, g->split) : NULL,
            err));
        trial.plan->segments[trial.plan->segment_count - 1].route = g->route;
    }
    TRY(enter(c, "auto", &trial.plan, err));
out:
    plan_destroy(&trial.plan);
    return code;
}

/* A search in which waits count half: its plans are not the best by the sum of steps, but boards do
 * not wait for one another as in that sum, and some of them are faster in the end. */
static enum cohort_code search_again(struct contest *c, struct sigma *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct auto_found f = {0};
    s->limits.wait = 0.5;
    TRY(auto_search(&f, s, FOUND, err));
    for (int i = 0; i < f.count; i++)
        TRY(enter_found(c, s, &f.plans[i], err));
    c->run->states += f.states;
out:
    auto_release(&f);
    return code;
}

/* With the objective memory: searches within ever less than the best plan needs. */
static enum cohort_code search_less(struct contest *c, struct auto_limits limits,
                                    struct plan *const *plans, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct sigma *s = NULL;
    double share = LESS_SHARE;
    limits.states = limits.states < LESS_STATES ? limits.states : LESS_STATES;
    limits.splits = limits.splits < LESS_SPLITS ? limits.splits : LESS_SPLITS;
    limits.longest = limits.longest < LESS_SPLITS ? limits.longest : LESS_SPLITS;
    TRY(sigma_create(&s, c->run->m, &limits, plans, c->other_count, err));
    for (int i = 0; i < LESS_ROUNDS; i++) {
        struct auto_found f = {0};
        const double before = c->best.peak;
        s->limits.memory = share * before;
        TRY(auto_search(&f, s, FOUND, err));
        for (int k = 0; k < f.count && code == COHORT_OK; k++)
            code = enter_found(c, s, &f.plans[k], err);
        c->run->states += f.states;
        auto_release(&f);
        TRY(code);
        if (!(c->best.peak < before))
            share = (1 + share) / 2;
    }
out:
    sigma_destroy(&s);
    return code;
}

static enum cohort_code search(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct strategy_run *run = c->run;
    struct auto_limits limits = auto_limits_for(run->m);
    struct plan *plans[RIVALS_MAX];
    struct sigma *s = NULL;
    struct auto_found f = {0};
    if (run->options->rows_only)
        limits.channels = 0;
    if (memory_matters(run)) /* only channels divide weights */
        limits.channel_weights = 0;
    limits.memory = limited(run) ? INFINITY : 0;
    if (limited(run)) { /* many labels have tensors in the same places */
        limits.states = limits.states < LABELS ? limits.states : LABELS;
        limits.splits = limits.splits < LABELS ? limits.splits : LABELS;
    }
    for (int i = 0; i < c->other_count; i++)
        plans[i] = c->others[i].plan;
    TRY(sigma_create(&s, run->m, &limits, plans, c->other_count, err));
    TRY(auto_search(&f, s, FOUND, err));
    for (int i = 0; i < f.count; i++)
        TRY(enter_found(c, s, &f.plans[i], err));
    run->states += f.states;
    run->own_ms = f.count > 0 ? f.plans[0].ms : -1;
    run->exact = f.pruned == 0;
    TRY(strategy_note(run, err,
                      "search: %d cuts (%d more left out for their tensors, %d equal ones), %d "
                      "splits (%d more left out), %ld states, %ld transitions; %s",
                      s->cuts->count, s->cuts->dropped, s->cuts->merged, s->count, s->dropped,
                      f.states, f.steps, f.pruned == 0 ? "exact over these" : "not exact"));
    if (f.pruned > 0)
        TRY(strategy_note(run, err, "search: the dearest %d states were left out", f.pruned));
    if (limits.memory > 0 && f.count > 0)
        TRY(strategy_note(run, err,
                          "memory: states are labels of time and bytes, %s; the least that "
                          "a found plan needs is %.1f MB",
                          f.pruned > 0 ? "pruned" : "none was pruned", f.least_bytes * 1e-6));
    else if (limits.memory > 0)
        TRY(strategy_note(run, err, "memory: the search knows no plan within the boards' limits%s",
                          f.pruned > 0 ? ", but labels were pruned" : ""));
    if (run->m->g->node_count <= AGAIN_NODES)
        TRY(search_again(c, s, err));
    if (run->options->objective == PLANNER_MEMORY)
        TRY(search_less(c, s->limits, plans, err));
    c->search_ms = c->best.plan != NULL ? c->best.ms : -1;
out:
    auto_release(&f);
    sigma_destroy(&s);
    return code;
}

/* ---- polishing ------------------------------------------------------------------------------ */

static enum cohort_code copy_plan(struct plan **out, const struct strategy_run *run,
                                  const struct plan *p, struct cohort_error *err) {
    const size_t n = (size_t)p->boards + 1;
    struct plan *q = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(plan_create(&q, run->m, "auto", err));
    q->segments = mem_zalloc((size_t)p->segment_count + 1, sizeof *q->segments);
    bool ok = q->segments != NULL;
    for (int i = 0; ok && i < p->segment_count; i++) {
        struct plan_segment *to = &q->segments[q->segment_count++];
        *to = p->segments[i];
        to->until = mem_strdup(p->segments[i].until);
        to->split = p->segments[i].split != NULL ? mem_alloc(n * sizeof *to->split) : NULL;
        ok = to->until != NULL && (to->split != NULL || p->segments[i].split == NULL);
        if (ok && to->split != NULL)
            memcpy(to->split, p->segments[i].split, n * sizeof *to->split);
    }
    if (!ok) {
        code = error_memory(err, n * sizeof(int64_t), "a plan");
        goto out;
    }
    *out = q;
    q = NULL;
out:
    plan_destroy(&q);
    return code;
}

static bool may_join(const struct plan_segment *a, const struct plan_segment *b) {
    return a->mode == b->mode && !plan_by_channels(a->mode) &&
           (a->mode != PLAN_LOCAL || a->board == b->board);
}

static void remove_segment(struct plan *p, int i) {
    mem_free(p->segments[i].until);
    mem_free(p->segments[i].split);
    memmove(&p->segments[i], &p->segments[i + 1],
            (size_t)(p->segment_count - i - 1) * sizeof *p->segments);
    p->segment_count--;
}

/* A changed copy of the best plan, which is taken over, replaces it when it is better (`equal`:
 * when it is no worse). */
static enum cohort_code challenge(struct contest *c, struct plan *p, bool equal, bool *taken,
                                  struct cohort_error *err) {
    struct rival r = {.name = "auto", .plan = p};
    enum cohort_code code = judge(c->run, p, &r, err);
    c->budget--;
    *taken =
        code == COHORT_OK && (equal ? !better(c->run, &c->best, &r) : better(c->run, &r, &c->best));
    if (*taken) {
        plan_destroy(&c->best.plan);
        c->best = r;
    } else {
        plan_destroy(&p);
    }
    return code;
}

/* Joins neighbours while that is no worse. */
static enum cohort_code join(struct contest *c, bool *changed, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i + 1 < c->best.plan->segment_count && c->budget > 0;) {
        struct plan *p = NULL;
        bool taken = false;
        if (may_join(&c->best.plan->segments[i], &c->best.plan->segments[i + 1])) {
            TRY(copy_plan(&p, c->run, c->best.plan, err));
            remove_segment(p, i); /* the next one now begins where it began */
            TRY(challenge(c, p, true, &taken, err));
        }
        *changed = *changed || taken;
        i += !taken;
    }
out:
    return code;
}

/* Moves one boundary of a segment row by row while that is better; nobody's share becomes empty. */
static enum cohort_code shift(struct contest *c, int i, int boundary, int by, bool *changed,
                              struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (bool taken = true; taken && c->budget > 0;) {
        const int64_t *split = c->best.plan->segments[i].split;
        const int64_t y = split[boundary] + by;
        struct plan *p = NULL;
        if (split[boundary] == split[boundary - 1] || split[boundary] == split[boundary + 1])
            break; /* who takes no part goes on taking none */
        if (y == split[boundary - 1] || y == split[boundary + 1])
            break;
        TRY(copy_plan(&p, c->run, c->best.plan, err));
        p->segments[i].split[boundary] = y;
        TRY(challenge(c, p, false, &taken, err));
        *changed = *changed || taken;
    }
out:
    return code;
}

static enum cohort_code polish(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int boards = c->run->m->boards;
    const int nodes = c->run->m->g->node_count;
    c->budget = (nodes > AGAIN_NODES ? POLISH_COST_MANY : POLISH_COST) / (boards * (nodes + 1));
    c->budget = c->budget < POLISH_MIN ? POLISH_MIN : c->budget;
    for (bool changed = true; changed && c->budget > 0;) {
        changed = false;
        TRY(join(c, &changed, err));
        for (int i = 0; i < c->best.plan->segment_count; i++)
            for (int b = 1; b < boards && c->best.plan->segments[i].mode == PLAN_TILE; b++) {
                TRY(shift(c, i, b, 1, &changed, err));
                TRY(shift(c, i, b, -1, &changed, err));
            }
    }
out:
    return code;
}

/* ---- together ------------------------------------------------------------------------------- */

static enum cohort_code say(struct contest *c, struct cohort_error *err) {
    const struct rival *next = NULL;
    enum cohort_code code = COHORT_OK;
    const int busy = plan_busy_boards(c->best.plan);
    for (int i = 0; i < c->other_count; i++)
        if (next == NULL || better(c->run, &c->others[i], next))
            next = &c->others[i];
    if (next != NULL && c->run->m->usable_count > 1)
        TRY(strategy_note(c->run, err, "the best other strategy: %s, %.3f ms (%+.1f %%)",
                          next->name, next->ms,
                          c->best.ms > 0 ? 100 * (next->ms / c->best.ms - 1) : 0.0));
    if (c->run->m->usable_count == 1)
        TRY(strategy_note(c->run, err, "there is one board: nothing to divide"));
    else if (busy == 1 && c->run->m->boards > 1)
        TRY(strategy_note(c->run, err, "one board is faster than any division"));
    else if (busy < c->run->m->usable_count)
        TRY(strategy_note(c->run, err, "%d of %d boards are left out: without them it is faster",
                          c->run->m->usable_count - busy, c->run->m->usable_count));
out:
    return code;
}

enum cohort_code strategy_auto(struct strategy_run *run, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct contest c = {.run = run};
    TRY(plan_others(&c, err));
    TRY(search(&c, err));
    for (int i = 0; i < c.other_count; i++) {
        struct plan *copy = NULL;
        if (!better(run, &c.others[i], &c.best))
            continue;
        TRY(copy_plan(&copy, run, c.others[i].plan, err));
        TRY(enter(&c, c.others[i].name, &copy, err));
    }
    if (strcmp(c.best.name, "auto") != 0 && c.search_ms > c.best.ms * (1 + ALIKE))
        TRY(strategy_note(run, err, "simulated, %s's plan is the fastest (the search's: %.3f ms)",
                          c.best.name, c.search_ms));
    TRY(polish(&c, err));
    TRY(say(&c, err));
    plan_destroy(&run->plan);
    run->plan = c.best.plan;
    run->capacity = (size_t)run->plan->segment_count;
    c.best.plan = NULL;
out:
    plan_destroy(&c.best.plan);
    for (int i = 0; i < c.other_count; i++)
        plan_destroy(&c.others[i].plan);
    return code;
}
