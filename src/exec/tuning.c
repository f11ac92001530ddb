/* The tuning table, and reading and writing it as JSON. */
#include "exec/tuning.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define FORMAT  "cohort-tuning"
#define VERSION 1
#define US_MAX  1e12

void tuning_release(struct tuning *t) {
    for (int i = 0; i < t->count; i++)
        mem_free(t->boards[i].choices);
    mem_free(t->boards);
    *t = (struct tuning){0};
}

/* ---- looking and changing -------------------------------------------------------------------- */

/* Do the keys agree but for the kernels' sources? */
static bool same_board(const struct tuning_key *a, const struct tuning_key *b) {
    return strcmp(a->cpu, b->cpu) == 0 && strcmp(a->isa, b->isa) == 0 && a->threads == b->threads;
}

static bool same_key(const struct tuning_key *a, const struct tuning_key *b) {
    return same_board(a, b) && strcmp(a->kernels, b->kernels) == 0;
}

const struct tuning_board *tuning_find(const struct tuning *t, const struct tuning_key *key) {
    for (int i = 0; i < t->count; i++)
        if (same_key(&t->boards[i].key, key))
            return &t->boards[i];
    return NULL;
}

static int choice_index(const struct tuning_board *b, const struct signature *s) {
    for (int i = 0; i < b->count; i++)
        if (signature_equal(&b->choices[i].signature, s))
            return i;
    return -1;
}

static enum cohort_code add_board(struct tuning *t, const struct tuning_key *key,
                                  struct tuning_board **board, struct cohort_error *err) {
    if (t->count >= TUNING_BOARDS_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a tuning file holds at most %d boards",
                         TUNING_BOARDS_MAX);
    if (!MEM_GROW(t->boards, t->capacity, (size_t)t->count))
        return error_memory(err, sizeof **board, "a board's measurements");
    *board = &t->boards[t->count++];
    **board = (struct tuning_board){.key = *key};
    return COHORT_OK;
}

static enum cohort_code add_choice(struct tuning_board *b, const struct tuning_choice *choice,
                                   struct cohort_error *err) {
    if (b->count >= TUNING_CHOICES_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a tuning file holds at most %d signatures",
                         TUNING_CHOICES_MAX);
    if (!MEM_GROW(b->choices, b->capacity, (size_t)b->count))
        return error_memory(err, sizeof *choice, "a measurement");
    b->choices[b->count++] = *choice;
    return COHORT_OK;
}

