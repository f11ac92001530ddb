/* How much memory a board has, and how much of it is left: the machine's, or what the control
 * groups allow that this process is in, and those above them.
 *
 * A group's limit holds for all that runs in it; pages of files that could go at any time count as
 * its use, but not here.  In a container the process's path may be the host's, and its group
 * mounted as the root; folders that are not there are left out, so that the root's limit is found.
 */
#include "board/board.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4096
#define UNLIMITED  ((uint64_t)1 << 60) /* version 1 writes nearly 2^63 */

/* The two versions of control groups: where they are mounted, and what their files are called. */
struct version {
    const char *mounts[2];
    const char *limit, *used, *pages[2]; /* pages: lines of memory.stat that can go */
};
static const struct version first = {{"/sys/fs/cgroup/memory", NULL},
                                     "memory.limit_in_bytes",
                                     "memory.usage_in_bytes",
                                     {"total_inactive_file", "total_active_file"}};
static const struct version second = {{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"},
                                      "memory.max",
                                      "memory.current",
                                      {"inactive_file", "active_file"}};

static void keep_least(uint64_t *least, uint64_t value) {
    if (*least == 0 || value < *least)
        *least = value;
}

/* The number behind a word at the begin of a line; without a word: the file's first. */
static bool read_number(const char *folder, const char *file, const char *word, uint64_t *number) {
    char path[PATH_BYTES], line[256];
    bool found = false;
    const int n = snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    const size_t length = word != NULL ? strlen(word) : 0;
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
        found = (length == 0 ||
                 (strncmp(line, word, length) == 0 && strchr(" \t:", line[length]) != NULL)) &&
                sscanf(line + length + (line[length] == ':'), "%" SCNu64, number) == 1;
    if (f != NULL)
        fclose(f);
    return found;
}

/* One group. */
static void look_at(struct board_memory *m, const char *folder, const struct version *v) {
    uint64_t limit, used = 0, pages = 0, more;
    if (!read_number(folder, v->limit, NULL, &limit) || limit == 0 || limit >= UNLIMITED)
        return;
    keep_least(&m->bytes, limit);
    if (!read_number(folder, v->used, NULL, &used))
        return;
    for (int i = 0; i < 2; i++)
        pages += read_number(folder, "memory.stat", v->pages[i], &more) ? more : 0;
    used -= pages < used ? pages : used;
    keep_least(&m->available_bytes, used < limit ? limit - used : 1);
}

/* The group at `path`, and all above it. */
static void look_up(struct board_memory *m, const char *root, const char *path,
                    const struct version *v) {
    char folder[PATH_BYTES];
    for (int i = 0; i < 2 && v->mounts[i] != NULL; i++) {
        const int mount = snprintf(folder, sizeof folder, "%s%s", root, v->mounts[i]);
        const int n = snprintf(folder, sizeof folder, "%s%s%s", root, v->mounts[i], path);
        if (n < 0 || (size_t)n >= sizeof folder)
            continue;
        for (char *end = folder + n; end >= folder + mount; end--)
            if (end == folder + mount || *end == '/' || *end == '\0') {
                *end = '\0';
                look_at(m, folder, v);
            }
    }
}

/* "4:memory,cpu:/a/b" and "0::/a/b" into the group's path; NULL: it is of something else. */
static const char *group_of(char *line, const struct version **v) {
    char *names = strchr(line, ':'), *path = names != NULL ? strchr(names + 1, ':') : NULL;
    if (path == NULL)
        return NULL;
    *names++ = *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    *v = *names == '\0' ? &second : &first;
    for (char *name = names; *names != '\0' && name != NULL;) {
        char *next = strchr(name, ',');
        if (next != NULL)
            *next++ = '\0';
        if (strcmp(name, "memory") == 0)
            return path;
        name = next;
    }
    return *v == &second ? path : NULL;
}

void board_memory(struct board_memory *m, uint64_t physical, const char *root) {
    char line[PATH_BYTES], folder[PATH_BYTES];
    uint64_t kilobytes;
    const struct version *v;
    *m = (struct board_memory){.bytes = physical};
    snprintf(folder, sizeof folder, "%s/proc", root);
    if (read_number(folder, "meminfo", "MemAvailable", &kilobytes))
        m->available_bytes = kilobytes * 1024;
    look_up(m, root, "", &first);
    look_up(m, root, "", &second);
    snprintf(folder, sizeof folder, "%s/proc/self/cgroup", root);
    FILE *f = fopen(folder, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *path = group_of(line, &v);
        if (path != NULL)
            look_up(m, root, path, v);
    }
    if (f != NULL)
        fclose(f);
}
