/* Elementwise operators on views: unary, per-channel affine and PReLU, binary with broadcasting.
 *
 * Each works on runs of floats: a whole row of a block where pixels touch, one pixel's channels
 * otherwise.  Whatever f(0) is, lanes beyond the last channel end as zero. */
#include "kernels/generic/activate.h"
#include "kernels/generic/mathfun.h"
#include "kernels/plainops.h"

#include <math.h>

/* ---- unary --------------------------------------------------------------------------------------
 */

#define EACH(expression)                                                                           \
    for (ptrdiff_t i = 0; i < n; i++) {                                                            \
        float x = in[i];                                                                           \
        out[i] = (expression);                                                                     \
    }                                                                                              \
    break

static void unary_run(enum unary_op op, float a, float b, const float *in, float *out,
                      ptrdiff_t n) {
    switch (op) {
    case UNARY_COPY:
        EACH(x);
    case UNARY_EXP:
        EACH(math_exp(x));
    case UNARY_SQRT:
        EACH(sqrtf(x));
    case UNARY_ERF:
        EACH(math_erf(x));
    case UNARY_GELU:
        EACH(math_gelu(x));
    case UNARY_POW:
        EACH(a == 2.0f ? x * x : math_pow(x, a));
    case UNARY_ABS:
        EACH(math_from_bits(math_bits(x) & 0x7fffffffu));
    case UNARY_NEG:
        EACH(-x);
    case UNARY_AFFINE:
        EACH(a * x + b);
    }
}

/* Do both views' pixels of a row follow one another alike, so that one run covers the row? */
static bool same_runs(struct runs a, struct runs b) {
    return a.pixels == 1 && b.pixels == 1 && a.length == b.length;
}

void unary_rows(enum unary_op op, float a, float b, const struct view *in, const struct view *out,
                const struct kernel_epilogue *e, int64_t y0, int64_t y1, int block0, int block1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; block < block1; block++) {
            struct runs o = runs_of(out, block, 0, out->width);
            const float *from = view_at(in, y, block * BLOCK, 0);
            float *to = view_at(out, y, block * BLOCK, 0);
            if (same_runs(o, runs_of(in, block, 0, out->width))) {
                unary_run(op, a, b, from, to, o.length);
            } else {
                int lanes = view_lanes(out, block);
                for (int x = 0; x < out->width; x++)
                    unary_run(op, a, b, from + x * in->pixel_pitch, to + x * out->pixel_pitch,
                              lanes);
            }
            epilogue_apply(e, out, y, block, 0, out->width);
        }
    }
}

void affine_rows(const float *scale, const float *shift, const struct view *in,
                 const struct view *out, const struct kernel_epilogue *e, int64_t y0, int64_t y1,
                 int block0, int block1) {
    for (int block = block0; block < block1; block++) {
        int lanes = view_lanes(out, block);
        float s[BLOCK] = {0}, t[BLOCK] = {0};
        for (int j = 0; j < lanes; j++) {
            s[j] = scale[block * BLOCK + j];
            t[j] = shift[block * BLOCK + j];
        }
        for (int64_t y = y0; y < y1; y++) {
            const float *from = view_at(in, y, block * BLOCK, 0);
            float *to = view_at(out, y, block * BLOCK, 0);
            for (int x = 0; x < out->width; x++) {
                if (lanes == BLOCK)
                    for (int j = 0; j < BLOCK; j++)
                        to[j] = from[j] * s[j] + t[j];
                else
                    for (int j = 0; j < lanes; j++)
                        to[j] = from[j] * s[j] + t[j];
                from += in->pixel_pitch;
                to += out->pixel_pitch;
            }
            epilogue_apply(e, out, y, block, 0, out->width);
        }
    }
}

