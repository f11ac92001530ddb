/* States of `auto`'s search; see auto_states.h. */
#include "planner/auto_states.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024

static uint64_t mix(uint64_t hash, uint64_t x) {
    hash = (hash ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

/* ---- layouts -------------------------------------------------------------------------------- */

enum cohort_code layouts_init(struct layouts *l, int boards, struct cohort_error *err) {
    *l = (struct layouts){.boards = boards, .buckets = mem_alloc(BUCKETS * sizeof *l->buckets)};
    if (l->buckets == NULL)
        return error_memory(err, BUCKETS * sizeof *l->buckets, "a search");
    for (int i = 0; i < BUCKETS; i++)
        l->buckets[i] = -1;
    return COHORT_OK;
}

void layouts_release(struct layouts *l) {
    mem_free(l->splits);
    mem_free(l->by_channels);
    mem_free(l->buckets);
    mem_free(l->next);
    *l = (struct layouts){0};
}

enum cohort_code layouts_number(struct layouts *l, const int64_t *split, bool by_channels,
                                int *number, struct cohort_error *err) {
    const size_t n = (size_t)l->boards + 1;
    uint64_t hash = by_channels;
    for (size_t i = 0; i < n; i++)
        hash = mix(hash, (uint64_t)split[i]);
    int *bucket = &l->buckets[hash % BUCKETS];
    for (int i = *bucket; i >= 0; i = l->next[i])
        if (l->by_channels[i] == by_channels &&
            memcmp(l->splits + (size_t)i * n, split, n * sizeof *split) == 0) {
            *number = l->boards + 1 + i;
            return COHORT_OK;
        }
    const size_t used = (size_t)l->count * n;
    if (used + n > l->capacity) {
        const size_t more = 2 * (used + n);
        int64_t *bigger = mem_realloc(l->splits, more * sizeof *bigger);
        if (bigger == NULL)
            return error_memory(err, more * sizeof *bigger, "a search");
        l->splits = bigger;
        l->capacity = more;
    }
    if (!MEM_GROW(l->next, l->next_capacity, (size_t)l->count) ||
        !MEM_GROW(l->by_channels, l->by_channels_capacity, (size_t)l->count))
        return error_memory(err, (size_t)l->count * sizeof *l->next, "a search");
    memcpy(l->splits + used, split, n * sizeof *split);
    l->by_channels[l->count] = by_channels;
    l->next[l->count] = *bucket;
    *bucket = l->count;
    *number = l->boards + 1 + l->count++;
    return COHORT_OK;
}

struct layout layouts_get(const struct layouts *l, int number) {
    if (number < l->boards)
        return (struct layout){.kind = LAYOUT_AT, .board = number};
    if (number == l->boards)
        return (struct layout){.kind = LAYOUT_REPLICATED};
    return (struct layout){.kind = layouts_by_channels(l, number) ? LAYOUT_CHANNELS : LAYOUT_ROWS,
                           .split = l->splits +
                                    (size_t)(number - l->boards - 1) * ((size_t)l->boards + 1)};
}

/* ---- states --------------------------------------------------------------------------------- */

enum cohort_code states_init(struct states *s, int cuts, struct cohort_error *err) {
    const size_t n = (size_t)cuts + 1;
    *s = (struct states){.cuts = cuts,
                         .buckets = mem_alloc(BUCKETS * sizeof *s->buckets),
                         .first = mem_zalloc(n, sizeof *s->first),
                         .kept_first = mem_zalloc(n, sizeof *s->kept_first),
                         .kept = mem_zalloc(n, sizeof *s->kept)};
    if (s->buckets != NULL && s->first != NULL && s->kept_first != NULL && s->kept != NULL)
        return COHORT_OK;
    states_release(s);
    return error_memory(err, n * sizeof *s->first, "a search");
}

void states_release(struct states *s) {
    mem_free(s->list);
    mem_free(s->keys);
    mem_free(s->buckets);
    mem_free(s->first);
    mem_free(s->order);
    mem_free(s->kept_first);
    mem_free(s->kept);
    mem_free(s->memory);
    *s = (struct states){0};
}

void states_begin_cut(struct states *s, int cut) {
    for (int i = 0; i < BUCKETS; i++)
        s->buckets[i] = -1;
    s->first[cut] = s->count;
}

static uint64_t hash_of(const int *key, int length) {
    uint64_t hash = 0;
    for (int i = 0; i < length; i++)
        hash = mix(hash, (uint64_t)key[i]);
    return hash;
}

static int *bucket_of(const struct states *s, uint64_t hash) {
    return &s->buckets[hash % BUCKETS];
}

static bool is_key(const struct states *s, int state, uint64_t hash, const int *key, int length) {
    return s->list[state].hash == hash &&
           memcmp(s->keys + s->list[state].key, key, (size_t)length * sizeof *key) == 0;
}

int states_find(const struct states *s, const int *key, int length) {
    const uint64_t hash = hash_of(key, length);
    int i = *bucket_of(s, hash);
    while (i >= 0 && !is_key(s, i, hash, key, length))
        i = s->list[i].chain;
    return i;
}

/* Room for a key's numbers. */
static bool grow_keys(struct states *s, int length) {
    if (s->keys_used + (size_t)length <= s->key_capacity)
        return true;
    const size_t more = 2 * (s->keys_used + (size_t)length);
    int *bigger = mem_realloc(s->keys, more * sizeof *bigger);
    if (bigger == NULL)
        return false;
    s->keys = bigger;
    s->key_capacity = more;
    return true;
}

/* A new state; it is not looked whether there is one with its key. */
static enum cohort_code append(struct states *s, uint64_t hash, const int *key, int length,
                               const struct way *w, struct cohort_error *err) {
    if (!MEM_GROW(s->list, s->capacity, (size_t)s->count) || !grow_keys(s, length))
        return error_memory(err, (size_t)s->count * sizeof *s->list, "a search");
    int *bucket = bucket_of(s, hash);
    s->list[s->count] = (struct state){.best = *w,
                                       .second = {.ms = INFINITY, .from = -1},
                                       .key = (int)s->keys_used,
                                       .hash = hash,
                                       .chain = *bucket};
    memcpy(s->keys + s->keys_used, key, (size_t)length * sizeof *key);
    s->keys_used += (size_t)length;
    *bucket = s->count++;
    return COHORT_OK;
}

enum cohort_code states_relax(struct states *s, const int *key, int length, const struct way *w,
                              struct cohort_error *err) {
    const int found = states_find(s, key, length);
    if (found >= 0) {
        struct state *old = &s->list[found];
        if (w->ms < old->best.ms) {
            old->second = old->best;
            old->best = *w;
        } else if (old->second.from < 0 || w->ms < old->second.ms) {
            old->second = *w;
        }
        return COHORT_OK;
    }
    return append(s, hash_of(key, length), key, length, w, err);
}

/* ---- with memory ---------------------------------------------------------------------------- */

static bool no_more(const double *a, const double *b, int count) {
    for (int i = 0; i < count; i++)
        if (a[i] > b[i])
            return false;
    return true;
}

static double sum_of(const double *memory, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += memory[i];
    return sum;
}

bool states_dominated(struct states *s, const int *key, int length, double ms,
                      const double *memory) {
    const uint64_t hash = hash_of(key, length);
    const double bytes = sum_of(memory, s->numbers); /* of more bytes in all, some number is more */
    int *bucket = bucket_of(s, hash);
    for (int *link = bucket; *link >= 0; link = &s->list[*link].chain) {
        const int i = *link;
        if (s->list[i].best.ms <= ms && s->list[i].bytes <= bytes &&
            no_more(s->memory + (size_t)i * (size_t)s->numbers, memory, s->numbers) &&
            is_key(s, i, hash, key, length)) {
            *link = s->list[i].chain;
            s->list[i].chain = *bucket;
            *bucket = i;
            return true;
        }
    }
    return false;
}

enum cohort_code states_add(struct states *s, const int *key, int length, const struct way *w,
                            const double *memory, struct cohort_error *err) {
    const size_t n = (size_t)s->numbers, used = (size_t)s->count * n;
    const uint64_t hash = hash_of(key, length);
    const double bytes = sum_of(memory, s->numbers);
    if (states_dominated(s, key, length, w->ms, memory))
        return COHORT_OK;
    for (int *link = bucket_of(s, hash); *link >= 0;) {
        struct state *old = &s->list[*link];
        old->dead = w->ms <= old->best.ms && bytes <= old->bytes &&
                    no_more(memory, s->memory + (size_t)*link * n, s->numbers) &&
                    is_key(s, *link, hash, key, length);
        if (old->dead)
            *link = old->chain;
        else
            link = &old->chain;
    }
    if (used + n > s->memory_capacity) {
        const size_t more = 2 * (used + n);
        double *bigger = mem_realloc(s->memory, more * sizeof *bigger);
        if (bigger == NULL)
            return error_memory(err, more * sizeof *bigger, "a search");
        s->memory = bigger;
        s->memory_capacity = more;
    }
    memcpy(s->memory + used, memory, n * sizeof *memory);
    const enum cohort_code code = append(s, hash, key, length, w, err);
    if (code == COHORT_OK)
        s->list[s->count - 1].bytes = bytes;
    return code;
}

/* ---- the end of a cut ------------------------------------------------------------------------ */

struct ranked {
    double ms, bytes;
    int state;
};

static int by_ms(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->ms < y->ms || x->ms > y->ms)
        return x->ms < y->ms ? -1 : 1;
    return x->state - y->state;
}

static int by_bytes(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->bytes < y->bytes || x->bytes > y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return by_ms(a, b);
}

/* Of the board that needs most: memory is weights of every board, then what is alive. */
static double most_bytes(const struct states *s, int state) {
    const double *memory = s->memory + (size_t)state * (size_t)s->numbers;
    double most = 0;
    for (int b = 0; b < s->numbers / 2; b++)
        most = fmax(most, memory[b] + memory[s->numbers / 2 + b]);
    return most;
}

enum cohort_code states_end_cut(struct states *s, int cut, int most, int *left_out,
                                struct cohort_error *err) {
    const int all = s->count - s->first[cut];
    int count = 0;
    struct ranked *ranked = mem_alloc(((size_t)all + 1) * sizeof *ranked);
    if (ranked == NULL)
        return error_memory(err, (size_t)all * sizeof *ranked, "a search");
    for (int i = s->first[cut]; i < s->count; i++)
        if (!s->list[i].dead)
            ranked[count++] =
                (struct ranked){s->list[i].best.ms, s->numbers > 0 ? most_bytes(s, i) : 0, i};
    qsort(ranked, (size_t)count, sizeof *ranked, by_ms);
    if (s->numbers > 0 && count > most) {
        qsort(ranked + most / 2, (size_t)(count - most / 2), sizeof *ranked, by_bytes);
        qsort(ranked + most / 2, (size_t)(most - most / 2), sizeof *ranked, by_ms);
    }
    s->kept_first[cut] = s->order_count;
    s->kept[cut] = count < most ? count : most;
    *left_out += count - s->kept[cut];
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < s->kept[cut] && code == COHORT_OK; i++) {
        if (!MEM_GROW(s->order, s->order_capacity, (size_t)s->order_count))
            code = error_memory(err, (size_t)s->order_count * sizeof *s->order, "a search");
        else
            s->order[s->order_count++] = ranked[i].state;
    }
    mem_free(ranked);
    return code;
}
