/* 128-bit content hashes (XXH3), as 32 hex digits. Not for secrets: for finding equal things. */
#ifndef COHORT_BASE_HASH_H
#define COHORT_BASE_HASH_H

#include <stddef.h>

#define HASH_TEXT_BYTES 33
void hash_bytes(const void *data, size_t bytes, char hex[HASH_TEXT_BYTES]);

#endif
