/* Products with constant matrices: Gemm and MatMul on tokens, and Gemm on a flattened feature map
 * (whose weight columns are permuted here, once, so that ONNX's NCHW order costs nothing later). */
#include "exec/lower.h"

#include <math.h>
#include <string.h>

/* What a thread, or all together, saw of weights that become float16. */
struct rounding {
    int64_t saturated;
    float largest, worst; /* of their magnitudes, and of their errors */
    char apart[MEM_ALIGN - 16];
};

struct gemm_state {
    struct gemm_shape shape;
    int features;             /* all of them; shape.n is less where the operator is folded */
    struct rounding rounding; /* of all weights that were packed, when they become float16 */
    const struct gemm_kernel *kernel;
    void *weights;
    float *bias;         /* [n], or NULL */
    ptrdiff_t in_pitch;  /* floats from one input row to the next */
    int64_t rows_per_in; /* input rows (of the value) behind one row of the product */
};

/* How the constant B lies: element (k, n) at k*k_step + n*n_step. */
struct matrix {
    const struct tensor *b;
    int64_t k, n, k_step, n_step;
    bool transposed; /* [n][k]: a feature's weights lie together */
};

static bool is_gemm(const struct node *n) {
    return strcmp(n->op->name, "Gemm") == 0;
}

static bool matrix_of(const struct graph *g, const struct node *n, struct matrix *m) {
    const struct tensor *b = node_const(g, n, 1);
    if (b == NULL || b->shape.rank != 2)
        return false;
    bool transposed = is_gemm(n) && node_attr_int(n, "transB", 0) != 0;
    *m = (struct matrix){.b = b, .transposed = transposed};
    m->k = b->shape.dim[transposed ? 1 : 0];
    m->n = b->shape.dim[transposed ? 0 : 1];
    m->k_step = transposed ? 1 : m->n;
    m->n_step = transposed ? m->k : 1;
    return m->k > 0 && m->n > 0;
}

/* Bias input of a Gemm: index 2 unless that is the residual. NULL: none. */
static const struct value *bias_of(const struct graph *g, const struct node *n) {
    return is_gemm(n) && n->epilogue.residual != 2 ? node_in(g, n, 2) : NULL;
}

static bool gemm_accepts(const struct graph *g, const struct node *n) {
    const struct value *a = node_in(g, n, 0), *c = bias_of(g, n), *y = node_out(g, n, 0);
    struct matrix m;
    if (!matrix_of(g, n, &m) || a->type != DT_F32 || !shape_known(&a->shape) || a->is_constant ||
        y->form != FORM_PLAIN || shape_count(&a->shape) == 0)
        return false;
    if (is_gemm(n) && node_attr_int(n, "transA", 0) != 0)
        return false;
    if (a->form == FORM_PLAIN && a->shape.rank < 2)
        return false;
    if (c == NULL)
        return true;
    int64_t count =
        shape_count(&c->shape); /* one value, or one per column, the same for every row */
    return c->is_constant &&
           (count == 1 || (count == m.n && c->shape.dim[c->shape.rank - 1] == m.n));
}

/* Where channel c, row y, column x of one image of a map lies in the image's memory, in floats. */
static int64_t map_offset(const struct geometry *geo, int64_t c, int64_t y, int64_t x) {
    int64_t row = (int64_t)(geo->row_bytes / sizeof(float));
    if (geo->blocked)
        return y * row + c / MAP_BLOCK * geo->width * MAP_BLOCK + x * MAP_BLOCK + c % MAP_BLOCK;
    return y * row + x * geo->channels + c;
}

/* Reads features [n, n+count) of B, each contiguous: feature j at out + j * pitch. */
static void load_features(const struct matrix *m, int64_t n, int count, float *out, int64_t pitch) {
    if (m->k_step == 1) {
        for (int j = 0; j < count; j++)
            tensor_load_f32(m->b, (n + j) * m->n_step, m->k, out + j * pitch);
        return;
    }
    for (int64_t k = 0; k < m->k; k++) {
        float row[BLOCK];
        tensor_load_f32(m->b, k * m->k_step + n, count, row);
        for (int j = 0; j < count; j++)
            out[j * pitch + k] = row[j];
    }
}

