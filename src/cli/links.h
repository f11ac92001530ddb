/* How fast every pair of ranks talks, measured briefly: for `cohort check`.
 *
 * Only point-to-point calls with deadlines: a link that does not work is a result here, and must
 * not keep the others from being measured. */
#ifndef COHORT_CLI_LINKS_H
#define COHORT_CLI_LINKS_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINKS_HOST_BYTES 64
#define LINKS_SLOT_S     5.0          /* for all pairs of one round, when one does not answer */
#define LINKS_BYTES      (256u << 10) /* of the messages that measure bandwidth */
#define LINKS_TAG_PAIR   1
#define LINKS_TAG_REPORT 2

struct link {                    /* travels between boards: fixed widths only */
    char host[LINKS_HOST_BYTES]; /* of the other rank */
    double latency_us;           /* one way, of 1 byte */
    double to_mbit,
        from_mbit; /* to the other rank, and back; only the lower rank of a pair knows */
    int32_t answered;
    int32_t reserved;
};

/* Waits until `request` is done or the clock says `deadline`; false: it is not done, and never was
 * cancelled. */
bool links_wait(MPI_Request *request, double deadline, MPI_Status *status);

/* Every rank calls it, with `start` taken right after MPI_Init().  mine[size]: what this rank saw
 * of each other rank; its own entry stays zero.  `buffer` has LINKS_BYTES bytes and must live as
 * long as MPI when a link did not answer.  Disjoint pairs are measured at the same time. */
void links_measure(MPI_Comm comm, int rank, int size, const char *host, double start,
                   unsigned char *buffer, struct link *mine);

#endif
