/* The Reduce family.  Axes are an attribute (up to opset 17, ReduceSum 12) or an input; none, or an
 * empty list, means all axes, or with noop_with_empty_axes none (each element on its own, as with
 * NumPy's axis=()).  Floats are summed in double, integers in 64 bits. */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

enum kind { SUM, MEAN, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP };

static const char *const kind_names[] = {
    "ReduceSum", "ReduceMean", "ReduceMax",       "ReduceMin",    "ReduceProd",
    "ReduceL1",  "ReduceL2",   "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
};

static enum kind kind_of(const struct node *n) {
    for (size_t k = 0; k < sizeof kind_names / sizeof kind_names[0]; k++)
        if (strcmp(kind_names[k], n->op->name) == 0)
            return (enum kind)k;
    BUG("an unknown reduction");
}

/* The axes to reduce; count = 0: none of them. */
static enum cohort_code reduced_axes(const struct node *n, const struct tensor *const in[],
                                     int rank, struct axes *a, struct cohort_error *err) {
    enum cohort_code code = op_axes(n, in, 1, rank, a, err);
    if (code != COHORT_OK || !a->known || a->count > 0 ||
        node_attr_int(n, "noop_with_empty_axes", 0) != 0)
        return code;
    for (int i = 0; i < rank; i++) {
        a->axis[a->count++] = i;
        a->has[i] = true;
    }
    return COHORT_OK;
}

