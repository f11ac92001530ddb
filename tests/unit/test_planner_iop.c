/* iop: what it divides and how, on random networks with weights and on well-known shapes. */
#include "base/mem.h"
#include "planner/channel_cost.h"
#include "planner/replay.h"
#include "planner/strategy.h"
#include "planner/synthetic.h"
#include "tests/support/leaks.h"
#include "tests/support/plancase.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void make(struct planned *out, const struct cost_model *m, const char *strategy,
                 enum planner_unpaired unpaired) {
    struct cohort_error err = {0};
    const struct planner_options o = {.unpaired = unpaired};
    if (planner_make(out, m, strategy, &o, &err) != COHORT_OK)
        fail_msg("%s: %s", strategy, err.message);
    if (plan_check(out->plan, m->g, m->boards, &err) != COHORT_OK)
        fail_msg("%s: %s", strategy, err.message);
}

/* Every out-channel segment that stays is followed by an in-channel one of the same split, and
 * every in-channel one follows such; returns how many pairs there are. */
static int check_pairs(const struct plan *p) {
    int pairs = 0;
    for (int i = 0; i < p->segment_count; i++) {
        const struct plan_segment *s = &p->segments[i], *next = s + 1;
        assert_true(s->mode != PLAN_CHANNELWISE && s->mode != PLAN_REPLICATE);
        assert_true(s->mode != PLAN_IN_CHANNEL || (i > 0 && s[-1].mode == PLAN_OUT_CHANNEL));
        if (s->mode != PLAN_OUT_CHANNEL || s->output != PLAN_STAY)
            continue;
        assert_true(i + 1 < p->segment_count && next->mode == PLAN_IN_CHANNEL);
        assert_memory_equal(s->split, next->split, ((size_t)p->boards + 1) * sizeof *s->split);
        pairs++;
    }
    return pairs;
}

