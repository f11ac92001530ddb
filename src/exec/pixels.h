/* Pixels as they travel and as they are computed with: bytes in the order of a value's rows, and
 * the numbers of these rows in a slot.
 *
 * A row of bytes is a quarter of the value's own row.  Of a feature map, and of a value with
 * channels last, the caller's bytes [N][H][W][C] lie so already. */
#ifndef COHORT_EXEC_PIXELS_H
#define COHORT_EXEC_PIXELS_H

#include "exec/exec.h"
#include "graph/pixels.h"

size_t pixels_row_bytes(const struct graph *g, int id);
/* Do bytes [N][H][W][C] lie in the order of the value's rows? */
bool pixels_in_order(const struct graph *g, int id, bool channels_last);
/* Brings them into it. */
void pixels_arrange(const struct graph *g, int id, const uint8_t *from, uint8_t *to);

/* Rows `rows` of the slot from bytes whose first row is row `first`, by table[C][256], on the pool.
 */
void pixels_unpack(struct program *p, int slot, struct rows rows, const float *table,
                   bool channels_last, const uint8_t *from, int64_t first);

#endif
