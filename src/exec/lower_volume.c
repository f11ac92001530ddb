/* Conv over three axes or more (video, volumes), on plain tensors, as products.
 *
 * X [N, C, spatial…] and Y [N, M, spatial…] are dense.  For a tile of pixels of Y, the
 * C/group * taps elements of X that each of them reaches are gathered as the columns of a matrix,
 * packed for a gemm kernel, and multiplied by the weights' rows, one an output channel: the
 * product's rows lie in Y as they come.  A bias is one more column of weights, which meets ones.
 * A pixel's bits do not depend on which other pixels are asked for. */
#include "exec/lower.h"
#include "graph/ops/ops_window.h"

#include <string.h>

#define TILE_BYTES (512 * 1024) /* of packed columns: half of a usual second-level cache */
#define TILE_MOST  (16 * BLOCK)

struct volume_state {
    struct window_nd window;
    struct gemm_shape shape; /* k: a pixel's elements of X, and the bias; n: a tile's pixels */
    const struct gemm_kernel *kernel;
    void *weights;                     /* float [M][k] */
    int64_t groups, in_group, m_group; /* channels of X and Y in a group */
    int64_t in_pixels, pixels;         /* of X and Y */
    bool bias;
    size_t columns;      /* floats of a thread's block of pixels, as gathered */
    size_t packed_bytes; /* of a tile */
};

static bool volume_accepts(const struct graph *g, const struct node *n) {
    const struct value *x = node_in(g, n, 0), *y = node_out(g, n, 0);
    const struct tensor *w = node_const(g, n, 1);
    const struct value *b = n->epilogue.residual != 2 ? node_in(g, n, 2) : NULL;
    if (w == NULL || x->is_constant || x->form != FORM_PLAIN || y->form != FORM_PLAIN ||
        x->type != DT_F32 || !shape_known(&x->shape) || !shape_known(&y->shape) ||
        y->shape.rank < 5 || shape_count(&y->shape) <= 0 || shape_count(&x->shape) <= 0)
        return false;
    return (b == NULL || b->is_constant) && n->weight_scale < 0 &&
           shape_product(&w->shape, 1, w->shape.rank) > 0 &&
           shape_product(&w->shape, 1, w->shape.rank) < TILE_BYTES &&
           shape_product(&y->shape, 2, y->shape.rank) < INT32_MAX / 4 &&
           y->shape.dim[1] < INT32_MAX / 4;
}

static enum cohort_code load_weights(struct program *p, struct bound *b, struct cohort_error *err) {
    struct volume_state *s = b->state;
    const struct tensor *w = node_const(p->graph, b->node, 1);
    const struct tensor *bias = s->bias ? node_const(p->graph, b->node, 2) : NULL;
    int64_t channels = w->shape.dim[0], k = s->shape.k, taps = k - s->bias;
    b->weights_bytes = (size_t)(channels * k) * sizeof(float);
    enum cohort_code code = weights_alloc(p, b, b->weights_bytes, &s->weights, err);
    if (code != COHORT_OK || p->options.zero_weights)
        return code;
    float *to = s->weights;
    for (int64_t m = 0; m < channels; m++) {
        tensor_load_f32(w, m * taps, taps, to + m * k);
        if (bias != NULL)
            tensor_load_f32(bias, m, 1, to + m * k + taps);
    }
    constant_done(p, w, 0, channels * taps);
    return COHORT_OK;
}

/* Pixels of a tile where `pixels` of `groups` groups (of all images) are wanted: at most
 * s->shape.n, and with several threads so few that each finds two items.  Whole blocks. */
static int tile_pixels(const struct program *p, const struct volume_state *s, int64_t groups,
                       int64_t pixels) {
    const int64_t threads = pool_threads(p->pool);
    const int64_t parts = threads > 1 ? (2 * threads + groups - 1) / groups : 1;
    const int64_t tile = ((pixels + parts - 1) / parts + BLOCK - 1) / BLOCK * BLOCK;
    return tile < s->shape.n ? (int)tile : s->shape.n;
}

