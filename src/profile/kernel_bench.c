/* Timing kernels by themselves, without graph or threads. */
#include "profile/kernel_bench.h"

#include "base/median.h"
#include "base/mem.h"
#include "kernels/peak.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TURNS       9
#define TURNS_LEAST 3
#define TURN_MS     300.0 /* of a kernel in all its turns, about */
#define REPEAT_MS   0.5   /* a turn runs a short kernel several times */
#define PEAK_TURNS  40000 /* about 0.2 ms */

/* CPU time of this thread: what other programs take does not count. */
static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* ---- the peak -------------------------------------------------------------------------------- */

static double peak_once(const struct peak *p, int64_t turns) {
    float numbers[PEAK_FLOATS];
    for (int i = 0; i < PEAK_FLOATS; i++)
        numbers[i] = 1.0f + (float)i;
    double ms = now_ms();
    p->run(turns, numbers);
    ms = now_ms() - ms;
    return ms > 0 ? 2e-6 * (double)turns * PEAK_CHAINS * p->lanes / ms : 0;
}

/* One measurement of an instruction set's peak; OpenBLAS: the best of all. */
static double peak_of(enum kernel_isa isa, int64_t turns) {
    unsigned usable = kernel_isa_available();
    double best = 0;
    int count;
    const struct peak *const *list = kernels_peak(&count);
    for (int i = 0; i < count; i++) {
        if (!(usable & 1u << list[i]->isa) || (isa != ISA_BLAS && list[i]->isa != isa))
            continue;
        double one = peak_once(list[i], turns);
        best = one > best ? one : best;
    }
    return best;
}

double kernel_peak_gflops(enum kernel_isa isa) {
    double best = 0, start = now_ms();
    do {
        double one = peak_of(isa, PEAK_TURNS);
        if (one <= 0)
            return 0;
        best = one > best ? one : best;
    } while (now_ms() - start < 20);
    return best;
}

/* ---- one kernel with its operands ------------------------------------------------------------ */

struct operands {
    float *weights, *bias, *in, *out;
};

struct runner {
    struct kernel_speed *speed;
    const struct conv_kernel *conv;
    const struct gemm_kernel *gemm;
    struct conv_args conv_args;
    struct gemm_args gemm_args;
    void *packed, *workspace;
    int times;
    double ms[TURNS], peak[TURNS], spent;
    int turns;
};

static float *random_floats(size_t n) {
    float *p = mem_alloc((n + 1) * sizeof(float));
    uint32_t state = 1;
    for (size_t i = 0; p != NULL && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        p[i] = (float)(state >> 8) / 16777216.0f - 0.5f;
    }
    return p;
}

static enum cohort_code make_operands(struct operands *o, const struct signature *s,
                                      struct cohort_error *err) {
    const struct conv_shape *c = &s->conv;
    size_t weights, bias, in, out;
    if (s->family == SIGNATURE_GEMM) {
        weights = (size_t)s->gemm.k * (size_t)s->gemm.n;
        bias = (size_t)s->gemm.n;
        in = (size_t)s->gemm.rows * (size_t)s->gemm.k;
        out = (size_t)s->gemm.rows * (size_t)s->gemm.n;
    } else {
        struct view x = view_map(NULL, 0, c->in_h, c->in_c, c->in_w);
        struct view y = view_map(NULL, 0, c->out_h, c->out_c, c->out_w);
        weights = (size_t)c->out_c * (size_t)(c->in_c / c->groups) * (size_t)c->kernel_h *
                  (size_t)c->kernel_w;
        bias = (size_t)view_blocks(&y) * BLOCK;
        in = (size_t)(x.rows * x.row_pitch);
        out = (size_t)(y.rows * y.row_pitch);
    }
    o->weights = random_floats(weights);
    o->bias = random_floats(bias);
    o->in = random_floats(in);
    o->out = random_floats(out);
    if (o->weights == NULL || o->bias == NULL || o->in == NULL || o->out == NULL)
        return error_memory(err, (weights + bias + in + out) * sizeof(float), "operands");
    return COHORT_OK;
}

static void pack_conv(struct runner *r, const struct signature *s, const struct operands *o) {
    const struct conv_shape *c = &s->conv;
    size_t each = (size_t)(c->in_c / c->groups) * (size_t)c->kernel_h * (size_t)c->kernel_w;
    if (s->family == SIGNATURE_DECONV) {
        r->conv->pack(c, o->weights, 0, c->in_c, r->packed);
        return;
    }
    for (int oc = 0; oc < c->out_c; oc += BLOCK)
        r->conv->pack(c, o->weights + (size_t)oc * each, oc,
                      c->out_c - oc < BLOCK ? c->out_c - oc : BLOCK, r->packed);
}

static void pack_gemm(struct runner *r, const struct signature *s, const struct operands *o) {
    const struct gemm_shape *g = &s->gemm;
    for (int n = 0; n < g->n; n += BLOCK)
        r->gemm->pack(g, o->weights + (size_t)n * (size_t)g->k, n,
                      g->n - n < BLOCK ? g->n - n : BLOCK, r->packed);
}

