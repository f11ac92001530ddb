/* What was measured of kernels on boards (`cohort tune`), as a table and as a JSON file.
 *
 * A tuning file has a part for each kind of board: a CPU model, what it can run, the kernels'
 * sources, and the number of threads.  In each part stands, for signatures, which kernel was the
 * fastest, and how long it and others took.  docs/tuning-format.md is the format.  A file is used
 * whole or not at all: one mistake refuses it. */
#ifndef COHORT_EXEC_TUNING_H
#define COHORT_EXEC_TUNING_H

#include "base/error.h"
#include "exec/signature.h"

#include <stddef.h>

#define TUNING_KERNEL_BYTES   64
#define TUNING_CANDIDATES_MAX 24
#define TUNING_BOARDS_MAX     256
#define TUNING_CHOICES_MAX    8192 /* of one board */

/* What a measurement holds for. */
struct tuning_key {
    char cpu[128];    /* as board_detect() names it */
    char isa[64];     /* "generic avx2 avx512": what it can run, without OpenBLAS */
    char kernels[32]; /* kernels_build() */
    int threads;
};

struct tuning_time {
    char kernel[TUNING_KERNEL_BYTES];
    double us; /* least time of the whole operator */
};

struct tuning_choice {
    struct signature signature;
    int chosen; /* index in times[] */
    int count;
    struct tuning_time times[TUNING_CANDIDATES_MAX];
};

struct tuning_board {
    struct tuning_key key;
    struct tuning_choice *choices;
    int count;
    size_t capacity;
};

struct tuning { /* all zero: empty */
    struct tuning_board *boards;
    int count;
    size_t capacity;
};

void tuning_release(struct tuning *t);

/* Fills in isa and kernels of a key: what this program can run on this CPU, as far as --kernel
 * (NULL: none) leaves a choice. */
void tuning_key_here(struct tuning_key *key, const char *kernel);

/* Reads a document; `name` is for messages.  *t is all zero before, and after an error.
 * Errors: format (with the place in the document), memory. */
enum cohort_code tuning_parse(struct tuning *t, const char *text, size_t bytes, const char *name,
                              struct cohort_error *err);
/* The same from a file.  Errors: io too. */
enum cohort_code tuning_load(struct tuning *t, const char *path, struct cohort_error *err);
/* *text is new (mem_free).  Errors: memory. */
enum cohort_code tuning_print(const struct tuning *t, char **text, struct cohort_error *err);
/* Replaces the file.  Errors: io, memory. */
enum cohort_code tuning_save(const struct tuning *t, const char *path, struct cohort_error *err);

/* The part for exactly this key; NULL: none. */
const struct tuning_board *tuning_find(const struct tuning *t, const struct tuning_key *key);
/* Adds a choice to the part for `key`, instead of the one for that signature if there is any; parts
 * that differ from the key only in the kernels' sources are out of date, and go.  Errors: memory,
 * unsupported (too much for one file). */
enum cohort_code tuning_put(struct tuning *t, const struct tuning_key *key,
                            const struct tuning_choice *choice, struct cohort_error *err);

#endif
