/* JSON values: where they are, what they must be, and how to make them. */
#include "base/json.h"

#include "base/mem.h"
#include "base/options.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct json_at json_root(const cJSON *document, const char *name) {
    return (struct json_at){.value = document, .name = name};
}

/* ---- messages ------------------------------------------------------------------------------- */

/* Writes "groups[2].split" and returns its length, at most size - 1. */
static size_t print_path(const struct json_at *at, char *text, size_t size) {
    if (!at->parent)
        return 0;
    size_t used = print_path(at->parent, text, size);
    int n = at->key ? snprintf(text + used, size - used, "%s%s", used ? "." : "", at->key)
                    : snprintf(text + used, size - used, "[%d]", at->index);
    used += n > 0 ? (size_t)n : 0;
    return used < size ? used : size - 1;
}

enum cohort_code json_fail(const struct json_at *at, struct cohort_error *err,
                           enum cohort_code code, const char *fmt, ...) {
    char path[300], what[COHORT_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    path[0] = 0;
    size_t length = print_path(at, path, sizeof path);
    error_set(err, code, "%s: %s%s%s", at->name, path, length ? ": " : "", what);
    return code;
}

/* A value as a message shows it. */
static const char *show(const cJSON *v, char *text, size_t size) {
    if (cJSON_IsObject(v))
        return "an object";
    if (cJSON_IsArray(v))
        return "an array";
    if (cJSON_IsNull(v))
        return "null";
    if (cJSON_IsBool(v))
        return cJSON_IsTrue(v) ? "true" : "false";
    if (cJSON_IsNumber(v))
        snprintf(text, size, "%.16g", v->valuedouble);
    else
        snprintf(text, size, "\"%.60s\"", v->valuestring ? v->valuestring : "");
    return text;
}

static enum cohort_code must_be(const struct json_at *at, struct cohort_error *err,
                                const char *what) {
    char text[80];
    return json_fail(at, err, COHORT_ERR_FORMAT, "must be %s, not %s", what,
                     show(at->value, text, sizeof text));
}

/* ---- values --------------------------------------------------------------------------------- */

enum cohort_code json_as_object(const struct json_at *at, struct cohort_error *err) {
    return cJSON_IsObject(at->value) ? COHORT_OK : must_be(at, err, "an object");
}

enum cohort_code json_as_array(const struct json_at *at, int *count, struct cohort_error *err) {
    if (!cJSON_IsArray(at->value))
        return must_be(at, err, "an array");
    if (count)
        *count = cJSON_GetArraySize(at->value);
    return COHORT_OK;
}

/* A number without a fraction that a double holds exactly, or decimal digits in quotes. */
static bool whole_number(const cJSON *v, int64_t *out) {
    if (cJSON_IsNumber(v)) {
        if (v->valuedouble != floor(v->valuedouble) ||
            fabs(v->valuedouble) > (double)JSON_EXACT_MAX)
            return false;
        *out = (int64_t)v->valuedouble;
        return true;
    }
    if (!cJSON_IsString(v) || !v->valuestring)
        return false;
    const char *digits = v->valuestring + (v->valuestring[0] == '-');
    char *end;
    if (digits[0] < '0' || digits[0] > '9')
        return false;
    errno = 0;
    intmax_t n = strtoimax(v->valuestring, &end, 10);
    if (*end || errno == ERANGE)
        return false;
    *out = (int64_t)n;
    return true;
}

enum cohort_code json_as_i64(const struct json_at *at, int64_t min, int64_t max, int64_t *out,
                             struct cohort_error *err) {
    int64_t v;
    char what[120];
    if (whole_number(at->value, &v) && v >= min && v <= max) {
        *out = v;
        return COHORT_OK;
    }
    if (cJSON_IsNumber(at->value) && fabs(at->value->valuedouble) > (double)JSON_EXACT_MAX &&
        max > JSON_EXACT_MAX)
        return json_fail(at, err, COHORT_ERR_FORMAT,
                         "a whole number beyond 2^53 is not exact in JSON: write it in quotes");
    if (min == INT64_MIN && max == INT64_MAX)
        snprintf(what, sizeof what, "a whole number");
    else if (max == INT64_MAX)
        snprintf(what, sizeof what, "a whole number of at least %" PRId64, min);
    else
        snprintf(what, sizeof what, "a whole number from %" PRId64 " to %" PRId64, min, max);
    return must_be(at, err, what);
}

enum cohort_code json_as_int(const struct json_at *at, int min, int max, int *out,
                             struct cohort_error *err) {
    int64_t v;
    enum cohort_code code = json_as_i64(at, min, max, &v, err);
    if (code == COHORT_OK)
        *out = (int)v;
    return code;
}

enum cohort_code json_as_f64(const struct json_at *at, double min, double max, double *out,
                             struct cohort_error *err) {
    char what[120];
    if (cJSON_IsNumber(at->value) && at->value->valuedouble >= min &&
        at->value->valuedouble <= max) {
        *out = at->value->valuedouble;
        return COHORT_OK;
    }
    if (min <= -DBL_MAX && max >= DBL_MAX)
        snprintf(what, sizeof what, "a number");
    else if (max >= DBL_MAX)
        snprintf(what, sizeof what, "a number of at least %.10g", min);
    else
        snprintf(what, sizeof what, "a number from %.10g to %.10g", min, max);
    return must_be(at, err, what);
}

enum cohort_code json_as_bool(const struct json_at *at, bool *out, struct cohort_error *err) {
    if (!cJSON_IsBool(at->value))
        return must_be(at, err, "true or false");
    *out = cJSON_IsTrue(at->value);
    return COHORT_OK;
}

enum cohort_code json_as_text(const struct json_at *at, const char **out,
                              struct cohort_error *err) {
    if (!cJSON_IsString(at->value) || !at->value->valuestring)
        return must_be(at, err, "a text");
    *out = at->value->valuestring;
    return COHORT_OK;
}

enum cohort_code json_as_choice(const struct json_at *at, const char *const *names, size_t count,
                                int *out, struct cohort_error *err) {
    char listed[400] = "one of ";
    size_t used = strlen(listed);
    const char *text = NULL;
    enum cohort_code code = json_as_text(at, &text, err);
    if (code != COHORT_OK)
        return code;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            *out = (int)i;
            return COHORT_OK;
        }
        if (used < sizeof listed)
            used += (size_t)snprintf(listed + used, sizeof listed - used, "%s\"%s\"", i ? ", " : "",
                                     names[i]);
    }
    return must_be(at, err, listed);
}

