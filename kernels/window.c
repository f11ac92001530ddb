/* Convolution and transposed convolution by a micro-kernel: packing, and the walk over the output.
 *
 * No im2col: the micro-kernel reads the map where it lies.  Outputs whose taps are the same form
 * rectangles (axis.h): the interior, without any bounds test, and the borders, along which tiles
 * run too.  The walk is: rows that share input in the second-level cache, channel blocks, input
 * channels whose weights fit the first-level cache (partial sums wait in the output, exactly),
 * pixels.
 *
 * A channel block that spans several groups takes one pass a group, each writing its own lanes; so
 * a pass is (block, group) and sees the dense convolution of one group.
 * Two blocks of one group go together where the micro-kernel can, and share what it reads.
 * Packed weights: pass by pass [segment of <= 16 input channels][kh][kw][channel][16 lanes]. */
#include "kernels/axis.h"
#include "kernels/micro.h"

struct pass {
    int group, lane0, lane1; /* lanes of the block that belong to the group */
    int blocks;              /* 2: the next block is of the same group and comes along */
    int c0, channels;        /* input channels */
    size_t index;            /* how many passes come before */
};

static int least(int a, int b) {
    return a < b ? a : b;
}

static int most(int a, int b) {
    return a > b ? a : b;
}

/* A group's input channels come in segments that end where the map's blocks end. */
static int segment_lanes(int c, int left) {
    return least(BLOCK - c % BLOCK, left);
}

/* The most segments that a group of this shape has. */
static int segments_of(const struct conv_shape *s) {
    int channels = s->in_c / s->groups, n = 0;
    for (int g = 0; g < s->groups && g < BLOCK; g++) /* where groups begin repeats itself */
        n = most(n, (g * channels % BLOCK + channels + BLOCK - 1) / BLOCK);
    return n;
}

/* Lanes for which a segment has room in the packed weights: where there are several, 16 for short
 * ones too, so that steps from tap to tap are the same in all. */
static int segment_room(const struct conv_shape *s) {
    return segments_of(s) == 1 ? s->in_c / s->groups : BLOCK;
}

static size_t pass_floats(const struct conv_shape *s) {
    return (size_t)segments_of(s) * (size_t)segment_room(s) * (size_t)s->kernel_h *
           (size_t)s->kernel_w * BLOCK;
}

/* The groups that block b's channels belong to: [first, first + count). */
static int block_groups(const struct conv_shape *s, int b, int *first) {
    int per_group = s->out_c / s->groups;
    int last = (least((b + 1) * BLOCK, s->out_c) - 1) / per_group;
    *first = b * BLOCK / per_group;
    return last - *first + 1;
}

static size_t passes_before(const struct conv_shape *s, int block) {
    size_t n = 0;
    int first;
    if (s->groups == 1)
        return (size_t)block;
    for (int b = 0; b < block; b++)
        n += (size_t)block_groups(s, b, &first);
    return n;
}

static struct pass pass_of(const struct conv_shape *s, int block, int group, size_t index) {
    int per_group = s->out_c / s->groups, start = block * BLOCK;
    return (struct pass){.group = group,
                         .lane0 = most(group * per_group - start, 0),
                         .lane1 = least(least((group + 1) * per_group, s->out_c) - start, BLOCK),
                         .c0 = group * (s->in_c / s->groups),
                         .channels = s->in_c / s->groups,
                         .index = index};
}

/* ---- packing --------------------------------------------------------------------------------- */

size_t window_weights_bytes(const struct conv_shape *s) {
    return passes_before(s, (s->out_c + BLOCK - 1) / BLOCK) * pass_floats(s) * sizeof(float);
}

/* Where weight (channel c of the group, tap, lane 0) of a pass begins. */
static size_t packed_at(const struct pass *p, int room, int taps, int c, int tap) {
    int at = p->c0 % BLOCK + c; /* from the beginning of the first segment's block */
    int lane = at < BLOCK ? c : at % BLOCK;
    return ((size_t)(at / BLOCK * taps + tap) * (size_t)room + (size_t)lane) * BLOCK;
}

/* Channels [c, c_end) of the group, of one lane of a pass: their weights are c_step apart, the
 * first at w. */
