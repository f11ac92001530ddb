/* The option table: every kind of option, every way to write it, and what it says about mistakes.
 */
#include "base/mem.h"
#include "base/options.h"
#include "tests/support/leaks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct values {
    bool json, quiet;
    long threads;
    double share;
    const char *output;
    struct option_list shapes;
    int scatter;
};

#define TABLE(v)                                                                                   \
    {                                                                                              \
        {"json", 'j', OPTION_FLAG, &(v).json, NULL, "one JSON document", 0, 0},                    \
            {"quiet", 'q', OPTION_FLAG, &(v).quiet, NULL, "say less", 0, 0},                       \
            {"threads", 't', OPTION_INT, &(v).threads, "N", "how many threads", 0, 1024},          \
            {"cpu-share", 0, OPTION_DOUBLE, &(v).share, "F", "part of a core", 0.01, 1},           \
            {"output", 'o', OPTION_TEXT, &(v).output, "FILE", "where to write", 0, 0},             \
            {"shape",                                                                              \
             's',                                                                                  \
             OPTION_LIST,                                                                          \
             &(v).shapes,                                                                          \
             "NAME=DIMS",                                                                          \
             "for a dimension left open; may be given several times, and this text is so long "    \
             "that it has to be broken into lines",                                                \
             0,                                                                                    \
             0},                                                                                   \
            {"scatter", 0, OPTION_CHOICE, &(v).scatter, "scatterv|ordered", "how", 0, 0},          \
            {"inject-mpi-call", 0, OPTION_INT, &(v).threads, "N", NULL, 0, 1e18},                  \
            {NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0},                                        \
    }

#define ARGC_MAX 80
static struct cohort_error err;
static const char *rest[4];
static int rest_count;

static enum cohort_code parse(struct values *v, option_environment_fn environment,
                              const char *first, ...) {
    struct option_spec specs[] = TABLE(*v);
    char *argv[ARGC_MAX] = {(char *)"cohort"};
    int argc = 1;
    va_list list;
    va_start(list, first);
    for (const char *a = first; a; a = va_arg(list, const char *)) {
        assert_true(argc < ARGC_MAX);
        argv[argc++] = (char *)a;
    }
    va_end(list);
    error_clear(&err);
    rest_count = -1;
    return options_parse(specs, argc, argv, environment, rest, 4, &rest_count, &err);
}

static void kinds_and_spellings(void **state) {
    (void)state;
    struct values v = {0};
    assert_int_equal(parse(&v, NULL, "a.onnx", "--json", "--threads", "4", "--cpu-share=0.25", "-o",
                           "x.json", "-s", "a=1x3", "--shape=b=2x4", "--scatter", "ordered", "-",
                           "--", "--json=3", NULL),
                     COHORT_OK);
    assert_true(v.json);
    assert_false(v.quiet);
    assert_int_equal(v.threads, 4);
    assert_float_equal(v.share, 0.25, 0);
    assert_string_equal(v.output, "x.json");
    assert_int_equal(v.shapes.count, 2);
    assert_string_equal(v.shapes.items[0], "a=1x3");
    assert_string_equal(v.shapes.items[1], "b=2x4");
    assert_int_equal(v.scatter, 1);
    assert_int_equal(rest_count, 3);
    assert_string_equal(rest[0], "a.onnx");
    assert_string_equal(rest[1], "-");
    assert_string_equal(rest[2], "--json=3");

    v = (struct values){.json = true, .quiet = true};
    assert_int_equal(parse(&v, NULL, "--no-json", "--quiet=no", "-t8", "-ofile", NULL), COHORT_OK);
    assert_false(v.json);
    assert_false(v.quiet);
    assert_int_equal(v.threads, 8);
    assert_string_equal(v.output, "file");
    assert_int_equal(rest_count, 0);

    v = (struct values){0};
    assert_int_equal(parse(&v, NULL, "-jqt", "3", "--threads=5", "--output=", "--output=--x", NULL),
                     COHORT_OK);
    assert_true(v.json && v.quiet);
    assert_int_equal(v.threads, 5); /* the last one counts */
    assert_string_equal(v.output, "--x");
    assert_int_equal(parse(&v, NULL, NULL), COHORT_OK); /* nothing at all */
}

struct mistake {
    const char *args[3];
    const char *message;
};

