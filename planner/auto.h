/* The search of `auto`: an exact dynamic program over (cut, where every tensor that goes on lies).
 *
 * Its space, which docs/planning.md states and a test enumerates with its own code:
 *   - cuts: those of cuts.h with at most limits.live tensors going on;
 *   - a tiled segment covers up to limits.longest units (what lies between neighbouring cuts), all
 * of them divisible; its split is one of the finite set `sigma` of the cut that it ends with; its
 *     outputs stay or go to the root;
 *   - a local segment, on one of sigma's boards, or a replicated one, covers one unit; its outputs
 *     stay;
 *   - a segment by channels: out-channel over up to limits.channel_units units that have an
 * operator worth it (sigma_makes_channels); channelwise over as many, or in-channel over one
 * operator that reads what the unit before it made last, where what it reads lies divided so.  Its
 * split is one of a finite set too; outputs stay (not in-channel), go to the root, or to all;
 *   - a fully connected layer that reads the map which the unit before it made last, wherever that
 *     lies, by the map's rows (rows-gemm): its splits are those of tiled segments that end with the
 *     map; outputs go to the root, or to all.
 * The objective is the sum of steps (plan_step_sum).  With a memory limit the cheapest way to a
 * state need not be on the cheapest plan: then a state is a *label*, with its memory, and of those
 * that have tensors in the same places only labels stay which none is better than in both.  For
 * planner/ and its tests only. */
#ifndef COHORT_PLANNER_AUTO_H
#define COHORT_PLANNER_AUTO_H

#include "planner/cuts.h"
#include "planner/strategy.h"

struct auto_limits {
    int live;     /* tensors that may go over a cut */
    bool thin;    /* cuts_thin() */
    int rooted;   /* splits that mind the way from and to the root: for so many sets of boards */
    int longest;  /* units of a tiled segment */
    int splits;   /* of a cut */
    int states;   /* kept at a cut: the cheapest; more than that and the search is not exact */
    int channels; /* splits by channels, of a cut; 0: no such segments */
    int channel_units; /* units of a segment by channels */
    /* An operator is worth it when its weights are so many times the bytes of what it reads and
     * makes, or where it makes fewer rows than this times the boards that compute. */
    double channel_weights, channel_rows;
    bool even;    /* by channels: an even split too, which needs least memory */
    double wait;  /* waits count so much: 1, or less to make plans for the simulator, where boards
                     do not wait for one another as in the sum of steps */
    double price; /* milliseconds that a byte of weights adds, on the board of the segment that has
                     most of them: plans that need less memory for little more time */
    double most_ms; /* plans that take longer are no use; 0: any is */
    /* Bytes that boards may need at most, as auto_memory.h counts them, beside cost_memory_limit()
     * of each (INFINITY: only that); 0: no limit counts. */
    double memory;
};
struct auto_limits auto_limits_for(const struct cost_model *m);

/* Everything that a segment may be, finite and printable. */
struct sigma {
    const struct cost_model *m;
    struct cuts *cuts;
    struct auto_limits limits;
    int64_t *splits; /* [number * (boards + 1)] */
    size_t capacity;
    int count;
    int *first, *size; /* per cut: its splits are numbers first … first+size-1 */
    /* Splits by channels of what ends each cut: as numbers, too. */
    int *channel_first, *channel_size;
    int *boards; /* that may run a local segment */
    int board_count;
    bool replicate; /* every board computes, so that replicated segments are possible */
    int dropped;    /* splits left out because there were more than limits.splits */
};
/* plans: those of other strategies, whose splits come in too. */
enum cohort_code sigma_create(struct sigma **s, const struct cost_model *m,
                              const struct auto_limits *limits, struct plan *const *plans,
                              int plan_count, struct cohort_error *err);
void sigma_destroy(struct sigma **s);
/* May the units between two cuts be a segment by channels?  Out-channel: where that is worth it. */
bool sigma_makes_channels(const struct sigma *s, int begin, int end);
bool sigma_keeps_channels(const struct sigma *s, int begin, int end);
bool sigma_sums_channels(const struct sigma *s, int begin, int end);
/* May the operator between two cuts be divided by rows of what the one before made last? */
bool sigma_sums_rows(const struct sigma *s, int begin, int end);
/* Are the split's shares such that nodes [first, end) can be divided so? */
bool sigma_in_units(const struct sigma *s, int first, int end, enum plan_mode mode, int split);
static inline const int64_t *sigma_split(const struct sigma *s, int number) {
    return s->splits + (size_t)number * ((size_t)s->m->boards + 1);
}

/* One segment of a found plan. */
struct auto_segment {
    int end; /* cut */
    enum plan_mode mode;
    enum plan_output output;
    int board;             /* local */
    int split;             /* tile, by channels: number in sigma */
    enum plan_route route; /* by channels: of what goes to the root or to all */
};
struct auto_plan {
    double ms; /* sum of steps */
    struct auto_segment *segments;
    int count;
};
struct auto_found {
    struct auto_plan *plans; /* the best one first; the others differ from it in one decision */
    int count;
    long states; /* made */
    long steps;  /* transitions looked at */
    int pruned;  /* states left out by limits.states; 0: the first plan is exact */
    double
        least_bytes; /* with a limit: on the board that needs most, of the plan that needs least */
};
enum cohort_code auto_search(struct auto_found *f, const struct sigma *s, int most,
                             struct cohort_error *err);
void auto_release(struct auto_found *f);

#endif
