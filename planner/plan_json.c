/* Plans as JSON; see docs/plan-format.md. */
#include "planner/plan.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <float.h>
#include <string.h>

#define BOARDS_MAX 4096

static const struct json_format format = {PLAN_FORMAT, "a plan", 1, PLAN_VERSION};

static const char *const mode_names[] = {[PLAN_TILE] = "tile",
                                         [PLAN_LOCAL] = "local",
                                         [PLAN_REPLICATE] = "replicate",
                                         [PLAN_OUT_CHANNEL] = "out-channel",
                                         [PLAN_CHANNELWISE] = "channelwise",
                                         [PLAN_IN_CHANNEL] = "in-channel",
                                         [PLAN_ROWS_GEMM] = "rows-gemm"};
#define MODES (sizeof mode_names / sizeof mode_names[0])
static const char *const output_names[] = {
    [PLAN_TO_ROOT] = "root", [PLAN_STAY] = "stay", [PLAN_TO_ALL] = "all"};
static const char *const route_names[PLAN_ROUTES] = {
    [PLAN_ROUTE_LINEAR] = "linear", [PLAN_ROUTE_RING] = "ring", [PLAN_ROUTE_HALVING] = "halving"};
static const char *const wire_names[] = {
    [PLAN_WIRE_F32] = "f32", [PLAN_WIRE_F16] = "f16", [PLAN_WIRE_I8] = "i8"};

const char *plan_mode_name(enum plan_mode mode) {
    return mode_names[mode];
}

const char *plan_output_name(enum plan_output output) {
    return output_names[output];
}

const char *plan_route_name(enum plan_route route) {
    return route_names[route];
}

/* ---- reading --------------------------------------------------------------------------------- */

/* boards+1 numbers of rows, or channels, that begin at 0 and never fall. */
static enum cohort_code read_split(const struct json_at *segment, int boards, int64_t **split,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct json_at list;
    int count, i = 0;
    int64_t before = 0;
    TRY(json_need(&list, segment, "split", err));
    TRY(json_as_array(&list, &count, err));
    if (count != boards + 1)
        return json_fail(&list, err, COHORT_ERR_FORMAT,
                         "must have %d numbers for %d boards, not %d", boards + 1, boards, count);
    *split = mem_alloc((size_t)count * sizeof **split);
    if (*split == NULL)
        return error_memory(err, (size_t)count * sizeof **split, "a plan");
    for (struct json_at e = {0}; json_next(&e, &list); i++) {
        TRY(json_as_i64(&e, before, i == 0 ? 0 : JSON_EXACT_MAX, &(*split)[i], err));
        before = (*split)[i];
    }
out:
    return code;
}

/* A plan of version 1 has none of these. */
static enum cohort_code check_version(const struct json_at *at, int version,
                                      const char *const *keys, int count,
                                      struct cohort_error *err) {
    struct json_at value;
    for (int i = 0; i < count && version < 2; i++)
        if (json_find(&value, at, keys[i]))
            return json_fail(at, err, COHORT_ERR_FORMAT,
                             "'%s' belongs to plans of version 2, and this is one of version 1",
                             keys[i]);
    return COHORT_OK;
}

/* One of `names`; the first when it is left out. */
static enum cohort_code read_choice(const struct json_at *at, const char *key,
                                    const char *const *names, size_t count, int *choice,
                                    struct cohort_error *err) {
    struct json_at value;
    *choice = 0;
    return json_find(&value, at, key) ? json_as_choice(&value, names, count, choice, err)
                                      : COHORT_OK;
}

