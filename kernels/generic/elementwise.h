/* Elementwise operators on views: unary, per-channel affine and PReLU, binary with broadcasting.
 *
 * Each works on runs of floats: a whole row of a block where pixels touch, one pixel's channels
 * otherwise; a row of tokens is one run.  Whatever f(0) is, lanes beyond the last channel end as
 * zero.  (Part of plain.h.) */
#include "kernels/generic/epilogue.h"
#include "kernels/plainops.h"

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool tokens_touch(const struct view *v) {
    return !v->blocked && v->width == 1 && v->block_pitch == BLOCK && v->channels > BLOCK;
}

/* Features [block0*16, block1*16) of tokens as pixels of one channel: then they are one run. */
static struct view tokens_as_pixels(struct view v, int block0, int block1) {
    int c0 = block0 * BLOCK, c1 = block1 * BLOCK < v.channels ? block1 * BLOCK : v.channels;
    v.data += c0;
    v.width = c1 - c0;
    v.channels = 1;
    v.pixel_pitch = 1;
    return v;
}

/* ---- unary ----------------------------------------------------------------------------------- */

#define EACH(which, expression)                                                                    \
    case which:                                                                                    \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            float x = in[i];                                                                       \
            out[i] = (expression);                                                                 \
        }                                                                                          \
        break;
#define EACH_VEC(which, function)                                                                  \
    case which: {                                                                                  \
        ptrdiff_t i = 0;                                                                           \
        for (; i + VL <= n; i += VL)                                                               \
            vec_store(out + i, v##function(vec_load(in + i)));                                     \
        for (; i < n; i++)                                                                         \
            out[i] = function(in[i]);                                                              \
        break;                                                                                     \
    }

static void unary_run(enum unary_op op, float a, float b, const float *in, float *out,
                      ptrdiff_t n) {
    switch (op) {
        EACH(UNARY_COPY, x)
        EACH_VEC(UNARY_EXP, math_exp)
        EACH(UNARY_SQRT, sqrtf(x))
        EACH_VEC(UNARY_ERF, math_erf)
        EACH_VEC(UNARY_GELU, math_gelu)
        EACH(UNARY_ABS, math_from_bits(math_bits(x) & 0x7fffffffu))
        EACH(UNARY_NEG, -x)
        EACH(UNARY_AFFINE, a * x + b)
    case UNARY_POW:
        if (a == 2.0f)
            for (ptrdiff_t i = 0; i < n; i++)
                out[i] = in[i] * in[i];
        else
            for (ptrdiff_t i = 0; i < n; i++)
                out[i] = math_pow(in[i], a);
        break;
    }
}

#undef EACH
#undef EACH_VEC

/* Do both views' pixels of a row follow one another alike, so that one run covers the row? */
static bool same_runs(struct runs a, struct runs b) {
    return a.pixels == 1 && b.pixels == 1 && a.length == b.length;
}

static void unary_rows(enum unary_op op, float a, float b, const struct view *in,
                       const struct view *out, const struct kernel_epilogue *e, int64_t y0,
                       int64_t y1, int block0, int block1) {
    struct view flat_in, flat_out;
    /* an activation alone is one pass, not a copy and a pass */
    bool activation = op == UNARY_COPY && e->act != KACT_NONE && !e->residual;
    struct kernel_epilogue rest = *e;
    if (activation)
        rest.act = KACT_NONE;
    if (tokens_touch(in) && tokens_touch(out) && !e->residual && block0 < block1) {
        flat_in = tokens_as_pixels(*in, block0, block1);
        flat_out = tokens_as_pixels(*out, block0, block1);
        in = &flat_in;
        out = &flat_out;
        block0 = 0;
        block1 = 1;
    }
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; block < block1; block++) {
            struct runs o = runs_of(out, block, 0, out->width);
            const float *from = view_at(in, y, block * BLOCK, 0);
            float *to = view_at(out, y, block * BLOCK, 0);
            if (!same_runs(o, runs_of(in, block, 0, out->width)))
                o = (struct runs){.pixels = out->width, .length = view_lanes(out, block)};
            if (activation)
                activate_runs(e->act, e->a, e->b, from, in->pixel_pitch, to, out->pixel_pitch,
                              o.length, o.pixels);
            for (int x = 0; !activation && x < o.pixels; x++) {
                unary_run(op, a, b, from, to, o.length);
                from += in->pixel_pitch;
                to += out->pixel_pitch;
            }
            epilogue_rows(&rest, out, y, y + 1, block);
        }
    }
}

/* ---- one number a channel -------------------------------------------------------------------- */

/* `pixels` whole blocks of 16 lanes; act is constant after inlining. */
static ALWAYS_INLINE void affine_blocks(const enum kernel_act act, float a, float b, const float *s,
                                        const float *t, const float *from, ptrdiff_t from_pitch,
                                        float *to, ptrdiff_t to_pitch, int pixels) {
    vec scale[NV], shift[NV];
    for (int v = 0; v < NV; v++) {
        scale[v] = vec_load(s + v * VL);
        shift[v] = vec_load(t + v * VL);
    }
    for (int x = 0; x < pixels; x++, from += from_pitch, to += to_pitch)
        for (int v = 0; v < NV; v++)
            vec_store(to + v * VL, vmath_act(act, vec_set(a), vec_set(b),
                                             vec_load(from + v * VL) * scale[v] + shift[v]));
}

