/* Tuning on several ranks: the work is shared, the file is rank 0's, and whatever kernels it names,
 * boards that can run the same ones take the same, so that any division gives one rank's bits.
 * What decides beside it, the smallest board's memory for Winograd's weights, is everybody's too.
 * np: 1 2 3 */
#include "tests/support/mpitest.h"

#include "cohort.h"

#include "base/mem.h"
#include "exec/tuning.h"
#include "runtime/session.h"
#include "synth/synth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char network[128], file[128]; /* rank 0's paths */
static struct cohort_model *model;   /* rank 0 */
static struct cohort_tensor input;
static float *numbers;

#define OUTPUTS_MAX 4096
struct answer {
    bool ok;
    int64_t count;
    float values[OUTPUTS_MAX];
};

static bool make_network(void) {
    struct cohort_error err = {0};
    struct synth_options o = {.size = 48, .width = 0.5, .classes = 10, .seed = 3};
    snprintf(network, sizeof network, "/tmp/cohort-tuning-%ld.onnx", (long)getpid());
    snprintf(file, sizeof file, "/tmp/cohort-tuning-%ld.json", (long)getpid());
    if (!mt_said(synth_write("mobilenetv2", &o, network, &err), &err) ||
        !mt_said(cohort_open(&model, network, NULL, &err), &err))
        return false;
    int64_t count = 1;
    input = cohort_input(model, 0);
    for (int i = 0; i < input.rank; i++)
        count *= input.dims[i];
    numbers = malloc((size_t)count * sizeof *numbers);
    for (int64_t i = 0; i < count; i++)
        numbers[i] = (float)((i * 7919) % 2001) / 1000.0f - 1.0f;
    input.data = numbers;
    return true;
}

/* One inference; what a is of an earlier step that failed stays. */
static void infer(struct answer *a, struct cohort_session *s, const struct cohort_tensor *in) {
    struct cohort_error err = {0};
    struct cohort_tensor out = {0};
    bool root = mt_rank == 0;
    a->ok = a->ok &&
            mt_said(cohort_run(s, root ? in : NULL, root, root ? &out : NULL, root, &err), &err);
    if (!a->ok || !root)
        return;
    a->count = 1;
    for (int i = 0; i < out.rank; i++)
        a->count *= out.dims[i];
    a->ok = a->count <= OUTPUTS_MAX;
    if (a->ok)
        memcpy(a->values, out.data, (size_t)a->count * sizeof *a->values);
}

/* Collective, or on rank 0 alone with MPI_COMM_NULL. */
static struct answer run(MPI_Comm comm, const struct cohort_session_options *o) {
    struct answer a = {0};
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    a.ok = mt_said(cohort_prepare(&s, mt_rank == 0 ? model : NULL, NULL, comm, o, &err), &err);
    infer(&a, s, &input);
    cohort_close(&s);
    return a;
}

static bool equal(const struct answer *a, const struct answer *b) {
    return a->ok && b->ok && a->count == b->count &&
           memcmp(a->values, b->values, (size_t)a->count * sizeof *a->values) == 0;
}

