/* Ranks, messages, options, networks by name: what all subcommands share. */
#include "cli/cli.h"
#include "base/clock.h"
#include "cli/cluster.h"
#include "cli/limits.h"
#include "cli/wire_choice.h"

#include "base/file.h"
#include "base/mem.h"
#include "synth/synth.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BROADCAST_S 120.0 /* rank 0 may have files to read before it says how many */
#define FINALIZE_S  2.0   /* for MPI to end after an error, on rank 0 … */
#define OTHERS_LATE_S                                                                              \
    2.0 /* … and so much longer on the others, which speak when rank 0 is lost                   \
         */

/* ---- ranks ----------------------------------------------------------------------------------- */

static int launch_number(const char *name, const char *other, int otherwise) {
    const char *text = getenv(name);
    if (text == NULL)
        text = getenv(other);
    return text != NULL ? atoi(text) : otherwise;
}

int cli_launch_rank(void) {
    return launch_number("OMPI_COMM_WORLD_RANK", "PMI_RANK", 0);
}

int cli_launch_size(void) {
    return launch_number("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", 0);
}

enum cohort_code cli_ranks_init(struct cli_ranks *r, struct cohort_error *err) {
    *r = (struct cli_ranks){.comm = MPI_COMM_NULL, .rank = 0, .size = 1};
    if (cli_launch_size() == 0)
        return COHORT_OK;
    /* Pairs that send large messages to each other at once go half duplex without this. */
    setenv("OMPI_MCA_btl_tcp_flags", "send", 0);
    /* While MPI itself waits (connecting, agreeing), whoever else wants the core gets it: Open MPI
     * cannot see that boards of a farm share one machine. */
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    int provided;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return error_set(err, COHORT_ERR_COMM, "MPI could not be initialised");
    r->comm = MPI_COMM_WORLD;
    MPI_Comm_rank(r->comm, &r->rank);
    MPI_Comm_size(r->comm, &r->size);
    return COHORT_OK;
}

/* Initialises MPI; all leave with the lowest failing rank's status. */
static enum cohort_code join_ranks(struct cli_ranks *r, enum cohort_code code,
                                   struct cohort_error *err) {
    enum cohort_code started = cli_ranks_init(r, err);
    return started != COHORT_OK ? started : cli_agree(r, code, err);
}

enum cohort_code cli_ranks_begin(struct cli_ranks *r, struct cohort_error *err) {
    return join_ranks(r, COHORT_OK, err);
}

struct last_words {
    char message[COHORT_MESSAGE_BYTES];
    double seconds;
    atomic_bool speak;
};

static void *leave_anyway(void *context) {
    struct last_words *w = context;
    double whole = floor(w->seconds);
    struct timespec t = {.tv_sec = (time_t)whole, .tv_nsec = (long)((w->seconds - whole) * 1e9)};
    nanosleep(&t, NULL);
    if (w->speak)
        fprintf(stderr, "cohort: %s\n", w->message);
    _exit(1);
}

int cli_ranks_end(struct cli_ranks *r, enum cohort_code code, struct cohort_error *err) {
    code = cli_agree(r, code, err);
    int status = code == COHORT_OK ? 0 : cli_fail(err);
    if (r->comm == MPI_COMM_NULL)
        return status;
    static struct last_words
        words; /* the thread lasts as long as the process: exit() may hang too */
    pthread_t watch;
    if (code != COHORT_OK) {
        snprintf(words.message, sizeof words.message, "%s", err->message);
        words.seconds =
            FINALIZE_S + (r->rank == 0 ? 0 : OTHERS_LATE_S) + 0.5 * (r->rank < 8 ? r->rank : 8);
        words.speak = r->rank != 0;
        if (pthread_create(&watch, NULL, leave_anyway, &words) == 0)
            pthread_detach(watch);
    }
    MPI_Finalize();
    words.speak = false;
    r->comm = MPI_COMM_NULL;
    return status;
}

enum cohort_code cli_agree(struct cli_ranks *r, enum cohort_code code, struct cohort_error *err) {
    if (r->comm == MPI_COMM_NULL || r->ended || code == COHORT_ERR_TIMEOUT)
        return code;
    code = cohort_agree(r->comm, code, err);
    r->ended = code != COHORT_OK;
    return code;
}