static void affine_rows(const float *scale, const float *shift, const struct view *in,
                        const struct view *out, const struct kernel_epilogue *e, int64_t y0,
                        int64_t y1, int block0, int block1) {
    bool first = !e->residual && (e->act == KACT_NONE || e->act == KACT_RELU);
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; block < block1; block++) {
            const float *s = scale + block * BLOCK, *t = shift + block * BLOCK;
            const float *from = view_at(in, y, block * BLOCK, 0);
            float *to = view_at(out, y, block * BLOCK, 0);
            int lanes = view_lanes(out, block);
            bool whole = lanes == BLOCK || (in->blocked && out->blocked);
            if (whole && first && e->act == KACT_RELU) {
                affine_blocks(KACT_RELU, 0, 0, s, t, from, in->pixel_pitch, to, out->pixel_pitch,
                              out->width);
                zero_lanes_beyond(out, y, block, 0, out->width);
                continue;
            }
            if (whole)
                affine_blocks(KACT_NONE, 0, 0, s, t, from, in->pixel_pitch, to, out->pixel_pitch,
                              out->width);
            else
                for (int x = 0; x < out->width;
                     x++, from += in->pixel_pitch, to += out->pixel_pitch)
                    for (int j = 0; j < lanes; j++)
                        to[j] = from[j] * s[j] + t[j];
            epilogue_rows(e, out, y, y + 1, block);
        }
    }
}

static void prelu_rows(const float *slope, const struct view *in, const struct view *out,
                       int64_t y0, int64_t y1, int block0, int block1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; block < block1; block++) {
            const float *s = slope + block * BLOCK;
            const float *from = view_at(in, y, block * BLOCK, 0);
            float *to = view_at(out, y, block * BLOCK, 0);
            int lanes = view_lanes(out, block);
            bool whole = lanes == BLOCK || (in->blocked && out->blocked);
            for (int x = 0; x < out->width; x++, from += in->pixel_pitch, to += out->pixel_pitch) {
                if (whole)
                    for (int v = 0; v < BLOCK; v += VL)
                        vec_store(to + v, vmath_act(KACT_LEAKY_RELU, vec_load(s + v), vec_set(0),
                                                    vec_load(from + v)));
                else
                    for (int j = 0; j < lanes; j++)
                        to[j] = math_act(KACT_LEAKY_RELU, s[j], 0, from[j]);
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

/* A pixel's result goes through r: nothing can overlap with that. */
#define BLOCKS(expression)                                                                         \
    do {                                                                                           \
        for (ptrdiff_t x = 0; x < l.pixels; x++) {                                                 \
            for (int j = 0; j < BLOCK; j++)                                                        \
                r[j] = expression;                                                                 \
            for (int j = 0; j < BLOCK; j++)                                                        \
                l.out[x * l.out_pitch + j] = r[j];                                                 \
        }                                                                                          \
    } while (0)

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
    static void name##_blocks(const struct binary_line *args) {                                    \
        const struct binary_line l = *args; /* a copy: stores to the output cannot change it */    \
        float p[BLOCK], q[BLOCK], r[BLOCK];                                                        \
        for (int j = 0; j < BLOCK; j++) {                                                          \
            p[j] = l.a[j];                                                                         \
            q[j] = l.b[j];                                                                         \
        }                                                                                          \
        if (l.b_pitch == 0)                                                                        \
            BLOCKS(name##_one(l.a[x * l.a_pitch + j], q[j]));                                      \
        else if (l.a_pitch == 0)                                                                   \
            BLOCKS(name##_one(p[j], l.b[x * l.b_pitch + j]));                                      \
        else                                                                                       \
            BLOCKS(name##_one(l.a[x * l.a_pitch + j], l.b[x * l.b_pitch + j]));                    \
    }                                                                                              \
    static void name(const struct binary_line *l) {                                                \
        float *out = l->out;                                                                       \
        const float *a = l->a, *b = l->b;                                                          \
        if (l->n == BLOCK && l->a_step && l->b_step) {                                             \
            name##_blocks(l);                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (int x = 0; x < l->pixels; x++) {                                                      \
            name##_run(out, a, b, l->n, l->a_step, l->b_step);                                     \
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

/* Has the operand 16 lanes, or one number, in every block?  (Lanes beyond the last channel may
 * become anything: the epilogue zeroes them.) */
static bool operand_fills(const struct binary_operand *o) {
    return o->view.blocked || o->broadcast_lanes;
}

/* Is the operand one number for the whole row of a block? */
static bool operand_stands(const struct binary_operand *o, const struct view *out) {
    return o->broadcast_lanes && (o->view.pixel_pitch == 0 || out->width == 1);
}

static void binary_rows(enum binary_op op, const struct binary_operand *a,
                        const struct binary_operand *b, const struct view *out,
                        const struct kernel_epilogue *e, int64_t y0, int64_t y1, int block0,
                        int block1) {
    bool whole = out->blocked && operand_fills(a) && operand_fills(b);
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
                                    .n = whole ? BLOCK : view_lanes(out, block)};
            if (o.pixels == 1 && row_at_once) {
                l.pixels = 1;
                l.n = o.length;
                l.a_step = operand_touches(a, out);
                l.b_step = operand_touches(b, out);
            }
            binary_lines[op](&l);
            epilogue_rows(e, out, y, y + 1, block);
        }
    }
}
