/* JSON: what is refused and with which words, values and their paths, stable text, failing memory.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/support/leaks.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct cohort_error err;

static enum cohort_code parse(cJSON **d, const char *text) {
    error_clear(&err);
    return json_parse(d, text, strlen(text), "p.json", &err);
}

static void refuses(void **state) {
    (void)state;
    static const char *const table[][2] = {
        {"", "p.json:1:1: empty"},
        {" \n ", "p.json:2:2: empty"},
        {"{\n  \"a\": 1\n  \"b\": 2}", "p.json:3:3: expected ',' or '}'"},
        {"[1 2]", "p.json:1:4: expected ',' or ']'"},
        {"[1,]", "p.json:1:4: expected a value"},
        {"{\"a\":1,}", "p.json:1:8: expected a key in quotes"},
        {"{a:1}", "p.json:1:2: expected a key in quotes"},
        {"{\"a\" 1}", "p.json:1:6: expected ':' after the key"},
        {"[1", "p.json:1:3: the text ends too early"},
        {"[", "p.json:1:2: the text ends too early"},
        {"{\"a\":", "p.json:1:6: the text ends too early"},
        {"1 2", "p.json:1:3: something follows the document"},
        {"{} x", "p.json:1:4: something follows the document"},
        {"nul", "p.json:1:1: expected a value"},
        {"True", "p.json:1:1: expected a value"},
        {"NaN", "p.json:1:1: expected a value"},
        {"// note\n1", "p.json:1:1: expected a value"},
        {"'a'", "p.json:1:1: expected a value"},
        {"+1", "p.json:1:1: expected a value"},
        {"01", "p.json:1:2: a number must not begin with 0"},
        {"-", "p.json:1:2: a number needs digits"},
        {"1.", "p.json:1:3: digits must follow the point"},
        {"1e", "p.json:1:3: digits must follow the exponent's e"},
        {"[1e999]", "p.json: [0]: a number too large"},
        {"\"abc", "p.json:1:5: a string without its end"},
        {"\"a\tb\"", "p.json:1:3: a control character in a string"},
        {"\"\\x\"", "p.json:1:4: an unknown escape in a string"},
        {"\"\\u12g4\"", "p.json:1:7: \\u needs four hexadecimal digits"},
        {"\"\\u0000\"", "p.json:1:8: the character U+0000 in a string"},
        {"\"\\ud800x\"", "p.json:1:8: half a surrogate pair in a string"},
        {"\"\\udc00\"", "p.json:1:8: half a surrogate pair in a string"},
        {"\"\x80\"", "p.json:1:2: a string is not UTF-8"},
        {"\"\xc0\xaf\"", "p.json:1:2: a string is not UTF-8"},
        {"\"\xe2\x82\"", "p.json:1:2: a string is not UTF-8"},
        {"\"\xed\xa0\x80\"", "p.json:1:2: a string is not UTF-8"},
        {"\"\xf5\x80\x80\x80\"", "p.json:1:2: a string is not UTF-8"},
        {"{\"a\":{\"b\":1,\"c\":2,\"b\":3}}", "p.json: a: 'b' is given twice"},
        {"1111111111111111111111111111111111111111111111111111111111111",
         "p.json:1:1: a number of more than 60 characters"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cJSON *d = NULL;
        assert_int_equal(parse(&d, table[i][0]), COHORT_ERR_FORMAT);
        assert_string_equal(err.message, table[i][1]);
        assert_null(d);
    }
    char deep[2 * JSON_DEPTH_MAX + 3] = {0};
    cJSON *d = NULL;
    memset(deep, '[', JSON_DEPTH_MAX);
    memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(parse(&d, deep), COHORT_OK);
    json_free(&d);
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(parse(&d, deep), COHORT_ERR_FORMAT);
    assert_string_equal(err.message, "p.json:1:65: nested too deeply");
}

static const char sample[] = "\xef\xbb\xbf{\"version\": 1, \"name\": \"caf\\u00e9 \\ud83d\\ude00 "
                             "\xc3\xa9\\n\", \"on\": true, \"none\": null,\n"
                             "\"groups\": [{\"split\": [0, 75, 150, 224], \"us\": 1234.5, "
                             "\"mode\": \"tile\"}, {}], \"big\": \"9223372036854775807\"}";

static void reads(void **state) {
    (void)state;
    cJSON *d = NULL;
    assert_int_equal(parse(&d, sample), COHORT_OK);
    struct json_at root = json_root(d, "p.json"), groups, split;
    int64_t n = -7;
    int count = 0, choice = -1;
    double us = 0;
    bool on = false;
    const char *text = NULL;
    static const char *const modes[] = {"local", "tile"};
    assert_int_equal(json_get_i64(&root, "version", 1, 1, &n, &err), COHORT_OK);
    assert_int_equal(n, 1);
    assert_int_equal(json_get_i64(&root, "big", 0, INT64_MAX, &n, &err), COHORT_OK);
    assert_true(n == INT64_MAX);
    assert_int_equal(json_get_bool(&root, "on", &on, &err), COHORT_OK);
    assert_true(on);
    assert_int_equal(json_get_text(&root, "name", &text, &err), COHORT_OK);
    assert_string_equal(text, "caf\xc3\xa9 \xf0\x9f\x98\x80 \xc3\xa9\n");
    assert_int_equal(json_may_text(&root, "none", &text, &err), COHORT_OK);
    assert_int_equal(json_may_int(&root, "absent", 0, 1, &count, &err), COHORT_OK);
    assert_string_equal(text, "caf\xc3\xa9 \xf0\x9f\x98\x80 \xc3\xa9\n");
    assert_int_equal(json_need(&groups, &root, "groups", &err), COHORT_OK);
    assert_int_equal(json_as_array(&groups, &count, &err), COHORT_OK);
    assert_int_equal(count, 2);
    struct json_at group = {0};
    assert_true(json_next(&group, &groups));
    assert_int_equal(json_get_f64(&group, "us", 0, DBL_MAX, &us, &err), COHORT_OK);
    assert_true(us == 1234.5);
    struct json_at mode;
    assert_true(json_find(&mode, &group, "mode"));
    assert_int_equal(json_as_choice(&mode, modes, 2, &choice, &err), COHORT_OK);
    assert_int_equal(choice, 1);
    assert_int_equal(json_need(&split, &group, "split", &err), COHORT_OK);
    int64_t sum = 0;
    int last = -1;
    for (struct json_at e = {0}; json_next(&e, &split); last = e.index) {
        assert_int_equal(json_as_i64(&e, 0, 224, &n, &err), COHORT_OK);
        sum += n;
    }
    assert_int_equal(sum, 449);
    assert_int_equal(last, 3);
    assert_true(json_next(&group, &groups));
    struct json_at nothing = {0};
    assert_false(json_next(&nothing, &group));
    assert_false(json_next(&group, &groups));
    json_free(&d);
    assert_null(d);
}

static void wrong_values(void **state) {
    (void)state;
    cJSON *d = NULL;
    static const char *const known[] = {"version", "groups", "name"}, *const modes[] = {"local",
                                                                                        "tile"};
    assert_int_equal(parse(&d, "{\"groups\":[{\"split\":[0,-1,1.5,\"7\",1e17,\"x\","
                               "\"99999999999999999999\",{},[],true]}],"
                               "\"nmae\":1,\"name\":null,\"mode\":\"tiles\",\"f\":2.5}"),
                     COHORT_OK);
    struct json_at root = json_root(d, "p.json"), groups, group = {0}, split, mode, f;
    const char *text;
    int64_t n = 42;
    int i = 42;
    double v = 42;
    bool b;
#define SAYS(call, words)                                                                          \
    do {                                                                                           \
        error_clear(&err);                                                                         \
        assert_int_equal(call, COHORT_ERR_FORMAT);                                                 \
        assert_string_equal(err.message, words);                                                   \
    } while (0)
    SAYS(json_known_keys(&root, known, 3, &err),
         "p.json: unknown key 'nmae': did you mean 'name'?");
    SAYS(json_known_keys(&root, known, 0, &err), "p.json: unknown key 'groups'");
    SAYS(json_get_text(&root, "title", &text, &err), "p.json: 'title' is missing");
    SAYS(json_get_text(&root, "name", &text, &err), "p.json: name: must be a text, not null");
    SAYS(json_get_bool(&root, "nmae", &b, &err), "p.json: nmae: must be true or false, not 1");
    assert_true(json_find(&mode, &root, "mode"));
    SAYS(json_as_choice(&mode, modes, 2, &i, &err),
         "p.json: mode: must be one of \"local\", \"tile\", not \"tiles\"");
    assert_int_equal(json_need(&groups, &root, "groups", &err), COHORT_OK);
    assert_true(json_next(&group, &groups));
    assert_int_equal(json_need(&split, &group, "split", &err), COHORT_OK);
    SAYS(json_as_object(&split, &err), "p.json: groups[0].split: must be an object, not an array");
    SAYS(json_as_array(&group, NULL, &err), "p.json: groups[0]: must be an array, not an object");
    SAYS(json_get_int(&split, "x", 0, 1, &i, &err),
         "p.json: groups[0].split: must be an object, not an array");
    static const char *const says[] = {
        NULL,
        "must be a whole number from 0 to 224, not -1",
        "must be a whole number from 0 to 224, not 1.5",
        NULL,
        "must be a whole number from 0 to 224, not 1e+17",
        "must be a whole number from 0 to 224, not \"x\"",
        "must be a whole number from 0 to 224, not \"99999999999999999999\"",
        "must be a whole number from 0 to 224, not an object",
        "must be a whole number from 0 to 224, not an array",
        "must be a whole number from 0 to 224, not true",
    };
    for (struct json_at e = {0}; json_next(&e, &split);) {
        char words[200];
        snprintf(words, sizeof words, "p.json: groups[0].split[%d]: %s", e.index,
                 says[e.index] ? says[e.index] : "");
        if (!says[e.index]) {
            assert_int_equal(json_as_i64(&e, 0, 224, &n, &err), COHORT_OK);
            continue;
        }
        n = 42;
        SAYS(json_as_i64(&e, 0, 224, &n, &err), words);
        assert_int_equal(n, 42);
        if (e.index == 4)
            SAYS(json_as_i64(&e, 0, INT64_MAX, &n, &err),
                 "p.json: groups[0].split[4]: a whole number beyond 2^53 is "
                 "not exact in JSON: write it in quotes");
        if (e.index == 1)
            SAYS(json_as_i64(&e, 0, INT64_MAX, &n, &err),
                 "p.json: groups[0].split[1]: must be a whole number of at least 0, not -1");
        if (e.index == 2)
            SAYS(json_as_i64(&e, INT64_MIN, INT64_MAX, &n, &err),
                 "p.json: groups[0].split[2]: must be a whole number, not 1.5");
    }
    assert_true(json_find(&f, &root, "f"));
    SAYS(json_as_f64(&f, 0, 1, &v, &err), "p.json: f: must be a number from 0 to 1, not 2.5");
    SAYS(json_as_f64(&f, 3, DBL_MAX, &v, &err),
         "p.json: f: must be a number of at least 3, not 2.5");
    SAYS(json_as_f64(&mode, -DBL_MAX, DBL_MAX, &v, &err),
         "p.json: mode: must be a number, not \"tiles\"");
    SAYS(json_may_f64(&root, "f", 0, 1, &v, &err),
         "p.json: f: must be a number from 0 to 1, not 2.5");
    assert_true(v == 42);
    SAYS(json_fail(&split, &err, COHORT_ERR_FORMAT, "%d values", 3),
         "p.json: groups[0].split: 3 values");
    json_free(&d);
}

static void every_prefix(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof sample - 1; n++) {
        char *copy =
            mem_strndup(sample, n); /* its own block, so that a sanitizer sees reads beyond */
        cJSON *d = NULL;
        assert_non_null(copy);
        assert_int_equal(json_parse(&d, copy, n, "p.json", &err), COHORT_ERR_FORMAT);
        mem_free(copy);
    }
}

