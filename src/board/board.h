/* What this board is: cores, clusters, caches, memory, name; and which cores this rank may use.
 *
 * Reads hwloc and /proc, never MPI and never the environment. */
#ifndef COHORT_BOARD_BOARD_H
#define COHORT_BOARD_BOARD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOARD_NAME_BYTES 64
#define BOARD_CORES_MAX  1024

struct board_options {
    int threads;       /* 0: one for each core of this rank's share */
    const char *cores; /* "all", "big", "0-3,6"; NULL: all */
    int local_rank;    /* this rank's number among the ranks on the same board … */
    int local_size;    /* … and how many they are */
    bool bind;         /* false: leave binding alone (tests, and when oversubscribed) */
};

struct board {
    char name[BOARD_NAME_BYTES]; /* host name */
    char cpu_model[128];
    char isa[32];    /* "x86_64", "aarch64", "armv7l" */
    int cores_total; /* usable cores of the whole board (the cgroup's, not mpirun's mask) */
    int threads;     /* that this rank runs */
    int core_of[BOARD_CORES_MAX]; /* OS number of the core of each thread, fastest first (a list
                                     given by the user: in its order); valid for [0, threads) */
    unsigned char cluster_of[BOARD_CORES_MAX]; /* of each thread: 0 for the fastest cores, … */
    bool shared;                               /* several ranks share this board */
    bool oversubscribed;                 /* more threads than cores, or more ranks than cores */
    size_t l1_bytes, l2_bytes, l3_bytes; /* the least core's share (L3: whole); 0 unknown */
    uint64_t memory_bytes;               /* the machine's, or what this process's control groups
                                            allow; 0 unknown */
    uint64_t available_bytes;            /* of it, when it was looked at; 0 unknown */
};

/* Detects and divides: ranks on one board get disjoint shares of its usable cores (more ranks than
 * cores: cores are reused, oversubscribed is set). Undoes a narrower binding that mpirun gave.
 * Errors: usage (cores that do not exist, bad list), memory. */
enum cohort_code board_detect(struct board *b, const struct board_options *o,
                              struct cohort_error *err);

/* A machine that was recorded or made up, for tests and for planning elsewhere. */
struct board_machine {
    const char *synthetic; /* hwloc's description, "package:1 core:6 pu:1"; or … */
    const char *xml;       /* … an XML text as hwloc's lstopo writes it */
    const char *allowed;   /* "0-3,6": the CPUs that its cgroup allows; NULL: all */
    const char *sysfs;     /* a folder like /sys/devices/system/cpu, for speeds; NULL: none */
};

/* The same for that machine; never binds.  Errors: usage, memory, format (a bad description). */
enum cohort_code board_detect_machine(struct board *b, const struct board_options *o,
                                      const struct board_machine *machine,
                                      struct cohort_error *err);

/* `physical`: of the machine.  root: in front of /proc and /sys ("": the system's own). */
struct board_memory {
    uint64_t bytes, available_bytes; /* 0: unknown */
};
void board_memory(struct board_memory *m, uint64_t physical, const char *root);

/* The ways to compute on a board: "serial", its first core, which is the fastest; "parallel", all
 * its cores; and where these differ in speed each cluster of them, "cluster 0" the fastest.  Where
 * there is one core there is "serial" alone. */
#define BOARD_ENGINES_MAX 10
struct board_engine {
    char name[24];
    char cores[232]; /* as board_options.cores */
    int threads;
};

/* Fills in list[BOARD_ENGINES_MAX].  machine: NULL for this one.  Errors: as board_detect. */
enum cohort_code board_engines(struct board_engine *list, int *count,
                               const struct board_machine *machine, struct cohort_error *err);
/* The engines of a rank's share of a board; returns how many.  A list of cores too long for its
 * text says "all", and a cluster with such a list is left out. */
int board_engines_of(struct board_engine list[BOARD_ENGINES_MAX], const struct board *b);
/* That share with an engine's cores only. */
enum cohort_code board_of_engine(struct board *out, const struct board *b,
                                 const struct board_engine *e, struct cohort_error *err);

/* "0-3,6" into at most `max` numbers below BOARD_CORES_MAX, in that order, without repetition.
 * Errors: usage. */
enum cohort_code board_parse_list(const char *text, int *numbers, int max, int *count,
                                  struct cohort_error *err);

#endif
