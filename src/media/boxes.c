/* A detector's output tensor to boxes on the picture.
 *
 * One table row a head: which shapes it has, and a function that walks its cells.  Every cell's box
 * that is good enough goes through box_add(), which knows the picture; suppression comes last.
 * D = 5+C (x, y, w, h, objectness, C classes) or 4+C. */
#include "media/media.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES_MAX 8192 /* best ones kept before suppression, which is quadratic */
#define CONFIDENCE     0.25F
#define IOU            0.45F

/* Widths and heights of the five prior boxes of YOLOv2 on COCO, in grid cells (yolov2.cfg). */
static const float yolov2_anchors[] = {0.57273F, 0.677385F, 1.87446F, 2.06253F, 3.33843F,
                                       5.47434F, 7.88282F,  3.52778F, 9.77052F, 9.16828F};
/* The same of YOLOv3 and YOLOv5 in pixels, three for each stride of 8, 16, 32 (yolov3.cfg,
 * yolov5s.yaml). */
static const float grid_priors[3][6] = {
    {10, 13, 16, 30, 33, 23}, {30, 61, 62, 45, 59, 119}, {116, 90, 156, 198, 373, 326}};

struct decoder {
    const struct box_options *o;
    float confidence;
    const float *v;                          /* the output's values */
    int64_t cells, depth;                    /* rank 3: N and D */
    int64_t anchors, classes, rows, columns; /* grids */
    struct box *boxes;
    size_t count, capacity;
    struct cohort_error *err;
};

static float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

/* Best of `classes` values that lie `step` apart; NaN never wins. */
static int best_class(const float *v, int64_t classes, int64_t step, float *score) {
    int best = 0;
    float most = -INFINITY;
    for (int64_t c = 0; c < classes; c++) {
        if (v[c * step] > most) {
            most = v[c * step];
            best = (int)c;
        }
    }
    *score = most;
    return best;
}

/* A box in the input's pixels (centre and size) becomes one in the picture's. */
static enum cohort_code box_add(struct decoder *d, float x, float y, float w, float h, float score,
                                int label) {
    const struct placement *p = &d->o->where;
    if (!(score >= d->confidence) || !isfinite(score + x + y + w + h))
        return COHORT_OK;
    float sx = p->scale_x, sy = p->scale_y;
    if (sx == 0) /* not placed: stretched */
        sx = (float)d->o->input_width / (float)d->o->image_width;
    if (sy == 0)
        sy = (float)d->o->input_height / (float)d->o->image_height;
    float right = (float)d->o->image_width, bottom = (float)d->o->image_height;
    struct box b = {.x0 = fmaxf((x - w / 2 - p->offset_x) / sx, 0),
                    .y0 = fmaxf((y - h / 2 - p->offset_y) / sy, 0),
                    .x1 = fminf((x + w / 2 - p->offset_x) / sx, right),
                    .y1 = fminf((y + h / 2 - p->offset_y) / sy, bottom),
                    .score = score,
                    .label = label};
    if (!(b.x1 > b.x0 && b.y1 > b.y0)) /* outside or empty */
        return COHORT_OK;
    if (!MEM_GROW(d->boxes, d->capacity, d->count))
        return error_memory(d->err, d->capacity * sizeof b, "boxes");
    d->boxes[d->count++] = b;
    return COHORT_OK;
}

/* ---- heads ---------------------------------------------------------------------------------- */

/* [1, A*(5+C), H, W] region layer: J. Redmon, A. Farhadi, "YOLO9000" (2017), section 2: the centre
 * by sigmoid in its cell, the size by exp times the prior, softmax over the classes. */
static enum cohort_code decode_yolov2(struct decoder *d) {
    enum cohort_code code = COHORT_OK;
    const float *anchors = d->o->anchors ? d->o->anchors : yolov2_anchors;
    int64_t plane = d->rows * d->columns;
    float step_x = (float)d->o->input_width / (float)d->columns,
          step_y = (float)d->o->input_height / (float)d->rows;
    for (int64_t i = 0; i < d->anchors * plane; i++) {
        int64_t a = i / plane, y = i % plane / d->columns, x = i % d->columns;
        const float *v = d->v + a * (5 + d->classes) * plane + i % plane;
        float most, sum = 0;
        int label = best_class(v + 5 * plane, d->classes, plane, &most);
        for (int64_t c = 0; c < d->classes; c++)
            sum += expf(v[(5 + c) * plane] - most);
        TRY(box_add(d, ((float)x + sigmoid(v[0])) * step_x, ((float)y + sigmoid(v[plane])) * step_y,
                    expf(v[2 * plane]) * anchors[2 * a] * step_x,
                    expf(v[3 * plane]) * anchors[2 * a + 1] * step_y, sigmoid(v[4 * plane]) / sum,
                    label));
    }
out:
    return code;
}