enum cohort_code cli_broadcast(const struct cli_ranks *r, long *value, struct cohort_error *err) {
    return cli_broadcast_bytes(r, value, sizeof *value, err);
}

/* Until the request is done, without spinning; a lost rank never answers. */
static enum cohort_code wait_for(const struct cli_ranks *r, MPI_Request *request, const char *whom,
                                 struct cohort_error *err) {
    const struct timespec nap = {.tv_nsec = 200000};
    double until = clock_ms() + BROADCAST_S * 1e3;
    int done = 0;
    while (MPI_Test(request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done) {
        if (clock_ms() > until)
            return error_set(err, COHORT_ERR_TIMEOUT, "rank %d: no answer within %g s from %s",
                             r->rank, BROADCAST_S, whom);
        nanosleep(&nap, NULL);
    }
    return done ? COHORT_OK : error_set(err, COHORT_ERR_COMM, "rank %d: MPI_Test failed", r->rank);
}

enum cohort_code cli_broadcast_bytes(const struct cli_ranks *r, void *data, size_t bytes,
                                     struct cohort_error *err) {
    MPI_Request request;
    if (r->comm == MPI_COMM_NULL)
        return COHORT_OK;
    if (MPI_Ibcast(data, (int)bytes, MPI_BYTE, 0, r->comm, &request) != MPI_SUCCESS)
        return error_set(err, COHORT_ERR_COMM, "rank %d: MPI_Ibcast failed", r->rank);
    return wait_for(r, &request, "rank 0 or a rank between", err);
}

enum cohort_code cli_gather_bytes(const struct cli_ranks *r, const void *mine, void *all,
                                  size_t bytes, struct cohort_error *err) {
    MPI_Request request;
    if (r->comm == MPI_COMM_NULL) {
        memcpy(all, mine, bytes);
        return COHORT_OK;
    }
    if (MPI_Igather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, 0, r->comm, &request) !=
        MPI_SUCCESS)
        return error_set(err, COHORT_ERR_COMM, "rank %d: MPI_Igather failed", r->rank);
    return wait_for(r, &request, "a rank", err);
}

bool cli_lost(enum cohort_code code) {
    return code == COHORT_ERR_TIMEOUT || code == COHORT_ERR_COMM;
}

/* ---- messages -------------------------------------------------------------------------------- */

int cli_fail(const struct cohort_error *err) {
    if (cli_launch_rank() == 0) {
        fflush(stdout);
        fprintf(stderr, "cohort: %s\n", err->message);
    }
    return err->code == COHORT_ERR_USAGE ? 2 : 1;
}

const char *cli_environment(const char *name) {
    return getenv(name);
}

const char *cli_inject(const char *kind) {
    const char *text = getenv("COHORT_INJECT");
    const size_t n = strlen(kind);
    for (; text != NULL && *text != '\0';
         text += strcspn(text, ",") + (strchr(text, ',') != NULL)) {
        const char *at = text + strcspn(text, "@,");
        if (strncmp(text, kind, n) == 0 && text[n] == ':' &&
            (*at != '@' || atoi(at + 1) == cli_launch_rank()))
            return text + n + 1;
    }
    return NULL;
}

static int check_leaks(int status) {
    long blocks = mem_live_blocks();
    if (blocks == 0 || (getenv("COHORT_INJECT") == NULL && getenv("COHORT_CHECK_LEAKS") == NULL))
        return status;
    fprintf(stderr, "cohort: leak: rank %d leaves %ld blocks of memory, %zu bytes, allocated\n",
            cli_launch_rank(), blocks, mem_live_bytes());
    return status != 0 ? status : 1;
}

int cli_finish(int status) {
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        fprintf(stderr, "cohort: standard output cannot be written: %s\n", strerror(errno));
        status = 1;
    }
    return check_leaks(status);
}

