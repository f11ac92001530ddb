/* Elementwise operators on views (kernels/plainops.h), every table of the registry, each operator
 * against its definition in double; all tables with the same bits. */
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

/* ---- elementwise ----------------------------------------------------------------------------- */

static void run_unary(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                      int b0, int b1) {
    j->plain->unary_rows((enum unary_op)j->op, j->f0, j->f1, &j->a->view, out, &j->e, y0, y1, b0,
                         b1);
}

static double want_unary(const struct plain_job *j, int y, int c, int x, double *allowed) {
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
    return plain_with_epilogue(j, f, 4 * FLT_EPSILON * (1 + fabs(f)), y, c, x, allowed);
}

static void test_unary(void **state) {
    (void)state;
    struct random r = {21};
    for (int op = UNARY_COPY; op <= UNARY_AFFINE; op++)
        for (int i = 0; i < 3 * PLAIN_CHANNELS; i++) {
            struct plain_job j = {.name = "unary", .run = run_unary, .want = want_unary};
            j.op = op;
            j.f0 = i % 3 == 0 ? 2.0f : i % 3 == 1 ? 0.5f : -1.3f;
            j.f1 = 0.7f;
            j.tokens = random_int(&r, 0, 3) == 0;
            j.height = random_int(&r, 1, 5);
            j.channels = plain_channels[i / 3];
            j.width = j.tokens ? 1 : random_int(&r, 1, 9);
            struct test_map a = plain_filled(j.tokens, j.height, j.channels, j.width, &r);
            struct test_map residual = plain_filled(j.tokens, j.height, j.channels, j.width, &r);
            if (op == UNARY_SQRT || op == UNARY_POW)
                for (int y = 0; y < j.height; y++)
                    for (int x = 0; x < j.width; x++)
                        for (int c = 0; c < j.channels; c++)
                            *view_at(&a.view, y, c, x) += 1.5f;
            j.a = &a;
            plain_random_epilogue(&j, &residual, &r);
            plain_check(&j, &r);
            test_map_free(&a);
            test_map_free(&residual);
        }
}

static void run_affine(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                       int b0, int b1) {
    j->plain->affine_rows(j->p, j->q, &j->a->view, out, &j->e, y0, y1, b0, b1);
}

static double want_affine(const struct plain_job *j, int y, int c, int x, double *allowed) {
    double v = (double)test_map_at(j->a, y, c, x) * j->p[c] + j->q[c];
    return plain_with_epilogue(j, v, 4 * FLT_EPSILON * 2, y, c, x, allowed);
}

static void run_prelu(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                      int b0, int b1) {
    j->plain->prelu_rows(j->p, &j->a->view, out, y0, y1, b0, b1);
}

static double want_prelu(const struct plain_job *j, int y, int c, int x, double *allowed) {
    double v = test_map_at(j->a, y, c, x);
    *allowed = FLT_EPSILON;
    return v >= 0 ? v : v * (double)j->p[c];
}

