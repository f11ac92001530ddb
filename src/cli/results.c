/* Showing what a network answered. */
#include "cli/results.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kinds[] = {"top5", "boxes", "image", "npy", "json", "summary"};
#define KINDS (sizeof kinds / sizeof kinds[0])

static struct tensor as_tensor(const struct cohort_tensor *t) {
    return (struct tensor){
        .type = (enum dtype)t->type, .shape = shape_of(t->rank, t->dims), .data = t->data};
}

static const struct {
    const char *name;
    enum box_head head;
} heads[] = {{"auto", BOX_AUTO},
             {"yolov2", BOX_YOLOV2},
             {"yolov5", BOX_YOLOV5},
             {"yolov8", BOX_YOLOV8},
             {"yolox", BOX_YOLOX}};

static enum cohort_code head_of(const char *name, enum box_head *head, struct cohort_error *err) {
    *head = BOX_AUTO;
    for (size_t i = 0; name != NULL && i < sizeof heads / sizeof heads[0]; i++)
        if (strcmp(heads[i].name, name) == 0) {
            *head = heads[i].head;
            return COHORT_OK;
        }
    return name == NULL
               ? COHORT_OK
               : error_set(err, COHORT_ERR_USAGE,
                           "--head %s: expected auto, yolov2, yolov5, yolov8 or yolox", name);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool is_kind(const struct result_options *o, const char *kind) {
    return o->as != NULL && strcmp(o->as, kind) == 0;
}

static enum cohort_code check_kind(const struct result_options *o, struct cohort_error *err) {
    bool known = o->as == NULL;
    for (size_t i = 0; i < KINDS; i++)
        known = known || is_kind(o, kinds[i]);
    if (known)
        return COHORT_OK;
    const char *close = closest_name(o->as, kinds, KINDS);
    return error_set(err, COHORT_ERR_USAGE,
                     "--as %s: expected top5, boxes, image, npy, json or summary%s%s%s", o->as,
                     close != NULL ? " (did you mean " : "", close != NULL ? close : "",
                     close != NULL ? "?)" : "");
}

/* Options that say something about a kind of result that is not asked for. */
static enum cohort_code check_conflicts(const struct result_options *o, struct cohort_error *err) {
    const char *boxes = o->draw != NULL     ? "--draw"
                        : o->head != NULL   ? "--head"
                        : o->confidence > 0 ? "--confidence"
                        : o->iou > 0        ? "--iou"
                                            : NULL;
    bool file = is_kind(o, "npy") || is_kind(o, "image");
    if (boxes != NULL && o->as != NULL && !is_kind(o, "boxes"))
        return error_set(err, COHORT_ERR_USAGE, "%s is about boxes, which --as %s does not show",
                         boxes, o->as);
    if (o->top > 0 && (boxes != NULL || (o->as != NULL && !is_kind(o, "top5"))))
        return error_set(err, COHORT_ERR_USAGE, "--top is about classes, which %s%s does not show",
                         boxes != NULL ? boxes : "--as ", boxes != NULL ? "" : o->as);
    if (file && o->output == NULL)
        return error_set(err, COHORT_ERR_USAGE, "--as %s needs -o FILE", o->as);
    if (o->output != NULL && !file && !o->json && !is_kind(o, "json"))
        return error_set(err, COHORT_ERR_USAGE,
                         "-o %s: only --as image, npy or json, and --json, write a file",
                         o->output);
    return COHORT_OK;
}

enum cohort_code result_check_target(const char *option, const char *path,
                                     struct cohort_error *err) {
    struct stat st;
    if (path == NULL)
        return COHORT_OK;
    char *directory = file_directory(path);
    if (directory == NULL)
        return error_memory(err, strlen(path), "a file name");
    enum cohort_code code = COHORT_OK;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        code = error_set(err, COHORT_ERR_IO, "%s %s: that is a directory", option, path);
    else if (access(directory, W_OK) != 0)
        code = error_set(err, COHORT_ERR_IO, "%s %s: cannot write there: %s", option, path,
                         strerror(errno));
    mem_free(directory);
    return code;
}

enum cohort_code result_check(const struct result_options *o, const struct cohort_model *m,
                              struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    enum box_head head;
    TRY(check_kind(o, err));
    TRY(check_conflicts(o, err));
    TRY(head_of(o->head, &head, err));
    TRY(result_check_target("-o", o->output, err));
    TRY(result_check_target("--draw", o->draw, err));
    if (o->labels != NULL && !file_exists(o->labels))
        return error_set(err, COHORT_ERR_IO, "%s: no such file of labels", o->labels);
    if (cohort_output_count(m) == 0)
        code = error_set(err, COHORT_ERR_SHAPE, "the network has no outputs");
out:
    return code;
}

/* ---- one kind each --------------------------------------------------------------------------- */

static const char *label_of(const struct results *r, int index, char text[32]) {
    if (index >= 0 && index < r->labels.count)
        return r->labels.names[index];
    snprintf(text, 32, "class %d", index);
    return text;
}

static enum cohort_code show_top(struct results *r, const struct result_options *o,
                                 const struct tensor *t, cJSON *run, struct cohort_error *err) {
    int n = (int)shape_count(&t->shape), k = o->top > 0 ? (int)o->top : 5;
    char number[32];
    enum cohort_code code = COHORT_OK;
    struct ranked *best = mem_alloc((size_t)k * sizeof *best);
    if (best == NULL)
        return error_memory(err, (size_t)k * sizeof *best, "the best classes");
    k = top_k(tensor_f32(t), n, k, best);
    cJSON *list = cJSON_AddArrayToObject(run, "top");
    for (int i = 0; i < k; i++) {
        const char *label = label_of(r, best[i].index, number);
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "index", best[i].index);
        cJSON_AddStringToObject(item, "label", label);
        cJSON_AddNumberToObject(item, "score", (double)best[i].score);
        json_append(list, item);
        if (!o->json)
            printf("  %6.2f %%  %s\n", 100 * (double)best[i].score, label);
    }
    mem_free(best);
    return code;
}

