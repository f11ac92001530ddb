/* Operators that move elements, conversions and resampling on views (kernels/plainops.h), every
 * table of the registry against its definition. */
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

/* ---- moving ---------------------------------------------------------------------------------- */

/* Copies into a map that holds other channels already, and must keep them. */
static void check_copy_channels(const struct plainops *plain) {
    struct random r = {24};
    for (int i = 0; i < 1500; i++) {
        int from_all = random_int(&r, 1, 50), to_all = random_int(&r, 1, 50);
        int count = random_int(&r, 1, from_all < to_all ? from_all : to_all);
        int from = random_int(&r, 0, from_all - count), to = random_int(&r, 0, to_all - count);
        int h = random_int(&r, 1, 4), w = random_int(&r, 1, 6), y0 = random_int(&r, 0, h);
        if (i % 3 == 0) {
            from = from / BLOCK * BLOCK;
            to = to / BLOCK * BLOCK;
        }
        struct test_map in = plain_filled(false, h, from_all, w, &r);
        struct test_map out = test_map_make(0, h, to_all, w, 16);
        test_map_fill(&out, &r, 0, h);
        /* rubbish where zeros belong: the copy must put them right when it touches the last block
         */
        bool last = (to + count - 1) / BLOCK == view_blocks(&out.view) - 1;
        for (int c = to_all; out.view.blocked && last && c % BLOCK; c++)
            for (int y = y0; y < h; y++)
                *view_at(&out.view, y, c, 0) = 7;
        struct test_map want = test_map_copy(&out);
        for (int y = y0; y < h; y++)
            for (int x = 0; x < w; x++)
                for (int c = 0; c < count; c++)
                    *view_at(&want.view, y, to + c, x) = test_map_at(&in, y, from + c, x);
        if (last)
            test_map_zero_lanes(&want, y0, h);
        plain->copy_channels_rows(&in.view, from, &out.view, to, count, y0, h);
        assert_memory_equal(out.memory, want.memory, out.floats * sizeof(float));
        test_map_free(&in);
        test_map_free(&out);
        test_map_free(&want);
    }
}

static void test_copy_channels(void **state) {
    (void)state;
    for (int i = 0; plain_table(i); i++)
        check_copy_channels(plain_table(i));
}

static void run_shuffle(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                        int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->shuffle_channels_rows(j->ints, &j->a->view, out, y0, y1);
}

static double want_shuffle(const struct plain_job *j, int y, int c, int x, double *allowed) {
    (void)allowed;
    return test_map_at(j->a, y, j->ints[c], x);
}

static void run_gather(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                       int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->gather_pixels_rows(j->longs + y0, j->ints, j->f0, &j->a->view, out, y0, y1);
}

static double want_gather(const struct plain_job *j, int y, int c, int x, double *allowed) {
    (void)allowed;
    if (j->longs[y] < 0 || j->ints[x] < 0)
        return (double)j->f0;
    return test_map_at(j->a, (int)j->longs[y], c, j->ints[x]);
}

static void test_shuffle_and_gather(void **state) {
    (void)state;
    struct random r = {25};
    for (int i = 0; i < 20 * PLAIN_CHANNELS; i++) {
        /* 96: from more blocks than registers hold at once */
        int table[64], in_c = i % 4 ? plain_channels[random_int(&r, 0, PLAIN_CHANNELS - 1)] : 96;
        int64_t rows[16];
        struct plain_job j = {.name = "shuffle", .run = run_shuffle, .want = want_shuffle};
        j.all_blocks = true;
        j.channels = plain_channels[i % PLAIN_CHANNELS];
        j.height = random_int(&r, 1, 5);
        j.width = random_int(&r, 1, 9);
        struct test_map a = plain_filled(false, j.height, in_c, j.width, &r);
        j.a = &a;
        j.ints = table;
        for (int c = 0; c < j.channels; c++)
            table[c] = random_int(&r, 0, in_c - 1);
        plain_check(&j, &r);
        test_map_free(&a);

        int in_h = random_int(&r, 1, 6), in_w = random_int(&r, 1, 8);
        struct plain_job g = {.name = "gather", .run = run_gather, .want = want_gather};
        g.all_blocks = true;
        g.channels = j.channels;
        g.height = random_int(&r, 1, 7);
        g.width = random_int(&r, 1, 12);
        g.f0 = random_float(&r);
        g.longs = rows;
        g.ints = table;
        struct test_map b = plain_filled(false, in_h, g.channels, in_w, &r);
        g.a = &b;
        for (int y = 0; y < g.height; y++)
            rows[y] = random_int(&r, -1, in_h - 1);
        for (int x = 0; x < g.width; x++) {
            bool next = x > 0 && table[x - 1] + 1 < in_w && random_int(&r, 0, 1);
            table[x] = next ? table[x - 1] + 1 : random_int(&r, -1, in_w - 1);
        }
        plain_check(&g, &r);
        test_map_free(&b);
    }
}

