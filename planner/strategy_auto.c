/* auto: the best division that can be found.
 *
 * Every other strategy plans first.  Then the exact search of auto.h, whose splits include theirs,
 * finds the plan with the least sum of steps and some that differ from it in one decision.  All of
 * them, and all of the others' plans, are replayed by the simulator; what is fastest there is
 * polished (neighbouring segments joined, boundaries moved by a row, while that helps) and wins. So
 * its simulated time is never above any other strategy's for the same profile, wire, limits and
 * boards. */
#include "planner/auto.h"
#include "planner/auto_rivals.h"

#include "base/mem.h"
#include "planner/replay.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define FOUND  8  /* plans of a search that are simulated */
#define LABELS 16 /* states and splits of a cut where memory counts, at most */
/* By the sum of steps, than the best plan: the simulator may like it. */
#define LABELS_LONGER 1.25
/* Searches in which bytes of weights have a price: so many, each with so many times the price of
 * the one before; then so many between the last that needs too much memory and the first that does
 * not.
 */
#define PRICES      7
#define PRICE_FIRST 0.05 /* of what a byte takes to compute on one board, on average */
#define PRICE_STEP  4
#define PRICE_FOUND 3 /* plans that are simulated */
#define PRICE_TRIES 4
/* Searches for less memory: so many, each within this share of what the best plan needs (after one
 * in vain the next half as far below). */
#define LESS_ROUNDS  2
#define LESS_SHARE   0.8
#define LESS_STATES  6
#define LESS_LONGEST 8
#define AGAIN_NODES  60 /* in networks of up to so many operators a second search is worth it */
#define AGAIN_WAIT   0.5
/* Simulations times boards times operators that polishing may take, in networks of up to so many
 * operators and in larger ones, … */
#define POLISH_COST      100000
#define POLISH_COST_MANY 60000
#define POLISH_MIN       8 /* … but at least so many simulations */

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

