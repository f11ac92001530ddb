/* Matrix product with weights as float16, arithmetic in float32: panels of 16 features,
 * [panel][k][16].  One source for every instruction set; a folder's gemm_ISA_f16.c includes it.
 *
 * One row, as in a fully connected layer of one picture, is limited by memory: weights are widened
 * on their way into the multiplier, a few panels at once so that one sum need not wait for the
 * next.  With more rows, a slice of k of one or two panels is widened into the first-level cache
 * and multiplied by the folder's micro-kernel.  Which of the two is decided by the whole value's
 * rows, so a row's bits do not depend on the tile. */
#include "kernels/generic/half.h"
#include "kernels/generic/vec.h"
#include "kernels/micro.h"

#define HALF_CHUNK  128 /* of k: 8 KB of widened weights a panel */
#define HALF_BLOCKS 2
#define HALF_MOST   65504.0f /* the largest finite float16 */
/* Panels of one row's product at once: eight sums where registers allow. */
#define ROW_PANELS (VL == 4 ? 2 : 4)
#define ROW_CHUNK  256 /* products of k before they join the others: less rounding */

static int half_least(int64_t a, int64_t b) {
    return (int)(a < b ? a : b);
}

static size_t half_weights_bytes(const struct gemm_shape *s) {
    return (size_t)(s->n + BLOCK - 1) / BLOCK * BLOCK * (size_t)s->k * sizeof(uint16_t);
}

static size_t half_workspace_bytes(const struct gemm_shape *s) {
    return s->rows == 1 ? 0 : sizeof(float) * HALF_CHUNK * BLOCK * HALF_BLOCKS;
}

/* Rows [k0, k1) of k from element (k, n0+j) at w[(k - k0) * k_step + j * n_step].  Too large
 * numbers saturate. */
static void half_pack_any(const struct gemm_shape *s, const float *w, ptrdiff_t k_step,
                          ptrdiff_t n_step, int k0, int k1, int n0, int count, void *packed) {
    uint16_t *to = (uint16_t *)packed + (size_t)n0 * (size_t)s->k;
    for (int k = k0; k < k1; k++) {
        float row[BLOCK] = {0};
        for (int j = 0; j < count; j++) {
            float x = w[(k - k0) * k_step + j * n_step];
            x = x > HALF_MOST ? HALF_MOST : x;
            row[j] = x < -HALF_MOST ? -HALF_MOST : x;
        }
        float_to_half(row, to + (size_t)k * BLOCK, BLOCK);
    }
}

static void half_pack(const struct gemm_shape *s, const float *w, int n0, int count, void *packed) {
    half_pack_any(s, w, 1, s->k, 0, s->k, n0, count, packed);
}

static void half_pack_matrix(const struct gemm_shape *s, const float *w, ptrdiff_t pitch, int k0,
                             int k1, int n0, int count, void *packed) {
    half_pack_any(s, w, pitch, 1, k0, k1, n0, count, packed);
}

static const uint16_t *half_panel(const struct gemm_args *a, int panel, int k) {
    return (const uint16_t *)a->weights + ((size_t)panel * (size_t)a->shape->k + (size_t)k) * BLOCK;
}

/* ---- one row --------------------------------------------------------------------------------- */

