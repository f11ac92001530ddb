/* Matrix products: MatMul (NumPy's rules for one dimension and for batches) and Gemm
 * (alpha * A' * B' + beta * C).  Floats are summed in double, integers in 64 bits. */
#include "graph/ops/ops_common.h"

#include <math.h>

#define PRODUCT_ROWS 4 /* rows computed together */

/* One product of an m x k and a k x n matrix, each with an offset and two strides. */
struct product {
    enum op_class class;
    int64_t m, k, n;
    const struct tensor *a, *b;
    int64_t a_first, a_row, a_col;
    int64_t b_first, b_row, b_col;
};

static void multiply_add(enum op_class c, int64_t count, const union op_chunk *x, int64_t at,
                         const union op_chunk *y, union op_chunk *sum) {
    if (c == CLASS_F64)
        for (int64_t j = 0; j < count; j++)
            sum->f[j] += x->f[at] * y->f[j];
    else
        for (int64_t j = 0; j < count; j++) /* modulo 2^64, signed or not */
            sum->u[j] += x->u[at] * y->u[j];
}

#define DOT_LANES 8

/* In as many sums beside each other as vectors have use for. */
static double dot(int64_t count, const double *x, const double *y) {
    double lane[DOT_LANES] = {0}, sum = 0;
    int64_t j = 0;
    for (; j + DOT_LANES <= count; j += DOT_LANES)
        for (int i = 0; i < DOT_LANES; i++)
            lane[i] += x[j + i] * y[j + i];
    for (; j < count; j++)
        lane[j % DOT_LANES] += x[j] * y[j];
    for (int i = 0; i < DOT_LANES; i++)
        sum += lane[i];
    return sum;
}

static void dot_add(enum op_class c, int64_t count, const union op_chunk *x,
                    const union op_chunk *y, union op_chunk *sum, int64_t at) {
    uint64_t u = 0;
    if (c == CLASS_F64) {
        sum->f[at] += dot(count, x->f, y->f);
    } else {
        for (int64_t j = 0; j < count; j++)
            u += x->u[j] * y->u[j];
        sum->u[at] += u;
    }
}

/* Elements [j0, j0+count) of rows [i, i+rows), walking B the way it lies in memory; what is read of
 * B serves all these rows.  An element's sum is made in the same order whatever the tile. */
static void product_part(const struct product *p, int64_t i, int rows, int64_t j0, int64_t count,
                         union op_chunk *sum) {
    union op_chunk x[PRODUCT_ROWS], y;
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < count; j++)
            sum[r].u[j] = 0; /* also 0.0 */
    for (int64_t k0 = 0; k0 < p->k; k0 += OP_CHUNK) {
        int64_t depth = p->k - k0 < OP_CHUNK ? p->k - k0 : OP_CHUNK;
        for (int r = 0; r < rows; r++)
            op_load(p->class, p->a, p->a_first + (i + r) * p->a_row + k0 * p->a_col, p->a_col,
                    depth, &x[r]);
        int64_t b = p->b_first + k0 * p->b_row + j0 * p->b_col;
        bool along_rows = p->b_col <= p->b_row;
        for (int64_t t = 0; t < (along_rows ? depth : count); t++) {
            if (along_rows)
                op_load(p->class, p->b, b + t * p->b_row, p->b_col, count, &y);
            else
                op_load(p->class, p->b, b + t * p->b_col, p->b_row, depth, &y);
            for (int r = 0; r < rows; r++)
                if (along_rows)
                    multiply_add(p->class, count, &x[r], t, &y, &sum[r]);
                else
                    dot_add(p->class, depth, &x[r], &y, &sum[r], t);
        }
    }
}

/* ---- MatMul ---------------------------------------------------------------------------------- */

#define MATMUL_TYPES                                                                               \
    (TYPES_FLOAT | TYPE_BIT(DT_I32) | TYPE_BIT(DT_I64) | TYPE_BIT(DT_U32) | TYPE_BIT(DT_U64))

