/* Measuring links: what the two of a pair do, round by round.
 *
 * The lower rank of a pair leads: it sends orders, the other obeys, so that both agree on what
 * comes next although only one of them looks at a clock. */
#include "comm/links.h"

#include "base/clock.h"
#include "base/median.h"
#include "base/rounds.h"
#include "comm/comm_internal.h"

#include "base/mem.h"

#include <math.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define PINGS     8
#define PINGS_S   0.02
#define MORE      4      /* times the repeats, for messages that are so short … */
#define MORE_S    0.004  /* … that all of them fit in this */
#define YIELD_S   200e-6 /* a wait only gives the core away for so long … */
#define NAP_LEAST 10e-6  /* … then sleeps a 32nd of the time that has passed, within these */
#define NAP_MOST  100e-6
#define FINE_S    0.25 /* longer waits are left to comm_wait(), which knows of lost boards */
#define ROW_BYTES 1024 /* of the transfers that measure the star */
#define PAUSES    5    /* of the root, while the others wait for it … */
#define PAUSE_S   3e-3 /* … so long */

enum order { ORDER_END, ORDER_PING, ORDER_UP, ORDER_DOWN };

struct message { /* in the byte order that all boards share */
    int32_t order;
    int32_t size; /* index */
};

/* Everything that MPI may still touch after a failed wait: then it is never freed. */
struct pair {
    struct comm *c;
    int other;
    int tag;
    struct comm_work work;
    MPI_Request request;
    struct message message;
    unsigned char *buffer; /* behind this struct */
};

/* ---- one message ----------------------------------------------------------------------------- */

static enum cohort_code progress_pair(void *context, bool *done, bool *moved,
                                      struct cohort_error *err) {
    struct pair *p = context;
    *moved = false;
    return comm_test(p->c, &p->request, done, err);
}

static int pair_waits_for(const void *context) {
    const struct pair *p = context;
    return p->other;
}

static void nap(double seconds) {
    struct timespec t = {.tv_nsec = (long)(seconds * 1e9)};
    nanosleep(&t, NULL);
}

static enum cohort_code wait_pair(struct pair *p, bool receives, size_t bytes,
                                  struct cohort_error *err) {
    double begin = clock_s();
    p->work = (struct comm_work){.what = "measuring links",
                                 .progress = progress_pair,
                                 .waits_for = pair_waits_for,
                                 .context = p,
                                 .requests = &p->request,
                                 .request_count = 1,
                                 .receive_count = receives,
                                 .bytes = bytes};
    for (bool done = false;;) {
        enum cohort_code code = comm_test(p->c, &p->request, &done, err);
        p->c->uncounted = true;
        double passed = clock_s() - begin;
        if (code != COHORT_OK || done || passed > FINE_S) {
            p->c->uncounted = false;
            return code != COHORT_OK || done ? code
                                             : comm_wait(p->c, &p->work, p->c->timeout_s, err);
        }
        if (passed < YIELD_S)
            sched_yield();
        else
            nap(fmin(NAP_MOST, fmax(NAP_LEAST, passed / 32)));
    }
}

static enum cohort_code give(struct pair *p, const void *data, size_t bytes,
                             struct cohort_error *err) {
    enum cohort_code code = COMM_MPI(p->c, MPI_Isend, data, (int)bytes, MPI_BYTE, p->other, p->tag,
                                     p->c->comm, &p->request);
    return code != COHORT_OK ? code : wait_pair(p, false, bytes, err);
}

static enum cohort_code take(struct pair *p, void *data, size_t bytes, struct cohort_error *err) {
    enum cohort_code code = COMM_MPI(p->c, MPI_Irecv, data, (int)bytes, MPI_BYTE, p->other, p->tag,
                                     p->c->comm, &p->request);
    return code != COHORT_OK ? code : wait_pair(p, true, bytes, err);
}

static enum cohort_code give_order(struct pair *p, enum order order, int size,
                                   struct cohort_error *err) {
    p->message = (struct message){.order = (int32_t)order, .size = size};
    return give(p, &p->message, sizeof p->message, err);
}

