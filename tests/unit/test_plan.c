/* Plans as files: golden ones byte for byte, every mistake's message, and the fit to a network. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "planner/plan.h"
#include "tests/support/leaks.h"
#include "tests/support/toynet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const golden[] = {"tiles", "predicted", "empty", "toy_vgg_default", "channels"};
#define GOLDEN (sizeof golden / sizeof golden[0])

static void golden_path(char path[128], const char *name) {
    snprintf(path, 128, "tests/data/plans/%s.json", name);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void test_golden(void **state) {
    (void)state;
    for (size_t i = 0; i < GOLDEN; i++) {
        struct cohort_error err = {0};
        char path[128], copy[64], *text = NULL, *printed = NULL, *saved = NULL;
        size_t bytes, saved_bytes;
        struct plan *p = NULL;
        golden_path(path, golden[i]);
        if (file_read(path, 1 << 20, &text, &bytes, &err) != COHORT_OK)
            fail_msg("%s (run from the repository's root)", err.message);
        if (plan_load(&p, path, &err) != COHORT_OK)
            fail_msg("%s", err.message);
        assert_int_equal(plan_print(p, &printed, &err), COHORT_OK);
        assert_string_equal(printed, text);
        snprintf(copy, sizeof copy, "/tmp/cohort_test_plan.%ld", (long)getpid());
        assert_int_equal(plan_save(p, copy, &err), COHORT_OK);
        assert_int_equal(file_read(copy, 1 << 20, &saved, &saved_bytes, &err), COHORT_OK);
        assert_int_equal(saved_bytes, bytes);
        assert_memory_equal(saved, text, bytes);
        unlink(copy);
        mem_free(text);
        mem_free(printed);
        mem_free(saved);
        plan_destroy(&p);
    }
}

static void test_contents(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char path[128];
    struct plan *p = NULL;
    golden_path(path, "predicted");
    assert_int_equal(plan_load(&p, path, &err), COHORT_OK);
    assert_string_equal(p->network, "a \"name\" with \\ and \xc3\xbc");
    assert_string_equal(p->signature, "00112233445566778899aabbccddeeff");
    assert_string_equal(p->strategy, "auto");
    assert_int_equal(p->boards, 6);
    assert_true(p->predicted_ms == 101.25);
    assert_int_equal(p->wire, PLAN_WIRE_F16);
    assert_int_equal(p->segment_count, 4);
    assert_string_equal(p->segments[0].until, "features.0/relu\t");
    assert_int_equal(p->segments[0].mode, PLAN_TILE);
    assert_int_equal(p->segments[0].split[2], 100000);
    assert_int_equal(p->segments[0].split[6], 9007199254740992);
    assert_int_equal(p->segments[0].output, PLAN_STAY);
    assert_true(p->segments[0].predicted_ms == 0.1);
    assert_true(p->segments[0].predicted_wait_ms == 0.05);
    assert_int_equal(p->segments[1].output, PLAN_TO_ROOT);
    assert_true(p->segments[1].predicted_wait_ms < 0);
    assert_int_equal(p->segments[2].mode, PLAN_LOCAL);
    assert_int_equal(p->segments[2].output, PLAN_STAY);
    assert_int_equal(p->segments[2].board, 5);
    assert_null(p->segments[2].split);
    assert_int_equal(p->segments[3].mode, PLAN_REPLICATE);
    assert_int_equal(p->segments[3].output, PLAN_STAY);
    plan_destroy(&p);
    golden_path(path, "tiles");
    assert_int_equal(plan_load(&p, path, &err), COHORT_OK);
    assert_true(p->predicted_ms < 0);
    assert_true(p->segments[0].predicted_ms < 0);
    plan_destroy(&p);
    plan_destroy(&p);
    golden_path(path, "channels");
    assert_int_equal(plan_load(&p, path, &err), COHORT_OK);
    assert_int_equal(p->segments[0].mode, PLAN_OUT_CHANNEL);
    assert_int_equal(p->segments[0].output, PLAN_STAY);
    assert_int_equal(p->segments[0].split[1], 48);
    assert_int_equal(p->segments[1].mode, PLAN_CHANNELWISE);
    assert_int_equal(p->segments[2].mode, PLAN_IN_CHANNEL);
    assert_int_equal(p->segments[2].output, PLAN_TO_ALL);
    assert_int_equal(p->segments[3].mode, PLAN_ROWS_GEMM);
    assert_int_equal(p->segments[3].split[1], 3);
    assert_int_equal(p->segments[3].output, PLAN_TO_ALL);
    assert_int_equal(p->segments[3].route, PLAN_ROUTE_RING);
    assert_int_equal(p->segments[4].output, PLAN_TO_ROOT);
    assert_true(plan_has_channels(p));
    plan_destroy(&p);
}

/* A plan of version 1 is what version 2 prints of it. */
static void test_version_1(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char path[128], *text = NULL, *printed = NULL;
    size_t bytes;
    struct plan *p = NULL;
    golden_path(path, "version1");
    assert_int_equal(plan_load(&p, path, &err), COHORT_OK);
    assert_int_equal(p->wire, PLAN_WIRE_F32);
    for (int i = 0; i < p->segment_count; i++)
        assert_int_equal(p->segments[i].output, PLAN_TO_ROOT);
    assert_int_equal(plan_print(p, &printed, &err), COHORT_OK);
    golden_path(path, "tiles");
    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, &err), COHORT_OK);
    assert_string_equal(printed, text);
    mem_free(text);
    mem_free(printed);
    plan_destroy(&p);
}

