/* cohort inspect: what a network consists of, as a table, JSON, or a drawing. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "graph/op.h"
#include "graph/rows.h"
#include "runtime/model.h"

#include <string.h>

/* One node's figures. */
struct node_figures {
    int64_t parameters;
    double mflop;
    double activation_mb;
    int64_t halo; /* input rows beyond those of a stride-sized share, for one output row; -1: all
                     rows */
};

static struct node_figures figures_of(const struct graph *g, const struct node *n) {
    struct node_figures f = {.mflop = node_flops(g, n) * 1e-6};
    for (int i = 0; i < n->in_count; i++) {
        const struct tensor *t = node_const(g, n, i);
        if (t != NULL && dtype_is_float(t->type))
            f.parameters += shape_count(&t->shape);
    }
    for (int i = 0; i < n->out_count; i++) {
        const struct value *v = node_out(g, n, i);
        if (v != NULL && shape_known(&v->shape))
            f.activation_mb +=
                (double)value_rows(v) * (double)value_geometry(v).row_bytes / (1024 * 1024);
    }
    for (int i = 0; i < n->in_count && n->rowmap != NULL; i++) {
        const struct rowmap *m = &n->rowmap[i];
        if (node_in(g, n, i) == NULL || node_in(g, n, i)->is_constant)
            continue;
        if (m->kind == ROWMAP_ALL && m->in_height > 1)
            f.halo = -1;
        else if (m->kind == ROWMAP_AFFINE && f.halo >= 0) {
            int64_t reach = (m->hi - m->lo) / m->den + 1 - (m->num + m->den - 1) / m->den;
            f.halo = reach > f.halo ? reach : f.halo;
        }
    }
    return f;
}

static struct node_figures total_of(const struct graph *g) {
    struct node_figures total = {0};
    for (int i = 0; i < g->node_count; i++) {
        struct node_figures f = figures_of(g, &g->nodes[i]);
        total.parameters += f.parameters;
        total.mflop += f.mflop;
        total.activation_mb += f.activation_mb;
    }
    return total;
}

static const char *const act_names[ACT_COUNT] = {
    "", "+relu", "+leaky", "+clip", "+sigmoid", "+tanh", "+hsigmoid", "+hswish", "+silu"};

static void print_table(const struct graph *g) {
    char shape[SHAPE_TEXT_BYTES], op[64], halo[16];
    printf("%s: opset %d, %d nodes\n", g->name, g->opset, g->node_count);
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        printf("input  %-24s %s %s\n", v->name, dtype_name(v->type),
               shape_text(&v->shape, shape, sizeof shape));
    }
    printf("\n%4s  %-24s %-26s %-18s %12s %10s %9s %5s\n", "no", "output", "operator", "shape",
           "parameters", "MFLOP", "MB", "halo");
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        const struct value *v = node_out(g, n, 0);
        struct node_figures f = figures_of(g, n);
        size_t length = strlen(v->name);
        snprintf(op, sizeof op, "%s%s%s", n->op->name, n->epilogue.residual >= 0 ? "+add" : "",
                 act_names[n->epilogue.act]);
        snprintf(halo, sizeof halo, f.halo < 0 ? "all" : "%lld", (long long)f.halo);
        printf("%4d  %-24s %-26s %-18s %12lld %10.2f %9.3f %5s\n", i,
               length > 24 ? v->name + length - 24 : v->name, op,
               shape_text(&v->shape, shape, sizeof shape), (long long)f.parameters, f.mflop,
               f.activation_mb, halo);
    }
    struct node_figures t = total_of(g);
    printf("%4s  %-24s %-26s %-18s %12lld %10.2f %9.3f\n\n", "", "total", "", "",
           (long long)t.parameters, t.mflop, t.activation_mb);
    for (int i = 0; i < g->output_count; i++) {
        const struct value *v = graph_value(g, g->outputs[i]);
        printf("output %-24s %s %s\n", v->name, dtype_name(v->type),
               shape_text(&v->shape, shape, sizeof shape));
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static cJSON *shape_json(const struct shape *s) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < s->rank; i++)
        json_append(list,
                    s->dim[i] < 0 ? cJSON_CreateNull() : cJSON_CreateNumber((double)s->dim[i]));
    return list;
}

static void add_ports(cJSON *root, const char *key, const struct graph *g, const int *ids,
                      int count) {
    cJSON *list = cJSON_AddArrayToObject(root, key);
    for (int i = 0; i < count; i++) {
        const struct value *v = graph_value(g, ids[i]);
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", v->name);
        cJSON_AddStringToObject(o, "type", dtype_name(v->type));
        json_put(o, "shape", shape_json(&v->shape));
        json_append(list, o);
    }
}

