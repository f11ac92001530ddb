/* The states of `auto`'s search: at every cut, where each tensor that goes on lies, with the least
 * sum of steps that leads there.  For auto_search.c only. */
#ifndef COHORT_PLANNER_AUTO_STATES_H
#define COHORT_PLANNER_AUTO_STATES_H

#include "planner/auto.h"

/* Layouts as numbers: 0 … boards-1 AT(that board), boards REPLICATED, from boards+1 on ROWS and
 * CHANNELS. */
struct layouts {
    int boards;
    int64_t *splits; /* [number * (boards + 1)] */
    size_t capacity;
    bool *by_channels; /* [number] */
    size_t by_channels_capacity;
    int count;
    int *buckets, *next; /* by content */
    size_t next_capacity;
};
enum cohort_code layouts_init(struct layouts *l, int boards, struct cohort_error *err);
void layouts_release(struct layouts *l);
enum cohort_code layouts_number(struct layouts *l, const int64_t *split, bool by_channels,
                                int *number, struct cohort_error *err);
struct layout layouts_get(const struct layouts *l, int number);
static inline bool layouts_by_channels(const struct layouts *l, int number) {
    return number > l->boards && l->by_channels[number - l->boards - 1];
}

/* How a state is reached. */
struct way {
    double ms;
    int from; /* state; -1: none */
    struct auto_segment segment;
};
struct state {
    struct way best, second; /* second: another one, for a plan that differs in one decision */
    int key;                 /* [key_length of the cut], in states.keys */
    bool dead;     /* with memory: another one is no worse in anything, and it is in no bucket */
    uint64_t hash; /* of the key */
    double bytes;  /* with memory: the sum of its numbers */
    int chain;     /* the next state of its bucket */
};
struct states {
    struct state *list;
    size_t capacity;
    int count;
    int *keys;
    size_t key_capacity, keys_used;
    int *buckets; /* of the cut at hand */
    int *first;   /* per cut: its states are first[c] … first[c+1]-1 until sorted() */
    int *order;   /* states of all cuts, each cut's cheapest first; those kept */
    size_t order_capacity;
    int order_count;
    int *kept_first, *kept; /* per cut, in order[] */
    int numbers;            /* of a state's memory; 0: memory does not count */
    double *memory;         /* [state * numbers] */
    size_t memory_capacity;
    int cuts;
};
enum cohort_code states_init(struct states *s, int cuts, struct cohort_error *err);
void states_release(struct states *s);
void states_begin_cut(struct states *s, int cut);
/* The state with that key; -1: there is none. */
int states_find(const struct states *s, const int *key, int length);
enum cohort_code states_relax(struct states *s, const int *key, int length, const struct way *w,
                              struct cohort_error *err);
/* With memory: is there a state with that key which takes no longer and needs no more of any
 * number?
 */
bool states_dominated(struct states *s, const int *key, int length, double ms,
                      const double *memory);
/* Adds a state, instead of those that it dominates, unless it is dominated. */
enum cohort_code states_add(struct states *s, const int *key, int length, const struct way *w,
                            const double *memory, struct cohort_error *err);
/* Sorts the cut's states and keeps the cheapest `most` (with memory a half of them, and of the rest
 * those that need least); *left_out counts the others. */
enum cohort_code states_end_cut(struct states *s, int cut, int most, int *left_out,
                                struct cohort_error *err);

#endif
