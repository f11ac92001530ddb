/* Exchange: rows go straight from the ranks that have them to the ranks that lack them.
 *
 * Every move is cut into messages below Open MPI's eager limit: a longer one would wait for both
 * sides to answer each other, which they do only when they look, between two pieces of computing.
 * Messages between two ranks keep their order, so all have one tag.  All requests are persistent:
 * made once, started for every image, and nothing is packed.
 *
 * What leaves passes the outbox (outbox.c). */
#include "comm/comm_internal.h"

#include "base/mem.h"

#include <limits.h>
#include <string.h>

struct exchange {
    struct comm_transfer base;
    MPI_Request *requests; /* receives, then sends */
    int *peer, *indices;   /* of each request; room for comm_test_some() */
    int *size;             /* bytes of each request's message */
    bool *ended;           /* of each request */
    int count, receive_count;
    int left, receives_left; /* that have not ended */
    int parts, part;         /* how many, and the last one that may leave */
    int *part_end;           /* of each part: the request behind its last send */
    bool expecting;
    bool arriving;          /* who waits, waits for the receives only */
    double usual_arrival_s; /* as comm_work's, of such waits */
    struct {                /* what the root keeps of its rows, where they do not stay in place */
        void *to;
        const void *from;
        size_t bytes;
    } own;
};

/* ---- checks ---------------------------------------------------------------------------------- */

static enum cohort_code check_move(const struct comm *c, const struct comm_move *m,
                                   struct cohort_error *err) {
    if (m->from < 0 || m->from >= c->size || m->to < 0 || m->to >= c->size || m->from == m->to)
        return error_set(err, COHORT_ERR_INTERNAL, "a move from rank %d to rank %d of %d", m->from,
                         m->to, c->size);
    if (m->begin < 0 || m->end <= m->begin)
        return error_set(err, COHORT_ERR_INTERNAL,
                         "a move from rank %d to rank %d of rows [%lld, %lld)", m->from, m->to,
                         (long long)m->begin, (long long)m->end);
    return COHORT_OK;
}

static bool same_rows(const struct comm_move *a, const struct comm_move *b) {
    return a->to == b->to && a->begin < b->end && b->begin < a->end;
}

