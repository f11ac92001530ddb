/* Finding and running chains; see chain.h. */
#include "exec/chain.h"

#include "base/clock.h"
#include "exec/lower.h"

#include <stddef.h>
#include <string.h>

#define STRIP_MOST  16 /* rows; more of them save nothing */
#define STRIP_SMALL 4  /* rows; fewer of them cost more than having many strips is worth */
#define STRIPS_EACH 8  /* of a thread, where there are rows enough */
/* A map that does not stay in the cache is written and read at so many bytes a nanosecond, on one
 * core; less than this share of the time is not worth what strips cost (a Winograd convolution's
 * transforms of rows that two strips share, smaller tiles).  Measured on Zen 4. */
#define MOVED_PER_NS 20
#define PAYS         0.04
#define SHARE        4 /* of the cache: with less, weights and other maps find room beside it */

/* ---- finding --------------------------------------------------------------------------------- */

static const struct slot *out_slot(const struct program *p, int op) {
    return &p->slots[p->ops[op].out_slots[0]];
}

static size_t row_bytes(const struct program *p, int slot) {
    return value_geometry(op_value(p, slot)).row_bytes;
}

static bool is_map(const struct program *p, int slot) {
    return slot >= 0 && !p->slots[slot].dynamic && p->slots[slot].bytes > 0 &&
           op_value(p, slot)->form == FORM_MAP && value_geometry(op_value(p, slot)).images == 1;
}

/* May this operator be in a chain at all? */
static bool can_strip(const struct program *p, int op) {
    const struct exec_op *o = &p->ops[op];
    const struct node *n = o->bound->node;
    return o->bound->how->strips && o->parts == 1 && !o->bound->folded && n->out_count == 1 &&
           is_map(p, o->in_slots[0]) && is_map(p, o->out_slots[0]) && n->rowmap != NULL &&
           n->rowmap[0].kind == ROWMAP_AFFINE;
}

/* Is the map from operator `op` to the next one for it alone, and does a thread's share of it take
 * so much of the cache that little of it would still be there? */
static bool links(const struct program *p, const int *uses, int op) {
    if (op + 1 >= p->op_count || p->ops[op].ends_range || !can_strip(p, op) ||
        !can_strip(p, op + 1))
        return false;
    int slot = p->ops[op].out_slots[0];
    const struct slot *s = &p->slots[slot];
    double share = (double)s->bytes / pool_threads(p->pool);
    return p->ops[op + 1].in_slots[0] == slot && uses[slot] == 2 && !s->pinned && !s->whole &&
           (p->options.strip_rows > 0 || share > (double)p->options.cache_bytes / SHARE);
}

/* Rows of every map for rows `out` of the last: need[i] behind operator first + i. */
static void rows_inside(const struct program *p, const struct chain *c, struct rows out,
                        struct rows *need) {
    need[c->count - 1] = out;
    for (int i = c->count - 1; i > 0; i--)
        need[i - 1] = rows_needed(p->ops[c->first + i].bound->node, 0, need[i]);
}