/* [1, N, 5+C], decoded by the network: centre and size in the input's pixels, probabilities. */
static enum cohort_code decode_yolov5(struct decoder *d) {
    enum cohort_code code = COHORT_OK;
    for (int64_t i = 0; i < d->cells; i++) {
        const float *v = d->v + i * d->depth;
        float most;
        int label = best_class(v + 5, d->depth - 5, 1, &most);
        TRY(box_add(d, v[0], v[1], v[2], v[3], v[4] * most, label));
    }
out:
    return code;
}

/* The three priors of one stride: the caller's may be three for all, or three for each of the last
 * strides. */
static const float *grid_anchors(const struct decoder *d, float stride) {
    int level = stride <= 8 ? 0 : stride <= 16 ? 1 : 2, levels = d->o->anchor_count / 3;
    if (!d->o->anchors)
        return grid_priors[level];
    level = level + levels - 3;
    return d->o->anchors + 6 * (level < 0 ? 0 : level);
}

/* [1, 3, H, W, 5+C] or, as planes, [1, 3*(5+C), H, W]; one stride, before the sigmoids.
 * YOLOv3: centre s + cell, size e^v times the prior (Redmon and Farhadi 2018, section 2.1).
 * YOLOv5: centre 2s - 0.5 + cell, size (2s)^2 times the prior (Ultralytics, yolov5's Detect). */
static enum cohort_code decode_grid(struct decoder *d, bool v3, bool planes) {
    enum cohort_code code = COHORT_OK;
    float step_x = (float)d->o->input_width / (float)d->columns,
          step_y = (float)d->o->input_height / (float)d->rows;
    const float *priors = grid_anchors(d, step_x);
    int64_t plane = d->rows * d->columns, depth = 5 + d->classes, step = planes ? plane : 1;
    for (int64_t i = 0; i < 3 * plane; i++) {
        int64_t a = i / plane, y = i % plane / d->columns, x = i % d->columns;
        const float *v = d->v + (planes ? a * depth * plane + i % plane : i * depth);
        float most, dx = sigmoid(v[0]), dy = sigmoid(v[step]), w, h;
        int label = best_class(v + 5 * step, d->classes, step, &most);
        if (v3) {
            w = expf(v[2 * step]);
            h = expf(v[3 * step]);
        } else {
            dx = 2 * dx - 0.5F;
            dy = 2 * dy - 0.5F;
            w = 4 * sigmoid(v[2 * step]) * sigmoid(v[2 * step]);
            h = 4 * sigmoid(v[3 * step]) * sigmoid(v[3 * step]);
        }
        TRY(box_add(d, (dx + (float)x) * step_x, (dy + (float)y) * step_y, w * priors[2 * a],
                    h * priors[2 * a + 1], sigmoid(v[4 * step]) * sigmoid(most), label));
    }
out:
    return code;
}

/* [1, 4+C, N]: centre and size in the input's pixels, a probability a class, no objectness. */
static enum cohort_code decode_yolov8(struct decoder *d) {
    enum cohort_code code = COHORT_OK;
    int64_t n = d->cells;
    for (int64_t i = 0; i < n; i++) {
        const float *v = d->v + i;
        float most;
        int label = best_class(v + 4 * n, d->depth - 4, n, &most);
        TRY(box_add(d, v[0], v[n], v[2 * n], v[3 * n], most, label));
    }
out:
    return code;
}

/* Cells of all grids with strides 8 to `last`. */
static int64_t grid_cells(const struct box_options *o, int last) {
    int64_t cells = 0;
    for (int stride = 8; stride <= last; stride *= 2)
        cells += (int64_t)(o->input_width / stride) * (o->input_height / stride);
    return cells;
}

/* [1, N, 5+C], one box a cell, grids of strides 8, 16, 32 (and 64) behind one another; the centre
 * is relative to the cell, the size a logarithm, both in strides (Megvii, YOLOX's
 * demo_postprocess). */
