/* What a link of the farm can do, measured with plain sockets and with MPI.
 *
 *     farm-probe serve ADDRESS PORT            answers the other two until it is ended
 *     farm-probe rate ADDRESS PORT SECONDS     Mbit/s received there, then sent from there
 *     farm-probe rtt ADDRESS PORT COUNT        least and mean round trip of one byte, in ms
 *     farm-probe burn SECONDS                  seconds of CPU it got in so many seconds
 *     mpirun -n 2 farm-probe mpi               1 MB one way each, both ways at once; 1 byte one way
 *
 * Numbers go to stdout, one line. */
#include <arpa/inet.h>
#include <mpi.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE      65536
#define MB         1000000
#define WARM_UP_S  0.5 /* until TCP's window is open */
#define MPI_ROUNDS 8

static char piece[PIECE];

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int die(const char *what) {
    perror(what);
    return 1;
}

static struct sockaddr_in address_of(const char *address, const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, address, &a.sin_addr) != 1)
        a.sin_port = 0;
    return a;
}

/* ---- the other end --------------------------------------------------------------------------- */

/* 's': takes what comes and, at its end, sends the rate back; 'f': sends all it can;
 * 'e': sends each byte back. */
static void sink(int s) {
    double start = seconds(CLOCK_MONOTONIC), counted_from = 0;
    uint64_t bytes = 0;
    for (ssize_t n; (n = read(s, piece, sizeof piece)) > 0;) {
        double now = seconds(CLOCK_MONOTONIC);
        if (counted_from > 0)
            bytes += (uint64_t)n;
        else if (now - start > WARM_UP_S)
            counted_from = now;
    }
    double took = seconds(CLOCK_MONOTONIC) - counted_from;
    double mbit = counted_from > 0 ? (double)bytes * 8e-6 / took : 0;
    if (write(s, &mbit, sizeof mbit) != sizeof mbit)
        perror("write");
}

static void serve_one(int s) {
    char mode = 0;
    int on = 1;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (read(s, &mode, 1) != 1)
        return;
    if (mode == 's')
        sink(s);
    else if (mode == 'f')
        while (send(s, piece, sizeof piece, MSG_NOSIGNAL) > 0)
            ;
    else
        while (read(s, &mode, 1) == 1 && send(s, &mode, 1, MSG_NOSIGNAL) == 1)
            ;
}

static int serve(const char *address, const char *port) {
    struct sockaddr_in a = address_of(address, port);
    int on = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s, (struct sockaddr *)&a, sizeof a) != 0 || listen(s, 8) != 0)
        return die("listening");
    for (;;) {
        int peer = accept(s, NULL, NULL);
        if (peer < 0)
            return die("accept");
        serve_one(peer);
        close(peer);
    }
}

/* ---- this end -------------------------------------------------------------------------------- */

static int reach(const char *address, const char *port, char mode) {
    struct sockaddr_in a = address_of(address, port);
    int on = 1;
    for (int i = 0; i < 50; i++) { /* the server may be about to start */
        int s = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(s, (struct sockaddr *)&a, sizeof a) == 0 && write(s, &mode, 1) == 1)
            return s;
        close(s);
        usleep(100000);
    }
    return -1;
}

static double rate_to(const char *address, const char *port, double time_s) {
    int s = reach(address, port, 's');
    double mbit = 0, end = seconds(CLOCK_MONOTONIC) + time_s + WARM_UP_S;
    while (s >= 0 && seconds(CLOCK_MONOTONIC) < end && write(s, piece, sizeof piece) > 0)
        ;
    shutdown(s, SHUT_WR);
    if (read(s, &mbit, sizeof mbit) != sizeof mbit)
        mbit = 0;
    close(s);
    return mbit;
}

