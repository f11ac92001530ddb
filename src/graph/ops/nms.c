/* NonMaxSuppression (opset 10): of each class, box after box by falling score, those that overlap
 * no box taken before by more than a threshold.
 *
 * boxes [N, S, 4], scores [N, C, S], then optional numbers: the most boxes per class (default 0:
 * none), the IoU from which boxes suppress each other (0), the score that boxes must exceed (none).
 * Out: [M, 3] int64 of image, class, box.  M depends on the data: infer() finds the boxes when it
 * is known, and eval() does so again. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"

#include <math.h>
#include <stdlib.h>

struct triples {
    int64_t (*at)[3];
    size_t count, capacity;
};

/* An input that is left out or one number. */
static enum cohort_code check_number(const struct node *n, const struct tensor *const in[], int i,
                                     unsigned types, struct cohort_error *err) {
    const struct tensor *t = op_in(n, in, i);
    if (t == NULL)
        return COHORT_OK;
    if (shape_known(&t->shape) && shape_count(&t->shape) != 1)
        return error_set(err, COHORT_ERR_SHAPE, "input %d must be one number", i);
    return op_need(n, in, i, types, err);
}

static double number(const struct node *n, const struct tensor *const in[], int i,
                     double otherwise) {
    const struct tensor *t = op_in(n, in, i);
    return t != NULL ? tensor_get_f64(t, 0) : otherwise;
}

/* Corners low to high, from two opposite corners (y1, x1, y2, x2) or (x, y, width, height). */
static void corners(const float *box, bool center, float c[4]) {
    if (center) {
        c[0] = box[0] - box[2] / 2;
        c[1] = box[1] - box[3] / 2;
        c[2] = box[0] + box[2] / 2;
        c[3] = box[1] + box[3] / 2;
        return;
    }
    for (int i = 0; i < 2; i++) {
        c[i] = fminf(box[i], box[i + 2]);
        c[i + 2] = fmaxf(box[i], box[i + 2]);
    }
}

/* Do the boxes overlap by more than the threshold? Boxes without an area overlap nothing. */
static bool overlap(const float *a, const float *b, bool center, float threshold) {
    float p[4], q[4], area_p, area_q;
    corners(a, center, p);
    corners(b, center, q);
    float height = fminf(p[2], q[2]) - fmaxf(p[0], q[0]);
    float width = fminf(p[3], q[3]) - fmaxf(p[1], q[1]);
    area_p = (p[2] - p[0]) * (p[3] - p[1]);
    area_q = (q[2] - q[0]) * (q[3] - q[1]);
    if (!(height > 0) || !(width > 0) || area_p <= 0 || area_q <= 0)
        return false;
    float common = height * width, all = area_p + area_q - common;
    return all > 0 && common / all > threshold;
}

struct scored {
    float score;
    int64_t box;
};

static int by_score(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return (x->box > y->box) - (x->box < y->box);
}

struct nms {
    const float *boxes, *scores; /* of one image, of one class */
    int64_t count, most;
    float overlap, least; /* thresholds */
    bool center, has_least;
    struct scored *order; /* [count] */
};

/* One class of one image. */
static enum cohort_code take_boxes(const struct nms *s, int64_t image, int64_t class,
                                   struct triples *found, struct cohort_error *err) {
    size_t begin = found->count;
    int64_t candidates = 0;
    for (int64_t i = 0; i < s->count; i++)
        if (!isnan(s->scores[i]) && (!s->has_least || s->scores[i] > s->least))
            s->order[candidates++] = (struct scored){.score = s->scores[i], .box = i};
    qsort(s->order, (size_t)candidates, sizeof *s->order, by_score);
    for (int64_t i = 0; i < candidates && (int64_t)(found->count - begin) < s->most; i++) {
        const float *box = s->boxes + 4 * s->order[i].box;
        bool taken = true;
        for (size_t k = begin; taken && k < found->count; k++)
            taken = !overlap(box, s->boxes + 4 * found->at[k][2], s->center, s->overlap);
        if (!taken)
            continue;
        if (!MEM_GROW(found->at, found->capacity, found->count))
            return error_memory(err, found->count * sizeof *found->at, "selected boxes");
        found->at[found->count][0] = image;
        found->at[found->count][1] = class;
        found->at[found->count][2] = s->order[i].box;
        found->count++;
    }
    return COHORT_OK;
}

