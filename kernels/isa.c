/* Which instruction sets this CPU can run.
 *
 * Folders of kernels are compiled with flags of their own, whatever the machine that builds; here
 * the machine that runs is asked.  Generic kernels run everywhere, and OpenBLAS chooses its own. */
#include "kernels/kernel.h"

#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__arm__) || defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__) || defined(__i386__)
/* Conversion of float16, which every CPU with AVX2 has; clang has no name for it in
 * __builtin_cpu_supports(). */
static bool has_f16c(void) {
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

const char *kernel_isa_name(enum kernel_isa isa) {
    static const char *const names[ISA_COUNT] = {"generic",  "blas", "neon32", "neon64",
                                                 "neon64hp", "avx2", "avx512"};
    return (unsigned)isa < ISA_COUNT ? names[isa] : "unknown";
}

unsigned kernel_isas_named(const char *kernel) {
    for (int i = 0; kernel && i < ISA_COUNT; i++)
        if (strcmp(kernel, kernel_isa_name((enum kernel_isa)i)) == 0)
            return i == ISA_BLAS ? 0 : 1u << i; /* whose bits change with the rows */
    return kernel ? 0 : ~0u;
}

unsigned kernel_isa_available(void) {
    unsigned mask = 1u << ISA_GENERIC | 1u << ISA_BLAS;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        mask |= 1u << ISA_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("fma"))
        mask |= 1u << ISA_AVX512;
#elif defined(__aarch64__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMD)
        mask |= 1u << ISA_NEON64;
    unsigned long half = HWCAP_ASIMD | HWCAP_ASIMDHP;
    if ((getauxval(AT_HWCAP) & half) == half)
        mask |= 1u << ISA_NEON64HP;
#elif defined(__arm__)
    unsigned long need = HWCAP_NEON | HWCAP_VFPv4;
    if ((getauxval(AT_HWCAP) & need) == need)
        mask |= 1u << ISA_NEON32;
#endif
    return mask;
}
