/* Convolution and transposed convolution on feature maps. */
#include "exec/lower.h"

#include <string.h>

#define FACTORS 2 /* ScaledConv's input with a factor for each channel; the bias comes after it */

struct conv_state {
    struct conv_shape shape;
    const struct conv_kernel *kernel;
    void *weights;
    float *bias;
    struct cut cut;      /* what its items need */
    int blocks;          /* of channels that have weights at a time: all, or folded */
    bool scaled;         /* with factors (ScaledConv) */
    bool transposed;     /* ConvTranspose */
    size_t scaled_bytes; /* of a thread's workspace: its copy of the weights */
};

static bool conv_accepts(const struct graph *g, const struct node *n) {
    return lower_is_map(g, n) && node_const(g, n, 1) != NULL;
}

static struct conv_shape conv_shape_of(const struct graph *g, const struct node *n) {
    struct geometry in = value_geometry(node_in(g, n, 0));
    struct geometry out = value_geometry(node_out(g, n, 0));
    const struct window *w = &n->window;
    return (struct conv_shape){
        .in_c = (int)in.channels,
        .in_h = (int)in.height,
        .in_w = (int)in.width,
        .out_c = (int)out.channels,
        .out_h = (int)out.height,
        .out_w = (int)out.width,
        .groups = (int)n->group,
        .kernel_h = (int)w->kernel[0],
        .kernel_w = (int)w->kernel[1],
        .stride_h = (int)w->stride[0],
        .stride_w = (int)w->stride[1],
        .pad_top = (int)w->pad_begin[0],
        .pad_left = (int)w->pad_begin[1],
        .dilation_h = (int)w->dilation[0],
        .dilation_w = (int)w->dilation[1],
        .in_blocked = in.blocked,
        .out_blocked = out.blocked,
    };
}

/* Its S too is a map, of one pixel. */
static bool scaled_accepts(const struct graph *g, const struct node *n) {
    return conv_accepts(g, n) && node_in(g, n, FACTORS)->form == FORM_MAP;
}

void conv_signature(const struct graph *g, const struct node *n, struct signature *s) {
    bool transposed = strcmp(n->op->name, "ConvTranspose") == 0;
    *s = (struct signature){.family = transposed ? SIGNATURE_DECONV : SIGNATURE_CONV,
                            .conv = conv_shape_of(g, n)};
}

/* Weights are packed by rows of the constant: output channels; a transposed convolution's,
 * [in_c][out_c/groups][kh][kw], are input channels. */
struct conv_packing {
    const struct program *program;
    const struct conv_state *state;
    const struct tensor *weights;
    const float *factors; /* one per output channel, or NULL */
    float *scratch;       /* of each thread: [16][each] */
    int64_t each;         /* weights of one row */
    int64_t begin, end;   /* rows that `weights` has */
};

/* Of rows from `row` on, times their output channels' factors. */
static void multiply(const struct conv_packing *w, float *chunk, int64_t row, int count) {
    const struct conv_shape *c = &w->state->shape;
    const int64_t taps = (int64_t)c->kernel_h * c->kernel_w, outs = c->out_c / c->groups;
    for (int j = 0; j < count; j++)
        for (int64_t k = 0; k < w->each; k++)
            chunk[j * w->each + k] *=
                w->factors[w->state->transposed
                               ? (row + j) / (c->in_c / c->groups) * outs + k / taps
                               : row + j];
}

static void pack_block(void *context, int64_t block, int thread) {
    const struct conv_packing *w = context;
    float *chunk = w->scratch + thread * w->each * BLOCK;
    const int64_t at = block * BLOCK, row = w->begin + at;
    const int count = (int)(w->end - row < BLOCK ? w->end - row : BLOCK);
    tensor_load_f32(w->weights, at * w->each, count * w->each, chunk);
    if (w->factors != NULL)
        multiply(w, chunk, row, count);
    w->state->kernel->pack(&w->state->shape, chunk, (int)row, count, w->state->weights);
    constant_done(w->program, w->weights, at * w->each, count * w->each);
}

/* Packs weights from row `begin` on, 16 rows at a time, so that the file's weights are never copied
 * whole. */
static enum cohort_code pack_conv(const struct program *p, struct conv_state *s,
                                  const struct tensor *t, int64_t begin, const float *factors,
                                  struct cohort_error *err) {
    struct conv_packing w = {
        .program = p, .state = s, .weights = t, .factors = factors, .begin = begin};
    w.each = shape_product(&t->shape, 1, t->shape.rank);
    w.end = begin + t->shape.dim[0];
    size_t bytes = (size_t)pool_threads(p->pool) * (size_t)w.each * BLOCK * sizeof(float);
    w.scratch = mem_alloc(bytes);
    if (w.scratch == NULL)
        return error_memory(err, bytes, "packing weights");
    pool_run(p->pool, (w.end - begin + BLOCK - 1) / BLOCK, pack_block, &w);
    mem_free(w.scratch);
    return COHORT_OK;
}

/* Pixels of an item that make reading its weights worth while, and channel blocks that make
 * transforming its rows so. */
