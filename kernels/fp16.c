/* Convolution and matrix product in float16 arithmetic (fp16.h): packing, and the walk.
 *
 * Some output rows at once: the input rows that they need go to the workspace as float16, with
 * zeros beyond the image's sides and channels innermost, so that the taps of a kernel's row are one
 * run of numbers and no tile tests for a border; then channel blocks, chunks of their weights,
 * rows, pixels.  Kernel rows outside the image are left out. Where a kernel has one row (or
 * column), only the rows (columns) that a stride leaves are taken.
 *
 * Workspace: [row][column][channels of the group], channels rounded up to 8 if there are as many.
 * Packed weights of a block: scale[16] (float), then [kh][kw][channel][16] (float16). */
#include "kernels/fp16.h"
#include "kernels/micro.h"

#include <math.h>
#include <string.h>

#define INPUT_BYTES (192 * 1024) /* of the workspace, where a row needs no more */
#define SLACK       64           /* bytes that may be read behind weights and input */

static int least(int a, int b) {
    return a < b ? a : b;
}

static int most(int a, int b) {
    return a > b ? a : b;
}

static int blocks_of(int channels) {
    return (channels + BLOCK - 1) / BLOCK;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* The runs of a whole kernel, and how their products are summed. */
struct pieces {
    int taps_y, taps_x, run, piece, together; /* as in struct fp16_args */
};

static struct pieces pieces_of(int taps_y, int taps_x, int run) {
    struct pieces p = {.taps_y = taps_y, .taps_x = taps_x, .run = run, .piece = run, .together = 1};
    int count = (run + FP16_PRODUCTS - 1) / FP16_PRODUCTS;
    if (count > 1)
        p.piece = ((run + count - 1) / count + FP16_LANES - 1) / FP16_LANES * FP16_LANES;
    else
        p.together = most(1, FP16_PRODUCTS / most(run, 1));
    return p;
}

/* Some taps, or part of one tap: what is done between two visits of the output. */
struct chunk {
    int ky0, ky1, kx0, kx1, k0, k1;
};

/* The one that begins at (ky, kx, k). */
static struct chunk chunk_at(const struct pieces *p, int products, int ky, int kx, int k) {
    struct chunk c = {ky, ky + 1, kx, kx + 1, k, p->run};
    int line = p->taps_x * p->run;
    if (line <= products) {
        c.ky1 = least(p->taps_y, ky + products / most(line, 1));
        c.kx1 = p->taps_x;
    } else if (p->run <= products) {
        c.kx1 = least(p->taps_x, kx + products / p->run);
    } else {
        c.k1 = least(p->run, k + most(1, products / p->piece) * p->piece);
    }
    return c;
}

static bool chunk_is_last(const struct pieces *p, const struct chunk *c) {
    return c->ky1 == p->taps_y && c->kx1 == p->taps_x && c->k1 == p->run;
}

static struct chunk chunk_after(const struct pieces *p, int products, const struct chunk *c) {
    if (c->k1 < p->run)
        return chunk_at(p, products, c->ky0, c->kx0, c->k1);
    if (c->kx1 < p->taps_x)
        return chunk_at(p, products, c->ky0, c->kx1, 0);
    return chunk_at(p, products, c->ky1, 0, 0);
}

/* ---- packing --------------------------------------------------------------------------------- */

static size_t block_bytes(size_t products) {
    return (BLOCK * sizeof(float) + products * BLOCK * sizeof(uint16_t) + SLACK - 1) / SLACK *
           SLACK;
}

/* Of one lane: weight i of run r is at w[r * run_step + i / inner * outer_step + i % inner *
 * inner_step], zero for i % inner >= there. */
struct lane {
    const float *w;
    ptrdiff_t run_step, outer_step, inner_step;
    int inner, there;
};

static float weight_at(const struct lane *l, int r, int i) {
    int at = i % l->inner;
    return at < l->there ? l->w[r * l->run_step + i / l->inner * l->outer_step + at * l->inner_step]
                         : 0;
}

/* What a lane's weights are multiplied by. */
static float power_for(const struct lane *l, const struct pieces *p) {
    double largest = 0;
    int exponent = 0;
    for (int r = 0; r < p->taps_y * p->taps_x; r++)
        for (int k = 0; k < p->run; k += p->piece) {
            double sum = 0;
            for (int i = k; i < least(k + p->piece, p->run); i++)
                sum += fabs((double)weight_at(l, r, i));
            largest = sum > largest ? sum : largest;
        }
    if (largest <= 0 || !isfinite(largest))
        return 1;
    frexp(largest * p->together, &exponent); /* 2^(exponent - 1) <= it < 2^exponent */
    return ldexpf(1, -most(-120, least(120, exponent + 1)));
}

static void pack_lane(const struct lane *l, const struct pieces *p, int j, void *packed,
                      const struct fp16_micro *m) {
    enum { AT_ONCE = 64 };
    float *scale = packed, power = power_for(l, p), wide[AT_ONCE];
    uint16_t *to = (uint16_t *)(scale + BLOCK) + j, narrow[AT_ONCE];
    scale[j] = 1 / power;
    for (int r = 0; r < p->taps_y * p->taps_x; r++)
        for (int k = 0, n; k < p->run; k += n, to += n * BLOCK) {
            n = least(AT_ONCE, p->run - k);
            for (int i = 0; i < n; i++)
                wide[i] = weight_at(l, r, k + i) * power;
            m->narrow(wide, n, narrow, n, n, 1);
            for (int i = 0; i < n; i++)
                to[(ptrdiff_t)i * BLOCK] = narrow[i];
        }
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Rounds; infinite numbers become the largest finite ones.  Returns how many did. */
static int64_t narrow_finite(const struct fp16_micro *m, const float *in, ptrdiff_t in_step,
                             uint16_t *out, ptrdiff_t out_step, int lanes, int pixels) {
    int64_t count = 0;
    if (m->narrow(in, in_step, out, out_step, lanes, pixels) < 0x7c00)
        return 0;
    for (int p = 0; p < pixels; p++, out += out_step)
        for (int i = 0; i < lanes; i++)
            if ((out[i] & 0x7fff) == 0x7c00) {
                out[i]--;
                count++;
            }
    return count;
}

/* ---- convolution ----------------------------------------------------------------------------- */

/* One axis of the workspace: position i is input first + i * advance. */
struct side {
    int kernel, dilation; /* in positions */
    int stride;           /* positions from output to output */
    int advance;          /* inputs from position to position */
    int pad, in_stride;
};

static struct side side_make(int kernel, int stride, int dilation, int pad) {
    struct side s = {.kernel = kernel,
                     .dilation = dilation,
                     .stride = stride,
                     .advance = 1,
                     .pad = pad,
                     .in_stride = stride};
    if (kernel == 1) {
        s.stride = 1;
        s.advance = stride;
    }
    return s;
}

/* Positions that `outs` outputs need. */
static int side_positions(const struct side *s, int outs) {
    return (outs - 1) * s->stride + (s->kernel - 1) * s->dilation + 1;
}

struct geometry {
    struct side y, x;
    struct pieces pieces;
    int real, channels; /* of a group; and in the workspace */
    int columns;        /* of the workspace */
    ptrdiff_t pitch;    /* elements from row to row */
    int rows;           /* output rows at once */
    int group_blocks;   /* output blocks of a group */
};

bool fp16_conv_possible(const struct conv_shape *s) {
    return s->groups == 1 ||
           (s->in_c / s->groups % BLOCK == 0 && s->out_c / s->groups % BLOCK == 0);
}

static struct geometry geometry_of(const struct conv_shape *s) {
    struct geometry g = {.real = s->in_c / s->groups,
                         .group_blocks = blocks_of(s->out_c / s->groups)};
    g.y = side_make(s->kernel_h, s->stride_h, s->dilation_h, s->pad_top);
    g.x = side_make(s->kernel_w, s->stride_w, s->dilation_w, s->pad_left);
    g.channels = g.real < FP16_LANES ? g.real : (g.real + FP16_LANES - 1) / FP16_LANES * FP16_LANES;
    bool merged = s->kernel_w == 1 || s->dilation_w == 1;
    g.pieces = merged ? pieces_of(s->kernel_h, 1, s->kernel_w * g.channels)
                      : pieces_of(s->kernel_h, s->kernel_w, g.channels);
    g.columns = side_positions(&g.x, s->out_w);
    g.pitch = ((ptrdiff_t)g.columns * g.channels + FP16_LANES - 1) / FP16_LANES * FP16_LANES;
    int64_t fit = INPUT_BYTES / (g.pitch * (int64_t)sizeof(uint16_t));
    int64_t rows = (fit - side_positions(&g.y, 1)) / g.y.stride + 1;
    int enough = least(s->out_h, 64 / s->out_w + 1); /* to make reading the weights worth while */
    g.rows = rows > enough ? (int)(rows < s->out_h ? rows : s->out_h) : enough;
    return g;
}

double fp16_conv_rate(const struct conv_shape *s, double dense, double narrow) {
    if (!fp16_conv_possible(s))
        return 0;
    struct geometry g = geometry_of(s);
    /* One row: products (those that are no eight cost twice), conversions, and ten cycles for each
     * pixel and block that is finished. */
    int run = g.pieces.run + g.pieces.run % FP16_LANES;
    double products = (double)g.pieces.taps_y * g.pieces.taps_x * run * BLOCK / dense;
    double rounding = (double)g.pitch * side_positions(&g.y, g.rows) / g.rows / narrow;
    double cycles = s->groups * (s->out_w * (double)g.group_blocks * (products + 10) + rounding);
    return (double)s->out_w * s->kernel_h * s->kernel_w * g.real * s->out_c / cycles;
}

/* Rows for which rounding the input is little work, and that fill the micro-kernel. */
int fp16_conv_rows_least(const struct conv_shape *s) {
    int rows = most(64 / s->out_w + 1, 2 * (s->kernel_h - 1) * s->dilation_h / s->stride_h);
    return least(s->out_h, rows);
}

static size_t conv_products(const struct geometry *g) {
    return (size_t)g->pieces.taps_y * (size_t)g->pieces.taps_x * (size_t)g->pieces.run;
}

size_t fp16_conv_weights_bytes(const struct conv_shape *s) {
    struct geometry g = geometry_of(s);
    return (size_t)blocks_of(s->out_c) * block_bytes(conv_products(&g)) + SLACK;
}

size_t fp16_conv_workspace_bytes(const struct conv_shape *s) {
    struct geometry g = geometry_of(s);
    return (size_t)side_positions(&g.y, g.rows) * (size_t)g.pitch * sizeof(uint16_t) + SLACK;
}

void fp16_conv_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed,
                    const struct fp16_micro *m) {
    struct geometry g = geometry_of(s);
    ptrdiff_t taps = (ptrdiff_t)s->kernel_h * s->kernel_w;
    bool merged = g.pieces.taps_x != s->kernel_w || s->kernel_w == 1;
    struct lane l = {.run_step = merged ? s->kernel_w : 1,
                     .outer_step = 1,
                     .inner_step = taps,
                     .inner = g.channels,
                     .there = g.real};
    char *to = (char *)packed + (size_t)(oc0 / BLOCK) * block_bytes(conv_products(&g));
    for (int j = 0; j < BLOCK; j++)
        ((float *)(void *)to)[j] = 1;
    for (int j = 0; j < count; j++) {
        l.w = w + j * g.real * taps;
        pack_lane(&l, &g.pieces, j, to, m);
    }
}

struct walk {
    const struct conv_args *a;
    const struct fp16_micro *m;
    struct geometry g;
    uint16_t *input; /* the workspace */
    int64_t y0, y1;  /* the output rows at hand */
    bool finish;     /* the micro-kernel does the epilogue */
};

/* Some channels of some pixels, of which `there` exist, times factors[there]. */
static int64_t narrow_scaled(const struct fp16_micro *m, const float *in, ptrdiff_t in_step,
                             const float *factors, int there, uint16_t *out, ptrdiff_t out_step,
                             int lanes, int pixels) {
    enum { AT_ONCE = 32 };
    float scaled[AT_ONCE * BLOCK], factor[BLOCK] = {0};
    int64_t count = 0;
    for (int i = 0; i < there; i++)
        factor[i] = factors[i];
    for (int done = 0, n; done < pixels; done += n, in += n * in_step, out += n * out_step) {
        n = least(AT_ONCE, pixels - done);
        for (int p = 0; p < n; p++)
            for (int i = 0; i < lanes; i++)
                scaled[p * BLOCK + i] = in[p * in_step + i] * factor[i];
        count += narrow_finite(m, scaled, BLOCK, out, out_step, lanes, n);
    }
    return count;
}

/* A row of the image to a row of the workspace; returns how many numbers were too large. */
static int64_t narrow_row(const struct walk *k, int64_t y, int c0, uint16_t *to) {
    const struct geometry *g = &k->g;
    const struct side *x = &g->x;
    const struct view *in = &k->a->in;
    /* Columns [first, last) are inside: 0 <= i*advance - pad < in_w. */
    int first = least(g->columns, x->pad > 0 ? (x->pad + x->advance - 1) / x->advance : 0);
    int64_t end = (int64_t)k->a->shape->in_w + x->pad;
    int64_t inside = (end + x->advance - 1) / x->advance;
    int last = most(first, inside < g->columns ? (int)inside : g->columns);
    if (first == last || (!in->blocked && g->channels != g->real)) {
        memset(to, 0, (size_t)g->columns * (size_t)g->channels * sizeof *to);
        if (first == last)
            return 0;
    }
    memset(to, 0, (size_t)first * (size_t)g->channels * sizeof *to);
    memset(to + (ptrdiff_t)last * g->channels, 0,
           (size_t)(g->columns - last) * (size_t)g->channels * sizeof *to);
    int ix = first * x->advance - x->pad;
    uint16_t *at = to + (ptrdiff_t)first * g->channels;
    ptrdiff_t step = in->pixel_pitch * x->advance;
    const float *factors = k->a->factors;
    if (!factors && x->advance == 1 && step == g->channels) /* as in the workspace */
        return narrow_finite(k->m, view_at(in, y, c0, ix), 0, at, 0, (last - first) * g->channels,
                             1);
    int64_t count = 0;
    for (int c = 0; c < g->channels; c += BLOCK) {
        int lanes = least(BLOCK, in->blocked ? g->channels - c : g->real);
        const float *from = view_at(in, y, c0 + c, ix);
        count += factors
                     ? narrow_scaled(k->m, from, step, factors + c, least(lanes, g->real - c),
                                     at + c, g->channels, lanes, last - first)
                     : narrow_finite(k->m, from, step, at + c, g->channels, lanes, last - first);
    }
    return count;
}

/* The first input row of the workspace's position 0. */
static int64_t top_of(const struct walk *k) {
    return k->y0 * k->g.y.in_stride - k->g.y.pad;
}

static void narrow_rows(const struct walk *k, int group) {
    const struct conv_args *a = k->a;
    int positions = side_positions(&k->g.y, (int)(k->y1 - k->y0));
    int64_t count = 0;
    for (int i = 0; i < positions; i++) {
        int64_t y = top_of(k) + (int64_t)i * k->g.y.advance;
        if (y >= 0 && y < a->shape->in_h)
            count += narrow_row(k, y, group * k->g.real, k->input + i * k->g.pitch);
    }
    if (a->saturated)
        *a->saturated += count;
}

static void walk_row(const struct walk *k, const struct chunk *c, int64_t y, int block,
                     const char *packed) {
    const struct conv_args *a = k->a;
    const struct geometry *g = &k->g;
    const struct pieces *p = &g->pieces;
    int ky0 = c->ky0, ky1 = c->ky1;
    int64_t row = y * g->y.in_stride - g->y.pad; /* what tap 0 meets */
    while (ky0 < ky1 && row + (int64_t)ky0 * g->y.dilation < 0)
        ky0++;
    while (ky0 < ky1 && row + (int64_t)(ky1 - 1) * g->y.dilation >= a->shape->in_h)
        ky1--;
    bool first = c->ky0 == 0 && c->kx0 == 0 && c->k0 == 0, last = chunk_is_last(p, c);
    if (ky0 == ky1 && !first && !last)
        return;
    ptrdiff_t position = (ptrdiff_t)(y - k->y0) * g->y.stride + (ptrdiff_t)ky0 * g->y.dilation;
    size_t weight =
        ((size_t)ky0 * (size_t)p->taps_x + (size_t)c->kx0) * (size_t)p->run + (size_t)c->k0;
    struct fp16_args m = {.in_pixel = (ptrdiff_t)g->x.stride * g->channels,
                          .in_y = g->y.dilation * g->pitch,
                          .in_x = (ptrdiff_t)g->x.dilation * g->channels,
                          .taps_y = ky1 - ky0,
                          .taps_x = c->kx1 - c->kx0,
                          .run = c->k1 - c->k0,
                          .piece = p->piece,
                          .together = p->together,
                          .scale = (const float *)(const void *)packed,
                          .out = view_at(&a->out, y, block * BLOCK, 0),
                          .out_pixel = a->out.pixel_pitch,
                          .init = first ? a->bias + block * BLOCK : NULL,
                          .lanes = a->out.blocked ? BLOCK : view_lanes(&a->out, block)};
    m.in = k->input + position * g->pitch + c->kx0 * m.in_x + c->k0;
    m.w = (const uint16_t *)(m.scale + BLOCK) + weight * BLOCK;
    if (last && k->finish) {
        m.act = a->epilogue.act;
        m.act_a = a->epilogue.a;
        m.act_b = a->epilogue.b;
        m.residual_last = a->epilogue.residual_last;
        if (a->epilogue.residual) {
            m.residual = view_at(a->epilogue.residual, y, block * BLOCK, 0);
            m.residual_pixel = a->epilogue.residual->pixel_pitch;
        }
    }
    k->m->run(&m, a->shape->out_w);
}

static void walk_block(const struct walk *k, int block) {
    const struct conv_args *a = k->a;
    const struct pieces *p = &k->g.pieces;
    const char *packed =
        (const char *)a->weights + (size_t)block * block_bytes(conv_products(&k->g));
    struct chunk c = chunk_at(p, FP16_CHUNK, 0, 0, 0);
    for (;;) {
        for (int64_t y = k->y0; y < k->y1; y++)
            walk_row(k, &c, y, block, packed);
        if (chunk_is_last(p, &c))
            break;
        c = chunk_after(p, FP16_CHUNK, &c);
    }
    epilogue_apply(k->finish ? NULL : &a->epilogue, &a->out, k->y0, k->y1, block);
}

/* A clip that makes something of zero must not touch the lanes beyond the last channel. */
static bool finishes_inside(const struct kernel_epilogue *e, bool lanes_beyond) {
    bool zero_stays = e->act != KACT_CLIP || (e->a <= 0 && e->b >= 0);
    return micro_finishes(e->act) && (zero_stays || !lanes_beyond);
}

void fp16_conv_run(const struct conv_args *a, const struct fp16_micro *m) {
    struct walk k = {.a = a, .m = m, .g = geometry_of(a->shape), .input = a->workspace};
    int64_t rows = a->y1 - a->y0, parts = (rows + k.g.rows - 1) / k.g.rows;
    k.finish = finishes_inside(&a->epilogue, a->shape->out_c % BLOCK != 0);
    for (int64_t part = 0; part < parts; part++) { /* about equal ones */
        k.y0 = a->y0 + rows * part / parts;
        k.y1 = a->y0 + rows * (part + 1) / parts;
        for (int block = a->block0; block < a->block1; block++) {
            if (block == a->block0 || block % k.g.group_blocks == 0)
                narrow_rows(&k, block / k.g.group_blocks);
            walk_block(&k, block);
        }
    }
}

/* ---- matrix product -------------------------------------------------------------------------- */

static ptrdiff_t gemm_pitch(const struct gemm_shape *s) {
    return ((ptrdiff_t)s->k + FP16_LANES - 1) / FP16_LANES * FP16_LANES;
}

static int64_t gemm_rows_at_once(const struct gemm_shape *s) {
    int64_t rows = INPUT_BYTES / (((int64_t)gemm_pitch(s) + 1) * (int64_t)sizeof(uint16_t));
    rows = rows < FP16_LANES ? FP16_LANES : rows;
    return rows < s->rows ? rows : s->rows;
}

size_t fp16_gemm_weights_bytes(const struct gemm_shape *s) {
    return (size_t)blocks_of(s->n) * block_bytes((size_t)s->k) + SLACK;
}

size_t fp16_gemm_workspace_bytes(const struct gemm_shape *s) {
    return (size_t)(gemm_rows_at_once(s) * gemm_pitch(s)) * sizeof(uint16_t) + SLACK;
}

void fp16_gemm_pack(const struct gemm_shape *s, const float *w, int n0, int count, void *packed,
                    const struct fp16_micro *m) {
    struct pieces p = pieces_of(1, 1, s->k);
    char *to = (char *)packed + (size_t)(n0 / BLOCK) * block_bytes((size_t)s->k);
    struct lane l = {.inner = most(s->k, 1), .there = s->k, .inner_step = 1};
    for (int j = 0; j < BLOCK; j++)
        ((float *)(void *)to)[j] = 1;
    for (int j = 0; j < count; j++) {
        l.w = w + (ptrdiff_t)j * s->k;
        pack_lane(&l, &p, j, to, m);
    }
}

/* Rows [y0, y1), rounded to `input`, of the panel of features [n, n + 16). */
static void gemm_panel(const struct gemm_args *a, const struct fp16_micro *m, const uint16_t *input,
                       int64_t y0, int64_t y1, int n, bool finish) {
    const struct gemm_shape *s = a->shape;
    const struct view *residual = finish ? a->epilogue.residual : NULL;
    const struct pieces p = pieces_of(1, 1, s->k);
    const char *packed = (const char *)a->weights + (size_t)(n / BLOCK) * block_bytes((size_t)s->k);
    int lanes = least(BLOCK, a->n1 - n);
    /* One row (of the whole value) streams through the weights once. */
    int products = s->rows == 1 ? most(s->k, 1) : FP16_CHUNK;
    float bias[BLOCK] = {0};
    struct fp16_args t = {.in_pixel = gemm_pitch(s),
                          .taps_y = 1,
                          .taps_x = 1,
                          .piece = p.piece,
                          .together = p.together,
                          .scale = (const float *)(const void *)packed,
                          .out = a->out + (y0 - a->out_row0) * a->out_pitch + n,
                          .out_pixel = a->out_pitch,
                          .init = bias,
                          .lanes = lanes};
    for (int j = 0; a->bias && j < lanes; j++)
        bias[j] = a->bias[n + j];
    struct chunk c = chunk_at(&p, products, 0, 0, 0);
    for (;;) {
        bool last = chunk_is_last(&p, &c);
        t.run = c.k1 - c.k0;
        t.in = input + c.k0;
        t.w = (const uint16_t *)(t.scale + BLOCK) + (ptrdiff_t)c.k0 * BLOCK;
        if (last && finish) {
            t.act = a->epilogue.act;
            t.act_a = a->epilogue.a;
            t.act_b = a->epilogue.b;
            t.residual_last = a->epilogue.residual_last;
            t.residual = residual ? view_at(residual, y0, n, 0) : NULL;
            t.residual_pixel = residual ? residual->row_pitch : 0;
        }
        m->run(&t, (int)(y1 - y0));
        if (last)
            return;
        t.init = NULL;
        c = chunk_after(&p, products, &c);
    }
}

void fp16_gemm_run(const struct gemm_args *a, const struct fp16_micro *m) {
    const struct gemm_shape *s = a->shape;
    const struct view out = gemm_out_view(a);
    const int64_t at_once = gemm_rows_at_once(s);
    const ptrdiff_t pitch = gemm_pitch(s);
    bool finish = micro_finishes(a->epilogue.act);
    uint16_t *input = a->workspace;
    for (int64_t y0 = a->y0, y1; y0 < a->y1; y0 = y1) {
        y1 = y0 + at_once < a->y1 ? y0 + at_once : a->y1;
        int64_t count = narrow_finite(m, a->in + (y0 - a->in_row0) * a->in_pitch, a->in_pitch,
                                      input, pitch, s->k, (int)(y1 - y0));
        if (a->saturated)
            *a->saturated += count;
        for (int n = a->n0; n < a->n1; n += BLOCK) {
            gemm_panel(a, m, input, y0, y1, n, finish);
            if (!finish)
                epilogue_apply(&a->epilogue, &out, y0, y1, n / BLOCK);
        }
    }
}
