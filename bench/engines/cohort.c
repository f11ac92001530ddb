/* Cohort as an engine of bench/single: libcohort on one board, without MPI, with its defaults; with
 * the kernels of the tuning file $ENGINE_TUNING, and with --kernel $ENGINE_KERNEL, where these are
 * set. */
#include "engine.h"

#include "cohort.h"

#define INPUTS_MAX  8
#define OUTPUTS_MAX 8

static struct {
    struct cohort_model *model;
    struct cohort_session *session;
    struct cohort_tensor in[INPUTS_MAX], out[OUTPUTS_MAX];
    int in_count, out_count;
    struct cohort_error err;
} net;

/* NULL where it is not set, or empty. */
static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

static const char *open_network(const char *model, int threads) {
    const struct cohort_session_options options = {.threads = threads,
                                                   .tuning = environment("ENGINE_TUNING"),
                                                   .kernel = environment("ENGINE_KERNEL")};
    if (cohort_open(&net.model, model, NULL, &net.err) != COHORT_OK ||
        cohort_prepare(&net.session, net.model, NULL, MPI_COMM_NULL, &options, &net.err) !=
            COHORT_OK)
        return net.err.message;
    net.in_count = cohort_input_count(net.model);
    net.out_count = cohort_output_count(net.model);
    if (net.in_count > INPUTS_MAX || net.out_count > OUTPUTS_MAX)
        return "more inputs or outputs than this program takes";
    for (int k = 0; k < net.in_count; k++) {
        long count = 1;
        net.in[k] = cohort_input(net.model, k);
        for (int i = 0; i < net.in[k].rank; i++)
            count *= (long)net.in[k].dims[i];
        if (net.in[k].type != COHORT_F32 || count <= 0)
            return "only inputs of floats with a known shape are taken";
        float *x = malloc((size_t)count * sizeof *x);
        if (x == NULL)
            return "out of memory";
        for (long i = 0; i < count; i++)
            x[i] = engine_number(i);
        net.in[k].data = x;
    }
    return NULL;
}

static const char *run(void) {
    return cohort_run(net.session, net.in, net.in_count, net.out, net.out_count, &net.err) ==
                   COHORT_OK
               ? NULL
               : net.err.message;
}

static const float *answer(long *count) {
    *count = 1;
    for (int i = 0; i < net.out[0].rank; i++)
        *count *= (long)net.out[0].dims[i];
    return net.out[0].type == COHORT_F32 ? net.out[0].data : NULL;
}

int main(int argc, char **argv) {
    const struct engine e = {.open = open_network, .run = run, .answer = answer};
    int status = engine_serve(&e, argc, argv);
    for (int k = 0; k < net.in_count; k++)
        free(net.in[k].data);
    cohort_close(&net.session);
    cohort_model_free(&net.model);
    return status;
}
