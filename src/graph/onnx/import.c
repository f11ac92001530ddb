/* Reading a ModelProto into a graph.
 *
 * The graph's fields are walked several times, because a file may hold them in any order:
 * initializers become constants; inputs that are not initializers become inputs; nodes enter their
 * outputs; then every node's inputs can be looked up, the nodes are sorted, and outputs are found.
 * Walking is cheap: contents are skipped by their length, so no byte of a weight is touched. */
#include "graph/onnx/import.h"

#include "base/mem.h"
#include "graph/onnx/onnx.h"

#include <limits.h>
#include <string.h>

enum cohort_code import_each(struct import *im, struct wire parent, uint32_t number,
                             const char *name, import_visit_fn visit, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire nested;
    for (;;) {
        TRY(wire_next(&parent, &f, err));
        if (f.number == 0)
            break;
        if (f.number != number)
            continue;
        TRY(wire_nested(&parent, &f, name, &nested, err));
        TRY(visit(im, nested, err));
    }
out:
    return code;
}

char *import_copy(struct wire_text text, struct cohort_error *err) {
    char *copy = mem_strndup(text.at, text.bytes);
    if (copy == NULL)
        error_memory(err, text.bytes, "a name");
    return copy;
}

/* Checks that a value's name is one and new, and copies it. */
static enum cohort_code new_name(const struct import *im, struct wire_text name, const char *what,
                                 char **copy, struct cohort_error *err) {
    char show[WIRE_SHOW_BYTES];
    if (name.bytes == 0)
        return error_set(err, COHORT_ERR_FORMAT, "%s without a name", what);
    if (names_find(&im->names, name) >= 0)
        return error_set(err, COHORT_ERR_FORMAT,
                         "%s '%s': the name is taken by another input, initializer or output of a "
                         "node",
                         what, wire_show(name, show));
    if (im->g->value_count >= INT_MAX / 2)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d values", INT_MAX / 2);
    *copy = import_copy(name, err);
    return *copy != NULL ? COHORT_OK : COHORT_ERR_MEMORY;
}

static enum cohort_code enter_name(struct import *im, struct wire_text name, int id,
                                   struct cohort_error *err) {
    return names_put(&im->names, name, id) ? COHORT_OK
                                           : error_memory(err, name.bytes, "a table of names");
}

enum cohort_code import_value(struct import *im, struct wire_text name, const char *what, int *id,
                              struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *copy = NULL;
    TRY(new_name(im, name, what, &copy, err));
    TRY(graph_add_value(im->g, copy, id, err));
    TRY(enter_name(im, name, *id, err));
out:
    mem_free(copy);
    return code;
}

enum cohort_code import_constant(struct import *im, struct wire_text name, const char *what,
                                 struct tensor *t, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *copy = NULL;
    int id;
    TRY(new_name(im, name, what, &copy, err));
    TRY(graph_add_constant(im->g, copy, t, &id, err));
    TRY(enter_name(im, name, id, err));
out:
    mem_free(copy);
    return code;
}

/* ---- the parts of a GraphProto --------------------------------------------------------------- */

static enum cohort_code read_initializer(struct import *im, struct wire message,
                                         struct cohort_error *err) {
    struct tensor_fields f;
    struct tensor t = {0};
    char show[WIRE_SHOW_BYTES];
    enum cohort_code code = tensor_proto_parse(message, &f, err);
    if (code == COHORT_OK)
        code = tensor_proto_load(&im->source, &f, &t, err);
    if (code != COHORT_OK) {
        if (f.name.bytes > 0)
            error_wrap(err, "initializer '%s'", wire_show(f.name, show));
        else
            error_wrap(err, "initializer at byte %zu", wire_offset(&message, message.at));
        return code;
    }
    code = import_constant(im, f.name, "initializer", &t, err);
    tensor_release(&t);
    return code;
}

static enum cohort_code read_sparse(struct import *im, struct wire message,
                                    struct cohort_error *err) {
    (void)im;
    return error_set(err, COHORT_ERR_UNSUPPORTED,
                     "the sparse initializer at byte %zu: sparse tensors are not supported",
                     wire_offset(&message, message.at));
}

