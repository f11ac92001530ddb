/* Reading one TensorProto: its data may be raw, typed (packed or not), or in another file.
 *
 * Two steps, so that a caller knows the name before anything can go wrong with the data:
 * tensor_proto_parse() notes where everything lies, tensor_proto_load() makes a tensor of it.
 * Nothing is allocated before the data in the file was seen to be as large as the shape says. */
#ifndef COHORT_GRAPH_ONNX_TENSOR_PROTO_H
#define COHORT_GRAPH_ONNX_TENSOR_PROTO_H

#include "base/file.h"
#include "graph/graph.h"
#include "graph/onnx/fields.h"
#include "graph/onnx/wire.h"

/* Up to here a tensor is copied, so that it is aligned; above it borrows from the mapped file. */
#define TENSOR_COPY_BYTES ((size_t)64 * 1024)

/* Where data may come from, and who keeps it. */
struct tensor_source {
    const char *directory; /* of external data; NULL: there is none */
    bool borrow;           /* the file that holds the messages outlives the tensors */
    struct graph *keeper;  /* keeps external files mapped; NULL: everything is copied */
    struct external_file {
        char *location;
        struct file_map map;
    } * files; /* each external file is mapped once */
    size_t file_count, file_capacity;
};
void tensor_source_release(struct tensor_source *source);

struct tensor_fields {
    struct wire message; /* from its first byte */
    struct wire_text name;
    int64_t type;
    int64_t dims[RANK_MAX];
    uint64_t rank;
    bool segmented, external;
    struct wire_text location, offset, length; /* of external data; at == NULL: not given */
    const unsigned char *raw;                  /* NULL: no raw_data */
    size_t raw_bytes;
    struct typed_data {
        uint64_t count;              /* elements in the whole message */
        const unsigned char *whole;  /* all of them, when they came as one packed run */
    } typed[TENSOR_UINT64_DATA + 1]; /* by field number */
};

/* Errors: format. */
enum cohort_code tensor_proto_parse(struct wire message, struct tensor_fields *f,
                                    struct cohort_error *err);
/* Errors: format, unsupported, io (external files), memory; the message does not name the tensor.
 */
enum cohort_code tensor_proto_load(struct tensor_source *source, const struct tensor_fields *f,
                                   struct tensor *t, struct cohort_error *err);

/* The element type with that number in a file.  Errors: unsupported, format (none given). */
enum cohort_code tensor_type_of(int64_t number, enum dtype *type, struct cohort_error *err);

#endif
