/* Regions of interest: RoiAlign (opset 10) and MaxRoiPool, which make a map of one size from each
 * region of X [N, C, H, W].
 *
 * RoiAlign: rois [R, 4] (x1, y1, x2, y2), batch_indices [R]; each bin is the mean of samples, which
 * are interpolated between four pixels (He et al., Mask R-CNN, 2017), or the largest of them.
 * MaxRoiPool: rois [R, 5] (image, x1, y1, x2, y2), rounded to pixels (Girshick, 2015). */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>
#include <string.h>

#define SAMPLES_MAX 1024 /* along one axis of a bin, when the file says how many */

static enum cohort_code check_map(const struct shape *x, const struct shape *rois, int64_t columns,
                                  struct cohort_error *err) {
    if (x->rank >= 0 && x->rank != 4)
        return error_set(err, COHORT_ERR_SHAPE, "an input of rank %d; 4 is needed", x->rank);
    if (rois->rank >= 0 && (rois->rank != 2 || (rois->dim[1] >= 0 && rois->dim[1] != columns))) {
        char text[SHAPE_TEXT_BYTES];
        return error_set(err, COHORT_ERR_SHAPE, "regions of shape %s; %lld numbers each are needed",
                         shape_text(rois, text, sizeof text), (long long)columns);
    }
    return COHORT_OK;
}

static void roi_out(const struct node *n, const struct tensor *const in[], struct tensor out[],
                    int64_t height, int64_t width) {
    struct shape shape = shape_of(4, (const int64_t[]){-1, -1, height, width});
    if (in[1]->shape.rank > 0)
        shape.dim[0] = in[1]->shape.dim[0];
    if (in[0]->shape.rank > 1)
        shape.dim[1] = in[0]->shape.dim[1];
    op_out(n, out, 0, in[0]->type, &shape);
}

/* ---- RoiAlign -------------------------------------------------------------------------------- */

struct align {
    int64_t height, width; /* of the map */
    int64_t bins_y, bins_x;
    int64_t ratio; /* samples along an axis of a bin; 0: as many as the bin is pixels large */
    double scale;
    bool half_pixel, max;
};

static enum cohort_code read_align(const struct node *n, struct align *a,
                                   struct cohort_error *err) {
    const char *mode = node_attr_string(n, "mode", "avg");
    const char *transform = node_attr_string(n, "coordinate_transformation_mode",
                                             n->opset >= 16 ? "half_pixel" : "output_half_pixel");
    *a = (struct align){.bins_y = node_attr_int(n, "output_height", 1),
                        .bins_x = node_attr_int(n, "output_width", 1),
                        .ratio = node_attr_int(n, "sampling_ratio", 0),
                        .scale = (double)node_attr_float(n, "spatial_scale", 1),
                        .half_pixel = strcmp(transform, "half_pixel") == 0,
                        .max = strcmp(mode, "max") == 0};
    if (!a->max && strcmp(mode, "avg") != 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "mode is \"%.40s\"; avg and max are possible",
                         mode);
    if (!a->half_pixel && strcmp(transform, "output_half_pixel") != 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "coordinate_transformation_mode is \"%.40s\"",
                         transform);
    if (a->bins_y < 1 || a->bins_x < 1)
        return error_set(err, COHORT_ERR_SHAPE, "an output of %lldx%lld", (long long)a->bins_y,
                         (long long)a->bins_x);
    if (a->ratio < 0 || a->ratio > SAMPLES_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "sampling_ratio is %lld; 0 to %d is possible",
                         (long long)a->ratio, SAMPLES_MAX);
    return COHORT_OK;
}

static enum cohort_code align_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct align a;
    const struct shape *rois = &in[1]->shape, *images = &in[2]->shape;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(op_need_same(n, in, 1, err));
    TRY(op_need(n, in, 2, TYPE_BIT(DT_I64), err));
    TRY(read_align(n, &a, err));
    TRY(check_map(&in[0]->shape, rois, 4, err));
    if (images->rank >= 0 &&
        (images->rank != 1 || (rois->rank == 2 && rois->dim[0] >= 0 && images->dim[0] >= 0 &&
                               images->dim[0] != rois->dim[0])))
        return error_set(err, COHORT_ERR_SHAPE, "batch_indices is not one number per region");
    roi_out(n, in, out, a.bins_y, a.bins_x);
out:
    return code;
}

/* One axis of a region: samples lie at begin + (bin + (k + 1/2)/samples) * size. */
struct span {
    double begin, size; /* of a bin */
    double samples;     /* in a bin; whole, perhaps too many to count them */
};