static void pack_lane(const struct pass *p, int room, int taps, int c, int c_end, const float *w,
                      size_t c_step, float *packed) {
    for (; c < c_end; c++, w += c_step)
        for (int t = 0; t < taps; t++)
            packed[packed_at(p, room, taps, c, t)] = w[t];
}

void window_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed) {
    int block = oc0 / BLOCK, first, groups = block_groups(s, block, &first);
    int taps = s->kernel_h * s->kernel_w;
    size_t per_channel = (size_t)(s->in_c / s->groups) * (size_t)taps;
    size_t index = passes_before(s, block);
    for (int g = 0; g < groups; g++) {
        struct pass p = pass_of(s, block, first + g, index + (size_t)g);
        float *to = (float *)packed + p.index * pass_floats(s);
        for (int j = p.lane0; j < p.lane1 && j < count; j++)
            pack_lane(&p, segment_room(s), taps, 0, p.channels, w + (size_t)j * per_channel,
                      (size_t)taps, to + j);
    }
}

void window_pack_transposed(const struct conv_shape *s, const float *w, int ic0, int count,
                            void *packed) {
    int taps = s->kernel_h * s->kernel_w, per_group = s->out_c / s->groups;
    const int in_each = s->in_c / s->groups;
    size_t c_step = (size_t)per_group * (size_t)taps;
    const int oc_end = ((ic0 + count - 1) / in_each + 1) * per_group;
    for (int oc = ic0 / in_each * per_group; oc < oc_end; oc++) {
        int block = oc / BLOCK, first, group = oc / per_group;
        size_t before = passes_before(s, block);
        block_groups(s, block, &first);
        struct pass p = pass_of(s, block, group, before + (size_t)(group - first));
        const int c = most(ic0 - p.c0, 0), c_end = least(ic0 + count - p.c0, p.channels);
        const float *from =
            w + (size_t)(p.c0 + c - ic0) * c_step + (size_t)(oc % per_group) * (size_t)taps;
        pack_lane(&p, segment_room(s), taps, c, c_end, from, c_step,
                  (float *)packed + p.index * pass_floats(s) + oc % BLOCK);
    }
}

/* A block's weights are runs of 16 for each channel and tap, tap by tap in each segment. */
void window_scale(const struct conv_shape *s, const void *packed, const float *factors, int block0,
                  int block1, void *to) {
    int taps = s->kernel_h * s->kernel_w, room = segment_room(s), segments = segments_of(s);
    size_t at = (size_t)block0 * pass_floats(s);
    const float *restrict from = (const float *)packed + at;
    float *restrict out = (float *)to + at;
    for (int block = block0; block < block1; block++)
        for (int seg = 0; seg < segments; seg++) {
            int lanes = least(room, s->in_c - seg * BLOCK);
            for (int t = 0; t < taps; t++) {
                for (int l = 0; l < lanes; l++, from += BLOCK, out += BLOCK)
                    for (int j = 0; j < BLOCK; j++)
                        out[j] = from[j] * factors[seg * BLOCK + l];
                from += (room - lanes) * BLOCK;
                out += (room - lanes) * BLOCK;
            }
        }
}

/* ---- running --------------------------------------------------------------------------------- */

struct walk {
    const struct conv_args *a;
    const struct micro *m;
    struct axis ay, ax;
    int64_t y0, y1; /* the rows at hand */
    int block;
    struct pass pass;
    int room;                      /* lanes of a segment in the weights */
    const float *weights;          /* of the pass */
    const char *ahead, *ahead_end; /* weights of the next chunk, to be fetched in this one */
    bool small;                    /* all weights stay in the second-level cache */
    bool finish;                   /* the micro-kernel does the epilogue */
    bool half;                     /* no channel beyond lane 8 of the last block */
};

/* Some segments of equal size: the channels of one visit of the output. */
struct chunk {
    int c, segs, lanes, tail; /* tail: lanes of the last one, if those are fewer */
    bool first, last;
};

