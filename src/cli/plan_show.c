/* How a plan and its prediction are shown: a few lines, a table of strategies, JSON. */
#include "cli/plan_search.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

int cli_plan_busy_boards(const struct planned *p) {
    const struct simulation *s = p->simulation;
    int busy = 0;
    for (int b = 0; b < s->boards; b++) {
        bool any = false;
        for (int i = 0; i < s->segment_count; i++)
            any = any || s->segments[i].board_compute_ms[b] > 0;
        busy += any;
    }
    return busy;
}

static double most(const double *v, int count) {
    double m = 0;
    for (int i = 0; i < count; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}

void cli_plan_summary(FILE *out, const struct cost_model *m, const struct planned *p,
                      double planning_ms) {
    const struct simulation *s = p->simulation;
    const int busy = cli_plan_busy_boards(p);
    fprintf(out, "%s: %.3f ms predicted, %d segment%s, %d of %d boards compute%s\n",
            p->plan->strategy, s->total_ms, s->segment_count, s->segment_count == 1 ? "" : "s",
            busy, m->boards, busy == 1 && m->boards > 1 ? ": one board is the fastest" : "");
    fprintf(out, "%.3f MB travel; at most %.1f MB on a board; planned in %.1f ms\n", s->bytes / 1e6,
            most(s->peak_bytes, s->boards) / 1e6, planning_ms);
    if (p->own_ms >= 0)
        fprintf(out, "its own estimate is %.3f ms, %+.1f %% off\n", p->own_ms,
                s->total_ms > 0 ? 100 * (p->own_ms - s->total_ms) / s->total_ms : 0.0);
    if (p->notes != NULL)
        fputs(p->notes, out);
}

void cli_plan_table(FILE *out, const struct search_row *rows, int count) {
    double best = -1;
    for (int i = 0; i < count; i++)
        if (rows[i].error == NULL && (best < 0 || rows[i].predicted_ms < best))
            best = rows[i].predicted_ms;
    fprintf(out, "%-12s %13s %8s %13s %9s %7s %10s %10s %12s\n", "strategy", "predicted ms",
            "of best", "own estimate", "segments", "boards", "MB travel", "MB a board",
            "planning ms");
    for (int i = 0; i < count; i++) {
        const struct search_row *r = &rows[i];
        char own[32] = "-";
        if (r->error != NULL) {
            fprintf(out, "%-12s %s\n", r->strategy, r->error);
            continue;
        }
        if (r->own_ms >= 0)
            snprintf(own, sizeof own, "%.3f", r->own_ms);
        fprintf(out, "%-12s %13.3f %8.3f %13s %9d %7d %10.3f %10.1f %12.2f\n", r->strategy,
                r->predicted_ms, best > 0 ? r->predicted_ms / best : 1.0, own, r->segments,
                r->boards, r->bytes / 1e6, r->peak_bytes / 1e6, r->planning_ms);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static enum cohort_code print_document(FILE *out, cJSON **document, bool ok,
                                       struct cohort_error *err) {
    char *text = NULL;
    enum cohort_code code = ok ? json_print(&text, NULL, *document, err)
                               : error_memory(err, 1000, "a plan's description");
    if (code == COHORT_OK)
        fputs(text, out);
    mem_free(text);
    json_free(document);
    return code;
}

static cJSON *begin_document(bool *ok) {
    cJSON *root = cJSON_CreateObject();
    json_add_text(root, "format", "cohort-planned", ok);
    json_add_i64(root, "version", 1, ok);
    return root;
}

enum cohort_code cli_plan_table_json(FILE *out, const struct search_row *rows, int count,
                                     struct cohort_error *err) {
    bool ok = true;
    cJSON *root = begin_document(&ok);
    cJSON *list = json_add_array(root, "strategies", &ok);
    for (int i = 0; i < count; i++) {
        cJSON *o = json_add_object(list, NULL, &ok);
        json_add_text(o, "strategy", rows[i].strategy, &ok);
        if (rows[i].error != NULL) {
            json_add_text(o, "error", rows[i].error, &ok);
            continue;
        }
        json_add_f64(o, "predicted_ms", rows[i].predicted_ms, &ok);
        if (rows[i].own_ms >= 0)
            json_add_f64(o, "own_estimate_ms", rows[i].own_ms, &ok);
        json_add_f64(o, "planning_ms", rows[i].planning_ms, &ok);
        json_add_f64(o, "bytes", rows[i].bytes, &ok);
        json_add_f64(o, "peak_bytes", rows[i].peak_bytes, &ok);
        json_add_i64(o, "segments", rows[i].segments, &ok);
        json_add_i64(o, "boards", rows[i].boards, &ok);
    }
    return print_document(out, &root, ok && root != NULL, err);
}

static void add_segment(cJSON *list, const struct cost_model *m, const struct planned *p, int i,
                        bool *ok) {
    const struct plan_segment *s = &p->plan->segments[i];
    const struct sim_segment *t = &p->simulation->segments[i];
    cJSON *o = json_add_object(list, NULL, ok);
    json_add_text(o, "until", s->until, ok);
    json_add_i64(o, "first", t->first, ok);
    json_add_i64(o, "last", t->end - 1, ok);
    json_add_text(o, "mode", plan_mode_name(s->mode), ok);
    if (s->mode == PLAN_TILE || plan_by_channels(s->mode))
        json_add_i64s(o, "split", s->split, (size_t)m->boards + 1, ok);
    if (s->mode == PLAN_LOCAL)
        json_add_i64(o, "board", s->board, ok);
    json_add_text(o, "output", plan_output_name(s->output), ok);
    if (plan_by_channels(s->mode))
        json_add_text(o, "route", plan_route_name(s->route), ok);
    json_add_f64(o, "redundant", t->redundant, ok);
    json_add_f64(o, "bytes_in", t->bytes_in, ok);
    json_add_f64(o, "bytes_out", t->bytes_out, ok);
    json_add_f64(o, "compute_ms", t->compute_ms, ok);
    json_add_f64(o, "wait_ms", t->wait_ms, ok);
    json_add_f64(o, "begin_ms", t->begin_ms, ok);
    json_add_f64(o, "end_ms", t->end_ms, ok);
    json_add_f64s(o, "board_compute_ms", t->board_compute_ms, (size_t)m->boards, ok);
    json_add_f64s(o, "board_wait_ms", t->board_wait_ms, (size_t)m->boards, ok);
}

enum cohort_code cli_plan_json(FILE *out, const struct cost_model *m, const struct planned *p,
                               double planning_ms, struct cohort_error *err) {
    static const char *const wires[] = {"f32", "f16", "i8"};
    bool ok = true;
    cJSON *root = begin_document(&ok);
    json_add_text(root, "network", m->g->name, &ok);
    json_add_text(root, "strategy", p->plan->strategy, &ok);
    json_add_i64(root, "boards", m->boards, &ok);
    json_add_i64(root, "computing_boards", cli_plan_busy_boards(p), &ok);
    json_add_text(root, "wire", wires[p->plan->wire], &ok);
    json_add_f64(root, "predicted_ms", p->simulation->total_ms, &ok);
    if (p->own_ms >= 0)
        json_add_f64(root, "own_estimate_ms", p->own_ms, &ok);
    json_add_f64(root, "planning_ms", planning_ms, &ok);
    json_add_i64(root, "states", p->states, &ok);
    json_add_bool(root, "exact", p->exact, &ok);
    json_add_f64(root, "bytes", p->simulation->bytes, &ok);
    json_add_f64s(root, "peak_bytes", p->simulation->peak_bytes, (size_t)m->boards, &ok);
    cJSON *notes = json_add_array(root, "notes", &ok);
    for (const char *n = p->notes; n != NULL && *n != '\0';) {
        const size_t length = strcspn(n, "\n");
        char *line = mem_strndup(n, length);
        ok = ok && line != NULL;
        if (line != NULL)
            json_add_text(notes, NULL, line, &ok);
        mem_free(line);
        n += length + (n[length] == '\n');
    }
    cJSON *steps = json_add_array(root, "steps", &ok);
    for (int i = 0; i < p->plan->segment_count; i++)
        add_segment(steps, m, p, i, &ok);
    return print_document(out, &root, ok && root != NULL, err);
}
