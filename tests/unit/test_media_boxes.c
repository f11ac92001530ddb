/* Boxes: each head from a tensor made by hand, the choice of head, suppression, mapping back. */
#include "base/mem.h"
#include "media/media.h"
#include "tests/support/leaks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cohort_error err;

static struct tensor tensor_of(int rank, const int64_t *dims) {
    struct tensor t = {0};
    struct shape s = shape_of(rank, dims);
    assert_int_equal(tensor_init(&t, DT_F32, &s, &err), COHORT_OK);
    return t;
}

static float logit(double p) {
    return (float)log(p / (1 - p));
}

/* The input is the picture, 64 wide and 32 high: boxes come back as they are. */
static struct box_options options(void) {
    return (struct box_options){.input_width = 64,
                                .input_height = 32,
                                .image_width = 64,
                                .image_height = 32,
                                .where = {.scale_x = 1, .scale_y = 1}};
}
enum { CELLS = 8 * 4 + 4 * 2 + 2 * 1 }; /* grids of strides 8, 16, 32 */

static void box_is(const struct box *b, double x0, double y0, double x1, double y1, double score,
                   int label) {
    const double got[5] = {(double)b->x0, (double)b->y0, (double)b->x1, (double)b->y1,
                           (double)b->score};
    const double want[5] = {x0, y0, x1, y1, score};
    for (int i = 0; i < 5; i++) {
        if (!(fabs(got[i] - want[i]) < 1e-3))
            fail_msg("value %d of the box is %g, not %g", i, got[i], want[i]);
    }
    assert_int_equal(b->label, label);
}

/* One box of centre (20, 12), size 10x6, score 0.9*0.8, label 1 is hidden in a tensor for every
 * head. */
static void yolov5(void **state) {
    (void)state;
    struct tensor t = tensor_of(3, (int64_t[]){1, 3 * CELLS, 5 + 3});
    memcpy(tensor_f32(&t) + 17 * 8, ((float[]){20, 12, 10, 6, 0.9F, 0.1F, 0.8F, 0.3F}), 32);
    struct box *b = NULL;
    int n = 0;
    struct box_options o = options();
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 1);
    box_is(b, 15, 9, 25, 15, 0.72, 1);
    mem_free(b);
    t.shape = shape_of(2, (int64_t[]){3 * CELLS, 8}); /* without the batch */
    o.head = BOX_YOLOV5;
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 1);
    mem_free(b);
    o.confidence = 0.73F;
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 0);
    assert_non_null(b);
    mem_free(b);
    tensor_release(&t);
}

static void yolov8(void **state) {
    (void)state;
    struct tensor t = tensor_of(3, (int64_t[]){1, 4 + 3, CELLS});
    const float column[] = {20, 12, 10, 6, 0.1F, 0.72F, 0.3F};
    for (int i = 0; i < 7; i++)
        tensor_f32(&t)[i * CELLS + 5] = column[i];
    struct box *b = NULL;
    int n = 0;
    struct box_options o = options();
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 1);
    box_is(b, 15, 9, 25, 15, 0.72, 1);
    mem_free(b);
    tensor_release(&t);
}

static void yolox(void **state) {
    (void)state;
    struct tensor t = tensor_of(3, (int64_t[]){1, CELLS, 5 + 3});
    /* cell (1, 0) of stride 16, behind the 32 cells of stride 8: centre (1+0.25)*16 = 20, 0.75*16 =
     * 12 */
    memcpy(tensor_f32(&t) + (32 + 1) * 8,
           ((float[]){0.25F, 0.75F, logf(10 / 16.F), logf(6 / 16.F), 0.9F, 0.1F, 0.8F, 0.3F}), 32);
    /* and cell (1, 0) of stride 32: centre 48, 16, size 32x32 */
    memcpy(tensor_f32(&t) + (32 + 8 + 1) * 8, ((float[]){0.5F, 0.5F, 0, 0, 0.5F, 0.9F, 0, 0}), 32);
    struct box *b = NULL;
    int n = 0;
    struct box_options o = options();
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 2);
    box_is(b, 15, 9, 25, 15, 0.72, 1);
    box_is(b + 1, 32, 0, 64, 32, 0.45, 0);
    mem_free(b);
    tensor_release(&t);
    /* a fourth grid of stride 64 */
    o = options();
    o.input_width = o.input_height = o.image_width = o.image_height = 64;
    t = tensor_of(3, (int64_t[]){1, 64 + 16 + 4 + 1, 6});
    memcpy(tensor_f32(&t) + 84 * 6, ((float[]){0.5F, 0.5F, -logf(4), -logf(2), 1, 1}), 24);
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 1);
    box_is(b, 24, 16, 40, 48, 1, 0);
    mem_free(b);
    tensor_release(&t);
}

