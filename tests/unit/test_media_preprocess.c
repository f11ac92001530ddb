/* Fitting images into a network's input, the numbers that come out, labels and the best scores. */
#include "base/mem.h"
#include "media/media.h"
#include "media/print.h"
#include "tests/support/leaks.h"
#include "tests/support/testdir.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cohort_error err;

static struct image filled(int width, int height, int r, int g, int b) {
    struct image im = {0};
    assert_int_equal(image_init(&im, width, height, &err), COHORT_OK);
    for (int i = 0; i < width * height; i++) {
        im.pixels[3 * i] = (uint8_t)r;
        im.pixels[3 * i + 1] = (uint8_t)g;
        im.pixels[3 * i + 2] = (uint8_t)b;
    }
    return im;
}

static float element(const struct tensor *t, int c, int y, int x) {
    return tensor_f32(t)[(c * t->shape.dim[2] + y) * t->shape.dim[3] + x];
}

static void is_about(float a, double b) {
    if (!(fabs((double)a - b) <= 1e-5 * fmax(1, fabs(b))))
        fail_msg("%.9g is not %.9g", (double)a, b);
}

static void presets(void **state) {
    (void)state;
    int count = 0;
    struct preprocess p = {.scale = 99};
    const char *const *names = preprocess_presets(&count);
    assert_true(count >= 3);
    for (int i = 0; i < count; i++) {
        struct preprocess one = {.scale = -1};
        assert_true(preprocess_preset(&one, names[i]));
        assert_true(one.scale > 0 && one.std[0] > 0 && one.std[1] > 0 && one.std[2] > 0);
    }
    assert_false(preprocess_preset(&p, "imagenett"));
    assert_true(p.scale == 99);
    assert_true(preprocess_preset(&p, "raw"));
    assert_int_equal(p.fit, FIT_STRETCH);
    /* the values of a colour by hand */
    static const struct {
        const char *name;
        double values[3]; /* of r 200, g 100, b 50 */
    } table[] = {
        {"imagenet",
         {(200 / 255. - .485) / .229, (100 / 255. - .456) / .224, (50 / 255. - .406) / .225}},
        {"yolo", {200 / 255., 100 / 255., 50 / 255.}},
        {"raw", {200, 100, 50}},
        {"yolox", {50, 100, 200}},
        {"caffe", {50 - 104, 100 - 117, 200 - 123}},
        {"tensorflow", {200 / 127.5 - 1, 100 / 127.5 - 1, 50 / 127.5 - 1}},
        {"ppocr-det",
         {(50 / 255. - .485) / .229, (100 / 255. - .456) / .224, (200 / 255. - .406) / .225}},
        {"ppocr-rec", {50 / 127.5 - 1, 100 / 127.5 - 1, 200 / 127.5 - 1}},
    };
    struct image im = filled(20, 20, 200, 100, 50);
    assert_int_equal(count, sizeof table / sizeof *table);
    for (int i = 0; i < count; i++) {
        struct tensor t = {0};
        assert_string_equal(names[i], table[i].name);
        assert_true(preprocess_preset(&p, names[i]));
        assert_int_equal(preprocess_image(&t, NULL, &im, &p, 3, 8, 8, &err), COHORT_OK);
        for (int c = 0; c < 3; c++) {
            is_about(element(&t, c, 0, 0), table[i].values[c]);
            is_about(element(&t, c, 7, 5), table[i].values[c]);
        }
        tensor_release(&t);
    }
    image_release(&im);
}

static void layouts(void **state) {
    (void)state;
    struct image im = {0};
    assert_int_equal(image_init(&im, 3, 2, &err), COHORT_OK);
    for (int i = 0; i < 18; i++)
        im.pixels[i] = (uint8_t)(10 * i);
    struct preprocess p = {.fit = FIT_STRETCH}; /* scale and std 0 mean 1 */
    struct tensor t = {0};
    struct placement w;
    assert_int_equal(preprocess_image(&t, &w, &im, &p, 3, 2, 3, &err), COHORT_OK);
    assert_true(t.type == DT_F32 && t.shape.rank == 4 && t.shape.dim[0] == 1 &&
                t.shape.dim[1] == 3 && t.shape.dim[2] == 2 && t.shape.dim[3] == 3);
    for (int i = 0; i < 18; i++)
        assert_true(element(&t, i % 3, i / 9, i / 3 % 3) == (float)(10 * i));
    assert_true(w.scale_x == 1 && w.scale_y == 1 && w.offset_x == 0 && w.offset_y == 0);
    tensor_release(&t);
    p.nhwc = true;
    p.bgr = true;
    assert_int_equal(preprocess_image(&t, &w, &im, &p, 3, 2, 3, &err), COHORT_OK);
    assert_true(t.shape.dim[1] == 2 && t.shape.dim[2] == 3 && t.shape.dim[3] == 3);
    for (int i = 0; i < 18; i++)
        assert_true(tensor_f32(&t)[i] == (float)(10 * (i / 3 * 3 + 2 - i % 3)));
    tensor_release(&t);
    p = (struct preprocess){
        .fit = FIT_STRETCH, .scale = 1, .mean = {10, 99, 99}, .std = {2, 99, 99}};
    assert_int_equal(preprocess_image(&t, &w, &im, &p, 1, 2, 3, &err), COHORT_OK); /* grey */
    assert_true(t.shape.dim[1] == 1 && t.shape.dim[2] == 2 && t.shape.dim[3] == 3);
    is_about(tensor_f32(&t)[1], (38 - 10) / 2); /* 0.299 * 30 + 0.587 * 40 + 0.114 * 50 = 38.15 */
    tensor_release(&t);
    assert_int_equal(preprocess_image(&t, &w, &im, &p, 4, 2, 3, &err), COHORT_ERR_SHAPE);
    assert_string_equal(err.message,
                        "an image cannot be the input of 4 channels; 1 or 3 are possible");
    assert_int_equal(preprocess_image(&t, &w, &im, &p, 3, 0, 3, &err), COHORT_ERR_SHAPE);
    assert_null(t.data);
    image_release(&im);
}