/* One Dimension: its value, or -1 for a name (dim_param) or nothing.  Some exporters write -1. */
static enum cohort_code read_dim(struct wire message, int64_t *dim, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    int64_t v = -1;
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == DIM_VALUE)
            TRY(wire_int(&message, &f, &v, err));
    }
    if (v < -1)
        code = error_set(err, COHORT_ERR_FORMAT, "a dimension of %lld", (long long)v);
    *dim = v;
out:
    return code;
}

static enum cohort_code read_shape(struct wire message, struct shape *shape,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire dim;
    *shape = (struct shape){.rank = 0};
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number != SHAPE_DIM)
            continue;
        if (shape->rank == RANK_MAX) {
            code = error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d dimensions", RANK_MAX);
            goto out;
        }
        TRY(wire_nested(&message, &f, "TensorShapeProto.Dimension", &dim, err));
        TRY(read_dim(dim, &shape->dim[shape->rank], err));
        shape->rank++;
    }
    struct shape known = *shape; /* the least that it can become */
    for (int i = 0; i < known.rank; i++)
        known.dim[i] = known.dim[i] < 0 ? 1 : known.dim[i];
    if (shape_count(&known) < 0) {
        char text[SHAPE_TEXT_BYTES];
        code = error_set(err, COHORT_ERR_FORMAT, "its shape, %s, is impossibly large",
                         shape_text(shape, text, sizeof text));
    }
out:
    return code;
}

static enum cohort_code read_tensor_type(struct wire message, struct value *v,
                                         struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire shape;
    int64_t type = DT_NONE;
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == TENSOR_TYPE_ELEM) {
            TRY(wire_int(&message, &f, &type, err));
        } else if (f.number == TENSOR_TYPE_SHAPE) {
            TRY(wire_nested(&message, &f, "TensorShapeProto", &shape, err));
            TRY(read_shape(shape, &v->shape, err));
        }
    }
    TRY(tensor_type_of(type, &v->type, err));
out:
    return code;
}

static enum cohort_code read_type(struct wire message, struct value *v, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire tensor;
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == TYPE_TENSOR) {
            TRY(wire_nested(&message, &f, "TypeProto.Tensor", &tensor, err));
            TRY(read_tensor_type(tensor, v, err));
        } else if (f.number == TYPE_SEQUENCE || f.number == TYPE_MAP || f.number == TYPE_SPARSE ||
                   f.number == TYPE_OPTIONAL) {
            code = error_set(err, COHORT_ERR_UNSUPPORTED,
                             "it is a sequence, map, sparse or optional value; only tensors are "
                             "supported");
            goto out;
        }
    }
out:
    return code;
}

/* The name and the type (at == NULL: none) of a ValueInfoProto. */
static enum cohort_code read_value_info(struct wire message, struct wire_text *name,
                                        struct wire *type, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    *name = (struct wire_text){.at = ""};
    *type = (struct wire){0};
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == VALUE_INFO_NAME)
            TRY(wire_text(&message, &f, name, err));
        else if (f.number == VALUE_INFO_TYPE)
            TRY(wire_nested(&message, &f, "TypeProto", type, err));
    }
out:
    return code;
}

static enum cohort_code append_id(int **ids, int *count, int id, struct cohort_error *err) {
    size_t n = (size_t)*count;
    if ((n & (n - 1)) == 0) { /* 0 or a power of two: full */
        int *bigger = mem_realloc(*ids, (n == 0 ? 1 : 2 * n) * sizeof id);
        if (bigger == NULL)
            return error_memory(err, 2 * n * sizeof id, "a list of inputs or outputs");
        *ids = bigger;
    }
    (*ids)[(*count)++] = id;
    return COHORT_OK;
}

static enum cohort_code read_input(struct import *im, struct wire message,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_text name;
    struct wire type;
    char show[WIRE_SHOW_BYTES];
    int id;
    TRY(read_value_info(message, &name, &type, err));
    int known = names_find(&im->names, name);
    if (known >= 0 && graph_value(im->g, known)->is_constant)
        goto out; /* an initializer that the file (IR 3) also lists as an input */
    TRY(import_value(im, name, "input", &id, err));
    if (type.at != NULL)
        code = read_type(type, graph_value(im->g, id), err);
    if (code == COHORT_OK && graph_value(im->g, id)->type == DT_NONE && im->parent == NULL)
        code = error_set(err, COHORT_ERR_FORMAT, "its type is missing");
    if (code != COHORT_OK) {
        error_wrap(err, "input '%s'", wire_show(name, show));
        goto out;
    }
    TRY(append_id(&im->g->inputs, &im->g->input_count, id, err));
out:
    return code;
}

