/* A growing byte buffer, for building messages and text, and a bounds-checked reader of one.
 *
 * Writing never fails half-way: when memory is short the buffer becomes `failed` and ignores
 * everything that follows; the caller looks once, at the end.  Numbers are little-endian. */
#ifndef COHORT_BASE_BUF_H
#define COHORT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    unsigned char *data;
    size_t size;
    size_t capacity;
    bool failed; /* memory ran short: contents are useless */
};

/* All zero is an empty buffer. */
void buf_release(struct buf *b);
void buf_bytes(struct buf *b, const void *data, size_t bytes);
void buf_u8(struct buf *b, uint8_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_f32(struct buf *b, float v);
void buf_string(struct buf *b, const char *text); /* u32 length, then the bytes; NULL as "" */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Zero-terminates (not counted in size) and returns the text; NULL when failed. */
const char *buf_text(struct buf *b);

struct reader {
    const unsigned char *at;
    const unsigned char *end;
    bool failed; /* something lay beyond the end: all results since are zero */
};

struct reader reader_of(const void *data, size_t bytes);
uint8_t read_u8(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
float read_f32(struct reader *r);
const unsigned char *read_bytes(struct reader *r, size_t bytes); /* NULL when beyond the end */
char *read_string(struct reader *r); /* new (mem_free), or NULL (r->failed, or memory short) */
/* A count of things that each take at least min_bytes: fails when the rest cannot hold them. */
size_t read_count(struct reader *r, size_t min_bytes);

#endif
