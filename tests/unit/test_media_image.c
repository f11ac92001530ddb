/* Resampling against the formula and against recorded results of Pillow; cropping, warping,
 * drawing. */
#include "base/mem.h"
#include "media/font.h"
#include "media/media.h"
#include "tests/support/leaks.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cohort_error err;

static struct image patterned(int width, int height) {
    struct image im = {0};
    assert_int_equal(image_init(&im, width, height, &err), COHORT_OK);
    for (int i = 0; i < width * height * 3; i++) {
        int x = i / 3 % width, y = i / 3 / width, c = i % 3;
        im.pixels[i] = (uint8_t)(x * x * 37 + y * 91 + c * 53 + x * y * 17);
    }
    return im;
}

static const uint8_t *at(const struct image *im, int x, int y) {
    return im->pixels + ((size_t)y * (size_t)im->width + (size_t)x) * 3;
}

/* ---- resizing -------------------------------------------------------------------------------- */

/* Image.resize(…, BILINEAR) of Pillow 9.4 on patterned(). */
static const struct {
    int width, height, to_width, to_height;
    const uint8_t *pixels;
} pillow[] = {
    {7, 5, 3, 4, (const uint8_t[]){61,  114, 167, 114, 125, 167, 120, 137, 107, 142, 149, 164,
                                   153, 98,  151, 185, 107, 122, 116, 123, 138, 135, 114, 158,
                                   159, 166, 117, 133, 103, 156, 148, 117, 167, 110, 121, 147}},
    {5, 4, 9, 7,
     (const uint8_t[]){
         0,   53,  106, 12,  65,  118, 33,  86,  139, 86,  139, 192, 148, 201, 254, 109, 162, 215,
         77,  130, 183, 79,  132, 185, 80,  133, 186, 33,  86,  139, 47,  100, 153, 71,  124, 177,
         87,  140, 193, 101, 154, 207, 116, 118, 171, 128, 90,  143, 134, 95,  148, 137, 98,  151,
         85,  138, 191, 102, 155, 208, 131, 184, 237, 88,  141, 194, 26,  79,  132, 128, 49,  102,
         211, 26,  79,  221, 36,  89,  228, 43,  96,  137, 190, 115, 158, 168, 136, 192, 132, 170,
         146, 128, 181, 80,  133, 186, 125, 107, 160, 165, 90,  143, 181, 106, 159, 191, 116, 169,
         170, 223, 38,  195, 168, 63,  234, 76,  103, 194, 114, 167, 133, 186, 239, 122, 165, 218,
         117, 154, 207, 129, 176, 229, 135, 188, 241, 76,  129, 90,  103, 125, 118, 149, 120, 163,
         113, 115, 168, 58,  111, 164, 134, 96,  149, 184, 90,  143, 118, 117, 170, 80,  133, 186,
         17,  70,  123, 46,  99,  152, 95,  148, 201, 63,  116, 169, 11,  64,  117, 142, 53,  106,
         225, 50,  103, 112, 80,  133, 45,  98,  151}},
    {16, 3, 2, 3,
     (const uint8_t[]){83, 136, 148, 121, 140, 161, 151, 89, 131, 168, 137, 110, 163, 162, 135, 138,
                       129, 95}},
    {1, 6, 4, 2, (const uint8_t[]){82,  135, 124, 82,  135, 124, 82,  135, 124, 82,  135, 124,
                                   117, 170, 127, 117, 170, 127, 117, 170, 127, 117, 170, 127}},
};

static void resize_equals_pillow(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pillow / sizeof *pillow; i++) {
        struct image in = patterned(pillow[i].width, pillow[i].height), out = {0};
        size_t bytes = (size_t)(pillow[i].to_width * pillow[i].to_height * 3);
        assert_int_equal(image_resize(&out, &in, pillow[i].to_width, pillow[i].to_height, &err),
                         COHORT_OK);
        assert_memory_equal(out.pixels, pillow[i].pixels, bytes);
        image_release(&in);
        image_release(&out);
    }
}

/* Weight of input pixel k for output pixel i: a triangle about the output's centre, as wide as the
 * scale; not yet divided by the sum. */
