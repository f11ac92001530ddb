/* A profile: what was measured of a cluster's boards and links, for one network.  Pure data;
 * reading, writing, checking, and the curves' arithmetic.
 *
 * src/profile measures and fills one in, `--synthetic` makes one up (planner/synthetic.h), the
 * planner reads it.  It has two parts.  Compute: for every kind of board, the time of every
 * operator over the number of rows that it computes, as the dilated board takes it.  Links: for
 * every ordered pair of boards, the time of a message over its bytes.  docs/profile-format.md is
 * the JSON. */
#ifndef COHORT_PLANNER_PROFILE_H
#define COHORT_PLANNER_PROFILE_H

#include "base/error.h"
#include "graph/graph.h"

#include <stdbool.h>
#include <stdint.h>

#define PROFILE_FORMAT  "cohort-profile"
#define PROFILE_VERSION 2

/* Milliseconds over an amount (rows, bytes), linear between points[count], whose x rise from above
 * 0.  Beyond the last point, and below the first, the line goes on; never below 0. */
struct profile_point {
    double x, ms;
};
struct profile_curve {
    struct profile_point *points;
    int count;
};
/* 0 at x <= 0: nothing to do takes no time. */
double profile_curve_ms(const struct profile_curve *c, double x);
/* What a message of no bytes would take, by the first piece of a link's curve. */
double profile_latency_ms(const struct profile_curve *c);

/* A way to compute on a board: some of its cores (src/board/board.h), and what each operator takes
 * there by itself, all rows of it. */
struct profile_engine {
    char *name;  /* "serial", "parallel", "cluster 0" … */
    char *cores; /* "0-3,6", of the type's first board */
    int threads;
    double inference_ms; /* as the network runs */
    double *ms;          /* [node_count] */
};

/* Boards that compute alike: the same CPU model, kernels, threads and dilation. */
struct profile_type {
    char *cpu;     /* the CPU's model, as board_detect() names it */
    char *isa;     /* "generic avx2 avx512" */
    char *kernels; /* which of Cohort's kernels: a hash of their sources, and the user's choice */
    int threads;   /* of a rank */
    double cpu_share;             /* 1: not dilated */
    double clock_mhz;             /* the cores' highest; 0: unknown */
    struct profile_curve *curves; /* over rows of the operator's first output */
    int curve_count;
    int *curve_of; /* one entry a node of the graph: its curve; -1: takes no time */
    /* Likewise where the node behind it runs with it, in the same segment: boards compute the two
     * in strips (src/exec/chain.h).  -1: as ever; NULL: all are. */
    int *chained_of;
    double
        *weight_bytes; /* of each node, as its kernel packs them; NULL: as large as in the file */
    double workspace_bytes;         /* what kernels need beside weights and maps */
    struct profile_engine *engines; /* in board_engines_of()'s order; NULL: not asked */
    int engine_count;
    double encode_ms_per_mb, decode_ms_per_mb; /* to and from the 2-byte wire, of 10^6 f32 bytes */
};

struct profile_board {
    char *host;
    int type;
    double scale;          /* time of this board over its type's curves; 1 for most */
    uint64_t memory_bytes; /* 0: unknown */
    char *remark;          /* "throttled: 600 of 1500 MHz, 82 C"; NULL: nothing to say */
};

/* Measured computing times of groups of operators, each run as a segment in tiles is run, by boards
 * that have their shares of the rows, halo rows included.  For the strategy that searches all
 * configurations (`cohort profile --groups all`). */
struct profile_group {
    int first, last; /* nodes [first, last) */
    double ms;       /* of the slowest board */
};
struct profile_groups {
    int longest;    /* so many units (planner/groups.h) in a group at most; 0: no limit */
    double seconds; /* that measuring took */
    double *shares; /* [board_count]: of the rows, adding up to 1; 0: computed nothing */
    struct profile_group *list;
    int count;
};

struct profile {
    char *network;      /* graph name, for people */
    char signature[33]; /* graph_signature() */
    char *version;      /* of Cohort, that measured */
    int node_count;     /* of the graph */
    struct profile_type *types;
    int type_count;
    struct profile_board *boards; /* in rank order */
    int board_count;
    struct profile_curve *links; /* over bytes: from the send's begin to the last byte received */
    int link_count;              /* equal links share a curve */
    int *link_of;                /* [from * board_count + to]: curve; -1 on the diagonal */
    /* Root to all at once and back: measured time over the sum of the links' own. */
    double scatter_factor, gather_factor;
    double wake_ms; /* a board that has waited for a while notices a message so much later */
    struct profile_groups *groups; /* NULL: none measured */
};

void profile_destroy(struct profile **p);
/* Room for `count` groups, all zero, instead of what is there.  Errors: memory. */
enum cohort_code profile_groups_create(struct profile *p, int count, struct cohort_error *err);
void profile_groups_destroy(struct profile_groups **g);
/* Room for `count` engines of a type of p, all zero but for ms, instead of what is there.  Errors:
 * memory. */
enum cohort_code profile_engines_create(const struct profile *p, struct profile_type *t, int count,
                                        struct cohort_error *err);
void profile_engines_destroy(struct profile_type *t);
/* Is a type's engine known in any? */
bool profile_has_engines(const struct profile *p);
/* Errors: io, format (naming the file and the key), memory. */
enum cohort_code profile_load(struct profile **p, const char *path, struct cohort_error *err);
enum cohort_code profile_parse(struct profile **p, const char *text, size_t bytes, const char *what,
                               struct cohort_error *err);
/* JSON text (mem_free), the same for the same profile, byte for byte. */
enum cohort_code profile_print(const struct profile *p, char **text, struct cohort_error *err);
enum cohort_code profile_save(const struct profile *p, const char *path, struct cohort_error *err);

/* A copy.  Errors: memory. */
enum cohort_code profile_copy(struct profile **copy, const struct profile *p,
                              struct cohort_error *err);

/* Is it for this network?  Errors: plan, saying what differs. */
enum cohort_code profile_check(const struct profile *p, const struct graph *g,
                               struct cohort_error *err);

/* Milliseconds of `rows` rows of node `node` on board `board`, all its threads. */
double profile_node_ms(const struct profile *p, int board, int node, int64_t rows);
/* The same where the next node runs with it. */
double profile_chained_ms(const struct profile *p, int board, int node, int64_t rows);
/* An inference, all of it on that board. */
double profile_inference_ms(const struct profile *p, int board);
/* Milliseconds of a message of `bytes` bytes; 0 for none, and from a board to itself. */
double profile_link_ms(const struct profile *p, int from, int to, double bytes);

#endif