enum cohort_code tuning_put(struct tuning *t, const struct tuning_key *key,
                            const struct tuning_choice *choice, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tuning_board *board = NULL;
    for (int i = 0; i < t->count;) {
        struct tuning_board *b = &t->boards[i];
        if (same_key(&b->key, key)) {
            board = b;
        } else if (same_board(&b->key, key)) {
            mem_free(b->choices);
            memmove(b, b + 1, (size_t)(--t->count - i) * sizeof *b);
            continue;
        }
        i++;
    }
    /* What was removed behind it has not moved it; what was removed before it came by first. */
    if (board == NULL)
        TRY(add_board(t, key, &board, err));
    int i = choice_index(board, &choice->signature);
    if (i >= 0)
        board->choices[i] = *choice;
    else
        code = add_choice(board, choice, err);
out:
    return code;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void add_choice_json(cJSON *list, const struct tuning_choice *c, bool *ok) {
    char text[SIGNATURE_TEXT_BYTES];
    cJSON *o = json_add_object(list, NULL, ok);
    json_add_text(o, "signature", signature_text(&c->signature, text), ok);
    json_add_text(o, "kernel", c->times[c->chosen].kernel, ok);
    cJSON *us = json_add_object(o, "us", ok);
    for (int i = 0; i < c->count; i++)
        json_add_f64(us, c->times[i].kernel, c->times[i].us, ok);
}

enum cohort_code tuning_print(const struct tuning *t, char **text, struct cohort_error *err) {
    bool ok = true;
    cJSON *root = cJSON_CreateObject();
    enum cohort_code code = COHORT_OK;
    json_add_text(root, "format", FORMAT, &ok);
    json_add_i64(root, "version", VERSION, &ok);
    cJSON *boards = json_add_array(root, "boards", &ok);
    for (int i = 0; i < t->count; i++) {
        const struct tuning_board *b = &t->boards[i];
        cJSON *o = json_add_object(boards, NULL, &ok);
        json_add_text(o, "cpu", b->key.cpu, &ok);
        json_add_text(o, "isa", b->key.isa, &ok);
        json_add_text(o, "kernels", b->key.kernels, &ok);
        json_add_i64(o, "threads", b->key.threads, &ok);
        cJSON *choices = json_add_array(o, "choices", &ok);
        for (int k = 0; k < b->count; k++)
            add_choice_json(choices, &b->choices[k], &ok);
    }
    code = root == NULL || !ok ? error_memory(err, 4096, "a tuning document")
                               : json_print(text, NULL, root, err);
    json_free(&root);
    return code;
}

enum cohort_code tuning_save(const struct tuning *t, const char *path, struct cohort_error *err) {
    char *text = NULL;
    enum cohort_code code = tuning_print(t, &text, err);
    if (code == COHORT_OK)
        code = file_replace(path, text, strlen(text), err);
    mem_free(text);
    return code;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Copies the text of a member into `out`, which must have room for it and get something. */
static enum cohort_code get_text(const struct json_at *object, const char *key, char *out,
                                 size_t bytes, struct cohort_error *err) {
    const char *text;
    enum cohort_code code = COHORT_OK;
    struct json_at at;
    TRY(json_need(&at, object, key, err));
    TRY(json_as_text(&at, &text, err));
    size_t length = strlen(text);
    if (length == 0 || length >= bytes)
        code = json_fail(&at, err, COHORT_ERR_FORMAT, "must have 1 to %zu characters, not %zu",
                         bytes - 1, length);
    else
        memcpy(out, text, length + 1);
out:
    return code;
}

static enum cohort_code read_times(struct tuning_choice *c, const struct json_at *object,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct json_at us;
    TRY(json_need(&us, object, "us", err));
    TRY(json_as_object(&us, err));
    for (struct json_at e = {0}; json_next(&e, &us);) {
        struct tuning_time *t = &c->times[c->count];
        size_t length = strlen(e.key);
        if (c->count == TUNING_CANDIDATES_MAX || length == 0 || length >= sizeof t->kernel) {
            code = json_fail(&e, err, COHORT_ERR_FORMAT,
                             "expected at most %d kernels, with names of 1 to %zu characters",
                             TUNING_CANDIDATES_MAX, sizeof t->kernel - 1);
            goto out;
        }
        memcpy(t->kernel, e.key, length + 1);
        TRY(json_as_f64(&e, 0, US_MAX, &t->us, err));
        c->count++;
    }
out:
    return code;
}

static enum cohort_code read_choice(struct tuning_board *b, const struct json_at *at,
                                    struct cohort_error *err) {
    static const char *const keys[] = {"signature", "kernel", "us"};
    enum cohort_code code = COHORT_OK;
    struct tuning_choice c = {0};
    char text[SIGNATURE_TEXT_BYTES], kernel[TUNING_KERNEL_BYTES];
    struct json_at member;
    TRY(json_as_object(at, err));
    TRY(json_known_keys(at, keys, 3, err));
    TRY(get_text(at, "signature", text, sizeof text, err));
    TRY(json_need(&member, at, "signature", err));
    if (!signature_parse(&c.signature, text)) {
        code = json_fail(&member, err, COHORT_ERR_FORMAT,
                         "no signature, such as \"gemm 1x512 to 1000\": '%s'", text);
        goto out;
    }
    if (choice_index(b, &c.signature) >= 0) {
        code = json_fail(&member, err, COHORT_ERR_FORMAT, "stands here a second time");
        goto out;
    }
    TRY(get_text(at, "kernel", kernel, sizeof kernel, err));
    TRY(read_times(&c, at, err));
    while (c.chosen < c.count && strcmp(c.times[c.chosen].kernel, kernel) != 0)
        c.chosen++;
    if (c.chosen == c.count) {
        TRY(json_need(&member, at, "kernel", err));
        code = json_fail(&member, err, COHORT_ERR_FORMAT, "'%s' has no time in us", kernel);
        goto out;
    }
    code = add_choice(b, &c, err);
out:
    return code;
}

static enum cohort_code read_board(struct tuning *t, const struct json_at *at,
                                   struct cohort_error *err) {
    static const char *const keys[] = {"cpu", "isa", "kernels", "threads", "choices"};
    enum cohort_code code = COHORT_OK;
    struct tuning_key key = {0};
    struct tuning_board *board;
    struct json_at list;
    int count;
    TRY(json_as_object(at, err));
    TRY(json_known_keys(at, keys, 5, err));
    TRY(get_text(at, "cpu", key.cpu, sizeof key.cpu, err));
    TRY(get_text(at, "isa", key.isa, sizeof key.isa, err));
    TRY(get_text(at, "kernels", key.kernels, sizeof key.kernels, err));
    TRY(json_get_int(at, "threads", 1, 1024, &key.threads, err));
    if (tuning_find(t, &key) != NULL) {
        code = json_fail(at, err, COHORT_ERR_FORMAT, "this board stands here a second time");
        goto out;
    }
    TRY(add_board(t, &key, &board, err));
    TRY(json_need(&list, at, "choices", err));
    TRY(json_as_array(&list, &count, err));
    for (struct json_at e = {0}; json_next(&e, &list);)
        TRY(read_choice(board, &e, err));
out:
    return code;
}

static enum cohort_code read_document(const struct json_at *root, void *to,
                                      struct cohort_error *err) {
    static const struct json_format format = {FORMAT, "tuning", VERSION, VERSION};
    static const char *const keys[] = {"format", "version", "boards"};
    enum cohort_code code = COHORT_OK;
    struct tuning *t = to;
    struct json_at at;
    int version, count;
    TRY(json_get_version(root, &format, &version, err));
    TRY(json_known_keys(root, keys, 3, err));
    TRY(json_need(&at, root, "boards", err));
    TRY(json_as_array(&at, &count, err));
    for (struct json_at e = {0}; json_next(&e, &at);)
        TRY(read_board(t, &e, err));
out:
    if (code != COHORT_OK)
        tuning_release(t);
    return code;
}

enum cohort_code tuning_parse(struct tuning *t, const char *text, size_t bytes, const char *name,
                              struct cohort_error *err) {
    return json_read_text(text, bytes, name, read_document, t, err);
}

enum cohort_code tuning_load(struct tuning *t, const char *path, struct cohort_error *err) {
    return json_read_file(path, JSON_BYTES_MAX, read_document, t, err);
}
