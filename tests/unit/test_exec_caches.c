/* What boards know of themselves and what must not depend on it: the size of a cache decides how
 * much is computed at once, never a bit of the answer; the memory for transformed weights decides
 * which layers Winograd may have, exactly. */
#include "tests/support/graphtest.h"
#include "tests/support/testpool.h"

#include "base/mem.h"
#include "board/pool.h"
#include "exec/exec.h"
#include "exec/signature.h"
#include "graph/onnx/onnx.h"
#include "kernels/kernel.h"
#include "synth/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct graph *open_network(const char *name, int size, double width) {
    char path[] = "/tmp/cohort-test-XXXXXX";
    int fd = mkstemp(path);
    struct cohort_error err;
    struct graph *g = NULL;
    struct synth_options o = {.size = size, .width = width, .classes = 10, .seed = 3};
    assert_true(fd >= 0);
    close(fd);
    test_must(synth_write(name, &o, path, &err), &err);
    test_must(onnx_load(&g, path, &err), &err);
    test_must(graph_finish(g, &(struct pass_options){0}, &err), &err);
    unlink(path);
    return g;
}

static void fill(struct tensor *x, const struct value *v) {
    struct cohort_error err;
    test_must(tensor_init(x, v->type, &v->shape, &err), &err);
    for (int64_t k = 0; v->type == DT_F32 && k < shape_count(&x->shape); k++)
        tensor_f32(x)[k] = (float)(k * 37 % 101) / 50 - 1;
}

static void release_all(struct tensor *t, int count) {
    for (int i = 0; i < count; i++)
        tensor_release(&t[i]);
}

/* ---- caches ---------------------------------------------------------------------------------- */

enum { OUTPUTS = 4 };

static void check_network(const char *name, int size, double width, unsigned isa_mask) {
    struct cohort_error err;
    struct graph *g = open_network(name, size, width);
    struct tensor x = {0}, want[OUTPUTS] = {{0}};
    static const size_t l2[] = {0, 1, 256 << 10, 1 << 20, 64 << 20}, strips[] = {0, 64 << 10};
    assert_true(g->input_count == 1 && g->output_count <= OUTPUTS);
    fill(&x, graph_value(g, g->inputs[0]));
    for (int threads = 1; threads <= 2; threads++) {
        struct pool *pool = test_pool_of(threads);
        for (size_t k = 0; k < sizeof l2 / sizeof *l2; k++)
            for (size_t j = 0; j < sizeof strips / sizeof *strips; j++) {
                const struct kernel_board board = {.l2_bytes = l2[k]};
                const struct exec_options o = {
                    .isa_mask = isa_mask, .board = &board, .cache_bytes = strips[j]};
                struct tensor got[OUTPUTS] = {{0}};
                test_must(exec_run_graph(g, pool, &o, j > 0 ? 0 : (int64_t)k * 3, &x, got, &err),
                          &err);
                for (int i = 0; i < g->output_count; i++) {
                    if (want[i].data == NULL) {
                        want[i] = got[i];
                        got[i] = (struct tensor){0};
                        continue;
                    }
                    assert_int_equal(tensor_bytes(&got[i]), tensor_bytes(&want[i]));
                    if (memcmp(got[i].data, want[i].data, tensor_bytes(&want[i])) != 0)
                        fail_msg("%s: other bits with %zu bytes of cache (strips: %zu), %d threads",
                                 name, l2[k], strips[j], threads);
                }
                release_all(got, g->output_count);
            }
        pool_destroy(&pool);
    }
    release_all(want, g->output_count);
    tensor_release(&x);
    graph_destroy(&g);
}

/* Every instruction set of this CPU, on networks of all kinds of layers. */
static void bits_do_not_depend_on_caches(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int size;
        double width;
    } nets[] = {{"resnet18", 64, 0.5},    {"mobilenetv2", 64, 0.5}, {"efficientnet_b0", 64, 0.5},
                {"squeezenet1.1", 96, 1}, {"tinyyolo", 96, 0.5},    {"vgg11", 64, 0.25},
                {"densenet121", 64, 0.25}};
    unsigned usable = kernel_isa_available() & ~(1u << ISA_BLAS) & ~ISAS_FP16;
    for (int isa = 0; isa < ISA_COUNT; isa++)
        for (size_t i = 0; usable & 1u << isa && i < sizeof nets / sizeof *nets; i++)
            check_network(nets[i].name, nets[i].size, nets[i].width, 1u << isa);
}

