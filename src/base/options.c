/* Command-line options from a table: parsing, --help, and "did you mean".
 *
 * The command line wins over the environment; a value there that the command line overrides is not
 * even looked at.  Values are kept as pointers into argv or the environment: nothing is copied. */
#include "base/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX    128  /* options in one table */
#define NAME_MAX_BYTES 128  /* names longer than this are compared by their beginnings */
#define UNLIMITED      1e15 /* a bound beyond this is not worth naming in a message */
#define HELP_COLUMN    30   /* where the help text begins */
#define HELP_WIDTH     98   /* and where its lines end */

/* ---- the closest name ----------------------------------------------------------------------- */

/* Edits (insert, delete, replace, swap neighbours; case ignored) that turn a into b: the optimal
 * string alignment distance. */
static size_t edit_distance(const char *a, const char *b) {
    size_t rows[3][NAME_MAX_BYTES + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    size_t na = strnlen(a, NAME_MAX_BYTES), nb = strnlen(b, NAME_MAX_BYTES);
    memset(rows, 0, sizeof rows);
    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        int ca = tolower((unsigned char)a[i - 1]);
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            int cb = tolower((unsigned char)b[j - 1]);
            size_t best = last[j - 1] + (ca != cb);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                tolower((unsigned char)a[i - 2]) == cb && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

const char *closest_name(const char *text, const char *const *names, size_t count) {
    const char *best = NULL;
    size_t length = strnlen(text, NAME_MAX_BYTES), least = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!names[i])
            continue;
        size_t other = strnlen(names[i], NAME_MAX_BYTES), longer = other > length ? other : length;
        size_t distance = edit_distance(text, names[i]);
        /* One edit in three characters is a slip; a beginning of the name is a short form. */
        bool close = distance <= (longer + 1) / 3 && distance < longer;
        if (!close && length >= 3 && strncasecmp(text, names[i], length) == 0)
            close = true;
        if (close && distance < least) {
            least = distance;
            best = names[i];
        }
    }
    return best;
}

/* ---- one value ------------------------------------------------------------------------------ */

/* How the user wrote the option: "--threads", "-t" or "COHORT_THREADS", for messages. */
struct given {
    const char *label;
    const char *value;
};

static enum cohort_code out_of_range(const struct option_spec *s, struct given g,
                                     struct cohort_error *err) {
    if (s->max >= UNLIMITED)
        return error_set(err, COHORT_ERR_USAGE, "%s %s: must be at least %.10g", g.label, g.value,
                         s->min);
    if (s->min <= -UNLIMITED)
        return error_set(err, COHORT_ERR_USAGE, "%s %s: must be at most %.10g", g.label, g.value,
                         s->max);
    return error_set(err, COHORT_ERR_USAGE, "%s %s: must be between %.10g and %.10g", g.label,
                     g.value, s->min, s->max);
}

static enum cohort_code set_int(const struct option_spec *s, struct given g,
                                struct cohort_error *err) {
    char *end;
    errno = 0;
    long v = strtol(g.value, &end, 10);
    if (end == g.value || *end || isspace((unsigned char)g.value[0]))
        return error_set(err, COHORT_ERR_USAGE, "%s %s: not a whole number", g.label, g.value);
    if (errno == ERANGE)
        return error_set(err, COHORT_ERR_USAGE, "%s %s: too large a number", g.label, g.value);
    if (s->min < s->max && ((double)v < s->min || (double)v > s->max))
        return out_of_range(s, g, err);
    *(long *)s->target = v;
    return COHORT_OK;
}

static enum cohort_code set_double(const struct option_spec *s, struct given g,
                                   struct cohort_error *err) {
    char *end;
    double v = strtod(g.value, &end);
    if (end == g.value || *end || isspace((unsigned char)g.value[0]) || !isfinite(v))
        return error_set(err, COHORT_ERR_USAGE, "%s %s: not a number", g.label, g.value);
    if (s->min < s->max && (v < s->min || v > s->max))
        return out_of_range(s, g, err);
    *(double *)s->target = v;
    return COHORT_OK;
}

static enum cohort_code set_flag(const struct option_spec *s, struct given g,
                                 struct cohort_error *err) {
    static const char *const yes[] = {"1", "yes", "true", "on"}, *const no[] = {"0", "no", "false",
                                                                                "off"};
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(g.value, yes[i]) == 0 || strcasecmp(g.value, no[i]) == 0) {
            *(bool *)s->target = strcasecmp(g.value, yes[i]) == 0;
            return COHORT_OK;
        }
    }
    return error_set(err, COHORT_ERR_USAGE, "%s=%s: say yes or no", g.label, g.value);
}

