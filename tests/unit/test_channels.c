/* Segments by channels in plans: what is refused and why, what travels, and what a board runs. */
#include "tests/support/graphtest.h"
#include "tests/support/leaks.h"

#include "base/mem.h"
#include "planner/channels.h"
#include "planner/transitions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BOARDS   2
#define SEGMENTS 6

/* conv1 (64 channels, its activation), pool, conv2 (48, with a residual), fc (32), softmax. */
struct fixture {
    struct gt t;
    const char *name[SEGMENTS]; /* of what conv1, pool, conv2, fc, softmax make */
    struct plan plan;
    struct plan_segment segments[SEGMENTS];
    int64_t splits[SEGMENTS][BOARDS + 1];
};

static int conv(struct gt *t, int x, int in, int out) {
    return gt_node(t, "Conv", "pads=1,1,1,1", 3, x, gt_random(t, DIMS(out, in, 3, 3)),
                   gt_random(t, DIMS(out)));
}

static void begin(struct fixture *f) {
    *f = (struct fixture){0};
    gt_begin(&f->t, 13);
    int x = gt_input(&f->t, "x", DIMS(1, 32, 8, 8));
    int skip = gt_input(&f->t, "skip", DIMS(1, 48, 4, 4));
    x = gt_node(&f->t, "Relu", "", 1, conv(&f->t, x, 32, 64));
    x = gt_node(&f->t, "MaxPool", "kernel_shape=2,2 strides=2,2", 1, x);
    x = gt_node(&f->t, "Add", "", 2, conv(&f->t, x, 64, 48), skip);
    x = gt_node(&f->t, "Flatten", "", 1, x);
    x = gt_node(&f->t, "Gemm", "transB=1", 3, x, gt_random(&f->t, DIMS(32, 768)),
                gt_random(&f->t, DIMS(32)));
    gt_output(&f->t, gt_node(&f->t, "Softmax", "axis=1", 1, x));
    if (graph_finish(f->t.g, &(struct pass_options){0}, &f->t.err) != COHORT_OK)
        fail_msg("%s", f->t.err.message);
    assert_int_equal(f->t.g->node_count, 5);
    for (int i = 0; i < 5; i++)
        f->name[i] = graph_value(f->t.g, f->t.g->nodes[i].out[0])->name;
    f->plan = (struct plan){.network = f->t.g->name, .boards = BOARDS, .segments = f->segments};
    assert_int_equal(graph_signature(f->t.g, f->plan.signature, &f->t.err), COHORT_OK);
}

/* The next segment, up to node `last`; split at channel `at` of `count`. */
static void add(struct fixture *f, int last, enum plan_mode mode, int64_t at, int64_t count,
                enum plan_output output) {
    int64_t *split = f->splits[f->plan.segment_count];
    split[1] = at;
    split[2] = count;
    f->segments[f->plan.segment_count++] =
        (struct plan_segment){.until = (char *)(uintptr_t)f->name[last],
                              .mode = mode,
                              .output = output,
                              .split = plan_by_channels(mode) || mode == PLAN_TILE ? split : NULL};
}

static void rest_local(struct fixture *f) {
    add(f, 4, PLAN_LOCAL, 0, 0, PLAN_TO_ROOT);
}

static void refused(struct fixture *f, const char *words) {
    assert_int_equal(plan_check(&f->plan, f->t.g, BOARDS, &f->t.err), COHORT_ERR_PLAN);
    if (strstr(f->t.err.message, words) == NULL)
        fail_msg("'%s' does not say '%s'", f->t.err.message, words);
    gt_end(&f->t);
}

static void fits(struct fixture *f) {
    if (plan_check(&f->plan, f->t.g, BOARDS, &f->t.err) != COHORT_OK)
        fail_msg("%s", f->t.err.message);
}

