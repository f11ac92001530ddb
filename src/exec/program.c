/* A program's life: slots and operators are declared, memory is assigned, nodes are bound, run. */
#include "base/options.h"
#include "exec/arena.h"
#include "exec/lower.h"

#include <cblas.h>
#include <string.h>

/* Is this a name that --kernel may give? */
static enum cohort_code check_kernel(const char *name, struct cohort_error *err) {
    const char *names[128];
    int count = kernel_names(names, 128);
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return COHORT_OK;
    const char *close = closest_name(name, names, (size_t)count);
    return error_set(err, COHORT_ERR_USAGE,
                     "--kernel %s: no such kernel%s%s%s ('cohort kernels' lists them)", name,
                     close != NULL ? ", did you mean " : "", close != NULL ? close : "",
                     close != NULL ? "?" : "");
}

enum cohort_code exec_create(struct program **out, const struct graph *g, struct pool *pool,
                             const struct exec_options *o, struct cohort_error *err) {
    if (o != NULL && o->kernel != NULL) {
        enum cohort_code code = check_kernel(o->kernel, err);
        if (code != COHORT_OK)
            return code;
    }
    struct program *p = mem_zalloc(1, sizeof *p);
    struct bound *bounds = mem_zalloc((size_t)g->node_count, sizeof *bounds);
    if (p == NULL || bounds == NULL) {
        mem_free(p);
        mem_free(bounds);
        return error_memory(err, sizeof *p, "a program");
    }
    p->graph = g;
    p->pool = pool;
    p->bounds = bounds;
    p->encode_ms = p->decode_ms = -1;
    if (o != NULL)
        p->options = *o;
    p->isa_mask = kernel_isa_available();
    if (p->options.isa_mask != 0)
        p->isa_mask &= p->options.isa_mask;
    p->fp16 = p->options.fp16 || (p->options.kernel != NULL && kernel_name_fp16(p->options.kernel));
    if (!p->fp16)
        p->isa_mask &= ~ISAS_FP16;
    p->fp16 = (p->isa_mask & ISAS_FP16) != 0;
    p->plain = kernel_choose_plain(p->isa_mask, p->options.kernel);
    openblas_set_num_threads(1); /* its pool and ours would fight for the cores */
    *out = p;
    return COHORT_OK;
}

void exec_destroy(struct program **pp) {
    struct program *p = *pp;
    if (p == NULL)
        return;
    for (int i = 0; i < p->graph->node_count; i++)
        bound_release(&p->bounds[i]);
    packing_ends(p);
    for (int i = 0; i < p->slot_count; i++)
        tensor_release(&p->slots[i].tensor);
    for (int i = 0; i < p->op_count; i++) {
        mem_free(p->ops[i].in_slots);
        mem_free(p->ops[i].out_slots);
    }
    mem_free(p->bounds);
    mem_free(p->slots);
    mem_free(p->buffers);
    mem_free(p->ops);
    mem_free(p->arena);
    mem_free(p->workspace);
    mem_free(p->shared);
    mem_free(p->chains);
    mem_free(p->strips);
    mem_free(p->strip_states);
    mem_free(p->saturated);
    made_up_release(p);
    mem_free(p);
    *pp = NULL;
}

enum cohort_code exec_add_slot(struct program *p, int id, struct rows rows, int first, int last,
                               bool pinned, int *slot, struct cohort_error *err) {
    const struct value *v = graph_value(p->graph, id);
    if (!MEM_GROW(p->slots, p->slot_capacity, (size_t)p->slot_count))
        return error_memory(err, sizeof *p->slots, "a slot");
    struct slot *s = &p->slots[p->slot_count];
    *s = (struct slot){.value = id, .rows = rows, .first = first, .last = last, .pinned = pinned};
    s->dynamic = !shape_known(&v->shape);
    if (!s->dynamic)
        s->bytes = (size_t)rows_count(rows) * value_geometry(v).row_bytes;
    *slot = p->slot_count++;
    return COHORT_OK;
}

