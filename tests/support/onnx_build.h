/* Builds ONNX messages piece by piece for tests, well formed or not.
 *
 * Every function appends fields to an open message; msg_in() closes a nested message into its
 * parent and releases it.  Nothing is checked: whatever a test asks for is written. */
#ifndef COHORT_TESTS_ONNX_BUILD_H
#define COHORT_TESTS_ONNX_BUILD_H

#include "base/buf.h"
#include "graph/graph.h"
#include "graph/onnx/fields.h"
#include "graph/onnx/wire.h"

/* Appends `nested` as field `number` of b and releases it. */
void msg_in(struct buf *b, uint32_t number, struct buf *nested);

/* A TensorProto without data: dims, type, name (NULL: none). */
struct buf tensor_msg(const char *name, int64_t type, int rank, const int64_t *dims);
/* A float32 initializer with raw data of `count` elements 0, 1, 2, …: shape [count]. */
struct buf weights_msg(const char *name, int count);

/* An AttributeProto with name and type only (type 0: undeclared). */
struct buf attr_msg(const char *name, int64_t type);
/* A NodeProto; in and out are lists of names separated by commas, "" between commas is kept. */
struct buf node_msg(const char *name, const char *op_type, const char *in, const char *out);
/* A ValueInfoProto; rank -1: no shape; dims -1: dim_param "N". type 0: no type at all. */
struct buf value_msg(const char *name, int64_t type, int rank, const int64_t *dims);

/* A model around a graph's fields, which is released: ir_version and opset as given, 0: left out.
 */
struct buf model_msg(struct buf *graph, int64_t ir_version, int64_t opset);
/* A graph with float32 input "x" [2,3], output "y", and these nodes (released; count of them). */
struct buf graph_msg(struct buf *nodes, int count);

#endif