static enum cohort_code set_list(const struct option_spec *s, struct given g,
                                 struct cohort_error *err) {
    struct option_list *list = s->target;
    if (list->count >= OPTION_LIST_MAX)
        return error_set(err, COHORT_ERR_USAGE, "%s: given more than %d times", g.label,
                         OPTION_LIST_MAX);
    list->items[list->count++] = g.value;
    return COHORT_OK;
}

/* The choices of "a|b|c" are compared in place; the message lists them as "a, b, c". */
static enum cohort_code set_choice(const struct option_spec *s, struct given g,
                                   struct cohort_error *err) {
    char words[512];
    const char *names[64];
    size_t count = 0;
    int length = snprintf(words, sizeof words, "%s", s->argument);
    BUG_UNLESS(length > 0 && (size_t)length < sizeof words);
    char *rest = words;
    for (char *word; (word = strsep(&rest, "|")) != NULL;) {
        BUG_UNLESS(count < sizeof names / sizeof *names);
        if (strcmp(word, g.value) == 0) {
            *(int *)s->target = (int)count;
            return COHORT_OK;
        }
        names[count++] = word;
    }
    char listed[600];
    size_t used = 0;
    listed[0] = 0;
    for (size_t i = 0; i < count && used < sizeof listed; i++)
        used +=
            (size_t)snprintf(listed + used, sizeof listed - used, "%s%s", i ? ", " : "", names[i]);
    const char *close = closest_name(g.value, names, count);
    return error_set(err, COHORT_ERR_USAGE, "%s %s: not one of %s%s%s%s", g.label, g.value, listed,
                     close ? ": did you mean " : "", close ? close : "", close ? "?" : "");
}

static enum cohort_code set_value(const struct option_spec *s, struct given g,
                                  struct cohort_error *err) {
    switch (s->kind) {
    case OPTION_FLAG:
        return set_flag(s, g, err);
    case OPTION_INT:
        return set_int(s, g, err);
    case OPTION_DOUBLE:
        return set_double(s, g, err);
    case OPTION_TEXT:
        *(const char **)s->target = g.value;
        return COHORT_OK;
    case OPTION_LIST:
        return set_list(s, g, err);
    case OPTION_CHOICE:
        return set_choice(s, g, err);
    }
    BUG("option kind");
}

/* ---- the command line ----------------------------------------------------------------------- */

struct parser {
    const struct option_spec *specs;
    int argc, next; /* next: the argument to look at */
    char **argv;
    bool seen[OPTIONS_MAX];
};

static const struct option_spec *find_name(const struct option_spec *specs, const char *name,
                                           size_t length) {
    for (const struct option_spec *s = specs; s->name; s++) {
        if (strlen(s->name) == length && memcmp(s->name, name, length) == 0)
            return s;
    }
    return NULL;
}

static const struct option_spec *find_letter(const struct option_spec *specs, char letter) {
    for (const struct option_spec *s = specs; s->name; s++) {
        if (s->letter && s->letter == letter)
            return s;
    }
    return NULL;
}

static enum cohort_code unknown_option(const struct option_spec *specs, const char *name,
                                       size_t length, struct cohort_error *err) {
    const char *names[OPTIONS_MAX];
    char text[NAME_MAX_BYTES];
    size_t count = 0;
    for (const struct option_spec *s = specs; s->name; s++)
        names[count++] = s->name;
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1),
             name);
    const char *close = closest_name(text, names, count);
    if (close)
        return error_set(err, COHORT_ERR_USAGE, "unknown option --%s: did you mean --%s?", text,
                         close);
    return error_set(err, COHORT_ERR_USAGE, "unknown option --%s", text);
}

/* The value in the next argument.  "--anything" there is far more often a forgotten value. */
static enum cohort_code take_value(struct parser *p, const struct option_spec *s, struct given *g,
                                   struct cohort_error *err) {
    const char *what = s->argument ? s->argument : "value";
    if (p->next >= p->argc)
        return error_set(err, COHORT_ERR_USAGE, "%s needs a value (%s)", g->label, what);
    if (strncmp(p->argv[p->next], "--", 2) == 0)
        return error_set(err, COHORT_ERR_USAGE,
                         "%s needs a value (%s), not %s (if it is one: --%s=%s)", g->label, what,
                         p->argv[p->next], s->name, p->argv[p->next]);
    g->value = p->argv[p->next++];
    return COHORT_OK;
}