static enum cohort_code read_segment(const struct json_at *at, int version, int boards,
                                     struct plan_segment *s, struct cohort_error *err) {
    static const char *const later[] = {"output", "predicted_wait_ms"};
    static const char *const keys[][7] = {
        [PLAN_TILE] = {"until", "mode", "output", "predicted_ms", "predicted_wait_ms", "split"},
        [PLAN_LOCAL] = {"until", "mode", "output", "predicted_ms", "predicted_wait_ms", "board"},
        [PLAN_REPLICATE] = {"until", "mode", "predicted_ms", "predicted_wait_ms"},
        [PLAN_OUT_CHANNEL] = {"until", "mode", "output", "predicted_ms", "predicted_wait_ms",
                              "split", "route"},
    };
    static const int since[MODES] = {[PLAN_REPLICATE] = 2,
                                     [PLAN_OUT_CHANNEL] = 3,
                                     [PLAN_CHANNELWISE] = 3,
                                     [PLAN_IN_CHANNEL] = 3,
                                     [PLAN_ROWS_GEMM] = 3};
    enum cohort_code code = COHORT_OK;
    struct json_at mode;
    int choice;
    TRY(json_as_object(at, err));
    TRY(json_need(&mode, at, "mode", err));
    TRY(json_as_choice(&mode, mode_names, MODES, &choice, err));
    s->mode = (enum plan_mode)choice;
    const bool channels = plan_by_channels(s->mode);
    if (version < since[choice])
        return json_fail(at, err, COHORT_ERR_FORMAT,
                         "mode '%s' belongs to plans of version %d, and this is one of version %d",
                         mode_names[choice], since[choice], version);
    TRY(check_version(at, version, later, 2, err));
    TRY(json_known_keys(at, keys[channels ? PLAN_OUT_CHANNEL : s->mode],
                        channels                    ? 7
                        : s->mode == PLAN_REPLICATE ? 4
                                                    : 6,
                        err));
    TRY(json_get_copy(at, "until", &s->until, err));
    if (s->mode == PLAN_TILE || channels)
        TRY(read_split(at, boards, &s->split, err));
    else if (s->mode == PLAN_LOCAL)
        TRY(json_get_int(at, "board", 0, boards - 1, &s->board, err));
    TRY(read_choice(at, "output", output_names, channels ? 3 : 2, &choice, err));
    s->output = s->mode == PLAN_REPLICATE ? PLAN_STAY : (enum plan_output)choice;
    if (channels)
        TRY(read_choice(at, "route", route_names, PLAN_ROUTES, &choice, err));
    s->route = channels ? (enum plan_route)choice : PLAN_ROUTE_LINEAR;
    TRY(json_may_f64(at, "predicted_ms", 0, DBL_MAX, &s->predicted_ms, err));
    TRY(json_may_f64(at, "predicted_wait_ms", 0, DBL_MAX, &s->predicted_wait_ms, err));
out:
    return code;
}

static enum cohort_code read_segments(const struct json_at *root, int version, struct plan *p,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct json_at list;
    int count;
    TRY(json_need(&list, root, "segments", err));
    TRY(json_as_array(&list, &count, err));
    p->segments = mem_zalloc((size_t)count, sizeof *p->segments);
    if (p->segments == NULL)
        return error_memory(err, (size_t)count * sizeof *p->segments, "a plan");
    for (struct json_at e = {0}; json_next(&e, &list);) {
        struct plan_segment *s = &p->segments[p->segment_count++];
        s->predicted_ms = s->predicted_wait_ms = -1;
        TRY(read_segment(&e, version, p->boards, s, err));
    }
out:
    return code;
}

static enum cohort_code read_plan(const struct json_at *root, void *to, struct cohort_error *err) {
    static const char *const keys[] = {"format", "version", "network",      "signature", "strategy",
                                       "boards", "wire",    "predicted_ms", "segments"};
    static const char *const later[] = {"wire"};
    enum cohort_code code = COHORT_OK;
    int choice, version;
    struct plan **out_plan = to, *p = mem_zalloc(1, sizeof *p);
    if (p == NULL)
        return error_memory(err, sizeof *p, "a plan");
    p->predicted_ms = -1;
    TRY(json_get_version(root, &format, &version, err));
    TRY(check_version(root, version, later, 1, err));
    TRY(json_known_keys(root, keys, sizeof keys / sizeof keys[0], err));
    TRY(json_get_copy(root, "network", &p->network, err));
    TRY(json_get_hex(root, "signature", sizeof p->signature - 1, p->signature, err));
    TRY(json_get_copy(root, "strategy", &p->strategy, err));
    TRY(json_get_int(root, "boards", 1, BOARDS_MAX, &p->boards, err));
    TRY(read_choice(root, "wire", wire_names, 3, &choice, err));
    p->wire = (enum plan_wire)choice;
    TRY(json_may_f64(root, "predicted_ms", 0, DBL_MAX, &p->predicted_ms, err));
    TRY(read_segments(root, version, p, err));
    *out_plan = p;
    p = NULL;
out:
    plan_destroy(&p);
    return code;
}

