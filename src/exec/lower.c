/* Finding the lowering of a node, and what lowerings share: views of slots, images, parallel work.
 */
#include "exec/lower.h"

#include <math.h>
#include <string.h>

bool lower_is_map(const struct graph *g, const struct node *n) {
    const struct value *v = node_out(g, n, 0);
    return v != NULL && v->form == FORM_MAP;
}

const struct lowering *lowering_find(const struct graph *g, const struct node *n) {
    const struct lowering *const tables[] = {
        lowerings_conv,        lowerings_gemm,     lowerings_product, lowerings_pool,
        lowerings_elementwise, lowerings_function, lowerings_plain,   lowerings_move,
        lowerings_normalise,   lowerings_moments,  lowerings_volume};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const struct lowering *l = tables[t]; l->op != NULL; l++)
            if (strcmp(l->op, n->op->name) == 0 && l->accepts(g, n))
                return l;
    return lowering_reference;
}

enum cohort_code bound_state(struct bound *b, size_t bytes, struct cohort_error *err) {
    b->state = mem_zalloc(1, bytes);
    return b->state != NULL ? COHORT_OK : error_memory(err, bytes, "an operator's state");
}

struct view slot_view(const struct program *p, int slot) {
    const struct slot *s = &p->slots[slot];
    const struct value *v = graph_value(p->graph, s->value);
    struct geometry geo = value_geometry(v);
    float *data = (float *)(void *)s->data;
    if (v->form == FORM_MAP) {
        struct view view =
            view_map(data, s->rows.begin, rows_count(s->rows), (int)geo.channels, (int)geo.width);
        if (view.blocked) /* other channels may lie between its rows */
            view.row_pitch = (ptrdiff_t)(p->buffers[s->buffer].row_bytes / sizeof(float));
        return view;
    }
    return view_tokens(data, s->rows.begin, rows_count(s->rows), (int)geo.channels);
}

struct view slot_image(const struct program *p, int slot, int64_t image) {
    struct view v = slot_view(p, slot);
    v.row0 -= image * value_geometry(op_value(p, slot)).height;
    return v;
}

bool next_image(struct rows out, int64_t height, int64_t *at, struct image_rows *part) {
    if (*at >= out.end || height <= 0)
        return false;
    int64_t image = *at / height;
    int64_t stop = (image + 1) * height < out.end ? (image + 1) * height : out.end;
    *part = (struct image_rows){
        .image = image, .y0 = *at - image * height, .y1 = stop - image * height};
    *at = stop;
    return true;
}

/* ---- parallel work ----------------------------------------------------------------------- */

/* Measured on two cores at 2.6 GHz with both threads awake: a job of the pool costs about 1 us, so
 * work of less than SERIAL_NS is done sooner by the caller alone, and items shorter than ITEM_NS
 * spend too much of their time being handed out. */
#define SERIAL_NS 4000
#define ITEM_NS   4000
/* Items a thread when there is work enough: unequal cores then finish at nearly the same time, and
 * a dilated board sleeps between them. */
#define ITEMS_EACH 6
/* A dilated board's items, which sleep behind them: shorter ones only make it compute more, because
 * kernels prepare something for each. */
#define NAP_NS      1e6
#define PIECES_MOST 64

struct work {
    work_fn fn;
    void *context;
    int64_t y0;
    struct cut cut;
};

static void work_item(void *context, int64_t item, int thread) {
    const struct work *w = context;
    struct cut_part part = cut_part(&w->cut, item);
    if (part.y0 < part.y1)
        w->fn(w->context, w->y0 + part.y0, w->y0 + part.y1, part.block0, part.block1, thread);
}

