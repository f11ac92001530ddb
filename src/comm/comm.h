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

enum comm_tag { /* all tags of the project, on its own communicator */
    COMM_TAG_ABORT = 1,
    COMM_TAG_ROWS,
    COMM_TAG_WEIGHTS,
    COMM_TAG_PROBE
};

struct comm_options {
    double timeout_s;       /* a message that takes longer means a lost board; <= 0: 30 s */
    int inject_call;        /* for tests: the n-th wrapped MPI call on this rank fails; 0: none */
};

struct comm;

/* Collective over `world`.  Duplicates it (errors return), collects host names.  */
enum cohort_code comm_create(struct comm **c, MPI_Comm world, const struct comm_options *o,
                             struct cohort_error *err);
/* Local when an abort happened, else collective (frees the communicator). */
void comm_destroy(struct comm **c);

int comm_rank(const struct comm *c);
int comm_size(const struct comm *c);
const char *comm_host(const struct comm *c, int rank); /* host name; unique ones as they are */
/* "pi3 (rank 2)"; points into c. */
const char *comm_board_text(const struct comm *c, int rank);
int comm_local_rank(const struct comm *c);  /* among the ranks on this host */
int comm_local_size(const struct comm *c);

/* ---- set-up: collective, may allocate ---------------------------------------------------------- */

/* Collective.  Every rank brings its status; all leave with the status and message of the lowest
 * failing rank (its board's name put in front), or COHORT_OK when none failed. */
enum cohort_code comm_agree(struct comm *c, enum cohort_code code, struct cohort_error *err);
/* Collective. Root's bytes reach everybody (any size); others' b is filled. */
enum cohort_code comm_broadcast(struct comm *c, struct buf *b, struct cohort_error *err);
/* Collective. Proves that `text` is the same on all ranks ("what" names it in the message). */
enum cohort_code comm_prove_equal(struct comm *c, const char *what, const char *text, struct cohort_error *err);
/* Collective. Everybody's `bytes` bytes, in rank order, to rank 0 (out: size*bytes there; may be
 * NULL elsewhere). */
enum cohort_code comm_gather_bytes(struct comm *c, const void *mine, size_t bytes, void *out, struct cohort_error *err);
enum cohort_code comm_barrier(struct comm *c, struct cohort_error *err);

/* ---- inference: row transfers ------------------------------------------------------------------ */

/* A row range for each rank: rank r has rows [begin[r], end[r]) of a value (empty allowed). */
struct comm_ranges {
    const int64_t *begin, *end;
};

enum comm_scatter { COMM_SCATTERV, COMM_ORDERED };

struct comm_transfer; /* prepared once, run many times */

/* Collective.  Root's full map (row 0 at root_data) to each rank's rows; ranges may overlap.
 * `mine` receives this rank's rows (row begin[rank] first); on the root, mine == NULL: in place.
 * COMM_SCATTERV: one MPI_Iscatterv of a row datatype.  COMM_ORDERED: one send in flight, in rank
 * order; each rank gets its rows as early as possible.  A rank with no rows takes part in nothing. */
enum cohort_code comm_scatter_create(struct comm_transfer **t, struct comm *c, enum comm_scatter how,
                                     size_t row_bytes, const struct comm_ranges *ranges, void *root_data,
                                     void *mine, struct cohort_error *err);
/* Collective.  Each rank's rows to the root's full map, by MPI_Igatherv. Ranges must be disjoint. */
enum cohort_code comm_gather_create(struct comm_transfer **t, struct comm *c, size_t row_bytes,
                                    const struct comm_ranges *ranges, void *root_data, void *mine,
                                    struct cohort_error *err);
void comm_transfer_destroy(struct comm_transfer **t);

/* Runs while waiting, at most every millisecond or so; NULL for none. */
typedef void (*comm_idle_fn)(void *context);

/* Starts a transfer / waits for it.  No allocation of ours.  Errors: comm, timeout (naming the board
 * that did not answer), or whatever another rank's abort notice says. */
enum cohort_code comm_transfer_begin(struct comm_transfer *t, struct cohort_error *err);
enum cohort_code comm_transfer_end(struct comm_transfer *t, struct cohort_error *err);
size_t comm_transfer_bytes(const struct comm_transfer *t); /* that this rank sends plus receives */

/* Local.  Tells every other rank to give up with this error; call once, after a local failure
 * during inference.  Errors that came from another rank's notice need not be (and are not) sent. */
void comm_abort(struct comm *c, const struct cohort_error *err);
bool comm_aborted(const struct comm *c);
/* Local: has another rank aborted? Tests once; fills in err and returns its code, or COHORT_OK. */
enum cohort_code comm_poll(struct comm *c, struct cohort_error *err);

/* ---- weights ------------------------------------------------------------------------------------ */

/* One large constant to be brought to the ranks that lack it. */
struct comm_blob {
    const void *data;  /* on the root: its bytes; elsewhere ignored */
    size_t bytes;      /* the same on every rank */
    bool wanted;       /* this rank lacks it and wants it */
};
/* Gives each finished piece to the rank that wanted it: bytes [at, at+bytes) of blob `index`. */
typedef enum cohort_code (*comm_blob_sink)(void *context, int index, size_t at, const void *data,
                                           size_t bytes, struct cohort_error *err);
typedef void (*comm_progress_fn)(void *context, uint64_t done, uint64_t total);

/* Collective.  Sends the blobs as a pipelined chain through the ranks that want anything (rank 0 →
 * first → second …), in pieces of 256 KiB, so that n boards take about as long as one.  A blob
 * nobody wants is not sent.  A sink's failure stops the chain on all ranks with that error. */
enum cohort_code comm_chain(struct comm *c, const struct comm_blob *blobs, int count, comm_blob_sink sink,
                            void *context, comm_progress_fn progress, void *progress_context,
                            struct cohort_error *err);

#endif
