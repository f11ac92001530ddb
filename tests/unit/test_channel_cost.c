/* What segments by channels cost, against plainer versions: what can be divided against what
 * plan_check() lets pass, splits against trying all of them, bytes against what the runtime moves
 * (planner/transitions.h), the sum of steps against tests/support/stepsum.c. */
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/pass.h"
#include "planner/channels.h"
#include "planner/replay.h"
#include "planner/simulate.h"
#include "planner/transitions.h"
#include "synth/synth.h"
#include "tests/support/channelplan.h"
#include "tests/support/leaks.h"
#include "tests/support/plancase.h"
#include "tests/support/stepsum.h"
#include "tests/support/testdir.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const networks[] = {"vgg11", "resnet18", "mobilenetv3", "shufflenetv2"};
#define NETWORKS (int)(sizeof networks / sizeof networks[0])

static struct graph *graphs[NETWORKS];

static void must(enum cohort_code code, const struct cohort_error *err) {
    if (code != COHORT_OK)
        fail_msg("%s", err->message);
}

static int make_networks(void **state) {
    struct synth_options o = {.size = 64, .width = 0.5, .classes = 72, .seed = 5};
    struct cohort_error err = {0};
    (void)state;
    for (int i = 0; i < NETWORKS; i++) {
        const char *path = test_path("n.onnx");
        if (synth_write(networks[i], &o, path, &err) != COHORT_OK ||
            onnx_load(&graphs[i], path, &err) != COHORT_OK ||
            graph_finish(graphs[i], &(struct pass_options){0}, &err) != COHORT_OK) {
            print_error("%s\n", err.message);
            return -1;
        }
    }
    return 0;
}

static int drop_networks(void **state) {
    for (int i = 0; i < NETWORKS; i++)
        graph_destroy(&graphs[i]);
    test_directory_remove();
    return no_leaks(state);
}

static void assert_close(double a, double b, double tolerance) {
    if (fabs(a - b) > tolerance * (1 + fabs(a) + fabs(b)))
        fail_msg("%.12g is not %.12g", a, b);
}

/* A cluster and a model for network i. */
struct bench {
    struct profile *p;
    struct cost_model *m;
};

static void bench_begin(struct bench *b, int i, int boards, uint64_t *seed) {
    struct cohort_error err = {0};
    b->p = case_profile(graphs[i], boards, case_range(seed, 0.05, 3), seed);
    for (int t = 0; t < b->p->type_count; t++)
        b->p->types[t].encode_ms_per_mb = case_range(seed, 0, 0.5);
    must(cost_create(&b->m, graphs[i], b->p, &(struct cost_options){0}, &err), &err);
}

static void bench_end(struct bench *b) {
    cost_destroy(&b->m);
    profile_destroy(&b->p);
}

/* ---- what can be divided --------------------------------------------------------------------- */

/* Nodes [first, end) in this mode, all else on board 0, for two boards. */
static bool passes(const struct graph *g, int first, int end, enum plan_mode mode, int64_t at,
                   int64_t count, struct cohort_error *err) {
    int64_t split[] = {0, at, count};
    struct plan_segment segments[3];
    struct plan plan = {.boards = 2, .segments = segments};
    const int ends[] = {first, end, g->node_count};
    must(graph_signature(g, plan.signature, err), err);
    for (int i = 0; i < 3; i++) {
        const int before = i > 0 ? ends[i - 1] : 0;
        if (ends[i] == before)
            continue;
        segments[plan.segment_count++] =
            (struct plan_segment){.until = graph_value(g, g->nodes[ends[i] - 1].out[0])->name,
                                  .mode = i == 1 ? mode : PLAN_LOCAL,
                                  .output = i == 1 ? PLAN_TO_ALL : PLAN_TO_ROOT,
                                  .split = i == 1 ? split : NULL};
    }
    return plan_check(&plan, g, 2, err) == COHORT_OK;
}