/* For a map input: where each of ONNX's columns lies in the image's memory.  NULL: memory short. */
static int64_t *column_offsets(const struct geometry *geo) {
    int64_t *offsets =
        mem_alloc((size_t)(geo->channels * geo->height * geo->width) * sizeof *offsets);
    int64_t k = 0;
    for (int64_t c = 0; offsets != NULL && c < geo->channels; c++)
        for (int64_t y = 0; y < geo->height; y++)
            for (int64_t x = 0; x < geo->width; x++)
                offsets[k++] = map_offset(geo, c, y, x);
    return offsets;
}

struct gemm_packing {
    const struct program *program;
    const struct gemm_state *state;
    const struct matrix *matrix; /* some features, or rows of k: from `begin` on */
    int64_t begin;
    const float *factors; /* one per feature of the product, or NULL */
    float alpha;
    const int64_t *offsets; /* a map input's columns, or NULL */
    float *scratch; /* features: of each thread [16][k of B], for a map [16][k of the product] */
    int64_t k0, k1; /* rows: of the matrix, to be packed now */
    struct rounding *rounding; /* of each thread, when weights become float16; else NULL */
};

#define HALF_MOST  65504.0f /* the largest finite float16 */
#define NOTED_EACH 512

static void note_rounding(const struct plainops *plain, struct rounding *r, const float *w,
                          int64_t count) {
    for (int64_t first = 0; first < count; first += NOTED_EACH) {
        int64_t n = count - first < NOTED_EACH ? count - first : NOTED_EACH;
        uint16_t half[NOTED_EACH];
        float back[NOTED_EACH];
        plain->float_to_half(w + first, half, (ptrdiff_t)n);
        plain->half_to_float(half, back, (ptrdiff_t)n);
        for (int64_t i = 0; i < n; i++) {
            float size = fabsf(w[first + i]), kept = fabsf(back[i]);
            r->saturated += size > HALF_MOST;
            kept = kept > HALF_MOST ? HALF_MOST : kept;
            r->largest = size > r->largest ? size : r->largest;
            r->worst = fabsf(size - kept) > r->worst ? fabsf(size - kept) : r->worst;
        }
    }
}

/* Adds all threads' findings of so many weights to those before. */
static void add_rounding(struct bound *b, struct rounding *sum, const struct rounding *r,
                         int threads, int64_t weights) {
    for (int t = 0; t < threads; t++) {
        sum->saturated += r[t].saturated;
        sum->largest = fmaxf(sum->largest, r[t].largest);
        sum->worst = fmaxf(sum->worst, r[t].worst);
    }
    b->half.weights += weights;
    b->half.saturated = sum->saturated;
    b->half.error = sum->largest > 0 ? (double)sum->worst / (double)sum->largest : 0;
}

static size_t packing_floats(const struct gemm_packing *w) {
    int64_t wide = w->offsets != NULL ? w->state->shape.k : 0;
    return (size_t)((w->matrix->k + wide) * BLOCK);
}

static void pack_features(void *context, int64_t block, int thread) {
    const struct gemm_packing *w = context;
    const struct matrix *m = w->matrix;
    float *loaded = w->scratch + (size_t)thread * packing_floats(w), *wide = loaded + m->k * BLOCK;
    int64_t n0 = block * BLOCK, k_wide = w->state->shape.k;
    int count = (int)(m->n - n0 < BLOCK ? m->n - n0 : BLOCK);
    load_features(m, n0, count, loaded, m->k);
    for (int j = 0; j < count; j++) {
        float *feature = loaded + j * m->k;
        float scale = w->alpha * (w->factors != NULL ? w->factors[w->begin + n0 + j] : 1.0f);
        for (int64_t k = 0; scale != 1.0f && k < m->k; k++)
            feature[k] *= scale;
        for (int64_t k = 0; w->offsets != NULL && k < m->k; k++)
            wide[j * k_wide + w->offsets[k]] = feature[k]; /* lanes beyond C stay zero */
    }
    if (w->rounding != NULL)
        note_rounding(w->program->plain, &w->rounding[thread], loaded, count * m->k);
    w->state->kernel->pack(&w->state->shape, w->offsets != NULL ? wide : loaded,
                           (int)(w->begin + n0), count, w->state->weights);
    if (m->k_step == 1) /* a feature's weights lie together in the file */
        constant_done(w->program, m->b, n0 * m->k, count * m->k);
}

static enum cohort_code pack_all_features(struct gemm_packing *w, struct cohort_error *err) {
    const struct program *p = w->program;
    w->scratch = mem_zalloc((size_t)pool_threads(p->pool), packing_floats(w) * sizeof(float));
    if (w->scratch == NULL)
        return error_memory(err, packing_floats(w) * sizeof(float), "packing weights");
    pool_run(p->pool, (w->matrix->n + BLOCK - 1) / BLOCK, pack_features, w);
    mem_free(w->scratch);
    return COHORT_OK;
}

