/* Inside src/runtime: a session, and the steps that a plan becomes on one board.
 *
 * cohort_prepare() (session.c) brings graph, plan and weights to every rank and compiles the plan
 * (compile.c) into a list of steps (steps.c); cohort_run() (run.c) executes them; report.c tells
 * what they took. */
#ifndef COHORT_RUNTIME_SESSION_H
#define COHORT_RUNTIME_SESSION_H

#include "cohort.h"

#include "base/buf.h"
#include "base/clock.h"
#include "board/board.h"
#include "board/pool.h"
#include "comm/comm.h"
#include "exec/exec.h"
#include "exec/pixels.h"
#include "exec/tuning.h"
#include "exec/wire.h"
#include "graph/graph.h"
#include "planner/channels.h"
#include "planner/plan.h"
#include "planner/profile.h"
#include "planner/transitions.h"

#include <stdbool.h>

struct adapter;    /* adapt.c */
struct simulation; /* planner/simulate.h */

struct cohort_model {
    struct graph *graph;
    char *path;
};

struct cohort_plan {
    struct plan *plan;
};

enum step_kind {
    STEP_COMPUTE,
    STEP_EXPECT, /* starts an exchange's receives */
    STEP_BEGIN,  /* begins a transfer */
    STEP_MORE,   /* the next part of an exchange may leave */
    STEP_WAIT,   /* … and waits for its end; of an exchange, for what comes in */
    STEP_FINISH, /* … and until an exchange's rows have left */
};

struct cohort_profile {
    struct profile *profile;
    uint64_t *available_bytes; /* of each board's memory, before a session took any of it; 0: not
                                  known; NULL: of none */
};

/* One step of a plan on this board; all ranks have the same steps in the same order. */
struct step {
    enum step_kind kind;
    bool idle; /* this board does nothing here: it does so in another step, or has no part in it */
    int segment;
    int move;              /* which of the plan's transitions; -1: COMPUTE */
    int part;              /* MORE: which one */
    int first_op, last_op; /* COMPUTE: operators [first, last) of the program */
    double begin_ms, ms;   /* of the last run, on clock_ms() */
};

/* A transition of the plan, as this board takes part in it. */
struct move {
    int slot;      /* this board's rows, or -1; SCATTER and GATHER on rank 0: -1, it is in place */
    int root_slot; /* SCATTER, GATHER on rank 0, JOIN where it goes: the whole of it */
    struct comm_transfer *transfer;
    struct rows out, in; /* hulls of what this board sends, and receives */
    /* Where values change on the wire: memory for these rows, from out_first and in_first on; else
     * NULL. */
    char *out_rows, *in_rows;
    int64_t out_first, in_first;
};

/* A segment on this board. */
struct segment_rows {
    int64_t rows;      /* of the segment's last tensor: its own */
    int64_t halo_rows; /* input rows that it needs beyond its share */
};

/* An input that is given as pixels; all zero: it is not. */
struct session_pixels {
    struct pixel_scale scale;
    float *table;         /* [C][256] */
    bool channels_last;   /* the network's input is [N,H,W,C] */
    uint8_t *bytes;       /* rank 0: the image at hand, in the order of the input's rows; NULL: the
                             caller's serve */
    const uint8_t *given; /* rank 0, during a run: no numbers were made of these yet */
};

struct weight_map {
    struct file_map map;
    int value;
    const struct shard *of; /* whose value that is: NULL: the network's */
};

struct cohort_session {
    struct cohort_session_options options;
    struct comm *comm; /* NULL: alone */
    int rank, size;
    struct graph *graph; /* rank 0: the model's; elsewhere its own */
    bool owns_graph;
    struct plan *plan;           /* its own copy */
    struct simulation *forecast; /* of that plan, where rank 0 has a profile; else NULL */
    struct board board;
    struct pool *pool;
    struct shard *shard; /* where the plan has segments by channels: what the program computes … */
    struct channel_work *work; /* … and for each segment which of its nodes */
    struct program *program;
    struct transitions transitions; /* of the plan */
    struct move *moves;             /* one each */
    enum wire wire;
    int64_t wire_saturated;        /* numbers that were too large for it, in all runs */
    size_t wire_bytes;             /* memory for rows on the wire */
    struct segment_rows *segments; /* one for each of the plan's */
    struct step *steps;
    int step_count;
    size_t step_capacity;
    int *input_slots, *output_slots; /* rank 0: of the graph's inputs and outputs */
    struct rows *input_rows;         /* rank 0: which rows of each input it reads itself */
    struct session_pixels *pixels;   /* one for each input; NULL: no input is given as pixels */
    struct tensor *outputs;          /* rank 0: fetched, reused by the next run */
    struct graph *local_model;       /* a file that constants borrow from; NULL: none */
    struct weight_map *weight_maps;  /* cache files that constants borrow from */
    int weight_map_count;
    size_t weight_map_capacity;
    double cpu_ms; /* of the last run on this rank when dilated: before stretching */
    double prepare_ms, weights_ms, run_ms; /* run: the last one, on this rank */
    /* Anonymous memory when the session began, and the most since then, as far as it was looked at:
     * while weights come, when all is ready, behind every run. */
    size_t memory_before, memory_most;
    uint64_t weights_received_bytes;
    bool cache_warned;
    struct adapter *adapter; /* NULL: the plan stays as it is */
    bool lean;  /* memory is limited: weights that a new plan has no use for go with the old one */
    long runs;  /* that have begun */
    bool tuned; /* rank 0 has a tuning file: the same on all ranks */
    struct tuning tuning;             /* rank 0: that file */
    struct kernel_board kernel_board; /* what kernels may know: caches are this board's own */
    struct kernel_choices choices;
    char *choice_text;     /* the names that choices point to */
    struct profile *times; /* dilated: what operators take; NULL: by their CPU time */
    bool failed;           /* a run failed: only cohort_close is allowed now */
};

