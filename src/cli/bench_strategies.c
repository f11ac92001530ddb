#include "base/clock.h"
#include "cli/bench_contest.h"
#include "cli/inputs.h"
#include "cli/wire_choice.h"

#include "base/mem.h"
#include "board/health.h"
#include "runtime/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- which strategies ------------------------------------------------------------------------ */

/* What may stand behind a strategy's name. */
static const struct variant {
    const char *suffix;
    const char *of; /* this strategy alone */
    enum planner_objective objective;
    enum planner_unpaired unpaired;
    bool reading; /* of the strategy: one of "all" */
} variants[] = {
    {":memory", "auto", PLANNER_MEMORY, PLANNER_UNPAIRED_ROWS, false},
    {":out-channel", "iop", PLANNER_LATENCY, PLANNER_UNPAIRED_OUT_CHANNEL, true},
};
#define VARIANTS (sizeof variants / sizeof variants[0])

static bool listed(const struct contest *c, const char *name) {
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->list[i].name, name) == 0)
            return true;
    return false;
}

/* v: NULL: as it is. */
static void add_candidate(struct contest *c, const struct strategy *s, const struct variant *v) {
    struct candidate k = {.strategy = s};
    if (v != NULL) {
        k.objective = v->objective;
        k.unpaired = v->unpaired;
    }
    snprintf(k.name, sizeof k.name, "%s%s", s->name, v != NULL ? v->suffix : "");
    if (c->count < STRATEGIES_MAX && !listed(c, k.name))
        c->list[c->count++] = k;
}

/* NAME, or NAME:VARIANT. */
static enum cohort_code add_named(struct contest *c, char *name, struct cohort_error *err) {
    const struct strategy *found = NULL;
    const struct variant *v = NULL;
    char *colon = strchr(name, ':');
    for (size_t i = 0; colon != NULL && i < VARIANTS; i++)
        if (strcmp(colon, variants[i].suffix) == 0)
            v = &variants[i];
    if (colon != NULL && v == NULL)
        return error_set(err, COHORT_ERR_USAGE,
                         "--strategies %s: there may be :memory behind auto, and :out-channel "
                         "behind iop",
                         name);
    if (colon != NULL)
        *colon = '\0';
    enum cohort_code code = strategy_find(&found, name, err);
    if (code == COHORT_OK && v != NULL && strcmp(v->of, found->name) != 0)
        code = error_set(err, COHORT_ERR_USAGE, "--strategies %s%s: only %s has that", name,
                         v->suffix, v->of);
    if (code == COHORT_OK)
        add_candidate(c, found, v);
    return code;
}

/* As it is, and in the readings that are its own. */
static void add_all_of(struct contest *c, const struct strategy *s) {
    add_candidate(c, s, NULL);
    for (size_t i = 0; i < VARIANTS; i++)
        if (variants[i].reading && strcmp(variants[i].of, s->name) == 0)
            add_candidate(c, s, &variants[i]);
}

/* "all", or a list; `single`, which all are compared with, comes first in any case.  The same on
 * every rank, because all of them read the same option. */
static enum cohort_code choose(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int known = 0;
    const struct strategy *table = strategy_table(&known);
    char *text = mem_strdup(c->o->strategies), *rest = text;
    if (text == NULL)
        return error_memory(err, strlen(c->o->strategies) + 1, "names of strategies");
    for (int i = 0; i < known; i++)
        if (strcmp(table[i].name, "single") == 0)
            add_candidate(c, &table[i], NULL);
    if (strcmp(text, "all") == 0) {
        for (int i = 0; i < known; i++)
            add_all_of(c, &table[i]);
        goto out;
    }
    for (char *name; (name = strsep(&rest, ",")) != NULL;)
        TRY(add_named(c, name, err));
out:
    mem_free(text);
    return code;
}

/* Does `fss` go by measured groups?  Where one board computes alone there are none to choose among.
 */
static bool wants_groups(const struct contest *c) {
    return listed(c, "fss") && !c->o->predicted &&
           c->ranks->size - (c->o->common.root != 0 ? 1 : 0) > 1;
}

static bool measures_groups(const struct contest *c) {
    return wants_groups(c) && c->o->profile == NULL;
}

/* ---- profile and plans ----------------------------------------------------------------------- */

