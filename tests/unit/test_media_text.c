/* Text: rectangles around points against brute force, regions on drawn maps, CTC decoding. */
#include "base/mem.h"
#include "media/geometry.h"
#include "media/media.h"
#include "tests/support/leaks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cohort_error err;
static unsigned seed = 1;

static int random_below(int n) {
    seed = seed * 1664525 + 1013904223;
    return (int)((seed >> 8) % (unsigned)n);
}

/* ---- geometry -------------------------------------------------------------------------------- */

/* Area of the box around the points whose sides have the direction of u. */
static double area_along(const struct point *p, int n, double ux, double uy) {
    double u0 = INFINITY, u1 = -INFINITY, v0 = INFINITY, v1 = -INFINITY;
    for (int i = 0; i < n; i++) {
        double u = p[i].x * ux + p[i].y * uy, v = p[i].y * ux - p[i].x * uy;
        u0 = fmin(u0, u), u1 = fmax(u1, u), v0 = fmin(v0, v), v1 = fmax(v1, v);
    }
    return (u1 - u0) * (v1 - v0);
}

/* The least over the directions of all pairs of points: the hull's sides are among them. */
static double least_area(const struct point *p, int n) {
    double least = INFINITY;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < i; j++) {
            double dx = p[j].x - p[i].x, dy = p[j].y - p[i].y, length = hypot(dx, dy);
            if (length > 0)
                least = fmin(least, area_along(p, n, dx / length, dy / length));
        }
    }
    return isinf(least) ? 0 : least;
}

static void hull_and_rectangle(void **state) {
    (void)state;
    for (int round = 0; round < 3000; round++) {
        struct point p[24], copy[24], hull[25];
        int n = 1 + random_below(24), spread = round % 3 == 0 ? 3 : round % 3 == 1 ? 20 : 1000;
        for (int i = 0; i < n; i++)
            p[i] = copy[i] = (struct point){random_below(spread), random_below(spread)};
        size_t count = convex_hull(copy, (size_t)n, hull);
        assert_true(count >= 1 && count <= (size_t)n);
        for (size_t i = 0; i < count && count > 2; i++) { /* all points to the left of every side */
            struct point a = hull[i], b = hull[(i + 1) % count];
            for (int k = 0; k < n; k++)
                assert_true((b.x - a.x) * (p[k].y - a.y) - (b.y - a.y) * (p[k].x - a.x) >= 0);
        }
        struct rectangle r = smallest_rectangle(hull, count);
        double least = least_area(p, n);
        assert_true(fabs(r.width * r.height - least) <= 1e-9 * (1 + least));
        for (int k = 0; k < n; k++) { /* and it does hold them all */
            double dx = p[k].x - r.centre.x, dy = p[k].y - r.centre.y;
            assert_true(fabs(dx * r.along.x + dy * r.along.y) <= r.width / 2 + 1e-9 * spread);
            assert_true(fabs(dy * r.along.x - dx * r.along.y) <= r.height / 2 + 1e-9 * spread);
        }
    }
    assert_int_equal(convex_hull(NULL, 0, NULL), 0);
}

static void corners_in_order(void **state) {
    (void)state;
    for (int degrees = -179; degrees < 180;
         degrees++) { /* however the same rectangle is described */
        double a = degrees * acos(-1) / 180;
        struct rectangle r = {
            .centre = {50, 40}, .along = {cos(a), sin(a)}, .width = 30, .height = 8};
        float c[8];
        rectangle_corners(&r, c);
        double turning = 0;
        for (int i = 0; i < 4; i++) {
            int j = (i + 1) % 4;
            turning +=
                (double)c[2 * i] * (double)c[2 * j + 1] - (double)c[2 * j] * (double)c[2 * i + 1];
        }
        assert_true(fabs(turning / 2 - 240) < 1e-2); /* clockwise with y down: a positive area */
        double dx = (double)(c[2] - c[0]), dy = (double)(c[3] - c[1]);
        assert_true(dx > 0 && fabs(dy) <= dx * 1.0001); /* the first side runs to the right, ... */
        assert_true(c[7] > c[1] - 1e-3F);               /* and the text hangs below it */
    }
}

