/* Reading whole models: what the writer wrote, hand-made oddities, and models that are wrong. */
#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/op.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Loads and releases a model that must be good. */
static struct graph *load(struct buf *model) {
    struct cohort_error err = {0};
    struct graph *g = NULL;
    assert_false(model->failed);
    if (onnx_load_memory(&g, model->data, model->size, NULL, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    buf_release(model);
    return g;
}

/* Loads and releases a model that must fail with this code and these words. */
static void expect_error(struct buf *model, enum cohort_code expected, const char *words) {
    struct cohort_error err = {0};
    struct graph *g = NULL;
    enum cohort_code code = onnx_load_memory(&g, model->data, model->size, NULL, &err);
    if (code != expected || err.code != expected || strstr(err.message, words) == NULL)
        fail_msg("expected %s with \"%s\", got %s: %s", cohort_code_name(expected), words,
                 cohort_code_name(code), err.message);
    assert_null(g);
    assert_null(strchr(err.message, '\n'));
    buf_release(model);
}

/* A model of one node from x to y, opset 13. */
static struct buf one_node(struct buf node) {
    struct buf g = graph_msg(&node, 1);
    return model_msg(&g, 7, 13);
}

static const struct value *named(const struct graph *g, const char *name) {
    int id = graph_find_value(g, name);
    if (id < 0)
        fail_msg("no value '%s'", name);
    return &g->values[id];
}

/* ---- round trip ------------------------------------------------------------------------------ */

static void fill_index(void *context, int64_t first, int64_t count, float *out) {
    (void)context;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)(first + i);
}

static void write_model(const char *path) {
    struct cohort_error err = {0};
    struct onnx_writer *w = NULL;
    const int64_t ints[] = {1, -2, (int64_t)1 << 40};
    const float floats[] = {0.5f, -3};
    const struct onnx_attr attrs[] = {
        {.name = "an_int", .kind = ATTR_INT, .i = -7},
        {.name = "a_float", .kind = ATTR_FLOAT, .f = 0.25f},
        {.name = "a_string", .kind = ATTR_STRING, .s = "SAME_UPPER"},
        {.name = "ints", .kind = ATTR_INTS, .ints = ints, .count = 3},
        {.name = "floats", .kind = ATTR_FLOATS, .floats = floats, .count = 2},
        {.name = "no_ints", .kind = ATTR_INTS, .count = 0},
        {.name = "a_zero", .kind = ATTR_INT, .i = 0},
        {.name = "empty", .kind = ATTR_STRING, .s = ""},
    };
    int64_t axes[] = {5, -6};
    struct tensor small = {.type = DT_I64, .shape = shape_of(1, (int64_t[]){2}), .data = axes};
    struct shape x = shape_of(4, (int64_t[]){-1, 3, 8, 8}), w1 = shape_of(1, (int64_t[]){10}),
                 w2 = shape_of(3, (int64_t[]){3, 100, 101}), unknown = {.rank = -1};
    assert_int_equal(onnx_writer_create(&w, "net", 13, &err), COHORT_OK);
    assert_int_equal(onnx_writer_input(w, "x", DT_F32, &x, &err), COHORT_OK);
    assert_int_equal(onnx_writer_input(w, "n", DT_I64, &(struct shape){.rank = 0}, &err),
                     COHORT_OK);
    assert_int_equal(onnx_writer_output(w, "y", DT_F32, &x, &err), COHORT_OK);
    assert_int_equal(onnx_writer_output(w, "sum", DT_F32, &unknown, &err), COHORT_OK);
    assert_int_equal(onnx_writer_node(w, "first", "Relu", (const char *[]){"x"}, 1,
                                      (const char *[]){"a"}, 1, attrs, 8, &err),
                     COHORT_OK);
    assert_int_equal(onnx_writer_node(w, "second", "Clip", (const char *[]){"a", NULL, "w1"}, 3,
                                      (const char *[]){"y"}, 1, NULL, 0, &err),
                     COHORT_OK);
    assert_int_equal(onnx_writer_node(w, "", "Sum", (const char *[]){"a", "y", "w2", "n"}, 4,
                                      (const char *[]){"sum"}, 1, NULL, 0, &err),
                     COHORT_OK);
    assert_int_equal(onnx_writer_weights(w, "w1", &w1, fill_index, NULL, &err), COHORT_OK);
    assert_int_equal(onnx_writer_weights(w, "w2", &w2, fill_index, NULL, &err), COHORT_OK);
    assert_int_equal(onnx_writer_tensor(w, "axes", &small, &err), COHORT_OK);
    assert_int_equal(onnx_writer_save(w, path, &err), COHORT_OK);
    onnx_writer_destroy(&w);
}

static void check_attrs(const struct node *n) {
    int count;
    assert_int_equal(n->attr_count, 8);
    assert_true(node_attr_int(n, "an_int", 0) == -7);
    assert_true(node_attr_int(n, "a_zero", 5) == 0);
    assert_true(node_attr_float(n, "a_float", 0) == 0.25f);
    assert_string_equal(node_attr_string(n, "a_string", "?"), "SAME_UPPER");
    assert_string_equal(node_attr_string(n, "empty", "?"), "");
    const int64_t *ints = node_attr_ints(n, "ints", &count);
    assert_true(count == 3 && ints[0] == 1 && ints[1] == -2 && ints[2] == (int64_t)1 << 40);
    const float *floats = node_attr_floats(n, "floats", &count);
    assert_true(count == 2 && floats[0] == 0.5f && floats[1] == -3);
    assert_non_null(node_attr_ints(n, "no_ints", &count));
    assert_int_equal(count, 0);
}

static void check_model(const struct graph *g, bool borrowed) {
    assert_string_equal(g->name, "net");
    assert_int_equal(g->opset, 13);
    assert_int_equal(g->node_count, 3);
    assert_int_equal(g->input_count, 2);
    assert_int_equal(g->output_count, 2);
    const struct value *x = &g->values[g->inputs[0]], *n = &g->values[g->inputs[1]];
    assert_string_equal(x->name, "x");
    assert_true(x->type == DT_F32 && x->shape.rank == 4 && x->shape.dim[0] == -1 &&
                x->shape.dim[1] == 3 && x->producer == -1 && !x->is_constant);
    assert_true(n->type == DT_I64 && n->shape.rank == 0);
    assert_string_equal(g->values[g->outputs[0]].name, "y");
    assert_string_equal(g->values[g->outputs[1]].name, "sum");
    assert_int_equal(named(g, "y")->producer, 1);
    assert_int_equal(named(g, "y")->uses, 2);
    assert_string_equal(g->nodes[0].name, "first");
    assert_string_equal(g->nodes[0].op->name, "Relu");
    assert_int_equal(g->nodes[0].opset, 13);
    check_attrs(&g->nodes[0]);
    assert_int_equal(g->nodes[1].in_count, 3);
    assert_int_equal(g->nodes[1].in[1], -1);
    assert_string_equal(g->nodes[2].name, "Sum#2");
    const struct value *w1 = named(g, "w1"), *w2 = named(g, "w2"), *axes = named(g, "axes");
    assert_true(w1->is_constant && w1->type == DT_F32 && w1->constant.owned);
    assert_true(tensor_f32(&w1->constant)[9] == 9);
    assert_int_equal(w2->constant.owned, !borrowed);
    assert_int_equal(shape_count(&w2->shape), 30300);
    float last;
    tensor_load_f32(&w2->constant, 30299, 1, &last);
    assert_true(last == 30299.0f);
    assert_true(axes->type == DT_I64 && tensor_i64(&axes->constant)[1] == -6);
}

static void test_round_trip(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct graph *g = NULL;
    char path[64], *bytes = NULL;
    size_t size;
    snprintf(path, sizeof path, "/tmp/cohort_test_onnx_model.%ld.onnx", (long)getpid());
    write_model(path);
    assert_int_equal(onnx_load(&g, path, &err), COHORT_OK);
    check_model(g, true);
    graph_destroy(&g);
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, &err), COHORT_OK);
    assert_int_equal(onnx_load_memory(&g, bytes, size, NULL, &err), COHORT_OK);
    memset(bytes, 0xa5, size); /* nothing borrows from memory */
    mem_free(bytes);
    check_model(g, false);
    graph_destroy(&g);
    for (long n = 1;; n++) { /* the n-th allocation fails */
        mem_fail_at(n);
        enum cohort_code code = onnx_load(&g, path, &err);
        mem_fail_at(0);
        if (code == COHORT_OK) {
            assert_true(n > 40);
            break;
        }
        if (code != COHORT_ERR_MEMORY || mem_live_blocks() != 0)
            fail_msg("allocation %ld: %s, %ld blocks left", n, err.message, mem_live_blocks());
    }
    graph_destroy(&g);
    unlink(path);
    assert_int_equal(onnx_load(&g, path, &err), COHORT_ERR_IO);
    assert_non_null(strstr(err.message, path));
}

