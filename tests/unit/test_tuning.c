/* Tuning files: what is written can be read, changes stay within a board's part, and whatever is
 * wrong refuses the whole file with the place and the reason. */
#include "base/file.h"
#include "base/mem.h"
#include "exec/tuning.h"
#include "tests/support/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const struct tuning_key board_a = {"Cortex-A72", "generic neon64", "0123456789abcdef", 4};

static struct tuning_choice choice_of(const char *signature, const char *kernel, double us) {
    struct tuning_choice c = {.count = 2, .chosen = 1};
    assert_true(signature_parse(&c.signature, signature));
    snprintf(c.times[0].kernel, sizeof c.times[0].kernel, "slow");
    c.times[0].us = us * 2;
    snprintf(c.times[1].kernel, sizeof c.times[1].kernel, "%s", kernel);
    c.times[1].us = us;
    return c;
}

static void put(struct tuning *t, const struct tuning_key *key, const char *signature,
                const char *kernel, double us) {
    struct cohort_error err = {0};
    struct tuning_choice c = choice_of(signature, kernel, us);
    if (tuning_put(t, key, &c, &err) != COHORT_OK)
        fail_msg("%s", err.message);
}

#define CONV "conv 64x56x56 to 64x56x56 kernel 3x3 stride 1x1 pad 1,1 dilation 1x1 groups 1 maps bb"

