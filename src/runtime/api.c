/* The public face: opening networks, making and keeping plans. */
#include "runtime/model.h"
#include "runtime/session.h"

#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/op.h"
#include "graph/pass.h"

#include <stdlib.h>
#include <string.h>

const char *cohort_version(void) {
    return COHORT_VERSION;
}

/* ---- networks -------------------------------------------------------------------------------- */

/* Parses "NAME=1x3x224x224" or "1x3x224x224"; *copy holds the name's text (mem_free). */
static enum cohort_code parse_shape(const char *text, struct input_shape *out, char **copy,
                                    struct cohort_error *err) {
    const char *equals = strrchr(text, '=');
    const char *dims = equals != NULL ? equals + 1 : text;
    *copy = NULL;
    *out = (struct input_shape){0};
    if (equals != NULL) {
        *copy = mem_strndup(text, (size_t)(equals - text));
        if (*copy == NULL)
            return error_memory(err, strlen(text), "a shape");
        out->name = *copy;
    }
    for (const char *p = dims;;) {
        char *end;
        long long d = strtoll(p, &end, 10);
        if (end == p || d < 0 || d > INT32_MAX || out->shape.rank == RANK_MAX ||
            (*end != '\0' && *end != 'x' && *end != ','))
            return error_set(
                err, COHORT_ERR_USAGE,
                "--shape %s: expected dims such as 1x3x224x224, with NAME= in front when "
                "the network has several inputs",
                text);
        out->shape.dim[out->shape.rank++] = d;
        if (*end == '\0')
            return COHORT_OK;
        p = end + 1;
    }
}

