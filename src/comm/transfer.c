/* Transfers of any kind: begin, end, destroy; rows.c and exchange.c make them. */
#include "comm/comm_internal.h"

#include "base/mem.h"

void comm_take_tag(struct comm_transfer *t) {
    t->tag = t->group = t->c->next_tag++;
}

void comm_transfer_together(struct comm_transfer *t, const struct comm_transfer *with) {
    t->group = with->group;
}

enum cohort_code comm_transfer_begin(struct comm_transfer *t, struct cohort_error *err) {
    struct comm *c = t->c;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    BUG_UNLESS(!t->begun);
    t->runs++;
    enum cohort_code code = t->start(t, err);
    if (code != COHORT_OK)
        return code;
    t->begun = true;
    if (!t->done)
        comm_link(c, &t->work);
    return COHORT_OK;
}

enum cohort_code comm_transfer_end(struct comm_transfer *t, struct cohort_error *err) {
    struct comm *c = t->c;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    BUG_UNLESS(t->begun);
    t->begun = false;
    if (t->done) {
        comm_unlink(c, &t->work);
        return COHORT_OK;
    }
    return comm_wait(c, &t->work, c->timeout_s, err);
}

void comm_transfer_destroy(struct comm_transfer **transfer) {
    struct comm_transfer *t = *transfer;
    if (t == NULL)
        return;
    comm_unlink(t->c, &t->work);
    t->release(t);
    mem_free(t);
    *transfer = NULL;
}

size_t comm_transfer_bytes(const struct comm_transfer *t) {
    return t->bytes;
}

size_t comm_transfer_memory(const struct comm_transfer *t) {
    return t->memory;
}
