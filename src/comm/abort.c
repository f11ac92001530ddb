/* Giving up together: abort notices and "are you alive?".
 *
 * A notice is a small message that MPI sends at once (eagerly), so that it arrives even when the
 * communicator's collectives are stuck.  Calls here are not counted or injected into: they are what
 * is left when others have failed, and their own errors are ignored. */
#include "comm/comm_internal.h"

#include "base/clock.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { PROBE_QUERY, PROBE_REPLY };

#define PROBE_S       1.0
#define SETTLE_S      0.1 /* after an abort, for small messages that are under way … */
#define SETTLE_MOST_S 1.0
#define SETTLE_RATE   5e6 /* … and for larger ones, in bytes a second */

static void nap(void) {
    struct timespec t = {.tv_nsec = 200000};
    nanosleep(&t, NULL);
}

/* ---- listening ------------------------------------------------------------------------------- */

static int post_notice(struct comm *c) {
    return MPI_Irecv(&c->notice_in, (int)sizeof c->notice_in, MPI_BYTE, MPI_ANY_SOURCE,
                     COMM_TAG_ABORT, c->comm, &c->notice_recv);
}

static int post_probe(struct comm *c) {
    return MPI_Irecv(c->probe_in, 2, MPI_INT, MPI_ANY_SOURCE, COMM_TAG_PROBE, c->comm,
                     &c->probe_recv);
}

enum cohort_code comm_listen(struct comm *c, struct cohort_error *err) {
    c->probe_query[0] = PROBE_QUERY;
    c->probe_reply[0] = PROBE_REPLY;
    c->probe_query[1] = c->probe_reply[1] = c->rank;
    enum cohort_code code = comm_mpi(c, comm_inject_after(c, post_notice(c)), "MPI_Irecv", err);
    enum cohort_code other = comm_mpi(c, comm_inject_after(c, post_probe(c)), "MPI_Irecv", err);
    return code != COHORT_OK ? code : other;
}

/* A receive that may be done, or be a persistent one that is not active. */
static void cancel(MPI_Request *request) {
    int flag = 0;
    if (*request == MPI_REQUEST_NULL)
        return;
    MPI_Test(request, &flag, MPI_STATUS_IGNORE);
    if (flag)
        return;
    MPI_Cancel(request);
    MPI_Test(request, &flag, MPI_STATUS_IGNORE);
    if (!flag && *request != MPI_REQUEST_NULL)
        MPI_Request_free(request);
}

void comm_unlisten(struct comm *c) {
    cancel(&c->notice_recv);
    cancel(&c->probe_recv);
}

/* ---- what arrives ---------------------------------------------------------------------------- */

/* Of several errors that happened at once all ranks should keep the same: a cause rather than a
 * timeout, then the lowest rank's. */
static void keep_error(struct comm *c, const struct cohort_error *err, int origin) {
    bool late = err->code == COHORT_ERR_TIMEOUT;
    bool late_before = c->error.code == COHORT_ERR_TIMEOUT;
    if (c->aborted && (late != late_before ? late : origin >= c->error_rank))
        return;
    c->aborted = true;
    c->error = *err;
    c->error_rank = origin;
}

static void take_notice(struct comm *c) {
    struct comm_notice *n = &c->notice_in;
    struct cohort_error err;
    n->message[sizeof n->message - 1] = '\0';
    bool known = n->code > COHORT_OK && n->code < COHORT_CODE_COUNT;
    error_set(&err, known ? (enum cohort_code)n->code : COHORT_ERR_INTERNAL, "%s", n->message);
    keep_error(c, &err, n->origin);
}

static void take_probe(struct comm *c) {
    int from = c->probe_in[1];
    if (from < 0 || from >= c->size)
        return;
    if (c->probe_in[0] == PROBE_REPLY) {
        if (c->boards != NULL)
            c->boards[from].alive = true;
        return;
    }
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Isend(c->probe_reply, 2, MPI_INT, from, COMM_TAG_PROBE, c->comm, &request) ==
        MPI_SUCCESS)
        MPI_Request_free(&request);
}

static bool arrived(MPI_Request *request) {
    int flag = 0;
    return *request != MPI_REQUEST_NULL &&
           MPI_Test(request, &flag, MPI_STATUS_IGNORE) == MPI_SUCCESS && flag;
}

