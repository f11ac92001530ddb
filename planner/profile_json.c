/* Profiles as JSON; see docs/profile-format.md. */
#include "planner/profile_json.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>

#define BOARDS_MAX  4096
#define NODES_MAX   1000000
#define POINTS_MAX  1024
#define ENGINES_MAX 64
#define MS_MAX      1e12
#define X_MAX       1e15
#define SCALE_MIN   1e-6
#define SCALE_MAX   1e6

/* ---- reading: small things ------------------------------------------------------------------- */

/* [[x, ms], …] whose x rise from above 0. */
static enum cohort_code read_curve(const struct json_at *at, struct profile_curve *curve,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int count, pair;
    double before = 0;
    TRY(json_as_array(at, &count, err));
    if (count < 1 || count > POINTS_MAX)
        return json_fail(at, err, COHORT_ERR_FORMAT, "must have 1 to %d points, not %d", POINTS_MAX,
                         count);
    curve->points = mem_zalloc((size_t)count, sizeof *curve->points);
    if (curve->points == NULL)
        return error_memory(err, (size_t)count * sizeof *curve->points, "a profile");
    for (struct json_at e = {0}; json_next(&e, at);) {
        struct profile_point *point = &curve->points[curve->count++];
        struct json_at number = {0};
        TRY(json_as_array(&e, &pair, err));
        if (pair != 2)
            return json_fail(&e, err, COHORT_ERR_FORMAT, "must be [amount, ms], not %d numbers",
                             pair);
        json_next(&number, &e);
        TRY(json_as_f64(&number, 0, X_MAX, &point->x, err));
        if (!(point->x > before))
            return json_fail(&number, err, COHORT_ERR_FORMAT,
                             "amounts must rise from above 0, but %g follows %g", point->x, before);
        before = point->x;
        json_next(&number, &e);
        TRY(json_as_f64(&number, 0, MS_MAX, &point->ms, err));
    }
out:
    return code;
}

static enum cohort_code read_curves(const struct json_at *object, struct profile_curve **curves,
                                    int *count, int max, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct json_at list;
    int n;
    TRY(json_need(&list, object, "curves", err));
    TRY(json_as_array(&list, &n, err));
    if (n > max)
        return json_fail(&list, err, COHORT_ERR_FORMAT, "must have at most %d curves, not %d", max,
                         n);
    *curves = mem_zalloc((size_t)n + 1, sizeof **curves);
    if (*curves == NULL)
        return error_memory(err, (size_t)n * sizeof **curves, "a profile");
    for (struct json_at e = {0}; json_next(&e, &list);) {
        *count += 1; /* before it is read, so that what an error leaves is freed */
        TRY(read_curve(&e, &(*curves)[*count - 1], err));
    }
out:
    return code;
}

/* `count` numbers of curves, -1 for none. */
static enum cohort_code read_numbers(const struct json_at *list, int count, int curves, int *to,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int n, i = 0;
    TRY(json_as_array(list, &n, err));
    if (n != count)
        return json_fail(list, err, COHORT_ERR_FORMAT, "must have %d numbers, not %d", count, n);
    for (struct json_at e = {0}; json_next(&e, list); i++)
        TRY(json_as_int(&e, -1, curves - 1, &to[i], err));
out:
    return code;
}

/* `count` numbers from 0 to `most`. */
static enum cohort_code read_reals(const struct json_at *list, int count, double most, double *to,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int n, i = 0;
    TRY(json_as_array(list, &n, err));
    if (n != count)
        return json_fail(list, err, COHORT_ERR_FORMAT, "must have %d numbers, not %d", count, n);
    for (struct json_at e = {0}; json_next(&e, list); i++)
        TRY(json_as_f64(&e, 0, most, &to[i], err));
out:
    return code;
}

/* ---- reading: the parts ---------------------------------------------------------------------- */

static enum cohort_code read_engine(const struct json_at *at, int nodes, struct profile_engine *e,
                                    struct cohort_error *err) {
    static const char *const keys[] = {"name", "cores", "threads", "inference_ms", "ms"};
    enum cohort_code code = COHORT_OK;
    struct json_at list;
    TRY(json_as_object(at, err));
    TRY(json_known_keys(at, keys, sizeof keys / sizeof keys[0], err));
    TRY(json_get_copy(at, "name", &e->name, err));
    TRY(json_get_copy(at, "cores", &e->cores, err));
    TRY(json_get_int(at, "threads", 1, 65536, &e->threads, err));
    TRY(json_get_f64(at, "inference_ms", 0, MS_MAX, &e->inference_ms, err));
    TRY(json_need(&list, at, "ms", err));
    TRY(read_reals(&list, nodes, MS_MAX, e->ms, err));
out:
    return code;
}