static enum cohort_code plan_others(struct rivals *c, struct cohort_error *err) {
    int count;
    const struct strategy *table = strategy_table(&count);
    struct planner_options options = *c->run->options;
    for (int i = 0; i < count && c->other_count < RIVALS_MAX; i++) {
        struct strategy_run run = {.m = c->run->m, .options = &options, .own_ms = -1};
        if (table[i].make == strategy_iop && options.rows_only)
            continue;
        if (table[i].make == strategy_auto) { /* what is fastest without limits is a rival */
            if (!rivals_minds_memory(c->run))
                continue;
            options.inner++;
            options.objective = PLANNER_LATENCY;
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
            code = rivals_judge(c->run, run.plan, r, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

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

/* ---- found plans ---------------------------------------------------------------------------- */

static enum cohort_code enter_found(struct rivals *c, const struct sigma *s,
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
    TRY(rivals_enter(c, "auto", &trial.plan, err));
out:
    plan_destroy(&trial.plan);
    return code;
}

/* A search in which waits count half: its plans are not the best by the sum of steps, but boards do
 * not wait for one another as in that sum, and some of them are faster in the end. */
static enum cohort_code search_again(struct rivals *c, struct sigma *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct auto_found f = {0};
    s->limits.wait = AGAIN_WAIT;
    TRY(auto_search(&f, s, FOUND, err));
    for (int i = 0; i < f.count; i++)
        TRY(enter_found(c, s, &f.plans[i], err));
    c->run->states += f.states;
out:
    auto_release(&f);
    return code;
}

static enum cohort_code note_space(struct strategy_run *run, const struct sigma *s,
                                   const struct auto_found *f, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(strategy_note(run, err,
                      "search: %d cuts (%d more left out for their tensors, %d equal ones), %d "
                      "splits (%d more left out), %ld states, %ld transitions; %s",
                      s->cuts->count, s->cuts->dropped, s->cuts->merged, s->count, s->dropped,
                      f->states, f->steps, f->pruned == 0 ? "exact over these" : "not exact"));
    if (f->pruned > 0)
        TRY(strategy_note(run, err, "search: the dearest %d states were left out", f->pruned));
out:
    return code;
}

static enum cohort_code search_fast(struct rivals *c, const struct auto_limits *limits,
                                    struct plan *const *plans, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct strategy_run *run = c->run;
    struct sigma *s = NULL;
    struct auto_found f = {0};
    TRY(sigma_create(&s, run->m, limits, plans, c->other_count, err));
    TRY(auto_search(&f, s, FOUND, err));
    for (int i = 0; i < f.count; i++)
        TRY(enter_found(c, s, &f.plans[i], err));
    run->states += f.states;
    run->own_ms = f.count > 0 ? f.plans[0].ms : -1;
    run->exact = f.pruned == 0;
    TRY(note_space(run, s, &f, err));
    if (run->m->g->node_count <= AGAIN_NODES)
        TRY(search_again(c, s, err));
out:
    auto_release(&f);
    sigma_destroy(&s);
    return code;
}

/* ---- where memory matters ------------------------------------------------------------------- */

/* *least: bytes of what it found, where that keeps to the limits. */
static enum cohort_code search_priced(struct rivals *c, struct sigma *s, double price,
                                      double *least, struct cohort_error *err) {
    struct auto_found f = {0};
    enum cohort_code code = COHORT_OK;
    s->limits.price = price;
    c->least = INFINITY;
    for (int again = 0; again <= (c->run->m->g->node_count <= AGAIN_NODES); again++) {
        s->limits.wait = again == 0 ? 1 : AGAIN_WAIT;
        TRY(auto_search(&f, s, PRICE_FOUND, err));
        for (int i = 0; i < f.count; i++)
            TRY(enter_found(c, s, &f.plans[i], err));
        c->run->states += f.states;
        auto_release(&f);
    }
    *least = c->least;
out:
    s->limits.price = 0;
    s->limits.wait = 1;
    auto_release(&f);
    return code;
}

/* What a byte of weights takes to compute with, on average; 0: there are none. */
static double byte_ms(const struct cost_model *m) {
    const int home = strategy_home(m);
    double bytes = 0;
    for (int k = 0; k < m->g->node_count; k++)
        bytes += cost_weight_bytes(m, home, k);
    return bytes > 0 ? cost_whole_ms(m, home, 0, m->g->node_count) / bytes : 0;
}

/* The searches with a price.  Each makes the best plan for the memory that it happens to need (of
 * those that a price can single out), and is as fast as one without memory. */
struct prices {
    double first;         /* 0: nothing has weights */
    double least[PRICES]; /* bytes of the plan at the first price, the next, … */
    int count;            /* so many were tried */
};

static double price_at(const struct prices *p, int i) {
    return p->first * pow(PRICE_STEP, i);
}

/* Ever higher prices, up to the first at which a plan needs at most so many bytes. */
static enum cohort_code raise_prices(struct rivals *c, struct sigma *s, struct prices *p,
                                     double bytes, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    *p = (struct prices){.first = PRICE_FIRST * byte_ms(c->run->m)};
    s->limits.memory = 0;
    while (p->first > 0 && p->count < PRICES) {
        const int i = p->count++;
        TRY(search_priced(c, s, price_at(p, i), &p->least[i], err));
        if (p->least[i] <= bytes)
            break;
    }
out:
    return code;
}

/* Prices between the first at which a plan needs at most so many bytes and the one before. */
static enum cohort_code refine_prices(struct rivals *c, struct sigma *s, const struct prices *p,
                                      double bytes, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int i = 0;
    s->limits.memory = 0;
    while (i < p->count && !(p->least[i] <= bytes))
        i++;
    if (i == p->count)
        return COHORT_OK;
    double low = price_at(p, i - 1), high = price_at(p, i), least;
    for (int k = 0; k < PRICE_TRIES; k++) {
        const double price = sqrt(low * high);
        TRY(search_priced(c, s, price, &least, err));
        if (least <= bytes)
            high = price;
        else
            low = price;
    }
out:
    return code;
}

/* Labels that do not take much longer than the best plan that keeps to the limit. */
static enum cohort_code search_labels(struct rivals *c, struct sigma *s, double memory, bool noted,
                                      struct cohort_error *err) {
    struct strategy_run *run = c->run;
    enum cohort_code code = COHORT_OK;
    struct auto_found f = {0};
    double ms = 0;
    const bool bound = c->best.plan != NULL && c->best.excess <= 0;
    if (bound)
        TRY(plan_step_sum(run->m, c->best.plan, &ms, err));
    s->limits.memory = memory;
    s->limits.most_ms = ms * LABELS_LONGER;
    TRY(auto_search(&f, s, FOUND, err));
    for (int i = 0; i < f.count; i++)
        TRY(enter_found(c, s, &f.plans[i], err));
    run->states += f.states;
    if (!noted)
        goto out;
    run->own_ms = f.count > 0 ? f.plans[0].ms : -1;
    run->exact = f.pruned == 0;
    TRY(note_space(run, s, &f, err));
    if (f.count > 0)
        TRY(strategy_note(run, err,
                          "memory: states are labels of time and bytes, %s; the least that "
                          "a found plan needs is %.1f MB",
                          f.pruned > 0 ? "pruned" : "none was pruned", f.least_bytes * 1e-6));
    else if (bound)
        TRY(strategy_note(run, err,
                          "memory: of states as labels of time and bytes, %s, none leads to a plan "
                          "in %.2f times what the best takes",
                          f.pruned > 0 ? "pruned" : "none pruned", LABELS_LONGER));
    else
        TRY(strategy_note(run, err, "memory: the search knows no plan within the boards' limits%s",
                          f.pruned > 0 ? ", but labels were pruned" : ""));
out:
    s->limits.most_ms = 0;
    auto_release(&f);
    return code;
}

/* For searches with labels that are made beside others. */
static void make_smaller(struct auto_limits *l) {
    l->states = l->states < LESS_STATES ? l->states : LESS_STATES;
    l->longest = l->longest < LESS_LONGEST ? l->longest : LESS_LONGEST;
}

/* Ever less than the plan that needs least. */
static enum cohort_code search_less(struct rivals *c, struct sigma *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct auto_limits whole = s->limits;
    double share = LESS_SHARE;
    make_smaller(&s->limits);
    for (int i = 0; i < LESS_ROUNDS; i++) {
        const double before = rivals_least(c);
        TRY(search_labels(c, s, share * before, false, err));
        if (!(rivals_least(c) < before))
            share = (1 + share) / 2;
    }
out:
    s->limits.states = whole.states;
    s->limits.longest = whole.longest;
    return code;
}

/* Where nothing fits: what needs least. */
static enum cohort_code enter_least(struct rivals *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct planner_options options = *c->run->options;
    struct strategy_run run = {.m = c->run->m, .options = &options, .own_ms = -1};
    if (c->best.plan != NULL && c->best.excess <= 0)
        return COHORT_OK;
    options.inner++;
    options.objective = PLANNER_MEMORY;
    TRY(plan_create(&run.plan, run.m, "auto", err));
    TRY(strategy_auto(&run, err));
    c->run->states += run.states;
    TRY(rivals_enter(c, "auto", &run.plan, err));
out:
    plan_destroy(&run.plan);
    mem_free(run.notes);
    return code;
}

static enum cohort_code search_small(struct rivals *c, struct auto_limits limits,
                                     struct plan *const *plans, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct sigma *s = NULL;
    struct prices p;
    limits.channel_weights = 0; /* only channels divide weights, … */
    limits.even = true;
    limits.thin = false; /* … and each operator for itself */
    limits.states = limits.states < LABELS ? limits.states : LABELS;
    limits.splits = limits.splits < LABELS ? limits.splits : LABELS;
    TRY(sigma_create(&s, c->run->m, &limits, plans, c->other_count, err));
    if (c->run->options->objective != PLANNER_MEMORY) { /* least: of plans within the limits */
        TRY(raise_prices(c, s, &p, DBL_MAX, err));
        TRY(refine_prices(c, s, &p, DBL_MAX, err));
        TRY(search_labels(c, s, INFINITY, true, err));
        TRY(enter_least(c, err));
        goto out;
    }
    TRY(raise_prices(c, s, &p, 0, err));
    TRY(search_less(c, s, err));
    rivals_settle(c);
    TRY(refine_prices(c, s, &p, c->band, err));
    make_smaller(&s->limits);
    TRY(search_labels(c, s, c->band, true, err));
out:
    sigma_destroy(&s);
    return code;
}

/* The other strategies' plans enter, all or those that are better. */
static enum cohort_code enter_others(struct rivals *c, bool all, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->other_count; i++) {
        struct plan *copy = NULL;
        if (!all && !rivals_better(c, &c->others[i], &c->best))
            continue;
        TRY(copy_plan(&copy, c->run, c->others[i].plan, err));
        TRY(rivals_enter(c, c->others[i].name, &copy, err));
    }
out:
    return code;
}

static enum cohort_code search(struct rivals *c, struct cohort_error *err) {
    struct auto_limits limits = auto_limits_for(c->run->m);
    enum cohort_code code = COHORT_OK;
    struct plan *plans[RIVALS_MAX];
    if (c->run->options->rows_only)
        limits.channels = 0;
    for (int i = 0; i < c->other_count; i++)
        plans[i] = c->others[i].plan;
    if (rivals_minds_memory(c->run)) {
        TRY(enter_others(c, true, err));
        TRY(search_small(c, limits, plans, err));
    } else {
        TRY(search_fast(c, &limits, plans, err));
        c->search_ms = c->best.plan != NULL ? c->best.ms : -1;
        TRY(enter_others(c, false, err));
    }
out:
    return code;
}

/* ---- polishing ------------------------------------------------------------------------------ */

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
static enum cohort_code challenge(struct rivals *c, struct plan *p, bool equal, bool *taken,
                                  struct cohort_error *err) {
    struct rival r = {.name = "auto", .plan = p};
    enum cohort_code code = rivals_judge(c->run, p, &r, err);
    c->budget--;
    *taken = code == COHORT_OK &&
             (equal ? !rivals_better(c, &c->best, &r) : rivals_better(c, &r, &c->best));
    if (*taken) {
        plan_destroy(&c->best.plan);
        c->best = r;
    } else {
        plan_destroy(&p);
    }
    return code;
}

/* Joins neighbours while that is no worse. */
static enum cohort_code join(struct rivals *c, bool *changed, struct cohort_error *err) {
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
static enum cohort_code shift(struct rivals *c, int i, int boundary, int by, bool *changed,
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

static enum cohort_code polish(struct rivals *c, struct cohort_error *err) {
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

static enum cohort_code say(struct rivals *c, struct cohort_error *err) {
    const struct rival *next = NULL;
    enum cohort_code code = COHORT_OK;
    const int busy = plan_busy_boards(c->best.plan);
    for (int i = 0; i < c->other_count; i++)
        if (next == NULL || rivals_better(c, &c->others[i], next))
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
    struct rivals c = {.run = run};
    TRY(plan_others(&c, err));
    TRY(search(&c, err));
    if (strcmp(c.best.name, "auto") != 0 && c.search_ms > c.best.ms * (1 + RIVALS_ALIKE))
        TRY(strategy_note(run, err, "simulated, %s's plan is the fastest (the search's: %.3f ms)",
                          c.best.name, c.search_ms));
    TRY(polish(&c, err));
    TRY(say(&c, err));
    plan_destroy(&run->plan);
    run->plan = c.best.plan;
    run->capacity = (size_t)run->plan->segment_count;
    c.best.plan = NULL;
out:
    rivals_release(&c);
    return code;
}
