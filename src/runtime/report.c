/* What the last run took, per step and per board, as JSON. docs/report.md lists the keys. */
#include "runtime/session.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

/* What each rank tells of a step, and of itself. */
struct step_row {
    double ms, bytes, rows, halo_rows;
};
struct board_row {
    char host[BOARD_NAME_BYTES];
    char cpu[128];
    double threads, arena_bytes, weights_bytes, other_bytes, received_bytes, run_ms;
    double cpu_share, blocks, late_blocks, cpu_ms; /* dilation; blocks of all runs */
    double half_weights, half_saturated, half_error;
};

static struct step_row row_of(const struct step *t) {
    return (struct step_row){
        .ms = t->ms,
        .bytes = t->transfer != NULL ? (double)comm_transfer_bytes(t->transfer) : 0,
        .rows = (double)t->rows,
        .halo_rows = (double)t->halo_rows,
    };
}

static struct board_row board_of(const struct cohort_session *s) {
    struct exec_memory m = exec_memory(s->program);
    struct exec_half half = exec_half(s->program);
    struct dilation_counts dilation = pool_dilation(s->pool);
    struct board_row b = {.threads = s->board.threads,
                          .arena_bytes = (double)m.arena_bytes,
                          .weights_bytes = (double)m.weights_bytes,
                          .other_bytes = (double)(m.pinned_bytes + m.workspace_bytes),
                          .received_bytes = (double)s->weights_received_bytes,
                          .run_ms = s->run_ms,
                          .cpu_share = pool_share(s->pool),
                          .blocks = (double)dilation.blocks,
                          .late_blocks = (double)dilation.late,
                          .cpu_ms = s->cpu_ms,
                          .half_weights = (double)half.weights,
                          .half_saturated = (double)half.saturated,
                          .half_error = half.error};
    memcpy(b.host, s->board.name, sizeof b.host);
    memcpy(b.cpu, s->board.cpu_model, sizeof b.cpu);
    return b;
}

const char *step_kind_name(enum step_kind kind) {
    static const char *const names[] = {
        [STEP_SCATTER] = "scatter", [STEP_COMPUTE] = "compute", [STEP_GATHER] = "gather"};
    return names[kind];
}

const char *step_tensor(const struct cohort_session *s, const struct step *t) {
    return t->kind == STEP_COMPUTE ? s->plan->segments[t->segment].until
                                   : graph_value(s->graph, t->value)->name;
}

/* One object per step with an array per board. */
static void add_steps(cJSON *root, const struct cohort_session *s, const struct step_row *rows) {
    cJSON *steps = cJSON_AddArrayToObject(root, "steps");
    for (int i = 0; i < s->step_count; i++) {
        const struct step *t = &s->steps[i];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "segment", t->segment);
        cJSON_AddStringToObject(o, "kind", step_kind_name(t->kind));
        cJSON_AddStringToObject(o, "tensor", step_tensor(s, t));
        cJSON *boards = cJSON_AddArrayToObject(o, "boards");
        for (int b = 0; b < s->size; b++) {
            const struct step_row *r = &rows[b * s->step_count + i];
            cJSON *cell = cJSON_CreateObject();
            cJSON_AddNumberToObject(cell, t->kind == STEP_COMPUTE ? "compute_ms" : "wait_ms",
                                    r->ms);
            if (t->kind == STEP_COMPUTE) {
                cJSON_AddNumberToObject(cell, "rows", r->rows);
                cJSON_AddNumberToObject(cell, "halo_rows", r->halo_rows);
            } else {
                cJSON_AddNumberToObject(cell, "rows", (double)(t->end[b] - t->begin[b]));
                cJSON_AddNumberToObject(cell, "bytes", r->bytes);
            }
            json_append(boards, cell);
        }
        json_append(steps, o);
    }
}

