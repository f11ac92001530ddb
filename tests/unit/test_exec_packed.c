/* Memory for packed weights: many to a block, freed in any order, and by itself where a block is
 * more than there is. */
#include "base/mem.h"
#include "exec/lower.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MB     ((size_t)1 << 20)
#define PIECES 40

static size_t piece_bytes(int i) {
    return i % 5 == 0 ? 1 : 100000 + 977 * (size_t)i;
}

static size_t all_pieces(void) {
    size_t bytes = MEM_ALIGN;
    for (int i = 0; i < PIECES; i++)
        bytes += 2 * MEM_ALIGN + piece_bytes(i) / MEM_ALIGN * MEM_ALIGN;
    return bytes;
}

/* Each is aligned, all zero, nobody else's, and stays what it is whichever others go before it. */
static void test_pieces(void **state) {
    (void)state;
    for (int step = 1; step < PIECES; step += 2) { /* the order in which they go */
        if (step % 5 == 0)
            continue;
        struct program p = {.packing = {.ahead = all_pieces()}};
        unsigned char *at[PIECES];
        long calls = mem_alloc_calls();
        for (int i = 0; i < PIECES; i++) {
            at[i] = packed_alloc(&p, piece_bytes(i));
            assert_non_null(at[i]);
            assert_int_equal((uintptr_t)at[i] % MEM_ALIGN, 0);
            for (size_t k = 0; k < piece_bytes(i); k++)
                assert_int_equal(at[i][k], 0);
            memset(at[i], i + 1, piece_bytes(i));
        }
        assert_int_equal(mem_alloc_calls() - calls, 1);
        packing_ends(&p);
        for (int n = 0; n < PIECES; n++) {
            int i = n * step % PIECES;
            assert_int_equal(mem_live_blocks(), 1);
            for (size_t k = 0; k < piece_bytes(i); k++)
                assert_int_equal(at[i][k], i + 1);
            packed_free(at[i]);
        }
        assert_int_equal(mem_live_blocks(), 0);
    }
}

/* More than was thought to come, pieces as large as blocks, and next to nothing. */
static void test_blocks(void **state) {
    (void)state;
    const struct {
        size_t ahead, bytes;
        int pieces;
        long blocks;
    } cases[] = {{3 * MB, MB, 4, 3},        /* two in a block; two that nobody foresaw */
                 {100 * MB, 5 * MB, 12, 2}, /* six in a block of 32 MB */
                 {100 * MB, 20 * MB, 3, 3}, /* each by itself */
                 {MB, MB / 8, 6, 6},        /* too little to share */
                 {0, 0, 2, 2}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct program p = {.packing = {.ahead = cases[c].ahead}};
        void *at[16];
        for (int i = 0; i < cases[c].pieces; i++) {
            at[i] = packed_alloc(&p, cases[c].bytes);
            assert_non_null(at[i]);
        }
        assert_int_equal(mem_live_blocks(), cases[c].blocks);
        packing_ends(&p);
        packing_ends(&p);
        for (int i = 0; i < cases[c].pieces; i++)
            packed_free(at[i]);
        assert_int_equal(mem_live_blocks(), 0);
    }
    packed_free(NULL);
}

/* Where memory is limited, what is needed counts, not what a block would take. */
static void test_limit(void **state) {
    (void)state;
    struct program p = {.packing = {.ahead = 30 * MB}};
    mem_limit(8 * MB);
    void *a = packed_alloc(&p, 4 * MB), *b = packed_alloc(&p, 3 * MB),
         *c = packed_alloc(&p, 2 * MB);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    mem_limit(0);
    assert_null(packed_alloc(&p, SIZE_MAX));
    assert_null(packed_alloc(&p, SIZE_MAX / 2));
    mem_fail_at(1);
    assert_null(packed_alloc(&p, 1));
    mem_fail_at(0);
    packing_ends(&p);
    packed_free(b);
    packed_free(a);
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
