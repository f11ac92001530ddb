/* One-dimensional Winograd convolution along W: packing, and the walk over the output.
 *
 * For some output rows at once: transform the input rows that they need, all input channels, into
 * the workspace; then for each point of the transform a matrix product by the micro-kernel, whose
 * pixels are the tiles of all these rows one after the other (so 7 pixels wide maps fill it too);
 * then transform back into the output.  Points are independent, so the transformed input of one of
 * them is what has to stay in the second-level cache.
 *
 * Rows outside the image are transformed to zeros and multiplied: that is a third of one row for
 * each border, and leaves all rows alike.
 * Transformed input: [point][input block][row][tile][16].  Sums: [block][point][row][tile][16].
 * Packed weights: [output block][point][input block][kh][16 inputs][16 lanes]. */
#include "kernels/winograd.h"

#include <string.h>

/* Tiles that make reading the weights worth while. */
#define TILES_ENOUGH 56

static int least(int a, int b) {
    return a < b ? a : b;
}

static int most(int a, int b) {
    return a > b ? a : b;
}

/* Transformed input of one point, and the sums of the blocks at hand: what of the second-level
 * cache is theirs. */
static int64_t point_bytes(const struct conv_shape *s) {
    return kernel_l2_share(s->board, 1, 8);
}

static int64_t sums_bytes(const struct conv_shape *s) {
    return kernel_l2_share(s->board, 3, 32);
}

/* Larger transformed weights than this, of one layer, are not worth their memory. */
static size_t weights_most(const struct conv_shape *s) {
    return s->board && s->board->winograd_bytes ? s->board->winograd_bytes : KERNEL_WINOGRAD_BYTES;
}

static int blocks_of(int channels) {
    return (channels + BLOCK - 1) / BLOCK;
}

/* ---- the transform --------------------------------------------------------------------------- */