static enum cohort_code read_output(struct import *im, struct wire message,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_text name;
    struct wire type;
    char show[WIRE_SHOW_BYTES];
    TRY(read_value_info(message, &name, &type, err));
    int id;
    TRY(import_find(im, name, &id, err));
    if (id < 0) {
        code = error_set(err, COHORT_ERR_FORMAT,
                         "output '%s' is produced by nothing: no node's output, initializer or "
                         "input has that name",
                         wire_show(name, show));
        goto out;
    }
    TRY(append_id(&im->g->outputs, &im->g->output_count, id, err));
out:
    return code;
}

static enum cohort_code read_graph_name(struct import *im, struct wire graph,
                                        struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire_text name = {.at = ""};
    for (;;) {
        TRY(wire_next(&graph, &f, err));
        if (f.number == 0)
            break;
        if (f.number == GRAPH_NAME)
            TRY(wire_text(&graph, &f, &name, err));
    }
    char *copy = import_copy(name, err);
    if (copy == NULL) {
        code = COHORT_ERR_MEMORY;
        goto out;
    }
    mem_free(im->g->name);
    im->g->name = copy;
out:
    return code;
}

enum cohort_code import_graph(struct import *im, struct wire graph, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(read_graph_name(im, graph, err));
    TRY(import_each(im, graph, GRAPH_SPARSE_INITIALIZER, "SparseTensorProto", read_sparse, err));
    TRY(import_each(im, graph, GRAPH_INITIALIZER, "TensorProto", read_initializer, err));
    TRY(import_each(im, graph, GRAPH_INPUT, "ValueInfoProto", read_input, err));
    TRY(import_nodes(im, graph, err));
    TRY(import_each(im, graph, GRAPH_OUTPUT, "ValueInfoProto", read_output, err));
    if (im->g->output_count == 0)
        code = error_set(err, COHORT_ERR_FORMAT, "the graph has no output");
    graph_relink(im->g);
out:
    return code;
}

/* ---- the ModelProto -------------------------------------------------------------------------- */

static enum cohort_code read_opset(struct import *im, struct wire message,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire_text domain = {.at = ""};
    int64_t version = 0;
    char show[WIRE_SHOW_BYTES];
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == OPSET_DOMAIN)
            TRY(wire_text(&message, &f, &domain, err));
        else if (f.number == OPSET_VERSION)
            TRY(wire_int(&message, &f, &version, err));
    }
    if (wire_text_is(domain, "ai.onnx"))
        domain.bytes = 0;
    if (version < 1 || version > INT_MAX) {
        code = error_set(err, COHORT_ERR_FORMAT, "opset %lld of domain '%s'", (long long)version,
                         wire_show(domain, show));
        goto out;
    }
    if (!MEM_GROW(im->opsets, im->opset_capacity, im->opset_count)) {
        code = error_memory(err, sizeof *im->opsets, "the opset imports");
        goto out;
    }
    im->opsets[im->opset_count++] =
        (struct opset_import){.domain = domain, .version = (int)version};
out:
    return code;
}

/* The last opset that was released with an IR version (ONNX's versioning table), for files that
 * import none; IR 3 and before: the last opset of IR 3, since opset 7 to 8 added and took nothing.
 */
static int opset_of_ir(int64_t ir_version) {
    static const int last[] = {8, 8, 8, 8, 9, 10, 11, 14, 18, 20, 22, 23};
    const int64_t count = sizeof last / sizeof last[0];
    return ir_version < 0 ? last[0] : last[ir_version < count ? ir_version : count - 1];
}

/* Which opsets an operator's row implements is the row's to say: a model of opset 1 with nothing
 * but a Not is fine. */
