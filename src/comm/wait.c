/* Calling MPI and waiting for it.
 *
 * Open MPI's own waiting spins: it takes a core from the kernels and, on a throttled board, the
 * whole quota.  Here a wait tests for a moment, then sleeps between tests, longer as it lasts.  It
 * always has a deadline: in Open MPI 4.1 a call to a lost rank neither returns nor fails. */
#include "comm/comm_internal.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SPIN_S        30e-6 /* a neighbour that is nearly ready costs no sleep */
#define SLEEP_LEAST_S 50e-6
#define SLEEP_MOST_S  500e-6
#define NAP_OF        8 /* of the time since something moved, or until something should */
#define IDLE_S        1e-3
#define POLL_S        100e-6
/* Ranks above 0 give up so much later, and one after the other: the first tells the others, and all
 * end with one message, which is rank 0's if that is alive. */
#define STAGGER_S      1.5
#define STAGGER_RANK_S 0.2

static void nap(double seconds) {
    struct timespec t = {.tv_nsec = (long)(seconds * 1e9)};
    nanosleep(&t, NULL);
}

/* ---- calling MPI ----------------------------------------------------------------------------- */

bool comm_inject(struct comm *c) {
    c->calls++;
    c->injected = c->calls == c->inject_call;
    return c->injected;
}

int comm_inject_after(struct comm *c, int rc) {
    bool inject = comm_inject(c);
    return rc == MPI_SUCCESS && inject ? MPI_ERR_OTHER : rc;
}

