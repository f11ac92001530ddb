/* Cohort: one neural network over many boards, as one MPI job.
 *
 *     cohort_open → cohort_plan_make or _load → cohort_prepare → cohort_run … → cohort_close
 *
 * Rank 0 opens the network and makes the plan; the other ranks pass NULL for both and get what they
 * need in cohort_prepare().  Functions marked "collective" are called by every rank of the
 * communicator, in the same order; when one rank fails in one, all return the same error.
 * A session with MPI_COMM_NULL runs alone on this board and needs no MPI at all.
 * Errors are values: see cohort_error.h.  The library never exits, prints, or reads the
 * environment. */
#ifndef COHORT_H
#define COHORT_H

#include "cohort_error.h"

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COHORT_VERSION  "0.1.0"
#define COHORT_RANK_MAX 8

const char *cohort_version(void); /* of the library linked, which should equal COHORT_VERSION */

/* Element types of inputs and outputs; numbers are ONNX's. */
enum cohort_type {
    COHORT_F32 = 1,
    COHORT_U8 = 2,
    COHORT_I8 = 3,
    COHORT_I32 = 6,
    COHORT_I64 = 7,
    COHORT_BOOL = 9,
    COHORT_F16 = 10,
    COHORT_F64 = 11
};

struct cohort_tensor {
    const char *name; /* of the network's input or output */
    enum cohort_type type;
    int rank;
    int64_t dims[COHORT_RANK_MAX]; /* -1: not known before the run */
    void *data;                    /* dense, row-major (NCHW for images) */
};
/* Bytes of a tensor's data; 0 when a dim is not known or the type has no fixed size. */
size_t cohort_tensor_bytes(const struct cohort_tensor *t);

/* What others than the errors want to say: level 0 a warning, 1 information, 2 detail. */
typedef void (*cohort_log_fn)(void *context, int level, const char *line);
/* A long work goes on: `done` of `total` units of `what`. */
typedef void (*cohort_progress_fn)(void *context, const char *what, uint64_t done, uint64_t total);

/* ---- a network ------------------------------------------------------------------------------- */

struct cohort_model;

struct cohort_open_options { /* all zero: defaults */
    /* For dims left open: "NAME=1x3x224x224", or "1x3x224x224" for the only input. */
    const char *const *shapes;
    int shape_count;
    int keep_nodes; /* no fusing: every node as it stands in the file (slow; for finding faults) */
};

/* Local.  Reads an ONNX file.  Errors: io, format, unsupported, shape, memory. */
enum cohort_code cohort_open(struct cohort_model **model, const char *path,
                             const struct cohort_open_options *options, struct cohort_error *err);
int cohort_input_count(const struct cohort_model *model);
int cohort_output_count(const struct cohort_model *model);
/* Local.  Name, type and dims of input or output i; data is NULL. */
struct cohort_tensor cohort_input(const struct cohort_model *model, int i);
struct cohort_tensor cohort_output(const struct cohort_model *model, int i);

/* ---- the boards ------------------------------------------------------------------------------ */

/* Collective.  Host names of all ranks, in rank order, on every rank (one block: free() it with
 * cohort_names_free).  `names` has one more entry, NULL. */
enum cohort_code cohort_board_names(MPI_Comm comm, char ***names, struct cohort_error *err);
void cohort_names_free(char **names);

/* Collective.  Every rank brings its status; all leave with the status and message of the lowest
 * failing rank, or COHORT_OK.  For what a program does itself between the calls of this library. */
enum cohort_code cohort_agree(MPI_Comm comm, enum cohort_code code, struct cohort_error *err);

/* ---- a plan ---------------------------------------------------------------------------------- */

struct cohort_plan;

struct cohort_plan_options { /* all zero: a sensible default for `boards` boards */
    int boards;              /* 0: 1 */
    const char *groups;      /* "0-4,5-9,10-" by node, or "pool1,pool2" by tensor name */
    const char *ratio;       /* "3:3:2", or "pc=0,pi1=3,pi2=2" by board_names */
    const char *const *board_names;
    int root_feeds; /* board 0 computes no tile */
};

/* What values are while they travel between boards.  F16 and I8 (with a scale for every row of
 * every 16 channels) take a half and a quarter of the bytes and change the answer a little. */
enum cohort_wire { COHORT_WIRE_F32, COHORT_WIRE_F16, COHORT_WIRE_I8 };

enum cohort_code cohort_plan_make(struct cohort_plan **plan, const struct cohort_model *model,
                                  const struct cohort_plan_options *options,
                                  struct cohort_error *err);
