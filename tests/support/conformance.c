#include "conformance.h"

#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEBIAN_TESTS "/usr/lib/python3/dist-packages/onnx/backend/test/data/node"

struct tally {
    conformance_run_fn run;
    void *context;
    int number, failed, left_out;
    char (*reasons)[160]; /* of cases left out, with how many there are of each */
    int *counts;
    size_t reason_count, reason_capacity, count_capacity;
};

/* ---- comparing ------------------------------------------------------------------------------- */

/* Integers exactly; floats to 1e-4 of the largest or 1e-3 of the element (float16: 1e-3, bfloat16:
 * 8e-3 of the largest). */
static void compare(const struct tensor *a, const struct tensor *b, char *why, size_t bytes) {
    char ta[SHAPE_TEXT_BYTES], tb[SHAPE_TEXT_BYTES];
    if (a->type != b->type || !shape_equal(&a->shape, &b->shape)) {
        snprintf(why, bytes, "%s %s, expected %s %s", dtype_name(a->type),
                 shape_text(&a->shape, ta, sizeof ta), dtype_name(b->type),
                 shape_text(&b->shape, tb, sizeof tb));
        return;
    }
    double largest = 0, part = a->type == DT_F16 ? 1e-3 : a->type == DT_BF16 ? 8e-3 : 1e-4;
    int64_t count = shape_count(&a->shape);
    for (int64_t i = 0; i < count; i++)
        if (isfinite(tensor_get_f64(b, i)))
            largest = fmax(largest, fabs(tensor_get_f64(b, i)));
    for (int64_t i = 0; i < count; i++) {
        double x = tensor_get_f64(a, i), y = tensor_get_f64(b, i);
        bool equal = dtype_is_float(a->type)
                         ? (isnan(x) && isnan(y)) || x == y ||
                               fabs(x - y) <= fmax(part * largest, 1e-3 * fabs(y))
                         : tensor_get_i64(a, i) == tensor_get_i64(b, i);
        if (!equal) {
            snprintf(why, bytes, "element %lld is %.9g, expected %.9g", (long long)i, x, y);
            return;
        }
    }
}

/* ---- one case -------------------------------------------------------------------------------- */

/* wanted: what the network says.  The files of ONNX 1.12 hold bfloat16 under the name uint16. */
static enum cohort_code load(const char *set, const char *kind, int index, enum dtype wanted,
                             struct tensor *t, bool *there, struct cohort_error *err) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s_%d.pb", set, kind, index);
    *there = file_exists(path);
    enum cohort_code code = *there ? onnx_load_tensor(t, NULL, path, err) : COHORT_OK;
    if (t->type == DT_U16 && wanted == DT_BF16)
        t->type = DT_BF16;
    return code;
}

