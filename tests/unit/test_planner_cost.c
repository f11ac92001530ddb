/* The cost model and the simulator against plainer versions of themselves: rows and times by the
 * profile's own functions, bytes by what the runtime moves (planner/transitions.h), splits by
 * trying all of them. */
#include "base/mem.h"
#include "planner/replay.h"
#include "planner/strategy.h"
#include "planner/synthetic.h"
#include "planner/transitions.h"
#include "tests/support/leaks.h"
#include "tests/support/plancase.h"
#include "tests/support/randomplan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_close(double a, double b, double tolerance) {
    if (fabs(a - b) > tolerance * (1 + fabs(a) + fabs(b)))
        fail_msg("%.12g is not %.12g", a, b);
}

/* ---- curves --------------------------------------------------------------------------------- */

static void test_curves(void **state) {
    (void)state;
    struct profile_point points[] = {{2, 3}, {4, 5}, {8, 13}};
    const struct profile_curve c = {points, 3}, one = {points, 1}, none = {NULL, 0};
    assert_close(profile_curve_ms(&c, 0), 0, 0);
    assert_close(profile_curve_ms(&c, -3), 0, 0);
    assert_close(profile_curve_ms(&c, 1), 2, 1e-12);
    assert_close(profile_curve_ms(&c, 2), 3, 1e-12);
    assert_close(profile_curve_ms(&c, 3), 4, 1e-12);
    assert_close(profile_curve_ms(&c, 6), 9, 1e-12);
    assert_close(profile_curve_ms(&c, 8), 13, 1e-12);
    assert_close(profile_curve_ms(&c, 10), 17, 1e-12);
    assert_close(profile_curve_ms(&one, 4), 6, 1e-12);
    assert_close(profile_curve_ms(&none, 4), 0, 0);
    struct profile_point falling[] = {{4, 1}, {5, 3}};
    const struct profile_curve steep = {falling, 2};
    assert_close(profile_curve_ms(&steep, 1), 0, 0); /* never below 0 */
}

/* ---- bytes and times of random plans -------------------------------------------------------- */