/* division.c.  divide: collective, when graph, plan and board are there; compiles the plan, fetches
 * weights, prepares the program and the transfers.  before: a program of another plan, and the
 * shard that it computes (NULL: it divides nothing by channels), whose packed weights are used
 * again; NULL: none.  release_division: local.
 *
 * change_plan: collective, between two inferences; the plan's text is the same on all ranks.  After
 * an error, the same on all, the session goes on with the plan that it had, unless messages failed
 * (comm_aborted()). */
enum cohort_code session_divide(struct cohort_session *s, struct program *before,
                                const struct shard *before_shard, struct cohort_error *err);
void session_release_division(struct cohort_session *s);
enum cohort_code session_change_plan(struct cohort_session *s, const char *plan,
                                     struct cohort_error *err);

/* adapt.c.  Local.  How often the plan was changed; -1: it is not watched. */
int session_plan_changes(const struct cohort_session *s);
void session_end_adapting(struct cohort_session *s);

/* compile.c.  Local and deterministic: fills in steps, slots and operators from graph and plan.
 * Errors: plan, memory. */
enum cohort_code session_compile(struct cohort_session *s, struct cohort_error *err);

/* steps.c.  add: appends a step, which is idle or not; errors: memory.  make_transfers: collective,
 * after exec_prepare().
 */
enum cohort_code session_add_step(struct cohort_session *s, enum step_kind kind, int segment,
                                  int move, bool idle, struct cohort_error *err);
enum cohort_code session_make_transfers(struct cohort_session *s, struct cohort_error *err);
/* Local.  Before a transfer (or one part of it) begins, and when it has ended: what is sent becomes
 * what travels, and what came values again.  Nothing where values travel as they are. */
void session_encode_move(struct cohort_session *s, int move, int part);
void session_decode_move(struct cohort_session *s, int move);
void session_release_steps(struct cohort_session *s);
/* Bytes of a row of this value on its way. */
size_t session_row_bytes(const struct cohort_session *s, int value);

/* pixels.c.  find_input: its number, or -1.  open: on rank 0, local; what the caller says of
 * inputs. write, read: the same for other ranks.  make: local, when the program is prepared.  of:
 * NULL where this value is no such input. */
int session_find_input(const struct graph *g, const char *name);
enum cohort_code session_open_pixels(struct cohort_session *s, struct cohort_error *err);
void session_write_pixels(const struct cohort_session *s, struct buf *b);
struct reader session_skip_pixels(struct reader *r); /* what read() will read */
enum cohort_code session_read_pixels(struct cohort_session *s, struct reader *r,
                                     struct cohort_error *err);
enum cohort_code session_make_pixels(struct cohort_session *s, struct cohort_error *err);
const struct session_pixels *session_pixels_of(const struct cohort_session *s, int value);
uint64_t session_pixel_bits(const struct cohort_session *s); /* as planners want it */
/* Rank 0.  give: this input's image, which stays the caller's during the run; errors: shape.  take:
 * makes numbers of all that was given, where it was not done. */
enum cohort_code session_give_pixels(struct cohort_session *s, int input,
                                     const struct cohort_tensor *t, struct cohort_error *err);
void session_take_pixels(struct cohort_session *s);
void session_release_pixels(struct cohort_session *s);

/* report.c.  "scatter", where it is waited for; the tensor that the step moves, or computes up to.
 */
const char *step_kind_name(const struct cohort_session *s, const struct step *t);
const char *step_tensor(const struct cohort_session *s, const struct step *t);

