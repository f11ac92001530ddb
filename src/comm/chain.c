/* Weights to many boards in the time of one: pipelined chains.
 *
 * The ranks that want a blob form its chain behind rank 0, in their order; others see nothing of
 * it.  Blobs are cut into pieces; while a piece is forwarded, the next is received.  All ranks know
 * who wants what, so all cut alike: a piece never mixes blobs that go different ways.
 *
 * Root's link carries each byte once, whatever the number of boards.  All take pieces in one order,
 * so the first that is not through can always go on: nobody waits in a circle. */
#include "comm/comm_internal.h"

#include "base/hash.h"
#include "base/mem.h"

#include <limits.h>
#include <string.h>

#define PIECE_BYTES ((size_t)256 << 10)
#define SLOTS       4 /* two would do on a quiet board; four ride out a late wake-up */

struct cursor { /* a place in the concatenation of all blobs that are sent */
    int blob;
    size_t at;
};

struct piece {
    struct cursor from;
    size_t bytes;
    int before, after; /* ranks that it comes from and goes to; -1: none */
};

struct slot {
    struct piece piece;
    unsigned char *memory; /* PIECE_BYTES; the root sends from the blob itself where it can */
    bool receiving, sending;
};

struct chain {
    struct comm *c;
    const struct comm_blob *blobs;
    int count;
    unsigned char *wants; /* [rank * count + blob] */
    bool handing; /* a sink is at work: it may look after messages, and so come here again */
    comm_blob_sink sink;
    void *context;
    comm_progress_fn progress;
    void *progress_context;
    uint64_t passed, total;
    enum cohort_code sink_code;
    struct cohort_error sink_error;

    struct cursor next; /* of the piece to receive (root: to send) next */
    bool exhausted;
    struct slot slots[SLOTS];
    MPI_Request requests[2 * SLOTS]; /* receives, then sends */
    int oldest, used;                /* a ring of slots */
    int handed;                      /* the first `handed` used slots have reached the sink */
};

/* ---- cutting --------------------------------------------------------------------------------- */

static bool wants(const struct chain *ch, int rank, int blob) {
    return ch->wants[(size_t)rank * (size_t)ch->count + (size_t)blob] != 0;
}

/* The next rank that wants a blob, from `rank` on in steps of +-1; -1: none. */
static int next_rank(const struct chain *ch, int rank, int step, int blob) {
    while (rank > 0 && rank < ch->c->size && !wants(ch, rank, blob))
        rank += step;
    return rank > 0 && rank < ch->c->size ? rank : -1;
}

/* Does nothing of this blob come through this rank? */
static bool skipped(const struct chain *ch, int blob) {
    return ch->blobs[blob].bytes == 0 ||
           (ch->c->rank > 0 ? !wants(ch, ch->c->rank, blob) : next_rank(ch, 1, 1, blob) < 0);
}

static bool same_way(const struct chain *ch, int a, int b) {
    for (int r = 1; r < ch->c->size; r++)
        if (wants(ch, r, a) != wants(ch, r, b))
            return false;
    return true;
}

/* Where this rank gets a blob from, and gives it. */
static void find_way(const struct chain *ch, struct piece *p, int blob) {
    const int rank = ch->c->rank;
    const int lower = next_rank(ch, rank - 1, -1, blob);
    p->before = rank == 0 ? -1 : lower > 0 ? lower : 0;
    p->after = next_rank(ch, rank + 1, 1, blob);
}

/* The blob behind `blob` that is sent to anybody; count: none.  All ranks find the same. */
static int next_sent(const struct chain *ch, int blob) {
    while (blob < ch->count && (ch->blobs[blob].bytes == 0 || next_rank(ch, 1, 1, blob) < 0))
        blob++;
    return blob;
}

