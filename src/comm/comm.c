/* The communicator: duplicating the caller's, who is where, and taking it down. */
#include "comm/comm_internal.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_S 30.0
#define LOST_S            3.0  /* for an agreement on an error that may mean that a board is gone */
#define TIMER_SLACK_NS    1000 /* else Linux makes a sleep of 50 us one of 106 */

static void set_defaults(struct comm *c, const struct comm_options *o) {
    *c = (struct comm){.comm = MPI_COMM_NULL,
                       .size = 1,
                       .setup_s = COMM_SETUP_TIMEOUT_S,
                       .local_size = 1,
                       .next_tag = COMM_TAG_ROWS,
                       .notice_recv = MPI_REQUEST_NULL,
                       .probe_recv = MPI_REQUEST_NULL};
    comm_set_timeout(c, o == NULL ? 0 : o->timeout_s);
    c->inject_call = o == NULL ? 0 : o->inject_call;
}

static void own_host(char host[BOARD_NAME_BYTES]) {
    if (gethostname(host, BOARD_NAME_BYTES) != 0 || host[0] == '\0')
        snprintf(host, BOARD_NAME_BYTES, "unnamed");
    host[BOARD_NAME_BYTES - 1] = '\0';
}

/* ---- creating -------------------------------------------------------------------------------- */

static struct comm *new_comm(int size, const struct comm_options *o) {
    size_t bytes = sizeof(struct comm) + (size_t)size * sizeof(struct comm_board);
    struct comm *c = mem_alloc(bytes);
    if (c == NULL)
        return NULL;
    set_defaults(c, o);
    c->boards = (struct comm_board *)(c + 1);
    memset(c->boards, 0, (size_t)size * sizeof *c->boards);
    for (int r = 0; r < size; r++) {
        c->boards[r].notice_send = MPI_REQUEST_NULL;
        snprintf(c->boards[r].text, sizeof c->boards[r].text, "rank %d", r);
    }
    return c;
}

static struct comm *new_alone(const struct comm_options *o) {
    struct comm *c = new_comm(1, o);
    if (c == NULL)
        return NULL;
    c->alone = true;
    own_host(c->boards[0].host);
    comm_name_boards(c->boards, 1);
    memcpy(c->own_text, c->boards[0].text, sizeof c->own_text);
    return c;
}

/* Duplicates without ever blocking.  The caller's error handler gets back what it was. */
static enum cohort_code duplicate(struct comm *c, MPI_Comm world, struct cohort_error *err) {
    MPI_Errhandler former;
    MPI_Request request = MPI_REQUEST_NULL;
    int rc = MPI_Comm_get_errhandler(world, &former);
    if (rc == MPI_SUCCESS)
        rc = MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    enum cohort_code code = comm_mpi(c, rc, "MPI_Comm_set_errhandler", err);
    if (code != COHORT_OK)
        return code;
    c->stranded = true; /* until it is done, MPI keeps a pointer into c */
    rc = MPI_Comm_idup(world, &c->comm, &request);
    /* its tests must not fail: the others could not be told */
    long calls = c->calls;
    int inject_call = c->inject_call;
    c->inject_call = 0;
    if (rc == MPI_SUCCESS)
        code = comm_wait_request(c, &request, "duplicating the communicator", 0, err);
    c->calls = calls;
    c->inject_call = inject_call;
    c->stranded = code != COHORT_OK;
    MPI_Comm_set_errhandler(world, former);
    MPI_Errhandler_free(&former);
    if (code != COHORT_OK || rc != MPI_SUCCESS)
        c->comm = MPI_COMM_NULL;
    if (code == COHORT_OK)
        code = comm_mpi(c, comm_inject_after(c, rc), "MPI_Comm_idup", err);
    if (c->comm != MPI_COMM_NULL)
        MPI_Comm_set_errhandler(c->comm, MPI_ERRORS_RETURN);
    return code;
}

/* The ranks that share memory with this one, as MPI sees it: two boards may have the same name, and
 * one machine may stand for several boards. */
static enum cohort_code find_local(struct comm *c, int *leader, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Comm local = MPI_COMM_NULL;
    MPI_Group all = MPI_GROUP_NULL;
    MPI_Group here = MPI_GROUP_NULL;
    int zero = 0;
    /* This one blocks: there is no other.  All ranks were alive a moment ago. */
    TRY(COMM_MPI_ANYWAY(c, MPI_Comm_split_type, c->comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
                        &local));
    TRY(COMM_MPI(c, MPI_Comm_rank, local, &c->local_rank));
    TRY(COMM_MPI(c, MPI_Comm_size, local, &c->local_size));
    TRY(COMM_MPI(c, MPI_Comm_group, local, &here));
    TRY(COMM_MPI(c, MPI_Comm_group, c->comm, &all));
    TRY(COMM_MPI(c, MPI_Group_translate_ranks, here, 1, &zero, all, leader));
out:
    if (here != MPI_GROUP_NULL)
        MPI_Group_free(&here);
    if (all != MPI_GROUP_NULL)
        MPI_Group_free(&all);
    if (local != MPI_COMM_NULL && !c->aborted)
        MPI_Comm_free(&local);
    return code;
}

