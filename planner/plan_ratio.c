/* Shares of boards: the text of --ratio, and rows in proportion. */
#include "planner/plan_parts.h"

#include "base/mem.h"
#include "base/options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIGITS_MAX 9 /* on either side of the point: exact enough in a double, and no overflow */

/* A share at [text, end): digits, or digits with a point between or before.  The same value in
 * every locale, unlike strtod(). */
static bool read_share(const char *text, const char *end, double *share) {
    double value = 0, unit = 1;
    int whole = 0, fraction = 0;
    for (; text < end && *text >= '0' && *text <= '9'; text++, whole++)
        value = value * 10 + (*text - '0');
    if (text < end && *text == '.')
        for (text++; text < end && *text >= '0' && *text <= '9'; text++, fraction++) {
            value = value * 10 + (*text - '0');
            unit *= 10;
        }
    *share = value / unit;
    return text == end && whole + fraction > 0 && whole <= DIGITS_MAX && fraction <= DIGITS_MAX;
}

static enum cohort_code bad_share(const char *part, const char *end, struct cohort_error *err) {
    return error_set(err, COHORT_ERR_USAGE,
                     "--ratio: '%.*s' is not a share (a number such as 3 or 0.5; 0 leaves a board "
                     "out)",
                     (int)(end - part < 60 ? end - part : 60), part);
}

/* ---- "3:3:2" --------------------------------------------------------------------------------- */

static int count_parts(const char *text) {
    int count = 1;
    for (; *text != '\0'; text++)
        count += *text == ':';
    return count;
}

/* Under root_feeds the root's own share may be left out. */
static enum cohort_code read_by_number(const struct plan_request *r, double *shares,
                                       struct cohort_error *err) {
    const int count = count_parts(r->ratio);
    const int first = r->root_feeds && count == r->boards - 1 ? 1 : 0;
    if (first + count != r->boards)
        return error_set(err, COHORT_ERR_USAGE, "--ratio: '%.60s' has %d shares for %d boards",
                         r->ratio, count, r->boards);
    const char *part = r->ratio;
    shares[0] = 0;
    for (int i = 0; i < count; i++) {
        const char *end = part + strcspn(part, ":");
        if (!read_share(part, end, &shares[first + i]))
            return bad_share(part, end, err);
        part = end + 1;
    }
    return COHORT_OK;
}

/* ---- "pc=0,pi1=3,pi2=2" ---------------------------------------------------------------------- */

/* A host's name, or its part before the first dot. */
static bool is_host(const char *name, const char *text, size_t length) {
    return strncmp(name, text, length) == 0 && (name[length] == '\0' || name[length] == '.');
}

static enum cohort_code unknown_host(const struct plan_request *r, const char *text, size_t length,
                                     struct cohort_error *err) {
    char *copy = mem_strndup(text, length);
    if (copy == NULL)
        return error_memory(err, length + 1, "--ratio");
    const char *closest = closest_name(copy, r->names, (size_t)r->boards);
    enum cohort_code code =
        closest != NULL
            ? error_set(err, COHORT_ERR_USAGE, "--ratio: no board is called '%s': did you mean %s?",
                        copy, closest)
            : error_set(err, COHORT_ERR_USAGE, "--ratio: no board is called '%s' (board 0 is %s)",
                        copy, r->names[0]);
    mem_free(copy);
    return code;
}

/* One "NAME=SHARE": for every rank on that board. */
static enum cohort_code read_named(const struct plan_request *r, const char *part, const char *end,
                                   double *shares, struct cohort_error *err) {
    const char *equals = memchr(part, '=', (size_t)(end - part));
    double share;
    if (equals == NULL || equals == part)
        return error_set(err, COHORT_ERR_USAGE, "--ratio: '%.*s' is not NAME=SHARE",
                         (int)(end - part < 60 ? end - part : 60), part);
    if (!read_share(equals + 1, end, &share))
        return bad_share(equals + 1, end, err);
    bool found = false;
    for (int b = 0; b < r->boards; b++) {
        if (!is_host(r->names[b], part, (size_t)(equals - part)))
            continue;
        if (shares[b] >= 0)
            return error_set(err, COHORT_ERR_USAGE, "--ratio: '%.*s' is given twice",
                             (int)(equals - part), part);
        shares[b] = share;
        found = true;
    }
    return found ? COHORT_OK : unknown_host(r, part, (size_t)(equals - part), err);
}

