#include "cli/bench_strategies.h"
#include "base/clock.h"
#include "cli/inputs.h"
#include "cli/wire_choice.h"

#include "base/mem.h"
#include "board/health.h"
#include "planner/strategy.h"
#include "runtime/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STRATEGIES_MAX 32

/* One strategy's plan for the network at hand.  All but the name is rank 0's. */
struct candidate {
    char name[32];
    struct cohort_plan *plan;
    char why_not[COHORT_MESSAGE_BYTES]; /* it made none */
    double predicted_ms, own_ms, planning_ms;
    double *ms;
    int count;
    struct cli_stats time;
    double bytes;      /* that travel in an inference */
    double peak_bytes; /* of the board that needs most */
    double late;       /* share of dilated blocks that came too late */
    int boards;        /* that compute anything */
    int segments;
};

struct contest {
    const struct bench_options *o;
    struct cli_ranks *ranks;
    const char *network;
    struct cohort_model *model;     /* rank 0 */
    struct cohort_profile *profile; /* rank 0 */
    struct cost_model *costs;       /* rank 0 */
    double profiling_ms;
    struct candidate list[STRATEGIES_MAX];
    int count;
    struct input_set *sets; /* rank 0 */
    int set_count;
    struct cohort_tensor output;
    int wire;       /* enum cohort_wire */
    bool throttled; /* a board did, between the first run and the last */
};

/* ---- which strategies ------------------------------------------------------------------------ */

static bool listed(const struct contest *c, const char *name) {
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->list[i].name, name) == 0)
            return true;
    return false;
}

static void add_name(struct contest *c, const char *name) {
    if (c->count < STRATEGIES_MAX && !listed(c, name))
        snprintf(c->list[c->count++].name, sizeof c->list[0].name, "%s", name);
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
    add_name(c, "single");
    if (strcmp(text, "all") == 0) {
        for (int i = 0; i < known; i++)
            add_name(c, table[i].name);
        goto out;
    }
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        const struct strategy *found = NULL;
        TRY(strategy_find(&found, name, err));
        add_name(c, found->name);
    }
out:
    mem_free(text);
    return code;
}

/* ---- profile and plans ----------------------------------------------------------------------- */

/* A strategy that cannot plan this network here is left out, with its reason. */
static enum cohort_code plan_one(struct contest *c, struct candidate *k, struct cohort_error *err) {
    const struct planner_options o = {.cost = c->costs->options};
    struct cohort_error reason = {0};
    struct planned planned = {0};
    double start = clock_ms();
    enum cohort_code code = planner_make(&planned, c->costs, k->name, &o, &reason);
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
    k->boards = plan_busy_boards(planned.plan);
    code = cohort_plan_wrap(&k->plan, &planned.plan, err);
    planned_release(&planned);
    return code;
}

static enum cohort_code plan_all(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cost_options o = {.wire = (enum plan_wire)c->wire, .root_feeds = c->o->common.root != 0};
    TRY(cohort_pixel_bits(&o.pixel_inputs, c->model, c->sets[0].pixels, c->sets[0].pixel_count,
                          err));
    TRY(cost_create(&c->costs, cohort_model_graph(c->model), cohort_profile_of(c->profile), &o,
                    err));
    for (int i = 0; i < c->count; i++) {
        struct candidate *k = &c->list[i];
        TRY(plan_one(c, k, err));
        k->ms = mem_zalloc((size_t)c->o->common.repeat * (size_t)c->o->rounds, sizeof *k->ms);
        if (k->ms == NULL)
            TRY(error_memory(err, (size_t)c->o->common.repeat * sizeof *k->ms, "times"));
    }
out:
    return code;
}

