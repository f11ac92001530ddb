/* Matrix product by a micro-kernel: features in panels of 16, weights [panel][k][16].
 *
 * Two panels go together where the micro-kernel can, and share what it reads of the tokens.
 * A row of tokens is a pixel, its features are the channels of one segment.  With one row the
 * weights stream through once, in order: memory speed; with many, a slice of k of a panel stays
 * near while the rows pass.  The slices depend on k alone, so a row's bits do not depend on others.
 */
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

void panel_pack_matrix(const struct gemm_shape *s, const float *w, ptrdiff_t pitch, int k0, int k1,
                       int n0, int count, void *packed) {
    float *to = (float *)packed + (size_t)n0 * (size_t)s->k + (size_t)k0 * BLOCK;
    if (count == BLOCK) { /* whole panels, a cache line at a time */
        for (int k = k0; k < k1; k++, to += BLOCK, w += pitch)
            memcpy(to, w, BLOCK * sizeof *to);
        return;
    }
    for (int k = k0; k < k1; k++, to += BLOCK, w += pitch)
        memcpy(to, w, (size_t)count * sizeof *to);
}

/* What one call of panel_rows() does: rows [y0, y1) of `panels` panels from `panel` on, features
 * [k0, k1) of the input in slices. */
struct part {
    int64_t y0, y1;
    int panel, panels, k0, k1, slice;
    bool finish; /* the epilogue with the last features */
};

static void panel_rows(const struct gemm_args *a, const struct micro *m, const struct part *p) {
    int k_all = a->shape->k, n = p->panel * BLOCK, k = p->k0;
    float bias[2 * BLOCK] = {0};
    const struct view *residual = a->epilogue.residual;
    struct micro_args t = {.in_pixel = a->in_pitch,
                           .out_pixel = a->out_pitch,
                           .segs = 1,
                           .taps_y = 1,
                           .taps_x = 1,
                           .blocks = p->panels,
                           .w_block = (ptrdiff_t)k_all * BLOCK,
                           .out_block = BLOCK,
                           .lane1 = (int)least(BLOCK, a->n1 - n)};
    for (int j = 0; a->bias && j < p->panels * BLOCK && n + j < a->n1; j++)
        bias[j] = a->bias[n + j];
    do { /* at least once: k_all == 0 leaves the bias */
        t.lanes = (int)least(p->slice, p->k1 - k);
        t.w = (const float *)a->weights + (size_t)n * (size_t)k_all + (size_t)k * BLOCK;
        t.init = k == 0 ? bias : NULL;
        t.in = a->in + (p->y0 - a->in_row0) * a->in_pitch + k;
        t.out = a->out + (p->y0 - a->out_row0) * a->out_pitch + n;
        k += t.lanes;
        if (p->finish && k == k_all) {
            micro_finish_with(&t, &a->epilogue);
            t.residual = residual ? view_at(residual, p->y0, n, 0) : NULL;
            t.residual_pixel = residual ? residual->row_pitch : 0;
            t.residual_block = residual ? residual->block_pitch : 0;
        }
        m->run(&t, (int)(p->y1 - p->y0));
    } while (k < p->k1);
}

/* All panels of some rows and features. */
static void panels_run(const struct gemm_args *a, const struct micro *m, struct part *p) {
    const struct view out = gemm_out_view(a);
    bool last = p->k1 == a->shape->k;
    p->finish = micro_finishes(a->epilogue.act);
    for (int n = a->n0; n < a->n1; n += p->panels * BLOCK) {
        p->panel = n / BLOCK;
        p->panels = m->blocks > 1 && n + 2 * BLOCK <= a->n1 ? 2 : 1;
        panel_rows(a, m, p);
        for (int b = p->panel; last && !p->finish && b < p->panel + p->panels; b++)
            epilogue_apply(&a->epilogue, &out, p->y0, p->y1, b);
    }
}

void panel_run(const struct gemm_args *a, const struct micro *m) {
    int k_all = a->shape->k, slices = (k_all + m->chunk - 1) / m->chunk;
    /* slices of about equal length, in whole blocks */
    int slice = slices > 1 ? ((k_all + slices - 1) / slices + BLOCK - 1) / BLOCK * BLOCK : k_all;
    int64_t floats = micro_input_bytes(a->shape->board) / (int64_t)sizeof(float);
    /* Few rows: a panel's weights in one go, as they lie.  Many: slice by slice, so that many rows
     * of the input stay near and the weights come by seldom. */
    int step = slices > 1 && (a->y1 - a->y0) * k_all > floats ? slice : k_all;
    int64_t tiles = floats / (step + 1) / m->pixels;
    int64_t at_once = (tiles > 0 ? tiles : 1) * m->pixels;
    struct part p = {.slice = slice};
    for (p.y0 = a->y0; p.y0 < a->y1; p.y0 = p.y1) {
        p.y1 = least(p.y0 + at_once, a->y1);
        p.k0 = 0;
        do {
            p.k1 = (int)least(p.k0 + step, k_all);
            panels_run(a, m, &p);
            p.k0 = p.k1;
        } while (p.k0 < k_all);
    }
}