static void test_no_file(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct plan *p = NULL;
    assert_int_equal(plan_load(&p, "tests/data/plans/none.json", &err), COHORT_ERR_IO);
    assert_non_null(strstr(err.message, "tests/data/plans/none.json"));
    assert_null(p);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

#define HEAD_OF(version)                                                                           \
    "{\"format\":\"cohort-plan\",\"version\":" version ",\"network\":\"n\","                       \
    "\"signature\":\"0123456789abcdef0123456789abcdef\",\"strategy\":\"s\","
#define HEAD                HEAD_OF("2")
#define PLAN(segment)       HEAD "\"boards\":2,\"segments\":[" segment "]}"
#define FIRST_PLAN(segment) HEAD_OF("1") "\"boards\":2,\"segments\":[" segment "]}"

static const struct {
    const char *text, *message;
} mistakes[] = {
    {"", "p:1:1: "},
    {"[]", "p: must be an object, not an array"},
    {"{}", "p: 'format' is missing"},
    {"{\"format\":1}", "p: format: must be a text, not 1"},
    {"{\"format\":\"cohort-profile\"}", "p: format is 'cohort-profile', not 'cohort-plan'"},
    {"{\"format\":\"cohort-plan\",\"version\":4,\"new\":1}",
     "p: a plan of version 4, but this program reads versions up to 3"},
    {PLAN("{\"until\":\"x\",\"mode\":\"rows-gemm\",\"split\":[0,3,7]}"),
     "p: segments[0]: mode 'rows-gemm' belongs to plans of version 3, and this is one of version "
     "2"},
    {PLAN("{\"until\":\"x\",\"mode\":\"in-channel\",\"split\":[0,16,32]}"),
     "p: segments[0]: mode 'in-channel' belongs to plans of version 3, and this is one of version "
     "2"},
    {PLAN("{\"until\":\"x\",\"mode\":\"tile\",\"split\":[0,1,2],\"output\":\"all\"}"),
     "p: segments[0].output: "},
    {"{\"format\":\"cohort-plan\",\"version\":1,\"boards\":1,\"bord\":2}",
     "p: unknown key 'bord': did you mean 'boards'?"},
    {"{\"format\":\"cohort-plan\",\"version\":1,\"version\":1}", "p: 'version' is given twice"},
    {"{\"format\":\"cohort-plan\",\"version\":1}", "p: 'network' is missing"},
    {"{\"format\":\"cohort-plan\",\"version\":1,\"network\":\"n\",\"signature\":\"ABC\"}",
     "p: signature must be 32 hexadecimal digits in lower case, not 'ABC'"},
    {"{\"format\":\"cohort-plan\",\"version\":1,\"network\":\"n\",\"signature\":"
     "\"0123456789abcdef0123456789abcdeg\"}",
     "p: signature must be 32 hexadecimal digits in lower case, not "
     "'0123456789abcdef0123456789abcdeg'"},
    {HEAD "\"segments\":[]}", "p: 'boards' is missing"},
    {HEAD "\"boards\":0,\"segments\":[]}",
     "p: boards: must be a whole number from 1 to 4096, not 0"},
    {HEAD "\"boards\":1.5,\"segments\":[]}",
     "p: boards: must be a whole number from 1 to 4096, not 1.5"},
    {HEAD "\"boards\":2}", "p: 'segments' is missing"},
    {HEAD "\"boards\":2,\"predicted_ms\":-1,\"segments\":[]}", "p: predicted_ms: must be "},
    {PLAN("7"), "p: segments[0]: must be an object, not 7"},
    {PLAN("{\"until\":\"x\"}"), "p: segments[0]: 'mode' is missing"},
    {PLAN("{\"mode\":\"tiles\"}"), "p: segments[0].mode: "},
    {PLAN("{\"mode\":\"tile\",\"until\":\"x\",\"board\":0}"),
     "p: segments[0]: unknown key 'board'"},
    {PLAN("{\"mode\":\"local\",\"until\":\"x\",\"split\":[0,1,2]}"),
     "p: segments[0]: unknown key 'split'"},
    {PLAN("{\"mode\":\"local\",\"board\":0}"), "p: segments[0]: 'until' is missing"},
    {PLAN("{\"mode\":\"local\",\"until\":\"x\"}"), "p: segments[0]: 'board' is missing"},
    {PLAN("{\"mode\":\"local\",\"until\":\"x\",\"board\":2}"),
     "p: segments[0].board: must be a whole number from 0 to 1, not 2"},
    {PLAN("{\"mode\":\"tile\",\"until\":\"x\"}"), "p: segments[0]: 'split' is missing"},
    {PLAN("{\"mode\":\"tile\",\"until\":\"x\",\"split\":[0,4]}"),
     "p: segments[0].split: must have 3 numbers for 2 boards, not 2"},
    {PLAN("{\"mode\":\"tile\",\"until\":\"x\",\"split\":[1,4,5]}"), "p: segments[0].split[0]: "},
    {PLAN("{\"mode\":\"tile\",\"until\":\"x\",\"split\":[0,4,3]}"), "p: segments[0].split[2]: "},
    {PLAN("{\"mode\":\"tile\",\"until\":\"x\",\"split\":[0,-4,3]}"), "p: segments[0].split[1]: "},
    {PLAN("{\"mode\":\"local\",\"until\":\"x\",\"board\":0},{\"mode\":\"local\",\"until\":3}"),
     "p: segments[1].until: must be a text, not 3"},
    {HEAD "\"boards\":2,\"wire\":\"f8\",\"segments\":[]}", "p: wire: "},
    {HEAD_OF("1") "\"boards\":2,\"wire\":\"f32\",\"segments\":[]}",
     "p: 'wire' belongs to plans of version 2, and this is one of version 1"},
    {PLAN("{\"mode\":\"local\",\"until\":\"x\",\"board\":0,\"output\":\"here\"}"),
     "p: segments[0].output: "},
    {PLAN("{\"mode\":\"replicate\",\"until\":\"x\",\"board\":0}"),
     "p: segments[0]: unknown key 'board'"},
    {PLAN("{\"mode\":\"replicate\",\"until\":\"x\",\"output\":\"root\"}"),
     "p: segments[0]: unknown key 'output'"},
    {PLAN("{\"mode\":\"local\",\"until\":\"x\",\"board\":0,\"predicted_wait_ms\":-1}"),
     "p: segments[0].predicted_wait_ms: "},
    {FIRST_PLAN("{\"mode\":\"local\",\"until\":\"x\",\"board\":0,\"output\":\"root\"}"),
     "p: segments[0]: 'output' belongs to plans of version 2, and this is one of version 1"},
    {FIRST_PLAN("{\"mode\":\"local\",\"until\":\"x\",\"board\":0,\"predicted_wait_ms\":0}"),
     "p: segments[0]: 'predicted_wait_ms' belongs to plans of version 2"},
    {FIRST_PLAN("{\"mode\":\"replicate\",\"until\":\"x\"}"),
     "p: segments[0]: mode 'replicate' belongs to plans of version 2"},
};

static void test_mistakes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        struct cohort_error err = {0};
        struct plan *p = NULL;
        const char *text = mistakes[i].text;
        const size_t length = strlen(mistakes[i].message);
        assert_int_equal(plan_parse(&p, text, strlen(text), "p", &err), COHORT_ERR_FORMAT);
        assert_null(p);
        if (strncmp(err.message, mistakes[i].message, length) != 0)
            fail_msg("case %zu: '%s', not '%s'", i, err.message, mistakes[i].message);
    }
}

