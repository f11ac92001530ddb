/* What all subcommands share: the table of commands, MPI, options, messages, networks by name.
 *
 * src/cli is the only place that reads the environment, initialises MPI, prints results, and exits.
 * A command is a function that returns the process's exit status: 0, 1 (it failed), 2 (it was
 * called wrongly). */
#ifndef COHORT_CLI_CLI_H
#define COHORT_CLI_CLI_H

#include "cohort.h"

#include "base/error.h"
#include "base/options.h"

#include <stdbool.h>
#include <stdio.h>

struct cli_command {
    const char *name;
    const char *usage;   /* "cohort run MODEL --input FILE [options]" */
    const char *summary; /* one line */
    int (*main)(const struct cli_command *self, int argc, char **argv);
    bool mpi; /* may run under mpirun on several ranks */
};

int cmd_run(const struct cli_command *self, int argc, char **argv);
int cmd_verify(const struct cli_command *self, int argc, char **argv);
int cmd_inspect(const struct cli_command *self, int argc, char **argv);
int cmd_plan(const struct cli_command *self, int argc, char **argv);
int cmd_synth(const struct cli_command *self, int argc, char **argv);
int cmd_kernels(const struct cli_command *self, int argc, char **argv);
int cmd_read(const struct cli_command *self, int argc, char **argv);
int cmd_bench(const struct cli_command *self, int argc, char **argv);
int cmd_tune(const struct cli_command *self, int argc, char **argv);
int cmd_profile(const struct cli_command *self, int argc, char **argv);
int cmd_check(const struct cli_command *self, int argc, char **argv);

/* "isa x86_64 bits 64 build 0123456789abcdef": the build is a hash of the sources, equal on all
 * boards that can work together. */
const char *cli_build_text(void);

/* ---- ranks ------------------------------------------------------------------------------- */

/* Rank and number of ranks that mpirun gave, from the environment, without initialising MPI. */
int cli_launch_rank(void);
int cli_launch_size(void);

struct cli_ranks {
    MPI_Comm comm; /* MPI_COMM_NULL when not under mpirun */
    int rank, size;
    bool ended; /* an agreement ended in an error, which so is every rank's: there is no other */
};
/* Collective.  Initialises MPI when the process was launched by mpirun, and only then; from there
 * on all ranks know that all of them understood their options. */
enum cohort_code cli_ranks_begin(struct cli_ranks *r, struct cohort_error *err);
/* The same without a word between the ranks: for looking at links that may not work. */
enum cohort_code cli_ranks_init(struct cli_ranks *r, struct cohort_error *err);
/* Collective.  A last agreement (unless there was one, or a board is lost); says what went wrong,
 * on rank 0, and ends MPI; returns the exit status.  After an error the process also ends when MPI
 * cannot: a lost board would hold MPI_Finalize() for ever. */
int cli_ranks_end(struct cli_ranks *r, enum cohort_code code, struct cohort_error *err);
/* Collective. The lowest failing rank's error on all; nothing to do when alone.  A rank that has an
 * error may leave for cli_ranks_end() at once: its agreement there meets the others' next one. */
enum cohort_code cli_agree(struct cli_ranks *r, enum cohort_code code, struct cohort_error *err);
/* Collective. Rank 0's number on all ranks.  Errors: comm, timeout. */
enum cohort_code cli_broadcast(const struct cli_ranks *r, long *value, struct cohort_error *err);
/* The same for `bytes` bytes, at most INT_MAX. */
enum cohort_code cli_broadcast_bytes(const struct cli_ranks *r, void *data, size_t bytes,
                                     struct cohort_error *err);
/* Collective.  Everybody's `bytes` bytes, in rank order, to rank 0 (all: NULL elsewhere). */
enum cohort_code cli_gather_bytes(const struct cli_ranks *r, const void *mine, void *all,
                                  size_t bytes, struct cohort_error *err);
/* Are the ranks' collectives of no more use: a board was lost, or MPI failed? */
bool cli_lost(enum cohort_code code);

/* ---- messages -------------------------------------------------------------------------------- */

/* "cohort: MESSAGE" to stderr, on rank 0 only; returns the exit status for the code. */
int cli_fail(const struct cohort_error *err);
const char *cli_environment(const char *name);

/* ---- failures that tests ask for --------------------------------------------------------- */

/* COHORT_INJECT=KIND:WHAT[@RANK],…: what stands behind "KIND:", when it is for this rank (all of
 * them without @RANK); NULL otherwise.  alloc:N the N-th allocation and all after it, mpi:N the
 * N-th MPI call, phase:NAME that phase, estimate:KERNEL nothing, but the estimate takes that kernel
 * for the fastest, share:F:N from the N-th run on the CPU share is F of what it was. */
const char *cli_inject(const char *kind);
/* Before the process ends: output that could not be written is an error, and so, when COHORT_INJECT
 * or COHORT_CHECK_LEAKS is set, is memory that is still allocated.  Returns the exit status. */
int cli_finish(int status);
/* Handles --help: prints usage and options to stdout. */
int cli_help(const struct cli_command *self, const struct option_spec *specs);

