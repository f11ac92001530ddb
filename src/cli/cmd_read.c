/* cohort read: finds the text on a picture with one network and reads it with another, each divided
 * among all boards of the job.
 *
 * The detector (PP-OCR style: a map of text probabilities) runs once on the whole page.  Each
 * region that it finds is straightened, scaled to the recogniser's height, padded to one of a few
 * widths, and read.  The answer carries hashes of both networks' raw outputs, so that two runs can
 * be shown to have computed the same bits. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "media/media.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LINE_HEIGHT 48   /* of the recogniser's input */
#define WIDTH_STEP  320  /* its widths are multiples of this … */
#define WIDTH_MAX   1600 /* … up to this; longer lines are squeezed */
#define PAGE_STEP   32   /* the detector's sizes are multiples of this */

struct line {
    struct text_region region;
    struct tensor input; /* [1,3,48,width] */
    int width;
    char *text;
    float score;
    char hash[HASH_TEXT_BYTES]; /* of the recogniser's output */
};

struct reading {
    struct cli_options common;
    const char *detector, *recognizer, *keys, *draw;
    long limit;
    bool report;
    bool opened; /* a session was: what is to be said of the boards has been said */
    struct cli_ranks ranks;
    struct image page; /* rank 0, as is all that follows */
    struct placement where;
    struct line *lines;
    int line_count;
    struct labels key_names;
    char map_hash[HASH_TEXT_BYTES];
    double detect_ms, read_ms;
    char *detect_report;
};

static bool is_root(const struct reading *r) {
    return r->ranks.rank == 0;
}

/* ---- one network on all boards ----------------------------------------------------------- */

/* A network of one input and one output, open and prepared for one shape. */
struct stage {
    struct cohort_model *model;
    struct cohort_plan *plan;
    struct cohort_session *session;
    struct cli_session_state state;
    char *shape;
};

static void stage_close(struct stage *s) {
    cohort_close(&s->session);
    cohort_plan_free(&s->plan);
    cohort_model_free(&s->model);
    cli_session_release(&s->state);
    mem_free(s->shape);
    *s = (struct stage){0};
}

static enum cohort_code stage_open_on_root(struct reading *r, struct stage *s, const char *path,
                                           int height, int width, struct cohort_error *err) {
    struct cli_options o = r->common;
    enum cohort_code code = COHORT_OK;
    s->shape = mem_printf("1x3x%dx%d", height, width);
    if (s->shape == NULL)
        return error_memory(err, 64, "a shape");
    o.shapes = (struct option_list){.items = {s->shape}, .count = 1};
    TRY(cli_open_model(&s->model, path, &o, err));
    if (cohort_input_count(s->model) != 1 || cohort_output_count(s->model) != 1)
        return error_set(err, COHORT_ERR_SHAPE,
                         "%s: a network with one input and one output is expected", path);
    TRY(cli_make_plan(&s->plan, s->model, &o, r->ranks.size, NULL, err));
out:
    return code;
}

/* Collective.  pixels: NULL, or what the input's bytes stand for. */
static enum cohort_code stage_open(struct reading *r, struct stage *s, const char *path, int height,
                                   int width, const struct cohort_pixels *pixels,
                                   struct cohort_error *err) {
    struct cohort_session_options options;
    enum cohort_code code = cli_session_options(&options, &s->state, &r->common, &r->ranks, err);
    if (code == COHORT_OK && is_root(r))
        code = stage_open_on_root(r, s, path, height, width, err);
    TRY(cli_agree(&r->ranks, code, err));
    if (r->opened && !r->common.verbose)
        options.log = NULL;
    r->opened = true;
    options.pixels = pixels;
    options.pixel_count = pixels != NULL;
    TRY(cohort_prepare(&s->session, s->model, s->plan, r->ranks.comm, &options, err));
out:
    return code;
}

/* Collective.  *out borrows from the session on rank 0. */
static enum cohort_code stage_run(struct reading *r, struct stage *s, const struct tensor *in,
                                  struct tensor *out, struct cohort_error *err) {
    struct cohort_tensor from = {0}, to = {0};
    bool root = is_root(r);
    if (root) {
        from = (struct cohort_tensor){
            .type = (enum cohort_type)in->type, .rank = in->shape.rank, .data = in->data};
        for (int i = 0; i < in->shape.rank; i++)
            from.dims[i] = in->shape.dim[i];
    }
    enum cohort_code code =
        cohort_run(s->session, root ? &from : NULL, root, root ? &to : NULL, root, err);
    if (code == COHORT_OK && root)
        *out = (struct tensor){
            .type = (enum dtype)to.type, .shape = shape_of(to.rank, to.dims), .data = to.data};
    return code;
}

