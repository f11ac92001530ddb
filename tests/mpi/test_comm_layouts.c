/* Maps that change their layout: every layout into every other, with unequal and empty shares, by
 * every route; and sums of addends into every layout.  Cells hold mt_byte(row, byte), or small
 * whole numbers, whose sums are exact; guards lie around all memory.
 * np: 1 2 3 4 7 */
#include "tests/support/commtest.h"
#include "tests/support/mpitest.h"

#include "base/mem.h"
#include "comm/layouts.h"

#include <stdlib.h>
#include <string.h>

#define MAX_RANKS 16
#define GUARD     64

static unsigned seed = 5; /* the same on every rank, and advanced alike */

static int draw(int n) {
    seed = seed * 1103515245u + 12345u;
    return (int)(seed >> 16) % n;
}

static const char *const routes[] = {"straight", "round the ring", "by halves"};

/* ---- layouts --------------------------------------------------------------------------------- */

enum kind { AT, ROWS, HALO, CHANNELS, REPLICATED, KINDS };
static const char *const kinds[] = {"one rank's", "rows", "rows with halos", "channels",
                                    "everybody's"};

/* size+1 numbers from 0 to `units` that rise, or stay. */
static void random_split(int units, int split[]) {
    split[0] = 0;
    for (int r = 1; r < mt_size; r++)
        split[r] = draw(units + 1);
    split[mt_size] = units;
    for (int i = 1; i < mt_size; i++)
        for (int k = i; k > 1 && split[k] < split[k - 1]; k--) {
            int t = split[k];
            split[k] = split[k - 1];
            split[k - 1] = t;
        }
}

/* `block` bytes of a row are what a share of channels is made of. */
static void random_parts(enum kind kind, const struct comm_map *m, size_t block,
                         struct comm_part *parts) {
    int split[MAX_RANKS + 1];
    const int one = draw(mt_size), blocks = (int)((m->row_bytes + block - 1) / block);
    random_split(kind == CHANNELS ? blocks : (int)m->rows, split);
    const int halo = draw(4);
    for (int r = 0; r < mt_size; r++) {
        struct comm_part p = {0, m->rows, 0, m->row_bytes};
        if (kind == AT && r != one)
            p = (struct comm_part){0};
        if (kind == ROWS || kind == HALO) {
            p.y0 = split[r];
            p.y1 = split[r + 1];
        }
        if (kind == HALO && p.y0 < p.y1) {
            p.y0 = p.y0 > halo ? p.y0 - halo : 0;
            p.y1 = p.y1 + halo < m->rows ? p.y1 + halo : m->rows;
        }
        if (kind == CHANNELS) {
            p.b0 = (size_t)split[r] * block;
            p.b1 = (size_t)split[r + 1] * block;
            p.b1 = p.b1 < m->row_bytes ? p.b1 : m->row_bytes;
            p.b0 = p.b0 < p.b1 ? p.b0 : p.b1;
        }
        parts[r] = p;
    }
}

static size_t part_bytes(const struct comm_part *p) {
    return p->y0 < p->y1 && p->b0 < p->b1 ? (size_t)(p->y1 - p->y0) * (p->b1 - p->b0) : 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static unsigned char *new_memory(size_t bytes) {
    unsigned char *raw = aligned_alloc(GUARD, (bytes + 3 * GUARD - 1) / GUARD * GUARD);
    if (raw == NULL)
        abort();
    memset(raw, UNTOUCHED, (bytes + 3 * GUARD - 1) / GUARD * GUARD);
    return raw + GUARD;
}

static bool guards_hold(const unsigned char *memory, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++)
        if (memory[i - GUARD] != UNTOUCHED || memory[bytes + i] != UNTOUCHED)
            return false;
    return true;
}

static void fill(unsigned char *memory, const struct comm_part *p, int round) {
    for (int64_t y = p->y0; part_bytes(p) > 0 && y < p->y1; y++)
        for (size_t b = p->b0; b < p->b1; b++)
            *memory++ = mt_byte(y, b, round);
}

