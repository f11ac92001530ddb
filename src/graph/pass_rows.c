/* The row maps: for every input of every node, which of its rows an output row needs.
 *
 * Operators say it for one image, given the heights of both; how images correspond is decided here.
 * An operator may also change the heights, where its images are not the values' (a fully connected
 * operator on a map: every plain output row is an image of its own). */
#include "graph/pass_common.h"

#include "base/mem.h"

#include <string.h>

/* Sums of products of these stay far from overflow. */
#define ROW_LIMIT ((int64_t)1 << 30)

static bool affine_sane(const struct rowmap *m) {
    return m->den > 0 && m->den < ROW_LIMIT && m->num >= 0 && m->num < ROW_LIMIT &&
           m->lo > -ROW_LIMIT * ROW_LIMIT && m->hi < ROW_LIMIT * ROW_LIMIT &&
           m->in_height < ROW_LIMIT && m->out_height < ROW_LIMIT;
}

static void identity(struct rowmap *m) {
    m->kind = ROWMAP_AFFINE;
    m->num = m->den = 1;
    m->lo = m->hi = 0;
}

/* Everything for anything. */
static void everything(struct rowmap *m, int64_t out_rows, int64_t in_rows) {
    *m =
        (struct rowmap){.kind = ROWMAP_ALL, .den = 1, .out_height = out_rows, .in_height = in_rows};
}

static void set_rowmap(const struct graph *g, const struct node *n, int i, struct rowmap *m) {
    const struct value *in = node_in(g, n, i), *out = NULL;
    *m = (struct rowmap){.kind = ROWMAP_ALL, .den = 1};
    for (int k = 0; k < n->out_count && out == NULL; k++)
        out = node_out(g, n, k);
    if (in == NULL || in->is_constant || out == NULL)
        return; /* no rows */
    int64_t in_rows = shape_known(&in->shape) ? value_rows(in) : 1;
    if (!shape_known(&in->shape) || !shape_known(&out->shape) || value_rows(out) == 0) {
        everything(m, 0, in_rows);
        return;
    }
    struct geometry from = value_geometry(in), to = value_geometry(out);
    int64_t out_rows = value_rows(out);
    m->in_height = from.height;
    m->out_height = to.height;
    if (i == n->epilogue.residual) {
        identity(m);
    } else if (n->op->rows != NULL) {
        struct node bare = node_without_residual(n);
        n->op->rows(g, &bare, i, m);
    } else if ((n->op->flags & (OP_UNARY | OP_BINARY)) && from.height == to.height) {
        identity(m);
    }
    if (m->in_height <= 0 || m->out_height <= 0 || in_rows % m->in_height != 0 ||
        out_rows % m->out_height != 0 || (m->kind == ROWMAP_AFFINE && !affine_sane(m))) {
        everything(m, out_rows, in_rows);
        return;
    }
    int64_t images = out_rows / m->out_height, in_images = in_rows / m->in_height;
    m->one_image = in_images == 1 && images > 1;
    if (in_images != images && !m->one_image)
        everything(m, out_rows, in_rows);
}

enum cohort_code pass_row_maps(struct graph *g, struct cohort_error *err) {
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = &g->nodes[i];
        struct rowmap *maps = mem_zalloc((size_t)n->in_count, sizeof *maps);
        if (maps == NULL)
            return error_memory(err, (size_t)n->in_count * sizeof *maps, "row arithmetic");
        mem_free(n->rowmap);
        n->rowmap = maps;
        for (int k = 0; k < n->in_count; k++)
            set_rowmap(g, n, k, &maps[k]);
    }
    return COHORT_OK;
}
