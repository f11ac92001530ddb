/* Cutting an operator's rows and channel blocks into items of the pool: every part once, bands
 * alike, pairs of blocks together, pieces no smaller than wished, and small work left to the
 * caller. */
#include "tests/support/graphtest.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/lower.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROWS_MAX   70
#define BLOCKS_MAX 40

struct seen {
    _Atomic int cell[ROWS_MAX][BLOCKS_MAX];
    _Atomic int calls, odd; /* odd: began within a pair of blocks */
};

static void part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    struct seen *s = context;
    assert_true(thread >= 0 && y0 < y1 && block0 < block1);
    for (int64_t y = y0; y < y1; y++)
        for (int b = block0; b < block1; b++)
            atomic_fetch_add(&s->cell[y][b], 1);
    atomic_fetch_add(&s->calls, 1);
    if (block0 % 2 != 0)
        atomic_fetch_add(&s->odd, 1);
}

static int64_t least_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Runs the cut and returns how many items there were. */
static int cut(struct program *p, int64_t y0, int64_t y1, int blocks, bool channels,
               struct seen *s) {
    memset(s, 0, sizeof *s);
    (channels ? run_parallel_channels : run_parallel)(p, y0, y1, blocks, part, s);
    for (int64_t y = 0; y < ROWS_MAX; y++)
        for (int b = 0; b < BLOCKS_MAX; b++)
            assert_int_equal(atomic_load(&s->cell[y][b]), y >= y0 && y < y1 && b < blocks);
    assert_int_equal(atomic_load(&s->odd), 0);
    return atomic_load(&s->calls);
}

static void with_threads(int threads) {
    struct cohort_error err;
    struct board board;
    struct board_options o = {.threads = threads, .local_size = 1};
    static struct seen seen;
    struct program p = {.row_ns = 1e9};
    assert_int_equal(board_detect(&board, &o, &err), COHORT_OK);
    assert_int_equal(pool_create(&p.pool, &board, false, &err), COHORT_OK);
    for (int64_t rows = 0; rows <= 40; rows += rows < 10 ? 1 : 6)
        for (int blocks = 1; blocks <= 33; blocks += blocks < 5 ? 1 : 7)
            for (int channels = 0; channels < 2; channels++) {
                int items = cut(&p, 3, 3 + rows, blocks, channels != 0, &seen);
                int64_t most = rows * ((blocks + 1) / 2);
                if (rows == 0)
                    assert_int_equal(items, 0);
                else if (threads == 1)
                    assert_int_equal(items, 1);
                else
                    assert_true(items >= least_of(most, threads) && items <= 8 * threads);
            }
    /* 28 rows on two threads: as many for each */
    if (threads == 2)
        assert_int_equal(cut(&p, 0, 28, 4, false, &seen), 12);
    p.row_ns = 100; /* 2.8 us in all */
    assert_int_equal(cut(&p, 0, 28, 4, false, &seen), 1);
    p.row_ns = 400; /* worth waking up, but not for more than an item a thread */
    int few = cut(&p, 0, 28, 4, false, &seen);
    assert_true(few >= threads && few <= 2 * threads);
    p.row_ns = 1e6; /* 28 ms, in which messages are looked after every 2 */
    p.options.test_ns = 2e6;
    assert_true(cut(&p, 0, 28, 4, false, &seen) >= 14);
    p.options.test_ns = 0;
    pool_set_share(p.pool, 0.5); /* a dilated board sleeps between items that are worth it */
    pool_dilate_begin(p.pool);
    assert_true(cut(&p, 0, 28, 4, true, &seen) >= (threads > 2 ? threads : 7));
    p.row_ns = 1;
    assert_true(cut(&p, 0, 28, 4, true, &seen) <= 3 * threads);
    pool_dilate_end(p.pool);
    pool_destroy(&p.pool);
}

static void from_a_block_on(void **state) {
    (void)state;
    struct cohort_error err;
    struct board board;
    struct board_options o = {.threads = 2, .local_size = 1};
    static struct seen seen;
    struct program p = {.row_ns = 1e9};
    assert_int_equal(board_detect(&board, &o, &err), COHORT_OK);
    assert_int_equal(pool_create(&p.pool, &board, false, &err), COHORT_OK);
    for (int small = 0; small < 2; small++, p.row_ns = 1)
        for (int blocks = 1; blocks < 9; blocks++) {
            const struct cut how = {.block0 = 6, .blocks = blocks, .channels_first = blocks % 2};
            memset(&seen, 0, sizeof seen);
            run_cut(&p, 2, 9, &how, part, &seen);
            for (int64_t y = 0; y < ROWS_MAX; y++)
                for (int b = 0; b < BLOCKS_MAX; b++)
                    assert_int_equal(atomic_load(&seen.cell[y][b]),
                                     y >= 2 && y < 9 && b >= 6 && b < 6 + blocks);
            assert_int_equal(atomic_load(&seen.odd), 0);
        }
    pool_destroy(&p.pool);
}

/* ---- bands ----------------------------------------------------------------------------------- */

