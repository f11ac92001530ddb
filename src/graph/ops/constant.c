/* Operators that make tensors: Constant, ConstantOfShape, Range.
 *
 * The importer usually turns Constant nodes into constants itself; the row is here for those who
 * build graphs otherwise. */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

/* ---- Constant -------------------------------------------------------------------------------- */

static const struct attr *constant_attr(const struct node *n) {
    static const char *const names[] = {"value", "value_float", "value_floats", "value_int",
                                        "value_ints"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (node_attr(n, names[i]) != NULL)
            return node_attr(n, names[i]);
    return NULL;
}

static enum cohort_code constant_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    (void)in;
    const struct attr *a = constant_attr(n);
    if (a == NULL)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "a constant needs value, value_float(s) or value_int(s); text and sparse "
                         "tensors are not possible");
    struct shape shape = {.rank = 0};
    enum dtype type = a->kind == ATTR_INT || a->kind == ATTR_INTS ? DT_I64 : DT_F32;
    if (a->kind == ATTR_INTS || a->kind == ATTR_FLOATS)
        shape = shape_of(1, (const int64_t[]){(int64_t)a->count});
    if (a->kind == ATTR_TENSOR) {
        type = a->tensor.type;
        shape = a->tensor.shape;
    }
    if (type < 0 || type > 31 || (TYPES_ANY & TYPE_BIT(type)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a constant of %s", dtype_name(type));
    op_out(n, out, 0, type, &shape);
    return COHORT_OK;
}

static enum cohort_code constant_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    (void)in;
    (void)err;
    const struct attr *a = constant_attr(n);
    size_t bytes = tensor_bytes(out[0]);
    if (bytes == 0)
        return COHORT_OK;
    switch (a->kind) {
    case ATTR_INT:
        memcpy(out[0]->data, &a->i, sizeof a->i);
        break;
    case ATTR_FLOAT:
        memcpy(out[0]->data, &a->f, sizeof a->f);
        break;
    case ATTR_INTS:
        memcpy(out[0]->data, a->ints, bytes);
        break;
    case ATTR_FLOATS:
        memcpy(out[0]->data, a->floats, bytes);
        break;
    default:
        memcpy(out[0]->data, a->tensor.data, bytes);
        break;
    }
    return COHORT_OK;
}

/* ---- ConstantOfShape ------------------------------------------------------------------------- */

static enum cohort_code of_shape_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct attr *value = node_attr(n, "value");
    enum dtype type = DT_F32;
    if (value != NULL) {
        if (value->kind != ATTR_TENSOR || shape_count(&value->tensor.shape) != 1 ||
            dtype_bytes(value->tensor.type) == 0)
            return error_set(err, COHORT_ERR_SHAPE, "the value must be a tensor of one number");
        type = value->tensor.type;
    }
    int64_t dims[RANK_MAX];
    int count;
    TRY(op_need(n, in, 0, TYPES_INDEX, err));
    TRY(op_ints(in[0], "the shape", dims, RANK_MAX, &count, err));
    struct shape shape =
        count < 0 ? shape_unknown((int)op_list_length(in[0])) : shape_of(count, dims);
    for (int i = 0; i < count; i++)
        if (dims[i] < 0)
            return error_set(err, COHORT_ERR_SHAPE, "dimension %d is %lld", i, (long long)dims[i]);
    op_out(n, out, 0, type, &shape);
out:
    return code;
}

static enum cohort_code of_shape_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    (void)in;
    (void)err;
    const struct attr *value = node_attr(n, "value");
    size_t size = dtype_bytes(out[0]->type);
    static const unsigned char zero[8] = {0};
    op_fill(out[0]->data, value != NULL ? value->tensor.data : zero, size,
            shape_count(&out[0]->shape));
    return COHORT_OK;
}

/* ---- Range ----------------------------------------------------------------------------------- */

/* The number of elements: max(ceil((limit - start) / delta), 0). */
static enum cohort_code range_count(const struct tensor *const in[], int64_t *count,
                                    struct cohort_error *err) {
    double elements = 0;
    if (dtype_is_float(in[0]->type)) {
        double delta = tensor_get_f64(in[2], 0);
        elements = ceil((tensor_get_f64(in[1], 0) - tensor_get_f64(in[0], 0)) / delta);
        if (delta == 0 || !(elements < 0x1p58))
            return error_set(err, COHORT_ERR_SHAPE, "a range with a step of %g has no end", delta);
        *count = elements > 0 ? (int64_t)elements : 0;
        return COHORT_OK;
    }
    int64_t start = tensor_get_i64(in[0], 0), limit = tensor_get_i64(in[1], 0);
    int64_t delta = tensor_get_i64(in[2], 0);
    if (delta == 0)
        return error_set(err, COHORT_ERR_SHAPE, "a range with a step of 0 has no end");
    *count = 0;
    if (delta > 0 ? start < limit : start > limit) { /* in unsigned: the difference may overflow */
        uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
        uint64_t span =
            delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
        uint64_t all = (span - 1) / step + 1;
        if (all > (uint64_t)1 << 58)
            return error_set(err, COHORT_ERR_SHAPE, "a range of %llu elements",
                             (unsigned long long)all);
        *count = (int64_t)all;
    }
    return COHORT_OK;
}

static enum cohort_code range_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(1);
    bool known = true;
    TRY(op_need_all(n, in, TYPE_BIT(DT_F32) | TYPE_BIT(DT_F64) | TYPES_SIGNED, err));
    for (int i = 0; i < 3; i++) {
        if (shape_known(&in[i]->shape) && shape_count(&in[i]->shape) != 1)
            return error_set(err, COHORT_ERR_SHAPE, "input %d must be one number", i);
        known = known && in[i]->data != NULL;
    }
    if (known)
        TRY(range_count(in, &shape.dim[0], err));
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code range_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    int64_t count = shape_count(&out[0]->shape);
    if (dtype_is_float(in[0]->type)) {
        double start = tensor_get_f64(in[0], 0), delta = tensor_get_f64(in[2], 0);
        for (int64_t i = 0; i < count; i++)
            tensor_set_f64(out[0], i, start + (double)i * delta);
        return COHORT_OK;
    }
    int64_t start = tensor_get_i64(in[0], 0), delta = tensor_get_i64(in[2], 0);
    for (int64_t i = 0; i < count; i++)
        tensor_set_i64(out[0], i, start + i * delta);
    return COHORT_OK;
}

const struct op_desc op_constant = {
    .name = "Constant",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 0,
    .max_inputs = 0,
    .max_outputs = 1,
    .infer = constant_infer,
    .eval = constant_eval,
};

const struct op_desc op_constant_of_shape = {
    .name = "ConstantOfShape",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = of_shape_infer,
    .eval = of_shape_eval,
};

const struct op_desc op_range = {
    .name = "Range",
    .domain = "",
    .since = 11,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = range_infer,
    .eval = range_eval,
};