/* The pixels of one rectangle: ys.count x xs.count outputs from (y, x) on. */
static void walk_rectangle(struct walk *k, const struct chunk *ch, int64_t y, struct axis_run ys,
                           int x, struct axis_run xs) {
    const struct conv_args *a = k->a;
    const struct conv_shape *s = a->shape;
    const struct view *in = &a->in, *out = &a->out;
    ptrdiff_t tap = (ptrdiff_t)k->room * BLOCK; /* from one tap's weights to the next */
    struct micro_args m = {.in_seg = in->block_pitch,
                           .in_y = k->ay.di * in->row_pitch,
                           .in_x = k->ax.di * in->pixel_pitch,
                           .w_seg = tap * s->kernel_h * s->kernel_w,
                           .w_y = tap * s->kernel_w * k->ay.dk,
                           .w_x = tap * k->ax.dk,
                           .segs = ch->segs,
                           .taps_y = ys.taps,
                           .taps_x = xs.taps,
                           .lanes = ch->lanes,
                           .tail = ch->tail,
                           .lane0 = k->pass.lane0,
                           .lane1 = k->pass.lane1,
                           .blocks = k->pass.blocks,
                           .w_block = (ptrdiff_t)pass_floats(s),
                           .out_block = out->block_pitch,
                           .half = k->half,
                           .init = ch->first ? a->bias + k->block * BLOCK : NULL};
    bool any = ys.taps > 0 && xs.taps > 0;
    if (!any && !ch->first)
        return;
    bool finish = k->finish && (ch->last || !any);
    const struct view *residual = finish ? a->epilogue.residual : NULL;
    if (finish)
        micro_finish_with(&m, &a->epilogue);
    const float *from = a->bias; /* without taps nothing is read */
    if (any) {
        from = view_at(in, ys.i0, k->pass.c0 + ch->c, (int)xs.i0);
        m.w = k->weights + (ptrdiff_t)packed_at(&k->pass, k->room, s->kernel_h * s->kernel_w, ch->c,
                                                ys.k0 * s->kernel_w + xs.k0);
    } else {
        m.segs = 0;
    }
    /* Taps side by side in memory as well as in the weights are one longer run of channels. */
    if (m.in_x == m.lanes && m.w_x == m.lanes * BLOCK && !m.tail) {
        m.lanes *= m.taps_x;
        m.taps_x = 1;
    }
    ptrdiff_t in_right = k->ax.advance * in->pixel_pitch, in_down = k->ay.advance * in->row_pitch;
    ptrdiff_t out_right = k->ax.step * out->pixel_pitch, out_down = k->ay.step * out->row_pitch;
    float *to = view_at(out, y, k->block * BLOCK, x);
    bool across = xs.count >= k->m->pixels || xs.count >= ys.count;
    int lines = across ? ys.count : xs.count, length = across ? xs.count : ys.count;
    ptrdiff_t in_line = any ? (across ? in_down : in_right) : 0;
    m.in_pixel = any ? (across ? in_right : in_down) : 0;
    m.out_pixel = across ? out_right : out_down;
    const float *rest = NULL;
    ptrdiff_t rest_line = 0;
    if (residual) {
        ptrdiff_t right = k->ax.step * residual->pixel_pitch;
        ptrdiff_t down = k->ay.step * residual->row_pitch;
        rest = view_at(residual, y, k->block * BLOCK, x);
        rest_line = across ? down : right;
        m.residual_pixel = across ? right : down;
        m.residual_block = residual->block_pitch;
    }
    ptrdiff_t out_line = across ? out_down : out_right;
    for (int i = 0, together; i < lines; i += together) {
        together = length == k->m->line && lines - i > 1 ? 2 : 1;
        m.line = together > 1 ? length : 0;
        m.in_line = in_line;
        m.out_line = out_line;
        m.residual_line = rest_line;
        m.in = from + i * in_line;
        m.out = to + i * out_line;
        m.residual = residual ? rest + i * rest_line : NULL;
        m.ahead = k->ahead < k->ahead_end ? k->ahead : NULL;
        k->m->run(&m, together * length);
        k->ahead += micro_fetches(&m) * ((together * length + k->m->pixels - 1) / k->m->pixels);
    }
}

/* All the rows at hand for one chunk of input channels. */
static void walk_chunk(struct walk *k, const struct chunk *ch) {
    int width = k->a->shape->out_w;
    for (int py = 0; py < k->ay.step && k->y0 + py < k->y1; py++) {
        struct axis_run ys;
        for (int64_t y = k->y0 + py; y < k->y1; y += (int64_t)ys.count * k->ay.step) {
            ys = axis_run_at(&k->ay, y, k->y1);
            for (int px = 0; px < k->ax.step && px < width; px++) {
                struct axis_run xs;
                for (int x = px; x < width; x += xs.count * k->ax.step) {
                    xs = axis_run_at(&k->ax, x, width);
                    walk_rectangle(k, ch, y, ys, x, xs);
                }
            }
        }
    }
}

