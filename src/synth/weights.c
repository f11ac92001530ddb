/* Made-up weights: splitmix64 (Steele, Lea and Flood 2014) as a hash of key and index, then the sum
 * of the word's four 16-bit fields (Irwin and Hall's approximation of a normal distribution). */
#include "synth/weights.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* FNV-1a, 64 bits. */
static uint64_t hash_name(const char *name) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return h;
}

struct weights weights_of(uint64_t seed, const char *name, double mean, double deviation) {
    return (struct weights){
        .key = mix(mix(seed + GOLDEN) ^ hash_name(name)),
        .scale = (float)(deviation / WEIGHTS_SIGMA),
        .offset = (float)mean,
    };
}

void weights_fill(void *context, int64_t first, int64_t count, float *out) {
    const struct weights w = *(const struct weights *)context;
    uint64_t counter = w.key + (uint64_t)first * GOLDEN;
    for (int64_t i = 0; i < count; i++) {
        counter += GOLDEN;
        const uint64_t z = mix(counter);
        const int32_t sum = (int32_t)(z & 0xffff) + (int32_t)(z >> 16 & 0xffff) +
                            (int32_t)(z >> 32 & 0xffff) + (int32_t)(z >> 48) - 2 * 65535;
        out[i] = w.offset + w.scale * (float)sum;
    }
}
