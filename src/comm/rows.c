/* Row transfers: prepared once, run for every image.
 *
 * A row is one element of a contiguous datatype, so counts and displacements are in rows (they fit
 * an int where bytes do not) and nothing is packed.  Scatter ranges overlap by their halos; the MPI
 * standard does not promise that Scatterv may read a row twice, Open MPI does it, and tests look.
 *
 * Ordered scatter: an exchange (exchange.c).  Iscatterv shares the root's link among all messages,
 * so everybody gets his rows at the end; that way the first board starts at 1/n. */
#include "comm/comm_internal.h"

#include "base/mem.h"

#include <limits.h>
#include <string.h>

enum kind { SCATTERV, GATHER };

struct row_transfer {
    struct comm_transfer base;
    enum kind kind;
    MPI_Datatype row;
    unsigned char *root_data, *mine;
    size_t row_bytes;
    MPI_Request request;
    int request_count; /* 0: alone */
    int *begin, *rows; /* of each rank */
};

/* ---- checks ---------------------------------------------------------------------------------- */

static enum cohort_code check_ranges(const struct comm *c, enum kind kind, size_t row_bytes,
                                     const struct comm_ranges *r, struct cohort_error *err) {
    if (row_bytes == 0 || row_bytes > INT_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a row of %zu bytes: 1 to %d can be sent",
                         row_bytes, INT_MAX);
    for (int i = 0; i < c->size; i++) {
        if (r->begin[i] < 0 || r->end[i] < r->begin[i])
            return error_set(err, COHORT_ERR_INTERNAL, "rank %d: rows [%lld, %lld) are no range", i,
                             (long long)r->begin[i], (long long)r->end[i]);
        if (r->end[i] > INT_MAX)
            return error_set(err, COHORT_ERR_UNSUPPORTED, "rank %d: row %lld: MPI counts to %d", i,
                             (long long)r->end[i], INT_MAX);
        for (int j = 0; kind == GATHER && j < i; j++) {
            if (r->begin[i] < r->end[j] && r->begin[j] < r->end[i] && r->begin[i] < r->end[i] &&
                r->begin[j] < r->end[j])
                return error_set(
                    err, COHORT_ERR_INTERNAL, "ranks %d and %d both give row %lld", j, i,
                    (long long)(r->begin[i] > r->begin[j] ? r->begin[i] : r->begin[j]));
        }
    }
    return COHORT_OK;
}

static enum cohort_code check_memory(const struct comm *c, const struct comm_ranges *r,
                                     const void *root_data, const void *mine,
                                     struct cohort_error *err) {
    bool any = false;
    for (int i = 0; i < c->size; i++)
        any |= r->end[i] > r->begin[i];
    if (c->rank == 0 && any && root_data == NULL)
        return error_set(err, COHORT_ERR_INTERNAL, "a transfer without the root's map");
    if (c->rank != 0 && r->end[c->rank] > r->begin[c->rank] && mine == NULL)
        return error_set(err, COHORT_ERR_INTERNAL, "a transfer without memory for rank %d's rows",
                         c->rank);
    return COHORT_OK;
}

static enum cohort_code check(const struct comm *c, enum kind kind, size_t row_bytes,
                              const struct comm_ranges *r, const void *root_data, const void *mine,
                              struct cohort_error *err) {
    enum cohort_code code = check_ranges(c, kind, row_bytes, r, err);
    return code != COHORT_OK ? code : check_memory(c, r, root_data, mine, err);
}

/* ---- progress -------------------------------------------------------------------------------- */

static enum cohort_code progress(void *context, bool *done, bool *moved, struct cohort_error *err) {
    struct row_transfer *t = context;
    *moved = false;
    if (!t->base.done && t->request_count > 0) {
        enum cohort_code code = comm_test(t->base.c, &t->request, &t->base.done, err);
        if (code != COHORT_OK)
            return code;
    }
    *done = t->base.done;
    return COHORT_OK;
}

static int waits_for(const void *context) {
    const struct row_transfer *t = context;
    return t->kind == SCATTERV && t->base.c->rank != 0 ? 0 : -1;
}

/* ---- running --------------------------------------------------------------------------------- */

static unsigned char *root_rows(const struct row_transfer *t, int rank) {
    return t->root_data == NULL ? NULL : t->root_data + (size_t)t->begin[rank] * t->row_bytes;
}

/* What the root keeps, where it does not stay in place. */
static void copy_own_rows(const struct row_transfer *t) {
    if (t->mine == NULL || t->rows[0] == 0)
        return;
    unsigned char *in_map = root_rows(t, 0);
    size_t bytes = (size_t)t->rows[0] * t->row_bytes;
    if (t->kind == GATHER)
        memcpy(in_map, t->mine, bytes);
    else
        memcpy(t->mine, in_map, bytes);
}

static enum cohort_code begin_scatterv(struct row_transfer *t, struct cohort_error *err) {
    struct comm *c = t->base.c;
    static unsigned char nowhere; /* never written: for ranks without rows */
    void *mine = c->rank == 0 ? MPI_IN_PLACE : t->mine == NULL ? &nowhere : t->mine;
    return COMM_MPI(c, MPI_Iscatterv, t->root_data, t->rows, t->begin, t->row, mine,
                    t->rows[c->rank], t->row, 0, c->comm, &t->request);
}

