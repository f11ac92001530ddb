/* The list of steps, and the transfers that they begin and end. */
#include "runtime/session.h"

#include "base/mem.h"
#include "comm/layouts.h"

enum cohort_code session_add_step(struct cohort_session *s, enum step_kind kind, int segment,
                                  int move, bool idle, struct cohort_error *err) {
    if (!MEM_GROW(s->steps, s->step_capacity, (size_t)s->step_count))
        return error_memory(err, sizeof *s->steps, "a plan's steps");
    s->steps[s->step_count++] =
        (struct step){.kind = kind, .segment = segment, .move = move, .idle = idle};
    return COHORT_OK;
}

static void release_move(struct move *m) {
    comm_transfer_destroy(&m->transfer);
    mem_free(m->out_rows);
    mem_free(m->in_rows);
}

void session_release_steps(struct cohort_session *s) {
    for (int i = 0; s->moves != NULL && i < s->transitions.count; i++)
        release_move(&s->moves[i]);
    transitions_release(&s->transitions);
    mem_free(s->moves);
    mem_free(s->segments);
    mem_free(s->steps);
    s->moves = NULL;
    s->segments = NULL;
    s->steps = NULL;
    s->step_count = 0;
}

/* ---- what goes out and comes in ------------------------------------------------------------ */

typedef void (*rows_fn)(struct cohort_session *s, int move, int part, struct rows rows);

/* Calls fn for all ranges that this rank sends (or receives) in a transition.  A range that goes to
 * several ranks may come several times. */
static void each_range(struct cohort_session *s, int move, int part, bool out, rows_fn fn) {
    const struct transition *t = &s->transitions.list[move];
    const bool root_sends = t->kind == TRANSITION_SCATTER;
    for (int k = 0; k < t->move_count; k++)
        if ((out ? t->moves[k].from : t->moves[k].to) == s->rank)
            fn(s, move, part, t->moves[k].rows);
    for (int b = 1; t->rows != NULL && b < s->size; b++)
        if (s->rank == (out == root_sends ? 0 : b) && !rows_empty(t->rows[b]))
            fn(s, move, part, t->rows[b]);
}

static void extend_out(struct cohort_session *s, int move, int part, struct rows rows) {
    (void)part;
    s->moves[move].out = rows_hull(s->moves[move].out, rows);
}
static void extend_in(struct cohort_session *s, int move, int part, struct rows rows) {
    (void)part;
    s->moves[move].in = rows_hull(s->moves[move].in, rows);
}

static int slot_of(const struct move *m) {
    return m->slot >= 0 ? m->slot : m->root_slot;
}

size_t session_row_bytes(const struct cohort_session *s, int value) {
    return session_pixels_of(s, value) != NULL ? pixels_row_bytes(s->graph, value)
                                               : wire_row_bytes(s->graph, value, s->wire);
}

static void encode(struct cohort_session *s, int move, int part, struct rows rows) {
    const struct move *m = &s->moves[move];
    wire_encode(s->program, slot_of(m), rows, s->wire, part, s->transitions.list[move].parts,
                m->out_rows, m->out_first, &s->wire_saturated);
}
static void decode(struct cohort_session *s, int move, int part, struct rows rows) {
    (void)part;
    const struct move *m = &s->moves[move];
    const struct session_pixels *pixels = session_pixels_of(s, s->transitions.list[move].value);
    if (pixels != NULL)
        pixels_unpack(s->program, slot_of(m), rows, pixels->table, pixels->channels_last,
                      (const uint8_t *)m->in_rows, m->in_first);
    else
        wire_decode(s->program, slot_of(m), rows, s->wire, m->in_rows, m->in_first);
}

void session_encode_move(struct cohort_session *s, int move, int part) {
    const struct move *m = &s->moves[move];
    if (m->out_rows == NULL)
        return;
    if (s->transitions.list[move].kind == TRANSITION_SCATTER)
        encode(s, move, part, m->out); /* ranges overlap by their halos: each row once */
    else
        each_range(s, move, part, true, encode);
}

void session_decode_move(struct cohort_session *s, int move) {
    if (s->moves[move].in_rows != NULL)
        each_range(s, move, 0, false, decode);
}

