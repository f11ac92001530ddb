/* Values on the wire: rows of a slot in fewer bytes, and back.
 *
 * Only float32 values change; others, and F32, travel as they lie.  F16 rounds to the nearest and
 * saturates: what is too large for it becomes +-65504, and is counted.  I8 keeps a scale for every
 * block of a row: the row's 16 channels of all pixels, or a narrow row as a whole. */
#ifndef COHORT_EXEC_WIRE_H
#define COHORT_EXEC_WIRE_H

#include "exec/exec.h"

enum wire { WIRE_F32, WIRE_F16, WIRE_I8 };

/* Bytes of one row of value `id` on the wire; equal to its own where nothing changes. */
size_t wire_row_bytes(const struct graph *g, int id, enum wire wire);
/* Does such a value change its form at all? */
bool wire_converts(const struct graph *g, int id, enum wire wire);

/* Where part `part` of a row's channels (exec_op_part()) begins in the row as it travels. */
size_t wire_part_begin(const struct graph *g, int id, enum wire wire, int part, int parts);

/* Rows `rows` of the slot, which travels, to and from memory whose first row is row `first`, on the
 * pool; to it one part of the channels (0 of 1: all).  *saturated grows by the numbers that were
 * too large.  Only where wire_converts(). */
void wire_encode(struct program *p, int slot, struct rows rows, enum wire wire, int part, int parts,
                 void *to, int64_t first, int64_t *saturated);
void wire_decode(struct program *p, int slot, struct rows rows, enum wire wire, const void *from,
                 int64_t first);

#endif
