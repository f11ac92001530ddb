/* The protobuf wire reader and TensorProtos, on bytes put together by hand. */
#include "base/file.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/onnx/tensor_proto.h"
#include "tests/support/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- wire ------------------------------------------------------------------------------------ */

static void test_varints(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        bool good;
        uint64_t value;
    } cases[] = {
        {"\0", 1, true, 0},
        {"\x7f", 1, true, 127},
        {"\x80\x01", 2, true, 128},
        {"\xac\x02", 2, true, 300},
        {"\x80\x00", 2, true, 0}, /* longer than needed is allowed */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, true, UINT64_MAX},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 10, true, (uint64_t)1 << 63},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, false, 0}, /* a 65th bit */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11, false, 0},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, false, 0},
        {"\x80", 1, false, 0},
        {"", 0, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const unsigned char *at = (const unsigned char *)cases[i].bytes, *end = at + cases[i].size;
        uint64_t v = 77;
        assert_int_equal(wire_varint(&at, end, &v), cases[i].good);
        if (cases[i].good) {
            assert_true(v == cases[i].value);
            assert_ptr_equal(at, end);
        }
    }
    for (uint64_t v = 1; v != 0; v = v > UINT64_MAX / 3 ? 0 : v * 3 - 1 + (v == 1)) {
        struct buf b = {0};
        wire_put_varint(&b, v);
        assert_int_equal(b.size, wire_varint_bytes(v));
        const unsigned char *at = b.data;
        uint64_t back;
        assert_true(wire_varint(&at, b.data + b.size, &back));
        assert_true(back == v);
        buf_release(&b);
    }
}

static void expect_wire_error(const char *bytes, size_t size, const char *part) {
    struct cohort_error err = {0};
    struct wire w = wire_of(bytes, size, "TestProto");
    struct wire_field f;
    enum cohort_code code;
    do
        code = wire_next(&w, &f, &err);
    while (code == COHORT_OK && f.number != 0);
    assert_int_equal(code, COHORT_ERR_FORMAT);
    if (strstr(err.message, part) == NULL || strstr(err.message, "TestProto") == NULL)
        fail_msg("expected \"%s\" in \"%s\"", part, err.message);
}

