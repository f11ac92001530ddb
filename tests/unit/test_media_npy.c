/* .npy: every type there and back, headers as NumPy's versions write them, and damaged ones. */
#include "base/mem.h"
#include "media/media.h"
#include "tests/support/leaks.h"
#include "tests/support/testdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cohort_error err;

static const enum dtype all_types[] = {DT_F32, DT_U8,   DT_I8,  DT_U16, DT_I16, DT_I32,
                                       DT_I64, DT_BOOL, DT_F16, DT_F64, DT_U32, DT_U64};

static void round_trips(void **state) {
    (void)state;
    static const struct shape shapes[] = {{.rank = 0},
                                          {.rank = 1, .dim = {5}},
                                          {.rank = 2, .dim = {3, 4}},
                                          {.rank = 4, .dim = {1, 3, 2, 2}},
                                          {.rank = 3, .dim = {2, 0, 7}},
                                          {.rank = 8, .dim = {1, 2, 1, 2, 1, 2, 1, 2}}};
    for (size_t k = 0; k < sizeof all_types / sizeof *all_types; k++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            struct tensor t = {0}, back = {0};
            if (k > 0 && s != k % 6) /* saving waits for the disk: all shapes for the first type */
                continue;
            assert_int_equal(tensor_init(&t, all_types[k], &shapes[s], &err), COHORT_OK);
            unsigned char *bytes = t.data;
            for (size_t i = 0; i < tensor_bytes(&t); i++)
                bytes[i] = (unsigned char)(all_types[k] == DT_BOOL ? i % 2 : i * 37 + 11);
            const char *path = test_path("round.npy");
            assert_int_equal(npy_save(&t, path, &err), COHORT_OK);
            assert_int_equal(npy_load(&back, path, &err), COHORT_OK);
            assert_int_equal(back.type, t.type);
            assert_true(shape_equal(&back.shape, &t.shape));
            assert_memory_equal(back.data, t.data, tensor_bytes(&t));
            tensor_release(&t);
            tensor_release(&back);
        }
    }
    uint16_t halves[3] = {0x3fc0, 0xc040, 0}; /* bfloat16: 1.5, -3, 0 */
    struct tensor t = {.type = DT_BF16, .shape = {.rank = 1, .dim = {3}}, .data = halves},
                  back = {0};
    assert_int_equal(npy_save(&t, test_path("bf16.npy"), &err), COHORT_OK);
    assert_int_equal(npy_load(&back, test_path("bf16.npy"), &err), COHORT_OK);
    assert_int_equal(back.type, DT_F32);
    assert_memory_equal(back.data, ((float[]){1.5F, -3, 0}), 12);
    tensor_release(&back);
    t.type = DT_STRING;
    assert_int_equal(npy_save(&t, test_path("s.npy"), &err), COHORT_ERR_UNSUPPORTED);
    t = (struct tensor){.type = DT_F32, .shape = {.rank = 1, .dim = {3}}};
    assert_int_equal(npy_save(&t, test_path("s.npy"), &err), COHORT_ERR_SHAPE);
}

/* What NumPy 1.24 writes for np.arange(6, dtype='<i2').reshape(2, 3). */
static const unsigned char from_numpy[] =
    "\x93NUMPY\x01\0\x76\0{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }"
    "                                                          \n"
    "\0\0\x01\0\x02\0\x03\0\x04\0\x05";

static void as_numpy_writes(void **state) {
    (void)state;
    struct tensor t = {0};
    size_t bytes = sizeof from_numpy; /* the last zero byte is the string's own */
    assert_int_equal(bytes, 128 + 12);
    const char *path = test_write("np.npy", from_numpy, bytes);
    assert_int_equal(npy_load(&t, path, &err), COHORT_OK);
    assert_int_equal(t.type, DT_I16);
    assert_int_equal(t.shape.rank, 2);
    assert_memory_equal(t.data, ((int16_t[]){0, 1, 2, 3, 4, 5}), 12);
    /* and what we write for it is the same file */
    assert_int_equal(npy_save(&t, test_path("ours.npy"), &err), COHORT_OK);
    unsigned char ours[200];
    FILE *f = fopen(test_path("ours.npy"), "rb");
    assert_non_null(f);
    assert_int_equal(fread(ours, 1, sizeof ours, f), bytes);
    fclose(f);
    assert_memory_equal(ours, from_numpy, bytes);
    tensor_release(&t);
}