/* What the model says of nodes [first, end) is what plan_check() says. */
static bool check_run(const struct cost_model *m, int first, int end, enum plan_mode mode) {
    const struct graph *g = m->g;
    struct cohort_error err = {0};
    const int64_t unit = channel_unit(m, first, end, mode);
    const int of = channel_value(m, first, end, mode);
    const bool rows = mode == PLAN_ROWS_GEMM;
    const int64_t count = of < 0 ? 0
                          : rows ? value_rows(graph_value(g, of))
                                 : m->values[of].channels;
    const int64_t step = rows ? 1 : MAP_BLOCK;
    for (int64_t at = step; at + step <= count; at += step) {
        const bool allowed = unit > 0 && at % unit == 0 && count - at >= unit;
        const bool passed = passes(g, first, end, mode, at, count, &err);
        if (allowed && !passed)
            fail_msg("nodes %d to %d, mode %d, unit %d, at %d of %d: %s", first, end, (int)mode,
                     (int)unit, (int)at, (int)count, err.message);
        if (passed && !allowed)
            fail_msg("nodes %d to %d, mode %d, unit %d, at %d of %d can be run", first, end,
                     (int)mode, (int)unit, (int)at, (int)count);
        if (at > 4 * MAP_BLOCK) /* further ones are alike */
            at += 4 * MAP_BLOCK;
    }
    return unit > 0;
}

static void test_units(void **state) {
    static const enum plan_mode modes[] = {PLAN_OUT_CHANNEL, PLAN_CHANNELWISE, PLAN_IN_CHANNEL};
    uint64_t seed = 11;
    int can[4] = {0}, cannot = 0;
    (void)state;
    for (int i = 0; i < NETWORKS; i++) {
        struct bench b;
        bench_begin(&b, i, 2, &seed);
        for (int k = 0; k < 40; k++) {
            const int first = case_draw(&seed, graphs[i]->node_count);
            const int mode = case_draw(&seed, 3);
            int end = first + 1 + (mode == 2 ? 0 : case_draw(&seed, 3));
            end = end < graphs[i]->node_count ? end : graphs[i]->node_count;
            if (check_run(b.m, first, end, modes[mode]))
                can[mode]++;
            else
                cannot++;
        }
        for (int first = 0; first < graphs[i]->node_count; first++)
            can[3] += check_run(b.m, first, first + 1, PLAN_ROWS_GEMM);
        bench_end(&b);
    }
    print_message("%d out-channel, %d channelwise, %d in-channel; %d cannot; %d by rows\n", can[0],
                  can[1], can[2], cannot, can[3]);
    assert_true(can[0] > 5 && can[1] > 1 && can[2] > 5 && cannot > 20 && can[3] > 0);
}

/* ---- splits ---------------------------------------------------------------------------------- */

static double slowest(const struct cost_model *m, const struct channel_run *r,
                      const double *extra) {
    double most = 0;
    for (int b = 0; b < m->boards; b++)
        most = fmax(most, channel_ms(m, r, b) + extra[b] * (double)(r->split[b + 1] - r->split[b]));
    return most;
}

/* The least time of all splits, the boards' numbers of units one by one. */
static double least_of_all(const struct cost_model *m, struct channel_run *r, int64_t *split,
                           const bool *who, const double *extra, int64_t unit, int64_t of, int b) {
    double least = INFINITY;
    if (b == m->boards - 1) {
        split[m->boards] = of;
        return split[b] < of && !who[b] ? INFINITY : slowest(m, r, extra);
    }
    for (int64_t to = split[b]; to <= of; to += unit) {
        if (of - to < unit && to != of) /* the last share has the rest */
            to = of;
        if (to > split[b] && !who[b])
            break;
        split[b + 1] = to;
        least = fmin(least, least_of_all(m, r, split, who, extra, unit, of, b + 1));
    }
    return least;
}

