/* The ONNX writer, byte for byte: expectations were put together by hand from the protobuf encoding
 * and ONNX's field numbers, independently of the code (test_onnx.c reads back what is written). */
#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/onnx/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void make_path(char path[64]) {
    snprintf(path, 64, "/tmp/cohort_test_onnx_write.%ld", (long)getpid());
}

static void assert_file(const char *path, const void *expected, size_t bytes) {
    struct cohort_error err = {0};
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(file_read(path, 1 << 20, &text, &size, &err), COHORT_OK);
    assert_int_equal(size, bytes);
    assert_memory_equal(text, expected, bytes);
    mem_free(text);
    unlink(path);
}

/* Writes first, first+1, … */
static void fill_counting(void *context, int64_t first, int64_t count, float *out) {
    int64_t *next = context;
    assert_int_equal(first, *next);
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)(first + i);
    *next += count;
}

static void test_small_model(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct onnx_writer *w = NULL;
    char path[64];
    make_path(path);
    int64_t next = 0;
    const int64_t pads[] = {0, -1};
    const struct onnx_attr attrs[] = {{.name = "p", .kind = ATTR_INTS, .ints = pads, .count = 2},
                                      {.name = "f", .kind = ATTR_FLOAT, .f = 1.0f}};
    assert_int_equal(onnx_writer_create(&w, "g", 13, &err), COHORT_OK);
    struct shape x = shape_of(2, (int64_t[]){-1, 3}), weight = shape_of(1, (int64_t[]){2});
    assert_int_equal(onnx_writer_input(w, "x", DT_F32, &x, &err), COHORT_OK);
    assert_int_equal(onnx_writer_output(w, "y", DT_F32, &(struct shape){.rank = -1}, &err),
                     COHORT_OK);
    assert_int_equal(onnx_writer_node(w, "n", "Op", (const char *[]){"x", NULL, "w"}, 3,
                                      (const char *[]){"y"}, 1, attrs, 2, &err),
                     COHORT_OK);
    assert_int_equal(onnx_writer_weights(w, "w", &weight, fill_counting, &next, &err), COHORT_OK);
    assert_int_equal(onnx_writer_save(w, path, &err), COHORT_OK);
    onnx_writer_destroy(&w);
    assert_null(w);
    static const unsigned char expected[] = {
        0x08, 7,                                        /* ir_version */
        0x12, 6,    'c',  'o',  'h',  'o',  'r',  't',  /* producer_name */
        0x42, 4,    0x0a, 0,    0x10, 13,               /* opset_import */
        0x3a, 106,                                      /* graph */
        0x0a, 52,                                       /*   node */
        0x0a, 1,    'x',  0x0a, 0,    0x0a, 1,    'w',  /*     inputs */
        0x12, 1,    'y',                                /*     output */
        0x1a, 1,    'n',  0x22, 2,    'O',  'p',        /*     name, op_type */
        0x2a, 19,   0x0a, 1,    'p',  0x40, 0,    0x40, /*     attribute: name, ints 0 … */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,                /* … -1 */
        0xa0, 0x01, 7,                                                             /* type INTS */
        0x2a, 11,   0x0a, 1,    'f',  0x15, 0,    0,    0x80, 0x3f, 0xa0, 0x01, 1, /* attribute f */
        0x12, 1,    'g',                                                           /*   name */
        0x2a, 17,   0x08, 2,    0x10, 1,    0x42, 1,    'w',           /*   initializer */
        0x4a, 8,    0,    0,    0,    0,    0,    0,    0x80, 0x3f,    /*     raw_data 0, 1 */
        0x5a, 17,   0x0a, 1,    'x',  0x12, 12,   0x0a, 10,   0x08, 1, /*   input */
        0x12, 6,    0x0a, 0,    0x0a, 2,    0x08, 3,                   /*     shape ?x3 */
        0x62, 9,    0x0a, 1,    'y',  0x12, 4,    0x0a, 2,    0x08, 1, /*   output */
    };
    assert_file(path, expected, sizeof expected);
}

static void test_tensor_file(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char path[64];
    make_path(path);
    int16_t data[] = {1, -2};
    struct tensor t = {
        .type = DT_I16, .shape = shape_of(2, (int64_t[]){1, 2}), .data = data, .owned = false};
    assert_int_equal(onnx_save_tensor(&t, "t", path, &err), COHORT_OK);
    static const unsigned char expected[] = {0x08, 1,    0x08, 2, 0x10, 5,    0x42, 1,
                                             't',  0x4a, 4,    1, 0,    0xfe, 0xff};
    assert_file(path, expected, sizeof expected);

    struct tensor empty = {.type = DT_F32, .shape = shape_of(1, (int64_t[]){0})};
    assert_int_equal(onnx_save_tensor(&empty, NULL, path, &err), COHORT_OK);
    assert_file(path, "\x08\0\x10\x01\x4a\0", 6);

    t.type = DT_STRING;
    assert_int_equal(onnx_save_tensor(&t, "t", path, &err), COHORT_ERR_SHAPE);
    t.type = DT_I16;
    t.shape.dim[0] = -1;
    assert_int_equal(onnx_save_tensor(&t, "t", path, &err), COHORT_ERR_SHAPE);
    assert_int_equal(access(path, F_OK), -1);
    t.shape.dim[0] = 1;
    assert_int_equal(onnx_save_tensor(&t, "t", "/nonexistent/t.pb", &err), COHORT_ERR_IO);
    assert_non_null(strstr(err.message, "/nonexistent/t.pb"));
}

