/* Inputs of a network from files. */
#include "cli/inputs.h"

#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"

#include <stdlib.h>
#include <string.h>

void input_set_release(struct input_set *s) {
    for (int i = 0; s->owned != NULL && i < s->count; i++)
        tensor_release(&s->owned[i]);
    mem_free(s->owned);
    mem_free(s->tensors);
    mem_free(s->source);
    image_release(&s->image);
    *s = (struct input_set){0};
}

void inputs_release(struct input_set **sets, int count) {
    for (int i = 0; *sets != NULL && i < count; i++)
        input_set_release(&(*sets)[i]);
    mem_free(*sets);
    *sets = NULL;
}

/* ---- preprocessing options --------------------------------------------------------------- */

/* "a" or "a,b,c" into three numbers. */
static enum cohort_code three_numbers(const char *option, const char *text, float out[3],
                                      struct cohort_error *err) {
    char *end;
    int n = 0;
    for (const char *p = text; n < 3; p = end + 1) {
        out[n] = strtof(p, &end);
        if (end == p)
            break;
        n++;
        if (*end != ',')
            break;
    }
    if (n == 1 && *end == '\0')
        out[1] = out[2] = out[0];
    else if (n != 3 || *end != '\0')
        return error_set(err, COHORT_ERR_USAGE,
                         "--%s %s: expected one number or three, as in 0.5 or 0.4,0.5,0.6", option,
                         text);
    return COHORT_OK;
}

static enum cohort_code preprocessing(struct preprocess *p, const struct input_options *o,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const char *preset = o->preset != NULL ? o->preset : "imagenet";
    if (!preprocess_preset(p, preset)) {
        int n;
        const char *const *names = preprocess_presets(&n);
        const char *close = closest_name(preset, names, (size_t)n);
        return error_set(err, COHORT_ERR_USAGE,
                         "--preset %s: expected imagenet, yolo, yolox, caffe, tensorflow, "
                         "ppocr-det, ppocr-rec or raw%s%s%s",
                         preset, close != NULL ? " (did you mean " : "", close != NULL ? close : "",
                         close != NULL ? "?)" : "");
    }
    if (o->mean != NULL)
        TRY(three_numbers("mean", o->mean, p->mean, err));
    if (o->std != NULL)
        TRY(three_numbers("std", o->std, p->std, err));
    if (o->scale != NULL) {
        char *end;
        p->scale = strtof(o->scale, &end);
        if (end == o->scale || (*end != '\0' && *end != '/'))
            return error_set(err, COHORT_ERR_USAGE,
                             "--scale %s: expected a number such as 0.00392 or 1/255", o->scale);
        if (*end == '/') {
            float divisor = strtof(end + 1, &end);
            if (divisor == 0 || *end != '\0')
                return error_set(err, COHORT_ERR_USAGE,
                                 "--scale %s: expected a number such as 0.00392 or 1/255",
                                 o->scale);
            p->scale /= divisor;
        }
    }
    if (o->layout != NULL && strcmp(o->layout, "nchw") != 0 && strcmp(o->layout, "nhwc") != 0)
        return error_set(err, COHORT_ERR_USAGE, "--layout %s: expected nchw or nhwc", o->layout);
    if (o->layout != NULL && strcmp(o->layout, "nchw") != 0 && strcmp(o->layout, "nhwc") != 0)
        return error_set(err, COHORT_ERR_USAGE, "--layout %s: expected nchw or nhwc", o->layout);
    if (o->bgr)
        p->bgr = true;
    if (o->resize != NULL) {
        char *end;
        long side = strtol(o->resize, &end, 10);
        if (strcmp(o->resize, "stretch") == 0) {
            p->fit = FIT_STRETCH;
        } else if (strcmp(o->resize, "crop") == 0) {
            p->fit = FIT_CROP;
        } else if (strcmp(o->resize, "letterbox") == 0) {
            p->fit = FIT_LETTERBOX;
        } else if (end != o->resize && *end == '\0' && side > 0 && side < 65536) {
            p->fit = FIT_CROP;
            p->resize_short = (int)side;
        } else {
            return error_set(
                err, COHORT_ERR_USAGE,
                "--resize %s: expected stretch, crop, letterbox, or the short side in pixels",
                o->resize);
        }
    }
out:
    return code;
}

/* ---- one file -------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcasecmp(text + n - k, end) == 0;
}

/* Is the picture's input [N,H,W,C] (channels last)? */
static bool channels_last(const struct cohort_tensor *in, const struct input_options *o) {
    if (o->layout != NULL)
        return strcmp(o->layout, "nhwc") == 0;
    return in->rank == 4 && (in->dims[3] == 3 || in->dims[3] == 1) && in->dims[1] != 3 &&
           in->dims[1] != 1;
}

