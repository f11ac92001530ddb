/* Inputs that are given as pixels: bytes go to the boards, and each makes its own rows' numbers.
 *
 * Rank 0 keeps an image's bytes in the order of the input's rows, so that transfers, made once,
 * find them there.  It makes numbers of the rows that it reads itself when it first computes: the
 * others' bytes are under way by then. */
#include "runtime/session.h"

#include "base/mem.h"

#include <string.h>

_Static_assert(COHORT_PIXEL_CHANNELS == PIXEL_CHANNELS, "the library's and the graph's are one");

void session_release_pixels(struct cohort_session *s) {
    for (int i = 0; s->pixels != NULL && i < s->graph->input_count; i++) {
        mem_free(s->pixels[i].table);
        mem_free(s->pixels[i].bytes);
    }
    mem_free(s->pixels);
    s->pixels = NULL;
}

const struct session_pixels *session_pixels_of(const struct cohort_session *s, int value) {
    for (int i = 0; s->pixels != NULL && i < s->graph->input_count; i++)
        if (s->pixels[i].table != NULL && s->graph->inputs[i] == value)
            return &s->pixels[i];
    return NULL;
}

/* ---- which inputs ---------------------------------------------------------------------------- */

/* Input `input` of the graph comes as pixels from now on. */
static enum cohort_code add_pixels(struct cohort_session *s, int input, bool channels_last,
                                   const struct pixel_scale *scale, struct cohort_error *err) {
    const struct value *v = graph_value(s->graph, s->graph->inputs[input]);
    char text[SHAPE_TEXT_BYTES];
    if (!pixels_fit(v, channels_last))
        return error_set(
            err, COHORT_ERR_SHAPE,
            "input '%s' cannot be given as pixels: it is %s %s, but float32 NxCxHxW or "
            "NxHxWxC with 1 to %d channels is expected",
            v->name, dtype_name(v->type), shape_text(&v->shape, text, sizeof text), PIXEL_CHANNELS);
    if (s->pixels == NULL)
        s->pixels = mem_zalloc((size_t)s->graph->input_count, sizeof *s->pixels);
    struct session_pixels *p = s->pixels != NULL ? &s->pixels[input] : NULL;
    if (p != NULL && p->table != NULL)
        return error_set(err, COHORT_ERR_USAGE, "input '%s' is said to come as pixels twice",
                         v->name);
    int channels = (int)v->shape.dim[channels_last ? 3 : 1];
    if (p == NULL ||
        (p->table = mem_alloc((size_t)channels * PIXEL_VALUES * sizeof *p->table)) == NULL)
        return error_memory(err, (size_t)channels * PIXEL_VALUES * sizeof(float), "pixels");
    p->channels_last = channels_last;
    p->scale = *scale;
    pixel_table(scale, channels, p->table);
    return COHORT_OK;
}

int session_find_input(const struct graph *g, const char *name) {
    for (int i = 0; i < g->input_count; i++)
        if (strcmp(graph_value(g, g->inputs[i])->name, name) == 0)
            return i;
    return -1;
}

enum cohort_code session_open_pixels(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int k = 0; k < s->options.pixel_count; k++) {
        const struct cohort_pixels *p = &s->options.pixels[k];
        struct pixel_scale scale = {.scale = p->scale};
        int i = p->input == NULL ? 0 : session_find_input(s->graph, p->input);
        if (i < 0 || i >= s->graph->input_count)
            return error_set(err, COHORT_ERR_USAGE, "the network has no input called '%s'",
                             p->input != NULL ? p->input : "");
        memcpy(scale.mean, p->mean, sizeof scale.mean);
        memcpy(scale.std, p->std, sizeof scale.std);
        TRY(add_pixels(s, i, p->channels_last != 0, &scale, err));
    }
out:
    return code;
}

/* u32 how many, then of each: u32 input, u8 channels last, f32 scale, means and stds in turn. */
#define MESSAGE_BYTES (4 + 1 + 4 + 8 * PIXEL_CHANNELS)

