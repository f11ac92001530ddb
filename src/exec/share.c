/* Sharing buffers between the slots of Concat, Split and Slice along channels.
 *
 * Slots are grouped; each has a position in its group, in blocks of 16 channels.  What keeps groups
 * right is the *piece*: a range of blocks that one operator writes (a convolution its whole output,
 * a Concat those operands that it has to copy).  Pieces of a group never overlap, so every place in
 * a group holds one operator's result, and whatever slots cover the place see the same.  A slot
 * that is only a view (a Concat without copies, a part of a Split) has no piece.  So in a dense
 * block, where every Concat lists all maps before it, all of them are views of one buffer.
 *
 * Pieces are whole blocks, because whoever writes a block writes all its lanes.  An operand that
 * does not begin at a multiple of 16, or ends at none with others behind it, is copied.  So is one
 * whose sharing would make the program need more memory than it does without any: a skip connection
 * of a U-Net would hold the room of both halves from its first row on. */
#include "exec/share.h"

#include "exec/lower.h"
#include "graph/ops/params.h"

#include <stdlib.h>
#include <string.h>

/* Blocks [block0, block1) of a slot, written by one operator. */
struct piece {
    int slot;
    int64_t block0, block1;
};

/* One slot's place: the group is named by one of its members. */
struct place {
    int group;
    int64_t at; /* its first block */
};

struct sharing {
    struct program *p;
    struct place *place;          /* of each slot … */
    struct place *saved, *before; /* … and before put(), before an operator */
    struct piece *pieces;
    size_t piece_count, piece_capacity;
    struct buffer *buffers; /* of each group, at its name's index */
    int64_t *begin, *end;   /* of each group, in blocks */
    int *steps;             /* in which some slot's life begins, ascending */
    int step_count;
    int64_t *change; /* of living bytes, at each of the steps */
    size_t limit;    /* most living bytes without any sharing */
    bool careful;    /* every step has to keep to it */
};

static struct geometry slot_geometry(const struct program *p, int slot) {
    return value_geometry(op_value(p, slot));
}

static bool can_share(const struct program *p, int slot) {
    return slot >= 0 && !p->slots[slot].dynamic && p->slots[slot].bytes > 0 &&
           op_value(p, slot)->form == FORM_MAP && slot_geometry(p, slot).blocked;
}

/* Blocks of a feature map; anything else counts as one, and is never shared. */
static int64_t slot_blocks(const struct program *p, int slot) {
    if (!can_share(p, slot))
        return 1;
    struct geometry geo = slot_geometry(p, slot);
    return geo.blocked ? (geo.channels + BLOCK - 1) / BLOCK : 1;
}

static bool same_pixels(const struct program *p, int a, int b) {
    struct geometry x = slot_geometry(p, a), y = slot_geometry(p, b);
    return x.images == y.images && x.height == y.height && x.width == y.width;
}

/* ---- what a grouping costs ------------------------------------------------------------------- */

/* The buffer of each group, from its slots. */
static void measure_groups(struct sharing *s) {
    const struct program *p = s->p;
    for (int i = 0; i < p->slot_count; i++)
        s->begin[i] = s->end[i] = -1;
    for (int i = 0; i < p->slot_count; i++) {
        const struct slot *slot = &p->slots[i];
        int g = s->place[i].group;
        int64_t at = s->place[i].at, end = at + slot_blocks(p, i);
        struct buffer *b = &s->buffers[g];
        if (s->begin[g] == s->end[g]) { /* its first slot */
            s->begin[g] = at;
            s->end[g] = end;
            *b = (struct buffer){.rows = slot->rows, .first = slot->first, .last = slot->last};
        }
        s->begin[g] = at < s->begin[g] ? at : s->begin[g];
        s->end[g] = end > s->end[g] ? end : s->end[g];
        b->rows = rows_hull(b->rows, slot->rows);
        b->first = slot->first < b->first ? slot->first : b->first;
        b->last = slot->last > b->last ? slot->last : b->last;
        b->pinned = b->pinned || slot->pinned;
        b->row_bytes = slot->dynamic || slot->inside ? 0 : slot_geometry(p, i).row_bytes;
        if (can_share(p, i))
            b->row_bytes = (size_t)(s->end[g] - s->begin[g]) * (size_t)slot_geometry(p, i).width *
                           BLOCK * sizeof(float);
        b->bytes = (size_t)rows_count(b->rows) * b->row_bytes;
    }
}

