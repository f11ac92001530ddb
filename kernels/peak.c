/* The list of peak loops in this binary. */
#include "kernels/peak.h"

extern const struct peak peak_generic;
#if defined(__x86_64__) || defined(__i386__)
extern const struct peak peak_avx2, peak_avx512;
#endif
#if defined(__aarch64__)
extern const struct peak peak_neon64, peak_neon64hp;
#endif
#if defined(__arm__)
extern const struct peak peak_neon32;
#endif

static const struct peak *const list[] = {
    &peak_generic,
#if defined(__x86_64__) || defined(__i386__)
    &peak_avx2,    &peak_avx512,
#endif
#if defined(__aarch64__)
    &peak_neon64,  &peak_neon64hp,
#endif
#if defined(__arm__)
    &peak_neon32,
#endif
};

const struct peak *const *kernels_peak(int *count) {
    *count = (int)(sizeof list / sizeof *list);
    return list;
}
