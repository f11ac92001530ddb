/* Measuring on one board: which passes, sane curves, what a dilated board takes; and the cache:
 * what still holds and what does not.
 * alone: it compares measured times */
#include "base/file.h"
#include "base/mem.h"
#include "board/health.h"
#include "graph/onnx/onnx.h"
#include "graph/pass.h"
#include "profile/cache.h"
#include "profile/compute.h"
#include "profile/measure.h"
#include "synth/synth.h"
#include "tests/support/testdir.h"
#include "tests/support/testpool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

/* ---- who measures what ----------------------------------------------------------------------- */

#define WARM_UP  0.16 /* inferences */
#define COMPARED 0.25
#define SINGLY   1.15 /* operators of chains one by one, over the chain */

static double load_of(const struct profile_schedule *s, bool chained) {
    double load = 0;
    for (int level = 0; level < COMPUTE_LEVELS; level++)
        load += compute_share(level) *
                (s->passes[level] + (chained ? SINGLY : 0.125) * s->one_by_one[level]);
    return load;
}

static void check_schedules(int count, bool chained) {
    int sum[COMPUTE_LEVELS] = {0}, boards[COMPUTE_LEVELS] = {0}, singly[COMPUTE_LEVELS] = {0};
    for (int index = 0; index < count; index++) {
        const struct profile_schedule s = profile_schedule(index, count, chained);
        const struct profile_schedule rest = profile_rest(&s, chained);
        for (int level = 0; level < COMPUTE_LEVELS; level++) {
            sum[level] += s.passes[level];
            boards[level] += s.passes[level] > 0;
            singly[level] += s.one_by_one[level];
            assert_true(s.one_by_one[level] <= s.passes[level]);
            /* who turns out to be slow has everything in the end, and nothing a second time */
            assert_true(s.passes[level] + rest.passes[level] > 0);
            assert_true(s.one_by_one[level] + rest.one_by_one[level] > 0 ||
                        (chained && level == 1));
            assert_true(count > 2 || rest.passes[level] == 0);
        }
        const double load = load_of(&s, chained);
        const double apart = count > 1 ? 3 * COMPARED + load_of(&rest, chained) : 0;
        assert_true(WARM_UP + load + (count > 1 ? COMPARED : 0) < 4);
        assert_true(WARM_UP + load + apart < (chained ? 4.5 : 4));
        assert_true(count < 6 || chained || load < 1.3);
    }
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        assert_true(sum[level] >= (count == 1 ? 1 : 2));
        assert_true(boards[level] >= (count == 1 ? 1 : 2)); /* one of them may turn out slow */
        assert_true(singly[level] >= (chained && level == 1 ? 0 : count == 1 ? 1 : 2));
    }
}

static void every_level_is_measured(void **state) {
    (void)state;
    for (int count = 1; count <= 70; count++) {
        check_schedules(count, false);
        check_schedules(count, true);
    }
}

/* ---- one board ------------------------------------------------------------------------------- */

static struct graph *open_synth(const char *name, const struct synth_options *o) {
    struct cohort_error err = {0};
    struct pass_options pass = {0};
    struct graph *g = NULL;
    const char *path = test_path("net.onnx");
    test_must(synth_write(name, o, path, &err), &err);
    test_must(onnx_load(&g, path, &err), &err);
    test_must(graph_finish(g, &pass, &err), &err);
    return g;
}

static struct graph *open_network(const char *name, int size) {
    return open_synth(
        name, &(struct synth_options){.size = size, .width = 0.25, .classes = 10, .seed = 3});
}

/* As on a rank that was sent the network: large constants are not there. */
static struct graph *without_weights(struct graph *g) {
    struct cohort_error err = {0};
    struct graph *copy = NULL;
    struct buf b = {0};
    test_must(graph_serialize(g, &b, &err), &err);
    test_must(graph_deserialize(&copy, b.data, b.size, &err), &err);
    buf_release(&b);
    return copy;
}

