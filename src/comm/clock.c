/* How far the boards' clocks are apart: rank 0 asks each of the others for its time, a few times.
 *
 * The answer is taken to have been given half way between question and answer, so its error is at
 * most half of the fastest round trip (Cristian's algorithm). */
#include "comm/comm_internal.h"

#include "base/clock.h"

#define CLOCK_ROUNDS 12

static enum cohort_code send_clock(struct comm *c, int to, double *numbers, int count,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Request request = MPI_REQUEST_NULL;
    TRY(COMM_MPI(c, MPI_Isend, numbers, count, MPI_DOUBLE, to, COMM_TAG_CLOCK, c->comm, &request));
    TRY(comm_wait_request(c, &request, "comparing clocks", (size_t)count * sizeof *numbers, err));
out:
    return code;
}

static enum cohort_code receive_clock(struct comm *c, int from, double *numbers, int count,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Request request = MPI_REQUEST_NULL;
    TRY(COMM_MPI(c, MPI_Irecv, numbers, count, MPI_DOUBLE, from, COMM_TAG_CLOCK, c->comm,
                 &request));
    TRY(comm_wait_request(c, &request, "comparing clocks", (size_t)count * sizeof *numbers, err));
out:
    return code;
}

/* Rank 0: asks rank r, and tells it what came out. */
static enum cohort_code ask(struct comm *c, int r, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double offset = 0, error = -1;
    for (int i = 0; i < CLOCK_ROUNDS; i++) {
        double asked = clock_s();
        c->clock[0] = 0;
        TRY(send_clock(c, r, &c->clock[0], 1, err));
        TRY(receive_clock(c, r, &c->clock[1], 1, err));
        double answered = clock_s();
        double half = (answered - asked) / 2;
        if (error < 0 || half < error) {
            error = half;
            offset = c->clock[1] - (asked + half);
        }
    }
    c->clock[0] = offset;
    c->clock[1] = error;
    TRY(send_clock(c, r, c->clock, 2, err));
out:
    return code;
}

static enum cohort_code answer(struct comm *c, double *offset_s, double *error_s,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < CLOCK_ROUNDS; i++) {
        TRY(receive_clock(c, 0, &c->clock[0], 1, err));
        c->clock[1] = clock_s();
        TRY(send_clock(c, 0, &c->clock[1], 1, err));
    }
    TRY(receive_clock(c, 0, c->clock, 2, err));
    *offset_s = c->clock[0];
    *error_s = c->clock[1];
out:
    return code;
}

enum cohort_code comm_clock_offset(struct comm *c, double *offset_s, double *error_s,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    *offset_s = *error_s = 0;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    if (c->rank != 0)
        return answer(c, offset_s, error_s, err);
    for (int r = 1; r < c->size; r++)
        TRY(ask(c, r, err));
out:
    return code;
}
