/* cohort tune: which kernel is the fastest for each convolution and product, on every board of the
 * job; kept in the tuning file, from which `run` takes them. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

#define NETWORKS_MAX 64

struct tune {
    struct cli_options common;
    struct cli_ranks ranks;
    double limit_s;
    bool all;        /* show signatures whose estimate was right, too */
    cJSON *networks; /* rank 0: the documents of cohort_tune() */
};

/* ---- showing --------------------------------------------------------------------------------- */

static double number_at(const struct json_at *object, const char *key) {
    struct json_at at;
    return json_find(&at, object, key) ? at.value->valuedouble : 0;
}

static const char *text_at(const struct json_at *object, const char *key) {
    struct json_at at;
    return json_find(&at, object, key) && cJSON_IsString(at.value) ? at.value->valuestring : "";
}

static void show_choice(const struct json_at *choice, bool all) {
    struct json_at us;
    const char *estimate = text_at(choice, "estimate"), *kernel = text_at(choice, "kernel");
    if (kernel[0] == '\0' || !json_find(&us, choice, "us") ||
        (!all && strcmp(estimate, kernel) == 0))
        return;
    double before = number_at(&us, estimate), now = number_at(&us, kernel);
    printf("%4.0f x %-86s %10.1f  %s", number_at(choice, "nodes"), text_at(choice, "signature"),
           now, kernel);
    if (strcmp(estimate, kernel) != 0)
        printf("  (%s: %.1f)", estimate, before);
    printf("\n");
}

static void show_board(const struct json_at *board, bool all) {
    struct json_at choices;
    int total = 0, other = 0;
    if (!json_find(&choices, board, "choices"))
        return;
    for (struct json_at e = {0}; json_next(&e, &choices);) {
        total++;
        other += strcmp(text_at(&e, "estimate"), text_at(&e, "kernel")) != 0;
    }
    double ranks = number_at(board, "ranks"), threads = number_at(board, "threads");
    printf("%s (%s), %.0f thread%s%s\n", text_at(board, "cpu"), text_at(board, "isa"), threads,
           threads == 1 ? "" : "s", ranks > 1 ? ", several boards" : "");
    for (struct json_at e = {0}; json_next(&e, &choices);)
        show_choice(&e, all);
    printf("%.0f of %d signatures measured; %d kernels are others than estimated; in sum %.2f ms "
           "instead of %.2f ms\n",
           number_at(board, "measured"), total, other, number_at(board, "tuned_ms"),
           number_at(board, "estimate_ms"));
}

static enum cohort_code show(const struct tune *t, struct cohort_error *err) {
    if (t->common.json) {
        char *text = NULL;
        enum cohort_code code = json_print(&text, NULL, t->networks, err);
        if (code == COHORT_OK)
            fputs(text, stdout);
        mem_free(text);
        return code;
    }
    struct json_at root = json_root(t->networks, "networks"), list, boards;
    if (!json_find(&list, &root, "networks"))
        return COHORT_OK;
    for (struct json_at net = {0}; json_next(&net, &list);) {
        printf("%s\n%-93s %10s\n", text_at(&net, "network"), "", "us");
        if (json_find(&boards, &net, "boards"))
            for (struct json_at b = {0}; json_next(&b, &boards);)
                show_board(&b, t->all);
        printf("kept in %s\n", text_at(&net, "file"));
    }
    return COHORT_OK;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static enum cohort_code tune_one(struct tune *t, const char *name,
                                 const struct cohort_session_options *session, const char *path,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_model *model = NULL;
    char *json = NULL;
    cJSON *document = NULL, *list = cJSON_GetObjectItemCaseSensitive(t->networks, "networks");
    if (t->ranks.rank == 0)
        code = cli_open_model(&model, name, &t->common, err);
    TRY(cli_agree(&t->ranks, code, err));
    TRY(cohort_tune(model, t->ranks.comm, path, t->limit_s, session, &json, err));
    if (json != NULL)
        code = json_parse(&document, json, strlen(json), "cohort_tune", err);
    if (document != NULL && !json_append(list, document))
        code = error_memory(err, strlen(json), "a document");
    code = cli_agree(&t->ranks, code, err);
out:
    cohort_text_free(json);
    cohort_model_free(&model);
    return code;
}

static enum cohort_code tune_all(struct tune *t, const char **names, int count,
                                 struct cohort_error *err) {
    struct cohort_session_options session;
    struct cli_session_state state = {0};
    bool ok = true;
    t->networks = cJSON_CreateObject();
    json_add_text(t->networks, "format", "cohort-tune-all", &ok);
    json_add_i64(t->networks, "version", 1, &ok);
    json_add_array(t->networks, "networks", &ok);
    enum cohort_code code = cli_session_options(&session, &state, &t->common, &t->ranks, err);
    if (code == COHORT_OK && (t->networks == NULL || !ok))
        code = error_memory(err, 256, "documents");
    if (code == COHORT_OK && session.tuning == NULL)
        code = error_set(err, COHORT_ERR_USAGE,
                         "no place for a tuning file: set HOME or give --tuning FILE");
    const char *path = session.tuning;
    TRY(cli_agree(&t->ranks, code, err));
    for (int i = 0; i < count; i++)
        TRY(tune_one(t, names[i], &session, path, err));
    if (t->ranks.rank == 0)
        code = show(t, err);
    code = cli_agree(&t->ranks, code, err);
out:
    json_free(&t->networks);
    cli_session_release(&state);
    return code;
}

int cmd_tune(const struct cli_command *self, int argc, char **argv) {
    struct tune t = {.ranks = {.comm = MPI_COMM_NULL, .size = 1}, .limit_s = 60};
    struct cohort_error err = {0};
    const char *names[NETWORKS_MAX];
    int count, status;
    cli_options_init(&t.common);
    const struct option_spec specs[] = {
        {"limit", 0, OPTION_DOUBLE, &t.limit_s, "S",
         "seconds for each network; what is not reached is estimated (60)", 0.001, 86400},
        {"all", 0, OPTION_FLAG, &t.all, NULL,
         "show every signature, not only those whose estimate was wrong", 0, 0},
        {"json", 0, OPTION_FLAG, &t.common.json, NULL, "print one JSON document instead", 0, 0},
        CLI_BOARD_OPTIONS(t.common),
        CLI_MODEL_OPTIONS(t.common),
        CLI_COMMON_OPTIONS(t.common),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &t.common.help, argc, argv, names, NETWORKS_MAX, &count, &status))
        return status;
    if (count == 0) {
        error_set(&err, COHORT_ERR_USAGE, "no network was named: %s", self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = cli_ranks_begin(&t.ranks, &err);
    if (code == COHORT_OK)
        code = tune_all(&t, names, count, &err);
    return cli_ranks_end(&t.ranks, code, &err);
}