#define PIXELS_LEAST 56
#define BLOCKS_LEAST 8

/* Bands of rows or of channels?  Rows bring all weights to every thread.  Channels bring all of the
 * input there, and both maps have moved between the threads when rows come again: to and fro. */
static struct cut cut_of(const struct conv_state *s, size_t weights_bytes) {
    const struct conv_shape *c = &s->shape;
    double in = sizeof(float) * (double)c->in_c * c->in_h * c->in_w;
    double out = sizeof(float) * (double)c->out_c * c->out_h * c->out_w;
    struct cut cut = {.channels_first = (double)weights_bytes > in + 2 * (in + out)};
    if (s->kernel->rows_least != NULL) {
        cut.rows_least = s->kernel->rows_least(c);
        cut.blocks_least = BLOCKS_LEAST;
    } else if (c->groups == 1) {
        cut.rows_least = (PIXELS_LEAST + c->out_w - 1) / c->out_w;
    }
    return cut;
}

/* NULL: there are none. */
static enum cohort_code factors_for(float **factors, const struct program *p, const struct bound *b,
                                    struct cohort_error *err) {
    const struct conv_state *s = b->state;
    const int id = b->node->weight_scale;
    if (id < 0)
        return COHORT_OK;
    return vector_from_constant(factors, &p->graph->values[id].constant, s->shape.out_c, err);
}

static size_t bytes_with(const void *context, int channels) {
    const struct conv_state *s = context;
    struct conv_shape shape = s->shape;
    shape.out_c = channels;
    return s->kernel->weights_bytes(&shape);
}

/* Where there is no room for all weights that are made up. */
static void fold(const struct program *p, struct bound *b, struct conv_state *s) {
    const int all = s->shape.out_c;
    if (s->shape.groups == 1 && !s->transposed && !s->scaled)
        s->shape.out_c = made_up_channels(p, all, bytes_with, s);
    b->folded = s->shape.out_c < all;
    s->blocks = (s->shape.out_c + BLOCK - 1) / BLOCK;
}

static enum cohort_code bind_any(struct program *p, struct bound *b, bool transposed,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    float *factors = NULL;
    const struct graph *g = p->graph;
    const struct node *n = b->node;
    TRY(bound_state(b, sizeof(struct conv_state), err));
    struct conv_state *s = b->state;
    s->transposed = transposed;
    s->shape = conv_shape_of(g, n);
    s->shape.board = p->options.board;
    const struct conv_kernel *(*choose)(const struct conv_shape *, unsigned, const char *) =
        transposed ? kernel_choose_deconv : kernel_choose_conv;
    s->scaled = strcmp(n->op->name, "ScaledConv") == 0;
    struct conv_shape whole = s->shape;
    if (n->whole != NULL) { /* all parts of a convolution are computed in one way */
        whole = conv_shape_of(g, n->whole);
        whole.board = p->options.board;
    }
    s->kernel = choose(&whole, p->isa_mask, wanted_kernel(p, n));
    if (s->kernel == NULL) /* --kernel may name one of another family */
        s->kernel = choose(&whole, p->isa_mask, NULL);
    bool can = s->kernel != NULL && (s->kernel->scale != NULL || s->kernel->factors);
    if (s->scaled && !can) /* all direct ones can */
        s->kernel = choose(&whole, p->isa_mask, "direct");
    if (s->kernel != NULL && n->whole != NULL && s->kernel->rate(&s->shape) <= 0)
        s->kernel = choose(&s->shape, p->isa_mask, s->scaled ? "direct" : NULL);
    if (s->kernel == NULL) {
        code = error_set(err, COHORT_ERR_UNSUPPORTED,
                         "no kernel for %d to %d channels, %dx%d, stride %dx%d, %d groups",
                         s->shape.in_c, s->shape.out_c, s->shape.kernel_h, s->shape.kernel_w,
                         s->shape.stride_h, s->shape.stride_w, s->shape.groups);
        goto out;
    }
    b->kernel = s->kernel->name;
    b->rate = s->kernel->rate(&s->shape);
    b->fp16 = s->kernel->fp16;
    b->weights_bytes = s->kernel->weights_bytes(&s->shape);
    b->workspace_bytes =
        s->kernel->workspace_bytes != NULL ? s->kernel->workspace_bytes(&s->shape) : 0;
    s->cut = cut_of(s, b->weights_bytes);
    b->rows_least = s->cut.rows_least;
    if (s->scaled && !s->kernel->factors) {
        s->scaled_bytes = (b->weights_bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
        b->workspace_bytes += s->scaled_bytes;
    }
    fold(p, b, s);
    TRY(weights_alloc(p, b, bytes_with(s, s->shape.out_c), &s->weights, err));
    int at = s->scaled ? FACTORS + 1 : 2;
    const struct tensor *bias =
        n->in_count > at && n->epilogue.residual != at ? node_const(g, n, at) : NULL;
    TRY(vector_from_constant(&s->bias, p->options.zero_weights ? NULL : bias, s->shape.out_c, err));
    if (p->options.zero_weights || b->in_pieces)
        goto out;
    TRY(factors_for(&factors, p, b, err));
    TRY(pack_conv(p, s, node_const(g, n, 1), 0, factors, err));
out:
    mem_free(factors);
    return code;
}

static enum cohort_code bind_conv(struct program *p, struct bound *b, struct cohort_error *err) {
    return bind_any(p, b, false, err);
}

static enum cohort_code bind_deconv(struct program *p, struct bound *b, struct cohort_error *err) {
    return bind_any(p, b, true, err);
}

static bool conv_in_pieces(const struct program *p, const struct node *n) {
    (void)p;
    (void)n;
    return true;
}

static enum cohort_code pack_conv_piece(struct program *p, struct bound *b,
                                        const struct tensor *part, int64_t begin,
                                        struct cohort_error *err) {
    float *factors = NULL;
    enum cohort_code code = factors_for(&factors, p, b, err);
    if (code == COHORT_OK)
        code = pack_conv(p, b->state, part, begin, factors, err);
    mem_free(factors);
    return code;
}

static const struct lowering_pieces conv_pieces = {conv_in_pieces, pack_conv_piece};

static void unbind_conv(struct bound *b) {
    struct conv_state *s = b->state;
    weights_free(b, s->weights);
    mem_free(s->bias);
}

/* The residual, if there is one, is bound to *residual. */
static struct conv_args args_of(const struct part_work *w, int64_t image, struct view *residual) {
    const struct conv_state *s = w->state;
    return (struct conv_args){
        .shape = &s->shape,
        .weights = s->weights,
        .bias = s->bias,
        .in = w->in,
        .out = w->out,
        .epilogue = op_epilogue(w->program, w->op, image, residual),
    };
}

struct conv_work {
    const struct program *program;
    const struct conv_state *state;
    const float *factors; /* one for each input channel, or NULL */
    struct conv_args args;
};

static void conv_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    const struct conv_work *w = context;
    const struct conv_state *s = w->state;
    struct conv_args a = w->args;
    a.y0 = y0;
    a.y1 = y1;
    a.block0 = block0;
    a.block1 = block1;
    a.saturated = thread_saturated(w->program, thread);
    char *workspace = thread_workspace(w->program, thread);
    a.workspace = workspace + s->scaled_bytes;
    if (s->kernel->factors) {
        a.factors = w->factors;
    } else if (w->factors != NULL) {
        s->kernel->scale(&s->shape, s->weights, w->factors, block0, block1, workspace);
        a.weights = workspace;
    }
    s->kernel->run(&a);
}