static void test_malformed_fields(void **state) {
    (void)state;
    expect_wire_error("\x0b\x0c", 2, "byte 0: a group");         /* start group */
    expect_wire_error("\x08\x01\x0c", 3, "byte 2: a group");     /* end group */
    expect_wire_error("\x0e", 1, "unknown wire type");           /* type 6 */
    expect_wire_error("\x0f", 1, "unknown wire type");           /* type 7 */
    expect_wire_error("\x00\x01", 2, "impossible field number"); /* number 0 */
    expect_wire_error("\xf8\xff\xff\xff\x7f\x01", 6, "impossible field number");
    expect_wire_error("\x80", 1, "tag that is cut short");
    expect_wire_error("\x08", 1, "varint that is cut short");
    expect_wire_error("\x08\x80", 2, "varint that is cut short");
    expect_wire_error("\x0d\x00\x00\x00", 4, "number that is cut short");
    expect_wire_error("\x09\x00\x00\x00\x00\x00\x00\x00", 8, "number that is cut short");
    expect_wire_error("\x08\x01\x0a\x05"
                      "abcd",
                      8, "byte 2: field 1");
    expect_wire_error("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "18446744073709551615");
}

static void test_fields(void **state) {
    (void)state;
    static const char bytes[] =
        "\x08\x96\x01\x12\x07testing\x1d\x01\x02\x03\x04\x21\1\2\3\4\5\6\7\x88"
        "\xf8\xff\xff\xff\x0f\x05";
    struct cohort_error err = {0};
    struct wire w = wire_of(bytes, sizeof bytes - 1, "TestProto");
    struct wire_field f;
    assert_int_equal(wire_next(&w, &f, &err), COHORT_OK);
    assert_int_equal(f.number, 1);
    assert_true(f.value == 150);
    assert_int_equal(wire_next(&w, &f, &err), COHORT_OK);
    assert_int_equal(f.number, 2);
    struct wire_text text;
    assert_int_equal(wire_text(&w, &f, &text, &err), COHORT_OK);
    assert_true(wire_text_is(text, "testing"));
    assert_false(wire_text_is(text, "testin"));
    int64_t v;
    assert_int_equal(wire_int(&w, &f, &v, &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "byte 3"));
    assert_int_equal(wire_next(&w, &f, &err), COHORT_OK);
    assert_true(f.type == WIRE_FIXED32 && f.value == 0x04030201);
    assert_int_equal(wire_next(&w, &f, &err), COHORT_OK);
    assert_true(f.type == WIRE_FIXED64 && f.value == 0x8807060504030201u);
    assert_int_equal(wire_next(&w, &f, &err), COHORT_OK);
    assert_int_equal(f.number, (1 << 29) - 1);
    assert_int_equal(wire_next(&w, &f, &err), COHORT_OK);
    assert_int_equal(f.number, 0);
    assert_int_equal(wire_next(&w, &f, &err), COHORT_OK);
    assert_int_equal(f.number, 0);
}

static void test_show(void **state) {
    (void)state;
    char show[WIRE_SHOW_BYTES], longer[300];
    memset(longer, 'a', sizeof longer);
    assert_string_equal(wire_show((struct wire_text){"a\nb\x7f", 4}, show), "a?b?");
    assert_string_equal(wire_show((struct wire_text){"", 0}, show), "");
    assert_int_equal(strlen(wire_show((struct wire_text){longer, 300}, show)), 103);
    assert_int_equal(strlen(wire_show((struct wire_text){longer, 100}, show)), 100);
    assert_string_equal(show + 97, "aaa");
}

/* ---- tensors: every type in every encoding --------------------------------------------------- */

static enum cohort_code load(const struct buf *b, struct tensor *t, struct cohort_error *err) {
    struct tensor_source source = {0};
    struct tensor_fields fields;
    enum cohort_code code =
        tensor_proto_parse(wire_of(b->data, b->size, "TensorProto"), &fields, err);
    if (code == COHORT_OK)
        code = tensor_proto_load(&source, &fields, t, err);
    tensor_source_release(&source);
    return code;
}

#define VALUES 4
struct typed_case {
    enum dtype type;
    uint32_t field;
    uint64_t wire[VALUES]; /* as varint or fixed bits */
    double value[VALUES];
};

static const struct typed_case typed_cases[] = {
    {DT_F32, TENSOR_FLOAT_DATA, {0, 0x3f800000, 0xc0200000, 0x7f800000}, {0, 1, -2.5, 1.0 / 0.0}},
    {DT_F64,
     TENSOR_DOUBLE_DATA,
     {0, 0x3ff0000000000000, 0xc004000000000000, 1},
     {0, 1, -2.5, 0x1p-1074}},
    {DT_I64, TENSOR_INT64_DATA, {0, 1, (uint64_t)-5, (uint64_t)1 << 40}, {0, 1, -5, 0x1p40}},
    {DT_I32, TENSOR_INT32_DATA, {0, 7, (uint64_t)-5, 0x7fffffff}, {0, 7, -5, 2147483647}},
    {DT_I16, TENSOR_INT32_DATA, {0, 7, (uint64_t)-32768, 32767}, {0, 7, -32768, 32767}},
    {DT_I8, TENSOR_INT32_DATA, {0, 7, (uint64_t)-128, 255}, {0, 7, -128, -1}},
    {DT_U16, TENSOR_INT32_DATA, {0, 7, 65535, 32768}, {0, 7, 65535, 32768}},
    {DT_U8, TENSOR_INT32_DATA, {0, 7, 128, 255}, {0, 7, 128, 255}},
    {DT_BOOL, TENSOR_INT32_DATA, {0, 1, 1, 2}, {0, 1, 1, 1}},
    {DT_F16, TENSOR_INT32_DATA, {0, 0x3c00, 0xc100, 0x0001}, {0, 1, -2.5, 0x1p-24}},
    {DT_BF16, TENSOR_INT32_DATA, {0, 0x3f80, 0xc020, 0x8000}, {0, 1, -2.5, -0.0}},
    {DT_U32, TENSOR_UINT64_DATA, {0, 7, 0xffffffff, 1}, {0, 7, 4294967295.0, 1}},
    {DT_U64, TENSOR_UINT64_DATA, {0, 7, UINT64_MAX, 1}, {0, 7, 18446744073709551616.0, 1}},
};
#define TYPED_CASES (sizeof typed_cases / sizeof typed_cases[0])

static void put_number(struct buf *b, enum dtype type, uint64_t v) {
    if (type == DT_F32)
        buf_u32(b, (uint32_t)v);
    else if (type == DT_F64)
        buf_u64(b, v);
    else
        wire_put_varint(b, v);
}

static void put_typed(struct buf *b, const struct typed_case *c, int from, int to, bool packed) {
    enum wire_type item = c->type == DT_F32   ? WIRE_FIXED32
                          : c->type == DT_F64 ? WIRE_FIXED64
                                              : WIRE_VARINT;
    struct buf run = {0};
    for (int i = from; i < to; i++) {
        if (!packed)
            wire_put_tag(b, c->field, item);
        put_number(packed ? &run : b, c->type, c->wire[i]);
    }
    if (packed)
        wire_put_message(b, c->field, &run);
    buf_release(&run);
}

static void put_raw(struct buf *b, const struct typed_case *c) {
    struct buf raw = {0};
    for (int i = 0; i < VALUES; i++)
        for (size_t k = 0; k < dtype_bytes(c->type); k++)
            buf_u8(&raw, (uint8_t)(c->wire[i] >> (8 * k)));
    msg_in(b, TENSOR_RAW_DATA, &raw);
}

static void test_typed_data(void **state) {
    (void)state;
    for (size_t k = 0; k < TYPED_CASES; k++)
        for (int encoding = 0; encoding < 6; encoding++) {
            const struct typed_case *c = &typed_cases[k];
            struct cohort_error err = {0};
            struct buf b = {0};
            if (encoding == 5) /* data before dims and type, and an empty run */
                put_typed(&b, c, 0, 0, true);
            if (encoding == 5)
                put_typed(&b, c, 0, 4, true);
            struct buf head = tensor_msg("t", c->type, 2, (int64_t[]){2, 2});
            buf_bytes(&b, head.data, head.size);
            buf_release(&head);
            if (encoding == 0)
                put_raw(&b, c);
            else if (encoding == 1)
                put_typed(&b, c, 0, 4, true);
            else if (encoding == 2)
                put_typed(&b, c, 0, 4, false);
            else if (encoding == 3 || encoding == 4) { /* in two parts */
                put_typed(&b, c, 0, 3, encoding == 3);
                put_typed(&b, c, 3, 4, true);
            }
            struct tensor t = {0};
            if (load(&b, &t, &err) != COHORT_OK)
                fail_msg("%s, encoding %d: %s", dtype_name(c->type), encoding, err.message);
            assert_int_equal(t.type, c->type);
            assert_int_equal(shape_count(&t.shape), 4);
            for (int i = 0; i < VALUES; i++)
                if (tensor_get_f64(&t, i) != c->value[i])
                    fail_msg("%s, encoding %d: element %d is %g, not %g", dtype_name(c->type),
                             encoding, i, tensor_get_f64(&t, i), c->value[i]);
            tensor_release(&t);
            buf_release(&b);
        }
    assert_int_equal(mem_live_blocks(), 0);
}

static void test_shapes(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct tensor t = {0};
    struct buf b = tensor_msg(NULL, 1, 0, NULL), one = {0}; /* a scalar */
    buf_f32(&one, 4.5f);
    wire_put_message(&b, TENSOR_FLOAT_DATA, &one);
    assert_int_equal(load(&b, &t, &err), COHORT_OK);
    assert_int_equal(t.shape.rank, 0);
    assert_true(tensor_f32(&t)[0] == 4.5f);
    tensor_release(&t);
    buf_release(&b);

    b = tensor_msg(NULL, 7, 2,
                   (int64_t[]){0, (int64_t)1 << 40}); /* empty, however large it looks */
    assert_int_equal(load(&b, &t, &err), COHORT_OK);
    assert_int_equal(shape_count(&t.shape), 0);
    tensor_release(&t);
    wire_put_bytes(&b, TENSOR_RAW_DATA, "", 0);
    assert_int_equal(load(&b, &t, &err), COHORT_OK);
    tensor_release(&t);
    buf_release(&b);

    /* dims packed, rank 8, unknown fields of every wire type around them */
    struct buf dims = {0};
    b = (struct buf){0};
    for (int i = 0; i < 8; i++)
        wire_put_varint(&dims, 1);
    wire_put_int(&b, 100, 5);
    msg_in(&b, TENSOR_DIMS, &dims);
    wire_put_float(&b, 101, 1);
    wire_put_text(&b, 12, "a doc string");
    wire_put_int(&b, TENSOR_DATA_TYPE, 1);
    wire_put_message(&b, TENSOR_RAW_DATA, &one);
    wire_put_tag(&b, 102, WIRE_FIXED64);
    buf_u64(&b, 3);
    assert_int_equal(load(&b, &t, &err), COHORT_OK);
    assert_int_equal(t.shape.rank, 8);
    tensor_release(&t);
    buf_release(&b);
    buf_release(&one);
}

/* Loads, expects the code and the words, and releases b. */
static void expect_error(struct buf *b, enum cohort_code expected, const char *words) {
    struct cohort_error err = {0};
    struct tensor t = {0};
    enum cohort_code code = load(b, &t, &err);
    if (code != expected || err.code != expected || strstr(err.message, words) == NULL)
        fail_msg("expected %s with \"%s\", got %s: %s", cohort_code_name(expected), words,
                 cohort_code_name(code), err.message);
    assert_null(t.data);
    buf_release(b);
}

static void test_bad_tensors(void **state) {
    (void)state;
    const int64_t six[] = {2, 3}, negative[] = {2, -3}, nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const int64_t huge[] = {(int64_t)1 << 40, (int64_t)1 << 40}, large[] = {100, 1000, 1000};
    struct buf b;
    b = tensor_msg("t", 1, 2, six);
    expect_error(&b, COHORT_ERR_FORMAT, "needs 24 bytes");
    b = tensor_msg("t", 1, 2, six);
    wire_put_bytes(&b, TENSOR_RAW_DATA, "12345678", 8);
    expect_error(&b, COHORT_ERR_FORMAT, "has 8 in its raw_data");
    b = tensor_msg("t", 7, 2, six);
    for (int i = 0; i < 7; i++)
        wire_put_int(&b, TENSOR_INT64_DATA, i);
    expect_error(&b, COHORT_ERR_FORMAT, "needs 6 elements");
    b = tensor_msg("t", 7, 1, (int64_t[]){1});
    wire_put_int(&b, TENSOR_INT32_DATA, 1);
    expect_error(&b, COHORT_ERR_FORMAT, "a wrong field");
    b = tensor_msg("t", 7, 1, (int64_t[]){1});
    wire_put_int(&b, TENSOR_INT64_DATA, 1);
    wire_put_bytes(&b, TENSOR_RAW_DATA, "12345678", 8);
    expect_error(&b, COHORT_ERR_FORMAT, "two fields");
    b = tensor_msg("t", 1, 2, negative);
    expect_error(&b, COHORT_ERR_FORMAT, "dimension 1 is -3");
    b = tensor_msg("t", 1, 9, nine);
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "9 dimensions");
    b = tensor_msg("t", 1, 2, huge);
    expect_error(&b, COHORT_ERR_FORMAT, "impossibly large");
    b = tensor_msg("t", 1, 3, large);
    expect_error(&b, COHORT_ERR_FORMAT, "needs 400000000 bytes");
    b = tensor_msg("t", 7, 3, large);
    wire_put_int(&b, TENSOR_INT64_DATA, 1);
    expect_error(&b, COHORT_ERR_FORMAT, "needs 100000000 elements");
    b = tensor_msg("t", 8, 1, (int64_t[]){1});
    wire_put_text(&b, TENSOR_STRING_DATA, "text");
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "string");
    b = tensor_msg("t", 22, 1, (int64_t[]){1});
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "int4");
    b = tensor_msg("t", 14, 0, NULL);
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "complex64");
    b = tensor_msg("t", 99, 0, NULL);
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "element type 99");
    b = tensor_msg("t", -1, 0, NULL);
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "element type -1");
    b = (struct buf){0};
    expect_error(&b, COHORT_ERR_FORMAT, "element type is missing");
    b = tensor_msg("t", 1, 0, NULL);
    wire_put_bytes(&b, TENSOR_SEGMENT, "", 0);
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "segments");
    b = tensor_msg("t", 2, 1, (int64_t[]){1});
    wire_put_int(&b, TENSOR_INT32_DATA, 300);
    expect_error(&b, COHORT_ERR_FORMAT, "does not fit its type, uint8");
    b = tensor_msg("t", 10, 1, (int64_t[]){1});
    wire_put_int(&b, TENSOR_INT32_DATA, 65536);
    expect_error(&b, COHORT_ERR_FORMAT, "float16");
    b = tensor_msg("t", 12, 1, (int64_t[]){1});
    wire_put_int(&b, TENSOR_UINT64_DATA, (int64_t)1 << 32);
    expect_error(&b, COHORT_ERR_FORMAT, "uint32");
    b = tensor_msg("t", 1, 1, (int64_t[]){1});
    wire_put_bytes(&b, TENSOR_FLOAT_DATA, "123", 3);
    expect_error(&b, COHORT_ERR_FORMAT, "cut short");
    b = tensor_msg("t", 7, 1, (int64_t[]){1});
    wire_put_bytes(&b, TENSOR_INT64_DATA, "\x80", 1);
    expect_error(&b, COHORT_ERR_FORMAT, "cut short");
    b = tensor_msg("t", 7, 1, (int64_t[]){1});
    wire_put_bytes(&b, TENSOR_INT64_DATA, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11);
    expect_error(&b, COHORT_ERR_FORMAT, "too long");
    b = tensor_msg("t", 1, 0, NULL);
    wire_put_int(&b, TENSOR_RAW_DATA, 4);
    expect_error(&b, COHORT_ERR_FORMAT, "wire type");
    b = tensor_msg("t", 1, 0, NULL);
    wire_put_bytes(&b, TENSOR_NAME, "a\0b", 3);
    expect_error(&b, COHORT_ERR_FORMAT, "zero byte");
    b = tensor_msg("t", 1, 0, NULL);
    wire_put_int(&b, TENSOR_DATA_LOCATION, 2);
    expect_error(&b, COHORT_ERR_UNSUPPORTED, "data location 2");
    b = tensor_msg("t", 1, 0, NULL);
    wire_put_int(&b, TENSOR_DATA_LOCATION, TENSOR_LOCATION_EXTERNAL);
    expect_error(&b, COHORT_ERR_FORMAT, "without a location");
    assert_int_equal(mem_live_blocks(), 0);
    assert_true(mem_peak_bytes() < 1 << 20); /* a gigabyte was never asked for */
}