/* Left out in version 1. */
static enum cohort_code read_engines(const struct json_at *type, const struct profile *p,
                                     int version, struct profile_type *t,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct json_at list;
    int count, i = 0;
    if (!json_find(&list, type, "engines"))
        return code;
    if (version < 2)
        return json_fail(&list, err, COHORT_ERR_FORMAT, "version 1 has no engines");
    TRY(json_as_array(&list, &count, err));
    if (count < 1 || count > ENGINES_MAX)
        return json_fail(&list, err, COHORT_ERR_FORMAT, "must have 1 to %d entries, not %d",
                         ENGINES_MAX, count);
    TRY(profile_engines_create(p, t, count, err));
    for (struct json_at e = {0}; json_next(&e, &list);)
        TRY(read_engine(&e, p->node_count, &t->engines[i++], err));
out:
    return code;
}

static enum cohort_code read_type(const struct json_at *at, const struct profile *p, int version,
                                  struct profile_type *t, struct cohort_error *err) {
    static const char *const keys[] = {
        "cpu",
        "isa",
        "kernels",
        "threads",
        "cpu_share",
        "clock_mhz",
        "encode_ms_per_mb",
        "decode_ms_per_mb",
        "curves",
        "curve_of",
        "chained_of",
        "weight_bytes",
        "workspace_bytes",
        "engines",
    };
    enum cohort_code code = COHORT_OK;
    const int nodes = p->node_count;
    struct json_at list;
    TRY(json_as_object(at, err));
    TRY(json_known_keys(at, keys, sizeof keys / sizeof keys[0], err));
    TRY(json_get_copy(at, "cpu", &t->cpu, err));
    TRY(json_get_copy(at, "isa", &t->isa, err));
    TRY(json_get_copy(at, "kernels", &t->kernels, err));
    TRY(json_get_int(at, "threads", 1, 65536, &t->threads, err));
    TRY(json_get_f64(at, "cpu_share", 1e-6, 1, &t->cpu_share, err));
    TRY(json_get_f64(at, "clock_mhz", 0, 1e6, &t->clock_mhz, err));
    TRY(json_get_f64(at, "encode_ms_per_mb", 0, MS_MAX, &t->encode_ms_per_mb, err));
    TRY(json_get_f64(at, "decode_ms_per_mb", 0, MS_MAX, &t->decode_ms_per_mb, err));
    TRY(read_curves(at, &t->curves, &t->curve_count, NODES_MAX, err));
    t->curve_of = mem_alloc(((size_t)nodes + 1) * sizeof *t->curve_of);
    if (t->curve_of == NULL)
        return error_memory(err, (size_t)nodes * sizeof *t->curve_of, "a profile");
    TRY(json_need(&list, at, "curve_of", err));
    TRY(read_numbers(&list, nodes, t->curve_count, t->curve_of, err));
    TRY(json_may_f64(at, "workspace_bytes", 0, X_MAX, &t->workspace_bytes, err));
    if (json_find(&list, at, "chained_of")) {
        t->chained_of = mem_alloc(((size_t)nodes + 1) * sizeof *t->chained_of);
        if (t->chained_of == NULL)
            return error_memory(err, (size_t)nodes * sizeof *t->chained_of, "a profile");
        TRY(read_numbers(&list, nodes, t->curve_count, t->chained_of, err));
    }
    if (json_find(&list, at, "weight_bytes")) {
        t->weight_bytes = mem_alloc(((size_t)nodes + 1) * sizeof *t->weight_bytes);
        if (t->weight_bytes == NULL)
            return error_memory(err, (size_t)nodes * sizeof *t->weight_bytes, "a profile");
        TRY(read_reals(&list, nodes, X_MAX, t->weight_bytes, err));
    }
    TRY(read_engines(at, p, version, t, err));
out:
    return code;
}

