/* Which nodes may run on feature maps, and which rows of their inputs they need: map_ok() and
 * rows() of elementwise, reducing and multiplying operators, on one-node graphs. */
#include "base/mem.h"
#include "exec/lower.h"
#include "graph/op.h"
#include "graph/pass.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct operand {
    bool constant;
    enum dtype type;
    struct shape shape; /* rank -2: there is no such operand */
};
#define NONE                                                                                       \
    {                                                                                              \
        false, DT_NONE, {                                                                          \
            -2, {                                                                                  \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define MAP(...)                                                                                   \
    {                                                                                              \
        false, DT_F32, {                                                                           \
            4, {                                                                                   \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    }
#define MAP3(...)                                                                                  \
    {                                                                                              \
        false, DT_F32, {                                                                           \
            3, {                                                                                   \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    }
#define CONST1(c)                                                                                  \
    {                                                                                              \
        true, DT_F32, {                                                                            \
            1, {                                                                                   \
                c                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define CONST3(...)                                                                                \
    {                                                                                              \
        true, DT_F32, {                                                                            \
            3, {                                                                                   \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    }
#define CONST4(...)                                                                                \
    {                                                                                              \
        true, DT_F32, {                                                                            \
            4, {                                                                                   \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    }
#define NUMBER                                                                                     \
    {                                                                                              \
        true, DT_F32, {                                                                            \
            0, {                                                                                   \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

struct one_node {
    struct graph *g;
    struct node *n;
};

/* A graph of one node with its shapes inferred; attributes: up to two integers. */
static struct one_node build(const char *op, int opset, const struct operand *operands, int count,
                             const char *name, int64_t i) {
    struct one_node one = {0};
    struct graph *g = NULL;
    int ids[4], out;
    assert_int_equal(graph_create(&g, "one", NULL), COHORT_OK);
    g->opset = opset;
    for (int k = 0; k < count; k++) {
        struct tensor t = {0};
        if (operands[k].constant) {
            assert_int_equal(tensor_init(&t, operands[k].type, &operands[k].shape, NULL),
                             COHORT_OK);
            assert_int_equal(graph_add_constant(g, "", &t, &ids[k], NULL), COHORT_OK);
            continue;
        }
        assert_int_equal(graph_add_value(g, "", &ids[k], NULL), COHORT_OK);
        graph_value(g, ids[k])->type = operands[k].type;
        graph_value(g, ids[k])->shape = operands[k].shape;
    }
    assert_int_equal(graph_add_value(g, "out", &out, NULL), COHORT_OK);
    assert_int_equal(graph_add_node(g, -1, "node", op_find("", op, opset), ids, count, &out, 1,
                                    NULL, 0, &one.n, NULL),
                     COHORT_OK);
    one.n->opset = opset;
    if (name != NULL)
        assert_int_equal(node_set_int(one.n, name, i, NULL), COHORT_OK);
    struct tensor seen[4], result = {0};
    const struct tensor *in[4] = {NULL};
    for (int k = 0; k < count; k++) {
        const struct value *v = graph_value(g, ids[k]);
        seen[k] =
            v->is_constant ? v->constant : (struct tensor){.type = v->type, .shape = v->shape};
        in[k] = &seen[k];
    }
    struct cohort_error err = {0};
    if (op_infer(one.n, in, &result, &err) != COHORT_OK)
        fail_msg("%s: %s", op, err.message);
    graph_value(g, out)->type = result.type;
    graph_value(g, out)->shape = result.shape;
    one.g = g;
    return one;
}

/* May it run on maps?  If so, an executor must be there that does it. */
static bool runs_on_maps(struct one_node *one) {
    struct graph *g = one->g;
    if (one->n->op->map_ok == NULL || !one->n->op->map_ok(g, one->n))
        return false;
    graph_value(g, one->n->out[0])->form = FORM_MAP;
    for (int i = 0; i < one->n->in_count; i++)
        if (!graph_value(g, one->n->in[i])->is_constant)
            graph_value(g, one->n->in[i])->form = FORM_MAP;
    if (lowering_find(g, one->n) == lowering_reference &&
        strcmp(one->n->op->name, "Dropout") != 0) /* which pass_remove_noops() takes out */
        fail_msg("%s has no lowering on maps", one->n->op->name);
    return true;
}

/* ---- elementwise ----------------------------------------------------------------------------- */

struct map_case {
    const char *op;
    int opset;
    struct operand operands[3];
    bool ok;
};

static const struct map_case cases[] = {
    {"Relu", 14, {MAP(1, 20, 5, 7), NONE}, true},
    {"Relu", 14, {MAP3(1, 20, 5), NONE}, true},
    {"Relu", 14, {{false, DT_F32, {2, {1, 20}}}, NONE}, false},
    {"Relu", 14, {{false, DT_I32, {4, {1, 20, 5, 7}}}, NONE}, false},
    {"Relu", 14, {MAP(1, 0, 5, 7), NONE}, false},
    {"Log", 13, {MAP(1, 20, 5, 7), NONE}, true}, /* by its evaluator */
    {"Mish", 18, {MAP3(1, 20, 5), NONE}, true},
    {"IsNaN", 13, {MAP(1, 20, 5, 7), NONE}, false},
    {"Clip", 13, {MAP(1, 3, 5, 7), NUMBER, NUMBER}, true},
    {"Clip", 13, {MAP(1, 3, 5, 7), {false, DT_F32, {0, {0}}}, NONE}, false},
    {"PRelu", 13, {MAP(1, 3, 5, 7), CONST3(3, 1, 1), NONE}, true},
    {"PRelu", 13, {MAP(1, 3, 5, 7), CONST1(1), NONE}, true},
    {"PRelu", 13, {MAP(1, 3, 5, 7), CONST4(1, 3, 1, 1), NONE}, true},
    {"PRelu", 13, {MAP(1, 3, 5, 7), CONST3(3, 5, 7), NONE}, false},
    {"PRelu", 13, {MAP(1, 7, 5, 7), CONST1(7), NONE}, false}, /* along W */
    {"Add", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 5, 7), NONE}, true},
    {"Add", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 1, 1), NONE}, true},
    {"Add", 13, {MAP(2, 3, 1, 1), MAP(2, 3, 5, 7), NONE}, true},
    {"Add", 13, {MAP(2, 3, 5, 7), MAP(2, 1, 5, 7), NONE}, true},
    {"Add", 13, {MAP(2, 3, 5, 7), MAP(1, 3, 5, 7), NONE}, true},
    {"Add", 13, {MAP(2, 3, 5, 7), MAP3(3, 5, 7), NONE}, false}, /* its C would be N */
    {"Add", 13, {MAP(2, 3, 5, 7), NUMBER, NONE}, true},
    {"Sub", 13, {NUMBER, MAP(2, 3, 5, 7), NONE}, true},
    {"Mul", 13, {MAP(2, 3, 5, 7), CONST4(1, 3, 1, 1), NONE}, true},
    {"Mul", 13, {MAP(2, 3, 5, 7), CONST3(3, 1, 1), NONE}, true},
    {"Mul", 13, {MAP(2, 3, 5, 7), CONST4(1, 1, 5, 7), NONE}, false},
    {"Mul", 13, {MAP(1, 1, 5, 7), CONST3(3, 1, 1), NONE}, true}, /* one channel becomes three */
    {"Mul", 13, {MAP3(2, 3, 5), CONST1(5), NONE}, false},
    {"Div", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 5, 7), NONE}, true},
    {"Pow", 13, {MAP(2, 3, 5, 7), NUMBER, NONE}, true},
    {"Pow", 13, {MAP(2, 3, 5, 7), {true, DT_I64, {0, {0}}}, NONE}, false},
    {"Max", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 5, 7), NONE}, true},
    {"Sum", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 5, 7), NONE}, true},
    {"Sum", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 5, 7), MAP(2, 3, 5, 7)}, false},
    {"Mean", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 5, 7), NONE}, false},
    {"Equal", 13, {MAP(2, 3, 5, 7), MAP(2, 3, 5, 7), NONE}, false},
    {"Identity", 13, {MAP(2, 3, 5, 7), NONE}, true},
    {"Dropout", 7, {MAP(2, 3, 5, 7), NONE}, true},
};

static void test_map_ok(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const struct map_case *c = &cases[k];
        int count = 0;
        while (count < 3 && c->operands[count].shape.rank != -2 &&
               c->operands[count].type != DT_NONE)
            count++;
        struct one_node one = build(c->op, c->opset, c->operands, count, NULL, 0);
        bool ok = runs_on_maps(&one);
        if (ok != c->ok)
            fail_msg("case %zu: %s %s", k, c->op, ok ? "on maps" : "not on maps");
        graph_destroy(&one.g);
    }
}

static void test_map_attributes(void **state) {
    (void)state;
    static const struct operand map = MAP(1, 20, 5, 7), pixel = MAP(1, 20, 1, 1);
    static const struct {
        const char *op;
        int opset, axis;
        bool ok;
    } softmax[] = {{"Softmax", 13, 1, true},
                   {"Softmax", 13, -3, true},
                   {"Softmax", 13, -1, false},
                   {"Softmax", 11, 1, false},
                   {"LogSoftmax", 13, 1, true}};
    for (size_t k = 0; k < sizeof softmax / sizeof softmax[0]; k++) {
        struct one_node one =
            build(softmax[k].op, softmax[k].opset, &map, 1, "axis", softmax[k].axis);
        assert_int_equal(runs_on_maps(&one), softmax[k].ok);
        graph_destroy(&one.g);
    }
    struct one_node one = build("Softmax", 11, &pixel, 1, "axis", 1); /* coerced, but one pixel */
    assert_true(runs_on_maps(&one));
    graph_destroy(&one.g);

    static const struct {
        const char *op;
        int64_t axes[3];
        int count, keep;
        bool ok;
    } reduce[] = {{"ReduceMean", {2, 3}, 2, 1, true},     {"ReduceMax", {-1, 2}, 2, 1, true},
                  {"ReduceSum", {2, 3}, 2, 1, true},      {"ReduceMean", {2, 3}, 2, 0, false},
                  {"ReduceMean", {3}, 1, 1, false},       {"ReduceMax", {2}, 1, 1, false},
                  {"ReduceMean", {1, 2, 3}, 3, 1, false}, {"ReduceL2", {2, 3}, 2, 1, false}};
    for (size_t k = 0; k < sizeof reduce / sizeof reduce[0]; k++) {
        one = build(reduce[k].op, 11, &map, 1, "keepdims", reduce[k].keep);
        assert_int_equal(node_set_ints(one.n, "axes", reduce[k].axes, reduce[k].count, NULL),
                         COHORT_OK);
        bool ok = runs_on_maps(&one);
        assert_int_equal(ok, reduce[k].ok);
        graph_destroy(&one.g);
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The row map of input i as graph_finish() makes it. */
static struct rowmap row_map(struct one_node *one, int i) {
    struct cohort_error err = {0};
    if (pass_row_maps(one->g, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    return one->n->rowmap[i];
}

static bool is_identity(const struct rowmap *m) {
    return m->kind == ROWMAP_AFFINE && m->num == 1 && m->den == 1 && m->lo == 0 && m->hi == 0;
}

static void test_rows_of_tokens(void **state) {
    (void)state;
    static const struct {
        const char *op;
        struct operand operands[3];
        int count;
        const char *attr;
        int64_t i;
        int input;
        bool identity;
    } tokens[] = {
        {"MatMul", {MAP3(2, 9, 8), {true, DT_F32, {2, {8, 5}}}}, 2, NULL, 0, 0, true},
        {"MatMul", {MAP3(2, 9, 8), {false, DT_F32, {2, {8, 5}}}}, 2, NULL, 0, 0, true},
        {"MatMul", {MAP3(2, 9, 8), CONST1(8)}, 2, NULL, 0, 0, false},
        {"MatMul", {MAP3(2, 9, 8), CONST3(2, 8, 5)}, 2, NULL, 0, 0, false},
        {"Gemm", {{false, DT_F32, {2, {9, 8}}}, {true, DT_F32, {2, {8, 5}}}}, 2, NULL, 0, 0, true},
        {"Gemm",
         {{false, DT_F32, {2, {8, 9}}}, {true, DT_F32, {2, {8, 5}}}},
         2,
         "transA",
         1,
         0,
         false},
        {"Gemm",
         {{false, DT_F32, {2, {9, 8}}}, {true, DT_F32, {2, {8, 5}}}, {false, DT_F32, {2, {9, 5}}}},
         3,
         NULL,
         0,
         2,
         true},
        {"Gemm",
         {{false, DT_F32, {2, {9, 8}}}, {true, DT_F32, {2, {8, 5}}}, {false, DT_F32, {2, {1, 5}}}},
         3,
         NULL,
         0,
         2,
         false},
        {"LayerNormalization", {MAP3(2, 9, 8), CONST1(8)}, 2, "axis", -1, 0, true},
        {"LayerNormalization",
         {MAP3(2, 9, 8), {true, DT_F32, {2, {9, 8}}}},
         2,
         "axis",
         1,
         0,
         false},
        {"Softmax", {MAP3(2, 9, 8)}, 1, "axis", 2, 0, true},
        {"Softmax", {MAP3(2, 9, 8)}, 1, "axis", 1, 0, false},
        {"Add", {MAP3(2, 9, 8), MAP3(2, 9, 8)}, 2, NULL, 0, 1, true},
        {"Add", {MAP3(2, 9, 8), {false, DT_F32, {1, {8}}}}, 2, NULL, 0, 1, false},
    };
    for (size_t k = 0; k < sizeof tokens / sizeof tokens[0]; k++) {
        struct one_node one = build(tokens[k].op, 17, tokens[k].operands, tokens[k].count,
                                    tokens[k].attr, tokens[k].i);
        struct rowmap m = row_map(&one, tokens[k].input);
        if (is_identity(&m) != tokens[k].identity)
            fail_msg("case %zu: %s", k, tokens[k].op);
        graph_destroy(&one.g);
    }
}

static void test_rows_of_maps(void **state) {
    (void)state;
    static const struct operand map = MAP(2, 20, 5, 7);
    struct one_node one = build("Softmax", 13, &map, 1, "axis", 1);
    graph_value(one.g, one.n->in[0])->form = graph_value(one.g, one.n->out[0])->form = FORM_MAP;
    struct rowmap m = row_map(&one, 0);
    assert_true(is_identity(&m));
    assert_int_equal(m.in_height, 5);
    graph_destroy(&one.g);

    one = build("ReduceMean", 11, &map, 1, NULL, 0);
    assert_int_equal(node_set_ints(one.n, "axes", (const int64_t[]){2, 3}, 2, NULL), COHORT_OK);
    graph_value(one.g, one.n->out[0])->shape = (struct shape){4, {2, 20, 1, 1}};
    graph_value(one.g, one.n->in[0])->form = graph_value(one.g, one.n->out[0])->form = FORM_MAP;
    m = row_map(&one, 0);
    assert_int_equal(m.kind, ROWMAP_ALL);
    assert_int_equal(m.in_height, 5);
    assert_int_equal(m.out_height, 1);
    assert_false(m.one_image);
    graph_destroy(&one.g);

    /* A Gemm that reads a map, its Flatten absorbed: output row n needs image n, all of it. */
    static const struct operand fc[2] = {{false, DT_F32, {2, {2, 700}}},
                                         {true, DT_F32, {2, {700, 9}}}};
    one = build("Gemm", 13, fc, 2, NULL, 0);
    graph_value(one.g, one.n->in[0])->shape = (struct shape){4, {2, 20, 5, 7}};
    graph_value(one.g, one.n->in[0])->form = FORM_MAP;
    m = row_map(&one, 0);
    assert_int_equal(m.kind, ROWMAP_ALL);
    assert_int_equal(m.in_height, 5);
    assert_int_equal(m.out_height, 1);
    assert_true(node_flops(one.g, one.n) == 2.0 * 2 * 700 * 9);
    graph_destroy(&one.g);
}

static void test_flops(void **state) {
    (void)state;
    static const struct operand product[2] = {MAP3(2, 9, 8), {true, DT_F32, {2, {8, 5}}}};
    struct one_node one = build("MatMul", 13, product, 2, NULL, 0);
    assert_true(node_flops(one.g, one.n) == 2.0 * 2 * 9 * 8 * 5);
    graph_destroy(&one.g);
    static const struct operand maps[3] = {MAP(1, 3, 5, 7), MAP(1, 3, 5, 7), MAP(1, 3, 5, 7)};
    one = build("Sum", 13, maps, 3, NULL, 0);
    assert_true(node_flops(one.g, one.n) == 2.0 * 105);
    graph_destroy(&one.g);
    one = build("Relu", 13, maps, 1, NULL, 0);
    assert_true(node_flops(one.g, one.n) == 105);
    graph_destroy(&one.g);
}

/* No operator's map_ok() or flops() may depend on memory that is not there: every row on a map. */
static void test_every_operator_answers(void **state) {
    (void)state;
    int count, asked = 0;
    const struct op_desc *const *table = op_table(&count);
    for (int k = 0; k < count; k++)
        if (table[k]->flags & (OP_UNARY | OP_BINARY) && table[k]->domain[0] == 0) {
            static const struct operand maps[3] = {MAP(1, 3, 5, 7), MAP(1, 3, 5, 7),
                                                   MAP(1, 3, 5, 7)};
            const struct op_desc *op = table[k];
            if (strcmp(op->name, "Not") == 0 || strcmp(op->name, "And") == 0 ||
                strcmp(op->name, "Or") == 0 || strcmp(op->name, "Xor") == 0 ||
                strcmp(op->name, "Where") == 0 || strcmp(op->name, "Mod") == 0 ||
                strncmp(op->name, "Bit", 3) == 0)
                continue; /* not for floats */
            struct one_node one = build(op->name, op->since > 13 ? op->since : 13, maps,
                                        op->min_inputs, "to", DT_F32);
            asked += runs_on_maps(&one);
            assert_true(node_flops(one.g, one.n) >= 0);
            graph_destroy(&one.g);
        }
    assert_true(asked > 15);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_ok),         cmocka_unit_test(test_map_attributes),
        cmocka_unit_test(test_rows_of_tokens), cmocka_unit_test(test_rows_of_maps),
        cmocka_unit_test(test_flops),          cmocka_unit_test(test_every_operator_answers),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("ops_map", tests, NULL, NULL);
}
