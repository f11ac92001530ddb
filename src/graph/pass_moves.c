/* Chains of Reshape and Transpose that are one known move of channels: a channel shuffle,
 * SpaceToDepth (YOLO's reorg), DepthToSpace, or nothing at all.
 *
 * Any such chain only permutes "atoms", factors of the input's dims.  A chain is followed on paper:
 * a tensor is its atoms in row-major order, each with its length and its stride in the input; a
 * Reshape changes nothing, a Transpose splits atoms at its axes and reorders them.  Two chains do
 * the same when their atoms, merged where they can be, are equal.  So whatever way an exporter
 * found to write it, the comparison is exact. */
#include "graph/pass_recognise.h"

#include "base/mem.h"

#include <string.h>

#define ATOMS_MAX 24
#define CHAIN_MAX 8

struct atom {
    int64_t length, stride;
};
struct atoms {
    struct atom atom[ATOMS_MAX];
    int count;
    bool failed; /* axes that do not divide the atoms, or too many */
};

static struct atoms atoms_of(int64_t elements) {
    return (struct atoms){.atom = {{elements, 1}}, .count = 1};
}

static void atoms_add(struct atoms *a, int64_t length, int64_t stride) {
    if (length == 1)
        return;
    if (a->count > 0 && a->atom[a->count - 1].stride == length * stride) { /* merges */
        a->atom[a->count - 1].length *= length;
        a->atom[a->count - 1].stride = stride;
    } else if (a->count == ATOMS_MAX) {
        a->failed = true;
    } else {
        a->atom[a->count++] = (struct atom){length, stride};
    }
}

/* Reorders the axes (lengths dim[]) of a tensor made of these atoms. */
static struct atoms atoms_transpose(const struct atoms *a, const int64_t *dim, int rank,
                                    const int64_t *perm) {
    struct atom piece[ATOMS_MAX];
    int first[RANK_MAX + 1], pieces = 0, at = 0;
    struct atoms out = {.failed = a->failed};
    struct atom rest = a->count > 0 ? a->atom[0] : (struct atom){1, 1};
    for (int axis = 0; axis < rank && !out.failed; axis++) {
        int64_t need = dim[axis];
        first[axis] = pieces;
        while (need > 1 && !out.failed) {
            if (rest.length == 1 && at + 1 < a->count)
                rest = a->atom[++at];
            int64_t take = rest.length <= need ? rest.length : need; /* of its outer part */
            if (take == 1 || rest.length % take != 0 || need % take != 0 || pieces == ATOMS_MAX) {
                out.failed = true;
                break;
            }
            rest.length /= take;
            piece[pieces++] = (struct atom){take, rest.length * rest.stride};
            need /= take;
        }
    }
    first[rank] = pieces;
    for (int i = 0; i < rank && !out.failed; i++)
        for (int k = first[perm[i]]; k < first[perm[i] + 1]; k++)
            atoms_add(&out, piece[k].length, piece[k].stride);
    return out;
}

static bool atoms_equal(const struct atoms *a, const struct atoms *b) {
    if (a->failed || b->failed || a->count != b->count)
        return false;
    for (int i = 0; i < a->count; i++)
        if (a->atom[i].length != b->atom[i].length || a->atom[i].stride != b->atom[i].stride)
            return false;
    return true;
}

/* ---- the chain ------------------------------------------------------------------------------- */

static bool is_move(const struct graph *g, const struct node *n) {
    const struct value *in = node_in(g, n, 0), *out = node_out(g, n, 0);
    return (node_is(n, "Reshape") || node_is(n, "Flatten") || node_is(n, "Squeeze") ||
            node_is(n, "Unsqueeze") || node_is(n, "Transpose")) &&
           in != NULL && !in->is_constant && out != NULL && shape_count(&in->shape) > 0 &&
           shape_known(&out->shape);
}

static struct atoms follow(const struct graph *g, const struct node *n, const struct atoms *a) {
    if (!node_is(n, "Transpose"))
        return *a;
    const struct shape *s = &node_in(g, n, 0)->shape;
    int64_t perm[INTS_MAX];
    int count = 0;
    if (!const_ints(g, n, "perm", -1, perm, &count)) {
        count = s->rank;
        for (int i = 0; i < count; i++)
            perm[i] = count - 1 - i;
    }
    return atoms_transpose(a, s->dim, s->rank, perm);
}