static bool is_filled(const unsigned char *memory, const struct comm_part *p, int round) {
    for (int64_t y = p->y0; part_bytes(p) > 0 && y < p->y1; y++)
        for (size_t b = p->b0; b < p->b1; b++)
            if (*memory++ != mt_byte(y, b, round))
                return false;
    return true;
}

static bool run_once(struct comm *c, struct comm_transfer *t) {
    struct cohort_error err = {0};
    bool good = comm_transfer_begin(t, &err) == COHORT_OK;
    for (int i = 0; i < 3 * mt_rank && good; i++)
        good = comm_poll(c, &err) == COHORT_OK;
    good = good && comm_transfer_end(t, &err) == COHORT_OK;
    if (!good)
        mt_note("%s", err.message);
    return good;
}

/* ---- spreading ------------------------------------------------------------------------------- */

static bool spread(struct comm *c, enum comm_route route, const struct comm_map *m,
                   const struct comm_part *has, const struct comm_part *wants) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    const size_t from_bytes = part_bytes(&has[mt_rank]), to_bytes = part_bytes(&wants[mt_rank]);
    unsigned char *from = new_memory(from_bytes), *to = new_memory(to_bytes);
    bool good = comm_spread_create(&t, c, route, m, has, wants, from, to, &err) == COHORT_OK;
    if (!good)
        mt_note("%s", err.message);
    const long allocations = mem_alloc_calls();
    for (int round = 0; round < 3 && good; round++) {
        memset(to, UNTOUCHED, to_bytes);
        fill(from, &has[mt_rank], round);
        good = run_once(c, t) && is_filled(to, &wants[mt_rank], round) &&
               is_filled(from, &has[mt_rank], round) && guards_hold(from, from_bytes) &&
               guards_hold(to, to_bytes);
    }
    good = good && mem_alloc_calls() == allocations;
    comm_transfer_destroy(&t);
    free(from - GUARD);
    free(to - GUARD);
    return good;
}

/* Rows shorter and longer than a message, and one row only. */
static const struct {
    struct comm_map map;
    size_t block;
} maps[] = {
    {{9, 5 * 448}, 448}, {{1, 16384}, 64}, {{3, 160000}, 32000}, {{40, 4 * 1792 + 112}, 1792}};
#define MAPS ((int)(sizeof maps / sizeof maps[0]))

static void all_pairs(struct comm *c) {
    for (int from = AT; from < REPLICATED; from++)
        for (int to = AT; to < KINDS; to++)
            for (int route = COMM_LINEAR; route <= COMM_HALVING; route++) {
                bool good = true;
                for (int i = 0; i < MAPS && from != HALO; i++)
                    for (int again = 0; again < 3; again++) {
                        struct comm_part has[MAX_RANKS], wants[MAX_RANKS];
                        random_parts((enum kind)from, &maps[i].map, maps[i].block, has);
                        random_parts((enum kind)to, &maps[i].map, maps[i].block, wants);
                        good &= spread(c, (enum comm_route)route, &maps[i].map, has, wants);
                    }
                if (from != HALO) /* these overlap */
                    mt_ok(good, "%s to %s, %s", kinds[from], kinds[to], routes[route]);
            }
}

/* The own part lies in its place already, and nothing else of it moves. */
static void in_place(struct comm *c) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    const struct comm_map m = {6, 640};
    struct comm_part parts[MAX_RANKS];
    random_parts(ROWS, &m, 64, parts);
    const size_t bytes = part_bytes(&parts[mt_rank]);
    unsigned char *memory = new_memory(bytes);
    fill(memory, &parts[mt_rank], 1);
    bool good =
        comm_spread_create(&t, c, COMM_LINEAR, &m, parts, parts, memory, memory, &err) == COHORT_OK;
    good = good && comm_transfer_bytes(t) == 0 && run_once(c, t) &&
           is_filled(memory, &parts[mt_rank], 1) && guards_hold(memory, bytes);
    comm_transfer_destroy(&t);
    free(memory - GUARD);
    mt_ok(good, "what stays where it is does not move");
}

