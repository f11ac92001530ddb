/* How much of a halo exchange with the neighbours is hidden behind computing, by one way of doing
 * it; bench/overlap runs it for each way and puts the lines together.
 *
 *     overlap-probe WAY PIECE_KB TEST_MS
 *
 * Every rank exchanges 200 KB with the ranks beside it while it computes for 40 ms: WAY is "main"
 * (the computing thread starts, tests every TEST_MS, 0: never, and waits) or "thread" (a thread of
 * its own drives MPI).  PIECE_KB is how the 200 KB are cut.  Prints the exposed wait, the slowest
 * rank's, and the CPU time that waiting took: medians, and the 90th percentile of the wait. */
#include <mpi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES      (200 * 1024)
#define COMPUTE_MS 40.0
#define ROUNDS     25
#define REQUESTS   64
#define NAP_US     50

struct exchange {
    int rank, size, piece, count;
    char *memory[4]; /* to and from the rank before, to and from the one behind */
    MPI_Request requests[REQUESTS];
};

struct driver { /* the thread of its own */
    struct exchange *exchange;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool go, done, quit;
};

static double clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = NAP_US * 1000}, NULL);
}

/* Work that takes `ms` at this machine's speed, whatever else goes on. */
static void compute(double rounds) {
    volatile double sum = 0;
    for (long i = 0; i < (long)rounds; i++)
        sum = sum * 0.999 + 1e-3;
}

static double rounds_per_ms(void) {
    double best = 0;
    for (int i = 0; i < 10; i++) {
        double begin = clock_of(CLOCK_MONOTONIC);
        compute(1e6);
        double rate = 1e6 / (clock_of(CLOCK_MONOTONIC) - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static void start(struct exchange *e) {
    e->count = 0;
    for (int send = 0; send < 2; send++)
        for (int side = 0; side < 2; side++) {
            int peer = side == 0 ? e->rank - 1 : e->rank + 1;
            for (int at = 0; peer >= 0 && peer < e->size && at < BYTES; at += e->piece) {
                int bytes = BYTES - at < e->piece ? BYTES - at : e->piece;
                char *memory = e->memory[side * 2 + send] + at;
                MPI_Request *r = &e->requests[e->count++];
                if (send)
                    MPI_Isend(memory, bytes, MPI_BYTE, peer, 1, MPI_COMM_WORLD, r);
                else
                    MPI_Irecv(memory, bytes, MPI_BYTE, peer, 1, MPI_COMM_WORLD, r);
            }
        }
}

static bool ended(struct exchange *e) {
    int flag;
    MPI_Testall(e->count, e->requests, &flag, MPI_STATUSES_IGNORE);
    return flag != 0;
}

static void *drive(void *context) {
    struct driver *d = context;
    pthread_mutex_lock(&d->lock);
    while (!d->quit) {
        if (!d->go) {
            pthread_cond_wait(&d->changed, &d->lock);
            continue;
        }
        d->go = false;
        pthread_mutex_unlock(&d->lock);
        start(d->exchange);
        while (!ended(d->exchange))
            nap();
        pthread_mutex_lock(&d->lock);
        d->done = true;
        pthread_cond_broadcast(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void tell(struct driver *d, bool *flag) {
    pthread_mutex_lock(&d->lock);
    *flag = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

/* One exchange behind one computation: the wait that is left. */
static double once(struct exchange *e, struct driver *d, double per_ms, double test_ms) {
    bool done = false;
    if (d != NULL) {
        d->done = false;
        tell(d, &d->go);
    } else {
        start(e);
    }
    double block = test_ms > 0 ? test_ms : COMPUTE_MS;
    for (double ms = 0; ms < COMPUTE_MS; ms += block) {
        compute(per_ms * block);
        if (d == NULL && test_ms > 0 && !done)
            done = ended(e);
    }
    double begin = clock_of(CLOCK_MONOTONIC);
    if (d != NULL) {
        pthread_mutex_lock(&d->lock);
        while (!d->done)
            pthread_cond_wait(&d->changed, &d->lock);
        pthread_mutex_unlock(&d->lock);
    } else {
        while (!done && !(done = ended(e)))
            nap();
    }
    return clock_of(CLOCK_MONOTONIC) - begin;
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv) {
    int provided;
    bool thread = argc > 1 && strcmp(argv[1], "thread") == 0;
    double test_ms = argc > 3 ? atof(argv[3]) : 0, wait[ROUNDS], cpu[ROUNDS];
    struct exchange e = {.piece = argc > 2 ? atoi(argv[2]) * 1024 : 0};
    struct driver d = {
        .exchange = &e, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t driver;
    if (e.piece < 1 || e.piece * (REQUESTS / 4) < BYTES) {
        fprintf(stderr, "usage: overlap-probe main|thread PIECE_KB TEST_MS\n");
        return 2;
    }
    MPI_Init_thread(&argc, &argv, thread ? MPI_THREAD_MULTIPLE : MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &e.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &e.size);
    for (int i = 0; i < 4; i++)
        if ((e.memory[i] = calloc(1, BYTES)) == NULL)
            MPI_Abort(MPI_COMM_WORLD, 1);
    if (thread && (provided < MPI_THREAD_MULTIPLE || pthread_create(&driver, NULL, drive, &d) != 0))
        MPI_Abort(MPI_COMM_WORLD, 1);
    double per_ms = rounds_per_ms();
    MPI_Allreduce(MPI_IN_PLACE, &per_ms, 1, MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
    for (int i = 0; i < ROUNDS; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double before = clock_of(CLOCK_PROCESS_CPUTIME_ID);
        wait[i] = once(&e, thread ? &d : NULL, per_ms, test_ms);
        cpu[i] = clock_of(CLOCK_PROCESS_CPUTIME_ID) - before;
        MPI_Allreduce(MPI_IN_PLACE, &wait[i], 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        MPI_Allreduce(MPI_IN_PLACE, &cpu[i], 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    }
    qsort(wait, ROUNDS, sizeof *wait, ascending);
    qsort(cpu, ROUNDS, sizeof *cpu, ascending);
    if (e.rank == 0)
        printf("%.1f %.1f %.1f\n", wait[ROUNDS / 2], wait[ROUNDS * 9 / 10], cpu[ROUNDS / 2]);
    if (thread) {
        tell(&d, &d.quit);
        pthread_join(driver, NULL);
    }
    for (int i = 0; i < 4; i++)
        free(e.memory[i]);
    MPI_Finalize();
    return 0;
}
