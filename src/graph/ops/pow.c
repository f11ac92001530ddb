/* Pow: base ^ exponent with broadcasting.  From opset 12 on the two types may differ; the result
 * has the base's.  Two integers are computed exactly (wrapping), everything else in double. */
#include "graph/ops/ops_common.h"

#include <math.h>

static enum cohort_code pow_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape;
    TRY(op_need(n, in, 0, TYPES_NUMBER, err));
    if (n->opset < 12)
        TRY(op_need_same(n, in, 1, err));
    TRY(op_need(n, in, 1, TYPES_NUMBER, err));
    TRY(op_broadcast(n, in, 2, &shape, err));
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* x^y for y >= 0 modulo 2^64, by squaring. */
static uint64_t power(uint64_t x, uint64_t y) {
    uint64_t product = 1;
    for (; y != 0; y >>= 1, x *= x)
        if (y & 1)
            product *= x;
    return product;
}

/* x^y for y < 0: 1/x^-y truncated; 1/0 saturates. */
static int64_t negative_power(int64_t x, int64_t y) {
    if (x == 0)
        return INT64_MAX;
    if (x == 1)
        return 1;
    return x == -1 ? (y % 2 == 0 ? 1 : -1) : 0;
}

static enum cohort_code pow_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    enum op_class cx = op_class_of(in[0]->type), cy = op_class_of(in[1]->type);
    bool floats = cx == CLASS_F64 || cy == CLASS_F64;
    if (floats)
        cx = cy = CLASS_F64;
    struct bcast b;
    for (bcast_begin(&b, &out[0]->shape, in, 2); b.more; bcast_next(&b))
        for (int64_t j = 0; j < b.run; j += OP_CHUNK) {
            union op_chunk x, y;
            int64_t count = b.run - j < OP_CHUNK ? b.run - j : OP_CHUNK;
            op_load(cx, in[0], b.at[0] + j * b.step[0], b.step[0], count, &x);
            op_load(cy, in[1], b.at[1] + j * b.step[1], b.step[1], count, &y);
            for (int64_t k = 0; k < count; k++)
                if (floats)
                    x.f[k] = pow(x.f[k], y.f[k]);
                else if (cy == CLASS_I64 && y.i[k] < 0)
                    x.i[k] = negative_power(x.i[k], y.i[k]);
                else
                    x.u[k] = power(x.u[k], y.u[k]);
            op_store(cx, out[0], b.out + j, count, &x);
        }
    return COHORT_OK;
}

const struct op_desc op_pow = {
    .name = "Pow",
    .domain = "",
    .since = 7,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_BINARY,
    .infer = pow_infer,
    .eval = pow_eval,
    .map_ok = map_binary_ok,
};
