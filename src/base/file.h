/* Files: mapping one to read, and replacing one without ever losing the old contents. */
#ifndef COHORT_BASE_FILE_H
#define COHORT_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct file_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t bytes;
};

/* Maps a regular file read-only.  Errors: io (cannot open, is a directory, …), naming the path. */
enum cohort_code file_map(struct file_map *map, const char *path, struct cohort_error *err);
void file_unmap(struct file_map *map);
/* The bytes will not be read again soon: gives their whole pages back to the system (they would be
 * read from the file again).  Does nothing when they do not lie inside the map. */
void file_map_done(const struct file_map *map, const void *data, size_t bytes);

/* Reads a whole file of at most max_bytes into new memory with a zero byte behind it. */
enum cohort_code file_read(const char *path, size_t max_bytes, char **text, size_t *bytes,
                           struct cohort_error *err);

/* Writes to "PATH.tmp.PID" beside PATH, syncs it, and renames: PATH is either old or complete.
 * A symbolic link stays one; a device or a pipe is written to as it is. */
enum cohort_code file_replace(const char *path, const void *data, size_t bytes,
                              struct cohort_error *err);

/* The same for a file that is written piece by piece: begin, append…, then commit or abandon. */
struct file_writer {
    int fd;
    char *path;
    char *temporary; /* NULL: written directly */
};
enum cohort_code file_writer_begin(struct file_writer *w, const char *path,
                                   struct cohort_error *err);
enum cohort_code file_writer_append(struct file_writer *w, const void *data, size_t bytes,
                                    struct cohort_error *err);
enum cohort_code file_writer_commit(struct file_writer *w, struct cohort_error *err);
void file_writer_abandon(struct file_writer *w); /* also right after a commit: does nothing then */

bool file_exists(const char *path);
/* Makes a directory and its parents (mode 0777 less the umask); fine when it is there already. */
enum cohort_code file_make_directories(const char *path, struct cohort_error *err);
/* "DIR/NAME", new (mem_free); NULL when memory is short. */
char *file_join(const char *directory, const char *name);
/* What lies before the last '/' ("." when there is none), new; NULL when memory is short. */
char *file_directory(const char *path);
/* Points behind the last '/'. */
const char *file_name(const char *path);

#endif
