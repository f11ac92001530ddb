/* Stages of messages, one after the other; see stages.h. */
#include "comm/stages.h"

#include "base/mem.h"

#include <limits.h>
#include <string.h>

struct message {
    int stage, peer;
    bool send;
    struct area area;
};

struct local {
    int stage;
    bool add;
    struct area to, from;
};

/* Where a stage's messages and local work end; they begin where those of the one before do. */
struct stage {
    int receives, sends, locals;
};

struct stages {
    struct comm_transfer base;
    struct message *messages; /* until stages_finish() */
    int message_count;
    size_t message_capacity;
    struct local *locals;
    int local_count;
    size_t local_capacity;
    void **memory;
    int memory_count;
    size_t memory_capacity;
    struct stage *stages;
    int count; /* of stages */

    MPI_Request *requests;      /* receives of all stages, then sends of all stages */
    int *peer, *indices, *size; /* size: a message's bytes */
    bool *ended;
    int request_count, receive_count;
    int now, left; /* the stage under way, and its messages that have not ended */
};

/* ---- building -------------------------------------------------------------------------------- */

enum cohort_code stages_create(struct stages **s, struct comm *c, const char *what,
                               struct cohort_error *err) {
    struct stages *t = mem_zalloc(1, sizeof *t);
    if (t == NULL)
        return error_memory(err, sizeof *t, "a transfer");
    t->base.c = c;
    t->base.work.what = what;
    *s = t;
    return COHORT_OK;
}

static void release(struct comm_transfer *base) {
    struct stages *s = (struct stages *)base;
    comm_outbox_take(base);
    for (int i = 0; i < s->request_count; i++)
        if (s->requests[i] != MPI_REQUEST_NULL)
            MPI_Request_free(&s->requests[i]);
    for (int i = 0; i < s->memory_count; i++)
        mem_free(s->memory[i]);
    mem_free(s->memory);
    mem_free(s->messages);
    mem_free(s->locals);
    mem_free(s->stages);
    mem_free(s->requests);
    mem_free(s->peer);
    mem_free(s->indices);
    mem_free(s->size);
    mem_free(s->ended);
}

void stages_destroy(struct stages **s) {
    if (*s == NULL)
        return;
    release(&(*s)->base);
    mem_free(*s);
    *s = NULL;
}

void stages_next(struct stages *s) {
    s->count++;
}

static enum cohort_code add_message(struct stages *s, int peer, bool send, struct area area,
                                    struct cohort_error *err) {
    if (!MEM_GROW(s->messages, s->message_capacity, (size_t)s->message_count))
        return error_memory(err, sizeof *s->messages, "a transfer");
    s->messages[s->message_count++] = (struct message){s->count - 1, peer, send, area};
    s->base.bytes += (size_t)area.rows * area.bytes;
    return COHORT_OK;
}

/* In pieces: of whole rows, or, where a row is longer, of parts of rows. */
static enum cohort_code add_messages(struct stages *s, int peer, bool send, struct area a,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (a.rows <= 0 || a.bytes == 0)
        return COHORT_OK;
    BUG_UNLESS(s->count > 0 && peer != s->base.c->rank);
    const int64_t at_once = a.bytes < COMM_PIECE_BYTES ? (int64_t)(COMM_PIECE_BYTES / a.bytes) : 1;
    for (int64_t y = 0; y < a.rows; y += at_once)
        for (size_t x = 0; x < a.bytes; x += COMM_PIECE_BYTES) {
            struct area piece = {.data = a.data + (size_t)y * a.pitch + x,
                                 .rows = a.rows - y < at_once ? a.rows - y : at_once,
                                 .bytes = a.bytes - x < COMM_PIECE_BYTES ? a.bytes - x
                                                                         : COMM_PIECE_BYTES,
                                 .pitch = a.pitch};
            TRY(add_message(s, peer, send, piece, err));
        }
out:
    return code;
}

enum cohort_code stages_send(struct stages *s, int to, struct area from, struct cohort_error *err) {
    return add_messages(s, to, true, from, err);
}

enum cohort_code stages_receive(struct stages *s, int from, struct area to,
                                struct cohort_error *err) {
    return add_messages(s, from, false, to, err);
}

static enum cohort_code add_local(struct stages *s, bool add, struct area to, struct area from,
                                  struct cohort_error *err) {
    if (to.rows <= 0 || to.bytes == 0)
        return COHORT_OK;
    BUG_UNLESS(s->count > 0 && to.rows == from.rows && to.bytes == from.bytes);
    if (!MEM_GROW(s->locals, s->local_capacity, (size_t)s->local_count))
        return error_memory(err, sizeof *s->locals, "a transfer");
    s->locals[s->local_count++] =
        (struct local){.stage = s->count - 1, .add = add, .to = to, .from = from};
    return COHORT_OK;
}

