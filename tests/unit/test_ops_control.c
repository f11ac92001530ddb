/* If, Loop and Scan: read from ONNX messages, with values of the graphs around their bodies, run
 * through passes and executor, sent to another board, and refused.
 *
 * Values are typed by their first letter: c a bool, n an int64 (both scalars), s a float scalar,
 * m a float matrix [3, 2], all others float [2]. */
#include "tests/support/onnx_build.h"
#include "tests/support/testpool.h"

#include "base/clock.h"
#include "base/mem.h"
#include "exec/exec.h"
#include "graph/onnx/onnx.h"
#include "graph/op.h"
#include "graph/pass.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- building -------------------------------------------------------------------------------- */

static int64_t type_of(const char *name) {
    return name[0] == 'c' ? DT_BOOL : name[0] == 'n' ? DT_I64 : DT_F32;
}

static struct buf typed_value(const char *name) {
    int64_t type = type_of(name);
    int rank = type != DT_F32 || name[0] == 's' ? 0 : name[0] == 'm' ? 2 : 1;
    static const int64_t dims[2][2] = {{2}, {3, 2}};
    return value_msg(name, type, rank, dims[rank == 2]);
}

static void put_values(struct buf *g, uint32_t field, const char *names) {
    char list[200], *rest = NULL;
    strcpy(list, names);
    for (char *p = strtok_r(list, ",", &rest); p != NULL; p = strtok_r(NULL, ",", &rest)) {
        struct buf v = typed_value(p);
        msg_in(g, field, &v);
    }
}

static struct buf body(const char *inputs, const char *outputs) {
    struct buf g = {0};
    put_values(&g, GRAPH_INPUT, inputs);
    put_values(&g, GRAPH_OUTPUT, outputs);
    return g;
}

static void put_node(struct buf *g, const char *op, const char *in, const char *out) {
    struct buf n = node_msg(NULL, op, in, out);
    msg_in(g, GRAPH_NODE, &n);
}

/* An initializer of one number. */
static void put_number(struct buf *g, const char *name, double value) {
    int64_t type = type_of(name);
    struct buf data = {0};
    struct buf t = tensor_msg(name, type, 0, NULL);
    if (type == DT_BOOL)
        buf_u8(&data, value != 0);
    else if (type == DT_I64)
        buf_u64(&data, (uint64_t)(int64_t)value);
    else
        buf_f32(&data, (float)value);
    msg_in(&t, TENSOR_RAW_DATA, &data);
    msg_in(g, GRAPH_INITIALIZER, &t);
}

static void put_body(struct buf *node, const char *name, struct buf *graph) {
    struct buf a = attr_msg(name, ATTRIBUTE_TYPE_GRAPH);
    msg_in(&a, ATTRIBUTE_G, graph);
    msg_in(node, NODE_ATTRIBUTE, &a);
}

static void put_int(struct buf *node, const char *name, int64_t i) {
    struct buf a = attr_msg(name, ATTRIBUTE_TYPE_INT);
    wire_put_int(&a, ATTRIBUTE_I, i);
    msg_in(node, NODE_ATTRIBUTE, &a);
}

/* A body of one node. */
static struct buf simple(const char *op, const char *in, const char *out) {
    struct buf g = body("", out);
    put_node(&g, op, in, out);
    return g;
}

static void put_if(struct buf *g, const char *condition, const char *out, struct buf then,
                   struct buf otherwise) {
    struct buf n = node_msg("choice", "If", condition, out);
    put_body(&n, "then_branch", &then);
    put_body(&n, "else_branch", &otherwise);
    msg_in(g, GRAPH_NODE, &n);
}

/* ---- running --------------------------------------------------------------------------------- */

static struct cohort_error err;

static enum cohort_code open_graph(struct buf *g, struct graph **net) {
    struct buf m = model_msg(g, 8, 16);
    err = (struct cohort_error){0};
    enum cohort_code code = onnx_load_memory(net, m.data, m.size, NULL, &err);
    buf_release(&m);
    return code;
}

