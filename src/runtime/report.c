/* What the last run took, per step and per board, as JSON. docs/report.md lists the keys. */
#include "runtime/forecast.h"
#include "runtime/session.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

/* What each rank tells of a transfer, of a segment, and of itself. */
struct move_row {
    double wait_ms, start_ms, bytes, rows;
};
struct segment_row {
    double compute_ms, rows, halo_rows;
};
struct board_row {
    char host[BOARD_NAME_BYTES];
    char cpu[128];
    double threads, arena_bytes, weights_bytes, other_bytes, received_bytes, run_ms;
    double cpu_share, blocks, late_blocks, cpu_ms, profiled; /* dilation; blocks of all runs */
    double half_weights, half_saturated, half_error;
    double wire_saturated, memory_bytes;
    double fp16_on, fp16_operators, fp16_share, fp16_saturated;
};

/* The reports of all ranks, or of one: of each its transfers first, then its segments. */
struct report {
    const struct cohort_session *s;
    size_t moves, segments, bytes; /* counts; bytes of one rank's rows */
    unsigned char *all;
};

static struct move_row *move_rows(const struct report *r, int rank) {
    return (struct move_row *)(void *)(r->all + (size_t)rank * r->bytes);
}

static struct segment_row *segment_rows(const struct report *r, int rank) {
    return (struct segment_row *)(void *)(move_rows(r, rank) + r->moves);
}

/* This rank's rows, in the first place. */
static void fill_rows(const struct report *r) {
    const struct cohort_session *s = r->s;
    struct move_row *moves = move_rows(r, 0);
    struct segment_row *segments = segment_rows(r, 0);
    for (size_t i = 0; i < r->moves; i++) {
        const struct transition *t = &s->transitions.list[i];
        int64_t rows = t->rows != NULL ? rows_count(t->rows[s->rank])
                                       : transition_rows_received(t, s->rank, s->size);
        moves[i] = (struct move_row){.bytes = (double)comm_transfer_bytes(s->moves[i].transfer),
                                     .rows = (double)rows};
    }
    for (size_t i = 0; i < r->segments; i++)
        segments[i] = (struct segment_row){.rows = (double)s->segments[i].rows,
                                           .halo_rows = (double)s->segments[i].halo_rows};
    for (int i = 0; i < s->step_count; i++) {
        const struct step *t = &s->steps[i];
        if (t->idle)
            continue;
        if (t->kind == STEP_COMPUTE)
            segments[t->segment].compute_ms += t->ms;
        else if (t->kind == STEP_EXPECT || t->kind == STEP_BEGIN || t->kind == STEP_MORE)
            moves[t->move].start_ms += t->ms;
        else
            moves[t->move].wait_ms += t->ms;
    }
}

/* < 0: the system does not tell. */
static double memory_bytes(const struct cohort_session *s) {
    if (s->memory_before == 0)
        return -1;
    return s->memory_most > s->memory_before ? (double)(s->memory_most - s->memory_before) : 0;
}

void session_note_memory(struct cohort_session *s) {
    const size_t now = mem_anonymous_bytes();
    s->memory_most = now > s->memory_most ? now : s->memory_most;
}

static struct board_row board_of(const struct cohort_session *s) {
    struct exec_memory m = exec_memory(s->program);
    struct exec_half half = exec_half(s->program);
    struct exec_fp16 fp16 = exec_fp16(s->program);
    struct dilation_counts dilation = pool_dilation(s->pool);
    struct board_row b = {.threads = s->board.threads,
                          .arena_bytes = (double)m.arena_bytes,
                          .weights_bytes = (double)m.weights_bytes,
                          .other_bytes =
                              (double)(m.pinned_bytes + m.workspace_bytes + s->wire_bytes),
                          .memory_bytes = memory_bytes(s),
                          .wire_saturated = (double)s->wire_saturated,
                          .received_bytes = (double)s->weights_received_bytes,
                          .run_ms = s->run_ms,
                          .cpu_share = pool_share(s->pool),
                          .blocks = (double)dilation.blocks,
                          .late_blocks = (double)dilation.late,
                          .cpu_ms = s->cpu_ms,
                          .profiled = s->times != NULL,
                          .half_weights = (double)half.weights,
                          .half_saturated = (double)half.saturated,
                          .half_error = half.error,
                          .fp16_on = fp16.on,
                          .fp16_operators = fp16.operators,
                          .fp16_share = fp16.all_macs > 0 ? fp16.macs / fp16.all_macs : 0,
                          .fp16_saturated = (double)fp16.saturated};
    memcpy(b.host, s->board.name, sizeof b.host);
    memcpy(b.cpu, s->board.cpu_model, sizeof b.cpu);
    return b;
}