/* 40x20 into 16x16: 16x8, in the middle or at the top. */
static void letterbox(void **state) {
    (void)state;
    struct image im = filled(40, 20, 100, 100, 100);
    struct preprocess p = {
        .fit = FIT_LETTERBOX, .scale = 0.5F, .fill = 113.5F, .mean = {1, 1, 1}, .std = {2, 2, 2}};
    for (int centre = 0; centre < 2; centre++) {
        struct tensor t = {0};
        struct placement w;
        int top = centre ? 4 : 0;
        p.centre = centre;
        assert_int_equal(preprocess_image(&t, &w, &im, &p, 3, 16, 16, &err), COHORT_OK);
        is_about(w.scale_x, 0.4);
        is_about(w.scale_y, 0.4);
        assert_true(w.offset_x == 0 && w.offset_y == (float)top);
        for (int y = 0; y < 16; y++) {
            for (int x = 0; x < 16; x++)
                is_about(element(&t, 1, y, x),
                         y >= top && y < top + 8 ? 24.5 : (113.5 * 0.5 - 1) / 2);
        }
        tensor_release(&t);
    }
    image_release(&im);
    im = filled(3, 1000, 7, 7, 7); /* very tall: at least a pixel wide */
    struct tensor t = {0};
    struct placement w;
    assert_int_equal(preprocess_image(&t, &w, &im, &p, 3, 32, 32, &err), COHORT_OK);
    is_about(w.offset_x, 15);
    is_about(w.scale_x, 0.032);
    tensor_release(&t);
    image_release(&im);
}

/* The bytes of a picture, and the numbers that are made of them, against the picture's numbers. */
static void pixels(void **state) {
    (void)state;
    struct image im = {0};
    int count = 0;
    const char *const *names = preprocess_presets(&count);
    assert_int_equal(image_init(&im, 37, 21, &err), COHORT_OK);
    for (int i = 0; i < 37 * 21 * 3; i++)
        im.pixels[i] = (uint8_t)(i * 7919 >> 3);
    for (int i = 0; i < count * 4; i++) {
        struct tensor want = {0}, bytes = {0}, got = {0};
        struct placement there, here;
        struct preprocess p;
        bool exact = false;
        const int channels = i & 1 ? 3 : 1;
        assert_true(preprocess_preset(&p, names[i / 4]));
        p.nhwc = (i & 2) != 0;
        const struct pixel_scale scale = preprocess_scale(&p);
        assert_int_equal(preprocess_image(&want, &there, &im, &p, channels, 24, 32, &err),
                         COHORT_OK);
        assert_int_equal(preprocess_pixels(&bytes, &exact, &here, &im, &p, channels, 24, 32, &err),
                         COHORT_OK);
        assert_true(exact == (strcmp(names[i / 4], "ppocr-rec") != 0)); /* filled with 127.5 */
        assert_memory_equal(&there, &here, sizeof here);
        assert_true(bytes.type == DT_U8 && bytes.shape.rank == 4 && bytes.shape.dim[1] == 24 &&
                    bytes.shape.dim[2] == 32 && bytes.shape.dim[3] == channels);
        assert_int_equal(pixels_to_numbers(&got, &bytes, &scale, p.nhwc, &err), COHORT_OK);
        assert_true(shape_equal(&want.shape, &got.shape));
        if (exact)
            assert_memory_equal(want.data, got.data, tensor_bytes(&want));
        for (int k = 0; exact && k < 24 * 32 * channels; k++) { /* by the formula */
            const int c = k % channels, at = k / channels;
            const float v = (float)((const uint8_t *)bytes.data)[k];
            assert_true(tensor_f32(&want)[p.nhwc ? k : c * 24 * 32 + at] ==
                        pixel_number(&scale, v, c));
        }
        tensor_release(&want);
        tensor_release(&bytes);
        tensor_release(&got);
    }
    image_release(&im);
}

