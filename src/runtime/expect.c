/* What operators take on the boards that dilated ones stand for: from rank 0's profile.
 *
 * Curves are measured on dilated boards, so their times are those of the boards stood for; nothing
 * is divided by the share again.  An operator that a plan takes apart (edges first) takes what the
 * curve says of each piece's rows, as it would on a real board. */
#include "profile/cache.h"
#include "runtime/session.h"

#include "base/mem.h"

#include <string.h>

static bool any_dilated(const struct profile *p) {
    for (int t = 0; t < p->type_count; t++)
        if (p->types[t].cpu_share < 1)
            return true;
    return false;
}

/* Rank 0: the profile as text, or "" where no board needs it. */
static enum cohort_code write_profile(const struct cohort_session *s, struct buf *b,
                                      struct cohort_error *err) {
    const struct profile *p = s->options.profile != NULL ? s->options.profile->profile : NULL;
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    if (p != NULL && any_dilated(p)) {
        TRY(profile_check(p, s->graph, err));
        if (p->board_count != s->size)
            TRY(error_set(err, COHORT_ERR_PLAN, "the profile is of %d boards, but there are %d",
                          p->board_count, s->size));
        TRY(profile_print(p, &text, err));
    }
    buf_string(b, text);
    if (b->failed)
        code = error_memory(err, b->size, "the profile");
out:
    mem_free(text);
    return code;
}

/* Is it computed in strips together with the next one? */
static bool goes_on(const struct program *p, int op) {
    int64_t strip;
    int count, first = exec_op_chain(p, op, &count, &strip);
    return op < first + count - 1;
}

static enum cohort_code read_profile(struct cohort_session *s, const struct buf *b,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char why[PROFILE_WHY_BYTES];
    struct profile *p = NULL;
    struct profile_facts facts;
    struct reader in = reader_of(b->data, b->size);
    char *text = read_string(&in);
    if (text == NULL)
        TRY(in.failed ? error_set(err, COHORT_ERR_INTERNAL, "the profile did not arrive whole")
                      : error_memory(err, b->size, "the profile"));
    if (text[0] == '\0' || pool_share(s->pool) == 1)
        goto out;
    TRY(profile_parse(&p, text, strlen(text), "the profile", err));
    TRY(profile_check(p, s->graph, err));
    TRY(session_facts(s, &facts, err));
    if (!profile_type_fits(&p->types[p->boards[s->rank].type], &facts, why))
        TRY(error_set(err, COHORT_ERR_PLAN, "the profile is of another board: %s", why));
    s->times = p;
    p = NULL;
out:
    profile_destroy(&p);
    mem_free(text);
    return code;
}

enum cohort_code session_share_times(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf b = {0};
    if (s->rank == 0)
        code = write_profile(s, &b, err);
    TRY(session_agree(s, code, err));
    if (s->comm != NULL)
        TRY(comm_broadcast(s->comm, &b, err));
    TRY(session_agree(s, read_profile(s, &b, err), err));
out:
    buf_release(&b);
    return code;
}

void session_take_times(struct cohort_session *s) {
    const struct profile *p = s->times;
    if (p == NULL)
        return;
    const struct profile_board *b = &p->boards[s->rank];
    const struct profile_type *t = &p->types[b->type];
    for (int i = 0; i < exec_op_count(s->program); i++) {
        const int node = exec_op_node(s->program, i);
        const int64_t rows = rows_count(exec_op_rows(s->program, i));
        if (node >= s->graph->node_count) /* a part of an operator, which nobody measured */
            continue;
        /* What took no time there may take some here, and what has no rows, or none that are known,
         * is not on any curve: by their CPU time. */
        if (t->curve_of[node] >= 0 && rows > 0)
            exec_op_takes(s->program, i,
                          goes_on(s->program, i) ? profile_chained_ms(p, s->rank, node, rows)
                                                 : profile_node_ms(p, s->rank, node, rows));
    }
    exec_wire_takes(s->program, t->encode_ms_per_mb * b->scale, t->decode_ms_per_mb * b->scale);
}
