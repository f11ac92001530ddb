/* Row arithmetic; see rows.h.
 *
 * An affine map sends output row y of an image to input rows floor((y*num + lo)/den) …
 * floor((y*num + hi)/den) of the same image, of which only those in [0, in_height) exist.  Output
 * rows whose whole window lies in the padding are left out before the range is taken, so that a
 * stride longer than the kernel or a pad longer than the window does not drag in a row that nobody
 * reads. */
#include "graph/rows.h"

#include "base/mem.h"

struct rows rows_hull(struct rows a, struct rows b) {
    if (rows_empty(a))
        return rows_empty(b) ? (struct rows){0, 0} : b;
    if (rows_empty(b))
        return a;
    return (struct rows){a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

struct rows rows_intersect(struct rows a, struct rows b) {
    struct rows r = {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
    return rows_empty(r) ? (struct rows){0, 0} : r;
}

/* Rounds towards minus infinity; b > 0. */
static int64_t floor_div(int64_t a, int64_t b) {
    if (b == 1) /* mostly, and planning asks often */
        return a;
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* Rows of one image for output rows [y0, y1) of it, exact but for gaps. */
static struct rows image_rows(const struct rowmap *m, int64_t y0, int64_t y1) {
    if (y0 >= y1)
        return (struct rows){0, 0};
    if (m->kind == ROWMAP_ALL)
        return (struct rows){0, m->in_height};
    if (m->num > 0) {
        /* The first y that reaches row 0 or below it, and the last that begins above the end. */
        int64_t first = -floor_div(m->hi, m->num);
        int64_t last = floor_div(m->in_height * m->den - 1 - m->lo, m->num);
        y0 = y0 > first ? y0 : first;
        y1 = y1 < last + 1 ? y1 : last + 1;
        if (y0 >= y1)
            return (struct rows){0, 0};
    }
    struct rows r = {floor_div(y0 * m->num + m->lo, m->den),
                     floor_div((y1 - 1) * m->num + m->hi, m->den) + 1};
    return rows_intersect(r, (struct rows){0, m->in_height});
}

static struct rows rows_shift(struct rows r, int64_t by) {
    return rows_empty(r) ? r : (struct rows){r.begin + by, r.end + by};
}

struct rows rows_needed(const struct node *n, int i, struct rows out) {
    if (rows_empty(out) || n->rowmap == NULL)
        return (struct rows){0, 0};
    const struct rowmap *m = &n->rowmap[i];
    if (m->in_height <= 0)
        return (struct rows){0, 0};
    if (m->out_height <= 0) /* the output's shape is not known: all of the input */
        return (struct rows){0, m->in_height};
    const bool one = out.end <= m->out_height; /* no division */
    int64_t first = one ? 0 : out.begin / m->out_height;
    int64_t last = one ? 0 : (out.end - 1) / m->out_height;
    int64_t y0 = out.begin - first * m->out_height, y1 = out.end - last * m->out_height;
    int64_t pitch = m->one_image ? 0 : m->in_height;
    if (first == last)
        return rows_shift(image_rows(m, y0, y1), first * pitch);
    struct rows whole = image_rows(m, 0, m->out_height);
    struct rows r = rows_shift(image_rows(m, y0, m->out_height), first * pitch);
    if (last - first > 1) {
        r = rows_hull(r, rows_shift(whole, (first + 1) * pitch));
        r = rows_hull(r, rows_shift(whole, (last - 1) * pitch));
    }
    return rows_hull(r, rows_shift(image_rows(m, 0, y1), last * pitch));
}

/* All rows of a value; {0, 1} stands for "it" where its shape is not known. */
static struct rows all_rows(const struct value *v) {
    return (struct rows){0, shape_known(&v->shape) ? value_rows(v) : 1};
}

/* Do the rows of two outputs of one node correspond one to one? */
static bool rows_correspond(const struct value *a, const struct value *b) {
    if (!shape_known(&a->shape) || !shape_known(&b->shape))
        return false;
    struct geometry p = value_geometry(a), q = value_geometry(b);
    return p.images == q.images && p.height == q.height;
}

/* Rows of node n that its outputs' needs come to.  The outputs of one node are computed together,
 * so all that are wanted get the same range; where their rows do not correspond, all of them. */
static struct rows node_rows(const struct graph *g, const struct node *n, struct rows *need) {
    struct rows hull = {0, 0};
    const struct value *first = NULL;
    bool alike = true;
    for (int o = 0; o < n->out_count; o++) {
        const struct value *v = node_out(g, n, o);
        if (v == NULL)
            continue;
        if (!rows_empty(need[n->out[o]]))
            hull = rows_hull(hull, need[n->out[o]]);
        alike = alike && (first == NULL || rows_correspond(first, v));
        first = first == NULL ? v : first;
    }
    if (rows_empty(hull))
        return hull;
    for (int o = 0; o < n->out_count; o++)
        if (n->out[o] >= 0 && !rows_empty(need[n->out[o]]))
            need[n->out[o]] = alike ? hull : all_rows(graph_value(g, n->out[o]));
    return alike ? hull : all_rows(first);
}

void rows_of_segment(const struct graph *g, int first, int last, struct rows *need) {
    for (int i = last - 1; i >= first; i--) {
        const struct node *n = &g->nodes[i];
        struct rows out = node_rows(g, n, need);
        if (rows_empty(out))
            continue;
        for (int k = 0; k < n->in_count; k++) {
            int id = n->in[k];
            if (id >= 0 && !graph_value(g, id)->is_constant)
                need[id] = rows_hull(need[id], rows_needed(n, k, out));
        }
    }
}

/* ---- what crosses a segment's border --------------------------------------------------------- */

/* A list of value numbers without repetition. */
struct id_list {
    int *ids;
    size_t capacity;
    int count;
    bool *seen; /* per value of the graph */
};

static enum cohort_code id_list_init(struct id_list *l, const struct graph *g,
                                     struct cohort_error *err) {
    *l = (struct id_list){.seen = mem_zalloc((size_t)g->value_count, sizeof *l->seen)};
    if (l->seen == NULL || !MEM_GROW(l->ids, l->capacity, (size_t)0)) {
        mem_free(l->seen);
        return error_memory(err, (unsigned long long)g->value_count, "a list of values");
    }
    return COHORT_OK;
}

static enum cohort_code id_list_add(struct id_list *l, int id, struct cohort_error *err) {
    if (l->seen[id])
        return COHORT_OK;
    if (!MEM_GROW(l->ids, l->capacity, (size_t)l->count))
        return error_memory(err, sizeof *l->ids * (size_t)l->count, "a list of values");
    l->seen[id] = true;
    l->ids[l->count++] = id;
    return COHORT_OK;
}

static enum cohort_code id_list_finish(struct id_list *l, enum cohort_code code, int **ids,
                                       int *count) {
    mem_free(l->seen);
    if (code != COHORT_OK) {
        mem_free(l->ids);
        return code;
    }
    *ids = l->ids;
    *count = l->count;
    return COHORT_OK;
}

static bool made_inside(const struct value *v, int first, int last) {
    return v->producer >= first && v->producer < last;
}

enum cohort_code segment_inputs(const struct graph *g, int first, int last, int **ids, int *count,
                                struct cohort_error *err) {
    struct id_list list;
    enum cohort_code code = id_list_init(&list, g, err);
    if (code != COHORT_OK)
        return code;
    for (int i = first; i < last; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++) {
            const struct value *v = node_in(g, &g->nodes[i], k);
            if (v != NULL && !v->is_constant && !made_inside(v, first, last))
                TRY(id_list_add(&list, g->nodes[i].in[k], err));
        }
out:
    return id_list_finish(&list, code, ids, count);
}

enum cohort_code segment_outputs(const struct graph *g, int first, int last, int **ids, int *count,
                                 struct cohort_error *err) {
    struct id_list list;
    bool *wanted = mem_zalloc((size_t)g->value_count, sizeof *wanted);
    if (wanted == NULL)
        return error_memory(err, (unsigned long long)g->value_count, "a list of values");
    enum cohort_code code = id_list_init(&list, g, err);
    if (code != COHORT_OK) {
        mem_free(wanted);
        return code;
    }
    for (int i = last; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] >= 0)
                wanted[g->nodes[i].in[k]] = true;
    for (int i = 0; i < g->output_count; i++)
        wanted[g->outputs[i]] = true;
    for (int i = first; i < last; i++)
        for (int k = 0; k < g->nodes[i].out_count; k++) {
            int id = g->nodes[i].out[k];
            if (id >= 0 && wanted[id])
                TRY(id_list_add(&list, id, err));
        }
out:
    mem_free(wanted);
    return id_list_finish(&list, code, ids, count);
}
