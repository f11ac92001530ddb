/* Rows of bytes become rows of numbers; see pixels.h. */
#include "exec/pixels.h"

#include "exec/lower.h"

#define VALUES_PER_NS 1.0 /* on one core, roughly */

size_t pixels_row_bytes(const struct graph *g, int id) {
    return value_geometry(graph_value(g, id)).row_bytes / sizeof(float);
}

bool pixels_in_order(const struct graph *g, int id, bool channels_last) {
    return channels_last || graph_value(g, id)->form == FORM_MAP;
}

void pixels_arrange(const struct graph *g, int id, const uint8_t *from, uint8_t *to) {
    const int64_t *d = graph_value(g, id)->shape.dim; /* N, C, H, W */
    const int64_t plane = d[2] * d[3];
    for (int64_t n = 0; n < d[0]; n++, from += plane * d[1])
        for (int64_t c = 0; c < d[1]; c++, to += plane)
            for (int64_t i = 0; i < plane; i++)
                to[i] = from[i * d[1] + c];
}

struct unpacking {
    const struct program *p;
    const struct slot *slot;
    struct view view; /* of a map */
    const float *table;
    const uint8_t *from;
    int64_t first;
    size_t row_bytes; /* of bytes: numbers in a row */
    bool map, channels_last;
};

/* Which table a plain row begins with: rows are (n, c, y), or (n, y, x) with channels in them. */
static const float *table_of_row(const struct unpacking *u, int64_t y) {
    const int64_t *d = graph_value(u->p->graph, u->slot->value)->shape.dim;
    return u->channels_last ? u->table : u->table + y / d[2] % d[1] * PIXEL_VALUES;
}

static void unpack_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0, (void)block1, (void)thread;
    const struct unpacking *u = context;
    const uint8_t *in = u->from + (size_t)(y0 - u->first) * u->row_bytes;
    if (u->map) {
        u->p->plain->u8_to_map_rows(in, u->table, &u->view, y0, y1);
        return;
    }
    const size_t step = u->channels_last ? PIXEL_VALUES : 0; /* from number to number */
    float *out = (float *)(void *)u->slot->data + (size_t)(y0 - u->slot->rows.begin) * u->row_bytes;
    for (int64_t y = y0; y < y1; y++, in += u->row_bytes, out += u->row_bytes) {
        const float *table = table_of_row(u, y);
        for (size_t i = 0; i < u->row_bytes; i++)
            out[i] = table[i * step + in[i]];
    }
}

void pixels_unpack(struct program *p, int slot, struct rows rows, const float *table,
                   bool channels_last, const uint8_t *from, int64_t first) {
    const struct slot *s = &p->slots[slot];
    struct unpacking u = {.p = p,
                          .slot = s,
                          .table = table,
                          .from = from,
                          .first = first,
                          .row_bytes = pixels_row_bytes(p->graph, s->value),
                          .map = graph_value(p->graph, s->value)->form == FORM_MAP,
                          .channels_last = channels_last};
    if (rows_empty(rows))
        return;
    if (u.map)
        u.view = slot_view(p, slot);
    p->row_ns = (double)u.row_bytes / VALUES_PER_NS;
    pool_dilate_begin(p->pool);
    run_parallel(p, rows.begin, rows.end, 1, unpack_part, &u);
    pool_dilate_end(p->pool);
}