static enum cohort_code take_order(struct pair *p, struct cohort_error *err) {
    return take(p, &p->message, sizeof p->message, err);
}

/* ---- what the two do ------------------------------------------------------------------------- */

static enum cohort_code follow(struct pair *p, const struct comm_link_request *r,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (;;) {
        TRY(take_order(p, err));
        if (p->message.order == ORDER_END || p->message.size < 0 || p->message.size >= r->count)
            break;
        size_t bytes = r->bytes[p->message.size];
        switch (p->message.order) {
        case ORDER_UP:
            TRY(take(p, p->buffer, bytes, err));
            TRY(give_order(p, ORDER_PING, 0, err));
            break;
        case ORDER_DOWN:
            TRY(give(p, p->buffer, bytes, err));
            break;
        default:
            TRY(give_order(p, ORDER_PING, 0, err));
        }
    }
out:
    return code;
}

/* Half the shortest of some round trips of an order. */
static enum cohort_code measure_latency(struct pair *p, double *seconds, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double begin = clock_s(), least = INFINITY;
    for (int i = 0; i < PINGS && (i < 2 || clock_s() - begin < PINGS_S); i++) {
        double t = clock_s();
        TRY(give_order(p, ORDER_PING, 0, err));
        TRY(take_order(p, err));
        t = clock_s() - t;
        least = t < least ? t : least;
    }
    *seconds = 0.5 * least;
out:
    return code;
}

/* One message and an order the other way, or an order and the message that it brings: the order's
 * time is taken off.  An order to take a message goes out with it and costs a latency, too, where
 * the receiver waits for it first; but it travels ahead on the same connection, so it does not. */
static enum cohort_code measure_message(struct pair *p, bool up, int k, size_t bytes,
                                        double latency, double *seconds, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (up) {
        TRY(give_order(p, ORDER_UP, k, err));
        double t = clock_s();
        TRY(give(p, p->buffer, bytes, err));
        TRY(take_order(p, err));
        *seconds = clock_s() - t;
    } else {
        double t = clock_s();
        TRY(give_order(p, ORDER_DOWN, k, err));
        TRY(take(p, p->buffer, bytes, err));
        *seconds = clock_s() - t;
    }
    *seconds = fmax(*seconds - latency, 0.1 * *seconds);
out:
    return code;
}

