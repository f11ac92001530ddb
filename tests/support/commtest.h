/* For MPI tests of moving rows: a communicator, and bytes that tell where they belong. */
#ifndef COHORT_TESTS_COMMTEST_H
#define COHORT_TESTS_COMMTEST_H

#include "comm/comm.h"

#include <stddef.h>
#include <stdint.h>

#define UNTOUCHED 0xee /* what memory holds where no row belongs */

/* Collective over MPI_COMM_WORLD; ends the job when there is none. */
struct comm *mt_comm(double timeout_s);
/* What that byte of that row is in that round. */
unsigned char mt_byte(int64_t row, size_t byte, int round);

#endif
