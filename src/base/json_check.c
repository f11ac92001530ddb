/* The grammar of JSON (RFC 8259): one pass without recursion over a text of any origin.
 *
 * Stricter than cJSON, which lets raw control characters, broken UTF-8, "01", "1." and the
 * character U+0000 (which would cut a C string short) pass. */
#include "base/json_check.h"

#include "base/json.h"

#include <string.h>

#define NUMBER_BYTES_MAX 60 /* cJSON copies numbers into 64 bytes */

struct check {
    const unsigned char *begin, *at, *end;
    const char *wrong;
};

static bool fail(struct check *c, const char *what) {
    if (!c->wrong)
        c->wrong = what;
    return false;
}

static void skip_space(struct check *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

static bool is_digit(const struct check *c) {
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

static bool check_number(struct check *c) {
    const unsigned char *start = c->at;
    if (*c->at == '-')
        c->at++;
    if (!is_digit(c))
        return fail(c, "a number needs digits");
    if (*c->at == '0') {
        c->at++;
        if (is_digit(c))
            return fail(c, "a number must not begin with 0");
    }
    while (is_digit(c))
        c->at++;
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (!is_digit(c))
            return fail(c, "digits must follow the point");
        while (is_digit(c))
            c->at++;
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
            c->at++;
        if (!is_digit(c))
            return fail(c, "digits must follow the exponent's e");
        while (is_digit(c))
            c->at++;
    }
    if (c->at - start > NUMBER_BYTES_MAX) {
        c->at = start;
        return fail(c, "a number of more than 60 characters");
    }
    return true;
}

static int hex4(struct check *c) {
    int v = 0;
    if (c->end - c->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned char h = *c->at++;
        int digit = h >= '0' && h <= '9'                 ? h - '0'
                    : (h | 32) >= 'a' && (h | 32) <= 'f' ? (h | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

static bool check_escape(struct check *c) {
    if (c->at >= c->end)
        return fail(c, "a string without its end");
    unsigned char e = *c->at++;
    if (e != 'u')
        return strchr("\"\\/bfnrt", e) && e ? true : fail(c, "an unknown escape in a string");
    int v = hex4(c);
    if (v < 0)
        return fail(c, "\\u needs four hexadecimal digits");
    if (v == 0)
        return fail(c, "the character U+0000 in a string");
    if (v >= 0xdc00 && v <= 0xdfff)
        return fail(c, "half a surrogate pair in a string");
    if (v >= 0xd800 && v <= 0xdbff) {
        if (c->end - c->at < 6 || c->at[0] != '\\' || c->at[1] != 'u')
            return fail(c, "half a surrogate pair in a string");
        c->at += 2;
        v = hex4(c);
        if (v < 0xdc00 || v > 0xdfff)
            return fail(c, "half a surrogate pair in a string");
    }
    return true;
}

/* No overlong forms, no surrogates, nothing above U+10FFFF. */
size_t json_utf8_bytes(const char *text, const char *end) {
    const unsigned char *c = (const unsigned char *)text;
    if (text >= end)
        return 0;
    if (c[0] < 0x80)
        return 1;
    int more = c[0] >= 0xf0 ? 3 : c[0] >= 0xe0 ? 2 : 1;
    uint32_t v = c[0] & (0x3fU >> more);
    if (c[0] < 0xc2 || c[0] > 0xf4 || end - text <= more)
        return 0;
    for (int i = 1; i <= more; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (c[i] & 0x3fU);
    }
    if ((more == 2 && v < 0x800) || (more == 3 && v < 0x10000) || v > 0x10ffff ||
        (v >= 0xd800 && v <= 0xdfff))
        return 0;
    return (size_t)more + 1;
}

static bool check_string(struct check *c) {
    c->at++; /* the quote */
    while (c->at < c->end) {
        unsigned char ch = *c->at;
        if (ch == '"') {
            c->at++;
            return true;
        }
        if (ch < 0x20)
            return fail(c, "a control character in a string");
        if (ch >= 0x80) {
            size_t n = json_utf8_bytes((const char *)c->at, (const char *)c->end);
            if (n == 0)
                return fail(c, "a string is not UTF-8");
            c->at += n;
            continue;
        }
        c->at++;
        if (ch == '\\' && !check_escape(c))
            return false;
    }
    return fail(c, "a string without its end");
}

static bool check_word(struct check *c, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return fail(c, "expected a value");
    c->at += n;
    return true;
}

static bool check_scalar(struct check *c) {
    switch (*c->at) {
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    default:
        if (*c->at == '-' || is_digit(c))
            return check_number(c);
        return fail(c, "expected a value");
    }
}

/* "key" : before a member's value. */
static bool check_key(struct check *c) {
    skip_space(c);
    if (c->at >= c->end || *c->at != '"')
        return fail(c, "expected a key in quotes");
    if (!check_string(c))
        return false;
    skip_space(c);
    if (c->at >= c->end || *c->at != ':')
        return fail(c, "expected ':' after the key");
    c->at++;
    return true;
}

/* After a value: closes containers and steps over a comma.  Sets *done at the end of the document.
 */
static bool check_after(struct check *c, char *open, int *depth, bool *done) {
    for (;;) {
        if (*depth == 0) {
            *done = true;
            return true;
        }
        bool object = open[*depth - 1] == '{';
        skip_space(c);
        if (c->at >= c->end)
            return fail(c, "the text ends too early");
        if (*c->at == ',') {
            c->at++;
            return object ? check_key(c) : true;
        }
        if (*c->at != (object ? '}' : ']'))
            return fail(c, object ? "expected ',' or '}'" : "expected ',' or ']'");
        c->at++;
        --*depth;
    }
}

static bool check_document(struct check *c) {
    char open[JSON_DEPTH_MAX];
    int depth = 0;
    bool done = false;
    while (!done) {
        skip_space(c);
        if (c->at >= c->end)
            return fail(c, depth ? "the text ends too early" : "empty");
        if (*c->at == '{' || *c->at == '[') {
            if (depth == JSON_DEPTH_MAX)
                return fail(c, "nested too deeply");
            bool object = *c->at == '{';
            open[depth++] = object ? '{' : '[';
            c->at++;
            skip_space(c);
            if (c->at >= c->end || *c->at != (object ? '}' : ']')) {
                if (object && !check_key(c))
                    return false;
                continue;
            }
            c->at++;
            depth--;
        } else if (!check_scalar(c)) {
            return false;
        }
        if (!check_after(c, open, &depth, &done))
            return false;
    }
    skip_space(c);
    return c->at == c->end ? true : fail(c, "something follows the document");
}

const char *json_check(const char *text, size_t bytes, size_t *at) {
    struct check c = {.begin = (const unsigned char *)text};
    c.at = c.begin;
    c.end = c.begin + bytes;
    check_document(&c);
    *at = (size_t)(c.at - c.begin);
    return c.wrong;
}
