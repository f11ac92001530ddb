/* What is wrong with boards and links, and how they are shown.
 *
 * A fault keeps a job from running or from being right; a note costs speed.  Each ends with what to
 * do about it. */
#include "cli/check.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_FACTOR 0.5  /* of the median link */
#define FAST_MBIT   4000 /* beyond it no board's network is the limit: nothing is slow */

/* ---- judging (rank 0) ------------------------------------------------------------------------ */

static void add(struct check *c, bool fault, const char *fmt, ...) COHORT_PRINTF(3, 4);
static void add(struct check *c, bool fault, const char *fmt, ...) {
    int *count = fault ? &c->fault_count : &c->note_count;
    va_list args;
    if (*count >= c->problem_max)
        return;
    va_start(args, fmt);
    vsnprintf(fault ? c->faults[*count] : c->notes[*count], sizeof *c->faults, fmt, args);
    va_end(args);
    (*count)++;
}

/* The link between a and b as its lower rank saw it; NULL when that one did not report. */
static const struct link *link_of(const struct check *c, int a, int b) {
    int low = a < b ? a : b, high = a < b ? b : a;
    return c->boards[low].reported ? &c->links[low * c->ranks.size + high] : NULL;
}

/* Megabits a second from a to b. */
static double mbit_of(const struct check *c, int a, int b) {
    const struct link *l = link_of(c, a, b);
    return l == NULL || !l->answered ? 0 : a < b ? l->to_mbit : l->from_mbit;
}

/* Names that ranks without a report are known by to those that met them. */
static void name_silent(struct check *c) {
    int n = c->ranks.size;
    for (int r = 0; r < n; r++) {
        for (int s = 0; s < n && c->boards[r].host[0] == '\0'; s++) {
            if (c->boards[s].reported && c->links[s * n + r].host[0] != '\0')
                memcpy(c->boards[r].host, c->links[s * n + r].host, LINKS_HOST_BYTES);
        }
        if (c->boards[r].host[0] == '\0')
            snprintf(c->boards[r].host, sizeof c->boards[r].host, "(unknown)");
        if (strcmp(c->boards[r].build, "another") == 0)
            add(c, true,
                "rank %d runs another build of cohort: put one build on all boards "
                "(cohort-cluster deploy NAME)",
                r);
        else if (!c->boards[r].reported)
            add(c, true,
                "rank %d (%s) did not report to rank 0 (%s): ports between them are blocked, or "
                "MPI took the wrong interface (cohort-cluster check NAME tells which)",
                r, c->boards[r].host, c->boards[0].host);
    }
}

static void judge_problems(struct check *c) {
    for (int r = 0; r < c->ranks.size; r++) {
        const struct facts *f = &c->boards[r];
        if (f->reported && f->problem[0] != '\0')
            add(c, true, "rank %d (%s) cannot be used so: %.*s", r, f->host,
                (int)strnlen(f->problem, sizeof f->problem), f->problem);
    }
}

static void judge_versions(struct check *c) {
    const struct facts *first = &c->boards[0];
    for (int r = 1; r < c->ranks.size; r++) {
        const struct facts *f = &c->boards[r];
        if (!f->reported)
            continue;
        if (strcmp(f->build, first->build) != 0)
            add(c, true,
                "rank %d (%s) runs cohort %s, rank 0 %s: put one build on all boards "
                "(cohort-cluster deploy NAME)",
                r, f->host, f->build, first->build);
        if (strcmp(f->mpi, first->mpi) != 0)
            add(c, true,
                "rank %d (%s) has Open MPI %s, rank 0 %s: install the same version on all boards",
                r, f->host, f->mpi, first->mpi);
    }
}

/* Open MPI numbers the ranks of each board from 0: two zeros under one name are two boards. */
static void judge_names(struct check *c) {
    for (int r = 0; r < c->ranks.size; r++) {
        for (int s = 0; s < r; s++) {
            const struct facts *a = &c->boards[s], *b = &c->boards[r];
            if (!a->reported || !b->reported || strcmp(a->host, b->host) != 0)
                continue;
            if (a->local_rank == 0 && b->local_rank == 0)
                add(c, true,
                    "ranks %d and %d are distinct boards, but both are called %s: give each its "
                    "own name (sudo hostnamectl set-hostname NAME)",
                    s, r, b->host);
            else if (a->local_rank == 0)
                add(c, false,
                    "ranks %d and %d share the board %s: for one rank a board say slots=1 in the "
                    "hostfile, or --map-by node",
                    s, r, b->host);
        }
    }
}

