/* cohort run: one network on one board, or on all that mpirun was given. */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/inputs.h"
#include "cli/profiled_plan.h"
#include "cli/results.h"
#include "cli/wire_choice.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>

struct run_options {
    struct cli_options common;
    struct input_options input;
    struct result_options result;
    struct profile_options profile;
    struct option_list inputs;
    bool report;
    const char *trace; /* FILE */
};

/* Everything of one `cohort run`. */
struct run {
    const struct run_options *o;
    struct cli_ranks ranks;
    struct cohort_model *model;           /* rank 0 */
    struct cohort_plan *plans[CLI_WIRES]; /* rank 0: the first, or for --wire auto one a type */
    struct wire_choice choice;
    struct profiled profiled;
    long runs; /* that were made, warm-up included */
    struct cohort_session *session;
    struct cli_session_state state;
    struct input_set *sets;        /* rank 0 */
    int set_count;                 /* the same on all ranks */
    struct cohort_tensor *outputs; /* rank 0 */
    int output_count;
    char **names;
    double *ms; /* of each timed run, rank 0 */
    int ms_count;
};

static enum cohort_code open_on_root(struct run *r, const char *model, struct cohort_error *err) {
    const struct run_options *o = r->o;
    enum cohort_code code = COHORT_OK;
    TRY(wire_check_options(&o->common, err));
    TRY(result_check_target("--save-plan", o->common.save_plan, err));
    TRY(result_check_target("--trace", o->trace, err));
    TRY(cli_open_model(&r->model, model, &o->common, err));
    TRY(result_check(&o->result, r->model, err));
    TRY(inputs_load(&r->sets, &r->set_count, r->model, &o->inputs, &o->input, err));
    r->output_count = cohort_output_count(r->model);
    r->outputs = mem_zalloc((size_t)r->output_count + 1, sizeof *r->outputs);
    r->ms = mem_zalloc((size_t)r->set_count * (size_t)o->common.repeat + 1, sizeof *r->ms);
    if (r->outputs == NULL || r->ms == NULL)
        code = error_memory(err, 64, "results");
out:
    return code;
}

static enum cohort_code run_once(struct run *r, int set, double *ms, struct cohort_error *err) {
    double start = clock_ms();
    enum cohort_code code = r->ranks.rank != 0
                                ? cohort_run(r->session, NULL, 0, NULL, 0, err)
                                : cohort_run(r->session, r->sets[set].tensors, r->sets[set].count,
                                             r->outputs, r->output_count, err);
    *ms = clock_ms() - start;
    r->runs++;
    return code;
}

/* Collective.  Is there a better plan by now? */
static enum cohort_code adapt(struct run *r, struct cohort_error *err) {
    struct cohort_adaptation what = {0};
    if (!r->profiled.adapts)
        return COHORT_OK;
    enum cohort_code code = cohort_adapt(r->session, &what, err);
    if (code == COHORT_OK && what.changed && r->ranks.rank == 0)
        fprintf(stderr,
                "cohort: note: after %ld runs another plan, because %s: %.1f ms predicted instead "
                "of %.1f ms (-%.0f %%); it took %.0f ms to change\n",
                r->runs, what.why, what.predicted_ms, what.was_ms,
                100 * (1 - what.predicted_ms / what.was_ms), what.took_ms);
    return code;
}

/* All runs of one set of inputs, then its results. */
static enum cohort_code run_set(struct run *r, int set, struct results *results,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const long warmup = r->o->common.warmup;
    for (long i = 0; i < warmup + r->o->common.repeat; i++) {
        double ms;
        TRY(run_once(r, set, &ms, err)); /* an error here is one on all ranks */
        if (r->ranks.rank == 0 && i >= warmup)
            r->ms[r->ms_count++] = ms;
        TRY(adapt(r, err));
    }
    if (r->ranks.rank == 0)
        code = result_show(results, &r->o->result, &r->sets[set], r->outputs, r->output_count, err);
    code = cli_agree(&r->ranks, code, err);
out:
    return code;
}