#define ROWS_AT_ONCE   64
#define ROWS_FILE_MOST ((int64_t)1 << 20) /* bytes that all threads read before they go on */

/* Sixteen features of rows [k0, k1). */
static void pack_rows(void *context, int64_t block, int thread) {
    const struct gemm_packing *w = context;
    const struct matrix *m = w->matrix;
    const struct gemm_kernel *kernel = w->state->kernel;
    const struct gemm_shape *shape = &w->state->shape;
    const int n0 = (int)block * BLOCK, count = (int)(m->n - n0 < BLOCK ? m->n - n0 : BLOCK);
    float scale[BLOCK], rows[ROWS_AT_ONCE * BLOCK] = {0};
    for (int j = 0; j < count; j++)
        scale[j] = w->alpha * (w->factors != NULL ? w->factors[n0 + j] : 1.0f);
    for (int64_t k = w->k0, next; k < w->k1; k = next) {
        next = w->k1 - k < ROWS_AT_ONCE ? w->k1 : k + ROWS_AT_ONCE;
        for (int64_t i = 0; i < next - k; i++) {
            float *row = rows + i * BLOCK;
            tensor_load_f32(m->b, (k + i) * m->k_step + n0, count, row);
            for (int j = 0; j < count; j++)
                row[j] *= scale[j];
        }
        if (w->rounding != NULL)
            note_rounding(w->program->plain, &w->rounding[thread], rows, (next - k) * BLOCK);
        const int at = (int)(w->begin + k), end = (int)(w->begin + next);
        if (w->offsets == NULL)
            kernel->pack_matrix(shape, rows, BLOCK, at, end, n0, count, w->state->weights);
        for (int i = at; w->offsets != NULL && i < end; i++)
            kernel->pack_matrix(shape, rows + (ptrdiff_t)(i - at) * BLOCK, BLOCK,
                                (int)w->offsets[i], (int)w->offsets[i] + 1, n0, count,
                                w->state->weights);
    }
}

/* In the file's order, so that it need be read but once. */
static void pack_all_rows(struct gemm_packing *w) {
    const struct matrix *m = w->matrix;
    const int64_t row_bytes = m->n * (int64_t)sizeof(float);
    const int64_t rows = ROWS_FILE_MOST / row_bytes + 1;
    for (w->k0 = 0; w->k0 < m->k; w->k0 = w->k1) {
        w->k1 = m->k - w->k0 < rows ? m->k : w->k0 + rows;
        pool_run(w->program->pool, (m->n + BLOCK - 1) / BLOCK, pack_rows, w);
        constant_done(w->program, m->b, w->k0 * m->n, (w->k1 - w->k0) * m->n);
    }
}

static bool packs_rows(const struct gemm_kernel *kernel, const struct matrix *m) {
    return !m->transposed && kernel->pack_matrix != NULL;
}

/* Packs what the matrix has of the product's: features from `begin` on, or rows of k. */
static enum cohort_code pack_gemm(const struct program *p, struct bound *b, const struct matrix *m,
                                  int64_t begin, struct cohort_error *err) {
    const struct value *a = node_in(p->graph, b->node, 0);
    struct gemm_state *s = b->state;
    struct geometry geo = value_geometry(a);
    enum cohort_code code = COHORT_OK;
    const size_t threads = (size_t)pool_threads(p->pool);
    int64_t *offsets = NULL;
    float *factors = NULL;
    const int scale = b->node->weight_scale;
    struct gemm_packing w = {.program = p, .state = s, .matrix = m, .begin = begin};
    w.alpha = is_gemm(b->node) ? node_attr_float(b->node, "alpha", 1.0f) : 1.0f;
    if (scale >= 0)
        TRY(vector_from_constant(&factors, &p->graph->values[scale].constant, s->shape.n, err));
    w.factors = factors;
    if (a->form == FORM_MAP && (w.offsets = offsets = column_offsets(&geo)) == NULL) {
        code = error_memory(err, (size_t)m->k * sizeof *offsets, "packing weights");
        goto out;
    }
    if (s->shape.half && (w.rounding = mem_zalloc(threads, sizeof *w.rounding)) == NULL) {
        code = error_memory(err, threads * sizeof *w.rounding, "packing weights");
        goto out;
    }
    if (packs_rows(s->kernel, m))
        pack_all_rows(&w);
    else
        TRY(pack_all_features(&w, err));
    if (s->shape.half)
        add_rounding(b, &s->rounding, w.rounding, (int)threads, m->n * m->k);
out:
    mem_free(w.rounding);
    mem_free(offsets);
    mem_free(factors);
    return code;
}