/* Weights come in order and in pieces; nothing of their size lies in memory. */
static void test_large_weights(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct onnx_writer *w = NULL;
    char path[64];
    make_path(path);
    int64_t next = 0;
    struct shape big = shape_of(2, (int64_t[]){1000, 1003});
    assert_int_equal(onnx_writer_create(&w, "g", 17, &err), COHORT_OK);
    assert_int_equal(onnx_writer_weights(w, "w", &big, fill_counting, &next, &err), COHORT_OK);
    assert_int_equal(onnx_writer_save(w, path, &err), COHORT_OK);
    assert_int_equal(next, 1003000);
    assert_true(mem_peak_bytes() < 1000000);
    onnx_writer_destroy(&w);
    struct file_map map;
    assert_int_equal(file_map(&map, path, &err), COHORT_OK);
    float last;
    memcpy(&last, map.data + map.bytes - sizeof last, sizeof last);
    assert_true(last == 1002999.0f);
    file_unmap(&map);
    unlink(path);
}

static void test_refusals(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct onnx_writer *w = NULL;
    char path[64];
    make_path(path);
    int64_t next = 0;
    assert_int_equal(onnx_writer_create(&w, "g", 17, &err), COHORT_OK);
    struct shape open = shape_of(1, (int64_t[]){-1});
    assert_int_equal(onnx_writer_weights(w, "w", &open, fill_counting, &next, &err),
                     COHORT_ERR_SHAPE);
    assert_non_null(strstr(err.message, "'w'"));
    const struct onnx_attr strings = {.name = "s", .kind = ATTR_STRINGS};
    assert_int_equal(onnx_writer_node(w, "n", "Op", NULL, 0, NULL, 0, &strings, 1, &err),
                     COHORT_ERR_USAGE);
    struct tensor unknown = {.type = DT_F32, .shape = shape_of(1, (int64_t[]){3})};
    assert_int_equal(onnx_writer_tensor(w, "t", &unknown, &err), COHORT_ERR_USAGE);
    struct shape huge = shape_of(1, (int64_t[]){600000000});
    assert_int_equal(onnx_writer_weights(w, "w", &huge, fill_counting, &next, &err), COHORT_OK);
    assert_int_equal(onnx_writer_save(w, path, &err), COHORT_ERR_UNSUPPORTED);
    assert_int_equal(next, 0);
    assert_int_equal(access(path, F_OK), -1);
    onnx_writer_destroy(&w);
    onnx_writer_destroy(&w);
}

/* The n-th allocation fails, for every n: an error, no file, and nothing is lost. */
static enum cohort_code write_something(const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct onnx_writer *w = NULL;
    int64_t next = 0;
    struct shape s = shape_of(1, (int64_t[]){40});
    float values[40] = {0};
    struct tensor t = {.type = DT_F32, .shape = s, .data = values};
    const int64_t ints[] = {1, 2, 3};
    const struct onnx_attr attr = {.name = "a", .kind = ATTR_INTS, .ints = ints, .count = 3};
    TRY(onnx_writer_create(&w, "g", 17, err));
    TRY(onnx_writer_input(w, "x", DT_F32, &s, err));
    TRY(onnx_writer_output(w, "y", DT_F32, &s, err));
    TRY(onnx_writer_node(w, "n", "Add", (const char *[]){"x", "w"}, 2, (const char *[]){"y"}, 1,
                         &attr, 1, err));
    TRY(onnx_writer_weights(w, "w", &s, fill_counting, &next, err));
    TRY(onnx_writer_tensor(w, "t", &t, err));
    TRY(onnx_writer_save(w, path, err));
out:
    onnx_writer_destroy(&w);
    return code;
}

static void test_allocation_failures(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char path[64];
    make_path(path);
    long n = 1;
    for (;; n++) {
        mem_fail_at(n);
        enum cohort_code code = write_something(path, &err);
        mem_fail_at(0);
        assert_int_equal(mem_live_blocks(), 0);
        if (code == COHORT_OK)
            break;
        assert_int_equal(code, COHORT_ERR_MEMORY);
        assert_int_equal(access(path, F_OK), -1);
        assert_true(n < 1000);
    }
    assert_true(n > 15);
    unlink(path);
}

static void test_nothing_left(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_model),         cmocka_unit_test(test_tensor_file),
        cmocka_unit_test(test_large_weights),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_allocation_failures), cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests_name("onnx_write", tests, NULL, NULL);
}
