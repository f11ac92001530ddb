/* From an image to a network's input: fitting it in, and turning bytes into numbers. */
#include "media/media.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* ---- presets -------------------------------------------------------------------------------- */

#define ONE_255TH (1.0F / 255)

/* The preparations that networks were trained with, by their usual names. */
static const struct {
    const char *name;
    struct preprocess p;
} presets[] = {
    /* torchvision's ImageNet classifiers */
    {"imagenet",
     {.fit = FIT_CROP,
      .resize_short = -1,
      .scale = ONE_255TH,
      .mean = {0.485F, 0.456F, 0.406F},
      .std = {0.229F, 0.224F, 0.225F}}},
    /* YOLO v2 to v8 */
    {"yolo",
     {.fit = FIT_LETTERBOX, .centre = true, .fill = 114, .scale = ONE_255TH, .std = {1, 1, 1}}},
    {"raw", {.fit = FIT_STRETCH, .scale = 1, .std = {1, 1, 1}}},
    /* YOLOX: top left, blue first, 0 to 255 */
    {"yolox", {.fit = FIT_LETTERBOX, .fill = 114, .bgr = true, .scale = 1, .std = {1, 1, 1}}},
    /* Caffe's ImageNet classifiers: blue first, minus the mean picture's colour */
    {"caffe",
     {.fit = FIT_CROP,
      .resize_short = -1,
      .bgr = true,
      .scale = 1,
      .mean = {104, 117, 123},
      .std = {1, 1, 1}}},
    /* TensorFlow's and Keras' MobileNets and Inceptions: -1 to 1 */
    {"tensorflow",
     {.fit = FIT_CROP,
      .resize_short = -1,
      .scale = 1 / 127.5F,
      .mean = {1, 1, 1},
      .std = {1, 1, 1}}},
    /* PP-OCR's detector: ImageNet's figures on blue first; its recogniser: -1 to 1, filled with 0
       on the right */
    {"ppocr-det",
     {.fit = FIT_STRETCH,
      .bgr = true,
      .scale = ONE_255TH,
      .mean = {0.485F, 0.456F, 0.406F},
      .std = {0.229F, 0.224F, 0.225F}}},
    {"ppocr-rec",
     {.fit = FIT_LETTERBOX,
      .fill = 127.5F,
      .bgr = true,
      .scale = 1 / 127.5F,
      .mean = {1, 1, 1},
      .std = {1, 1, 1}}},
};
#define PRESETS (sizeof presets / sizeof *presets)

bool preprocess_preset(struct preprocess *p, const char *name) {
    for (size_t i = 0; i < PRESETS; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            *p = presets[i].p;
            return true;
        }
    }
    return false;
}

const char *const *preprocess_presets(int *count) {
    static const char *const names[PRESETS] = {"imagenet", "yolo",       "raw",       "yolox",
                                               "caffe",    "tensorflow", "ppocr-det", "ppocr-rec"};
    *count = (int)PRESETS;
    return names;
}

/* ---- fitting -------------------------------------------------------------------------------- */

static int at_least_one(double v) {
    return v < 1 ? 1 : (int)v;
}

/* Scales the image so that it covers the input, with a margin when resize_short asks for one, and
 * cuts out the middle. */
static enum cohort_code fit_crop(struct image *out, struct placement *where, const struct image *im,
                                 const struct preprocess *p, int height, int width,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct image big = {0};
    double input_short = width < height ? width : height, cover, larger = 1;
    cover = fmax((double)width / im->width, (double)height / im->height);
    if (p->resize_short < 0)
        larger = 8.0 / 7;
    else if (p->resize_short > input_short)
        larger = p->resize_short / input_short;
    /* cut to whole pixels, as torchvision does, but never below the crop; the margin of error is
     * for products like 341*0.75 that fall just short */
    int w = at_least_one(im->width * cover * larger + 1e-6),
        h = at_least_one(im->height * cover * larger + 1e-6);
    w = w < width ? width : w;
    h = h < height ? height : h;
    int x = (w - width) / 2, y = (h - height) / 2;
    TRY(image_resize(&big, im, w, h, err));
    TRY(image_crop(out, &big, x, y, width, height, err));
    *where = (struct placement){.scale_x = (float)w / (float)im->width,
                                .scale_y = (float)h / (float)im->height,
                                .offset_x = (float)-x,
                                .offset_y = (float)-y};
out:
    image_release(&big);
    return code;
}

