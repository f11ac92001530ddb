/* The list of steps, and the transfers that they begin and end. */
#include "runtime/session.h"

#include "base/mem.h"

enum cohort_code session_add_step(struct cohort_session *s, enum step_kind kind, int segment,
                                  int move, bool idle, struct cohort_error *err) {
    if (!MEM_GROW(s->steps, s->step_capacity, (size_t)s->step_count))
        return error_memory(err, sizeof *s->steps, "a plan's steps");
    s->steps[s->step_count++] =
        (struct step){.kind = kind, .segment = segment, .move = move, .idle = idle};
    return COHORT_OK;
}

void session_release_steps(struct cohort_session *s) {
    for (int i = 0; s->moves != NULL && i < s->transitions.count; i++)
        comm_transfer_destroy(&s->moves[i].transfer);
    transitions_release(&s->transitions);
    mem_free(s->moves);
    mem_free(s->segments);
    mem_free(s->steps);
    s->moves = NULL;
    s->segments = NULL;
    s->steps = NULL;
    s->step_count = 0;
}

/* ---- transfers ------------------------------------------------------------------------------- */

/* Row `row` of a slot's memory, which may begin before it. */
static void *row_of(const struct cohort_session *s, int slot, int64_t row, size_t row_bytes) {
    char *data = slot >= 0 ? exec_slot_data(s->program, slot) : NULL;
    if (data == NULL)
        return NULL;
    return data + (size_t)(row - exec_slot_rows(s->program, slot).begin) * row_bytes;
}

static enum cohort_code make_row_transfer(struct cohort_session *s, int i, size_t row_bytes,
                                          struct cohort_error *err) {
    const struct transition *t = &s->transitions.list[i];
    struct move *m = &s->moves[i];
    int64_t *begin = mem_zalloc((size_t)s->size * 2, sizeof *begin), *end = begin + s->size;
    if (begin == NULL)
        return error_memory(err, (size_t)s->size * 2 * sizeof *begin, "a plan's steps");
    for (int b = 0; b < s->size; b++)
        if (!rows_empty(t->rows[b])) {
            begin[b] = t->rows[b].begin;
            end[b] = t->rows[b].end;
        }
    struct comm_ranges ranges = {.begin = begin, .end = end};
    void *mine =
        end[s->rank] > begin[s->rank] ? row_of(s, m->slot, begin[s->rank], row_bytes) : NULL;
    void *whole = s->rank == 0 ? exec_slot_data(s->program, m->root_slot) : NULL;
    enum comm_scatter how =
        s->options.scatter == COHORT_SCATTER_ORDERED ? COMM_ORDERED : COMM_SCATTERV;
    enum cohort_code code =
        t->kind == TRANSITION_SCATTER
            ? comm_scatter_create(&m->transfer, s->comm, how, row_bytes, &ranges, whole, mine, err)
            : comm_gather_create(&m->transfer, s->comm, row_bytes, &ranges, whole, mine, err);
    mem_free(begin);
    return code;
}

static enum cohort_code make_exchange(struct cohort_session *s, int i, size_t row_bytes,
                                      struct cohort_error *err) {
    const struct transition *t = &s->transitions.list[i];
    struct move *m = &s->moves[i];
    struct comm_rows rows = {0};
    struct comm_move *moves = mem_alloc((size_t)t->move_count * sizeof *moves);
    if (moves == NULL)
        return error_memory(err, (size_t)t->move_count * sizeof *moves, "a plan's steps");
    for (int k = 0; k < t->move_count; k++)
        moves[k] = (struct comm_move){.from = t->moves[k].from,
                                      .to = t->moves[k].to,
                                      .begin = t->moves[k].rows.begin,
                                      .end = t->moves[k].rows.end};
    if (m->slot >= 0)
        rows = (struct comm_rows){.data = exec_slot_data(s->program, m->slot),
                                  .first = exec_slot_rows(s->program, m->slot).begin};
    enum cohort_code code = comm_exchange_create(&m->transfer, s->comm, row_bytes, moves,
                                                 t->move_count, &rows, &rows, err);
    mem_free(moves);
    return code;
}

enum cohort_code session_make_transfers(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < s->transitions.count && s->comm != NULL && code == COHORT_OK; i++) {
        const struct transition *t = &s->transitions.list[i];
        size_t row_bytes = value_geometry(graph_value(s->graph, t->value)).row_bytes;
        code = (t->kind == TRANSITION_EXCHANGE ? make_exchange : make_row_transfer)(s, i, row_bytes,
                                                                                    err);
    }
    return code;
}
