/* legion, aofl and fss: Legion's matrices number by number, its T, the search over groups against
 * all configurations, measured groups. */
#include "base/mem.h"
#include "planner/groups.h"
#include "planner/legion.h"
#include "planner/replay.h"
#include "planner/synthetic.h"
#include "tests/support/leaks.h"
#include "tests/support/plancase.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct cost_model *model(const struct graph *g, const struct profile *p,
                                struct cost_options o) {
    struct cohort_error err = {0};
    struct cost_model *m = NULL;
    if (cost_create(&m, g, p, &o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    return m;
}

static void assert_close(double a, double b) {
    if (fabs(a - b) > 1e-9 * (1 + fabs(a) + fabs(b)))
        fail_msg("%.12g is not %.12g", a, b);
}

/* ---- matrices ------------------------------------------------------------------------------- */

/* toy_vgg over two equal boards: 32 rows, conv1 conv2 pool1 conv3 conv4 pool2 | fc logits. */
static void test_matrices(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    struct profile *p = NULL;
    struct cuts *c = NULL;
    struct legion *l = NULL;
    assert_int_equal(profile_synthetic(&p, g, "2xa:1 link:100Mbit:1ms", NULL), COHORT_OK);
    struct cost_model *m = model(g, p, (struct cost_options){0});
    assert_int_equal(cuts_create(&c, m, 1, NULL), COHORT_OK);
    assert_int_equal(legion_create(&l, m, c, NULL), COHORT_OK);
    assert_int_equal(l->n, 8);
    assert_int_equal(l->boards, 2);
    const int n = l->n;
    /* Board 1 has rows 16 to 31 of conv1, for which it needs 17 rows of the input, 3 x 32 floats.
     */
    assert_close(l->s[0], 0);
    assert_close(l->s[n], profile_link_ms(p, 0, 1, 17 * 32 * 3 * 4));
    assert_close(l->r[n], profile_link_ms(p, 1, 0, 16 * 32 * 16 * 4));
    assert_close(l->r[0], 0);
    assert_close(l->e[n], profile_node_ms(p, 1, 0, 16));
    /* pool1: 8 of 16 rows out of 16 of 32, no halo. */
    assert_close(l->s[n + 2], profile_link_ms(p, 0, 1, 16 * 32 * 16 * 4));
    assert_close(l->e[n + 2], profile_node_ms(p, 1, 2, 8));
    /* conv1's tile of 16 rows grows to 17 for conv2, also through the pool, to 19 and 21 for conv3
     * and conv4 behind it (a row there is two rows here). */
    const double *a = l->a + (size_t)n * (size_t)n; /* board 1's */
    assert_close(a[0 * n + 0], 1);
    assert_close(a[0 * n + 1], 17.0 / 16);
    assert_close(a[0 * n + 2], 17.0 / 16);
    assert_close(a[0 * n + 3], 19.0 / 16);
    assert_close(a[0 * n + 4], 21.0 / 16);
    assert_close(a[1 * n + 2], 1);
    assert_close(a[1 * n + 3], 18.0 / 16);
    assert_close(a[3 * n + 4], 9.0 / 8);
    /* T[0,1] by its formula; board 1 is the slower one to serve. */
    double t = 0;
    for (int d = 0; d < 2; d++) {
        const double *ad = l->a + (size_t)(d * n) * (size_t)n;
        t = fmax(t, l->s[d * n] * ad[1] + l->e[d * n] * ad[1] + l->e[d * n + 1] * ad[n + 1] +
                        l->r[d * n + 1]);
    }
    assert_close(legion_group_ms(l, 0, 1), t);
    assert_true(t > l->e[n] + l->e[n + 1] + l->s[n] + l->r[n + 1]);
    legion_destroy(&l);
    cuts_destroy(&c);
    cost_destroy(&m);
    profile_destroy(&p);
    graph_destroy(&g);
}

/* ---- groups --------------------------------------------------------------------------------- */

static double all_configurations(const struct grouping *g, int j) {
    double best = INFINITY;
    if (j < 0)
        return 0;
    for (int i = 0; i <= j; i++)
        if (g->ms[i * g->n + j] < INFINITY)
            best = fmin(best, all_configurations(g, i - 1) + g->ms[i * g->n + j]);
    return best;
}

static void check_groups(const struct cost_model *m, const char *strategy, bool every_size) {
    struct grouping *g = NULL;
    struct planned p;
    const struct planner_options o = {.predicted = true, .cost = m->options};
    struct cohort_error err = {0};
    double ms;
    assert_int_equal(grouping_create(&g, m, NULL), COHORT_OK);
    grouping_enter_local(g);
    for (int n = every_size ? 1 : m->usable_count; n <= m->usable_count; n++)
        assert_int_equal(grouping_enter(g, n, NULL), COHORT_OK);
    if (planner_make(&p, m, strategy, &o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    assert_close(p.own_ms, all_configurations(g, g->n - 1));
    /* Its sum is the sum of steps, where nothing but the root stands between groups. */
    if (m->usable[0]) {
        assert_int_equal(plan_step_sum(m, p.plan, &ms, NULL), COHORT_OK);
        assert_close(p.own_ms, ms);
    }
    for (int i = 0; i < p.plan->segment_count; i++)
        assert_int_equal(p.plan->segments[i].output, PLAN_TO_ROOT);
    planned_release(&p);
    grouping_destroy(&g);
}

static void test_groups(void **state) {
    (void)state;
    uint64_t seed = 14;
    for (int round = 0; round < 150; round++) {
        struct graph *g =
            case_chain(&seed, 2 + case_draw(&seed, 8), 6 + case_draw(&seed, 12), round % 2 == 0);
        struct profile *p =
            case_profile(g, 2 + case_draw(&seed, 4), case_range(&seed, 0.02, 0.5), &seed);
        struct cost_model *m = model(
            g, p,
            (struct cost_options){.root_feeds = p->board_count > 2 && case_draw(&seed, 4) == 0});
        check_groups(m, "aofl", true);
        check_groups(m, "fss", false);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
}

/* Legion's plan is a configuration of its space; the wild card compares two of them. */
static void test_legion(void **state) {
    (void)state;
    uint64_t seed = 6;
    int cards = 0, off = 0;
    for (int round = 0; round < 100; round++) {
        struct graph *g =
            case_chain(&seed, 4 + case_draw(&seed, 8), 12 + case_draw(&seed, 12), true);
        struct profile *p =
            case_profile(g, 2 + case_draw(&seed, 4), case_range(&seed, 0.02, 0.3), &seed);
        struct cost_model *m = model(g, p, (struct cost_options){0});
        const struct planner_options o = {0};
        struct planned planned;
        assert_int_equal(planner_make(&planned, m, "legion", &o, NULL), COHORT_OK);
        cards += planned.notes != NULL && strstr(planned.notes, "wild card") != NULL;
        off += fabs(planned.own_ms / planned.simulation->total_ms - 1) > 0.01;
        for (int i = 0; i < planned.plan->segment_count; i++)
            assert_int_equal(planned.plan->segments[i].output, PLAN_TO_ROOT);
        planned_release(&planned);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message("# legion: a pair to merge in %d of 100 cases; T more than 1 %% off in %d\n",
                  cards, off);
    assert_true(cards > 5);
    assert_true(off > 20); /* it adds up single layers, and lets links work all at once */
}

static void test_measured(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    struct profile *p = NULL;
    struct cohort_error err = {0};
    struct planned planned;
    const struct planner_options o = {0};
    assert_int_equal(profile_synthetic(&p, g, "2xa:1 link:100Mbit:1ms", NULL), COHORT_OK);
    struct cost_model *m = model(g, p, (struct cost_options){0});
    assert_int_equal(planner_make(&planned, m, "fss", &o, &err), COHORT_ERR_PLAN);
    assert_non_null(strstr(err.message, "no measured groups"));
    static const struct profile_group groups[] = {{0, 1, 5}, {1, 2, 5},  {2, 3, 5},
                                                  {3, 4, 5}, {4, 5, 5},  {5, 6, 5},
                                                  {0, 3, 7}, {3, 6, 20}, {2, 5, 6}};
    p->groups = mem_zalloc(9, sizeof *p->groups);
    assert_non_null(p->groups);
    memcpy(p->groups, groups, 5 * sizeof groups[0]);
    p->group_count = 5;
    assert_int_equal(planner_make(&planned, m, "fss", &o, &err), COHORT_ERR_PLAN);
    assert_non_null(strstr(err.message, "operators 5 to 5"));
    memcpy(p->groups, groups, sizeof groups);
    p->group_count = 9;
    assert_int_equal(planner_make(&planned, m, "fss", &o, &err), COHORT_OK);
    /* {0,1} {1,2} {2,5} {5,6} = 21 beats {0,3} {3,4} {4,5} {5,6} = 22 */
    assert_close(planned.own_ms, 21 + cost_whole_ms(m, 0, 6, 8));
    assert_int_equal(planned.plan->segment_count, 5);
    assert_string_equal(planned.plan->segments[2].until, "conv4");
    planned_release(&planned);
    cost_destroy(&m);
    profile_destroy(&p);
    graph_destroy(&g);
}

/* ---- cuts ----------------------------------------------------------------------------------- */

static void test_cuts(void **state) {
    (void)state;
    uint64_t seed = 2;
    for (int round = 0; round < 200; round++) {
        struct graph *g = case_any(&seed, 3 + case_draw(&seed, 10), 10);
        struct profile *p = case_profile(g, 2, 1, &seed);
        struct cost_model *m = model(g, p, (struct cost_options){0});
        const int most = 1 + case_draw(&seed, 3);
        struct cuts *c = NULL;
        int expected = 0;
        assert_int_equal(cuts_create(&c, m, most, NULL), COHORT_OK);
        for (int at = 0; at <= g->node_count; at++) {
            int live = 0;
            for (int id = 0; id < g->value_count; id++) {
                bool read = false;
                for (int k = at; k < g->node_count; k++)
                    for (int i = 0; i < g->nodes[k].in_count; i++)
                        read = read || g->nodes[k].in[i] == id;
                live += read && graph_value(g, id)->producer < at;
            }
            if (at != 0 && at != g->node_count && live > most)
                continue;
            assert_int_equal(c->at[expected], at);
            assert_int_equal(c->read[expected], live);
            expected++;
        }
        assert_int_equal(c->count, expected);
        assert_int_equal(c->dropped, g->node_count + 1 - expected);
        assert_int_equal(cuts_thin(c, m, NULL), COHORT_OK);
        assert_int_equal(c->count + c->merged, expected);
        assert_int_equal(c->at[0], 0);
        assert_int_equal(c->at[c->count - 1], g->node_count);
        cuts_destroy(&c);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrices), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_legion),   cmocka_unit_test(test_measured),
        cmocka_unit_test(test_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
