/* Set-up over MPI: creating, names, agreement, broadcast, gather, proofs of equality.
 * np: 1 2 3 4 */
#include "tests/support/mpitest.h"

#include "base/mem.h"
#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct comm *create(void) {
    struct comm *c = NULL;
    struct cohort_error err = {0};
    enum cohort_code code = comm_create(&c, MPI_COMM_WORLD, NULL, &err);
    if (code != COHORT_OK)
        mt_note("%s", err.message);
    if (!mt_ok(code == COHORT_OK, "create"))
        MPI_Abort(MPI_COMM_WORLD, 1);
    return c;
}

static void test_names(struct comm *c) {
    char host[256] = "";
    char text[300];
    gethostname(host, sizeof host - 1);
    bool good = comm_rank(c) == mt_rank && comm_size(c) == mt_size;
    for (int r = 0; r < mt_size; r++) { /* all on one board here, so names are not numbered */
        snprintf(text, sizeof text, "%s (rank %d)", host, r);
        good &= strcmp(comm_host(c, r), host) == 0 && strcmp(comm_board_text(c, r), text) == 0;
    }
    mt_ok(good, "ranks have host names");
    mt_ok(comm_local_rank(c) == mt_rank && comm_local_size(c) == mt_size,
          "ranks on one board are counted");
}

static void test_agree(struct comm *c) {
    struct cohort_error err = {0};
    mt_ok(comm_agree(c, COHORT_OK, &err) == COHORT_OK, "agree: nobody fails");
    for (int set = 1; set < 1 << mt_size; set++) { /* every set of failing ranks */
        bool fails = set >> mt_rank & 1;
        int lowest = 0;
        char wanted[COHORT_MESSAGE_BYTES];
        while (!(set >> lowest & 1))
            lowest++;
        error_clear(&err);
        enum cohort_code mine = COHORT_OK;
        if (fails)
            mine = error_set(&err, COHORT_ERR_IO + (mt_rank & 3), "file %d is bad", mt_rank);
        enum cohort_code code = comm_agree(c, mine, &err);
        snprintf(wanted, sizeof wanted, "%s%sfile %d is bad",
                 mt_size > 1 ? comm_board_text(c, lowest) : "", mt_size > 1 ? ": " : "", lowest);
        bool good = code == err.code && (int)code == COHORT_ERR_IO + (lowest & 3) &&
                    strcmp(err.message, wanted) == 0;
        if (!good)
            mt_note("%d \"%s\", expected \"%s\"", code, err.message, wanted);
        mt_ok(good, "agree: set %d of ranks fails", set);
    }
    mt_ok(comm_agree(c, COHORT_OK, NULL) == COHORT_OK,
          "agree: still works, without an error to fill in");
    mt_ok(comm_agree(c, mt_rank == mt_size - 1 ? COHORT_ERR_PLAN : COHORT_OK, NULL) ==
              COHORT_ERR_PLAN,
          "agree: a failure without a message");
    memset(err.message, 'x', sizeof err.message - 1);
    err.message[sizeof err.message - 1] = '\0';
    err.code = COHORT_ERR_IO;
    mt_ok(comm_agree(c, COHORT_ERR_IO, &err) == COHORT_ERR_IO &&
              strlen(err.message) < sizeof err.message,
          "agree: the longest message");
}

static unsigned char pattern(size_t i) {
    return (unsigned char)(i * 31 + (i >> 8) * 7 + 5);
}

static void test_broadcast(struct comm *c) {
    static const size_t sizes[] = {0, 1, 4095, 1000003, ((size_t)8 << 20) + 1};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct buf b = {0};
        struct cohort_error err = {0};
        if (mt_rank == 0) {
            for (size_t i = 0; i < sizes[s]; i++)
                buf_u8(&b, pattern(i));
        } else {
            buf_string(&b, "what was there before");
        }
        enum cohort_code code = comm_broadcast(c, &b, &err);
        bool good = code == COHORT_OK && b.size == sizes[s] && !b.failed;
        for (size_t i = 0; good && i < sizes[s]; i++)
            good = b.data[i] == pattern(i);
        mt_ok(good, "broadcast %zu bytes", sizes[s]);
        buf_release(&b);
    }
}

static void test_broadcast_memory(struct comm *c) {
    struct buf b = {0};
    struct cohort_error err = {0};
    if (mt_rank == 0)
        buf_string(&b, "hello");
    if (mt_rank == mt_size - 1) {
        if (mt_rank == 0)
            b.failed = true;
        else
            mem_fail_at(1);
    }
    enum cohort_code code = comm_broadcast(c, &b, &err);
    mem_fail_at(0);
    mt_ok(code == COHORT_ERR_MEMORY && strstr(err.message, "out of memory") != NULL,
          "broadcast: no memory on one rank is an error on all");
    buf_release(&b);
}