static ALWAYS_INLINE vec half_load(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
#elif defined(__F16C__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
#elif HALF_IN_HARDWARE
    return (vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    float x[VL];
    for (int i = 0; i < VL; i++)
        x[i] = half_to_float_one(p[i]);
    return vec_load(x);
#endif
}

/* Products of `panels` panels (constant after inlining) from k0 on, added to total. */
static ALWAYS_INLINE void half_row_chunk(const int panels, const float *in, const uint16_t *w,
                                         size_t panel_pitch, int depth, float *total) {
    vec sum[ROW_PANELS * NV];
    VEC_UNROLL
    for (int i = 0; i < panels * NV; i++)
        sum[i] = vec_set(0);
    for (int k = 0; k < depth; k++, w += BLOCK) {
        const vec x = vec_set(in[k]);
        VEC_UNROLL
        for (int i = 0; i < panels * NV; i++)
            sum[i] =
                vec_fma(x, half_load(w + (size_t)(i / NV) * panel_pitch + i % NV * VL), sum[i]);
    }
    VEC_UNROLL
    for (int i = 0; i < panels * NV; i++)
        vec_store(total + i * VL, vec_load(total + i * VL) + sum[i]);
}

static ALWAYS_INLINE void half_row_panels(const struct gemm_args *a, const int panels, int panel) {
    int k_all = a->shape->k, n = panel * BLOCK, count = half_least(panels * BLOCK, a->n1 - n);
    const float *in = a->in + (a->y0 - a->in_row0) * a->in_pitch;
    float *out = a->out + (a->y0 - a->out_row0) * a->out_pitch + n, total[ROW_PANELS * BLOCK] = {0};
    for (int j = 0; a->bias && j < count; j++)
        total[j] = a->bias[n + j];
    for (int k = 0; k < k_all; k += ROW_CHUNK)
        half_row_chunk(panels, in + k, half_panel(a, panel, k), (size_t)k_all * BLOCK,
                       half_least(ROW_CHUNK, k_all - k), total);
    for (int j = 0; j < count; j++)
        out[j] = total[j];
}

static void half_row(const struct gemm_args *a) {
    int panel = a->n0 / BLOCK, end = (a->n1 + BLOCK - 1) / BLOCK;
    for (; panel + ROW_PANELS <= end; panel += ROW_PANELS)
        half_row_panels(a, ROW_PANELS, panel);
    for (; panel < end; panel++)
        half_row_panels(a, 1, panel);
}

/* ---- several rows ---------------------------------------------------------------------------- */

/* Rows [y0, y1) of `blocks` panels. */
static void half_rows(const struct gemm_args *a, const struct micro *m, int panel, int blocks,
                      int64_t y0, int64_t y1) {
    int k_all = a->shape->k, n = panel * BLOCK;
    float bias[HALF_BLOCKS * BLOCK] = {0}, *wide = a->workspace;
    struct micro_args t = {.in_pixel = a->in_pitch,
                           .out_pixel = a->out_pitch,
                           .out_block = BLOCK,
                           .w = wide,
                           .w_block = (ptrdiff_t)HALF_CHUNK * BLOCK,
                           .blocks = blocks,
                           .segs = 1,
                           .taps_y = 1,
                           .taps_x = 1,
                           .lane1 = half_least(BLOCK, a->n1 - n)};
    for (int j = 0; a->bias && j < half_least((int64_t)blocks * BLOCK, a->n1 - n); j++)
        bias[j] = a->bias[n + j];
    int k = 0;
    do { /* at least once: k == 0 leaves the bias */
        t.lanes = half_least(HALF_CHUNK, k_all - k);
        for (int b = 0; b < blocks; b++)
            half_to_float(half_panel(a, panel + b, k), wide + b * t.w_block,
                          (ptrdiff_t)t.lanes * BLOCK);
        t.init = k == 0 ? bias : NULL;
        t.in = a->in + (y0 - a->in_row0) * a->in_pitch + k;
        t.out = a->out + (y0 - a->out_row0) * a->out_pitch + n;
        m->run(&t, (int)(y1 - y0));
        k += t.lanes;
    } while (k < k_all);
}

static void half_all_rows(const struct gemm_args *a, const struct micro *m) {
    int64_t row_bytes = (int64_t)a->shape->k * (int64_t)sizeof(float) + 1;
    int64_t at_once = micro_input_bytes(a->shape->board) / row_bytes;
    if (at_once < 4 * m->pixels)
        at_once = 4 * m->pixels;
    for (int64_t y0 = a->y0, y1; y0 < a->y1; y0 = y1) {
        y1 = y0 + at_once < a->y1 ? y0 + at_once : a->y1;
        for (int panel = a->n0 / BLOCK, blocks; panel * BLOCK < a->n1; panel += blocks) {
            bool pair = m->blocks > 1 && (panel + HALF_BLOCKS) * BLOCK <= a->n1;
            blocks = pair ? HALF_BLOCKS : 1;
            half_rows(a, m, panel, blocks, y0, y1);
        }
    }
}

static void half_run(const struct gemm_args *a, const struct micro *m) {
    const struct view out = gemm_out_view(a);
    if (a->y0 >= a->y1)
        return;
    if (a->shape->rows == 1)
        half_row(a);
    else
        half_all_rows(a, m);
    for (int panel = a->n0 / BLOCK; panel * BLOCK < a->n1; panel++)
        epilogue_apply(&a->epilogue, &out, a->y0, a->y1, panel);
}

/* An instruction set's gemm_kernel; many, one: as for PANEL_KERNEL. */
#define HALF_KERNEL(SYMBOL, ISA, MICRO, MANY, ONE)                                                 \
    static double rate(const struct gemm_shape *s) {                                               \
        return s->rows > 1 ? MANY : ONE;                                                           \
    }                                                                                              \
    static void run(const struct gemm_args *a) {                                                   \
        half_run(a, &MICRO);                                                                       \
    }                                                                                              \
    const struct gemm_kernel SYMBOL = {.name = #SYMBOL,                                            \
                                       .isa = ISA,                                                 \
                                       .row_exact = true,                                          \
                                       .half = true,                                               \
                                       .rate = rate,                                               \
                                       .weights_bytes = half_weights_bytes,                        \
                                       .pack = half_pack,                                          \
                                       .pack_matrix = half_pack_matrix,                            \
                                       .workspace_bytes = half_workspace_bytes,                    \
                                       .run = run};