/* How many pieces each thread's band should have; 0: the caller does all of it. */
static int pieces_wanted(const struct program *p, int64_t rows) {
    int threads = pool_threads(p->pool);
    double ns = p->row_ns * (double)rows / threads;
    /* The first piece is the largest, twice the mean. */
    double tests = p->options.test_ns > 0 ? fmin(2 * ns / p->options.test_ns, PIECES_MOST) : 0;
    if (pool_naps(p->pool)) { /* sleeping between items is what they are for */
        double naps = fmin(ns / NAP_NS, ITEMS_EACH * (threads > 1 ? 1 : 2));
        return naps < 1 ? threads > 1 : (int)naps;
    }
    if (threads == 1)
        return tests < 2 ? 0 : (int)tests;
    if (ns * threads < SERIAL_NS)
        return 0;
    return (int)fmax(1, fmax(tests, fmin(ns / ITEM_NS, ITEMS_EACH)));
}

void run_cut(struct program *p, int64_t y0, int64_t y1, const struct cut *how, work_fn fn,
             void *context) {
    if (y0 >= y1 || how->blocks <= 0)
        return;
    struct work w = {.fn = fn, .context = context, .y0 = y0, .cut = *how};
    w.cut.rows = y1 - y0;
    w.cut.bands = pool_threads(p->pool);
    w.cut.pieces = pieces_wanted(p, y1 - y0);
    if (w.cut.pieces == 0)
        fn(context, y0, y1, how->block0, how->block0 + how->blocks, 0);
    else
        pool_run(p->pool, cut_items(&w.cut), work_item, &w);
}

void run_parallel(struct program *p, int64_t y0, int64_t y1, int channel_blocks, work_fn fn,
                  void *context) {
    run_cut(p, y0, y1, &(struct cut){.blocks = channel_blocks}, fn, context);
}

void run_parallel_channels(struct program *p, int64_t y0, int64_t y1, int channel_blocks,
                           work_fn fn, void *context) {
    run_cut(p, y0, y1, &(struct cut){.blocks = channel_blocks, .channels_first = true}, fn,
            context);
}

/* Nanoseconds at 2.5 GHz, roughly: what the kernel's own estimate says, or an operation each, and
 * the memory that is touched at 10 GB/s. */
double estimate_row_ns(const struct graph *g, const struct bound *b) {
    const struct node *n = b->node;
    double bytes = 0, rows = 0, rate = b->rate > 0 ? b->rate : 0.4;
    for (int i = 0; i < n->in_count + n->out_count; i++) {
        const struct value *v =
            i < n->in_count ? node_in(g, n, i) : node_out(g, n, i - n->in_count);
        if (v == NULL || !shape_known(&v->shape))
            continue;
        bytes += (double)shape_count(&v->shape) * (double)dtype_bytes(v->type);
        if (i >= n->in_count && rows == 0)
            rows = (double)value_rows(v);
    }
    return rows > 0 ? (node_flops(g, n) / 2 / (rate * 2.5) + bytes / 10) / rows : 0;
}

static void walk_rows(struct program *p, const struct exec_op *op, bool per_block, work_fn fn) {
    struct part_work w = {
        .program = p, .op = op, .state = op->bound->state, .in = slot_view(p, op->in_slots[0])};
    if (op->out_slots[0] >= 0) /* one of several outputs may be left out */
        w.out = slot_view(p, op->out_slots[0]);
    run_parallel(p, op->out.begin, op->out.end, per_block ? view_blocks(&w.out) : 1, fn, &w);
}

static void walk_images(struct program *p, const struct exec_op *op, bool per_block, work_fn fn) {
    int64_t height = value_geometry(op_value(p, op->out_slots[0])).height;
    struct part_work w = {.program = p, .op = op, .state = op->bound->state};
    struct image_rows part;
    for (int64_t at = op->out.begin; next_image(op->out, height, &at, &part);) {
        w.in = slot_image(p, op->in_slots[0], part.image);
        w.out = slot_image(p, op->out_slots[0], part.image);
        run_parallel(p, part.y0, part.y1, per_block ? view_blocks(&w.out) : 1, fn, &w);
    }
}

