/* cohort kernels: which kernels this program has, which of them this CPU runs, how fast they are on
 * one core, and which operators there are. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "graph/op.h"
#include "kernels/plainops.h"
#include "profile/kernel_bench.h"
#include "runtime/model.h"
#include "runtime/tune.h"

static void print_kernel(const char *family, const char *name, enum kernel_isa isa, bool exact) {
    bool usable = kernel_isa_available() & (1u << isa);
    printf("%-8s %-28s %-8s %-9s %s\n", family, name, kernel_isa_name(isa),
           usable ? "usable" : "not here",
           exact ? "same bits for any rows" : "rounding depends on the rows");
}

static void print_operators(void) {
    int count;
    const struct op_desc *const *ops = op_table(&count);
    for (int i = 0; i < count; i++) {
        if (ops[i]->flags & OP_INTERNAL)
            continue;
        printf("%-22s opset %d", ops[i]->name, ops[i]->since);
        if (ops[i]->until == OPSET_LAST)
            printf(" and up");
        else if (ops[i]->until != ops[i]->since)
            printf(" to %d", ops[i]->until);
        printf("%s\n", ops[i]->map_ok != NULL ? "  (on feature maps)" : "");
    }
}

static void print_kernels(void) {
    int n;
    const struct conv_kernel *const *conv = kernels_conv(&n);
    for (int i = 0; i < n; i++)
        print_kernel("conv", conv[i]->name, conv[i]->isa, conv[i]->row_exact);
    conv = kernels_deconv(&n);
    for (int i = 0; i < n; i++)
        print_kernel("deconv", conv[i]->name, conv[i]->isa, conv[i]->row_exact);
    const struct gemm_kernel *const *gemm = kernels_gemm(&n);
    for (int i = 0; i < n; i++)
        print_kernel("gemm", gemm[i]->name, gemm[i]->isa, gemm[i]->row_exact);
    const struct pool_kernel *const *pool = kernels_pool(&n);
    for (int i = 0; i < n; i++)
        print_kernel("pool", pool[i]->name, pool[i]->isa, true);
    const struct plainops *const *plain = kernels_plain(&n);
    for (int i = 0; i < n; i++)
        print_kernel("plain", plain[i]->name, plain[i]->isa, true);
}

/* ---- speed ----------------------------------------------------------------------------------- */

struct bench {
    struct cli_options common;
    bool operators, bench;
    cJSON *layers; /* --json */
};

/* The peaks of the instruction sets that this core has, and their number. */
static int find_peaks(double peaks[ISA_COUNT]) {
    int count = 0;
    for (int i = 0; i < ISA_COUNT; i++) {
        bool own = i != ISA_BLAS && (kernel_isa_available() & 1u << i);
        peaks[i] = own ? kernel_peak_gflops((enum kernel_isa)i) : 0;
        count += peaks[i] > 0;
    }
    return count;
}

/* number: of the network's operators that are of this kind. */
static enum cohort_code bench_one(struct bench *b, const char *name, const struct signature *s,
                                  int number, struct cohort_error *err) {
    struct kernel_speed speeds[KERNEL_BENCH_MAX];
    char text[SIGNATURE_TEXT_BYTES];
    bool ok = true;
    int count;
    enum cohort_code code = kernel_bench(s, NULL, NULL, speeds, &count, err);
    if (code != COHORT_OK)
        return code;
    signature_text(s, text);
    if (b->common.json) {
        cJSON *o = json_add_object(b->layers, NULL, &ok);
        if (name != NULL)
            json_add_text(o, "layer", name, &ok);
        json_add_text(o, "signature", text, &ok);
        json_add_f64(o, "mflop", 2e-6 * signature_macs(s), &ok);
        json_add_i64(o, "number", number, &ok);
        cJSON *list = json_add_array(o, "kernels", &ok);
        for (int i = 0; i < count; i++) {
            cJSON *k = json_add_object(list, NULL, &ok);
            json_add_text(k, "kernel", speeds[i].kernel, &ok);
            json_add_f64(k, "ms", speeds[i].ms, &ok);
            json_add_f64(k, "gflops", speeds[i].gflops, &ok);
            json_add_f64(k, "peak_gflops", speeds[i].peak_gflops, &ok);
        }
        return ok ? COHORT_OK : error_memory(err, sizeof speeds, "a document");
    }
    printf("\n%s%s%s, %.1f MFLOP\n", name != NULL ? name : "", name != NULL ? ": " : "", text,
           2e-6 * signature_macs(s));
    for (int i = 0; i < count; i++)
        printf("  %-28s %10.3f ms %9.1f GFLOP/s %5.0f %% of %.1f\n", speeds[i].kernel, speeds[i].ms,
               speeds[i].gflops, 100 * speeds[i].gflops / speeds[i].peak_gflops,
               speeds[i].peak_gflops);
    fflush(stdout);
    return COHORT_OK;
}