static struct graph *finish(struct buf *g) {
    struct graph *net = NULL;
    test_must(open_graph(g, &net), &err);
    test_must(graph_finish(net, &(struct pass_options){0}, &err), &err);
    return net;
}

static int count_ops(const struct graph *g, const char *op) {
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        count += strcmp(g->nodes[i].op->name, op) == 0;
    return count;
}

/* Input values one behind the other, as wide as the inputs' types say; output 0 must be `want`. */
static void expect(const struct graph *g, const double *values, const double *want, int count) {
    struct tensor in[4] = {{0}}, out[4] = {{0}};
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        test_must(tensor_init(&in[i], v->type, &v->shape, &err), &err);
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_set_f64(&in[i], k, *values++);
    }
    test_must(exec_run_graph(g, test_pool, &(struct exec_options){0}, 0, in, out, &err), &err);
    assert_int_equal(shape_count(&out[0].shape), count);
    for (int k = 0; k < count; k++)
        if (tensor_get_f64(&out[0], k) != want[k])
            fail_msg("element %d is %g, not %g", k, tensor_get_f64(&out[0], k), want[k]);
    for (int i = 0; i < 4; i++) {
        tensor_release(&in[i]);
        tensor_release(&out[i]);
    }
}

/* Here, and after a journey to another board. */
static void gives(struct graph *g, const double *values, const double *want, int count) {
    struct buf b = {0};
    struct graph *copy = NULL;
    char signature[2][33];
    expect(g, values, want, count);
    test_must(graph_serialize(g, &b, &err), &err);
    test_must(graph_deserialize(&copy, b.data, b.size, &err), &err);
    test_must(graph_signature(g, signature[0], &err), &err);
    test_must(graph_signature(copy, signature[1], &err), &err);
    assert_string_equal(signature[0], signature[1]);
    expect(copy, values, want, count);
    for (size_t size = 0; size < b.size; size += 7) { /* cut off anywhere, it is refused */
        struct graph *part = NULL;
        assert_int_not_equal(graph_deserialize(&part, b.data, size, NULL), COHORT_OK);
        assert_null(part);
    }
    graph_destroy(&copy);
    buf_release(&b);
}

#define VALUES(...) ((const double[]){__VA_ARGS__})

/* ---- If -------------------------------------------------------------------------------------- */

static void if_at_run_time(void **state) {
    (void)state;
    struct buf g = body("c,x", "y");
    put_if(&g, "c", "y", simple("Add", "x,x", "a"), simple("Neg", "x", "b"));
    struct graph *net = finish(&g);
    assert_int_equal(count_ops(net, "If"), 1);
    assert_int_equal(net->nodes[0].in_count, 3); /* the condition, and x for each branch */
    gives(net, VALUES(1, 3, -4), VALUES(6, -8), 2);
    gives(net, VALUES(0, 3, -4), VALUES(-3, 4), 2);
    graph_destroy(&net);
}

static void if_by_constant(void **state) {
    (void)state;
    for (int then = 0; then < 2; then++) {
        struct buf g = body("x", "y");
        put_number(&g, "c", then);
        put_if(&g, "c", "z", simple("Add", "x,x", "a"), simple("Neg", "x", "b"));
        put_node(&g, "Abs", "z", "y");
        struct graph *net = finish(&g);
        assert_int_equal(count_ops(net, "If"), 0);
        assert_int_equal(count_ops(net, "Add"), then);
        gives(net, VALUES(3, -4), then ? VALUES(6, 8) : VALUES(3, 4), 2);
        graph_destroy(&net);
    }
}

/* A branch that gives an initializer, a value from outside, and one value twice. */
static void if_gives_what_it_does_not_make(void **state) {
    (void)state;
    struct buf g = body("x", "y"), then = body("", "s,x,a,a"), other = body("", "s,x,b,b");
    put_number(&g, "c", 1);
    put_number(&then, "s", 5);
    put_node(&then, "Neg", "x", "a");
    put_number(&other, "s", 6);
    put_node(&other, "Abs", "x", "b");
    put_if(&g, "c", "s0,p,q,r", then, other);
    put_node(&g, "Mul", "p,s0", "t"); /* 5x */
    put_node(&g, "Sub", "q,r", "u");  /* -x + x */
    put_node(&g, "Sub", "t,q", "v");  /* 6x */
    put_node(&g, "Add", "v,u", "y");
    struct graph *net = finish(&g);
    assert_int_equal(count_ops(net, "If"), 0);
    gives(net, VALUES(1, -2), VALUES(6, -12), 2);
    graph_destroy(&net);
}

