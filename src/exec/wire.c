/* Values on the wire; see wire.h. */
#include "exec/wire.h"

#include "exec/lower.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define HALF_MOST    0x7bffu /* 65504 */
#define HALF_INF     0x7c00u
#define CODED_PER_NS 4 /* bytes of float32 on one core, roughly */

/* A row as floats, and the blocks that have a scale each. */
struct row_shape {
    int64_t floats, blocks;
};

static struct row_shape row_shape(const struct graph *g, int id) {
    const struct value *v = graph_value(g, id);
    struct geometry geo = value_geometry(v);
    int64_t floats = (int64_t)(geo.row_bytes / sizeof(float));
    bool blocked = v->form == FORM_MAP && geo.blocked;
    return (struct row_shape){floats, blocked ? (geo.channels + BLOCK - 1) / BLOCK : 1};
}

bool wire_converts(const struct graph *g, int id, enum wire wire) {
    const struct value *v = graph_value(g, id);
    return wire != WIRE_F32 && v->type == DT_F32 && shape_known(&v->shape) &&
           value_geometry(v).row_bytes > 0;
}

size_t wire_part_begin(const struct graph *g, int id, enum wire wire, int part, int parts) {
    const struct row_shape s = row_shape(g, id);
    return wire_row_bytes(g, id, wire) / (size_t)s.blocks *
           (size_t)channels_part_begin(s.blocks, part, parts);
}

size_t wire_row_bytes(const struct graph *g, int id, enum wire wire) {
    size_t own = value_geometry(graph_value(g, id)).row_bytes;
    if (!wire_converts(g, id, wire))
        return own;
    struct row_shape s = row_shape(g, id);
    return wire == WIRE_F16 ? own / 2 : (size_t)s.floats + (size_t)s.blocks * sizeof(float);
}

/* ---- one row --------------------------------------------------------------------------------- */

/* Infinities, which float16 made of numbers that were too large, become the largest number. */
static int64_t saturate(uint16_t *h, int64_t n) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += (h[i] & 0x7fffu) == HALF_INF;
    for (int64_t i = 0; count > 0 && i < n; i++)
        if ((h[i] & 0x7fffu) == HALF_INF)
            h[i] = (uint16_t)((h[i] & 0x8000u) | HALF_MOST);
    return count;
}

/* The scale, then the block's numbers from -127 to 127; NaN becomes 0, and an infinity the largest
 * number that is one. */
static int64_t encode_block(const float *in, int64_t n, unsigned char *out) {
    float most = 0;
    int64_t saturated = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(in[i]);
        most = a > most && a <= 3.0e38f ? a : most;
    }
    float scale = most / 127, inverse = scale > 0 ? 1 / scale : 0;
    if (!(inverse <= 3.0e38f)) /* all are denormal, or nearly */
        inverse = scale = 0;
    memcpy(out, &scale, sizeof scale);
    signed char *q = (signed char *)out + sizeof scale;
    for (int64_t i = 0; i < n; i++) {
        float x = in[i] * inverse;
        x = x == x ? x : 0;
        saturated += x > 127.5f || x < -127.5f;
        x = x > 127 ? 127 : x < -127 ? -127 : x;
        q[i] = (signed char)(x + (x < 0 ? -0.5f : 0.5f));
    }
    return saturated;
}

static void decode_block(const unsigned char *in, int64_t n, float *out) {
    float scale;
    memcpy(&scale, in, sizeof scale);
    const signed char *q = (const signed char *)in + sizeof scale;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)q[i] * scale;
}

/* ---- rows on the pool ------------------------------------------------------------------------ */

struct coding {
    const struct program *p;
    enum wire wire;
    struct row_shape shape;
    size_t row_bytes; /* on the wire */
    char *slot;       /* its first row is row slot_first */
    char *wire_rows;  /* likewise */
    int64_t slot_first, wire_first;
    int64_t block0, block1; /* of each row */
    atomic_llong saturated;
};