static int first_step_after(const struct sharing *s, int step) {
    int low = 0, high = s->step_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (s->steps[middle] > step)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Most bytes that live at once; it is reached where some life begins. */
static size_t peak_bytes(struct sharing *s) {
    measure_groups(s);
    memset(s->change, 0, (size_t)(s->step_count + 1) * sizeof *s->change);
    for (int i = 0; i < s->p->slot_count; i++) {
        if (s->place[i].group != i)
            continue;
        const struct buffer *b = &s->buffers[i];
        s->change[b->pinned ? 0 : first_step_after(s, b->first) - 1] += (int64_t)b->bytes;
        s->change[b->pinned ? s->step_count : first_step_after(s, b->last)] -= (int64_t)b->bytes;
    }
    int64_t now = 0, most = 0;
    for (int i = 0; i < s->step_count; i++) {
        now += s->change[i];
        most = now > most ? now : most;
    }
    return (size_t)most;
}

/* ---- grouping -------------------------------------------------------------------------------- */

static bool add_piece(struct sharing *s, int slot, int64_t block0, int64_t block1) {
    if (!MEM_GROW(s->pieces, s->piece_capacity, s->piece_count))
        return false;
    s->pieces[s->piece_count++] = (struct piece){.slot = slot, .block0 = block0, .block1 = block1};
    return true;
}

/* The slot is a view from now on, or written otherwise. */
static void drop_pieces(struct sharing *s, int slot) {
    size_t kept = 0;
    for (size_t i = 0; i < s->piece_count; i++)
        if (s->pieces[i].slot != slot)
            s->pieces[kept++] = s->pieces[i];
    s->piece_count = kept;
}

/* Would pieces of group `a` and of group `b`, moved by `shift`, overlap? */
static bool pieces_collide(const struct sharing *s, int a, int b, int64_t shift) {
    for (size_t i = 0; i < s->piece_count; i++) {
        const struct piece *x = &s->pieces[i];
        if (s->place[x->slot].group != a)
            continue;
        int64_t x_at = s->place[x->slot].at;
        for (size_t k = 0; k < s->piece_count; k++) {
            const struct piece *y = &s->pieces[k];
            int64_t y_at = s->place[y->slot].at + shift;
            if (s->place[y->slot].group == b && x_at + x->block0 < y_at + y->block1 &&
                y_at + y->block0 < x_at + x->block1)
                return true;
        }
    }
    return false;
}

/* Slots that travel, or are read as one piece of memory, have their rows to themselves. */
static bool whole_slots_fit(const struct sharing *s, int group) {
    for (int i = 0; i < s->p->slot_count; i++)
        if (s->place[i].group == group && s->p->slots[i].whole &&
            (s->place[i].at != s->begin[group] ||
             s->place[i].at + slot_blocks(s->p, i) != s->end[group]))
            return false;
    return true;
}

static void join(struct sharing *s, int group, int other, int64_t shift) {
    for (int i = 0; i < s->p->slot_count; i++)
        if (s->place[i].group == other) {
            s->place[i].group = group;
            s->place[i].at += shift;
        }
}

/* Puts slot `part` at block `at` of slot `whole`; false, and nothing is changed, where that cannot
 * or should not be. */
static bool put(struct sharing *s, int part, int whole, int64_t at) {
    int group = s->place[whole].group, other = s->place[part].group;
    int64_t shift = s->place[whole].at + at - s->place[part].at;
    if (group == other)
        return shift == 0;
    if (pieces_collide(s, group, other, shift))
        return false;
    memcpy(s->saved, s->place, (size_t)s->p->slot_count * sizeof *s->place);
    join(s, group, other, shift);
    measure_groups(s);
    if (whole_slots_fit(s, group) && (!s->careful || peak_bytes(s) <= s->limit))
        return true;
    memcpy(s->place, s->saved, (size_t)s->p->slot_count * sizeof *s->place);
    return false;
}

/* ---- operators ------------------------------------------------------------------------------- */

/* An operator that only puts channels together or takes them apart: slot part[i] is the channels
 * from channel[i] on of slot `whole`. */
struct parts {
    int whole, count;
    int *part;
    int64_t *channel;
    bool concat; /* the whole is made from the parts, else the parts from the whole */
};

static void parts_release(struct parts *t) {
    mem_free(t->part);
    mem_free(t->channel);
}

/* Does this Slice take nothing but a run of channels? */
static bool slices_channels(const struct slice_params *s, const struct tensor *in) {
    for (int k = 0; k < s->rank; k++) {
        bool whole = s->start[k] == 0 && s->count[k] == in->shape.dim[k];
        if (s->step[k] != 1 || (k != 1 && !whole))
            return false;
    }
    return true;
}

static enum cohort_code slice_part(const struct program *p, const struct node *n, struct parts *t,
                                   struct cohort_error *err) {
    struct slice_params slice;
    const struct value *v = node_in(p->graph, n, 0);
    struct tensor in = {.type = v->type, .shape = v->shape};
    enum cohort_code code = slice_params(p->graph, n, &slice, err);
    if (code == COHORT_OK && !slices_channels(&slice, &in))
        t->count = 0;
    else if (code == COHORT_OK)
        t->channel[0] = slice.start[1];
    return code;
}

/* count == 0: not such an operator, or not on feature maps. */
static enum cohort_code parts_of(const struct program *p, const struct exec_op *op, struct parts *t,
                                 struct cohort_error *err) {
    const struct node *n = &p->graph->nodes[op->node];
    enum cohort_code code = COHORT_OK;
    int axis;
    bool split = strcmp(n->op->name, "Split") == 0, slice = strcmp(n->op->name, "Slice") == 0;
    *t = (struct parts){.concat = strcmp(n->op->name, "Concat") == 0};
    if (!t->concat && !split && !slice)
        return COHORT_OK;
    t->whole = t->concat ? op->out_slots[0] : op->in_slots[0];
    if (!can_share(p, t->whole))
        return COHORT_OK;
    t->count = t->concat ? n->in_count : n->out_count;
    t->part = mem_alloc((size_t)t->count * sizeof *t->part);
    t->channel = mem_alloc((size_t)(t->count + 1) * sizeof *t->channel);
    if (t->part == NULL || t->channel == NULL) {
        code = error_memory(err, (size_t)t->count * 16, "sharing memory");
        goto out;
    }
    for (int i = 0; i < t->count; i++)
        t->part[i] = t->concat ? op->in_slots[i] : op->out_slots[i];
    if (t->concat)
        for (int i = 0; i < t->count; i++)
            t->channel[i] = concat_offset(p->graph, n, i);
    else if (split)
        TRY(split_params(p->graph, n, &axis, t->channel, err));
    else
        TRY(slice_part(p, n, t, err));
out:
    if (code != COHORT_OK)
        parts_release(t);
    return code;
}

/* Is part i whole blocks of the whole, so that it could lie there? */
static bool part_is_blocks(const struct program *p, const struct parts *t, int i) {
    if (!can_share(p, t->part[i]) || !same_pixels(p, t->part[i], t->whole))
        return false;
    int64_t count = slot_geometry(p, t->part[i]).channels;
    return t->channel[i] % BLOCK == 0 &&
           (count % BLOCK == 0 || t->channel[i] + count == slot_geometry(p, t->whole).channels);
}

/* The pieces that a Concat writes when it copies the marked operands; false: memory is short. */
static bool add_copies(struct sharing *s, const struct parts *t, const bool *copied) {
    int64_t done = 0; /* the end of the last piece: two operands may meet in a block */
    for (int i = 0; i < t->count; i++) {
        int64_t from = t->channel[i], to = from + slot_geometry(s->p, t->part[i]).channels;
        int64_t block0 = from / BLOCK, block1 = (to + BLOCK - 1) / BLOCK;
        if (!copied[i])
            continue;
        block0 = block0 < done ? done : block0;
        if (block0 < block1 && !add_piece(s, t->whole, block0, block1))
            return false;
        done = block1;
    }
    return true;
}

/* Finds operands that need no copy, looking from the first on or from the last: each that has to be
 * copied after all leaves less room for the others, so they are all put anew.  false: memory is
 * short. */
static bool choose_operands(struct sharing *s, const struct parts *t, bool *copied,
                            bool from_last) {
    size_t bytes = (size_t)s->p->slot_count * sizeof *s->place;
    for (int i = 0; i < t->count; i++)
        copied[i] = !part_is_blocks(s->p, t, i);
    memcpy(s->before, s->place, bytes);
    for (bool again = true; again;) {
        again = false;
        memcpy(s->place, s->before, bytes);
        drop_pieces(s, t->whole);
        if (!add_copies(s, t, copied))
            return false;
        for (int i = 0; i < t->count && !again; i++) {
            int k = from_last ? t->count - 1 - i : i;
            if (!copied[k])
                copied[k] = again = !put(s, t->part[k], t->whole, t->channel[k] / BLOCK);
        }
    }
    return true;
}

/* All operands together may need less memory than some of them do: they are judged one by one only
 * when that is not so. */
static bool try_concat(struct sharing *s, const struct parts *t, bool *copied, bool from_last) {
    s->careful = false;
    bool ok = choose_operands(s, t, copied, from_last);
    if (ok && peak_bytes(s) > s->limit) {
        memcpy(s->place, s->before, (size_t)s->p->slot_count * sizeof *s->place);
        s->careful = true;
        ok = choose_operands(s, t, copied, from_last);
    }
    return ok;
}

static int64_t copied_channels(const struct sharing *s, const struct parts *t, const bool *copied) {
    int64_t sum = 0;
    for (int i = 0; i < t->count; i++)
        sum += copied[i] ? slot_geometry(s->p, t->part[i]).channels : 0;
    return sum;
}

static enum cohort_code place_concat(struct sharing *s, const struct parts *t,
                                     struct cohort_error *err) {
    bool *copied = mem_zalloc((size_t)t->count, sizeof *copied);
    bool ok = copied != NULL && try_concat(s, t, copied, false);
    int64_t forward = ok ? copied_channels(s, t, copied) : 0;
    if (ok && forward > 0) {
        memcpy(s->place, s->before, (size_t)s->p->slot_count * sizeof *s->place);
        ok = try_concat(s, t, copied, true);
        if (ok && copied_channels(s, t, copied) > forward) {
            memcpy(s->place, s->before, (size_t)s->p->slot_count * sizeof *s->place);
            ok = try_concat(s, t, copied, false);
        }
    }
    mem_free(copied);
    return ok ? COHORT_OK : error_memory(err, 64, "sharing memory");
}

/* A part that lies in the whole is a view of it: nobody writes it. */
static enum cohort_code place_views(struct sharing *s, const struct parts *t,
                                    struct cohort_error *err) {
    s->careful = false; /* a part that is no copy needs no memory of its own */
    for (int i = 0; i < t->count; i++) {
        if (t->part[i] < 0 || !part_is_blocks(s->p, t, i))
            continue;
        drop_pieces(s, t->part[i]);
        if (!put(s, t->part[i], t->whole, t->channel[i] / BLOCK) &&
            !add_piece(s, t->part[i], 0, slot_blocks(s->p, t->part[i])))
            return error_memory(err, sizeof *s->pieces, "sharing memory");
    }
    return COHORT_OK;
}

static enum cohort_code place_parts(struct sharing *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < s->p->op_count && code == COHORT_OK; i++) {
        const struct exec_op *op = &s->p->ops[i];
        struct parts t;
        if (i > 0 && s->p->ops[i - 1].node == op->node) /* another tile of the same slots */
            continue;
        code = parts_of(s->p, op, &t, err);
        if (code != COHORT_OK)
            return code;
        if (t.count > 0)
            code = (t.concat ? place_concat : place_views)(s, &t, err);
        parts_release(&t);
    }
    return code;
}