void comm_look(struct comm *c) {
    while (arrived(&c->notice_recv)) {
        take_notice(c);
        post_notice(c);
    }
    while (arrived(&c->probe_recv)) {
        take_probe(c);
        post_probe(c);
    }
}

/* ---- giving up ------------------------------------------------------------------------------- */

static bool all_done(struct comm *c) {
    bool done = true;
    int flag;
    for (int r = 0; c->boards != NULL && r < c->size; r++) {
        flag = 1;
        if (c->boards[r].notice_send != MPI_REQUEST_NULL)
            MPI_Test(&c->boards[r].notice_send, &flag, MPI_STATUS_IGNORE);
        done &= flag != 0;
    }
    for (struct comm_work *w = c->works; w != NULL; w = w->next) {
        flag = 1;
        MPI_Testall(w->request_count, w->requests, &flag, MPI_STATUSES_IGNORE);
        done &= flag != 0;
    }
    return done;
}

/* Lets notices leave and data that is under way arrive, so that no memory is freed under MPI's
 * hands; then cancels what never came. */
static void settle(struct comm *c) {
    size_t bytes = 0;
    for (const struct comm_work *w = c->works; w != NULL; w = w->next)
        bytes += w->bytes;
    double until = clock_s() + fmin(SETTLE_MOST_S, SETTLE_S + (double)bytes / SETTLE_RATE);
    while (!all_done(c) && clock_s() < until) {
        comm_look(c);
        nap();
    }
    comm_look(c);
    for (struct comm_work *w = c->works; w != NULL; w = w->next) {
        for (int i = 0; i < w->receive_count; i++)
            cancel(&w->requests[i]);
    }
}

static void send_notices(struct comm *c) {
    struct comm_notice *n = &c->notice_out;
    memset(n, 0, sizeof *n);
    n->code = (int32_t)c->error.code;
    n->origin = c->rank;
    memcpy(n->message, c->error.message, sizeof n->message);
    for (int r = 0; c->boards != NULL && r < c->size; r++) {
        MPI_Request *request = &c->boards[r].notice_send;
        if (r != c->rank && MPI_Isend(n, (int)sizeof *n, MPI_BYTE, r, COMM_TAG_ABORT, c->comm,
                                      request) != MPI_SUCCESS)
            *request = MPI_REQUEST_NULL;
    }
}

enum cohort_code comm_fail(struct comm *c, const struct cohort_error *err) {
    if (!c->aborted) {
        keep_error(c, err, c->rank);
        if (c->open) {
            send_notices(c);
            settle(c);
        }
    }
    return err->code;
}

enum cohort_code comm_give_up(struct comm *c, struct cohort_error *err) {
    settle(c);
    return comm_error_again(c, err);
}

enum cohort_code comm_enter(struct comm *c, struct cohort_error *err) {
    if (c->aborted)
        return comm_error_again(c, err);
    if (c->alone)
        return COHORT_OK;
    comm_look(c);
    return c->aborted ? comm_give_up(c, err) : COHORT_OK;
}

void comm_abort(struct comm *c, const struct cohort_error *err) {
    struct cohort_error e = *err;
    if (c->aborted || e.code == COHORT_OK)
        return;
    if (c->size > 1 && !comm_names_board(e.message))
        error_wrap(&e, "%s", c->own_text);
    comm_fail(c, &e);
}

bool comm_aborted(const struct comm *c) {
    return c->aborted;
}

enum cohort_code comm_error_again(const struct comm *c, struct cohort_error *err) {
    if (err != NULL)
        *err = c->error;
    return c->error.code;
}

/* ---- who is alive ---------------------------------------------------------------------------- */

static bool all_alive(const struct comm *c) {
    for (int r = 0; r < c->size; r++) {
        if (r != c->rank && !c->boards[r].alive)
            return false;
    }
    return true;
}

void comm_probe(struct comm *c) {
    if (c->notice_recv == MPI_REQUEST_NULL || c->boards == NULL)
        return;
    for (int r = 0; r < c->size; r++) {
        MPI_Request request = MPI_REQUEST_NULL;
        c->boards[r].alive = false;
        if (r != c->rank && MPI_Isend(c->probe_query, 2, MPI_INT, r, COMM_TAG_PROBE, c->comm,
                                      &request) == MPI_SUCCESS)
            MPI_Request_free(&request);
    }
    double until = clock_s() + PROBE_S;
    while (!all_alive(c) && !c->aborted && clock_s() < until) {
        comm_look(c);
        nap();
    }
}
