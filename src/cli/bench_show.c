/* cohort bench --strategies: the table, as text, CSV, Markdown and JSON. */
#include "cli/bench_contest.h"

#include "cli/wire_choice.h"
#include "runtime/model.h"

#include <stdio.h>

double bench_groups_ms(const struct contest *c) {
    const struct profile_groups *g =
        c->profile != NULL ? cohort_profile_of(c->profile)->groups : NULL;
    return g != NULL ? g->seconds * 1e3 : 0;
}

/* How many times as fast as the best single board; 0: not measured. */
static double speedup(const struct contest *c, const struct candidate *k) {
    const struct candidate *single = &c->list[0];
    return single->count > 0 && k->count > 0 ? single->time.median / k->time.median : 0;
}

static double error_percent(const struct candidate *k) {
    return k->count > 0 ? (k->predicted_ms / k->time.median - 1) * 100 : 0;
}

static const char *remark(const struct candidate *k) {
    return k->late > 0.01 ? "does not count: late blocks" : k->throttled ? "a board throttled" : "";
}

static void print_table(const struct contest *c) {
    printf("%s on %d boards, %ld runs of each plan in %ld rounds; profiled in %.0f ms", c->network,
           c->ranks->size, c->o->common.repeat * c->o->rounds, c->o->rounds, c->profiling_ms);
    if (bench_groups_ms(c) > 0)
        printf(", %d groups in %.0f ms", cohort_profile_of(c->profile)->groups->count,
               bench_groups_ms(c));
    printf("; input %s, wire %s", inputs_type(&c->sets[0]), wire_name(c->wire));
    if (c->o->common.setup_ms > 0)
        printf(", set-up %g ms", c->o->common.setup_ms);
    printf("\n%-14s %10s %10s %8s %10s %7s %9s %9s %9s %8s %6s\n", "strategy", "median ms",
           "p95 ms", "speedup", "predicted", "error", "MB moved", "peak MB", "planned", "plan ms",
           "boards");
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        if (k->count == 0) {
            printf("%-14s %s\n", k->name, k->why_not);
            continue;
        }
        printf("%-14s %10.2f %10.2f %7.2fx %10.2f %6.1f%% %9.3f %9.1f %9.1f %8.1f %6d %s\n",
               k->name, k->time.median, k->time.p95, speedup(c, k), k->predicted_ms,
               error_percent(k), k->bytes * 1e-6, k->peak_bytes * 1e-6,
               k->planned_peak_bytes * 1e-6, k->planning_ms, k->boards, remark(k));
    }
    printf("\n");
}

static void print_csv(const struct contest *c, bool first) {
    if (first)
        printf("network,boards,strategy,median_ms,p95_ms,min_ms,speedup,predicted_ms,mb_moved,"
               "peak_mb,planned_peak_mb,setup_ms,profiling_ms,groups_ms,planning_ms,"
               "computing_boards,remark\n");
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        if (k->count > 0)
            printf("%s,%d,%s,%.3f,%.3f,%.3f,%.3f,%.3f,%.6f,%.3f,%.3f,%g,%.1f,%.1f,%.3f,%d,%s\n",
                   c->network, c->ranks->size, k->name, k->time.median, k->time.p95, k->time.min,
                   speedup(c, k), k->predicted_ms, k->bytes * 1e-6, k->peak_bytes * 1e-6,
                   k->planned_peak_bytes * 1e-6, c->o->common.setup_ms, c->profiling_ms,
                   bench_groups_ms(c), k->planning_ms, k->boards, remark(k));
    }
}