static int choose_opset(const struct import *im) {
    int opset = 0;
    for (size_t i = 0; i < im->opset_count; i++)
        if (im->opsets[i].domain.bytes == 0 && im->opsets[i].version > opset)
            opset = im->opsets[i].version;
    return opset > 0 ? opset : opset_of_ir(im->ir_version);
}

static enum cohort_code read_model(struct import *im, struct wire model, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    struct wire graph = {0}, walk = model;
    for (;;) {
        TRY(wire_next(&walk, &f, err));
        if (f.number == 0)
            break;
        if (f.number == MODEL_IR_VERSION)
            TRY(wire_int(&walk, &f, &im->ir_version, err));
        if (f.number != MODEL_GRAPH)
            continue;
        if (graph.at != NULL) {
            code = error_set(err, COHORT_ERR_FORMAT, "byte %zu: a second graph in one model",
                             wire_offset(&walk, f.at));
            goto out;
        }
        TRY(wire_nested(&walk, &f, "GraphProto", &graph, err));
    }
    if (graph.at == NULL) {
        code = error_set(err, COHORT_ERR_FORMAT, "there is no graph in it: not an ONNX model");
        goto out;
    }
    TRY(import_each(im, model, MODEL_OPSET_IMPORT, "OperatorSetIdProto", read_opset, err));
    im->g->opset = choose_opset(im);
    TRY(import_graph(im, graph, err));
out:
    return code;
}

void import_release(struct import *im) {
    for (size_t i = 0; i < im->node_count; i++)
        for (int k = 0; k < im->nodes[i].graph_count; k++)
            attr_release(&im->nodes[i].graphs[k]);
    for (size_t i = 0; i < im->node_count; i++)
        mem_free(im->nodes[i].graphs);
    tensor_source_release(&im->source);
    names_release(&im->names);
    if (im->parent == NULL)
        mem_free(im->opsets);
    mem_free(im->captured);
    mem_free(im->nodes);
    mem_free(im->pool);
    graph_destroy(&im->g);
}

/* Text that people mistake for the file behind it. */
static enum cohort_code check_content(const void *data, size_t bytes, struct cohort_error *err) {
    static const char lfs[] = "version https://git-lfs";
    if (bytes == 0)
        return error_set(err, COHORT_ERR_FORMAT, "the file is empty");
    if (bytes >= sizeof lfs - 1 && memcmp(data, lfs, sizeof lfs - 1) == 0)
        return error_set(err, COHORT_ERR_FORMAT,
                         "a Git LFS pointer, not the network itself (`git lfs pull` fetches it)");
    return COHORT_OK;
}

enum cohort_code onnx_load_memory(struct graph **g, const void *data, size_t bytes,
                                  const char *directory, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct import im = {.source = {.directory = directory}};
    TRY(check_content(data, bytes, err));
    TRY(graph_create(&im.g, "", err));
    im.source.keeper = im.g;
    TRY(read_model(&im, wire_of(data, bytes, "ModelProto"), err));
    *g = im.g;
    im.g = NULL;
out:
    import_release(&im);
    return code;
}

enum cohort_code onnx_load(struct graph **g, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct import im = {0};
    struct file_map map = {0};
    char *directory = NULL;
    TRY(file_map(&map, path, err));
    struct wire model = wire_of(map.data, map.bytes, "ModelProto");
    code = check_content(map.data, map.bytes, err);
    if (code != COHORT_OK)
        goto wrap;
    directory = file_directory(path);
    if (directory == NULL) {
        code = error_memory(err, strlen(path), "a file name");
        goto wrap;
    }
    TRY(graph_create(&im.g, "", err));
    im.source = (struct tensor_source){.directory = directory, .borrow = true, .keeper = im.g};
    if (!MEM_GROW(im.g->maps, im.g->map_capacity, (size_t)im.g->map_count)) {
        code = error_memory(err, sizeof map, "a list of files");
        goto wrap;
    }
    im.g->maps[im.g->map_count++] = map;
    map = (struct file_map){0};
    code = read_model(&im, model, err);
wrap:
    if (code != COHORT_OK) {
        error_wrap(err, "%s", path);
        goto out;
    }
    *g = im.g;
    im.g = NULL;
out:
    import_release(&im);
    mem_free(directory);
    file_unmap(&map);
    return code;
}
