/* The exact search: every plan of its space is tried, on hundreds of random small networks,
 * clusters and links, with an evaluator of its own (tests/support/stepsum.c).  And what `auto`
 * promises: never slower than another strategy, within memory, for any network. */
#include "base/mem.h"
#include "planner/auto.h"
#include "planner/replay.h"
#include "planner/synthetic.h"
#include "tests/support/leaks.h"
#include "tests/support/plancase.h"
#include "tests/support/stepsum.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EPS 1e-9

static struct plan_segment segment_of(const struct sigma *s, const struct auto_segment *a) {
    return (struct plan_segment){.mode = a->mode,
                                 .output = a->output,
                                 .route = a->route,
                                 .board = a->board,
                                 .split = a->mode == PLAN_TILE || plan_by_channels(a->mode)
                                              ? (int64_t *)sigma_split(s, a->split)
                                              : NULL};
}

/* ---- all plans ------------------------------------------------------------------------------ */

struct trial {
    const struct sigma *s;
    double best;                             /* nothing below it is allowed to exist … */
    double limit;                            /* … that needs no more memory than this */
    long plans, steps, by_channels, by_rows; /* by_rows: fully connected layers */
};

static void try_all(struct trial *t, const struct stepsum *before, int cut);

static void try_one(struct trial *t, const struct stepsum *before, const struct auto_segment *a) {
    struct stepsum s;
    const struct plan_segment g = segment_of(t->s, a);
    stepsum_copy(&s, before);
    stepsum_segment(&s, t->s->cuts->at[a->end], &g);
    t->steps++;
    t->by_channels += plan_by_channels(a->mode) && !s.broken;
    t->by_rows += a->mode == PLAN_ROWS_GEMM && !s.broken;
    if (!s.broken && !(s.ms >= t->best - EPS * (1 + t->best)) &&
        stepsum_bytes(&s) <= t->limit) /* costs are never negative: the rest only adds */
        try_all(t, &s, a->end);
    stepsum_end(&s);
}

/* Does the segment between two cuts read something that lies divided? */
static bool reads_divided(const struct sigma *s, const struct stepsum *before, int begin, int end) {
    const size_t stride = (size_t)before->boards + 1;
    bool any = false;
    for (int k = s->cuts->at[begin]; k < s->cuts->at[end]; k++)
        for (int i = 0; i < s->m->g->nodes[k].in_count; i++)
            any = any || before->divided[(size_t)s->m->g->nodes[k].in[i] * stride + stride - 1] > 0;
    return any;
}

static void try_outputs(struct trial *t, const struct stepsum *before, int begin, int end,
                        enum plan_mode mode, int split) {
    static const enum plan_output outputs[] = {PLAN_TO_ROOT, PLAN_TO_ALL, PLAN_STAY};
    const int *at = t->s->cuts->at;
    if (!sigma_in_units(t->s, at[begin], at[end], mode, split))
        return;
    for (int i = 0; i < (plan_adds_up(mode) ? 2 : 3); i++)
        try_one(
            t, before,
            &(struct auto_segment){.end = end, .mode = mode, .output = outputs[i], .split = split});
}

static void try_channels(struct trial *t, const struct stepsum *before, int cut) {
    const struct sigma *s = t->s;
    for (int end = cut + 1; end < s->cuts->count && end - cut <= s->limits.channel_units; end++)
        for (int i = 0; i < s->channel_size[end]; i++) {
            const int split = s->channel_first[end] + i;
            if (sigma_makes_channels(s, cut, end))
                try_outputs(t, before, cut, end, PLAN_OUT_CHANNEL, split);
            if (sigma_keeps_channels(s, cut, end) && reads_divided(s, before, cut, end))
                try_outputs(t, before, cut, end, PLAN_CHANNELWISE, split);
        }
    for (int i = 0; i < s->channel_size[cut]; i++)
        if (sigma_sums_channels(s, cut, cut + 1) && reads_divided(s, before, cut, cut + 1))
            try_outputs(t, before, cut, cut + 1, PLAN_IN_CHANNEL, s->channel_first[cut] + i);
    for (int i = 0; i < s->size[cut]; i++)
        if (sigma_sums_rows(s, cut, cut + 1))
            try_outputs(t, before, cut, cut + 1, PLAN_ROWS_GEMM, s->first[cut] + i);
}

