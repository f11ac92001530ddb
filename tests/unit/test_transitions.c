/* What travels between boards, followed row by row on random networks and plans: whoever sends a
 * row has it, whoever reads a row has it, nobody is sent what he has; and sets of rows. */
#include "base/mem.h"
#include "graph/rowset.h"
#include "planner/transitions.h"
#include "tests/support/leaks.h"
#include "tests/support/randomplan.h"
#include "tests/support/toynet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 11;

static int draw(int n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

/* ---- sets of rows ---------------------------------------------------------------------------- */

#define ROWS 64

static void put(bool *bits, struct rows r) {
    for (int64_t y = r.begin; y < r.end; y++)
        bits[y] = true;
}

static int ranges_of(const bool *bits) {
    int ranges = 0;
    for (int y = 0; y < ROWS; y++)
        ranges += bits[y] && (y == 0 || !bits[y - 1]);
    return ranges;
}

static void test_rowset(void **state) {
    (void)state;
    int full = 0;
    for (int round = 0; round < 2000; round++) {
        struct rowset cover = {0}, hold = {0};
        int most = 0; /* ranges at any time */
        bool in[ROWS] = {false}, in_cover[ROWS] = {false}, in_hold[ROWS] = {false};
        for (int i = 0, n = draw(20); i < n; i++) {
            int begin = draw(ROWS), length = draw(6);
            struct rows r = {begin, begin + length > ROWS ? ROWS : begin + length};
            rowset_cover(&cover, r);
            rowset_hold(&hold, r);
            put(in, r);
            most = ranges_of(in) > most ? ranges_of(in) : most;
        }
        for (int i = 0; i < cover.count; i++)
            put(in_cover, cover.r[i]);
        for (int i = 0; i < hold.count; i++)
            put(in_hold, hold.r[i]);
        int rows = 0;
        for (int y = 0; y < ROWS; y++) {
            rows += in_cover[y];
            assert_true(!in[y] || in_cover[y]);
            assert_true(!in_hold[y] || in[y]);
        }
        assert_int_equal(rowset_count(&cover), rows);
        if (most <= ROWSET_MAX) {
            assert_int_equal(cover.count, ranges_of(in));
            assert_int_equal(cover.count, hold.count);
            assert_memory_equal(in, in_cover, sizeof in);
        } else {
            full++;
        }
        struct rows r = {draw(ROWS), 0};
        r.end = r.begin + draw((int)(ROWS - r.begin) + 1);
        struct rowset missing = rowset_missing(&hold, r);
        bool in_missing[ROWS] = {false};
        for (int i = 0; i < missing.count; i++)
            put(in_missing, missing.r[i]);
        bool any = false;
        for (int y = 0; y < ROWS; y++) {
            bool lacks = y >= r.begin && y < r.end && !in_hold[y];
            assert_true(!lacks || in_missing[y]);
            assert_true(hold.count >= ROWSET_MAX || in_missing[y] == lacks);
            any |= lacks;
        }
        assert_int_equal(rowset_has(&hold, r), !any);
    }
    assert_true(full > 10);
}

/* ---- following rows -------------------------------------------------------------------------- */

struct world {
    const struct plan *p;
    const struct graph *g;
    bool *has; /* [(value * boards + board) * ROWS + row] */
    int64_t moved, scattered;
};

static bool *rows_of(const struct world *w, int id, int b) {
    return w->has + ((size_t)id * (size_t)w->p->boards + (size_t)b) * ROWS;
}

static void must_have(const struct world *w, int id, int b, struct rows r, const char *what) {
    for (int64_t y = r.begin; y < r.end; y++)
        if (!rows_of(w, id, b)[y])
            fail_msg("%s: board %d has no row %lld of '%s'", what, b, (long long)y,
                     graph_value(w->g, id)->name);
}

static void follow(struct world *w, const struct transition *t) {
    for (int b = 0; t->rows != NULL && b < w->p->boards; b++) {
        bool scatter = t->kind == TRANSITION_SCATTER;
        must_have(w, t->value, scatter ? 0 : b, t->rows[b], "scatter or gather");
        put(rows_of(w, t->value, scatter ? b : 0), t->rows[b]);
        w->scattered += rows_count(t->rows[b]);
    }
    int64_t sent = 0, received = 0;
    for (int i = 0; i < t->move_count; i++) {
        const struct transition_move *m = &t->moves[i];
        assert_int_not_equal(m->from, m->to);
        must_have(w, t->value, m->from, m->rows, "exchange");
    }
    for (int i = 0; i < t->move_count; i++) {
        const struct transition_move *m = &t->moves[i];
        for (int64_t y = m->rows.begin; y < m->rows.end; y++)
            assert_false(rows_of(w, t->value, m->to)[y]);
        put(rows_of(w, t->value, m->to), m->rows);
        w->moved += rows_count(m->rows);
    }
    for (int b = 0; b < w->p->boards; b++) {
        sent += transition_rows_sent(t, b, w->p->boards);
        received += transition_rows_received(t, b, w->p->boards);
    }
    assert_int_equal(sent, received);
    assert_true(sent > 0 || t->kind != TRANSITION_EXCHANGE);
}

static void forget_all_but_root(struct world *w, const struct plan_part *part) {
    for (int i = 0; part->to_root && i < part->output_count; i++)
        for (int b = 1; b < w->p->boards; b++)
            memset(rows_of(w, part->outputs[i], b), 0, ROWS);
}

/* What was dealt out from the root is there for one segment only. */
static void forget_scattered(struct world *w, const struct transitions *t, int segment,
                             const bool *before) {
    for (int i = 0; i < t->count; i++)
        for (int b = 1; t->list[i].kind == TRANSITION_SCATTER && t->list[i].before == segment &&
                        b < w->p->boards;
             b++)
            memcpy(rows_of(w, t->list[i].value, b),
                   before + (rows_of(w, t->list[i].value, b) - w->has), ROWS);
}

static void follow_plan(struct world *w, const struct transitions *t) {
    struct cohort_error err;
    struct rows *need = mem_zalloc((size_t)w->g->value_count, sizeof *need);
    const int all = w->p->segment_count;
    const size_t bytes = (size_t)w->g->value_count * (size_t)w->p->boards * ROWS;
    bool *before = mem_zalloc(1, bytes);
    assert_non_null(before);
    for (int i = 0; i < w->g->input_count; i++)
        put(rows_of(w, w->g->inputs[i], 0), plan_all_rows(w->g, w->g->inputs[i]));
    for (int s = 0, at = 0, first = 0; s < all; s++) {
        struct plan_part part;
        assert_int_equal(plan_part_init(&part, w->p, w->g, s, first, &err), COHORT_OK);
        memcpy(before, w->has, bytes);
        for (; at < t->count && !t->list[at].after; at++) {
            if (t->list[at].before != s)
                break;
            assert_true(t->list[at].made < s);
            follow(w, &t->list[at]);
        }
        for (int b = 0; b < w->p->boards; b++) {
            plan_part_rows(&part, b, need);
            for (int i = 0; i < part.input_count; i++)
                must_have(w, part.inputs[i], b, need[part.inputs[i]], "input");
            for (int i = 0; i < part.output_count; i++)
                put(rows_of(w, part.outputs[i], b), need[part.outputs[i]]);
        }
        forget_scattered(w, t, s, before);
        for (; at < t->count && t->list[at].after && t->list[at].made == s; at++) {
            assert_int_equal(t->list[at].before, part.to_root ? s + 1 : all);
            follow(w, &t->list[at]);
        }
        forget_all_but_root(w, &part);
        first = part.last;
        plan_part_release(&part);
    }
    for (int i = 0; i < w->g->output_count; i++)
        must_have(w, w->g->outputs[i], 0, plan_all_rows(w->g, w->g->outputs[i]), "result");
    mem_free(before);
    mem_free(need);
}

static void test_random_plans(void **state) {
    (void)state;
    struct cohort_error err;
    int64_t moved = 0, scattered = 0;
    for (int round = 0; round < 1500; round++) {
        struct graph *g = toy_random(&seed);
        struct plan *p = random_plan_make(g, 1 + draw(6), &seed);
        struct transitions t;
        assert_non_null(p);
        if (plan_check(p, g, p->boards, &err) != COHORT_OK)
            fail_msg("%s", err.message);
        if (transitions_make(&t, p, g, &err) != COHORT_OK)
            fail_msg("%s", err.message);
        struct world w = {.p = p, .g = g};
        w.has = mem_zalloc((size_t)g->value_count * (size_t)p->boards, ROWS);
        assert_non_null(w.has);
        if (p->boards > 1)
            follow_plan(&w, &t);
        else
            assert_int_equal(t.count, 0);
        moved += w.moved;
        scattered += w.scattered;
        mem_free(w.has);
        transitions_release(&t);
        plan_destroy(&p);
        graph_destroy(&g);
    }
    assert_true(moved > 10000 && scattered > 10000);
}

/* Two segments of a chain that stays divided: two neighbours exchange their halos, nothing else. */
static void test_halos(void **state) {
    (void)state;
    struct cohort_error err;
    struct graph *g = toy_vgg();
    const struct plan_request r = {.boards = 3};
    struct plan *p = NULL;
    struct transitions t;
    assert_int_equal(plan_make(&p, g, &r, &err), COHORT_OK);
    p->segments[0].output = PLAN_STAY;
    assert_int_equal(transitions_make(&t, p, g, &err), COHORT_OK);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.list[0].kind, TRANSITION_SCATTER);
    assert_int_equal(t.list[0].made, -1);
    assert_int_equal(t.list[1].kind, TRANSITION_EXCHANGE);
    assert_int_equal(t.list[1].before, 1);
    assert_int_equal(t.list[2].kind, TRANSITION_GATHER);
    /* pool1 is cut at 6 and 11, pool2 at 3 and 6 (rows 6 and 12 of pool1), two 3x3 layers reach two
     * rows on. */
    static const struct transition_move moves[] = {
        {1, 0, {6, 8}}, {0, 1, {4, 6}}, {2, 1, {11, 14}}, {1, 2, {10, 11}}};
    assert_int_equal(t.list[1].move_count, 4);
    assert_memory_equal(t.list[1].moves, moves, sizeof moves);
    transitions_release(&t);
    plan_destroy(&p);
    graph_destroy(&g);
}