/* Memory for what travels in another form than it lies. */
static enum cohort_code make_buffers(struct cohort_session *s, int i, size_t row_bytes,
                                     struct cohort_error *err) {
    struct move *m = &s->moves[i];
    const int value = s->transitions.list[i].value;
    const bool pixels = session_pixels_of(s, value) != NULL;
    each_range(s, i, 0, true, extend_out);
    each_range(s, i, 0, false, extend_in);
    if (!pixels && !wire_converts(s->graph, value, s->wire))
        return COHORT_OK;
    /* The root's memory of a scatter or gather begins at row 0, as its map does. */
    const bool whole = s->rank == 0 && s->transitions.list[i].kind != TRANSITION_EXCHANGE;
    m->out_first = whole ? 0 : m->out.begin;
    m->in_first = whole ? 0 : m->in.begin;
    size_t out = pixels ? 0 : (size_t)(m->out.end - m->out_first) * row_bytes; /* they lie there */
    size_t in = (size_t)(m->in.end - m->in_first) * row_bytes;
    if (out > 0)
        m->out_rows = mem_zalloc(1, out);
    if (in > 0)
        m->in_rows = mem_zalloc(1, in);
    s->wire_bytes += out + in;
    if ((out > 0 && m->out_rows == NULL) || (in > 0 && m->in_rows == NULL))
        return error_memory(err, out + in, "rows on the wire");
    return COHORT_OK;
}

/* ---- transfers ------------------------------------------------------------------------------- */

/* Where the rows of move i lie that go out, or come in; data NULL: none do. */
static struct comm_rows memory_of(const struct cohort_session *s, int i, bool out) {
    const struct move *m = &s->moves[i];
    const struct session_pixels *pixels = session_pixels_of(s, s->transitions.list[i].value);
    char *own = out ? m->out_rows : m->in_rows;
    int slot = slot_of(m);
    if (slot < 0 || rows_empty(out ? m->out : m->in))
        return (struct comm_rows){0};
    if (pixels != NULL && out)
        return (struct comm_rows){.data = pixels->bytes};
    if (own != NULL)
        return (struct comm_rows){.data = own, .first = out ? m->out_first : m->in_first};
    return (struct comm_rows){.data = exec_slot_data(s->program, slot),
                              .first = exec_slot_rows(s->program, slot).begin};
}

/* The others are making the transfer already: they have to be told. */
static enum cohort_code no_memory(const struct cohort_session *s, size_t bytes,
                                  struct cohort_error *err) {
    enum cohort_code code = error_memory(err, bytes, "a plan's steps");
    comm_abort(s->comm, err);
    return code;
}

static enum cohort_code make_row_transfer(struct cohort_session *s, int i, size_t row_bytes,
                                          struct cohort_error *err) {
    const struct transition *t = &s->transitions.list[i];
    struct move *m = &s->moves[i];
    const bool scatter = t->kind == TRANSITION_SCATTER, root = s->rank == 0;
    const struct comm_rows at = memory_of(s, i, scatter == root);
    int64_t *begin = mem_zalloc((size_t)s->size * 2, sizeof *begin), *end = begin + s->size;
    if (begin == NULL)
        return no_memory(s, (size_t)s->size * 2 * sizeof *begin, err);
    for (int b = 0; b < s->size; b++)
        if (!rows_empty(t->rows[b])) {
            begin[b] = t->rows[b].begin;
            end[b] = t->rows[b].end;
        }
    struct comm_ranges ranges = {.begin = begin, .end = end};
    char *mine = root || at.data == NULL
                     ? NULL
                     : (char *)at.data + (size_t)(begin[s->rank] - at.first) * row_bytes;
    void *whole = root ? exec_slot_data(s->program, m->root_slot) : NULL;
    if (root && at.data != NULL)
        whole = at.data;
    enum comm_scatter how =
        s->options.scatter == COHORT_SCATTER_ORDERED ? COMM_ORDERED : COMM_SCATTERV;
    enum cohort_code code =
        scatter
            ? comm_scatter_create(&m->transfer, s->comm, how, row_bytes, &ranges, whole, mine, err)
            : comm_gather_create(&m->transfer, s->comm, row_bytes, &ranges, whole, mine, err);
    mem_free(begin);
    return code;
}

static enum cohort_code make_exchange(struct cohort_session *s, int i, size_t row_bytes,
                                      struct cohort_error *err) {
    const struct transition *t = &s->transitions.list[i];
    struct move *m = &s->moves[i];
    const struct comm_rows send = memory_of(s, i, true), receive = memory_of(s, i, false);
    struct comm_move *moves = mem_alloc((size_t)t->move_count * sizeof *moves);
    if (moves == NULL)
        return no_memory(s, (size_t)t->move_count * sizeof *moves, err);
    for (int k = 0; k < t->move_count; k++)
        moves[k] = (struct comm_move){.from = t->moves[k].from,
                                      .to = t->moves[k].to,
                                      .begin = t->moves[k].rows.begin,
                                      .end = t->moves[k].rows.end};
    size_t begin[TRANSITION_PARTS + 1] = {0, row_bytes};
    for (int k = 0; k <= t->parts && t->parts > 1; k++)
        begin[k] = wire_part_begin(s->graph, t->value, s->wire, k, t->parts);
    enum cohort_code code = comm_exchange_create_parts(&m->transfer, s->comm, begin, t->parts,
                                                       moves, t->move_count, &send, &receive, err);
    mem_free(moves);
    return code;
}

