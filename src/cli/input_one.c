/* One input from a file, or made up; see input_one.h. */
#include "cli/input_one.h"

#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "runtime/model.h"

#include <stdlib.h>
#include <string.h>

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

enum cohort_code input_preprocessing(struct preprocess *p, const struct input_options *o,
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

static const struct value *input_value(const struct cohort_model *m, int i) {
    const struct graph *g = cohort_model_graph(m);
    return graph_value(g, g->inputs[i]);
}

/* Until all sets are there: input i of this one is bytes (without a name: numbers). */
static void are_pixels(struct input_set *s, int i, const struct cohort_model *m,
                       const struct preprocess *p) {
    struct cohort_pixels *pixels = &s->pixels[i];
    *pixels = (struct cohort_pixels){
        .input = cohort_input(m, i).name, .scale = p->scale, .channels_last = p->nhwc};
    memcpy(pixels->mean, p->mean, sizeof p->mean);
    memcpy(pixels->std, p->std, sizeof p->std);
}

static enum cohort_code load_picture(struct input_set *s, int i, const struct cohort_model *m,
                                     const char *path, const struct input_options *o,
                                     struct cohort_error *err) {
    const struct cohort_tensor given = cohort_input(m, i), *in = &given;
    struct preprocess p;
    enum cohort_code code = COHORT_OK;
    bool exact = false;
    TRY(input_preprocessing(&p, o, err));
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
    if (pixels_fit(input_value(m, i), p.nhwc))
        TRY(preprocess_pixels(&s->owned[i], &exact, &s->where, &s->image, &p, (int)channels,
                              s->height, s->width, err));
    if (exact) {
        are_pixels(s, i, m, &p);
        return COHORT_OK;
    }
    tensor_release(&s->owned[i]);
    TRY(preprocess_image(&s->owned[i], &s->where, &s->image, &p, (int)channels, s->height, s->width,
                         err));
out:
    return code;
}

/* Bytes [n,C,H,W] (or [C,H,W]) as [n,H,W,C]. */
static enum cohort_code interleave(struct tensor *t, int64_t n, const int64_t size[3],
                                   struct cohort_error *err) {
    const int64_t channels = size[0], plane = size[1] * size[2];
    struct tensor fresh;
    struct shape shape = shape_of(4, (const int64_t[]){n, size[1], size[2], channels});
    enum cohort_code code = tensor_init(&fresh, DT_U8, &shape, err);
    if (code != COHORT_OK)
        return code;
    const uint8_t *in = t->data;
    uint8_t *out = fresh.data;
    for (int64_t k = 0; k < n; k++, in += plane * channels, out += plane * channels)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t x = 0; x < plane; x++)
                out[x * channels + c] = in[c * plane + x];
    tensor_release(t);
    *t = fresh;
    return COHORT_OK;
}

/* An array of bytes for a float32 input that takes pictures: its pixels, as many as it has,
 * channels first or last, in the network's order; the preset's numbers are made of them. */
