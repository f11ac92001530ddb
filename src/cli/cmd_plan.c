/* cohort plan: divides a network among boards and writes or shows the plan; needs no MPI. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/mem.h"
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

int cmd_plan(const struct cli_command *self, int argc, char **argv) {
    struct cli_options o;
    struct cohort_error err = {0};
    const char *name = NULL, *path = NULL;
    long boards = 0;
    int count, status;
    cli_options_init(&o);
    const struct option_spec specs[] = {
        {"boards", 'b', OPTION_INT, &boards, "N", "number of boards", 1, 512},
        {"output", 'o', OPTION_TEXT, &path, "FILE", "where the plan goes (standard output)", 0, 0},
        CLI_PLAN_OPTIONS(o),
        CLI_MODEL_OPTIONS(o),
        CLI_COMMON_OPTIONS(o),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &o.help, argc, argv, &name, 1, &count, &status))
        return status;
    if (count != 1 || (boards == 0 && o.plan == NULL)) {
        error_set(&err, COHORT_ERR_USAGE, "%s is missing: %s",
                  count != 1 ? "the network" : "--boards N", self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = make(name, &o, boards, path, &err);
    return code == COHORT_OK ? 0 : cli_fail(&err);
}