static void add_figures(cJSON *o, const struct node_figures *f) {
    cJSON_AddNumberToObject(o, "parameters", (double)f->parameters);
    cJSON_AddNumberToObject(o, "mflop", f->mflop);
    cJSON_AddNumberToObject(o, "activation_mb", f->activation_mb);
}

static enum cohort_code print_json(const struct graph *g, struct cohort_error *err) {
    cJSON *root = cJSON_CreateObject();
    char *text = NULL, signature[33];
    enum cohort_code code = COHORT_OK;
    TRY(graph_signature(g, signature, err));
    cJSON_AddStringToObject(root, "format", "cohort-inspect");
    cJSON_AddNumberToObject(root, "version", 1);
    cJSON_AddStringToObject(root, "network", g->name);
    cJSON_AddStringToObject(root, "signature", signature);
    cJSON_AddNumberToObject(root, "opset", g->opset);
    add_ports(root, "inputs", g, g->inputs, g->input_count);
    add_ports(root, "outputs", g, g->outputs, g->output_count);
    cJSON *nodes = cJSON_AddArrayToObject(root, "nodes");
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        struct node_figures f = figures_of(g, n);
        cJSON *o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "number", i);
        cJSON_AddStringToObject(o, "name", n->name);
        cJSON_AddStringToObject(o, "operator", n->op->name);
        cJSON_AddStringToObject(o, "output", node_out(g, n, 0)->name);
        json_put(o, "shape", shape_json(&node_out(g, n, 0)->shape));
        add_figures(o, &f);
        json_put(o, "halo_rows",
                 f.halo < 0 ? cJSON_CreateString("all") : cJSON_CreateNumber((double)f.halo));
        json_append(nodes, o);
    }
    struct node_figures t = total_of(g);
    add_figures(cJSON_AddObjectToObject(root, "total"), &t);
    TRY(json_print(&text, NULL, root, err));
    fputs(text, stdout);
out:
    mem_free(text);
    cJSON_Delete(root);
    return code;
}

/* ---- Graphviz -------------------------------------------------------------------------------- */

static void print_quoted(const char *text) {
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void print_dot(const struct graph *g) {
    char shape[SHAPE_TEXT_BYTES], label[SHAPE_TEXT_BYTES + 128];
    printf("digraph network {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n");
    for (int i = 0; i < g->input_count; i++) {
        printf("  v%d [shape=ellipse, label=", g->inputs[i]);
        print_quoted(graph_value(g, g->inputs[i])->name);
        printf("];\n");
    }
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        snprintf(label, sizeof label, "%d %s%s  %s", i, n->op->name, act_names[n->epilogue.act],
                 shape_text(&node_out(g, n, 0)->shape, shape, sizeof shape));
        printf("  n%d [label=", i);
        print_quoted(label);
        printf("];\n");
        for (int k = 0; k < n->in_count; k++) {
            const struct value *v = node_in(g, n, k);
            if (v == NULL || v->is_constant)
                continue;
            if (v->producer >= 0)
                printf("  n%d -> n%d;\n", v->producer, i);
            else
                printf("  v%d -> n%d;\n", n->in[k], i);
        }
    }
    printf("}\n");
}

int cmd_inspect(const struct cli_command *self, int argc, char **argv) {
    struct cli_options o;
    struct cohort_error err = {0};
    struct cohort_model *model = NULL;
    const char *name = NULL;
    bool dot = false;
    int count, status;
    cli_options_init(&o);
    const struct option_spec specs[] = {
        {"json", 0, OPTION_FLAG, &o.json, NULL, "one JSON document", 0, 0},
        {"dot", 0, OPTION_FLAG, &dot, NULL, "a drawing for Graphviz", 0, 0},
        CLI_MODEL_OPTIONS(o),
        CLI_COMMON_OPTIONS(o),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &o.help, argc, argv, &name, 1, &count, &status))
        return status;
    if (count != 1 || (o.json && dot)) {
        error_set(&err, COHORT_ERR_USAGE,
                  count != 1 ? "no network was named: %s" : "--json or --dot, not both: %s",
                  self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = cli_open_model(&model, name, &o, &err);
    if (code == COHORT_OK) {
        const struct graph *g = cohort_model_graph(model);
        if (o.json)
            code = print_json(g, &err);
        else if (dot)
            print_dot(g);
        else
            print_table(g);
    }
    cohort_model_free(&model);
    return code == COHORT_OK ? 0 : cli_fail(&err);
}
