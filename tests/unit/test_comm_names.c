/* Names of boards in messages. */
#include "comm/comm_internal.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 6

static struct comm_board boards[MOST];

static void name_them(int size, const char *const *hosts, const int *nodes) {
    memset(boards, 0, sizeof boards);
    for (int r = 0; r < size; r++) {
        snprintf(boards[r].host, sizeof boards[r].host, "%s", hosts[r]);
        boards[r].node = nodes[r];
    }
    comm_name_boards(boards, size);
}

static void test_different(void **state) {
    (void)state;
    name_them(3, (const char *const[]){"pc", "pi1", "pi2"}, (const int[]){0, 1, 2});
    assert_string_equal(boards[0].host, "pc");
    assert_string_equal(boards[2].host, "pi2");
    assert_string_equal(boards[2].text, "pi2 (rank 2)");
}

/* Ranks on one board share its name; that is no reason to number it. */
static void test_one_board(void **state) {
    (void)state;
    name_them(3, (const char *const[]){"pc", "pc", "pc"}, (const int[]){0, 0, 0});
    assert_string_equal(boards[2].host, "pc");
    assert_string_equal(boards[1].text, "pc (rank 1)");
}

/* Three boards fresh from the same image, two ranks on the second. */
static void test_same_names(void **state) {
    (void)state;
    name_them(6, (const char *const[]){"pc", "pi", "pi", "pi", "pi", "pi2"},
              (const int[]){0, 1, 2, 2, 4, 5});
    assert_string_equal(boards[0].host, "pc");
    assert_string_equal(boards[1].host, "pi#1");
    assert_string_equal(boards[2].host, "pi#2");
    assert_string_equal(boards[3].host, "pi#2");
    assert_string_equal(boards[4].host, "pi#3");
    assert_string_equal(boards[4].text, "pi#3 (rank 4)");
    assert_string_equal(boards[5].host, "pi2");
}

static void test_long_names(void **state) {
    (void)state;
    char name[BOARD_NAME_BYTES];
    char wanted[COMM_TEXT_BYTES];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    name_them(2, (const char *const[]){name, name}, (const int[]){0, 1});
    snprintf(wanted, sizeof wanted, "%s#2 (rank 1)", name);
    assert_string_equal(boards[1].text, wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_different),
        cmocka_unit_test(test_one_board),
        cmocka_unit_test(test_same_names),
        cmocka_unit_test(test_long_names),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed != 0 || mem_live_blocks() != 0;
}