static enum cohort_code run_all(struct run *r, struct results *results, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (long set = 0; set < r->set_count; set++)
        TRY(run_set(r, (int)set, results, err));
out:
    return code;
}

static enum cohort_code report(struct run *r, struct results *results, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *json = NULL;
    TRY(cohort_report(r->session, &json, err));
    if (r->ranks.rank == 0)
        code = cli_warn_late(json, err);
    if (r->ranks.rank == 0 && code == COHORT_OK && r->choice.tolerance > 0)
        code = wire_choice_report(&json, &r->choice, err);
    if (r->ranks.rank == 0 && code == COHORT_OK)
        code = results_finish(results, &r->o->result, r->ms, r->ms_count, json,
                              r->o->report || r->o->common.repeat > 1, err);
    code = cli_agree(&r->ranks, code, err);
out:
    cohort_text_free(json);
    return code;
}

/* Collective. */
static enum cohort_code trace(struct run *r, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *json = NULL;
    TRY(cohort_trace(r->session, &json, err));
    if (r->ranks.rank == 0)
        code = file_replace(r->o->trace, json, strlen(json), err);
    code = cli_agree(&r->ranks, code, err);
out:
    cohort_text_free(json);
    return code;
}

/* Collective.  What is measured is compared with what was expected, and used. */
static enum cohort_code use_profile(struct run *r, struct cohort_error *err) {
    const struct profile_options *p = &r->o->profile;
    const struct cohort_adapt_options adapt = {
        .threshold = p->threshold / 100,
        .search = cli_search_options(&r->o->common, p, &r->profiled.limits)};
    if (r->profiled.adapts)
        return cohort_adapt_begin(r->session, r->profiled.profile, &adapt, err);
    if (!r->profiled.made)
        return COHORT_OK;
    return cli_agree(&r->ranks, cohort_predict(r->session, r->profiled.profile, err), err);
}

static enum cohort_code run(struct run *r, const char *model, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_session_options session;
    struct results results = {0};
    if (r->ranks.comm != MPI_COMM_NULL)
        TRY(cohort_board_names(r->ranks.comm, &r->names, err));
    code = cli_session_options(&session, &r->state, &r->o->common, &r->ranks, err);
    if (code == COHORT_OK && r->ranks.rank == 0)
        code = open_on_root(r, model, err);
    TRY(cli_agree(&r->ranks, code, err));
    if (r->ranks.rank == 0)
        inputs_describe(&session, &r->sets[0]);
    long sets = r->set_count;
    TRY(cli_broadcast(&r->ranks, &sets, err));
    r->set_count = (int)sets;
    TRY(cli_profiled_plan(r->plans, &r->profiled, r->model, &r->o->common, &r->o->profile,
                          &r->ranks, &session, err));
    session.profile = r->profiled.profile;
    const bool root = r->ranks.rank == 0;
    const struct wire_trial trial = {.ranks = &r->ranks,
                                     .model = r->model,
                                     .plans = r->plans,
                                     .input = root ? r->sets[0].tensors : NULL,
                                     .input_count = root ? r->sets[0].count : 0,
                                     .session = &session,
                                     .tolerance = r->o->common.tolerance};
    TRY(wire_prepare(&r->choice, &r->session, &trial, &r->o->common, r->names, err));
    TRY(use_profile(r, err));
    TRY(run_all(r, &results, err));
    TRY(report(r, &results, err));
    if (r->o->trace != NULL)
        TRY(trace(r, err));
out:
    results_release(&results);
    return code;
}

static void release(struct run *r) {
    cohort_close(&r->session);
    for (int w = 0; w < CLI_WIRES; w++)
        cohort_plan_free(&r->plans[w]);
    profiled_release(&r->profiled);
    cohort_model_free(&r->model);
    inputs_release(&r->sets, r->ranks.rank == 0 ? r->set_count : 0);
    cohort_names_free(r->names);
    cli_session_release(&r->state);
    mem_free(r->outputs);
    mem_free(r->ms);
}