/* The estimate chooses by the shape and by nothing that boards differ in. */
static void choices_do_not_depend_on_caches(void **state) {
    (void)state;
    static const char *const names[] = {"resnet50", "vgg16", "mobilenetv2", "yolov2"};
    static const size_t l2[] = {1, 256 << 10, 64 << 20};
    int signatures = 0;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct graph *g = open_network(names[n], 0, 0.5);
        for (int i = 0; i < g->node_count; i++)
            for (size_t k = 0; k < sizeof l2 / sizeof *l2; k++) {
                const struct kernel_board board = {.l2_bytes = l2[k]};
                const char *a[64], *b[64];
                double rate[64], other[64];
                struct signature s;
                if (!signature_of(g, &g->nodes[i], &s))
                    break;
                int count = signature_ranked(&s, ~0u, a, rate, 64);
                s.conv.board = s.gemm.board = &board;
                assert_int_equal(signature_ranked(&s, ~0u, b, other, 64), count);
                for (int j = 0; j < count; j++) {
                    assert_string_equal(a[j], b[j]);
                    assert_true(rate[j] == other[j]);
                }
                signatures++;
            }
        graph_destroy(&g);
    }
    assert_true(signatures > 300);
}

/* ---- memory for Winograd --------------------------------------------------------------------- */

#define LAYER                                                                                      \
    "conv 64x56x56 to 64x56x56 kernel 3x3 stride 1x1 pad 1,1 dilation 1x1 groups 1 maps bb"

/* A layer may have as much as the limit says, and not a byte more. */
static void the_limit_is_exact(void **state) {
    (void)state;
    struct signature s;
    int count, tried = 0;
    const struct conv_kernel *const *list = kernels_conv(&count);
    assert_true(signature_parse(&s, LAYER));
    for (int i = 0; i < count; i++) {
        if (!list[i]->winograd)
            continue;
        struct kernel_board board = {0};
        size_t bytes = list[i]->weights_bytes(&s.conv);
        int points = list[i]->winograd + 2;
        assert_int_equal(bytes, 64 * 64 * 3 * (size_t)points * sizeof(float));
        s.conv.board = &board;
        assert_true(list[i]->rate(&s.conv) > 0); /* unknown: the usual limit */
        board.winograd_bytes = bytes;
        assert_true(list[i]->rate(&s.conv) > 0);
        board.winograd_bytes = bytes - 1;
        assert_true(list[i]->rate(&s.conv) == 0);
        tried++;
    }
    assert_true(tried >= 2);
    /* Whatever the limit, something computes it, and Winograd within the limit only. */
    for (size_t limit = 1; limit < (size_t)1 << 24; limit *= 2) {
        const struct kernel_board board = {.winograd_bytes = limit};
        s.conv.board = &board;
        const struct conv_kernel *k = kernel_choose_conv(&s.conv, ~ISAS_FP16, NULL);
        assert_non_null(k);
        assert_true(!k->winograd || k->weights_bytes(&s.conv) <= limit);
        assert_true(limit > 1 || !k->winograd);
    }
    s.conv.board = NULL; /* without a limit this layer is Winograd's on every instruction set */
    assert_true(kernel_choose_conv(&s.conv, ~ISAS_FP16, NULL)->winograd > 0);
}

/* A program keeps to it, layer by layer. */
static void programs_keep_to_the_limit(void **state) {
    (void)state;
    struct cohort_error err;
    struct graph *g = open_network("vgg11", 96, 0.5);
    struct pool *pool = test_pool_of(1);
    int with[3] = {0};
    static const size_t limits[] = {1, 1 << 20, (size_t)1 << 30};
    for (int k = 0; k < 3; k++) {
        const struct kernel_board board = {.winograd_bytes = limits[k]};
        const struct exec_options o = {.board = &board, .zero_weights = true};
        struct program *p = NULL;
        int *slots = mem_zalloc((size_t)g->value_count, sizeof *slots);
        test_must(exec_create(&p, g, pool, &o, &err), &err);
        test_must(exec_add_graph(p, 0, slots, &err), &err);
        test_must(exec_prepare(p, &err), &err);
        for (int i = 0; i < g->node_count; i++) {
            const char *name = exec_node_kernel(p, i);
            struct signature s;
            if (name == NULL || strstr(name, "winograd") == NULL)
                continue;
            assert_true(signature_of(g, &g->nodes[i], &s));
            assert_true(signature_weights_bytes(&s, name) <= limits[k]);
            with[k]++;
        }
        exec_destroy(&p);
        mem_free(slots);
    }
    assert_int_equal(with[0], 0);
    assert_true(with[1] > 0 && with[2] > with[1]);
    pool_destroy(&pool);
    graph_destroy(&g);
}

static int nothing_left(void **state) {
    (void)state;
    return mem_live_blocks() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_do_not_depend_on_caches),
        cmocka_unit_test(choices_do_not_depend_on_caches),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(programs_keep_to_the_limit),
    };
    return cmocka_run_group_tests_name("exec_caches", tests, NULL, nothing_left);
}