/* The next piece that passes through this rank; false at the end. */
static bool cut(struct chain *ch, struct piece *piece) {
    struct cursor at = ch->next;
    while (at.blob < ch->count && skipped(ch, at.blob))
        at = (struct cursor){.blob = at.blob + 1};
    if (at.blob == ch->count)
        return false;
    *piece = (struct piece){.from = at};
    find_way(ch, piece, at.blob);
    while (at.blob < ch->count && piece->bytes < PIECE_BYTES &&
           same_way(ch, at.blob, piece->from.blob)) {
        size_t rest = ch->blobs[at.blob].bytes - at.at;
        size_t room = PIECE_BYTES - piece->bytes;
        size_t take = rest < room ? rest : room;
        piece->bytes += take;
        at.at += take;
        if (take < rest)
            break;
        at = (struct cursor){.blob = next_sent(ch, at.blob + 1)};
    }
    ch->next = at;
    return true;
}

typedef enum cohort_code (*part_fn)(struct chain *ch, int blob, size_t at, unsigned char *memory,
                                    size_t bytes);

/* Calls fn for each blob's part of a piece; memory is where that part lies in the piece. */
static enum cohort_code each_part(struct chain *ch, const struct piece *piece,
                                  unsigned char *memory, part_fn fn) {
    enum cohort_code code = COHORT_OK;
    struct cursor at = piece->from;
    for (size_t done = 0; done < piece->bytes && code == COHORT_OK;) {
        size_t rest = ch->blobs[at.blob].bytes - at.at;
        size_t take = rest < piece->bytes - done ? rest : piece->bytes - done;
        code = fn(ch, at.blob, at.at, memory + done, take);
        done += take;
        at = (struct cursor){.blob = next_sent(ch, at.blob + 1)};
    }
    return code;
}

static enum cohort_code part_to_sink(struct chain *ch, int blob, size_t at, unsigned char *memory,
                                     size_t bytes) {
    if (!ch->blobs[blob].wanted)
        return COHORT_OK;
    return ch->sink(ch->context, blob, at, memory, bytes, &ch->sink_error);
}

/* The run that byte `at` of a blob is in: where it lies, and how many more of it lie behind. */
static const unsigned char *run_at(const struct comm_blob *b, size_t at, size_t *rest) {
    const unsigned char *data = b->data;
    *rest = b->bytes - at;
    if (b->run_bytes == 0)
        return data + at;
    const size_t run = b->run_bytes - at % b->run_bytes;
    *rest = run < *rest ? run : *rest;
    return data + at / b->run_bytes * b->run_pitch + at % b->run_bytes;
}

void comm_blob_read(const struct comm_blob *b, size_t at, size_t bytes, void *to) {
    for (size_t done = 0; done < bytes;) {
        size_t rest;
        const unsigned char *from = run_at(b, at + done, &rest);
        rest = rest < bytes - done ? rest : bytes - done;
        memcpy((unsigned char *)to + done, from, rest);
        done += rest;
    }
}

static enum cohort_code part_from_root(struct chain *ch, int blob, size_t at, unsigned char *memory,
                                       size_t bytes) {
    comm_blob_read(&ch->blobs[blob], at, bytes, memory);
    return COHORT_OK;
}

static void hand_to_sink(struct chain *ch, const struct slot *s) {
    if (ch->sink_code == COHORT_OK) {
        error_clear(&ch->sink_error);
        ch->handing = true;
        ch->sink_code = each_part(ch, &s->piece, s->memory, part_to_sink);
        ch->handing = false;
    }
}

static void count_passed(struct chain *ch, size_t bytes) {
    ch->passed += bytes;
    if (ch->progress != NULL)
        ch->progress(ch->progress_context, ch->passed, ch->total);
}

/* ---- one rank's part of the pipeline --------------------------------------------------------- */

static struct slot *slot_at(struct chain *ch, int i) {
    return &ch->slots[(ch->oldest + i) % SLOTS];
}

static MPI_Request *receive_of(struct chain *ch, const struct slot *s) {
    return &ch->requests[s - ch->slots];
}

static MPI_Request *send_of(struct chain *ch, const struct slot *s) {
    return &ch->requests[SLOTS + (s - ch->slots)];
}

static enum cohort_code send_piece(struct chain *ch, struct slot *s, const void *data,
                                   struct cohort_error *err) {
    enum cohort_code code = COMM_MPI(ch->c, MPI_Isend, data, (int)s->piece.bytes, MPI_BYTE,
                                     s->piece.after, COMM_TAG_WEIGHTS, ch->c->comm, send_of(ch, s));
    s->sending = code == COHORT_OK;
    return code;
}

