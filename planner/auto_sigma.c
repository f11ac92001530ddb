/* The finite set of splits and boards that `auto` searches over; see auto.h. */
#include "planner/auto.h"
#include "planner/channel_cost.h"

#include "base/mem.h"
#include "planner/groups.h"
#include "planner/replay.h"

#include <string.h>

#define MANY_BOARDS 16
#define SOME_NODES  30
#define MANY_NODES  60
#define EVEN_MS     1e9 /* that a channel takes anywhere, beside which speed does not matter */

/* Larger problems get a coarser space, so that planning a network of 500 operators takes about 0.08
 * s for 8 boards and less than 2 s for 64 (bench/planner.c).  It costs little: with twice as many
 * splits and states the plan for ResNet-152 on 8 boards was at most 0.5 % faster. */
struct auto_limits auto_limits_for(const struct cost_model *m) {
    struct auto_limits l = {.live = 3, .thin = true, .longest = 20, .channel_units = 3, .wait = 1};
    if (m->usable_count > MANY_BOARDS) {
        l.live = 2;
        l.channels = 1;
        l.channel_weights = 4;
        l.rooted = 1;
        l.longest = 12;
        l.splits = 16;
        l.states = 24;
    } else if (m->g->node_count > MANY_NODES) {
        l.longest = 8;
        l.channels = 2;
        l.channel_weights = 4;
        l.splits = 12;
        l.states = 12;
    } else {
        const bool some = m->g->node_count > SOME_NODES;
        l.rooted = some ? 1 : m->boards * 2;
        l.splits = some ? 24 : 40;
        l.states = 64;
        l.channels = some ? 4 : 8;
        l.channel_weights = 0.5;
        l.channel_rows = 2;
    }
    return l;
}

void sigma_destroy(struct sigma **ss) {
    struct sigma *s = *ss;
    if (s == NULL)
        return;
    cuts_destroy(&s->cuts);
    mem_free(s->splits);
    mem_free(s->first);
    mem_free(s->size);
    mem_free(s->channel_first);
    mem_free(s->channel_size);
    mem_free(s->boards);
    mem_free(s);
    *ss = NULL;
}

/* ---- splits --------------------------------------------------------------------------------- */

/* Adds a split to those from number `first` on, unless it is there. */
static enum cohort_code add_to(struct sigma *s, int first, int *size, int most,
                               const int64_t *split, struct cohort_error *err) {
    const size_t n = (size_t)s->m->boards + 1;
    for (int i = first; i < s->count; i++)
        if (memcmp(sigma_split(s, i), split, n * sizeof *split) == 0)
            return COHORT_OK;
    if (*size >= most) {
        s->dropped++;
        return COHORT_OK;
    }
    const size_t used = (size_t)s->count * n;
    if (used + n > s->capacity) {
        const size_t more = 2 * (used + n);
        int64_t *bigger = mem_realloc(s->splits, more * sizeof *bigger);
        if (bigger == NULL)
            return error_memory(err, more * sizeof *bigger, "a set of splits");
        s->splits = bigger;
        s->capacity = more;
    }
    memcpy(s->splits + used, split, n * sizeof *split);
    s->count++;
    (*size)++;
    return COHORT_OK;
}

/* … of rows, of cut c. */
static enum cohort_code add(struct sigma *s, int c, const int64_t *split,
                            struct cohort_error *err) {
    return add_to(s, s->first[c], &s->size[c], s->limits.splits, split, err);
}

/* Lengths of segments that a minimax split is found for: 1, 2, 3, 4, 6, 8, 12, 16 … units. */
static int longer(int units) {
    int power = 1;
    while (power * 2 <= units)
        power *= 2;
    return units < 2 ? units + 1 : units + power / 2;
}

struct making {
    struct sigma *s;
    bool *who; /* [set * boards + board]: sets of boards that may take part, the widest first */
    int set_count;
    double *extra;
    int64_t *split;
};

/* A few boards: every one of them may be the one to leave out. */
#define FEW_BOARDS 6