static void try_all(struct trial *t, const struct stepsum *before, int cut) {
    const struct sigma *s = t->s;
    if (cut + 1 == s->cuts->count) {
        t->plans++;
        if (cut == 0) /* an empty network */
            return;
        fail_msg("a plan of %.12g ms exists, below the search's %.12g", before->ms, t->best);
    }
    for (int i = 0; i < s->board_count + s->replicate; i++)
        try_one(t, before,
                &(struct auto_segment){.end = cut + 1,
                                       .mode = i < s->board_count ? PLAN_LOCAL : PLAN_REPLICATE,
                                       .output = PLAN_STAY,
                                       .board = i < s->board_count ? s->boards[i] : 0});
    for (int end = cut + 1;
         end < s->cuts->count && s->cuts->wide[end - 1] && end - cut <= s->limits.longest; end++)
        for (int i = 0; i < s->size[end]; i++)
            for (int root = 0; root < 2; root++)
                try_one(t, before,
                        &(struct auto_segment){.end = end,
                                               .mode = PLAN_TILE,
                                               .output = root ? PLAN_TO_ROOT : PLAN_STAY,
                                               .split = s->first[end] + i});
    try_channels(t, before, cut);
}

/* The found plan takes what the search says, by two evaluators. */
static void check_found(const struct sigma *s, const struct auto_plan *p) {
    struct stepsum sum;
    struct plan plan = {.boards = s->m->boards, .segment_count = p->count};
    double ms;
    stepsum_begin(&sum, s->m->g, s->m->p, s->m->boards);
    sum.setup_ms = s->m->options.setup_ms;
    plan.segments = mem_zalloc((size_t)p->count, sizeof *plan.segments);
    assert_non_null(plan.segments);
    for (int i = 0; i < p->count; i++) {
        const int end = s->cuts->at[p->segments[i].end];
        plan.segments[i] = segment_of(s, &p->segments[i]);
        plan.segments[i].until = graph_value(s->m->g, s->m->outputs[end - 1])->name;
        stepsum_segment(&sum, end, &plan.segments[i]);
    }
    assert_int_equal(plan_step_sum(s->m, &plan, &ms, NULL), COHORT_OK);
    if (fabs(sum.ms - p->ms) > EPS * (1 + p->ms) || fabs(ms - p->ms) > EPS * (1 + p->ms))
        fail_msg("the search says %.12g ms, the plan's sum is %.12g, plainly %.12g", p->ms, ms,
                 sum.ms);
    mem_free(plan.segments);
    stepsum_end(&sum);
}

/* What was tried, and what is in the best plans. */
struct counts {
    long steps, channels, used, rows, rows_used;
};

static void check_exact(const struct cost_model *m, const struct auto_limits *limits,
                        struct counts *n) {
    struct sigma *s = NULL;
    struct auto_found f;
    assert_int_equal(sigma_create(&s, m, limits, NULL, 0, NULL), COHORT_OK);
    assert_int_equal(auto_search(&f, s, 4, NULL), COHORT_OK);
    assert_int_equal(f.pruned, 0);
    for (int i = 0; i < f.plans[0].count; i++) {
        n->used += plan_by_channels(f.plans[0].segments[i].mode);
        n->rows_used += f.plans[0].segments[i].mode == PLAN_ROWS_GEMM;
    }
    for (int i = 0; i < f.count; i++) {
        check_found(s, &f.plans[i]);
        assert_true(f.plans[i].ms >= f.plans[0].ms);
    }
    struct trial t = {.s = s, .best = f.plans[0].ms, .limit = INFINITY};
    struct stepsum begin;
    stepsum_begin(&begin, m->g, m->p, m->boards);
    begin.setup_ms = m->options.setup_ms;
    try_all(&t, &begin, 0);
    n->steps += t.steps;
    n->channels += t.by_channels;
    n->rows += t.by_rows;
    stepsum_end(&begin);
    auto_release(&f);
    sigma_destroy(&s);
}

/* Within a limit the search finds the best of all plans that keep to it, or says that there is
 * none.
 */
