/* What no kernel takes: the operator's reference evaluator, on plain tensors.
 *
 * Three cases.  All rows are wanted: the evaluator runs from slots into slots.  Some rows of a
 * row-wise operator: it runs on tensors cut to those rows (same rank, so axes keep their meaning).
 * Some rows of any other operator: it computes everything into a tensor of its own, and the rows
 * are copied into the slots.  Values whose shape depends on data get their memory here, at run
 * time. */
#include "exec/lower.h"

#include <string.h>

struct reference_state {
    struct tensor *aligned; /* one per input: an aligned copy of a constant, or empty */
    const struct tensor **in;
    struct tensor *in_cut; /* one per input: the rows that are wanted */
    struct tensor **out;
    struct tensor *out_cut;  /* one per output */
    struct tensor *inferred; /* one per output */
    bool dynamic;            /* an output's shape depends on data */
    bool row_wise;           /* every input that is no constant needs just the output's rows */
};

static bool accept_all(const struct graph *g, const struct node *n) {
    (void)g;
    (void)n;
    return true;
}

/* A constant that differs along rows cannot be cut with them. */
static bool constant_is_row_wise(const struct node *n, int i, const struct tensor *t) {
    bool along_rows =
        (n->op->flags & OP_BINARY) != 0 || (strcmp(n->op->name, "Gemm") == 0 && i == 2);
    return !along_rows || t->shape.rank < 2 || shape_product(&t->shape, 0, t->shape.rank - 1) == 1;
}

static bool is_row_wise(const struct graph *g, const struct node *n) {
    for (int i = 0; i < n->in_count; i++) {
        const struct value *v = node_in(g, n, i);
        if (v != NULL && v->is_constant && !constant_is_row_wise(n, i, &v->constant))
            return false;
        if (v == NULL || v->is_constant)
            continue;
        const struct rowmap *m = n->rowmap != NULL ? &n->rowmap[i] : NULL;
        if (m == NULL || m->kind != ROWMAP_AFFINE || m->num != 1 || m->den != 1 || m->lo != 0 ||
            m->hi != 0)
            return false;
    }
    return true;
}

static enum cohort_code bind_reference(struct program *p, struct bound *b,
                                       struct cohort_error *err) {
    const struct node *n = b->node;
    const struct graph *g = p->graph;
    enum cohort_code code = COHORT_OK;
    TRY(bound_state(b, sizeof(struct reference_state), err));
    struct reference_state *s = b->state;
    b->kernel = "reference";
    s->aligned = mem_zalloc((size_t)n->in_count, sizeof *s->aligned);
    s->in = mem_zalloc((size_t)n->in_count, sizeof *s->in);
    s->in_cut = mem_zalloc((size_t)n->in_count, sizeof *s->in_cut);
    s->out = mem_zalloc((size_t)n->out_count, sizeof *s->out);
    s->out_cut = mem_zalloc((size_t)n->out_count, sizeof *s->out_cut);
    s->inferred = mem_zalloc((size_t)n->out_count, sizeof *s->inferred);
    if (s->aligned == NULL || s->in == NULL || s->in_cut == NULL || s->out == NULL ||
        s->out_cut == NULL || s->inferred == NULL) {
        code = error_memory(err, 64, "an operator's state");
        goto out;
    }
    for (int i = 0; i < n->out_count; i++) {
        const struct value *v = node_out(g, n, i);
        if (v != NULL && v->form == FORM_MAP) {
            code = error_set(err, COHORT_ERR_INTERNAL, "no kernel computes it on feature maps");
            goto out;
        }
        if (v != NULL && !shape_known(&v->shape))
            s->dynamic = true;
    }
    for (int i = 0; i < n->in_count; i++) {
        const struct tensor *t = node_const(g, n, i);
        if (t != NULL && !tensor_aligned(t))
            TRY(tensor_copy(&s->aligned[i], t, err));
    }
    s->row_wise = !s->dynamic && is_row_wise(g, n);
out:
    return code;
}

static void unbind_reference(struct bound *b) {
    struct reference_state *s = b->state;
    for (int i = 0; s->aligned != NULL && i < b->node->in_count; i++)
        tensor_release(&s->aligned[i]);
    mem_free(s->aligned);
    mem_free(s->in);
    mem_free(s->in_cut);
    mem_free(s->out);
    mem_free(s->out_cut);
    mem_free(s->inferred);
}

/* Fills in s->in with whole tensors. */
static void gather_inputs(struct program *p, const struct exec_op *op) {
    struct reference_state *s = op->bound->state;
    const struct node *n = op->bound->node;
    for (int i = 0; i < n->in_count; i++) {
        const struct tensor *constant = node_const(p->graph, n, i);
        if (n->in[i] < 0)
            s->in[i] = NULL;
        else if (constant != NULL)
            s->in[i] = s->aligned[i].data != NULL ? &s->aligned[i] : constant;
        else {
            BUG_UNLESS(op->in_slots[i] >= 0);
            s->in[i] = &p->slots[op->in_slots[i]].tensor;
        }
    }
}

