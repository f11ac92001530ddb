/* The grammar of JSON (RFC 8259), checked before cJSON sees a text.  For base/json.c only. */
#ifndef COHORT_BASE_JSON_CHECK_H
#define COHORT_BASE_JSON_CHECK_H

#include <stddef.h>

/* NULL when the text is one JSON value within Cohort's limits; otherwise what is wrong, with
 * *at the byte where. */
const char *json_check(const char *text, size_t bytes, size_t *at);

/* Bytes of the UTF-8 character at text, 1 to 4; 0 when the bytes before end are none. */
size_t json_utf8_bytes(const char *text, const char *end);

#endif