struct greeting {
    char host[BOARD_NAME_BYTES];
    int32_t node;
};

static enum cohort_code gather_names(struct comm *c, const char *host, int leader,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf all = {0};
    struct greeting mine = {.node = leader};
    memcpy(mine.host, host, sizeof mine.host);
    size_t bytes = (size_t)c->size * sizeof mine;
    all.data = c->rank == 0 ? mem_alloc(bytes) : NULL;
    if (c->rank == 0 && all.data == NULL)
        code = error_memory(err, bytes, "host names");
    TRY(comm_agree(c, code, err));
    TRY(comm_gather_bytes(c, &mine, sizeof mine, all.data, err));
    all.size = c->rank == 0 ? bytes : 0;
    all.capacity = all.size;
    TRY(comm_broadcast(c, &all, err));
    for (int r = 0; r < c->size; r++) {
        struct greeting g;
        memcpy(&g, all.data + (size_t)r * sizeof g, sizeof g);
        memcpy(c->boards[r].host, g.host, sizeof g.host);
        c->boards[r].node = g.node;
    }
    comm_name_boards(c->boards, c->size);
    memcpy(c->own_text, c->boards[c->rank].text, sizeof c->own_text);
out:
    buf_release(&all);
    return code;
}

/* Is there more than one host name?  Before anybody's name is known, for messages from early on. */
static enum cohort_code several_hosts(struct comm *c, const char *host, bool *several,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Request request = MPI_REQUEST_NULL;
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *p = host; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    c->scratch[0] = (int)(hash >> 1);
    c->scratch[1] = -(int)(hash >> 1);
    TRY(COMM_MPI(c, MPI_Iallreduce, c->scratch, c->scratch + 2, 2, MPI_INT, MPI_MIN, c->comm,
                 &request));
    TRY(comm_wait_request(c, &request, "comparing host names", 0, err));
    *several = c->scratch[2] != -c->scratch[3];
out:
    return code;
}

/* The agreement before the one call that blocks (find_local()): were it to fail on one rank after
 * the others have left it, they would wait there for ever.  So no test makes its calls fail. */
static enum cohort_code agree_surely(struct comm *c, enum cohort_code code,
                                     struct cohort_error *err) {
    long calls = c->calls;
    int inject_call = c->inject_call;
    c->inject_call = 0;
    code = comm_agree(c, code, err);
    c->calls = calls;
    c->inject_call = inject_call;
    return code;
}

/* Until all ranks have a communicator and the lowest failing one's status and message. */
static enum cohort_code join(struct comm *c, enum cohort_code code, MPI_Comm world,
                             const char *host, struct cohort_error *err) {
    int rc = MPI_Comm_rank(world, &c->rank);
    bool several = false;
    comm_board_name(c->own_text, sizeof c->own_text, host, c->rank, false);
    struct cohort_error failed;
    if (comm_mpi(c, comm_inject_after(c, rc), "MPI_Comm_rank", &failed) != COHORT_OK &&
        code == COHORT_OK)
        code = error_set(err, failed.code, "%s", failed.message);
    if (duplicate(c, world, &failed) != COHORT_OK && code == COHORT_OK)
        code = error_set(err, failed.code, "%s", failed.message);
    if (c->comm == MPI_COMM_NULL)
        return code; /* nothing to tell the others by */
    if (comm_listen(c, &failed) != COHORT_OK && code == COHORT_OK)
        code = error_set(err, failed.code, "%s", failed.message);
    c->open = true;
    if (several_hosts(c, host, &several, &failed) != COHORT_OK && code == COHORT_OK)
        code = error_set(err, failed.code, "%s", failed.message);
    comm_board_name(c->own_text, sizeof c->own_text, host, c->rank, several);
    return agree_surely(c, code, err);
}

static enum cohort_code set_up(struct comm *c, enum cohort_code code, MPI_Comm world,
                               struct cohort_error *err) {
    char host[BOARD_NAME_BYTES] = "";
    int leader = 0;
    own_host(host);
    TRY(join(c, code, world, host, err));
    if (c->boards == NULL || c->comm == MPI_COMM_NULL)
        return code;
    TRY(find_local(c, &leader, err));
    TRY(gather_names(c, host, leader, err));
out:
    return code;
}

/* Notices to a lost board may be under way for ever; MPI reads their memory until then, so it
 * stays.
 */
