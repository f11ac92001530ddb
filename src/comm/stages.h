/* A transfer of stages: messages that are under way together, and what is done with what came.
 *
 * All messages are persistent and all memory is there before the first run.  An area is some bytes
 * of each of some rows, however far apart these lie; MPI takes them as they lie.  For src/comm
 * only; comm/layouts.c builds them. */
#ifndef COHORT_COMM_STAGES_H
#define COHORT_COMM_STAGES_H

#include "comm/comm_internal.h"

struct area {
    char *data;
    int64_t rows;
    size_t bytes, pitch; /* of each row; from one to the next */
};

struct stages;

/* Local.  Errors: memory. */
enum cohort_code stages_create(struct stages **s, struct comm *c, const char *what,
                               struct cohort_error *err);
void stages_destroy(struct stages **s);

/* The next stage begins when all of the one before is over.  What follows belongs to it. */
void stages_next(struct stages *s);
/* A message of the current stage, in pieces of at most COMM_PIECE_BYTES; both sides have areas of
 * as many rows of as many bytes.  Nothing where the area is empty. */
enum cohort_code stages_send(struct stages *s, int to, struct area from, struct cohort_error *err);
enum cohort_code stages_receive(struct stages *s, int from, struct area to,
                                struct cohort_error *err);
/* When the current stage's messages are over, in this order: to = from, to += from (float32). */
enum cohort_code stages_copy(struct stages *s, struct area to, struct area from,
                             struct cohort_error *err);
enum cohort_code stages_add(struct stages *s, struct area to, struct area from,
                            struct cohort_error *err);
/* Memory that lives as long as the transfer; NULL: none. */
void *stages_memory(struct stages *s, size_t bytes);

/* Collective; `code` is this rank's own until now.  Makes the messages; then *s is the transfer's.
 */
enum cohort_code stages_finish(struct stages **s, enum cohort_code code, struct comm_transfer **t,
                               struct cohort_error *err);

#endif
