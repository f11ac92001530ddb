/* Results as lines to read and as JSON to process; the same words and numbers in both.
 *
 * JSON keys are documented and stay: label (text, null without a label file), index, score, box
 * [x0, y0, x1, y1], corners [[x, y] four times], text.  For the command line. */
#ifndef COHORT_MEDIA_PRINT_H
#define COHORT_MEDIA_PRINT_H

#include "base/json.h"
#include "media/media.h"

#include <stdio.h>

/* labels may be NULL, and shorter than the indices used: then "class 7". */
void print_top(FILE *out, const struct ranked *best, int count, const struct labels *labels);
void print_boxes(FILE *out, const struct box *boxes, int count, const struct labels *labels);
/* texts (what was read, one a region) may be NULL. */
void print_regions(FILE *out, const struct text_region *regions, int count,
                   const char *const *texts);

/* Append one object a result to `array`; *ok as in base/json.h. */
void json_add_top(cJSON *array, const struct ranked *best, int count, const struct labels *labels,
                  bool *ok);
void json_add_boxes(cJSON *array, const struct box *boxes, int count, const struct labels *labels,
                    bool *ok);
void json_add_regions(cJSON *array, const struct text_region *regions, int count,
                      const char *const *texts, bool *ok);

#endif
