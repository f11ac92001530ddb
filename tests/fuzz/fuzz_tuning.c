/* A libFuzzer target for the reader of tuning files: whatever the bytes, an error of one line or a
 * table that is written and read back the same, and nothing leaked.
 *
 * Built and run by `make fuzz`; seeds are tests/data/tuning/ (clang's libFuzzer). */
#include "tests/fuzz/fuzz.h"

#include "exec/tuning.h"

static void check_table(const struct tuning *t) {
    BUG_UNLESS(t->count <= TUNING_BOARDS_MAX);
    for (int i = 0; i < t->count; i++) {
        const struct tuning_board *b = &t->boards[i];
        BUG_UNLESS(b->key.threads >= 1 && b->count <= TUNING_CHOICES_MAX);
        BUG_UNLESS(tuning_find(t, &b->key) == b);
        for (int k = 0; k < b->count; k++) {
            const struct tuning_choice *c = &b->choices[k];
            BUG_UNLESS(c->count >= 1 && c->count <= TUNING_CANDIDATES_MAX);
            BUG_UNLESS(c->chosen >= 0 && c->chosen < c->count);
            BUG_UNLESS(c->times[c->chosen].kernel[0] != '\0' && c->times[c->chosen].us >= 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct tuning t = {0}, again = {0};
    char *text = NULL, *second = NULL;
    enum cohort_code code = tuning_parse(&t, (const char *)data, size, "fuzz", &err);
    if (code != COHORT_OK) {
        fuzz_check_error(code, &err);
        BUG_UNLESS(code == COHORT_ERR_FORMAT);
        BUG_UNLESS(t.count == 0 && t.boards == NULL);
    } else {
        check_table(&t);
        BUG_UNLESS(tuning_print(&t, &text, &err) == COHORT_OK);
        BUG_UNLESS(tuning_parse(&again, text, strlen(text), "again", &err) == COHORT_OK);
        BUG_UNLESS(tuning_print(&again, &second, &err) == COHORT_OK);
        BUG_UNLESS(strcmp(text, second) == 0);
    }
    mem_free(text);
    mem_free(second);
    tuning_release(&t);
    tuning_release(&again);
    BUG_UNLESS(mem_live_blocks() == 0);
    return 0;
}
