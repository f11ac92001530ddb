/* A graph as bytes and back, signatures, and bytes that are not a graph. */
#include "tests/support/graphtest.h"

#include "base/hash.h"
#include "base/mem.h"
#include "graph/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A network with something of everything: maps, a residual, a weight scale, int64, a large weight.
 */
static void build(struct gt *t, int width) {
    gt_begin(t, 13);
    int x = gt_input(t, "x", DIMS(2, 3, 10, 8));
    int n = gt_input_of(t, "n", DT_I64, DIMS(2));
    int y = gt_node(t, "Conv", "pads=1,1,1,1", 2, x, gt_random(t, DIMS(width, 3, 3, 3)));
    struct shape c = DIMS(width);
    y = gt_node(t, "BatchNormalization", "", 5, y, gt_random(t, c), gt_random(t, c),
                gt_random(t, c), gt_positive(t, c));
    y = gt_node(t, "Relu", "", 1, y);
    int z = gt_node(t, "Conv", "pads=1,1,1,1", 2, y, gt_random(t, DIMS(width, width, 3, 3)));
    z = gt_node(t, "Relu", "", 1, gt_node(t, "Add", "", 2, z, y));
    z = gt_node(t, "Resize", "mode=linear", 4, z, -1, -1, gt_list(t, 4, 2, width, 5, 4));
    gt_output(t, gt_node(t, "Transpose", "perm=0,2,3,1", 1, z));
    z = gt_node(t, "GlobalAveragePool", "", 1, z);
    z = gt_node(t, "Gemm", "", 2, gt_node(t, "Flatten", "", 1, z), gt_random(t, DIMS(width, 6)));
    gt_output(t, z);
    gt_output(t, gt_node(t, "Add", "", 2, n, gt_list(t, 2, 3, 4)));
}

static void finish(struct gt *t) {
    if (graph_finish(t->g, NULL, &t->err) != COHORT_OK)
        fail_msg("%s", t->err.message);
}

static void pack(struct gt *t, struct buf *b) {
    if (graph_serialize(t->g, b, &t->err) != COHORT_OK)
        fail_msg("%s", t->err.message);
}

static void test_there_and_back(void **state) {
    (void)state;
    struct gt t;
    struct graph *copy = NULL;
    struct buf first = {0}, second = {0};
    char before[33], after[33];
    build(&t, 20);
    finish(&t);
    pack(&t, &first);
    if (graph_deserialize(&copy, first.data, first.size, &t.err) != COHORT_OK)
        fail_msg("%s", t.err.message);
    gt_check_links(copy);
    gt_check_forms(copy);
    assert_int_equal(graph_signature(t.g, before, &t.err), COHORT_OK);
    assert_int_equal(graph_signature(copy, after, &t.err), COHORT_OK);
    assert_string_equal(before, after);
    assert_int_equal(graph_serialize(copy, &second, &t.err), COHORT_OK);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    int large = 0;
    for (int i = 0; i < copy->value_count; i++) {
        const struct value *a = graph_value(t.g, i);
        struct value *b = graph_value(copy, i);
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->form, b->form);
        assert_int_equal(a->producer, b->producer);
        if (!a->is_constant)
            continue;
        size_t bytes = tensor_bytes(&a->constant);
        if (bytes <= GRAPH_INLINE_BYTES) {
            assert_memory_equal(a->constant.data, b->constant.data, bytes);
            continue;
        }
        char hex[HASH_TEXT_BYTES];
        large++;
        hash_bytes(a->constant.data, bytes, hex);
        assert_null(b->constant.data);
        assert_string_equal(b->content_hash, hex);
        assert_int_equal(tensor_copy(&b->constant, &a->constant, &t.err),
                         COHORT_OK); /* it arrives */
    }
    assert_int_equal(large, 2); /* the two convolutions' weights; scales and biases are small */
    /* The copy computes the same, and asks for the same rows. */
    struct gt u = {.g = copy, .seed = 1};
    struct tensor in[2], a[3], b[3];
    assert_int_equal(
        tensor_init(&in[0], DT_F32, &graph_value(copy, copy->inputs[0])->shape, &t.err), COHORT_OK);
    assert_int_equal(
        tensor_init(&in[1], DT_I64, &graph_value(copy, copy->inputs[1])->shape, &t.err), COHORT_OK);
    for (int64_t i = 0; i < shape_count(&in[0].shape); i++)
        tensor_f32(&in[0])[i] = (float)(i % 17) - 8;
    gt_run(&t, in, a);
    gt_run(&u, in, b);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(a[i].data, b[i].data, tensor_bytes(&a[i]));
        tensor_release(&a[i]);
        tensor_release(&b[i]);
    }
    for (int i = 0; i < copy->node_count; i++)
        for (int k = 0; k < copy->nodes[i].in_count; k++) {
            struct rows r = rows_needed(&copy->nodes[i], k, (struct rows){3, 5});
            struct rows s = rows_needed(&t.g->nodes[i], k, (struct rows){3, 5});
            assert_true(r.begin == s.begin && r.end == s.end);
        }
    tensor_release(&in[0]);
    tensor_release(&in[1]);
    graph_destroy(&copy);
    buf_release(&first);
    buf_release(&second);
    gt_end(&t);
}

