/* What the two halves of serialising a graph share; graph/graph.h has the functions. */
#ifndef COHORT_GRAPH_SERIALIZE_H
#define COHORT_GRAPH_SERIALIZE_H

#define SERIAL_MAGIC   0x48504347u /* "GCPH" */
#define SERIAL_VERSION 2u

#endif
