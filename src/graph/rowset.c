/* Sets of rows; see rowset.h. */
#include "graph/rowset.h"

#include <string.h>

/* `at` has room for one range more than ROWSET_MAX. */
static int put_in(struct rows *at, const struct rowset *s, struct rows r) {
    int count = 0, i = 0;
    while (i < s->count && s->r[i].end < r.begin)
        at[count++] = s->r[i++];
    for (; i < s->count && s->r[i].begin <= r.end; i++)
        r = rows_hull(r, s->r[i]);
    at[count++] = r;
    while (i < s->count)
        at[count++] = s->r[i++];
    return count;
}

static void take(struct rowset *s, const struct rows *at, int count) {
    memcpy(s->r, at, (size_t)count * sizeof *at);
    s->count = count;
}

void rowset_cover(struct rowset *s, struct rows r) {
    struct rows at[ROWSET_MAX + 1];
    if (rows_empty(r))
        return;
    int count = put_in(at, s, r);
    if (count > ROWSET_MAX) {
        int narrow = 0;
        for (int i = 1; i + 1 < count; i++)
            if (at[i + 1].begin - at[i].end < at[narrow + 1].begin - at[narrow].end)
                narrow = i;
        at[narrow].end = at[narrow + 1].end;
        memmove(at + narrow + 1, at + narrow + 2, (size_t)(count - narrow - 2) * sizeof *at);
        count--;
    }
    take(s, at, count);
}

void rowset_hold(struct rowset *s, struct rows r) {
    struct rows at[ROWSET_MAX + 1];
    if (rows_empty(r))
        return;
    int count = put_in(at, s, r);
    if (count > ROWSET_MAX) {
        int small = 0;
        for (int i = 1; i < count; i++)
            if (rows_count(at[i]) < rows_count(at[small]))
                small = i;
        memmove(at + small, at + small + 1, (size_t)(count - small - 1) * sizeof *at);
        count--;
    }
    take(s, at, count);
}

struct rowset rowset_missing(const struct rowset *s, struct rows r) {
    struct rows at[ROWSET_MAX + 1];
    struct rowset out = {0};
    int count = 0;
    for (int i = 0; i < s->count && !rows_empty(r); i++) {
        if (s->r[i].end <= r.begin)
            continue;
        if (s->r[i].begin >= r.end)
            break;
        if (s->r[i].begin > r.begin)
            at[count++] = (struct rows){r.begin, s->r[i].begin};
        r.begin = s->r[i].end;
    }
    if (!rows_empty(r))
        at[count++] = r;
    for (int i = 0; i < count; i++)
        rowset_cover(&out, at[i]);
    return out;
}

bool rowset_has(const struct rowset *s, struct rows r) {
    return rowset_missing(s, r).count == 0;
}

int64_t rowset_count(const struct rowset *s) {
    int64_t sum = 0;
    for (int i = 0; i < s->count; i++)
        sum += rows_count(s->r[i]);
    return sum;
}

struct rows rowset_hull(const struct rowset *s) {
    if (s->count == 0)
        return (struct rows){0, 0};
    return (struct rows){s->r[0].begin, s->r[s->count - 1].end};
}