static double redundant_share(const struct simulation *s) {
    double all = 0, twice = 0;
    for (int i = 0; i < s->segment_count; i++) {
        all += s->segments[i].compute_ms;
        twice += s->segments[i].redundant * s->segments[i].compute_ms;
    }
    return all > 0 ? twice / all : 0;
}

/* A strategy that cannot plan this network here is left out, with its reason. */
static enum cohort_code plan_one(struct contest *c, struct candidate *k, struct cohort_error *err) {
    const struct planner_options o = {.cost = c->costs->options,
                                      .objective = k->objective,
                                      .unpaired = k->unpaired,
                                      .rows_only = c->o->rows_only,
                                      .predicted = !wants_groups(c)};
    struct cohort_error reason = {0};
    struct planned planned = {0};
    double start = clock_ms();
    enum cohort_code code = planner_make(&planned, c->costs, k->strategy->name, &o, &reason);
    k->planning_ms = clock_ms() - start;
    if (code == COHORT_ERR_MEMORY) {
        *err = reason;
        return code;
    }
    if (code != COHORT_OK) {
        snprintf(k->why_not, sizeof k->why_not, "%s", reason.message);
        return COHORT_OK;
    }
    k->predicted_ms = planned.simulation->total_ms;
    k->own_ms = planned.own_ms;
    k->segments = planned.plan->segment_count;
    k->redundant = redundant_share(planned.simulation);
    k->boards = plan_busy_boards(planned.plan);
    for (int b = 0; b < planned.simulation->boards; b++) {
        k->board_planned_bytes[b] = planned.simulation->peak_bytes[b];
        k->planned_peak_bytes = fmax(k->planned_peak_bytes, planned.simulation->peak_bytes[b]);
    }
    code = cohort_plan_wrap(&k->plan, &planned.plan, err);
    planned_release(&planned);
    return code;
}

static enum cohort_code plan_all(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cost_options o = {.wire = (enum plan_wire)c->wire,
                             .root_feeds = c->o->common.root != 0,
                             .memory_limit = c->limits.all,
                             .memory_limits = c->limits.each,
                             .setup_ms = c->o->common.setup_ms};
    TRY(cohort_pixel_bits(&o.pixel_inputs, c->model, c->sets[0].pixels, c->sets[0].pixel_count,
                          err));
    TRY(cost_create(&c->costs, cohort_model_graph(c->model), cohort_profile_of(c->profile), &o,
                    err));
    for (int i = 0; i < c->count; i++) {
        struct candidate *k = &c->list[i];
        const size_t runs = (size_t)c->o->common.repeat * (size_t)c->o->rounds;
        k->ms = mem_zalloc(runs, sizeof *k->ms);
        k->board_peak_bytes = mem_zalloc(2 * (size_t)c->ranks->size, sizeof *k->ms);
        if (k->ms == NULL || k->board_peak_bytes == NULL)
            TRY(error_memory(err, runs * sizeof *k->ms, "times"));
        k->board_planned_bytes = k->board_peak_bytes + c->ranks->size;
        TRY(plan_one(c, k, err));
    }
out:
    return code;
}

/* Rank 0.  The best plan for each type on the wire. */
static enum cohort_code search_each(struct contest *c, struct cohort_plan **plans,
                                    struct cohort_error *err) {
    struct cohort_search_options o = {.root_feeds = c->o->common.root != 0,
                                      .setup_ms = c->o->common.setup_ms,
                                      .memory_limit_bytes = c->limits.all,
                                      .board_limits_bytes = c->limits.each,
                                      .rows_only = c->o->rows_only,
                                      .pixels = c->sets[0].pixels,
                                      .pixel_count = c->sets[0].pixel_count};
    enum cohort_code code = COHORT_OK;
    for (int w = 0; w < CLI_WIRES && code == COHORT_OK; w++) {
        o.wire = (enum cohort_wire)w;
        code = cohort_plan_search(&plans[w], c->model, c->profile, &o, err);
    }
    return code;
}

/* Collective.  What all strategies are compared with: as the options say, or what the best plans'
 * answers allow. */
