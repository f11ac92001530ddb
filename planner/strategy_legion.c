/* legion (Lee et al., ICCD 2021): groups that are scattered and gathered, chosen by its own
 * estimate T from the matrices of legion.h; then the wild card: because estimates err, the
 * neighbouring pair of groups that looks most profitable is merged once more, both configurations
 * are compared, and the better one is kept.
 *
 * The public account leaves open how T is searched; here exactly.  "Compared" is by the simulator,
 * which stands for measuring. */
#include "planner/groups.h"
#include "planner/legion.h"

#include "base/mem.h"

#include <math.h>

static void enter_estimates(struct grouping *g, const struct legion *l) {
    for (int j = 0; j < g->n; j++)
        for (int i = j; i >= 0 && g->cuts->wide[i]; i--) {
            g->ms[i * g->n + j] = legion_group_ms(l, i, j);
            g->boards[i * g->n + j] = g->m->usable_count;
        }
}

/* Of neighbouring groups (…, i) to j as found: the pair whose merging gains most by T (or loses
 * least): the last unit of the first of them, -1: there is no pair.  *first and *last: its units.
 */
static int find_pair(const struct grouping *g, int *first, int *last) {
    int best = -1;
    double most = 0;
    for (int j = g->n - 1; j >= 0; j = g->begin[j] - 1) {
        const int middle = g->begin[j] - 1;
        if (middle < 0 || g->boards[g->begin[j] * g->n + j] == 0)
            continue;
        const int i = g->begin[middle];
        if (g->boards[i * g->n + middle] == 0)
            continue;
        const double gain =
            g->ms[i * g->n + middle] + g->ms[(middle + 1) * g->n + j] - g->ms[i * g->n + j];
        if (best < 0 || gain > most) {
            best = middle;
            most = gain;
            *first = i;
            *last = j;
        }
    }
    return best;
}

/* The simulated time of the groups as they stand, and Legion's own estimate of it. */
static enum cohort_code measure(const struct grouping *g, const struct strategy_run *run,
                                double *ms, double *own, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct strategy_run trial = {.m = run->m, .options = run->options};
    TRY(plan_create(&trial.plan, run->m, "legion", err));
    TRY(grouping_plan(g, &trial, err));
    TRY(simulate_ms(ms, run->m, trial.plan, err));
    *own = 0;
    for (int j = g->n - 1; j >= 0; j = g->begin[j] - 1)
        *own += g->ms[g->begin[j] * g->n + j];
out:
    plan_destroy(&trial.plan);
    return code;
}

enum cohort_code strategy_legion(struct strategy_run *run, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct grouping *g = NULL;
    struct legion *l = NULL;
    TRY(grouping_create(&g, run->m, err));
    TRY(legion_create(&l, run->m, g->cuts, err));
    grouping_enter_local(g);
    enter_estimates(g, l);
    grouping_solve(g, &run->states);
    double ms, own, merged_ms, merged_own;
    TRY(measure(g, run, &ms, &own, err));
    int first = 0, last = 0;
    const int middle = find_pair(g, &first, &last);
    if (middle >= 0) {
        const int second = g->begin[last];
        g->begin[last] = first;
        TRY(measure(g, run, &merged_ms, &merged_own, err));
        TRY(strategy_note(run, err,
                          "wild card: operators %d to %d as one group: %.3f ms, apart %.3f ms",
                          g->cuts->at[first], g->cuts->at[last + 1] - 1, merged_ms, ms));
        if (merged_ms < ms)
            own = merged_own;
        else
            g->begin[last] = second;
    }
    TRY(grouping_plan(g, run, err));
    run->own_ms = own;
out:
    legion_destroy(&l);
    grouping_destroy(&g);
    return code;
}