static struct cohort_session_options options_of(int threads, const char *tuning,
                                                const char *kernel) {
    return (struct cohort_session_options){.threads = threads,
                                           .no_binding = 1,
                                           .weights = COHORT_WEIGHTS_SEND,
                                           .tuning = tuning,
                                           .kernel = kernel};
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void tuning_fills_the_file(void) {
    struct cohort_error err = {0};
    struct cohort_session_options o = options_of(1, NULL, NULL);
    struct tuning t = {0};
    char *json = NULL;
    bool ok = mt_said(
        cohort_tune(mt_rank == 0 ? model : NULL, MPI_COMM_WORLD, file, 20, &o, &json, &err), &err);
    mt_ok(ok, "all ranks measure");
    ok = ok && (json != NULL) == (mt_rank == 0);
    if (ok && mt_rank == 0) {
        char ranks[40];
        snprintf(ranks, sizeof ranks, "\"ranks\": %d", mt_size);
        ok = strstr(json, "\"format\": \"cohort-tune\"") != NULL && strstr(json, ranks) != NULL;
        ok = ok && mt_said(tuning_load(&t, file, &err), &err) && t.count == 1 &&
             t.boards[0].key.threads == 1 && t.boards[0].count > 10;
        for (int i = 0; ok && i < t.boards[0].count; i++)
            ok = t.boards[0].choices[i].count >= 1 && t.boards[0].choices[i].times[0].us > 0;
    }
    mt_ok(ok, "every signature of the network stands in the file, measured once for all ranks");
    cohort_text_free(json);
    tuning_release(&t);
}

/* The file with other kernels for boards with so many threads: those of the given instruction set
 * (a part of their names). */
static bool add_part(int threads, const char *isa) {
    struct cohort_error err = {0};
    struct tuning t = {0};
    bool ok = mt_said(tuning_load(&t, file, &err), &err);
    if (ok) {
        struct tuning_key key = t.boards[0].key;
        int count = t.boards[0].count;
        key.threads = threads;
        for (int i = 0; i < count && ok; i++) {
            struct tuning_choice c = t.boards[0].choices[i];
            for (int k = 0; k < c.count; k++)
                if (strstr(c.times[k].kernel, isa) != NULL)
                    c.chosen = k;
            ok = mt_said(tuning_put(&t, &key, &c, &err), &err);
        }
        ok = ok && mt_said(tuning_save(&t, file, &err), &err);
    }
    tuning_release(&t);
    return ok;
}

static void tiles_have_one_ranks_bits(void) {
    struct cohort_session_options o = options_of(1, file, NULL);
    struct answer many = run(MPI_COMM_WORLD, &o), one = {.ok = true};
    if (mt_rank == 0)
        one = run(MPI_COMM_NULL, &o);
    mt_ok(many.ok && (mt_rank != 0 || equal(&one, &many)), "tuned, tiles have one rank's bits");
}

/* Rank r has r + 1 threads, and the file other kernels for each: all take what rank 0 takes. */
static void kinds_of_boards_agree(void) {
    bool ok = mt_rank != 0 || add_part(1, "generic");
    for (int r = 1; r < mt_size && mt_rank == 0; r++)
        ok = ok && add_part(r + 1, r == 1 ? "avx2" : "avx512");
    struct cohort_session_options generic = options_of(1, NULL, "generic"),
                                  o = options_of(mt_rank + 1, file, NULL);
    struct answer many = run(MPI_COMM_WORLD, &o), want = {.ok = true};
    if (mt_rank == 0)
        want = run(MPI_COMM_NULL, &generic);
    mt_ok(ok && many.ok && (mt_rank != 0 || equal(&want, &many)),
          "boards with the same instruction sets take rank 0's kernels");
    /* Nothing fits rank 0: the next one with the same kernels decides for it, too. */
    o = options_of(mt_rank == 0 ? 7 : 1, file, NULL);
    many = run(MPI_COMM_WORLD, &o);
    generic = options_of(1, NULL, mt_size > 1 ? "generic" : NULL);
    if (mt_rank == 0)
        want = run(MPI_COMM_NULL, &generic);
    mt_ok(many.ok && (mt_rank != 0 || equal(&want, &many)),
          "a part for one board counts for all that can run the same kernels");
}

static void kernel_wins(void) {
    struct cohort_session_options o = options_of(1, file, "generic"),
                                  plain = options_of(1, NULL, "generic");
    if (mt_rank == 0)
        add_part(1, "avx");
    struct answer many = run(MPI_COMM_WORLD, &o), want = {.ok = true};
    if (mt_rank == 0)
        want = run(MPI_COMM_NULL, &plain);
    mt_ok(many.ok && (mt_rank != 0 || equal(&want, &many)), "--kernel wins over the file");
}

/* A file that is wrong: the same error on every rank, or a word and no choices. */
static void bad_files_end_everywhere(void) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_session_options o = options_of(1, file, NULL);
    if (mt_rank == 0) {
        FILE *f = fopen(file, "w");
        fputs("{\"format\": \"cohort-tuning\", \"version\": 3}", f);
        fclose(f);
    }
    enum cohort_code code =
        cohort_prepare(&s, mt_rank == 0 ? model : NULL, NULL, MPI_COMM_WORLD, &o, &err);
    mt_ok(code == COHORT_ERR_FORMAT && strstr(err.message, ".json: tuning of version") != NULL,
          "a bad file is the same error on every rank");
    char *json = NULL;
    code = cohort_tune(mt_rank == 0 ? model : NULL, MPI_COMM_WORLD, file, 1, &o, &json, &err);
    mt_ok(code == COHORT_ERR_FORMAT && json == NULL &&
              strstr(err.message, "remove it to begin anew") != NULL,
          "a bad file is not written over");
    o.tuning_optional = 1;
    struct cohort_session_options plain = options_of(1, NULL, NULL);
    struct answer many = run(MPI_COMM_WORLD, &o), want = {.ok = true};
    if (mt_rank == 0)
        want = run(MPI_COMM_NULL, &plain);
    mt_ok(many.ok && (mt_rank != 0 || equal(&want, &many)),
          "where it is optional it is left alone");
}

static void wrong_calls_are_errors(void) {
    struct cohort_error err = {0};
    struct cohort_session_options o = options_of(1, NULL, "conv_generic_direct");
    char *json = NULL;
    enum cohort_code code =
        cohort_tune(mt_rank == 0 ? model : NULL, MPI_COMM_WORLD, file, 1, &o, &json, &err);
    mt_ok(code == COHORT_ERR_USAGE && strstr(err.message, "nothing to choose") != NULL,
          "--kernel leaves nothing to tune");
    o.kernel = NULL;
    code = cohort_tune(NULL, MPI_COMM_WORLD, file, 1, &o, &json, &err);
    mt_ok(code == COHORT_ERR_USAGE, "no network");
    code = cohort_tune(mt_rank == 0 ? model : NULL, MPI_COMM_WORLD, NULL, 1, &o, &json, &err);
    mt_ok(code == COHORT_ERR_USAGE, "no file");
}