/* ---- oddities that must be taken ------------------------------------------------------------- */

static void test_initializer_that_is_an_input(void **state) {
    (void)state;
    struct buf node = node_msg("n", "Add", "x,w", "y");
    struct buf graph = graph_msg(&node, 1);
    struct buf weights = weights_msg("w", 3), input = value_msg("w", 1, 1, (int64_t[]){3});
    msg_in(&graph, GRAPH_INPUT, &input); /* before the initializer, as IR 3 has it */
    msg_in(&graph, GRAPH_INITIALIZER, &weights);
    struct buf model = model_msg(&graph, 3, 7);
    struct graph *g = load(&model);
    assert_int_equal(g->input_count, 1);
    assert_string_equal(g->values[g->inputs[0]].name, "x");
    assert_true(named(g, "w")->is_constant);
    graph_destroy(&g);
}

static void test_optional_names(void **state) {
    (void)state;
    struct buf node = node_msg("n", "Clip", "x,,", "y");
    struct buf model = one_node(node);
    struct graph *g = load(&model);
    assert_int_equal(g->nodes[0].in_count, 1); /* nothing behind the last name */
    graph_destroy(&g);
    node = node_msg("n", "Dropout", "x", "y,,");
    model = one_node(node);
    g = load(&model);
    assert_int_equal(g->nodes[0].out_count, 1);
    graph_destroy(&g);
    node = node_msg("n", "Dropout", "x", ",y"); /* only the second output is wanted */
    model = one_node(node);
    g = load(&model);
    assert_int_equal(g->nodes[0].out_count, 2);
    assert_int_equal(g->nodes[0].out[0], -1);
    graph_destroy(&g);
}

