/* layerwise (MoDNN): every operator that can be divided is a segment of its own, scattered from the
 * root and gathered there, rows in proportion to the boards' speeds. */
#include "planner/strategy.h"

#include "base/mem.h"

enum cohort_code strategy_layerwise(struct strategy_run *run, struct cohort_error *err) {
    const struct cost_model *m = run->m;
    enum cohort_code code = COHORT_OK;
    int64_t *split = mem_zalloc((size_t)m->boards + 1, sizeof *split);
    if (split == NULL)
        return error_memory(err, ((size_t)m->boards + 1) * sizeof *split, "a split");
    for (int k = 0; k < m->g->node_count; k++) {
        if (m->nodes[k].wide)
            TRY(cost_proportional(m, m->outputs[k], m->usable, split, err));
        TRY(strategy_add(run, k + 1, m->nodes[k].wide ? PLAN_TILE : PLAN_LOCAL, PLAN_TO_ROOT,
                         strategy_home(m), split, err));
    }
out:
    mem_free(split);
    return code;
}