/* Only scales; the fill is left to the conversion, since it need not be a whole number.  Sizes are
 * cut as YOLOX does it at the top left and rounded as YOLOv5 does it in the middle, and like both
 * the placement says the scale that was meant, not what whole pixels made of it. */
static enum cohort_code fit_letterbox(struct image *out, struct placement *where,
                                      const struct image *im, const struct preprocess *p,
                                      int height, int width, struct cohort_error *err) {
    double scale = fmin((double)width / im->width, (double)height / im->height);
    /* YOLO rounds; YOLOX cuts off, even 415.99999999999994 for a picture 773 wide */
    double round_up = p->centre ? 0.5 : 0;
    int w = at_least_one(im->width * scale + round_up);
    int h = at_least_one(im->height * scale + round_up);
    w = w > width ? width : w;
    h = h > height ? height : h;
    enum cohort_code code = image_resize(out, im, w, h, err);
    if (code == COHORT_OK)
        *where = (struct placement){.scale_x = (float)scale,
                                    .scale_y = (float)scale,
                                    .offset_x = p->centre ? (float)((width - w) / 2) : 0,
                                    .offset_y = p->centre ? (float)((height - h) / 2) : 0};
    return code;
}

static enum cohort_code fit(struct image *out, struct placement *where, const struct image *im,
                            const struct preprocess *p, int height, int width,
                            struct cohort_error *err) {
    if (p->fit == FIT_CROP)
        return fit_crop(out, where, im, p, height, width, err);
    if (p->fit == FIT_LETTERBOX)
        return fit_letterbox(out, where, im, p, height, width, err);
    *where = (struct placement){.scale_x = (float)width / (float)im->width,
                                .scale_y = (float)height / (float)im->height};
    return image_resize(out, im, width, height, err);
}

/* ---- numbers -------------------------------------------------------------------------------- */

struct pixel_scale preprocess_scale(const struct preprocess *p) {
    struct pixel_scale s = {.scale = p->scale};
    memcpy(s.mean, p->mean, sizeof p->mean);
    memcpy(s.std, p->std, sizeof p->std);
    return s;
}

static int between(int v, int low, int high) {
    return v < low ? low : v > high ? high : v;
}

/* What of the input the fitted image covers; the rest is filled. */
struct frame {
    int x0, x1, y0, y1;
};

static struct frame frame_of(const struct image *fitted, const struct placement *where,
                             const struct preprocess *p, int height, int width) {
    int left = p->fit == FIT_LETTERBOX ? (int)where->offset_x : 0;
    int top = p->fit == FIT_LETTERBOX ? (int)where->offset_y : 0;
    struct frame f = {.x0 = between(left, 0, width), .y0 = between(top, 0, height)};
    f.x1 = between(left + fitted->width, f.x0, width);
    f.y1 = between(top + fitted->height, f.y0, height);
    return f;
}

static bool covers(const struct frame *f, int height, int width) {
    return f->x0 == 0 && f->y0 == 0 && f->x1 == width && f->y1 == height;
}

/* Grey of whole levels: 0.299 R + 0.587 G + 0.114 B in 16 bits behind the point. */
static uint8_t grey(const uint8_t *rgb) {
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}

/* A row of the fitted image as the input's channels. */
static void copy_row(uint8_t *out, const uint8_t *rgb, int pixels, bool bgr, int channels) {
    for (int x = 0; x < pixels; x++, rgb += 3, out += channels)
        for (int c = 0; c < channels; c++)
            out[c] = channels == 1 ? grey(rgb) : rgb[bgr ? 2 - c : c];
}