/* ---- members and elements ------------------------------------------------------------------- */

bool json_find(struct json_at *out, const struct json_at *object, const char *key) {
    const cJSON *v =
        cJSON_IsObject(object->value) ? cJSON_GetObjectItemCaseSensitive(object->value, key) : NULL;
    if (!v)
        return false;
    *out = (struct json_at){.value = v, .parent = object, .key = key, .name = object->name};
    return true;
}

enum cohort_code json_need(struct json_at *out, const struct json_at *object, const char *key,
                           struct cohort_error *err) {
    enum cohort_code code = json_as_object(object, err);
    if (code != COHORT_OK || json_find(out, object, key))
        return code;
    return json_fail(object, err, COHORT_ERR_FORMAT, "'%s' is missing", key);
}

bool json_next(struct json_at *out, const struct json_at *container) {
    bool first = !out->parent;
    bool object = cJSON_IsObject(container->value);
    const cJSON *v;
    if (first)
        v = object || cJSON_IsArray(container->value) ? container->value->child : NULL;
    else
        v = out->value->next;
    if (!v)
        return false;
    *out = (struct json_at){.value = v,
                            .parent = container,
                            .key = object ? v->string : NULL,
                            .index = first ? 0 : out->index + 1,
                            .name = container->name};
    return true;
}

