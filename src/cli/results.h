/* Showing what a network answered: best classes, boxes, pictures, arrays, JSON. */
#ifndef COHORT_CLI_RESULTS_H
#define COHORT_CLI_RESULTS_H

#include "cli/cli.h"
#include "cli/inputs.h"

#include "base/json.h"

struct result_options {
    const char *as; /* top5, boxes, image, npy, json, summary; NULL: by the output */
    long top;
    const char *labels; /* file */
    const char *output; /* -o FILE */
    const char *draw;   /* FILE */
    const char *head;   /* auto, yolov2, yolov5, yolov8, yolox */
    double confidence, iou;
    bool json; /* one JSON document instead of lines */
};

#define RESULT_OPTIONS(r)                                                                           \
    {"as",    0,     OPTION_TEXT,                                                                   \
     &(r).as, "HOW", "top5, boxes, image, npy, json or summary (by the output's shape)",            \
     0,       0},                                                                                   \
        {"top", 0, OPTION_INT, &(r).top, "K", "how many classes (5)", 1, 100000},                   \
        {"labels", 0, OPTION_TEXT, &(r).labels, "FILE", "names of classes, one a line", 0, 0},      \
        {"output", 'o', OPTION_TEXT, &(r).output, "FILE", "where an image, .npy or JSON goes",      \
         0,        0},                                                                              \
        {"draw", 0, OPTION_TEXT, &(r).draw, "FILE", "boxes on the picture, as PNG", 0, 0},          \
        {"head", 0, OPTION_TEXT, &(r).head, "NAME", "boxes: auto, yolov2, yolov5, yolov8 or yolox", \
         0,      0},                                                                                \
        {"confidence", 0, OPTION_DOUBLE, &(r).confidence, "F", "boxes: least score (0.25)", 0, 1},  \
        {"iou", 0, OPTION_DOUBLE, &(r).iou, "F", "boxes: overlap that suppresses (0.45)", 0, 1}, {  \
        "json", 0, OPTION_FLAG, &(r).json, NULL, "print one JSON document instead", 0, 0            \
    }

/* What was shown so far, for the JSON document. */
struct results {
    cJSON *runs; /* array, one object per set of inputs */
    struct labels labels;
    bool labels_loaded;
};

/* Before anything runs: are the options sensible for this network, is the labels file there? */
enum cohort_code result_check(const struct result_options *o, const struct cohort_model *m,
                              struct cohort_error *err);
/* Shows the outputs of one run (unless JSON is wanted, when they are only kept). */
/* Can a file be made there?  Before a long run rather than after it. */
enum cohort_code result_check_target(const char *option, const char *path,
                                     struct cohort_error *err);
enum cohort_code result_show(struct results *r, const struct result_options *o,
                             const struct input_set *in, const struct cohort_tensor *outputs,
                             int count, struct cohort_error *err);
/* Prints times, and the report's table or the JSON document. */
enum cohort_code results_finish(struct results *r, const struct result_options *o, double *ms,
                                int ms_count, const char *report, bool table,
                                struct cohort_error *err);
void results_release(struct results *r);

#endif
