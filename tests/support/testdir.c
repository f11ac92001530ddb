/* Files for tests.  See testdir.h. */
#include "testdir.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATHS 8
static char directory[512], paths[PATHS][1024];
static int next_path;

static _Noreturn void give_up(const char *what) {
    perror(what);
    abort();
}

static char *new_path(const char *folder, const char *name) {
    char *path = paths[next_path++ % PATHS];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

const char *test_path(const char *name) {
    if (!directory[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(directory, sizeof directory, "%s/cohort_test_XXXXXX", tmp && *tmp ? tmp : "/tmp");
        if (!mkdtemp(directory))
            give_up(directory);
    }
    return new_path(directory, name);
}

const char *test_write(const char *name, const void *data, size_t bytes) {
    const char *path = test_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || (bytes && fwrite(data, 1, bytes, f) != bytes) || fclose(f) != 0)
        give_up(path);
    return path;
}

void test_directory_remove(void) {
    DIR *d = directory[0] ? opendir(directory) : NULL;
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlink(new_path(directory, e->d_name));
    }
    closedir(d);
    rmdir(directory);
    directory[0] = 0;
}

const char *test_shared(const char *name) {
    const char *folder = getenv("COHORT_SHARED");
    const char *path = new_path(folder && *folder ? folder : "../shared", name);
    return access(path, R_OK) == 0 ? path : NULL;
}
