/* cohort check's parts: looking at this board, and judging and showing what all boards report. */
#ifndef COHORT_CLI_CHECK_H
#define COHORT_CLI_CHECK_H

#include "cli/cli.h"
#include "cli/links.h"

#include <net/if.h>
#include <stdint.h>

#define CHECK_INTERFACES_MAX 32

struct facts { /* travels between boards: fixed widths only */
    char host[LINKS_HOST_BYTES];
    char build[96], mpi[48], isa[32], cpu[128], kernels[64];
    char binding[128]; /* cores that mpirun gave */
    char cores[128];   /* cores that will be used */
    char interface[64], network[32];
    char problem[256]; /* why this rank cannot be used: options, cores; empty when it can */
    uint64_t memory_bytes;
    int32_t threads, cores_total, local_rank;
    int32_t oversubscribed, wireless, reported;
};

struct check { /* all of one `cohort check` */
    struct cli_options common;
    struct cli_ranks ranks;
    struct facts mine, *boards;      /* boards[size] on rank 0 */
    struct link *my_links, *links;   /* [size]; [size][size] on rank 0 */
    unsigned char *buffer, *reports; /* of messages; [size][report_bytes + 1] on rank 0 */
    char (*faults)[512], (*notes)[512];
    int fault_count, note_count, problem_max;
    bool silent; /* some message never came: MPI cannot be ended properly */
};

/* Bytes that each interface but lo has carried. */
struct traffic {
    char name[CHECK_INTERFACES_MAX][IF_NAMESIZE];
    uint64_t bytes[CHECK_INTERFACES_MAX];
    int count;
};

/* Local.  Fills in c->mine, but for the interface; as much of it as can be found, whatever fails.
 * Errors: usage (cores), memory. */
enum cohort_code check_find_board(struct check *c, struct cohort_error *err);
void check_count_traffic(struct traffic *t);
/* Local.  The interface that the messages since `before` went by; none when they went by memory. */
void check_find_interface(struct facts *f, const struct traffic *before);

/* On rank 0, with everybody's boards and links: finds what is wrong and prints tables or JSON.
 * Errors: memory. */
enum cohort_code check_judge(struct check *c, struct cohort_error *err);

#endif
