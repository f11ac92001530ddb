/* Groups: the text of --groups, and those that a plan has without it. */
#include "planner/plan_parts.h"

#include "base/mem.h"
#include "base/options.h"
#include "graph/op.h"

#include <stdlib.h>
#include <string.h>

/* ---- "0-4,5-9,10-" --------------------------------------------------------------------------- */

#define NODE_DIGITS_MAX 9

struct range {
    int first, last; /* last -1: open */
};

/* "7", "5-9" or "10-". */
static bool read_range(const char *text, const char *end, struct range *r) {
    int number[2] = {0, -1};
    int part = 0, digits = 0;
    for (; text < end; text++) {
        if (*text == '-') {
            if (part == 1 || digits == 0)
                return false;
            part = 1;
            digits = 0;
            continue;
        }
        if (*text < '0' || *text > '9' || ++digits > NODE_DIGITS_MAX)
            return false;
        number[part] = (number[part] < 0 ? 0 : number[part]) * 10 + (*text - '0');
    }
    r->first = number[0];
    r->last = part == 0 ? number[0] : number[1];
    return part == 1 || digits > 0;
}

/* Are all parts ranges?  Then the text is about numbers; else about names. */
static bool all_ranges(const char *text) {
    for (;; text++) {
        const char *end = text + strcspn(text, ",");
        struct range r;
        if (!read_range(text, end, &r))
            return false;
        if (*end == '\0')
            return true;
        text = end;
    }
}

/* Part [text, end) of --groups, after groups that cover nodes [0, next): *next moves on. */
static enum cohort_code add_range(const struct graph *g, const char *text, const char *end,
                                  int *next, struct cohort_error *err) {
    const int length = (int)(end - text), nodes = g->node_count;
    struct range r = {0, 0};
    if (!read_range(text, end, &r))
        BUG("all_ranges() was true");
    if (r.first >= nodes || r.last >= nodes)
        return error_set(err, COHORT_ERR_USAGE, "--groups: '%.*s': the network's last node is %d",
                         length, text, nodes - 1);
    if (r.last < 0 && *end != '\0')
        return error_set(err, COHORT_ERR_USAGE,
                         "--groups: '%.*s' goes to the end, but '%.60s' follows", length, text,
                         end + 1);
    if (r.last >= 0 && r.last < r.first)
        return error_set(err, COHORT_ERR_USAGE, "--groups: '%.*s' ends before it begins", length,
                         text);
    if (r.first > *next)
        return error_set(err, COHORT_ERR_USAGE, "--groups: node %d is in no group (before '%.*s')",
                         *next, length, text);
    if (r.first < *next)
        return error_set(err, COHORT_ERR_USAGE,
                         "--groups: '%.*s' begins at node %d, but the groups before go to node %d",
                         length, text, r.first, *next - 1);
    *next = r.last < 0 ? nodes : r.last + 1;
    if (*end == '\0' && *next != nodes)
        return error_set(err, COHORT_ERR_USAGE,
                         "--groups: nodes %d to %d are in no group ('%d-' takes the rest)", *next,
                         nodes - 1, *next);
    return COHORT_OK;
}

/* ---- "pool1,pool2" --------------------------------------------------------------------------- */

static enum cohort_code unknown_tensor(const struct graph *g, const char *name,
                                       struct cohort_error *err) {
    const char **names = mem_alloc((size_t)g->value_count * sizeof *names);
    if (names == NULL)
        return error_memory(err, (size_t)g->value_count * sizeof *names, "names of tensors");
    size_t count = 0;
    for (int i = 0; i < g->value_count; i++)
        if (g->values[i].producer >= 0)
            names[count++] = g->values[i].name;
    const char *closest = closest_name(name, names, count);
    mem_free(names);
    if (closest != NULL)
        return error_set(err, COHORT_ERR_USAGE,
                         "--groups: no operator makes a tensor '%s': did you mean %s?", name,
                         closest);
    return error_set(err, COHORT_ERR_USAGE,
                     "--groups: no operator makes a tensor '%s' (cohort inspect lists them)", name);
}

static enum cohort_code add_name(const struct graph *g, const char *name, int *next,
                                 struct cohort_error *err) {
    if (name[0] == '\0')
        return error_set(err, COHORT_ERR_USAGE, "--groups: a group's name is missing");
    const int id = graph_find_value(g, name);
    if (id >= 0 && (graph_value(g, id)->is_constant || graph_value(g, id)->producer < 0)) {
        for (int i = 0; i < g->input_count; i++)
            if (g->inputs[i] == id)
                return error_set(err, COHORT_ERR_USAGE,
                                 "--groups: '%s' is an input of the network: name the tensor that "
                                 "a group ends with",
                                 name);
        return error_set(err, COHORT_ERR_USAGE,
                         "--groups: no operator makes '%s' by itself: it is a constant, or was "
                         "fused into the operator that follows (cohort inspect lists what is "
                         "left)",
                         name);
    }
    if (id < 0)
        return unknown_tensor(g, name, err);
    const int end = graph_value(g, id)->producer + 1;
    if (end <= *next)
        return error_set(err, COHORT_ERR_USAGE,
                         "--groups: '%s' is in a group before it (names go in the network's order, "
                         "each once)",
                         name);
    *next = end;
    return COHORT_OK;
}

/* ---- both ------------------------------------------------------------------------------------ */

static enum cohort_code add_part(const struct graph *g, bool ranges, const char *text,
                                 const char *end, int *next, struct cohort_error *err) {
    if (ranges)
        return add_range(g, text, end, next, err);
    char *name = mem_strndup(text, (size_t)(end - text));
    if (name == NULL)
        return error_memory(err, (size_t)(end - text), "a tensor's name");
    const enum cohort_code code = add_name(g, name, next, err);
    mem_free(name);
    return code;
}

enum cohort_code plan_parse_groups(const char *text, const struct graph *g, int **ends, int *count,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const bool ranges = all_ranges(text);
    int *list = NULL, n = 0, next = 0;
    size_t capacity = 0;
    for (;; text++) {
        const char *end = text + strcspn(text, ",");
        TRY(add_part(g, ranges, text, end, &next, err));
        if (!MEM_GROW(list, capacity, (size_t)n + 1)) {
            code = error_memory(err, capacity * sizeof *list, "groups");
            goto out;
        }
        list[n++] = next;
        if (*end == '\0')
            break;
        text = end;
    }
    if (next < g->node_count) /* by name: what is left is one more */
        list[n++] = g->node_count;
    *ends = list;
    *count = n;
    list = NULL;
out:
    mem_free(list);
    return code;
}

/* ---- what can be divided by rows ------------------------------------------------------------- */

static bool has_rows(const struct value *v) {
    return v->form == FORM_MAP && shape_known(&v->shape) && value_rows(v) >= 2;
}

static bool needs_all(const struct graph *g, const struct node *n, int i) {
    const struct value *v = node_in(g, n, i);
    if (v == NULL || v->is_constant)
        return false;
    if (!shape_known(&v->shape))
        return true;
    return (n->rowmap == NULL || n->rowmap[i].kind == ROWMAP_ALL) && value_geometry(v).height > 1;
}

void plan_find_wide(const struct graph *g, bool *wide) {
    for (int k = 0; k < g->node_count; k++) {
        const struct node *n = &g->nodes[k];
        wide[k] = n->out_count > 0;
        for (int i = 0; i < n->out_count; i++)
            wide[k] = wide[k] && (n->out[i] < 0 || has_rows(node_out(g, n, i)));
        for (int i = 0; i < n->in_count; i++)
            wide[k] = wide[k] && !needs_all(g, n, i);
    }
}
