/* TensorProto: see tensor_proto.h.  Which field holds the typed data of which element type is said
 * in onnx.proto, beside each field. */
#include "graph/onnx/tensor_proto.h"

#include "base/mem.h"
#include "graph/onnx/onnx.h"

#include <string.h>

void tensor_source_release(struct tensor_source *source) {
    for (size_t i = 0; i < source->file_count; i++) {
        mem_free(source->files[i].location);
        if (source->keeper == NULL)
            file_unmap(&source->files[i].map);
    }
    mem_free(source->files);
    source->files = NULL;
    source->file_count = source->file_capacity = 0;
}

enum cohort_code tensor_type_of(int64_t number, enum dtype *type, struct cohort_error *err) {
    static const char *const others[] = {
        [8] = "string",          [14] = "complex64",      [15] = "complex128",
        [17] = "float8e4m3fn",   [18] = "float8e4m3fnuz", [19] = "float8e5m2",
        [20] = "float8e5m2fnuz", [21] = "uint4",          [22] = "int4",
        [23] = "float4e2m1"};
    const size_t known = sizeof others / sizeof others[0];
    if (number == DT_NONE)
        return error_set(err, COHORT_ERR_FORMAT, "its element type is missing");
    if (number > 0 && number < 32 && dtype_bytes((enum dtype)number) != 0) {
        *type = (enum dtype)number;
        return COHORT_OK;
    }
    const char *name = number > 0 && (uint64_t)number < known ? others[number] : NULL;
    return error_set(err, COHORT_ERR_UNSUPPORTED, "element type %lld (%s) is not supported",
                     (long long)number, name != NULL ? name : "unknown");
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* The wire type of one element of a typed data field; string_data is never looked into. */
static enum wire_type typed_item(uint32_t field) {
    return field == TENSOR_FLOAT_DATA    ? WIRE_FIXED32
           : field == TENSOR_DOUBLE_DATA ? WIRE_FIXED64
           : field == TENSOR_STRING_DATA ? WIRE_BYTES
                                         : WIRE_VARINT;
}

static void take_dim(void *context, uint64_t value) {
    struct tensor_fields *f = context;
    if (f->rank < RANK_MAX)
        f->dims[f->rank] = (int64_t)value;
    f->rank++;
}

static enum cohort_code parse_typed(struct tensor_fields *f, const struct wire *w,
                                    const struct wire_field *field, struct cohort_error *err) {
    struct typed_data *typed = &f->typed[field->number];
    uint64_t count = 1;
    if (field->number == TENSOR_STRING_DATA) {
        typed->count++;
        return wire_expect(w, field, WIRE_BYTES, err);
    }
    enum cohort_code code = wire_repeated_count(w, field, typed_item(field->number), &count, err);
    if (code != COHORT_OK || count == 0)
        return code;
    typed->whole = typed->count == 0 && field->type == WIRE_BYTES ? field->data : NULL;
    typed->count += count;
    return COHORT_OK;
}

/* One StringStringEntryProto of external_data; unknown keys (checksum) are nobody's business. */
static enum cohort_code parse_external(struct tensor_fields *f, const struct wire *w,
                                       const struct wire_field *field, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire entry;
    struct wire_field e;
    struct wire_text key = {.at = ""}, value = {.at = ""};
    TRY(wire_nested(w, field, "StringStringEntryProto", &entry, err));
    for (;;) {
        TRY(wire_next(&entry, &e, err));
        if (e.number == 0)
            break;
        if (e.number == ENTRY_KEY)
            TRY(wire_text(&entry, &e, &key, err));
        else if (e.number == ENTRY_VALUE)
            TRY(wire_text(&entry, &e, &value, err));
    }
    if (wire_text_is(key, "location"))
        f->location = value;
    else if (wire_text_is(key, "offset"))
        f->offset = value;
    else if (wire_text_is(key, "length"))
        f->length = value;
out:
    return code;
}

static enum cohort_code parse_field(struct tensor_fields *f, const struct wire *w,
                                    const struct wire_field *field, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t location;
    switch (field->number) {
    case TENSOR_DIMS:
        return wire_repeated(w, field, WIRE_VARINT, take_dim, f, err);
    case TENSOR_DATA_TYPE:
        return wire_int(w, field, &f->type, err);
    case TENSOR_SEGMENT:
        f->segmented = true;
        return COHORT_OK;
    case TENSOR_NAME:
        return wire_text(w, field, &f->name, err);
    case TENSOR_RAW_DATA:
        code = wire_expect(w, field, WIRE_BYTES, err);
        f->raw = field->data;
        f->raw_bytes = field->bytes;
        return code;
    case TENSOR_FLOAT_DATA:
    case TENSOR_INT32_DATA:
    case TENSOR_STRING_DATA:
    case TENSOR_INT64_DATA:
    case TENSOR_DOUBLE_DATA:
    case TENSOR_UINT64_DATA:
        return parse_typed(f, w, field, err);
    case TENSOR_EXTERNAL_DATA:
        return parse_external(f, w, field, err);
    case TENSOR_DATA_LOCATION:
        code = wire_int(w, field, &location, err);
        if (code == COHORT_OK && location != TENSOR_LOCATION_DEFAULT &&
            location != TENSOR_LOCATION_EXTERNAL)
            code = error_set(err, COHORT_ERR_UNSUPPORTED, "byte %zu: unknown data location %lld",
                             wire_offset(w, field->at), (long long)location);
        if (code == COHORT_OK)
            f->external = location == TENSOR_LOCATION_EXTERNAL;
        return code;
    default:
        return COHORT_OK;
    }
}

enum cohort_code tensor_proto_parse(struct wire message, struct tensor_fields *f,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field field;
    *f = (struct tensor_fields){.message = message, .name = {.at = ""}};
    for (;;) {
        TRY(wire_next(&message, &field, err));
        if (field.number == 0)
            break;
        TRY(parse_field(f, &message, &field, err));
    }
out:
    return code;
}

/* ---- external data --------------------------------------------------------------------------- */

/* A location is relative to the model's directory and stays inside it. */
static enum cohort_code check_location(struct wire_text location, struct cohort_error *err) {
    char show[WIRE_SHOW_BYTES];
    if (location.at == NULL || location.bytes == 0)
        return error_set(err, COHORT_ERR_FORMAT, "external data without a location");
    bool escapes = location.at[0] == '/';
    for (size_t i = 0; i < location.bytes;) {
        size_t start = i;
        while (i < location.bytes && location.at[i] != '/')
            i++;
        escapes |= i - start == 2 && location.at[start] == '.' && location.at[start + 1] == '.';
        i++;
    }
    if (escapes)
        return error_set(err, COHORT_ERR_FORMAT,
                         "external data in '%s', which is outside the model's directory",
                         wire_show(location, show));
    return COHORT_OK;
}

/* A decimal number; `otherwise` when the entry is missing. */
static enum cohort_code parse_number(struct wire_text text, const char *what, uint64_t otherwise,
                                     uint64_t *number, struct cohort_error *err) {
    char show[WIRE_SHOW_BYTES];
    uint64_t v = 0;
    bool good = text.at == NULL || text.bytes > 0;
    for (size_t i = 0; good && i < text.bytes; i++) {
        good = text.at[i] >= '0' && text.at[i] <= '9' && v <= (uint64_t)INT64_MAX / 10 - 1;
        v = v * 10 + (uint64_t)(text.at[i] - '0');
    }
    if (!good)
        return error_set(err, COHORT_ERR_FORMAT, "external data: %s '%s' is not a number of bytes",
                         what, wire_show(text, show));
    *number = text.at == NULL ? otherwise : v;
    return COHORT_OK;
}

/* Hands a mapping to the graph that keeps it. */
static enum cohort_code keep_map(struct graph *g, struct file_map map, struct cohort_error *err) {
    if (!MEM_GROW(g->maps, g->map_capacity, (size_t)g->map_count))
        return error_memory(err, sizeof map, "a list of files");
    g->maps[g->map_count++] = map;
    return COHORT_OK;
}

static enum cohort_code open_external(struct tensor_source *source, struct wire_text location,
                                      struct file_map *map, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *name = NULL, *path = NULL;
    for (size_t i = 0; i < source->file_count; i++)
        if (wire_text_is(location, source->files[i].location)) {
            *map = source->files[i].map;
            return COHORT_OK;
        }
    struct file_map fresh = {0};
    name = mem_strndup(location.at, location.bytes);
    path = name != NULL ? file_join(source->directory, name) : NULL;
    if (path == NULL || !MEM_GROW(source->files, source->file_capacity, source->file_count)) {
        code = error_memory(err, location.bytes, "a file name");
        goto out;
    }
    TRY(file_map(&fresh, path, err));
    if (source->keeper != NULL)
        TRY(keep_map(source->keeper, fresh, err));
    source->files[source->file_count++] = (struct external_file){.location = name, .map = fresh};
    name = NULL;
    *map = fresh;
    fresh = (struct file_map){0};
out:
    file_unmap(&fresh);
    mem_free(path);
    mem_free(name);
    return code;
}

static enum cohort_code find_external(struct tensor_source *source, const struct tensor_fields *f,
                                      size_t bytes, const unsigned char **data,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct file_map map = {0};
    uint64_t offset, length;
    char show[WIRE_SHOW_BYTES];
    TRY(check_location(f->location, err));
    TRY(parse_number(f->offset, "offset", 0, &offset, err));
    TRY(parse_number(f->length, "length", bytes, &length, err));
    if (length != bytes) {
        code = error_set(err, COHORT_ERR_FORMAT,
                         "external data of %llu bytes, but shape and type need %zu",
                         (unsigned long long)length, bytes);
        goto out;
    }
    if (source->directory == NULL) {
        code = error_set(err, COHORT_ERR_UNSUPPORTED,
                         "external data in '%s', but no directory to look for it",
                         wire_show(f->location, show));
        goto out;
    }
    TRY(open_external(source, f->location, &map, err));
    if (offset > map.bytes || bytes > map.bytes - offset) {
        code = error_set(err, COHORT_ERR_FORMAT,
                         "external data: bytes %llu to %llu of '%s', which has only %zu",
                         (unsigned long long)offset, (unsigned long long)(offset + bytes),
                         wire_show(f->location, show), map.bytes);
        goto out;
    }
    *data = map.data != NULL ? map.data + offset : f->message.at; /* an empty file: 0 bytes */
out:
    return code;
}

/* ---- loading --------------------------------------------------------------------------------- */

static uint32_t typed_field(enum dtype type) {
    switch (type) {
    case DT_F32:
        return TENSOR_FLOAT_DATA;
    case DT_F64:
        return TENSOR_DOUBLE_DATA;
    case DT_I64:
        return TENSOR_INT64_DATA;
    case DT_U32:
    case DT_U64:
        return TENSOR_UINT64_DATA;
    default:
        return TENSOR_INT32_DATA;
    }
}

struct sink { /* where decoded numbers go */
    struct tensor *t;
    size_t next, count;
    bool out_of_range;
};

/* Narrow types in int32_data come as their value or as their bits: both fit here. */
static void take_number(void *context, uint64_t value) {
    struct sink *s = context;
    if (s->next == s->count)
        return;
    size_t i = s->next++;
    int64_t v = (int64_t)value;
    int32_t narrow = (int32_t)(uint32_t)value; /* as protobuf reads an int32 */
    switch (dtype_bytes(s->t->type)) {
    case 1:
        s->out_of_range |= narrow < INT8_MIN || narrow > UINT8_MAX;
        ((uint8_t *)s->t->data)[i] = s->t->type == DT_BOOL ? narrow != 0 : (uint8_t)narrow;
        break;
    case 2:
        s->out_of_range |= narrow < INT16_MIN || narrow > UINT16_MAX;
        ((uint16_t *)s->t->data)[i] = (uint16_t)narrow;
        break;
    case 4:
        s->out_of_range |= s->t->type == DT_U32 && value > UINT32_MAX;
        ((uint32_t *)s->t->data)[i] = (uint32_t)value;
        break;
    default:
        ((int64_t *)s->t->data)[i] = v;
    }
}

static enum cohort_code decode_typed(const struct tensor_fields *f, uint32_t number,
                                     const struct shape *shape, enum dtype type, struct tensor *t,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire w = f->message;
    struct wire_field field;
    struct tensor fresh = {0};
    TRY(tensor_init(&fresh, type, shape, err));
    struct sink sink = {.t = &fresh, .count = (size_t)shape_count(shape)};
    for (;;) {
        TRY(wire_next(&w, &field, err));
        if (field.number == 0)
            break;
        if (field.number == number)
            TRY(wire_repeated(&w, &field, typed_item(number), take_number, &sink, err));
    }
    if (sink.out_of_range || sink.next != sink.count) {
        code = error_set(err, COHORT_ERR_FORMAT, "a number in it does not fit its type, %s",
                         dtype_name(type));
        goto out;
    }
    *t = fresh;
    fresh = (struct tensor){0};
out:
    tensor_release(&fresh);
    return code;
}

/* Borrows dense data, or copies what is small or must not be borrowed. */
static enum cohort_code take_dense(const unsigned char *data, size_t bytes, bool borrow,
                                   enum dtype type, const struct shape *shape, struct tensor *t,
                                   struct cohort_error *err) {
    if (borrow && bytes > TENSOR_COPY_BYTES && type != DT_BOOL) {
        *t = (struct tensor){
            .type = type, .shape = *shape, .data = (void *)(uintptr_t)data, .owned = false};
        return COHORT_OK;
    }
    enum cohort_code code = tensor_init(t, type, shape, err);
    if (code != COHORT_OK)
        return code;
    if (type != DT_BOOL && bytes > 0)
        memcpy(t->data, data, bytes);
    for (size_t i = 0; type == DT_BOOL && i < bytes; i++)
        ((uint8_t *)t->data)[i] = data[i] != 0;
    return COHORT_OK;
}

static enum cohort_code size_error(const struct tensor_fields *f, const struct shape *shape,
                                   enum dtype type, const char *where, uint64_t found,
                                   const char *unit, uint64_t needed, struct cohort_error *err) {
    char text[SHAPE_TEXT_BYTES];
    return error_set(
        err, COHORT_ERR_FORMAT,
        "%s of shape %s needs %llu %s, but the TensorProto at byte %zu has %llu in its "
        "%s",
        dtype_name(type), shape_text(shape, text, sizeof text), (unsigned long long)needed, unit,
        wire_offset(&f->message, f->message.at), (unsigned long long)found, where);
}

static enum cohort_code check_shape(const struct tensor_fields *f, enum dtype type,
                                    struct shape *shape, size_t *bytes, struct cohort_error *err) {
    char text[SHAPE_TEXT_BYTES];
    if (f->rank > RANK_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "%llu dimensions, but at most %d can be had",
                         (unsigned long long)f->rank, RANK_MAX);
    *shape = shape_of((int)f->rank, f->dims);
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] < 0)
            return error_set(err, COHORT_ERR_FORMAT, "dimension %d is %lld", i,
                             (long long)shape->dim[i]);
    int64_t count = shape_count(shape);
    if (count < 0 || (uint64_t)count > SIZE_MAX / 2 / dtype_bytes(type))
        return error_set(err, COHORT_ERR_FORMAT, "its shape, %s, is impossibly large",
                         shape_text(shape, text, sizeof text));
    *bytes = (size_t)count * dtype_bytes(type);
    return COHORT_OK;
}

