/* What this program was built from and for.  The Makefile hashes the sources of all instruction
 * sets, so that builds for different boards from the same sources have the same hash. */
#include "cli/cli.h"

#ifndef COHORT_BUILD
#define COHORT_BUILD "unknown"
#endif

#if defined(__x86_64__)
#define ISA_NAME "x86_64"
#elif defined(__i386__)
#define ISA_NAME "i686"
#elif defined(__aarch64__)
#define ISA_NAME "aarch64"
#elif defined(__arm__)
#define ISA_NAME "armv7l"
#elif defined(__riscv)
#define ISA_NAME "riscv64"
#else
#define ISA_NAME "unknown"
#endif

#if UINTPTR_MAX > 0xffffffffu
#define WORD_BITS "64"
#else
#define WORD_BITS "32"
#endif

const char *cli_build_text(void) {
    return "isa " ISA_NAME " bits " WORD_BITS " build " COHORT_BUILD;
}
