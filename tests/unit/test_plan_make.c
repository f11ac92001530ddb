/* Making plans: what --groups and --ratio may say, what a plan without them looks like, and random
 * networks, whose plans must cover every operator and every row once. */
#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/pass.h"
#include "graph/rows.h"
#include "planner/plan.h"
#include "planner/plan_parts.h"
#include "synth/synth.h"
#include "tests/support/leaks.h"
#include "tests/support/toynet.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- reading a plan as text: "pool1:0,6,11,16 logits@0" -------------------------------------- */

static const char *summary(const struct plan *p, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < p->segment_count && used < size; i++) {
        const struct plan_segment *s = &p->segments[i];
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? " " : "", s->until);
        if (s->mode == PLAN_LOCAL && used < size)
            used += (size_t)snprintf(text + used, size - used, "@%d", s->board);
        for (int b = 0; s->mode == PLAN_TILE && b <= p->boards && used < size; b++)
            used += (size_t)snprintf(text + used, size - used, "%c%" PRId64, b == 0 ? ':' : ',',
                                     s->split[b]);
    }
    return text;
}

static void assert_plan(struct graph *g, struct plan_request r, const char *expected) {
    struct cohort_error err = {0};
    struct plan *p = NULL;
    char text[4000];
    if (plan_make(&p, g, &r, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    assert_string_equal(summary(p, text, sizeof text), expected);
    if (plan_check(p, g, r.boards, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    plan_destroy(&p);
}

static void assert_refused(struct graph *g, struct plan_request r, const char *message) {
    struct cohort_error err = {0};
    struct plan *p = NULL;
    assert_int_equal(plan_make(&p, g, &r, &err), COHORT_ERR_USAGE);
    assert_null(p);
    assert_string_equal(err.message, message);
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void test_groups(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    static const struct {
        const char *groups, *plan;
    } cases[] = {
        {"0-2,3-5,6-", "pool1:0,8,16 pool2:0,4,8 logits@0"},
        {"0-2,3-5,6-7", "pool1:0,8,16 pool2:0,4,8 logits@0"},
        {"0-", "pool2:0,4,8 logits@0"},
        {"0,1-6,7", "conv1:0,16,32 pool2:0,4,8 logits@0"},
        {"pool1,pool2", "pool1:0,8,16 pool2:0,4,8 logits@0"},
        {"conv1,logits", "conv1:0,16,32 pool2:0,4,8 logits@0"},
        {"conv3", "conv3:0,8,16 pool2:0,4,8 logits@0"},
        {"fc", "pool2:0,4,8 logits@0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_plan(g, (struct plan_request){.boards = 2, .groups = cases[i].groups},
                    cases[i].plan);
    graph_destroy(&g);
}

static void test_group_mistakes(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    static const struct {
        const char *groups, *message;
    } cases[] = {
        {"1-", "--groups: node 0 is in no group (before '1-')"},
        {"0-2,4-", "--groups: node 3 is in no group (before '4-')"},
        {"0-2,2-", "--groups: '2-' begins at node 2, but the groups before go to node 2"},
        {"0-4,3-5,6-", "--groups: '3-5' begins at node 3, but the groups before go to node 4"},
        {"0-4", "--groups: nodes 5 to 7 are in no group ('5-' takes the rest)"},
        {"0-4,5-,6-", "--groups: '5-' goes to the end, but '6-' follows"},
        {"0-8", "--groups: '0-8': the network's last node is 7"},
        {"0-7,8-", "--groups: '8-': the network's last node is 7"},
        {"4-2,5-", "--groups: '4-2' ends before it begins"},
        {"", "--groups: a group's name is missing"},
        {"pool1,", "--groups: a group's name is missing"},
        {"pool1,,pool2", "--groups: a group's name is missing"},
        {"0-4,,5-", "--groups: no operator makes a tensor '0-4' (cohort inspect lists them)"},
        {"pol1", "--groups: no operator makes a tensor 'pol1': did you mean pool1?"},
        {"something-else",
         "--groups: no operator makes a tensor 'something-else' (cohort inspect lists them)"},
        {"pool2,pool1", "--groups: 'pool1' is in a group before it (names go in the network's "
                        "order, each once)"},
        {"pool1,pool1", "--groups: 'pool1' is in a group before it (names go in the network's "
                        "order, each once)"},
        {"input",
         "--groups: 'input' is an input of the network: name the tensor that a group ends with"},
        {"fused", "--groups: no operator makes 'fused' by itself: it is a constant, or was fused "
                  "into the operator that follows (cohort inspect lists what is left)"},
        {"--", "--groups: no operator makes a tensor '--' (cohort inspect lists them)"},
        {"12345678901-",
         "--groups: no operator makes a tensor '12345678901-' (cohort inspect lists them)"},
    };
    int fused;
    assert_int_equal(graph_add_value(g, "fused", &fused, NULL), COHORT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(g, (struct plan_request){.boards = 2, .groups = cases[i].groups},
                       cases[i].message);
    graph_destroy(&g);
}

/* ---- shares ---------------------------------------------------------------------------------- */

static void test_ratio(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    static const char *const names[] = {"pc", "pi1.lab", "pi2.lab", "pi1.lab"};
    static const struct {
        int boards;
        const char *ratio;
        bool feed;
        const char *plan;
    } cases[] = {
        {3, "3:3:2", false, "pool1:0,6,12,16 pool2:0,3,6,8 logits@0"},
        {3, "1:1:1", false, "pool1:0,6,11,16 pool2:0,3,6,8 logits@0"},
        {3, "0.5:.5:1.", false, "pool1:0,4,8,16 pool2:0,2,4,8 logits@0"},
        {3, "0:1:0", false, "pool1:0,0,16,16 pool2:0,0,8,8 logits@0"},
        {3, "0:0:2", true, "pool1:0,0,0,16 pool2:0,0,0,8 logits@0"},
        {3, "3:1", true, "pool1:0,0,12,16 pool2:0,0,6,8 logits@0"},
        {3, NULL, true, "pool1:0,0,8,16 pool2:0,0,4,8 logits@0"},
        {1, "5", false, "logits@0"},
        {2, "999999999:0.000000001", false, "pool1:0,16,16 pool2:0,8,8 logits@0"},
        {3, "pc=0,pi1.lab=3,pi2=1", false, "pool1:0,0,12,16 pool2:0,0,6,8 logits@0"},
        {3, "pi2=1,pi1=3", true, "pool1:0,0,12,16 pool2:0,0,6,8 logits@0"},
        {4, "pc=2,pi1=1,pi2=0", false, "pool1:0,8,12,12,16 pool2:0,4,6,6,8 logits@0"},
        {2, "pc=1,pi1=1", false, "pool1:0,8,16 pool2:0,4,8 logits@0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_plan(g,
                    (struct plan_request){.boards = cases[i].boards,
                                          .ratio = cases[i].ratio,
                                          .names = names,
                                          .root_feeds = cases[i].feed},
                    cases[i].plan);
    graph_destroy(&g);
}

static void test_ratio_mistakes(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    static const char *const names[] = {"pc", "pi1", "pi2"};
    static const struct {
        const char *ratio;
        bool feed;
        const char *message;
    } cases[] = {
        {"3:3", false, "--ratio: '3:3' has 2 shares for 3 boards"},
        {"3:3:2:1", true, "--ratio: '3:3:2:1' has 4 shares for 3 boards"},
        {"", false, "--ratio: '' has 1 shares for 3 boards"},
        {"::", false,
         "--ratio: '' is not a share (a number such as 3 or 0.5; 0 leaves a board out)"},
        {"1:-1:1", false,
         "--ratio: '-1' is not a share (a number such as 3 or 0.5; 0 leaves a board out)"},
        {"1:1e3:1", false,
         "--ratio: '1e3' is not a share (a number such as 3 or 0.5; 0 leaves a board out)"},
        {"1:.:1", false,
         "--ratio: '.' is not a share (a number such as 3 or 0.5; 0 leaves a board out)"},
        {"1:1:1234567890", false,
         "--ratio: '1234567890' is not a share (a number such as 3 or 0.5; 0 leaves a board "
         "out)"},
        {"0:0:0", false, "--ratio: '0:0:0' leaves every board out"},
        {"1:1:1", true, "--root feed contradicts --ratio, which gives board 0 a share: make it 0"},
        {"pc=1,pi1=1", false, "--ratio gives no share for board 2, pi2 (pi2=0 leaves it out)"},
        {"pc=1,pi1=1,pi2=1,pi1=2", false, "--ratio: 'pi1' is given twice"},
        {"pc=1,pi1=1,p2=1", false, "--ratio: no board is called 'p2': did you mean pc?"},
        {"pc=1,pi1=1,elsewhere=1", false,
         "--ratio: no board is called 'elsewhere' (board 0 is pc)"},
        {"pc=1,pi1=x,pi2=1", false,
         "--ratio: 'x' is not a share (a number such as 3 or 0.5; 0 leaves a board out)"},
        {"pc=1,pi1,pi2=1", false, "--ratio: 'pi1' is not NAME=SHARE"},
        {"pc=1,=1,pi2=1", false, "--ratio: '=1' is not NAME=SHARE"},
        {"pc=1,pi1=1,pi2=1,", false, "--ratio: '' is not NAME=SHARE"},
        {"pc=1,pi1=1,pi2=1", true,
         "--root feed contradicts --ratio, which gives board 0 a share: make it 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(
            g,
            (struct plan_request){
                .boards = 3, .ratio = cases[i].ratio, .names = names, .root_feeds = cases[i].feed},
            cases[i].message);
    assert_refused(g, (struct plan_request){.boards = 2, .ratio = "pc=1,pi1=1"},
                   "--ratio: 'pc=1,pi1=1' names boards, but their names are not known here: give "
                   "shares by number, as in 3:3:2");
    assert_refused(g, (struct plan_request){.boards = 1, .root_feeds = true},
                   "--root feed needs a second board: there is no other to feed");
    assert_refused(g, (struct plan_request){.boards = 0}, "a plan for 0 boards");
    assert_refused(g, (struct plan_request){.boards = 2, .tail = "tile"},
                   "the tail can be 'local', not 'tile'");
    graph_destroy(&g);
}

static uint64_t next(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static int pick(uint64_t *seed, int low, int high) { /* inclusive */
    return low + (int)(next(seed) % (uint64_t)(high - low + 1));
}

static void test_split_rows(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        double shares[12], sum = 0;
        int64_t split[13];
        const int boards = pick(&seed, 1, 12);
        const int64_t rows =
            round % 100 == 0 ? INT64_C(4000000000000) + pick(&seed, 0, 99) : pick(&seed, 0, 300);
        for (int b = 0; b < boards; b++) {
            shares[b] = pick(&seed, 0, 3) == 0 ? 0 : pick(&seed, 1, 1000) / 7.0;
            sum += shares[b];
        }
        if (!(sum > 0))
            continue;
        plan_split_rows(rows, shares, boards, split);
        assert_int_equal(split[0], 0);
        assert_int_equal(split[boards], rows);
        for (int b = 0; b < boards; b++) {
            const int64_t got = split[b + 1] - split[b];
            const double exact = (double)rows * shares[b] / sum;
            assert_true(got >= 0 && (double)got > exact - 1.01 && (double)got < exact + 1.01);
            if (!(shares[b] > 0))
                assert_int_equal(got, 0);
        }
    }
}

/* ---- plans without a wish -------------------------------------------------------------------- */

static void test_default_golden(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct graph *g = toy_vgg();
    struct plan *p = NULL;
    char *text = NULL, *golden = NULL;
    size_t bytes;
    assert_int_equal(plan_make(&p, g, &(struct plan_request){.boards = 3}, &err), COHORT_OK);
    memset(p->signature, '0', sizeof p->signature - 1); /* how it is made may change */
    assert_int_equal(plan_print(p, &text, &err), COHORT_OK);
    if (file_read("tests/data/plans/toy_vgg_default.json", 1 << 20, &golden, &bytes, &err) !=
        COHORT_OK)
        fail_msg("%s (run from the repository's root)", err.message);
    assert_string_equal(text, golden);
    mem_free(text);
    mem_free(golden);
    plan_destroy(&p);
    graph_destroy(&g);
}

static void test_default_boards(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    assert_plan(g, (struct plan_request){.boards = 1}, "logits@0");
    assert_plan(g, (struct plan_request){.boards = 1, .groups = "pool1,pool2"},
                "pool1:0,16 pool2:0,8 logits@0");
    assert_plan(g, (struct plan_request){.boards = 11},
                "pool1:0,2,4,6,8,10,11,12,13,14,15,16 pool2:0,1,2,3,4,5,6,7,8,8,8,8 logits@0");
    graph_destroy(&g);
}

/* A block with a stride and a skip: cut behind its sum, where one tensor goes on. */
static void test_default_residual(void **state) {
    (void)state;
    struct graph *g = toy_create("residual");
    int x = toy_input(g, "input", 3, 64), y;
    x = toy_window(g, "Conv", "conv1", x, 8, 3, 2, 1); /* 32 rows; then a pool: one group */
    x = toy_window(g, "MaxPool", "pool1", x, 8, 2, 2, 0);
    y = toy_window(g, "Conv", "b1.conv1", x, 8, 3, 1, 1);
    x = toy_add(g, "b1", toy_window(g, "Conv", "b1.conv2", y, 8, 3, 1, 1), x);
    y = toy_window(g, "Conv", "b2.conv1", x, 16, 3, 2, 1);
    y = toy_window(g, "Conv", "b2.conv2", y, 16, 3, 1, 1);
    x = toy_add(g, "b2", y, toy_window(g, "Conv", "b2.skip", x, 16, 1, 2, 0));
    x = toy_window(g, "Conv", "b3.conv1", x, 16, 3, 1, 1);
    x = toy_global(g, "gap", x);
    toy_output(g, toy_dense(g, "logits", x, 10));
    assert_plan(g, (struct plan_request){.boards = 2},
                "pool1:0,8,16 b2:0,4,8 b3.conv1:0,4,8 logits@0");
    graph_destroy(&g);
}

/* Squeeze and excite: later work waits for all rows, so the tail begins there unless groups say
 * otherwise. */
static void test_default_gate(void **state) {
    (void)state;
    struct graph *g = toy_create("gate");
    int x = toy_input(g, "input", 3, 32);
    x = toy_window(g, "Conv", "conv1", x, 8, 3, 1, 1);
    const int pixel = toy_window(g, "Conv", "se.fc", toy_global(g, "se.gap", x), 8, 1, 1, 0);
    x = toy_gate(g, "se", x, pixel);
    toy_output(g, toy_window(g, "Conv", "conv2", x, 8, 3, 1, 1));
    assert_plan(g, (struct plan_request){.boards = 2}, "conv1:0,16,32 conv2@0");
    assert_plan(g, (struct plan_request){.boards = 2, .groups = "0-"},
                "conv1:0,16,32 se.fc@0 conv2:0,16,32");
    assert_plan(g, (struct plan_request){.boards = 2, .groups = "se.gap,se"},
                "conv1:0,16,32 se.fc@0 se:0,16,32 conv2:0,16,32");
    graph_destroy(&g);
}

/* A detector's head in the middle of the list does not end the tiles; a plain input does not
 * either. */
static void test_default_branches(void **state) {
    (void)state;
    struct graph *g = toy_create("branches");
    int x = toy_to_map(g, "map", toy_plain_input(g, "input", 32));
    x = toy_window(g, "Conv", "conv1", x, 8, 3, 1, 1);
    toy_output(g, toy_dense(g, "head1", x, 4));
    x = toy_window(g, "Conv", "conv2", x, 8, 3, 2, 1);
    x = toy_window(g, "Conv", "conv3", x, 8, 3, 1, 1);
    toy_output(g, toy_dense(g, "head2", x, 4));
    x = toy_relu(g, "relu", x);
    toy_output(g, toy_dense(g, "head3", x, 4));
    assert_plan(g, (struct plan_request){.boards = 2},
                "map@0 conv1:0,16,32 head1@0 conv2:0,8,16 conv3:0,8,16 head3@0");
    graph_destroy(&g);
}

/* A pool behind which the finer map goes on as well. */
static void test_default_route(void **state) {
    (void)state;
    struct graph *g = toy_create("route");
    int x = toy_input(g, "input", 3, 32);
    const int fine = toy_window(g, "Conv", "conv1", x, 8, 3, 1, 1);
    x = toy_window(g, "MaxPool", "pool1", fine, 8, 2, 2, 0);
    x = toy_window(g, "Conv", "conv2", x, 8, 3, 1, 1);
    const int side = toy_window(g, "Conv", "side", fine, 8, 2, 2, 0);
    toy_output(g, toy_add(g, "sum", x, side));
    assert_plan(g, (struct plan_request){.boards = 2}, "pool1:0,8,16 sum:0,8,16");
    graph_destroy(&g);
}

static void test_nothing_to_divide(void **state) {
    (void)state;
    struct graph *g = toy_create("dense");
    int x = toy_plain_input(g, "input", 8);
    x = toy_dense(g, "fc", x, 8);
    toy_output(g, toy_dense(g, "logits", x, 8));
    assert_plan(g, (struct plan_request){.boards = 3}, "logits@0");
    assert_plan(g, (struct plan_request){.boards = 3, .groups = "0,1"}, "logits@0");
    graph_destroy(&g);
    g = toy_create("nothing"); /* the output is the input */
    toy_output(g, toy_input(g, "input", 3, 8));
    assert_plan(g, (struct plan_request){.boards = 3}, "");
    graph_destroy(&g);
}

/* ---- random networks ------------------------------------------------------------------------- */

struct pool { /* maps made so far, to choose inputs from */
    int ids[64];
    int count;
};

static void put(struct pool *p, int id) {
    if (p->count < 64)
        p->ids[p->count++] = id;
}

static struct graph *random_graph(uint64_t *seed) {
    struct graph *g = toy_create("random");
    struct pool maps = {0};
    put(&maps, toy_input(g, "input", pick(seed, 1, 20), pick(seed, 4, 60)));
    const int wanted = pick(seed, 1, 40);
    while (g->node_count < wanted) {
        char name[16], second[20];
        const int in = maps.ids[pick(seed, maps.count > 3 ? maps.count - 3 : 0, maps.count - 1)];
        const int64_t h = graph_value(g, in)->shape.dim[2];
        snprintf(name, sizeof name, "t%d", g->value_count);
        snprintf(second, sizeof second, "%s.b", name);
        int out[2];
        switch (pick(seed, 0, 9)) {
        case 0:
        case 1:
        case 2:
            put(&maps, toy_window(g, "Conv", name, in, pick(seed, 1, 20), 3, 1, 1));
            break;
        case 3:
            if (h >= 3)
                put(&maps, toy_window(g, "Conv", name, in, pick(seed, 1, 20), 3, 2, 0));
            break;
        case 4:
            if (h >= 2)
                put(&maps, toy_window(g, "MaxPool", name, in, 4, 2, 2, 0));
            break;
        case 5:
            put(&maps, toy_relu(g, name, in));
            break;
        case 6:
            for (int i = 0; i < maps.count; i++)
                if (maps.ids[i] != in && graph_value(g, maps.ids[i])->shape.dim[2] == h) {
                    put(&maps, toy_add(g, name, in, maps.ids[i]));
                    break;
                }
            break;
        case 7:
            put(&maps, toy_gate(g, name, in, toy_global(g, second, in)));
            break;
        case 8:
            toy_split(g, name, second, in, out);
            put(&maps, out[0]);
            put(&maps, out[1]);
            break;
        default:
            toy_output(g, toy_dense(g, name, in, 5));
            break;
        }
    }
    for (int i = 0; i < g->value_count; i++) /* what nobody reads is an output */
        if (g->values[i].uses == 0 && g->values[i].producer >= 0)
            toy_output(g, i);
    return g;
}

/* Walks the plan without the planner's own helpers: segments one after another to the end, and the
 * boards' rows of everything that leaves a tile side by side from the first to the last. */
static void assert_covers(const struct plan *p, const struct graph *g, const double *shares) {
    int next_node = 0;
    for (int i = 0; i < p->segment_count; i++) {
        const struct plan_segment *s = &p->segments[i];
        int until = -1, end = 0;
        for (int k = 0; k < g->value_count; k++)
            if (strcmp(g->values[k].name, s->until) == 0)
                until = k;
        assert_true(until >= 0);
        for (int k = 0; k < g->node_count; k++)
            for (int o = 0; o < g->nodes[k].out_count; o++)
                if (g->nodes[k].out[o] == until)
                    end = k + 1;
        assert_true(end > next_node);
        assert_int_equal(plan_segment_end(p, g, i), end);
        if (s->mode == PLAN_LOCAL) {
            assert_true(i == 0 || p->segments[i - 1].mode == PLAN_TILE);
            assert_int_equal(s->board, 0);
        } else {
            int *ids = NULL, count = 0;
            assert_int_equal(segment_outputs(g, next_node, end, &ids, &count, NULL), COHORT_OK);
            for (int k = 0; k < count; k++) {
                assert_int_equal(plan_scaled_row(s, g, until, ids[k], 0), 0);
                for (int b = 0; b < p->boards; b++)
                    assert_true(plan_scaled_row(s, g, until, ids[k], b) <=
                                plan_scaled_row(s, g, until, ids[k], b + 1));
                assert_int_equal(plan_scaled_row(s, g, until, ids[k], p->boards),
                                 value_rows(graph_value(g, ids[k])));
            }
            mem_free(ids);
            for (int b = 0; b < p->boards; b++)
                assert_true(shares[b] > 0 || s->split[b] == s->split[b + 1]);
        }
        next_node = end;
    }
    assert_int_equal(next_node, g->node_count);
}

/* Groups that cut the nodes at random, as numbers or as names. */
static void random_groups(const struct graph *g, uint64_t *seed, char *text, size_t size) {
    const bool names = pick(seed, 0, 1) == 1;
    size_t used = 0;
    int first = 0;
    text[0] = '\0';
    for (int k = 0; k < g->node_count && used < size - 40; k++) {
        const bool last = k + 1 == g->node_count;
        if (!last && pick(seed, 0, 3) > 0)
            continue;
        if (used > 0)
            used += (size_t)snprintf(text + used, size - used, ",");
        if (names)
            used += (size_t)snprintf(text + used, size - used, "%s",
                                     graph_value(g, g->nodes[k].out[0])->name);
        else if (last && pick(seed, 0, 1) == 1)
            used += (size_t)snprintf(text + used, size - used, "%d-", first);
        else
            used += (size_t)snprintf(text + used, size - used, "%d-%d", first, k);
        first = k + 1;
    }
}

static void test_random(void **state) {
    (void)state;
    uint64_t seed = 42;
    int tiles = 0, locals = 0;
    for (int round = 0; round < 1500; round++) {
        struct cohort_error err = {0};
        struct graph *g = random_graph(&seed);
        char groups[2000], ratio[100] = "", *text = NULL, *again = NULL;
        double shares[9];
        struct plan_request r = {.boards = pick(&seed, 1, 9)};
        size_t used = 0;
        for (int b = 0; b < r.boards; b++) {
            shares[b] = b == r.boards - 1 ? 1 : pick(&seed, 0, 4);
            used += (size_t)snprintf(ratio + used, sizeof ratio - used, "%s%.0f", b > 0 ? ":" : "",
                                     shares[b]);
        }
        r.ratio = ratio;
        random_groups(g, &seed, groups, sizeof groups);
        if (pick(&seed, 0, 2) > 0)
            r.groups = groups;
        struct plan *p = NULL, *q = NULL;
        if (plan_make(&p, g, &r, &err) != COHORT_OK ||
            plan_check(p, g, r.boards, &err) != COHORT_OK)
            fail_msg("round %d, %s: %s", round, groups, err.message);
        assert_covers(p, g, shares);
        for (int i = 0; i < p->segment_count; i++)
            *(p->segments[i].mode == PLAN_TILE ? &tiles : &locals) += 1;
        assert_int_equal(plan_print(p, &text, &err), COHORT_OK);
        if (plan_parse(&q, text, strlen(text), "again", &err) != COHORT_OK)
            fail_msg("%s", err.message);
        assert_int_equal(plan_print(q, &again, &err), COHORT_OK);
        assert_string_equal(text, again);
        mem_free(text);
        mem_free(again);
        plan_destroy(&p);
        plan_destroy(&q);
        graph_destroy(&g);
    }
    assert_true(tiles > 1000 && locals > 500);
}

static void test_short_memory(void **state) {
    (void)state;
    struct graph *g = toy_vgg();
    static const char *const groups[] = {NULL, "0-2,3-5,6-", "pool1,pool2"};
    static const char *const names[] = {"pc", "pi1"};
    const long before = mem_live_blocks();
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        enum cohort_code code = COHORT_ERR_MEMORY;
        for (long nth = 1; code != COHORT_OK; nth++) {
            struct cohort_error err = {0};
            struct plan *p = NULL;
            const struct plan_request r = {
                .boards = 2, .groups = groups[i], .ratio = "pc=1,pi1=2", .names = names};
            mem_fail_at(nth);
            code = plan_make(&p, g, &r, &err);
            if (code == COHORT_OK)
                code = plan_check(p, g, 2, &err);
            mem_fail_at(0);
            if (code != COHORT_OK)
                assert_int_equal(code, COHORT_ERR_MEMORY);
            plan_destroy(&p);
            assert_int_equal(mem_live_blocks(), before);
            assert_true(nth < 1000);
        }
    }
    graph_destroy(&g);
}

/* ---- real networks --------------------------------------------------------------------------- */

/* Plans without a wish for three boards.  Names of tensors are those that are left after fusing. */
static const struct {
    const char *name;
    bool features;
    const char *plan;
} networks[] = {
    {"vgg16", true,
     "pool1:0,38,75,112 pool2:0,19,38,56 pool3:0,10,19,28 pool4:0,5,10,14 "
     "pool5:0,3,5,7"},
    {"resnet18", false,
     "maxpool:0,19,38,56 layer2.0:0,10,19,28 layer3.0:0,5,10,14 layer4.0:0,3,5,7 "
     "avgpool.rows:0,3,5,7 logits@0"},
    {"mobilenetv2", false,
     "stem.relu6:0,38,75,112 block2.project.bn:0,19,38,56 block4.project.bn:0,10,19,28 "
     "block7.project.bn:0,5,10,14 block14.project.bn:0,3,5,7 avgpool.rows:0,3,5,7 logits@0"},
    {"yolov2", false,
     "pool1:0,70,139,208 pool2:0,35,70,104 pool3:0,18,35,52 pool4:0,9,18,26 "
     "pool5:0,5,9,13 grid:0,5,9,13"},
    {"googlenet", false,
     "maxpool1:0,19,38,56 maxpool2:0,10,19,28 maxpool3:0,5,10,14 maxpool4:0,3,5,7 "
     "avgpool.rows:0,3,5,7 logits@0"},
    {"squeezenet1.0", false,
     "fire2.squeeze.relu:0,18,36,54 fire5.squeeze.relu:0,9,18,27 fire9.squeeze.relu:0,5,9,13 "
     "pool10.rows:0,5,9,13 logits@0"},
    {"alexnet", true, "pool1:0,9,18,27 pool2:0,5,9,13 pool5:0,2,4,6"},
    {"mobilenetv3", false,
     "stem.hardswish:0,38,75,112 block2.project.bn:0,19,38,56 block4.se.avgpool.rows:0,10,19,28 "
     "logits@0"},
    {"densenet121", false,
     "pool0:0,19,38,56 transition1.pool:0,10,19,28 transition2.pool:0,5,10,14 "
     "transition3.pool:0,3,5,7 avgpool.rows:0,3,5,7 logits@0"},
    {"resnet50", false,
     "maxpool:0,19,38,56 layer2.0:0,10,19,28 layer3.0:0,5,10,14 layer4.0:0,3,5,7 "
     "avgpool.rows:0,3,5,7 logits@0"},
    {"shufflenetv2", false,
     "maxpool:0,19,38,56 stage2.0.concat:0,10,19,28 stage3.0.concat:0,5,10,14 "
     "stage4.0.concat:0,3,5,7 mean.pooled.rows:0,3,5,7 logits@0"},
    {"inceptionv3", false,
     "Conv2d_2a_3x3.relu:0,49,98,147 maxpool1:0,25,49,73 maxpool2:0,12,24,35 Mixed_6a:0,6,12,17 "
     "Mixed_7a:0,3,6,8 avgpool.rows:0,3,6,8 logits@0"},
};

static void test_networks(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/cohort_test_plan_make.%ld.onnx", (long)getpid());
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        struct cohort_error err = {0};
        struct graph *g = NULL;
        const struct synth_options o = {.width = 0.25, .features = networks[i].features};
        assert_int_equal(synth_write(networks[i].name, &o, path, &err), COHORT_OK);
        if (onnx_load(&g, path, &err) != COHORT_OK ||
            graph_finish(g, &(struct pass_options){0}, &err) != COHORT_OK)
            fail_msg("%s: %s", networks[i].name, err.message);
        unlink(path);
        assert_plan(g, (struct plan_request){.boards = 3}, networks[i].plan);
        graph_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),         cmocka_unit_test(test_group_mistakes),
        cmocka_unit_test(test_ratio),          cmocka_unit_test(test_ratio_mistakes),
        cmocka_unit_test(test_split_rows),     cmocka_unit_test(test_default_golden),
        cmocka_unit_test(test_default_boards), cmocka_unit_test(test_default_residual),
        cmocka_unit_test(test_default_gate),   cmocka_unit_test(test_default_branches),
        cmocka_unit_test(test_default_route),  cmocka_unit_test(test_nothing_to_divide),
        cmocka_unit_test(test_random),         cmocka_unit_test(test_short_memory),
        cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