static struct span make_span(const struct align *a, double low, double high, int64_t bins) {
    double offset = a->half_pixel ? 0.5 : 0;
    struct span s = {.begin = low * a->scale - offset};
    double length = high * a->scale - offset - s.begin;
    if (!a->half_pixel && length < 1)
        length = 1;
    s.size = length / (double)bins;
    s.samples = a->ratio > 0 ? (double)a->ratio : ceil(s.size);
    return s;
}

/* Of the samples of one bin, those that may lie in (-1, size]: the others count as 0, and there
 * could be any number of them.  The step between samples is half a pixel or more unless
 * SAMPLES_MAX bounds how many there are. */
static void inside(const struct span *s, double begin, int64_t size, int64_t *first,
                   int64_t *last) {
    *first = *last = 0;
    if (!(s->samples > 0))
        return;
    double step = s->size / s->samples;
    double low = floor((-1 - begin) / step) - 1, high = ceil(((double)size - begin) / step) + 1;
    if (low > 0)
        *first = low < fmin(s->samples, 0x1p53) ? (int64_t)low : INT64_MAX;
    if (high > 0)
        *last = (int64_t)fmin(high, fmin(s->samples, 0x1p53));
}

struct neighbours {
    int64_t low, high;
    double part; /* of high */
    bool outside;
};

static struct neighbours neighbours_of(double at, int64_t size) {
    struct neighbours p = {.outside = !(at >= -1 && at <= (double)size)};
    if (p.outside)
        return p;
    at = at < 0 ? 0 : at;
    p.low = (int64_t)at;
    if (p.low >= size - 1) {
        p.low = p.high = size - 1;
    } else {
        p.high = p.low + 1;
        p.part = at - (double)p.low;
    }
    return p;
}

/* The four pixels around a sample, each times its weight. */
static void sample(const double *x, const struct align *a, const struct neighbours *py,
                   const struct neighbours *px, double v[4]) {
    const double *above = x + py->low * a->width, *below = x + py->high * a->width;
    v[0] = above[px->low] * (1 - px->part) * (1 - py->part);
    v[1] = above[px->high] * px->part * (1 - py->part);
    v[2] = below[px->low] * (1 - px->part) * py->part;
    v[3] = below[px->high] * px->part * py->part;
}

/* Mean of the samples of one bin of a channel; or, as ONNX defines the maximum, the largest of all
 * weighted pixels. */
static double bin_value(const double *x, const struct align *a, const struct span *ys,
                        const struct span *xs, int64_t by, int64_t bx) {
    double y0 = ys->begin + (double)by * ys->size, x0 = xs->begin + (double)bx * xs->size;
    double count = fmax(ys->samples * xs->samples, 1), sum = 0, best = (double)-INFINITY, taken = 0;
    int64_t iy, y_last, ix_first, x_last;
    inside(ys, y0, a->height, &iy, &y_last);
    inside(xs, x0, a->width, &ix_first, &x_last);
    for (; iy < y_last; iy++) {
        struct neighbours py =
            neighbours_of(y0 + ((double)iy + 0.5) * ys->size / ys->samples, a->height);
        for (int64_t ix = ix_first; ix < x_last; ix++) {
            struct neighbours px =
                neighbours_of(x0 + ((double)ix + 0.5) * xs->size / xs->samples, a->width);
            double v[4] = {0};
            if (!py.outside && !px.outside)
                sample(x, a, &py, &px, v);
            for (int i = 0; i < 4; i++) {
                sum += v[i];
                best = v[i] > best || isnan(v[i]) ? v[i] : best;
            }
            taken++;
        }
    }
    if (!a->max)
        return sum / count;
    return taken == 0 || (taken < count && best < 0) ? 0 : best;
}

