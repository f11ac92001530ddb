#include "tests/support/leaks.h"

#include "base/mem.h"

int no_leaks(void **state) {
    (void)state;
    return mem_live_blocks() == 0 ? 0 : -1;
}