static enum cohort_code find_boxes(const struct node *n, const struct tensor *const in[],
                                   struct triples *found, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int64_t *dim = in[1]->shape.dim;
    struct nms s = {.count = dim[2],
                    .overlap = (float)number(n, in, 3, 0),
                    .least = (float)number(n, in, 4, 0),
                    .has_least = op_in(n, in, 4) != NULL,
                    .center = node_attr_int(n, "center_point_box", 0) != 0};
    const struct tensor *most = op_in(n, in, 2);
    s.most = most != NULL ? tensor_get_i64(most, 0) : 0;
    s.order = mem_zalloc((size_t)s.count, sizeof *s.order);
    if (s.order == NULL)
        return error_memory(err, (unsigned long long)s.count * sizeof *s.order, "boxes");
    for (int64_t i = 0; i < dim[0]; i++)
        for (int64_t c = 0; c < dim[1]; c++) {
            s.boxes = tensor_f32(in[0]) + i * s.count * 4;
            s.scores = tensor_f32(in[1]) + (i * dim[1] + c) * s.count;
            TRY(take_boxes(&s, i, c, found, err));
        }
out:
    mem_free(s.order);
    return code;
}

static bool same_or_unknown(int64_t a, int64_t b) {
    return a < 0 || b < 0 || a == b;
}

static enum cohort_code check_shapes(const struct shape *b, const struct shape *s,
                                     struct cohort_error *err) {
    if ((b->rank >= 0 && (b->rank != 3 || !same_or_unknown(b->dim[2], 4))) ||
        (s->rank >= 0 && s->rank != 3) ||
        (b->rank == 3 && s->rank == 3 &&
         (!same_or_unknown(b->dim[0], s->dim[0]) || !same_or_unknown(b->dim[1], s->dim[2])))) {
        char tb[SHAPE_TEXT_BYTES], ts[SHAPE_TEXT_BYTES];
        return error_set(err, COHORT_ERR_SHAPE, "boxes of shape %s with scores of shape %s",
                         shape_text(b, tb, sizeof tb), shape_text(s, ts, sizeof ts));
    }
    return COHORT_OK;
}

static enum cohort_code nms_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct triples found = {0};
    struct shape shape = shape_of(2, (const int64_t[]){-1, 3});
    const struct shape *s = &in[1]->shape;
    TRY(op_need(n, in, 0, TYPE_BIT(DT_F32), err));
    TRY(op_need(n, in, 1, TYPE_BIT(DT_F32), err));
    TRY(check_number(n, in, 2, TYPES_INDEX, err));
    TRY(check_number(n, in, 3, TYPE_BIT(DT_F32), err));
    TRY(check_number(n, in, 4, TYPE_BIT(DT_F32), err));
    TRY(check_shapes(&in[0]->shape, s, err));
    bool known = in[0]->data != NULL && in[1]->data != NULL;
    for (int i = 2; i < 5; i++)
        known = known && (op_in(n, in, i) == NULL || in[i]->data != NULL);
    /* each box is compared with those that were taken, all of them at worst */
    if (known && tensor_aligned(in[0]) && tensor_aligned(in[1]) &&
        op_spend(n, (double)shape_count(s) * (double)s->dim[2])) {
        TRY(find_boxes(n, in, &found, err));
        shape.dim[0] = (int64_t)found.count;
    }
    op_out(n, out, 0, DT_I64, &shape);
out:
    mem_free(found.at);
    return code;
}

static enum cohort_code nms_make(const struct node *n, const struct tensor *const in[],
                                 struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct triples found = {0};
    TRY(check_number(n, in, 2, TYPES_INDEX, err));
    TRY(check_number(n, in, 3, TYPE_BIT(DT_F32), err));
    TRY(check_number(n, in, 4, TYPE_BIT(DT_F32), err));
    TRY(check_shapes(&in[0]->shape, &in[1]->shape, err));
    TRY(find_boxes(n, in, &found, err));
    struct shape shape = shape_of(2, (const int64_t[]){(int64_t)found.count, 3});
    TRY(tensor_init(&out[0], DT_I64, &shape, err));
    for (size_t i = 0; i < found.count; i++)
        for (int k = 0; k < 3; k++)
            tensor_i64(&out[0])[3 * i + (size_t)k] = found.at[i][k];
out:
    mem_free(found.at);
    return code;
}

static double nms_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[1])->shape);
    return count > 0 ? 30 * (double)count : 0;
}

const struct op_desc op_non_max_suppression = {
    .name = "NonMaxSuppression",
    .domain = "",
    .since = 10,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 5,
    .max_outputs = 1,
    .infer = nms_infer,
    .eval = op_eval_made,
    .make = nms_make,
    .flops = nms_flops,
};