static void mistakes(void **state) {
    (void)state;
    static const struct mistake table[] = {
        {{"--thread", "4"}, "unknown option --thread: did you mean --threads?"},
        {{"--treads=4"}, "unknown option --treads: did you mean --threads?"},
        {{"--Output", "x"}, "unknown option --Output: did you mean --output?"},
        {{"--xyzzy"}, "unknown option --xyzzy"},
        {{"--no-threads"}, "unknown option --no-threads: did you mean --threads?"},
        {{"-z"}, "unknown option -z"},
        {{"-jz"}, "unknown option -z"},
        {{"--threads"}, "--threads needs a value (N)"},
        {{"-t"}, "-t needs a value (N)"},
        {{"--output", "--json"},
         "--output needs a value (FILE), not --json (if it is one: --output=--json)"},
        {{"--threads", "four"}, "--threads four: not a whole number"},
        {{"--threads", "4x"}, "--threads 4x: not a whole number"},
        {{"--threads="}, "--threads : not a whole number"},
        {{"--threads", " 4"}, "--threads  4: not a whole number"},
        {{"--threads", "99999999999999999999"},
         "--threads 99999999999999999999: too large a number"},
        {{"--threads", "-1"}, "--threads -1: must be between 0 and 1024"},
        {{"-t", "1025"}, "-t 1025: must be between 0 and 1024"},
        {{"--inject-mpi-call", "-1"}, "--inject-mpi-call -1: must be at least 0"},
        {{"--cpu-share", "half"}, "--cpu-share half: not a number"},
        {{"--cpu-share", "nan"}, "--cpu-share nan: not a number"},
        {{"--cpu-share", "2"}, "--cpu-share 2: must be between 0.01 and 1"},
        {{"--json=maybe"}, "--json=maybe: say yes or no"},
        {{"--scatter", "scatter"},
         "--scatter scatter: not one of scatterv, ordered: did you mean scatterv?"},
        {{"--scatter", "quickly"}, "--scatter quickly: not one of scatterv, ordered"},
        {{"--scatter", "scatterv|ordered"},
         "--scatter scatterv|ordered: not one of scatterv, ordered"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct values v = {.threads = 77};
        const char *const *a = table[i].args;
        assert_int_equal(parse(&v, NULL, a[0], a[1], a[2], NULL), COHORT_ERR_USAGE);
        assert_int_equal(err.code, COHORT_ERR_USAGE);
        assert_string_equal(err.message, table[i].message);
        assert_int_equal(v.threads, 77);
    }
    struct values v = {0};
    assert_int_equal(parse(&v, NULL, "a", "b", "c", "d", "e", NULL), COHORT_ERR_USAGE);
    assert_string_equal(err.message, "one argument too many: e");
}

static void list_is_bounded(void **state) {
    (void)state;
    struct values v = {0};
    struct option_spec specs[] = TABLE(v);
    char *argv[OPTION_LIST_MAX + 2];
    argv[0] = (char *)"cohort";
    for (int i = 1; i <= OPTION_LIST_MAX + 1; i++)
        argv[i] = (char *)"-sx";
    assert_int_equal(options_parse(specs, OPTION_LIST_MAX + 1, argv, NULL, NULL, 0, NULL, &err),
                     COHORT_OK);
    assert_int_equal(v.shapes.count, OPTION_LIST_MAX);
    v.shapes.count = 0;
    assert_int_equal(options_parse(specs, OPTION_LIST_MAX + 2, argv, NULL, NULL, 0, NULL, &err),
                     COHORT_ERR_USAGE);
    assert_string_equal(err.message, "-s: given more than 64 times");
}

static const char *good_environment(const char *name) {
    static const char *const pairs[][2] = {
        {"COHORT_THREADS", "6"},     {"COHORT_CPU_SHARE", "0.5"},   {"COHORT_JSON", "yes"},
        {"COHORT_SHAPE", "1x3x8x8"}, {"COHORT_SCATTER", "ordered"}, {"COHORT_OUTPUT", ""}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (strcmp(name, pairs[i][0]) == 0)
            return pairs[i][1];
    }
    return NULL;
}

static const char *bad_environment(const char *name) {
    return strcmp(name, "COHORT_THREADS") == 0 ? "many" : NULL;
}

static void environment(void **state) {
    (void)state;
    struct values v = {.output = "kept"};
    assert_int_equal(parse(&v, good_environment, NULL), COHORT_OK);
    assert_int_equal(v.threads, 6);
    assert_float_equal(v.share, 0.5, 0);
    assert_true(v.json);
    assert_int_equal(v.shapes.count, 1);
    assert_int_equal(v.scatter, 1);
    assert_string_equal(v.output, "kept");

    v = (struct values){0}; /* the command line wins */
    assert_int_equal(parse(&v, good_environment, "--threads", "2", "--no-json", "-s", "2x3", NULL),
                     COHORT_OK);
    assert_int_equal(v.threads, 2);
    assert_false(v.json);
    assert_int_equal(v.shapes.count, 1);
    assert_string_equal(v.shapes.items[0], "2x3");

    assert_int_equal(parse(&v, bad_environment, NULL), COHORT_ERR_USAGE);
    assert_string_equal(err.message, "COHORT_THREADS many: not a whole number");
    assert_int_equal(parse(&v, bad_environment, "-t1", NULL), COHORT_OK);
}

static void closest(void **state) {
    (void)state;
    const char *const names[] = {"Conv", "ConvTranspose", "MaxPool", "Relu", "Gemm"};
    assert_string_equal(closest_name("conv", names, 5), "Conv");
    assert_string_equal(closest_name("Covn", names, 5), "Conv");
    assert_string_equal(closest_name("ConvTranpose", names, 5), "ConvTranspose");
    assert_string_equal(closest_name("Max", names, 5), "MaxPool");
    assert_string_equal(closest_name("Rel", names, 5), "Relu");
    assert_null(closest_name("Attention", names, 5));
    assert_null(closest_name("", names, 5));
    assert_null(closest_name("Conv", NULL, 0));
    char longer[1000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_null(closest_name(longer, names, 5));
}

static void help_text(void **state) {
    (void)state;
    struct values v = {0};
    struct option_spec specs[] = TABLE(v);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    options_print(specs, out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "  -t, --threads N             how many threads\n"));
    assert_non_null(strstr(text, "  -j, --json                  one JSON document\n"));
    assert_non_null(
        strstr(text, "      --scatter scatterv|ordered\n                              how\n"));
    assert_null(strstr(text, "inject"));
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        assert_true(length <= 98);
        line += length + 1;
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_and_spellings),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(list_is_bounded),
        cmocka_unit_test(environment),
        cmocka_unit_test(closest),
        cmocka_unit_test(help_text),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