/* What comes after this chunk: the pass's next, or the next pass's first. */
static void fetch_next(struct walk *k, const struct chunk *ch) {
    const struct conv_shape *s = k->a->shape;
    int taps = s->kernel_h * s->kernel_w, step = ch->segs * ch->lanes;
    size_t floats = (size_t)ch->segs * (size_t)(k->room * taps) * BLOCK;
    size_t next = ch->last ? (size_t)k->pass.blocks * pass_floats(s)
                           : packed_at(&k->pass, k->room, taps, ch->c + step, 0);
    k->ahead = (const char *)(k->weights + next);
    k->ahead_end = k->small ? k->ahead : k->ahead + floats * sizeof(float);
}

static void walk_pass(struct walk *k) {
    const struct conv_shape *s = k->a->shape;
    int at_once = most(1, k->m->chunk / (s->kernel_h * s->kernel_w * BLOCK));
    struct chunk ch = {.first = true};
    while (ch.c < k->pass.channels) {
        int left = k->pass.channels - ch.c;
        ch.lanes = segment_lanes(k->pass.c0 + ch.c, left);
        ch.segs = ch.lanes == BLOCK ? least(at_once, (left + BLOCK - 1) / BLOCK) : 1;
        ch.last = ch.segs * ch.lanes >= left;
        ch.tail = ch.segs * ch.lanes > left ? left % BLOCK : 0;
        fetch_next(k, &ch);
        walk_chunk(k, &ch);
        ch.c += ch.segs * ch.lanes;
        ch.first = false;
    }
}

/* How many output rows to take at once so that their input stays near. */
static int64_t rows_at_once(const struct conv_args *a, bool transposed, bool small) {
    const struct conv_shape *s = a->shape;
    int64_t row = (int64_t)s->in_c * s->in_w * (int64_t)sizeof(float);
    int64_t near = micro_input_bytes(s->board);
    int64_t n = transposed ? near * s->stride_h / row : near / (row * s->stride_h);
    int64_t enough = 64 / s->out_w + 1; /* to make reading the weights worth while */
    if (small)                          /* and then no more: the output is long */
        n = enough;
    return n > enough ? n : enough;
}

/* Can the micro-kernel do the epilogue?  A clip that makes something of zero must not touch the
 * lanes beyond the last channel. */
static bool finishes_inside(const struct conv_args *a) {
    const struct kernel_epilogue *e = &a->epilogue;
    bool zero_stays = e->act != KACT_CLIP || (e->a <= 0 && e->b >= 0);
    return micro_finishes(e->act) && (zero_stays || a->shape->out_c % BLOCK == 0);
}

/* Are this block and the next whole blocks of one group? */
static bool goes_together(const struct conv_args *a, int block) {
    int first, next;
    return block + 1 < a->block1 && a->out.blocked && block_groups(a->shape, block, &first) == 1 &&
           block_groups(a->shape, block + 1, &next) == 1 && first == next;
}

/* ---- one pixel ------------------------------------------------------------------------------- */

/* Is it a vector times a matrix, such as the two products of squeeze-and-excite? */
static bool is_point(const struct conv_args *a) {
    const struct conv_shape *s = a->shape;
    return s->groups == 1 && (a->in.block_pitch == BLOCK || s->in_c <= BLOCK) && s->in_h == 1 &&
           s->in_w == 1 && s->out_h == 1 && s->out_w == 1 && s->kernel_h == 1 && s->kernel_w == 1 &&
           s->pad_top == 0 && s->pad_left == 0;
}

#define POINT_CHANNELS 64 /* of a call */

/* Every weight is read once, as it lies: there is nothing to share and nothing to find, but weights
 * have to be asked for in time, because all that came since the last inference has driven them out
 * of the second-level cache. */
