#include "base/hash.h"

#include <xxhash.h>

#include <stdio.h>

void hash_bytes(const void *data, size_t bytes, char hex[HASH_TEXT_BYTES]) {
    XXH128_hash_t h = XXH3_128bits(data, bytes);
    snprintf(hex, HASH_TEXT_BYTES, "%016llx%016llx", (unsigned long long)h.high64,
             (unsigned long long)h.low64);
}
