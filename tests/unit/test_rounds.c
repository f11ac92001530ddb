/* Tournaments: everybody meets everybody, once. */
#include "base/rounds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MOST 12

static void everybody_meets_everybody_once(void **state) {
    (void)state;
    for (int n = 0; n <= MOST; n++) {
        int met[MOST][MOST] = {{0}};
        for (int round = 0; round < rounds_count(n); round++) {
            int idle = 0;
            for (int one = 0; one < n; one++) {
                int other = rounds_partner(one, n, round);
                assert_in_range(other, 0, n - 1);
                assert_int_equal(rounds_partner(other, n, round), one);
                met[one][other] += other != one;
                idle += other == one;
            }
            assert_int_equal(idle, n % 2);
        }
        for (int a = 0; a < n; a++)
            for (int b = 0; b < n; b++)
                assert_int_equal(met[a][b], a != b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(everybody_meets_everybody_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