/* ---- regions --------------------------------------------------------------------------------- */

static struct tensor blank_map(int height, int width) {
    struct tensor t = {0};
    struct shape s = shape_of(4, (int64_t[]){1, 1, height, width});
    assert_int_equal(tensor_init(&t, DT_F32, &s, &err), COHORT_OK);
    return t;
}

static void paint(struct tensor *t, int x0, int y0, int x1, int y1, float v) {
    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++)
            tensor_f32(t)[y * t->shape.dim[3] + x] = v;
    }
}

static void region_is(const struct text_region *r, double x0, double y0, double x1, double y1,
                      double score) {
    const double want[8] = {x0, y0, x1, y0, x1, y1, x0, y1};
    for (int i = 0; i < 8; i++) {
        if (!(fabs((double)r->corners[i] - want[i]) < 1e-3))
            fail_msg("corner value %d is %g, not %g", i, (double)r->corners[i], want[i]);
    }
    assert_true(fabs((double)r->score - score) < 1e-4);
}

static void upright_regions(void **state) {
    (void)state;
    struct tensor t = blank_map(60, 100);
    paint(&t, 50, 31, 80, 37, 0.9F); /* right on the second line */
    paint(&t, 10, 30, 40, 36, 0.8F); /* left on it, a little higher */
    paint(&t, 10, 10, 30, 16, 1);    /* first line */
    paint(&t, 60, 10, 80, 14, 0.5F); /* not probable enough */
    paint(&t, 90, 10, 92, 30, 1);    /* too thin */
    paint(&t, 5, 50, 8, 53, 1);      /* just big enough */
    paint(&t, 0, 0, 100, 3, 0.3F);   /* not above the threshold */
    struct text_region *r = NULL;
    int n = 0;
    assert_int_equal(text_regions(&r, &n, &t, NULL, 100, 60, &err), COHORT_OK);
    assert_int_equal(n, 4);
    double d = 20 * 6 * 1.5 / (2 * 26); /* area * 1.5 / perimeter */
    region_is(&r[0], 10 - d, 10 - d, 30 + d, 16 + d, 1);
    d = 30 * 6 * 1.5 / (2 * 36);
    region_is(&r[1], 10 - d, 30 - d, 40 + d, 36 + d, 0.8);
    region_is(&r[2], 50 - d, 31 - d, 80 + d, 37 + d, 0.9);
    d = 9 * 1.5 / 12;
    region_is(&r[3], 5 - d, 50 - d, 8 + d, 53 + d, 1);
    mem_free(r);
    /* the map was made of a picture of 200x180 shrunk by 1/2 and 1/3; regions are cut at its edge
     */
    struct placement w = {.scale_x = 0.5F, .scale_y = 1 / 3.F, .offset_x = 5, .offset_y = 0};
    assert_int_equal(text_regions(&r, &n, &t, &w, 200, 156, &err), COHORT_OK);
    assert_int_equal(n, 4);
    d = 20 * 6 * 1.5 / (2 * 26);
    region_is(&r[0], (10 - d - 5) * 2, (10 - d) * 3, (30 + d - 5) * 2, (16 + d) * 3, 1);
    d = 9 * 1.5 / 12;
    region_is(&r[3], 0, (50 - d) * 3, (8 + d - 5) * 2, 156, 1);
    mem_free(r);
    tensor_release(&t);
}