/* [1, 5*(5+3), 1, 2], stride 32, prior 1 of COCO: 1.87446 x 2.06253 cells. */
static void yolov2(void **state) {
    (void)state;
    struct tensor t = tensor_of(4, (int64_t[]){1, 5 * 8, 1, 2});
    float *v = tensor_f32(&t);
    for (int i = 0; i < 5 * 8 * 2; i++)
        v[i] = i / 2 % 8 == 4 ? -20 : 0; /* no objects */
    const double p = 0.8;
    const float column[] = {logit(20 / 32.),
                            logit(12 / 32.),
                            logf(10 / 32.F / 1.87446F),
                            logf(6 / 32.F / 2.06253F),
                            logit(0.9),
                            0,
                            (float)log(2 * p / (1 - p)),
                            0}; /* softmax: 1, 8, 1 of 10 */
    for (int i = 0; i < 8; i++)
        v[(8 + i) * 2] = column[i];
    struct box *b = NULL;
    int n = 0;
    struct box_options o = options();
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 1);
    box_is(b, 15, 9, 25, 15, 0.72, 1);
    mem_free(b);
    /* the same with priors given, of which the second is one cell square: the size differs */
    o.anchors = (const float[]){9, 9, 1, 1, 9, 9, 9, 9, 9, 9};
    o.anchor_count = 5;
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    box_is(b, 20 - 5 / 1.87446, 12 - 3 / 2.06253, 20 + 5 / 1.87446, 12 + 3 / 2.06253, 0.72, 1);
    mem_free(b);
    tensor_release(&t);
}

/* Raw grids: v3 and v5, as [1,3,H,W,8] and as [1,24,H,W], strides 16 and 32 as two outputs. */
static void grids(void **state) {
    (void)state;
    for (int v5 = 0; v5 < 2; v5++) {
        for (int planes = 0; planes < 2; planes++) {
            struct tensor t[2];
            const struct tensor *outputs[2] = {&t[0], &t[1]};
            for (int k = 0; k < 2; k++) {
                int h = k ? 1 : 2, w = k ? 2 : 4;
                t[k] = planes ? tensor_of(4, (int64_t[]){1, 24, h, w})
                              : tensor_of(5, (int64_t[]){1, 3, h, w, 8});
                for (int64_t i = 0; i < 24 * h * w; i++)
                    tensor_f32(&t[k])[i] = -20;
            }
            /* in the finer grid: cell (1, 0), prior 2 of stride 16: 59x119 */
            double dx = 20 / 16. - 1, dy = 12 / 16., w = 10 / 59., h = 6 / 119.;
            float column[8] = {logit(dx),  logit(dy),  (float)log(w), (float)log(h),
                               logit(0.9), logit(0.1), logit(0.8),    logit(0.3)};
            if (v5) {
                column[0] = logit((dx + 0.5) / 2);
                column[1] = logit((dy + 0.5) / 2);
                column[2] = logit(sqrt(w) / 2);
                column[3] = logit(sqrt(h) / 2);
            }
            for (int i = 0; i < 8; i++)
                tensor_f32(&t[0])[planes ? (2 * 8 + i) * 8 + 1 : (2 * 8 + 1) * 8 + i] = column[i];
            struct box *b = NULL;
            int n = 0;
            struct box_options o = options();
            o.head = v5 ? BOX_YOLOV5 : BOX_YOLOV3;
            assert_int_equal(boxes_decode_many(&b, &n, outputs, 2, &o, &err), COHORT_OK);
            assert_int_equal(n, 1);
            box_is(b, 15, 9, 25, 15, 0.72, 1);
            mem_free(b);
            /* six priors given: the first three are stride 16's */
            o.anchors = (const float[]){1, 1, 2, 2, 59, 119, 4, 4, 5, 5, 6, 6};
            o.anchor_count = 6;
            assert_int_equal(boxes_decode_many(&b, &n, outputs, 2, &o, &err), COHORT_OK);
            assert_int_equal(n, 1);
            box_is(b, 15, 9, 25, 15, 0.72, 1);
            mem_free(b);
            tensor_release(&t[0]);
            tensor_release(&t[1]);
        }
    }
}

