/* Profiles as files: a golden one byte for byte, every mistake's message, and what they mean. */
#include "base/file.h"
#include "base/mem.h"
#include "planner/profile.h"
#include "tests/support/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/data/profiles/engines.json"
#define FIRST  "tests/data/profiles/three.json" /* of version 1 */

static char *golden;
static size_t golden_bytes;

static int read_golden(void **state) {
    (void)state;
    struct cohort_error err = {0};
    return file_read(GOLDEN, 1 << 20, &golden, &golden_bytes, &err) == COHORT_OK ? 0 : -1;
}

static int free_golden(void **state) {
    (void)state;
    mem_free(golden);
    test_directory_remove();
    return mem_live_blocks() == 0 ? 0 : -1;
}

static void written_is_read(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct profile *p = NULL, *again = NULL;
    char *text = NULL;
    if (profile_load(&p, GOLDEN, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(profile_print(p, &text, &err), COHORT_OK);
    assert_string_equal(text, golden);
    const char *path = test_path("profile.json");
    assert_int_equal(profile_save(p, path, &err), COHORT_OK);
    assert_int_equal(profile_load(&again, path, &err), COHORT_OK);
    mem_free(text);
    assert_int_equal(profile_print(again, &text, &err), COHORT_OK);
    assert_string_equal(text, golden);
    mem_free(text);
    profile_destroy(&p);
    profile_destroy(&again);
    assert_int_equal(profile_load(&p, test_path("none.json"), &err), COHORT_ERR_IO);
    assert_null(p);
}

/* Version 1 is read, and written where version 2 has nothing to say. */
static void version_1_stays(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct profile *p = NULL, *second = NULL;
    char *text = NULL, *again = NULL;
    size_t bytes;
    assert_int_equal(file_read(FIRST, 1 << 20, &text, &bytes, &err), COHORT_OK);
    assert_int_equal(profile_load(&p, FIRST, &err), COHORT_OK);
    assert_false(profile_has_engines(p));
    assert_int_equal(profile_print(p, &again, &err), COHORT_OK);
    assert_string_equal(again, text);
    mem_free(again);
    assert_int_equal(profile_load(&second, GOLDEN, &err), COHORT_OK);
    assert_true(profile_has_engines(second));
    profile_engines_destroy(&second->types[0]);
    assert_int_equal(profile_print(second, &again, &err), COHORT_OK);
    assert_string_equal(again, text);
    mem_free(again);
    mem_free(text);
    profile_destroy(&p);
    profile_destroy(&second);
}

static void near(double a, double b) {
    if (!(a > b - 1e-9 && a < b + 1e-9))
        fail_msg("%.12g instead of %.12g", a, b);
}

static void contents_are_right(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct profile *p = NULL;
    assert_int_equal(profile_load(&p, GOLDEN, &err), COHORT_OK);
    assert_int_equal(p->board_count, 3);
    assert_int_equal(p->type_count, 2);
    assert_string_equal(p->version, "0.1.0");
    assert_string_equal(p->boards[1].remark, "82 C");
    assert_null(p->boards[0].remark);
    assert_true(p->boards[0].memory_bytes == 4000000000u);
    assert_int_equal(p->groups->count, 2);
    assert_int_equal(p->groups->longest, 4);
    assert_int_equal(p->groups->list[1].first, 2);
    near(p->groups->shares[1], 0.35);
    near(p->groups->list[0].ms, 12.5);
    assert_int_equal(p->types[0].engine_count, 2);
    assert_int_equal(p->types[1].engine_count, 0);
    assert_string_equal(p->types[0].engines[0].name, "serial");
    assert_string_equal(p->types[0].engines[1].cores, "0-3");
    assert_int_equal(p->types[0].engines[1].threads, 4);
    near(p->types[0].engines[0].inference_ms, 120.5);
    near(p->types[0].engines[1].ms[2], 0.75);
    near(profile_node_ms(p, 0, 0, 28), 4);
    near(profile_node_ms(p, 0, 0, 126), 17);
    near(profile_node_ms(p, 1, 0, 28), 4.2);
    near(profile_node_ms(p, 0, 1, 28), 0);
    near(profile_node_ms(p, 2, 0, 224), 90);
    near(profile_node_ms(p, 0, 0, 0), 0);
    near(profile_chained_ms(p, 1, 0, 28), 22.05);
    near(profile_chained_ms(p, 1, 2, 28), 22.05); /* it has none of its own */
    near(profile_chained_ms(p, 2, 0, 224), 90);
    near(profile_link_ms(p, 0, 1, 1024), 0.25);
    near(profile_link_ms(p, 0, 1, 25088), 2.25);
    near(profile_link_ms(p, 1, 1, 25088), 0);
    profile_destroy(&p);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static const struct {
    const char *from, *to, *message;
} bad[] = {
    {"cohort-profile", "cohort-plan", "format is 'cohort-plan'"},
    {"\"version\": 2", "\"version\": 3", "version 3, but this program reads versions up to 2"},
    {"\"version\": 2", "\"version\": 1", "types[0].engines: version 1 has no engines"},
    {"[118.25, 0, 2.25]", "[118.25, 0]", "types[0].engines[0].ms: must have 3 numbers, not 2"},
    {"[118.25, 0, 2.25]", "[118.25, 0, -1]", "types[0].engines[0].ms[2]"},
    {"\"name\": \"serial\",", "", "types[0].engines[0]: 'name' is missing"},
    {"\"threads\": 1,", "\"threads\": 0,", "types[0].engines[0].threads"},
    {"\"inference_ms\": 30.75", "\"inference_ms\": -1", "types[0].engines[1].inference_ms"},
    {"\"cores\": \"0-3\"", "\"core\": 3", "types[0].engines[1]"},
    {"\"engines\": [", "\"engines\": [], \"engine\": [", "engine"},
    {"\"network\": \"net\",", "", "network"},
    {"\"cohort\":", "\"cohorts\":", "cohorts"},
    {"00112233", "0011223x", "32 hexadecimal digits"},
    {"\"nodes\": 3", "\"nodes\": -3", "nodes"},
    {"\"nodes\": 3", "\"nodes\": 4", "types[0].curve_of: must have 4 numbers, not 3"},
    {"\"threads\": 4", "\"threads\": 0", "types[0].threads"},
    {"\"threads\": 4", "\"threads\": 1.5", "types[0].threads"},
    {"\"cpu_share\": 0.5", "\"cpu_share\": 1.5", "types[1].cpu_share"},
    {"\"clock_mhz\": 1500", "\"clock_mhz\": -1", "types[0].clock_mhz"},
    {"\"encode_ms_per_mb\": 0.25,", "", "types[0]: 'encode_ms_per_mb' is missing"},
    {"[[7, 1.5], [28, 4], [224, 30]]", "[]", "types[0].curves[0]: must have 1 to"},
    {"[[7, 1.5], [28", "[[28, 1.5], [28", "types[0].curves[0][1][0]: amounts must rise"},
    {"[[7, 1.5]", "[[0, 1.5]", "types[0].curves[0][0][0]: amounts must rise"},
    {"[[7, 1.5]", "[[7, -1.5]", "types[0].curves[0][0][1]"},
    {"[[7, 1.5]", "[[7]", "types[0].curves[0][0]: must be [amount, ms], not 1"},
    {"[[7, 1.5]", "[7", "types[0].curves[0][0]"},
    {"\"curve_of\": [0, -1, 1]", "\"curve_of\": [0, -1, 2]", "types[0].curve_of[2]"},
    {"\"curve_of\": [0, -1, 1]", "\"curve_of\": [0, -2, 1]", "types[0].curve_of[1]"},
    {"[4096, 0, 1200000]", "[4096, 0]", "types[0].weight_bytes: must have 3 numbers, not 2"},
    {"[4096, 0, 1200000]", "[4096, 0, -1]", "types[0].weight_bytes[2]"},
    {"\"workspace_bytes\": 65536", "\"workspace_bytes\": -1", "types[0].workspace_bytes"},
    {"[1, -1, -1]", "[1, -1]", "types[0].chained_of: must have 3 numbers, not 2"},
    {"[1, -1, -1]", "[2, -1, -1]", "types[0].chained_of[0]"},
    {"\"host\": \"pi3\", \"type\": 1", "\"host\": \"pi3\", \"type\": 2", "boards[2].type"},
    {"\"scale\": 1.05", "\"scale\": 0", "boards[1].scale"},
    {"\"memory_bytes\": 0", "\"memory_bytes\": -1", "boards[2].memory_bytes"},
    {"\"remark\": \"82 C\"", "\"remark\": 82", "boards[1].remark"},
    {"\"remark\": \"82 C\"", "\"remarks\": null", "boards[1]"},
    {"\"gather_factor\": 1,", "", "gather_factor"},
    {"\"scatter_factor\": 1.02", "\"scatter_factor\": 0", "links.scatter_factor"},
    {"\"scatter_factor\": 1.02", "\"scatter_factor\": 1.02, \"wake_ms\": -1", "links.wake_ms"},
    {"[1, 0, -1]]", "[1, 0, -1], [0, 0, 0]]", "links.link_of: must have a row for each of 3"},
    {"[1, 0, -1]]", "[1, 0]]", "links.link_of[2]: must have 3 numbers, not 2"},
    {"[1, 0, -1]]", "[1, 0, 1]]", "a board has no link to itself: number 2 must be -1"},
    {"[1, 0, -1]]", "[1, -1, -1]]", "number 1 must be a curve's"},
    {"[1, 0, -1]]", "[1, 2, -1]]", "links.link_of[2][1]"},
    {"[1024, 1]", "[1e999, 1]", "t.json"},
    {"[0, 2, 12.5]", "[0, 0, 12.5]", "groups.ms[0][1]"},
    {"[2, 3, 1]", "[2, 4, 1]", "groups.ms[1][1]"},
    {"[0, 2, 12.5]", "[0, 2, -1]", "groups.ms[0][2]"},
    {"[0, 2, 12.5]", "[0, 2]", "groups.ms[0]: must be [first, last, ms], not 2"},
    {"[[0, 2, 12.5]", "[7", "groups.ms[0]: must be an array"},
    {"\"ms\": [[0", "\"mss\": [[0", "mss"},
    {"\"longest\": 4,", "", "groups: 'longest' is missing"},
    {"\"seconds\": 1.5", "\"seconds\": -1", "groups.seconds"},
    {"[0.4, 0.35, 0.25]", "[0.4, 0.6]", "groups.shares: must have 3 numbers, not 2"},
    {"[0.4, 0.35, 0.25]", "[0.4, 0.35, 1.25]", "groups.shares[2]"},
    {"\"groups\": {", "\"groups\": 7, \"groupz\": {", "group"},
};

static void mistakes_are_told(void **state) {
    (void)state;
    char text[8192];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cohort_error err = {0};
        struct profile *p = NULL;
        const char *at = strstr(golden, bad[i].from);
        if (at == NULL)
            fail_msg("'%s' is not in " GOLDEN, bad[i].from);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - golden), golden, bad[i].to,
                 at + strlen(bad[i].from));
        enum cohort_code code = profile_parse(&p, text, strlen(text), "t.json", &err);
        if (code != COHORT_ERR_FORMAT || strstr(err.message, bad[i].message) == NULL ||
            strncmp(err.message, "t.json", 6) != 0 || strchr(err.message, '\n') != NULL)
            fail_msg("'%s' for '%s': said '%s' (%s)", bad[i].to, bad[i].from, err.message,
                     cohort_code_name(code));
        assert_null(p);
    }
}