/* Rank 0.  The best plan for each type on the wire. */
static enum cohort_code search_each(struct contest *c, struct cohort_plan **plans,
                                    struct cohort_error *err) {
    struct cohort_search_options o = {.root_feeds = c->o->common.root != 0,
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
    const struct cohort_profile_options o = {
        .directory = state.cache, .file = c->o->profile, .again = c->o->again};
    double start = clock_ms();
    TRY(cohort_profile_make(&c->profile, c->model, c->ranks->comm, &o, &session, err));
    c->profiling_ms = clock_ms() - start;
    session.log = NULL; /* profiling has said what there is to say of these boards */
    session.profile = c->o->cpu_time ? NULL : c->profile;
    if (c->ranks->rank == 0)
        inputs_describe(&session, &c->sets[0]);
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

/* ---- running --------------------------------------------------------------------------------- */

static double number(const cJSON *o, const char *key) {
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

/* Bytes, memory and late blocks of the last run, from its report. */
static enum cohort_code read_report(struct candidate *k, const char *json,
                                    struct cohort_error *err) {
    cJSON *report = NULL;
    enum cohort_code code = json_parse(&report, json, strlen(json), "the report", err);
    if (code != COHORT_OK)
        return code;
    const cJSON *board, *step;
    double blocks = 0, late = 0;
    k->peak_bytes = k->bytes = 0;
    cJSON_ArrayForEach(board, cJSON_GetObjectItemCaseSensitive(report, "boards")) {
        k->peak_bytes =
            fmax(k->peak_bytes, number(board, "activation_bytes") + number(board, "weights_bytes") +
                                    number(board, "other_bytes"));
        blocks += number(board, "blocks");
        late += number(board, "late_blocks");
    }
    cJSON_ArrayForEach(step, cJSON_GetObjectItemCaseSensitive(report, "steps"))
        cJSON_ArrayForEach(board, cJSON_GetObjectItemCaseSensitive(step, "boards"))
            k->bytes += number(board, "bytes") / 2; /* sent by one, received by another */
    k->late = fmax(k->late, blocks > 0 ? late / blocks : 0);
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

static enum cohort_code rest(const struct contest *c, struct cohort_error *err) {
    const struct timespec t = {.tv_sec = (time_t)c->o->cooldown_s,
                               .tv_nsec = (long)(fmod(c->o->cooldown_s, 1) * 1e9)};
    if (c->o->cooldown_s > 0)
        nanosleep(&t, NULL);
    return cli_agree(c->ranks, COHORT_OK, err);
}

/* Collective.  One turn of one candidate. */
static enum cohort_code turn(struct contest *c, struct candidate *k, struct cohort_error *err) {
    struct cohort_session_options options;
    struct cli_session_state state = {0};
    struct cohort_session *session = NULL;
    char *json = NULL;
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
    for (long i = -c->o->common.warmup; i < c->o->common.repeat; i++)
        TRY(run_once(c, k, session, i >= 0, err));
    TRY(cohort_report(session, &json, err));
    if (c->ranks->rank == 0)
        code = read_report(k, json, err);
    TRY(cli_agree(c->ranks, code, err));
out:
    cohort_text_free(json);
    cohort_close(&session);
    cli_session_release(&state);
    return code;
}

/* Collective.  Rounds begin with another candidate each. */
static enum cohort_code run_rounds(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (long round = 0; round < c->o->rounds; round++)
        for (int i = 0; i < c->count; i++) {
            struct candidate *k = &c->list[(i + round) % c->count];
            long runs = k->plan != NULL;
            TRY(cli_broadcast(c->ranks, &runs, err));
            if (runs)
                TRY(turn(c, k, err));
        }
    for (int i = 0; i < c->count; i++)
        c->list[i].time = cli_statistics(c->list[i].ms, c->list[i].count);
out:
    return code;
}

/* ---- the boards' health ---------------------------------------------------------------------- */

/* Did the board slow itself down between the two looks?  Clock and temperature may change. */
static bool throttled_between(const char *before, const char *after) {
    const char *then = strstr(before, "throttled"), *now = strstr(after, "throttled");
    return now != NULL && (then == NULL || strtol(then + 9, NULL, 10) != strtol(now + 9, NULL, 10));
}

/* Collective.  all: rank 0's, a text a rank. */
static enum cohort_code gather_health(const struct contest *c, char *all,
                                      struct cohort_error *err) {
    struct board board;
    char mine[BOARD_HEALTH_BYTES];
    enum cohort_code code = board_detect(&board, &(struct board_options){.bind = false}, err);
    TRY(cli_agree(c->ranks, code, err));
    board_health(&board, "/sys", mine);
    if (c->ranks->comm == MPI_COMM_NULL)
        memcpy(all, mine, sizeof mine);
    else
        TRY(cli_gather_bytes(c->ranks, mine, all, sizeof mine, err));
out:
    return code;
}

/* ---- showing --------------------------------------------------------------------------------- */

/* How many times as fast as the best single board; 0: not measured. */
static double speedup(const struct contest *c, const struct candidate *k) {
    const struct candidate *single = &c->list[0];
    return single->count > 0 && k->count > 0 ? single->time.median / k->time.median : 0;
}

static double error_percent(const struct candidate *k) {
    return k->count > 0 ? (k->predicted_ms / k->time.median - 1) * 100 : 0;
}

static const char *remark(const struct contest *c, const struct candidate *k) {
    return k->late > 0.01 ? "does not count: late blocks" : c->throttled ? "a board throttled" : "";
}

static void print_table(const struct contest *c) {
    printf("%s on %d boards, %ld runs of each plan in %ld rounds; profiled in %.0f ms; input %s, "
           "wire %s\n",
           c->network, c->ranks->size, c->o->common.repeat * c->o->rounds, c->o->rounds,
           c->profiling_ms, inputs_type(&c->sets[0]), wire_name(c->wire));
    printf("%-12s %10s %10s %8s %10s %7s %9s %9s %8s %6s\n", "strategy", "median ms", "p95 ms",
           "speedup", "predicted", "error", "MB moved", "peak MB", "plan ms", "boards");
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        if (k->count == 0) {
            printf("%-12s %s\n", k->name, k->why_not);
            continue;
        }
        printf("%-12s %10.2f %10.2f %7.2fx %10.2f %6.1f%% %9.3f %9.1f %8.1f %6d %s\n", k->name,
               k->time.median, k->time.p95, speedup(c, k), k->predicted_ms, error_percent(k),
               k->bytes * 1e-6, k->peak_bytes * 1e-6, k->planning_ms, k->boards, remark(c, k));
    }
    printf("\n");
}

static void print_csv(const struct contest *c, bool first) {
    if (first)
        printf("network,boards,strategy,median_ms,p95_ms,min_ms,speedup,predicted_ms,mb_moved,"
               "peak_mb,profiling_ms,planning_ms,computing_boards,remark\n");
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        if (k->count > 0)
            printf("%s,%d,%s,%.3f,%.3f,%.3f,%.3f,%.3f,%.6f,%.3f,%.1f,%.3f,%d,%s\n", c->network,
                   c->ranks->size, k->name, k->time.median, k->time.p95, k->time.min, speedup(c, k),
                   k->predicted_ms, k->bytes * 1e-6, k->peak_bytes * 1e-6, c->profiling_ms,
                   k->planning_ms, k->boards, remark(c, k));
    }
}

/* One row a network: medians, and speed-ups in brackets. */
static void print_markdown(const struct contest *c, bool first) {
    if (first) {
        printf("| network | boards |");
        for (int i = 0; i < c->count; i++)
            printf(" %s |", c->list[i].name);
        printf("\n| --- | ---: |");
        for (int i = 0; i < c->count; i++)
            printf(" ---: |");
        printf("\n");
    }
    printf("| %s | %d |", c->network, c->ranks->size);
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        if (k->count > 0)
            printf(" %.1f ms (%.2fx)%s |", k->time.median, speedup(c, k),
                   remark(c, k)[0] != '\0' ? " !" : "");
        else
            printf(" - |");
    }
    printf("\n");
}

static void add_json(const struct contest *c, const char *before, const char *after, cJSON *rows) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "network", c->network);
    cJSON_AddStringToObject(o, "input", inputs_type(&c->sets[0]));
    cJSON_AddStringToObject(o, "wire", wire_name(c->wire));
    cJSON_AddNumberToObject(o, "profiling_ms", c->profiling_ms);
    cJSON *boards = cJSON_AddArrayToObject(o, "boards");
    for (int b = 0; b < c->ranks->size; b++) {
        cJSON *board = cJSON_CreateObject();
        cJSON_AddStringToObject(board, "before", before + b * BOARD_HEALTH_BYTES);
        cJSON_AddStringToObject(board, "after", after + b * BOARD_HEALTH_BYTES);
        json_append(boards, board);
    }
    cJSON *list = cJSON_AddArrayToObject(o, "strategies");
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "strategy", k->name);
        if (k->count == 0) {
            cJSON_AddStringToObject(row, "why_not", k->why_not);
            json_append(list, row);
            continue;
        }
        cJSON *l = cJSON_AddObjectToObject(row, "latency_ms");
        cJSON_AddNumberToObject(l, "median", k->time.median);
        cJSON_AddNumberToObject(l, "p95", k->time.p95);
        cJSON_AddNumberToObject(l, "min", k->time.min);
        cJSON_AddNumberToObject(row, "speedup", speedup(c, k));
        cJSON_AddNumberToObject(row, "predicted_ms", k->predicted_ms);
        if (k->own_ms >= 0)
            cJSON_AddNumberToObject(row, "own_ms", k->own_ms);
        cJSON_AddNumberToObject(row, "planning_ms", k->planning_ms);
        cJSON_AddNumberToObject(row, "bytes", k->bytes);
        cJSON_AddNumberToObject(row, "peak_bytes", k->peak_bytes);
        cJSON_AddNumberToObject(row, "computing_boards", k->boards);
        cJSON_AddNumberToObject(row, "segments", k->segments);
        cJSON_AddNumberToObject(row, "late_share", k->late);
        cJSON_AddStringToObject(row, "remark", remark(c, k));
        json_append(list, row);
    }
    json_append(rows, o);
}