static void test_affine_and_prelu(void **state) {
    (void)state;
    struct random r = {22};
    for (int i = 0; i < 4 * PLAIN_CHANNELS; i++) {
        float scale[64], shift[64];
        struct plain_job j = {.name = "affine", .run = run_affine, .want = want_affine};
        for (int c = 0; c < 64; c++) {
            scale[c] = random_float(&r);
            shift[c] = random_float(&r);
        }
        j.tokens = i % 4 == 3;
        j.height = random_int(&r, 1, 5);
        j.channels = plain_channels[i / 4];
        j.width = j.tokens ? 1 : random_int(&r, 1, 9);
        j.p = scale;
        j.q = shift;
        struct test_map a = plain_filled(j.tokens, j.height, j.channels, j.width, &r);
        struct test_map residual = plain_filled(j.tokens, j.height, j.channels, j.width, &r);
        j.a = &a;
        plain_random_epilogue(&j, &residual, &r);
        plain_check(&j, &r);
        j.name = "prelu";
        j.run = run_prelu;
        j.want = want_prelu;
        plain_check(&j, &r);
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

static void run_binary(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                       int b0, int b1) {
    struct binary_operand a = operand(j->a, j->i0), b = operand(j->b, j->i1);
    j->plain->binary_rows((enum binary_op)j->op, &a, &b, out, &j->e, y0, y1, b0, b1);
}

static double want_binary(const struct plain_job *j, int y, int c, int x, double *allowed) {
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
    return plain_with_epilogue(j, f, 2 * FLT_EPSILON * fabs(f), y, c, x, allowed);
}

static void test_binary(void **state) {
    (void)state;
    struct random r = {23};
    for (int op = BINARY_ADD; op <= BINARY_MIN; op++)
        for (int how = 0; how < 16; how++)
            for (int i = 0; i < PLAIN_CHANNELS; i++) {
                struct plain_job j = {.name = "binary", .run = run_binary, .want = want_binary};
                int b_how = how & 7;
                j.op = op;
                j.i0 = how & 8 ? b_how : 0; /* the left operand can be the broadcast one too */
                j.i1 = how & 8 ? 0 : b_how;
                j.tokens = random_int(&r, 0, 4) == 0;
                j.height = random_int(&r, 1, 4);
                j.channels = plain_channels[i];
                j.width = j.tokens ? 1 : random_int(&r, 1, 7);
                struct test_map maps[2];
                for (int m = 0; m < 2; m++) {
                    int b = m == 0 ? j.i0 : j.i1;
                    maps[m] = plain_filled(j.tokens, b & ONE_ROW ? 1 : j.height,
                                           b & ONE_CHANNEL ? 1 : j.channels,
                                           b & ONE_PIXEL ? 1 : j.width, &r);
                    for (size_t k = 0; k < maps[m].floats; k++)
                        if (!test_is_guard(maps[m].memory[k]) && op == BINARY_POW)
                            maps[m].memory[k] += 2;
                    if (!j.tokens)
                        test_map_zero_lanes(&maps[m], 0, b & ONE_ROW ? 1 : j.height);
                }
                struct test_map residual =
                    plain_filled(j.tokens, j.height, j.channels, j.width, &r);
                j.a = &maps[0];
                j.b = &maps[1];
                plain_random_epilogue(&j, &residual, &r);
                plain_check(&j, &r);
                test_map_free(&maps[0]);
                test_map_free(&maps[1]);
                test_map_free(&residual);
            }
}

/* ---- all tables alike ------------------------------------------------------------------------ */

static bool same_number(float a, float b) {
    uint32_t p, q;
    memcpy(&p, &a, sizeof p);
    memcpy(&q, &b, sizeof q);
    return p == q || (isnan(a) && isnan(b));
}

/* Numbers of every size, infinities and NaNs through every function and activation, in runs of odd
 * lengths: the same bits from every table. */
static void test_same_bits(void **state) {
    (void)state;
    enum { N = 4099 };
    static float in[N], first[N], out[N];
    int compared = 0;
    for (int op = UNARY_COPY; op <= UNARY_AFFINE; op++)
        for (int act = KACT_NONE; act < KACT_COUNT; act++)
            for (uint32_t start = 0; start < 10; start++) {
                struct kernel_epilogue e = {.act = (enum kernel_act)act, .a = 0.1f, .b = 0.6f};
                struct view from = view_map(in, 0, 1, 1, N), to = view_map(out, 0, 1, 1, N);
                if (op != UNARY_COPY && act != KACT_NONE && start > 0)
                    continue;
                for (uint32_t i = 0; i < N; i++) {
                    uint32_t bits = start * 0x20000000u + i * 130987u;
                    if (start >= 8) /* +-86 to +-91, where powers of e end */
                        bits = (start == 8 ? 0x42ac0000u : 0xc2ac0000u) + i * 160;
                    memcpy(&in[i], &bits, sizeof bits);
                }
                for (int t = 0; plain_table(t); t++) {
                    plain_table(t)->unary_rows((enum unary_op)op, 1.7f, -0.3f, &from, &to, &e, 0, 1,
                                               0, 1);
                    if (t == 0)
                        memcpy(first, out, sizeof out);
                    for (int i = 0; i < N; i++, compared++)
                        if (!same_number(first[i], out[i]))
                            fail_msg("%s: function %d, activation %d of %.9g is %.9g, not %.9g",
                                     plain_table(t)->name, op, act, (double)in[i], (double)out[i],
                                     (double)first[i]);
                }
            }
    assert_true(compared > N * 100);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),    cmocka_unit_test(test_affine_and_prelu),
        cmocka_unit_test(test_binary),   cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