/* Fills free slots: with receives, or on the root with sends. */
static enum cohort_code fill_slots(struct chain *ch, bool *moved, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    while (ch->used < SLOTS && !ch->exhausted) {
        struct slot *s = slot_at(ch, ch->used);
        if (!cut(ch, &s->piece)) {
            ch->exhausted = true;
            break;
        }
        *moved = true;
        ch->used++;
        if (s->piece.before >= 0) {
            TRY(COMM_MPI(ch->c, MPI_Irecv, s->memory, (int)s->piece.bytes, MPI_BYTE,
                         s->piece.before, COMM_TAG_WEIGHTS, ch->c->comm, receive_of(ch, s)));
            s->receiving = true;
            continue;
        }
        struct cursor from = s->piece.from;
        size_t rest;
        const unsigned char *data = run_at(&ch->blobs[from.blob], from.at, &rest);
        if (rest < s->piece.bytes) { /* of several blobs, or runs */
            (void)each_part(ch, &s->piece, s->memory, part_from_root);
            data = s->memory;
        }
        TRY(send_piece(ch, s, data, err));
    }
out:
    return code;
}

/* Receives in order: forwards, then hands over. */
static enum cohort_code take_received(struct chain *ch, bool *moved, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    while (ch->handed < ch->used) {
        struct slot *s = slot_at(ch, ch->handed);
        if (s->receiving) {
            bool received = false;
            TRY(comm_test(ch->c, receive_of(ch, s), &received, err));
            if (!received)
                break;
            s->receiving = false;
            *moved = true;
            if (s->piece.after >= 0)
                TRY(send_piece(ch, s, s->memory, err));
            hand_to_sink(ch, s);
            count_passed(ch, s->piece.bytes);
        }
        ch->handed++;
    }
out:
    return code;
}

static enum cohort_code free_sent(struct chain *ch, bool *moved, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    while (ch->handed > 0) {
        struct slot *s = slot_at(ch, 0);
        if (s->sending) {
            bool sent = false;
            TRY(comm_test(ch->c, send_of(ch, s), &sent, err));
            if (!sent)
                break;
            s->sending = false;
            if (ch->c->rank == 0)
                count_passed(ch, s->piece.bytes);
        }
        *moved = true;
        ch->oldest = (ch->oldest + 1) % SLOTS;
        ch->used--;
        ch->handed--;
    }
out:
    return code;
}

static enum cohort_code progress_chain(void *context, bool *done, bool *moved,
                                       struct cohort_error *err) {
    struct chain *ch = context;
    enum cohort_code code = COHORT_OK;
    *moved = *done = false;
    if (ch->handing)
        return COHORT_OK;
    TRY(fill_slots(ch, moved, err));
    TRY(take_received(ch, moved, err));
    TRY(free_sent(ch, moved, err));
    TRY(fill_slots(ch, moved, err));
    *done = ch->exhausted && ch->used == 0;
out:
    return code;
}