/* ---- finding ----------------------------------------------------------------------------- */

static int round_to(double v, int step) {
    int n = (int)lround(v / step);
    return (n < 1 ? 1 : n) * step;
}

/* Paddle's normalisation: blue first, ImageNet's figures in that order. */
static const struct cohort_pixels page_pixels = {
    .scale = 1.0f / 255, .mean = {0.485f, 0.456f, 0.406f}, .std = {0.229f, 0.224f, 0.225f}};

static enum cohort_code page_tensor(struct reading *r, struct tensor *t, int width, int height,
                                    struct cohort_error *err) {
    const struct preprocess p = {.fit = FIT_STRETCH, .bgr = true};
    bool exact;
    return preprocess_pixels(t, &exact, &r->where, &r->page, &p, 3, height, width, err);
}

static enum cohort_code keep_regions(struct reading *r, const struct tensor *map,
                                     struct cohort_error *err) {
    struct text_region *regions = NULL;
    enum cohort_code code = COHORT_OK;
    int count = 0;
    hash_bytes(map->data, tensor_bytes(map), r->map_hash);
    TRY(text_regions(&regions, &count, map, &r->where, r->page.width, r->page.height, err));
    r->lines = mem_zalloc((size_t)count + 1, sizeof *r->lines);
    if (r->lines == NULL) {
        code = error_memory(err, (size_t)count * sizeof *r->lines, "lines of text");
        goto out;
    }
    for (int i = 0; i < count; i++)
        r->lines[i].region = regions[i];
    r->line_count = count;
out:
    mem_free(regions);
    return code;
}

static enum cohort_code detect(struct reading *r, struct cohort_error *err) {
    struct stage s = {0};
    struct tensor in = {0}, map = {0};
    enum cohort_code code = COHORT_OK;
    int width = 0, height = 0;
    if (is_root(r)) {
        double longer = r->page.width > r->page.height ? r->page.width : r->page.height;
        double scale = (double)r->limit / longer; /* small pages are read better enlarged */
        width = round_to(r->page.width * scale, PAGE_STEP);
        height = round_to(r->page.height * scale, PAGE_STEP);
        code = page_tensor(r, &in, width, height, err);
    }
    TRY(cli_agree(&r->ranks, code, err));
    TRY(stage_open(r, &s, r->detector, height, width, &page_pixels, err));
    double start = clock_ms();
    TRY(stage_run(r, &s, &in, &map, err));
    r->detect_ms = clock_ms() - start;
    if (is_root(r))
        code = keep_regions(r, &map, err);
    TRY(cli_agree(&r->ranks, code, err));
    TRY(cohort_report(s.session, &r->detect_report, err));
out:
    tensor_release(&in);
    stage_close(&s);
    return code;
}

/* ---- reading --------------------------------------------------------------------------------- */

static double distance(const float *a, const float *b) {
    return hypot((double)(a[0] - b[0]), (double)(a[1] - b[1]));
}

