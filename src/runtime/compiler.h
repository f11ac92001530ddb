/* Inside compiling a plan: what compile.c and compile_channels.c share. */
#ifndef COHORT_RUNTIME_COMPILER_H
#define COHORT_RUNTIME_COMPILER_H

#include "runtime/session.h"

/* What compiling keeps track of; arrays have one entry per value of the graph. */
struct compiler {
    struct cohort_session *s;
    bool *lives;         /* this board has it between segments … */
    struct rows *extent; /* … these rows of it, at most (an empty tensor has none) */
    int *kept;           /* the slot for these, or -1 */
    int *slot;           /* within one segment: this board's slot, or -1 */
    int *part_slot;      /* of each value of the shard: of what stays divided, or -1 */
    bool *pinned;        /* goes in or out of the network here */
    struct rows *need;   /* rows of this board in the segment at hand */
    int clock;           /* lifetimes are in this board's own steps and operators */
    int *ports;          /* room for the slots of one operator */
};

/* The slot is used at this point of the steps. */
void compiler_use_slot(struct compiler *c, int slot);
enum cohort_code compiler_new_slot(struct compiler *c, int id, struct rows rows, bool pinned,
                                   int *slot, struct cohort_error *err);
/* c->kept[id], made when it is first asked for; -1 where this board does not have the tensor. */
enum cohort_code compiler_kept_slot(struct compiler *c, int id, struct cohort_error *err);
/* A step of transition i, which uses its slots unless it is idle. */
enum cohort_code compiler_add_move_step(struct compiler *c, enum step_kind kind, int i, int segment,
                                        bool idle, struct cohort_error *err);
/* The steps of a segment by channels, when its inputs are there. */
enum cohort_code compiler_add_parts(struct compiler *c, const struct plan_part *part,
                                    struct cohort_error *err);

#endif
