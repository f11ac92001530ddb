/* mpirun -n 2 ./example MODEL.onnx: rank 0 opens a network, all ranks run it once. */
#include <cohort.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    struct cohort_model *model = NULL;
    struct cohort_session *session = NULL;
    struct cohort_tensor in = {0}, out = {0};
    struct cohort_error err = {0};
    enum cohort_code code = COHORT_OK;
    int rank, threads;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &threads);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0 && !(code = cohort_open(&model, argc > 1 ? argv[1] : "", NULL, &err))) {
        in = cohort_input(model, 0);                   /* name, type and dims */
        in.data = calloc(1, cohort_tensor_bytes(&in)); /* a black picture */
    }
    code = cohort_agree(MPI_COMM_WORLD, code, &err); /* if rank 0 failed, all know */
    if (!code && !(code = cohort_prepare(&session, model, NULL, MPI_COMM_WORLD, NULL, &err)))
        code = cohort_run(session, &in, rank == 0, &out, rank == 0, &err);
    if (rank == 0)
        code ? fprintf(stderr, "%s\n", err.message)
             : printf("%s[0] = %g\n", out.name, (double)*(float *)out.data);
    cohort_close(&session);
    cohort_model_free(&model);
    free(in.data);
    MPI_Finalize();
    return code != COHORT_OK;
}
