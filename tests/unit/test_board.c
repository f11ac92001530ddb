/* Detecting and dividing boards: made-up machines (hwloc's synthetic descriptions, XML, a folder
 * that stands for sysfs), and this one. */
#include "board/board.h"

#include "base/file.h"
#include "base/mem.h"
#include "tests/support/leaks.h"

#include <hwloc.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SIX     "package:1 core:6 pu:1"
#define SIX_SMT "package:1 l2:6(size=524288) l1:1(size=32768) core:1 pu:2"

static struct board detect(const struct board_options *o, const struct board_machine *m) {
    struct board b;
    struct cohort_error err = {0};
    memset(&b, 0x5a, sizeof b);
    if (board_detect_machine(&b, o, m, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    return b;
}

static void assert_cores(const struct board *b, int n, const int *cores) {
    assert_int_equal(b->threads, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(b->core_of[i], cores[i]);
}

#define ASSERT_CORES(b, ...)                                                                       \
    do {                                                                                           \
        const int wanted_[] = {__VA_ARGS__};                                                       \
        assert_cores((b), (int)(sizeof wanted_ / sizeof *wanted_), wanted_);                       \
    } while (0)

static enum cohort_code detect_fails(const struct board_options *o, const struct board_machine *m,
                                     const char *says) {
    struct board b;
    struct cohort_error err = {0};
    enum cohort_code code = board_detect_machine(&b, o, m, &err);
    assert_int_equal(code, err.code);
    if (strstr(err.message, says) == NULL)
        fail_msg("said \"%s\", expected \"%s\"", err.message, says);
    return code;
}

/* A folder with cpu0 … cpuN-1, each with one number in `file`. */
static void make_sysfs(char directory[64], const char *file, const long *values, int n) {
    snprintf(directory, 64, "/tmp/cohort-board-XXXXXX");
    assert_non_null(mkdtemp(directory));
    for (int i = 0; i < n; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/cpu%d", directory, i);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/cpu%d/cpufreq", directory, i);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/cpu%d/%s", directory, i, file);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "%ld\n", values[i]);
        fclose(f);
    }
}

static void remove_sysfs(const char *directory, const char *file, int n) {
    char path[160];
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/cpu%d/%s", directory, i, file);
        unlink(path);
        snprintf(path, sizeof path, "%s/cpu%d/cpufreq", directory, i);
        rmdir(path);
        snprintf(path, sizeof path, "%s/cpu%d", directory, i);
        rmdir(path);
    }
    assert_int_equal(rmdir(directory), 0);
}

static void test_lists(void **state) {
    (void)state;
    int n[8];
    int count = -1;
    assert_int_equal(board_parse_list("0-3,6", n, 8, &count, NULL), COHORT_OK);
    assert_int_equal(count, 5);
    assert_int_equal(n[4], 6);
    assert_int_equal(board_parse_list("5,1-2,1", n, 8, &count, NULL), COHORT_OK);
    assert_int_equal(count, 3);
    assert_int_equal(n[0], 5);
    static const char *const bad[] = {"",   ",",   "1,",  "a",    "1-",  "3-1",
                                      "-1", "1;2", "1 2", "1024", "0-8", "99999999999999999999",
                                      "biG"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        count = -1;
        struct cohort_error err = {0};
        if (board_parse_list(bad[i], n, 8, &count, &err) != COHORT_ERR_USAGE)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(count, -1);
        assert_non_null(strstr(err.message, "core list"));
    }
}

static void test_one_rank_uses_all(void **state) {
    (void)state;
    struct board b = detect(&(struct board_options){0}, &(struct board_machine){.synthetic = SIX});
    ASSERT_CORES(&b, 0, 1, 2, 3, 4, 5);
    assert_int_equal(b.cores_total, 6);
    assert_false(b.shared);
    assert_false(b.oversubscribed);
    assert_true(b.name[0] != '\0');
    assert_true(b.isa[0] != '\0');
}

static void test_first_thread_of_each_core(void **state) {
    (void)state;
    struct board b = detect(&(struct board_options){.cores = "all"},
                            &(struct board_machine){.synthetic = SIX_SMT});
    ASSERT_CORES(&b, 0, 2, 4, 6, 8, 10);
    assert_int_equal(b.l1_bytes, 32768);
    assert_int_equal(b.l2_bytes, 524288);
    /* the first thread of core 1 is not ours: then its second */
    b = detect(&(struct board_options){0},
               &(struct board_machine){.synthetic = SIX_SMT, .allowed = "0-1,3,6-7"});
    ASSERT_CORES(&b, 0, 3, 6);
    assert_int_equal(b.cores_total, 3);
}

static void test_shared_caches(void **state) {
    (void)state;
    struct board b =
        detect(&(struct board_options){0},
               &(struct board_machine){
                   .synthetic = "package:1 l3:1(size=8388608) l2:2(size=1048576) core:3 pu:1"});
    assert_int_equal(b.l2_bytes, 1048576 / 3);
    assert_int_equal(b.l3_bytes, 8388608);
    assert_int_equal(b.l1_bytes, 0);
}

static void test_ranks_divide(void **state) {
    (void)state;
    struct board_machine six = {.synthetic = SIX};
    struct board b = detect(&(struct board_options){.local_rank = 0, .local_size = 2}, &six);
    ASSERT_CORES(&b, 0, 1, 2);
    assert_true(b.shared);
    assert_false(b.oversubscribed);
    b = detect(&(struct board_options){.local_rank = 1, .local_size = 2}, &six);
    ASSERT_CORES(&b, 3, 4, 5);
    for (int ranks = 1; ranks <= 6; ranks++) { /* disjoint, contiguous, nothing left */
        int next = 0;
        for (int r = 0; r < ranks; r++) {
            b = detect(&(struct board_options){.local_rank = r, .local_size = ranks}, &six);
            assert_false(b.oversubscribed);
            for (int t = 0; t < b.threads; t++)
                assert_int_equal(b.core_of[t], next++);
        }
        assert_int_equal(next, 6);
    }
}

static void test_more_ranks_than_cores(void **state) {
    (void)state;
    struct board_machine two = {.synthetic = "core:2 pu:1"};
    int used[2] = {0, 0};
    for (int r = 0; r < 5; r++) {
        struct board b = detect(&(struct board_options){.local_rank = r, .local_size = 5}, &two);
        assert_int_equal(b.threads, 1);
        assert_true(b.oversubscribed);
        used[b.core_of[0]]++;
    }
    assert_true(used[0] >= 2 && used[1] >= 2);
}

static void test_threads_asked(void **state) {
    (void)state;
    struct board_machine six = {.synthetic = SIX};
    struct board b = detect(&(struct board_options){.threads = 2}, &six);
    ASSERT_CORES(&b, 0, 1);
    assert_false(b.oversubscribed);
    b = detect(&(struct board_options){.threads = 8}, &six);
    ASSERT_CORES(&b, 0, 1, 2, 3, 4, 5, 0, 1);
    assert_true(b.oversubscribed);
    b = detect(&(struct board_options){.threads = 4, .local_rank = 1, .local_size = 2}, &six);
    ASSERT_CORES(&b, 3, 4, 5, 3);
    assert_true(b.oversubscribed);
    detect_fails(&(struct board_options){.threads = -1}, &six, "-1 threads");
    detect_fails(&(struct board_options){.threads = BOARD_CORES_MAX + 1}, &six, "1025 threads");
    detect_fails(&(struct board_options){.local_rank = 2, .local_size = 2}, &six,
                 "local rank 2 of 2");
}

static void test_cores_asked(void **state) {
    (void)state;
    struct board_machine six = {.synthetic = SIX, .allowed = "0-2,5"};
    struct board b = detect(&(struct board_options){.cores = "5,0-1"}, &six);
    ASSERT_CORES(&b, 5, 0, 1);
    assert_int_equal(b.cores_total, 4);
    b = detect(&(struct board_options){.cores = "0-2", .local_rank = 1, .local_size = 2}, &six);
    ASSERT_CORES(&b, 1, 2);
    assert_int_equal(
        detect_fails(&(struct board_options){.cores = "0-3"}, &six, "core 3 does not exist"),
        COHORT_ERR_USAGE);
    detect_fails(&(struct board_options){.cores = "7"}, &six, "usable are 0-2,5");
    assert_int_equal(
        detect_fails(&(struct board_options){.cores = "bigg"}, &six, "core list \"bigg\""),
        COHORT_ERR_USAGE);
}

/* RK3399: cores 0-3 slow, 4-5 fast. */
static void check_rk3399(const struct board_machine *m) {
    struct board b = detect(&(struct board_options){0}, m);
    ASSERT_CORES(&b, 4, 5, 0, 1, 2, 3);
    b = detect(&(struct board_options){.threads = 2}, m);
    ASSERT_CORES(&b, 4, 5);
    b = detect(&(struct board_options){.cores = "big"}, m);
    ASSERT_CORES(&b, 4, 5);
    assert_int_equal(b.cores_total, 6);
    b = detect(&(struct board_options){.cores = "big", .local_rank = 1, .local_size = 2}, m);
    ASSERT_CORES(&b, 5);
    b = detect(&(struct board_options){.local_rank = 0, .local_size = 2}, m);
    ASSERT_CORES(&b, 0, 1, 2);
    b = detect(&(struct board_options){.local_rank = 1, .local_size = 2}, m);
    ASSERT_CORES(&b, 4, 5, 3);
    b = detect(&(struct board_options){.cores = "3,4"}, m);
    ASSERT_CORES(&b, 3, 4);
}

static void test_rk3399_capacity(void **state) {
    (void)state;
    char directory[64];
    make_sysfs(directory, "cpu_capacity", (const long[]){485, 485, 485, 485, 1024, 1024}, 6);
    check_rk3399(&(struct board_machine){.synthetic = SIX, .sysfs = directory});
    remove_sysfs(directory, "cpu_capacity", 6);
}

static void test_rk3399_frequency(void **state) {
    (void)state;
    char directory[64];
    make_sysfs(directory, "cpufreq/cpuinfo_max_freq",
               (const long[]){1416000, 1416000, 1416000, 1416000, 1800000, 1800000}, 6);
    check_rk3399(&(struct board_machine){.synthetic = SIX, .sysfs = directory});
    remove_sysfs(directory, "cpufreq/cpuinfo_max_freq", 6);
}

/* hwloc's kinds, from a recorded XML. */
static void test_rk3399_kinds(void **state) {
    (void)state;
    hwloc_topology_t t;
    char *xml = NULL;
    int length = 0;
    assert_int_equal(hwloc_topology_init(&t), 0);
    assert_int_equal(hwloc_topology_set_synthetic(t, SIX), 0);
    assert_int_equal(hwloc_topology_load(t), 0);
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(set, 4, 5);
    assert_int_equal(hwloc_cpukinds_register(t, set, 10, 0, NULL, 0), 0);
    hwloc_bitmap_zero(set);
    hwloc_bitmap_set_range(set, 0, 3);
    assert_int_equal(hwloc_cpukinds_register(t, set, 2, 0, NULL, 0), 0);
    hwloc_bitmap_free(set);
    assert_int_equal(hwloc_topology_export_xmlbuffer(t, &xml, &length, 0), 0);
    check_rk3399(&(struct board_machine){.xml = xml});
    hwloc_free_xmlbuffer(t, xml);
    hwloc_topology_destroy(t);
}

/* RK3588: two pairs of big cores that differ by 2 % are one cluster here. */
static void test_nearly_equal_is_big(void **state) {
    (void)state;
    char directory[64];
    make_sysfs(directory, "cpu_capacity",
               (const long[]){414, 414, 414, 414, 1002, 1002, 1024, 1024}, 8);
    struct board b =
        detect(&(struct board_options){.cores = "big"},
               &(struct board_machine){.synthetic = "core:8 pu:1", .sysfs = directory});
    ASSERT_CORES(&b, 6, 7, 4, 5);
    remove_sysfs(directory, "cpu_capacity", 8);
}

#define ASSERT_ENGINE(e, NAME, CORES, THREADS)                                                     \
    do {                                                                                           \
        assert_string_equal((e).name, NAME);                                                       \
        assert_string_equal((e).cores, CORES);                                                     \
        assert_int_equal((e).threads, THREADS);                                                    \
    } while (0)

/* Of three kinds of cores, of one, and of this machine. */
static void test_engines(void **state) {
    (void)state;
    char directory[64];
    struct board_engine e[BOARD_ENGINES_MAX];
    struct cohort_error err;
    int count;
    make_sysfs(directory, "cpu_capacity", (const long[]){414, 414, 700, 414, 1002, 1002, 1024, 700},
               8);
    struct board_machine m = {.synthetic = "core:8 pu:1", .sysfs = directory};
    assert_int_equal(board_engines(e, &count, &m, &err), COHORT_OK);
    assert_int_equal(count, 5);
    ASSERT_ENGINE(e[0], "serial", "6", 1);
    ASSERT_ENGINE(e[1], "parallel", "all", 8);
    ASSERT_ENGINE(e[2], "cluster 0", "4-6", 3);
    ASSERT_ENGINE(e[3], "cluster 1", "2,7", 2);
    ASSERT_ENGINE(e[4], "cluster 2", "0-1,3", 3);
    for (int i = 0; i < count; i++) { /* as a user would ask for it */
        struct board b = detect(&(struct board_options){.cores = e[i].cores}, &m);
        assert_int_equal(b.threads, i == 0 ? 1 : e[i].threads);
    }
    remove_sysfs(directory, "cpu_capacity", 8);
    m = (struct board_machine){.synthetic = SIX};
    assert_int_equal(board_engines(e, &count, &m, &err), COHORT_OK);
    assert_int_equal(count, 2);
    ASSERT_ENGINE(e[0], "serial", "0", 1);
    ASSERT_ENGINE(e[1], "parallel", "all", 6);
    m = (struct board_machine){.synthetic = "nonsense"};
    assert_int_equal(board_engines(e, &count, &m, &err), COHORT_ERR_FORMAT);
    assert_int_equal(board_engines(e, &count, NULL, &err), COHORT_OK);
    assert_true(count >= 1);
}

static void assert_engine_has(const struct board *b, const struct board_engine *e, int count,
                              const int *cores) {
    struct board of;
    struct cohort_error err;
    assert_int_equal(board_of_engine(&of, b, e, &err), COHORT_OK);
    assert_int_equal(of.threads, count);
    for (int t = 0; t < count; t++)
        assert_int_equal(of.core_of[t], cores[t]);
}

/* A rank's share of a board with two clusters; one core; cores that a user listed, slow one first.
 */
static void test_engines_of_a_share(void **state) {
    (void)state;
    char directory[64];
    struct board_engine e[BOARD_ENGINES_MAX];
    make_sysfs(directory, "cpu_capacity", (const long[]){400, 400, 1000, 1000, 400, 400}, 6);
    struct board_machine m = {.synthetic = "core:6 pu:1", .sysfs = directory};
    struct board b = detect(&(struct board_options){.local_rank = 0, .local_size = 2}, &m);
    assert_int_equal(board_engines_of(e, &b), 4);
    ASSERT_ENGINE(e[0], "serial", "2", 1);
    ASSERT_ENGINE(e[1], "parallel", "0-2", 3);
    ASSERT_ENGINE(e[2], "cluster 0", "2", 1);
    ASSERT_ENGINE(e[3], "cluster 1", "0-1", 2);
    assert_engine_has(&b, &e[1], 3, (const int[]){2, 0, 1});
    assert_engine_has(&b, &e[3], 2, (const int[]){0, 1});
    b = detect(&(struct board_options){.local_rank = 5, .local_size = 6}, &m);
    assert_int_equal(board_engines_of(e, &b), 1);
    ASSERT_ENGINE(e[0], "serial", "5", 1);
    b = detect(&(struct board_options){.cores = "1,3"}, &m);
    assert_int_equal(board_engines_of(e, &b), 4);
    ASSERT_ENGINE(e[0], "serial", "1", 1);
    ASSERT_ENGINE(e[2], "cluster 0", "3", 1);
    b = detect(&(struct board_options){.cores = "0", .threads = 3}, &m); /* one core thrice */
    assert_int_equal(board_engines_of(e, &b), 2);
    ASSERT_ENGINE(e[1], "parallel", "0", 3);
    assert_engine_has(&b, &e[1], 3, (const int[]){0, 0, 0});
    remove_sysfs(directory, "cpu_capacity", 6);
}

static void test_big_of_equal_cores(void **state) {
    (void)state;
    struct board b =
        detect(&(struct board_options){.cores = "big"}, &(struct board_machine){.synthetic = SIX});
    ASSERT_CORES(&b, 0, 1, 2, 3, 4, 5);
}

static void test_cgroup(void **state) {
    (void)state;
    struct board_machine m = {.synthetic = SIX, .allowed = "2-5"};
    struct board b = detect(&(struct board_options){0}, &m);
    ASSERT_CORES(&b, 2, 3, 4, 5);
    b = detect(&(struct board_options){.local_rank = 1, .local_size = 2}, &m);
    ASSERT_CORES(&b, 4, 5);
    detect_fails(&(struct board_options){0},
                 &(struct board_machine){.synthetic = SIX, .allowed = "7"},
                 "no CPU of \"7\" exists");
}

static void test_bad_descriptions(void **state) {
    (void)state;
    struct board_options o = {0};
    assert_int_equal(
        detect_fails(&o, &(struct board_machine){.synthetic = "core:"}, "topology: core:"),
        COHORT_ERR_FORMAT);
    assert_int_equal(detect_fails(&o, &(struct board_machine){.xml = "<topology"}, "topology"),
                     COHORT_ERR_FORMAT);
}

static void test_memory(void **state) {
    (void)state;
    struct board b;
    struct cohort_error err = {0};
    mem_fail_at(1);
    enum cohort_code code = board_detect(&b, &(struct board_options){0}, &err);
    mem_fail_at(0);
    assert_int_equal(code, COHORT_ERR_MEMORY);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void put(const char *root, const char *path, const char *text) {
    char at[200];
    struct cohort_error err = {0};
    snprintf(at, sizeof at, "%s/%s", root, path);
    *strrchr(at, '/') = '\0';
    assert_int_equal(file_make_directories(at, &err), COHORT_OK);
    snprintf(at, sizeof at, "%s/%s", root, path);
    FILE *f = fopen(at, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void assert_memory(const char *root, uint64_t bytes, uint64_t available) {
    struct board_memory m;
    board_memory(&m, 4000000000, root);
    if (m.bytes != bytes || m.available_bytes != available)
        fail_msg("%llu bytes, %llu available, instead of %llu and %llu",
                 (unsigned long long)m.bytes, (unsigned long long)m.available_bytes,
                 (unsigned long long)bytes, (unsigned long long)available);
}

/* What the system says of memory, and control groups of either version, where a process may be in
 * a group that has no limit below one that has. */
static void test_memory_limits(void **state) {
    (void)state;
    char root[] = "/tmp/cohort-memory-XXXXXX", remove[64];
    assert_non_null(mkdtemp(root));
    assert_memory(root, 4000000000, 0);
    put(root, "proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable:    3000000 kB\n");
    assert_memory(root, 4000000000, 3072000000);

    put(root, "proc/self/cgroup", "3:cpu,cpumemory:/x\n4:blkio,memory:/farm/b1\n0::/\n");
    put(root, "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000\n");
    put(root, "sys/fs/cgroup/memory/farm/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "sys/fs/cgroup/memory/farm/b1/memory.limit_in_bytes", "200000000\n");
    assert_memory(root, 200000000, 3072000000);
    put(root, "sys/fs/cgroup/memory/farm/b1/memory.usage_in_bytes", "90000000\n");
    assert_memory(root, 200000000, 110000000);
    put(root, "sys/fs/cgroup/memory/farm/b1/memory.stat",
        "inactive_file 7\ntotal_inactive_file 50000000\ntotal_active_file 10000000\n");
    assert_memory(root, 200000000, 170000000);
    put(root, "sys/fs/cgroup/memory/farm/b1/memory.usage_in_bytes", "300000000\n");
    assert_memory(root, 200000000, 1);

    /* the second version: the group above is the smaller one; the one above that is gone */
    put(root, "proc/self/cgroup", "0::/user/job/step\n");
    put(root, "sys/fs/cgroup/user/job/step/memory.max", "500000000\n");
    put(root, "sys/fs/cgroup/user/job/step/memory.current", "490000000\n");
    put(root, "sys/fs/cgroup/user/job/step/memory.stat", "anon 1\nactive_file 480000000\n");
    put(root, "sys/fs/cgroup/user/job/memory.max", "300000000\n");
    put(root, "sys/fs/cgroup/user/job/memory.current", "20000000\n");
    put(root, "sys/fs/cgroup/user/memory.max", "max\n");
    assert_memory(root, 300000000, 280000000);
    put(root, "sys/fs/cgroup/user/job/step/memory.stat", "anon 1\n");
    assert_memory(root, 300000000, 10000000);

    /* in a container the group is the mounted root, whatever the path says */
    put(root, "proc/self/cgroup", "0::/host/path/of/it\n");
    assert_memory(root, 4000000000, 3072000000);
    put(root, "sys/fs/cgroup/memory.max", "64000000\n");
    put(root, "sys/fs/cgroup/memory.current", "4000000\n");
    assert_memory(root, 64000000, 60000000);
    put(root, "sys/fs/cgroup/memory.max", "max\n");
    assert_memory(root, 4000000000, 3072000000);
    snprintf(remove, sizeof remove, "rm -r %s", root);
    assert_int_equal(system(remove), 0);
}

/* This machine, from a thread that is bound to one core as mpirun binds its ranks. */
static void test_this_machine(void **state) {
    (void)state;
    cpu_set_t before;
    cpu_set_t one;
    cpu_set_t after;
    struct board b;
    struct cohort_error err = {0};
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int core = 0;
    while (!CPU_ISSET((unsigned)core, &before))
        core++;
    CPU_ZERO(&one);
    CPU_SET((unsigned)core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);

    assert_int_equal(board_detect(&b, &(struct board_options){0}, &err), COHORT_OK);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&one, &after)); /* bind was false */
    assert_true(b.cores_total >= 1 && b.threads == b.cores_total);
    assert_true(b.memory_bytes > 1u << 20);
    assert_true(b.available_bytes > 0 && b.available_bytes <= b.memory_bytes);
    int found = b.cores_total;

    assert_int_equal(board_detect(&b, &(struct board_options){.bind = true}, &err), COHORT_OK);
    assert_int_equal(b.cores_total, found);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_int_equal(CPU_COUNT(&after), b.threads);
    for (int t = 0; t < b.threads; t++)
        assert_true(CPU_ISSET((unsigned)b.core_of[t], &after));
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_one_rank_uses_all),
        cmocka_unit_test(test_first_thread_of_each_core),
        cmocka_unit_test(test_shared_caches),
        cmocka_unit_test(test_ranks_divide),
        cmocka_unit_test(test_more_ranks_than_cores),
        cmocka_unit_test(test_threads_asked),
        cmocka_unit_test(test_cores_asked),
        cmocka_unit_test(test_rk3399_capacity),
        cmocka_unit_test(test_rk3399_frequency),
        cmocka_unit_test(test_rk3399_kinds),
        cmocka_unit_test(test_nearly_equal_is_big),
        cmocka_unit_test(test_engines),
        cmocka_unit_test(test_engines_of_a_share),
        cmocka_unit_test(test_big_of_equal_cores),
        cmocka_unit_test(test_cgroup),
        cmocka_unit_test(test_bad_descriptions),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_limits),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
