/* cohort kernels: which kernels this program has, which of them this CPU runs, and which operators.
 */
#include "cli/cli.h"

#include "graph/op.h"
#include "kernels/plainops.h"

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

int cmd_kernels(const struct cli_command *self, int argc, char **argv) {
    struct cli_options o;
    bool operators = false;
    int count, status;
    const char *none[1];
    cli_options_init(&o);
    const struct option_spec specs[] = {
        {"operators", 0, OPTION_FLAG, &operators, NULL,
         "list the operators of ONNX that are supported", 0, 0},
        CLI_COMMON_OPTIONS(o),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &o.help, argc, argv, none, 0, &count, &status))
        return status;
    if (operators) {
        print_operators();
        return 0;
    }
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
    return 0;
}
