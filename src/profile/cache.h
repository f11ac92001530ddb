/* Profiles that were measured before: where they are kept, and whether they still hold.
 *
 * Two files.  One for a network on these boards (docs/profile-format.md), one for the links, which
 * all networks share ("cohort-links").  A file holds only for exactly what it was measured on.
 * Local, for rank 0. */
#ifndef COHORT_PROFILE_CACHE_H
#define COHORT_PROFILE_CACHE_H

#include "profile/measure.h"

/* The files' names in a directory, new (mem_free); NULL: memory is short.  winograd_bytes: how
 * large a layer's weights may become by Winograd's transformation (kernels/kernel.h), which small
 * boards and limits make less. */
char *profile_path(const char *directory, const struct profile *p, size_t winograd_bytes);
char *profile_links_path(const char *directory, const struct profile_facts *facts, int boards);

/* Was `kept` measured on the same network, version, boards and settings as `now` is of?  false:
 * why[] says what differs first. */
bool profile_matches(const struct profile *kept, const struct profile *now,
                     char why[PROFILE_WHY_BYTES]);

/* Is a type of a profile what this rank has?  false: why[] says what differs first. */
bool profile_type_fits(const struct profile_type *t, const struct profile_facts *f,
                       char why[PROFILE_WHY_BYTES]);
/* Leaves of p one board: the fastest of the type that these facts are of, under their host's name.
 * p stays as it is after an error.  Errors: plan (none is of that type), memory. */
enum cohort_code profile_narrow(struct profile *p, const struct profile_facts *f,
                                struct cohort_error *err);

/* Writes the links of p, which are those of these boards.  Makes directories.  Errors: io, memory.
 */
enum cohort_code profile_save_links(const struct profile *p, const struct profile_facts *facts,
                                    const char *path, struct cohort_error *err);
/* Fills in the links of p from such a file.  Errors: io, format (it is for other boards, too). */
enum cohort_code profile_load_links(struct profile *p, const struct profile_facts *facts,
                                    const char *path, struct cohort_error *err);
/* The links of `from` instead of p's own, which are freed. */
void profile_move_links(struct profile *p, struct profile *from);

#endif
