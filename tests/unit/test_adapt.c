/* Correcting a profile by what was measured: factors, the plan that follows, patience. */
#include "base/mem.h"
#include "planner/adapt.h"
#include "planner/strategy.h"
#include "planner/synthetic.h"
#include "tests/support/leaks.h"
#include "tests/support/plancase.h"
#include "tests/support/toynet.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BOARDS 4

static struct cohort_error err;

/* ---- what plans take ------------------------------------------------------------------------- */

struct lab {
    struct graph *g;
    struct profile *base, *truth; /* as profiled, and as boards and links are by now */
    struct plan *plan;            /* in use */
    struct adapt adapt;
};

static void lab_begin(struct lab *l, const char *boards) {
    *l = (struct lab){.g = toy_vgg()};
    assert_int_equal(profile_synthetic(&l->base, l->g, boards, &err), COHORT_OK);
    assert_int_equal(profile_copy(&l->truth, l->base, &err), COHORT_OK);
    assert_int_equal(adapt_init(&l->adapt, l->base->board_count, &err), COHORT_OK);
}

static void lab_end(struct lab *l) {
    adapt_release(&l->adapt);
    plan_destroy(&l->plan);
    profile_destroy(&l->base);
    profile_destroy(&l->truth);
    graph_destroy(&l->g);
}

/* The plan's time by a profile, and what each board computes. */
static double time_of(const struct lab *l, const struct profile *p, const struct plan *plan,
                      double *compute_ms) {
    struct cost_model *m = NULL;
    struct simulation *s = NULL;
    const struct cost_options o = {0};
    assert_int_equal(cost_create(&m, l->g, p, &o, &err), COHORT_OK);
    assert_int_equal(simulate(&s, m, plan, false, false, &err), COHORT_OK);
    const double ms = s->total_ms;
    for (int b = 0; compute_ms != NULL && b < s->boards; b++) {
        compute_ms[b] = 0;
        for (int i = 0; i < s->segment_count; i++)
            compute_ms[b] += s->segments[i].board_compute_ms[b];
    }
    simulation_destroy(&s);
    cost_destroy(&m);
    return ms;
}

static struct plan *best_plan(const struct lab *l, const struct profile *p) {
    const struct planner_options o = {0};
    struct cost_model *m = NULL;
    struct planned planned = {0};
    assert_int_equal(cost_create(&m, l->g, p, &o.cost, &err), COHORT_OK);
    assert_int_equal(planner_make(&planned, m, "auto", &o, &err), COHORT_OK);
    struct plan *plan = planned.plan;
    planned.plan = NULL;
    planned_release(&planned);
    cost_destroy(&m);
    return plan;
}

/* Runs the plan in use, as things are; the latency. */
static double look(struct lab *l, double *predicted) {
    double measured[BOARDS], profiled[BOARDS];
    *predicted = time_of(l, l->base, l->plan, profiled);
    const double ms = time_of(l, l->truth, l->plan, measured);
    adapt_note(&l->adapt, measured, profiled, ms);
    return ms;
}

/* Plans anew by what is known now. */
static void plan_anew(struct lab *l) {
    struct profile *corrected = NULL;
    assert_int_equal(adapt_correct(&l->adapt, l->base, &corrected, &err), COHORT_OK);
    plan_destroy(&l->plan);
    l->plan = best_plan(l, corrected);
    profile_destroy(&corrected);
}

/* A board becomes slower: after one look and one plan the time is that of a plan by the truth. */
static void test_slower_board(void **state) {
    (void)state;
    for (int slow = 0; slow < BOARDS; slow++) {
        struct lab l;
        double predicted;
        lab_begin(&l, "4xb:0.2 link:1000Mbit:0.01ms");
        l.plan = best_plan(&l, l.base);
        look(&l, &predicted);
        assert_false(adapt_due(&l.adapt));
        l.truth->boards[slow].scale *= 2;
        const double before = look(&l, &predicted);
        assert_true(before > predicted);
        assert_true(adapt_due(&l.adapt));
        bool link;
        double factor;
        assert_int_equal(adapt_culprit(&l.adapt, &link, &factor), slow);
        assert_false(link);
        assert_true(fabs(factor - 2) < 1e-9);
        plan_anew(&l);
        struct plan *fresh = best_plan(&l, l.truth);
        const double after = time_of(&l, l.truth, l.plan, NULL);
        assert_true(fabs(after - time_of(&l, l.truth, fresh, NULL)) < 1e-9 * after);
        assert_true(after < before);
        adapt_looked(&l.adapt, true, 1 - after / before, before);
        assert_int_equal(adapt_culprit(&l.adapt, &link, &factor), -1);
        look(&l, &predicted);
        assert_false(adapt_due(&l.adapt)); /* nothing new */
        plan_destroy(&fresh);
        lab_end(&l);
    }
}