static int chain_waits_for(const void *context) {
    const struct chain *ch = context;
    const struct piece *p = &ch->slots[ch->oldest].piece;
    return ch->used == 0 ? -1 : p->before >= 0 ? p->before : p->after;
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static enum cohort_code check_blobs(const struct comm *c, const struct comm_blob *blobs, int count,
                                    struct cohort_error *err) {
    for (int i = 0; i < count; i++) {
        if (c->rank == 0 && blobs[i].data == NULL && blobs[i].bytes > 0)
            return error_set(err, COHORT_ERR_INTERNAL, "weights: blob %d has no data", i);
    }
    return COHORT_OK;
}

static enum cohort_code prove_sizes(struct comm *c, const struct comm_blob *blobs, int count,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char hash[HASH_TEXT_BYTES] = "";
    struct buf sizes = {0};
    for (int i = 0; i < count; i++)
        buf_u64(&sizes, blobs[i].bytes);
    if (sizes.failed)
        code = error_set(err, COHORT_ERR_MEMORY, "out of memory: sizes of %d constants", count);
    else
        hash_bytes(sizes.data, sizes.size, hash);
    TRY(comm_agree(c, code, err));
    TRY(comm_prove_equal(c, "the list of constants", hash, err));
out:
    buf_release(&sizes);
    return code;
}

/* Who wants what. */
static enum cohort_code find_wanted(struct chain *ch, unsigned char *mine,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct comm *c = ch->c;
    MPI_Request request = MPI_REQUEST_NULL;
    for (int i = 0; i < ch->count; i++)
        mine[i] = ch->blobs[i].wanted;
    TRY(COMM_MPI(c, MPI_Iallgather, mine, ch->count, MPI_BYTE, ch->wants, ch->count, MPI_BYTE,
                 c->comm, &request));
    TRY(comm_wait_request(c, &request, "who lacks which weights", 0, err));
out:
    return code;
}

static void count_total(struct chain *ch) {
    for (int i = 0; i < ch->count; i++)
        if (!skipped(ch, i))
            ch->total += ch->blobs[i].bytes;
}

/* What rank 0 wants of its own blobs needs no message. */
static void feed_root(struct chain *ch, unsigned char *memory) {
    for (int i = 0; i < ch->count && ch->sink_code == COHORT_OK; i++) {
        const struct comm_blob *b = &ch->blobs[i];
        for (size_t at = 0; b->wanted && at < b->bytes && ch->sink_code == COHORT_OK;
             at += PIECE_BYTES) {
            size_t bytes = b->bytes - at < PIECE_BYTES ? b->bytes - at : PIECE_BYTES;
            error_clear(&ch->sink_error);
            comm_blob_read(b, at, bytes, memory);
            ch->sink_code = ch->sink(ch->context, i, at, memory, bytes, &ch->sink_error);
        }
    }
}

static enum cohort_code run_pipeline(struct chain *ch, unsigned char *memory,
                                     struct cohort_error *err) {
    struct comm_work work = {.what = "sending weights",
                             .progress = progress_chain,
                             .waits_for = chain_waits_for,
                             .context = ch,
                             .requests = ch->requests,
                             .request_count = 2 * SLOTS,
                             .receive_count = SLOTS,
                             .bytes = 2 * SLOTS * PIECE_BYTES};
    for (int i = 0; i < SLOTS; i++)
        ch->slots[i].memory = memory + (size_t)i * PIECE_BYTES;
    for (int i = 0; i < 2 * SLOTS; i++)
        ch->requests[i] = MPI_REQUEST_NULL;
    return comm_wait(ch->c, &work, comm_setup_timeout(ch->c), err);
}

enum cohort_code comm_chain(struct comm *c, const struct comm_blob *blobs, int count,
                            comm_blob_sink sink, void *context, comm_progress_fn progress,
                            void *progress_context, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct chain ch = {.c = c,
                       .blobs = blobs,
                       .count = count,
                       .sink = sink,
                       .context = context,
                       .progress = progress,
                       .progress_context = progress_context};
    const size_t flags = (size_t)count * ((size_t)c->size + 1);
    unsigned char *table = NULL, *memory = NULL;
    TRY(comm_agree(c, check_blobs(c, blobs, count, err), err));
    TRY(prove_sizes(c, blobs, count, err));
    table = mem_zalloc(flags + 1, sizeof *table);
    memory = mem_alloc(SLOTS * PIECE_BYTES);
    if (table == NULL || memory == NULL)
        code = error_memory(err, SLOTS * PIECE_BYTES + flags, "sending weights");
    TRY(comm_agree(c, code, err));
    if (c->rank == 0)
        feed_root(&ch, memory);
    if (!c->alone) {
        ch.wants = table;
        TRY(find_wanted(&ch, table + (size_t)count * (size_t)c->size, err));
        count_total(&ch);
        if (ch.total > 0)
            TRY(run_pipeline(&ch, memory, err));
    }
    if (ch.sink_code != COHORT_OK)
        code = error_set(err, ch.sink_code, "%s",
                         ch.sink_error.code == ch.sink_code ? ch.sink_error.message
                                                            : cohort_code_name(ch.sink_code));
    code = comm_agree(c, code, err);
out:
    mem_free(memory);
    mem_free(table);
    return code;
}
