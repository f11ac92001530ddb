/* fss (Legion's yardstick, the full searching scheme): every group measured, every configuration
 * searched.  The times come from the profile (`cohort profile --groups all`), or with --predicted
 * from the cost model. */
#include "planner/groups.h"

#include <math.h>

/* The unit that begins (ends) at that node; -1 when none does. */
static int unit_at(const struct cuts *c, int node) {
    for (int i = 0; i < c->count; i++)
        if (c->at[i] == node)
            return i;
    return -1;
}

static enum cohort_code enter_measured(struct grouping *g, struct cohort_error *err) {
    const struct profile *p = g->m->p;
    for (int k = 0; k < p->group_count; k++) {
        const int i = unit_at(g->cuts, p->groups[k].first);
        const int j = unit_at(g->cuts, p->groups[k].last) - 1;
        if (i < 0 || j < i)
            continue; /* ends where several tensors go on: not in this space */
        bool wide = true;
        for (int u = i; u <= j; u++)
            wide = wide && g->cuts->wide[u];
        if (wide && p->groups[k].ms < g->ms[i * g->n + j]) {
            g->ms[i * g->n + j] = p->groups[k].ms;
            g->boards[i * g->n + j] = g->m->usable_count;
        }
    }
    for (int u = 0; u < g->n; u++)
        if (!(g->ms[u * g->n + u] < INFINITY))
            return error_set(err, COHORT_ERR_PLAN,
                             "strategy fss: the profile lacks the time of operators %d to %d as a "
                             "group: measure with 'cohort profile --groups all', or take "
                             "--predicted",
                             g->cuts->at[u], g->cuts->at[u + 1] - 1);
    return COHORT_OK;
}

enum cohort_code strategy_fss(struct strategy_run *run, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct grouping *g = NULL;
    if (run->m->p->groups == NULL && !run->options->predicted)
        return error_set(err, COHORT_ERR_PLAN,
                         "strategy fss: the profile has no measured groups: measure them with "
                         "'cohort profile --groups all', or take --predicted");
    TRY(grouping_create(&g, run->m, err));
    grouping_enter_local(g);
    if (run->options->predicted)
        TRY(grouping_enter(g, run->m->usable_count, err));
    else
        TRY(enter_measured(g, err));
    grouping_solve(g, &run->states);
    TRY(grouping_plan(g, run, err));
    run->own_ms = g->best[g->n];
out:
    grouping_destroy(&g);
    return code;
}