/* Links become slower: computing does not say so, the latency does, once; then a look at them. */
static void test_slower_links(void **state) {
    (void)state;
    struct lab l;
    double predicted, factor[BOARDS * BOARDS];
    lab_begin(&l, "4xb:0.2 link:1000Mbit:0.01ms");
    l.plan = best_plan(&l, l.base);
    double ms = look(&l, &predicted);
    assert_false(adapt_odd(&l.adapt, ms, predicted));
    for (int k = 0; k < l.truth->link_count; k++)
        for (int i = 0; i < l.truth->links[k].count; i++)
            l.truth->links[k].points[i].ms *= 60;
    ms = look(&l, &predicted);
    assert_false(adapt_due(&l.adapt));
    assert_true(adapt_odd(&l.adapt, ms, predicted));
    assert_false(adapt_odd(&l.adapt, ms, predicted));
    for (int i = 0; i < BOARDS * BOARDS; i++)
        factor[i] = i / BOARDS == i % BOARDS ? 1 : 60;
    adapt_links(&l.adapt, factor);
    assert_true(adapt_due(&l.adapt));
    struct profile *corrected = NULL;
    assert_int_equal(adapt_correct(&l.adapt, l.base, &corrected, &err), COHORT_OK);
    for (int from = 0; from < BOARDS; from++)
        for (int to = 0; to < BOARDS; to++)
            assert_true(fabs(profile_link_ms(corrected, from, to, 1e5) -
                             profile_link_ms(l.truth, from, to, 1e5)) < 1e-9);
    profile_destroy(&corrected);
    bool link;
    double by;
    const int culprit = adapt_culprit(&l.adapt, &link, &by);
    assert_true(culprit >= 0 && link && fabs(by - 60) < 1e-9);
    const double before = time_of(&l, l.truth, l.plan, NULL);
    plan_anew(&l);
    assert_true(time_of(&l, l.truth, l.plan, NULL) <= before);
    adapt_looked(&l.adapt, false, 0, ms);
    assert_false(adapt_due(&l.adapt));
    int again = 0; /* they may have recovered, out of sight */
    for (int i = 0; i < 7 * ADAPT_FORGET; i++)
        again += adapt_odd(&l.adapt, ms, predicted);
    assert_int_equal(again, 3);
    for (int i = 0; i < BOARDS * BOARDS; i++)
        factor[i] = 1;
    adapt_links(&l.adapt, factor);
    assert_true(adapt_due(&l.adapt));
    adapt_looked(&l.adapt, false, 0, ms);
    for (int i = 0; i < 16 * ADAPT_FORGET; i++)
        assert_false(adapt_odd(&l.adapt, ms, predicted));
    lab_end(&l);
}

/* Random networks, clusters and changes: what is planned by the corrected profile is never slower
 * by the truth than what there was, and as good as a plan by the truth. */
static void test_random(void **state) {
    (void)state;
    uint64_t seed = 11;
    int changed = 0;
    for (int round = 0; round < 40; round++) {
        struct lab l = {0};
        double predicted;
        l.g = case_chain(&seed, 4 + case_draw(&seed, 6), 24, false);
        l.base = case_profile(l.g, BOARDS, 0.5, &seed);
        if (profile_copy(&l.truth, l.base, &err) != COHORT_OK)
            fail_msg("%s", err.message);
        assert_int_equal(adapt_init(&l.adapt, BOARDS, &err), COHORT_OK);
        l.plan = best_plan(&l, l.base);
        for (int b = 0; b < BOARDS; b++)
            l.truth->boards[b].scale *= case_range(&seed, 0.5, 3);
        bool settled = false;
        for (int i = 0; i < 8 && !settled; i++) { /* boards without work get some: known then */
            const double before = look(&l, &predicted);
            settled = !adapt_due(&l.adapt);
            if (settled)
                break;
            plan_anew(&l);
            const double after = time_of(&l, l.truth, l.plan, NULL);
            adapt_looked(&l.adapt, true, fmax(0, 1 - after / before), before);
            l.adapt.rest = 0;
            changed++;
        }
        assert_true(settled);
        /* By what is known: a board without work may be other than it is thought to be.  Factors
         * are within 5 % of those that were planned by. */
        struct profile *known = NULL;
        assert_int_equal(adapt_correct(&l.adapt, l.base, &known, &err), COHORT_OK);
        struct plan *fresh = best_plan(&l, known);
        const double mine = time_of(&l, known, l.plan, NULL),
                     best = time_of(&l, known, fresh, NULL);
        assert_true(mine <= best * 1.11);
        assert_true(fabs(time_of(&l, l.truth, l.plan, NULL) - mine) <= 0.06 * mine);
        profile_destroy(&known);
        plan_destroy(&fresh);
        lab_end(&l);
    }
    assert_true(changed > 30);
}

