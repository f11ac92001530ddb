/* Sum, Mean, Max and Min of any number of operands, with NumPy broadcasting (since opset 8; before,
 * all shapes are equal, which is a case of it). */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

enum kind { SUM, MEAN, MAX, MIN };

static enum kind kind_of(const struct node *n) {
    const char *name = n->op->name;
    return strcmp(name, "Sum") == 0    ? SUM
           : strcmp(name, "Mean") == 0 ? MEAN
           : strcmp(name, "Max") == 0  ? MAX
                                       : MIN;
}

/* How many of the inputs are operands (the last may be the epilogue's residual). */
static int operands_of(const struct node *n) {
    return n->in_count - (n->epilogue.residual >= 0 && n->epilogue.residual == n->in_count - 1);
}

static enum cohort_code variadic_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape;
    enum kind kind = kind_of(n);
    TRY(op_need_all(n, in, kind == SUM || kind == MEAN ? TYPES_FLOAT : TYPES_NUMBER, err));
    TRY(op_broadcast(n, in, operands_of(n), &shape, err));
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* NaN wins, as in NumPy. */
static double choose_f(enum kind kind, double x, double y) {
    if (isnan(x) || isnan(y))
        return isnan(x) ? x : y;
    return (kind == MAX) == (x > y) ? x : y;
}

static void combine(enum kind kind, enum op_class c, int64_t count, union op_chunk *x,
                    const union op_chunk *y) {
    for (int64_t j = 0; j < count; j++)
        if (c == CLASS_F64)
            x->f[j] =
                kind == SUM || kind == MEAN ? x->f[j] + y->f[j] : choose_f(kind, x->f[j], y->f[j]);
        else if (c == CLASS_I64)
            x->i[j] = (kind == MAX) == (x->i[j] > y->i[j]) ? x->i[j] : y->i[j];
        else
            x->u[j] = (kind == MAX) == (x->u[j] > y->u[j]) ? x->u[j] : y->u[j];
}

/* Elements [first, first+count) of the output. */
struct span {
    int64_t first, count;
};

/* Loads operand t, broadcast to the output's shape, for one span. */
static void load_broadcast(enum op_class c, const struct tensor *t, const struct shape *shape,
                           struct span s, union op_chunk *chunk) {
    int64_t own[RANK_MAX];
    op_strides(&t->shape, own);
    if (shape_equal(&t->shape, shape)) {
        op_load(c, t, s.first, 1, s.count, chunk);
        return;
    }
    for (int64_t j = 0; j < s.count; j++) {
        int64_t left = s.first + j, at = 0;
        for (int i = shape->rank - 1; i >= 0; i--) {
            int axis = i - (shape->rank - t->shape.rank);
            int64_t index = left % shape->dim[i];
            left /= shape->dim[i];
            if (axis >= 0 && t->shape.dim[axis] != 1)
                at += index * own[axis];
        }
        union op_chunk one;
        op_load(c, t, at, 1, 1, &one);
        chunk->u[j] = one.u[0];
    }
}

static enum cohort_code variadic_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    enum kind kind = kind_of(n);
    enum op_class c = op_class_of(in[0]->type);
    int operands = operands_of(n);
    int64_t total = shape_count(&out[0]->shape);
    for (struct span s = {0}; s.first < total; s.first += OP_CHUNK) {
        union op_chunk x, y;
        s.count = total - s.first < OP_CHUNK ? total - s.first : OP_CHUNK;
        load_broadcast(c, in[0], &out[0]->shape, s, &x);
        for (int i = 1; i < operands; i++) {
            load_broadcast(c, in[i], &out[0]->shape, s, &y);
            combine(kind, c, s.count, &x, &y);
        }
        for (int64_t j = 0; kind == MEAN && j < s.count; j++)
            x.f[j] /= operands;
        op_store(c, out[0], s.first, s.count, &x);
    }
    return COHORT_OK;
}

static double variadic_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->out[0])->shape);
    return count > 0 ? (double)count * (operands_of(n) - (kind_of(n) != MEAN)) : 0;
}

#define ROW(onnx, map_fn)                                                                          \
    {                                                                                              \
        .name = onnx, .domain = "", .since = 6, .until = OPSET_LAST, .min_inputs = 1,              \
        .max_inputs = OP_ANY_INPUTS, .max_outputs = 1, .flags = OP_BINARY,                         \
        .infer = variadic_infer, .eval = variadic_eval, .map_ok = map_fn, .flops = variadic_flops  \
    }

const struct op_desc op_max = ROW("Max", map_binary_ok);
const struct op_desc op_mean = ROW("Mean", NULL);
const struct op_desc op_min = ROW("Min", map_binary_ok);
const struct op_desc op_sum = ROW("Sum", map_binary_ok);