static void check_limited(const struct cost_model *m, struct auto_limits limits, double share,
                          long *steps, int *refused, int *slower) {
    struct sigma *s = NULL;
    struct auto_found f;
    struct stepsum begin, sum;
    assert_int_equal(sigma_create(&s, m, &limits, NULL, 0, NULL), COHORT_OK);
    assert_int_equal(auto_search(&f, s, 1, NULL), COHORT_OK);
    const double free_ms = f.plans[0].ms;
    stepsum_begin(&sum, m->g, m->p, m->boards);
    for (int i = 0; i < f.plans[0].count; i++) {
        const struct plan_segment g = segment_of(s, &f.plans[0].segments[i]);
        stepsum_segment(&sum, s->cuts->at[f.plans[0].segments[i].end], &g);
    }
    s->limits.memory = floor(share * stepsum_bytes(&sum));
    stepsum_end(&sum);
    auto_release(&f);
    assert_int_equal(auto_search(&f, s, 4, NULL), COHORT_OK);
    assert_int_equal(f.pruned, 0);
    struct trial t = {
        .s = s, .best = f.count > 0 ? f.plans[0].ms : INFINITY, .limit = s->limits.memory};
    double least = INFINITY;
    for (int i = 0; i < f.count; i++) {
        check_found(s, &f.plans[i]);
        stepsum_begin(&sum, m->g, m->p, m->boards);
        for (int k = 0; k < f.plans[i].count; k++) {
            const struct plan_segment g = segment_of(s, &f.plans[i].segments[k]);
            stepsum_segment(&sum, s->cuts->at[f.plans[i].segments[k].end], &g);
        }
        if (stepsum_bytes(&sum) > s->limits.memory)
            fail_msg("%.0f bytes, beyond the limit of %.0f", stepsum_bytes(&sum), s->limits.memory);
        least = fmin(least, stepsum_bytes(&sum));
        stepsum_end(&sum);
    }
    if (f.count > 0 && least != f.least_bytes)
        fail_msg("the least is %.0f bytes, the search says %.0f", least, f.least_bytes);
    *refused += f.count == 0;
    *slower += f.count > 0 && f.plans[0].ms > free_ms * (1 + EPS);
    stepsum_begin(&begin, m->g, m->p, m->boards);
    begin.setup_ms = m->options.setup_ms;
    try_all(&t, &begin, 0);
    *steps += t.steps;
    stepsum_end(&begin);
    auto_release(&f);
    sigma_destroy(&s);
}

/* Limits under which segments by channels are looked for. */
static struct auto_limits channel_limits(uint64_t *seed) {
    return (struct auto_limits){.live = 1 + case_draw(seed, 3),
                                .thin = case_draw(seed, 3) == 0,
                                .longest = 1 + case_draw(seed, 3),
                                .splits = 2 + case_draw(seed, 2),
                                .states = 1000000,
                                .channels = 1 + case_draw(seed, 3),
                                .channel_units = 1 + case_draw(seed, 3),
                                .channel_weights = case_draw(seed, 2),
                                .channel_rows = case_draw(seed, 5),
                                .wait = 1};
}