/* ---- sums ------------------------------------------------------------------------------------ */

static float addend(int rank, int64_t y, size_t i, int round) {
    return (float)((rank + 1) * (int)((y * 31 + (int64_t)i * 7 + round) % 13) - 20);
}

static void fill_addend(unsigned char *memory, const struct comm_map *m, int round) {
    float *f = (float *)(void *)memory;
    for (int64_t y = 0; y < m->rows; y++)
        for (size_t i = 0; i < m->row_bytes / sizeof *f; i++)
            *f++ = addend(mt_rank, y, i, round);
}

static bool is_sum(const unsigned char *memory, const struct comm_part *p, const bool *gives,
                   int round) {
    const float *f = (const float *)(const void *)memory;
    for (int64_t y = p->y0; part_bytes(p) > 0 && y < p->y1; y++)
        for (size_t i = p->b0 / sizeof *f; i < p->b1 / sizeof *f; i++) {
            float sum = 0;
            for (int r = 0; r < mt_size; r++)
                sum += gives[r] ? addend(r, y, i, round) : 0;
            if (*f++ != sum)
                return false;
        }
    return true;
}

static bool reduce(struct comm *c, enum comm_route route, const struct comm_map *m,
                   const bool *gives, const struct comm_part *wants, bool same_memory) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    const size_t all = (size_t)m->rows * m->row_bytes;
    const size_t bytes = same_memory ? all : part_bytes(&wants[mt_rank]);
    unsigned char *from = new_memory(all), *to = same_memory ? from : new_memory(bytes);
    bool good = comm_reduce_create(&t, c, route, m, gives, wants, from, to, &err) == COHORT_OK;
    if (!good)
        mt_note("%s", err.message);
    const long allocations = mem_alloc_calls();
    for (int round = 0; round < 3 && good; round++) {
        memset(to, UNTOUCHED, bytes);
        if (gives[mt_rank])
            fill_addend(from, m, round);
        good = run_once(c, t) && is_sum(to, &wants[mt_rank], gives, round) &&
               guards_hold(from, all) && guards_hold(to, bytes);
    }
    good = good && mem_alloc_calls() == allocations;
    comm_transfer_destroy(&t);
    free(from - GUARD);
    if (!same_memory)
        free(to - GUARD);
    return good;
}

static void random_givers(bool *gives) {
    const int one = draw(mt_size);
    for (int r = 0; r < mt_size; r++)
        gives[r] = r == one || draw(3) > 0;
}

static void sums(struct comm *c) {
    for (int to = AT; to < KINDS; to++)
        for (int route = COMM_LINEAR; route <= COMM_HALVING && to != HALO; route++) {
            bool good = true;
            for (int i = 0; i < MAPS; i++)
                for (int again = 0; again < 3; again++) {
                    struct comm_part wants[MAX_RANKS];
                    bool gives[MAX_RANKS];
                    random_parts((enum kind)to, &maps[i].map, maps[i].block, wants);
                    if (to == AT && again < 2) /* to the root, as a plan has it */
                        for (int r = 0; r < mt_size; r++)
                            wants[r] = (struct comm_part){0, r == 0 ? maps[i].map.rows : 0, 0,
                                                          maps[i].map.row_bytes};
                    random_givers(gives);
                    good &= reduce(c, (enum comm_route)route, &maps[i].map, gives, wants,
                                   (to == REPLICATED || to == AT) && again > 0);
                }
            mt_ok(good, "a sum into %s, %s", kinds[to], routes[route]);
        }
}

