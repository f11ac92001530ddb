/* Rounds of pairs, and what the two of a pair do.
 *
 * In each pair the lower rank leads: it sends one-letter orders, the other obeys, so that both
 * always agree on what comes next.  Rounds are those of a tournament ("circle method"): everybody
 * meets everybody once, each round's pairs are disjoint.  A round that fails ends at the same time
 * on all ranks, LINKS_SLOT_S after the one before. */
#include "cli/links.h"

#include "base/clock.h"
#include "base/rounds.h"

#include <sched.h>
#include <string.h>

#define PINGS         8
#define PINGS_S       0.012
#define BULK_S        0.020 /* a direction, after the first message */
#define BULK_MAX      16
#define BULK_ENOUGH_S 0.030 /* a first message that takes so long is the measurement */

struct pair {
    MPI_Comm comm;
    int other;
    double deadline;
    unsigned char *buffer;
};

bool links_wait(MPI_Request *request, double deadline, MPI_Status *status) {
    for (int done = 0; !done;) {
        if (MPI_Test(request, &done, status) != MPI_SUCCESS)
            return false;
        if (!done && clock_s() > deadline)
            return false;
        if (!done)
            sched_yield();
    }
    return true;
}

static bool give(struct pair *p, const void *data, size_t bytes) {
    MPI_Request request;
    return MPI_Isend(data, (int)bytes, MPI_BYTE, p->other, LINKS_TAG_PAIR, p->comm, &request) ==
               MPI_SUCCESS &&
           links_wait(&request, p->deadline, MPI_STATUS_IGNORE);
}

static bool take(struct pair *p, void *data, size_t bytes) {
    MPI_Request request;
    return MPI_Irecv(data, (int)bytes, MPI_BYTE, p->other, LINKS_TAG_PAIR, p->comm, &request) ==
               MPI_SUCCESS &&
           links_wait(&request, p->deadline, MPI_STATUS_IGNORE);
}

/* ---- what the two do ------------------------------------------------------------------------- */

static bool greet(struct pair *p, const char *host, struct link *link) {
    static const char nobody[LINKS_HOST_BYTES];
    char *mine = (char *)p->buffer, *theirs = mine + LINKS_HOST_BYTES;
    MPI_Request requests[2];
    memcpy(mine, nobody, LINKS_HOST_BYTES);
    memcpy(mine, host, strnlen(host, LINKS_HOST_BYTES - 1));
    if (MPI_Irecv(theirs, LINKS_HOST_BYTES, MPI_BYTE, p->other, LINKS_TAG_PAIR, p->comm,
                  &requests[0]) != MPI_SUCCESS ||
        MPI_Isend(mine, LINKS_HOST_BYTES, MPI_BYTE, p->other, LINKS_TAG_PAIR, p->comm,
                  &requests[1]) != MPI_SUCCESS)
        return false;
    if (!links_wait(&requests[0], p->deadline, MPI_STATUS_IGNORE) ||
        !links_wait(&requests[1], p->deadline, MPI_STATUS_IGNORE))
        return false;
    memcpy(link->host, theirs, LINKS_HOST_BYTES);
    link->host[LINKS_HOST_BYTES - 1] = '\0';
    return true;
}

/* Obeys until told to end: 'p' answer a byte, 'u' take a bulk and say so, 'd' give a bulk. */
static bool follow(struct pair *p) {
    for (;;) {
        unsigned char *order = p->buffer;
        if (!take(p, order, 1))
            return false;
        switch (*order) {
        case 'p':
            if (!give(p, order, 1))
                return false;
            break;
        case 'u':
            if (!take(p, p->buffer, LINKS_BYTES) || !give(p, p->buffer, 1))
                return false;
            break;
        case 'd':
            if (!give(p, p->buffer, LINKS_BYTES))
                return false;
            break;
        default:
            return true;
        }
    }
}

static bool order(struct pair *p, unsigned char letter) {
    p->buffer[0] = letter;
    return give(p, p->buffer, 1);
}

/* The shortest of some round trips, halved. */
static bool measure_latency(struct pair *p, double *seconds) {
    double begin = clock_s(), least = 1e9;
    for (int i = 0; i < PINGS && (i == 0 || clock_s() - begin < PINGS_S); i++) {
        double t = clock_s();
        if (!order(p, 'p') || !take(p, p->buffer, 1))
            return false;
        t = clock_s() - t;
        least = t < least ? t : least;
    }
    *seconds = 0.5 * least;
    return true;
}

/* One bulk and a byte the other way: twice the latency of an empty one is taken off. */
static bool bulk(struct pair *p, bool up, double *seconds) {
    double t = clock_s();
    if (!order(p, up ? 'u' : 'd'))
        return false;
    if (up ? !give(p, p->buffer, LINKS_BYTES) || !take(p, p->buffer, 1)
           : !take(p, p->buffer, LINKS_BYTES))
        return false;
    *seconds = clock_s() - t;
    return true;
}

static bool measure_bandwidth(struct pair *p, bool up, double latency, double *mbit) {
    double t, least, begin;
    if (!bulk(p, up, &least)) /* the connection warms up */
        return false;
    begin = clock_s();
    for (int i = 0; i < BULK_MAX && least < BULK_ENOUGH_S && clock_s() - begin < BULK_S; i++) {
        if (!bulk(p, up, &t))
            return false;
        least = t < least ? t : least;
    }
    double net = least - 2 * latency;
    *mbit = LINKS_BYTES * 8e-6 / (net > 0.1 * least ? net : 0.1 * least);
    return true;
}

static bool lead(struct pair *p, struct link *link) {
    double latency = 0;
    if (!measure_latency(p, &latency) || !measure_bandwidth(p, true, latency, &link->to_mbit) ||
        !measure_bandwidth(p, false, latency, &link->from_mbit))
        return false;
    link->latency_us = latency * 1e6;
    return order(p, 'e');
}

void links_measure(MPI_Comm comm, int rank, int size, const char *host, double start,
                   unsigned char *buffer, struct link *mine) {
    memset(buffer, 0, LINKS_BYTES);
    memset(mine, 0, (size_t)size * sizeof *mine);
    for (int round = 0; round < rounds_count(size); round++) {
        int other = rounds_partner(rank, size, round);
        struct pair p = {comm, other, start + LINKS_SLOT_S * (round + 1), buffer};
        if (other != rank)
            mine[other].answered = greet(&p, host, &mine[other]) &&
                                   (rank < other ? lead(&p, &mine[other]) : follow(&p));
    }
}