/* Bytes that a strip of so many rows works with; sets c->strip, rows and offset. */
static size_t strip_bytes(const struct program *p, struct chain *c, int64_t strip) {
    const struct exec_op *last = &p->ops[c->first + c->count - 1];
    struct rows need[CHAIN_MOST];
    int64_t in_rows = 0;
    size_t bytes = (size_t)strip * row_bytes(p, last->out_slots[0]);
    memset(c->rows, 0, sizeof c->rows);
    c->strip = strip;
    for (int64_t y = last->out.begin; y < last->out.end; y++) {
        struct rows out = {y, y + strip < last->out.end ? y + strip : last->out.end};
        rows_inside(p, c, out, need);
        for (int i = 0; i < c->count - 1; i++)
            c->rows[i] = rows_count(need[i]) > c->rows[i] ? rows_count(need[i]) : c->rows[i];
        int64_t in = rows_count(rows_needed(p->ops[c->first].bound->node, 0, need[0]));
        in_rows = in > in_rows ? in : in_rows;
    }
    bytes += (size_t)in_rows * row_bytes(p, p->ops[c->first].in_slots[0]);
    c->offset[0] = 0;
    for (int i = 0; i < c->count; i++) {
        bytes += p->ops[c->first + i].bound->weights_bytes;
        if (i == c->count - 1)
            break;
        size_t own = (size_t)c->rows[i] * row_bytes(p, p->ops[c->first + i].out_slots[0]);
        bytes += own;
        c->offset[i + 1] =
            c->offset[i] + (own + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN / sizeof(float);
    }
    return bytes;
}

/* Does the arena need no more with this chain: input and output together, which it does need, than
 * the most that two neighbouring maps take without? */
static bool saves_memory(const struct program *p, const struct chain *c) {
    size_t in = p->slots[p->ops[c->first].in_slots[0]].bytes, before = in, most = 0;
    for (int i = 0; i < c->count; i++) {
        size_t bytes = out_slot(p, c->first + i)->bytes;
        most = before + bytes > most ? before + bytes : most;
        before = bytes;
    }
    return in + before <= most;
}

/* Is what memory moves less much of the time that the operators take?  And do the weights, which
 * every strip reads, leave room in the cache? */
static bool pays(const struct program *p, const struct chain *c) {
    double ns = 0, inside = 0;
    size_t weights = 0;
    for (int i = c->first; i < c->first + c->count; i++) {
        ns += p->ops[i].bound->row_ns * (double)rows_count(p->ops[i].out);
        inside += i < c->first + c->count - 1 ? (double)out_slot(p, i)->bytes : 0;
        weights += p->ops[i].bound->weights_bytes;
    }
    return 2 * inside / MOVED_PER_NS > ns * PAYS && weights <= p->options.cache_bytes / 4;
}

/* The most rows whose strips stay in the cache; false: too few of them do. */
static bool choose_strip(const struct program *p, struct chain *c) {
    int64_t least = 2, rows = rows_count(p->ops[c->first + c->count - 1].out);
    for (int i = 0; i < c->count; i++) {
        int64_t own = p->ops[c->first + i].bound->rows_least;
        least = own > least ? own : least;
    }
    size_t limit = p->options.cache_bytes / 4 * 3;
    int64_t strip = rows < STRIP_MOST ? rows : STRIP_MOST;
    least = least < rows ? least : rows;
    if (p->options.strip_rows > 0) {
        strip_bytes(p, c, p->options.strip_rows);
        return true;
    }
    while (strip > least && strip_bytes(p, c, strip) > limit)
        strip--;
    return strip_bytes(p, c, strip) <= limit;
}

/* What a chain is worth: bytes that do not go through memory, less for short strips, between which
 * rows are moved and kernels called.  0: nothing. */
static double chain_worth(const struct program *p, struct chain *c) {
    double inside = 0;
    if (p->options.strip_rows == 0 && (!saves_memory(p, c) || !pays(p, c)))
        return 0;
    if (!choose_strip(p, c))
        return 0;
    for (int i = c->first; i < c->first + c->count - 1; i++)
        inside += (double)out_slot(p, i)->bytes;
    return inside * (double)c->strip / (double)(c->strip + 2);
}

/* The maps inside need no memory.  The output is made while the inputs are still read, so it lives
 * from the first operator on; nothing else begins to live before the last one is done. */
static void take_out(struct program *p, struct chain *c) {
    int last = c->first + c->count - 1, begins = out_slot(p, c->first)->first;
    double ns = 0;
    for (int i = c->first; i <= last; i++) {
        const struct exec_op *o = &p->ops[i];
        struct slot *out = &p->slots[o->out_slots[0]];
        ns += o->bound->row_ns * (double)rows_count(o->out);
        if (i < last) {
            out->inside = true;
            out->bytes = 0;
        } else if (out->first > begins) {
            out->first = begins;
        }
    }
    c->row_ns = ns / (double)rows_count(p->ops[last].out);
}

/* The chains of the program: best[i] is what those from operator i on are worth, count[i] how many
 * operators the one has that begins there, 1: none does. */
static void choose_chains(const struct program *p, const int *uses, double *best, int *count) {
    best[p->op_count] = 0;
    for (int i = p->op_count - 1; i >= 0; i--) {
        best[i] = best[i + 1];
        count[i] = 1;
        for (int k = 2; k <= CHAIN_MOST && links(p, uses, i + k - 2); k++) {
            struct chain c = {.first = i, .count = k};
            double worth = chain_worth(p, &c);
            if (worth > 0 && worth + best[i + k] > best[i]) {
                best[i] = worth + best[i + k];
                count[i] = k;
            }
        }
    }
}

static void count_uses(const struct program *p, int *uses) { /* who writes or reads each slot */
    for (int i = 0; i < p->op_count; i++) {
        const struct exec_op *o = &p->ops[i];
        for (int k = 0; k < o->bound->node->in_count; k++)
            uses[o->in_slots[k] >= 0 ? o->in_slots[k] : p->slot_count]++;
        for (int k = 0; k < o->bound->node->out_count; k++)
            uses[o->out_slots[k] >= 0 ? o->out_slots[k] : p->slot_count]++;
    }
}

enum cohort_code chains_find(struct program *p, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (p->options.cache_bytes == 0 && p->options.strip_rows == 0)
        return COHORT_OK;
    size_t ops = (size_t)p->op_count + 1;
    int *uses = mem_zalloc((size_t)p->slot_count + 1, sizeof *uses);
    int *count = mem_alloc(ops * sizeof *count);
    double *best = mem_alloc(ops * sizeof *best);
    if (uses == NULL || count == NULL || best == NULL) {
        code = error_memory(err, ops * sizeof *best, "chains of operators");
        goto out;
    }
    count_uses(p, uses);
    choose_chains(p, uses, best, count);
    for (int i = 0; i < p->op_count; i += count[i]) {
        if (count[i] == 1)
            continue;
        if (!MEM_GROW(p->chains, p->chain_capacity, (size_t)p->chain_count)) {
            code = error_memory(err, sizeof *p->chains, "a chain of operators");
            goto out;
        }
        struct chain *c = &p->chains[p->chain_count++];
        *c = (struct chain){.first = i, .count = count[i]};
        (void)choose_strip(p, c);
        take_out(p, c);
        p->ops[i].chain = p->chain_count;
        size_t bytes = c->offset[c->count - 1] * sizeof(float);
        p->strip_bytes = bytes > p->strip_bytes ? bytes : p->strip_bytes;
    }
out:
    mem_free(uses);
    mem_free(count);
    mem_free(best);
    return code;
}

/* ---- running --------------------------------------------------------------------------------- */

struct chain_work {
    struct program *p;
    const struct chain *c;
    struct rows out;
    int64_t strips;
};

/* The map behind operator first + i, as far as this thread has it. */
static struct view inside_view(const struct program *p, const struct chain *c, int i, int thread,
                               int64_t row0) {
    struct geometry geo = value_geometry(op_value(p, p->ops[c->first + i].out_slots[0]));
    char *memory = p->strips + (size_t)thread * p->strip_stride;
    float *data = (float *)(void *)memory + c->offset[i];
    return view_map(data, row0, c->rows[i], (int)geo.channels, (int)geo.width);
}

/* Makes room for rows `need` of the map behind operator first + i, keeping those of them that are
 * there; returns the first row to be made. */
static int64_t make_room(const struct program *p, const struct chain *c, int i, int thread,
                         struct strip_state *s, struct rows need) {
    struct view v = inside_view(p, c, i, thread, s->row0[i]);
    bool keep = s->row0[i] <= need.begin && need.begin < s->made[i];
    int64_t from = keep ? s->made[i] : need.begin;
    if (keep && need.end - s->row0[i] <= c->rows[i])
        return from;
    if (keep)
        memmove(v.data, v.data + (need.begin - v.row0) * v.row_pitch,
                (size_t)((from - need.begin) * v.row_pitch) * sizeof(float));
    s->row0[i] = need.begin;
    return from;
}

/* Rows [y0, y1) of the output, with everything before them that is not there. */
static void run_strip(const struct chain_work *w, struct strip_state *s, struct rows out,
                      int thread) {
    const struct program *p = w->p;
    const struct chain *c = w->c;
    struct rows need[CHAIN_MOST];
    rows_inside(p, c, out, need);
    for (int i = 0; i < c->count; i++) {
        const struct exec_op *o = &p->ops[c->first + i];
        bool last = i == c->count - 1;
        int64_t from = last ? out.begin : 0;
        if (rows_empty(need[i]))
            continue;
        if (!last)
            from = make_room(p, c, i, thread, s, need[i]);
        struct part_work part = {.program = p,
                                 .op = o,
                                 .state = o->bound->state,
                                 .in = i == 0 ? slot_view(p, o->in_slots[0])
                                              : inside_view(p, c, i - 1, thread, s->row0[i - 1]),
                                 .out = last ? slot_view(p, o->out_slots[0])
                                             : inside_view(p, c, i, thread, s->row0[i])};
        int64_t begin = p->strip_times ? clock_ns() : 0;
        if (from < need[i].end)
            o->bound->how->part(&part, from, need[i].end, 0, view_blocks(&part.out), thread);
        if (p->strip_times)
            s->ns[i] += clock_ns() - begin;
        if (!last)
            s->made[i] = need[i].end;
    }
}

/* Strips [u0, u1), of which every thread's band has as many. */
static void chain_part(void *context, int64_t u0, int64_t u1, int block0, int block1, int thread) {
    (void)block0, (void)block1;
    const struct chain_work *w = context;
    struct strip_state *s = &w->p->strip_states[thread];
    for (int64_t u = u0; u < u1; u++) {
        struct rows out = {w->out.begin + rows_count(w->out) * u / w->strips,
                           w->out.begin + rows_count(w->out) * (u + 1) / w->strips};
        if (s->next != out.begin) /* nothing that is there is of use */
            memset(s, 0, offsetof(struct strip_state, ns));
        run_strip(w, s, out, thread);
        s->next = out.end;
    }
}

void chain_run(struct program *p, const struct chain *c) {
    int64_t threads = pool_threads(p->pool);
    struct chain_work w = {.p = p, .c = c, .out = p->ops[c->first + c->count - 1].out};
    int64_t rows = rows_count(w.out), band = (rows + threads - 1) / threads;
    int64_t strips = (band + c->strip - 1) / c->strip, small = band / STRIP_SMALL;
    /* so many at least that a thread which takes another's last strip does not take much */
    small = small < STRIPS_EACH ? small : STRIPS_EACH;
    w.strips = threads * (threads > 1 && small > strips ? small : strips);
    for (int t = 0; t < threads; t++)
        p->strip_states[t] = (struct strip_state){.next = INT64_MIN};
    p->row_ns = c->row_ns * (double)rows / (double)w.strips;
    run_cut(p, 0, w.strips, &(struct cut){.blocks = 1}, chain_part, &w);
}

void chain_run_timed(struct program *p, const struct chain *c) {
    p->strip_times = true;
    chain_run(p, c);
    p->strip_times = false;
}

void chain_times(const struct program *p, const struct chain *c, double ms, double *each) {
    double all = 0;
    for (int i = 0; i < c->count; i++) {
        each[i] = 0;
        for (int t = 0; t < pool_threads(p->pool); t++)
            each[i] += (double)p->strip_states[t].ns[i];
        all += each[i];
    }
    for (int i = 0; i < c->count; i++)
        each[i] = all > 0 ? ms * each[i] / all : ms / c->count;
}