enum cohort_code json_known_keys(const struct json_at *object, const char *const *known,
                                 size_t count, struct cohort_error *err) {
    enum cohort_code code = json_as_object(object, err);
    if (code != COHORT_OK)
        return code;
    for (struct json_at member = {0}; json_next(&member, object);) {
        bool found = false;
        for (size_t i = 0; i < count && !found; i++)
            found = strcmp(known[i], member.key) == 0;
        if (found)
            continue;
        const char *close = closest_name(member.key, known, count);
        return json_fail(object, err, COHORT_ERR_FORMAT, "unknown key '%.80s'%s%s%s", member.key,
                         close ? ": did you mean '" : "", close ? close : "", close ? "'?" : "");
    }
    return COHORT_OK;
}

enum cohort_code json_get_i64(const struct json_at *object, const char *key, int64_t min,
                              int64_t max, int64_t *out, struct cohort_error *err) {
    struct json_at at;
    enum cohort_code code = json_need(&at, object, key, err);
    return code != COHORT_OK ? code : json_as_i64(&at, min, max, out, err);
}

enum cohort_code json_get_int(const struct json_at *object, const char *key, int min, int max,
                              int *out, struct cohort_error *err) {
    struct json_at at;
    enum cohort_code code = json_need(&at, object, key, err);
    return code != COHORT_OK ? code : json_as_int(&at, min, max, out, err);
}

enum cohort_code json_get_f64(const struct json_at *object, const char *key, double min, double max,
                              double *out, struct cohort_error *err) {
    struct json_at at;
    enum cohort_code code = json_need(&at, object, key, err);
    return code != COHORT_OK ? code : json_as_f64(&at, min, max, out, err);
}

enum cohort_code json_get_bool(const struct json_at *object, const char *key, bool *out,
                               struct cohort_error *err) {
    struct json_at at;
    enum cohort_code code = json_need(&at, object, key, err);
    return code != COHORT_OK ? code : json_as_bool(&at, out, err);
}

enum cohort_code json_get_text(const struct json_at *object, const char *key, const char **out,
                               struct cohort_error *err) {
    struct json_at at;
    enum cohort_code code = json_need(&at, object, key, err);
    return code != COHORT_OK ? code : json_as_text(&at, out, err);
}

/* null says the same as nothing: "not set". */
static bool is_set(struct json_at *out, const struct json_at *object, const char *key) {
    return json_find(out, object, key) && !cJSON_IsNull(out->value);
}

enum cohort_code json_may_i64(const struct json_at *object, const char *key, int64_t min,
                              int64_t max, int64_t *out, struct cohort_error *err) {
    struct json_at at;
    return is_set(&at, object, key) ? json_as_i64(&at, min, max, out, err) : COHORT_OK;
}

enum cohort_code json_may_int(const struct json_at *object, const char *key, int min, int max,
                              int *out, struct cohort_error *err) {
    struct json_at at;
    return is_set(&at, object, key) ? json_as_int(&at, min, max, out, err) : COHORT_OK;
}

enum cohort_code json_may_f64(const struct json_at *object, const char *key, double min, double max,
                              double *out, struct cohort_error *err) {
    struct json_at at;
    return is_set(&at, object, key) ? json_as_f64(&at, min, max, out, err) : COHORT_OK;
}

enum cohort_code json_may_bool(const struct json_at *object, const char *key, bool *out,
                               struct cohort_error *err) {
    struct json_at at;
    return is_set(&at, object, key) ? json_as_bool(&at, out, err) : COHORT_OK;
}

enum cohort_code json_may_text(const struct json_at *object, const char *key, const char **out,
                               struct cohort_error *err) {
    struct json_at at;
    return is_set(&at, object, key) ? json_as_text(&at, out, err) : COHORT_OK;
}

enum cohort_code json_may_copy(const struct json_at *object, const char *key, char **out,
                               struct cohort_error *err) {
    const char *text = NULL;
    enum cohort_code code = json_may_text(object, key, &text, err);
    if (code != COHORT_OK || text == NULL)
        return code;
    *out = mem_strdup(text);
    return *out != NULL ? COHORT_OK : error_memory(err, strlen(text) + 1, "a text");
}