/* A text with some bytes replaced is either JSON, which prints and reads back the same, or is
 * refused as a matter of format: cJSON never disagrees with the grammar. */
static void noise(void **state) {
    (void)state;
    static const char alphabet[] = "{}[]\",:\\0123456789eE+-.truefalsn \n\x01\x80\xc3\xff/u";
    unsigned seed = 1;
    int good = 0, bad = 0;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof sample];
        memcpy(text, sample, sizeof text);
        size_t from = 3, length = sizeof sample - 1 - from;
        for (int k = round % 4; k >= 0; k--) {
            seed = seed * 1664525 + 1013904223;
            text[from + (seed >> 8) % length] = alphabet[(seed >> 20) % (sizeof alphabet - 1)];
        }
        cJSON *d = NULL, *again = NULL;
        char *printed = NULL, *twice = NULL;
        size_t bytes = 0;
        enum cohort_code code = json_parse(&d, text + from, length, "p.json", &err);
        if (code != COHORT_OK) {
            assert_int_equal(code, COHORT_ERR_FORMAT);
            bad++;
            continue;
        }
        good++;
        assert_int_equal(json_print(&printed, &bytes, d, &err), COHORT_OK);
        assert_int_equal(json_parse(&again, printed, bytes, "again", &err), COHORT_OK);
        assert_true(cJSON_Compare(d, again, true));
        assert_int_equal(json_print(&twice, NULL, again, &err), COHORT_OK);
        assert_string_equal(printed, twice);
        mem_free(printed);
        mem_free(twice);
        json_free(&d);
        json_free(&again);
    }
    assert_true(good > 1000 && bad > 1000);
}

