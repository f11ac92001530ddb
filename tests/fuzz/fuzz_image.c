/* A libFuzzer target for pictures (JPEG, PNG): whatever the bytes, an error of one line or a
 * picture of the size that it says.  Memory is limited: a small file may stand for a large picture,
 * and is then an error, not the machine's end. */
#include "tests/fuzz/fuzz.h"

#include "media/media.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct image im = {0};
    char path[64];
    int fd = fuzz_file(path, data, size);
    mem_limit((size_t)64 << 20);
    enum cohort_code code = image_load(&im, path, &err);
    if (code != COHORT_OK) {
        fuzz_check_error(code, &err);
    } else {
        BUG_UNLESS(im.width > 0 && im.height > 0);
        volatile unsigned sum = 0; /* every pixel can be read */
        for (size_t i = 0; i < (size_t)im.width * (size_t)im.height * 3; i++)
            sum = sum + im.pixels[i];
    }
    image_release(&im);
    close(fd);
    BUG_UNLESS(mem_live_blocks() == 0);
    return 0;
}
