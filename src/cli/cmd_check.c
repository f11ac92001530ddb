/* cohort check: boards and links as a job sees them.
 *
 * Every rank looks at its own board, all pairs measure their links, rank 0 gathers the reports by
 * messages with a deadline and says what is wrong.  What can be asked without MPI (cohort-cluster
 * check) is not asked again; this is about what only shows inside a job. */
#include "cli/check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rounds.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define REPORT_WAIT_S   5.0
#define FINALIZE_WAIT_S 3

/* ---- gathering ------------------------------------------------------------------------------- */

static size_t report_bytes(const struct check *c) {
    return sizeof(struct facts) + (size_t)c->ranks.size * sizeof(struct link);
}

/* Takes what rank r sent; a report of another size comes from another build. */
static void unpack(struct check *c, int r, const unsigned char *report, int bytes) {
    size_t n = (size_t)c->ranks.size;
    if (bytes != (int)report_bytes(c)) {
        snprintf(c->boards[r].build, sizeof c->boards[r].build, "another");
        return;
    }
    memcpy(&c->boards[r], report, sizeof(struct facts));
    memcpy(&c->links[(size_t)r * n], report + sizeof(struct facts), n * sizeof(struct link));
}

static void gather(struct check *c, double deadline) {
    size_t bytes = report_bytes(c);
    for (int r = 1; r < c->ranks.size; r++) {
        MPI_Request request;
        MPI_Status status;
        int count = 0;
        unsigned char *at = c->reports + (size_t)r * (bytes + 1);
        if (MPI_Irecv(at, (int)bytes + 1, MPI_BYTE, r, LINKS_TAG_REPORT, c->ranks.comm, &request) ==
                MPI_SUCCESS &&
            links_wait(&request, deadline, &status) &&
            MPI_Get_count(&status, MPI_BYTE, &count) == MPI_SUCCESS)
            unpack(c, r, at, count);
        else
            c->silent = true;
    }
}

static void send_report(struct check *c, double deadline) {
    MPI_Request request;
    memcpy(c->reports, &c->mine, sizeof c->mine);
    memcpy(c->reports + sizeof c->mine, c->my_links, (size_t)c->ranks.size * sizeof(struct link));
    if (MPI_Isend(c->reports, (int)report_bytes(c), MPI_BYTE, 0, LINKS_TAG_REPORT, c->ranks.comm,
                  &request) != MPI_SUCCESS ||
        !links_wait(&request, deadline, MPI_STATUS_IGNORE))
        c->silent = true;
}

/* ---- all together ---------------------------------------------------------------------------- */

static void note_problem(struct check *c, const struct cohort_error *problem) {
    snprintf(c->mine.problem, sizeof c->mine.problem, "%.255s", problem->message);
}

static enum cohort_code reserve(struct check *c, struct cohort_error *err) {
    size_t n = (size_t)c->ranks.size, all = c->ranks.rank == 0 ? n : 1;
    c->problem_max = (int)(4 * n + n * n);
    size_t problems = c->ranks.rank == 0 ? (size_t)c->problem_max : 1;
    c->boards = mem_zalloc(all, sizeof *c->boards);
    c->my_links = mem_zalloc(n, sizeof *c->my_links);
    c->links = mem_zalloc(all * n, sizeof *c->links);
    c->buffer = mem_alloc(LINKS_BYTES);
    c->reports = mem_zalloc(all, report_bytes(c) + 1);
    c->faults = mem_zalloc(problems, sizeof *c->faults);
    c->notes = mem_zalloc(problems, sizeof *c->notes);
    if (c->boards == NULL || c->my_links == NULL || c->links == NULL || c->buffer == NULL ||
        c->reports == NULL || c->faults == NULL || c->notes == NULL)
        return error_memory(err, n * n * sizeof *c->links, "reports of all boards");
    return COHORT_OK;
}