struct winograd_matrices winograd_matrices(int tile) {
    static const double four[] = {0, WINOGRAD4_A, -WINOGRAD4_A, WINOGRAD4_B, -WINOGRAD4_B};
    static const double six[] = {0,           WINOGRAD6_A, -WINOGRAD6_A, WINOGRAD6_B, -WINOGRAD6_B,
                                 WINOGRAD6_C, -WINOGRAD6_C};
    struct winograd_matrices m = {.tile = tile, .points = tile + WINOGRAD_TAPS - 1};
    const double *p = tile == 4 ? four : six;
    int finite = m.points - 1;
    for (int j = 0; j <= finite; j++) {
        double *c = m.bt[j]; /* the polynomial so far, lowest power first */
        int degree = 0;
        c[0] = 1;
        for (int l = 0; l < finite; l++) {
            if (l == j)
                continue;
            c[++degree] = 0;
            for (int k = degree; k > 0; k--)
                c[k] = c[k - 1] - p[l] * c[k];
            c[0] *= -p[l];
        }
    }
    for (int j = 0; j < finite; j++) {
        double scale = 1, power = 1;
        for (int l = 0; l < finite; l++)
            scale *= l == j ? 1 : p[j] - p[l];
        for (int i = 0; i < tile; i++, power *= p[j]) {
            m.at[i][j] = power;
            if (i < WINOGRAD_TAPS)
                m.g[j][i] = power / scale;
        }
    }
    m.at[tile - 1][finite] = 1;
    m.g[finite][WINOGRAD_TAPS - 1] = 1;
    return m;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

struct sizes {
    int tile, points, tiles; /* tiles in a row */
    int in_blocks;           /* of one group */
    int group_blocks;        /* output blocks of one group */
    int reach;               /* input rows beyond the first that an output row needs */
    int rows;                /* output rows at once, at most */
    int at_once;             /* output blocks whose sums are kept at once */
};

static bool possible(const struct conv_shape *s) {
    bool wide = s->kernel_w == WINOGRAD_TAPS && s->stride_w == 1 && s->dilation_w == 1;
    bool whole_blocks =
        s->groups == 1 || (s->in_c / s->groups % BLOCK == 0 && s->out_c / s->groups % BLOCK == 0);
    return wide && s->stride_h == 1 && whole_blocks && s->in_blocked && s->out_blocked;
}

/* Rows with tiles enough. */
static int rows_least(const struct conv_shape *s, int tile) {
    int tiles = (s->out_w + tile - 1) / tile;
    return least(s->out_h, (TILES_ENOUGH + tiles - 1) / tiles);
}

static struct sizes sizes_of(const struct conv_shape *s, int tile) {
    struct sizes z = {.tile = tile,
                      .points = tile + WINOGRAD_TAPS - 1,
                      .tiles = (s->out_w + tile - 1) / tile,
                      .in_blocks = blocks_of(s->in_c / s->groups),
                      .group_blocks = blocks_of(s->out_c / s->groups),
                      .reach = (s->kernel_h - 1) * s->dilation_h};
    int64_t row = (int64_t)z.tiles * BLOCK * (int64_t)sizeof(float);
    int64_t rows = point_bytes(s) / (row * z.in_blocks) - z.reach;
    int enough = rows_least(s, tile);
    z.rows = rows > enough ? (int)(rows < s->out_h ? rows : s->out_h) : enough;
    int64_t blocks = sums_bytes(s) / (row * z.points * z.rows);
    z.at_once = blocks < 1 ? 1 : (int)(blocks < z.group_blocks ? blocks : z.group_blocks);
    return z;
}

static size_t point_floats(const struct sizes *z) { /* transformed input of one point */
    return (size_t)z->in_blocks * (size_t)(z->rows + z->reach) * (size_t)z->tiles * BLOCK;
}

static size_t sum_floats(const struct sizes *z) { /* sums of one block and point */
    return (size_t)z->rows * (size_t)z->tiles * BLOCK;
}

static size_t workspace_bytes(const struct conv_shape *s, int tile) {
    struct sizes z = sizes_of(s, tile);
    return (point_floats(&z) + sum_floats(&z) * (size_t)z.at_once) * (size_t)z.points *
           sizeof(float);
}

/* Weights of one output block and point. */
static size_t weight_floats(const struct conv_shape *s) {
    return (size_t)blocks_of(s->in_c / s->groups) * (size_t)s->kernel_h * BLOCK * BLOCK;
}

static size_t weights_bytes(const struct conv_shape *s, int tile) {
    size_t points = (size_t)(tile + WINOGRAD_TAPS - 1);
    return (size_t)blocks_of(s->out_c) * points * weight_floats(s) * sizeof(float);
}

/* Cycles of one row: products, transforms (the input's also for the rows of the reach), and no
 * faster than the weights come from memory. */
double winograd_rate(const struct conv_shape *s, const struct winograd *w) {
    static const struct kernel_board usual = {.l2_bytes = 1 << 20};
    if (!possible(s) || weights_bytes(s, w->tile) > weights_most(s))
        return 0;
    struct conv_shape anywhere = *s; /* boards with other caches must choose the same kernel */
    anywhere.board = &usual;
    struct sizes z = sizes_of(&anywhere, w->tile);
    double products = (double)z.points * z.tiles * s->kernel_h * z.in_blocks * BLOCK *
                      z.group_blocks * BLOCK / w->dense;
    double input = w->input_cycles * z.tiles * z.in_blocks * (z.rows + z.reach) / z.rows;
    double output = w->output_cycles * z.tiles * z.group_blocks;
    double cycles = (products + input + output) * s->groups;
    double stream = (double)weights_bytes(s, w->tile) / s->out_h / w->stream_bytes;
    double useful = (double)s->out_w * s->kernel_h * s->kernel_w * s->in_c * (s->out_c / s->groups);
    return useful / (cycles > stream ? cycles : stream);
}

/* ---- packing --------------------------------------------------------------------------------- */

static void pack(const struct conv_shape *s, int tile, const float *w, int oc0, int count,
                 void *packed) {
    struct winograd_matrices m = winograd_matrices(tile);
    size_t each = weight_floats(s);
    int in_c = s->in_c / s->groups, rows = s->kernel_h;
    float *block = (float *)packed + (size_t)(oc0 / BLOCK) * (size_t)m.points * each;
    for (int j = 0; j < count; j++)
        for (int c = 0; c < in_c; c++)
            for (int ky = 0; ky < rows; ky++) {
                const float *g =
                    w + (((size_t)j * (size_t)in_c + (size_t)c) * (size_t)rows + (size_t)ky) *
                            WINOGRAD_TAPS;
                size_t at = (((size_t)(c / BLOCK) * (size_t)rows + (size_t)ky) * BLOCK +
                             (size_t)(c % BLOCK)) *
                                BLOCK +
                            (size_t)j;
                for (int p = 0; p < m.points; p++)
                    block[(size_t)p * each + at] =
                        (float)(m.g[p][0] * (double)g[0] + m.g[p][1] * (double)g[1] +
                                m.g[p][2] * (double)g[2]);
            }
}

size_t winograd4_weights_bytes(const struct conv_shape *s) {
    return weights_bytes(s, 4);
}

size_t winograd4_workspace_bytes(const struct conv_shape *s) {
    return workspace_bytes(s, 4);
}

void winograd4_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed) {
    pack(s, 4, w, oc0, count, packed);
}