static void written_is_read(void **state) {
    (void)state;
    struct tuning t = {0}, again = {0};
    struct cohort_error err = {0};
    struct tuning_key other = board_a;
    char *text = NULL, *second = NULL;
    other.threads = 1;
    put(&t, &board_a, CONV, "conv_neon64_direct", 123.456);
    put(&t, &board_a, "gemm 1x512 to 1000", "gemm_neon64", 10);
    put(&t, &other, CONV, "conv_generic_direct", 0);
    assert_int_equal(tuning_print(&t, &text, &err), COHORT_OK);
    if (tuning_parse(&again, text, strlen(text), "t.json", &err) != COHORT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(again.count, 2);
    const struct tuning_board *b = tuning_find(&again, &board_a);
    assert_non_null(b);
    assert_int_equal(b->count, 2);
    assert_true(signature_equal(&b->choices[0].signature, &t.boards[0].choices[0].signature));
    assert_string_equal(b->choices[0].times[b->choices[0].chosen].kernel, "conv_neon64_direct");
    assert_true(b->choices[0].times[b->choices[0].chosen].us == 123.456);
    assert_int_equal(tuning_print(&again, &second, &err), COHORT_OK);
    assert_string_equal(text, second);
    mem_free(text);
    mem_free(second);
    tuning_release(&t);
    tuning_release(&again);
}

static void files_are_saved_and_loaded(void **state) {
    (void)state;
    struct tuning t = {0}, again = {0};
    struct cohort_error err = {0};
    const char *path = test_path("tuning.json");
    put(&t, &board_a, CONV, "x", 1);
    assert_int_equal(tuning_save(&t, path, &err), COHORT_OK);
    assert_int_equal(tuning_load(&again, path, &err), COHORT_OK);
    assert_int_equal(again.count, 1);
    tuning_release(&again);
    assert_int_equal(tuning_load(&again, test_path("none.json"), &err), COHORT_ERR_IO);
    tuning_release(&t);
    test_directory_remove();
}

static void parts_are_changed(void **state) {
    (void)state;
    struct tuning t = {0};
    struct tuning_key newer = board_a, fewer = board_a;
    snprintf(newer.kernels, sizeof newer.kernels, "fedcba9876543210");
    fewer.threads = 2;
    put(&t, &fewer, CONV, "a", 1);
    put(&t, &board_a, CONV, "a", 1);
    put(&t, &board_a, "gemm 1x512 to 1000", "b", 1);
    put(&t, &board_a, CONV, "c", 3); /* instead of the first */
    assert_int_equal(t.count, 2);
    const struct tuning_board *b = tuning_find(&t, &board_a);
    assert_int_equal(b->count, 2);
    assert_string_equal(b->choices[0].times[1].kernel, "c");
    assert_null(tuning_find(&t, &newer));
    put(&t, &newer, CONV, "d", 1); /* the kernels changed: what was measured before goes */
    assert_int_equal(t.count, 2);
    assert_null(tuning_find(&t, &board_a));
    assert_non_null(tuning_find(&t, &fewer));
    assert_int_equal(tuning_find(&t, &newer)->count, 1);
    tuning_release(&t);
}

/* ---- what is refused ------------------------------------------------------------------------- */

#define HEAD  "{\"format\": \"cohort-tuning\", \"version\": 1, \"boards\": ["
#define BOARD "{\"cpu\": \"c\", \"isa\": \"i\", \"kernels\": \"k\", \"threads\": 1, \"choices\": ["
#define GOOD  "{\"signature\": \"gemm 1x2 to 3\", \"kernel\": \"g\", \"us\": {\"g\": 1}}"
#define TAIL  "]}]}"

static const struct {
    const char *text, *message;
} bad[] = {
    {"", "t.json"},
    {"[]", "must be an object"},
    {"{}", "format"},
    {"{\"format\": \"cohort-plan\"}", "format"},
    {"{\"format\": \"cohort-tuning\", \"version\": 2, \"boards\": []}", "version"},
    {"{\"format\": \"cohort-tuning\", \"version\": 1}", "boards"},
    {"{\"format\": \"cohort-tuning\", \"version\": 1, \"boards\": {}}", "boards: must be an array"},
    {"{\"format\": \"cohort-tuning\", \"version\": 1, \"boards\": [], \"bords\": 1}", "bords"},
    {HEAD "1]}", "boards[0]: must be an object"},
    {HEAD "{}]}", "boards[0]"},
    {HEAD "{\"cpu\": \"\", \"isa\": \"i\", \"kernels\": \"k\", \"threads\": 1, \"choices\": []}]}",
     "boards[0].cpu: must have 1 to 127 characters, not 0"},
    {HEAD "{\"cpu\": 1, \"isa\": \"i\", \"kernels\": \"k\", \"threads\": 1, \"choices\": []}]}",
     "boards[0].cpu"},
    {HEAD "{\"cpu\": \"c\", \"isa\": \"i\", \"kernels\": \"0123456789012345678901234567890123\", "
          "\"threads\": 1, \"choices\": []}]}",
     "boards[0].kernels: must have 1 to 31 characters, not 34"},
    {HEAD "{\"cpu\": \"c\", \"isa\": \"i\", \"kernels\": \"k\", \"threads\": 0, \"choices\": []}]}",
     "boards[0].threads"},
    {HEAD "{\"cpu\": \"c\", \"isa\": \"i\", \"kernels\": \"k\", \"threads\": 1}]}", "choices"},
    {HEAD BOARD TAIL ", " BOARD TAIL, "t.json:1:"},
    {HEAD BOARD "]}, " BOARD "]}]}", "boards[1]: this board stands here a second time"},
    {HEAD BOARD "7" TAIL, "boards[0].choices[0]: must be an object"},
    {HEAD BOARD "{}" TAIL, "signature"},
    {HEAD BOARD "{\"signature\": \"gemm 1x2\", \"kernel\": \"g\", \"us\": {\"g\": 1}}" TAIL,
     "boards[0].choices[0].signature: no signature"},
    {HEAD BOARD "{\"signature\": \"gemm\\n1x2\", \"kernel\": \"g\", \"us\": {\"g\": 1}}" TAIL,
     "no signature, such as \"gemm 1x512 to 1000\": 'gemm?1x2'"},
    {HEAD BOARD GOOD ", " GOOD TAIL, "boards[0].choices[1].signature: stands here a second time"},
    {HEAD BOARD "{\"signature\": \"gemm 1x2 to 3\", \"kernel\": \"h\", \"us\": {\"g\": 1}}" TAIL,
     "boards[0].choices[0].kernel: 'h' has no time in us"},
    {HEAD BOARD "{\"signature\": \"gemm 1x2 to 3\", \"kernel\": \"g\", \"us\": {}}" TAIL,
     "'g' has no time in us"},
    {HEAD BOARD "{\"signature\": \"gemm 1x2 to 3\", \"kernel\": \"g\", \"us\": {\"g\": -1}}" TAIL,
     "boards[0].choices[0].us.g"},
    {HEAD BOARD "{\"signature\": \"gemm 1x2 to 3\", \"kernel\": \"g\", \"us\": {\"\": 1}}" TAIL,
     "expected at most 24 kernels"},
    {HEAD BOARD "{\"signature\": \"gemm 1x2 to 3\", \"kernel\": \"g\", \"us\": {\"g\": 1}, "
                "\"speed\": 1}" TAIL,
     "speed"},
};

static void mistakes_are_told(void **state) {
    (void)state;
    struct tuning t = {0};
    struct cohort_error err = {0};
    assert_int_equal(
        tuning_parse(&t, HEAD BOARD GOOD TAIL, strlen(HEAD BOARD GOOD TAIL), "t.json", &err),
        COHORT_OK);
    tuning_release(&t);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(&err, 0, sizeof err);
        assert_int_equal(tuning_parse(&t, bad[i].text, strlen(bad[i].text), "t.json", &err),
                         COHORT_ERR_FORMAT);
        if (strstr(err.message, bad[i].message) == NULL || strchr(err.message, '\n') != NULL ||
            strncmp(err.message, "t.json", 6) != 0)
            fail_msg("%s: said '%s' instead of '%s'", bad[i].text, err.message, bad[i].message);
        assert_int_equal(t.count, 0);
        assert_null(t.boards);
    }
}

