/* When every step of the last run began and ended on every board, as a Chrome trace: one process a
 * board, clocks aligned to rank 0's. */
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

/* Metadata that names a board's row, and orders the rows by rank. */
static void add_name(cJSON *events, const char *what, int rank, const char *name) {
    cJSON *o = cJSON_CreateObject(), *args;
    cJSON_AddStringToObject(o, "ph", "M");
    cJSON_AddStringToObject(o, "name", what);
    cJSON_AddNumberToObject(o, "pid", rank);
    cJSON_AddNumberToObject(o, "tid", 0);
    args = cJSON_AddObjectToObject(o, "args");
    if (name != NULL)
        cJSON_AddStringToObject(args, "name", name);
    else
        cJSON_AddNumberToObject(args, "sort_index", rank);
    json_append(events, o);
}

static void add_span(cJSON *events, const struct cohort_session *s, int rank, int step,
                     const struct span *span, double start_ms) {
    const struct step *t = &s->steps[step];
    char name[160];
    snprintf(name, sizeof name, "%s %s", step_kind_name(s, t), step_tensor(s, t));
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "ph", "X");
    cJSON_AddStringToObject(o, "name", name);
    cJSON_AddStringToObject(o, "cat", step_kind_name(s, t));
    cJSON_AddNumberToObject(o, "pid", rank);
    cJSON_AddNumberToObject(o, "tid", 0);
    cJSON_AddNumberToObject(o, "ts", (span->begin_ms - start_ms) * 1e3); /* microseconds */
    cJSON_AddNumberToObject(o, "dur", span->ms * 1e3);
    cJSON *args = cJSON_AddObjectToObject(o, "args");
    cJSON_AddNumberToObject(args, "segment", t->segment);
    if (span->bytes > 0)
        cJSON_AddNumberToObject(args, "bytes", span->bytes);
    json_append(events, o);
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
        add_name(events, "process_name", b, name);
        add_name(events, "process_sort_index", b, NULL);
        json_append(errors, cJSON_CreateNumber(clocks[b].error_ms));
        for (int i = 0; i < s->step_count; i++) {
            struct span *span = &spans[b * s->step_count + i];
            span->begin_ms -= clocks[b].offset_ms;
            if (span->ms > 0)
                add_span(events, s, b, i, span, start);
        }
    }
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