static enum cohort_code parse_long(struct parser *p, const char *text, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    const struct option_spec *s = find_name(p->specs, text, length);
    bool negated = false;
    if (!s && !equals && strncmp(text, "no-", 3) == 0) { /* --no-json undoes COHORT_JSON=1 */
        s = find_name(p->specs, text + 3, length - 3);
        if (s && s->kind != OPTION_FLAG)
            s = NULL;
        negated = s != NULL;
    }
    if (!s)
        return unknown_option(p->specs, text, length, err);
    p->seen[s - p->specs] = true;
    if (s->kind == OPTION_FLAG && !equals) {
        *(bool *)s->target = !negated;
        return COHORT_OK;
    }
    char label[NAME_MAX_BYTES + 3];
    snprintf(label, sizeof label, "--%s", s->name);
    struct given g = {.label = label, .value = equals ? equals + 1 : NULL};
    if (!equals)
        TRY(take_value(p, s, &g, err));
    code = set_value(s, g, err);
out:
    return code;
}

/* "-v", "-vv", "-o FILE", "-oFILE". */
static enum cohort_code parse_letters(struct parser *p, const char *letters,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (; *letters; letters++) {
        const struct option_spec *s = find_letter(p->specs, *letters);
        if (!s)
            return error_set(err, COHORT_ERR_USAGE, "unknown option -%c", *letters);
        p->seen[s - p->specs] = true;
        if (s->kind == OPTION_FLAG) {
            *(bool *)s->target = true;
            continue;
        }
        char label[3] = {'-', *letters, 0};
        struct given g = {.label = label, .value = letters[1] ? letters + 1 : NULL};
        if (!g.value)
            TRY(take_value(p, s, &g, err));
        return set_value(s, g, err);
    }
out:
    return code;
}

static enum cohort_code parse_environment(struct parser *p, option_environment_fn environment,
                                          struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (const struct option_spec *s = p->specs; s->name; s++) {
        char variable[NAME_MAX_BYTES + 8] = "COHORT_";
        size_t used = strlen(variable);
        if (p->seen[s - p->specs])
            continue;
        for (const char *c = s->name; *c && used + 1 < sizeof variable; c++)
            variable[used++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        variable[used] = 0;
        const char *value = environment(variable);
        if (value && *value) /* an empty variable is an unset one */
            TRY(set_value(s, (struct given){.label = variable, .value = value}, err));
    }
out:
    return code;
}

enum cohort_code options_parse(const struct option_spec *specs, int argc, char **argv,
                               option_environment_fn environment, const char **positional, int max,
                               int *count, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct parser p = {.specs = specs, .argc = argc, .next = 1, .argv = argv};
    int found = 0, table = 0;
    bool ended = false;
    while (specs[table].name)
        table++;
    BUG_UNLESS(table <= OPTIONS_MAX);
    while (p.next < argc) {
        const char *arg = argv[p.next++];
        if (!ended && strcmp(arg, "--") == 0) {
            ended = true;
        } else if (!ended && strncmp(arg, "--", 2) == 0) {
            TRY(parse_long(&p, arg + 2, err));
        } else if (!ended && arg[0] == '-' && arg[1]) {
            TRY(parse_letters(&p, arg + 1, err));
        } else if (found < max) {
            positional[found++] = arg;
        } else {
            return error_set(err, COHORT_ERR_USAGE, "one argument too many: %s", arg);
        }
    }
    if (environment)
        TRY(parse_environment(&p, environment, err));
    if (count)
        *count = found;
out:
    return code;
}

/* ---- --help --------------------------------------------------------------------------------- */

/* Prints text from column HELP_COLUMN on, broken between words. */
static void print_wrapped(const char *text, int column, FILE *out) {
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + (int)word > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, word, out);
        column += (int)word;
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

void options_print(const struct option_spec *specs, FILE *out) {
    for (const struct option_spec *s = specs; s->name; s++) {
        if (!s->help) /* for tests and developers: not listed */
            continue;
        const char *argument = s->kind == OPTION_FLAG ? NULL : s->argument ? s->argument : "VALUE";
        char short_form[5] = "    ";
        if (s->letter)
            snprintf(short_form, sizeof short_form, "-%c, ", s->letter);
        int column = fprintf(out, "  %s--%s%s%s", short_form, s->name, argument ? " " : "",
                             argument ? argument : "");
        if (column + 2 > HELP_COLUMN) {
            fputc('\n', out);
            column = 0;
        }
        fprintf(out, "%*s", HELP_COLUMN - column, "");
        print_wrapped(s->help, HELP_COLUMN, out);
    }
}
