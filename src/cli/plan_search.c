/* cohort plan --strategy: from options to a plan; see plan_search.h. */
#include "cli/plan_search.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/limits.h"
#include "planner/synthetic.h"

#include <string.h>

/* ---- wishes --------------------------------------------------------------------------------- */

/* "pi3,pi4.lab": by host name, its part before the first dot, or number. */
static enum cohort_code read_excluded(const struct profile *p, const char *text, bool *out,
                                      struct cohort_error *err) {
    for (const char *part = text;; part++) {
        const size_t length = strcspn(part, ",");
        bool found = false;
        for (int b = 0; b < p->board_count; b++) {
            const char *host = p->boards[b].host != NULL ? p->boards[b].host : "";
            char number[16];
            snprintf(number, sizeof number, "%d", b);
            const bool named =
                strncmp(host, part, length) == 0 && (host[length] == '\0' || host[length] == '.');
            const bool numbered = strlen(number) == length && strncmp(number, part, length) == 0;
            if (length > 0 && (named || numbered))
                out[b] = found = true;
        }
        if (!found)
            return error_set(err, COHORT_ERR_USAGE,
                             "--exclude: the profile has no board '%.*s' (board 0 is %.60s)",
                             (int)(length < 60 ? length : 60), part,
                             p->boards[0].host != NULL ? p->boards[0].host : "unnamed");
        part += length;
        if (*part == '\0')
            return COHORT_OK;
    }
}

static enum cohort_code open_profile(struct profile **p, const struct graph *g,
                                     const struct search_options *o, struct cohort_error *err) {
    if (o->profile == NULL)
        return profile_synthetic(p, g, o->synthetic, err);
    enum cohort_code code = profile_load(p, o->profile, err);
    if (code == COHORT_OK && (code = profile_check(*p, g, err)) != COHORT_OK)
        error_wrap(err, "%s", o->profile);
    return code;
}

/* ---- all strategies beside one another ------------------------------------------------------ */

static enum cohort_code fill_row(struct search_row *row, const struct cost_model *m,
                                 const char *strategy, const struct planner_options *options,
                                 struct cohort_error *err) {
    struct planned planned;
    struct cohort_error why = {0};
    const double begin = clock_ms();
    const enum cohort_code code = planner_make(&planned, m, strategy, options, &why);
    *row = (struct search_row){.strategy = strategy, .planning_ms = clock_ms() - begin};
    if (code == COHORT_ERR_PLAN || code == COHORT_ERR_USAGE) {
        row->error = mem_strdup(why.message);
        return row->error != NULL ? COHORT_OK : error_memory(err, sizeof why, "a table");
    }
    if (code != COHORT_OK) {
        *err = why;
        return code;
    }
    row->predicted_ms = planned.simulation->total_ms;
    row->own_ms = planned.own_ms;
    row->bytes = planned.simulation->bytes;
    row->segments = planned.plan->segment_count;
    row->boards = cli_plan_busy_boards(&planned);
    for (int b = 0; b < m->boards; b++)
        row->peak_bytes = planned.simulation->peak_bytes[b] > row->peak_bytes
                              ? planned.simulation->peak_bytes[b]
                              : row->peak_bytes;
    planned_release(&planned);
    return COHORT_OK;
}

static enum cohort_code show_all(const struct cost_model *m, const struct search_options *o,
                                 const struct planner_options *options, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int count;
    const struct strategy *table = strategy_table(&count);
    struct search_row *rows = mem_zalloc((size_t)count, sizeof *rows);
    if (rows == NULL)
        return error_memory(err, (size_t)count * sizeof *rows, "a table");
    for (int i = 0; i < count; i++)
        TRY(fill_row(&rows[i], m, table[i].name, options, err));
    if (o->json)
        TRY(cli_plan_table_json(stdout, rows, count, err));
    else
        cli_plan_table(stdout, rows, count);
out:
    for (int i = 0; i < count; i++)
        mem_free((char *)rows[i].error);
    mem_free(rows);
    return code;
}