static void one_network(const char *name, int size) {
    struct cohort_error err = {0};
    struct graph *g = open_network(name, size), *sent = without_weights(g);
    struct compute *c = NULL;
    double ms[COMPUTE_LEVELS][512], encode, decode;
    int divided = 0, timed = 0;
    assert_true(sent->node_count <= 512);
    test_must(compute_create(&c, sent, test_pool, &(struct exec_options){0}, &err), &err);
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        for (int i = 0; i < sent->node_count; i++)
            ms[level][i] = -1;
        for (int pass = 0; pass < 3; pass++)
            test_must(compute_pass(c, level, true, ms[level], NULL, &err), &err);
        assert_true(compute_pass_ms(c) > 0);
    }
    for (int i = 0; i < sent->node_count; i++) {
        int64_t before = 0;
        for (int level = 0; level < COMPUTE_LEVELS; level++) {
            int64_t rows = compute_rows(sent, i, level);
            assert_int_equal(rows > 0, ms[level][i] >= 0);
            if (rows == 0)
                continue;
            assert_true(level == 0 || rows < before);
            before = rows;
            divided += level == 1;
        }
        timed += ms[0][i] > 0 && !compute_is_free(c, i);
    }
    assert_true(divided > 3);
    assert_true(timed > 5);
    test_must(compute_wire(c, &encode, &decode, &err), &err);
    assert_true(encode > 0 && decode > 0);
    compute_destroy(&c);
    graph_destroy(&sent);
    graph_destroy(&g);
    test_directory_remove();
}

static void networks_are_timed(void **state) {
    (void)state;
    one_network("resnet18", 64);
    one_network("mobilenetv2", 64);
    one_network("yolov2", 96);
    one_network("densenet121", 64);
    one_network("lenet5", 28);
}

/* ---- strips ---------------------------------------------------------------------------------- */

/* Operators that are computed in strips are timed together and one by one, and the curves of the
 * profile say what each takes in either case. */
static void chains_are_timed(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct graph *g = open_network("mobilenetv2", 64);
    const struct exec_options exec = {.cache_bytes = 96 * 1024};
    struct compute *c = NULL;
    double ms[512], chained[512];
    int level_links[COMPUTE_LEVELS] = {0};
    assert_true(g->node_count <= 512);
    test_must(compute_create(&c, g, test_pool, &exec, &err), &err);
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        for (int i = 0; i < g->node_count; i++)
            ms[i] = chained[i] = -1;
        test_must(compute_pass(c, level, true, ms, chained, &err), &err);
        for (int i = 0; i < g->node_count; i++) {
            int count = compute_chain(c, level, i);
            bool fresh = false;
            assert_int_equal(compute_rows(g, i, level) > 0, ms[i] >= 0); /* each by itself */
            for (int k = i; k < i + count && count > 1; k++) {
                assert_int_equal(compute_chain(c, level, k), k == i ? count : 0);
                fresh = fresh || compute_rows(g, k, level) > 0;
            }
            assert_int_equal(fresh, chained[i] >= 0);
            level_links[level] += count > 1 ? count - 1 : 0;
        }
    }
    assert_true(compute_chained_share(c) > 0 && compute_chained_share(c) <= 1);
    assert_true(level_links[0] > 0);
    for (int i = 0; i < g->node_count;
         i++) /* only as the network runs: chains' begins, and others */
        ms[i] = -1;
    test_must(compute_pass(c, 0, false, ms, ms, &err), &err);
    for (int i = 0; i < g->node_count; i++)
        assert_int_equal(compute_chain(c, 0, i) != 0, ms[i] >= 0);
    assert_true(level_links[COMPUTE_LEVELS - 1] <= level_links[0]); /* small maps need no strips */
    struct board board;
    test_must(board_detect(&board, &(struct board_options){.threads = 1, .local_size = 1}, &err),
              &err);
    struct profile_facts facts = {.cpu_share = 1, .threads = 1};
    struct profile_job job = {.size = 1,
                              .graph = g,
                              .pool = test_pool,
                              .board = &board,
                              .exec = &exec,
                              .facts = &facts,
                              .version = "0.1.0"};
    struct profile *p = NULL;
    test_must(profile_begin(&p, &job, &err), &err);
    test_must(profile_measure_compute(p, &job, &err), &err);
    assert_non_null(p->types[0].chained_of);
    for (int i = 0; i < g->node_count; i++) {
        bool linked = false;
        for (int level = 0; level < COMPUTE_LEVELS; level++) {
            int first = i;
            while (first > 0 && compute_chain(c, level, first) == 0)
                first--;
            linked = linked || i + 1 < first + compute_chain(c, level, first);
        }
        assert_int_equal(p->types[0].chained_of[i] >= 0, linked && p->types[0].curve_of[i] >= 0);
    }
    profile_destroy(&p);
    compute_destroy(&c);
    graph_destroy(&g);
    test_directory_remove();
}