static enum cohort_code begin_gatherv(struct row_transfer *t, struct cohort_error *err) {
    struct comm *c = t->base.c;
    static unsigned char nowhere;
    const void *mine = c->rank == 0 ? MPI_IN_PLACE : t->mine == NULL ? &nowhere : t->mine;
    return COMM_MPI(c, MPI_Igatherv, mine, t->rows[c->rank], t->row, t->root_data, t->rows,
                    t->begin, t->row, 0, c->comm, &t->request);
}

static enum cohort_code start(struct comm_transfer *base, struct cohort_error *err) {
    struct row_transfer *t = (struct row_transfer *)base;
    struct comm *c = base->c;
    if (c->rank == 0)
        copy_own_rows(t);
    base->done = t->request_count == 0;
    if (base->done)
        return COHORT_OK;
    return (t->kind == SCATTERV ? begin_scatterv : begin_gatherv)(t, err);
}

static void release(struct comm_transfer *base) {
    struct row_transfer *t = (struct row_transfer *)base;
    if (t->row != MPI_DATATYPE_NULL)
        MPI_Type_free(&t->row);
}

/* ---- creating -------------------------------------------------------------------------------- */

/* Bytes of messages: what the root keeps is no message. */
static size_t count_bytes(const struct row_transfer *t) {
    size_t rows = 0;
    if (t->base.c->rank != 0)
        return (size_t)t->rows[t->base.c->rank] * t->row_bytes;
    for (int r = 1; r < t->base.c->size; r++)
        rows += (size_t)t->rows[r];
    return rows * t->row_bytes;
}

static struct row_transfer *new_transfer(struct comm *c) {
    size_t n = (size_t)c->size;
    struct row_transfer *t = mem_zalloc(1, sizeof *t + n * 2 * sizeof(int));
    if (t == NULL)
        return NULL;
    t->base = (struct comm_transfer){.c = c, .start = start, .release = release};
    t->row = MPI_DATATYPE_NULL;
    t->request = MPI_REQUEST_NULL;
    t->begin = (int *)(t + 1);
    t->rows = t->begin + n;
    return t;
}

static enum cohort_code make_requests(struct row_transfer *t, struct cohort_error *err) {
    struct comm *c = t->base.c;
    enum cohort_code code = COHORT_OK;
    if (c->alone)
        return code;
    TRY(COMM_MPI(c, MPI_Type_contiguous, (int)t->row_bytes, MPI_BYTE, &t->row));
    TRY(COMM_MPI(c, MPI_Type_commit, &t->row));
    t->request_count = 1;
out:
    return code;
}

static void describe_work(struct row_transfer *t) {
    t->base.work =
        (struct comm_work){.what = t->kind == GATHER ? "gather of rows" : "scatter of rows",
                           .progress = progress,
                           .waits_for = waits_for,
                           .context = t,
                           .requests = &t->request,
                           .request_count = t->request_count,
                           .bytes = t->base.bytes};
}

static enum cohort_code create(struct comm_transfer **out, struct comm *c, enum kind kind,
                               size_t row_bytes, const struct comm_ranges *ranges, void *root_data,
                               void *mine, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct row_transfer *t = NULL;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    code = check(c, kind, row_bytes, ranges, root_data, mine, err);
    if (code == COHORT_OK && (t = new_transfer(c)) == NULL)
        code = error_memory(err, sizeof *t, "a transfer");
    TRY(comm_agree(c, code, err));
    t->kind = kind;
    t->row_bytes = row_bytes;
    t->root_data = c->rank == 0 ? root_data : NULL;
    t->mine = mine;
    comm_take_tag(&t->base);
    for (int r = 0; r < c->size; r++) {
        t->begin[r] = (int)ranges->begin[r];
        t->rows[r] = (int)(ranges->end[r] - ranges->begin[r]);
    }
    if (c->rank == 0 && t->mine == root_rows(t, 0))
        t->mine = NULL;
    t->base.bytes = count_bytes(t);
    TRY(make_requests(t, err));
    describe_work(t);
    *out = &t->base;
    t = NULL;
out:
    if (t != NULL) {
        struct comm_transfer *half = &t->base;
        comm_transfer_destroy(&half);
    }
    return code;
}

static enum cohort_code create_ordered(struct comm_transfer **t, struct comm *c, enum kind kind,
                                       size_t row_bytes, const struct comm_ranges *ranges,
                                       void *root_data, void *mine, struct cohort_error *err) {
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    enum cohort_code code =
        comm_agree(c, check(c, kind, row_bytes, ranges, root_data, mine, err), err);
    if (code == COHORT_OK)
        code = comm_ordered_create(t, c, kind == SCATTERV, row_bytes, ranges, root_data, mine, err);
    return code;
}

enum cohort_code comm_scatter_create(struct comm_transfer **t, struct comm *c,
                                     enum comm_scatter how, size_t row_bytes,
                                     const struct comm_ranges *ranges, void *root_data, void *mine,
                                     struct cohort_error *err) {
    if (how == COMM_SCATTERV && !(c->connect_s > 0))
        return create(t, c, SCATTERV, row_bytes, ranges, root_data, mine, err);
    return create_ordered(t, c, SCATTERV, row_bytes, ranges, root_data, mine, err);
}

enum cohort_code comm_gather_create(struct comm_transfer **t, struct comm *c, size_t row_bytes,
                                    const struct comm_ranges *ranges, void *root_data, void *mine,
                                    struct cohort_error *err) {
    if (!(c->connect_s > 0))
        return create(t, c, GATHER, row_bytes, ranges, root_data, mine, err);
    return create_ordered(t, c, GATHER, row_bytes, ranges, root_data, mine, err);
}
