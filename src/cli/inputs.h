/* Inputs of a network from files: pictures, .npy arrays, ONNX tensors, or made-up numbers. */
#ifndef COHORT_CLI_INPUTS_H
#define COHORT_CLI_INPUTS_H

#include "cohort.h"

#include "base/options.h"
#include "media/media.h"

/* What made-up inputs are: seeded numbers in [-1, 1); or bytes, where an input looks like a
 * picture's; or bytes, of which there have to be some. */
enum made_up { MADE_UP_AUTO, MADE_UP_PIXELS, MADE_UP_NUMBERS };

/* How pictures become tensors; the text options as given (NULL: the preset's). */
struct input_options {
    enum made_up made_up;
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
    /* The inputs that are bytes [N,H,W,C], which the boards turn into numbers; the same in all sets
     * of a network. */
    struct cohort_pixels *pixels;
    int pixel_count;
};
void input_set_release(struct input_set *s);

/* Makes sets from --input texts: "FILE" or "NAME=FILE".  A network with one input takes any number
 * of files, each a run of its own; one with several inputs takes one file for each, by name.  No
 * text at all: what the options make up (zeros for integers of more than 8 bits).  A batch of n > 1
 * in a network of batch 1 is n sets.  Pictures, and arrays of bytes for a picture's input, stay
 * bytes, unless another set has numbers for the same input.  *sets is new. */
enum cohort_code inputs_load(struct input_set **sets, int *count, const struct cohort_model *m,
                             const struct option_list *texts, const struct input_options *o,
                             struct cohort_error *err);
void inputs_release(struct input_set **sets, int count);
/* "u8" when an input is bytes that boards turn into numbers, else "f32". */
const char *inputs_type(const struct input_set *s);
/* Says in a session's options which inputs are bytes; the set must outlive them. */
void inputs_describe(struct cohort_session_options *o, const struct input_set *s);

#endif
