/* From layouts to stages of messages; see layouts.h.
 *
 * An all-reduce is a reduce-scatter of even shares and an all-gather of the sums: a rank sends and
 * receives about twice the map, whatever their number.  Shares are pieces of the memory, not of the
 * map: a fully connected layer's output is one row. */
#include "comm/layouts.h"

#include "base/mem.h"
#include "comm/stages.h"

#include <limits.h>
#include <string.h>

/* Memory of one part, or of a whole map. */
struct place {
    char *data;
    struct comm_part part; /* what lies there */
};

static bool is_empty(const struct comm_part *p) {
    return p->y0 >= p->y1 || p->b0 >= p->b1;
}

static struct comm_part whole_of(const struct comm_map *m) {
    return (struct comm_part){.y1 = m->rows, .b1 = m->row_bytes};
}

static bool is_whole(const struct comm_part *p, const struct comm_map *m) {
    return p->y0 == 0 && p->y1 == m->rows && p->b0 == 0 && p->b1 == m->row_bytes;
}

static struct comm_part common(const struct comm_part *a, const struct comm_part *b) {
    struct comm_part p = {a->y0 > b->y0 ? a->y0 : b->y0, a->y1 < b->y1 ? a->y1 : b->y1,
                          a->b0 > b->b0 ? a->b0 : b->b0, a->b1 < b->b1 ? a->b1 : b->b1};
    return is_empty(&p) ? (struct comm_part){0} : p;
}

static size_t part_bytes(const struct comm_part *p) {
    return is_empty(p) ? 0 : (size_t)(p->y1 - p->y0) * (p->b1 - p->b0);
}

/* Part `p` of what lies at a place. */
static struct area area_of(const struct place *at, const struct comm_part *p) {
    const size_t pitch = at->part.b1 - at->part.b0;
    if (is_empty(p))
        return (struct area){0};
    return (struct area){.data = at->data + (size_t)(p->y0 - at->part.y0) * pitch +
                                 (p->b0 - at->part.b0),
                         .rows = p->y1 - p->y0,
                         .bytes = p->b1 - p->b0,
                         .pitch = pitch};
}

/* ---- checks ---------------------------------------------------------------------------------- */

static enum cohort_code check_part(const struct comm_map *m, const struct comm_part *p, int rank,
                                   struct cohort_error *err) {
    if (!is_empty(p) && (p->y0 < 0 || p->y1 > m->rows || p->b1 > m->row_bytes))
        return error_set(err, COHORT_ERR_INTERNAL, "rank %d's part is none of the map", rank);
    return COHORT_OK;
}

static enum cohort_code check_parts(const struct comm *c, const struct comm_map *m,
                                    const struct comm_part *parts, bool disjoint,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (m->rows < 1 || m->row_bytes < 1 || m->rows > INT_MAX || m->row_bytes > INT_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a map of %lld rows of %zu bytes",
                         (long long)m->rows, m->row_bytes);
    for (int r = 0; r < c->size && code == COHORT_OK; r++) {
        code = check_part(m, &parts[r], r, err);
        for (int k = 0; k < r && disjoint && code == COHORT_OK; k++) {
            struct comm_part both = common(&parts[r], &parts[k]);
            if (!is_empty(&both))
                code =
                    error_set(err, COHORT_ERR_INTERNAL, "ranks %d and %d have the same rows", k, r);
        }
    }
    return code;
}

static enum cohort_code check_had(const struct comm *c, const struct comm_part *has,
                                  const struct comm_part *wants, struct cohort_error *err) {
    for (int r = 0; r < c->size; r++) {
        size_t had = 0;
        for (int k = 0; k < c->size; k++) {
            struct comm_part both = common(&has[k], &wants[r]);
            had += part_bytes(&both);
        }
        if (had != part_bytes(&wants[r]))
            return error_set(err, COHORT_ERR_INTERNAL, "nobody has all that rank %d wants", r);
    }
    return COHORT_OK;
}

/* Memory for what this rank has or gets. */
static enum cohort_code check_memory(const struct comm *c, const struct comm_part *p,
                                     const void *memory, struct cohort_error *err) {
    if (is_empty(p) || memory != NULL)
        return COHORT_OK;
    return error_set(err, COHORT_ERR_INTERNAL, "a transfer without memory for rank %d's part",
                     c->rank);
}

static bool all_want_whole(const struct comm *c, const struct comm_map *m,
                           const struct comm_part *wants) {
    for (int r = 0; r < c->size; r++)
        if (!is_whole(&wants[r], m))
            return false;
    return true;
}

