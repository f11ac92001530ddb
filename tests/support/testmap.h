/* Maps for kernel tests: guarded memory, seeded contents, and checks of what was written.
 *
 * All memory that does not belong to the map (before, after, between its rows) holds a NaN of a
 * known bit pattern: a kernel that reads it gives NaNs, one that writes it is found out. */
#ifndef COHORT_TESTS_TESTMAP_H
#define COHORT_TESTS_TESTMAP_H

#include "kernels/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state;
};
uint32_t random_next(struct random *r);
int random_int(struct random *r, int low, int high); /* inclusive */
float random_float(struct random *r);                /* in [-1, 1) */

struct test_map {
    float *memory;
    size_t floats;
    struct view view;
};

/* Rows [row0, row0+rows); `gap` floats lie between rows. Everything is guard; aborts without
 * memory. */
struct test_map test_map_make(int64_t row0, int64_t rows, int channels, int width, int gap);
struct test_map test_map_tokens(int64_t row0, int64_t rows, int features, int gap);
struct test_map test_map_copy(const struct test_map *m);
void test_map_free(struct test_map *m);
/* Random values in [-1, 1) for rows [y0, y1), zero in lanes beyond the last channel. */
void test_map_fill(struct test_map *m, struct random *r, int64_t y0, int64_t y1);
/* Zeroes those lanes of those rows only. */
void test_map_zero_lanes(struct test_map *m, int64_t y0, int64_t y1);
float test_map_at(const struct test_map *m, int64_t y, int c, int x);

/* Is everything that `before` held unchanged in m, other than rows [y0,y1) of blocks [b0,b1)?  And
 * are lanes beyond the last channel zero in those?  Prints what is not. */
bool test_map_only(const struct test_map *m, const struct test_map *before, int64_t y0, int64_t y1,
                   int b0, int b1);

bool test_is_guard(float f);

#endif