enum cohort_code comm_mpi(struct comm *c, int rc, const char *function, struct cohort_error *err) {
    if (rc == MPI_SUCCESS)
        return COHORT_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    struct cohort_error e;
    if (c->injected)
        snprintf(text, sizeof text, "injected by a test");
    else if (MPI_Error_string(rc, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "error %d", rc);
    error_set(&e, COHORT_ERR_COMM, "%s: %s failed: %s", c->own_text, function, text);
    e.message[strcspn(e.message, "\n")] = '\0';
    if (err != NULL)
        *err = e;
    return c->open ? comm_fail(c, &e) : e.code;
}

enum cohort_code comm_test(struct comm *c, MPI_Request *request, bool *done,
                           struct cohort_error *err) {
    int flag = 0;
    enum cohort_code code =
        c->uncounted ? comm_mpi(c, MPI_Test(request, &flag, MPI_STATUS_IGNORE), "MPI_Test", err)
                     : COMM_MPI(c, MPI_Test, request, &flag, MPI_STATUS_IGNORE);
    c->uncounted = true; /* one test a wait is counted, else counts would depend on time */
    if (code == COHORT_OK)
        *done = flag != 0;
    return code;
}

enum cohort_code comm_test_some(struct comm *c, MPI_Request *requests, int count, int *indices,
                                int *completed, struct cohort_error *err) {
    int some = 0;
    enum cohort_code code =
        c->uncounted
            ? comm_mpi(c, MPI_Testsome(count, requests, &some, indices, MPI_STATUSES_IGNORE),
                       "MPI_Testsome", err)
            : COMM_MPI(c, MPI_Testsome, count, requests, &some, indices, MPI_STATUSES_IGNORE);
    c->uncounted = true;
    if (code == COHORT_OK)
        *completed = some == MPI_UNDEFINED ? -1 : some;
    return code;
}

/* ---- works ----------------------------------------------------------------------------------- */

void comm_link(struct comm *c, struct comm_work *w) {
    if (w->linked)
        return;
    struct comm_work **end = &c->works;
    while (*end != NULL)
        end = &(*end)->next;
    *end = w;
    w->next = NULL;
    w->linked = true;
}

void comm_unlink(struct comm *c, struct comm_work *w) {
    struct comm_work **at = &c->works;
    while (*at != NULL && *at != w)
        at = &(*at)->next;
    if (*at == w)
        *at = w->next;
    w->linked = false;
}

/* All works but `but` one step on. */
static enum cohort_code progress_others(struct comm *c, const struct comm_work *but,
                                        struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    c->uncounted = true;
    for (struct comm_work *w = c->works; w != NULL && code == COHORT_OK; w = w->next) {
        bool done = false;
        bool moved = false;
        if (w != but)
            code = w->progress(w->context, &done, &moved, err);
    }
    c->uncounted = false;
    return code;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* "pi3 (rank 2), pi4 (rank 3)" of the ranks that did not answer the probe; false when all did. */
static bool list_silent(const struct comm *c, char *text, size_t bytes) {
    int silent = 0;
    size_t used = 0;
    text[0] = '\0';
    for (int r = 0; r < c->size; r++) {
        if (r == c->rank || c->boards == NULL || c->boards[r].alive)
            continue;
        silent++;
        if (silent <= 6)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", silent > 1 ? ", " : "",
                                     comm_board_text(c, r));
    }
    if (silent > 6)
        snprintf(text + used, bytes - used, " and %d more", silent - 6);
    return silent > 0;
}

static enum cohort_code timed_out(struct comm *c, const struct comm_work *w, double timeout_s,
                                  struct cohort_error *err) {
    char silent[7 * (COMM_TEXT_BYTES + 2)];
    struct cohort_error e;
    comm_probe(c);
    if (c->aborted) /* somebody knows more */
        return comm_give_up(c, err);
    int rank = w->waits_for == NULL ? -1 : w->waits_for(w->context);
    if (list_silent(c, silent, sizeof silent))
        error_set(&e, COHORT_ERR_TIMEOUT, "%s: %s: no answer within %g s from %s", c->own_text,
                  w->what, timeout_s, silent);
    else if (rank >= 0)
        error_set(&e, COHORT_ERR_TIMEOUT,
                  "%s: %s: nothing came within %g s from %s, which is alive: slower than --timeout "
                  "allows?",
                  c->own_text, w->what, timeout_s, comm_board_text(c, rank));
    else
        error_set(&e, COHORT_ERR_TIMEOUT,
                  "%s: %s: not done within %g s, but all boards answer: one is slower than "
                  "--timeout allows?",
                  c->own_text, w->what, timeout_s);
    if (err != NULL)
        *err = e;
    return comm_fail(c, &e);
}

/* One round: w and everything else a step on, then notices. */
static enum cohort_code wait_round(struct comm *c, struct comm_work *w, bool first, bool *done,
                                   bool *moved, struct cohort_error *err) {
    c->uncounted = !first;
    enum cohort_code code = w->progress(w->context, done, moved, err);
    c->uncounted = false;
    if (code == COHORT_OK && c->works != NULL && (c->works != w || w->next != NULL))
        code = progress_others(c, w, err);
    if (code != COHORT_OK || *done)
        return code;
    comm_look(c);
    return c->aborted ? comm_give_up(c, err) : COHORT_OK;
}

static void run_idle(struct comm *c, double now) {
    if (c->idle == NULL || now - c->last_idle < IDLE_S)
        return;
    c->last_idle = now;
    c->idle(c->idle_context);
}

/* Longer as the wait lasts, shorter where it ended the last time (the same inference takes about
 * as long again), and no longer than until a message is due that waits for a connection. */
static double nap_s(const struct comm *c, const struct comm_work *w, double now, double begin,
                    double last_move) {
    double s = (now - last_move) / NAP_OF;
    if (w->usual_s > 0)
        s = fmin(s, fabs(begin + w->usual_s - now) / NAP_OF);
    s = fmin(SLEEP_MOST_S, fmax(SLEEP_LEAST_S, s));
    return fmax(0, fmin(s, comm_outbox_due(c) - now));
}

static double stagger(const struct comm *c) {
    return c->rank == 0 ? 0 : STAGGER_S + STAGGER_RANK_S * fmin(c->rank - 1, 10);
}

enum cohort_code comm_wait(struct comm *c, struct comm_work *w, double timeout_s,
                           struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double begin = clock_s();
    double last_move = begin;
    double patience = timeout_s + stagger(c);
    bool done = false;
    comm_link(c, w);
    for (bool first = true; code == COHORT_OK; first = false) {
        bool moved = false;
        code = wait_round(c, w, first, &done, &moved, err);
        if (code != COHORT_OK || done)
            break;
        double now = clock_s();
        run_idle(c, now);
        if (moved)
            last_move = now;
        if (now - last_move > patience)
            code = timed_out(c, w, timeout_s, err);
        else if (now - last_move > SPIN_S)
            nap(nap_s(c, w, now, begin, last_move));
    }
    w->usual_s = clock_s() - begin;
    comm_unlink(c, w);
    return code;
}

struct one_request {
    struct comm *c;
    MPI_Request *request;
};

static enum cohort_code progress_request(void *context, bool *done, bool *moved,
                                         struct cohort_error *err) {
    struct one_request *one = context;
    *moved = false;
    return comm_test(one->c, one->request, done, err);
}

double comm_setup_timeout(const struct comm *c) {
    return fmax(c->timeout_s, c->setup_s);
}

enum cohort_code comm_wait_request(struct comm *c, MPI_Request *request, const char *what,
                                   size_t bytes, struct cohort_error *err) {
    struct one_request one = {.c = c, .request = request};
    struct comm_work w = {.what = what,
                          .progress = progress_request,
                          .context = &one,
                          .requests = request,
                          .request_count = 1,
                          .bytes = bytes};
    return comm_wait(c, &w, comm_setup_timeout(c), err);
}

enum cohort_code comm_poll(struct comm *c, struct cohort_error *err) {
    if (c->alone)
        return COHORT_OK;
    double now = clock_s();
    if (!c->aborted && now - c->last_poll < POLL_S)
        return COHORT_OK;
    c->last_poll = now;
    c->computing = true;
    enum cohort_code code = c->aborted ? COHORT_OK : progress_others(c, NULL, err);
    c->computing = false;
    return code != COHORT_OK ? code : comm_enter(c, err);
}

void comm_set_idle(struct comm *c, comm_idle_fn fn, void *context) {
    c->idle = fn;
    c->idle_context = context;
    c->last_idle = 0;
}
