/* cohort synth: writes a well-known network with seeded random weights. */
#include "cli/cli.h"

#include "base/mem.h"
#include "synth/synth.h"

static void list_networks(void) {
    int n;
    const struct synth_network *nets = synth_networks(&n);
    for (int i = 0; i < n; i++)
        printf("%-16s %4d  %s\n", nets[i].name, nets[i].size, nets[i].description);
}

static enum cohort_code write_network(const char *name, const struct cli_options *o, long classes,
                                      const char *path, struct cohort_error *err) {
    const struct synth_network *net = synth_find(name);
    struct synth_options s = {.size = (int)o->size,
                              .width = o->width,
                              .classes = (int)classes,
                              .seed = (uint64_t)o->seed,
                              .features = o->features};
    if (net == NULL) {
        const char *names[128];
        int n;
        const struct synth_network *nets = synth_networks(&n);
        for (int i = 0; i < n && i < 128; i++)
            names[i] = nets[i].name;
        const char *close = closest_name(name, names, (size_t)(n < 128 ? n : 128));
        return error_set(err, COHORT_ERR_USAGE,
                         "no network called '%s'%s%s%s (cohort synth --list shows them all)", name,
                         close != NULL ? ": did you mean '" : "", close != NULL ? close : "",
                         close != NULL ? "'?" : "");
    }
    return synth_write(net->name, &s, path, err);
}

int cmd_synth(const struct cli_command *self, int argc, char **argv) {
    struct cli_options o;
    struct cohort_error err = {0};
    const char *name = NULL, *path = NULL;
    long classes = 0;
    bool list = false;
    int count, status;
    cli_options_init(&o);
    const struct option_spec specs[] = {
        {"output", 'o', OPTION_TEXT, &path, "FILE", "the ONNX file to write", 0, 0},
        {"list", 'l', OPTION_FLAG, &list, NULL, "list the networks and their input sizes", 0, 0},
        {"size", 0, OPTION_INT, &o.size, "N", "input height and width (the network's own)", 0,
         8192},
        {"width", 0, OPTION_DOUBLE, &o.width, "F", "factor on channels (1)", 0.01, 16},
        {"classes", 0, OPTION_INT, &classes, "N", "number of classes (the network's own)", 0,
         1000000},
        {"seed", 0, OPTION_INT, &o.seed, "N", "seed of the weights (1)", 0, 2147483647},
        {"features", 0, OPTION_FLAG, &o.features, NULL, "leave the classifier out", 0, 0},
        CLI_COMMON_OPTIONS(o),
        CLI_OPTIONS_END,
    };
    if (!cli_parse(self, specs, &o.help, argc, argv, &name, 1, &count, &status))
        return status;
    if (list) {
        list_networks();
        return 0;
    }
    if (count != 1 || path == NULL) {
        error_set(&err, COHORT_ERR_USAGE, "%s is missing: %s",
                  count != 1 ? "the network's name" : "-o FILE", self->usage);
        return cli_fail(&err);
    }
    enum cohort_code code = write_network(name, &o, classes, path, &err);
    return code == COHORT_OK ? 0 : cli_fail(&err);
}