/* A file with that version, header text and data; the header is not padded. */
static const char *write_npy(int version, const char *header, const void *data, size_t bytes) {
    unsigned char file[1024] = "\x93NUMPY";
    size_t n = strlen(header), at = 8;
    file[6] = (unsigned char)version;
    for (int i = 0; i < (version == 1 ? 2 : 4); i++)
        file[at++] = (unsigned char)(n >> (8 * i));
    assert_true(at + n + bytes <= sizeof file);
    memcpy(file + at, header, n);
    if (bytes)
        memcpy(file + at + n, data, bytes);
    return test_write("made.npy", file, at + n + bytes);
}

static void versions_and_orders(void **state) {
    (void)state;
    static const int32_t plain[] = {1, 2, 3, 4, 5, 6}, columns[] = {1, 4, 2, 5, 3, 6};
    static const unsigned char big[] = {0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3,
                                        0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6};
    static const unsigned char big_columns[] = {0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2,
                                                0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 6};
    static const struct {
        int version;
        const char *header;
        const void *data;
    } table[] = {
        {1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }\n", plain},
        {2, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }   \n", plain},
        {3, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }\n", plain},
        {1, "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"=i4\"}", plain},
        {1, " { 'shape' : ( 2L , 3L , ) , 'descr' : '<i4' , 'fortran_order' : False } ", plain},
        {1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n", columns},
        {1, "{'descr': '>i4', 'fortran_order': False, 'shape': (2, 3), }\n", big},
        {3, "{'descr': '>i4', 'fortran_order': True, 'shape': (2, 3), }\n", big_columns},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tensor t = {0};
        assert_int_equal(
            npy_load(&t, write_npy(table[i].version, table[i].header, table[i].data, 24), &err),
            COHORT_OK);
        assert_int_equal(t.type, DT_I32);
        assert_true(t.shape.rank == 2 && t.shape.dim[0] == 2 && t.shape.dim[1] == 3);
        assert_memory_equal(t.data, plain, 24);
        tensor_release(&t);
    }
    /* three dimensions in Fortran order: [x + 2y + 6z] holds element (x, y, z) of 2x3x2 */
    int8_t cube[12];
    struct tensor t = {0};
    for (int i = 0; i < 12; i++)
        cube[i] = (int8_t)(i % 2 * 100 + i / 2 % 3 * 10 + i / 6);
    assert_int_equal(
        npy_load(
            &t,
            write_npy(1, "{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3, 2)}", cube, 12),
            &err),
        COHORT_OK);
    assert_memory_equal(t.data, ((int8_t[]){0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121}),
                        12);
    tensor_release(&t);
    assert_int_equal(
        npy_load(&t,
                 write_npy(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (4,)}",
                           "\0\1\2\xff", 4),
                 &err),
        COHORT_OK);
    assert_memory_equal(t.data, "\0\1\1\1", 4);
    tensor_release(&t);
}

