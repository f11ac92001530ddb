/* Operators that move elements of feature maps without arithmetic, and resampling. */
#include "exec/lower.h"

#include "graph/ops/params.h"

#include <string.h>

/* ---- channels: Concat, Split, ChannelShuffle --------------------------------------------- */

struct channels_state {
    int64_t *offset; /* Concat: of each input, Split: of each output, in channels */
    int *source;     /* ChannelShuffle: the input channel behind each output channel */
};

static void unbind_channels(struct bound *b) {
    struct channels_state *s = b->state;
    mem_free(s->offset);
    mem_free(s->source);
}

static enum cohort_code bind_concat(struct program *p, struct bound *b, struct cohort_error *err) {
    const struct node *n = b->node;
    enum cohort_code code = bound_state(b, sizeof(struct channels_state), err);
    if (code != COHORT_OK)
        return code;
    struct channels_state *s = b->state;
    s->offset = mem_zalloc((size_t)n->in_count, sizeof *s->offset);
    if (s->offset == NULL)
        return error_memory(err, (size_t)n->in_count * sizeof *s->offset, "an operator's state");
    for (int i = 0; i < n->in_count; i++)
        s->offset[i] = concat_offset(p->graph, n, i);
    return COHORT_OK;
}

static enum cohort_code bind_split(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = bound_state(b, sizeof(struct channels_state), err);
    if (code != COHORT_OK)
        return code;
    struct channels_state *s = b->state;
    size_t count = (size_t)b->node->out_count + 1;
    int axis;
    s->offset = mem_zalloc(count, sizeof *s->offset);
    if (s->offset == NULL)
        return error_memory(err, count * sizeof *s->offset, "an operator's state");
    return split_params(p->graph, b->node, &axis, s->offset, err);
}

/* [groups][C/groups] read as its transpose: out channel j*groups + i is in channel i*(C/groups) +
 * j. */
static enum cohort_code bind_shuffle(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = bound_state(b, sizeof(struct channels_state), err);
    if (code != COHORT_OK)
        return code;
    struct channels_state *s = b->state;
    int channels = (int)value_geometry(node_out(p->graph, b->node, 0)).channels;
    int groups = (int)node_attr_int(b->node, "group", 1);
    s->source = mem_zalloc((size_t)channels, sizeof *s->source);
    if (s->source == NULL)
        return error_memory(err, (size_t)channels * sizeof *s->source, "an operator's state");
    for (int c = 0; c < channels; c++)
        s->source[c] = c % groups * (channels / groups) + c / groups;
    return COHORT_OK;
}

static void concat_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    const struct channels_state *s = w->state;
    for (int i = 0; i < w->op->bound->node->in_count; i++) {
        if (share_in_place(w->program, w->op->in_slots[i], w->op->out_slots[0], s->offset[i]))
            continue;
        struct view in = slot_view(w->program, w->op->in_slots[i]);
        w->program->plain->copy_channels_rows(&in, 0, &w->out, (int)s->offset[i], in.channels, y0,
                                              y1);
    }
}

static void split_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    const struct channels_state *s = w->state;
    for (int i = 0; i < w->op->bound->node->out_count; i++) {
        if (w->op->out_slots[i] < 0 ||
            share_in_place(w->program, w->op->out_slots[i], w->op->in_slots[0], s->offset[i]))
            continue;
        struct view out = slot_view(w->program, w->op->out_slots[i]);
        w->program->plain->copy_channels_rows(&w->in, (int)s->offset[i], &out, 0, out.channels, y0,
                                              y1);
    }
}

static void shuffle_part(void *context, int64_t y0, int64_t y1, int block0, int block1,
                         int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    const struct channels_state *s = w->state;
    w->program->plain->shuffle_channels_rows(s->source, &w->in, &w->out, y0, y1);
}

static bool split_accepts(const struct graph *g, const struct node *n) {
    for (int i = 0; i < n->out_count; i++)
        if (node_out(g, n, i) != NULL)
            return node_out(g, n, i)->form == FORM_MAP;
    return false;
}

/* ---- pixels and channels picked by tables: Slice, Pad ---------------------------------------- */

