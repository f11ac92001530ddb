/* cohort_plan_search(): from a profile to a plan, through the planner. */
#include "planner/strategy.h"
#include "runtime/model.h"
#include "runtime/session.h"

enum cohort_code cohort_pixel_bits(uint64_t *bits, const struct cohort_model *m,
                                   const struct cohort_pixels *pixels, int count,
                                   struct cohort_error *err) {
    *bits = 0;
    for (int k = 0; k < count; k++) {
        const char *name = pixels[k].input;
        int i = name != NULL ? session_find_input(m->graph, name) : 0;
        if (i < 0)
            return error_set(err, COHORT_ERR_USAGE, "the network has no input called '%s'", name);
        if (i < 64)
            *bits |= UINT64_C(1) << i;
    }
    return COHORT_OK;
}

enum cohort_code cohort_plan_search(struct cohort_plan **plan, const struct cohort_model *model,
                                    const struct cohort_profile *profile,
                                    const struct cohort_search_options *options,
                                    struct cohort_error *err) {
    static const struct cohort_search_options none;
    const struct cohort_search_options *o = options != NULL ? options : &none;
    struct planner_options p = {
        .cost = {.boards = o->boards,
                 .wire = (enum plan_wire)o->wire,
                 .root_feeds = o->root_feeds != 0,
                 .memory_limit = o->memory_limit_bytes,
                 .memory_limits = o->board_limits_bytes,
                 .setup_ms = o->setup_ms},
    };
    p.rows_only = o->rows_only != 0;
    struct planned planned = {0};
    struct cost_model *m = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(profile_check(profile->profile, model->graph, err));
    TRY(cohort_pixel_bits(&p.cost.pixel_inputs, model, o->pixels, o->pixel_count, err));
    TRY(cost_create(&m, model->graph, profile->profile, &p.cost, err));
    TRY(planner_make(&planned, m, o->strategy != NULL ? o->strategy : "auto", &p, err));
    TRY(cohort_plan_wrap(plan, &planned.plan, err));
out:
    planned_release(&planned);
    cost_destroy(&m);
    return code;
}
