/* What the files of src/comm share: the communicator, the one way to call MPI, and waiting.
 *
 * Life of an error: an MPI call that fails, or a wait past its deadline, becomes a cohort_error on
 * this rank; comm_fail() records it and sends it to all others on COMM_TAG_ABORT; they see it in
 * their wait loops.  From then on every function returns it at once. */
#ifndef COHORT_COMM_INTERNAL_H
#define COHORT_COMM_INTERNAL_H

#include "comm/comm.h"

#define COMM_SETUP_TIMEOUT_S 300.0

#define COMM_HOST_BYTES (BOARD_NAME_BYTES + 12)
#define COMM_TEXT_BYTES (COMM_HOST_BYTES + 56)

/* Something that is under way.  Linked into the communicator while it is, so that every wait moves
 * it along and an abort knows what is still pending. */
struct comm_work {
    const char *what; /* "scatter of rows" */
    /* Tests once, starts what comes next; *moved: something happened, the deadline begins anew. */
    enum cohort_code (*progress)(void *context, bool *done, bool *moved, struct cohort_error *err);
    int (*waits_for)(const void *context); /* a rank, or -1 when it cannot be told; may be NULL */
    void *context;
    MPI_Request *requests;
    int request_count;
    int receive_count; /* the first so many are point-to-point receives: MPI can cancel nothing else
                        */
    size_t bytes;      /* of the messages under way, at most; an abort waits for them */
    double usual_s;    /* how long comm_wait() waited for it the last time; 0: not known */
    bool linked;
    struct comm_work *next;
};

struct comm_notice { /* on the wire, in the byte order that all boards share */
    int32_t code;
    int32_t origin; /* the rank that it happened on */
    char message[COHORT_MESSAGE_BYTES];
};

struct comm_board {
    char host[COMM_HOST_BYTES];
    char text[COMM_TEXT_BYTES];
    int node;   /* the lowest rank on the same board */
    bool alive; /* has answered the last probe */
    MPI_Request notice_send;
    double bytes_per_s;  /* of messages to it; 0: unknown */
    int connected_group; /* the transfers that a connection to it was made for last, … */
    long connected_run;  /* … and in which run of theirs */
};

struct comm {
    MPI_Comm comm; /* our own; MPI_COMM_NULL when alone */
    bool alone;
    int rank, size;
    int local_rank, local_size;
    double timeout_s;
    double setup_s;            /* the least that a step of set-up may take */
    struct comm_board *boards; /* size; behind this struct */
    char own_text[COMM_TEXT_BYTES];

    long calls; /* wrapped MPI calls, for inject_call */
    int inject_call;
    bool open;      /* other ranks listen to abort notices */
    bool injected;  /* the last call failed because a test wanted it */
    bool uncounted; /* tests of a wait after its first */
    bool stranded;  /* MPI may still write into this struct: it is never freed */
    int next_tag;   /* of row transfers */

    bool aborted;
    int error_rank;
    struct cohort_error error;
    struct comm_notice notice_in, notice_out;
    MPI_Request notice_recv;
    int probe_in[2], probe_query[2], probe_reply[2]; /* kind, rank */
    MPI_Request probe_recv;

    struct comm_work *works;
    struct comm_transfer *outbox; /* with messages that have not left, in order (outbox.c) */
    double out_free_s;            /* when what has left should be gone from the link */
    double connect_s;             /* comm_connect_delay() */
    bool computing;               /* this look is one of comm_poll()'s */
    double last_poll;
    comm_idle_fn idle;
    void *idle_context;
    double last_idle;

    int scratch[4]; /* buffers of collectives, which outlive a call that gives up */
    uint64_t scratch_size;
    double clock[2];
    struct comm_notice agreed;
};

/* A transfer's messages that leave through the outbox: requests [first, end). */
struct comm_outgoing {
    MPI_Request *requests;
    const int *peer, *size; /* of each message: to whom, and its bytes */
    const bool *ended;
    int first, next, end; /* next: to be started; end: none is left */
    bool one_by_one;      /* each waits for the one before, where nothing is known of the link */
    bool connecting;      /* the next one waits for its connection */
};

/* What all kinds of transfers have; the first member of each (rows.c, exchange.c, stages.c). */
struct comm_transfer {
    struct comm *c;
    struct comm_work work;
    size_t bytes; /* that this rank sends plus receives */
    size_t memory;
    int tag;
    int group; /* transfers of one group need one connection to a rank; its first one's tag */
    long runs; /* that have begun */
    bool begun, done;
    struct comm_outgoing out;
    struct comm_transfer *next_out; /* behind it in the outbox */
    /* Starts what is to be started; done: nothing is under way. */
    enum cohort_code (*start)(struct comm_transfer *t, struct cohort_error *err);
    void (*release)(struct comm_transfer *t); /* everything but the work */
};