static enum cohort_code read_by_name(const struct plan_request *r, double *shares,
                                     struct cohort_error *err) {
    if (r->names == NULL)
        return error_set(err, COHORT_ERR_USAGE,
                         "--ratio: '%.60s' names boards, but their names are not known here: give "
                         "shares by number, as in 3:3:2",
                         r->ratio);
    for (int b = 0; b < r->boards; b++)
        shares[b] = -1;
    for (const char *part = r->ratio;; part++) {
        const char *end = part + strcspn(part, ",");
        enum cohort_code code = read_named(r, part, end, shares, err);
        if (code != COHORT_OK)
            return code;
        if (*end == '\0')
            break;
        part = end;
    }
    if (r->root_feeds && shares[0] < 0)
        shares[0] = 0;
    for (int b = 0; b < r->boards; b++)
        if (shares[b] < 0)
            return error_set(err, COHORT_ERR_USAGE,
                             "--ratio gives no share for board %d, %s (%s=0 leaves it out)", b,
                             r->names[b], r->names[b]);
    return COHORT_OK;
}

enum cohort_code plan_parse_ratio(const struct plan_request *r, double *shares,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (r->root_feeds && r->boards < 2)
        return error_set(err, COHORT_ERR_USAGE,
                         "--root feed needs a second board: there is no other to feed");
    if (r->ratio == NULL)
        for (int b = 0; b < r->boards; b++)
            shares[b] = r->root_feeds && b == 0 ? 0 : 1;
    else
        TRY(strchr(r->ratio, '=') != NULL ? read_by_name(r, shares, err)
                                          : read_by_number(r, shares, err));
    if (r->root_feeds && shares[0] > 0)
        return error_set(err, COHORT_ERR_USAGE,
                         "--root feed contradicts --ratio, which gives board 0 a share: make it 0");
    double sum = 0;
    for (int b = 0; b < r->boards; b++)
        sum += shares[b];
    if (!(sum > 0))
        return error_set(err, COHORT_ERR_USAGE, "--ratio: '%.60s' leaves every board out",
                         r->ratio);
out:
    return code;
}

/* ---- rows in proportion ---------------------------------------------------------------------- */

/* The board that is furthest below its exact share; of equal ones the first. */
static int largest_remainder(int64_t rows, const double *shares, double sum, int boards,
                             const int64_t *split) {
    int best = -1;
    double most = 0;
    for (int b = 0; b < boards; b++) {
        const double lacking = (double)rows * shares[b] / sum - (double)split[b + 1];
        if (shares[b] > 0 && (best < 0 || lacking > most)) {
            best = b;
            most = lacking;
        }
    }
    return best;
}

static int longest(int boards, const int64_t *split) {
    int best = 0;
    for (int b = 1; b < boards; b++)
        best = split[b + 1] > split[best + 1] ? b : best;
    return best;
}

void plan_split_rows(int64_t rows, const double *shares, int boards, int64_t *split) {
    double sum = 0;
    for (int b = 0; b < boards; b++)
        sum += shares[b];
    /* First each board's whole rows, kept in split[b + 1]; then one more for the largest remainders
     * (left < 0 only when rounding made a share whole that was not). */
    int64_t left = rows;
    for (int b = 0; b < boards; b++) {
        split[b + 1] = (int64_t)floor((double)rows * shares[b] / sum);
        left -= split[b + 1];
    }
    while (left != 0) {
        const int b =
            left > 0 ? largest_remainder(rows, shares, sum, boards, split) : longest(boards, split);
        split[b + 1] += left > 0 ? 1 : -1;
        left += left > 0 ? -1 : 1;
    }
    split[0] = 0;
    for (int b = 0; b < boards; b++)
        split[b + 1] += split[b];
}