static const char *const transition_names[] = {[TRANSITION_SCATTER] = "scatter",
                                               [TRANSITION_GATHER] = "gather",
                                               [TRANSITION_EXCHANGE] = "exchange",
                                               [TRANSITION_JOIN] = "join",
                                               [TRANSITION_SUM] = "sum"};

const char *step_kind_name(const struct cohort_session *s, const struct step *t) {
    if (t->kind == STEP_COMPUTE)
        return "compute";
    if (t->kind == STEP_FINISH)
        return "finish";
    return t->kind == STEP_WAIT ? transition_names[s->transitions.list[t->move].kind] : "begin";
}

const char *step_tensor(const struct cohort_session *s, const struct step *t) {
    return t->kind == STEP_COMPUTE
               ? s->plan->segments[t->segment].until
               : graph_value(s->graph, s->transitions.list[t->move].value)->name;
}

static const char *const wires[] = {"f32", "f16", "i8"};

/* What a value is on its way. */
static const char *wire_of(const struct cohort_session *s, const struct transition *t) {
    const int value = t->value;
    if (session_pixels_of(s, value) != NULL)
        return "u8";
    if (t->channels == NULL && wire_converts(s->graph, value, s->wire))
        return wires[s->wire];
    const enum dtype type = graph_value(s->graph, value)->type;
    return type == DT_F32 ? wires[WIRE_F32] : dtype_name(type);
}

/* wire: NULL where nothing travels. */
static cJSON *new_step(cJSON *steps, int segment, const char *kind, const char *tensor,
                       const char *wire) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "segment", segment);
    cJSON_AddStringToObject(o, "kind", kind);
    cJSON_AddStringToObject(o, "tensor", tensor);
    if (wire != NULL)
        cJSON_AddStringToObject(o, "wire", wire);
    json_append(steps, o);
    return cJSON_AddArrayToObject(o, "boards");
}

/* Where something is predicted. */
static void add_known(cJSON *o, const char *key, double ms) {
    if (ms >= 0)
        cJSON_AddNumberToObject(o, key, ms);
}

static void add_move(cJSON *steps, const struct report *r, int i, int segment) {
    const struct transition *t = &r->s->transitions.list[i];
    cJSON *boards = new_step(steps, segment, transition_names[t->kind],
                             graph_value(r->s->graph, t->value)->name, wire_of(r->s, t));
    for (int b = 0; b < r->s->size; b++) {
        const struct move_row *row = &move_rows(r, b)[i];
        cJSON *cell = cJSON_CreateObject();
        cJSON_AddNumberToObject(cell, "wait_ms", row->wait_ms);
        add_known(cell, "predicted_ms", forecast_wait_ms(r->s, i, b));
        cJSON_AddNumberToObject(cell, "start_ms", row->start_ms);
        cJSON_AddNumberToObject(cell, "rows", row->rows);
        cJSON_AddNumberToObject(cell, "bytes", row->bytes);
        json_append(boards, cell);
    }
}

static void add_compute(cJSON *steps, const struct report *r, int segment) {
    const struct plan_segment *s = &r->s->plan->segments[segment];
    const bool channels = r->s->size > 1 && plan_by_channels(s->mode) && s->mode != PLAN_ROWS_GEMM;
    cJSON *boards = new_step(steps, segment, "compute", r->s->plan->segments[segment].until, NULL);
    for (int b = 0; b < r->s->size; b++) {
        const struct segment_row *row = &segment_rows(r, b)[segment];
        cJSON *cell = cJSON_CreateObject();
        cJSON_AddNumberToObject(cell, "compute_ms", row->compute_ms);
        add_known(cell, "predicted_ms", forecast_compute_ms(r->s, segment, b));
        cJSON_AddNumberToObject(cell, "rows", row->rows);
        cJSON_AddNumberToObject(cell, "halo_rows", row->halo_rows);
        if (channels)
            cJSON_AddNumberToObject(cell, "channels", (double)(s->split[b + 1] - s->split[b]));
        json_append(boards, cell);
    }
}