/* Cells of a band, and what is wrong with its pieces. */
static int64_t check_band(const struct cut *c, int64_t first, int64_t end) {
    int64_t cells = 0, before = INT32_MAX;
    int64_t rows = c->channels_first ? 1 : c->rows_least, pairs = (c->blocks + 1) / 2;
    int64_t wide = c->rows > pairs ? c->rows : pairs;
    for (int64_t i = first; i < end; i++) {
        struct cut_part t = cut_part(c, i);
        int64_t size = (t.y1 - t.y0) * ((t.block1 - t.block0 + 1) / 2);
        cells += size;
        if (i < first + c->pieces && c->rows / c->bands >= c->pieces * rows && size > 0) {
            assert_true(c->channels_first || t.y1 - t.y0 >= rows / 2); /* bands are rounded */
            assert_true(size <= before + wide); /* the largest first, rounded */
            before = size;
        }
    }
    return cells;
}

static void bands_are_alike(void **state) {
    (void)state;
    for (int bands = 1; bands <= 5; bands++)
        for (int64_t rows = 1; rows < 60; rows += rows < 16 ? 1 : 5)
            for (int blocks = 1; blocks < 24; blocks += blocks < 6 ? 1 : 5)
                for (int k = 0; k < 12; k++) {
                    struct cut c = {.rows = rows,
                                    .blocks = blocks,
                                    .bands = bands,
                                    .pieces = 1 + k % 4,
                                    .channels_first = k % 2 != 0,
                                    .rows_least = k / 4 * 3,
                                    .blocks_least = k / 4 * 2};
                    int64_t items = cut_items(&c), pairs = (blocks + 1) / 2, inner, outer;
                    inner = c.channels_first ? rows : pairs;
                    outer = c.channels_first ? pairs : rows;
                    assert_int_equal(items % bands, 0);
                    for (int t = 0; t < bands; t++) {
                        double share = (double)(rows * pairs) / bands;
                        double got =
                            (double)check_band(&c, items / bands * t, items / bands * (t + 1));
                        /* within a cell, a row of many, or a row that cannot be divided */
                        double off = outer / bands >= 16 || inner == 1 ? (double)inner : 1;
                        assert_true(got > share - off - 1e-9 && got < share + off + 1e-9);
                    }
                }
}

/* The same share of the rows in one operator after the other, whatever their channels. */
static void bands_stay(void **state) {
    (void)state;
    for (int64_t rows = 7; rows <= 112; rows *= 2)
        for (int blocks = 1; blocks <= 9; blocks += 4) {
            struct cut c = {.rows = rows, .blocks = blocks, .bands = 2, .pieces = 4};
            int64_t items = cut_items(&c);
            for (int64_t i = 0; i < items; i++) {
                struct cut_part t = cut_part(&c, i);
                if (t.y0 < t.y1 && i < items / 2)
                    assert_true(t.y1 <= (rows + 1) / 2);
                else if (t.y0 < t.y1)
                    assert_true(t.y0 >= rows / 2);
            }
        }
}

static void every_part_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++)
        with_threads(threads);
}

/* The estimate grows with the work, and every operator of a network has one. */
static void estimates(void **state) {
    (void)state;
    struct gt t;
    struct cohort_error err;
    struct program *p = NULL;
    struct board board;
    struct board_options o = {.threads = 1, .local_size = 1};
    struct pool *pool = NULL;
    gt_begin(&t, 13);
    int x = gt_input(&t, "x", DIMS(1, 16, 20, 20));
    x = gt_node(&t, "Conv", "", 2, x, gt_random(&t, DIMS(16, 16, 1, 1)));
    x = gt_node(&t, "Conv", "pads=1,1,1,1", 2, x, gt_random(&t, DIMS(16, 16, 3, 3)));
    gt_output(&t, gt_node(&t, "MaxPool", "kernel_shape=2,2", 1, x));
    assert_int_equal(graph_finish(t.g, &(struct pass_options){0}, &err), COHORT_OK);
    assert_int_equal(board_detect(&board, &o, &err), COHORT_OK);
    assert_int_equal(pool_create(&pool, &board, false, &err), COHORT_OK);
    assert_int_equal(exec_create(&p, t.g, pool, NULL, &err), COHORT_OK);
    int *slots = mem_zalloc((size_t)t.g->value_count, sizeof *slots);
    assert_int_equal(exec_add_graph(p, 0, slots, &err), COHORT_OK);
    assert_int_equal(exec_prepare(p, &err), COHORT_OK);
    for (int i = 0; i < p->op_count; i++)
        assert_true(p->ops[i].bound->row_ns > 0 && p->ops[i].bound->row_ns < 1e6);
    assert_true(p->ops[1].bound->row_ns > 2 * p->ops[0].bound->row_ns);
    exec_destroy(&p);
    mem_free(slots);
    pool_destroy(&pool);
    gt_end(&t);
}

static int nothing_left(void **state) {
    (void)state;
    return mem_live_blocks() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_a_block_on), cmocka_unit_test(every_part_once),
        cmocka_unit_test(bands_are_alike), cmocka_unit_test(bands_stay),
        cmocka_unit_test(estimates),
    };
    return cmocka_run_group_tests_name("exec_parallel", tests, NULL, nothing_left);
}