/* A white square in the middle of a black picture tells where the crop was taken. */
static void centre_crop(void **state) {
    (void)state;
    static const struct {
        int width, height, input, resize_short;
        double scale; /* of the picture */
        int x, y;     /* of the crop in the scaled picture */
    } table[] = {
        {512, 341, 224, 256, 256 / 341., (384 - 224) / 2, 16},
        {512, 341, 224, -1, 256 / 341., (384 - 224) / 2, 16},
        {300, 600, 224, 0, 224 / 300., 0, 112},
        {100, 100, 32, 16, 0.32, 0, 0}, /* never below the crop */
        {64, 48, 48, 48, 1, 8, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct image im = filled(table[i].width, table[i].height, 0, 0, 0);
        struct preprocess p = {.fit = FIT_CROP, .resize_short = table[i].resize_short};
        struct tensor t = {0};
        struct placement w;
        int n = table[i].input;
        for (int y = im.height / 4; y < im.height / 2; y++)
            memset(im.pixels + (y * im.width + im.width / 4) * 3, 255, (size_t)(im.width / 4) * 3);
        assert_int_equal(preprocess_image(&t, &w, &im, &p, 3, n, n, &err), COHORT_OK);
        assert_true(fabs((double)w.scale_x - table[i].scale) < 1.0 / table[i].width);
        assert_true(fabs((double)w.scale_y - table[i].scale) < 1.0 / table[i].height);
        assert_true(w.offset_x == (float)-table[i].x && w.offset_y == (float)-table[i].y);
        /* the placement says where the square's corners went */
        for (int y = 0; y < n; y++) {
            for (int x = 0; x < n; x++) {
                double sx = (x + 0.5 - (double)w.offset_x) / (double)w.scale_x,
                       sy = (y + 0.5 - (double)w.offset_y) / (double)w.scale_y;
                double slack = 1.01 * fmax(1, 1 / (double)w.scale_x);
                double in = fmin(fmin(sx - im.width / 4, im.width / 4 + im.width / 4 - sx),
                                 fmin(sy - im.height / 4, im.height / 2 - sy));
                if (in > slack)
                    is_about(element(&t, 0, y, x), 255);
                if (in < -slack)
                    is_about(element(&t, 0, y, x), 0);
            }
        }
        tensor_release(&t);
        image_release(&im);
    }
    struct image im = filled(90, 60, 1, 2, 3); /* a wide input */
    struct preprocess p = {.fit = FIT_CROP};
    struct tensor t = {0};
    struct placement w;
    assert_int_equal(preprocess_image(&t, &w, &im, &p, 3, 10, 30, &err), COHORT_OK);
    is_about(w.scale_x, 1 / 3.0);
    is_about(w.offset_y, -5);
    tensor_release(&t);
    image_release(&im);
}

/* ---- labels and scores ----------------------------------------------------------------------- */

static void label_files(void **state) {
    (void)state;
    struct labels l = {0};
    static const char text[] = "\xef\xbb\xbf"
                               "cat\r\n dog \n\n \n\xe7\x96\x97\nlast";
    static const char *const names[] = {"cat", " dog ", "", " ", "\xe7\x96\x97", "last"};
    assert_int_equal(labels_load(&l, test_write("l.txt", text, sizeof text - 1), &err), COHORT_OK);
    assert_int_equal(l.count, 6);
    for (int i = 0; i < 6; i++)
        assert_string_equal(l.names[i], names[i]);
    labels_release(&l);
    labels_release(&l);
    assert_int_equal(labels_load(&l, test_write("l.txt", "one\n", 4), &err), COHORT_OK);
    assert_int_equal(l.count, 1);
    assert_string_equal(l.names[0], "one");
    labels_release(&l);
    assert_int_equal(labels_load(&l, test_write("l.txt", "", 0), &err), COHORT_OK);
    assert_int_equal(l.count, 0);
    labels_release(&l);
    assert_int_equal(labels_load(&l, test_write("l.txt", "a\nb\0c\n", 6), &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "l.txt: not a text file: a zero byte in line 2"));
    assert_int_equal(labels_load(&l, test_path("absent.txt"), &err), COHORT_ERR_IO);
    assert_null(l.names);
}

static void best_scores(void **state) {
    (void)state;
    struct ranked r[8];
    const float p[] = {0.1F, 0.3F, 0.05F, 0.3F, 0.25F};
    assert_int_equal(top_k(p, 5, 3, r), 3);
    assert_int_equal(r[0].index, 1); /* the earlier of two equal ones */
    assert_int_equal(r[1].index, 3);
    assert_int_equal(r[2].index, 4);
    assert_true(r[0].score == 0.3F && r[2].score == 0.25F);
    assert_int_equal(top_k(p, 5, 8, r), 5);
    assert_int_equal(r[4].index, 2);
    const float logits[] = {1, 3, NAN, 2, -1000};
    assert_int_equal(top_k(logits, 5, 5, r), 4);
    double sum = exp(1) + exp(3) + exp(2);
    is_about(r[0].score, exp(3) / sum);
    is_about(r[1].score, exp(2) / sum);
    assert_int_equal(r[2].index, 0);
    is_about(r[3].score, 0);
    const float huge[] = {1e30F, -1e30F};
    assert_int_equal(top_k(huge, 2, 2, r), 2);
    is_about(r[0].score, 1);
    is_about(r[1].score, 0);
    const float infinite[] = {INFINITY, 0};
    assert_int_equal(top_k(infinite, 2, 1, r), 1);
    assert_int_equal(r[0].index, 0);
    assert_int_equal(top_k(p, 0, 3, r), 0);
    assert_int_equal(top_k(p, 5, 0, r), 0);
    assert_int_equal(top_k((float[]){NAN}, 1, 1, r), 0);
}

static void printed(void **state) {
    (void)state;
    char *names[] = {(char *)"cat", (char *)"dog \"2\""}, *text = NULL, *json = NULL;
    struct labels l = {.names = names, .count = 2};
    struct ranked r[] = {{.index = 1, .score = 0.7512345F}, {.index = 7, .score = 0.25F}};
    struct box b = {.x0 = 1.25F, .y0 = 2, .x1 = 30.0625F, .y1 = 40.999F, .score = 0.5F, .label = 0};
    struct text_region g = {.corners = {1, 2, 30.5F, 2, 30.5F, 9, 1, 9}, .score = 0.875F};
    const char *const read[] = {"Hello"};
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    print_top(out, r, 2, &l);
    print_top(out, r, 1, NULL);
    print_boxes(out, &b, 1, &l);
    print_regions(out, &g, 1, read);
    fclose(out);
    assert_string_equal(text, "  0.7512  dog \"2\"\n  0.2500  class 7\n  0.7512  class 1\n"
                              "  0.5000  x 1.2 to 30.1, y 2.0 to 41.0  cat\n"
                              "  0.8750  (1,2) (30,2) (30,9) (1,9)  Hello\n");
    free(text);
    bool ok = true;
    cJSON *array = cJSON_CreateArray();
    json_add_top(array, r, 2, &l, &ok);
    json_add_boxes(array, &b, 1, NULL, &ok);
    json_add_regions(array, &g, 1, read, &ok);
    assert_true(ok);
    assert_int_equal(json_print(&json, NULL, array, &err), COHORT_OK);
    assert_string_equal(
        json,
        "[\n  {\"label\": \"dog \\\"2\\\"\", \"index\": 1, \"score\": 0.751234},\n"
        "  {\"label\": null, \"index\": 7, \"score\": 0.25},\n"
        "  {\"label\": null, \"index\": 0, \"score\": 0.5, \"box\": [1.25, 2, 30.06, 41]},\n"
        "  {\"text\": \"Hello\", \"score\": 0.875, \"corners\": [[1, 2], [30.5, 2], [30.5, 9], "
        "[1, 9]]}\n]\n");
    mem_free(json);
    json_free(&array);
}

static void failing_memory(void **state) {
    (void)state;
    struct image im = filled(30, 20, 1, 2, 3);
    const char *path = test_write("l.txt", "a\nb\n", 4);
    long before = mem_live_blocks();
    int failures = 0;
    for (long nth = 1;; nth++) {
        struct tensor t = {0};
        struct labels l = {0};
        struct preprocess p = {.fit = FIT_CROP};
        mem_fail_at(nth);
        enum cohort_code code = preprocess_image(&t, NULL, &im, &p, 3, 8, 8, &err);
        if (code == COHORT_OK)
            code = labels_load(&l, path, &err);
        mem_fail_at(0);
        tensor_release(&t);
        labels_release(&l);
        assert_int_equal(mem_live_blocks(), before);
        if (code == COHORT_OK)
            break;
        assert_int_equal(code, COHORT_ERR_MEMORY);
        failures++;
    }
    assert_true(failures > 5);
    image_release(&im);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets),     cmocka_unit_test(layouts),
        cmocka_unit_test(letterbox),   cmocka_unit_test(centre_crop),
        cmocka_unit_test(label_files), cmocka_unit_test(best_scores),
        cmocka_unit_test(printed),     cmocka_unit_test(failing_memory),
        cmocka_unit_test(pixels),      cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