/* Floats from one row of the product's input to the next: a map's rows of one image are one. */
static int64_t in_pitch_of(const struct value *a) {
    struct geometry geo = value_geometry(a);
    return (int64_t)(geo.row_bytes / sizeof(float)) * (a->form == FORM_MAP ? geo.height : 1);
}

static struct gemm_shape gemm_shape_of(const struct value *a, const struct matrix *m) {
    struct geometry geo = value_geometry(a);
    bool map = a->form == FORM_MAP;
    return (struct gemm_shape){.rows = map ? geo.images : geo.height,
                               .k = (int)(map ? in_pitch_of(a) : m->k),
                               .n = (int)m->n};
}

bool gemm_signature(const struct graph *g, const struct node *n, struct signature *s) {
    struct matrix m;
    const struct value *a = node_in(g, n, 0);
    if (!matrix_of(g, n, &m) || in_pitch_of(a) > INT32_MAX / 2 || m.n > INT32_MAX / 2)
        return false;
    *s = (struct signature){.family = SIGNATURE_GEMM, .gemm = gemm_shape_of(a, &m)};
    return true;
}

enum cohort_code choose_gemm(const struct gemm_kernel **kernel, unsigned isa_mask,
                             const struct gemm_shape *s, const char *wanted,
                             struct cohort_error *err) {
    *kernel = kernel_choose_gemm(s, isa_mask, wanted);
    if (*kernel == NULL) /* --kernel may name one of another family */
        *kernel = kernel_choose_gemm(s, isa_mask, NULL);
    if (*kernel == NULL)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "no kernel for a product with a %dx%d matrix",
                         s->k, s->n);
    return COHORT_OK;
}

/* All parts of a product (graph/shard.h) are computed in one way, where its kernel can. */
static enum cohort_code choose_kernel(const struct program *p, const struct node *n,
                                      struct gemm_state *s, struct cohort_error *err) {
    struct gemm_shape whole = s->shape;
    struct matrix m;
    if (n->whole != NULL && matrix_of(p->graph, n->whole, &m)) {
        whole = gemm_shape_of(node_in(p->graph, n->whole, 0), &m);
        whole.half = s->shape.half;
        whole.board = s->shape.board;
    }
    enum cohort_code code = choose_gemm(&s->kernel, p->isa_mask, &whole, wanted_kernel(p, n), err);
    if (code == COHORT_OK && n->whole != NULL && s->kernel->rate(&s->shape) <= 0)
        code = choose_gemm(&s->kernel, p->isa_mask, &s->shape, NULL, err);
    return code;
}

static size_t bytes_with(const void *context, int features) {
    const struct gemm_state *s = context;
    struct gemm_shape shape = s->shape;
    shape.n = features;
    return s->kernel->weights_bytes(&shape);
}

static enum cohort_code bind_gemm(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct graph *g = p->graph;
    const struct value *a = node_in(g, b->node, 0), *c = bias_of(g, b->node);
    struct matrix m;
    TRY(bound_state(b, sizeof(struct gemm_state), err));
    struct gemm_state *s = b->state;
    matrix_of(g, b->node, &m);
    s->rows_per_in = a->form == FORM_MAP ? value_geometry(a).height : 1;
    if (in_pitch_of(a) > INT32_MAX / 2 || m.k > INT32_MAX / 2 || m.n > INT32_MAX / 2) {
        code =
            error_set(err, COHORT_ERR_UNSUPPORTED, "a product with a %lldx%lld matrix is too large",
                      (long long)m.k, (long long)m.n);
        goto out;
    }
    s->in_pitch = (ptrdiff_t)in_pitch_of(a);
    s->shape = gemm_shape_of(a, &m);
    s->shape.half = p->options.half_weights;
    s->shape.board = p->options.board;
    TRY(choose_kernel(p, b->node, s, err));
    b->kernel = s->kernel->name;
    b->rate = s->kernel->rate(&s->shape);
    b->fp16 = s->kernel->fp16;
    b->weights_bytes = s->kernel->weights_bytes(&s->shape);
    b->workspace_bytes =
        s->kernel->workspace_bytes != NULL ? s->kernel->workspace_bytes(&s->shape) : 0;
    s->features = s->shape.n;
    s->shape.n = made_up_channels(p, s->features, bytes_with, s);
    b->folded = s->shape.n < s->features;
    TRY(weights_alloc(p, b, bytes_with(s, s->shape.n), &s->weights, err));
    if (p->options.zero_weights)
        goto out;
    if (c != NULL) {
        TRY(vector_from_constant(&s->bias, &c->constant, m.n, err));
        float beta = node_attr_float(b->node, "beta", 1.0f);
        for (int64_t i = 0; i < m.n; i++)
            s->bias[i] *= beta;
    }
    if (!b->in_pieces)
        TRY(pack_gemm(p, b, &m, 0, err));
out:
    return code;
}