static cJSON *build(bool *ok) {
    cJSON *d = cJSON_CreateObject();
    static const int64_t extremes[] = {0,         -1,       JSON_EXACT_MAX, JSON_EXACT_MAX + 1,
                                       INT64_MIN, INT64_MAX};
    static const double numbers[] = {0.1, -0.0, 1e300, 1.0 / 3, 5e-324, 123456789.125};
    int many[60];
    for (int i = 0; i < 60; i++)
        many[i] = i * 100;
    if (!d) {
        *ok = false;
        return NULL;
    }
    json_add_text(d, "name", "a \"b\" \\ \n \x01 \x7f \xc3\xa9 \xff", ok);
    json_add_text(d, "missing", NULL, ok);
    json_add_i64s(d, "extremes", extremes, 6, ok);
    json_add_f64s(d, "numbers", numbers, 6, ok);
    json_add_f64(d, "nan", nan(""), ok);
    json_add_bool(d, "yes", true, ok);
    json_add_ints(d, "many", many, 60, ok);
    json_add_ints(d, "none", many, 0, ok);
    cJSON *steps = json_add_array(d, "steps", ok);
    for (int i = 0; i < 3; i++) {
        cJSON *step = json_add_object(steps, NULL, ok);
        json_add_i64(step, "rows", 10 * i, ok);
        json_add_text(
            step, "board",
            i ? "pi1"
              : "a board whose name is so long that the whole object no longer fits on one line",
            ok);
    }
    return d;
}