enum cohort_code exec_add_op(struct program *p, int node, struct rows out, const int *in_slots,
                             const int *out_slots, int *op, struct cohort_error *err) {
    const struct node *n = &p->graph->nodes[node];
    int *in = mem_alloc((size_t)n->in_count * sizeof *in);
    int *outs = mem_alloc((size_t)n->out_count * sizeof *outs);
    if (in == NULL || outs == NULL || !MEM_GROW(p->ops, p->op_capacity, (size_t)p->op_count)) {
        mem_free(in);
        mem_free(outs);
        return error_memory(err, sizeof *p->ops, "an operator");
    }
    memcpy(in, in_slots, (size_t)n->in_count * sizeof *in);
    memcpy(outs, out_slots, (size_t)n->out_count * sizeof *outs);
    p->ops[p->op_count] = (struct exec_op){.node = node,
                                           .out = out,
                                           .in_slots = in,
                                           .out_slots = outs,
                                           .takes_ms = -1,
                                           .parts = 1,
                                           .bound = &p->bounds[node]};
    if (op != NULL)
        *op = p->op_count;
    p->op_count++;
    return COHORT_OK;
}

void exec_op_part(struct program *p, int part, int parts) {
    p->ops[p->op_count - 1].part = part;
    p->ops[p->op_count - 1].parts = parts;
}

int exec_op_parts(const struct program *p, int op, int *part) {
    *part = p->ops[op].part;
    return p->ops[op].parts;
}

int exec_op_count(const struct program *p) {
    return p->op_count;
}

void exec_range_ends(struct program *p) {
    if (p->op_count > 0)
        p->ops[p->op_count - 1].ends_range = true;
}

void exec_slot_ends(struct program *p, int slot, int last) {
    p->slots[slot].last = last;
}

void exec_slot_travels(struct program *p, int slot) {
    p->slots[slot].whole = true;
}

struct rows exec_slot_rows(const struct program *p, int slot) {
    return p->slots[slot].rows;
}

/* ---- preparing ------------------------------------------------------------------------------- */

static char *slot_memory(const struct program *p, const struct slot *s, size_t offset) {
    const struct buffer *b = &p->buffers[s->buffer];
    struct geometry geo = value_geometry(graph_value(p->graph, s->value));
    return p->arena + offset + (size_t)(s->rows.begin - b->rows.begin) * b->row_bytes +
           (size_t)s->block * (size_t)geo.width * BLOCK * sizeof(float);
}

static enum cohort_code assign_memory(struct program *p, struct cohort_error *err) {
    struct arena_item *items = mem_zalloc((size_t)p->slot_count, sizeof *items);
    if (items == NULL)
        return error_memory(err, (size_t)p->slot_count * sizeof *items, "the arena's plan");
    enum cohort_code code = share_slots(p, err);
    for (int i = 0; code == COHORT_OK && i < p->slot_count; i++) {
        const struct buffer *b = &p->buffers[i];
        if (p->slots[i].buffer != i)
            continue;
        items[i] = (struct arena_item){.bytes = b->bytes, .first = b->first, .last = b->last};
        if (b->pinned) {
            items[i].first = INT32_MIN;
            items[i].last = INT32_MAX;
            p->pinned_bytes += b->bytes;
        }
    }
    if (code == COHORT_OK)
        code = arena_assign(items, p->slot_count, &p->arena_bytes, err);
    if (code == COHORT_OK) {
        p->arena = mem_zalloc(1, p->arena_bytes);
        if (p->arena == NULL)
            code = error_memory(err, p->arena_bytes, "activations");
    }
    for (int i = 0; code == COHORT_OK && i < p->slot_count; i++) {
        struct slot *s = &p->slots[i];
        const struct value *v = graph_value(p->graph, s->value);
        s->data = s->bytes > 0 ? slot_memory(p, s, items[s->buffer].offset) : NULL;
        if (v->form == FORM_PLAIN && !s->dynamic)
            s->tensor = (struct tensor){
                .type = v->type, .shape = v->shape, .data = s->bytes > 0 ? s->data : p->arena};
    }
    mem_free(items);
    return code;
}

enum cohort_code op_bind(struct program *p, int op, struct cohort_error *err) {
    struct bound *b = p->ops[op].bound;
    if (b->how != NULL)
        return COHORT_OK;
    b->node = &p->graph->nodes[p->ops[op].node];
    b->how = lowering_find(p->graph, b->node);
    enum cohort_code code = b->how->bind != NULL ? b->how->bind(p, b, err) : COHORT_OK;
    b->row_ns = estimate_row_ns(p->graph, b);
    if (code != COHORT_OK)
        error_wrap(err, "node '%s' (%s)", b->node->name, b->node->op->name);
    return code;
}

static enum cohort_code bind_nodes(struct program *p, struct cohort_error *err) {
    for (int i = 0; i < p->op_count; i++) {
        const enum cohort_code code = op_bind(p, i, err);
        if (code != COHORT_OK)
            return code;
        BUG_UNLESS(p->ops[i].bound->awaited == 0);
    }
    return COHORT_OK;
}