static enum cohort_code show_boxes(struct results *r, const struct result_options *o,
                                   const struct input_set *in, const struct tensor *t, cJSON *run,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct box *boxes = NULL;
    int count = 0;
    char number[32];
    struct box_options b = {.confidence = (float)o->confidence,
                            .iou = (float)o->iou,
                            .input_width = in->width,
                            .input_height = in->height,
                            .where = in->where,
                            .image_width = in->image.width,
                            .image_height = in->image.height};
    if (in->image.pixels == NULL)
        return error_set(err, COHORT_ERR_USAGE, "--as boxes needs a picture as input");
    TRY(head_of(o->head, &b.head, err));
    TRY(boxes_decode(&boxes, &count, t, &b, err));
    cJSON *list = cJSON_AddArrayToObject(run, "boxes");
    for (int i = 0; i < count; i++) {
        const struct box *x = &boxes[i];
        const char *label = label_of(r, x->label, number);
        cJSON *item = cJSON_CreateObject();
        const float corners[4] = {x->x0, x->y0, x->x1, x->y1};
        cJSON_AddStringToObject(item, "label", label);
        cJSON_AddNumberToObject(item, "index", x->label);
        cJSON_AddNumberToObject(item, "score", (double)x->score);
        json_put(item, "box", cJSON_CreateFloatArray(corners, 4));
        json_append(list, item);
        if (!o->json)
            printf("  %6.2f %%  %-20s %7.1f %7.1f %7.1f %7.1f\n", 100 * (double)x->score, label,
                   (double)x->x0, (double)x->y0, (double)x->x1, (double)x->y1);
    }
    if (o->draw != NULL) {
        struct image copy = {0};
        TRY(image_init(&copy, in->image.width, in->image.height, err));
        memcpy(copy.pixels, in->image.pixels, (size_t)copy.width * (size_t)copy.height * 3);
        boxes_draw(&copy, boxes, count, &r->labels);
        code = image_save_png(&copy, o->draw, err);
        image_release(&copy);
    }
out:
    mem_free(boxes);
    return code;
}

/* [1,3,H,W] or [1,1,H,W] as a picture: values in [0,1] or [0,255]. */
static enum cohort_code save_image(const struct tensor *t, const char *path,
                                   struct cohort_error *err) {
    struct image im = {0};
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &t->shape;
    if (t->type != DT_F32 || s->rank != 4 || (s->dim[1] != 1 && s->dim[1] != 3))
        return error_set(err, COHORT_ERR_SHAPE, "--as image: the output is no 1x3xHxW or 1x1xHxW");
    TRY(image_init(&im, (int)s->dim[3], (int)s->dim[2], err));
    const float *v = tensor_f32(t);
    int64_t pixels = s->dim[2] * s->dim[3], step = s->dim[1] == 3 ? pixels : 0;
    float most = 0;
    for (int64_t i = 0; i < pixels * s->dim[1]; i++)
        most = v[i] > most ? v[i] : most;
    float factor = most <= 1.5f ? 255.0f : 1.0f;
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++) {
            float x = v[c * step + i] * factor + 0.5f;
            im.pixels[3 * i + c] = (uint8_t)(x >= 255 ? 255 : x > 0 ? x : 0);
        }
    TRY(image_save_png(&im, path, err));