static double weight(int k, int i, double scale) {
    double reach = scale > 1 ? scale : 1, d = fabs(k + 0.5 - (i + 0.5) * scale) / reach;
    return d < 1 ? 1 - d : 0;
}

static double expected_pixel(const struct image *in, int x, int y, int c, int width, int height) {
    double sum = 0, total = 0;
    for (int j = 0; j < in->height; j++) {
        for (int i = 0; i < in->width; i++) {
            double w =
                weight(i, x, (double)in->width / width) * weight(j, y, (double)in->height / height);
            sum += w * at(in, i, j)[c];
            total += w;
        }
    }
    return sum / total;
}

static void resize_is_the_formula(void **state) {
    (void)state;
    static const int sizes[][4] = {{13, 9, 13, 9}, {13, 9, 7, 20}, {13, 9, 26, 3},
                                   {1, 1, 5, 4},   {40, 3, 1, 1},  {64, 48, 10, 7},
                                   {5, 5, 6, 4},   {2, 50, 50, 2}, {31, 1, 8, 8}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int *s = sizes[k];
        struct image in = patterned(s[0], s[1]), out = {0};
        assert_int_equal(image_resize(&out, &in, s[2], s[3], &err), COHORT_OK);
        assert_int_equal(out.width, s[2]);
        assert_int_equal(out.height, s[3]);
        for (int i = 0; i < s[2] * s[3] * 3; i++) { /* two roundings of half a level each */
            double e = expected_pixel(&in, i / 3 % s[2], i / 3 / s[2], i % 3, s[2], s[3]);
            assert_true(fabs(out.pixels[i] - e) <= 1.001);
        }
        if (s[0] == s[2] && s[1] == s[3])
            assert_memory_equal(in.pixels, out.pixels, (size_t)(s[2] * s[3] * 3));
        image_release(&in);
        image_release(&out);
    }
    struct image in = patterned(4, 4), out = {0};
    assert_int_equal(image_resize(&out, &in, 0, 4, &err), COHORT_ERR_FORMAT);
    assert_int_equal(image_resize(&out, &in, 20000, 20000, &err), COHORT_ERR_UNSUPPORTED);
    assert_null(out.pixels);
    image_release(&in);
}