static enum cohort_code load_inputs(struct conformance_case *c, const char *set,
                                    struct cohort_error *err) {
    for (int i = 0; i < c->graph->input_count; i++) {
        bool there;
        enum dtype type = graph_value(c->graph, c->graph->inputs[i])->type;
        enum cohort_code code = load(set, "input", i, type, &c->inputs[i], &there, err);
        if (code == COHORT_OK && !there)
            code = error_set(err, COHORT_ERR_UNSUPPORTED, "an input without a file");
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

/* Runs one data set; why is empty when all outputs agree. */
static enum cohort_code run_set(struct tally *t, const char *model, const char *set, char *why,
                                size_t bytes, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct conformance_case c = {0};
    struct tensor expected = {0};
    int compared = 0, inputs = 0, outputs = 0;
    why[0] = 0;
    TRY(onnx_load(&c.graph, model, err));
    inputs = c.graph->input_count;
    outputs = c.graph->output_count;
    c.inputs = mem_zalloc((size_t)inputs + 1, sizeof *c.inputs);
    c.outputs = mem_zalloc((size_t)outputs + 1, sizeof *c.outputs);
    if (c.inputs == NULL || c.outputs == NULL)
        TRY(error_memory(err, sizeof expected, "a test case"));
    TRY(load_inputs(&c, set, err));
    TRY(t->run(&c, t->context, err));
    for (int i = 0; i < outputs && why[0] == 0; i++) {
        bool there;
        tensor_release(&expected);
        TRY(load(set, "output", i, c.outputs[i].type, &expected, &there, err));
        compared += there;
        if (there)
            compare(&c.outputs[i], &expected, why, bytes);
    }
    if (compared == 0)
        snprintf(why, bytes, "no output to compare with");
out:
    tensor_release(&expected);
    for (int i = 0; c.inputs != NULL && i < inputs; i++)
        tensor_release(&c.inputs[i]);
    for (int i = 0; c.outputs != NULL && i < outputs; i++)
        tensor_release(&c.outputs[i]);
    mem_free(c.inputs);
    mem_free(c.outputs);
    graph_destroy(&c.graph);
    return code;
}

/* What of a message is the same for all cases of a kind: the operator that is not there, or what
 * follows the last file and value name. */
static void summary(const char *message, char *text, size_t bytes) {
    const char *at = strstr(message, "operator ");
    const char *colon = strstr(message, ": ");
    if (at != NULL) {
        snprintf(text, bytes, "%.*s", (int)strcspn(at + 9, " ") + 9, at);
        return;
    }
    while (colon != NULL && strchr(message, '/') != NULL) {
        message = colon + 2;
        colon = strstr(message, ": ");
    }
    if (strncmp(message, "input '", 7) == 0 && colon != NULL)
        message = colon + 2;
    snprintf(text, bytes, "%.150s", message);
}

static void leave_out(struct tally *t, const char *message) {
    char reason[160];
    size_t i = 0;
    summary(message, reason, sizeof reason);
    while (i < t->reason_count && strcmp(t->reasons[i], reason) != 0)
        i++;
    if (i == t->reason_count) {
        if (!MEM_GROW(t->reasons, t->reason_capacity, i) ||
            !MEM_GROW(t->counts, t->count_capacity, i))
            return;
        memcpy(t->reasons[i], reason, sizeof reason);
        t->counts[i] = 0;
        t->reason_count++;
    }
    t->counts[i]++;
    t->left_out++;
}

static void run_case(struct tally *t, const char *root, const char *name) {
    char model[768], set[768], first[800], why[256] = "";
    snprintf(model, sizeof model, "%s/%s/model.onnx", root, name);
    for (int k = 0; k < 100; k++) {
        snprintf(set, sizeof set, "%s/%s/test_data_set_%d", root, name, k);
        snprintf(first, sizeof first, "%s/output_0.pb", set);
        if (!file_exists(first))
            break;
        struct cohort_error err = {0};
        enum cohort_code code = run_set(t, model, set, why, sizeof why, &err);
        if (code == COHORT_ERR_UNSUPPORTED) {
            leave_out(t, err.message);
            continue;
        }
        bool ok = code == COHORT_OK && why[0] == 0;
        t->failed += !ok;
        printf("%sok %d - %s\n", ok ? "" : "not ", ++t->number, name);
        if (!ok)
            printf("# %s\n", code != COHORT_OK ? err.message : why);
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void run_folder(struct tally *t, const char *root) {
    DIR *d = opendir(root);
    char **names = NULL;
    size_t count = 0, capacity = 0;
    if (d == NULL) {
        printf("ok %d - cases in %s # SKIP not there\n", ++t->number, root);
        return;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        if (strncmp(e->d_name, "test_", 5) == 0 && MEM_GROW(names, capacity, count))
            names[count++] = mem_strdup(e->d_name);
    closedir(d);
    qsort(names, count, sizeof *names, by_name);
    printf("# %zu cases in %s\n", count, root);
    for (size_t i = 0; i < count; i++) {
        run_case(t, root, names[i]);
        mem_free(names[i]);
    }
    mem_free(names);
}

static void run_folders(struct tally *t) {
    const char *given = getenv("COHORT_ONNX_TESTS"), *shared = getenv("COHORT_SHARED");
    if (given == NULL) {
        char *path = file_join(shared != NULL ? shared : "../shared", "conformance/node");
        run_folder(t, DEBIAN_TESTS);
        run_folder(t, path);
        mem_free(path);
        return;
    }
    char *list = mem_strdup(given), *rest = NULL;
    for (char *p = strtok_r(list, ":", &rest); p != NULL; p = strtok_r(NULL, ":", &rest))
        run_folder(t, p);
    mem_free(list);
}

static void check(struct tally *t, bool ok, const char *what) {
    t->failed += !ok;
    printf("%sok %d - %s\n", ok ? "" : "not ", ++t->number, what);
}

int conformance_main(conformance_run_fn run, void *context) {
    struct tally t = {.run = run, .context = context};
    long blocks = mem_live_blocks();
    run_folders(&t);
    printf("# %d left out:\n", t.left_out);
    for (size_t i = 0; i < t.reason_count; i++)
        printf("#   %d: %s\n", t.counts[i], t.reasons[i]);
    mem_free(t.reasons);
    mem_free(t.counts);
    check(&t, t.number <= 2 || t.number > t.left_out, "more cases run than are left out");
    check(&t, mem_live_blocks() == blocks, "no memory is left behind");
    printf("1..%d\n", t.number);
    return t.failed > 0;
}