static void memory_may_be_short(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct graph *g = open_network("lenet5", 28);
    long before = mem_live_blocks();
    for (long n = 1;; n++) {
        struct compute *c = NULL;
        double encode = 0, decode = 0;
        mem_fail_at(n);
        enum cohort_code code = compute_create(&c, g, test_pool, &(struct exec_options){0}, &err);
        if (code == COHORT_OK)
            code = compute_wire(c, &encode, &decode, &err);
        mem_fail_at(0);
        compute_destroy(&c);
        assert_int_equal(mem_live_blocks(), before);
        if (code == COHORT_OK)
            break;
        assert_int_equal(code, COHORT_ERR_MEMORY);
    }
    graph_destroy(&g);
    test_directory_remove();
}

/* VGG-16 has two thirds of its weights in one operator: made-up ones are there once, not as often
 * as there are operators, and no more of them than the largest has. */
static void made_up_weights_are_shared(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct synth_options o = {.size = 32, .width = 0.5, .classes = 10, .seed = 3};
    struct graph *g = open_synth("vgg16", &o);
    size_t weights = 0, largest = 0, live[2];
    for (int with = 0; with < 2; with++) {
        const struct exec_options exec = {.made_up_bytes = with == 1 ? 2 << 20 : 0};
        struct compute *c = NULL;
        const size_t before = mem_live_bytes();
        test_must(compute_create(&c, g, test_pool, &exec, &err), &err);
        live[with] = mem_live_bytes() - before;
        weights = 0;
        for (int i = 0; i < g->node_count; i++) {
            const size_t bytes = compute_weights(c, i);
            weights += bytes;
            largest = bytes > largest ? bytes : largest;
        }
        compute_destroy(&c);
    }
    assert_true(live[0] > weights);
    assert_true(weights > 2 * largest && largest > 8 << 20);
    if (live[1] + weights > live[0] + largest + (1 << 20))
        fail_msg("%zu bytes instead of %zu, of which %zu for weights", live[1], live[0], weights);
    graph_destroy(&g);
    test_directory_remove();
}

/* Where memory is short large operators have weights for some of their channels at a time, and say
 * what all of them take. */
static void made_up_weights_are_folded(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct synth_options o = {.size = 32, .width = 0.5, .classes = 10, .seed = 3};
    struct graph *g = open_synth("vgg16", &o);
    const size_t most = 3 << 20;
    size_t weights[2] = {0}, live[2] = {0}, largest = 0;
    double ms[2][512];
    for (int with = 0; with < 2; with++) {
        const struct exec_options exec = {.made_up_bytes = most / 2,
                                          .made_up_most = with == 1 ? most : 0};
        struct compute *c = NULL;
        const size_t before = mem_live_bytes();
        test_must(compute_create(&c, g, test_pool, &exec, &err), &err);
        live[with] = mem_live_bytes() - before;
        for (int i = 0; i < g->node_count; i++) {
            const size_t bytes = compute_weights(c, i);
            weights[with] += bytes;
            largest = bytes > largest ? bytes : largest;
            ms[with][i] = -1;
        }
        for (int level = 0; level < COMPUTE_LEVELS; level++)
            test_must(compute_pass(c, level, true, ms[with], NULL, &err), &err);
        compute_destroy(&c);
    }
    assert_true(weights[0] == weights[1] && largest > 4 * most);
    if (live[1] + largest > live[0] + most)
        fail_msg("%zu bytes with room for %zu of weights, %zu else", live[1], most, live[0]);
    for (int i = 0; i < g->node_count; i++)
        assert_true(ms[1][i] >= 0);
    graph_destroy(&g);
    test_directory_remove();
}

