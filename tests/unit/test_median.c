/* The median of a few numbers. */
#include "base/median.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_middle(void **state) {
    (void)state;
    double five[] = {10, 900, 11, 12, 9}, two[] = {4, 2}, one[] = {7};
    assert_true(median(five, 5) == 11);
    assert_true(median(two, 2) == 3);
    assert_true(median(one, 1) == 7);
    assert_true(median(one, 0) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_middle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
