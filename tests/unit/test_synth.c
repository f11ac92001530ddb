/* Made-up networks: sizes against the published ones, the same bytes however they are made, and
 * every network through the reader. */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/op.h"
#include "graph/pass.h"
#include "synth/build.h"
#include "synth/synth.h"
#include "synth/weights.h"
#include "tests/support/leaks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void make_path(char path[64], const char *what) {
    snprintf(path, 64, "/tmp/cohort_test_synth.%ld.%s", (long)getpid(), what);
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Trained parameters as published: torchvision's table for its models, LeCun's 60,000-odd for LeNet
 * (61,706 with a full C3), and the sizes of Darknet's weight files for YOLO (which also hold the
 * statistics: 50,983,561 and 11,237,145 numbers). */
static const struct {
    const char *name;
    int64_t parameters;
} published[] = {
    {"vgg11", 132863336},         {"vgg13", 133047848},
    {"vgg16", 138357544},         {"vgg19", 143667240},
    {"resnet18", 11689512},       {"resnet34", 21797672},
    {"resnet50", 25557032},       {"resnet101", 44549160},
    {"resnet152", 60192808},      {"mobilenetv2", 3504872},
    {"mobilenetv3", 5483032},     {"squeezenet1.0", 1248424},
    {"squeezenet1.1", 1235496},   {"googlenet", 6624904},
    {"inceptionv3", 23834568},    {"densenet121", 7978856},
    {"efficientnet_b0", 5288548}, {"shufflenetv2", 2278604},
    {"alexnet", 61100840},        {"lenet5", 61706},
    {"yolov2", 50983561 - 20672}, {"tinyyolo", 11237145 - 5088},
};
#define PUBLISHED ((int)(sizeof published / sizeof published[0]))

static void test_parameters(void **state) {
    (void)state;
    int count;
    const struct synth_network *list = synth_networks(&count);
    assert_int_equal(count, PUBLISHED);
    for (int i = 0; i < count; i++) {
        struct cohort_error err = {0};
        struct net n;
        assert_string_equal(list[i].name, published[i].name);
        assert_int_equal(net_create(&n, list[i].name, &(struct synth_options){0}, &err), COHORT_OK);
        if (n.parameters != published[i].parameters)
            print_error("%s: %lld parameters\n", list[i].name, (long long)n.parameters);
        assert_int_equal(n.parameters, published[i].parameters);
        net_release(&n);
    }
}

static void test_width_and_classes(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct net n;
    struct synth_options o = {.width = 0.5, .classes = 7, .size = 64};
    assert_int_equal(net_create(&n, "resnet18", &o, &err), COHORT_OK);
    assert_int_equal(net_width(&n, 64), 32);
    assert_int_equal(net_width(&n, 12), 8);
    assert_int_equal(net_width(&n, 6), 8);
    assert_true(n.parameters < 11689512 / 3 && n.parameters > 11689512 / 5);
    net_release(&n);
    o.features = true; /* 256 channels to 7 classes fewer */
    struct net f;
    assert_int_equal(net_create(&f, "resnet18", &o, &err), COHORT_OK);
    assert_int_equal(n.parameters - f.parameters, 256 * 7 + 7);
    net_release(&f);
    assert_int_equal(net_multiple_of_8(1), 8);
    assert_int_equal(net_multiple_of_8(18), 24); /* 16 would be less than 0.9 of it */
    assert_int_equal(net_multiple_of_8(30), 32);
    assert_int_equal(net_multiple_of_8(168), 168);
}

/* ---- names and errors ------------------------------------------------------------------------ */

static void test_names(void **state) {
    (void)state;
    assert_string_equal(synth_find("VGG-16")->name, "vgg16");
    assert_string_equal(synth_find("squeezenet1_1")->name, "squeezenet1.1");
    assert_string_equal(synth_find("efficientnet-b0")->name, "efficientnet_b0");
    assert_string_equal(synth_find("MobileNet_V2")->name, "mobilenetv2");
    assert_null(synth_find("vgg"));
    assert_null(synth_find("vgg160"));
    assert_null(synth_find(""));
}

static void assert_fails(const char *name, struct synth_options o, const char *message) {
    struct cohort_error err = {0};
    char path[64];
    make_path(path, "never");
    assert_int_equal(synth_write(name, &o, path, &err), COHORT_ERR_USAGE);
    assert_string_equal(err.message, message);
    assert_false(file_exists(path));
}

