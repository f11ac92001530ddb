/* Separable resampling (Resize, Upsample): weighted taps in rows and columns, given as tables. */
#include "kernels/generic/epilogue.h"
#include "kernels/plainops.h"

/* One output row of a block: which input rows, with which weights, for `lanes` channels. */
struct source {
    const struct resample_table *t;
    const float *base; /* row0, column 0, first lane of the block */
    const int64_t *rows;
    const float *row_weights;
    ptrdiff_t row_pitch, pixel_pitch;
};

static ALWAYS_INLINE vec blend(const struct source *s, int x, int lane) {
    const int *cols = s->t->col_index + (ptrdiff_t)x * s->t->col_taps;
    const float *col_weights = s->t->col_weight + (ptrdiff_t)x * s->t->col_taps;
    vec sum = {0};
    for (int r = 0; r < s->t->row_taps; r++) {
        const float *row = s->base + s->rows[r] * s->row_pitch + lane;
        vec along = vec_load(row + cols[0] * s->pixel_pitch) * col_weights[0];
        for (int c = 1; c < s->t->col_taps; c++)
            along += vec_load(row + cols[c] * s->pixel_pitch) * col_weights[c];
        sum = r == 0 ? along * s->row_weights[r] : sum + along * s->row_weights[r];
    }
    return sum;
}

static float blend_one(const struct source *s, int x, int lane) {
    const int *cols = s->t->col_index + (ptrdiff_t)x * s->t->col_taps;
    const float *col_weights = s->t->col_weight + (ptrdiff_t)x * s->t->col_taps;
    float sum = 0;
    for (int r = 0; r < s->t->row_taps; r++) {
        const float *row = s->base + s->rows[r] * s->row_pitch + lane;
        float along = row[cols[0] * s->pixel_pitch] * col_weights[0];
        for (int c = 1; c < s->t->col_taps; c++)
            along += row[cols[c] * s->pixel_pitch] * col_weights[c];
        sum = r == 0 ? along * s->row_weights[r] : sum + along * s->row_weights[r];
    }
    return sum;
}

static void resample_rows(const struct resample_table *t, const struct view *in,
                          const struct view *out, int64_t y0, int64_t y1, int block0, int block1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; block < block1; block++) {
            struct source s = {.t = t,
                               .base = in->data + block * in->block_pitch -
                                       (ptrdiff_t)in->row0 * in->row_pitch,
                               .rows = t->row_index + (y - y0) * t->row_taps,
                               .row_weights = t->row_weight + (y - y0) * t->row_taps,
                               .row_pitch = in->row_pitch,
                               .pixel_pitch = in->pixel_pitch};
            int lanes = view_lanes(out, block);
            float *to = view_at(out, y, block * BLOCK, 0);
            for (int x = 0; x < out->width; x++, to += out->pixel_pitch) {
                if (in->blocked && out->blocked)
                    for (int v = 0; v < BLOCK; v += VL)
                        vec_store(to + v, blend(&s, x, v));
                else
                    for (int j = 0; j < lanes; j++)
                        to[j] = blend_one(&s, x, j);
            }
            zero_lanes_beyond(out, y, block, 0, out->width);
        }
    }
}
