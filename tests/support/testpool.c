#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct pool *test_pool;

int test_pool_start(void **state) {
    (void)state;
    struct cohort_error err;
    struct board board;
    struct board_options o = {.threads = 2, .local_size = 1};
    if (board_detect(&board, &o, &err) != COHORT_OK ||
        pool_create(&test_pool, &board, false, &err) != COHORT_OK)
        return -1;
    return 0;
}

int test_pool_stop(void **state) {
    (void)state;
    pool_destroy(&test_pool);
    return mem_live_blocks() == 0 ? 0 : -1;
}

struct pool *test_pool_of(int threads) {
    struct cohort_error err;
    static struct board board; /* all of it zero but that */
    struct pool *pool = NULL;
    memset(&board, 0, sizeof board);
    board.threads = threads;
    test_must(pool_create(&pool, &board, false, &err), &err);
    return pool;
}

void test_must(enum cohort_code code, const struct cohort_error *err) {
    if (code != COHORT_OK)
        fail_msg("%s", err->message);
}