static void point_fetch(const struct micro_args *t, ptrdiff_t ahead) {
    for (int b = 0; b < t->blocks; b++)
        for (int l = 0; l < t->lanes; l++)
            __builtin_prefetch(t->w + b * t->w_block + ahead + l * BLOCK, 0, 2);
}

static void point_run(const struct conv_args *a, const struct micro *m) {
    const struct conv_shape *s = a->shape;
    const bool finish = finishes_inside(a);
    const struct view *residual = finish ? a->epilogue.residual : NULL;
    const ptrdiff_t each = (ptrdiff_t)pass_floats(s); /* of a block */
    for (int block = a->block0, blocks; block < a->block1; block += blocks) {
        blocks = m->blocks > 1 && goes_together(a, block) ? 2 : 1;
        /* two calls ahead */
        const ptrdiff_t ahead =
            2 * (s->in_c <= POINT_CHANNELS ? blocks * each : POINT_CHANNELS * BLOCK);
        struct micro_args t = {.segs = 1,
                               .taps_y = 1,
                               .taps_x = 1,
                               .w_block = each,
                               .blocks = blocks,
                               .out_block = a->out.block_pitch,
                               .lane1 = a->out.blocked ? BLOCK : view_lanes(&a->out, block)};
        for (int c = 0; c < s->in_c; c += t.lanes) {
            t.lanes = least(POINT_CHANNELS, s->in_c - c);
            t.in = view_at(&a->in, 0, c, 0);
            t.out = view_at(&a->out, 0, block * BLOCK, 0);
            t.w = (const float *)a->weights + block * each + (ptrdiff_t)c * BLOCK;
            t.init = c == 0 ? a->bias + block * BLOCK : NULL;
            if (finish && c + t.lanes == s->in_c) {
                micro_finish_with(&t, &a->epilogue);
                t.residual = residual ? view_at(residual, 0, block * BLOCK, 0) : NULL;
                t.residual_block = residual ? residual->block_pitch : 0;
            }
            point_fetch(&t, ahead);
            m->run(&t, 1);
        }
    }
    for (int block = a->block0; block < a->block1; block++)
        epilogue_apply(finish ? NULL : &a->epilogue, &a->out, 0, 1, block);
}

void window_run(const struct conv_args *a, bool transposed, const struct micro *m) {
    const struct conv_shape *s = a->shape;
    if (is_point(a) && a->y0 < a->y1) {
        point_run(a, m);
        return;
    }
    bool small = (int64_t)window_weights_bytes(s) <= micro_weights_bytes(s->board);
    struct walk k = {.a = a, .m = m, .small = small};
    int64_t rows = rows_at_once(a, transposed, k.small);
    size_t before = passes_before(s, a->block0);
    k.ay = axis_make(transposed, s->in_h, s->kernel_h, s->stride_h, s->pad_top, s->dilation_h);
    k.ax = axis_make(transposed, s->in_w, s->kernel_w, s->stride_w, s->pad_left, s->dilation_w);
    k.finish = finishes_inside(a);
    k.room = segment_room(s);
    for (k.y0 = a->y0; k.y0 < a->y1; k.y0 = k.y1) {
        size_t index = before;
        k.y1 = k.y0 + rows < a->y1 ? k.y0 + rows : a->y1;
        for (k.block = a->block0; k.block < a->block1;) {
            int first, groups = block_groups(s, k.block, &first);
            int blocks = m->blocks > 1 && goes_together(a, k.block) ? 2 : 1;
            k.half = a->out.blocked && groups == 1 &&
                     view_lanes(&a->out, k.block + blocks - 1) <= BLOCK / 2;
            for (int g = first; g < first + groups; g++) {
                k.pass = pass_of(s, k.block, g, index);
                k.pass.blocks = blocks;
                k.weights = (const float *)a->weights + index * pass_floats(s);
                /* Lanes beyond out_c have zero weights; a blocked output takes them along. */
                if (groups == 1 && a->out.blocked)
                    k.pass.lane1 = BLOCK;
                walk_pass(&k);
                index += (size_t)blocks;
            }
            for (int b = k.block; b < k.block + blocks; b++)
                if (!k.finish || view_lanes(&a->out, b) < BLOCK)
                    epilogue_apply(k.finish ? NULL : &a->epilogue, &a->out, k.y0, k.y1, b);
            k.block += blocks;
        }
    }
}
