/* cohort_plan_search(): from a profile to a plan, through the planner. */
#include "planner/strategy.h"
#include "runtime/model.h"
#include "runtime/session.h"

enum cohort_code cohort_plan_search(struct cohort_plan **plan, const struct cohort_model *model,
                                    const struct cohort_profile *profile,
                                    const struct cohort_search_options *options,
                                    struct cohort_error *err) {
    static const struct cohort_search_options none;
    const struct cohort_search_options *o = options != NULL ? options : &none;
    const struct planner_options p = {
        .cost = {.boards = o->boards,
                 .wire = (enum plan_wire)o->wire,
                 .root_feeds = o->root_feeds != 0,
                 .memory_limit = o->memory_limit_bytes},
    };
    struct planned planned = {0};
    struct cost_model *m = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(profile_check(profile->profile, model->graph, err));
    TRY(cost_create(&m, model->graph, profile->profile, &p.cost, err));
    TRY(planner_make(&planned, m, o->strategy != NULL ? o->strategy : "auto", &p, err));
    TRY(cohort_plan_wrap(plan, &planned.plan, err));
out:
    planned_release(&planned);
    cost_destroy(&m);
    return code;
}
