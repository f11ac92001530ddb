/* The plain operators on views (kernels/plainops.h), each against its definition in double.
 *
 * Every operator is called through one helper that gives it guarded memory, a whole map or some
 * rows and blocks of it, checks that nothing else was written and that lanes beyond the last
 * channel are zero, and that rows computed on their own have the whole's bits. */
#include "base/mem.h"
#include "kernels/plainops.h"
#include "tests/support/testact.h"
#include "tests/support/testmap.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const int channel_choices[] = {1, 3, 8, 15, 16, 17, 24, 32, 40, 48};
enum { CHANNELS = sizeof channel_choices / sizeof *channel_choices };

/* ---- the helper ------------------------------------------------------------------------------ */

struct job; /* what one operator's test knows */
typedef void run_fn(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                    int b1);
typedef double want_fn(const struct job *j, int y, int c, int x, double *allowed);

struct job {
    const char *name;
    run_fn *run;
    want_fn *want;
    bool all_blocks; /* the operator has no block range */
    int height, channels, width;
    bool tokens;
    const struct test_map *a, *b;
    struct kernel_epilogue e;
    int op, i0, i1, i2;
    float f0, f1, f2;
    bool flag, flag2;
    const float *p, *q;
    const int *ints;
    const int64_t *longs;
    const float *nchw;
    const uint8_t *bytes;
    const struct resample_table *table;
};

static struct test_map make(bool tokens, int64_t row0, int64_t rows, int c, int w, int gap) {
    return tokens ? test_map_tokens(row0, rows, c, gap) : test_map_make(row0, rows, c, w, gap);
}

static bool close_enough(const struct job *j, const struct test_map *out, int y0, int y1, int b0,
                         int b1) {
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < j->width; x++)
            for (int c = b0 * BLOCK; c < b1 * BLOCK && c < j->channels; c++) {
                double allowed = 0, want = j->want(j, y, c, x, &allowed);
                double got = test_map_at(out, y, c, x);
                if (got == want || fabs(got - want) <= allowed || (isnan(got) && isnan(want)))
                    continue;
                fprintf(stderr,
                        "%s op %d, %dx%dx%d: (y %d, c %d, x %d) is %.9g, should be %.9g +- %.2g\n",
                        j->name, j->op, j->height, j->channels, j->width, y, c, x, got, want,
                        allowed);
                return false;
            }
    return true;
}

static void check(const struct job *j, struct random *r) {
    struct test_map whole = make(j->tokens, -1, j->height + 2, j->channels, j->width, 0);
    struct test_map before = test_map_copy(&whole);
    int blocks = view_blocks(&whole.view);
    j->run(j, &whole.view, 0, j->height, 0, blocks);
    assert_true(test_map_only(&whole, &before, 0, j->height, 0, blocks));
    assert_true(close_enough(j, &whole, 0, j->height, 0, blocks));
    test_map_free(&before);

    int y0 = random_int(r, 0, j->height - 1), y1 = random_int(r, y0, j->height);
    int b0 = j->all_blocks ? 0 : random_int(r, 0, blocks - 1);
    int b1 = j->all_blocks ? blocks : random_int(r, b0, blocks);
    struct test_map part = make(j->tokens, -2, j->height + 4, j->channels, j->width, 48);
    before = test_map_copy(&part);
    j->run(j, &part.view, y0, y1, b0, b1);
    assert_true(test_map_only(&part, &before, y0, y1, b0, b1));
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < j->width; x++)
            for (int c = b0 * BLOCK; c < b1 * BLOCK && c < j->channels; c++) {
                float p = test_map_at(&part, y, c, x), q = test_map_at(&whole, y, c, x);
                assert_memory_equal(&p, &q, sizeof p);
            }
    test_map_free(&whole);
    test_map_free(&part);
    test_map_free(&before);
}

static struct test_map filled(bool tokens, int rows, int c, int w, struct random *r) {
    struct test_map m = make(tokens, 0, rows, c, w, random_int(r, 0, 1) * 16);
    test_map_fill(&m, r, 0, rows);
    return m;
}

static void random_epilogue(struct job *j, const struct test_map *residual, struct random *r) {
    j->e.act = (enum kernel_act)random_int(r, KACT_NONE, KACT_COUNT - 1);
    j->e.a = j->e.act == KACT_CLIP ? -0.5f : 0.2f;
    j->e.b = j->e.act == KACT_CLIP ? 6.0f : 0.5f;
    j->e.residual = random_int(r, 0, 1) ? &residual->view : NULL;
    j->e.residual_last = random_int(r, 0, 1);
}

