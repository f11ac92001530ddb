/* BlackmanWindow, HammingWindow, HannWindow (opset 17): the weights of a window of `size` samples,
 * as sums of cosines: a0 - a1*cos(2 pi i/N) + a2*cos(4 pi i/N), where N is the size, or the size
 * less one when the window is symmetric (periodic = 0). */
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

static enum cohort_code window_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(1);
    bool known;
    int64_t size = 0, type = node_attr_int(n, "output_datatype", DT_F32);
    TRY(op_one_int(in[0], "the size", &size, &known, err));
    if (type < 0 || type > 31 || (TYPES_NUMBER & TYPE_BIT(type)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "output_datatype is %lld", (long long)type);
    if (known && size < 0)
        return error_set(err, COHORT_ERR_SHAPE, "a window of size %lld", (long long)size);
    if (known)
        shape.dim[0] = size;
    op_out(n, out, 0, (enum dtype)type, &shape);
out:
    return code;
}

static enum cohort_code window_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    (void)in;
    (void)err;
    static const struct {
        const char *name;
        double a0, a1, a2;
    } windows[] = {{"BlackmanWindow", 0.42, 0.5, 0.08},
                   {"HammingWindow", 25.0 / 46, 21.0 / 46, 0},
                   {"HannWindow", 0.5, 0.5, 0}};
    size_t w = 0;
    while (strcmp(windows[w].name, n->op->name) != 0)
        BUG_UNLESS(++w < sizeof windows / sizeof windows[0]);
    int64_t size = out[0]->shape.dim[0];
    bool periodic = node_attr_int(n, "periodic", 1) != 0;
    double period = periodic ? (double)size : (double)size - 1;
    for (int64_t i = 0; i < size; i++) {
        /* A symmetric window of one sample is that sample. */
        double x = period == 0 ? 0 : 2 * 3.14159265358979323846 * (double)i / period;
        tensor_set_f64(out[0], i,
                       windows[w].a0 - windows[w].a1 * cos(x) + windows[w].a2 * cos(2 * x));
    }
    return COHORT_OK;
}

#define ROW(onnx)                                                                                  \
    {                                                                                              \
        .name = onnx, .domain = "", .since = 17, .until = OPSET_LAST, .min_inputs = 1,             \
        .max_inputs = 1, .max_outputs = 1, .infer = window_infer, .eval = window_eval              \
    }

const struct op_desc op_blackman_window = ROW("BlackmanWindow");
const struct op_desc op_hamming_window = ROW("HammingWindow");
const struct op_desc op_hann_window = ROW("HannWindow");