out:
    image_release(&im);
    return code;
}

static bool show_summary(const struct cohort_tensor *out, bool quiet, cJSON *run) {
    struct tensor t = as_tensor(out);
    char text[SHAPE_TEXT_BYTES];
    int64_t n = shape_count(&t.shape);
    double least = INFINITY, most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = tensor_get_f64(&t, i);
        least = v < least ? v : least;
        most = v > most ? v : most;
        sum += v;
    }
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "name", out->name);
    cJSON_AddStringToObject(item, "type", dtype_name(t.type));
    cJSON *dims = cJSON_AddArrayToObject(item, "shape");
    for (int k = 0; k < t.shape.rank; k++)
        json_append(dims, cJSON_CreateNumber((double)t.shape.dim[k]));
    cJSON_AddNumberToObject(item, "min", least);
    cJSON_AddNumberToObject(item, "max", most);
    cJSON_AddNumberToObject(item, "mean", n > 0 ? sum / (double)n : 0);
    cJSON *list = cJSON_GetObjectItem(run, "outputs");
    bool kept = json_append(list != NULL ? list : cJSON_AddArrayToObject(run, "outputs"), item);
    if (!quiet)
        printf("  %s  %s %s  min %g  max %g  mean %g\n", out->name, dtype_name(t.type),
               shape_text(&t.shape, text, sizeof text), least, most, n > 0 ? sum / (double)n : 0);
    return kept;
}

/* All numbers of all outputs. */
static void add_values(const struct cohort_tensor *outputs, int count, cJSON *run) {
    cJSON *values = cJSON_AddObjectToObject(run, "values");
    for (int i = 0; i < count; i++) {
        struct tensor t = as_tensor(&outputs[i]);
        cJSON *list = cJSON_AddArrayToObject(values, outputs[i].name);
        for (int64_t k = 0; k < shape_count(&t.shape); k++)
            json_append(list, cJSON_CreateNumber(tensor_get_f64(&t, k)));
    }
}

