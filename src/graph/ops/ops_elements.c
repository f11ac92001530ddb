/* Reading, writing and ordering tensors' elements as double, int64 or bits; see ops_common.h. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"

#include <math.h>
#include <string.h>

enum op_class op_class_of(enum dtype t) {
    if (dtype_is_float(t))
        return CLASS_F64;
    return t == DT_U64 ? CLASS_U64 : CLASS_I64;
}

static float bf16_to_float(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Reads typed elements p[first + j*step] and casts them. */
#define LOAD(type, field, cast, expr)                                                              \
    do {                                                                                           \
        const type *p = (const type *)t->data + first;                                             \
        for (int64_t j = 0; j < count; j++) {                                                      \
            type v = p[j * step];                                                                  \
            chunk->field[j] = (cast)(expr);                                                        \
        }                                                                                          \
    } while (0)

#define LOAD_ALL(field, cast)                                                                      \
    switch (t->type) {                                                                             \
    case DT_F32:                                                                                   \
        LOAD(float, field, cast, v);                                                               \
        break;                                                                                     \
    case DT_F64:                                                                                   \
        LOAD(double, field, cast, v);                                                              \
        break;                                                                                     \
    case DT_F16:                                                                                   \
        LOAD(uint16_t, field, cast, half_to_float(v));                                             \
        break;                                                                                     \
    case DT_BF16:                                                                                  \
        LOAD(uint16_t, field, cast, bf16_to_float(v));                                             \
        break;                                                                                     \
    case DT_I64:                                                                                   \
        LOAD(int64_t, field, cast, v);                                                             \
        break;                                                                                     \
    case DT_U64:                                                                                   \
        LOAD(uint64_t, field, cast, v);                                                            \
        break;                                                                                     \
    case DT_I32:                                                                                   \
        LOAD(int32_t, field, cast, v);                                                             \
        break;                                                                                     \
    case DT_U32:                                                                                   \
        LOAD(uint32_t, field, cast, v);                                                            \
        break;                                                                                     \
    case DT_I16:                                                                                   \
        LOAD(int16_t, field, cast, v);                                                             \
        break;                                                                                     \
    case DT_U16:                                                                                   \
        LOAD(uint16_t, field, cast, v);                                                            \
        break;                                                                                     \
    case DT_I8:                                                                                    \
        LOAD(int8_t, field, cast, v);                                                              \
        break;                                                                                     \
    case DT_U8:                                                                                    \
        LOAD(uint8_t, field, cast, v);                                                             \
        break;                                                                                     \
    case DT_BOOL:                                                                                  \
        LOAD(uint8_t, field, cast, v != 0);                                                        \
        break;                                                                                     \
    default:                                                                                       \
        BUG("op_load: an element type that cannot be computed on");                                \
    }

/* C leaves float to integer undefined outside the range; 2^63 and 2^64 are exact in double. */
int64_t op_f64_to_i64(double v) {
    if (isnan(v))
        return 0;
    if (v >= 9223372036854775808.0)
        return INT64_MAX;
    return v <= -9223372036854775808.0 ? INT64_MIN : (int64_t)v;
}

static uint64_t f64_to_u64(double v) {
    if (!(v > 0))
        return 0;
    return v >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)v;
}

void op_load(enum op_class c, const struct tensor *t, int64_t first, int64_t step, int64_t count,
             union op_chunk *chunk) {
    if (c == CLASS_F64) {
        LOAD_ALL(f, double)
    } else if (dtype_is_float(t->type)) {
        union op_chunk floats;
        op_load(CLASS_F64, t, first, step, count, &floats);
        for (int64_t j = 0; j < count; j++)
            if (c == CLASS_I64)
                chunk->i[j] = op_f64_to_i64(floats.f[j]);
            else
                chunk->u[j] = f64_to_u64(floats.f[j]);
    } else if (c == CLASS_I64) {
        LOAD_ALL(i, int64_t)
    } else {
        LOAD_ALL(u, uint64_t)
    }
}

#define STORE(type, expr)                                                                          \
    do {                                                                                           \
        type *p = (type *)t->data + first;                                                         \
        for (int64_t j = 0; j < count; j++)                                                        \
            p[j] = (type)(expr);                                                                   \
    } while (0)

/* Double to float with the lowest bit set when anything was lost ("round to odd"), so that rounding
 * once more to a shorter type is as right as rounding once: Boldo and Melquiond, 2005. */
static float odd_float(double v) {
    float f = (float)v;
    if (isnan(v) || isinf(f) || (double)f == v)
        return f;
    if (fabs((double)f) > fabs(v))
        f = nextafterf(f, 0);
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits |= 1u;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static double clamped(double v, double low, double high) {
    if (isnan(v))
        return 0;
    return v < low ? low : v > high ? high : v;
}

/* Round to nearest even into the upper half of a float; a NaN stays one. */
static uint16_t float_to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isnan(f))
        return (uint16_t)((bits >> 16) | 0x40u);
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return (uint16_t)(bits >> 16);
}

