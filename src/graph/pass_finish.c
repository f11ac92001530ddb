/* The passes in order.  The order matters: shapes before everything; no-ops out of the way before
 * patterns are looked for; factors into weights before activations go behind them; forms last. */
#include "graph/pass_common.h"

static enum cohort_code improve(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(pass_take_branches(g, err));
    TRY(pass_remove_noops(g, err));
    TRY(pass_remove_dead(g, err));
    TRY(pass_recognise(g, err));
    TRY(pass_infer(g, err)); /* of what was recognised */
    TRY(pass_fold_batchnorm(g, err));
    TRY(pass_fuse_epilogue(g, err));
    TRY(pass_fuse_scale(g, err));
    TRY(pass_remove_dead(g, err));
    TRY(pass_choose_forms(g, err));
    TRY(pass_reduce_rows(g, err));
out:
    return code;
}

enum cohort_code graph_finish(struct graph *g, const struct pass_options *o,
                              struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    graph_relink(g);
    TRY(pass_set_inputs(g, o, err));
    TRY(pass_infer(g, err));
    TRY(o != NULL && o->keep ? pass_remove_dead(g, err) : improve(g, err));
    TRY(pass_row_maps(g, err));
    graph_relink(g);
out:
    return code;
}