/* Sets of boards: all; prefixes by speed; all but one, and the root alone, where there are few. */
static enum cohort_code find_sets(struct making *k, struct cohort_error *err) {
    const struct cost_model *m = k->s->m;
    const size_t boards = (size_t)m->boards;
    int *sizes = mem_zalloc(boards, sizeof *sizes);
    k->who = mem_zalloc(2 * boards + 2, boards * sizeof *k->who);
    if (sizes == NULL || k->who == NULL) {
        mem_free(sizes);
        return error_memory(err, 2 * boards * boards, "sets of boards");
    }
    for (int i = cost_sizes(m, sizes) - 1; i >= 0; i--)
        cost_fastest(m, sizes[i], k->who + (size_t)k->set_count++ * boards);
    const bool few = m->usable_count <= FEW_BOARDS;
    for (int i = 0; few && m->usable_count > 2 && i + 1 < m->usable_count; i++) {
        bool *set = k->who + (size_t)k->set_count++ * boards;
        cost_fastest(m, m->usable_count, set);
        set[m->order[i]] = false;
    }
    if (few && m->usable[0] && m->order[0] != 0)
        k->who[(size_t)k->set_count++ * boards] = true;
    mem_free(sizes);
    return COHORT_OK;
}

/* What a row of `until` costs each board on its way from the root and back, beside computing, for a
 * segment that begins at cut `from`. */
static void find_extra(struct making *k, int from, int until) {
    const struct cost_model *m = k->s->m;
    const struct cuts *cuts = k->s->cuts;
    const double rows = m->values[until].rows > 0 ? (double)m->values[until].rows : 1;
    double in = 0;
    for (int i = cuts->first[from]; i < cuts->first[from + 1]; i++)
        in += (double)m->values[cuts->live[i]].rows * m->values[cuts->live[i]].wire_bytes;
    for (int b = 0; b < m->boards; b++)
        k->extra[b] = (cost_transfer_ms(m, 0, b, in) +
                       cost_transfer_ms(m, b, 0, rows * m->values[until].wire_bytes)) /
                      rows;
}

/* For every set of boards: the minimax split of the unit before the cut and of longer segments, for
 * computing alone and with the way from and to the root; and the proportional one. */
static enum cohort_code add_own(struct making *k, int c, struct cohort_error *err) {
    struct sigma *s = k->s;
    const struct cuts *cuts = s->cuts;
    const int end = cuts->at[c], until = s->m->outputs[end - 1];
    enum cohort_code code = COHORT_OK;
    int reach = 0;
    while (reach < s->limits.longest && reach < c && cuts->wide[c - 1 - reach])
        reach++;
    for (int units = 1; units <= reach; units = longer(units))
        for (int i = 0; i < k->set_count; i++) {
            const bool *who = k->who + (size_t)i * (size_t)s->m->boards;
            TRY(cost_minimax(s->m, cuts->at[c - units], end, until, who, NULL, k->split, err));
            TRY(add(s, c, k->split, err));
            if (i >= s->limits.rooted)
                continue;
            find_extra(k, c - units, until);
            TRY(cost_minimax(s->m, cuts->at[c - units], end, until, who, k->extra, k->split, err));
            TRY(add(s, c, k->split, err));
        }
    for (int i = 0; i < k->set_count; i++) {
        TRY(cost_proportional(s->m, until, k->who + (size_t)i * (size_t)s->m->boards, k->split,
                              err));
        TRY(add(s, c, k->split, err));
    }
out:
    return code;
}

/* What other strategies do at this cut; `at`: each plan's segment, moved on. */
static enum cohort_code add_theirs(struct making *k, int c, struct plan *const *plans, int count,
                                   struct cohort_error *err) {
    struct sigma *s = k->s;
    enum cohort_code code = COHORT_OK;
    const char *name = graph_value(s->m->g, s->m->outputs[s->cuts->at[c] - 1])->name;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < plans[i]->segment_count; j++) {
            const struct plan_segment *p = &plans[i]->segments[j];
            if (p->mode == PLAN_TILE && strcmp(p->until, name) == 0)
                TRY(add(s, c, p->split, err));
        }
out:
    return code;
}

/* The splits of the cut before, carried on. */
static enum cohort_code add_carried(struct making *k, int c, struct cohort_error *err) {
    struct sigma *s = k->s;
    enum cohort_code code = COHORT_OK;
    if (c < 2)
        return COHORT_OK;
    const int from = s->m->outputs[s->cuts->at[c - 1] - 1];
    const int to = s->m->outputs[s->cuts->at[c] - 1];
    for (int i = 0; i < s->size[c - 1]; i++) {
        cost_scale_split(s->m, from, sigma_split(s, s->first[c - 1] + i), to, k->split);
        TRY(add(s, c, k->split, err));
    }
out:
    return code;
}

/* ---- by channels ----------------------------------------------------------------------------- */

static double map_bytes(const struct cost_model *m, int id) {
    return (double)m->values[id].rows * m->values[id].row_bytes;
}