static void test_minimax(void **state) {
    uint64_t seed = 5;
    int tried = 0;
    (void)state;
    for (int i = 0, by_rows = 0; tried < 60 || by_rows < 4; i = (i + 1) % NETWORKS) {
        struct bench b;
        struct cohort_error err = {0};
        const int boards = 2 + case_draw(&seed, 2);
        bench_begin(&b, i, boards, &seed);
        const int first = case_draw(&seed, graphs[i]->node_count);
        const enum plan_mode mode = b.m->nodes[first].sums_rows ? PLAN_ROWS_GEMM
                                    : case_draw(&seed, 2) == 0  ? PLAN_OUT_CHANNEL
                                                                : PLAN_IN_CHANNEL;
        const int64_t unit = channel_unit(b.m, first, first + 1, mode);
        const int64_t of = unit > 0 ? channel_count(b.m, first, first + 1, mode) : 0;
        if (unit > 0 && of / unit <= 24) {
            int64_t split[4], other[4] = {0};
            bool who[3] = {true, true, true};
            double extra[3] = {0};
            who[case_draw(&seed, boards)] = case_draw(&seed, 3) > 0;
            for (int k = 0; k < boards; k++)
                extra[k] = case_draw(&seed, 2) == 0 ? 0 : case_range(&seed, 0, 0.01);
            must(channel_minimax(b.m, first, first + 1, mode, who, extra, split, &err), &err);
            struct channel_run r = {first, first + 1, mode, split, PLAN_TO_ALL, PLAN_ROUTE_LINEAR};
            const double found = slowest(b.m, &r, extra);
            for (int k = 0; k < boards; k++)
                assert_true(split[k + 1] >= split[k] && (who[k] || split[k + 1] == split[k]));
            assert_int_equal(split[boards], of);
            r.split = other;
            const double least = least_of_all(b.m, &r, other, who, extra, unit, of, 0);
            /* a rest of channels beside whole units may make it worse by less than a unit */
            if (of % unit == 0)
                assert_close(found, least, 1e-9);
            assert_true(found >= least - 1e-9);
            tried++;
            by_rows += mode == PLAN_ROWS_GEMM;
        }
        bench_end(&b);
    }
}

/* ---- random plans ---------------------------------------------------------------------------- */

/* Bytes of channels of a value as the runtime's parts of a map have them. */
static double part_bytes(const struct graph *g, int id, struct channels c) {
    const struct geometry geo = value_geometry(graph_value(g, id));
    const int64_t each = geo.blocked ? geo.width : 1;
    const int64_t end = geo.blocked ? (c.end + MAP_BLOCK - 1) / MAP_BLOCK * MAP_BLOCK : c.end;
    return c.begin < c.end ? 4.0 * (double)(geo.images * geo.height * (end - c.begin) * each) : 0;
}

static void add(double *bytes, int n, int from, int to, double count) {
    bytes[from * n + to] += from != to ? count : 0;
}

/* The shares of a sum: pieces of the memory in whole lines of 64 bytes. */
static double share_bytes(double whole, int b, int n) {
    const int64_t lines = (int64_t)whole / 64, begin = lines * b / n, end = lines * (b + 1) / n;
    return b == n - 1 ? whole - (double)begin * 64 : (double)(end - begin) * 64;
}

static bool gives(const struct transition *t, int b) {
    return t->channels[b].begin < t->channels[b].end;
}

/* Straight: from everybody who has something to everybody who wants it. */
static void add_straight(const struct cost_model *m, const struct transition *t, double *bytes) {
    const int n = m->boards;
    const double whole =
        part_bytes(m->g, t->value, (struct channels){0, m->values[t->value].channels});
    for (int from = 0; from < n; from++)
        for (int to = 0; to < n; to++) {
            if (t->kind == TRANSITION_JOIN && (t->to_all || to == 0))
                add(bytes, n, from, to, part_bytes(m->g, t->value, t->channels[from]));
            else if (t->kind == TRANSITION_SUM && !t->to_all && to == 0)
                add(bytes, n, from, to, gives(t, from) ? whole : 0);
            else if (t->kind == TRANSITION_SUM && t->to_all)
                add(bytes, n, from, to,
                    (gives(t, from) ? share_bytes(whole, to, n) : 0) + share_bytes(whole, from, n));
        }
}