/* Bytes per pair as the runtime moves them. */
static void transition_bytes(const struct cost_model *m, const struct plan *plan, double *bytes) {
    struct transitions t;
    struct cohort_error err = {0};
    const int n = m->boards;
    if (transitions_make(&t, plan, m->g, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    for (int i = 0; i < t.count; i++) {
        const struct transition *one = &t.list[i];
        const double row = m->values[one->value].wire_bytes;
        for (int b = 1; b < n && one->kind != TRANSITION_EXCHANGE; b++)
            bytes[one->kind == TRANSITION_SCATTER ? b : b * n] +=
                row * (double)rows_count(one->rows[b]);
        for (int k = 0; k < one->move_count; k++)
            bytes[one->moves[k].from * n + one->moves[k].to] +=
                row * (double)rows_count(one->moves[k].rows);
    }
    transitions_release(&t);
}

/* A segment's time on a board, operator by operator. */
static double naive_ms(const struct cost_model *m, const struct plan_part *part, int b) {
    const struct graph *g = m->g;
    double ms = 0;
    struct rows *need = mem_zalloc((size_t)g->value_count, sizeof *need);
    assert_non_null(need);
    plan_part_rows(part, b, need);
    for (int k = part->first; k < part->last; k++) {
        struct rows out = {0, 0};
        for (int i = 0; i < g->nodes[k].out_count; i++)
            out = rows_hull(out, need[g->nodes[k].out[i]]);
        ms += (k + 1 < part->last ? profile_chained_ms : profile_node_ms)(m->p, b, k,
                                                                          rows_count(out));
    }
    mem_free(need);
    return ms;
}

static void check_plan(const struct cost_model *m, const struct plan *plan) {
    const size_t n = (size_t)m->boards;
    struct cohort_error err = {0};
    struct simulation *s = NULL;
    double *bytes = mem_zalloc(n * n, sizeof *bytes), *busy = mem_zalloc(n, sizeof *busy);
    assert_true(bytes != NULL && busy != NULL);
    if (simulate(&s, m, plan, true, true, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    transition_bytes(m, plan, bytes);
    for (size_t i = 0; i < n * n; i++)
        assert_close(s->pair_bytes[i], bytes[i], 1e-9);
    for (int i = 0, first = 0; i < plan->segment_count; i++) {
        struct plan_part part;
        assert_int_equal(plan_part_init(&part, plan, m->g, i, first, &err), COHORT_OK);
        first = part.last;
        for (int b = 0; b < m->boards; b++) {
            const double ms = naive_ms(m, &part, b);
            assert_close(s->segments[i].board_compute_ms[b], ms, 1e-9);
            busy[b] += ms;
        }
        plan_part_release(&part);
    }
    /* No timeline does two things at once, and the end is behind everything that the root did. */
    assert_true(s->total_ms >= busy[0] - 1e-9);
    for (size_t i = 0; i < s->trace_count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct sim_interval *a = &s->trace[i], *b = &s->trace[k];
            const bool apart = a->end_ms <= b->begin_ms + 1e-9 || b->end_ms <= a->begin_ms + 1e-9;
            if ((a->kind == SIM_SEND) != (b->kind == SIM_SEND) || apart)
                continue;
            assert_true(a->board != b->board);
            assert_true(a->kind != SIM_SEND || a->to != b->to);
        }
    simulation_destroy(&s);
    mem_free(bytes);
    mem_free(busy);
}

static void test_random_plans(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 400; round++) {
        struct graph *g = round % 2 == 0
                              ? case_any(&seed, 4 + case_draw(&seed, 8), 8 + case_draw(&seed, 20))
                              : case_skips(&seed, 4 + case_draw(&seed, 8), 12);
        const int boards = 1 + case_draw(&seed, 5);
        struct profile *p = case_profile(g, boards, case_range(&seed, 0.1, 3), &seed);
        struct cost_model *m =
            case_model(g, p,
                       (struct cost_options){.wire = (enum plan_wire)case_draw(&seed, 3),
                                             .input_u8 = case_draw(&seed, 2) == 0});
        struct plan *plan = random_plan_make(g, boards, &seed);
        assert_non_null(plan);
        check_plan(m, plan);
        plan_destroy(&plan);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
}

/* One transfer after another is set up, and the receiver waits only for what is sent to it. */
static void test_setup(void **state) {
    (void)state;
    uint64_t seed = 6;
    struct graph *g = case_chain(&seed, 4, 24, false);
    struct profile *p = case_profile(g, 3, 1, &seed);
    struct cost_model *plain = case_model(g, p, (struct cost_options){0});
    struct cost_model *slow = case_model(g, p, (struct cost_options){.setup_ms = 4});
    const int pairs[] = {1, 2, 3, 5, 6, 7}; /* of from * 3 + to */
    for (int round = 0; round < 64; round++) {
        struct traffic a, b;
        double most = 0, out[3] = {0}, in[3] = {0}, latency = 0;
        assert_int_equal(traffic_init(&a, plain, NULL), COHORT_OK);
        assert_int_equal(traffic_init(&b, slow, NULL), COHORT_OK);
        const struct layout at[] = {{.board = 0}, {.board = 1}, {.board = 2}};
        for (int i = 0; i < 6; i++)
            if ((round >> i & 1) != 0) {
                const int from = pairs[i] / 3, to = pairs[i] % 3;
                const struct rows rows = {0, 1 + case_draw(&seed, 20)};
                traffic_add(&a, g->inputs[0], &at[from], to, rows);
                traffic_add(&b, g->inputs[0], &at[from], to, rows);
                latency = fmax(latency, plain->links[pairs[i]].latency);
            }
        for (int i = 0; i < a.count; i++) {
            const double ms = traffic_message_ms(&a, a.pairs[i]);
            out[a.pairs[i] / 3] += 4 + ms;
            in[a.pairs[i] % 3] += ms + (in[a.pairs[i] % 3] > 0 ? 0 : 4);
        }
        for (int i = 0; i < 3; i++)
            most = fmax(most, fmax(out[i], in[i]));
        assert_close(traffic_ms(&b), a.count > 0 ? most + latency : 0, 1e-9);
        assert_true(traffic_ms(&b) >= traffic_ms(&a) + (a.count > 0 ? 4 : 0));
        traffic_release(&a);
        traffic_release(&b);
    }
    cost_destroy(&plain);
    cost_destroy(&slow);
    profile_destroy(&p);
    graph_destroy(&g);
}

/* In the simulator: no board sends two things at once, and nothing arrives at one together. */
static void test_setup_simulated(void **state) {
    (void)state;
    uint64_t seed = 9;
    int longer = 0;
    for (int round = 0; round < 100; round++) {
        struct graph *g = case_skips(&seed, 4 + case_draw(&seed, 6), 12);
        const int boards = 2 + case_draw(&seed, 4);
        struct profile *p = case_profile(g, boards, 1, &seed);
        struct cost_model *plain = case_model(g, p, (struct cost_options){0});
        struct cost_model *slow = case_model(g, p, (struct cost_options){.setup_ms = 3});
        struct plan *plan = random_plan_make(g, boards, &seed);
        struct simulation *s = NULL;
        double ms;
        assert_non_null(plan);
        assert_int_equal(simulate_ms(&ms, plain, plan, NULL), COHORT_OK);
        assert_int_equal(simulate(&s, slow, plan, true, false, NULL), COHORT_OK);
        for (size_t i = 0; i < s->trace_count; i++)
            for (size_t k = 0; k < s->trace_count; k++) {
                const struct sim_interval *a = &s->trace[i], *b = &s->trace[k];
                if (i == k || a->kind != SIM_SEND || b->kind != SIM_SEND)
                    continue;
                assert_true(a->end_ms - a->begin_ms >= 3 - 1e-9);
                if (a->board == b->board)
                    assert_true(a->end_ms <= b->begin_ms + 1e-9 || b->end_ms <= a->begin_ms + 1e-9);
                if (a->to == b->to)
                    assert_true(a->end_ms <= b->begin_ms + 3 + 1e-9 ||
                                b->end_ms <= a->begin_ms + 3 + 1e-9);
            }
        longer += s->total_ms > ms + 2.9;
        simulation_destroy(&s);
        plan_destroy(&plan);
        cost_destroy(&plain);
        cost_destroy(&slow);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    assert_true(longer > 50);
}

/* ---- wire types ----------------------------------------------------------------------------- */

static void test_wire(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    struct profile *p = NULL;
    assert_int_equal(profile_synthetic(&p, g, "2a:1 link:100Mbit:1ms", NULL), COHORT_OK);
    const int conv = graph_find_value(g, "conv1"), input = g->inputs[0];
    const double row = (double)value_geometry(graph_value(g, conv)).row_bytes;
    const double in_row = (double)value_geometry(graph_value(g, input)).row_bytes;
    static const enum plan_wire wires[] = {PLAN_WIRE_F32, PLAN_WIRE_F16, PLAN_WIRE_I8};
    const double expected[] = {row, row / 2, row / 4 + 4};
    for (int i = 0; i < 3; i++) {
        struct cost_model *m =
            case_model(g, p, (struct cost_options){.wire = wires[i], .input_u8 = true});
        assert_close(m->values[conv].wire_bytes, expected[i], 0);
        assert_close(m->values[input].wire_bytes, in_row / 4, 0);
        cost_destroy(&m);
    }
    for (uint64_t bits = 0; bits < 4; bits++) { /* the first input, and one that there is not */
        struct cost_model *m = case_model(g, p, (struct cost_options){.pixel_inputs = bits});
        assert_close(m->values[input].wire_bytes, bits & 1 ? in_row / 4 : in_row, 0);
        assert_close(m->values[conv].wire_bytes, row, 0);
        cost_destroy(&m);
    }
    profile_destroy(&p);
    graph_destroy(&g);
}

/* ---- splits --------------------------------------------------------------------------------- */

static double slowest(const struct cost_model *m, int until, const int64_t *split, int end) {
    struct demand d;
    double most = 0;
    assert_int_equal(demand_init(&d, m, NULL), COHORT_OK);
    demand_begin(&d, end, until, split);
    while (d.at > 0)
        demand_step(&d);
    for (int b = 0; b < m->boards; b++)
        most = fmax(most, d.ms[b]);
    demand_release(&d);
    return most;
}

/* The least over all splits among the boards of `who`. */
static double best_of_all(const struct cost_model *m, int until, int end, const bool *who,
                          int64_t *split, int b) {
    const int64_t rows = m->values[until].rows;
    if (b == m->boards) {
        return split[b] == rows ? slowest(m, until, split, end) : INFINITY;
    }
    double best = INFINITY;
    for (int64_t y = split[b]; y <= (who[b] ? rows : split[b]); y++) {
        split[b + 1] = y;
        best = fmin(best, best_of_all(m, until, end, who, split, b + 1));
    }
    return best;
}

static void test_minimax(void **state) {
    (void)state;
    uint64_t seed = 5;
    double worst = 1;
    int exact = 0, cases = 0;
    for (int round = 0; round < 150; round++) {
        struct graph *g =
            case_chain(&seed, 2 + case_draw(&seed, 4), 8 + case_draw(&seed, 8), false);
        struct profile *p = case_profile(g, 3, 1, &seed);
        struct cost_model *m = case_model(g, p, (struct cost_options){0});
        const int end = g->node_count, until = m->outputs[end - 1];
        bool who[3];
        int64_t split[4], trial[4] = {0};
        cost_fastest(m, 1 + case_draw(&seed, 3), who);
        assert_int_equal(cost_minimax(m, 0, end, until, who, NULL, split, NULL), COHORT_OK);
        assert_int_equal(split[3], m->values[until].rows);
        const double found = slowest(m, until, split, end);
        const double best = best_of_all(m, until, end, who, trial, 0);
        worst = best > 0 ? fmax(worst, found / best) : worst;
        exact += found <= best * 1.0011;
        cases++;
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message("# minimax splits: best of all in %d of %d cases, worst %.4f of it\n", exact,
                  cases, worst);
    assert_true(worst < 1.1);
    assert_true(exact * 100 >= cases * 95);
}

/* ---- made-up profiles ----------------------------------------------------------------------- */

static void test_synthetic(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    struct profile *p = NULL;
    struct cohort_error err = {0};
    assert_int_equal(profile_synthetic(&p, g, " 4xfast:100 2xslow:40  link:100Mbit:0.3ms ", &err),
                     COHORT_OK);
    assert_int_equal(p->board_count, 6);
    assert_int_equal(p->type_count, 2);
    assert_string_equal(p->boards[0].host, "fast1");
    assert_string_equal(p->boards[5].host, "slow2");
    assert_close(profile_node_ms(p, 5, 1, 32), 2.5 * profile_node_ms(p, 0, 1, 32), 1e-12);
    /* conv2: 16 x 16 x 9 x 32 x 32 multiply-adds at 100 GFLOP/s; its memory takes less */
    assert_close(profile_node_ms(p, 0, 1, 32), 2.0 * 16 * 16 * 9 * 32 * 32 / 100e9 * 1e3, 1e-9);
    assert_close(profile_link_ms(p, 0, 5, 1e6), 80.3, 1e-9);
    assert_close(profile_link_ms(p, 3, 3, 1e6), 0, 0);
    profile_destroy(&p);
    assert_int_equal(profile_synthetic(&p, g, "pi:5", &err), COHORT_OK);
    assert_string_equal(p->boards[0].host, "pi");
    profile_destroy(&p);
    assert_int_equal(profile_synthetic(&p, g, "512xpi:5.5 link:1Gbit:10us", &err), COHORT_OK);
    assert_close(profile_link_ms(p, 1, 2, 1e6), 8.01, 1e-9);
    profile_destroy(&p);
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no boards: 4xfast:100"},
        {"link:1Mbit:1ms", "no boards"},
        {"2xa:1", "no link for 2 boards"},
        {"2xa", "'2xa' is not COUNTxNAME:GFLOPS"},
        {"2x:1 link:1Mbit", "'2x:1' is not COUNTxNAME:GFLOPS"},
        {"2xa:0 link:1Mbit", "'2xa:0' is not COUNTxNAME:GFLOPS"},
        {"2xa:-1 link:1Mbit", "'2xa:-1' is not COUNTxNAME:GFLOPS"},
        {"2xa:1e3 link:1Mbit", "'2xa:1e3' is not COUNTxNAME:GFLOPS"},
        {"2xa:nan link:1Mbit", "'2xa:nan' is not COUNTxNAME:GFLOPS"},
        {"2xa:1: link:1Mbit", "'2xa:1:' is not COUNTxNAME:GFLOPS"},
        {"0xa:1 link:1Mbit", "1 to 512 boards"},
        {"513xa:1 link:1Mbit", "1 to 512 boards"},
        {"99999999999999999999xa:1 link:1Mbit", "1 to 512 boards"},
        {"300xa:1 300xb:1 link:1Mbit", "600 boards (at most 512)"},
        {"2xa:1 3xa:2 link:1Mbit", "'a' is given twice"},
        {"2xa:1 link:1Mbit link:2Mbit", "link is given twice"},
        {"2xa:1 link:Mbit:1ms", "'link:Mbit:1ms' is not link:RATE:LATENCY"},
        {"2xa:1 link:0Mbit:1ms", "'link:0Mbit:1ms' is not link:RATE:LATENCY"},
        {"2xa:1 link:10MB:1ms", "'link:10MB:1ms' is not link:RATE:LATENCY"},
        {"2xa:1 link:10Mbit:1", "'link:10Mbit:1' is not link:RATE:LATENCY"},
        {"2xa:1 link:10Mbit:1m", "'link:10Mbit:1m' is not link:RATE:LATENCY"},
        {"2xa:1 link:", "'link:' is not link:RATE:LATENCY"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (profile_synthetic(&p, g, cases[i].text, &err) != COHORT_ERR_USAGE)
            fail_msg("'%s' is taken", cases[i].text);
        if (strstr(err.message, cases[i].message) == NULL)
            fail_msg("'%s': %s", cases[i].text, err.message);
    }
    graph_destroy(&g);
}

/* ---- strategies ----------------------------------------------------------------------------- */

static void check_strategy(const struct cost_model *m, const char *name) {
    const struct planner_options o = {.cost = m->options, .predicted = true};
    struct planned p;
    struct cohort_error err = {0};
    if (planner_make(&p, m, name, &o, &err) != COHORT_OK)
        fail_msg("%s: %s", name, err.message);
    if (plan_check(p.plan, m->g, m->boards, &err) != COHORT_OK)
        fail_msg("%s: %s", name, err.message);
    assert_string_equal(p.plan->strategy, name);
    assert_close(p.plan->predicted_ms, p.simulation->total_ms, 0);
    check_plan(m, p.plan);
    for (int b = 0; b < m->boards; b++)
        if (!m->usable[b])
            for (int i = 0; i < p.plan->segment_count; i++)
                assert_close(p.simulation->segments[i].board_compute_ms[b], 0, 0);
    planned_release(&p);
}

static void test_strategies(void **state) {
    (void)state;
    uint64_t seed = 9;
    int count;
    const struct strategy *table = strategy_table(&count);
    for (int round = 0; round < 120; round++) {
        const int nodes = 3 + case_draw(&seed, 8), height = 6 + case_draw(&seed, 12);
        struct graph *g = round % 3 == 0   ? case_any(&seed, nodes, height)
                          : round % 3 == 1 ? case_skips(&seed, nodes, height)
                                           : case_chain(&seed, nodes, height, true);
        const int boards = 1 + case_draw(&seed, 5);
        bool left_out[5] = {false, case_draw(&seed, 3) == 0, false, false, false};
        struct profile *p = case_profile(g, boards, case_range(&seed, 0.1, 3), &seed);
        struct cost_model *m =
            case_model(g, p,
                       (struct cost_options){.wire = (enum plan_wire)case_draw(&seed, 3),
                                             .left_out = left_out,
                                             .root_feeds = boards > 2 && case_draw(&seed, 3) == 0});
        for (int i = 0; i < count; i++)
            check_strategy(m, table[i].name);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
}

static void test_mistakes(void **state) {
    (void)state;
    struct graph *g = toy_vgg(), *other = toy_create("other");
    struct profile *p = NULL;
    struct cost_model *m = NULL;
    struct cohort_error err = {0};
    const struct strategy *s;
    toy_output(other, toy_relu(other, "y", toy_input(other, "x", 3, 8)));
    assert_int_equal(profile_synthetic(&p, g, "2xa:1 link:1Mbit", &err), COHORT_OK);
    assert_int_equal(cost_create(&m, other, p, &(struct cost_options){0}, &err), COHORT_ERR_PLAN);
    assert_int_equal(cost_create(&m, g, p, &(struct cost_options){.boards = 3}, &err),
                     COHORT_ERR_PLAN);
    const bool all[2] = {true, true};
    assert_int_equal(cost_create(&m, g, p, &(struct cost_options){.left_out = all}, &err),
                     COHORT_ERR_USAGE);
    assert_int_equal(strategy_find(&s, "coege", &err), COHORT_ERR_USAGE);
    assert_string_equal(err.message, "there is no strategy 'coege': did you mean coedge?");
    m = case_model(g, p, (struct cost_options){.memory_limit = 1000});
    struct planned planned;
    assert_int_equal(planner_make(&planned, m, "single", &(struct planner_options){0}, &err),
                     COHORT_ERR_PLAN);
    cost_destroy(&m);
    m = case_model(g, p, (struct cost_options){.memory_limits = (const uint64_t[]){0, 1000}});
    int board = -1;
    assert_true(isinf(cost_memory_limit(m, 0)) && cost_memory_limit(m, 1) == 1000);
    assert_true(cost_memory_excess(m, (const double[]){1e9, 1500}, &board) == 500 && board == 1);
    assert_true(cost_memory_excess(m, (const double[]){1e9, 900}, &board) == -100);
    cost_destroy(&m);
    profile_destroy(&p);
    graph_destroy(&other);
    graph_destroy(&g);
}

/* Every allocation fails once: an error, no leak, no crash. */
static void test_short_memory(void **state) {
    (void)state;
    uint64_t seed = 21;
    struct graph *g = case_skips(&seed, 6, 10);
    int count;
    const struct strategy *table = strategy_table(&count);
    for (int i = 0; i < count; i++)
        for (long n = 1; n < 100000; n++) {
            struct profile *p = NULL;
            struct cost_model *m = NULL;
            struct planned planned = {0};
            struct cohort_error err = {0};
            const struct planner_options o = {.predicted = true};
            const long before = mem_live_blocks();
            mem_fail_at(n);
            enum cohort_code code = profile_synthetic(&p, g, "2xa:1 b:2 link:1Gbit:1ms", &err);
            if (code == COHORT_OK)
                code = cost_create(&m, g, p, &o.cost, &err);
            if (code == COHORT_OK)
                code = planner_make(&planned, m, table[i].name, &o, &err);
            mem_fail_at(0);
            planned_release(&planned);
            cost_destroy(&m);
            profile_destroy(&p);
            assert_int_equal(mem_live_blocks(), before);
            if (code == COHORT_OK)
                break;
            assert_int_equal(code, COHORT_ERR_MEMORY);
        }
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curves),    cmocka_unit_test(test_random_plans),
        cmocka_unit_test(test_setup),     cmocka_unit_test(test_setup_simulated),
        cmocka_unit_test(test_wire),      cmocka_unit_test(test_minimax),
        cmocka_unit_test(test_synthetic), cmocka_unit_test(test_strategies),
        cmocka_unit_test(test_mistakes),  cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