static enum cohort_code bind_volume(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct graph *g = p->graph;
    const struct node *n = b->node;
    const struct shape *x = &node_in(g, n, 0)->shape, *w = &node_in(g, n, 1)->shape;
    const struct shape *y = &node_out(g, n, 0)->shape;
    TRY(bound_state(b, sizeof(struct volume_state), err));
    struct volume_state *s = b->state;
    TRY(window_read(&s->window, n, x, w->dim + 2, err));
    TRY(window_slide(&s->window, n, err));
    s->bias = n->epilogue.residual != 2 && node_const(g, n, 2) != NULL;
    s->groups = n->group;
    s->in_group = w->dim[1];
    s->m_group = w->dim[0] / n->group;
    s->in_pixels = shape_product(x, 2, x->rank);
    s->pixels = shape_product(y, 2, y->rank);
    s->shape = (struct gemm_shape){.board = p->options.board,
                                   .rows = s->m_group,
                                   .k = (int)shape_product(w, 1, w->rank) + s->bias};
    int64_t tile = TILE_BYTES / ((int64_t)s->shape.k * BLOCK * (int64_t)sizeof(float)) * BLOCK;
    s->shape.n = (int)(tile < BLOCK ? BLOCK : tile > TILE_MOST ? TILE_MOST : tile);
    TRY(choose_gemm(&s->kernel, p->isa_mask & ~ISAS_FP16, &s->shape, p->options.kernel, err));
    b->kernel = s->kernel->name;
    b->rate = s->kernel->rate(&s->shape);
    /* Only now: the choice of a kernel must not depend on the threads. */
    s->shape.n = tile_pixels(p, s, x->dim[0] * s->groups, s->pixels);
    s->packed_bytes = (s->kernel->weights_bytes(&s->shape) + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    /* A thread's columns of a block, for pack() as pixels' own, too; its tile; the kernel's. */
    s->columns = (s->kernel->pack_matrix != NULL ? 1 : 2) * (size_t)s->shape.k * BLOCK;
    b->workspace_bytes = s->columns * sizeof(float) + s->packed_bytes;
    if (s->kernel->workspace_bytes != NULL)
        b->workspace_bytes += s->kernel->workspace_bytes(&s->shape);
    TRY(load_weights(p, b, err));
out:
    return code;
}

static void unbind_volume(struct bound *b) {
    struct volume_state *s = b->state;
    weights_free(b, s->weights);
}

/* ---- gathering ------------------------------------------------------------------------------- */

/* Where a run of pixels along the last axis reads with one tap: the line of a channel of X that
 * begins with element `at`, or -1 where all of it is padding; *first: where the first pixel reads
 * in that line, which may be beyond its ends. */
static int64_t tap_begins(const struct window_nd *w, int64_t pixel, int64_t tap, int64_t *first) {
    int64_t at = 0, step = 1;
    for (int i = w->rank - 1; i >= 0; i--) {
        int64_t y = pixel % w->out[i], t = tap % w->kernel[i];
        int64_t x = y * w->stride[i] + t * w->dilation[i] - w->pad_begin[i];
        pixel /= w->out[i];
        tap /= w->kernel[i];
        if (i == w->rank - 1)
            *first = x;
        else if (x < 0 || x >= w->in[i])
            return -1;
        else
            at += x * step;
        step *= w->in[i];
    }
    return at;
}

/* Pixels [pixel, pixel+count), all in one line of the last axis, of all taps and channels: column j
 * of [k][BLOCK]. */
static void gather_line(const struct volume_state *s, const float *x, int64_t pixel, int count,
                        float *columns) {
    const struct window_nd *w = &s->window;
    const int last = w->rank - 1;
    const int64_t taps = window_taps(w), width = w->in[last], step = w->stride[last];
    for (int64_t t = 0; t < taps; t++) {
        int64_t from = 0, line = tap_begins(w, pixel, t, &from);
        for (int64_t c = 0; c < s->in_group; c++) {
            const float *row = x + c * s->in_pixels + line;
            float *to = columns + (c * taps + t) * BLOCK;
            for (int j = 0; j < count; j++) {
                int64_t at = from + j * step;
                to[j] = line >= 0 && at >= 0 && at < width ? row[at] : 0;
            }
        }
    }
}

/* Packs a block of up to 16 pixels. */
static void pack_pixels(const struct volume_state *s, const struct gemm_shape *shape,
                        const float *x, int64_t pixel, int n0, float *columns, void *packed) {
    const int count = shape->n - n0 < BLOCK ? shape->n - n0 : BLOCK;
    const int64_t k = shape->k, line = s->window.out[s->window.rank - 1];
    for (int done = 0, part; done < count; done += part) {
        int64_t left = line - (pixel + done) % line;
        part = left < count - done ? (int)left : count - done;
        gather_line(s, x, pixel + done, part, columns + done);
    }
    for (int j = 0; s->bias && j < count; j++)
        columns[(k - 1) * BLOCK + j] = 1;
    if (s->kernel->pack_matrix != NULL) {
        s->kernel->pack_matrix(shape, columns, BLOCK, 0, shape->k, n0, count, packed);
        return;
    }
    float *turned = columns + k * BLOCK;
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < count; j++)
            turned[j * k + i] = columns[i * BLOCK + j];
    s->kernel->pack(shape, turned, n0, count, packed);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Pixels [p0, p1) of channels [c0, c1), counted through all images. */
struct volume_work {
    const struct program *program;
    const struct exec_op *op;
    const struct volume_state *state;
    const float *x; /* of all images */
    int64_t c0, c1, p0, p1;
    int tile;
    int64_t tiles; /* of a group, whose items follow one another */
};

static void volume_tile(void *context, int64_t item, int thread) {
    const struct volume_work *v = context;
    const struct volume_state *s = v->state;
    /* The group and its first output channel, counted through all images too. */
    const int64_t group = v->c0 / s->m_group + item / v->tiles, channel = group * s->m_group;
    const int64_t pixel = v->p0 + item % v->tiles * v->tile, k = s->shape.k;
    const float *weights = s->weights, *x = v->x + group * s->in_group * s->in_pixels;
    struct gemm_shape shape = s->shape;
    shape.n = v->p1 - pixel < v->tile ? (int)(v->p1 - pixel) : v->tile;
    float *columns = thread_workspace(v->program, thread);
    char *packed = (char *)(columns + s->columns);
    struct view out = slot_view(v->program, v->op->out_slots[0]), residual = {0};
    for (int n0 = 0; n0 < shape.n; n0 += BLOCK)
        pack_pixels(s, &shape, x, pixel + n0, n0, columns, packed);
    /* Element (row, column) of the slot is element row * width + column of Y. */
    const int64_t width = out.channels, first = channel * s->pixels + pixel;
    struct gemm_args a = {.shape = &shape,
                          .weights = packed,
                          .in = weights + group % s->groups * s->m_group * k,
                          .out = out.data - out.row0 * width + first,
                          .in_pitch = (ptrdiff_t)k,
                          .out_pitch = (ptrdiff_t)s->pixels,
                          .epilogue = op_epilogue(v->program, v->op, 0, &residual),
                          .y0 = channel < v->c0 ? v->c0 - channel : 0,
                          .y1 = channel + s->m_group < v->c1 ? s->m_group : v->c1 - channel,
                          .n1 = shape.n,
                          .workspace = packed + s->packed_bytes};
    if (a.epilogue.residual != NULL) {
        residual.data += first - residual.row0 * width;
        residual.row0 = 0;
        residual.rows = a.y1;
        residual.channels = shape.n;
        residual.row_pitch = residual.pixel_pitch = (ptrdiff_t)s->pixels;
    }
    s->kernel->run(&a);
}

/* Pixels [p0, p1) of channels [c0, c1), counted through all images; none where either is empty. */
static void run_channels(struct program *p, const struct exec_op *op, int64_t c0, int64_t c1,
                         int64_t p0, int64_t p1) {
    const struct volume_state *s = op->bound->state;
    struct view x = slot_view(p, op->in_slots[0]);
    if (c0 >= c1 || p0 >= p1)
        return;
    const int64_t groups = (c1 - 1) / s->m_group - c0 / s->m_group + 1;
    struct volume_work v = {.program = p,
                            .op = op,
                            .state = s,
                            .x = x.data - x.row0 * x.row_pitch,
                            .c0 = c0,
                            .c1 = c1,
                            .p0 = p0,
                            .p1 = p1,
                            .tile = tile_pixels(p, s, groups, p1 - p0)};
    v.tiles = (p1 - p0 + v.tile - 1) / v.tile;
    pool_run(p->pool, groups * v.tiles, volume_tile, &v);
}

/* The rows that are wanted are the end of a channel, whole channels, the beginning of another. */
static enum cohort_code run_volume(struct program *p, const struct exec_op *op,
                                   struct cohort_error *err) {
    (void)err;
    const struct volume_state *s = op->bound->state;
    int64_t width = s->window.out[s->window.rank - 1];
    int64_t begin = op->out.begin * width, end = op->out.end * width;
    int64_t first = (begin + s->pixels - 1) / s->pixels, last = end / s->pixels;
    if (first > last) { /* a piece of one channel */
        run_channels(p, op, last, last + 1, begin - last * s->pixels, end - last * s->pixels);
        return COHORT_OK;
    }
    run_channels(p, op, first - 1, first, begin - (first - 1) * s->pixels,
                 begin < first * s->pixels ? s->pixels : 0);
    run_channels(p, op, first, last, 0, s->pixels);
    run_channels(p, op, last, last + 1, 0, end - last * s->pixels);
    return COHORT_OK;
}

const struct lowering lowerings_volume[] = {
    {"Conv", volume_accepts, bind_volume, unbind_volume, BY_ITSELF(run_volume)},
    {0},
};
