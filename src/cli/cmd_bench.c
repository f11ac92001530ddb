/* cohort bench: median times of networks, each on all boards of the job, runs interleaved so that a
 * drifting clock hits all alike; with --strategies, of ways to divide them. */
#include "base/clock.h"
#include "board/board.h"
#include "cli/bench_strategies.h"
#include "cli/cli.h"
#include "cli/inputs.h"
#include "cli/profiled_plan.h"
#include "cli/wire_choice.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#define NETWORKS_MAX 64

struct contender {
    const char *name;
    struct cohort_model *model;           /* rank 0 */
    struct cohort_plan *plans[CLI_WIRES]; /* rank 0: the first, or for --wire auto one a type */
    struct wire_choice choice;
    struct cohort_session *session;
    struct cli_session_state state;
    struct input_set *sets; /* rank 0: one set of made-up numbers */
    int set_count;
    struct cohort_tensor output;
    double *ms;
    int count;
};

struct bench {
    struct cli_options common;
    struct profile_options profile;
    int input_type; /* enum made_up */
    bool engines;
    struct cli_ranks ranks;
    struct contender nets[NETWORKS_MAX];
    int count;
};

static enum cohort_code open_on_root(struct bench *b, struct contender *c,
                                     struct cohort_error *err) {
    const struct input_options made = {.made_up = (enum made_up)b->input_type};
    const struct option_list none = {0};
    enum cohort_code code = COHORT_OK;
    c->ms = mem_zalloc((size_t)b->common.repeat, sizeof *c->ms);
    if (c->ms == NULL)
        return error_memory(err, (size_t)b->common.repeat * sizeof *c->ms, "times");
    TRY(cli_open_model(&c->model, c->name, &b->common, err));
    TRY(inputs_load(&c->sets, &c->set_count, c->model, &none, &made, err));
out:
    return code;
}

static enum cohort_code prepare(struct bench *b, struct contender *c, struct cohort_error *err) {
    struct cohort_session_options options;
    struct profiled profiled = {0};
    enum cohort_code code = cli_session_options(&options, &c->state, &b->common, &b->ranks, err);
    if (code == COHORT_OK && b->ranks.rank == 0)
        code = open_on_root(b, c, err);
    TRY(cli_agree(&b->ranks, code, err));
    const bool root = b->ranks.rank == 0;
    if (root)
        inputs_describe(&options, &c->sets[0]);
    TRY(cli_profiled_plan(c->plans, &profiled, c->model, &b->common, &b->profile, &b->ranks,
                          &options, err));
    options.profile = profiled.profile;
    const struct wire_trial trial = {.ranks = &b->ranks,
                                     .model = c->model,
                                     .plans = c->plans,
                                     .input = root ? c->sets[0].tensors : NULL,
                                     .input_count = root ? c->sets[0].count : 0,
                                     .session = &options,
                                     .tolerance = b->common.tolerance};
    TRY(wire_prepare(&c->choice, &c->session, &trial, &b->common, NULL, err));
out:
    profiled_release(&profiled);
    return code;
}

static enum cohort_code run_one(struct bench *b, struct contender *c, bool timed,
                                struct cohort_error *err) {
    double start = clock_ms();
    bool root = b->ranks.rank == 0;
    enum cohort_code code =
        cohort_run(c->session, root ? c->sets[0].tensors : NULL, root ? c->sets[0].count : 0,
                   root ? &c->output : NULL, root ? 1 : 0, err);
    if (root && timed)
        c->ms[c->count++] = clock_ms() - start;
    return code;
}

static enum cohort_code run(struct bench *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < b->count; i++)
        TRY(prepare(b, &b->nets[i], err));
    for (long k = -b->common.warmup; k < b->common.repeat; k++)
        for (int i = 0; i < b->count; i++)
            TRY(run_one(b, &b->nets[i], k >= 0, err));
out:
    return code;
}

/* Collective. */
static enum cohort_code warn_late(struct bench *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < b->count; i++) {
        char *json = NULL;
        TRY(cohort_report(b->nets[i].session, &json, err));
        if (json != NULL)
            code = cli_warn_late(json, err);
        cohort_text_free(json);
        TRY(cli_agree(&b->ranks, code, err));
    }
out:
    return code;
}

/* The document of this command; *rows: its array of networks. */
static cJSON *document(const struct bench *b, cJSON **rows) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", "cohort-bench");
    cJSON_AddNumberToObject(root, "version", 1);
    cJSON_AddNumberToObject(root, "boards", b->ranks.size);
    *rows = cJSON_AddArrayToObject(root, "networks");
    return root;
}

static enum cohort_code print_document(const cJSON *root, struct cohort_error *err) {
    char *text = NULL;
    enum cohort_code code = json_print(&text, NULL, root, err);
    if (code == COHORT_OK)
        fputs(text, stdout);
    mem_free(text);
    return code;
}

