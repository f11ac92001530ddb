/* The report of a session as a table: a row per step, a column group per board. */
#include "cli/cli.h"

#include "base/json.h"

#include <string.h>

#define LATE_MOST 0.01 /* of a dilated board's blocks: beyond, times say nothing */

static double number(const cJSON *o, const char *key) {
    const cJSON *v = cJSON_GetObjectItem(o, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static const char *text(const cJSON *o, const char *key) {
    const cJSON *v = cJSON_GetObjectItem(o, key);
    return cJSON_IsString(v) ? v->valuestring : "";
}

/* "12.34 ms", or "12.34 / 12.10 ms" where a prediction stands beside it. */
static const char *times_text(char buffer[48], double ms, const cJSON *o, const char *predicted) {
    if (cJSON_GetObjectItem(o, predicted) != NULL)
        snprintf(buffer, 48, "%.2f / %.2f ms", ms, number(o, predicted));
    else
        snprintf(buffer, 48, "%.2f ms", ms);
    return buffer;
}

/* "28+2 rows  12.3 ms" or "64 channels  12.3 ms" for computing; "28 rows  43 KB  1.2 ms" for
 * moving; "-" for nothing. */
static void print_cell(FILE *out, int width, const cJSON *cell, bool computing) {
    char buffer[96], times[48];
    double rows = number(cell, "rows"), kb = number(cell, "bytes") / 1024;
    double channels = number(cell, "channels");
    double ms = number(cell, computing ? "compute_ms" : "wait_ms");
    times_text(times, ms, cell, "predicted_ms");
    if (channels > 0)
        snprintf(buffer, sizeof buffer, "%.0f channels %s", channels, times);
    else if (rows == 0 && kb == 0)
        snprintf(buffer, sizeof buffer, "-");
    else if (computing && number(cell, "halo_rows") > 0)
        snprintf(buffer, sizeof buffer, "%.0f+%.0f rows %s", rows, number(cell, "halo_rows"),
                 times);
    else if (computing)
        snprintf(buffer, sizeof buffer, "%.0f rows %s", rows, times);
    else
        snprintf(buffer, sizeof buffer, "%.0f KB %s", kb, times);
    fprintf(out, " %*s", width, buffer);
}

/* Computing of each board beside its prediction, and how far it is off; then all of it. */
static void print_predicted(FILE *out, int width, const cJSON *root) {
    const cJSON *o;
    char times[48], cell[96];
    fprintf(out, "%-38s", "computing, measured / predicted");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        double ms = number(o, "compute_ms"), predicted = number(o, "predicted_compute_ms");
        times_text(times, ms, o, "predicted_compute_ms");
        if (predicted > 0)
            snprintf(cell, sizeof cell, "%s %+.1f%%", times, 100 * (ms / predicted - 1));
        else
            snprintf(cell, sizeof cell, "%s", times);
        fprintf(out, " %*s", width, cell);
    }
    fprintf(out, "\n%-38s %*s\n", "in all", width,
            times_text(times, number(root, "total_ms"), root, "predicted_ms"));
}

/* "share 0.25  2/840 late" under each board. */
static void print_dilation(FILE *out, int width, const cJSON *root) {
    const cJSON *o;
    fprintf(out, "%-38s", "CPU share, late blocks");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        char cell[64];
        if (number(o, "cpu_share") < 1)
            snprintf(cell, sizeof cell, "%.3g, %.0f of %.0f", number(o, "cpu_share"),
                     number(o, "late_blocks"), number(o, "blocks"));
        else
            snprintf(cell, sizeof cell, "1");
        fprintf(out, " %*s", width, cell);
    }
    fprintf(out, "\n");
}

/* "8.39 M, 1.2e-04 off" under each board; saturated weights are named. */
static void print_half(FILE *out, int width, const cJSON *root) {
    const cJSON *o;
    double saturated = 0;
    fprintf(out, "%-38s", "weights as float16, most off");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        char cell[64];
        snprintf(cell, sizeof cell, "%.2f M, %.1e", number(o, "f16_weights") * 1e-6,
                 number(o, "f16_error"));
        fprintf(out, " %*s", width, cell);
        saturated += number(o, "f16_saturated");
    }
    fprintf(out, "\n");
    if (saturated > 0)
        fprintf(out, "%.0f weights were too large for float16 and became 65504\n", saturated);
}

/* "f16: 97 % of the work" under each board; inputs beyond the range are named. */
static void print_arithmetic(FILE *out, int width, const cJSON *root) {
    const cJSON *o;
    double saturated = 0;
    fprintf(out, "%-38s", "arithmetic, share of multiply-adds");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        char cell[64];
        if (strcmp(text(o, "arithmetic"), "f16") == 0)
            snprintf(cell, sizeof cell, "f16, %.1f %%", 100 * number(o, "f16_share"));
        else
            snprintf(cell, sizeof cell, "f32");
        fprintf(out, " %*s", width, cell);
        saturated += number(o, "f16_inputs_saturated");
    }
    fprintf(out, "\n");
    if (saturated > 0)
        fprintf(out, "%.0f times a value was too large for float16 and was taken for 65504\n",
                saturated);
}

