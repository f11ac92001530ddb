/* cohort profile: how fast the boards of the job compute a network's operators, and how fast the
 * links between them are; kept for `run`, or written to a file for `plan`. */
#include "cli/cli.h"
#include "cli/profile_show.h"

#include "base/mem.h"
#include "runtime/model.h"

#include <stdlib.h>
#include <string.h>

#define GROUPS_MOST 1000000

struct profiling {
    struct cli_options common;
    struct cli_ranks ranks;
    const char *name; /* of the network */
    const char *path, *file;
    const char *groups; /* "all", or a number */
    bool show, again, engines;
    struct cohort_model *model;     /* rank 0 */
    struct cohort_profile *profile; /* rank 0 */
};

/* ---- showing --------------------------------------------------------------------------------- */

static enum cohort_code show(const struct profiling *w, struct cohort_error *err) {
    const struct profile *p = cohort_profile_of(w->profile);
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    if (w->path != NULL)
        TRY(cohort_profile_save(w->profile, w->path, err));
    if (w->common.json) {
        TRY(profile_print(p, &text, err));
        fputs(text, stdout);
        goto out;
    }
    profile_show_boards(p);
    if (w->show)
        profile_show_engines(p, cohort_model_graph(w->model));
    if (w->show)
        code = profile_show_matrices(p, cohort_model_graph(w->model), err);
    if (code == COHORT_OK && w->path != NULL)
        printf("\nwritten to %s\n", w->path);
out:
    mem_free(text);
    return code;
}

/* A saved profile, without measuring or MPI. */
static enum cohort_code show_saved(struct profiling *w, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(cohort_profile_load(&w->profile, w->file, err));
    TRY(cli_open_model(&w->model, w->name, &w->common, err));
    code = profile_check(cohort_profile_of(w->profile), cohort_model_graph(w->model), err);
    if (code != COHORT_OK)
        error_wrap(err, "%s", w->file);
    else
        code = show(w, err);
out:
    return code;
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* "all" or a number, as cohort_profile_options has it. */
static enum cohort_code read_groups(int *groups, const char *text, struct cohort_error *err) {
    char *end;
    const long n = text != NULL ? strtol(text, &end, 10) : 0;
    *groups = text == NULL ? 0 : -1;
    if (text == NULL || strcmp(text, "all") == 0)
        return COHORT_OK;
    if (end == text || *end != '\0' || n < 1 || n > GROUPS_MOST)
        return error_set(err, COHORT_ERR_USAGE,
                         "--groups: 'all', or the longest group's number of parts (1 to %d), not "
                         "'%s'",
                         GROUPS_MOST, text);
    *groups = (int)n;
    return COHORT_OK;
}

static enum cohort_code measure(struct profiling *w, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_session_options session;
    struct cli_session_state state = {0};
    int groups = 0;
    code = cli_session_options(&session, &state, &w->common, &w->ranks, err);
    if (code == COHORT_OK)
        code = read_groups(&groups, w->groups, err);
    if (code == COHORT_OK && w->ranks.rank == 0)
        code = cli_open_model(&w->model, w->name, &w->common, err);
    TRY(cli_agree(&w->ranks, code, err));
    const struct cohort_profile_options o = {.directory = state.cache,
                                             .file = w->file,
                                             .again = w->again,
                                             .groups = groups,
                                             .root_feeds = w->common.root == 1,
                                             .engines = w->engines};
    TRY(cohort_profile_make(&w->profile, w->model, w->ranks.comm, &o, &session, err));
    if (w->ranks.rank == 0)
        code = show(w, err);
    code = cli_agree(&w->ranks, code, err);
out:
    cli_session_release(&state);
    return code;
}

static void release(struct profiling *w) {
    cohort_profile_free(&w->profile);
    cohort_model_free(&w->model);
}

int cmd_profile(const struct cli_command *self, int argc, char **argv) {
    struct profiling w = {.ranks = {.comm = MPI_COMM_NULL, .size = 1}};
    struct cohort_error err = {0};
    int count, status;
    cli_options_init(&w.common);
    const struct option_spec specs[] = {
        {"output", 'o', OPTION_TEXT, &w.path, "FILE", "write the profile, for 'cohort plan'", 0, 0},
        {"show", 0, OPTION_FLAG, &w.show, NULL,
         "print what operators take on engines, and the matrices S, R, E and alpha, too", 0, 0},
        {"again", 0, OPTION_FLAG, &w.again, NULL, "measure, whatever was kept", 0, 0},
        {"groups", 0, OPTION_TEXT, &w.groups, "all|N",
         "measure groups of operators, too, for the strategy fss: all, or up to N parts long", 0,
         0},
        {"engines", 0, OPTION_FLAG, &w.engines, NULL,
         "measure one core, all cores and each cluster of cores of every kind of board, too", 0, 0},
        {"root", 0, OPTION_CHOICE, &w.common.root, "work|feed",
         "groups: does rank 0 compute, or only feed the others?", 0, 0},
        {"profile", 0, OPTION_TEXT, &w.file, "FILE",
         "this profile instead of measuring; without mpirun it may be of any boards", 0, 0},
        {"memory-limit", 0, OPTION_TEXT, &w.common.memory_limit, "BYTES",
         "for plans with this limit, e.g. 512M: kernels are theirs, and measuring keeps to it", 0,
         0},
        {"json", 0, OPTION_FLAG, &w.common.json, NULL, "print the profile itself", 0, 0},
        CLI_BOARD_OPTIONS(w.common),
        CLI_MODEL_OPTIONS(w.common),
        CLI_COMMON_OPTIONS(w.common),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &w.common.help, argc, argv, &w.name, 1, &count, &status))
        return status;
    if (count != 1) {
        error_set(&err, COHORT_ERR_USAGE, "no network was named: %s", self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = COHORT_OK;
    if (w.common.root != 0 && w.groups == NULL) {
        error_set(&err, COHORT_ERR_USAGE, "--root belongs to --groups");
        return cli_fail(&err);
    }
    if (w.file != NULL && w.groups == NULL && !w.engines && cli_launch_size() == 0) {
        code = show_saved(&w, &err);
        release(&w);
        return code == COHORT_OK ? 0 : cli_fail(&err);
    }
    code = cli_ranks_begin(&w.ranks, &err);
    if (code == COHORT_OK)
        code = measure(&w, &err);
    release(&w);
    return cli_ranks_end(&w.ranks, code, &err);
}
