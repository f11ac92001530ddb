/* The helpers of testplain.h. */
#include "tests/support/testplain.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

const int plain_channels[PLAIN_CHANNELS] = {1, 3, 8, 15, 16, 17, 24, 32, 40, 48};

const struct plainops *plain_table(int i) {
    int count;
    const struct plainops *const *list = kernels_plain(&count);
    for (int k = 0; k < count; k++)
        if (kernel_isa_available() & 1u << list[k]->isa && i-- == 0)
            return list[k];
    return NULL;
}

static struct test_map make(bool tokens, int64_t row0, int64_t rows, int c, int w, int gap) {
    return tokens ? test_map_tokens(row0, rows, c, gap) : test_map_make(row0, rows, c, w, gap);
}

static bool close_enough(const struct plain_job *j, const struct test_map *out, int y0, int y1,
                         int b0, int b1) {
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < j->width; x++)
            for (int c = b0 * BLOCK; c < b1 * BLOCK && c < j->channels; c++) {
                double allowed = 0, want = j->want(j, y, c, x, &allowed);
                double got = test_map_at(out, y, c, x);
                if (got == want || fabs(got - want) <= allowed || (isnan(got) && isnan(want)))
                    continue;
                fprintf(stderr,
                        "%s of %s, op %d, %dx%dx%d: (y %d, c %d, x %d) is %.9g, should be %.9g +- "
                        "%.2g\n",
                        j->plain->name, j->name, j->op, j->height, j->channels, j->width, y, c, x,
                        got, want, allowed);
                return false;
            }
    return true;
}

/* The whole, and some rows and blocks of it, by one table.  `whole` is what it gave. */
static void check_table(struct plain_job *j, struct test_map *whole, int y0, int y1, int b0,
                        int b1) {
    struct test_map before = test_map_copy(whole);
    int blocks = view_blocks(&whole->view);
    j->run(j, &whole->view, 0, j->height, 0, blocks);
    assert_true(test_map_only(whole, &before, 0, j->height, 0, blocks));
    assert_true(close_enough(j, whole, 0, j->height, 0, blocks));
    test_map_free(&before);

    struct test_map part = make(j->tokens, -2, j->height + 4, j->channels, j->width, 48);
    before = test_map_copy(&part);
    j->run(j, &part.view, y0, y1, b0, b1);
    assert_true(test_map_only(&part, &before, y0, y1, b0, b1));
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < j->width; x++)
            for (int c = b0 * BLOCK; c < b1 * BLOCK && c < j->channels; c++) {
                float p = test_map_at(&part, y, c, x), q = test_map_at(whole, y, c, x);
                assert_memory_equal(&p, &q, sizeof p);
            }
    test_map_free(&part);
    test_map_free(&before);
}

void plain_check(struct plain_job *j, struct random *r) {
    struct test_map first = {0};
    int y0 = random_int(r, 0, j->height - 1), y1 = random_int(r, y0, j->height);
    int blocks = (j->channels + BLOCK - 1) / BLOCK;
    int b0 = j->all_blocks ? 0 : random_int(r, 0, blocks - 1);
    int b1 = j->all_blocks ? blocks : random_int(r, b0, blocks);
    for (int i = 0; (j->plain = plain_table(i)) != NULL; i++) {
        struct test_map whole = make(j->tokens, -1, j->height + 2, j->channels, j->width, 0);
        if (j->e.apply != NULL)
            j->e.apply = j->plain->epilogue;
        check_table(j, &whole, y0, y1, b0, b1);
        if (i == 0) {
            first = whole;
            continue;
        }
        if (memcmp(first.memory, whole.memory, whole.floats * sizeof(float)) != 0)
            fail_msg("%s, op %d: %s has other bits than the portable table", j->name, j->op,
                     j->plain->name);
        test_map_free(&whole);
    }
    assert_true(first.memory != NULL);
    test_map_free(&first);
}

struct test_map plain_filled(bool tokens, int rows, int c, int w, struct random *r) {
    struct test_map m = make(tokens, 0, rows, c, w, random_int(r, 0, 1) * 16);
    test_map_fill(&m, r, 0, rows);
    return m;
}

void plain_random_epilogue(struct plain_job *j, const struct test_map *residual, struct random *r) {
    j->e.act = (enum kernel_act)random_int(r, KACT_NONE, KACT_COUNT - 1);
    j->e.a = j->e.act == KACT_CLIP ? -0.5f : 0.2f;
    j->e.b = j->e.act == KACT_CLIP ? 6.0f : 0.5f;
    j->e.residual = random_int(r, 0, 1) ? &residual->view : NULL;
    j->e.residual_last = random_int(r, 0, 1);
}

double plain_with_epilogue(const struct plain_job *j, double v, double error, int y, int c, int x,
                           double *allowed) {
    double residual = j->e.residual ? (double)*view_at(j->e.residual, y, c, x) : 0;
    *allowed = test_epilogue_tolerance(&j->e, error, v, residual);
    return test_epilogue(&j->e, v, residual);
}
