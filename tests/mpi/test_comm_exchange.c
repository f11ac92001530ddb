/* Exchange of rows: cells hold mt_byte(global row, byte), ranks get the rows that they lack from
 * whoever has them, and all of them are checked, with guards around the memory.
 * np: 1 2 3 4 5 6 */
#include "tests/support/commtest.h"
#include "tests/support/mpitest.h"

#include "base/mem.h"
#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANKS 16
#define MAX_MOVES (2 * MAX_RANKS * MAX_RANKS)
#define GUARD     64

static unsigned seed = 3; /* the same on every rank, and advanced alike */

static int draw(int n) {
    seed = seed * 1103515245u + 12345u;
    return (int)(seed >> 16) % n;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* ---- who has what, and who wants what -------------------------------------------------------- */

struct layout {
    int64_t height;
    int64_t split[MAX_RANKS + 1];             /* rank r has rows [split[r], split[r+1]) */
    int64_t begin[MAX_RANKS], end[MAX_RANKS]; /* rank r wants these */
    struct comm_move moves[MAX_MOVES];
    int count;
};

static void add_move(struct layout *l, int from, int to, int64_t begin, int64_t end) {
    if (begin < end && from != to)
        l->moves[l->count++] = (struct comm_move){from, to, begin, end};
}

static void find_moves(struct layout *l) {
    l->count = 0;
    for (int to = 0; to < mt_size; to++)
        for (int from = 0; from < mt_size; from++)
            add_move(l, from, to, most(l->begin[to], l->split[from]),
                     least(l->end[to], l->split[from + 1]));
}

static int compare(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Owners and wishes by two different splits, with halos from nothing to several neighbours. */
static void random_layout(struct layout *l, int64_t height) {
    int64_t wish[MAX_RANKS + 1];
    l->height = height;
    for (int r = 0; r <= mt_size; r++) {
        l->split[r] = r == 0 ? 0 : r == mt_size ? height : draw((int)height + 1);
        wish[r] = r == 0 ? 0 : r == mt_size ? height : draw((int)height + 1);
    }
    qsort(l->split, (size_t)mt_size + 1, sizeof *l->split, compare);
    qsort(wish, (size_t)mt_size + 1, sizeof *wish, compare);
    int64_t halo = draw(4) == 0 ? height : draw(5);
    for (int r = 0; r < mt_size; r++) {
        bool empty = wish[r] == wish[r + 1];
        l->begin[r] = empty ? 0 : most(0, wish[r] - halo);
        l->end[r] = empty ? 0 : least(height, wish[r + 1] + halo);
    }
    find_moves(l);
}

/* ---- one exchange ---------------------------------------------------------------------------- */

/* Memory for all rows: most of it must stay as it is. */
static unsigned char *new_map(int64_t height, size_t row_bytes) {
    size_t bytes = (size_t)height * row_bytes + 2 * GUARD;
    unsigned char *raw = malloc(bytes);
    if (raw == NULL)
        abort();
    memset(raw, UNTOUCHED, bytes);
    return raw + GUARD;
}

/* Bytes [begin, end) of own rows. */
static void fill_part(unsigned char *map, const struct layout *l, size_t row_bytes, int round,
                      size_t begin, size_t end) {
    for (int64_t y = l->split[mt_rank]; y < l->split[mt_rank + 1]; y++)
        for (size_t i = begin; i < end; i++)
            map[(size_t)y * row_bytes + i] = mt_byte(y, i, round);
}

static void fill(unsigned char *map, const struct layout *l, size_t row_bytes, int round) {
    fill_part(map, l, row_bytes, round, 0, row_bytes);
}

/* Own rows where they are sent from, wanted rows where they are received; the rest untouched. */
static bool is_right(const unsigned char *map, const struct layout *l, size_t row_bytes, int round,
                     bool has_own, bool has_wanted) {
    for (int64_t y = 0; y < l->height; y++) {
        bool own = y >= l->split[mt_rank] && y < l->split[mt_rank + 1];
        bool wanted = y >= l->begin[mt_rank] && y < l->end[mt_rank];
        bool there = (own && has_own) || (wanted && !own && has_wanted);
        for (size_t i = 0; i < row_bytes; i++)
            if (map[(size_t)y * row_bytes + i] != (there ? mt_byte(y, i, round) : UNTOUCHED))
                return false;
    }
    for (int i = 1; i <= GUARD; i++)
        if (map[-i] != UNTOUCHED || map[(size_t)l->height * row_bytes + (size_t)i - 1] != UNTOUCHED)
            return false;
    return true;
}

static size_t wire_bytes(const struct layout *l, size_t row_bytes) {
    size_t rows = 0;
    for (int i = 0; i < l->count; i++)
        if (l->moves[i].from == mt_rank || l->moves[i].to == mt_rank)
            rows += (size_t)(l->moves[i].end - l->moves[i].begin);
    return rows * row_bytes;
}

#define PARTS_MAX 4

/* In place, as the executor does it, or from one memory into another, as converted values go; in
 * parts, the last of which may be empty, and each of which is filled in just before it may leave.
 */
static bool exchange_once(struct comm *c, const struct layout *l, size_t row_bytes, bool in_place,
                          int parts) {
    size_t begin[PARTS_MAX + 1];
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    unsigned char *from = new_map(l->height, row_bytes);
    unsigned char *to = in_place ? from : new_map(l->height, row_bytes);
    struct comm_rows send = {from, 0}, receive = {to, 0};
    for (int k = 0; k <= parts; k++)
        begin[k] =
            k < parts ? (row_bytes + (size_t)parts - 1) / (size_t)parts * (size_t)k : row_bytes;
    for (int k = 0; k < parts; k++)
        begin[k] = begin[k] < row_bytes ? begin[k] : row_bytes;
    bool good = (parts == 1 ? comm_exchange_create(&t, c, row_bytes, l->moves, l->count, &send,
                                                   &receive, &err)
                            : comm_exchange_create_parts(&t, c, begin, parts, l->moves, l->count,
                                                         &send, &receive, &err)) == COHORT_OK;
    good = good && comm_transfer_bytes(t) == wire_bytes(l, row_bytes);
    long allocations = mem_alloc_calls();
    for (int round = 0; round < 3 && good; round++) {
        if (round > 0) {
            good = comm_exchange_expect(t, &err) == COHORT_OK;
            for (int i = 0; i < 20 * mt_rank && good; i++)
                good = comm_poll(c, &err) == COHORT_OK;
        }
        for (int k = 0; k < parts && good; k++) {
            fill_part(from, l, row_bytes, round, begin[k], begin[k + 1]);
            good = (k == 0 ? comm_transfer_begin : comm_exchange_more)(t, &err) == COHORT_OK;
            for (int i = 0; i < 20 && good; i++)
                good = comm_poll(c, &err) == COHORT_OK;
        }
        for (int i = 0; i < 50 && round == 2 && good; i++)
            good = comm_poll(c, &err) == COHORT_OK;
        good = good && comm_transfer_end(t, &err) == COHORT_OK &&
               is_right(from, l, row_bytes, round, true, in_place) &&
               is_right(to, l, row_bytes, round, in_place, true);
    }
    good = good && mem_alloc_calls() == allocations;
    if (!good && err.code != COHORT_OK)
        mt_note("%s", err.message);
    comm_transfer_destroy(&t);
    free(from - GUARD);
    if (!in_place)
        free(to - GUARD);
    return good;
}

static void test_random(struct comm *c) {
    static const size_t sizes[] = {1, 48, 5000, 49152, 70000};
    static struct layout l;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        bool good = true;
        int64_t moves = 0;
        for (int round = 0; round < 12; round++) {
            random_layout(&l, sizes[s] > 10000 ? 1 + draw(14) : 1 + draw(60));
            moves += l.count;
            good = exchange_once(c, &l, sizes[s], round % 2, 1 + round % PARTS_MAX) && good;
        }
        mt_ok(good && (moves > 0 || mt_size == 1), "12 random layouts, %zu bytes a row", sizes[s]);
    }
}

static void test_odd(struct comm *c) {
    static struct layout l;
    l = (struct layout){.height = 6};
    mt_ok(exchange_once(c, &l, 100, true, 1), "nothing to exchange");
    for (int r = 0; r <= mt_size; r++) /* everybody gets everything */
        l.split[r] = 6 * r / mt_size;
    for (int r = 0; r < mt_size; r++)
        l.end[r] = 6;
    find_moves(&l);
    mt_ok(exchange_once(c, &l, 20000, true, 3), "all rows to all");
    for (int owner = 0; owner < mt_size; owner++) { /* one has it, one wants it */
        int to = (owner + 1) % mt_size;
        l = (struct layout){.height = 6};
        for (int r = owner + 1; r <= mt_size; r++)
            l.split[r] = 6;
        l.end[to] = 6;
        find_moves(&l);
        mt_ok(exchange_once(c, &l, 30000, owner % 2, 1), "rank %d to rank %d", owner, to);
    }
}

/* Several under way at once, ended in another order than they began. */
static void test_several(struct comm *c) {
    enum { MANY = 5 };
    static struct layout l[MANY];
    struct cohort_error err = {0};
    struct comm_transfer *t[MANY] = {NULL};
    unsigned char *map[MANY];
    bool good = true;
    for (int i = 0; i < MANY; i++) {
        random_layout(&l[i], 20);
        map[i] = new_map(20, 9000);
        struct comm_rows rows = {map[i], 0};
        good = good && comm_exchange_create(&t[i], c, 9000, l[i].moves, l[i].count, &rows, &rows,
                                            &err) == COHORT_OK;
        fill(map[i], &l[i], 9000, i);
    }
    for (int i = 0; i < MANY; i++)
        good = good && comm_transfer_begin(t[i], &err) == COHORT_OK;
    for (int i = MANY; i-- > 0;)
        good = good && comm_transfer_end(t[i], &err) == COHORT_OK &&
               is_right(map[i], &l[i], 9000, i, true, true);
    for (int i = 0; i < MANY; i++) {
        comm_transfer_destroy(&t[i]);
        free(map[i] - GUARD);
    }
    mt_ok(good, "five exchanges under way at once");
}

static void create_fails(struct comm *c, const struct comm_move *moves, int count, size_t row_bytes,
                         void *memory, const char *says) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct comm_rows rows = {memory, 2};
    bool good =
        comm_exchange_create(&t, c, row_bytes, moves, count, &rows, &rows, &err) != COHORT_OK &&
        t == NULL && strstr(err.message, says) != NULL;
    if (!good)
        mt_note("\"%s\", expected \"%s\"", err.message, says);
    mt_ok(good, "refused: %s", says);
}

