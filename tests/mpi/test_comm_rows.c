/* Row transfers: rows filled with mt_byte(global row, byte), moved, and checked, with guards around
 * them.  np: 1 2 3 4 6 */
#include "tests/support/commtest.h"
#include "tests/support/mpitest.h"

#include "base/mem.h"
#include "comm/comm.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RANKS 16
#define GUARD     64

struct ranges {
    int64_t begin[MAX_RANKS], end[MAX_RANKS];
};

/* A block with guards in front and behind. */
static unsigned char *new_block(size_t bytes) {
    unsigned char *raw = malloc(bytes + 2 * GUARD);
    if (raw == NULL)
        abort();
    memset(raw, UNTOUCHED, bytes + 2 * GUARD);
    return raw + GUARD;
}

static bool guards_hold(const unsigned char *block, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++) {
        if (block[-1 - (ptrdiff_t)i] != UNTOUCHED || block[bytes + i] != UNTOUCHED)
            return false;
    }
    return true;
}

static void free_block(unsigned char *block) {
    free(block - GUARD);
}

static void fill(unsigned char *block, int64_t begin, int64_t end, size_t row_bytes, int round) {
    for (int64_t y = begin; y < end; y++) {
        for (size_t i = 0; i < row_bytes; i++)
            block[(size_t)(y - begin) * row_bytes + i] = mt_byte(y, i, round);
    }
}

static bool holds(const unsigned char *block, int64_t begin, int64_t end, size_t row_bytes,
                  int round) {
    for (int64_t y = begin; y < end; y++) {
        for (size_t i = 0; i < row_bytes; i++) {
            if (block[(size_t)(y - begin) * row_bytes + i] != mt_byte(y, i, round))
                return false;
        }
    }
    return true;
}

static struct comm_ranges view(const struct ranges *r) {
    return (struct comm_ranges){.begin = r->begin, .end = r->end};
}

static size_t wire_bytes(const struct ranges *r, size_t row_bytes) {
    size_t rows = 0;
    if (mt_rank > 0)
        return (size_t)(r->end[mt_rank] - r->begin[mt_rank]) * row_bytes;
    for (int i = 1; i < mt_size; i++)
        rows += (size_t)(r->end[i] - r->begin[i]);
    return rows * row_bytes;
}

static void scatter_once(struct comm *c, enum comm_scatter how, const struct ranges *r,
                         int64_t height, size_t row_bytes, bool in_place, const char *name) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct comm_ranges ranges = view(r);
    int64_t begin = r->begin[mt_rank];
    int64_t end = r->end[mt_rank];
    size_t map_bytes = (size_t)height * row_bytes;
    size_t mine_bytes = (size_t)(end - begin) * row_bytes;
    unsigned char *map = mt_rank == 0 ? new_block(map_bytes) : NULL;
    unsigned char *mine = new_block(mine_bytes);
    bool use_mine = mt_rank != 0 || !in_place;
    bool good = comm_scatter_create(&t, c, how, row_bytes, &ranges, map, use_mine ? mine : NULL,
                                    &err) == COHORT_OK;
    if (!mt_ok(good, "%s: create", name)) {
        mt_note("%s", err.message);
        goto out;
    }
    good = comm_transfer_bytes(t) == wire_bytes(r, row_bytes);
    long allocations = mem_alloc_calls();
    for (int round = 0; round < 3; round++) {
        if (mt_rank == 0)
            fill(map, 0, height, row_bytes, round);
        good = good && comm_transfer_begin(t, &err) == COHORT_OK &&
               comm_transfer_end(t, &err) == COHORT_OK;
        good = good && (!use_mine || holds(mine, begin, end, row_bytes, round));
        good = good && (mt_rank != 0 || holds(map, 0, height, row_bytes, round));
    }
    good = good && guards_hold(mine, mine_bytes) && (mt_rank != 0 || guards_hold(map, map_bytes));
    good = good && mem_alloc_calls() == allocations;
    if (!good)
        mt_note("%s: %s", name, err.message);
    mt_ok(good, "%s: %zu bytes a row", name, row_bytes);
out:
    comm_transfer_destroy(&t);
    if (map != NULL)
        free_block(map);
    free_block(mine);
}

