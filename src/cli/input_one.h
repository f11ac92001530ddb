/* One input of a network: from a picture, an .npy array or an ONNX tensor, or made up.
 *
 * What can be given as pixels is: owned[i] is then bytes [N,H,W,C], and pixels[i] of the set, which
 * has one entry for each input until inputs_load() is through, says what they stand for. */
#ifndef COHORT_CLI_INPUT_ONE_H
#define COHORT_CLI_INPUT_ONE_H

#include "cli/inputs.h"

/* How the options want pictures to become numbers.  Errors: usage. */
enum cohort_code input_preprocessing(struct preprocess *p, const struct input_options *o,
                                     struct cohort_error *err);
enum cohort_code input_load(struct input_set *s, int i, const struct cohort_model *m,
                            const char *path, const struct input_options *o,
                            struct cohort_error *err);
enum cohort_code input_make_up(struct input_set *s, int i, const struct cohort_model *m,
                               const struct input_options *o, struct cohort_error *err);

#endif