/* Raw bools other than 0 and 1 become 1: who reads a bool through a C bool must not see a 2. */
static void test_bools_are_normal(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct tensor t = {0};
    struct buf b = tensor_msg("t", DT_BOOL, 1, (int64_t[]){3});
    wire_put_bytes(&b, TENSOR_RAW_DATA, "\x00\x01\x80", 3);
    assert_int_equal(load(&b, &t, &err), COHORT_OK);
    assert_memory_equal(t.data, "\0\1\1", 3);
    tensor_release(&t);
    buf_release(&b);
}

/* ---- tensors in files ------------------------------------------------------------------------ */

static void test_tensor_files(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char path[64], *name = NULL;
    snprintf(path, sizeof path, "/tmp/cohort_test_onnx.%ld.pb", (long)getpid());
    for (size_t k = 0; k < TYPED_CASES; k++) { /* what is saved is loaded, for every type */
        struct tensor t = {0}, back = {0};
        struct shape shape = shape_of(3, (int64_t[]){4, 1, 50});
        assert_int_equal(tensor_init(&t, typed_cases[k].type, &shape, &err), COHORT_OK);
        for (int i = 0; i < 200; i++)
            tensor_set_i64(&t, i, i % 2 == 0 ? i : -i);
        assert_int_equal(onnx_save_tensor(&t, "a name", path, &err), COHORT_OK);
        assert_int_equal(onnx_load_tensor(&back, &name, path, &err), COHORT_OK);
        assert_string_equal(name, "a name");
        assert_int_equal(back.type, t.type);
        assert_true(shape_equal(&back.shape, &shape));
        assert_memory_equal(back.data, t.data, tensor_bytes(&t));
        assert_true(back.owned && tensor_aligned(&back));
        mem_free(name);
        tensor_release(&t);
        tensor_release(&back);
    }
    struct tensor t = {0};
    struct shape shape = shape_of(2, (int64_t[]){300, 300}); /* larger than what is always copied */
    assert_int_equal(tensor_init(&t, DT_F32, &shape, &err), COHORT_OK);
    tensor_f32(&t)[89999] = 5;
    assert_int_equal(onnx_save_tensor(&t, NULL, path, &err), COHORT_OK);
    tensor_release(&t);
    assert_int_equal(onnx_load_tensor(&t, &name, path, &err), COHORT_OK);
    assert_string_equal(name, "");
    assert_true(t.owned && tensor_f32(&t)[89999] == 5);
    mem_free(name);
    tensor_release(&t);
    assert_int_equal(onnx_load_tensor(&t, NULL, path, &err), COHORT_OK);
    tensor_release(&t);
    for (long n = 1;; n++) { /* the n-th allocation fails */
        mem_fail_at(n);
        enum cohort_code code = onnx_load_tensor(&t, &name, path, &err);
        mem_fail_at(0);
        if (code == COHORT_OK) {
            assert_true(n > 3);
            break;
        }
        assert_int_equal(code, COHORT_ERR_MEMORY);
        assert_int_equal(mem_live_blocks(), 0);
    }
    mem_free(name);
    tensor_release(&t);
    unlink(path);
    assert_int_equal(onnx_load_tensor(&t, &name, path, &err), COHORT_ERR_IO);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(file_replace(path, "\x08\x05garbage", 9, &err), COHORT_OK);
    assert_int_equal(onnx_load_tensor(&t, &name, path, &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, path));
    unlink(path);
}

static void test_nothing_left(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varints),      cmocka_unit_test(test_malformed_fields),
        cmocka_unit_test(test_fields),       cmocka_unit_test(test_show),
        cmocka_unit_test(test_typed_data),   cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_bad_tensors),  cmocka_unit_test(test_bools_are_normal),
        cmocka_unit_test(test_tensor_files), cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests_name("onnx_wire", tests, NULL, NULL);
}