static float *slot_row(const struct coding *c, int64_t y) {
    size_t floats = (size_t)((y - c->slot_first) * c->shape.floats);
    return (float *)(void *)(c->slot + floats * sizeof(float));
}

static unsigned char *wire_row(const struct coding *c, int64_t y) {
    return (unsigned char *)c->wire_rows + (size_t)(y - c->wire_first) * c->row_bytes;
}

static struct coding coding_of(const struct program *p, int slot, enum wire wire, char *rows,
                               int64_t first) {
    const struct slot *s = &p->slots[slot];
    const struct row_shape shape = row_shape(p->graph, s->value);
    return (struct coding){.p = p,
                           .wire = wire,
                           .shape = shape,
                           .block1 = shape.blocks,
                           .row_bytes = wire_row_bytes(p->graph, s->value, wire),
                           .slot = s->data,
                           .slot_first = s->rows.begin,
                           .wire_rows = rows,
                           .wire_first = first};
}

static void encode_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0, (void)block1, (void)thread;
    struct coding *c = context;
    int64_t saturated = 0, each = c->shape.floats / c->shape.blocks;
    for (int64_t y = y0; y < y1; y++) {
        const float *in = slot_row(c, y);
        unsigned char *out = wire_row(c, y);
        if (c->wire == WIRE_F16) {
            uint16_t *half = (uint16_t *)(void *)out + c->block0 * each;
            const int64_t count = (c->block1 - c->block0) * each;
            c->p->plain->float_to_half(in + c->block0 * each, half, (ptrdiff_t)count);
            saturated += saturate(half, count);
            continue;
        }
        for (int64_t b = c->block0; b < c->block1; b++)
            saturated += encode_block(in + b * each, each, out + b * (each + 4));
    }
    if (saturated > 0)
        atomic_fetch_add(&c->saturated, saturated);
}

static void decode_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0, (void)block1, (void)thread;
    const struct coding *c = context;
    int64_t each = c->shape.floats / c->shape.blocks;
    for (int64_t y = y0; y < y1; y++) {
        float *out = slot_row(c, y);
        const unsigned char *in = wire_row(c, y);
        if (c->wire == WIRE_F16) {
            c->p->plain->half_to_float((const uint16_t *)(const void *)in, out,
                                       (ptrdiff_t)c->shape.floats);
            continue;
        }
        for (int64_t b = 0; b < c->shape.blocks; b++)
            decode_block(in + b * (each + 4), each, out + b * each);
    }
}

/* ms: what 10^6 bytes of float32 take on a board that is stood for; below 0: unknown. */
static void code_rows(struct program *p, struct rows rows, work_fn part, struct coding *c,
                      double ms) {
    const double share = (double)(c->block1 - c->block0) / (double)c->shape.blocks;
    const double row_bytes = share * (double)c->shape.floats * (double)sizeof(float);
    p->row_ns = row_bytes / CODED_PER_NS;
    pool_dilate_begin(p->pool);
    if (ms >= 0 && c->wire == WIRE_F16)
        pool_dilate_expect(p->pool, ms * 1e-6 * row_bytes * (double)rows_count(rows));
    run_parallel(p, rows.begin, rows.end, 1, part, c);
    pool_dilate(p->pool);
    pool_dilate_end(p->pool);
}

void wire_encode(struct program *p, int slot, struct rows rows, enum wire wire, int part, int parts,
                 void *to, int64_t first, int64_t *saturated) {
    struct coding c = coding_of(p, slot, wire, to, first);
    c.block0 = channels_part_begin(c.shape.blocks, part, parts);
    c.block1 = channels_part_begin(c.shape.blocks, part + 1, parts);
    code_rows(p, rows, encode_part, &c, p->encode_ms);
    *saturated += atomic_load(&c.saturated);
}

void wire_decode(struct program *p, int slot, struct rows rows, enum wire wire, const void *from,
                 int64_t first) {
    struct coding c = coding_of(p, slot, wire, (char *)(uintptr_t)from, first);
    code_rows(p, rows, decode_part, &c, p->decode_ms);
}