static void test_wrong_arguments(struct comm *c) {
    static unsigned char memory[64];
    int last = mt_size - 1;
    create_fails(c, NULL, 0, 0, memory, "a row of 0 bytes");
    create_fails(c, &(struct comm_move){0, 0, 2, 3}, 1, 4, memory, "a move from rank 0 to rank 0");
    create_fails(c, &(struct comm_move){0, mt_size, 2, 3}, 1, 4, memory, "a move from rank 0 to");
    if (mt_size == 1)
        return;
    create_fails(c, &(struct comm_move){0, last, 3, 3}, 1, 4, memory, "of rows [3, 3)");
    create_fails(c, &(struct comm_move){0, last, 1, 3}, 1, 4, memory, "without memory for rank");
    create_fails(c, &(struct comm_move){0, last, 2, 3}, 1, 4, mt_rank == 0 ? NULL : memory,
                 "without memory for rank 0's rows");
    const struct comm_move twice[] = {{0, last, 2, 5}, {0, last, 4, 6}};
    create_fails(c, twice, 2, 4, memory, "row 4");
    struct cohort_error err = {0};
    mt_ok(comm_barrier(c, &err) == COHORT_OK, "refusals leave the communicator usable");
}

/* A rank that never sends: the others say for whom they wait, and all end alike. */
static void test_timeout(void) {
    struct comm *c = mt_comm(1);
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    static unsigned char memory[64];
    struct comm_rows rows = {memory, 0};
    struct comm_move moves[MAX_RANKS];
    int last = mt_size - 1;
    for (int r = 0; r < last; r++)
        moves[r] = (struct comm_move){last, r, r, r + 1};
    bool good = comm_exchange_create(&t, c, 4, moves, last, &rows, &rows, &err) == COHORT_OK;
    if (good && mt_rank != last) {
        good = comm_transfer_begin(t, &err) == COHORT_OK &&
               comm_transfer_end(t, &err) == COHORT_ERR_TIMEOUT;
    } else if (good) {
        double until = mt_now() + 20;
        while (comm_poll(c, &err) == COHORT_OK && mt_now() < until)
            ;
        good = err.code == COHORT_ERR_TIMEOUT;
    }
    good = good && strstr(err.message, "exchange of rows") != NULL;
    if (!good)
        mt_note("%s", err.message);
    mt_ok(good, "a rank that never sends is a timeout on all");
    comm_transfer_destroy(&t);
    comm_destroy(&c);
}

