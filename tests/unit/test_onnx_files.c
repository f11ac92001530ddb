/* Models in files: external data, half a gigabyte in milliseconds, every prefix and every corrupt
 * byte of a small model, and the real networks beside the repository, where there are any.
 * alone: it times opening a large file, and counts page faults */
#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "tests/support/onnx_build.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* A directory of this test's own. */
struct place {
    char directory[64], model[96], weights[96], sub[96];
};

static struct place make_place(void) {
    struct place p;
    struct cohort_error err = {0};
    snprintf(p.directory, sizeof p.directory, "/tmp/cohort_test_onnx_files.%ld", (long)getpid());
    snprintf(p.model, sizeof p.model, "%s/model.onnx", p.directory);
    snprintf(p.weights, sizeof p.weights, "%s/data/weights.bin", p.directory);
    snprintf(p.sub, sizeof p.sub, "%s/data", p.directory);
    assert_int_equal(file_make_directories(p.sub, &err), COHORT_OK);
    return p;
}

static void remove_place(const struct place *p) {
    unlink(p->model);
    unlink(p->weights);
    rmdir(p->sub);
    rmdir(p->directory);
}

static void entry_in(struct buf *tensor, const char *key, const char *value) {
    struct buf e = {0};
    wire_put_text(&e, ENTRY_KEY, key);
    wire_put_text(&e, ENTRY_VALUE, value);
    msg_in(tensor, TENSOR_EXTERNAL_DATA, &e);
}

/* A float32 initializer in another file; NULL leaves an entry out. */
static struct buf external_msg(const char *name, int rank, const int64_t *dims,
                               const char *location, const char *offset, const char *length) {
    struct buf t = tensor_msg(name, DT_F32, rank, dims);
    wire_put_int(&t, TENSOR_DATA_LOCATION, TENSOR_LOCATION_EXTERNAL);
    if (location != NULL)
        entry_in(&t, "location", location);
    if (offset != NULL)
        entry_in(&t, "offset", offset);
    if (length != NULL)
        entry_in(&t, "length", length);
    entry_in(&t, "checksum", "who knows");
    return t;
}

/* Writes a model y = Relu(x) with these initializers, which are released. */
static void write_model(const struct place *p, struct buf *initializers, int count) {
    struct cohort_error err = {0};
    struct buf node = node_msg("n", "Relu", "x", "y");
    struct buf graph = graph_msg(&node, 1);
    for (int i = 0; i < count; i++)
        msg_in(&graph, GRAPH_INITIALIZER, &initializers[i]);
    struct buf model = model_msg(&graph, 7, 13);
    assert_int_equal(file_replace(p->model, model.data, model.size, &err), COHORT_OK);
    buf_release(&model);
}

/* ---- external data --------------------------------------------------------------------------- */