struct pick_state {
    int64_t *row; /* input row behind each output row of an image; -1: filled */
    int *column;
    int *channel;
    float fill;
    bool same_channels, same_pixels;
};

static void unbind_pick(struct bound *b) {
    struct pick_state *s = b->state;
    mem_free(s->row);
    mem_free(s->column);
    mem_free(s->channel);
}

static enum cohort_code make_tables(struct pick_state *s, const struct geometry *out,
                                    struct cohort_error *err) {
    s->row = mem_zalloc((size_t)out->height, sizeof *s->row);
    s->column = mem_zalloc((size_t)out->width, sizeof *s->column);
    s->channel = mem_zalloc((size_t)out->channels, sizeof *s->channel);
    if (s->row == NULL || s->column == NULL || s->channel == NULL)
        return error_memory(err, (size_t)(out->height + out->width + out->channels) * 8,
                            "an operator's state");
    return COHORT_OK;
}

static void note_identities(struct pick_state *s, const struct geometry *in,
                            const struct geometry *out) {
    s->same_channels = in->channels == out->channels;
    s->same_pixels = in->height == out->height && in->width == out->width;
    for (int c = 0; c < out->channels; c++)
        s->same_channels = s->same_channels && s->channel[c] == c;
    for (int64_t y = 0; y < out->height; y++)
        s->same_pixels = s->same_pixels && s->row[y] == y;
    for (int x = 0; x < out->width; x++)
        s->same_pixels = s->same_pixels && s->column[x] == x;
}

static enum cohort_code bind_slice(struct program *p, struct bound *b, struct cohort_error *err) {
    struct geometry in = value_geometry(node_in(p->graph, b->node, 0));
    struct geometry out = value_geometry(node_out(p->graph, b->node, 0));
    struct slice_params slice;
    enum cohort_code code = COHORT_OK;
    TRY(bound_state(b, sizeof(struct pick_state), err));
    struct pick_state *s = b->state;
    TRY(slice_params(p->graph, b->node, &slice, err));
    TRY(make_tables(s, &out, err));
    for (int64_t y = 0; y < out.height; y++)
        s->row[y] = slice.start[2] + y * slice.step[2];
    for (int x = 0; x < out.width; x++)
        s->column[x] = slice.rank == 4 ? (int)(slice.start[3] + x * slice.step[3]) : x;
    for (int c = 0; c < out.channels; c++)
        s->channel[c] = (int)(slice.start[1] + c * slice.step[1]);
    note_identities(s, &in, &out);
out:
    return code;
}

static enum cohort_code bind_pad(struct program *p, struct bound *b, struct cohort_error *err) {
    struct geometry in = value_geometry(node_in(p->graph, b->node, 0));
    struct geometry out = value_geometry(node_out(p->graph, b->node, 0));
    struct pad_params pad;
    enum cohort_code code = COHORT_OK;
    TRY(bound_state(b, sizeof(struct pick_state), err));
    struct pick_state *s = b->state;
    TRY(pad_params(p->graph, b->node, &pad, err));
    TRY(make_tables(s, &out, err));
    s->fill = pad.value;
    for (int64_t y = 0; y < out.height; y++)
        s->row[y] = pad_source(&pad, 2, y);
    for (int x = 0; x < out.width; x++)
        s->column[x] = pad.rank == 4 ? (int)pad_source(&pad, 3, x) : x;
    for (int c = 0; c < out.channels; c++)
        s->channel[c] = (int)pad_source(&pad, 1, c);
    note_identities(s, &in, &out);
out:
    return code;
}

/* Any combination, element by element. */
static void pick_elements(const struct part_work *w, int64_t y0, int64_t y1) {
    const struct pick_state *s = w->state;
    int lanes = w->out.blocked ? view_blocks(&w->out) * BLOCK : w->out.channels;
    for (int64_t y = y0; y < y1; y++)
        for (int c = 0; c < lanes; c++)
            for (int x = 0; x < w->out.width; x++) {
                float v = 0; /* beyond the last channel */
                if (c < w->out.channels) {
                    bool inside = s->row[y] >= 0 && s->column[x] >= 0 && s->channel[c] >= 0;
                    v = inside ? *view_at(&w->in, s->row[y], s->channel[c], s->column[x]) : s->fill;
                }
                *view_at(&w->out, y, c, x) = v;
            }
}