/* The inner If reads x from two graphs further out. */
static void if_within_if(void **state) {
    (void)state;
    struct buf g = body("c,c2,x", "y"), then = body("", "d");
    put_if(&then, "c2", "d", simple("Add", "x,x", "a"), simple("Neg", "x", "b"));
    put_if(&g, "c", "y", then, simple("Abs", "x", "e"));
    struct graph *net = finish(&g);
    gives(net, VALUES(1, 1, 3, -4), VALUES(6, -8), 2);
    gives(net, VALUES(1, 0, 3, -4), VALUES(-3, 4), 2);
    gives(net, VALUES(0, 0, 3, -4), VALUES(3, 4), 2);
    graph_destroy(&net);
}

/* Branches of other shapes: the memory is found at run time. */
static void if_of_two_shapes(void **state) {
    (void)state;
    struct buf g = body("c,x", "y"), then = body("", "a");
    struct buf n = node_msg(NULL, "Concat", "x,x", "a");
    put_int(&n, "axis", 0);
    msg_in(&then, GRAPH_NODE, &n);
    put_if(&g, "c", "y", then, simple("Neg", "x", "b"));
    struct graph *net = finish(&g);
    gives(net, VALUES(1, 3, -4), VALUES(3, -4, 3, -4), 4);
    gives(net, VALUES(0, 3, -4), VALUES(-3, 4), 2);
    graph_destroy(&net);
}

/* ---- Loop ------------------------------------------------------------------------------------ */

/* a = a + x from a, at most n times and while the sum of a is below s; all a. */
static struct buf loop_of(const char *node_inputs, const char *graph_inputs) {
    struct buf g = body(graph_inputs, "y"), b = body("ni,ci,a", "co,b,e");
    struct buf sum = node_msg(NULL, "ReduceSum", "b", "s1"), n;
    put_node(&b, "Add", "a,x", "b");
    put_node(&b, "Identity", "b", "e");
    put_int(&sum, "keepdims", 0);
    msg_in(&b, GRAPH_NODE, &sum);
    put_number(&b, "s2", 10);
    put_node(&b, "Less", "s1,s2", "co");
    n = node_msg("loop", "Loop", node_inputs, "last,y");
    put_body(&n, "body", &b);
    msg_in(&g, GRAPH_NODE, &n);
    return g;
}

static void loop(void **state) {
    (void)state;
    struct buf g = loop_of("n,,x", "n,x");
    struct graph *net = finish(&g);
    gives(net, VALUES(2, 1, 0), VALUES(2, 0, 3, 0), 4);
    gives(net, VALUES(9, 1, 2), VALUES(2, 4, 3, 6, 4, 8), 6); /* 6, 9, 12: no fourth */
    gives(net, VALUES(0, 1, 2), VALUES(0), 0);
    gives(net, VALUES(-3, 1, 2), VALUES(0), 0);
    graph_destroy(&net);
    g = loop_of(",c,x", "c,x"); /* no count, only the condition */
    net = finish(&g);
    gives(net, VALUES(1, 2, 1), VALUES(4, 2, 6, 3, 8, 4), 6);
    gives(net, VALUES(0, 2, 1), VALUES(0), 0);
    graph_destroy(&net);
}

static void loop_without_end(void **state) {
    (void)state;
    struct buf g = body("x", "y"), b = body("ni,ci,a", "ci,b");
    put_node(&b, "Neg", "a", "b");
    struct buf n = node_msg("loop", "Loop", ",,x", "y");
    put_body(&n, "body", &b);
    msg_in(&g, GRAPH_NODE, &n);
    struct graph *net = finish(&g);
    struct tensor in = {0}, out = {0};
    test_must(tensor_init(&in, DT_F32, &(struct shape){1, {2}}, &err), &err);
    assert_int_equal(exec_run_graph(net, test_pool, &(struct exec_options){0}, 0, &in, &out, &err),
                     COHORT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "more than 65536 steps"));
    tensor_release(&in);
    graph_destroy(&net);
}

