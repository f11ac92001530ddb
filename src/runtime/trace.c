/* When every step of the last run began and ended on every board, as a Chrome trace: one process a
 * board, clocks aligned to rank 0's; where there is a forecast, the simulator's timelines below. */
#include "runtime/forecast.h"
#include "runtime/session.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>

/* What each rank tells of a step: on its own clock, in milliseconds. */
struct span {
    double begin_ms, ms, bytes;
};

struct clock_row {
    char host[BOARD_NAME_BYTES];
    double offset_ms, error_ms; /* against rank 0's */
};

/* ---- writing --------------------------------------------------------------------------------- */

/* Rows of a board: what was measured, and what the simulator has of its processor and of the port
 * that it sends by. */
enum row { MEASURED, PREDICTED, PREDICTED_SENDS };

/* Metadata that names a board, or a row of it, and orders the boards by rank. */
static void add_name(cJSON *events, const char *what, int rank, int row, const char *name) {
    cJSON *o = cJSON_CreateObject(), *args;
    cJSON_AddStringToObject(o, "ph", "M");
    cJSON_AddStringToObject(o, "name", what);
    cJSON_AddNumberToObject(o, "pid", rank);
    cJSON_AddNumberToObject(o, "tid", row);
    args = cJSON_AddObjectToObject(o, "args");
    if (name != NULL)
        cJSON_AddStringToObject(args, "name", name);
    else
        cJSON_AddNumberToObject(args, "sort_index", rank);
    json_append(events, o);
}

struct slice {
    char name[160];
    const char *kind;
    int rank;
    enum row row;
    double begin_ms, ms; /* since the first step of rank 0 */
    int segment;
    double bytes, predicted_ms; /* 0: none; < 0: not known */
};

static void add_slice(cJSON *events, const struct slice *t) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "ph", "X");
    cJSON_AddStringToObject(o, "name", t->name);
    cJSON_AddStringToObject(o, "cat", t->kind);
    cJSON_AddNumberToObject(o, "pid", t->rank);
    cJSON_AddNumberToObject(o, "tid", t->row);
    cJSON_AddNumberToObject(o, "ts", t->begin_ms * 1e3); /* microseconds */
    cJSON_AddNumberToObject(o, "dur", t->ms * 1e3);
    cJSON *args = cJSON_AddObjectToObject(o, "args");
    cJSON_AddNumberToObject(args, "segment", t->segment);
    if (t->bytes > 0)
        cJSON_AddNumberToObject(args, "bytes", t->bytes);
    if (t->predicted_ms >= 0)
        cJSON_AddNumberToObject(args, "predicted_ms", t->predicted_ms);
    json_append(events, o);
}

static void add_span(cJSON *events, const struct cohort_session *s, int rank, int step,
                     const struct span *span, double start_ms) {
    const struct step *t = &s->steps[step];
    struct slice slice = {.kind = step_kind_name(s, t),
                          .rank = rank,
                          .row = MEASURED,
                          .begin_ms = span->begin_ms - start_ms,
                          .ms = span->ms,
                          .segment = t->segment,
                          .bytes = span->bytes,
                          .predicted_ms =
                              t->kind == STEP_WAIT ? forecast_wait_ms(s, t->move, rank) : -1};
    snprintf(slice.name, sizeof slice.name, "%s %s", slice.kind, step_tensor(s, t));
    add_slice(events, &slice);
}

/* The simulator's inference begins when the measured one does. */
static void add_forecast(cJSON *events, const struct cohort_session *s) {
    static const char *const kinds[] = {
        [SIM_COMPUTE] = "compute", [SIM_WAIT] = "wait", [SIM_SEND] = "send"};
    const struct simulation *f = s->forecast;
    for (size_t i = 0; f != NULL && i < f->trace_count; i++) {
        const struct sim_interval *t = &f->trace[i];
        const bool sends = t->kind == SIM_SEND;
        struct slice slice = {.kind = kinds[t->kind],
                              .rank = t->board,
                              .row = sends ? PREDICTED_SENDS : PREDICTED,
                              .begin_ms = t->begin_ms,
                              .ms = t->end_ms - t->begin_ms,
                              .segment = t->segment,
                              .bytes = t->bytes,
                              .predicted_ms = -1};
        if (sends)
            snprintf(slice.name, sizeof slice.name, "send to rank %d", t->to);
        else
            snprintf(slice.name, sizeof slice.name, "%s %s", slice.kind,
                     s->plan->segments[t->segment].until);
        add_slice(events, &slice);
    }
}

