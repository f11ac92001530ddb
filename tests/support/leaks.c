#include "tests/support/leaks.h"

#include "base/mem.h"
#include "tests/support/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

int no_leaks(void **state) {
    (void)state;
    return mem_live_blocks() == 0 ? 0 : -1;
}

void nothing_is_left(void **state) {
    (void)state;
    test_directory_remove();
    assert_int_equal(mem_live_blocks(), 0);
}
