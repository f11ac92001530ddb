/* Resampling: image_resize() and image_warp().
 *
 * Resizing is separable with the triangle filter, widened by the scale when shrinking (as Pillow's
 * BILINEAR; J. Gomes et al., "Warping and morphing of graphical objects", on prefiltering). Weights
 * are 22-bit fixed point and each pass rounds to 8 bits, so that every board computes the same
 * bytes. */
#include "media/media.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

#define WEIGHT_BITS    22 /* 8 bits of pixel, 22 of weight, and a sign fit in 32 */
#define SUBSAMPLES_MAX 8

/* For each output position: the first input position, how many, and their weights. */
struct taps {
    int width; /* weights per output position */
    int *first, *count;
    int32_t *weight;
};

static void taps_release(struct taps *t) {
    mem_free(t->first);
    mem_free(t->count);
    mem_free(t->weight);
}

static double triangle(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Weights of one output position into w[0, count), adding up to one. */
static void taps_fill(struct taps *t, int i, int in, double scale, double *w) {
    double reach = scale > 1 ? scale : 1, centre = (i + 0.5) * scale, sum = 0;
    int first = (int)floor(centre - reach + 0.5), last = (int)floor(centre + reach + 0.5);
    if (first < 0)
        first = 0;
    if (last > in)
        last = in;
    for (int k = first; k < last; k++) {
        w[k - first] = triangle((k + 0.5 - centre) / reach);
        sum += w[k - first];
    }
    t->first[i] = first;
    t->count[i] = last - first;
    int32_t *fixed = t->weight + (size_t)i * (size_t)t->width;
    for (int k = 0; k < last - first; k++)
        fixed[k] = (int32_t)lround(w[k] / sum * (1 << WEIGHT_BITS));
}

static enum cohort_code taps_init(struct taps *t, int in, int out, struct cohort_error *err) {
    double scale = (double)in / out, reach = scale > 1 ? scale : 1;
    t->width = (int)ceil(reach) * 2 + 1;
    size_t n = (size_t)out, each = (size_t)t->width;
    double *w = mem_zalloc(each, sizeof *w);
    t->first = mem_zalloc(n, sizeof *t->first);
    t->count = mem_zalloc(n, sizeof *t->count);
    t->weight = n <= SIZE_MAX / each ? mem_zalloc(n * each, sizeof *t->weight) : NULL;
    if (!w || !t->first || !t->count || !t->weight) {
        mem_free(w);
        return error_memory(err, n * each * sizeof *t->weight, "resizing an image");
    }
    for (int i = 0; i < out; i++)
        taps_fill(t, i, in, scale, w);
    mem_free(w);
    return COHORT_OK;
}

static uint8_t from_fixed(int32_t sum) {
    sum = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static void resize_rows(struct image *out, const struct image *in, const struct taps *t) {
    for (int y = 0; y < out->height; y++) {
        const uint8_t *row = in->pixels + (size_t)y * (size_t)in->width * 3;
        uint8_t *to = out->pixels + (size_t)y * (size_t)out->width * 3;
        for (int x = 0; x < out->width; x++) {
            const int32_t *w = t->weight + (size_t)x * (size_t)t->width;
            const uint8_t *p = row + (size_t)t->first[x] * 3;
            int32_t r = 0, g = 0, b = 0;
            for (int k = 0; k < t->count[x]; k++, p += 3) {
                r += p[0] * w[k];
                g += p[1] * w[k];
                b += p[2] * w[k];
            }
            *to++ = from_fixed(r);
            *to++ = from_fixed(g);
            *to++ = from_fixed(b);
        }
    }
}

static enum cohort_code resize_columns(struct image *out, const struct image *in,
                                       const struct taps *t, struct cohort_error *err) {
    size_t row = (size_t)in->width * 3;
    int32_t *sum = mem_alloc(row * sizeof *sum);
    if (!sum)
        return error_memory(err, row * sizeof *sum, "resizing an image");
    for (int y = 0; y < out->height; y++) {
        const int32_t *w = t->weight + (size_t)y * (size_t)t->width;
        memset(sum, 0, row * sizeof *sum);
        for (int k = 0; k < t->count[y]; k++) {
            const uint8_t *p = in->pixels + (size_t)(t->first[y] + k) * row;
            for (size_t i = 0; i < row; i++)
                sum[i] += p[i] * w[k];
        }
        for (size_t i = 0; i < row; i++)
            out->pixels[(size_t)y * row + i] = from_fixed(sum[i]);
    }
    mem_free(sum);
    return COHORT_OK;
}

enum cohort_code image_resize(struct image *out, const struct image *in, int width, int height,
                              struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct image narrow = {0}, result = {0};
    struct taps across = {0}, down = {0};
    TRY(image_init(&result, width, height, err));
    TRY(image_init(&narrow, width, in->height, err));
    TRY(taps_init(&across, in->width, width, err));
    TRY(taps_init(&down, in->height, height, err));
    resize_rows(&narrow, in, &across);
    TRY(resize_columns(&result, &narrow, &down, err));
    *out = result;
    result = (struct image){0};
out:
    taps_release(&down);
    taps_release(&across);
    image_release(&narrow);
    image_release(&result);
    return code;
}

/* ---- warp ----------------------------------------------------------------------------------- */

/* x = (m0 u + m1 v + m2) / (m6 u + m7 v + 1), y likewise, from the unit square's corners
 * (0,0) (1,0) (1,1) (0,1) to c's: P. Heckbert, "Fundamentals of texture mapping and image warping"
 * (1989), section 2.2.3.  false: three corners lie on a line. */
static bool square_to_quad(const float c[8], double m[8]) {
    double x0 = c[0], y0 = c[1], x1 = c[2], y1 = c[3], x2 = c[4], y2 = c[5], x3 = c[6], y3 = c[7];
    double dx1 = x1 - x2, dx2 = x3 - x2, sx = x0 - x1 + x2 - x3;
    double dy1 = y1 - y2, dy2 = y3 - y2, sy = y0 - y1 + y2 - y3;
    double det = dx1 * dy2 - dx2 * dy1;
    if (!(fabs(det) > 1e-9))
        return false;
    m[6] = (sx * dy2 - dx2 * sy) / det;
    m[7] = (dx1 * sy - sx * dy1) / det;
    m[0] = x1 - x0 + m[6] * x1;
    m[1] = x3 - x0 + m[7] * x3;
    m[2] = x0;
    m[3] = y1 - y0 + m[6] * y1;
    m[4] = y3 - y0 + m[7] * y3;
    m[5] = y0;
    /* the denominator must not change its sign over the square */
    return 1 + m[6] > 1e-9 && 1 + m[7] > 1e-9 && 1 + m[6] + m[7] > 1e-9;
}

static double clamp(double v, double low, double high) {
    return v < low ? low : v > high ? high : v;
}

/* Adds the bilinear sample at (x, y), pixel centres at halves, edges repeated. */
static void add_sample(const struct image *im, double x, double y, double sum[3]) {
    x = clamp(x - 0.5, 0, im->width - 1);
    y = clamp(y - 0.5, 0, im->height - 1);
    int x0 = (int)x, y0 = (int)y;
    int x1 = x0 + 1 < im->width ? x0 + 1 : x0, y1 = y0 + 1 < im->height ? y0 + 1 : y0;
    double fx = x - x0, fy = y - y0;
    const uint8_t *above = im->pixels + (size_t)y0 * (size_t)im->width * 3;
    const uint8_t *below = im->pixels + (size_t)y1 * (size_t)im->width * 3;
    for (int c = 0; c < 3; c++) {
        double a = above[x0 * 3 + c] * (1 - fx) + above[x1 * 3 + c] * fx;
        double b = below[x0 * 3 + c] * (1 - fx) + below[x1 * 3 + c] * fx;
        sum[c] += a * (1 - fy) + b * fy;
    }
}

/* So many samples a side that none is more than a pixel from the next. */
static int subsamples(double from, int to) {
    return (int)clamp(ceil(from / to - 0.05), 1, SUBSAMPLES_MAX);
}

enum cohort_code image_warp(struct image *out, const struct image *in, const float corners[8],
                            int width, int height, struct cohort_error *err) {
    struct image warped = {0};
    double m[8];
    bool finite = true;
    for (int i = 0; i < 8; i++)
        finite = finite && isfinite(corners[i]);
    if (!finite || !square_to_quad(corners, m))
        return error_set(
            err, COHORT_ERR_SHAPE,
            "the corners (%g,%g) (%g,%g) (%g,%g) (%g,%g) are not those of a convex quadrilateral",
            (double)corners[0], (double)corners[1], (double)corners[2], (double)corners[3],
            (double)corners[4], (double)corners[5], (double)corners[6], (double)corners[7]);
    enum cohort_code code = image_init(&warped, width, height, err);
    if (code != COHORT_OK)
        return code;
    const float *c = corners;
    int nx =
        subsamples(fmax(hypot(c[2] - c[0], c[3] - c[1]), hypot(c[4] - c[6], c[5] - c[7])), width);
    int ny =
        subsamples(fmax(hypot(c[6] - c[0], c[7] - c[1]), hypot(c[4] - c[2], c[5] - c[3])), height);
    uint8_t *to = warped.pixels;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            double sum[3] = {0};
            for (int k = 0; k < nx * ny; k++) {
                double u = (x + (k % nx + 0.5) / nx) / width,
                       v = (y + (k / nx + 0.5) / ny) / height;
                double d = m[6] * u + m[7] * v + 1;
                add_sample(in, (m[0] * u + m[1] * v + m[2]) / d, (m[3] * u + m[4] * v + m[5]) / d,
                           sum);
            }
            for (int i = 0; i < 3; i++)
                *to++ = (uint8_t)(sum[i] / (nx * ny) + 0.5);
        }
    }
    *out = warped;
    return COHORT_OK;
}