/* ---- options that several commands have ------------------------------------------------------ */

struct cli_options {
    bool help, json, verbose;
    long threads, repeat, warmup, inject_mpi;
    const char *cores, *kernel, *tuning, *cache, *progress, *weights, *cluster;
    double timeout_s, cache_gb, cpu_share;
    int scatter, weights_type, arithmetic;
    bool no_binding, keep_nodes;
    struct option_list shapes;
    /* division */
    const char *plan, *groups, *ratio, *save_plan;
    int root, wire;   /* wire < 0: as the plan says; CLI_WIRE_AUTO: see wire_choice.h */
    double tolerance; /* 0: not given */
    double setup_ms;
    const char *memory_limit;
    /* synthetic networks */
    long size;
    double width;
    long seed;
    bool features;
};
void cli_options_init(struct cli_options *o);

/* Rows of option tables, to be put together by commands: COMMON, then what fits. */
#define CLI_COMMON_OPTIONS(o)                                                                      \
    {"help", 'h', OPTION_FLAG, &(o).help, NULL, "this text", 0, 0},                                \
        {"verbose", 'v', OPTION_FLAG, &(o).verbose, NULL, "say more", 0, 0}, {                     \
        "cache", 0, OPTION_TEXT, &(o).cache, "DIR",                                                \
            "where weights and generated networks are kept ($XDG_CACHE_HOME/cohort)", 0, 0         \
    }
#define CLI_MODEL_OPTIONS(o)                                                                       \
    {"shape",     0,                                                                               \
     OPTION_LIST, &(o).shapes,                                                                     \
     "NAME=DIMS", "fix an input's shape, e.g. x=1x3x480x640 (NAME= may be left out)",              \
     0,           0},                                                                              \
        {"keep-nodes",                                                                             \
         0,                                                                                        \
         OPTION_FLAG,                                                                              \
         &(o).keep_nodes,                                                                          \
         NULL,                                                                                     \
         "no fusing: every node as in the file, by its reference (slow)",                          \
         0,                                                                                        \
         0},                                                                                       \
        {"size", 0,   OPTION_INT, &(o).size, "N", "generated networks: input height and width",    \
         0,      8192},                                                                            \
        {"width", 0, OPTION_DOUBLE, &(o).width, "F", "generated networks: factor on channels",     \
         0.01,    16},                                                                             \
        {"seed", 0,         OPTION_INT, &(o).seed, "N", "generated networks: seed of the weights", \
         0,      2147483647},                                                                      \
    {                                                                                              \
        "features", 0, OPTION_FLAG, &(o).features, NULL,                                           \
            "generated networks: without the classifier", 0, 0                                     \
    }
#define CLI_BOARD_OPTIONS(o)                                                                        \
    {"threads", 't', OPTION_INT, &(o).threads, "N", "threads per rank (every core of its share)",   \
     1,         1024},                                                                              \
        {"cores", 0, OPTION_TEXT, &(o).cores, "LIST", "all, big, or numbers such as 0-3,6", 0, 0},  \
        {"no-binding",                                                                              \
         0,                                                                                         \
         OPTION_FLAG,                                                                               \
         &(o).no_binding,                                                                           \
         NULL,                                                                                      \
         "leave threads where the system puts them",                                                \
         0,                                                                                         \
         0},                                                                                        \
        {"kernel",    0,      OPTION_TEXT,                                                          \
         &(o).kernel, "NAME", "an instruction set, direct, or a kernel from 'cohort kernels'",      \
         0,           0},                                                                           \
        {"tuning",    0,                                                                            \
         OPTION_TEXT, &(o).tuning,                                                                  \
         "FILE|none", "kernels that 'cohort tune' found fastest (tuning.json in the cache)",        \
         0,           0},                                                                           \
        {"cpu-share",    0,   OPTION_DOUBLE,                                                        \
         &(o).cpu_share, "F", "compute at F of the speed, 0.001 to 1, to stand for slower boards",  \
         0.001,          1},                                                                        \
        {"cluster",   0,                                                                            \
         OPTION_TEXT, &(o).cluster,                                                                 \
         "FILE",      "companion of the hostfile: each board's cpu_share, cores, memory_limit",     \
         0,           0},                                                                           \
        {"timeout",      0,    OPTION_DOUBLE,                                                       \
         &(o).timeout_s, "S",  "a board silent for so long is lost (30)",                           \
         0.05,           86400},                                                                    \
        {"scatter",                                                                                 \
         0,                                                                                         \
         OPTION_CHOICE,                                                                             \
         &(o).scatter,                                                                              \
         "ordered|scatterv",                                                                        \
         "how rank 0 deals out rows (ordered)",                                                     \
         0,                                                                                         \
         0},                                                                                        \
        {"weights",   0,                                                                            \
         OPTION_TEXT, &(o).weights,                                                                 \
         "HOW",       "cache (default), send, or local:PATH of the model on each board",            \
         0,           0},                                                                           \
        {"weights-type",                                                                            \
         0,                                                                                         \
         OPTION_CHOICE,                                                                             \
         &(o).weights_type,                                                                         \
         "f32|f16",                                                                                 \
         "how fully connected weights are kept (f32)",                                              \
         0,                                                                                         \
         0},                                                                                        \
        {"arithmetic",                                                                              \
         0,                                                                                         \
         OPTION_CHOICE,                                                                             \
         &(o).arithmetic,                                                                           \
         "f32|f16",                                                                                 \
         "f16: less exact, faster on Arm that has it (f32)",                                        \
         0,                                                                                         \
         0},                                                                                        \
        {"cache-limit", 0,  OPTION_DOUBLE, &(o).cache_gb, "GB", "size of the cache of weights (4)", \
         0.001,         1e6},                                                                       \
        {"progress", 0, OPTION_TEXT, &(o).progress, "HOW", "auto, bar, plain or none", 0, 0}, {     \
        "inject-mpi", 0, OPTION_INT, &(o).inject_mpi, "N",                                          \
            "for tests: the Nth MPI call of rank 1 fails", 0, 1000000                               \
    }