static enum cohort_code bench_layers(struct bench *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int count;
    const struct bench_layer *layers = kernel_bench_layers(&count);
    for (int i = 0; i < count; i++)
        TRY(bench_one(b, layers[i].name, &layers[i].signature, 1, err));
out:
    return code;
}

/* The layers of a network, those with the most work first. */
static enum cohort_code bench_network(struct bench *b, const char *name, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_model *model = NULL;
    struct tune_item *items = NULL;
    int count = 0;
    TRY(cli_open_model(&model, name, &b->common, err));
    TRY(tune_items(&items, &count, cohort_model_graph(model), false, false, err));
    for (int i = 0; i < count; i++)
        TRY(bench_one(b, NULL, &items[i].signature, items[i].count, err));
out:
    mem_free(items);
    cohort_model_free(&model);
    return code;
}

static enum cohort_code bench_all(struct bench *b, const char **names, int count,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double peaks[ISA_COUNT];
    bool ok = true;
    char *text = NULL;
    cJSON *root = cJSON_CreateObject();
    int left = find_peaks(peaks);
    json_add_text(root, "format", "cohort-kernels", &ok);
    json_add_i64(root, "version", 1, &ok);
    cJSON *list = json_add_object(root, "peak_gflops", &ok);
    b->layers = json_add_array(root, "layers", &ok);
    if (!b->common.json)
        printf("one core does at most");
    for (int i = 0; i < ISA_COUNT; i++) {
        if (peaks[i] <= 0)
            continue;
        json_add_f64(list, kernel_isa_name((enum kernel_isa)i), peaks[i], &ok);
        if (!b->common.json)
            printf(" %.1f GFLOP/s with %s%s", peaks[i], kernel_isa_name((enum kernel_isa)i),
                   --left > 0 ? "," : "\n");
    }
    if (root == NULL || !ok) {
        code = error_memory(err, 1024, "a document");
        goto out;
    }
    if (count == 0)
        TRY(bench_layers(b, err));
    for (int i = 0; i < count; i++)
        TRY(bench_network(b, names[i], err));
    if (b->common.json && (code = json_print(&text, NULL, root, err)) == COHORT_OK)
        fputs(text, stdout);
out:
    mem_free(text);
    json_free(&root);
    return code;
}

int cmd_kernels(const struct cli_command *self, int argc, char **argv) {
    struct bench b = {.operators = false};
    struct cohort_error err = {0};
    int count, status;
    const char *names[16];
    cli_options_init(&b.common);
    const struct option_spec specs[] = {
        {"operators", 0, OPTION_FLAG, &b.operators, NULL,
         "list the operators of ONNX that are supported", 0, 0},
        {"bench", 0, OPTION_FLAG, &b.bench, NULL,
         "time every kernel on one core, on known layers or those of networks", 0, 0},
        {"json", 0, OPTION_FLAG, &b.common.json, NULL, "with --bench: one JSON document", 0, 0},
        CLI_MODEL_OPTIONS(b.common),
        CLI_COMMON_OPTIONS(b.common),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &b.common.help, argc, argv, names, 16, &count, &status))
        return status;
    if ((count > 0 || b.common.json) && !b.bench) {
        error_set(&err, COHORT_ERR_USAGE, "%s is for --bench: %s", count > 0 ? names[0] : "--json",
                  self->usage);
        return cli_fail(&err);
    }
    if (b.operators)
        print_operators();
    else if (!b.bench)
        print_kernels();
    else if (bench_all(&b, names, count, &err) != COHORT_OK)
        return cli_fail(&err);
    return 0;
}
