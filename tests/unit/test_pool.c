/* The pool: every item once, on any thread; nothing allocated; the poll; sleeping; the float mode.
 * alone: it looks at clocks and at which thread does what */
#include "board/pool.h"

#include "base/mem.h"
#include "tests/support/leaks.h"

#include <float.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define ITEMS 5000

struct job {
    atomic_int seen[ITEMS];
    atomic_int bad_thread;
    int threads;
    int plain[ITEMS]; /* written without atomics: the sanitizer looks */
    int round;
};

static struct pool *make_pool(int threads, bool oversubscribed) {
    static struct board b;
    struct pool *p = NULL;
    struct cohort_error err = {0};
    memset(&b, 0, sizeof b);
    b.threads = threads;
    b.oversubscribed = oversubscribed;
    if (pool_create(&p, &b, false, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pool_threads(p), threads);
    return p;
}

static void count_item(void *context, int64_t item, int thread) {
    struct job *j = context;
    if (item < 0 || item >= ITEMS || thread < 0 || thread >= j->threads) {
        atomic_fetch_add(&j->bad_thread, 1);
        return;
    }
    atomic_fetch_add(&j->seen[item], 1);
    j->plain[item] = j->round;
}

static void check_pool(int threads, bool oversubscribed) {
    struct pool *p = make_pool(threads, oversubscribed);
    struct job *j = calloc(1, sizeof *j);
    assert_non_null(j);
    j->threads = threads;
    int expected[ITEMS] = {0};
    static const int counts[] = {0, 1, 2, 3, 7, 64, 1000, ITEMS};
    long calls = mem_alloc_calls();
    for (j->round = 1; j->round <= 200; j->round++) {
        int n = counts[j->round % 8];
        pool_run(p, n, count_item, j);
        for (int i = 0; i < n; i++) {
            expected[i]++;
            assert_int_equal(j->plain[i], j->round);
        }
    }
    assert_int_equal(mem_alloc_calls(), calls);
    assert_int_equal(atomic_load(&j->bad_thread), 0);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(atomic_load(&j->seen[i]), expected[i]);
    free(j);
    pool_destroy(&p);
    assert_null(p);
    pool_destroy(&p);
}

static void test_each_item_once(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 4, 8};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        check_pool(threads[i], false);
        check_pool(threads[i], true);
    }
}

struct context_job {
    const int *expect;
    atomic_int wrong;
    atomic_int ran;
};

static void check_context(void *context, int64_t item, int thread) {
    (void)thread;
    (void)item;
    struct context_job *j = context;
    atomic_fetch_add(&j->ran, 1);
    if (*j->expect != 42)
        atomic_fetch_add(&j->wrong, 1);
}

/* Many tiny jobs with contexts on the stack: a late worker must never run an old job's item. */
static void test_tiny_jobs(void **state) {
    (void)state;
    struct pool *p = make_pool(4, false);
    for (int i = 0; i < 20000; i++) {
        int good = 42;
        struct context_job j = {.expect = &good};
        int n = 2 + i % 3;
        pool_run(p, n, check_context, &j);
        good = 0;
        assert_int_equal(atomic_load(&j.ran), n);
        assert_int_equal(atomic_load(&j.wrong), 0);
    }
    pool_destroy(&p);
}

