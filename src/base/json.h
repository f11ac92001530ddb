/* Strict JSON over cJSON: reading with exact messages, writing stable text.
 *
 * cJSON takes much that is not JSON and says nothing about what is wrong.  Here a text is checked
 * first (grammar, UTF-8, depth, repeated keys), and every value is read through a `struct json_at`
 * that knows how it was reached, so that a mistake reads
 * "plan.json: groups[2].split[0]: must be a whole number from 0 to 224, not -1".
 * Whole numbers beyond 2^53, which a JSON number cannot hold, are written as text in decimal and
 * read from either. */
#ifndef COHORT_BASE_JSON_H
#define COHORT_BASE_JSON_H

#include "base/error.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64                 /* containers inside one another */
#define JSON_BYTES_MAX ((size_t)64 << 20) /* a sensible max_bytes for json_load() */
#define JSON_EXACT_MAX 9007199254740992   /* 2^53: whole numbers up to here are exact */

/* Makes cJSON allocate through base/mem, so that tests can count and fail its blocks.  For programs
 * only, before anything uses cJSON: the hooks are the whole process's. */
void json_use_base_memory(void);

struct json_at;

/* ---- documents ------------------------------------------------------------------------------ */

/* Reads text (bytes long, no zero needed behind it); `name` is for messages.
 * Errors: format ("plan.json:3:17: expected ',' or '}'"), memory. */
enum cohort_code json_parse(cJSON **document, const char *text, size_t bytes, const char *name,
                            struct cohort_error *err);
/* The same from a file of at most max_bytes.  Errors: io too. */
enum cohort_code json_load(cJSON **document, const char *path, size_t max_bytes,
                           struct cohort_error *err);
/* Two blanks a level; what fits in 100 columns is on one line; a newline at the end; the same text
 * for the same document on every board.  Not-a-number and infinity become null.
 * *text is new (mem_free), *bytes (may be NULL) its length. */
enum cohort_code json_print(char **text, size_t *bytes, const cJSON *document,
                            struct cohort_error *err);
/* Replaces the file with the printed document: it is old or complete, never half. */
enum cohort_code json_save(const cJSON *document, const char *path, struct cohort_error *err);
void json_free(cJSON **document);

/* What reads a document into *to.  After an error it has freed what it made. */
typedef enum cohort_code (*json_reader)(const struct json_at *root, void *to,
                                        struct cohort_error *err);
/* json_parse() or json_load(), the reader, json_free().  Errors: theirs. */
enum cohort_code json_read_text(const char *text, size_t bytes, const char *name, json_reader read,
                                void *to, struct cohort_error *err);
enum cohort_code json_read_file(const char *path, size_t max_bytes, json_reader read, void *to,
                                struct cohort_error *err);
/* Adds an item, which is gone (freed) when memory is short: cJSON would leave it to the caller. */
bool json_append(cJSON *array, cJSON *item);
bool json_put(cJSON *object, const char *key, cJSON *item);

/* ---- reading -------------------------------------------------------------------------------- */

/* A value and the way to it.  Lives on the caller's stack; `parent` must live as long. */
struct json_at {
    const cJSON *value;
    const struct json_at *parent; /* NULL: the document itself */
    const char *key;              /* in the parent; NULL: an array's element */
    int index;                    /* of the element */
    const char *name;             /* of the document, for messages */
};

struct json_at json_root(const cJSON *document, const char *name);
/* "plan.json: groups[2].split: " before the message. */
enum cohort_code json_fail(const struct json_at *at, struct cohort_error *err,
                           enum cohort_code code, const char *fmt, ...) COHORT_PRINTF(4, 5);

/* Each of these checks the type.  Errors: format. */
enum cohort_code json_as_object(const struct json_at *at, struct cohort_error *err);
enum cohort_code json_as_array(const struct json_at *at, int *count, struct cohort_error *err);
enum cohort_code json_as_i64(const struct json_at *at, int64_t min, int64_t max, int64_t *out,
                             struct cohort_error *err);
enum cohort_code json_as_int(const struct json_at *at, int min, int max, int *out,
                             struct cohort_error *err);
enum cohort_code json_as_f64(const struct json_at *at, double min, double max, double *out,
                             struct cohort_error *err);
