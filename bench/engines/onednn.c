/* oneDNN as an engine of bench/single: the network's convolutions and products, nothing else.
 *
 * oneDNN computes primitives, not networks.  Each convolution and product that Cohort finds in the
 * network (after fusing) is made with the layouts and the algorithm that oneDNN likes best, with
 * bias and, where the network has any activation there, ReLU; they are run one after another, each
 * on memory of its own.  Pooling, sums, concatenations and whatever lies between are left out, so
 * this is less than a network takes.  oneDNN 2 (Debian 12: libdnnl-dev); threads: OMP_NUM_THREADS.
 */
#include "engine.h"

#include "exec/signature.h"
#include "runtime/model.h"

#include <oneapi/dnnl/dnnl.h>

#if DNNL_VERSION_MAJOR != 2
#error "written for oneDNN 2"
#endif

#define LAYERS_MAX 1024
#define NOT(call)  ((call) != dnnl_success)

struct layer {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[4]; /* input, weights, bias, output */
};

static struct {
    struct layer layers[LAYERS_MAX];
    int count;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct cohort_error err;
} net;

static bool describe(dnnl_memory_desc_t *md, int rank, const dnnl_dim_t *dims) {
    return !NOT(dnnl_memory_desc_init_by_tag(md, rank, dims, dnnl_f32, dnnl_format_tag_any));
}

/* Memory of the layout that the primitive asks for, filled with small numbers. */
static bool add_memory(struct layer *l, int arg, int name, const_dnnl_primitive_desc_t pd,
                       dnnl_query_t which, int index) {
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, which, index);
    void *data;
    l->args[arg].arg = name;
    if (md == NULL ||
        NOT(dnnl_memory_create(&l->args[arg].memory, md, net.engine, DNNL_MEMORY_ALLOCATE)) ||
        NOT(dnnl_memory_get_data_handle(l->args[arg].memory, &data)))
        return false;
    for (size_t i = 0; i < dnnl_memory_desc_get_size(md) / sizeof(float); i++)
        ((float *)data)[i] = 0.01f * engine_number((long)i);
    return true;
}

static bool make(struct layer *l, const void *description, bool relu) {
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    dnnl_primitive_desc_t pd;
    if (NOT(dnnl_primitive_attr_create(&attr)) || NOT(dnnl_post_ops_create(&ops)) ||
        (relu && NOT(dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0))) ||
        NOT(dnnl_primitive_attr_set_post_ops(attr, ops)) ||
        NOT(dnnl_primitive_desc_create(&pd, description, attr, net.engine, NULL)))
        return false;
    bool ok = add_memory(l, 0, DNNL_ARG_SRC, pd, dnnl_query_src_md, 0) &&
              add_memory(l, 1, DNNL_ARG_WEIGHTS, pd, dnnl_query_weights_md, 0) &&
              add_memory(l, 2, DNNL_ARG_BIAS, pd, dnnl_query_weights_md, 1) &&
              add_memory(l, 3, DNNL_ARG_DST, pd, dnnl_query_dst_md, 0) &&
              !NOT(dnnl_primitive_create(&l->primitive, pd));
    dnnl_primitive_desc_destroy(pd);
    dnnl_post_ops_destroy(ops);
    dnnl_primitive_attr_destroy(attr);
    return ok;
}

/* Padding behind the last pixel: what the output's size needs. */
static dnnl_dim_t pad_end(int out, int stride, int kernel, int dilation, int in, int before) {
    return (dnnl_dim_t)(out - 1) * stride + (dnnl_dim_t)(kernel - 1) * dilation + 1 - in - before;
}

