/* What the fuzz targets have in common.  Each is one file, built and run by `make fuzz` with
 * clang's libFuzzer, AddressSanitizer and UBSan. */
#ifndef COHORT_TESTS_FUZZ_H
#define COHORT_TESTS_FUZZ_H

#include "base/error.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* An error has a message, of one line. */
static inline void fuzz_check_error(enum cohort_code code, const struct cohort_error *err) {
    BUG_UNLESS(code != COHORT_OK && code == err->code && code != COHORT_ERR_INTERNAL);
    BUG_UNLESS(err->message[0] != '\0' && strchr(err->message, '\n') == NULL);
}

/* The bytes as a file: its name goes to path; the descriptor, which keeps it, is the caller's to
 * close. */
static inline int fuzz_file(char path[64], const unsigned char *data, size_t size) {
    int fd = memfd_create("fuzz", 0);
    BUG_UNLESS(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