static void nap(long us) {
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

struct sleepy {
    atomic_int by_thread[4];
    long us;
};

static void sleepy_item(void *context, int64_t item, int thread) {
    struct sleepy *s = context;
    (void)item;
    atomic_fetch_add(&s->by_thread[thread], 1);
    nap(s->us);
}

struct meeting {
    int wanted;
    atomic_int present;
    int thread_of[8]; /* of each item */
};

/* Ends when all are here, or after 10 s. */
static void meet(void *context, int64_t item, int thread) {
    struct meeting *m = context;
    m->thread_of[item] = thread;
    atomic_fetch_add(&m->present, 1);
    for (int i = 0; i < 10000 && atomic_load(&m->present) < m->wanted; i++)
        nap(1000);
}

/* Also after a long pause, when all are asleep, every thread comes: each item needs one. */
static void test_all_take_part(void **state) {
    (void)state;
    struct pool *p = make_pool(4, false);
    for (int round = 0; round < 5; round++) {
        struct meeting m = {.wanted = 4};
        struct timespec a;
        struct timespec b;
        nap(10000);
        clock_gettime(CLOCK_MONOTONIC, &a);
        pool_run(p, 4, meet, &m);
        clock_gettime(CLOCK_MONOTONIC, &b);
        assert_true(b.tv_sec - a.tv_sec < 8);
        for (int i = 0; i < 4; i++) /* each its own: nobody was free to take another's */
            assert_int_equal(m.thread_of[i], i);
    }
    pool_destroy(&p);
}

/* The caller's items take until all others are done, so those are done by the other thread; and the
 * other way round. */
struct held {
    atomic_int done;
    int busy, items; /* the thread that is held up in its first item */
    int thread_of[8];
};

static void hold(void *context, int64_t item, int thread) {
    struct held *h = context;
    h->thread_of[item] = thread;
    for (int i = 0; thread == h->busy && i < 10000 && atomic_load(&h->done) < h->items - 1; i++)
        nap(1000);
    atomic_fetch_add(&h->done, 1);
}

static void test_stealing(void **state) {
    (void)state;
    struct pool *p = make_pool(2, false);
    for (int busy = 0; busy < 2; busy++) {
        struct held h = {.busy = busy, .items = 8};
        pool_run(p, 8, hold, &h);
        int by_busy = 0;
        for (int i = 0; i < 8; i++)
            by_busy += h.thread_of[i] == busy;
        assert_int_equal(atomic_load(&h.done), 8);
        /* thread 1 may have come so late that the caller did everything */
        assert_true(by_busy == 1 || (busy == 1 && by_busy == 0));
        if (busy == 0)
            assert_int_equal(h.thread_of[0], 0);
    }
    pool_destroy(&p);
}

static void slow_elsewhere(void *context, int64_t item, int thread) {
    meet(context, item, thread);
    if (thread != 0)
        nap(30000);
}

struct polls {
    int count;
    pthread_t thread;
    bool elsewhere;
};

static void count_poll(void *context) {
    struct polls *c = context;
    c->count++;
    c->elsewhere |= !pthread_equal(c->thread, pthread_self());
}

static void test_poll(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        struct pool *p = make_pool(threads, false);
        struct polls c = {.thread = pthread_self()};
        struct sleepy s = {.us = 100};
        pool_set_poll(p, count_poll, &c);
        pool_run(p, 50, sleepy_item, &s);
        assert_true(c.count >= atomic_load(&s.by_thread[0]));
        if (threads == 2) { /* and while the caller waits for the other thread's item */
            c.count = 0;
            struct meeting m = {.wanted = 2};
            pool_run(p, 2, slow_elsewhere, &m);
            assert_true(c.count > 5);
        }
        assert_false(c.elsewhere);
        pool_set_poll(p, NULL, NULL);
        c.count = 0;
        pool_run(p, 50, sleepy_item, &s);
        assert_int_equal(c.count, 0);
        pool_destroy(&p);
    }
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void test_idle_burns_nothing(void **state) {
    (void)state;
    struct pool *p = make_pool(4, false);
    struct sleepy s = {.us = 1000};
    pool_run(p, 8, sleepy_item, &s);
    nap(20000);
    double before = cpu_seconds();
    nap(200000);
    assert_true(cpu_seconds() - before < 0.02);
    /* nor does the caller that waits for a long item of another thread */
    before = cpu_seconds();
    s.us = 100000;
    pool_run(p, 4, sleepy_item, &s);
    assert_true(cpu_seconds() - before < 0.02);
    pool_destroy(&p);
}

static void denormal_item(void *context, int64_t item, int thread) {
    float *out = context;
    volatile float least = FLT_MIN;
    volatile float half = 0.5f;
    volatile float denormal = 1e-40f;
    out[2 * item] = least * half;         /* a denormal result */
    out[2 * item + 1] = denormal * 1e20f; /* a denormal argument */
    nap(thread == 0 ? 2000 : 100);
}

static void test_float_mode(void **state) {
    (void)state;
    struct pool *p = make_pool(4, false);
    float out[32];
    for (int i = 0; i < 32; i++)
        out[i] = 1;
    pool_run(p, 16, denormal_item, out);
    for (int i = 0; i < 32; i++)
        assert_true(out[i] == 0.0f);
    pool_destroy(&p);
}

static void where_item(void *context, int64_t item, int thread) {
    int *core = context;
    (void)item;
    core[thread] = sched_getcpu();
    nap(3000);
}

static void test_binding(void **state) {
    (void)state;
    static struct board b;
    struct cohort_error err = {0};
    struct pool *p = NULL;
    cpu_set_t before;
    cpu_set_t after;
    assert_int_equal(board_detect(&b, &(struct board_options){.bind = true}, &err), COHORT_OK);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(pool_create(&p, &b, true, &err), COHORT_OK);
    int core[BOARD_CORES_MAX];
    for (int t = 0; t < b.threads; t++)
        core[t] = -1;
    pool_run(p, 4 * b.threads, where_item, core);
    for (int t = 0; t < b.threads; t++) {
        if (core[t] != -1)
            assert_int_equal(core[t], b.core_of[t]);
    }
    assert_int_equal(core[0], b.core_of[0]);
    pool_destroy(&p);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void test_memory(void **state) {
    (void)state;
    static struct board b;
    struct pool *p = NULL;
    struct cohort_error err = {0};
    b.threads = 2;
    mem_fail_at(1);
    enum cohort_code code = pool_create(&p, &b, false, &err);
    mem_fail_at(0);
    assert_int_equal(code, COHORT_ERR_MEMORY);
    assert_null(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_item_once), cmocka_unit_test(test_tiny_jobs),
        cmocka_unit_test(test_all_take_part),  cmocka_unit_test(test_stealing),
        cmocka_unit_test(test_poll),           cmocka_unit_test(test_idle_burns_nothing),
        cmocka_unit_test(test_float_mode),     cmocka_unit_test(test_binding),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
