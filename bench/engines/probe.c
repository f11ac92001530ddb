/* The probe of bench/single: a fixed piece of work whose time tells whether the machine is at its
 * usual speed.
 *
 * On this project's virtual machines convolutions lose 30 % for seconds at a time while
 * multiplications in registers do not: what is lost is loading.  So the probe loads: two vectors
 * for each multiply-add, from arrays that fill half of a usual second-level cache. */
#include "engine.h"

#include "board/board.h"
#include "board/pool.h"

#define FLOATS  24576 /* two arrays of 96 KiB */
#define REPEATS 2000

typedef float wide __attribute__((vector_size(32)));

static struct {
    struct pool *pool;
    wide *arrays; /* of each thread: 2 * FLOATS floats */
    float sums[BOARD_CORES_MAX];
    struct cohort_error err;
} probe;

#if defined(__x86_64__)
__attribute__((target_clones("avx2", "default")))
#endif
static float
work(const wide *a, const wide *b) {
    enum { N = FLOATS / 8 };
    wide s[4] = {{0}};
    for (int r = 0; r < REPEATS; r++) {
        for (int i = 0; i < N; i += 4)
            for (int j = 0; j < 4; j++)
                s[j] += a[i + j] * b[i + j];
        __asm__ volatile("" ::: "memory");
    }
    s[0] += s[1] + s[2] + s[3];
    return s[0][0] + s[0][7];
}

static void item(void *context, int64_t i, int thread) {
    (void)context;
    (void)i;
    const wide *a = probe.arrays + (size_t)thread * 2 * FLOATS / 8;
    probe.sums[thread] += work(a, a + FLOATS / 8);
}

static const char *open_probe(const char *model, int threads) {
    struct board board;
    const struct board_options options = {.threads = threads, .local_size = 1, .bind = true};
    (void)model;
    if (board_detect(&board, &options, &probe.err) != COHORT_OK ||
        pool_create(&probe.pool, &board, !board.oversubscribed, &probe.err) != COHORT_OK)
        return probe.err.message;
    size_t bytes = (size_t)threads * 2 * FLOATS * sizeof(float);
    probe.arrays = aligned_alloc(64, bytes);
    if (probe.arrays == NULL)
        return "out of memory";
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)probe.arrays)[i] = 1e-3f;
    return NULL;
}

/* As many items as threads; which thread takes which is all the same. */
static const char *run(void) {
    pool_run(probe.pool, pool_threads(probe.pool), item, NULL);
    return probe.sums[0] < 0 ? "numbers went wrong" : NULL;
}

int main(int argc, char **argv) {
    const struct engine e = {.open = open_probe, .run = run};
    int status = engine_serve(&e, argc, argv);
    pool_destroy(&probe.pool);
    free(probe.arrays);
    return status;
}