static void prints(void **state) {
    (void)state;
    bool ok = true;
    cJSON *d = build(&ok);
    char *text = NULL;
    size_t bytes = 0;
    assert_true(ok);
    assert_int_equal(json_print(&text, &bytes, d, &err), COHORT_OK);
    assert_int_equal(bytes, strlen(text));
    static const char expected[] =
        "{\n"
        "  \"name\": \"a \\\"b\\\" \\\\ \\n \\u0001 \\u007f \xc3\xa9 \xef\xbf\xbd\",\n"
        "  \"missing\": null,\n"
        "  \"extremes\": [\n"
        "    0, -1, 9007199254740992, \"9007199254740993\", \"-9223372036854775808\", "
        "\"9223372036854775807\"\n"
        "  ],\n"
        "  \"numbers\": [0.1, 0, 1e+300, 0.3333333333333333, 4.94065645841247e-324, "
        "123456789.125],\n"
        "  \"nan\": null,\n"
        "  \"yes\": true,\n"
        "  \"many\": [\n"
        "    0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, "
        "1600, 1700,\n"
        "    1800, 1900, 2000, 2100, 2200, 2300, 2400, 2500, 2600, 2700, 2800, 2900, 3000, 3100, "
        "3200, 3300,\n"
        "    3400, 3500, 3600, 3700, 3800, 3900, 4000, 4100, 4200, 4300, 4400, 4500, 4600, 4700, "
        "4800, 4900,\n"
        "    5000, 5100, 5200, 5300, 5400, 5500, 5600, 5700, 5800, 5900\n"
        "  ],\n"
        "  \"none\": [],\n"
        "  \"steps\": [\n"
        "    {\n"
        "      \"rows\": 0,\n"
        "      \"board\": \"a board whose name is so long that the whole object no longer fits on "
        "one line\"\n"
        "    },\n"
        "    {\"rows\": 10, \"board\": \"pi1\"},\n"
        "    {\"rows\": 20, \"board\": \"pi1\"}\n"
        "  ]\n"
        "}\n";
    assert_string_equal(text, expected);
    cJSON *again = NULL;
    assert_int_equal(json_parse(&again, text, bytes, "again", &err), COHORT_OK);
    struct json_at root = json_root(again, "again"), extremes;
    static const int64_t values[] = {0,         -1,       JSON_EXACT_MAX, JSON_EXACT_MAX + 1,
                                     INT64_MIN, INT64_MAX};
    assert_int_equal(json_need(&extremes, &root, "extremes", &err), COHORT_OK);
    for (struct json_at e = {0}; json_next(&e, &extremes);) {
        int64_t v;
        assert_int_equal(json_as_i64(&e, INT64_MIN, INT64_MAX, &v, &err), COHORT_OK);
        assert_true(v == values[e.index]);
    }
    json_free(&again);
    mem_free(text);
    json_free(&d);
}

