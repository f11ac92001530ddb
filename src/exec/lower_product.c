/* Products of two computed matrices, as in attention: MatMul of any rank with batches, and Gemm.
 *
 * The second operand is packed for a gemm kernel each time, all its matrices in one go over the
 * pool, into memory that all threads share; then rows are multiplied like rows of tokens with
 * constant weights.  A row's bits do not depend on which other rows are asked for. */
#include "exec/lower.h"

#include <string.h>

struct product_state {
    struct gemm_shape shape; /* of one matrix */
    const struct gemm_kernel *kernel;
    int64_t batches;      /* products: output matrices of `rows` rows */
    int64_t rows;         /* of the output in each */
    int64_t *a_of, *b_of; /* [batches]: which matrix of the operands */
    int64_t b_rows;       /* rows of value B in one of its matrices */
    bool transposed;      /* B is [n][k] */
    float alpha;          /* Gemm's, applied when packing */
    float *bias;          /* [n], or NULL */
    size_t packed_bytes;  /* of one matrix of B */
};

static bool is_gemm(const struct node *n) {
    return strcmp(n->op->name, "Gemm") == 0;
}

/* Plain floats of known shape, computed. */
static bool is_matrix(const struct value *v) {
    return v != NULL && v->type == DT_F32 && v->form == FORM_PLAIN && !v->is_constant &&
           shape_known(&v->shape) && v->shape.rank >= 2 && shape_count(&v->shape) > 0 &&
           v->shape.dim[v->shape.rank - 1] < INT32_MAX / 4 &&
           v->shape.dim[v->shape.rank - 2] < INT32_MAX / 4;
}

/* Gemm's C, when it is no residual: one value or one per column. */
static bool gemm_bias_fits(const struct graph *g, const struct node *n) {
    const struct value *c = n->epilogue.residual != 2 ? node_in(g, n, 2) : NULL;
    int64_t columns = node_out(g, n, 0)->shape.dim[1];
    if (c == NULL)
        return true;
    int64_t count = shape_count(&c->shape);
    return c->is_constant &&
           (count == 1 || (count == columns && c->shape.dim[c->shape.rank - 1] == columns));
}

static bool product_accepts(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    if (!is_matrix(node_in(g, n, 0)) || !is_matrix(node_in(g, n, 1)) || y->form != FORM_PLAIN ||
        shape_count(&y->shape) <= 0)
        return false;
    return !is_gemm(n) || (node_attr_int(n, "transA", 0) == 0 && gemm_bias_fits(g, n));
}

/* Which matrix of an operand, whose dims but the last two are those of `in`, belongs to product
 * number `batch` of the output. */
static int64_t operand_batch(const struct shape *in, const struct shape *out, int64_t batch) {
    int64_t index = 0, step = 1;
    for (int i = 0; i < out->rank - 2; i++) {
        int axis = out->rank - 3 - i, from = in->rank - 3 - i;
        int64_t at = batch % out->dim[axis];
        batch /= out->dim[axis];
        if (from < 0)
            continue;
        index += in->dim[from] > 1 ? at * step : 0;
        step *= in->dim[from];
    }
    return index;
}

static enum cohort_code match_batches(const struct program *p, const struct node *n,
                                      struct product_state *s, struct cohort_error *err) {
    const struct shape *a = &node_in(p->graph, n, 0)->shape, *b = &node_in(p->graph, n, 1)->shape;
    const struct shape *y = &node_out(p->graph, n, 0)->shape;
    s->rows = y->dim[y->rank - 2];
    s->batches = shape_product(y, 0, y->rank - 2);
    if (shape_product(b, 0, b->rank - 2) == 1 &&
        shape_product(a, 0, a->rank - 2) == s->batches) { /* one matrix for all rows */
        s->rows *= s->batches;
        s->batches = 1;
    }
    s->a_of = mem_zalloc((size_t)s->batches, sizeof *s->a_of);
    s->b_of = mem_zalloc((size_t)s->batches, sizeof *s->b_of);
    if (s->a_of == NULL || s->b_of == NULL)
        return error_memory(err, (size_t)s->batches * 16, "an operator's state");
    for (int64_t t = 0; t < s->batches && s->batches > 1; t++) {
        s->a_of[t] = operand_batch(a, y, t);
        s->b_of[t] = operand_batch(b, y, t);
    }
    return COHORT_OK;
}