static void test_refusals(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 24, 64, PLAN_TO_ALL);
    rest_local(&f);
    refused(&f, "segment 0: channels 0 to 24 of the 64");
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 32, 48, PLAN_TO_ALL);
    rest_local(&f);
    refused(&f, "the split ends at channel 48");
    begin(&f);
    add(&f, 2, PLAN_OUT_CHANNEL, 16, 48, PLAN_TO_ALL);
    rest_local(&f);
    refused(&f, "segment 0: '"); /* conv2 needs all of the pool's channels */
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 32, 64, PLAN_STAY);
    rest_local(&f);
    refused(&f, "leaves some channels on each board");
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 32, 64, PLAN_STAY);
    add(&f, 2, PLAN_IN_CHANNEL, 16, 64, PLAN_TO_ALL);
    rest_local(&f);
    refused(&f, "segment 1 reads channels 0 to 16");
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 32, 64, PLAN_STAY);
    add(&f, 2, PLAN_IN_CHANNEL, 32, 64, PLAN_STAY);
    rest_local(&f);
    refused(&f, "an addend cannot stay");
    begin(&f);
    add(&f, 2, PLAN_IN_CHANNEL, 16, 32, PLAN_TO_ALL);
    rest_local(&f);
    refused(&f, "must have one operator, not 3");
    begin(&f);
    add(&f, 0, PLAN_LOCAL, 0, 0, PLAN_TO_ROOT);
    add(&f, 1, PLAN_IN_CHANNEL, 32, 64, PLAN_TO_ALL);
    rest_local(&f);
    refused(&f, "has no sum over channels");
    begin(&f);
    add(&f, 0, PLAN_CHANNELWISE, 32, 64, PLAN_TO_ALL);
    rest_local(&f);
    refused(&f, "every output channel needs all input channels");
    begin(&f);
    add(&f, 3, PLAN_LOCAL, 0, 0, PLAN_TO_ROOT);
    add(&f, 4, PLAN_CHANNELWISE, 16, 32, PLAN_TO_ROOT);
    refused(&f, "segment 1: ");
    begin(&f);
    add(&f, 2, PLAN_LOCAL, 0, 0, PLAN_TO_ROOT);
    add(&f, 3, PLAN_ROWS_GEMM, 2, 5, PLAN_TO_ROOT);
    rest_local(&f);
    refused(&f, "segment 1: the split ends at row 5, but '");
    begin(&f);
    add(&f, 2, PLAN_LOCAL, 0, 0, PLAN_TO_ROOT);
    add(&f, 3, PLAN_ROWS_GEMM, 2, 4, PLAN_STAY);
    rest_local(&f);
    refused(&f, "segment 1 is rows-gemm, so its output must be \"root\" or \"all\"");
    begin(&f);
    add(&f, 1, PLAN_LOCAL, 0, 0, PLAN_TO_ROOT);
    add(&f, 2, PLAN_ROWS_GEMM, 2, 4, PLAN_TO_ROOT);
    rest_local(&f);
    refused(&f, "is no fully connected layer behind a map of one image");
    begin(&f);
    add(&f, 2, PLAN_OUT_CHANNEL, 32, 48, PLAN_STAY);
    add(&f, 3, PLAN_ROWS_GEMM, 2, 4, PLAN_TO_ROOT);
    rest_local(&f);
    refused(&f, "segment 0: '"); /* conv2 needs all of the pool's channels */
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 32, 64, PLAN_TO_ALL);
    add(&f, 2, PLAN_OUT_CHANNEL, 32, 48, PLAN_STAY);
    add(&f, 3, PLAN_ROWS_GEMM, 2, 4, PLAN_TO_ROOT);
    rest_local(&f);
    refused(&f, "segment 2: '"); /* it needs all channels of its rows */
}

/* Behind a segment in rows nothing travels where the rows are the same, and else just those that
 * differ. */
static void test_rows_gemm(void **state) {
    (void)state;
    struct fixture f;
    struct transitions t;
    struct plan_part part;
    struct channel_work w;
    struct shard *s;
    struct rows need[64];
    begin(&f);
    add(&f, 2, PLAN_TILE, 2, 4, PLAN_STAY);
    add(&f, 3, PLAN_ROWS_GEMM, 3, 4, PLAN_TO_ALL);
    rest_local(&f);
    fits(&f);
    assert_int_equal(transitions_make(&t, &f.plan, f.t.g, &f.t.err), COHORT_OK);
    assert_int_equal(t.count, 4); /* x, skip, a row, the sum */
    assert_int_equal(t.list[2].kind, TRANSITION_EXCHANGE);
    assert_int_equal(t.list[2].move_count, 1);
    assert_int_equal(t.list[2].moves[0].from, 1);
    assert_int_equal(t.list[2].moves[0].to, 0);
    assert_int_equal(t.list[2].moves[0].rows.begin, 2);
    assert_int_equal(t.list[2].moves[0].rows.end, 3);
    assert_int_equal(t.list[3].kind, TRANSITION_SUM);
    assert_true(t.list[3].to_all && t.list[3].channels[1].begin == 3);
    transitions_release(&t);
    f.splits[1][1] = 2;
    fits(&f);
    assert_int_equal(transitions_make(&t, &f.plan, f.t.g, &f.t.err), COHORT_OK);
    assert_int_equal(t.count, 3);
    transitions_release(&t);
    assert_true(f.t.g->value_count <= 64);
    const int first = plan_segment_end(&f.plan, f.t.g, 0);
    assert_int_equal(plan_part_init(&part, &f.plan, f.t.g, 1, first, &f.t.err), COHORT_OK);
    plan_part_rows(&part, 1, need);
    assert_int_equal(need[f.t.g->nodes[3].in[0]].begin, 2);
    assert_int_equal(need[f.t.g->nodes[3].in[0]].end, 4);
    assert_int_equal(shard_create(&s, f.t.g, &f.t.err), COHORT_OK);
    assert_int_equal(channels_divide(s, &part, 1, &w, &f.t.err), COHORT_OK);
    assert_int_equal(w.count, 3); /* its rows, its addend, and behind the sum */
    assert_int_equal(w.finish, 2);
    mem_free(w.nodes);
    shard_destroy(&s);
    plan_part_release(&part);
    f.splits[1][1] = 0; /* board 0 is left out, board 1 has all rows */
    fits(&f);
    assert_int_equal(plan_busy_boards(&f.plan), 2); /* both compute the tiles */
    gt_end(&f.t);
}

