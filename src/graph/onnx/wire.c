/* Reading and writing the protobuf wire format; see wire.h. */
#include "graph/onnx/wire.h"

#include <string.h>

#define FIELD_NUMBER_MAX ((1u << 29) - 1)

struct wire wire_of(const void *data, size_t bytes, const char *message) {
    static const unsigned char nothing[1];
    const unsigned char *at = data != NULL ? data : nothing;
    return (struct wire){
        .at = at, .end = at + (data != NULL ? bytes : 0), .file = at, .message = message};
}

size_t wire_offset(const struct wire *w, const unsigned char *at) {
    return (size_t)(at - w->file);
}

bool wire_varint(const unsigned char **at, const unsigned char *end, uint64_t *v) {
    const unsigned char *p = *at;
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        unsigned char byte = *p++;
        if (shift == 63 && byte > 1)
            return false;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *at = p;
            *v = result;
            return true;
        }
    }
    return false;
}

static uint64_t little_endian(const unsigned char *p, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static enum cohort_code malformed(const struct wire *w, const unsigned char *at, const char *what,
                                  struct cohort_error *err) {
    return error_set(err, COHORT_ERR_FORMAT, "byte %zu: %s in a %s", wire_offset(w, at), what,
                     w->message);
}

static enum cohort_code take_fixed(struct wire *w, struct wire_field *f, size_t bytes,
                                   struct cohort_error *err) {
    if ((size_t)(w->end - w->at) < bytes)
        return malformed(w, f->at, "a number that is cut short", err);
    f->value = little_endian(w->at, bytes);
    w->at += bytes;
    return COHORT_OK;
}

enum cohort_code wire_next(struct wire *w, struct wire_field *f, struct cohort_error *err) {
    *f = (struct wire_field){.at = w->at, .data = w->at};
    if (w->at == w->end)
        return COHORT_OK;
    uint64_t tag;
    if (!wire_varint(&w->at, w->end, &tag))
        return malformed(w, f->at, "a field tag that is cut short or too long", err);
    if (tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        return malformed(w, f->at, "an impossible field number", err);
    f->number = (uint32_t)(tag >> 3);
    unsigned type = (unsigned)(tag & 7);
    if (type == 3 || type == 4)
        return malformed(w, f->at, "a group (which ONNX does not use)", err);
    if (type > 5)
        return malformed(w, f->at, "an unknown wire type", err);
    f->type = (enum wire_type)type;
    if (f->type == WIRE_FIXED32)
        return take_fixed(w, f, 4, err);
    if (f->type == WIRE_FIXED64)
        return take_fixed(w, f, 8, err);
    if (!wire_varint(&w->at, w->end, &f->value))
        return malformed(w, f->at, "a varint that is cut short or too long", err);
    if (f->type == WIRE_VARINT)
        return COHORT_OK;
    size_t left = (size_t)(w->end - w->at);
    if (f->value > left)
        return error_set(err, COHORT_ERR_FORMAT,
                         "byte %zu: field %u of a %s has length %llu, but only %zu bytes are left "
                         "(truncated or corrupt)",
                         wire_offset(w, f->at), f->number, w->message, (unsigned long long)f->value,
                         left);
    f->data = w->at;
    f->bytes = (size_t)f->value;
    w->at += f->bytes;
    return COHORT_OK;
}

enum cohort_code wire_expect(const struct wire *w, const struct wire_field *f, enum wire_type type,
                             struct cohort_error *err) {
    if (f->type == type)
        return COHORT_OK;
    return error_set(err, COHORT_ERR_FORMAT,
                     "byte %zu: field %u of a %s has wire type %d, but should have %d",
                     wire_offset(w, f->at), f->number, w->message, (int)f->type, (int)type);
}

enum cohort_code wire_nested(const struct wire *w, const struct wire_field *f, const char *message,
                             struct wire *nested, struct cohort_error *err) {
    enum cohort_code code = wire_expect(w, f, WIRE_BYTES, err);
    if (code == COHORT_OK)
        *nested = (struct wire){
            .at = f->data, .end = f->data + f->bytes, .file = w->file, .message = message};
    return code;
}

enum cohort_code wire_int(const struct wire *w, const struct wire_field *f, int64_t *v,
                          struct cohort_error *err) {
    enum cohort_code code = wire_expect(w, f, WIRE_VARINT, err);
    if (code == COHORT_OK)
        *v = (int64_t)f->value;
    return code;
}

enum cohort_code wire_text(const struct wire *w, const struct wire_field *f, struct wire_text *text,
                           struct cohort_error *err) {
    enum cohort_code code = wire_expect(w, f, WIRE_BYTES, err);
    if (code != COHORT_OK)
        return code;
    if (memchr(f->data, 0, f->bytes) != NULL)
        return malformed(w, f->at, "a text with a zero byte", err);
    *text = (struct wire_text){.at = (const char *)f->data, .bytes = f->bytes};
    return COHORT_OK;
}

bool wire_text_is(struct wire_text text, const char *other) {
    return text.bytes == strlen(other) && memcmp(text.at, other, text.bytes) == 0;
}

const char *wire_show(struct wire_text text, char show[WIRE_SHOW_BYTES]) {
    size_t n = text.bytes < 100 ? text.bytes : 100;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text.at[i];
        show[i] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    memcpy(show + n, n < text.bytes ? "..." : "", n < text.bytes ? 4 : 1);
    return show;
}

static size_t fixed_bytes(enum wire_type item) {
    return item == WIRE_FIXED32 ? 4 : 8;
}

enum cohort_code wire_repeated_count(const struct wire *w, const struct wire_field *f,
                                     enum wire_type item, uint64_t *count,
                                     struct cohort_error *err) {
    if (f->type == item) {
        *count = 1;
        return COHORT_OK;
    }
    enum cohort_code code = wire_expect(w, f, WIRE_BYTES, err);
    if (code != COHORT_OK)
        return code;
    if (item != WIRE_VARINT) {
        if (f->bytes % fixed_bytes(item) != 0)
            return malformed(w, f->at, "packed numbers that are cut short", err);
        *count = f->bytes / fixed_bytes(item);
        return COHORT_OK;
    }
    uint64_t n = 0;
    for (size_t i = 0; i < f->bytes; i++)
        n += f->data[i] < 0x80; /* a varint ends with the byte whose top bit is clear */
    if (f->bytes > 0 && f->data[f->bytes - 1] >= 0x80)
        return malformed(w, f->at, "packed numbers that are cut short", err);
    *count = n;
    return COHORT_OK;
}

enum cohort_code wire_repeated(const struct wire *w, const struct wire_field *f,
                               enum wire_type item, wire_take_fn take, void *context,
                               struct cohort_error *err) {
    if (f->type == item) {
        take(context, f->value);
        return COHORT_OK;
    }
    enum cohort_code code = wire_expect(w, f, WIRE_BYTES, err);
    if (code != COHORT_OK)
        return code;
    const unsigned char *at = f->data, *end = f->data + f->bytes;
    while (at < end) {
        uint64_t v;
        if (item == WIRE_VARINT) {
            if (!wire_varint(&at, end, &v))
                return malformed(w, at, "a packed number that is cut short or too long", err);
        } else {
            if ((size_t)(end - at) < fixed_bytes(item))
                return malformed(w, at, "packed numbers that are cut short", err);
            v = little_endian(at, fixed_bytes(item));
            at += fixed_bytes(item);
        }
        take(context, v);
    }
    return COHORT_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

size_t wire_varint_bytes(uint64_t v) {
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

void wire_put_varint(struct buf *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7)
        buf_u8(b, (uint8_t)(v | 0x80));
    buf_u8(b, (uint8_t)v);
}

void wire_put_tag(struct buf *b, uint32_t number, enum wire_type type) {
    wire_put_varint(b, (uint64_t)number << 3 | (unsigned)type);
}

void wire_put_int(struct buf *b, uint32_t number, int64_t v) {
    wire_put_tag(b, number, WIRE_VARINT);
    wire_put_varint(b, (uint64_t)v);
}

void wire_put_float(struct buf *b, uint32_t number, float v) {
    wire_put_tag(b, number, WIRE_FIXED32);
    buf_f32(b, v);
}

void wire_put_bytes(struct buf *b, uint32_t number, const void *data, size_t bytes) {
    wire_put_tag(b, number, WIRE_BYTES);
    wire_put_varint(b, bytes);
    if (bytes > 0)
        buf_bytes(b, data, bytes);
}

void wire_put_text(struct buf *b, uint32_t number, const char *text) {
    wire_put_bytes(b, number, text, strlen(text));
}

void wire_put_message(struct buf *b, uint32_t number, const struct buf *message) {
    wire_put_bytes(b, number, message->data, message->size);
    b->failed |= message->failed;
}
