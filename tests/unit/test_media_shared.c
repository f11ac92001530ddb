/* Real photographs and recorded networks: pictures load, preparation gives the recorded inputs, and
 * recorded outputs give the recorded boxes.  Needs the shared folder (tests/support/testdir.h);
 * without it every test here is skipped. */
#include "base/json.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "media/media.h"
#include "tests/support/leaks.h"
#include "tests/support/testdir.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cohort_error err;

/* The path, or no return: the test is skipped, and says so. */
static const char *need(const char *name) {
    const char *path = test_shared(name);
    if (!path) {
        print_message("skipped: %s is not in $COHORT_SHARED or ../shared\n", name);
        skip();
    }
    return path;
}

static void must(enum cohort_code code) {
    if (code != COHORT_OK)
        fail_msg("%s", err.message);
}

static void photographs(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int width, height;
    } table[] = {{"coral_face.jpg", 512, 355},        {"coral_hot_dog.jpg", 512, 384},
                 {"coral_owl.jpg", 512, 384},         {"coral_parrot.jpg", 512, 929},
                 {"coral_pets.jpg", 512, 430},        {"darknet_dog.jpg", 768, 576},
                 {"darknet_horses.jpg", 773, 512},    {"darknet_person.jpg", 640, 424},
                 {"skimage_astronaut.png", 512, 512}, {"skimage_chelsea.png", 451, 300},
                 {"skimage_coffee.png", 600, 400},    {"skimage_page.png", 384, 191},
                 {"skimage_text.png", 448, 172}};
    need("images/coral_face.jpg");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char name[100];
        struct image im = {0};
        snprintf(name, sizeof name, "images/%s", table[i].name);
        must(image_load(&im, need(name), &err));
        assert_int_equal(im.width, table[i].width);
        assert_int_equal(im.height, table[i].height);
        image_release(&im);
    }
    struct image im = {0};
    assert_int_equal(image_load(&im, need("images/coral_cat.bmp"), &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "coral_cat.bmp: not a JPEG or PNG image"));
}

static void label_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int count;
        const char *first, *last;
    } table[] = {{"labels/imagenet_classes.txt", 1000, "tench", "toilet tissue"},
                 {"labels/imagenet_labels_1001.txt", 1001, "background",
                  "toilet tissue, toilet paper, bathroom tissue"},
                 {"labels/coco_labels_90.txt", 90, "person", "toothbrush"},
                 {"labels/ppocr_keys_v1.txt", 6623, "'", NULL}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct labels l = {0};
        must(labels_load(&l, need(table[i].name), &err));
        assert_int_equal(l.count, table[i].count);
        assert_string_equal(l.names[0], table[i].first);
        if (table[i].last)
            assert_string_equal(l.names[l.count - 1], table[i].last);
        labels_release(&l);
    }
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static void load_recorded(struct tensor *t, const char *net, int set, const char *file) {
    char name[200];
    snprintf(name, sizeof name, "nets/%s/test_data_set_%d/%s", net, set, file);
    must(onnx_load_tensor(t, NULL, need(name), &err));
}

static void load_picture(struct image *im, const char *picture) {
    char name[200];
    snprintf(name, sizeof name, "images/%s", picture);
    must(image_load(im, need(name), &err));
}

/* The mean difference from the recorded input, in grey levels. */
static double difference(const char *net, int set, const char *picture,
                         const struct preprocess *p) {
    struct tensor recorded = {0}, made = {0};
    struct image im = {0};
    load_recorded(&recorded, net, set, "input_0.pb");
    load_picture(&im, picture);
    assert_int_equal(recorded.shape.rank, 4);
    const int64_t *d = recorded.shape.dim;
    must(preprocess_image(&made, NULL, &im, p, (int)d[p->nhwc ? 3 : 1], (int)d[p->nhwc ? 1 : 2],
                          (int)d[p->nhwc ? 2 : 3], &err));
    assert_true(shape_equal(&made.shape, &recorded.shape));
    double sum = 0;
    int64_t n = shape_count(&made.shape);
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)tensor_f32(&made)[i] - tensor_get_f64(&recorded, i));
    tensor_release(&made);
    tensor_release(&recorded);
    image_release(&im);
    return sum / (double)n * (double)p->std[0] / (double)p->scale;
}