enum cohort_code cohort_plan_load(struct cohort_plan **plan, const char *path,
                                  struct cohort_error *err);
enum cohort_code cohort_plan_save(const struct cohort_plan *plan, const char *path,
                                  struct cohort_error *err);
/* Local.  From now on the plan's values travel so. */
void cohort_plan_set_wire(struct cohort_plan *plan, enum cohort_wire wire);
void cohort_plan_free(struct cohort_plan **plan);

/* ---- a session: the network, divided and ready on the boards --------------------------------- */

struct cohort_session;

enum cohort_scatter { COHORT_SCATTER_ORDERED, COHORT_SCATTERV };
enum cohort_weights { COHORT_WEIGHTS_CACHE, COHORT_WEIGHTS_SEND, COHORT_WEIGHTS_LOCAL };
/* F16: the weights of fully connected layers are kept as float16, and computed with as float32:
 * half the memory and its traffic, and weights rounded to 11 bits (cohort_report() says how far
 * off).  Rank 0's choice counts for all. */
enum cohort_weights_type { COHORT_WEIGHTS_F32, COHORT_WEIGHTS_F16 };

/* F16: dense convolutions, and fully connected layers whose weights are not of a type of their own,
 * compute in float16 on the boards that can (64-bit Arm with FEAT_FP16): about twice as fast, and
 * exact to about three digits, not seven.  Sums of more than 64 products are float32, maps stay
 * float32, and nothing overflows that float32 would hold; cohort_report() says what each board
 * does. Other boards compute in float32; an error when no board can.  Rank 0's choice counts for
 * all. */
enum cohort_arithmetic { COHORT_ARITHMETIC_F32, COHORT_ARITHMETIC_F16 };

struct cohort_profile;

/* An input that is given as pixels, bytes [N][H][W][C]: a byte v of channel c stands for
 * (v*scale - mean[c]) / std[c], in float32.  The network's input is float32, [N,C,H,W], or
 * [N,H,W,C] with channels_last; c counts its channels, of which there are 1 to 4.  Bytes go to the
 * boards, whatever the plan's wire: a quarter of what numbers take.  Each board makes its own rows'
 * numbers; the answer has the bits of the same numbers given as float32. */
#define COHORT_PIXEL_CHANNELS 4
struct cohort_pixels {
    const char *input; /* its name; NULL: the network's first */
    float scale;       /* 0: 1 */
    float mean[COHORT_PIXEL_CHANNELS], std[COHORT_PIXEL_CHANNELS]; /* a std of 0: 1 */
    int channels_last;
};

struct cohort_session_options { /* all zero: defaults */
    int threads;                /* 0: every core of this rank's share of its board */
    const char *cores;          /* "all", "big", "0-3" */
    int no_binding;             /* leave the threads' cores to the system */
    const char *kernel;         /* an instruction set's or kernel's name; NULL: the best */
    /* On rank 0: a file that cohort_tune() wrote, from which kernels are chosen where it holds for
     * a board and for what `kernel` leaves to choose from (nothing, where it is a kernel's name);
     * NULL: by estimate.  `tuning_optional`: the file may be missing,
     * and one that is bad is warned of and left alone. */
    const char *tuning;
    int tuning_optional;
    enum cohort_scatter scatter;
    enum cohort_weights weights;
    enum cohort_weights_type weights_type;
    enum cohort_arithmetic arithmetic;
    const char *weights_path;           /* COHORT_WEIGHTS_LOCAL: the model file on this board */
    const char *cache_directory;        /* for weights; NULL: no cache */
    uint64_t cache_limit_bytes;         /* 0: 4 GiB */
    const struct cohort_pixels *pixels; /* on rank 0: the inputs that every run gives as pixels */
    int pixel_count;
    /* What plans for this rank keep to, where it is less than its board has: profiling takes no
     * more, and no kernel is taken whose packed weights would be a large part of it; 0: none. */
    uint64_t memory_limit_bytes;
    /* To try what connections would cost that are made anew for each transfer: whatever an
     * inference moves from one board to another between two segments first waits for so many
     * milliseconds, in which the board sends nothing else.  At most 1000. */
    double setup_ms;
    double timeout_s;      /* 0: 30 */
    double idle_timeout_s; /* how long other ranks wait for the next run to begin; 0: for ever
                              (then a root that is lost between two runs is not noticed) */
    /* Dilation: this board computes at that share of its speed, 0 < cpu_share < 1 (each block of
     * work is followed by a sleep), to stand for a slower one. 0 or 1: off.  One thread unless
     * `threads` says otherwise, and no binding.  cohort_report() counts blocks that came too late
     * because the machine was busy: with more than 1 % of them times mean nothing. */
    double cpu_share;
    /* On rank 0, of these boards, until cohort_prepare() has returned: operators of dilated boards
     * take what was measured there, whatever CPU time they need now; NULL: CPU time over share. */
    const struct cohort_profile *profile;
    double inject_share;   /* for tests: from run number inject_share_run on, 1 being the first and
                              0 profiling, … */
    long inject_share_run; /* … the CPU share is so much of what it was; inject_share 0: it stays */
    int inject_mpi_call;   /* for tests: that MPI call fails */
    const char *inject_phase;    /* for tests: this rank fails in share, board, compile, weights,
                                    prepare, transfers, run, change or report; read at each */
    const char *inject_estimate; /* for tests: this kernel is estimated as the fastest for
                                    everything that it can compute; read until cohort_close() */
    cohort_log_fn log;
    cohort_progress_fn progress;
    void *context; /* of log and progress */
};