static bool make_conv(struct layer *l, const struct conv_shape *c, bool relu) {
    dnnl_memory_desc_t in, out, w, bias;
    dnnl_convolution_desc_t description;
    const dnnl_dims_t in_dims = {1, c->in_c, c->in_h, c->in_w};
    const dnnl_dims_t out_dims = {1, c->out_c, c->out_h, c->out_w};
    const dnnl_dims_t bias_dims = {c->out_c};
    const dnnl_dims_t w_dims = {c->groups, c->out_c / c->groups, c->in_c / c->groups, c->kernel_h,
                                c->kernel_w};
    const dnnl_dims_t flat_dims = {c->out_c, c->in_c, c->kernel_h, c->kernel_w};
    const dnnl_dims_t strides = {c->stride_h, c->stride_w};
    const dnnl_dims_t dilations = {c->dilation_h - 1, c->dilation_w - 1};
    const dnnl_dims_t before = {c->pad_top, c->pad_left};
    const dnnl_dims_t after = {
        pad_end(c->out_h, c->stride_h, c->kernel_h, c->dilation_h, c->in_h, c->pad_top),
        pad_end(c->out_w, c->stride_w, c->kernel_w, c->dilation_w, c->in_w, c->pad_left)};
    return describe(&in, 4, in_dims) && describe(&out, 4, out_dims) &&
           describe(&bias, 1, bias_dims) &&
           (c->groups > 1 ? describe(&w, 5, w_dims) : describe(&w, 4, flat_dims)) &&
           !NOT(dnnl_dilated_convolution_forward_desc_init(
               &description, dnnl_forward_inference, dnnl_convolution_auto, &in, &w, &bias, &out,
               strides, dilations, before, after)) &&
           make(l, &description, relu);
}

static bool make_gemm(struct layer *l, const struct gemm_shape *s, bool relu) {
    dnnl_memory_desc_t in, out, w, bias;
    dnnl_inner_product_desc_t description;
    const dnnl_dims_t in_dims = {s->rows, s->k}, out_dims = {s->rows, s->n};
    const dnnl_dims_t w_dims = {s->n, s->k}, bias_dims = {s->n};
    return describe(&in, 2, in_dims) && describe(&out, 2, out_dims) && describe(&w, 2, w_dims) &&
           describe(&bias, 1, bias_dims) &&
           !NOT(dnnl_inner_product_forward_desc_init(&description, dnnl_forward_inference, &in, &w,
                                                     &bias, &out)) &&
           make(l, &description, relu);
}

static const char *open_network(const char *path, int threads) {
    struct cohort_model *model = NULL;
    const char *set = getenv("OMP_NUM_THREADS");
    const char *why = NULL;
    if (set == NULL || atoi(set) != threads)
        return "OMP_NUM_THREADS is not the number of threads";
    if (cohort_open(&model, path, NULL, &net.err) != COHORT_OK)
        return net.err.message;
    if (NOT(dnnl_engine_create(&net.engine, dnnl_cpu, 0)) ||
        NOT(dnnl_stream_create(&net.stream, net.engine, dnnl_stream_default_flags)))
        why = "oneDNN has no engine";
    const struct graph *g = cohort_model_graph(model);
    for (int i = 0; i < g->node_count && why == NULL; i++) {
        const struct node *n = &g->nodes[i];
        struct signature s;
        if (!signature_of(g, n, &s))
            continue;
        bool relu = n->epilogue.act != ACT_NONE;
        struct layer *l = &net.layers[net.count];
        if (net.count == LAYERS_MAX || s.family == SIGNATURE_DECONV)
            why = "a layer that this program does not take";
        else if (!(s.family == SIGNATURE_CONV ? make_conv(l, &s.conv, relu)
                                              : make_gemm(l, &s.gemm, relu)))
            why = "oneDNN cannot make a layer of this network";
        else
            net.count++;
    }
    cohort_model_free(&model);
    return why;
}

static const char *run(void) {
    for (int i = 0; i < net.count; i++)
        if (NOT(dnnl_primitive_execute(net.layers[i].primitive, net.stream, 4, net.layers[i].args)))
            return "oneDNN failed";
    return NOT(dnnl_stream_wait(net.stream)) ? "oneDNN failed" : NULL;
}

int main(int argc, char **argv) {
    const struct engine e = {.open = open_network, .run = run};
    int status = engine_serve(&e, argc, argv);
    for (int i = 0; i < net.count; i++) {
        dnnl_primitive_destroy(net.layers[i].primitive);
        for (int k = 0; k < 4; k++)
            dnnl_memory_destroy(net.layers[i].args[k].memory);
    }
    dnnl_stream_destroy(net.stream);
    dnnl_engine_destroy(net.engine);
    return status;
}
