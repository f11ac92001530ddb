/* A libFuzzer target for the reader of profiles: whatever the bytes, an error of one line or a
 * profile that is written and read back the same.  Seeds are tests/data/profiles/. */
#include "tests/fuzz/fuzz.h"

#include "planner/profile.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct profile *p = NULL, *again = NULL;
    char *text = NULL, *second = NULL;
    enum cohort_code code = profile_parse(&p, (const char *)data, size, "fuzz", &err);
    if (code != COHORT_OK) {
        fuzz_check_error(code, &err);
        BUG_UNLESS(code == COHORT_ERR_FORMAT && p == NULL);
    } else {
        BUG_UNLESS(profile_print(p, &text, &err) == COHORT_OK);
        BUG_UNLESS(profile_parse(&again, text, strlen(text), "again", &err) == COHORT_OK);
        BUG_UNLESS(profile_print(again, &second, &err) == COHORT_OK);
        BUG_UNLESS(strcmp(text, second) == 0);
    }
    mem_free(text);
    mem_free(second);
    profile_destroy(&p);
    profile_destroy(&again);
    BUG_UNLESS(mem_live_blocks() == 0);
    return 0;
}