/* Is it for this segment, before it computes, or because of it, behind? */
static bool comes_in(const struct transition *t, int segment) {
    return !t->after && t->before == segment;
}
static bool goes_out(const struct transition *t, int segment) {
    return t->after && t->made == segment;
}

/* One object per transfer and per segment, with an array per board. */
static void add_steps(cJSON *root, const struct report *r) {
    cJSON *steps = cJSON_AddArrayToObject(root, "steps");
    const struct transitions *t = &r->s->transitions;
    for (int segment = 0; segment < r->s->plan->segment_count; segment++) {
        for (int i = 0; i < t->count; i++)
            if (comes_in(&t->list[i], segment))
                add_move(steps, r, i, segment);
        add_compute(steps, r, segment);
        for (int i = 0; i < t->count; i++)
            if (goes_out(&t->list[i], segment))
                add_move(steps, r, i, segment);
    }
}

static void add_prediction(cJSON *o, const char *key, double ms) {
    if (ms >= 0)
        cJSON_AddNumberToObject(o, key, ms);
    else
        cJSON_AddNullToObject(o, key);
}

/* What board b waited for a segment's transfers. */
static double waited(const struct report *r, int segment, int b) {
    double sum = 0;
    for (int i = 0; i < r->s->transitions.count; i++)
        if (comes_in(&r->s->transitions.list[i], segment) ||
            goes_out(&r->s->transitions.list[i], segment))
            sum += move_rows(r, b)[i].wait_ms + move_rows(r, b)[i].start_ms;
    return sum;
}

/* Measured beside predicted. */
static void add_segments(cJSON *root, const struct report *r) {
    cJSON *list = cJSON_AddArrayToObject(root, "segment_times");
    for (int i = 0; i < r->s->plan->segment_count; i++) {
        const struct plan_segment *s = &r->s->plan->segments[i];
        double compute = 0, least = waited(r, i, 0), most = 0;
        for (int b = 0; b < r->s->size; b++) {
            double ms = segment_rows(r, b)[i].compute_ms, wait = waited(r, i, b);
            compute = ms > compute ? ms : compute;
            least = wait < least ? wait : least;
            most = wait > most ? wait : most;
        }
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "until", s->until);
        cJSON_AddStringToObject(o, "mode", plan_mode_name(s->mode));
        cJSON_AddNumberToObject(o, "compute_ms", compute);
        add_prediction(o, "predicted_ms", s->predicted_ms);
        cJSON_AddNumberToObject(o, "least_wait_ms", least);
        cJSON_AddNumberToObject(o, "most_wait_ms", most);
        add_prediction(o, "predicted_wait_ms", s->predicted_wait_ms);
        json_append(list, o);
    }
}

/* What board b computed in all segments. */
static double computed(const struct report *r, int b) {
    double sum = 0;
    for (int i = 0; i < r->s->plan->segment_count; i++)
        sum += segment_rows(r, b)[i].compute_ms;
    return sum;
}

static void add_boards(cJSON *root, const struct report *r, const struct board_row *rows) {
    const struct cohort_session *s = r->s;
    cJSON *boards = cJSON_AddArrayToObject(root, "boards");
    for (int b = 0; b < s->size; b++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "host", rows[b].host);
        cJSON_AddStringToObject(o, "cpu", rows[b].cpu);
        cJSON_AddNumberToObject(o, "rank", b);
        cJSON_AddNumberToObject(o, "threads", rows[b].threads);
        cJSON_AddNumberToObject(o, "run_ms", rows[b].run_ms);
        cJSON_AddNumberToObject(o, "compute_ms", computed(r, b));
        add_known(o, "predicted_compute_ms", forecast_board_ms(s, b));
        cJSON_AddNumberToObject(o, "cpu_share", rows[b].cpu_share);
        if (rows[b].cpu_share < 1) {
            cJSON_AddStringToObject(o, "dilated_by", rows[b].profiled > 0 ? "profile" : "cpu");
            cJSON_AddNumberToObject(o, "cpu_ms", rows[b].cpu_ms);
            cJSON_AddNumberToObject(o, "blocks", rows[b].blocks);
            cJSON_AddNumberToObject(o, "late_blocks", rows[b].late_blocks);
        }
        if (s->options.weights_type == COHORT_WEIGHTS_F16) {
            cJSON_AddNumberToObject(o, "f16_weights", rows[b].half_weights);
            cJSON_AddNumberToObject(o, "f16_saturated", rows[b].half_saturated);
            cJSON_AddNumberToObject(o, "f16_error", rows[b].half_error);
        }
        if (rows[b].fp16_on > 0 || s->options.arithmetic == COHORT_ARITHMETIC_F16) {
            cJSON_AddStringToObject(o, "arithmetic", rows[b].fp16_on > 0 ? "f16" : "f32");
            cJSON_AddNumberToObject(o, "f16_operators", rows[b].fp16_operators);
            cJSON_AddNumberToObject(o, "f16_share", rows[b].fp16_share);
            cJSON_AddNumberToObject(o, "f16_inputs_saturated", rows[b].fp16_saturated);
        }
        if (s->wire != WIRE_F32)
            cJSON_AddNumberToObject(o, "wire_saturated", rows[b].wire_saturated);
        cJSON_AddNumberToObject(o, "activation_bytes", rows[b].arena_bytes);
        cJSON_AddNumberToObject(o, "weights_bytes", rows[b].weights_bytes);
        cJSON_AddNumberToObject(o, "other_bytes", rows[b].other_bytes);
        if (rows[b].memory_bytes >= 0)
            cJSON_AddNumberToObject(o, "memory_bytes", rows[b].memory_bytes);
        add_known(o, "planned_bytes", forecast_memory_bytes(s, b));
        cJSON_AddNumberToObject(o, "weights_received_bytes", rows[b].received_bytes);
        json_append(boards, o);
    }
}

