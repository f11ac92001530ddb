/* The protobuf wire format: a bounds-checked reader over memory, and what a writer needs.
 *
 * A message is a run of fields: a tag (number and wire type) and a value.  The reader hands out
 * one field after the other and copies nothing; nested messages are readers again, always inside
 * their parent's bounds.  It knows no message types: callers skip what they do not know, so nesting
 * is never deeper than the caller's own code.  Format: protobuf.dev/programming-guides/encoding. */
#ifndef COHORT_GRAPH_ONNX_WIRE_H
#define COHORT_GRAPH_ONNX_WIRE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2, /* a string, bytes, a nested message, or packed numbers */
    WIRE_FIXED32 = 5
};

/* What is left of a message.  All zero is an empty one. */
struct wire {
    const unsigned char *at, *end;
    const unsigned char *file; /* where byte 0 of the file is, for messages */
    const char *message;       /* what this is, for messages: "GraphProto" */
};

struct wire_field {
    uint32_t number; /* 0: the end of the message */
    enum wire_type type;
    uint64_t value;                 /* WIRE_VARINT, WIRE_FIXED64, WIRE_FIXED32 */
    const unsigned char *at, *data; /* the tag; the contents of WIRE_BYTES (never NULL) */
    size_t bytes;
};

struct wire wire_of(const void *data, size_t bytes, const char *message);

/* The next field.  Errors: format (a varint of more than 64 bits, a length beyond the end of the
 * message, a group, field number 0, …), naming the byte. */
enum cohort_code wire_next(struct wire *w, struct wire_field *f, struct cohort_error *err);

/* Error (format) unless the field has that wire type. */
enum cohort_code wire_expect(const struct wire *w, const struct wire_field *f, enum wire_type type,
                             struct cohort_error *err);
/* The nested message in a field; errors as wire_expect. */
enum cohort_code wire_nested(const struct wire *w, const struct wire_field *f, const char *message,
                             struct wire *nested, struct cohort_error *err);
/* A varint field as int64. */
enum cohort_code wire_int(const struct wire *w, const struct wire_field *f, int64_t *v,
                          struct cohort_error *err);
/* A text field, borrowed.  Errors: format (wrong wire type, or a zero byte in it). */
struct wire_text {
    const char *at; /* not zero-terminated */
    size_t bytes;
};
enum cohort_code wire_text(const struct wire *w, const struct wire_field *f, struct wire_text *text,
                           struct cohort_error *err);
bool wire_text_is(struct wire_text text, const char *other);
/* For messages: at most 100 bytes of it, without control characters, into `show`, which is
 * returned. */
#define WIRE_SHOW_BYTES 112
const char *wire_show(struct wire_text text, char show[WIRE_SHOW_BYTES]);
/* The byte of the file at which something lies. */
size_t wire_offset(const struct wire *w, const unsigned char *at);

/* One varint from [*at, end), which moves on; false when it is cut short or exceeds 64 bits. */
bool wire_varint(const unsigned char **at, const unsigned char *end, uint64_t *v);

/* How many numbers a field of a repeated number holds: one, or, packed, as many as there are.
 * `item` is the wire type of one. */
enum cohort_code wire_repeated_count(const struct wire *w, const struct wire_field *f,
                                     enum wire_type item, uint64_t *count,
                                     struct cohort_error *err);
/* Calls take() for each number in such a field, in order. */
typedef void (*wire_take_fn)(void *context, uint64_t value);
enum cohort_code wire_repeated(const struct wire *w, const struct wire_field *f,
                               enum wire_type item, wire_take_fn take, void *context,
                               struct cohort_error *err);

/* ---- writing: as buf.h, failures are looked for at the end ----------------------------------- */

size_t wire_varint_bytes(uint64_t v);
void wire_put_varint(struct buf *b, uint64_t v);
void wire_put_tag(struct buf *b, uint32_t number, enum wire_type type);
void wire_put_int(struct buf *b, uint32_t number, int64_t v);
void wire_put_float(struct buf *b, uint32_t number, float v);
void wire_put_bytes(struct buf *b, uint32_t number, const void *data, size_t bytes);
void wire_put_text(struct buf *b, uint32_t number, const char *text);
/* A nested message that was built in its own buffer; a failure there carries over. */
void wire_put_message(struct buf *b, uint32_t number, const struct buf *message);

#endif
