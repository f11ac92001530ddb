/* cohort plan: divides a network among boards and writes or shows the plan; needs no MPI. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli/limits.h"
#include "cli/plan_search.h"
#include "runtime/model.h"

#include <string.h>

static enum cohort_code make(const char *name, const struct cli_options *o, long boards,
                             const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_model *model = NULL;
    struct cohort_plan *plan = NULL;
    char *text = NULL;
    TRY(cli_open_model(&model, name, o, err));
    TRY(cli_make_plan(&plan, model, o, (int)boards, NULL, err));
    if (boards != 0 && cohort_plan_of(plan)->boards != boards) {
        code = error_set(err, COHORT_ERR_PLAN, "--boards %ld: %s is a plan for %d", boards, o->plan,
                         cohort_plan_of(plan)->boards);
        goto out;
    }
    TRY(plan_check(cohort_plan_of(plan), cohort_model_graph(model), cohort_plan_of(plan)->boards,
                   err));
    TRY(plan_print(cohort_plan_of(plan), &text, err));
    if (path == NULL)
        fputs(text, stdout);
    else
        TRY(file_replace(path, text, strlen(text), err));
out:
    mem_free(text);
    cohort_plan_free(&plan);
    cohort_model_free(&model);
    return code;
}

static enum cohort_code search(const char *name, const struct cli_options *o,
                               const struct search_options *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_model *model = NULL;
    TRY(cli_open_model(&model, name, o, err));
    TRY(cli_plan_search(cohort_model_graph(model), s, err));
out:
    cohort_model_free(&model);
    return code;
}

/* A search needs to know the boards; a plan by hand does not search. */
static enum cohort_code check_search(const struct cli_options *o, const struct search_options *s,
                                     struct cohort_error *err) {
    if ((o->plan != NULL && s->strategy != NULL) || o->groups != NULL || o->ratio != NULL)
        return error_set(err, COHORT_ERR_USAGE,
                         "--strategy divides by searching: leave out --plan, --groups and --ratio");
    if ((s->synthetic == NULL) == (s->profile == NULL))
        return error_set(err, COHORT_ERR_USAGE,
                         s->profile != NULL
                             ? "--profile and --synthetic both say what the boards are: give one"
                             : "planning needs to know the boards: give --profile FILE, or "
                               "--synthetic \"4xfast:100 2xslow:40 link:100Mbit:0.3ms\"");
    return COHORT_OK;
}

int cmd_plan(const struct cli_command *self, int argc, char **argv) {
    struct cli_options o;
    struct cohort_error err = {0};
    const char *name = NULL, *path = NULL;
    struct search_options s = {0};
    long boards = 0;
    int count, status;
    cli_options_init(&o);
    const struct option_spec specs[] = {
        {"boards", 'b', OPTION_INT, &boards, "N", "number of boards", 1, 512},
        {"output", 'o', OPTION_TEXT, &path, "FILE", "where the plan goes (standard output)", 0, 0},
        {"strategy", 's', OPTION_TEXT, &s.strategy, "NAME",
         "auto, single, layerwise, early-fused, legion, aofl, fss, coedge, iop; all compares them",
         0, 0},
        {"profile", 'p', OPTION_TEXT, &s.profile, "FILE",
         "boards and links as measured by 'cohort profile -o FILE'", 0, 0},
        {"synthetic", 0, OPTION_TEXT, &s.synthetic, "TEXT",
         "made-up boards (GFLOP/s) and links: \"4xfast:100 2xslow:40 link:100Mbit:0.3ms\"", 0, 0},
        {"exclude", 0, OPTION_TEXT, &s.exclude, "LIST", "boards that compute nothing, by name", 0,
         0},
        {"image-input", 0, OPTION_FLAG, &s.image_input, NULL, "inputs travel as one byte a value",
         0, 0},
        MEMORY_LIMIT_OPTION(s.memory_limit),
        {"cluster", 0, OPTION_TEXT, &s.cluster, "FILE", "companion of the hostfile: memory_limit",
         0, 0},
        {"setup-ms", 0, OPTION_DOUBLE, &s.setup_ms, "T",
         "each transfer between two boards begins with so long a set-up (0)", 0, 1000},
        {"predicted", 0, OPTION_FLAG, &s.predicted, NULL,
         "fss: by the cost model instead of measured groups", 0, 0},
        {"unpaired", 0, OPTION_CHOICE, &s.unpaired, "rows|out-channel",
         "iop: what operators in no pair are divided by", 0, 0},
        {"rows-only", 0, OPTION_FLAG, &s.rows_only, NULL, "auto: divide nothing by channels", 0, 0},
        {"objective", 0, OPTION_CHOICE, &s.objective, "latency|memory",
         "what to make least; memory: the fastest plan within 5 % of the least", 0, 0},
        {"explain", 0, OPTION_FLAG, &s.explain, NULL, "segment by segment, and what was next best",
         0, 0},
        {"json", 0, OPTION_FLAG, &s.json, NULL, "one JSON document: times, memory, steps", 0, 0},
        CLI_PLAN_OPTIONS(o, CLI_WIRES_TEXT),
        CLI_MODEL_OPTIONS(o),
        CLI_COMMON_OPTIONS(o),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &o.help, argc, argv, &name, 1, &count, &status))
        return status;
    const bool searches =
        s.strategy != NULL || s.synthetic != NULL || s.profile != NULL || s.explain || s.json;
    if (count == 1 && searches) {
        s.boards = boards;
        s.output = path;
        s.root_feeds = o.root == 1;
        s.wire = o.wire;
        enum cohort_code searched = check_search(&o, &s, &err);
        s.plan = o.plan;
        s.strategy = s.strategy != NULL ? s.strategy : "auto";
        if (searched == COHORT_OK)
            searched = search(name, &o, &s, &err);
        return searched == COHORT_OK ? 0 : cli_fail(&err);
    }
    if (count != 1 || (boards == 0 && o.plan == NULL)) {
        error_set(&err, COHORT_ERR_USAGE, "%s is missing: %s",
                  count != 1 ? "the network" : "--boards N", self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = make(name, &o, boards, path, &err);
    return code == COHORT_OK ? 0 : cli_fail(&err);
}
