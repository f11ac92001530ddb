/* ScatterElements (Scatter until opset 10), ScatterND and TensorScatter: a copy of data in which
 * some elements, slices or positions of a cache are replaced by updates, or joined with them
 * (reduction: add, mul since opset 16; max, min since 18). */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

/* ---- joining --------------------------------------------------------------------------------- */

enum reduction { REPLACE, ADD, MULTIPLY, MAXIMUM, MINIMUM };

static enum cohort_code reduction_of(const struct node *n, enum reduction *r,
                                     struct cohort_error *err) {
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *name = node_attr_string(n, "reduction", "none");
    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) {
            *r = (enum reduction)i;
            return COHORT_OK;
        }
    return error_set(err, COHORT_ERR_UNSUPPORTED,
                     "reduction is \"%.40s\"; none, add, mul, max and min are possible", name);
}

/* NaN wins, as in NumPy. */
static double join_f(enum reduction r, double x, double y) {
    if (r == ADD || r == MULTIPLY)
        return r == ADD ? x + y : x * y;
    if (isnan(x) || isnan(y))
        return isnan(x) ? x : y;
    return (r == MAXIMUM) == (x > y) ? x : y;
}

/* Integers: modulo 2^64; which is larger depends on the sign. */
static uint64_t join_u(enum reduction r, enum op_class c, uint64_t x, uint64_t y) {
    if (r == ADD || r == MULTIPLY)
        return r == ADD ? x + y : x * y;
    bool more = c == CLASS_I64 ? (int64_t)x > (int64_t)y : x > y;
    return (r == MAXIMUM) == more ? x : y;
}

/* Elements [to, to+count) of out and [from, …) of updates. */
static void join(enum reduction r, struct tensor *out, int64_t to, const struct tensor *updates,
                 int64_t from, int64_t count) {
    if (r == REPLACE) {
        memcpy(op_at(out, to), op_at(updates, from), (size_t)count * dtype_bytes(out->type));
        return;
    }
    enum op_class c = op_class_of(out->type);
    for (int64_t i = 0; i < count; i += OP_CHUNK) {
        union op_chunk x, y;
        int64_t some = count - i < OP_CHUNK ? count - i : OP_CHUNK;
        op_load(c, out, to + i, 1, some, &x);
        op_load(c, updates, from + i, 1, some, &y);
        for (int64_t j = 0; j < some; j++)
            if (c == CLASS_F64)
                x.f[j] = join_f(r, x.f[j], y.f[j]);
            else
                x.u[j] = join_u(r, c, x.u[j], y.u[j]);
        op_store(c, out, to + i, some, &x);
    }
}

static void copy_data(const struct tensor *from, struct tensor *to) {
    if (tensor_bytes(from) > 0)
        memcpy(to->data, from->data, tensor_bytes(from));
}

static enum cohort_code misfit(const struct tensor *const in[], struct cohort_error *err) {
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES], c[SHAPE_TEXT_BYTES];
    return error_set(err, COHORT_ERR_SHAPE,
                     "indices of shape %s and updates of shape %s for data of shape %s",
                     shape_text(&in[1]->shape, a, sizeof a), shape_text(&in[2]->shape, b, sizeof b),
                     shape_text(&in[0]->shape, c, sizeof c));
}

static enum cohort_code scatter_types(const struct node *n, const struct tensor *const in[],
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    enum reduction r;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_INDEX, err));
    TRY(op_need_same(n, in, 2, err));
    TRY(reduction_of(n, &r, err));
out:
    return code;
}

/* ---- ScatterElements ------------------------------------------------------------------------- */

static enum cohort_code elements_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *x = &in[1]->shape, *u = &in[2]->shape;
    int axis = 0;
    TRY(scatter_types(n, in, err));
    if (d->rank >= 0)
        TRY(op_axis(node_attr_int(n, "axis", 0), d->rank, &axis, err));
    if (d->rank >= 0 && x->rank >= 0 && u->rank >= 0) {
        bool fits = d->rank == x->rank && u->rank == x->rank;
        for (int i = 0; fits && i < d->rank; i++)
            fits = (i == axis || d->dim[i] < 0 || x->dim[i] <= d->dim[i]) &&
                   (x->dim[i] < 0 || u->dim[i] < 0 || x->dim[i] == u->dim[i]);
        if (!fits)
            return misfit(in, err);
    }
    op_out(n, out, 0, in[0]->type, d);
out:
    return code;
}

static enum cohort_code elements_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *x = &in[1]->shape;
    int64_t index[RANK_MAX] = {0}, stride[RANK_MAX], i = 0, chosen;
    enum reduction r;
    int axis;
    TRY(op_axis(node_attr_int(n, "axis", 0), d->rank, &axis, err));
    TRY(reduction_of(n, &r, err));
    op_strides(d, stride);
    copy_data(in[0], out[0]);
    if (shape_count(x) == 0)
        goto out;
    do {
        TRY(op_index(tensor_get_i64(in[1], i), d->dim[axis], &chosen, err));
        int64_t to = chosen * stride[axis];
        for (int k = 0; k < d->rank; k++)
            to += k == axis ? 0 : index[k] * stride[k];
        join(r, out[0], to, in[2], i++, 1);
    } while (op_step(x, index));
out:
    return code;
}

/* ---- ScatterND ------------------------------------------------------------------------------- */

