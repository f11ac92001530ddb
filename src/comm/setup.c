/* Set-up's collectives: agreement, broadcast, gather, proof of equality.
 *
 * All are non-blocking calls with a deadline.  Their small buffers live in the communicator,
 * because MPI may still hold them when a wait gives up. */
#include "comm/comm_internal.h"

#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define BROADCAST_PIECE ((size_t)4 << 20)

enum cohort_code comm_barrier(struct comm *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Request request = MPI_REQUEST_NULL;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    if (c->alone)
        return COHORT_OK;
    TRY(COMM_MPI(c, MPI_Ibarrier, c->comm, &request));
    TRY(comm_wait_request(c, &request, "barrier", 0, err));
out:
    return code;
}

static enum cohort_code broadcast_raw(struct comm *c, void *data, size_t bytes, int root,
                                      const char *what, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Request request = MPI_REQUEST_NULL;
    TRY(COMM_MPI(c, MPI_Ibcast, data, (int)bytes, MPI_BYTE, root, c->comm, &request));
    TRY(comm_wait_request(c, &request, what, bytes, err));
out:
    return code;
}

/* This rank's error as it should read everywhere. */
static void fill_notice(const struct comm *c, enum cohort_code code, const struct cohort_error *err,
                        struct comm_notice *n) {
    struct cohort_error e;
    bool described = err != NULL && err->code == code;
    error_set(&e, code, "%s", described ? err->message : cohort_code_name(code));
    if (c->size > 1 && !comm_names_board(e.message))
        error_wrap(&e, "%s", c->own_text);
    memset(n, 0, sizeof *n);
    n->code = (int32_t)code;
    n->origin = c->rank;
    memcpy(n->message, e.message, strlen(e.message));
}

enum cohort_code comm_agree(struct comm *c, enum cohort_code mine, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Request request = MPI_REQUEST_NULL;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    if (c->alone)
        return mine;
    c->scratch[0] = mine == COHORT_OK ? c->size : c->rank;
    if (mine != COHORT_OK)
        fill_notice(c, mine, err, &c->agreed);
    TRY(COMM_MPI(c, MPI_Iallreduce, &c->scratch[0], &c->scratch[1], 1, MPI_INT, MPI_MIN, c->comm,
                 &request));
    TRY(comm_wait_request(c, &request, "agreeing", 0, err));
    int origin = c->scratch[1];
    if (origin == c->size)
        return COHORT_OK;
    TRY(broadcast_raw(c, &c->agreed, sizeof c->agreed, origin, "agreeing", err));
    c->agreed.message[sizeof c->agreed.message - 1] = '\0';
    code = error_set(err, (enum cohort_code)c->agreed.code, "%s", c->agreed.message);
out:
    return code;
}

enum cohort_code comm_broadcast(struct comm *c, struct buf *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    if (c->rank == 0 && b->failed)
        code = error_set(err, COHORT_ERR_MEMORY, "out of memory: a message to all boards");
    if (c->alone)
        return code;
    c->scratch_size = b->size;
    enum cohort_code sent =
        broadcast_raw(c, &c->scratch_size, sizeof c->scratch_size, 0, "broadcast", err);
    if (sent != COHORT_OK)
        return sent;
    size_t bytes = (size_t)c->scratch_size;
    if (c->rank != 0) {
        buf_release(b);
        if (c->scratch_size > SIZE_MAX / 2 || (b->data = mem_alloc(bytes)) == NULL)
            code = error_memory(err, c->scratch_size, "a message from rank 0");
    }
    TRY(comm_agree(c, code, err));
    for (size_t at = 0; at < bytes; at += BROADCAST_PIECE) {
        size_t piece = bytes - at < BROADCAST_PIECE ? bytes - at : BROADCAST_PIECE;
        TRY(broadcast_raw(c, b->data + at, piece, 0, "broadcast", err));
    }
    if (c->rank != 0)
        b->size = b->capacity = bytes;
out:
    if (code != COHORT_OK && c->rank != 0)
        buf_release(b);
    return code;
}

enum cohort_code comm_prove_equal(struct comm *c, const char *what, const char *text,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf root = {0};
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    if (c->alone)
        return COHORT_OK;
    if (c->rank == 0)
        buf_bytes(&root, text, strlen(text));
    TRY(comm_broadcast(c, &root, err));
    const char *wanted = buf_text(&root);
    if (wanted == NULL)
        code = error_memory(err, root.size + 1, "a text to compare");
    else if (strcmp(wanted, text) != 0)
        code = error_set(err, COHORT_ERR_USAGE, "%s: %s is \"%.200s\" here but \"%.200s\" on %s",
                         c->own_text, what, text, wanted, comm_board_text(c, 0));
    code = comm_agree(c, code, err);
out:
    buf_release(&root);
    return code;
}

enum cohort_code comm_gather_bytes(struct comm *c, const void *mine, size_t bytes, void *out,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    MPI_Request request = MPI_REQUEST_NULL;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    if (bytes > INT_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "gathering %zu bytes a rank: at most %d are possible", bytes, INT_MAX);
    if (c->alone) {
        if (bytes > 0)
            memcpy(out, mine, bytes);
        return COHORT_OK;
    }
    TRY(COMM_MPI(c, MPI_Igather, mine, (int)bytes, MPI_BYTE, out, (int)bytes, MPI_BYTE, 0, c->comm,
                 &request));
    TRY(comm_wait_request(c, &request, "gather", bytes, err));
out:
    return code;
}