static void add_boards(cJSON *root, const struct cohort_session *s, const struct board_row *rows) {
    cJSON *boards = cJSON_AddArrayToObject(root, "boards");
    for (int b = 0; b < s->size; b++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "host", rows[b].host);
        cJSON_AddStringToObject(o, "cpu", rows[b].cpu);
        cJSON_AddNumberToObject(o, "rank", b);
        cJSON_AddNumberToObject(o, "threads", rows[b].threads);
        cJSON_AddNumberToObject(o, "run_ms", rows[b].run_ms);
        cJSON_AddNumberToObject(o, "cpu_share", rows[b].cpu_share);
        if (rows[b].cpu_share < 1) {
            cJSON_AddNumberToObject(o, "cpu_ms", rows[b].cpu_ms);
            cJSON_AddNumberToObject(o, "blocks", rows[b].blocks);
            cJSON_AddNumberToObject(o, "late_blocks", rows[b].late_blocks);
        }
        if (s->options.weights_type == COHORT_WEIGHTS_F16) {
            cJSON_AddNumberToObject(o, "f16_weights", rows[b].half_weights);
            cJSON_AddNumberToObject(o, "f16_saturated", rows[b].half_saturated);
            cJSON_AddNumberToObject(o, "f16_error", rows[b].half_error);
        }
        cJSON_AddNumberToObject(o, "activation_bytes", rows[b].arena_bytes);
        cJSON_AddNumberToObject(o, "weights_bytes", rows[b].weights_bytes);
        cJSON_AddNumberToObject(o, "other_bytes", rows[b].other_bytes);
        cJSON_AddNumberToObject(o, "weights_received_bytes", rows[b].received_bytes);
        json_append(boards, o);
    }
}

static enum cohort_code print_report(const struct cohort_session *s, const struct step_row *steps,
                                     const struct board_row *boards, char **text,
                                     struct cohort_error *err) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "format", "cohort-report");
    cJSON_AddNumberToObject(root, "version", 1);
    cJSON_AddStringToObject(root, "network", s->graph->name);
    cJSON_AddStringToObject(root, "strategy", s->plan->strategy);
    cJSON_AddNumberToObject(root, "segments", s->plan->segment_count);
    cJSON_AddNumberToObject(root, "total_ms", s->run_ms);
    cJSON_AddNumberToObject(root, "prepare_ms", s->prepare_ms);
    cJSON_AddNumberToObject(root, "weights_ms", s->weights_ms);
    add_boards(root, s, boards);
    add_steps(root, s, steps);
    enum cohort_code code = json_print(text, NULL, root, err);
    json_free(&root);
    return code;
}

enum cohort_code cohort_report(struct cohort_session *s, char **json, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t steps = (size_t)s->step_count, size = (size_t)s->size;
    struct step_row *mine = mem_zalloc(steps + 1, sizeof *mine);
    struct step_row *all = s->rank == 0 ? mem_zalloc(steps * size + 1, sizeof *all) : NULL;
    struct board_row *boards = s->rank == 0 ? mem_zalloc(size, sizeof *boards) : NULL;
    struct board_row board = board_of(s);
    *json = NULL;
    bool short_of_memory = mine == NULL || (s->rank == 0 && (all == NULL || boards == NULL));
    code =
        short_of_memory ? error_memory(err, steps * size * sizeof *all, "the report") : COHORT_OK;
    TRY(session_agree(s, session_inject(s, "report", code, err), err));
    for (size_t i = 0; i < steps; i++)
        mine[i] = row_of(&s->steps[i]);
    if (s->comm == NULL) {
        memcpy(all, mine, steps * sizeof *mine);
        boards[0] = board;
    } else {
        TRY(comm_gather_bytes(s->comm, mine, steps * sizeof *mine, all, err));
        TRY(comm_gather_bytes(s->comm, &board, sizeof board, boards, err));
    }
    if (s->rank == 0)
        code = print_report(s, all, boards, json, err);
    TRY(session_agree(s, code, err));
out:
    mem_free(mine);
    mem_free(all);
    mem_free(boards);
    return code;
}