/* No prefix of a plan is a plan. */
static void test_prefixes(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char path[128], *text = NULL;
    size_t bytes;
    golden_path(path, "tiles");
    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, &err), COHORT_OK);
    while (bytes > 0 && text[bytes - 1] == '\n')
        bytes--;
    for (size_t n = 0; n < bytes; n++) {
        struct plan *p = NULL;
        assert_int_equal(plan_parse(&p, text, n, "p", &err), COHORT_ERR_FORMAT);
        assert_null(p);
    }
    mem_free(text);
}

static void test_short_memory(void **state) {
    (void)state;
    char path[128];
    golden_path(path, "predicted");
    const long before = mem_live_blocks();
    enum cohort_code code = COHORT_ERR_MEMORY;
    for (long nth = 1; code != COHORT_OK; nth++) {
        struct cohort_error err = {0};
        struct plan *p = NULL;
        char *text = NULL;
        mem_fail_at(nth);
        code = plan_load(&p, path, &err);
        if (code == COHORT_OK)
            code = plan_print(p, &text, &err);
        mem_fail_at(0);
        if (code != COHORT_OK)
            assert_int_equal(code, COHORT_ERR_MEMORY);
        plan_destroy(&p);
        mem_free(text);
        assert_int_equal(mem_live_blocks(), before);
        assert_true(nth < 1000);
    }
}