/* What board b has, or gets, of a map by channels: those bytes of every row. */
static struct comm_part part_of(const struct graph *g, int value, struct channels c) {
    const struct geometry geo = value_geometry(graph_value(g, value));
    const int64_t each = geo.blocked ? geo.width : 1; /* in a block lie 16 channels of each pixel */
    const int64_t end = geo.blocked ? (c.end + MAP_BLOCK - 1) / MAP_BLOCK * MAP_BLOCK : c.end;
    if (c.begin >= c.end)
        return (struct comm_part){0};
    return (struct comm_part){.y1 = geo.images * geo.height,
                              .b0 = (size_t)(c.begin * each) * sizeof(float),
                              .b1 = (size_t)(end * each) * sizeof(float)};
}

static enum cohort_code make_layout_transfer(struct cohort_session *s, int i, size_t row_bytes,
                                             struct cohort_error *err) {
    const struct transition *t = &s->transitions.list[i];
    struct move *m = &s->moves[i];
    const struct geometry geo = value_geometry(graph_value(s->graph, t->value));
    const struct comm_map map = {geo.images * geo.height, geo.row_bytes};
    const size_t size = (size_t)s->size;
    const void *mine = m->slot >= 0 ? exec_slot_data(s->program, m->slot) : NULL;
    void *whole = m->root_slot >= 0 ? exec_slot_data(s->program, m->root_slot) : NULL;
    struct comm_part *has = mem_zalloc(2 * size, sizeof *has), *wants = has + size;
    bool *gives = mem_zalloc(size, sizeof *gives);
    static const enum comm_route routes[PLAN_ROUTES] = {[PLAN_ROUTE_LINEAR] = COMM_LINEAR,
                                                        [PLAN_ROUTE_RING] = COMM_RING,
                                                        [PLAN_ROUTE_HALVING] = COMM_HALVING};
    const enum comm_route route = routes[t->route];
    enum cohort_code code = COHORT_OK;
    (void)row_bytes; /* these are never converted */
    if (has == NULL || gives == NULL) {
        code = no_memory(s, 2 * size * sizeof *has, err);
        goto out;
    }
    for (int b = 0; b < s->size; b++) {
        gives[b] = t->channels[b].begin < t->channels[b].end;
        if (b == 0 || t->to_all)
            wants[b] = (struct comm_part){.y1 = map.rows, .b1 = map.row_bytes};
        if (t->kind == TRANSITION_JOIN)
            has[b] = part_of(s->graph, t->value, t->channels[b]);
    }
    if (t->kind == TRANSITION_JOIN)
        code = comm_spread_create(&m->transfer, s->comm, route, &map, has, wants, mine, whole, err);
    else /* in place */
        code = comm_reduce_create(&m->transfer, s->comm, route, &map, gives, wants, mine,
                                  (void *)(uintptr_t)mine, err);
    if (code == COHORT_OK)
        s->wire_bytes += comm_transfer_memory(m->transfer);
out:
    mem_free(has);
    mem_free(gives);
    return code;
}

typedef enum cohort_code (*make_fn)(struct cohort_session *s, int i, size_t row_bytes,
                                    struct cohort_error *err);
static const make_fn makers[] = {[TRANSITION_SCATTER] = make_row_transfer,
                                 [TRANSITION_GATHER] = make_row_transfer,
                                 [TRANSITION_EXCHANGE] = make_exchange,
                                 [TRANSITION_JOIN] = make_layout_transfer,
                                 [TRANSITION_SUM] = make_layout_transfer};

/* What leaves together with an earlier transition's rows. */
static void join_transfers(struct cohort_session *s, int i) {
    const struct transition *list = s->transitions.list;
    for (int k = 0; k < i; k++)
        if (transitions_together(&list[k], &list[i])) {
            comm_transfer_together(s->moves[i].transfer, s->moves[k].transfer);
            return;
        }
}

/* Memory first: a rank that has none must say so before others wait for it. */
enum cohort_code session_make_transfers(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < s->transitions.count && code == COHORT_OK; i++)
        code = make_buffers(s, i, session_row_bytes(s, s->transitions.list[i].value), err);
    code = session_agree(s, code, err);
    for (int i = 0; i < s->transitions.count && s->comm != NULL && code == COHORT_OK; i++) {
        const struct transition *t = &s->transitions.list[i];
        size_t row_bytes = session_row_bytes(s, t->value);
        code = makers[t->kind](s, i, row_bytes, err);
        if (code == COHORT_OK)
            join_transfers(s, i);
    }
    return code;
}