static enum cohort_code prepare(struct runner *r, const struct signature *s,
                                const struct operands *o, struct cohort_error *err) {
    const struct conv_shape *c = &s->conv;
    const struct gemm_shape *g = &s->gemm;
    bool gemm = s->family == SIGNATURE_GEMM;
    size_t bytes = gemm ? r->gemm->weights_bytes(g) : r->conv->weights_bytes(c), work = 0;
    if (gemm && r->gemm->workspace_bytes != NULL)
        work = r->gemm->workspace_bytes(g);
    if (!gemm && r->conv->workspace_bytes != NULL)
        work = r->conv->workspace_bytes(c);
    r->packed = mem_zalloc(1, bytes);
    r->workspace = mem_zalloc(1, work);
    if (r->packed == NULL || r->workspace == NULL)
        return error_memory(err, bytes + work, "packed weights");
    if (gemm) {
        pack_gemm(r, s, o);
        r->gemm_args = (struct gemm_args){.shape = g,
                                          .weights = r->packed,
                                          .bias = o->bias,
                                          .in = o->in,
                                          .out = o->out,
                                          .in_pitch = g->k,
                                          .out_pitch = g->n,
                                          .epilogue = {.act = KACT_RELU},
                                          .y1 = g->rows,
                                          .n1 = g->n,
                                          .workspace = r->workspace};
        return COHORT_OK;
    }
    pack_conv(r, s, o);
    r->conv_args = (struct conv_args){.shape = c,
                                      .weights = r->packed,
                                      .bias = o->bias,
                                      .in = view_map(o->in, 0, c->in_h, c->in_c, c->in_w),
                                      .out = view_map(o->out, 0, c->out_h, c->out_c, c->out_w),
                                      .epilogue = {.act = KACT_RELU},
                                      .y1 = c->out_h,
                                      .workspace = r->workspace};
    r->conv_args.block1 = view_blocks(&r->conv_args.out);
    return COHORT_OK;
}

static double run_once(struct runner *r) {
    double start = now_ms();
    for (int i = 0; i < r->times; i++) {
        if (r->gemm != NULL)
            r->gemm->run(&r->gemm_args);
        else
            r->conv->run(&r->conv_args);
    }
    return (now_ms() - start) / r->times;
}

static void take_turn(struct runner *r) {
    if (r->turns == TURNS || (r->turns >= TURNS_LEAST && r->spent > TURN_MS))
        return;
    r->peak[r->turns] = peak_of(r->speed->isa, PEAK_TURNS);
    r->ms[r->turns] = run_once(r);
    r->spent += r->ms[r->turns++] * r->times;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* The kernels that can do it here and are wanted. */
static int find_kernels(struct runner *list, struct kernel_speed *speeds, const struct signature *s,
                        kernel_wanted_fn wanted, void *context) {
    unsigned usable = kernel_isa_available();
    int count, n = 0;
    if (s->family == SIGNATURE_GEMM) {
        const struct gemm_kernel *const *k = kernels_gemm(&count);
        for (int i = 0; i < count && n < KERNEL_BENCH_MAX; i++)
            if ((usable & 1u << k[i]->isa) && k[i]->half == s->gemm.half &&
                k[i]->rate(&s->gemm) > 0 && (wanted == NULL || wanted(context, k[i]->name))) {
                speeds[n] = (struct kernel_speed){.kernel = k[i]->name, .isa = k[i]->isa};
                list[n] = (struct runner){.speed = &speeds[n], .gemm = k[i], .times = 1};
                n++;
            }
        return n;
    }
    const struct conv_kernel *const *k =
        s->family == SIGNATURE_CONV ? kernels_conv(&count) : kernels_deconv(&count);
    for (int i = 0; i < count && n < KERNEL_BENCH_MAX; i++)
        if ((usable & 1u << k[i]->isa) && k[i]->rate(&s->conv) > 0 &&
            (wanted == NULL || wanted(context, k[i]->name))) {
            speeds[n] = (struct kernel_speed){.kernel = k[i]->name, .isa = k[i]->isa};
            list[n] = (struct runner){.speed = &speeds[n], .conv = k[i], .times = 1};
            n++;
        }
    return n;
}

enum cohort_code kernel_bench(const struct signature *s, kernel_wanted_fn wanted, void *context,
                              struct kernel_speed *speeds, int *count, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct operands o = {0};
    int n = 0;
    struct runner *list = mem_zalloc(KERNEL_BENCH_MAX, sizeof *list);
    if (list == NULL)
        return error_memory(err, KERNEL_BENCH_MAX * sizeof *list, "kernels");
    openblas_set_num_threads(1);
    TRY(make_operands(&o, s, err));
    n = find_kernels(list, speeds, s, wanted, context);
    for (int i = 0; i < n; i++) {
        TRY(prepare(&list[i], s, &o, err));
        run_once(&list[i]);
        double ms = run_once(&list[i]);
        list[i].times = ms < REPEAT_MS ? (int)(REPEAT_MS / (ms > 1e-4 ? ms : 1e-4)) + 1 : 1;
    }
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < n; i++)
            take_turn(&list[i]);
    for (int i = 0; i < n; i++) {
        speeds[i].ms = median(list[i].ms, list[i].turns);
        for (int k = 0; k < list[i].turns; k++)
            if (list[i].peak[k] > speeds[i].peak_gflops)
                speeds[i].peak_gflops = list[i].peak[k];
        speeds[i].gflops = 2e-6 * signature_macs(s) / speeds[i].ms;
    }
    *count = n;
out:
    for (int i = 0; i < n; i++) {
        mem_free(list[i].packed);
        mem_free(list[i].workspace);
    }
    mem_free(o.weights);
    mem_free(o.bias);
    mem_free(o.in);
    mem_free(o.out);
    mem_free(list);
    return code;
}