/* A tag of its own: the same on all ranks, which create transfers in the same order. */
void comm_take_tag(struct comm_transfer *t);

/* A scatter in which the root gives to all by an exchange (COMM_ORDERED), or a gather in which all
 * give to the root.  As comm_scatter_create() and comm_gather_create(). */
enum cohort_code comm_ordered_create(struct comm_transfer **t, struct comm *c, bool scatter,
                                     size_t row_bytes, const struct comm_ranges *ranges,
                                     void *root_data, void *mine, struct cohort_error *err);

/* ---- outbox ---------------------------------------------------------------------------------- */

/* put: behind all others, unless it has nothing to send; take: whether it is there or not; move:
 * starts what may leave by now; due: when a connection that the next message waits for is made, on
 * clock_s(); INFINITY: none is being made. */
void comm_outbox_put(struct comm_transfer *t);
void comm_outbox_take(struct comm_transfer *t);
enum cohort_code comm_outbox_move(struct comm *c, struct cohort_error *err);
double comm_outbox_due(const struct comm *c);

/* ---- calling MPI ----------------------------------------------------------------------------- */

/* The one way to call MPI: counts the call, makes the one that a test asked for fail, turns an
 * error into ours and tells the others.  Needs `err` in scope. */
#define COMM_MPI(c, function, ...)                                                                 \
    comm_mpi((c), comm_inject(c) ? MPI_ERR_OTHER : function(__VA_ARGS__), #function, err)
/* The same for calls that must happen even if they are to fail: those of comm_create() before
 * anybody listens, where the others would wait for ever. */
#define COMM_MPI_ANYWAY(c, function, ...)                                                          \
    comm_mpi((c), comm_inject_after((c), function(__VA_ARGS__)), #function, err)

bool comm_inject(struct comm *c);
int comm_inject_after(struct comm *c, int rc);
enum cohort_code comm_mpi(struct comm *c, int rc, const char *function, struct cohort_error *err);
/* MPI_Test by COMM_MPI; only a wait's first test is counted, so that counts do not depend on time.
 */
enum cohort_code comm_test(struct comm *c, MPI_Request *request, bool *done,
                           struct cohort_error *err);

/* The same for many: *completed of the requests have ended by now (their places are in `indices`,
 * which has room for all); *completed < 0: none of them is under way. */
enum cohort_code comm_test_some(struct comm *c, MPI_Request *requests, int count, int *indices,
                                int *completed, struct cohort_error *err);

/* ---- waiting --------------------------------------------------------------------------------- */

void comm_link(struct comm *c, struct comm_work *w);
void comm_unlink(struct comm *c, struct comm_work *w);
/* Until w is done; gives up after timeout_s without any progress.  w is linked before or not; it is
 * unlinked afterwards. */
enum cohort_code comm_wait(struct comm *c, struct comm_work *w, double timeout_s,
                           struct cohort_error *err);
/* For a collective in set-up. */
enum cohort_code comm_wait_request(struct comm *c, MPI_Request *request, const char *what,
                                   size_t bytes, struct cohort_error *err);
double comm_setup_timeout(const struct comm *c);

/* ---- giving up ------------------------------------------------------------------------------- */

/* Posts the receives for notices and probes. */
enum cohort_code comm_listen(struct comm *c, struct cohort_error *err);
void comm_unlisten(struct comm *c);
/* Before anything is sent or received: has somebody given up?  Sending to ranks that have would
 * reach memory that they have freed. */
enum cohort_code comm_enter(struct comm *c, struct cohort_error *err);
/* Takes in what has arrived for them; afterwards c->aborted may be set. */
void comm_look(struct comm *c);
/* Records a failure of this rank and tells everybody.  Returns err's code. */
enum cohort_code comm_fail(struct comm *c, const struct cohort_error *err);
/* After another rank's notice: lets what is under way arrive; fills in err and returns its code. */
enum cohort_code comm_give_up(struct comm *c, struct cohort_error *err);
/* The error that everything ended with, again. */
enum cohort_code comm_error_again(const struct comm *c, struct cohort_error *err);
/* Asks every rank "are you alive?" and waits a second for answers (boards[].alive). */
void comm_probe(struct comm *c);

/* ---- names ----------------------------------------------------------------------------------- */

/* hosts[] and nodes[] (lowest rank on the same board) of all ranks → boards[].host, .text, .node.
 */
void comm_name_boards(struct comm_board *boards, int size);
/* "pi3 (rank 2)", and of rank 0 its role where there are several machines: it is the one that opens
 * the network and reads the inputs, and users know it as a line of a file. */
void comm_board_name(char *text, size_t bytes, const char *host, int rank, bool several);
/* Does the message begin with a board's text? */
bool comm_names_board(const char *message);

#endif
