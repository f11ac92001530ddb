/* NumPy's .npy files: numpy.lib.format, versions 1.0 to 3.0.
 *
 * Six magic bytes, a version, the header's length (two bytes, four from version 2.0 on), the
 * header, a Python dict with the keys descr, fortran_order and shape, then the data. */
#include "media/media.h"

#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC        "\x93NUMPY"
#define MAGIC_BYTES  6
#define HEADER_ALIGN 64 /* where NumPy lets the data begin */

static const struct {
    const char *code; /* kind and bytes, as in descr behind the byte order */
    enum dtype type;
} types[] = {{"f2", DT_F16}, {"f4", DT_F32}, {"f8", DT_F64}, {"i1", DT_I8},
             {"i2", DT_I16}, {"i4", DT_I32}, {"i8", DT_I64}, {"u1", DT_U8},
             {"u2", DT_U16}, {"u4", DT_U32}, {"u8", DT_U64}, {"b1", DT_BOOL}};
#define TYPES (sizeof types / sizeof *types)

/* ---- the header ----------------------------------------------------------------------------- */

struct header {
    const char *at, *end;
    enum dtype type;
    bool swap, fortran;
    bool has_descr, has_order, has_shape;
    struct shape shape;
    const char *path;
    struct cohort_error *err;
};

static enum cohort_code damaged(struct header *h, const char *what) {
    return error_set(h->err, COHORT_ERR_FORMAT, "%s: damaged .npy header: %s", h->path, what);
}

static void skip_space(struct header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t'))
        h->at++;
}

/* Steps over one character after blanks; false when another one is there. */
static bool take(struct header *h, char c) {
    skip_space(h);
    if (h->at >= h->end || *h->at != c)
        return false;
    h->at++;
    return true;
}

static bool take_word(struct header *h, const char *word) {
    size_t n = strlen(word);
    skip_space(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, word, n) != 0)
        return false;
    h->at += n;
    return true;
}

/* A string in either quotes; no escapes occur in what NumPy writes. */
static bool take_string(struct header *h, char *text, size_t size) {
    skip_space(h);
    if (h->at >= h->end || (*h->at != '\'' && *h->at != '"'))
        return false;
    char quote = *h->at++;
    const char *close = memchr(h->at, quote, (size_t)(h->end - h->at));
    if (!close || (size_t)(close - h->at) >= size)
        return false;
    memcpy(text, h->at, (size_t)(close - h->at));
    text[close - h->at] = 0;
    h->at = close + 1;
    return true;
}

static enum cohort_code parse_descr(struct header *h) {
    char text[64];
    skip_space(h);
    if (h->at < h->end && *h->at == '[')
        return error_set(h->err, COHORT_ERR_UNSUPPORTED,
                         "%s: an array of records; only numbers are read", h->path);
    if (!take_string(h, text, sizeof text))
        return damaged(h, "descr is not a text");
    const char *code = text;
    if (*code && strchr("<>=|", *code))
        h->swap = *code++ == '>';
    for (size_t i = 0; i < TYPES; i++) {
        if (strcmp(code, types[i].code) == 0) {
            h->type = types[i].type;
            return COHORT_OK;
        }
    }
    if (strcmp(code, "?") == 0) {
        h->type = DT_BOOL;
        return COHORT_OK;
    }
    return error_set(h->err, COHORT_ERR_UNSUPPORTED,
                     "%s: elements of type '%s'; only numbers and bool are read", h->path, text);
}

static enum cohort_code parse_shape(struct header *h) {
    struct shape s = {.rank = 0};
    if (!take(h, '('))
        return damaged(h, "shape is not a tuple");
    while (!take(h, ')')) {
        int64_t v = 0;
        skip_space(h);
        const char *digits = h->at;
        for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++) {
            if (v > (INT64_MAX - 9) / 10)
                return damaged(h, "a dimension too large");
            v = v * 10 + (*h->at - '0');
        }
        if (h->at == digits)
            return damaged(h, "a dimension is not a number");
        if (h->at < h->end && *h->at == 'L') /* Python 2 wrote 3L */
            h->at++;
        if (s.rank == RANK_MAX)
            return error_set(h->err, COHORT_ERR_UNSUPPORTED, "%s: more than %d dimensions", h->path,
                             RANK_MAX);
        s.dim[s.rank++] = v;
        if (!take(h, ',') && (h->at >= h->end || *h->at != ')'))
            return damaged(h, "shape lacks a ',' or ')'");
    }
    h->shape = s;
    return COHORT_OK;
}