/* ---- halving and doubling -------------------------------------------------------------------- */

/* The stage with distance d moves the parts of so many ranks: it doubles what a rank has, but there
 * are only n. */
static int parts_moved(int n, int d) {
    return d < n - d ? d : n - d;
}

/* Of an all-gather the last stage's distance, of a sum the first's; 0 for one rank. */
static int longest_distance(int n) {
    int d = 1;
    while (2 * d < n)
        d *= 2;
    return n > 1 ? d : 0;
}

/* Does q go on where p ends, in the same rows? */
static bool continues(const struct comm_part *p, const struct comm_part *q) {
    return p->y0 == q->y0 && p->y1 == q->y1 && p->b1 == q->b0;
}

/* Sends, or receives, `count` parts from number `first` on, round the ranks, which lie at a place;
 * of parts that follow one another there one message is made.  some: those that there are; NULL:
 * all. */
static enum cohort_code move_parts(struct stages *s, bool send, int peer, const struct place *at,
                                   const struct comm_part *parts, const bool *some, int n,
                                   int first, int count, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < count;) {
        struct comm_part run = {0};
        for (; i < count; i++) {
            const int k = (first + i) % n;
            if (is_empty(&parts[k]) || (some != NULL && !some[k]))
                continue;
            if (!is_empty(&run) && !continues(&run, &parts[k]))
                break;
            run = is_empty(&run) ? parts[k] : run;
            run.b1 = parts[k].b1;
        }
        TRY((send ? stages_send : stages_receive)(s, peer, area_of(at, &run), err));
    }
out:
    return code;
}

/* ---- spreading ------------------------------------------------------------------------------- */

/* In one stage, every part of what is wanted straight from who has it. */
static enum cohort_code spread_linear(struct stages *s, const struct comm *c,
                                      const struct comm_part *has, const struct comm_part *wants,
                                      const struct place *mine, const struct place *result,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    stages_next(s);
    for (int k = 1; k < c->size; k++) { /* not all to the same rank first */
        const int to = (c->rank + k) % c->size, from = (c->rank + c->size - k) % c->size;
        struct comm_part out = common(&has[c->rank], &wants[to]);
        struct comm_part in = common(&has[from], &wants[c->rank]);
        TRY(stages_receive(s, from, area_of(result, &in), err));
        TRY(stages_send(s, to, area_of(mine, &out), err));
    }
    struct comm_part own = common(&has[c->rank], &wants[c->rank]);
    code = stages_copy(s, area_of(result, &own), area_of(mine, &own), err);
out:
    return code;
}

/* Round the ring: in each step a rank passes on what came in the one before. */
static enum cohort_code gather_ring(struct stages *s, const struct comm *c,
                                    const struct comm_part *has, const struct place *mine,
                                    const struct place *result, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int n = c->size, right = (c->rank + 1) % n, left = (c->rank + n - 1) % n;
    stages_next(s);
    TRY(stages_copy(s, area_of(result, &has[c->rank]), area_of(mine, &has[c->rank]), err));
    for (int k = 0; k < n - 1; k++) {
        if (k > 0)
            stages_next(s);
        const struct comm_part *out = &has[(c->rank + n - k) % n];
        TRY(stages_receive(s, left, area_of(result, &has[(c->rank + 2 * n - k - 1) % n]), err));
        TRY(stages_send(s, right, area_of(k == 0 ? mine : result, out), err));
    }
out:
    return code;
}

/* In the stage with distance d a rank has the parts of the d ranks from its own on, and sends them
 * to the rank d before it. */
static enum cohort_code gather_doubling(struct stages *s, const struct comm *c,
                                        const struct comm_part *has, const struct place *mine,
                                        const struct place *result, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int n = c->size, me = c->rank;
    stages_next(s);
    TRY(stages_copy(s, area_of(result, &has[me]), area_of(mine, &has[me]), err));
    for (int d = 1; d < n; d *= 2) {
        const int from = (me + d) % n, to = (me + n - d) % n, count = parts_moved(n, d);
        if (d > 1)
            stages_next(s);
        TRY(move_parts(s, false, from, result, has, NULL, n, from, count, err));
        TRY(move_parts(s, true, to, d == 1 ? mine : result, has, NULL, n, me, count, err));
    }
out:
    return code;
}