static enum cohort_code align_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &in[0]->shape;
    struct align a;
    int64_t channels = s->dim[1], at = 0, image;
    double *x = NULL;
    TRY(read_align(n, &a, err));
    TRY(window_doubles(in[0], &x, err));
    a.height = s->dim[2];
    a.width = s->dim[3];
    if (shape_count(&out[0]->shape) > 0 && shape_count(s) == 0)
        TRY(error_set(err, COHORT_ERR_SHAPE, "regions of an empty map"));
    for (int64_t r = 0; r < in[1]->shape.dim[0]; r++) {
        double box[4];
        for (int k = 0; k < 4; k++) {
            box[k] = tensor_get_f64(in[1], 4 * r + k);
            if (!isfinite(box[k]))
                TRY(error_set(err, COHORT_ERR_SHAPE, "region %lld is not finite", (long long)r));
        }
        TRY(op_index(tensor_get_i64(in[2], r), s->dim[0], &image, err));
        struct span xs = make_span(&a, box[0], box[2], a.bins_x);
        struct span ys = make_span(&a, box[1], box[3], a.bins_y);
        for (int64_t c = 0; c < channels; c++)
            for (int64_t by = 0; by < a.bins_y; by++)
                for (int64_t bx = 0; bx < a.bins_x; bx++)
                    tensor_set_f64(out[0], at++,
                                   bin_value(x + (image * channels + c) * a.height * a.width, &a,
                                             &ys, &xs, by, bx));
    }
out:
    mem_free(x);
    return code;
}

static double roi_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->out[0])->shape);
    return count > 0 ? 40 * (double)count : 0;
}

const struct op_desc op_roi_align = {
    .name = "RoiAlign",
    .domain = "",
    .since = 10,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = align_infer,
    .eval = align_eval,
    .flops = roi_flops,
};

/* ---- MaxRoiPool ------------------------------------------------------------------------------ */

static enum cohort_code pooled_shape(const struct node *n, int64_t pooled[2],
                                     struct cohort_error *err) {
    int count;
    const int64_t *ints = node_attr_ints(n, "pooled_shape", &count);
    if (count != 2 || ints[0] < 1 || ints[1] < 1)
        return error_set(err, COHORT_ERR_SHAPE, "pooled_shape is not two positive numbers");
    pooled[0] = ints[0];
    pooled[1] = ints[1];
    return COHORT_OK;
}

static enum cohort_code pool_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t pooled[2] = {0};
    TRY(op_need_all(n, in, TYPES_FLOAT, err));
    TRY(pooled_shape(n, pooled, err));
    TRY(check_map(&in[0]->shape, &in[1]->shape, 5, err));
    roi_out(n, in, out, pooled[0], pooled[1]);
out:
    return code;
}

/* Bin number b of `bins` over pixels low to high (both rounded, inclusive) of `size`. */
static void bin_range(double low, double high, int64_t b, int64_t bins, int64_t size,
                      int64_t *first, int64_t *last) {
    double length = fmax(high - low + 1, 1) / (double)bins;
    double begin = floor((double)b * length) + low, end = ceil((double)(b + 1) * length) + low;
    *first = (int64_t)fmin(fmax(begin, 0), (double)size);
    *last = (int64_t)fmin(fmax(end, 0), (double)size);
}

static enum cohort_code pool_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &in[0]->shape, *o = &out[0]->shape;
    double scale = (double)node_attr_float(n, "spatial_scale", 1);
    int64_t at = 0, image;
    for (int64_t r = 0; r < o->dim[0]; r++) {
        double box[5];
        for (int k = 0; k < 5; k++) {
            box[k] = tensor_get_f64(in[1], 5 * r + k);
            if (!isfinite(box[k]))
                return error_set(err, COHORT_ERR_SHAPE, "region %lld is not finite", (long long)r);
            box[k] = k == 0 ? box[k] : round(box[k] * scale);
        }
        TRY(op_index(fabs(box[0]) < 0x1p53 ? (int64_t)box[0] : -1, s->dim[0], &image, err));
        for (int64_t i = 0; i < o->dim[1] * o->dim[2] * o->dim[3]; i++) {
            int64_t c = i / (o->dim[2] * o->dim[3]), y, y1, x0, x1;
            bin_range(box[2], box[4], i / o->dim[3] % o->dim[2], o->dim[2], s->dim[2], &y, &y1);
            bin_range(box[1], box[3], i % o->dim[3], o->dim[3], s->dim[3], &x0, &x1);
            double best = y < y1 && x0 < x1 ? (double)-INFINITY : 0;
            for (; y < y1; y++)
                for (int64_t x = x0; x < x1; x++) {
                    double v = tensor_get_f64(
                        in[0], ((image * s->dim[1] + c) * s->dim[2] + y) * s->dim[3] + x);
                    best = v > best || isnan(v) ? v : best;
                }
            tensor_set_f64(out[0], at++, best);
        }
    }
out:
    return code;
}

const struct op_desc op_max_roi_pool = {
    .name = "MaxRoiPool",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .infer = pool_infer,
    .eval = pool_eval,
    .flops = roi_flops,
};
