/* Memory limits from the command line and from the cluster's companion file. */
#include "cli/limits.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli/cluster.h"

enum cohort_code memory_limit_bytes(uint64_t *bytes, const char *text, struct cohort_error *err) {
    *bytes = text != NULL ? cluster_bytes(text) : 0;
    if (text == NULL || *bytes > 0)
        return COHORT_OK;
    return error_set(err, COHORT_ERR_USAGE,
                     "--memory-limit: expected bytes, or a text such as 512M, not '%.40s'", text);
}

enum cohort_code memory_limits_read(struct memory_limits *l, const char *text, const char *cluster,
                                    const struct profile *p, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cluster c = {0};
    struct memory_limits found = {0};
    TRY(memory_limit_bytes(&found.all, text, err));
    if (cluster != NULL) {
        TRY(cluster_load(&c, cluster, err));
        found.each = mem_zalloc((size_t)p->board_count, sizeof *found.each);
        if (found.each == NULL)
            TRY(error_memory(err, (size_t)p->board_count * sizeof *found.each, "memory limits"));
        for (int b = 0; b < p->board_count; b++) {
            const char *host = p->boards[b].host;
            const struct cluster_board *board = host != NULL ? cluster_find(&c, host) : NULL;
            found.each[b] = board != NULL ? board->memory_limit_bytes : 0;
        }
    }
    *l = found;
out:
    cluster_release(&c);
    return code;
}

void memory_limits_release(struct memory_limits *l) {
    mem_free(l->each);
    *l = (struct memory_limits){0};
}