enum cohort_code comm_spread_create(struct comm_transfer **t, struct comm *c, enum comm_route route,
                                    const struct comm_map *map, const struct comm_part *has,
                                    const struct comm_part *wants, const void *mine, void *result,
                                    struct cohort_error *err) {
    struct stages *s = NULL;
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    const struct place from = {(char *)(uintptr_t)mine, has[c->rank]};
    const struct place to = {result, wants[c->rank]};
    enum cohort_code code = check_parts(c, map, has, true, err);
    if (code == COHORT_OK)
        code = check_parts(c, map, wants, false, err);
    if (code == COHORT_OK)
        code = check_had(c, has, wants, err);
    if (code == COHORT_OK)
        code = check_memory(c, &from.part, mine, err);
    if (code == COHORT_OK)
        code = check_memory(c, &to.part, result, err);
    if (code == COHORT_OK)
        code = stages_create(&s, c, "spreading a map", err);
    if (s != NULL && route == COMM_RING && all_want_whole(c, map, wants))
        code = gather_ring(s, c, has, &from, &to, err);
    else if (s != NULL && route == COMM_HALVING && all_want_whole(c, map, wants))
        code = gather_doubling(s, c, has, &from, &to, err);
    else if (s != NULL)
        code = spread_linear(s, c, has, wants, &from, &to, err);
    code = s != NULL ? stages_finish(&s, code, t, err) : comm_agree(c, code, err);
    stages_destroy(&s);
    return code;
}

/* ---- reducing -------------------------------------------------------------------------------- */

/* What a reduction is made of: each rank's part of the sum, its own addend, and where sums go. */
struct reduction {
    struct stages *s;
    const struct comm *c;
    const bool *gives;
    const struct comm_part *parts;
    struct place mine, sum; /* the whole addend; parts[rank] of the sum */
};

static struct place scratch(struct stages *s, const struct comm_part *p) {
    return (struct place){.data = stages_memory(s, part_bytes(p)), .part = *p};
}

static enum cohort_code no_memory(const struct comm_part *p, struct cohort_error *err) {
    return error_memory(err, part_bytes(p), "addends of other boards");
}

/* Everybody sends everybody his part; who gets them adds in the order of ranks. */
static enum cohort_code reduce_linear(const struct reduction *r, struct cohort_error *err) {
    const struct comm *c = r->c;
    const struct comm_part *own = &r->parts[c->rank];
    const struct area sum = area_of(&r->sum, own);
    enum cohort_code code = COHORT_OK;
    struct place total = {0};
    stages_next(r->s);
    for (int k = 1; k < c->size && r->gives[c->rank]; k++) {
        const int to = (c->rank + k) % c->size;
        TRY(stages_send(r->s, to, area_of(&r->mine, &r->parts[to]), err));
    }
    for (int from = 0; from < c->size && !is_empty(own); from++) {
        struct place addend = r->mine;
        if (!r->gives[from])
            continue;
        if (from != c->rank || total.data == NULL) { /* own memory may be that of the sum */
            addend = scratch(r->s, own);
            if (addend.data == NULL) {
                code = no_memory(own, err);
                goto out;
            }
        }
        if (from != c->rank)
            TRY(stages_receive(r->s, from, area_of(&addend, own), err));
        else if (total.data == NULL)
            TRY(stages_copy(r->s, area_of(&addend, own), area_of(&r->mine, own), err));
        if (total.data == NULL)
            total = addend;
        else
            TRY(stages_add(r->s, area_of(&total, own), area_of(&addend, own), err));
    }
    if (total.data != NULL)
        code = stages_copy(r->s, sum, area_of(&total, own), err);
out:
    return code;
}

/* Has any of `count` ranks from `first` on an addend? */
static bool any_gives(const struct reduction *r, int first, int count) {
    for (int i = 0; i < count; i++)
        if (r->gives[(first + i) % r->c->size])
            return true;
    return false;
}