static double with_epilogue(const struct job *j, double v, double error, int y, int c, int x,
                            double *allowed) {
    double residual = j->e.residual ? (double)*view_at(j->e.residual, y, c, x) : 0;
    *allowed = test_epilogue_tolerance(&j->e, error, v, residual);
    return test_epilogue(&j->e, v, residual);
}

/* ---- elementwise ----------------------------------------------------------------------------- */

static void run_unary(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                      int b1) {
    unary_rows((enum unary_op)j->op, j->f0, j->f1, &j->a->view, out, &j->e, y0, y1, b0, b1);
}

static double want_unary(const struct job *j, int y, int c, int x, double *allowed) {
    double v = test_map_at(j->a, y, c, x), f = v, a = (double)j->f0, b = (double)j->f1;
    switch ((enum unary_op)j->op) {
    case UNARY_COPY:
        break;
    case UNARY_EXP:
        f = exp(v);
        break;
    case UNARY_SQRT:
        f = sqrt(v);
        break;
    case UNARY_ERF:
        f = erf(v);
        break;
    case UNARY_GELU:
        f = 0.5 * v * (1 + erf(v / sqrt(2.0)));
        break;
    case UNARY_POW:
        f = pow(v, a);
        break;
    case UNARY_ABS:
        f = fabs(v);
        break;
    case UNARY_NEG:
        f = -v;
        break;
    case UNARY_AFFINE:
        f = a * v + b;
        break;
    }
    return with_epilogue(j, f, 4 * FLT_EPSILON * (1 + fabs(f)), y, c, x, allowed);
}

static void test_unary(void **state) {
    (void)state;
    struct random r = {21};
    for (int op = UNARY_COPY; op <= UNARY_AFFINE; op++)
        for (int i = 0; i < 3 * CHANNELS; i++) {
            struct job j = {.name = "unary", .run = run_unary, .want = want_unary};
            j.op = op;
            j.f0 = i % 3 == 0 ? 2.0f : i % 3 == 1 ? 0.5f : -1.3f;
            j.f1 = 0.7f;
            j.tokens = random_int(&r, 0, 3) == 0;
            j.height = random_int(&r, 1, 5);
            j.channels = channel_choices[i / 3];
            j.width = j.tokens ? 1 : random_int(&r, 1, 9);
            struct test_map a = filled(j.tokens, j.height, j.channels, j.width, &r);
            struct test_map residual = filled(j.tokens, j.height, j.channels, j.width, &r);
            if (op == UNARY_SQRT || op == UNARY_POW)
                for (int y = 0; y < j.height; y++)
                    for (int x = 0; x < j.width; x++)
                        for (int c = 0; c < j.channels; c++)
                            *view_at(&a.view, y, c, x) += 1.5f;
            j.a = &a;
            random_epilogue(&j, &residual, &r);
            check(&j, &r);
            test_map_free(&a);
            test_map_free(&residual);
        }
}

static void run_affine(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                       int b1) {
    affine_rows(j->p, j->q, &j->a->view, out, &j->e, y0, y1, b0, b1);
}

static double want_affine(const struct job *j, int y, int c, int x, double *allowed) {
    double v = (double)test_map_at(j->a, y, c, x) * j->p[c] + j->q[c];
    return with_epilogue(j, v, 4 * FLT_EPSILON * 2, y, c, x, allowed);
}

static void run_prelu(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                      int b1) {
    prelu_rows(j->p, &j->a->view, out, y0, y1, b0, b1);
}

static double want_prelu(const struct job *j, int y, int c, int x, double *allowed) {
    double v = test_map_at(j->a, y, c, x);
    *allowed = FLT_EPSILON;
    return v >= 0 ? v : v * (double)j->p[c];
}

static void test_affine_and_prelu(void **state) {
    (void)state;
    struct random r = {22};
    for (int i = 0; i < 4 * CHANNELS; i++) {
        float scale[64], shift[64];
        struct job j = {.name = "affine", .run = run_affine, .want = want_affine};
        for (int c = 0; c < 64; c++) {
            scale[c] = random_float(&r);
            shift[c] = random_float(&r);
        }
        j.tokens = i % 4 == 3;
        j.height = random_int(&r, 1, 5);
        j.channels = channel_choices[i / 4];
        j.width = j.tokens ? 1 : random_int(&r, 1, 9);
        j.p = scale;
        j.q = shift;
        struct test_map a = filled(j.tokens, j.height, j.channels, j.width, &r);
        struct test_map residual = filled(j.tokens, j.height, j.channels, j.width, &r);
        j.a = &a;
        random_epilogue(&j, &residual, &r);
        check(&j, &r);
        j.name = "prelu";
        j.run = run_prelu;
        j.want = want_prelu;
        check(&j, &r);
        test_map_free(&a);
        test_map_free(&residual);
    }
}