static void wrong_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        enum cohort_code code;
        const char *says;
    } table[] = {
        {"", COHORT_ERR_FORMAT, "damaged .npy header: not a dict"},
        {"[]", COHORT_ERR_FORMAT, "damaged .npy header: not a dict"},
        {"{}", COHORT_ERR_FORMAT, "damaged .npy header: descr, fortran_order or shape is missing"},
        {"{'descr': '<i4', 'shape': (1,)}", COHORT_ERR_FORMAT,
         "damaged .npy header: descr, fortran_order or shape is missing"},
        {"{'descr' '<i4'}", COHORT_ERR_FORMAT, "damaged .npy header: not a dict of named values"},
        {"{'descr': '<i4' 'shape': ()}", COHORT_ERR_FORMAT,
         "damaged .npy header: a ',' or '}' is missing"},
        {"{'descr': 4}", COHORT_ERR_FORMAT, "damaged .npy header: descr is not a text"},
        {"{'descr': '<i4}", COHORT_ERR_FORMAT, "damaged .npy header: descr is not a text"},
        {"{'size': 3}", COHORT_ERR_FORMAT, "damaged .npy header: an unknown key"},
        {"{'fortran_order': 0}", COHORT_ERR_FORMAT,
         "damaged .npy header: fortran_order is neither True nor False"},
        {"{'shape': 3}", COHORT_ERR_FORMAT, "damaged .npy header: shape is not a tuple"},
        {"{'shape': (-3,)}", COHORT_ERR_FORMAT, "damaged .npy header: a dimension is not a number"},
        {"{'shape': (3 4)}", COHORT_ERR_FORMAT, "damaged .npy header: shape lacks a ',' or ')'"},
        {"{'shape': (99999999999999999999,)}", COHORT_ERR_FORMAT,
         "damaged .npy header: a dimension too large"},
        {"{'shape': (1,1,1,1,1,1,1,1,1)}", COHORT_ERR_UNSUPPORTED, "more than 8 dimensions"},
        {"{'descr': [('a', '<i4')]}", COHORT_ERR_UNSUPPORTED,
         "an array of records; only numbers are read"},
        {"{'descr': '<c8'}", COHORT_ERR_UNSUPPORTED,
         "elements of type '<c8'; only numbers and bool are read"},
        {"{'descr': '|O'}", COHORT_ERR_UNSUPPORTED,
         "elements of type '|O'; only numbers and bool are read"},
        {"{'descr': '<U3'}", COHORT_ERR_UNSUPPORTED,
         "elements of type '<U3'; only numbers and bool are read"},
        {"{'descr': '<f16'}", COHORT_ERR_UNSUPPORTED,
         "elements of type '<f16'; only numbers and bool are read"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': ()} x", COHORT_ERR_FORMAT,
         "damaged .npy header: something follows the dict"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}", COHORT_ERR_FORMAT,
         "truncated .npy file: 4 bytes of data for shape 2 of int32"},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}",
         COHORT_ERR_FORMAT,
         "truncated .npy file: 4 bytes of data for shape 4611686018427387904x4 of int32"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': ()}", COHORT_ERR_FORMAT,
         "2 bytes follow the array"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (0, 1000)}", COHORT_ERR_FORMAT,
         "4 bytes follow the array"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tensor t = {0};
        char expected[400];
        const char *path = write_npy(1, table[i].header, "abcd", 4);
        error_clear(&err);
        assert_int_equal(npy_load(&t, path, &err), table[i].code);
        snprintf(expected, sizeof expected, "%s: %s", path, table[i].says);
        assert_string_equal(err.message, expected);
        assert_null(t.data);
    }
    struct tensor t = {0};
    assert_int_equal(npy_load(&t, test_write("x.npy", "PK\3\4", 4), &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "x.npy: not a .npy file"));
    assert_int_equal(npy_load(&t, write_npy(4, "{}", NULL, 0), &err), COHORT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "made.npy: .npy format 4.0; 1.0 to 3.0 are read"));
    assert_int_equal(npy_load(&t, test_path("absent.npy"), &err), COHORT_ERR_IO);
}

static void cut_and_noisy(void **state) {
    (void)state;
    size_t whole = sizeof from_numpy;
    struct tensor t = {0};
    for (size_t n = 0; n < whole; n++) {
        assert_int_equal(npy_load(&t, test_write("cut.npy", from_numpy, n), &err),
                         COHORT_ERR_FORMAT);
        assert_null(t.data);
    }
    unsigned seed = 3;
    for (int round = 0; round < 2000; round++) {
        unsigned char noisy[sizeof from_numpy];
        memcpy(noisy, from_numpy, whole);
        for (int k = 0; k <= round % 2; k++) {
            seed = seed * 1664525 + 1013904223;
            noisy[(seed >> 8) % 80] ^= (unsigned char)(1U << (seed >> 29));
        }
        if (npy_load(&t, test_write("noisy.npy", noisy, whole), &err) == COHORT_OK)
            assert_true(tensor_bytes(&t) <= 12);
        tensor_release(&t);
    }
}

static void failing_memory(void **state) {
    (void)state;
    const char *path = test_write("np.npy", from_numpy, sizeof from_numpy);
    for (long nth = 1;; nth++) {
        struct tensor t = {0};
        mem_fail_at(nth);
        enum cohort_code code = npy_load(&t, path, &err);
        if (code == COHORT_OK)
            code = npy_save(&t, test_path("again.npy"), &err);
        mem_fail_at(0);
        tensor_release(&t);
        assert_int_equal(mem_live_blocks(), 0);
        if (code == COHORT_OK) {
            assert_true(nth > 2);
            break;
        }
        assert_int_equal(code, COHORT_ERR_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),         cmocka_unit_test(as_numpy_writes),
        cmocka_unit_test(versions_and_orders), cmocka_unit_test(wrong_headers),
        cmocka_unit_test(cut_and_noisy),       cmocka_unit_test(failing_memory),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