/* Round: what is had passes all boards but one; an addend's share begins behind its owner, and goes
 * from the first board that has one. */
static void add_round(const struct cost_model *m, const struct transition *t, double *bytes) {
    const int n = m->boards;
    const double whole =
        part_bytes(m->g, t->value, (struct channels){0, m->values[t->value].channels});
    for (int part = 0; part < n; part++) {
        const bool sum = t->kind == TRANSITION_SUM;
        const double each =
            sum ? share_bytes(whole, part, n) : part_bytes(m->g, t->value, t->channels[part]);
        bool any = false;
        for (int k = 1; k < n && sum; k++) {
            const int b = (part + k) % n;
            any = any || gives(t, b);
            add(bytes, n, b, (b + 1) % n, any ? each : 0);
        }
        for (int k = 0; k < n - 1 && t->to_all; k++)
            add(bytes, n, (part + k) % n, (part + k + 1) % n, each);
        if (!t->to_all) /* as shares, and then to the root */
            add(bytes, n, part, 0, each);
    }
}

/* By halves: an addend of a share, or a sum of some, goes on by the greatest power of two in its
 * distance from the share's owner; what is had goes back the same ways. */
static void add_halves(const struct cost_model *m, const struct transition *t, double *bytes) {
    const int n = m->boards;
    const double whole =
        part_bytes(m->g, t->value, (struct channels){0, m->values[t->value].channels});
    for (int part = 0; part < n; part++) {
        const bool sum = t->kind == TRANSITION_SUM;
        const double each =
            sum ? share_bytes(whole, part, n) : part_bytes(m->g, t->value, t->channels[part]);
        bool any[64] = {false};
        for (int away = n - 1; away > 0; away--) { /* sums come from farther away */
            const int b = (part - away + n) % n;
            int step = 1;
            while (2 * step <= away)
                step *= 2;
            const int to = (b + step) % n;
            any[away] = any[away] || gives(t, b);
            any[away - step] = any[away - step] || any[away];
            add(bytes, n, b, to, sum && any[away] ? each : 0);
            add(bytes, n, to, b, t->to_all ? each : 0);
        }
        if (!t->to_all)
            add(bytes, n, part, 0, each);
    }
}

static void transition_bytes(const struct cost_model *m, const struct plan *plan, double *bytes) {
    struct transitions t;
    struct cohort_error err = {0};
    const int n = m->boards;
    must(transitions_make(&t, plan, m->g, &err), &err);
    for (int i = 0; i < t.count; i++) {
        const struct transition *one = &t.list[i];
        const double row = m->values[one->value].wire_bytes;
        if (one->channels != NULL) {
            const bool stages = one->to_all || one->kind == TRANSITION_SUM;
            (stages && one->route == PLAN_ROUTE_RING      ? add_round
             : stages && one->route == PLAN_ROUTE_HALVING ? add_halves
                                                          : add_straight)(m, one, bytes);
            continue;
        }
        for (int b = 1; b < n && one->kind != TRANSITION_EXCHANGE; b++)
            add(bytes, n, one->kind == TRANSITION_SCATTER ? 0 : b,
                one->kind == TRANSITION_SCATTER ? b : 0, row * (double)rows_count(one->rows[b]));
        for (int k = 0; k < one->move_count; k++)
            add(bytes, n, one->moves[k].from, one->moves[k].to,
                row * (double)rows_count(one->moves[k].rows));
    }
    transitions_release(&t);
}

/* The evaluator's sum of steps. */
static double plain_sum(const struct cost_model *m, const struct plan *plan) {
    struct stepsum s;
    stepsum_begin(&s, m->g, m->p, m->boards);
    for (int i = 0; i < plan->segment_count; i++) {
        const struct plan_segment *g = &plan->segments[i];
        const int end = plan_segment_end(plan, m->g, i);
        stepsum_segment(&s, end, g);
    }
    const double ms = s.ms;
    stepsum_end(&s);
    return ms;
}