/* ---- memory for Winograd --------------------------------------------------------------------- */

#define SMALL_BOARD                                                                                \
    ((size_t)48 << 20) /* a sixteenth of it is what one layer's weights may take                   \
                        */

static int with_winograd(const struct cohort_session *s, size_t *most) {
    int n = 0;
    *most = 0;
    for (int i = 0; i < s->graph->node_count; i++) {
        const char *name = exec_node_kernel(s->program, i);
        struct signature sig;
        if (name == NULL || strstr(name, "winograd") == NULL ||
            !signature_of(s->graph, &s->graph->nodes[i], &sig))
            continue;
        size_t bytes = signature_weights_bytes(&sig, name);
        *most = bytes > *most ? bytes : *most;
        n++;
    }
    return n;
}

/* A run while this rank may have so much memory (0: as much as there is); the limit that the job
 * agreed on, how many layers Winograd has on this rank, and the weights of the largest of them. */
static struct answer run_within(MPI_Comm comm, struct cohort_model *m,
                                const struct cohort_tensor *in, size_t memory, size_t *limit,
                                int *layers, size_t *most) {
    struct cohort_session_options o = options_of(1, NULL, NULL);
    struct answer a = {0};
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    mem_limit(memory);
    a.ok = mt_said(cohort_prepare(&s, mt_rank == 0 ? m : NULL, NULL, comm, &o, &err), &err);
    if (a.ok) {
        *limit = s->kernel_board.winograd_bytes;
        *layers = with_winograd(s, most);
    }
    infer(&a, s, in);
    cohort_close(&s);
    mem_limit(0);
    return a;
}

/* The last rank has little memory: no rank gives Winograd a layer whose weights it could not hold,
 * so rows that different boards compute have one board's bits. */
static void the_smallest_board_decides(void) {
    struct cohort_error err = {0};
    struct cohort_model *m = NULL;
    struct cohort_tensor in = {0};
    float *values = NULL;
    char path[128];
    bool ok = true;
    snprintf(path, sizeof path, "/tmp/cohort-limit-%ld.onnx", (long)getpid());
    if (mt_rank == 0) {
        struct synth_options o = {.size = 96, .width = 0.5, .features = true, .seed = 3};
        ok = mt_said(synth_write("vgg11", &o, path, &err), &err) &&
             mt_said(cohort_open(&m, path, NULL, &err), &err);
        in = cohort_input(m, 0);
        values = malloc(sizeof *values * 3 * 96 * 96);
        for (int i = 0; i < 3 * 96 * 96; i++)
            values[i] = (float)((i * 7919) % 2001) / 1000.0f - 1.0f;
        in.data = values;
    }
    size_t limit = 0, alone_limit = 0, most = 0, alone_most = 0, free_limit = 0, free_most = 0;
    int layers = 0, alone_layers = 0, free_layers = 0;
    bool last = mt_rank == mt_size - 1;
    struct answer job = run_within(MPI_COMM_WORLD, m, &in, last ? SMALL_BOARD : 0, &limit, &layers,
                                   &most),
                  alone = {.ok = true}, unlimited = {.ok = true};
    mt_ok(ok && job.ok && limit == SMALL_BOARD / 16 + 1 && most <= limit && layers > 0,
          "the smallest board's memory is every rank's limit, and it is kept");
    if (mt_rank == 0) {
        alone = run_within(MPI_COMM_NULL, m, &in, SMALL_BOARD, &alone_limit, &alone_layers,
                           &alone_most);
        unlimited = run_within(MPI_COMM_NULL, m, &in, 0, &free_limit, &free_layers, &free_most);
        ok = alone_limit == limit && equal(&alone, &job) && unlimited.ok;
    }
    mt_ok(ok, "… and the job has the bits of that board alone");
    /* an instruction set that never wants Winograd for these would make this test say nothing */
    mt_ok(mt_rank != 0 || (free_layers > alone_layers && free_most > limit),
          "… where boards with more memory would take Winograd for more layers");
    if (mt_rank == 0) {
        cohort_model_free(&m);
        free(values);
        unlink(path);
    }
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 240);
    mt_ok(mt_rank != 0 || make_network(), "a network");
    tuning_fills_the_file();
    tiles_have_one_ranks_bits();
    kinds_of_boards_agree();
    kernel_wins();
    bad_files_end_everywhere();
    wrong_calls_are_errors();
    the_smallest_board_decides();
    if (mt_rank == 0) {
        cohort_model_free(&model);
        free(numbers);
        unlink(network);
        unlink(file);
    }
    return mt_end();
}