static void judge_interfaces(struct check *c) {
    const char *expected = NULL;
    for (int r = 0; r < c->ranks.size; r++) {
        const struct facts *f = &c->boards[r];
        if (f->wireless)
            add(c, false, "rank %d (%s): messages go by the wireless interface %s", r, f->host,
                f->interface);
        if (f->network[0] == '\0')
            continue;
        if (expected == NULL)
            expected = f->network;
        else if (strcmp(expected, f->network) != 0)
            add(c, true,
                "rank %d (%s): messages go by %s, outside %s: keep MPI there with --mca "
                "btl_tcp_if_include %s --mca oob_tcp_if_include %s",
                r, f->host, f->interface, expected, expected, expected);
    }
}

static bool same_board(const struct check *c, int a, int b) {
    const struct facts *x = &c->boards[a], *y = &c->boards[b];
    return strcmp(x->host, y->host) == 0 && x->local_rank != y->local_rank;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static enum cohort_code judge_links(struct check *c, struct cohort_error *err) {
    int n = c->ranks.size, count = 0;
    double *rates = mem_zalloc((size_t)n * (size_t)n + 1, sizeof *rates);
    if (rates == NULL)
        return error_memory(err, (size_t)n * (size_t)n * sizeof *rates, "rates of links");
    for (int a = 0; a < n; a++) {
        for (int b = 0; b < n; b++) {
            if (a != b && !same_board(c, a, b) && mbit_of(c, a, b) > 0)
                rates[count++] = mbit_of(c, a, b);
        }
    }
    qsort(rates, (size_t)count, sizeof *rates, ascending);
    double median = count > 0 && rates[count / 2] < FAST_MBIT ? rates[count / 2] : 0;
    for (int a = 0; a < n; a++) {
        for (int b = 0; b < n; b++) {
            const struct link *l = a == b ? NULL : link_of(c, a, b);
            if (l != NULL && !l->answered && a < b)
                add(c, true,
                    "ranks %d (%s) and %d (%s) cannot talk to each other: a blocked port, or two "
                    "interfaces (cohort-cluster check NAME tells which)",
                    a, c->boards[a].host, b, c->boards[b].host);
            else if (l != NULL && l->answered && !same_board(c, a, b) &&
                     mbit_of(c, a, b) < SLOW_FACTOR * median)
                add(c, false,
                    "the link from rank %d (%s) to %d (%s) is slow: %.0f Mbit/s, others "
                    "%.0f",
                    a, c->boards[a].host, b, c->boards[b].host, mbit_of(c, a, b), median);
        }
    }
    mem_free(rates);
    return COHORT_OK;
}

static void judge_cores(struct check *c) {
    for (int r = 0; r < c->ranks.size; r++) {
        const struct facts *f = &c->boards[r];
        if (f->reported && f->oversubscribed)
            add(c, false, "rank %d (%s): more threads than cores, times will say nothing", r,
                f->host);
    }
}

/* ---- showing (rank 0) ------------------------------------------------------------------------ */

static void print_matrix(const struct check *c, const char *title, bool latency) {
    int n = c->ranks.size;
    printf("\n%s\n%-20s", title, "");
    for (int b = 0; b < n; b++)
        printf(" %9d", b);
    printf("\n");
    for (int a = 0; a < n; a++) {
        printf("%4d %-15.15s", a, c->boards[a].host);
        for (int b = 0; b < n; b++) {
            const struct link *l = a == b ? NULL : link_of(c, a, b);
            if (l == NULL)
                printf(" %9s", "-");
            else if (!l->answered)
                printf(" %9s", "none");
            else if (latency)
                printf(" %9.0f", l->latency_us);
            else
                printf(" %9.1f", mbit_of(c, a, b));
        }
        printf("\n");
    }
}

static void print_people(const struct check *c) {
    int n = c->ranks.size;
    printf("%4s %-15s %-8s %-10s %-10s %7s %9s  %-12s %-8s %s\n", "rank", "board", "isa", "bound",
           "will use", "threads", "memory", "kernels", "Open MPI", "messages by");
    for (int r = 0; r < n; r++) {
        const struct facts *f = &c->boards[r];
        if (!f->reported) {
            printf("%4d %-15.15s no report\n", r, f->host);
            continue;
        }
        printf("%4d %-15.15s %-8s %-10s %-10s %7d %6.0f MB  %-12s %-8s %s\n", r, f->host, f->isa,
               f->binding, f->cores, f->threads, (double)f->memory_bytes / (1024 * 1024),
               f->kernels, f->mpi, f->interface[0] != '\0' ? f->interface : "memory");
    }
    printf("cohort %s\n", c->boards[0].build);
    if (n > 1) {
        print_matrix(c, "latency of 1 byte one way, us", true);
        print_matrix(c, "bandwidth from row to column (256 KB messages), Mbit/s", false);
    }
    printf("\n");
    for (int i = 0; i < c->fault_count; i++)
        printf("FAULT %s\n", c->faults[i]);
    for (int i = 0; i < c->note_count; i++)
        printf("note  %s\n", c->notes[i]);
    printf("%d rank%s: %d fault%s\n", n, n == 1 ? "" : "s", c->fault_count,
           c->fault_count == 1 ? "" : "s");
}

static void add_board(cJSON *boards, const struct facts *f, int rank, bool *ok) {
    cJSON *o = json_add_object(boards, NULL, ok);
    json_add_i64(o, "rank", rank, ok);
    json_add_text(o, "host", f->host, ok);
    json_add_bool(o, "reported", f->reported, ok);
    if (!f->reported)
        return;
    json_add_text(o, "isa", f->isa, ok);
    json_add_text(o, "cpu", f->cpu, ok);
    json_add_text(o, "kernels", f->kernels, ok);
    json_add_text(o, "build", f->build, ok);
    json_add_text(o, "open_mpi", f->mpi, ok);
    json_add_text(o, "bound_to", f->binding, ok);
    json_add_text(o, "cores", f->cores, ok);
    json_add_i64(o, "cores_total", f->cores_total, ok);
    json_add_i64(o, "threads", f->threads, ok);
    json_add_i64(o, "local_rank", f->local_rank, ok);
    json_add_i64(o, "memory_bytes", (int64_t)f->memory_bytes, ok);
    json_add_text(o, "interface", f->interface[0] != '\0' ? f->interface : NULL, ok);
    json_add_text(o, "network", f->network[0] != '\0' ? f->network : NULL, ok);
}

static enum cohort_code print_json(const struct check *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool ok = true;
    char *text = NULL;
    cJSON *root = cJSON_CreateObject();
    json_add_text(root, "format", "cohort-check", &ok);
    json_add_i64(root, "version", 1, &ok);
    cJSON *boards = json_add_array(root, "boards", &ok),
          *links = json_add_array(root, "links", &ok);
    cJSON *faults = json_add_array(root, "faults", &ok),
          *notes = json_add_array(root, "notes", &ok);
    int n = c->ranks.size;
    for (int r = 0; r < n; r++)
        add_board(boards, &c->boards[r], r, &ok);
    for (int a = 0; a < n; a++) {
        for (int b = 0; b < n; b++) {
            const struct link *l = a == b ? NULL : link_of(c, a, b);
            if (l == NULL)
                continue;
            cJSON *o = json_add_object(links, NULL, &ok);
            json_add_i64(o, "from", a, &ok);
            json_add_i64(o, "to", b, &ok);
            json_add_bool(o, "answered", l->answered, &ok);
            if (l->answered) {
                json_add_f64(o, "latency_us", l->latency_us, &ok);
                json_add_f64(o, "mbit_per_s", mbit_of(c, a, b), &ok);
            }
        }
    }
    for (int i = 0; i < c->fault_count; i++)
        json_add_text(faults, NULL, c->faults[i], &ok);
    for (int i = 0; i < c->note_count; i++)
        json_add_text(notes, NULL, c->notes[i], &ok);
    if (root == NULL || !ok) {
        code = error_memory(err, 4096, "a JSON document");
        goto out;
    }
    TRY(json_print(&text, NULL, root, err));
    printf("%s", text);
out:
    mem_free(text);
    json_free(&root);
    return code;
}

/* ---- both ------------------------------------------------------------------------------------ */

enum cohort_code check_judge(struct check *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    c->boards[0] = c->mine;
    memcpy(c->links, c->my_links, (size_t)c->ranks.size * sizeof *c->links);
    name_silent(c);
    judge_problems(c);
    judge_versions(c);
    judge_names(c);
    judge_interfaces(c);
    TRY(judge_links(c, err));
    judge_cores(c);
    if (c->common.json)
        TRY(print_json(c, err));
    else
        print_people(c);
out:
    return code;
}
