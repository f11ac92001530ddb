/* Packed weights, many to a block.
 *
 * A layer's weights are some hundred KB, an inference reads all of them, and with pages of 4 KB it
 * spends a part of its time on looking addresses up.  Huge pages need 2 MB of one allocation, so
 * layers share blocks.  A block goes when nobody has anything of it: programs with other kernels
 * share packed weights (rival.c), so these may outlive the program that packed them. */
#include "exec/lower.h"

#include <string.h>

#define BLOCK_LEAST ((size_t)2 << 20)  /* with less to come everything is by itself */
#define BLOCK_MOST  ((size_t)32 << 20) /* what an unlucky last piece may leave empty */
#define ALONE       (BLOCK_MOST / 2)   /* has huge pages of its own */

struct packed_block {
    size_t bytes, used; /* of the whole */
    int users;          /* weights in it, and the program that fills it */
};

struct packed_header { /* MEM_ALIGN bytes before the weights */
    struct packed_block *block;
    size_t bytes;
};

static size_t padded(size_t bytes) {
    return (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
}

static struct packed_block *block_create(size_t bytes) {
    struct packed_block *block = mem_alloc(bytes);
    if (block != NULL)
        *block = (struct packed_block){.bytes = bytes, .used = MEM_ALIGN, .users = 1};
    return block;
}

static void block_leave(struct packed_block *block) {
    if (block != NULL && --block->users == 0)
        mem_free(block);
}

/* A block with so much room; one that was not full is left as it is. */
static bool block_with_room(struct packing *k, size_t bytes) {
    if (k->block != NULL && k->block->bytes - k->block->used >= bytes)
        return true;
    size_t want = k->ahead < BLOCK_MOST ? k->ahead : BLOCK_MOST;
    if (want < BLOCK_LEAST || want < bytes + MEM_ALIGN || bytes > ALONE)
        return false;
    struct packed_block *block = block_create(want);
    if (block == NULL)
        return false;
    block_leave(k->block);
    k->block = block;
    return true;
}

void *packed_alloc(struct program *p, size_t bytes) {
    struct packing *k = &p->packing;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t whole = MEM_ALIGN + padded(bytes);
    bool shared = block_with_room(k, whole);
    struct packed_block *block = shared ? k->block : block_create(MEM_ALIGN + whole);
    if (block == NULL)
        return NULL;
    char *at = (char *)block + block->used;
    block->used += whole;
    block->users += shared;
    k->ahead -= whole < k->ahead ? whole : k->ahead;
    *(struct packed_header *)(void *)at = (struct packed_header){.block = block, .bytes = bytes};
    return memset(at + MEM_ALIGN, 0, bytes);
}

void packed_free(void *weights) {
    if (weights == NULL)
        return;
    const struct packed_header *header = (void *)((char *)weights - MEM_ALIGN);
    struct packed_block *block = header->block;
    if (block->users > 1) /* the block stays, its memory need not */
        mem_discard(weights, header->bytes);
    block_leave(block);
}

/* What the operators that are not bound yet have of constants, as floats. */
enum cohort_code packing_begins(struct program *p, struct cohort_error *err) {
    const struct graph *g = p->graph;
    const size_t nodes = (size_t)g->node_count;
    if (p->packing.begun)
        return COHORT_OK;
    bool *seen = mem_zalloc(nodes, sizeof *seen);
    if (seen == NULL)
        return error_memory(err, nodes, "a list of operators");
    p->packing = (struct packing){.ahead = MEM_ALIGN, .begun = true};
    for (int i = 0; i < p->op_count; i++) {
        const struct node *n = &g->nodes[p->ops[i].node];
        if (seen[p->ops[i].node] || p->ops[i].bound->how != NULL)
            continue;
        seen[p->ops[i].node] = true;
        for (int k = 0; k < n->in_count; k++) {
            const struct value *v = n->in[k] >= 0 ? &g->values[n->in[k]] : NULL;
            if (v != NULL && v->is_constant)
                p->packing.ahead +=
                    MEM_ALIGN + padded((size_t)shape_count(&v->shape) * sizeof(float));
        }
    }
    mem_free(seen);
    return COHORT_OK;
}

void packing_ends(struct program *p) {
    block_leave(p->packing.block);
    p->packing = (struct packing){0};
}
