/* Plain tensors: types, shapes, and element access for any type and alignment. */
#include "graph/tensor.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum dtype type;
    const char *name;
    size_t bytes;
} dtypes[] = {
    {DT_F32, "float32", 4}, {DT_U8, "uint8", 1},      {DT_I8, "int8", 1},
    {DT_U16, "uint16", 2},  {DT_I16, "int16", 2},     {DT_I32, "int32", 4},
    {DT_I64, "int64", 8},   {DT_STRING, "string", 0}, {DT_BOOL, "bool", 1},
    {DT_F16, "float16", 2}, {DT_F64, "float64", 8},   {DT_U32, "uint32", 4},
    {DT_U64, "uint64", 8},  {DT_BF16, "bfloat16", 2},
};
#define DTYPES (sizeof dtypes / sizeof dtypes[0])

const char *dtype_name(enum dtype t) {
    for (size_t i = 0; i < DTYPES; i++)
        if (dtypes[i].type == t)
            return dtypes[i].name;
    return "unknown type";
}

size_t dtype_bytes(enum dtype t) {
    for (size_t i = 0; i < DTYPES; i++)
        if (dtypes[i].type == t)
            return dtypes[i].bytes;
    return 0;
}

bool dtype_is_float(enum dtype t) {
    return t == DT_F32 || t == DT_F16 || t == DT_F64 || t == DT_BF16;
}

bool dtype_is_integer(enum dtype t) {
    return dtype_bytes(t) != 0 && !dtype_is_float(t) && t != DT_BOOL;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

#define COUNT_MAX (INT64_MAX / 16)

bool shape_known(const struct shape *s) {
    if (s->rank < 0)
        return false;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] < 0)
            return false;
    return true;
}