static enum cohort_code bind_product(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct node *n = b->node;
    const struct shape *a_shape = &node_in(p->graph, n, 0)->shape;
    const struct shape *b_shape = &node_in(p->graph, n, 1)->shape;
    TRY(bound_state(b, sizeof(struct product_state), err));
    struct product_state *s = b->state;
    TRY(match_batches(p, n, s, err));
    s->transposed = is_gemm(n) && node_attr_int(n, "transB", 0) != 0;
    s->b_rows = b_shape->dim[b_shape->rank - 2];
    s->alpha = is_gemm(n) ? node_attr_float(n, "alpha", 1.0f) : 1.0f;
    s->shape = (struct gemm_shape){.board = p->options.board,
                                   .rows = s->rows,
                                   .k = (int)a_shape->dim[a_shape->rank - 1],
                                   .n = (int)b_shape->dim[b_shape->rank - (s->transposed ? 2 : 1)]};
    /* Weights that are computed each time would have to be scaled for float16 each time. */
    TRY(choose_gemm(&s->kernel, p->isa_mask & ~ISAS_FP16, &s->shape, p->options.kernel, err));
    b->kernel = s->kernel->name;
    b->rate = s->kernel->rate(&s->shape);
    s->packed_bytes = (s->kernel->weights_bytes(&s->shape) + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    b->shared_bytes = s->packed_bytes * (size_t)shape_product(b_shape, 0, b_shape->rank - 2);
    /* Each thread turns 16 columns round; the kernel's own needs come behind them. */
    b->workspace_bytes = (size_t)s->shape.k * BLOCK * sizeof(float);
    if (s->kernel->workspace_bytes != NULL &&
        s->kernel->workspace_bytes(&s->shape) > b->workspace_bytes)
        b->workspace_bytes = s->kernel->workspace_bytes(&s->shape);
    if (is_gemm(n) && n->epilogue.residual != 2 && node_const(p->graph, n, 2) != NULL) {
        float beta = node_attr_float(n, "beta", 1.0f);
        TRY(vector_from_constant(&s->bias, node_const(p->graph, n, 2), s->shape.n, err));
        for (int i = 0; i < s->shape.n; i++)
            s->bias[i] *= beta;
    }
out:
    return code;
}

static void unbind_product(struct bound *b) {
    struct product_state *s = b->state;
    mem_free(s->a_of);
    mem_free(s->b_of);
    mem_free(s->bias);
}

/* ---- running --------------------------------------------------------------------------------- */

struct product_work {
    const struct program *program;
    const struct product_state *state;
    struct view a, b;
    int64_t first_b; /* the matrices of B that are packed begin here */
    struct gemm_args args;
};

static char *packed_matrix(const struct product_work *w, int64_t matrix) {
    return w->program->shared + (size_t)matrix * w->state->packed_bytes;
}

/* Columns [n0, n0+count) of a matrix, each contiguous, for kernels that pack only those. */
static void pack_columns(const struct product_state *s, const float *b, ptrdiff_t pitch, int n0,
                         int count, float *columns, void *packed) {
    for (int k = 0; k < s->shape.k; k++)
        for (int j = 0; j < count; j++) {
            const float *from = s->transposed ? b + (n0 + j) * pitch + k : b + k * pitch + n0 + j;
            columns[(ptrdiff_t)j * s->shape.k + k] = s->alpha * *from;
        }
    s->kernel->pack(&s->shape, columns, n0, count, packed);
}

/* One panel of 16 columns of one matrix. */
static void pack_item(void *context, int64_t item, int thread) {
    const struct product_work *w = context;
    const struct product_state *s = w->state;
    int panels = (s->shape.n + BLOCK - 1) / BLOCK, n0 = (int)(item % panels) * BLOCK;
    int count = s->shape.n - n0 < BLOCK ? s->shape.n - n0 : BLOCK;
    int64_t matrix = w->first_b + item / panels;
    const float *b = view_at(&w->b, matrix * s->b_rows, 0, 0);
    void *packed = packed_matrix(w, matrix);
    if (s->kernel->pack_matrix != NULL && !s->transposed && s->alpha == 1.0f)
        s->kernel->pack_matrix(&s->shape, b + n0, w->b.row_pitch, 0, s->shape.k, n0, count, packed);
    else
        pack_columns(s, b, w->b.row_pitch, n0, count, thread_workspace(w->program, thread), packed);
}

/* Rows [y0, y1) of the output, which may lie in several products; features of [block0, block1). */
static void product_part(void *context, int64_t y0, int64_t y1, int block0, int block1,
                         int thread) {
    const struct product_work *w = context;
    const struct product_state *s = w->state;
    struct gemm_args a = w->args;
    a.n0 = block0 * BLOCK;
    a.n1 = block1 * BLOCK < s->shape.n ? block1 * BLOCK : s->shape.n;
    a.workspace = thread_workspace(w->program, thread);
    for (int64_t y = y0; y < y1; y = a.y1) {
        int64_t batch = y / s->rows, end = (batch + 1) * s->rows;
        a.y0 = y;
        a.y1 = end < y1 ? end : y1;
        a.weights = packed_matrix(w, s->b_of[batch]);
        a.in_row0 = w->a.row0 + (batch - s->a_of[batch]) * s->rows;
        s->kernel->run(&a);
    }
}

static enum cohort_code run_product(struct program *p, const struct exec_op *op,
                                    struct cohort_error *err) {
    (void)err;
    const struct product_state *s = op->bound->state;
    struct view out = slot_view(p, op->out_slots[0]), residual;
    struct product_work w = {.program = p,
                             .state = s,
                             .a = slot_view(p, op->in_slots[0]),
                             .b = slot_view(p, op->in_slots[1])};
    w.args = (struct gemm_args){.shape = &s->shape,
                                .bias = s->bias,
                                .in = w.a.data,
                                .out = out.data,
                                .out_row0 = out.row0,
                                .in_pitch = w.a.row_pitch,
                                .out_pitch = out.row_pitch,
                                .epilogue = op_epilogue(p, op, 0, &residual)};
    int64_t last_b = w.first_b = s->b_of[op->out.begin / s->rows];
    for (int64_t t = op->out.begin / s->rows; t * s->rows < op->out.end; t++) {
        w.first_b = s->b_of[t] < w.first_b ? s->b_of[t] : w.first_b;
        last_b = s->b_of[t] > last_b ? s->b_of[t] : last_b;
    }
    int panels = (s->shape.n + BLOCK - 1) / BLOCK;
    pool_run(p->pool, (last_b - w.first_b + 1) * panels, pack_item, &w);
    (s->shape.n > s->rows * s->batches ? run_parallel_channels : run_parallel)(
        p, op->out.begin, op->out.end, panels, product_part, &w);
    return COHORT_OK;
}

const struct lowering lowerings_product[] = {
    {"MatMul", product_accepts, bind_product, unbind_product, BY_ITSELF(run_product)},
    {"Gemm", product_accepts, bind_product, unbind_product, BY_ITSELF(run_product)},
    {0},
};
