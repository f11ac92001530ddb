/* A libFuzzer target for the reader of plans: whatever the bytes, an error of one line or a plan
 * that is written and read back the same.  Seeds are tests/data/plans/. */
#include "tests/fuzz/fuzz.h"

#include "planner/plan.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct plan *p = NULL, *again = NULL;
    char *text = NULL, *second = NULL;
    enum cohort_code code = plan_parse(&p, (const char *)data, size, "fuzz", &err);
    if (code != COHORT_OK) {
        fuzz_check_error(code, &err);
        BUG_UNLESS(code == COHORT_ERR_FORMAT && p == NULL);
    } else {
        BUG_UNLESS(plan_print(p, &text, &err) == COHORT_OK);
        BUG_UNLESS(plan_parse(&again, text, strlen(text), "again", &err) == COHORT_OK);
        BUG_UNLESS(plan_print(again, &second, &err) == COHORT_OK);
        BUG_UNLESS(strcmp(text, second) == 0);
    }
    mem_free(text);
    mem_free(second);
    plan_destroy(&p);
    plan_destroy(&again);
    BUG_UNLESS(mem_live_blocks() == 0);
    return 0;
}
