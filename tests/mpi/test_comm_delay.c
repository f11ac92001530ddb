/* comm_connect_delay(): every transfer to another rank waits for its connection, one after the
 * other, whatever kind of transfer it is and however many messages it has; nobody spins meanwhile,
 * and answers stay the same.
 * np: 1 2 3 4 */
#include "tests/support/commtest.h"
#include "tests/support/mpitest.h"

#include "base/mem.h"
#include "comm/comm.h"
#include "comm/layouts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RANKS 16
#define ROW       30000 /* two rows are two messages */
#define EACH      4     /* rows a rank has */
#define DELAY_S   0.03
#define TRIES     8

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct times {
    double least_s; /* of all tries; of the slowest rank in each */
    double most_s;
    double cpu_s; /* this rank's, per try */
};

/* Begins them in order and ends them. */
static bool run(struct comm *c, struct comm_transfer **t, int count, struct times *times) {
    struct cohort_error err = {0};
    bool good = true;
    *times = (struct times){.least_s = 1e9};
    for (int i = 0; i < TRIES && good; i++) {
        good = comm_barrier(c, &err) == COHORT_OK;
        const double cpu = cpu_now(), begin = mt_now();
        for (int k = 0; k < count; k++)
            good = good && comm_transfer_begin(t[k], &err) == COHORT_OK;
        for (int k = 0; k < count; k++)
            good = good && comm_transfer_end(t[k], &err) == COHORT_OK;
        double took = mt_now() - begin, slowest = took;
        times->cpu_s += (cpu_now() - cpu) / TRIES;
        MPI_Allreduce(&took, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        times->least_s = slowest < times->least_s ? slowest : times->least_s;
        times->most_s = slowest > times->most_s ? slowest : times->most_s;
    }
    if (!good)
        mt_note("%s", err.message);
    return good;
}

/* As long as `connections` connections of the busiest rank, and not half as many more; and asleep.
 */
static void check(bool good, const struct times *t, int connections, const char *what) {
    const double wanted = DELAY_S * connections;
    mt_ok(good && t->least_s >= wanted && t->least_s < 1.5 * wanted + DELAY_S / 2,
          "%s: %d connections, one after the other (%.0f ms)", what, connections, 1e3 * t->least_s);
    mt_ok(t->cpu_s < 0.005 + 0.25 * t->most_s, "  and nobody computes for that (%.1f ms)",
          1e3 * t->cpu_s);
}

/* ---- kinds of transfers ---------------------------------------------------------------------- */

struct memory {
    unsigned char *out, *in;
    int64_t rows;
};

static struct memory new_memory(void) {
    struct memory m = {.rows = (int64_t)EACH * mt_size};
    m.out = mem_zalloc((size_t)m.rows, ROW);
    m.in = mem_zalloc((size_t)m.rows, ROW);
    if (m.out == NULL || m.in == NULL)
        abort();
    for (int64_t y = 0; y < m.rows; y++)
        memset(m.out + y * ROW, (int)(y + 1), ROW);
    return m;
}

static void release(struct memory *m) {
    mem_free(m->out);
    mem_free(m->in);
}

/* Rows [from, to) came, and are whose they should be. */
static bool came(const struct memory *m, int64_t from, int64_t to) {
    for (int64_t y = from; y < to; y++)
        for (int k = 0; k < ROW; k++)
            if (m->in[y * ROW + k] != y + 1)
                return false;
    return true;
}

/* Every rank gives rows [first, last) of its own to all others. */
static bool make_exchange(struct comm_transfer **t, struct comm *c, const struct memory *m,
                          int first, int last) {
    struct cohort_error err = {0};
    struct comm_move moves[MAX_RANKS * MAX_RANKS];
    int count = 0;
    for (int from = 0; from < mt_size; from++)
        for (int to = 0; to < mt_size; to++)
            if (from != to)
                moves[count++] =
                    (struct comm_move){from, to, from * EACH + first, from * EACH + last};
    const struct comm_rows send = {m->out, 0}, receive = {m->in, 0};
    return mt_said(comm_exchange_create(t, c, ROW, moves, count, &send, &receive, &err), &err);
}

static bool all_came(const struct memory *m) {
    const int64_t own = (int64_t)mt_rank * EACH;
    return came(m, 0, own) && came(m, own + EACH, m->rows);
}

static void test_exchange(struct comm *c) {
    struct memory m = new_memory();
    struct comm_transfer *t = NULL;
    struct times times = {0};
    bool good = make_exchange(&t, c, &m, 0, EACH) && run(c, &t, 1, &times);
    check(good && all_came(&m), &times, mt_size - 1, "an exchange");
    comm_transfer_destroy(&t);
    release(&m);
}

/* Two exchanges: each needs its connections, unless they belong together. */
static void test_two(struct comm *c, bool together) {
    struct memory m = new_memory();
    struct comm_transfer *t[2] = {NULL};
    struct times times = {0};
    bool good = make_exchange(&t[0], c, &m, 0, 1) && make_exchange(&t[1], c, &m, 1, EACH);
    if (good && together)
        comm_transfer_together(t[1], t[0]);
    good = good && run(c, t, 2, &times);
    check(good && all_came(&m), &times, (together ? 1 : 2) * (mt_size - 1),
          together ? "two exchanges that belong together" : "two exchanges");
    comm_transfer_destroy(&t[0]);
    comm_transfer_destroy(&t[1]);
    release(&m);
}

static void test_rows(struct comm *c, bool scatter, enum comm_scatter how) {
    struct memory m = new_memory();
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct times times = {0};
    int64_t begin[MAX_RANKS], end[MAX_RANKS];
    for (int r = 0; r < mt_size; r++) {
        begin[r] = r * EACH;
        end[r] = begin[r] + EACH;
    }
    const struct comm_ranges ranges = {begin, end};
    const int64_t own = begin[mt_rank];
    enum cohort_code code =
        scatter ? comm_scatter_create(&t, c, how, ROW, &ranges, m.out, m.in + own * ROW, &err)
                : comm_gather_create(&t, c, ROW, &ranges, m.in, m.out + own * ROW, &err);
    bool good = mt_said(code, &err) && run(c, &t, 1, &times);
    good = good && (scatter        ? came(&m, own, own + EACH)
                    : mt_rank == 0 ? came(&m, 0, m.rows)
                                   : true);
    check(good, &times, scatter || mt_size == 1 ? mt_size - 1 : 1,
          !scatter              ? "a gather"
          : how == COMM_ORDERED ? "a scatter in order"
                                : "a scatter at once");
    comm_transfer_destroy(&t);
    release(&m);
}

/* Shares are added up and then brought to all, in two stages, or round the ring in as many as there
 * are others, twice, or by halves: each stage connects anew. */
static void test_sum(struct comm *c, enum comm_route route) {
    enum { NUMBERS = 20000 };
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    struct times times = {0};
    const struct comm_map map = {1, NUMBERS * sizeof(float)};
    struct comm_part wants[MAX_RANKS];
    bool gives[MAX_RANKS];
    for (int r = 0; r < mt_size; r++) {
        wants[r] = (struct comm_part){.y1 = 1, .b1 = map.row_bytes};
        gives[r] = true;
    }
    float *mine = mem_zalloc(NUMBERS, sizeof *mine), *sum = mem_zalloc(NUMBERS, sizeof *sum);
    if (mine == NULL || sum == NULL)
        abort();
    for (int i = 0; i < NUMBERS; i++)
        mine[i] = (float)(i % 100 + mt_rank);
    bool good =
        mt_said(comm_reduce_create(&t, c, route, &map, gives, wants, mine, sum, &err), &err) &&
        run(c, &t, 1, &times);
    for (int i = 0; i < NUMBERS; i++)
        good &= (int)sum[i] == mt_size * (i % 100) + mt_size * (mt_size - 1) / 2;
    int doublings = 0;
    for (int d = 1; d < mt_size; d *= 2)
        doublings++;
    check(good, &times, route == COMM_HALVING ? 2 * doublings : 2 * (mt_size - 1),
          route == COMM_RING      ? "a sum round the ring"
          : route == COMM_HALVING ? "a sum by halves"
                                  : "a sum to all");
    comm_transfer_destroy(&t);
    mem_free(mine);
    mem_free(sum);
}

static void test_none(struct comm *c) {
    struct memory m = new_memory();
    struct comm_transfer *t = NULL;
    struct times times = {0};
    comm_connect_delay(c, 0);
    bool good = make_exchange(&t, c, &m, 0, EACH) && run(c, &t, 1, &times);
    mt_ok(good && times.least_s < DELAY_S && all_came(&m), "no delay, no wait (%.1f ms)",
          1e3 * times.least_s);
    comm_transfer_destroy(&t);
    release(&m);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 120);
    struct comm *c = mt_comm(20);
    comm_connect_delay(c, DELAY_S);
    test_exchange(c);
    test_two(c, false);
    test_two(c, true);
    test_rows(c, true, COMM_ORDERED);
    test_rows(c, true, COMM_SCATTERV);
    test_rows(c, false, COMM_ORDERED);
    test_sum(c, COMM_LINEAR);
    test_sum(c, COMM_RING);
    test_sum(c, COMM_HALVING);
    for (int r = 0; r < mt_size; r++) /* a link whose speed is known: the same */
        comm_pace(c, r, 1e9);
    test_exchange(c);
    test_rows(c, false, COMM_ORDERED);
    test_sum(c, COMM_LINEAR);
    test_none(c);
    comm_destroy(&c);
    return mt_end();
}
