/* The executor: every generated network, small, on feature maps and kernels against the reference
 * evaluators, whole and in row tiles (which must give the same bits). */
#include "base/mem.h"
#include "board/pool.h"
#include "exec/arena.h"
#include "exec/exec.h"
#include "graph/onnx/onnx.h"
#include "graph/pass.h"
#include "kernels/kernel.h"
#include "synth/synth.h"
#include "tests/support/testpool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void make_input(struct tensor *t, const struct value *v) {
    struct cohort_error err;
    uint64_t state = 12345;
    test_must(tensor_init(t, v->type, &v->shape, &err), &err);
    for (int64_t i = 0; i < shape_count(&t->shape); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tensor_set_f64(t, i, (double)(state >> 40) * 0x1p-23 - 1.0);
    }
}

static void run_network(const char *path, bool keep, const char *kernel, int64_t tile,
                        struct tensor *out) {
    struct cohort_error err;
    struct graph *g = NULL;
    struct tensor in = {0};
    struct pass_options pass = {.keep = keep};
    struct exec_options exec = {.kernel = kernel};
    test_must(onnx_load(&g, path, &err), &err);
    test_must(graph_finish(g, &pass, &err), &err);
    assert_int_equal(g->input_count, 1);
    assert_int_equal(g->output_count, 1);
    make_input(&in, graph_value(g, g->inputs[0]));
    test_must(exec_run_graph(g, test_pool, &exec, tile, &in, out, &err), &err);
    tensor_release(&in);
    graph_destroy(&g);
}

static double difference(const struct tensor *a, const struct tensor *b) {
    double most = 0, size = 0;
    assert_true(shape_equal(&a->shape, &b->shape));
    for (int64_t i = 0; i < shape_count(&a->shape); i++) {
        double x = tensor_get_f64(a, i), y = tensor_get_f64(b, i);
        assert_false(isnan(x) || isnan(y));
        most = fmax(most, fabs(x - y));
        size = fmax(size, fabs(y));
    }
    assert_true(size > 0);
    return most / size;
}

static void check_network(const struct synth_network *net) {
    char path[] = "/tmp/cohort-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct cohort_error err;
    int size = net->size > 200 ? (net->size > 250 ? 96 : 64) : net->size;
    struct synth_options o = {.size = size, .width = 0.25, .classes = 10, .seed = 3};
    test_must(synth_write(net->name, &o, path, &err), &err);
    struct tensor reference = {0}, whole = {0}, tiles = {0}, blas = {0}, direct = {0};
    run_network(path, true, NULL, 0, &reference);
    run_network(path, false, NULL, 0, &whole);
    run_network(path, false, NULL, 3, &tiles);
    run_network(path, false, "blas", 0, &blas);
    run_network(path, false, "direct", 0, &direct);
    print_message("%-16s maps %.1e, blas %.1e, Winograd to direct %.1e\n", net->name,
                  difference(&whole, &reference), difference(&blas, &reference),
                  difference(&whole, &direct));
    assert_true(difference(&whole, &reference) <= 1e-4);
    assert_true(difference(&blas, &reference) <= 1e-4);
    assert_true(difference(&whole, &direct) <= 1e-5);
    assert_memory_equal(whole.data, tiles.data, tensor_bytes(&whole));
    tensor_release(&reference);
    tensor_release(&whole);
    tensor_release(&tiles);
    tensor_release(&blas);
    tensor_release(&direct);
    unlink(path);
}

static void networks(void **state) {
    check_network(*state);
}

/* Buffers that are alive together never overlap, and the total is no more than their sum. */
static void arena(void **state) {
    (void)state;
    struct cohort_error err;
    struct arena_item items[40];
    unsigned seed = 1;
    for (int round = 0; round < 200; round++) {
        size_t total, sum = 0;
        for (int i = 0; i < 40; i++) {
            seed = seed * 1103515245u + 12345u;
            int first = (int)(seed >> 16) % 30;
            items[i] = (struct arena_item){
                .bytes = (seed >> 8) % 5000, .first = first, .last = first + (int)(seed >> 20) % 6};
            sum += (items[i].bytes + 63) / 64 * 64;
        }
        test_must(arena_assign(items, 40, &total, &err), &err);
        assert_true(total <= sum);
        for (int i = 0; i < 40; i++)
            for (int k = 0; k < i; k++) {
                bool together = items[i].first <= items[k].last && items[k].first <= items[i].last;
                bool apart = items[i].offset + items[i].bytes <= items[k].offset ||
                             items[k].offset + items[k].bytes <= items[i].offset;
                assert_true(!together || apart || items[i].bytes == 0 || items[k].bytes == 0);
            }
    }
}

int main(void) {
    int count;
    const struct synth_network *nets = synth_networks(&count);
    struct CMUnitTest *tests = test_calloc((size_t)count + 1, sizeof *tests);
    tests[0] = (struct CMUnitTest){.name = "arena", .test_func = arena};
    for (int i = 0; i < count; i++)
        tests[i + 1] = (struct CMUnitTest){.name = nets[i].name,
                                           .test_func = networks,
                                           .initial_state = (void *)(uintptr_t)&nets[i]};
    int failed =
        _cmocka_run_group_tests("exec", tests, (size_t)count + 1, test_pool_start, test_pool_stop);
    test_free(tests);
    return failed;
}
