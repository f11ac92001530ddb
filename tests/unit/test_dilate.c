/* Dilation: a board at share s takes 1/s of its CPU time, or what was profiled of it, polls while
 * it sleeps, counts late blocks, and answers with the same bits.
 * alone: it sleeps and looks at clocks */
#include "board/dilate.h"
#include "board/pool.h"
#include "cohort.h"
#include "runtime/model.h"
#include "synth/synth.h"
#include "tests/support/leaks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SHARE 0.25
#define TRIES 8 /* for a stretch of time in which nobody else wanted the CPU */

static double clock_s(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double wall(void) {
    return clock_s(CLOCK_MONOTONIC);
}

static double cpu(void) {
    return clock_s(CLOCK_THREAD_CPUTIME_ID);
}

static struct pool *make_pool(int threads) {
    static struct board b;
    struct pool *p = NULL;
    struct cohort_error err = {0};
    memset(&b, 0, sizeof b);
    b.threads = threads;
    if (pool_create(&p, &b, false, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    return p;
}

/* An item that uses 2 ms of its thread's CPU. */
static void burn(void *context, int64_t item, int thread) {
    (void)item;
    (void)thread;
    double *each = context;
    double until = cpu() + *each;
    while (cpu() < until)
        ;
}

static void count(void *context) {
    ++*(int *)context;
}

/* ---- time ------------------------------------------------------------------------------------ */

struct stretch {
    double wall, cpu;
    struct dilation_counts counts;
};

static struct stretch run_items(struct pool *p, int items, double each, bool outside) {
    struct dilation_counts before = pool_dilation(p);
    struct stretch s;
    pool_dilate_waited(p); /* a stretch that ended late would lend this one its time */
    double w = wall();
    pool_dilate_begin(p);
    if (outside)
        for (int i = 0; i < items; i++) {
            burn(&each, i, 0);
            pool_dilate(p);
        }
    else
        pool_run(p, items, burn, &each);
    pool_dilate_end(p);
    s.wall = wall() - w;
    s.counts = pool_dilation(p);
    s.counts.blocks -= before.blocks;
    s.counts.late -= before.late;
    s.cpu = (double)(s.counts.cpu_ns - before.cpu_ns) * 1e-9;
    return s;
}

/* An emulator computes between the blocks, too (scripts/cross-check). */
static bool emulated(void) {
    return getenv("COHORT_EMULATOR") != NULL;
}

/* Never faster than its share; and, once nobody disturbed it, no slower either. */
static void check_speed(int threads, int items, double each, bool outside) {
    struct pool *p = make_pool(threads);
    bool quiet = false;
    pool_set_share(p, SHARE);
    assert_true(pool_share(p) == SHARE);
    for (int i = 0; i < TRIES && !quiet; i++) {
        struct stretch s = run_items(p, items, each, outside);
        double want = s.cpu / SHARE / threads;
        assert_true(s.cpu >= items * each);
        if (threads == 1)
            assert_true(s.wall >= want - 1e-6);
        if (each > 1e-3 && !emulated())
            assert_int_equal(s.counts.blocks, items);
        quiet = s.wall < 1.03 * want + 1e-3;
        if (!quiet)
            print_message("# wall %.1f ms, wanted %.1f ms, %d late blocks: again\n", s.wall * 1e3,
                          want * 1e3, (int)s.counts.late);
    }
    if (!quiet)
        print_message("# %d threads: the machine was never idle long enough\n", threads);
    pool_destroy(&p);
    if (!quiet && threads == 1)
        skip();
}

static void test_speed(void **state) {
    (void)state;
    check_speed(1, 10, 2e-3, false);
}

static void test_speed_small_blocks(void **state) {
    (void)state;
    check_speed(1, 1000, 2e-5, false);
}

static void test_speed_outside_items(void **state) {
    (void)state;
    check_speed(1, 10, 2e-3, true);
}

/* Every thread is slow: two threads of 8 items of 2 ms take at least what the slower one needs. */
static void test_threads(void **state) {
    (void)state;
    struct pool *p = make_pool(2);
    pool_set_share(p, SHARE);
    struct stretch s = run_items(p, 8, 2e-3, false);
    assert_true(s.cpu >= 8 * 2e-3);
    assert_true(s.wall >= 8 * 2e-3 / SHARE / 2 - 1e-6);
    if (!emulated())
        assert_int_equal(s.counts.blocks, 8);
    pool_destroy(&p);
}

/* Only what lies between begin and end is stretched, and nothing without a share. */
static void test_off(void **state) {
    (void)state;
    struct pool *p = make_pool(1);
    double each = 5e-3;
    struct stretch s = run_items(p, 2, each, false);
    assert_int_equal(s.counts.blocks, 0);
    pool_set_share(p, SHARE);
    pool_run(p, 2, burn, &each);
    assert_int_equal(pool_dilation(p).blocks, 0);
    pool_set_share(p, 1);
    s = run_items(p, 2, each, false);
    assert_int_equal(s.counts.blocks, 0);
    pool_destroy(&p);
}

/* ---- time that is known beforehand ----------------------------------------------------------- */

/* Work of a known time, in seconds: pieces of `each` seconds of CPU. */
struct known {
    double takes, each;
    int pieces;
};

static struct stretch run_known(struct pool *p, const struct known *works, int count,
                                bool outside) {
    struct dilation_counts before = pool_dilation(p);
    struct stretch s;
    pool_dilate_waited(p);
    double w = wall();
    pool_dilate_begin(p);
    for (int i = 0; i < count; i++) {
        double each = works[i].each;
        if (works[i].takes >= 0)
            pool_dilate_expect(p, works[i].takes * 1e3);
        for (int k = 0; outside && k < works[i].pieces; k++)
            burn(&each, k, 0);
        if (!outside)
            pool_run(p, works[i].pieces, burn, &each);
        pool_dilate(p);
    }
    pool_dilate_end(p);
    s.wall = wall() - w;
    s.counts = pool_dilation(p);
    s.counts.blocks -= before.blocks;
    s.counts.late -= before.late;
    s.cpu = (double)(s.counts.cpu_ns - before.cpu_ns) * 1e-9;
    return s;
}

/* Never sooner than known; once nobody disturbed it, no later either, and nothing was late. */
static void check_known(int threads, const struct known *works, int count, bool outside) {
    struct pool *p = make_pool(threads);
    bool quiet = false;
    double want = 0, work = 0;
    for (int i = 0; i < count; i++) {
        want += works[i].takes >= 0 ? works[i].takes : works[i].each * works[i].pieces / SHARE;
        work += works[i].each * works[i].pieces;
    }
    pool_set_share(p, SHARE);
    for (int i = 0; i < TRIES && !quiet; i++) {
        struct stretch s = run_known(p, works, count, outside);
        assert_true(s.wall >= want - 1e-6);
        if (threads == 1)
            assert_true(s.cpu >= work);
        quiet = s.wall < 1.03 * want + 1e-3 && s.counts.late == 0;
        if (!quiet)
            print_message("# wall %.1f ms, wanted %.1f ms, %d late blocks: again\n", s.wall * 1e3,
                          want * 1e3, (int)s.counts.late);
        else if (threads == 1)
            assert_int_equal(s.counts.blocks, count);
    }
    pool_destroy(&p);
    if (!quiet) {
        print_message("# the machine was never idle long enough\n");
        skip();
    }
}

/* By its CPU time it would take 4 times as long, or a quarter. */
static void test_known_time(void **state) {
    (void)state;
    static const struct known less = {20e-3, 2e-3, 5}, more = {60e-3, 1e-3, 4};
    check_known(1, &less, 1, false);
    check_known(1, &less, 1, true);
    check_known(1, &more, 1, false);
    check_known(2, &more, 1, false);
}

/* Times add up, whatever ran ahead of them. */
static void test_known_times_add_up(void **state) {
    (void)state;
    struct known works[20];
    for (int i = 0; i < 20; i++)
        works[i] = (struct known){2e-3, i % 3 == 0 ? 6e-4 : 1e-4, 1};
    check_known(1, works, 20, false);
    works[7] = (struct known){-1, 2e-3, 1}; /* not known: by its CPU time */
    works[11] = (struct known){-1, 2e-3, 1};
    check_known(1, works, 20, true);
}

/* Two operators have no time for what they compute: late, and the next catch up. */
static void test_late_by_known_time(void **state) {
    (void)state;
    static const struct known works[] = {
        {10e-3, 3e-3, 1}, {1e-3, 4e-3, 2}, {1e-3, 1e-3, 1}, {30e-3, 1e-3, 1}, {10e-3, 1e-3, 1}};
    struct pool *p = make_pool(1);
    bool quiet = false;
    pool_set_share(p, SHARE);
    for (int i = 0; i < TRIES && !quiet; i++) {
        struct stretch s = run_known(p, works, 5, false);
        assert_int_equal(s.counts.blocks, 5);
        assert_true(s.counts.late >= 2);
        assert_true(s.wall >= 52e-3 - 1e-6);
        quiet = s.counts.late == 2 && s.wall < 1.03 * 52e-3 + 1e-3;
    }
    pool_destroy(&p);
    if (!quiet)
        skip();
}

/* For measuring: all of the sleep at the end. */
static void test_whole(void **state) {
    (void)state;
    struct pool *p = make_pool(1);
    bool quiet = false;
    double each = 2e-3;
    pool_set_share(p, SHARE);
    for (int i = 0; i < TRIES && !quiet; i++) {
        pool_dilate_waited(p);
        double w = wall();
        pool_dilate_begin_whole(p);
        assert_false(pool_naps(p));
        double ms = pool_work_ms(p);
        pool_run(p, 5, burn, &each);
        pool_dilate(p);
        ms = pool_work_ms(p) - ms;
        quiet = wall() - w < 20e-3;
        pool_dilate_end(p);
        assert_true(ms >= 5 * 2 / SHARE - 1e-3);
        assert_true(wall() - w >= 5 * 2e-3 / SHARE - 1e-6);
    }
    pool_dilate_begin(p);
    assert_true(pool_naps(p));
    pool_dilate_end(p);
    pool_destroy(&p);
    if (!quiet)
        skip();
}

/* ---- polling and lateness -------------------------------------------------------------------- */

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One stretch of work behind another begins when that should have ended, unless the board waited.
 */
static void test_stretches_add_up(void **state) {
    (void)state;
    struct dilation d = {.share = SHARE};
    for (int waited = 0; waited < 2; waited++) {
        dilation_begin(&d);
        dilation_expect(&d, 3000000);
        dilation_done(&d, NULL, NULL);
        dilation_step(&d, true, NULL, NULL);
        assert_in_range(d.over_ns, 0, 1000000);
        const int64_t over = d.over_ns = d.over_ns / 2 + 1;
        if (waited > 0)
            dilation_waited(&d);
        const int64_t before = now_ns();
        dilation_begin(&d);
        const int64_t begun = d.target_ns + (waited > 0 ? 0 : over);
        assert_in_range(begun, before, now_ns());
        assert_int_equal(d.over_ns, 0);
        dilation_step(&d, true, NULL, NULL);
    }
}

static void test_polls_while_sleeping(void **state) {
    (void)state;
    struct pool *p = make_pool(1);
    int polls = 0;
    pool_set_poll(p, count, &polls);
    pool_set_share(p, 0.1);
    double c = cpu();
    struct stretch s = run_items(p, 1, 4e-3, true); /* 4 ms of work, 36 ms of sleep */
    c = cpu() - c - s.cpu;
    assert_in_range(polls, 3, 24); /* every 2 ms */
    assert_true(c < 4e-3);         /* sleeping is not spinning */
    pool_destroy(&p);
}

static void oversleep(void *context, int64_t item, int thread) {
    double each = 1e-3;
    (void)context;
    burn(&each, item, thread);
    if (item == 1)
        usleep(20000); /* as if another process had taken the CPU */
}

static void test_late_blocks_are_counted(void **state) {
    (void)state;
    struct pool *p = make_pool(1);
    pool_set_share(p, SHARE);
    pool_dilate_begin(p);
    double w = wall();
    pool_run(p, 12, oversleep, NULL);
    pool_dilate_end(p);
    w = wall() - w;
    struct dilation_counts c = pool_dilation(p);
    assert_int_equal(c.blocks, 12);
    assert_true(c.late >= 1);
    /* Lost time is caught up: blocks before and after have 3 ms to spare each. */
    assert_true(w >= 12e-3 / SHARE - 1e-6);
    if (c.late < 8)
        assert_true(w < 1.25 * 12e-3 / SHARE + 20e-3);
    pool_destroy(&p);
}

/* ---- whole networks -------------------------------------------------------------------------- */

static int64_t elements(const struct cohort_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}

/* The network's answer at that share: new memory. */
static float *answer(struct cohort_model *m, const struct cohort_tensor *in, double share,
                     int64_t *n) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out;
    struct cohort_session_options o = {.threads = 1, .no_binding = 1, .cpu_share = share};
    char *json = NULL;
    if (cohort_prepare(&s, m, NULL, MPI_COMM_NULL, &o, &err) != COHORT_OK ||
        cohort_run(s, in, 1, &out, 1, &err) != COHORT_OK ||
        cohort_report(s, &json, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(strstr(json, "late_blocks") != NULL, share > 0 && share < 1);
    cohort_text_free(json);
    *n = elements(&out);
    float *copy = malloc((size_t)*n * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, out.data, (size_t)*n * sizeof *copy);
    cohort_close(&s);
    return copy;
}

static void check_bits(const char *name) {
    struct cohort_error err = {0};
    struct cohort_model *m = NULL;
    char path[128];
    struct synth_options o = {.size = 64, .width = 0.25, .classes = 10, .seed = 3};
    snprintf(path, sizeof path, "/tmp/cohort-dilate-%ld.onnx", (long)getpid());
    if (synth_write(name, &o, path, &err) != COHORT_OK ||
        cohort_open(&m, path, NULL, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    struct cohort_tensor in = cohort_input(m, 0);
    int64_t n = elements(&in), plain_count, dilated_count;
    float *data = malloc((size_t)n * sizeof *data);
    assert_non_null(data);
    for (int64_t i = 0; i < n; i++)
        data[i] = (float)(i * 7919 % 2003) / 1001.0f - 1.0f;
    in.data = data;
    float *plain = answer(m, &in, 0, &plain_count);
    float *dilated = answer(m, &in, 0.3, &dilated_count);
    assert_int_equal(plain_count, dilated_count);
    assert_memory_equal(plain, dilated, (size_t)plain_count * sizeof *plain);
    free(plain);
    free(dilated);
    free(data);
    cohort_model_free(&m);
    unlink(path);
}

static void test_same_bits(void **state) {
    (void)state;
    static const char *const names[] = {"resnet18", "mobilenetv2", "vgg16", "squeezenet1.1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_bits(names[i]);
}

/* ---- a network by its profile ---------------------------------------------------------------- */

static struct cohort_model *make_model(const char *name) {
    struct cohort_error err = {0};
    struct cohort_model *m = NULL;
    char path[128];
    struct synth_options o = {.size = 64, .width = 0.5, .classes = 10, .seed = 3};
    snprintf(path, sizeof path, "/tmp/cohort-dilate-%ld.onnx", (long)getpid());
    if (synth_write(name, &o, path, &err) != COHORT_OK ||
        cohort_open(&m, path, NULL, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    unlink(path);
    return m;
}

/* A run's milliseconds by its report, which says what the board was dilated by. */
static double run_ms(struct cohort_model *m, const struct cohort_session_options *o, int runs,
                     const char *by) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor in = cohort_input(m, 0), out;
    double least = 1e9;
    in.data = calloc((size_t)elements(&in), sizeof(float));
    assert_non_null(in.data);
    if (cohort_prepare(&s, m, NULL, MPI_COMM_NULL, o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    for (int i = 0; i < runs; i++) {
        double w = wall();
        if (cohort_run(s, &in, 1, &out, 1, &err) != COHORT_OK)
            fail_msg("%s", err.message);
        w = wall() - w;
        least = w < least ? w : least;
    }
    char *json = NULL;
    assert_int_equal(cohort_report(s, &json, &err), COHORT_OK);
    if (strstr(json, by) == NULL)
        fail_msg("no %s in %s", by, json);
    cohort_text_free(json);
    cohort_close(&s);
    free(in.data);
    return least * 1e3;
}

static void test_network_by_profile(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct cohort_model *m = make_model("resnet18");
    struct cohort_profile *profile = NULL, *none = NULL;
    struct cohort_session_options o = {.threads = 1, .no_binding = 1, .cpu_share = 0.1};
    const struct cohort_profile_options kept = {.directory = "/proc/none", .kept = 1};
    assert_int_equal(cohort_profile_make(&none, m, MPI_COMM_NULL, &kept, &o, &err), COHORT_OK);
    assert_null(none); /* nothing is kept, nothing was measured */
    if (cohort_profile_make(&profile, m, MPI_COMM_NULL, NULL, &o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    const struct profile *p = cohort_profile_of(profile);
    double want = 0;
    for (int i = 0; i < p->node_count; i++) {
        const int curve = p->types[0].curve_of[i];
        if (curve < 0)
            continue;
        struct profile_curve *c = &p->types[0].curves[curve];
        for (int k = 0; k < c->count; k++)
            c->points[k].ms *= 2; /* not what CPU time would say */
        want += c->points[c->count - 1].ms;
    }
    assert_true(want > 1);
    (void)run_ms(m, &o, 1, "\"dilated_by\": \"cpu\"");
    o.profile = profile;
    double took = run_ms(m, &o, TRIES, "\"dilated_by\": \"profile\"");
    /* Input and output are converted, too. */
    print_message("# took %.2f ms, profiled %.2f ms\n", took, want);
    assert_true(took >= want - 1e-3);
    if (!emulated())
        assert_true(took < 1.5 * want + 5);
    /* A board that is not dilated does not look at it. */
    o.cpu_share = 1;
    assert_true(run_ms(m, &o, TRIES, "\"cpu_share\": 1") < want);
    cohort_profile_free(&profile);
    cohort_model_free(&m);
}

static void test_profile_of_another_board(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct cohort_model *m = make_model("lenet5"), *other = make_model("resnet18");
    struct cohort_profile *profile = NULL;
    struct cohort_session *s = NULL;
    struct cohort_session_options o = {.threads = 1, .no_binding = 1, .cpu_share = 0.5};
    if (cohort_profile_make(&profile, m, MPI_COMM_NULL, NULL, &o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    o.profile = profile;
    o.cpu_share = 0.25;
    assert_int_equal(cohort_prepare(&s, m, NULL, MPI_COMM_NULL, &o, &err), COHORT_ERR_PLAN);
    assert_non_null(strstr(err.message, "the CPU share was 0.5, now it is 0.25"));
    o.cpu_share = 0.5;
    assert_int_equal(cohort_prepare(&s, other, NULL, MPI_COMM_NULL, &o, &err), COHORT_ERR_PLAN);
    assert_non_null(strstr(err.message, "another network"));
    assert_null(s);
    cohort_profile_free(&profile);
    cohort_model_free(&m);
    cohort_model_free(&other);
}

static void test_bad_share(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct cohort_model *m = NULL;
    struct cohort_session *s = NULL;
    char path[128];
    struct synth_options o = {.size = 32, .width = 0.25, .seed = 3};
    snprintf(path, sizeof path, "/tmp/cohort-dilate-%ld.onnx", (long)getpid());
    assert_int_equal(synth_write("lenet5", &o, path, &err), COHORT_OK);
    assert_int_equal(cohort_open(&m, path, NULL, &err), COHORT_OK);
    static const double bad[] = {-0.5, 1.5};
    for (int i = 0; i < 2; i++) {
        struct cohort_session_options options = {.cpu_share = bad[i]};
        assert_int_equal(cohort_prepare(&s, m, NULL, MPI_COMM_NULL, &options, &err),
                         COHORT_ERR_USAGE);
        assert_non_null(strstr(err.message, "CPU share"));
        assert_null(s);
    }
    cohort_model_free(&m);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speed),
        cmocka_unit_test(test_speed_small_blocks),
        cmocka_unit_test(test_speed_outside_items),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_known_time),
        cmocka_unit_test(test_known_times_add_up),
        cmocka_unit_test(test_late_by_known_time),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_stretches_add_up),
        cmocka_unit_test(test_polls_while_sleeping),
        cmocka_unit_test(test_late_blocks_are_counted),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_network_by_profile),
        cmocka_unit_test(test_profile_of_another_board),
        cmocka_unit_test(test_bad_share),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