static enum cohort_code find_workspace(struct program *p, struct cohort_error *err) {
    for (int i = 0; i < p->op_count; i++) {
        const struct bound *b = p->ops[i].bound;
        if (b->workspace_bytes > p->workspace_stride)
            p->workspace_stride = b->workspace_bytes;
        if (b->shared_bytes > p->shared_bytes)
            p->shared_bytes = b->shared_bytes;
    }
    p->workspace_stride = (p->workspace_stride + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    size_t threads = (size_t)pool_threads(p->pool);
    p->workspace = mem_zalloc(threads, p->workspace_stride);
    p->shared = mem_zalloc(1, p->shared_bytes);
    p->saturated = mem_zalloc(threads, SATURATED_APART * sizeof *p->saturated);
    p->strip_stride = (p->strip_bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    p->strips = mem_zalloc(threads, p->strip_stride);
    p->strip_states = mem_zalloc(threads, sizeof *p->strip_states);
    if (p->workspace == NULL || p->shared == NULL || p->strips == NULL || p->strip_states == NULL ||
        p->saturated == NULL)
        return error_memory(err,
                            threads * (p->workspace_stride + p->strip_stride) + p->shared_bytes,
                            "the kernels' workspace");
    return COHORT_OK;
}

enum cohort_code exec_prepare(struct program *p, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    BUG_UNLESS(!p->prepared);
    TRY(packing_begins(p, err));
    TRY(bind_nodes(p, err));
    packing_ends(p);
    TRY(made_up_weights(p, err));
    TRY(chains_find(p, err));
    TRY(assign_memory(p, err));
    TRY(find_workspace(p, err));
    p->prepared = true;
out:
    return code;
}

enum cohort_code exec_constants(const struct program *p, int **ids, int *count,
                                struct cohort_error *err) {
    const struct graph *g = p->graph;
    bool *wanted = mem_zalloc((size_t)g->value_count, sizeof *wanted);
    int *list = mem_alloc((size_t)g->value_count * sizeof *list);
    if (wanted == NULL || list == NULL) {
        mem_free(wanted);
        mem_free(list);
        return error_memory(err, (size_t)g->value_count * sizeof *list, "a list of weights");
    }
    for (int i = 0; i < p->op_count; i++) {
        const struct node *n = &g->nodes[p->ops[i].node];
        if (!p->prepared && p->ops[i].bound->how != NULL) /* shared: packed, or still there */
            continue;
        for (int k = 0; k < n->in_count; k++)
            if (n->in[k] >= 0 && g->values[n->in[k]].is_constant)
                wanted[n->in[k]] = true;
        if (n->weight_scale >= 0)
            wanted[n->weight_scale] = true;
    }
    int n = 0;
    for (int i = 0; i < g->value_count; i++)
        if (wanted[i])
            list[n++] = i;
    mem_free(wanted);
    *ids = list;
    *count = n;
    return COHORT_OK;
}

bool exec_uses_constant(const struct program *p, int id) {
    for (int i = 0; i < p->graph->node_count; i++) {
        const struct bound *b = &p->bounds[i];
        if (b->how != lowering_reference)
            continue;
        for (int k = 0; k < b->node->in_count; k++)
            if (b->node->in[k] == id)
                return true;
    }
    return false;
}

/* ---- running --------------------------------------------------------------------------------- */

/* What operators [first, first + count) take; below 0: unknown of one of them. */
static double takes_ms(const struct program *p, int first, int count) {
    double ms = 0;
    for (int i = first; i < first + count; i++) {
        if (p->ops[i].takes_ms < 0 && !p->ops[i].free)
            return -1;
        ms += p->ops[i].free ? 0 : p->ops[i].takes_ms;
    }
    return ms;
}

static void expect(struct program *p, int first, int count) {
    double ms = takes_ms(p, first, count);
    if (ms >= 0)
        pool_dilate_expect(p->pool, ms);
}

enum cohort_code exec_run(struct program *p, int first, int last, struct cohort_error *err) {
    BUG_UNLESS(p->prepared);
    pool_set_float_mode();
    pool_dilate_begin(p->pool);
    for (int i = first; i < last; i++) {
        const struct exec_op *op = &p->ops[i];
        if (op->chain > 0) {
            const struct chain *c = &p->chains[op->chain - 1];
            BUG_UNLESS(i + c->count <= last);
            expect(p, i, c->count);
            chain_run(p, c);
            pool_dilate(p->pool);
            i += c->count - 1;
            continue;
        }
        expect(p, i, 1);
        enum cohort_code code = lowering_run(p, op, err);
        if (code != COHORT_OK) {
            error_wrap(err, "node '%s' (%s)", op->bound->node->name, op->bound->node->op->name);
            return code;
        }
        pool_dilate(p->pool);
    }
    pool_dilate_end(p->pool);
    return COHORT_OK;
}

enum cohort_code exec_run_each(struct program *p, int op, double *ms, int *count,
                               struct cohort_error *err) {
    const struct exec_op *o = &p->ops[op];
    enum cohort_code code = COHORT_OK;
    BUG_UNLESS(p->prepared);
    *count = 1;
    pool_set_float_mode();
    pool_dilate_begin(p->pool);
    double begin = pool_work_ms(p->pool);
    if (o->chain > 0) {
        const struct chain *c = &p->chains[o->chain - 1];
        chain_run_timed(p, c);
        *count = c->count;
        chain_times(p, c, pool_work_ms(p->pool) - begin, ms);
    } else {
        code = lowering_run(p, o, err);
        ms[0] = pool_work_ms(p->pool) - begin;
        if (code != COHORT_OK)
            error_wrap(err, "node '%s' (%s)", o->bound->node->name, o->bound->node->op->name);
    }
    pool_dilate(p->pool);
    pool_dilate_end(p->pool);
    return code;
}

enum cohort_code exec_run_timed(struct program *p, const int *ops, int count, double *ms,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    BUG_UNLESS(p->prepared);
    pool_set_float_mode();
    pool_dilate_begin_whole(p->pool);
    for (int i = 0; i < count && code == COHORT_OK; i++) {
        const struct exec_op *op = &p->ops[ops[i]];
        double begin = pool_work_ms(p->pool);
        if (op->chain > 0)
            chain_run(p, &p->chains[op->chain - 1]);
        else
            code = lowering_run(p, op, err);
        if (code != COHORT_OK)
            error_wrap(err, "node '%s' (%s)", op->bound->node->name, op->bound->node->op->name);
        ms[i] = pool_work_ms(p->pool) - begin;
        pool_dilate(p->pool);
    }
    pool_dilate_end(p->pool);
    return code;
}

/* ---- looking --------------------------------------------------------------------------------- */

void *exec_slot_data(const struct program *p, int slot) {
    return p->slots[slot].data;
}

size_t exec_slot_bytes(const struct program *p, int slot) {
    return p->slots[slot].bytes;
}

const struct tensor *exec_slot_tensor(const struct program *p, int slot) {
    return &p->slots[slot].tensor;
}

int exec_op_node(const struct program *p, int op) {
    return p->ops[op].node;
}

struct rows exec_op_rows(const struct program *p, int op) {
    return p->ops[op].out;
}

void exec_op_takes(struct program *p, int op, double ms) {
    p->ops[op].takes_ms = ms;
}

void exec_wire_takes(struct program *p, double encode_ms, double decode_ms) {
    p->encode_ms = encode_ms;
    p->decode_ms = decode_ms;
}

const char *exec_op_kernel(const struct program *p, int op) {
    const struct bound *b = p->ops[op].bound;
    if (p->ops[op].free)
        return "free";
    return b->kernel != NULL ? b->kernel : b->how->op != NULL ? p->plain->name : "reference";
}

int exec_op_chain(const struct program *p, int op, int *count, int64_t *strip) {
    for (int i = 0; i < p->chain_count; i++) {
        const struct chain *c = &p->chains[i];
        if (op < c->first || op >= c->first + c->count)
            continue;
        *count = c->count;
        *strip = c->strip;
        return c->first;
    }
    *count = 1;
    *strip = 0;
    return op;
}

int exec_chained(const struct program *p) {
    int count = 0;
    for (int i = 0; i < p->chain_count; i++)
        count += p->chains[i].count;
    return count;
}

void exec_count_choices(const struct program *p, int *signatures, int *chosen) {
    struct signature s;
    *signatures = *chosen = 0;
    for (int i = 0; i < p->graph->node_count; i++) {
        const struct bound *b = &p->bounds[i];
        if (b->how == NULL || !signature_of(p->graph, b->node, &s))
            continue;
        const char *name = tuned_kernel(p, b->node);
        ++*signatures;
        *chosen += name != NULL && b->kernel != NULL && strcmp(name, b->kernel) == 0;
    }
}

struct exec_memory exec_memory(const struct program *p) {
    struct exec_memory m = {.arena_bytes = p->arena_bytes - p->pinned_bytes,
                            .pinned_bytes = p->pinned_bytes};
    for (int i = 0; i < p->graph->node_count; i++)
        m.weights_bytes += p->bounds[i].weights_bytes;
    m.workspace_bytes =
        (p->workspace_stride + p->strip_stride) * (size_t)pool_threads(p->pool) + p->shared_bytes;
    return m;
}

size_t exec_node_weights(const struct program *p, int node) {
    return p->bounds[node].weights_bytes;
}

struct exec_half exec_half(const struct program *p) {
    struct exec_half sum = {0};
    for (int i = 0; i < p->graph->node_count; i++) {
        const struct exec_half *h = &p->bounds[i].half;
        sum.weights += h->weights;
        sum.saturated += h->saturated;
        sum.error = h->error > sum.error ? h->error : sum.error;
    }
    return sum;
}

struct exec_fp16 exec_fp16(const struct program *p) {
    struct exec_fp16 sum = {.on = p->fp16};
    struct signature s;
    for (int i = 0; i < p->graph->node_count; i++) {
        const struct bound *b = &p->bounds[i];
        if (b->how == NULL || !signature_of(p->graph, b->node, &s))
            continue;
        sum.operators += b->fp16;
        sum.macs += b->fp16 ? signature_macs(&s) : 0;
        sum.all_macs += signature_macs(&s);
    }
    for (int t = 0; t < pool_threads(p->pool); t++)
        sum.saturated += *thread_saturated(p, t);
    return sum;
}

#define CONVERTED_PER_NS 10 /* bytes on one core, roughly: 64 us for 3 x 224 x 224 floats */

/* Converting between a plain tensor and a feature map's rows: each thread those that it computes
 * with afterwards. */
struct conversion {
    const struct program *program;
    int64_t height;
    struct view view;
    const float *from;
    float *to;
};

static void store_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0, (void)block1, (void)thread;
    const struct conversion *c = context;
    c->program->plain->map_from_nchw(c->from, c->height, &c->view, y0, y1);
}

static void fetch_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0, (void)block1, (void)thread;
    const struct conversion *c = context;
    c->program->plain->map_to_nchw(&c->view, c->height, c->to, y0, y1);
}

