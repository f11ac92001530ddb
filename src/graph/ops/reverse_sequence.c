/* ReverseSequence (opset 10): of each batch, the first sequence_lens[b] elements along the time
 * axis backwards.  The batch and the time axis are the first two, in either order. */
#include "graph/ops/ops_common.h"

#include <string.h>

static enum cohort_code sequence_axes(const struct node *n, int *batch, int *time,
                                      struct cohort_error *err) {
    int64_t b = node_attr_int(n, "batch_axis", 1), t = node_attr_int(n, "time_axis", 0);
    if ((b != 0 && b != 1) || b + t != 1)
        return error_set(err, COHORT_ERR_SHAPE,
                         "batch_axis %lld and time_axis %lld; one must be 0, the other 1",
                         (long long)b, (long long)t);
    *batch = (int)b;
    *time = (int)t;
    return COHORT_OK;
}

static enum cohort_code sequence_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &in[0]->shape, *l = &in[1]->shape;
    int batch, time;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPE_BIT(DT_I64), err));
    TRY(sequence_axes(n, &batch, &time, err));
    if (s->rank == 0 || s->rank == 1)
        return error_set(err, COHORT_ERR_SHAPE, "rank %d; batch and time are needed", s->rank);
    if (l->rank >= 0 && (l->rank != 1 || (s->rank >= 0 && s->dim[batch] >= 0 && l->dim[0] >= 0 &&
                                          l->dim[0] != s->dim[batch])))
        return error_set(err, COHORT_ERR_SHAPE, "sequence_lens is not one number per batch");
    op_out(n, out, 0, in[0]->type, s);
out:
    return code;
}

static enum cohort_code sequence_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    const struct shape *s = &in[0]->shape;
    int batch, time;
    enum cohort_code code = sequence_axes(n, &batch, &time, err);
    if (code != COHORT_OK)
        return code;
    int64_t inner = shape_product(s, 2, s->rank), steps = s->dim[time];
    int64_t batch_pitch = batch == 0 ? s->dim[1] : 1, time_pitch = time == 0 ? s->dim[1] : 1;
    size_t bytes = (size_t)inner * dtype_bytes(in[0]->type);
    for (int64_t b = 0; bytes > 0 && b < s->dim[batch]; b++) {
        int64_t length = tensor_get_i64(in[1], b);
        if (length < 0 || length > steps)
            return error_set(err, COHORT_ERR_SHAPE, "a sequence of %lld in %lld steps",
                             (long long)length, (long long)steps);
        for (int64_t t = 0; t < steps; t++) {
            int64_t from = t < length ? length - 1 - t : t;
            memcpy(op_at(out[0], (b * batch_pitch + t * time_pitch) * inner),
                   op_at(in[0], (b * batch_pitch + from * time_pitch) * inner), bytes);
        }
    }
    return COHORT_OK;
}

const struct op_desc op_reverse_sequence = {
    .name = "ReverseSequence",
    .domain = "",
    .since = 10,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = sequence_infer,
    .eval = sequence_eval,
};