static void gather_once(struct comm *c, const struct ranges *r, int64_t height, size_t row_bytes,
                        bool in_place, const char *name) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct comm_ranges ranges = view(r);
    int64_t begin = r->begin[mt_rank];
    int64_t end = r->end[mt_rank];
    size_t map_bytes = (size_t)height * row_bytes;
    size_t mine_bytes = (size_t)(end - begin) * row_bytes;
    unsigned char *map = mt_rank == 0 ? new_block(map_bytes) : NULL;
    unsigned char *mine = new_block(mine_bytes);
    bool use_mine = mt_rank != 0 || !in_place;
    bool good = comm_gather_create(&t, c, row_bytes, &ranges, map, use_mine ? mine : NULL, &err) ==
                COHORT_OK;
    if (!mt_ok(good, "%s: create", name)) {
        mt_note("%s", err.message);
        goto out;
    }
    good = comm_transfer_bytes(t) == wire_bytes(r, row_bytes);
    for (int round = 0; round < 3; round++) {
        fill(use_mine ? mine : map + (size_t)begin * row_bytes, begin, end, row_bytes, round);
        good = good && comm_transfer_begin(t, &err) == COHORT_OK &&
               comm_transfer_end(t, &err) == COHORT_OK;
        for (int i = 0; mt_rank == 0 && i < mt_size; i++)
            good = good && holds(map + (size_t)r->begin[i] * row_bytes, r->begin[i], r->end[i],
                                 row_bytes, round);
    }
    good = good && guards_hold(mine, mine_bytes) && (mt_rank != 0 || guards_hold(map, map_bytes));
    if (!good)
        mt_note("%s: %s", name, err.message);
    mt_ok(good, "%s: %zu bytes a row", name, row_bytes);
out:
    comm_transfer_destroy(&t);
    if (map != NULL)
        free_block(map);
    free_block(mine);
}

/* Rows in proportion to rank+1, with `halo` rows more on both sides. */
static struct ranges make_ranges(int64_t height, int64_t halo) {
    struct ranges r = {0};
    int64_t parts = (int64_t)mt_size * (mt_size + 1) / 2;
    int64_t sum = 0;
    for (int i = 0; i < mt_size; i++) {
        int64_t y0 = height * sum / parts;
        sum += i + 1;
        int64_t y1 = height * sum / parts;
        bool empty = y0 == y1;
        r.begin[i] = empty || y0 < halo ? (empty ? y0 : 0) : y0 - halo;
        r.end[i] = empty ? y0 : (y1 + halo > height ? height : y1 + halo);
    }
    return r;
}

static void test_shapes(struct comm *c) {
    static const size_t sizes[] = {1, 48, 14336, 200000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t height = sizes[s] > 100000 ? 23 : 57;
        struct ranges overlap = make_ranges(height, 3);
        struct ranges apart = make_ranges(height, 0);
        for (int how = COMM_SCATTERV; how <= COMM_ORDERED; how++) {
            const char *way = how == COMM_ORDERED ? "ordered" : "scatterv";
            char name[64];
            for (int in_place = 0; in_place < 2; in_place++) {
                snprintf(name, sizeof name, "%s, overlapping%s", way,
                         in_place ? ", root in place" : "");
                scatter_once(c, (enum comm_scatter)how, &overlap, height, sizes[s], in_place, name);
                snprintf(name, sizeof name, "%s, disjoint%s", way,
                         in_place ? ", root in place" : "");
                scatter_once(c, (enum comm_scatter)how, &apart, height, sizes[s], in_place, name);
            }
        }
        gather_once(c, &apart, height, sizes[s], false, "gather");
        gather_once(c, &apart, height, sizes[s], true, "gather, root in place");
    }
}

/* Everybody everything; nobody anything; only one rank; all but the root; more ranks than rows. */
static void test_odd_ranges(struct comm *c) {
    struct ranges r = {0};
    for (int how = COMM_SCATTERV; how <= COMM_ORDERED; how++) {
        enum comm_scatter h = (enum comm_scatter)how;
        r = (struct ranges){0};
        scatter_once(c, h, &r, 0, 100, true, "nobody has rows");
        for (int i = 0; i < mt_size; i++)
            r.end[i] = 9;
        scatter_once(c, h, &r, 9, 100, false, "all rows to all");
        r.begin[0] = r.end[0] = 4;
        scatter_once(c, h, &r, 9, 100, true, "the root only feeds");
        for (int only = 0; only < mt_size; only++) {
            r = (struct ranges){0};
            r.begin[only] = 2;
            r.end[only] = 7;
            scatter_once(c, h, &r, 9, 100, false, "one rank has rows");
            if (h == COMM_SCATTERV) {
                gather_once(c, &r, 9, 100, false, "gather from one rank");
                gather_once(c, &r, 9, 100, true, "gather from one rank, root in place");
            }
        }
        r = make_ranges(2, 0);
        scatter_once(c, h, &r, 2, 100, false, "two rows");
        r = make_ranges(2, 1);
        scatter_once(c, h, &r, 2, 100, false, "two rows, overlapping");
        gather_once(c, &(struct ranges){0}, 0, 8, true, "gather nothing");
    }
}

