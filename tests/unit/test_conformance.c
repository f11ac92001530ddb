/* ONNX's own operator tests, node by node through op_infer() and op_eval(): one TAP line a case.
 *
 * They are looked for in $COHORT_ONNX_TESTS (folders separated by ':'), else in Debian's
 * libonnx-testdata and in conformance/node under $COHORT_SHARED or ../shared.  A case is left out,
 * with its reason, only when the importer or an operator says "unsupported". */
#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/op.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEBIAN_TESTS "/usr/lib/python3/dist-packages/onnx/backend/test/data/node"
#define FILES_MAX    32

struct tally {
    int number, failed, left_out;
    char (*reasons)[160]; /* of cases left out, with how many there are of each */
    int *counts;
    int reason_count;
};

/* ---- running one model ----------------------------------------------------------------------- */

/* A tensor per value of the graph; constants are borrowed, or copied when unaligned. */
static enum cohort_code run_node(struct graph *g, struct node *n, struct tensor *values,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct tensor *in[FILES_MAX] = {NULL};
    struct tensor out[FILES_MAX] = {{0}}, *outs[FILES_MAX] = {NULL};
    if (n->in_count > FILES_MAX || n->out_count > FILES_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d inputs or outputs", FILES_MAX);
    for (int i = 0; i < n->in_count; i++)
        in[i] = n->in[i] < 0 ? NULL : &values[n->in[i]];
    TRY(op_infer(n, in, out, err));
    for (int i = 0; i < n->out_count; i++) {
        struct shape shape = out[i].shape;
        enum dtype type = out[i].type;
        out[i] = (struct tensor){0};
        TRY(tensor_init(&out[i], type, &shape, err));
        memset(out[i].data, 0x5a, tensor_bytes(&out[i])); /* what eval() leaves alone shows */
        outs[i] = &out[i];
    }
    TRY(op_eval(n, in, outs, err));
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0) {
            values[n->out[i]] = out[i];
            out[i] = (struct tensor){0};
        }
out:
    for (int i = 0; i < n->out_count && i < FILES_MAX; i++)
        tensor_release(&out[i]);
    (void)g;
    return code == COHORT_OK ? code : error_wrap(err, "%s", n->op->name);
}

static enum cohort_code run_graph(struct graph *g, struct tensor *values,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < g->value_count; i++) {
        struct value *v = graph_value(g, i);
        if (v->is_constant && tensor_aligned(&v->constant)) {
            values[i] = v->constant;
            values[i].owned = false;
        } else if (v->is_constant) {
            TRY(tensor_copy(&values[i], &v->constant, err));
        }
    }
    for (int i = 0; i < g->node_count; i++)
        TRY(run_node(g, &g->nodes[i], values, err));
out:
    return code;
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* Integers exactly; floats to 1e-4 of the largest or 1e-3 of the element (float16: 1e-3, bfloat16:
 * 8e-3 of the largest). */
static bool agrees(const struct tensor *a, const struct tensor *b, char *why, size_t bytes) {
    char ta[SHAPE_TEXT_BYTES], tb[SHAPE_TEXT_BYTES];
    if (a->type != b->type || !shape_equal(&a->shape, &b->shape)) {
        snprintf(why, bytes, "%s %s, expected %s %s", dtype_name(a->type),
                 shape_text(&a->shape, ta, sizeof ta), dtype_name(b->type),
                 shape_text(&b->shape, tb, sizeof tb));
        return false;
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
            return false;
        }
    }
    return true;
}

/* ---- one case -------------------------------------------------------------------------------- */

static enum cohort_code load(const char *directory, const char *set, const char *kind, int index,
                             struct tensor *t, bool *there, struct cohort_error *err) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s/%s_%d.pb", directory, set, kind, index);
    *there = file_exists(path);
    return *there ? onnx_load_tensor(t, NULL, path, err) : COHORT_OK;
}

/* The files of ONNX 1.12 hold bfloat16 tensors under the name uint16. */
static void reinterpret(struct tensor *t, enum dtype wanted) {
    if (t->type == DT_U16 && wanted == DT_BF16)
        t->type = DT_BF16;
}