/* ---- the schema ------------------------------------------------------------------------------ */

/* Does the parser take `text` with member `key` of the (first segment of the) plan left out? */
static bool taken_without(const char *text, bool in_segment, int segment, const char *key) {
    struct cohort_error err = {0};
    struct plan *p = NULL;
    char *changed = NULL;
    cJSON *document = NULL;
    assert_int_equal(json_parse(&document, text, strlen(text), "p", &err), COHORT_OK);
    cJSON *holder = document;
    if (in_segment)
        holder = cJSON_GetArrayItem(cJSON_GetObjectItem(document, "segments"), segment);
    cJSON_DeleteItemFromObject(holder, key);
    assert_int_equal(json_print(&changed, NULL, document, &err), COHORT_OK);
    json_free(&document);
    const enum cohort_code code = plan_parse(&p, changed, strlen(changed), "p", &err);
    mem_free(changed);
    plan_destroy(&p);
    return code == COHORT_OK;
}

static bool is_required(const cJSON *schema, const char *key) {
    const cJSON *e;
    cJSON_ArrayForEach(e,
                       cJSON_GetObjectItem(schema, "required")) if (strcmp(e->valuestring, key) ==
                                                                    0) return true;
    return false;
}

/* Every key of the schema is in the golden plan, and may be missing there just when the schema says
 * so; with the golden plan's keys all in the schema, the two agree about keys. */
static int compare_keys(const cJSON *schema, const cJSON *object, const char *text, bool in_segment,
                        int segment) {
    int keys = 0;
    const cJSON *e;
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(schema, "additionalProperties")));
    cJSON_ArrayForEach(e, cJSON_GetObjectItem(schema, "properties")) {
        keys++;
        assert_non_null(cJSON_GetObjectItemCaseSensitive(object, e->string));
        assert_int_equal(taken_without(text, in_segment, segment, e->string),
                         !is_required(schema, e->string));
    }
    cJSON_ArrayForEach(e, object) assert_non_null(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItem(schema, "properties"), e->string));
    return keys;
}