/* t: new bytes [1,H,W,C]; what the frame leaves is filled with the nearest whole number. */
static enum cohort_code place(struct tensor *t, struct frame *f, struct placement *where,
                              const struct image *im, const struct preprocess *p, int channels,
                              int height, int width, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct image fitted = {0};
    if (channels != 1 && channels != 3)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an image cannot be the input of %d channels; 1 or 3 are possible",
                         channels);
    if (height < 1 || width < 1)
        return error_set(err, COHORT_ERR_SHAPE, "an image cannot be an input of %dx%d", height,
                         width);
    TRY(fit(&fitted, where, im, p, height, width, err));
    struct shape shape = shape_of(4, (int64_t[]){1, height, width, channels});
    TRY(tensor_init(t, DT_U8, &shape, err));
    *f = frame_of(&fitted, where, p, height, width);
    const size_t row = (size_t)width * (size_t)channels;
    uint8_t *bytes = t->data;
    if (!covers(f, height, width))
        memset(bytes, (int)fminf(fmaxf(roundf(p->fill), 0), 255), (size_t)height * row);
    for (int y = f->y0; y < f->y1; y++)
        copy_row(bytes + (size_t)y * row + (size_t)f->x0 * (size_t)channels,
                 fitted.pixels + (size_t)(y - f->y0) * (size_t)fitted.width * 3, f->x1 - f->x0,
                 p->bgr, channels);
out:
    image_release(&fitted);
    return code;
}

enum cohort_code preprocess_pixels(struct tensor *t, bool *exact, struct placement *where,
                                   const struct image *im, const struct preprocess *p, int channels,
                                   int height, int width, struct cohort_error *err) {
    struct placement placed = {0};
    struct frame f;
    enum cohort_code code = place(t, &f, &placed, im, p, channels, height, width, err);
    if (code != COHORT_OK)
        return code;
    *exact =
        covers(&f, height, width) || (p->fill == floorf(p->fill) && p->fill >= 0 && p->fill <= 255);
    if (where != NULL)
        *where = placed;
    return code;
}

enum cohort_code pixels_to_numbers(struct tensor *t, const struct tensor *pixels,
                                   const struct pixel_scale *scale, bool channels_last,
                                   struct cohort_error *err) {
    const int64_t *d = pixels->shape.dim;
    struct shape shape =
        channels_last ? pixels->shape : shape_of(4, (const int64_t[]){d[0], d[3], d[1], d[2]});
    float table[PIXEL_CHANNELS * PIXEL_VALUES];
    BUG_UNLESS(pixels->type == DT_U8 && pixels->shape.rank == 4 && d[3] <= PIXEL_CHANNELS);
    enum cohort_code code = tensor_init(t, DT_F32, &shape, err);
    if (code != COHORT_OK)
        return code;
    pixel_table(scale, (int)d[3], table);
    const size_t plane = (size_t)(d[1] * d[2]), channels = (size_t)d[3];
    const uint8_t *in = pixels->data;
    float *out = t->data;
    for (int64_t n = 0; n < d[0]; n++, out += plane * channels)
        for (size_t i = 0; i < plane; i++)
            for (size_t c = 0; c < channels; c++)
                out[channels_last ? i * channels + c : c * plane + i] =
                    table[c * PIXEL_VALUES + *in++];
    return code;
}

/* Numbers that no byte stands for: the fill's. */
static void fill_outside(struct tensor *t, const struct frame *f, const struct preprocess *p,
                         int channels, int height, int width) {
    const struct pixel_scale scale = preprocess_scale(p);
    const size_t plane = (size_t)height * (size_t)width;
    float *out = t->data;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                size_t i = (size_t)y * (size_t)width + (size_t)x;
                if (y < f->y0 || y >= f->y1 || x < f->x0 || x >= f->x1)
                    out[p->nhwc ? i * (size_t)channels + (size_t)c : (size_t)c * plane + i] =
                        pixel_number(&scale, p->fill, c);
            }
}