/* A board at a quarter of its speed is four times as slow, in the profile too. */
static void dilation_is_seen(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct graph *g = open_network("resnet18", 64);
    struct board board;
    struct pool *pool = NULL;
    struct compute *c = NULL;
    double ms[512], total[2] = {1e9, 1e9}, t;
    test_must(board_detect(&board, &(struct board_options){.threads = 1, .local_size = 1}, &err),
              &err);
    test_must(pool_create(&pool, &board, false, &err), &err);
    test_must(compute_create(&c, g, pool, &(struct exec_options){0}, &err), &err);
    for (int i = 0; i < g->node_count; i++)
        ms[i] = -1;
    for (int pass = 0; pass < 16; pass++) {
        pool_set_share(pool, pass % 2 == 0 ? 0.999 : 0.25); /* CPU time in both */
        test_must(compute_pass(c, 0, false, ms, NULL, &err), &err);
        t = compute_pass_ms(c);
        total[pass % 2] = t < total[pass % 2] ? t : total[pass % 2];
    }
    if (!(total[1] > 2.5 * total[0] && total[1] < 6 * total[0]))
        fail_msg("%g ms at a quarter of the speed, %g ms at full speed", total[1], total[0]);
    compute_destroy(&c);
    pool_destroy(&pool);
    graph_destroy(&g);
    test_directory_remove();
}

/* ---- what a board says of itself ------------------------------------------------------------- */

static const char *root_of_sys; /* a test directory */

static void sys_file(const char *name, const char *text) {
    char path[512];
    struct cohort_error err = {0};
    snprintf(path, sizeof path, "%s/%s", root_of_sys, name);
    char *directory = file_directory(path);
    test_must(file_make_directories(directory, &err), &err);
    test_must(file_replace(path, text, strlen(text), &err), &err);
    mem_free(directory);
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *at) {
    (void)s;
    (void)kind;
    (void)at;
    return remove(path);
}