/* Operand b's broadcasting, one bit an axis. */
enum { ONE_ROW = 1, ONE_PIXEL = 2, ONE_CHANNEL = 4 };

static struct binary_operand operand(const struct test_map *m, int how) {
    struct binary_operand o = {.view = m->view};
    if (how & ONE_ROW)
        o.view.row_pitch = 0;
    if (how & ONE_PIXEL)
        o.view.pixel_pitch = 0;
    if (how & ONE_CHANNEL) {
        o.view.block_pitch = 0;
        o.broadcast_lanes = true;
    }
    return o;
}

static float operand_value(const struct test_map *m, int how, int y, int c, int x) {
    return test_map_at(m, how & ONE_ROW ? 0 : y, how & ONE_CHANNEL ? 0 : c,
                       how & ONE_PIXEL ? 0 : x);
}

static void run_binary(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                       int b1) {
    struct binary_operand a = operand(j->a, j->i0), b = operand(j->b, j->i1);
    binary_rows((enum binary_op)j->op, &a, &b, out, &j->e, y0, y1, b0, b1);
}

static double want_binary(const struct job *j, int y, int c, int x, double *allowed) {
    double a = operand_value(j->a, j->i0, y, c, x), b = operand_value(j->b, j->i1, y, c, x), f = 0;
    switch ((enum binary_op)j->op) {
    case BINARY_ADD:
        f = a + b;
        break;
    case BINARY_SUB:
        f = a - b;
        break;
    case BINARY_MUL:
        f = a * b;
        break;
    case BINARY_DIV:
        f = a / b;
        break;
    case BINARY_POW:
        f = pow(a, b);
        break;
    case BINARY_MAX:
        f = fmax(a, b);
        break;
    case BINARY_MIN:
        f = fmin(a, b);
        break;
    }
    return with_epilogue(j, f, 2 * FLT_EPSILON * fabs(f), y, c, x, allowed);
}

static void test_binary(void **state) {
    (void)state;
    struct random r = {23};
    for (int op = BINARY_ADD; op <= BINARY_MIN; op++)
        for (int how = 0; how < 16; how++)
            for (int i = 0; i < CHANNELS; i++) {
                struct job j = {.name = "binary", .run = run_binary, .want = want_binary};
                int b_how = how & 7;
                j.op = op;
                j.i0 = how & 8 ? b_how : 0; /* the left operand can be the broadcast one too */
                j.i1 = how & 8 ? 0 : b_how;
                j.tokens = random_int(&r, 0, 4) == 0;
                j.height = random_int(&r, 1, 4);
                j.channels = channel_choices[i];
                j.width = j.tokens ? 1 : random_int(&r, 1, 7);
                struct test_map maps[2];
                for (int m = 0; m < 2; m++) {
                    int b = m == 0 ? j.i0 : j.i1;
                    maps[m] =
                        filled(j.tokens, b & ONE_ROW ? 1 : j.height,
                               b & ONE_CHANNEL ? 1 : j.channels, b & ONE_PIXEL ? 1 : j.width, &r);
                    for (size_t k = 0; k < maps[m].floats; k++)
                        if (!test_is_guard(maps[m].memory[k]) && op == BINARY_POW)
                            maps[m].memory[k] += 2;
                    if (!j.tokens)
                        test_map_zero_lanes(&maps[m], 0, b & ONE_ROW ? 1 : j.height);
                }
                struct test_map residual = filled(j.tokens, j.height, j.channels, j.width, &r);
                j.a = &maps[0];
                j.b = &maps[1];
                random_epilogue(&j, &residual, &r);
                check(&j, &r);
                test_map_free(&maps[0]);
                test_map_free(&maps[1]);
                test_map_free(&residual);
            }
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* Copies into a map that holds other channels already, and must keep them. */
static void test_copy_channels(void **state) {
    (void)state;
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
        struct test_map in = filled(false, h, from_all, w, &r);
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
        copy_channels_rows(&in.view, from, &out.view, to, count, y0, h);
        assert_memory_equal(out.memory, want.memory, out.floats * sizeof(float));
        test_map_free(&in);
        test_map_free(&out);
        test_map_free(&want);
    }
}

