/* What rank 0's profile tells the others: how fast links are, for the order of messages, and what
 * operators take on the boards that dilated ones stand for.
 *
 * Curves are measured on dilated boards, so their times are those of the boards stood for; nothing
 * is divided by the share again.  The pieces of an operator that a plan takes apart (edges first)
 * take together what the curve says of all their rows (parts by channels: equal shares of it): a
 * piece finds the weights in the cache that
 * the one before left there, and operators whose weights are larger are not taken apart (phases.h).
 * Parts of operators by channels take what the cost model says (planner/channel_cost.h). */
#include "planner/channel_cost.h"
#include "profile/cache.h"
#include "runtime/session.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* A link's speed is its messages' time over their bytes, between these two lengths. */
#define SHORT_BYTES ((double)COMM_PIECE_BYTES)
#define LONG_BYTES  (4.0 * COMM_PIECE_BYTES)

static bool any_dilated(const struct profile *p) {
    for (int t = 0; t < p->type_count; t++)
        if (p->types[t].cpu_share < 1)
            return true;
    return false;
}

static double link_bytes_per_s(const struct profile *p, int from, int to) {
    double ms =
        profile_link_ms(p, from, to, LONG_BYTES) - profile_link_ms(p, from, to, SHORT_BYTES);
    return ms > 0 ? 1e3 * (LONG_BYTES - SHORT_BYTES) / ms : 0;
}

/* Rank 0: the profile as text, or "" where no board needs it; then all links' bytes a second, which
 * it knows only of the boards that were profiled. */
static enum cohort_code write_profile(const struct cohort_session *s, struct buf *b,
                                      struct cohort_error *err) {
    const struct profile *p = s->options.profile != NULL ? s->options.profile->profile : NULL;
    const bool known = p != NULL && p->board_count == s->size;
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    if (p != NULL && any_dilated(p)) {
        TRY(profile_check(p, s->graph, err));
        if (!known)
            TRY(error_set(err, COHORT_ERR_PLAN, "the profile is of %d boards, but there are %d",
                          p->board_count, s->size));
        TRY(profile_print(p, &text, err));
    }
    buf_string(b, text);
    for (int from = 0; from < s->size; from++)
        for (int to = 0; to < s->size; to++)
            buf_f32(b, known && from != to ? (float)link_bytes_per_s(p, from, to) : 0);
    if (b->failed)
        code = error_memory(err, b->size, "the profile");
out:
    mem_free(text);
    return code;
}

static void read_links(struct cohort_session *s, struct reader *in) {
    for (int from = 0; from < s->size; from++)
        for (int to = 0; to < s->size; to++) {
            const double bytes_per_s = (double)read_f32(in);
            if (from == s->rank && s->comm != NULL)
                comm_pace(s->comm, to, bytes_per_s);
        }
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
    read_links(s, &in);
    if (text == NULL || in.failed)
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

/* What the next piece of a node takes, when pieces of `done` rows came before it. */
static double piece_ms(const struct cohort_session *s, int op, int64_t done, int64_t rows) {
    const struct profile *p = s->times;
    const int node = exec_op_node(s->program, op);
    double (*ms)(const struct profile *, int, int, int64_t) =
        goes_on(s->program, op) ? profile_chained_ms : profile_node_ms;
    return fmax(0, ms(p, s->rank, node, done + rows) - ms(p, s->rank, node, done));
}

/* What a part of an operator that was divided by channels takes, or what follows a sum; below 0: by
 * its CPU time. */
static double part_ms(const struct cohort_session *s, int op, double start_ms) {
    const struct graph *all = shard_graph(s->shard);
    const struct node *n = &all->nodes[exec_op_node(s->program, op)], *whole = n->whole;
    const struct value *made = node_out(all, n, 0);
    const double made_bytes = (double)value_rows(made) * (double)value_geometry(made).row_bytes;
    if (whole == NULL)
        return shard_finishes(s->shard, n)
                   ? channel_pass_ms(s->times, s->rank,
                                     channel_finish_pass(made_bytes, n->epilogue.residual >= 0))
                   : -1;
    const int64_t out = shard_channels(all, n->out[0]), outs = shard_channels(all, whole->out[0]);
    const int64_t in = shard_channels(all, n->in[0]), ins = shard_channels(all, whole->in[0]);
    const struct value *read = node_in(all, n, 0);
    double share = (double)out / (double)outs, bytes = 0;
    if (out == outs) { /* in-channel, or all there is */
        share = (double)in / (double)ins;
        bytes = made_bytes;
    } else if (in == ins) {
        bytes = (double)value_rows(read) * (double)value_geometry(read).row_bytes;
    }
    const int node = (int)(whole - s->graph->nodes);
    if (s->times->types[s->times->boards[s->rank].type].curve_of[node] < 0)
        return -1;
    const double ms = (goes_on(s->program, op) ? profile_chained_ms : profile_node_ms)(
        s->times, s->rank, node, value_rows(graph_value(all, whole->out[0])));
    return channel_part_ms(s->times, s->rank, start_ms, ms, share, bytes);
}

enum cohort_code session_take_times(struct cohort_session *s, struct cohort_error *err) {
    const struct profile *p = s->times;
    if (p == NULL)
        return COHORT_OK;
    const struct profile_board *b = &p->boards[s->rank];
    const struct profile_type *t = &p->types[b->type];
    int64_t *done = mem_zalloc((size_t)s->graph->node_count + 1, sizeof *done); /* of each node */
    if (done == NULL)
        return error_memory(err, (size_t)s->graph->node_count * sizeof *done, "a plan's times");
    for (int i = 0; i < exec_op_count(s->program); i++) {
        const int node = exec_op_node(s->program, i);
        const int64_t rows = rows_count(exec_op_rows(s->program, i));
        int part;
        const int parts = exec_op_parts(s->program, i, &part);
        if (node >= s->graph->node_count) {
            const double ms = part_ms(s, i, channel_start_ms(p, b->type));
            if (ms >= 0)
                exec_op_takes(s->program, i, ms);
            continue;
        }
        /* What took no time there may take some here, and what has no rows, or none that are known,
         * is not on any curve: by their CPU time. */
        if (t->curve_of[node] >= 0 && rows > 0)
            exec_op_takes(s->program, i, piece_ms(s, i, done[node], rows) / parts);
        done[node] += part + 1 == parts ? rows : 0;
    }
    exec_wire_takes(s->program, t->encode_ms_per_mb * b->scale, t->decode_ms_per_mb * b->scale);
    mem_free(done);
    return COHORT_OK;
}
