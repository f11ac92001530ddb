/* A view: some rows of a feature map, where they lie and which rows they are.
 *
 * Everything that kernels read and write is a view.  There is no "tile" code path: a board that
 * works alone has the view that covers everything.
 *
 * Element (y, c, x) of the map, y in the *view's* coordinates, lies at
 *     data + (y - row0) * row_pitch + (c / 16) * block_pitch + x * pixel_pitch + c % 16.
 *
 *   blocked map      [rows][C/16][W][16]: pixel_pitch 16, block_pitch W*16, row_pitch
 * ceil(C/16)*W*16 narrow map C<16  [rows][W][C]:        pixel_pitch C,  block_pitch 16,   row_pitch
 * W*C tokens           [rows][F] (W = 1):   pixel_pitch F,  block_pitch 16,   row_pitch F
 *
 * In a blocked map the lanes beyond C are zero, always: whoever writes a block writes zeros there.
 * A narrow map or a token row has no lanes beyond C: nothing there may be read or written. */
#ifndef COHORT_KERNELS_VIEW_H
#define COHORT_KERNELS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK 16

struct view {
    float *data;  /* element (row0, 0, 0) */
    int64_t row0; /* the first row that data holds */
    int64_t rows; /* how many rows it holds */
    int channels;
    int width;
    bool blocked;
    ptrdiff_t pixel_pitch, block_pitch, row_pitch; /* in floats */
};

static inline float *view_at(const struct view *v, int64_t y, int c, int x) {
    return v->data + (y - v->row0) * v->row_pitch + (c / BLOCK) * v->block_pitch +
           (ptrdiff_t)x * v->pixel_pitch + c % BLOCK;
}
static inline int view_blocks(const struct view *v) {
    return (v->channels + BLOCK - 1) / BLOCK;
}
/* Lanes of block b that exist: 16, or fewer in the last one. */
static inline int view_lanes(const struct view *v, int b) {
    int left = v->channels - b * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

/* The standard layouts over given memory. */
static inline struct view view_map(float *data, int64_t row0, int64_t rows, int channels,
                                   int width) {
    struct view v = {
        .data = data, .row0 = row0, .rows = rows, .channels = channels, .width = width};
    v.blocked = channels >= BLOCK;
    if (v.blocked) {
        v.pixel_pitch = BLOCK;
        v.block_pitch = (ptrdiff_t)width * BLOCK;
        v.row_pitch = v.block_pitch * view_blocks(&v);
    } else {
        v.pixel_pitch = channels;
        v.block_pitch = BLOCK;
        v.row_pitch = (ptrdiff_t)width * channels;
    }
    return v;
}
static inline struct view view_tokens(float *data, int64_t row0, int64_t rows, int features) {
    return (struct view){.data = data,
                         .row0 = row0,
                         .rows = rows,
                         .channels = features,
                         .width = 1,
                         .blocked = false,
                         .pixel_pitch = features,
                         .block_pitch = BLOCK,
                         .row_pitch = features};
}
/* Channels [c0, c0+channels) of a blocked view; c0 is a multiple of 16. */
static inline struct view view_channels(struct view v, int c0, int channels) {
    v.data += (c0 / BLOCK) * v.block_pitch;
    v.channels = channels;
    return v;
}

#endif