/* ---- the program's buffers ------------------------------------------------------------------- */

bool share_in_place(const struct program *p, int part, int whole, int64_t channel) {
    const struct slot *a = &p->slots[part], *b = &p->slots[whole];
    return a->buffer == b->buffer && channel % BLOCK == 0 && a->block == b->block + channel / BLOCK;
}

static enum cohort_code mark_free(struct program *p, struct exec_op *op, struct cohort_error *err) {
    struct parts t;
    enum cohort_code code = parts_of(p, op, &t, err);
    if (code != COHORT_OK)
        return code;
    op->free = t.count > 0;
    for (int i = 0; i < t.count; i++)
        if (t.part[i] >= 0 && !share_in_place(p, t.part[i], t.whole, t.channel[i]))
            op->free = false;
    parts_release(&t);
    return COHORT_OK;
}

/* Slots that must lie as if alone: those of the caller, and maps that a product reads as rows. */
static void mark_whole(struct program *p) {
    for (int i = 0; i < p->slot_count; i++)
        if (p->slots[i].pinned)
            p->slots[i].whole = true;
    for (int i = 0; i < p->op_count; i++) {
        const struct node *n = &p->graph->nodes[p->ops[i].node];
        bool product = strcmp(n->op->name, "Gemm") == 0 || strcmp(n->op->name, "MatMul") == 0;
        if (product && p->ops[i].in_slots[0] >= 0)
            p->slots[p->ops[i].in_slots[0]].whole = true;
    }
}