/* ---- patience -------------------------------------------------------------------------------- */

static void note(struct adapt *a, double first, double second, double latency) {
    const double measured[] = {first, second}, profiled[] = {10, 10};
    adapt_note(a, measured, profiled, latency);
}

/* Looking that brings nothing is tried less and less; a large change is looked at in any case. */
static void test_patience(void **state) {
    (void)state;
    struct adapt a;
    int looks = 0, last = 0, longest = 0;
    assert_int_equal(adapt_init(&a, 2, &err), COHORT_OK);
    for (int i = 0; i < 200; i++) {
        note(&a, i % 2 ? 11 : 10, 10, 20); /* to and fro by 10 % */
        if (!adapt_due(&a))
            continue;
        longest = i - last > longest ? i - last : longest;
        last = i;
        looks++;
        adapt_looked(&a, false, 0, 20);
    }
    assert_true(looks > 3 && looks < 25);
    assert_true(longest >= ADAPT_TIRED && longest <= 2 * ADAPT_TIRED + 2);
    adapt_looked(&a, false, 0, 20);
    note(&a, 20, 10, 30);
    assert_true(adapt_due(&a));
    adapt_release(&a);
}

/* A change that does not bring what it promised makes tired, one that does makes fresh. */
static void test_promises(void **state) {
    (void)state;
    struct adapt a;
    assert_int_equal(adapt_init(&a, 2, &err), COHORT_OK);
    note(&a, 12, 10, 20);
    adapt_looked(&a, true, 0.2, 20);
    note(&a, 12, 10, 20); /* as slow as before */
    assert_true(a.rest > 0);
    note(&a, 13, 10, 20);
    assert_false(adapt_due(&a));
    for (int i = 0; i < 4; i++)
        note(&a, 13, 10, 20);
    assert_true(adapt_due(&a));
    adapt_looked(&a, true, 0.2, 20);
    note(&a, 13, 10, 16.2);
    assert_int_equal(a.rest, 0);
    note(&a, 14.5, 10, 17);
    assert_true(adapt_due(&a));
    adapt_release(&a);
}

/* A board that was left out for being slow is tried again, after longer and longer times. */
static void test_another_chance(void **state) {
    (void)state;
    struct adapt a;
    const double profiled[] = {10, 0}, measured[] = {10, 0};
    assert_int_equal(adapt_init(&a, 2, &err), COHORT_OK);
    for (int round = 0, wait = ADAPT_FORGET; round < 3; round++, wait *= 2) {
        note(&a, 10, 30, 30);
        assert_true(adapt_due(&a));
        adapt_looked(&a, true, 0.1, 30);
        for (int i = 0; i < wait; i++) {
            assert_true(a.board[1].factor == 3);
            adapt_note(&a, measured, profiled, 20);
        }
        assert_true(a.board[1].factor == 1);
        assert_true(adapt_due(&a));
        adapt_looked(&a, true, 0.1, 20); /* it gets work, and is as slow as ever */
    }
    adapt_release(&a);
}

static void test_memory(void **state) {
    (void)state;
    struct lab l;
    double factor[BOARDS * BOARDS];
    lab_begin(&l, "4xb:2 link:100Mbit:0.1ms");
    for (int i = 0; i < BOARDS * BOARDS; i++)
        factor[i] = 2;
    adapt_links(&l.adapt, factor);
    const long blocks = mem_live_blocks();
    long n = 1;
    for (;; n++) {
        struct profile *corrected = NULL;
        mem_fail_at(n);
        const enum cohort_code code = adapt_correct(&l.adapt, l.base, &corrected, &err);
        mem_fail_at(0);
        if (code == COHORT_OK) {
            profile_destroy(&corrected);
            break;
        }
        assert_int_equal(code, COHORT_ERR_MEMORY);
        assert_int_equal(mem_live_blocks(), blocks);
    }
    assert_true(n > 5);
    for (n = 1; n < 4; n++) {
        struct adapt a;
        mem_fail_at(n);
        assert_int_equal(adapt_init(&a, 3, &err), COHORT_ERR_MEMORY);
        mem_fail_at(0);
        assert_int_equal(mem_live_blocks(), blocks);
    }
    lab_end(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slower_board), cmocka_unit_test(test_slower_links),
        cmocka_unit_test(test_random),       cmocka_unit_test(test_patience),
        cmocka_unit_test(test_promises),     cmocka_unit_test(test_another_chance),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
