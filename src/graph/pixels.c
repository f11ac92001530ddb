/* What bytes of a picture stand for; see pixels.h. */
#include "graph/pixels.h"

#include "graph/graph.h"

float pixel_number(const struct pixel_scale *s, float value, int c) {
    float scale = s->scale == 0 ? 1 : s->scale, std = s->std[c] == 0 ? 1 : s->std[c];
    return (value * scale - s->mean[c]) / std;
}

void pixel_table(const struct pixel_scale *s, int channels, float *table) {
    for (int c = 0; c < channels; c++)
        for (int v = 0; v < PIXEL_VALUES; v++)
            table[c * PIXEL_VALUES + v] = pixel_number(s, (float)v, c);
}

bool pixels_fit(const struct value *v, bool channels_last) {
    if (v->type != DT_F32 || v->shape.rank != 4 || !shape_known(&v->shape) ||
        shape_count(&v->shape) <= 0 || (channels_last && v->form == FORM_MAP))
        return false;
    return v->shape.dim[channels_last ? 3 : 1] <= PIXEL_CHANNELS;
}

struct shape pixels_shape(const struct value *v, bool channels_last) {
    const int64_t *d = v->shape.dim;
    return channels_last ? v->shape : shape_of(4, (const int64_t[]){d[0], d[2], d[3], d[1]});
}