/* The operands as batches of matrices: a vector on the left is a row, on the right a column. */
static struct shape left_matrix(const struct shape *s) {
    struct shape m = *s;
    if (m.rank == 1)
        m = shape_of(2, (const int64_t[]){1, s->dim[0]});
    return m;
}

static struct shape right_matrix(const struct shape *s) {
    struct shape m = *s;
    if (m.rank == 1)
        m = shape_of(2, (const int64_t[]){s->dim[0], 1});
    return m;
}

static enum cohort_code matmul_shapes(const struct shape *a, const struct shape *b,
                                      struct shape *out, struct cohort_error *err) {
    char ta[SHAPE_TEXT_BYTES], tb[SHAPE_TEXT_BYTES];
    *out = shape_unknown(-1);
    if (a->rank == 0 || b->rank == 0)
        return error_set(err, COHORT_ERR_SHAPE, "a scalar cannot be multiplied as a matrix");
    if (a->rank < 0 || b->rank < 0)
        return COHORT_OK;
    struct shape left = left_matrix(a), right = right_matrix(b), batch;
    int64_t m = left.dim[left.rank - 2], n = right.dim[right.rank - 1];
    int64_t ka = left.dim[left.rank - 1], kb = right.dim[right.rank - 2];
    left.rank -= 2;
    right.rank -= 2;
    if ((ka >= 0 && kb >= 0 && ka != kb) || !shape_broadcast(&left, &right, &batch))
        return error_set(err, COHORT_ERR_SHAPE, "shapes %s and %s cannot be multiplied",
                         shape_text(a, ta, sizeof ta), shape_text(b, tb, sizeof tb));
    if (a->rank > 1)
        batch.dim[batch.rank++] = m;
    if (b->rank > 1)
        batch.dim[batch.rank++] = n;
    *out = batch;
    return COHORT_OK;
}

static enum cohort_code matmul_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape;
    TRY(op_need(n, in, 0, MATMUL_TYPES, err));
    TRY(op_need_same(n, in, 1, err));
    TRY(matmul_shapes(&in[0]->shape, &in[1]->shape, &shape, err));
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* Rows i and the next few of one product, to `to` and on in the output. */
static void matmul_rows_at(const struct product *p, int64_t i, int64_t to, struct tensor *out) {
    int rows = p->m - i < PRODUCT_ROWS ? (int)(p->m - i) : PRODUCT_ROWS;
    for (int64_t j = 0; j < p->n; j += OP_CHUNK) {
        union op_chunk sum[PRODUCT_ROWS];
        int64_t count = p->n - j < OP_CHUNK ? p->n - j : OP_CHUNK;
        product_part(p, i, rows, j, count, sum);
        for (int r = 0; r < rows; r++)
            op_store(p->class, out, to + r * p->n + j, count, &sum[r]);
    }
}

static enum cohort_code matmul_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    struct shape left = left_matrix(&in[0]->shape), right = right_matrix(&in[1]->shape), batch;
    struct product p = {.class = op_class_of(in[0]->type), .a = in[0], .b = in[1]};
    p.m = left.dim[left.rank - 2];
    p.k = left.dim[left.rank - 1];
    p.n = right.dim[right.rank - 1];
    p.a_row = p.k;
    p.a_col = p.b_col = 1;
    p.b_row = p.n;
    left.rank -= 2;
    right.rank -= 2;
    shape_broadcast(&left, &right, &batch);
    const struct tensor a = {.shape = left}, b = {.shape = right};
    const struct tensor *const batches[2] = {&a, &b};
    struct bcast at;
    for (bcast_begin(&at, &batch, batches, 2); at.more; bcast_next(&at))
        for (int64_t t = 0; t < at.run; t++) {
            p.a_first = (at.at[0] + t * at.step[0]) * p.m * p.k;
            p.b_first = (at.at[1] + t * at.step[1]) * p.k * p.n;
            for (int64_t i = 0; i < p.m; i += PRODUCT_ROWS)
                matmul_rows_at(&p, i, ((at.out + t) * p.m + i) * p.n, out[0]);
        }
    return COHORT_OK;
}