/* One row a network: medians, and speed-ups in brackets. */
static void print_markdown(const struct contest *c, bool first) {
    if (first) {
        printf("| network | boards |");
        for (int i = 0; i < c->count; i++)
            printf(" %s |", c->list[i].name);
        printf("\n| --- | ---: |");
        for (int i = 0; i < c->count; i++)
            printf(" ---: |");
        printf("\n");
    }
    printf("| %s | %d |", c->network, c->ranks->size);
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        if (k->count > 0)
            printf(" %.1f ms (%.2fx)%s |", k->time.median, speedup(c, k),
                   remark(k)[0] != '\0' ? " !" : "");
        else
            printf(" - |");
    }
    printf("\n");
}

static void add_json(const struct contest *c, cJSON *rows) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "network", c->network);
    cJSON_AddStringToObject(o, "input", inputs_type(&c->sets[0]));
    cJSON_AddStringToObject(o, "wire", wire_name(c->wire));
    cJSON_AddNumberToObject(o, "setup_ms", c->o->common.setup_ms);
    cJSON_AddNumberToObject(o, "profiling_ms", c->profiling_ms);
    if (bench_groups_ms(c) > 0) {
        cJSON_AddNumberToObject(o, "groups_ms", bench_groups_ms(c));
        cJSON_AddNumberToObject(o, "groups", cohort_profile_of(c->profile)->groups->count);
    }
    cJSON *boards = cJSON_AddArrayToObject(o, "boards");
    for (int b = 0; b < c->ranks->size; b++) {
        cJSON *board = cJSON_CreateObject();
        cJSON_AddStringToObject(board, "before", health_of(c, BEFORE, b));
        cJSON_AddStringToObject(board, "after", health_of(c, AFTER, b));
        json_append(boards, board);
    }
    cJSON *list = cJSON_AddArrayToObject(o, "strategies");
    for (int i = 0; i < c->count; i++) {
        const struct candidate *k = &c->list[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "strategy", k->name);
        if (k->count == 0) {
            cJSON_AddStringToObject(row, "why_not", k->why_not);
            json_append(list, row);
            continue;
        }
        cJSON *l = cJSON_AddObjectToObject(row, "latency_ms");
        cJSON_AddNumberToObject(l, "median", k->time.median);
        cJSON_AddNumberToObject(l, "p95", k->time.p95);
        cJSON_AddNumberToObject(l, "min", k->time.min);
        cJSON_AddNumberToObject(row, "speedup", speedup(c, k));
        cJSON_AddNumberToObject(row, "predicted_ms", k->predicted_ms);
        if (k->own_ms >= 0)
            cJSON_AddNumberToObject(row, "own_ms", k->own_ms);
        cJSON_AddNumberToObject(row, "planning_ms", k->planning_ms);
        cJSON_AddNumberToObject(row, "bytes", k->bytes);
        cJSON_AddNumberToObject(row, "peak_bytes", k->peak_bytes);
        cJSON_AddNumberToObject(row, "planned_peak_bytes", k->planned_peak_bytes);
        cJSON_AddItemToObject(row, "board_peak_bytes",
                              cJSON_CreateDoubleArray(k->board_peak_bytes, c->ranks->size));
        cJSON_AddItemToObject(row, "board_planned_peak_bytes",
                              cJSON_CreateDoubleArray(k->board_planned_bytes, c->ranks->size));
        cJSON_AddNumberToObject(row, "computing_boards", k->boards);
        cJSON_AddNumberToObject(row, "segments", k->segments);
        cJSON_AddNumberToObject(row, "compute_ms", k->compute_ms);
        cJSON_AddNumberToObject(row, "redundant", k->redundant);
        cJSON_AddNumberToObject(row, "late_share", k->late);
        cJSON_AddStringToObject(row, "remark", remark(k));
        json_append(list, row);
    }
    json_append(rows, o);
}

void bench_show(const struct contest *c, bool first, cJSON *rows) {
    add_json(c, rows);
    if (c->o->common.json)
        return;
    if (c->o->format == BENCH_CSV)
        print_csv(c, first);
    else if (c->o->format == BENCH_MARKDOWN)
        print_markdown(c, first);
    else
        print_table(c);
}
