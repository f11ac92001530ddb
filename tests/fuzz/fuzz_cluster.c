/* A libFuzzer target for the reader of a cluster's companion file: whatever the bytes, an error of
 * one line or boards with names. */
#include "tests/fuzz/fuzz.h"

#include "cli/cluster.h"

/* The file's other half shares the text among ranks, and is never called here. */
enum cohort_code cli_agree(struct cli_ranks *r, enum cohort_code code, struct cohort_error *err) {
    (void)r;
    (void)err;
    return code;
}

enum cohort_code cli_broadcast(const struct cli_ranks *r, long *value, struct cohort_error *err) {
    (void)r;
    (void)value;
    return error_set(err, COHORT_ERR_INTERNAL, "no ranks here");
}

enum cohort_code cli_broadcast_bytes(const struct cli_ranks *r, void *data, size_t bytes,
                                     struct cohort_error *err) {
    (void)r;
    (void)data;
    (void)bytes;
    return error_set(err, COHORT_ERR_INTERNAL, "no ranks here");
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct cohort_error err = {0};
    struct cluster c;
    enum cohort_code code = cluster_parse(&c, (const char *)data, size, "fuzz", &err);
    if (code != COHORT_OK) {
        fuzz_check_error(code, &err);
        BUG_UNLESS(code == COHORT_ERR_FORMAT && c.count == 0 && c.boards == NULL);
    }
    for (int i = 0; i < c.count; i++) {
        BUG_UNLESS(c.boards[i].name[0] != '\0');
        BUG_UNLESS(c.boards[i].cpu_share > 0 && c.boards[i].cpu_share <= 1);
        BUG_UNLESS(cluster_find(&c, c.boards[i].name) != NULL);
    }
    cluster_release(&c);
    BUG_UNLESS(mem_live_blocks() == 0);
    return 0;
}