static void test_errors(void **state) {
    (void)state;
    const struct synth_options usual = {0};
    assert_fails("vgg17", usual, "no network is called vgg17: did you mean vgg11?");
    assert_fails("transformer-xl-large", usual,
                 "no network is called transformer-xl-large (cohort synth --list prints them all)");
    assert_fails("vgg16", (struct synth_options){.size = 16},
                 "--size 16 is too small for vgg16: nothing is left after pool5");
    assert_fails("vgg16", (struct synth_options){.size = -1},
                 "--size -1: allowed are 1 to 16384 pixels");
    assert_fails("vgg16", (struct synth_options){.size = 16385},
                 "--size 16385: allowed are 1 to 16384 pixels");
    assert_fails("vgg16", (struct synth_options){.width = -1},
                 "--width -1: allowed are factors up to 16");
    assert_fails("vgg16", (struct synth_options){.width = (double)NAN},
                 "--width nan: allowed are factors up to 16");
    assert_fails("vgg16", (struct synth_options){.classes = -5},
                 "--classes -5: allowed are 1 to 1000000");
    assert_fails("yolov2", (struct synth_options){.size = 112},
                 "yolov2 cannot have --size 112: reorg needs even maps (a multiple of 32 has "
                 "them)");
    assert_fails("vgg11", (struct synth_options){.size = 16384, .width = 16},
                 "--size 16384 is too large for vgg11: flatten would have 2147483648 elements");
}

static void test_unwritable(void **state) {
    (void)state;
    struct cohort_error err = {0};
    assert_int_equal(
        synth_write("lenet5", &(struct synth_options){0}, "/nowhere/at/all.onnx", &err),
        COHORT_ERR_IO);
    assert_non_null(strstr(err.message, "/nowhere/at/all.onnx"));
}

/* ---- weights --------------------------------------------------------------------------------- */

static void test_pieces(void **state) {
    (void)state;
    enum { COUNT = 5000 };
    static float whole[COUNT], pieces[COUNT];
    struct weights w = weights_of(7, "fc8.weight", 0.25, 0.5);
    weights_fill(&w, 0, COUNT, whole);
    for (int first = COUNT; first > 0;) { /* from the back, in pieces of 1, 8, 15 … */
        const int count = (COUNT - first) % 7 + 1;
        const int from = first > count ? first - count : 0;
        weights_fill(&w, from, first - from, pieces + from);
        first = from;
    }
    assert_memory_equal(whole, pieces, sizeof whole);
    double sum = 0, squares = 0;
    for (int i = 0; i < COUNT; i++) {
        sum += (double)whole[i];
        squares += ((double)whole[i] - 0.25) * ((double)whole[i] - 0.25);
        assert_true(fabsf(whole[i] - 0.25F) <= 0.5F * 3.4642F); /* 131070 / WEIGHTS_SIGMA */
    }
    assert_true(fabs(sum / COUNT - 0.25) < 4 * 0.5 / sqrt(COUNT));
    assert_true(fabs(sqrt(squares / COUNT) - 0.5) < 0.02);
}