enum cohort_code stages_copy(struct stages *s, struct area to, struct area from,
                             struct cohort_error *err) {
    return to.data == from.data ? COHORT_OK : add_local(s, false, to, from, err);
}

enum cohort_code stages_add(struct stages *s, struct area to, struct area from,
                            struct cohort_error *err) {
    return add_local(s, true, to, from, err);
}

void *stages_memory(struct stages *s, size_t bytes) {
    void *p = mem_zalloc(1, bytes);
    if (p == NULL || !MEM_GROW(s->memory, s->memory_capacity, (size_t)s->memory_count)) {
        mem_free(p);
        return NULL;
    }
    s->memory[s->memory_count++] = p;
    s->base.memory += bytes;
    return p;
}

/* ---- running --------------------------------------------------------------------------------- */

static void run_locals(const struct stages *s, int stage) {
    for (int i = stage > 0 ? s->stages[stage - 1].locals : 0; i < s->stages[stage].locals; i++) {
        const struct local *l = &s->locals[i];
        for (int64_t y = 0; y < l->to.rows; y++) {
            char *to = l->to.data + (size_t)y * l->to.pitch;
            const char *from = l->from.data + (size_t)y * l->from.pitch;
            if (!l->add) {
                memcpy(to, from, l->to.bytes);
                continue;
            }
            float *sum = (float *)(void *)to;
            const float *addend = (const float *)(const void *)from;
            for (size_t k = 0; k < l->to.bytes / sizeof *sum; k++)
                sum[k] += addend[k];
        }
    }
}

/* Of stage `at`: its receives [r0, r1) and sends [s0, s1). */
struct span {
    int r0, r1, s0, s1;
};

static struct span span_of(const struct stages *s, int at) {
    return (struct span){at > 0 ? s->stages[at - 1].receives : 0, s->stages[at].receives,
                         at > 0 ? s->stages[at - 1].sends : s->receive_count, s->stages[at].sends};
}

static enum cohort_code start_stage(struct stages *s, struct cohort_error *err) {
    struct comm *c = s->base.c;
    enum cohort_code code = COHORT_OK;
    const struct span x = span_of(s, s->now);
    for (int i = x.r0; i < x.r1; i++)
        s->ended[i] = false;
    for (int i = x.s0; i < x.s1; i++)
        s->ended[i] = false;
    s->left = x.r1 - x.r0 + x.s1 - x.s0;
    if (x.r1 > x.r0)
        TRY(COMM_MPI(c, MPI_Startall, x.r1 - x.r0, s->requests + x.r0));
    if (s->now > 0)
        s->base.runs++; /* each stage is a transfer of its own: it connects anew */
    s->base.out.first = s->base.out.next = x.s0;
    s->base.out.end = x.s1;
    comm_outbox_put(&s->base);
    TRY(comm_outbox_move(c, err));
out:
    return code;
}

/* On to the next stage while there is nothing to wait for. */
static enum cohort_code go_on(struct stages *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    while (code == COHORT_OK && s->left == 0 && s->now < s->count) {
        run_locals(s, s->now);
        if (++s->now < s->count)
            code = start_stage(s, err);
    }
    s->base.done = s->now == s->count;
    return code;
}

static enum cohort_code test_some(struct stages *s, int first, int last, bool *moved,
                                  struct cohort_error *err) {
    int some = 0;
    if (first == last)
        return COHORT_OK;
    enum cohort_code code =
        comm_test_some(s->base.c, s->requests + first, last - first, s->indices, &some, err);
    for (int i = 0; code == COHORT_OK && i < some; i++)
        s->ended[first + s->indices[i]] = true;
    s->left -= code == COHORT_OK && some > 0 ? some : 0;
    *moved |= some > 0;
    return code;
}

static enum cohort_code progress(void *context, bool *done, bool *moved, struct cohort_error *err) {
    struct stages *s = context;
    enum cohort_code code = COHORT_OK;
    *moved = false;
    TRY(comm_outbox_move(s->base.c, err));
    if (s->base.done)
        goto out;
    const struct span x = span_of(s, s->now);
    TRY(test_some(s, x.r0, x.r1, moved, err));
    TRY(test_some(s, x.s0, x.s1, moved, err));
    TRY(go_on(s, err));
out:
    *done = s->base.done;
    return code;
}

static int waits_for(const void *context) {
    const struct stages *s = context;
    if (s->base.done)
        return -1;
    const struct span x = span_of(s, s->now);
    for (int i = x.r0; i < x.r1; i++)
        if (!s->ended[i])
            return s->peer[i];
    for (int i = x.s0; i < x.s1; i++)
        if (!s->ended[i])
            return s->peer[i];
    return -1;
}