void session_write_pixels(const struct cohort_session *s, struct buf *b) {
    const int count = s->pixels != NULL ? s->graph->input_count : 0;
    uint32_t used = 0;
    for (int i = 0; i < count; i++)
        used += s->pixels[i].table != NULL;
    buf_u32(b, used);
    for (int i = 0; i < count; i++) {
        const struct session_pixels *p = &s->pixels[i];
        if (p->table == NULL)
            continue;
        buf_u32(b, (uint32_t)i);
        buf_u8(b, p->channels_last);
        buf_f32(b, p->scale.scale);
        for (int c = 0; c < PIXEL_CHANNELS; c++) {
            buf_f32(b, p->scale.mean[c]);
            buf_f32(b, p->scale.std[c]);
        }
    }
}

struct reader session_skip_pixels(struct reader *r) {
    struct reader pixels = *r;
    read_bytes(r, read_count(r, MESSAGE_BYTES) * MESSAGE_BYTES);
    pixels.end = r->at;
    pixels.failed = r->failed;
    return pixels;
}

enum cohort_code session_read_pixels(struct cohort_session *s, struct reader *r,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const uint32_t count = read_u32(r);
    for (uint32_t k = 0; k < count && !r->failed; k++) {
        struct pixel_scale scale = {0};
        const uint32_t input = read_u32(r);
        const bool channels_last = read_u8(r) != 0;
        scale.scale = read_f32(r);
        for (int c = 0; c < PIXEL_CHANNELS; c++) {
            scale.mean[c] = read_f32(r);
            scale.std[c] = read_f32(r);
        }
        if (r->failed || input >= (uint32_t)s->graph->input_count)
            return error_set(err, COHORT_ERR_INTERNAL,
                             "the network's description did not arrive whole");
        TRY(add_pixels(s, (int)input, channels_last, &scale, err));
    }
out:
    return code;
}

enum cohort_code session_make_pixels(struct cohort_session *s, struct cohort_error *err) {
    const struct graph *g = s->graph;
    for (int i = 0; s->pixels != NULL && s->rank == 0 && i < g->input_count; i++) {
        struct session_pixels *p = &s->pixels[i];
        const int id = g->inputs[i];
        const size_t bytes = (size_t)value_rows(graph_value(g, id)) * pixels_row_bytes(g, id);
        if (p->table == NULL || (s->size == 1 && pixels_in_order(g, id, p->channels_last)))
            continue; /* nobody else needs them, and the caller's lie well */
        if (p->bytes == NULL && (p->bytes = mem_alloc(bytes)) == NULL)
            return error_memory(err, bytes, "an input's pixels");
        s->wire_bytes += bytes;
    }
    return COHORT_OK;
}

uint64_t session_pixel_bits(const struct cohort_session *s) {
    uint64_t bits = 0;
    for (int i = 0; s->pixels != NULL && i < s->graph->input_count && i < 64; i++)
        bits |= (uint64_t)(s->pixels[i].table != NULL) << i;
    return bits;
}

/* ---- an image -------------------------------------------------------------------------------- */

enum cohort_code session_give_pixels(struct cohort_session *s, int input,
                                     const struct cohort_tensor *t, struct cohort_error *err) {
    struct session_pixels *p = &s->pixels[input];
    const int id = s->graph->inputs[input];
    const struct value *v = graph_value(s->graph, id);
    const struct shape want = pixels_shape(v, p->channels_last), got = shape_of(t->rank, t->dims);
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    if (t->type != COHORT_U8 || !shape_equal(&want, &got))
        return error_set(err, COHORT_ERR_SHAPE,
                         "input '%s' comes as pixels, uint8 %s, but %s %s was given", v->name,
                         shape_text(&want, a, sizeof a), dtype_name((enum dtype)t->type),
                         shape_text(&got, b, sizeof b));
    p->given = t->data;
    if (p->bytes == NULL)
        return COHORT_OK;
    if (pixels_in_order(s->graph, id, p->channels_last))
        memcpy(p->bytes, t->data, (size_t)shape_count(&want));
    else
        pixels_arrange(s->graph, id, t->data, p->bytes);
    p->given = p->bytes;
    return COHORT_OK;
}

void session_take_pixels(struct cohort_session *s) {
    for (int i = 0; s->pixels != NULL && i < s->graph->input_count; i++) {
        struct session_pixels *p = &s->pixels[i];
        if (p->given != NULL)
            pixels_unpack(s->program, s->input_slots[i], s->input_rows[i], p->table,
                          p->channels_last, p->given, 0);
        p->given = NULL;
    }
}
