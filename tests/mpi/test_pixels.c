/* Inputs that are given as pixels: bytes travel, and the answer has the bits of the same numbers
 * given as float32 on one rank, for maps and plain values, channels first and last, batches,
 * several inputs, every mode and both ways of scattering; the report counts bytes; mistakes are
 * errors on all ranks.  np: 1 2 3 4 6 */
#include "tests/support/graphtest.h"
#include "tests/support/mpitest.h"
#include "tests/support/randomplan.h"

#include "cohort.h"

#include "base/json.h"
#include "base/mem.h"
#include "graph/pixels.h"
#include "runtime/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PLANS   14 /* of each network: the default, then random ones … */
#define LOSSY   4  /* … of which the last so many have a lossy wire */
#define INPUTS  2
#define OUTPUTS 2

static uint64_t plan_seed = 4711; /* of rank 0 */

/* A network, and what rank 0 keeps of it. */
struct network {
    const char *name;
    struct gt t;
    struct cohort_model model;
    bool last, keep; /* channels last; every node by its reference */
    bool evaluates;  /* some nodes by their reference, which allocates: known on all ranks */
    struct cohort_pixels pixels[INPUTS];
    int pixel_count;
    struct cohort_tensor bytes[INPUTS], numbers[INPUTS]; /* as pixels, and as float32 */
    void *owned[2 * INPUTS];
    float *want[OUTPUTS];
    int64_t count[OUTPUTS];
};

/* ---- networks -------------------------------------------------------------------------------- */

static int conv(struct gt *t, int x, int in_c, int out_c) {
    return gt_node(t, "Relu", "", 1,
                   gt_node(t, "Conv", "pads=1,1,1,1", 2, x, gt_random(t, DIMS(out_c, in_c, 3, 3))));
}

static int body(struct gt *t, int x, int channels) {
    x = conv(t, x, channels, 16);
    x = gt_node(t, "MaxPool", "kernel_shape=2,2 strides=2,2", 1, x);
    return conv(t, conv(t, x, 16, 24), 24, 8);
}

static void build_map(struct network *n) {
    gt_output(&n->t, body(&n->t, gt_input(&n->t, "x", DIMS(1, 3, 23, 17)), 3));
}
static void build_batch(struct network *n) {
    gt_output(&n->t, body(&n->t, gt_input(&n->t, "x", DIMS(3, 3, 12, 9)), 3));
}
static void build_grey(struct network *n) {
    gt_output(&n->t, body(&n->t, gt_input(&n->t, "x", DIMS(1, 1, 16, 40)), 1));
}
static void build_four(struct network *n) {
    gt_output(&n->t, body(&n->t, gt_input(&n->t, "x", DIMS(1, 4, 14, 14)), 4));
}
static void build_last(struct network *n) {
    int x = gt_input(&n->t, "x", DIMS(2, 18, 11, 3));
    n->last = true;
    gt_output(&n->t, body(&n->t, gt_node(&n->t, "Transpose", "perm=0,3,1,2", 1, x), 3));
}
static void build_plain(struct network *n) {
    n->keep = true;
    gt_output(&n->t, body(&n->t, gt_input(&n->t, "x", DIMS(2, 3, 10, 8)), 3));
}
/* The other input stays float32; the pixels are a skip and an output too. */
static void build_two(struct network *n) {
    int y = gt_input(&n->t, "y", DIMS(1, 3, 21, 15)), x = gt_input(&n->t, "x", DIMS(1, 3, 21, 15));
    int sum = gt_node(&n->t, "Add", "", 2, conv(&n->t, y, 3, 3), conv(&n->t, x, 3, 3));
    gt_output(&n->t, conv(&n->t, gt_node(&n->t, "Add", "", 2, conv(&n->t, sum, 3, 3), x), 3, 5));
    gt_output(&n->t, x);
}
/* Both are pixels, of different scales. */
static void build_both(struct network *n) {
    int y = gt_input(&n->t, "y", DIMS(1, 1, 20, 15)), x = gt_input(&n->t, "x", DIMS(1, 3, 20, 15));
    int sum = gt_node(&n->t, "Add", "", 2, conv(&n->t, y, 1, 20), conv(&n->t, x, 3, 20));
    gt_output(&n->t, conv(&n->t, sum, 20, 7));
}

static const struct {
    const char *name;
    void (*build)(struct network *n);
    bool evaluates;
} networks[] = {
    {"map", build_map, false},           {"batch", build_batch, false},
    {"grey", build_grey, false},         {"four channels", build_four, false},
    {"channels last", build_last, true}, {"plain", build_plain, true},
    {"one of two", build_two, false},    {"two", build_both, false},
};
#define NETWORKS (sizeof networks / sizeof networks[0])