/* FILE for the first of several outputs, FILE with ".N" before its ending for the others. */
static enum cohort_code save_arrays(const struct cohort_tensor *outputs, int count,
                                    const char *path, struct cohort_error *err) {
    for (int i = 0; i < count; i++) {
        struct tensor t = as_tensor(&outputs[i]);
        const char *dot = strrchr(file_name(path), '.');
        int stem = (int)(dot != NULL ? (size_t)(dot - path) : strlen(path));
        char *name = i == 0 ? mem_strdup(path)
                            : mem_printf("%.*s.%d%s", stem, path, i, dot != NULL ? dot : "");
        enum cohort_code code =
            name == NULL ? error_memory(err, strlen(path), "a file name") : npy_save(&t, name, err);
        mem_free(name);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

/* ---- together -------------------------------------------------------------------------------- */

/* A list of scores is shown as classes when the input was a picture; anything else by its figures.
 */
static const char *kind_of(const struct result_options *o, const struct input_set *in,
                           const struct tensor *t) {
    if (o->as != NULL)
        return o->as;
    if (o->draw != NULL || o->head != NULL || o->confidence > 0 || o->iou > 0)
        return "boxes";
    int64_t last = t->shape.rank > 0 ? t->shape.dim[t->shape.rank - 1] : 1;
    bool scores = t->type == DT_F32 && shape_count(&t->shape) == last && last >= 2;
    if (!scores && t->type == DT_F32 && t->shape.rank == 4 && t->shape.dim[2] == 1 &&
        t->shape.dim[3] == 1)
        scores = t->shape.dim[0] == 1 && t->shape.dim[1] >= 2;
    return scores && (in->image.pixels != NULL || o->labels != NULL || o->top > 0) ? "top5"
                                                                                   : "summary";
}

static enum cohort_code load_labels(struct results *r, const struct result_options *o,
                                    struct cohort_error *err) {
    if (o->labels == NULL || r->labels_loaded)
        return COHORT_OK;
    r->labels_loaded = true;
    return labels_load(&r->labels, o->labels, err);
}

enum cohort_code result_show(struct results *r, const struct result_options *o,
                             const struct input_set *in, const struct cohort_tensor *outputs,
                             int count, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tensor first = as_tensor(&outputs[0]);
    TRY(load_labels(r, o, err));
    if (r->runs == NULL)
        r->runs = cJSON_CreateArray();
    cJSON *run = cJSON_CreateObject();
    if (!json_append(r->runs, run)) {
        code = error_memory(err, 64, "results");
        goto out;
    }
    cJSON_AddStringToObject(run, "input", in->source != NULL ? in->source : "made-up numbers");
    const char *kind = kind_of(o, in, &first);
    if (!o->json && strcmp(kind, "json") != 0)
        printf("%s\n", in->source != NULL ? in->source : "made-up numbers");
    if (strcmp(kind, "top5") == 0 && first.type != DT_F32)
        code = error_set(err, COHORT_ERR_SHAPE, "--as top5: output '%s' is %s", outputs[0].name,
                         dtype_name(first.type));
    else if (strcmp(kind, "top5") == 0)
        code = show_top(r, o, &first, run, err);
    else if (strcmp(kind, "boxes") == 0)
        code = show_boxes(r, o, in, &first, run, err);
    else if (strcmp(kind, "image") == 0)
        code = save_image(&first, o->output, err);
    else if (strcmp(kind, "npy") == 0)
        code = save_arrays(outputs, count, o->output, err);
    else if (strcmp(kind, "json") == 0)
        add_values(outputs, count, run);
    for (int i = 0; code == COHORT_OK && i < count; i++)
        if (!show_summary(&outputs[i], o->json || strcmp(kind, "summary") != 0, run))
            code = error_memory(err, 64, "results");
out:
    return code;
}

/* "latency_ms": what --repeat measured. */
static cJSON *latency(double *ms, int n) {
    cJSON *o = cJSON_CreateObject(), *each = cJSON_AddArrayToObject(o, "each");
    for (int i = 0; i < n; i++)
        json_append(each, cJSON_CreateNumber(ms[i]));
    struct cli_stats s = cli_statistics(ms, n); /* sorts them */
    cJSON_AddNumberToObject(o, "median", s.median);
    cJSON_AddNumberToObject(o, "p95", s.p95);
    cJSON_AddNumberToObject(o, "min", s.min);
    cJSON_AddNumberToObject(o, "runs", n);
    return o;
}

static enum cohort_code print_document(struct results *r, const struct result_options *o,
                                       double *ms, int ms_count, const char *report,
                                       struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    cJSON *root = cJSON_CreateObject(), *parsed = NULL;
    char *text = NULL;
    size_t bytes = 0;
    TRY(json_parse(&parsed, report, strlen(report), "report", err));
    cJSON_AddStringToObject(root, "format", "cohort-run");
    cJSON_AddNumberToObject(root, "version", 1);
    json_put(root, "runs", r->runs);
    r->runs = NULL;
    json_put(root, "latency_ms", latency(ms, ms_count));
    json_put(root, "report", parsed);
    parsed = NULL;
    TRY(json_print(&text, &bytes, root, err));
    if (o->output != NULL && (o->as == NULL || is_kind(o, "json")))
        code = file_replace(o->output, text, bytes, err);
    else
        fputs(text, stdout);
out:
    mem_free(text);
    cJSON_Delete(parsed);
    cJSON_Delete(root);
    return code;
}

enum cohort_code results_finish(struct results *r, const struct result_options *o, double *ms,
                                int ms_count, const char *report, bool table,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (o->json || (o->as != NULL && strcmp(o->as, "json") == 0))
        return print_document(r, o, ms, ms_count, report, err);
    if (table)
        TRY(cli_print_report(stdout, report, err));
    struct cli_stats s = cli_statistics(ms, ms_count);
    if (ms_count > 1)
        printf("latency: median %.2f ms, p95 %.2f ms, min %.2f ms over %d runs\n", s.median, s.p95,
               s.min, ms_count);
    else
        printf("latency: %.2f ms\n", s.median);
out:
    return code;
}

void results_release(struct results *r) {
    cJSON_Delete(r->runs);
    labels_release(&r->labels);
    r->runs = NULL;
}
