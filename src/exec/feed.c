/* Binding operators while their constants come in, so that a board holds each weight once.
 *
 * An operator is bound as soon as all of its constants are there; weights of a convolution or a
 * product are packed some rows at a time while they arrive, into the place where they stay. */
#include "exec/lower.h"

#include <string.h>

static bool has_data(const struct value *v) {
    return !v->is_constant || v->constant.data != NULL || tensor_bytes(&v->constant) == 0;
}

/* Has the node all constants, but for input `but`? */
static bool has_constants(const struct graph *g, const struct node *n, int but) {
    if (n->weight_scale >= 0 && !has_data(graph_value(g, n->weight_scale)))
        return false;
    for (int k = 0; k < n->in_count; k++)
        if (k != but && n->in[k] >= 0 && !has_data(graph_value(g, n->in[k])))
            return false;
    return true;
}

static bool reads(const struct node *n, int id) {
    bool does = n->weight_scale == id;
    for (int k = 0; k < n->in_count; k++)
        does = does || n->in[k] == id;
    return does;
}

enum cohort_code exec_bind(struct program *p, struct cohort_error *err) {
    enum cohort_code code = packing_begins(p, err);
    for (int i = 0; i < p->op_count && code == COHORT_OK; i++)
        if (p->ops[i].bound->how == NULL &&
            has_constants(p->graph, &p->graph->nodes[p->ops[i].node], -1))
            code = op_bind(p, i, err);
    return code;
}

/* The first operator of the only node that reads this constant, and as its weights; -1: none. */
static int op_reading(const struct program *p, int id) {
    int found = -1;
    for (int i = 0; i < p->op_count; i++) {
        const struct node *n = &p->graph->nodes[p->ops[i].node];
        if (!reads(n, id) || (found >= 0 && p->ops[found].node == p->ops[i].node))
            continue;
        if (found >= 0)
            return -1;
        found = i;
    }
    if (found < 0)
        return -1;
    const struct node *n = &p->graph->nodes[p->ops[found].node];
    int times = n->weight_scale == id;
    for (int k = 0; k < n->in_count; k++)
        times += n->in[k] == id;
    return times == 1 && n->in_count > 1 && n->in[1] == id ? found : -1;
}

bool exec_takes_pieces(const struct program *p, int id) {
    const int op = op_reading(p, id);
    if (op < 0 || p->ops[op].bound->how != NULL || p->options.zero_weights)
        return false;
    const struct node *n = &p->graph->nodes[p->ops[op].node];
    const struct lowering_pieces *pieces = lowering_find(p->graph, n)->pieces;
    return pieces != NULL && pieces->can(p, n) && has_constants(p->graph, n, 1);
}

enum cohort_code exec_take_piece(struct program *p, int id, int64_t begin,
                                 const struct tensor *part, struct cohort_error *err) {
    const int64_t rows = graph_value(p->graph, id)->shape.dim[0], count = part->shape.dim[0];
    const int op = op_reading(p, id);
    enum cohort_code code = COHORT_OK;
    BUG_UNLESS(op >= 0);
    struct bound *b = p->ops[op].bound;
    if (b->how == NULL) {
        b->in_pieces = true;
        b->awaited = rows;
        TRY(packing_begins(p, err));
        TRY(op_bind(p, op, err));
    }
    BUG_UNLESS(b->in_pieces && begin == rows - b->awaited && count <= b->awaited &&
               begin % EXEC_PIECE_ROWS == 0);
    code = b->how->pieces->pack(p, b, part, begin, err);
    if (code != COHORT_OK)
        error_wrap(err, "node '%s' (%s)", b->node->name, b->node->op->name);
    b->awaited -= count;
out:
    return code;
}

bool exec_done_with(const struct program *p, int id) {
    for (int i = 0; i < p->op_count; i++) {
        const struct bound *b = p->ops[i].bound;
        if (!reads(&p->graph->nodes[p->ops[i].node], id))
            continue;
        if (b->how == NULL || b->how == lowering_reference || b->awaited > 0)
            return false;
    }
    return true;
}