enum cohort_code plan_parse(struct plan **p, const char *text, size_t bytes, const char *what,
                            struct cohort_error *err) {
    return json_read_text(text, bytes, what, read_plan, p, err);
}

enum cohort_code plan_load(struct plan **p, const char *path, struct cohort_error *err) {
    return json_read_file(path, JSON_BYTES_MAX, read_plan, p, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_segment(cJSON *list, const struct plan_segment *s, int boards, bool *ok) {
    cJSON *o = json_add_object(list, NULL, ok);
    json_add_text(o, "until", s->until, ok);
    json_add_text(o, "mode", mode_names[s->mode], ok);
    if (s->mode == PLAN_TILE || plan_by_channels(s->mode))
        json_add_i64s(o, "split", s->split, (size_t)boards + 1, ok);
    else if (s->mode == PLAN_LOCAL)
        json_add_i64(o, "board", s->board, ok);
    if (s->mode != PLAN_REPLICATE)
        json_add_text(o, "output", output_names[s->output], ok);
    if (plan_by_channels(s->mode) && s->route != PLAN_ROUTE_LINEAR)
        json_add_text(o, "route", route_names[s->route], ok);
    if (s->predicted_ms >= 0)
        json_add_f64(o, "predicted_ms", s->predicted_ms, ok);
    if (s->predicted_wait_ms >= 0)
        json_add_f64(o, "predicted_wait_ms", s->predicted_wait_ms, ok);
}

/* NULL: memory short. */
static cJSON *document_of(const struct plan *p) {
    bool ok = true;
    cJSON *root = cJSON_CreateObject();
    if (root == NULL)
        return NULL;
    json_add_text(root, "format", PLAN_FORMAT, &ok);
    json_add_i64(root, "version", plan_has_channels(p) ? PLAN_VERSION : 2, &ok);
    json_add_text(root, "network", p->network, &ok);
    json_add_text(root, "signature", p->signature, &ok);
    json_add_text(root, "strategy", p->strategy, &ok);
    json_add_i64(root, "boards", p->boards, &ok);
    json_add_text(root, "wire", wire_names[p->wire], &ok);
    if (p->predicted_ms >= 0)
        json_add_f64(root, "predicted_ms", p->predicted_ms, &ok);
    else
        json_add_text(root, "predicted_ms", NULL, &ok);
    cJSON *segments = json_add_array(root, "segments", &ok);
    for (int i = 0; i < p->segment_count; i++)
        write_segment(segments, &p->segments[i], p->boards, &ok);
    if (!ok)
        json_free(&root);
    return root;
}

enum cohort_code plan_print(const struct plan *p, char **text, struct cohort_error *err) {
    cJSON *document = document_of(p);
    if (document == NULL)
        return error_memory(err, (size_t)p->segment_count * 64, "a plan's text");
    const enum cohort_code code = json_print(text, NULL, document, err);
    json_free(&document);
    return code;
}

enum cohort_code plan_save(const struct plan *p, const char *path, struct cohort_error *err) {
    cJSON *document = document_of(p);
    if (document == NULL)
        return error_memory(err, (size_t)p->segment_count * 64, "a plan's text");
    const enum cohort_code code = json_save(document, path, err);
    json_free(&document);
    return code;
}