int winograd4_rows_least(const struct conv_shape *s) {
    return rows_least(s, 4);
}

size_t winograd6_weights_bytes(const struct conv_shape *s) {
    return weights_bytes(s, 6);
}

size_t winograd6_workspace_bytes(const struct conv_shape *s) {
    return workspace_bytes(s, 6);
}

void winograd6_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed) {
    pack(s, 6, w, oc0, count, packed);
}

int winograd6_rows_least(const struct conv_shape *s) {
    return rows_least(s, 6);
}

/* ---- running --------------------------------------------------------------------------------- */

struct walk {
    const struct conv_args *a;
    const struct winograd *w;
    struct sizes z;
    float *input, *sums;   /* in the workspace */
    ptrdiff_t point, line; /* floats of one point of the input; of one row of tiles */
    ptrdiff_t sum;         /* floats of one point of one block's sums */
    int64_t y0;            /* the rows at hand: y0 to y0 + rows */
    int rows;
    int64_t image0, image1; /* the image's rows, among those at hand counted from 0 */
};

/* One tile of which some inputs lie outside the image. */
static void input_border(const struct walk *k, const float *row, int x, float *to) {
    float inside[WINOGRAD_POINTS_MOST * BLOCK] = {0};
    ptrdiff_t pixel = k->a->in.pixel_pitch;
    int first = most(0, -x), last = least(k->z.points, k->a->shape->in_w - x);
    for (int i = first; i < last; i++)
        memcpy(inside + (ptrdiff_t)i * BLOCK, row + (x + i) * pixel, BLOCK * sizeof(float));
    k->w->input(inside, BLOCK, to, k->point, 1);
}

static void input_row(const struct walk *k, const float *row, float *to) {
    const struct conv_shape *s = k->a->shape;
    int tile = k->z.tile, pad = s->pad_left, tiles = k->z.tiles;
    /* Tiles [first, last) have all their inputs: t*tile >= pad, t*tile - pad + points <= in_w. */
    int first = least((pad + tile - 1) / tile, tiles);
    int end = s->in_w + pad - k->z.points;
    int last = end < 0 ? first : most(first, least(end / tile + 1, tiles));
    ptrdiff_t pixel = k->a->in.pixel_pitch;
    for (int t = 0; t < first; t++)
        input_border(k, row, t * tile - pad, to + (ptrdiff_t)t * BLOCK);
    if (last > first)
        k->w->input(row + (first * tile - pad) * pixel, pixel, to + (ptrdiff_t)first * BLOCK,
                    k->point, last - first);
    for (int t = last; t < tiles; t++)
        input_border(k, row, t * tile - pad, to + (ptrdiff_t)t * BLOCK);
}

/* The input rows of the rows at hand, of one group's channels. */
static void transform_input(const struct walk *k, int group) {
    const struct conv_args *a = k->a;
    int64_t top = k->y0 - a->shape->pad_top;
    int rows = k->rows + k->z.reach;
    for (int b = 0; b < k->z.in_blocks; b++)
        for (int r = 0; r < rows; r++) {
            float *to = k->input + (ptrdiff_t)(b * rows + r) * k->line;
            if (top + r >= 0 && top + r < a->shape->in_h)
                input_row(k, view_at(&a->in, top + r, (group * k->z.in_blocks + b) * BLOCK, 0), to);
            else
                for (int p = 0; p < k->z.points; p++)
                    memset(to + p * k->point, 0, (size_t)k->line * sizeof(float));
        }
}

/* The sums of one block, or of two, at one point (`next`: the weights used after these): input
 * channels whose weights fit the first-level cache at a time. */
