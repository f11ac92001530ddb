/* Value names of the file being read, and the values' numbers: a hash table with borrowed keys. */
#ifndef COHORT_GRAPH_ONNX_IMPORT_NAMES_H
#define COHORT_GRAPH_ONNX_IMPORT_NAMES_H

#include "graph/onnx/wire.h"

struct name_table { /* all zero is empty */
    struct name_slot {
        struct wire_text name; /* at == NULL: free */
        int id;
    } * slots;
    size_t capacity, count; /* capacity: a power of two */
};

void names_release(struct name_table *t);
/* Enters a name, which must not be there yet; false when memory is short. */
bool names_put(struct name_table *t, struct wire_text name, int id);
int names_find(const struct name_table *t, struct wire_text name); /* -1 when it is not there */

#endif