static void prefixes_are_refused(void **state) {
    (void)state;
    struct cohort_error err;
    struct profile *p = NULL;
    for (size_t n = 0; n + 2 < golden_bytes; n++)
        assert_int_equal(profile_parse(&p, golden, n, "t.json", &err), COHORT_ERR_FORMAT);
}

/* Every allocation may fail, once. */
static void memory_may_be_short(void **state) {
    (void)state;
    long before = mem_live_blocks();
    for (long n = 1; n < 10000; n++) {
        struct cohort_error err = {0};
        struct profile *p = NULL;
        mem_fail_at(n);
        enum cohort_code code = profile_parse(&p, golden, golden_bytes, "t.json", &err);
        mem_fail_at(0);
        profile_destroy(&p);
        assert_int_equal(mem_live_blocks(), before);
        if (code == COHORT_OK)
            return;
        assert_int_equal(code, COHORT_ERR_MEMORY);
    }
    fail_msg("it never succeeded");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_is_read),     cmocka_unit_test(contents_are_right),
        cmocka_unit_test(mistakes_are_told),   cmocka_unit_test(prefixes_are_refused),
        cmocka_unit_test(memory_may_be_short), cmocka_unit_test(version_1_stays),
    };
    return cmocka_run_group_tests(tests, read_golden, free_golden);
}