static void test_input_shapes(void **state) {
    (void)state;
    struct buf node = node_msg("n", "Relu", "x", "y");
    struct buf graph = graph_msg(&node, 1), in = {0};
    in = value_msg("open", 10, 3, (int64_t[]){-1, 0, 5});
    msg_in(&graph, GRAPH_INPUT, &in);
    in = value_msg("scalar", 7, 0, NULL);
    msg_in(&graph, GRAPH_INPUT, &in);
    in = value_msg("any", 9, -1, NULL);
    msg_in(&graph, GRAPH_INPUT, &in);
    /* a dimension of neither value nor name, and one that an exporter gave as -1 */
    struct buf dim = {0}, shape = {0}, tensor = {0}, type = {0};
    msg_in(&shape, SHAPE_DIM, &dim);
    wire_put_int(&dim, DIM_VALUE, -1);
    msg_in(&shape, SHAPE_DIM, &dim);
    wire_put_int(&tensor, TENSOR_TYPE_ELEM, 1);
    msg_in(&tensor, TENSOR_TYPE_SHAPE, &shape);
    msg_in(&type, TYPE_TENSOR, &tensor);
    in = (struct buf){0};
    wire_put_text(&in, VALUE_INFO_NAME, "two");
    msg_in(&in, VALUE_INFO_TYPE, &type);
    msg_in(&graph, GRAPH_INPUT, &in);
    struct buf model = model_msg(&graph, 7, 13);
    struct graph *g = load(&model);
    assert_int_equal(g->input_count, 5);
    const struct value *v = named(g, "open");
    assert_true(v->type == DT_F16 && v->shape.rank == 3 && v->shape.dim[0] == -1 &&
                v->shape.dim[1] == 0 && v->shape.dim[2] == 5);
    assert_int_equal(named(g, "scalar")->shape.rank, 0);
    assert_int_equal(named(g, "any")->shape.rank, -1);
    assert_int_equal(named(g, "any")->type, DT_BOOL);
    v = named(g, "two");
    assert_true(v->shape.rank == 2 && v->shape.dim[0] == -1 && v->shape.dim[1] == -1);
    graph_destroy(&g);
}

/* IR 3 files do not say what type an attribute has. */
static void test_untyped_attributes(void **state) {
    (void)state;
    struct buf node = node_msg("n", "Relu", "x", "y"), a, t;
    a = attr_msg("i", 0);
    wire_put_int(&a, ATTRIBUTE_I, 3);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    a = attr_msg("f", 0);
    wire_put_float(&a, ATTRIBUTE_F, 0.5f);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    a = attr_msg("s", 0);
    wire_put_text(&a, ATTRIBUTE_S, "text");
    msg_in(&node, NODE_ATTRIBUTE, &a);
    a = attr_msg("ints", 0);
    wire_put_bytes(&a, ATTRIBUTE_INTS, "\x01\x80\x01", 3); /* packed: 1, 128 */
    wire_put_int(&a, ATTRIBUTE_INTS, -1);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    a = attr_msg("floats", 0);
    wire_put_float(&a, ATTRIBUTE_FLOATS, 1);
    wire_put_bytes(&a, ATTRIBUTE_FLOATS, "\0\0\x80\x3f\0\0\0\x40", 8);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    a = attr_msg("strings", 0);
    wire_put_text(&a, ATTRIBUTE_STRINGS, "one");
    wire_put_text(&a, ATTRIBUTE_STRINGS, "");
    msg_in(&node, NODE_ATTRIBUTE, &a);
    a = attr_msg("t", 0);
    t = weights_msg("", 2);
    msg_in(&a, ATTRIBUTE_T, &t);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    a = attr_msg("nothing", 0); /* says nothing: left out */
    msg_in(&node, NODE_ATTRIBUTE, &a);
    struct buf graph = graph_msg(&node, 1);
    struct buf model = model_msg(&graph, 3, 7);
    struct graph *g = load(&model);
    const struct node *n = &g->nodes[0];
    int count;
    assert_int_equal(n->attr_count, 7);
    assert_true(node_attr_int(n, "i", 0) == 3);
    assert_true(node_attr_float(n, "f", 0) == 0.5f);
    assert_string_equal(node_attr_string(n, "s", "?"), "text");
    const int64_t *ints = node_attr_ints(n, "ints", &count);
    assert_true(count == 3 && ints[0] == 1 && ints[1] == 128 && ints[2] == -1);
    const float *floats = node_attr_floats(n, "floats", &count);
    assert_true(count == 3 && floats[0] == 1 && floats[1] == 1 && floats[2] == 2);
    const struct attr *strings = node_attr(n, "strings");
    assert_true(strings->kind == ATTR_STRINGS && strings->count == 2);
    assert_string_equal(strings->strings[0], "one");
    assert_string_equal(strings->strings[1], "");
    const struct attr *tensor = node_attr(n, "t");
    assert_true(tensor->kind == ATTR_TENSOR && tensor_f32(&tensor->tensor)[1] == 1);
    graph_destroy(&g);
}