int cmd_run(const struct cli_command *self, int argc, char **argv) {
    struct run_options o = {0};
    struct cohort_error err = {0};
    const char *model = NULL;
    int count, status;
    cli_options_init(&o.common);
    o.input.made_up = MADE_UP_NUMBERS;
    const struct option_spec specs[] = {
        {"input", 'i', OPTION_LIST, &o.inputs, "[NAME=]FILE",
         "JPEG, PNG, .npy or .pb; several files are several runs (none: made-up numbers)", 0, 0},
        {"preset", 0, OPTION_TEXT, &o.input.preset, "NAME",
         "preprocessing: imagenet (default), yolo, yolox, caffe, tensorflow, ppocr-det, ppocr-rec, "
         "raw",
         0, 0},
        {"mean", 0, OPTION_TEXT, &o.input.mean, "A,B,C", "subtracted after scaling", 0, 0},
        {"std", 0, OPTION_TEXT, &o.input.std, "A,B,C", "divided by, after the mean", 0, 0},
        {"scale", 0, OPTION_TEXT, &o.input.scale, "F", "factor on pixels 0..255, e.g. 1/255", 0, 0},
        {"bgr", 0, OPTION_FLAG, &o.input.bgr, NULL, "blue first", 0, 0},
        {"layout", 0, OPTION_TEXT, &o.input.layout, "nchw|nhwc",
         "of a picture's input (by its shape)", 0, 0},
        {"resize", 0, OPTION_TEXT, &o.input.resize, "HOW",
         "stretch, crop, letterbox, or the short side", 0, 0},
        RESULT_OPTIONS(o.result),
        {"repeat", 'n', OPTION_INT, &o.common.repeat, "N", "timed runs (1)", 1, 1000000},
        {"warmup", 0, OPTION_INT, &o.common.warmup, "N", "runs before, not timed (0)", 0, 1000000},
        {"report", 0, OPTION_FLAG, &o.report, NULL, "print the table of steps and boards", 0, 0},
        {"trace", 0, OPTION_TEXT, &o.trace, "FILE",
         "write when each step of the last run began and ended on every board", 0, 0},
        {"save-plan", 0, OPTION_TEXT, &o.common.save_plan, "FILE", "write the plan that is used", 0,
         0},
        PROFILE_OPTIONS(o.profile),
        MEMORY_LIMIT_OPTION(o.common.memory_limit),
        {"adapt", 0, OPTION_FLAG, &o.profile.adapt, NULL,
         "between runs, change to a better plan when boards or links have changed", 0, 0},
        {"adapt-threshold", 0, OPTION_DOUBLE, &o.profile.threshold, "PERCENT",
         "the least gain that is worth another plan (5)", 0.1, 99},
        CLI_PLAN_OPTIONS(o.common, CLI_WIRES_AUTO_TEXT),
        CLI_TOLERANCE_OPTION(o.common),
        CLI_SETUP_OPTION(o.common),
        CLI_BOARD_OPTIONS(o.common),
        CLI_MODEL_OPTIONS(o.common),
        CLI_COMMON_OPTIONS(o.common),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &o.common.help, argc, argv, &model, 1, &count, &status))
        return status;
    if (count != 1) {
        error_set(&err, COHORT_ERR_USAGE, "no network was named: %s", self->usage);
        return cli_fail(&err);
    }
    struct run r = {.o = &o, .ranks = {.comm = MPI_COMM_NULL, .size = 1}};
    enum cohort_code code = cli_ranks_begin(&r.ranks, &err);
    if (code == COHORT_OK)
        code = run(&r, model, &err);
    release(&r);
    return cli_ranks_end(&r.ranks, code, &err);
}