static void test_random(void **state) {
    (void)state;
    uint64_t seed = 12;
    int pairs = 0, joined = 0, faster = 0, with = 0;
    for (int round = 0; round < 300; round++) {
        struct graph *g = round % 4 == 0
                              ? case_any(&seed, 3 + case_draw(&seed, 8), 8 + case_draw(&seed, 20))
                              : case_weighted(&seed, 2 + case_draw(&seed, 8),
                                              4 + case_draw(&seed, 12), case_draw(&seed, 4));
        struct profile *p =
            case_profile(g, 1 + case_draw(&seed, 6), case_range(&seed, 0.005, 0.5), &seed);
        const bool out = case_draw(&seed, 2) == 0;
        struct cost_model *m = case_model(
            g, p,
            (struct cost_options){.setup_ms = case_draw(&seed, 3) == 0 ? 0.5 : 0,
                                  .root_feeds = p->board_count > 2 && case_draw(&seed, 4) == 0});
        struct planned iop, rows;
        make(&iop, m, "iop", out ? PLANNER_UNPAIRED_OUT_CHANNEL : PLANNER_UNPAIRED_ROWS);
        make(&rows, m, "coedge", PLANNER_UNPAIRED_ROWS);
        const int found = check_pairs(iop.plan);
        double iop_ms, rows_ms;
        assert_int_equal(plan_step_sum(m, iop.plan, &iop_ms, NULL), COHORT_OK);
        assert_int_equal(plan_step_sum(m, rows.plan, &rows_ms, NULL), COHORT_OK);
        for (int i = 0; i < iop.plan->segment_count; i++)
            joined += iop.plan->segments[i].mode == PLAN_OUT_CHANNEL &&
                      iop.plan->segments[i].output != PLAN_STAY;
        if (!out && found == 0)
            assert_true(fabs(iop_ms - rows_ms) < 1e-9 * (1 + rows_ms));
        if (!out && found > 0) {
            with++;
            faster += iop_ms < rows_ms;
        }
        pairs += found;
        planned_release(&iop);
        planned_release(&rows);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message("# %d pairs, %d operators joined; of %d plans with pairs among coedge's rows %d "
                  "have a smaller sum of steps than coedge's\n",
                  pairs, joined, with, faster);
    assert_true(pairs > 100 && joined > 50 && with > 10);
    assert_true(faster * 10 >= with * 8); /* its delays leave out what hides behind computing */
}

/* Large weights, small maps: fully connected layers pair up; nothing does where a sum would take
 * longer than everything. */
static void test_dense(void **state) {
    (void)state;
    struct graph *g = toy_create("dense");
    struct cohort_error err = {0};
    struct profile *p = NULL;
    struct planned planned;
    int x = toy_conv(g, "conv", toy_input(g, "x", 16, 8), 64, 3);
    x = toy_relu(g, "relu", toy_product(g, "fc1", x, 4096));
    x = toy_product(g, "fc2", x, 4096);
    toy_output(g, toy_product(g, "fc3", x, 64));
    if (profile_synthetic(&p, g, "3xpi:1 link:100Mbit:0.1ms", &err) != COHORT_OK)
        fail_msg("%s", err.message);
    struct cost_model *m = case_model(g, p, (struct cost_options){0});
    make(&planned, m, "iop", PLANNER_UNPAIRED_ROWS);
    assert_int_equal(check_pairs(planned.plan), 1);
    const struct plan_segment *s = planned.plan->segments;
    for (; s->mode != PLAN_OUT_CHANNEL; s++)
        assert_true(s < planned.plan->segments + planned.plan->segment_count);
    assert_string_equal(s->until, "relu");
    assert_string_equal(s[1].until, "fc2");
    assert_int_equal(s[1].output, PLAN_TO_ROOT); /* fc3 cannot be divided by rows */
    for (int b = 0; b < 3; b++)
        assert_true(s->split[b + 1] - s->split[b] > 1000); /* equal boards */
    planned_release(&planned);
    make(&planned, m, "iop", PLANNER_UNPAIRED_OUT_CHANNEL);
    const struct plan_segment *last = &planned.plan->segments[planned.plan->segment_count - 1];
    assert_true(plan_by_channels(last->mode));
    assert_int_equal(last->output, PLAN_TO_ROOT);
    planned_release(&planned);
    cost_destroy(&m);
    profile_destroy(&p);
    if (profile_synthetic(&p, g, "3xpi:1 link:10kbit:1s", &err) != COHORT_OK)
        fail_msg("%s", err.message);
    m = case_model(g, p, (struct cost_options){0});
    make(&planned, m, "iop", PLANNER_UNPAIRED_ROWS);
    assert_int_equal(check_pairs(planned.plan), 0);
    planned_release(&planned);
    cost_destroy(&m);
    profile_destroy(&p);
    graph_destroy(&g);
}

/* Three operators in a row: the pair that saves more is taken. */
static void test_rivals(void **state) {
    (void)state;
    for (int large = 0; large < 2; large++) {
        struct graph *g = toy_create("rivals");
        struct cohort_error err = {0};
        struct profile *p = NULL;
        struct planned planned;
        int x = toy_product(g, "a", toy_input(g, "x", 16, 4), large ? 512 : 8192);
        x = toy_product(g, "b", x, large ? 2048 : 1024);
        toy_output(g, toy_product(g, "c", x, large ? 8192 : 64));
        if (profile_synthetic(&p, g, "4xpi:1 link:1Gbit:0.1ms", &err) != COHORT_OK)
            fail_msg("%s", err.message);
        struct cost_model *m = case_model(g, p, (struct cost_options){0});
        make(&planned, m, "iop", PLANNER_UNPAIRED_ROWS);
        assert_int_equal(check_pairs(planned.plan), 1);
        const struct plan_segment *s = planned.plan->segments;
        while (s->mode != PLAN_OUT_CHANNEL)
            s++;
        assert_string_equal(s->until, large ? "b" : "a");
        planned_release(&planned);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
}

static void test_short_memory(void **state) {
    (void)state;
    uint64_t seed = 4;
    struct graph *g = case_weighted(&seed, 4, 6, 2);
    struct profile *p = case_profile(g, 3, 0.02, &seed);
    const struct planner_options o = {.unpaired = PLANNER_UNPAIRED_OUT_CHANNEL};
    case_short_memory(g, p, "iop", &o, LONG_MAX);
    profile_destroy(&p);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_rivals),
        cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