/* Two under way at once, the second finished first, both polled for meanwhile. */
static void test_two_at_once(struct comm *c) {
    struct cohort_error err = {0};
    struct comm_transfer *a = NULL;
    struct comm_transfer *b = NULL;
    struct ranges r = make_ranges(40, 2);
    struct comm_ranges ranges = view(&r);
    size_t bytes = (size_t)(r.end[mt_rank] - r.begin[mt_rank]) * 5000;
    unsigned char *map_a = new_block(40 * 5000);
    unsigned char *map_b = new_block(40 * 5000);
    unsigned char *mine_a = new_block(bytes);
    unsigned char *mine_b = new_block(bytes);
    fill(map_a, 0, 40, 5000, 1);
    fill(map_b, 0, 40, 5000, 2);
    bool good =
        comm_scatter_create(&a, c, COMM_ORDERED, 5000, &ranges, map_a, mine_a, &err) == COHORT_OK &&
        comm_scatter_create(&b, c, COMM_ORDERED, 5000, &ranges, map_b, mine_b, &err) == COHORT_OK;
    if (mt_ok(good, "two transfers: create")) {
        good =
            comm_transfer_begin(a, &err) == COHORT_OK && comm_transfer_begin(b, &err) == COHORT_OK;
        for (int i = 0; i < 100; i++)
            good = good && comm_poll(c, &err) == COHORT_OK;
        good = good && comm_transfer_end(b, &err) == COHORT_OK &&
               holds(mine_b, r.begin[mt_rank], r.end[mt_rank], 5000, 2);
        good = good && comm_transfer_end(a, &err) == COHORT_OK &&
               holds(mine_a, r.begin[mt_rank], r.end[mt_rank], 5000, 1);
        mt_ok(good, "two transfers under way");
    }
    comm_transfer_destroy(&a);
    comm_transfer_destroy(&b);
    free_block(map_a);
    free_block(map_b);
    free_block(mine_a);
    free_block(mine_b);
}

/* comm_poll() alone moves an ordered scatter on: while the root computes, all sends leave. */
static void test_poll_progress(struct comm *c) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct ranges r = make_ranges(40, 2);
    struct comm_ranges ranges = view(&r);
    size_t bytes = (size_t)(r.end[mt_rank] - r.begin[mt_rank]) * 20000;
    unsigned char *map = new_block(40 * 20000);
    unsigned char *mine = new_block(bytes);
    fill(map, 0, 40, 20000, 3);
    bool good =
        comm_scatter_create(&t, c, COMM_ORDERED, 20000, &ranges, map, mine, &err) == COHORT_OK;
    if (mt_ok(good, "poll: create")) {
        char token = 0;
        good = comm_transfer_begin(t, &err) == COHORT_OK;
        if (mt_rank == 0) { /* polls until all others have got theirs */
            for (int have = 0; have < mt_size - 1;) {
                int flag = 0;
                good = good && comm_poll(c, &err) == COHORT_OK;
                MPI_Iprobe(MPI_ANY_SOURCE, 99, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
                if (flag) {
                    MPI_Recv(&token, 1, MPI_CHAR, MPI_ANY_SOURCE, 99, MPI_COMM_WORLD,
                             MPI_STATUS_IGNORE);
                    have++;
                }
            }
            good = good && comm_transfer_end(t, &err) == COHORT_OK;
        } else {
            good = good && comm_transfer_end(t, &err) == COHORT_OK;
            MPI_Send(&token, 1, MPI_CHAR, 0, 99, MPI_COMM_WORLD);
        }
        mt_ok(good && holds(mine, r.begin[mt_rank], r.end[mt_rank], 20000, 3),
              "poll moves sends on");
    }
    comm_transfer_destroy(&t);
    free_block(map);
    free_block(mine);
}

static void count_idle(void *context) {
    ++*(int *)context;
}

static void nap(long ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The root is late: the others' waits run the idle function and use little CPU. */
static void test_waiting(struct comm *c) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct ranges r = make_ranges(12, 0);
    struct comm_ranges ranges = view(&r);
    unsigned char *map = new_block(1200);
    unsigned char *mine = new_block(1200);
    int idle = 0;
    fill(map, 0, 12, 100, 0);
    bool good =
        comm_scatter_create(&t, c, COMM_SCATTERV, 100, &ranges, map, mine, &err) == COHORT_OK;
    comm_set_idle(c, count_idle, &idle);
    if (mt_rank == 0)
        nap(400);
    double before = cpu_seconds();
    good = good && comm_transfer_begin(t, &err) == COHORT_OK &&
           comm_transfer_end(t, &err) == COHORT_OK;
    double used = cpu_seconds() - before;
    comm_set_idle(c, NULL, NULL);
    bool waited = mt_rank != 0 && r.end[mt_rank] > r.begin[mt_rank];
    if (waited)
        mt_note("%.1f ms of CPU and %d idle calls in 400 ms", used * 1e3, idle);
    mt_ok(good && (!waited || (idle >= 20 && idle <= 450)), "the idle function runs while waiting");
    mt_ok(!waited || used < 0.15, "waiting leaves the core to others");
    comm_transfer_destroy(&t);
    free_block(map);
    free_block(mine);
}

