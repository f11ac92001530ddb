/* Strict JSON over cJSON: documents in and out.  Values: json_at.c; grammar: json_check.c. */
#include "base/json.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json_check.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 100 /* what fits in these stays on one line */

void json_use_base_memory(void) {
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = mem_alloc, .free_fn = mem_free});
}

void json_free(cJSON **document) {
    cJSON_Delete(*document);
    *document = NULL;
}

static enum cohort_code read_and_free(cJSON *document, const char *name, json_reader read, void *to,
                                      struct cohort_error *err) {
    const struct json_at root = json_root(document, name);
    enum cohort_code code = read(&root, to, err);
    json_free(&document);
    return code;
}

enum cohort_code json_read_text(const char *text, size_t bytes, const char *name, json_reader read,
                                void *to, struct cohort_error *err) {
    cJSON *document = NULL;
    enum cohort_code code = json_parse(&document, text, bytes, name, err);
    return code != COHORT_OK ? code : read_and_free(document, name, read, to, err);
}

enum cohort_code json_read_file(const char *path, size_t max_bytes, json_reader read, void *to,
                                struct cohort_error *err) {
    cJSON *document = NULL;
    enum cohort_code code = json_load(&document, path, max_bytes, err);
    return code != COHORT_OK ? code : read_and_free(document, path, read, to, err);
}

bool json_append(cJSON *array, cJSON *item) {
    if (cJSON_AddItemToArray(array, item))
        return true;
    cJSON_Delete(item);
    return false;
}

bool json_put(cJSON *object, const char *key, cJSON *item) {
    if (cJSON_AddItemToObject(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

/* ---- reading -------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorting keeps an object of a million keys from taking forever. */
static enum cohort_code check_repeated(const struct json_at *object, size_t count,
                                       struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t n = 0;
    const char **keys = mem_alloc(count * sizeof *keys);
    if (!keys)
        return error_memory(err, count * sizeof *keys, object->name);
    for (struct json_at member = {0}; json_next(&member, object);)
        keys[n++] = member.key;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0)
            TRY(json_fail(object, err, COHORT_ERR_FORMAT, "'%s' is given twice", keys[i]));
    }
out:
    mem_free(keys);
    return code;
}

/* What only shows in the tree: repeated keys, and numbers that are too large for a double. */
static enum cohort_code check_tree(const struct json_at *at, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t count = 0;
    if (cJSON_IsNumber(at->value) && !isfinite(at->value->valuedouble))
        return json_fail(at, err, COHORT_ERR_FORMAT, "a number too large");
    for (struct json_at child = {0}; json_next(&child, at); count++)
        TRY(check_tree(&child, err));
    if (cJSON_IsObject(at->value) && count > 1)
        TRY(check_repeated(at, count, err));
out:
    return code;
}

static enum cohort_code syntax_error(const char *name, const char *text, size_t at,
                                     const char *wrong, struct cohort_error *err) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    return error_set(err, COHORT_ERR_FORMAT, "%s:%zu:%zu: %s", name, line, column, wrong);
}

enum cohort_code json_parse(cJSON **document, const char *text, size_t bytes, const char *name,
                            struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    cJSON *tree = NULL;
    size_t at = 0;
    if (bytes >= 3 &&
        memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark: some editors write it */
        text += 3;
        bytes -= 3;
    }
    const char *wrong = json_check(text, bytes, &at);
    if (wrong)
        return syntax_error(name, text, at, wrong, err);
    tree = cJSON_ParseWithLengthOpts(text, bytes, NULL, 0);
    if (!tree)
        return error_memory(err, bytes, name); /* the grammar was right: nothing else can fail */
    struct json_at root = json_root(tree, name);
    TRY(check_tree(&root, err));
    *document = tree;
    tree = NULL;
out:
    cJSON_Delete(tree);
    return code;
}

enum cohort_code json_load(cJSON **document, const char *path, size_t max_bytes,
                           struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    size_t bytes = 0;
    TRY(file_read(path, max_bytes, &text, &bytes, err));
    TRY(json_parse(document, text, bytes, path, err));
out:
    mem_free(text);
    return code;
}

/* ---- printing ------------------------------------------------------------------------------- */

struct printer {
    struct buf out;
    size_t line; /* where the current line begins in out */
};

/* Names come from other people's files: what is not UTF-8 becomes U+FFFD, byte by byte. */
static void print_text(struct buf *b, const char *text) {
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    const char *end = text + strlen(text);
    buf_u8(b, '"');
    while (text < end) {
        size_t n = json_utf8_bytes(text, end);
        const char *escape = strchr(plain, *text);
        if (escape)
            buf_printf(b, "\\%c", letter[escape - plain]);
        else if ((unsigned char)*text < 0x20 || *text == 0x7f)
            buf_printf(b, "\\u%04x", (unsigned)*text);
        else if (n == 0)
            buf_printf(b, "\xef\xbf\xbd");
        else
            buf_bytes(b, text, n);
        text += n ? n : 1;
    }
    buf_u8(b, '"');
}