int cli_help(const struct cli_command *self, const struct option_spec *specs) {
    if (cli_launch_rank() != 0)
        return 0;
    printf("usage: %s\n\n%s.\n\n", self->usage, self->summary);
    options_print(specs, stdout);
    return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

void cli_options_init(struct cli_options *o) {
    *o = (struct cli_options){.repeat = 1, .width = 1, .seed = 1, .wire = -1};
}

bool cli_parse(const struct cli_command *self, const struct option_spec *specs, const bool *help,
               int argc, char **argv, const char **positional, int max, int *count, int *status) {
    struct cohort_error err;
    enum cohort_code code =
        options_parse(specs, argc, argv, cli_environment, positional, max, count, &err);
    if (code != COHORT_OK) {
        struct cli_ranks ranks = {.comm = MPI_COMM_NULL, .size = 1};
        if (self->mpi) /* the others may have understood theirs: the environment can differ */
            code = join_ranks(&ranks, code, &err);
        *status = cli_ranks_end(&ranks, code, &err);
        return false;
    }
    if (*help) {
        *status = cli_help(self, specs);
        return false;
    }
    return true;
}

char *cli_cache_directory(const struct cli_options *o) {
    const char *home;
    if (o->cache != NULL)
        return mem_strdup(o->cache);
    if ((home = getenv("XDG_CACHE_HOME")) != NULL && home[0] == '/')
        return file_join(home, "cohort");
    if ((home = getenv("HOME")) != NULL && home[0] == '/')
        return file_join(home, ".cache/cohort");
    return NULL;
}

/* ---- networks -------------------------------------------------------------------------------- */

/* The file of a generated network in the cache, made when it is not there. */
static enum cohort_code generated(char **path, const char *name, const struct cli_options *o,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct synth_network *net = synth_find(name);
    char *cache = cli_cache_directory(o), *directory = NULL, *file = NULL;
    struct synth_options s = {.size = (int)o->size,
                              .width = o->width,
                              .seed = (uint64_t)o->seed,
                              .features = o->features};
    if (cache == NULL) {
        code = error_set(err, COHORT_ERR_USAGE,
                         "no directory for generated networks: set HOME or give --cache DIR");
        goto out;
    }
    directory = file_join(cache, "networks");
    file = mem_printf("%s/networks/%s-%d-%g-%ld%s-%s.onnx", cache, net->name,
                      s.size > 0 ? s.size : net->size, o->width, o->seed,
                      o->features ? "-features" : "", cohort_version());
    if (directory == NULL || file == NULL) {
        code = error_memory(err, 256, "a file name");
        goto out;
    }
    TRY(file_make_directories(directory, err));
    if (!file_exists(file))
        TRY(synth_write(net->name, &s, file, err));
    fprintf(stderr,
            "cohort: note: %s is generated and its weights are random: times are real, answers are "
            "not\n",
            net->name);
    *path = file;
    file = NULL;
out:
    mem_free(cache);
    mem_free(directory);
    mem_free(file);
    return code;
}

/* "NAME: neither a file nor a network …", for names that do not look like a file's. */
static enum cohort_code no_such_network(const char *name, struct cohort_error *err) {
    const char *names[128];
    int n;
    const struct synth_network *nets = synth_networks(&n);
    for (int i = 0; i < n && i < 128; i++)
        names[i] = nets[i].name;
    const char *close = closest_name(name, names, (size_t)(n < 128 ? n : 128));
    return error_set(err, COHORT_ERR_IO,
                     "%s: neither a file nor a network that 'cohort synth --list' knows%s%s%s",
                     name, close != NULL ? ": did you mean " : "", close != NULL ? close : "",
                     close != NULL ? "?" : "");
}

/* Options of generated networks change nothing in a file. */
static enum cohort_code check_file_options(const char *name, const struct cli_options *o,
                                           struct cohort_error *err) {
    const char *option = o->size != 0    ? "--size"
                         : o->width != 1 ? "--width"
                         : o->seed != 1  ? "--seed"
                         : o->features   ? "--features"
                                         : NULL;
    return option == NULL
               ? COHORT_OK
               : error_set(err, COHORT_ERR_USAGE,
                           "%s is for generated networks, but %s is a file (--shape fixes the "
                           "shapes of inputs)",
                           option, name);
}

enum cohort_code cli_open_model(struct cohort_model **m, const char *name,
                                const struct cli_options *o, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *path = NULL;
    struct cohort_open_options open = {
        .shapes = o->shapes.items, .shape_count = o->shapes.count, .keep_nodes = o->keep_nodes};
    bool exists = file_exists(name);
    if (!exists && synth_find(name) != NULL)
        TRY(generated(&path, name, o, err));
    else if (!exists && strpbrk(name, "/.") == NULL)
        TRY(no_such_network(name, err));
    else if (exists)
        TRY(check_file_options(name, o, err));
    TRY(cohort_open(m, path != NULL ? path : name, &open, err));
out:
    mem_free(path);
    return code;
}

static enum cohort_code find_plan(struct cohort_plan **plan, const struct cohort_model *m,
                                  const struct cli_options *o, int boards, char **names,
                                  struct cohort_error *err) {
    if (o->plan != NULL) {
        if (o->groups != NULL || o->ratio != NULL || o->root != 0)
            return error_set(
                err, COHORT_ERR_USAGE,
                "--plan already says how to divide: leave out --groups, --ratio and --root");
        return cohort_plan_load(plan, o->plan, err);
    }
    struct cohort_plan_options p = {.boards = boards,
                                    .groups = o->groups,
                                    .ratio = o->ratio,
                                    .board_names = (const char *const *)names,
                                    .root_feeds = o->root == 1};
    return cohort_plan_make(plan, m, &p, err);
}

enum cohort_code cli_make_plan(struct cohort_plan **plan, const struct cohort_model *m,
                               const struct cli_options *o, int boards, char **names,
                               struct cohort_error *err) {
    enum cohort_code code = find_plan(plan, m, o, boards, names, err);
    if (code == COHORT_OK && o->wire >= 0 && o->wire != CLI_WIRE_AUTO)
        cohort_plan_set_wire(*plan, (enum cohort_wire)o->wire);
    return code;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void log_line(void *context, int level, const char *line) {
    const struct cli_session_state *s = context;
    if (level == 0 || (level == 1 && s->options->verbose))
        fprintf(stderr, level == 0 ? "cohort: warning: %s\n" : "cohort: note: %s\n", line);
}

static void show_progress(void *context, const char *what, uint64_t done, uint64_t total) {
    struct cli_session_state *s = context;
    double now = clock_ms();
    bool first = s->what != what;
    s->what = what;
    if (first)
        s->shown_ms = now;
    if (s->rank != 0 || total == 0 ||
        (now - s->shown_ms < (s->plain ? 2000 : 100) && !(s->bar && done == total)))
        return;
    s->shown_ms = now;
    bool counts = strcmp(what, "tuning") == 0; /* all else is bytes, or thousandths */
    bool shares = strncmp(what, "profiling", 9) == 0 || strcmp(what, "measuring links") == 0;
    double unit = counts ? 1 : 1024 * 1024;
    char text[64] = "", percent[32];
    snprintf(percent, sizeof percent, shares ? "%.0f %%" : " (%.0f %%)",
             100.0 * (double)done / (double)total);
    if (!shares)
        snprintf(text, sizeof text, "%.*f of %.*f %s", counts ? 0 : 1, (double)done / unit,
                 counts ? 0 : 1, (double)total / unit, counts ? "kernels" : "MB");
    if (s->plain)
        fprintf(stderr, "cohort: %s: %s\n", what, shares ? percent : text);
    else if (s->bar)
        fprintf(stderr, "\r%s: %s%s%s", what, text, percent, done == total ? "\n" : "");
}

enum cohort_code cli_session_options(struct cohort_session_options *out,
                                     struct cli_session_state *state, const struct cli_options *o,
                                     struct cli_ranks *r, struct cohort_error *err) {
    *state = (struct cli_session_state){.options = o, .rank = r->rank};
    const char *how = o->progress != NULL ? o->progress : "auto";
    state->bar = strcmp(how, "bar") == 0 || (strcmp(how, "auto") == 0 && r->comm == MPI_COMM_NULL);
    state->plain =
        strcmp(how, "plain") == 0 || (strcmp(how, "auto") == 0 && r->comm != MPI_COMM_NULL);
    if (!state->bar && !state->plain && strcmp(how, "none") != 0)
        return error_set(err, COHORT_ERR_USAGE, "--progress %s: expected auto, bar, plain or none",
                         how);
    struct cluster_board board = {.cpu_share = 1};
    enum cohort_code code = cluster_lookup(&board, o->cluster, r, err);
    state->cores = board.cores;
    board.cores = NULL;
    double share = o->cpu_share > 0 ? o->cpu_share : board.cpu_share;
    int threads = o->threads > 0 ? (int)o->threads : board.threads;
    uint64_t limit = board.memory_limit_bytes;
    cluster_board_release(&board);
    if (code != COHORT_OK)
        return code;
    if (limit > 0)
        mem_limit(limit < SIZE_MAX ? (size_t)limit : SIZE_MAX);
    uint64_t planned;
    code = memory_limit_bytes(&planned, o->memory_limit, err);
    if (code != COHORT_OK)
        return code;
    *out = (struct cohort_session_options){
        .memory_limit_bytes = planned,
        .threads = threads,
        .cpu_share = share,
        .cores = o->cores != NULL ? o->cores : state->cores,
        .no_binding = o->no_binding,
        .kernel = o->kernel,
        .scatter = (enum cohort_scatter)o->scatter,
        .setup_ms = o->setup_ms,
        .weights_type = (enum cohort_weights_type)o->weights_type,
        .arithmetic = (enum cohort_arithmetic)o->arithmetic,
        .timeout_s = o->timeout_s,
        .idle_timeout_s = o->timeout_s > 0 ? o->timeout_s : 30, /* runs follow each other */
        .cache_limit_bytes = (uint64_t)(o->cache_gb * 1024 * 1024 * 1024),
        .inject_mpi_call = r->rank == 1 || r->size == 1 ? (int)o->inject_mpi : 0,
        .log = log_line,
        .progress = show_progress,
        .context = state,
    };
    if (o->weights == NULL || strcmp(o->weights, "cache") == 0) {
        out->weights = COHORT_WEIGHTS_CACHE;
    } else if (strcmp(o->weights, "send") == 0) {
        out->weights = COHORT_WEIGHTS_SEND;
    } else if (strncmp(o->weights, "local:", 6) == 0 && o->weights[6] != '\0') {
        out->weights = COHORT_WEIGHTS_LOCAL;
        out->weights_path = o->weights + 6;
    } else {
        return error_set(err, COHORT_ERR_USAGE, "--weights %s: expected cache, send or local:PATH",
                         o->weights);
    }
    const char *phase = cli_inject("phase"), *kernel = cli_inject("estimate");
    if (phase != NULL)
        out->inject_phase = state->injected;
    else if ((phase = kernel) != NULL)
        out->inject_estimate = state->injected;
    if (phase != NULL)
        snprintf(state->injected, sizeof state->injected, "%.*s", (int)strcspn(phase, "@,"), phase);
    const char *slower = cli_inject("share");
    if (slower != NULL) {
        char *end;
        out->inject_share = strtod(slower, &end);
        out->inject_share_run = *end == ':' ? strtol(end + 1, NULL, 10) : 1;
    }
    if (cli_inject("mpi") != NULL)
        out->inject_mpi_call = atoi(cli_inject("mpi"));
    state->cache = cli_cache_directory(o);
    out->cache_directory = state->cache;
    out->tuning = o->tuning;
    if (o->tuning != NULL && strcmp(o->tuning, "none") == 0) {
        out->tuning = NULL;
    } else if (o->tuning == NULL && state->cache != NULL) {
        out->tuning = state->tuning = file_join(state->cache, "tuning.json");
        out->tuning_optional = 1;
        if (state->tuning == NULL)
            return error_memory(err, strlen(state->cache), "a file name");
    }
    return COHORT_OK;
}

void cli_session_release(struct cli_session_state *state) {
    mem_free(state->cache);
    mem_free(state->cores);
    mem_free(state->tuning);
    state->cache = NULL;
    state->tuning = NULL;
    state->cores = NULL;
}

/* ---- times ----------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct cli_stats cli_statistics(double *ms, int n) {
    if (n <= 0)
        return (struct cli_stats){0};
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    int p95 = (int)(0.95 * (n - 1) + 0.5);
    return (struct cli_stats){.median = n % 2 ? ms[n / 2] : 0.5 * (ms[n / 2 - 1] + ms[n / 2]),
                              .p95 = ms[p95],
                              .min = ms[0]};
}