static double rate_from(const char *address, const char *port, double time_s) {
    int s = reach(address, port, 'f');
    double start = seconds(CLOCK_MONOTONIC), from = 0, now = start;
    uint64_t bytes = 0;
    for (ssize_t n;
         s >= 0 && (from == 0 || now - from < time_s) && (n = read(s, piece, sizeof piece)) > 0;) {
        now = seconds(CLOCK_MONOTONIC);
        if (from > 0)
            bytes += (uint64_t)n;
        else if (now - start > WARM_UP_S)
            from = now;
    }
    close(s);
    return from > 0 && now > from ? (double)bytes * 8e-6 / (now - from) : 0;
}

static int rtt(const char *address, const char *port, int count) {
    int s = reach(address, port, 'e');
    double least = 1e9, sum = 0;
    char byte = 1;
    for (int i = 0; i < count; i++) {
        double start = seconds(CLOCK_MONOTONIC);
        if (s < 0 || write(s, &byte, 1) != 1 || read(s, &byte, 1) != 1)
            return die("round trip");
        double took = (seconds(CLOCK_MONOTONIC) - start) * 1e3;
        least = took < least ? took : least;
        sum += took;
        usleep(2000);
    }
    printf("%.3f %.3f\n", least, sum / count);
    return 0;
}

static int burn(double time_s) {
    double end = seconds(CLOCK_MONOTONIC) + time_s;
    while (seconds(CLOCK_MONOTONIC) < end)
        ;
    printf("%.3f\n", seconds(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}

/* ---- MPI ------------------------------------------------------------------------------------- */

/* Mbit/s of 1 MB messages that rank `from` sends, or (both) that both send to each other. */
static double mpi_rate(int rank, int from, bool both, char *out, char *in) {
    MPI_Barrier(MPI_COMM_WORLD);
    double start = MPI_Wtime();
    for (int i = 0; i < MPI_ROUNDS; i++) {
        if (both)
            MPI_Sendrecv(out, MB, MPI_BYTE, 1 - rank, 0, in, MB, MPI_BYTE, 1 - rank, 0,
                         MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        else if (rank == from)
            MPI_Send(out, MB, MPI_BYTE, 1 - rank, 0, MPI_COMM_WORLD);
        else
            MPI_Recv(in, MB, MPI_BYTE, 1 - rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return MPI_ROUNDS * 8.0 / (MPI_Wtime() - start);
}

static double mpi_latency_us(int rank) {
    char byte = 0;
    double least = 1e9;
    for (int i = 0; i < 200; i++) {
        double start = MPI_Wtime();
        if (rank == 0)
            MPI_Send(&byte, 1, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
        MPI_Recv(&byte, 1, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (rank == 1)
            MPI_Send(&byte, 1, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
        double took = (MPI_Wtime() - start) * 5e5;
        least = took < least ? took : least;
    }
    return least;
}

static int mpi(int argc, char **argv) {
    int rank, size;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    char *out = calloc(1, MB), *in = calloc(1, MB);
    if (size != 2 || out == NULL || in == NULL)
        MPI_Abort(MPI_COMM_WORLD, 1);
    mpi_rate(rank, 0, true, out, in); /* connects */
    double there = mpi_rate(rank, 0, false, out, in), back = mpi_rate(rank, 1, false, out, in);
    double both = mpi_rate(rank, 0, true, out, in), us = mpi_latency_us(rank);
    if (rank == 0)
        printf("%.1f %.1f %.1f %.1f\n", there, back, both, us);
    free(out);
    free(in);
    MPI_Finalize();
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "serve") == 0 && argc == 4)
        return serve(argv[2], argv[3]);
    if (strcmp(what, "rtt") == 0 && argc == 5)
        return rtt(argv[2], argv[3], atoi(argv[4]));
    if (strcmp(what, "burn") == 0 && argc == 3)
        return burn(atof(argv[2]));
    if (strcmp(what, "mpi") == 0)
        return mpi(argc, argv);
    if (strcmp(what, "rate") == 0 && argc == 5) {
        double there = rate_to(argv[2], argv[3], atof(argv[4]));
        printf("%.1f %.1f\n", there, rate_from(argv[2], argv[3], atof(argv[4])));
        return 0;
    }
    fprintf(stderr, "usage: farm-probe serve|rate|rtt|burn|mpi ... (see bench/farm-probe.c)\n");
    return 2;
}