static void store_f64(struct tensor *t, int64_t first, int64_t count, const double *v) {
    switch (t->type) {
    case DT_F32:
        STORE(float, v[j]);
        break;
    case DT_F64:
        STORE(double, v[j]);
        break;
    case DT_F16:
        STORE(uint16_t, float_to_half(odd_float(v[j])));
        break;
    case DT_BF16:
        STORE(uint16_t, float_to_bf16(odd_float(v[j])));
        break;
    case DT_I64:
        STORE(int64_t, op_f64_to_i64(v[j]));
        break;
    case DT_U64:
        STORE(uint64_t, f64_to_u64(v[j]));
        break;
    case DT_I32:
        STORE(int32_t, clamped(v[j], INT32_MIN, INT32_MAX));
        break;
    case DT_U32:
        STORE(uint32_t, clamped(v[j], 0, UINT32_MAX));
        break;
    case DT_I16:
        STORE(int16_t, clamped(v[j], INT16_MIN, INT16_MAX));
        break;
    case DT_U16:
        STORE(uint16_t, clamped(v[j], 0, UINT16_MAX));
        break;
    case DT_I8:
        STORE(int8_t, clamped(v[j], INT8_MIN, INT8_MAX));
        break;
    case DT_U8:
        STORE(uint8_t, clamped(v[j], 0, UINT8_MAX));
        break;
    case DT_BOOL:
        STORE(uint8_t, v[j] != 0);
        break;
    default:
        BUG("op_store: an element type that cannot be computed on");
    }
}

/* Bits are kept, so signed and unsigned sources need one function for integer targets. */
static void store_bits(struct tensor *t, int64_t first, int64_t count, const uint64_t *v,
                       bool is_signed) {
    switch (t->type) {
    case DT_I64:
    case DT_U64:
        STORE(uint64_t, v[j]);
        break;
    case DT_I32:
    case DT_U32:
        STORE(uint32_t, v[j]);
        break;
    case DT_I16:
    case DT_U16:
        STORE(uint16_t, v[j]);
        break;
    case DT_I8:
    case DT_U8:
        STORE(uint8_t, v[j]);
        break;
    case DT_BOOL:
        STORE(uint8_t, v[j] != 0);
        break;
    case DT_F32: /* not through double: 64-bit integers would be rounded twice */
        STORE(float, is_signed ? (float)(int64_t)v[j] : (float)v[j]);
        break;
    case DT_F64:
        STORE(double, is_signed ? (double)(int64_t)v[j] : (double)v[j]);
        break;
    case DT_F16:
        STORE(uint16_t, float_to_half(is_signed ? (float)(int64_t)v[j] : (float)v[j]));
        break;
    case DT_BF16:
        STORE(uint16_t, float_to_bf16(is_signed ? (float)(int64_t)v[j] : (float)v[j]));
        break;
    default:
        BUG("op_store: an element type that cannot be computed on");
    }
}

void op_store(enum op_class c, struct tensor *t, int64_t first, int64_t count,
              const union op_chunk *chunk) {
    if (c == CLASS_F64)
        store_f64(t, first, count, chunk->f);
    else
        store_bits(t, first, count, chunk->u, c == CLASS_I64);
}

#define SIGN_BIT ((uint64_t)1 << 63)

uint64_t op_order(enum op_class c, const union op_chunk *chunk, int64_t j) {
    if (c == CLASS_I64)
        return chunk->u[j] ^ SIGN_BIT;
    if (c == CLASS_U64)
        return chunk->u[j];
    double v = chunk->f[j] == 0 ? 0 : chunk->f[j]; /* minus zero too */
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (isnan(v))
        return UINT64_MAX;
    return bits & SIGN_BIT ? ~bits : bits | SIGN_BIT;
}

enum cohort_code op_orders(const struct tensor *t, uint64_t **orders, struct cohort_error *err) {
    enum op_class c = op_class_of(t->type);
    int64_t total = shape_count(&t->shape);
    union op_chunk chunk;
    uint64_t *o = mem_zalloc((size_t)total, sizeof *o);
    if (o == NULL)
        return error_memory(err, (unsigned long long)total * sizeof *o, "an operator's input");
    for (int64_t first = 0; first < total; first += OP_CHUNK) {
        int64_t count = total - first < OP_CHUNK ? total - first : OP_CHUNK;
        op_load(c, t, first, 1, count, &chunk);
        for (int64_t j = 0; j < count; j++)
            o[first + j] = op_order(c, &chunk, j);
    }
    *orders = o;
    return COHORT_OK;
}

bool op_step(const struct shape *s, int64_t index[RANK_MAX]) {
    for (int i = s->rank - 1; i >= 0; i--) {
        if (++index[i] < s->dim[i])
            return true;
        index[i] = 0;
    }
    return false;
}

void op_fill(void *to, const void *element, size_t size, int64_t count) {
    unsigned char *p = to;
    for (int64_t i = 0; i < count; i++)
        memcpy(p + (size_t)i * size, element, size);
}
