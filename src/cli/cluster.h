/* A cluster's companion file: what its hostfile cannot say about the boards ("cohort-cluster", 1).
 *
 *     {"format": "cohort-cluster", "version": 1, "boards": [
 *       {"name": "pi1", "address": "10.0.0.11", "network": "10.0.0.0/24",
 *        "cpu_share": 0.5, "memory_limit": "512M", "cores": 4}]}
 *
 * Only "name" must be there; null is the same as left out.  "network" may also stand once for all
 * boards beside "program", the path of cohort on every board, and a "comment".  "cores" is a number
 * of threads or a list as --cores takes it.  Rank 0 reads the file: it need not be on the other
 * boards. */
#ifndef COHORT_CLI_CLUSTER_H
#define COHORT_CLI_CLUSTER_H

#include "cli/cli.h"

#include <stdint.h>

#define CLUSTER_FORMAT  "cohort-cluster"
#define CLUSTER_VERSION 1

struct cluster_board {
    char *name;                  /* host name */
    char *address, *network;     /* NULL: not said; a board's network wins over the cluster's */
    double cpu_share;            /* 1: not dilated */
    uint64_t memory_limit_bytes; /* 0: none */
    int threads;                 /* "cores" as a number; 0: not said */
    char *cores;                 /* "cores" as a list: "all", "big", "0-3"; NULL: not said */
};

struct cluster {
    char *network; /* of boards that name none; NULL: not said */
    char *program; /* NULL: not said */
    struct cluster_board *boards;
    int count;
};

/* Local.  `name` is for messages.  Errors: format (unknown keys with the closest known one),
 * memory. */
enum cohort_code cluster_parse(struct cluster *c, const char *text, size_t bytes, const char *name,
                               struct cohort_error *err);
/* Local.  The same of a file.  Errors: io too. */
enum cohort_code cluster_load(struct cluster *c, const char *path, struct cohort_error *err);
/* "512M", "1.5G", "200k", "4096": bytes, by powers of 1024; 0 when it is no such text. */
uint64_t cluster_bytes(const char *text);
/* All zero is released. */
void cluster_release(struct cluster *c);
void cluster_board_release(struct cluster_board *b);
/* The board of that host name; domains after a dot are left out when one side has none.  A board
 * called "localhost" is any host that has no entry of its own.  NULL: it is not there. */
const struct cluster_board *cluster_find(const struct cluster *c, const char *host);

/* Collective.  What the file that rank 0 names (NULL: none, *board stays all zero) says of this
 * rank's board; its texts are the caller's (cluster_board_release).
 * Errors: io, format, usage (this host is not in the file). */
enum cohort_code cluster_lookup(struct cluster_board *board, const char *path, struct cli_ranks *r,
                                struct cohort_error *err);

#endif