static enum cohort_code read_board(const struct json_at *at, int types, struct profile_board *b,
                                   struct cohort_error *err) {
    static const char *const keys[] = {"host", "type", "scale", "memory_bytes", "remark"};
    enum cohort_code code = COHORT_OK;
    int64_t memory = 0;
    TRY(json_as_object(at, err));
    TRY(json_known_keys(at, keys, sizeof keys / sizeof keys[0], err));
    TRY(json_get_copy(at, "host", &b->host, err));
    TRY(json_get_int(at, "type", 0, types - 1, &b->type, err));
    b->scale = 1;
    TRY(json_may_f64(at, "scale", SCALE_MIN, SCALE_MAX, &b->scale, err));
    TRY(json_may_i64(at, "memory_bytes", 0, INT64_MAX, &memory, err));
    b->memory_bytes = (uint64_t)memory;
    TRY(json_may_copy(at, "remark", &b->remark, err));
out:
    return code;
}

/* The list under `key` has 1 to `max` entries; *items is new and all zero, of `size` bytes each. */
static enum cohort_code need_list(struct json_at *list, const struct json_at *root, const char *key,
                                  int max, size_t size, void **items, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int n;
    TRY(json_need(list, root, key, err));
    TRY(json_as_array(list, &n, err));
    if (n < 1 || n > max)
        return json_fail(list, err, COHORT_ERR_FORMAT, "must have 1 to %d entries, not %d", max, n);
    *items = mem_zalloc((size_t)n, size);
    if (*items == NULL)
        return error_memory(err, (size_t)n * size, "a profile");
out:
    return code;
}

enum cohort_code profile_read_links(const struct json_at *links, struct profile *p,
                                    struct cohort_error *err) {
    static const char *const keys[] = {"curves", "link_of", "scatter_factor", "gather_factor",
                                       "wake_ms"};
    enum cohort_code code = COHORT_OK;
    struct json_at list;
    int n = p->board_count, rows, from = 0;
    TRY(json_as_object(links, err));
    TRY(json_known_keys(links, keys, sizeof keys / sizeof keys[0], err));
    TRY(json_get_f64(links, "scatter_factor", 1e-3, 1e3, &p->scatter_factor, err));
    TRY(json_get_f64(links, "gather_factor", 1e-3, 1e3, &p->gather_factor, err));
    if (json_find(&list, links, "wake_ms"))
        TRY(json_get_f64(links, "wake_ms", 0, 1e3, &p->wake_ms, err));
    TRY(read_curves(links, &p->links, &p->link_count, n * n, err));
    TRY(json_need(&list, links, "link_of", err));
    TRY(json_as_array(&list, &rows, err));
    if (rows != n)
        return json_fail(&list, err, COHORT_ERR_FORMAT,
                         "must have a row for each of %d boards, not %d", n, rows);
    p->link_of = mem_alloc((size_t)n * (size_t)n * sizeof *p->link_of);
    if (p->link_of == NULL)
        return error_memory(err, (size_t)n * (size_t)n * sizeof *p->link_of, "a profile");
    for (struct json_at row = {0}; json_next(&row, &list); from++) {
        int *of = &p->link_of[from * n];
        TRY(read_numbers(&row, n, p->link_count, of, err));
        for (int to = 0; to < n; to++)
            if ((of[to] < 0) != (from == to))
                return json_fail(&row, err, COHORT_ERR_FORMAT,
                                 from == to ? "a board has no link to itself: number %d must be -1"
                                            : "number %d must be a curve's",
                                 to);
    }
out:
    return code;
}

/* [first, last, ms] */
static enum cohort_code read_group(const struct json_at *at, int nodes, struct profile_group *g,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct json_at e = {0};
    int n;
    TRY(json_as_array(at, &n, err));
    if (n != 3)
        return json_fail(at, err, COHORT_ERR_FORMAT, "must be [first, last, ms], not %d numbers",
                         n);
    json_next(&e, at);
    TRY(json_as_int(&e, 0, nodes - 1, &g->first, err));
    json_next(&e, at);
    TRY(json_as_int(&e, g->first + 1, nodes, &g->last, err));
    json_next(&e, at);
    TRY(json_as_f64(&e, 0, MS_MAX, &g->ms, err));
out:
    return code;
}

static enum cohort_code read_groups(const struct json_at *root, struct profile *p,
                                    struct cohort_error *err) {
    static const char *const keys[] = {"longest", "seconds", "shares", "ms"};
    enum cohort_code code = COHORT_OK;
    struct json_at o, list;
    int n, i = 0;
    if (!json_find(&o, root, "groups"))
        return COHORT_OK;
    TRY(json_as_object(&o, err));
    TRY(json_known_keys(&o, keys, sizeof keys / sizeof keys[0], err));
    TRY(json_need(&list, &o, "ms", err));
    TRY(json_as_array(&list, &n, err));
    if (n > NODES_MAX)
        return json_fail(&list, err, COHORT_ERR_FORMAT, "must have at most %d entries, not %d",
                         NODES_MAX, n);
    TRY(profile_groups_create(p, n, err));
    for (struct json_at e = {0}; json_next(&e, &list); i++)
        TRY(read_group(&e, p->node_count, &p->groups->list[i], err));
    TRY(json_get_int(&o, "longest", 0, NODES_MAX, &p->groups->longest, err));
    TRY(json_get_f64(&o, "seconds", 0, MS_MAX, &p->groups->seconds, err));
    TRY(json_need(&list, &o, "shares", err));
    TRY(read_reals(&list, p->board_count, 1, p->groups->shares, err));
out:
    return code;
}