static void check_plan(const struct cost_model *m, const struct plan *plan) {
    const size_t n = (size_t)m->boards;
    struct cohort_error err = {0};
    struct simulation *s = NULL;
    double *bytes = mem_zalloc(n * n, sizeof *bytes), sum, total = 0, busy = 0;
    assert_non_null(bytes);
    must(simulate(&s, m, plan, true, true, &err), &err);
    transition_bytes(m, plan, bytes);
    for (size_t i = 0; i < n * n; i++) {
        assert_close(s->pair_bytes[i], bytes[i], 1e-9);
        total += bytes[i];
    }
    assert_close(s->bytes, total, 1e-9);
    must(plan_step_sum(m, plan, &sum, &err), &err);
    assert_close(sum, plain_sum(m, plan), 1e-9);
    for (int i = 0; i < plan->segment_count; i++)
        busy += s->segments[i].board_compute_ms[0];
    assert_true(s->total_ms >= busy - 1e-9);
    for (size_t i = 0; i < s->trace_count; i++) /* no board does two things at once */
        for (size_t k = 0; k < i; k++) {
            const struct sim_interval *a = &s->trace[i], *b = &s->trace[k];
            const bool apart = a->end_ms <= b->begin_ms + 1e-9 || b->end_ms <= a->begin_ms + 1e-9;
            if ((a->kind == SIM_SEND) == (b->kind == SIM_SEND) && !apart)
                assert_true(a->board != b->board && (a->kind != SIM_SEND || a->to != b->to));
        }
    for (size_t b = 0; b < n; b++)
        assert_true(s->peak_bytes[b] >= 0);
    simulation_destroy(&s);
    mem_free(bytes);
}

static void test_random_plans(void **state) {
    uint64_t seed = 29;
    int divided = 0;
    (void)state;
    for (int round = 0; round < 80; round++) {
        const int i = round % NETWORKS, boards = 1 + case_draw(&seed, 5);
        struct bench b;
        int segments = 0;
        bench_begin(&b, i, boards, &seed);
        struct plan *plan = channel_plan_make(graphs[i], boards, &seed, &segments);
        assert_non_null(plan);
        check_plan(b.m, plan);
        divided += boards > 1 ? segments : 0;
        plan_destroy(&plan);
        bench_end(&b);
    }
    print_message("%d segments by channels\n", divided);
    assert_true(divided > 200);
}

/* ---- memory of two plans --------------------------------------------------------------------- */

static double sum_of(const double *bytes, int boards) {
    double sum = 0;
    for (int b = 0; b < boards; b++)
        sum += bytes[b];
    return sum;
}

/* While one plan takes another's place: either way round, of one plan its weights once, of two
 * never less than of one, nor more than of both. */
static void test_two_plans(void **state) {
    uint64_t seed = 53;
    int less = 0;
    (void)state;
    for (int round = 0; round < 40; round++) {
        const int i = round % NETWORKS, boards = 2 + case_draw(&seed, 3);
        struct cohort_error err = {0};
        struct plan *plans[2];
        struct bench b;
        double one[2][8], both[8], back[8], again[8];
        int segments;
        bench_begin(&b, i, boards, &seed);
        for (int k = 0; k < 2; k++) {
            plans[k] = channel_plan_make(graphs[i], boards, &seed, &segments);
            assert_non_null(plans[k]);
            must(plan_peak_bytes(b.m, plans[k], one[k], &err), &err);
        }
        must(plan_change_bytes(b.m, plans[0], plans[1], both, &err), &err);
        must(plan_change_bytes(b.m, plans[1], plans[0], back, &err), &err);
        must(plan_change_bytes(b.m, plans[0], plans[0], again, &err), &err);
        for (int k = 0; k < boards; k++) {
            assert_true(fabs(both[k] - back[k]) <= 1);
            assert_true(both[k] >= fmax(one[0][k], one[1][k]) - 1);
            assert_true(both[k] <= one[0][k] + one[1][k]);
            assert_true(again[k] <= 2 * one[0][k]);
        }
        double weights = 0; /* the same plan: all but these twice */
        for (int k = 0; k < graphs[i]->node_count; k++)
            weights += cost_weight_bytes(b.m, 0, k);
        assert_true(2 * sum_of(one[0], boards) - sum_of(again, boards) >= weights - 2 * boards);
        less += sum_of(both, boards) < sum_of(one[0], boards) + sum_of(one[1], boards) - 2 * boards;
        plan_destroy(&plans[0]);
        plan_destroy(&plans[1]);
        bench_end(&b);
    }
    assert_true(less > 10);
}

