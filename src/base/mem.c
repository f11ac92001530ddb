#include "base/mem.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* From here on the system is asked for huge pages: packed weights and arenas are read from end to
 * end, and with pages of 4 KB a part of that time is spent on looking addresses up (on a virtual
 * machine twice).  A block begins where such a page does; where what is left for the last one is
 * half of it or more, it takes all of it. */
#define HUGE_FROM ((size_t)1 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

/* In front of each block, padded to MEM_ALIGN, so that sizes can be counted. */
struct mem_header {
    size_t bytes;
};

static atomic_long live_blocks;
static atomic_size_t live_bytes;
static atomic_size_t peak_bytes;
static atomic_size_t limit_bytes; /* 0: none */
static atomic_long alloc_calls;
static atomic_long fail_countdown; /* 0: off; 1: fail now and for ever */

static bool injected_failure(void) {
    long left = atomic_load(&fail_countdown);
    if (left == 0)
        return false;
    if (left == 1)
        return true;
    atomic_store(&fail_countdown, left - 1);
    return false;
}

static bool beyond_limit(size_t bytes) {
    size_t limit = atomic_load(&limit_bytes), live = atomic_load(&live_bytes);
    return limit != 0 && (live >= limit || bytes > limit - live);
}

static struct mem_header *header_of(void *block) {
    return (struct mem_header *)(void *)((char *)block - MEM_ALIGN);
}

static void count_in(size_t bytes) {
    atomic_fetch_add(&live_blocks, 1);
    size_t now = atomic_fetch_add(&live_bytes, bytes) + bytes;
    size_t peak = atomic_load(&peak_bytes);
    while (now > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, now))
        ;
}

/* Only advice: where it is not taken, all stays as it is. */
static char *huge_alloc(size_t bytes) {
    size_t total = bytes % HUGE_PAGE >= HUGE_PAGE / 2
                       ? (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE
                       : bytes;
    void *raw = NULL;
    if (posix_memalign(&raw, HUGE_PAGE, total) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    (void)madvise(raw, total / page * page, MADV_HUGEPAGE);
#endif
    return raw;
}

void *mem_alloc(size_t bytes) {
    atomic_fetch_add(&alloc_calls, 1);
    if (injected_failure() || bytes > SIZE_MAX - HUGE_PAGE - 3 * MEM_ALIGN || beyond_limit(bytes))
        return NULL;
    size_t total =
        (bytes + 2 * MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN + (bytes == 0 ? MEM_ALIGN : 0);
    char *raw = total < HUGE_FROM ? aligned_alloc(MEM_ALIGN, total) : huge_alloc(total);
    if (raw == NULL)
        return NULL;
    ((struct mem_header *)(void *)raw)->bytes = bytes;
    count_in(bytes);
    return raw + MEM_ALIGN;
}

void *mem_zalloc(size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    void *block = mem_alloc(count * size);
    if (block != NULL)
        memset(block, 0, count * size);
    return block;
}

void *mem_realloc(void *old, size_t bytes) {
    void *block = mem_alloc(bytes);
    if (block == NULL || old == NULL)
        return block;
    size_t keep = header_of(old)->bytes;
    memcpy(block, old, keep < bytes ? keep : bytes);
    mem_free(old);
    return block;
}

char *mem_strndup(const char *text, size_t n) {
    char *copy = mem_alloc(n + 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

char *mem_strdup(const char *text) {
    return mem_strndup(text, strlen(text));
}

char *mem_printf(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        return NULL;
    char *text = mem_alloc((size_t)n + 1);
    if (text != NULL) {
        va_start(args, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, args);
        va_end(args);
    }
    return text;
}

void mem_free(void *block) {
    if (block == NULL)
        return;
    struct mem_header *header = header_of(block);
    atomic_fetch_sub(&live_blocks, 1);
    atomic_fetch_sub(&live_bytes, header->bytes);
    free(header);
}

void mem_forget(const void *block) {
    if (block == NULL)
        return;
    const void *raw = (const char *)block - MEM_ALIGN;
    atomic_fetch_sub(&live_blocks, 1);
    atomic_fetch_sub(&live_bytes, ((const struct mem_header *)raw)->bytes);
}

bool mem_grow(void **items, size_t *capacity, size_t count, size_t size) {
    if (count < *capacity)
        return true;
    size_t wanted = *capacity < 8 ? 8 : *capacity * 2;
    if (size != 0 && wanted > SIZE_MAX / size)
        return false;
    void *bigger = mem_realloc(*items, wanted * size);
    if (bigger == NULL)
        return false;
    *items = bigger;
    *capacity = wanted;
    return true;
}

void mem_limit(size_t bytes) {
    atomic_store(&limit_bytes, bytes);
}

size_t mem_limit_bytes(void) {
    return atomic_load(&limit_bytes);
}

long mem_live_blocks(void) {
    return atomic_load(&live_blocks);
}

size_t mem_live_bytes(void) {
    return atomic_load(&live_bytes);
}

size_t mem_peak_bytes(void) {
    return atomic_load(&peak_bytes);
}

void mem_discard(void *part, size_t bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)part + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)part + bytes) / page * page;
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void mem_trim(void) {
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

size_t mem_anonymous_bytes(void) {
    char text[128];
    unsigned long long resident, shared;
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "%*u %llu %llu", &resident, &shared) != 2 || shared > resident)
        return 0;
    return (size_t)(resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

long mem_alloc_calls(void) {
    return atomic_load(&alloc_calls);
}

void mem_fail_at(long nth) {
    atomic_store(&fail_countdown, nth);
}
