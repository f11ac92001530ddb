/* Elementwise operators on views: unary, per-channel affine and PReLU, binary with broadcasting.
 *
 * Each works on runs of floats: a whole row of a block where pixels touch, one pixel's channels
 * otherwise.  Whatever f(0) is, lanes beyond the last channel end as zero. */
#include "kernels/generic/activate.h"
#include "kernels/generic/mathfun.h"
#include "kernels/plainops.h"

#include <math.h>

/* ---- unary ----------------------------------------------------------------------------------- */

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

/* ---- binary ---------------------------------------------------------------------------------- */

/* `pixels` runs of n floats; an operand's step is 1, or 0 when one number serves the run.  One loop
 * for each way in which the operands step; whole blocks of 16 get a loop of their own, through a
 * local array, which the compiler makes vectors of without asking whether memory overlaps. */
struct binary_line {
    float *out;
    const float *a, *b;
    ptrdiff_t out_pitch, a_pitch, b_pitch; /* from pixel to pixel */
    int a_step, b_step;
    int pixels;
    ptrdiff_t n;
};

#define LINE(name, expression)                                                                     \
    static float name##_one(float p, float q) {                                                    \
        return expression;                                                                         \
    }                                                                                              \
    static void name##_run(float *out, const float *a, const float *b, ptrdiff_t n, int a_step,    \
                           int b_step) {                                                           \
        if (a_step && b_step) {                                                                    \
            for (ptrdiff_t i = 0; i < n; i++)                                                      \
                out[i] = name##_one(a[i], b[i]);                                                   \
        } else if (a_step) {                                                                       \
            float q = *b;                                                                          \
            for (ptrdiff_t i = 0; i < n; i++)                                                      \
                out[i] = name##_one(a[i], q);                                                      \
        } else if (b_step) {                                                                       \
            float p = *a;                                                                          \
            for (ptrdiff_t i = 0; i < n; i++)                                                      \
                out[i] = name##_one(p, b[i]);                                                      \
        } else {                                                                                   \
            float r = name##_one(*a, *b);                                                          \
            for (ptrdiff_t i = 0; i < n; i++)                                                      \
                out[i] = r;                                                                        \
        }                                                                                          \
    }                                                                                              \
    static void name(const struct binary_line *l) {                                                \
        float *out = l->out;                                                                       \
        const float *a = l->a, *b = l->b;                                                          \
        for (int x = 0; x < l->pixels; x++) {                                                      \
            if (l->n == BLOCK && l->a_step && l->b_step) {                                         \
                float r[BLOCK];                                                                    \
                for (int j = 0; j < BLOCK; j++)                                                    \
                    r[j] = name##_one(a[j], b[j]);                                                 \
                for (int j = 0; j < BLOCK; j++)                                                    \
                    out[j] = r[j];                                                                 \
            } else {                                                                               \
                name##_run(out, a, b, l->n, l->a_step, l->b_step);                                 \
            }                                                                                      \
            out += l->out_pitch;                                                                   \
            a += l->a_pitch;                                                                       \
            b += l->b_pitch;                                                                       \
        }                                                                                          \
    }

LINE(line_add, p + q)
LINE(line_sub, p - q)
LINE(line_mul, (p * q))
LINE(line_div, p / q)
LINE(line_pow, math_pow(p, q))
LINE(line_max, p > q || p != p ? p : q)
LINE(line_min, p < q || p != p ? p : q)

typedef void binary_fn(const struct binary_line *l);
static binary_fn *const binary_lines[] = {line_add, line_sub, line_mul, line_div,
                                          line_pow, line_max, line_min};

static const float *operand_at(const struct binary_operand *o, int64_t y, int block) {
    return view_at(&o->view, y, o->broadcast_lanes ? 0 : block * BLOCK, 0);
}

/* Does the operand, along a row of a block, lie just like the output?  (With a single channel, one
 * number for all channels is no broadcast.) */
static bool operand_touches(const struct binary_operand *o, const struct view *out) {
    return (!o->broadcast_lanes || out->channels == 1) && o->view.pixel_pitch == out->pixel_pitch;
}

/* Is the operand one number for the whole row of a block? */
static bool operand_stands(const struct binary_operand *o, const struct view *out) {
    return o->broadcast_lanes && (o->view.pixel_pitch == 0 || out->width == 1);
}

void binary_rows(enum binary_op op, const struct binary_operand *a, const struct binary_operand *b,
                 const struct view *out, const struct kernel_epilogue *e, int64_t y0, int64_t y1,
                 int block0, int block1) {
    bool row_at_once = (operand_touches(a, out) || operand_stands(a, out)) &&
                       (operand_touches(b, out) || operand_stands(b, out));
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; block < block1; block++) {
            struct runs o = runs_of(out, block, 0, out->width);
            struct binary_line l = {.out = view_at(out, y, block * BLOCK, 0),
                                    .a = operand_at(a, y, block),
                                    .b = operand_at(b, y, block),
                                    .out_pitch = out->pixel_pitch,
                                    .a_pitch = a->view.pixel_pitch,
                                    .b_pitch = b->view.pixel_pitch,
                                    .a_step = !a->broadcast_lanes,
                                    .b_step = !b->broadcast_lanes,
                                    .pixels = out->width,
                                    .n = view_lanes(out, block)};
            if (o.pixels == 1 && row_at_once) {
                l.pixels = 1;
                l.n = o.length;
                l.a_step = operand_touches(a, out);
                l.b_step = operand_touches(b, out);
            }
            binary_lines[op](&l);
            epilogue_apply(e, out, y, block, 0, out->width);
        }
    }
}
