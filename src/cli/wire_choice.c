/* The wire whose error is small enough; see wire_choice.h. */
#include "cli/wire_choice.h"

#include "cli/profiled_plan.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "graph/tensor.h"

#include <math.h>
#include <string.h>

const char *wire_name(int wire) {
    static const char *const names[CLI_WIRES] = {"f32", "f16", "i8"};
    return names[wire];
}

enum cohort_code wire_check_options(const struct cli_options *o, struct cohort_error *err) {
    return o->tolerance > 0 && o->wire != CLI_WIRE_AUTO
               ? error_set(err, COHORT_ERR_USAGE, "--tolerance belongs to --wire auto")
               : COHORT_OK;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Of rank 0: what float32 on the wire gave, and room for what others give. */
struct answers {
    struct tensor *want;
    struct cohort_tensor *out;
    int count;
};

static enum cohort_code answers_init(struct answers *a, const struct wire_trial *t,
                                     struct cohort_error *err) {
    *a = (struct answers){0};
    if (t->ranks->rank != 0)
        return COHORT_OK;
    a->count = cohort_output_count(t->model);
    a->want = mem_zalloc((size_t)a->count + 1, sizeof *a->want);
    a->out = mem_zalloc((size_t)a->count + 1, sizeof *a->out);
    return a->want != NULL && a->out != NULL ? COHORT_OK : error_memory(err, 64, "answers");
}

static void answers_release(struct answers *a) {
    for (int i = 0; a->want != NULL && i < a->count; i++)
        tensor_release(&a->want[i]);
    mem_free(a->want);
    mem_free(a->out);
}

static struct tensor tensor_of(const struct cohort_tensor *t) {
    return (struct tensor){
        .type = (enum dtype)t->type, .shape = shape_of(t->rank, t->dims), .data = t->data};
}

static enum cohort_code keep_answers(struct answers *a, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < a->count && code == COHORT_OK; i++) {
        const struct tensor t = tensor_of(&a->out[i]);
        code = tensor_copy(&a->want[i], &t, err);
    }
    return code;
}

/* max |a-b| / max |b|; what is no number on one side alone, or of another shape, is infinitely far
 * off, and so are whole numbers that differ. */
static double difference(const struct tensor *a, const struct tensor *b) {
    double worst = 0, most = 0;
    if (!shape_equal(&a->shape, &b->shape))
        return INFINITY;
    const int64_t count = shape_count(&b->shape);
    for (int64_t i = 0; i < count; i++) {
        const double x = tensor_get_f64(a, i), y = tensor_get_f64(b, i);
        if (x == y || (isnan(x) && isnan(y)))
            ;
        else if (!isfinite(x) || !isfinite(y) || !dtype_is_float(b->type))
            return INFINITY;
        else
            worst = fmax(worst, fabs(x - y));
        most = isfinite(y) ? fmax(most, fabs(y)) : most;
    }
    return worst > 0 ? worst / most : 0; /* infinite where all of b is 0 */
}