static void run_depth_to_space(const struct plain_job *j, const struct view *out, int64_t y0,
                               int64_t y1, int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->depth_to_space_rows(j->i0, j->flag, &j->a->view, out, y0, y1);
}

static double want_depth_to_space(const struct plain_job *j, int y, int c, int x, double *allowed) {
    int b = j->i0, by = y % b, bx = x % b;
    (void)allowed;
    return test_map_at(j->a, y / b,
                       j->flag ? (by * b + bx) * j->channels + c : c * b * b + by * b + bx, x / b);
}

static void run_space_to_depth(const struct plain_job *j, const struct view *out, int64_t y0,
                               int64_t y1, int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->space_to_depth_rows(j->i0, &j->a->view, out, y0, y1);
}

static double want_space_to_depth(const struct plain_job *j, int y, int c, int x, double *allowed) {
    int in_c = j->channels / (j->i0 * j->i0), cell = c / in_c;
    (void)allowed;
    return test_map_at(j->a, y * j->i0 + cell / j->i0, c % in_c, x * j->i0 + cell % j->i0);
}

static void test_depth_and_space(void **state) {
    (void)state;
    static const int counts[] = {1, 2, 3, 4, 5, 8, 12, 16, 17, 20};
    struct random r = {26};
    for (int block = 1; block <= 4; block++)
        for (int i = 0; i < 10; i++)
            for (int mode = 0; mode < 3; mode++) {
                int h = random_int(&r, 1, 3), w = random_int(&r, 1, 4), c = counts[i];
                struct plain_job j = {.name = "depth to space",
                                      .run = run_depth_to_space,
                                      .want = want_depth_to_space};
                j.all_blocks = true;
                j.i0 = block;
                j.flag = mode == 0;
                j.height = mode < 2 ? h * block : h;
                j.width = mode < 2 ? w * block : w;
                j.channels = mode < 2 ? c : c * block * block;
                if (mode == 2) {
                    j.name = "space to depth";
                    j.run = run_space_to_depth;
                    j.want = want_space_to_depth;
                }
                struct test_map a = mode < 2 ? plain_filled(false, h, c * block * block, w, &r)
                                             : plain_filled(false, h * block, c, w * block, &r);
                j.a = &a;
                plain_check(&j, &r);
                test_map_free(&a);
            }
}

static void run_from_nchw(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                          int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->map_from_nchw(j->nchw, j->i0, out, y0, y1);
}

static double want_from_nchw(const struct plain_job *j, int y, int c, int x, double *allowed) {
    int n = y / j->i0, row = y % j->i0;
    (void)allowed;
    return j->nchw[((n * j->channels + c) * j->i0 + row) * j->width + x];
}

static void test_nchw(void **state) {
    (void)state;
    struct random r = {27};
    for (int i = 0; i < 5 * PLAIN_CHANNELS; i++) {
        static float nchw[3 * 48 * 5 * 19], back[3 * 48 * 5 * 19];
        struct plain_job j = {.name = "from NCHW", .run = run_from_nchw, .want = want_from_nchw};
        int images = random_int(&r, 1, 3);
        j.all_blocks = true;
        j.i0 = random_int(&r, 1, 5);
        j.height = images * j.i0;
        j.channels = plain_channels[i % PLAIN_CHANNELS];
        j.width = random_int(&r, 1, 19);
        size_t n = (size_t)images * (size_t)j.channels * (size_t)j.i0 * (size_t)j.width;
        for (size_t k = 0; k < n; k++) {
            nchw[k] = random_float(&r);
        }
        j.nchw = nchw;
        plain_check(&j, &r);
        struct test_map m = test_map_make(0, j.height, j.channels, j.width, 16);
        int split = random_int(&r, 0, j.height);
        for (int t = 0; plain_table(t); t++) {
            const struct plainops *plain = plain_table(t);
            for (size_t k = 0; k < n; k++)
                back[k] = 9;
            plain->map_from_nchw(nchw, j.i0, &m.view, 0, j.height);
            plain->map_to_nchw(&m.view, j.i0, back, 0, split);
            plain->map_to_nchw(&m.view, j.i0, back, split, j.height);
            assert_memory_equal(nchw, back, n * sizeof(float));
        }
        test_map_free(&m);
    }
}