static void test_limited(void **state) {
    (void)state;
    uint64_t seed = 78;
    long steps = 0;
    int refused = 0, slower = 0, cases = 0;
    for (int round = 0; round < 240; round++) {
        const int nodes = 2 + case_draw(&seed, 4), height = 5 + case_draw(&seed, 8);
        struct graph *g = round % 3 == 0   ? case_chain(&seed, nodes, height, case_draw(&seed, 2))
                          : round % 6 == 1 ? case_gates(&seed, 3, height)
                          : round % 3 == 1 ? case_skips(&seed, nodes, height)
                                           : case_any(&seed, nodes, height);
        const int boards = 1 + case_draw(&seed, 3);
        struct profile *p = case_profile(g, boards, case_range(&seed, 0.05, 2), &seed);
        struct cost_model *m = case_model(g, p, (struct cost_options){0});
        const struct auto_limits limits = {.live = 1 + case_draw(&seed, 4),
                                           .longest = 1 + case_draw(&seed, 5),
                                           .splits = 2 + case_draw(&seed, 3),
                                           .states = 1000000,
                                           .wait = 1};
        check_limited(m, limits, case_range(&seed, 0.7, 1.05), &steps, &refused, &slower);
        cases++;
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message(
        "# exact within a memory limit on %d random cases (%d times slower for it, %d times "
        "impossible), %ld segments tried\n",
        cases, slower, refused, steps);
    assert_true(slower > 20 && refused > 5);
}

/* By channels, too: they need less of weights, more of maps. */
static void test_limited_channels(void **state) {
    (void)state;
    uint64_t seed = 79;
    long steps = 0;
    int refused = 0, slower = 0;
    for (int round = 0; round < 160; round++) {
        struct graph *g = case_weighted(&seed, 1 + case_draw(&seed, 2), 4 + case_draw(&seed, 4),
                                        1 + case_draw(&seed, 3));
        struct profile *p =
            case_profile(g, 2 + case_draw(&seed, 2), case_range(&seed, 0.0005, 0.03), &seed);
        struct cost_model *m = case_model(g, p, (struct cost_options){0});
        struct auto_limits limits = channel_limits(&seed);
        limits.channel_weights = 0;
        check_limited(m, limits, case_range(&seed, 0.35, 1.02), &steps, &refused, &slower);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message("# exact within a memory limit, by channels too, on 160 random cases (%d times "
                  "slower for it, %d times impossible), %ld segments tried\n",
                  slower, refused, steps);
    assert_true(slower > 20 && refused > 5);
}

static void test_exact(void **state) {
    (void)state;
    uint64_t seed = 77;
    struct counts n = {0};
    int cases = 0;
    for (int round = 0; round < 360; round++) {
        const int nodes = 2 + case_draw(&seed, 4), height = 5 + case_draw(&seed, 8);
        struct graph *g = round % 3 == 0   ? case_chain(&seed, nodes, height, case_draw(&seed, 2))
                          : round % 6 == 1 ? case_gates(&seed, 3, height)
                          : round % 3 == 1 ? case_skips(&seed, nodes, height)
                                           : case_any(&seed, nodes, height);
        const int boards = 1 + case_draw(&seed, 4);
        struct profile *p = case_profile(g, boards, case_range(&seed, 0.05, 2), &seed);
        bool left_out[4] = {false, case_draw(&seed, 4) == 0, false, false};
        struct cost_model *m = case_model(
            g, p,
            (struct cost_options){.left_out = left_out,
                                  .setup_ms = round % 5 == 0 ? case_range(&seed, 0, 2) : 0,
                                  .root_feeds = boards > 2 && case_draw(&seed, 4) == 0});
        const struct auto_limits limits = {.live = 1 + case_draw(&seed, 4),
                                           .thin = case_draw(&seed, 3) == 0,
                                           .longest = 1 + case_draw(&seed, 5),
                                           .splits = 2 + case_draw(&seed, 4),
                                           .states = 1000000,
                                           .wait = 1};
        check_exact(m, &limits, &n);
        cases++;
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message("# exact on %d random cases, %ld segments tried\n", cases, n.steps);
}

static void test_exact_channels(void **state) {
    (void)state;
    uint64_t seed = 41;
    struct counts n = {0};
    for (int round = 0; round < 280; round++) {
        const int tail = 1 + case_draw(&seed, 3);
        struct graph *g = case_weighted(&seed, 1 + case_draw(&seed, tail > 1 ? 2 : 4),
                                        4 + case_draw(&seed, 6), tail);
        const int boards = 2 + case_draw(&seed, 2);
        struct profile *p = case_profile(g, boards, case_range(&seed, 0.0005, 0.03), &seed);
        bool left_out[3] = {false, case_draw(&seed, 6) == 0, false};
        struct cost_model *m = case_model(
            g, p,
            (struct cost_options){.left_out = left_out,
                                  .setup_ms = round % 5 == 0 ? case_range(&seed, 0, 0.1) : 0,
                                  .root_feeds = boards > 2 && case_draw(&seed, 4) == 0});
        const struct auto_limits limits = channel_limits(&seed);
        check_exact(m, &limits, &n);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message("# exact by channels too on 280 random cases, %ld segments tried, %ld of them by "
                  "channels (%ld rows-gemm); %ld (%ld) in the best plans\n",
                  n.steps, n.channels, n.rows, n.used, n.rows_used);
    assert_true(n.channels > 10000 && n.used > n.rows_used + 15 && n.rows > 1000 &&
                n.rows_used > 30);
}

/* The one state that is kept at a cut may lead nowhere: what conv2 adds up by channels lies divided
 * when conv3, which is not behind its maker, comes to read it.  Then no plan is found, and that is
 * all. */
static void test_dead_end(void **state) {
    (void)state;
    struct graph *g = toy_create("dead_end");
    const int x = toy_conv(g, "conv1", toy_input(g, "x", 64, 4), 64, 3);
    const int y = toy_conv(g, "conv2", x, 64, 3), z = toy_conv(g, "conv3", x, 64, 3);
    toy_output(g, toy_add(g, "add", y, z));
    uint64_t seed = 81;
    struct profile *p = case_profile(g, 2, 0.001, &seed);
    struct cost_model *m = case_model(g, p, (struct cost_options){0});
    struct auto_limits limits = auto_limits_for(m);
    int found = 0;
    for (int states = 1; states <= 64; states *= 64) {
        struct sigma *s = NULL;
        struct auto_found f;
        struct cohort_error err = {0};
        limits.states = states;
        limits.longest = limits.channel_units = 1;
        limits.price = 1;
        limits.channel_weights = 0;
        assert_int_equal(sigma_create(&s, m, &limits, NULL, 0, &err), COHORT_OK);
        assert_int_equal(auto_search(&f, s, 3, &err), COHORT_OK);
        assert_true(states == 1 ? f.count == 0 && f.pruned > 0 : f.count > 0);
        found += f.count > 0;
        auto_release(&f);
        sigma_destroy(&s);
    }
    assert_int_equal(found, 1);
    cost_destroy(&m);
    profile_destroy(&p);
    graph_destroy(&g);
}

/* ---- all splits ----------------------------------------------------------------------------- */

/* Every split of `rows` rows among the boards, into s. */
static void add_all_splits(struct sigma *s, int cut, int64_t rows, int64_t *split, int b) {
    const int boards = s->m->boards;
    if (b == boards) {
        const size_t n = (size_t)boards + 1;
        split[boards] = rows;
        s->splits = mem_realloc(s->splits, (size_t)(s->count + 1) * n * sizeof *s->splits);
        assert_non_null(s->splits);
        memcpy(s->splits + (size_t)s->count * n, split, n * sizeof *split);
        s->count++;
        s->size[cut]++;
        return;
    }
    for (int64_t y = split[b - 1]; y <= rows; y++) {
        split[b] = y;
        add_all_splits(s, cut, rows, split, b + 1);
    }
}

static int by_value(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* How far the best plan over the finite set of splits is from the best over all of them. */
static void test_gap(void **state) {
    (void)state;
    uint64_t seed = 5;
    double gaps[100];
    int count = 0, equal = 0;
    while (count < 100) {
        const int nodes = 2 + case_draw(&seed, 4), height = 5 + case_draw(&seed, 4);
        const int boards = 2 + case_draw(&seed, 2);
        const double link_ms = case_range(&seed, 0.1, 2);
        struct graph *g = case_chain(&seed, nodes, height, false);
        struct profile *p = case_profile(g, boards, link_ms, &seed);
        struct cost_model *m = case_model(g, p, (struct cost_options){0});
        struct auto_limits limits = auto_limits_for(m);
        struct sigma *s = NULL;
        struct auto_found few, all;
        int64_t split[4] = {0};
        limits.states = 1000000;
        limits.thin = false;
        assert_int_equal(sigma_create(&s, m, &limits, NULL, 0, NULL), COHORT_OK);
        assert_int_equal(auto_search(&few, s, 1, NULL), COHORT_OK);
        s->count = 0;
        for (int c = 1; c < s->cuts->count; c++) {
            s->first[c] = s->count;
            s->size[c] = 0;
            if (s->cuts->wide[c - 1])
                add_all_splits(s, c, m->values[m->outputs[s->cuts->at[c] - 1]].rows, split, 1);
        }
        assert_int_equal(auto_search(&all, s, 1, NULL), COHORT_OK);
        assert_true(all.plans[0].ms <= few.plans[0].ms + EPS);
        gaps[count] = all.plans[0].ms > 0 ? few.plans[0].ms / all.plans[0].ms : 1;
        equal += gaps[count] < 1 + 1e-9;
        count++;
        auto_release(&few);
        auto_release(&all);
        sigma_destroy(&s);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    qsort(gaps, 100, sizeof gaps[0], by_value);
    print_message("# the finite set of splits against all of them (2 or 3 boards, at most 8 rows): "
                  "median %.4f, 90 %% %.4f, worst %.4f, equal in %d of 100\n",
                  gaps[50], gaps[90], gaps[99], equal);
    assert_true(gaps[50] < 1.02);
    assert_true(gaps[99] < 1.25);
}

/* ---- what auto promises --------------------------------------------------------------------- */

static double peak_of(const struct planned *p) {
    double peak = 0;
    for (int b = 0; b < p->simulation->boards; b++)
        peak = fmax(peak, p->simulation->peak_bytes[b]);
    return peak;
}

static void check_auto(const struct cost_model *m, const struct planner_options *o, int *wins) {
    struct cohort_error err = {0};
    struct planned best;
    int count;
    const struct strategy *table = strategy_table(&count);
    if (planner_make(&best, m, "auto", o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    if (plan_check(best.plan, m->g, m->boards, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    bool won = true;
    for (int i = 0; i < count; i++) {
        struct planned p;
        if (planner_make(&p, m, table[i].name, o, &err) != COHORT_OK)
            fail_msg("%s: %s", table[i].name, err.message);
        if (best.simulation->total_ms > p.simulation->total_ms * (1 + EPS))
            fail_msg("auto takes %.9g ms, %s %.9g", best.simulation->total_ms, table[i].name,
                     p.simulation->total_ms);
        won = won && (table[i].make == strategy_auto ||
                      best.simulation->total_ms < p.simulation->total_ms * (1 - 1e-6));
        planned_release(&p);
    }
    *wins += won;
    planned_release(&best);
}

static void test_never_slower(void **state) {
    (void)state;
    uint64_t seed = 31;
    int wins = 0;
    for (int round = 0; round < 200; round++) {
        const int nodes = 3 + case_draw(&seed, 10), height = 6 + case_draw(&seed, 20);
        struct graph *g = round % 3 == 0   ? case_chain(&seed, nodes, height, true)
                          : round % 6 == 1 ? case_gates(&seed, 3, height)
                          : round % 3 == 1 ? case_skips(&seed, nodes, height)
                                           : case_any(&seed, nodes, height);
        if (round % 4 == 3) {
            graph_destroy(&g);
            g = case_weighted(&seed, 1 + case_draw(&seed, 5), 4 + case_draw(&seed, 8),
                              case_draw(&seed, 4));
        }
        struct profile *p = case_profile(
            g, 1 + case_draw(&seed, 6),
            round % 4 == 3 ? case_range(&seed, 0.001, 0.1) : case_range(&seed, 0.05, 3), &seed);
        const struct planner_options o = {
            .predicted = true,
            .cost = {.wire = (enum plan_wire)case_draw(&seed, 3),
                     .input_u8 = case_draw(&seed, 2) == 0,
                     .root_feeds = p->board_count > 2 && case_draw(&seed, 4) == 0}};
        struct cost_model *m = case_model(g, p, o.cost);
        check_auto(m, &o, &wins);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message("# auto is faster than every other strategy in %d of 200 cases\n", wins);
    assert_true(wins > 50);
}

static bool has_note(const struct planned *p, const char *words) {
    return p->notes != NULL && strstr(p->notes, words) != NULL;
}

static void plan_for(const struct graph *g, const char *boards, const struct planner_options *o,
                     struct planned *out) {
    struct profile *p = NULL;
    struct cohort_error err = {0};
    if (profile_synthetic(&p, g, boards, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    struct cost_model *m = case_model(g, p, o->cost);
    if (planner_make(out, m, "auto", o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    cost_destroy(&m);
    profile_destroy(&p);
}

/* It may answer "one board", or leave slow ones out. */
static void test_leaving_out(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    const struct planner_options o = {.predicted = true};
    struct planned p;
    plan_for(g, "4xpi:10 link:100kbit:10ms", &o, &p);
    assert_true(has_note(&p, "one board is faster than any division"));
    planned_release(&p);
    plan_for(g, "2xpi:0.1 slow:0.001 link:10Gbit:1us", &o, &p);
    assert_true(has_note(&p, "1 of 3 boards are left out"));
    planned_release(&p);
    plan_for(g, "2xpi:0.1 link:10Gbit:1us", &o, &p);
    assert_false(has_note(&p, "left out: without"));
    assert_true(p.plan->segment_count > 1);
    planned_release(&p);
    graph_destroy(&g);
}

/* What the objective of least memory finds within a limit, that of least time finds too. */
static bool keeps_to(const struct graph *g, const struct profile *p, double bytes) {
    struct planner_options o = {.predicted = true, .objective = PLANNER_MEMORY};
    struct planned planned;
    struct cohort_error err = {0};
    enum cohort_code codes[2];
    o.cost.memory_limit = (uint64_t)bytes;
    struct cost_model *m = case_model(g, p, o.cost);
    for (int i = 0; i < 2; i++) {
        codes[i] = planner_make(&planned, m, "auto", &o, &err);
        if (codes[i] == COHORT_OK) {
            assert_true(peak_of(&planned) <= (double)o.cost.memory_limit);
            planned_release(&planned);
        }
        o.objective = PLANNER_LATENCY;
    }
    assert_true(codes[0] != COHORT_OK || codes[1] == COHORT_OK);
    cost_destroy(&m);
    return codes[1] == COHORT_OK;
}

static void test_memory(void **state) {
    (void)state;
    uint64_t seed = 8;
    int met = 0, refused = 0, less = 0, tight = 0;
    for (int round = 0; round < 60; round++) {
        struct graph *g =
            round % 2 == 0
                ? case_skips(&seed, 4 + case_draw(&seed, 6), 8 + case_draw(&seed, 16))
                : case_weighted(&seed, 3 + case_draw(&seed, 3), 8 + case_draw(&seed, 8), 2);
        struct profile *p =
            case_profile(g, 2 + case_draw(&seed, 3), case_range(&seed, 0.05, 1), &seed);
        struct cost_model *m = case_model(g, p, (struct cost_options){0});
        struct planner_options o = {.predicted = true};
        struct planned fast, small, limited;
        struct cohort_error err = {0};
        assert_int_equal(planner_make(&fast, m, "auto", &o, &err), COHORT_OK);
        o.objective = PLANNER_MEMORY;
        assert_int_equal(planner_make(&small, m, "auto", &o, &err), COHORT_OK);
        /* Of what needs hardly more than the least, the fastest. */
        assert_true(peak_of(&small) <= 1.05 * peak_of(&fast));
        assert_true(peak_of(&small) <= peak_of(&fast) ||
                    small.simulation->total_ms <= fast.simulation->total_ms * (1 + EPS));
        o.objective = PLANNER_LATENCY;
        o.cost.memory_limit = (uint64_t)((peak_of(&small) + peak_of(&fast)) / 2) + 1;
        cost_destroy(&m);
        m = case_model(g, p, o.cost);
        assert_int_equal(planner_make(&limited, m, "auto", &o, &err), COHORT_OK);
        assert_true(peak_of(&limited) <= (double)o.cost.memory_limit);
        met += o.cost.memory_limit < (uint64_t)peak_of(&fast);
        less += peak_of(&small) < 0.9 * peak_of(&fast);
        planned_release(&limited);
        for (double share = 0.99; share > 0.94; share -= 0.01)
            tight += keeps_to(g, p, share * peak_of(&small));
        o.cost.memory_limit = 64;
        cost_destroy(&m);
        m = case_model(g, p, o.cost);
        assert_int_equal(planner_make(&limited, m, "auto", &o, &err), COHORT_ERR_PLAN);
        refused++;
        planned_release(&fast);
        planned_release(&small);
        cost_destroy(&m);
        profile_destroy(&p);
        graph_destroy(&g);
    }
    print_message(
        "# %d limits below what the fastest needs met, %d refused, %d just above the least "
        "met; the objective takes a tenth less in %d of 60 cases\n",
        met, refused, tight, less);
    assert_true(met > 20 && refused == 60 && tight > 10 && less > 15);
}

/* Weights are most of it, and only channels divide them. */
static void test_memory_by_channels(void **state) {
    (void)state;
    struct graph *g = toy_create("weights");
    int x = toy_conv(g, "conv", toy_input(g, "x", 16, 8), 64, 3);
    x = toy_product(g, "fc1", x, 1024);
    x = toy_product(g, "fc2", x, 1024);
    toy_output(g, toy_product(g, "fc3", x, 512));
    struct planner_options o = {.predicted = true, .objective = PLANNER_MEMORY};
    struct planned small, rows, limited;
    plan_for(g, "4xpi:1 link:1Mbit:5ms", &o, &small);
    o.rows_only = true;
    plan_for(g, "4xpi:1 link:1Mbit:5ms", &o, &rows);
    assert_true(plan_has_channels(small.plan) && !plan_has_channels(rows.plan));
    assert_true(peak_of(&small) < 0.5 * peak_of(&rows));
    o = (struct planner_options){.predicted = true};
    o.cost.memory_limit = (uint64_t)(0.5 * peak_of(&rows));
    plan_for(g, "4xpi:1 link:1Mbit:5ms", &o, &limited);
    assert_true(peak_of(&limited) <= 0.5 * peak_of(&rows));
    assert_true(limited.simulation->total_ms <= small.simulation->total_ms * (1 + EPS));
    planned_release(&small);
    planned_release(&rows);
    planned_release(&limited);
    graph_destroy(&g);
}

/* ---- large networks ------------------------------------------------------------------------- */

/* 517 operators in blocks with skips, as ResNet-152 has them.  Work is counted here; time is
 * measured by bench/planner.c. */
static void test_large(void **state) {
    (void)state;
    struct graph *g = toy_create("large");
    int x = toy_window(g, "Conv", "stem", toy_input(g, "x", 3, 112), 64, 7, 2, 3), number = 0;
    while (g->node_count + 4 <= 517) {
        char name[3][16];
        for (int i = 0; i < 3; i++)
            snprintf(name[i], sizeof name[i], "b%d.%d", number, i);
        const int y = toy_window(g, "Conv", name[0], x, 64, 1, 1, 0);
        const int z = toy_window(g, "Conv", name[1], y, 64, 3, 1, 1);
        const int w = toy_window(g, "Conv", name[2], z, 64, 1, 1, 0);
        snprintf(name[0], sizeof name[0], "add%d", number++);
        x = toy_add(g, name[0], w, x);
    }
    toy_output(g, x);
    assert_int_equal(g->node_count, 517);
    const struct planner_options o = {.predicted = true};
    struct planned p;
    plan_for(g, "6xpi:15 2xslow:9 link:100Mbit:0.3ms", &o, &p);
    print_message("# 517 operators, 8 boards: %ld states\n", p.states);
    assert_true(p.states < 300000);
    assert_true(plan_check(p.plan, g, 8, NULL) == COHORT_OK);
    planned_release(&p);
    graph_destroy(&g);
}

static void test_short_memory(void **state) {
    (void)state;
    uint64_t seed = 4;
    struct graph *g = case_skips(&seed, 4, 8);
    struct profile *p = case_profile(g, 2, 1, &seed);
    const struct planner_options o = {.predicted = true};
    case_short_memory(g, p, "auto", &o, 300);
    profile_destroy(&p);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),        cmocka_unit_test(test_exact_channels),
        cmocka_unit_test(test_limited),      cmocka_unit_test(test_limited_channels),
        cmocka_unit_test(test_dead_end),     cmocka_unit_test(test_gap),
        cmocka_unit_test(test_never_slower), cmocka_unit_test(test_leaving_out),
        cmocka_unit_test(test_memory),       cmocka_unit_test(test_memory_by_channels),
        cmocka_unit_test(test_large),        cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