/* Random bytes, and the numbers that they stand for by the formula, in the network's own layout. */
static void make_pixels(struct network *n, int i, unsigned *state) {
    const struct value *v = graph_value(n->t.g, n->t.g->inputs[i]);
    struct cohort_tensor *in = &n->numbers[i], *bytes = &n->bytes[i];
    const int64_t *d = in->dims;
    const int64_t channels = d[n->last ? 3 : 1], plane = mt_elements(in) / d[0] / channels;
    struct pixel_scale scale = {.scale = 1.0f / 255,
                                .mean = {0.485f, 0.456f, 0.406f, 0.1f},
                                .std = {0.229f, 0.224f, 0.225f, 0}};
    scale.mean[0] += (float)i;
    struct cohort_pixels *p = &n->pixels[n->pixel_count++];
    *p = (struct cohort_pixels){.input = v->name, .scale = scale.scale, .channels_last = n->last};
    memcpy(p->mean, scale.mean, sizeof p->mean);
    memcpy(p->std, scale.std, sizeof p->std);
    uint8_t *from = malloc((size_t)mt_elements(in));
    float *to = in->data;
    for (int64_t k = 0; k < mt_elements(in); k++) {
        *state = *state * 1103515245u + 12345u;
        from[k] = (uint8_t)(*state >> 16);
        const int64_t c = k % channels, pixel = k / channels % plane, image = k / channels / plane;
        to[n->last ? k : (image * channels + c) * plane + pixel] =
            pixel_number(&scale, (float)from[k], (int)c);
    }
    *bytes = (struct cohort_tensor){.name = v->name, .type = COHORT_U8, .rank = 4, .data = from};
    const struct shape s = pixels_shape(v, n->last);
    memcpy(bytes->dims, s.dim, sizeof bytes->dims);
    n->owned[2 * i + 1] = from;
}

/* Rank 0: inputs, and the answer of one rank to float32. */
static bool answer_alone(struct network *n) {
    struct cohort_error err = {0};
    struct cohort_session *alone = NULL;
    struct cohort_tensor out[OUTPUTS];
    const struct cohort_session_options o = {.threads = 1, .no_binding = 1};
    const int inputs = n->t.g->input_count, outputs = n->t.g->output_count;
    unsigned state = 77;
    for (int i = 0; i < inputs; i++) {
        n->numbers[i] = cohort_input(&n->model, i);
        float *x = malloc((size_t)mt_elements(&n->numbers[i]) * sizeof *x);
        for (int64_t k = 0; k < mt_elements(&n->numbers[i]); k++)
            x[k] = (float)((k * 7919) % 2003 - 1000) * 0.001f;
        n->numbers[i].data = n->owned[2 * i] = x;
        n->bytes[i] = n->numbers[i];
        if (strcmp(n->name, "one of two") != 0 || i == 1)
            make_pixels(n, i, &state);
    }
    bool ok = mt_said(cohort_prepare(&alone, &n->model, NULL, MPI_COMM_NULL, &o, &err), &err) &&
              mt_said(cohort_run(alone, n->numbers, inputs, out, outputs, &err), &err);
    for (int i = 0; i < outputs && ok; i++) {
        n->count[i] = mt_elements(&out[i]);
        n->want[i] = malloc((size_t)n->count[i] * sizeof(float));
        memcpy(n->want[i], out[i].data, (size_t)n->count[i] * sizeof(float));
    }
    cohort_close(&alone);
    return ok;
}

static bool open_network(struct network *n, size_t which) {
    *n = (struct network){.name = networks[which].name, .evaluates = networks[which].evaluates};
    if (mt_rank != 0)
        return true;
    gt_begin(&n->t, 13);
    networks[which].build(n);
    n->model.graph = n->t.g;
    return mt_said(graph_finish(n->t.g, &(struct pass_options){.keep = n->keep}, &n->t.err),
                   &n->t.err) &&
           answer_alone(n);
}