static void run_u8(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                   int b0, int b1) {
    (void)b0, (void)b1;
    j->plain->u8_to_map_rows(j->bytes + y0 * j->width * j->channels, j->p, out, y0, y1);
}

static double want_u8(const struct plain_job *j, int y, int c, int x, double *allowed) {
    *allowed = 0;
    return (double)j->p[c * 256 + j->bytes[(y * j->width + x) * j->channels + c]];
}

static void test_u8(void **state) {
    (void)state;
    static uint8_t bytes[6 * 20 * 20];
    struct random r = {28};
    for (int channels = 1; channels <= 20; channels++) {
        float table[20 * 256];
        struct plain_job j = {.name = "u8", .run = run_u8, .want = want_u8, .all_blocks = true};
        for (int i = 0; i < 20 * 256; i++)
            table[i] = random_float(&r);
        j.height = 6;
        j.channels = channels;
        j.width = random_int(&r, 1, 20);
        j.p = table;
        j.bytes = bytes;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)random_int(&r, 0, 255);
        plain_check(&j, &r);
    }
}

/* ---- resampling ------------------------------------------------------------------------------ */

static void run_resample(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                         int b0, int b1) {
    struct resample_table t = *j->table;
    t.row_index += y0 * t.row_taps;
    t.row_weight += y0 * t.row_taps;
    j->plain->resample_rows(&t, &j->a->view, out, y0, y1, b0, b1);
}

static double want_resample(const struct plain_job *j, int y, int c, int x, double *allowed) {
    const struct resample_table *t = j->table;
    double sum = 0, magnitude = 0;
    for (int p = 0; p < t->row_taps; p++)
        for (int q = 0; q < t->col_taps; q++) {
            int row = (int)t->row_index[y * t->row_taps + p],
                col = t->col_index[x * t->col_taps + q];
            double term = (double)t->row_weight[y * t->row_taps + p] *
                          t->col_weight[x * t->col_taps + q] * test_map_at(j->a, row, c, col);
            sum += term;
            magnitude += fabs(term);
        }
    *allowed = (t->row_taps * t->col_taps + 3) * (double)FLT_EPSILON * magnitude;
    return sum;
}

static void test_resample(void **state) {
    (void)state;
    struct random r = {29};
    for (int i = 0; i < 10 * PLAIN_CHANNELS; i++) {
        int64_t rows[64];
        int cols[64], in_h = random_int(&r, 1, 6), in_w = random_int(&r, 1, 7);
        float row_weights[64], col_weights[64];
        struct resample_table t = {.row_taps = random_int(&r, 1, 4),
                                   .col_taps = random_int(&r, 1, 4),
                                   .row_index = rows,
                                   .row_weight = row_weights,
                                   .col_index = cols,
                                   .col_weight = col_weights};
        struct plain_job j = {.name = "resample", .run = run_resample, .want = want_resample};
        j.height = random_int(&r, 1, 8);
        j.width = random_int(&r, 1, 12);
        j.channels = plain_channels[i % PLAIN_CHANNELS];
        j.table = &t;
        for (int k = 0; k < 64; k++) {
            rows[k] = random_int(&r, 0, in_h - 1);
            cols[k] = random_int(&r, 0, in_w - 1);
            row_weights[k] = random_float(&r);
            col_weights[k] = random_float(&r);
        }
        struct test_map a = plain_filled(false, in_h, j.channels, in_w, &r);
        j.a = &a;
        plain_check(&j, &r);
        test_map_free(&a);
    }
}