static bool notices_pending(struct comm *c) {
    bool pending = false;
    for (int r = 0; r < c->size; r++) {
        int flag = 1;
        if (c->boards[r].notice_send != MPI_REQUEST_NULL)
            MPI_Test(&c->boards[r].notice_send, &flag, MPI_STATUS_IGNORE);
        pending |= flag == 0;
    }
    return pending;
}

static void dispose(struct comm *c) {
    if (c != NULL && (c->stranded || notices_pending(c)))
        mem_forget(c);
    else
        mem_free(c);
}

static void take_down(struct comm *c) {
    comm_unlisten(c);
    if (c->comm != MPI_COMM_NULL && !c->aborted)
        MPI_Comm_free(&c->comm);
}

enum cohort_code comm_create(struct comm **out, MPI_Comm world, const struct comm_options *o,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct comm fallback; /* takes part in the first agreement where there is no memory */
    struct comm *c;
    int size = 1;
    (void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    if (world != MPI_COMM_NULL && MPI_Comm_size(world, &size) != MPI_SUCCESS)
        return error_set(err, COHORT_ERR_COMM, "MPI_Comm_size failed: not a communicator");
    c = world == MPI_COMM_NULL ? new_alone(o) : new_comm(size, o);
    if (c == NULL)
        code = error_memory(err, sizeof *c + (size_t)size * sizeof(struct comm_board),
                            "the communicator");
    if (world == MPI_COMM_NULL) {
        if (code == COHORT_OK)
            *out = c;
        return code;
    }
    set_defaults(&fallback, o);
    struct comm *used = c != NULL ? c : &fallback;
    used->size = size;
    code = set_up(used, code, world, err);
    if (code == COHORT_OK) {
        *out = c;
        return code;
    }
    take_down(used);
    dispose(c);
    return code;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* All meet before the communicator goes, so that nobody's abort notice meets one that is gone. */
static bool leave_together(struct comm *c) {
    struct cohort_error err;
    MPI_Request request = MPI_REQUEST_NULL;
    c->timeout_s = fmin(c->timeout_s, COMM_SETUP_TIMEOUT_S); /* not for ever */
    c->inject_call = 0;
    return comm_mpi(c, MPI_Ibarrier(c->comm, &request), "MPI_Ibarrier", &err) == COHORT_OK &&
           comm_wait_request(c, &request, "leaving", 0, &err) == COHORT_OK;
}

void comm_destroy(struct comm **comm) {
    struct comm *c = *comm;
    if (c == NULL)
        return;
    if (!c->alone) {
        if (!c->aborted)
            (void)leave_together(c);
        take_down(c);
    }
    dispose(c);
    *comm = NULL;
}

enum cohort_code comm_agree_over(MPI_Comm world, enum cohort_code mine, struct cohort_error *err) {
    struct comm fallback;
    char host[BOARD_NAME_BYTES] = "";
    int size = 1;
    if (MPI_Comm_size(world, &size) != MPI_SUCCESS)
        return error_set(err, COHORT_ERR_COMM, "MPI_Comm_size failed: not a communicator");
    struct comm *c = new_comm(size, NULL);
    struct comm *used = c != NULL ? c : &fallback;
    if (c == NULL)
        set_defaults(&fallback, NULL);
    used->size = size;
    struct cohort_error own = {0};
    if (mine == COHORT_ERR_COMM || mine == COHORT_ERR_TIMEOUT) { /* are the others still there? */
        used->timeout_s = used->setup_s = LOST_S;
        if (err != NULL)
            own = *err;
    }
    own_host(host);
    enum cohort_code code = join(used, mine, world, host, err);
    if (code == COHORT_ERR_TIMEOUT && own.code != COHORT_OK) {
        *err = own;
        code = own.code;
    }
    if (used->comm != MPI_COMM_NULL && !used->aborted)
        (void)leave_together(used);
    take_down(used);
    dispose(c);
    return code;
}

/* ---- asking ---------------------------------------------------------------------------------- */

int comm_rank(const struct comm *c) {
    return c->rank;
}

int comm_size(const struct comm *c) {
    return c->size;
}

const char *comm_host(const struct comm *c, int rank) {
    return c->boards[rank].host;
}

const char *comm_board_text(const struct comm *c, int rank) {
    return c->boards[rank].text;
}

int comm_local_rank(const struct comm *c) {
    return c->local_rank;
}

int comm_local_size(const struct comm *c) {
    return c->local_size;
}

void comm_set_timeout(struct comm *c, double timeout_s) {
    c->timeout_s = timeout_s > 0 ? timeout_s : DEFAULT_TIMEOUT_S;
}

void comm_set_setup_timeout(struct comm *c, double timeout_s) {
    c->setup_s = timeout_s;
}

long comm_calls(const struct comm *c) {
    return c->calls;
}
