/* A whole graph as a program: made, fed, run and read. */
#include "tests/support/testprogram.h"

#include "base/mem.h"
#include "tests/support/testpool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct program *test_program(struct gt *t, const struct exec_options *o, int64_t tile,
                             int **slots) {
    struct program *p = NULL;
    *slots = mem_zalloc((size_t)t->g->value_count, sizeof **slots);
    assert_non_null(*slots);
    test_must(exec_create(&p, t->g, test_pool, o, &t->err), &t->err);
    test_must(exec_add_graph(p, tile, *slots, &t->err), &t->err);
    return p;
}

void test_program_run(struct gt *t, struct program *p, const int *slots, float size,
                      struct tensor *out) {
    struct tensor in = {0};
    const struct value *v = graph_value(t->g, t->g->inputs[0]);
    test_must(tensor_init(&in, v->type, &v->shape, &t->err), &t->err);
    for (int64_t k = 0; k < shape_count(&v->shape); k++)
        tensor_f32(&in)[k] = size * ((float)(k % 17) / 8.0f - 1.0f);
    test_must(exec_slot_store(p, slots[t->g->inputs[0]], &in, &t->err), &t->err);
    const long before = mem_live_blocks();
    test_must(exec_run(p, 0, exec_op_count(p), &t->err), &t->err);
    assert_int_equal(mem_live_blocks(), before);
    *out = (struct tensor){0};
    test_must(exec_slot_fetch(p, slots[t->g->outputs[0]], out, &t->err), &t->err);
    tensor_release(&in);
}