/* The straightened, scaled and padded picture of one region; upright text is turned. */
static enum cohort_code line_tensor(struct reading *r, struct line *line,
                                    struct cohort_error *err) {
    struct image strip = {0};
    enum cohort_code code = COHORT_OK;
    float *c = line->region.corners, turned[8];
    double w = fmax(distance(c, c + 2), distance(c + 6, c + 4)),
           h = fmax(distance(c, c + 6), distance(c + 2, c + 4));
    if (h > 1.5 * w) {
        memcpy(turned, c + 2, 6 * sizeof *c);
        memcpy(turned + 6, c, 2 * sizeof *c);
        c = turned;
        double swap = w;
        w = h;
        h = swap;
    }
    int wide = (int)ceil(w * LINE_HEIGHT / fmax(h, 1));
    wide = wide < 8 ? 8 : wide > WIDTH_MAX ? WIDTH_MAX : wide;
    line->width = (wide + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP;
    TRY(image_warp(&strip, &r->page, c, wide, LINE_HEIGHT, err));
    int64_t dims[4] = {1, 3, LINE_HEIGHT, line->width};
    struct shape shape = shape_of(4, dims);
    TRY(tensor_init(&line->input, DT_F32, &shape, err));
    float *to = line->input.data; /* [3][48][width], blue first, (v/255 - 0.5) / 0.5, zero beyond */
    for (int ch = 0; ch < 3; ch++)
        for (int y = 0; y < LINE_HEIGHT; y++)
            for (int x = 0; x < wide; x++)
                to[(ch * LINE_HEIGHT + y) * line->width + x] =
                    (float)strip.pixels[3 * (y * wide + x) + 2 - ch] / 127.5f - 1.0f;
out:
    image_release(&strip);
    return code;
}

/* Collective: reads all lines of one width; `width` and `count` are agreed. */
static enum cohort_code read_width(struct reading *r, int width, int count,
                                   struct cohort_error *err) {
    struct stage s = {0};
    enum cohort_code code = COHORT_OK;
    int at = 0;
    TRY(stage_open(r, &s, r->recognizer, LINE_HEIGHT, width, NULL, err));
    for (int k = 0; k < count; k++, at++) {
        struct tensor out = {0};
        while (is_root(r) && r->lines[at].width != width)
            at++;
        double start = clock_ms();
        TRY(stage_run(r, &s, is_root(r) ? &r->lines[at].input : NULL, &out, err));
        r->read_ms += clock_ms() - start;
        if (is_root(r)) {
            hash_bytes(out.data, tensor_bytes(&out), r->lines[at].hash);
            code = text_decode(&r->lines[at].text, &r->lines[at].score, &out, &r->key_names, err);
        }
        TRY(cli_agree(&r->ranks, code, err));
    }
out:
    stage_close(&s);
    return code;
}

static enum cohort_code recognise(struct reading *r, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < r->line_count && code == COHORT_OK; i++)
        code = line_tensor(r, &r->lines[i], err);
    TRY(cli_agree(&r->ranks, code, err));
    for (int width = WIDTH_STEP; width <= WIDTH_MAX; width += WIDTH_STEP) {
        long count = 0;
        for (int i = 0; i < r->line_count; i++)
            count += r->lines[i].width == width;
        TRY(cli_broadcast(&r->ranks, &count, err));
        if (count > 0)
            TRY(read_width(r, width, (int)count, err));
    }
out:
    return code;
}

/* ---- showing --------------------------------------------------------------------------------- */

static enum cohort_code draw(const struct reading *r, struct cohort_error *err) {
    struct image copy = {0};
    enum cohort_code code = COHORT_OK;
    const uint8_t red[3] = {220, 30, 30};
    TRY(image_init(&copy, r->page.width, r->page.height, err));
    memcpy(copy.pixels, r->page.pixels, (size_t)copy.width * (size_t)copy.height * 3);
    for (int i = 0; i < r->line_count; i++) {
        const float *c = r->lines[i].region.corners;
        for (int k = 0; k < 4; k++) {
            const float *a = c + 2 * k, *b = c + 2 * ((k + 1) % 4);
            image_draw_line(&copy, (int)lrintf(a[0]), (int)lrintf(a[1]), (int)lrintf(b[0]),
                            (int)lrintf(b[1]), 2, red);
        }
    }
    TRY(image_save_png(&copy, r->draw, err));
out:
    image_release(&copy);
    return code;
}

/* {"answer": what was read, with hashes; "latency_ms"; "report": of the detector}. */
static enum cohort_code show_json(const struct reading *r, struct cohort_error *err) {
    cJSON *root = cJSON_CreateObject(), *report = NULL;
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    TRY(json_parse(&report, r->detect_report, strlen(r->detect_report), "report", err));
    cJSON_AddStringToObject(root, "format", "cohort-read");
    cJSON_AddNumberToObject(root, "version", 1);
    cJSON *answer = cJSON_AddObjectToObject(root, "answer");
    cJSON_AddStringToObject(answer, "map_hash", r->map_hash);
    cJSON *lines = cJSON_AddArrayToObject(answer, "lines");
    for (int i = 0; i < r->line_count; i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "text", r->lines[i].text);
        cJSON_AddNumberToObject(o, "score", (double)r->lines[i].score);
        json_put(o, "corners", cJSON_CreateFloatArray(r->lines[i].region.corners, 8));
        cJSON_AddStringToObject(o, "hash", r->lines[i].hash);
        json_append(lines, o);
    }
    cJSON *latency = cJSON_AddObjectToObject(root, "latency_ms");
    cJSON_AddNumberToObject(latency, "detect", r->detect_ms);
    cJSON_AddNumberToObject(latency, "read", r->read_ms);
    json_put(root, "report", report);
    report = NULL;
    TRY(json_print(&text, NULL, root, err));
    fputs(text, stdout);
