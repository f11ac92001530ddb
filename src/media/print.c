/* Results as lines and as JSON.  See print.h. */
#include "media/print.h"

#include <math.h>

static const char *label_of(int index, const struct labels *labels) {
    return labels && index >= 0 && index < labels->count ? labels->names[index] : NULL;
}

static void print_label(FILE *out, int index, const struct labels *labels) {
    const char *name = label_of(index, labels);
    if (name)
        fprintf(out, "%s", name);
    else
        fprintf(out, "class %d", index);
}

void print_top(FILE *out, const struct ranked *best, int count, const struct labels *labels) {
    for (int i = 0; i < count; i++) {
        fprintf(out, "%8.4f  ", (double)best[i].score);
        print_label(out, best[i].index, labels);
        fputc('\n', out);
    }
}

void print_boxes(FILE *out, const struct box *boxes, int count, const struct labels *labels) {
    for (int i = 0; i < count; i++) {
        const struct box *b = &boxes[i];
        fprintf(out, "%8.4f  x %.1f to %.1f, y %.1f to %.1f  ", (double)b->score, (double)b->x0,
                (double)b->x1, (double)b->y0, (double)b->y1);
        print_label(out, b->label, labels);
        fputc('\n', out);
    }
}

void print_regions(FILE *out, const struct text_region *regions, int count,
                   const char *const *texts) {
    for (int i = 0; i < count; i++) {
        const float *c = regions[i].corners;
        fprintf(out, "%8.4f ", (double)regions[i].score);
        for (int k = 0; k < 4; k++)
            fprintf(out, " (%.0f,%.0f)", (double)c[2 * k], (double)c[2 * k + 1]);
        fprintf(out, "%s%s\n", texts ? "  " : "", texts ? texts[i] : "");
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* More digits than a float or a tenth of a pixel means would only be noise. */
static double rounded(float v, double unit) {
    return round((double)v * unit) / unit;
}

static void add_label(cJSON *object, int index, const struct labels *labels, bool *ok) {
    json_add_text(object, "label", label_of(index, labels), ok);
    json_add_i64(object, "index", index, ok);
}

void json_add_top(cJSON *array, const struct ranked *best, int count, const struct labels *labels,
                  bool *ok) {
    for (int i = 0; i < count; i++) {
        cJSON *object = json_add_object(array, NULL, ok);
        add_label(object, best[i].index, labels, ok);
        json_add_f64(object, "score", rounded(best[i].score, 1e6), ok);
    }
}

void json_add_boxes(cJSON *array, const struct box *boxes, int count, const struct labels *labels,
                    bool *ok) {
    for (int i = 0; i < count; i++) {
        const struct box *b = &boxes[i];
        const double corners[4] = {rounded(b->x0, 100), rounded(b->y0, 100), rounded(b->x1, 100),
                                   rounded(b->y1, 100)};
        cJSON *object = json_add_object(array, NULL, ok);
        add_label(object, b->label, labels, ok);
        json_add_f64(object, "score", rounded(b->score, 1e6), ok);
        json_add_f64s(object, "box", corners, 4, ok);
    }
}

void json_add_regions(cJSON *array, const struct text_region *regions, int count,
                      const char *const *texts, bool *ok) {
    for (int i = 0; i < count; i++) {
        cJSON *object = json_add_object(array, NULL, ok);
        if (texts)
            json_add_text(object, "text", texts[i], ok);
        json_add_f64(object, "score", rounded(regions[i].score, 1e6), ok);
        cJSON *corners = json_add_array(object, "corners", ok);
        for (int k = 0; k < 4; k++) {
            const double xy[2] = {rounded(regions[i].corners[2 * k], 100),
                                  rounded(regions[i].corners[2 * k + 1], 100)};
            json_add_f64s(corners, NULL, xy, 2, ok);
        }
    }
}