static enum cohort_code load_picture(struct input_set *s, int i, const struct cohort_tensor *in,
                                     const char *path, const struct input_options *o,
                                     struct cohort_error *err) {
    struct preprocess p;
    enum cohort_code code = COHORT_OK;
    TRY(preprocessing(&p, o, err));
    p.nhwc = channels_last(in, o);
    int64_t channels = in->rank == 4 ? in->dims[p.nhwc ? 3 : 1] : 0;
    if (in->rank != 4 || in->dims[0] != 1 || (channels != 1 && channels != 3))
        return error_set(
            err, COHORT_ERR_SHAPE,
            "%s: a picture does not fit input '%s', which is no 1x3xHxW, 1x1xHxW or 1xHxWx3", path,
            in->name);
    s->height = (int)in->dims[p.nhwc ? 1 : 2];
    s->width = (int)in->dims[p.nhwc ? 2 : 3];
    image_release(&s->image);
    TRY(image_load(&s->image, path, err));
    TRY(preprocess_image(&s->owned[i], &s->where, &s->image, &p, (int)channels, s->height, s->width,
                         err));
out:
    return code;
}

/* Float input given as other numbers: converted, since .npy files are often float64. */
static enum cohort_code convert(struct tensor *t, enum dtype type, struct cohort_error *err) {
    struct tensor fresh;
    if (t->type == type || !dtype_is_float(type) || !dtype_is_float(t->type))
        return COHORT_OK;
    enum cohort_code code = tensor_init(&fresh, type, &t->shape, err);
    if (code != COHORT_OK)
        return code;
    int64_t n = shape_count(&t->shape);
    for (int64_t k = 0; k < n; k++)
        tensor_set_f64(&fresh, k, tensor_get_f64(t, k));
    tensor_release(t);
    *t = fresh;
    return COHORT_OK;
}

static enum cohort_code load_one(struct input_set *s, int i, const struct cohort_tensor *in,
                                 const char *path, const struct input_options *o,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *name = NULL;
    if (ends_with(path, ".npy"))
        TRY(npy_load(&s->owned[i], path, err));
    else if (ends_with(path, ".pb"))
        TRY(onnx_load_tensor(&s->owned[i], &name, path, err));
    else
        TRY(load_picture(s, i, in, path, o, err));
    TRY(convert(&s->owned[i], (enum dtype)in->type, err));
    if (s->source == NULL && (s->source = mem_strdup(path)) == NULL)
        code = error_memory(err, strlen(path), "a file name");
out:
    mem_free(name);
    return code;
}

/* Seeded numbers, the same on every board. */
static enum cohort_code make_up(struct tensor *t, const struct cohort_tensor *in,
                                struct cohort_error *err) {
    struct shape shape = shape_of(in->rank, in->dims);
    uint64_t state = 0x9e3779b97f4a7c15u;
    enum cohort_code code = tensor_init(t, (enum dtype)in->type, &shape, err);
    for (int64_t i = 0; code == COHORT_OK && dtype_is_float(t->type) && i < shape_count(&shape);
         i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tensor_set_f64(t, i, (double)(state >> 40) * 0x1p-23 - 1.0);
    }
    return code;
}

static enum cohort_code set_init(struct input_set *s, int count, struct cohort_error *err) {
    *s = (struct input_set){.count = count};
    s->tensors = mem_zalloc((size_t)count + 1, sizeof *s->tensors);
    s->owned = mem_zalloc((size_t)count + 1, sizeof *s->owned);
    return s->tensors != NULL && s->owned != NULL ? COHORT_OK : error_memory(err, 64, "inputs");
}

/* Points the public tensors at the owned ones. */
static void set_finish(struct input_set *s, const struct cohort_model *m) {
    for (int i = 0; i < s->count; i++) {
        s->tensors[i] = (struct cohort_tensor){.name = cohort_input(m, i).name,
                                               .type = (enum cohort_type)s->owned[i].type,
                                               .rank = s->owned[i].shape.rank,
                                               .data = s->owned[i].data};
        for (int k = 0; k < s->owned[i].shape.rank; k++)
            s->tensors[i].dims[k] = s->owned[i].shape.dim[k];
    }
}

/* ---- all files ------------------------------------------------------------------------------- */