enum cohort_code tensor_proto_load(struct tensor_source *source, const struct tensor_fields *f,
                                   struct tensor *t, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    enum dtype type;
    struct shape shape;
    size_t bytes = 0;
    const unsigned char *data = NULL;
    TRY(tensor_type_of(f->type, &type, err));
    TRY(check_shape(f, type, &shape, &bytes, err));
    if (f->segmented) {
        code = error_set(err, COHORT_ERR_UNSUPPORTED, "tensors in segments are not supported");
        goto out;
    }
    if (f->external) {
        TRY(find_external(source, f, bytes, &data, err));
        TRY(take_dense(data, bytes, source->keeper != NULL, type, &shape, t, err));
        goto out;
    }
    uint32_t field = typed_field(type);
    uint64_t count = (uint64_t)shape_count(&shape), found = f->typed[field].count, others = 0;
    for (uint32_t i = 0; i <= TENSOR_UINT64_DATA; i++)
        others += i != field ? f->typed[i].count : 0;
    if (others > 0 || (found > 0 && f->raw_bytes > 0)) {
        code = error_set(err, COHORT_ERR_FORMAT,
                         "data in %s of the TensorProto at byte %zu, whose type is %s",
                         others > 0 ? "a wrong field" : "two fields",
                         wire_offset(&f->message, f->message.at), dtype_name(type));
        goto out;
    }
    if (found == 0) {
        if (f->raw_bytes != bytes) {
            code = size_error(f, &shape, type, "raw_data", f->raw_bytes, "bytes", bytes, err);
            goto out;
        }
        data = f->raw != NULL ? f->raw : f->message.at;
        TRY(take_dense(data, bytes, source->borrow, type, &shape, t, err));
        goto out;
    }
    if (found != count) {
        code = size_error(f, &shape, type, "typed data", found, "elements", count, err);
        goto out;
    }
    if (typed_item(field) != WIRE_VARINT && f->typed[field].whole != NULL)
        TRY(take_dense(f->typed[field].whole, bytes, source->borrow, type, &shape, t, err));
    else
        TRY(decode_typed(f, field, &shape, type, t, err));
out:
    return code;
}

