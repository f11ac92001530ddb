/* A libFuzzer target for arrays (.npy): whatever the bytes, an error of one line or a tensor that
 * is no larger than the file. */
#include "tests/fuzz/fuzz.h"

#include "media/media.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct tensor t = {0};
    char path[64];
    int fd = fuzz_file(path, data, size);
    size_t peak = mem_peak_bytes();
    enum cohort_code code = npy_load(&t, path, &err);
    if (code != COHORT_OK)
        fuzz_check_error(code, &err);
    else
        BUG_UNLESS(shape_known(&t.shape) && tensor_bytes(&t) <= size);
    BUG_UNLESS(mem_peak_bytes() == peak || mem_peak_bytes() < ((size_t)1 << 16) + 4 * size);
    tensor_release(&t);
    close(fd);
    BUG_UNLESS(mem_live_blocks() == 0);
    return 0;
}
