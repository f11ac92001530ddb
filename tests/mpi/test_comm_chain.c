/* The weight chain: who wants what, in many ways; sinks that fail; progress.
 * np: 1 2 3 4 */
#include "tests/support/mpitest.h"

#include "base/mem.h"
#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOBS 12
#define PIECE ((size_t)256 << 10)

static const size_t sizes[BLOBS] = {
    100, 0, PIECE, PIECE + 1, 3 * PIECE - 7, 4, 4, 4, 1000, 5 * PIECE, 0, 12345,
};

static unsigned char f(int blob, size_t at) {
    return (unsigned char)((size_t)blob * 37 + at * 11 + (at >> 9) * 3 + 1);
}

struct receiver {
    unsigned char *data[BLOBS];
    size_t got[BLOBS];
    const bool *wanted;
    bool bad;
    int last_blob;
    long calls;
    long fail_at; /* that call of the sink fails */
    uint64_t progress, total;
    long progress_calls;
};

static enum cohort_code take(void *context, int index, size_t at, const void *data, size_t bytes,
                             struct cohort_error *err) {
    struct receiver *r = context;
    if (++r->calls == r->fail_at)
        return error_set(err, COHORT_ERR_IO, "disk full on rank %d", mt_rank);
    if (index < r->last_blob || !r->wanted[index] || at != r->got[index] ||
        bytes > sizes[index] - at || bytes == 0) {
        r->bad = true;
        return COHORT_OK;
    }
    memcpy(r->data[index] + at, data, bytes);
    r->got[index] += bytes;
    r->last_blob = index;
    return COHORT_OK;
}

static void count_progress(void *context, uint64_t done, uint64_t total) {
    struct receiver *r = context;
    r->bad |= done < r->progress || done > total;
    r->progress = done;
    r->total = total;
    r->progress_calls++;
}

static void start_receiver(struct receiver *r, const bool *wanted) {
    *r = (struct receiver){.wanted = wanted};
    for (int i = 0; i < BLOBS; i++) {
        r->data[i] = malloc(sizes[i] + 1);
        if (r->data[i] == NULL)
            abort();
        memset(r->data[i], 0xee, sizes[i] + 1);
    }
}

static bool received_all(const struct receiver *r) {
    for (int i = 0; i < BLOBS; i++) {
        if (r->got[i] != (r->wanted[i] ? sizes[i] : 0) || r->data[i][sizes[i]] != 0xee)
            return false;
        for (size_t k = 0; r->wanted[i] && k < sizes[i]; k++) {
            if (r->data[i][k] != f(i, k))
                return false;
        }
    }
    return !r->bad && r->progress == r->total;
}

static void free_receiver(struct receiver *r) {
    for (int i = 0; i < BLOBS; i++)
        free(r->data[i]);
}

static unsigned char *root_data[BLOBS];
static unsigned char *apart_data[BLOBS]; /* the same in runs, apart from each other; or NULL */

/* Every third blob lies in runs; not all end with a whole one. */
static size_t run_of(int i) {
    return i % 3 == 0 ? 97 + 40 * (size_t)i : 0;
}

static size_t pitch_of(int i) {
    return run_of(i) + 1 + 13 * (size_t)i;
}

static void make_blobs(struct comm_blob *blobs, const bool *wanted) {
    for (int i = 0; i < BLOBS; i++) {
        blobs[i] = (struct comm_blob){.data = root_data[i], .bytes = sizes[i], .wanted = wanted[i]};
        if (run_of(i) == 0)
            continue;
        blobs[i].data = apart_data[i];
        blobs[i].run_bytes = run_of(i);
        blobs[i].run_pitch = pitch_of(i);
    }
}

/* Rank 0's bytes, all zero elsewhere. */
static void make_data(void) {
    for (int i = 0; i < BLOBS; i++) {
        const size_t run = run_of(i), runs = run > 0 ? sizes[i] / run + 1 : 1;
        root_data[i] = malloc(sizes[i] + 1);
        apart_data[i] = malloc(runs * pitch_of(i) + 1);
        if (root_data[i] == NULL || apart_data[i] == NULL)
            abort();
        for (size_t k = 0; k < sizes[i]; k++)
            root_data[i][k] = mt_rank == 0 ? f(i, k) : 0;
        memset(apart_data[i], 0x55, runs * pitch_of(i) + 1);
        for (size_t k = 0; run > 0 && k < sizes[i]; k++)
            apart_data[i][k / run * pitch_of(i) + k % run] = root_data[i][k];
    }
}

static void run(struct comm *c, const bool *wanted, const char *name) {
    struct receiver r;
    struct comm_blob blobs[BLOBS];
    struct cohort_error err = {0};
    start_receiver(&r, wanted);
    make_blobs(blobs, wanted);
    enum cohort_code code = comm_chain(c, blobs, BLOBS, take, &r, count_progress, &r, &err);
    bool good = code == COHORT_OK && received_all(&r);
    if (!good)
        mt_note("%s: %s", name, err.message);
    mt_ok(good, "%s", name);
    free_receiver(&r);
}

static void test_wanted_sets(struct comm *c) {
    bool wanted[BLOBS] = {false};
    run(c, wanted, "nobody wants anything");
    memset(wanted, 1, sizeof wanted);
    run(c, wanted, "everybody wants everything");
    for (int only = 0; only < mt_size; only++) {
        memset(wanted, mt_rank == only, sizeof wanted);
        run(c, wanted, "one rank wants everything");
    }
    for (int i = 0; i < BLOBS; i++)
        wanted[i] = mt_rank > 0 && i % (mt_size > 1 ? mt_size - 1 : 1) == mt_rank - 1;
    run(c, wanted, "each rank wants its own");
    for (int i = 0; i < BLOBS; i++)
        wanted[i] = i == 1 || i == 10;
    run(c, wanted, "only empty blobs are wanted");
    srand(7); /* the same on all ranks */
    for (int round = 0; round < 12; round++) {
        char name[40];
        for (int r = 0; r < mt_size; r++) {
            for (int i = 0; i < BLOBS; i++) {
                bool want = rand() % 3 == 0;
                if (r == mt_rank)
                    wanted[i] = want;
            }
        }
        snprintf(name, sizeof name, "random wishes %d", round);
        run(c, wanted, name);
    }
}