static void run_shuffle(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                        int b1) {
    (void)b0, (void)b1;
    shuffle_channels_rows(j->ints, &j->a->view, out, y0, y1);
}

static double want_shuffle(const struct job *j, int y, int c, int x, double *allowed) {
    (void)allowed;
    return test_map_at(j->a, y, j->ints[c], x);
}

static void run_gather(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                       int b1) {
    (void)b0, (void)b1;
    gather_pixels_rows(j->longs + y0, j->ints, j->f0, &j->a->view, out, y0, y1);
}

static double want_gather(const struct job *j, int y, int c, int x, double *allowed) {
    (void)allowed;
    if (j->longs[y] < 0 || j->ints[x] < 0)
        return (double)j->f0;
    return test_map_at(j->a, (int)j->longs[y], c, j->ints[x]);
}

static void test_shuffle_and_gather(void **state) {
    (void)state;
    struct random r = {25};
    for (int i = 0; i < 20 * CHANNELS; i++) {
        int table[64], in_c = channel_choices[random_int(&r, 0, CHANNELS - 1)];
        int64_t rows[16];
        struct job j = {.name = "shuffle", .run = run_shuffle, .want = want_shuffle};
        j.all_blocks = true;
        j.channels = channel_choices[i % CHANNELS];
        j.height = random_int(&r, 1, 5);
        j.width = random_int(&r, 1, 9);
        struct test_map a = filled(false, j.height, in_c, j.width, &r);
        j.a = &a;
        j.ints = table;
        for (int c = 0; c < j.channels; c++)
            table[c] = random_int(&r, 0, in_c - 1);
        check(&j, &r);
        test_map_free(&a);

        int in_h = random_int(&r, 1, 6), in_w = random_int(&r, 1, 8);
        struct job g = {.name = "gather", .run = run_gather, .want = want_gather};
        g.all_blocks = true;
        g.channels = j.channels;
        g.height = random_int(&r, 1, 7);
        g.width = random_int(&r, 1, 12);
        g.f0 = random_float(&r);
        g.longs = rows;
        g.ints = table;
        struct test_map b = filled(false, in_h, g.channels, in_w, &r);
        g.a = &b;
        for (int y = 0; y < g.height; y++)
            rows[y] = random_int(&r, -1, in_h - 1);
        for (int x = 0; x < g.width; x++) {
            bool next = x > 0 && table[x - 1] + 1 < in_w && random_int(&r, 0, 1);
            table[x] = next ? table[x - 1] + 1 : random_int(&r, -1, in_w - 1);
        }
        check(&g, &r);
        test_map_free(&b);
    }
}

static void run_depth_to_space(const struct job *j, const struct view *out, int64_t y0, int64_t y1,
                               int b0, int b1) {
    (void)b0, (void)b1;
    depth_to_space_rows(j->i0, j->flag, &j->a->view, out, y0, y1);
}

static double want_depth_to_space(const struct job *j, int y, int c, int x, double *allowed) {
    int b = j->i0, by = y % b, bx = x % b;
    (void)allowed;
    return test_map_at(j->a, y / b,
                       j->flag ? (by * b + bx) * j->channels + c : c * b * b + by * b + bx, x / b);
}

static void run_space_to_depth(const struct job *j, const struct view *out, int64_t y0, int64_t y1,
                               int b0, int b1) {
    (void)b0, (void)b1;
    space_to_depth_rows(j->i0, &j->a->view, out, y0, y1);
}

static double want_space_to_depth(const struct job *j, int y, int c, int x, double *allowed) {
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
                struct job j = {.name = "depth to space",
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
                struct test_map a = mode < 2 ? filled(false, h, c * block * block, w, &r)
                                             : filled(false, h * block, c, w * block, &r);
                j.a = &a;
                check(&j, &r);
                test_map_free(&a);
            }
}

static void run_from_nchw(const struct job *j, const struct view *out, int64_t y0, int64_t y1,
                          int b0, int b1) {
    (void)b0, (void)b1;
    map_from_nchw(j->nchw, j->i0, out, y0, y1);
}