static void print_head(const struct bench *b) {
    if (b->common.json)
        return;
    printf("%-28s ", "network");
    if (b->engines)
        printf("%-10s %-10s ", "engine", "cores");
    printf("%10s %10s %10s   (%ld runs on %d board%s)\n", "median ms", "p95 ms", "min ms",
           b->common.repeat, b->ranks.size, b->ranks.size == 1 ? "" : "s");
}

/* engine: NULL, or what they ran on.  Adds to the document, or prints. */
static void show(struct bench *b, const struct board_engine *engine, cJSON *rows) {
    for (int i = 0; i < b->count; i++) {
        struct cli_stats s = cli_statistics(b->nets[i].ms, b->nets[i].count);
        cJSON *o = cJSON_CreateObject(), *l = cJSON_AddObjectToObject(o, "latency_ms");
        cJSON_AddStringToObject(o, "network", b->nets[i].name);
        if (engine != NULL) {
            cJSON_AddStringToObject(o, "engine", engine->name);
            cJSON_AddStringToObject(o, "cores", engine->cores);
        }
        cJSON_AddStringToObject(o, "input", inputs_type(&b->nets[i].sets[0]));
        if (b->common.wire == CLI_WIRE_AUTO)
            cJSON_AddStringToObject(o, "wire", wire_name(b->nets[i].choice.wire));
        cJSON_AddNumberToObject(l, "median", s.median);
        cJSON_AddNumberToObject(l, "p95", s.p95);
        cJSON_AddNumberToObject(l, "min", s.min);
        json_append(rows, o);
        if (b->common.json)
            continue;
        printf("%-28s ", b->nets[i].name);
        if (engine != NULL)
            printf("%-10s %-10s ", engine->name, engine->cores);
        printf("%10.2f %10.2f %10.2f\n", s.median, s.p95, s.min);
    }
}

/* Collective.  Networks by strategies. */
static enum cohort_code compare(struct bench *b, const struct bench_options *o,
                                const char *const *names, struct cohort_error *err) {
    cJSON *rows, *root = document(b, &rows);
    enum cohort_code code = bench_strategies(o, &b->ranks, names, b->count, rows, err);
    if (code == COHORT_OK && b->ranks.rank == 0 && o->common.json)
        code = print_document(root, err);
    json_free(&root);
    return code;
}

static enum cohort_code check_comparison(const struct bench_options *o, const char *strategy,
                                         struct cohort_error *err) {
    const struct cli_options *c = &o->common;
    enum cohort_code code = wire_check_options(c, err);
    if (code != COHORT_OK)
        return code;
    const char *alone = o->again                   ? "--again"
                        : o->predicted             ? "--predicted"
                        : o->limit_s > 0           ? "--limit"
                        : o->save_profile != NULL  ? "--save-profile"
                        : o->format != BENCH_TABLE ? "--format"
                                                   : NULL;
    if (o->strategies == NULL && alone != NULL)
        return error_set(err, COHORT_ERR_USAGE, "%s belongs to --strategies", alone);
    if (o->profile != NULL && o->again)
        return error_set(err, COHORT_ERR_USAGE, "--profile names measurements: leave out --again");
    if (o->strategies != NULL &&
        (c->plan != NULL || c->groups != NULL || c->ratio != NULL || strategy != NULL))
        return error_set(err, COHORT_ERR_USAGE,
                         "--strategies makes plans itself: leave out --plan, --groups, --ratio and "
                         "--strategy");
    return COHORT_OK;
}

static void release(struct bench *b) {
    for (int i = 0; i < b->count; i++) {
        struct contender *c = &b->nets[i];
        cohort_close(&c->session);
        for (int w = 0; w < CLI_WIRES; w++)
            cohort_plan_free(&c->plans[w]);
        cohort_model_free(&c->model);
        inputs_release(&c->sets, c->set_count);
        cli_session_release(&c->state);
        mem_free(c->ms);
        *c = (struct contender){.name = c->name};
    }
}

/* Collective.  Networks, each in one session; shown in `rows` or at once. */
static enum cohort_code measure_on(struct bench *b, const struct board_engine *engine, cJSON *rows,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(run(b, err));
    TRY(warn_late(b, err));
    if (b->ranks.rank == 0)
        show(b, engine, rows);
out:
    release(b);
    return code;
}

/* One engine of the board after the other: each binds this process to its cores. */
static enum cohort_code measure_engines(struct bench *b, cJSON *rows, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct board_engine list[BOARD_ENGINES_MAX];
    int count = 0;
    if (b->ranks.size > 1)
        return error_set(err, COHORT_ERR_USAGE, "--engines is for one board: leave out mpirun");
    TRY(board_engines(list, &count, NULL, err));
    for (int i = 0; i < count; i++) {
        b->common.threads = list[i].threads;
        b->common.cores = list[i].cores;
        TRY(measure_on(b, &list[i], rows, err));
    }
out:
    return code;
}