static int ascending(const void *a, const void *b) {
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static enum cohort_code sharing_init(struct sharing *s, struct program *p,
                                     struct cohort_error *err) {
    size_t slots = (size_t)p->slot_count + 1;
    *s = (struct sharing){.p = p,
                          .place = mem_alloc(slots * sizeof *s->place),
                          .saved = mem_alloc(slots * sizeof *s->saved),
                          .before = mem_alloc(slots * sizeof *s->before),
                          .buffers = mem_zalloc(slots, sizeof *s->buffers),
                          .begin = mem_alloc(slots * sizeof *s->begin),
                          .end = mem_alloc(slots * sizeof *s->end),
                          .steps = mem_alloc(slots * sizeof *s->steps),
                          .change = mem_alloc(slots * sizeof *s->change)};
    bool ok = s->place != NULL && s->saved != NULL && s->before != NULL && s->buffers != NULL &&
              s->begin != NULL && s->end != NULL && s->steps != NULL && s->change != NULL;
    for (int i = 0; ok && i < p->slot_count; i++) {
        s->place[i] = (struct place){.group = i};
        s->steps[i] = p->slots[i].first;
        ok = add_piece(s, i, 0, slot_blocks(p, i));
    }
    if (!ok)
        return error_memory(err, slots * sizeof *s->buffers, "sharing memory");
    qsort(s->steps, (size_t)p->slot_count, sizeof *s->steps, ascending);
    for (int i = 0; i < p->slot_count; i++)
        if (i == 0 || s->steps[i] != s->steps[i - 1])
            s->steps[s->step_count++] = s->steps[i];
    s->limit = peak_bytes(s);
    return COHORT_OK;
}

enum cohort_code share_slots(struct program *p, struct cohort_error *err) {
    struct sharing s = {0};
    enum cohort_code code = COHORT_OK;
    mark_whole(p);
    TRY(sharing_init(&s, p, err));
    if (!p->options.own_buffers)
        TRY(place_parts(&s, err));
    measure_groups(&s);
    for (int i = 0; i < p->slot_count; i++) {
        p->slots[i].buffer = s.place[i].group;
        p->slots[i].block = s.place[i].at - s.begin[s.place[i].group];
    }
    for (int i = 0; i < p->op_count; i++)
        TRY(mark_free(p, &p->ops[i], err));
    p->buffers = s.buffers;
    s.buffers = NULL;
out:
    mem_free(s.place);
    mem_free(s.saved);
    mem_free(s.before);
    mem_free(s.pieces);
    mem_free(s.buffers);
    mem_free(s.begin);
    mem_free(s.end);
    mem_free(s.steps);
    mem_free(s.change);
    return code;
}
