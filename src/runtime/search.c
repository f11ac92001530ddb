/* cohort_plan_search(): from a profile to a plan, through the planner. */
#include "planner/strategy.h"
#include "runtime/model.h"
#include "runtime/session.h"

#include "base/mem.h"

#include <string.h>

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

/* What a process has of memory beside its plan grows a little when it runs: MPI's connections. */
#define BESIDE ((uint64_t)16 << 20)

/* What boards were told to stay below, or have left where that is less; NULL: memory is short. */
static uint64_t *limits_of(const struct cohort_profile *profile,
                           const struct cohort_search_options *o) {
    const int boards = profile->profile->board_count;
    uint64_t *limits = mem_zalloc((size_t)boards, sizeof *limits);
    for (int b = 0; limits != NULL && b < boards; b++) {
        const uint64_t left = profile->available_bytes != NULL ? profile->available_bytes[b] : 0;
        limits[b] = o->board_limits_bytes != NULL ? o->board_limits_bytes[b] : 0;
        if (left > 0 && (limits[b] == 0 || left < limits[b] + BESIDE))
            limits[b] = left > BESIDE ? left - BESIDE : 1;
    }
    return limits;
}

static bool is_limited(const struct cohort_search_options *o, int boards) {
    for (int b = 0; o->board_limits_bytes != NULL && b < boards; b++)
        if (o->board_limits_bytes[b] > 0)
            return true;
    return o->memory_limit_bytes > 0;
}

static bool is_beyond(const struct planned *planned, const uint64_t *limits) {
    for (int b = 0; b < planned->plan->boards; b++)
        if (limits[b] > 0 && planned->simulation->peak_bytes[b] > (double)limits[b])
            return true;
    return false;
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
    uint64_t *limits = NULL;
    struct cost_model *m = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(profile_check(profile->profile, model->graph, err));
    TRY(cohort_pixel_bits(&p.cost.pixel_inputs, model, o->pixels, o->pixel_count, err));
    const char *strategy = o->strategy != NULL ? o->strategy : "auto";
    const bool can = strcmp(strategy, "auto") == 0; /* others have one plan, for better or worse */
    if ((limits = limits_of(profile, o)) == NULL)
        TRY(error_memory(err, sizeof *limits, "memory limits"));
    bool limited = is_limited(o, profile->profile->board_count);
    if (limited && can)
        p.cost.memory_limits = limits;
    for (;; limited = true) {
        TRY(cost_create(&m, model->graph, profile->profile, &p.cost, err));
        TRY(planner_make(&planned, m, strategy, &p, err));
        if (limited || !can || !is_beyond(&planned, limits))
            break;
        planned_release(&planned);
        cost_destroy(&m);
        p.cost.memory_limits = limits;
    }
    TRY(cohort_plan_wrap(plan, &planned.plan, err));
out:
    planned_release(&planned);
    cost_destroy(&m);
    mem_free(limits);
    return code;
}