/* The picture of 100x40 was shrunk by 0.5 and moved by (4, 6) in the input. */
static void mapped_back(void **state) {
    (void)state;
    struct tensor t = tensor_of(3, (int64_t[]){1, 3 * CELLS, 6});
    memcpy(tensor_f32(&t), ((float[]){20, 12, 10, 6, 1, 1}), 24);
    memcpy(tensor_f32(&t) + 6, ((float[]){4, 6, 20, 20, 1, 0.9F}), 24);  /* sticks out */
    memcpy(tensor_f32(&t) + 12, ((float[]){60, 30, 4, 4, 1, 0.8F}), 24); /* wholly outside */
    memcpy(tensor_f32(&t) + 18, ((float[]){20, 12, NAN, 6, 1, 1}), 24);  /* no box at all */
    memcpy(tensor_f32(&t) + 24, ((float[]){20, 12, 10, 6, NAN, 1}), 24);
    memcpy(tensor_f32(&t) + 30, ((float[]){20, 12, 10, 6, INFINITY, 1}), 24);
    memcpy(tensor_f32(&t) + 36, ((float[]){20, 12, -10, 6, 1, 1}), 24);
    struct box_options o = options();
    o.where = (struct placement){.scale_x = 0.5F, .scale_y = 0.5F, .offset_x = 4, .offset_y = 6};
    o.image_width = 100;
    o.image_height = 40;
    struct box *b = NULL;
    int n = 0;
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 2);
    box_is(b, 22, 6, 42, 18, 1, 0);
    box_is(b + 1, 0, 0, 20, 20, 0.9, 0);
    mem_free(b);
    o.where = (struct placement){0}; /* stretched: 64x32 from 100x40 */
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    box_is(b, 15 / .64, 9 / .8, 25 / .64, 15 / .8, 1, 0);
    mem_free(b);
    o.image_width = 0;
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_ERR_SHAPE);
    tensor_release(&t);
}

static void no_head(void **state) {
    (void)state;
    static const struct {
        int rank;
        int64_t dims[5];
        enum box_head head;
    } table[] = {{1, {1000}, BOX_AUTO},          {3, {2, CELLS, 8}, BOX_AUTO},
                 {3, {1, 100, 5}, BOX_AUTO},     {3, {1, 4, CELLS}, BOX_AUTO},
                 {4, {1, 7, 2, 2}, BOX_AUTO},    {4, {1, 25, 2, 2}, BOX_AUTO},
                 {3, {1, 77, 8}, BOX_YOLOX},     {3, {1, 77, 8}, BOX_YOLOV2},
                 {4, {1, 40, 2, 2}, BOX_YOLOV8}, {5, {1, 2, 2, 2, 8}, BOX_AUTO},
                 {4, {1, 25, 2, 2}, BOX_YOLOV5}, {3, {1, 77, 8}, BOX_YOLOV3}};
    struct box_options o = options();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tensor t = tensor_of(table[i].rank, table[i].dims);
        struct box *b = NULL;
        int n = -1;
        o.head = table[i].head;
        assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_ERR_SHAPE);
        assert_null(b);
        assert_int_equal(n, -1);
        tensor_release(&t);
    }
    struct tensor t = tensor_of(3, (int64_t[]){1, 77, 8});
    struct box *b = NULL;
    int n;
    o.head = BOX_YOLOX;
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_ERR_SHAPE);
    assert_string_equal(err.message, "an output of shape 1x77x8 for an input of 32x64 fits no "
                                     "yolox head (yolov2 1x[5(5+C)]xHxW, "
                                     "yolov3 1x[3(5+C)]xHxW, yolov5 1xNx[5+C], yolov8 1x[4+C]xN, "
                                     "yolox 1xNx[5+C] with a box a cell)");
    o.head = BOX_AUTO; /* nothing but YOLOv5 can have any number of boxes */
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    mem_free(b);
    t.shape = shape_of(4, (int64_t[]){1, 40, 0, 5}); /* an empty grid */
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_int_equal(n, 0);
    mem_free(b);
    tensor_release(&t);
}

/* 255 channels are three priors of COCO's 80 classes, 425 five of them. */
static void automatic_grids(void **state) {
    (void)state;
    static const int64_t channels[] = {255, 425, 75, 125, 18, 30};
    static const bool three[] = {true, false, true, false, true, false};
    for (int i = 0; i < 6; i++) {
        struct tensor t = tensor_of(4, (int64_t[]){1, channels[i], 1, 2});
        int64_t depth = channels[i] / (three[i] ? 3 : 5);
        for (int64_t k = 0; k < channels[i]; k++)
            tensor_f32(&t)[2 * k] = tensor_f32(&t)[2 * k + 1] = k % depth == 4           ? -20.F
                                                                : k % depth == depth - 1 ? 20.F
                                                                                         : 0.F;
        tensor_f32(&t)[2 * 4] = 20; /* the first prior's first cell */
        struct box *b = NULL;
        int n = 0;
        struct box_options o = options();
        assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
        assert_int_equal(n, 1);
        assert_int_equal(b->label, depth - 6);
        if (three[i]) /* 116x90 about (16, 16) */
            box_is(b, 0, 0, 64, 32, 1, (int)depth - 6);
        else
            box_is(b, 16 - 16 * 0.57273, 16 - 16 * 0.677385, 16 + 16 * 0.57273, 16 + 16 * 0.677385,
                   1, (int)depth - 6);
        mem_free(b);
        tensor_release(&t);
    }
}

