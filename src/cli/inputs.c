/* Inputs of a network from files. */
#include "cli/input_one.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void input_set_release(struct input_set *s) {
    for (int i = 0; s->owned != NULL && i < s->count; i++)
        tensor_release(&s->owned[i]);
    mem_free(s->owned);
    mem_free(s->tensors);
    mem_free(s->pixels);
    mem_free(s->source);
    image_release(&s->image);
    *s = (struct input_set){0};
}

void inputs_release(struct input_set **sets, int count) {
    for (int i = 0; *sets != NULL && i < count; i++)
        input_set_release(&(*sets)[i]);
    mem_free(*sets);
    *sets = NULL;
}

void inputs_describe(struct cohort_session_options *o, const struct input_set *s) {
    o->pixels = s->pixels;
    o->pixel_count = s->pixel_count;
}

const char *inputs_type(const struct input_set *s) {
    return s->pixel_count > 0 ? "u8" : "f32";
}

/* ---- sets ------------------------------------------------------------------------------------ */

static enum cohort_code set_init(struct input_set *s, int count, struct cohort_error *err) {
    *s = (struct input_set){.count = count};
    s->tensors = mem_zalloc((size_t)count + 1, sizeof *s->tensors);
    s->owned = mem_zalloc((size_t)count + 1, sizeof *s->owned);
    s->pixels = mem_zalloc((size_t)count + 1, sizeof *s->pixels);
    return s->tensors != NULL && s->owned != NULL && s->pixels != NULL
               ? COHORT_OK
               : error_memory(err, 64, "inputs");
}

/* Points the public tensors at the owned ones. */
static void set_finish(struct input_set *s, const struct cohort_model *m) {
    for (int i = 0; i < s->count; i++) {
        s->tensors[i] = (struct cohort_tensor){.name = cohort_input(m, i).name,
                                               .type = (enum cohort_type)s->owned[i].type,
                                               .rank = s->owned[i].shape.rank,
                                               .data = s->owned[i].data};
        for (int k = 0; k < s->owned[i].shape.rank; k++)
            s->tensors[i].dims[k] = s->owned[i].shape.dim[k];
    }
}

/* ---- all files ------------------------------------------------------------------------------- */

/* Splits "NAME=FILE" when NAME is an input of the network. */
static int input_of(const struct cohort_model *m, const char *text, const char **path) {
    for (int i = 0; i < cohort_input_count(m); i++) {
        const char *name = cohort_input(m, i).name;
        size_t n = strlen(name);
        if (strncmp(text, name, n) == 0 && text[n] == '=') {
            *path = text + n + 1;
            return i;
        }
    }
    *path = text;
    return -1;
}

/* Several inputs: one file for each, by name. */
static enum cohort_code load_by_name(struct input_set *s, const struct cohort_model *m,
                                     const struct option_list *texts, const struct input_options *o,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int k = 0; k < texts->count; k++) {
        const char *path;
        int i = input_of(m, texts->items[k], &path);
        if (i < 0)
            return error_set(
                err, COHORT_ERR_USAGE,
                "--input %s: the network has %d inputs, so say which: NAME=FILE ('%s', …)",
                texts->items[k], s->count, cohort_input(m, 0).name);
        if (s->owned[i].data != NULL)
            return error_set(err, COHORT_ERR_USAGE, "--input %s: given twice", texts->items[k]);
        TRY(input_load(s, i, m, path, o, err));
    }
    for (int i = 0; i < s->count; i++)
        if (s->owned[i].data == NULL)
            return error_set(err, COHORT_ERR_USAGE, "input '%s' is missing: --input %s=FILE",
                             cohort_input(m, i).name, cohort_input(m, i).name);
out:
    return code;
}

/* A batch of n images for a network of batch 1: n sets that share its memory. */
static int batch_of(const struct input_set *s, const struct cohort_tensor *in) {
    const struct shape *have = &s->owned[0].shape;
    if (s->pixels[0].input != NULL)
        return in->dims[0] == 1 ? (int)have->dim[0] : 1;
    if (have->rank != in->rank || in->rank < 1 || in->dims[0] != 1 || have->dim[0] < 2)
        return 1;
    for (int k = 1; k < in->rank; k++)
        if (have->dim[k] != in->dims[k])
            return 1;
    return (int)have->dim[0];
}