/* Runs one data set; why is empty when all outputs agree. */
static enum cohort_code run_set(const char *directory, const char *set, char *why, size_t bytes,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct graph *g = NULL;
    struct tensor *values = NULL, expected = {0};
    char path[1024];
    bool there;
    int compared = 0;
    why[0] = 0;
    snprintf(path, sizeof path, "%s/model.onnx", directory);
    TRY(onnx_load(&g, path, err));
    values = mem_zalloc((size_t)g->value_count + 1, sizeof *values);
    if (values == NULL)
        return error_memory(err, 0, "values");
    for (int i = 0; i < g->input_count; i++) {
        TRY(load(directory, set, "input", i, &values[g->inputs[i]], &there, err));
        reinterpret(&values[g->inputs[i]], graph_value(g, g->inputs[i])->type);
        if (!there) /* an optional input that the case leaves out */
            TRY(error_set(err, COHORT_ERR_UNSUPPORTED, "an input without a file"));
    }
    TRY(run_graph(g, values, err));
    for (int i = 0; i < g->output_count && why[0] == 0; i++) {
        tensor_release(&expected);
        TRY(load(directory, set, "output", i, &expected, &there, err));
        compared += there;
        reinterpret(&expected, values[g->outputs[i]].type);
        if (there)
            agrees(&values[g->outputs[i]], &expected, why, bytes);
    }
    if (compared == 0)
        snprintf(why, bytes, "no output to compare with");
out:
    tensor_release(&expected);
    for (int i = 0; values != NULL && i < g->value_count; i++)
        tensor_release(&values[i]);
    mem_free(values);
    graph_destroy(&g);
    return code;
}

static void leave_out(struct tally *t, const char *reason) {
    int i = 0;
    while (i < t->reason_count && strncmp(t->reasons[i], reason, 150) != 0)
        i++;
    if (i == t->reason_count) {
        t->reasons = mem_realloc(t->reasons, (size_t)(i + 1) * sizeof t->reasons[0]);
        t->counts = mem_realloc(t->counts, (size_t)(i + 1) * sizeof t->counts[0]);
        snprintf(t->reasons[i], sizeof t->reasons[0], "%.150s", reason);
        t->counts[i] = 0;
        t->reason_count++;
    }
    t->counts[i]++;
    t->left_out++;
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

static void run_case(struct tally *t, const char *root, const char *name) {
    char directory[768], why[256] = "";
    snprintf(directory, sizeof directory, "%s/%s", root, name);
    for (int set = 0; set < 100; set++) {
        char folder[64], path[1024];
        snprintf(folder, sizeof folder, "test_data_set_%d", set);
        snprintf(path, sizeof path, "%s/%s/output_0.pb", directory, folder);
        if (!file_exists(path))
            break;
        struct cohort_error err = {0};
        enum cohort_code code = run_set(directory, folder, why, sizeof why, &err);
        if (code == COHORT_ERR_UNSUPPORTED) {
            char reason[160];
            summary(err.message, reason, sizeof reason);
            leave_out(t, reason);
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

int main(void) {
    struct tally t = {0};
    const char *given = getenv("COHORT_ONNX_TESTS"), *shared = getenv("COHORT_SHARED");
    if (given != NULL) {
        char *list = mem_strdup(given), *rest = NULL;
        for (char *p = strtok_r(list, ":", &rest); p != NULL; p = strtok_r(NULL, ":", &rest))
            run_folder(&t, p);
        mem_free(list);
    } else {
        char *path = file_join(shared != NULL ? shared : "../shared", "conformance/node");
        run_folder(&t, DEBIAN_TESTS);
        run_folder(&t, path);
        mem_free(path);
    }
    printf("# %d left out:\n", t.left_out);
    for (int i = 0; i < t.reason_count; i++)
        printf("#   %d: %s\n", t.counts[i], t.reasons[i]);
    mem_free(t.reasons);
    mem_free(t.counts);
    bool enough = t.number <= 2 || t.number > t.left_out; /* 2: no folder is there */
    t.failed += !enough;
    printf("%sok %d - more cases run than are left out\n", enough ? "" : "not ", ++t.number);
    bool clean = mem_live_blocks() == 0;
    t.failed += !clean;
    printf("%sok %d - no memory is left behind\n", clean ? "" : "not ", ++t.number);
    printf("1..%d\n", t.number);
    return t.failed > 0;
}