bool shape_equal(const struct shape *a, const struct shape *b) {
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

int64_t shape_product(const struct shape *s, int from, int to) {
    int64_t product = 1;
    bool zero = false;
    for (int i = from; i < to; i++) {
        int64_t d = s->dim[i];
        if (d < 0)
            return -1;
        if (d == 0)
            zero = true;
        else if (product > COUNT_MAX / d)
            return -1;
        else
            product *= d;
    }
    return zero ? 0 : product;
}

int64_t shape_count(const struct shape *s) {
    return s->rank < 0 ? -1 : shape_product(s, 0, s->rank);
}

struct shape shape_of(int rank, const int64_t *dims) {
    struct shape s = {.rank = rank};
    for (int i = 0; i < rank; i++)
        s.dim[i] = dims[i];
    return s;
}

const char *shape_text(const struct shape *s, char text[], size_t bytes) {
    size_t used = 0;
    if (s->rank < 0)
        snprintf(text, bytes, "unknown shape");
    else if (s->rank == 0)
        snprintf(text, bytes, "scalar");
    for (int i = 0; i < s->rank && used + 1 < bytes; i++) {
        int n = s->dim[i] < 0 ? snprintf(text + used, bytes - used, "%s?", i ? "x" : "")
                              : snprintf(text + used, bytes - used, "%s%lld", i ? "x" : "",
                                         (long long)s->dim[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return text;
}

bool shape_axis(int64_t axis, int rank, int *out) {
    if (axis < -(int64_t)rank || axis >= rank)
        return false;
    *out = (int)(axis < 0 ? axis + rank : axis);
    return true;
}

bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out) {
    if (a->rank < 0 || b->rank < 0) {
        *out = (struct shape){.rank = -1};
        return true;
    }
    struct shape r = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 1; i <= r.rank; i++) { /* from the last axis */
        int64_t da = i <= a->rank ? a->dim[a->rank - i] : 1;
        int64_t db = i <= b->rank ? b->dim[b->rank - i] : 1;
        int64_t d;
        if (da == db)
            d = da;
        else if (da == 1)
            d = db;
        else if (db == 1)
            d = da;
        else if (da < 0 || db < 0)
            d = da < 0 ? db : da; /* an unknown dim beside d > 1 can only be d or 1 */
        else
            return false;
        r.dim[r.rank - i] = d;
    }
    *out = r;
    return true;
}

/* ---- tensors --------------------------------------------------------------------------------- */

size_t tensor_bytes(const struct tensor *t) {
    int64_t count = shape_count(&t->shape);
    size_t each = dtype_bytes(t->type);
    if (count < 0 || each == 0 || (uint64_t)count > SIZE_MAX / each)
        return 0;
    return (size_t)count * each;
}

enum cohort_code tensor_init(struct tensor *t, enum dtype type, const struct shape *shape,
                             struct cohort_error *err) {
    char text[SHAPE_TEXT_BYTES];
    int64_t count = shape_count(shape);
    size_t each = dtype_bytes(type);
    if (each == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a tensor of %s cannot be computed on",
                         dtype_name(type));
    if (count < 0 || (uint64_t)count > SIZE_MAX / 2 / each)
        return error_set(err, COHORT_ERR_SHAPE, "a tensor of shape %s cannot be made",
                         shape_text(shape, text, sizeof text));
    void *data = mem_zalloc((size_t)count, each);
    if (data == NULL)
        return error_memory(err, (unsigned long long)count * each, "a tensor");
    *t = (struct tensor){.type = type, .shape = *shape, .data = data, .owned = true};
    return COHORT_OK;
}

void tensor_release(struct tensor *t) {
    if (t->owned)
        mem_free(t->data);
    *t = (struct tensor){0};
}

enum cohort_code tensor_copy(struct tensor *to, const struct tensor *from,
                             struct cohort_error *err) {
    struct tensor copy;
    enum cohort_code code = tensor_init(&copy, from->type, &from->shape, err);
    if (code != COHORT_OK)
        return code;
    size_t bytes = tensor_bytes(from);
    if (bytes > 0)
        memcpy(copy.data, from->data, bytes);
    *to = copy;
    return COHORT_OK;
}

bool tensor_aligned(const struct tensor *t) {
    size_t each = dtype_bytes(t->type);
    return each != 0 && (uintptr_t)t->data % each == 0;
}

float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu;
    uint32_t fraction = h & 0x3ffu;
    uint32_t bits;
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24 exactly */
        float f = (float)fraction * 0x1p-24f;
        memcpy(&bits, &f, sizeof bits);
        bits |= sign;
    } else if (exponent == 31) {
        bits = sign | 0x7f800000u | fraction << 13;
    } else {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    }
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

uint16_t float_to_half(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN stays one */
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520 and up round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: a multiple of 2^-24, to nearest even */
        float value;
        memcpy(&value, &magnitude, sizeof value);
        return (uint16_t)(sign | (uint16_t)(int)rintf(value * 0x1p24f));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | (uint16_t)((rounded - 0x38000000u) >> 13));
}