/* Every prefix of a document is refused, and leaves nothing. */
static void prefixes_are_refused(void **state) {
    (void)state;
    static const char text[] = HEAD BOARD GOOD TAIL;
    struct tuning t = {0};
    struct cohort_error err;
    for (size_t n = 0; n + 1 < sizeof text; n++)
        assert_int_equal(tuning_parse(&t, text, n, "t.json", &err), COHORT_ERR_FORMAT);
    assert_int_equal(mem_live_blocks(), 0);
}

static void too_many_kernels_are_refused(void **state) {
    (void)state;
    char text[4096];
    struct tuning t = {0};
    struct cohort_error err = {0};
    for (int count = TUNING_CANDIDATES_MAX; count <= TUNING_CANDIDATES_MAX + 1; count++) {
        int at = snprintf(text, sizeof text, "%s%s", HEAD BOARD,
                          "{\"signature\": \"gemm 1x2 to 3\", \"kernel\": \"k0\", \"us\": {");
        for (int i = 0; i < count; i++)
            at += snprintf(text + at, sizeof text - (size_t)at, "%s\"k%d\": 1", i ? ", " : "", i);
        at += snprintf(text + at, sizeof text - (size_t)at, "}}" TAIL);
        assert_int_equal(tuning_parse(&t, text, (size_t)at, "t.json", &err),
                         count == TUNING_CANDIDATES_MAX ? COHORT_OK : COHORT_ERR_FORMAT);
        tuning_release(&t);
    }
}

/* However early memory runs out, it is an error, and nothing is left. */
static void memory_may_run_out(void **state) {
    (void)state;
    static const char text[] = HEAD BOARD GOOD TAIL;
    enum cohort_code code = COHORT_ERR_MEMORY;
    for (long n = 1; code == COHORT_ERR_MEMORY; n++) {
        struct tuning t = {0};
        struct cohort_error err = {0};
        char *again = NULL;
        mem_fail_at(n);
        code = tuning_parse(&t, text, sizeof text - 1, "t.json", &err);
        if (code == COHORT_OK)
            code = tuning_print(&t, &again, &err);
        mem_fail_at(0);
        tuning_release(&t);
        mem_free(again);
        assert_int_equal(mem_live_blocks(), 0);
        assert_true(n < 1000);
    }
    assert_int_equal(code, COHORT_OK);
}

static void key_of_this_board(void **state) {
    (void)state;
    struct tuning_key key = {0};
    tuning_key_here(&key, NULL);
    assert_true(strncmp(key.isa, "generic", 7) == 0);
    assert_null(strstr(key.isa, "blas"));
    assert_int_equal(strlen(key.kernels), 16);
    tuning_key_here(&key, "generic"); /* what is measured of one set holds for that one */
    assert_string_equal(key.isa, "generic");
    tuning_key_here(&key, "conv_generic_direct");
    assert_string_equal(key.isa, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_is_read),      cmocka_unit_test(files_are_saved_and_loaded),
        cmocka_unit_test(parts_are_changed),    cmocka_unit_test(mistakes_are_told),
        cmocka_unit_test(prefixes_are_refused), cmocka_unit_test(too_many_kernels_are_refused),
        cmocka_unit_test(memory_may_run_out),   cmocka_unit_test(key_of_this_board),
    };
    return cmocka_run_group_tests_name("tuning", tests, NULL, NULL);
}
