/* MaxUnpool: puts X's elements back to where MaxPool found them; 0 elsewhere.
 *
 * X, I [N, C, spatial…], I as MaxPool's Indices: places in the whole tensor that kernel, strides
 * and pads imply; output_shape [rank] or none: what the output is padded to at its ends. */
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <string.h>

/* What was pooled, by the attributes. */
static enum cohort_code pooled_from(const struct node *n, const struct shape *x, struct shape *y,
                                    struct cohort_error *err) {
    struct window_nd w;
    enum cohort_code code = window_read(&w, n, x, NULL, err);
    if (code != COHORT_OK)
        return code;
    *y = *x;
    for (int i = 0; i < w.rank; i++) {
        int64_t d = x->dim[i + 2];
        if (d > INT32_MAX || w.stride[i] > INT32_MAX)
            return error_set(err, COHORT_ERR_SHAPE, "axis %d is too large", i + 2);
        if (d < 0)
            continue;
        y->dim[i + 2] = (d - 1) * w.stride[i] - w.pad_begin[i] - w.pad_end[i] + w.kernel[i];
        if (y->dim[i + 2] < 0)
            return error_set(err, COHORT_ERR_SHAPE, "axis %d would have size %lld", i + 2,
                             (long long)y->dim[i + 2]);
    }
    return COHORT_OK;
}

static enum cohort_code unpool_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct tensor *wanted = op_in(n, in, 2);
    const struct shape *x = &in[0]->shape;
    struct shape y = shape_unknown(-1);
    int64_t dims[RANK_MAX];
    int count = 0;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(op_need(n, in, 1, TYPE_BIT(DT_I64), err));
    if (shape_known(x) && shape_known(&in[1]->shape) && !shape_equal(x, &in[1]->shape))
        return error_set(err, COHORT_ERR_SHAPE, "indices of another shape than the input");
    if (x->rank >= 0)
        TRY(pooled_from(n, x, &y, err));
    if (wanted != NULL) {
        TRY(op_ints(wanted, "output_shape", dims, RANK_MAX, &count, err));
        if (count >= 0 && x->rank >= 0 && count != x->rank)
            return error_set(err, COHORT_ERR_SHAPE, "output_shape has %d elements; %d are needed",
                             count, x->rank);
        for (int i = 0; i < count && x->rank >= 0; i++)
            if (dims[i] < 0 || (i < 2 && x->dim[i] >= 0 && dims[i] != x->dim[i]) ||
                (i >= 2 && y.dim[i] > dims[i]))
                return error_set(err, COHORT_ERR_SHAPE,
                                 "output_shape is %lld along axis %d; at least %lld is needed",
                                 (long long)dims[i], i, (long long)y.dim[i]);
        y = count < 0 ? shape_unknown(x->rank) : shape_of(count, dims);
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

static enum cohort_code unpool_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape from;
    int64_t stride[RANK_MAX], count = shape_count(&in[0]->shape), places, place;
    size_t size = dtype_bytes(in[0]->type);
    TRY(pooled_from(n, &in[0]->shape, &from, err));
    op_strides(&out[0]->shape, stride);
    if (tensor_bytes(out[0]) > 0)
        memset(out[0]->data, 0, tensor_bytes(out[0]));
    places = shape_count(&from);
    for (int64_t i = 0; i < count; i++) {
        TRY(op_index(tensor_get_i64(in[1], i), places, &place, err));
        int64_t to = 0;
        for (int k = from.rank - 1; k >= 0; k--) {
            to += place % from.dim[k] * stride[k];
            place /= from.dim[k];
        }
        memcpy(op_at(out[0], to), op_at(in[0], i), size);
    }
out:
    return code;
}

const struct op_desc op_max_unpool = {
    .name = "MaxUnpool",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = unpool_infer,
    .eval = unpool_eval,
};
