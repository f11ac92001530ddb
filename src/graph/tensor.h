/* A plain tensor: element type, shape, and dense row-major data (ONNX's own order).
 *
 * Used for constants, for shape arithmetic, and by the operators' reference evaluators.  Feature
 * maps that kernels compute on are views (kernels/view.h), not tensors. */
#ifndef COHORT_GRAPH_TENSOR_H
#define COHORT_GRAPH_TENSOR_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANK_MAX 8

/* Element types; the numbers are ONNX's TensorProto.DataType. */
enum dtype {
    DT_NONE = 0,
    DT_F32 = 1,
    DT_U8 = 2,
    DT_I8 = 3,
    DT_U16 = 4,
    DT_I16 = 5,
    DT_I32 = 6,
    DT_I64 = 7,
    DT_STRING = 8, /* recognised, never computed on */
    DT_BOOL = 9,
    DT_F16 = 10,
    DT_F64 = 11,
    DT_U32 = 12,
    DT_U64 = 13,
    DT_BF16 = 16,
};

const char *dtype_name(enum dtype t); /* "float32", "int64", … as NumPy has them */
size_t dtype_bytes(enum dtype t);     /* 0 for types that cannot be computed on */
bool dtype_is_float(enum dtype t);
bool dtype_is_integer(enum dtype t); /* bool is not one */

struct shape {
    int rank;              /* -1: even the rank is unknown */
    int64_t dim[RANK_MAX]; /* -1: unknown */
};

bool shape_known(const struct shape *s); /* rank and every dim */
bool shape_equal(const struct shape *a, const struct shape *b);
/* Product of all dims; -1 when not known or when it exceeds INT64_MAX/16. 1 for a scalar. */
int64_t shape_count(const struct shape *s);
/* Product of dims [from, to). */
int64_t shape_product(const struct shape *s, int from, int to);
struct shape shape_of(int rank, const int64_t *dims);
/* "1x3x224x224", "scalar", "?x3": into text, which is returned. */
const char *shape_text(const struct shape *s, char text[], size_t bytes);
#define SHAPE_TEXT_BYTES 200
/* ONNX's axis rule: adds rank to a negative axis; false when out of [-rank, rank). */
bool shape_axis(int64_t axis, int rank, int *out);
/* NumPy broadcasting of two shapes (unknown dims stay unknown); false when they do not fit. */
bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out);

struct tensor {
    enum dtype type;
    struct shape shape;
    void *data; /* NULL: contents not known (or not here) */
    bool owned; /* data is freed with the tensor; otherwise borrowed (a mapped file, an arena) */
};

/* Bytes of the dense data: count * dtype_bytes; 0 when the shape is not known. */
size_t tensor_bytes(const struct tensor *t);
/* Fills in type and shape and allocates zeroed data.  Errors: memory, shape (not known, too big).
 */
enum cohort_code tensor_init(struct tensor *t, enum dtype type, const struct shape *shape,
                             struct cohort_error *err);
void tensor_release(struct tensor *t); /* safe on an all-zero tensor, and twice */
enum cohort_code tensor_copy(struct tensor *to, const struct tensor *from,
                             struct cohort_error *err);
bool tensor_aligned(const struct tensor *t); /* data may be used through its own type's pointer */

/* Reads elements [first, first+count) as float32, whatever the type and alignment. */
void tensor_load_f32(const struct tensor *t, int64_t first, int64_t count, float *out);
/* Element i of any number or bool type; data need not be aligned. */
double tensor_get_f64(const struct tensor *t, int64_t i);
int64_t tensor_get_i64(const struct tensor *t, int64_t i);
/* Stores with C conversion, saturating into integers; data must be aligned. */
void tensor_set_f64(struct tensor *t, int64_t i, double v);
void tensor_set_i64(struct tensor *t, int64_t i, int64_t v);

float half_to_float(uint16_t h);
uint16_t float_to_half(float f); /* round to nearest even; overflow to infinity */

/* Aligned views of the data, checked in debug builds: t->type must be the one in the name. */
static inline float *tensor_f32(const struct tensor *t) {
    return (float *)t->data;
}
static inline int64_t *tensor_i64(const struct tensor *t) {
    return (int64_t *)t->data;
}

#endif