/* Do both have the same rows: all dims but the last? */
static bool same_rows(const struct shape *a, const struct shape *y) {
    bool same = a->rank == y->rank && a->rank >= 2;
    for (int i = 0; same && i + 1 < a->rank; i++)
        same = a->dim[i] >= 0 && a->dim[i] == y->dim[i];
    return same;
}

/* Tokens times a constant matrix, or computed matrices times computed ones, row by row; of the
 * right operand everything.  (Constant matrices of a batch belong to different rows.) */
static void matmul_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    const struct tensor *weights = node_const(g, n, 1);
    if (i == n->epilogue.residual)
        rows_same(g, n, i, map);
    else if (i == 0 && graph_value(g, n->in[0])->form == FORM_MAP)
        rows_image(map);
    else if (i == 0 && (weights != NULL ? weights->shape.rank == 2
                                        : same_rows(&graph_value(g, n->in[0])->shape,
                                                    &graph_value(g, n->out[0])->shape)))
        rows_same(g, n, i, map);
}

static double matmul_flops(const struct graph *g, const struct node *n) {
    const struct shape *a = &graph_value(g, n->in[0])->shape;
    const struct shape *b = &graph_value(g, n->in[1])->shape;
    int64_t count = shape_count(&graph_value(g, n->out[0])->shape);
    if (!shape_known(a) || !shape_known(b) || count < 0 || b->rank == 0)
        return 0;
    /* B's depth: A may be a map whose dims are still those before flattening. */
    return 2 * (double)count * (double)b->dim[b->rank == 1 ? 0 : b->rank - 2];
}

const struct op_desc op_mat_mul = {
    .name = "MatMul",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .infer = matmul_infer,
    .eval = matmul_eval,
    .rows = matmul_rows,
    .flops = matmul_flops,
};

/* ---- Gemm ------------------------------------------------------------------------------------ */