/* An image's factors, one behind the other: a map of one pixel is so in either layout. */
static const float *factors_of(const struct program *p, int slot, int64_t image) {
    struct view v = slot_image(p, slot, value_geometry(op_value(p, slot)).images == 1 ? 0 : image);
    return view_at(&v, 0, 0, 0);
}

static enum cohort_code run_conv(struct program *p, const struct exec_op *op,
                                 struct cohort_error *err) {
    (void)err;
    const struct conv_state *s = op->bound->state;
    struct part_work views = {.program = p, .op = op, .state = s};
    struct image_rows part;
    for (int64_t at = op->out.begin; next_image(op->out, s->shape.out_h, &at, &part);) {
        struct view residual;
        views.in = slot_image(p, op->in_slots[0], part.image);
        views.out = slot_image(p, op->out_slots[0], part.image);
        struct conv_work w = {
            .program = p, .state = s, .args = args_of(&views, part.image, &residual)};
        if (s->scaled)
            w.factors = factors_of(p, op->in_slots[FACTORS], part.image);
        struct cut cut = s->cut;
        const struct blocks blocks = op_blocks(op, view_blocks(&views.out));
        cut.block0 = blocks.begin;
        for (int b = blocks.begin; b < blocks.end; b += cut.blocks) { /* folded: in turns */
            cut.blocks = blocks.end - b < s->blocks ? blocks.end - b : s->blocks;
            run_cut(p, part.y0, part.y1, &cut, conv_part, &w);
        }
    }
    return COHORT_OK;
}

/* In strips: a map of one image. */
static void conv_strip(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    const struct part_work *w = context;
    struct view residual;
    struct conv_work c = {
        .program = w->program, .state = w->state, .args = args_of(w, 0, &residual)};
    if (c.state->scaled)
        c.factors = factors_of(w->program, w->op->in_slots[FACTORS], 0);
    conv_part(&c, y0, y1, block0, block1, thread);
}

const struct lowering lowerings_conv[] = {
    {"Conv", conv_accepts, bind_conv, unbind_conv, PACKED_OR(run_conv, conv_strip, &conv_pieces)},
    {"ScaledConv", scaled_accepts, bind_conv, unbind_conv,
     PACKED_OR(run_conv, conv_strip, &conv_pieces)},
    {"ConvTranspose", conv_accepts, bind_deconv, unbind_conv, PACKED_PARTS(run_conv, &conv_pieces)},
    {0},
};