/* Every rank sends two exchanges to the next one, over a link that is said to be slow: the first
 * has arrived whole before anything of the second does, its sender does not wait for that, and all
 * of it takes as long as the link needs. */
static void test_paced(struct comm *c) {
    enum { ROW = 20000, ROWS = 12, TAKES_MS = 120 };
    const int next = (mt_rank + 1) % mt_size;
    const int before = (mt_rank + mt_size - 1) % mt_size;
    struct comm_transfer *t[2] = {NULL};
    struct cohort_error err = {0};
    struct comm_move moves[MAX_RANKS];
    unsigned char *out[2], *in[2];
    bool good = true;
    for (int r = 0; r < mt_size; r++)
        moves[r] = (struct comm_move){r, (r + 1) % mt_size, 0, ROWS};
    comm_pace(c, next, 2.0 * ROW * ROWS / (TAKES_MS * 1e-3));
    for (int k = 0; k < 2; k++) {
        out[k] = mem_alloc((size_t)ROW * ROWS);
        in[k] = mem_zalloc((size_t)ROW * ROWS, 1);
        memset(out[k], 1 + k + 2 * mt_rank, (size_t)ROW * ROWS);
        struct comm_rows send = {out[k], 0}, receive = {in[k], 0};
        good = good && comm_exchange_create(&t[k], c, ROW, moves, mt_size, &send, &receive, &err) ==
                           COHORT_OK;
    }
    good = good && comm_barrier(c, &err) == COHORT_OK;
    const double start = mt_now();
    for (int k = 0; k < 2; k++)
        good = good && comm_transfer_begin(t[k], &err) == COHORT_OK;
    const double begun = mt_now() - start;
    good = good && comm_exchange_arrive(t[1], &err) == COHORT_OK;
    for (size_t i = 0; i < (size_t)ROW * ROWS; i++)
        good = good && in[0][i] == 1 + 2 * before && in[1][i] == 2 + 2 * before;
    const double arrived = mt_now() - start;
    for (int k = 0; k < 2; k++)
        good = good && comm_transfer_end(t[k], &err) == COHORT_OK;
    mt_ok(good, "what began later arrives later, whole %s", err.message);
    /* The last message may leave when the link should be free of those before it. */
    mt_ok(begun < 0.6e-3 * TAKES_MS && arrived > 0.6e-3 * TAKES_MS,
          "nobody waits to begin (%.1f ms), and the link takes its time (%.1f ms)", begun * 1e3,
          arrived * 1e3);
    comm_pace(c, next, 0);
    for (int k = 0; k < 2; k++) {
        comm_transfer_destroy(&t[k]);
        mem_free(out[k]);
        mem_free(in[k]);
    }
}

static void test_alone(void) {
    struct comm *c = NULL;
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct comm_rows none = {NULL, 0};
    bool good = comm_create(&c, MPI_COMM_NULL, NULL, &err) == COHORT_OK &&
                comm_exchange_create(&t, c, 10, NULL, 0, &none, &none, &err) == COHORT_OK &&
                comm_exchange_expect(t, &err) == COHORT_OK &&
                comm_transfer_begin(t, &err) == COHORT_OK &&
                comm_transfer_end(t, &err) == COHORT_OK && comm_transfer_bytes(t) == 0;
    mt_ok(good && comm_calls(c) == 0, "alone, without MPI");
    comm_transfer_destroy(&t);
    comm_destroy(&c);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 120);
    struct comm *c = mt_comm(20);
    test_random(c);
    test_odd(c);
    test_several(c);
    test_wrong_arguments(c);
    if (mt_size > 1)
        test_paced(c);
    comm_destroy(&c);
    if (mt_size > 1)
        test_timeout();
    test_alone();
    return mt_end();
}
