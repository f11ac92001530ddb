/* Everything that goes over MPI: agreement in set-up, moving rows during inference, weights.
 *
 * On the inference path nothing blocks without a deadline and nothing is allocated: operations are
 * non-blocking MPI calls, waited for by comm_wait(), which tests, sleeps shortly, runs the caller's
 * idle function, looks for another rank's abort notice, and gives up at the deadline. */
#ifndef COHORT_COMM_COMM_H
#define COHORT_COMM_COMM_H

#include "base/buf.h"
#include "base/error.h"
#include "board/board.h"

#include <mpi.h>
#include <stdbool.h>

/* All tags of the project, on its own communicator. */
enum comm_tag {
    COMM_TAG_ABORT = 1,
    COMM_TAG_PROBE, /* "are you alive?" and the answer, when something takes too long */
    COMM_TAG_WEIGHTS,
    COMM_TAG_CLOCK,
    COMM_TAG_ROWS = 16 /* the first of the row transfers' tags: each transfer has its own */
};

struct comm_options { /* NULL: all zero */
    double
        timeout_s; /* a message that takes longer means a lost board; <= 0: 30 s; INFINITY: none */
    int inject_call; /* for tests: the n-th wrapped MPI call on this rank fails; 0: none */
};

struct comm;

/* Collective over `world`.  Duplicates it (errors return), collects host names.  With MPI_COMM_NULL
 * this is one rank alone, and nothing here calls MPI at all.
 *
 * From then on an MPI call that fails, and a wait that takes too long, tell all other ranks
 * (as comm_abort() does): every call on every rank then returns that same error, at once.
 * Set-up allows at least 300 s a step: making or packing a large network takes a slow board long.
 * Errors: comm, timeout, memory. */
enum cohort_code comm_create(struct comm **c, MPI_Comm world, const struct comm_options *o,
                             struct cohort_error *err);
/* Local when an abort happened, else collective (frees the communicator).  Transfers go first.
 * After an abort, requests that never completed are cancelled where MPI can, else left behind:
 * their peers have given up too, so nothing arrives for them any more. */
void comm_destroy(struct comm **c);

int comm_rank(const struct comm *c);
int comm_size(const struct comm *c);
/* Host name as it is; when several boards have that same name, "name#1", "name#2", … */
const char *comm_host(const struct comm *c, int rank);
/* "pi3 (rank 2)"; rank 0 of several machines: "pi1 (rank 0, first line of the hostfile)"; points
 * into c. */
const char *comm_board_text(const struct comm *c, int rank);
int comm_local_rank(const struct comm *c); /* among the ranks on this board, as MPI knows them */
int comm_local_size(const struct comm *c);
/* Local.  For waits from now on; as in the options.  INFINITY for "the next image, some day":
 * another rank's abort notice still ends such a wait. */
void comm_set_timeout(struct comm *c, double timeout_s);
/* Local.  What a step of set-up may take at least, from now on (300 s). */
void comm_set_setup_timeout(struct comm *c, double timeout_s);
/* Local.  Messages from here to that rank pass its link at so many bytes a second (of a profile; 0:
 * not known, as in the beginning).  Rows then leave one message after the other, in the order in
 * which transfers begin, each when those before it should have left: what is wanted first arrives
 * first, where a shared link would bring everything at the same late time. */
void comm_pace(struct comm *c, int to, double bytes_per_s);
/* Local; the same on all ranks, and before any transfer is created.  To every rank that a transfer
 * sends anything to, its first message waits for so long a set-up, in which nothing else leaves
 * from here: what making a connection would take.  Stages of a sum or of a ring are
 * transfers of their own; scatter and gather are then made of messages
 * that follow one another.  0: none, as in the beginning. */
void comm_connect_delay(struct comm *c, double seconds);
/* Local.  MPI calls made so far that inject_call counts (tests of a wait after its first are not).
 */
long comm_calls(const struct comm *c);

/* ---- set-up: collective, may allocate -------------------------------------------------------- */

/* Collective over `world`.  comm_agree() without a communicator of ours: it makes one for the
 * purpose, and does so even where memory has run out. */
