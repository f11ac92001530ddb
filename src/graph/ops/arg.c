/* ArgMax and ArgMin: where along an axis the largest or smallest element is.  The first of equals,
 * or the last with select_last_index; a NaN counts as the answer, as in NumPy. */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

static enum cohort_code arg_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(-1);
    bool keep = node_attr_int(n, "keepdims", 1) != 0;
    TRY(op_need(n, in, 0, TYPES_NUMBER, err));
    if (in[0]->shape.rank >= 0) {
        int axis;
        TRY(op_axis(node_attr_int(n, "axis", 0), in[0]->shape.rank, &axis, err));
        if (in[0]->shape.dim[axis] == 0)
            return error_set(err, COHORT_ERR_SHAPE, "axis %d is empty", axis);
        shape.rank = 0;
        for (int i = 0; i < in[0]->shape.rank; i++)
            if (i != axis || keep)
                shape.dim[shape.rank++] = i == axis ? 1 : in[0]->shape.dim[i];
    }
    op_out(n, out, 0, DT_I64, &shape);
out:
    return code;
}

/* Is element x better than the best so far? */
static bool better(enum op_class c, bool max, bool last, const union op_chunk *x,
                   const union op_chunk *best) {
    if (c == CLASS_F64) {
        double a = x->f[0], b = best->f[0];
        if (isnan(a) || isnan(b))
            return isnan(a) && (last || !isnan(b));
        return (max ? a > b : a < b) || (last && a == b);
    }
    if (c == CLASS_I64)
        return (max ? x->i[0] > best->i[0] : x->i[0] < best->i[0]) ||
               (last && x->i[0] == best->i[0]);
    return (max ? x->u[0] > best->u[0] : x->u[0] < best->u[0]) || (last && x->u[0] == best->u[0]);
}

static enum cohort_code arg_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    const struct shape *shape = &in[0]->shape;
    int axis;
    enum cohort_code code = op_axis(node_attr_int(n, "axis", 0), shape->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    bool max = strcmp(n->op->name, "ArgMax") == 0;
    bool last = node_attr_int(n, "select_last_index", 0) != 0;
    enum op_class c = op_class_of(in[0]->type);
    int64_t inner = shape_product(shape, axis + 1, shape->rank), length = shape->dim[axis];
    int64_t results = shape_count(&out[0]->shape);
    for (int64_t r = 0; r < results; r++) {
        union op_chunk best, x;
        int64_t base = r / inner * inner * length + r % inner, index = 0;
        op_load(c, in[0], base, 1, 1, &best);
        for (int64_t k = 1; k < length; k++) {
            op_load(c, in[0], base + k * inner, 1, 1, &x);
            if (better(c, max, last, &x, &best)) {
                best.u[0] = x.u[0];
                index = k;
            }
        }
        tensor_i64(out[0])[r] = index;
    }
    return COHORT_OK;
}

static double arg_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? (double)count : 0;
}

#define ROW(onnx)                                                                                  \
    {                                                                                              \
        .name = onnx, .domain = "", .since = 1, .until = OPSET_LAST, .min_inputs = 1,              \
        .max_inputs = 1, .max_outputs = 1, .infer = arg_infer, .eval = arg_eval,                   \
        .flops = arg_flops                                                                         \
    }

const struct op_desc op_arg_max = ROW("ArgMax");
const struct op_desc op_arg_min = ROW("ArgMin");