static void signature_of(uint64_t seed, int width, const char *name, char hex[33]) {
    struct gt t;
    build(&t, width);
    struct tensor *w = &graph_value(t.g, t.g->nodes[0].in[1])->constant;
    for (int64_t i = 0; i < shape_count(&w->shape); i++)
        tensor_f32(w)[i] += (float)seed;
    if (name != NULL) {
        struct value *out = graph_value(t.g, t.g->outputs[0]);
        mem_free(out->name);
        out->name = mem_strdup(name);
    }
    finish(&t);
    assert_int_equal(graph_signature(t.g, hex, &t.err), COHORT_OK);
    assert_int_equal(strlen(hex), 32);
    gt_end(&t);
}

/* Structure, shapes and names count, weights do not. */
static void test_signature(void **state) {
    (void)state;
    char a[33], b[33], c[33], d[33];
    signature_of(0, 20, NULL, a);
    signature_of(5, 20, NULL, b);
    signature_of(0, 24, NULL, c);
    signature_of(0, 20, "other", d);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_string_not_equal(a, d);
}

/* An epilogue, an attribute. */
static void test_signature_sees_details(void **state) {
    (void)state;
    struct gt t;
    char before[33], after[33];
    build(&t, 20);
    finish(&t);
    assert_int_equal(graph_signature(t.g, before, &t.err), COHORT_OK);
    struct epilogue *e = &t.g->nodes[0].epilogue;
    assert_int_equal(e->act, ACT_RELU);
    e->act = ACT_TANH;
    assert_int_equal(graph_signature(t.g, after, &t.err), COHORT_OK);
    assert_string_not_equal(before, after);
    e->act = ACT_RELU;
    assert_int_equal(graph_signature(t.g, after, &t.err), COHORT_OK);
    assert_string_equal(before, after);
    assert_int_equal(node_set_int(&t.g->nodes[0], "group", 1, &t.err), COHORT_OK);
    assert_int_equal(graph_signature(t.g, after, &t.err), COHORT_OK);
    assert_string_not_equal(before, after);
    gt_end(&t);
}

/* Every prefix is refused, and so is a byte too many. */
static void test_truncated(void **state) {
    (void)state;
    struct gt t;
    struct buf b = {0};
    struct graph *g = NULL;
    build(&t, 20);
    finish(&t);
    pack(&t, &b);
    long live = mem_live_blocks();
    for (size_t size = 0; size < b.size; size++) {
        enum cohort_code code = graph_deserialize(&g, b.data, size, &t.err);
        if (code != COHORT_ERR_FORMAT)
            fail_msg("%zu of %zu bytes: code %d", size, b.size, (int)code);
        assert_null(g);
    }
    assert_int_equal(mem_live_blocks(), live);
    buf_u8(&b, 0);
    assert_int_equal(graph_deserialize(&g, b.data, b.size, &t.err), COHORT_ERR_FORMAT);
    buf_release(&b);
    gt_end(&t);
}