enum cohort_code json_as_bool(const struct json_at *at, bool *out, struct cohort_error *err);
/* The text belongs to the document. */
enum cohort_code json_as_text(const struct json_at *at, const char **out, struct cohort_error *err);
/* One of count names: its index. */
enum cohort_code json_as_choice(const struct json_at *at, const char *const *names, size_t count,
                                int *out, struct cohort_error *err);

/* The member of that name; false when `object` has none (or is no object). */
bool json_find(struct json_at *out, const struct json_at *object, const char *key);
/* The same, but it must be there. */
enum cohort_code json_need(struct json_at *out, const struct json_at *object, const char *key,
                           struct cohort_error *err);
/* Walks an array or object in order: starts with *out all zero, false at the end.
 *     for (struct json_at e = {0}; json_next(&e, &array);) … */
bool json_next(struct json_at *out, const struct json_at *container);
/* Complains about the first member that is not one of the known keys, with the closest of them. */
enum cohort_code json_known_keys(const struct json_at *object, const char *const *known,
                                 size_t count, struct cohort_error *err);

/* Member `key` of `object`, which must be there… */
enum cohort_code json_get_i64(const struct json_at *object, const char *key, int64_t min,
                              int64_t max, int64_t *out, struct cohort_error *err);
enum cohort_code json_get_int(const struct json_at *object, const char *key, int min, int max,
                              int *out, struct cohort_error *err);
enum cohort_code json_get_f64(const struct json_at *object, const char *key, double min, double max,
                              double *out, struct cohort_error *err);
enum cohort_code json_get_bool(const struct json_at *object, const char *key, bool *out,
                               struct cohort_error *err);
enum cohort_code json_get_text(const struct json_at *object, const char *key, const char **out,
                               struct cohort_error *err);
/* … or which may be missing or null: *out is then left as it was. */
enum cohort_code json_may_i64(const struct json_at *object, const char *key, int64_t min,
                              int64_t max, int64_t *out, struct cohort_error *err);
enum cohort_code json_may_int(const struct json_at *object, const char *key, int min, int max,
                              int *out, struct cohort_error *err);
enum cohort_code json_may_f64(const struct json_at *object, const char *key, double min, double max,
                              double *out, struct cohort_error *err);
enum cohort_code json_may_bool(const struct json_at *object, const char *key, bool *out,
                               struct cohort_error *err);
enum cohort_code json_may_text(const struct json_at *object, const char *key, const char **out,
                               struct cohort_error *err);

/* New copies (mem_free) of a text that must be there, or may be missing or null. */
enum cohort_code json_get_copy(const struct json_at *object, const char *key, char **out,
                               struct cohort_error *err);
enum cohort_code json_may_copy(const struct json_at *object, const char *key, char **out,
                               struct cohort_error *err);
/* A text of so many hexadecimal digits in lower case, into digits + 1 bytes. */
enum cohort_code json_get_hex(const struct json_at *object, const char *key, size_t digits,
                              char *out, struct cohort_error *err);

/* How a file of Cohort's begins: {"format": name, "version": oldest to newest, …  */
struct json_format {
    const char *name; /* "cohort-plan" */
    const char *what; /* "a plan", for messages */
    int oldest, newest;
};

/* Both members, to be looked at first: everything else may differ in another version. */
enum cohort_code json_get_version(const struct json_at *root, const struct json_format *format,
                                  int *version, struct cohort_error *err);

/* ---- building ------------------------------------------------------------------------------- */

/* Each adds to `container`: under `key` to an object, at the end (key NULL) to an array.  When
 * memory is short *ok becomes false and stays so: look once, at the end.  A NULL container is
 * ignored. */
cJSON *json_add_object(cJSON *container, const char *key, bool *ok);
cJSON *json_add_array(cJSON *container, const char *key, bool *ok);
void json_add_i64(cJSON *container, const char *key, int64_t v, bool *ok);
void json_add_f64(cJSON *container, const char *key, double v, bool *ok);
void json_add_bool(cJSON *container, const char *key, bool v, bool *ok);
void json_add_text(cJSON *container, const char *key, const char *text, bool *ok); /* NULL: null */
void json_add_i64s(cJSON *container, const char *key, const int64_t *v, size_t count,
                   bool *ok); /* an array */
void json_add_ints(cJSON *container, const char *key, const int *v, size_t count, bool *ok);
void json_add_f64s(cJSON *container, const char *key, const double *v, size_t count, bool *ok);

#endif