static void health_is_told(void **state) {
    (void)state;
    struct board b = {.threads = 2, .core_of = {0, 3}};
    char text[BOARD_HEALTH_BYTES];
    root_of_sys = test_path("sys");
    board_health(&b, root_of_sys, text);
    assert_string_equal(text, "clock and temperature unknown");
    assert_true(board_clock_mhz(&b, root_of_sys) == 0);
    sys_file("devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1500000\n");
    sys_file("devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq", "1800000\n");
    sys_file("devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n");
    sys_file("devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "600000\n");
    sys_file("devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    sys_file("class/thermal/thermal_zone0/temp", "51000\n");
    sys_file("class/thermal/thermal_zone2/temp", "82100\n");
    sys_file("class/thermal/thermal_zone3/temp", "999000\n"); /* a sensor that is none */
    sys_file("devices/system/cpu/cpu3/thermal_throttle/core_throttle_count", "17\n");
    sys_file("devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    board_health(&b, root_of_sys, text);
    assert_string_equal(text, "600 of 1800 MHz, governor powersave, 82 C, throttled 17 times, "
                              "firmware's throttle flags 0x50005");
    assert_true(board_clock_mhz(&b, root_of_sys) == 1800);
    assert_int_equal(nftw(root_of_sys, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    test_directory_remove();
    char network[BOARD_NETWORK_BYTES];
    board_network(network);
    assert_true(strlen(network) < sizeof network);
    assert_null(strstr(network, "127.0.0.1"));
}

/* ---- the cache ------------------------------------------------------------------------------- */

static struct profile_facts facts[3];

static void make_facts(void) {
    for (int r = 0; r < 3; r++) {
        facts[r] = (struct profile_facts){.cpu = "Cortex-A72",
                                          .isa = "generic neon64",
                                          .kernels = "0123456789abcdef",
                                          .network = "eth0 10.0.0.1/24 100 Mbit/s",
                                          .cpu_share = 1,
                                          .clock_mhz = 1500,
                                          .threads = 4};
        snprintf(facts[r].host, sizeof facts[r].host, "pi%d", r + 1);
    }
    facts[2].cpu_share = 0.5;
}

static struct profile *begin(struct graph *g, int size) {
    struct cohort_error err = {0};
    struct profile *p = NULL;
    struct profile_job job = {.size = size, .graph = g, .facts = facts, .version = "0.1.0"};
    test_must(profile_begin(&p, &job, &err), &err);
    return p;
}

static void types_collapse(void **state) {
    (void)state;
    struct graph *g = open_network("lenet5", 28);
    make_facts();
    struct profile *p = begin(g, 3);
    assert_int_equal(p->type_count, 2); /* another share of the CPU: another type */
    assert_int_equal(p->boards[0].type, 0);
    assert_int_equal(p->boards[1].type, 0);
    assert_int_equal(p->boards[2].type, 1);
    profile_destroy(&p);
    graph_destroy(&g);
    test_directory_remove();
}

/* One board of a cluster: the fastest of its type that was not set apart. */
/* Every node of the type takes so long for 10 rows. */
static void give_times(struct profile *p, int type, double ms) {
    struct profile_type *t = &p->types[type];
    t->curves = mem_zalloc(1, sizeof *t->curves);
    t->curve_count = t->curves[0].count = 1;
    t->curves[0].points = mem_zalloc(1, sizeof *t->curves[0].points);
    t->curves[0].points[0] = (struct profile_point){10, ms};
    t->curve_of = mem_zalloc((size_t)p->node_count, sizeof *t->curve_of);
}

static void a_profile_is_narrowed(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char why[PROFILE_WHY_BYTES];
    struct graph *g = open_network("lenet5", 28);
    make_facts();
    struct profile *p = begin(g, 3), *one = NULL;
    struct profile_facts alone = facts[0];
    snprintf(alone.host, sizeof alone.host, "here");
    p->boards[0].scale = 1.04;
    p->boards[1].scale = 1.01;
    give_times(p, 0, 2);
    give_times(p, 1, 1); /* another kind of board, which does not count */
    p->links = mem_zalloc(1, sizeof *p->links);
    p->links[0].points = mem_zalloc(1, sizeof *p->links[0].points);
    p->links[0].count = p->link_count = 1;
    p->link_of[1] = 0;
    assert_true(profile_type_fits(&p->types[0], &alone, why));
    assert_false(profile_type_fits(&p->types[1], &alone, why));
    assert_non_null(strstr(why, "here: the CPU share was 0.5, now it is 1"));
    alone.threads = 3;
    assert_int_equal(profile_narrow(p, &alone, &err), COHORT_ERR_PLAN);
    assert_non_null(strstr(err.message, "no board like this one: here: "));
    assert_int_equal(p->board_count, 3);
    alone.threads = 4;
    test_must(profile_narrow(p, &alone, &err), &err);
    assert_int_equal(p->board_count, 1);
    assert_string_equal(p->boards[0].host, "here");
    assert_true(p->boards[0].scale == 1.01);
    assert_int_equal(p->link_of[0], -1);
    assert_int_equal(p->link_count, 0);
    struct profile_facts former = facts[0];
    facts[0] = alone;
    one = begin(g, 1);
    facts[0] = former;
    assert_true(profile_matches(p, one, why));
    profile_destroy(&one);
    profile_destroy(&p);
    graph_destroy(&g);
    test_directory_remove();
}

static void only_equal_boards_match(void **state) {
    (void)state;
    char why[PROFILE_WHY_BYTES];
    struct graph *g = open_network("lenet5", 28);
    make_facts();
    struct profile *kept = begin(g, 3);
    for (int change = 0; change < 9; change++) {
        static const char *const said[] = {"",
                                           "rank 1: the host was \"pi2\", now it is \"pi9\"",
                                           "pi2: the CPU was",
                                           "pi2: what it can run was",
                                           "pi2: the kernels was \"0123456789abcdef\"",
                                           "pi2: the number of threads was 4, now it is 2",
                                           "pi2: the CPU share was 1, now it is 0.25",
                                           "pi2: the highest clock in MHz was 1500, now it is 600",
                                           "it is of 3 boards, now there are 2"};
        make_facts();
        switch (change) {
        case 1:
            snprintf(facts[1].host, 8, "pi9");
            break;
        case 2:
            snprintf(facts[1].cpu, 8, "other");
            break;
        case 3:
            snprintf(facts[1].isa, 8, "generic");
            break;
        case 4:
            snprintf(facts[1].kernels, 8, "fedcba9");
            break;
        case 5:
            facts[1].threads = 2;
            break;
        case 6:
            facts[1].cpu_share = 0.25;
            break;
        case 7:
            facts[1].clock_mhz = 600;
            break;
        default:
            break;
        }
        struct profile *now = begin(g, change == 8 ? 2 : 3);
        char *a = profile_path("/c", kept, 0), *b = profile_path("/c", now, 0);
        bool same = profile_matches(kept, now, why);
        assert_int_equal(same, change == 0);
        assert_int_equal(strcmp(a, b) == 0, change == 0);
        if (!same && strstr(why, said[change]) == NULL)
            fail_msg("said '%s' instead of '%s'", why, said[change]);
        mem_free(a);
        mem_free(b);
        profile_destroy(&now);
    }
    make_facts();
    struct profile *other = begin(g, 3);
    other->signature[0] = other->signature[0] == '0' ? '1' : '0';
    assert_false(profile_matches(kept, other, why));
    assert_non_null(strstr(why, "another network"));
    memcpy(other->signature, kept->signature, sizeof other->signature);
    mem_free(other->version);
    other->version = mem_strdup("0.2.0");
    assert_false(profile_matches(kept, other, why));
    assert_non_null(strstr(why, "measured by Cohort 0.1.0, this is 0.2.0"));
    profile_destroy(&other);
    profile_destroy(&kept);
    graph_destroy(&g);
    test_directory_remove();
}

static void links_are_kept(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct graph *g = open_network("lenet5", 28);
    make_facts();
    struct profile *p = begin(g, 3), *again = begin(g, 3);
    p->links = mem_zalloc(1, sizeof *p->links);
    p->links[0].points = mem_zalloc(2, sizeof *p->links[0].points);
    p->links[0].count = 2;
    p->links[0].points[0] = (struct profile_point){1024, 0.25};
    p->links[0].points[1] = (struct profile_point){49152, 4.25};
    p->link_count = 1;
    for (int i = 0; i < 9; i++)
        p->link_of[i] = i % 4 == 0 ? -1 : 0;
    p->scatter_factor = 1.25;
    p->wake_ms = 0.125;
    const char *path = test_path("links.json");
    test_must(profile_save_links(p, facts, path, &err), &err);
    test_must(profile_load_links(again, facts, path, &err), &err);
    assert_true(profile_link_ms(again, 0, 2, 49152) == 4.25);
    assert_true(again->scatter_factor == 1.25 && again->gather_factor == 1);
    assert_true(again->wake_ms == 0.125);
    snprintf(facts[1].network, 32, "eth0 10.0.0.2/24 1000 Mbit/s");
    assert_int_equal(profile_load_links(again, facts, path, &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "boards[1]: is of 'pi2' (eth0 10.0.0.1/24 100 Mbit/s)"));
    assert_true(profile_link_ms(again, 0, 2, 49152) == 4.25);
    char *a = profile_links_path("/c", facts, 3);
    make_facts();
    char *b = profile_links_path("/c", facts, 3);
    assert_string_not_equal(a, b);
    mem_free(a);
    mem_free(b);
    profile_destroy(&p);
    profile_destroy(&again);
    graph_destroy(&g);
    test_directory_remove();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_is_measured),
        cmocka_unit_test(networks_are_timed),
        cmocka_unit_test(chains_are_timed),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(made_up_weights_are_shared),
        cmocka_unit_test(made_up_weights_are_folded),
        cmocka_unit_test(dilation_is_seen),
        cmocka_unit_test(health_is_told),
        cmocka_unit_test(types_collapse),
        cmocka_unit_test(only_equal_boards_match),
        cmocka_unit_test(links_are_kept),
        cmocka_unit_test(a_profile_is_narrowed),
    };
    return cmocka_run_group_tests(tests, test_pool_start, test_pool_stop);
}
