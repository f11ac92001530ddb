/* Failures over MPI: every rank ends with the same error, soon, whatever rank fails and where.
 * np: 1 2 4 */
#include "tests/support/mpitest.h"

#include "base/mem.h"
#include "comm/comm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEIGHT    30
#define ROW_BYTES 7000
#define MAX_RANKS 16

static void nap(long ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* All ranks have the same code and message. */
static bool same_everywhere(enum cohort_code code, const struct cohort_error *err) {
    char root[COHORT_MESSAGE_BYTES] = "";
    int codes[2] = {(int)code, -(int)code};
    if (mt_rank == 0 && code != COHORT_OK)
        snprintf(root, sizeof root, "%s", err->message);
    MPI_Bcast(root, sizeof root, MPI_CHAR, 0, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, codes, 2, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    bool same = codes[0] == -codes[1] && (code == COHORT_OK || strcmp(root, err->message) == 0);
    if (!same)
        mt_note("%d \"%s\"; rank 0 has \"%s\"", code, code == COHORT_OK ? "" : err->message, root);
    return same;
}

static unsigned char map[HEIGHT * ROW_BYTES], mine[HEIGHT * ROW_BYTES];
static int64_t begins[MAX_RANKS], ends[MAX_RANKS];

static struct comm_ranges even_ranges(void) {
    for (int r = 0; r < mt_size; r++) {
        begins[r] = HEIGHT * r / mt_size;
        ends[r] = HEIGHT * (r + 1) / mt_size;
    }
    return (struct comm_ranges){.begin = begins, .end = ends};
}

static enum cohort_code ignore_piece(void *context, int index, size_t at, const void *data,
                                     size_t bytes, struct cohort_error *err) {
    (void)context, (void)index, (void)at, (void)data, (void)bytes, (void)err;
    return COHORT_OK;
}

/* A small run with everything in it.  *calls: MPI calls made by this rank. */
static enum cohort_code small_run(int inject, long *calls, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct comm *c = NULL;
    struct comm_transfer *transfers[4] = {NULL};
    struct comm_rows rows = {map, 0};
    struct comm_move moves[MAX_RANKS]; /* a ring */
    int move_count = mt_size > 1 ? mt_size : 0;
    struct comm_ranges ranges = even_ranges();
    struct comm_options o = {.timeout_s = 20, .inject_call = inject};
    struct buf text = {0};
    char gathered[MAX_RANKS];
    static const unsigned char weights[300000];
    struct comm_blob blobs[2] = {{.data = weights, .bytes = sizeof weights, .wanted = true},
                                 {.data = weights, .bytes = 10, .wanted = mt_rank == 1}};
    *calls = 0;
    TRY(comm_create(&c, MPI_COMM_WORLD, &o, err));
    TRY(comm_agree(c, COHORT_OK, err));
    if (mt_rank == 0)
        buf_string(&text, "a plan");
    TRY(comm_broadcast(c, &text, err));
    TRY(comm_prove_equal(c, "version", "1", err));
    TRY(comm_gather_bytes(c, "x", 1, gathered, err));
    TRY(comm_chain(c, blobs, 2, ignore_piece, NULL, NULL, NULL, err));
    TRY(comm_scatter_create(&transfers[0], c, COMM_SCATTERV, ROW_BYTES, &ranges, map, mine, err));
    TRY(comm_scatter_create(&transfers[1], c, COMM_ORDERED, ROW_BYTES, &ranges, map, mine, err));
    TRY(comm_gather_create(&transfers[2], c, ROW_BYTES, &ranges, map, mine, err));
    for (int r = 0; r < move_count; r++)
        moves[r] = (struct comm_move){r, (r + 1) % mt_size, 8 * r, 8 * r + 8};
    TRY(comm_exchange_create(&transfers[3], c, ROW_BYTES / 8, moves, move_count, &rows, &rows,
                             err));
    TRY(comm_barrier(c, err));
    for (int i = 0; i < 4; i++) {
        if (i == 3)
            TRY(comm_exchange_expect(transfers[i], err));
        TRY(comm_transfer_begin(transfers[i], err));
        TRY(comm_transfer_end(transfers[i], err));
    }
    TRY(comm_agree(c, COHORT_OK, err));
out:
    if (c != NULL)
        *calls = comm_calls(c);
    for (int i = 0; i < 4; i++)
        comm_transfer_destroy(&transfers[i]);
    buf_release(&text);
    comm_destroy(&c);
    return code;
}

static void test_injection(void) {
    struct cohort_error err = {0};
    long calls;
    mt_ok(small_run(0, &calls, &err) == COHORT_OK, "a run without failures");
    long all[MAX_RANKS];
    MPI_Allgather(&calls, 1, MPI_LONG, all, 1, MPI_LONG, MPI_COMM_WORLD);
    for (int victim = 0; victim<mt_size; victim += mt_size> 1 ? mt_size - 1 : 1) {
        bool good = all[victim] > 20;
        double worst = 0;
        for (int n = 1; n <= all[victim] + 2; n++) {
            double begin = mt_now();
            error_clear(&err);
            enum cohort_code code = small_run(mt_rank == victim ? n : 0, &calls, &err);
            double took = mt_now() - begin;
            worst = fmax(worst, took);
            bool fine = took < 10;
            /* the last call is the test of the last agreement: others may be through by then */
            if (n != all[victim])
                fine &= same_everywhere(code, &err);
            if (n < all[victim])
                fine = fine && code == COHORT_ERR_COMM && strstr(err.message, "injected") != NULL;
            else if (n > all[victim])
                fine = fine && code == COHORT_OK;
            if (!fine)
                mt_note("call %d of rank %d: %d \"%s\" after %.1f s", n, victim, code,
                        code == COHORT_OK ? "" : err.message, took);
            good &= fine;
        }
        mt_ok(good, "each of %ld MPI calls fails on rank %d: all ranks end alike", all[victim],
              victim);
        if (mt_rank == 0)
            mt_note("rank %d: slowest failing run %.2f s", victim, worst);
    }
}

struct scene {
    struct comm *c;
    struct comm_transfer *scatter, *gather;
};

static void open_scene(struct scene *s, enum comm_scatter how, double timeout_s) {
    struct cohort_error err = {0};
    struct comm_options o = {.timeout_s = timeout_s};
    struct comm_ranges ranges = even_ranges();
    *s = (struct scene){0};
    if (comm_create(&s->c, MPI_COMM_WORLD, &o, &err) != COHORT_OK ||
        comm_scatter_create(&s->scatter, s->c, how, ROW_BYTES, &ranges, map, mine, &err) !=
            COHORT_OK ||
        comm_gather_create(&s->gather, s->c, ROW_BYTES, &ranges, map, mine, &err) != COHORT_OK) {
        mt_note("%s", err.message);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Barrier(MPI_COMM_WORLD); /* nobody fails while another is still in there */
}

static void close_scene(struct scene *s) {
    comm_transfer_destroy(&s->scatter);
    comm_transfer_destroy(&s->gather);
    comm_destroy(&s->c);
}

static enum cohort_code run_transfer(struct comm_transfer *t, struct cohort_error *err) {
    enum cohort_code code = comm_transfer_begin(t, err);
    return code != COHORT_OK ? code : comm_transfer_end(t, err);
}

/* Everything on a communicator that was given up says the same again. */
static bool stays_failed(struct scene *s, const struct cohort_error *first) {
    struct cohort_error err[6];
    struct buf b = {0};
    struct comm_transfer *t = NULL;
    struct comm_ranges ranges = even_ranges();
    char out[MAX_RANKS];
    bool good = comm_aborted(s->c);
    good &= comm_agree(s->c, COHORT_OK, &err[0]) == first->code;
    good &= comm_broadcast(s->c, &b, &err[1]) == first->code;
    good &= comm_gather_bytes(s->c, "x", 1, out, &err[2]) == first->code;
    good &= comm_transfer_begin(s->gather, &err[3]) == first->code;
    good &= comm_poll(s->c, &err[4]) == first->code;
    good &= comm_gather_create(&t, s->c, 4, &ranges, map, mine, &err[5]) == first->code;
    for (int i = 0; i < 6; i++)
        good &= strcmp(err[i].message, first->message) == 0;
    comm_abort(s->c, first); /* too late, and harmless */
    return good;
}

/* One rank fails by itself while the others are in a transfer, or poll. */
static void test_abort(enum comm_scatter how, int victim, bool polling, double timeout_s) {
    struct scene s;
    struct cohort_error err = {0};
    char wanted[COHORT_MESSAGE_BYTES];
    open_scene(&s, how, timeout_s);
    double begin = mt_now();
    enum cohort_code code;
    if (mt_rank == victim) {
        nap(100);
        code = error_set(&err, COHORT_ERR_MEMORY, "no memory for tiles");
        comm_abort(s.c, &err);
        code = comm_poll(s.c, &err); /* with the board's name in front, as the others see it */
    } else if (polling) {
        while ((code = comm_poll(s.c, &err)) == COHORT_OK && mt_now() - begin < 10)
            ;
    } else {
        code = run_transfer(s.scatter, &err);
        if (code == COHORT_OK)
            code = run_transfer(s.gather, &err);
        if (code == COHORT_OK) /* a rank that needs nobody: its small sends have left */
            code = comm_agree(s.c, COHORT_OK, &err);
    }
    double took = mt_now() - begin;
    snprintf(wanted, sizeof wanted, "%s%sno memory for tiles",
             mt_size > 1 ? comm_board_text(s.c, victim) : "", mt_size > 1 ? ": " : "");
    bool good = code == COHORT_ERR_MEMORY && strcmp(err.message, wanted) == 0 && took < 5;
    if (!good)
        mt_note("%d \"%s\" after %.1f s, expected \"%s\"", code, err.message, took, wanted);
    mt_ok(good, "rank %d aborts: %s%s%s", victim, how == COMM_ORDERED ? "ordered" : "scatterv",
          polling ? ", others poll" : "", isinf(timeout_s) ? ", no time limit" : "");
    mt_ok(stays_failed(&s, &err), "and it stays that way");
    close_scene(&s);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* All fail at once: everybody ends, with some rank's error. */
static void test_abort_together(void) {
    struct scene s;
    struct cohort_error err = {0};
    open_scene(&s, COMM_SCATTERV, 20);
    double begin = mt_now();
    error_set(&err, COHORT_ERR_IO, "broken");
    comm_abort(s.c, &err);
    enum cohort_code code = comm_poll(s.c, &err);
    bool good =
        code == COHORT_ERR_IO && strstr(err.message, "broken") != NULL && mt_now() - begin < 5;
    mt_ok(good, "all ranks abort at once");
    close_scene(&s);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* One rank never takes part.  It answers when it polls; else it is named as silent. */
static void test_timeout(enum comm_scatter how, int victim, bool answers) {
    struct scene s;
    struct cohort_error err = {0};
    enum cohort_code code = COHORT_OK;
    open_scene(&s, how, 0.7);
    double begin = mt_now();
    if (mt_rank == victim) {
        if (!answers)
            nap(4500);
        while (code == COHORT_OK && mt_now() - begin < 10)
            code = comm_poll(s.c, &err);
    } else {
        code = run_transfer(s.scatter, &err);
        if (code == COHORT_OK)
            code = run_transfer(s.gather, &err);
        if (code == COHORT_OK)
            code = comm_agree(s.c, COHORT_OK, &err);
    }
    double took = mt_now() - begin;
    bool named =
        strstr(err.message, answers ? "boards answer" : comm_board_text(s.c, victim)) != NULL ||
        strstr(err.message, "which is alive") != NULL;
    if (!answers)
        named = named && strstr(err.message, "no answer within 0.7 s from") != NULL &&
                strstr(strstr(err.message, "from"), comm_board_text(s.c, victim)) != NULL;
    bool good = code == COHORT_ERR_TIMEOUT && named && took < (answers ? 4.5 : 6);
    if (!good || mt_rank == 0)
        mt_note("%d \"%s\" after %.1f s", code, err.message, took);
    mt_ok(good, "rank %d %s: %s", victim, answers ? "does something else" : "is silent",
          how == COMM_ORDERED ? "ordered" : "scatterv");
    close_scene(&s);
    MPI_Barrier(MPI_COMM_WORLD);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 170);
    test_injection();
    for (int victim = 0; victim < mt_size; victim++) {
        test_abort(COMM_SCATTERV, victim, false, 20);
        test_abort(COMM_ORDERED, victim, false, 20);
        test_abort(COMM_SCATTERV, victim, true, 20);
    }
    test_abort(COMM_SCATTERV, 0, false, INFINITY);
    test_abort_together();
    if (mt_size > 1) {
        test_timeout(COMM_SCATTERV, mt_size - 1, true);
        test_timeout(COMM_ORDERED, mt_size - 1, false);
        test_timeout(COMM_SCATTERV, 0, false);
        test_timeout(COMM_ORDERED, 0, true);
    }
    struct cohort_error err = {0};
    long calls;
    mt_ok(small_run(0, &calls, &err) == COHORT_OK, "after all that a new communicator works");
    return mt_end();
}