/* Dividing by rows reads all weights on every board, by channels all maps. */
static bool is_worth(const struct sigma *s, int node) {
    const struct cost_model *m = s->m;
    const struct node *n = &m->g->nodes[node];
    return m->nodes[node].makes_channels &&
           (m->nodes[node].weight_bytes >=
                s->limits.channel_weights * (map_bytes(m, n->in[0]) + map_bytes(m, n->out[0])) ||
            (double)m->nodes[node].rows < s->limits.channel_rows * m->usable_count);
}

bool sigma_makes_channels(const struct sigma *s, int begin, int end) {
    const int first = s->cuts->at[begin], last = s->cuts->at[end];
    bool worth = false;
    for (int k = first; k < last; k++)
        worth = worth || is_worth(s, k);
    return worth && s->limits.channels > 0 && channel_unit(s->m, first, last, PLAN_OUT_CHANNEL) > 0;
}

bool sigma_keeps_channels(const struct sigma *s, int begin, int end) {
    return s->channel_size[begin] > 0 &&
           channel_unit(s->m, s->cuts->at[begin], s->cuts->at[end], PLAN_CHANNELWISE) > 0;
}

bool sigma_sums_channels(const struct sigma *s, int begin, int end) {
    const int first = s->cuts->at[begin], last = s->cuts->at[end];
    return s->channel_size[begin] > 0 && first > 0 &&
           channel_unit(s->m, first, last, PLAN_IN_CHANNEL) > 0 &&
           channel_value(s->m, first, last, PLAN_IN_CHANNEL) == s->m->outputs[first - 1];
}

bool sigma_sums_rows(const struct sigma *s, int begin, int end) {
    const int first = s->cuts->at[begin], last = s->cuts->at[end];
    return s->size[begin] > 0 && s->limits.channels > 0 && first > 0 &&
           channel_unit(s->m, first, last, PLAN_ROWS_GEMM) > 0 &&
           channel_value(s->m, first, last, PLAN_ROWS_GEMM) == s->m->outputs[first - 1];
}

bool sigma_in_units(const struct sigma *s, int first, int end, enum plan_mode mode, int split) {
    const int64_t unit = channel_unit(s->m, first, end, mode), *at = sigma_split(s, split);
    for (int b = 0; b < s->m->boards; b++)
        if (unit == 0 || (at[b] % unit != 0 && at[b] != at[s->m->boards]))
            return false;
    return true;
}

static enum cohort_code add_channels(struct making *k, int c, struct cohort_error *err) {
    struct sigma *s = k->s;
    return add_to(s, s->channel_first[c], &s->channel_size[c], s->limits.channels, k->split, err);
}

/* What other strategies, and the cut before, have. */
static enum cohort_code add_known_channels(struct making *k, int c, struct plan *const *plans,
                                           int count, struct cohort_error *err) {
    struct sigma *s = k->s;
    const struct cuts *cuts = s->cuts;
    const size_t bytes = ((size_t)s->m->boards + 1) * sizeof *k->split;
    const int id = s->m->outputs[cuts->at[c] - 1];
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < plans[i]->segment_count; j++) {
            const struct plan_segment *p = &plans[i]->segments[j];
            if ((p->mode != PLAN_OUT_CHANNEL && p->mode != PLAN_CHANNELWISE) ||
                strcmp(p->until, graph_value(s->m->g, id)->name) != 0)
                continue;
            memcpy(k->split, p->split, bytes);
            TRY(add_channels(k, c, err));
        }
    if (c < 2 || !sigma_keeps_channels(s, c - 1, c))
        goto out;
    for (int i = 0; i < s->channel_size[c - 1]; i++) {
        const struct channel_run before = {.first = cuts->at[c - 2],
                                           .end = cuts->at[c - 1],
                                           .mode = PLAN_OUT_CHANNEL,
                                           .split = sigma_split(s, s->channel_first[c - 1] + i),
                                           .output = PLAN_STAY};
        if (channel_scale_split(s->m, &before, id, k->split))
            TRY(add_channels(k, c, err));
    }
out:
    return code;
}

/* For every set of boards: the minimax split of the units before the cut, and of the operator
 * behind it that adds up. */