static enum cohort_code take_bytes(struct input_set *s, int i, const struct cohort_model *m,
                                   const char *path, const struct input_options *o,
                                   struct cohort_error *err) {
    const struct cohort_tensor in = cohort_input(m, i);
    struct tensor *t = &s->owned[i];
    char text[SHAPE_TEXT_BYTES], want[SHAPE_TEXT_BYTES];
    struct preprocess p;
    enum cohort_code code = COHORT_OK;
    TRY(input_preprocessing(&p, o, err));
    p.nhwc = channels_last(&in, o);
    const struct value *v = input_value(m, i);
    if (!pixels_fit(v, p.nhwc))
        return COHORT_OK; /* numbers are missed when it runs */
    const int64_t *d = in.dims, rank = t->shape.rank;
    const int64_t *last = t->shape.dim + (rank > 3 ? rank - 3 : 0);
    const int64_t size[3] = {d[p.nhwc ? 3 : 1], d[p.nhwc ? 1 : 2], d[p.nhwc ? 2 : 3]};
    const int64_t n = rank == 4 ? t->shape.dim[0] : 1;
    const bool some = (rank == 3 || rank == 4) && n > 0 && (n == d[0] || d[0] == 1);
    if (some && last[0] == size[1] && last[1] == size[2] && last[2] == size[0]) {
        t->shape = shape_of(4, (const int64_t[]){n, last[0], last[1], last[2]});
    } else if (some && last[0] == size[0] && last[1] == size[1] && last[2] == size[2]) {
        TRY(interleave(t, n, size, err));
    } else {
        const struct shape shape = shape_of(in.rank, in.dims);
        return error_set(err, COHORT_ERR_SHAPE,
                         "%s: %s bytes, but input '%s' is %s: give all its pixels, channels first "
                         "or last, or a JPEG or PNG, which is resized",
                         path, shape_text(&t->shape, text, sizeof text), in.name,
                         shape_text(&shape, want, sizeof want));
    }
    are_pixels(s, i, m, &p);
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

enum cohort_code input_load(struct input_set *s, int i, const struct cohort_model *m,
                            const char *path, const struct input_options *o,
                            struct cohort_error *err) {
    const struct cohort_tensor in = cohort_input(m, i);
    enum cohort_code code = COHORT_OK;
    char *name = NULL;
    if (ends_with(path, ".npy"))
        TRY(npy_load(&s->owned[i], path, err));
    else if (ends_with(path, ".pb"))
        TRY(onnx_load_tensor(&s->owned[i], &name, path, err));
    else
        TRY(load_picture(s, i, m, path, o, err));
    if (s->owned[i].type == DT_U8 && s->pixels[i].input == NULL)
        TRY(take_bytes(s, i, m, path, o, err));
    TRY(convert(&s->owned[i], (enum dtype)in.type, err));
    if (s->source == NULL && (s->source = mem_strdup(path)) == NULL)
        code = error_memory(err, strlen(path), "a file name");
out:
    mem_free(name);
    return code;
}

/* Seeded numbers, the same on every board. */
static enum cohort_code make_up_numbers(struct tensor *t, const struct shape *shape,
                                        enum dtype type, struct cohort_error *err) {
    uint64_t state = 0x9e3779b97f4a7c15u;
    enum cohort_code code = tensor_init(t, type, shape, err);
    for (int64_t i = 0;
         code == COHORT_OK && (dtype_is_float(type) || type == DT_U8) && i < shape_count(shape);
         i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        if (type == DT_U8)
            ((uint8_t *)t->data)[i] = (uint8_t)(state >> 56);
        else
            tensor_set_f64(t, i, (double)(state >> 40) * 0x1p-23 - 1.0);
    }
    return code;
}

#define PICTURE_LEAST 8 /* pixels high and wide */

/* Does a camera's picture fit this input, by its shape? */
static bool looks_like_picture(const struct cohort_tensor *in, const struct value *v, bool last) {
    const int64_t *d = in->dims, channels = in->rank == 4 ? d[last ? 3 : 1] : 0;
    return pixels_fit(v, last) && (channels == 1 || channels == 3) &&
           d[last ? 1 : 2] >= PICTURE_LEAST && d[last ? 2 : 3] >= PICTURE_LEAST;
}

enum cohort_code input_make_up(struct input_set *s, int i, const struct cohort_model *m,
                               const struct input_options *o, struct cohort_error *err) {
    const struct cohort_tensor in = cohort_input(m, i);
    const struct value *v = input_value(m, i);
    struct shape shape = shape_of(in.rank, in.dims);
    struct preprocess p;
    enum cohort_code code = COHORT_OK;
    TRY(input_preprocessing(&p, o, err));
    p.nhwc = channels_last(&in, o);
    if (o->made_up == MADE_UP_NUMBERS || !looks_like_picture(&in, v, p.nhwc))
        return make_up_numbers(&s->owned[i], &shape, (enum dtype)in.type, err);
    shape = pixels_shape(v, p.nhwc);
    TRY(make_up_numbers(&s->owned[i], &shape, DT_U8, err));
    are_pixels(s, i, m, &p);
out:
    return code;
}