static enum cohort_code print_trace(const struct cohort_session *s, struct span *spans,
                                    const struct clock_row *clocks, char **text,
                                    struct cohort_error *err) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "displayTimeUnit", "ms");
    cJSON *other = cJSON_AddObjectToObject(root, "otherData");
    cJSON_AddStringToObject(other, "format", "cohort-trace");
    cJSON_AddNumberToObject(other, "version", 1);
    cJSON_AddStringToObject(other, "network", s->graph->name);
    cJSON_AddStringToObject(other, "strategy", s->plan->strategy);
    cJSON *errors = cJSON_AddArrayToObject(other, "clock_error_ms");
    cJSON *events = cJSON_AddArrayToObject(root, "traceEvents");
    double start = s->step_count > 0 ? spans[0].begin_ms : 0;
    for (int b = 0; b < s->size; b++) {
        char name[BOARD_NAME_BYTES + 24];
        snprintf(name, sizeof name, "%s (rank %d)", clocks[b].host, b);
        add_name(events, "process_name", b, MEASURED, name);
        add_name(events, "process_sort_index", b, MEASURED, NULL);
        add_name(events, "thread_name", b, MEASURED, "measured");
        if (s->forecast != NULL) {
            add_name(events, "thread_name", b, PREDICTED, "predicted");
            add_name(events, "thread_name", b, PREDICTED_SENDS, "predicted sending");
        }
        json_append(errors, cJSON_CreateNumber(clocks[b].error_ms));
        for (int i = 0; i < s->step_count; i++) {
            struct span *span = &spans[b * s->step_count + i];
            span->begin_ms -= clocks[b].offset_ms;
            if (span->ms > 0)
                add_span(events, s, b, i, span, start);
        }
    }
    add_forecast(events, s);
    enum cohort_code code = json_print(text, NULL, root, err);
    json_free(&root);
    return code;
}

/* ---- collecting ------------------------------------------------------------------------------ */

static enum cohort_code collect(struct cohort_session *s, struct span *mine, struct span *all,
                                struct clock_row *clocks, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct clock_row clock = {0};
    double offset_s = 0, error_s = 0;
    if (s->comm != NULL)
        TRY(comm_clock_offset(s->comm, &offset_s, &error_s, err));
    clock.offset_ms = offset_s * 1e3;
    clock.error_ms = error_s * 1e3;
    snprintf(clock.host, sizeof clock.host, "%s", s->board.name);
    for (int i = 0; i < s->step_count; i++) {
        const struct step *t = &s->steps[i];
        mine[i] = (struct span){
            .begin_ms = t->begin_ms,
            .ms = t->idle ? 0 : t->ms,
            .bytes = t->move >= 0 ? (double)comm_transfer_bytes(s->moves[t->move].transfer) : 0};
    }
    if (s->comm != NULL) {
        TRY(comm_gather_bytes(s->comm, mine, (size_t)s->step_count * sizeof *mine, all, err));
        TRY(comm_gather_bytes(s->comm, &clock, sizeof clock, clocks, err));
    } else {
        clocks[0] = clock;
    }
out:
    return code;
}

enum cohort_code cohort_trace(struct cohort_session *s, char **json, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t steps = (size_t)s->step_count + 1, size = s->rank == 0 ? (size_t)s->size : 0;
    struct span *mine = mem_zalloc(steps, sizeof *mine);
    struct span *all = s->comm == NULL ? mine : mem_zalloc(steps * size + 1, sizeof *all);
    struct clock_row *clocks = mem_zalloc(size + 1, sizeof *clocks);
    *json = NULL;
    if (mine == NULL || all == NULL || clocks == NULL)
        code = error_memory(err, steps * size * sizeof *all, "the trace");
    TRY(session_agree(s, code, err));
    TRY(collect(s, mine, all, clocks, err));
    if (s->rank == 0)
        code = print_trace(s, all, clocks, json, err);
    TRY(session_agree(s, code, err));
out:
    if (all != mine)
        mem_free(all);
    mem_free(mine);
    mem_free(clocks);
    return code;
}