/* A slanted bar: the rectangle lies along it. */
static void slanted_region(void **state) {
    (void)state;
    for (int degrees = -40; degrees <= 40; degrees += 10) {
        struct tensor t = blank_map(200, 200);
        double a = degrees * acos(-1) / 180, half = 60, thick = 8;
        for (int i = 0; i < 200 * 200; i++) {
            double dx = i % 200 + 0.5 - 100, dy = i / 200 + 0.5 - 100;
            if (fabs(dx * cos(a) + dy * sin(a)) < half && fabs(dy * cos(a) - dx * sin(a)) < thick)
                tensor_f32(&t)[i] = 0.95F;
        }
        struct text_region *r = NULL;
        int n = 0;
        assert_int_equal(text_regions(&r, &n, &t, NULL, 200, 200, &err), COHORT_OK);
        assert_int_equal(n, 1);
        const float *c = r->corners;
        double grow = 2 * half * 2 * thick * 1.5 / (2 * (2 * half + 2 * thick));
        double length = hypot((double)(c[2] - c[0]), (double)(c[3] - c[1])),
               height = hypot((double)(c[6] - c[0]), (double)(c[7] - c[1]));
        assert_true(fabs(length - 2 * (half + grow)) < 4);
        assert_true(fabs(height - 2 * (thick + grow)) < 4);
        assert_true(fabs(atan2((double)(c[3] - c[1]), (double)(c[2] - c[0])) - a) < 0.03);
        assert_true(fabs((double)(c[0] + c[4]) / 2 - 100) < 1 &&
                    fabs((double)(c[1] + c[5]) / 2 - 100) < 1);
        mem_free(r);
        tensor_release(&t);
    }
}

/* A ring counts by its own pixels, as a curved line does.  A staircase is one piece. */
static void odd_pieces(void **state) {
    (void)state;
    struct tensor t = blank_map(64, 64);
    paint(&t, 10, 10, 50, 50, 1);
    paint(&t, 12, 12, 48, 48, 0);
    struct text_region *r = NULL;
    int n = -1;
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_OK);
    assert_int_equal(n, 1);
    double d = 304 * 1.5 / 160; /* of its own pixels, not of what they surround */
    region_is(r, 10 - d, 10 - d, 50 + d, 50 + d, 1);
    mem_free(r);
    paint(&t, 10, 10, 50, 50, 0.59F); /* everywhere text, nowhere probable enough */
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_OK);
    assert_int_equal(n, 0);
    assert_non_null(r);
    mem_free(r);
    paint(&t, 0, 0, 64, 64, 0);
    for (int i = 0; i < 60; i++) { /* a staircase of 3x3 blocks that touch by their corners */
        if (i % 3 == 0)
            paint(&t, i, i, i + 3, i + 3, 1);
    }
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_OK);
    assert_int_equal(n, 1);
    assert_true(r->corners[2] - r->corners[0] > 30);
    mem_free(r);
    paint(&t, 0, 0, 64, 64, 1); /* all of it: cut at the edge */
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_OK);
    assert_int_equal(n, 1);
    region_is(r, 0, 0, 64, 64, 1);
    mem_free(r);
    paint(&t, 0, 0, 64, 64, NAN);
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_OK);
    assert_int_equal(n, 0);
    mem_free(r);
    for (int i = 0; i < 64 * 64; i++) /* noise: nothing to expect but an end */
        tensor_f32(&t)[i] = (float)random_below(1000) / 1000;
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_OK);
    mem_free(r);
    t.shape = shape_of(4, (int64_t[]){1, 2, 32, 64});
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_ERR_SHAPE);
    assert_string_equal(err.message, "an output of shape 1x2x32x64 is not a text map of 1x1xHxW");
    t.shape = shape_of(2, (int64_t[]){64, 64});
    assert_int_equal(text_regions(&r, &n, &t, NULL, 64, 64, &err), COHORT_OK);
    struct image im = {0};
    assert_int_equal(image_init(&im, 64, 64, &err), COHORT_OK);
    struct text_region wild = {.corners = {-1e9F, 3, 1e9F, 3, 50, NAN, 5, 60}};
    text_regions_draw(&im, r, n);
    text_regions_draw(&im, &wild, 1);
    image_release(&im);
    mem_free(r);
    tensor_release(&t);
}

/* ---- the recogniser -------------------------------------------------------------------------- */