/* Typed attributes whose value is zero are left out by proto3 writers. */
static void test_defaulted_attributes(void **state) {
    (void)state;
    struct buf node = node_msg("n", "Relu", "x", "y"), a;
    static const char *const names[] = {"f", "i", "s"};
    for (int type = 1; type <= 3; type++) {
        a = attr_msg(names[type - 1], type);
        msg_in(&node, NODE_ATTRIBUTE, &a);
    }
    a = attr_msg("ints", ATTRIBUTE_TYPE_INTS);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    struct buf model = one_node(node);
    struct graph *g = load(&model);
    const struct node *n = &g->nodes[0];
    assert_true(node_attr_float(n, "f", 1) == 0);
    assert_true(node_attr_int(n, "i", 1) == 0);
    assert_string_equal(node_attr_string(n, "s", "?"), "");
    assert_true(node_attr(n, "ints")->kind == ATTR_INTS && node_attr(n, "ints")->count == 0);
    graph_destroy(&g);
}

static void test_opsets(void **state) {
    (void)state;
    static const struct {
        int64_t ir, opset;
        int expected;
    } cases[] = {{7, 13, 13}, {0, 0, 8},   {3, 0, 8},  {4, 0, 9},    {6, 0, 11},
                 {9, 0, 20},  {99, 0, 23}, {-5, 0, 8}, {3, 999, 999}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf node = node_msg("n", "Relu", "x", "y");
        struct buf graph = graph_msg(&node, 1);
        struct buf model = model_msg(&graph, cases[i].ir, cases[i].opset);
        struct graph *g = load(&model);
        assert_int_equal(g->opset, cases[i].expected);
        assert_int_equal(g->nodes[0].opset, cases[i].expected);
        graph_destroy(&g);
    }
    /* "ai.onnx" is the default domain by its long name; other domains are beside the point */
    struct buf node = node_msg("n", "Relu", "x", "y"), import = {0};
    wire_put_text(&node, NODE_DOMAIN, "ai.onnx");
    struct buf graph = graph_msg(&node, 1);
    struct buf model = model_msg(&graph, 8, 0);
    wire_put_text(&import, OPSET_DOMAIN, "ai.onnx");
    wire_put_int(&import, OPSET_VERSION, 15);
    msg_in(&model, MODEL_OPSET_IMPORT, &import);
    wire_put_text(&import, OPSET_DOMAIN, "com.example");
    wire_put_int(&import, OPSET_VERSION, 3);
    msg_in(&model, MODEL_OPSET_IMPORT, &import);
    struct graph *g = load(&model);
    assert_int_equal(g->opset, 15);
    graph_destroy(&g);
}