/* A pair: nothing travels between its halves, the sum goes to all, and so does what it needs. */
static void test_pair(void **state) {
    (void)state;
    struct fixture f;
    struct transitions t;
    struct plan_part part;
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 48, 64, PLAN_STAY);
    add(&f, 2, PLAN_IN_CHANNEL, 48, 64, PLAN_TO_ALL);
    add(&f, 3, PLAN_OUT_CHANNEL, 32, 32, PLAN_TO_ROOT);
    rest_local(&f);
    fits(&f);
    assert_true(plan_has_channels(&f.plan));
    assert_int_equal(plan_busy_boards(&f.plan), 2);
    assert_int_equal(transitions_make(&t, &f.plan, f.t.g, &f.t.err), COHORT_OK);
    assert_int_equal(t.count, 4); /* x, skip, the sum, fc's channels */
    assert_int_equal(t.list[0].kind, TRANSITION_EXCHANGE);
    assert_int_equal(t.list[0].before, 0);
    assert_int_equal(t.list[1].kind, TRANSITION_EXCHANGE);
    assert_int_equal(t.list[1].before, 1);
    assert_int_equal(t.list[2].kind, TRANSITION_SUM);
    assert_true(t.list[2].to_all);
    assert_int_equal(t.list[2].made, 1);
    assert_int_equal(t.list[2].channels[1].begin, 48);
    assert_int_equal(t.list[3].kind, TRANSITION_JOIN);
    assert_false(t.list[3].to_all);
    assert_int_equal(t.list[3].channels[0].end, 32);
    assert_true(t.list[3].channels[1].begin == t.list[3].channels[1].end);
    transitions_release(&t);
    /* what board 1 runs of it: two parts; an addend, and what follows the sum; nothing */
    const int counts[3] = {2, 2, 0}, finishes[3] = {2, 1, 0};
    struct shard *s;
    assert_int_equal(shard_create(&s, f.t.g, &f.t.err), COHORT_OK);
    for (int i = 0, first = 0; i < 3; i++) {
        struct channel_work w;
        assert_int_equal(plan_part_init(&part, &f.plan, f.t.g, i, first, &f.t.err), COHORT_OK);
        assert_int_equal(channels_divide(s, &part, 1, &w, &f.t.err), COHORT_OK);
        assert_int_equal(w.count, counts[i]);
        assert_int_equal(w.finish, finishes[i]);
        mem_free(w.nodes);
        first = part.last;
        plan_part_release(&part);
    }
    shard_destroy(&s);
    gt_end(&f.t);
}

static void test_short_memory(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    add(&f, 1, PLAN_OUT_CHANNEL, 48, 64, PLAN_STAY);
    add(&f, 2, PLAN_IN_CHANNEL, 48, 64, PLAN_TO_ALL);
    rest_local(&f);
    const long before = mem_live_blocks();
    enum cohort_code code = COHORT_ERR_MEMORY;
    for (long nth = 1; code != COHORT_OK; nth++) {
        struct transitions t = {0};
        mem_fail_at(nth);
        code = plan_check(&f.plan, f.t.g, BOARDS, &f.t.err);
        if (code == COHORT_OK)
            code = transitions_make(&t, &f.plan, f.t.g, &f.t.err);
        mem_fail_at(0);
        if (code != COHORT_OK)
            assert_int_equal(code, COHORT_ERR_MEMORY);
        transitions_release(&t);
        assert_int_equal(mem_live_blocks(), before);
        assert_true(nth < 5000);
    }
    gt_end(&f.t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_rows_gemm),
        cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