static enum cohort_code parse_member(struct header *h) {
    char key[32];
    if (!take_string(h, key, sizeof key) || !take(h, ':'))
        return damaged(h, "not a dict of named values");
    if (strcmp(key, "descr") == 0) {
        h->has_descr = true;
        return parse_descr(h);
    }
    if (strcmp(key, "shape") == 0) {
        h->has_shape = true;
        return parse_shape(h);
    }
    if (strcmp(key, "fortran_order") != 0)
        return damaged(h, "an unknown key");
    h->has_order = true;
    h->fortran = take_word(h, "True");
    return h->fortran || take_word(h, "False")
               ? COHORT_OK
               : damaged(h, "fortran_order is neither True nor False");
}

static enum cohort_code parse_header(struct header *h) {
    enum cohort_code code = COHORT_OK;
    if (!take(h, '{'))
        return damaged(h, "not a dict");
    while (!take(h, '}')) {
        TRY(parse_member(h));
        if (!take(h, ',') && (h->at >= h->end || *h->at != '}'))
            return damaged(h, "a ',' or '}' is missing");
    }
    skip_space(h);
    if (h->at != h->end)
        return damaged(h, "something follows the dict");
    if (!h->has_descr || !h->has_order || !h->has_shape)
        return damaged(h, "descr, fortran_order or shape is missing");
out:
    return code;
}

/* ---- the data ------------------------------------------------------------------------------- */

/* Element by element: bytes reversed for big-endian files, any number for bool made 0 or 1. */
static void store(unsigned char *to, const unsigned char *from, size_t size,
                  const struct header *h) {
    for (size_t i = 0; i < size; i++)
        to[i] = from[h->swap ? size - 1 - i : i];
    if (h->type == DT_BOOL)
        to[0] = to[0] != 0;
}

static void copy_data(struct tensor *t, const unsigned char *data, const struct header *h) {
    size_t size = dtype_bytes(t->type), count = (size_t)shape_count(&t->shape);
    unsigned char *to = t->data;
    if (!h->swap && !h->fortran && h->type != DT_BOOL) {
        memcpy(to, data, count * size);
        return;
    }
    /* Walk the file in order; `at` is the index there, its first dimension fastest for Fortran. */
    int64_t index[RANK_MAX] = {0}, stride[RANK_MAX], step = 1;
    int rank = t->shape.rank;
    for (int d = rank - 1; d >= 0; d--) {
        stride[d] = step;
        step *= t->shape.dim[d];
    }
    for (size_t i = 0; i < count; i++) {
        int64_t place = 0;
        for (int d = 0; d < rank; d++)
            place += index[d] * stride[d];
        store(to + (size_t)place * size, data + i * size, size, h);
        for (int k = 0; k < rank; k++) {
            int d = h->fortran ? k : rank - 1 - k;
            if (++index[d] < t->shape.dim[d])
                break;
            index[d] = 0;
        }
    }
}

/* Checks what stands before the header and puts h on it. */
static enum cohort_code find_header(struct header *h, const struct file_map *map) {
    const unsigned char *p = map->data;
    size_t start = 12, length = 0;
    if (map->bytes < MAGIC_BYTES || memcmp(p, MAGIC, MAGIC_BYTES) != 0)
        return error_set(h->err, COHORT_ERR_FORMAT, "%s: not a .npy file%s", h->path,
                         map->bytes ? "" : " (empty)");
    if (map->bytes >= 8 && (p[6] < 1 || p[6] > 3 || p[7] != 0))
        return error_set(h->err, COHORT_ERR_UNSUPPORTED,
                         "%s: .npy format %u.%u; 1.0 to 3.0 are read", h->path, p[6], p[7]);
    if (map->bytes >= 8 && p[6] == 1)
        start = 10;
    if (map->bytes < start)
        return error_set(h->err, COHORT_ERR_FORMAT, "%s: truncated .npy file", h->path);
    for (size_t i = start; i > 8; i--)
        length = length << 8 | p[i - 1];
    if (length > map->bytes - start)
        return error_set(h->err, COHORT_ERR_FORMAT, "%s: truncated .npy file", h->path);
    h->at = (const char *)p + start;
    h->end = h->at + length;
    return COHORT_OK;
}