static enum cohort_code decode_yolox(struct decoder *d) {
    enum cohort_code code = COHORT_OK;
    int64_t i = 0;
    int last = d->cells == grid_cells(d->o, 64) ? 64 : 32;
    for (int stride = 8; stride <= last; stride *= 2) {
        int rows = d->o->input_height / stride, columns = d->o->input_width / stride;
        for (int k = 0; k < rows * columns; k++, i++) {
            const float *v = d->v + i * d->depth;
            float most, s = (float)stride;
            int label = best_class(v + 5, d->depth - 5, 1, &most);
            TRY(box_add(d, (v[0] + (float)(k % columns)) * s, (v[1] + (float)(k / columns)) * s,
                        expf(v[2]) * s, expf(v[3]) * s, v[4] * most, label));
        }
    }
out:
    return code;
}

/* ---- which head ----------------------------------------------------------------------------- */

static bool usual_classes(int64_t n) {
    return n == 1 || n == 20 || n == 80; /* one thing, Pascal VOC, COCO */
}

/* [1, A*(5+C), H, W]: five priors are YOLOv2's, three YOLOv3's (or YOLOv5's, when that is said). */
static enum box_head grid_head(struct decoder *d, enum box_head wanted, int64_t channels) {
    int64_t given = d->o->anchors ? d->o->anchor_count : 0;
    bool five = channels % 5 == 0 && channels / 5 > 5,
         three = channels % 3 == 0 && channels / 3 > 5;
    if (wanted == BOX_AUTO && given > 0)
        wanted = given % 3 == 0 ? BOX_YOLOV3 : BOX_YOLOV2;
    if (wanted == BOX_AUTO && five && three)
        wanted = usual_classes(channels / 3 - 5) && !usual_classes(channels / 5 - 5) ? BOX_YOLOV3
                                                                                     : BOX_YOLOV2;
    else if (wanted == BOX_AUTO)
        wanted = five ? BOX_YOLOV2 : BOX_YOLOV3;
    d->anchors = wanted != BOX_YOLOV2 ? 3 : given > 0 ? given : 5;
    d->classes = channels / d->anchors - 5;
    bool fits =
        channels % d->anchors == 0 && d->classes >= 1 && (wanted == BOX_YOLOV2 || given % 3 == 0);
    return fits && wanted != BOX_YOLOV8 && wanted != BOX_YOLOX ? wanted : BOX_AUTO;
}

/* [1, a, b] by the number of boxes that the input's size gives each head. */
static enum box_head list_head(struct decoder *d, enum box_head wanted, int64_t a, int64_t b) {
    int64_t cells = grid_cells(d->o, 32), more = grid_cells(d->o, 64);
    if (wanted == BOX_AUTO) {
        if (b == cells || b == more)
            wanted = BOX_YOLOV8;
        else if (a == cells || a == more)
            wanted = BOX_YOLOX;
        else
            wanted = a == 3 * cells || a == 3 * more || a > b ? BOX_YOLOV5 : BOX_YOLOV8;
    }
    bool across = wanted == BOX_YOLOV8;
    d->cells = across ? b : a;
    d->depth = across ? a : b;
    if (wanted == BOX_YOLOV2 || wanted == BOX_YOLOV3 || d->depth < (across ? 5 : 6))
        return BOX_AUTO;
    if (wanted == BOX_YOLOX && a != cells && a != more)
        return BOX_AUTO;
    return wanted;
}

static enum cohort_code decode(struct decoder *d, const struct shape *s) {
    const int64_t *dim = s->dim;
    enum box_head head = BOX_AUTO, wanted = d->o->head;
    char text[SHAPE_TEXT_BYTES];
    if (s->rank == 4 && dim[0] == 1) {
        d->rows = dim[2];
        d->columns = dim[3];
        head = grid_head(d, wanted, dim[1]);
        if (head != BOX_AUTO)
            return head == BOX_YOLOV2 ? decode_yolov2(d) : decode_grid(d, head == BOX_YOLOV3, true);
    } else if (s->rank == 5 && dim[0] == 1 && dim[1] == 3 && dim[4] > 5 &&
               d->o->anchor_count % 3 == 0 &&
               (wanted == BOX_AUTO || wanted == BOX_YOLOV5 || wanted == BOX_YOLOV3)) {
        d->rows = dim[2];
        d->columns = dim[3];
        d->classes = dim[4] - 5;
        return decode_grid(d, wanted == BOX_YOLOV3, false);
    } else if ((s->rank == 3 && dim[0] == 1) || s->rank == 2) {
        head = list_head(d, wanted, dim[s->rank - 2], dim[s->rank - 1]);
        if (head == BOX_YOLOV8)
            return decode_yolov8(d);
        if (head != BOX_AUTO)
            return head == BOX_YOLOX ? decode_yolox(d) : decode_yolov5(d);
    }
    static const char *const names[] = {"known", "yolov2", "yolov5", "yolov8", "yolox", "yolov3"};
    return error_set(
        d->err, COHORT_ERR_SHAPE,
        "an output of shape %s for an input of %dx%d fits no %s head (yolov2 1x[5(5+C)]xHxW, "
        "yolov3 "
        "1x[3(5+C)]xHxW, yolov5 1xNx[5+C], yolov8 1x[4+C]xN, yolox 1xNx[5+C] with a box a cell)",
        shape_text(s, text, sizeof text), d->o->input_height, d->o->input_width, names[wanted]);
}