static double want_from_nchw(const struct job *j, int y, int c, int x, double *allowed) {
    int n = y / j->i0, row = y % j->i0;
    (void)allowed;
    return j->nchw[((n * j->channels + c) * j->i0 + row) * j->width + x];
}

static void test_nchw(void **state) {
    (void)state;
    struct random r = {27};
    for (int i = 0; i < 5 * CHANNELS; i++) {
        static float nchw[3 * 48 * 5 * 19], back[3 * 48 * 5 * 19];
        struct job j = {.name = "from NCHW", .run = run_from_nchw, .want = want_from_nchw};
        int images = random_int(&r, 1, 3);
        j.all_blocks = true;
        j.i0 = random_int(&r, 1, 5);
        j.height = images * j.i0;
        j.channels = channel_choices[i % CHANNELS];
        j.width = random_int(&r, 1, 19);
        size_t n = (size_t)images * (size_t)j.channels * (size_t)j.i0 * (size_t)j.width;
        for (size_t k = 0; k < n; k++) {
            nchw[k] = random_float(&r);
            back[k] = 9;
        }
        j.nchw = nchw;
        check(&j, &r);
        struct test_map m = test_map_make(0, j.height, j.channels, j.width, 16);
        int split = random_int(&r, 0, j.height);
        map_from_nchw(nchw, j.i0, &m.view, 0, j.height);
        map_to_nchw(&m.view, j.i0, back, 0, split);
        map_to_nchw(&m.view, j.i0, back, split, j.height);
        assert_memory_equal(nchw, back, n * sizeof(float));
        test_map_free(&m);
    }
}

static void run_u8(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                   int b1) {
    (void)b0, (void)b1;
    u8_to_map_rows(j->bytes + y0 * j->width * j->channels, j->p, j->q, out, y0, y1);
}

static double want_u8(const struct job *j, int y, int c, int x, double *allowed) {
    *allowed = 300 * FLT_EPSILON;
    return ((double)j->bytes[(y * j->width + x) * j->channels + c] - j->p[c]) * j->q[c];
}

static void test_u8(void **state) {
    (void)state;
    static uint8_t bytes[6 * 20 * 20];
    struct random r = {28};
    for (int channels = 1; channels <= 20; channels++) {
        float mean[20], scale[20];
        struct job j = {.name = "u8", .run = run_u8, .want = want_u8, .all_blocks = true};
        for (int c = 0; c < 20; c++) {
            mean[c] = random_float(&r) * 128;
            scale[c] = random_float(&r);
        }
        j.height = 6;
        j.channels = channels;
        j.width = random_int(&r, 1, 20);
        j.p = mean;
        j.q = scale;
        j.bytes = bytes;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)random_int(&r, 0, 255);
        check(&j, &r);
    }
}

/* ---- resampling ------------------------------------------------------------------------------ */

static void run_resample(const struct job *j, const struct view *out, int64_t y0, int64_t y1,
                         int b0, int b1) {
    struct resample_table t = *j->table;
    t.row_index += y0 * t.row_taps;
    t.row_weight += y0 * t.row_taps;
    resample_rows(&t, &j->a->view, out, y0, y1, b0, b1);
}

static double want_resample(const struct job *j, int y, int c, int x, double *allowed) {
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
    for (int i = 0; i < 10 * CHANNELS; i++) {
        int64_t rows[64];
        int cols[64], in_h = random_int(&r, 1, 6), in_w = random_int(&r, 1, 7);
        float row_weights[64], col_weights[64];
        struct resample_table t = {.row_taps = random_int(&r, 1, 4),
                                   .col_taps = random_int(&r, 1, 4),
                                   .row_index = rows,
                                   .row_weight = row_weights,
                                   .col_index = cols,
                                   .col_weight = col_weights};
        struct job j = {.name = "resample", .run = run_resample, .want = want_resample};
        j.height = random_int(&r, 1, 8);
        j.width = random_int(&r, 1, 12);
        j.channels = channel_choices[i % CHANNELS];
        j.table = &t;
        for (int k = 0; k < 64; k++) {
            rows[k] = random_int(&r, 0, in_h - 1);
            cols[k] = random_int(&r, 0, in_w - 1);
            row_weights[k] = random_float(&r);
            col_weights[k] = random_float(&r);
        }
        struct test_map a = filled(false, in_h, j.channels, in_w, &r);
        j.a = &a;
        check(&j, &r);
        test_map_free(&a);
    }
}

/* ---- reducing and normalising ---------------------------------------------------------------- */