static void create_fails(struct comm *c, bool gather, size_t row_bytes, const struct ranges *r,
                         bool no_memory, enum cohort_code wanted, const char *says) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct comm_ranges ranges = view(r);
    static unsigned char map[64];
    void *mine = no_memory ? NULL : map;
    enum cohort_code code =
        gather ? comm_gather_create(&t, c, row_bytes, &ranges, map, mine, &err)
               : comm_scatter_create(&t, c, COMM_SCATTERV, row_bytes, &ranges, map, mine, &err);
    bool good =
        code == wanted && err.code == code && strstr(err.message, says) != NULL && t == NULL;
    if (!good)
        mt_note("%d \"%s\", expected \"%s\"", code, err.message, says);
    mt_ok(good, "refused: %s", says);
}

static void test_wrong_arguments(struct comm *c) {
    struct ranges none = {0};
    struct ranges r = {0};
    create_fails(c, false, 0, &none, false, COHORT_ERR_UNSUPPORTED, "a row of 0 bytes");
    create_fails(c, false, (size_t)INT_MAX + 1, &none, false, COHORT_ERR_UNSUPPORTED,
                 "a row of 2147483648 bytes");
    r.end[mt_size - 1] = (int64_t)INT_MAX + 1;
    create_fails(c, false, 4, &r, false, COHORT_ERR_UNSUPPORTED, "row 2147483648");
    r.begin[mt_size - 1] = 5;
    r.end[mt_size - 1] = 4;
    create_fails(c, false, 4, &r, false, COHORT_ERR_INTERNAL, "rows [5, 4) are no range");
    r.begin[mt_size - 1] = -1;
    create_fails(c, true, 4, &r, false, COHORT_ERR_INTERNAL, "rows [-1, 4) are no range");
    if (mt_size == 1)
        return;
    r = (struct ranges){0};
    r.end[0] = 5;
    r.begin[mt_size - 1] = 4;
    r.end[mt_size - 1] = 6;
    create_fails(c, true, 4, &r, false, COHORT_ERR_INTERNAL, "both give row 4");
    create_fails(c, false, 4, &r, mt_rank == mt_size - 1, COHORT_ERR_INTERNAL,
                 "a transfer without memory");
    struct cohort_error err = {0};
    mt_ok(comm_barrier(c, &err) == COHORT_OK, "refusals leave the communicator usable");
}

static void test_alone(void) {
    struct comm *c = NULL;
    struct cohort_error err = {0};
    struct comm_transfer *s = NULL;
    struct comm_transfer *g = NULL;
    int64_t begin = 1;
    int64_t end = 4;
    struct comm_ranges ranges = {.begin = &begin, .end = &end};
    unsigned char map[50];
    unsigned char mine[30];
    fill(map, 0, 5, 10, 0);
    bool good =
        comm_create(&c, MPI_COMM_NULL, NULL, &err) == COHORT_OK &&
        comm_scatter_create(&s, c, COMM_ORDERED, 10, &ranges, map, mine, &err) == COHORT_OK &&
        comm_gather_create(&g, c, 10, &ranges, map, mine, &err) == COHORT_OK;
    good = good && comm_transfer_begin(s, &err) == COHORT_OK &&
           comm_transfer_end(s, &err) == COHORT_OK && holds(mine, 1, 4, 10, 0) &&
           comm_transfer_bytes(s) == 0;
    fill(mine, 1, 4, 10, 1);
    good = good && comm_transfer_begin(g, &err) == COHORT_OK &&
           comm_transfer_end(g, &err) == COHORT_OK && holds(map + 10, 1, 4, 10, 1) &&
           holds(map, 0, 1, 10, 0);
    mt_ok(good && comm_calls(c) == 0, "alone, without MPI");
    comm_transfer_destroy(&s);
    comm_transfer_destroy(&g);
    comm_destroy(&c);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 150);
    struct comm *c = mt_comm(20);
    test_shapes(c);
    test_odd_ranges(c);
    test_two_at_once(c);
    test_poll_progress(c);
    test_waiting(c);
    test_wrong_arguments(c);
    comm_destroy(&c);
    test_alone();
    return mt_end();
}