enum cohort_code comm_agree_over(MPI_Comm world, enum cohort_code code, struct cohort_error *err);
/* Collective.  Every rank brings its status; all leave with the status and message of the lowest
 * failing rank (its board's name put in front when there are several ranks), or COHORT_OK when none
 * failed. */
enum cohort_code comm_agree(struct comm *c, enum cohort_code code, struct cohort_error *err);
/* Collective. Root's bytes reach everybody (any size); others' b holds just those.  Errors: memory.
 */
enum cohort_code comm_broadcast(struct comm *c, struct buf *b, struct cohort_error *err);
/* Collective. Proves that `text` is the same on all ranks ("what" names it in the message).
 * Errors: usage, naming the first board that differs from rank 0. */
enum cohort_code comm_prove_equal(struct comm *c, const char *what, const char *text,
                                  struct cohort_error *err);
/* Collective. Everybody's `bytes` bytes, in rank order, to rank 0 (out: size*bytes there; may be
 * NULL elsewhere). */
enum cohort_code comm_gather_bytes(struct comm *c, const void *mine, size_t bytes, void *out,
                                   struct cohort_error *err);
enum cohort_code comm_barrier(struct comm *c, struct cohort_error *err);
/* Collective.  *offset_s: this board's monotonic clock minus rank 0's, in seconds, known to within
 * *error_s; both 0 on rank 0.  Costs a dozen round trips to each rank. */
enum cohort_code comm_clock_offset(struct comm *c, double *offset_s, double *error_s,
                                   struct cohort_error *err);

/* ---- inference: row transfers ---------------------------------------------------------------- */

/* A row range for each rank: rank r has rows [begin[r], end[r]) of a value (empty allowed). */
struct comm_ranges { /* size entries each; copied */
    const int64_t *begin, *end;
};

enum comm_scatter { COMM_SCATTERV, COMM_ORDERED };

struct comm_transfer; /* prepared once, run many times */

/* Collective, as is gather's create: an argument that is wrong on one rank is an error on all.
 * Errors: unsupported (a row or a row number above INT_MAX), internal (a range that is none).
 *
 * Root's full map (row 0 at root_data) to each rank's rows; ranges may overlap.
 * `mine` receives this rank's rows (row begin[rank] first); on the root, mine == NULL: in place.
 * COMM_SCATTERV: one MPI_Iscatterv of a row datatype.  COMM_ORDERED: an exchange's messages, in
 * rank order and one after the other, so that each rank gets its rows as early as possible.  A rank
 * with no rows takes part in nothing. */
enum cohort_code comm_scatter_create(struct comm_transfer **t, struct comm *c,
                                     enum comm_scatter how, size_t row_bytes,
                                     const struct comm_ranges *ranges, void *root_data, void *mine,
                                     struct cohort_error *err);
/* Collective.  Each rank's rows to the root's full map, by MPI_Igatherv. Ranges must be disjoint.
 */
enum cohort_code comm_gather_create(struct comm_transfer **t, struct comm *c, size_t row_bytes,
                                    const struct comm_ranges *ranges, void *root_data, void *mine,
                                    struct cohort_error *err);

/* Rows that go from one rank to another, straight. */
struct comm_move {
    int from, to;
    int64_t begin, end; /* not empty */
};
struct comm_rows { /* memory: row `first` is at data */
    void *data;
    int64_t first;
};
/* Messages are no longer than this: below Open MPI's eager limit they leave, and arrive, while both
 * sides compute (bench/overlap). */
#define COMM_PIECE_BYTES (48 * 1024)

/* Collective; the moves are the same on all ranks.  Each rank sends from `send` and receives into
 * `receive`, which may be the same memory; a row that a rank receives comes from one rank only.
 * Persistent messages of at most COMM_PIECE_BYTES; receives are started before sends.  Errors: as
 * above, and internal (a move that is none). */
enum cohort_code comm_exchange_create(struct comm_transfer **t, struct comm *c, size_t row_bytes,
                                      const struct comm_move *moves, int count,
                                      const struct comm_rows *send, const struct comm_rows *receive,
                                      struct cohort_error *err);
/* The same in parts, the same on all ranks: part i is bytes [begin[i], begin[i+1]) of every row;
 * begin[0] is 0, begin[parts] is row_bytes.  comm_transfer_begin() lets part 0 leave, more() each
 * time the next one; all must have been let go before comm_exchange_arrive() or the end. */