static void recorded_inputs(void **state) {
    (void)state;
    static const struct {
        const char *net;
        int set;
        const char *picture, *preset;
    } table[] = {
        {"squeezenet1.0", 2, "coral_parrot.jpg", "caffe"},
        {"squeezenet1.0", 3, "skimage_coffee.png", "caffe"},
        {"mobilenet_v2_1.0_224", 2, "coral_parrot.jpg", "tensorflow"},
        {"mobilenet_v2_1.0_224", 3, "skimage_coffee.png", "tensorflow"},
        {"mobilenet_v1_0.25_128", 1, "coral_parrot.jpg", "tensorflow"},
        {"yolox_nano", 0, "darknet_dog.jpg", "yolox"},
        {"yolox_nano", 1, "darknet_person.jpg", "yolox"},
        {"yolox_nano", 2, "coral_pets.jpg", "yolox"},
        {"ppocrv4-det", 0, "skimage_page.png", "ppocr-det"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct preprocess p;
        assert_true(preprocess_preset(&p, table[i].preset));
        double levels = difference(table[i].net, table[i].set, table[i].picture, &p);
        print_message("%s, %s: %.4f grey levels\n", table[i].net, table[i].picture, levels);
        assert_true(
            levels <
            0.5);       /* the same filter; libjpeg's versions may differ by a bit here and there */
        p.bgr = !p.bgr; /* and the test can fail */
        if (strcmp(table[i].picture, "skimage_page.png") != 0)
            assert_true(difference(table[i].net, table[i].set, table[i].picture, &p) > 2);
    }
    struct preprocess p = {.fit = FIT_STRETCH, .bgr = true, .scale = 1 / 255.F, .std = {1, 1, 1}};
    assert_true(difference("fastestdet", 0, "darknet_dog.jpg", &p) < 0.5);
    p.bgr = false;
    assert_true(difference("yolo-fastest-1.1", 1, "coral_pets.jpg", &p) < 0.5);
    /* its luma was scaled with another filter */
    assert_true(difference("super_resolution_10", 0, "skimage_chelsea.png", &p) < 2);
}

/* ---- boxes ----------------------------------------------------------------------------------- */

/* COCO's 80 classes are the 90 of its first list without these (counted from 0). */
static int in_full_list(int label) {
    static const int unused[] = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82};
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        label += label >= unused[i];
    return label;
}

static void expect_boxes(const struct json_at *list, const struct box *boxes, int count,
                         const struct labels *l) {
    int expected = 0, found = 0;
    must(json_as_array(list, &expected, &err));
    for (struct json_at one = {0}; json_next(&one, list); found++) {
        struct json_at part = {0};
        const char *label;
        double value;
        assert_true(found < count);
        const struct box *b = &boxes[found];
        const float corners[4] = {b->x0, b->y0, b->x1, b->y1};
        assert_true(json_next(&part, &one));
        must(json_as_text(&part, &label, &err));
        assert_string_equal(l->names[in_full_list(b->label)], label);
        assert_true(json_next(&part, &one));
        must(json_as_f64(&part, 0, 1, &value, &err));
        assert_true(fabs(value - (double)b->score) < 1e-3);
        assert_true(json_next(&part, &one));
        for (struct json_at c = {0}; json_next(&c, &part);) {
            must(json_as_f64(&c, -DBL_MAX, DBL_MAX, &value, &err));
            assert_true(fabs(value - (double)corners[c.index]) <
                        0.5); /* they are not cut at the edge */
        }
    }
    assert_int_equal(count, expected);
}