/* ---- one ------------------------------------------------------------------------------------ */

/* The plan's text goes to standard output unless something else is wanted there. */
static enum cohort_code write_plan(const struct plan *p, const struct search_options *o,
                                   struct cohort_error *err) {
    char *text = NULL;
    if (o->output == NULL && (o->json || o->explain))
        return COHORT_OK;
    enum cohort_code code = plan_print(p, &text, err);
    if (code == COHORT_OK && o->output != NULL)
        code = file_replace(o->output, text, strlen(text), err);
    else if (code == COHORT_OK)
        fputs(text, stdout);
    mem_free(text);
    return code;
}

/* *plan: one that is there, which it takes; NULL: a new one. */
static enum cohort_code show_one(const struct graph *g, const struct cost_model *m,
                                 struct plan **plan, const struct search_options *o,
                                 const struct planner_options *options, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct planned planned = {0};
    const double begin = clock_ms();
    if (*plan != NULL) {
        TRY(plan_check(*plan, g, m->boards, err));
        TRY(planner_predict(&planned, m, plan, err));
    } else {
        TRY(planner_make(&planned, m, o->strategy, options, err));
        TRY(plan_check(planned.plan, g, m->boards, err));
    }
    const double planning_ms = clock_ms() - begin;
    TRY(write_plan(planned.plan, o, err));
    if (o->json)
        TRY(cli_plan_json(stdout, m, &planned, planning_ms, err));
    else
        cli_plan_summary(o->explain || o->output != NULL ? stdout : stderr, m, &planned,
                         planning_ms);
    if (o->explain && !o->json)
        TRY(cli_plan_explain(stdout, m, &planned, err));
out:
    planned_release(&planned);
    return code;
}

enum cohort_code cli_plan_search(const struct graph *g, const struct search_options *o,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct profile *profile = NULL;
    struct cost_model *m = NULL;
    struct plan *plan = NULL;
    enum plan_wire wire = o->wire > 0 ? (enum plan_wire)o->wire : PLAN_WIRE_F32;
    bool *excluded = NULL;
    struct memory_limits limits = {0};
    TRY(open_profile(&profile, g, o, err));
    excluded = mem_zalloc((size_t)profile->board_count + 1, sizeof *excluded);
    if (excluded == NULL) {
        code = error_memory(err, (unsigned)profile->board_count, "--exclude");
        goto out;
    }
    if (o->exclude != NULL)
        TRY(read_excluded(profile, o->exclude, excluded, err));
    TRY(memory_limits_read(&limits, o->memory_limit, o->cluster, profile, err));
    if (o->plan != NULL) {
        TRY(plan_load(&plan, o->plan, err));
        wire = plan->wire = o->wire >= 0 ? wire : plan->wire;
    }
    const struct planner_options options = {.cost = {.boards = (int)o->boards,
                                                     .wire = wire,
                                                     .input_u8 = o->image_input,
                                                     .root_feeds = o->root_feeds,
                                                     .left_out = excluded,
                                                     .memory_limit = limits.all,
                                                     .memory_limits = limits.each,
                                                     .setup_ms = o->setup_ms},
                                            .objective = (enum planner_objective)o->objective,
                                            .predicted = o->predicted,
                                            .unpaired = (enum planner_unpaired)o->unpaired,
                                            .rows_only = o->rows_only};
    TRY(cost_create(&m, g, profile, &options.cost, err));
    if (plan == NULL && strcmp(o->strategy, "all") == 0)
        TRY(show_all(m, o, &options, err));
    else
        TRY(show_one(g, m, &plan, o, &options, err));
out:
    cost_destroy(&m);
    plan_destroy(&plan);
    mem_free(excluded);
    memory_limits_release(&limits);
    profile_destroy(&profile);
    return code;
}