static enum cohort_code finish_graph(struct graph *g, const struct cohort_open_options *o,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t count = o != NULL && o->shape_count > 0 ? (size_t)o->shape_count : 0;
    struct input_shape *shapes = mem_zalloc(count + 1, sizeof *shapes);
    char **names = mem_zalloc(count + 1, sizeof *names);
    if (shapes == NULL || names == NULL) {
        code = error_memory(err, count * sizeof *shapes, "shapes");
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        TRY(parse_shape(o->shapes[i], &shapes[i], &names[i], err));
    struct pass_options pass = {
        .shapes = shapes, .shape_count = (int)count, .keep = o != NULL && o->keep_nodes};
    TRY(graph_finish(g, &pass, err));
out:
    for (size_t i = 0; names != NULL && i < count; i++)
        mem_free(names[i]);
    mem_free(names);
    mem_free(shapes);
    return code;
}

enum cohort_code cohort_open(struct cohort_model **model, const char *path,
                             const struct cohort_open_options *options, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_model *m = mem_zalloc(1, sizeof *m);
    if (m == NULL)
        return error_memory(err, sizeof *m, "a network");
    m->path = mem_strdup(path);
    if (m->path == NULL) {
        code = error_memory(err, strlen(path), "a file name");
        goto out;
    }
    code = onnx_load(&m->graph, path, err);
    if (code == COHORT_OK && (code = finish_graph(m->graph, options, err)) != COHORT_OK)
        error_wrap(err, "%s", path);
    if (code == COHORT_OK) {
        *model = m;
        m = NULL;
    }
out:
    cohort_model_free(&m);
    return code;
}

void cohort_model_free(struct cohort_model **model) {
    struct cohort_model *m = *model;
    if (m == NULL)
        return;
    graph_destroy(&m->graph);
    mem_free(m->path);
    mem_free(m);
    *model = NULL;
}

const struct graph *cohort_model_graph(const struct cohort_model *m) {
    return m->graph;
}

const struct plan *cohort_plan_of(const struct cohort_plan *p) {
    return p->plan;
}

int cohort_input_count(const struct cohort_model *model) {
    return model->graph->input_count;
}

int cohort_output_count(const struct cohort_model *model) {
    return model->graph->output_count;
}

static struct cohort_tensor describe(const struct value *v) {
    struct cohort_tensor t = {.name = v->name, .type = (enum cohort_type)v->type};
    t.rank = v->shape.rank;
    for (int i = 0; i < v->shape.rank; i++)
        t.dims[i] = v->shape.dim[i];
    return t;
}

struct cohort_tensor cohort_input(const struct cohort_model *model, int i) {
    return describe(graph_value(model->graph, model->graph->inputs[i]));
}

struct cohort_tensor cohort_output(const struct cohort_model *model, int i) {
    return describe(graph_value(model->graph, model->graph->outputs[i]));
}

size_t cohort_tensor_bytes(const struct cohort_tensor *c) {
    if (c->rank < 0 || c->rank > RANK_MAX)
        return 0;
    struct tensor t = {.type = (enum dtype)c->type, .shape = shape_of(c->rank, c->dims)};
    return tensor_bytes(&t);
}

/* ---- plans ----------------------------------------------------------------------------------- */

enum cohort_code cohort_plan_wrap(struct cohort_plan **out, struct plan **plan,
                                  struct cohort_error *err) {
    struct cohort_plan *c = mem_zalloc(1, sizeof *c);
    if (c == NULL) {
        plan_destroy(plan);
        return error_memory(err, sizeof *c, "a plan");
    }
    c->plan = *plan;
    *plan = NULL;
    *out = c;
    return COHORT_OK;
}

enum cohort_code cohort_plan_make(struct cohort_plan **plan, const struct cohort_model *model,
                                  const struct cohort_plan_options *options,
                                  struct cohort_error *err) {
    struct plan_request r = {.boards = 1};
    struct plan *p = NULL;
    if (options != NULL)
        r = (struct plan_request){.boards = options->boards > 0 ? options->boards : 1,
                                  .groups = options->groups,
                                  .ratio = options->ratio,
                                  .names = options->board_names,
                                  .root_feeds = options->root_feeds != 0};
    enum cohort_code code = plan_make(&p, model->graph, &r, err);
    return code != COHORT_OK ? code : cohort_plan_wrap(plan, &p, err);
}

enum cohort_code cohort_plan_load(struct cohort_plan **plan, const char *path,
                                  struct cohort_error *err) {
    struct plan *p = NULL;
    enum cohort_code code = plan_load(&p, path, err);
    return code != COHORT_OK ? code : cohort_plan_wrap(plan, &p, err);
}

enum cohort_code cohort_plan_save(const struct cohort_plan *plan, const char *path,
                                  struct cohort_error *err) {
    return plan_save(plan->plan, path, err);
}

_Static_assert((int)COHORT_WIRE_F16 == (int)PLAN_WIRE_F16 &&
                   (int)COHORT_WIRE_I8 == (int)PLAN_WIRE_I8,
               "the library's and the plan's types on the wire have the same numbers");

void cohort_plan_set_wire(struct cohort_plan *plan, enum cohort_wire wire) {
    plan->plan->wire = (enum plan_wire)wire;
}

void cohort_plan_free(struct cohort_plan **plan) {
    if (*plan == NULL)
        return;
    plan_destroy(&(*plan)->plan);
    mem_free(*plan);
    *plan = NULL;
}

/* ---- boards ---------------------------------------------------------------------------------- */

enum cohort_code cohort_board_names(MPI_Comm world, char ***names, struct cohort_error *err) {
    struct comm *c = NULL;
    enum cohort_code code = COHORT_OK;
    char **list = NULL;
    TRY(comm_create(&c, world, &(struct comm_options){0}, err));
    size_t size = (size_t)comm_size(c), bytes = (size + 1) * sizeof *list;
    for (size_t r = 0; r < size; r++)
        bytes += strlen(comm_host(c, (int)r)) + 1;
    list = mem_zalloc(1, bytes);
    TRY(comm_agree(c, list != NULL ? COHORT_OK : error_memory(err, bytes, "the boards' names"),
                   err));
    char *at = (char *)(list + size + 1);
    for (size_t r = 0; r < size; r++) {
        list[r] = at;
        at = stpcpy(at, comm_host(c, (int)r)) + 1;
    }
    *names = list;
    list = NULL;
out:
    mem_free(list);
    comm_destroy(&c);
    return code;
}

enum cohort_code cohort_agree(MPI_Comm world, enum cohort_code code, struct cohort_error *err) {
    return comm_agree_over(world, code, err);
}

void cohort_names_free(char **names) {
    mem_free(names);
}

void cohort_text_free(char *text) {
    mem_free(text);
}