enum cohort_code npy_load(struct tensor *t, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct file_map map = {0};
    struct header h = {.path = path, .err = err};
    struct tensor loaded = {0};
    char text[SHAPE_TEXT_BYTES];
    TRY(file_map(&map, path, err));
    TRY(find_header(&h, &map));
    const unsigned char *data = (const unsigned char *)h.end;
    TRY(parse_header(&h));
    size_t left = map.bytes - (size_t)(data - map.data), size = dtype_bytes(h.type);
    int64_t count = shape_count(&h.shape);
    if (count < 0 || (uint64_t)count > left / size) {
        code = error_set(err, COHORT_ERR_FORMAT,
                         "%s: truncated .npy file: %zu bytes of data for shape %s of %s", path,
                         left, shape_text(&h.shape, text, sizeof text), dtype_name(h.type));
        goto out;
    }
    if (left != (size_t)count * size) {
        code = error_set(err, COHORT_ERR_FORMAT, "%s: %zu bytes follow the array", path,
                         left - (size_t)count * size);
        goto out;
    }
    TRY(tensor_init(&loaded, h.type, &h.shape, err));
    if (count > 0)
        copy_data(&loaded, data, &h);
    *t = loaded;
out:
    file_unmap(&map);
    return code;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Fills in header, padded to HEADER_ALIGN; returns its length. */
static size_t write_header(char *header, size_t size, const struct tensor *t, const char *code) {
    size_t used = (size_t)snprintf(header + 10, size - 10,
                                   "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                                   code[1] == '1' ? '|' : '<', code) +
                  10;
    for (int d = 0; d < t->shape.rank; d++)
        used += (size_t)snprintf(header + used, size - used, "%s%" PRId64 "%s", d ? " " : "",
                                 t->shape.dim[d],
                                 d + 1 < t->shape.rank || t->shape.rank == 1 ? "," : "");
    used += (size_t)snprintf(header + used, size - used, "), }");
    BUG_UNLESS(used + HEADER_ALIGN < size);
    while ((used + 1) % HEADER_ALIGN != 0)
        header[used++] = ' ';
    header[used++] = '\n';
    memcpy(header, MAGIC "\x01", 7);
    header[7] = 0;
    header[8] = (char)((used - 10) & 0xff);
    header[9] = (char)((used - 10) >> 8);
    return used;
}

/* NumPy has no bfloat16: it is written as float32, which holds it exactly. */
static enum cohort_code append_as_f32(struct file_writer *w, const struct tensor *t,
                                      struct cohort_error *err) {
    float part[1024];
    int64_t count = shape_count(&t->shape);
    for (int64_t i = 0; i < count; i += 1024) {
        int64_t n = count - i < 1024 ? count - i : 1024;
        tensor_load_f32(t, i, n, part);
        enum cohort_code code = file_writer_append(w, part, (size_t)n * sizeof *part, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

enum cohort_code npy_save(const struct tensor *t, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct file_writer w = {.fd = -1};
    char header[512];
    const char *type = t->type == DT_BF16 ? "f4" : NULL;
    for (size_t i = 0; i < TYPES && !type; i++) {
        if (types[i].type == t->type)
            type = types[i].code;
    }
    if (!type)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "%s: elements of type %s cannot be written as .npy", path,
                         dtype_name(t->type));
    if (!shape_known(&t->shape) || (!t->data && tensor_bytes(t) > 0))
        return error_set(err, COHORT_ERR_SHAPE, "%s: a tensor without contents cannot be written",
                         path);
    size_t length = write_header(header, sizeof header, t, type);
    TRY(file_writer_begin(&w, path, err));
    TRY(file_writer_append(&w, header, length, err));
    if (t->type == DT_BF16)
        TRY(append_as_f32(&w, t, err));
    else
        TRY(file_writer_append(&w, t->data, tensor_bytes(t), err));
    TRY(file_writer_commit(&w, err));
out:
    file_writer_abandon(&w);
    return code;
}
