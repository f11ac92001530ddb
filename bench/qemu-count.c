/* A plug-in for qemu's user emulation: how many instructions of each class a program executes.
 *
 *   qemu-aarch64 -plugin ./qemu-count.so -d plugin PROGRAM…      (bench/instructions does it)
 *
 * Times under emulation mean nothing; the number of instructions, and what share of them are fused
 * multiply-adds, is the steady measure of the Arm kernels.  At the end it writes one line of JSON
 * to stderr.  Classes are told apart for 64-bit Arm (encodings: Arm Architecture Reference Manual
 * for A-profile, C4); instructions of any other guest count as "other". qemu 7.2 and later, plug-in
 * interface version 1; Debian ships no header for it, so what is used of it is declared here. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info { /* the first field is all that is read */
    const char *target_name;
};
enum { QEMU_ADD_U64 }; /* the only inline operation */

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *count,
                                                uint64_t add);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*fn)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*fn)(qemu_plugin_id_t, void *),
                                    void *data);

#define VISIBLE __attribute__((visibility("default")))
VISIBLE int qemu_plugin_version = 1;
VISIBLE int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
                                char **argv);

enum class {
    FMA,
    FMA_HALF,
    VECTOR_LOAD,
    VECTOR_STORE,
    VECTOR_OTHER,
    LOAD,
    STORE,
    BRANCH,
    OTHER,
    CLASSES
};
static const char *const class_names[CLASSES] = {"fma",          "fma_half",     "vector_load",
                                                 "vector_store", "vector_other", "load",
                                                 "store",        "branch",       "other"};

/* The first pattern that fits decides. */
static const struct pattern {
    uint32_t mask, value;
    enum class class;
} patterns[] = {
    {0xbf80f400, 0x0f801000, FMA}, /* FMLA, by element */
    {0xbf80f400, 0x0f805000, FMA}, /* FMLS, by element */
    {0xbfa0fc00, 0x0e20cc00, FMA}, /* FMLA, vectors */
    {0xbfa0fc00, 0x0ea0cc00, FMA}, /* FMLS, vectors */
    /* the same of float16 */
    {0xbfc0f400, 0x0f001000, FMA_HALF},
    {0xbfc0f400, 0x0f005000, FMA_HALF},
    {0xbfe0fc00, 0x0e400c00, FMA_HALF},
    {0xbfe0fc00, 0x0ec00c00, FMA_HALF},
    /* LD1 … ST4: bit 22 is load */
    {0xbe400000, 0x0c400000, VECTOR_LOAD},
    {0xbe400000, 0x0c000000, VECTOR_STORE},
    /* pairs: bit 26 is vector, bit 22 is load */
    {0x3e400000, 0x2c400000, VECTOR_LOAD},
    {0x3e400000, 0x2c000000, VECTOR_STORE},
    {0x3e400000, 0x28400000, LOAD},
    {0x3e400000, 0x28000000, STORE},
    /* relative to the program counter */
    {0x3f000000, 0x1c000000, VECTOR_LOAD},
    {0x3f000000, 0x18000000, LOAD},
    /* single registers: of a vector, bit 22 is load; else bits 22 and 23 are 0 for a store */
    {0x3e400000, 0x3c400000, VECTOR_LOAD},
    {0x3e400000, 0x3c000000, VECTOR_STORE},
    {0x3ec00000, 0x38000000, STORE},
    {0x3e000000, 0x38000000, LOAD}, /* prefetches too */
    /* exclusive and ordered: bit 22 is load */
    {0x3f400000, 0x08400000, LOAD},
    {0x3f400000, 0x08000000, STORE},
    {0x1c000000, 0x14000000, BRANCH},
    {0x0e000000, 0x0e000000, VECTOR_OTHER},
};

static uint64_t counts[CLASSES];
static int aarch64;

static enum class classify(const void *bytes) {
    uint32_t word; if (!aarch64) return OTHER; memcpy(&word, bytes, sizeof word);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns;
         i++) if ((word & patterns[i].mask) == patterns[i].value) return patterns[i]
        .class;
    return OTHER;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t *count = &counts[classify(qemu_plugin_insn_data(insn))];
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_ADD_U64, count, 1);
    }
}

static void ended(qemu_plugin_id_t id, void *data) {
    (void)id;
    (void)data;
    uint64_t total = 0;
    fprintf(stderr, "{\"instructions\": {");
    for (int c = 0; c < CLASSES; c++) {
        total += counts[c];
        fprintf(stderr, "\"%s\": %llu, ", class_names[c], (unsigned long long)counts[c]);
    }
    fprintf(stderr, "\"total\": %llu}}\n", (unsigned long long)total);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv) {
    (void)argc;
    (void)argv;
    aarch64 = strcmp(info->target_name, "aarch64") == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