/* Part p goes round from rank p + 1 to rank p; each adds its own. */
static enum cohort_code reduce_ring(const struct reduction *r, struct cohort_error *err) {
    const int n = r->c->size, me = r->c->rank, right = (me + 1) % n, left = (me + n - 1) % n;
    const bool gives = r->gives[me];
    enum cohort_code code = COHORT_OK;
    struct place held = r->mine; /* the sum so far of the part at hand, where there is any */
    for (int k = 0; k < n; k++) {
        const int part = (me + 2 * n - k - 1) % n; /* what leaves: of ranks part+1 … me */
        const struct comm_part *p = &r->parts[part];
        const bool comes = k > 0 && any_gives(r, part + 1, k);
        if (k == 0)
            stages_next(r->s);
        if (comes && gives)
            TRY(stages_add(r->s, area_of(&held, p), area_of(&r->mine, p), err));
        if (!comes)
            held = r->mine;
        if (k == n - 1) { /* it is ours */
            if (comes || gives)
                TRY(stages_copy(r->s, area_of(&r->sum, p), area_of(&held, p), err));
            break;
        }
        const int next = (me + 2 * n - k - 2) % n;
        const struct place room = scratch(r->s, &r->parts[next]);
        if (room.data == NULL) {
            code = no_memory(&r->parts[next], err);
            goto out;
        }
        stages_next(r->s);
        if (comes || gives)
            TRY(stages_send(r->s, right, area_of(&held, p), err));
        if (any_gives(r, next + 1, k + 1))
            TRY(stages_receive(r->s, left, area_of(&room, &r->parts[next]), err));
        held = room;
    }
out:
    return code;
}

/* What came of the first `count` of this rank's parts, added to what it has of them itself
 * (some[]). */
static enum cohort_code add_halves(const struct reduction *r, const struct place *total,
                                   const struct place *room, const bool *some, const bool *came,
                                   int count, bool first, struct cohort_error *err) {
    const int n = r->c->size, me = r->c->rank;
    enum cohort_code code = COHORT_OK;
    for (int i = 0; first && i < longest_distance(n) && r->gives[me]; i++) {
        const struct comm_part *p = &r->parts[(me + i) % n];
        TRY(stages_copy(r->s, area_of(total, p), area_of(&r->mine, p), err));
    }
    for (int i = 0; i < count; i++) {
        const int k = (me + i) % n;
        if (came[k])
            TRY((some[k] ? stages_add : stages_copy)(r->s, area_of(total, &r->parts[k]),
                                                     area_of(room, &r->parts[k]), err));
    }
out:
    return code;
}

/* The other way round than gather_doubling(), from the longest distance down: a rank sends the rank
 * d behind it what it has added up of that one's parts, and keeps its own half.  r->sum is room for
 * all parts, and may be where the own addend is. */
static enum cohort_code reduce_halving(const struct reduction *r, struct cohort_error *err) {
    const int n = r->c->size, me = r->c->rank;
    enum cohort_code code = COHORT_OK;
    const struct place *total = &r->sum;
    const struct place room = scratch(r->s, &total->part);
    bool *some = mem_zalloc((size_t)n * (size_t)n, sizeof *some); /* [rank][part]: any addend */
    if (some == NULL || room.data == NULL) {
        code = no_memory(&total->part, err);
        goto out;
    }
    for (int i = 0; i < n * n; i++)
        some[i] = r->gives[i / n];
    for (int d = longest_distance(n); d > 0; d /= 2) {
        const int to = (me + d) % n, from = (me + n - d) % n, count = parts_moved(n, d);
        const bool first = d == longest_distance(n);
        const bool *own = some + (size_t)me * (size_t)n, *his = some + (size_t)from * (size_t)n;
        stages_next(r->s);
        TRY(move_parts(r->s, false, from, &room, r->parts, his, n, me, count, err));
        TRY(move_parts(r->s, true, to, first ? &r->mine : total, r->parts, own, n, to, count, err));
        TRY(add_halves(r, total, &room, own, his, count, first, err));
        for (int q = 0; q < n; q++)
            for (int i = 0; i < count; i++)
                some[(q + d) % n * n + (q + d + i) % n] |= some[q * n + (q + d + i) % n];
    }
    if (n == 1) {
        stages_next(r->s);
        code =
            stages_copy(r->s, area_of(total, &r->parts[0]), area_of(&r->mine, &r->parts[0]), err);
    }
out:
    mem_free(some);
    return code;
}

/* Even shares of a map as one row, in whole cache lines. */
static struct comm_part share_of(const struct comm_map *row, int rank, int size) {
    const size_t lines = row->row_bytes / 64;
    const size_t b0 = lines * (size_t)rank / (size_t)size * 64;
    const size_t b1 = lines * ((size_t)rank + 1) / (size_t)size * 64;
    return (struct comm_part){.y1 = 1, .b0 = b0, .b1 = rank == size - 1 ? row->row_bytes : b1};
}