/* Any byte changed: refused, or a graph in which everything can still be asked. */
static void test_corrupted(void **state) {
    (void)state;
    struct gt t;
    struct buf b = {0};
    build(&t, 3);
    finish(&t);
    pack(&t, &b);
    int taken = 0, refused = 0;
    for (size_t at = 0; at < b.size; at++) {
        static const unsigned char flips[] = {0x01, 0x80, 0xff};
        for (int k = 0; k < 3; k++) {
            struct graph *g = NULL;
            b.data[at] ^= flips[k];
            enum cohort_code code = graph_deserialize(&g, b.data, b.size, &t.err);
            b.data[at] ^= flips[k];
            if (code != COHORT_OK) {
                assert_true(code == COHORT_ERR_FORMAT || code == COHORT_ERR_UNSUPPORTED ||
                            code == COHORT_ERR_SHAPE || code == COHORT_ERR_MEMORY);
                assert_null(g);
                refused++;
                continue;
            }
            taken++;
            struct rows *need = mem_zalloc((size_t)g->value_count, sizeof *need);
            assert_non_null(need);
            for (int i = 0; i < g->output_count; i++)
                need[g->outputs[i]] = (struct rows){0, 1};
            rows_of_segment(g, 0, g->node_count, need);
            mem_free(need);
            graph_destroy(&g);
        }
    }
    assert_true(taken > 100 && refused > 100);
    buf_release(&b);
    gt_end(&t);
}

static void test_other_versions(void **state) {
    (void)state;
    struct gt t;
    struct buf b = {0};
    struct graph *g = NULL;
    gt_begin(&t, 13);
    gt_output(&t, gt_node(&t, "Relu", "", 1, gt_input(&t, "x", DIMS(2, 3))));
    finish(&t);
    pack(&t, &b);
    b.data[4] ^= 2; /* the format's version */
    assert_int_equal(graph_deserialize(&g, b.data, b.size, &t.err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(t.err.message, "versions differ"));
    b.data[4] ^= 2;
    unsigned char *relu = memmem(b.data, b.size, "Relu", 4);
    assert_non_null(relu);
    memcpy(relu, "Rexu", 4);
    assert_int_equal(graph_deserialize(&g, b.data, b.size, &t.err), COHORT_ERR_UNSUPPORTED);
    assert_non_null(strstr(t.err.message, "Rexu"));
    buf_release(&b);
    gt_end(&t);
}

static void test_memory_runs_short(void **state) {
    (void)state;
    struct gt t;
    struct buf b = {0};
    struct graph *g = NULL;
    build(&t, 3);
    finish(&t);
    pack(&t, &b);
    long before = mem_alloc_calls();
    assert_int_equal(graph_deserialize(&g, b.data, b.size, &t.err), COHORT_OK);
    long calls = mem_alloc_calls() - before;
    graph_destroy(&g);
    for (long nth = 1; nth <= calls; nth++) {
        long live = mem_live_blocks();
        mem_fail_at(nth);
        enum cohort_code code = graph_deserialize(&g, b.data, b.size, &t.err);
        mem_fail_at(0);
        assert_int_equal(code, COHORT_ERR_MEMORY);
        assert_int_equal(mem_live_blocks(), live);
    }
    struct buf c = {0};
    mem_fail_at(1);
    assert_int_equal(graph_serialize(t.g, &c, &t.err), COHORT_ERR_MEMORY);
    mem_fail_at(0);
    buf_release(&c);
    buf_release(&b);
    gt_end(&t);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_signature),
        cmocka_unit_test(test_signature_sees_details),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_corrupted),
        cmocka_unit_test(test_other_versions),
        cmocka_unit_test(test_memory_runs_short),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("serialize", tests, NULL, NULL);
}
