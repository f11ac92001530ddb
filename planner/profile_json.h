/* The part of a profile's JSON that stands in other files too: its links.  For src/profile, which
 * keeps them in a file of their own. */
#ifndef COHORT_PLANNER_PROFILE_JSON_H
#define COHORT_PLANNER_PROFILE_JSON_H

#include "base/json.h"
#include "planner/profile.h"

/* Adds "links" to `container`; *ok becomes false when memory is short. */
void profile_write_links(cJSON *container, const struct profile *p, bool *ok);
/* Fills in the links of p, which has none yet, from an object that profile_write_links() wrote;
 * p->board_count is known.  Errors: format, memory. */
enum cohort_code profile_read_links(const struct json_at *links, struct profile *p,
                                    struct cohort_error *err);

#endif
