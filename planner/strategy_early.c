/* early-fused (DeepThings; "EFL" in AOFL): one group of the network's first operators in tiles,
 * scattered and gathered; the rest on one board.  The group ends where the sum of steps is least.
 */
#include "planner/strategy.h"

#include "base/mem.h"
#include "planner/cuts.h"

#include <math.h>

struct early {
    struct strategy_run *run;
    struct cuts *cuts;
    struct demand w;
    struct traffic t;
    struct layout *where;
    int64_t *split;
};

/* The sum of steps with the group ending at cut i, up to the rest. */
static enum cohort_code group_ms(struct early *e, int i, double *ms, struct cohort_error *err) {
    const struct cost_model *m = e->run->m;
    const int end = e->cuts->at[i], until = m->outputs[end - 1];
    const enum cohort_code code = cost_proportional(m, until, m->usable, e->split, err);
    if (code != COHORT_OK)
        return code;
    double slowest = 0;
    demand_begin(&e->w, end, until, e->split);
    while (e->w.at > 0)
        demand_step(&e->w);
    for (int b = 0; b < m->boards; b++)
        slowest = fmax(slowest, e->w.ms[b]);
    traffic_clear(&e->t, -1, 0);
    traffic_add_all(&e->t, e->cuts->live, e->cuts->first[1], e->where, e->w.need);
    const struct overlap w = {0, end, cost_heavy(m, 0, end)};
    *ms = slowest + transition_wait_ms(&e->t, e->where, &w, e->w.need);
    traffic_clear(&e->t, until, 0);
    for (int k = e->cuts->first[i]; k < e->cuts->first[i + 1]; k++) {
        const int id = e->cuts->live[k];
        if (m->values[id].producer < 0)
            continue;
        int64_t *scaled = e->w.scaled;
        cost_scale_split(m, until, e->split, id, scaled);
        e->where[id] = (struct layout){.kind = LAYOUT_ROWS, .split = scaled};
        traffic_add(&e->t, id, &e->where[id], 0, (struct rows){0, m->values[id].rows});
    }
    *ms += traffic_ms(&e->t);
    for (int k = e->cuts->first[i]; k < e->cuts->first[i + 1]; k++)
        e->where[e->cuts->live[k]] = (struct layout){.kind = LAYOUT_AT};
    return COHORT_OK;
}

enum cohort_code strategy_early_fused(struct strategy_run *run, struct cohort_error *err) {
    const struct cost_model *m = run->m;
    enum cohort_code code = COHORT_OK;
    const int nodes = m->g->node_count, home = strategy_home(m);
    struct early e = {.run = run};
    int best = 0;
    double least = cost_whole_ms(m, home, 0, nodes);
    TRY(cuts_create(&e.cuts, m, 1, err));
    TRY(demand_init(&e.w, m, err));
    TRY(traffic_init(&e.t, m, err));
    e.where = mem_zalloc((size_t)m->g->value_count + 1, sizeof *e.where);
    e.split = mem_zalloc((size_t)m->boards + 1, sizeof *e.split);
    if (e.where == NULL || e.split == NULL) {
        code = error_memory(err, (size_t)m->g->value_count * sizeof *e.where, "a plan");
        goto out;
    }
    for (int i = 1; i < e.cuts->count && e.cuts->wide[i - 1]; i++) {
        double ms;
        TRY(group_ms(&e, i, &ms, err));
        ms += cost_whole_ms(m, home, e.cuts->at[i], nodes);
        if (best == 0 || ms < least) { /* always a group: one board alone is another strategy */
            best = i;
            least = ms;
        }
    }
    if (best > 0) {
        const int end = e.cuts->at[best];
        TRY(cost_proportional(m, m->outputs[end - 1], m->usable, e.split, err));
        TRY(strategy_add(run, end, PLAN_TILE, PLAN_TO_ROOT, 0, e.split, err));
    }
    if (best == 0 || e.cuts->at[best] < nodes)
        TRY(strategy_add(run, nodes, PLAN_LOCAL, PLAN_TO_ROOT, home, NULL, err));
out:
    mem_free(e.split);
    mem_free(e.where);
    traffic_release(&e.t);
    demand_release(&e.w);
    cuts_destroy(&e.cuts);
    return code;
}
