/* Which slots share memory: the operands of a channel Concat are made where it wants them, and the
 * parts of a channel Split are read where they lie.
 *
 * A buffer is one piece of the arena: rows of a feature map with all channels that anybody put
 * beside each other.  Most slots have a buffer of their own; the slots of one Concat, or of a chain
 * of them as in DenseNet, have channel ranges of one. */
#ifndef COHORT_EXEC_SHARE_H
#define COHORT_EXEC_SHARE_H

#include "exec/exec.h"

struct buffer {
    struct rows rows; /* the hull of its slots' */
    int first, last;  /* likewise */
    bool pinned;
    size_t row_bytes;     /* from one row to the next */
    size_t bytes, offset; /* in the arena */
};

/* Makes p->buffers (one place per slot; a group of slots uses one of theirs), sets every slot's
 * buffer and block, and marks the operators that have nothing left to do.  All slots and operators
 * are declared; no memory is assigned.  Errors: memory, those of split_params() and slice_params().
 */
enum cohort_code share_slots(struct program *p, struct cohort_error *err);

/* Does slot `part` lie at channel `channel` of slot `whole`, in the same memory? */
bool share_in_place(const struct program *p, int part, int whole, int64_t channel);

#endif
