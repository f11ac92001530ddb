/* One rank is killed or stopped in the middle of transfers; the others must say which, soon.
 * Not run by itself: tests/long/lost_board.sh starts it (mpirun must survive the loss).
 * Arguments: scatterv|ordered VICTIM kill|stop */
#include "tests/support/mpitest.h"

#include "comm/comm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEIGHT    60
#define ROW_BYTES 50000

static unsigned char map[HEIGHT * ROW_BYTES], mine[HEIGHT * ROW_BYTES];

int main(int argc, char **argv) {
    struct comm *c = NULL;
    struct comm_transfer *scatter = NULL;
    struct comm_transfer *gather = NULL;
    struct comm_options o = {.timeout_s = 1};
    struct cohort_error err = {0};
    enum cohort_code code = COHORT_OK;
    int64_t begins[64];
    int64_t ends[64];
    double lost = mt_now();
    mt_begin(&argc, &argv, 40);
    if (argc != 4 || mt_size > 64)
        MPI_Abort(MPI_COMM_WORLD, 2);
    enum comm_scatter how = strcmp(argv[1], "ordered") == 0 ? COMM_ORDERED : COMM_SCATTERV;
    for (int r = 0; r < mt_size; r++) {
        begins[r] = HEIGHT * r / mt_size;
        ends[r] = HEIGHT * (r + 1) / mt_size;
    }
    struct comm_ranges ranges = {.begin = begins, .end = ends};
    TRY(comm_create(&c, MPI_COMM_WORLD, &o, &err));
    TRY(comm_scatter_create(&scatter, c, how, ROW_BYTES, &ranges, map, mine, &err));
    TRY(comm_gather_create(&gather, c, ROW_BYTES, &ranges, map, mine, &err));
    for (int round = 0; round < 100; round++) {
        if (round == 20) {
            lost = mt_now();
            if (mt_rank == atoi(argv[2]))
                printf("victim %ld\n", (long)getpid());
            if (mt_rank == atoi(argv[2]))
                raise(strcmp(argv[3], "kill") == 0 ? SIGKILL : SIGSTOP);
        }
        TRY(comm_transfer_begin(scatter, &err));
        TRY(comm_transfer_end(scatter, &err));
        TRY(comm_transfer_begin(gather, &err));
        TRY(comm_transfer_end(gather, &err));
    }
out:
    printf("rank %d: %s after %.1f s: %s\n", mt_rank, cohort_code_name(code), mt_now() - lost,
           err.message);
    comm_transfer_destroy(&scatter);
    comm_transfer_destroy(&gather);
    comm_destroy(&c);
    printf("rank %d: closed after %.1f s\n", mt_rank, mt_now() - lost);
    fflush(stdout);
    _exit(0); /* MPI_Finalize would wait for the lost rank */
}
