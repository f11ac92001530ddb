/* What every engine of bench/single has in common: it opens one network, then does what it is told
 * through a pipe, in a process of its own (so its memory is its own).
 *
 *     ENGINE MODEL THREADS
 *     > ready OPEN_MS BEFORE_KB DOT SIZE     the network is open; peak memory before that; of one
 *                                            answer y: sum of y[i] h(i), sum of |y[i]|
 *     < run N                > ms MEAN       N inferences
 *     < memory               > kb PEAK
 *     > error MESSAGE                        and it ends
 *
 * C and C++; nothing of Cohort, so that the other engines do not carry it. */
#ifndef COHORT_BENCH_ENGINE_H
#define COHORT_BENCH_ENGINE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct engine {
    /* Each returns NULL, or what went wrong. */
    const char *(*open)(const char *model, int threads);
    const char *(*run)(void);
    /* The first output of the last run; NULL: this engine has no answer to compare. */
    const float *(*answer)(long *count);
};

static inline double engine_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* The same numbers in every engine: of inputs, and factors to sum answers with. */
static inline float engine_number(long i) {
    return (float)((double)((uint32_t)i * 2654435761u) / 4294967296.0 - 0.5);
}

/* Largest resident memory of this process so far, in kB. */
static inline long engine_peak_kb(void) {
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb;
}

static inline int engine_fail(const char *why) {
    printf("error %s\n", why);
    fflush(stdout);
    return 1;
}

static inline int engine_serve(const struct engine *e, int argc, char **argv) {
    char line[64];
    long count = 0;
    double dot = 0, size = 0;
    if (argc != 3 || atoi(argv[2]) < 1)
        return engine_fail("called as ENGINE MODEL THREADS");
    long before = engine_peak_kb();
    double start = engine_ms();
    const char *why = e->open(argv[1], atoi(argv[2]));
    double open_ms = engine_ms() - start;
    if (why == NULL)
        why = e->run();
    if (why != NULL)
        return engine_fail(why);
    const float *y = e->answer != NULL ? e->answer(&count) : NULL;
    for (long i = 0; y != NULL && i < count; i++) {
        dot += (double)y[i] * (double)engine_number(i);
        size += fabs((double)y[i]);
    }
    printf("ready %.3f %ld %.9g %.9g\n", open_ms, before, dot, size);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strncmp(line, "run ", 4) == 0) {
            long n = strtol(line + 4, NULL, 10);
            start = engine_ms();
            for (long i = 0; i < n && why == NULL; i++)
                why = e->run();
            double ms = engine_ms() - start;
            if (why != NULL)
                return engine_fail(why);
            printf("ms %.6f\n", ms / (double)(n > 0 ? n : 1));
        } else {
            printf("kb %ld\n", engine_peak_kb());
        }
        fflush(stdout);
    }
    return 0;
}

#endif