static enum cohort_code choose_wire(struct contest *c, const struct cohort_session_options *session,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const bool root = c->ranks->rank == 0;
    struct cohort_plan *plans[CLI_WIRES] = {NULL};
    struct cohort_session *prepared = NULL;
    struct wire_choice choice;
    c->wire = c->o->common.wire < 0 ? COHORT_WIRE_F32 : c->o->common.wire;
    if (c->wire != CLI_WIRE_AUTO)
        return code;
    if (root)
        code = search_each(c, plans, err);
    TRY(cli_agree(c->ranks, code, err));
    const struct wire_trial trial = {.ranks = c->ranks,
                                     .model = c->model,
                                     .plans = plans,
                                     .input = root ? c->sets[0].tensors : NULL,
                                     .input_count = root ? c->sets[0].count : 0,
                                     .session = session,
                                     .tolerance = c->o->common.tolerance};
    TRY(wire_choose(&choice, &prepared, &trial, err));
    c->wire = choice.wire;
out:
    cohort_close(&prepared);
    for (int w = 0; w < CLI_WIRES; w++)
        cohort_plan_free(&plans[w]);
    return code;
}

/* Collective. */
static enum cohort_code open_network(struct contest *c, struct cohort_error *err) {
    const struct input_options made = {.made_up = (enum made_up)c->o->input_type};
    const struct option_list none = {0};
    struct cohort_session_options session;
    struct cli_session_state state = {0};
    enum cohort_code code = cli_session_options(&session, &state, &c->o->common, c->ranks, err);
    if (code == COHORT_OK && c->ranks->rank == 0)
        code = cli_open_model(&c->model, c->network, &c->o->common, err);
    if (code == COHORT_OK && c->ranks->rank == 0)
        code = inputs_load(&c->sets, &c->set_count, c->model, &none, &made, err);
    TRY(cli_agree(c->ranks, code, err));
    const struct cohort_profile_options o = {.directory = state.cache,
                                             .file = c->o->profile,
                                             .again = c->o->again,
                                             .groups = measures_groups(c) ? -1 : 0,
                                             .root_feeds = c->o->common.root != 0};
    double start = clock_ms();
    TRY(cohort_profile_make(&c->profile, c->model, c->ranks->comm, &o, &session, err));
    c->profiling_ms = clock_ms() - start;
    if (bench_groups_ms(c) <= c->profiling_ms) /* else they were kept */
        c->profiling_ms -= bench_groups_ms(c);
    session.log = NULL; /* profiling has said what there is to say of these boards */
    session.profile = c->o->cpu_time ? NULL : c->profile;
    if (c->ranks->rank == 0) {
        inputs_describe(&session, &c->sets[0]);
        code = memory_limits_read(&c->limits, c->o->common.memory_limit, c->o->common.cluster,
                                  cohort_profile_of(c->profile), err);
    }
    TRY(cli_agree(c->ranks, code, err));
    TRY(choose_wire(c, &session, err));
    if (c->ranks->rank == 0 && c->o->save_profile != NULL)
        code = cohort_profile_save(c->profile, c->o->save_profile, err);
    if (c->ranks->rank == 0 && code == COHORT_OK)
        code = plan_all(c, err);
    TRY(cli_agree(c->ranks, code, err));
out:
    cli_session_release(&state);
    return code;
}

/* ---- the boards' health ---------------------------------------------------------------------- */

/* Did the board slow itself down between the two looks?  Clock and temperature may change. */
static bool throttled_between(const char *before, const char *after) {
    const char *then = strstr(before, "throttled"), *now = strstr(after, "throttled");
    return now != NULL && (then == NULL || strtol(then + 9, NULL, 10) != strtol(now + 9, NULL, 10));
}

/* Collective.  Every board's, on rank 0. */
static enum cohort_code look(const struct contest *c, int which, struct cohort_error *err) {
    char mine[BOARD_HEALTH_BYTES] = "";
    char *all = c->health != NULL ? health_of(c, which, 0) : NULL;
    enum cohort_code code = COHORT_OK;
    board_health(&c->board, "/sys", mine);
    if (c->ranks->comm == MPI_COMM_NULL)
        memcpy(all, mine, sizeof mine);
    else
        TRY(cli_gather_bytes(c->ranks, mine, all, sizeof mine, err));
out:
    return code;
}

/* Collective.  What happened since the last look happened to this candidate. */
static enum cohort_code look_after(const struct contest *c, struct candidate *k,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(look(c, NOW, err));
    for (int b = 0; c->ranks->rank == 0 && b < c->ranks->size; b++) {
        k->throttled |= throttled_between(health_of(c, LATELY, b), health_of(c, NOW, b));
        memcpy(health_of(c, LATELY, b), health_of(c, NOW, b), BOARD_HEALTH_BYTES);
    }
out:
    return code;
}