static void test_order(void **state) {
    (void)state;
    struct buf nodes[] = {
        node_msg("d", "Add", "c,b", "y"), node_msg("c", "Relu", "b", "c"),
        node_msg("a", "Relu", "x", "a"),  node_msg("b", "Relu", "a", "b"),
        node_msg("e", "Relu", "a", "e"),
    };
    struct buf graph = graph_msg(nodes, 5);
    struct buf model = model_msg(&graph, 7, 13);
    struct graph *g = load(&model);
    assert_int_equal(g->node_count, 5);
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            assert_true(graph_value(g, g->nodes[i].in[k])->producer < i);
    assert_string_equal(g->nodes[4].name, "e");
    assert_string_equal(g->values[g->outputs[0]].name, "y");
    assert_int_equal(named(g, "y")->producer, 3);
    graph_destroy(&g);

    struct buf straight[] = {
        node_msg("3", "Relu", "x", "c"),
        node_msg("1", "Relu", "x", "a"),
        node_msg("2", "Relu", "x", "b"),
        node_msg("4", "Sum", "a,b,c", "y"),
    };
    graph = graph_msg(straight, 4); /* in order already: stays as it is */
    model = model_msg(&graph, 7, 13);
    g = load(&model);
    for (int i = 0; i < 4; i++)
        assert_string_equal(g->nodes[i].name, ((const char *[]){"3", "1", "2", "4"})[i]);
    graph_destroy(&g);

    struct buf chain[3000]; /* deep and backwards: no recursion, no quadratic time */
    for (int i = 0; i < 3000; i++) {
        char in[16], out[16];
        snprintf(in, sizeof in, i == 2999 ? "x" : "v%d", i + 1);
        snprintf(out, sizeof out, i == 0 ? "y" : "v%d", i);
        chain[i] = node_msg(NULL, "Relu", in, out);
    }
    graph = graph_msg(chain, 3000);
    model = model_msg(&graph, 7, 13);
    g = load(&model);
    assert_string_equal(g->nodes[0].name, "Relu#2999");
    assert_string_equal(g->nodes[2999].name, "Relu#0");
    graph_destroy(&g);
}

static void test_outputs(void **state) {
    (void)state;
    struct buf graph = graph_msg(NULL, 0), weights = weights_msg("y", 2), out = {0};
    msg_in(&graph, GRAPH_INITIALIZER, &weights);
    out = value_msg("x", 1, -1, NULL); /* an input, and a constant, as outputs */
    msg_in(&graph, GRAPH_OUTPUT, &out);
    struct buf model = model_msg(&graph, 7, 13);
    struct graph *g = load(&model);
    assert_int_equal(g->output_count, 2);
    assert_true(g->values[g->outputs[0]].is_constant);
    assert_int_equal(g->outputs[1], g->inputs[0]);
    assert_int_equal(named(g, "x")->uses, 1);
    graph_destroy(&g);
}

/* ---- Constant nodes -------------------------------------------------------------------------- */

static struct buf constant_model(struct buf *attr) {
    struct buf node = node_msg("k", "Constant", NULL, "y");
    if (attr != NULL)
        msg_in(&node, NODE_ATTRIBUTE, attr);
    return one_node(node);
}

static struct graph *load_constant(struct buf attr) {
    struct buf model = constant_model(&attr);
    struct graph *g = load(&model);
    assert_int_equal(g->node_count, 0);
    assert_true(g->values[g->outputs[0]].is_constant);
    return g;
}

static void test_constants(void **state) {
    (void)state;
    struct buf a = attr_msg("value", ATTRIBUTE_TYPE_TENSOR), t = weights_msg("any", 3);
    msg_in(&a, ATTRIBUTE_T, &t);
    struct graph *g = load_constant(a);
    assert_true(named(g, "y")->shape.dim[0] == 3);
    assert_true(tensor_f32(&named(g, "y")->constant)[2] == 2);
    graph_destroy(&g);
    a = attr_msg("value_float", ATTRIBUTE_TYPE_FLOAT);
    wire_put_float(&a, ATTRIBUTE_F, 2.5f);
    g = load_constant(a);
    assert_true(named(g, "y")->type == DT_F32 && named(g, "y")->shape.rank == 0);
    assert_true(tensor_f32(&named(g, "y")->constant)[0] == 2.5f);
    graph_destroy(&g);
    a = attr_msg("value_int", ATTRIBUTE_TYPE_INT);
    wire_put_int(&a, ATTRIBUTE_I, -4);
    g = load_constant(a);
    assert_true(named(g, "y")->type == DT_I64 && named(g, "y")->shape.rank == 0);
    assert_true(tensor_i64(&named(g, "y")->constant)[0] == -4);
    graph_destroy(&g);
    a = attr_msg("value_floats", ATTRIBUTE_TYPE_FLOATS);
    wire_put_float(&a, ATTRIBUTE_FLOATS, 1);
    wire_put_float(&a, ATTRIBUTE_FLOATS, -1);
    g = load_constant(a);
    assert_true(named(g, "y")->shape.rank == 1 && named(g, "y")->shape.dim[0] == 2);
    assert_true(tensor_f32(&named(g, "y")->constant)[1] == -1);
    graph_destroy(&g);
    a = attr_msg("value_ints", ATTRIBUTE_TYPE_INTS);
    g = load_constant(a); /* an empty list */
    assert_true(named(g, "y")->type == DT_I64 && named(g, "y")->shape.dim[0] == 0);
    graph_destroy(&g);

    struct buf model;
    a = attr_msg("value_string", ATTRIBUTE_TYPE_STRING);
    model = constant_model(&a);
    expect_error(&model, COHORT_ERR_UNSUPPORTED, "node 'k' (Constant): a constant given by");
    a = attr_msg("sparse_value", ATTRIBUTE_TYPE_SPARSE_TENSOR);
    model = constant_model(&a);
    expect_error(&model, COHORT_ERR_UNSUPPORTED, "'sparse_value': a sparse tensor");
    a = attr_msg("value", ATTRIBUTE_TYPE_INT);
    model = constant_model(&a);
    expect_error(&model, COHORT_ERR_UNSUPPORTED, "not supported: 'value'");
    a = attr_msg("value", ATTRIBUTE_TYPE_TENSOR);
    model = constant_model(&a);
    expect_error(&model, COHORT_ERR_FORMAT, "without a tensor");
    model = constant_model(NULL);
    expect_error(&model, COHORT_ERR_FORMAT, "without a value");
    struct buf node = node_msg("k", "Constant", NULL, "y");
    for (int i = 0; i < 2; i++) {
        a = attr_msg("value_int", ATTRIBUTE_TYPE_INT);
        msg_in(&node, NODE_ATTRIBUTE, &a);
    }
    model = one_node(node);
    expect_error(&model, COHORT_ERR_FORMAT, "two values");
    node = node_msg("k", "Constant", NULL, NULL);
    model = one_node(node);
    expect_error(&model, COHORT_ERR_FORMAT, "without an output");
}