static void test_few_blobs(struct comm *c) {
    struct cohort_error err = {0};
    struct receiver r;
    bool wanted[BLOBS];
    struct comm_blob blobs[BLOBS];
    memset(wanted, 1, sizeof wanted);
    start_receiver(&r, wanted);
    make_blobs(blobs, wanted);
    mt_ok(comm_chain(c, blobs, 0, take, &r, NULL, NULL, &err) == COHORT_OK && r.calls == 0,
          "no blobs at all");
    mt_ok(comm_chain(c, blobs, 1, take, &r, NULL, NULL, &err) == COHORT_OK && r.got[0] == sizes[0],
          "one blob, no progress function");
    free_receiver(&r);
}

/* Ranks in set `set` fail in their k-th call of the sink. */
static void test_failing_sinks(struct comm *c) {
    bool wanted[BLOBS];
    struct comm_blob blobs[BLOBS];
    memset(wanted, 1, sizeof wanted);
    make_blobs(blobs, wanted);
    for (int set = 1; set < 1 << mt_size; set++) {
        for (long k = 1; k <= 9; k += 4) {
            struct receiver r;
            struct cohort_error err = {0};
            char wanted_message[200];
            int lowest = 0;
            while (!(set >> lowest & 1))
                lowest++;
            start_receiver(&r, wanted);
            r.fail_at = set >> mt_rank & 1 ? k : 0;
            enum cohort_code code = comm_chain(c, blobs, BLOBS, take, &r, NULL, NULL, &err);
            snprintf(wanted_message, sizeof wanted_message, "%s%sdisk full on rank %d",
                     mt_size > 1 ? comm_board_text(c, lowest) : "", mt_size > 1 ? ": " : "",
                     lowest);
            bool good = code == COHORT_ERR_IO && strcmp(err.message, wanted_message) == 0;
            good = good && (r.fail_at == 0 || r.calls == k); /* and not called again */
            if (!good)
                mt_note("%d \"%s\", expected \"%s\"", code, err.message, wanted_message);
            mt_ok(good, "sinks of set %d fail in call %ld", set, k);
            free_receiver(&r);
        }
    }
    run(c, wanted, "and afterwards all is well");
}

static void test_disagreement(struct comm *c) {
    struct cohort_error err = {0};
    struct receiver r;
    bool wanted[BLOBS] = {true};
    struct comm_blob blobs[BLOBS];
    start_receiver(&r, wanted);
    make_blobs(blobs, wanted);
    if (mt_rank == mt_size - 1)
        blobs[2].bytes++;
    if (mt_size > 1)
        mt_ok(comm_chain(c, blobs, BLOBS, take, &r, NULL, NULL, &err) == COHORT_ERR_USAGE &&
                  strstr(err.message, "the list of constants") != NULL,
              "ranks that differ about sizes are refused");
    make_blobs(blobs, wanted);
    blobs[0].data = NULL;
    mt_ok(comm_chain(c, blobs, BLOBS, take, &r, NULL, NULL, &err) == COHORT_ERR_INTERNAL &&
              strstr(err.message, "blob 0 has no data") != NULL,
          "a root without data is refused");
    free_receiver(&r);
}

static void test_memory(struct comm *c) {
    bool wanted[BLOBS];
    struct comm_blob blobs[BLOBS];
    memset(wanted, 1, sizeof wanted);
    make_blobs(blobs, wanted);
    for (int victim = 0; victim < mt_size; victim++) {
        for (long n = 1; n <= 6; n++) {
            struct receiver r;
            struct cohort_error err = {0};
            start_receiver(&r, wanted);
            if (mt_rank == victim)
                mem_fail_at(n);
            enum cohort_code code = comm_chain(c, blobs, BLOBS, take, &r, NULL, NULL, &err);
            mem_fail_at(0);
            int codes[2] = {(int)code, -(int)code};
            MPI_Allreduce(MPI_IN_PLACE, codes, 2, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
            bool good = codes[0] == -codes[1] &&
                        (code == COHORT_ERR_MEMORY || (code == COHORT_OK && n > 1));
            mt_ok(good, "allocation %ld fails on rank %d: %s", n, victim,
                  code == COHORT_OK ? "ok" : err.message);
            free_receiver(&r);
        }
    }
}

int main(int argc, char **argv) {
    struct comm *c = NULL;
    struct cohort_error err = {0};
    mt_begin(&argc, &argv, 150);
    make_data();
    if (!mt_ok(comm_create(&c, MPI_COMM_WORLD, NULL, &err) == COHORT_OK, "create"))
        MPI_Abort(MPI_COMM_WORLD, 1);
    test_wanted_sets(c);
    test_few_blobs(c);
    test_failing_sinks(c);
    test_disagreement(c);
    test_memory(c);
    comm_destroy(&c);
    if (comm_create(&c, MPI_COMM_NULL, NULL, &err) == COHORT_OK && mt_size == 1) {
        bool wanted[BLOBS];
        memset(wanted, 1, sizeof wanted);
        run(c, wanted, "alone, without MPI");
    }
    comm_destroy(&c);
    for (int i = 0; i < BLOBS; i++) {
        free(root_data[i]);
        free(apart_data[i]);
    }
    return mt_end();
}