enum cohort_code preprocess_image(struct tensor *t, struct placement *where, const struct image *im,
                                  const struct preprocess *p, int channels, int height, int width,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tensor pixels = {0}, made = {0};
    struct placement placed = {0};
    struct frame f;
    const struct pixel_scale scale = preprocess_scale(p);
    TRY(place(&pixels, &f, &placed, im, p, channels, height, width, err));
    TRY(pixels_to_numbers(&made, &pixels, &scale, p->nhwc, err));
    if (!covers(&f, height, width))
        fill_outside(&made, &f, p, channels, height, width);
    *t = made;
    if (where != NULL)
        *where = placed;
out:
    tensor_release(&pixels);
    return code;
}

/* ---- and back ------------------------------------------------------------------------------- */

/* Where the tensor's height, width and channels are; false when it is no picture. */
static bool picture_layout(const struct shape *s, int64_t *height, int64_t *width,
                           int64_t *channels, bool *last) {
    const int64_t *d = s->dim;
    int rank = s->rank;
    for (; rank > 3 && d[0] == 1; rank--)
        d++;
    *last = rank == 3 && d[0] != 1 && d[0] != 3;
    if (rank == 2) {
        *channels = 1;
        *height = d[0];
        *width = d[1];
    } else if (rank == 3) {
        *channels = *last ? d[2] : d[0];
        *height = *last ? d[0] : d[1];
        *width = *last ? d[1] : d[2];
    }
    return (rank == 2 || rank == 3) && (*channels == 1 || *channels == 3) && *height > 0 &&
           *width > 0 && *height <= INT32_MAX && *width <= INT32_MAX;
}

/* value*gain + offset is on the 0..255 scale. */
static void picture_range(const float *v, size_t count, float *gain, float *offset) {
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        low = v[i] < low ? v[i] : low;
        high = v[i] > high ? v[i] : high;
    }
    const float slack = 0.05F; /* a network that was trained on 0..1 steps a little over it */
    *offset = 0;
    if (low >= -slack && high <= 1 + slack) {
        *gain = 255;
    } else if (low >= -slack * 255 && high <= (1 + slack) * 255) {
        *gain = 1;
    } else {
        *gain = isfinite(high - low) && high > low ? 255 / (high - low) : 0;
        *offset = -low * *gain;
    }
}

enum cohort_code image_from_tensor(struct image *im, const struct tensor *t,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct image made = {0};
    float *values = NULL, gain, offset;
    int64_t height = 0, width = 0, channels = 0;
    bool last;
    char text[SHAPE_TEXT_BYTES];
    if (!t->data || !shape_known(&t->shape) ||
        !picture_layout(&t->shape, &height, &width, &channels, &last))
        return error_set(err, COHORT_ERR_SHAPE,
                         "an output of shape %s is not a picture of 1 or 3 channels",
                         shape_text(&t->shape, text, sizeof text));
    TRY(image_init(&made, (int)width, (int)height, err));
    size_t plane = (size_t)(height * width), count = plane * (size_t)channels;
    values = mem_zalloc(count, sizeof *values);
    if (!values) {
        code = error_memory(err, count * sizeof *values, "a picture");
        goto out;
    }
    tensor_load_f32(t, 0, (int64_t)count, values);
    picture_range(values, count, &gain, &offset);
    for (size_t i = 0; i < plane; i++) {
        for (size_t c = 0; c < 3; c++) {
            size_t from = channels == 1 ? i : last ? i * 3 + c : c * plane + i;
            float v = values[from] * gain + offset;
            made.pixels[i * 3 + c] = (uint8_t)(v >= 255 ? 255 : v > 0 ? v + 0.5F : 0);
        }
    }
    *im = made;
    made = (struct image){0};
out:
    mem_free(values);
    image_release(&made);
    return code;
}