static void pick_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    const struct pick_state *s = w->state;
    if (s->same_channels)
        w->program->plain->gather_pixels_rows(s->row + y0, s->column, s->fill, &w->in, &w->out, y0,
                                              y1);
    else if (s->same_pixels && s->fill == 0)
        w->program->plain->shuffle_channels_rows(s->channel, &w->in, &w->out, y0, y1);
    else
        pick_elements(w, y0, y1);
}

/* ---- depth and space ------------------------------------------------------------------------- */

static void to_space_part(void *context, int64_t y0, int64_t y1, int block0, int block1,
                          int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    struct depth_space_params params;
    depth_space_params(w->op->bound->node, &params);
    w->program->plain->depth_to_space_rows((int)params.block, !params.column_first, &w->in, &w->out,
                                           y0, y1);
}

static void to_depth_part(void *context, int64_t y0, int64_t y1, int block0, int block1,
                          int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    struct depth_space_params params;
    depth_space_params(w->op->bound->node, &params);
    w->program->plain->space_to_depth_rows((int)params.block, &w->in, &w->out, y0, y1);
}

/* ---- between plain tensors and maps ---------------------------------------------------------- */

static enum cohort_code run_to_map(struct program *p, const struct exec_op *op,
                                   struct cohort_error *err) {
    (void)err;
    const struct slot *in = &p->slots[op->in_slots[0]];
    const struct value *from = graph_value(p->graph, in->value);
    const int64_t height = value_geometry(op_value(p, op->out_slots[0])).height;
    /* A board may have rows of later images alone. */
    const int64_t image = op->out.begin / height, skipped = image * height;
    const struct view out = slot_image(p, op->out_slots[0], image);
    const size_t begin = (size_t)in->rows.begin * value_geometry(from).row_bytes;
    const size_t want = (size_t)(image * shape_product(&from->shape, 1, from->shape.rank)) * 4;
    const float *data = (const float *)(const void *)(in->data + (want - begin));
    p->plain->map_from_nchw(data, height, &out, op->out.begin - skipped, op->out.end - skipped);
    return COHORT_OK;
}

/* Plain rows are (n, c, y), each of W elements (of one, for [N,C,L]: rows are (n, c) then). */
static void plain_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    const struct value *v = op_value(w->program, w->op->in_slots[0]);
    struct geometry geo = value_geometry(v);
    int64_t rows_per_channel = v->shape.rank == 4 ? geo.height : 1;
    for (int64_t r = y0; r < y1; r++) {
        int64_t image = r / (geo.channels * rows_per_channel);
        int channel = (int)(r / rows_per_channel % geo.channels);
        int64_t y = image * geo.height + r % rows_per_channel;
        float *to = view_at(&w->out, r, 0, 0);
        for (int i = 0; i < w->out.channels; i++)
            to[i] = v->shape.rank == 4 ? *view_at(&w->in, y, channel, i)
                                       : *view_at(&w->in, y + i, channel, 0);
    }
}

static bool from_map(const struct graph *g, const struct node *n) {
    return node_in(g, n, 0)->form == FORM_MAP && !lower_is_map(g, n);
}

/* ---- resampling ------------------------------------------------------------------------------ */

struct resize_state {
    int row_taps, col_taps;
    int64_t *row_index; /* [out height][row_taps] */
    float *row_weight;
    int *col_index; /* [out width][col_taps] */
    float *col_weight;
};

static void unbind_resize(struct bound *b) {
    struct resize_state *s = b->state;
    mem_free(s->row_index);
    mem_free(s->row_weight);
    mem_free(s->col_index);
    mem_free(s->col_weight);
}

/* Taps of weight 0 at the ends do not count in the row map, so their rows may not be there: they
 * are turned to a neighbour's row, which is. */
static void drop_empty_taps(int taps, int64_t *index, const float *weight) {
    int from = 0, to = taps - 1;
    while (from < to && weight[from] == 0)
        from++;
    while (to > from && weight[to] == 0)
        to--;
    for (int i = 0; i < taps; i++)
        index[i] = index[i < from ? from : i > to ? to : i];
}

