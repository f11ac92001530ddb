/* Class names, and the best of a classifier's scores. */
#include "media/media.h"

#include "base/file.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#define LABELS_BYTES_MAX ((size_t)64 << 20)

/* One block holds the pointers and, behind them, the text. */
enum cohort_code labels_load(struct labels *l, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *text = NULL, **names = NULL;
    size_t bytes = 0, lines = 0, n = 0;
    TRY(file_read(path, LABELS_BYTES_MAX, &text, &bytes, err));
    size_t start =
        bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte order mark */
    for (size_t i = start; i < bytes; i++)
        lines += text[i] == '\n';
    lines += bytes > start && text[bytes - 1] != '\n';
    names = mem_alloc(lines * sizeof *names + bytes + 1);
    if (!names) {
        code = error_memory(err, lines * sizeof *names + bytes + 1, path);
        goto out;
    }
    char *copy = (char *)(names + lines);
    memcpy(copy, text + start, bytes - start + 1);
    for (char *line = copy, *end = copy + (bytes - start); line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        char *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        if (stop > line && stop[-1] == '\r')
            stop--;
        *stop = 0;
        if (strlen(line) != (size_t)(stop - line)) {
            code = error_set(err, COHORT_ERR_FORMAT, "%s: not a text file: a zero byte in line %zu",
                             path, n + 1);
            goto out;
        }
        names[n++] = line;
        line = next;
    }
    *l = (struct labels){.names = names, .count = (int)n};
    names = NULL;
out:
    mem_free(names);
    mem_free(text);
    return code;
}

void labels_release(struct labels *l) {
    mem_free(l->names);
    *l = (struct labels){0};
}

/* ---- scores --------------------------------------------------------------------------------- */

static bool are_probabilities(const float *v, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        if (!(v[i] >= 0 && v[i] <= 1))
            return false;
        sum += v[i];
    }
    return fabs(sum - 1) <= 1e-2;
}

int top_k(const float *scores, int n, int k, struct ranked *out) {
    int found = 0;
    for (int i = 0; i < n && k > 0; i++) {
        float v = scores[i];
        if (isnan(v) || (found == k && v <= out[k - 1].score))
            continue; /* an equal one that came earlier stays */
        int at = found < k ? found++ : k - 1;
        for (; at > 0 && out[at - 1].score < v; at--)
            out[at] = out[at - 1];
        out[at] = (struct ranked){.index = i, .score = v};
    }
    if (found == 0 || are_probabilities(scores, n))
        return found;
    double best = out[0].score, sum = 0;
    for (int i = 0; i < n; i++)
        sum += isnan(scores[i]) ? 0 : exp(scores[i] - best);
    for (int i = 0; i < found; i++)
        out[i].score = isfinite(best) ? (float)(exp(out[i].score - best) / sum) : out[i].score;
    return found;
}
