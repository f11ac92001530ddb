/* A libFuzzer target for the ONNX reader: whatever the bytes, an error or a valid graph, nothing
 * leaked, and no memory out of proportion to the file. */
#include "tests/fuzz/fuzz.h"

#include "graph/onnx/onnx.h"
#include "graph/onnx/tensor_proto.h"
#include "graph/op.h"

static void check_value(const struct value *v) {
    BUG_UNLESS(v->shape.rank <= RANK_MAX);
    if (!v->is_constant)
        return;
    BUG_UNLESS(v->constant.data != NULL && v->constant.owned && tensor_aligned(&v->constant));
    BUG_UNLESS(shape_known(&v->shape) && dtype_bytes(v->type) != 0);
    int64_t count = shape_count(&v->shape);
    volatile double sum = 0; /* every element can be read */
    for (int64_t i = 0; i < count; i++)
        sum = sum + tensor_get_f64(&v->constant, i);
}

static void check_node(const struct graph *g, int i) {
    const struct node *n = &g->nodes[i];
    BUG_UNLESS(n->op != NULL && !(n->op->flags & OP_INTERNAL) && n->opset >= n->op->since);
    BUG_UNLESS(n->in_count >= n->op->min_inputs && n->in_count <= n->op->max_inputs);
    BUG_UNLESS(n->out_count >= 1 && n->out_count <= n->op->max_outputs);
    for (int k = 0; k < n->in_count; k++) {
        BUG_UNLESS(n->in[k] >= -1 && n->in[k] < g->value_count);
        BUG_UNLESS(n->in[k] < 0 || g->values[n->in[k]].producer < i);
    }
    for (int k = 0; k < n->out_count; k++)
        BUG_UNLESS(n->out[k] < 0 || g->values[n->out[k]].producer == i);
}

static void check_error(enum cohort_code code, const struct cohort_error *err) {
    fuzz_check_error(code, err);
    BUG_UNLESS(code == COHORT_ERR_FORMAT || code == COHORT_ERR_UNSUPPORTED);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct graph *g = NULL;
    size_t peak = mem_peak_bytes();
    enum cohort_code code = onnx_load_memory(&g, data, size, NULL, &err);
    if (code != COHORT_OK)
        check_error(code, &err);
    for (int i = 0; g != NULL && i < g->value_count; i++)
        check_value(&g->values[i]);
    for (int i = 0; g != NULL && i < g->node_count; i++)
        check_node(g, i);
    graph_destroy(&g);

    struct tensor_source source = {0};
    struct tensor_fields fields;
    struct tensor t = {0};
    error_clear(&err);
    code = tensor_proto_parse(wire_of(data, size, "TensorProto"), &fields, &err);
    if (code == COHORT_OK)
        code = tensor_proto_load(&source, &fields, &t, &err);
    if (code != COHORT_OK)
        check_error(code, &err);
    tensor_release(&t);
    tensor_source_release(&source);

    BUG_UNLESS(mem_live_blocks() == 0);
    BUG_UNLESS(mem_peak_bytes() == peak || mem_peak_bytes() < ((size_t)1 << 20) + 300 * size);
    return 0;
}
