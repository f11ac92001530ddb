/* Guarded maps for kernel tests; see testmap.h. */
#include "tests/support/testmap.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_BITS 0x7fc5a5a5u
#define GUARD      64 /* floats before and after */

uint32_t random_next(struct random *r) { /* splitmix64, S. Vigna */
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

int random_int(struct random *r, int low, int high) {
    return low + (int)(random_next(r) % (uint32_t)(high - low + 1));
}

float random_float(struct random *r) {
    return (float)((double)random_next(r) / 2147483648.0 - 1.0);
}

static void guard_all(float *p, size_t n) {
    const uint32_t bits = GUARD_BITS;
    for (size_t i = 0; i < n; i++)
        memcpy(p + i, &bits, sizeof bits);
}

bool test_is_guard(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits == GUARD_BITS;
}

static void place(struct test_map *m, struct view v, int gap) {
    v.row_pitch += gap;
    m->floats = 2 * GUARD + (size_t)v.rows * (size_t)v.row_pitch;
    m->memory = mem_alloc(m->floats * sizeof(float));
    if (!m->memory) {
        fprintf(stderr, "out of memory in a test\n");
        abort();
    }
    guard_all(m->memory, m->floats);
    v.data = m->memory + GUARD;
    m->view = v;
}

struct test_map test_map_make(int64_t row0, int64_t rows, int channels, int width, int gap) {
    struct test_map m;
    struct view v = view_map(NULL, row0, rows, channels, width);
    place(&m, v, v.blocked ? (gap + BLOCK - 1) / BLOCK * BLOCK : gap);
    return m;
}

struct test_map test_map_tokens(int64_t row0, int64_t rows, int features, int gap) {
    struct test_map m;
    struct view v = view_tokens(NULL, row0, rows, features);
    place(&m, v, gap);
    m.view.pixel_pitch = m.view.row_pitch;
    return m;
}

struct test_map test_map_copy(const struct test_map *m) {
    struct test_map c = *m;
    c.memory = mem_alloc(m->floats * sizeof(float));
    if (!c.memory) {
        fprintf(stderr, "out of memory in a test\n");
        abort();
    }
    memcpy(c.memory, m->memory, m->floats * sizeof(float));
    c.view.data = c.memory + (m->view.data - m->memory);
    return c;
}

void test_map_free(struct test_map *m) {
    mem_free(m->memory);
    m->memory = NULL;
}

void test_map_fill(struct test_map *m, struct random *r, int64_t y0, int64_t y1) {
    for (int64_t y = y0; y < y1; y++)
        for (int x = 0; x < m->view.width; x++)
            for (int c = 0; c < m->view.channels; c++)
                *view_at(&m->view, y, c, x) = random_float(r);
    test_map_zero_lanes(m, y0, y1);
}

void test_map_zero_lanes(struct test_map *m, int64_t y0, int64_t y1) {
    if (!m->view.blocked)
        return;
    for (int64_t y = y0; y < y1; y++)
        for (int x = 0; x < m->view.width; x++)
            for (int c = m->view.channels; c % BLOCK; c++)
                *view_at(&m->view, y, c, x) = 0;
}

float test_map_at(const struct test_map *m, int64_t y, int c, int x) {
    return *view_at(&m->view, y, c, x);
}

bool test_map_only(const struct test_map *m, const struct test_map *before, int64_t y0, int64_t y1,
                   int b0, int b1) {
    const struct view *v = &m->view;
    struct test_map expected = test_map_copy(before);
    for (int64_t y = y0; y < y1; y++) {
        for (int b = b0; b < b1; b++) {
            int lanes = v->blocked ? BLOCK : view_lanes(v, b);
            for (int x = 0; x < v->width; x++) {
                const float *from = view_at(v, y, b * BLOCK, x);
                memcpy(view_at(&expected.view, y, b * BLOCK, x), from,
                       sizeof(float) * (size_t)lanes);
                for (int j = view_lanes(v, b); j < lanes; j++)
                    *view_at(&expected.view, y, b * BLOCK + j, x) = 0;
            }
        }
    }
    bool same = memcmp(expected.memory, m->memory, m->floats * sizeof(float)) == 0;
    for (size_t i = 0; !same && i < m->floats; i++) {
        if (memcmp(expected.memory + i, m->memory + i, sizeof(float)) != 0) {
            fprintf(stderr, "float %zu of %zu (map begins at %d): %g, should be %g\n", i, m->floats,
                    GUARD, (double)m->memory[i], (double)expected.memory[i]);
            break;
        }
    }
    test_map_free(&expected);
    return same;
}