static void test_gather(struct comm *c) {
    struct cohort_error err = {0};
    int mine[2] = {mt_rank, 100 * mt_rank};
    int *all = mt_rank == 0 ? malloc(sizeof mine * (size_t)mt_size) : NULL;
    bool good = comm_gather_bytes(c, mine, sizeof mine, all, &err) == COHORT_OK;
    for (int r = 0; mt_rank == 0 && r < mt_size; r++)
        good &= all[2 * r] == r && all[2 * r + 1] == 100 * r;
    mt_ok(good, "gather bytes");
    mt_ok(comm_gather_bytes(c, mine, 0, all, &err) == COHORT_OK, "gather nothing");
    mt_ok(comm_gather_bytes(c, mine, (size_t)1 << 31, all, &err) == COHORT_ERR_UNSUPPORTED,
          "gather too much");
    mt_ok(comm_barrier(c, &err) == COHORT_OK, "barrier");
    free(all);
}

static void test_equal(struct comm *c) {
    struct cohort_error err = {0};
    mt_ok(comm_prove_equal(c, "version", "1.2", &err) == COHORT_OK, "equal texts");
    mt_ok(comm_prove_equal(c, "version", "", &err) == COHORT_OK, "equal empty texts");
    if (mt_size == 1)
        return;
    for (int odd = 0; odd < mt_size; odd++) {
        enum cohort_code code =
            comm_prove_equal(c, "version", mt_rank == odd ? "1.2" : "1.3", &err);
        char wanted[COHORT_MESSAGE_BYTES]; /* rank 0 is what the others are compared with */
        snprintf(wanted, sizeof wanted, "%s: version is \"%s\" here but \"%s\" on %s",
                 comm_board_text(c, odd == 0 ? 1 : odd), odd == 0 ? "1.3" : "1.2",
                 odd == 0 ? "1.2" : "1.3", comm_board_text(c, 0));
        bool good = code == COHORT_ERR_USAGE && strcmp(err.message, wanted) == 0;
        if (!good)
            mt_note("\"%s\", expected \"%s\"", err.message, wanted);
        mt_ok(good, "rank %d differs", odd);
    }
}

/* The n-th allocation fails on one rank: all ranks fail, or none. */
static void test_create_memory(void) {
    for (int victim = 0; victim < mt_size; victim++) {
        for (long n = 1; n <= 4; n++) {
            struct comm *c = NULL;
            struct cohort_error err = {0};
            if (mt_rank == victim)
                mem_fail_at(n);
            enum cohort_code code = comm_create(&c, MPI_COMM_WORLD, NULL, &err);
            mem_fail_at(0);
            int codes[2] = {(int)code, -(int)code};
            MPI_Allreduce(MPI_IN_PLACE, codes, 2, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
            bool good = codes[0] == -codes[1] && (code == COHORT_OK || code == COHORT_ERR_MEMORY);
            good &= (code == COHORT_OK) == (c != NULL) && (n > 1 || code != COHORT_OK);
            mt_ok(good, "create: allocation %ld fails on rank %d: %s", n, victim,
                  code == COHORT_OK ? "ok" : err.message);
            comm_destroy(&c);
        }
    }
}

static void test_alone(void) {
    struct comm *c = NULL;
    struct cohort_error err = {0};
    struct buf b = {0};
    int in = 7;
    int out = 0;
    bool good = comm_create(&c, MPI_COMM_NULL, NULL, &err) == COHORT_OK && comm_size(c) == 1 &&
                comm_local_size(c) == 1 && comm_rank(c) == 0;
    buf_u32(&b, 5);
    good = good && comm_agree(c, COHORT_ERR_IO, &err) == COHORT_ERR_IO &&
           comm_barrier(c, &err) == COHORT_OK && comm_broadcast(c, &b, &err) == COHORT_OK &&
           b.size == 4 && comm_prove_equal(c, "a", "b", &err) == COHORT_OK &&
           comm_gather_bytes(c, &in, sizeof in, &out, &err) == COHORT_OK && out == 7 &&
           comm_poll(c, &err) == COHORT_OK && comm_calls(c) == 0;
    mt_ok(good, "alone, without MPI");
    buf_release(&b);
    comm_destroy(&c);
}

/* All ranks are on one machine here, so their clocks are one. */
static void test_clock(struct comm *c) {
    struct cohort_error err = {0};
    double offset = 9, error = -1;
    bool good = comm_clock_offset(c, &offset, &error, &err) == COHORT_OK;
    if (mt_rank == 0)
        good = good && offset == 0 && error == 0;
    else
        good = good && error > 0 && offset <= error && offset >= -error;
    if (!good)
        mt_note("rank %d: offset %g s, error %g s", mt_rank, offset, error);
    mt_ok(good, "clocks of one machine agree within the error that is stated");
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 120);
    struct comm *c = create();
    test_names(c);
    test_agree(c);
    test_broadcast(c);
    test_broadcast_memory(c);
    test_gather(c);
    test_equal(c);
    test_clock(c);
    comm_destroy(&c);
    mt_ok(c == NULL, "destroy");
    comm_destroy(&c);
    test_create_memory();
    test_alone();
    return mt_end();
}