/* What the chain of `length` nodes that ends in `last` does to value *x, its input. */
static struct atoms follow_chain(const struct graph *g, const struct node *last, int length,
                                 int *x) {
    const struct node *chain[CHAIN_MAX];
    chain[length - 1] = last;
    for (int i = length - 2; i >= 0; i--)
        chain[i] = producer_named(g, chain[i + 1]->in[0], NULL);
    *x = chain[0]->in[0];
    struct atoms a = atoms_of(shape_count(&graph_value(g, *x)->shape));
    for (int i = 0; i < length; i++)
        a = follow(g, chain[i], &a);
    return a;
}

/* ---- what it may be -------------------------------------------------------------------------- */

enum move_kind { MOVE_NONE, MOVE_SHUFFLE, MOVE_TO_DEPTH, MOVE_TO_DEPTH_CRD, MOVE_TO_SPACE };

struct move {
    enum move_kind kind;
    int64_t block; /* groups of a shuffle, side of a block otherwise */
    bool crd;      /* DepthToSpace's mode */
};

static struct atoms reference(int64_t elements, int rank, const int64_t *dim, const int64_t *perm) {
    struct atoms a = atoms_of(elements);
    return atoms_transpose(&a, dim, rank, perm);
}

/* x [N,C,…] and y of the same shape: groups of channels shuffled. */
static bool match_shuffle(const struct shape *x, const struct shape *y, const struct atoms *a,
                          struct move *m) {
    if (x->rank < 3 || !shape_equal(x, y))
        return false;
    int64_t c = x->dim[1], area = shape_product(x, 2, x->rank);
    for (int64_t groups = 2; groups < c; groups++) {
        if (c % groups != 0)
            continue;
        struct atoms want =
            reference(shape_count(x), 4, (int64_t[]){x->dim[0], groups, c / groups, area},
                      (int64_t[]){0, 2, 1, 3});
        if (atoms_equal(a, &want)) {
            *m = (struct move){MOVE_SHUFFLE, groups, false};
            return true;
        }
    }
    return false;
}

/* x [N,C,H,W] to y [N,C*b*b,H/b,W/b]. */
static bool match_to_depth(const struct shape *x, const struct shape *y, const struct atoms *a,
                           struct move *m) {
    int64_t b = y->dim[2] > 0 ? x->dim[2] / y->dim[2] : 0, c = x->dim[1];
    if (b < 2 || y->dim[2] * b != x->dim[2] || y->dim[3] * b != x->dim[3] || y->dim[1] != c * b * b)
        return false;
    const int64_t dim[6] = {x->dim[0], c, y->dim[2], b, y->dim[3], b};
    struct atoms dcr = reference(shape_count(x), 6, dim, (int64_t[]){0, 3, 5, 1, 2, 4});
    struct atoms crd = reference(shape_count(x), 6, dim, (int64_t[]){0, 1, 3, 5, 2, 4});
    if (!atoms_equal(a, &dcr) && !atoms_equal(a, &crd))
        return false;
    *m = (struct move){atoms_equal(a, &dcr) ? MOVE_TO_DEPTH : MOVE_TO_DEPTH_CRD, b, false};
    return true;
}

/* x [N,C*b*b,H,W] to y [N,C,H*b,W*b]. */
static bool match_to_space(const struct shape *x, const struct shape *y, const struct atoms *a,
                           struct move *m) {
    int64_t b = x->dim[2] > 0 ? y->dim[2] / x->dim[2] : 0, c = y->dim[1];
    if (b < 2 || x->dim[2] * b != y->dim[2] || x->dim[3] * b != y->dim[3] || x->dim[1] != c * b * b)
        return false;
    struct atoms dcr =
        reference(shape_count(x), 6, (int64_t[]){x->dim[0], b, b, c, x->dim[2], x->dim[3]},
                  (int64_t[]){0, 3, 4, 1, 5, 2});
    struct atoms crd =
        reference(shape_count(x), 6, (int64_t[]){x->dim[0], c, b, b, x->dim[2], x->dim[3]},
                  (int64_t[]){0, 1, 4, 2, 5, 3});
    if (!atoms_equal(a, &dcr) && !atoms_equal(a, &crd))
        return false;
    *m = (struct move){MOVE_TO_SPACE, b, !atoms_equal(a, &dcr)};
    return true;
}

