/* Values on the wire: every row of maps of any shape there and back, against a plain conversion. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "exec/lower.h"
#include "exec/wire.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define HEIGHT 9
#define WIDTH  7

/* One program with the input's slot, which travels. */
struct scene {
    struct gt t;
    struct program *p;
    int slot, id;
    int64_t floats; /* of a row */
    int blocks;
};

static void open_scene(struct scene *s, int channels) {
    *s = (struct scene){0};
    gt_begin(&s->t, 13);
    int x = gt_input(&s->t, "x", DIMS(1, channels, HEIGHT, WIDTH));
    gt_output(&s->t, gt_node(&s->t, "MaxPool", "kernel_shape=1,1", 1, x));
    test_must(graph_finish(s->t.g, &(struct pass_options){0}, &s->t.err), &s->t.err);
    int *slots = mem_zalloc((size_t)s->t.g->value_count, sizeof *slots);
    assert_non_null(slots);
    test_must(exec_create(&s->p, s->t.g, test_pool, NULL, &s->t.err), &s->t.err);
    test_must(exec_add_graph(s->p, 0, slots, &s->t.err), &s->t.err);
    s->id = s->t.g->inputs[0];
    s->slot = slots[s->id];
    exec_slot_travels(s->p, s->slot);
    test_must(exec_prepare(s->p, &s->t.err), &s->t.err);
    mem_free(slots);
    s->floats = (int64_t)value_geometry(graph_value(s->t.g, s->id)).row_bytes / 4;
    s->blocks = channels >= BLOCK ? (channels + BLOCK - 1) / BLOCK : 1;
}

static void close_scene(struct scene *s) {
    exec_destroy(&s->p);
    gt_end(&s->t);
}

static float number(int64_t i) {
    static const float odd[] = {0.0f,     -0.0f,  1e-8f,    -1e-7f,    65504.0f, -65519.0f,
                                70000.0f, -1e30f, INFINITY, -INFINITY, NAN};
    if (i % 29 < (int64_t)(sizeof odd / sizeof odd[0]))
        return odd[i % 29];
    return (float)(i % 1009 - 500) * 0.37f;
}

static void fill(struct scene *s, bool tame) {
    float *x = exec_slot_data(s->p, s->slot);
    for (int64_t i = 0; i < HEIGHT * s->floats; i++)
        x[i] = tame ? (float)((i * 7919) % 2003 - 1000) * 0.013f : number(i);
}

/* Encoded in parts of the channels.  Rows [2, 8) out of memory that begins with row 1, into a slot
 * that was cleared. */
static int64_t there_and_back(struct scene *s, enum wire wire, int parts, float *want) {
    const struct rows rows = {2, 8};
    float *x = exec_slot_data(s->p, s->slot);
    size_t bytes = wire_row_bytes(s->t.g, s->id, wire);
    unsigned char *memory = mem_zalloc(8, bytes);
    int64_t saturated = 0;
    assert_non_null(memory);
    memset(memory, 0xee, 8 * bytes);
    memcpy(want, x, (size_t)(HEIGHT * s->floats) * sizeof *want);
    for (int part = parts; part-- > 0;)
        wire_encode(s->p, s->slot, rows, wire, part, parts, memory, 1, &saturated);
    assert_int_equal(wire_part_begin(s->t.g, s->id, wire, 0, parts), 0);
    assert_int_equal(wire_part_begin(s->t.g, s->id, wire, parts, parts), bytes);
    for (size_t i = 0; i < bytes; i++) /* rows 1 and 8 stay */
        assert_true(memory[i] == 0xee && memory[7 * bytes + i] == 0xee);
    for (int64_t i = 0; i < HEIGHT * s->floats; i++)
        x[i] = 123;
    wire_decode(s->p, s->slot, rows, wire, memory, 1);
    mem_free(memory);
    for (int64_t i = 0; i < HEIGHT * s->floats; i++)
        assert_true((i >= 2 * s->floats && i < 8 * s->floats) || x[i] == 123.0f);
    return saturated;
}

static const int channels[] = {1, 3, 15, 16, 20, 64};
#define SHAPES (sizeof channels / sizeof channels[0])

static void test_half(void **state) {
    (void)state;
    static float want[HEIGHT * WIDTH * 64];
    for (size_t k = 0; k < SHAPES; k++) {
        struct scene s;
        int64_t saturated = 0;
        open_scene(&s, channels[k]);
        assert_true(wire_converts(s.t.g, s.id, WIRE_F16));
        assert_int_equal(wire_row_bytes(s.t.g, s.id, WIRE_F16), s.floats * 2);
        fill(&s, false);
        int64_t said = there_and_back(&s, WIRE_F16, 1 + (int)k % 4, want);
        const float *got = exec_slot_data(s.p, s.slot);
        for (int64_t i = 2 * s.floats; i < 8 * s.floats; i++) {
            float half = half_to_float(float_to_half(want[i]));
            bool large = isinf(half);
            saturated += large;
            if (large)
                half = copysignf(65504, half);
            assert_true(isnan(half) ? isnan(got[i]) : half == got[i]);
            assert_int_equal(signbit(half), signbit(got[i]));
        }
        assert_true(saturated > 0 || channels[k] == 1);
        assert_int_equal(said, saturated);
        close_scene(&s);
    }
}

static void test_bytes(void **state) {
    (void)state;
    static float want[HEIGHT * WIDTH * 64];
    for (size_t k = 0; k < SHAPES; k++) {
        struct scene s;
        open_scene(&s, channels[k]);
        assert_int_equal(wire_row_bytes(s.t.g, s.id, WIRE_I8), s.floats + 4 * s.blocks);
        fill(&s, true);
        assert_int_equal(there_and_back(&s, WIRE_I8, 1 + (int)k % 4, want), 0);
        const float *got = exec_slot_data(s.p, s.slot);
        const int64_t each = s.floats / s.blocks;
        for (int64_t b = 2 * s.blocks; b < 8 * s.blocks; b++) {
            float most = 0;
            for (int64_t i = b * each; i < (b + 1) * each; i++)
                most = fmaxf(most, fabsf(want[i]));
            for (int64_t i = b * each; i < (b + 1) * each; i++)
                assert_true(fabsf(got[i] - want[i]) <= most / 254 * 1.001f);
        }
        fill(&s, false); /* infinities become the largest number, NaN becomes 0 */
        const int64_t said = there_and_back(&s, WIRE_I8, 1 + (int)k % 4, want);
        int64_t infinite = 0;
        for (int64_t i = 2 * s.floats; i < 8 * s.floats; i++) {
            assert_true(isfinite(got[i]));
            infinite += isinf(want[i]) != 0;
            if (isnan(want[i]))
                assert_true(got[i] == 0);
        }
        assert_int_equal(said, infinite);
        close_scene(&s);
    }
}

static void test_unchanged(void **state) {
    (void)state;
    struct scene s;
    open_scene(&s, 16);
    assert_false(wire_converts(s.t.g, s.id, WIRE_F32));
    assert_int_equal(wire_row_bytes(s.t.g, s.id, WIRE_F32), s.floats * 4);
    graph_value(s.t.g, s.id)->type = DT_I64;
    assert_false(wire_converts(s.t.g, s.id, WIRE_F16));
    graph_value(s.t.g, s.id)->type = DT_F32;
    close_scene(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_unchanged),
    };
    return cmocka_run_group_tests(tests, test_pool_start, test_pool_stop);
}
