/* Who wins in `auto`; see auto_rivals.h. */
#include "planner/auto_rivals.h"

#include "base/mem.h"

#include <math.h>

bool rivals_limited(const struct strategy_run *run) {
    /* Within `auto`, only where it looks for what needs least, which has to keep to the limit. */
    return (run->options->inner == 0 || run->options->objective == PLANNER_MEMORY) &&
           cost_memory_limited(run->m);
}

bool rivals_minds_memory(const struct strategy_run *run) {
    return run->options->objective == PLANNER_MEMORY || rivals_limited(run);
}

static double most(const double *v, int count) {
    double m = 0;
    for (int i = 0; i < count; i++)
        m = fmax(m, v[i]);
    return m;
}

enum cohort_code rivals_judge(const struct strategy_run *run, const struct plan *p, struct rival *r,
                              struct cohort_error *err) {
    struct simulation *s = NULL;
    enum cohort_code code = simulate(&s, run->m, p, false, rivals_minds_memory(run), err);
    if (code == COHORT_OK) {
        r->ms = s->total_ms;
        r->peak = most(s->peak_bytes, s->boards);
        r->excess = rivals_limited(run) ? cost_memory_excess(run->m, s->peak_bytes, NULL) : 0;
    }
    simulation_destroy(&s);
    return code;
}

/* By how much a rival needs more than it may. */
static double beyond(const struct rivals *c, const struct rival *r) {
    if (r->excess > 0 || c->run->options->objective != PLANNER_MEMORY)
        return fmax(0, r->excess);
    return fmax(0, r->peak - c->band);
}

bool rivals_better(const struct rivals *c, const struct rival *a, const struct rival *b) {
    if (b->plan == NULL)
        return true;
    if ((a->excess > 0) != (b->excess > 0))
        return a->excess <= 0;
    const double more = beyond(c, a), than = beyond(c, b);
    if (more < than || more > than)
        return more < than;
    if (fabs(a->ms - b->ms) <= RIVALS_ALIKE * b->ms) /* the plainer one */
        return a->plan->segment_count < b->plan->segment_count;
    return a->ms < b->ms;
}

/* ---- until it is settled --------------------------------------------------------------------- */

static bool dominates(const struct rival *a, const struct rival *b) {
    return a->ms <= b->ms && a->peak <= b->peak && fmax(0, a->excess) <= fmax(0, b->excess);
}

static enum cohort_code add_to_front(struct rivals *c, struct rival *r, struct cohort_error *err) {
    int kept = 0;
    for (int i = 0; i < c->front_count; i++)
        if (dominates(&c->front[i], r)) {
            plan_destroy(&r->plan);
            return COHORT_OK;
        }
    if (!MEM_GROW(c->front, c->front_capacity, (size_t)c->front_count)) {
        plan_destroy(&r->plan);
        return error_memory(err, (size_t)c->front_count * sizeof *c->front, "plans");
    }
    for (int i = 0; i < c->front_count; i++)
        if (dominates(r, &c->front[i]))
            plan_destroy(&c->front[i].plan);
        else
            c->front[kept++] = c->front[i];
    c->front[kept++] = *r;
    c->front_count = kept;
    return COHORT_OK;
}

enum cohort_code rivals_enter(struct rivals *c, const char *name, struct plan **p,
                              struct cohort_error *err) {
    struct rival r = {.name = name, .plan = *p};
    *p = NULL;
    enum cohort_code code = rivals_judge(c->run, r.plan, &r, err);
    if (code != COHORT_OK) {
        plan_destroy(&r.plan);
        return code;
    }
    c->least = r.excess <= 0 ? fmin(c->least, r.peak) : c->least;
    if (c->run->options->objective == PLANNER_MEMORY && !c->settled)
        return add_to_front(c, &r, err);
    if (rivals_better(c, &r, &c->best)) {
        plan_destroy(&c->best.plan);
        c->best = r;
    } else {
        plan_destroy(&r.plan);
    }
    return COHORT_OK;
}

double rivals_least(const struct rivals *c) {
    double least = INFINITY;
    for (int i = 0; i < c->front_count; i++)
        least = fmin(least, c->front[i].peak);
    return least;
}

void rivals_settle(struct rivals *c) {
    double least = INFINITY;
    for (int i = 0; i < c->front_count; i++)
        if (c->front[i].excess <= 0)
            least = fmin(least, c->front[i].peak);
    c->band = RIVALS_BAND * least;
    c->settled = true;
    for (int i = 0; i < c->front_count; i++) {
        struct rival *r = &c->front[i];
        if (rivals_better(c, r, &c->best)) {
            plan_destroy(&c->best.plan);
            c->best = *r;
            r->plan = NULL;
        }
    }
    for (int i = 0; i < c->front_count; i++)
        plan_destroy(&c->front[i].plan);
    c->front_count = 0;
}

void rivals_release(struct rivals *c) {
    plan_destroy(&c->best.plan);
    for (int i = 0; i < c->front_count; i++)
        plan_destroy(&c->front[i].plan);
    mem_free(c->front);
    for (int i = 0; i < c->other_count; i++)
        plan_destroy(&c->others[i].plan);
}