/* Splits "NAME=FILE" when NAME is an input of the network. */
static int input_of(const struct cohort_model *m, const char *text, const char **path) {
    for (int i = 0; i < cohort_input_count(m); i++) {
        const char *name = cohort_input(m, i).name;
        size_t n = strlen(name);
        if (strncmp(text, name, n) == 0 && text[n] == '=') {
            *path = text + n + 1;
            return i;
        }
    }
    *path = text;
    return -1;
}

/* Several inputs: one file for each, by name. */
static enum cohort_code load_by_name(struct input_set *s, const struct cohort_model *m,
                                     const struct option_list *texts, const struct input_options *o,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int k = 0; k < texts->count; k++) {
        const char *path;
        int i = input_of(m, texts->items[k], &path);
        if (i < 0)
            return error_set(
                err, COHORT_ERR_USAGE,
                "--input %s: the network has %d inputs, so say which: NAME=FILE ('%s', …)",
                texts->items[k], s->count, cohort_input(m, 0).name);
        if (s->owned[i].data != NULL)
            return error_set(err, COHORT_ERR_USAGE, "--input %s: given twice", texts->items[k]);
        struct cohort_tensor in = cohort_input(m, i);
        TRY(load_one(s, i, &in, path, o, err));
    }
    for (int i = 0; i < s->count; i++)
        if (s->owned[i].data == NULL)
            return error_set(err, COHORT_ERR_USAGE, "input '%s' is missing: --input %s=FILE",
                             cohort_input(m, i).name, cohort_input(m, i).name);
out:
    return code;
}

/* A batch of n images for a network of batch 1: n sets that share its memory. */
static int batch_of(const struct input_set *s, const struct cohort_tensor *in) {
    const struct shape *have = &s->owned[0].shape;
    if (have->rank != in->rank || in->rank < 1 || in->dims[0] != 1 || have->dim[0] < 2)
        return 1;
    for (int k = 1; k < in->rank; k++)
        if (have->dim[k] != in->dims[k])
            return 1;
    return (int)have->dim[0];
}

static enum cohort_code append_set(struct input_set **sets, size_t *capacity, int *count,
                                   struct input_set *s, struct cohort_error *err) {
    if (!MEM_GROW(*sets, *capacity, (size_t)*count)) {
        input_set_release(s);
        return error_memory(err, sizeof *s, "inputs");
    }
    (*sets)[(*count)++] = *s;
    *s = (struct input_set){0};
    return COHORT_OK;
}

/* Cuts image k out of a batch. */
static enum cohort_code cut_image(struct input_set *out, const struct input_set *batch, int k,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(set_init(out, 1, err));
    struct tensor part = batch->owned[0];
    part.shape.dim[0] = 1;
    part.data = (char *)part.data + (size_t)k * tensor_bytes(&part);
    TRY(tensor_copy(&out->owned[0], &part, err));
    out->source = mem_printf("%s[%d]", batch->source, k);
    if (out->source == NULL)
        code = error_memory(err, 64, "a name");
out:
    return code;
}

enum cohort_code inputs_load(struct input_set **sets, int *count, const struct cohort_model *m,
                             const struct option_list *texts, const struct input_options *o,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct input_set s = {0};
    size_t capacity = 0;
    int n = cohort_input_count(m);
    struct preprocess checked;
    *sets = NULL;
    *count = 0;
    TRY(preprocessing(&checked, o, err));
    if (texts->count == 0 || n != 1) {
        TRY(set_init(&s, n, err));
        if (texts->count > 0)
            TRY(load_by_name(&s, m, texts, o, err));
        for (int i = 0; texts->count == 0 && i < n; i++) {
            struct cohort_tensor in = cohort_input(m, i);
            TRY(make_up(&s.owned[i], &in, err));
        }
        set_finish(&s, m);
        TRY(append_set(sets, &capacity, count, &s, err));
    }
    for (int k = 0; k < texts->count && n == 1; k++) {
        const char *path;
        struct cohort_tensor in = cohort_input(m, 0);
        input_of(m, texts->items[k], &path);
        TRY(set_init(&s, 1, err));
        TRY(load_one(&s, 0, &in, path, o, err));
        int batch = batch_of(&s, &in);
        for (int b = 0; b < batch && batch > 1; b++) {
            struct input_set one = {0};
            if ((code = cut_image(&one, &s, b, err)) != COHORT_OK) {
                input_set_release(&one);
                goto out;
            }
            set_finish(&one, m);
            TRY(append_set(sets, &capacity, count, &one, err));
        }
        if (batch > 1) {
            input_set_release(&s);
            continue;
        }
        set_finish(&s, m);
        TRY(append_set(sets, &capacity, count, &s, err));
    }
out:
    input_set_release(&s);
    if (code != COHORT_OK)
        inputs_release(sets, *count);
    return code;
}