/* ---- reading: the whole ---------------------------------------------------------------------- */

static enum cohort_code read_profile(const struct json_at *root, void *to,
                                     struct cohort_error *err) {
    static const struct json_format format = {PROFILE_FORMAT, "a profile", 1, PROFILE_VERSION};
    static const char *const keys[] = {"format", "version", "network", "signature", "cohort",
                                       "nodes",  "types",   "boards",  "links",     "groups"};
    enum cohort_code code = COHORT_OK;
    struct json_at list;
    int version;
    struct profile **out_profile = to, *p = mem_zalloc(1, sizeof *p);
    if (p == NULL)
        return error_memory(err, sizeof *p, "a profile");
    p->scatter_factor = p->gather_factor = 1;
    TRY(json_get_version(root, &format, &version, err));
    TRY(json_known_keys(root, keys, sizeof keys / sizeof keys[0], err));
    TRY(json_get_copy(root, "network", &p->network, err));
    TRY(json_get_hex(root, "signature", sizeof p->signature - 1, p->signature, err));
    TRY(json_get_copy(root, "cohort", &p->version, err));
    TRY(json_get_int(root, "nodes", 0, NODES_MAX, &p->node_count, err));
    TRY(need_list(&list, root, "types", BOARDS_MAX, sizeof *p->types, (void **)&p->types, err));
    for (struct json_at e = {0}; json_next(&e, &list);)
        TRY(read_type(&e, p, version, &p->types[p->type_count++], err));
    TRY(need_list(&list, root, "boards", BOARDS_MAX, sizeof *p->boards, (void **)&p->boards, err));
    for (struct json_at e = {0}; json_next(&e, &list);)
        TRY(read_board(&e, p->type_count, &p->boards[p->board_count++], err));
    TRY(json_need(&list, root, "links", err));
    TRY(profile_read_links(&list, p, err));
    TRY(read_groups(root, p, err));
    *out_profile = p;
    p = NULL;
out:
    profile_destroy(&p);
    return code;
}

enum cohort_code profile_parse(struct profile **p, const char *text, size_t bytes, const char *what,
                               struct cohort_error *err) {
    return json_read_text(text, bytes, what, read_profile, p, err);
}