static void test_schema(void **state) {
    (void)state;
    struct cohort_error err = {0};
    char path[128], *text = NULL;
    size_t bytes;
    cJSON *schema = NULL, *document = NULL;
    assert_int_equal(json_load(&schema, "docs/plan.schema.json", 1 << 20, &err), COHORT_OK);
    golden_path(path, "predicted");
    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, &err), COHORT_OK);
    assert_int_equal(json_parse(&document, text, bytes, "p", &err), COHORT_OK);
    const cJSON *defs = cJSON_GetObjectItem(schema, "$defs");
    const cJSON *segments = cJSON_GetObjectItem(document, "segments");
    assert_int_equal(compare_keys(schema, document, text, false, 0), 9);
    assert_int_equal(compare_keys(cJSON_GetObjectItem(defs, "tile"),
                                  cJSON_GetArrayItem(segments, 0), text, true, 0),
                     6);
    assert_int_equal(compare_keys(cJSON_GetObjectItem(defs, "local"),
                                  cJSON_GetArrayItem(segments, 2), text, true, 2),
                     6);
    assert_int_equal(compare_keys(cJSON_GetObjectItem(defs, "replicate"),
                                  cJSON_GetArrayItem(segments, 3), text, true, 3),
                     4);
    json_free(&document);
    mem_free(text);
    golden_path(path, "channels");
    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, &err), COHORT_OK);
    assert_int_equal(json_parse(&document, text, bytes, "p", &err), COHORT_OK);
    segments = cJSON_GetObjectItem(document, "segments");
    assert_int_equal(compare_keys(cJSON_GetObjectItem(defs, "channels"),
                                  cJSON_GetArrayItem(segments, 0), text, true, 0),
                     7);
    const cJSON *route = cJSON_GetObjectItem(
        cJSON_GetObjectItem(cJSON_GetObjectItem(defs, "channels"), "properties"), "route");
    const cJSON *names = cJSON_GetObjectItem(route, "enum");
    assert_int_equal(cJSON_GetArraySize(names), PLAN_ROUTES);
    for (int i = 0; i < PLAN_ROUTES; i++)
        assert_string_equal(cJSON_GetArrayItem(names, i)->valuestring,
                            plan_route_name((enum plan_route)i));
    json_free(&schema);
    json_free(&document);
    mem_free(text);
}

/* ---- does it fit? ---------------------------------------------------------------------------- */

struct fixture {
    struct graph *g;
    struct plan *p; /* pool1 tile, pool2 tile, logits local, for two boards */
};

