/* Small networks put together by hand, with row maps, for tests of planning: no file, no passes, no
 * weights.  Every function fails the running test when memory is short. */
#ifndef COHORT_TESTS_TOYNET_H
#define COHORT_TESTS_TOYNET_H

#include "graph/graph.h"

struct graph *toy_create(const char *name);

/* Values are [1, channels, height, height] feature maps; each function returns the value it makes.
 */
int toy_input(struct graph *g, const char *name, int channels, int height);
/* op_type "Conv", "MaxPool" or "AveragePool"; no padding beyond `pad` on each side. */
int toy_window(struct graph *g, const char *op_type, const char *name, int in, int channels,
               int kernel, int stride, int pad);
/* A convolution and a product with weights, which can be divided by channels; stride 1, same size,
 * and [1, count], plain, from a map or such a vector. */
int toy_conv(struct graph *g, const char *name, int in, int channels, int kernel);
int toy_product(struct graph *g, const char *name, int in, int count);
int toy_relu(struct graph *g, const char *name, int in);
int toy_add(struct graph *g, const char *name, int a, int b);
/* One pixel per channel, from all rows. */
int toy_global(struct graph *g, const char *name, int in);
/* One pixel per channel and row, from that row. */
int toy_rows(struct graph *g, const char *name, int in);
/* A map times one pixel per channel. */
int toy_gate(struct graph *g, const char *name, int in, int pixel);
/* [1, count], plain, from all rows. */
int toy_dense(struct graph *g, const char *name, int in, int count);
/* A plain [height, height] input, and a map made of one: all rows are needed. */
int toy_plain_input(struct graph *g, const char *name, int height);
int toy_to_map(struct graph *g, const char *name, int in);
/* Two outputs of the input's shape. */
void toy_split(struct graph *g, const char *first, const char *second, int in, int out[2]);
void toy_output(struct graph *g, int id);

/* input, conv1, conv2, pool1, conv3, conv4, pool2, fc, logits; 32 rows, pools to 16 and 8. */
struct graph *toy_vgg(void);

/* Windows, strides, skips, several heads, gates from global pools; at most 51 rows.  The same for
 * the same seed, which is advanced. */
struct graph *toy_random(uint64_t *seed);

#endif
