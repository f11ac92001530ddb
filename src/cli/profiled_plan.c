#include "cli/profiled_plan.h"

#include "cli/wire_choice.h"

#include "base/mem.h"
#include "runtime/model.h"

#include <string.h>

/* What is to be done; rank 0's options count. */
enum wish { NOTHING = 0, MEASURE = 1, PLAN = 2, ADAPT = 4, TIMES = 8 };

static enum cohort_code check(const struct cli_options *o, const struct profile_options *p,
                              long *wish, int size, struct cohort_error *err) {
    const char *said = o->plan != NULL     ? "--plan"
                       : o->groups != NULL ? "--groups"
                       : o->ratio != NULL  ? "--ratio"
                       : p->off            ? "--no-profile"
                                           : NULL;
    const char *asks = p->strategy != NULL         ? "--strategy"
                       : p->file != NULL && p->off ? "--profile"
                       : o->memory_limit != NULL   ? "--memory-limit"
                                                   : NULL;
    const char *cannot = p->off ? "--no-profile" : o->keep_nodes ? "--keep-nodes" : NULL;
    if (p->adapt && cannot != NULL)
        return error_set(err, COHORT_ERR_USAGE, "--adapt goes by measurements: leave out %s, or it",
                         cannot);
    if (said != NULL && asks != NULL && !p->adapt)
        return error_set(err, COHORT_ERR_USAGE,
                         "%s already says how to divide: leave out %s, or it", said, asks);
    if (o->keep_nodes && o->memory_limit != NULL)
        return error_set(err, COHORT_ERR_USAGE,
                         "--keep-nodes runs without planning: leave out --memory-limit, or it");
    const bool adapts = p->adapt && size > 1;
    if (p->adapt && !adapts)
        fprintf(stderr, "cohort: note: one board has nothing to divide: --adapt does nothing\n");
    *wish = p->off || o->keep_nodes ? NOTHING : TIMES;
    const bool divides = said == NULL && (size > 1 || asks != NULL || p->file != NULL);
    const bool predicts = said != NULL && p->file != NULL; /* a plan by hand */
    if ((divides || adapts || predicts) && !o->keep_nodes)
        *wish = MEASURE | (said == NULL ? PLAN : 0) | (adapts ? ADAPT : 0);
    return COHORT_OK;
}

void cli_tell_plan(const struct cohort_plan *plan) {
    const struct plan *p = cohort_plan_of(plan);
    int busy = plan_busy_boards(p);
    if (p->predicted_ms < 0)
        return;
    fprintf(stderr, "cohort: note: plan %s: %d segment%s on %d of %d boards%s, %.1f ms predicted\n",
            p->strategy, p->segment_count, p->segment_count == 1 ? "" : "s", busy, p->boards,
            busy == 1 && p->boards > 1 ? " (one alone is the fastest)" : "", p->predicted_ms);
}

struct cohort_search_options cli_search_options(const struct cli_options *o,
                                                const struct profile_options *p,
                                                const struct memory_limits *limits) {
    return (struct cohort_search_options){.strategy = p->strategy,
                                          .memory_limit_bytes = limits->all,
                                          .board_limits_bytes = limits->each,
                                          .root_feeds = o->root == 1,
                                          .rows_only = p->rows_only,
                                          .setup_ms = o->setup_ms,
                                          .wire = o->wire > 0 && o->wire != CLI_WIRE_AUTO
                                                      ? (enum cohort_wire)o->wire
                                                      : COHORT_WIRE_F32};
}

void profiled_release(struct profiled *p) {
    cohort_profile_free(&p->profile);
    memory_limits_release(&p->limits);
}

static enum cohort_code search(struct cohort_plan **plan, const struct cohort_model *model,
                               const struct profiled *profiled, const struct cli_options *o,
                               const struct profile_options *p,
                               const struct cohort_session_options *session,
                               struct cohort_error *err) {
    const bool each = o->wire == CLI_WIRE_AUTO;
    struct cohort_search_options s = cli_search_options(o, p, &profiled->limits);
    s.pixels = session->pixels;
    s.pixel_count = session->pixel_count;
    enum cohort_code code = cohort_plan_search(plan, model, profiled->profile, &s, err);
    for (int w = 1; w < CLI_WIRES && each && code == COHORT_OK; w++) {
        s.wire = (enum cohort_wire)w;
        code = cohort_plan_search(&plan[w], model, profiled->profile, &s, err);
    }
    if (code == COHORT_OK && !each)
        cli_tell_plan(*plan);
    return code;
}

/* What is kept of these boards, where rank 0 is dilated: the times that operators take. */
static enum cohort_code find_times(struct cohort_profile **profile, struct cohort_model *model,
                                   struct cli_ranks *ranks,
                                   const struct cohort_session_options *session,
                                   struct cohort_error *err) {
    const struct cohort_profile_options how = {.directory = session->cache_directory, .kept = 1};
    long looks = session->cpu_share > 0 && session->cpu_share < 1;
    enum cohort_code code = COHORT_OK;
    TRY(cli_broadcast(ranks, &looks, err));
    if (looks)
        code = cohort_profile_make(profile, model, ranks->comm, &how, session, err);
out:
    return code;
}

enum cohort_code cli_profiled_plan(struct cohort_plan **plan, struct profiled *profiled,
                                   struct cohort_model *model, const struct cli_options *o,
                                   const struct profile_options *p, struct cli_ranks *ranks,
                                   const struct cohort_session_options *session,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    long wish = NOTHING;
    if (ranks->rank == 0)
        code = check(o, p, &wish, ranks->size, err);
    TRY(cli_agree(ranks, code, err));
    TRY(cli_broadcast(ranks, &wish, err)); /* the others' environment may differ */
    if (wish == TIMES)
        TRY(find_times(&profiled->profile, model, ranks, session, err));
    if ((wish & MEASURE) == 0)
        goto out;
    const struct cohort_profile_options how = {.directory = session->cache_directory,
                                               .file = p->file};
    TRY(cohort_profile_make(&profiled->profile, model, ranks->comm, &how, session, err));
    profiled->made = true;
    profiled->adapts = (wish & ADAPT) != 0;
    if (ranks->rank == 0)
        code = memory_limits_read(&profiled->limits, o->memory_limit, o->cluster,
                                  cohort_profile_of(profiled->profile), err);
    if (ranks->rank == 0 && code == COHORT_OK && (wish & PLAN) != 0)
        code = search(plan, model, profiled, o, p, session, err);
    code = cli_agree(ranks, code, err);
out:
    return code;
}