/* Some features at a time, or some rows of k where the kernel can: one that computes in float16
 * must see all of a feature's weights before it packs one of them. */
static bool gemm_in_pieces(const struct program *p, const struct node *n) {
    struct matrix m;
    struct signature whole;
    struct cohort_error ignored;
    if (!matrix_of(p->graph, n, &m) || !gemm_signature(p->graph, n, &whole))
        return false;
    if (m.transposed)
        return true;
    struct gemm_state s = {.shape = whole.gemm};
    s.shape.half = p->options.half_weights;
    s.shape.board = p->options.board;
    return choose_kernel(p, n, &s, &ignored) == COHORT_OK && packs_rows(s.kernel, &m);
}

static enum cohort_code pack_gemm_piece(struct program *p, struct bound *b,
                                        const struct tensor *part, int64_t begin,
                                        struct cohort_error *err) {
    const int64_t rows = part->shape.dim[0], columns = part->shape.dim[1];
    struct matrix m;
    matrix_of(p->graph, b->node, &m);
    m.b = part;
    if (m.transposed)
        m.n = rows;
    else
        m.k = rows;
    BUG_UNLESS(columns == (m.transposed ? m.k : m.n));
    return pack_gemm(p, b, &m, begin, err);
}

static const struct lowering_pieces gemm_pieces = {gemm_in_pieces, pack_gemm_piece};

static void unbind_gemm(struct bound *b) {
    struct gemm_state *s = b->state;
    weights_free(b, s->weights);
    mem_free(s->bias);
}

struct gemm_work {
    const struct program *program;
    const struct gemm_kernel *kernel;
    struct gemm_args args;
};

static void gemm_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    const struct gemm_work *w = context;
    struct gemm_args a = w->args;
    a.y0 = y0;
    a.y1 = y1;
    a.n0 = block0 * BLOCK;
    a.n1 = block1 * BLOCK < a.shape->n ? block1 * BLOCK : a.shape->n;
    a.workspace = thread_workspace(w->program, thread);
    a.saturated = thread_saturated(w->program, thread);
    w->kernel->run(&a);
}

static enum cohort_code run_gemm(struct program *p, const struct exec_op *op,
                                 struct cohort_error *err) {
    (void)err;
    const struct gemm_state *s = op->bound->state;
    struct view in = slot_view(p, op->in_slots[0]), out = slot_view(p, op->out_slots[0]), residual;
    struct gemm_work w = {.program = p, .kernel = s->kernel};
    w.args = (struct gemm_args){
        .shape = &s->shape,
        .weights = s->weights,
        .bias = s->bias,
        .in = in.data,
        .out = out.data,
        .in_row0 = in.row0 / s->rows_per_in,
        .out_row0 = out.row0,
        .in_pitch = s->in_pitch,
        .out_pitch = out.row_pitch,
        .epilogue = op_epilogue(p, op, 0, &residual),
    };
    for (int n = 0; n < s->features; n += s->shape.n) { /* folded: all write the same ones */
        const int now = s->features - n < s->shape.n ? s->features - n : s->shape.n;
        (s->features > s->shape.rows ? run_parallel_channels : run_parallel)(
            p, op->out.begin, op->out.end, (now + BLOCK - 1) / BLOCK, gemm_part, &w);
    }
    return COHORT_OK;
}

const struct lowering lowerings_gemm[] = {
    {"Gemm", gemm_accepts, bind_gemm, unbind_gemm, PACKED(run_gemm, &gemm_pieces)},
    {"MatMul", gemm_accepts, bind_gemm, unbind_gemm, PACKED(run_gemm, &gemm_pieces)},
    {0},
};