static struct move identify(const struct shape *x, const struct shape *y, const struct atoms *a) {
    struct move m = {MOVE_NONE, 0, false};
    if (x->rank != y->rank || x->rank < 3 || x->dim[0] != y->dim[0] || a->failed ||
        match_shuffle(x, y, a, &m))
        return m;
    if (x->rank == 4 && !match_to_depth(x, y, a, &m))
        match_to_space(x, y, a, &m);
    return m;
}

/* ---- rewriting ------------------------------------------------------------------------------- */

static enum cohort_code become_shuffle(struct graph *g, struct node *n, int x, int64_t groups,
                                       bool *done, struct cohort_error *err) {
    enum cohort_code code = node_become(g, n, "cohort", "ChannelShuffle", 1, &x, 1, done, err);
    return code == COHORT_OK && *done ? node_set_int(n, "group", groups, err) : code;
}

/* Channels in the order (c, block row, block column): SpaceToDepth gives (block row, block column,
 * c), so a shuffle of block^2 groups follows. */
static enum cohort_code become_to_depth_crd(struct graph *g, int index, int x, int64_t block,
                                            bool *done, struct cohort_error *err) {
    const struct op_desc *op = op_find("", "SpaceToDepth", 13);
    int out = g->nodes[index].out[0], inner = -1;
    if (op == NULL || op_find("cohort", "ChannelShuffle", 1) == NULL)
        return COHORT_OK;
    struct node *first = NULL;
    char *name = fresh_name(g, graph_value(g, out)->name, ".blocks");
    enum cohort_code code =
        name == NULL ? error_memory(err, 64, "a name") : graph_add_value(g, name, &inner, err);
    mem_free(name);
    if (code != COHORT_OK)
        return code;
    graph_value(g, inner)->type = graph_value(g, out)->type;
    graph_value(g, inner)->shape = graph_value(g, out)->shape;
    code = graph_add_node(g, index, graph_value(g, inner)->name, op, &x, 1, &inner, 1, NULL, 0,
                          &first, err);
    if (code != COHORT_OK)
        return code;
    first->opset = 13;
    code = node_set_int(first, "blocksize", block, err);
    if (code == COHORT_OK)
        code = become_shuffle(g, &g->nodes[index + 1], inner, block * block, done, err);
    return code;
}

static enum cohort_code rewrite(struct graph *g, int index, int x, struct move m, bool *done,
                                struct cohort_error *err) {
    struct node *n = &g->nodes[index];
    enum cohort_code code = COHORT_OK;
    switch (m.kind) {
    case MOVE_NONE:
        break;
    case MOVE_SHUFFLE:
        return become_shuffle(g, n, x, m.block, done, err);
    case MOVE_TO_DEPTH_CRD:
        return become_to_depth_crd(g, index, x, m.block, done, err);
    case MOVE_TO_DEPTH:
        TRY(node_become(g, n, "", "SpaceToDepth", 13, &x, 1, done, err));
        if (*done)
            TRY(node_set_int(n, "blocksize", m.block, err));
        break;
    case MOVE_TO_SPACE:
        TRY(node_become(g, n, "", "DepthToSpace", 13, &x, 1, done, err));
        if (*done) {
            TRY(node_set_int(n, "blocksize", m.block, err));
            TRY(node_set_string(n, "mode", m.crd ? "CRD" : "DCR", err));
        }
        break;
    }
out:
    return code;
}

/* ---- a shuffle that is taken apart ----------------------------------------------------------- */

/* As ShuffleNet's blocks are exported: [N,C,H,W] becomes [G,N,C/G,H,W], whose parts are taken out
 * one by one by Gathers with a constant index.  Is value `id`, of that shape, read so only? */