enum cohort_code json_get_copy(const struct json_at *object, const char *key, char **out,
                               struct cohort_error *err) {
    const char *text;
    enum cohort_code code = json_get_text(object, key, &text, err);
    return code != COHORT_OK ? code : json_may_copy(object, key, out, err);
}

enum cohort_code json_get_hex(const struct json_at *object, const char *key, size_t digits,
                              char *out, struct cohort_error *err) {
    const char *text;
    enum cohort_code code = json_get_text(object, key, &text, err);
    if (code != COHORT_OK)
        return code;
    if (strlen(text) != digits || strspn(text, "0123456789abcdef") != digits)
        return json_fail(object, err, COHORT_ERR_FORMAT,
                         "%s must be %zu hexadecimal digits in lower case, not '%.60s'", key,
                         digits, text);
    memcpy(out, text, digits + 1);
    return COHORT_OK;
}

enum cohort_code json_get_version(const struct json_at *root, const struct json_format *format,
                                  int *version, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const char *name;
    int64_t found;
    TRY(json_as_object(root, err));
    TRY(json_get_text(root, "format", &name, err));
    if (strcmp(name, format->name) != 0)
        return json_fail(root, err, COHORT_ERR_FORMAT, "format is '%.40s', not '%s'", name,
                         format->name);
    TRY(json_get_i64(root, "version", 1, JSON_EXACT_MAX, &found, err));
    if (found < format->oldest || found > format->newest)
        return json_fail(root, err, COHORT_ERR_FORMAT,
                         "%s of version %lld, but this program reads version%s %d", format->what,
                         (long long)found, format->oldest == format->newest ? "" : "s up to",
                         format->newest);
    *version = (int)found;
out:
    return code;
}

/* ---- building ------------------------------------------------------------------------------- */

/* Takes item over, whatever happens. */
static cJSON *add(cJSON *container, const char *key, cJSON *item, bool *ok) {
    bool added = false;
    if (item && container)
        added = key ? cJSON_AddItemToObject(container, key, item)
                    : cJSON_AddItemToArray(container, item);
    if (added)
        return item;
    cJSON_Delete(item);
    *ok = false;
    return NULL;
}

cJSON *json_add_object(cJSON *container, const char *key, bool *ok) {
    return add(container, key, cJSON_CreateObject(), ok);
}

cJSON *json_add_array(cJSON *container, const char *key, bool *ok) {
    return add(container, key, cJSON_CreateArray(), ok);
}

static cJSON *create_i64(int64_t v) {
    char text[24];
    if (v >= -JSON_EXACT_MAX && v <= JSON_EXACT_MAX)
        return cJSON_CreateNumber((double)v);
    snprintf(text, sizeof text, "%" PRId64, v);
    return cJSON_CreateString(text);
}

void json_add_i64(cJSON *container, const char *key, int64_t v, bool *ok) {
    add(container, key, create_i64(v), ok);
}

void json_add_f64(cJSON *container, const char *key, double v, bool *ok) {
    add(container, key, isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateNull(), ok);
}

void json_add_bool(cJSON *container, const char *key, bool v, bool *ok) {
    add(container, key, cJSON_CreateBool(v), ok);
}

void json_add_text(cJSON *container, const char *key, const char *text, bool *ok) {
    add(container, key, text ? cJSON_CreateString(text) : cJSON_CreateNull(), ok);
}

void json_add_i64s(cJSON *container, const char *key, const int64_t *v, size_t count, bool *ok) {
    cJSON *array = json_add_array(container, key, ok);
    for (size_t i = 0; i < count; i++)
        json_add_i64(array, NULL, v[i], ok);
}

void json_add_ints(cJSON *container, const char *key, const int *v, size_t count, bool *ok) {
    cJSON *array = json_add_array(container, key, ok);
    for (size_t i = 0; i < count; i++)
        json_add_i64(array, NULL, v[i], ok);
}

void json_add_f64s(cJSON *container, const char *key, const double *v, size_t count, bool *ok) {
    cJSON *array = json_add_array(container, key, ok);
    for (size_t i = 0; i < count; i++)
        json_add_f64(array, NULL, v[i], ok);
}