/* Collective. */
static enum cohort_code measure(struct bench *b, struct cohort_error *err) {
    cJSON *rows, *root = document(b, &rows);
    if (b->ranks.rank == 0)
        print_head(b);
    enum cohort_code code =
        b->engines ? measure_engines(b, rows, err) : measure_on(b, NULL, rows, err);
    if (code == COHORT_OK && b->ranks.rank == 0 && b->common.json)
        code = print_document(root, err);
    json_free(&root);
    return code;
}

int cmd_bench(const struct cli_command *self, int argc, char **argv) {
    struct bench b = {.ranks = {.comm = MPI_COMM_NULL, .size = 1}};
    struct bench_options o = {.rounds = 3};
    struct cohort_error err = {0};
    const char *names[NETWORKS_MAX];
    int status;
    bool markdown = false;
    cli_options_init(&b.common);
    b.common.repeat = 10;
    b.common.warmup = 1;
    const struct option_spec specs[] = {
        {"repeat", 'n', OPTION_INT, &b.common.repeat, "N", "timed runs of each network (10)", 1,
         1000000},
        {"warmup", 0, OPTION_INT, &b.common.warmup, "N", "runs before, not timed (1)", 0, 1000000},
        {"input-type", 0, OPTION_CHOICE, &b.input_type, "auto|u8|f32",
         "made-up input: pixels, as of a picture, or numbers (pixels where a picture fits)", 0, 0},
        {"json", 0, OPTION_FLAG, &b.common.json, NULL, "print one JSON document instead", 0, 0},
        {"engines", 0, OPTION_FLAG, &b.engines, NULL,
         "on one core, on all, and on each cluster of equal cores", 0, 0},
        {"strategies", 0, OPTION_TEXT, &o.strategies, "all|A,B",
         "compare ways to divide them, as 'cohort plan' knows them", 0, 0},
        {"again", 0, OPTION_FLAG, &o.again, NULL, "strategies: measure, whatever was kept", 0, 0},
        {"predicted", 0, OPTION_FLAG, &o.predicted, NULL,
         "strategies: fss by the cost model; else all groups are measured for it", 0, 0},
        {"save-profile", 0, OPTION_TEXT, &o.save_profile, "FILE",
         "strategies: write what they were made by, of the last network", 0, 0},
        {"rounds", 0, OPTION_INT, &o.rounds, "N",
         "strategies: how often each has its turn of --repeat runs (3)", 1, 10000},
        {"cooldown", 0, OPTION_DOUBLE, &o.cooldown_s, "S", "strategies: rest before each turn (0)",
         0, 3600},
        {"limit", 0, OPTION_DOUBLE, &o.limit_s, "S",
         "strategies: fewer runs of a plan that would take longer, by its prediction", 0, 1e6},
        {"format", 0, OPTION_CHOICE, &o.format, "table|csv|markdown", "strategies: how to print", 0,
         0},
        {"markdown", 0, OPTION_FLAG, &markdown, NULL,
         "strategies: a row to paste, as --format markdown", 0, 0},
        PROFILE_OPTIONS(b.profile),
        MEMORY_LIMIT_OPTION(b.common.memory_limit),
        CLI_PLAN_OPTIONS(b.common, CLI_WIRES_AUTO_TEXT),
        CLI_TOLERANCE_OPTION(b.common),
        CLI_SETUP_OPTION(b.common),
        CLI_BOARD_OPTIONS(b.common),
        CLI_MODEL_OPTIONS(b.common),
        CLI_COMMON_OPTIONS(b.common),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &b.common.help, argc, argv, names, NETWORKS_MAX, &b.count, &status))
        return status;
    for (int i = 0; i < b.count; i++)
        b.nets[i].name = names[i];
    if (b.count == 0) {
        error_set(&err, COHORT_ERR_USAGE, "no network was named: %s", self->usage);
        return cli_fail(&err);
    }
    if (markdown)
        o.format = BENCH_MARKDOWN;
    o.common = b.common;
    o.input_type = b.input_type;
    o.profile = b.profile.file;
    o.cpu_time = b.profile.off;
    o.rows_only = b.profile.rows_only;
    if (check_comparison(&o, b.profile.strategy, &err) != COHORT_OK)
        return cli_fail(&err);
    if (b.engines && (b.common.threads > 0 || b.common.cores != NULL || o.strategies != NULL)) {
        error_set(&err, COHORT_ERR_USAGE,
                  "--engines chooses cores itself: leave out --threads, --cores and --strategies");
        return cli_fail(&err);
    }
    enum cohort_code code = cli_ranks_begin(&b.ranks, &err);
    if (code == COHORT_OK)
        code = o.strategies != NULL ? compare(&b, &o, names, &err) : measure(&b, &err);
    release(&b);
    return cli_ranks_end(&b.ranks, code, &err);
}