static void show(struct contest *c, const char *before, const char *after, bool first,
                 cJSON *rows) {
    for (int b = 0; b < c->ranks->size; b++)
        c->throttled |=
            throttled_between(before + b * BOARD_HEALTH_BYTES, after + b * BOARD_HEALTH_BYTES);
    add_json(c, before, after, rows);
    if (c->o->common.json)
        return;
    if (c->o->format == BENCH_CSV)
        print_csv(c, first);
    else if (c->o->format == BENCH_MARKDOWN)
        print_markdown(c, first);
    else
        print_table(c);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void release(struct contest *c) {
    for (int i = 0; i < c->count; i++) {
        cohort_plan_free(&c->list[i].plan);
        mem_free(c->list[i].ms);
    }
    inputs_release(&c->sets, c->set_count);
    cost_destroy(&c->costs);
    cohort_profile_free(&c->profile);
    cohort_model_free(&c->model);
}

static enum cohort_code contest_run(struct contest *c, bool first, cJSON *rows,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const size_t size = c->ranks->rank == 0 ? (size_t)c->ranks->size : 0;
    char *health = mem_zalloc(2 * size + 1, BOARD_HEALTH_BYTES);
    if (health == NULL)
        code = error_memory(err, 2 * size * BOARD_HEALTH_BYTES, "the boards' health");
    TRY(cli_agree(c->ranks, code, err));
    TRY(choose(c, err));
    TRY(open_network(c, err));
    TRY(gather_health(c, health, err));
    TRY(run_rounds(c, err));
    TRY(gather_health(c, health + size * BOARD_HEALTH_BYTES, err));
    if (c->ranks->rank == 0)
        show(c, health, health + size * BOARD_HEALTH_BYTES, first, rows);
out:
    mem_free(health);
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
