/* Text on pictures: what PP-OCR's detector and recogniser mean.
 *
 * Detector: M. Liao et al., "Real-time scene text detection with differentiable binarization"
 * (2020). A probability map is cut at 0.3; each connected piece becomes the smallest rectangle
 * around it, which must be probable enough and is then grown, since the network learned shrunken
 * text. */
#include "media/media.h"

#include "base/buf.h"
#include "base/mem.h"
#include "media/geometry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* PaddleOCR's defaults for PP-OCRv3 and v4 (DBPostProcess). */
#define PIXEL_MIN 0.3F /* a pixel is text */
#define SCORE_MIN 0.6  /* the mean over a piece's own pixels: a line may be curved */
#define UNCLIP    1.5
#define SIDE_MIN  3.0 /* of a piece, map pixels */

struct finder {
    const float *map; /* [height][width] */
    int width, height;
    uint8_t *seen;     /* one for each pixel */
    int *stack;        /* pixels still to visit */
    int *left, *right; /* of the current piece, by row: [left, right) */
    double sum;        /* … of its pixels' probabilities */
    long pixels;       /* … their number */
    struct point *points, *hull;
    struct text_region *regions;
    size_t count, capacity;
    const struct placement *where;
    int image_width, image_height;
    struct cohort_error *err;
};

/* Visits the 8-connected piece that holds a pixel; notes each row's extent and the rows [*y0, *y1).
 */
static void trace_piece(struct finder *f, int start, int *y0, int *y1) {
    int depth = 0, w = f->width, h = f->height;
    *y0 = *y1 = start / w;
    f->left[*y0] = w;
    f->right[*y0] = 0;
    ++*y1;
    f->seen[start] = 1;
    f->stack[depth++] = start;
    f->sum = 0;
    f->pixels = 0;
    while (depth > 0) {
        int at = f->stack[--depth], x = at % w, y = at / w;
        f->sum += (double)f->map[at];
        f->pixels++;
        while (y >= *y1) { /* pieces are found from their top row: they only grow downwards */
            f->left[*y1] = w;
            f->right[*y1] = 0;
            ++*y1;
        }
        f->left[y] = x < f->left[y] ? x : f->left[y];
        f->right[y] = x + 1 > f->right[y] ? x + 1 : f->right[y];
        for (int k = 0; k < 9; k++) {
            int nx = x + k % 3 - 1, ny = y + k / 3 - 1, next = ny * w + nx;
            if (nx < 0 || ny < 0 || nx >= w || ny >= h || f->seen[next] ||
                !(f->map[next] > PIXEL_MIN))
                continue;
            f->seen[next] = 1;
            f->stack[depth++] = next;
        }
    }
}

/* The smallest rectangle around the rows' outermost pixels, edges included. */
static struct rectangle piece_rectangle(struct finder *f, int y0, int y1) {
    size_t n = 0;
    for (int y = y0; y < y1; y++) {
        for (int k = 0; k < 4; k++)
            f->points[n++] = (struct point){k % 2 ? f->right[y] : f->left[y], y + k / 2};
    }
    return smallest_rectangle(f->hull, convex_hull(f->points, n, f->hull));
}

static float clamp(double v, int high) {
    return (float)(v < 0 ? 0 : v > high ? high : v);
}

static enum cohort_code add_region(struct finder *f, const struct rectangle *r, double score) {
    struct text_region region = {.score = (float)score};
    struct placement p = *f->where;
    rectangle_corners(r, region.corners);
    for (int i = 0; i < 4; i++) {
        region.corners[2 * i] =
            clamp((region.corners[2 * i] - p.offset_x) / p.scale_x, f->image_width);
        region.corners[2 * i + 1] =
            clamp((region.corners[2 * i + 1] - p.offset_y) / p.scale_y, f->image_height);
    }
    if (!MEM_GROW(f->regions, f->capacity, f->count))
        return error_memory(f->err, f->capacity * sizeof region, "text regions");
    f->regions[f->count++] = region;
    return COHORT_OK;
}

static enum cohort_code find_all(struct finder *f) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < f->width * f->height; i++) {
        int y0, y1;
        if (f->seen[i] || !(f->map[i] > PIXEL_MIN))
            continue;
        trace_piece(f, i, &y0, &y1);
        struct rectangle r = piece_rectangle(f, y0, y1);
        double score = f->sum / (double)f->pixels;
        if (fmin(r.width, r.height) < SIDE_MIN || score < SCORE_MIN)
            continue;
        /* area * ratio / perimeter */
        double grow = (double)f->pixels * UNCLIP / (2 * (r.width + r.height));
        r.width += 2 * grow;
        r.height += 2 * grow;
        TRY(add_region(f, &r, score));
    }
out:
    return code;
}

/* ---- reading order -------------------------------------------------------------------------- */

static float middle_y(const struct text_region *r) {
    return (r->corners[1] + r->corners[3] + r->corners[5] + r->corners[7]) / 4;
}

static float text_height(const struct text_region *r) {
    return hypotf(r->corners[6] - r->corners[0], r->corners[7] - r->corners[1]);
}

static int compare_y(const void *a, const void *b) {
    float ya = middle_y(a), yb = middle_y(b);
    return ya < yb ? -1 : ya > yb;
}

static int compare_x(const void *a, const void *b) {
    float xa = ((const struct text_region *)a)->corners[0],
          xb = ((const struct text_region *)b)->corners[0];
    return xa < xb ? -1 : xa > xb;
}