/* Which operators make their rows in parts by channels, and up to how many rows. */
static void test_part_rows(void **state) {
    (void)state;
    struct graph *g = toy_create("parts");
    int in = toy_input(g, "in", 128, 16);
    int wide = toy_window(g, "Conv", "wide", in, 128, 3, 1, 1);
    int narrow = toy_window(g, "Conv", "narrow", wide, 96, 3, 1, 1);
    toy_output(g, toy_window(g, "MaxPool", "pool", narrow, 96, 1, 1, 0));
    /* 100 FLOPs a row, and 4.9 times TRANSITION_FLOPS_PER_BYTE / 100 bytes of weights */
    const double bytes = 490.0 / TRANSITION_FLOPS_PER_BYTE;
    assert_int_equal(transition_part_rows(g, 0, 1600, bytes), 4);
    assert_int_equal(transition_part_rows(g, 0, 1600, 500.0 / TRANSITION_FLOPS_PER_BYTE), 4);
    assert_int_equal(transition_part_rows(g, 0, 1600, 501.0 / TRANSITION_FLOPS_PER_BYTE), 5);
    assert_int_equal(transition_part_rows(g, 0, 1600, 100 * bytes), 16);
    assert_int_equal(transition_part_rows(g, 0, 1600, 0.01 * bytes), 0);
    assert_int_equal(transition_part_rows(g, 0, 1600, 0), 0);
    assert_int_equal(transition_part_rows(g, 1, 1600, bytes), 0); /* three pairs of blocks */
    assert_int_equal(transition_part_rows(g, 2, 1600, bytes), 0);
    graph_destroy(&g);
}

static void test_short_memory(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    struct plan *p = random_plan_make(g, 4, &seed);
    const long before = mem_live_blocks();
    enum cohort_code code = COHORT_ERR_MEMORY;
    for (long nth = 1; code != COHORT_OK; nth++) {
        struct cohort_error err = {0};
        struct transitions t;
        mem_fail_at(nth);
        code = transitions_make(&t, p, g, &err);
        mem_fail_at(0);
        assert_true(code == COHORT_OK || code == COHORT_ERR_MEMORY);
        if (code == COHORT_OK)
            transitions_release(&t);
        assert_int_equal(mem_live_blocks(), before);
        assert_true(nth < 1000);
    }
    plan_destroy(&p);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rowset),       cmocka_unit_test(test_random_plans),
        cmocka_unit_test(test_halos),        cmocka_unit_test(test_part_rows),
        cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