void prelu_rows(const float *slope, const struct view *in, const struct view *out, int64_t y0,
                int64_t y1, int block0, int block1) {
    for (int block = block0; block < block1; block++) {
        int lanes = view_lanes(out, block);
        float s[BLOCK] = {0};
        for (int j = 0; j < lanes; j++)
            s[j] = slope[block * BLOCK + j];
        for (int64_t y = y0; y < y1; y++) {
            const float *from = view_at(in, y, block * BLOCK, 0);
            float *to = view_at(out, y, block * BLOCK, 0);
            for (int x = 0; x < out->width; x++) {
                for (int j = 0; j < lanes; j++)
                    to[j] = from[j] < 0 ? from[j] * s[j] : from[j];
                from += in->pixel_pitch;
                to += out->pixel_pitch;
            }
            zero_lanes_beyond(out, y, block, 0, out->width);
        }
    }
}

/* ---- binary -------------------------------------------------------------------------------------
 */

/* One loop for each way in which the operands step: both along, one of them standing. */
#define RUN(name, expression)                                                                      \
    static void name(float *out, const float *a, const float *b, ptrdiff_t n, int a_step,          \
                     int b_step) {                                                                 \
        if (a_step && b_step) {                                                                    \
            for (ptrdiff_t i = 0; i < n; i++) {                                                    \
                float p = a[i], q = b[i];                                                          \
                out[i] = (expression);                                                             \
            }                                                                                      \
        } else if (a_step) {                                                                       \
            float q = *b;                                                                          \
            for (ptrdiff_t i = 0; i < n; i++) {                                                    \
                float p = a[i];                                                                    \
                out[i] = (expression);                                                             \
            }                                                                                      \
        } else {                                                                                   \
            float p = *a;                                                                          \
            for (ptrdiff_t i = 0; i < n; i++) {                                                    \
                float q = b_step ? b[i] : *b;                                                      \
                out[i] = (expression);                                                             \
            }                                                                                      \
        }                                                                                          \
    }

RUN(run_add, p + q)
RUN(run_sub, p - q)
RUN(run_mul, p *q)
RUN(run_div, p / q)
RUN(run_pow, math_pow(p, q))
RUN(run_max, p > q || p != p ? p : q)
RUN(run_min, p < q || p != p ? p : q)

typedef void binary_run(float *out, const float *a, const float *b, ptrdiff_t n, int a_step,
                        int b_step);
static binary_run *const binary_runs[] = {run_add, run_sub, run_mul, run_div,
                                          run_pow, run_max, run_min};

static const float *operand_at(const struct binary_operand *o, int64_t y, int block) {
    return view_at(&o->view, y, o->broadcast_lanes ? 0 : block * BLOCK, 0);
}

/* Does the operand, along a row of a block, lie just like the output? */
static bool operand_touches(const struct binary_operand *o, const struct view *out) {
    return !o->broadcast_lanes && o->view.pixel_pitch == out->pixel_pitch;
}

/* Is the operand one number for the whole row of a block? */
static bool operand_stands(const struct binary_operand *o, const struct view *out) {
    return o->broadcast_lanes && (o->view.pixel_pitch == 0 || out->width == 1);
}

void binary_rows(enum binary_op op, const struct binary_operand *a, const struct binary_operand *b,
                 const struct view *out, const struct kernel_epilogue *e, int64_t y0, int64_t y1,
                 int block0, int block1) {
    binary_run *run = binary_runs[op];
    int a_step = !a->broadcast_lanes, b_step = !b->broadcast_lanes;
    bool row_at_once = (operand_touches(a, out) || operand_stands(a, out)) &&
                       (operand_touches(b, out) || operand_stands(b, out));
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; block < block1; block++) {
            struct runs o = runs_of(out, block, 0, out->width);
            const float *pa = operand_at(a, y, block), *pb = operand_at(b, y, block);
            float *to = view_at(out, y, block * BLOCK, 0);
            if (o.pixels == 1 && row_at_once) {
                run(to, pa, pb, o.length, a_step, b_step);
            } else {
                int lanes = view_lanes(out, block);
                for (int x = 0; x < out->width; x++) {
                    run(to, pa, pb, lanes, a_step, b_step);
                    to += out->pixel_pitch;
                    pa += a->view.pixel_pitch;
                    pb += b->view.pixel_pitch;
                }
            }
            epilogue_apply(e, out, y, block, 0, out->width);
        }
    }
}