static void test_external_data(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct place p = make_place();
    struct graph *g = NULL;
    float *values = mem_alloc(40000 * sizeof *values);
    for (int i = 0; i < 40000; i++)
        values[i] = (float)i;
    assert_int_equal(file_replace(p.weights, values, 40000 * sizeof *values, &err), COHORT_OK);
    mem_free(values);
    struct buf initializers[] = {
        external_msg("a", 1, (int64_t[]){2}, "data/weights.bin", "8", "8"),
        external_msg("b", 2, (int64_t[]){100, 200}, "data/weights.bin", "400", NULL),
        external_msg("c", 1, (int64_t[]){40000}, "data/weights.bin", NULL, "160000"),
        external_msg("empty", 1, (int64_t[]){0}, "data/weights.bin", "160000", "0"),
    };
    write_model(&p, initializers, 4);
    assert_int_equal(onnx_load(&g, p.model, &err), COHORT_OK);
    assert_int_equal(g->map_count, 2); /* the model, and the weights once */
    const struct tensor *a = &g->values[graph_find_value(g, "a")].constant;
    const struct tensor *b = &g->values[graph_find_value(g, "b")].constant;
    const struct tensor *c = &g->values[graph_find_value(g, "c")].constant;
    assert_true(a->owned && tensor_f32(a)[0] == 2 && tensor_f32(a)[1] == 3);
    assert_false(b->owned);
    assert_true(tensor_get_f64(b, 0) == 100 && tensor_get_f64(b, 19999) == 20099);
    assert_true(!c->owned && tensor_get_f64(c, 39999) == 39999);
    graph_destroy(&g);

    char *bytes = NULL; /* from memory, with the directory given */
    size_t size;
    assert_int_equal(file_read(p.model, 1 << 20, &bytes, &size, &err), COHORT_OK);
    assert_int_equal(onnx_load_memory(&g, bytes, size, p.directory, &err), COHORT_OK);
    assert_int_equal(g->map_count, 1);
    graph_destroy(&g);
    assert_int_equal(onnx_load_memory(&g, bytes, size, NULL, &err), COHORT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no directory"));
    mem_free(bytes);
    for (long n = 1;; n++) { /* the n-th allocation fails */
        mem_fail_at(n);
        enum cohort_code code = onnx_load(&g, p.model, &err);
        mem_fail_at(0);
        if (code == COHORT_OK) {
            assert_true(n > 20);
            break;
        }
        if (code != COHORT_ERR_MEMORY || mem_live_blocks() != 0)
            fail_msg("allocation %ld: %s, %ld blocks left", n, err.message, mem_live_blocks());
    }
    graph_destroy(&g);

    struct buf lone = external_msg("lone", 1, (int64_t[]){3}, "data/weights.bin", "4", NULL);
    struct tensor t = {0};
    assert_int_equal(file_replace(p.model, lone.data, lone.size, &err), COHORT_OK);
    buf_release(&lone);
    assert_int_equal(onnx_load_tensor(&t, NULL, p.model, &err), COHORT_OK);
    assert_true(t.owned && tensor_f32(&t)[2] == 3);
    tensor_release(&t);
    remove_place(&p);
}

static void test_bad_external_data(void **state) {
    (void)state;
    static const struct {
        const char *location, *offset, *length;
        enum cohort_code code;
        const char *words;
    } cases[] = {
        {"/etc/passwd", NULL, NULL, COHORT_ERR_FORMAT, "outside the model's directory"},
        {"../weights.bin", NULL, NULL, COHORT_ERR_FORMAT, "outside the model's directory"},
        {"data/../../weights.bin", NULL, NULL, COHORT_ERR_FORMAT, "outside"},
        {"data/..", NULL, NULL, COHORT_ERR_FORMAT, "outside"},
        {"", NULL, NULL, COHORT_ERR_FORMAT, "without a location"},
        {NULL, NULL, NULL, COHORT_ERR_FORMAT, "without a location"},
        {"data/none.bin", NULL, NULL, COHORT_ERR_IO, "data/none.bin"},
        {"data", NULL, NULL, COHORT_ERR_IO, "not a regular file"},
        {"data/weights.bin", "96", NULL, COHORT_ERR_FORMAT, "which has only 100"},
        {"data/weights.bin", "101", NULL, COHORT_ERR_FORMAT, "which has only 100"},
        {"data/weights.bin", "9000000000000000000", NULL, COHORT_ERR_FORMAT, "only 100"},
        {"data/weights.bin", "99999999999999999999", NULL, COHORT_ERR_FORMAT, "not a number"},
        {"data/weights.bin", "-4", NULL, COHORT_ERR_FORMAT, "offset '-4' is not a number"},
        {"data/weights.bin", "", NULL, COHORT_ERR_FORMAT, "not a number"},
        {"data/weights.bin", NULL, "12", COHORT_ERR_FORMAT, "external data of 12 bytes"},
        {"data/weights.bin", NULL, "8x", COHORT_ERR_FORMAT, "length '8x'"},
    };
    struct place p = make_place();
    struct cohort_error err = {0};
    char hundred[100] = {0};
    assert_int_equal(file_replace(p.weights, hundred, sizeof hundred, &err), COHORT_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = NULL;
        struct buf t = external_msg("w", 1, (int64_t[]){2}, cases[i].location, cases[i].offset,
                                    cases[i].length);
        write_model(&p, &t, 1);
        enum cohort_code code = onnx_load(&g, p.model, &err);
        if (code != cases[i].code || strstr(err.message, cases[i].words) == NULL ||
            strstr(err.message, "initializer 'w'") == NULL ||
            strstr(err.message, p.model) != err.message)
            fail_msg("case %zu: %s: %s", i, cohort_code_name(code), err.message);
        assert_null(g);
    }
    struct graph *g = NULL; /* dots that are no escape */
    struct buf t = external_msg("w", 1, (int64_t[]){2}, "./data/weights.bin", NULL, NULL);
    write_model(&p, &t, 1);
    assert_int_equal(onnx_load(&g, p.model, &err), COHORT_OK);
    graph_destroy(&g);
    remove_place(&p);
}

/* ---- size ------------------------------------------------------------------------------------ */

/* Loads a model and returns how long it took; page faults and heap stay small. */
static double load_large(const char *path, struct graph **g) {
    struct cohort_error err = {0};
    struct timespec t0, t1;
    struct rusage before, after;
    size_t heap = mem_live_bytes();
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    if (onnx_load(g, path, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    getrusage(RUSAGE_SELF, &after);
    long faults = after.ru_minflt - before.ru_minflt + after.ru_majflt - before.ru_majflt;
    if (faults > 400 && !getenv("COHORT_EMULATOR")) /* the emulator's faults are not ours */
        fail_msg("%ld page faults: the weights were touched", faults);
    assert_true(mem_live_bytes() - heap < 100000);
    return (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6;
}

/* 600 MB of weights in one file: two initializers, one of raw and one of packed float data. */
static void test_large_file(void **state) {
    (void)state;
    struct place p = make_place();
    const int64_t count = 75000000, bytes = count * 4;
    struct buf head = tensor_msg("w", DT_F32, 1, &count), model = {0}, tail = {0};
    wire_put_int(&model, MODEL_IR_VERSION, 7);
    wire_put_tag(&model, MODEL_GRAPH, WIRE_BYTES);
    struct buf node = node_msg("n", "Relu", "x", "y");
    tail = graph_msg(&node, 1);
    wire_put_tag(&head, TENSOR_RAW_DATA, WIRE_BYTES);
    wire_put_varint(&head, (uint64_t)bytes);
    uint64_t message = head.size + (uint64_t)bytes;
    uint64_t each = 1 + wire_varint_bytes(message) + message;
    wire_put_varint(&model, 2 * each + tail.size);
    int fd = open(p.model, O_RDWR | O_CREAT | O_TRUNC, 0600);
    off_t at = (off_t)model.size;
    assert_int_equal(pwrite(fd, model.data, model.size, 0), model.size);
    for (int i = 0; i < 2; i++) {
        struct buf field = {0};
        wire_put_tag(&field, GRAPH_INITIALIZER, WIRE_BYTES);
        wire_put_varint(&field, message);
        buf_bytes(&field, head.data, head.size);
        assert_int_equal(pwrite(fd, field.data, field.size, at), field.size);
        if (i == 1) { /* named "v", and with float_data: the name is followed by the data's tag */
            size_t raw_tag = head.size - wire_varint_bytes((uint64_t)bytes) - 1;
            size_t skipped = field.size - head.size;
            assert_int_equal(pwrite(fd, "v", 1, at + (off_t)(skipped + raw_tag) - 1), 1);
            assert_int_equal(pwrite(fd, "\x22", 1, at + (off_t)(skipped + raw_tag)), 1);
        }
        float last = (float)(i + 1);
        assert_int_equal(pwrite(fd, &last, 4, at + (off_t)field.size + bytes - 4), 4);
        at += (off_t)each;
        buf_release(&field);
    }
    assert_int_equal(pwrite(fd, tail.data, tail.size, at), tail.size);
    close(fd);
    buf_release(&head);
    buf_release(&model);
    buf_release(&tail);
    struct graph *g = NULL;
    double ms = load_large(p.model, &g);
    print_message("# 600 MB opened in %.2f ms\n", ms);
    assert_true(ms < 50);
    const struct value *w = &g->values[graph_find_value(g, "w")];
    const struct value *v = &g->values[graph_find_value(g, "v")];
    assert_false(w->constant.owned);
    assert_false(v->constant.owned);
    assert_true(tensor_get_f64(&w->constant, count - 1) == 1);
    assert_true(tensor_get_f64(&v->constant, count - 1) == 2);
    graph_destroy(&g);
    remove_place(&p);
}

/* An initializer of 3 GB in an external file. */
static void test_large_external(void **state) {
    (void)state;
    if (sizeof(void *) < 8)
        skip(); /* not addressable */
    struct place p = make_place();
    const int64_t dims[] = {800, 1000, 1000};
    int fd = open(p.weights, O_RDWR | O_CREAT | O_TRUNC, 0600);
    float last = 42;
    off_t bytes = (off_t)800000000 * 4;
    if (ftruncate(fd, bytes + 16) != 0 || pwrite(fd, &last, 4, bytes + 12) != 4) {
        close(fd);
        remove_place(&p);
        print_message("# SKIP this file system holds no sparse file of 3 GB\n");
        skip();
    }
    close(fd);
    struct buf t = external_msg("w", 3, dims, "data/weights.bin", "16", "3200000000");
    write_model(&p, &t, 1);
    struct graph *g = NULL;
    load_large(p.model, &g);
    const struct value *w = &g->values[graph_find_value(g, "w")];
    assert_true(tensor_get_f64(&w->constant, 799999999) == 42);
    graph_destroy(&g);
    remove_place(&p);
}

/* ---- anything may come from a file ----------------------------------------------------------- */

/* A small model with something of everything. */
static struct buf everything(void) {
    struct buf nodes[4], a, t;
    nodes[0] = node_msg("later", "Sum", "x,a,k", "y");
    nodes[1] = node_msg("relu", "Relu", "x", "a");
    nodes[2] = node_msg("k", "Constant", NULL, "k");
    nodes[3] = node_msg("", "Clip", "a,,w", "c");
    a = attr_msg("value", ATTRIBUTE_TYPE_TENSOR);
    t = weights_msg("", 3);
    msg_in(&a, ATTRIBUTE_T, &t);
    msg_in(&nodes[2], NODE_ATTRIBUTE, &a);
    a = attr_msg("ints", 0);
    wire_put_int(&a, ATTRIBUTE_INTS, -1);
    wire_put_bytes(&a, ATTRIBUTE_INTS, "\1\2", 2);
    msg_in(&nodes[1], NODE_ATTRIBUTE, &a);
    a = attr_msg("s", 0);
    wire_put_text(&a, ATTRIBUTE_S, "VALID");
    msg_in(&nodes[1], NODE_ATTRIBUTE, &a);
    a = attr_msg("f", ATTRIBUTE_TYPE_FLOAT);
    wire_put_float(&a, ATTRIBUTE_F, 0.5f);
    msg_in(&nodes[1], NODE_ATTRIBUTE, &a);
    a = attr_msg("strings", 0);
    wire_put_text(&a, ATTRIBUTE_STRINGS, "a");
    msg_in(&nodes[3], NODE_ATTRIBUTE, &a);
    struct buf graph = graph_msg(nodes, 4), in;
    t = tensor_msg("w", DT_F16, 0, NULL);
    wire_put_int(&t, TENSOR_INT32_DATA, 0x3c00);
    msg_in(&graph, GRAPH_INITIALIZER, &t);
    t = tensor_msg("i", DT_I64, 1, (int64_t[]){2});
    wire_put_bytes(&t, TENSOR_INT64_DATA, "\x80\x01\x05", 3);
    msg_in(&graph, GRAPH_INITIALIZER, &t);
    in = value_msg("w", DT_F16, 0, NULL);
    msg_in(&graph, GRAPH_INPUT, &in);
    in = value_msg("c", DT_F32, -1, NULL);
    msg_in(&graph, GRAPH_OUTPUT, &in);
    return model_msg(&graph, 3, 9);
}

/* Loads bytes in a block of exactly their size, so that a sanitizer sees a read beyond them. */
static enum cohort_code try_bytes(const unsigned char *bytes, size_t size,
                                  struct cohort_error *err) {
    struct graph *g = NULL;
    unsigned char *exact = malloc(size > 0 ? size : 1);
    memcpy(exact, bytes, size);
    enum cohort_code code = onnx_load_memory(&g, exact, size, NULL, err);
    free(exact);
    assert_int_equal(code == COHORT_OK, g != NULL);
    if (code != COHORT_OK) {
        assert_int_equal(err->code, code);
        assert_true(err->message[0] != '\0' && strchr(err->message, '\n') == NULL);
        assert_true(code == COHORT_ERR_FORMAT || code == COHORT_ERR_UNSUPPORTED);
    }
    for (int i = 0; g != NULL && i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            assert_true(g->nodes[i].in[k] < 0 ||
                        g->values[g->nodes[i].in[k]].producer < i); /* valid, if odd */
    graph_destroy(&g);
    assert_int_equal(mem_live_blocks(), 0);
    return code;
}

static void test_every_prefix(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct buf model = everything();
    unsigned char *bytes = malloc(model.size);
    size_t size = model.size, complete = 0;
    memcpy(bytes, model.data, size);
    buf_release(&model);
    assert_true(size > 200);
    for (size_t n = 0; n < size; n++)
        if (try_bytes(bytes, n, &err) == COHORT_OK)
            complete++; /* a model is complete before its opset import, which may be missing */
    assert_int_equal(complete, 1);
    assert_int_equal(try_bytes(bytes, size, &err), COHORT_OK);
    free(bytes);
}

static void test_every_corruption(void **state) {
    (void)state;
    static const unsigned char flips[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff};
    struct cohort_error err = {0};
    struct buf model = everything();
    unsigned char *bytes = malloc(model.size);
    size_t size = model.size, good = 0, bad = 0;
    memcpy(bytes, model.data, size);
    buf_release(&model);
    for (size_t i = 0; i < size; i++) {
        unsigned char original = bytes[i];
        for (size_t k = 0; k < sizeof flips + 2; k++) {
            bytes[i] = k < sizeof flips ? original ^ flips[k] : k == sizeof flips ? 0 : 0xff;
            if (try_bytes(bytes, size, &err) == COHORT_OK)
                good++;
            else
                bad++;
        }
        bytes[i] = original;
    }
    free(bytes);
    print_message("# %zu corruptions refused, %zu harmless\n", bad, good);
    assert_true(bad > 1000 && good > 100);
    assert_true(mem_peak_bytes() < (size_t)1 << 20);
}

static void test_many_values(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct buf graph =
        graph_msg(NULL, 0);            /* 100,000 inputs: names are looked up in constant time */
    for (int i = 99999; i >= 0; i--) { /* (downwards: "v12" comes before its beginning, "v1") */
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        struct buf in = value_msg(name, 1, 0, NULL);
        msg_in(&graph, GRAPH_INPUT, &in);
    }
    struct buf in = value_msg("y", 1, 0, NULL);
    msg_in(&graph, GRAPH_INPUT, &in);
    struct buf model = model_msg(&graph, 7, 13);
    struct graph *g = NULL;
    clock_t start = clock();
    assert_int_equal(onnx_load_memory(&g, model.data, model.size, NULL, &err), COHORT_OK);
    assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
    assert_int_equal(g->input_count, 100002);
    assert_string_equal(g->values[g->inputs[77]].name, "v99923");
    graph_destroy(&g);
    buf_release(&model);
}

/* ---- real networks --------------------------------------------------------------------------- */

/* $COHORT_SHARED or ../shared, and a folder in it; false when it is not there. */
static bool shared_folder(const char *folder, char *path, size_t bytes) {
    const char *shared = getenv("COHORT_SHARED");
    struct stat st;
    snprintf(path, bytes, "%s/%s", shared != NULL ? shared : "../shared", folder);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Loads all tensors of DIR/test_data_set_K; returns how many. */
static int load_test_data(const char *directory) {
    int tensors = 0;
    for (int set = 0; set < 20; set++) {
        char path[900];
        snprintf(path, sizeof path, "%s/test_data_set_%d", directory, set);
        DIR *d = opendir(path);
        if (d == NULL)
            break;
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            struct cohort_error err = {0};
            struct tensor t = {0};
            char *name = NULL, *file = file_join(path, e->d_name);
            if (strstr(e->d_name, ".pb") != NULL) {
                enum cohort_code code = onnx_load_tensor(&t, &name, file, &err);
                if (code != COHORT_OK && code != COHORT_ERR_UNSUPPORTED)
                    fail_msg("%s", err.message);
                tensors += code == COHORT_OK;
            }
            tensor_release(&t);
            mem_free(name);
            mem_free(file);
        }
        closedir(d);
    }
    return tensors;
}

static void load_folder(const char *folder, int *models, int *unsupported, int *tensors) {
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[700], model[720];
        struct cohort_error err = {0};
        struct graph *g = NULL;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        snprintf(model, sizeof model, "%s/model.onnx", path);
        enum cohort_code code = onnx_load(&g, model, &err);
        if (code != COHORT_OK &&
            (code != COHORT_ERR_UNSUPPORTED || strstr(err.message, "operator") == NULL))
            fail_msg("%s", err.message);
        *models += code == COHORT_OK;
        *unsupported += code == COHORT_ERR_UNSUPPORTED; /* operators that are yet to come */
        graph_destroy(&g);
        *tensors += load_test_data(path);
        assert_int_equal(mem_live_blocks(), 0);
    }
    closedir(d);
}

static void test_real_networks(void **state) {
    (void)state;
    char folder[300];
    int models = 0, unsupported = 0, tensors = 0;
    if (!shared_folder("nets", folder, sizeof folder)) {
        print_message("# SKIP no real networks beside the repository (COHORT_SHARED)\n");
        skip();
    }
    load_folder(folder, &models, &unsupported, &tensors);
    print_message("# %d networks, %d with unsupported operators, %d tensors\n", models, unsupported,
                  tensors);
    assert_true(models >= 15 && tensors > models);
}

static void test_conformance_models(void **state) {
    (void)state;
    char folder[300];
    int models = 0, unsupported = 0, tensors = 0;
    if (!shared_folder("conformance/node", folder, sizeof folder)) {
        print_message("# SKIP no operator tests beside the repository (COHORT_SHARED)\n");
        skip();
    }
    load_folder(folder, &models, &unsupported, &tensors);
    print_message("# %d models, %d with unsupported operators, %d tensors\n", models, unsupported,
                  tensors);
    assert_true(models > 300 && tensors > 1000);
}

static void test_nothing_left(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_prefix),       cmocka_unit_test(test_every_corruption),
        cmocka_unit_test(test_external_data),      cmocka_unit_test(test_bad_external_data),
        cmocka_unit_test(test_large_file),         cmocka_unit_test(test_large_external),
        cmocka_unit_test(test_many_values),        cmocka_unit_test(test_real_networks),
        cmocka_unit_test(test_conformance_models), cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests_name("onnx_files", tests, NULL, NULL);
}