static void close_network(struct network *n) {
    for (int i = 0; i < 2 * INPUTS; i++)
        free(n->owned[i]);
    for (int i = 0; i < OUTPUTS; i++)
        free(n->want[i]);
    if (mt_rank == 0)
        gt_end(&n->t);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static bool is_pixels(const struct network *n, const char *tensor) {
    for (int i = 0; i < n->pixel_count; i++)
        if (strcmp(n->pixels[i].input, tensor) == 0)
            return true;
    return false;
}

/* Rank 0.  Wherever an input that is pixels travels, the report says so, and counts a byte a value.
 */
static bool report_is_right(const struct network *n, const char *text, int *travelled) {
    struct cohort_error err = {0};
    cJSON *root = NULL;
    const cJSON *step, *cell;
    bool right = mt_said(json_parse(&root, text, strlen(text), "report", &err), &err);
    cJSON_ArrayForEach(step, cJSON_GetObjectItem(root, "steps")) {
        const cJSON *tensor = cJSON_GetObjectItem(step, "tensor");
        const cJSON *wire = cJSON_GetObjectItem(step, "wire");
        const int id = graph_find_value(n->t.g, tensor->valuestring);
        if (wire == NULL || !is_pixels(n, tensor->valuestring))
            continue;
        const double row = (double)value_geometry(graph_value(n->t.g, id)).row_bytes / 4;
        int b = 0;
        right = right && strcmp(wire->valuestring, "u8") == 0;
        cJSON_ArrayForEach(cell, cJSON_GetObjectItem(step, "boards")) {
            double rows = cJSON_GetObjectItem(cell, "rows")->valuedouble;
            double bytes = cJSON_GetObjectItem(cell, "bytes")->valuedouble;
            if (b++ > 0) /* rank 0 sends */
                right = right && fabs(bytes - rows * row) < 0.5;
            *travelled += b > 1 && bytes > 0;
        }
    }
    json_free(&root);
    return right;
}

/* Collective.  The session goes on with another random plan, of the same wire. */
static bool change_plan(const struct network *n, struct cohort_session *s) {
    struct cohort_error err = {0};
    char *text = NULL;
    int bytes = 0;
    if (mt_rank == 0) {
        struct plan *p = random_plan_make(n->t.g, mt_size, &plan_seed);
        if (p != NULL)
            p->wire = s->plan->wire;
        if (p != NULL && mt_said(plan_print(p, &text, &err), &err))
            bytes = (int)strlen(text) + 1;
        plan_destroy(&p);
    }
    MPI_Bcast(&bytes, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (mt_rank != 0)
        text = mem_zalloc(1, (size_t)bytes + 1);
    MPI_Bcast(text, bytes, MPI_CHAR, 0, MPI_COMM_WORLD);
    const bool changed = bytes > 0 && mt_said(session_change_plan(s, text, &err), &err);
    mem_free(text);
    return changed;
}

/* Collective.  Twice by this plan, and once by another: the same bits, or as near as `tolerance`.
 */
static bool run_everywhere(const struct network *n, const struct cohort_plan *plan,
                           enum cohort_scatter how, double tolerance, int *travelled) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out[OUTPUTS] = {{0}};
    const bool root = mt_rank == 0;
    const int inputs = root ? n->t.g->input_count : 0, outputs = root ? n->t.g->output_count : 0;
    bool same = true;
    char *json = NULL;
    const struct cohort_session_options o = {.threads = 1,
                                             .no_binding = 1,
                                             .scatter = how,
                                             .weights = COHORT_WEIGHTS_SEND,
                                             .pixels = root ? n->pixels : NULL,
                                             .pixel_count = root ? n->pixel_count : 0};
    struct cohort_model *model = root ? (struct cohort_model *)(uintptr_t)&n->model : NULL;
    if (!mt_said(cohort_prepare(&s, model, plan, MPI_COMM_WORLD, &o, &err), &err))
        return false;
    for (int i = 0; i < 3 && same; i++) {
        if (i == 2 && !(same = change_plan(n, s)))
            break; /* on all ranks */
        const long before = mem_alloc_calls();
        same = mt_said(
            cohort_run(s, root ? n->bytes : NULL, inputs, root ? out : NULL, outputs, &err), &err);
        if (same && i == 1 && !n->evaluates && mem_alloc_calls() != before) {
            mt_note("%s: the second run allocated", n->name);
            same = false;
        }
        for (int k = 0; k < outputs && same; k++)
            same = mt_elements(&out[k]) == n->count[k] &&
                   (tolerance > 0 ? mt_difference(out[k].data, n->want[k], n->count[k]) <= tolerance
                                  : memcmp(out[k].data, n->want[k],
                                           (size_t)n->count[k] * sizeof(float)) == 0);
        MPI_Allreduce(MPI_IN_PLACE, &same, 1, MPI_C_BOOL, MPI_LAND, MPI_COMM_WORLD);
    }
    same = same && mt_said(cohort_report(s, &json, &err), &err) &&
           (!root || report_is_right(n, json, travelled));
    cohort_text_free(json);
    MPI_Bcast(&same, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
    cohort_close(&s);
    return same;
}

static void check_network(size_t which) {
    struct network n;
    int travelled = 0;
    bool all = mt_ok(open_network(&n, which), "%s: one rank's answer", networks[which].name);
    for (int round = 0; round < PLANS && all; round++) {
        struct cohort_plan plan = {0}, *p = NULL;
        const bool lossy = round >= PLANS - LOSSY;
        if (mt_rank == 0 && round > 0) {
            plan.plan = random_plan_make(n.t.g, mt_size, &plan_seed);
            p = &plan;
        }
        if (p != NULL && lossy)
            cohort_plan_set_wire(p, round % 2 ? COHORT_WIRE_F16 : COHORT_WIRE_I8);
        all = run_everywhere(&n, p, round % 2 ? COHORT_SCATTER_ORDERED : COHORT_SCATTERV,
                             lossy ? 0.1 : 0, &travelled);
        struct cohort_error err = {0};
        char *text = NULL;
        if (!all && p != NULL && plan_print(p->plan, &text, &err) == COHORT_OK)
            mt_note("%s: %s", n.name, text);
        mem_free(text);
        plan_destroy(&plan.plan);
    }
    mt_ok(all, "%s: %d plans give its bits", networks[which].name, PLANS);
    MPI_Bcast(&travelled, 1, MPI_INT, 0, MPI_COMM_WORLD);
    mt_ok(mt_size == 1 || travelled > 0, "%s: bytes travelled", networks[which].name);
    close_network(&n);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

/* Collective: preparing fails with these words on all ranks. */
static void refused(const struct network *n, const char *what, const struct cohort_pixels *pixels,
                    int count, enum cohort_code want, const char *words) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    const bool root = mt_rank == 0;
    const struct cohort_session_options o = {.threads = 1,
                                             .no_binding = 1,
                                             .pixels = root ? pixels : NULL,
                                             .pixel_count = root ? count : 0};
    struct cohort_model *model = root ? (struct cohort_model *)(uintptr_t)&n->model : NULL;
    enum cohort_code code = cohort_prepare(&s, model, NULL, MPI_COMM_WORLD, &o, &err);
    if (strstr(err.message, words) == NULL)
        mt_note("%s", err.message);
    mt_ok(code == want && s == NULL && strstr(err.message, words) != NULL, "%s is refused", what);
}

/* Collective: this input is refused by cohort_run(), on all ranks. */
static void refused_run(const struct network *n, const char *what, const struct cohort_tensor *in,
                        const char *words) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out;
    const bool root = mt_rank == 0;
    const struct cohort_session_options o = {.threads = 1,
                                             .no_binding = 1,
                                             .pixels = root ? n->pixels : NULL,
                                             .pixel_count = root ? n->pixel_count : 0};
    struct cohort_model *model = root ? (struct cohort_model *)(uintptr_t)&n->model : NULL;
    bool ok = mt_said(cohort_prepare(&s, model, NULL, MPI_COMM_WORLD, &o, &err), &err);
    if (ok) {
        enum cohort_code code =
            cohort_run(s, root ? in : NULL, root, root ? &out : NULL, root, &err);
        ok = code == COHORT_ERR_SHAPE && strstr(err.message, words) != NULL;
        if (!ok)
            mt_note("%s", err.message);
    }
    cohort_close(&s);
    mt_ok(ok, "%s is refused", what);
}

static void check_mistakes(void) {
    struct network n;
    mt_ok(open_network(&n, 0), "a network to refuse things");
    const struct cohort_pixels unknown = {.input = "z"}, last = {.channels_last = 1};
    const struct cohort_pixels twice[2] = {{.input = "x"}, {.input = NULL}};
    refused(&n, "an unknown input", &unknown, 1, COHORT_ERR_USAGE, "no input called 'z'");
    refused(&n, "an input that is named twice", twice, 2, COHORT_ERR_USAGE, "twice");
    refused(&n, "too many channels", &last, 1, COHORT_ERR_SHAPE,
            "input 'x' cannot be given as pixels: it is float32 1x3x23x17");
    struct cohort_tensor wrong = n.bytes[0];
    wrong.dims[1] = 22;
    refused_run(&n, "a picture of another size", &wrong,
                "input 'x' comes as pixels, uint8 1x23x17x3, but uint8 1x22x17x3 was given");
    refused_run(&n, "float32 instead", &n.numbers[0], "but float32 1x3x23x17 was given");
    close_network(&n);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 150);
    for (size_t i = 0; i < NETWORKS; i++)
        check_network(i);
    check_mistakes();
    return mt_end();
}