/* The table of one axis; an axis that stays as it is gets the identity. */
static enum cohort_code axis_table(const struct program *p, const struct node *n, int axis,
                                   int64_t size, int *taps, int64_t **index, float **weight,
                                   struct cohort_error *err) {
    struct resize_table t = {0};
    enum cohort_code code = COHORT_OK;
    if (axis < node_in(p->graph, n, 0)->shape.rank)
        TRY(resize_params(p->graph, n, axis, &t, err));
    *taps = t.taps > 0 ? t.taps : 1;
    size_t count = (size_t)size * (size_t)*taps;
    *index = mem_alloc(count * sizeof **index);
    *weight = mem_alloc(count * sizeof **weight);
    if (*index == NULL || *weight == NULL) {
        code = error_memory(err, count * sizeof **index, "a table for resizing");
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        (*index)[i] = t.taps > 0 ? t.index[i] : (int64_t)i;
        (*weight)[i] = t.taps > 0 ? t.weight[i] : 1.0f;
    }
    for (int64_t i = 0; i < size; i++)
        drop_empty_taps(*taps, *index + i * *taps, *weight + i * *taps);
out:
    resize_table_release(&t);
    return code;
}

static enum cohort_code bind_resize(struct program *p, struct bound *b, struct cohort_error *err) {
    struct geometry out = value_geometry(node_out(p->graph, b->node, 0));
    enum cohort_code code = COHORT_OK;
    int64_t *columns = NULL;
    TRY(bound_state(b, sizeof(struct resize_state), err));
    struct resize_state *s = b->state;
    TRY(axis_table(p, b->node, 2, out.height, &s->row_taps, &s->row_index, &s->row_weight, err));
    TRY(axis_table(p, b->node, 3, out.width, &s->col_taps, &columns, &s->col_weight, err));
    size_t count = (size_t)out.width * (size_t)s->col_taps;
    s->col_index = mem_alloc(count * sizeof *s->col_index);
    if (s->col_index == NULL) {
        code = error_memory(err, count * sizeof *s->col_index, "a table for resizing");
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        s->col_index[i] = (int)columns[i];
out:
    mem_free(columns);
    return code;
}

static void resize_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct part_work *w = context;
    const struct resize_state *s = w->state;
    struct resample_table t = {.row_taps = s->row_taps,
                               .col_taps = s->col_taps,
                               .row_index = s->row_index + y0 * s->row_taps,
                               .row_weight = s->row_weight + y0 * s->row_taps,
                               .col_index = s->col_index,
                               .col_weight = s->col_weight};
    w->program->plain->resample_rows(&t, &w->in, &w->out, y0, y1, block0, block1);
}

const struct lowering lowerings_move[] = {
    {"Concat", lower_is_map, bind_concat, unbind_channels, BY_PART(WALK_ROWS, concat_part)},
    {"Split", split_accepts, bind_split, unbind_channels, BY_PART(WALK_ROWS, split_part)},
    {"ChannelShuffle", lower_is_map, bind_shuffle, unbind_channels,
     BY_PART(WALK_ROWS, shuffle_part)},
    {"Slice", lower_is_map, bind_slice, unbind_pick, BY_PART(WALK_IMAGES, pick_part)},
    {"Pad", lower_is_map, bind_pad, unbind_pick, BY_PART(WALK_IMAGES, pick_part)},
    {"DepthToSpace", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES, to_space_part)},
    {"SpaceToDepth", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES, to_depth_part)},
    {"ToMap", lower_is_map, NULL, NULL, BY_ITSELF(run_to_map)},
    {"ToPlain", from_map, NULL, NULL, BY_PART(WALK_ROWS, plain_part)},
    {"Resize", lower_is_map, bind_resize, unbind_resize, BY_PART(WALK_IMAGES_BLOCKS, resize_part)},
    {"Upsample", lower_is_map, bind_resize, unbind_resize,
     BY_PART(WALK_IMAGES_BLOCKS, resize_part)},
    {0},
};