static void test_keys_differ(void **state) {
    (void)state;
    const struct weights w[] = {weights_of(0, "a", 0, 1), weights_of(1, "a", 0, 1),
                                weights_of(0, "b", 0, 1), weights_of(0, "aa", 0, 1),
                                weights_of(0, "", 0, 1),  weights_of(UINT64_MAX, "a", 0, 1)};
    for (size_t i = 0; i < sizeof w / sizeof w[0]; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(w[i].key != w[j].key);
}

/* The first numbers of two tensors, bit for bit: the same on every machine and compiler, for ever.
 * (Made by an independent implementation in another language from the description in weights.h.) */
static void test_golden_bits(void **state) {
    (void)state;
    static const uint32_t expected[2][8] = {
        {0x3fa8b2f4, 0x3e05f69b, 0xbe725a0f, 0xbfb81681, 0x3fba1498, 0xbf10c4b1, 0x3f2f5b4b,
         0xbfa28221},
        {0x3f618335, 0x3f88a10f, 0x3f69067a, 0x3f6ef790, 0x3f720f75, 0x3f5f6092, 0x3f605419,
         0x3f866616},
    };
    struct weights w[2] = {weights_of(0, "conv1_1.weight", 0, 1),
                           weights_of(12345, "layer4.2.bn3.running_var", 1, 0.1)};
    for (int k = 0; k < 2; k++) {
        float values[8];
        weights_fill(&w[k], (int64_t)k << 33, 8, values);
        assert_memory_equal(values, expected[k], sizeof values);
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static void hash_file(const char *path, char hex[HASH_TEXT_BYTES]) {
    struct cohort_error err = {0};
    struct file_map map;
    assert_int_equal(file_map(&map, path, &err), COHORT_OK);
    hash_bytes(map.data, map.bytes, hex);
    file_unmap(&map);
}

static void test_deterministic(void **state) {
    (void)state;
    char path[64], hex[3][HASH_TEXT_BYTES];
    make_path(path, "onnx");
    for (int i = 0; i < 3; i++) {
        struct cohort_error err = {0};
        const struct synth_options o = {.size = 64, .width = 0.25, .seed = i == 2 ? 9 : 8};
        assert_int_equal(synth_write("mobilenetv3", &o, path, &err), COHORT_OK);
        hash_file(path, hex[i]);
        unlink(path);
    }
    assert_string_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[0], hex[2]);
}

static struct synth_options small_options(const char *name) {
    struct synth_options o = {.width = 0.1, .classes = 10, .seed = 1};
    o.size = strcmp(name, "inceptionv3") == 0 ? 79 : strcmp(name, "lenet5") == 0 ? 28 : 64;
    return o;
}

/* What the passes are for is used up: no Dropout, no BatchNormalization behind a convolution, no
 * shuffle or reorganisation left as a chain of plain operators. */
static void assert_folded(const char *name, const struct graph *g) {
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        assert_string_not_equal(n->op->name, "Dropout");
        assert_string_not_equal(n->op->name, "Transpose");
        const struct value *in = node_in(g, n, 0);
        if (strcmp(n->op->name, "BatchNormalization") == 0 && in->producer >= 0 && in->uses == 1 &&
            strcmp(g->nodes[in->producer].op->name, "Conv") == 0)
            fail_msg("%s: %s is not folded", name, n->name);
    }
}

/* A network's file through the reader: every constant has its data, every weight is finite. */
static void read_back(const char *name, bool features) {
    struct cohort_error err = {0};
    char path[64];
    make_path(path, "onnx");
    struct synth_options o = small_options(name);
    o.features = features;
    assert_int_equal(synth_write(name, &o, path, &err), COHORT_OK);
    struct net n;
    assert_int_equal(net_create(&n, name, &o, &err), COHORT_OK);
    struct graph *g = NULL;
    if (onnx_load(&g, path, &err) != COHORT_OK)
        fail_msg("%s: %s", name, err.message);
    unlink(path);
    int64_t weights = 0;
    for (int i = 0; i < g->value_count; i++) {
        const struct value *v = &g->values[i];
        if (!v->is_constant || v->type != DT_F32 || v->shape.rank == 0)
            continue;
        const int64_t count = shape_count(&v->shape);
        weights += count;
        for (int64_t k = 0; k < count; k++)
            assert_true(isfinite(tensor_get_f64(&v->constant, k)));
    }
    assert_int_equal(weights, n.parameters + n.statistics);
    assert_int_equal(g->input_count, 1);
    assert_int_equal(g->output_count, 1);
    assert_int_equal(g->opset, 13);
    const char *output = g->values[g->outputs[0]].name;
    const bool yolo = strstr(name, "yolo") != NULL;
    if (!features)
        assert_string_equal(output, yolo ? "grid" : "logits");
    else
        assert_true(strcmp(output, "logits") != 0 && strcmp(output, "grid") != 0);
    /* The shape that the file declares is the one that the operators give. */
    if (graph_finish(g, &(struct pass_options){0}, &err) != COHORT_OK)
        fail_msg("%s: %s", name, err.message);
    char want[SHAPE_TEXT_BYTES], got[SHAPE_TEXT_BYTES];
    shape_text(&n.output, want, sizeof want);
    shape_text(&g->values[g->outputs[0]].shape, got, sizeof got);
    if (strcmp(want, got) != 0)
        fail_msg("%s: output %s, declared %s", name, got, want);
    if (!features && !yolo)
        assert_true(shape_equal(&n.output, &(struct shape){.rank = 2, .dim = {1, 10}}));
    assert_folded(name, g);
    graph_destroy(&g);
    net_release(&n);
}

static void test_read_back(void **state) {
    (void)state;
    int count;
    const struct synth_network *list = synth_networks(&count);
    for (int i = 0; i < count; i++) {
        read_back(list[i].name, false);
        read_back(list[i].name, true);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_short_memory(void **state) {
    (void)state;
    char path[64];
    make_path(path, "short");
    const struct synth_options o = {.width = 0.5};
    const long before = mem_live_blocks();
    enum cohort_code code = COHORT_ERR_MEMORY;
    for (long nth = 1; code != COHORT_OK; nth++) {
        struct cohort_error err = {0};
        mem_fail_at(nth);
        code = synth_write("lenet5", &o, path, &err);
        mem_fail_at(0);
        if (code != COHORT_OK)
            assert_int_equal(code, COHORT_ERR_MEMORY);
        assert_int_equal(mem_live_blocks(), before);
        assert_true(nth < 5000);
    }
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),    cmocka_unit_test(test_width_and_classes),
        cmocka_unit_test(test_names),         cmocka_unit_test(test_errors),
        cmocka_unit_test(test_unwritable),    cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_keys_differ),   cmocka_unit_test(test_golden_bits),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_read_back),
        cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