static float bfloat_to_float(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static uint16_t float_to_bfloat(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

void tensor_load_f32(const struct tensor *t, int64_t first, int64_t count, float *out) {
    if (t->type == DT_F32) {
        memcpy(out, (const char *)t->data + (size_t)first * 4, (size_t)count * 4);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)tensor_get_f64(t, first + i);
}

/* Reads one element of C type T at index i, which need not be aligned. */
#define LOAD(T, i)                                                                                 \
    T v;                                                                                           \
    memcpy(&v, (const char *)t->data + (size_t)(i) * sizeof v, sizeof v)

double tensor_get_f64(const struct tensor *t, int64_t i) {
    switch (t->type) {
    case DT_F32: {
        LOAD(float, i);
        return (double)v;
    }
    case DT_F64: {
        LOAD(double, i);
        return v;
    }
    case DT_F16: {
        LOAD(uint16_t, i);
        return (double)half_to_float(v);
    }
    case DT_BF16: {
        LOAD(uint16_t, i);
        return (double)bfloat_to_float(v);
    }
    case DT_U64: {
        LOAD(uint64_t, i);
        return (double)v;
    }
    default:
        return (double)tensor_get_i64(t, i);
    }
}

int64_t tensor_get_i64(const struct tensor *t, int64_t i) {
    switch (t->type) {
    case DT_I64:
    case DT_U64: {
        LOAD(int64_t, i);
        return v;
    }
    case DT_I32: {
        LOAD(int32_t, i);
        return v;
    }
    case DT_U32: {
        LOAD(uint32_t, i);
        return v;
    }
    case DT_I16: {
        LOAD(int16_t, i);
        return v;
    }
    case DT_U16: {
        LOAD(uint16_t, i);
        return v;
    }
    case DT_I8: {
        LOAD(int8_t, i);
        return v;
    }
    case DT_U8: {
        LOAD(uint8_t, i);
        return v;
    }
    case DT_BOOL: {
        LOAD(uint8_t, i);
        return v != 0;
    }
    case DT_F32:
    case DT_F64:
    case DT_F16:
    case DT_BF16: {
        double v = tensor_get_f64(t, i);
        if (!(v > -9.2233720368547758e18))
            return INT64_MIN; /* NaN too, as on x86 */
        return v >= 9.2233720368547758e18 ? INT64_MAX : (int64_t)v;
    }
    default:
        BUG("an element of a type that cannot be computed on");
    }
}

void tensor_set_f64(struct tensor *t, int64_t i, double v) {
    switch (t->type) {
    case DT_F32:
        ((float *)t->data)[i] = (float)v;
        break;
    case DT_F64:
        ((double *)t->data)[i] = v;
        break;
    case DT_F16:
        ((uint16_t *)t->data)[i] = float_to_half((float)v);
        break;
    case DT_BF16:
        ((uint16_t *)t->data)[i] = float_to_bfloat((float)v);
        break;
    case DT_BOOL:
        ((uint8_t *)t->data)[i] = v != 0;
        break;
    case DT_U64:
        ((uint64_t *)t->data)[i] = v >= 18446744073709551615.0 ? UINT64_MAX
                                   : v > 0                     ? (uint64_t)v
                                                               : 0;
        break;
    default: {
        int64_t whole = INT64_MIN;
        if (v >= 9.2233720368547758e18)
            whole = INT64_MAX;
        else if (v > -9.2233720368547758e18)
            whole = (int64_t)v;
        tensor_set_i64(t, i, isnan(v) ? 0 : whole);
    }
    }
}

static int64_t clamp_i64(int64_t v, int64_t low, int64_t high) {
    return v < low ? low : v > high ? high : v;
}

void tensor_set_i64(struct tensor *t, int64_t i, int64_t v) {
    switch (t->type) {
    case DT_I64:
    case DT_U64:
        ((int64_t *)t->data)[i] = v;
        break;
    case DT_I32:
        ((int32_t *)t->data)[i] = (int32_t)clamp_i64(v, INT32_MIN, INT32_MAX);
        break;
    case DT_U32:
        ((uint32_t *)t->data)[i] = (uint32_t)clamp_i64(v, 0, UINT32_MAX);
        break;
    case DT_I16:
        ((int16_t *)t->data)[i] = (int16_t)clamp_i64(v, INT16_MIN, INT16_MAX);
        break;
    case DT_U16:
        ((uint16_t *)t->data)[i] = (uint16_t)clamp_i64(v, 0, UINT16_MAX);
        break;
    case DT_I8:
        ((int8_t *)t->data)[i] = (int8_t)clamp_i64(v, INT8_MIN, INT8_MAX);
        break;
    case DT_U8:
        ((uint8_t *)t->data)[i] = (uint8_t)clamp_i64(v, 0, UINT8_MAX);
        break;
    case DT_BOOL:
        ((uint8_t *)t->data)[i] = v != 0;
        break;
    case DT_F32:
    case DT_F64:
    case DT_F16:
    case DT_BF16:
        tensor_set_f64(t, i, (double)v);
        break;
    default:
        BUG("an element of a type that cannot be computed on");
    }
}
