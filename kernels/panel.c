/* Matrix product by a micro-kernel: features in panels of 16, weights [panel][k][16].
 *
 * A row of tokens is a pixel, its features are the channels of one segment.  With one row the
 * weights stream through once, in order: memory speed; with many, a slice of k of a panel stays in
 * the first-level cache while the rows pass. */
#include "kernels/micro.h"

#include <string.h>

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

size_t panel_weights_bytes(const struct gemm_shape *s) {
    return (size_t)(s->n + BLOCK - 1) / BLOCK * BLOCK * (size_t)s->k * sizeof(float);
}

void panel_pack(const struct gemm_shape *s, const float *w, int n0, int count, void *packed) {
    float *to = (float *)packed + (size_t)n0 * (size_t)s->k;
    for (int j = 0; j < count; j++)
        for (int k = 0; k < s->k; k++)
            to[(size_t)k * BLOCK + (size_t)j] = w[(size_t)j * (size_t)s->k + (size_t)k];
}

void panel_pack_matrix(const struct gemm_shape *s, const float *w, ptrdiff_t pitch, int n0,
                       int count, void *packed) {
    float *to = (float *)packed + (size_t)n0 * (size_t)s->k;
    if (count == BLOCK) { /* whole panels, a cache line at a time */
        for (int k = 0; k < s->k; k++, to += BLOCK, w += pitch)
            memcpy(to, w, BLOCK * sizeof *to);
        return;
    }
    for (int k = 0; k < s->k; k++, to += BLOCK, w += pitch)
        memcpy(to, w, (size_t)count * sizeof *to);
}

/* Rows [y0, y1) of one panel. */
static void panel_rows(const struct gemm_args *a, const struct micro *m, int panel, int64_t y0,
                       int64_t y1) {
    int k_all = a->shape->k, n = panel * BLOCK;
    float bias[BLOCK] = {0};
    struct micro_args t = {.in_pixel = a->in_pitch,
                           .out_pixel = a->out_pitch,
                           .segs = 1,
                           .taps_y = 1,
                           .taps_x = 1,
                           .lane1 = (int)least(BLOCK, a->n1 - n)};
    for (int j = 0; a->bias && j < t.lane1; j++)
        bias[j] = a->bias[n + j];
    int k = 0;
    do { /* at least once: k == 0 leaves the bias */
        t.lanes = (int)least(MICRO_CHUNK, k_all - k);
        t.w = (const float *)a->weights + (size_t)n * (size_t)k_all + (size_t)k * BLOCK;
        t.init = k == 0 ? bias : NULL;
        t.in = a->in + (y0 - a->in_row0) * a->in_pitch + k;
        t.out = a->out + (y0 - a->out_row0) * a->out_pitch + n;
        m->run(&t, (int)(y1 - y0));
        k += t.lanes;
    } while (k < k_all);
}

void panel_run(const struct gemm_args *a, const struct micro *m) {
    int64_t row_bytes = (int64_t)a->shape->k * (int64_t)sizeof(float) + 1;
    int64_t at_once = MICRO_INPUT_BYTES / row_bytes;
    struct view out = {.data = a->out,
                       .row0 = a->out_row0,
                       .rows = a->y1 - a->out_row0,
                       .channels = a->n1,
                       .width = 1,
                       .pixel_pitch = a->out_pitch,
                       .block_pitch = BLOCK,
                       .row_pitch = a->out_pitch};
    if (at_once < 12)
        at_once = 12;
    for (int64_t y0 = a->y0, y1; y0 < a->y1; y0 = y1) {
        y1 = least(y0 + at_once, a->y1);
        for (int panel = a->n0 / BLOCK; panel * BLOCK < a->n1; panel++) {
            panel_rows(a, m, panel, y0, y1);
            for (int64_t y = y0; y < y1; y++)
                epilogue_apply(&a->epilogue, &out, y, panel, 0, 1);
        }
    }
}