static void crop(void **state) {
    (void)state;
    struct image in = patterned(9, 7), out = {0};
    assert_int_equal(image_crop(&out, &in, 2, 3, 5, 4, &err), COHORT_OK);
    assert_int_equal(out.width, 5);
    assert_int_equal(out.height, 4);
    for (int y = 0; y < 4; y++) {
        for (int x = 0; x < 5; x++)
            assert_memory_equal(at(&out, x, y), at(&in, x + 2, y + 3), 3);
    }
    image_release(&out);
    static const int bad[][4] = {{-1, 0, 2, 2}, {0, -1, 2, 2},      {5, 0, 5, 1},
                                 {0, 4, 1, 4},  {0, 0, 0, 1},       {0, 0, 1, -3},
                                 {9, 0, 1, 1},  {INT_MAX, 0, 1, 1}, {1, 1, INT_MAX, INT_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(image_crop(&out, &in, bad[i][0], bad[i][1], bad[i][2], bad[i][3], &err),
                         COHORT_ERR_SHAPE);
    assert_int_equal(image_crop(&out, &in, 5, 0, 5, 1, &err), COHORT_ERR_SHAPE);
    assert_string_equal(err.message, "a crop of 5x1 at (5,0) is not inside an image of 9x7");
    image_release(&in);
}

/* ---- warping --------------------------------------------------------------------------------- */

static void warp_identity(void **state) {
    (void)state;
    struct image in = patterned(11, 6), out = {0};
    assert_int_equal(image_warp(&out, &in, (const float[]){0, 0, 11, 0, 11, 6, 0, 6}, 11, 6, &err),
                     COHORT_OK);
    assert_memory_equal(out.pixels, in.pixels, 11 * 6 * 3);
    image_release(&out);
    /* corners turned by one: the picture turned by 90 degrees */
    assert_int_equal(image_warp(&out, &in, (const float[]){0, 6, 0, 0, 11, 0, 11, 6}, 6, 11, &err),
                     COHORT_OK);
    for (int y = 0; y < 11; y++) {
        for (int x = 0; x < 6; x++)
            assert_memory_equal(at(&out, x, y), at(&in, y, 5 - x), 3);
    }
    image_release(&out);
    /* a part of it */
    assert_int_equal(image_warp(&out, &in, (const float[]){3, 1, 8, 1, 8, 5, 3, 5}, 5, 4, &err),
                     COHORT_OK);
    for (int y = 0; y < 4; y++) {
        for (int x = 0; x < 5; x++)
            assert_memory_equal(at(&out, x, y), at(&in, x + 3, y + 1), 3);
    }
    image_release(&out);
    image_release(&in);
}

/* A trapezium painted with a ramp along its lines: straightened, the ramp runs from 0 to 1 by the
 * cross ratio, and lines through the corners stay lines. */
static void warp_perspective(void **state) {
    (void)state;
    struct image in = {0}, out = {0};
    assert_int_equal(image_init(&in, 200, 200, &err), COHORT_OK);
    for (int i = 0; i < 200 * 200; i++) { /* white left of the line x = 100 */
        if (i % 200 < 100)
            memset(in.pixels + 3 * i, 255, 3);
    }
    /* symmetric about x = 100: the middle column of the result is where white ends, in every row */
    assert_int_equal(
        image_warp(&out, &in, (const float[]){60, 20, 140, 20, 180, 180, 20, 180}, 40, 40, &err),
        COHORT_OK);
    for (int y = 0; y < 40; y++) {
        for (int x = 0; x < 40; x++)
            assert_true(x < 19 ? at(&out, x, y)[0] == 255 : x > 20 ? at(&out, x, y)[0] == 0 : true);
    }
    image_release(&out);
    /* The diagonals of the quadrilateral meet at y = 220/3 (by hand); the result's centre shows it.
     */
    for (int i = 0; i < 200 * 200; i++)
        memset(in.pixels + 3 * i, i / 200 < 73 ? 255 : 0, 3);
    assert_int_equal(
        image_warp(&out, &in, (const float[]){60, 20, 140, 20, 180, 180, 20, 180}, 40, 40, &err),
        COHORT_OK);
    for (int y = 0; y < 40; y++)
        assert_true(y < 19 ? at(&out, 20, y)[0] == 255 : y > 20 ? at(&out, 20, y)[0] == 0 : true);
    image_release(&out);
    /* shrinking averages: fine stripes become grey */
    for (int i = 0; i < 200 * 200; i++)
        memset(in.pixels + 3 * i, i % 2 ? 255 : 0, 3);
    assert_int_equal(
        image_warp(&out, &in, (const float[]){0, 0, 200, 0, 200, 200, 0, 200}, 50, 50, &err),
        COHORT_OK);
    for (int i = 0; i < 50 * 50; i++)
        assert_in_range(out.pixels[3 * i], 126, 129);
    image_release(&out);
    static const float bad[][8] = {
        {0, 0, 5, 0, 10, 0, 15, 0},    {1, 1, 1, 1, 1, 1, 1, 1},
        {0, 0, 10, 10, 10, 0, 0, 10},  {0, 0, 10, 0, 2, 2, 0, 10},
        {0, 0, 10, 0, 10, NAN, 0, 10}, {0, 0, INFINITY, 0, 10, 10, 0, 10}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(image_warp(&out, &in, bad[i], 4, 4, &err), COHORT_ERR_SHAPE);
    /* far outside: edges are repeated */
    assert_int_equal(image_warp(&out, &in,
                                (const float[]){-1e6F, -1e6F, 1e6F, -1e6F, 1e6F, 1e6F, -1e6F, 1e6F},
                                4, 4, &err),
                     COHORT_OK);
    image_release(&out);
    image_release(&in);
}

/* ---- drawing --------------------------------------------------------------------------------- */

static const uint8_t red[3] = {255, 0, 0}, white[3] = {255, 255, 255}, blue[3] = {0, 0, 255};

static int painted(const struct image *im) {
    int n = 0;
    for (int i = 0; i < im->width * im->height; i++)
        n += im->pixels[3 * i] != 0 || im->pixels[3 * i + 1] != 0 || im->pixels[3 * i + 2] != 0;
    return n;
}

static void lines(void **state) {
    (void)state;
    struct image im = {0};
    assert_int_equal(image_init(&im, 20, 12, &err), COHORT_OK);
    image_draw_line(&im, 3, 4, 8, 4, 1, red);
    assert_int_equal(painted(&im), 6);
    for (int x = 3; x <= 8; x++)
        assert_memory_equal(at(&im, x, 4), red, 3);
    image_draw_line(&im, 15, 2, 15, 9, 3, blue);
    assert_int_equal(painted(&im), 6 + 3 * 10);
    memset(im.pixels, 0, 20 * 12 * 3);
    image_draw_line(&im, 0, 0, 11, 11, 1, red);
    assert_int_equal(painted(&im), 12);
    memset(im.pixels, 0, 20 * 12 * 3);
    /* from far away through (5, 6) and out: clipped without running through two thousand million */
    image_draw_line(&im, INT_MIN, 6, INT_MAX, 6, 1, red);
    assert_int_equal(painted(&im), 20);
    image_draw_line(&im, -5, -5, -1, -1, 1, red);
    image_draw_line(&im, 0, -100, 19, -50, 3, red);
    image_draw_line(&im, INT_MIN, INT_MIN, INT_MIN, INT_MAX, 1, red);
    assert_int_equal(painted(&im), 20);
    image_draw_line(&im, 7, 2, 7, 2, 0, white); /* a dot */
    assert_int_equal(painted(&im), 21);
    image_release(&im);
}

static void rectangles(void **state) {
    (void)state;
    struct image im = {0};
    assert_int_equal(image_init(&im, 20, 12, &err), COHORT_OK);
    image_draw_rectangle(&im, 2, 3, 8, 7, 1, red);
    assert_int_equal(painted(&im), 2 * 7 + 2 * 3);
    assert_memory_equal(at(&im, 2, 3), red, 3);
    assert_memory_equal(at(&im, 8, 7), red, 3);
    assert_int_equal(at(&im, 5, 5)[0], 0);
    memset(im.pixels, 0, 20 * 12 * 3);
    image_draw_rectangle(&im, 8, 7, 2, 3, 3, red); /* corners in the other order */
    assert_int_equal(painted(&im), 9 * 7 - 3 * 1);
    memset(im.pixels, 0, 20 * 12 * 3);
    image_draw_rectangle(&im, INT_MIN, 2, INT_MAX, 5, 1, red);
    assert_int_equal(painted(&im), 40);
    image_draw_rectangle(&im, -10, -10, 30, 30, 2, red);
    image_draw_rectangle(&im, INT_MIN, INT_MIN, INT_MAX, INT_MAX, INT_MAX, red);
    assert_int_equal(painted(&im), 40);
    image_draw_rectangle(&im, 10, 6, 10, 6, 1000, red);
    assert_int_equal(painted(&im), 240);
    image_release(&im);
}

static void letters(void **state) {
    (void)state;
    struct image im = {0};
    assert_int_equal(image_init(&im, 60, 30, &err), COHORT_OK);
    image_draw_text(&im, 4, 5, 2, "I", white, blue);
    int ink = 0, ground = 0;
    for (int i = 0; i < 60 * 30; i++) {
        ink += memcmp(im.pixels + 3 * i, white, 3) == 0;
        ground += memcmp(im.pixels + 3 * i, blue, 3) == 0;
    }
    assert_int_equal(ink, 11 * 4); /* 11 pixels of the letter, each 2x2 */
    assert_int_equal(ink + ground, (5 + 4) * 2 * (7 + 4) * 2);
    assert_memory_equal(at(&im, 4, 5), blue, 3);
    image_draw_text(&im, 55, 25, 3, "clipped at the edges", red, blue);
    image_draw_text(&im, -30, -10, 3, "clipped too", red, blue);
    image_draw_text(&im, INT_MAX, INT_MIN, 1000, "nowhere", red, blue);
    image_draw_text(&im, 0, 0, 1, "", red, blue);
    /* every character but the blank has ink, no two look alike, and others look like '?' */
    for (int a = 32; a < 127; a++) {
        int pixels = 0;
        for (int i = 0; i < FONT_WIDTH * FONT_HEIGHT; i++)
            pixels += font_pixel((unsigned char)a, i % FONT_WIDTH, i / FONT_WIDTH);
        assert_true(a == 32 ? pixels == 0 : pixels >= 2);
        for (int b = 32; b < a; b++) {
            bool same = true;
            for (int i = 0; i < FONT_WIDTH * FONT_HEIGHT; i++)
                same = same && font_pixel((unsigned char)a, i % FONT_WIDTH, i / FONT_WIDTH) ==
                                   font_pixel((unsigned char)b, i % FONT_WIDTH, i / FONT_WIDTH);
            assert_false(same);
        }
    }
    struct image two = {0};
    assert_int_equal(image_init(&two, 60, 30, &err), COHORT_OK);
    memset(im.pixels, 0, 60 * 30 * 3);
    image_draw_text(&im, 1, 1, 1, "a\xc3\xa9z", white, blue); /* é is one character of two bytes */
    image_draw_text(&two, 1, 1, 1, "a?z", white, blue);
    assert_memory_equal(im.pixels, two.pixels, 60 * 30 * 3);
    image_release(&im);
    image_release(&two);
}

/* ---- outputs as pictures --------------------------------------------------------------------- */

static void from_tensor(void **state) {
    (void)state;
    float unit[] = {0, 0.5F, 1, 0.25F, 1.04F, -0.03F}, bytes[] = {0, 128, 255, 64, 258, -3},
          any[] = {-100, 0, 100, -50, 50, 100};
    struct image im = {0};
    struct tensor t = {.type = DT_F32, .shape = shape_of(4, (int64_t[]){1, 1, 2, 3}), .data = unit};
    assert_int_equal(image_from_tensor(&im, &t, &err), COHORT_OK);
    assert_int_equal(im.width, 3);
    assert_int_equal(im.height, 2);
    const uint8_t from_unit[] = {0, 128, 255, 64, 255, 0};
    for (int i = 0; i < 18; i++)
        assert_int_equal(im.pixels[i], from_unit[i / 3]);
    image_release(&im);
    t.data = bytes;
    t.shape = shape_of(2, (int64_t[]){2, 3});
    assert_int_equal(image_from_tensor(&im, &t, &err), COHORT_OK);
    for (int i = 0; i < 18; i++)
        assert_int_equal(im.pixels[i], ((const uint8_t[]){0, 128, 255, 64, 255, 0})[i / 3]);
    image_release(&im);
    t.data = any;
    t.shape = shape_of(4, (int64_t[]){1, 3, 1, 2}); /* planes */
    assert_int_equal(image_from_tensor(&im, &t, &err), COHORT_OK);
    assert_memory_equal(im.pixels, ((const uint8_t[]){0, 255, 191, 128, 64, 255}), 6);
    image_release(&im);
    t.shape = shape_of(3, (int64_t[]){2, 1, 3}); /* channels last */
    assert_int_equal(image_from_tensor(&im, &t, &err), COHORT_OK);
    assert_memory_equal(im.pixels, ((const uint8_t[]){0, 128, 255, 64, 191, 255}), 6);
    image_release(&im);
    float flat[] = {-7, -7, NAN, -7};
    t = (struct tensor){.type = DT_F32, .shape = shape_of(2, (int64_t[]){2, 2}), .data = flat};
    assert_int_equal(image_from_tensor(&im, &t, &err), COHORT_OK);
    image_release(&im);
    t.shape = shape_of(4, (int64_t[]){1, 2, 1, 2});
    assert_int_equal(image_from_tensor(&im, &t, &err), COHORT_ERR_SHAPE);
    assert_string_equal(err.message,
                        "an output of shape 1x2x1x2 is not a picture of 1 or 3 channels");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resize_equals_pillow),
        cmocka_unit_test(resize_is_the_formula),
        cmocka_unit_test(crop),
        cmocka_unit_test(warp_identity),
        cmocka_unit_test(warp_perspective),
        cmocka_unit_test(lines),
        cmocka_unit_test(rectangles),
        cmocka_unit_test(letters),
        cmocka_unit_test(from_tensor),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