/* ---- models that are wrong ------------------------------------------------------------------- */

static void test_bad_files(void **state) {
    (void)state;
    struct buf model = {0};
    expect_error(&model, COHORT_ERR_FORMAT, "empty");
    buf_bytes(&model, "version https://git-lfs.github.com/spec/v1\noid ", 47);
    expect_error(&model, COHORT_ERR_FORMAT, "Git LFS pointer");
    model = (struct buf){0};
    buf_bytes(&model, "\x89PNG\r\n\x1a\n", 8);
    expect_error(&model, COHORT_ERR_FORMAT, "byte 0");
    model = tensor_msg("t", 1, 0, NULL);
    expect_error(&model, COHORT_ERR_FORMAT, "not an ONNX model");
    struct buf node = node_msg("n", "Relu", "x", "y");
    struct buf graph = graph_msg(&node, 1), second = {0};
    model = model_msg(&graph, 7, 13);
    msg_in(&model, MODEL_GRAPH, &second);
    expect_error(&model, COHORT_ERR_FORMAT, "a second graph");
    node = node_msg("n", "Relu", "x", "y");
    graph = graph_msg(&node, 1);
    model = model_msg(&graph, 7, -1);
    expect_error(&model, COHORT_ERR_FORMAT, "opset -1");
    graph = (struct buf){0};
    wire_put_text(&graph, GRAPH_NAME, "g");
    model = model_msg(&graph, 7, 13);
    expect_error(&model, COHORT_ERR_FORMAT, "no output");
}

static void expect_nodes_error(struct buf *nodes, int count, enum cohort_code code,
                               const char *words) {
    struct buf graph = graph_msg(nodes, count);
    struct buf model = model_msg(&graph, 7, 13);
    expect_error(&model, code, words);
}

static void expect_node_error(struct buf node, enum cohort_code code, const char *words) {
    expect_nodes_error(&node, 1, code, words);
}

