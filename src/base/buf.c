#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool buf_reserve(struct buf *b, size_t more) {
    if (b->failed)
        return false;
    if (more > SIZE_MAX / 2 - b->size) {
        b->failed = true;
        return false;
    }
    if (b->size + more <= b->capacity)
        return true;
    size_t wanted = b->capacity < 256 ? 256 : b->capacity;
    while (wanted < b->size + more)
        wanted *= 2;
    unsigned char *bigger = mem_realloc(b->data, wanted);
    if (bigger == NULL) {
        b->failed = true;
        return false;
    }
    b->data = bigger;
    b->capacity = wanted;
    return true;
}

void buf_release(struct buf *b) {
    mem_free(b->data);
    *b = (struct buf){0};
}

void buf_bytes(struct buf *b, const void *data, size_t bytes) {
    if (bytes == 0 || !buf_reserve(b, bytes))
        return;
    memcpy(b->data + b->size, data, bytes);
    b->size += bytes;
}

void buf_u8(struct buf *b, uint8_t v) {
    buf_bytes(b, &v, 1);
}

void buf_u32(struct buf *b, uint32_t v) {
    unsigned char le[4];
    for (int i = 0; i < 4; i++)
        le[i] = (unsigned char)(v >> (8 * i));
    buf_bytes(b, le, sizeof le);
}

void buf_u64(struct buf *b, uint64_t v) {
    buf_u32(b, (uint32_t)v);
    buf_u32(b, (uint32_t)(v >> 32));
}

void buf_f32(struct buf *b, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf_u32(b, bits);
}

void buf_string(struct buf *b, const char *text) {
    size_t n = text == NULL ? 0 : strlen(text);
    buf_u32(b, (uint32_t)n);
    buf_bytes(b, text, n);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !buf_reserve(b, (size_t)n + 1))
        return;
    va_start(args, fmt);
    vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, args);
    va_end(args);
    b->size += (size_t)n;
}

const char *buf_text(struct buf *b) {
    if (!buf_reserve(b, 1))
        return NULL;
    b->data[b->size] = '\0';
    return (const char *)b->data;
}

struct reader reader_of(const void *data, size_t bytes) {
    const unsigned char *at = data;
    return (struct reader){.at = at, .end = at == NULL ? at : at + bytes};
}

const unsigned char *read_bytes(struct reader *r, size_t bytes) {
    if (r->failed || bytes > (size_t)(r->end - r->at)) {
        r->failed = true;
        return NULL;
    }
    const unsigned char *start = r->at;
    r->at += bytes;
    return start;
}

uint8_t read_u8(struct reader *r) {
    const unsigned char *p = read_bytes(r, 1);
    return p == NULL ? 0 : *p;
}

uint32_t read_u32(struct reader *r) {
    const unsigned char *p = read_bytes(r, 4);
    if (p == NULL)
        return 0;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t read_u64(struct reader *r) {
    uint64_t low = read_u32(r);
    return low | (uint64_t)read_u32(r) << 32;
}

float read_f32(struct reader *r) {
    uint32_t bits = read_u32(r);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

size_t read_count(struct reader *r, size_t min_bytes) {
    size_t n = read_u32(r);
    if (r->failed || (min_bytes > 0 && n > (size_t)(r->end - r->at) / min_bytes)) {
        r->failed = true;
        return 0;
    }
    return n;
}

char *read_string(struct reader *r) {
    size_t n = read_count(r, 1);
    const unsigned char *p = read_bytes(r, n);
    return p == NULL ? NULL : mem_strndup((const char *)p, n);
}
