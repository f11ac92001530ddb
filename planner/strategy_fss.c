/* fss (Legion's yardstick, the full searching scheme): every group measured, every configuration
 * searched.  Computing times come from the profile (`cohort profile --groups all`), or with
 * --predicted from the cost model. */
#include "planner/groups.h"

enum cohort_code strategy_fss(struct strategy_run *run, struct cohort_error *err) {
    static const char how[] =
        "measure them with 'cohort profile MODEL --groups all' on these boards, or plan with "
        "'cohort plan --predicted'";
    enum cohort_code code = COHORT_OK;
    struct grouping *g = NULL;
    char why[GROUPING_WHY_BYTES];
    struct cohort_error reason = {0};
    if (!run->options->predicted && !grouping_is_measured(run->m, why))
        return error_set(err, COHORT_ERR_PLAN, "strategy fss: %s: %s", why, how);
    TRY(grouping_create(&g, run->m, err));
    grouping_enter_local(g);
    if (run->options->predicted)
        code = grouping_enter(g, run->m->usable_count, &reason);
    else
        code = grouping_enter_measured(g, &reason);
    if (code == COHORT_ERR_PLAN)
        error_set(err, code, "strategy fss: %s: %s", reason.message, how);
    else if (code != COHORT_OK)
        error_set(err, code, "%s", reason.message);
    TRY(code);
    grouping_solve(g, &run->states);
    TRY(grouping_plan(g, run, err));
    run->own_ms = g->best[g->n];
out:
    grouping_destroy(&g);
    return code;
}
