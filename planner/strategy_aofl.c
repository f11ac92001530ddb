/* aofl (Zhou et al., AOFL, SEC 2019): groups that are scattered and gathered, by exact dynamic
 * programming over where they end and how many boards each takes. */
#include "planner/groups.h"

#include "base/mem.h"

enum cohort_code strategy_aofl(struct strategy_run *run, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct grouping *g = NULL;
    int *sizes = mem_zalloc((size_t)run->m->boards, sizeof *sizes);
    if (sizes == NULL)
        return error_memory(err, (size_t)run->m->boards * sizeof *sizes, "a search for groups");
    const int count = cost_sizes(run->m, sizes);
    TRY(grouping_create(&g, run->m, err));
    grouping_enter_local(g);
    for (int i = 0; i < count; i++)
        TRY(grouping_enter(g, sizes[i], err));
    grouping_solve(g, &run->states);
    TRY(grouping_plan(g, run, err));
    run->own_ms = g->best[g->n];
out:
    grouping_destroy(&g);
    mem_free(sizes);
    return code;
}
