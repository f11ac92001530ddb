/* Reading one AttributeProto.  Files before IR 4 leave the type out: then the field that is there
 * tells the kind. */
#include "base/mem.h"
#include "graph/onnx/import.h"

#include <string.h>

/* What an attribute holds, before anything is copied. */
struct attr_fields {
    struct wire_text name;
    int64_t type;     /* enum attribute_type */
    unsigned present; /* bit per enum attribute_type, of the fields that are there */
    int64_t i;
    float f;
    struct wire_text s;
    struct wire t;
    uint64_t ints, floats, strings; /* counts */
    bool reference;                 /* to a function's attribute */
};

static const char *type_name(int64_t type) {
    static const char *const names[] = {
        "nothing",    "a float",         "an int",         "a string", "a tensor",
        "a subgraph", "floats",          "ints",           "strings",  "tensors",
        "subgraphs",  "a sparse tensor", "sparse tensors", "a type",   "types"};
    return type >= 0 && type <= ATTRIBUTE_TYPE_TYPE_PROTOS ? names[type] : "something unknown";
}

static enum cohort_code parse_value(struct attr_fields *a, const struct wire *w,
                                    const struct wire_field *f, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    enum attribute_type type;
    uint64_t count = 0;
    switch (f->number) {
    case ATTRIBUTE_F:
        type = ATTRIBUTE_TYPE_FLOAT;
        TRY(wire_expect(w, f, WIRE_FIXED32, err));
        memcpy(&a->f, &(uint32_t){(uint32_t)f->value}, sizeof a->f);
        break;
    case ATTRIBUTE_I:
        type = ATTRIBUTE_TYPE_INT;
        TRY(wire_int(w, f, &a->i, err));
        break;
    case ATTRIBUTE_S:
        type = ATTRIBUTE_TYPE_STRING;
        TRY(wire_text(w, f, &a->s, err));
        break;
    case ATTRIBUTE_T:
        type = ATTRIBUTE_TYPE_TENSOR;
        TRY(wire_nested(w, f, "TensorProto", &a->t, err));
        break;
    case ATTRIBUTE_FLOATS:
        type = ATTRIBUTE_TYPE_FLOATS;
        TRY(wire_repeated_count(w, f, WIRE_FIXED32, &count, err));
        a->floats += count;
        break;
    case ATTRIBUTE_INTS:
        type = ATTRIBUTE_TYPE_INTS;
        TRY(wire_repeated_count(w, f, WIRE_VARINT, &count, err));
        a->ints += count;
        break;
    case ATTRIBUTE_STRINGS:
        type = ATTRIBUTE_TYPE_STRINGS;
        TRY(wire_expect(w, f, WIRE_BYTES, err));
        a->strings++;
        break;
    case ATTRIBUTE_G:
        type = ATTRIBUTE_TYPE_GRAPH;
        break;
    case ATTRIBUTE_GRAPHS:
        type = ATTRIBUTE_TYPE_GRAPHS;
        break;
    case ATTRIBUTE_TENSORS:
        type = ATTRIBUTE_TYPE_TENSORS;
        break;
    case ATTRIBUTE_SPARSE_TENSOR:
        type = ATTRIBUTE_TYPE_SPARSE_TENSOR;
        break;
    case ATTRIBUTE_SPARSE_TENSORS:
        type = ATTRIBUTE_TYPE_SPARSE_TENSORS;
        break;
    case ATTRIBUTE_TP:
        type = ATTRIBUTE_TYPE_TYPE_PROTO;
        break;
    case ATTRIBUTE_TYPE_PROTOS:
        type = ATTRIBUTE_TYPE_TYPE_PROTOS;
        break;
    default:
        return COHORT_OK;
    }
    a->present |= 1u << type;
out:
    return code;
}

static enum cohort_code parse_fields(struct wire message, struct attr_fields *a,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire_text reference = {0};
    *a = (struct attr_fields){.name = {.at = ""}, .s = {.at = ""}};
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == ATTRIBUTE_NAME)
            TRY(wire_text(&message, &f, &a->name, err));
        else if (f.number == ATTRIBUTE_TYPE)
            TRY(wire_int(&message, &f, &a->type, err));
        else if (f.number == ATTRIBUTE_REF_NAME)
            TRY(wire_text(&message, &f, &reference, err));
        else
            TRY(parse_value(a, &message, &f, err));
    }
    a->reference = reference.bytes > 0;
out:
    return code;
}

/* Settles the type: the one that is declared or, undeclared, the one of the only field there. */
static enum cohort_code settle_type(struct attr_fields *a, struct cohort_error *err) {
    if (a->type == ATTRIBUTE_TYPE_UNDEFINED) {
        for (unsigned type = 1; type <= ATTRIBUTE_TYPE_TYPE_PROTOS; type++)
            if (a->present == 1u << type)
                a->type = type;
        if (a->type == ATTRIBUTE_TYPE_UNDEFINED && a->present != 0)
            return error_set(err, COHORT_ERR_FORMAT, "no type, and values of several types");
        return COHORT_OK;
    }
    for (unsigned type = 1; type <= ATTRIBUTE_TYPE_TYPE_PROTOS; type++)
        if (a->present & 1u << type && a->type != (int64_t)type)
            return error_set(err, COHORT_ERR_FORMAT, "declared as %s, but it holds %s",
                             type_name(a->type), type_name(type));
    return COHORT_OK;
}

struct number_sink {
    struct attr *a;
    uint64_t capacity;
};