static enum cohort_code gemm_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char ta[SHAPE_TEXT_BYTES], tb[SHAPE_TEXT_BYTES];
    struct shape shape = shape_unknown(2);
    int64_t depth[2] = {-1, -1};
    bool across[2] = {node_attr_int(n, "transA", 0) != 0, node_attr_int(n, "transB", 0) != 0};
    TRY(op_need_all(n, in, MATMUL_TYPES, err));
    TRY(op_need_same(n, in, 1, err));
    for (int i = 0; i < 2; i++) {
        const struct shape *s = &in[i]->shape;
        if (s->rank >= 0 && s->rank != 2)
            return error_set(err, COHORT_ERR_SHAPE, "input %d has shape %s; a matrix is needed", i,
                             shape_text(s, ta, sizeof ta));
        if (s->rank < 0)
            continue;
        shape.dim[i] = s->dim[across[i] ? 1 - i : i];
        depth[i] = s->dim[across[i] ? i : 1 - i];
    }
    if (depth[0] >= 0 && depth[1] >= 0 && depth[0] != depth[1])
        return error_set(err, COHORT_ERR_SHAPE, "shapes %s and %s cannot be multiplied",
                         shape_text(&in[0]->shape, ta, sizeof ta),
                         shape_text(&in[1]->shape, tb, sizeof tb));
    const struct tensor *c = op_in(n, in, 2);
    if (c != NULL && shape_known(&c->shape) && shape_known(&shape)) {
        struct shape both;
        if (!shape_broadcast(&shape, &c->shape, &both) || !shape_equal(&shape, &both))
            return error_set(err, COHORT_ERR_SHAPE, "C of shape %s does not fit the result %s",
                             shape_text(&c->shape, ta, sizeof ta),
                             shape_text(&shape, tb, sizeof tb));
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* sum = alpha * sum + beta * c */
static void gemm_finish(enum op_class class, int64_t count, double alpha, double beta,
                        const union op_chunk *c, union op_chunk *sum) {
    for (int64_t j = 0; j < count; j++)
        if (class == CLASS_F64)
            sum->f[j] = alpha * sum->f[j] + beta * c->f[j];
        else
            sum->u[j] = (uint64_t)(int64_t)alpha * sum->u[j] + (uint64_t)(int64_t)beta * c->u[j];
}

static enum cohort_code gemm_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    bool ta = node_attr_int(n, "transA", 0) != 0, tb = node_attr_int(n, "transB", 0) != 0;
    double alpha = (double)node_attr_float(n, "alpha", 1);
    double beta = (double)node_attr_float(n, "beta", 1);
    struct product p = {.class = op_class_of(in[0]->type), .a = in[0], .b = in[1]};
    if (floor(alpha) != alpha || floor(beta) != beta)
        p.class = CLASS_F64;
    p.m = in[0]->shape.dim[ta ? 1 : 0];
    p.k = in[0]->shape.dim[ta ? 0 : 1];
    p.n = in[1]->shape.dim[tb ? 0 : 1];
    p.a_row = ta ? 1 : p.k;
    p.a_col = ta ? p.m : 1;
    p.b_row = tb ? 1 : p.n;
    p.b_col = tb ? p.k : 1;
    const struct tensor *c = op_in(n, in, 2);
    int64_t c_row = 0, c_col = 0;
    if (c != NULL && c->shape.rank > 0) {
        int64_t columns = c->shape.dim[c->shape.rank - 1];
        c_col = columns > 1;
        c_row = c->shape.rank == 2 && c->shape.dim[0] > 1 ? columns : 0;
    }
    for (int64_t i = 0; i < p.m; i += PRODUCT_ROWS)
        for (int64_t j = 0; j < p.n; j += OP_CHUNK) {
            union op_chunk sum[PRODUCT_ROWS], addend = {{0}};
            int rows = p.m - i < PRODUCT_ROWS ? (int)(p.m - i) : PRODUCT_ROWS;
            int64_t count = p.n - j < OP_CHUNK ? p.n - j : OP_CHUNK;
            product_part(&p, i, rows, j, count, sum);
            for (int r = 0; r < rows; r++) {
                if (c != NULL)
                    op_load(p.class, c, (i + r) * c_row + j * c_col, c_col, count, &addend);
                gemm_finish(p.class, count, alpha, c != NULL ? beta : 0, &addend, &sum[r]);
                op_store(p.class, out[0], (i + r) * p.n + j, count, &sum[r]);
            }
        }
    return COHORT_OK;
}

static void gemm_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    if (i == n->epilogue.residual) {
        rows_same(g, n, i, map);
        return;
    }
    if (node_const(g, n, 1) == NULL)
        return;
    if (i == 0 && graph_value(g, n->in[0])->form == FORM_MAP)
        rows_image(map); /* Flatten was absorbed: output row n is image n */
    else if (i == 0 && node_attr_int(n, "transA", 0) == 0)
        rows_same(g, n, i, map);
    else if (i == 2) {
        const struct shape *c = &graph_value(g, n->in[2])->shape;
        const struct shape *o = &graph_value(g, n->out[0])->shape;
        if (c->rank == 2 && c->dim[0] == o->dim[0])
            rows_same(g, n, i, map);
    }
}

static double gemm_flops(const struct graph *g, const struct node *n) {
    const struct shape *b = &graph_value(g, n->in[1])->shape;
    int64_t count = shape_count(&graph_value(g, n->out[0])->shape);
    if (count < 0 || !shape_known(b) || b->rank != 2)
        return 0;
    return 2 * (double)count * (double)b->dim[node_attr_int(n, "transB", 0) != 0 ? 1 : 0];
}

const struct op_desc op_gemm = {
    .name = "Gemm",
    .domain = "",
    .since = 7,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = gemm_infer,
    .eval = gemm_eval,
    .rows = gemm_rows,
    .flops = gemm_flops,
};