/* Collective over `comm` (or local with MPI_COMM_NULL).  model and plan: rank 0's count, others
 * pass NULL; plan NULL on rank 0: the default.  The model must outlive the session on rank 0, and
 * so must the communicator, which is duplicated and left alone. */
enum cohort_code cohort_prepare(struct cohort_session **session, struct cohort_model *model,
                                const struct cohort_plan *plan, MPI_Comm comm,
                                const struct cohort_session_options *options,
                                struct cohort_error *err);

/* Collective.  One inference.  On rank 0: inputs[] in the network's order with data (or by name),
 * those that come as pixels as COHORT_U8 with dims N, H, W, C; outputs[] get shape and data, valid
 * until the next run.  Other ranks pass NULL, 0, NULL, 0. When one rank fails, the others get its
 * error from this call, or, where the plan lets nothing travel to them any more, from their next
 * one. */
enum cohort_code cohort_run(struct cohort_session *session, const struct cohort_tensor *inputs,
                            int input_count, struct cohort_tensor *outputs, int output_count,
                            struct cohort_error *err);

/* Collective.  The timings of the last run as a JSON document on rank 0 (freed with
 * cohort_text_free); *json is NULL elsewhere. */
enum cohort_code cohort_report(struct cohort_session *session, char **json,
                               struct cohort_error *err);
/* Collective.  The same run as a trace: when each step began and ended on every board, clocks
 * aligned to rank 0's, as a JSON document that Perfetto and chrome://tracing show. */
enum cohort_code cohort_trace(struct cohort_session *session, char **json,
                              struct cohort_error *err);
void cohort_text_free(char *text);

/* Collective.  Measures, on every board of `comm` at the same time, which kernel is the fastest for
 * each convolution and product of the network, and puts it into the tuning file `path` (model
 * and path count on rank 0; what else the file holds stays).  Boards of the same kind share the
 * work.  Each board works at most limit_s (0: 60) seconds; what was not reached is left as it was.
 * options: of the board (threads, cores, …).  *json: what was found, on rank 0 (freed with
 * cohort_text_free); NULL elsewhere.  Errors: those of cohort_prepare(), and of the file. */
enum cohort_code cohort_tune(struct cohort_model *model, MPI_Comm comm, const char *path,
                             double limit_s, const struct cohort_session_options *options,
                             char **json, struct cohort_error *err);

/* ---- a profile: what was measured of boards and links ---------------------------------------- */

struct cohort_profile_options { /* all zero: defaults; rank 0's count */
    const char *directory; /* profiles are kept in its folder "profiles", and taken from there where
                              one fits network, boards and settings; NULL: neither */
    const char *file;      /* this profile, which must fit; nothing is kept then.  In a session of
                              one board it may be of a cluster that such a board belongs to */
    int again;             /* measure, whatever is kept */
    int kept;              /* measure nothing: *profile stays untouched where nothing is kept */
    /* For the strategy "fss", measure groups of operators as segments, too: below 0 all of them,
     * else those of at most so many parts that can stand alone; 0: none. */
    int groups;
    int root_feeds; /* groups: are for plans in which board 0 computes nothing */
    int engines;    /* measure one core, all cores, and each cluster of cores of a board, too */
};