static void take_int(void *context, uint64_t value) {
    struct number_sink *s = context;
    if (s->a->count < s->capacity)
        s->a->ints[s->a->count++] = (int64_t)value;
}

static void take_float(void *context, uint64_t value) {
    struct number_sink *s = context;
    if (s->a->count < s->capacity)
        memcpy(&s->a->floats[s->a->count++], &(uint32_t){(uint32_t)value}, sizeof(float));
}

static enum cohort_code fill_string(const struct wire *w, const struct wire_field *f,
                                    struct attr *a, uint64_t capacity, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_text text;
    TRY(wire_text(w, f, &text, err));
    if (a->count == capacity)
        goto out;
    char *copy = import_copy(text, err);
    if (copy == NULL) {
        code = COHORT_ERR_MEMORY;
        goto out;
    }
    a->strings[a->count++] = copy;
out:
    return code;
}

/* Copies the `capacity` elements of a list attribute, whose array is there already. */
static enum cohort_code fill_list(struct wire message, struct attr *a, uint64_t capacity,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct number_sink sink = {.a = a, .capacity = capacity};
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == ATTRIBUTE_INTS && a->kind == ATTR_INTS)
            TRY(wire_repeated(&message, &f, WIRE_VARINT, take_int, &sink, err));
        else if (f.number == ATTRIBUTE_FLOATS && a->kind == ATTR_FLOATS)
            TRY(wire_repeated(&message, &f, WIRE_FIXED32, take_float, &sink, err));
        else if (f.number == ATTRIBUTE_STRINGS && a->kind == ATTR_STRINGS)
            TRY(fill_string(&message, &f, a, capacity, err));
    }
out:
    return code;
}

/* count is at most the bytes of the file, so the sizes cannot overflow on 64 bits; mem_zalloc
 * looks. */
static enum cohort_code make_list(struct wire message, enum attr_kind kind, uint64_t count,
                                  struct attr *a, struct cohort_error *err) {
    void *array = count > SIZE_MAX
                      ? NULL
                      : mem_zalloc((size_t)count, kind == ATTR_INTS     ? sizeof *a->ints
                                                  : kind == ATTR_FLOATS ? sizeof *a->floats
                                                                        : sizeof *a->strings);
    if (array == NULL)
        return error_memory(err, count, "an attribute's list");
    a->kind = kind;
    if (kind == ATTR_INTS)
        a->ints = array;
    else if (kind == ATTR_FLOATS)
        a->floats = array;
    else
        a->strings = array;
    return fill_list(message, a, count, err);
}

static enum cohort_code make_tensor(struct import *im, const struct attr_fields *fields,
                                    struct attr *a, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tensor_fields tensor;
    if (fields->t.at == NULL)
        return error_set(err, COHORT_ERR_FORMAT, "a tensor attribute without a tensor");
    TRY(tensor_proto_parse(fields->t, &tensor, err));
    TRY(tensor_proto_load(&im->source, &tensor, &a->tensor, err));
    a->kind = ATTR_TENSOR;
out:
    return code;
}

static enum cohort_code make_attr(struct import *im, struct wire message,
                                  const struct attr_fields *fields, struct attr *a,
                                  struct cohort_error *err) {
    switch (fields->type) {
    case ATTRIBUTE_TYPE_FLOAT:
        a->kind = ATTR_FLOAT;
        a->f = fields->f;
        return COHORT_OK;
    case ATTRIBUTE_TYPE_INT:
        a->kind = ATTR_INT;
        a->i = fields->i;
        return COHORT_OK;
    case ATTRIBUTE_TYPE_STRING:
        a->kind = ATTR_STRING;
        a->s = import_copy(fields->s, err);
        return a->s != NULL ? COHORT_OK : COHORT_ERR_MEMORY;
    case ATTRIBUTE_TYPE_TENSOR:
        return make_tensor(im, fields, a, err);
    case ATTRIBUTE_TYPE_FLOATS:
        return make_list(message, ATTR_FLOATS, fields->floats, a, err);
    case ATTRIBUTE_TYPE_INTS:
        return make_list(message, ATTR_INTS, fields->ints, a, err);
    case ATTRIBUTE_TYPE_STRINGS:
        return make_list(message, ATTR_STRINGS, fields->strings, a, err);
    default:
        return error_set(err, COHORT_ERR_UNSUPPORTED, "%s as an attribute is not supported",
                         type_name(fields->type));
    }
}

enum cohort_code import_attribute(struct import *im, struct wire message, struct attr *a,
                                  bool *present, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct attr_fields fields;
    struct attr fresh = {0};
    char show[WIRE_SHOW_BYTES];
    TRY(parse_fields(message, &fields, err));
    if (fields.name.bytes == 0) {
        code = error_set(err, COHORT_ERR_FORMAT, "the attribute at byte %zu has no name",
                         wire_offset(&message, message.at));
        goto out;
    }
    code = fields.reference ? error_set(err, COHORT_ERR_UNSUPPORTED,
                                        "a reference to a function's attribute is not supported")
                            : settle_type(&fields, err);
    *present = fields.type != ATTRIBUTE_TYPE_UNDEFINED;
    if (code == COHORT_OK && *present)
        code = make_attr(im, message, &fields, &fresh, err);
    if (code != COHORT_OK) {
        error_wrap(err, "attribute '%s'", wire_show(fields.name, show));
        goto out;
    }
    fresh.name = import_copy(fields.name, err);
    if (fresh.name == NULL) {
        code = COHORT_ERR_MEMORY;
        goto out;
    }
    *a = fresh;
    fresh = (struct attr){0};
out:
    attr_release(&fresh);
    return code;
}