/* Loops of loops of loops, of so many steps each: what a body negates, in the innermost. */
static struct buf nested_loops(int depth, int steps) {
    struct buf b = body("ni,ci,a", "ci,b");
    put_number(&b, "nm", steps);
    if (depth == 0) {
        put_node(&b, "Neg", "a", "b");
        return b;
    }
    struct buf inner = nested_loops(depth - 1, steps), n = node_msg("loop", "Loop", "nm,,a", "b");
    put_body(&n, "body", &inner);
    msg_in(&b, GRAPH_NODE, &n);
    return b;
}

static struct graph *open_nested(int depth, int steps) {
    struct buf g = body("", "y"), b = nested_loops(depth - 1, steps);
    struct graph *net = NULL;
    put_number(&g, "nm", steps);
    put_number(&g, "sx", 1);
    struct buf n = node_msg("loop", "Loop", "nm,,sx", "y");
    put_body(&n, "body", &b);
    msg_in(&g, GRAPH_NODE, &n);
    test_must(open_graph(&g, &net), &err);
    test_must(graph_finish(net, &(struct pass_options){0}, &err), &err);
    return net;
}

/* What each loop did twice, once for the shapes, the innermost of 14 would do 16384 times too
 * often, which is more than is allowed. */
static void work_is_done_once(void **state) {
    (void)state;
    struct graph *net = open_nested(8, 4);
    struct tensor out = {0};
    test_must(exec_run_graph(net, test_pool, &(struct exec_options){0}, 0, NULL, &out, &err), &err);
    assert_true(tensor_f32(&out)[0] == 1); /* an even number of times */
    tensor_release(&out);
    graph_destroy(&net);
}

/* Opening a file takes seconds at most, whatever its loops would compute, and so does running. */
static void loops_of_loops(void **state) {
    (void)state;
    const int64_t begin = clock_ns();
    struct graph *net = open_nested(3, 60000);
    struct tensor out = {0};
    assert_int_equal(exec_run_graph(net, test_pool, &(struct exec_options){0}, 0, NULL, &out, &err),
                     COHORT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "more than 2e+10 operations"));
    assert_in_range(clock_ns() - begin, 0, 100 * INT64_C(1000000000));
    graph_destroy(&net);
}

/* ---- Scan ------------------------------------------------------------------------------------ */

static void scan(void **state) {
    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        struct buf g = body("a,m", "mo"), b = body("p,q", "r,t");
        put_node(&b, "Add", "p,q", "r"); /* running sums of m's rows, from a */
        put_node(&b, "Identity", "r", "t");
        struct buf n = node_msg("scan", "Scan", "a,m", "last,mo"), dir;
        put_int(&n, "num_scan_inputs", 1);
        put_body(&n, "body", &b);
        dir = attr_msg("scan_input_directions", ATTRIBUTE_TYPE_INTS);
        wire_put_int(&dir, ATTRIBUTE_INTS, backwards);
        msg_in(&n, NODE_ATTRIBUTE, &dir);
        dir = attr_msg("scan_output_directions", ATTRIBUTE_TYPE_INTS);
        wire_put_int(&dir, ATTRIBUTE_INTS, backwards);
        msg_in(&n, NODE_ATTRIBUTE, &dir);
        msg_in(&g, GRAPH_NODE, &n);
        struct graph *net = finish(&g);
        gives(net, VALUES(10, 20, 1, 2, 3, 4, 5, 6),
              backwards ? VALUES(19, 32, 18, 30, 15, 26) : VALUES(11, 22, 14, 26, 19, 32), 6);
        graph_destroy(&net);
    }
}