out:
    mem_free(text);
    cJSON_Delete(report);
    cJSON_Delete(root);
    return code;
}

static enum cohort_code show(const struct reading *r, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(cli_warn_late(r->detect_report, err));
    if (r->draw != NULL)
        TRY(draw(r, err));
    if (r->common.json)
        return show_json(r, err);
    for (int i = 0; i < r->line_count; i++)
        printf("%5.1f %%  %s\n", 100 * (double)r->lines[i].score, r->lines[i].text);
    if (r->report)
        TRY(cli_print_report(stdout, r->detect_report, err));
    printf("%d lines: found in %.1f ms, read in %.1f ms\n", r->line_count, r->detect_ms,
           r->read_ms);
out:
    return code;
}

/* ---- together -------------------------------------------------------------------------------- */

static enum cohort_code load(struct reading *r, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(image_load(&r->page, path, err));
    TRY(labels_load(&r->key_names, r->keys, err));
out:
    return code;
}

static enum cohort_code run(struct reading *r, const char *path, struct cohort_error *err) {
    enum cohort_code code = is_root(r) ? load(r, path, err) : COHORT_OK;
    TRY(cli_agree(&r->ranks, code, err));
    TRY(detect(r, err));
    TRY(recognise(r, err));
    if (is_root(r))
        code = show(r, err);
    TRY(cli_agree(&r->ranks, code, err));
out:
    return code;
}

static void release(struct reading *r) {
    for (int i = 0; i < r->line_count; i++) {
        tensor_release(&r->lines[i].input);
        mem_free(r->lines[i].text);
    }
    mem_free(r->lines);
    image_release(&r->page);
    labels_release(&r->key_names);
    cohort_text_free(r->detect_report);
}

int cmd_read(const struct cli_command *self, int argc, char **argv) {
    struct reading r = {.limit = 960, .ranks = {.comm = MPI_COMM_NULL, .size = 1}};
    struct cohort_error err = {0};
    const char *path = NULL;
    int count, status;
    cli_options_init(&r.common);
    const struct option_spec specs[] = {
        {"detector", 0, OPTION_TEXT, &r.detector, "MODEL",
         "network that finds text (PP-OCR detector)", 0, 0},
        {"recognizer", 0, OPTION_TEXT, &r.recognizer, "MODEL",
         "network that reads a line (PP-OCR recogniser)", 0, 0},
        {"keys", 0, OPTION_TEXT, &r.keys, "FILE", "the recogniser's characters, one a line", 0, 0},
        {"draw", 0, OPTION_TEXT, &r.draw, "FILE", "the picture with the regions drawn, as PNG", 0,
         0},
        {"limit", 0, OPTION_INT, &r.limit, "N", "longer side that the detector sees (960)", 32,
         8192},
        {"report", 0, OPTION_FLAG, &r.report, NULL,
         "print the detector's table of steps and boards", 0, 0},
        {"json", 0, OPTION_FLAG, &r.common.json, NULL, "print one JSON document instead", 0, 0},
        CLI_BOARD_OPTIONS(r.common),
        CLI_COMMON_OPTIONS(r.common),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &r.common.help, argc, argv, &path, 1, &count, &status))
        return status;
    if (count != 1 || r.detector == NULL || r.recognizer == NULL || r.keys == NULL) {
        error_set(&err, COHORT_ERR_USAGE,
                  "a picture, --detector, --recognizer and --keys are needed: %s", self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = cli_ranks_begin(&r.ranks, &err);
    if (code == COHORT_OK)
        code = run(&r, path, &err);
    release(&r);
    return cli_ranks_end(&r.ranks, code, &err);
}