static enum cohort_code append_set(struct input_set **sets, size_t *capacity, int *count,
                                   struct input_set *s, struct cohort_error *err) {
    if (!MEM_GROW(*sets, *capacity, (size_t)*count)) {
        input_set_release(s);
        return error_memory(err, sizeof *s, "inputs");
    }
    (*sets)[(*count)++] = *s;
    *s = (struct input_set){0};
    return COHORT_OK;
}

/* Cuts image k out of a batch. */
static enum cohort_code cut_image(struct input_set *out, const struct input_set *batch, int k,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(set_init(out, 1, err));
    struct tensor part = batch->owned[0];
    part.shape.dim[0] = 1;
    part.data = (char *)part.data + (size_t)k * tensor_bytes(&part);
    TRY(tensor_copy(&out->owned[0], &part, err));
    out->pixels[0] = batch->pixels[0];
    out->source = mem_printf("%s[%d]", batch->source, k);
    if (out->source == NULL)
        code = error_memory(err, 64, "a name");
out:
    return code;
}

/* Makes numbers of input i's bytes. */
static enum cohort_code make_numbers(struct input_set *s, int i, const struct cohort_model *m,
                                     struct cohort_error *err) {
    const struct cohort_pixels *p = &s->pixels[i];
    struct pixel_scale scale = {.scale = p->scale};
    struct tensor fresh;
    memcpy(scale.mean, p->mean, sizeof scale.mean);
    memcpy(scale.std, p->std, sizeof scale.std);
    enum cohort_code code =
        pixels_to_numbers(&fresh, &s->owned[i], &scale, p->channels_last != 0, err);
    if (code != COHORT_OK)
        return code;
    tensor_release(&s->owned[i]);
    s->owned[i] = fresh;
    set_finish(s, m);
    return COHORT_OK;
}

/* A session takes bytes for an input in all runs, or in none. */
static enum cohort_code settle(struct input_set *sets, int count, const struct cohort_model *m,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int inputs = cohort_input_count(m);
    for (int i = 0; i < inputs; i++) {
        bool all = true;
        for (int k = 0; k < count; k++)
            all = all && sets[k].pixels[i].input != NULL;
        for (int k = 0; k < count; k++) {
            struct input_set *s = &sets[k];
            if (!all && s->pixels[i].input != NULL)
                TRY(make_numbers(s, i, m, err));
            if (all)
                s->pixels[s->pixel_count++] = s->pixels[i]; /* never behind i */
        }
    }
out:
    return code;
}

enum cohort_code inputs_load(struct input_set **sets, int *count, const struct cohort_model *m,
                             const struct option_list *texts, const struct input_options *o,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct input_set s = {0};
    size_t capacity = 0;
    int n = cohort_input_count(m);
    struct preprocess checked;
    *sets = NULL;
    *count = 0;
    TRY(input_preprocessing(&checked, o, err));
    if (texts->count == 0 || n != 1) {
        TRY(set_init(&s, n, err));
        if (texts->count > 0)
            TRY(load_by_name(&s, m, texts, o, err));
        for (int i = 0; texts->count == 0 && i < n; i++)
            TRY(input_make_up(&s, i, m, o, err));
        set_finish(&s, m);
        TRY(append_set(sets, &capacity, count, &s, err));
    }
    for (int k = 0; k < texts->count && n == 1; k++) {
        const char *path;
        struct cohort_tensor in = cohort_input(m, 0);
        input_of(m, texts->items[k], &path);
        TRY(set_init(&s, 1, err));
        TRY(input_load(&s, 0, m, path, o, err));
        int batch = batch_of(&s, &in);
        for (int b = 0; b < batch && batch > 1; b++) {
            struct input_set one = {0};
            if ((code = cut_image(&one, &s, b, err)) != COHORT_OK) {
                input_set_release(&one);
                goto out;
            }
            set_finish(&one, m);
            TRY(append_set(sets, &capacity, count, &one, err));
        }
        if (batch > 1) {
            input_set_release(&s);
            continue;
        }
        set_finish(&s, m);
        TRY(append_set(sets, &capacity, count, &s, err));
    }
    TRY(settle(*sets, *count, m, err));
    if (texts->count == 0 && o->made_up == MADE_UP_PIXELS && (*sets)[0].pixel_count == 0)
        code = error_set(err, COHORT_ERR_USAGE,
                         "--input-type u8: the network has no input for a picture, float32 of 1 or "
                         "3 channels and a fixed size");
out:
    input_set_release(&s);
    if (code != COHORT_OK)
        inputs_release(sets, *count);
    return code;
}