enum cohort_code
comm_exchange_create_parts(struct comm_transfer **t, struct comm *c, const size_t *begin, int parts,
                           const struct comm_move *moves, int count, const struct comm_rows *send,
                           const struct comm_rows *receive, struct cohort_error *err);
enum cohort_code comm_exchange_more(struct comm_transfer *t, struct cohort_error *err);
/* Starts an exchange's receives ahead of comm_transfer_begin(), which then starts the sends: what
 * arrives early is not copied twice.  Local; not needed. */
enum cohort_code comm_exchange_expect(struct comm_transfer *t, struct cohort_error *err);
/* Between an exchange's begin and end: waits for the rows that come in.  Those that go out may
 * still have to leave, and must stay as they are until comm_transfer_end(). */
enum cohort_code comm_exchange_arrive(struct comm_transfer *t, struct cohort_error *err);

/* Local, when both were created.  They run equally often and what they send belongs together: with
 * comm_connect_delay(), a rank that gets something from both is connected to once. */
void comm_transfer_together(struct comm_transfer *t, const struct comm_transfer *with);
void comm_transfer_destroy(struct comm_transfer **t);

/* Runs while waiting, at most every millisecond or so; NULL for none. */
typedef void (*comm_idle_fn)(void *context);
void comm_set_idle(struct comm *c, comm_idle_fn fn, void *context);

/* Starts a transfer / waits for it.  No allocation of ours.  Errors: comm, timeout (naming the
 * board that did not answer), or whatever another rank's abort notice says. */
enum cohort_code comm_transfer_begin(struct comm_transfer *t, struct cohort_error *err);
enum cohort_code comm_transfer_end(struct comm_transfer *t, struct cohort_error *err);
size_t comm_transfer_bytes(const struct comm_transfer *t); /* that this rank sends plus receives */
/* Memory for what others send that is kept as long as the transfer; without lists of messages. */
size_t comm_transfer_memory(const struct comm_transfer *t);

/* Local.  Tells every other rank to give up with this error; call once, after a local failure
 * during inference.  Errors that came from another rank's notice need not be (and are not) sent. */
void comm_abort(struct comm *c, const struct cohort_error *err);
bool comm_aborted(const struct comm *c);
/* Local: moves transfers that have begun along, and asks: has another rank aborted?  Then fills in
 * err and returns its code; else COHORT_OK.  Looks at most every 100 us, so it may be called often.
 */
enum cohort_code comm_poll(struct comm *c, struct cohort_error *err);

/* ---- weights --------------------------------------------------------------------------------- */

/* One large constant to be brought to the ranks that lack it. */
struct comm_blob {
    const void *data; /* on the root: its bytes; elsewhere ignored */
    size_t bytes;     /* the same on every rank */
    bool wanted;      /* this rank lacks it and wants it */
    /* On the root: its bytes are runs of so many, so far apart from begin to begin; 0: one run. */
    size_t run_bytes, run_pitch;
};
/* Local, where the blob has data: copies bytes [at, at + bytes) of it. */
void comm_blob_read(const struct comm_blob *b, size_t at, size_t bytes, void *to);
/* Gives each finished piece to the rank that wanted it: bytes [at, at+bytes) of blob `index`. */
typedef enum cohort_code (*comm_blob_sink)(void *context, int index, size_t at, const void *data,
                                           size_t bytes, struct cohort_error *err);
typedef void (*comm_progress_fn)(void *context, uint64_t done, uint64_t total);

/* Collective.  Sends each blob as a pipelined chain through the ranks that want it (rank 0 → first
 * → second …), in pieces of 256 KiB, so that n boards take about as long as one.  A blob nobody
 * wants is not sent, and none passes through a rank that does not want it.  After a sink's failure
 * no sink is called on that rank any more, and all ranks end with that error; the communicator
 * stays usable.  Sinks are called in the order of blobs and bytes.  `progress` counts the bytes
 * that pass through this rank. */
enum cohort_code comm_chain(struct comm *c, const struct comm_blob *blobs, int count,
                            comm_blob_sink sink, void *context, comm_progress_fn progress,
                            void *progress_context, struct cohort_error *err);

#endif
