/* cohort: one neural network over many boards.  Finds the subcommand and runs it. */
#include "cli/cli.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const struct cli_command commands[] = {
    {"run", "cohort run MODEL --input FILE [options]", "run a network on one or several boards",
     cmd_run, true},
    {"verify", "cohort verify DIR... [options]", "run networks against recorded answers",
     cmd_verify, true},
    {"bench", "cohort bench MODEL... [options]", "time networks", cmd_bench, true},
    {"tune", "cohort tune MODEL... [options]", "find the fastest kernels of this board", cmd_tune,
     true},
    {"profile", "cohort profile MODEL [options]",
     "measure the boards and the links between them for a network", cmd_profile, true},
    {"read", "cohort read IMAGE --detector MODEL --recognizer MODEL --keys FILE [options]",
     "find and read the text on a picture", cmd_read, true},
    {"check", "cohort check [options]   (under mpirun)",
     "look at boards and links from inside a job", cmd_check, true},
    {"inspect", "cohort inspect MODEL [options]", "show what a network consists of", cmd_inspect,
     false},
    {"plan", "cohort plan MODEL --boards N [options]", "divide a network, without running it",
     cmd_plan, false},
    {"synth", "cohort synth NAME -o FILE [options]",
     "write a well-known network with random weights", cmd_synth, false},
    {"kernels", "cohort kernels [--bench [MODEL...]] [options]",
     "list kernels and operators, or time the kernels", cmd_kernels, false},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out) {
    fprintf(out, "usage: cohort COMMAND ...   (cohort COMMAND --help tells more)\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\nOn several boards: mpirun --hostfile FILE cohort run MODEL --input FILE\n");
}

static void inject_failures(void) {
    const char *text = cli_inject("alloc");
    if (text != NULL)
        mem_fail_at(strtol(text, NULL, 10));
}

int main(int argc, char **argv) {
    json_use_base_memory();
    inject_failures();
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        bool build = argc > 2 && strcmp(argv[2], "--build") == 0;
        printf("cohort %s%s%s\n", cohort_version(), build ? " " : "",
               build ? cli_build_text() : "");
        return 0;
    }
    const char *names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (!commands[i].mpi && cli_launch_rank() > 0)
            return 0; /* needs one rank: the first does it */
        return cli_finish(commands[i].main(&commands[i], argc - 1, argv + 1));
    }
    struct cohort_error err;
    const char *close = closest_name(argv[1], names, COMMANDS);
    error_set(&err, COHORT_ERR_USAGE, "unknown command '%s'%s%s%s", argv[1],
              close != NULL ? ": did you mean '" : " (cohort --help lists them)",
              close != NULL ? close : "", close != NULL ? "'?" : "");
    return cli_fail(&err);
}
