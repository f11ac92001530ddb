/* Reading ONNX files and ONNX test tensors; writing small and large ONNX files.
 *
 * The reader walks the protobuf wire format over a mapped file with every length checked, and
 * copies no weight: large initializers borrow from the mapping, which the graph keeps. */
#ifndef COHORT_GRAPH_ONNX_H
#define COHORT_GRAPH_ONNX_H

#include "graph/graph.h"

/* Reads a model (opset 7 and up, and older ones where the operators used have not changed since).
 * The graph has nodes, constants and the declared types of inputs;
 * graph_finish() does the rest.  Initializers that are also inputs are constants.  Errors: io,
 * format (malformed, naming what and at which byte), unsupported (naming node, operator, opset, and
 * the closest supported operators). */
enum cohort_code onnx_load(struct graph **g, const char *path, struct cohort_error *err);
/* The same from memory, which is copied where needed; `directory` is where external data lies. */
enum cohort_code onnx_load_memory(struct graph **g, const void *data, size_t bytes,
                                  const char *directory, struct cohort_error *err);
/* Reads one bare TensorProto (test_data_set_K/input_I.pb). name (mem_free) may be NULL or "". */
enum cohort_code onnx_load_tensor(struct tensor *t, char **name, const char *path,
                                  struct cohort_error *err);

/* Writing. A writer streams a ModelProto to a file: nodes first, then initializers, so that the
 * weights of a 550 MB network never lie in memory together. */
struct onnx_writer;
struct onnx_attr { /* name and exactly one kind */
    const char *name;
    enum attr_kind kind;
    int64_t i;
    float f;
    const char *s;
    const int64_t *ints;
    const float *floats;
    int count;
};
/* Fills `count` floats of an initializer, from element `first` on; called in order, in pieces. */
typedef void (*onnx_fill_fn)(void *context, int64_t first, int64_t count, float *out);

enum cohort_code onnx_writer_create(struct onnx_writer **w, const char *graph_name, int opset,
                                    struct cohort_error *err);
enum cohort_code onnx_writer_input(struct onnx_writer *w, const char *name, enum dtype type,
                                   const struct shape *shape, struct cohort_error *err);
enum cohort_code onnx_writer_output(struct onnx_writer *w, const char *name, enum dtype type,
                                    const struct shape *shape, struct cohort_error *err);
enum cohort_code onnx_writer_node(struct onnx_writer *w, const char *name, const char *op_type,
                                  const char *const *in, int in_count, const char *const *out,
                                  int out_count, const struct onnx_attr *attrs, int attr_count,
                                  struct cohort_error *err);
/* A float32 initializer whose contents are asked for when the file is written. */
enum cohort_code onnx_writer_weights(struct onnx_writer *w, const char *name,
                                     const struct shape *shape, onnx_fill_fn fill, void *context,
                                     struct cohort_error *err);
/* A small initializer of any type, copied now. */
enum cohort_code onnx_writer_tensor(struct onnx_writer *w, const char *name, const struct tensor *t,
                                    struct cohort_error *err);
enum cohort_code onnx_writer_save(struct onnx_writer *w, const char *path,
                                  struct cohort_error *err);
void onnx_writer_destroy(struct onnx_writer **w);
/* One TensorProto to a file, as in test_data_set_K. */
enum cohort_code onnx_save_tensor(const struct tensor *t, const char *name, const char *path,
                                  struct cohort_error *err);

#endif