static enum cohort_code reduce_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    enum kind kind = kind_of(n);
    struct axes axes;
    int rank = in[0]->shape.rank;
    struct shape shape = shape_unknown(-1);
    bool keep = node_attr_int(n, "keepdims", 1) != 0;
    TRY(op_need(n, in, 0, kind == MAX || kind == MIN ? TYPES_ANY : TYPES_NUMBER, err));
    if (rank >= 0) {
        TRY(reduced_axes(n, in, rank, &axes, err));
        if (!axes.known) {
            int64_t length = op_list_length(in[1]);
            if (keep || (length > 0 && length <= rank))
                shape = shape_unknown(keep ? rank : rank - (int)length);
        } else {
            shape.rank = 0;
            for (int i = 0; i < rank; i++)
                if (keep || !axes.has[i])
                    shape.dim[shape.rank++] = axes.has[i] ? 1 : in[0]->shape.dim[i];
        }
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* ---- reducing -------------------------------------------------------------------------------- */

/* Everything that one output element needs to walk its inputs: the reduced axes but the last, then
 * runs along that one. */
struct walk {
    const struct tensor *in;
    enum op_class class;
    int rank;
    int64_t dim[RANK_MAX], stride[RANK_MAX];
    int64_t run, step, count; /* count: of all elements reduced into one */
};

static struct walk walk_of(const struct tensor *in, const struct axes *axes, enum op_class c) {
    struct walk w = {.in = in, .class = c, .run = 1, .step = 1, .count = 1};
    int64_t stride[RANK_MAX];
    op_strides(&in->shape, stride);
    for (int i = 0; i < in->shape.rank; i++) {
        if (!axes->has[i])
            continue;
        w.dim[w.rank] = in->shape.dim[i];
        w.stride[w.rank++] = stride[i];
        w.count *= in->shape.dim[i];
    }
    if (w.rank > 0) {
        w.rank--;
        w.run = w.dim[w.rank];
        w.step = w.stride[w.rank];
    }
    return w;
}

static double add_f(enum kind kind, double acc, double x, double shift) {
    switch (kind) {
    case SUM:
    case MEAN:
    case LOG_SUM:
        return acc + x;
    case MAX:
        return isnan(acc) || x <= acc ? acc : x;
    case MIN:
        return isnan(acc) || x >= acc ? acc : x;
    case PROD:
        return acc * x;
    case L1:
        return acc + fabs(x);
    case L2:
    case SUM_SQUARE:
        return acc + x * x;
    case LOG_SUM_EXP:
        return acc + exp(x - shift);
    }
    BUG("an unknown reduction");
}

static int64_t add_i(enum kind kind, int64_t acc, int64_t x) {
    uint64_t a = (uint64_t)acc, b = (uint64_t)x;
    switch (kind) {
    case MAX:
        return x > acc ? x : acc;
    case MIN:
        return x < acc ? x : acc;
    case PROD:
        return (int64_t)(a * b);
    case L1:
        return (int64_t)(a + (x < 0 ? 0 - b : b));
    case SUM_SQUARE:
        return (int64_t)(a + b * b);
    default:
        return (int64_t)(a + b);
    }
}

static uint64_t add_u(enum kind kind, uint64_t acc, uint64_t x) {
    switch (kind) {
    case MAX:
        return x > acc ? x : acc;
    case MIN:
        return x < acc ? x : acc;
    case PROD:
        return acc * x;
    case SUM_SQUARE:
        return acc + x * x;
    default:
        return acc + x;
    }
}

/* One number of any class, in slot 0. */
static void reduce_run(const struct walk *w, enum kind kind, int64_t first, double shift,
                       union op_chunk *acc) {
    for (int64_t j = 0; j < w->run; j += OP_CHUNK) {
        union op_chunk x;
        int64_t count = w->run - j < OP_CHUNK ? w->run - j : OP_CHUNK;
        op_load(w->class, w->in, first + j * w->step, w->step, count, &x);
        for (int64_t k = 0; k < count; k++)
            if (w->class == CLASS_F64)
                acc->f[0] = add_f(kind, acc->f[0], x.f[k], shift);
            else if (w->class == CLASS_I64)
                acc->i[0] = add_i(kind, acc->i[0], x.i[k]);
            else
                acc->u[0] = add_u(kind, acc->u[0], x.u[k]);
    }
}

/* Where a reduction begins: nothing added yet. */
static void reduce_begin(enum kind kind, enum op_class c, union op_chunk *acc) {
    acc->u[0] = kind == PROD;
    if (c == CLASS_F64)
        acc->f[0] = kind == PROD ? 1 : kind == MAX ? -HUGE_VAL : kind == MIN ? HUGE_VAL : 0;
    else if (kind == MAX && c == CLASS_I64)
        acc->i[0] = INT64_MIN;
    else if (kind == MIN)
        acc->u[0] = c == CLASS_I64 ? INT64_MAX : UINT64_MAX;
}

static void reduce_one(const struct walk *w, enum kind kind, int64_t first, double shift,
                       union op_chunk *acc) {
    int64_t index[RANK_MAX] = {0};
    reduce_begin(kind, w->class, acc);
    if (w->count == 0)
        return;
    for (;;) {
        reduce_run(w, kind, first, shift, acc);
        int i = w->rank - 1;
        for (; i >= 0; i--) {
            first += w->stride[i];
            if (++index[i] < w->dim[i])
                break;
            first -= w->stride[i] * w->dim[i];
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

/* The result of one output element, in slot 0. */
static void reduce_element(const struct walk *w, enum kind kind, int64_t first,
                           union op_chunk *acc) {
    double shift = 0;
    if (kind == LOG_SUM_EXP) {
        reduce_one(w, MAX, first, 0, acc);
        shift = isfinite(acc->f[0]) ? acc->f[0] : 0;
    }
    reduce_one(w, kind, first, shift, acc);
    if (kind == MEAN && w->class == CLASS_F64)
        acc->f[0] /= (double)w->count;
    else if (kind == MEAN && w->class == CLASS_I64)
        acc->i[0] = w->count > 0 ? acc->i[0] / w->count : 0;
    else if (kind == MEAN)
        acc->u[0] = w->count > 0 ? acc->u[0] / (uint64_t)w->count : 0;
    else if (kind == L2)
        acc->f[0] = sqrt(acc->f[0]);
    else if (kind == LOG_SUM || kind == LOG_SUM_EXP)
        acc->f[0] = log(acc->f[0]) + shift;
}

static enum cohort_code reduce_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    struct axes axes;
    enum kind kind = kind_of(n);
    const struct shape *shape = &in[0]->shape;
    enum cohort_code code = reduced_axes(n, in, shape->rank, &axes, err);
    if (code != COHORT_OK)
        return code;
    bool roots = kind == L2 || kind == LOG_SUM || kind == LOG_SUM_EXP;
    enum op_class c = roots ? CLASS_F64 : op_class_of(in[0]->type);
    struct walk w = walk_of(in[0], &axes, c);
    int64_t stride[RANK_MAX], results = shape_count(&out[0]->shape);
    op_strides(shape, stride);
    for (int64_t r = 0; r < results; r++) {
        int64_t left = r, first = 0;
        for (int i = shape->rank - 1; i >= 0; i--) {
            if (axes.has[i])
                continue;
            first += left % shape->dim[i] * stride[i];
            left /= shape->dim[i];
        }
        union op_chunk acc;
        reduce_element(&w, kind, first, &acc);
        if (w.count == 0 && (kind == MAX || kind == MIN) && in[0]->type == DT_BOOL)
            tensor_set_i64(out[0], r, kind == MIN);
        else if (w.count == 0 && (kind == MAX || kind == MIN)) /* the type's own limits */
            tensor_set_f64(out[0], r, kind == MAX ? -HUGE_VAL : HUGE_VAL);
        else
            op_store(c, out[0], r, 1, &acc);
    }
    return COHORT_OK;
}

/* ---- maps ------------------------------------------------------------------------------------ */

/* Over exactly the spatial axes of a map, which stay as 1.  Rank 3 and the last axis alone are left
 * out: there it is mostly the features of tokens or heads that are averaged, and as maps those
 * would be laid out badly.  (The reductions over the rows of a map that pass_row_reduce.c adds are
 * maps without being asked.) */
static bool reduce_map_ok(const struct graph *g, const struct node *n) {
    if (!map_unary_ok(g, n) || node_attr_int(n, "keepdims", 1) == 0 ||
        graph_value(g, n->in[0])->shape.rank != 4)
        return false;
    struct axes axes;
    const struct tensor *const in[2] = {NULL, node_const(g, n, 1)};
    if (reduced_axes(n, in, 4, &axes, NULL) != COHORT_OK || !axes.known)
        return false;
    return axes.count == 2 && axes.has[2] && axes.has[3];
}

/* A map's last axis alone is reduced: every row of the input gives one of the output. */
static void reduce_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    const struct value *x = node_in(g, n, 0), *y = node_out(g, n, 0);
    if (i != 0 || x->form != FORM_MAP || y->form != FORM_MAP || map->in_height != map->out_height)
        return;
    map->kind = ROWMAP_AFFINE;
    map->num = map->den = 1;
    map->lo = map->hi = 0;
}

static double reduce_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? (double)count : 0;
}

#define ROW(onnx, map_fn)                                                                          \
    {                                                                                              \
        .name = onnx, .domain = "", .since = 1, .until = OPSET_LAST, .min_inputs = 1,              \
        .max_inputs = 2, .max_outputs = 1, .infer = reduce_infer, .eval = reduce_eval,             \
        .map_ok = map_fn, .rows = reduce_rows, .flops = reduce_flops                               \
    }

const struct op_desc op_reduce_l1 = ROW("ReduceL1", NULL);
const struct op_desc op_reduce_l2 = ROW("ReduceL2", NULL);
const struct op_desc op_reduce_log_sum = ROW("ReduceLogSum", NULL);
const struct op_desc op_reduce_log_sum_exp = ROW("ReduceLogSumExp", NULL);
const struct op_desc op_reduce_max = ROW("ReduceMax", reduce_map_ok);
const struct op_desc op_reduce_mean = ROW("ReduceMean", reduce_map_ok);
const struct op_desc op_reduce_min = ROW("ReduceMin", NULL);
const struct op_desc op_reduce_prod = ROW("ReduceProd", NULL);
const struct op_desc op_reduce_sum = ROW("ReduceSum", reduce_map_ok);
const struct op_desc op_reduce_sum_square = ROW("ReduceSumSquare", NULL);
