/* See resize_table.h.  Formulas: ONNX's page of Resize (opset 19); weights of the cubic kernel:
 * R. Keys, "Cubic convolution interpolation for digital image processing", 1981. */
#include "graph/ops/resize_table.h"

#include "base/mem.h"

#include <math.h>

float resize_source(const struct resize_rule *rule, const struct resize_axis *a, int64_t x) {
    float at = (float)x, in = (float)a->in, out = (float)a->out;
    switch (rule->coordinate) {
    case RESIZE_HALF_PIXEL:
        return (at + 0.5f) / a->scale - 0.5f;
    case RESIZE_HALF_PIXEL_SYMMETRIC: { /* the sum in double: the centre meets the centre */
        float offset = in / 2 * (1 - out / (a->scale * in));
        return (float)((double)offset + ((double)at + 0.5) / (double)a->scale - 0.5);
    }
    case RESIZE_PYTORCH_HALF_PIXEL:
        return a->out > 1 ? (at + 0.5f) / a->scale - 0.5f : 0;
    case RESIZE_ALIGN_CORNERS:
        return a->width == 1 ? 0 : at * (in - 1) / (a->width - 1);
    case RESIZE_ASYMMETRIC:
        return at / a->scale;
    case RESIZE_TF_HALF_PIXEL_FOR_NN:
        return (at + 0.5f) / a->scale;
    case RESIZE_TF_CROP_AND_RESIZE:
        return a->out > 1 ? a->start * (in - 1) + at * (a->end - a->start) * (in - 1) / (out - 1)
                          : 0.5f * (a->start + a->end) * (in - 1);
    }
    return at;
}

static double slope_of(const struct resize_rule *rule, const struct resize_axis *a) {
    double in = (double)a->in, out = (double)a->out;
    switch (rule->coordinate) {
    case RESIZE_ALIGN_CORNERS:
        return a->out > 1 ? (in - 1) / ((double)a->width - 1) : 0;
    case RESIZE_TF_CROP_AND_RESIZE:
        return a->out > 1 ? ((double)a->end - (double)a->start) * (in - 1) / (out - 1) : 0;
    default:
        break;
    }
    /* A scale that is just out/in, rounded to float, means the exact ratio. */
    return a->scale == (float)(out / in) ? in / out : 1 / (double)a->scale;
}

/* Half-way but for the rounding of a scale like 1.2: the mode's name says where it goes, and not
 * the last bit of a quotient.  (Measured: ONNX Runtime 1.30 decides the same.) */
static float snap_to_half(float x) {
    float half = floorf(x) + 0.5f;
    return fabsf(x - half) <= 1e-6f ? half : x;
}

static float nearest(const struct resize_rule *rule, const struct resize_axis *a, float x) {
    switch (rule->nearest) {
    case RESIZE_ROUND_PREFER_FLOOR:
        return ceilf(snap_to_half(x) - 0.5f);
    case RESIZE_ROUND_PREFER_CEIL:
        return roundf(snap_to_half(x));
    case RESIZE_FLOOR:
        return floorf(x);
    case RESIZE_CEIL:
        return ceilf(x);
    case RESIZE_SIMPLE:
        return a->scale < 1 ? ceilf(x) : floorf(x);
    }
    return x;
}

static double cubic(double a, double d) { /* Keys' kernel at distance d */
    d = fabs(d);
    if (d <= 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* How far the kernel is stretched: 1, or less when reducing with antialiasing. */
static double stretch_of(const struct resize_rule *rule, const struct resize_axis *a) {
    return rule->antialias && rule->mode != RESIZE_NEAREST && a->scale < 1 ? (double)a->scale : 1;
}

/* Taps before and including floor(x): the kernel's radius, stretched. */
static int64_t reach_of(const struct resize_rule *rule, const struct resize_axis *a) {
    if (rule->mode == RESIZE_NEAREST)
        return 1;
    double radius = rule->mode == RESIZE_LINEAR ? 1 : 2;
    return (int64_t)ceil(radius / stretch_of(rule, a));
}

static int64_t clamped(int64_t i, int64_t size) {
    return i < 0 ? 0 : i >= size ? size - 1 : i;
}

/* Weights of the `taps` positions from floor(x) - reach + 1 on. */
static void interpolate(const struct resize_rule *rule, const struct resize_axis *a, double x,
                        int64_t reach, int64_t *index, float *weight) {
    double base = floor(x), ratio = x - base, stretch = stretch_of(rule, a), sum = 0;
    int64_t first = (int64_t)base - reach + 1, taps = 2 * reach;
    for (int pass = 0; pass < 2; pass++) /* sum up, then divide by the sum */
        for (int64_t t = 0; t < taps; t++) {
            double d = ((double)(t - reach + 1) - ratio) * stretch;
            double w =
                rule->mode == RESIZE_CUBIC ? cubic((double)rule->cubic_a, d) : fmax(0, 1 - fabs(d));
            if (rule->exclude_outside && (first + t < 0 || first + t >= a->in))
                w = 0;
            if (pass == 0)
                sum += w;
            index[t] = clamped(first + t, a->in);
            weight[t] = (float)(sum != 0 ? w / sum : t == reach - 1);
        }
}

static void fill(struct resize_table *t, const struct resize_rule *rule,
                 const struct resize_axis *a, int64_t reach) {
    for (int64_t o = 0; o < t->out; o++) {
        int64_t *index = t->index + o * t->taps;
        float *weight = t->weight + o * t->taps, x = resize_source(rule, a, o);
        if (rule->coordinate == RESIZE_TF_CROP_AND_RESIZE && !(x >= 0 && x <= (float)(a->in - 1))) {
            for (int k = 0; k < t->taps; k++) {
                index[k] = -1;
                weight[k] = 0;
            }
            continue;
        }
        /* Far outside all is the edge; and no conversion to an integer can overflow. */
        float far = (float)(a->in + 4 * reach);
        x = x < -far ? -far : x > far ? far : x;
        if (rule->mode == RESIZE_NEAREST) {
            index[0] = clamped((int64_t)nearest(rule, a, x), a->in);
            weight[0] = 1;
        } else {
            interpolate(rule, a, (double)x, reach, index, weight);
        }
    }
}

enum cohort_code resize_table_create(struct resize_table *t, const struct resize_rule *rule,
                                     const struct resize_axis *a, struct cohort_error *err) {
    int64_t reach = reach_of(rule, a);
    *t = (struct resize_table){.in = a->in, .out = a->out, .slope = 1};
    bool crops = rule->coordinate == RESIZE_TF_CROP_AND_RESIZE;
    if (a->out == 0 || (a->in == a->out && a->scale == 1 && !crops))
        return COHORT_OK;
    if (reach > INT32_MAX / 4)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "antialiasing with a scale of %g",
                         (double)a->scale);
    t->taps = rule->mode == RESIZE_NEAREST ? 1 : (int)(2 * reach);
    t->slope = slope_of(rule, a);
    t->index = mem_zalloc((size_t)a->out * (size_t)t->taps, sizeof *t->index);
    t->weight = mem_zalloc((size_t)a->out * (size_t)t->taps, sizeof *t->weight);
    if (t->index == NULL || t->weight == NULL) {
        resize_table_release(t);
        return error_memory(err, (unsigned long long)a->out * 12, "a resize table");
    }
    fill(t, rule, a, reach);
    return COHORT_OK;
}

void resize_table_release(struct resize_table *t) {
    mem_free(t->index);
    mem_free(t->weight);
    *t = (struct resize_table){0};
}