/* ms[2][COMM_LINK_SIZES_MAX]: to the other rank, and back. */
static enum cohort_code lead(struct pair *p, const struct comm_link_request *r,
                             double (*ms)[COMM_LINK_SIZES_MAX], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const double end = r->enough_s > 0 ? clock_s() + r->enough_s : INFINITY;
    double latency, t;
    TRY(measure_latency(p, &latency, err));
    for (int way = 0; way < 2; way++)
        for (int k = 0; k < r->count; k++) {
            double least = INFINITY;
            double expected =
                k == 0 ? 0 : 1e-3 * ms[way][k - 1] * (double)r->bytes[k] / (double)r->bytes[k - 1];
            if (expected > r->longest_s || clock_s() > end)
                break;
            const int least_often = r->repeats + (k == 0) - (r->long_s > 0 && expected > r->long_s);
            double begin = clock_s();
            for (int i = 0;
                 i < least_often || (i < MORE * r->repeats && clock_s() - begin < MORE_S); i++) {
                if (least < INFINITY && clock_s() > end)
                    break;
                TRY(measure_message(p, way == 0, k, r->bytes[k], latency, &t, err));
                if (i > 0 || k > 0)
                    least = t < least ? t : least;
            }
            ms[way][k] = 1e3 * least;
        }
    TRY(give_order(p, ORDER_END, 0, err));
out:
    return code;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Rank 0's request on all ranks. */
static enum cohort_code share_request(struct comm *c, struct comm_link_request *r,
                                      struct cohort_error *err) {
    struct buf b = {0};
    enum cohort_code code = COHORT_OK;
    if (c->rank == 0)
        buf_bytes(&b, r, sizeof *r);
    TRY(comm_broadcast(c, &b, err));
    if (b.size == sizeof *r)
        memcpy(r, b.data, sizeof *r);
out:
    buf_release(&b);
    return code;
}

/* mine[size][2][COMM_LINK_SIZES_MAX] */
static enum cohort_code run_rounds(struct comm *c, struct pair *p,
                                   const struct comm_link_request *r,
                                   double (*mine)[2][COMM_LINK_SIZES_MAX],
                                   comm_progress_fn progress, void *context,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int rounds = rounds_count(c->size);
    rounds = r->rounds > 0 && r->rounds < rounds ? r->rounds : rounds;
    for (int round = 0; round < rounds; round++) {
        p->other = rounds_partner(c->rank, c->size, round);
        if (progress != NULL)
            progress(context, (uint64_t)round, (uint64_t)rounds);
        if (p->other == c->rank)
            continue;
        if (c->rank < p->other)
            TRY(lead(p, r, mine[p->other], err));
        else
            TRY(follow(p, r, err));
    }
    if (progress != NULL)
        progress(context, (uint64_t)rounds, (uint64_t)rounds);
out:
    return code;
}

/* From what each leader knows to [from][to]. */
static void spread(const struct comm *c, const double *all, double *ms) {
    int n = c->size;
    for (int leader = 0; leader < n; leader++)
        for (int other = leader + 1; other < n; other++)
            for (int way = 0; way < 2; way++) {
                const double *from =
                    all + (((size_t)leader * (size_t)n + (size_t)other) * 2 + (size_t)way) *
                              COMM_LINK_SIZES_MAX;
                size_t at = way == 0 ? (size_t)leader * (size_t)n + (size_t)other
                                     : (size_t)other * (size_t)n + (size_t)leader;
                memcpy(ms + at * COMM_LINK_SIZES_MAX, from, COMM_LINK_SIZES_MAX * sizeof *ms);
            }
}

enum cohort_code comm_measure_links(struct comm *c, const struct comm_link_request *request,
                                    double *ms, comm_progress_fn progress, void *context,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct comm_link_request r = *request;
    size_t n = (size_t)c->size, each = n * 2 * COMM_LINK_SIZES_MAX;
    double *mine = NULL, *all = NULL;
    struct pair *p = NULL;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    TRY(share_request(c, &r, err));
    size_t most = r.count > 0 && r.count <= COMM_LINK_SIZES_MAX ? r.bytes[r.count - 1] : 0;
    mine = mem_alloc(each * sizeof *mine);
    all = mem_alloc(c->rank == 0 ? n * each * sizeof *all : 1);
    p = mem_zalloc(1, sizeof *p + most);
    if (mine == NULL || all == NULL || p == NULL)
        code = error_memory(err, most + n * each * sizeof *all, "measuring links");
    TRY(comm_agree(c, code, err));
    for (size_t i = 0; i < each; i++)
        mine[i] = -1;
    *p = (struct pair){.c = c, .tag = c->next_tag++, .buffer = (unsigned char *)(p + 1)};
    p->request = MPI_REQUEST_NULL;
    if (!c->alone)
        TRY(run_rounds(c, p, &r, (double(*)[2][COMM_LINK_SIZES_MAX])mine, progress, context, err));
    TRY(comm_gather_bytes(c, mine, each * sizeof *mine, all, err));
    if (c->rank == 0) {
        for (size_t i = 0; i < n * n * COMM_LINK_SIZES_MAX; i++)
            ms[i] = -1;
        spread(c, all, ms);
    }
out:
    mem_free(mine);
    mem_free(all);
    if (p != NULL && p->request != MPI_REQUEST_NULL)
        mem_forget(p); /* MPI may still read or write it */
    else
        mem_free(p);
    return code;
}

/* ---- the star -------------------------------------------------------------------------------- */

struct star_transfers { /* of many rows and of one, both ways */
    struct comm_transfer *scatter, *gather, *call, *answer;
};

static enum cohort_code make_transfer(struct comm_transfer **t, struct comm *c, bool gather,
                                      int64_t rows, int64_t *ranges, unsigned char *whole,
                                      unsigned char *mine, struct cohort_error *err) {
    struct comm_ranges r = {.begin = ranges, .end = ranges + c->size};
    for (int i = 0; i < c->size; i++) {
        ranges[i] = i == 0 ? 0 : (i - 1) * rows;
        ranges[c->size + i] = i * rows;
    }
    return gather ? comm_gather_create(t, c, ROW_BYTES, &r, whole, mine, err)
                  : comm_scatter_create(t, c, COMM_SCATTERV, ROW_BYTES, &r, whole, mine, err);
}

static enum cohort_code run_both(struct comm_transfer *a, struct comm_transfer *b, double *least,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double begin = clock_s();
    TRY(comm_transfer_begin(a, err));
    TRY(comm_transfer_end(a, err));
    TRY(comm_transfer_begin(b, err));
    TRY(comm_transfer_end(b, err));
    *least = fmin(*least, 1e3 * (clock_s() - begin));
out:
    return code;
}

/* One row there and one back, the root being late each time. */
static enum cohort_code time_sleepers(struct comm *c, struct star_transfers *t, double *ms,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double each[PAUSES];
    for (int i = 0; i < PAUSES; i++) {
        if (c->rank == 0)
            nap(PAUSE_S);
        each[i] = INFINITY;
        TRY(run_both(t->call, t->answer, &each[i], err));
    }
    *ms = 0.5 * median(each, PAUSES);
out:
    return code;
}

/* Everything there and one row back, and the other way round; what the rows alone take goes off. */
static enum cohort_code time_star(struct comm *c, struct star_transfers *t, int repeats,
                                  struct comm_star *star, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double rows = INFINITY, there = INFINITY, back = INFINITY;
    for (int i = 0; i < repeats; i++) {
        TRY(run_both(t->call, t->answer, &rows, err));
        TRY(run_both(t->scatter, t->answer, &there, err));
        TRY(run_both(t->call, t->gather, &back, err));
    }
    TRY(time_sleepers(c, t, &star->sleeping_ms, err));
    star->scatter_ms = fmax(there - 0.5 * rows, 0.1 * there);
    star->gather_ms = fmax(back - 0.5 * rows, 0.1 * back);
out:
    return code;
}

enum cohort_code comm_measure_star(struct comm *c, size_t bytes, int repeats,
                                   struct comm_star *star, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t rows = (int64_t)(bytes / ROW_BYTES < 1 ? 1 : bytes / ROW_BYTES);
    size_t block = (size_t)rows * ROW_BYTES, n = (size_t)c->size;
    struct star_transfers t = {0};
    *star = (struct comm_star){0};
    if (c->alone || c->size == 1)
        return COHORT_OK;
    int64_t *ranges = mem_alloc(2 * n * sizeof *ranges);
    unsigned char *memory = mem_zalloc(c->rank == 0 ? n : 1, block);
    if (ranges == NULL || memory == NULL)
        code = error_memory(err, n * block, "measuring links");
    TRY(comm_agree(c, code, err));
    TRY(make_transfer(&t.scatter, c, false, rows, ranges, memory, memory, err));
    TRY(make_transfer(&t.gather, c, true, rows, ranges, memory, memory, err));
    TRY(make_transfer(&t.call, c, false, 1, ranges, memory, memory, err));
    TRY(make_transfer(&t.answer, c, true, 1, ranges, memory, memory, err));
    TRY(time_star(c, &t, repeats, star, err));
out:
    comm_transfer_destroy(&t.scatter);
    comm_transfer_destroy(&t.gather);
    comm_transfer_destroy(&t.call);
    comm_transfer_destroy(&t.answer);
    mem_free(ranges);
    if (c->aborted)
        mem_forget(memory);
    else
        mem_free(memory);
    return code;
}