static void test_global_reduce(void **state) {
    (void)state;
    struct random r = {30};
    for (int i = 0; i < 12 * CHANNELS; i++) {
        int c = channel_choices[i % CHANNELS], h = random_int(&r, 1, 9), w = random_int(&r, 1, 12);
        enum reduce_op op = (enum reduce_op)random_int(&r, REDUCE_MEAN, REDUCE_SUM);
        struct test_map in = test_map_make(-2, h + 4, c, w, 0);
        test_map_fill(&in, &r, 0, h);
        struct test_map out = test_map_make(0, 3, c, 1, 16);
        struct test_map before = test_map_copy(&out);
        int blocks = view_blocks(&out.view), b0 = random_int(&r, 0, blocks - 1);
        int b1 = random_int(&r, b0, blocks);
        global_reduce(op, &in.view, h, &out.view, 1, b0, b1);
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

/* Rows are reduced on their own and combined in order: so rows' sums, added up, have the same bits.
 */
static void test_global_reduce_by_rows(void **state) {
    (void)state;
    struct random r = {31};
    for (int i = 0; i < CHANNELS; i++) {
        int c = channel_choices[i], h = 7, w = 11, blocks = (c + BLOCK - 1) / BLOCK;
        struct test_map in = filled(false, h, c, w, &r);
        struct test_map all = test_map_make(0, 1, c, 1, 0), rows = test_map_make(0, h, c, 1, 0);
        global_reduce(REDUCE_SUM, &in.view, h, &all.view, 0, 0, blocks);
        for (int y = 0; y < h; y++) {
            struct view row = in.view;
            row.row0 = -y; /* row y of the map is row 0 of an image of one row */
            global_reduce(REDUCE_SUM, &row, 1, &rows.view, y, 0, blocks);
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

static void run_softmax(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                        int b1) {
    (void)b0, (void)b1;
    softmax_channels_rows(j->flag, &j->a->view, out, y0, y1);
}

static double want_softmax(const struct job *j, int y, int c, int x, double *allowed) {
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

static void run_layer_norm(const struct job *j, const struct view *out, int64_t y0, int64_t y1,
                           int b0, int b1) {
    (void)b0, (void)b1;
    layer_norm_rows(j->p, j->q, j->f0, &j->a->view, out, y0, y1);
}

static double want_layer_norm(const struct job *j, int y, int c, int x, double *allowed) {
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

static void run_lrn(const struct job *j, const struct view *out, int64_t y0, int64_t y1, int b0,
                    int b1) {
    (void)b0, (void)b1;
    lrn_rows(j->i0, j->f0, j->f1, j->f2, &j->a->view, out, y0, y1);
}

static double want_lrn(const struct job *j, int y, int c, int x, double *allowed) {
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
    for (int i = 0; i < 24 * CHANNELS; i++) {
        float scale[64], bias[64];
        static const float betas[] = {0.75f, 0.5f, 1.0f, 0.6f};
        struct job j = {.all_blocks = true};
        for (int c = 0; c < 64; c++) {
            scale[c] = random_float(&r);
            bias[c] = random_float(&r);
        }
        j.channels = channel_choices[i % CHANNELS];
        j.tokens = random_int(&r, 0, 2) == 0;
        j.height = random_int(&r, 1, 4);
        j.width = j.tokens ? 1 : random_int(&r, 1, 5);
        struct test_map a = filled(j.tokens, j.height, j.channels, j.width, &r);
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
        check(&j, &r);
        test_map_free(&a);
    }
}

static void test_softmax_extremes(void **state) {
    (void)state;
    float in[3] = {1e30f, -INFINITY, 1e30f}, out[3];
    struct view vi = view_tokens(in, 0, 1, 3), vo = view_tokens(out, 0, 1, 3);
    softmax_channels_rows(false, &vi, &vo, 0, 1);
    assert_true(out[0] == 0.5f && out[1] == 0 && out[2] == 0.5f);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_affine_and_prelu),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_copy_channels),
        cmocka_unit_test(test_shuffle_and_gather),
        cmocka_unit_test(test_depth_and_space),
        cmocka_unit_test(test_nchw),
        cmocka_unit_test(test_u8),
        cmocka_unit_test(test_resample),
        cmocka_unit_test(test_global_reduce),
        cmocka_unit_test(test_global_reduce_by_rows),
        cmocka_unit_test(test_over_channels),
        cmocka_unit_test(test_softmax_extremes),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