static void decoding(void **state) {
    (void)state;
    char *names[] = {(char *)"a", (char *)"b", (char *)"\xe7\x96\x97"};
    struct labels keys = {.names = names, .count = 3};
    enum { STEPS = 9, CLASSES = 5 }; /* blank a b 疗 space */
    static const int best[STEPS] = {0, 1, 1, 0, 1, 3, 4, 4, 2};
    float v[STEPS * CLASSES];
    for (int i = 0; i < STEPS * CLASSES; i++)
        v[i] = i % CLASSES == best[i / CLASSES] ? 0.6F : 0.1F;
    struct tensor t = {
        .type = DT_F32, .shape = shape_of(3, (int64_t[]){1, STEPS, CLASSES}), .data = v};
    char *text = NULL;
    float score = -1;
    assert_int_equal(text_decode(&text, &score, &t, &keys, &err), COHORT_OK);
    assert_string_equal(text, "aa\xe7\x96\x97 b");
    assert_true(fabsf(score - 0.6F) < 1e-6F);
    mem_free(text);
    for (int i = 0; i < STEPS * CLASSES; i++) /* scores instead of probabilities */
        v[i] = i % CLASSES == best[i / CLASSES] ? 5 : -3;
    assert_int_equal(text_decode(&text, &score, &t, &keys, &err), COHORT_OK);
    assert_string_equal(text, "aa\xe7\x96\x97 b");
    assert_true(fabs((double)score - 1 / (1 + 4 * exp(-8))) < 1e-6);
    mem_free(text);
    t.shape = shape_of(2, (int64_t[]){1, CLASSES}); /* a blank only */
    assert_int_equal(text_decode(&text, &score, &t, &keys, &err), COHORT_OK);
    assert_string_equal(text, "");
    assert_true(score == 0);
    mem_free(text);
    t.shape = shape_of(3, (int64_t[]){1, 1, 4}); /* without a space */
    v[3] = 99;
    assert_int_equal(text_decode(&text, NULL, &t, &keys, &err), COHORT_OK);
    assert_string_equal(text, "\xe7\x96\x97");
    mem_free(text);
    t.shape = shape_of(3, (int64_t[]){1, 0, CLASSES});
    assert_int_equal(text_decode(&text, NULL, &t, &keys, &err), COHORT_OK);
    assert_string_equal(text, "");
    mem_free(text);
    t.shape = shape_of(3, (int64_t[]){1, 2, 6});
    assert_int_equal(text_decode(&text, NULL, &t, &keys, &err), COHORT_ERR_SHAPE);
    assert_string_equal(
        err.message,
        "an output of shape 1x2x6 does not fit 3 keys: 1xTx5 (blank, keys, space) is expected");
}

static void failing_memory(void **state) {
    (void)state;
    struct tensor t = blank_map(20, 60);
    paint(&t, 5, 5, 50, 12, 1);
    char *names[58] = {0};
    for (int i = 0; i < 58; i++)
        names[i] = (char *)"x";
    struct labels keys = {.names = names, .count = 58};
    struct tensor steps = {
        .type = DT_F32, .shape = shape_of(3, (int64_t[]){1, 20, 60}), .data = t.data};
    long before = mem_live_blocks();
    for (long nth = 1;; nth++) {
        struct text_region *r = NULL;
        char *text = NULL;
        int n;
        mem_fail_at(nth);
        enum cohort_code code = text_regions(&r, &n, &t, NULL, 60, 20, &err);
        if (code == COHORT_OK)
            code = text_decode(&text, NULL, &steps, &keys, &err);
        mem_fail_at(0);
        mem_free(r);
        mem_free(text);
        assert_int_equal(mem_live_blocks(), before);
        if (code == COHORT_OK) {
            assert_true(nth > 9);
            break;
        }
        assert_int_equal(code, COHORT_ERR_MEMORY);
    }
    tensor_release(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hull_and_rectangle), cmocka_unit_test(corners_in_order),
        cmocka_unit_test(upright_regions),    cmocka_unit_test(slanted_region),
        cmocka_unit_test(odd_pieces),         cmocka_unit_test(decoding),
        cmocka_unit_test(failing_memory),     cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