static struct fixture make_fixture(void) {
    struct fixture f = {.g = toy_vgg()};
    struct cohort_error err = {0};
    const struct plan_request r = {.boards = 2};
    if (plan_make(&f.p, f.g, &r, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(f.p->segment_count, 3);
    return f;
}

static void set_until(struct plan *p, int i, const char *name) {
    mem_free(p->segments[i].until);
    p->segments[i].until = mem_strdup(name);
    assert_non_null(p->segments[i].until);
}

static void assert_unfit(struct fixture *f, int boards, const char *message) {
    struct cohort_error err = {0};
    assert_int_equal(plan_check(f->p, f->g, boards, &err), COHORT_ERR_PLAN);
    if (strncmp(err.message, message, strlen(message)) != 0)
        fail_msg("'%s', not '%s'", err.message, message);
    plan_destroy(&f->p);
    graph_destroy(&f->g);
}

static void test_check(void **state) {
    (void)state;
    struct cohort_error err = {0};
    struct fixture f = make_fixture();
    assert_int_equal(plan_check(f.p, f.g, 2, &err), COHORT_OK);
    assert_int_equal(plan_segment_end(f.p, f.g, 0), 3);
    assert_int_equal(plan_segment_end(f.p, f.g, 1), 6);
    assert_int_equal(plan_segment_end(f.p, f.g, 2), 8);
    assert_unfit(&f, 3,
                 "the plan is for 2 boards, but there are 3: make a new one, or start 2 ranks");

    f = make_fixture();
    f.p->signature[0] = f.p->signature[0] == '0' ? '1' : '0';
    assert_unfit(&f, 2, "the plan is for another network: for 'toy-vgg' with signature ");

    f = make_fixture();
    set_until(f.p, 1, "pool9");
    assert_unfit(&f, 2, "segment 1: the network has no tensor 'pool9'");

    f = make_fixture();
    set_until(f.p, 0, "input");
    assert_unfit(&f, 2, "segment 0: no operator makes 'input'");

    f = make_fixture();
    set_until(f.p, 1, "pool1");
    assert_unfit(&f, 2, "segment 1: 'pool1' belongs to a segment before");

    f = make_fixture();
    set_until(f.p, 1, "conv2");
    assert_unfit(&f, 2, "segment 1: 'conv2' belongs to a segment before");

    f = make_fixture();
    set_until(f.p, 2, "fc");
    assert_unfit(&f, 2, "the segments cover 7 of the network's 8 operators");

    f = make_fixture();
    f.p->segments[2].board = 1;
    f.p->segments[2].output = PLAN_STAY;
    f.p->segments[1].output = PLAN_STAY;
    f.p->segments[0].mode = PLAN_REPLICATE;
    f.p->wire = PLAN_WIRE_F16;
    assert_int_equal(plan_check(f.p, f.g, 2, &err), COHORT_OK);
    f.p->segments[2].board = 2;
    assert_unfit(&f, 2, "segment 2: there is no board 2 to run it: boards are 0 to 1");

    f = make_fixture();
    f.p->segments[0].mode = PLAN_REPLICATE;
    graph_value(f.g, graph_find_value(f.g, "pool1"))->shape.dim[2] = -1;
    assert_int_equal(graph_signature(f.g, f.p->signature, &err), COHORT_OK);
    assert_unfit(&f, 2, "segment 0 cannot run on every board: the shape of 'pool1' is known only");

    f = make_fixture();
    f.p->segments[0].split[2] = 15;
    assert_unfit(&f, 2, "segment 0: the split ends at row 15, but 'pool1' has 16 rows");

    f = make_fixture();
    graph_value(f.g, graph_find_value(f.g, "pool1"))->shape.dim[2] = -1;
    assert_int_equal(graph_signature(f.g, f.p->signature, &err), COHORT_OK);
    assert_unfit(&f, 2, "segment 0: 'pool1' cannot be divided by rows: its shape is known only at");
}

/* ---- rows of what goes on -------------------------------------------------------------------- */

static void test_scaled_rows(void **state) {
    (void)state;
    struct graph *g = toy_create("toy");
    const int x = toy_input(g, "x", 1, 40);
    int ids[4];
    ids[0] = toy_window(g, "MaxPool", "half", x, 1, 2, 2, 0);  /* 20 rows */
    ids[1] = toy_window(g, "MaxPool", "third", x, 1, 3, 3, 0); /* 13 */
    ids[2] = toy_window(g, "MaxPool", "one", x, 1, 40, 40, 0); /* 1 */
    ids[3] = x;
    for (int i = 0; i < 4; i++)
        graph_value(g, ids[i])->shape.dim[0] = 3; /* images */
    const int64_t rows = 3 * 20;
    for (int64_t a = 0; a <= rows; a++)
        for (int64_t b = a; b <= rows; b++) {
            int64_t split[4] = {0, a, b, rows};
            const struct plan_segment s = {.mode = PLAN_TILE, .split = split};
            for (int k = 0; k < 4; k++) {
                int64_t to[4];
                for (int i = 0; i < 4; i++)
                    to[i] = plan_scaled_row(&s, g, ids[0], ids[k], i);
                assert_int_equal(to[0], 0);
                assert_true(to[1] >= 0 && to[2] >= to[1] && to[3] >= to[2]);
                assert_int_equal(to[3], value_rows(graph_value(g, ids[k])));
                if (k == 0)
                    assert_int_equal(to[1], a);
                if (k == 3)
                    assert_int_equal(to[1], 2 * a);
                if (a % 20 == 0) /* between images stays there */
                    assert_int_equal(to[1], a / 20 * graph_value(g, ids[k])->shape.dim[2]);
            }
        }
    graph_value(g, ids[3])->shape.dim[0] = 1; /* other number of images: by all rows */
    int64_t split[3] = {0, 30, 60};
    const struct plan_segment s = {.mode = PLAN_TILE, .split = split};
    assert_int_equal(plan_scaled_row(&s, g, ids[0], x, 1), 20);
    assert_int_equal(plan_scaled_row(&s, g, ids[0], x, 2), 40);
    graph_destroy(&g);
}

/* A board counts once, whatever it does and how often; empty shares do not. */
static void test_busy_boards(void **state) {
    (void)state;
    int64_t first[] = {0, 7, 7, 14, 14}, second[] = {0, 0, 0, 14, 14};
    struct plan_segment segments[] = {
        {.mode = PLAN_TILE, .split = first},
        {.mode = PLAN_TILE, .split = second},
        {.mode = PLAN_LOCAL, .board = 0},
        {.mode = PLAN_LOCAL, .board = 3},
        {.mode = PLAN_REPLICATE},
    };
    static const int busy[] = {0, 2, 2, 2, 3, 4};
    for (int n = 0; n <= 5; n++)
        assert_int_equal(
            plan_busy_boards(&(struct plan){.boards = 4, .segments = segments, .segment_count = n}),
            busy[n]);
}

int main(void) {
    json_use_base_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_contents),
        cmocka_unit_test(test_version_1),    cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_mistakes),     cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_short_memory), cmocka_unit_test(test_schema),
        cmocka_unit_test(test_check),        cmocka_unit_test(test_scaled_rows),
        cmocka_unit_test(test_busy_boards),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
