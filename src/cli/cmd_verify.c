/* cohort verify: runs folders in ONNX's test layout and compares with the recorded outputs.
 *
 * DIR/model.onnx and DIR/test_data_set_K/{input,output}_I.pb.  Rank 0 reads; every data set is
 * opened with the shapes of its inputs, prepared on all ranks, run and closed. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"

#include <math.h>
#include <string.h>

#define PORTS_MAX 256

/* One data set: its inputs and the outputs that are expected. */
struct data_set {
    struct tensor in[PORTS_MAX], want[PORTS_MAX];
    char *names[PORTS_MAX]; /* of inputs; may be NULL or "" */
    int in_count, want_count;
};

struct verify {
    struct cli_options common;
    double tolerance;
    struct cli_ranks ranks;
    cJSON *cases;
    int passed, failed, skipped;
    bool warned; /* what boards want to say was said before the first data set */
};

static void data_set_release(struct data_set *d) {
    for (int i = 0; i < d->in_count; i++) {
        tensor_release(&d->in[i]);
        mem_free(d->names[i]);
    }
    for (int i = 0; i < d->want_count; i++)
        tensor_release(&d->want[i]);
    *d = (struct data_set){0};
}

static enum cohort_code load_numbered(const char *directory, const char *kind, struct tensor *out,
                                      char **names, int *count, struct cohort_error *err) {
    for (*count = 0; *count < PORTS_MAX; (*count)++) {
        char *name = NULL, *path = mem_printf("%s/%s_%d.pb", directory, kind, *count);
        if (path == NULL)
            return error_memory(err, strlen(directory), "a file name");
        if (!file_exists(path)) {
            mem_free(path);
            return COHORT_OK;
        }
        enum cohort_code code = onnx_load_tensor(&out[*count], &name, path, err);
        mem_free(path);
        if (names != NULL)
            names[*count] = name;
        else
            mem_free(name);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

/* ONNX's own test files hold bfloat16 as the uint16 of its bits. */
static void retag_bfloat16(struct tensor *t, enum dtype wanted) {
    if (t->type == DT_U16 && wanted == DT_BF16)
        t->type = DT_BF16;
}

/* Reads the data set of a network that can be read: its inputs tell the types. */
static enum cohort_code load_data_set(struct data_set *d, const char *model, const char *directory,
                                      struct cohort_error *err) {
    struct graph *g = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(onnx_load(&g, model, err));
    TRY(load_numbered(directory, "input", d->in, d->names, &d->in_count, err));
    TRY(load_numbered(directory, "output", d->want, NULL, &d->want_count, err));
    for (int i = 0; i < d->in_count && i < g->input_count; i++)
        retag_bfloat16(&d->in[i], graph_value(g, g->inputs[i])->type);
out:
    graph_destroy(&g);
    return code;
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* max|a-b| / max|b| over finite elements; infinity when NaN or infinities do not agree. */
static double worst_difference(const struct tensor *got, const struct tensor *want) {
    int64_t n = shape_count(&want->shape);
    double most = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double a = tensor_get_f64(got, i), b = tensor_get_f64(want, i);
        if (isnan(a) != isnan(b) || (isinf(b) && a != b) || (isinf(a) && !isinf(b)))
            return INFINITY;
        if (isnan(b) || isinf(b))
            continue;
        most = fabs(a - b) > most ? fabs(a - b) : most;
        size = fabs(b) > size ? fabs(b) : size;
    }
    return size > 1e-6 ? most / size : most;
}

static enum cohort_code compare(const struct cohort_tensor *got, const struct tensor *want,
                                double tolerance, double *worst, struct cohort_error *err) {
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    struct tensor t = {
        .type = (enum dtype)got->type, .shape = shape_of(got->rank, got->dims), .data = got->data};
    if (t.type != want->type)
        return error_set(err, COHORT_ERR_SHAPE, "output '%s' is %s instead of %s", got->name,
                         dtype_name(t.type), dtype_name(want->type));
    if (!shape_equal(&t.shape, &want->shape))
        return error_set(err, COHORT_ERR_SHAPE, "output '%s' is %s instead of %s", got->name,
                         shape_text(&t.shape, a, sizeof a), shape_text(&want->shape, b, sizeof b));
    double d = worst_difference(&t, want);
    *worst = d > *worst ? d : *worst;
    if (d > (dtype_is_float(t.type) ? tolerance : 0))
        return error_set(err, COHORT_ERR_INTERNAL,
                         "output '%s' differs by %.3g of its largest value", got->name, d);
    return COHORT_OK;
}

/* ---- one data set ---------------------------------------------------------------------------- */

/* The network with the shapes of this data set's inputs. */
static enum cohort_code open_for(struct cohort_model **m, const char *path,
                                 const struct data_set *d, const struct cli_options *o,
                                 struct cohort_error *err) {
    struct graph *g = NULL;
    char *texts[PORTS_MAX] = {NULL};
    char shape[SHAPE_TEXT_BYTES];
    enum cohort_code code = COHORT_OK;
    TRY(onnx_load(&g, path, err));
    int count = 0;
    for (int i = 0; i < d->in_count && i < g->input_count; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        if (shape_known(&v->shape) || d->in[i].shape.rank == 0)
            continue;
        texts[count] =
            mem_printf("%s=%s", v->name, shape_text(&d->in[i].shape, shape, sizeof shape));
        if (texts[count++] == NULL) {
            code = error_memory(err, 256, "a shape");
            goto out;
        }
    }
    struct cohort_open_options open = {
        .shapes = (const char *const *)texts, .shape_count = count, .keep_nodes = o->keep_nodes};
    TRY(cohort_open(m, path, &open, err));
out:
    for (int i = 0; i < PORTS_MAX; i++)
        mem_free(texts[i]);
    graph_destroy(&g);
    return code;
}

static void point_inputs(struct cohort_tensor *in, const struct data_set *d) {
    for (int i = 0; i < d->in_count; i++) {
        in[i] = (struct cohort_tensor){.type = (enum cohort_type)d->in[i].type,
                                       .rank = d->in[i].shape.rank,
                                       .data = d->in[i].data};
        for (int k = 0; k < d->in[i].shape.rank; k++)
            in[i].dims[k] = d->in[i].shape.dim[k];
    }
}

static enum cohort_code compare_all(const struct cohort_tensor *out, int count, struct data_set *d,
                                    double tolerance, double *worst, struct cohort_error *err) {
    for (int i = 0; i < d->want_count && i < count; i++) {
        retag_bfloat16(&d->want[i], (enum dtype)out[i].type);
        enum cohort_code code = compare(&out[i], &d->want[i], tolerance, worst, err);
        if (code != COHORT_OK)
            return code;
    }
    return d->want_count == 0
               ? error_set(err, COHORT_ERR_FORMAT, "there is no output_0.pb to compare with")
               : COHORT_OK;
}

/* Collective: the outcome is the same on all ranks.  `d` and `path` count on rank 0. */
static enum cohort_code run_data_set(struct verify *v, const char *path, struct data_set *d,
                                     double *worst, struct cohort_error *err) {
    struct cohort_model *m = NULL;
    struct cohort_plan *plan = NULL;
    struct cohort_session *s = NULL;
    struct cli_session_state state = {0};
    struct cohort_session_options options;
    struct cohort_tensor in[PORTS_MAX], out[PORTS_MAX];
    enum cohort_code code = cli_session_options(&options, &state, &v->common, &v->ranks, err);
    bool root = v->ranks.rank == 0;
    int out_count = 0;
    if (v->warned && !v->common.verbose)
        options.log = NULL;
    v->warned = true;
    if (code == COHORT_OK && root)
        code = open_for(&m, path, d, &v->common, err);
    if (code == COHORT_OK && root)
        code = cli_make_plan(&plan, m, &v->common, v->ranks.size, NULL, err);
    TRY(cli_agree(&v->ranks, code, err));
    TRY(cohort_prepare(&s, m, plan, v->ranks.comm, &options, err));
    if (root) {
        point_inputs(in, d);
        out_count = cohort_output_count(m) < PORTS_MAX ? cohort_output_count(m) : PORTS_MAX;
    }
    /* No rank leaves before the agreement: a run that sends nothing can fail on rank 0 alone. */
    code =
        cohort_run(s, root ? in : NULL, root ? d->in_count : 0, root ? out : NULL, out_count, err);
    if (code == COHORT_OK && root)
        code = compare_all(out, out_count, d, v->tolerance, worst, err);
    TRY(cli_agree(&v->ranks, code, err));
out:
    cohort_close(&s);
    cohort_plan_free(&plan);
    cohort_model_free(&m);
    cli_session_release(&state);
    return code;
}

/* ---- all ------------------------------------------------------------------------------------- */

static void tell(struct verify *v, const char *name, enum cohort_code code, double worst,
                 const struct cohort_error *err) {
    const char *verdict = code == COHORT_OK                ? "ok"
                          : code == COHORT_ERR_UNSUPPORTED ? "skipped"
                                                           : "FAILED";
    if (code == COHORT_OK)
        v->passed++;
    else if (code == COHORT_ERR_UNSUPPORTED)
        v->skipped++;
    else
        v->failed++;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "case", name);
    cJSON_AddStringToObject(o, "verdict",
                            code == COHORT_OK                ? "passed"
                            : code == COHORT_ERR_UNSUPPORTED ? "skipped"
                                                             : "failed");
    cJSON_AddNumberToObject(o, "worst", worst);
    if (code != COHORT_OK)
        cJSON_AddStringToObject(o, "message", err->message);
    json_append(v->cases, o);
    if (v->common.json)
        return;
    if (code == COHORT_OK)
        printf("%-8s %-52s %.2e\n", verdict, name, worst);
    else
        printf("%-8s %-52s %s\n", verdict, name, err->message);
}

/* One data set, on all ranks.  A wrong answer is told and counted; an error is returned only when
 * nothing more can be done together. */
static enum cohort_code verify_one(struct verify *v, const char *model, const char *name,
                                   struct cohort_error *err) {
    struct data_set d = {0};
    double worst = 0;
    enum cohort_code code = COHORT_OK;
    if (v->ranks.rank == 0)
        code = load_data_set(&d, model, name, err);
    code = cli_agree(&v->ranks, code, err);
    if (code == COHORT_OK)
        code = run_data_set(v, model, &d, &worst, err);
    if (v->ranks.rank == 0 && !cli_lost(code))
        tell(v, name, code, worst, err);
    v->ranks.ended = cli_lost(code); /* any other error concerns this data set only */
    data_set_release(&d);
    return cli_lost(code) ? code : COHORT_OK;
}

/* Rank 0 leads: it finds the next data set (or none) and tells the others that there is one. */
static enum cohort_code verify_directory(struct verify *v, const char *directory,
                                         struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (long k = 0, more = 1; more != 0 && code == COHORT_OK; k++) {
        char *name = mem_printf("%s/test_data_set_%ld", directory, k);
        char *model = file_join(directory, "model.onnx");
        more = name == NULL || model == NULL ? -1 : k == 0 || file_exists(name);
        code = cli_broadcast(&v->ranks, &more, err);
        if (code == COHORT_OK && more < 0)
            code = error_memory(err, strlen(directory) + 32, "file names");
        if (code == COHORT_OK && more > 0)
            code = verify_one(v, model, name, err);
        mem_free(name);
        mem_free(model);
    }
    return code;
}

static enum cohort_code finish(struct verify *v, struct cohort_error *err) {
    if (v->ranks.rank != 0)
        return COHORT_OK;
    if (v->common.json) {
        cJSON *root = cJSON_CreateObject();
        char *text = NULL;
        cJSON_AddStringToObject(root, "format", "cohort-verify");
        cJSON_AddNumberToObject(root, "version", 1);
        cJSON_AddNumberToObject(root, "passed", v->passed);
        cJSON_AddNumberToObject(root, "failed", v->failed);
        cJSON_AddNumberToObject(root, "skipped", v->skipped);
        json_put(root, "cases", v->cases);
        v->cases = NULL;
        enum cohort_code code = json_print(&text, NULL, root, err);
        if (code == COHORT_OK)
            fputs(text, stdout);
        mem_free(text);
        cJSON_Delete(root);
        return code;
    }
    printf("%d passed, %d failed, %d skipped\n", v->passed, v->failed, v->skipped);
    return COHORT_OK;
}

int cmd_verify(const struct cli_command *self, int argc, char **argv) {
    struct verify v = {.tolerance = 1e-4, .ranks = {.comm = MPI_COMM_NULL, .size = 1}};
    struct cohort_error err = {0};
    const char *directories[4096];
    int count, status;
    cli_options_init(&v.common);
    const struct option_spec specs[] = {
        {"tolerance", 0, OPTION_DOUBLE, &v.tolerance, "T",
         "largest |a-b| / max|b| that passes (1e-4)", 0, 1},
        {"json", 0, OPTION_FLAG, &v.common.json, NULL, "print one JSON document instead", 0, 0},
        CLI_PLAN_OPTIONS(v.common, CLI_WIRES_TEXT),
        CLI_BOARD_OPTIONS(v.common),
        {"keep-nodes", 0, OPTION_FLAG, &v.common.keep_nodes, NULL,
         "no fusing: every node as in the file, by its reference (slow)", 0, 0},
        CLI_COMMON_OPTIONS(v.common),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &v.common.help, argc, argv, directories, 4096, &count, &status))
        return status;
    if (count == 0) {
        error_set(&err, COHORT_ERR_USAGE, "no folder was named: %s", self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = cli_ranks_begin(&v.ranks, &err);
    v.cases = cJSON_CreateArray();
    for (int i = 0; code == COHORT_OK && i < count; i++)
        code = verify_directory(&v, directories[i], &err);
    if (code == COHORT_OK)
        code = cli_agree(&v.ranks, finish(&v, &err), &err);
    cJSON_Delete(v.cases);
    long failed = v.failed;
    if (code == COHORT_OK)
        code = cli_broadcast(&v.ranks, &failed, &err);
    status = cli_ranks_end(&v.ranks, code, &err);
    return status != 0 || failed == 0 ? status : 1;
}