static void multiply(const struct walk *k, int point, int blocks, const float *weights,
                     const float *next, float *sums) {
    static const float zeros[2 * BLOCK];
    const struct conv_shape *s = k->a->shape;
    int at_once = most(1, k->w->micro->chunk / (s->kernel_h * BLOCK));
    ptrdiff_t plane = (k->rows + k->z.reach) * k->line;
    struct micro_args m = {.in_pixel = BLOCK,
                           .in_seg = plane,
                           .in_y = s->dilation_h * k->line,
                           .w_seg = (ptrdiff_t)s->kernel_h * BLOCK * BLOCK,
                           .w_y = BLOCK * BLOCK,
                           .taps_y = s->kernel_h,
                           .taps_x = 1,
                           .lanes = BLOCK,
                           .out_pixel = BLOCK,
                           .init = zeros,
                           .lane1 = BLOCK,
                           .blocks = blocks,
                           .w_block = k->z.points * (ptrdiff_t)weight_floats(s),
                           .out_block = k->z.points * k->sum};
    for (int b = 0; b < k->z.in_blocks; b += m.segs) {
        m.segs = least(at_once, k->z.in_blocks - b);
        m.in = k->input + point * k->point + b * plane;
        m.out = sums;
        m.w = weights + b * m.w_seg;
        m.ahead = (const char *)(b + m.segs < k->z.in_blocks ? m.w + m.segs * m.w_seg : next);
        k->w->micro->run(&m, k->rows * k->z.tiles);
        m.init = NULL;
    }
}

static void output_row(const struct walk *k, const float *sums, int block, int64_t y) {
    const struct conv_args *a = k->a;
    const float *bias = a->bias + (ptrdiff_t)block * BLOCK;
    ptrdiff_t pixel = a->out.pixel_pitch;
    int whole = a->shape->out_w / k->z.tile, x = whole * k->z.tile;
    float *to = view_at(&a->out, y, block * BLOCK, 0);
    k->w->output(sums, k->sum, bias, to, pixel, whole);
    if (x < a->shape->out_w) {
        float last[WINOGRAD_TILE_MOST * BLOCK];
        k->w->output(sums + (ptrdiff_t)whole * BLOCK, k->sum, bias, last, BLOCK, 1);
        for (int i = 0; x + i < a->shape->out_w; i++)
            memcpy(to + (x + i) * pixel, last + (ptrdiff_t)i * BLOCK, BLOCK * sizeof(float));
    }
    epilogue_apply(&a->epilogue, &a->out, y, y + 1, block);
}

/* Output blocks [b0, b1), at most at_once, from the transformed input. */
static void walk_blocks(const struct walk *k, int b0, int b1) {
    ptrdiff_t each = (ptrdiff_t)weight_floats(k->a->shape), block = k->sum * k->z.points;
    const float *weights = (const float *)k->a->weights + b0 * k->z.points * each;
    for (int p = 0; p < k->z.points; p++)
        for (int b = 0, together; b < b1 - b0; b += together) {
            together = least(b1 - b0 - b, k->w->micro->blocks);
            const float *w = weights + (b * k->z.points + p) * each;
            const float *next = b + together < b1 - b0 ? w + together * k->z.points * each
                                                       : weights + (p + 1) * each;
            multiply(k, p, together, w, next, k->sums + b * block + p * k->sum);
        }
    for (int r = 0; r < k->rows; r++)
        for (int b = b0; b < b1; b++)
            output_row(k, k->sums + (b - b0) * block + r * k->line, b, k->y0 + r);
}

void winograd_run(const struct conv_args *a, const struct winograd *w) {
    struct walk k = {.a = a, .w = w, .z = sizes_of(a->shape, w->tile)};
    int64_t rows = a->y1 - a->y0, parts = (rows + k.z.rows - 1) / k.z.rows;
    k.line = (ptrdiff_t)k.z.tiles * BLOCK;
    k.input = a->workspace;
    k.sums = k.input + point_floats(&k.z) * (size_t)k.z.points;
    for (int64_t part = 0; part < parts; part++) { /* about equal ones */
        k.y0 = a->y0 + rows * part / parts;
        k.rows = (int)(a->y0 + rows * (part + 1) / parts - k.y0);
        k.point = k.z.in_blocks * (k.rows + k.z.reach) * k.line;
        k.sum = k.rows * k.line;
        for (int b0 = a->block0, b1; b0 < a->block1; b0 = b1) {
            int group = b0 / k.z.group_blocks;
            int end = least(a->block1, (group + 1) * k.z.group_blocks);
            b1 = least(end, b0 + k.z.at_once);
            if (b0 == a->block0 || b0 == group * k.z.group_blocks)
                transform_input(&k, group);
            walk_blocks(&k, b0, b1);
        }
    }
}
