/* Runs a network once over all ranks of an MPI job:  mpirun -n 2 ./example MODEL.onnx
 * Rank 0 opens the network and brings the input; every call after that is made by all ranks. */
#include <cohort.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    struct cohort_model *model = NULL;
    struct cohort_plan *plan = NULL;
    struct cohort_session *session = NULL;
    struct cohort_plan_options division = {0};   /* equal rows, groups at the pools */
    struct cohort_session_options options = {0}; /* every core, weights cached nowhere */
    struct cohort_tensor in = {0}, out = {0};
    struct cohort_error err = {0};
    enum cohort_code code = COHORT_OK;
    char *report = NULL;
    int rank, threads;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &threads);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &division.boards);
    if (rank == 0 &&
        (code = cohort_open(&model, argc > 1 ? argv[1] : "", NULL, &err)) == COHORT_OK) {
        size_t count = 1;
        in = cohort_input(model, 0); /* name, type and dims */
        for (int i = 0; i < in.rank; i++)
            count *= (size_t)in.dims[i];
        in.data = calloc(count, sizeof(float)); /* a black picture */
        code = cohort_plan_make(&plan, model, &division, &err);
    }
    code = cohort_agree(MPI_COMM_WORLD, code, &err); /* if rank 0 failed, all know */
    if (code == COHORT_OK)
        code = cohort_prepare(&session, model, plan, MPI_COMM_WORLD, &options, &err);
    if (code == COHORT_OK)
        code = cohort_run(session, rank == 0 ? &in : NULL, rank == 0, rank == 0 ? &out : NULL,
                          rank == 0, &err);
    if (code == COHORT_OK)
        code = cohort_report(session, &report, &err);
    if (rank == 0 && code == COHORT_OK)
        printf("%s[0] = %g\n%s", out.name, (double)((float *)out.data)[0], report);
    else if (rank == 0)
        fprintf(stderr, "example: %s\n", err.message);
    cohort_text_free(report);
    cohort_close(&session);
    cohort_plan_free(&plan);
    cohort_model_free(&model);
    free(in.data);
    MPI_Finalize();
    return code == COHORT_OK ? 0 : 1;
}
