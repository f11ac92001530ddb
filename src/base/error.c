#include "base/error.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const code_names[COHORT_CODE_COUNT] = {
    "ok",     "usage", "io",   "format",  "unsupported", "shape",
    "memory", "plan",  "comm", "timeout", "internal",
};

const char *cohort_code_name(enum cohort_code code) {
    return (unsigned)code < COHORT_CODE_COUNT ? code_names[code] : "unknown";
}

/* Names from files may hold anything; a message is one line that does nothing to a terminal. */
static void one_line(char *text) {
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

enum cohort_code error_set(struct cohort_error *err, enum cohort_code code, const char *fmt, ...) {
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->message, sizeof err->message, fmt, args);
        va_end(args);
        one_line(err->message);
        err->code = code;
    }
    return code;
}

enum cohort_code error_wrap(struct cohort_error *err, const char *fmt, ...) {
    if (err == NULL)
        return COHORT_ERR_INTERNAL;
    char prefix[COHORT_MESSAGE_BYTES];
    char tail[COHORT_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    memcpy(tail, err->message, sizeof tail);
    size_t used = strlen(prefix);
    if (used > sizeof err->message - 3)
        used = sizeof err->message - 3;
    memcpy(err->message, prefix, used);
    err->message[used] = ':';
    err->message[used + 1] = ' ';
    size_t room = sizeof err->message - used - 3;
    size_t rest = strlen(tail);
    if (rest > room)
        rest = room;
    memcpy(err->message + used + 2, tail, rest);
    err->message[used + 2 + rest] = '\0';
    one_line(err->message);
    return err->code;
}

enum cohort_code error_memory(struct cohort_error *err, unsigned long long bytes,
                              const char *what) {
    size_t limit = mem_limit_bytes();
    if (limit == 0)
        return error_set(err, COHORT_ERR_MEMORY, "out of memory: %llu bytes for %s", bytes, what);
    return error_set(err, COHORT_ERR_MEMORY,
                     "out of memory: %llu bytes for %s; %.1f of the %.1f MB that this board's "
                     "memory_limit allows are in use",
                     bytes, what, (double)mem_live_bytes() / 1048576, (double)limit / 1048576);
}

void error_clear(struct cohort_error *err) {
    if (err != NULL) {
        err->code = COHORT_OK;
        err->message[0] = '\0';
    }
}

void bug_at(const char *file, int line, const char *what) {
    fprintf(stderr, "cohort: bug at %s:%d: %s\n", file, line, what);
    abort();
}