static void suppression(void **state) {
    (void)state;
    struct box b[] = {
        {0, 0, 10, 10, 0.5F, 1},                            /* covered by the next: 9*10 of 110 */
        {1, 0, 11, 10, 0.9F, 1},   {1, 0, 11, 10, 0.8F, 2}, /* of another label */
        {6, 0, 16, 10, 0.7F, 1},                            /* 5*10 of 150: a third */
        {20, 20, 30, 30, 0.6F, 1},                          /* elsewhere */
        {7, 0, 17, 10, 0.65F, 1},                           /* covered by the third, which stays */
    };
    struct box c[6];
    memcpy(c, b, sizeof b);
    assert_int_equal(boxes_suppress(b, 6, 0.45F), 4);
    box_is(b, 1, 0, 11, 10, 0.9, 1);
    box_is(b + 1, 1, 0, 11, 10, 0.8, 2);
    box_is(b + 2, 6, 0, 16, 10, 0.7, 1);
    box_is(b + 3, 20, 20, 30, 30, 0.6, 1);
    memcpy(b, c, sizeof b);
    assert_int_equal(boxes_suppress(b, 6, 0.3F), 4);
    box_is(b + 2, 7, 0, 17, 10, 0.65, 1); /* the third went, and no longer covers the last */
    memcpy(b, c, sizeof b);
    assert_int_equal(boxes_suppress(b, 6, 0.99F), 6);
    for (int i = 1; i < 6; i++)
        assert_true(b[i - 1].score >= b[i].score);
    assert_int_equal(boxes_suppress(b, 0, 0.5F), 0);
    assert_int_equal(boxes_suppress(NULL, 0, 0.5F), 0);
}

/* An untrained network may call everything a box: bounded work, best first. */
static void very_many(void **state) {
    (void)state;
    enum { N = 60000 };
    struct tensor t = tensor_of(3, (int64_t[]){1, N, 6});
    unsigned seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525 + 1013904223;
        const float row[6] = {(float)(seed >> 8 & 63),          (float)(seed >> 16 & 31), 1, 1, 1,
                              0.3F + (float)(seed >> 22) / 2048};
        memcpy(tensor_f32(&t) + i * 6, row, sizeof row);
    }
    struct box *b = NULL;
    int n = 0;
    struct box_options o = options();
    assert_int_equal(boxes_decode(&b, &n, &t, &o, &err), COHORT_OK);
    assert_true(n > 100 && n <= 64 * 32);
    for (int i = 1; i < n; i++)
        assert_true(b[i - 1].score >= b[i].score);
    mem_free(b);
    tensor_release(&t);
}

static void drawn(void **state) {
    (void)state;
    struct image im = {0};
    char *names[] = {(char *)"cat"};
    struct labels l = {.names = names, .count = 1};
    struct box b[] = {
        {10, 30, 40, 50, 0.9F, 0}, {-1e30F, -5, 1e30F, 20, 0.5F, 3}, {NAN, 0, 5, 5, 1, -1}};
    assert_int_equal(image_init(&im, 80, 60, &err), COHORT_OK);
    boxes_draw(&im, b, 1, &l);
    const uint8_t *edge = im.pixels + (45 * 80 + 10) * 3, *inside = im.pixels + (45 * 80 + 25) * 3;
    assert_true(edge[0] + edge[1] + edge[2] > 0);
    assert_int_equal(inside[0] + inside[1] + inside[2], 0);
    boxes_draw(&im, b, 3, NULL);
    image_release(&im);
}

static void failing_memory(void **state) {
    (void)state;
    struct tensor t = tensor_of(3, (int64_t[]){1, 3 * CELLS, 6});
    for (int i = 0; i < 3 * CELLS; i++)
        memcpy(tensor_f32(&t) + i * 6, ((float[]){(float)i, 12, 1, 6, 1, 1}), 24);
    struct box_options o = options();
    long before = mem_live_blocks();
    for (long nth = 1;; nth++) {
        struct box *b = NULL;
        int n = 0;
        mem_fail_at(nth);
        enum cohort_code code = boxes_decode(&b, &n, &t, &o, &err);
        mem_fail_at(0);
        mem_free(b);
        assert_int_equal(mem_live_blocks(), before);
        if (code == COHORT_OK) {
            assert_true(nth > 3);
            break;
        }
        assert_int_equal(code, COHORT_ERR_MEMORY);
    }
    tensor_release(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yolov5),          cmocka_unit_test(yolov8),
        cmocka_unit_test(yolox),           cmocka_unit_test(yolov2),
        cmocka_unit_test(grids),           cmocka_unit_test(mapped_back),
        cmocka_unit_test(no_head),         cmocka_unit_test(automatic_grids),
        cmocka_unit_test(suppression),     cmocka_unit_test(very_many),
        cmocka_unit_test(drawn),           cmocka_unit_test(failing_memory),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