enum cohort_code lowering_run(struct program *p, const struct exec_op *op,
                              struct cohort_error *err) {
    const struct lowering *how = op->bound->how;
    if (op->free || (op->part > 0 && !how->parts)) /* then part 0 does all */
        return COHORT_OK;
    p->row_ns = op->bound->row_ns;
    switch (how->walk) {
    case WALK_OWN:
        return how->run(p, op, err);
    case WALK_ROWS:
    case WALK_ROWS_BLOCKS:
        walk_rows(p, op, how->walk == WALK_ROWS_BLOCKS, how->part);
        break;
    case WALK_IMAGES:
    case WALK_IMAGES_BLOCKS:
        walk_images(p, op, how->walk == WALK_IMAGES_BLOCKS, how->part);
        break;
    }
    return COHORT_OK;
}

/* ---- choosing a kernel ----------------------------------------------------------------------- */

const char *tuned_kernel(const struct program *p, const struct node *n) {
    struct signature s;
    if (p->options.choices == NULL || !signature_of(p->graph, n->whole != NULL ? n->whole : n, &s))
        return NULL;
    signature_set_options(&s, p->options.half_weights, p->options.fp16);
    return kernel_chosen(p->options.choices, &s);
}

const char *wanted_kernel(const struct program *p, const struct node *n) {
    const char *tuned = tuned_kernel(p, n);
    if (tuned != NULL)
        return tuned;
    return p->options.kernel != NULL ? p->options.kernel : p->options.misjudged;
}

/* ---- epilogue and constants ------------------------------------------------------------------ */

struct kernel_epilogue op_epilogue(const struct program *p, const struct exec_op *op, int64_t image,
                                   struct view *residual) {
    const struct epilogue *e = &op->bound->node->epilogue;
    struct kernel_epilogue k = {.act = (enum kernel_act)e->act,
                                .a = e->a,
                                .b = e->b,
                                .residual_last = e->residual_last,
                                .apply = p->plain->epilogue};
    if (e->residual >= 0) {
        *residual = slot_image(p, op->in_slots[e->residual], image);
        k.residual = residual;
    }
    return k;
}

_Static_assert((int)ACT_COUNT == (int)KACT_COUNT && (int)ACT_CLIP == (int)KACT_CLIP &&
                   (int)ACT_SILU == (int)KACT_SILU && (int)ACT_HARD_SWISH == (int)KACT_HARD_SWISH,
               "the graph's and the kernels' activations have the same numbers");

enum cohort_code vector_from_constant(float **out, const struct tensor *t, int64_t count,
                                      struct cohort_error *err) {
    size_t padded = (size_t)(count + BLOCK - 1) / BLOCK * BLOCK;
    float *v = mem_zalloc(padded, sizeof *v);
    if (v == NULL)
        return error_memory(err, padded * sizeof *v, "a vector of parameters");
    if (t != NULL && shape_count(&t->shape) == count) {
        tensor_load_f32(t, 0, count, v);
    } else if (t != NULL && shape_count(&t->shape) == 1) {
        tensor_load_f32(t, 0, 1, v);
        for (int64_t i = 1; i < count; i++)
            v[i] = v[0];
    } else if (t != NULL) {
        mem_free(v);
        return error_set(err, COHORT_ERR_SHAPE,
                         "a parameter vector has %lld values instead of %lld",
                         (long long)shape_count(&t->shape), (long long)count);
    }
    *out = v;
    return COHORT_OK;
}

#define DONE_BYTES 65536 /* less is not worth a system call */

void constant_done(const struct program *p, const struct tensor *t, int64_t first, int64_t count) {
    size_t each = dtype_bytes(t->type), bytes = (size_t)count * each;
    for (int i = 0; !t->owned && bytes >= DONE_BYTES && i < p->graph->map_count; i++)
        file_map_done(&p->graph->maps[i], (const char *)t->data + (size_t)first * each, bytes);
}