/* ---- routes ---------------------------------------------------------------------------------- */

/* Straight, unless another one is clearly faster. */
static void test_best_route(void **state) {
    (void)state;
    assert_int_equal(channel_best_route((double[PLAN_ROUTES]){10, 10, 10}), PLAN_ROUTE_LINEAR);
    assert_int_equal(channel_best_route((double[PLAN_ROUTES]){10, 9.1, 9.1}), PLAN_ROUTE_LINEAR);
    assert_int_equal(channel_best_route((double[PLAN_ROUTES]){10, 8.9, 9.1}), PLAN_ROUTE_RING);
    assert_int_equal(channel_best_route((double[PLAN_ROUTES]){10, 8.9, 8.8}), PLAN_ROUTE_HALVING);
    assert_int_equal(channel_best_route((double[PLAN_ROUTES]){10, 8.8, 8.9}), PLAN_ROUTE_RING);
    assert_int_equal(channel_best_route((double[PLAN_ROUTES]){0, 0, 0}), PLAN_ROUTE_LINEAR);
}

/* The chosen routes are not slower than any other by the sum of steps, or straight. */
static void test_routes(void **state) {
    uint64_t seed = 41;
    int chosen_routes[PLAN_ROUTES] = {0};
    (void)state;
    for (int round = 0; round < 48; round++) {
        const int i = round % NETWORKS;
        struct bench b;
        struct cohort_error err = {0};
        int segments = 0;
        double chosen, other;
        bench_begin(&b, i, 3 + case_draw(&seed, 3), &seed);
        struct plan *plan = channel_plan_make(graphs[i], b.m->boards, &seed, &segments);
        assert_non_null(plan);
        must(plan_choose_routes(b.m, plan, &err), &err);
        must(plan_step_sum(b.m, plan, &chosen, &err), &err);
        for (int k = 0; k < plan->segment_count; k++) {
            struct plan_segment *s = &plan->segments[k];
            if (!plan_by_channels(s->mode) || s->output == PLAN_STAY)
                continue;
            const enum plan_route best = s->route;
            chosen_routes[best]++;
            for (int route = 0; route < PLAN_ROUTES; route++) {
                s->route = (enum plan_route)route;
                must(plan_step_sum(b.m, plan, &other, &err), &err);
                /* A route that is not straight must be worth it. */
                if (best != PLAN_ROUTE_LINEAR)
                    assert_true(chosen <= other + 1e-9);
                else
                    assert_true(chosen - other <= (1 - CHANNEL_ROUTE_SHARE) * chosen + 1e-9);
            }
            s->route = best;
        }
        plan_destroy(&plan);
        bench_end(&b);
    }
    print_message("%d straight, %d rings, %d by halves\n", chosen_routes[PLAN_ROUTE_LINEAR],
                  chosen_routes[PLAN_ROUTE_RING], chosen_routes[PLAN_ROUTE_HALVING]);
    for (int route = 0; route < PLAN_ROUTES; route++)
        assert_true(chosen_routes[route] > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),        cmocka_unit_test(test_minimax),
        cmocka_unit_test(test_random_plans), cmocka_unit_test(test_best_route),
        cmocka_unit_test(test_routes),       cmocka_unit_test(test_two_plans),
    };
    return cmocka_run_group_tests(tests, make_networks, drop_networks);
}