/* ---- float16 --------------------------------------------------------------------------------- */

/* The number that float16 bits stand for. */
static double half_value(uint16_t h) {
    int e = h >> 10 & 31, m = h & 0x3ff;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

/* All 65536 of them, at every offset from where vectors begin. */
static void test_half_to_float(void **state) {
    (void)state;
    static uint16_t half[65536 + 40], back[65536 + 40];
    static float wide[65536 + 40];
    for (int i = 0; i < 65536; i++)
        half[i] = (uint16_t)i;
    for (int t = 0; plain_table(t); t++) {
        for (int i = 0; i < 65536; i++)
            wide[i] = -7;
        plain_table(t)->half_to_float(half, wide, 5);
        plain_table(t)->half_to_float(half + 5, wide + 5, 65536 - 5);
        assert_true(wide[65536] == 0);
        for (int i = 0; i < 65536; i++) {
            double want = half_value((uint16_t)i);
            assert_true((double)wide[i] == want || (isnan(want) && isnan(wide[i])));
            assert_true(!signbit(wide[i]) == !(i & 0x8000));
        }
        plain_table(t)->float_to_half(wide, back, 65536 - 3);
        plain_table(t)->float_to_half(wide + 65536 - 3, back + 65536 - 3, 3);
        for (int i = 0; i < 65536; i++)
            if (!isnan(wide[i]))
                assert_int_equal(back[i], i);
            else
                assert_true((back[i] & 0x7c00) == 0x7c00 && (back[i] & 0x3ff) != 0);
    }
}

/* Rounds to the nearest float16, of two as near to the one whose last bit is 0. */
static void check_rounding(float f, uint16_t got) {
    double v = (double)f, size = fabs(v), g = half_value((uint16_t)(got & 0x7fff));
    assert_true(!signbit(f) == !(got & 0x8000));
    if (isinf(g)) {
        assert_true(size >= 65520);
        return;
    }
    double below = (got & 0x7fff) == 0 ? 0 : half_value((uint16_t)((got & 0x7fff) - 1));
    double above = (got & 0x7fff) == 0x7bff ? 65536 : half_value((uint16_t)((got & 0x7fff) + 1));
    double distance = fabs(size - g);
    bool even = !(got & 1);
    if (!(distance < fabs(size - below) || (even && distance == fabs(size - below)) || g == below))
        fail_msg("%.9g became %.9g, but %.9g is nearer", v, g, below);
    if (!(distance < fabs(size - above) || (even && distance == fabs(size - above))))
        fail_msg("%.9g became %.9g, but %.9g is nearer", v, g, above);
}

static void test_float_to_half(void **state) {
    (void)state;
    enum { N = 1031 };
    static float in[N];
    static uint16_t out[N], first[N];
    struct random r = {41};
    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < N; i++) {
            float f = random_float(&r);
            if (i % 3 == 0) /* half way between two, or next to it */
                f = (float)(half_value((uint16_t)random_int(&r, 0, 0x7bfe)) / 2 +
                            half_value((uint16_t)random_int(&r, 0, 0x7bfe)) / 2);
            else if (i % 3 == 1) {
                int h = random_int(&r, 0, 0x7bfe);
                f = (float)((half_value((uint16_t)h) + half_value((uint16_t)(h + 1))) / 2);
            } else {
                f = ldexpf(f, random_int(&r, -27, 18));
            }
            in[i] = random_int(&r, 0, 1) ? f : -f;
        }
        for (int t = 0; plain_table(t); t++) {
            plain_table(t)->float_to_half(in, out, N);
            for (int i = 0; i < N && t == 0; i++)
                check_rounding(in[i], out[i]);
            if (t == 0)
                memcpy(first, out, sizeof out);
            assert_memory_equal(first, out, sizeof out);
        }
    }
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_channels),
        cmocka_unit_test(test_shuffle_and_gather),
        cmocka_unit_test(test_depth_and_space),
        cmocka_unit_test(test_nchw),
        cmocka_unit_test(test_u8),
        cmocka_unit_test(test_resample),
        cmocka_unit_test(test_half_to_float),
        cmocka_unit_test(test_float_to_half),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