static void convert(struct program *p, const struct slot *s, work_fn part, struct conversion *c) {
    c->program = p;
    c->height = value_geometry(graph_value(p->graph, s->value)).height;
    p->row_ns = (double)(c->view.row_pitch * (ptrdiff_t)sizeof(float)) / CONVERTED_PER_NS;
    run_parallel(p, s->rows.begin, s->rows.end, 1, part, c);
}

enum cohort_code exec_slot_store(struct program *p, int slot, const struct tensor *from,
                                 struct cohort_error *err) {
    struct slot *s = &p->slots[slot];
    const struct value *v = graph_value(p->graph, s->value);
    char want[SHAPE_TEXT_BYTES], got[SHAPE_TEXT_BYTES];
    if (from->type != v->type)
        return error_set(err, COHORT_ERR_SHAPE, "input '%s' is %s, but %s was given", v->name,
                         dtype_name(v->type), dtype_name(from->type));
    if (s->dynamic) {
        tensor_release(&s->tensor);
        return tensor_copy(&s->tensor, from, err);
    }
    if (!shape_equal(&from->shape, &v->shape))
        return error_set(err, COHORT_ERR_SHAPE, "input '%s' is %s, but %s was given", v->name,
                         shape_text(&v->shape, want, sizeof want),
                         shape_text(&from->shape, got, sizeof got));
    if (v->form == FORM_MAP) {
        convert(p, s, store_part,
                &(struct conversion){.view = slot_view(p, slot), .from = from->data});
    } else if (s->bytes > 0) {
        memcpy(s->data, from->data, s->bytes);
    }
    return COHORT_OK;
}

enum cohort_code exec_slot_fetch(struct program *p, int slot, struct tensor *to,
                                 struct cohort_error *err) {
    const struct slot *s = &p->slots[slot];
    const struct value *v = graph_value(p->graph, s->value);
    if (s->dynamic) {
        tensor_release(to);
        return tensor_copy(to, &s->tensor, err);
    }
    if (to->data == NULL) {
        enum cohort_code code = tensor_init(to, v->type, &v->shape, err);
        if (code != COHORT_OK)
            return code;
    }
    if (v->form == FORM_MAP) {
        convert(p, s, fetch_part, &(struct conversion){.view = slot_view(p, slot), .to = to->data});
    } else if (s->bytes > 0) {
        memcpy(to->data, s->data, s->bytes);
    }
    return COHORT_OK;
}
