/* Shape and Size: what is known of a tensor without its contents.  eval() never touches the data,
 * so both can be folded as soon as the input's shape is known. */
#include "graph/ops/ops_common.h"

/* Axes [first, last) that Shape gives (attributes start and end since opset 15). */
static void shape_range(const struct node *n, int rank, int *first, int *last) {
    int64_t start = node_attr_int(n, "start", 0), end = node_attr_int(n, "end", rank);
    start = start < 0 ? start + rank : start;
    end = end < 0 ? end + rank : end;
    *first = (int)(start < 0 ? 0 : start > rank ? rank : start);
    *last = (int)(end < 0 ? 0 : end > rank ? rank : end);
    if (*last < *first)
        *last = *first;
}

static enum cohort_code shape_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    struct shape shape = shape_unknown(1);
    if (in[0]->shape.rank >= 0) {
        int first, last;
        shape_range(n, in[0]->shape.rank, &first, &last);
        shape.dim[0] = last - first;
    }
    op_out(n, out, 0, DT_I64, &shape);
out:
    return code;
}

static enum cohort_code shape_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    int first, last;
    shape_range(n, in[0]->shape.rank, &first, &last);
    for (int i = first; i < last; i++)
        tensor_i64(out[0])[i - first] = in[0]->shape.dim[i];
    return COHORT_OK;
}

static enum cohort_code size_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    struct shape scalar = {.rank = 0};
    op_out(n, out, 0, DT_I64, &scalar);
out:
    return code;
}

static enum cohort_code size_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    tensor_i64(out[0])[0] = shape_count(&in[0]->shape);
    return COHORT_OK;
}

const struct op_desc op_shape = {
    .name = "Shape",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = shape_infer,
    .eval = shape_eval,
};

const struct op_desc op_size = {
    .name = "Size",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = size_infer,
    .eval = size_eval,
};