static enum cohort_code print_report(const struct report *r, const struct board_row *boards,
                                     char **text, struct cohort_error *err) {
    const struct cohort_session *s = r->s;
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", "cohort-report");
    cJSON_AddNumberToObject(root, "version", 1);
    cJSON_AddStringToObject(root, "network", s->graph->name);
    cJSON_AddStringToObject(root, "strategy", s->plan->strategy);
    cJSON_AddNumberToObject(root, "segments", s->plan->segment_count);
    cJSON_AddStringToObject(root, "wire", wires[s->wire]);
    if (s->options.setup_ms > 0)
        cJSON_AddNumberToObject(root, "setup_ms", s->options.setup_ms);
    cJSON_AddNumberToObject(root, "total_ms", s->run_ms);
    add_prediction(root, "predicted_ms", s->plan->predicted_ms);
    cJSON_AddNumberToObject(root, "prepare_ms", s->prepare_ms);
    cJSON_AddNumberToObject(root, "weights_ms", s->weights_ms);
    if (session_plan_changes(s) >= 0)
        cJSON_AddNumberToObject(root, "plan_changes", session_plan_changes(s));
    add_boards(root, r, boards);
    add_steps(root, r);
    add_segments(root, r);
    enum cohort_code code = json_print(text, NULL, root, err);
    json_free(&root);
    return code;
}

enum cohort_code cohort_predict(struct cohort_session *s, const struct cohort_profile *profile,
                                struct cohort_error *err) {
    return s->rank == 0 ? session_forecast(s, profile->profile, err) : COHORT_OK;
}

enum cohort_code cohort_report(struct cohort_session *s, char **json, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct report r = {
        .s = s, .moves = (size_t)s->transitions.count, .segments = (size_t)s->plan->segment_count};
    struct board_row board = board_of(s), *boards = NULL;
    *json = NULL;
    r.bytes = r.moves * sizeof(struct move_row) + r.segments * sizeof(struct segment_row);
    struct report mine = r;
    mine.all = mem_zalloc(1, r.bytes + 1);
    if (s->rank == 0) {
        r.all = mem_zalloc((size_t)s->size, r.bytes + 1);
        boards = mem_zalloc((size_t)s->size, sizeof *boards);
    }
    if (mine.all == NULL || (s->rank == 0 && (r.all == NULL || boards == NULL)))
        code = error_memory(err, (size_t)s->size * r.bytes, "the report");
    TRY(session_agree(s, session_inject(s, "report", code, err), err));
    fill_rows(&mine);
    if (s->comm == NULL) {
        memcpy(r.all, mine.all, r.bytes);
        boards[0] = board;
    } else {
        TRY(comm_gather_bytes(s->comm, mine.all, r.bytes, r.all, err));
        TRY(comm_gather_bytes(s->comm, &board, sizeof board, boards, err));
    }
    if (s->rank == 0)
        code = print_report(&r, boards, json, err);
    TRY(session_agree(s, code, err));
out:
    mem_free(mine.all);
    mem_free(r.all);
    mem_free(boards);
    return code;
}
