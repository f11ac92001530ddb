/* Made-up weights, to time operators before theirs are here.
 *
 * They must come from memory, as in a network that is larger than all caches, but there is no need
 * for all of them: touching a page for the first time can take longer than timing what lies in it.
 * So operators' weights lie one behind the other in one block, from its begin again where it ends.
 * How large that must be is known when all operators are bound; they get their places then.  Where
 * memory is too short for the weights of the largest, it computes its channels in turns, with the
 * same weights: it reads as many bytes, and they come from memory as long as the block is larger
 * than the caches. */
#include "exec/lower.h"

#include "base/mem.h"

#include <string.h>

#define PATTERN_WORDS 1024

/* Numbers of both signs near 0.01 (as float16: of 1): every page is there, nothing is denormal. */
static void fill(char *weights, size_t bytes) {
    uint32_t pattern[PATTERN_WORDS], state = 1;
    for (int i = 0; i < PATTERN_WORDS; i++) {
        state = state * 1664525u + 1013904223u;
        pattern[i] = 0x3c003c00u | (state & 0x80008000u) | (state >> 9 & 0x007f0000u);
    }
    for (size_t at = 0; at < bytes; at += sizeof pattern)
        memcpy(weights + at, pattern, bytes - at < sizeof pattern ? bytes - at : sizeof pattern);
}

static size_t padded(size_t bytes) {
    return (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
}

int made_up_channels(const struct program *p, int channels,
                     size_t (*bytes_of)(const void *context, int channels), const void *context) {
    const size_t most = p->options.made_up_most / MEM_ALIGN * MEM_ALIGN;
    if (!p->options.zero_weights || most == 0 || bytes_of(context, channels) <= most)
        return channels;
    int some = (channels - 1) / BLOCK * BLOCK;
    while (some > BLOCK && bytes_of(context, some) > most)
        some -= BLOCK;
    return some > 0 ? some : channels;
}

enum cohort_code weights_alloc(struct program *p, struct bound *b, size_t bytes, void **weights,
                               struct cohort_error *err) {
    struct made_up *m = &p->made_up;
    b->borrowed = p->options.zero_weights && p->options.made_up_bytes > 0;
    if (b->borrowed) {
        if (bytes > SIZE_MAX / 2 || !MEM_GROW(m->wanted, m->capacity, m->count))
            return error_memory(err, bytes, "packed weights");
        m->wanted[m->count++] = (struct made_up_place){.weights = weights, .bytes = bytes};
        return COHORT_OK;
    }
    *weights = packed_alloc(p, bytes);
    if (*weights == NULL)
        return error_memory(err, bytes, "packed weights");
    if (p->options.zero_weights)
        fill(*weights, bytes);
    return COHORT_OK;
}

void weights_free(const struct bound *b, void *weights) {
    if (!b->borrowed)
        packed_free(weights);
}

/* So much as the largest operator needs, or as is asked for. */
static size_t most_of(const struct program *p) {
    size_t most = padded(p->options.made_up_bytes);
    for (size_t i = 0; i < p->made_up.count; i++)
        if (padded(p->made_up.wanted[i].bytes) > most)
            most = padded(p->made_up.wanted[i].bytes);
    return most;
}

/* Sets `at` of all; returns how much of the block they reach. */
static size_t find_places(struct made_up *m, size_t most) {
    size_t next = 0, reach = 0;
    for (size_t i = 0; i < m->count; i++) {
        const size_t bytes = padded(m->wanted[i].bytes);
        m->wanted[i].at = next + bytes <= most ? next : 0;
        next = m->wanted[i].at + bytes;
        reach = next > reach ? next : reach;
    }
    return reach;
}

enum cohort_code made_up_weights(struct program *p, struct cohort_error *err) {
    struct made_up *m = &p->made_up;
    if (m->count == 0)
        return COHORT_OK;
    const size_t bytes = find_places(m, most_of(p));
    m->data = mem_alloc(bytes);
    if (m->data == NULL)
        return error_memory(err, bytes, "made-up weights");
    fill(m->data, bytes);
    for (size_t i = 0; i < m->count; i++)
        *m->wanted[i].weights = m->data + m->wanted[i].at;
    return COHORT_OK;
}

void made_up_release(struct program *p) {
    mem_free(p->made_up.data);
    mem_free(p->made_up.wanted);
    p->made_up = (struct made_up){0};
}