static enum cohort_code start(struct comm_transfer *base, struct cohort_error *err) {
    struct stages *s = (struct stages *)base;
    s->now = 0;
    s->left = 0;
    base->done = false;
    enum cohort_code code = s->count > 0 ? start_stage(s, err) : COHORT_OK;
    return code == COHORT_OK ? go_on(s, err) : code;
}

/* ---- making the messages --------------------------------------------------------------------- */

static enum cohort_code make_room(struct stages *s, struct cohort_error *err) {
    const size_t n = (size_t)s->message_count + 1;
    s->stages = mem_zalloc((size_t)s->count + 1, sizeof *s->stages);
    s->requests = mem_zalloc(n, sizeof *s->requests);
    s->peer = mem_zalloc(n, sizeof *s->peer);
    s->indices = mem_zalloc(n, sizeof *s->indices);
    s->size = mem_zalloc(n, sizeof *s->size);
    s->ended = mem_zalloc(n, sizeof *s->ended);
    if (s->stages == NULL || s->requests == NULL || s->peer == NULL || s->indices == NULL ||
        s->size == NULL || s->ended == NULL)
        return error_memory(err, n * sizeof *s->requests, "a transfer");
    for (size_t i = 0; i < n; i++)
        s->requests[i] = MPI_REQUEST_NULL;
    return COHORT_OK;
}

static bool fits_int(const struct area *a) {
    return a->rows <= INT_MAX && a->bytes <= INT_MAX;
}

static enum cohort_code make_request(struct stages *s, const struct message *m,
                                     struct cohort_error *err) {
    struct comm *c = s->base.c;
    const struct area *a = &m->area;
    MPI_Datatype rows = MPI_BYTE;
    enum cohort_code code = COHORT_OK;
    int count = 1;
    if (a->rows == 1 || a->pitch == a->bytes) {
        count = (int)((size_t)a->rows * a->bytes); /* a piece */
    } else {
        TRY(COMM_MPI(c, MPI_Type_create_hvector, (int)a->rows, (int)a->bytes, (MPI_Aint)a->pitch,
                     MPI_BYTE, &rows));
        TRY(COMM_MPI(c, MPI_Type_commit, &rows));
    }
    MPI_Request *request = &s->requests[s->request_count];
    s->peer[s->request_count] = m->peer;
    s->size[s->request_count] = (int)((size_t)a->rows * a->bytes);
    s->ended[s->request_count] = true;
    TRY(m->send ? COMM_MPI(c, MPI_Send_init, a->data, count, rows, m->peer, s->base.tag, c->comm,
                           request)
                : COMM_MPI(c, MPI_Recv_init, a->data, count, rows, m->peer, s->base.tag, c->comm,
                           request));
    s->request_count++;
out:
    if (rows != MPI_BYTE)
        MPI_Type_free(&rows); /* the request keeps it */
    return code;
}

static enum cohort_code make_requests(struct stages *s, bool send, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int at = 0;
    for (int stage = 0; stage < s->count; stage++) {
        for (; at < s->message_count && s->messages[at].stage == stage; at++)
            if (s->messages[at].send == send)
                TRY(make_request(s, &s->messages[at], err));
        *(send ? &s->stages[stage].sends : &s->stages[stage].receives) = s->request_count;
    }
out:
    return code;
}

enum cohort_code stages_finish(struct stages **stages, enum cohort_code code,
                               struct comm_transfer **t, struct cohort_error *err) {
    struct stages *s = *stages;
    struct comm *c = s->base.c;
    for (int i = 0; i < s->message_count && code == COHORT_OK; i++)
        if (!fits_int(&s->messages[i].area))
            code = error_set(err, COHORT_ERR_UNSUPPORTED, "a message of too many rows");
    if (code == COHORT_OK)
        code = make_room(s, err);
    TRY(comm_agree(c, code, err));
    comm_take_tag(&s->base);
    s->base.start = start;
    s->base.release = release;
    for (int i = 0; i < s->local_count; i++)
        s->stages[s->locals[i].stage].locals = i + 1;
    for (int i = 1; i < s->count; i++)
        if (s->stages[i].locals == 0)
            s->stages[i].locals = s->stages[i - 1].locals;
    TRY(make_requests(s, false, err));
    s->receive_count = s->request_count;
    TRY(make_requests(s, true, err));
    s->base.out = (struct comm_outgoing){
        .requests = s->requests, .peer = s->peer, .size = s->size, .ended = s->ended};
    s->base.work = (struct comm_work){.what = s->base.work.what,
                                      .progress = progress,
                                      .waits_for = waits_for,
                                      .context = s,
                                      .requests = s->requests,
                                      .request_count = s->request_count,
                                      .receive_count = s->receive_count,
                                      .bytes = s->base.bytes};
    mem_free(s->messages);
    s->messages = NULL;
    *t = &s->base;
    *stages = NULL;
out:
    return code;
}
