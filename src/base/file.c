#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum cohort_code io_error(struct cohort_error *err, const char *path, const char *what) {
    return error_set(err, COHORT_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* Opens a regular file for reading and tells its size. */
static enum cohort_code open_regular(const char *path, int *fd, size_t *bytes,
                                     struct cohort_error *err) {
    struct stat st;
    int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return io_error(err, path, "cannot open");
    if (fstat(f, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(f);
        return error_set(err, COHORT_ERR_IO, "%s: not a regular file", path);
    }
    if ((uintmax_t)st.st_size > SIZE_MAX / 2) {
        close(f);
        return error_set(err, COHORT_ERR_IO, "%s: too large for this board", path);
    }
    *fd = f;
    *bytes = (size_t)st.st_size;
    return COHORT_OK;
}

enum cohort_code file_map(struct file_map *map, const char *path, struct cohort_error *err) {
    int fd;
    size_t bytes;
    enum cohort_code code = open_regular(path, &fd, &bytes, err);
    if (code != COHORT_OK)
        return code;
    void *data = NULL;
    if (bytes > 0) {
        data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            code = io_error(err, path, "cannot map");
    }
    close(fd);
    if (code == COHORT_OK)
        *map = (struct file_map){.data = data, .bytes = bytes};
    return code;
}

void file_unmap(struct file_map *map) {
    if (map->data != NULL)
        munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (struct file_map){0};
}

void file_map_done(const struct file_map *map, const void *data, size_t bytes) {
    uintptr_t begin = (uintptr_t)data, end = begin + bytes, base = (uintptr_t)map->data;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (map->data == NULL || begin < base || end > base + map->bytes)
        return;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin,
                MADV_DONTNEED); /* private, never written: nothing is lost */
}

enum cohort_code file_read(const char *path, size_t max_bytes, char **text, size_t *bytes,
                           struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int fd = -1;
    size_t size = 0;
    char *data = NULL;
    TRY(open_regular(path, &fd, &size, err));
    if (size > max_bytes) {
        code = error_set(err, COHORT_ERR_FORMAT, "%s: %zu bytes, but at most %zu are expected",
                         path, size, max_bytes);
        goto out;
    }
    data = mem_alloc(size + 1);
    if (data == NULL) {
        code = error_memory(err, size + 1, path);
        goto out;
    }
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, data + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            code = io_error(err, path, "cannot read");
            goto out;
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    data[got] = '\0';
    *text = data;
    *bytes = got;
    data = NULL;
out:
    mem_free(data);
    if (fd >= 0)
        close(fd);
    return code;
}

/* Where a path's file really is: behind symbolic links, so that a link stays one.  A device, a pipe
 * or a socket cannot be replaced by renaming, and must not be: *direct says so. */
static char *real_place(const char *path, bool *direct) {
    struct stat st;
    *direct = stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
    char *resolved = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    char *copy = mem_strdup(resolved != NULL ? resolved : path);
    free(resolved);
    return copy;
}

enum cohort_code file_writer_begin(struct file_writer *w, const char *path,
                                   struct cohort_error *err) {
    bool direct;
    *w = (struct file_writer){.fd = -1};
    char *place = real_place(path, &direct);
    char *temporary =
        place != NULL && !direct ? mem_printf("%s.tmp.%ld", place, (long)getpid()) : NULL;
    if (place == NULL || (temporary == NULL && !direct)) {
        mem_free(place);
        return error_memory(err, strlen(path) + 32, "a file name");
    }
    int fd = direct ? open(place, O_WRONLY | O_CLOEXEC)
                    : open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        enum cohort_code code = io_error(err, path, "cannot write");
        mem_free(place);
        mem_free(temporary);
        return code;
    }
    *w = (struct file_writer){.fd = fd, .path = place, .temporary = temporary};
    return COHORT_OK;
}

enum cohort_code file_writer_append(struct file_writer *w, const void *data, size_t bytes,
                                    struct cohort_error *err) {
    const char *at = data;
    while (bytes > 0) {
        ssize_t n = write(w->fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(err, w->path, "cannot write");
        at += n;
        bytes -= (size_t)n;
    }
    return COHORT_OK;
}

enum cohort_code file_writer_commit(struct file_writer *w, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool direct = w->temporary == NULL;
    int failed = !direct && fsync(w->fd) != 0 && errno != EINVAL && errno != EROFS;
    failed |= close(w->fd) != 0;
    w->fd = -1;
    if (failed || (!direct && rename(w->temporary, w->path) != 0)) {
        code = io_error(err, w->path, "cannot write");
        if (!direct)
            unlink(w->temporary);
    }
    mem_free(w->path);
    mem_free(w->temporary);
    w->path = w->temporary = NULL;
    return code;
}

void file_writer_abandon(struct file_writer *w) {
    if (w->fd >= 0)
        close(w->fd);
    if (w->temporary != NULL)
        unlink(w->temporary);
    mem_free(w->path);
    mem_free(w->temporary);
    *w = (struct file_writer){.fd = -1};
}

enum cohort_code file_replace(const char *path, const void *data, size_t bytes,
                              struct cohort_error *err) {
    struct file_writer w = {.fd = -1};
    enum cohort_code code = COHORT_OK;
    TRY(file_writer_begin(&w, path, err));
    TRY(file_writer_append(&w, data, bytes, err));
    TRY(file_writer_commit(&w, err));
out:
    file_writer_abandon(&w);
    return code;
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

enum cohort_code file_make_directories(const char *path, struct cohort_error *err) {
    char *partial = mem_strdup(path);
    if (partial == NULL)
        return error_memory(err, strlen(path) + 1, "a directory name");
    enum cohort_code code = COHORT_OK;
    for (char *p = partial + 1;; p++) {
        char here = *p;
        if (here != '/' && here != '\0')
            continue;
        *p = '\0';
        if (mkdir(partial, 0777) != 0 && errno != EEXIST) {
            code = io_error(err, partial, "cannot make this directory");
            break;
        }
        *p = here;
        if (here == '\0')
            break;
    }
    mem_free(partial);
    return code;
}

char *file_join(const char *directory, const char *name) {
    return mem_printf("%s/%s", directory, name);
}

char *file_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return mem_strdup(".");
    return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}
