/* Inside src/runtime: how weights come to a board.
 *
 * What travels, and is cached, is a *part*: all of a constant of the network, or the slice of one
 * that a board needs where a layer is divided by channels.  weight_parts.c lists them, the same on
 * every rank; weight_cache.c keeps them in files; weights.c brings them in, each packed and dropped
 * before the next, so that a board never holds much that is not packed. */
#ifndef COHORT_RUNTIME_WEIGHTS_H
#define COHORT_RUNTIME_WEIGHTS_H

#include "runtime/session.h"

struct weight_part {
    int source; /* a constant of the network, whose contents have a hash */
    int axis;   /* elements [begin, end) of every `period` along it; -1: all of it */
    int64_t period, begin, end;
    int order;             /* parts of equal order are of one constant */
    struct comm_blob blob; /* its bytes in order; data: where the network's constant has data */
    int id;                /* the constant of this rank's program that it is; -1: not wanted */
};

/* A stretch of a part, so that boards which need different slices get them by turns. */
struct weight_stretch {
    int part;
    size_t at;
};

struct weight_parts {
    struct weight_part *list;
    int count;
    struct weight_stretch *stretches;
    struct comm_blob *blobs; /* one for each stretch */
    int stretch_count;
};

/* Local, the same list on every rank, in the order in which operators need them; ids are what this
 * rank's program needs (none on a rank that packs from the network itself).  Errors: memory. */
enum cohort_code weight_parts_list(struct weight_parts *p, struct cohort_session *s,
                                   struct cohort_error *err);
void weight_parts_release(struct weight_parts *p);
/* Where the slice of a constant lies in it (p's axis and range); data is NULL where that has none.
 */
struct comm_blob weight_blob(const struct tensor *source, const struct weight_part *p);
static inline struct weight_part weight_part_of(const struct shard_part *x) {
    return (struct weight_part){.source = x->source,
                                .axis = x->axis,
                                .period = x->period,
                                .begin = x->begin,
                                .end = x->end};
}

/* The program's constant `id`, to be given contents. */
struct tensor *session_constant(struct cohort_session *s, int id);

/* ---- the cache (weight_cache.c), all local --------------------------------------------------- */

bool weight_cache_used(const struct cohort_session *s);
/* Makes the folder, or says why there is none. */
void weight_cache_open(struct cohort_session *s);
/* Finds a part: then the constant borrows from a mapped file that the session keeps.  Where the
 * file of all of a constant is there, its slices come from that.  Errors: memory. */
enum cohort_code weight_cache_find(struct cohort_session *s, const struct weight_part *p,
                                   struct cohort_error *err);
/* Begins to write a part's bytes; false, and said once a session: it cannot be kept. */
bool weight_cache_begin(struct file_writer *w, struct cohort_session *s,
                        const struct weight_part *p);
/* All of it is written: the constant borrows from the file, even where that cannot get its name.
 * Errors: io, memory. */
enum cohort_code weight_cache_end(struct file_writer *w, struct cohort_session *s,
                                  const struct weight_part *p, struct cohort_error *err);
void weight_cache_warn(struct cohort_session *s, const struct cohort_error *why);
/* Removes the files used longest ago until the rest fits the limit.  Best effort. */
void weight_cache_trim(const struct cohort_session *s);
/* Lets go of the mapped file that constant `id` borrows from, if it does. */
void weight_cache_unmap(struct cohort_session *s, int id);
/* The same for all constants of a shard that ends. */
void weight_cache_forget(struct cohort_session *s, const struct shard *shard);

#endif
