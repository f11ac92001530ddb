#include "tests/support/commtest.h"

#include "tests/support/mpitest.h"

unsigned char mt_byte(int64_t row, size_t byte, int round) {
    return (unsigned char)((uint64_t)row * 131 + byte * 7 + (uint64_t)round * 29 + 1);
}

struct comm *mt_comm(double timeout_s) {
    struct comm *c = NULL;
    struct cohort_error err = {0};
    struct comm_options o = {.timeout_s = timeout_s};
    if (comm_create(&c, MPI_COMM_WORLD, &o, &err) != COHORT_OK) {
        mt_note("%s", err.message);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return c;
}