/* A tensor over rows `rows` of a slot: the last dim and the one before it are rows and features. */
static struct tensor cut_rows(const struct program *p, int slot, struct rows rows) {
    const struct slot *s = &p->slots[slot];
    const struct value *v = graph_value(p->graph, s->value);
    size_t row_bytes = value_geometry(v).row_bytes;
    struct tensor t = {.type = v->type, .shape = v->shape};
    for (int i = 0; i + 1 < t.shape.rank; i++)
        t.shape.dim[i] = 1;
    if (t.shape.rank >= 2)
        t.shape.dim[t.shape.rank - 2] = rows_count(rows);
    t.data = s->data + (size_t)(rows.begin - s->rows.begin) * row_bytes;
    return t;
}

static enum cohort_code evaluate(const struct node *n, struct reference_state *s,
                                 struct cohort_error *err) {
    struct node copy = *n; /* infer() may set the window for these very shapes */
    enum cohort_code code = op_infer(&copy, s->in, s->inferred, err);
    return code != COHORT_OK ? code : op_eval(&copy, s->in, s->out, err);
}

static enum cohort_code run_some_rows(struct program *p, const struct exec_op *op,
                                      struct cohort_error *err) {
    struct reference_state *s = op->bound->state;
    const struct node *n = op->bound->node;
    gather_inputs(p, op);
    for (int i = 0; i < n->in_count; i++)
        if (s->in[i] != NULL && node_const(p->graph, n, i) == NULL) {
            s->in_cut[i] = cut_rows(p, op->in_slots[i], op->out);
            s->in[i] = &s->in_cut[i];
        }
    for (int i = 0; i < n->out_count; i++) {
        s->out_cut[i] = cut_rows(p, op->out_slots[i], op->out);
        s->out[i] = &s->out_cut[i];
    }
    return evaluate(n, s, err);
}

/* Everything, into tensors of its own; then the wanted rows (or, for values of unknown shape, all
 * of it) move into the slots. */
static enum cohort_code run_apart(struct program *p, const struct exec_op *op,
                                  struct cohort_error *err) {
    struct reference_state *s = op->bound->state;
    struct node copy = *op->bound->node;
    enum cohort_code code = COHORT_OK;
    int made = 0;
    gather_inputs(p, op);
    if (op_makes(&copy)) {
        TRY(op_make(&copy, s->in, s->out_cut, err));
        made = copy.out_count;
    } else {
        TRY(op_infer(&copy, s->in, s->inferred, err));
        for (; made < copy.out_count; made++) {
            TRY(tensor_init(&s->out_cut[made], s->inferred[made].type, &s->inferred[made].shape,
                            err));
            s->out[made] = &s->out_cut[made];
        }
        TRY(op_eval(&copy, s->in, s->out, err));
    }
    for (int i = 0; i < copy.out_count; i++) {
        if (copy.out[i] < 0 || op->out_slots[i] < 0)
            continue;
        struct slot *slot = &p->slots[op->out_slots[i]];
        if (slot->dynamic) {
            tensor_release(&slot->tensor);
            slot->tensor = s->out_cut[i];
            s->out_cut[i] = (struct tensor){0};
            continue;
        }
        const struct value *v = graph_value(p->graph, slot->value);
        size_t row = value_geometry(v).row_bytes;
        if (s->out_cut[i].type != v->type || !shape_equal(&s->out_cut[i].shape, &v->shape))
            TRY(error_set(err, COHORT_ERR_INTERNAL, "output %d changed its shape", i));
        if (slot->bytes > 0)
            memcpy(slot->data, (const char *)s->out_cut[i].data + (size_t)slot->rows.begin * row,
                   slot->bytes);
    }
out:
    for (int i = 0; i < made; i++)
        tensor_release(&s->out_cut[i]);
    return code;
}

static enum cohort_code run_whole(struct program *p, const struct exec_op *op,
                                  struct cohort_error *err) {
    struct reference_state *s = op->bound->state;
    const struct node *n = op->bound->node;
    gather_inputs(p, op);
    for (int i = 0; i < n->out_count; i++)
        s->out[i] = &p->slots[op->out_slots[i]].tensor;
    return evaluate(n, s, err);
}

static bool slots_are_there(const struct exec_op *op) {
    for (int i = 0; i < op->bound->node->out_count; i++)
        if (op->out_slots[i] < 0)
            return false;
    return true;
}

static bool slots_are_whole(const struct program *p, const struct exec_op *op) {
    for (int i = 0; i < op->bound->node->out_count; i++) {
        const struct slot *s = &p->slots[op->out_slots[i]];
        if (rows_count(s->rows) != value_rows(graph_value(p->graph, s->value)))
            return false;
    }
    return true;
}

static enum cohort_code run_reference(struct program *p, const struct exec_op *op,
                                      struct cohort_error *err) {
    const struct reference_state *s = op->bound->state;
    if (s->dynamic || !slots_are_there(op) || op_makes(op->bound->node))
        return run_apart(p, op, err);
    int64_t rows = value_rows(node_out(p->graph, op->bound->node, 0));
    if (rows_count(op->out) == rows && slots_are_whole(p, op))
        return run_whole(p, op, err);
    return s->row_wise ? run_some_rows(p, op, err) : run_apart(p, op, err);
}

const struct lowering lowering_reference[] = {
    {NULL, accept_all, bind_reference, unbind_reference, BY_ITSELF(run_reference)},
};
