/* Reductions and normalisations on views (kernels/plainops.h), every table of the registry against
 * its definition in double. */
#include "base/mem.h"
#include "tests/support/testplain.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- reducing and normalising ---------------------------------------------------------------- */

static void check_global_reduce(const struct plainops *plain) {
    struct random r = {30};
    for (int i = 0; i < 12 * PLAIN_CHANNELS; i++) {
        int c = plain_channels[i % PLAIN_CHANNELS], h = random_int(&r, 1, 9),
            w = random_int(&r, 1, 12);
        enum reduce_op op = (enum reduce_op)random_int(&r, REDUCE_MEAN, REDUCE_SUM);
        struct test_map in = test_map_make(-2, h + 4, c, w, 0);
        test_map_fill(&in, &r, 0, h);
        struct test_map out = test_map_make(0, 3, c, 1, 16);
        struct test_map before = test_map_copy(&out);
        int blocks = view_blocks(&out.view), b0 = random_int(&r, 0, blocks - 1);
        int b1 = random_int(&r, b0, blocks);
        plain->global_reduce(op, &in.view, h, &out.view, 1, b0, b1);
        assert_true(test_map_only(&out, &before, 1, 2, b0, b1));
        for (int ch = b0 * BLOCK; ch < b1 * BLOCK && ch < c; ch++) {
            double want = op == REDUCE_MAX ? -INFINITY : 0, magnitude = 0;
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++) {
                    double v = test_map_at(&in, y, ch, x);
                    want = op == REDUCE_MAX ? fmax(want, v) : want + v;
                    magnitude += fabs(v);
                }
            double allowed = op == REDUCE_MAX ? 0 : (h * w + 2) * (double)FLT_EPSILON * magnitude;
            if (op == REDUCE_MEAN) {
                want /= h * w;
                allowed /= h * w;
            }
            assert_true(fabs((double)test_map_at(&out, 1, ch, 0) - want) <= allowed);
        }
        test_map_free(&in);
        test_map_free(&out);
        test_map_free(&before);
    }
}

static void test_global_reduce(void **state) {
    (void)state;
    for (int i = 0; plain_table(i); i++)
        check_global_reduce(plain_table(i));
}

/* Rows are reduced on their own and combined in order: so rows' sums, added up, have the same bits.
 */
static void check_global_reduce_by_rows(const struct plainops *plain) {
    struct random r = {31};
    for (int i = 0; i < PLAIN_CHANNELS; i++) {
        int c = plain_channels[i], h = 7, w = 11, blocks = (c + BLOCK - 1) / BLOCK;
        struct test_map in = plain_filled(false, h, c, w, &r);
        struct test_map all = test_map_make(0, 1, c, 1, 0), rows = test_map_make(0, h, c, 1, 0);
        plain->global_reduce(REDUCE_SUM, &in.view, h, &all.view, 0, 0, blocks);
        for (int y = 0; y < h; y++) {
            struct view row = in.view;
            row.row0 = -y; /* row y of the map is row 0 of an image of one row */
            plain->global_reduce(REDUCE_SUM, &row, 1, &rows.view, y, 0, blocks);
        }
        for (int ch = 0; ch < c; ch++) {
            float sum = test_map_at(&rows, 0, ch, 0), got = test_map_at(&all, 0, ch, 0);
            for (int y = 1; y < h; y++)
                sum += test_map_at(&rows, y, ch, 0);
            assert_memory_equal(&sum, &got, sizeof sum);
        }
        test_map_free(&in);
        test_map_free(&all);
        test_map_free(&rows);
    }
}

static void test_global_reduce_by_rows(void **state) {
    (void)state;
    for (int i = 0; plain_table(i); i++)
        check_global_reduce_by_rows(plain_table(i));
}

/* Sums over a row's pixels of v - shift, or its square, all tables with the same bits. */
static void test_row_sums(void **state) {
    (void)state;
    struct random r = {33};
    for (int i = 0; i < 4 * PLAIN_CHANNELS; i++) {
        int c = plain_channels[i % PLAIN_CHANNELS], h = random_int(&r, 1, 4), power = 1 + i % 2;
        int w = random_int(&r, 1, 11), blocks = (c + BLOCK - 1) / BLOCK;
        float shift[64] = {0}, sums[4 * 64], first[4 * 64];
        struct test_map in = plain_filled(false, h, c, w, &r);
        assert_true(c <= 64);
        for (int ch = 0; ch < c; ch++)
            shift[ch] = random_float(&r);
        for (int t = 0; plain_table(t); t++) {
            for (int k = 0; k < 4 * 64; k++)
                sums[k] = -7;
            plain_table(t)->row_sums(power, shift, &in.view, sums, 0, h, 0, blocks);
            for (int y = 0; y < h; y++)
                for (int ch = 0; ch < c; ch++) {
                    double want = 0;
                    for (int x = 0; x < w; x++)
                        want += pow((double)test_map_at(&in, y, ch, x) - (double)shift[ch], power);
                    float *got = &sums[y * blocks * BLOCK + ch];
                    assert_true(fabs((double)*got - want) <= (w + 4) * 4.0 * w * FLT_EPSILON);
                    if (t > 0)
                        assert_memory_equal(got, &first[y * blocks * BLOCK + ch], sizeof *got);
                }
            for (int k = h * blocks * BLOCK; k < 4 * 64; k++)
                assert_true(sums[k] == -7);
            if (t == 0)
                memcpy(first, sums, sizeof first);
        }
        test_map_free(&in);
    }
}