/* Regions whose middles are within half a text height of the line's first belong to one line. */
static void sort_for_reading(struct text_region *r, size_t count) {
    if (count > 0)
        qsort(r, count, sizeof *r, compare_y);
    for (size_t start = 0, end; start < count; start = end) {
        for (end = start + 1; end < count; end++) {
            float height = fminf(text_height(&r[start]), text_height(&r[end]));
            if (middle_y(&r[end]) - middle_y(&r[start]) > height / 2)
                break;
        }
        qsort(r + start, end - start, sizeof *r, compare_x);
    }
}

/* ---- the map -------------------------------------------------------------------------------- */

/* [1,1,H,W], [1,H,W] or [H,W]. */
static bool map_size(const struct shape *s, int *height, int *width) {
    if (s->rank < 2 || s->rank > 4)
        return false;
    for (int i = 0; i < s->rank - 2; i++) {
        if (s->dim[i] != 1)
            return false;
    }
    int64_t h = s->dim[s->rank - 2], w = s->dim[s->rank - 1];
    if (h < 1 || w < 1 || h > INT32_MAX / 4 || w > INT32_MAX / 4 / h)
        return false;
    *height = (int)h;
    *width = (int)w;
    return true;
}

static enum cohort_code finder_init(struct finder *f, const struct tensor *map) {
    char text[SHAPE_TEXT_BYTES];
    if (!map->data || !map_size(&map->shape, &f->height, &f->width))
        return error_set(f->err, COHORT_ERR_SHAPE,
                         "an output of shape %s is not a text map of 1x1xHxW",
                         shape_text(&map->shape, text, sizeof text));
    size_t pixels = (size_t)f->width * (size_t)f->height, rows = (size_t)f->height;
    float *values = mem_zalloc(pixels, sizeof *values);
    f->map = values;
    f->seen = mem_zalloc(pixels, 1);
    f->stack = mem_zalloc(pixels, sizeof *f->stack);
    f->left = mem_zalloc(rows, sizeof *f->left);
    f->right = mem_zalloc(rows, sizeof *f->right);
    f->points = mem_zalloc(rows * 4, sizeof *f->points);
    f->hull = mem_zalloc(rows * 4 + 1, sizeof *f->hull);
    if (!values || !f->seen || !f->stack || !f->left || !f->right || !f->points || !f->hull)
        return error_memory(f->err, pixels * 9, "text regions");
    tensor_load_f32(map, 0, (int64_t)pixels, values);
    return COHORT_OK;
}

enum cohort_code text_regions(struct text_region **regions, int *count, const struct tensor *map,
                              const struct placement *where, int image_width, int image_height,
                              struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct placement same = {.scale_x = 1, .scale_y = 1};
    struct finder f = {.where = where && where->scale_x > 0 && where->scale_y > 0 ? where : &same,
                       .image_width = image_width,
                       .image_height = image_height,
                       .err = err};
    TRY(finder_init(&f, map));
    TRY(find_all(&f));
    sort_for_reading(f.regions, f.count);
    if (!f.regions && !MEM_GROW(f.regions, f.capacity, f.count)) { /* none is a result too */
        code = error_memory(err, sizeof *f.regions, "text regions");
        goto out;
    }
    *regions = f.regions;
    *count = (int)f.count;
    f.regions = NULL;
out:
    mem_free(f.regions);
    mem_free(f.hull);
    mem_free(f.points);
    mem_free(f.right);
    mem_free(f.left);
    mem_free(f.stack);
    mem_free(f.seen);
    mem_free((void *)(uintptr_t)f.map);
    return code;
}

/* ---- recogniser ----------------------------------------------------------------------------- */

/* The best class of one step and its probability; scores that are none are softmaxed. */
static int best_of_step(const float *v, int classes, double *probability) {
    struct ranked best = {.index = 0};
    top_k(v, classes, 1, &best);
    *probability = (double)best.score;
    return best.index;
}

enum cohort_code text_decode(char **text, float *score, const struct tensor *logits,
                             const struct labels *keys, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &logits->shape;
    struct buf out = {0};
    float *step = NULL;
    char shape[SHAPE_TEXT_BYTES];
    double sum = 0;
    int kept = 0, last = 0;
    bool fits = logits->data && (s->rank == 2 || (s->rank == 3 && s->dim[0] == 1));
    int64_t steps = fits ? s->dim[s->rank - 2] : 0, classes = fits ? s->dim[s->rank - 1] : 0;
    if (!fits || (classes != (int64_t)keys->count + 2 && classes != (int64_t)keys->count + 1))
        return error_set(
            err, COHORT_ERR_SHAPE,
            "an output of shape %s does not fit %d keys: 1xTx%d (blank, keys, space) is expected",
            shape_text(s, shape, sizeof shape), keys->count, keys->count + 2);
    step = mem_zalloc((size_t)classes, sizeof *step);
    if (!step)
        return error_memory(err, (size_t)classes * sizeof *step, "a text");
    for (int64_t t = 0; t < steps; t++) {
        double probability;
        tensor_load_f32(logits, t * classes, classes, step);
        int best = best_of_step(step, (int)classes, &probability);
        if (best != 0 && best != last) { /* CTC: blanks and repetitions vanish */
            const char *key = best <= keys->count ? keys->names[best - 1] : " ";
            buf_bytes(&out, key, strlen(key));
            sum += probability;
            kept++;
        }
        last = best;
    }
    if (!buf_text(&out)) {
        code = error_memory(err, out.size, "a text");
        goto out;
    }
    *text = (char *)out.data;
    out.data = NULL;
    if (score)
        *score = kept ? (float)(sum / kept) : 0;
out:
    mem_free(step);
    buf_release(&out);
    return code;
}
