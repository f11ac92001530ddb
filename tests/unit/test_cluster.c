/* The companion of a hostfile: what it may say, and that mistakes are named. */
#include "cli/cluster.h"

#include "base/error.h"
#include "base/mem.h"
#include "tests/support/leaks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "{\"format\": \"cohort-cluster\", \"version\": 1, "

static void test_reads_boards(void **state) {
    (void)state;
    static const char text[] = HEAD
        "\"network\": \"10.0.0.0/24\", \"program\": \"/x/cohort\", \"boards\": ["
        "{\"name\": \"pi1\", \"address\": \"10.0.0.11\", \"cpu_share\": 0.5, "
        "\"memory_limit\": \"512M\", \"cores\": 4},"
        "{\"name\": \"pi2.lab.net\", \"network\": \"10.1.0.0/24\", \"memory_limit\": 1000, "
        "\"cores\": \"all\"},"
        "{\"name\": \"pc\", \"cpu_share\": null, \"memory_limit\": \"1.5g\", \"cores\": null}]}";
    struct cluster c;
    struct cohort_error err = {0};
    assert_int_equal(cluster_parse(&c, text, strlen(text), "lab.json", &err), COHORT_OK);
    assert_int_equal(c.count, 3);
    assert_string_equal(c.network, "10.0.0.0/24");
    assert_string_equal(c.program, "/x/cohort");
    const struct cluster_board *b = cluster_find(&c, "pi1");
    assert_non_null(b);
    assert_string_equal(b->address, "10.0.0.11");
    assert_true(b->cpu_share == 0.5);
    assert_int_equal(b->memory_limit_bytes, 512 << 20);
    assert_int_equal(b->threads, 4);
    assert_null(b->cores);
    b = cluster_find(&c, "pi2");
    assert_non_null(b);
    assert_string_equal(b->network, "10.1.0.0/24");
    assert_true(b->cpu_share == 1);
    assert_int_equal(b->memory_limit_bytes, 1000);
    assert_int_equal(b->threads, 0);
    assert_string_equal(b->cores, "all");
    assert_int_equal(c.boards[2].memory_limit_bytes, (uint64_t)3 << 29);
    assert_ptr_equal(cluster_find(&c, "pi1.lab.net"), &c.boards[0]);
    assert_ptr_equal(cluster_find(&c, "pi2.lab.net"), b);
    assert_null(cluster_find(&c, "pi2.other.net"));
    assert_null(cluster_find(&c, "pi"));
    cluster_release(&c);
}

/* "localhost" is whatever machine has no entry of its own. */
static void test_localhost(void **state) {
    (void)state;
    static const char text[] = HEAD "\"boards\": [{\"name\": \"localhost\"}, {\"name\": \"pc\"}]}";
    struct cluster c;
    struct cohort_error err = {0};
    assert_int_equal(cluster_parse(&c, text, strlen(text), "lab.json", &err), COHORT_OK);
    assert_ptr_equal(cluster_find(&c, "pc"), &c.boards[1]);
    assert_ptr_equal(cluster_find(&c, "anything"), &c.boards[0]);
    cluster_release(&c);
}

/* Refused, with this in the message. */
static void refuse(const char *text, const char *says) {
    struct cluster c;
    struct cohort_error err = {0};
    assert_int_equal(cluster_parse(&c, text, strlen(text), "lab.json", &err), COHORT_ERR_FORMAT);
    if (strstr(err.message, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
    assert_int_equal(c.count, 0);
}

static void test_refuses(void **state) {
    (void)state;
    refuse("{\"format\": \"cohort-plan\", \"version\": 1}", "cohort-plan");
    refuse("{\"format\": \"cohort-cluster\", \"version\": 2}", "version 2");
    refuse("[]", "object");
    refuse("{\"version\": 1}", "format");
    refuse(HEAD "\"boards\": []}", "0 boards");
    refuse(HEAD "\"board\": []}", "boards"); /* the closest key */
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"cpu_shares\": 1}]}", "cpu_share");
    refuse(HEAD "\"boards\": [{\"address\": \"10.0.0.1\"}]}", "name");
    refuse(HEAD "\"boards\": [{\"name\": \"\"}]}", "empty");
    refuse(HEAD "\"boards\": [{\"name\": \"a\"}, {\"name\": \"a\"}]}", "twice");
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"cpu_share\": 0}]}", "boards[0].cpu_share");
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"cpu_share\": 1.5}]}", "cpu_share");
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"cores\": 0}]}", "cores");
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"memory_limit\": \"512X\"}]}", "512X");
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"memory_limit\": \"-1M\"}]}", "-1M");
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"memory_limit\": \"1MB\"}]}", "1MB");
    refuse(HEAD "\"boards\": [{\"name\": \"a\", \"memory_limit\": 0}]}", "memory_limit");
}

static void test_memory(void **state) {
    (void)state;
    static const char text[] = HEAD
        "\"network\": \"n\", \"boards\": [{\"name\": \"a\", \"address\": \"b\", \"cores\": 2}]}";
    struct cluster c;
    struct cohort_error err = {0};
    int failures = 0;
    for (int at = 1; at < 100; at++) {
        mem_fail_at(at);
        enum cohort_code code = cluster_parse(&c, text, strlen(text), "lab.json", &err);
        mem_fail_at(0);
        if (code == COHORT_OK)
            break;
        assert_int_equal(code, COHORT_ERR_MEMORY);
        failures++;
    }
    cluster_release(&c);
    assert_in_range(failures, 4, 98);
}

/* What a companion's memory_limit comes to: allocations fail beyond it, and the message says why.
 */
static void test_memory_limit(void **state) {
    (void)state;
    struct cohort_error err = {0};
    size_t before = mem_live_bytes();
    mem_limit(before + 1000);
    void *a = mem_alloc(600), *b = mem_alloc(401);
    assert_non_null(a);
    assert_null(b);
    assert_null(mem_realloc(a, 900)); /* both at once */
    error_memory(&err, 401, "a block");
    assert_non_null(strstr(err.message, "401 bytes for a block"));
    assert_non_null(strstr(err.message, "memory_limit"));
    b = mem_alloc(400);
    assert_non_null(b);
    assert_null(mem_alloc(0xffffffff));
    mem_limit(1); /* less than is in use already */
    assert_null(mem_alloc(1));
    mem_limit(0);
    mem_free(b);
    b = mem_alloc(2000);
    assert_non_null(b);
    mem_free(a);
    mem_free(b);
    assert_int_equal(mem_live_bytes(), before);
    error_memory(&err, 401, "a block");
    assert_string_equal(err.message, "out of memory: 401 bytes for a block");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_boards), cmocka_unit_test(test_localhost),
        cmocka_unit_test(test_refuses),      cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_limit),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