static void test_bad_names(void **state) {
    (void)state;
    struct buf two[2] = {node_msg("first", "Relu", "x", "y"), node_msg("again", "Relu", "x", "y")};
    expect_nodes_error(two, 2, COHORT_ERR_FORMAT,
                       "node 'again' (Relu): output 'y': the name is taken");
    expect_node_error(node_msg("n", "Relu", "x", "x"), COHORT_ERR_FORMAT,
                      "output 'x': the name is taken");
    expect_node_error(node_msg("n", "Relu", "z", "y"), COHORT_ERR_FORMAT,
                      "node 'n' (Relu): its input 0, 'z', is produced by nothing");
    expect_node_error(node_msg("n", "Relu", "x", "z"), COHORT_ERR_FORMAT,
                      "output 'y' is produced by nothing");
    expect_node_error(node_msg("", "Relu", "x", NULL), COHORT_ERR_FORMAT,
                      "node 'Relu#0': 0 outputs");
    expect_node_error(node_msg("n", "Mul", NULL, NULL), COHORT_ERR_FORMAT, "0 inputs");
    expect_node_error(node_msg("n", "Relu", "x", ","), COHORT_ERR_FORMAT, "0 outputs");
    expect_node_error(node_msg("n", "Relu", "x", "y,z"), COHORT_ERR_FORMAT, "2 outputs");
    expect_node_error(node_msg("n", "Relu", "x,x", "y"), COHORT_ERR_FORMAT,
                      "2 inputs, but Relu takes 1 to 1");
    expect_node_error(node_msg("n", "Add", "x", "y"), COHORT_ERR_FORMAT, "1 inputs");
    expect_node_error(node_msg("n", "Sum", NULL, "y"), COHORT_ERR_FORMAT, "1 or more");
    expect_node_error(node_msg("n", "Sum", "x,,x", "y"), COHORT_ERR_FORMAT,
                      "its input 1, which Sum needs, is left out");
    expect_node_error(node_msg("n", "Add", ",x", "y"), COHORT_ERR_FORMAT, "is left out");
    expect_node_error(node_msg("n", NULL, "x", "y"), COHORT_ERR_FORMAT, "without an operator");
    struct buf nul = node_msg("n", "Relu", "x", "y");
    wire_put_bytes(&nul, NODE_INPUT, "a\0b", 3);
    expect_node_error(nul, COHORT_ERR_FORMAT, "zero byte");

    struct buf node = node_msg("n", "Relu", "x", "y");
    struct buf graph = graph_msg(&node, 1);
    for (int i = 0; i < 2; i++) {
        struct buf weights = weights_msg("w", 2);
        msg_in(&graph, GRAPH_INITIALIZER, &weights);
    }
    struct buf model = model_msg(&graph, 7, 13);
    expect_error(&model, COHORT_ERR_FORMAT, "initializer 'w': the name is taken");
    node = node_msg("n", "Relu", "x", "y");
    graph = graph_msg(&node, 1);
    struct buf again = value_msg("x", 1, 0, NULL);
    msg_in(&graph, GRAPH_INPUT, &again);
    model = model_msg(&graph, 7, 13);
    expect_error(&model, COHORT_ERR_FORMAT, "input 'x': the name is taken");
    node = node_msg("n", "Relu", "x", "y");
    graph = graph_msg(&node, 1);
    struct buf nameless = weights_msg("", 2);
    msg_in(&graph, GRAPH_INITIALIZER, &nameless);
    model = model_msg(&graph, 7, 13);
    expect_error(&model, COHORT_ERR_FORMAT, "initializer without a name");
}

static void test_cycles(void **state) {
    (void)state;
    expect_node_error(node_msg("self", "Add", "x,y", "y"), COHORT_ERR_FORMAT,
                      "node 'self' (Add): it depends on its own output");
    struct buf ring[] = {node_msg("in", "Relu", "x", "a"), node_msg("r1", "Add", "a,d", "b"),
                         node_msg("r2", "Relu", "b", "c"), node_msg("r3", "Relu", "c", "d"),
                         node_msg("out", "Relu", "d", "y")};
    expect_nodes_error(ring, 5, COHORT_ERR_FORMAT, "node 'r1' (Add): it depends on its own output");
}

static void test_unknown_operators(void **state) {
    (void)state;
    expect_node_error(
        node_msg("odd", "Reluu", "x", "y"), COHORT_ERR_UNSUPPORTED,
        "node 'odd' (Reluu): operator Reluu (opset 13) is not supported; closest: Relu; "
        "`cohort kernels --operators` lists");
    struct buf foreign = node_msg("f", "Relu", "x", "y");
    wire_put_text(&foreign, NODE_DOMAIN, "com.microsoft");
    expect_node_error(foreign, COHORT_ERR_UNSUPPORTED, "operator com.microsoft.Relu (opset 1)");
    struct buf node = node_msg("n", "HardSwish", "x", "y");
    struct buf graph = graph_msg(&node, 1);
    struct buf model = model_msg(&graph, 7, 13); /* known, but from opset 14 on */
    expect_error(&model, COHORT_ERR_UNSUPPORTED,
                 "operator HardSwish is supported for opset 14 and up, but the model has opset 13");
    int count;
    const struct op_desc *const *table = op_table(&count);
    for (int i = 0; i < count; i++) /* what passes make is never read */
        if (table[i]->flags & OP_INTERNAL) {
            node = node_msg("n", table[i]->name, "x", "y");
            wire_put_text(&node, NODE_DOMAIN, table[i]->domain);
            expect_node_error(node, COHORT_ERR_UNSUPPORTED, "is not supported");
        }
    node = node_msg("line\nbreak", "No\nOp", "x", "y");
    expect_node_error(node, COHORT_ERR_UNSUPPORTED, "node 'line?break' (No?Op)");
}