static void files(void **state) {
    (void)state;
    char directory[] = "/tmp/cohort_json_XXXXXX";
    assert_non_null(mkdtemp(directory));
    char *path = file_join(directory, "d.json");
    bool ok = true;
    cJSON *d = build(&ok), *again = NULL;
    assert_true(ok && path);
    assert_int_equal(json_save(d, path, &err), COHORT_OK);
    assert_int_equal(json_load(&again, path, JSON_BYTES_MAX, &err), COHORT_OK);
    char *one = NULL, *two = NULL;
    assert_int_equal(json_print(&one, NULL, d, &err), COHORT_OK);
    assert_int_equal(json_print(&two, NULL, again, &err), COHORT_OK);
    assert_string_equal(one, two);
    json_free(&again);
    assert_int_equal(json_load(&again, path, 100, &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "d.json"));
    assert_int_equal(file_replace(path, "{\"a\":", 5, &err), COHORT_OK);
    assert_int_equal(json_load(&again, path, 100, &err), COHORT_ERR_FORMAT);
    assert_non_null(strstr(err.message, "d.json:1:6: the text ends too early"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(json_load(&again, path, 100, &err), COHORT_ERR_IO);
    assert_int_equal(rmdir(directory), 0);
    assert_null(again);
    mem_free(one);
    mem_free(two);
    mem_free(path);
    json_free(&d);
}

/* Whichever allocation fails: an error of memory, and nothing is lost. */
static void failing_memory(void **state) {
    (void)state;
    long before = mem_live_blocks();
    int failures = 0;
    for (long nth = 1; nth < 10000; nth++) {
        cJSON *d = NULL, *built = NULL;
        char *text = NULL;
        bool ok = true;
        mem_fail_at(nth);
        enum cohort_code code = json_parse(&d, sample, sizeof sample - 1, "p.json", &err);
        if (code == COHORT_OK) {
            built = build(&ok);
            code = ok ? json_print(&text, NULL, built, &err) : COHORT_ERR_MEMORY;
        }
        mem_fail_at(0);
        json_free(&d);
        json_free(&built);
        mem_free(text);
        assert_int_equal(mem_live_blocks(), before);
        if (code == COHORT_OK)
            break;
        assert_int_equal(code, COHORT_ERR_MEMORY);
        failures++;
    }
    assert_true(failures > 100 && failures < 9000);
}

static const struct json_format format = {"cohort-x", "an x", 2, 3};

struct x {
    int version;
    char *name, *remark;
    char hex[5];
};

static enum cohort_code read_x(const struct json_at *root, void *to, struct cohort_error *e) {
    enum cohort_code code = COHORT_OK;
    struct x *x = to;
    TRY(json_get_version(root, &format, &x->version, e));
    TRY(json_get_hex(root, "hex", 4, x->hex, e));
    TRY(json_get_copy(root, "name", &x->name, e));
    TRY(json_may_copy(root, "remark", &x->remark, e));
out:
    return code;
}

static void own_files(void **state) {
    (void)state;
    static const struct {
        const char *text, *says; /* NULL: it is read */
    } cases[] = {
        {"{\"format\":\"cohort-x\",\"version\":2,\"hex\":\"09af\",\"name\":\"n\",\"remark\":null}",
         NULL},
        {"[]", "x.json: must be an object, not an array"},
        {"{\"version\":2}", "x.json: 'format' is missing"},
        {"{\"format\":\"cohort-y\"}", "x.json: format is 'cohort-y', not 'cohort-x'"},
        {"{\"format\":\"cohort-x\",\"version\":1}",
         "x.json: an x of version 1, but this program reads versions up to 3"},
        {"{\"format\":\"cohort-x\",\"version\":4}",
         "x.json: an x of version 4, but this program reads versions up to 3"},
        {"{\"format\":\"cohort-x\",\"version\":3,\"hex\":\"09aF\"}",
         "x.json: hex must be 4 hexadecimal digits in lower case, not '09aF'"},
        {"{\"format\":\"cohort-x\",\"version\":3,\"hex\":\"09a\"}",
         "x.json: hex must be 4 hexadecimal digits in lower case, not '09a'"},
        {"{\"format\":\"cohort-x\",\"version\":3,\"hex\":\"0000\"}", "x.json: 'name' is missing"},
        {"{", "x.json:1:2: expected a key in quotes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct x x = {0};
        error_clear(&err);
        enum cohort_code code =
            json_read_text(cases[i].text, strlen(cases[i].text), "x.json", read_x, &x, &err);
        if (cases[i].says != NULL) {
            assert_int_equal(code, COHORT_ERR_FORMAT);
            assert_string_equal(err.message, cases[i].says);
            continue;
        }
        assert_int_equal(code, COHORT_OK);
        assert_int_equal(x.version, 2);
        assert_string_equal(x.hex, "09af");
        assert_string_equal(x.name, "n");
        assert_null(x.remark);
        mem_free(x.name);
    }
    struct x x = {0};
    error_clear(&err);
    assert_int_equal(json_read_file("/nonexistent/x.json", 100, read_x, &x, &err), COHORT_ERR_IO);
}

int main(void) {
    json_use_base_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses),      cmocka_unit_test(reads),
        cmocka_unit_test(wrong_values), cmocka_unit_test(every_prefix),
        cmocka_unit_test(noise),        cmocka_unit_test(prints),
        cmocka_unit_test(files),        cmocka_unit_test(failing_memory),
        cmocka_unit_test(own_files),    cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
