/* See params.h; the functions for single operators are in those operators' files. */
#include "graph/ops/params.h"

void params_inputs(const struct graph *g, const struct node *n, struct tensor held[],
                   const struct tensor *in[], int count) {
    for (int i = 0; i < count; i++) {
        const struct value *v = node_in(g, n, i);
        in[i] = NULL;
        if (v == NULL)
            continue;
        held[i] = (struct tensor){.type = v->type, .shape = v->shape};
        if (v->is_constant)
            held[i] = v->constant;
        held[i].owned = false;
        in[i] = &held[i];
    }
}