static bool is_taken_apart(const struct graph *g, int id) {
    int readers = 0;
    if (graph_is_output(g, id))
        return false;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        const struct tensor *index = node_is(n, "Gather") ? node_const(g, n, 1) : NULL;
        if (index != NULL && index->data != NULL && n->in[0] == id && index->shape.rank == 0 &&
            node_attr_int(n, "axis", 0) == 0)
            readers++;
    }
    return readers > 0 && readers == graph_value(g, id)->uses;
}

/* Do the atoms say that part k of y [G,N,C/G,H,W] is channels k, k+G, k+2G, … of x [N,C,H,W]? */
static bool match_parts(const struct shape *x, const struct shape *y, const struct atoms *a) {
    if (x->rank < 3 || y->rank != x->rank + 1 || y->dim[0] < 2 || y->dim[1] != x->dim[0] ||
        y->dim[2] * y->dim[0] != x->dim[1])
        return false;
    for (int i = 2; i < x->rank; i++)
        if (x->dim[i] != y->dim[i + 1])
            return false;
    struct atoms want =
        reference(shape_count(x), 4,
                  (int64_t[]){x->dim[0], y->dim[2], y->dim[0], shape_product(x, 2, x->rank)},
                  (int64_t[]){2, 0, 1, 3});
    return atoms_equal(a, &want);
}

/* Part k becomes a Slice of channels of the shuffled map. */
static enum cohort_code gather_to_slice(struct graph *g, struct node *n, int64_t parts,
                                        int64_t channels, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const char *name = graph_value(g, n->out[0])->name;
    int64_t k = tensor_get_i64(node_const(g, n, 1), 0), axis = 1, begin, end;
    int in[4] = {n->in[0]};
    bool done = false;
    k += k < 0 ? parts : 0;
    begin = k * channels;
    end = begin + channels;
    TRY(new_constant_i64(g, name, ".begin", &begin, 1, &in[1], err));
    name = graph_value(g, n->out[0])->name;
    TRY(new_constant_i64(g, name, ".end", &end, 1, &in[2], err));
    TRY(new_constant_i64(g, graph_value(g, n->out[0])->name, ".axis", &axis, 1, &in[3], err));
    TRY(node_become(g, n, "", "Slice", 13, in, 4, &done, err));
out:
    return code;
}

static enum cohort_code become_parts(struct graph *g, int index, int x, bool *done,
                                     struct cohort_error *err) {
    int y = g->nodes[index].out[0];
    const struct shape parts = graph_value(g, y)->shape;
    if (op_find("", "Slice", 13) == NULL)
        return COHORT_OK;
    enum cohort_code code = become_shuffle(g, &g->nodes[index], x, parts.dim[2], done, err);
    if (code != COHORT_OK || !*done)
        return code;
    graph_value(g, y)->shape = graph_value(g, x)->shape;
    for (int i = index + 1; i < g->node_count && code == COHORT_OK; i++)
        if (node_is(&g->nodes[i], "Gather") && g->nodes[i].in[0] == y)
            code = gather_to_slice(g, &g->nodes[i], parts.dim[0], parts.dim[2], err);
    return code;
}

enum cohort_code recognise_moves(struct graph *g, int index, bool *done, struct cohort_error *err) {
    const struct node *last = &g->nodes[index], *n = last;
    int length = 0;
    /* How far up does the chain go?  Its inner values must have no other reader. */
    while (n != NULL && length < CHAIN_MAX && is_move(g, n)) {
        length++;
        n = only_user(g, n->in[0]) >= 0 ? producer_named(g, n->in[0], NULL) : NULL;
    }
    for (; length >= 2; length--) {
        int x = -1;
        struct atoms a = follow_chain(g, last, length, &x);
        const struct shape *from = &graph_value(g, x)->shape;
        const struct shape *to = &graph_value(g, last->out[0])->shape;
        if (match_parts(from, to, &a) && is_taken_apart(g, last->out[0]))
            return become_parts(g, index, x, done, err);
        struct move m = identify(from, to, &a);
        if (m.kind != MOVE_NONE)
            return rewrite(g, index, x, m, done, err);
    }
    return COHORT_OK;
}
