/* Inputs of a network from files: pictures, .npy arrays, ONNX tensors, or made-up numbers. */
#ifndef COHORT_CLI_INPUTS_H
#define COHORT_CLI_INPUTS_H

#include "cohort.h"

#include "base/options.h"
#include "media/media.h"

/* How pictures become tensors; the text options as given (NULL: the preset's). */
struct input_options {
    const char *preset;             /* imagenet, yolo, raw */
    const char *mean, *std, *scale; /* "0.485,0.456,0.406", one number or three */
    bool bgr;
    const char *layout; /* nchw or nhwc; NULL: by the input's shape */
    const char *resize; /* stretch, crop, letterbox, or the short side as a number */
};

/* All inputs for one run of a network. */
struct input_set {
    struct cohort_tensor *tensors; /* one per input of the network */
    struct tensor *owned;
    int count;
    char *source;       /* "cat.jpg", for messages */
    struct image image; /* when the first input came from a picture */
    struct placement where;
    int width, height; /* of the network's input, when from a picture */
};
void input_set_release(struct input_set *s);

/* Makes sets from --input texts: "FILE" or "NAME=FILE".  A network with one input takes any number
 * of files, each a run of its own; one with several inputs takes one file for each, by name.  No
 * text at all: seeded numbers in [-1, 1) (zeros for integers).  A batch of n > 1 in a network of
 * batch 1 is n sets.  *sets is new. */
enum cohort_code inputs_load(struct input_set **sets, int *count, const struct cohort_model *m,
                             const struct option_list *texts, const struct input_options *o,
                             struct cohort_error *err);
void inputs_release(struct input_set **sets, int count);

#endif