/* Of numbers that round: all ranks get the same bits, straight those of adding in order. */
static void bits(struct comm *c, enum comm_route route) {
    enum { COUNT = 1000 };
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    const struct comm_map m = {5, COUNT / 5 * sizeof(float)};
    struct comm_part wants[MAX_RANKS];
    bool gives[MAX_RANKS];
    static float mine[COUNT], sum[COUNT], roots[COUNT], order[COUNT], theirs[COUNT];
    for (int r = 0; r < mt_size; r++) {
        wants[r] = (struct comm_part){0, m.rows, 0, m.row_bytes};
        gives[r] = true;
    }
    for (int i = 0; i < COUNT; i++)
        mine[i] = (float)((i * 7919 + mt_rank * 104729) % 10007) / 3.0f - 1000.0f;
    bool good = comm_reduce_create(&t, c, route, &m, gives, wants, mine, sum, &err) == COHORT_OK &&
                run_once(c, t);
    comm_transfer_destroy(&t);
    memcpy(roots, sum, sizeof roots);
    MPI_Bcast(roots, COUNT, MPI_FLOAT, 0, MPI_COMM_WORLD);
    good = good && memcmp(roots, sum, sizeof sum) == 0;
    for (int r = 0; r < mt_size; r++) {
        memcpy(theirs, mine, sizeof mine);
        MPI_Bcast(theirs, COUNT, MPI_FLOAT, r, MPI_COMM_WORLD);
        for (int i = 0; i < COUNT; i++)
            order[i] = r == 0 ? theirs[i] : order[i] + theirs[i];
    }
    mt_ok(good && (route != COMM_LINEAR || memcmp(order, sum, sizeof sum) == 0),
          "the same bits on all ranks, %s", routes[route]);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static bool refused(enum cohort_code code, struct comm_transfer **t) {
    const bool none = *t == NULL;
    comm_transfer_destroy(t);
    return code == COHORT_ERR_INTERNAL && none;
}

static void errors(struct comm *c) {
    struct cohort_error err = {0};
    struct comm_transfer *t = NULL;
    const struct comm_map m = {4, 64};
    struct comm_part all[MAX_RANKS], none[MAX_RANKS], odd[MAX_RANKS];
    bool nobody[MAX_RANKS] = {false}, everybody[MAX_RANKS];
    static float memory[64], other[64];
    for (int r = 0; r < mt_size; r++) {
        all[r] = (struct comm_part){0, 4, 0, 64};
        none[r] = (struct comm_part){0};
        odd[r] = (struct comm_part){0, 4, 0, r == 0 ? 6 : 0};
        everybody[r] = true;
    }
    mt_ok(refused(comm_spread_create(&t, c, COMM_LINEAR, &m, none, all, memory, other, &err), &t),
          "nobody has what is wanted");
    if (mt_size > 1)
        mt_ok(
            refused(comm_spread_create(&t, c, COMM_LINEAR, &m, all, all, memory, other, &err), &t),
            "two ranks have the same");
    mt_ok(refused(comm_reduce_create(&t, c, COMM_RING, &m, nobody, all, memory, other, &err), &t),
          "a sum of nothing");
    mt_ok(
        refused(comm_reduce_create(&t, c, COMM_RING, &m, everybody, odd, memory, other, &err), &t),
        "parts of numbers");
    /* one rank's own mistake is everybody's error */
    mt_ok(refused(comm_reduce_create(&t, c, COMM_LINEAR, &m, everybody, all, memory,
                                     mt_rank == mt_size - 1 ? NULL : other, &err),
                  &t),
          "no memory for the sum on one rank");
    mt_ok(spread(c, COMM_LINEAR, &m, none, none), "nothing to do, and the communicator is usable");
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 100);
    struct comm *c = mt_comm(20);
    all_pairs(c);
    in_place(c);
    sums(c);
    bits(c, COMM_LINEAR);
    bits(c, COMM_RING);
    bits(c, COMM_HALVING);
    errors(c);
    comm_destroy(&c);
    return mt_end();
}