static bool boards_say(const cJSON *root, const char *key) {
    const cJSON *o;
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        if (cJSON_GetObjectItem(o, key) != NULL)
            return true;
    }
    return false;
}

/* "wire f16: 3.0e-04 off, tolerance 0.001", where --wire auto chose it. */
static void print_wire_choice(FILE *out, const cJSON *root) {
    const cJSON *o = cJSON_GetObjectItem(root, "wire_choice");
    const char *wire = text(root, "wire");
    char key[32];
    if (o == NULL)
        return;
    snprintf(key, sizeof key, "%.8s_error", wire);
    fprintf(out, "wire %s: %.1e off, tolerance %g\n", wire, number(o, key), number(o, "tolerance"));
}

/* "98.3 / 96.1" under each board: measured, and planned where that is known. */
static void print_memory(FILE *out, int width, const cJSON *root) {
    const cJSON *o;
    const double mb = 1024 * 1024;
    fprintf(out, "%-38s",
            boards_say(root, "planned_bytes") ? "MB of memory, measured / planned"
                                              : "MB of memory");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        char cell[64];
        if (cJSON_GetObjectItem(o, "planned_bytes") != NULL)
            snprintf(cell, sizeof cell, "%.2f / %.2f", number(o, "memory_bytes") / mb,
                     number(o, "planned_bytes") / mb);
        else
            snprintf(cell, sizeof cell, "%.2f", number(o, "memory_bytes") / mb);
        fprintf(out, " %*s", width, cell);
    }
    fprintf(out, "\n");
}

enum cohort_code cli_print_report(FILE *out, const char *json, struct cohort_error *err) {
    cJSON *root = NULL;
    const cJSON *o, *cell;
    enum cohort_code code = json_parse(&root, json, strlen(json), "report", err);
    if (code != COHORT_OK)
        return code;
    const bool predicted = boards_say(root, "predicted_compute_ms");
    const int width = predicted ? 30 : 22;
    if (predicted)
        fprintf(out, "\ntimes are measured / predicted\n");
    fprintf(out, "\n%-4s %-8s %-24s", "seg", "step", "tensor");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        char name[96];
        snprintf(name, sizeof name, "%.14s (rank %.0f)", text(o, "host"), number(o, "rank"));
        fprintf(out, " %*s", width, name);
    }
    fprintf(out, "\n");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "steps")) {
        const char *kind = text(o, "kind"), *tensor = text(o, "tensor");
        size_t n = strlen(tensor);
        fprintf(out, "%-4.0f %-8s %-24s", number(o, "segment"), kind,
                n > 24 ? tensor + n - 24 : tensor);
        cJSON_ArrayForEach(cell, cJSON_GetObjectItem(o, "boards"))
            print_cell(out, width, cell, strcmp(kind, "compute") == 0);
        fprintf(out, "\n");
    }
    const char *const lines[][2] = {{"run_ms", "ms in all"},
                                    {"activation_bytes", "MB activations"},
                                    {"weights_bytes", "MB packed weights"},
                                    {"weights_received_bytes", "MB weights received"}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        double scale = i == 0 ? 1 : 1.0 / (1024 * 1024);
        fprintf(out, "%-38s", lines[i][1]);
        cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards"))
            fprintf(out, " %*.2f", width, number(o, lines[i][0]) * scale);
        fprintf(out, "\n");
    }
    if (boards_say(root, "memory_bytes"))
        print_memory(out, width, root);
    if (predicted)
        print_predicted(out, width, root);
    bool dilated = false;
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) dilated =
        dilated || number(o, "cpu_share") < 1;
    if (dilated)
        print_dilation(out, width, root);
    if (boards_say(root, "f16_weights"))
        print_half(out, width, root);
    if (boards_say(root, "arithmetic"))
        print_arithmetic(out, width, root);
    print_wire_choice(out, root);
    fprintf(out, "prepared in %.1f ms, of which weights %.1f ms\n", number(root, "prepare_ms"),
            number(root, "weights_ms"));
    json_free(&root);
    return COHORT_OK;
}

enum cohort_code cli_warn_late(const char *json, struct cohort_error *err) {
    cJSON *root = NULL;
    const cJSON *o, *worst = NULL;
    double most = LATE_MOST;
    enum cohort_code code = json_parse(&root, json, strlen(json), "report", err);
    if (code != COHORT_OK)
        return code;
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "boards")) {
        double late = number(o, "late_blocks"), blocks = number(o, "blocks");
        if (blocks > 0 && late / blocks > most) {
            worst = o;
            most = late / blocks;
        }
    }
    if (worst != NULL)
        fprintf(stderr,
                "cohort: this run does not count: on %s (rank %.0f) %.0f of %.0f blocks (%.1f %%) "
                "came too late: this machine is too busy for the boards' CPU shares\n",
                text(worst, "host"), number(worst, "rank"), number(worst, "late_blocks"),
                number(worst, "blocks"), 100 * most);
    json_free(&root);
    return COHORT_OK;
}