static enum cohort_code add_own_channels(struct making *k, int c, struct cohort_error *err) {
    struct sigma *s = k->s;
    const struct cost_model *m = s->m;
    const int *at = s->cuts->at;
    enum cohort_code code = COHORT_OK;
    for (int b = c - 1; s->limits.even && b >= 0 && c - b <= s->limits.channel_units; b--)
        if (sigma_makes_channels(s, b, c)) {
            for (int i = 0; i < m->boards; i++)
                k->extra[i] = EVEN_MS;
            TRY(channel_minimax(m, at[b], at[c], PLAN_OUT_CHANNEL, k->who, k->extra, k->split,
                                err));
            TRY(add_channels(k, c, err));
        }
    for (int i = 0; i < k->set_count && s->channel_size[c] < s->limits.channels; i++) {
        const bool *who = k->who + (size_t)i * (size_t)m->boards;
        bool any = false;
        for (int b = c - 1; b >= 0 && c - b <= s->limits.channel_units; b--)
            if (sigma_makes_channels(s, b, c)) {
                TRY(channel_minimax(m, at[b], at[c], PLAN_OUT_CHANNEL, who, NULL, k->split, err));
                TRY(add_channels(k, c, err));
                any = true;
            }
        if (any && c + 1 < s->cuts->count && sigma_sums_channels(s, c, c + 1)) {
            TRY(channel_minimax(m, at[c], at[c + 1], PLAN_IN_CHANNEL, who, NULL, k->split, err));
            TRY(add_channels(k, c, err));
        }
    }
out:
    return code;
}

/* ---- boards --------------------------------------------------------------------------------- */

/* The root, the fastest, and the first of every kind. */
static void choose_boards(struct sigma *s) {
    const struct cost_model *m = s->m;
    s->replicate = m->usable_count == m->boards && m->boards > 1;
    if (m->usable[0])
        s->boards[s->board_count++] = 0;
    for (int i = 0; i < m->usable_count; i++) {
        const struct profile_board *b = &m->p->boards[m->order[i]];
        bool fresh = true;
        for (int k = 0; k < s->board_count; k++) {
            const struct profile_board *a = &m->p->boards[s->boards[k]];
            fresh = fresh && (a->type != b->type || a->scale > b->scale);
        }
        if (fresh)
            s->boards[s->board_count++] = m->order[i];
    }
}

/* ---- together ------------------------------------------------------------------------------- */

enum cohort_code sigma_create(struct sigma **out, const struct cost_model *m,
                              const struct auto_limits *limits, struct plan *const *plans,
                              int plan_count, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const size_t boards = (size_t)m->boards;
    struct sigma *s = mem_zalloc(1, sizeof *s);
    struct making k = {.s = s,
                       .extra = mem_zalloc(boards, sizeof *k.extra),
                       .split = mem_zalloc(boards + 1, sizeof *k.split)};
    if (s == NULL || k.extra == NULL || k.split == NULL) {
        code = error_memory(err, boards * sizeof *k.split, "a set of splits");
        goto out;
    }
    *s = (struct sigma){.m = m, .limits = *limits};
    TRY(cuts_create(&s->cuts, m, limits->live, err));
    if (limits->thin)
        TRY(cuts_thin(s->cuts, m, err));
    s->first = mem_zalloc((size_t)s->cuts->count, sizeof *s->first);
    s->size = mem_zalloc((size_t)s->cuts->count, sizeof *s->size);
    s->channel_first = mem_zalloc((size_t)s->cuts->count, sizeof *s->channel_first);
    s->channel_size = mem_zalloc((size_t)s->cuts->count, sizeof *s->channel_size);
    s->boards = mem_zalloc(boards, sizeof *s->boards);
    if (s->first == NULL || s->size == NULL || s->boards == NULL || s->channel_first == NULL ||
        s->channel_size == NULL) {
        code = error_memory(err, boards * sizeof *s->boards, "a set of splits");
        goto out;
    }
    choose_boards(s);
    TRY(find_sets(&k, err));
    for (int i = 0; m->boards == 1 && i + 1 < s->cuts->count; i++)
        s->cuts->wide[i] = false; /* nobody to share with */
    for (int c = 1; c < s->cuts->count; c++) {
        s->first[c] = s->count;
        if (!s->cuts->wide[c - 1])
            continue;
        TRY(add_theirs(&k, c, plans, plan_count, err));
        TRY(add_own(&k, c, err));
        TRY(add_carried(&k, c, err));
    }
    for (int c = 1; c < s->cuts->count && m->boards > 1 && limits->channels > 0; c++) {
        s->channel_first[c] = s->count;
        TRY(add_known_channels(&k, c, plans, plan_count, err));
        TRY(add_own_channels(&k, c, err));
    }
    *out = s;
    s = NULL;
out:
    mem_free(k.split);
    mem_free(k.extra);
    mem_free(k.who);
    sigma_destroy(&s);
    return code;
}