/* Along the second axis, to the second axis. */
static void scan_along_columns(void **state) {
    (void)state;
    struct buf g = body("m", "mo"), b = {0};
    struct buf v = value_msg("q", DT_F32, 1, (int64_t[]){3});
    msg_in(&b, GRAPH_INPUT, &v);
    v = value_msg("r", DT_F32, 1, (int64_t[]){3});
    msg_in(&b, GRAPH_OUTPUT, &v);
    put_node(&b, "Neg", "q", "r");
    struct buf n = node_msg("scan", "Scan", "m", "mo"), axis;
    put_int(&n, "num_scan_inputs", 1);
    put_body(&n, "body", &b);
    axis = attr_msg("scan_input_axes", ATTRIBUTE_TYPE_INTS);
    wire_put_int(&axis, ATTRIBUTE_INTS, 1);
    msg_in(&n, NODE_ATTRIBUTE, &axis);
    axis = attr_msg("scan_output_axes", ATTRIBUTE_TYPE_INTS);
    wire_put_int(&axis, ATTRIBUTE_INTS, -1);
    msg_in(&n, NODE_ATTRIBUTE, &axis);
    msg_in(&g, GRAPH_NODE, &n);
    struct graph *net = finish(&g);
    gives(net, VALUES(1, 2, 3, 4, 5, 6), VALUES(-1, -2, -3, -4, -5, -6), 6);
    graph_destroy(&net);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refuses(struct buf *g, const char *words) {
    struct graph *net = NULL;
    enum cohort_code code = open_graph(g, &net);
    if (code == COHORT_OK)
        code = graph_finish(net, &(struct pass_options){0}, &err);
    assert_int_not_equal(code, COHORT_OK);
    if (strstr(err.message, words) == NULL)
        fail_msg("%s", err.message);
    graph_destroy(&net);
}

static void misfits(void **state) {
    (void)state;
    struct buf g = body("c,x", "y"), empty = {0};
    put_if(&g, "c", "y", simple("Add", "x,z", "a"), simple("Neg", "x", "b"));
    refuses(&g, "'z', is produced by nothing");
    g = body("c,x", "y");
    put_if(&g, "c", "y", simple("Add", "x,x", "a"), empty);
    refuses(&g, "the graph has no output");
    g = body("c,x", "y");
    put_if(&g, "c", "y,z", simple("Add", "x,x", "a"), simple("Neg", "x", "b"));
    refuses(&g, "does not fit the node");
    g = body("x", "y");
    put_if(&g, "x", "y", simple("Add", "x,x", "a"), simple("Neg", "x", "b"));
    refuses(&g, "not one bool");
    g = body("c,x", "y");
    struct buf n = node_msg("choice", "If", "c", "y");
    msg_in(&g, GRAPH_NODE, &n);
    refuses(&g, "then_branch is missing");
    g = body("c,x", "y"); /* a branch that reads what is made of the If's own result */
    put_if(&g, "c", "z", simple("Neg", "y", "a"), simple("Neg", "x", "b"));
    put_node(&g, "Abs", "z", "y");
    refuses(&g, "cycle");
    g = simple("Neg", "x", "deep");
    for (int depth = 0; depth < 12; depth++) {
        struct buf outer = body(depth == 11 ? "c,x" : "", "deep");
        put_if(&outer, "c", "deep", g, simple("Abs", "x", "b"));
        g = outer;
    }
    refuses(&g, "more than 8 deep");
    g = body("x", "y");
    n = node_msg("scan", "Scan", "x", "y");
    put_int(&n, "num_scan_inputs", 2);
    msg_in(&g, GRAPH_NODE, &n);
    refuses(&g, "num_scan_inputs is 2 with 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(if_at_run_time),
        cmocka_unit_test(if_by_constant),
        cmocka_unit_test(if_gives_what_it_does_not_make),
        cmocka_unit_test(if_within_if),
        cmocka_unit_test(if_of_two_shapes),
        cmocka_unit_test(loop),
        cmocka_unit_test(loop_without_end),
        cmocka_unit_test(work_is_done_once),
        cmocka_unit_test(loops_of_loops),
        cmocka_unit_test(scan),
        cmocka_unit_test(scan_along_columns),
        cmocka_unit_test(misfits),
    };
    return cmocka_run_group_tests(tests, test_pool_start, test_pool_stop);
}
