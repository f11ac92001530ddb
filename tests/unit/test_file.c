/* Files: what is replaced is old or complete; links stay links; devices and pipes are written to.
 */
#include "base/file.h"
#include "base/mem.h"
#include "tests/support/testdir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void must(enum cohort_code code, const struct cohort_error *err) {
    if (code != COHORT_OK)
        fail_msg("%s", err->message);
}

static void assert_holds(const char *path, const char *want) {
    struct cohort_error err;
    char *text = NULL;
    size_t bytes = 0;
    must(file_read(path, 1000, &text, &bytes, &err), &err);
    assert_string_equal(text, want);
    mem_free(text);
}

static void replaces(void **state) {
    (void)state;
    struct cohort_error err;
    const char *path = test_write("old.txt", "old", 3);
    must(file_replace(path, "new", 3, &err), &err);
    assert_holds(path, "new");
}

static void abandons(void **state) {
    (void)state;
    struct cohort_error err;
    struct file_writer w;
    const char *path = test_write("kept.txt", "old", 3);
    must(file_writer_begin(&w, path, &err), &err);
    must(file_writer_append(&w, "half", 4, &err), &err);
    file_writer_abandon(&w);
    assert_holds(path, "old");
}

static void keeps_links(void **state) {
    (void)state;
    struct cohort_error err;
    struct stat st;
    const char *target = test_write("target.txt", "old", 3);
    const char *link = test_path("link.txt");
    assert_int_equal(symlink(target, link), 0);
    must(file_replace(link, "new", 3, &err), &err);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_holds(target, "new");
}

/* A file of the kind of /dev/null: one that must not be renamed over. */
static void writes_to_pipes(void **state) {
    (void)state;
    struct cohort_error err;
    struct stat st;
    char text[8] = "";
    const char *path = test_path("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    must(file_replace(path, "through", 7, &err), &err);
    assert_int_equal(read(fd, text, 7), 7);
    assert_string_equal(text, "through");
    close(fd);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
}

static void refuses(void **state) {
    (void)state;
    struct cohort_error err;
    assert_int_equal(file_replace("/nowhere/at/all", "x", 1, &err), COHORT_ERR_IO);
    assert_non_null(strstr(err.message, "/nowhere/at/all: cannot write"));
}

static int nothing_left(void **state) {
    (void)state;
    test_directory_remove();
    return mem_live_blocks() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces),    cmocka_unit_test(abandons),
        cmocka_unit_test(keeps_links), cmocka_unit_test(writes_to_pipes),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, nothing_left);
}