static enum cohort_code check(const struct comm *c, size_t row_bytes, const struct comm_move *moves,
                              int count, const struct comm_rows *send,
                              const struct comm_rows *receive, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (row_bytes == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a row of 0 bytes");
    for (int i = 0; i < count && code == COHORT_OK; i++) {
        code = check_move(c, &moves[i], err);
        const struct comm_rows *memory = moves[i].from == c->rank ? send
                                         : moves[i].to == c->rank ? receive
                                                                  : NULL;
        if (code == COHORT_OK && memory != NULL &&
            (memory->data == NULL || moves[i].begin < memory->first))
            code = error_set(err, COHORT_ERR_INTERNAL,
                             "an exchange without memory for rank %d's rows", c->rank);
        for (int k = 0; k < i && code == COHORT_OK; k++)
            if (moves[i].to == c->rank && same_rows(&moves[i], &moves[k]))
                code = error_set(
                    err, COHORT_ERR_INTERNAL, "ranks %d and %d both send rank %d row %lld",
                    moves[k].from, moves[i].from, c->rank,
                    (long long)(moves[i].begin > moves[k].begin ? moves[i].begin : moves[k].begin));
    }
    return code;
}

/* ---- progress -------------------------------------------------------------------------------- */

static enum cohort_code progress(void *context, bool *done, bool *moved, struct cohort_error *err) {
    struct exchange *t = context;
    *moved = false;
    enum cohort_code out = comm_outbox_move(t->base.c, err);
    if (out != COHORT_OK)
        return out;
    if (t->left > 0) {
        int some;
        enum cohort_code code =
            comm_test_some(t->base.c, t->requests, t->count, t->indices, &some, err);
        if (code != COHORT_OK)
            return code;
        for (int i = 0; i < some; i++) {
            t->ended[t->indices[i]] = true;
            t->receives_left -= t->indices[i] < t->receive_count;
        }
        t->left -= some > 0 ? some : 0;
        *moved = some > 0;
    }
    t->base.done = t->left == 0;
    *done = t->base.done || (t->arriving && t->receives_left == 0);
    return COHORT_OK;
}

static int waits_for(const void *context) {
    const struct exchange *t = context;
    for (int i = 0; i < t->count; i++)
        if (!t->ended[i])
            return t->peer[i];
    return -1;
}

/* ---- running --------------------------------------------------------------------------------- */

static enum cohort_code start_receives(struct exchange *t, struct cohort_error *err) {
    struct comm *c = t->base.c;
    enum cohort_code code = COHORT_OK;
    if (t->expecting || t->receive_count == 0)
        return COHORT_OK;
    for (int i = 0; i < t->receive_count; i++)
        t->ended[i] = false;
    TRY(COMM_MPI(c, MPI_Startall, t->receive_count, t->requests));
    t->expecting = true;
    t->left = t->count;
    t->receives_left = t->receive_count;
    comm_link(c, &t->base.work);
out:
    return code;
}

static enum cohort_code start(struct comm_transfer *base, struct cohort_error *err) {
    struct exchange *t = (struct exchange *)base;
    enum cohort_code code = COHORT_OK;
    TRY(start_receives(t, err));
    if (!t->expecting)
        t->left = t->count; /* no receives: else they have been started */
    t->expecting = false;
    base->done = t->left == 0;
    for (int i = t->receive_count; i < t->count; i++)
        t->ended[i] = false;
    if (t->own.bytes > 0)
        memcpy(t->own.to, t->own.from, t->own.bytes);
    t->part = 0;
    base->out.next = base->out.first;
    base->out.end = t->part_end[0];
    comm_outbox_put(base);
    TRY(comm_outbox_move(base->c, err));
out:
    return code;
}

enum cohort_code comm_exchange_more(struct comm_transfer *base, struct cohort_error *err) {
    struct exchange *t = (struct exchange *)base;
    if (comm_enter(base->c, err) != COHORT_OK)
        return base->c->error.code;
    BUG_UNLESS(base->begun && base->start == start && t->part + 1 < t->parts);
    const bool waits = base->out.next < base->out.end; /* for the parts before */
    base->out.end = t->part_end[++t->part];
    if (!waits)
        comm_outbox_put(base);
    return comm_outbox_move(base->c, err);
}

enum cohort_code comm_exchange_expect(struct comm_transfer *t, struct cohort_error *err) {
    if (comm_enter(t->c, err) != COHORT_OK)
        return t->c->error.code;
    BUG_UNLESS(!t->begun && t->start == start);
    t->done = false;
    return start_receives((struct exchange *)t, err);
}

enum cohort_code comm_exchange_arrive(struct comm_transfer *base, struct cohort_error *err) {
    struct exchange *t = (struct exchange *)base;
    struct comm *c = base->c;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    BUG_UNLESS(base->begun && base->start == start);
    if (base->done || t->receives_left == 0)
        return COHORT_OK;
    const double usual_s = base->work.usual_s; /* until it ends */
    t->arriving = true;
    base->work.usual_s = t->usual_arrival_s;
    enum cohort_code code = comm_wait(c, &base->work, c->timeout_s, err);
    t->arriving = false;
    t->usual_arrival_s = base->work.usual_s;
    base->work.usual_s = usual_s;
    if (code == COHORT_OK && !base->done)
        comm_link(c, &base->work);
    return code;
}

static void release(struct comm_transfer *base) {
    struct exchange *t = (struct exchange *)base;
    comm_outbox_take(base);
    for (int i = 0; i < t->count; i++)
        if (t->requests[i] != MPI_REQUEST_NULL)
            MPI_Request_free(&t->requests[i]);
}

/* ---- creating -------------------------------------------------------------------------------- */

/* What travels: rows, or one part of their bytes after the other. */
struct layout {
    const size_t *begin; /* of each part in a row, and the row's end */
    int parts;
    const struct comm_move *moves;
    int count;
};

static size_t row_bytes_of(const struct layout *l) {
    return l->begin[l->parts];
}

static size_t move_bytes(const struct comm_move *m, size_t row_bytes) {
    return (size_t)(m->end - m->begin) * row_bytes;
}

static size_t pieces_of(size_t bytes) {
    return (bytes + COMM_PIECE_BYTES - 1) / COMM_PIECE_BYTES;
}

/* Messages of this rank's moves, and their bytes. */
static size_t count_pieces(const struct comm *c, const struct layout *l, size_t *bytes) {
    size_t pieces = 0;
    *bytes = 0;
    for (int i = 0; i < l->count; i++) {
        const struct comm_move *m = &l->moves[i];
        if (m->from != c->rank && m->to != c->rank)
            continue;
        *bytes += move_bytes(m, row_bytes_of(l));
        if (l->parts == 1)
            pieces += pieces_of(move_bytes(m, row_bytes_of(l)));
        for (int k = 0; k < l->parts && l->parts > 1; k++)
            pieces += (size_t)(m->end - m->begin) * pieces_of(l->begin[k + 1] - l->begin[k]);
    }
    return pieces;
}

static size_t exchange_bytes(size_t pieces, int parts) {
    return sizeof(struct exchange) + (size_t)parts * sizeof(int) +
           pieces * (sizeof(MPI_Request) + 3 * sizeof(int) + sizeof(bool));
}

static struct exchange *new_exchange(struct comm *c, size_t pieces, int parts) {
    struct exchange *t = mem_zalloc(1, exchange_bytes(pieces, parts));
    if (t == NULL)
        return NULL;
    t->base = (struct comm_transfer){.c = c, .start = start, .release = release};
    t->requests = (MPI_Request *)(t + 1);
    t->peer = (int *)(t->requests + pieces);
    t->indices = t->peer + pieces;
    t->size = t->indices + pieces;
    t->part_end = t->size + pieces;
    t->ended = (bool *)(t->part_end + parts);
    t->parts = parts;
    return t;
}

/* Messages for `bytes` from `at` on. */
static enum cohort_code add_requests(struct exchange *t, int peer, unsigned char *at, size_t left,
                                     bool send, struct cohort_error *err) {
    struct comm *c = t->base.c;
    enum cohort_code code = COHORT_OK;
    while (left > 0) {
        int bytes = left < COMM_PIECE_BYTES ? (int)left : COMM_PIECE_BYTES;
        MPI_Request *request = &t->requests[t->count];
        t->peer[t->count] = peer;
        t->size[t->count] = bytes;
        t->ended[t->count] = true;
        *request = MPI_REQUEST_NULL;
        TRY(send ? COMM_MPI(c, MPI_Send_init, at, bytes, MPI_BYTE, peer, t->base.tag, c->comm,
                            request)
                 : COMM_MPI(c, MPI_Recv_init, at, bytes, MPI_BYTE, peer, t->base.tag, c->comm,
                            request));
        t->count++;
        at += bytes;
        left -= (size_t)bytes;
    }
out:
    return code;
}

/* One part of a move: all of its rows at once, where there is only one. */
static enum cohort_code add_part(struct exchange *t, const struct layout *l, int part,
                                 const struct comm_move *m, const struct comm_rows *memory,
                                 bool send, struct cohort_error *err) {
    const size_t row_bytes = row_bytes_of(l), first = l->begin[part];
    const int peer = send ? m->to : m->from;
    unsigned char *at =
        (unsigned char *)memory->data + (size_t)(m->begin - memory->first) * row_bytes;
    enum cohort_code code = COHORT_OK;
    if (l->parts == 1)
        return add_requests(t, peer, at, move_bytes(m, row_bytes), send, err);
    for (int64_t y = m->begin; y < m->end && code == COHORT_OK; y++, at += row_bytes)
        code = add_requests(t, peer, at + first, l->begin[part + 1] - first, send, err);
    return code;
}

/* Of all moves from here, or to here, in the order in which they are to leave: part by part, and
 * the rank behind this one first, then further round, so that not all ranks begin with the same
 * receiver. */
static enum cohort_code add_moves(struct exchange *t, const struct layout *l,
                                  const struct comm_rows *memory, bool send,
                                  struct cohort_error *err) {
    const struct comm *c = t->base.c;
    enum cohort_code code = COHORT_OK;
    for (int part = 0; part < l->parts; part++) {
        for (int distance = 1; distance < c->size; distance++)
            for (int i = 0; i < l->count; i++) {
                const int mine = send ? l->moves[i].from : l->moves[i].to;
                const int peer = send ? l->moves[i].to : l->moves[i].from;
                if (mine == c->rank && peer == (c->rank + distance) % c->size)
                    TRY(add_part(t, l, part, &l->moves[i], memory, send, err));
            }
        t->part_end[part] = t->count;
    }
out:
    return code;
}

static enum cohort_code create(struct exchange **out, const char *what, struct comm *c,
                               const struct layout *l, const struct comm_rows *send,
                               const struct comm_rows *receive, struct cohort_error *err) {
    struct exchange *t = NULL;
    size_t bytes = 0, pieces = 0;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    enum cohort_code code = check(c, row_bytes_of(l), l->moves, l->count, send, receive, err);
    if (code == COHORT_OK)
        pieces = count_pieces(c, l, &bytes);
    if (pieces > INT_MAX)
        code = error_set(err, COHORT_ERR_UNSUPPORTED, "an exchange of %zu messages", pieces);
    if (code == COHORT_OK && (t = new_exchange(c, pieces, l->parts)) == NULL)
        code = error_memory(err, exchange_bytes(pieces, l->parts), "an exchange");
    TRY(comm_agree(c, code, err));
    comm_take_tag(&t->base);
    t->base.bytes = bytes;
    TRY(add_moves(t, l, receive, false, err));
    t->receive_count = t->count;
    TRY(add_moves(t, l, send, true, err));
    t->base.out = (struct comm_outgoing){.requests = t->requests,
                                         .peer = t->peer,
                                         .size = t->size,
                                         .ended = t->ended,
                                         .first = t->receive_count,
                                         .next = t->count,
                                         .end = t->count};
    t->base.work = (struct comm_work){.what = what,
                                      .progress = progress,
                                      .waits_for = waits_for,
                                      .context = t,
                                      .requests = t->requests,
                                      .request_count = t->count,
                                      .receive_count = t->receive_count,
                                      .bytes = bytes};
    *out = t;
    t = NULL;
out:
    if (t != NULL) {
        struct comm_transfer *half = &t->base;
        comm_transfer_destroy(&half);
    }
    return code;
}

enum cohort_code comm_exchange_create_parts(struct comm_transfer **out, struct comm *c,
                                            const size_t *begin, int parts,
                                            const struct comm_move *moves, int count,
                                            const struct comm_rows *send,
                                            const struct comm_rows *receive,
                                            struct cohort_error *err) {
    struct exchange *t = NULL;
    const struct layout l = {begin, parts, moves, count};
    enum cohort_code code = create(&t, "exchange of rows", c, &l, send, receive, err);
    if (code == COHORT_OK)
        *out = &t->base;
    return code;
}

enum cohort_code comm_exchange_create(struct comm_transfer **out, struct comm *c, size_t row_bytes,
                                      const struct comm_move *moves, int count,
                                      const struct comm_rows *send, const struct comm_rows *receive,
                                      struct cohort_error *err) {
    const size_t begin[] = {0, row_bytes};
    return comm_exchange_create_parts(out, c, begin, 1, moves, count, send, receive, err);
}

enum cohort_code comm_ordered_create(struct comm_transfer **out, struct comm *c, bool scatter,
                                     size_t row_bytes, const struct comm_ranges *r, void *root_data,
                                     void *mine, struct cohort_error *err) {
    struct exchange *t = NULL;
    const size_t bytes = (size_t)c->size * sizeof(struct comm_move);
    struct comm_move *moves = mem_alloc(bytes);
    enum cohort_code code = moves != NULL ? COHORT_OK : error_memory(err, bytes, "a scatter");
    int count = 0;
    TRY(comm_agree(c, code, err));
    for (int b = 1; b < c->size; b++)
        if (r->begin[b] < r->end[b])
            moves[count++] = (struct comm_move){.from = scatter ? 0 : b,
                                                .to = scatter ? b : 0,
                                                .begin = r->begin[b],
                                                .end = r->end[b]};
    const struct comm_rows whole = {.data = root_data};
    const struct comm_rows part = {.data = mine, .first = r->begin[c->rank]};
    const size_t begin[] = {0, row_bytes};
    const struct layout layout = {begin, 1, moves, count};
    TRY(create(&t, scatter ? "scatter of rows" : "gather of rows", c, &layout,
               scatter ? &whole : &part, scatter ? &part : &whole, err));
    t->base.out.one_by_one = scatter;
    if (c->rank == 0 && mine != NULL && r->begin[0] < r->end[0]) {
        char *in_map = (char *)root_data + (size_t)r->begin[0] * row_bytes;
        t->own.to = scatter ? mine : in_map;
        t->own.from = scatter ? in_map : mine;
        t->own.bytes = mine == in_map ? 0 : (size_t)(r->end[0] - r->begin[0]) * row_bytes;
    }
    *out = &t->base;
out:
    mem_free(moves);
    return code;
}
