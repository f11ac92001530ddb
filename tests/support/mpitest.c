#include "tests/support/mpitest.h"

#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int mt_rank, mt_size;
static int mt_count, mt_failed;

void mt_begin(int *argc, char ***argv, unsigned limit_s) {
    int level;
    alarm(getenv("COHORT_EMULATOR") ? 4 * limit_s : limit_s); /* scripts/cross-check: slow */
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &mt_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &mt_size);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

bool mt_ok(bool mine, const char *name, ...) {
    int bad = mine ? 0 : 1;
    int first_bad = mine ? mt_size : mt_rank;
    int all[2];
    int lowest;
    MPI_Reduce(&bad, &all[0], 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    MPI_Allreduce(&first_bad, &lowest, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    mt_count++;
    if (mt_rank == 0) {
        va_list args;
        va_start(args, name);
        printf("%sok %d - ", lowest < mt_size ? "not " : "", mt_count);
        vprintf(name, args);
        if (lowest < mt_size)
            printf(" (%d of %d ranks, rank %d first)", all[0], mt_size, lowest);
        printf("\n");
        va_end(args);
    }
    mt_failed += lowest < mt_size;
    return lowest == mt_size;
}

void mt_note(const char *format, ...) {
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "# rank %d: %s\n", mt_rank, text); /* one write: ranks share stderr */
}

int mt_end(void) {
    long live = mem_live_blocks();
    if (live != 0)
        mt_note("%ld blocks (%zu bytes) are not freed", live, mem_live_bytes());
    mt_ok(live == 0, "everything is freed");
    if (mt_rank == 0)
        printf("1..%d\n", mt_count);
    MPI_Finalize();
    return mt_failed == 0 ? 0 : 1;
}

double mt_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool mt_said(enum cohort_code code, const struct cohort_error *err) {
    if (code != COHORT_OK)
        mt_note("%s", err->message);
    return code == COHORT_OK;
}

int64_t mt_elements(const struct cohort_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}

double mt_difference(const float *a, const float *b, int64_t count) {
    double worst = 0, most = 0;
    for (int64_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        most = fmax(most, fabs((double)b[i]));
    }
    return most > 0 ? worst / most : worst;
}