/* Collective. */
static enum cohort_code look_before(struct contest *c, struct cohort_error *err) {
    const size_t size = c->ranks->rank == 0 ? (size_t)c->ranks->size : 0;
    enum cohort_code code = board_detect(&c->board, &(struct board_options){.bind = false}, err);
    if (size > 0)
        c->health = mem_zalloc(LOOKS * size, BOARD_HEALTH_BYTES);
    if (code == COHORT_OK && size > 0 && c->health == NULL)
        code = error_memory(err, LOOKS * size * BOARD_HEALTH_BYTES, "the boards' health");
    TRY(cli_agree(c->ranks, code, err));
    TRY(look(c, BEFORE, err));
    if (size > 0)
        memcpy(health_of(c, LATELY, 0), health_of(c, BEFORE, 0), size * BOARD_HEALTH_BYTES);
out:
    return code;
}

/* ---- running --------------------------------------------------------------------------------- */

static double number(const cJSON *o, const char *key) {
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

/* Of dilated blocks on all boards: how many there were, and how many of them were late. */
struct late {
    double blocks, late;
};

/* Bytes and memory of the last run, from its report.  Late blocks of the runs since the last look,
 * which *l is of, and will be of this one; those of warming up do not count. */
static enum cohort_code read_report(struct candidate *k, struct late *l, bool timed,
                                    const char *json, struct cohort_error *err) {
    cJSON *report = NULL;
    enum cohort_code code = json_parse(&report, json, strlen(json), "the report", err);
    if (code != COHORT_OK)
        return code;
    const cJSON *board, *step;
    const struct late before = *l;
    int b = 0;
    *l = (struct late){0};
    k->peak_bytes = k->bytes = k->compute_ms = 0;
    cJSON_ArrayForEach(board, cJSON_GetObjectItemCaseSensitive(report, "boards")) {
        double *peak = &k->board_peak_bytes[b++];
        *peak = number(board, "activation_bytes") + number(board, "weights_bytes") +
                number(board, "other_bytes");
        k->peak_bytes = fmax(k->peak_bytes, *peak);
        k->compute_ms = fmax(k->compute_ms, number(board, "compute_ms"));
        l->blocks += number(board, "blocks");
        l->late += number(board, "late_blocks");
    }
    cJSON_ArrayForEach(step, cJSON_GetObjectItemCaseSensitive(report, "steps"))
        cJSON_ArrayForEach(board, cJSON_GetObjectItemCaseSensitive(step, "boards"))
            k->bytes += number(board, "bytes") / 2; /* sent by one, received by another */
    if (timed && l->blocks > before.blocks)
        k->late = fmax(k->late, (l->late - before.late) / (l->blocks - before.blocks));
    json_free(&report);
    return COHORT_OK;
}

static enum cohort_code run_once(struct contest *c, struct candidate *k,
                                 struct cohort_session *session, bool timed,
                                 struct cohort_error *err) {
    const bool root = c->ranks->rank == 0;
    double start = clock_ms();
    enum cohort_code code =
        cohort_run(session, root ? c->sets[0].tensors : NULL, root ? c->sets[0].count : 0,
                   root ? &c->output : NULL, root ? 1 : 0, err);
    if (code == COHORT_OK && root && timed)
        k->ms[k->count++] = clock_ms() - start;
    return code;
}

/* Collective.  Runs of one kind, and what is reported of them. */
static enum cohort_code run_some(struct contest *c, struct candidate *k,
                                 struct cohort_session *session, long count, bool timed,
                                 struct late *late, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *json = NULL;
    for (long i = 0; i < count; i++)
        TRY(run_once(c, k, session, timed, err));
    TRY(cohort_report(session, &json, err));
    if (c->ranks->rank == 0)
        code = read_report(k, late, timed, json, err);
    TRY(cli_agree(c->ranks, code, err));
out:
    cohort_text_free(json);
    return code;
}

static enum cohort_code rest(const struct contest *c, struct cohort_error *err) {
    const struct timespec t = {.tv_sec = (time_t)c->o->cooldown_s,
                               .tv_nsec = (long)(fmod(c->o->cooldown_s, 1) * 1e9)};
    if (c->o->cooldown_s > 0)
        nanosleep(&t, NULL);
    return cli_agree(c->ranks, COHORT_OK, err);
}

/* Collective.  One turn of one candidate: runs that do not count, and runs that do. */
static enum cohort_code turn(struct contest *c, struct candidate *k, long warmup, long repeat,
                             struct cohort_error *err) {
    struct cohort_session_options options;
    struct cli_session_state state = {0};
    struct cohort_session *session = NULL;
    struct late late = {0};
    enum cohort_code code = COHORT_OK;
    TRY(rest(c, err));
    code = cli_session_options(&options, &state, &c->o->common, c->ranks, err);
    TRY(cli_agree(c->ranks, code, err));
    options.profile = c->o->cpu_time ? NULL : c->profile;
    options.log = NULL; /* profiling has said what there is to say of these boards */
    options.progress = NULL;
    if (c->ranks->rank == 0)
        inputs_describe(&options, &c->sets[0]);
    TRY(cohort_prepare(&session, c->model, k->plan, c->ranks->comm, &options, err));
    if (warmup > 0)
        TRY(run_some(c, k, session, warmup, false, &late, err));
    TRY(run_some(c, k, session, repeat, true, &late, err));
out:
    cohort_close(&session);
    cli_session_release(&state);
    return code;
}

/* Rank 0.  How often a candidate runs in a round.  Where all of its runs would take longer than the
 * limit, as predicted, there are fewer rounds for it, at last one run in all. */
static void find_runs(const struct contest *c, const struct candidate *k, long round, long *warmup,
                      long *repeat) {
    const struct cli_options *o = &c->o->common;
    const double fit = c->o->limit_s * 1e3 / fmax(k->predicted_ms, 1e-3);
    *warmup = o->warmup;
    *repeat = k->plan != NULL ? o->repeat : 0;
    if (c->o->limit_s <= 0 || fit >= (double)(o->warmup + o->repeat) * (double)(round + 1))
        return;
    if (round > 0)
        *repeat = 0;
    else if (*repeat > 0 && fit < (double)(o->warmup + o->repeat)) {
        *warmup = 0;
        *repeat = fit < 1 ? 1 : fit < (double)o->repeat ? (long)fit : o->repeat;
    }
}

/* Collective.  Rounds begin with another candidate each. */
static enum cohort_code run_rounds(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (long round = 0; round < c->o->rounds; round++)
        for (int i = 0; i < c->count; i++) {
            struct candidate *k = &c->list[(i + round) % c->count];
            long warmup = 0, repeat = 0;
            if (c->ranks->rank == 0)
                find_runs(c, k, round, &warmup, &repeat);
            TRY(cli_broadcast(c->ranks, &warmup, err));
            TRY(cli_broadcast(c->ranks, &repeat, err));
            if (repeat > 0)
                TRY(turn(c, k, warmup, repeat, err));
            if (repeat > 0)
                TRY(look_after(c, k, err));
        }
    for (int i = 0; i < c->count; i++)
        c->list[i].time = cli_statistics(c->list[i].ms, c->list[i].count);
out:
    return code;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void release(struct contest *c) {
    for (int i = 0; i < c->count; i++) {
        cohort_plan_free(&c->list[i].plan);
        mem_free(c->list[i].ms);
        mem_free(c->list[i].board_peak_bytes);
    }
    inputs_release(&c->sets, c->set_count);
    cost_destroy(&c->costs);
    memory_limits_release(&c->limits);
    cohort_profile_free(&c->profile);
    cohort_model_free(&c->model);
    mem_free(c->health);
}

static enum cohort_code contest_run(struct contest *c, bool first, cJSON *rows,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(choose(c, err));
    TRY(open_network(c, err));
    TRY(look_before(c, err));
    TRY(run_rounds(c, err));
    TRY(look(c, AFTER, err));
    if (c->ranks->rank == 0)
        bench_show(c, first, rows);
out:
    return code;
}

enum cohort_code bench_strategies(const struct bench_options *o, struct cli_ranks *ranks,
                                  const char *const *networks, int count, cJSON *rows,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < count && code == COHORT_OK; i++) {
        struct contest *c = mem_zalloc(1, sizeof *c);
        code = c == NULL ? error_memory(err, sizeof *c, "a comparison") : COHORT_OK;
        TRY(cli_agree(ranks, code, err));
        c->o = o;
        c->ranks = ranks;
        c->network = networks[i];
        code = contest_run(c, i == 0, rows, err);
        release(c);
        mem_free(c);
    }
out:
    return code;
}