enum cohort_code profile_load(struct profile **p, const char *path, struct cohort_error *err) {
    return json_read_file(path, JSON_BYTES_MAX, read_profile, p, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_curves(cJSON *object, const struct profile_curve *curves, int count, bool *ok) {
    cJSON *list = json_add_array(object, "curves", ok);
    for (int i = 0; i < count; i++) {
        cJSON *curve = json_add_array(list, NULL, ok);
        for (int k = 0; k < curves[i].count; k++) {
            const double point[] = {curves[i].points[k].x, curves[i].points[k].ms};
            json_add_f64s(curve, NULL, point, 2, ok);
        }
    }
}

static void write_type(cJSON *list, const struct profile_type *t, int nodes, bool *ok) {
    cJSON *o = json_add_object(list, NULL, ok);
    json_add_text(o, "cpu", t->cpu, ok);
    json_add_text(o, "isa", t->isa, ok);
    json_add_text(o, "kernels", t->kernels, ok);
    json_add_i64(o, "threads", t->threads, ok);
    json_add_f64(o, "cpu_share", t->cpu_share, ok);
    json_add_f64(o, "clock_mhz", t->clock_mhz, ok);
    json_add_f64(o, "encode_ms_per_mb", t->encode_ms_per_mb, ok);
    json_add_f64(o, "decode_ms_per_mb", t->decode_ms_per_mb, ok);
    write_curves(o, t->curves, t->curve_count, ok);
    json_add_ints(o, "curve_of", t->curve_of, (size_t)nodes, ok);
    if (t->chained_of != NULL)
        json_add_ints(o, "chained_of", t->chained_of, (size_t)nodes, ok);
    if (t->weight_bytes != NULL)
        json_add_f64s(o, "weight_bytes", t->weight_bytes, (size_t)nodes, ok);
    if (t->workspace_bytes > 0)
        json_add_f64(o, "workspace_bytes", t->workspace_bytes, ok);
    cJSON *engines = t->engine_count > 0 ? json_add_array(o, "engines", ok) : NULL;
    for (int i = 0; i < t->engine_count; i++) {
        cJSON *e = json_add_object(engines, NULL, ok);
        json_add_text(e, "name", t->engines[i].name, ok);
        json_add_text(e, "cores", t->engines[i].cores, ok);
        json_add_i64(e, "threads", t->engines[i].threads, ok);
        json_add_f64(e, "inference_ms", t->engines[i].inference_ms, ok);
        json_add_f64s(e, "ms", t->engines[i].ms, (size_t)nodes, ok);
    }
}

static void write_board(cJSON *list, const struct profile_board *b, bool *ok) {
    cJSON *o = json_add_object(list, NULL, ok);
    json_add_text(o, "host", b->host, ok);
    json_add_i64(o, "type", b->type, ok);
    json_add_f64(o, "scale", b->scale, ok);
    json_add_i64(o, "memory_bytes", (int64_t)b->memory_bytes, ok);
    json_add_text(o, "remark", b->remark, ok);
}

void profile_write_links(cJSON *container, const struct profile *p, bool *ok) {
    cJSON *o = json_add_object(container, "links", ok);
    json_add_f64(o, "scatter_factor", p->scatter_factor, ok);
    json_add_f64(o, "gather_factor", p->gather_factor, ok);
    if (p->wake_ms > 0)
        json_add_f64(o, "wake_ms", p->wake_ms, ok);
    write_curves(o, p->links, p->link_count, ok);
    cJSON *rows = json_add_array(o, "link_of", ok);
    for (int from = 0; from < p->board_count; from++)
        json_add_ints(rows, NULL, &p->link_of[from * p->board_count], (size_t)p->board_count, ok);
}

static void write_groups(cJSON *root, const struct profile *p, bool *ok) {
    const struct profile_groups *g = p->groups;
    if (g == NULL)
        return;
    cJSON *o = json_add_object(root, "groups", ok);
    json_add_i64(o, "longest", g->longest, ok);
    json_add_f64(o, "seconds", g->seconds, ok);
    json_add_f64s(o, "shares", g->shares, (size_t)p->board_count, ok);
    cJSON *list = json_add_array(o, "ms", ok);
    for (int i = 0; i < g->count; i++) {
        const double numbers[] = {g->list[i].first, g->list[i].last, g->list[i].ms};
        json_add_f64s(list, NULL, numbers, 3, ok);
    }
}

/* NULL: memory short. */
static cJSON *document_of(const struct profile *p) {
    bool ok = true;
    cJSON *root = cJSON_CreateObject();
    if (root == NULL)
        return NULL;
    json_add_text(root, "format", PROFILE_FORMAT, &ok);
    json_add_i64(root, "version", profile_has_engines(p) ? PROFILE_VERSION : 1, &ok);
    json_add_text(root, "network", p->network, &ok);
    json_add_text(root, "signature", p->signature, &ok);
    json_add_text(root, "cohort", p->version, &ok);
    json_add_i64(root, "nodes", p->node_count, &ok);
    cJSON *types = json_add_array(root, "types", &ok);
    for (int i = 0; i < p->type_count; i++)
        write_type(types, &p->types[i], p->node_count, &ok);
    cJSON *boards = json_add_array(root, "boards", &ok);
    for (int i = 0; i < p->board_count; i++)
        write_board(boards, &p->boards[i], &ok);
    profile_write_links(root, p, &ok);
    write_groups(root, p, &ok);
    if (!ok)
        json_free(&root);
    return root;
}

enum cohort_code profile_print(const struct profile *p, char **text, struct cohort_error *err) {
    cJSON *document = document_of(p);
    if (document == NULL)
        return error_memory(err, (size_t)p->node_count * 64, "a profile's text");
    const enum cohort_code code = json_print(text, NULL, document, err);
    json_free(&document);
    return code;
}

enum cohort_code profile_save(const struct profile *p, const char *path, struct cohort_error *err) {
    cJSON *document = document_of(p);
    if (document == NULL)
        return error_memory(err, (size_t)p->node_count * 64, "a profile's text");
    const enum cohort_code code = json_save(document, path, err);
    json_free(&document);
    return code;
}