static enum cohort_code check(struct check *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double start = clock_s();
    struct traffic before;
    char host[LINKS_HOST_BYTES] = "";
    struct cohort_error problem = {0};
    if (check_find_board(c, &problem) != COHORT_OK && c->mine.problem[0] == '\0')
        note_problem(c, &problem);
    TRY(reserve(c, err));
    snprintf(host, sizeof host, "%s", c->mine.host);
    check_count_traffic(&before);
    if (c->ranks.size > 1)
        links_measure(c->ranks.comm, c->ranks.rank, c->ranks.size, host, start, c->buffer,
                      c->my_links);
    check_find_interface(&c->mine, &before);
    for (int r = 0; r < c->ranks.size; r++)
        c->silent |= r != c->ranks.rank && !c->my_links[r].answered;
    double deadline = clock_s() + REPORT_WAIT_S + (c->silent ? LINKS_SLOT_S : 0);
    double rounds_end = start + LINKS_SLOT_S * rounds_count(c->ranks.size) + REPORT_WAIT_S;
    if (c->ranks.rank == 0)
        gather(c, rounds_end > deadline ? rounds_end : deadline);
    else
        send_report(c, rounds_end > deadline ? rounds_end : deadline);
    if (c->ranks.rank == 0 && c->mine.problem[0] != '\0') /* most likely everybody's */
        return error_set(err, COHORT_ERR_USAGE, "%s", c->mine.problem);
    if (c->ranks.rank == 0)
        TRY(check_judge(c, err));
out:
    return code;
}

static void end_now(int signal_number) {
    (void)signal_number;
    _exit(1);
}

/* MPI_Finalize() waits for messages that will never come: then the process ends without it. */
static void end_ranks(struct check *c) {
    if (c->silent) {
        fflush(NULL);
        signal(SIGALRM, end_now);
        alarm(FINALIZE_WAIT_S);
    }
    if (c->ranks.comm != MPI_COMM_NULL)
        MPI_Finalize();
    alarm(0);
}

static void release(struct check *c) {
    if (c->silent) /* MPI may still hold the buffers */
        return;
    mem_free(c->boards);
    mem_free(c->my_links);
    mem_free(c->links);
    mem_free(c->buffer);
    mem_free(c->reports);
    mem_free(c->faults);
    mem_free(c->notes);
}

int cmd_check(const struct cli_command *self, int argc, char **argv) {
    struct check c = {.ranks = {.comm = MPI_COMM_NULL, .size = 1}};
    struct cohort_error err = {0};
    const char *none[1];
    int count, status;
    cli_options_init(&c.common);
    const struct option_spec specs[] = {
        {"json", 0, OPTION_FLAG, &c.common.json, NULL, "one JSON document instead of tables", 0, 0},
        {"threads", 't', OPTION_INT, &c.common.threads, "N",
         "threads per rank (every core of its share)", 1, 1024},
        {"cores", 0, OPTION_TEXT, &c.common.cores, "LIST", "all, big, or numbers such as 0-3,6", 0,
         0},
        CLI_COMMON_OPTIONS(c.common),
        CLI_OPTIONS_END,
    };
    /* A rank with wrong options (environments can differ) takes part all the same, without an
     * agreement over links that may not work: its report says what is wrong. */
    enum cohort_code code =
        options_parse(specs, argc, argv, cli_environment, none, 0, &count, &err);
    if (code == COHORT_OK && c.common.help)
        return cli_help(self, specs);
    if (code != COHORT_OK && cli_launch_size() <= 1)
        return cli_fail(&err);
    if (code != COHORT_OK) {
        cli_options_init(&c.common);
        note_problem(&c, &err);
    }
    code = cli_ranks_init(&c.ranks, &err);
    if (code == COHORT_OK && c.ranks.comm != MPI_COMM_NULL)
        MPI_Comm_set_errhandler(c.ranks.comm, MPI_ERRORS_RETURN);
    if (code == COHORT_OK)
        code = check(&c, &err);
    bool faults = c.fault_count > 0;
    status = code != COHORT_OK ? cli_fail(&err) : faults ? 1 : 0;
    if (code != COHORT_OK && c.ranks.rank != 0)
        fprintf(stderr, "cohort: rank %d: %s\n", c.ranks.rank, err.message);
    fflush(stdout);
    end_ranks(&c);
    release(&c);
    return status;
}