static void recorded_boxes(void **state) {
    (void)state;
    static const char *const pictures[] = {"darknet_dog.jpg", "darknet_person.jpg",
                                           "coral_pets.jpg"};
    cJSON *document = NULL;
    struct labels l = {0};
    struct preprocess p;
    const char *path = need("labels/detections.json");
    must(json_load(&document, path, JSON_BYTES_MAX, &err));
    must(labels_load(&l, need("labels/coco_labels_90.txt"), &err));
    assert_true(preprocess_preset(&p, "yolox"));
    struct json_at root = json_root(document, path);
    for (int i = 0; i < 3; i++) {
        struct tensor output = {0}, input = {0};
        struct image im = {0};
        struct box *boxes = NULL;
        struct json_at list;
        char key[100];
        int count = 0;
        load_recorded(&output, "yolox_nano", i, "output_0.pb");
        load_picture(&im, pictures[i]);
        struct box_options o = {.confidence = 0.3F,
                                .input_width = 416,
                                .input_height = 416,
                                .image_width = im.width,
                                .image_height = im.height};
        must(preprocess_image(&input, &o.where, &im, &p, 3, 416, 416, &err));
        must(boxes_decode(&boxes, &count, &output, &o, &err));
        snprintf(key, sizeof key, "yolox|%s", pictures[i]);
        must(json_need(&list, &root, key, &err));
        expect_boxes(&list, boxes, count, &l);
        mem_free(boxes);
        tensor_release(&output);
        tensor_release(&input);
        image_release(&im);
    }
    labels_release(&l);
    json_free(&document);
}

/* Two outputs of a YOLOv3 head: dogs on both sides of the picture of pets. */
static void recorded_grids(void **state) {
    (void)state;
    static const float priors[] = {12, 18, 37, 49, 52, 132, 115, 73, 119, 199, 242, 238};
    struct tensor t[2] = {{.data = NULL}, {.data = NULL}};
    const struct tensor *outputs[2] = {&t[0], &t[1]};
    struct box *boxes = NULL;
    int count = 0;
    load_recorded(&t[0], "yolo-fastest-1.1", 1, "output_0.pb");
    load_recorded(&t[1], "yolo-fastest-1.1", 1, "output_1.pb");
    struct box_options o = {.confidence = 0.5F,
                            .input_width = 320,
                            .input_height = 320,
                            .image_width = 512,
                            .image_height = 430,
                            .anchors = priors,
                            .anchor_count = 6};
    must(boxes_decode_many(&boxes, &count, outputs, 2, &o, &err));
    assert_int_equal(count, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(boxes[i].label, 16); /* dog */
    /* about where YOLOX saw them */
    assert_true(fabsf(boxes[0].x0 - 109) < 15 && fabsf(boxes[0].x1 - 255) < 20);
    assert_true(fabsf(boxes[1].x0 - 344) < 15 && fabsf(boxes[1].x1 - 496) < 15);
    mem_free(boxes);
    tensor_release(&t[0]);
    tensor_release(&t[1]);
}

static void recorded_text(void **state) {
    (void)state;
    struct tensor map = {0};
    struct text_region *r = NULL;
    int count = 0;
    load_recorded(&map, "ppocrv4-det", 0, "output_0.pb");
    struct placement w = {.scale_x = 1, .scale_y = 192 / 191.F};
    must(text_regions(&r, &count, &map, &w, 384, 191, &err));
    assert_true(count >= 4);
    /* the heading, at the top left of the page, comes first */
    assert_true(fabsf(r[0].corners[0] - 6) < 5 && fabsf(r[0].corners[1] - 12) < 5);
    assert_true(fabsf(r[0].corners[4] - 292) < 8 && fabsf(r[0].corners[5] - 36) < 6);
    for (int i = 1; i < count; i++)
        assert_true(r[i].corners[1] > r[i - 1].corners[1] - 10 && r[i].score >= 0.6F);
    mem_free(r);
    tensor_release(&map);
}

int main(void) {
    json_use_base_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(photographs),     cmocka_unit_test(label_files),
        cmocka_unit_test(recorded_inputs), cmocka_unit_test(recorded_boxes),
        cmocka_unit_test(recorded_grids),  cmocka_unit_test(recorded_text),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