/* Collective.  Times every operator of the network (with made-up weights, at several numbers of
 * rows) on every board and the links between all of them, in a few inferences' time, as far as that
 * was not done before.  *profile is rank 0's; it stays untouched elsewhere.  Links are looked at
 * for less than 0.1 s in any case; what has changed is measured again and said.  session: of the
 * board (threads, cpu_share, kernel, …).  Errors: those of cohort_prepare(); io, format, plan of
 * `file`. */
enum cohort_code cohort_profile_make(struct cohort_profile **profile, struct cohort_model *model,
                                     MPI_Comm comm, const struct cohort_profile_options *options,
                                     const struct cohort_session_options *session,
                                     struct cohort_error *err);
enum cohort_code cohort_profile_load(struct cohort_profile **profile, const char *path,
                                     struct cohort_error *err);
enum cohort_code cohort_profile_save(const struct cohort_profile *profile, const char *path,
                                     struct cohort_error *err);
void cohort_profile_free(struct cohort_profile **profile);

struct cohort_search_options { /* all zero: defaults */
    const char *strategy;      /* NULL: "auto", the best that the search finds */
    int boards;                /* the profile's first so many; 0: all */
    int root_feeds;            /* board 0 computes nothing */
    enum cohort_wire wire;
    uint64_t memory_limit_bytes; /* of every board; 0: none */
    /* One for each of the profile's boards, which counts where it is less; 0: none; NULL: for no
     * board.  Borrowed for the call. */
    const uint64_t *board_limits_bytes;
    const struct cohort_pixels *pixels; /* the inputs that will be given as pixels */
    int pixel_count;
    int rows_only; /* "auto" divides nothing by channels: on boards that compute alike, one board's
                      bits */
    double setup_ms; /* each transfer between two boards begins with so long a set-up */
};

/* Local.  Divides the network by what was measured; the plan says what it is expected to take.  It
 * may leave boards out, and answer that one alone is the fastest.  Errors: usage (no such
 * strategy), plan (the profile is of another network, or the strategy cannot do it). */
enum cohort_code cohort_plan_search(struct cohort_plan **plan, const struct cohort_model *model,
                                    const struct cohort_profile *profile,
                                    const struct cohort_search_options *options,
                                    struct cohort_error *err);

/* Local.  On rank 0, from now on: what this profile predicts stands beside what each step of the
 * session's plan took, in its reports and traces.  Nothing happens elsewhere.  Errors: plan (the
 * profile is of another network or of fewer boards), memory. */
enum cohort_code cohort_predict(struct cohort_session *session,
                                const struct cohort_profile *profile, struct cohort_error *err);

/* ---- plans made anew while running ----------------------------------------------------------- */

struct cohort_adapt_options { /* all zero: defaults; rank 0's count */
    double threshold; /* the least predicted gain that is worth a new plan, as a share of the
                         time; 0: 0.05 */
    struct cohort_search_options search; /* boards and wire are the session's */
};

/* What cohort_adapt() did.  On all ranks: changed, changes.  On rank 0 all of it. */
struct cohort_adaptation {
    int changed;                 /* the session has another plan now */
    int changes;                 /* how many it has had */
    double was_ms, predicted_ms; /* an inference, by the corrected profile: with the plan before,
                                    and with the new one */
    double took_ms;              /* of the call */
    char why[160];               /* "pi3 (rank 2) takes 1.98 times as long" */
};

/* Collective, once.  From now on cohort_adapt() corrects this profile (rank 0's; others pass NULL),
 * by which the session's plan need not have been made.  options: NULL: defaults.  It does what
 * cohort_predict() does, too.  Errors: usage, plan, memory. */
enum cohort_code cohort_adapt_begin(struct cohort_session *session,
                                    const struct cohort_profile *profile,
                                    const struct cohort_adapt_options *options,
                                    struct cohort_error *err);
/* Collective, behind every run.  Every few runs rank 0 looks at what all boards took; where a speed
 * has changed it plans anew, and when that promises enough the session goes on with the new plan.
 * On boards that give the same bits plans by rows do not change answers; plans by channels
 * (search.rows_only: there are none) add up in another order, so with these answers agree to
 * rounding.  Those of the run before stay valid.  A board that has no memory for the new plan
 * beside the old one, or the like, is no error: all keep the old one, and the log says why. */
enum cohort_code cohort_adapt(struct cohort_session *session, struct cohort_adaptation *what,
                              struct cohort_error *err);

/* ---- the end --------------------------------------------------------------------------------- */

/* Collective unless a run failed (then local). Accepts NULL. */
void cohort_close(struct cohort_session **session);
void cohort_model_free(struct cohort_model **model);

#ifdef __cplusplus
}
#endif
#endif