/* Shares are summed up, and then brought to whoever wants the sum. */
static enum cohort_code reduce_shares(struct reduction *r, enum comm_route route,
                                      const struct comm_map *map, const struct comm_part *wants,
                                      char *result, struct comm_part *shares,
                                      struct comm_part *whole, struct cohort_error *err) {
    const int n = r->c->size, me = r->c->rank;
    const struct comm_map row = {1, (size_t)map->rows * map->row_bytes};
    const bool all = all_want_whole(r->c, map, wants);
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < n; i++) {
        shares[i] = share_of(&row, i, n);
        whole[i] = is_empty(&wants[i]) ? (struct comm_part){0} : whole_of(&row);
    }
    const struct place to = {result, whole[me]};
    r->parts = shares;
    r->mine.part = whole_of(&row);
    r->sum = to;
    if (is_empty(&whole[me]) && route == COMM_HALVING && r->gives[me] && result == r->mine.data)
        r->sum = r->mine;
    else if (is_empty(&whole[me]))
        r->sum = scratch(r->s, route == COMM_HALVING ? &r->mine.part : &shares[me]);
    if (r->sum.data == NULL) {
        code = no_memory(&shares[me], err);
        goto out;
    }
    TRY((route == COMM_RING      ? reduce_ring
         : route == COMM_HALVING ? reduce_halving
                                 : reduce_linear)(r, err));
    if (route == COMM_RING && all)
        code = gather_ring(r->s, r->c, shares, &r->sum, &to, err);
    else if (route == COMM_HALVING && all)
        code = gather_doubling(r->s, r->c, shares, &r->sum, &to, err);
    else
        code = spread_linear(r->s, r->c, shares, whole, &r->sum, &to, err);
out:
    return code;
}

/* How many ranks want something. */
static int count_wishes(const struct comm *c, const struct comm_part *wants) {
    int count = 0;
    for (int r = 0; r < c->size; r++)
        count += !is_empty(&wants[r]);
    return count;
}

static enum cohort_code build_reduction(struct reduction *r, enum comm_route route,
                                        const struct comm_map *map, const struct comm_part *wants,
                                        char *result, struct cohort_error *err) {
    const int n = r->c->size;
    const bool all = all_want_whole(r->c, map, wants);
    /* All of it to one rank, not straight: as shares, so that nobody waits for the whole. */
    const bool one =
        count_wishes(r->c, wants) == 1 && route != COMM_LINEAR && is_whole(&wants[0], map);
    if (!all && !one)
        return (route == COMM_RING ? reduce_ring : reduce_linear)(r, err);
    struct comm_part *parts = stages_memory(r->s, 2 * (size_t)n * sizeof *parts);
    if (parts == NULL)
        return error_memory(err, 2 * (size_t)n * sizeof *parts, "a transfer");
    return reduce_shares(r, route, map, wants, result, parts, parts + n, err);
}

enum cohort_code comm_reduce_create(struct comm_transfer **t, struct comm *c, enum comm_route route,
                                    const struct comm_map *map, const bool *gives,
                                    const struct comm_part *wants, const void *mine, void *result,
                                    struct cohort_error *err) {
    struct reduction r = {.c = c,
                          .gives = gives,
                          .parts = wants,
                          .mine = {(char *)(uintptr_t)mine, whole_of(map)},
                          .sum = {result, wants[c->rank]}};
    if (comm_enter(c, err) != COHORT_OK)
        return c->error.code;
    enum cohort_code code =
        check_parts(c, map, wants, c->size > 1 && !all_want_whole(c, map, wants), err);
    for (int i = 0; i < c->size && code == COHORT_OK; i++)
        if ((map->row_bytes | wants[i].b0 | wants[i].b1) % sizeof(float) != 0)
            code = error_set(err, COHORT_ERR_INTERNAL, "addends that are no float32 numbers");
    if (code == COHORT_OK && !any_gives(&r, 0, c->size))
        code = error_set(err, COHORT_ERR_INTERNAL, "a sum of nothing");
    if (code == COHORT_OK && gives[c->rank])
        code = check_memory(c, &r.mine.part, mine, err);
    if (code == COHORT_OK)
        code = check_memory(c, &wants[c->rank], result, err);
    if (code == COHORT_OK)
        code = stages_create(&r.s, c, "adding up a map", err);
    if (r.s != NULL)
        code = build_reduction(&r, route, map, wants, result, err);
    code = r.s != NULL ? stages_finish(&r.s, code, t, err) : comm_agree(c, code, err);
    stages_destroy(&r.s);
    return code;
}