static void run_softmax(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                        int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->softmax_channels_rows(j->flag, &j->a->view, out, y0, y1);
}

static double want_softmax(const struct plain_job *j, int y, int c, int x, double *allowed) {
    double sum = 0, greatest = -INFINITY, v = test_map_at(j->a, y, c, x);
    for (int i = 0; i < j->channels; i++)
        greatest = fmax(greatest, (double)test_map_at(j->a, y, i, x));
    for (int i = 0; i < j->channels; i++)
        sum += exp((double)test_map_at(j->a, y, i, x) - greatest);
    double p = exp(v - greatest) / sum;
    /* exp's argument is rounded, exp itself has 2 ulp, the sum adds `channels` roundings */
    double relative = (fabs(v - greatest) + j->channels + 8) * FLT_EPSILON;
    *allowed = j->flag ? relative : relative * p;
    return j->flag ? v - greatest - log(sum) : p;
}

static void run_layer_norm(const struct plain_job *j, const struct view *out, int64_t y0,
                           int64_t y1, int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->layer_norm_rows(j->p, j->q, j->f0, &j->a->view, out, y0, y1);
}

static double want_layer_norm(const struct plain_job *j, int y, int c, int x, double *allowed) {
    double mean = 0, variance = 0;
    for (int i = 0; i < j->channels; i++)
        mean += (double)test_map_at(j->a, y, i, x) / j->channels;
    for (int i = 0; i < j->channels; i++) {
        double d = (double)test_map_at(j->a, y, i, x) - mean;
        variance += d * d / j->channels;
    }
    double factor = 1 / sqrt(variance + (double)j->f0);
    double v = ((double)test_map_at(j->a, y, c, x) - mean) * factor * (double)j->p[c];
    /* values are below 1: the mean is off by at most (channels + 2) roundings of 1 */
    *allowed = (j->channels + 6) * (double)FLT_EPSILON * (factor + fabs(v) + 1);
    return v + (j->q ? (double)j->q[c] : 0);
}

static void run_lrn(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                    int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->lrn_rows(j->i0, j->f0, j->f1, j->f2, &j->a->view, out, y0, y1);
}

static double want_lrn(const struct plain_job *j, int y, int c, int x, double *allowed) {
    int below = (int)floor((j->i0 - 1) / 2.0), above = (int)ceil((j->i0 - 1) / 2.0);
    double sum = 0, v = test_map_at(j->a, y, c, x);
    for (int i = c - below; i <= c + above; i++)
        if (i >= 0 && i < j->channels)
            sum += pow((double)test_map_at(j->a, y, i, x), 2);
    double want = v / pow((double)j->f2 + (double)j->f0 / j->i0 * sum, (double)j->f1);
    *allowed = (j->i0 + 8) * (double)FLT_EPSILON * fabs(want);
    return want;
}

static void test_over_channels(void **state) {
    (void)state;
    struct random r = {32};
    for (int i = 0; i < 24 * PLAIN_CHANNELS; i++) {
        float scale[64], bias[64];
        static const float betas[] = {0.75f, 0.5f, 1.0f, 0.6f};
        struct plain_job j = {.all_blocks = true};
        for (int c = 0; c < 64; c++) {
            scale[c] = random_float(&r);
            bias[c] = random_float(&r);
        }
        j.channels = plain_channels[i % PLAIN_CHANNELS];
        j.tokens = random_int(&r, 0, 2) == 0;
        j.height = random_int(&r, 1, 4);
        j.width = j.tokens ? 1 : random_int(&r, 1, 5);
        struct test_map a = plain_filled(j.tokens, j.height, j.channels, j.width, &r);
        j.a = &a;
        if (i % 3 == 0) {
            j.name = "softmax";
            j.run = run_softmax;
            j.want = want_softmax;
            j.flag = random_int(&r, 0, 1);
        } else if (i % 3 == 1) {
            j.name = "layer norm";
            j.run = run_layer_norm;
            j.want = want_layer_norm;
            j.p = scale;
            j.q = random_int(&r, 0, 1) ? bias : NULL;
            j.f0 = 0.01f;
        } else {
            j.name = "LRN";
            j.run = run_lrn;
            j.want = want_lrn;
            j.i0 = random_int(&r, 1, 6);
            j.f0 = 0.3f;
            j.f1 = betas[random_int(&r, 0, 3)];
            j.f2 = 1.5f;
        }
        plain_check(&j, &r);
        test_map_free(&a);
    }
}

static void check_softmax_extremes(const struct plainops *plain) {
    float in[3] = {1e30f, -INFINITY, 1e30f}, out[3];
    struct view vi = view_tokens(in, 0, 1, 3), vo = view_tokens(out, 0, 1, 3);
    plain->softmax_channels_rows(false, &vi, &vo, 0, 1);
    assert_true(out[0] == 0.5f && out[1] == 0 && out[2] == 0.5f);
}

static void test_softmax_extremes(void **state) {
    (void)state;
    for (int i = 0; plain_table(i); i++)
        check_softmax_extremes(plain_table(i));
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_global_reduce),    cmocka_unit_test(test_global_reduce_by_rows),
        cmocka_unit_test(test_row_sums),         cmocka_unit_test(test_over_channels),
        cmocka_unit_test(test_softmax_extremes), cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