/* The fewest digits that give the same double back. */
static void print_number(struct buf *b, double v) {
    char text[40];
    if (!isfinite(v)) {
        buf_printf(b, "null");
        return;
    }
    if (v == 0)
        v = 0; /* no "-0" */
    if (v == floor(v) && fabs(v) <= (double)JSON_EXACT_MAX) {
        snprintf(text, sizeof text, "%.0f", v);
    } else {
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, v);
            if (strtod(text, NULL) == v)
                break;
        }
    }
    for (char *c = text; *c; c++) {
        if (*c == ',') /* the host program may have set a locale */
            *c = '.';
    }
    buf_printf(b, "%s", text);
}

static void print_scalar(struct buf *b, const cJSON *v) {
    if (cJSON_IsString(v))
        print_text(b, v->valuestring ? v->valuestring : "");
    else if (cJSON_IsNumber(v))
        print_number(b, v->valuedouble);
    else if (cJSON_IsBool(v))
        buf_printf(b, cJSON_IsTrue(v) ? "true" : "false");
    else
        buf_printf(b, "null");
}

static bool is_container(const cJSON *v) {
    return cJSON_IsObject(v) || cJSON_IsArray(v);
}

/* All on one line, as long as it ends before `limit`; what was printed is taken back otherwise. */
static bool print_flat(struct buf *b, const cJSON *v, size_t limit) {
    size_t before = b->size;
    bool fits = true;
    if (!is_container(v)) {
        print_scalar(b, v);
    } else {
        buf_u8(b, cJSON_IsObject(v) ? '{' : '[');
        for (const cJSON *child = v->child; child && fits; child = child->next) {
            if (cJSON_IsObject(v)) {
                print_text(b, child->string ? child->string : "");
                buf_printf(b, ": ");
            }
            fits = print_flat(b, child, limit);
            if (child->next)
                buf_printf(b, ", ");
        }
        buf_u8(b, cJSON_IsObject(v) ? '}' : ']');
    }
    if (fits && b->size <= limit)
        return true;
    b->size = before;
    return false;
}

static void new_line(struct printer *p, int depth) {
    buf_u8(&p->out, '\n');
    p->line = p->out.size;
    for (int i = 0; i < depth; i++)
        buf_printf(&p->out, "  ");
}

/* The elements of a long array of scalars fill its lines. */
static bool print_beside(struct printer *p, const cJSON *v) {
    size_t before = p->out.size;
    buf_u8(&p->out, ' ');
    if (print_flat(&p->out, v, p->line + COLUMNS - 1))
        return true;
    p->out.size = before;
    return false;
}

static void print_value(struct printer *p, const cJSON *v, int depth) {
    if (p->out.failed || print_flat(&p->out, v, p->line + COLUMNS - 1)) /* a comma may follow */
        return;
    if (!is_container(v)) { /* a text longer than a line */
        print_scalar(&p->out, v);
        return;
    }
    bool object = cJSON_IsObject(v);
    const cJSON *last = NULL;
    buf_u8(&p->out, object ? '{' : '[');
    for (const cJSON *child = v->child; child; last = child, child = child->next) {
        bool fill = !object && last && !is_container(last) && !is_container(child);
        if (!fill || !print_beside(p, child)) {
            new_line(p, depth + 1);
            if (object) {
                print_text(&p->out, child->string ? child->string : "");
                buf_printf(&p->out, ": ");
            }
            print_value(p, child, depth + 1);
        }
        if (child->next)
            buf_u8(&p->out, ',');
    }
    new_line(p, depth);
    buf_u8(&p->out, object ? '}' : ']');
}

enum cohort_code json_print(char **text, size_t *bytes, const cJSON *document,
                            struct cohort_error *err) {
    struct printer p = {0};
    print_value(&p, document, 0);
    buf_u8(&p.out, '\n');
    if (!buf_text(&p.out)) {
        size_t size = p.out.size;
        buf_release(&p.out);
        return error_memory(err, size, "a JSON text");
    }
    *text = (char *)p.out.data; /* a buffer's memory is base/mem's, and so is what we promise */
    if (bytes)
        *bytes = p.out.size;
    return COHORT_OK;
}

enum cohort_code json_save(const cJSON *document, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    size_t bytes = 0;
    TRY(json_print(&text, &bytes, document, err));
    TRY(file_replace(path, text, bytes, err));
out:
    mem_free(text);
    return code;
}