/* session.c.  The first phases of preparing, which tuning has too.  new: collective; the session is
 * NULL after an error.  share_network: collective; graph and plan reach every rank.  open_board:
 * local; finds the board and starts the pool. */
enum cohort_code session_new(struct cohort_session **session, MPI_Comm comm,
                             const struct cohort_session_options *options,
                             struct cohort_error *err);
enum cohort_code session_share_network(struct cohort_session *s, struct cohort_model *model,
                                       const struct cohort_plan *plan, struct cohort_error *err);
enum cohort_code session_open_board(struct cohort_session *s, struct cohort_error *err);
/* After that: are the pool's threads bound to their cores? */
bool session_binds(const struct cohort_session *s);
/* Collective, after these.  When float16 arithmetic was asked for: some board can (or: unsupported,
 * on all), and those that cannot are named. */
enum cohort_code session_agree_on_arithmetic(struct cohort_session *s, struct cohort_error *err);

/* Local.  How operators are to be computed; it borrows from the session. */
struct exec_options session_exec_options(const struct cohort_session *s);

/* choices.c.  Which kernels this rank's board takes, where something was measured.
 *
 * Rank 0 alone reads a tuning file, and decides for all: for every set of instruction sets in the
 * job, the part of the file that fits the lowest rank which has that set and has a part.  So boards
 * that can run the same kernels take the same kernel for a signature, whatever their models, and
 * their rows have the same bits.
 *
 * read: on rank 0, local.  share: collective, after session_open_board(); fills in s->choices. */
enum cohort_code session_read_tuning(struct cohort_session *s, struct cohort_error *err);
enum cohort_code session_share_choices(struct cohort_session *s, struct cohort_error *err);
void session_release_choices(struct cohort_session *s);
/* Local.  What this rank may use of `boards` bytes that its board has (0: unknown): its share of
 * them, its limits. */
uint64_t session_memory(const struct cohort_session *s, uint64_t boards);
/* Collective, after session_open_board().  Fills in s->kernel_board: how much memory a layer's
 * transformed weights may take is a share of the smallest board's, and the same on all. */
enum cohort_code session_share_limits(struct cohort_session *s, struct cohort_error *err);
/* Local.  What this board's measurements are filed under. */
struct tuning_key session_tuning_key(const struct cohort_session *s);

/* profile.c.  Local, after session_share_choices().  What this rank's measurements hold for. */
struct profile_facts;
enum cohort_code session_facts(const struct cohort_session *s, struct profile_facts *f,
                               struct cohort_error *err);

/* expect.c.  share_times: collective, after session_share_choices(); ranks that are dilated keep
 * the caller's profile, where there is one, and all pace their messages by it.  take_times: local,
 * after exec_prepare(); the program's operators take from now on what that says.  Errors: memory.
 */
enum cohort_code session_share_times(struct cohort_session *s, struct cohort_error *err);
enum cohort_code session_take_times(struct cohort_session *s, struct cohort_error *err);

/* shards.c.  Local.  make: before the program; divides what the plan divides by channels.  of_all:
 * what all boards have of that, as one; NULL: it divides nothing so.  drop: when constants were
 * packed.  source: the network's constant that constant `id` of the program is of; -1: of none.
 * uses: may the constant's data be read still? */
enum cohort_code session_make_shard(struct cohort_session *s, struct cohort_error *err);
enum cohort_code session_shard_of_all(struct shard **shard, const struct cohort_session *s,
                                      struct cohort_error *err);
void session_drop_slices(struct cohort_session *s);
int session_constant_source(const struct cohort_session *s, int id);
bool session_uses_constant(const struct cohort_session *s, int id);
void session_release_shard(struct cohort_session *s);

/* weights.c.  Collective.  Brings every constant that this rank's program needs: from the cache, a
 * local file, or the ranks before it in the chain.  What arrives is packed at once, and dropped. */
enum cohort_code session_fetch_weights(struct cohort_session *s, struct cohort_error *err);
/* Local.  Drops the data of constants that were packed; not on rank 0, whose graph is the model's.
 */
void session_drop_weights(struct cohort_session *s);

/* report.c.  Local.  Looks at how much memory is in use. */
void session_note_memory(struct cohort_session *s);

/* Local.  Says something through the caller's log function. */
void session_log(const struct cohort_session *s, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Collective, or local in a session alone: comm_agree(). */
enum cohort_code session_agree(const struct cohort_session *s, enum cohort_code code,
                               struct cohort_error *err);
/* Local.  The error that a test wants this rank to have in this phase; else `code` as it is. */
enum cohort_code session_inject(const struct cohort_session *s, const char *phase,
                                enum cohort_code code, struct cohort_error *err);

#endif