static enum cohort_code nd_infer(struct node *n, const struct tensor *const in[],
                                 struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *x = &in[1]->shape, *u = &in[2]->shape;
    TRY(scatter_types(n, in, err));
    if (d->rank >= 0 && x->rank >= 0 && u->rank >= 0) {
        int64_t depth = x->rank > 0 ? x->dim[x->rank - 1] : 0;
        bool fits = d->rank > 0 && x->rank > 0 && depth <= d->rank &&
                    (depth < 0 || u->rank == x->rank - 1 + d->rank - (int)depth);
        for (int i = 0; fits && depth >= 0 && i < u->rank; i++) {
            int64_t want = i < x->rank - 1 ? x->dim[i] : d->dim[i - (x->rank - 1) + (int)depth];
            fits = want < 0 || u->dim[i] < 0 || want == u->dim[i];
        }
        if (!fits)
            return misfit(in, err);
    }
    op_out(n, out, 0, in[0]->type, d);
out:
    return code;
}

static enum cohort_code nd_eval(const struct node *n, const struct tensor *const in[],
                                struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *x = &in[1]->shape;
    int depth = (int)x->dim[x->rank - 1];
    int64_t stride[RANK_MAX], slices = shape_product(x, 0, x->rank - 1);
    int64_t piece = shape_product(d, depth, d->rank);
    enum reduction r;
    TRY(reduction_of(n, &r, err));
    op_strides(d, stride);
    copy_data(in[0], out[0]);
    for (int64_t i = 0; piece > 0 && i < slices; i++) {
        int64_t to = 0;
        for (int k = 0; k < depth; k++) {
            int64_t chosen;
            TRY(op_index(tensor_get_i64(in[1], i * depth + k), d->dim[k], &chosen, err));
            to += chosen * stride[k];
        }
        join(r, out[0], to, in[2], i * piece, piece);
    }
out:
    return code;
}

/* ---- TensorScatter --------------------------------------------------------------------------- */

/* past [B, .., length, ..], update of that shape but for the axis, write indices [B] or none: where
 * each batch's update begins; circular: it goes on at the beginning. */
static enum cohort_code tensor_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *u = &in[1]->shape;
    const struct tensor *at = op_in(n, in, 2);
    const char *mode = node_attr_string(n, "mode", "linear");
    int axis;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need_same(n, in, 1, err));
    if (strcmp(mode, "linear") != 0 && strcmp(mode, "circular") != 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "mode is \"%.40s\"; linear and circular are possible", mode);
    if (at != NULL)
        TRY(op_need(n, in, 2, TYPES_INDEX, err));
    if (d->rank >= 0 && u->rank >= 0) {
        TRY(op_axis(node_attr_int(n, "axis", -2), d->rank, &axis, err));
        bool fits = axis > 0 && u->rank == d->rank;
        for (int i = 0; fits && i < d->rank; i++)
            fits = d->dim[i] < 0 ||
                   (i == axis ? u->dim[i] <= d->dim[i] : u->dim[i] < 0 || u->dim[i] == d->dim[i]);
        if (at != NULL && shape_known(&at->shape) && d->dim[0] >= 0)
            fits = fits && at->shape.rank == 1 && at->shape.dim[0] == d->dim[0];
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        if (!fits)
            return error_set(err, COHORT_ERR_SHAPE, "an update of shape %s for a cache of shape %s",
                             shape_text(u, a, sizeof a), shape_text(d, b, sizeof b));
    }
    op_out(n, out, 0, in[0]->type, d);
out:
    return code;
}

static enum cohort_code tensor_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *d = &in[0]->shape, *u = &in[1]->shape;
    const struct tensor *at = op_in(n, in, 2);
    bool circular = strcmp(node_attr_string(n, "mode", "linear"), "circular") == 0;
    int axis;
    TRY(op_axis(node_attr_int(n, "axis", -2), d->rank, &axis, err));
    int64_t piece = shape_product(d, axis + 1, d->rank), length = d->dim[axis];
    int64_t each = shape_product(d, 1, axis), steps = u->dim[axis];
    copy_data(in[0], out[0]);
    for (int64_t o = 0; piece > 0 && steps > 0 && o < d->dim[0] * each; o++) {
        int64_t begin = at != NULL ? tensor_get_i64(at, o / each) : 0;
        if (begin < 0 || (circular ? begin >= length : begin > length - steps))
            TRY(error_set(err, COHORT_ERR_SHAPE, "%lld elements from %lld on, in a cache of %lld",
                          (long long)steps, (long long)begin, (long long)length));
        for (int64_t k = 0; k < steps; k++)
            join(REPLACE, out[0], (o * length + (begin + k) % length) * piece, in[1],
                 (o * steps + k) * piece, piece);
    }
out:
    return code;
}

#define ROW(onnx, first, last, least, infer_fn, eval_fn)                                           \
    {                                                                                              \
        .name = onnx, .domain = "", .since = first, .until = last, .min_inputs = least,            \
        .max_inputs = 3, .max_outputs = 1, .infer = infer_fn, .eval = eval_fn                      \
    }

const struct op_desc op_scatter = ROW("Scatter", 9, 10, 3, elements_infer, elements_eval);
const struct op_desc op_scatter_elements =
    ROW("ScatterElements", 11, OPSET_LAST, 3, elements_infer, elements_eval);
const struct op_desc op_scatter_nd = ROW("ScatterND", 11, OPSET_LAST, 3, nd_infer, nd_eval);
const struct op_desc op_tensor_scatter =
    ROW("TensorScatter", 24, OPSET_LAST, 2, tensor_infer, tensor_eval);
