#include "cli/profiled_plan.h"

#include "base/mem.h"
#include "runtime/model.h"

#include <string.h>

static enum cohort_code check(const struct cli_options *o, const struct profile_options *p,
                              bool *wanted, int size, struct cohort_error *err) {
    const char *said = o->plan != NULL     ? "--plan"
                       : o->groups != NULL ? "--groups"
                       : o->ratio != NULL  ? "--ratio"
                       : p->off            ? "--no-profile"
                                           : NULL;
    const char *asks = p->strategy != NULL ? "--strategy" : p->file != NULL ? "--profile" : NULL;
    if (said != NULL && asks != NULL)
        return error_set(err, COHORT_ERR_USAGE,
                         "%s already says how to divide: leave out %s, or it", said, asks);
    *wanted = said == NULL && (size > 1 || asks != NULL) && !o->keep_nodes;
    return COHORT_OK;
}

static void tell(const struct plan *p) {
    int busy = plan_busy_boards(p);
    fprintf(stderr, "cohort: note: plan %s: %d segment%s on %d of %d boards%s, %.1f ms predicted\n",
            p->strategy, p->segment_count, p->segment_count == 1 ? "" : "s", busy, p->boards,
            busy == 1 && p->boards > 1 ? " (one alone is the fastest)" : "", p->predicted_ms);
}

static enum cohort_code search(struct cohort_plan **plan, const struct cohort_model *model,
                               const struct cohort_profile *profile, const struct cli_options *o,
                               const struct profile_options *p, struct cohort_error *err) {
    const struct cohort_search_options s = {.strategy = p->strategy,
                                            .root_feeds = o->root == 1,
                                            .wire = o->wire > 0 ? (enum cohort_wire)o->wire
                                                                : COHORT_WIRE_F32};
    enum cohort_code code = cohort_plan_search(plan, model, profile, &s, err);
    if (code == COHORT_OK)
        tell(cohort_plan_of(*plan));
    return code;
}

enum cohort_code cli_profiled_plan(struct cohort_plan **plan, struct cohort_model *model,
                                   const struct cli_options *o, const struct profile_options *p,
                                   struct cli_ranks *ranks,
                                   const struct cohort_session_options *session,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_profile *profile = NULL;
    bool wanted = false;
    if (ranks->rank == 0)
        code = check(o, p, &wanted, ranks->size, err);
    TRY(cli_agree(ranks, code, err));
    long measures = wanted;
    TRY(cli_broadcast(ranks, &measures, err)); /* the others' environment may differ */
    if (!measures)
        goto out;
    const struct cohort_profile_options how = {.directory = session->cache_directory,
                                               .file = p->file};
    TRY(cohort_profile_make(&profile, model, ranks->comm, &how, session, err));
    if (ranks->rank == 0)
        code = search(plan, model, profile, o, p, err);
    code = cli_agree(ranks, code, err);
out:
    cohort_profile_free(&profile);
    return code;
}