static double worst_difference(const struct answers *a) {
    double worst = 0;
    for (int i = 0; i < a->count; i++) {
        const struct tensor t = tensor_of(&a->out[i]);
        worst = fmax(worst, difference(&t, &a->want[i]));
    }
    return worst;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* Collective.  One run by the plan for this type. */
static enum cohort_code run_by(const struct wire_trial *t, int wire, struct answers *a,
                               struct cohort_session **session, struct cohort_error *err) {
    const bool root = t->ranks->rank == 0;
    struct cohort_session_options o = *t->session;
    enum cohort_code code = COHORT_OK;
    if (wire != COHORT_WIRE_F32) /* that came first, and has said what there is to say of boards */
        o.log = NULL;
    TRY(cohort_prepare(session, t->model, root ? t->plans[wire] : NULL, t->ranks->comm, &o, err));
    TRY(cohort_run(*session, root ? t->input : NULL, root ? t->input_count : 0, a->out, a->count,
                   err));
out:
    return code;
}

static void tell(const struct wire_choice *c) {
    char others[64] = "";
    for (int w = 1; w < CLI_WIRES; w++)
        if (w != c->wire && c->error[w] >= 0)
            snprintf(others + strlen(others), sizeof others - strlen(others), ", %s is %.1e off",
                     wire_name(w), c->error[w]);
    fprintf(stderr, "cohort: note: wire %s: %.1e off, tolerance %g%s; measured in %.0f ms\n",
            wire_name(c->wire), c->error[c->wire], c->tolerance, others, c->ms);
}

enum cohort_code wire_choose(struct wire_choice *c, struct cohort_session **session,
                             const struct wire_trial *t, struct cohort_error *err) {
    static const int tried[] = {COHORT_WIRE_I8, COHORT_WIRE_F16}; /* fewest bytes first */
    const double start = clock_ms(), tolerance = t->tolerance > 0 ? t->tolerance : CLI_TOLERANCE;
    const bool root = t->ranks->rank == 0;
    struct answers a = {0};
    enum cohort_code code = COHORT_OK;
    *c =
        (struct wire_choice){.wire = COHORT_WIRE_F32, .tolerance = tolerance, .error = {0, -1, -1}};
    *session = NULL;
    if (t->ranks->size == 1)
        return COHORT_OK; /* nothing travels */
    TRY(cli_agree(t->ranks, answers_init(&a, t, err), err));
    TRY(run_by(t, COHORT_WIRE_F32, &a, session, err));
    TRY(cli_agree(t->ranks, keep_answers(&a, err), err));
    for (size_t i = 0; i < sizeof tried / sizeof tried[0]; i++) {
        cohort_close(session);
        TRY(run_by(t, tried[i], &a, session, err));
        if (root)
            c->error[tried[i]] = worst_difference(&a);
        long near = root && c->error[tried[i]] <= tolerance;
        TRY(cli_broadcast(t->ranks, &near, err));
        if (near) {
            c->wire = tried[i];
            break;
        }
    }
    if (c->wire == COHORT_WIRE_F32)
        cohort_close(session);
    c->ms = clock_ms() - start;
    if (root)
        tell(c);
out:
    if (code != COHORT_OK)
        cohort_close(session);
    answers_release(&a);
    return code;
}

/* ---- preparing by it ------------------------------------------------------------------------- */

/* Rank 0. */
static enum cohort_code make_plans(const struct wire_trial *t, const struct cli_options *o,
                                   char **names, struct cohort_error *err) {
    const bool each = o->wire == CLI_WIRE_AUTO;
    enum cohort_code code = COHORT_OK;
    for (int w = 0; w < (each ? CLI_WIRES : 1) && code == COHORT_OK; w++) {
        if (t->plans[w] != NULL)
            continue;
        code = cli_make_plan(&t->plans[w], t->model, o, t->ranks->size, names, err);
        if (code == COHORT_OK && each)
            cohort_plan_set_wire(t->plans[w], (enum cohort_wire)w);
    }
    return code;
}

enum cohort_code wire_prepare(struct wire_choice *c, struct cohort_session **session,
                              const struct wire_trial *t, const struct cli_options *o, char **names,
                              struct cohort_error *err) {
    const bool root = t->ranks->rank == 0, chooses = o->wire == CLI_WIRE_AUTO;
    struct cohort_session_options options = *t->session;
    enum cohort_code code = COHORT_OK;
    if (root)
        code = make_plans(t, o, names, err);
    TRY(cli_agree(t->ranks, code, err));
    if (chooses)
        TRY(wire_choose(c, session, t, err));
    if (chooses && t->ranks->size > 1)
        options.log = NULL; /* of the boards all is said */
    struct cohort_plan *plan = root ? t->plans[c->wire] : NULL;
    if (root && chooses)
        cli_tell_plan(plan);
    if (root && o->save_plan != NULL)
        code = cohort_plan_save(plan, o->save_plan, err);
    TRY(cli_agree(t->ranks, code, err));
    if (*session == NULL)
        TRY(cohort_prepare(session, t->model, plan, t->ranks->comm, &options, err));
out:
    return code;
}

enum cohort_code wire_choice_report(char **json, const struct wire_choice *c,
                                    struct cohort_error *err) {
    cJSON *report = NULL;
    char *text = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(json_parse(&report, *json, strlen(*json), "the report", err));
    cJSON *o = cJSON_AddObjectToObject(report, "wire_choice");
    cJSON_AddNumberToObject(o, "tolerance", c->tolerance);
    for (int w = 1; w < CLI_WIRES; w++) {
        const char *const keys[CLI_WIRES] = {"", "f16_error", "i8_error"};
        if (c->error[w] >= 0 && isfinite(c->error[w]))
            cJSON_AddNumberToObject(o, keys[w], c->error[w]);
        else
            cJSON_AddNullToObject(o, keys[w]);
    }
    cJSON_AddNumberToObject(o, "ms", c->ms);
    TRY(json_print(&text, NULL, report, err));
    cohort_text_free(*json);
    *json = text;
out:
    json_free(&report);
    return code;
}