static void test_bad_attributes(void **state) {
    (void)state;
    struct buf node = node_msg("n", "Relu", "x", "y"), a = attr_msg("body", ATTRIBUTE_TYPE_GRAPH);
    wire_put_bytes(&a, ATTRIBUTE_G, "", 0);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    expect_node_error(node, COHORT_ERR_UNSUPPORTED,
                      "node 'n' (Relu): attribute 'body': a subgraph as an attribute");
    node = node_msg("n", "Relu", "x", "y");
    a = attr_msg("a", ATTRIBUTE_TYPE_INT);
    wire_put_float(&a, ATTRIBUTE_F, 1);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    expect_node_error(node, COHORT_ERR_FORMAT, "declared as an int, but it holds a float");
    node = node_msg("n", "Relu", "x", "y");
    a = attr_msg("a", 0);
    wire_put_float(&a, ATTRIBUTE_F, 1);
    wire_put_int(&a, ATTRIBUTE_I, 1);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    expect_node_error(node, COHORT_ERR_FORMAT, "values of several types");
    node = node_msg("n", "Relu", "x", "y");
    a = attr_msg("", ATTRIBUTE_TYPE_INT);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    expect_node_error(node, COHORT_ERR_FORMAT, "has no name");
    node = node_msg("n", "Relu", "x", "y");
    for (int i = 0; i < 2; i++) {
        a = attr_msg("twin", ATTRIBUTE_TYPE_INT);
        msg_in(&node, NODE_ATTRIBUTE, &a);
    }
    expect_node_error(node, COHORT_ERR_FORMAT, "attribute 'twin' is given twice");
    node = node_msg("n", "Relu", "x", "y");
    a = attr_msg("a", 99);
    msg_in(&node, NODE_ATTRIBUTE, &a);
    expect_node_error(node, COHORT_ERR_UNSUPPORTED, "something unknown");
    node = node_msg("n", "Relu", "x", "y");
    a = attr_msg("a", ATTRIBUTE_TYPE_INT);
    wire_put_text(&a, ATTRIBUTE_REF_NAME, "outer");
    msg_in(&node, NODE_ATTRIBUTE, &a);
    expect_node_error(node, COHORT_ERR_UNSUPPORTED, "a function's attribute");
    node = node_msg("n", "Relu", "x", "y");
    for (int i = 0; i < 257; i++) {
        char name[16];
        snprintf(name, sizeof name, "a%d", i);
        a = attr_msg(name, ATTRIBUTE_TYPE_INT);
        msg_in(&node, NODE_ATTRIBUTE, &a);
    }
    expect_node_error(node, COHORT_ERR_UNSUPPORTED, "more than 256 attributes");
    node = node_msg("n", "Sum", NULL, "y");
    for (int i = 0; i < NODE_IN_MAX + 1; i++)
        wire_put_text(&node, NODE_INPUT, "x");
    expect_node_error(node, COHORT_ERR_UNSUPPORTED, "more than 4096 inputs");
}

static void expect_input_error(struct buf input, enum cohort_code code, const char *words) {
    struct buf node = node_msg("n", "Relu", "x", "y");
    struct buf graph = graph_msg(&node, 1);
    msg_in(&graph, GRAPH_INPUT, &input);
    struct buf model = model_msg(&graph, 7, 13);
    expect_error(&model, code, words);
}

static void test_bad_inputs(void **state) {
    (void)state;
    const int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int64_t huge[] = {(int64_t)1 << 40, -1, (int64_t)1 << 40}, negative[] = {3, -2};
    expect_input_error(value_msg("q", 1, 9, nine), COHORT_ERR_UNSUPPORTED,
                       "input 'q': more than 8 dimensions");
    expect_input_error(value_msg("q", 1, 3, huge), COHORT_ERR_FORMAT, "impossibly large");
    expect_input_error(value_msg("q", 1, 2, negative), COHORT_ERR_FORMAT, "a dimension of -2");
    expect_input_error(value_msg("q", 8, 0, NULL), COHORT_ERR_UNSUPPORTED, "string");
    expect_input_error(value_msg("q", 0, 0, NULL), COHORT_ERR_FORMAT, "type is missing");
    expect_input_error(value_msg("", 1, 0, NULL), COHORT_ERR_FORMAT, "input without a name");
    struct buf sequence = value_msg("q", 0, 0, NULL), type = {0};
    wire_put_bytes(&type, TYPE_SEQUENCE, "", 0);
    msg_in(&sequence, VALUE_INFO_TYPE, &type);
    expect_input_error(sequence, COHORT_ERR_UNSUPPORTED, "only tensors");
    struct buf node = node_msg("n", "Relu", "x", "y");
    struct buf graph = graph_msg(&node, 1);
    wire_put_bytes(&graph, GRAPH_SPARSE_INITIALIZER, "", 0);
    struct buf model = model_msg(&graph, 7, 13);
    expect_error(&model, COHORT_ERR_UNSUPPORTED, "sparse initializer");
}

static void test_nothing_left(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_initializer_that_is_an_input),
        cmocka_unit_test(test_optional_names),
        cmocka_unit_test(test_input_shapes),
        cmocka_unit_test(test_untyped_attributes),
        cmocka_unit_test(test_defaulted_attributes),
        cmocka_unit_test(test_opsets),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_cycles),
        cmocka_unit_test(test_unknown_operators),
        cmocka_unit_test(test_bad_attributes),
        cmocka_unit_test(test_bad_inputs),
        cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests_name("onnx_model", tests, NULL, NULL);
}