/* ---- a file with one ------------------------------------------------------------------------- */

enum cohort_code onnx_load_tensor(struct tensor *t, char **name, const char *path,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct file_map map = {0};
    struct tensor_source source = {0};
    struct tensor_fields fields;
    struct tensor fresh = {0};
    char *copy = NULL, *directory = NULL;
    TRY(file_map(&map, path, err));
    directory = file_directory(path);
    if (directory == NULL) {
        code = error_memory(err, strlen(path), "a file name");
        goto out;
    }
    source.directory = directory;
    code = tensor_proto_parse(wire_of(map.data, map.bytes, "TensorProto"), &fields, err);
    if (code == COHORT_OK)
        code = tensor_proto_load(&source, &fields, &fresh, err);
    if (code != COHORT_OK) {
        error_wrap(err, "%s", path);
        goto out;
    }
    if (name != NULL) {
        copy = mem_strndup(fields.name.at, fields.name.bytes);
        if (copy == NULL) {
            code = error_memory(err, fields.name.bytes, "a name");
            goto out;
        }
        *name = copy;
    }
    *t = fresh;
    fresh = (struct tensor){0};
out:
    tensor_release(&fresh);
    tensor_source_release(&source);
    mem_free(directory);
    file_unmap(&map);
    return code;
}