/* WIRES: what --wire may be; run and bench measure, and can choose. */
#define CLI_WIRES_TEXT      "f32|f16|i8"
#define CLI_WIRES_AUTO_TEXT CLI_WIRES_TEXT "|auto"
#define CLI_TOLERANCE_OPTION(o)                                                                    \
    {                                                                                              \
        "tolerance", 0, OPTION_DOUBLE, &(o).tolerance, "T",                                        \
            "--wire auto: the most that the answer may differ, of its largest value (0.001)",      \
            1e-12, 1                                                                               \
    }
#define CLI_PLAN_OPTIONS(o, wires)                                                                  \
    {"plan", 0, OPTION_TEXT, &(o).plan, "FILE", "divide as this plan says", 0, 0},                  \
        {"groups",    0,      OPTION_TEXT,                                                          \
         &(o).groups, "LIST", "fused groups by node, 0-4,5-9,10-, or by the tensors that end them", \
         0,           0},                                                                           \
        {"ratio",    0,      OPTION_TEXT,                                                           \
         &(o).ratio, "LIST", "shares of the boards, 3:3:2 or pc=0,pi1=3,pi2=2",                     \
         0,          0},                                                                            \
        {"wire",    0,     OPTION_CHOICE,                                                           \
         &(o).wire, wires, "what travels between boards (as the plan says, else f32)",              \
         0,         0},                                                                             \
    {                                                                                               \
        "root", 0, OPTION_CHOICE, &(o).root, "work|feed",                                           \
            "rank 0 computes too, or only feeds the others", 0, 0                                   \
    }
#define CLI_SETUP_OPTION(o)                                                                        \
    {                                                                                              \
        "setup-ms", 0, OPTION_DOUBLE, &(o).setup_ms, "T",                                          \
            "each transfer between two boards begins with so long a set-up (0)", 0, 1000           \
    }
#define CLI_OPTIONS_END                                                                            \
    { NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0 }

/* Parses into targets; takes --help and mistakes off the caller's hands: false means leave with
 * *status. */
bool cli_parse(const struct cli_command *self, const struct option_spec *specs, const bool *help,
               int argc, char **argv, const char **positional, int max, int *count, int *status);

/* ---- networks and sessions ------------------------------------------------------------------- */

/* Opens a file, or a generated network by its name (made in the cache the first time). */
enum cohort_code cli_open_model(struct cohort_model **m, const char *name,
                                const struct cli_options *o, struct cohort_error *err);
/* The plan that the options ask for; *plan stays NULL when they ask for none. Rank 0 only.
 * names: boards' host names or NULL. */
enum cohort_code cli_make_plan(struct cohort_plan **plan, const struct cohort_model *m,
                               const struct cli_options *o, int boards, char **names,
                               struct cohort_error *err);
/* Collective (--cluster). Fills in the session's options; `state` must live as long as the session.
 */
struct cli_session_state {
    const struct cli_options *options;
    char *cache, *cores, *tuning; /* freed by cli_session_release */
    const char *what;             /* progress: what it was last about, and when it was shown */
    double shown_ms;
    bool bar, plain;
    int rank;
    char injected[64]; /* for tests: a phase or a kernel's name */
};
enum cohort_code cli_session_options(struct cohort_session_options *out,
                                     struct cli_session_state *state, const struct cli_options *o,
                                     struct cli_ranks *r, struct cohort_error *err);
void cli_session_release(struct cli_session_state *state);

/* The cache directory, new: --cache, else $XDG_CACHE_HOME/cohort, else ~/.cache/cohort; NULL when
 * there is none. */
char *cli_cache_directory(const struct cli_options *o);

/* The timing table of a report (JSON from cohort_report) for people. */
enum cohort_code cli_print_report(FILE *out, const char *json, struct cohort_error *err);

/* Says on stderr that the run does not count when more than 1 % of a dilated board's blocks were
 * late. */
enum cohort_code cli_warn_late(const char *json, struct cohort_error *err);

/* Median, 95th percentile and minimum of n times; sorts them. */
struct cli_stats {
    double median, p95, min;
};
struct cli_stats cli_statistics(double *ms, int n);

#endif