/* ---- suppression ---------------------------------------------------------------------------- */

/* Best first; the rest of the order is fixed too, so that every board prints the same. */
static int compare_boxes(const void *pa, const void *pb) {
    const struct box *a = pa, *b = pb;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    if (a->label != b->label)
        return a->label < b->label ? -1 : 1;
    if (a->y0 != b->y0)
        return a->y0 < b->y0 ? -1 : 1;
    return a->x0 < b->x0 ? -1 : a->x0 > b->x0;
}

static float overlap(const struct box *a, const struct box *b) {
    float w = fminf(a->x1, b->x1) - fmaxf(a->x0, b->x0),
          h = fminf(a->y1, b->y1) - fmaxf(a->y0, b->y0);
    if (w <= 0 || h <= 0)
        return 0;
    float both = w * h,
          area = (a->x1 - a->x0) * (a->y1 - a->y0) + (b->x1 - b->x0) * (b->y1 - b->y0);
    return both / (area - both);
}

int boxes_suppress(struct box *boxes, int n, float iou) {
    int kept = 0;
    if (n > 0)
        qsort(boxes, (size_t)n, sizeof *boxes, compare_boxes);
    for (int i = 0; i < n; i++) {
        bool covered = false;
        for (int k = 0; k < kept && !covered; k++)
            covered = boxes[k].label == boxes[i].label && overlap(&boxes[k], &boxes[i]) > iou;
        if (!covered)
            boxes[kept++] = boxes[i];
    }
    return kept;
}

enum cohort_code boxes_decode_many(struct box **boxes, int *count,
                                   const struct tensor *const *outputs, int output_count,
                                   const struct box_options *o, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct decoder d = {
        .o = o, .confidence = o->confidence > 0 ? o->confidence : CONFIDENCE, .err = err};
    float *values = NULL;
    if (o->input_width < 1 || o->input_height < 1 || o->image_width < 1 || o->image_height < 1)
        return error_set(err, COHORT_ERR_SHAPE, "boxes for an input of %dx%d on an image of %dx%d",
                         o->input_width, o->input_height, o->image_width, o->image_height);
    for (int i = 0; i < output_count; i++) {
        const struct tensor *t = outputs[i];
        int64_t n = shape_count(&t->shape);
        if (n < 0 || !t->data) {
            code = error_set(err, COHORT_ERR_SHAPE, "a detector's output without contents");
            goto out;
        }
        values = mem_zalloc((size_t)n, sizeof *values);
        if (!values) {
            code = error_memory(err, (unsigned long long)n * sizeof *values, "boxes");
            goto out;
        }
        tensor_load_f32(t, 0, n, values);
        d.v = values;
        TRY(decode(&d, &t->shape));
        mem_free(values);
        values = NULL;
    }
    if (!d.boxes && !MEM_GROW(d.boxes, d.capacity, d.count)) { /* none is a result too */
        code = error_memory(err, sizeof *d.boxes, "boxes");
        goto out;
    }
    qsort(d.boxes, d.count, sizeof *d.boxes, compare_boxes);
    int n = d.count < CANDIDATES_MAX ? (int)d.count : CANDIDATES_MAX;
    *count = boxes_suppress(d.boxes, n, o->iou > 0 ? o->iou : IOU);
    *boxes = d.boxes;
    d.boxes = NULL;
out:
    mem_free(d.boxes);
    mem_free(values);
    return code;
}

enum cohort_code boxes_decode(struct box **boxes, int *count, const struct tensor *output,
                              const struct box_options *o, struct cohort_error *err) {
    return boxes_decode_many(boxes, count, &output, 1, o, err);
}
